/* SPDX-License-Identifier: Apache-2.0
 * The driver of metrics queries: alignment, one collector per part or one over all of them, then
 * series. */
#include "query/metrics.h"

#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "metrics_cached.h"
#include "metrics_finish.h"
#include "stream.h"

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
    grid_init(g);
    return true;
}

/* ---- by span: slices of parts, in waves ---- */

#define SLICE_ROWS (64u * 4096u) /* what one worker reads before its memory is given back */
#define WAVE       16u           /* slices whose results are held at a time */
#define WAVE_TOLD  4u            /* the same when somebody listens: a wave is what can be told */

struct slices {
    struct slice *p;
    size_t n, cap;
};

static enum ec add_slice(
    const struct query_ctx *ctx, struct slices *l, struct slice s, struct err *err)
{
    if (l->n == l->cap) {
        size_t cap = l->cap == 0 ? 16 : l->cap * 2;
        struct slice *p = ARENA_ARRAY(ctx->arena, cap, struct slice);
        if (p == NULL)
            return ERR(err, EC_LIMIT, "query is over its memory budget");
        if (l->n != 0)
            memcpy(p, l->p, l->n * sizeof(*p));
        l->p = p;
        l->cap = cap;
    }
    l->p[l->n++] = s;
    return EC_OK;
}

/* When the spans of a slice start; if that cannot be read, at any time. */
static void slice_starts(struct part_reader *r, struct slice *s)
{
    uint64_t min = UINT64_MAX, max = 0;
    for (uint32_t g = s->group_from; g < s->group_to; g++) {
        struct part_group pg;
        if (part_group(r, g, &pg, NULL) != EC_OK)
            return;
        min = MIN(min, pg.min_start_ns);
        max = MAX(max, pg.max_start_ns);
        s->n_rows += pg.n_rows;
    }
    s->min_start_ns = min;
    s->max_start_ns = max;
}

uint32_t slice_row_to(const struct slice *s, const struct part_info *info)
{
    return (uint32_t)MIN((uint64_t)s->group_to * PART_GROUP_ROWS, info->n_rows);
}

static bool out_of_range(const struct collector *total, const struct part_info *info)
{
    return info->n_groups == 0 || info->max_end_ns < total->grid.start_ns ||
           info->min_start_ns > total->grid.end_ns;
}

static void count_part(struct collector *total, size_t part, const struct part_info *info)
{
    bool head = total->ctx->parts[part]->is_head;
    total->stats.total_jobs += info->n_groups;
    total->stats.total_blocks += !head;
    total->stats.total_block_bytes += head ? 0 : info->bytes;
}

static enum ec add_slices(
    struct collector *total, size_t part, struct part_reader *r, struct slices *l, struct err *err)
{
    const struct query_ctx *ctx = total->ctx;
    struct part_info info;
    part_info(r, &info);
    count_part(total, part, &info);
    if (out_of_range(total, &info))
        return EC_OK;
    bool head = ctx->parts[part]->is_head;
    uint64_t per_group = MAX(info.n_rows / info.n_groups, 1u);
    /* Of a head every group that is full is a slice that does not change any more. */
    uint32_t n =
        head && total->m->fn != TQL_M_COMPARE ? 1 : (uint32_t)MAX(SLICE_ROWS / per_group, 1u);
    for (uint32_t g = 0; g < info.n_groups; g += MIN(n, info.n_groups - g)) {
        struct slice s = {.part = part,
            .group_from = g,
            .group_to = g + MIN(n, info.n_groups - g),
            .last_ns = info.max_end_ns,
            .max_start_ns = UINT64_MAX};
        slice_starts(r, &s);
        s.row_to = head ? slice_row_to(&s, &info) : 0;
        TRY(add_slice(ctx, l, s, err));
    }
    return EC_OK;
}

/* A part that overlaps the range becomes slices of whole groups. */
static enum ec add_part(struct collector *total, size_t part, struct slices *l, struct err *err)
{
    struct part_reader *r;
    struct part_info info;
    if (part_peek(total->ctx->parts[part], &info) && out_of_range(total, &info)) {
        count_part(total, part, &info);
        return EC_OK;
    }
    enum ec ec = part_reader_open(total->ctx->parts[part], total->ctx->budget, &r, err);
    if (source_unreadable(ec) || ec == EC_NOT_FOUND) {
        total->damaged[part] = true;
        total->n_damaged++;
        return EC_OK;
    }
    TRY(ec);
    ec = add_slices(total, part, r, l, err);
    part_reader_close(r);
    return ec;
}

void collect_damage(struct collector *total, const struct collector *c)
{
    if (c->n_damaged == 0 || total->damaged[c->slice.part])
        return;
    total->damaged[c->slice.part] = true;
    total->n_damaged++;
}

struct wave { /* slices whose results are held at a time */
    struct collector all[WAVE];
    struct cached *known[WAVE]; /* found in the cache: nothing to collect */
    uint32_t todo[WAVE];
    size_t n, n_todo;
    const struct partials *partials;
};

