/* SPDX-License-Identifier: Apache-2.0
 * From spans to accumulators. A collector belongs to one thread: it has its own readers, evaluator,
 * arena and accumulator. */
#pragma once

#include "candidates.h"
#include "metrics_acc.h"
#include "query/metrics.h"
#include "spanset.h"

struct grid { /* buckets (start + i * step, start + (i + 1) * step]; instant: one, [start, end] */
    uint64_t start_ns, end_ns, step_ns;
    uint32_t n;
    bool instant;
};
/* Bucket of a start time; false: outside. */
bool grid_bucket(const struct grid *g, uint64_t t_ns, uint32_t *ret);

struct pick { /* an exemplar while it is being collected */
    struct trace_id id;
    uint64_t start_ns;
    double value;     /* NaN: that of the sample */
    struct qval *key; /* labels of its series, without the quantile */
    struct result_attr *labels;
    uint32_t n_labels;
};

struct collector {
    const struct query_ctx *ctx;
    const struct metrics_request *req;
    const struct tql_metric *m;
    struct grid grid;
    struct arena arena, scratch;
    struct source *sources;
    size_t n_sources;
    struct eval ev;
    struct acc acc;
    struct pick *picks;
    uint32_t n_picks;
    uint8_t slices[METRICS_EXEMPLARS_MAX];
    struct scan *scan;
    struct candidates cands;
    struct query_stats stats;
    uint32_t n_damaged;            /* parts that could not be read in full */
    struct compare_part *compare;  /* per source; NULL until compare() needs it */
    struct metrics_teller *teller; /* by span: told of each group; NULL: nobody listens */
    enum ec ec;
    struct err err;
};

void collector_init(struct collector *c, const struct query_ctx *ctx,
    const struct metrics_request *req, const struct grid *grid);
void collector_close(struct collector *c); /* scans and readers; results stay */
void collector_deinit(struct collector *c);
/* Whole traces over all parts. */
enum ec collect_traces(struct collector *c, struct err *err) MUST_USE;
/* Spans of one part. Only for queries that collect_by_span accepts. */
enum ec collect_part(struct collector *c, struct part *part, struct err *err) MUST_USE;
/* metrics_stream.c: progress of a query that collects by span. Parts are told of in any order and
 * on any thread; what is complete is what no unfinished part can add to. */
enum ec metrics_teller_new(const struct query_ctx *ctx, const struct metrics_request *req,
    const struct grid *grid, struct collector *parts, struct metrics_teller **ret, struct err *err)
    MUST_USE;
void metrics_teller_free(struct metrics_teller *t); /* NULL allowed */
void metrics_tell_group(struct metrics_teller *t, uint32_t n_rows);
void metrics_tell_part(struct metrics_teller *t, const struct collector *part);
/* Progress without samples, of a query that collects by trace. */
void metrics_tell_traces(struct collector *c);
bool collect_by_span(const struct tql_query *q);
/* Moves what `from` found into `into`. */
enum ec collector_merge(struct collector *into, const struct collector *from, struct err *err)
    MUST_USE;

/* A value as label: equal labels are one series. */
struct qval collect_label(struct qval v);

/* compare.c: counts every attribute value of a span. */
enum ec compare_observe(struct collector *c, uint32_t row, uint64_t start_ns, uint32_t bucket,
    struct err *err) MUST_USE;
