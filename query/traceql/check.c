/* SPDX-License-Identifier: Apache-2.0
 * Validation: types, operators, arguments, in the order and with the words of Tempo (spec
 * traceql.md 3.2, 3.3), and what follows from it: constants folded, literals moved to the right,
 * chains merged into sets, regular expressions compiled.
 *
 * Each node is done after its operands, so that messages show folded operands (`true > 1`) as
 * Tempo's do.
 */
#include "check.h"

#include <math.h>
#include <stdio.h>

#include "query/format.h"

/* A compiled expression may take a MiB that the arena does not see (regex.h). */
#define REGEXES_MAX 100u

struct checker {
    struct arena *arena;
    struct err *err;
    uint32_t n_regexes;
};

static enum ec check_pipeline(struct checker *c, struct tql_pipeline *p);

static enum ec check_limit(struct checker *c)
{
    return ERR(c->err, EC_LIMIT, "query: over the memory budget");
}

/* `before` + canonical text of e + `after`. */
static enum ec fail_expr(
    struct checker *c, const char *before, const struct tql_expr *e, const char *after)
{
    struct buf text;
    buf_init(&text, c->arena->budget);
    tql_print_expr(&text, e);
    enum ec ec = ERR(c->err, EC_INVALID, "%s" STR_FMT "%s", before, STR_ARG(buf_str(&text)), after);
    buf_deinit(&text);
    return ec;
}

/* ---- types ---- */
static bool types_match(enum tql_type a, enum tql_type b)
{
    return a == TQL_DYNAMIC || b == TQL_DYNAMIC || a == b || a == TQL_NIL || b == TQL_NIL ||
           (tql_type_numeric(a) && tql_type_numeric(b));
}

static bool op_legal(enum tql_op op, enum tql_type t)
{
    bool equality = op == TQL_OP_EQ || op == TQL_OP_NE;
    bool order = op >= TQL_OP_LT && op <= TQL_OP_GE;
    switch (t) {
    case TQL_DYNAMIC:
        return true;
    case TQL_BOOL:
        return equality || op == TQL_OP_AND || op == TQL_OP_OR;
    case TQL_INT:
    case TQL_FLOAT:
    case TQL_DURATION:
        return equality || order || tql_op_is_arith(op);
    case TQL_STRING:
        return equality || order || op == TQL_OP_RE || op == TQL_OP_NRE;
    case TQL_STATUS:
    case TQL_KIND:
    case TQL_NIL:
        return equality;
    }
    return false;
}

static bool expr_has_attr(const struct tql_expr *e)
{
    switch (e->kind) {
    case TQL_E_STATIC:
        return false;
    case TQL_E_ATTR:
    case TQL_E_SET:
        return true;
    case TQL_E_BINARY:
        return expr_has_attr(e->lhs) || expr_has_attr(e->rhs);
    default:
        return expr_has_attr(e->lhs);
    }
}

bool tql_attr_same(const struct tql_attr *a, const struct tql_attr *b)
{
    return a->intrinsic == b->intrinsic && a->scope == b->scope && a->parent == b->parent &&
           str_eq(a->name, b->name);
}

static enum ec check_attr(struct checker *c, const struct tql_attr *attr)
{
    if (attr->intrinsic == TQL_I_PARENT)
        return ERR(c->err, EC_INVALID, "intrinsic (parent) not yet supported");
    return EC_OK;
}

/* ---- folding ---- */
static void become_static(struct tql_expr *e, const struct tql_static *v)
{
    /* nil and infinities have no literal: the node stays and is computed when the query runs. */
    if (v->type == TQL_NIL || (v->type == TQL_FLOAT && !isfinite(v->f)))
        return;
    e->kind = TQL_E_STATIC;
    e->op = TQL_OP_NONE;
    e->type = v->type;
    e->value = *v;
    e->lhs = e->rhs = NULL;
    e->regex = NULL;
    e->height = 1;
}

static bool is_static(const struct tql_expr *e)
{
    return e->kind == TQL_E_STATIC;
}

