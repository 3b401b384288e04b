/* SPDX-License-Identifier: Apache-2.0
 * Keys of `metrics_generator`, and of the same block in overrides. A tenant's processors have the
 * keys of the block's: both fill the same structs, one over the other. */
#include "schema.h"
#include "schema_shared.h"

/* clang-format off */
#define IN_POLICY "see filter_policies"
static const struct key policy_attribute_keys[] = {
    K("key", STRING, I, NULL, IN_POLICY),
    K("value", ANY, I, NULL, IN_POLICY),
};
BLOCK(schema_policy_attribute, "filterconfig.MatchPolicyAttribute", policy_attribute_keys);
static const struct key policy_match_keys[] = {
    K("match_type", STRING, I, NULL, IN_POLICY),
    K("attributes", BLOCKS, I, NULL, IN_POLICY, .block = &schema_policy_attribute),
};
BLOCK(schema_policy_match, "filterconfig.PolicyMatch", policy_match_keys);
static const struct key policy_keys[] = {
    B("include", schema_policy_match),
    B("exclude", schema_policy_match),
    B("include_any", schema_policy_match),
};
BLOCK(schema_policy, "filterconfig.FilterPolicy", policy_keys);

#define POLICIES "include, include_any and exclude with match_type (strict, regex) and attributes of key (resource.x, span.x, kind, name, status) and value: which spans count"
#define BASE struct config_service_graphs
static const struct key service_graphs_keys[] = {
    K("wait", DURATION, I, "10s", "how long an edge waits for its other span", TO(wait)),
    K("max_items", INT, I, "10000", "edges that wait at once; spans beyond are dropped", TO(max_items)),
    K("workers", INT, N, "10", NO_TUNE),
    K("histogram_buckets", FLOATS, I, NULL, "upper bounds in seconds; 0.1 doubled up to 12.8", TO(buckets)),
    K("dimensions", STRINGS, I, NULL, "attributes that become labels", TO(dimensions)),
    K("enable_client_server_prefix", BOOL, I, "false", "dimensions are client_x and server_x", TO(prefix)),
    K("enable_messaging_system_latency_histogram", BOOL, I, "false", "time between producer and consumer", TO(messaging_latency)),
    K("peer_attributes", STRINGS, I, NULL, "names of virtual nodes; peer.service, db.name, db.system", TO(peer_attributes)),
    K("span_multiplier_key", STRING, I, "", "attribute with the sampling ratio of a span", TO(multiplier_key)),
    K("enable_tracestate_span_multiplier", BOOL, I, "false", "sampling ratio from the trace state (ot=th:)", TO(tracestate_multiplier)),
    K("enable_virtual_node_label", BOOL, I, "false", "label virtual_node says which side is virtual", TO(virtual_node_label)),
    K("database_name_attributes", STRINGS, I, NULL, "what marks a call of a database; db.namespace, db.name, db.system", TO(database_attributes)),
    K("filter_policies", BLOCKS, I, NULL, POLICIES, .block = &schema_policy, TO(policies_node)),
};
#undef BASE
static BLOCK(block_service_graphs, "servicegraphs.Config", service_graphs_keys);

#define BASE struct config_span_metrics
static const struct key intrinsic_keys[] = {
    K("service", BOOL, I, "true", "label service", TO(service)),
    K("span_name", BOOL, I, "true", "label span_name", TO(span_name)),
    K("span_kind", BOOL, I, "true", "label span_kind", TO(span_kind)),
    K("status_code", BOOL, I, "true", "label status_code", TO(status_code)),
    K("status_message", BOOL, I, "false", "label status_message", TO(status_message)),
};
BLOCK(schema_intrinsic, "spanmetrics.IntrinsicDimensions", intrinsic_keys);
#define IN_MAPPING "see dimension_mappings"
static const struct key mapping_keys[] = {
    K("name", STRING, I, NULL, IN_MAPPING),
    K("source_labels", STRINGS, I, NULL, IN_MAPPING),
    K("join", STRING, I, NULL, IN_MAPPING),
};
BLOCK(schema_mapping, "sharedconfig.DimensionMappings", mapping_keys);
static const struct key span_metrics_keys[] = {
    K("histogram_buckets", FLOATS, I, NULL, "upper bounds in seconds; 0.002 doubled up to 16.384", TO(buckets)),
    B("intrinsic_dimensions", schema_intrinsic),
    K("dimensions", STRINGS, I, NULL, "attributes that become labels", TO(dimensions)),
    K("dimension_mappings", BLOCKS, I, NULL, "labels of several attributes: name, source_labels, join", .block = &schema_mapping, TO(mappings_node)),
    K("enable_target_info", BOOL, I, "false", "traces_target_info, and the labels job and instance", TO(target_info)),
    K("span_multiplier_key", STRING, I, "", "attribute with the sampling ratio of a span", TO(multiplier_key)),
    K("enable_tracestate_span_multiplier", BOOL, I, "false", "sampling ratio from the trace state (ot=th:)", TO(tracestate_multiplier)),
    K("subprocessors", ANY, N, NULL, "name span-metrics-count, -latency, -size as processors"),
    K("filter_policies", BLOCKS, I, NULL, POLICIES, .block = &schema_policy, TO(policies_node)),
    K("target_info_excluded_dimensions", STRINGS, I, NULL, "resource attributes that traces_target_info leaves out", TO(target_info_excluded)),
    K("enable_instance_label", BOOL, I, "true", "label instance, with enable_target_info", TO(instance_label)),
};
#undef BASE
static BLOCK(block_span_metrics, "spanmetrics.Config", span_metrics_keys);
#define BASE struct config_processors
static const struct key host_info_keys[] = {
    K("host_identifiers", STRINGS, I, NULL, "resource attributes; k8s.node.name, host.id", TO(host_identifiers)),
    K("metric_name", STRING, I, "traces_host_info", "name of the metric", TO(host_metric)),
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
    B("service_graphs", block_service_graphs, AT(service_graphs)),
    B("span_metrics", block_span_metrics, AT(span_metrics)),
    B("host_info", block_host_info),
    B("local_blocks", block_local_blocks, .flags = KEY_OLD),
};
#undef BASE
static BLOCK(block_processor, "generator.ProcessorConfig", processor_keys);

