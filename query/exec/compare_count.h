/* SPDX-License-Identifier: Apache-2.0
 * Inside one pass of compare() over one slice: columns (compare_column.c) and what is counted with
 * them (compare_count.c).
 *
 * Each column gives its distinct values (dictionary codes, numbers) a place among the column's
 * cells. In a wide column a value has 2 * buckets cells, in a narrow one two, by side. The first
 * pass begins wide and turns narrow when there are many values; in the second there are cells for
 * each chosen value, and for all others together. A row's offset into those is computed once per
 * group, so counting a value is: base of the value, one add. */
#pragma once

#include "compare.h"

#define UNOBSERVED      UINT32_MAX
#define DIRECT_MAX      (1u << 18)
#define HEAD_DIRECT_MAX 8192u
#define INTS_DIRECT     65536u
#define NO_MESSAGE      UINT64_MAX   /* beside all codes */
#define OBJECTS_BYTES   (512u << 10) /* the same of all resources, or scopes */
#define COLUMN_BYTES    (64u << 10)  /* cells by bucket of one column, first pass */

enum column_type {
    COLUMN_VALUES, /* attribute of the value type */
    COLUMN_STATUS,
    COLUMN_KIND,
    COLUMN_NUMBER,
    COLUMN_TEXT, /* id in the trace facts' texts */
};

struct slot {
    uint64_t key;
    uint32_t base; /* 1 + base; 0: free */
};

struct column {
    struct key *key;
    enum column_type type;
    enum value_type value_type;
    col_id col;
    bool fact;               /* no column: counted from the trace facts */
    const struct dict *dict; /* the keys are its codes */
    const struct label_set *texts;
    bool narrow;  /* first pass: cells by side alone */
    bool by_hash; /* strings that may be counted by hash */
    /* First pass: all strings together, by bucket; the second, which then only looks for the chosen
     * ones, skips what has none. NULL: heads, which may have grown in between. */
    uint32_t *totals;
    bool skip;
    uint32_t place_group; /* where the dictionary was met */
    uint32_t width;       /* cells of one value */
    /* key -> id */
    struct buf direct; /* u32 by key: 1 + base; 0: not met */
    uint32_t n_direct;
    bool all_codes;   /* of the dictionary are in the direct table, from the start */
    struct buf slots; /* struct slot by hash of the key */
    uint32_t n_slots;
    struct buf keys;  /* u64 by id */
    struct buf bases; /* u32 by id: where its cells begin */
    uint32_t n;
    struct buf cells; /* u32 */
};

/* Resources or scopes: counted by row of their table, spread over their columns at the end. */
struct objects {
    enum part_table table;
    col_id col;
    uint32_t n;
    bool narrow;
    uint32_t *cells; /* [row * width + offset] */
};

struct counting {
    struct compare *x;
    struct collector *c;
    uint32_t base, stride; /* buckets of the slice */
    uint32_t width;        /* cells of one value in a wide column: 2 * stride */
    struct frame f;
    uint32_t *offsets; /* by row: side * stride + bucket; UNOBSERVED */
    uint32_t *sides;   /* by row: side; where observed */
    struct column *cols;
    uint32_t n_cols;
    struct column *facts[3]; /* children, root name, root service; NULL: not in this round */
    struct column *message;  /* statusMessage; NULL */
    struct objects objects[2];
    struct trace_facts trace;
    bool needs_trace;
    const struct tql_expr *filter;
    bool exact;
    struct scan *select; /* of compare()'s filter; NULL: all spans */
    bool select_none, select_exact;
};

void column_init(struct column *k, struct budget *budget);
void column_deinit(struct column *k);
/* Keys below n are looked up by index from now on, if that takes no more than a megabyte. */
enum ec column_direct(struct column *k, uint32_t n, struct err *err) MUST_USE;
/* Where the cells of a key begin that is not in the direct table. */
enum ec column_base(
    struct counting *w, struct column *k, uint64_t key, uint32_t *ret, struct err *err) MUST_USE;
/* First pass: a wide column from here on, if it can be one. */
void column_widen(const struct counting *w, struct column *k);
/* Counts the values of a view at the observed rows. */
enum ec column_count(
    struct counting *w, struct column *k, const struct col_view *v, struct err *err) MUST_USE;
/* At the end of the slice: to the key, first or second pass. */
void column_flush(struct counting *w, struct column *k);
/* Second pass: cells [side][bucket of the slice] of one value into those of the key, which is
 * locked. */
void key_add_cells(const struct counting *w, struct key *k, uint32_t id, const uint32_t *cells);

/* First pass: the key is locked. */
void key_add_totals(const struct counting *w, struct key *k, const uint32_t *cells);
/* First pass: cells of one value of a wide column to its key, which is locked. */
void key_count_cells(
    const struct counting *w, struct key *k, const struct qval *v, const uint32_t *cells);

/* Values on their way to a key, which is locked meanwhile. First pass. */
struct batch_out {
    const struct compare *x;
    struct key *key;
    uint32_t n;
    struct observed o[KEY_COUNT_MAX];
};
void batch_put(struct batch_out *b, const struct qval *v, const uint32_t n[2]);
void batch_flush(struct batch_out *b);

static inline bool key_active(const struct key *k)
{
    return k != NULL && atomic_load_explicit(&k->state, memory_order_relaxed) == KEY_ACTIVE;
}
