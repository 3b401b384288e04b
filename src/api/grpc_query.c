/* SPDX-License-Identifier: Apache-2.0
 * The gRPC services of ports 3200 and 9095 and their dispatch: tempopb.StreamingQuerier and
 * grpc.health.v1.Health. Texts of what is not there are grpc-go's. */
#include "grpc_query.h"

#include "api/api.h"
#include "model/otlp_write.h"

static void finish(struct exchange *ex, unsigned code, const char *text)
{
    grpc_finish(ex, code, str_from(text), (struct bytes){0});
}

/* As Tempo's: any service name is asked about the whole process, and there is no watching. */
static void health(struct api *a, struct exchange *ex, struct str method)
{
    bool watch = str_eqz(method, "Watch"), list = str_eqz(method, "List");
    exchange_set_route(ex, watch  ? "/grpc.health.v1.Health/Watch"
                           : list ? "/grpc.health.v1.Health/List"
                                  : "/grpc.health.v1.Health/Check");
    if (a->opt.config->multitenancy && exchange_header_count(ex, "X-Scope-OrgID") != 1) {
        finish(ex, 2, "no org id");
        return;
    }
    if (watch) {
        finish(ex, 12, "Watching is not supported");
        return;
    }
    struct buf b = BUF_INIT;
    uint64_t status = atomic_load(&a->state) == API_RUNNING ? 1 : 2; /* SERVING, NOT_SERVING */
    if (list) {                                                      /* {"server": status} */
        size_t entry = pb_begin(&b, 1);
        pb_put_bytes(&b, 1, STR("server"));
        size_t response = pb_begin(&b, 2);
        pb_put_varint(&b, 1, status);
        pb_end(&b, response);
        pb_end(&b, entry);
    } else {
        pb_put_varint(&b, 1, status);
    }
    (void)grpc_queue(ex, buf_bytes(&b));
    buf_deinit(&b);
    finish(ex, 0, "");
}

static void unknown(struct exchange *ex, struct str service, struct str method, bool service_known)
{
    struct buf b = BUF_INIT;
    if (service_known)
        buf_printf(&b, "unknown method " STR_FMT " for service " STR_FMT, (int)MIN(method.n, 200),
            method.p, STR_ARG(service));
    else
        buf_printf(&b, "unknown service " STR_FMT, (int)MIN(service.n, 200), service.p);
    grpc_finish(ex, 12, buf_str(&b), (struct bytes){0});
    buf_deinit(&b);
}

void api_handle_grpc(void *ctx, struct exchange *ex)
{
    struct api *a = ctx;
    struct str path = exchange_request(ex)->grpc_path;
    size_t slash = path.n;
    while (slash > 0 && path.p[slash - 1] != '/')
        slash--;
    if (path.n == 0 || path.p[0] != '/' || slash < 2) {
        struct buf b = BUF_INIT;
        buf_printf(&b, "malformed method name: \"" STR_FMT "\"", (int)MIN(path.n, 200), path.p);
        grpc_finish(ex, 12, buf_str(&b), (struct bytes){0});
        buf_deinit(&b);
        return;
    }
    struct str service = str_n(path.p + 1, slash - 2),
               method = str_n(path.p + slash, path.n - slash);
    bool is_health = str_eqz(service, "grpc.health.v1.Health");
    bool is_query = str_eqz(service, "tempopb.StreamingQuerier");
    const struct grpc_method *m = is_query ? grpc_method_find(method) : NULL;
    if (is_health &&
        (str_eqz(method, "Check") || str_eqz(method, "Watch") || str_eqz(method, "List"))) {
        health(a, ex, method);
    } else if (m == NULL) {
        unknown(ex, service, method, is_health || is_query);
    } else {
        const struct api_caller *caller = exchange_attachment(ex);
        exchange_set_route(ex, m->route);
        if (caller != NULL && caller->restricted) /* nothing here was made to hide */
            finish(ex, 7, "permission denied");
        else if (atomic_load(&a->attached))
            query_job_start_grpc(a, ex, m);
        else
            finish(ex, 14, "server is starting");
    }
}
