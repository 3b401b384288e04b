/* SPDX-License-Identifier: Apache-2.0
 * Rows and buckets of a group.
 *
 * WHY: most groups lie in one bucket, or in few, and wholly within the range: then no start time is
 * read at all. Otherwise a division by multiplication gives the bucket, without a branch. */
#include "metrics_frame.h"

void grid_init(struct grid *g)
{
    uint64_t range = g->end_ns - g->start_ns, step = g->step_ns;
    g->mul = 0;
    g->shift = 0;
    if (g->instant || step < 2 || range >> 63 != 0)
        return;
    unsigned l = 63u - (unsigned)__builtin_clzll(step);
    if ((step & (step - 1)) == 0) {
        g->mul = (uint64_t)1 << 63;
        g->shift = l - 1;
        return;
    }
    /* With L = floor(log2(step)), m = floor(2^(64+L) / step) + 1 < 2^64 exceeds the true factor by
     * less than 1, so x * m >> (64 + L) is off by less than x / 2^(64+L) < 1 / step. */
    g->mul = (uint64_t)(((unsigned __int128)1 << (64 + l)) / step) + 1;
    g->shift = l;
}

static inline uint64_t grid_divide(const struct grid *g, uint64_t x)
{
    if (UNLIKELY(g->mul == 0))
        return g->instant ? 0 : x / g->step_ns;
    return (uint64_t)((unsigned __int128)x * g->mul >> 64) >> g->shift;
}

bool grid_bucket(const struct grid *g, uint64_t t, uint32_t *ret)
{
    *ret = 0;
    if (g->instant)
        return t >= g->start_ns && t <= g->end_ns;
    if (t <= g->start_ns || t > g->end_ns)
        return false;
    *ret = (uint32_t)grid_divide(g, t - g->start_ns - 1);
    ASSERT(*ret < g->n);
    return true;
}

bool grid_buckets(
    const struct grid *g, uint64_t first, uint64_t last, uint32_t *ret_from, uint32_t *ret_to)
{
    uint64_t lo = g->instant ? g->start_ns : g->start_ns + 1;
    if (last < lo || first > g->end_ns || first > last)
        return false;
    bool in = grid_bucket(g, MAX(first, lo), ret_from);
    return in && grid_bucket(g, MIN(last, g->end_ns), ret_to);
}

enum ec frame_init(struct frame *f, uint32_t n_rows, struct arena *a, struct err *err)
{
    ASSERT(n_rows <= PART_GROUP_ROWS);
    *f = (struct frame){.rows_mem = arena_alloc(a, (n_rows + 1) * sizeof(uint32_t)),
        .buckets_mem = arena_alloc(a, (n_rows + 1) * sizeof(uint32_t))};
    if (f->rows_mem == NULL || f->buckets_mem == NULL)
        return ERR(err, EC_LIMIT, "query is over its memory budget");
    return EC_OK;
}

enum ec frame_view(const struct frame *f, struct source *s, col_id col, const struct col_view **ret,
    struct err *err)
{
    uint32_t slot;
    TRY(source_slot(s, col, &slot, err));
    TRY(source_view(s, slot, f->g, ret, err));
    if ((*ret)->rows != NULL || (*ret)->n != f->n_rows)
        return ERR(err, EC_CORRUPT, "column %u: %u values for %u rows", col, (*ret)->n, f->n_rows);
    return EC_OK;
}

enum ec frame_starts(struct frame *f, struct source *s, struct err *err)
{
    const struct col_view *v;
    if (f->starts != NULL)
        return EC_OK;
    TRY(frame_view(f, s, COL_SPAN_START, &v, err));
    f->starts = v->u64;
    return EC_OK;
}

static void rows_of_bits(struct frame *f, const struct scan_bits *bits)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < (f->n_rows + 63) / 64; i++)
        for (uint64_t w = bits->w[i]; w != 0; w &= w - 1)
            f->rows_mem[n++] = i * 64 + (uint32_t)__builtin_ctzll(w);
    f->n = n;
    f->rows = n == f->n_rows ? NULL : f->rows_mem;
}

/* Buckets of the observed rows; rows outside the grid, or outside what the group's bounds promised,
 * are left out. Buckets are from..to of the grid. */
static void bucket_rows(
    struct frame *f, const struct grid *g, uint32_t base, uint32_t from, uint32_t to)
{
    /* Relative to the first edge a start lies in (0, width] (instant: in [0, width]). */
    uint64_t edge = g->instant ? g->start_ns : g->start_ns + from * g->step_ns + 1;
    uint64_t width = g->instant ? g->end_ns - g->start_ns : (to - from + 1) * g->step_ns - 1;
    const uint64_t *starts = f->starts;
    uint32_t *buckets = f->buckets_mem, *rows = f->rows_mem;
    const struct grid grid = *g;
    uint32_t first = from - base, n = 0;
    FRAME_ROWS(f, row)
    {
        uint64_t x = starts[row] - edge;
        uint32_t in = x <= width;
        buckets[row] = first + (uint32_t)grid_divide(&grid, in != 0 ? x : 0);
        n += in;
    }
    f->buckets = buckets;
    if (n == f->n)
        return;
    n = 0;
    FRAME_ROWS(f, row)
    {
        rows[n] = row;
        n += starts[row] - edge <= width;
    }
    f->rows = f->rows_mem;
    f->n = n;
}

enum ec frame_fill(struct frame *f, struct source *s, uint32_t g, const struct grid *grid,
    uint32_t base, const struct scan_bits *bits, struct err *err)
{
    const struct part_group *pg = &s->groups[g];
    uint32_t from, to;
    f->g = g;
    f->n = f->n_rows = pg->n_rows;
    f->rows = f->buckets = NULL;
    f->starts = NULL;
    if (bits != NULL)
        rows_of_bits(f, bits);
    if (!grid_buckets(grid, pg->min_start_ns, pg->max_start_ns, &from, &to))
        f->n = 0;
    if (f->n == 0)
        return EC_OK;
    f->bucket = from - base;
    uint64_t lo = grid->instant ? grid->start_ns : grid->start_ns + 1;
    if (from == to && pg->min_start_ns >= lo && pg->max_start_ns <= grid->end_ns)
        return EC_OK;
    TRY(frame_starts(f, s, err));
    bucket_rows(f, grid, base, from, to);
    return EC_OK;
}

void frame_keep(struct frame *f, const struct scan_bits *keep)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < f->n; i++) {
        uint32_t row = frame_row(f, i);
        f->rows_mem[n] = row;
        n += scan_bits_get(keep, row);
    }
    if (n != f->n)
        f->rows = f->rows_mem;
    f->n = n;
}

void frame_bits(const struct frame *f, struct scan_bits *ret)
{
    if (f->rows == NULL) {
        scan_bits_fill(ret, f->n_rows);
        return;
    }
    scan_bits_clear(ret, f->n_rows);
    for (uint32_t i = 0; i < f->n; i++)
        scan_bits_set(ret, f->rows[i]);
}
