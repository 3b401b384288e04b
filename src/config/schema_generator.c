/* SPDX-License-Identifier: Apache-2.0
 * Keys of `metrics_generator`, and of the same block in overrides. The generator is not built in:
 * all keys are checked, none has an effect. */
#include "schema.h"
#include "schema_shared.h"

#define NO_GENERATOR "the metrics generator is " LATER

/* clang-format off */
#define G(name, type, dflt, ...) K(name, type, N, dflt, NO_GENERATOR, __VA_ARGS__)

static const struct key policy_attribute_keys[] = {
    G("key", STRING, NULL),
    G("value", ANY, NULL),
};
static BLOCK(block_policy_attribute, "filterconfig.MatchPolicyAttribute", policy_attribute_keys);
static const struct key policy_match_keys[] = {
    G("match_type", STRING, NULL),
    G("attributes", BLOCKS, NULL, .block = &block_policy_attribute),
};
static BLOCK(block_policy_match, "filterconfig.PolicyMatch", policy_match_keys);
static const struct key policy_keys[] = {
    B("include", block_policy_match),
    B("exclude", block_policy_match),
    B("include_any", block_policy_match),
};
static BLOCK(block_policy, "filterconfig.FilterPolicy", policy_keys);

static const struct key service_graphs_keys[] = {
    G("wait", DURATION, "10s"),
    G("max_items", INT, "10000"),
    G("workers", INT, "10"),
    G("histogram_buckets", FLOATS, NULL),
    G("dimensions", STRINGS, NULL),
    G("enable_client_server_prefix", BOOL, "false"),
    G("enable_messaging_system_latency_histogram", BOOL, "false"),
    G("peer_attributes", STRINGS, NULL),
    G("span_multiplier_key", STRING, ""),
    G("enable_tracestate_span_multiplier", BOOL, "false"),
    G("enable_virtual_node_label", BOOL, "false"),
    G("database_name_attributes", STRINGS, NULL),
    G("filter_policies", BLOCKS, NULL, .block = &block_policy),
};
static BLOCK(block_service_graphs, "servicegraphs.Config", service_graphs_keys);

static const struct key intrinsic_keys[] = {
    G("service", BOOL, "true"),
    G("span_name", BOOL, "true"),
    G("span_kind", BOOL, "true"),
    G("status_code", BOOL, "true"),
    G("status_message", BOOL, "false"),
};
static BLOCK(block_intrinsic, "spanmetrics.IntrinsicDimensions", intrinsic_keys);
static const struct key mapping_keys[] = {
    G("name", STRING, NULL),
    G("source_labels", STRINGS, NULL),
    G("join", STRING, NULL),
};
static BLOCK(block_mapping, "sharedconfig.DimensionMappings", mapping_keys);
static const struct key span_metrics_keys[] = {
    G("histogram_buckets", FLOATS, NULL),
    B("intrinsic_dimensions", block_intrinsic),
    G("dimensions", STRINGS, NULL),
    G("dimension_mappings", BLOCKS, NULL, .block = &block_mapping),
    G("enable_target_info", BOOL, "false"),
    G("span_multiplier_key", STRING, ""),
    G("enable_tracestate_span_multiplier", BOOL, "false"),
    G("subprocessors", ANY, NULL),
    G("filter_policies", BLOCKS, NULL, .block = &block_policy),
    G("target_info_excluded_dimensions", STRINGS, NULL),
    G("enable_instance_label", BOOL, "true"),
};
static BLOCK(block_span_metrics, "spanmetrics.Config", span_metrics_keys);
static const struct key host_info_keys[] = {
    G("host_identifiers", STRINGS, NULL),
    G("metric_name", STRING, "traces_host_info"),
};
static BLOCK(block_host_info, "hostinfo.Config", host_info_keys);

#define NO_LOCAL_BLOCKS "metrics queries need no blocks of their own"
static const struct key local_blocks_keys[] = {
    B("block", schema_block_config, .flags = KEY_OLD),
    K("search", ANY, N, NULL, NO_LOCAL_BLOCKS, .flags = KEY_OLD),
    K("flush_check_period", DURATION, N, "10s", NO_LOCAL_BLOCKS, .flags = KEY_OLD),
    K("trace_idle_period", DURATION, N, "5s", NO_LOCAL_BLOCKS, .flags = KEY_OLD),
    K("trace_live_period", DURATION, N, "30s", NO_LOCAL_BLOCKS, .flags = KEY_OLD),
    K("max_block_duration", DURATION, N, "1m", NO_LOCAL_BLOCKS, .flags = KEY_OLD),
    K("max_block_bytes", UINT64, N, "500000000", NO_LOCAL_BLOCKS, .flags = KEY_OLD),
    K("concurrency", UINT64, N, "4", NO_LOCAL_BLOCKS, .flags = KEY_OLD),
    K("complete_block_timeout", DURATION, N, "1h", NO_LOCAL_BLOCKS, .flags = KEY_OLD),
    K("max_live_traces", UINT64, N, "0", NO_LOCAL_BLOCKS, .flags = KEY_OLD),
    K("max_live_traces_bytes", UINT64, N, "250000000", NO_LOCAL_BLOCKS, .flags = KEY_OLD),
    K("filter_server_spans", BOOL, N, "true", NO_LOCAL_BLOCKS, .flags = KEY_OLD),
    K("flush_to_storage", BOOL, N, "false", NO_LOCAL_BLOCKS, .flags = KEY_OLD),
    K("concurrent_blocks", UINT64, N, "10", NO_LOCAL_BLOCKS, .flags = KEY_OLD),
    K("time_overlap_cutoff", FLOAT, N, "0.2", NO_LOCAL_BLOCKS, .flags = KEY_OLD),
};
static BLOCK(block_local_blocks, "localblocks.Config", local_blocks_keys);
static const struct key processor_keys[] = {
    B("service_graphs", block_service_graphs),
    B("span_metrics", block_span_metrics),
    B("host_info", block_host_info),
    B("local_blocks", block_local_blocks, .flags = KEY_OLD),
};
static BLOCK(block_processor, "generator.ProcessorConfig", processor_keys);

