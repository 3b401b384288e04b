/* SPDX-License-Identifier: Apache-2.0
 * Keys of the query path: `querier` and `query_frontend`. */
#include "schema.h"
#include "schema_shared.h"

#define OLD_KEY "an old key without meaning"

/* clang-format off */
static const struct key querier_search_keys[] = {
    K("query_timeout", DURATION, I, "30s", "longest a search may run"),
    K("prefer_self", INT, N, NULL, OLD_KEY, .flags = KEY_OLD),
    K("external_endpoints", STRINGS, N, NULL, OLD_KEY, .flags = KEY_OLD),
    K("external_backend", STRING, N, NULL, OLD_KEY, .flags = KEY_OLD),
    K("external_hedge_requests_at", DURATION, N, NULL, OLD_KEY, .flags = KEY_OLD),
    K("external_hedge_requests_up_to", INT, N, NULL, OLD_KEY, .flags = KEY_OLD),
};
static BLOCK(block_querier_search, "querier.SearchConfig", querier_search_keys);
static const struct key external_keys[] = {
    K("endpoint", STRING, N, "", "there is no external trace source"),
    K("timeout", DURATION, N, "10s", "there is no external trace source"),
};
static BLOCK(block_external, "external.Config", external_keys);
static const struct key querier_trace_keys[] = {
    K("query_timeout", DURATION, I, "10s", "longest a lookup of a trace may run"),
    B("external", block_external),
};
static BLOCK(block_querier_trace, "querier.TraceByIDConfig", querier_trace_keys);
static const struct key querier_metrics_keys[] = {
    K("concurrent_blocks", INT, N, "2", "queries share one pool of workers"),
    K("time_overlap_cutoff", FLOAT, N, "0.2", NO_TUNE),
};
static BLOCK(block_querier_metrics, "querier.MetricsConfig", querier_metrics_keys);
static const struct key querier_ring_keys[] = {
    K("minimize_requests", BOOL, N, "true", NO_RING),
    K("hedging_delay", DURATION, N, "3s", NO_RING),
};
static BLOCK(block_querier_ring, "querier.PartitionRingConfig", querier_ring_keys);
static const struct key worker_keys[] = {
    K("frontend_address", STRING, N, "", NO_RPC),
    K("dns_lookup_duration", DURATION, N, "10s", NO_RPC),
    K("parallelism", INT, N, "2", NO_RPC),
    K("match_max_concurrent", BOOL, N, "true", NO_RPC),
    K("id", STRING, N, "", NO_RPC),
    B("grpc_client_config", schema_grpc_client),
};
static BLOCK(block_worker, "worker.Config", worker_keys);

#define BASE struct config
static const struct key querier_keys[] = {
    B("search", block_querier_search),
    B("trace_by_id", block_querier_trace),
    B("metrics", block_querier_metrics),
    B("partition_ring", block_querier_ring),
    K("max_concurrent_queries", INT, M, "20", "query worker threads, capped by processors and memory", TO(query_workers)),
    B("frontend_worker", block_worker),
    K("shuffle_sharding_ingesters_enabled", BOOL, N, "false", NO_RING),
    K("shuffle_sharding_ingesters_lookback_period", DURATION, N, "1h", NO_RING),
    K("query_relevant_ingesters", BOOL, N, "false", NO_RING),
    K("secondary_ingester_ring", STRING, N, "", NO_RING),
    K("extra_query_delay", DURATION, N, "0s", NO_RPC),
    K("query_timeout", DURATION, N, NULL, OLD_KEY, .flags = KEY_OLD),
};
BLOCK(schema_querier, "querier.Config", querier_keys);

