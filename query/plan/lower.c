/* SPDX-License-Identifier: Apache-2.0
 * Lowering of field expressions to scan trees. */
#include "query/lower.h"

static const struct scan_expr expr_all = {.node = SCAN_ALL};
static const struct scan_expr expr_none = {.node = SCAN_OR};

bool lower_nothing;

bool lower_is_all(const struct scan_expr *e)
{
    return e->node == SCAN_ALL;
}

static bool is_none(const struct scan_expr *e)
{
    return e->node == SCAN_OR && e->n_kids == 0;
}

/* AND or OR of two trees, with the trivial ones folded. */
static const struct scan_expr *join(
    enum scan_node node, const struct scan_expr *l, const struct scan_expr *r, struct arena *a)
{
    if (l == NULL || r == NULL)
        return NULL;
    bool and = node == SCAN_AND;
    if (and? lower_is_all(l) || is_none(r) : is_none(l) || lower_is_all(r))
        return r;
    if (and? lower_is_all(r) || is_none(l) : is_none(r) || lower_is_all(l))
        return l;
    struct scan_expr *e = ARENA_NEW(a, struct scan_expr);
    const struct scan_expr **kids = ARENA_ARRAY(a, 2, const struct scan_expr *);
    if (e == NULL || kids == NULL)
        return NULL;
    kids[0] = l;
    kids[1] = r;
    *e = (struct scan_expr){.node = node, .kids = kids, .n_kids = 2};
    return e;
}

static const struct scan_expr *negate(const struct scan_expr *k, struct arena *a)
{
    struct scan_expr *e = ARENA_NEW(a, struct scan_expr);
    const struct scan_expr **kids = ARENA_ARRAY(a, 1, const struct scan_expr *);
    if (k == NULL || e == NULL || kids == NULL)
        return NULL;
    kids[0] = k;
    *e = (struct scan_expr){.node = SCAN_NOT, .kids = kids, .n_kids = 1};
    return e;
}

static const struct scan_expr *leaf(const struct scan_leaf *l, struct arena *a)
{
    struct scan_expr *e = ARENA_NEW(a, struct scan_expr);
    if (e != NULL)
        *e = (struct scan_expr){.node = SCAN_LEAF, .leaf = *l};
    return e;
}

/* One field of storage. */
struct field {
    enum part_table table;
    struct str key;
    col_id col;
};

static struct scan_leaf leaf_on(const struct field *f, enum scan_op op)
{
    return (struct scan_leaf){.table = f->table, .key = f->key, .col = f->col, .op = op};
}

/* ---- matching of one or several regular expressions ---- */

struct match_any {
    const struct regex *const *regexes;
    uint32_t n;
};

static bool match_any(void *ctx, struct str s)
{
    const struct match_any *m = ctx;
    for (uint32_t i = 0; i < m->n; i++)
        if (regex_match(m->regexes[i], s))
            return true;
    return false;
}

static bool put_literal(struct scan_lit *l, const struct tql_static *v, bool fixed)
{
    switch (v->type) {
    case TQL_STRING:
        *l = (struct scan_lit){.type = SCAN_LIT_STR, .s = v->s};
        return true;
    case TQL_BOOL:
        *l = (struct scan_lit){.type = SCAN_LIT_BOOL, .b = v->b};
        return true;
    case TQL_FLOAT:
        *l = (struct scan_lit){.type = SCAN_LIT_DOUBLE, .d = v->f};
        return true;
    case TQL_INT:
        *l = (struct scan_lit){.type = SCAN_LIT_INT, .i = v->i};
        return !fixed || v->i >= 0; /* fixed columns are unsigned */
    case TQL_DURATION:
    case TQL_STATUS:
    case TQL_KIND:
        *l = (struct scan_lit){.type = SCAN_LIT_INT, .i = v->i};
        return fixed && v->i >= 0;
    default:
        return false;
    }
}

static enum scan_op scan_op_of(enum tql_op op, bool set)
{
    switch (op) {
    case TQL_OP_EQ:
        return set ? SCAN_IN : SCAN_EQ;
    case TQL_OP_NE:
        return set ? SCAN_NOT_IN : SCAN_NE;
    case TQL_OP_LT:
        return SCAN_LT;
    case TQL_OP_LE:
        return SCAN_LE;
    case TQL_OP_GT:
        return SCAN_GT;
    case TQL_OP_GE:
        return SCAN_GE;
    case TQL_OP_RE:
        return SCAN_MATCH;
    default:
        return SCAN_NOT_MATCH;
    }
}

