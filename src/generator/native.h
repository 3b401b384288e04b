/* SPDX-License-Identifier: Apache-2.0
 * Native (sparse, exponential) histograms of Prometheus: schema s has 2^s buckets for each power of
 * two, bucket i holds (2^((i-1)/2^s), 2^(i/2^s)]. Values of ours are never negative. Source of the
 * numbers: spec metrics-generator.md 7.1. */
#pragma once

#include "base/buf.h"
#include "model/ids.h"

#define NATIVE_EXEMPLARS       10
#define NATIVE_EXEMPLAR_TTL_MS (5 * 60 * 1000)

struct native_bucket {
    int32_t index;
    uint64_t count;
};
struct native_exemplar {
    struct trace_id trace;
    double value;
    int64_t time_ms;
};
struct native {
    int schema;
    uint64_t count, zero_count;
    double sum;
    struct native_bucket *buckets; /* ascending by index */
    uint32_t n, cap;
    int64_t reset_ms;    /* when it began */
    int64_t reset_at_ms; /* a reset is due then; 0: none */
    struct native_exemplar exemplars[NATIVE_EXEMPLARS];
    uint32_t n_exemplars;
};
struct native_limits {
    double factor;
    uint32_t buckets_max; /* 0: no limit */
    int64_t min_reset_ms;
};

struct native *native_new(const struct native_limits *l, int64_t now_ms);
void native_free(struct native *n);
/* One observation `times` times (a multiplier is rounded up). */
void native_observe(struct native *n, const struct native_limits *l, double v, uint64_t times,
    const struct trace_id *trace, int64_t now_ms);
/* The fields of prometheus.Histogram, without field number and length. */
void native_encode(const struct native *n, int64_t time_ms, struct buf *out);
int native_schema(double factor);
