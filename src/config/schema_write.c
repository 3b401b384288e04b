/* SPDX-License-Identifier: Apache-2.0
 * Keys of the write path: `distributor`, `ingester` (2.9) and `live_store` (3.0). */
#include "schema.h"
#include "schema_shared.h"

/* clang-format off */
#define BASE struct config_log_spans
static const struct key log_spans_keys[] = {
    K("enabled", BOOL, I, "false", "log a line for each span", TO(enabled)),
    K("include_all_attributes", BOOL, I, "false", "with its attributes", TO(include_all_attributes)),
    K("filter_by_status_error", BOOL, I, "false", "only spans with status error", TO(filter_by_status_error)),
};
static BLOCK(block_log_spans, "distributor.LogSpansConfig", log_spans_keys);
#undef BASE

#define BASE struct config_metric_spans
static const struct key metric_spans_keys[] = {
    K("enabled", BOOL, I, "false", "count spans by name and service", TO(enabled)),
    K("root_only", BOOL, I, "false", "only spans without a parent", TO(root_only)),
};
#undef BASE
static BLOCK(block_metric_spans, "distributor.MetricReceivedSpansConfig", metric_spans_keys);

#define BASE struct config_attribution
static const struct key attribution_keys[] = {
    K("enabled", BOOL, I, "false", "/usage_metrics: bytes received by dimensions that overrides name", TO(enabled)),
    K("max_cardinality", UINT64, I, "10000", "most series of a tenant; more go to __overflow__", TO(cardinality_max)),
    K("stale_duration", DURATION, I, "15m", "series without new bytes for this long go", TO(stale)),
};
#undef BASE
static BLOCK(block_attribution, "usage.PerTrackerConfig", attribution_keys);
#define BASE struct config
static const struct key usage_keys[] = {B("cost_attribution", block_attribution, AT(attribution))};
#undef BASE
static BLOCK(block_usage, "usage.Config", usage_keys);

#define BASE struct config_forwarder
static const struct key forwarder_tls_keys[] = {
    K("insecure", BOOL, I, "false", "plain text", TO(insecure)),
    K("cert_file", STRING, I, "", "certificates to trust; needed unless insecure", TO(cert_file)),
};
static BLOCK(block_forwarder_tls, "otlpgrpc.TLSConfig", forwarder_tls_keys);
static const struct key otlpgrpc_keys[] = {
    K("endpoints", STRINGS, I, NULL, "host:port; each gets a copy", TO(endpoints)),
    B("tls", block_forwarder_tls),
};
static BLOCK(block_otlpgrpc, "otlpgrpc.Config", otlpgrpc_keys);
#define NO_OTTL "conditions in OTTL are not supported: let a Collector filter"
static const struct key filter_traces_keys[] = {
    K("span", STRINGS, R, NULL, NO_OTTL),
    K("spanevent", STRINGS, R, NULL, NO_OTTL),
};
static BLOCK(block_filter_traces, "forwarder.TraceFiltersConfig", filter_traces_keys);
static const struct key filter_keys[] = {B("traces", block_filter_traces)};
static BLOCK(block_filter, "forwarder.FilterConfig", filter_keys);
static const struct key forwarder_keys[] = {
    K("name", STRING, I, "", "what overrides call it", TO(name)),
    K("backend", STRING, I, "", "otlpgrpc", TO(backend)),
    B("otlpgrpc", block_otlpgrpc),
    B("filter", block_filter),
};
#undef BASE
BLOCK(schema_forwarder, "forwarder.Config", forwarder_keys);

