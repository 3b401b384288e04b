/* SPDX-License-Identifier: Apache-2.0
 * What the files of the front share. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/metric.h"
#include "base/pool.h"
#include "front/front.h"
#include "path.h"
#include "query/regex.h"

/* ---- limit.c: rate limits of tenants.yaml ---- */

struct rate_limit {
    struct regex *endpoint;
    uint32_t limit;
    int64_t window_ns, retry_min_ns, retry_max_ns;
    pthread_mutex_t lock; /* guards the next two */
    int64_t began_ns;
    uint32_t taken;
};
struct limited_tenant {
    char *name;
    struct rate_limit *limits;
    size_t n;
};

struct front_gate {
    struct auth *auth;
    struct limited_tenant *limited; /* the tenants that have limits */
    size_t n_limited;
    atomic_uint refs; /* requests */
};

struct front {
    struct front_options opt;
    const struct config_gateway *gateway;
    struct api_otlp_http otlp; /* what the OTLP/HTTP handler wants to know */
    pthread_mutex_t lock;      /* of gate; a request's reference is taken under it */
    struct front_gate *gate;
    atomic_uint inflight;
    struct server *server;
    struct listener *public_http;
};

enum ec limits_new(struct front_gate *gate, const struct config_gateway *g, struct err *err)
    MUST_USE;
void limits_free(struct front_gate *gate);
/* False: over a limit; *ret_retry_s is when to come back. */
bool limits_take(
    struct front_gate *gate, struct str tenant, struct str path, unsigned *ret_retry_s);

/* ---- request.c: one request from the handler to the answer ---- */

struct request {
    struct front *front;
    struct front_gate *gate;
    struct exchange *ex;
    struct front_path path;
    const char *group, *handler; /* metric labels */
    int64_t started_ns;
    struct str tenant_id; /* empty: unknown yet */
    bool counted;         /* in front->inflight */
    struct auth_answer answer;
    struct api_caller caller;
    void (*go)(struct request *rq); /* after auth's answer */
};

/* The exchange's answer frees the request. */
struct request *request_new(struct front *f, struct exchange *ex, void (*go)(struct request *rq));
/* Asks auth; calls go at once, or later on the pool. */
void request_check(struct request *rq, enum auth_permission permission, bool want_namespaces);
/* All Cookie lines as one. */
struct str request_cookies(struct exchange *ex);
/* The tenant's id for the header, and nothing of the client's credentials. False: answered. */
bool request_enter(struct request *rq);
void front_metrics_register(void);
void front_count_handed_on(const struct request *rq, const char *proxy);

/* ---- answer.c ---- */
/* {"error":message,"errorType":"observatorium-api","status":"error"} */
void put_error_json(struct buf *out, struct str message);
void respond_error(struct exchange *ex, unsigned status, struct str message);
void respond_empty(struct exchange *ex, unsigned status);
void respond_not_found(struct exchange *ex);
