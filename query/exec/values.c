/* SPDX-License-Identifier: Apache-2.0
 * Tag values: distinct values of one attribute, all of them or those on spans that a filter lets
 * through.
 *
 * String columns are walked by dictionary code with one bit per code, so each distinct string is
 * touched once; numbers go through a set of raw 64-bit values before they become text. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "candidates.h"
#include "numset.h"
#include "query/exec.h"
#include "query/format.h"
#include "query/lower.h"
#include "result.h"
#include "source.h"
#include "stream.h"
#include "tagset.h"
#include "trace.h"
#include "values_ahead.h"
#include "values_cached.h"

/* Sorted by name: the order of the answer. */
enum kind { KIND_BOOL, KIND_FLOAT, KIND_INT, KIND_KEYWORD, KIND_STRING };
static const char *const kind_names[] = {"bool", "float", "int", "keyword", "string"};

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

struct values {
    const struct query_ctx *ctx;
    const struct values_request *req;
    struct source *sources;
    struct tagset set;
    bool v1;              /* everything is a string */
    uint32_t groups_done; /* of the sources before this one */
    uint32_t told_jobs;
};

static bool full(const struct values *v)
{
    return v->set.full;
}

static enum ec add(struct values *v, enum kind kind, struct str s, struct err *err)
{
    if (full(v))
        return EC_OK;
    return tagset_add(&v->set, (uint8_t)(v->v1 ? KIND_STRING : kind), s, NULL, err);
}

static enum ec add_double(struct values *v, double d, struct err *err)
{
    char text[FORMAT_FLOAT_MAX + 2];
    size_t n = format_float_g(text, d);
    if (memchr(text, '.', n) == NULL && memchr(text, 'e', n) == NULL &&
        memchr(text, 'N', n) == NULL && memchr(text, 'I', n) == NULL) {
        text[n++] = '.'; /* a float always shows that it is one */
        text[n++] = '0';
    }
    return add(v, KIND_FLOAT, str_n(text, n), err);
}

static enum ec add_qval(struct values *v, const struct qval *q, struct err *err)
{
    char text[24];
    switch (q->kind) {
    case QV_STRING:
        return add(v, KIND_STRING, q->s, err);
    case QV_INT: {
        struct buf b = BUF_INIT;
        buf_printf(&b, "%lld", (long long)q->i);
        size_t n = MIN(b.n, sizeof(text));
        memcpy(text, b.p, n);
        buf_deinit(&b);
        return add(v, KIND_INT, str_n(text, n), err);
    }
    case QV_FLOAT:
        return add_double(v, q->f, err);
    case QV_BOOL:
        return add(v, KIND_BOOL, q->b ? STR("true") : STR("false"), err);
    case QV_ARRAY: {
        const char *cursor = NULL;
        for (struct value e; value_array_next(q->s, &cursor, &e);) {
            struct qval one = qval_of_value(&e);
            TRY(add_qval(v, &one, err));
        }
        return EC_OK;
    }
    default:
        return EC_OK;
    }
}

/* Tells the values that are new; called between groups, of which `g` of this source are done. Under
 * a limit no value is certain before the end. */
static void tell_if_due(struct values *v, uint32_t g)
{
    const struct query_ctx *ctx = v->ctx;
    struct values_result part = {0};
    struct tagset_entry *fresh;
    struct arena a;
    size_t n;
    if (!query_stream_due(ctx))
        return;
    int64_t began = clock_mono_ns();
    arena_init(&a, ctx->budget, 0);
    struct tag_value *out = ARENA_ARRAY(&a, v->set.n, struct tag_value);
    if (v->req->limit == 0 && out != NULL && tagset_fresh(&v->set, &a, &fresh, &n)) {
        for (size_t i = 0; i < n; i++)
            out[i] = (struct tag_value){kind_names[fresh[i].kind], fresh[i].s};
        part.values = out;
        part.n = n;
    }
    query_stats_fill(ctx, v->sources, &part.stats);
    /* A source is walked once per column and filter group: what was told stays true. */
    v->told_jobs = MAX(v->told_jobs, MIN(v->groups_done + g, part.stats.total_jobs));
    part.stats.completed_jobs = v->told_jobs;
    ctx->stream->values(ctx->stream->arg, &part);
    arena_deinit(&a);
    query_stream_told(ctx, began);
}

