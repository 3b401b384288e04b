/* SPDX-License-Identifier: Apache-2.0
 * What compare() keeps of the groups of blocks that lie wholly in its range, so that with a head
 * that grows, or a window that moves on, only the rest is counted anew. WHY groups: traces are in
 * order of their start, so of a block that the range begins or ends in, next to all that is in
 * range is one run of groups; and what is merged with blocks of the present does not become part of
 * it.
 *
 * Kept is one count of all those groups together, by key: of a key of few values all of them with
 * their cells, of others the largest with their cells, the cells of all, and how often every value
 * was met, by its hash. WHY that is enough: a value that the rest does not have has the count that
 * is kept, so of those only the largest can be among the largest of all; a value that the rest has
 * is looked up. A chosen one whose cells were not kept is looked for in the blocks once more.
 * Counts by hash are never too small; when one was too large for a chosen value, two values had the
 * same hash, and the query is answered without what is kept.
 *
 * What a span's trace says of it depends on all parts that have some of the trace. So traces that
 * those groups share with any other part, or with other groups of another block, are left out of
 * what is kept, and counted with the rest: the others may come and go. When a part that came later
 * has a trace that is in it, what is kept is counted anew. So it is when one of its blocks is gone,
 * or of its groups out of range, and when others in range have grown to half of those that are in
 * it. Of a window that ends now, which will have moved on, the first eighth is left to the rest.
 *
 * A question is kept from the second time on that it is asked; while spans come, from the first. In
 * the cache: one header by question, which names an entry for each key. A key whose entry would be
 * too large has none, and is counted in full each time. */
#pragma once

#include "query/cache.h"
#include "qval.h"

#define KEPT_TOP 48u /* values per side of which cells are kept, at least */

struct compare;
struct slice;
struct key;

/* A key, as kept. */
struct kept_key {
    uint32_t n_slots, n_many; /* by hash: u64 [n_slots], struct kept_many [n_many] */
    uint32_t n_values;
    bool large;         /* there are more values, in all of which are what was met */
    uint64_t first;     /* number of the first bucket of all cells, from the epoch */
    uint64_t n_buckets; /* cells: [side][n_buckets] */
};
struct kept_value {
    struct qval v; /* a view of the entry */
    uint32_t n[2];
    struct bytes cells;
};
struct kept_walk {
    const struct kept_key *key;
    const uint8_t *at;
    uint32_t i;
};
void kept_walk(struct kept_walk *w, const struct kept_key *k);
bool kept_next(struct kept_walk *w, struct kept_value *ret);
/* After the last value. The totals are those of struct key: of strings in blocks' columns. */
void kept_sums(struct kept_walk *w, struct bytes *ret_others, struct bytes *ret_totals);
/* How often a value with this hash was met: into ret. */
uint64_t kept_hash(const struct qval *v);
void kept_count(const struct kept_key *k, uint64_t hash, uint32_t ret[2]);
/* Adds cells to into[side * n + bucket], of the query's n buckets. */
void kept_add_cells(
    const struct compare *x, const struct kept_key *k, struct bytes cells, uint64_t *into);

/* For tests: how often blocks were counted to be kept, an answer was made with what is kept, and
 * blocks had to be looked through once more for it. */
extern _Atomic uint32_t compare_kept_counted, compare_kept_used, compare_kept_again;

/* Groups of a block, and their rows. */
struct kept_groups {
    uint32_t from, to; /* from == to: none */
    uint32_t row_from, row_to;
};

/* Of one query. */
struct kept {
    struct query_cache *cache;
    struct buf question;
    struct cached *header;      /* in use */
    uint64_t serial;            /* of the count that the header names */
    bool counting;              /* it is being counted: without the rows of marked traces */
    bool stale;                 /* it is not right any more */
    struct kept_groups *inside; /* by part: what of it is in it */
    uint64_t **marked; /* by part inside: bits of traces that are left out of it; or NULL */
    uint32_t *n_marked;
    struct trace_id *ids; /* of those traces */
    size_t n_ids, cap_ids;
    struct buf listed; /* while counting: struct kept_listed */
    uint64_t bytes;    /* while counting: of all entries */
    uint64_t spans;    /* that were looked at for it */
};

/* x->kept, unless nothing can be kept. *ret_found: a count that is right as far as the blocks say;
 * roots_shared looks whether their traces have changed. */
enum ec kept_open(struct compare *x, bool *ret_found, struct err *err) MUST_USE;
void kept_close(struct compare *x);
/* There will be a new count, of all groups wholly in range. False: there are none. */
bool kept_begin(struct compare *x);
/* Some groups of this part are in it. */
static inline bool kept_is_inside(const struct kept *k, size_t part)
{
    return k->inside[part].to > k->inside[part].from;
}
/* A trace of part `inside` that another part has which was not known. */
enum ec kept_mark(
    struct compare *x, size_t part, uint32_t trace, uint32_t n_traces, struct err *err) MUST_USE;
enum ec kept_mark_id(struct compare *x, const struct trace_id *id, struct err *err) MUST_USE;
static inline bool kept_is_marked(const struct kept *k, size_t part, uint32_t trace)
{
    return k->marked[part] != NULL && trace < k->n_marked[part] &&
           (k->marked[part][trace / 64] >> (trace % 64) & 1) != 0;
}
/* While counting, after the first pass and before values are forgotten: the counts by hash.
 * False: they are too many to be kept. */
bool kept_table(struct compare *x, struct key *k);
/* While counting, after the second pass. */
void kept_put(struct compare *x, struct key *k);
/* When all keys are there; spans: that were looked at. False: it cannot be kept. */
bool kept_put_header(struct compare *x, uint64_t spans);
/* Finds the entry of a key: k->kept, or k->aside, when it is to be counted in full. False: there
 * was one, and it is gone. */
bool kept_find(struct compare *x, struct key *k);
/* The slices of groups inside, or all others, with those groups inside that have marked traces. */
enum ec kept_slices(
    struct compare *x, bool inside, struct slice **ret, size_t *ret_n, struct err *err) MUST_USE;
