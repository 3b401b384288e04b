/* SPDX-License-Identifier: Apache-2.0
 * compare() column by column, in bounded memory.
 *
 * Keys are counted in rounds of two passes over the slices. The first pass counts each value of
 * each key by side (baseline, selection); the few values with the largest totals are chosen; the
 * second pass counts those, and all others together, by bucket. Only a key of few values is counted
 * by bucket at once, and left out of the second pass.
 *
 * The values of one round share COMPARE_BYTES. A key that is refused more waits for the next round.
 * A key that does not fit alone is counted in several first passes, each over the values whose hash
 * falls into one part; the best of each part are kept.
 *
 * Threads: slices are counted in parallel, each with its own columns and readers; a key is guarded
 * by its lock. Counts are whole numbers, so the order in which they are added does not matter. */
#pragma once

#include <pthread.h>

#include "compare_hashed.h"
#include "compare_kept.h"
#include "metrics_finish.h"

#define COMPARE_BYTES ((uint64_t)40 << 20)
#define COMPARE_WAVE  4u           /* slices at a time */
#define KEY_CELLS     (256u << 10) /* bytes of value_cells */

/* Intrinsics that compare() counts beside the attributes, in this order, by rows and by columns. */
#define COMPARE_INTRINSICS 9
extern const enum tql_intrinsic compare_intrinsics[COMPARE_INTRINSICS];

enum key_state {
    KEY_WAITING,
    KEY_ACTIVE,  /* counted in this round */
    KEY_COUNTED, /* has its cells, after one pass */
    KEY_REFUSED, /* its values did not fit; waits for the next round */
    KEY_DONE,
};

/* A value and its spans by side. Counts of 2^32 and more stay there: they only rank. */
struct counted {
    union {
        int64_t i;
        double f;
        bool b;
        const char *s;
    };
    uint32_t n_bytes;
    uint32_t hash;
    uint32_t n[2];
    uint8_t kind; /* enum qval_kind */
};
static inline struct qval counted_value(const struct counted *e)
{
    struct qval v = {.kind = (enum qval_kind)e->kind};
    if (v.kind == QV_STRING)
        v.s = str_n(e->s, e->n_bytes);
    else
        v.i = e->i;
    return v;
}
struct counted_set {
    struct buf entries; /* struct counted */
    struct buf slots;   /* u64 by hash: hash << 32 | 1 + entry; 0: free */
    uint32_t n, n_slots;
    struct arena strings;
};
static inline struct counted *counted_entries(const struct counted_set *s)
{
    return (struct counted *)(void *)s->entries.p;
}

struct key {
    enum tql_intrinsic intrinsic; /* or NONE and an attribute: */
    enum part_table table;
    struct str name;
    struct str text; /* label */
    _Atomic int state;
    pthread_mutex_t lock; /* guards what follows while slices are counted */
    struct counted_set values;
    _Atomic bool large; /* some values were counted without buckets: a second pass follows */
    bool by_hash;       /* strings that hardly repeat are in `strings`, not in values */
    bool exact;         /* by_hash was tried and failed */
    struct hashed strings;
    struct buf totals;      /* u64 [2 * buckets]: all strings of blocks' columns, by_hash */
    struct buf value_cells; /* unless large: u64 [2 * buckets] by entry of values */
    /* Chosen values: id 0 stands for all others. */
    struct label_set top;
    struct buf top_counts; /* u32 [2] by id */
    uint64_t top_tags[64]; /* bits of the chosen values: key_may_be */
    struct buf cells;      /* u64 [(id * 2 + side) * buckets + bucket] */
    /* See compare_kept.h. While it is counted, the table of all values: */
    struct buf hashes;
    uint32_t n_slots, n_many;
    bool aside; /* too large to be kept */
    /* What is kept of it; NULL: nothing. */
    struct cached *entry;
    const struct kept_key *kept;
    bool again; /* the cells of a chosen value were not kept */
};

/* The best values of one side so far, sorted. */
struct ranked {
    struct qval v;
    uint32_t n[2];
};
struct ranking {
    struct ranked *p; /* max + 1 */
    uint64_t n, max;
    int side;
};
bool ranking_takes(const struct ranking *r, const struct ranked *x);
void ranking_add(struct ranking *r, const struct ranked *x);

struct keys {
    struct key **p;
    size_t n, cap;
    uint32_t *slots; /* 1 + number, by table and name */
    size_t n_slots;
    struct arena *arena;
};

/* What every span of a slice is: computed from its trace. */
struct roots; /* compare_roots.h */

struct compare {
    struct collector *c; /* of the query: context, request, grid, statistics */
    struct keys keys;
    struct budget budget; /* of the values of a round */
    struct roots *shared; /* spans and traces that several parts hold; NULL: none */
    struct kept *kept;    /* NULL: nothing is kept of this query */
    struct slice *slices;
    size_t n_slices;
    bool second;              /* pass */
    uint64_t part, part_mask; /* first pass: values whose hash & mask is part */
};