/* ---- one view ---- */

struct seen_codes { /* of the dictionary looked at last */
    const struct dict *dict;
    uint64_t *bits;
    uint32_t n;
};

static enum ec seen_reset(
    struct values *v, struct seen_codes *s, const struct dict *dict, struct err *err)
{
    uint32_t n = dict_count(dict);
    if (s->dict == dict && n <= s->n)
        return EC_OK;
    uint64_t *bits = ARENA_ARRAY(v->set.arena, (size_t)n / 64 + 1, uint64_t);
    if (bits == NULL)
        return over_budget(err);
    if (s->dict == dict && s->n != 0) /* a head's dictionary grew */
        memcpy(bits, s->bits, ((size_t)s->n / 64 + 1) * sizeof(*bits));
    *s = (struct seen_codes){dict, bits, n};
    return EC_OK;
}

/* keep(row): NULL keeps all. */
struct row_filter {
    const struct scan_bits *spans; /* NULL: every row */
    const uint64_t *rows;          /* bitmap over resource or scope rows; NULL: none */
    const struct col_view *owner;  /* events and links: their span */
};

static bool kept(const struct row_filter *f, uint32_t row)
{
    if (f->rows != NULL)
        return (f->rows[row / 64] >> (row % 64) & 1) != 0;
    if (f->spans == NULL)
        return true;
    uint32_t span = f->owner == NULL ? row : row < f->owner->n ? f->owner->u32[row] : UINT32_MAX;
    return span < f->spans->n && scan_bits_get(f->spans, span);
}

static enum ec add_code(
    struct values *v, const struct dict *dict, uint32_t code, enum value_type type, struct err *err)
{
    struct value value = {.type = type, .s = dict_get(dict, code)};
    struct qval q = qval_of_value(&value);
    return add_qval(v, &q, err);
}

/* A column's own dictionary (a sorted one) holds the column's strings and no others: all values,
 * for rows of no matter which group. */
static enum ec add_dict(struct values *v, const struct col_view *view, enum value_type type,
    struct seen_codes *seen, struct err *err)
{
    if (seen->dict == view->dict)
        return EC_OK;
    *seen = (struct seen_codes){.dict = view->dict};
    uint32_t n = dict_count(view->dict);
    for (uint32_t code = 0; code < n && !full(v); code++)
        TRY(add_code(v, view->dict, code, type, err));
    return EC_OK;
}

static bool seen_before(struct seen_codes *seen, uint32_t code)
{
    if (code >= seen->n)
        return false;
    uint64_t *w = &seen->bits[code / 64], bit = (uint64_t)1 << (code % 64);
    if (LIKELY((*w & bit) != 0)) /* no store: it would make the next load wait */
        return true;
    *w |= bit;
    return false;
}

/* Rows of a dense column whose bit is set. */
static enum ec add_codes_of(struct values *v, const struct col_view *view, enum value_type type,
    const struct scan_bits *spans, struct seen_codes *seen, struct err *err)
{
    uint32_t n = MIN(spans->n, view->n);
    for (uint32_t i = 0; i * 64 < n; i++) {
        for (uint64_t w = spans->w[i]; w != 0; w &= w - 1) {
            uint32_t row = i * 64 + (uint32_t)__builtin_ctzll(w);
            if (row >= n || seen_before(seen, view->u32[row]))
                continue;
            TRY(add_code(v, view->dict, view->u32[row], type, err));
            if (full(v))
                return EC_OK;
        }
    }
    return EC_OK;
}

static enum ec add_codes(struct values *v, const struct col_view *view, enum value_type type,
    const struct row_filter *f, struct seen_codes *seen, struct err *err)
{
    bool every = f->rows == NULL && f->spans == NULL;
    if (every && view->dict->sorted)
        return add_dict(v, view, type, seen, err);
    TRY(seen_reset(v, seen, view->dict, err));
    if (f->spans != NULL && f->owner == NULL && view->rows == NULL)
        return add_codes_of(v, view, type, f->spans, seen, err);
    for (uint32_t i = 0; i < view->n && !full(v); i++) {
        uint32_t code = view->u32[i];
        if (!kept(f, view->rows == NULL ? i : view->rows[i]) || seen_before(seen, code))
            continue;
        TRY(add_code(v, view->dict, code, type, err));
    }
    return EC_OK;
}