#define BASE struct config
static const struct key distributor_keys[] = {
    B("ring", schema_ring),
    K("receivers", ANY, I, NULL, "otlp, jaeger and zipkin, see below; empty: otlp grpc and http, jaeger grpc and thrift_http"),
    K("override_ring_key", STRING, N, "distributor", NO_RING),
    K("forwarders", BLOCKS, I, NULL, "OTLP servers that get a copy of what tenants send", .block = &schema_forwarder),
    B("usage", block_usage),
    B("log_received_spans", block_log_spans, AT(log_received_spans)),
    B("log_discarded_spans", block_log_spans, AT(log_discarded_spans)),
    B("metric_received_spans", block_metric_spans, AT(metric_received_spans)),
    B("kafka_config", schema_kafka),
    K("retry_after_on_resource_exhausted", DURATION, I, "5s", "Retry-After and RetryInfo of refused requests; 0: none", TO(retry_after)),
    K("max_attribute_bytes", INT, I, "2048", "longer attribute keys and values are cut; 0: no limit", TO(max_attribute_bytes)),
    K("artificial_delay", DURATION, I, "0s", "requests are answered this much later, give or take a tenth", TO(artificial_delay)),
    K("log_received_traces", BOOL, M, "false", "old name of log_received_spans.enabled", .flags = KEY_OLD),
    K("extend_writes", BOOL, N, "true", NO_RING, .flags = KEY_OLD),
    K("ingester_write_path_enabled", BOOL, N, "true", "there is one write path", .flags = KEY_OLD),
    K("kafka_write_path_enabled", BOOL, R, "false", NO_KAFKA, .flags = KEY_OLD),
    K("search_tags_deny_list", STRINGS, N, NULL, "an old key without meaning", .flags = KEY_OLD),
};
#undef BASE
BLOCK(schema_distributor, "distributor.Config", distributor_keys);

static const struct key lifecycler_ring_keys[] = {
    B("kvstore", schema_kvstore),
    K("heartbeat_timeout", DURATION, N, "5m", NO_RING),
    K("replication_factor", INT, N, "1", "one copy of the data is kept, use storage that is replicated"),
    K("zone_awareness_enabled", BOOL, N, "false", NO_RING),
    K("excluded_zones", STRING, N, "", NO_RING),
    K("extend_writes", BOOL, N, "true", NO_RING),
};
static BLOCK(block_lifecycler_ring, "ring.Config", lifecycler_ring_keys);
static const struct key lifecycler_keys[] = {
    B("ring", block_lifecycler_ring),
    K("num_tokens", INT, N, "128", NO_RING),
    K("heartbeat_period", DURATION, N, "5s", NO_RING),
    K("heartbeat_timeout", DURATION, N, "1m", NO_RING),
    K("observe_period", DURATION, N, "0s", NO_RING),
    K("join_after", DURATION, N, "0s", NO_RING),
    K("min_ready_duration", DURATION, N, "15s", "the server is ready as soon as it is"),
    K("interface_names", STRINGS, N, NULL, NO_RING),
    K("enable_inet6", BOOL, N, "false", NO_RING),
    K("final_sleep", DURATION, N, "0s", NO_RING),
    K("tokens_file_path", STRING, N, "", NO_RING),
    K("availability_zone", STRING, N, "", NO_RING),
    K("unregister_on_shutdown", BOOL, N, "true", NO_RING),
    K("readiness_check_ring_health", BOOL, N, "true", NO_RING),
    K("address", STRING, N, "", NO_RING),
    K("port", INT, N, "0", NO_RING),
    K("id", STRING, N, NULL, NO_RING),
};
static BLOCK(block_lifecycler, "ring.LifecyclerConfig", lifecycler_keys);

