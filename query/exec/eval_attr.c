/* SPDX-License-Identifier: Apache-2.0
 * What an attribute is on a row: intrinsics, stored values, values of events and links. */
#include "eval_attr.h"

#include "bind.h"
#include "model/otlp_write.h"

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

/* Values of the column by resource row; names are copied, since the reader may be recycled. */
static enum ec service_numbers(
    struct eval *ev, const struct col_view *v, uint32_t *out, uint32_t n, struct err *err)
{
    for (uint32_t i = v->n; i-- > 0;) { /* of a key that was sent twice the first value stays */
        uint32_t row = v->rows == NULL ? i : v->rows[i];
        if (row >= n)
            continue;
        struct str name = dict_get(v->dict, v->u32[i]);
        uint32_t before = ev->services.n;
        struct qval key = qval_str(name);
        TRY(keyring_number(&ev->services, &key, ev->arena, &out[row], err));
        if (ev->services.n == before)
            continue;
        struct str *kept = &ev->services.keys[out[row]].s;
        *kept = arena_str(ev->arena, name);
        if (kept->p == NULL)
            return over_budget(err);
    }
    return EC_OK;
}

enum ec eval_services(struct eval *ev, uint32_t src, const uint32_t **ret, struct err *err)
{
    struct source *s = &ev->sources[src];
    const struct part_attr *cols[VALUE_TYPES];
    const struct qval none = qval_str(str_n("", 0));
    uint32_t slot, n = s->info.n_resources, number = 0;
    *ret = ev->service_of[src];
    if (LIKELY(*ret != NULL))
        return EC_OK;
    uint32_t *out = arena_alloc(ev->arena, MAX(n, 1u) * sizeof(*out));
    if (out == NULL)
        return over_budget(err);
    TRY(keyring_number(&ev->services, &none, ev->arena, &number, err));
    for (uint32_t i = 0; i < n; i++)
        out[i] = number;
    TRY(part_attr_find(s->r, TABLE_RESOURCES, STR("service.name"), cols, err));
    if (cols[VALUE_STR] != NULL) {
        const struct col_view *v;
        TRY(source_slot(s, cols[VALUE_STR]->col, &slot, err));
        TRY(source_view(s, slot, 0, &v, err));
        TRY(service_numbers(ev, v, out, n, err));
    }
    *ret = ev->service_of[src] = out;
    return EC_OK;
}

static enum ec service_of_row(
    struct eval *ev, const struct qrow *r, struct str *ret, struct err *err)
{
    const uint32_t *of;
    uint64_t resource;
    TRY(qrow_u64(ev->trace, r, COL_SPAN_RESOURCE, &resource, err));
    TRY(eval_services(ev, r->src, &of, err));
    ASSERT(resource < ev->sources[r->src].info.n_resources);
    *ret = ev->services.keys[of[resource]].s;
    return EC_OK;
}

enum ec eval_root_text(struct eval *ev, struct err *err)
{
    struct qtrace *t = ev->trace;
    if (ev->has_root_text)
        return EC_OK;
    ev->root_name = ev->root_service = str_n("", 0);
    if (t->root != PART_NONE) {
        TRY(qrow_str(t, &t->rows[t->root], COL_SPAN_NAME, &ev->root_name, err));
        TRY(service_of_row(ev, &t->rows[t->root], &ev->root_service, err));
    }
    ev->has_root_text = true;
    return EC_OK;
}

bool eval_is_multi(const struct tql_attr *attr)
{
    switch (attr->intrinsic) {
    case TQL_I_NONE:
        return attr->scope == TQL_SCOPE_EVENT || attr->scope == TQL_SCOPE_LINK;
    case TQL_I_EVENT_NAME:
    case TQL_I_EVENT_TIME_SINCE_START:
    case TQL_I_LINK_TRACE_ID:
    case TQL_I_LINK_SPAN_ID:
        return true;
    default:
        return false;
    }
}

bool eval_is_event(const struct tql_attr *attr)
{
    return attr->scope == TQL_SCOPE_EVENT || attr->intrinsic == TQL_I_EVENT_NAME ||
           attr->intrinsic == TQL_I_EVENT_TIME_SINCE_START;
}

/* ---- values ---- */

static enum ec hex_value(
    struct eval *ev, const void *p, size_t n, struct qval *ret, struct err *err)
{
    char *text = arena_alloc(ev->trace->scratch, 2 * n);
    if (text == NULL)
        return over_budget(err);
    hex_encode(text, p, n);
    *ret = qval_str(str_n(text, 2 * n));
    return EC_OK;
}

static enum ec span_id_value(struct eval *ev, uint64_t id, struct qval *ret, struct err *err)
{
    uint8_t b[8];
    put_u64be(b, id);
    return hex_value(ev, b, 8, ret, err);
}

static enum ec trace_id_value(struct eval *ev, struct qval *ret, struct err *err)
{
    char *text = arena_alloc(ev->trace->scratch, 32);
    if (text == NULL)
        return over_budget(err);
    *ret = qval_str(str_n(text, trace_id_short_hex(text, &ev->trace->id)));
    return EC_OK;
}

