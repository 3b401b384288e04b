/* SPDX-License-Identifier: Apache-2.0
 * Metrics column by column: spans of one slice of a part, group by group, without a row of them
 * ever being put together.
 *
 *     scan -> bits -> frame (rows in range, buckets) -> argument (rows that have one)
 *          -> label ids by row -> series number by row -> cells
 *
 * Right for every query whose filter, argument and labels read the span, its resource and scope,
 * its events and its links, and nothing else. What has no column form (labels of events, filters
 * that the scan does not decide) is evaluated for the rows that are left. */
#include <math.h>

#include "metrics_cells.h"
#include "metrics_collect.h"
#include "query/lower.h"
#include "result.h"

#define PRODUCT_CELLS_MAX (1u << 18)
#define PICK_TRIES        64u /* rows of a group that are considered as exemplars, evenly spaced */

struct fast {
    const struct tql_expr *filter;
    bool exact; /* the scan decides the filter where scan_single holds */
    struct frame f;
    struct value_col value;
    struct label_col by[ACC_LABELS_MAX];
    uint32_t n_cols; /* columns of ids: those of by(), then exponents */
    struct pair_map pairs[ACC_LABELS_MAX];
    bool product;     /* two columns of few ids: the series is id * METRIC_EXPONENTS + exponent */
    uint32_t *series; /* by row, when there is more than one column */
    struct cells cells;
    uint32_t base; /* bucket of the grid that is ours 0 */
    bool rows;     /* some label or the argument is evaluated row by row */
    struct qtrace trace;
};

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

bool collect_local_attr(const struct tql_attr *attr)
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
    if (lower_nothing || q->metric->fn == TQL_M_COMPARE || p->n_stages != 1 ||
        p->stages[0].kind != TQL_STAGE_SPANSET || p->stages[0].spanset->kind != TQL_SS_FILTER)
        return false;
    for (uint32_t i = 0; i < q->n_attrs; i++)
        if (!collect_local_attr(q->attrs[i]))
            return false;
    return true;
}

void fast_deinit(struct fast *k)
{
    if (k == NULL)
        return;
    for (uint32_t i = 0; i < ACC_LABELS_MAX; i++) {
        label_col_deinit(&k->by[i]);
        pair_map_deinit(&k->pairs[i]);
    }
    cells_deinit(&k->cells);
}

/* ---- one group ---- */

static const uint32_t *ids_of(const struct fast *k, const struct tql_metric *m, uint32_t col)
{
    return col < m->n_by ? k->by[col].ids : k->value.exps;
}

static uint32_t n_ids_of(const struct fast *k, const struct tql_metric *m, uint32_t col)
{
    return col < m->n_by ? k->by[col].set.n : METRIC_EXPONENTS;
}

/* Series numbers by row; NULL: there is one series. */
static enum ec number_series(struct fast *k, const struct tql_metric *m, const uint32_t **ret,
    uint32_t *ret_n, struct err *err)
{
    const uint32_t *series = k->n_cols == 0 ? NULL : ids_of(k, m, 0);
    uint32_t n = k->n_cols == 0 ? 1 : n_ids_of(k, m, 0);
    if (k->product) {
        const uint32_t *exps = k->value.exps;
        uint32_t *out = k->series;
        FRAME_ROWS(&k->f, row)
        out[row] = series[row] * METRIC_EXPONENTS + exps[row];
        *ret = k->series;
        *ret_n = n * METRIC_EXPONENTS;
        return EC_OK;
    }
    for (uint32_t i = 1; i < k->n_cols; i++) {
        struct pair_map *p = &k->pairs[i - 1];
        TRY(pair_map_reserve(p, n, n_ids_of(k, m, i), err));
        TRY(pair_map_rows(p, &k->f, series, ids_of(k, m, i), k->series, err));
        series = k->series;
        n = p->n;
    }
    *ret = series;
    *ret_n = n;
    return EC_OK;
}

