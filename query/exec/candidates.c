/* SPDX-License-Identifier: Apache-2.0
 * Candidate enumeration.
 *
 * Blocks number their traces by start time, so their groups are read from the last to the first,
 * only as far as the query needs. Heads are in arrival order: all their groups are scanned at once
 * and the traces sorted. */
#include "candidates.h"

#include <stdlib.h>

#include "base/clock.h"

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

enum ec query_check_alive(const struct query_ctx *ctx, struct err *err)
{
    if (ctx->canceled != NULL && ctx->canceled(ctx->canceled_arg))
        return ERR(err, EC_CANCELED, "context canceled");
    if (ctx->deadline_mono_ns != 0 && clock_mono_ns() > ctx->deadline_mono_ns)
        return ERR(err, EC_DEADLINE, "context deadline exceeded");
    return EC_OK;
}

static bool outside(const struct candidates *c, uint64_t start_ns, uint64_t end_ns)
{
    return (c->start_ns != 0 || c->end_ns != 0) && (start_ns > c->end_ns || end_ns < c->start_ns);
}

enum ec candidates_open(struct candidates *c, const struct query_ctx *ctx, struct source *sources,
    size_t n_sources, const struct scan_expr *expr, uint64_t start_ns, uint64_t end_ns,
    struct err *err)
{
    *c = (struct candidates){.ctx = ctx,
        .expr = expr,
        .start_ns = start_ns,
        .end_ns = end_ns,
        .arena = ctx->arena,
        .n = n_sources};
    c->cursors = ARENA_ARRAY(ctx->arena, n_sources, struct cursor);
    if (c->cursors == NULL)
        return over_budget(err);
    for (size_t i = 0; i < n_sources; i++) {
        struct source *s = &sources[i];
        struct cursor *k = &c->cursors[i];
        k->last_trace = PART_NONE;
        if (s->part == NULL || outside(c, s->info.min_start_ns, s->info.max_end_ns))
            continue;
        k->s = s;
        k->groups_left = s->info.n_groups;
        if (expr->node == SCAN_ALL)
            continue;
        enum ec ec = source_note(s, scan_new(s->r, expr, &k->scan, err));
        if (source_unreadable(ec)) {
            k->s = NULL;
            continue;
        }
        TRY(ec);
        if (scan_none(k->scan))
            k->groups_left = 0;
    }
    return EC_OK;
}

void candidates_close(struct candidates *c)
{
    for (size_t i = 0; i < c->n && c->cursors != NULL; i++)
        scan_free(c->cursors[i].scan);
    *c = (struct candidates){0};
}

static enum ec push(struct candidates *c, struct cursor *k, uint32_t trace, struct err *err)
{
    struct part_trace pt;
    if (k->n == k->cap) {
        uint32_t cap = k->cap == 0 ? 64 : k->cap * 2;
        struct cand *q = ARENA_ARRAY(c->arena, cap, struct cand);
        if (q == NULL)
            return over_budget(err);
        if (k->n != 0)
            memcpy(q, k->queue, k->n * sizeof(*q));
        k->queue = q;
        k->cap = cap;
    }
    TRY(part_trace(k->s->r, trace, &pt, err));
    if (!outside(c, pt.start_ns, pt.end_ns))
        k->queue[k->n++] = (struct cand){.start_ns = pt.start_ns, .trace = trace};
    return EC_OK;
}

static enum ec group_bits(
    struct candidates *c, struct cursor *k, uint32_t g, struct scan_bits *bits, struct err *err)
{
    TRY(query_check_alive(c->ctx, err));
    c->inspected_spans += k->s->groups[g].n_rows;
    if (k->scan == NULL) {
        scan_bits_fill(bits, k->s->groups[g].n_rows);
        return EC_OK;
    }
    return scan_group(k->scan, g, bits, err);
}

static enum ec trace_column(
    struct cursor *k, uint32_t g, const struct col_view **ret, struct err *err)
{
    uint32_t slot;
    TRY(source_slot(k->s, COL_SPAN_TRACE, &slot, err));
    return source_view(k->s, slot, g, ret, err);
}