static enum ec duration_of(struct eval *ev, const struct qrow *r, uint64_t *ret, struct err *err)
{
    TRY(qrow_u64(ev->trace, r, COL_SPAN_DURATION, ret, err));
    if (*ret > (uint64_t)INT64_MAX) /* the end is before the start */
        *ret = 0;
    return EC_OK;
}

static enum ec nest_value(
    struct eval *ev, enum tql_intrinsic which, uint32_t row, struct qval *ret, struct err *err)
{
    TRY(qtrace_load_nest(ev->trace, err));
    const struct qnest *n = &ev->trace->nest[row];
    switch (which) {
    case TQL_I_CHILD_COUNT:
        *ret = qval_int(n->n_children);
        break;
    case TQL_I_NESTED_SET_LEFT:
        *ret = qval_int(n->left);
        break;
    case TQL_I_NESTED_SET_RIGHT:
        *ret = qval_int(n->right);
        break;
    default:
        *ret = qval_int(n->parent);
        break;
    }
    return EC_OK;
}

/* Single-valued intrinsics. */
static enum ec intrinsic_value(
    struct eval *ev, const struct tql_attr *attr, uint32_t row, struct qval *ret, struct err *err)
{
    struct qtrace *t = ev->trace;
    const struct qrow *r = &t->rows[row];
    uint64_t n;
    struct str s;
    switch (attr->intrinsic) {
    case TQL_I_DURATION:
        TRY(duration_of(ev, r, &n, err));
        *ret = qval_duration(n);
        return EC_OK;
    case TQL_I_NAME:
    case TQL_I_STATUS_MESSAGE:
        TRY(qrow_str(t, r, attr->intrinsic == TQL_I_NAME ? COL_SPAN_NAME : COL_SPAN_STATUS_MESSAGE,
            &s, err));
        *ret = qval_str(s);
        return EC_OK;
    case TQL_I_STATUS:
        TRY(qrow_u64(t, r, COL_SPAN_STATUS, &n, err));
        *ret = (struct qval){.kind = QV_STATUS, .i = (int64_t)n};
        return EC_OK;
    case TQL_I_KIND:
        TRY(qrow_u64(t, r, COL_SPAN_KIND, &n, err));
        *ret = (struct qval){.kind = QV_KIND, .i = (int64_t)n};
        return EC_OK;
    case TQL_I_SPAN_ID:
    case TQL_I_SPAN_PARENT_ID:
        TRY(qrow_u64(
            t, r, attr->intrinsic == TQL_I_SPAN_ID ? COL_SPAN_ID : COL_SPAN_PARENT, &n, err));
        return span_id_value(ev, n, ret, err);
    case TQL_I_TRACE_DURATION:
        *ret = qval_duration(t->end_ns - t->start_ns);
        return EC_OK;
    case TQL_I_TRACE_ID:
        return trace_id_value(ev, ret, err);
    case TQL_I_ROOT_NAME:
    case TQL_I_ROOT_SERVICE:
        TRY(eval_root_text(ev, err));
        *ret = qval_str(attr->intrinsic == TQL_I_ROOT_NAME ? ev->root_name : ev->root_service);
        return EC_OK;
    case TQL_I_CHILD_COUNT:
    case TQL_I_NESTED_SET_LEFT:
    case TQL_I_NESTED_SET_RIGHT:
    case TQL_I_NESTED_SET_PARENT:
        return nest_value(ev, attr->intrinsic, row, ret, err);
    default:
        *ret = QVAL_NIL;
        return EC_OK;
    }
}

/* Event- or link-valued attribute on one event (link). */
enum ec eval_multi_value(struct eval *ev, const struct tql_attr *attr, const struct qrow *r,
    uint32_t at, struct qval *ret, struct err *err)
{
    struct source *s = &ev->sources[r->src];
    struct qrow e = {.src = r->src, .g = r->g, .off = at};
    const struct bind *b;
    struct str name;
    uint64_t n, start;
    switch (attr->intrinsic) {
    case TQL_I_EVENT_NAME:
        TRY(qrow_str(ev->trace, &e, COL_EVENT_NAME, &name, err));
        *ret = qval_str(name);
        return EC_OK;
    case TQL_I_EVENT_TIME_SINCE_START:
        TRY(qrow_u64(ev->trace, &e, COL_EVENT_TIME, &n, err));
        TRY(qrow_u64(ev->trace, r, COL_SPAN_START, &start, err));
        *ret = (struct qval){.kind = QV_DURATION, .i = (int64_t)(n - start)};
        return EC_OK;
    case TQL_I_LINK_SPAN_ID:
        TRY(qrow_u64(ev->trace, &e, COL_LINK_SPAN_ID, &n, err));
        return span_id_value(ev, n, ret, err);
    case TQL_I_LINK_TRACE_ID: {
        const struct col_view *v;
        uint32_t slot;
        TRY(source_slot(s, COL_LINK_TRACE_ID, &slot, err));
        TRY(source_view(s, slot, r->g, &v, err));
        return hex_value(ev, v->id16[at].b, 16, ret, err);
    }
    default:
        TRY(eval_bind(ev, attr, r->src, &b, err));
        return bind_fetch(s, b, r->g, at, ret, err);
    }
}