/* `literal CMP attr` becomes `attr CMP' literal`. */
static void flip(struct tql_expr *e)
{
    bool ordered = e->op >= TQL_OP_EQ && e->op <= TQL_OP_GE; /* not a regular expression */
    if (!is_static(e->lhs) || e->rhs->kind != TQL_E_ATTR || !ordered)
        return;
    struct tql_expr *literal = e->lhs;
    e->lhs = e->rhs;
    e->rhs = literal;
    e->op = tql_op_mirrored(e->op);
    e->flipped = true;
}

/* ---- sets ---- */
/* A comparison of an attribute with literals, seen as a set of one or more. */
struct set_view {
    const struct tql_attr *attr;
    enum tql_op op;
    const struct tql_static *values;
    const struct regex *const *regexes;
    uint32_t n;
};

static bool set_view(const struct tql_expr *e, struct set_view *ret)
{
    if (e->kind == TQL_E_SET) {
        *ret = (struct set_view){e->attr, e->op, e->values, e->regexes, e->n_values};
        return true;
    }
    if (e->kind != TQL_E_BINARY || e->flipped || e->lhs->kind != TQL_E_ATTR || !is_static(e->rhs))
        return false;
    if (e->op != TQL_OP_EQ && e->op != TQL_OP_NE && e->op != TQL_OP_RE && e->op != TQL_OP_NRE)
        return false;
    *ret = (struct set_view){e->lhs->attr, e->op, &e->rhs->value, &e->regex, 1};
    return true;
}

/* `a = x || a = y`, `a != x && a != y` and the same with =~ and !~. */
static enum ec merge_sets(struct checker *c, struct tql_expr *e)
{
    struct set_view l, r;
    if (!set_view(e->lhs, &l) || !set_view(e->rhs, &r) || l.op != r.op ||
        l.values[0].type != r.values[0].type || !tql_attr_same(l.attr, r.attr))
        return EC_OK;
    bool any = l.op == TQL_OP_EQ || l.op == TQL_OP_RE;
    bool re = l.op == TQL_OP_RE || l.op == TQL_OP_NRE;
    if (any != (e->op == TQL_OP_OR))
        return EC_OK;
    struct tql_static *values = ARENA_ARRAY(c->arena, l.n + r.n, struct tql_static);
    const struct regex **regexes = ARENA_ARRAY(c->arena, l.n + r.n, const struct regex *);
    if (values == NULL || regexes == NULL)
        return check_limit(c);
    memcpy(values, l.values, l.n * sizeof(*values));
    if (re)
        memcpy(regexes, l.regexes, l.n * sizeof(*regexes));
    uint32_t n = l.n;
    for (uint32_t i = 0; i < r.n; i++) {
        uint32_t k = 0;
        while (k < l.n && !tql_static_same(&values[k], &r.values[i]))
            k++;
        if (k < l.n)
            continue;
        values[n] = r.values[i];
        regexes[n++] = re ? r.regexes[i] : NULL;
    }
    if (n == l.n) { /* nothing new on the right */
        *e = *e->lhs;
        return EC_OK;
    }
    *e = (struct tql_expr){.kind = TQL_E_SET,
        .op = l.op,
        .type = TQL_BOOL,
        .attr = l.attr,
        .values = values,
        .regexes = re ? regexes : NULL,
        .n_values = n,
        .height = 1};
    return EC_OK;
}

/* ---- expressions ---- */
static void regex_hook(void *ctx)
{
    regex_free(ctx);
}

static enum ec check_regex(struct checker *c, struct tql_expr *e)
{
    if (!is_static(e->rhs) || e->rhs->value.type != TQL_STRING)
        return fail_expr(c, "invalid type for =~ or !~: ", e->rhs, "");
    if (++c->n_regexes > REGEXES_MAX)
        return ERR(c->err, EC_INVALID, "query has more than %u regular expressions", REGEXES_MAX);
    struct regex *re;
    struct str pattern = e->rhs->value.s;
    if (regex_new(pattern, &re, NULL) != EC_OK)
        return ERR(
            c->err, EC_INVALID, "invalid regex: `%.*s`", (int)MIN(pattern.n, 900), pattern.p);
    if (!arena_hook(c->arena, regex_hook, re)) {
        regex_free(re);
        return check_limit(c);
    }
    e->regex = re;
    return EC_OK;
}

