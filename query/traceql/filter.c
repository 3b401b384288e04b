/* SPDX-License-Identifier: Apache-2.0
 * Autocomplete filters (spec traceql.md section 7): what a half-typed query says about the spans
 * whose names and values are wanted. A text that says nothing usable means "unfiltered", never an
 * error.
 *
 * Repair works on tokens in one pass: an operator without its value goes, && and || without an
 * operand go, empty parentheses go, missing braces are added, and everything behind the first pipe
 * goes.
 */
#include "check.h"
#include "lex.h"

#define GROUPS_DEFAULT 100u

/* ---- repair ---- */
enum piece_class {
    PIECE_OPERAND,
    PIECE_COMPARE,
    PIECE_LOGIC,
    PIECE_OPEN,
    PIECE_CLOSE,
    PIECE_OTHER
};

struct piece {
    enum piece_class class;
    enum tql_token_kind kind;
    struct str text;
};

struct repair {
    struct piece
        *pieces; /* a stack of what is kept; room for one per byte of text, and the brace */
    size_t n;
    unsigned braces;
};

static enum piece_class piece_class(enum tql_token_kind k)
{
    switch (k) {
    case T_EQ:
    case T_NE:
    case T_LT:
    case T_LE:
    case T_GT:
    case T_GE:
    case T_RE:
    case T_NRE:
        return PIECE_COMPARE;
    case T_AND:
    case T_OR:
        return PIECE_LOGIC;
    case T_OPEN_BRACE:
    case T_OPEN_PAREN:
        return PIECE_OPEN;
    case T_CLOSE_BRACE:
    case T_CLOSE_PAREN:
        return PIECE_CLOSE;
    case T_SUB:
    case T_NOT:
    case T_ADD:
    case T_MUL:
    case T_DIV:
    case T_MOD:
    case T_POW:
    case T_COMMA:
        return PIECE_OTHER;
    default:
        return PIECE_OPERAND;
    }
}

static struct piece *top(struct repair *r)
{
    return r->n == 0 ? NULL : &r->pieces[r->n - 1];
}

/* Before `next` (a closing piece, a logic operator, the end) nothing may hang. */
static void drop_hanging(struct repair *r, bool logic_too)
{
    while (top(r) != NULL &&
           (top(r)->class == PIECE_COMPARE || (logic_too && top(r)->class == PIECE_LOGIC)))
        r->n--;
}

static void keep(struct repair *r, const struct piece *p)
{
    if (p->class == PIECE_LOGIC) {
        drop_hanging(r, false);
        if (top(r) == NULL || top(r)->class == PIECE_OPEN || top(r)->class == PIECE_LOGIC)
            return;
    } else if (p->class == PIECE_CLOSE) {
        drop_hanging(r, true);
        bool brace = p->kind == T_CLOSE_BRACE;
        if (!brace && top(r) != NULL && top(r)->kind == T_OPEN_PAREN) {
            r->n--;
            return;
        }
        if (brace && r->braces > 0)
            r->braces--;
    } else if (p->kind == T_OPEN_BRACE) {
        r->braces++;
    }
    r->pieces[r->n++] = *p;
}

/* The next token as a piece; an attribute is one piece with its scope and name. */
static bool next_piece(struct tql_lexer *lx, struct piece *ret)
{
    struct tql_token t;
    if (tql_lex(lx, &t) != EC_OK || t.kind == T_END || t.kind == T_PIPE)
        return false;
    struct str name;
    if (t.kind == T_PARENT_DOT)
        (void)tql_lex_second_scope(lx, &t.kind);
    bool dot = t.kind >= T_DOT && t.kind <= T_PARENT_DOT;
    if ((dot || t.kind == T_DOTTED) && tql_lex_name(lx, &t, &name) != EC_OK)
        return false;
    if (t.kind >= T_SPAN_COLON && t.kind <= T_INSTRUMENTATION_COLON) {
        struct tql_token word;
        if (tql_lex(lx, &word) != EC_OK)
            return false;
    }
    *ret =
        (struct piece){piece_class(t.kind), t.kind, str_n(lx->text.p + t.start, lx->at - t.start)};
    return true;
}

/* The repaired text in the arena; p == NULL: hopeless or over budget. */
static struct str repair(struct str text, struct arena *arena)
{
    struct tql_lexer lx;
    struct repair r = {.pieces = ARENA_ARRAY(arena, text.n + 1, struct piece)};
    struct piece p;
    if (r.pieces == NULL)
        return (struct str){NULL, 0};
    tql_lexer_init(&lx, text, arena);
    while (next_piece(&lx, &p))
        keep(&r, &p);
    if (lx.failed)
        return (struct str){NULL, 0}; /* an open string, a stray character */
    drop_hanging(&r, true);
    size_t n = 0;
    for (size_t i = 0; i < r.n; i++)
        n += r.pieces[i].text.n + 1;
    char *out = arena_alloc(arena, n + 2 * r.braces + 1);
    if (out == NULL)
        return (struct str){NULL, 0};
    n = 0;
    for (size_t i = 0; i < r.n; i++) {
        memcpy(out + n, r.pieces[i].text.p, r.pieces[i].text.n);
        n += r.pieces[i].text.n;
        out[n++] = ' ';
    }
    for (; r.braces > 0; r.braces--)
        out[n++] = '}';
    return str_n(out, n);
}

