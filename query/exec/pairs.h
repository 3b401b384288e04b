/* SPDX-License-Identifier: Apache-2.0
 * What queries have found out about pairs of parts: which traces two of them share. Nearly all
 * pairs of blocks share nothing, and that is one bit; of the others, and of heads, there is a list.
 *
 * Parts are told apart by part_serial, which no other part ever gets: what is known of a part that
 * is gone is never asked for again, and makes room in its time. Bounded by a listed budget; pairs
 * never displace each other while there is room. Thread-safe. */
#pragma once

#include "base/budget.h"
#include "storage/part.h"

struct pair_trace {
    struct trace_id id;
    uint32_t trace[2]; /* numbers in the two parts of the key */
};

/* The traces of part `of` were looked up in part `in`; by_time: only those that can be there as far
 * as their times say. */
struct pair_key {
    uint64_t of, in; /* part_serial */
    bool by_time;
    uint32_t from; /* 1 + number of the first that was; 0: all were, in the order of the list */
};

struct pair_known {
    uint32_t n_done; /* so many traces of `of`, of its list (key.from: by number), were looked up */
    uint32_t n;
    const struct pair_trace *traces;
    void *owner; /* pairs_get's */
};

struct pairs;

/* parent may be NULL. */
struct pairs *pairs_new(struct budget *parent, uint64_t bytes_max);
void pairs_free(struct pairs *p); /* NULL allowed; no list may be in use */

/* Two blocks that share nothing, as far as by_time says, in whatever order. The lock is there for
 * who asks of many pairs. */
void pairs_lock(struct pairs *p);
void pairs_unlock(struct pairs *p);
bool pairs_none(struct pairs *p, uint64_t a, uint64_t b, bool by_time); /* under the lock */
void pairs_put_none(struct pairs *p, uint64_t a, uint64_t b, bool by_time);

/* How many traces of `of` need not be looked up any more, as pairs_get tells; under the lock. */
uint32_t pairs_done(struct pairs *p, const struct pair_key *key);
/* What ret->traces points to stays until pairs_release, whatever is put meanwhile. Nothing is
 * known: zeroed. */
void pairs_get(struct pairs *p, const struct pair_key *key, struct pair_known *ret);
void pairs_release(struct pairs *p, struct pair_known *k); /* zeroed ones are allowed */
/* Instead of what was known, if that was less. Lists of more than pairs_traces_max are not kept. */
void pairs_put(struct pairs *p, const struct pair_key *key, const struct pair_known *k);
uint32_t pairs_traces_max(const struct pairs *p);

/* So many traces were looked up in another part: vivace_query_traces_compared_total. */
void pairs_count(struct pairs *p, uint64_t n_compared);
uint64_t pairs_counted(const struct pairs *p);
