/* SPDX-License-Identifier: Apache-2.0
 * The public HTTP port.
 *
 * Order, as in the original: concurrency limit → tenant → login → route (404, 405) → what query
 * RBAC leaves open → permission → rate limit → API layer. Login and permission are one question to
 * auth, so the route is matched first, but a path that does not exist is only said to who is logged
 * in. */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "front_int.h"

#define GROUP_TEMPO "tracesv1api"
#define GROUP_OTLP  "tracesotlphttpv1api"
#define GROUP_UI    "tracesv1ui"

static void respond_paths(struct exchange *ex)
{
    struct buf b = BUF_INIT;
    buf_putz(&b,
        "{\"paths\":[\"/\",\"/api/traces/v1/{tenant}/tempo/api/*\",\"/api/traces/v1/{tenant}/v1/traces\","
        "\"/oidc/{tenant}/callback\",\"/oidc/{tenant}/login\",\"/openshift/{tenant}/callback\","
        "\"/openshift/{tenant}/login\",\"/{tenant}\"]}\n");
    exchange_respond(ex, 200, "application/json; charset=utf-8", &b, false);
}

static void set_retry_after(struct exchange *ex, unsigned seconds)
{
    char text[12];
    int n = snprintf(text, sizeof(text), "%u", seconds);
    if (seconds != 0)
        exchange_set_header(ex, "Retry-After", str_n(text, (size_t)n));
}

static void respond_refused(struct request *rq)
{
    const struct auth_answer *a = &rq->answer;
    struct exchange *ex = rq->ex;
    if (a->outcome == AUTH_LOGIN)
        exchange_set_header(ex, "Location", a->location);
    if (a->www_authenticate)
        exchange_set_header(ex, "WWW-Authenticate", STR("Bearer"));
    set_retry_after(ex, a->retry_after_s);
    respond_error(ex, a->http_status, a->message);
}

/* ---- logins ---- */

static void respond_flow(struct exchange *ex, struct auth_flow_answer *a)
{
    for (size_t i = 0; i < a->n_set_cookies; i++)
        exchange_set_header(ex, "Set-Cookie", a->set_cookies[i]);
    set_retry_after(ex, a->retry_after_s);
    if (a->location.n == 0) {
        respond_error(ex, a->http_status, a->message);
        return;
    }
    exchange_set_header(ex, "Location", a->location);
    exchange_set_header(ex, "Cache-Control", STR("no-store"));
    respond_empty(ex, a->http_status);
}

static void callback_done(void *arg, struct auth_flow_answer *a)
{
    respond_flow(arg, a); /* a few hundred bytes: cheap enough for this thread */
}

static struct str param(struct exchange *ex, const char *name)
{
    struct str v = {"", 0};
    (void)exchange_param(ex, name, &v);
    return v;
}

static void handle_login(struct request *rq)
{
    struct exchange *ex = rq->ex;
    struct auth_flow_answer a = {0};
    struct auth_flow_request q = {.tenant = rq->path.tenant,
        .method = rq->path.method,
        .route = param(ex, "route"),
        .code = param(ex, "code"),
        .state = param(ex, "state"),
        .error = param(ex, "error"),
        .error_description = param(ex, "error_description"),
        .cookie = request_cookies(ex)};
    if (rq->path.place == PLACE_LOGIN)
        auth_login(rq->gate->auth, &q, &a);
    else if (!auth_callback(rq->gate->auth, &q, &a, callback_done, ex))
        return;
    respond_flow(ex, &a);
    auth_flow_release(&a);
}

/* ---- after auth ---- */

static bool is_get(const struct request *rq)
{
    return str_eqz(exchange_request(rq->ex)->method, "GET");
}

static bool is_post(const struct request *rq)
{
    return str_eqz(exchange_request(rq->ex)->method, "POST");
}

/* Where a tenant's page is. */
static void respond_home(struct request *rq)
{
    struct str name;
    if (!http_path_escape(exchange_arena(rq->ex), rq->path.tenant, &name)) {
        respond_error(rq->ex, 503, STR("server is out of memory for requests"));
        return;
    }
    struct buf to = BUF_INIT;
    buf_printf(&to, "/api/traces/v1/" STR_FMT "/search", STR_ARG(name));
    exchange_set_header(rq->ex, "Location", buf_str(&to));
    buf_deinit(&to);
    respond_empty(rq->ex, 301);
}

