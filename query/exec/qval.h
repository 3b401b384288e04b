/* SPDX-License-Identifier: Apache-2.0
 * Run-time values of TraceQL and their operators (spec traceql.md 4.3, 4.4 and the decisions of
 * section 9). */
#pragma once

#include "model/value.h"
#include "query/tql.h"

enum qval_kind {
    QV_NIL, /* the key is absent */
    /* the key is there, but its value compares with nothing: empty or mixed arrays, bytes,
     * kvlists */
    QV_OPAQUE,
    QV_INT,
    QV_FLOAT,
    QV_STRING,
    QV_BOOL,
    QV_DURATION,
    QV_STATUS,
    QV_KIND,
    QV_ARRAY, /* s: encoded ArrayValue with >= 2 elements of one scalar type */
};

struct qval {
    enum qval_kind kind;
    union {
        int64_t i; /* INT, DURATION, STATUS, KIND */
        double f;
        bool b;
        struct str s; /* STRING, ARRAY */
    };
};

#define QVAL_NIL ((struct qval){.kind = QV_NIL})
static inline struct qval qval_int(int64_t i)
{
    return (struct qval){.kind = QV_INT, .i = i};
}
static inline struct qval qval_bool(bool b)
{
    return (struct qval){.kind = QV_BOOL, .b = b};
}
static inline struct qval qval_str(struct str s)
{
    return (struct qval){.kind = QV_STRING, .s = s};
}
static inline struct qval qval_duration(uint64_t ns)
{
    return (struct qval){.kind = QV_DURATION, .i = (int64_t)MIN(ns, (uint64_t)INT64_MAX)};
}
static inline bool qval_numeric(const struct qval *v)
{
    return v->kind == QV_INT || v->kind == QV_FLOAT || v->kind == QV_DURATION;
}
static inline bool qval_true(const struct qval *v)
{
    return v->kind == QV_BOOL && v->b;
}
static inline bool qval_has(const struct qval *v) /* `!= nil` */
{
    return v->kind != QV_NIL && v->kind != QV_OPAQUE;
}

struct qval qval_of_static(const struct tql_static *s);
/* A stored attribute value. Arrays: one element is the scalar; see QV_OPAQUE and QV_ARRAY. */
struct qval qval_of_value(const struct value *v);
double qval_number(const struct qval *v); /* numeric kinds only */
/* Numeric order, exact also between int64 and double. NaN compares unequal: *ret_ordered false. */
int qval_cmp_num(const struct qval *a, const struct qval *b, bool *ret_ordered);

/* a op b for EQ NE LT LE GT GE on scalars: false for nil, opaque and mismatched types. */
bool qval_compare(enum tql_op op, const struct qval *a, const struct qval *b);
/* a =~ / !~: false unless a is a string. */
bool qval_match(enum tql_op op, const struct qval *a, const struct regex *re);
/* Arithmetic: wraps for int, double otherwise; integer division by zero is nil; a mismatch is bool
 * false. False when an operand is an array (a run-time error). */
bool qval_arith(enum tql_op op, const struct qval *a, const struct qval *b, struct qval *ret);

/* `v op literals` of one leaf: op EQ NE LT LE GT GE RE NRE with one literal, or a set (n > 1: EQ,
 * RE any of them; NE, NRE none of them, on arrays an element outside). Arrays by element: any
 * element for all operators, but when `whole` (the entire array is visible) NE and NRE mean no
 * element. */
struct qval_leaf {
    enum tql_op op;
    const struct qval *literals;
    const struct regex *const *regexes; /* RE, NRE */
    uint32_t n;
    bool whole;
};
bool qval_leaf_match(const struct qval_leaf *leaf, const struct qval *v);

/* Total order for grouping and sorting: by kind, then value. Equal means same group. */
int qval_order(const struct qval *a, const struct qval *b);
uint64_t qval_hash(const struct qval *v);
/* The form in which search answers show it (spec 4.8): durations, status and kind as text, nil as
 * "nil". Text goes to the arena; strings are copied too. False when the arena refuses. */
bool qval_result(const struct qval *v, struct arena *a, struct value *ret) MUST_USE;
