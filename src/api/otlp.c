/* SPDX-License-Identifier: Apache-2.0
 * OTLP ingest over HTTP and gRPC: from the exchange to the gateway and back, with exact statuses
 * (spec ingest 4 and 5). The exchange waits for the commit without a thread. */
#include <stdio.h>
#include <stdlib.h>

#include "api_internal.h"
#include "base/clock.h"
#include "json_out.h"
#include "model/otlp_write.h"
#include "receive.h"
#include "receivers/receivers.h"

#define RECEIVER "otlp/otlp_receiver"

enum media { MEDIA_PROTOBUF, MEDIA_JSON, MEDIA_OTHER };
static const char *const media_types[] = {
    "application/x-protobuf", "application/json", "application/json"};

/* google.rpc code of an ingest outcome. EC_LIMIT and friends are 14 (retryable). */
static unsigned rpc_code(enum ec ec)
{
    return ec_grpc_status(ec);
}

static void put_status_json(struct buf *b, unsigned code, struct str message, int64_t retry_ns)
{
    buf_printf(b, "{\"code\":%u,\"message\":", code);
    json_str(b, message);
    if (retry_ns > 0) {
        buf_putz(b,
            ",\"details\":[{\"@type\":\"type.googleapis.com/google.rpc.RetryInfo\",\"retryDelay\":\"");
        if (retry_ns % NS_PER_S == 0)
            buf_printf(b, "%llds\"}]", (long long)(retry_ns / NS_PER_S));
        else
            buf_printf(b, "%.3fs\"}]", (double)retry_ns / (double)NS_PER_S);
    }
    buf_putc(b, '}');
}

/* ExportTraceServiceResponse: partial_success is present and, when all is well, empty: Tempo's 0a
 * 00. */
static void put_response_proto(struct buf *b, const struct ingest_result *r)
{
    size_t m = pb_begin(b, 1);
    if (r->n_rejected != 0) {
        pb_put_varint(b, 1, r->n_rejected);
        pb_put_bytes(b, 2, str_from(r->message));
    }
    pb_end(b, m);
}

static void put_response_json(struct buf *b, const struct ingest_result *r)
{
    buf_putz(b, "{\"partialSuccess\":{");
    if (r->n_rejected != 0) {
        buf_printf(
            b, "\"rejectedSpans\":\"%llu\",\"errorMessage\":", (unsigned long long)r->n_rejected);
        json_str(b, str_from(r->message));
    }
    buf_putz(b, "}}");
}

/* spec ingest 5.2; what the transport names by itself keeps its HTTP status. */
static unsigned http_of_rpc(unsigned code)
{
    switch (code) {
    case 1:
    case 4:
    case 10:
    case 11:
    case 14:
    case 15:
        return 503;
    case 3:
        return 400;
    case 7:
        return 403;
    case 8:
        return 429;
    case 12:
        return 404;
    case 16:
        return 401;
    default:
        return 500;
    }
}

static void respond_status(struct exchange *ex, enum media media, unsigned http, unsigned code,
    struct str message, int64_t retry_ns)
{
    struct buf b = BUF_INIT;
    if (media == MEDIA_OTHER) { /* what the reference answers when it cannot choose a format */
        http = 500;
        buf_putz(&b, "{\"code\": 13, \"message\": \"failed to marshal error message\"}");
    } else if (media == MEDIA_PROTOBUF) {
        receive_put_status(&b, code, message, retry_ns);
    } else {
        put_status_json(&b, code, message, retry_ns);
    }
    if (retry_ns > 0 && (http == 429 || http == 503)) {
        char text[24];
        int n =
            snprintf(text, sizeof(text), "%lld", (long long)((retry_ns + NS_PER_S - 1) / NS_PER_S));
        exchange_set_header(ex, "Retry-After", str_n(text, (size_t)n));
    }
    exchange_respond(ex, http, media_types[media], &b, false);
}

static enum media media_of(struct str content_type)
{
    struct str params, type = str_trim(str_cut(content_type, ';', &params));
    if (str_ieq(type, STR("application/x-protobuf")))
        return MEDIA_PROTOBUF;
    return str_ieq(type, STR("application/json")) ? MEDIA_JSON : MEDIA_OTHER;
}

/* ---- HTTP ---- */

struct http_wait {
    struct exchange *ex;
    enum media media;
};

static void http_done(void *arg, const struct ingest_result *r)
{
    struct http_wait *w = arg;
    struct buf b = BUF_INIT;
    if (r->ec != EC_OK) {
        /* 8 would be 429, which clients try again. */
        unsigned code = r->ec == EC_TOO_LARGE ? 3 : rpc_code(r->ec);
        respond_status(
            w->ex, w->media, http_of_rpc(code), code, str_from(r->message), r->retry_after_ns);
    } else {
        if (w->media == MEDIA_JSON)
            put_response_json(&b, r);
        else
            put_response_proto(&b, r);
        exchange_respond(w->ex, 200, media_types[w->media], &b, false);
    }
    free(w);
}