static void enter_otlp(struct request *rq)
{
    const struct http_request *req = exchange_request(rq->ex);
    if (req->body_ec == EC_TOO_LARGE) {
        respond_error(rq->ex, 413, req->body_error);
    } else if (!request_enter(rq) || !exchange_rewrite(rq->ex, STR("/v1/traces"))) {
        respond_error(rq->ex, 503, STR("server is out of memory for requests"));
    } else {
        front_count_handed_on(rq, "tracesv1-otlphttp");
        api_handle_otlp_http(&rq->front->otlp, rq->ex);
    }
}

static void enter_tempo(struct request *rq)
{
    const struct config *c = rq->front->opt.config;
    struct buf path = BUF_INIT; /* the prefixes are of port 3200, not of this one */
    buf_putz(&path, c->server.path_prefix);
    buf_putz(&path, c->http_api_prefix);
    buf_puts(&path, rq->path.raw);
    bool ok = request_enter(rq) && exchange_rewrite(rq->ex, buf_str(&path));
    buf_deinit(&path);
    if (!ok) {
        respond_error(rq->ex, 503, STR("server is out of memory for requests"));
        return;
    }
    front_count_handed_on(rq, "tracesv1-tempo");
    api_handle_http(rq->front->opt.api, rq->ex);
}

static bool within_rate(struct request *rq)
{
    unsigned retry_s;
    if (limits_take(rq->gate, rq->path.tenant, exchange_request(rq->ex)->raw_path, &retry_s))
        return true;
    set_retry_after(rq->ex, retry_s);
    respond_error(rq->ex, 429, STR("too many requests"));
    return false;
}

/* What auth said yes to is decided by the same tests as what was asked: see ask(). */
static void admitted(struct request *rq)
{
    bool otlp = rq->path.route == ROUTE_OTLP;
    if (rq->answer.outcome != AUTH_OK)
        respond_refused(rq);
    else if (rq->path.place == PLACE_TENANT)
        respond_home(rq);
    else if (rq->path.route == ROUTE_NONE)
        respond_not_found(rq->ex);
    else if (otlp ? !is_post(rq) : !is_get(rq))
        respond_empty(rq->ex, 405);
    else if (!otlp && rq->front->gateway->query_rbac && !front_path_namespaced(rq->path.decoded))
        respond_empty(rq->ex, 403);
    else if (within_rate(rq))
        (otlp ? enter_otlp : enter_tempo)(rq);
}

static void ask(struct request *rq)
{
    const struct config_gateway *g = rq->front->gateway;
    enum auth_permission permission = AUTH_NONE;
    bool namespaces = false;
    if (rq->path.route == ROUTE_OTLP && is_post(rq))
        permission = AUTH_WRITE;
    if (rq->path.route == ROUTE_TEMPO && is_get(rq) &&
        (!g->query_rbac || front_path_namespaced(rq->path.decoded))) {
        permission = AUTH_READ;
        namespaces = g->query_rbac;
    }
    request_check(rq, permission, namespaces);
}

/* ---- the handler ---- */

static void dispatch(struct request *rq)
{
    struct front *f = rq->front;
    struct front_path *p = &rq->path;
    switch (p->place) {
    case PLACE_ROOT:
        rq->handler = "root";
        if (is_get(rq))
            respond_paths(rq->ex);
        else
            respond_empty(rq->ex, 405);
        break;
    case PLACE_NOWHERE:
        respond_not_found(rq->ex);
        break;
    case PLACE_LOGIN:
    case PLACE_CALLBACK:
        rq->handler = p->place == PLACE_LOGIN ? "login" : "callback";
        handle_login(rq);
        break;
    default:
        if (p->route == ROUTE_OTLP && !f->gateway->otlp_http)
            p->route = ROUTE_NONE;
        rq->group = p->route == ROUTE_OTLP    ? GROUP_OTLP
                    : p->route == ROUTE_TEMPO ? GROUP_TEMPO
                                              : GROUP_UI;
        rq->handler = p->route == ROUTE_NONE ? "other" : "traces";
        (void)auth_tenant_id(rq->gate->auth, p->tenant, &rq->tenant_id);
        ask(rq);
        break;
    }
}

void front_handle_http(void *ctx, struct exchange *ex)
{
    struct front *f = ctx;
    struct request *rq = request_new(f, ex, admitted);
    unsigned before = atomic_fetch_add_explicit(&f->inflight, 1, memory_order_relaxed);
    rq->counted = true;
    exchange_set_route(ex, "gateway");
    if (before >= f->gateway->concurrent_request_limit)
        exchange_respond_text(ex, 429, "Server capacity exceeded.");
    else if (!front_path_parse(exchange_arena(ex), exchange_request(ex)->raw_path, &rq->path))
        respond_error(ex, 503, STR("server is out of memory for requests"));
    else
        dispatch(rq);
}
