/* SPDX-License-Identifier: Apache-2.0
 * Expression evaluation. */
#include "eval.h"

#include "bind.h"
#include "model/otlp_write.h"

#define CONJUNCTS_MAX 256

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

enum ec eval_init(struct eval *ev, const struct tql_query *q, struct source *sources,
    size_t n_sources, struct arena *arena, struct err *err)
{
    *ev = (struct eval){.q = q,
        .sources = sources,
        .n_sources = n_sources,
        .arena = arena,
        .event = PART_NONE,
        .link = PART_NONE};
    ev->binds = ARENA_ARRAY(arena, (size_t)q->n_attrs * n_sources, struct bind);
    return ev->binds == NULL ? over_budget(err) : EC_OK;
}

void eval_trace(struct eval *ev, struct qtrace *t)
{
    ev->trace = t;
    ev->event = ev->link = PART_NONE;
    ev->has_root_text = false;
}

enum ec eval_service(struct eval *ev, const struct qrow *r, struct str *ret, struct err *err)
{
    struct source *s = &ev->sources[r->src];
    const struct part_attr *cols[VALUE_TYPES];
    const struct col_view *v;
    uint64_t resource;
    uint32_t slot;
    *ret = str_n("", 0);
    TRY(qrow_u64(ev->trace, r, COL_SPAN_RESOURCE, &resource, err));
    TRY(part_attr_find(s->r, TABLE_RESOURCES, STR("service.name"), cols, err));
    if (cols[VALUE_STR] == NULL)
        return EC_OK;
    TRY(source_slot(s, cols[VALUE_STR]->col, &slot, err));
    TRY(source_view(s, slot, 0, &v, err));
    uint32_t i = view_index(v, (uint32_t)resource);
    if (i != PART_NONE)
        *ret = dict_get(v->dict, v->u32[i]);
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
        TRY(eval_service(ev, &t->rows[t->root], &ev->root_service, err));
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

static bool is_event(const struct tql_attr *attr)
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
static enum ec multi_value(struct eval *ev, const struct tql_attr *attr, const struct qrow *r,
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

static enum ec multi_range(struct eval *ev, const struct tql_attr *attr, const struct qrow *r,
    uint32_t *ret_from, uint32_t *ret_to, struct err *err)
{
    bool event = is_event(attr);
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
    TRY(qtrace_load_nest(ev->trace, err));
    *ret = ev->trace->nest[row].parent_row;
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
        TRY(multi_range(ev, attr, r, &from, &to, err));
        for (uint32_t i = from; i < to && ret->kind == QV_NIL; i++)
            TRY(multi_value(ev, attr, r, i, ret, err));
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
    TRY(multi_range(ev, attr, r, &from, &to, err));
    for (uint32_t i = from; i < to; i++) {
        TRY(multi_value(ev, attr, r, i, &v, err));
        if (!whole)
            v = eval_visible(ev, attr, &v, ev->trace->scratch);
        if (v.kind != QV_NIL)
            *ret = v;
    }
    return EC_OK;
}

/* ---- leaves ---- */

bool eval_is_leaf(const struct tql_expr *e)
{
    if (e->kind == TQL_E_SET)
        return true;
    return e->kind == TQL_E_BINARY && tql_op_is_compare(e->op) && e->lhs->kind == TQL_E_ATTR &&
           e->rhs->kind == TQL_E_STATIC;
}

/* Ids compare whatever zeros they are written with: trace:id without leading ones, the others in
 * full. */
static enum ec id_literal(
    struct eval *ev, enum tql_intrinsic which, struct qval *v, struct err *err)
{
    size_t width =
        which == TQL_I_LINK_TRACE_ID ? 32
        : which == TQL_I_SPAN_ID || which == TQL_I_SPAN_PARENT_ID || which == TQL_I_LINK_SPAN_ID
            ? 16
            : 0;
    if (v->kind != QV_STRING || (width == 0 && which != TQL_I_TRACE_ID))
        return EC_OK;
    struct str s = v->s;
    while (s.n > 1 && s.p[0] == '0')
        s.p++, s.n--;
    if (s.n < width) {
        char *p = arena_alloc(ev->arena, width);
        if (p == NULL)
            return over_budget(err);
        memset(p, '0', width - s.n);
        memcpy(p + width - s.n, s.p, s.n);
        s = str_n(p, width);
    }
    v->s = s;
    return EC_OK;
}

enum ec eval_leaf(struct eval *ev, const struct tql_expr *e, struct qval_leaf *ret, struct err *err)
{
    bool set = e->kind == TQL_E_SET;
    const struct tql_attr *attr = set ? e->attr : e->lhs->attr;
    uint32_t n = set ? e->n_values : 1;
    struct qval *literals = ARENA_ARRAY(ev->arena, n, struct qval);
    const struct regex **regexes = NULL;
    if (literals == NULL)
        return over_budget(err);
    for (uint32_t i = 0; i < n; i++) {
        literals[i] = qval_of_static(set ? &e->values[i] : &e->rhs->value);
        TRY(id_literal(ev, attr->intrinsic, &literals[i], err));
    }
    if (e->op == TQL_OP_RE || e->op == TQL_OP_NRE) {
        regexes = ARENA_ARRAY(ev->arena, n, const struct regex *);
        if (regexes == NULL)
            return over_budget(err);
        for (uint32_t i = 0; i < n; i++)
            regexes[i] = set ? e->regexes[i] : e->regex;
    }
    *ret = (struct qval_leaf){
        .op = e->op, .literals = literals, .regexes = regexes, .n = n, .whole = true};
    /* An attribute's value is never a duration, status or kind: such literals match only when the
     * attribute is read in other ways too, as numbers. */
    if (attr->intrinsic == TQL_I_NONE && literals[0].kind >= QV_DURATION &&
        !(ev->q->uses[attr->index].any && literals[0].kind == QV_DURATION))
        ret->op = TQL_OP_NONE;
    return EC_OK;
}

/* Leaves are prepared once per query and kept by node id. */
static enum ec leaf_of(
    struct eval *ev, const struct tql_expr *e, const struct qval_leaf **ret, struct err *err)
{
    if (ev->leaves == NULL) {
        ev->leaves = ARENA_ARRAY(ev->arena, ev->q->n_exprs, struct qval_leaf);
        if (ev->leaves == NULL)
            return over_budget(err);
    }
    ASSERT(e->id < ev->q->n_exprs);
    struct qval_leaf *l = &ev->leaves[e->id];
    if (l->n == 0)
        TRY(eval_leaf(ev, e, l, err));
    *ret = l;
    return EC_OK;
}

static bool admitted(struct eval *ev, const struct tql_use *use, const struct qval *v)
{
    for (uint32_t i = 0; i < use->n_conds; i++) {
        const struct qval_leaf *l = NULL;
        if (use->conds[i].kind == TQL_COND_ANY)
            return true;
        if (use->conds[i].kind == TQL_COND_EXPR &&
            leaf_of(ev, use->conds[i].expr, &l, NULL) == EC_OK && qval_leaf_match(l, v))
            return true;
    }
    return false;
}

struct qval eval_visible(
    struct eval *ev, const struct tql_attr *attr, const struct qval *v, struct arena *a)
{
    const struct tql_use *use = &ev->q->uses[attr->index];
    if (use->any || use->n_conds == 0 || !qval_has(v))
        return *v;
    if (v->kind != QV_ARRAY)
        return admitted(ev, use, v) ? *v : QVAL_NIL;
    const char *cursor = NULL;
    uint32_t n = 0, all = 0;
    struct qval one, last = QVAL_NIL;
    struct buf kept = BUF_INIT;
    for (struct value e; value_array_next(v->s, &cursor, &e); all++) {
        one = qval_of_value(&e);
        if (!admitted(ev, use, &one))
            continue;
        pb_put_value(&kept, 1, &e);
        last = one;
        n++;
    }
    struct qval ret = n == 0 ? QVAL_NIL : n == 1 ? last : *v;
    if (n > 1 && n < all) {
        ret.s = arena_str(a, buf_str(&kept));
        if (ret.s.p == NULL)
            ret = QVAL_NIL;
    }
    buf_deinit(&kept);
    return ret;
}

static bool match_visible(
    struct eval *ev, const struct tql_attr *attr, const struct qval_leaf *l, const struct qval *v)
{
    if (v->kind != QV_ARRAY)
        return qval_leaf_match(l, v);
    struct qval seen = eval_visible(ev, attr, v, ev->trace->scratch);
    return qval_leaf_match(l, &seen);
}

static enum ec leaf_true(struct eval *ev, const struct tql_attr *attr, const struct qval_leaf *l,
    uint32_t row, bool *ret, struct err *err)
{
    struct qval v;
    *ret = false;
    if (!eval_is_multi(attr)) {
        TRY(eval_attr(ev, attr, row, &v, err));
        *ret = match_visible(ev, attr, l, &v);
        return EC_OK;
    }
    const struct qrow *r = &ev->trace->rows[row];
    uint32_t from, to;
    TRY(multi_range(ev, attr, r, &from, &to, err));
    for (uint32_t i = from; i < to && !*ret; i++) {
        TRY(multi_value(ev, attr, r, i, &v, err));
        *ret = match_visible(ev, attr, l, &v);
    }
    return EC_OK;
}

/* `attr != nil`, `attr = nil`. */
static enum ec presence(struct eval *ev, const struct tql_expr *e, uint32_t row, bool absent,
    bool *ret, struct err *err)
{
    struct qval v;
    if (e->kind != TQL_E_ATTR) {
        TRY(eval_expr(ev, e, row, &v, err));
        *ret = !absent && qval_has(&v);
        return EC_OK;
    }
    if (!eval_is_multi(e->attr)) {
        TRY(eval_attr(ev, e->attr, row, &v, err));
        *ret = absent ? v.kind == QV_NIL : qval_has(&v);
        return EC_OK;
    }
    const struct qrow *r = &ev->trace->rows[row];
    uint32_t from, to;
    *ret = false;
    TRY(multi_range(ev, e->attr, r, &from, &to, err));
    for (uint32_t i = from; i < to && !*ret; i++) {
        TRY(multi_value(ev, e->attr, r, i, &v, err));
        *ret = absent ? v.kind == QV_NIL : qval_has(&v);
    }
    return EC_OK;
}

/* ---- expressions ---- */

static const char *type_name(const struct qval *v)
{
    static const char *const names[] = {[QV_NIL] = "TypeNil",
        [QV_OPAQUE] = "TypeNil",
        [QV_INT] = "TypeInt",
        [QV_FLOAT] = "TypeFloat",
        [QV_STRING] = "TypeString",
        [QV_BOOL] = "TypeBoolean",
        [QV_DURATION] = "TypeDuration",
        [QV_STATUS] = "TypeStatus",
        [QV_KIND] = "TypeKind",
        [QV_ARRAY] = "TypeStringArray"};
    return names[v->kind];
}

static enum ec type_error(
    const struct tql_expr *e, const char *want, const struct qval *v, struct err *err)
{
    struct buf text = BUF_INIT;
    tql_print_expr(&text, e);
    enum ec ec = ERR(err, EC_INTERNAL, "expression (" STR_FMT ") expected a %s, but got %s",
        (int)MIN(text.n, 500), (const char *)text.p, want, type_name(v));
    buf_deinit(&text);
    return ec;
}

static enum ec eval_unary(
    struct eval *ev, const struct tql_expr *e, uint32_t row, struct qval *ret, struct err *err)
{
    struct qval v;
    TRY(eval_expr(ev, e->lhs, row, &v, err));
    *ret = v;
    if (!qval_has(&v)) {
        *ret = QVAL_NIL;
        return EC_OK;
    }
    if (e->op == TQL_OP_NOT) {
        if (v.kind != QV_BOOL)
            return type_error(e, "boolean", &v, err);
        ret->b = !v.b;
        return EC_OK;
    }
    if (!qval_numeric(&v))
        return type_error(e, "numeric", &v, err);
    if (v.kind == QV_FLOAT)
        ret->f = -v.f;
    else
        ret->i = (int64_t)(0 - (uint64_t)v.i);
    return EC_OK;
}

/* scalar op array or array op scalar, the whole array visible. */
static bool compare_array(enum tql_op op, const struct qval *array, const struct qval *scalar)
{
    struct qval_leaf l = {.op = op, .literals = scalar, .n = 1, .whole = true};
    return qval_leaf_match(&l, array);
}

static enum ec eval_compare(
    struct eval *ev, const struct tql_expr *e, uint32_t row, struct qval *ret, struct err *err)
{
    struct qval a, b;
    if (eval_is_leaf(e)) {
        const struct qval_leaf *l = NULL;
        *ret = qval_bool(false);
        TRY(leaf_of(ev, e, &l, err));
        return leaf_true(ev, e->kind == TQL_E_SET ? e->attr : e->lhs->attr, l, row, &ret->b, err);
    }
    TRY(eval_expr(ev, e->lhs, row, &a, err));
    if (e->op == TQL_OP_RE || e->op == TQL_OP_NRE) {
        *ret = qval_bool(qval_match(e->op, &a, e->regex));
        return EC_OK;
    }
    TRY(eval_expr(ev, e->rhs, row, &b, err));
    if (a.kind == QV_ARRAY && b.kind == QV_ARRAY)
        return ERR(
            err, EC_INTERNAL, "array operators must consist of a scalar and an array operand");
    if (!qval_has(&a) || !qval_has(&b))
        *ret = qval_bool(false);
    else if (a.kind == QV_ARRAY)
        *ret = qval_bool(compare_array(e->op, &a, &b));
    else if (b.kind == QV_ARRAY)
        *ret = qval_bool(compare_array(tql_op_mirrored(e->op), &b, &a));
    else
        *ret = qval_bool(qval_compare(e->op, &a, &b));
    return EC_OK;
}

static enum ec eval_binary(
    struct eval *ev, const struct tql_expr *e, uint32_t row, struct qval *ret, struct err *err)
{
    struct qval a, b;
    if (tql_op_is_compare(e->op))
        return eval_compare(ev, e, row, ret, err);
    TRY(eval_expr(ev, e->lhs, row, &a, err));
    TRY(eval_expr(ev, e->rhs, row, &b, err));
    if (e->op == TQL_OP_AND) {
        *ret = qval_bool(qval_true(&a) && qval_true(&b));
    } else if (e->op == TQL_OP_OR) {
        *ret = qval_bool(qval_true(&a) || qval_true(&b));
    } else if (!qval_arith(e->op, &a, &b, ret)) {
        return ERR(err, EC_INTERNAL, "unsupported operation");
    }
    return EC_OK;
}

enum ec eval_expr(
    struct eval *ev, const struct tql_expr *e, uint32_t row, struct qval *ret, struct err *err)
{
    switch (e->kind) {
    case TQL_E_STATIC:
        *ret = qval_of_static(&e->value);
        return EC_OK;
    case TQL_E_ATTR:
        return eval_attr(ev, e->attr, row, ret, err);
    case TQL_E_UNARY:
        return eval_unary(ev, e, row, ret, err);
    case TQL_E_SET:
        return eval_compare(ev, e, row, ret, err);
    case TQL_E_EXISTS:
    case TQL_E_ABSENT:
        *ret = qval_bool(false);
        return presence(ev, e->lhs, row, e->kind == TQL_E_ABSENT, &ret->b, err);
    default:
        return eval_binary(ev, e, row, ret, err);
    }
}

/* ---- conjunctive filters: all event (link) conditions on one event (link) ---- */

enum { READS_EVENT = 1, READS_LINK = 2 };

static unsigned reads(const struct tql_expr *e)
{
    if (e == NULL)
        return 0;
    unsigned r = reads(e->lhs) | reads(e->rhs);
    if ((e->kind == TQL_E_ATTR || e->kind == TQL_E_SET) && eval_is_multi(e->attr))
        r |= is_event(e->attr) ? READS_EVENT : READS_LINK;
    return r;
}

static uint32_t flatten(const struct tql_expr *e, const struct tql_expr **out, uint32_t n)
{
    if (e->kind == TQL_E_BINARY && e->op == TQL_OP_AND)
        return flatten(e->rhs, out, flatten(e->lhs, out, n));
    if (n < CONJUNCTS_MAX)
        out[n] = e;
    return n + 1;
}

/* All conjuncts that read `what` hold on one event (link) of the span. */
static enum ec on_one(struct eval *ev, const struct tql_expr **all, uint32_t n, unsigned what,
    uint32_t row, bool *ret, struct err *err)
{
    const struct qrow *r = &ev->trace->rows[row];
    uint32_t from, to, *fixed = what == READS_EVENT ? &ev->event : &ev->link;
    enum ec ec = EC_OK;
    bool any = false;
    *ret = false;
    for (uint32_t k = 0; k < n; k++)
        any = any || (reads(all[k]) & what) != 0;
    if (!any) {
        *ret = true;
        return EC_OK;
    }
    TRY(bind_range(&ev->sources[r->src], what == READS_EVENT ? COL_EVENT_SPAN : COL_LINK_SPAN, r->g,
        r->off, &from, &to, err));
    for (uint32_t i = from; i < to && !*ret && ec == EC_OK; i++) {
        bool hold = true;
        *fixed = i;
        for (uint32_t k = 0; k < n && hold && ec == EC_OK; k++) {
            struct qval v;
            if ((reads(all[k]) & what) == 0)
                continue;
            ec = eval_expr(ev, all[k], row, &v, err);
            hold = ec == EC_OK && qval_true(&v);
        }
        *ret = hold;
    }
    *fixed = PART_NONE;
    return ec;
}

enum ec eval_filter(
    struct eval *ev, const struct tql_expr *e, uint32_t row, bool *ret, struct err *err)
{
    const struct tql_expr *all[CONJUNCTS_MAX];
    struct qval v;
    uint32_t n = 0;
    if (ev->q->conjunctive && reads(e) != 0)
        n = flatten(e, all, 0);
    if (n < 2 || n > CONJUNCTS_MAX) {
        TRY(eval_expr(ev, e, row, &v, err));
        *ret = qval_true(&v);
        return EC_OK;
    }
    for (uint32_t k = 0; k < n; k++) {
        if (reads(all[k]) != 0)
            continue;
        TRY(eval_expr(ev, all[k], row, &v, err));
        if (!qval_true(&v)) {
            *ret = false;
            return EC_OK;
        }
    }
    TRY(on_one(ev, all, n, READS_EVENT, row, ret, err));
    return *ret ? on_one(ev, all, n, READS_LINK, row, ret, err) : EC_OK;
}