static enum ec add_numbers(struct values *v, const struct col_view *view, enum value_type type,
    const struct row_filter *f, struct numset *seen, struct err *err)
{
    bool ok = true;
    for (uint32_t i = 0; i < view->n && !full(v); i++) {
        if (!kept(f, view->rows == NULL ? i : view->rows[i]))
            continue;
        uint64_t raw = type == VALUE_BOOL ? view->u8[i] : view->u64[i];
        if (!numset_add(seen, v->set.arena, raw, &ok))
            continue;
        if (!ok)
            return over_budget(err);
        struct qval q = type == VALUE_INT    ? qval_int(view->i64[i])
                        : type == VALUE_BOOL ? qval_bool(view->u8[i] != 0)
                                             : (struct qval){.kind = QV_FLOAT, .f = view->f64[i]};
        TRY(add_qval(v, &q, err));
    }
    return EC_OK;
}

/* ---- columns of the requested attribute in one source ---- */

struct target {
    enum part_table table;
    enum value_type type;
    uint32_t slot;
    struct seen_codes codes;
    struct numset numbers;
};
#define TARGETS_MAX (3 * VALUE_TYPES + 1)

struct targets {
    struct target t[TARGETS_MAX];
    size_t n;
};

static enum ec add_key(
    struct source *s, enum part_table table, struct str key, struct targets *ts, struct err *err)
{
    const struct part_attr *cols[VALUE_TYPES];
    TRY(part_attr_find(s->r, table, key, cols, err));
    for (unsigned t = VALUE_STR; t <= VALUE_ARRAY; t++) {
        if (cols[t] == NULL || t == VALUE_BYTES)
            continue;
        struct target *x = &ts->t[ts->n];
        *x = (struct target){.table = table, .type = (enum value_type)t};
        TRY(source_slot(s, cols[t]->col, &x->slot, err));
        ts->n++;
    }
    return EC_OK;
}

static enum ec add_column(
    struct source *s, enum part_table table, col_id col, struct targets *ts, struct err *err)
{
    struct target *x = &ts->t[ts->n];
    *x = (struct target){.table = table, .type = VALUE_STR};
    TRY(source_slot(s, col, &x->slot, err));
    ts->n++;
    return EC_OK;
}

static enum ec targets_of(
    const struct values_request *r, struct source *s, struct targets *ts, struct err *err)
{
    ts->n = 0;
    if (r->attr == NULL) {
        if (str_eq(r->v1_name, STR("name")))
            TRY(add_column(s, TABLE_SPANS, COL_SPAN_NAME, ts, err));
        TRY(add_key(s, TABLE_SPANS, r->v1_name, ts, err));
        TRY(add_key(s, TABLE_RESOURCES, r->v1_name, ts, err));
        return add_key(s, TABLE_SCOPES, r->v1_name, ts, err);
    }
    switch (r->attr->intrinsic) {
    case TQL_I_NAME:
        return add_column(s, TABLE_SPANS, COL_SPAN_NAME, ts, err);
    case TQL_I_STATUS_MESSAGE:
        return add_column(s, TABLE_SPANS, COL_SPAN_STATUS_MESSAGE, ts, err);
    case TQL_I_EVENT_NAME:
        return add_column(s, TABLE_EVENTS, COL_EVENT_NAME, ts, err);
    case TQL_I_INSTRUMENTATION_NAME:
        return add_column(s, TABLE_SCOPES, COL_SCOPE_NAME, ts, err);
    case TQL_I_INSTRUMENTATION_VERSION:
        return add_column(s, TABLE_SCOPES, COL_SCOPE_VERSION, ts, err);
    case TQL_I_NONE:
        break;
    default:
        return EC_OK;
    }
    switch (r->attr->scope) {
    case TQL_SCOPE_SPAN:
        return add_key(s, TABLE_SPANS, r->attr->name, ts, err);
    case TQL_SCOPE_RESOURCE:
        return add_key(s, TABLE_RESOURCES, r->attr->name, ts, err);
    case TQL_SCOPE_EVENT:
        return add_key(s, TABLE_EVENTS, r->attr->name, ts, err);
    case TQL_SCOPE_LINK:
        return add_key(s, TABLE_LINKS, r->attr->name, ts, err);
    case TQL_SCOPE_INSTRUMENTATION:
        return add_key(s, TABLE_SCOPES, r->attr->name, ts, err);
    default:
        TRY(add_key(s, TABLE_SPANS, r->attr->name, ts, err));
        TRY(add_key(s, TABLE_RESOURCES, r->attr->name, ts, err));
        return add_key(s, TABLE_SCOPES, r->attr->name, ts, err);
    }
}