static enum ec check_binary(struct checker *c, struct tql_expr *e)
{
    enum tql_type l = e->lhs->type, r = e->rhs->type;
    if (!types_match(l, r))
        return fail_expr(c, "binary operations must operate on the same type: ", e, "");
    if (!op_legal(e->op, l) || !op_legal(e->op, r))
        return fail_expr(c, "illegal operation for the given types: ", e, "");
    if (e->op == TQL_OP_RE || e->op == TQL_OP_NRE)
        TRY(check_regex(c, e));
    e->type = !tql_op_is_arith(e->op) ? TQL_BOOL : l == TQL_DYNAMIC ? r : l;
    if (is_static(e->lhs) && is_static(e->rhs)) {
        struct tql_static v = tql_eval_binary(e->op, &e->lhs->value, &e->rhs->value, e->regex);
        become_static(e, &v);
        return EC_OK;
    }
    flip(e);
    if (e->op == TQL_OP_AND || e->op == TQL_OP_OR)
        return merge_sets(c, e);
    return EC_OK;
}

static enum ec check_unary(struct checker *c, struct tql_expr *e)
{
    enum tql_type t = e->lhs->type;
    bool ok = e->op == TQL_OP_NOT ? t == TQL_BOOL : tql_type_numeric(t);
    if (!ok && t != TQL_DYNAMIC)
        return fail_expr(c, "illegal operation for the given type: ", e, "");
    e->type = t;
    struct tql_static v;
    if (is_static(e->lhs) && tql_eval_unary(e->op, &e->lhs->value, &v))
        become_static(e, &v);
    return EC_OK;
}

static enum ec check_nil(struct checker *c, struct tql_expr *e)
{
    bool absent = e->kind == TQL_E_ABSENT;
    e->type = TQL_BOOL;
    if (absent && e->lhs->kind == TQL_E_ATTR) {
        const struct tql_attr *a = e->lhs->attr;
        if (a->intrinsic != TQL_I_NONE)
            return ERR(c->err, EC_INVALID,
                STR_FMT "=nil is not valid because intrinsics cannot be nil", STR_ARG(a->text));
        if (a->scope == TQL_SCOPE_RESOURCE && !a->parent && str_eqz(a->name, "service.name"))
            return ERR(c->err, EC_INVALID,
                "resource.service.name=nil is not valid because resource.service.name cannot be nil");
    }
    if (is_static(e->lhs)) {
        const struct tql_static *s = &e->lhs->value;
        bool truth = absent ? s->type == TQL_STRING && str_eqz(s->s, "nil") : s->type != TQL_NIL;
        become_static(e, &(struct tql_static){.type = TQL_BOOL, .b = truth});
    }
    return EC_OK;
}

static enum ec check_expr(struct checker *c, struct tql_expr *e)
{
    if (e->lhs != NULL)
        TRY(check_expr(c, e->lhs));
    if (e->rhs != NULL)
        TRY(check_expr(c, e->rhs));
    switch (e->kind) {
    case TQL_E_STATIC:
        e->type = e->value.type;
        return EC_OK;
    case TQL_E_ATTR:
        e->type =
            e->attr->intrinsic == TQL_I_NONE ? TQL_DYNAMIC : tql_intrinsic_type(e->attr->intrinsic);
        return check_attr(c, e->attr);
    case TQL_E_UNARY:
        return check_unary(c, e);
    case TQL_E_BINARY:
        return check_binary(c, e);
    case TQL_E_EXISTS:
    case TQL_E_ABSENT:
        return check_nil(c, e);
    case TQL_E_SET:
        return EC_OK;
    }
    return EC_OK;
}