/* ---- groups ---- */
/* A disjunction of conjunctions in the making. No group: matches nothing was said, i.e.
 * everything. */
struct groups {
    struct tql_filter_group *p;
    uint32_t n;
};

struct expander {
    struct arena *arena;
    struct err *err;
    uint32_t limit; /* groups, as error texts name it */
    uint32_t max;   /* groups that this tag may have */
};

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "filter: over the memory budget");
}

static enum ec one_group(struct expander *x, const struct tql_expr *cond, struct groups *ret)
{
    ret->p = ARENA_NEW(x->arena, struct tql_filter_group);
    ret->n = 1;
    if (ret->p == NULL)
        return over_budget(x->err);
    if (cond == NULL)
        return EC_OK;
    ret->p->conds = ARENA_ARRAY(x->arena, 1, const struct tql_expr *);
    if (ret->p->conds == NULL)
        return over_budget(x->err);
    ret->p->conds[0] = cond;
    ret->p->n_conds = 1;
    return EC_OK;
}

static bool same_cond(const struct tql_expr *a, const struct tql_expr *b)
{
    if (a == b)
        return true;
    if (a->kind != b->kind || a->op != b->op || !tql_attr_same(a->lhs->attr, b->lhs->attr))
        return false;
    return a->kind != TQL_E_BINARY || tql_static_same(&a->rhs->value, &b->rhs->value);
}

static enum ec too_many(struct expander *x)
{
    return ERR(x->err, EC_INVALID,
        "maximum condition groups reached (limit: %u). Reduce the number of OR conditions in the "
        "query",
        x->limit);
}

static enum ec expand_or(
    struct expander *x, const struct groups *a, const struct groups *b, struct groups *ret)
{
    if (a->n + b->n > x->max)
        return too_many(x);
    struct tql_filter_group *p = ARENA_ARRAY(x->arena, a->n + b->n, struct tql_filter_group);
    if (p == NULL)
        return over_budget(x->err);
    memcpy(p, a->p, a->n * sizeof(*p));
    memcpy(p + a->n, b->p, b->n * sizeof(*p));
    *ret = (struct groups){p, a->n + b->n};
    return EC_OK;
}

/* One group with the conditions of two. */
static enum ec join(struct expander *x, const struct tql_filter_group *a,
    const struct tql_filter_group *b, struct tql_filter_group *ret)
{
    const struct tql_expr **conds =
        ARENA_ARRAY(x->arena, a->n_conds + b->n_conds, const struct tql_expr *);
    if (conds == NULL)
        return over_budget(x->err);
    uint32_t n = a->n_conds;
    if (n > 0)
        memcpy(conds, a->conds, n * sizeof(*conds));
    for (uint32_t i = 0; i < b->n_conds; i++) {
        uint32_t k = 0;
        while (k < a->n_conds && !same_cond(a->conds[k], b->conds[i]))
            k++;
        if (k == a->n_conds)
            conds[n++] = b->conds[i];
    }
    *ret = (struct tql_filter_group){conds, n};
    return EC_OK;
}

static enum ec expand_and(
    struct expander *x, const struct groups *a, const struct groups *b, struct groups *ret)
{
    if ((uint64_t)a->n * b->n > x->max)
        return too_many(x);
    struct tql_filter_group *p = ARENA_ARRAY(x->arena, a->n * b->n, struct tql_filter_group);
    if (p == NULL)
        return over_budget(x->err);
    for (uint32_t i = 0; i < a->n; i++)
        for (uint32_t k = 0; k < b->n; k++)
            TRY(join(x, &a->p[i], &b->p[k], &p[i * b->n + k]));
    *ret = (struct groups){p, a->n * b->n};
    return EC_OK;
}

