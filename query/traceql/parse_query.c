/* SPDX-License-Identifier: Apache-2.0
 * Queries: spanset expressions, scalars, pipelines.
 *
 * What stands in parentheses is known only at its end: `({a})` may be an operand of `{b} && ({a})`
 * or a wrapped pipeline, `(count())` a scalar, `({a} | count())` a wrapped scalar. So each
 * parenthesis is parsed with the set of classes that its place allows, and says which it turned out
 * to be; what can no longer become one of the allowed classes is the syntax error that an LR parser
 * reports at the same token.
 */
#include "parse.h"

enum {
    IS_PLAIN = 1,   /* spanset expression without a pipe */
    IS_WRAPPED = 2, /* pipeline(s) in parentheses */
    IS_SCALAR = 4,  /* scalar expression in parentheses */
    IS_WSCALAR = 8, /* `( pipeline | aggregate )` */
    IS_ANY = 15,
};

struct item {
    unsigned classes; /* of IS_*; PLAIN and WRAPPED may be both */
    struct tql_spanset *ss;
    struct tql_scalar *sc;
};

/* A sequence of stages in the making. */
struct seq {
    struct tql_list stages;
    uint32_t height;           /* of the highest spanset in it */
    struct tql_scalar *scalar; /* IS_SCALAR, IS_WSCALAR: what it amounts to */
    unsigned classes;
    bool metric; /* the pipe of a metrics function was read */
};

static enum ec parse_paren(struct tql_parser *p, unsigned allow, struct item *ret);

/* ---- scalars ---- */
static enum ec scalar_new(struct tql_parser *p, enum tql_scalar_kind kind, struct tql_scalar *lhs,
    struct tql_scalar *rhs, struct tql_scalar **ret)
{
    struct tql_scalar *s;
    uint32_t height;
    TRY(parser_height(p, lhs == NULL ? 0 : lhs->height, rhs == NULL ? 0 : rhs->height, &height));
    TRY(parser_node(p, sizeof(*s), &s));
    s->kind = kind;
    s->lhs = lhs;
    s->rhs = rhs;
    s->height = height;
    *ret = s;
    return EC_OK;
}

static bool agg_of(enum tql_token_kind kind, enum tql_agg *ret)
{
    static const enum tql_token_kind kinds[] = {
        [TQL_AGG_COUNT] = T_COUNT,
        [TQL_AGG_MIN] = T_MIN,
        [TQL_AGG_MAX] = T_MAX,
        [TQL_AGG_AVG] = T_AVG,
        [TQL_AGG_SUM] = T_SUM,
    };
    for (unsigned i = 0; i < ARRAY_LEN(kinds); i++)
        if (kinds[i] == kind) {
            *ret = (enum tql_agg)i;
            return true;
        }
    return false;
}

static bool at_scalar(const struct tql_parser *p) /* other than a parenthesis */
{
    enum tql_agg agg;
    enum tql_token_kind k = p->tok.kind;
    return agg_of(k, &agg) || k == T_INTEGER || k == T_FLOAT || k == T_DURATION || k == T_SUB;
}

static enum ec parse_aggregate(struct tql_parser *p, enum tql_agg agg, struct tql_scalar **ret)
{
    TRY(scalar_new(p, TQL_SC_AGGREGATE, NULL, NULL, ret));
    (*ret)->agg = agg;
    TRY(parser_advance(p));
    TRY(parser_expect(p, T_OPEN_PAREN, "("));
    if (agg == TQL_AGG_COUNT)
        return parser_expect(p, T_CLOSE_PAREN, ")");
    TRY(parser_field(p, &(*ret)->arg));
    return parser_expect(p, T_CLOSE_PAREN, NULL);
}

static enum ec parse_scalar_primary(struct tql_parser *p, unsigned allow, struct tql_scalar **ret)
{
    enum tql_agg agg;
    if (p->tok.kind == T_OPEN_PAREN) {
        struct item item;
        TRY(parse_paren(p, allow, &item));
        *ret = item.sc;
        return EC_OK;
    }
    if (allow != IS_SCALAR)
        return parser_unexpected(p, "(");
    if (agg_of(p->tok.kind, &agg))
        return parse_aggregate(p, agg, ret);
    struct tql_static value;
    TRY(parser_number(p, NULL, &value));
    TRY(scalar_new(p, TQL_SC_STATIC, NULL, NULL, ret));
    (*ret)->value = value;
    return EC_OK;
}

