/* SPDX-License-Identifier: Apache-2.0
 * The route table of port 3200 and its dispatch (spec tempo-api 1.2 and 2). */
#include <stdlib.h>

#include "base/log.h"
#include "query_job.h"

enum methods { ANY, GET_ONLY };

struct route {
    const char *path;  /* exact, or up to '{' */
    const char *tail;  /* what follows the segment, or NULL */
    const char *label; /* route label of tempo_request_duration_seconds */
    enum methods methods;
    bool prefixed;  /* http_api_prefix applies */
    bool open_name; /* the segment may hold '/' and be empty (tag names) */
    const struct query_endpoint *query;
    void (*plain)(struct api *a, struct exchange *ex);
};

#define QUERY(name, op, trace, hiding) \
    static const struct query_endpoint name##_endpoint = {name, op, trace, hiding}
QUERY(api_trace_v1, "traces", true, true);
QUERY(api_trace_v2, "traces", true, true);
QUERY(api_search, "search", false, true);
QUERY(api_tags_v1, "metadata", false, false);
QUERY(api_tags_v2, "metadata", false, false);
QUERY(api_values_v1, "metadata", false, false);
QUERY(api_values_v2, "metadata", false, true); /* which tags: the layer in front decides */
QUERY(api_metrics_range, "metrics", false, false);
QUERY(api_metrics_instant, "metrics", false, false);

static void status_config(struct api *a, struct exchange *ex)
{
    api_status_page(a, ex, STR("config"));
}

static void status_usage(struct api *a, struct exchange *ex)
{
    api_status_page(a, ex, STR("usage-stats"));
}

static void status_index(struct api *a, struct exchange *ex)
{
    api_status_page(a, ex, str_n(NULL, 0));
}

static void memberlist(struct api *a, struct exchange *ex)
{
    struct buf b = BUF_INIT;
    (void)a;
    buf_putz(&b, "This instance doesn't use memberlist.");
    exchange_respond(ex, 200, "text/plain", &b, false);
}

static void usage_metrics(struct api *a, struct exchange *ex)
{
    struct buf b = BUF_INIT;
    (void)ingest_usage_render(a->opt.ingest, &b); /* the route is there only with a tracker */
    exchange_respond(ex, 200, "text/plain; version=0.0.4; charset=utf-8", &b, true);
}

static const struct route routes[] = {
    {"/ready", NULL, "ready", ANY, false, false, NULL, api_ready},
    {"/metrics", NULL, "metrics", ANY, false, false, NULL, api_metrics_text},
    {"/api/echo", NULL, "api_echo", ANY, true, false, NULL, api_echo},
    {"/api/status/buildinfo", NULL, "api_status_buildinfo", GET_ONLY, true, false, NULL,
        api_buildinfo},
    {"/config", NULL, "config", GET_ONLY, false, false, NULL, status_config},
    {"/status", NULL, "status", GET_ONLY, false, false, NULL, status_index},
    {"/status/usage-stats", NULL, "status_usage_stats", GET_ONLY, true, false, NULL, status_usage},
    {"/usage_metrics", NULL, "usage_metrics", ANY, false, false, NULL, usage_metrics},
    {"/memberlist", NULL, "memberlist", ANY, false, false, NULL, memberlist},
    {"/api/traces/{", NULL, "api_traces_traceid", ANY, true, false, &api_trace_v1_endpoint, NULL},
    {"/api/v2/traces/{", NULL, "api_v2_traces_traceid", ANY, true, false, &api_trace_v2_endpoint,
        NULL},
    {"/api/search", NULL, "api_search", ANY, true, false, &api_search_endpoint, NULL},
    {"/api/search/tags", NULL, "api_search_tags", ANY, true, false, &api_tags_v1_endpoint, NULL},
    {"/api/v2/search/tags", NULL, "api_v2_search_tags", ANY, true, false, &api_tags_v2_endpoint,
        NULL},
    {"/api/search/tag/{", "/values", "api_search_tag_tagname_values", ANY, true, true,
        &api_values_v1_endpoint, NULL},
    {"/api/v2/search/tag/{", "/values", "api_v2_search_tag_tagname_values", ANY, true, true,
        &api_values_v2_endpoint, NULL},
    {"/api/metrics/query_range", NULL, "api_metrics_query_range", ANY, true, false,
        &api_metrics_range_endpoint, NULL},
    {"/api/metrics/query", NULL, "api_metrics_query", ANY, true, false,
        &api_metrics_instant_endpoint, NULL},
    {"/api/overrides", NULL, "api_overrides", ANY, true, false, NULL, api_user_limits},
    {"/api/mcp", NULL, "api_mcp", ANY, true, false, NULL, api_mcp},
};

