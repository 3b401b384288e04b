/* SPDX-License-Identifier: Apache-2.0
 * Byte budgets: a tree of counters with caps. A charge is taken from a leaf and all its parents, or
 * from none. Every allocation whose size or count comes from outside is charged to one.
 *
 * Thread-safe (relaxed atomics; a budget bounds memory, it orders nothing). A budget must outlive
 * every charge; budget_deinit asserts that all were given back.
 */
#pragma once

#include <stdatomic.h>

#include "base/err.h"

struct budget {
    struct budget *parent; /* NULL for a root */
    const char *name;      /* static string, for messages and metrics */
    _Atomic uint64_t cap;  /* bytes; 0: no cap of its own */
    _Atomic uint64_t used;
    _Atomic uint64_t peak;
    _Atomic uint64_t refused; /* charges that did not fit */
    _Atomic bool crowded;     /* see budget_crowded */
    struct budget *next;      /* in the list of budgets that are shown */
};

void budget_init(struct budget *b, struct budget *parent, const char *name, uint64_t cap);
void budget_deinit(struct budget *b);
/* True: n bytes are charged to b and its parents. False: nothing is. b may be NULL: always true. */
bool budget_take(struct budget *b, uint64_t n) MUST_USE;
/* Whether n bytes would be charged now; nothing is, and a no counts as refused. */
bool budget_fits(struct budget *b, uint64_t n) MUST_USE;
/* Charges past the cap: for memory that is already there (replay) and must be counted. */
void budget_take_force(struct budget *b, uint64_t n);
void budget_give(struct budget *b, uint64_t n);
/* As take and give, of b and its parents below top only; top NULL: of all. To move a charge from
 * one budget to another under top without a moment at which top has room for others. */
bool budget_take_below(struct budget *b, const struct budget *top, uint64_t n) MUST_USE;
void budget_give_below(struct budget *b, const struct budget *top, uint64_t n);
uint64_t budget_used(const struct budget *b);
/* The most that could ever be charged: the smallest cap of it and its parents, UINT64_MAX without
 * any. What is more than that is to be refused for good, not for now. */
uint64_t budget_most(const struct budget *b);
/* Since budget_init, b had room for a charge (to it or below it) that a parent refused: what others
 * hold is in the way. */
bool budget_crowded(const struct budget *b);
/* The same is so for another reason: b and its parents are crowded from now on. */
void budget_crowd(struct budget *b);

/* The budgets that an operator sees (/status/memory, vivace_memory_budget_bytes): those that live
 * as long as the process or the store. A listed budget stays listed until budget_unlist; its parent
 * is listed before it. */
struct budget_facts {
    const char *name, *parent; /* parent: NULL for a root */
    unsigned depth;            /* 0: a root */
    uint64_t cap, used, peak, refused;
};
void budget_list(struct budget *b);
void budget_unlist(struct budget *b); /* NULL and unlisted ones are allowed */
/* In the order of a tree: parents first, children behind them as they were listed. fn must not list
 * or unlist. Counters are read one by one: sums are exact only while nothing is charged. */
void budget_each(void (*fn)(void *ctx, const struct budget_facts *b), void *ctx);
