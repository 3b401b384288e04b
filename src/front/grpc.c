/* SPDX-License-Identifier: Apache-2.0
 * The public OTLP/gRPC port: one method. Tenant by name from the metadata, then credentials, then
 * the method, then permission; statuses as the original's, except where exporters would drop spans
 * that they should send again. */
#include <stdio.h>

#include "front_int.h"

#define EXPORT "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

static void finish(struct request *rq, unsigned status, struct str message)
{
    grpc_finish(rq->ex, status, message, (struct bytes){0});
}

static bool is_export(const struct request *rq)
{
    return str_eq(exchange_request(rq->ex)->grpc_path, STR(EXPORT));
}

static void admitted(struct request *rq)
{
    unsigned retry_s;
    if (rq->answer.outcome != AUTH_OK)
        finish(rq, rq->answer.grpc_status, rq->answer.message);
    else if (!is_export(rq))
        finish(rq, 7, STR("method never permitted"));
    else if (!limits_take(rq->gate, rq->path.tenant, STR(EXPORT), &retry_s))
        finish(rq, 14, STR("too many requests"));
    else if (!request_enter(rq))
        finish(rq, 14, STR("server is out of memory for requests"));
    else {
        front_count_handed_on(rq, "tracesv1-otlpgrpc");
        api_handle_otlp_grpc(rq->front->opt.api, rq->ex);
    }
}

void front_handle_grpc(void *ctx, struct exchange *ex)
{
    struct front *f = ctx;
    const char *header = f->gateway->tenant_header;
    struct request *rq = request_new(f, ex, admitted);
    char text[200];
    unsigned n = exchange_header_count(ex, header);
    unsigned before = atomic_fetch_add_explicit(&f->inflight, 1, memory_order_relaxed);
    rq->counted = true;
    rq->group = "tracesotlpgrpc";
    rq->handler = "traces";
    if (before >= f->gateway->concurrent_request_limit) {
        finish(rq, 14, STR("server capacity exceeded"));
        return;
    }
    if (n != 1) {
        snprintf(text, sizeof(text),
            n == 0 ? "header \"%.100s\" not set" : "header \"%.100s\" requested multiple tenants",
            header);
        finish(rq, 3, str_from(text));
        return;
    }
    (void)exchange_header(ex, header, &rq->path.tenant);
    if (!auth_tenant_id(rq->gate->auth, rq->path.tenant, &rq->tenant_id)) {
        finish(rq, 3, STR("unknown tenant"));
        return;
    }
    request_check(rq, is_export(rq) ? AUTH_WRITE : AUTH_NONE, false);
}