static const struct key ingester_keys[] = {
    B("lifecycler", block_lifecycler),
    B("partition_ring", schema_partition_ring),
    K("concurrent_flushes", INT, M, "4", "block build workers, as live_store.complete_block_concurrency", .flags = KEY_OLD),
    K("flush_check_period", DURATION, M, "10s", "as live_store.flush_check_period", .flags = KEY_OLD),
    K("flush_op_timeout", DURATION, N, "5m", "flushing is local", .flags = KEY_OLD),
    K("trace_idle_period", DURATION, M, "5s", "as live_store.max_trace_idle", .flags = KEY_OLD),
    K("trace_live_period", DURATION, M, "30s", "as live_store.max_trace_live", .flags = KEY_OLD),
    K("max_block_duration", DURATION, M, "30m", "as live_store.max_block_duration", .flags = KEY_OLD),
    K("max_block_bytes", UINT64, M, "524288000", "as live_store.max_block_bytes", .flags = KEY_OLD),
    K("complete_block_timeout", DURATION, N, "15m", "blocks are served from where they are written", .flags = KEY_OLD),
    K("override_ring_key", STRING, N, "ring", NO_RING, .flags = KEY_OLD),
    K("flush_all_on_shutdown", BOOL, I, "false", "write all recent data to blocks at shutdown", .flags = KEY_OLD),
    K("flush_object_storage", BOOL, N, "true", "blocks are written to the configured backend", .flags = KEY_OLD),
    K("use_flatbuffer_search", BOOL, N, "false", "an old key without meaning", .flags = KEY_OLD),
};
BLOCK(schema_ingester, "ingester.Config", ingester_keys);

static const struct key live_wal_keys[] = {
    K("path", STRING, M, "/var/tempo/live-store/traces", "write-ahead log, when set; else storage.trace.wal.path"),
    K("v2_encoding", STRING, N, "none", "the log has a format of its own", .flags = KEY_OLD),
    K("search_encoding", STRING, N, "none", "the log has a format of its own", .flags = KEY_OLD),
    K("ingestion_time_range_slack", DURATION, N, "2m", "times of spans are stored as they are"),
    K("version", STRING, N, "vParquet4", "the log has a format of its own"),
};
static BLOCK(block_live_wal, "wal.Config", live_wal_keys);
static const struct key live_metrics_keys[] = {
    K("concurrent_blocks", UINT64, N, "10", NO_TUNE),
    K("time_overlap_cutoff", FLOAT, N, "0.2", NO_TUNE),
};
static BLOCK(block_live_metrics, "ingest.MetricsConfig", live_metrics_keys);

#define BASE struct config
static const struct key live_store_keys[] = {
    B("ring", schema_ring),
    B("partition_ring", schema_partition_ring),
    B("metrics", block_live_metrics),
    K("commit_interval", DURATION, N, "5s", NO_KAFKA),
    B("wal", block_live_wal),
    B("block_config", schema_block_config),
    K("query_block_concurrency", UINT64, N, "10", "queries share one pool of workers"),
    K("complete_block_timeout", DURATION, N, "20m", "blocks are served from where they are written"),
    K("complete_block_concurrency", INT, M, "2", "block build workers", TO(block_workers)),
    K("block_reclaim_grace", DURATION, N, "2m", "a block is unlinked when its last reader is done"),
    K("shutdown_marker_dir", STRING, N, "/var/tempo/live-store/shutdown-marker", NO_RING),
    K("flush_check_period", DURATION, M, "5s", "how often to look for data to cut", TO(flush_check_period)),
    K("flush_op_timeout", DURATION, N, "5m", "flushing is local"),
    K("max_trace_live", DURATION, M, "30s", "a trace counts as finished at this age", TO(trace_live)),
    K("max_trace_idle", DURATION, M, "5s", "a trace counts as finished after this silence", TO(trace_idle)),
    K("max_live_traces_bytes", UINT64, I, "250000000", "memory of recent data, at most half of the budget; beyond it ingest answers 503", TO(max_live_traces_bytes)),
    K("max_block_duration", DURATION, M, "5m", "recent data becomes a block at this age (Tempo: 30s)", TO(block_age_max)),
    K("max_block_bytes", UINT64, M, "67108864", "or at this size (Tempo: 52428800)", TO(block_bytes_max)),
    K("readiness_target_lag", DURATION, N, "0s", NO_KAFKA),
    K("readiness_max_wait", DURATION, N, "30m", NO_KAFKA),
    K("fail_on_high_lag", BOOL, N, "true", NO_KAFKA),
    K("remove_owner_on_shutdown", BOOL, N, "true", NO_RING),
};
#undef BASE
BLOCK(schema_live_store, "livestore.Config", live_store_keys);
/* clang-format on */
