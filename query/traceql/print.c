/* SPDX-License-Identifier: Apache-2.0
 * Canonical text. INVARIANT: what is printed from a parsed query parses to the same tree
 * (fuzz_tql_parse and the golden tests defend it), so parentheses stand around every operand that
 * is not a leaf, and around negative numbers where the minus would reach further than the
 * number. */
#include <math.h>

#include "query/format.h"
#include "query/tql.h"

/* Backticks when the text can stand in them, else a quoted string with escapes. */
static void print_string(struct buf *out, struct str s)
{
    bool raw = str_utf8_valid(s);
    for (size_t i = 0; i < s.n && raw; i++)
        raw = s.p[i] != '`' && s.p[i] != '\r' && s.p[i] != 0;
    if (raw) {
        buf_putc(out, '`');
        buf_puts(out, s);
        buf_putc(out, '`');
        return;
    }
    bool utf8 = str_utf8_valid(s);
    buf_putc(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = (uint8_t)s.p[i];
        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c < 0x20 || c == 0x7f || (c >= 0x80 && !utf8))
            buf_printf(out, "\\x%02x", c);
        else
            buf_putc(out, (char)c);
    }
    buf_putc(out, '"');
}

static void print_float(struct buf *out, double v)
{
    char text[FORMAT_FLOAT_MAX];
    size_t n = format_float_g(text, v);
    buf_put(out, text, n);
    if (isfinite(v) && memchr(text, '.', n) == NULL && memchr(text, 'e', n) == NULL)
        buf_putz(out, ".0");
}

void tql_print_static(struct buf *out, const struct tql_static *v)
{
    char text[FORMAT_DURATION_MAX];
    switch (v->type) {
    case TQL_INT:
        if (v->i == INT64_MIN)
            buf_putz(out, "minInt"); /* no literal reads as this number */
        else
            buf_printf(out, "%lld", (long long)v->i);
        return;
    case TQL_FLOAT:
        print_float(out, v->f);
        return;
    case TQL_STRING:
        print_string(out, v->s);
        return;
    case TQL_BOOL:
        buf_putz(out, v->b ? "true" : "false");
        return;
    case TQL_DURATION:
        buf_put(out, text, format_duration(text, v->i));
        return;
    case TQL_STATUS:
        buf_putz(out, tql_status_text(v->i));
        return;
    case TQL_KIND:
        buf_putz(out, tql_kind_text(v->i));
        return;
    case TQL_NIL:
    case TQL_DYNAMIC:
        buf_putz(out, "nil");
        return;
    }
}

void tql_print_attr(struct buf *out, const struct tql_attr *attr)
{
    buf_puts(out, attr->text);
}

/* ---- field expressions ---- */
static bool negative(const struct tql_static *v)
{
    return ((v->type == TQL_INT || v->type == TQL_DURATION) && v->i < 0 && v->i != INT64_MIN) ||
           (v->type == TQL_FLOAT && signbit(v->f));
}

static bool binds_tight(enum tql_op op)
{
    return op == TQL_OP_MUL || op == TQL_OP_DIV || op == TQL_OP_MOD || op == TQL_OP_POW;
}

static bool expr_leaf(const struct tql_expr *e)
{
    return e->kind == TQL_E_STATIC || e->kind == TQL_E_ATTR;
}

static void print_operand(struct buf *out, const struct tql_expr *e, bool paren)
{
    if (paren)
        buf_putc(out, '(');
    tql_print_expr(out, e);
    if (paren)
        buf_putc(out, ')');
}

enum tql_op tql_op_mirrored(enum tql_op op)
{
    switch (op) {
    case TQL_OP_LT:
        return TQL_OP_GT;
    case TQL_OP_LE:
        return TQL_OP_GE;
    case TQL_OP_GT:
        return TQL_OP_LT;
    case TQL_OP_GE:
        return TQL_OP_LE;
    default:
        return op;
    }
}

