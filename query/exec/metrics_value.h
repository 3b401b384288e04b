/* SPDX-License-Identifier: Apache-2.0
 * The argument of a metrics function: of one value, and of all observed rows of a group. */
#pragma once

#include "eval.h"
#include "metrics_frame.h"

/* Quantiles and histograms: an observation is an exponent. */
bool metric_has_buckets(enum tql_metric_fn fn);
/* The value as a number (durations of spans in seconds); *ret_exp, when the function has buckets,
 * is the exponent of the smallest power of two that is not below it. False: nothing to observe. */
bool metric_argument(
    const struct tql_metric *m, const struct qval *v, double *ret, uint32_t *ret_exp);
#define METRIC_EXPONENTS 65u

enum value_kind {
    VALUE_COL_NONE, /* the function has no argument */
    VALUE_COL_DURATION,
    VALUE_COL_COLUMNS, /* span columns over a value of the resource or scope */
    VALUE_COL_ROWS,    /* whatever eval_attr says, row by row */
};
struct value_col {
    enum value_kind kind;
    const struct tql_metric *m;
    bool buckets;
    uint32_t slots[VALUE_TYPES];
    bool any_slot;
    const struct qval *wide; /* by resource or scope row; NULL: none has the key */
    col_id wide_col;
    uint32_t n_wide;
    double *values; /* by row; with buckets: exps instead */
    uint32_t *exps;
};
/* Binds the argument to source 0 of ev. n_rows: of the largest group. */
enum ec value_col_init(struct value_col *c, struct eval *ev, const struct tql_metric *m,
    uint32_t n_rows, struct arena *a, struct err *err) MUST_USE;
/* Values of the observed rows; rows without one leave the frame. VALUE_COL_ROWS: the frame is the
 * current trace of ev (frame_trace). */
enum ec value_col_fill(struct value_col *c, struct eval *ev, struct frame *f, struct err *err)
    MUST_USE;
