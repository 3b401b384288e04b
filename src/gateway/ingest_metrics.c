/* SPDX-License-Identifier: Apache-2.0
 * Distributor and receiver metrics. */
#include "ingest_metrics.h"

#include "base/clock.h"

static const double duration_bounds[] = {.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10};
static const double batch_bounds[] = {2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};
static const double distance_bounds[] = {300, 1800, 3600};

#define FAMILY(var, name_, help_, type_, ...) \
    static struct metric_family var = {       \
        .name = name_, .help = help_, .type = type_, .labels = {__VA_ARGS__}}

FAMILY(ingress_bytes, "tempo_distributor_ingress_bytes_total",
    "The total number of bytes received per tenant, before limits", METRIC_COUNTER, "tenant", NULL);
FAMILY(bytes_received, "tempo_distributor_bytes_received_total",
    "The total number of proto bytes received per tenant, after limits", METRIC_COUNTER, "tenant",
    NULL);
FAMILY(spans_received, "tempo_distributor_spans_received_total",
    "The total number of spans received per tenant", METRIC_COUNTER, "tenant", NULL);
FAMILY(discarded, "tempo_discarded_spans_total", "The total number of samples that were discarded.",
    METRIC_COUNTER, "reason", "tenant", NULL);
FAMILY(truncated, "tempo_distributor_attributes_truncated_total",
    "The total number of attribute keys or values truncated per tenant", METRIC_COUNTER, "tenant",
    "scope", NULL);
FAMILY(accepted_spans, "tempo_receiver_accepted_spans",
    "Number of spans successfully pushed into the pipeline.", METRIC_COUNTER, "receiver",
    "transport", NULL);
FAMILY(refused_spans, "tempo_receiver_refused_spans",
    "Number of spans that could not be pushed into the pipeline.", METRIC_COUNTER, "receiver",
    "transport", NULL);

FAMILY(debug_spans, "tempo_distributor_debug_spans_received_total",
    "Debug counters for spans received per tenant", METRIC_COUNTER, "tenant", "name", "service",
    NULL);

static const double delay_bounds[] = {.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10};
static struct metric_family added_latency = {
    .name = "tempo_distributor_added_latency_seconds",
    .help = "Additional artificial latency of requests.",
    .type = METRIC_HISTOGRAM,
    .labels = {"tenant", NULL},
    .bounds = delay_bounds,
    .n_bounds = ARRAY_LEN(delay_bounds),
};
static struct metric_family push_duration = {
    .name = "tempo_distributor_push_duration_seconds",
    .help = "Records the amount of time to push a batch, until it is durable.",
    .type = METRIC_HISTOGRAM,
    .bounds = duration_bounds,
    .n_bounds = ARRAY_LEN(duration_bounds),
};
static struct metric_family traces_per_batch = {
    .name = "tempo_distributor_traces_per_batch",
    .help = "The number of traces in each batch",
    .type = METRIC_HISTOGRAM,
    .bounds = batch_bounds,
    .n_bounds = ARRAY_LEN(batch_bounds),
};
static struct metric_family distance_future = {
    .name = "tempo_spans_distance_in_future_seconds",
    .help = "The number of seconds in the future of the span end time in relation to the ingestion "
            "time.",
    .type = METRIC_HISTOGRAM,
    .labels = {"tenant", NULL},
    .bounds = distance_bounds,
    .n_bounds = ARRAY_LEN(distance_bounds),
};
static struct metric_family distance_past = {
    .name = "tempo_spans_distance_in_past_seconds",
    .help =
        "The number of seconds in the past of the span end time in relation to the ingestion time.",
    .type = METRIC_HISTOGRAM,
    .labels = {"tenant", NULL},
    .bounds = distance_bounds,
    .n_bounds = ARRAY_LEN(distance_bounds),
};

void ingest_metrics_register(void)
{
    struct metric_family *all[] = {&ingress_bytes, &bytes_received, &spans_received, &discarded,
        &truncated, &accepted_spans, &refused_spans, &push_duration, &traces_per_batch,
        &distance_future, &distance_past, &debug_spans, &added_latency};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        metric_register(all[i]);
}

void ingest_tenant_metrics(struct ingest_tenant *t, struct str id)
{
    t->ingress = metric_series1(&ingress_bytes, id);
    t->received_bytes = metric_series1(&bytes_received, id);
    t->received_spans = metric_series1(&spans_received, id);
    t->distance_future = metric_series1(&distance_future, id);
    t->distance_past = metric_series1(&distance_past, id);
}

void ingest_count_ingress(struct ingest_tenant *t, uint64_t bytes)
{
    metric_add(t->ingress, (double)bytes);
}

void ingest_count_received(struct ingest_tenant *t, const struct batch *b)
{
    metric_add(t->received_bytes, (double)b->canonical_bytes);
    metric_add(t->received_spans, b->n_spans);
    int64_t now_s = clock_wall_ns() / NS_PER_S;
    unsigned n_traces = 0; /* runs of one trace id: what exporters send is grouped by trace */
    for (uint32_t i = 0; i < b->n_spans; i++) {
        const struct batch_span *s = &b->spans[i];
        int64_t end_s = (int64_t)(s->end_ns / (uint64_t)NS_PER_S);
        if (end_s > now_s)
            metric_observe(t->distance_future, (double)(end_s - now_s));
        else if (end_s < now_s)
            metric_observe(t->distance_past, (double)(now_s - end_s));
        n_traces += i == 0 || !trace_id_eq(&s->trace_id, &s[-1].trace_id);
    }
    metric_observe(metric_series0(&traces_per_batch), n_traces);
}

void ingest_count_discarded(struct ingest_tenant *t, const char *reason, uint64_t n)
{
    metric_add(metric_series2(&discarded, str_from(reason), str_n(t->id, t->id_n)), (double)n);
}

void ingest_count_truncated(struct ingest_tenant *t, const char *scope, uint64_t n)
{
    metric_add(metric_series2(&truncated, str_n(t->id, t->id_n), str_from(scope)), (double)n);
}

static struct str service_of(const struct batch *b, const struct batch_resource *r)
{
    for (uint32_t i = 0; i < r->attr_n; i++) {
        const struct attr *a = &b->attrs[r->attr_first + i];
        if (str_eq(a->key, STR("service.name")))
            return a->value.type == VALUE_STR ? a->value.s : STR("");
    }
    return STR("");
}

void ingest_count_debug(struct ingest_tenant *t, const struct batch *b, bool root_only)
{
    for (uint32_t i = 0; i < b->n_spans; i++) {
        const struct batch_span *s = &b->spans[i];
        if (root_only && s->parent_id != 0)
            continue;
        const struct str values[] = {
            str_n(t->id, t->id_n), s->name, service_of(b, &b->resources[s->resource])};
        metric_inc(metric_series(&debug_spans, values));
    }
}

void ingest_observe_delay(struct ingest_tenant *t, double seconds)
{
    metric_observe(metric_series1(&added_latency, str_n(t->id, t->id_n)), seconds);
}

struct metric *ingest_metric_push_duration(void)
{
    return metric_series0(&push_duration);
}

void ingest_metric_receiver(const char *receiver, const char *transport,
    struct metric **ret_accepted, struct metric **ret_refused)
{
    *ret_accepted = metric_series2(&accepted_spans, str_from(receiver), str_from(transport));
    *ret_refused = metric_series2(&refused_spans, str_from(receiver), str_from(transport));
}