static void print_binary(struct buf *out, const struct tql_expr *e)
{
    const struct tql_expr *l = e->flipped ? e->rhs : e->lhs, *r = e->flipped ? e->lhs : e->rhs;
    enum tql_op op = e->flipped ? tql_op_mirrored(e->op) : e->op;
    bool minus = l->kind == TQL_E_STATIC && binds_tight(op) && negative(&l->value);
    print_operand(out, l, !expr_leaf(l) || minus);
    buf_printf(out, " %s ", tql_op_text(op));
    print_operand(out, r, !expr_leaf(r));
}

/* The chain that the set was made from: with parentheses from the left, as any other operator; long
 * ones flat, since as deep a nesting would not parse. */
#define SET_NESTED_MAX 32u
static void print_set(struct buf *out, const struct tql_expr *e)
{
    const char *join = e->op == TQL_OP_EQ || e->op == TQL_OP_RE ? "||" : "&&";
    bool nested = e->n_values <= SET_NESTED_MAX;
    for (uint32_t i = 2; nested && i < e->n_values; i++)
        buf_putc(out, '(');
    for (uint32_t i = 0; i < e->n_values; i++) {
        if (i > 0)
            buf_printf(out, " %s ", join);
        buf_putc(out, '(');
        tql_print_attr(out, e->attr);
        buf_printf(out, " %s ", tql_op_text(e->op));
        tql_print_static(out, &e->values[i]);
        buf_putc(out, ')');
        if (nested && i > 0 && i + 1 < e->n_values)
            buf_putc(out, ')');
    }
}

void tql_print_expr(struct buf *out, const struct tql_expr *e)
{
    switch (e->kind) {
    case TQL_E_STATIC:
        tql_print_static(out, &e->value);
        return;
    case TQL_E_ATTR:
        tql_print_attr(out, e->attr);
        return;
    case TQL_E_UNARY:
        buf_putz(out, tql_op_text(e->op));
        print_operand(out, e->lhs, !expr_leaf(e->lhs));
        return;
    case TQL_E_BINARY:
        print_binary(out, e);
        return;
    case TQL_E_EXISTS:
    case TQL_E_ABSENT:
        print_operand(out, e->lhs, !expr_leaf(e->lhs));
        buf_putz(out, e->kind == TQL_E_EXISTS ? " != nil" : " = nil");
        return;
    case TQL_E_SET:
        print_set(out, e);
        return;
    }
}

/* ---- scalars, spansets, pipelines ---- */
static void print_scalar_operand(struct buf *out, const struct tql_scalar *s)
{
    bool paren = s->kind == TQL_SC_ARITH;
    if (paren)
        buf_putc(out, '(');
    tql_print_scalar(out, s);
    if (paren)
        buf_putc(out, ')');
}

void tql_print_scalar(struct buf *out, const struct tql_scalar *s)
{
    switch (s->kind) {
    case TQL_SC_STATIC:
        tql_print_static(out, &s->value);
        return;
    case TQL_SC_AGGREGATE:
        buf_printf(out, "%s(", tql_agg_text(s->agg));
        if (s->arg != NULL)
            tql_print_expr(out, s->arg);
        buf_putc(out, ')');
        return;
    case TQL_SC_ARITH:
        print_scalar_operand(out, s->lhs);
        buf_printf(out, " %s ", tql_op_text(s->op));
        print_scalar_operand(out, s->rhs);
        return;
    case TQL_SC_PIPELINE:
        buf_putc(out, '(');
        tql_print_pipeline(out, s->pipeline);
        buf_putz(out, " | ");
        tql_print_scalar(out, s->lhs);
        buf_putc(out, ')');
        return;
    }
}

static void print_filter(struct buf *out, const struct tql_expr *e)
{
    buf_putz(out, "{ ");
    tql_print_expr(out, e);
    buf_putz(out, " }");
}