#define BASE struct config_generator
static const struct key registry_keys[] = {
    K("collection_interval", DURATION, I, "15s", "how often metrics are written", TO(collection_interval)),
    K("stale_duration", DURATION, I, "15m", "series that are not updated for this long go", TO(stale)),
    K("external_labels", STRING_MAP, I, NULL, "labels of every series", TO(external_node)),
    K("inject_tenant_id_as", STRING, I, "", "label with the tenant; empty: none", TO(inject_tenant_id_as)),
    K("max_label_name_length", INT, I, "1024", "longer names are cut; 0: never", TO(label_name_max)),
    K("max_label_value_length", INT, I, "2048", "longer values are cut; 0: never", TO(label_value_max)),
};
static BLOCK(block_registry, "registry.Config", registry_keys);

#define OWN_QUEUE "samples wait in a queue of this server's own"
static const struct key prometheus_wal_keys[] = {
    K("wal_segment_size", INT, N, "134217728", OWN_QUEUE),
    K("wal_compression", STRING, N, "none", OWN_QUEUE),
    K("stripe_size", INT, N, "16384", OWN_QUEUE),
    K("truncate_frequency", DURATION, N, "2h", OWN_QUEUE),
    K("min_wal_time", INT, N, "300000", OWN_QUEUE),
    K("max_wal_time", INT, N, "14400000", OWN_QUEUE),
    K("no_lockfile", BOOL, N, "false", OWN_QUEUE),
};
static BLOCK(block_prometheus_wal, "storage.agentOptions", prometheus_wal_keys);
static const struct key storage_keys[] = {
    K("path", STRING, I, "", "folder of the samples that wait; empty: no metrics are made", TO(path)),
    B("wal", block_prometheus_wal),
    K("remote_write_flush_deadline", DURATION, I, "1m", "a stop waits this long for the endpoints, half a second at most; what is left is sent after the next start", TO(flush_deadline)),
    K("remote_write_add_org_id_header", BOOL, I, "true", "X-Scope-OrgID names the tenant", TO(add_org_id_header)),
    K("remote_write", BLOCKS, I, NULL, "endpoints, see below", .block = &schema_remote_write, TO(remote_write_node)),
    K("queue_bytes_max", UINT64, I, "536870912", "samples of a tenant that wait on disk; beyond, the oldest go", TO(queue_bytes_max), .flags = KEY_OWN),
};
static BLOCK(block_storage, "storage.Config", storage_keys);
static const struct key traces_storage_keys[] = {
    K("path", STRING, N, "", NO_LOCAL_BLOCKS),
    K("v2_encoding", STRING, N, NULL, NO_LOCAL_BLOCKS),
    K("search_encoding", STRING, N, NULL, NO_LOCAL_BLOCKS),
    K("ingestion_time_range_slack", DURATION, N, NULL, NO_LOCAL_BLOCKS),
    K("version", STRING, N, NULL, NO_LOCAL_BLOCKS),
};
static BLOCK(block_traces_storage, "wal.Config", traces_storage_keys);


