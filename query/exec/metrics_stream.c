/* SPDX-License-Identifier: Apache-2.0
 * Progress of metrics queries: the samples of buckets that are complete, from the newest to the
 * oldest.
 *
 * By span, slices of parts are collected in parallel and added up wave by wave, newest part first.
 * Between two waves, a bucket is complete when it lies after the last span of every slice that is
 * left. By trace nothing can be said about samples before the end, because a trace may begin long
 * before its last span. */
#include <math.h>

#include "base/clock.h"
#include "metrics_finish.h"
#include "result.h"
#include "stream.h"

/* The first bucket that no slice left can add to. */
static uint32_t complete_from(const struct grid *g, const struct slice *left, size_t n_left)
{
    uint64_t last = 0;
    uint32_t bucket;
    for (size_t i = 0; i < n_left; i++)
        last = MAX(last, left[i].last_ns);
    if (n_left != 0 && (g->instant || last >= g->end_ns))
        return g->n;
    return grid_bucket(g, last, &bucket) ? bucket + 1 : 0;
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

void metrics_tell_slices(struct collector *total, const struct slice *left, size_t n_left)
{
    const struct query_ctx *whole = total->ctx;
    struct query_ctx ctx = *whole;
    int64_t began = clock_mono_ns();
    uint32_t from = complete_from(&total->grid, left, n_left), to = total->told_from;
    struct metrics_result part = {0};
    struct arena a;
    arena_init(&a, ctx.budget, 0);
    ctx.arena = &a;
    total->ctx = &ctx; /* the series of this report are gone with it */
    if (from < to && metrics_finish(total, &ctx, total->req, &part, NULL) == EC_OK &&
        !part.truncated) {
        cut(&total->grid, from, to, &part);
        total->told_from = from;
    } else {
        part.n = 0; /* nothing new, no memory for it, or series that the cap may take away again */
    }
    total->ctx = whole;
    part.truncated = false;
    part.stats = total->stats;
    part.stats.completed_jobs = part.stats.total_jobs = MAX(total->stats.total_jobs, 1);
    for (size_t i = 0; i < n_left; i++)
        part.stats.completed_jobs -= left[i].group_to - left[i].group_from;
    ctx.stream->metrics(ctx.stream->arg, &part);
    arena_deinit(&a);
    query_stream_told(whole, began);
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
