/* SPDX-License-Identifier: Apache-2.0
 * From spans to accumulators. A collector belongs to one thread: it has its own readers, evaluator,
 * arena and accumulator. */
#pragma once

#include "candidates.h"
#include "metrics_acc.h"
#include "metrics_frame.h"
#include "metrics_label.h"
#include "metrics_pick.h"
#include "metrics_value.h"
#include "query/metrics.h"
#include "shared.h"
#include "spanset.h"

/* Groups [group_from, group_to) of a part: what one worker reads in one go. */
struct slice {
    size_t part;
    uint32_t group_from, group_to;
    uint64_t last_ns;                    /* no span of it starts later */
    uint64_t min_start_ns, max_start_ns; /* what its groups say of the starts of their spans */
    /* Of a head: rows before this one were there when the slice was looked at, and, once it is
     * collected, were counted, with the starts to match. A block: 0. */
    uint32_t row_to;
    uint32_t n_rows;  /* a guess, of a head */
    bool only_marked; /* compare(): see compare_kept.h */
};

struct series_list {
    struct metrics_series *p;
    size_t n, cap;
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
    struct acc acc; /* by trace, and of all collectors together */
    struct picks picks;
    struct scan *scan;
    struct candidates cands;
    struct query_stats stats;
    uint32_t n_damaged;          /* parts that could not be read in full */
    bool *damaged;               /* of the total: by part, counted already */
    bool unsure;                 /* something else was unreadable: not an answer to be kept */
    struct series_list compared; /* collect_compare: the series of the answer */
    bool fast_compare;
    struct compare_part *compare; /* per source; NULL until compare() needs it */
    struct fast *fast;            /* by span */
    struct slice slice;
    const struct shared_set *shared; /* by span: traces that slices leave to collect_shared */
    uint32_t told_from;              /* buckets from here on were told */
    enum ec ec;
    struct err err;
};

void collector_init(struct collector *c, const struct query_ctx *ctx,
    const struct metrics_request *req, const struct grid *grid);
void collector_close(struct collector *c); /* scans and readers; results stay */
void collector_deinit(struct collector *c);
/* Whole traces over all parts. */
enum ec collect_traces(struct collector *c, struct err *err) MUST_USE;
/* The traces of c->shared, whole. */
enum ec collect_shared(struct collector *c, struct err *err) MUST_USE;
/* Label values of an observed row, n_labels of the accumulator but the exponent. */
enum ec collect_by(struct collector *c, uint32_t row, struct qval *labels, struct err *err)
    MUST_USE;

/* metrics_fast.c: spans of one slice, as columns. Only for queries that collect_by_span accepts. */
bool collect_by_span(const struct tql_query *q);
/* Reads nothing but the span itself, its resource, scope, events and links. */
bool collect_local_attr(const struct tql_attr *attr);
enum ec collect_slice(struct collector *c, struct err *err) MUST_USE;
/* Moves what collect_slice found in `from` into `into`. */
enum ec collect_slice_merge(struct collector *into, struct collector *from, struct err *err)
    MUST_USE;
/* What collect_slice found: cells by series and bucket, the first of which is *ret_base of the
 * grid; NULL: nothing. And its series one by one: *at is 0 at first. */
struct cells;
const struct cells *collect_slice_cells(const struct collector *c, uint32_t *ret_base);
bool collect_slice_next(
    const struct collector *c, uint32_t *at, uint32_t *ret_series, struct qval *labels);
void fast_deinit(struct fast *f); /* NULL allowed */

/* metrics_stream.c: progress of a query that collects by span: what `total` holds of the buckets
 * that none of the slices left can add to. */
void metrics_tell_slices(struct collector *total, const struct slice *left, size_t n_left);
/* Progress without samples, of a query that collects by trace. */
void metrics_tell_traces(struct collector *c);

uint32_t slice_row_to(const struct slice *s, const struct part_info *info); /* of a head */
/* The buckets and the largest group among the slice's groups that are in range; false: none is. */
bool slice_bounds(
    const struct collector *c, uint32_t *ret_base, uint32_t *ret_stride, uint32_t *ret_rows);
/* Counts the part of a collector that met damage, once. Collectors come in the order of parts. */
void collect_damage(struct collector *total, const struct collector *c);

/* compare.c: compare() over the slices of all parts, column by column; series in
 * total->compared. Only for queries that collect_compare_by_span accepts. */
bool collect_compare_by_span(const struct tql_query *q);
enum ec collect_compare(
    struct collector *total, struct slice *slices, size_t n_slices, struct err *err) MUST_USE;

/* metrics_compare.c: the same by trace: counts every attribute value of a span. */
enum ec compare_observe(struct collector *c, uint32_t row, uint64_t start_ns, uint32_t bucket,
    struct err *err) MUST_USE;
