/* SPDX-License-Identifier: Apache-2.0
 * Observing spans of assembled traces: for queries whose filter, labels or argument look beyond the
 * span itself. All others are answered column by column (metrics_fast.c), with the same outcome. */
#include "metrics_collect.h"

#include <math.h>

#include "query/lower.h"
#include "result.h"
#include "stream.h"

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

static enum acc_kind kind_of(enum tql_metric_fn fn)
{
    switch (fn) {
    case TQL_M_MIN_OVER_TIME:
        return ACC_MIN;
    case TQL_M_MAX_OVER_TIME:
        return ACC_MAX;
    case TQL_M_AVG_OVER_TIME:
        return ACC_AVG;
    case TQL_M_SUM_OVER_TIME:
        return ACC_SUM;
    default:
        return ACC_COUNT;
    }
}

void collector_init(struct collector *c, const struct query_ctx *ctx,
    const struct metrics_request *req, const struct grid *grid)
{
    const struct tql_metric *m = req->q->metric;
    *c = (struct collector){.ctx = ctx, .req = req, .m = m, .grid = *grid, .told_from = grid->n};
    arena_init(&c->arena, ctx->budget, 16u << 10);
    arena_init(&c->scratch, ctx->budget, 16u << 10);
    uint32_t n_labels = m->fn == TQL_M_COMPARE ? 3 : m->n_by + metric_has_buckets(m->fn);
    acc_init(&c->acc, &c->arena, kind_of(m->fn), grid->n, n_labels);
    c->acc.sparse = m->fn == TQL_M_COMPARE;
    picks_init(&c->picks, &c->grid, req->exemplars, &c->arena);
}

void collector_close(struct collector *c)
{
    candidates_close(&c->cands);
    scan_free(c->scan);
    c->scan = NULL;
    for (size_t i = 0; i < c->n_sources; i++) {
        struct source *s = &c->sources[i];
        c->n_damaged += s->damaged;
        if (s->part != NULL) {
            c->stats.inspected_bytes += source_bytes_read(s);
            c->stats.total_jobs += s->info.n_groups;
            c->stats.total_blocks += !s->part->is_head;
            c->stats.total_block_bytes += s->part->is_head ? 0 : s->info.bytes;
        }
        source_close(s);
    }
    c->n_sources = 0;
    arena_deinit(&c->scratch);
}

void collector_deinit(struct collector *c)
{
    collector_close(c);
    fast_deinit(c->fast);
    c->fast = NULL;
    arena_deinit(&c->arena);
}

/* ---- one span ---- */

enum ec collect_by(struct collector *c, uint32_t row, struct qval *labels, struct err *err)
{
    const struct tql_metric *m = c->m;
    bool any = metric_has_buckets(m->fn) || m->n_by == 0;
    for (uint32_t i = 0; i < m->n_by; i++) {
        TRY(eval_attr(&c->ev, m->by[i], row, &labels[i], err));
        labels[i] = collect_label(labels[i]);
        any = any || labels[i].kind != QV_NIL;
    }
    if (!any)
        labels[0] = qval_str(STR("nil"));
    return EC_OK;
}

static enum ec observe(struct collector *c, uint32_t row, struct err *err)
{
    const struct qrow *r = &c->ev.trace->rows[row];
    const struct tql_metric *m = c->m;
    struct qval labels[ACC_LABELS_MAX];
    struct acc_series *s = NULL;
    double value = NAN;
    uint64_t start_ns;
    uint32_t bucket, exp = 0;
    TRY(qrow_u64(c->ev.trace, r, COL_SPAN_START, &start_ns, err));
    if (!grid_bucket(&c->grid, start_ns, &bucket))
        return EC_OK;
    if (m->fn == TQL_M_COMPARE)
        return compare_observe(c, row, start_ns, bucket, err);
    if (m->attr != NULL) {
        struct qval v;
        TRY(eval_attr(&c->ev, m->attr, row, &v, err));
        if (!metric_argument(m, &v, &value, &exp))
            return EC_OK;
    }
    TRY(collect_by(c, row, labels, err));
    if (metric_has_buckets(m->fn))
        labels[m->n_by] = qval_int(exp);
    TRY(acc_series(&c->acc, labels, &s, err));
    acc_add(&c->acc, s, bucket, value);
    if (!picks_want(&c->picks, start_ns))
        return EC_OK;
    if (m->fn == TQL_M_HISTOGRAM_OVER_TIME)
        value = NAN;
    return picks_add(
        &c->picks, &c->ev, &c->ev.trace->id, row, start_ns, labels, c->acc.n_labels, value, err);
}

/* ---- by trace ---- */

static enum ec one_trace(struct collector *c, struct qtrace *t, struct err *err)
{
    struct sset_list sets;
    if (t->n == 0)
        return EC_OK;
    eval_trace(&c->ev, t);
    TRY(pipeline_run(&c->ev, &sets, err));
    for (uint32_t i = 0; i < sets.n; i++)
        for (uint32_t k = 0; k < sets.p[i].n; k++)
            TRY(observe(c, sets.p[i].rows[k], err));
    return EC_OK;
}

/* A trace in several parts may be a candidate of any of them, so those are remembered. */
struct done {
    struct trace_id id;
    struct done *next;
};