/* `field op literal(s)` of a BINARY leaf or SET node. */
static const struct scan_expr *compare(
    const struct tql_expr *e, const struct field *f, bool fixed, struct arena *a)
{
    bool set = e->kind == TQL_E_SET;
    uint32_t n = set ? e->n_values : 1;
    struct scan_leaf l = leaf_on(f, scan_op_of(e->op, set));
    if (l.op == SCAN_MATCH || l.op == SCAN_NOT_MATCH) {
        struct match_any *m = ARENA_NEW(a, struct match_any);
        const struct regex **one = ARENA_ARRAY(a, 1, const struct regex *);
        if (m == NULL || one == NULL)
            return NULL;
        one[0] = e->regex;
        *m = (struct match_any){set ? e->regexes : one, n};
        l.match = match_any;
        l.ctx = m;
        return leaf(&l, a);
    }
    struct scan_lit *lits = ARENA_ARRAY(a, n, struct scan_lit);
    if (lits == NULL)
        return NULL;
    for (uint32_t i = 0; i < n; i++)
        if (!put_literal(&lits[i], set ? &e->values[i] : &e->rhs->value, fixed))
            return &expr_all; /* a duration against an attribute: the exact pass knows */
    l.lits = lits;
    l.n_lits = n;
    return leaf(&l, a);
}

/* True when the comparison holds for the empty string: a missing service.name reads as "". */
static bool holds_for_empty(const struct tql_expr *e)
{
    bool set = e->kind == TQL_E_SET, negative = e->op == TQL_OP_NE || e->op == TQL_OP_NRE;
    uint32_t n = set ? e->n_values : 1;
    for (uint32_t i = 0; i < n; i++) {
        const struct tql_static *v = set ? &e->values[i] : &e->rhs->value;
        bool hit = v->type == TQL_STRING && v->s.n == 0;
        if (e->op == TQL_OP_RE || e->op == TQL_OP_NRE)
            hit = regex_match(set ? e->regexes[i] : e->regex, str_n("", 0));
        else if (e->op != TQL_OP_EQ && e->op != TQL_OP_NE)
            return true; /* an order: rare, let the exact pass decide */
        if (hit)
            return !negative;
    }
    return negative;
}

static struct field attr_field(enum part_table table, struct str key)
{
    return (struct field){.table = table, .key = key.p == NULL ? str_n("", 0) : key};
}

static const struct scan_expr *op_leaf(const struct field *f, enum scan_op op, struct arena *a)
{
    struct scan_leaf l = leaf_on(f, op);
    return leaf(&l, a);
}

/* What a node asks of one attribute field. */
static const struct scan_expr *ask(const struct tql_expr *e, const struct field *f, struct arena *a)
{
    switch (e->kind) {
    case TQL_E_ATTR:
        return op_leaf(f, SCAN_TRUE, a);
    case TQL_E_EXISTS:
        return op_leaf(f, SCAN_EXISTS, a);
    case TQL_E_ABSENT:
        return op_leaf(f, SCAN_ABSENT, a);
    default:
        return compare(e, f, false, a);
    }
}

static const struct scan_expr *on_resource(
    const struct tql_expr *e, struct str key, struct arena *a)
{
    struct field f = attr_field(TABLE_RESOURCES, key);
    const struct scan_expr *x = ask(e, &f, a);
    bool compares = e->kind == TQL_E_BINARY || e->kind == TQL_E_SET;
    if (!str_eq(key, STR("service.name")) || e->kind == TQL_E_ATTR || e->kind == TQL_E_ABSENT)
        return x;
    if (compares && !holds_for_empty(e))
        return x;
    return join(SCAN_OR, x, op_leaf(&f, SCAN_ABSENT, a), a);
}

static const struct scan_expr *on_attr(
    const struct tql_expr *e, const struct tql_attr *attr, struct arena *a)
{
    struct field span = attr_field(TABLE_SPANS, attr->name), f;
    switch (attr->scope) {
    case TQL_SCOPE_SPAN:
        return ask(e, &span, a);
    case TQL_SCOPE_RESOURCE:
        return on_resource(e, attr->name, a);
    case TQL_SCOPE_INSTRUMENTATION:
        f = attr_field(TABLE_SCOPES, attr->name);
        return ask(e, &f, a);
    case TQL_SCOPE_EVENT:
        f = attr_field(TABLE_EVENTS, attr->name);
        return ask(e, &f, a);
    case TQL_SCOPE_LINK:
        f = attr_field(TABLE_LINKS, attr->name);
        return ask(e, &f, a);
    default:
        break;
    }
    if (e->kind == TQL_E_ABSENT) /* on neither */
        return join(SCAN_AND, ask(e, &span, a), on_resource(e, attr->name, a), a);
    /* The span's key shadows the resource's. */
    return join(SCAN_OR, ask(e, &span, a),
        join(SCAN_AND, negate(op_leaf(&span, SCAN_KEY, a), a), on_resource(e, attr->name, a), a),
        a);
}