static bool is_wide(enum part_table t)
{
    return t == TABLE_RESOURCES || t == TABLE_SCOPES;
}

static enum ec scan_target(struct values *v, struct source *s, struct target *t, uint32_t g,
    const struct row_filter *f, struct err *err)
{
    const struct col_view *view;
    TRY(source_view(s, t->slot, g, &view, err));
    if (view->n == 0)
        return EC_OK;
    if (view->phys == PHYS_CODE)
        return add_codes(v, view, t->type, f, &t->codes, err);
    return add_numbers(v, view, t->type, f, &t->numbers, err);
}

static enum ec column_view(
    struct source *s, col_id col, uint32_t g, const struct col_view **ret, struct err *err)
{
    uint32_t slot;
    TRY(source_slot(s, col, &slot, err));
    return source_view(s, slot, g, ret, err);
}

/* Marks the resource (scope) rows of matching spans. */
static enum ec mark_wide(struct source *s, uint32_t g, const struct scan_bits *bits,
    enum part_table table, uint64_t *rows, struct err *err)
{
    const struct col_view *refs;
    TRY(column_view(
        s, table == TABLE_RESOURCES ? COL_SPAN_RESOURCE : COL_SPAN_SCOPE, g, &refs, err));
    for (uint32_t row = scan_bits_next(bits, 0); row < bits->n; row = scan_bits_next(bits, row + 1))
        rows[refs->u32[row] / 64] |= (uint64_t)1 << (refs->u32[row] % 64);
    return EC_OK;
}

struct roots { /* rootName and rootServiceName: a value per trace */
    bool on, service;
    uint64_t *traces; /* matching ones; NULL: all */
};

static enum ec add_roots(
    struct values *v, struct source *s, const struct roots *roots, struct err *err)
{
    for (uint32_t i = 0; i < s->info.n_traces && !full(v); i++) {
        struct part_trace pt;
        const struct col_view *view;
        if (roots->traces != NULL && (roots->traces[i / 64] >> (i % 64) & 1) == 0)
            continue;
        TRY(part_trace(s->r, i, &pt, err));
        if (pt.root_row == PART_NONE || pt.root_row >= s->info.n_rows)
            continue;
        uint32_t g = source_group_of(s, pt.root_row), off = pt.root_row - s->groups[g].row_first;
        if (!roots->service) {
            TRY(column_view(s, COL_SPAN_NAME, g, &view, err));
            TRY(add(v, KIND_STRING, dict_get(view->dict, view->u32[off]), err));
            continue;
        }
        const struct part_attr *cols[VALUE_TYPES];
        TRY(column_view(s, COL_SPAN_RESOURCE, g, &view, err));
        uint32_t resource = view->u32[off];
        TRY(part_attr_find(s->r, TABLE_RESOURCES, STR("service.name"), cols, err));
        if (cols[VALUE_STR] == NULL)
            continue;
        TRY(column_view(s, cols[VALUE_STR]->col, 0, &view, err));
        uint32_t at = view_index(view, resource);
        if (at != PART_NONE)
            TRY(add(v, KIND_STRING, dict_get(view->dict, view->u32[at]), err));
    }
    return EC_OK;
}