static enum ec done_before(
    struct collector *c, struct done **table, const struct trace_id *id, bool *ret, struct err *err)
{
    struct done **at = &table[get_u64le(id->b + 8) % 4096];
    *ret = true;
    for (struct done *d = *at; d != NULL; d = d->next)
        if (trace_id_eq(&d->id, id))
            return EC_OK;
    struct done *d = ARENA_NEW(&c->arena, struct done);
    if (d == NULL)
        return over_budget(err);
    *d = (struct done){*id, *at};
    *at = d;
    *ret = false;
    return EC_OK;
}

static bool damaged(enum ec ec)
{
    return ec == EC_CORRUPT || ec == EC_IO;
}

/* True when more than one source holds the trace. */
static enum ec is_shared(
    struct collector *c, uint32_t src, const struct trace_id *id, bool *ret, struct err *err)
{
    *ret = false;
    for (uint32_t i = 0; i < c->n_sources && !*ret; i++) {
        uint32_t trace;
        if (i == src || c->sources[i].part == NULL)
            continue;
        TRY(part_trace_find(c->sources[i].r, id, &trace, err));
        *ret = trace != PART_NONE;
    }
    return EC_OK;
}

static enum ec open_all(struct collector *c, struct err *err)
{
    const struct query_ctx *ctx = c->ctx;
    c->sources = ARENA_ARRAY(&c->arena, ctx->n_parts, struct source);
    if (c->sources == NULL)
        return over_budget(err);
    for (size_t i = 0; i < ctx->n_parts; i++, c->n_sources = i)
        TRY(query_source_open(ctx, &c->sources[i], ctx->parts[i], err));
    return eval_init(&c->ev, c->req->q, c->sources, c->n_sources, &c->arena, err);
}

#define RECYCLE_EVERY 16u

/* Of a thousand parts each trace pins pages of two: they are let go of when half of the query's
 * memory is used; nothing of a trace is in use between traces. */
static enum ec recycle(struct collector *c, size_t n_done, struct err *err)
{
    uint64_t cap = atomic_load_explicit(&c->ctx->budget->cap, memory_order_relaxed);
    if (cap == 0 || n_done % RECYCLE_EVERY != 0 || budget_used(c->ctx->budget) < cap / 2)
        return EC_OK;
    for (size_t i = 0; i < c->n_sources; i++)
        if (c->sources[i].part != NULL && !c->sources[i].part->is_head)
            TRY(source_recycle(&c->sources[i], 0, err));
    return EC_OK;
}

static enum ec shared_traces(struct collector *c, struct err *err)
{
    const struct trace_piece *p = c->shared->pieces;
    TRY(open_all(c, err));
    for (size_t i = 0, n, n_done = 0; i < c->shared->n; i += n, n_done++) {
        struct qtrace t;
        for (n = 1; i + n < c->shared->n && trace_id_eq(&p[i].id, &p[i + n].id);)
            n++;
        TRY(recycle(c, n_done, err));
        if (n_done % 64 == 0)
            TRY(query_check_alive(c->ctx, err));
        enum ec ec = qtrace_open_pieces(&t, c->sources, p + i, n, &c->scratch, err);
        if (ec == EC_OK)
            ec = one_trace(c, &t, err);
        c->ev.trace = NULL;
        arena_reset(&c->scratch);
        if (!damaged(ec)) /* the slices meet the same damage, and note it */
            TRY(ec);
    }
    return EC_OK;
}

enum ec collect_shared(struct collector *c, struct err *err)
{
    enum ec ec = shared_traces(c, err);
    for (size_t i = 0; i < c->n_sources; i++) {
        c->stats.inspected_bytes += source_bytes_read(&c->sources[i]);
        source_close(&c->sources[i]);
    }
    c->n_sources = 0;
    return ec;
}

enum ec collect_traces(struct collector *c, struct err *err)
{
    const struct query_ctx *ctx = c->ctx;
    const struct scan_expr *x = lower_query(c->req->q, &c->arena);
    struct done **table = ARENA_ARRAY(&c->arena, 4096, struct done *);
    if (x == NULL || table == NULL)
        return over_budget(err);
    TRY(open_all(c, err));
    TRY(candidates_open(&c->cands, ctx, c->sources, c->n_sources, x, MAX(c->grid.start_ns, 1),
        c->grid.end_ns, err));
    for (unsigned n = 0;; n++) {
        struct part_trace pt;
        struct cand cand;
        uint32_t src;
        bool shared = false, done = false;
        if (n % 64 == 0)
            TRY(query_check_alive(ctx, err));
        TRY(candidates_next(&c->cands, &src, &cand, err));
        if (src == PART_NONE)
            break;
        if (query_stream_due(ctx))
            metrics_tell_traces(c);
        TRY(part_trace(c->sources[src].r, cand.trace, &pt, err));
        TRY(is_shared(c, src, &pt.id, &shared, err));
        if (shared)
            TRY(done_before(c, table, &pt.id, &done, err));
        if (done)
            continue;
        struct qtrace t;
        enum ec ec = qtrace_open(&t, c->sources, c->n_sources, &pt.id, &c->scratch, err);
        if (ec == EC_OK)
            ec = one_trace(c, &t, err);
        c->ev.trace = NULL;
        arena_reset(&c->scratch);
        if (damaged(ec))
            c->sources[src].damaged = true;
        else
            TRY(ec);
    }
    c->stats.inspected_spans = c->cands.inspected_spans;
    return EC_OK;
}
