/* SPDX-License-Identifier: Apache-2.0
 * Keys of `overrides`: the scoped shape (defaults, and entries of the per-tenant file), and the
 * flat shape of old files. Both fill struct config_limits. */
#include "schema.h"

/* clang-format off */
#define BASE struct config_limits
static const struct key ingestion_keys[] = {
    K("rate_strategy", STRING, I, "local", "local or global; the same with one server"),
    K("rate_limit_bytes", INT, I, "30000000", "bytes of spans a second", TO(rate_limit_bytes)),
    K("burst_size_bytes", INT, I, "30000000", "and at once", TO(burst_size_bytes)),
    K("max_traces_per_user", INT, I, "10000", "live traces; 0: no limit", TO(max_traces_per_user)),
    K("max_global_traces_per_user", INT, I, "0", "shown as a metric, not enforced, as in Tempo 3", TO(max_global_traces_per_user)),
    K("tenant_shard_size", INT, N, "0", "one process holds all data, there is no ring"),
    K("max_attribute_bytes", INT, I, "0", "longer attribute keys and values are cut; 0: distributor.max_attribute_bytes", TO(max_attribute_bytes)),
    K("artificial_delay", DURATION, I, NULL, "requests are answered this much later, give or take a tenth; not set: distributor.artificial_delay", TO(artificial_delay)),
    K("retry_info_enabled", BOOL, I, "true", "refused requests say when to retry", TO(retry_info_enabled)),
};
static BLOCK(block_ingestion, "overrides.IngestionOverrides", ingestion_keys);
static const struct key read_keys[] = {
    K("max_bytes_per_tag_values_query", INT, I, "1000000", "most bytes of values in an answer", TO(max_bytes_per_tag_values_query)),
    K("max_blocks_per_tag_values_query", INT, I, "0", "most blocks to look at; 0: all", TO(max_blocks_per_tag_values_query)),
    K("max_condition_groups_per_tag_query", INT, I, "100", "most alternatives in a tag query", TO(max_condition_groups_per_tag_query)),
    K("max_search_duration", PROM, I, "0s", "longest time range of a search; 0: the frontend's", TO(max_search_duration)),
    K("max_metrics_duration", PROM, I, "0s", "longest time range of a metrics query; 0: the frontend's", TO(max_metrics_duration)),
    K("unsafe_query_hints", BOOL, I, "false", "allow hints that change how a query runs", TO(unsafe_query_hints)),
    K("left_pad_trace_ids", BOOL, I, "false", "trace ids in answers have 32 digits", TO(left_pad_trace_ids)),
    K("metrics_spanonly_fetch", BOOL, N, "false", "queries are planned by this server's own rules"),
};
static BLOCK(block_read, "overrides.ReadOverrides", read_keys);
static const struct key compaction_keys[] = {
    K("block_retention", PROM, I, "0s", "blocks older than this are deleted; 0: the server's", TO(block_retention)),
    K("compaction_window", PROM, I, "0s", "blocks of one window are merged; 0: the server's", TO(compaction_window)),
    K("compaction_disabled", BOOL, I, "false", "no merging of blocks; retention goes on", TO(compaction_disabled)),
    K("max_bytes", UINT64, I, "0", "oldest blocks are deleted beyond this; 0: off", TO(compaction_max_bytes), .flags = KEY_OWN),
};
static BLOCK(block_compaction, "overrides.CompactionOverrides", compaction_keys);
static const struct key global_keys[] = {
    K("max_bytes_per_trace", INT, I, "5000000", "spans of a larger trace are refused; 0: no limit", TO(max_bytes_per_trace)),
};
static BLOCK(block_global, "overrides.GlobalOverrides", global_keys);
static const struct key storage_keys[] = {
    K("parquet_dedicated_columns", ANY, N, NULL, "columns of their own are chosen by what the data holds"),
};
static BLOCK(block_storage, "overrides.StorageOverrides", storage_keys);
static const struct key attribution_keys[] = {
    K("max_cardinality", UINT64, I, "0", "most series of the tenant; 0: distributor.usage.cost_attribution.max_cardinality", TO(attribution_cardinality_max)),
    K("dimensions", STRING_MAP, I, NULL, "attribute to label of /usage_metrics; the attribute may begin with resource. or span.; no label: the attribute's name"),
};
static BLOCK(block_attribution, "overrides.CostAttributionOverrides", attribution_keys);