enum ec eval_multi_range(struct eval *ev, const struct tql_attr *attr, const struct qrow *r,
    uint32_t *ret_from, uint32_t *ret_to, struct err *err)
{
    bool event = eval_is_event(attr);
    uint32_t fixed = event ? ev->event : ev->link;
    if (fixed != PART_NONE) {
        *ret_from = fixed;
        *ret_to = fixed + 1;
        return EC_OK;
    }
    return bind_range(&ev->sources[r->src], event ? COL_EVENT_SPAN : COL_LINK_SPAN, r->g, r->off,
        ret_from, ret_to, err);
}

enum ec eval_attr_resource(
    struct eval *ev, const struct tql_attr *attr, uint32_t row, struct qval *ret, struct err *err)
{
    const struct qrow *r = &ev->trace->rows[row];
    const struct bind *b;
    uint64_t at;
    bool scope = attr->scope == TQL_SCOPE_INSTRUMENTATION || attr->intrinsic != TQL_I_NONE;
    *ret = QVAL_NIL;
    TRY(eval_bind(ev, attr, r->src, &b, err));
    if (b->wide == NULL)
        return EC_OK;
    TRY(qrow_u64(ev->trace, r, scope ? COL_SPAN_SCOPE : COL_SPAN_RESOURCE, &at, err));
    const struct part_info *info = &ev->sources[r->src].info;
    ASSERT(at < (scope ? info->n_scopes : info->n_resources));
    *ret = b->wide[at];
    return EC_OK;
}

enum ec eval_attr_span_only(
    struct eval *ev, const struct tql_attr *attr, uint32_t row, struct qval *ret, struct err *err)
{
    const struct qrow *r = &ev->trace->rows[row];
    const struct bind *b;
    TRY(eval_bind(ev, attr, r->src, &b, err));
    return bind_fetch(&ev->sources[r->src], b, r->g, r->off, ret, err);
}

/* The row whose attribute is meant: the span itself or its parent. PART_NONE: there is none. */
static enum ec meant_row(
    struct eval *ev, const struct tql_attr *attr, uint32_t row, uint32_t *ret, struct err *err)
{
    *ret = row;
    if (!attr->parent)
        return EC_OK;
    TRY(qtrace_load_parents(ev->trace, err));
    *ret = ev->trace->up[row];
    return EC_OK;
}

enum ec eval_attr(
    struct eval *ev, const struct tql_attr *attr, uint32_t row, struct qval *ret, struct err *err)
{
    *ret = QVAL_NIL;
    TRY(meant_row(ev, attr, row, &row, err));
    if (row == PART_NONE)
        return EC_OK;
    const struct qrow *r = &ev->trace->rows[row];
    if (eval_is_multi(attr)) {
        uint32_t from, to;
        TRY(eval_multi_range(ev, attr, r, &from, &to, err));
        for (uint32_t i = from; i < to && ret->kind == QV_NIL; i++)
            TRY(eval_multi_value(ev, attr, r, i, ret, err));
        return EC_OK;
    }
    if (attr->intrinsic == TQL_I_INSTRUMENTATION_NAME ||
        attr->intrinsic == TQL_I_INSTRUMENTATION_VERSION)
        return eval_attr_resource(ev, attr, row, ret, err);
    if (attr->intrinsic != TQL_I_NONE)
        return intrinsic_value(ev, attr, row, ret, err);
    if (attr->scope == TQL_SCOPE_NONE || attr->scope == TQL_SCOPE_SPAN) {
        TRY(eval_attr_span_only(ev, attr, row, ret, err));
        if (ret->kind != QV_NIL || attr->scope == TQL_SCOPE_SPAN)
            return EC_OK;
    }
    return eval_attr_resource(ev, attr, row, ret, err);
}

/* Structural operators read the nested-set numbers of every span, whatever the conditions on
 * them. */
static bool read_by_structure(const struct eval *ev, const struct tql_attr *attr)
{
    return ev->q->structural && attr->intrinsic >= TQL_I_NESTED_SET_LEFT &&
           attr->intrinsic <= TQL_I_NESTED_SET_PARENT;
}

enum ec eval_attr_shown(struct eval *ev, const struct tql_attr *attr, uint32_t row, bool whole,
    struct qval *ret, struct err *err)
{
    struct qval v;
    whole = whole || read_by_structure(ev, attr);
    if (!eval_is_multi(attr)) {
        TRY(eval_attr(ev, attr, row, ret, err));
        if (!whole)
            *ret = eval_visible(ev, attr, ret, ev->trace->scratch);
        return EC_OK;
    }
    const struct qrow *r = &ev->trace->rows[row];
    uint32_t from, to;
    *ret = QVAL_NIL;
    TRY(eval_multi_range(ev, attr, r, &from, &to, err));
    for (uint32_t i = from; i < to; i++) {
        TRY(eval_multi_value(ev, attr, r, i, &v, err));
        if (!whole)
            v = eval_visible(ev, attr, &v, ev->trace->scratch);
        if (v.kind != QV_NIL)
            *ret = v;
    }
    return EC_OK;
}
