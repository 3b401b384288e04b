/* SPDX-License-Identifier: Apache-2.0
 * Query execution over snapshots: search, trace by id, tag names, tag values. Results are plain
 * structs in the caller's arena; the API layer writes JSON, protobuf or gRPC from them.
 *
 * A query runs on the calling (pool) thread and may use more pool threads through pool_parallel. It
 * charges its memory to ctx->budget (EC_LIMIT past it), checks deadline and cancellation between
 * groups (EC_DEADLINE, EC_CANCELED), and never blocks ingest. Damaged pages are skipped and make
 * the answer partial.
 */
#pragma once

#include "base/pool.h"
#include "query/tql.h"
#include "storage/part.h"
#include "storage/span_read.h"

struct query_cache; /* query/cache.h */
struct query_stream;

/* The parts of one or more tenants (several when X-Scope-OrgID was "a|b"), newest first. */
struct query_ctx {
    struct part *const *parts;
    size_t n_parts;
    struct pool *pool;        /* may be NULL: single-threaded */
    uint64_t key;             /* fairness key for the pool */
    struct arena *arena;      /* results live here */
    struct budget *budget;    /* working memory */
    int64_t deadline_mono_ns; /* 0: none */
    /* EC_LIMIT as soon as this is later than snapshot_ns (store_stale_before), or NULL. */
    const _Atomic int64_t *stale_before_ns;
    int64_t snapshot_ns; /* clock_mono_ns when the parts were taken */
    bool (*canceled)(void *arg);
    void *canceled_arg;
    struct query_stream *stream; /* who wants to see a long query's progress, or NULL */
    struct query_cache *cache;   /* of results of blocks, or NULL: nothing is kept */
};

struct query_stats {
    uint64_t inspected_bytes, inspected_spans, inspected_traces, total_block_bytes;
    uint32_t total_blocks;
    uint32_t completed_jobs, total_jobs; /* groups of spans; at least 1 */
    bool partial;                        /* something could not be read */
    const char *partial_text;            /* what, in the arena */
};

/* ---- search ---- */
struct search_tag { /* legacy tags=; see spec tempo-api.md 9.3 */
    struct str key, value;
};
struct search_request {
    const struct tql_query *q; /* NULL: legacy search */
    const struct search_tag *tags;
    size_t n_tags;
    uint64_t min_duration_ns, max_duration_ns; /* legacy; 0: off */
    uint64_t start_ns, end_ns;                 /* trace overlap, inclusive; both 0: no filter */
    uint32_t limit;                            /* >= 1 */
    uint32_t spss;                             /* spans per span set, >= 1 */
};

/* A value in an answer, already in the form of spec traceql.md 4.8: durations, status, kind as
 * strings, arrays as VALUE_ARRAY bytes, nil as the string "nil". */
struct result_attr {
    struct str key;
    struct value value;
};
struct result_span {
    span_id id;
    struct str name;
    bool has_name; /* only when the query read the name */
    uint64_t start_ns, duration_ns;
    const struct result_attr *attrs;
    uint32_t n_attrs;
};
struct result_spanset {
    const struct result_span *spans;
    uint32_t n_spans, matched;
    const struct result_attr *attrs;
    uint32_t n_attrs;
};
struct result_service {
    struct str name;
    uint32_t spans, errors;
};
struct result_trace {
    struct trace_id id;
    struct str root_service, root_name;
    bool has_root;
    uint64_t start_ns, duration_ns;
    const struct result_spanset *sets;
    uint32_t n_sets;                       /* 0 for legacy search */
    const struct result_service *services; /* sorted by name; TraceQL only */
    uint32_t n_services;
};
struct search_result {
    struct result_trace *traces; /* start descending, ties by id ascending */
    size_t n;
    struct query_stats stats;
};
/* Exactly the newest `limit` matching traces, deterministic. Run-time errors of TraceQL:
 * EC_INTERNAL with the cause as spec traceql.md 3.5 words it. */
