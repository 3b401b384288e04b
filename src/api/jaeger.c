/* SPDX-License-Identifier: Apache-2.0
 * Jaeger ingest: the collector's HTTP and gRPC endpoints, the agent's UDP ports (spec ingest 7).
 *
 * Statuses are the reference's: HTTP answers 202 or, whatever the gateway refuses, 500; gRPC keeps
 * the code. A packet has no answer, so what becomes of each is counted. */
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "gateway/tenant.h"
#include "receive.h"
#include "receivers/receivers.h"

#define RECEIVER "jaeger/jaeger_receiver"

/* ---- HTTP ---- */

static void http_done(void *arg, const struct ingest_result *r)
{
    struct exchange *ex = arg;
    char text[ERR_MSG_MAX + 32];
    if (r->ec == EC_OK) {
        receive_accepted(ex);
        return;
    }
    snprintf(text, sizeof(text), "Cannot submit Jaeger batch: %s", r->message);
    respond_http_error(ex, 500, text);
}

/* Go's html.EscapeString: texts that quote the request. */
static void respond_escaped(struct exchange *ex, unsigned status, const char *what, struct str why)
{
    struct buf b = BUF_INIT;
    buf_printf(&b, "%s: ", what);
    for (size_t i = 0; i < MIN(why.n, 1000); i++) {
        char c = why.p[i];
        const char *escaped = c == '<'    ? "&lt;"
                              : c == '>'  ? "&gt;"
                              : c == '&'  ? "&amp;"
                              : c == '\'' ? "&#39;"
                              : c == '"'  ? "&#34;"
                                          : NULL;
        if (escaped != NULL)
            buf_putz(&b, escaped);
        else
            buf_putc(&b, c == 0 ? ' ' : c);
    }
    buf_putc(&b, 0);
    respond_http_error(ex, status, (const char *)b.p);
    buf_deinit(&b);
}

static bool thrift_type(struct exchange *ex, struct str content_type)
{
    struct str params, type = str_trim(str_cut(content_type, ';', &params));
    if (str_ieq(type, STR("application/x-thrift")) ||
        str_ieq(type, STR("application/vnd.apache.thrift.binary")))
        return true;
    if (type.n == 0)
        respond_http_error(ex, 400, "Cannot parse content type: mime: no media type");
    else
        respond_escaped(ex, 400, "Unsupported content type", type);
    return false;
}

void api_handle_jaeger_http(void *ctx, struct exchange *ex)
{
    struct api *a = ctx;
    const struct http_request *req = exchange_request(ex);
    struct err err = {0};
    struct buf pb, none = BUF_INIT;

    if (req->body_ec == EC_LIMIT) {
        receive_busy(ex);
    } else if (req->body_ec != EC_OK && req->body_ec != EC_TOO_LARGE) {
        char text[ERR_MSG_MAX];
        snprintf(text, sizeof(text), STR_FMT, STR_ARG(req->body_error));
        respond_http_error(ex, 400, text);
    } else if (!str_eq(req->path, STR("/api/traces"))) {
        respond_http_error(ex, 404, "404 page not found");
    } else if (!str_eq(req->method, STR("POST"))) {
        exchange_respond(ex, 405, NULL, &none, false);
    } else if (req->body_ec != EC_OK) {
        respond_escaped(ex, 500, "Unable to process request body", req->body_error);
    } else if (thrift_type(ex, req->content_type)) {
        buf_init(&pb, exchange_arena(ex)->budget);
        enum ec ec = receive_transcoded(jaeger_thrift_to_pb(req->body, &pb, &err), req->body, &pb);
        if (ec == EC_OK)
            receive_submit(a, ex, buf_bytes(&pb), RECEIVER, "collector_http", http_done, ex);
        else if (ec == EC_LIMIT)
            receive_busy(ex);
        else
            respond_escaped(ex, 400, "Unable to process request body", str_from(err_msg(&err)));
        buf_deinit(&pb);
    }
}

/* ---- gRPC ---- */

static void grpc_done(void *arg, const struct ingest_result *r)
{
    struct exchange *ex = arg;
    if (r->ec != EC_OK) {
        receive_grpc_fail(ex, ec_grpc_status(r->ec), r);
        return;
    }
    (void)grpc_send(ex, (struct bytes){0}); /* a client that has gone is noticed by finish too */
    grpc_finish(ex, 0, (struct str){0}, (struct bytes){0});
}

/* What decoding refuses: 13 in the reference's words, as it decodes before its handler runs. */
static void grpc_malformed(struct exchange *ex, enum ec ec, const struct err *err)
{
    struct ingest_result r = {.ec = ec};
    if (ec == EC_LIMIT) {
        r.retry_after_ns = NS_PER_S;
        snprintf(r.message, sizeof(r.message), "%s", err_msg(err));
    } else {
        snprintf(r.message, sizeof(r.message), "grpc: error unmarshalling request: %.900s",
            err_msg(err));
    }
    receive_grpc_fail(ex, ec == EC_LIMIT ? 14 : 13, &r);
}

