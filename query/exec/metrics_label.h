/* SPDX-License-Identifier: Apache-2.0
 * Labels as small numbers. A label_set gives each distinct value of one by() attribute an id; a
 * label_col finds the id of every observed row of a group, reading each distinct string once per
 * dictionary and each resource or scope once per part. One thread. */
#pragma once

#include "base/buf.h"
#include "eval.h"
#include "metrics_frame.h"

/* Distinct values, ids in order of appearance. Id 0 is nil. */
struct label_set {
    struct arena *arena;
    struct qval *values;
    uint32_t n, cap;
    uint32_t *slots; /* 1 + id; 0: free */
    uint32_t n_slots;
};
enum ec label_set_init(struct label_set *s, struct arena *a, struct err *err) MUST_USE;
/* Strings are copied. EC_LIMIT. */
enum ec label_intern(struct label_set *s, const struct qval *v, uint32_t *ret, struct err *err)
    MUST_USE;
bool label_find(const struct label_set *s, const struct qval *v, uint32_t *ret);

/* A value as label: equal labels are one series. */
struct qval collect_label(struct qval v);

/* Ids by dictionary code, found when a code is first met. */
struct label_memo {
    const struct dict *dict;
    struct buf ids; /* u32: 1 + id; 0: not met */
};

enum label_kind {
    LABEL_COLUMNS, /* span columns over a value of the resource or scope, over a default */
    LABEL_NUMBER,  /* status, kind */
    LABEL_ROWS,    /* whatever eval_attr says, row by row */
};

struct label_col {
    enum label_kind kind;
    const struct tql_attr *attr;
    struct label_set set;
    col_id col;     /* NUMBER: the column; COLUMNS: names the resource or scope when wide is set */
    uint32_t *wide; /* ids by resource or scope row */
    uint32_t n_wide;
    uint32_t slots[VALUE_TYPES]; /* COLUMNS, by type */
    bool any_slot;
    bool name; /* COLUMNS: the span's name, which every row has */
    uint32_t default_id;
    uint32_t numbers[8]; /* NUMBER: ids of 0..7, of which the last stands for all above */
    struct label_memo memo[VALUE_TYPES];
    uint32_t *ids; /* by row; valid at observed rows */
};

/* Binds attr to source 0 of ev. n_rows: of the largest group. */
enum ec label_col_init(struct label_col *l, struct eval *ev, const struct tql_attr *attr,
    uint32_t n_rows, struct arena *a, struct err *err) MUST_USE;
void label_col_deinit(struct label_col *l); /* safe on zeroed */
/* No id will be added to the set. */
static inline bool label_col_fixed(const struct label_col *l)
{
    return l->kind == LABEL_NUMBER || (l->kind == LABEL_COLUMNS && !l->any_slot && !l->name);
}
/* Fills l->ids for the frame. LABEL_ROWS: the frame is the current trace of ev (frame_trace). */
enum ec label_col_fill(struct label_col *l, struct eval *ev, const struct frame *f, struct err *err)
    MUST_USE;
/* Makes the frame's observed rows the current trace of ev: row i is the frame's i-th. Memory is
 * scratch. */
enum ec frame_trace(const struct frame *f, struct eval *ev, struct qtrace *t, struct arena *scratch,
    struct err *err) MUST_USE;
