/* SPDX-License-Identifier: Apache-2.0
 * Accumulators: cells per series and time bucket, found by label values. One thread at a time;
 * workers fill their own and acc_merge adds them up. Everything lives in the given arena. */
#pragma once

#include "query/exec.h"
#include "qval.h"

#define ACC_LABELS_MAX 6 /* five of by() and one more: histogram bucket; compare uses three */

enum acc_kind { ACC_COUNT, ACC_MIN, ACC_MAX, ACC_SUM, ACC_AVG };

#define ACC_FEW 4

struct acc_series {
    struct qval *labels; /* n_labels of the accumulator */
    uint64_t hash;
    double *v;     /* count, minimum, maximum or sum; MIN, MAX, SUM: NaN until something was seen */
    double *comp;  /* SUM, AVG: compensation of the sum */
    double *count; /* AVG: observations */
    /* Sparse counts: the first few buckets, until they do not suffice and v is made. */
    uint32_t few_bucket[ACC_FEW], few_count[ACC_FEW];
    uint32_t n_few;
};

struct acc {
    struct arena *arena;
    enum acc_kind kind;
    uint32_t n_buckets, n_labels;
    bool sparse; /* COUNT with many series, most of them in few buckets: acc_count adds */
    struct acc_series **series; /* in order of appearance */
    uint32_t n, cap;
    uint32_t *slots; /* 1 + index into series; 0: free */
    uint32_t n_slots;
};

void acc_init(
    struct acc *a, struct arena *arena, enum acc_kind kind, uint32_t n_buckets, uint32_t n_labels);
/* Label strings are copied for a new series. EC_LIMIT when the arena refuses. */
enum ec acc_series(
    struct acc *a, const struct qval *labels, struct acc_series **ret, struct err *err) MUST_USE;
void acc_add(const struct acc *a, struct acc_series *s, uint32_t bucket, double value);
struct acc_cell { /* what n >= 1 observations of one bucket came to */
    uint64_t n;
    double v, comp; /* minimum, maximum, sum; compensation of the sum */
};
void acc_add_cell(
    const struct acc *a, struct acc_series *s, uint32_t bucket, const struct acc_cell *cell);
/* Counts one in a sparse accumulator. */
enum ec acc_count(struct acc *a, struct acc_series *s, uint32_t bucket, struct err *err) MUST_USE;
enum ec acc_merge(struct acc *into, const struct acc *from, struct err *err) MUST_USE;
/* The sample of a bucket; NaN: none. */
double acc_sample(const struct acc *a, const struct acc_series *s, uint32_t bucket);
