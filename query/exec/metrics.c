/* SPDX-License-Identifier: Apache-2.0
 * The driver of metrics queries: alignment, one collector per part or one over all of them, then
 * series. */
#include "query/metrics.h"

#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "metrics_finish.h"

uint64_t metrics_default_step(uint64_t range_ns)
{
    static const uint64_t grains_s[] = {3600, 300, 60, 15, 5, 1};
    const uint64_t s = (uint64_t)NS_PER_S, small = 50 * (uint64_t)NS_PER_MS;
    uint64_t base = range_ns / 240;
    if (range_ns < 60 * s)
        return base > small ? base / small * small : small;
    for (size_t i = 0; i < ARRAY_LEN(grains_s); i++)
        if (base > grains_s[i] * s)
            return base / (grains_s[i] * s) * (grains_s[i] * s);
    return s;
}

/* False: nothing is left of the range. */
static bool make_grid(const struct metrics_request *req, struct grid *g)
{
    *g = (struct grid){
        .start_ns = req->start_ns, .end_ns = req->end_ns, .step_ns = 1, .n = 1, .instant = true};
    if (req->instant)
        return true;
    uint64_t step = req->step_ns, start = req->start_ns / step * step;
    uint64_t end = req->end_ns / step * step;
    if (end < req->end_ns && end <= UINT64_MAX - step)
        end += step;
    if (req->cutoff_ns != 0 && end > req->cutoff_ns)
        end = req->cutoff_ns / step * step;
    if (start > step)
        start -= step;
    if (end <= start)
        return false;
    *g = (struct grid){
        .start_ns = start, .end_ns = end, .step_ns = step, .n = (uint32_t)((end - start) / step)};
    return true;
}

struct parts_job {
    struct collector *collectors;
    struct part *const *parts;
    struct metrics_teller *teller; /* NULL: nobody listens */
};

static void collect_one(void *arg, size_t i)
{
    struct parts_job *job = arg;
    struct collector *c = &job->collectors[i];
    c->ec = collect_part(c, job->parts[i], &c->err);
    collector_close(c);
    metrics_tell_part(c->teller, c);
}

static enum ec by_span(
    struct collector *total, const struct query_ctx *ctx, struct parts_job *job, struct err *err)
{
    pool_parallel(ctx->pool, ctx->key, 8, ctx->n_parts, collect_one, job);
    for (size_t i = 0; i < ctx->n_parts; i++) {
        struct collector *c = &job->collectors[i];
        if (c->ec != EC_OK)
            return ERR(err, c->ec, "%s", err_msg(&c->err));
        TRY(collector_merge(total, c, err));
    }
    return EC_OK;
}

static enum ec collect(struct collector *total, const struct query_ctx *ctx,
    const struct metrics_request *req, struct parts_job *job, struct err *err)
{
    if (req->q->never)
        return EC_OK;
    if (!collect_by_span(req->q))
        return collect_traces(total, err);
    struct collector *all = ARENA_ARRAY(ctx->arena, ctx->n_parts, struct collector);
    if (all == NULL)
        return ERR(err, EC_LIMIT, "query is over its memory budget");
    for (size_t i = 0; i < ctx->n_parts; i++)
        collector_init(&all[i], ctx, req, &total->grid);
    job->collectors = all;
    if (ctx->stream != NULL)
        TRY(metrics_teller_new(ctx, req, &total->grid, all, &job->teller, err));
    return by_span(total, ctx, job, err);
}

static void fill_stats(
    const struct query_ctx *ctx, const struct collector *c, struct query_stats *ret)
{
    *ret = c->stats;
    ret->completed_jobs = ret->total_jobs = MAX(ret->total_jobs, 1);
    ret->partial = c->n_damaged != 0;
    if (ret->partial)
        ret->partial_text = arena_printf(ctx->arena,
            "%u of %zu blocks could not be read in full, a partial answer is returned",
            c->n_damaged, ctx->n_parts);
}

/* Exemplar labels live in the collectors' arenas: copies into the answer's. */
static enum ec keep_exemplars(struct metrics_series *s, struct arena *a, struct err *err)
{
    for (uint32_t i = 0; i < s->n_exemplars; i++) {
        struct metrics_exemplar *e = &s->exemplars[i];
        struct result_attr *labels = ARENA_ARRAY(a, e->n_labels, struct result_attr);
        if (labels == NULL)
            return ERR(err, EC_LIMIT, "query is over its memory budget");
        for (uint32_t k = 0; k < e->n_labels; k++) {
            struct value *v = &labels[k].value;
            labels[k] = e->labels[k];
            if (v->type != VALUE_STR && v->type != VALUE_ARRAY)
                continue;
            v->s = arena_str(a, v->s);
            if (v->s.p == NULL)
                return ERR(err, EC_LIMIT, "query is over its memory budget");
        }
        e->labels = labels;
    }
    return EC_OK;
}

/* Exemplars without a value of their own show the sample of their bucket. */
static void fill_exemplars(const struct grid *g, struct metrics_series *s)
{
    for (uint32_t i = 0; i < s->n_exemplars; i++) {
        uint32_t bucket;
        if (isnan(s->exemplars[i].value) && grid_bucket(g, s->exemplars[i].start_ns, &bucket))
            s->exemplars[i].value = s->values[bucket];
    }
}

enum ec metrics_finish(struct collector *total, const struct query_ctx *ctx,
    const struct metrics_request *req, struct metrics_result *ret, struct err *err)
{
    const struct grid *g = &total->grid;
    struct series_list list;
    TRY(finish_series(total, &list, err));
    TRY(second_stages(req->q, ctx, g->n, &list, err));
    bool truncated = req->max_series != 0 && list.n >= req->max_series;
    if (truncated)
        list.n = req->max_series;
    for (size_t i = 0; i < list.n; i++) {
        fill_exemplars(g, &list.p[i]);
        TRY(keep_exemplars(&list.p[i], ctx->arena, err));
    }
    *ret = (struct metrics_result){.series = list.p,
        .n = list.n,
        .n_buckets = g->n,
        .first_ns = g->instant ? g->end_ns : g->start_ns + g->step_ns,
        .step_ns = g->step_ns,
        .truncated = truncated};
    fill_stats(ctx, total, &ret->stats);
    return EC_OK;
}

enum ec query_metrics(const struct query_ctx *ctx, const struct metrics_request *req,
    struct metrics_result *ret, struct err *err)
{
    struct parts_job job = {.parts = ctx->parts};
    struct collector total;
    struct grid grid;
    ASSERT(req->q->metric != NULL);
    ASSERT(req->instant || req->step_ns > 0);
    if (!make_grid(req, &grid)) {
        *ret = (struct metrics_result){.stats = {.completed_jobs = 1, .total_jobs = 1}};
        return EC_OK;
    }
    collector_init(&total, ctx, req, &grid);
    enum ec ec = collect(&total, ctx, req, &job, err);
    collector_close(&total);
    if (ec == EC_OK)
        ec = metrics_finish(&total, ctx, req, ret, err);
    metrics_teller_free(job.teller);
    for (size_t i = 0; i < ctx->n_parts && job.collectors != NULL; i++)
        collector_deinit(&job.collectors[i]);
    collector_deinit(&total);
    return ec;
}
