/* SPDX-License-Identifier: Apache-2.0
 * Zipkin ingest (spec ingest 9). The reference routes nothing: every method and path is version 2,
 * but for paths with "api/v1/spans"; the media type tells the encoding, and JSON is the rest. */
#include <stdio.h>

#include "receive.h"
#include "receivers/receivers.h"

#define RECEIVER "zipkin/zipkin_receiver"

static void zipkin_done(void *arg, const struct ingest_result *r)
{
    struct exchange *ex = arg;
    struct buf b = BUF_INIT;
    if (r->ec == EC_OK) {
        receive_accepted(ex);
        return;
    }
    buf_putz(&b, "\"Internal Server Error\"");
    exchange_respond(ex, 500, "text/plain; charset=utf-8", &b, false);
}

static enum ec decode(const struct api_zipkin *z, const struct http_request *req, struct buf *pb,
    const char **ret_transport, struct err *err)
{
    struct str type = req->content_type;
    if (str_has(req->path, STR("api/v1/spans"))) {
        if (str_eqz(type, "application/x-thrift")) {
            *ret_transport = "http_v1_thrift";
            return zipkin_v1_thrift_to_pb(req->body, pb, err);
        }
        *ret_transport = "http_v1_json";
        return zipkin_v1_json_to_pb(req->body, z->parse_string_tags, pb, err);
    }
    if (str_eqz(type, "application/x-protobuf")) {
        *ret_transport = "http_v2_proto";
        return zipkin_v2_proto_to_pb(req->body, z->parse_string_tags, pb, err);
    }
    *ret_transport = "http_v2_json";
    return zipkin_v2_json_to_pb(req->body, z->parse_string_tags, pb, err);
}

void api_handle_zipkin(void *ctx, struct exchange *ex)
{
    const struct api_zipkin *z = ctx;
    const struct http_request *req = exchange_request(ex);
    const char *transport;
    struct err err = {0};
    struct buf pb;

    if (req->body_ec != EC_OK && req->body_ec != EC_LIMIT) {
        char text[ERR_MSG_MAX];
        snprintf(text, sizeof(text), STR_FMT, STR_ARG(req->body_error));
        respond_http_error(ex, 400, text);
        return;
    }
    if (req->body_ec == EC_LIMIT) {
        receive_busy(ex);
        return;
    }
    buf_init(&pb, exchange_arena(ex)->budget);
    enum ec ec = receive_transcoded(decode(z, req, &pb, &transport, &err), req->body, &pb);
    if (ec == EC_OK)
        receive_submit(z->api, ex, buf_bytes(&pb), RECEIVER, transport, zipkin_done, ex);
    else if (ec == EC_LIMIT)
        receive_busy(ex);
    else
        respond_http_error(ex, 400, err_msg(&err));
    buf_deinit(&pb);
}