static enum tql_op scalar_op(enum tql_token_kind kind, int *ret_prec)
{
    switch (kind) {
    case T_ADD:
    case T_SUB:
        *ret_prec = 1;
        return kind == T_ADD ? TQL_OP_ADD : TQL_OP_SUB;
    case T_MUL:
    case T_DIV:
    case T_MOD:
        *ret_prec = 2;
        return kind == T_MUL ? TQL_OP_MUL : kind == T_DIV ? TQL_OP_DIV : TQL_OP_MOD;
    case T_POW:
        *ret_prec = 3;
        return TQL_OP_POW;
    default:
        return TQL_OP_NONE;
    }
}

/* Arithmetic to the right of *left; allow is IS_SCALAR or IS_WSCALAR and holds for every
 * operand. */
static enum ec parse_scalar_ops(
    struct tql_parser *p, unsigned allow, int prec_min, struct tql_scalar **left)
{
    int prec = 0;
    enum tql_op op;
    TRY(parser_enter(p));
    while ((op = scalar_op(p->tok.kind, &prec)) != TQL_OP_NONE && prec >= prec_min) {
        struct tql_scalar *right;
        TRY(parser_advance(p));
        TRY(parse_scalar_primary(p, allow, &right));
        TRY(parse_scalar_ops(p, allow, op == TQL_OP_POW ? prec : prec + 1, &right));
        TRY(scalar_new(p, TQL_SC_ARITH, *left, right, left));
        (*left)->op = op;
    }
    parser_leave(p);
    return EC_OK;
}

static enum ec parse_scalar(struct tql_parser *p, struct tql_scalar **ret)
{
    TRY(parse_scalar_primary(p, IS_SCALAR, ret));
    return parse_scalar_ops(p, IS_SCALAR, 0, ret);
}

/* ---- spansets ---- */
static enum tql_op spanset_op(enum tql_token_kind kind)
{
    static const struct {
        enum tql_token_kind kind;
        enum tql_op op;
    } ops[] = {
        {T_AND, TQL_OP_AND},
        {T_OR, TQL_OP_OR},
        {T_GT, TQL_OP_CHILD},
        {T_DESC, TQL_OP_DESCENDANT},
        {T_LT, TQL_OP_PARENT},
        {T_ANCE, TQL_OP_ANCESTOR},
        {T_TILDE, TQL_OP_SIBLING},
        {T_NOT_CHILD, TQL_OP_NOT_CHILD},
        {T_NOT_DESC, TQL_OP_NOT_DESCENDANT},
        {T_NOT_PARENT, TQL_OP_NOT_PARENT},
        {T_NOT_ANCE, TQL_OP_NOT_ANCESTOR},
        {T_NRE, TQL_OP_NOT_SIBLING},
        {T_UNION_CHILD, TQL_OP_UNION_CHILD},
        {T_UNION_DESC, TQL_OP_UNION_DESCENDANT},
        {T_UNION_PARENT, TQL_OP_UNION_PARENT},
        {T_UNION_ANCE, TQL_OP_UNION_ANCESTOR},
        {T_UNION_SIBL, TQL_OP_UNION_SIBLING},
    };
    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        if (ops[i].kind == kind)
            return ops[i].op;
    return TQL_OP_NONE;
}

static enum ec spanset_new(struct tql_parser *p, enum tql_spanset_kind kind, enum tql_op op,
    struct tql_spanset *lhs, struct tql_spanset *rhs, struct tql_spanset **ret)
{
    struct tql_spanset *ss;
    uint32_t height;
    TRY(parser_height(p, lhs == NULL ? 0 : lhs->height, rhs == NULL ? 0 : rhs->height, &height));
    TRY(parser_node(p, sizeof(*ss), &ss));
    ss->kind = kind;
    ss->op = op;
    ss->lhs = lhs;
    ss->rhs = rhs;
    ss->height = height;
    *ret = ss;
    return EC_OK;
}