static enum ec check_filter(struct checker *c, struct tql_expr *e)
{
    TRY(check_expr(c, e));
    if (e->type != TQL_BOOL && e->type != TQL_DYNAMIC)
        return fail_expr(c, "span filter field expressions must resolve to a boolean: { ", e, " }");
    return EC_OK;
}

/* ---- scalars ---- */
static enum ec print_to_arena(
    struct checker *c, const char *before, const struct tql_expr *e, struct str *ret)
{
    struct buf text;
    buf_init(&text, c->arena->budget);
    buf_putz(&text, before);
    if (e != NULL)
        tql_print_expr(&text, e);
    buf_putc(&text, ')');
    bool failed = buf_failed(&text);
    if (!failed)
        *ret = arena_str(c->arena, buf_str(&text));
    buf_deinit(&text);
    return failed || ret->p == NULL ? check_limit(c) : EC_OK;
}

static enum ec check_aggregate(struct checker *c, struct tql_scalar *s)
{
    char before[8];
    snprintf(before, sizeof(before), "%s(", tql_agg_text(s->agg));
    s->type = TQL_INT;
    if (s->agg != TQL_AGG_COUNT) {
        TRY(check_expr(c, s->arg));
        s->type = s->arg->type;
    }
    TRY(print_to_arena(c, before, s->arg, &s->text));
    if (!tql_type_numeric(s->type) && s->type != TQL_DYNAMIC)
        return ERR(c->err, EC_INVALID,
            "aggregate field expressions must resolve to a number type: " STR_FMT,
            STR_ARG(s->text));
    if (s->arg != NULL && !expr_has_attr(s->arg))
        return ERR(c->err, EC_INVALID,
            "aggregate field expressions must reference the span: " STR_FMT, STR_ARG(s->text));
    return EC_OK;
}

static enum ec check_scalar(struct checker *c, struct tql_scalar *s, bool *has_aggregate)
{
    switch (s->kind) {
    case TQL_SC_STATIC:
        s->type = s->value.type;
        return EC_OK;
    case TQL_SC_AGGREGATE:
        *has_aggregate = true;
        return check_aggregate(c, s);
    case TQL_SC_ARITH:
        TRY(check_scalar(c, s->lhs, has_aggregate));
        TRY(check_scalar(c, s->rhs, has_aggregate));
        s->type = s->lhs->type == TQL_DYNAMIC ? s->rhs->type : s->lhs->type;
        return EC_OK;
    case TQL_SC_PIPELINE:
        TRY(check_pipeline(c, s->pipeline));
        TRY(check_scalar(c, s->lhs, has_aggregate));
        s->type = s->lhs->type;
        return EC_OK;
    }
    return EC_OK;
}

static enum ec check_scalar_stage(struct checker *c, struct tql_stage *s)
{
    bool has_aggregate = false;
    TRY(check_scalar(c, s->lhs, &has_aggregate));
    TRY(check_scalar(c, s->rhs, &has_aggregate));
    if (!has_aggregate)
        return ERR(c->err, EC_INVALID, "scalar filter must contain an aggregate");
    return EC_OK;
}

/* ---- stages ---- */
static enum ec check_spanset(struct checker *c, struct tql_spanset *ss)
{
    switch (ss->kind) {
    case TQL_SS_FILTER:
        return check_filter(c, ss->filter);
    case TQL_SS_OP:
        TRY(check_spanset(c, ss->lhs));
        return check_spanset(c, ss->rhs);
    case TQL_SS_PIPELINE:
        return check_pipeline(c, ss->pipeline);
    }
    return EC_OK;
}

static enum ec check_attrs(struct checker *c, const struct tql_attr *const *attrs, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        TRY(check_attr(c, attrs[i]));
    return EC_OK;
}

static enum ec check_stage(struct checker *c, struct tql_stage *s)
{
    switch (s->kind) {
    case TQL_STAGE_SPANSET:
        return check_spanset(c, s->spanset);
    case TQL_STAGE_SCALAR:
        return check_scalar_stage(c, s);
    case TQL_STAGE_GROUP:
        TRY(check_expr(c, s->expr));
        TRY(print_to_arena(c, "by(", s->expr, &s->text));
        if (!expr_has_attr(s->expr))
            return ERR(c->err, EC_INVALID,
                "grouping field expressions must reference the span: " STR_FMT, STR_ARG(s->text));
        return EC_OK;
    case TQL_STAGE_SELECT:
        return check_attrs(c, s->attrs, s->n_attrs);
    case TQL_STAGE_COALESCE:
        return EC_OK;
    }
    return EC_OK;
}

