/* SPDX-License-Identifier: Apache-2.0
 * TraceQL metrics: a metrics query over snapshots -> series of numbers (spec traceql.md 5).
 *
 * Runs on the calling thread and on pool threads. Memory of series is charged to ctx->budget.
 * Queries whose filter and labels depend on one span alone are answered column by column, without
 * assembling traces, but for the traces of which several parts hold spans. All others evaluate
 * whole traces. A span that was stored twice (a client retried it) counts once either way. */
#pragma once

#include "query/exec.h"

#define METRICS_EXEMPLARS_MAX 100u

struct metrics_request {
    const struct tql_query *q; /* q->metric != NULL */
    uint64_t start_ns, end_ns; /* start <= end */
    uint64_t step_ns;          /* range mode: >= 1 */
    uint64_t cutoff_ns;        /* range mode: ends after this are lowered to a step edge; 0: none */
    bool instant;              /* one bucket [start, end], no alignment */
    uint32_t exemplars;        /* 0: none; at most METRICS_EXEMPLARS_MAX */
    uint32_t max_series;       /* 0: no cap */
};

struct metrics_exemplar {
    const struct result_attr *labels;
    uint32_t n_labels;
    double value;
    uint64_t start_ns;
};

struct metrics_series {
    const struct result_attr *labels; /* STR, INT, DOUBLE, BOOL */
    uint32_t n_labels;
    double *values;                     /* per bucket; NaN: no sample */
    struct metrics_exemplar *exemplars; /* ascending by time */
    uint32_t n_exemplars;
};

struct metrics_result {
    struct metrics_series *series; /* in answer order */
    size_t n;
    uint32_t n_buckets;
    uint64_t first_ns, step_ns; /* sample time of bucket i: first_ns + i * step_ns */
    bool truncated;             /* max_series was reached */
    struct query_stats stats;
};

/* Steps over end - start as Tempo chooses them when the request names none. */
uint64_t metrics_default_step(uint64_t range_ns);
enum ec query_metrics(const struct query_ctx *ctx, const struct metrics_request *req,
    struct metrics_result *ret, struct err *err) MUST_USE;