/* The labels of a series number; ret has room for all columns. */
static void labels_of(
    const struct fast *k, const struct tql_metric *m, uint32_t series, struct qval *ret)
{
    bool any = metric_has_buckets(m->fn) || m->n_by == 0;
    for (uint32_t i = k->n_cols; i-- > 0;) {
        uint32_t id = series;
        if (k->product && i > 0) {
            id = series % METRIC_EXPONENTS;
            series /= METRIC_EXPONENTS;
        } else if (i > 0) {
            uint64_t pair = pair_map_get(&k->pairs[i - 1], series);
            id = (uint32_t)pair;
            series = (uint32_t)(pair >> 32);
        }
        ret[i] = i < m->n_by ? k->by[i].set.values[id] : qval_int(id);
        any = any || ret[i].kind != QV_NIL;
    }
    if (!any)
        ret[0] = qval_str(STR("nil"));
}

static enum ec pick_row(struct collector *c, uint32_t row, const uint32_t *series, struct err *err)
{
    struct fast *k = c->fast;
    struct qrow r = {.g = k->f.g, .off = row};
    struct qtrace one = {
        .sources = c->sources, .scratch = &c->scratch, .root = PART_NONE, .rows = &r, .n = 1};
    struct qval labels[ACC_LABELS_MAX], v;
    struct part_trace pt;
    const struct col_view *traces;
    double value = NAN;
    uint32_t exp;
    TRY(frame_view(&k->f, &c->sources[0], COL_SPAN_TRACE, &traces, err));
    TRY(part_trace(c->sources[0].r, traces->u32[row], &pt, err));
    one.id = pt.id;
    eval_trace(&c->ev, &one);
    if (c->m->attr != NULL && c->m->fn != TQL_M_HISTOGRAM_OVER_TIME) {
        TRY(eval_attr(&c->ev, c->m->attr, 0, &v, err));
        if (!metric_argument(c->m, &v, &value, &exp))
            value = NAN;
    }
    labels_of(k, c->m, series == NULL ? 0 : series[row], labels);
    enum ec ec =
        picks_add(&c->picks, &c->ev, &pt.id, 0, k->f.starts[row], labels, k->n_cols, value, err);
    c->ev.trace = NULL;
    return ec;
}

static enum ec pick_some(struct collector *c, const uint32_t *series, struct err *err)
{
    struct frame *f = &c->fast->f;
    const struct part_group *pg = &c->sources[0].groups[f->g];
    if (f->n == 0 || !picks_want_some(&c->picks, pg->min_start_ns, pg->max_start_ns))
        return EC_OK;
    TRY(frame_starts(f, &c->sources[0], err));
    uint32_t tries = MIN(f->n, PICK_TRIES);
    for (uint32_t i = 0; i < tries; i++) {
        uint32_t row = frame_row(f, (uint32_t)((uint64_t)i * f->n / tries));
        if (picks_want(&c->picks, f->starts[row]))
            TRY(pick_row(c, row, series, err));
    }
    return EC_OK;
}

/* Leaves the rows for which the filter holds. */
static enum ec evaluate_filter(struct collector *c, struct err *err)
{
    struct fast *k = c->fast;
    struct scan_bits keep;
    scan_bits_clear(&keep, k->f.n_rows);
    TRY(frame_trace(&k->f, &c->ev, &k->trace, &c->scratch, err));
    for (uint32_t i = 0; i < k->f.n; i++) {
        bool pass = false;
        TRY(eval_filter(&c->ev, k->filter, i, &pass, err));
        if (pass)
            scan_bits_set(&keep, frame_row(&k->f, i));
    }
    frame_keep(&k->f, &keep);
    return EC_OK;
}

static enum ec observe_frame(struct collector *c, struct err *err)
{
    struct fast *k = c->fast;
    const uint32_t *series = NULL;
    uint32_t n_series = 0;
    if (k->rows)
        TRY(frame_trace(&k->f, &c->ev, &k->trace, &c->scratch, err));
    TRY(value_col_fill(&k->value, &c->ev, &k->f, err));
    if (k->f.n == 0)
        return EC_OK;
    if (k->rows) /* rows without a value are gone */
        TRY(frame_trace(&k->f, &c->ev, &k->trace, &c->scratch, err));
    for (uint32_t i = 0; i < c->m->n_by; i++)
        TRY(label_col_fill(&k->by[i], &c->ev, &k->f, err));
    TRY(number_series(k, c->m, &series, &n_series, err));
    TRY(cells_reserve(&k->cells, n_series, err));
    cells_add(&k->cells, &k->f, series, k->value.values);
    return pick_some(c, series, err);
}