/* Operands always stand in parentheses: a wrapped pipeline combines only with such. */
static void print_spanset(struct buf *out, const struct tql_spanset *ss)
{
    if (ss->kind == TQL_SS_FILTER) {
        print_filter(out, ss->filter);
    } else if (ss->kind == TQL_SS_PIPELINE) {
        tql_print_pipeline(out, ss->pipeline);
    } else {
        buf_putc(out, '(');
        print_spanset(out, ss->lhs);
        buf_printf(out, ") %s (", tql_op_text(ss->op));
        print_spanset(out, ss->rhs);
        buf_putc(out, ')');
    }
}

static void print_attrs(struct buf *out, const struct tql_attr *const *attrs, uint32_t n)
{
    buf_putc(out, '(');
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0)
            buf_putz(out, ", ");
        tql_print_attr(out, attrs[i]);
    }
    buf_putc(out, ')');
}

static void print_stage(struct buf *out, const struct tql_stage *s)
{
    switch (s->kind) {
    case TQL_STAGE_SPANSET: {
        bool wrapped = s->spanset->kind == TQL_SS_PIPELINE;
        buf_putz(out, wrapped ? "(" : "");
        print_spanset(out, s->spanset);
        buf_putz(out, wrapped ? ")" : "");
        return;
    }
    case TQL_STAGE_SCALAR:
        print_scalar_operand(out, s->lhs);
        buf_printf(out, " %s ", tql_op_text(s->op));
        print_scalar_operand(out, s->rhs);
        return;
    case TQL_STAGE_GROUP:
        buf_putz(out, "by(");
        tql_print_expr(out, s->expr);
        buf_putc(out, ')');
        return;
    case TQL_STAGE_SELECT:
        buf_putz(out, "select");
        print_attrs(out, s->attrs, s->n_attrs);
        return;
    case TQL_STAGE_COALESCE:
        buf_putz(out, "coalesce()");
        return;
    }
}

void tql_print_pipeline(struct buf *out, const struct tql_pipeline *p)
{
    for (uint32_t i = 0; i < p->n_stages; i++) {
        if (i > 0)
            buf_putz(out, " | ");
        print_stage(out, &p->stages[i]);
    }
}

/* ---- queries ---- */
static void print_metric(struct buf *out, const struct tql_metric *m)
{
    buf_printf(out, "%s(", tql_metric_text(m->fn));
    if (m->attr != NULL)
        tql_print_attr(out, m->attr);
    for (uint32_t i = 0; i < m->n_quantiles; i++) {
        buf_putz(out, ", ");
        print_float(out, m->quantiles[i]);
    }
    if (m->fn == TQL_M_COMPARE) {
        print_filter(out, m->filter);
        buf_printf(out, ", %lld", (long long)m->top_n);
        if (m->start_ns != 0 || m->end_ns != 0)
            buf_printf(out, ", %lld, %lld", (long long)m->start_ns, (long long)m->end_ns);
    }
    buf_putc(out, ')');
    if (m->n_by > 0) {
        buf_putz(out, " by ");
        print_attrs(out, m->by, m->n_by);
    }
}

static void print_second(struct buf *out, const struct tql_second *s)
{
    if (s->kind == TQL_SECOND_COMPARE) {
        buf_printf(out, " %s ", tql_op_text(s->op));
        tql_print_static(out, &s->value);
    } else {
        buf_printf(
            out, " | %s(%lld)", s->kind == TQL_SECOND_TOPK ? "topk" : "bottomk", (long long)s->k);
    }
}

void tql_print_query(struct buf *out, const struct tql_query *q)
{
    tql_print_pipeline(out, q->pipeline);
    if (q->metric != NULL) {
        buf_putz(out, " | ");
        print_metric(out, q->metric);
    }
    for (uint32_t i = 0; i < q->n_second; i++)
        print_second(out, &q->second[i]);
    for (uint32_t i = 0; i < q->n_hints; i++) {
        buf_putz(out, i == 0 ? " with(" : ", ");
        buf_printf(out, STR_FMT "=", STR_ARG(q->hints[i].name));
        tql_print_static(out, &q->hints[i].value);
        if (i + 1 == q->n_hints)
            buf_putc(out, ')');
    }
}
