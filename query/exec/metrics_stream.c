/* SPDX-License-Identifier: Apache-2.0
 * Progress of metrics queries: the samples of buckets that are complete, from the newest to the
 * oldest.
 *
 * By span, parts are collected in parallel and in any order. A bucket is complete when it lies
 * after the last span of every part that is not finished; the finished ones are then added up anew
 * (in the order of the final answer) and finished like one. By trace nothing can be said about
 * samples before the end, because a trace may begin long before its last span. */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "metrics_finish.h"
#include "result.h"
#include "stream.h"

struct metrics_teller {
    const struct query_ctx *ctx;
    const struct metrics_request *req;
    struct grid grid;
    struct collector *parts;
    pthread_mutex_t lock; /* held while telling: others go on instead of waiting */
    uint64_t *last_ns;    /* per part: no span starts later */
    _Atomic bool *done;   /* set when the part's collector is at rest: release, acquire */
    uint32_t total_jobs;
    _Atomic uint32_t groups_done;
    _Atomic uint64_t spans_done;
    uint32_t told_from; /* buckets from here on were told; guarded by lock */
};

enum ec metrics_teller_new(const struct query_ctx *ctx, const struct metrics_request *req,
    const struct grid *grid, struct collector *parts, struct metrics_teller **ret, struct err *err)
{
    struct metrics_teller *t = ARENA_NEW(ctx->arena, struct metrics_teller);
    uint64_t *last = ARENA_ARRAY(ctx->arena, ctx->n_parts, uint64_t);
    _Atomic bool *done = arena_calloc(ctx->arena, ctx->n_parts, sizeof(*done));
    if (t == NULL || last == NULL || done == NULL)
        return ERR(err, EC_LIMIT, "query is over its memory budget");
    *t = (struct metrics_teller){.ctx = ctx,
        .req = req,
        .grid = *grid,
        .parts = parts,
        .last_ns = last,
        .done = done,
        .told_from = grid->n};
    for (size_t i = 0; i < ctx->n_parts; i++) {
        struct part_reader *r;
        struct part_info info;
        parts[i].teller = t;
        last[i] = UINT64_MAX; /* what cannot be opened now is complete when its collector says so */
        if (part_reader_open(ctx->parts[i], ctx->budget, &r, NULL) != EC_OK)
            continue;
        part_info(r, &info);
        part_reader_close(r);
        last[i] = info.max_end_ns;
        t->total_jobs += info.n_groups;
    }
    t->total_jobs = MAX(t->total_jobs, 1);
    pthread_mutex_init(&t->lock, NULL);
    *ret = t;
    return EC_OK;
}

void metrics_teller_free(struct metrics_teller *t)
{
    if (t != NULL)
        pthread_mutex_destroy(&t->lock);
}

/* The first bucket that no unfinished part can add to. */
static uint32_t complete_from(const struct metrics_teller *t)
{
    const struct grid *g = &t->grid;
    uint64_t last = 0;
    for (size_t i = 0; i < t->ctx->n_parts; i++)
        if (!atomic_load_explicit(&t->done[i], memory_order_acquire))
            last = MAX(last, t->last_ns[i]);
    if (g->instant || last >= g->end_ns)
        return g->n;
    if (last <= g->start_ns)
        return 0;
    return (uint32_t)((last - g->start_ns - 1) / g->step_ns) + 1;
}

static enum ec sum_up(struct metrics_teller *t, const struct query_ctx *ctx, struct collector *sum,
    struct metrics_result *ret)
{
    for (size_t i = 0; i < ctx->n_parts; i++)
        if (atomic_load_explicit(&t->done[i], memory_order_acquire) && t->parts[i].ec == EC_OK)
            TRY(collector_merge(sum, &t->parts[i], NULL));
    return metrics_finish(sum, ctx, t->req, ret, NULL);
}

/* Leaves the buckets [from, to) and the exemplars of their spans. */
static void cut(const struct grid *g, uint32_t from, uint32_t to, struct metrics_result *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++) {
        struct metrics_series *s = &r->series[i];
        uint32_t m = 0, bucket;
        bool any = false;
        for (uint32_t k = 0; k < s->n_exemplars; k++)
            if (grid_bucket(g, s->exemplars[k].start_ns, &bucket) && bucket >= from && bucket < to)
                s->exemplars[m++] = s->exemplars[k];
        s->n_exemplars = m;
        s->values += from;
        for (uint32_t k = 0; k < to - from && !any; k++)
            any = !isnan(s->values[k]);
        if (any)
            r->series[n++] = *s;
    }
    r->n = n;
    r->n_buckets = to - from;
    r->first_ns += from * r->step_ns;
}

static void sum_stats(struct metrics_teller *t, struct query_stats *ret)
{
    *ret = (struct query_stats){.total_jobs = t->total_jobs,
        .completed_jobs = MIN(t->groups_done, t->total_jobs),
        .inspected_spans = t->spans_done};
    for (size_t i = 0; i < t->ctx->n_parts; i++) {
        const struct query_stats *s = &t->parts[i].stats;
        if (!atomic_load_explicit(&t->done[i], memory_order_acquire))
            continue;
        ret->inspected_bytes += s->inspected_bytes;
        ret->total_blocks += s->total_blocks;
        ret->total_block_bytes += s->total_block_bytes;
    }
}

static void tell(struct metrics_teller *t)
{
    struct query_ctx ctx = *t->ctx;
    int64_t began = clock_mono_ns();
    uint32_t from = complete_from(t), to = t->told_from;
    struct metrics_result part = {0};
    struct arena a;
    struct collector sum;
    arena_init(&a, ctx.budget, 0);
    ctx.arena = &a;
    collector_init(&sum, &ctx, t->req, &t->grid);
    if (from < to && sum_up(t, &ctx, &sum, &part) == EC_OK && !part.truncated) {
        cut(&t->grid, from, to, &part);
        t->told_from = from;
    } else {
        part.n = 0; /* nothing new, no memory for it, or series that the cap may take away again */
    }
    part.truncated = false;
    sum_stats(t, &part.stats);
    ctx.stream->metrics(ctx.stream->arg, &part);
    collector_deinit(&sum);
    arena_deinit(&a);
    query_stream_told(&ctx, began);
}

static void tell_if_due(struct metrics_teller *t)
{
    if (pthread_mutex_trylock(&t->lock) != 0)
        return;
    if (query_stream_due(t->ctx))
        tell(t);
    pthread_mutex_unlock(&t->lock);
}

void metrics_tell_group(struct metrics_teller *t, uint32_t n_rows)
{
    if (t == NULL)
        return;
    atomic_fetch_add_explicit(&t->groups_done, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&t->spans_done, n_rows, memory_order_relaxed);
    tell_if_due(t);
}

void metrics_tell_part(struct metrics_teller *t, const struct collector *part)
{
    if (t == NULL)
        return;
    atomic_store_explicit(&t->done[part - t->parts], true, memory_order_release);
    tell_if_due(t);
}

void metrics_tell_traces(struct collector *c)
{
    const struct query_ctx *ctx = c->ctx;
    int64_t began = clock_mono_ns();
    struct metrics_result part = {0};
    query_stats_fill(ctx, c->sources, &part.stats);
    part.stats.inspected_spans = c->cands.inspected_spans;
    part.stats.completed_jobs -= MIN(candidates_left(&c->cands), part.stats.total_jobs);
    ctx->stream->metrics(ctx->stream->arg, &part);
    query_stream_told(ctx, began);
}
