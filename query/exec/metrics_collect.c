/* SPDX-License-Identifier: Apache-2.0
 * Observing spans.
 *
 * Both paths end in observe(), on a row of an assembled trace. The path by span makes no traces: it
 * presents the matching rows of a group as if they were one, which is right for every expression
 * that reads the span, its resource and scope, its events and its links, and nothing else. The scan
 * is a prefilter; the filter itself is evaluated again unless the scan is known to be exact. */
#include "metrics_collect.h"

#include <math.h>

#include "base/clock.h"
#include "query/lower.h"
#include "result.h"
#include "stream.h"

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

bool grid_bucket(const struct grid *g, uint64_t t, uint32_t *ret)
{
    *ret = 0;
    if (g->instant)
        return t >= g->start_ns && t <= g->end_ns;
    if (t <= g->start_ns || t > g->end_ns)
        return false;
    *ret = (uint32_t)((t - g->start_ns - 1) / g->step_ns);
    ASSERT(*ret < g->n);
    return true;
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

static bool has_buckets(enum tql_metric_fn fn)
{
    return fn == TQL_M_HISTOGRAM_OVER_TIME || fn == TQL_M_QUANTILE_OVER_TIME;
}

void collector_init(struct collector *c, const struct query_ctx *ctx,
    const struct metrics_request *req, const struct grid *grid)
{
    const struct tql_metric *m = req->q->metric;
    *c = (struct collector){.ctx = ctx, .req = req, .m = m, .grid = *grid};
    arena_init(&c->arena, ctx->budget, 16u << 10);
    arena_init(&c->scratch, ctx->budget, 16u << 10);
    uint32_t n_labels = m->fn == TQL_M_COMPARE ? 3 : m->n_by + (has_buckets(m->fn) ? 1 : 0);
    acc_init(&c->acc, &c->arena, kind_of(m->fn), grid->n, n_labels);
    c->acc.sparse = m->fn == TQL_M_COMPARE;
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
    arena_deinit(&c->arena);
}

/* ---- one span ---- */

/* Exponent of the smallest power of two >= v, for v >= 2. */
static int64_t exponent(uint64_t v)
{
    return 64 - __builtin_clzll(v - 1);
}

/* The argument as a number; for histograms and quantiles *ret_exp too. False: nothing to see. */
static bool argument(const struct collector *c, const struct qval *v, double *ret, int64_t *ret_exp)
{
    bool buckets = has_buckets(c->m->fn);
    if (!qval_numeric(v))
        return false;
    if (buckets && (v->kind == QV_FLOAT || v->i < 2))
        return false;
    *ret = qval_number(v);
    if (isnan(*ret))
        return false;
    if (v->kind == QV_DURATION && (buckets || c->m->attr->intrinsic == TQL_I_DURATION))
        *ret /= (double)NS_PER_S;
    if (buckets)
        *ret_exp = exponent((uint64_t)v->i);
    return true;
}

static enum ec pick_labels(struct collector *c, uint32_t row, struct pick *p, struct err *err)
{
    const struct tql_query *q = c->ev.q;
    p->labels = ARENA_ARRAY(&c->arena, q->n_attrs + 1, struct result_attr);
    char hex[32];
    struct str id = arena_str(&c->arena, str_n(hex, trace_id_short_hex(hex, &p->id)));
    if (p->labels == NULL || id.p == NULL)
        return over_budget(err);
    for (uint32_t i = 0; i < q->n_attrs; i++) {
        struct qval v;
        if (q->attrs[i]->intrinsic == TQL_I_TRACE_ID)
            continue;
        TRY(eval_attr_shown(&c->ev, q->attrs[i], row, true, &v, err));
        if (!qval_has(&v))
            continue;
        if (!qval_result(&v, &c->arena, &p->labels[p->n_labels].value))
            return over_budget(err);
        p->labels[p->n_labels++].key = q->attrs[i]->text;
    }
    p->labels[p->n_labels++] = (struct result_attr){STR("trace:id"), {.type = VALUE_STR, .s = id}};
    return EC_OK;
}

static uint32_t slice_of(const struct collector *c, uint64_t t)
{
    uint32_t n = MAX(1, c->req->exemplars / 2);
    uint64_t range = c->grid.end_ns - c->grid.start_ns, at = t - c->grid.start_ns;
    double part = range == 0 ? 0 : (double)at / (double)range * n;
    return MIN((uint32_t)part, n - 1);
}

static bool wants_pick(struct collector *c, uint64_t start_ns)
{
    return c->n_picks < c->req->exemplars && c->slices[slice_of(c, start_ns)] < 2;
}

/* At most two per slice of the range and one per trace. */
static enum ec pick(struct collector *c, const struct trace_id *id, uint32_t row, uint64_t start_ns,
    const struct acc_series *s, double value, struct err *err)
{
    for (uint32_t i = c->n_picks; i-- > 0;)
        if (trace_id_eq(&c->picks[i].id, id))
            return EC_OK;
    if (c->picks == NULL)
        c->picks = ARENA_ARRAY(&c->arena, c->req->exemplars, struct pick);
    if (c->picks == NULL)
        return over_budget(err);
    struct pick p = {.id = *id, .start_ns = start_ns, .value = value, .key = s->labels};
    TRY(pick_labels(c, row, &p, err));
    c->picks[c->n_picks++] = p;
    c->slices[slice_of(c, start_ns)]++;
    return EC_OK;
}

static enum ec trace_id_of(
    struct collector *c, const struct qrow *r, struct trace_id *ret, struct err *err)
{
    struct part_trace pt;
    uint64_t trace;
    TRY(qrow_u64(c->ev.trace, r, COL_SPAN_TRACE, &trace, err));
    TRY(part_trace(c->ev.sources[r->src].r, (uint32_t)trace, &pt, err));
    *ret = pt.id;
    return EC_OK;
}

/* What is shown alike must be one series: arrays are the text "nil", numbers that name no status or
 * kind are the zero one, and when there is no value at all the first label says "nil". */
struct qval collect_label(struct qval v)
{
    if (v.kind == QV_OPAQUE)
        return QVAL_NIL;
    if (v.kind == QV_ARRAY)
        return qval_str(STR("nil"));
    if ((v.kind == QV_STATUS && (v.i < 0 || v.i > 2)) ||
        (v.kind == QV_KIND && (v.i < 0 || v.i > 5)))
        v.i = 0;
    return v;
}

static enum ec by_labels(struct collector *c, uint32_t row, struct qval *labels, struct err *err)
{
    const struct tql_metric *m = c->m;
    bool any = has_buckets(m->fn) || m->n_by == 0;
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
    int64_t exp = 0;
    uint64_t start_ns;
    uint32_t bucket;
    TRY(qrow_u64(c->ev.trace, r, COL_SPAN_START, &start_ns, err));
    if (!grid_bucket(&c->grid, start_ns, &bucket))
        return EC_OK;
    if (m->fn == TQL_M_COMPARE)
        return compare_observe(c, row, start_ns, bucket, err);
    if (m->attr != NULL) {
        struct qval v;
        TRY(eval_attr(&c->ev, m->attr, row, &v, err));
        if (!argument(c, &v, &value, &exp))
            return EC_OK;
    }
    TRY(by_labels(c, row, labels, err));
    if (has_buckets(m->fn))
        labels[m->n_by] = qval_int(exp);
    TRY(acc_series(&c->acc, labels, &s, err));
    acc_add(&c->acc, s, bucket, value);
    if (!wants_pick(c, start_ns))
        return EC_OK;
    struct trace_id id;
    TRY(trace_id_of(c, r, &id, err));
    return pick(
        c, &id, row, start_ns, s, m->fn == TQL_M_HISTOGRAM_OVER_TIME ? (double)NAN : value, err);
}

/* ---- by trace ---- */

static enum ec one_trace(struct collector *c, const struct trace_id *id, struct err *err)
{
    struct sset_list sets;
    struct qtrace t;
    TRY(qtrace_open(&t, c->sources, c->n_sources, id, &c->scratch, err));
    if (t.n == 0)
        return EC_OK;
    eval_trace(&c->ev, &t);
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

enum ec collect_traces(struct collector *c, struct err *err)
{
    const struct query_ctx *ctx = c->ctx;
    const struct scan_expr *x = lower_query(c->req->q, &c->arena);
    struct done **table = ARENA_ARRAY(&c->arena, 4096, struct done *);
    c->sources = ARENA_ARRAY(&c->arena, ctx->n_parts, struct source);
    if (x == NULL || table == NULL || c->sources == NULL)
        return over_budget(err);
    for (size_t i = 0; i < ctx->n_parts; i++, c->n_sources = i)
        TRY(query_source_open(ctx, &c->sources[i], ctx->parts[i], err));
    TRY(eval_init(&c->ev, c->req->q, c->sources, c->n_sources, &c->arena, err));
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
        enum ec ec = one_trace(c, &pt.id, err);
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

/* ---- by span ---- */

/* Reads nothing but the span itself, its resource, scope, events and links. */
static bool local_attr(const struct tql_attr *attr)
{
    if (attr->parent)
        return false;
    switch (attr->intrinsic) {
    case TQL_I_CHILD_COUNT:
    case TQL_I_TRACE_DURATION:
    case TQL_I_ROOT_NAME:
    case TQL_I_ROOT_SERVICE:
    case TQL_I_TRACE_ID:
    case TQL_I_NESTED_SET_LEFT:
    case TQL_I_NESTED_SET_RIGHT:
    case TQL_I_NESTED_SET_PARENT:
    case TQL_I_PARENT:
        return false;
    default:
        return true;
    }
}

bool collect_by_span(const struct tql_query *q)
{
    const struct tql_pipeline *p = q->pipeline;
    if (q->metric->fn == TQL_M_COMPARE || p->n_stages != 1 ||
        p->stages[0].kind != TQL_STAGE_SPANSET || p->stages[0].spanset->kind != TQL_SS_FILTER)
        return false;
    for (uint32_t i = 0; i < q->n_attrs; i++)
        if (!local_attr(q->attrs[i]))
            return false;
    return true;
}

/* The scan alone decides: equality with strings, status and kind. */
static bool scan_is_exact(const struct tql_expr *e)
{
    if (e->kind == TQL_E_STATIC)
        return e->value.type == TQL_BOOL;
    if (e->kind != TQL_E_BINARY)
        return false;
    if (e->op == TQL_OP_AND || e->op == TQL_OP_OR)
        return scan_is_exact(e->lhs) && scan_is_exact(e->rhs);
    if (e->op != TQL_OP_EQ || e->lhs->kind != TQL_E_ATTR || e->rhs->kind != TQL_E_STATIC)
        return false;
    switch (e->lhs->attr->intrinsic) {
    case TQL_I_NAME:
    case TQL_I_STATUS:
    case TQL_I_KIND:
        return true;
    case TQL_I_NONE:
        return e->rhs->value.type == TQL_STRING &&
               (e->lhs->attr->scope == TQL_SCOPE_SPAN || e->lhs->attr->scope == TQL_SCOPE_RESOURCE);
    default:
        return false;
    }
}

static enum ec one_group(
    struct collector *c, uint32_t g, const struct tql_expr *filter, bool exact, struct err *err)
{
    struct source *s = &c->sources[0];
    struct scan_bits bits;
    struct qtrace t = {.sources = s, .scratch = &c->scratch, .root = PART_NONE, .n_parts = 1};
    if (c->scan != NULL)
        TRY(scan_group(c->scan, g, &bits, err));
    else
        scan_bits_fill(&bits, s->groups[g].n_rows);
    c->stats.inspected_spans += s->groups[g].n_rows;
    t.n = MIN(scan_bits_count(&bits), s->groups[g].n_rows);
    t.rows = ARENA_ARRAY(&c->scratch, t.n, struct qrow);
    if (t.rows == NULL)
        return over_budget(err);
    uint32_t n = 0;
    for (uint32_t row = scan_bits_next(&bits, 0); row < bits.n && n < t.n;
         row = scan_bits_next(&bits, row + 1))
        t.rows[n++] = (struct qrow){.g = g, .off = row};
    t.n = n;
    eval_trace(&c->ev, &t);
    for (uint32_t i = 0; i < n; i++) {
        bool pass = true;
        if (!exact)
            TRY(eval_filter(&c->ev, filter, i, &pass, err));
        if (pass)
            TRY(observe(c, i, err));
    }
    return EC_OK;
}

static bool outside(const struct collector *c, uint64_t first_ns, uint64_t last_ns)
{
    return last_ns < c->grid.start_ns || first_ns > c->grid.end_ns;
}

enum ec collect_part(struct collector *c, struct part *part, struct err *err)
{
    const struct tql_expr *filter = c->req->q->pipeline->stages[0].spanset->filter;
    const struct scan_expr *x = lower_query(c->req->q, &c->arena);
    struct query_ctx ctx = *c->ctx;
    ctx.arena = &c->arena;
    c->sources = ARENA_NEW(&c->arena, struct source);
    if (x == NULL || c->sources == NULL)
        return over_budget(err);
    c->n_sources = 1;
    struct source *s = &c->sources[0];
    TRY(query_source_open(&ctx, s, part, err));
    if (s->part == NULL || outside(c, s->info.min_start_ns, s->info.max_end_ns))
        return EC_OK;
    TRY(eval_init(&c->ev, c->req->q, s, 1, &c->arena, err));
    if (!lower_is_all(x)) {
        TRY(scan_new(s->r, x, &c->scan, err));
        if (scan_none(c->scan))
            return EC_OK;
    }
    for (uint32_t g = 0; g < s->info.n_groups; g++) {
        TRY(query_check_alive(c->ctx, err));
        if (outside(c, s->groups[g].min_start_ns, s->groups[g].max_start_ns))
            continue;
        enum ec ec = one_group(c, g, filter, scan_is_exact(filter), err);
        c->ev.trace = NULL;
        arena_reset(&c->scratch);
        if (damaged(ec))
            s->damaged = true;
        else
            TRY(ec);
        metrics_tell_group(c->teller, s->groups[g].n_rows);
        if (c->scan == NULL) /* no page of an earlier group is needed again */
            TRY(source_recycle(s, 8u << 20, err));
    }
    return EC_OK;
}

enum ec collector_merge(struct collector *into, const struct collector *from, struct err *err)
{
    TRY(acc_merge(&into->acc, &from->acc, err));
    for (uint32_t i = 0; i < from->n_picks; i++) {
        const struct pick *p = &from->picks[i];
        bool have = !wants_pick(into, p->start_ns);
        for (uint32_t k = 0; k < into->n_picks && !have; k++)
            have = trace_id_eq(&into->picks[k].id, &p->id);
        if (have)
            continue;
        if (into->picks == NULL)
            into->picks = ARENA_ARRAY(&into->arena, into->req->exemplars, struct pick);
        if (into->picks == NULL)
            return over_budget(err);
        into->picks[into->n_picks++] = *p; /* lives as long as `from`'s arena */
        into->slices[slice_of(into, p->start_ns)]++;
    }
    into->stats.inspected_spans += from->stats.inspected_spans;
    into->stats.inspected_bytes += from->stats.inspected_bytes;
    into->stats.total_jobs += from->stats.total_jobs;
    into->stats.total_blocks += from->stats.total_blocks;
    into->stats.total_block_bytes += from->stats.total_block_bytes;
    into->n_damaged += from->n_damaged;
    return EC_OK;
}