static const struct key generator_keys[] = {
    B("ring", schema_ring),
    B("processor", block_processor, AT(processors)),
    B("registry", block_registry),
    B("storage", block_storage),
    B("traces_storage", block_traces_storage, .flags = KEY_OLD),
    B("traces_query_storage", block_traces_storage, .flags = KEY_OLD),
    K("metrics_ingestion_time_range_slack", DURATION, I, "30s", "spans that end further from now make no metrics", TO(slack)),
    K("query_timeout", DURATION, N, NULL, NO_LOCAL_BLOCKS, .flags = KEY_OLD),
    K("override_ring_key", STRING, N, "metrics-generator", NO_RING),
    K("ring_mode", STRING, N, "partition", NO_RING),
    K("codec", STRING, N, "push-bytes", NO_KAFKA),
    K("limiter_type", STRING, I, "series", "what the limits of overrides count: series or entity (label sets)"),
    K("disable_local_blocks", BOOL, N, NULL, NO_LOCAL_BLOCKS, .flags = KEY_OLD),
    K("disable_grpc", BOOL, N, NULL, NO_RPC, .flags = KEY_OLD),
    K("ingest_concurrency", UINT64, N, "16", NO_KAFKA),
    K("instance_id", STRING, N, NULL, NO_RING),
    K("leave_consumer_group_on_shutdown", BOOL, N, "false", NO_KAFKA),
};
#undef BASE
BLOCK(schema_metrics_generator, "generator.Config", generator_keys);

/* ---- the same, per tenant ---- */

#define NO_FORWARDER "spans reach the generator without a queue"
static const struct key tenant_forwarder_keys[] = {
    K("queue_size", INT, N, "0", NO_FORWARDER),
    K("workers", INT, N, "0", NO_FORWARDER),
};
static BLOCK(block_tenant_forwarder, "overrides.ForwarderOverrides", tenant_forwarder_keys);
static const struct key tenant_local_blocks_keys[] = {
    K("max_live_traces", UINT64, N, NULL, NO_LOCAL_BLOCKS, .flags = KEY_OLD),
    K("max_block_duration", DURATION, N, NULL, NO_LOCAL_BLOCKS, .flags = KEY_OLD),
    K("max_block_bytes", UINT64, N, NULL, NO_LOCAL_BLOCKS, .flags = KEY_OLD),
    K("flush_check_period", DURATION, N, NULL, NO_LOCAL_BLOCKS, .flags = KEY_OLD),
    K("trace_idle_period", DURATION, N, NULL, NO_LOCAL_BLOCKS, .flags = KEY_OLD),
    K("complete_block_timeout", DURATION, N, NULL, NO_LOCAL_BLOCKS, .flags = KEY_OLD),
};
static BLOCK(block_tenant_local_blocks, "overrides.LocalBlocksOverrides", tenant_local_blocks_keys);
#define BASE struct config_processors
static const struct key tenant_processor_keys[] = {
    B("service_graphs", block_service_graphs, AT(service_graphs)),
    B("span_metrics", block_span_metrics, AT(span_metrics)),
    B("host_info", block_host_info),
    B("local_blocks", block_tenant_local_blocks),
};
#undef BASE
static BLOCK(block_tenant_processor, "overrides.ProcessorOverrides", tenant_processor_keys);
#define BASE struct config_tenant_generator
static const struct key tenant_keys[] = {
    K("ring_size", INT, N, "0", NO_RING),
    K("processors", STRINGS, I, NULL, "span-metrics, its parts -count, -latency, -size, service-graphs, host-info; none: no metrics", TO(processor_names)),
    K("max_active_series", UINT32, I, "0", "more go to one overflow series; 0: no limit", TO(max_active_series)),
    K("max_active_entities", UINT32, I, "0", "the same for label sets, with limiter_type entity", TO(max_active_entities)),
    K("max_cardinality_per_label", UINT64, I, "0", "a label with more values becomes __cardinality_overflow__; 0: off", TO(max_cardinality_per_label)),
    K("collection_interval", DURATION, I, "0s", "0: the registry's", TO(collection_interval)),
    K("disable_collection", BOOL, I, "false", "count series, but send nothing", TO(disable_collection)),
    K("generate_native_histograms", STRING, I, "classic", "classic, native or both", TO(native_histograms)),
    K("native_histogram_bucket_factor", FLOAT, I, "1.1", "growth from bucket to bucket", TO(native_bucket_factor)),
    K("native_histogram_max_bucket_number", UINT32, I, "100", "most buckets of a native histogram", TO(native_buckets_max)),
    K("native_histogram_min_reset_duration", DURATION, I, "15m", "a native histogram with too many buckets starts anew this seldom", TO(native_min_reset)),
    K("span_name_sanitization", STRING, I, "", "enabled: span names become patterns, GET /users/<_>; dry_run: only counted as such", TO(span_name_sanitization)),
    K("trace_id_label_name", STRING, I, "", "label of exemplars; empty: traceID", TO(trace_id_label)),
    K("remote_write_headers", STRING_MAP, I, NULL, "headers of requests to the endpoints, over theirs", TO(headers_node)),
    K("ingestion_time_range_slack", DURATION, I, "0s", "0: metrics_ingestion_time_range_slack", TO(slack)),
    B("forwarder", block_tenant_forwarder),
    B("processor", block_tenant_processor, AT(processors)),
};
#undef BASE
BLOCK(schema_tenant_generator, "overrides.MetricsGeneratorOverrides", tenant_keys);
/* clang-format on */