/* A filter or a parenthesis, of one of the allowed classes. */
static enum ec parse_operand(struct tql_parser *p, unsigned allow, struct item *ret)
{
    if (p->tok.kind == T_OPEN_PAREN)
        return parse_paren(p, allow, ret);
    if (p->tok.kind != T_OPEN_BRACE || (allow & IS_PLAIN) == 0)
        return parser_unexpected(p, (allow & IS_PLAIN) != 0 ? "{ (" : "(");
    *ret = (struct item){.classes = IS_PLAIN};
    TRY(spanset_new(p, TQL_SS_FILTER, TQL_OP_NONE, NULL, NULL, &ret->ss));
    return parser_filter(p, &ret->ss->filter);
}

static enum ec spanset_join(
    struct tql_parser *p, enum tql_op op, void *const *items, uint32_t n, struct tql_spanset **ret)
{
    struct tql_spanset *left = items[0], *right;
    if (n > RUN_LEFT_DEEP_MAX) {
        TRY(spanset_join(p, op, items, n / 2, &left));
        TRY(spanset_join(p, op, items + n / 2, n - n / 2, &right));
        return spanset_new(p, TQL_SS_OP, op, left, right, ret);
    }
    for (uint32_t i = 1; i < n; i++)
        TRY(spanset_new(p, TQL_SS_OP, op, left, items[i], &left));
    *ret = left;
    return EC_OK;
}

/* Structural operators to the right of *left. Every operand narrows what the others may be. */
static enum ec parse_structural(struct tql_parser *p, struct item *left)
{
    enum tql_op op;
    while (tql_op_is_structural(op = spanset_op(p->tok.kind))) {
        struct item right;
        TRY(parser_advance(p));
        TRY(parse_operand(p, left->classes, &right));
        left->classes &= right.classes;
        TRY(spanset_new(p, TQL_SS_OP, op, left->ss, right.ss, &left->ss));
    }
    return EC_OK;
}

/* All spanset operators to the right of *left, whose classes are PLAIN, WRAPPED or both. */
static enum ec parse_spanset_ops(struct tql_parser *p, struct item *left)
{
    TRY(parse_structural(p, left));
    while (p->tok.kind == T_AND || p->tok.kind == T_OR) {
        enum tql_token_kind kind = p->tok.kind;
        struct tql_list items = {0};
        TRY(parser_push(p, &items, left->ss));
        while (p->tok.kind == kind) {
            struct item right;
            TRY(parser_advance(p));
            TRY(parse_operand(p, left->classes, &right));
            right.classes &= left->classes;
            TRY(parse_structural(p, &right));
            left->classes = right.classes;
            TRY(parser_push(p, &items, right.ss));
        }
        TRY(spanset_join(p, spanset_op(kind), items.p, items.n, &left->ss));
    }
    return EC_OK;
}

/* ---- stages ---- */
static enum ec stage_push(
    struct tql_parser *p, struct seq *seq, enum tql_stage_kind kind, struct tql_stage **ret)
{
    if (seq->stages.n == TQL_LISTS_MAX)
        return tql_lex_error(&p->lx, "pipeline has more than %u stages", TQL_LISTS_MAX);
    TRY(parser_node(p, sizeof(**ret), ret));
    (*ret)->kind = kind;
    return parser_push(p, &seq->stages, *ret);
}

static enum ec stage_spanset(struct tql_parser *p, struct seq *seq, struct tql_spanset *ss)
{
    struct tql_stage *stage;
    TRY(stage_push(p, seq, TQL_STAGE_SPANSET, &stage));
    stage->spanset = ss;
    seq->height = MAX(seq->height, ss->height);
    return EC_OK;
}