/* compare_keys.c */
enum ec keys_init(struct keys *k, struct arena *a, struct err *err) MUST_USE;
void keys_deinit(struct keys *k);
/* NULL: there is none. */
struct key *keys_find(const struct keys *k, enum part_table table, struct str name);
/* All keys of a part, and once the intrinsics. */
enum ec keys_add_source(struct keys *k, struct part_reader *r, struct err *err) MUST_USE;
/* First pass: no values so far. alone: in parts, neither by hash nor by bucket. */
void key_begin(struct compare *x, struct key *k, bool alone);
/* First pass: values and how many spans have them, by side. Those without a label are none. The key
 * is locked. WHY many at a time: the table of a key with many values is larger than any cache, so
 * its lines are asked for before they are needed. */
struct observed {
    struct qval v;
    uint32_t n[2];
};
#define KEY_COUNT_MAX 16u
void key_count(const struct compare *x, struct key *k, struct observed *o, uint32_t n);
/* First pass, key locked: see compare_hashed.h. False: the key was refused. */
bool key_place(struct key *k, const struct place *p, uint32_t *ret);
void key_count_hashed(struct key *k, uint32_t place, const struct str *texts,
    const struct hashed_slot *of, uint32_t n);
struct str key_value_text(const struct key *k, uint32_t entry); /* of a string among values */
/* End of a first pass: the best values join those chosen before; values are forgotten. The
 * key may be refused. */
enum ec key_choose(struct compare *x, struct key *k, bool first, struct err *err) MUST_USE;
/* Before a second pass. */
enum ec key_cells(struct compare *x, struct key *k, struct err *err) MUST_USE;
/* The chosen value's id, 0 for all others; PART_NONE: not a value. */
uint32_t key_top(const struct key *k, const struct qval *v);
/* A filter before key_top: false when no chosen value is a string with this length and end, or the
 * number with these 64 bits. */
static inline bool key_may_be(const struct key *k, uint64_t x)
{
    uint32_t bit = (uint32_t)(x * 0x9e3779b97f4a7c15ULL >> 52);
    return (k->top_tags[bit / 64] >> (bit % 64) & 1) != 0;
}
static inline uint64_t key_tail(struct str s)
{
    uint64_t tail = 0;
    if (LIKELY(s.n >= sizeof(tail)))
        memcpy(&tail, s.p + s.n - sizeof(tail), sizeof(tail));
    else
        for (size_t i = 0; i < s.n; i++)
            tail = tail << 8 | (uint8_t)s.p[i];
    return tail ^ (uint64_t)s.n << 56;
}
/* What is kept of the key, in x's buckets: the chosen values' cells and all others'. Sets k->again
 * where some were not kept; of all others there are then the totals. */
void key_add_kept(struct compare *x, struct key *k);
/* After a second pass: a chosen value had less than its hash said. */
bool key_in_doubt(const struct compare *x, const struct key *k);
void key_end(struct key *k);
/* Series of a key after its second pass. */
enum ec key_series(struct compare *x, struct key *k, struct series_list *l, struct err *err)
    MUST_USE;

/* compare_count.c: one pass over one slice. */
enum ec compare_slice(struct compare *x, struct collector *c, struct err *err) MUST_USE;

/* compare_roots.c: traces that several parts hold, into x->shared. */
enum ec roots_shared(struct compare *x, struct err *err) MUST_USE;
void roots_free(struct roots *r); /* NULL allowed */

/* compare_trace.c: children and roots of spans. */
struct trace_columns { /* of one group; n_rows 0: none */
    uint32_t row_first, n_rows;
    struct col_view ids, parents, kinds, names, resources;
};
struct trace_facts {                               /* of one slice; all by row of the group */
    uint32_t *children, *root_name, *root_service; /* the latter: ids in texts */
    struct label_set texts;
    uint32_t *service_of; /* 1 + text id by resource row; 0: not asked */
    uint32_t *seen;       /* heads: by trace, 1 + group */
    uint32_t n_seen;
    struct buf ids; /* scratch of one trace */
    struct trace_columns here, other;
    const struct dict *names; /* the dictionary that name_of is about */
    struct buf name_of;       /* u32 by code: 1 + text id; 0: not asked */
    uint32_t n_names;
    const struct roots *shared;
};
enum ec trace_facts_init(struct trace_facts *t, const struct roots *shared, struct source *s,
    uint32_t n_rows, struct arena *a, struct err *err) MUST_USE;
void trace_facts_deinit(struct trace_facts *t); /* safe on zeroed */
/* Fills the three arrays for group g of the collector's slice. */
enum ec trace_facts_fill(struct trace_facts *t, struct collector *c, uint32_t g, struct err *err)
    MUST_USE;
/* True: some spans of the group are repeats of spans in other parts; ret_kept has the rest. */
bool roots_repeats(
    const struct roots *r, size_t part, const struct part_group *pg, struct scan_bits *ret_kept);