static void respond_plain(struct exchange *ex, unsigned status, const char *text)
{
    struct buf b = BUF_INIT;
    buf_putz(&b, text);
    exchange_respond(ex, status, "text/plain", &b, false);
}

static bool empty_request(enum media media, struct bytes body)
{
    return media == MEDIA_PROTOBUF && body.n == 0;
}

static void http_export(struct api *a, struct exchange *ex, enum media media)
{
    const struct http_request *req = exchange_request(ex);
    struct bytes otlp = req->body;
    struct buf pb;
    struct str tenant;
    struct err err = {0};
    static const struct ingest_result ok = {.ec = EC_OK};
    buf_init(&pb, exchange_arena(ex)->budget);
    if (media == MEDIA_JSON) {
        enum ec ec = otlp_json_to_pb(req->body, &pb, &err);
        if (ec != EC_OK) {
            ec = receive_transcoded(ec, req->body, &pb);
            unsigned code = ec == EC_TOO_LARGE ? 3 : rpc_code(ec);
            respond_status(ex, media, http_of_rpc(code), code, str_from(err_msg(&err)),
                ec == EC_LIMIT ? NS_PER_S : 0);
            buf_deinit(&pb);
            return;
        }
        otlp = buf_bytes(&pb);
    }
    struct http_wait *w = xmalloc(sizeof(*w));
    *w = (struct http_wait){.ex = ex, .media = media};
    if (empty_request(media, otlp) || (media == MEDIA_JSON && otlp.n == 0)) {
        http_done(w, &ok); /* nothing in it: success before the tenant is looked at */
    } else if (receive_tenant(a, ex, &tenant, &err) != EC_OK) {
        struct ingest_result r = {.ec = err.code};
        snprintf(r.message, sizeof(r.message), "%s", err_msg(&err));
        http_done(w, &r);
    } else {
        ingest_submit(
            a->opt.ingest, tenant, otlp, RECEIVER, "http", receive_no_metrics(ex), http_done, w);
    }
    buf_deinit(&pb);
}

void api_handle_otlp_http(void *ctx, struct exchange *ex)
{
    const struct api_otlp_http *o = ctx;
    const struct http_request *req = exchange_request(ex);
    struct str type = req->content_type;
    enum media media = media_of(type);
    if (req->body_ec != EC_OK) {
        bool busy = req->body_ec == EC_LIMIT;
        respond_status(ex, type.n == 0 ? MEDIA_JSON : media, busy ? 503 : 400, busy ? 14 : 3,
            req->body_error, busy ? NS_PER_S : 0);
        return;
    }
    if (!str_eqz(req->path, o->path)) {
        respond_http_error(ex, 404, "404 page not found");
        return;
    }
    if (!str_eq(req->method, STR("POST"))) {
        respond_plain(ex, 405, "405 method not allowed, supported: [POST]");
        return;
    }
    if (media == MEDIA_OTHER) {
        respond_plain(ex, 415,
            "415 unsupported media type, supported: [application/json, application/x-protobuf]");
        return;
    }
    if (atomic_load(&o->api->state) != API_RUNNING) {
        respond_status(ex, media, 503, 14, STR("server is starting or stopping"), NS_PER_S);
        return;
    }
    http_export(o->api, ex, media);
}

/* ---- gRPC ---- */

static void grpc_done(void *arg, const struct ingest_result *r)
{
    struct exchange *ex = arg;
    struct buf b = BUF_INIT;
    if (r->ec == EC_OK) {
        put_response_proto(&b, r);
        (void)grpc_send(ex, buf_bytes(&b)); /* a client that has gone is noticed by finish too */
        grpc_finish(ex, 0, str_n(NULL, 0), (struct bytes){0});
    } else {
        receive_grpc_fail(ex, rpc_code(r->ec), r);
    }
    buf_deinit(&b);
}

void api_handle_otlp_grpc(void *ctx, struct exchange *ex)
{
    struct api *a = ctx;
    const struct http_request *req = exchange_request(ex);
    struct str tenant;
    struct ingest_result r = {.ec = EC_OK};
    struct err err = {0};
    if (!str_eq(
            req->grpc_path, STR("/opentelemetry.proto.collector.trace.v1.TraceService/Export"))) {
        receive_grpc_unknown(
            ex, req->grpc_path, "opentelemetry.proto.collector.trace.v1.TraceService");
        return;
    }
    if (atomic_load(&a->state) != API_RUNNING) {
        r.ec = ERR(&err, EC_UNAVAILABLE, "server is starting or stopping");
        r.retry_after_ns = NS_PER_S;
    } else if (req->body.n != 0) {
        r.ec = receive_tenant(a, ex, &tenant, &err);
        if (r.ec == EC_OK) {
            ingest_submit(a->opt.ingest, tenant, req->body, RECEIVER, "grpc",
                receive_no_metrics(ex), grpc_done, ex);
            return;
        }
    }
    if (r.ec != EC_OK)
        snprintf(r.message, sizeof(r.message), "%s", err_msg(&err));
    grpc_done(ex, &r);
}
