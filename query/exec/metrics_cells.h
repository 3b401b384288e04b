/* SPDX-License-Identifier: Apache-2.0
 * Accumulators of one thread as plain arrays: cell [series * stride + bucket], where series are
 * small numbers and buckets are those that the thread's rows can touch. Memory is charged to a
 * budget; it grows with the number of series. */
#pragma once

#include "base/buf.h"
#include "metrics_acc.h"
#include "metrics_frame.h"

struct cells {
    enum acc_kind kind;
    uint32_t stride, n_series;
    struct buf n;    /* u32: observations */
    struct buf v;    /* double: minimum, maximum, sum; not COUNT */
    struct buf comp; /* double: compensation of the sum; SUM, AVG */
};
void cells_init(struct cells *c, enum acc_kind kind, uint32_t stride, struct budget *budget);
void cells_deinit(struct cells *c); /* safe on zeroed */
/* Room for series 0..n_series-1. EC_LIMIT. */
enum ec cells_reserve(struct cells *c, uint32_t n_series, struct err *err) MUST_USE;
/* Adds the observed rows of a frame. series: by row; NULL: all are series 0. values: by row; not
 * COUNT. */
void cells_add(
    struct cells *c, const struct frame *f, const uint32_t *series, const double *values);
bool cells_any(const struct cells *c, uint32_t series);
/* Adds series k to s, whose bucket `base` is our bucket 0. */
void cells_merge(
    const struct cells *c, uint32_t k, const struct acc *a, struct acc_series *s, uint32_t base);

/* Numbers for pairs of small numbers: (a, b) -> dense ids, in order of appearance. */
struct pair_map {
    struct buf pairs; /* u64 by id: a << 32 | b */
    uint32_t n;
    struct buf table;      /* direct: u32 at a << shift | b. Else hashed by pair. 1 + id; 0: free */
    uint32_t n_a, n_slots; /* direct: rows of the table; hashed: slots, power of two */
    unsigned shift;
    bool hashed;
};
void pair_map_init(struct pair_map *m, struct budget *budget);
void pair_map_deinit(struct pair_map *m); /* safe on zeroed */
/* To be called before pair_map_rows whenever n_a or n_b may have grown. EC_LIMIT. */
enum ec pair_map_reserve(struct pair_map *m, uint32_t n_a, uint32_t n_b, struct err *err) MUST_USE;
/* out[row] = id of (a[row], b[row]) at the frame's rows; a < n_a, b < n_b. */
enum ec pair_map_rows(struct pair_map *m, const struct frame *f, const uint32_t *a,
    const uint32_t *b, uint32_t *out, struct err *err) MUST_USE;
static inline uint64_t pair_map_get(const struct pair_map *m, uint32_t id)
{
    return ((const uint64_t *)(const void *)m->pairs.p)[id];
}
