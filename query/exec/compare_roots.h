/* SPDX-License-Identifier: Apache-2.0
 * What is known of traces that several parts hold, by part and row: compare_roots.c finds it, and
 * compare_trace.c looks it up. */
#pragma once

#include "compare.h"
#include "eval.h"

struct apart_row { /* sorted by row */
    uint32_t row, children;
};
struct apart_trace {                         /* sorted by number */
    uint32_t trace, root_name, root_service; /* ids in texts */
};
struct apart_part {
    struct buf rows, traces;
    struct buf repeats; /* u32: rows of spans that a part before has, too; sorted */
};
struct roots {
    struct arena arena;
    struct label_set texts;
    struct apart_part *parts; /* as in the context */
    size_t n_parts;
    /* While they are collected: */
    struct source *sources;
    struct label_set done; /* ids as strings */
    struct arena scratch;
    struct eval ev;
};

static inline uint32_t apart_n_rows(const struct apart_part *p)
{
    return (uint32_t)(p->rows.n / sizeof(struct apart_row));
}

static inline uint32_t apart_n_traces(const struct apart_part *p)
{
    return (uint32_t)(p->traces.n / sizeof(struct apart_trace));
}

static inline enum ec apart_text(
    struct label_set *set, struct str s, uint32_t *ret, struct err *err)
{
    struct qval v = qval_str(s);
    return label_intern(set, &v, ret, err);
}

/* For qsort and bsearch: all begin with the number that they are sorted by. */
static inline int apart_cmp(const void *a, const void *b) /* by their first member */
{
    const uint32_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}