/* Takes out the rows of shared traces; without a scan every row was in. */
static enum ec drop_shared(struct collector *c, uint32_t g, struct scan_bits *bits, struct err *err)
{
    const struct col_view *v;
    TRY(source_fixed(&c->sources[0], COL_SPAN_TRACE, g, &v, err));
    if (c->scan == NULL)
        scan_bits_fill(bits, c->sources[0].groups[g].n_rows);
    uint32_t n = MIN(bits->n, v->n);
    for (uint32_t row = scan_bits_next(bits, 0); row < n; row = scan_bits_next(bits, row + 1))
        if (shared_set_has(c->shared, c->slice.part, v->u32[row]))
            bits->w[row / 64] &= ~((uint64_t)1 << (row % 64));
    return EC_OK;
}

static enum ec one_group(struct collector *c, uint32_t g, struct err *err)
{
    struct fast *k = c->fast;
    struct source *s = &c->sources[0];
    struct scan_bits bits;
    bool exact = k->exact;
    c->stats.inspected_spans += s->groups[g].n_rows;
    if (c->scan != NULL) {
        TRY(scan_group(c->scan, g, &bits, err));
        if (!scan_bits_any(&bits))
            return EC_OK;
    }
    bool some = c->scan != NULL;
    if (c->shared->traces[c->slice.part] != NULL) {
        TRY(drop_shared(c, g, &bits, err));
        some = true;
    }
    TRY(frame_fill(&k->f, s, g, &c->grid, k->base, some ? &bits : NULL, err));
    if (k->f.n == 0)
        return EC_OK;
    if (exact && c->scan != NULL)
        TRY(scan_single(c->scan, g, &exact, err));
    if (!exact)
        TRY(evaluate_filter(c, err));
    return k->f.n == 0 ? EC_OK : observe_frame(c, err);
}

/* ---- one slice ---- */

bool slice_bounds(
    const struct collector *c, uint32_t *ret_base, uint32_t *ret_stride, uint32_t *ret_rows)
{
    const struct source *s = &c->sources[0];
    uint32_t base = UINT32_MAX, last = 0, rows = 0;
    for (uint32_t g = c->slice.group_from; g < c->slice.group_to; g++) {
        const struct part_group *pg = &s->groups[g];
        uint32_t from, to;
        if (!grid_buckets(&c->grid, pg->min_start_ns, pg->max_start_ns, &from, &to))
            continue;
        base = MIN(base, from);
        last = MAX(last, to);
        rows = MAX(rows, pg->n_rows);
    }
    if (base == UINT32_MAX)
        return false;
    *ret_base = base;
    *ret_stride = last - base + 1;
    *ret_rows = rows;
    return true;
}

static enum ec fast_init(struct collector *c, uint32_t stride, uint32_t n_rows, struct err *err)
{
    struct fast *k = c->fast;
    const struct tql_metric *m = c->m;
    cells_init(&k->cells, c->acc.kind, stride, c->ctx->budget);
    TRY(frame_init(&k->f, n_rows, &c->arena, err));
    TRY(value_col_init(&k->value, &c->ev, m, n_rows, &c->arena, err));
    k->rows = k->value.kind == VALUE_COL_ROWS;
    k->n_cols = m->n_by + metric_has_buckets(m->fn);
    ASSERT(k->n_cols <= ACC_LABELS_MAX);
    for (uint32_t i = 0; i < m->n_by; i++) {
        TRY(label_col_init(&k->by[i], &c->ev, m->by[i], n_rows, &c->arena, err));
        k->rows = k->rows || k->by[i].kind == LABEL_ROWS;
    }
    for (uint32_t i = 1; i < k->n_cols; i++)
        pair_map_init(&k->pairs[i - 1], c->ctx->budget);
    k->product = m->n_by == 1 && k->n_cols == 2 && label_col_fixed(&k->by[0]) &&
                 (uint64_t)k->by[0].set.n * METRIC_EXPONENTS * stride <= PRODUCT_CELLS_MAX;
    k->series = k->n_cols < 2 ? NULL : arena_alloc(&c->arena, (n_rows + 1) * sizeof(uint32_t));
    return k->n_cols >= 2 && k->series == NULL ? over_budget(err) : EC_OK;
}