/* Whether a duration of 0 matches. */
static bool holds_for_zero(const struct tql_expr *e)
{
    const struct tql_static zero = {.type = TQL_DURATION};
    bool set = e->kind == TQL_E_SET, any_of = e->op == TQL_OP_EQ;
    uint32_t n = set ? e->n_values : 1;
    for (uint32_t i = 0; i < n; i++) {
        const struct tql_static *v = set ? &e->values[i] : &e->rhs->value;
        struct tql_static hit = tql_eval_binary(e->op, &zero, v, NULL);
        if (tql_static_true(&hit) == any_of || n == 1)
            return tql_static_true(&hit);
    }
    return !any_of;
}

static const struct scan_expr *on_duration(const struct tql_expr *e, struct arena *a)
{
    struct field f = {.table = TABLE_SPANS, .col = COL_SPAN_DURATION};
    struct scan_lit *max = ARENA_NEW(a, struct scan_lit);
    if (max == NULL)
        return NULL;
    /* An end before the start is stored modulo 2^64 and read as 0. */
    *max = (struct scan_lit){.type = SCAN_LIT_INT, .i = INT64_MAX};
    bool zero = holds_for_zero(e);
    struct scan_leaf wrapped = leaf_on(&f, zero ? SCAN_GT : SCAN_LE);
    wrapped.lits = max;
    wrapped.n_lits = 1;
    return join(zero ? SCAN_OR : SCAN_AND, compare(e, &f, true, a), leaf(&wrapped, a), a);
}

static const struct scan_expr *on_intrinsic(
    const struct tql_expr *e, enum tql_intrinsic which, struct arena *a)
{
    struct field f = {.table = TABLE_SPANS};
    if (e->kind != TQL_E_BINARY && e->kind != TQL_E_SET)
        return &expr_all;
    switch (which) {
    case TQL_I_DURATION:
        return on_duration(e, a);
    case TQL_I_NAME:
        f.col = COL_SPAN_NAME;
        return compare(e, &f, true, a);
    case TQL_I_STATUS:
        f.col = COL_SPAN_STATUS;
        return compare(e, &f, true, a);
    case TQL_I_KIND:
        f.col = COL_SPAN_KIND;
        return compare(e, &f, true, a);
    case TQL_I_STATUS_MESSAGE: /* empty ones are not stored */
        f.col = COL_SPAN_STATUS_MESSAGE;
        return holds_for_empty(e) ? &expr_all : compare(e, &f, true, a);
    case TQL_I_EVENT_NAME:
        f = (struct field){.table = TABLE_EVENTS, .col = COL_EVENT_NAME};
        return compare(e, &f, true, a);
    case TQL_I_INSTRUMENTATION_NAME:
    case TQL_I_INSTRUMENTATION_VERSION:
        f = (struct field){.table = TABLE_SCOPES,
            .col = which == TQL_I_INSTRUMENTATION_NAME ? COL_SCOPE_NAME : COL_SCOPE_VERSION};
        return holds_for_empty(e) ? &expr_all : compare(e, &f, true, a);
    default:
        return &expr_all;
    }
}

static const struct scan_expr *on_node(
    const struct tql_expr *e, const struct tql_attr *attr, struct arena *a)
{
    if (attr->parent)
        return &expr_all;
    return attr->intrinsic != TQL_I_NONE ? on_intrinsic(e, attr->intrinsic, a)
                                         : on_attr(e, attr, a);
}

static bool plain_attr(const struct tql_expr *e)
{
    return e->kind == TQL_E_ATTR && e->attr->intrinsic == TQL_I_NONE && !e->attr->parent;
}

/* attr op attr: both must have a value. */
static const struct scan_expr *both_exist(const struct tql_expr *e, struct arena *a)
{
    const struct tql_expr *sides[] = {e->lhs, e->rhs};
    const struct scan_expr *x = &expr_all;
    for (size_t i = 0; i < ARRAY_LEN(sides); i++) {
        struct tql_expr exists = {.kind = TQL_E_EXISTS, .lhs = e->lhs};
        if (plain_attr(sides[i]))
            x = join(SCAN_AND, x, on_attr(&exists, sides[i]->attr, a), a);
        else if (sides[i]->kind != TQL_E_ATTR)
            return &expr_all;
    }
    return x;
}

const struct scan_expr *lower_filter(const struct tql_expr *e, struct arena *a)
{
    if (lower_nothing)
        return &expr_all;
    switch (e->kind) {
    case TQL_E_STATIC:
        return e->value.type == TQL_BOOL && !e->value.b ? &expr_none : &expr_all;
    case TQL_E_ATTR:
    case TQL_E_SET:
        return on_node(e, e->attr, a);
    case TQL_E_EXISTS:
    case TQL_E_ABSENT:
        return e->lhs->kind == TQL_E_ATTR ? on_node(e, e->lhs->attr, a) : &expr_all;
    case TQL_E_BINARY:
        break;
    default:
        return &expr_all;
    }
    if (e->op == TQL_OP_AND || e->op == TQL_OP_OR)
        return join(e->op == TQL_OP_AND ? SCAN_AND : SCAN_OR, lower_filter(e->lhs, a),
            lower_filter(e->rhs, a), a);
    if (!tql_op_is_compare(e->op))
        return &expr_all;
    if (e->lhs->kind == TQL_E_ATTR && e->rhs->kind == TQL_E_STATIC)
        return on_node(e, e->lhs->attr, a);
    return both_exist(e, a);
}