static const struct key registry_keys[] = {
    G("collection_interval", DURATION, "15s"),
    G("stale_duration", DURATION, "15m"),
    G("external_labels", STRING_MAP, NULL),
    G("inject_tenant_id_as", STRING, ""),
    G("max_label_name_length", INT, "1024"),
    G("max_label_value_length", INT, "2048"),
};
static BLOCK(block_registry, "registry.Config", registry_keys);

static const struct key prometheus_wal_keys[] = {
    G("wal_segment_size", INT, "134217728"),
    G("wal_compression", STRING, "none"),
    G("stripe_size", INT, "16384"),
    G("truncate_frequency", DURATION, "2h"),
    G("min_wal_time", INT, "300000"),
    G("max_wal_time", INT, "14400000"),
    G("no_lockfile", BOOL, "false"),
};
static BLOCK(block_prometheus_wal, "storage.agentOptions", prometheus_wal_keys);
static const struct key storage_keys[] = {
    G("path", STRING, ""),
    B("wal", block_prometheus_wal),
    G("remote_write_flush_deadline", DURATION, "1m"),
    G("remote_write_add_org_id_header", BOOL, "true"),
    G("remote_write", ANY, NULL),
};
static BLOCK(block_storage, "storage.Config", storage_keys);
static const struct key traces_storage_keys[] = {
    G("path", STRING, ""),
    G("v2_encoding", STRING, NULL),
    G("search_encoding", STRING, NULL),
    G("ingestion_time_range_slack", DURATION, NULL),
    G("version", STRING, NULL),
};
static BLOCK(block_traces_storage, "wal.Config", traces_storage_keys);

static const struct key generator_keys[] = {
    B("ring", schema_ring),
    B("processor", block_processor),
    B("registry", block_registry),
    B("storage", block_storage),
    B("traces_storage", block_traces_storage, .flags = KEY_OLD),
    B("traces_query_storage", block_traces_storage, .flags = KEY_OLD),
    G("metrics_ingestion_time_range_slack", DURATION, "30s"),
    G("query_timeout", DURATION, NULL, .flags = KEY_OLD),
    K("override_ring_key", STRING, N, "metrics-generator", NO_RING),
    K("ring_mode", STRING, N, "partition", NO_RING),
    G("codec", STRING, "push-bytes"),
    G("limiter_type", STRING, "series"),
    G("disable_local_blocks", BOOL, NULL, .flags = KEY_OLD),
    G("disable_grpc", BOOL, NULL, .flags = KEY_OLD),
    G("ingest_concurrency", UINT64, "16"),
    G("instance_id", STRING, NULL),
    G("leave_consumer_group_on_shutdown", BOOL, "false"),
};
BLOCK(schema_metrics_generator, "generator.Config", generator_keys);

/* ---- the same, per tenant ---- */

static const struct key tenant_forwarder_keys[] = {
    G("queue_size", INT, "0"),
    G("workers", INT, "0"),
};
static BLOCK(block_tenant_forwarder, "overrides.ForwarderOverrides", tenant_forwarder_keys);
static const struct key tenant_local_blocks_keys[] = {
    G("max_live_traces", UINT64, NULL, .flags = KEY_OLD),
    G("max_block_duration", DURATION, NULL, .flags = KEY_OLD),
    G("max_block_bytes", UINT64, NULL, .flags = KEY_OLD),
    G("flush_check_period", DURATION, NULL, .flags = KEY_OLD),
    G("trace_idle_period", DURATION, NULL, .flags = KEY_OLD),
    G("complete_block_timeout", DURATION, NULL, .flags = KEY_OLD),
};
static BLOCK(block_tenant_local_blocks, "overrides.LocalBlocksOverrides", tenant_local_blocks_keys);
static const struct key tenant_processor_keys[] = {
    B("service_graphs", block_service_graphs),
    B("span_metrics", block_span_metrics),
    B("host_info", block_host_info),
    B("local_blocks", block_tenant_local_blocks),
};
static BLOCK(block_tenant_processor, "overrides.ProcessorOverrides", tenant_processor_keys);
static const struct key tenant_keys[] = {
    G("ring_size", INT, "0"),
    G("processors", STRINGS, NULL),
    G("max_active_series", UINT32, "0"),
    G("max_active_entities", UINT32, "0"),
    G("max_cardinality_per_label", UINT64, "0"),
    G("collection_interval", DURATION, "0s"),
    G("disable_collection", BOOL, "false"),
    G("generate_native_histograms", STRING, "classic"),
    G("native_histogram_bucket_factor", FLOAT, "1.1"),
    G("native_histogram_max_bucket_number", UINT32, "100"),
    G("native_histogram_min_reset_duration", DURATION, "15m"),
    G("span_name_sanitization", STRING, ""),
    G("trace_id_label_name", STRING, ""),
    G("remote_write_headers", STRING_MAP, NULL),
    G("ingestion_time_range_slack", DURATION, "0s"),
    B("forwarder", block_tenant_forwarder),
    B("processor", block_tenant_processor),
};
BLOCK(schema_tenant_generator, "overrides.MetricsGeneratorOverrides", tenant_keys);
/* clang-format on */