static enum ec all_values(struct values *v, struct source *s, struct targets *ts,
    const struct roots *roots, struct err *err)
{
    const struct row_filter every = {0};
    for (size_t i = 0; i < ts->n; i++) {
        uint32_t n = is_wide(ts->t[i].table) ? MIN(s->info.n_resources + s->info.n_scopes, 1)
                                             : s->info.n_groups;
        for (uint32_t g = 0; g < n && !full(v); g++) {
            TRY(query_check_alive(v->ctx, err));
            if (i + 1 == ts->n)
                tell_if_due(v, g);
            TRY(scan_target(v, s, &ts->t[i], g, &every, err));
            if (ts->t[i].codes.dict != NULL && ts->t[i].codes.bits == NULL)
                break; /* a whole dictionary: other groups have nothing else */
        }
    }
    return roots->on ? add_roots(v, s, roots, err) : EC_OK;
}

/* One group of spans under one filter group. */
static enum ec matching_group(struct values *v, struct source *s, uint32_t g,
    const struct scan_bits *bits, struct targets *ts, uint64_t *wide[TABLE_COUNT],
    const struct roots *roots, struct err *err)
{
    for (size_t i = 0; i < ts->n; i++) {
        struct target *t = &ts->t[i];
        struct row_filter f = {.spans = bits};
        if (is_wide(t->table)) {
            TRY(mark_wide(s, g, bits, t->table, wide[t->table], err));
            continue;
        }
        if (t->table != TABLE_SPANS)
            TRY(column_view(
                s, t->table == TABLE_EVENTS ? COL_EVENT_SPAN : COL_LINK_SPAN, g, &f.owner, err));
        TRY(scan_target(v, s, t, g, &f, err));
    }
    if (!roots->on)
        return EC_OK;
    const struct col_view *traces;
    TRY(column_view(s, COL_SPAN_TRACE, g, &traces, err));
    for (uint32_t row = scan_bits_next(bits, 0); row < bits->n; row = scan_bits_next(bits, row + 1))
        if (traces->u32[row] < s->info.n_traces)
            roots->traces[traces->u32[row] / 64] |= (uint64_t)1 << (traces->u32[row] % 64);
    return EC_OK;
}

static enum ec matching_values(struct values *v, struct source *s,
    const struct tql_filter_group *fg, struct targets *ts, struct roots *roots, struct err *err)
{
    struct arena *a = v->set.arena;
    uint64_t *wide[TABLE_COUNT] = {0};
    wide[TABLE_RESOURCES] = ARENA_ARRAY(a, s->info.n_resources / 64 + 1, uint64_t);
    wide[TABLE_SCOPES] = ARENA_ARRAY(a, s->info.n_scopes / 64 + 1, uint64_t);
    roots->traces = ARENA_ARRAY(a, s->info.n_traces / 64 + 1, uint64_t);
    const struct scan_expr *x = lower_group(fg, a);
    if (wide[TABLE_RESOURCES] == NULL || wide[TABLE_SCOPES] == NULL || roots->traces == NULL ||
        x == NULL)
        return over_budget(err);
    struct scan *scan;
    TRY(scan_new(s->r, x, &scan, err));
    enum ec ec = EC_OK;
    for (uint32_t g = 0; g < s->info.n_groups && ec == EC_OK && !scan_none(scan) && !full(v); g++) {
        struct scan_bits bits;
        ec = query_check_alive(v->ctx, err);
        if (ec == EC_OK)
            tell_if_due(v, g);
        if (ec == EC_OK)
            ec = scan_group(scan, g, &bits, err);
        if (ec == EC_OK && scan_bits_any(&bits))
            ec = matching_group(v, s, g, &bits, ts, wide, roots, err);
        if (source_unreadable(source_note(s, ec)))
            ec = EC_OK; /* without this group */
    }
    scan_free(scan);
    TRY(ec);
    for (size_t i = 0; i < ts->n; i++) {
        struct row_filter f = {.rows = wide[ts->t[i].table]};
        if (f.rows != NULL)
            TRY(scan_target(v, s, &ts->t[i], 0, &f, err));
    }
    return roots->on ? add_roots(v, s, roots, err) : EC_OK;
}

/* ---- the literal of a filter that pins the requested attribute itself ---- */

static bool same_attr(const struct tql_attr *a, const struct tql_attr *b)
{
    return a->intrinsic == b->intrinsic && a->scope == b->scope && a->parent == b->parent &&
           str_eq(a->name, b->name);
}