static const struct key limits_keys[] = {
    B("ingestion", block_ingestion),
    B("read", block_read),
    B("compaction", block_compaction),
    B("metrics_generator", schema_tenant_generator, AT(generator)),
    K("forwarders", STRINGS, I, NULL, "names of distributor.forwarders that get a copy of the spans", TO(forwarders)),
    B("global", block_global),
    B("storage", block_storage),
    B("cost_attribution", block_attribution),
};
BLOCK(schema_limits, "overrides.Overrides", limits_keys);

#define FLAT "old shape of "
#define FLAT_KEYS                                                                                                              \
    K("ingestion_rate_strategy", STRING, M, NULL, FLAT "ingestion.rate_strategy", .flags = KEY_OLD),                           \
    K("ingestion_rate_limit_bytes", INT, M, NULL, FLAT "ingestion.rate_limit_bytes", TO(rate_limit_bytes), .flags = KEY_OLD),  \
    K("ingestion_burst_size_bytes", INT, M, NULL, FLAT "ingestion.burst_size_bytes", TO(burst_size_bytes), .flags = KEY_OLD),  \
    K("ingestion_tenant_shard_size", INT, N, NULL, "one process holds all data, there is no ring", .flags = KEY_OLD),          \
    K("ingestion_max_attribute_bytes", INT, M, NULL, FLAT "ingestion.max_attribute_bytes", TO(max_attribute_bytes), .flags = KEY_OLD), \
    K("ingestion_artificial_delay", DURATION, M, NULL, FLAT "ingestion.artificial_delay", TO(artificial_delay), .flags = KEY_OLD), \
    K("ingestion_retry_info_enabled", BOOL, M, NULL, FLAT "ingestion.retry_info_enabled", TO(retry_info_enabled), .flags = KEY_OLD), \
    K("max_traces_per_user", INT, M, NULL, FLAT "ingestion.max_traces_per_user", TO(max_traces_per_user), .flags = KEY_OLD),   \
    K("max_global_traces_per_user", INT, M, NULL, FLAT "ingestion.max_global_traces_per_user", TO(max_global_traces_per_user), .flags = KEY_OLD), \
    K("forwarders", STRINGS, M, NULL, "the same as in defaults", TO(forwarders), .flags = KEY_OLD), \
    K("block_retention", PROM, M, NULL, FLAT "compaction.block_retention", TO(block_retention), .flags = KEY_OLD),             \
    K("compaction_window", PROM, M, NULL, FLAT "compaction.compaction_window", TO(compaction_window), .flags = KEY_OLD),       \
    K("compaction_disabled", BOOL, M, NULL, FLAT "compaction.compaction_disabled", TO(compaction_disabled), .flags = KEY_OLD), \
    K("max_bytes_per_tag_values_query", INT, M, NULL, FLAT "read.max_bytes_per_tag_values_query", TO(max_bytes_per_tag_values_query), .flags = KEY_OLD), \
    K("max_blocks_per_tag_values_query", INT, M, NULL, FLAT "read.max_blocks_per_tag_values_query", TO(max_blocks_per_tag_values_query), .flags = KEY_OLD), \
    K("max_condition_groups_per_tag_query", INT, M, NULL, FLAT "read.max_condition_groups_per_tag_query", TO(max_condition_groups_per_tag_query), .flags = KEY_OLD), \
    K("max_search_duration", PROM, M, NULL, FLAT "read.max_search_duration", TO(max_search_duration), .flags = KEY_OLD),       \
    K("max_metrics_duration", PROM, M, NULL, FLAT "read.max_metrics_duration", TO(max_metrics_duration), .flags = KEY_OLD),    \
    K("unsafe_query_hints", BOOL, M, NULL, FLAT "read.unsafe_query_hints", TO(unsafe_query_hints), .flags = KEY_OLD),          \
    K("left_pad_trace_ids", BOOL, M, NULL, FLAT "read.left_pad_trace_ids", TO(left_pad_trace_ids), .flags = KEY_OLD),          \
    K("metrics_spanonly_fetch", BOOL, N, NULL, "queries are planned by this server's own rules", .flags = KEY_OLD),            \
    K("max_bytes_per_trace", INT, M, NULL, FLAT "global.max_bytes_per_trace", TO(max_bytes_per_trace), .flags = KEY_OLD),      \
    K("parquet_dedicated_columns", ANY, N, NULL, "columns of their own are chosen by what the data holds", .flags = KEY_OLD),  \
    B("cost_attribution", block_attribution, .flags = KEY_OLD), \
    K("metrics_generator_ring_size", ANY, N, NULL, NO_RING, .flags = KEY_OLD), \
    K("metrics_generator_processors", STRINGS, M, NULL, FLAT "metrics_generator.processors", TO(generator.processor_names), .flags = KEY_OLD), \
    K("metrics_generator_max_active_series", UINT32, M, NULL, FLAT "metrics_generator.max_active_series", TO(generator.max_active_series), .flags = KEY_OLD), \
    K("metrics_generator_max_active_entities", UINT32, M, NULL, FLAT "metrics_generator.max_active_entities", TO(generator.max_active_entities), .flags = KEY_OLD), \
    K("metrics_generator_max_cardinality_per_label", UINT64, M, NULL, FLAT "metrics_generator.max_cardinality_per_label", TO(generator.max_cardinality_per_label), .flags = KEY_OLD), \
    K("metrics_generator_collection_interval", DURATION, M, NULL, FLAT "metrics_generator.collection_interval", TO(generator.collection_interval), .flags = KEY_OLD), \
    K("metrics_generator_disable_collection", BOOL, M, NULL, FLAT "metrics_generator.disable_collection", TO(generator.disable_collection), .flags = KEY_OLD), \
    K("metrics_generator_generate_native_histograms", STRING, M, NULL, FLAT "metrics_generator.generate_native_histograms", TO(generator.native_histograms), .flags = KEY_OLD), \
    K("metrics_generator_native_histogram_bucket_factor", FLOAT, M, NULL, FLAT "metrics_generator.native_histogram_bucket_factor", TO(generator.native_bucket_factor), .flags = KEY_OLD), \
    K("metrics_generator_native_histogram_max_bucket_number", UINT32, M, NULL, FLAT "metrics_generator.native_histogram_max_bucket_number", TO(generator.native_buckets_max), .flags = KEY_OLD), \
    K("metrics_generator_native_histogram_min_reset_duration", DURATION, M, NULL, FLAT "metrics_generator.native_histogram_min_reset_duration", TO(generator.native_min_reset), .flags = KEY_OLD), \
    K("metrics_generator_span_name_sanitization", STRING, M, NULL, FLAT "metrics_generator.span_name_sanitization", TO(generator.span_name_sanitization), .flags = KEY_OLD), \
    K("metrics_generator_trace_id_label_name", STRING, M, NULL, FLAT "metrics_generator.trace_id_label_name", TO(generator.trace_id_label), .flags = KEY_OLD), \
    K("metrics_generator_remote_write_headers", STRING_MAP, M, NULL, FLAT "metrics_generator.remote_write_headers", TO(generator.headers_node), .flags = KEY_OLD), \
    K("metrics_generator_ingestion_time_range_slack", DURATION, M, NULL, FLAT "metrics_generator.ingestion_time_range_slack", TO(generator.slack), .flags = KEY_OLD), \
    K("metrics_generator_forwarder_queue_size", ANY, N, NULL, "spans reach the generator without a queue", .flags = KEY_OLD), \
    K("metrics_generator_forwarder_workers", ANY, N, NULL, "spans reach the generator without a queue", .flags = KEY_OLD), \
    K("metrics_generator_processor_service_graphs_histogram_buckets", FLOATS, M, NULL, FLAT "metrics_generator.processor.service_graphs.histogram_buckets", TO(generator.processors.service_graphs.buckets), .flags = KEY_OLD), \
    K("metrics_generator_processor_service_graphs_dimensions", STRINGS, M, NULL, FLAT "metrics_generator.processor.service_graphs.dimensions", TO(generator.processors.service_graphs.dimensions), .flags = KEY_OLD), \
    K("metrics_generator_processor_service_graphs_peer_attributes", STRINGS, M, NULL, FLAT "metrics_generator.processor.service_graphs.peer_attributes", TO(generator.processors.service_graphs.peer_attributes), .flags = KEY_OLD), \
    K("metrics_generator_processor_service_graphs_filter_policies", BLOCKS, M, NULL, FLAT "metrics_generator.processor.service_graphs.filter_policies", TO(generator.processors.service_graphs.policies_node), .block = &schema_policy, .flags = KEY_OLD), \
    K("metrics_generator_processor_service_graphs_enable_client_server_prefix", BOOL, M, NULL, FLAT "metrics_generator.processor.service_graphs.enable_client_server_prefix", TO(generator.processors.service_graphs.prefix), .flags = KEY_OLD), \
    K("metrics_generator_processor_service_graphs_enable_messaging_system_latency_histogram", BOOL, M, NULL, FLAT "metrics_generator.processor.service_graphs.enable_messaging_system_latency_histogram", TO(generator.processors.service_graphs.messaging_latency), .flags = KEY_OLD), \
    K("metrics_generator_processor_service_graphs_enable_virtual_node_label", BOOL, M, NULL, FLAT "metrics_generator.processor.service_graphs.enable_virtual_node_label", TO(generator.processors.service_graphs.virtual_node_label), .flags = KEY_OLD), \
    K("metrics_generator_processor_service_graphs_span_multiplier_key", STRING, M, NULL, FLAT "metrics_generator.processor.service_graphs.span_multiplier_key", TO(generator.processors.service_graphs.multiplier_key), .flags = KEY_OLD), \
    K("metrics_generator_processor_service_graphs_enable_tracestate_span_multiplier", BOOL, M, NULL, FLAT "metrics_generator.processor.service_graphs.enable_tracestate_span_multiplier", TO(generator.processors.service_graphs.tracestate_multiplier), .flags = KEY_OLD), \
    K("metrics_generator_processor_span_metrics_histogram_buckets", FLOATS, M, NULL, FLAT "metrics_generator.processor.span_metrics.histogram_buckets", TO(generator.processors.span_metrics.buckets), .flags = KEY_OLD), \
    K("metrics_generator_processor_span_metrics_dimensions", STRINGS, M, NULL, FLAT "metrics_generator.processor.span_metrics.dimensions", TO(generator.processors.span_metrics.dimensions), .flags = KEY_OLD), \
    K("metrics_generator_processor_span_metrics_filter_policies", BLOCKS, M, NULL, FLAT "metrics_generator.processor.span_metrics.filter_policies", TO(generator.processors.span_metrics.policies_node), .block = &schema_policy, .flags = KEY_OLD), \
    K("metrics_generator_processor_span_metrics_dimension_mappings", BLOCKS, M, NULL, FLAT "metrics_generator.processor.span_metrics.dimension_mappings", TO(generator.processors.span_metrics.mappings_node), .block = &schema_mapping, .flags = KEY_OLD), \
    K("metrics_generator_processor_span_metrics_enable_target_info", BOOL, M, NULL, FLAT "metrics_generator.processor.span_metrics.enable_target_info", TO(generator.processors.span_metrics.target_info), .flags = KEY_OLD), \
    K("metrics_generator_processor_span_metrics_target_info_excluded_dimensions", STRINGS, M, NULL, FLAT "metrics_generator.processor.span_metrics.target_info_excluded_dimensions", TO(generator.processors.span_metrics.target_info_excluded), .flags = KEY_OLD), \
    K("metrics_generator_processor_span_metrics_enable_instance_label", BOOL, M, NULL, FLAT "metrics_generator.processor.span_metrics.enable_instance_label", TO(generator.processors.span_metrics.instance_label), .flags = KEY_OLD), \
    K("metrics_generator_processor_span_metrics_span_multiplier_key", STRING, M, NULL, FLAT "metrics_generator.processor.span_metrics.span_multiplier_key", TO(generator.processors.span_metrics.multiplier_key), .flags = KEY_OLD), \
    K("metrics_generator_processor_span_metrics_enable_tracestate_span_multiplier", BOOL, M, NULL, FLAT "metrics_generator.processor.span_metrics.enable_tracestate_span_multiplier", TO(generator.processors.span_metrics.tracestate_multiplier), .flags = KEY_OLD), \
    K("metrics_generator_processor_span_metrics_intrinsic_dimensions", STRING_MAP, M, NULL, FLAT "metrics_generator.processor.span_metrics.intrinsic_dimensions", TO(generator.flat_intrinsic), .flags = KEY_OLD), \
    K("metrics_generator_processor_host_info_host_identifiers", STRINGS, M, NULL, FLAT "metrics_generator.processor.host_info.host_identifiers", TO(generator.processors.host_identifiers), .flags = KEY_OLD), \
    K("metrics_generator_processor_host_info_metric_name", STRING, M, NULL, FLAT "metrics_generator.processor.host_info.metric_name", TO(generator.processors.host_metric), .flags = KEY_OLD), \
    K("metrics_generator_processor_local_blocks_max_live_traces", ANY, N, NULL, "metrics queries need no blocks of their own", .flags = KEY_OLD), \
    K("metrics_generator_processor_local_blocks_max_block_duration", ANY, N, NULL, "metrics queries need no blocks of their own", .flags = KEY_OLD), \
    K("metrics_generator_processor_local_blocks_max_block_bytes", ANY, N, NULL, "metrics queries need no blocks of their own", .flags = KEY_OLD), \
    K("metrics_generator_processor_local_blocks_flush_check_period", ANY, N, NULL, "metrics queries need no blocks of their own", .flags = KEY_OLD), \
    K("metrics_generator_processor_local_blocks_trace_idle_period", ANY, N, NULL, "metrics queries need no blocks of their own", .flags = KEY_OLD), \
    K("metrics_generator_processor_local_blocks_complete_block_timeout", ANY, N, NULL, "metrics queries need no blocks of their own", .flags = KEY_OLD)