/* Refills a block's queue from the next group that has candidates. */
static enum ec refill_block(struct candidates *c, struct cursor *k, struct err *err)
{
    struct scan_bits bits;
    k->n = k->at = 0;
    while (k->groups_left > 0 && k->n == 0) {
        uint32_t g = --k->groups_left;
        const struct part_group *pg = &k->s->groups[g];
        const struct col_view *v;
        if (outside(c, pg->min_start_ns, pg->max_end_ns))
            continue;
        TRY(group_bits(c, k, g, &bits, err));
        if (!scan_bits_any(&bits))
            continue;
        TRY(trace_column(k, g, &v, err));
        for (uint32_t row = bits.n; row-- > 0;) {
            if (bits.w[row / 64] == 0) {
                row = row / 64 * 64; /* nothing in this word */
                continue;
            }
            if (!scan_bits_get(&bits, row) || v->u32[row] >= k->last_trace)
                continue;
            k->last_trace = v->u32[row];
            TRY(push(c, k, k->last_trace, err));
        }
    }
    return EC_OK;
}

static int cmp_newest(const void *a, const void *b)
{
    const struct cand *x = a, *y = b;
    if (x->start_ns != y->start_ns)
        return x->start_ns > y->start_ns ? -1 : 1;
    return x->trace < y->trace ? -1 : x->trace > y->trace;
}

static enum ec refill_head(struct candidates *c, struct cursor *k, struct err *err)
{
    struct scan_bits bits;
    k->n = k->at = 0;
    if (k->whole)
        return EC_OK;
    k->whole = true;
    uint64_t *seen = ARENA_ARRAY(c->arena, k->s->info.n_traces / 64 + 1, uint64_t);
    if (seen == NULL)
        return over_budget(err);
    for (uint32_t g = 0; g < k->groups_left; g++) {
        const struct part_group *pg = &k->s->groups[g];
        const struct col_view *v;
        if (outside(c, pg->min_start_ns, pg->max_end_ns))
            continue;
        TRY(group_bits(c, k, g, &bits, err));
        TRY(trace_column(k, g, &v, err));
        uint32_t n = MIN(bits.n, pg->n_rows);
        for (uint32_t row = scan_bits_next(&bits, 0); row < n;
             row = scan_bits_next(&bits, row + 1)) {
            uint32_t t = v->u32[row];
            if (t >= k->s->info.n_traces || (seen[t / 64] >> (t % 64) & 1) != 0)
                continue;
            seen[t / 64] |= (uint64_t)1 << (t % 64);
            TRY(push(c, k, t, err));
        }
    }
    k->groups_left = 0;
    if (k->n > 1)
        qsort(k->queue, k->n, sizeof(*k->queue), cmp_newest);
    return EC_OK;
}

/* Fills the cursor's queue when it is empty; a damaged source ends, and is marked. */
static enum ec refill(struct candidates *c, struct cursor *k, struct err *err)
{
    if (k->s == NULL || k->at < k->n)
        return EC_OK;
    enum ec ec = k->s->part->is_head ? refill_head(c, k, err) : refill_block(c, k, err);
    /* The group is skipped; the next refill goes on with the one before. */
    return source_unreadable(source_note(k->s, ec)) ? EC_OK : ec;
}

enum ec candidates_next(struct candidates *c, uint32_t *ret_src, struct cand *ret, struct err *err)
{
    struct cursor *best = NULL;
    for (size_t i = 0; i < c->n; i++) {
        struct cursor *k = &c->cursors[i];
        do {
            TRY(refill(c, k, err));
        } while (k->s != NULL && k->at == k->n && k->groups_left > 0);
        if (k->s == NULL || k->at == k->n)
            continue;
        if (best == NULL || cmp_newest(&k->queue[k->at], &best->queue[best->at]) < 0)
            best = k;
    }
    if (best == NULL) {
        *ret_src = PART_NONE;
        return EC_OK;
    }
    *ret_src = (uint32_t)(best - c->cursors);
    *ret = best->queue[best->at++];
    return EC_OK;
}

uint32_t candidates_left(const struct candidates *c)
{
    uint64_t left = 0;
    for (size_t i = 0; i < c->n; i++) {
        const struct cursor *k = &c->cursors[i];
        if (k->s == NULL)
            continue;
        uint64_t queued = k->n - k->at;
        left += k->groups_left;
        if (queued != 0) /* a head's queue holds the traces of all its groups */
            left += k->whole ? (queued * k->s->info.n_groups + k->n - 1) / k->n : 1;
    }
    return (uint32_t)MIN(left, UINT32_MAX);
}