/* CMP rhs, behind its left side. */
static enum ec stage_scalar(
    struct tql_parser *p, struct seq *seq, struct tql_scalar *lhs, unsigned rhs_class)
{
    struct tql_stage *stage;
    enum tql_op op = parser_compare_op(p->tok.kind);
    if (op == TQL_OP_NONE)
        return parser_unexpected(p, NULL);
    TRY(parser_advance(p));
    TRY(stage_push(p, seq, TQL_STAGE_SCALAR, &stage));
    stage->op = op;
    stage->lhs = lhs;
    if (rhs_class == IS_SCALAR)
        return parse_scalar(p, &stage->rhs);
    if (p->tok.kind != T_OPEN_PAREN) {
        struct tql_static value;
        TRY(parser_number(p, NULL, &value));
        TRY(scalar_new(p, TQL_SC_STATIC, NULL, NULL, &stage->rhs));
        stage->rhs->value = value;
        return EC_OK;
    }
    TRY(parse_scalar_primary(p, IS_WSCALAR, &stage->rhs));
    return parse_scalar_ops(p, IS_WSCALAR, 0, &stage->rhs);
}

/* by(), select(), coalesce() */
static enum ec stage_call(struct tql_parser *p, struct seq *seq)
{
    struct tql_stage *stage;
    enum tql_token_kind kind = p->tok.kind;
    TRY(parser_advance(p));
    if (kind == T_SELECT) {
        TRY(stage_push(p, seq, TQL_STAGE_SELECT, &stage));
        return parser_attr_list(p, &stage->attrs, &stage->n_attrs);
    }
    TRY(parser_expect(p, T_OPEN_PAREN, "("));
    if (kind == T_COALESCE) {
        TRY(stage_push(p, seq, TQL_STAGE_COALESCE, &stage));
        return parser_expect(p, T_CLOSE_PAREN, ")");
    }
    TRY(stage_push(p, seq, TQL_STAGE_GROUP, &stage));
    TRY(parser_field(p, &stage->expr));
    return parser_expect(p, T_CLOSE_PAREN, NULL);
}

/* A stage behind a pipe. With IS_WSCALAR allowed a bare aggregate may end the sequence. */
static enum ec parse_stage(struct tql_parser *p, unsigned allow, struct seq *seq)
{
    enum tql_token_kind k = p->tok.kind;
    struct item item = {.classes = IS_SCALAR};
    if (k == T_BY || k == T_SELECT || k == T_COALESCE)
        return stage_call(p, seq);
    if (at_scalar(p)) {
        enum tql_agg agg;
        bool bare = agg_of(k, &agg);
        TRY(parse_scalar_primary(p, IS_SCALAR, &item.sc));
        if (bare && (allow & IS_WSCALAR) != 0 && p->tok.kind == T_CLOSE_PAREN) {
            seq->scalar = item.sc;
            seq->classes = IS_WSCALAR;
            return EC_OK;
        }
    } else if (k == T_OPEN_BRACE || k == T_OPEN_PAREN) {
        TRY(parse_operand(p, IS_PLAIN | IS_SCALAR, &item));
    } else {
        return parser_unexpected(p, NULL);
    }
    if (item.sc == NULL) {
        item.classes = IS_PLAIN; /* `(...)` behind a pipe is never a wrapped operand */
        TRY(parse_spanset_ops(p, &item));
        return stage_spanset(p, seq, item.ss);
    }
    TRY(parse_scalar_ops(p, IS_SCALAR, 0, &item.sc));
    return stage_scalar(p, seq, item.sc, IS_SCALAR);
}

/* ---- sequences: the query itself and the inside of parentheses ---- */
static enum ec parse_seq_spanset(struct tql_parser *p, struct item *item, struct seq *seq)
{
    TRY(parse_spanset_ops(p, item));
    seq->classes = item->classes;
    return stage_spanset(p, seq, item->ss);
}