static enum ec slice_open(struct collector *c, bool *ret_none, struct err *err)
{
    const struct tql_expr *filter = c->req->q->pipeline->stages[0].spanset->filter;
    const struct scan_expr *all = lower_filter(filter, &c->arena), *x = lower_shallow(all);
    struct source *s = &c->sources[0];
    uint32_t stride = 0, n_rows = 0;
    *ret_none = true;
    if (x == NULL)
        return over_budget(err);
    if (!slice_bounds(c, &c->fast->base, &stride, &n_rows))
        return EC_OK;
    if (!lower_is_all(x)) {
        TRY(scan_new(s->r, x, &c->scan, err));
        if (scan_none(c->scan))
            return EC_OK;
    }
    TRY(eval_init(&c->ev, c->req->q, s, 1, &c->arena, err));
    c->fast->filter = filter;
    c->fast->exact = x == all && lower_is_exact(c->req->q, filter, &c->arena);
    *ret_none = false;
    return fast_init(c, stride, n_rows, err);
}

static enum ec slice_groups(struct collector *c, struct err *err)
{
    struct source *s = &c->sources[0];
    for (uint32_t g = c->slice.group_from; g < c->slice.group_to; g++) {
        uint32_t from, to;
        TRY(query_check_alive(c->ctx, err));
        if (!grid_buckets(
                &c->grid, s->groups[g].min_start_ns, s->groups[g].max_start_ns, &from, &to))
            continue;
        enum ec ec = source_note(s, one_group(c, g, err));
        c->ev.trace = NULL;
        arena_reset(&c->scratch);
        if (!source_unreadable(ec))
            TRY(ec);
    }
    return EC_OK;
}

/* A head may have grown since it was cut into slices: what this reader sees of it. */
static void see_head(struct slice *s, const struct source *of)
{
    s->row_to = slice_row_to(s, &of->info);
    for (uint32_t g = s->group_from; g < s->group_to; g++) {
        s->min_start_ns = MIN(s->min_start_ns, of->groups[g].min_start_ns);
        s->max_start_ns = MAX(s->max_start_ns, of->groups[g].max_start_ns);
    }
}

enum ec collect_slice(struct collector *c, struct err *err)
{
    struct query_ctx ctx = *c->ctx;
    bool none = false;
    ctx.arena = &c->arena;
    c->sources = ARENA_NEW(&c->arena, struct source);
    c->fast = ARENA_NEW(&c->arena, struct fast);
    if (c->sources == NULL || c->fast == NULL)
        return over_budget(err);
    c->n_sources = 1;
    struct source *s = &c->sources[0];
    TRY(query_source_open(&ctx, s, c->ctx->parts[c->slice.part], err));
    if (s->part == NULL)
        return EC_OK;
    c->slice.group_to = MIN(c->slice.group_to, s->info.n_groups);
    if (s->part->is_head)
        see_head(&c->slice, s);
    enum ec ec = source_note(s, slice_open(c, &none, err));
    if (source_unreadable(ec) || (ec == EC_OK && none))
        return EC_OK;
    TRY(ec);
    return slice_groups(c, err);
}

bool collect_slice_next(
    const struct collector *c, uint32_t *at, uint32_t *ret_series, struct qval *labels)
{
    const struct fast *k = c->fast;
    uint32_t n = k == NULL ? 0 : k->cells.n_series;
    while (*at < n && !cells_any(&k->cells, *at))
        ++*at;
    if (*at >= n)
        return false;
    labels_of(k, c->m, *at, labels);
    *ret_series = (*at)++;
    return true;
}

const struct cells *collect_slice_cells(const struct collector *c, uint32_t *ret_base)
{
    const struct fast *k = c->fast;
    if (k == NULL || k->cells.n_series == 0)
        return NULL;
    *ret_base = k->base;
    return &k->cells;
}

static enum ec merge_cells(struct collector *into, const struct collector *from, struct err *err)
{
    struct qval labels[ACC_LABELS_MAX];
    uint32_t series;
    for (uint32_t at = 0; collect_slice_next(from, &at, &series, labels);) {
        struct acc_series *s = NULL;
        TRY(acc_series(&into->acc, labels, &s, err));
        cells_merge(&from->fast->cells, series, &into->acc, s, from->fast->base);
    }
    return EC_OK;
}

enum ec collect_slice_merge(struct collector *into, struct collector *from, struct err *err)
{
    TRY(merge_cells(into, from, err));
    into->stats.inspected_spans += from->stats.inspected_spans;
    into->stats.inspected_bytes += from->stats.inspected_bytes;
    return picks_merge(&into->picks, &from->picks, err);
}
