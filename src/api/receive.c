/* SPDX-License-Identifier: Apache-2.0
 * Shared by the endpoints of the receivers. */
#include "receive.h"

#include <stdio.h>

#include "base/clock.h"
#include "gateway/tenant.h"
#include "model/otlp_write.h"

enum ec receive_tenant(struct api *a, struct exchange *ex, struct str *ret, struct err *err)
{
    struct str header;
    if (!a->opt.config->multitenancy) {
        *ret = STR(TENANT_SINGLE);
        return EC_OK;
    }
    if (exchange_header_count(ex, "X-Scope-OrgID") != 1 ||
        !exchange_header(ex, "X-Scope-OrgID", &header))
        return ERR(err, EC_UNAVAILABLE, "no org id");
    return tenant_one(header, ret, err);
}

bool receive_no_metrics(struct exchange *ex)
{
    return exchange_header_count(ex, "no-generate-metrics") != 0;
}

void receive_submit(struct api *a, struct exchange *ex, struct bytes otlp, const char *receiver,
    const char *transport, ingest_done_fn done, void *arg)
{
    struct ingest_result r = {.ec = EC_OK};
    struct err err = {0};
    struct str tenant;
    if (atomic_load(&a->state) != API_RUNNING) {
        r.ec = ERR(&err, EC_UNAVAILABLE, "server is starting or stopping");
        r.retry_after_ns = NS_PER_S;
    } else {
        r.ec = receive_tenant(a, ex, &tenant, &err);
        if (r.ec == EC_OK && otlp.n != 0) {
            ingest_submit(a->opt.ingest, tenant, otlp, receiver, transport, receive_no_metrics(ex),
                done, arg);
            return;
        }
    }
    if (r.ec != EC_OK)
        snprintf(r.message, sizeof(r.message), "%s", err_msg(&err));
    done(arg, &r);
}

void receive_put_status(struct buf *b, unsigned code, struct str message, int64_t retry_ns)
{
    pb_put_varint(b, 1, code);
    if (message.n != 0)
        pb_put_bytes(b, 2, message);
    if (retry_ns <= 0)
        return;
    size_t any = pb_begin(b, 3);
    pb_put_bytes(b, 1, STR("type.googleapis.com/google.rpc.RetryInfo"));
    size_t value = pb_begin(b, 2), delay = pb_begin(b, 1);
    pb_put_varint(b, 1, (uint64_t)(retry_ns / NS_PER_S));
    if (retry_ns % NS_PER_S != 0)
        pb_put_varint(b, 2, (uint64_t)(retry_ns % NS_PER_S));
    pb_end(b, delay);
    pb_end(b, value);
    pb_end(b, any);
}

void receive_grpc_fail(struct exchange *ex, unsigned code, const struct ingest_result *r)
{
    struct buf b = BUF_INIT;
    if (r->retry_after_ns > 0)
        receive_put_status(&b, code, str_from(r->message), r->retry_after_ns);
    grpc_finish(ex, code, str_from(r->message), buf_bytes(&b));
    buf_deinit(&b);
}

void receive_grpc_unknown(struct exchange *ex, struct str path, const char *service)
{
    struct buf b = BUF_INIT;
    struct str method, name;
    if (path.n > 0)
        path.p++, path.n--;
    name = str_cut(path, '/', &method);
    if (str_eqz(name, service))
        buf_printf(&b, "unknown method " STR_FMT " for service %s", (int)MIN(method.n, 200),
            method.p, service);
    else
        buf_printf(&b, "unknown service " STR_FMT, (int)MIN(name.n, 200), name.p);
    grpc_finish(ex, 12, buf_str(&b), (struct bytes){0});
    buf_deinit(&b);
}

void receive_busy(struct exchange *ex)
{
    exchange_set_header(ex, "Retry-After", STR("1"));
    respond_http_error(ex, 503, "server is out of memory for request bodies");
}

/* A transcoder that fails still asks for something: a string, as large as a quarter perhaps. */
enum ec receive_transcoded(enum ec ec, struct bytes body, const struct buf *out)
{
    uint64_t alone = (uint64_t)body.n + out->cap + out->cap / 4 + 4096;
    return ec == EC_LIMIT && alone > budget_most(out->budget) ? EC_TOO_LARGE : ec;
}

void receive_accepted(struct exchange *ex)
{
    struct buf none = BUF_INIT;
    exchange_respond(ex, 202, NULL, &none, false);
}
