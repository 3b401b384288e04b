/* SPDX-License-Identifier: Apache-2.0
 * Listeners out of the configuration: the receivers, and what they share with the API's. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "cmd.h"
#include "gateway.h"

#define HTTP_ENCODINGS \
    (ENC_GZIP | ENC_ZSTD | ENC_DEFLATE | ENC_SNAPPY | ENC_SNAPPY_FRAMED | ENC_LZ4)
#define GRPC_ENCODINGS (ENC_GZIP | ENC_ZSTD | ENC_SNAPPY_FRAMED)

struct receivers {
    struct receivers_options opt;
    struct api_otlp_http otlp_http[CONFIG_RECEIVERS_MAX];
    struct api_zipkin zipkin[CONFIG_RECEIVERS_MAX];
    struct cors_options cors[RECEIVER_KINDS][CONFIG_RECEIVERS_MAX];
    struct api_jaeger_udp jaeger_udp[2 * CONFIG_RECEIVERS_MAX];
    struct udp *udp[2 * CONFIG_RECEIVERS_MAX];
    size_t n_udp;
};

struct tls_options listener_tls(const struct config_tls *t)
{
    const char *auth = t->client_auth_type == NULL ? "" : t->client_auth_type;
    bool required = strcmp(auth, "RequireAndVerifyClientCert") == 0 ||
                    strcmp(auth, "RequireAnyClientCert") == 0;
    return (struct tls_options){
        .cert_file = t->cert_file,
        .key_file = t->key_file,
        .cert_pem = t->cert_pem,
        .key_pem = t->key_pem,
        .client_ca_file = t->client_ca_file,
        .client_cert_required = required,
        .min_version = t->min_version,
        .max_version = t->max_version,
        .cipher_suites = t->cipher_suites,
        .reload_interval_ns = t->reload_interval,
    };
}

enum ec listener_open(const struct config *c, struct server *s,
    const struct listener_options *wanted, struct err *err)
{
    struct listener_options o = *wanted;
    struct listener *l;
    unsigned port;
    char private[GATEWAY_ADDRESS_MAX];
    bool tls = o.tls.cert_file != NULL || o.tls.cert_pem != NULL;
    bool verified = tls && o.tls.client_ca_file != NULL && o.tls.client_cert_required;
    if (!verified)
        o.address = gateway_private(c, o.name, o.address, private);
    TRY(server_listen(s, &o, &l, &port, err));
    log_event(LOG_INFO, "listening", LZ("listener", o.name), LZ("address", o.address),
        LU("port", port), LB("tls", tls));
    return EC_OK;
}

struct receivers *receivers_new(const struct receivers_options *opt)
{
    struct receivers *r = xcalloc(1, sizeof(*r));
    r->opt = *opt;
    return r;
}

static enum ec receiver_open(struct receivers *all, const struct config_receiver *r,
    struct listener_options *o, struct err *err)
{
    o->address = r->endpoint;
    o->body_budget = all->opt.bodies;
    o->tls = listener_tls(&r->tls);
    o->tls.client_cert_required = o->tls.client_ca_file != NULL;
    return listener_open(all->opt.config, all->opt.server, o, err);
}

static enum ec grpc_open(struct receivers *all, const struct config_receiver *r, const char *name,
    exchange_fn handler, struct err *err)
{
    struct listener_options o = {
        .name = name,
        .http2 = true,
        .grpc = true,
        .body_bytes_max = r->max_recv_msg_bytes + 5,
        .grpc_message_bytes_max = r->max_recv_msg_bytes,
        .encodings = GRPC_ENCODINGS,
        .streams_max = r->max_concurrent_streams,
        .keepalive_time_ms = (unsigned)(r->keepalive_time / NS_PER_MS),
        .keepalive_timeout_ms = (unsigned)(r->keepalive_timeout / NS_PER_MS),
        .grpc_handler = handler,
        .ctx = all->opt.api,
    };
    return receiver_open(all, r, &o, err);
}

static enum ec http_open(struct receivers *all, enum receiver_kind kind, size_t i, const char *name,
    exchange_fn handler, void *ctx, struct err *err)
{
    const struct config_receiver *r = &all->opt.config->receivers[kind].p[i];
    all->cors[kind][i] = (struct cors_options){.allowed_origins = r->cors_allowed_origins,
        .allowed_headers = r->cors_allowed_headers,
        .max_age_s = r->cors_max_age_s};
    struct listener_options o = {
        .name = name,
        .http1 = true,
        .http2 = true,
        .body_bytes_max = r->max_request_body_size,
        .inflated_bytes_max = r->max_request_body_size,
        .encodings = HTTP_ENCODINGS,
        .cors = r->cors_allowed_origins != NULL && r->cors_allowed_origins[0] != NULL,
        .cors_options = &all->cors[kind][i],
        .read_timeout_ms = (unsigned)(r->read_timeout / NS_PER_MS),
        .idle_timeout_ms = (unsigned)(r->idle_timeout / NS_PER_MS),
        .handler = handler,
        .ctx = ctx,
    };
    return receiver_open(all, r, &o, err);
}

static enum ec udp_open(
    struct receivers *all, const struct config_receiver *r, bool compact, struct err *err)
{
    struct api_jaeger_udp *u = &all->jaeger_udp[all->n_udp];
    unsigned port;
    char private[GATEWAY_ADDRESS_MAX];
    const char *name = compact ? "jaeger-thrift-compact" : "jaeger-thrift-binary";
    const char *address = gateway_private(all->opt.config, name, r->endpoint, private);
    *u = (struct api_jaeger_udp){
        .api = all->opt.api, .budget = all->opt.packets, .compact = compact};
    api_jaeger_udp_init(u);
    struct udp_options o = {.address = address,
        .packet_bytes_max = (size_t)r->max_packet_size,
        .socket_bytes = (size_t)r->socket_buffer_size,
        .packet = api_jaeger_udp_packet,
        .lost = api_jaeger_udp_lost,
        .ctx = u};
    TRY(udp_listen(&o, &all->udp[all->n_udp], &port, err));
    log_event(LOG_INFO, "listening", LZ("listener", name), LZ("address", address), LU("port", port),
        LU("socket_bytes", udp_socket_bytes(all->udp[all->n_udp])));
    all->n_udp++;
    return EC_OK;
}

static enum ec kind_open(struct receivers *all, enum receiver_kind kind, size_t i, struct err *err)
{
    const struct config_receiver *r = &all->opt.config->receivers[kind].p[i];
    struct api *api = all->opt.api;
    switch (kind) {
    case RECEIVER_OTLP_GRPC:
        return grpc_open(all, r, "otlp-grpc", api_handle_otlp_grpc, err);
    case RECEIVER_OTLP_HTTP:
        all->otlp_http[i] = (struct api_otlp_http){.api = api, .path = r->traces_url_path};
        return http_open(all, kind, i, "otlp-http", api_handle_otlp_http, &all->otlp_http[i], err);
    case RECEIVER_JAEGER_GRPC:
        return grpc_open(all, r, "jaeger-grpc", api_handle_jaeger_grpc, err);
    case RECEIVER_JAEGER_HTTP:
        return http_open(all, kind, i, "jaeger-thrift-http", api_handle_jaeger_http, api, err);
    case RECEIVER_JAEGER_COMPACT:
    case RECEIVER_JAEGER_BINARY:
        return udp_open(all, r, kind == RECEIVER_JAEGER_COMPACT, err);
    case RECEIVER_ZIPKIN:
        all->zipkin[i] = (struct api_zipkin){.api = api, .parse_string_tags = r->parse_string_tags};
        return http_open(all, kind, i, "zipkin", api_handle_zipkin, &all->zipkin[i], err);
    case RECEIVER_KINDS:
        break;
    }
    ASSERT(false);
    return EC_INTERNAL;
}

enum ec receivers_listen(struct receivers *r, struct err *err)
{
    for (unsigned kind = 0; kind < RECEIVER_KINDS; kind++)
        for (size_t i = 0; i < r->opt.config->receivers[kind].n; i++)
            TRY(kind_open(r, (enum receiver_kind)kind, i, err));
    return EC_OK;
}

void receivers_stop(struct receivers *r)
{
    if (r == NULL)
        return;
    while (r->n_udp > 0)
        udp_close(r->udp[--r->n_udp]);
}

void receivers_free(struct receivers *r)
{
    receivers_stop(r);
    free(r);
}