static const struct tql_static *pinned(
    const struct tql_attr *attr, const struct tql_filter_group *g)
{
    for (uint32_t i = 0; attr != NULL && i < g->n_conds; i++) {
        const struct tql_expr *e = g->conds[i];
        if (e->kind == TQL_E_BINARY && e->op == TQL_OP_EQ && e->lhs->kind == TQL_E_ATTR &&
            e->rhs->kind == TQL_E_STATIC && same_attr(e->lhs->attr, attr))
            return &e->rhs->value;
    }
    return NULL;
}

static enum ec source_values(struct values *v, struct source *s, struct err *err)
{
    const struct values_request *r = v->req;
    enum tql_intrinsic which = r->attr == NULL ? TQL_I_NONE : r->attr->intrinsic;
    struct targets *ts = ARENA_NEW(v->set.arena, struct targets);
    struct roots roots = {.on = which == TQL_I_ROOT_NAME || which == TQL_I_ROOT_SERVICE,
        .service = which == TQL_I_ROOT_SERVICE};
    if (ts == NULL)
        return over_budget(err);
    TRY(targets_of(r, s, ts, err));
    if (ts->n == 0 && !roots.on)
        return EC_OK;
    if (r->filter == NULL)
        return all_values(v, s, ts, &roots, err);
    for (uint32_t k = 0; k < r->filter->n_groups; k++) {
        if (pinned(r->attr, &r->filter->groups[k]) != NULL)
            continue;
        for (size_t i = 0; i < ts->n;
             i++) { /* another filter: other rows of the same codes count */
            ts->t[i].codes = (struct seen_codes){0};
            ts->t[i].numbers = (struct numset){0};
        }
        TRY(matching_values(v, s, &r->filter->groups[k], ts, &roots, err));
    }
    return EC_OK;
}

/* Answers that need no data. */
static bool fixed_values(struct values *v, enum ec *ret_ec, struct err *err)
{
    static const char *const status[] = {"error", "ok", "unset"};
    static const char *const kind[] = {
        "client", "consumer", "internal", "producer", "server", "unspecified"};
    enum tql_intrinsic which = v->req->attr == NULL ? TQL_I_NONE : v->req->attr->intrinsic;
    *ret_ec = EC_OK;
    if (which == TQL_I_STATUS || which == TQL_I_KIND) {
        const char *const *names = which == TQL_I_STATUS ? status : kind;
        size_t n = which == TQL_I_STATUS ? ARRAY_LEN(status) : ARRAY_LEN(kind);
        for (size_t i = 0; i < n && *ret_ec == EC_OK; i++)
            *ret_ec = add(v, KIND_KEYWORD, str_from(names[i]), err);
        return true;
    }
    if (v->v1 && str_eq(v->req->v1_name, STR("status.code"))) {
        for (size_t i = 0; i < ARRAY_LEN(status) && *ret_ec == EC_OK; i++)
            *ret_ec = add(v, KIND_STRING, str_from(status[i]), err);
    } else if (v->v1 && str_eq(v->req->v1_name, STR("error"))) {
        *ret_ec = add(v, KIND_STRING, STR("true"), err);
    }
    return false; /* what is stored under these names counts too */
}

static enum ec add_pinned(struct values *v, struct err *err)
{
    for (uint32_t k = 0; v->req->filter != NULL && k < v->req->filter->n_groups; k++) {
        const struct tql_static *lit = pinned(v->req->attr, &v->req->filter->groups[k]);
        if (lit == NULL)
            continue;
        struct qval q = qval_of_static(lit);
        TRY(add_qval(v, &q, err));
    }
    return EC_OK;
}

/* ---- nested-set numbers: computed, so every trace is assembled ---- */

static bool is_nested(const struct tql_attr *attr)
{
    return attr != NULL && attr->intrinsic >= TQL_I_NESTED_SET_LEFT &&
           attr->intrinsic <= TQL_I_NESTED_SET_PARENT;
}

