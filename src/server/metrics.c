/* SPDX-License-Identifier: Apache-2.0
 * The transport's self-metrics, with Tempo's names. Request metrics only for listeners that ask for
 * them; ingest receivers have their own counters. */
#include <stdio.h>

#include "server_int.h"

static const double duration_bounds[] = {
    .01, .025, .05, .1, .25, .5, 1, 1.5, 2.5, 5, 10, 25, 50, 100};
static struct metric_family durations = {
    .name = "tempo_request_duration_seconds",
    .help = "Time (in seconds) spent serving HTTP requests.",
    .type = METRIC_HISTOGRAM,
    .labels = {"method", "route", "status_code", "ws"},
    .bounds = duration_bounds,
    .n_bounds = ARRAY_LEN(duration_bounds),
};
static struct metric_family inflight = {
    .name = "tempo_inflight_requests",
    .help = "Current number of inflight requests.",
    .type = METRIC_GAUGE,
    .labels = {"method", "route"},
};
static struct metric_family connections = {
    .name = "tempo_tcp_connections",
    .help = "Current number of accepted TCP connections.",
    .type = METRIC_GAUGE,
    .labels = {"protocol"},
};

void request_metrics_register(void)
{
    metric_register(&durations);
    metric_register(&inflight);
    metric_register(&connections);
}

static struct str protocol_of(const struct listener *l)
{
    return l->opt.handler == NULL ? STR("grpc") : STR("http");
}

static struct str method_label(const struct exchange *ex)
{
    static const char *const known[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};
    if (ex->req.is_grpc)
        return STR("gRPC");
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (str_eqz(ex->req.method, known[i]))
            return ex->req.method;
    return STR("other"); /* clients do not choose our label values */
}

void request_metrics_route(struct exchange *ex)
{
    if (!ex->listener->opt.request_metrics)
        return;
    request_metrics_end(ex);
    ex->inflight = metric_series2(&inflight, method_label(ex), str_from(ex->route));
    metric_add(ex->inflight, 1);
}

void request_metrics_end(struct exchange *ex)
{
    if (ex->inflight != NULL)
        metric_add(ex->inflight, -1);
    ex->inflight = NULL;
}

void connection_metrics_add(const struct listener *l, double by)
{
    if (l->opt.request_metrics)
        metric_add(metric_series1(&connections, protocol_of(l)), by);
}

void request_metrics_observe(const struct exchange *ex)
{
    char status[12];
    if (!ex->listener->opt.request_metrics)
        return;
    struct str values[4] = {method_label(ex), str_from(ex->route), {0}, STR("false")};
    if (ex->req.is_grpc) {
        values[2] = ex->grpc_status == 0   ? STR("success")
                    : ex->grpc_status == 1 ? STR("cancel")
                                           : STR("error");
    } else {
        snprintf(status, sizeof(status), "%u", ex->status);
        values[2] = str_from(status);
    }
    double seconds = (double)(clock_mono_ns() - ex->start_ns) / 1e9;
    metric_observe(metric_series(&durations, values), seconds);
}
