/* SPDX-License-Identifier: Apache-2.0
 * Operators on single values: used to fold constants and by the engines for what cannot be
 * vectorised.
 *
 * Decisions of spec traceql.md section 9: numbers compare by value and exactly (Q3), `true || X` is
 * true whatever X is (Q4), 2 ^ 3 is 8 and integer division by zero is nil (Q5). */
#include <math.h>

#include "query/tql.h"

bool tql_type_numeric(enum tql_type t)
{
    return t == TQL_INT || t == TQL_FLOAT || t == TQL_DURATION;
}

double tql_static_number(const struct tql_static *v)
{
    return v->type == TQL_FLOAT                            ? v->f
           : v->type == TQL_INT || v->type == TQL_DURATION ? (double)v->i
                                                           : 0;
}

bool tql_static_true(const struct tql_static *v)
{
    return v->type == TQL_BOOL && v->b;
}

static struct tql_static boolean(bool b)
{
    return (struct tql_static){.type = TQL_BOOL, .b = b};
}

/* Exact order of an integer and a double. */
static int compare_int_float(int64_t i, double f)
{
    if (isnan(f))
        return 2;
    if (f >= 0x1p63)
        return -1;
    if (f < -0x1p63)
        return 1;
    int64_t whole = (int64_t)f; /* toward zero; exact since |f| < 2^63 */
    if (i != whole)
        return i < whole ? -1 : 1;
    double rest = f - (double)whole;
    return rest > 0 ? -1 : rest < 0;
}

int tql_static_compare(const struct tql_static *a, const struct tql_static *b)
{
    bool fa = a->type == TQL_FLOAT, fb = b->type == TQL_FLOAT;
    if (fa && fb)
        return isnan(a->f) || isnan(b->f) ? 2 : a->f < b->f ? -1 : a->f > b->f;
    if (fa) {
        int c = compare_int_float(b->i, a->f);
        return c == 2 ? 2 : -c;
    }
    if (fb)
        return compare_int_float(a->i, b->f);
    return a->i < b->i ? -1 : a->i > b->i;
}

bool tql_static_same(const struct tql_static *a, const struct tql_static *b)
{
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case TQL_STRING:
        return str_eq(a->s, b->s);
    case TQL_BOOL:
        return a->b == b->b;
    case TQL_FLOAT:
        return a->f == b->f || (isnan(a->f) && isnan(b->f));
    case TQL_NIL:
    case TQL_DYNAMIC:
        return true;
    default:
        return a->i == b->i;
    }
}

static bool holds(enum tql_op op, int order)
{
    switch (op) {
    case TQL_OP_EQ:
        return order == 0;
    case TQL_OP_NE:
        return order != 0;
    case TQL_OP_LT:
        return order < 0;
    case TQL_OP_LE:
        return order <= 0;
    case TQL_OP_GT:
        return order > 0;
    case TQL_OP_GE:
        return order >= 0;
    default:
        return false;
    }
}

static uint64_t int_power(uint64_t base, uint64_t exp)
{
    uint64_t v = 1;
    for (; exp != 0; exp >>= 1, base *= base)
        if ((exp & 1) != 0)
            v *= base;
    return v;
}

/* Wraps as two's complement does. False when the result is no integer. */
static bool int_arith(enum tql_op op, int64_t l, int64_t r, int64_t *ret)
{
    uint64_t a = (uint64_t)l, b = (uint64_t)r;
    switch (op) {
    case TQL_OP_ADD:
        *ret = (int64_t)(a + b);
        return true;
    case TQL_OP_SUB:
        *ret = (int64_t)(a - b);
        return true;
    case TQL_OP_MUL:
        *ret = (int64_t)(a * b);
        return true;
    case TQL_OP_DIV:
        if (r != 0)
            *ret = r == -1 ? (int64_t)(0 - a) : l / r;
        return r != 0;
    case TQL_OP_MOD:
        if (r != 0)
            *ret = r == -1 ? 0 : l % r;
        return r != 0;
    default:
        if (r >= 0)
            *ret = (int64_t)int_power(a, b);
        return r >= 0;
    }
}

static struct tql_static arith(
    enum tql_op op, const struct tql_static *l, const struct tql_static *r)
{
    struct tql_static v = {.type = TQL_INT};
    if (l->type == TQL_INT && r->type == TQL_INT) {
        if (int_arith(op, l->i, r->i, &v.i))
            return v;
        if (op != TQL_OP_POW)
            return (struct tql_static){.type = TQL_NIL};
    }
    double a = tql_static_number(l), b = tql_static_number(r);
    v.type = TQL_FLOAT;
    switch (op) {
    case TQL_OP_ADD:
        v.f = a + b;
        break;
    case TQL_OP_SUB:
        v.f = a - b;
        break;
    case TQL_OP_MUL:
        v.f = a * b;
        break;
    case TQL_OP_DIV:
        v.f = a / b;
        break;
    case TQL_OP_MOD:
        v.f = fmod(a, b);
        break;
    default:
        v.f = pow(a, b);
        break;
    }
    return v;
}

static struct tql_static eval_string(
    enum tql_op op, struct str l, struct str r, const struct regex *re)
{
    if (op == TQL_OP_RE || op == TQL_OP_NRE)
        return boolean(re != NULL && regex_match(re, l) == (op == TQL_OP_RE));
    return boolean(tql_op_is_compare(op) && holds(op, str_cmp(l, r)));
}

struct tql_static tql_eval_binary(
    enum tql_op op, const struct tql_static *l, const struct tql_static *r, const struct regex *re)
{
    if (op == TQL_OP_OR)
        return boolean(tql_static_true(l) || tql_static_true(r));
    if (op == TQL_OP_AND)
        return boolean(tql_static_true(l) && tql_static_true(r));
    if (tql_type_numeric(l->type) && tql_type_numeric(r->type)) {
        if (tql_op_is_arith(op))
            return arith(op, l, r);
        int order = tql_static_compare(l, r);
        return boolean(order == 2 ? op == TQL_OP_NE : holds(op, order));
    }
    if (l->type != r->type)
        return boolean(false);
    switch (l->type) {
    case TQL_STRING:
        return eval_string(op, l->s, r->s, re);
    case TQL_BOOL:
        return boolean((op == TQL_OP_EQ && l->b == r->b) || (op == TQL_OP_NE && l->b != r->b));
    case TQL_STATUS:
    case TQL_KIND:
        return boolean((op == TQL_OP_EQ && l->i == r->i) || (op == TQL_OP_NE && l->i != r->i));
    default:
        return boolean(false); /* nil equals nothing, not even nil */
    }
}

bool tql_eval_unary(enum tql_op op, const struct tql_static *v, struct tql_static *ret)
{
    struct tql_static out = *v;
    if (op == TQL_OP_NOT && v->type == TQL_BOOL)
        out.b = !v->b;
    else if (op == TQL_OP_SUB && v->type == TQL_FLOAT)
        out.f = -v->f;
    else if (op == TQL_OP_SUB && tql_type_numeric(v->type))
        out.i = (int64_t)(0 - (uint64_t)v->i);
    else
        return false;
    *ret = out;
    return true;
}
