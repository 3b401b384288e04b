/* SPDX-License-Identifier: Apache-2.0
 * Cells and pairs. The loops here run once per observed span. */
#include "metrics_cells.h"

#include <math.h>

#include "base/hash.h"

#define PAIRS_DIRECT_MAX (1u << 18) /* entries of a table indexed by both numbers */

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

static uint32_t *u32s(const struct buf *b)
{
    return (uint32_t *)(void *)b->p;
}

static double *doubles(const struct buf *b)
{
    return (double *)(void *)b->p;
}

/* ---- cells ---- */

void cells_init(struct cells *c, enum acc_kind kind, uint32_t stride, struct budget *budget)
{
    ASSERT(stride >= 1);
    *c = (struct cells){.kind = kind, .stride = stride};
    buf_init(&c->n, budget);
    buf_init(&c->v, budget);
    buf_init(&c->comp, budget);
}

void cells_deinit(struct cells *c)
{
    buf_deinit(&c->n);
    buf_deinit(&c->v);
    buf_deinit(&c->comp);
}

/* Up to n bytes, the new ones zero. */
static bool extend(struct buf *b, size_t n)
{
    if (n <= b->n)
        return true;
    if (!buf_reserve(b, n - b->n))
        return false;
    memset(b->p + b->n, 0, n - b->n);
    b->n = n;
    return true;
}

enum ec cells_reserve(struct cells *c, uint32_t n_series, struct err *err)
{
    size_t n = (size_t)n_series * c->stride;
    if (n_series <= c->n_series)
        return EC_OK;
    bool sums = c->kind == ACC_SUM || c->kind == ACC_AVG;
    if (n > SIZE_MAX / sizeof(double) || !extend(&c->n, n * sizeof(uint32_t)) ||
        (c->kind != ACC_COUNT && !extend(&c->v, n * sizeof(double))) ||
        (sums && !extend(&c->comp, n * sizeof(double))))
        return over_budget(err);
    c->n_series = n_series;
    return EC_OK;
}

/* Where the observation of a row goes; a copy of what the loops need. */
struct place {
    const uint32_t *series, *buckets;
    uint32_t stride, bucket;
};
static inline struct place place_of(
    const struct cells *c, const struct frame *f, const uint32_t *series)
{
    return (struct place){series, f->buckets, c->stride, f->bucket};
}
static inline size_t place_cell(struct place p, uint32_t row)
{
    return (p.series == NULL ? 0 : (size_t)p.series[row] * p.stride) +
           (p.buckets == NULL ? p.bucket : p.buckets[row]);
}

static void add_counts(struct cells *c, const struct frame *f, const uint32_t *series)
{
    const struct place p = place_of(c, f, series);
    uint32_t *n = u32s(&c->n);
    if (series == NULL && f->buckets == NULL) {
        n[f->bucket] += f->n;
        return;
    }
    FRAME_ROWS(f, row)
    n[place_cell(p, row)]++;
}

static void add_extremes(
    struct cells *c, const struct frame *f, const uint32_t *series, const double *values)
{
    const struct place p = place_of(c, f, series);
    uint32_t *n = u32s(&c->n);
    double *v = doubles(&c->v);
    const bool min = c->kind == ACC_MIN;
    FRAME_ROWS(f, row)
    {
        size_t k = place_cell(p, row);
        double x = values[row];
        if (n[k]++ == 0 || (min ? x < v[k] : x > v[k]))
            v[k] = x;
    }
}

/* Neumaier's sum: small terms survive next to large ones. */
static void add_sums(
    struct cells *c, const struct frame *f, const uint32_t *series, const double *values)
{
    const struct place p = place_of(c, f, series);
    uint32_t *n = u32s(&c->n);
    double *v = doubles(&c->v), *comp = doubles(&c->comp);
    FRAME_ROWS(f, row)
    {
        size_t k = place_cell(p, row);
        double x = values[row], sum = isnan(v[k]) ? 0 : v[k], t = sum + x;
        if (LIKELY(isfinite(t)))
            comp[k] += fabs(sum) >= fabs(x) ? (sum - t) + x : (x - t) + sum;
        v[k] = t;
        n[k]++;
    }
}

void cells_add(struct cells *c, const struct frame *f, const uint32_t *series, const double *values)
{
    switch (c->kind) {
    case ACC_COUNT:
        add_counts(c, f, series);
        break;
    case ACC_MIN:
    case ACC_MAX:
        add_extremes(c, f, series, values);
        break;
    case ACC_SUM:
    case ACC_AVG:
        add_sums(c, f, series, values);
        break;
    }
}