static const struct key flat_keys[] = {FLAT_KEYS};
BLOCK(schema_limits_flat, "overrides.legacyConfig", flat_keys);

static const struct key api_keys[] = {
    K("check_for_conflicting_runtime_overrides", BOOL, I, "false", "refuse them to tenants whose entry of the file sets the same"),
};
static BLOCK(block_api, "api.Config", api_keys);
static const struct key user_local_keys[] = {K("path", STRING, I, "", "folder; empty: that of the traces")};
static BLOCK(block_user_local, "local.Config", user_local_keys);
#define NO_OBJECTS "only local is supported"
static const struct key user_client_keys[] = {
    K("backend", STRING, I, "", "local, or empty, which is the same"),
    K("confirm_versioning", BOOL, N, "true", "versions are always checked"),
    B("local", block_user_local),
    K("gcs", ANY, N, NULL, NO_OBJECTS),
    K("s3", ANY, N, NULL, NO_OBJECTS),
    K("azure", ANY, N, NULL, NO_OBJECTS),
};
static BLOCK(block_user_client, "client.Config", user_client_keys);
static const struct key user_keys[] = {
    K("enabled", BOOL, I, "false", "/api/overrides: tenants set forwarders, cost_attribution and metrics_generator by themselves"),
    K("poll_interval", DURATION, N, "1m", "a change acts at once"),
    B("client", block_user_client),
    B("api", block_api),
};
static BLOCK(block_user, "overrides.UserConfigurableOverridesConfig", user_keys);
static const struct key overrides_keys[] = {
    B("defaults", schema_limits),
    K("per_tenant_override_config", STRING, I, "", "file with one entry per tenant"),
    K("per_tenant_override_period", PROM, I, "10s", "how often to read it again"),
    B("user_configurable_overrides", block_user),
    K("enable_legacy_overrides", BOOL, N, "false", "the flat shape is always read"),
    K("inherit_defaults", BOOL, I, "false", "what a tenant's entry does not set comes from the defaults", .flags = KEY_OWN),
    FLAT_KEYS,
};
#undef BASE
BLOCK(schema_overrides, "overrides.legacyConfig", overrides_keys);
/* clang-format on */
