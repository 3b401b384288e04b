/* SPDX-License-Identifier: Apache-2.0
 * Pipelines over one assembled trace: spansets in, spansets out (spec traceql.md 4.5 - 4.7). */
#pragma once

#include "eval.h"

struct sset_attr { /* what an aggregate or by() leaves on a spanset */
    struct str key;
    struct qval value;
};

struct sset {
    uint32_t *rows; /* indexes into the trace's rows, evaluation order, distinct */
    uint32_t n;
    struct sset_attr *attrs;
    uint32_t n_attrs;
};

struct sset_list {
    struct sset *p;
    uint32_t n;
};

/* Runs the query's pipeline over the current trace. n == 0: the trace is not in the result. */
enum ec pipeline_run(struct eval *ev, struct sset_list *ret, struct err *err) MUST_USE;
enum ec pipeline_stages(struct eval *ev, const struct tql_pipeline *p, struct sset_list in,
    struct sset_list *ret, struct err *err) MUST_USE;

/* One spanset expression on one input; ret->n == 0: nothing. Attributes of the input are kept. */
enum ec spanset_eval(struct eval *ev, const struct tql_spanset *x, const struct sset *in,
    struct sset *ret, struct err *err) MUST_USE;
/* L op R for the structural operators. */
enum ec structural_eval(struct eval *ev, enum tql_op op, const struct sset *l, const struct sset *r,
    struct sset *ret, struct err *err) MUST_USE;
/* Union without duplicates, the smaller side first (ties: the right one). */
enum ec sset_union(struct eval *ev, const struct sset *l, const struct sset *r, struct sset *ret,
    struct err *err) MUST_USE;

/* Splits one spanset by the value of an expression; groups in order of first appearance. out has
 * room for in->n. */
enum ec group_stage(struct eval *ev, const struct tql_stage *st, const struct sset *in,
    struct sset *out, uint32_t *ret_n, struct err *err) MUST_USE;

/* Value of a scalar expression over a spanset; *ret_has false: nothing to compute it from.
 * Aggregates append their attribute to attrs (room for all of the stage's). */
enum ec scalar_eval(struct eval *ev, const struct tql_scalar *s, const struct sset *in,
    struct qval *ret, bool *ret_has, struct sset_attr *attrs, uint32_t *n_attrs, struct err *err)
    MUST_USE;
uint32_t scalar_aggregates(const struct tql_scalar *s);
