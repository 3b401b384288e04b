/* SPDX-License-Identifier: Apache-2.0
 * The port for probes and metrics. /live and /ready are one check: the transport threads answer and
 * the public listener takes requests. Neither waits for tenants' issuers nor for the store. */
#include "front_int.h"

static void put_check(struct buf *out, const char *result)
{
    buf_putz(out, "{\n    \"http\": ");
    api_put_json_str(out, str_from(result));
    buf_putz(out, "\n}\n");
}

static void probed(void *arg, bool ok)
{
    struct exchange *ex = arg;
    struct front *f = (struct front *)(uintptr_t)exchange_attachment(ex);
    unsigned inflight = atomic_load_explicit(&f->inflight, memory_order_relaxed);
    const char *problem = inflight >= f->gateway->concurrent_request_limit
                              ? "the limit of concurrent requests is reached"
                          : !ok ? "the public listener does not accept connections"
                                : NULL;
    struct buf b = BUF_INIT;
    struct str hide;
    if (exchange_param(ex, "hide", &hide) && str_eqz(hide, "1"))
        buf_putz(&b, "{}\n");
    else
        put_check(&b, problem == NULL ? "OK" : problem);
    exchange_respond(ex, problem == NULL ? 200 : 503, "application/json; charset=utf-8", &b, false);
}

static void respond_index(struct exchange *ex)
{
    struct buf b = BUF_INIT;
    buf_putz(&b, "<html><body><ul><li><a href=\"/live\">live</a></li><li><a href=\"/ready\">ready"
                 "</a></li><li><a href=\"/metrics\">metrics</a></li></ul></body></html>\n");
    exchange_respond(ex, 200, "text/html; charset=utf-8", &b, false);
}

void front_handle_internal(void *ctx, struct exchange *ex)
{
    struct front *f = ctx;
    const struct http_request *req = exchange_request(ex);
    static const char *const paths[] = {"/live", "/ready", "/metrics", "/"};
    size_t at = 0;
    while (at < ARRAY_LEN(paths) && !str_eqz(req->path, paths[at]))
        at++;
    exchange_set_route(ex, "gateway_internal");
    if (at == ARRAY_LEN(paths)) {
        respond_not_found(ex);
    } else if (!str_eqz(req->method, "GET")) {
        respond_empty(ex, 405);
    } else if (at <= 1) {
        exchange_attach(ex, f);
        server_probe(f->server, f->public_http, probed, ex);
    } else if (at == 2) {
        struct buf b = BUF_INIT;
        metric_render(&b);
        exchange_respond(ex, 200, "text/plain; version=0.0.4; charset=utf-8", &b, true);
    } else {
        respond_index(ex);
    }
}
