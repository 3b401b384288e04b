/* SPDX-License-Identifier: Apache-2.0
 * The observed rows of one group, with their time buckets. What the fast path of metrics works on:
 * every later step reads whole columns at these rows and writes arrays by row. */
#pragma once

#include "source.h"
#include "storage/scan.h"

struct grid { /* buckets (start + i * step, start + (i + 1) * step]; instant: one, [start, end] */
    uint64_t start_ns, end_ns, step_ns;
    uint32_t n;
    bool instant;
    /* x / step_ns as (x * mul >> 64) >> shift, exact for x < 2^63; mul 0: divide */
    uint64_t mul;
    unsigned shift;
};
void grid_init(struct grid *g); /* mul and shift, from the rest */
/* Bucket of a start time; false: outside. */
bool grid_bucket(const struct grid *g, uint64_t t_ns, uint32_t *ret);
/* The buckets that [first, last] touches, cut to the grid; false: none. */
bool grid_buckets(const struct grid *g, uint64_t first_ns, uint64_t last_ns, uint32_t *ret_from,
    uint32_t *ret_to);

struct frame {
    uint32_t g, n_rows;      /* group and all its rows */
    uint32_t n;              /* observed */
    const uint32_t *rows;    /* n of them, ascending; NULL: all rows of the group */
    uint32_t bucket;         /* of all observed rows, when buckets is NULL */
    const uint32_t *buckets; /* by row */
    const uint64_t *starts;  /* by row; NULL: not read so far */
    /* Memory for the two lists, PART_GROUP_ROWS or what the largest group has. */
    uint32_t *rows_mem, *buckets_mem;
};

/* Memory for groups of up to n_rows. EC_LIMIT. */
enum ec frame_init(struct frame *f, uint32_t n_rows, struct arena *a, struct err *err) MUST_USE;
/* The rows of group g that start within the grid and are in `bits` (NULL: all). Buckets are counted
 * from `base`, the first one that the job's groups touch. */
enum ec frame_fill(struct frame *f, struct source *s, uint32_t g, const struct grid *grid,
    uint32_t base, const struct scan_bits *bits, struct err *err) MUST_USE;
enum ec frame_starts(struct frame *f, struct source *s, struct err *err) MUST_USE;
static inline uint32_t frame_row(const struct frame *f, uint32_t i)
{
    return f->rows == NULL ? i : f->rows[i];
}
/* FRAME_ROWS(f, row) { ... }: once per observed row. WHY the copies, here and in the bodies: what a
 * body stores might alias the frame, so the compiler would load its fields again for every row. */
struct frame_walk {
    const uint32_t *rows;
    uint32_t i, n;
};
#define FRAME_ROWS(f, row)                                                                 \
    for (struct frame_walk walk_ = {(f)->rows, 0, (f)->n}; walk_.i < walk_.n; walk_.i++)   \
        for (uint32_t row = walk_.rows == NULL ? walk_.i : walk_.rows[walk_.i], once_ = 1; \
             once_ != 0; once_ = 0)
/* Keeps the observed rows whose bit is set. */
void frame_keep(struct frame *f, const struct scan_bits *keep);
/* Observed rows as bits. */
void frame_bits(const struct frame *f, struct scan_bits *ret);
/* A dense column of spans: one value for each row of the group. EC_CORRUPT otherwise. */
enum ec frame_view(const struct frame *f, struct source *s, col_id col, const struct col_view **ret,
    struct err *err) MUST_USE;