void api_handle_jaeger_grpc(void *ctx, struct exchange *ex)
{
    struct api *a = ctx;
    const struct http_request *req = exchange_request(ex);
    struct err err = {0};
    struct str tenant;
    struct buf pb;

    if (!str_eq(req->grpc_path, STR("/jaeger.api_v2.CollectorService/PostSpans"))) {
        receive_grpc_unknown(ex, req->grpc_path, "jaeger.api_v2.CollectorService");
        return;
    }
    buf_init(&pb, exchange_arena(ex)->budget);
    enum ec ec = receive_transcoded(jaeger_proto_to_pb(req->body, &pb, &err), req->body, &pb);
    if (ec != EC_OK)
        grpc_malformed(ex, ec, &err);
    else if (receive_tenant(a, ex, &tenant, &err) == EC_UNAVAILABLE)
        /* An error without a code of its own: unknown, here. */
        grpc_finish(ex, 2, str_from(err_msg(&err)), (struct bytes){0});
    else
        receive_submit(a, ex, buf_bytes(&pb), RECEIVER, "grpc", grpc_done, ex);
    buf_deinit(&pb);
}

/* ---- UDP ---- */

static struct metric_family udp_packets = {
    .name = "vivace_jaeger_udp_packets_total",
    .help = "Packets received on Jaeger's agent ports",
    .type = METRIC_COUNTER,
    .labels = {"transport", NULL},
};
static struct metric_family udp_lost = {
    .name = "vivace_jaeger_udp_lost_packets_total",
    .help = "Packets on Jaeger's agent ports whose spans were not stored",
    .type = METRIC_COUNTER,
    .labels = {"transport", "reason", NULL},
};

enum lost {
    LOST_OVERFLOW,
    LOST_TRUNCATED,
    LOST_MALFORMED,
    LOST_METHOD,
    LOST_ZIPKIN,
    LOST_TENANT,
    LOST_REFUSED,
    LOST_BUSY,
    LOST_REASONS,
};
static const char *const lost_reasons[LOST_REASONS] = {
    [LOST_OVERFLOW] = "socket_overflow", /* dropped by the kernel */
    [LOST_TRUNCATED] = "truncated",      /* over max_packet_size */
    [LOST_MALFORMED] = "malformed",
    [LOST_METHOD] = "unknown_method",
    [LOST_ZIPKIN] = "zipkin_batch",
    [LOST_TENANT] = "no_tenant", /* multitenancy: a packet names none */
    [LOST_REFUSED] = "refused",  /* rate limit, or no span with good ids */
    [LOST_BUSY] = "unavailable", /* memory, disk, shutdown */
};
_Static_assert(LOST_REASONS <= ARRAY_LEN(((struct api_jaeger_udp *)0)->lost), "room for all");

static struct str transport_of(const struct api_jaeger_udp *u)
{
    return u->compact ? STR("udp_thrift_compact") : STR("udp_thrift_binary");
}

void api_jaeger_udp_init(struct api_jaeger_udp *u)
{
    metric_register(&udp_packets);
    metric_register(&udp_lost);
    u->packets = metric_series1(&udp_packets, transport_of(u));
    for (size_t i = 0; i < LOST_REASONS; i++)
        u->lost[i] = metric_series2(&udp_lost, transport_of(u), str_from(lost_reasons[i]));
}

void api_jaeger_udp_lost(void *ctx, enum udp_loss why, uint64_t n_packets)
{
    const struct api_jaeger_udp *u = ctx;
    metric_add(u->lost[why == UDP_OVERFLOW ? LOST_OVERFLOW : LOST_TRUNCATED], (double)n_packets);
}

static void udp_done(void *arg, const struct ingest_result *r)
{
    const struct api_jaeger_udp *u = arg;
    if (r->ec == EC_OK)
        return;
    metric_inc(u->lost[r->ec == EC_RATE || r->ec == EC_INVALID ? LOST_REFUSED : LOST_BUSY]);
}

static void udp_unreadable(const struct api_jaeger_udp *u, enum ec ec, const struct err *err)
{
    metric_inc(u->lost[ec == EC_NOT_FOUND     ? LOST_METHOD
                       : ec == EC_UNSUPPORTED ? LOST_ZIPKIN
                       : ec == EC_LIMIT       ? LOST_BUSY
                                              : LOST_MALFORMED]);
    log_event(LOG_DEBUG, "packet dropped", LS("transport", transport_of(u)), LE(err));
}

void api_jaeger_udp_packet(void *ctx, struct bytes packet)
{
    const struct api_jaeger_udp *u = ctx;
    struct err err = {0};
    struct buf pb;
    metric_inc(u->packets);
    buf_init(&pb, u->budget);
    enum ec ec = jaeger_agent_to_pb(packet, u->compact, &pb, &err);
    if (ec != EC_OK)
        udp_unreadable(u, ec, &err);
    else if (u->api->opt.config->multitenancy)
        metric_inc(u->lost[LOST_TENANT]);
    else if (pb.n != 0)
        ingest_submit(u->api->opt.ingest, STR(TENANT_SINGLE), buf_bytes(&pb), RECEIVER,
            transport_of(u).p, false, udp_done, ctx);
    buf_deinit(&pb);
}