#define NO_JOB_SPLIT "queries are split by blocks and row groups"
#define ONE_STORE    "one store holds recent and old data, all of it is searched"
#define NO_SLO       "service level counters are " LATER
static const struct key search_keys[] = {
    K("concurrent_jobs", INT, N, "1000", NO_JOB_SPLIT),
    K("target_bytes_per_job", INT, N, "104857600", NO_JOB_SPLIT),
    K("default_result_limit", UINT32, I, "20", "traces in an answer without limit=", TO(search_default_limit)),
    K("max_result_limit", UINT32, I, "262144", "most traces in an answer; 0: no cap", TO(search_max_limit)),
    K("max_duration", DURATION, I, "168h", "longest time range of a search; 0: no limit", TO(search_max_duration)),
    K("query_backend_after", DURATION, N, "15m", ONE_STORE),
    K("query_ingesters_until", DURATION, N, "30m", ONE_STORE, .flags = KEY_OLD),
    K("ingester_shards", INT, N, "3", ONE_STORE),
    K("most_recent_shards", INT, N, "200", NO_JOB_SPLIT),
    K("default_spans_per_span_set", UINT32, I, "3", "spans per trace in an answer without spss=", TO(search_default_spss)),
    K("max_spans_per_span_set", UINT32, I, "100", "most spans per trace; 0: no cap", TO(search_max_spss)),
    K("timeout", DURATION, I, "0s", "longest a search may run; 0: querier.search.query_timeout"),
    K("duration_slo", DURATION, N, "0s", NO_SLO),
    K("throughput_bytes_slo", FLOAT, N, "0", NO_SLO),
    K("metadata_slo", ANY, N, NULL, NO_SLO),
    K("hedge_requests_at", DURATION, N, NULL, OLD_KEY, .flags = KEY_OLD),
    K("hedge_requests_up_to", INT, N, NULL, OLD_KEY, .flags = KEY_OLD),
};
static BLOCK(block_search, "frontend.SearchConfig", search_keys);
static const struct key trace_keys[] = {
    K("query_shards", INT, N, "50", NO_JOB_SPLIT),
    K("concurrent_shards", INT, N, "0", NO_JOB_SPLIT),
    K("timeout", DURATION, I, "0s", "longest a lookup may run; 0: querier.trace_by_id.query_timeout"),
    K("duration_slo", DURATION, N, "0s", NO_SLO),
    K("throughput_bytes_slo", FLOAT, N, "0", NO_SLO),
    K("external_enabled", BOOL, N, "false", "there is no external trace source"),
    K("hedge_requests_at", DURATION, N, NULL, OLD_KEY, .flags = KEY_OLD),
    K("hedge_requests_up_to", INT, N, NULL, OLD_KEY, .flags = KEY_OLD),
};
static BLOCK(block_trace, "frontend.TraceByIDConfig", trace_keys);
static const struct key metrics_keys[] = {
    K("concurrent_jobs", INT, N, "1000", NO_JOB_SPLIT),
    K("target_bytes_per_job", INT, N, "104857600", NO_JOB_SPLIT),
    K("max_duration", DURATION, I, "24h", "longest time range of a metrics query; 0: no limit", TO(metrics_max_duration)),
    K("query_backend_after", DURATION, N, "15m", ONE_STORE),
    K("interval", DURATION, N, "5m", NO_JOB_SPLIT),
    K("timeout", DURATION, I, "0s", "longest a metrics query may run; 0: querier.search.query_timeout", TO(metrics_timeout)),
    K("max_exemplars", INT, I, "100", "most exemplars in an answer", TO(metrics_max_exemplars)),
    K("max_response_series", INT, I, "0", "most series in an answer; 0: no cap", TO(metrics_max_series)),
    K("max_intervals", UINT64, I, "10000", "most points per series; 0: no cap", TO(metrics_max_intervals)),
    K("streaming_shards", INT, N, "200", NO_JOB_SPLIT),
    K("duration_slo", DURATION, N, "0s", NO_SLO),
    K("throughput_bytes_slo", FLOAT, N, "0", NO_SLO),
};
static BLOCK(block_metrics, "frontend.MetricsConfig", metrics_keys);
static const struct key mcp_keys[] = {
    K("enabled", BOOL, I, "false", "/api/mcp: tools for language models (Model Context Protocol)", TO(mcp_enabled)),
};
static BLOCK(block_mcp, "frontend.MCPServerConfig", mcp_keys);
static const struct key weights_keys[] = {
    K("request_with_weights", BOOL, N, "true", NO_RPC),
    K("retry_with_weights", BOOL, N, "true", NO_RPC),
    K("max_traceql_conditions", INT, N, "4", NO_RPC),
    K("max_regex_conditions", INT, N, "1", NO_RPC),
};
static BLOCK(block_weights, "pipeline.WeightsConfig", weights_keys);

static const struct key query_frontend_keys[] = {
    K("max_outstanding_per_tenant", INT, I, "2000", "most requests at once of a tenant, more get 429", TO(max_outstanding_per_tenant)),
    K("max_batch_size", INT, N, "7", NO_RPC),
    K("log_query_request_headers", STRING, N, "", LATER),
    K("max_retries", INT, N, "2", NO_RPC),
    B("search", block_search),
    B("trace_by_id", block_trace),
    B("metrics", block_metrics),
    K("multi_tenant_queries_enabled", BOOL, I, "true", "X-Scope-OrgID: a|b reads both", TO(multi_tenant_queries)),
    K("response_consumers", INT, N, "10", NO_RPC),
    B("weights", block_weights),
    B("mcp_server", block_mcp),
    K("max_grpc_streaming_packet_size", INT, I, "2097152", "a larger gRPC answer goes in several messages; 0: never", TO(grpc_packet_bytes_max)),
    K("max_query_expression_size_bytes", INT, I, "131072", "longest TraceQL expression", TO(max_query_bytes)),
    K("query_end_cutoff", DURATION, I, "0s", "searches end this long before now (Tempo: 30s); a negative one is 0: spans of any time are found", TO(query_end_cutoff),
        .flags = KEY_SIGNED),
    K("api_timeout", DURATION, I, "0s", "longest any query may run; 0: no limit of its own", TO(api_timeout)),
    K("url_deny_list", STRINGS, I, NULL, "regular expressions of URLs to refuse", TO(url_deny_list)),
    K("allowed_headers", STRINGS, N, NULL, NO_RPC),
    K("skip_ast_transformations", STRINGS, N, NULL, "queries are planned by this server's own rules"),
    K("rf1_after", STRING, N, NULL, NO_RING),
    K("tolerate_failed_blocks", INT, N, NULL, OLD_KEY, .flags = KEY_OLD),
    K("querier_forget_delay", DURATION, N, NULL, OLD_KEY, .flags = KEY_OLD),
};
#undef BASE
BLOCK(schema_query_frontend, "frontend.Config", query_frontend_keys);
/* clang-format on */