/* Neither the least, the greatest nor the mean of durations is above the longest: to be more than a
 * number, it takes a span that is. A sum that wraps is less than the true one. */
const struct scan_expr *lower_scalar(const struct tql_stage *s, struct arena *a)
{
    bool mirrored = s->lhs->kind == TQL_SC_STATIC;
    const struct tql_scalar *agg = mirrored ? s->rhs : s->lhs, *limit = mirrored ? s->lhs : s->rhs;
    enum tql_op op = mirrored ? tql_op_mirrored(s->op) : s->op;
    if (agg->kind != TQL_SC_AGGREGATE || limit->kind != TQL_SC_STATIC ||
        (agg->agg != TQL_AGG_MIN && agg->agg != TQL_AGG_MAX && agg->agg != TQL_AGG_AVG) ||
        (op != TQL_OP_GT && op != TQL_OP_GE) || agg->arg->kind != TQL_E_ATTR ||
        agg->arg->attr->intrinsic != TQL_I_DURATION || agg->arg->attr->parent)
        return &expr_all;
    struct tql_expr number = {.kind = TQL_E_STATIC, .value = limit->value};
    struct tql_expr e = {.kind = TQL_E_BINARY, .op = op, .lhs = agg->arg, .rhs = &number};
    return lower_filter(&e, a);
}

static const struct scan_expr *lower_spanset(const struct tql_spanset *x, struct arena *a)
{
    if (x->kind == TQL_SS_FILTER)
        return lower_filter(x->filter, a);
    if (x->kind == TQL_SS_PIPELINE)
        return &expr_all;
    return join(SCAN_OR, lower_spanset(x->lhs, a), lower_spanset(x->rhs, a), a);
}

/* Trees deeper than storage takes are not pushed down. */
static unsigned depth(const struct scan_expr *e)
{
    unsigned max = 0;
    for (uint32_t i = 0; i < e->n_kids; i++)
        max = MAX(max, depth(e->kids[i]));
    return max + 1;
}

const struct scan_expr *lower_shallow(const struct scan_expr *e)
{
    return e != NULL && depth(e) > SCAN_DEPTH_MAX ? &expr_all : e;
}

const struct scan_expr *lower_query(const struct tql_query *q, struct arena *a)
{
    const struct scan_expr *x = &expr_all;
    for (uint32_t i = 0; i < q->pipeline->n_stages; i++) {
        const struct tql_stage *s = &q->pipeline->stages[i];
        if (s->kind == TQL_STAGE_SELECT)
            continue;
        if (s->kind != TQL_STAGE_SPANSET)
            break;
        /* Only the first stage sees all spans; of a chain of filters every one must hold on the
         * span. */
        if (i > 0 && s->spanset->kind != TQL_SS_FILTER)
            break;
        x = join(SCAN_AND, x, lower_spanset(s->spanset, a), a);
        if (x == NULL || s->spanset->kind != TQL_SS_FILTER)
            break;
    }
    return lower_shallow(x);
}

const struct scan_expr *lower_group(const struct tql_filter_group *g, struct arena *a)
{
    const struct scan_expr *x = &expr_all;
    for (uint32_t i = 0; i < g->n_conds && x != NULL; i++)
        x = join(SCAN_AND, x, lower_filter(g->conds[i], a), a);
    return lower_shallow(x);
}

static const struct tql_static *required_id(const struct tql_expr *e)
{
    if (e->kind != TQL_E_BINARY)
        return NULL;
    if (e->op == TQL_OP_AND) {
        const struct tql_static *id = required_id(e->lhs);
        return id != NULL ? id : required_id(e->rhs);
    }
    bool is = e->op == TQL_OP_EQ && e->lhs->kind == TQL_E_ATTR &&
              e->lhs->attr->intrinsic == TQL_I_TRACE_ID && e->rhs->kind == TQL_E_STATIC;
    return is ? &e->rhs->value : NULL;
}

const struct tql_static *lower_trace_id(const struct tql_query *q)
{
    if (lower_nothing)
        return NULL;
    const struct tql_stage *s = &q->pipeline->stages[0];
    if (s->kind != TQL_STAGE_SPANSET || s->spanset->kind != TQL_SS_FILTER)
        return NULL;
    return required_id(s->spanset->filter);
}
