/* SPDX-License-Identifier: Apache-2.0
 * Metrics functions, their second stages, and hints. */
#include "parse.h"

static const struct {
    enum tql_token_kind kind;
    enum tql_metric_fn fn;
} metric_fns[] = {
    {T_RATE, TQL_M_RATE},
    {T_COUNT_OVER_TIME, TQL_M_COUNT_OVER_TIME},
    {T_MIN_OVER_TIME, TQL_M_MIN_OVER_TIME},
    {T_MAX_OVER_TIME, TQL_M_MAX_OVER_TIME},
    {T_AVG_OVER_TIME, TQL_M_AVG_OVER_TIME},
    {T_SUM_OVER_TIME, TQL_M_SUM_OVER_TIME},
    {T_QUANTILE_OVER_TIME, TQL_M_QUANTILE_OVER_TIME},
    {T_HISTOGRAM_OVER_TIME, TQL_M_HISTOGRAM_OVER_TIME},
    {T_COMPARE, TQL_M_COMPARE},
};

bool parser_at_metric(const struct tql_parser *p)
{
    for (size_t i = 0; i < ARRAY_LEN(metric_fns); i++)
        if (metric_fns[i].kind == p->tok.kind)
            return true;
    return false;
}

enum tql_op parser_compare_op(enum tql_token_kind kind)
{
    switch (kind) {
    case T_EQ:
        return TQL_OP_EQ;
    case T_NE:
        return TQL_OP_NE;
    case T_LT:
        return TQL_OP_LT;
    case T_LE:
        return TQL_OP_LE;
    case T_GT:
        return TQL_OP_GT;
    case T_GE:
        return TQL_OP_GE;
    default:
        return TQL_OP_NONE;
    }
}

enum ec parser_number(struct tql_parser *p, const char *expecting, struct tql_static *ret)
{
    bool negative = p->tok.kind == T_SUB;
    if (negative) {
        TRY(parser_advance(p));
        expecting = "INTEGER FLOAT DURATION";
    }
    if (p->tok.kind == T_FLOAT)
        *ret =
            (struct tql_static){.type = TQL_FLOAT, .f = negative ? -p->tok.number : p->tok.number};
    else if (p->tok.kind == T_INTEGER || p->tok.kind == T_DURATION)
        *ret = (struct tql_static){.type = p->tok.kind == T_INTEGER ? TQL_INT : TQL_DURATION,
            .i = negative ? -p->tok.integer : p->tok.integer};
    else
        return parser_unexpected(p, expecting);
    return parser_advance(p);
}

static enum ec metric_quantiles(struct tql_parser *p, struct tql_metric *m)
{
    uint32_t cap = 0;
    if (p->tok.kind != T_COMMA)
        return parser_unexpected(p, ",");
    while (p->tok.kind == T_COMMA) {
        TRY(parser_advance(p));
        if (p->tok.kind != T_INTEGER && p->tok.kind != T_FLOAT)
            return parser_unexpected(p, "INTEGER FLOAT");
        if (m->n_quantiles == TQL_LISTS_MAX)
            return tql_lex_error(&p->lx, "list has more than %u elements", TQL_LISTS_MAX);
        if (m->n_quantiles == cap) {
            cap = cap == 0 ? 4 : cap * 2;
            double *grown = ARENA_ARRAY(p->arena, cap, double);
            if (grown == NULL)
                return parser_limit(p);
            if (m->n_quantiles > 0)
                memcpy(grown, m->quantiles, m->n_quantiles * sizeof(double));
            m->quantiles = grown;
        }
        m->quantiles[m->n_quantiles++] =
            p->tok.kind == T_FLOAT ? p->tok.number : (double)p->tok.integer;
        TRY(parser_advance(p));
    }
    return EC_OK;
}

static enum ec metric_integer(struct tql_parser *p, int64_t *ret)
{
    if (p->tok.kind != T_INTEGER)
        return parser_unexpected(p, "INTEGER");
    *ret = p->tok.integer;
    return parser_advance(p);
}

/* { filter } [ , INTEGER [ , INTEGER , INTEGER ] ] */
static enum ec metric_compare(struct tql_parser *p, struct tql_metric *m)
{
    m->top_n = 10;
    TRY(parser_filter(p, &m->filter));
    if (p->tok.kind == T_CLOSE_PAREN)
        return EC_OK;
    TRY(parser_expect(p, T_COMMA, ") ,"));
    TRY(metric_integer(p, &m->top_n));
    if (p->tok.kind == T_CLOSE_PAREN)
        return EC_OK;
    TRY(parser_expect(p, T_COMMA, ") ,"));
    TRY(metric_integer(p, &m->start_ns));
    TRY(parser_expect(p, T_COMMA, ","));
    return metric_integer(p, &m->end_ns);
}

