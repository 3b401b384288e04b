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
};

void budget_init(struct budget *b, struct budget *parent, const char *name, uint64_t cap);
void budget_deinit(struct budget *b);
/* True: n bytes are charged to b and its parents. False: nothing is. b may be NULL: always true. */
bool budget_take(struct budget *b, uint64_t n) MUST_USE;
/* Charges past the cap: for memory that is already there (replay) and must be counted. */
void budget_take_force(struct budget *b, uint64_t n);
void budget_give(struct budget *b, uint64_t n);
uint64_t budget_used(const struct budget *b);