bool cells_any(const struct cells *c, uint32_t series)
{
    const uint32_t *n = u32s(&c->n) + (size_t)series * c->stride;
    for (uint32_t i = 0; i < c->stride; i++)
        if (n[i] != 0)
            return true;
    return false;
}

void cells_merge(
    const struct cells *c, uint32_t k, const struct acc *a, struct acc_series *s, uint32_t base)
{
    size_t first = (size_t)k * c->stride;
    const uint32_t *n = u32s(&c->n) + first;
    for (uint32_t i = 0; i < c->stride; i++) {
        if (n[i] == 0)
            continue;
        bool counts = c->kind == ACC_COUNT;
        bool sums = c->kind == ACC_SUM || c->kind == ACC_AVG;
        acc_add_cell(a, s, base + i,
            &(struct acc_cell){.n = n[i],
                .v = counts ? 0 : doubles(&c->v)[first + i],
                .comp = sums ? doubles(&c->comp)[first + i] : 0});
    }
}

/* ---- pairs ---- */

void pair_map_init(struct pair_map *m, struct budget *budget)
{
    *m = (struct pair_map){0};
    buf_init(&m->pairs, budget);
    buf_init(&m->table, budget);
}

void pair_map_deinit(struct pair_map *m)
{
    buf_deinit(&m->pairs);
    buf_deinit(&m->table);
}

static uint32_t pair_slot(const struct pair_map *m, uint64_t pair)
{
    const uint32_t *t = u32s(&m->table);
    uint32_t at = (uint32_t)hash_mix(pair) & (m->n_slots - 1);
    while (t[at] != 0 && pair_map_get(m, t[at] - 1) != pair)
        at = (at + 1) & (m->n_slots - 1);
    return at;
}

static enum ec table_new(struct pair_map *m, size_t entries, struct err *err)
{
    buf_reset(&m->table);
    return extend(&m->table, entries * sizeof(uint32_t)) ? EC_OK : over_budget(err);
}

static enum ec hash_grow(struct pair_map *m, uint32_t n_slots, struct err *err)
{
    TRY(table_new(m, n_slots, err));
    m->hashed = true;
    m->n_slots = n_slots;
    for (uint32_t i = 0; i < m->n; i++)
        u32s(&m->table)[pair_slot(m, pair_map_get(m, i))] = i + 1;
    return EC_OK;
}

enum ec pair_map_reserve(struct pair_map *m, uint32_t n_a, uint32_t n_b, struct err *err)
{
    unsigned shift = m->shift;
    if (m->hashed || (n_a <= m->n_a && n_b <= 1u << shift && m->n_a != 0))
        return EC_OK;
    while (shift < 31 && 1u << shift < n_b)
        shift++;
    uint32_t rows = MAX(m->n_a, 4u);
    while (rows < n_a && rows < 1u << 31)
        rows *= 2;
    if ((uint64_t)rows << shift > PAIRS_DIRECT_MAX) {
        uint32_t slots = 1024;
        while (slots < m->n * 4)
            slots *= 2;
        return hash_grow(m, slots, err);
    }
    TRY(table_new(m, (size_t)rows << shift, err));
    m->n_a = rows;
    m->shift = shift;
    for (uint32_t i = 0; i < m->n; i++) {
        uint64_t pair = pair_map_get(m, i);
        u32s(&m->table)[(pair >> 32) << shift | (uint32_t)pair] = i + 1;
    }
    return EC_OK;
}

/* A new pair at table entry `at`. */
static enum ec pair_new(
    struct pair_map *m, uint32_t at, uint64_t pair, uint32_t *ret_id, struct err *err)
{
    if (!buf_reserve(&m->pairs, sizeof(pair)))
        return over_budget(err);
    buf_put(&m->pairs, &pair, sizeof(pair));
    u32s(&m->table)[at] = ++m->n;
    *ret_id = m->n;
    if (m->hashed && m->n >= m->n_slots / 2)
        return hash_grow(m, m->n_slots * 2, err);
    return EC_OK;
}

enum ec pair_map_rows(struct pair_map *m, const struct frame *f, const uint32_t *a,
    const uint32_t *b, uint32_t *out, struct err *err)
{
    const unsigned shift = m->shift;
    FRAME_ROWS(f, row)
    {
        uint64_t pair = (uint64_t)a[row] << 32 | b[row];
        uint32_t at = m->hashed ? pair_slot(m, pair) : a[row] << shift | b[row];
        uint32_t id = u32s(&m->table)[at];
        if (UNLIKELY(id == 0))
            TRY(pair_new(m, at, pair, &id, err));
        out[row] = id - 1;
    }
    return EC_OK;
}
