/* SPDX-License-Identifier: Apache-2.0
 * Keys of `overrides`: the scoped shape (defaults, and entries of the per-tenant file), and the
 * flat shape of old files. Both fill struct config_limits. */
#include "schema.h"

#define NO_GENERATOR "the metrics generator is " LATER

/* clang-format off */
#define BASE struct config_limits
static const struct key ingestion_keys[] = {
    K("rate_strategy", STRING, I, "local", "local or global; the same with one server"),
    K("rate_limit_bytes", INT, I, "30000000", "bytes of spans a second", TO(rate_limit_bytes)),
    K("burst_size_bytes", INT, I, "30000000", "and at once", TO(burst_size_bytes)),
    K("max_traces_per_user", INT, I, "10000", "live traces; 0: no limit", TO(max_traces_per_user)),
    K("max_global_traces_per_user", INT, I, "0", "as max_traces_per_user; 0: no limit", TO(max_global_traces_per_user)),
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
    K("max_cardinality", UINT64, N, "0", "cost attribution is " LATER),
    K("dimensions", STRING_MAP, N, NULL, "cost attribution is " LATER),
};
static BLOCK(block_attribution, "overrides.CostAttributionOverrides", attribution_keys);

static const struct key limits_keys[] = {
    B("ingestion", block_ingestion),
    B("read", block_read),
    B("compaction", block_compaction),
    B("metrics_generator", schema_tenant_generator),
    K("forwarders", STRINGS, N, NULL, "forwarders are " LATER),
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
    K("forwarders", STRINGS, N, NULL, "forwarders are " LATER, .flags = KEY_OLD),                                              \
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
    K("cost_attribution", ANY, N, NULL, "cost attribution is " LATER, .flags = KEY_OLD),                                       \
    GENERATOR_FLAT("ring_size"), GENERATOR_FLAT("processors"), GENERATOR_FLAT("max_active_series"),                            \
    GENERATOR_FLAT("max_active_entities"), GENERATOR_FLAT("max_cardinality_per_label"),                                        \
    GENERATOR_FLAT("collection_interval"), GENERATOR_FLAT("disable_collection"),                                               \
    GENERATOR_FLAT("generate_native_histograms"), GENERATOR_FLAT("native_histogram_bucket_factor"),                            \
    GENERATOR_FLAT("native_histogram_max_bucket_number"), GENERATOR_FLAT("native_histogram_min_reset_duration"),               \
    GENERATOR_FLAT("span_name_sanitization"), GENERATOR_FLAT("trace_id_label_name"),                                           \
    GENERATOR_FLAT("remote_write_headers"), GENERATOR_FLAT("ingestion_time_range_slack"),                                      \
    GENERATOR_FLAT("forwarder_queue_size"), GENERATOR_FLAT("forwarder_workers"),                                               \
    GENERATOR_FLAT("processor_service_graphs_histogram_buckets"), GENERATOR_FLAT("processor_service_graphs_dimensions"),       \
    GENERATOR_FLAT("processor_service_graphs_peer_attributes"), GENERATOR_FLAT("processor_service_graphs_filter_policies"),    \
    GENERATOR_FLAT("processor_service_graphs_enable_client_server_prefix"),                                                    \
    GENERATOR_FLAT("processor_service_graphs_enable_messaging_system_latency_histogram"),                                      \
    GENERATOR_FLAT("processor_service_graphs_enable_virtual_node_label"),                                                      \
    GENERATOR_FLAT("processor_service_graphs_span_multiplier_key"),                                                            \
    GENERATOR_FLAT("processor_service_graphs_enable_tracestate_span_multiplier"),                                              \
    GENERATOR_FLAT("processor_span_metrics_histogram_buckets"), GENERATOR_FLAT("processor_span_metrics_dimensions"),           \
    GENERATOR_FLAT("processor_span_metrics_intrinsic_dimensions"), GENERATOR_FLAT("processor_span_metrics_filter_policies"),   \
    GENERATOR_FLAT("processor_span_metrics_dimension_mappings"), GENERATOR_FLAT("processor_span_metrics_enable_target_info"),  \
    GENERATOR_FLAT("processor_span_metrics_target_info_excluded_dimensions"),                                                  \
    GENERATOR_FLAT("processor_span_metrics_enable_instance_label"), GENERATOR_FLAT("processor_span_metrics_span_multiplier_key"), \
    GENERATOR_FLAT("processor_span_metrics_enable_tracestate_span_multiplier"),                                                \
    GENERATOR_FLAT("processor_host_info_host_identifiers"), GENERATOR_FLAT("processor_host_info_metric_name"),                 \
    GENERATOR_FLAT("processor_local_blocks_max_live_traces"), GENERATOR_FLAT("processor_local_blocks_max_block_duration"),     \
    GENERATOR_FLAT("processor_local_blocks_max_block_bytes"), GENERATOR_FLAT("processor_local_blocks_flush_check_period"),     \
    GENERATOR_FLAT("processor_local_blocks_trace_idle_period"), GENERATOR_FLAT("processor_local_blocks_complete_block_timeout")
#define GENERATOR_FLAT(name) K("metrics_generator_" name, ANY, N, NULL, NO_GENERATOR, .flags = KEY_OLD)
static const struct key flat_keys[] = {FLAT_KEYS};
BLOCK(schema_limits_flat, "overrides.legacyConfig", flat_keys);

static const struct key api_keys[] = {
    K("check_for_conflicting_runtime_overrides", BOOL, N, "false", "user-configurable overrides are " LATER),
};
static BLOCK(block_api, "api.Config", api_keys);
static const struct key user_keys[] = {
    K("enabled", BOOL, R, "false", "user-configurable overrides are " LATER),
    K("poll_interval", DURATION, N, "1m", "user-configurable overrides are " LATER),
    K("client", ANY, N, NULL, "user-configurable overrides are " LATER),
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