void api_put_endpoints(struct api *a, struct buf *out)
{
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        const struct route *r = &routes[i];
        bool segment = strchr(r->path, '{') != NULL;
        buf_printf(out, "%-36s %s%s%s%s\n", r->label,
            r->prefixed ? a->opt.config->http_api_prefix : "", r->path, segment ? "name}" : "",
            r->tail != NULL ? r->tail : "");
    }
    buf_putz(out, "status_endpoint                      /status/{endpoint}\n"
                  "API documentation: https://grafana.com/docs/tempo/latest/api_docs/\n");
}

/* True when path is this route; *ret_arg is the segment. */
static bool route_match(const struct route *r, struct str path, struct str *ret_arg)
{
    size_t n = strlen(r->path);
    *ret_arg = str_n(NULL, 0);
    if (r->path[n - 1] != '{')
        return str_eq(path, str_n(r->path, n));
    struct str fixed = str_n(r->path, n - 1);
    struct str tail = r->tail != NULL ? str_from(r->tail) : str_n(NULL, 0);
    if (path.n < fixed.n + tail.n || !str_starts(path, fixed) || !str_ends(path, tail))
        return false;
    struct str arg = str_n(path.p + fixed.n, path.n - fixed.n - tail.n);
    if (!r->open_name && (arg.n == 0 || memchr(arg.p, '/', arg.n) != NULL))
        return false;
    *ret_arg = arg;
    return true;
}

/* Strips a prefix such as "/tempo"; false when the path does not begin with it. */
static bool strip_prefix(struct str *path, const char *prefix)
{
    struct str p = str_from(prefix);
    if (p.n == 0)
        return true;
    if (!str_starts(*path, p) || path->n == p.n || path->p[p.n] != '/')
        return false;
    path->p += p.n;
    path->n -= p.n;
    return true;
}

static bool method_ok(struct exchange *ex, enum methods methods)
{
    const struct http_request *req = exchange_request(ex);
    if (methods == ANY || str_eq(req->method, STR("GET")) || str_eq(req->method, STR("HEAD")))
        return true;
    struct buf empty = BUF_INIT;
    exchange_set_header(ex, "Allow", STR("GET"));
    exchange_respond(ex, 405, NULL, &empty, false);
    return false;
}

/* A restricted caller reaches only what hides: also when the layer in front forgot an endpoint. */
static bool allowed(struct exchange *ex, const struct route *r)
{
    const struct api_caller *c = exchange_attachment(ex);
    if (c == NULL || !c->restricted || (r != NULL && r->query != NULL && r->query->hiding))
        return true;
    struct buf empty = BUF_INIT;
    exchange_respond(ex, 403, NULL, &empty, false);
    return false;
}

/* Endpoints that work while the store still replays its log. */
static bool without_store(void (*plain)(struct api *a, struct exchange *ex))
{
    return plain == api_ready || plain == api_echo || plain == api_buildinfo ||
           plain == api_metrics_text || plain == memberlist;
}

static void dispatch(struct api *a, struct exchange *ex, const struct route *r, struct str arg)
{
    exchange_set_route(ex, r->label);
    if (!method_ok(ex, r->methods) || !allowed(ex, r))
        return;
    if (!atomic_load(&a->attached) && (r->query != NULL || !without_store(r->plain)))
        api_ready(a, ex); /* says what is not running yet */
    else if (r->query != NULL)
        query_job_start(a, ex, r->query, arg);
    else
        r->plain(a, ex);
}

