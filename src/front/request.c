/* SPDX-License-Identifier: Apache-2.0
 * One request between handler and answer: auth's question and answer, the entry into the API layer,
 * metrics and the access log.
 *
 * The request lives from the handler's call to the exchange's answer, whoever answers; nothing
 * touches it after it has handed the exchange on. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "front_int.h"

#define CREDENTIALS_MAX 4 /* Authorization lines looked at: more than one is refused anyway */

static const double seconds_bounds[] = {0.1, 0.2, 0.4, 1, 2.5, 5, 8, 20, 60, 120};
static const double bytes_bounds[] = {
    256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864};
#define REQUEST_LABELS                                       \
    {                                                        \
        "group", "handler", "code", "method", "tenant", NULL \
    }
static struct metric_family requests_total = {
    .name = "http_requests_total",
    .help = "Requests of the gateway's public ports.",
    .type = METRIC_COUNTER,
    .labels = REQUEST_LABELS,
};
static struct metric_family request_seconds = {
    .name = "http_request_duration_seconds",
    .help = "Time from the whole request to its answer.",
    .type = METRIC_HISTOGRAM,
    .labels = REQUEST_LABELS,
    .bounds = seconds_bounds,
    .n_bounds = ARRAY_LEN(seconds_bounds),
};
static struct metric_family response_bytes = {
    .name = "http_response_size_bytes",
    .help = "Bodies of answers, before compression.",
    .type = METRIC_HISTOGRAM,
    .labels = REQUEST_LABELS,
    .bounds = bytes_bounds,
    .n_bounds = ARRAY_LEN(bytes_bounds),
};
static struct metric_family request_bytes = {
    .name = "http_request_size_bytes",
    .help = "Bodies of requests on the wire.",
    .type = METRIC_HISTOGRAM,
    .labels = REQUEST_LABELS,
    .bounds = bytes_bounds,
    .n_bounds = ARRAY_LEN(bytes_bounds),
};
static struct metric_family handed_on = {
    .name = "http_proxy_requests_total",
    .help = "Requests that the gateway let through.",
    .type = METRIC_COUNTER,
    .labels = {"proxy", "method", NULL},
};

void front_metrics_register(void)
{
    metric_register(&requests_total);
    metric_register(&request_seconds);
    metric_register(&response_bytes);
    metric_register(&request_bytes);
    metric_register(&handed_on);
}

/* Clients do not choose label values. */
static struct str method_label(const struct http_request *req)
{
    static const char *const known[] = {"get", "head", "post", "put", "patch", "delete", "options"};
    if (req->is_grpc)
        return STR("grpc");
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (str_ieq(req->method, str_from(known[i])))
            return str_from(known[i]);
    return STR("other");
}

void front_count_handed_on(const struct request *rq, const char *proxy)
{
    metric_inc(metric_series2(&handed_on, str_from(proxy), method_label(exchange_request(rq->ex))));
}

static void observe(const struct request *rq, unsigned code, size_t bytes)
{
    const struct http_request *req = exchange_request(rq->ex);
    char text[12];
    int64_t took = clock_mono_ns() - rq->started_ns;
    snprintf(text, sizeof(text), "%u", code);
    struct str labels[] = {str_from(rq->group), str_from(rq->handler), str_from(text),
        method_label(req), rq->tenant_id};
    metric_inc(metric_series(&requests_total, labels));
    metric_observe(metric_series(&request_seconds, labels), (double)took / 1e9);
    metric_observe(metric_series(&response_bytes, labels), (double)bytes);
    metric_observe(metric_series(&request_bytes, labels), (double)req->wire_bytes);
    /* Neither the query, which may hold a login's code, nor any header. */
    log_event(code >= 500 ? LOG_WARN : LOG_DEBUG, "request", LS("method", req->method),
        LS("path", req->is_grpc ? req->grpc_path : req->raw_path), LS("tenant", rq->tenant_id),
        LU("status", code), LU("bytes", bytes), LD("took", took), LS("peer", req->peer));
}

static void answered(void *arg, struct exchange *ex, struct exchange_answer *a)
{
    struct request *rq = arg;
    if (a->body != NULL && a->status == 504) {
        /* A query's deadline, in the words of this port. */
        buf_reset(a->body);
        put_error_json(a->body, STR("context deadline exceeded"));
        a->content_type = "application/json; charset=utf-8";
    }
    observe(rq, exchange_request(ex)->is_grpc ? a->grpc_status : a->status,
        a->body == NULL ? 0 : a->body->n);
    if (rq->counted)
        atomic_fetch_sub_explicit(&rq->front->inflight, 1, memory_order_relaxed);
    auth_answer_release(&rq->answer);
    atomic_fetch_sub_explicit(&rq->gate->refs, 1, memory_order_release);
    free(rq);
}