static enum ec check_pipeline(struct checker *c, struct tql_pipeline *p)
{
    for (uint32_t i = 0; i < p->n_stages; i++)
        TRY(check_stage(c, &p->stages[i]));
    return EC_OK;
}

/* ---- metrics ---- */
static enum ec check_compare(struct checker *c, const struct tql_metric *m)
{
    TRY(check_filter(c, m->filter));
    if (m->top_n <= 0)
        return ERR(
            c->err, EC_INVALID, "compare() top number of values must be integer greater than 0");
    if (m->start_ns == 0 && m->end_ns == 0)
        return EC_OK;
    if (m->start_ns <= 0 || m->end_ns <= 0)
        return ERR(
            c->err, EC_INVALID, "compare() timestamps must be positive integer unix nanoseconds");
    if (m->end_ns <= m->start_ns)
        return ERR(
            c->err, EC_INVALID, "compare() end timestamp must be greater than start timestamp");
    return EC_OK;
}

static enum ec check_metric(struct checker *c, const struct tql_metric *m)
{
    if (m->fn == TQL_M_COMPARE)
        return check_compare(c, m);
    if (m->attr != NULL)
        TRY(check_attr(c, m->attr));
    TRY(check_attrs(c, m->by, m->n_by));
    bool bucketed = m->fn == TQL_M_AVG_OVER_TIME || m->fn == TQL_M_QUANTILE_OVER_TIME ||
                    m->fn == TQL_M_HISTOGRAM_OVER_TIME;
    if (m->n_by > (bucketed ? 4u : 5u))
        return ERR(c->err, EC_INVALID, "metrics group by %u values not yet supported", m->n_by);
    for (uint32_t i = 0; i < m->n_quantiles; i++) {
        char text[FORMAT_FLOAT_MAX];
        format_float_g(text, m->quantiles[i]);
        if (m->quantiles[i] < 0 || m->quantiles[i] > 1)
            return ERR(c->err, EC_INVALID, "quantile must be between 0 and 1: %s", text);
    }
    return EC_OK;
}

static enum ec check_second(struct checker *c, const struct tql_query *q)
{
    for (uint32_t i = 0; i < q->n_second; i++)
        if (q->second[i].kind != TQL_SECOND_COMPARE && q->second[i].k <= 0)
            return ERR(c->err, EC_INVALID, "limit must be greater than 0");
    if (q->n_second > 0 && q->metric->fn == TQL_M_COMPARE)
        return ERR(c->err, EC_INVALID, "`compare()` cannot be used with second stage functions");
    return EC_OK;
}

enum ec tql_check(struct tql_query *q, struct arena *arena, struct err *err)
{
    struct checker c = {.arena = arena, .err = err};
    ASSERT(!q->checked);
    TRY(check_pipeline(&c, q->pipeline));
    if (q->metric != NULL) {
        TRY(check_metric(&c, q->metric));
        TRY(check_second(&c, q));
    }
    TRY(tql_analyze(q, arena, err));
    q->checked = true;
    return EC_OK;
}

enum ec tql_compile(struct str text, struct arena *arena, struct tql_query **ret,
    enum tql_error_class *ret_class, struct err *err)
{
    struct tql_query *q;
    enum tql_error_class class = TQL_ERROR_PARSE;
    enum ec ec = tql_parse(text, arena, &q, err);
    if (ec == EC_OK) {
        class = TQL_ERROR_CHECK;
        ec = tql_check(q, arena, err);
    }
    if (ec == EC_OK) {
        class = TQL_ERROR_NONE;
        *ret = q;
    }
    if (ret_class != NULL)
        *ret_class = class;
    return ec;
}