/* Some routes are there only when the configuration asks for them. */
static bool present(const struct api *a, const struct route *r)
{
    const struct config *c = a->opt.config;
    return r->plain == api_metrics_text  ? c->server.register_instrumentation
           : r->plain == api_mcp         ? c->mcp_enabled
           : r->plain == api_user_limits ? c->user_limits_on
           : r->plain == usage_metrics   ? c->attribution.enabled
                                         : true;
}

void api_handle_http(void *ctx, struct exchange *ex)
{
    struct api *a = ctx;
    const struct http_request *req = exchange_request(ex);
    struct str path = req->path, arg;
    if (req->body_ec != EC_OK) { /* bodies mean nothing here, but a bad one is said so */
        struct buf b = BUF_INIT;
        buf_puts(&b, req->body_error);
        exchange_respond(ex, ec_http_status(req->body_ec), "text/plain; charset=utf-8", &b, false);
        return;
    }
    if (exchange_redirect_clean(ex))
        return;
    if (strip_prefix(&path, a->opt.config->server.path_prefix)) {
        struct str api_path = path;
        bool has_prefix = strip_prefix(&api_path, a->opt.config->http_api_prefix);
        for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
            const struct route *r = &routes[i];
            if (r->prefixed ? has_prefix && route_match(r, api_path, &arg)
                            : route_match(r, path, &arg)) {
                if (!present(a, r))
                    break;
                dispatch(a, ex, r, arg);
                return;
            }
        }
        if (str_starts(path, STR("/status/"))) {
            exchange_set_route(ex, "status_endpoint");
            if (!atomic_load(&a->attached))
                api_ready(a, ex);
            else if (method_ok(ex, GET_ONLY) && allowed(ex, NULL))
                api_status_page(a, ex, str_n(path.p + 8, path.n - 8));
            return;
        }
    }
    exchange_set_route(ex, "other");
    respond_http_error(ex, 404, "404 page not found");
}

void api_handle_internal(void *ctx, struct exchange *ex)
{
    const struct http_request *req = exchange_request(ex);
    if (str_eq(req->path, STR("/ready")) && str_eq(req->method, STR("GET")))
        api_ready(ctx, ex);
    else
        respond_http_error(ex, 404, "404 page not found");
}

enum ec api_new(const struct api_options *opt, struct api **ret, struct err *err)
{
    struct api *a = xcalloc(1, sizeof(*a));
    a->opt = *opt;
    atomic_store(&a->attached, opt->store != NULL);
    if (a->opt.query_bytes_max == 0)
        a->opt.query_bytes_max = 64u << 20;
    query_jobs_register();
    api_mcp_register();
    if (query_room_new(opt->query_budget, a->opt.query_bytes_max, &a->room, err) != EC_OK) {
        api_free(a);
        return EC_LIMIT;
    }
    const char *const *deny = opt->config->url_deny_list;
    while (deny != NULL && deny[a->n_deny] != NULL)
        a->n_deny++;
    a->deny = xcalloc(a->n_deny, sizeof(*a->deny));
    for (size_t i = 0; i < a->n_deny; i++) {
        struct buf pattern = BUF_INIT; /* a match anywhere in the URL; ours are anchored */
        buf_printf(&pattern, ".*(?:%s).*", deny[i]);
        enum ec ec = regex_new(buf_str(&pattern), &a->deny[i], err);
        buf_deinit(&pattern);
        if (ec != EC_OK) {
            api_free(a);
            return ec;
        }
    }
    *ret = a;
    return EC_OK;
}

void api_attach(
    struct api *a, struct store *store, struct overrides *overrides, struct ingest *ingest)
{
    a->opt.store = store;
    a->opt.overrides = overrides;
    a->opt.ingest = ingest;
    atomic_store(&a->attached, true);
}

void api_free(struct api *a)
{
    if (a == NULL)
        return;
    query_room_free(a->room);
    for (size_t i = 0; i < a->n_deny; i++)
        regex_free(a->deny[i]);
    free(a->deny);
    free(a);
}

void api_set_state(struct api *a, enum api_state s)
{
    atomic_store(&a->state, s);
}
