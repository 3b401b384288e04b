/* SPDX-License-Identifier: Apache-2.0
 * Shared by the endpoint files: the api object, query jobs, error answers. */
#pragma once

#include <stdatomic.h>

#include "api/api.h"
#include "query/exec.h"
#include "query_room.h"

#define OUTSTANDING_SLOTS 1024u /* power of two */

struct user_limits;
struct api {
    struct api_options opt;
    struct user_limits *user_limits; /* NULL: off */
    struct query_room *room;
    _Atomic bool attached; /* opt.store, overrides and ingest are there: set after them */
    _Atomic int state;     /* enum api_state */
    struct regex **deny;   /* url_deny_list, compiled */
    size_t n_deny;
    /* Requests waiting or running, by hash of the tenant header: two tenants may share a slot,
     * which only makes the bound stricter for them. */
    _Atomic uint32_t outstanding[OUTSTANDING_SLOTS];
};

/* A request that runs on the pool. */
struct query_job;
struct query_call;
typedef void (*query_fn)(struct query_job *job);
struct query_job {
    struct api *api;
    struct exchange *ex;
    const struct api_caller *caller; /* NULL: no layer in front */
    query_fn run;
    struct str path_arg;             /* the {name} segment, decoded */
    const struct grpc_method *grpc;  /* NULL: HTTP */
    const struct query_call *call;   /* NULL: the exchange is the request itself */
    const struct http_param *params; /* of the URL, or what another request comes to */
    size_t n_params;
    bool invalid_unknown; /* gRPC: a bad request is said without a code, which is Unknown */
    struct str *tenants;  /* sorted, distinct */
    size_t n_tenants;
    struct limits limits;       /* of the raw tenant header */
    struct room_guest guest;    /* of the query budget; the query may run twice (query_room.h) */
    struct budget budget;       /* of this run; all of a run is given back when it ends */
    struct arena arena;         /* results and answer scratch, on the budget */
    struct buf packet;          /* gRPC: on the budget */
    bool told;                  /* gRPC: progress, which a second run must not tell again */
    bool anew;                  /* was ended for the sake of ingest, and began again */
    struct snapshot *snapshots; /* one per tenant, once taken */
    size_t n_snapshots;
    struct query_ctx ctx;
    struct query_stream stream; /* gRPC: the endpoint sets what it tells of */
    int64_t started_ns;
    int64_t began_ns; /* this run asked for a thread; while it waits: since when */
    int64_t timeout_ns;
    bool warned;      /* the answer's headers say that it is partial */
    bool api_timeout; /* it is query_frontend.api_timeout, which answers with words of its own */
    int64_t client_deadline_ns; /* gRPC: monotonic; 0: none */
    uint64_t key;               /* of its tenant, for the pool */
    uint32_t slot;
    const char *op; /* metric label: traces, search, metadata, metrics */
};

/* First parameter of that name; empty counts as absent. */
bool job_param(const struct query_job *job, const char *key, struct str *ret);
/* Takes the snapshots and fills job->ctx. */
enum ec job_open(struct query_job *job, struct err *err) MUST_USE;
/* Answers: the body is moved out of *take_body. */
void job_respond(
    struct query_job *job, unsigned status, const char *content_type, struct buf *take_body);
/* 200 with the body, or the failure when it did not fit its budget. */
void job_respond_ok(struct query_job *job, const char *content_type, struct buf *take_body);
/* Bare text, no line feed: how Tempo words errors of the query path. A query that fails for want of
 * memory that others hold is not answered but run again later. */
void job_fail(struct query_job *job, enum ec ec, const struct err *err);
void job_fail_status(struct query_job *job, unsigned status, const char *text);
/* Counts what was read, and says by a Warning header when some of it could not be; over gRPC by one
 * behind the messages. */
void job_count_bytes(struct query_job *job, const struct query_stats *s);

/* Accept header by substring, in Tempo's order. */
enum accept { ACCEPT_JSON, ACCEPT_PROTOBUF, ACCEPT_LLM };
enum accept job_accept(struct query_job *job);

/* The client is Grafana's data source, by its User-Agent: the one client that fails on some answers
 * of Tempo's, and gets a form of them that it takes. All others get what Tempo gives. */
bool job_for_grafana(const struct query_job *job);

/* start/end/since of search and tag endpoints after parsing: unix ns, 0,0 for "no filter". */
struct time_range {
    uint64_t start_ns, end_ns;
};
enum ec job_clamped_range(struct query_job *job, struct time_range *ret, struct err *err) MUST_USE;
enum ec job_check_range_length(struct query_job *job, const struct time_range *r, struct err *err)
    MUST_USE;
enum ec job_check_query_text(struct query_job *job, struct str q, struct err *err) MUST_USE;
/* `metrics` of search answers and of tag answers. */
void put_search_metrics(struct buf *out, const struct query_stats *s);
void put_tag_metrics(struct buf *out, const struct query_stats *s);
/* The same as field 2. */
void pb_search_metrics(struct buf *out, const struct query_stats *s);

/* endpoints */
void api_trace_v1(struct query_job *job);
void api_trace_v2(struct query_job *job);
void api_search(struct query_job *job);
void api_tags_v1(struct query_job *job);
void api_tags_v2(struct query_job *job);
void api_values_v1(struct query_job *job);
void api_values_v2(struct query_job *job);
void api_metrics_range(struct query_job *job);
void api_metrics_instant(struct query_job *job);
void api_put_endpoints(struct api *a, struct buf *out);
void api_status_page(struct api *a, struct exchange *ex, struct str name);
void api_ready(struct api *a, struct exchange *ex);
void api_buildinfo(struct api *a, struct exchange *ex);
void api_metrics_text(struct api *a, struct exchange *ex);
void api_echo(struct api *a, struct exchange *ex);
void api_user_limits(struct api *a, struct exchange *ex);
void api_mcp(struct api *a, struct exchange *ex);
void api_mcp_register(void);
/* text/plain with X-Content-Type-Options: nosniff and a line feed: net/http's Error. */
void respond_http_error(struct exchange *ex, unsigned status, const char *text);
