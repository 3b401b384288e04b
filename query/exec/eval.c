/* SPDX-License-Identifier: Apache-2.0
 * Expression evaluation. */
#include "bind.h"
#include "eval_attr.h"
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
    ev->service_of = ARENA_ARRAY(arena, n_sources, const uint32_t *);
    return ev->binds == NULL || ev->service_of == NULL ? over_budget(err) : EC_OK;
}

void eval_trace(struct eval *ev, struct qtrace *t)
{
    ev->trace = t;
    ev->event = ev->link = PART_NONE;
    ev->has_root_text = false;
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
    TRY(eval_multi_range(ev, attr, r, &from, &to, err));
    for (uint32_t i = from; i < to && !*ret; i++) {
        TRY(eval_multi_value(ev, attr, r, i, &v, err));
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
    TRY(eval_multi_range(ev, e->attr, r, &from, &to, err));
    for (uint32_t i = from; i < to && !*ret; i++) {
        TRY(eval_multi_value(ev, e->attr, r, i, &v, err));
        *ret = absent ? v.kind == QV_NIL : qval_has(&v);
    }
    return EC_OK;
}

enum ec eval_absent(
    struct eval *ev, const struct tql_attr *attr, uint32_t row, bool *ret, struct err *err)
{
    const struct tql_expr e = {.kind = TQL_E_ATTR, .attr = attr};
    return presence(ev, &e, row, true, ret, err);
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
        r |= eval_is_event(e->attr) ? READS_EVENT : READS_LINK;
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

struct conjuncts {
    const struct tql_expr *all[CONJUNCTS_MAX];
    uint32_t n;
    unsigned reads; /* of any of them */
    bool pairs;     /* one of them reads an event and a link */
};

/* All conjuncts that read `what` hold on one event (link) of the span. With pairs, those that read
 * both are left to the links, which are then tried for each event. A span without events (links)
 * has one try, in which what reads them is nil. */
static enum ec on_one(struct eval *ev, const struct conjuncts *c, unsigned what, uint32_t row,
    bool *ret, struct err *err)
{
    const struct qrow *r = &ev->trace->rows[row];
    uint32_t from, to, *fixed = what == READS_EVENT ? &ev->event : &ev->link;
    enum ec ec = EC_OK;
    TRY(bind_range(&ev->sources[r->src], what == READS_EVENT ? COL_EVENT_SPAN : COL_LINK_SPAN, r->g,
        r->off, &from, &to, err));
    bool none = from == to, hold = false;
    for (uint32_t i = from; (i < to || (none && i == from)) && !hold && ec == EC_OK; i++) {
        hold = true;
        *fixed = none ? PART_NONE : i;
        for (uint32_t k = 0; k < c->n && hold && ec == EC_OK; k++) {
            unsigned of = reads(c->all[k]);
            struct qval v;
            if ((of & what) == 0 || (what == READS_EVENT && of != what))
                continue;
            ec = eval_expr(ev, c->all[k], row, &v, err);
            hold = ec == EC_OK && qval_true(&v);
        }
        if (hold && what == READS_EVENT && c->pairs)
            ec = on_one(ev, c, READS_LINK, row, &hold, err);
    }
    *fixed = PART_NONE;
    *ret = hold && ec == EC_OK;
    return ec;
}

/* The conjuncts of all filters of the pipeline: `{ a } | { b }` says the same as `{ a && b }`.
 * False: `e` is none of them (compare() has one of its own), or there is no room for so many. */
static bool conjuncts_of(
    const struct tql_pipeline *p, const struct tql_expr *e, struct conjuncts *ret)
{
    bool found = false;
    *ret = (struct conjuncts){0};
    for (uint32_t i = 0; i < p->n_stages; i++) {
        if (p->stages[i].kind != TQL_STAGE_SPANSET)
            continue;
        ret->n = flatten(p->stages[i].spanset->filter, ret->all, ret->n);
        found = found || p->stages[i].spanset->filter == e;
    }
    for (uint32_t k = 0; k < MIN(ret->n, CONJUNCTS_MAX); k++) {
        unsigned of = reads(ret->all[k]);
        ret->reads |= of;
        ret->pairs = ret->pairs || of == (READS_EVENT | READS_LINK);
    }
    return found && ret->n <= CONJUNCTS_MAX;
}

enum ec eval_filter(
    struct eval *ev, const struct tql_expr *e, uint32_t row, bool *ret, struct err *err)
{
    struct conjuncts c;
    struct qval v;
    if (!ev->q->conjunctive || reads(e) == 0 || !conjuncts_of(ev->q->pipeline, e, &c) ||
        (c.n == 1 && eval_is_leaf(e))) {
        TRY(eval_expr(ev, e, row, &v, err));
        *ret = qval_true(&v);
        return EC_OK;
    }
    for (uint32_t k = 0; k < c.n; k++) {
        if (reads(c.all[k]) != 0)
            continue;
        TRY(eval_expr(ev, c.all[k], row, &v, err));
        if (!qval_true(&v)) {
            *ret = false;
            return EC_OK;
        }
    }
    *ret = true;
    if ((c.reads & READS_EVENT) != 0)
        TRY(on_one(ev, &c, READS_EVENT, row, ret, err));
    if (*ret && (c.reads & READS_LINK) != 0 && !c.pairs)
        TRY(on_one(ev, &c, READS_LINK, row, ret, err));
    return EC_OK;
}
