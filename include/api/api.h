/* SPDX-License-Identifier: Apache-2.0
 * The endpoints: Tempo's HTTP API (port 3200), OTLP, Jaeger and Zipkin ingest. The only layer
 * besides cmd that sees everything: it turns exchanges into calls of gateway, store and query, and
 * results into JSON or protobuf.
 *
 * Handlers that query run on the pool; the exchange waits meanwhile. Thread-safe after api_new.
 */
#pragma once

#include "base/pool.h"
#include "config/config.h"
#include "gateway/ingest.h"
#include "server/server.h"
#include "server/udp.h"
#include "storage/store.h"

struct api;

struct api_options {
    const struct config *config;
    struct store *store;
    struct overrides *overrides;
    struct ingest *ingest;
    struct pool *pool;
    struct budget *query_budget;     /* of all queries together */
    uint64_t query_bytes_max;        /* of one query; 0: 64 MiB */
    struct query_cache *query_cache; /* of the caller, who frees it after api_free; may be NULL */
    const char *version, *revision, *branch, *build_user, *build_date;
};

enum ec api_new(const struct api_options *opt, struct api **ret, struct err *err) MUST_USE;
void api_free(struct api *a); /* after the server is drained */
/* Hands in what takes time to start; until then only /ready, /metrics, /api/echo and build
 * information are answered, the rest is 503. opt.store, overrides and ingest may be NULL before. */
void api_attach(
    struct api *a, struct store *store, struct overrides *overrides, struct ingest *ingest);

/* User-configurable overrides, or NULL; before api_attach. */
struct user_limits;
void api_attach_user_limits(struct api *a, struct user_limits *u);

/* /ready: what is shown. Starting until set; stopping is final. Thread-safe. */
enum api_state { API_STARTING, API_RUNNING, API_STOPPING };
void api_set_state(struct api *a, enum api_state s);

/* Who asks, found out by a layer in front: attached to the exchange (exchange_attach) together with
 * the header X-Scope-OrgID that it has set. Lives until the answer. */
struct api_caller {
    int64_t deadline_ns; /* monotonic; queries end by then with 504; 0: none of its own */
    /* Only search, traces by id and values of tags; attributes, events and the like only of spans
     * whose resource is in one of the namespaces (sorted bytewise). */
    bool restricted;
    const struct str *namespaces;
    size_t n_namespaces;
};

/* "text", escaped as in every JSON answer. */
void api_put_json_str(struct buf *out, struct str s);

/* exchange handlers; ctx is the struct api. */
void api_handle_http(void *ctx, struct exchange *ex);      /* 3200 */
void api_handle_grpc(void *ctx, struct exchange *ex);      /* 3200 (streaming on), 9095 */
void api_handle_internal(void *ctx, struct exchange *ex);  /* internal_server: /ready only */
void api_handle_otlp_grpc(void *ctx, struct exchange *ex); /* 4317 */

/* OTLP/HTTP listens on a configurable path: ctx is one of these, kept by the caller. */
struct api_otlp_http {
    struct api *api;
    const char *path; /* "/v1/traces" */
};
void api_handle_otlp_http(void *ctx, struct exchange *ex); /* 4318 */

void api_handle_jaeger_http(void *ctx, struct exchange *ex); /* 14268; ctx is the struct api */
void api_handle_jaeger_grpc(void *ctx, struct exchange *ex); /* 14250; the same */

/* Jaeger's agent ports: ctx of the packet functions is one of these, kept by the caller until the
 * store is closed. */
struct api_jaeger_udp {
    struct api *api;
    struct budget *budget;            /* for packets on their way to OTLP */
    bool compact;                     /* 6831; else binary, 6832 */
    struct metric *packets, *lost[8]; /* set by init */
};
void api_jaeger_udp_init(struct api_jaeger_udp *u); /* before it listens: the counters exist */
void api_jaeger_udp_packet(void *ctx, struct bytes packet);
void api_jaeger_udp_lost(void *ctx, enum udp_loss why, uint64_t n_packets);

struct api_zipkin {
    struct api *api;
    bool parse_string_tags;
};
void api_handle_zipkin(void *ctx, struct exchange *ex); /* 9411; ctx is a struct api_zipkin */