static void collect_one(void *arg, size_t i)
{
    struct wave *w = arg;
    struct collector *c = &w->all[w->todo[i]];
    c->ec = collect_slice(c, &c->err);
    collector_close(c);
    partial_keep(w->partials, c);
}

static void wave_begin(
    struct wave *w, const struct collector *total, const struct slice *slices, size_t n)
{
    w->n = n;
    w->n_todo = 0;
    for (size_t i = 0; i < n; i++) {
        struct collector *c = &w->all[i];
        w->known[i] = partial_find(w->partials, &slices[i]);
        if (w->known[i] != NULL)
            continue;
        collector_init(c, total->ctx, total->req, &total->grid);
        c->slice = slices[i];
        c->shared = total->shared;
        picks_after(&c->picks, &total->picks);
        w->todo[w->n_todo++] = (uint32_t)i;
    }
}

/* Adds up what a wave found, in the order of the slices, so that sums and exemplars do not depend
 * on the threads. */
static enum ec wave_merge(struct wave *w, struct collector *total, struct err *err)
{
    for (size_t i = 0; i < w->n; i++) {
        struct collector *c = &w->all[i];
        if (w->known[i] != NULL) {
            TRY(partial_merge(w->partials, w->known[i], total, err));
            continue;
        }
        if (c->ec != EC_OK)
            return ERR(err, c->ec, "%s", err_msg(&c->err));
        TRY(collect_slice_merge(total, c, err));
        collect_damage(total, c);
    }
    return EC_OK;
}

static void wave_end(struct wave *w)
{
    for (size_t i = 0; i < w->n; i++)
        query_cache_release(w->partials->cache, w->known[i]);
    for (size_t i = 0; i < w->n_todo; i++)
        collector_deinit(&w->all[w->todo[i]]);
}

static enum ec waves(
    struct collector *total, struct slices *l, const struct partials *partials, struct err *err)
{
    const struct query_ctx *ctx = total->ctx;
    enum ec ec = total->shared->n == 0 ? EC_OK : collect_shared(total, err);
    struct wave *w = ARENA_NEW(ctx->arena, struct wave);
    if (w == NULL)
        return ERR(err, EC_LIMIT, "query is over its memory budget");
    w->partials = partials;
    for (size_t at = 0, n; at < l->n && ec == EC_OK; at += n) {
        n = MIN(ctx->stream == NULL ? WAVE : WAVE_TOLD, l->n - at);
        wave_begin(w, total, l->p + at, n);
        if (w->n_todo != 0)
            pool_parallel(ctx->pool, ctx->key, 8, w->n_todo, collect_one, w);
        ec = wave_merge(w, total, err);
        wave_end(w);
        if (ec == EC_OK && query_stream_due(ctx))
            metrics_tell_slices(total, l->p + at + n, l->n - at - n);
    }
    return ec;
}

static enum ec by_span(struct collector *total, struct slices *l, struct err *err)
{
    const struct query_ctx *ctx = total->ctx;
    struct shared_set shared;
    struct partials partials;
    TRY(shared_set_find(ctx, total->grid.start_ns, total->grid.end_ns, ctx->arena, &shared, err));
    total->shared = &shared;
    partials_init(&partials, ctx, total->req, &total->grid, &shared);
    enum ec ec = waves(total, l, &partials, err);
    partials_deinit(&partials);
    return ec;
}

static enum ec by_comparison(struct collector *total, struct slices *l, struct err *err)
{
    struct partials partials;
    bool found = false;
    partials_init(&partials, total->ctx, total->req, &total->grid, NULL);
    enum ec ec = compared_find(&partials, total, &found, err);
    if (ec == EC_OK && !found)
        ec = collect_compare(total, l->p, l->n, err);
    if (ec == EC_OK && !found)
        compared_keep(&partials, total);
    partials_deinit(&partials);
    return ec;
}

static enum ec collect(struct collector *total, struct err *err)
{
    const struct tql_query *q = total->req->q;
    const struct query_ctx *ctx = total->ctx;
    bool compares = q->metric->fn == TQL_M_COMPARE;
    struct slices l = {0};
    if (q->never)
        return EC_OK;
    if (!(compares ? collect_compare_by_span(q) : collect_by_span(q)))
        return collect_traces(total, err);
    total->damaged = ARENA_ARRAY(&total->arena, ctx->n_parts, bool);
    if (total->damaged == NULL)
        return ERR(err, EC_LIMIT, "query is over its memory budget");
    for (size_t i = 0; i < ctx->n_parts; i++)
        TRY(add_part(total, i, &l, err));
    return compares ? by_comparison(total, &l, err) : by_span(total, &l, err);
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
    struct collector total;
    struct grid grid;
    ASSERT(req->q->metric != NULL);
    ASSERT(req->instant || req->step_ns > 0);
    if (!make_grid(req, &grid)) {
        *ret = (struct metrics_result){.stats = {.completed_jobs = 1, .total_jobs = 1}};
        return EC_OK;
    }
    collector_init(&total, ctx, req, &grid);
    enum ec ec = collect(&total, err);
    collector_close(&total);
    if (ec == EC_OK)
        ec = metrics_finish(&total, ctx, req, ret, err);
    collector_deinit(&total);
    return ec;
}