static enum ec metric_function(struct tql_parser *p, struct tql_metric *m)
{
    for (size_t i = 0; i < ARRAY_LEN(metric_fns); i++)
        if (metric_fns[i].kind == p->tok.kind)
            m->fn = metric_fns[i].fn;
    TRY(parser_advance(p));
    TRY(parser_expect(p, T_OPEN_PAREN, "("));
    if (m->fn == TQL_M_COMPARE) {
        TRY(metric_compare(p, m));
        return parser_expect(p, T_CLOSE_PAREN, ")");
    }
    if (m->fn != TQL_M_RATE && m->fn != TQL_M_COUNT_OVER_TIME)
        TRY(parser_attr(p, &m->attr));
    if (m->fn == TQL_M_QUANTILE_OVER_TIME)
        TRY(metric_quantiles(p, m));
    TRY(parser_expect(p, T_CLOSE_PAREN, m->fn == TQL_M_QUANTILE_OVER_TIME ? ") ," : ")"));
    if (p->tok.kind != T_BY)
        return EC_OK;
    TRY(parser_advance(p));
    return parser_attr_list(p, &m->by, &m->n_by);
}

static enum ec metric_second(struct tql_parser *p, struct tql_second *s)
{
    s->op = parser_compare_op(p->tok.kind);
    TRY(parser_advance(p));
    if (s->op != TQL_OP_NONE) {
        s->kind = TQL_SECOND_COMPARE;
        TRY(parser_number(p, "INTEGER FLOAT DURATION -", &s->value));
        s->number = s->value.type == TQL_FLOAT      ? s->value.f
                    : s->value.type == TQL_DURATION ? (double)s->value.i / 1e9
                                                    : (double)s->value.i;
        return EC_OK;
    }
    bool top = p->tok.kind == T_TOPK;
    if (!top && p->tok.kind != T_BOTTOMK)
        return parser_unexpected(p, "topk bottomk");
    s->kind = top ? TQL_SECOND_TOPK : TQL_SECOND_BOTTOMK;
    TRY(parser_advance(p));
    TRY(parser_expect(p, T_OPEN_PAREN, "("));
    TRY(metric_integer(p, &s->k));
    return parser_expect(p, T_CLOSE_PAREN, ")");
}

enum ec parser_metric(struct tql_parser *p, struct tql_query *q)
{
    struct tql_list list = {0};
    TRY(parser_node(p, sizeof(*q->metric), &q->metric));
    TRY(metric_function(p, q->metric));
    while (p->tok.kind == T_PIPE || parser_compare_op(p->tok.kind) != TQL_OP_NONE) {
        struct tql_second *s;
        if (list.n == TQL_LISTS_MAX)
            return tql_lex_error(&p->lx, "list has more than %u elements", TQL_LISTS_MAX);
        TRY(parser_node(p, sizeof(*s), &s));
        TRY(metric_second(p, s));
        TRY(parser_push(p, &list, s));
    }
    if (list.n == 0)
        return EC_OK;
    q->second = ARENA_ARRAY(p->arena, list.n, struct tql_second);
    if (q->second == NULL)
        return parser_limit(p);
    for (uint32_t i = 0; i < list.n; i++)
        q->second[i] = *(struct tql_second *)list.p[i];
    q->n_second = list.n;
    return EC_OK;
}

/* with(name=value, ...) { with(...) }: the last one counts. */
enum ec parser_hints(struct tql_parser *p, struct tql_query *q)
{
    while (p->tok.kind == T_WITH) {
        struct tql_list list = {0};
        struct tql_hint *h;
        TRY(parser_advance(p));
        TRY(parser_expect(p, T_OPEN_PAREN, "("));
        for (;;) {
            TRY(parser_node(p, sizeof(*h), &h));
            if (p->tok.kind != T_IDENTIFIER)
                return parser_unexpected(p, "IDENTIFIER");
            h->name = arena_str(p->arena, p->tok.text);
            if (h->name.p == NULL)
                return parser_limit(p);
            TRY(parser_advance(p));
            TRY(parser_expect(p, T_EQ, "="));
            bool found;
            TRY(parser_static(p, &found, &h->value));
            if (!found)
                return parser_unexpected(p, NULL);
            if (list.n == TQL_LISTS_MAX)
                return tql_lex_error(&p->lx, "list has more than %u elements", TQL_LISTS_MAX);
            TRY(parser_push(p, &list, h));
            if (p->tok.kind == T_CLOSE_PAREN)
                break;
            TRY(parser_expect(p, T_COMMA, ") ,"));
        }
        TRY(parser_advance(p));
        q->hints = ARENA_ARRAY(p->arena, list.n, struct tql_hint);
        if (q->hints == NULL)
            return parser_limit(p);
        for (uint32_t i = 0; i < list.n; i++)
            q->hints[i] = *(struct tql_hint *)list.p[i];
        q->n_hints = list.n;
    }
    return EC_OK;
}