/* A set is a chain again: OR of = and =~, AND of != and !~. */
static enum ec expand_set(struct expander *x, const struct tql_expr *e, struct groups *ret)
{
    bool any = e->op == TQL_OP_EQ || e->op == TQL_OP_RE;
    uint32_t n = e->n_values;
    if (any && n > x->max)
        return too_many(x);
    struct tql_expr *nodes = ARENA_ARRAY(x->arena, n, struct tql_expr);
    struct tql_expr *attr = ARENA_NEW(x->arena, struct tql_expr);
    struct tql_expr *values = ARENA_ARRAY(x->arena, n, struct tql_expr);
    const struct tql_expr **conds = ARENA_ARRAY(x->arena, n, const struct tql_expr *);
    struct tql_filter_group *p = ARENA_ARRAY(x->arena, any ? n : 1, struct tql_filter_group);
    if (nodes == NULL || attr == NULL || values == NULL || conds == NULL || p == NULL)
        return over_budget(x->err);
    *attr = (struct tql_expr){.kind = TQL_E_ATTR, .attr = e->attr, .height = 1};
    attr->type =
        e->attr->intrinsic == TQL_I_NONE ? TQL_DYNAMIC : tql_intrinsic_type(e->attr->intrinsic);
    for (uint32_t i = 0; i < n; i++) {
        values[i] = (struct tql_expr){
            .kind = TQL_E_STATIC, .type = e->values[i].type, .value = e->values[i], .height = 1};
        nodes[i] = (struct tql_expr){.kind = TQL_E_BINARY,
            .op = e->op,
            .type = TQL_BOOL,
            .lhs = attr,
            .rhs = &values[i],
            .height = 2,
            .regex = e->regexes == NULL ? NULL : e->regexes[i]};
        conds[i] = &nodes[i];
        if (any)
            p[i] = (struct tql_filter_group){&conds[i], 1};
    }
    if (!any)
        p[0] = (struct tql_filter_group){conds, n};
    *ret = (struct groups){p, any ? n : 1};
    return EC_OK;
}

static enum ec expand(struct expander *x, const struct tql_expr *e, struct groups *ret)
{
    if (e->kind == TQL_E_UNARY && e->op == TQL_OP_NOT)
        return expand(x, e->lhs, ret); /* as if positive: a wider answer, as Tempo gives */
    if (e->kind == TQL_E_SET)
        return expand_set(x, e, ret);
    if (e->kind == TQL_E_BINARY && (e->op == TQL_OP_AND || e->op == TQL_OP_OR)) {
        struct groups a, b;
        TRY(expand(x, e->lhs, &a));
        TRY(expand(x, e->rhs, &b));
        return e->op == TQL_OP_AND ? expand_and(x, &a, &b, ret) : expand_or(x, &a, &b, ret);
    }
    bool attr = e->lhs != NULL && e->lhs->kind == TQL_E_ATTR;
    bool compare =
        e->kind == TQL_E_BINARY && attr && tql_op_is_compare(e->op) && e->rhs->kind == TQL_E_STATIC;
    bool nil = attr && (e->kind == TQL_E_EXISTS || e->kind == TQL_E_ABSENT);
    return one_group(x, compare || nil ? e : NULL, ret);
}

/* ---- the filter ---- */
/* Spec 7.7: conditions on unscoped attributes (and on a parent's) drop the whole filter. */
static bool scoped_only(const struct groups *g)
{
    for (uint32_t i = 0; i < g->n; i++)
        for (uint32_t k = 0; k < g->p[i].n_conds; k++) {
            const struct tql_expr *e = g->p[i].conds[k];
            const struct tql_attr *a = e->kind == TQL_E_SET ? e->attr : e->lhs->attr;
            if (a->parent || (a->intrinsic == TQL_I_NONE && a->scope == TQL_SCOPE_NONE))
                return false;
        }
    return true;
}

/* The filter expression of a text that parses and holds; NULL when unfiltered. */
static enum ec filter_expr(
    struct str text, struct arena *arena, const struct tql_expr **ret, struct err *err)
{
    struct tql_query *q;
    enum ec ec = tql_compile(text, arena, &q, NULL, err);
    if (ec == EC_INVALID) {
        struct str fixed = repair(text, arena);
        if (fixed.p != NULL)
            ec = tql_compile(fixed, arena, &q, NULL, err);
    }
    *ret = NULL;
    if (ec != EC_OK)
        return ec == EC_LIMIT ? ec : EC_OK;
    const struct tql_stage *first = &q->pipeline->stages[0];
    if (first->kind == TQL_STAGE_SPANSET && first->spanset->kind == TQL_SS_FILTER)
        *ret = first->spanset->filter;
    return EC_OK;
}

enum ec tql_filter_groups_parse(struct str text, const struct tql_attr *tag, uint32_t groups_max,
    struct arena *arena, const struct tql_filter_groups **ret, struct err *err)
{
    const struct tql_expr *e;
    TRY(filter_expr(text, arena, &e, err));
    *ret = NULL;
    if (e == NULL)
        return EC_OK;
    uint32_t limit = groups_max == 0 ? GROUPS_DEFAULT : groups_max;
    struct expander x = {.arena = arena, .err = err, .limit = limit, .max = limit};
    if (tag != NULL && tag->intrinsic == TQL_I_NONE && tag->scope == TQL_SCOPE_NONE)
        x.max = MAX(1, limit / 2); /* each group is evaluated once a scope */
    struct groups g;
    TRY(expand(&x, e, &g));
    if (!scoped_only(&g))
        return EC_OK;
    for (uint32_t i = 0; i < g.n; i++)
        if (g.p[i].n_conds == 0)
            return EC_OK;
    struct tql_filter_groups *out = ARENA_NEW(arena, struct tql_filter_groups);
    if (out == NULL)
        return over_budget(err);
    *out = (struct tql_filter_groups){.groups = g.p, .n_groups = g.n};
    *ret = out;
    return EC_OK;
}