struct request *request_new(struct front *f, struct exchange *ex, void (*go)(struct request *rq))
{
    struct request *rq = xcalloc(1, sizeof(*rq));
    rq->front = f;
    pthread_mutex_lock(&f->lock);
    rq->gate = f->gate;
    atomic_fetch_add_explicit(&rq->gate->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&f->lock);
    rq->ex = ex;
    rq->go = go;
    rq->group = rq->handler = "other";
    rq->started_ns = clock_mono_ns();
    rq->tenant_id = STR("");
    exchange_on_answer(ex, answered, rq);
    return rq;
}

/* ---- auth ---- */

static void go_on_pool(void *arg)
{
    struct request *rq = arg;
    rq->go(rq);
}

/* On the HTTP client's thread: parsing spans or writing JSON there would hold up every other
 * check. */
static void checked_later(void *arg, struct auth_answer *answer)
{
    struct request *rq = arg;
    uint64_t key = hash64(rq->path.tenant.p, rq->path.tenant.n);
    auth_answer_move(answer, &rq->answer);
    if (pool_submit(rq->front->opt.pool, POOL_NORMAL, key, go_on_pool, rq))
        return;
    auth_answer_release(&rq->answer);
    rq->answer = (struct auth_answer){.outcome = AUTH_UNAVAILABLE,
        .http_status = 503,
        .grpc_status = 14,
        .message = STR("server is busy"),
        .retry_after_s = 5};
    rq->go(rq); /* a refusal: cheap */
}

struct str request_cookies(struct exchange *ex)
{
    struct str one = {"", 0};
    unsigned n = exchange_header_count(ex, "cookie");
    if (n <= 1) {
        (void)exchange_header(ex, "cookie", &one);
        return one;
    }
    struct buf all = BUF_INIT; /* bounded by the header block */
    for (unsigned i = 0; exchange_header_at(ex, "cookie", i, &one); i++) {
        if (i != 0)
            buf_putz(&all, "; ");
        buf_puts(&all, one);
    }
    struct str copy = arena_str(exchange_arena(ex), buf_str(&all));
    http_wipe_buf(&all);
    return copy.p == NULL ? STR("") : copy;
}

void request_check(struct request *rq, enum auth_permission permission, bool want_namespaces)
{
    struct exchange *ex = rq->ex;
    const struct http_request *req = exchange_request(ex);
    struct str authorization[CREDENTIALS_MAX], accept = {"", 0};
    struct auth_request q = {.tenant = rq->path.tenant,
        .permission = permission,
        .is_grpc = req->is_grpc,
        .want_namespaces = want_namespaces,
        .path = req->raw_path,
        .authorization = authorization,
        .cookie = request_cookies(ex),
        .client_certs = req->client_certs,
        .n_client_certs = req->n_client_certs};
    while (q.n_authorization < CREDENTIALS_MAX &&
           exchange_header_at(
               ex, "authorization", (unsigned)q.n_authorization, &authorization[q.n_authorization]))
        q.n_authorization++;
    (void)exchange_header(ex, "x-forwarded-access-token", &q.forwarded_token);
    (void)exchange_header(ex, "accept", &accept);
    q.is_browser = str_eqz(req->method, "GET") && str_has(accept, STR("text/html"));
    if (auth_check(rq->gate->auth, &q, &rq->answer, checked_later, rq))
        rq->go(rq);
}

bool request_enter(struct request *rq)
{
    static const char *const secrets[] = {"Authorization", "Cookie", "X-Forwarded-Access-Token"};
    bool ok = true;
    ASSERT(rq->answer.outcome == AUTH_OK && rq->answer.tenant_id.n != 0);
    for (size_t i = 0; i < ARRAY_LEN(secrets); i++)
        ok &= exchange_set_request_header(rq->ex, secrets[i], str_n(NULL, 0));
    ok &= exchange_set_request_header(rq->ex, "X-Scope-OrgID", rq->answer.tenant_id);
    rq->caller = (struct api_caller){
        .deadline_ns = rq->started_ns + rq->front->gateway->timeout,
        .restricted = rq->front->gateway->query_rbac,
        .namespaces = rq->answer.has_namespaces ? rq->answer.namespaces : NULL,
        .n_namespaces = rq->answer.has_namespaces ? rq->answer.n_namespaces : 0,
    };
    exchange_attach(rq->ex, &rq->caller);
    return ok;
}
