/* SPDX-License-Identifier: Apache-2.0
 * Values and operators. */
#include "qval.h"

#include <math.h>

#include "base/hash.h"
#include "query/format.h"

struct qval qval_of_static(const struct tql_static *s)
{
    switch (s->type) {
    case TQL_INT:
        return qval_int(s->i);
    case TQL_FLOAT:
        return (struct qval){.kind = QV_FLOAT, .f = s->f};
    case TQL_STRING:
        return qval_str(s->s);
    case TQL_BOOL:
        return qval_bool(s->b);
    case TQL_DURATION:
        return (struct qval){.kind = QV_DURATION, .i = s->i};
    case TQL_STATUS:
        return (struct qval){.kind = QV_STATUS, .i = s->i};
    case TQL_KIND:
        return (struct qval){.kind = QV_KIND, .i = s->i};
    default:
        return QVAL_NIL;
    }
}

static bool scalar_of(const struct value *v, struct qval *ret)
{
    switch (v->type) {
    case VALUE_STR:
        *ret = qval_str(v->s);
        return true;
    case VALUE_INT:
        *ret = qval_int(v->i);
        return true;
    case VALUE_DOUBLE:
        *ret = (struct qval){.kind = QV_FLOAT, .f = v->d};
        return true;
    case VALUE_BOOL:
        *ret = qval_bool(v->b);
        return true;
    default:
        return false;
    }
}

struct qval qval_of_value(const struct value *v)
{
    struct qval ret;
    if (scalar_of(v, &ret))
        return ret;
    if (v->type != VALUE_ARRAY)
        return (struct qval){.kind = QV_OPAQUE};
    const char *cursor = NULL;
    struct value e;
    struct qval first, one;
    uint32_t n = 0;
    while (value_array_next(v->s, &cursor, &e)) {
        if (!scalar_of(&e, &one) || (n > 0 && one.kind != first.kind))
            return (struct qval){.kind = QV_OPAQUE};
        if (n++ == 0)
            first = one;
    }
    if (n == 0)
        return (struct qval){.kind = QV_OPAQUE};
    return n == 1 ? first : (struct qval){.kind = QV_ARRAY, .s = v->s};
}

double qval_number(const struct qval *v)
{
    return v->kind == QV_FLOAT ? v->f : (double)v->i;
}

/* Exact order of an integer and a double. */
static int cmp_int_double(int64_t i, double d)
{
    if (d >= 9223372036854775808.0)
        return -1;
    if (d < -9223372036854775808.0)
        return 1;
    int64_t t = (int64_t)d; /* truncates toward zero, exact in this range */
    if (i != t)
        return i < t ? -1 : 1;
    double frac = d - (double)t;
    return frac > 0 ? -1 : frac < 0;
}

int qval_cmp_num(const struct qval *a, const struct qval *b, bool *ret_ordered)
{
    bool fa = a->kind == QV_FLOAT, fb = b->kind == QV_FLOAT;
    *ret_ordered = !(fa && isnan(a->f)) && !(fb && isnan(b->f));
    if (!*ret_ordered)
        return 1;
    if (fa && fb)
        return a->f < b->f ? -1 : a->f > b->f;
    if (fa)
        return -cmp_int_double(b->i, a->f);
    if (fb)
        return cmp_int_double(a->i, b->f);
    return a->i < b->i ? -1 : a->i > b->i;
}

static bool by_order(enum tql_op op, int c)
{
    switch (op) {
    case TQL_OP_EQ:
        return c == 0;
    case TQL_OP_NE:
        return c != 0;
    case TQL_OP_LT:
        return c < 0;
    case TQL_OP_LE:
        return c <= 0;
    case TQL_OP_GT:
        return c > 0;
    case TQL_OP_GE:
        return c >= 0;
    default:
        return false;
    }
}

bool qval_compare(enum tql_op op, const struct qval *a, const struct qval *b)
{
    if (qval_numeric(a) && qval_numeric(b)) {
        bool ordered;
        int c = qval_cmp_num(a, b, &ordered);
        return ordered ? by_order(op, c) : op == TQL_OP_NE;
    }
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case QV_STRING:
        return by_order(op, str_cmp(a->s, b->s));
    case QV_BOOL:
        return (op == TQL_OP_EQ || op == TQL_OP_NE) && by_order(op, a->b != b->b);
    case QV_STATUS:
    case QV_KIND:
        return (op == TQL_OP_EQ || op == TQL_OP_NE) && by_order(op, a->i != b->i);
    default:
        return false;
    }
}

bool qval_match(enum tql_op op, const struct qval *a, const struct regex *re)
{
    return a->kind == QV_STRING && regex_match(re, a->s) == (op == TQL_OP_RE);
}

static int64_t int_pow(int64_t base, int64_t exp)
{
    if (exp < 0) { /* as Go's conversion of math.Pow to int: truncates */
        double v = pow((double)base, (double)exp);
        return isfinite(v) && fabs(v) < 9e18 ? (int64_t)v : INT64_MIN;
    }
    uint64_t r = 1, b = (uint64_t)base;
    for (; exp != 0; exp >>= 1, b *= b)
        if ((exp & 1) != 0)
            r *= b;
    return (int64_t)r;
}

