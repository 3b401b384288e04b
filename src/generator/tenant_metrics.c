/* SPDX-License-Identifier: Apache-2.0 */
#include "tenant_metrics.h"

#define PREFIX "tempo_metrics_generator_"
#define FAMILY(var, t, n, h, ...)       \
    static struct metric_family var = { \
        .name = PREFIX n, .help = h, .type = t, .labels = {"tenant", ##__VA_ARGS__}}
#define COUNTER(var, n, h, ...) FAMILY(var, METRIC_COUNTER, n, h, ##__VA_ARGS__)
#define GAUGE(var, n, h, ...)   FAMILY(var, METRIC_GAUGE, n, h, ##__VA_ARGS__)

GAUGE(active_processors, "active_processors", "Processors that run.", "processor");
COUNTER(update_failed, "active_processors_update_failed_total", "Settings that were refused.");
COUNTER(spans_received, "spans_received_total", "Spans received.");
COUNTER(bytes_received, "bytes_received_total", "Bytes of spans received.");
COUNTER(
    spans_discarded, "spans_discarded_total", "Spans that made no metrics.", "reason", "processor");
COUNTER(skipped, "metrics_generation_skipped_processor_pushes_total",
    "Pushes that asked for no metrics, times processors.");
GAUGE(active_series, "registry_active_series", "Series in the registry.");
GAUGE(max_active_series, "registry_max_active_series", "Limit of active series, 0: none.");
GAUGE(series_demand, "registry_active_series_demand_estimate", "Series wanted, without limits.");
COUNTER(series_added, "registry_series_added_total", "Series made.");
COUNTER(series_removed, "registry_series_removed_total", "Series removed.");
COUNTER(series_limited, "registry_series_limited_total", "Series refused by the limit.");
GAUGE(active_entities, "registry_active_entities", "Label sets in the registry.");
GAUGE(max_active_entities, "registry_max_active_entities", "Limit of label sets, 0: none.");
GAUGE(entity_demand, "registry_entity_demand_estimate", "Label sets wanted, without limits.");
COUNTER(entities_added, "registry_entities_added_total", "Label sets made.");
COUNTER(entities_removed, "registry_entities_removed_total", "Label sets removed.");
COUNTER(entities_limited, "registry_entities_limited_total", "Label sets refused by the limit.");
COUNTER(collections, "registry_collections_total", "Collections.");
COUNTER(collections_failed, "registry_collections_failed_total",
    "Collections of which some was lost.", "error_type");
COUNTER(edges, "processor_service_graphs_edges", "Edges begun.");
COUNTER(
    expired_edges, "processor_service_graphs_expired_edges", "Edges whose other half never came.");
COUNTER(dropped_spans, "processor_service_graphs_dropped_spans",
    "Spans dropped because too many edges waited.");
COUNTER(dropped_edges, "processor_service_graphs_dropped_edges_total",
    "Edges dropped because a filter dropped their other half.");
COUNTER(side_overflow, "processor_service_graphs_dropped_span_side_cache_overflow_total",
    "Dropped halves that could not be remembered.");

static struct metric *with2(struct metric_family *f, struct str tenant, const char *v)
{
    metric_register(f);
    return metric_series2(f, tenant, str_from(v));
}

static struct metric *with(struct metric_family *f, struct str tenant)
{
    metric_register(f);
    return metric_series1(f, tenant);
}

static struct metric *discarded(struct str tenant, const char *reason, const char *processor)
{
    const struct str values[] = {tenant, str_from(reason), str_from(processor)};
    metric_register(&spans_discarded);
    return metric_series(&spans_discarded, values);
}

void generator_metrics_init(struct tenant_metrics *m, struct str t)
{
    static const char *const unused[] = {
        "span-metrics-count", "span-metrics-latency", "span-metrics-size"};
    for (size_t i = 0; i < ARRAY_LEN(unused); i++) /* shown as Tempo shows them: always 0 */
        metric_set(with2(&active_processors, t, unused[i]), 0);
    *m = (struct tenant_metrics){
        .active = {with2(&active_processors, t, "span-metrics"),
            with2(&active_processors, t, "service-graphs"),
            with2(&active_processors, t, "host-info")},
        .spans_received = with(&spans_received, t),
        .bytes_received = with(&bytes_received, t),
        .outside_slack = discarded(t, "outside_metrics_ingestion_slack", "all"),
        .skipped = with(&skipped, t),
        .update_failed = with(&update_failed, t),
        .active_series = with(&active_series, t),
        .max_active_series = with(&max_active_series, t),
        .series_demand = with(&series_demand, t),
        .active_entities = with(&active_entities, t),
        .max_active_entities = with(&max_active_entities, t),
        .entity_demand = with(&entity_demand, t),
        .collections = with(&collections, t),
        .registry = {with(&series_added, t), with(&series_removed, t), with(&series_limited, t),
            with(&entities_added, t), with(&entities_removed, t), with(&entities_limited, t)},
        .processors = {.span_metrics_filtered =
                           discarded(t, "span_metrics_filtered", "span-metrics"),
            .service_graphs_filtered = discarded(t, "service_graphs_filtered", "service-graphs"),
            .span_metrics_utf8 = discarded(t, "invalid_utf8", "span-metrics"),
            .service_graphs_utf8 = discarded(t, "invalid_utf8", "service-graphs"),
            .host_info_utf8 = discarded(t, "invalid_utf8", "host-info"),
            .edges = with(&edges, t),
            .expired_edges = with(&expired_edges, t),
            .dropped_spans = with(&dropped_spans, t),
            .dropped_edges = with(&dropped_edges, t),
            .side_overflow = with(&side_overflow, t)},
    };
}

void generator_metrics_collection_failed(struct str tenant)
{
    metric_inc(with2(&collections_failed, tenant, "other"));
}

void generator_metrics_update(struct tenant_metrics *m, const struct registry *r)
{
    metric_set(m->active_series, r->active_series);
    metric_set(m->max_active_series, r->series_max);
    metric_set(m->series_demand, registry_demand(r));
    /* Tempo's limiter counts one of the two, and shows that. */
    metric_set(m->active_entities, r->limiter == GENERATOR_LIMIT_ENTITIES ? r->active_entities : 0);
    metric_set(m->max_active_entities, r->entities_max);
    metric_set(m->entity_demand, demand_estimate(&r->entity_demand));
}