/* The first element; *ret_open: stages may follow behind pipes. */
static enum ec parse_seq_first(
    struct tql_parser *p, unsigned allow, bool top, struct seq *seq, bool *ret_open)
{
    enum tql_token_kind k = p->tok.kind;
    unsigned pipeline = allow & (IS_WRAPPED | IS_WSCALAR);
    struct item item = {0};
    *ret_open = pipeline != 0;
    seq->classes = IS_WRAPPED;
    if ((k == T_BY || k == T_SELECT) && pipeline != 0)
        return stage_call(p, seq);
    if (at_scalar(p) && (allow & ~(unsigned)IS_PLAIN) != 0) {
        TRY(parse_scalar_primary(p, IS_SCALAR, &item.sc));
        item.classes = IS_SCALAR;
    } else if ((k == T_OPEN_BRACE && (pipeline | (allow & IS_PLAIN)) != 0) || k == T_OPEN_PAREN) {
        unsigned inner = allow;
        if (pipeline != 0)
            inner |= IS_PLAIN | IS_SCALAR;
        TRY(parse_operand(p, inner, &item));
    } else {
        return parser_unexpected(p, allow == IS_PLAIN ? "{ (" : NULL);
    }
    if (item.sc == NULL) {
        TRY(parse_seq_spanset(p, &item, seq));
        *ret_open = *ret_open && (item.classes & IS_PLAIN) != 0;
        return EC_OK;
    }
    TRY(parse_scalar_ops(p, item.classes, 0, &item.sc));
    bool wscalar = item.classes == IS_WSCALAR;
    if (!top && p->tok.kind == T_CLOSE_PAREN && (allow & item.classes) != 0) {
        seq->scalar = item.sc;
        seq->classes = item.classes;
        *ret_open = false;
        return EC_OK;
    }
    if (wscalar ? !top : pipeline == 0)
        return parser_unexpected(p, NULL);
    *ret_open = !wscalar;
    return stage_scalar(p, seq, item.sc, item.classes);
}

static enum ec parse_seq(
    struct tql_parser *p, unsigned allow, struct tql_query *top, struct seq *seq)
{
    bool open;
    TRY(parse_seq_first(p, allow, top != NULL, seq, &open));
    while (open && p->tok.kind == T_PIPE) {
        TRY(parser_advance(p));
        if (top != NULL && parser_at_metric(p))
            return parser_metric(p, top);
        seq->classes = IS_WRAPPED;
        TRY(parse_stage(p, top != NULL ? 0 : allow, seq));
        open = seq->classes == IS_WRAPPED;
    }
    return EC_OK;
}

static enum ec seq_pipeline(struct tql_parser *p, const struct seq *seq, struct tql_pipeline **ret)
{
    struct tql_pipeline *pl = ARENA_NEW(p->arena, struct tql_pipeline);
    ASSERT(seq->stages.n > 0);
    if (pl == NULL)
        return parser_limit(p);
    pl->stages = ARENA_ARRAY(p->arena, seq->stages.n, struct tql_stage);
    if (pl->stages == NULL)
        return parser_limit(p);
    for (uint32_t i = 0; i < seq->stages.n; i++)
        pl->stages[i] = *(struct tql_stage *)seq->stages.p[i];
    pl->n_stages = seq->stages.n;
    *ret = pl;
    return EC_OK;
}

static enum ec paren_spanset(struct tql_parser *p, const struct seq *seq, struct item *ret)
{
    const struct tql_stage *first = seq->stages.p[0];
    if (seq->stages.n == 1 && first->kind == TQL_STAGE_SPANSET) {
        ret->ss = first->spanset; /* `({a})` is `{a}` */
        return EC_OK;
    }
    TRY(spanset_new(p, TQL_SS_PIPELINE, TQL_OP_NONE, NULL, NULL, &ret->ss));
    TRY(parser_height(p, seq->height, 0, &ret->ss->height));
    return seq_pipeline(p, seq, &ret->ss->pipeline);
}