static struct qval int_arith(enum tql_op op, int64_t a, int64_t b)
{
    switch (op) {
    case TQL_OP_ADD:
        return qval_int((int64_t)((uint64_t)a + (uint64_t)b));
    case TQL_OP_SUB:
        return qval_int((int64_t)((uint64_t)a - (uint64_t)b));
    case TQL_OP_MUL:
        return qval_int((int64_t)((uint64_t)a * (uint64_t)b));
    case TQL_OP_DIV:
        if (b == 0)
            return QVAL_NIL;
        return b == -1 ? qval_int((int64_t)(0 - (uint64_t)a)) : qval_int(a / b);
    case TQL_OP_MOD:
        if (b == 0)
            return QVAL_NIL;
        return b == -1 ? qval_int(0) : qval_int(a % b);
    default:
        return qval_int(int_pow(a, b));
    }
}

static double double_arith(enum tql_op op, double a, double b)
{
    switch (op) {
    case TQL_OP_ADD:
        return a + b;
    case TQL_OP_SUB:
        return a - b;
    case TQL_OP_MUL:
        return a * b;
    case TQL_OP_DIV:
        return a / b;
    case TQL_OP_MOD:
        return fmod(a, b);
    default:
        return pow(a, b);
    }
}

bool qval_arith(enum tql_op op, const struct qval *a, const struct qval *b, struct qval *ret)
{
    if (a->kind == QV_ARRAY || b->kind == QV_ARRAY)
        return false;
    if (!qval_numeric(a) || !qval_numeric(b))
        *ret = qval_has(a) && qval_has(b) ? qval_bool(false) : QVAL_NIL;
    else if (a->kind == QV_INT && b->kind == QV_INT)
        *ret = int_arith(op, a->i, b->i);
    else
        *ret =
            (struct qval){.kind = QV_FLOAT, .f = double_arith(op, qval_number(a), qval_number(b))};
    return true;
}

/* One scalar against the leaf's literals. */
static bool leaf_scalar(const struct qval_leaf *l, const struct qval *v)
{
    if (l->n == 1) {
        if (l->regexes != NULL)
            return qval_match(l->op, v, l->regexes[0]);
        return qval_compare(l->op, v, &l->literals[0]);
    }
    bool any_of = l->op == TQL_OP_EQ || l->op == TQL_OP_RE;
    for (uint32_t i = 0; i < l->n; i++) {
        bool hit = l->regexes != NULL ? qval_match(l->op, v, l->regexes[i])
                                      : qval_compare(l->op, v, &l->literals[i]);
        if (hit == any_of) /* in the set: done; or one of the negations fails */
            return any_of;
    }
    return !any_of;
}

bool qval_leaf_match(const struct qval_leaf *l, const struct qval *v)
{
    if (v->kind != QV_ARRAY)
        return qval_has(v) && leaf_scalar(l, v);
    bool none = l->whole && l->n == 1 && (l->op == TQL_OP_NE || l->op == TQL_OP_NRE);
    const char *cursor = NULL;
    for (struct value e; value_array_next(v->s, &cursor, &e);) {
        struct qval one = qval_of_value(&e);
        bool hit = leaf_scalar(l, &one);
        if (none && !hit)
            return false;
        if (!none && hit)
            return true;
    }
    return none;
}

int qval_order(const struct qval *a, const struct qval *b)
{
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    switch (a->kind) {
    case QV_NIL:
    case QV_OPAQUE:
        return 0;
    case QV_STRING:
    case QV_ARRAY:
        return str_cmp(a->s, b->s);
    case QV_FLOAT:
        if (isnan(a->f) || isnan(b->f))
            return (int)isnan(a->f) - (int)isnan(b->f);
        return a->f < b->f ? -1 : a->f > b->f;
    case QV_BOOL:
        return (int)a->b - (int)b->b;
    default:
        return a->i < b->i ? -1 : a->i > b->i;
    }
}

uint64_t qval_hash(const struct qval *v)
{
    switch (v->kind) {
    case QV_STRING:
    case QV_ARRAY:
        return hash64_seed(v->s.p, v->s.n, v->kind);
    case QV_BOOL:
        return hash_mix((uint64_t)v->kind << 8 | v->b);
    case QV_NIL:
    case QV_OPAQUE:
        return hash_mix(v->kind);
    default:
        return hash_mix((uint64_t)v->i ^ ((uint64_t)v->kind << 56));
    }
}

bool qval_result(const struct qval *v, struct arena *a, struct value *ret)
{
    char text[FORMAT_DURATION_MAX];
    struct str s = STR("nil");
    switch (v->kind) {
    case QV_INT:
        *ret = (struct value){.type = VALUE_INT, .i = v->i};
        return true;
    case QV_FLOAT:
        *ret = (struct value){.type = VALUE_DOUBLE, .d = v->f};
        return true;
    case QV_BOOL:
        *ret = (struct value){.type = VALUE_BOOL, .b = v->b};
        return true;
    case QV_STRING:
    case QV_ARRAY:
        s = v->s;
        break;
    case QV_DURATION:
        s = str_n(text, format_duration(text, v->i));
        break;
    case QV_STATUS:
        s = str_from(tql_status_text(v->i));
        break;
    case QV_KIND:
        s = str_from(tql_kind_text(v->i));
        break;
    default:
        break;
    }
    *ret =
        (struct value){.type = v->kind == QV_ARRAY ? VALUE_ARRAY : VALUE_STR, .s = arena_str(a, s)};
    return ret->s.p != NULL;
}