enum ec query_search(const struct query_ctx *ctx, const struct search_request *req,
    struct search_result *ret, struct err *err) MUST_USE;

/* ---- trace by id ---- */
struct result_trace_span {
    struct read_span span;
    const struct read_resource *resource; /* equal pointers: equal objects */
    const struct read_scope *scope;
};
struct trace_result {
    struct result_trace_span
        *spans; /* merged over parts, duplicates (id, kind) dropped, storage order of
                                        the first part when only one holds the trace, else sorted as
                                        spec tempo-api.md 8.2 */
    size_t n;
    size_t n_parts; /* parts that held some of it */
    struct query_stats stats;
    uint64_t proto_bytes; /* estimate of the merged trace as OTLP protobuf */
    bool truncated;       /* a limit was crossed; spans hold what fits (at least one) */
    uint64_t max_bytes;   /* truncated: that limit; less than max_bytes when memory set it */
};
/* Not found: n == 0. max_bytes 0: no limit. start/end are hints only: never hide data. */
enum ec query_trace(const struct query_ctx *ctx, const struct trace_id *id, uint64_t max_bytes,
    struct trace_result *ret, struct err *err) MUST_USE;

/* ---- tag names and values ---- */
enum tag_scope { TAG_RESOURCE, TAG_SPAN, TAG_EVENT, TAG_LINK, TAG_INSTRUMENTATION, TAG_SCOPES };
struct tags_request {
    uint32_t scopes; /* bits 1 << enum tag_scope */
    const struct tql_filter_groups
        *filter;               /* NULL: unfiltered; see tql.h (OR-groups of AND conditions) */
    uint64_t start_ns, end_ns; /* prunes by overlap of spans; both 0: all */
    uint32_t limit;            /* per scope; 0: none */
    uint64_t bytes_max;        /* sum of name lengths; 0: none; silently cut */
};
struct tags_result {
    const struct str *names[TAG_SCOPES]; /* each sorted ascending, distinct */
    size_t n[TAG_SCOPES];
    struct query_stats stats;
};
enum ec query_tags(const struct query_ctx *ctx, const struct tags_request *req,
    struct tags_result *ret, struct err *err) MUST_USE;

struct tag_value { /* type: "string" "int" "float" "bool" "duration" "keyword" */
    const char *type;
    struct str value;
};
struct values_request {
    const struct tql_attr *attr; /* v2: a TraceQL attribute; intrinsics too */
    struct str v1_name; /* v1: bare key over span, resource and instrumentation scope; attr NULL */
    const struct tql_filter_groups *filter;
    uint64_t start_ns, end_ns;
    uint32_t limit;
    uint64_t bytes_max;
};
struct values_result {
    struct tag_value *values; /* sorted by type then value, distinct */
    size_t n;
    struct query_stats stats;
};
enum ec query_values(const struct query_ctx *ctx, const struct values_request *req,
    struct values_result *ret, struct err *err) MUST_USE;

/* ---- progress ---- */
struct metrics_result; /* query/metrics.h */

/* What a long query has found so far, told between groups or traces. A part holds only what was not
 * in an earlier one and what the final result will hold as well, and totals that only grow; it may
 * be empty. The functions run on one thread of the query at a time, keep nothing of what they are
 * shown, and must not block: the query waits for them. Once the query's budget is half used nothing
 * is told any more. */
struct query_stream {
    int64_t period_ns; /* between two parts; 0: at every opportunity */
    int64_t due_ns;    /* of the next part, monotonic; the engine moves it on */
    void *arg;
    void (*search)(void *arg, const struct search_result *part);
    void (*tags)(void *arg, const struct tags_result *part);
    void (*values)(void *arg, const struct values_result *part);
    /* Buckets that are complete, newest first: first_ns and n_buckets name them. */
    void (*metrics)(void *arg, const struct metrics_result *part);
};