/* p->tok is `(`. The result has at least one of the allowed classes. */
static enum ec parse_paren(struct tql_parser *p, unsigned allow, struct item *ret)
{
    struct seq seq = {0};
    TRY(parser_enter(p));
    TRY(parser_advance(p));
    TRY(parse_seq(p, allow, NULL, &seq));
    parser_leave(p);
    *ret = (struct item){.classes = seq.classes};
    if ((seq.classes & IS_PLAIN) != 0)
        ret->classes |= IS_WRAPPED;
    ret->classes &= allow;
    bool pipe = (allow & IS_WRAPPED) != 0 && (seq.classes & (IS_PLAIN | IS_WRAPPED)) != 0;
    if (p->tok.kind != T_CLOSE_PAREN || ret->classes == 0)
        return parser_unexpected(p, pipe && p->tok.kind != T_CLOSE_PAREN ? ") |" : NULL);
    TRY(parser_advance(p));
    if (seq.classes == IS_SCALAR) {
        ret->sc = seq.scalar;
    } else if (seq.classes == IS_WSCALAR && seq.stages.n == 0) {
        ret->sc = seq.scalar; /* arithmetic over wrapped scalars, or one in more parentheses */
    } else if (seq.classes == IS_WSCALAR) {
        TRY(scalar_new(p, TQL_SC_PIPELINE, seq.scalar, NULL, &ret->sc));
        TRY(parser_height(p, ret->sc->height, seq.height, &ret->sc->height));
        return seq_pipeline(p, &seq, &ret->sc->pipeline);
    } else {
        return paren_spanset(p, &seq, ret);
    }
    return EC_OK;
}

/* ---- entry points ---- */
static enum ec parse_query(struct tql_parser *p, struct tql_query **ret)
{
    struct tql_query *q = ARENA_NEW(p->arena, struct tql_query);
    struct seq seq = {0};
    if (q == NULL)
        return parser_limit(p);
    TRY(parser_advance(p));
    TRY(parse_seq(p, IS_ANY, q, &seq));
    TRY(seq_pipeline(p, &seq, &q->pipeline));
    TRY(parser_hints(p, q));
    if (p->tok.kind != T_END)
        return parser_unexpected(p, "with");
    q->n_attr_refs = p->n_attr_refs;
    *ret = q;
    return EC_OK;
}

static enum ec parse_text(struct str text, bool strict_names, struct arena *arena,
    struct tql_query **ret, struct err *err)
{
    struct tql_parser p = {.arena = arena, .strict_names = strict_names};
    if (text.n > UINT32_MAX / 2)
        return ERR(err, EC_INVALID, "query of %zu bytes is too long", text.n);
    tql_lexer_init(&p.lx, text, arena);
    enum ec ec = parse_query(&p, ret);
    if (ec != EC_OK && err != NULL) {
        ASSERT(p.lx.failed);
        *err = p.lx.err;
    }
    return ec;
}

enum ec tql_parse(struct str text, struct arena *arena, struct tql_query **ret, struct err *err)
{
    return parse_text(text, false, arena, ret, err);
}

enum ec tql_attr_parse(
    struct str text, struct arena *arena, const struct tql_attr **ret, struct err *err)
{
    struct tql_query *q;
    struct err cause;
    const char *begin = text.p, *end = text.p + text.n;
    while (begin < end && strchr(" \t\r\n", *begin) != NULL && *begin != 0)
        begin++;
    while (begin < end && strchr(" \t\r\n", end[-1]) != NULL && end[-1] != 0)
        end--;
    text = str_n(begin, (size_t)(end - begin));
    char *braced = arena_alloc(arena, text.n + 2);
    if (braced == NULL)
        return ERR(err, EC_LIMIT, "identifier of %zu bytes: over the memory budget", text.n);
    braced[0] = '{';
    if (text.n > 0)
        memcpy(braced + 1, text.p, text.n);
    braced[text.n + 1] = '}';
    int shown = (int)MIN(text.n, 512);
    enum ec ec = parse_text(str_n(braced, text.n + 2), true, arena, &q, &cause);
    if (ec == EC_LIMIT)
        return ERR(err, ec, "%s", err_msg(&cause));
    if (ec != EC_OK)
        return ERR(
            err, ec, "failed to parse identifier %.*s: %.400s", shown, text.p, err_msg(&cause));
    const struct tql_stage *stage = &q->pipeline->stages[0];
    const struct tql_expr *e =
        stage->kind == TQL_STAGE_SPANSET && stage->spanset->kind == TQL_SS_FILTER
            ? stage->spanset->filter
            : NULL;
    if (e == NULL || e->kind != TQL_E_ATTR || q->pipeline->n_stages != 1 || q->metric != NULL ||
        q->n_hints != 0)
        return ERR(err, EC_INVALID, "failed to parse identifier %.*s: not one attribute", shown,
            text.n == 0 ? "" : text.p);
    *ret = e->attr;
    return EC_OK;
}