static enum ec trace_numbers(struct values *v, struct source *sources, const struct trace_id *id,
    struct arena *scratch, struct numset *seen, struct err *err)
{
    struct qtrace t;
    bool ok = true;
    TRY(qtrace_open(&t, sources, v->ctx->n_parts, id, scratch, err));
    TRY(qtrace_load_nest(&t, err));
    for (uint32_t i = 0; i < t.n && !full(v); i++) {
        const struct qnest *n = &t.nest[i];
        struct qval q = qval_int(v->req->attr->intrinsic == TQL_I_NESTED_SET_LEFT    ? n->left
                                 : v->req->attr->intrinsic == TQL_I_NESTED_SET_RIGHT ? n->right
                                                                                     : n->parent);
        if (!numset_add(seen, v->set.arena, (uint64_t)q.i, &ok))
            continue;
        if (!ok)
            return over_budget(err);
        TRY(add_qval(v, &q, err));
    }
    return EC_OK;
}

/* Of all traces, whatever the filter: nobody completes these by hand. */
static enum ec nested_values(struct values *v, struct source *sources, struct err *err)
{
    struct numset seen = {0};
    struct arena scratch;
    enum ec ec = EC_OK;
    arena_init(&scratch, v->ctx->budget, 16u << 10);
    uint32_t done = 0;
    for (size_t k = 0; k < v->ctx->n_parts && ec == EC_OK; k++) {
        struct source *s = &sources[k];
        v->groups_done = done;
        done += s->info.n_groups;
        if (s->part == NULL || values_outside(v->req, &s->info))
            continue;
        bool ok = false;
        ec = source_reader(s, &ok, err);
        for (uint32_t i = 0; ok && i < s->info.n_traces && ec == EC_OK && !full(v); i++) {
            struct part_trace pt;
            ec = i % 256 == 0 ? query_check_alive(v->ctx, err) : EC_OK;
            if (ec == EC_OK)
                ec = part_trace(s->r, i, &pt, err);
            if (ec == EC_OK && i % 256 == 0)
                tell_if_due(v, 0);
            if (ec == EC_OK)
                ec = trace_numbers(v, sources, &pt.id, &scratch, &seen, err);
            if (source_unreadable(ec)) { /* without this trace */
                s->damaged = true;
                ec = EC_OK;
            }
            arena_reset(&scratch);
        }
    }
    arena_deinit(&scratch);
    return ec;
}

/* ---- the answer ---- */

static enum ec fill(struct values *v, struct values_list *list, struct values_result *ret,
    uint64_t *ret_bytes, struct err *err)
{
    TRY(values_merge(&v->set, list, kind_names, ret, ret_bytes, err));
    if (v->req->limit != 0 && ret->n > v->req->limit)
        ret->n = v->req->limit;
    return EC_OK;
}

enum which { OF_HEADS = 1, OF_BLOCKS = 2 };

/* Adds the values of those parts. */
static enum ec parts_values(struct values *v, unsigned which, struct err *err)
{
    const struct query_ctx *ctx = v->ctx;
    uint32_t groups = 0;
    enum ec ec = EC_OK;
    struct values_lists lists;
    if (which & OF_BLOCKS)
        values_ask_ahead(ctx, v->req, v->sources);
    values_lists_init(&lists, v->req, which & OF_BLOCKS ? ctx->n_parts : 0, ctx->arena);
    for (size_t i = 0; i < ctx->n_parts && ec == EC_OK; i++) {
        struct source *s = &v->sources[i];
        v->groups_done = groups;
        groups += s->info.n_groups;
        uint64_t *slot = NULL, list = 0;
        if (s->part == NULL || values_outside(v->req, &s->info) ||
            ((s->part->is_head ? OF_HEADS : OF_BLOCKS) & which) == 0 ||
            values_list_seen(&lists, s->part, &slot, &list) ||
            (slot == NULL && s->r == NULL && values_none(v->req, s->part)))
            continue;
        bool ok = false;
        ec = query_check_alive(ctx, err);
        if (ec == EC_OK)
            ec = source_groups(s, &ok, err);
        if (ec == EC_OK && ok)
            ec = source_values(v, s, err);
        if (ec == EC_OK && ok && slot != NULL)
            *slot = list;
        if (source_unreadable(source_note(s, ec)))
            ec = EC_OK;
    }
    return ec;
}

/* The values of blocks alone, sorted, and kept for the next query. */
static enum ec blocks_values(struct values *v, struct values_cached *k, enum values_found *ret,
    struct values_list *list, struct err *err)
{
    struct tagset others = v->set;
    struct tagset_entry *all = NULL;
    bool damaged = false;
    v->set = (struct tagset){
        .arena = others.arena, .bytes_max = others.bytes_max, .kind_names = others.kind_names};
    TRY(parts_values(v, OF_BLOCKS, err));
    for (size_t i = 0; i < v->ctx->n_parts; i++)
        damaged = damaged || v->sources[i].damaged;
    if (!full(v))
        TRY(tagset_sorted(&v->set, &all, err));
    *list = (struct values_list){.entries = all, .n = v->set.n, .bytes = v->set.bytes};
    *ret = all == NULL ? VALUES_TOO_MANY : VALUES_FOUND;
    if (!damaged)
        values_cached_keep(k, v->ctx, list);
    v->set = others;
    return EC_OK;
}

/* With what is kept of blocks. *ret_filled: false: the answer has to be found without. */
static enum ec cached_values(
    struct values *v, struct values_result *ret, bool *ret_filled, struct err *err)
{
    const struct query_ctx *ctx = v->ctx;
    enum values_found found = VALUES_UNKNOWN;
    struct values_cached k;
    struct values_list list;
    uint64_t bytes;
    *ret_filled = false;
    values_cached_init(&k, ctx, v->req, v->sources);
    enum ec ec = values_cached_find(&k, ctx, &found, &list, err);
    /* Who listens wants to hear of the values as they are found: not of this list, then. */
    if (ec == EC_OK && found == VALUES_UNKNOWN && k.cache != NULL && ctx->stream == NULL)
        ec = blocks_values(v, &k, &found, &list, err);
    values_cached_deinit(&k);
    if (ec != EC_OK || found != VALUES_FOUND)
        return ec;
    TRY(parts_values(v, OF_HEADS, err));
    TRY(fill(v, &list, ret, &bytes, err));
    /* Which values are left out when there are too many depends on the order of the parts. */
    *ret_filled = !full(v) && (v->set.bytes_max == 0 || bytes <= v->set.bytes_max);
    return EC_OK;
}

/* *ret_done: no part has to be looked at. */
static enum ec begin(struct values *v, bool *ret_done, struct err *err)
{
    enum ec ec;
    v->set = (struct tagset){.arena = v->ctx->arena,
        .bytes_max = v->req->bytes_max,
        .kind_names = v->req->attr != NULL ? kind_names : NULL};
    *ret_done = fixed_values(v, &ec, err);
    TRY(ec);
    return *ret_done ? EC_OK : add_pinned(v, err);
}

static enum ec stored_values(struct values *v, struct values_result *ret, struct err *err)
{
    bool filled = false;
    uint64_t bytes;
    if (is_nested(v->req->attr)) {
        TRY(nested_values(v, v->sources, err));
        return fill(v, NULL, ret, &bytes, err);
    }
    if (v->ctx->cache != NULL) {
        TRY(cached_values(v, ret, &filled, err));
        if (filled)
            return EC_OK;
        TRY(begin(v, &filled, err));
    }
    TRY(parts_values(v, OF_HEADS | OF_BLOCKS, err));
    return fill(v, NULL, ret, &bytes, err);
}

enum ec query_values(const struct query_ctx *ctx, const struct values_request *req,
    struct values_result *ret, struct err *err)
{
    struct values v = {.ctx = ctx, .req = req, .v1 = req->attr == NULL};
    uint64_t bytes;
    bool done;
    v.sources = ARENA_ARRAY(ctx->arena, ctx->n_parts, struct source);
    if (v.sources == NULL)
        return over_budget(err);
    *ret = (struct values_result){0};
    enum ec ec = begin(&v, &done, err);
    for (size_t i = 0; i < ctx->n_parts && ec == EC_OK && !done; i++)
        ec = query_source_open_lazy(ctx, &v.sources[i], ctx->parts[i], err);
    if (ec == EC_OK)
        ec = query_check_alive(ctx, err);
    if (ec == EC_OK)
        ec = done ? fill(&v, NULL, ret, &bytes, err) : stored_values(&v, ret, err);
    if (ec == EC_OK)
        query_stats_fill(ctx, v.sources, &ret->stats);
    for (size_t i = 0; i < ctx->n_parts; i++)
        source_close(&v.sources[i]);
    return ec;
}
