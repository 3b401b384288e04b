/* SPDX-License-Identifier: Apache-2.0
 * Top-level keys. */
#include "schema.h"
#include "schema_shared.h"

/* clang-format off */
static const struct key memory_keys[] = {
    K("automemlimit_enabled", BOOL, M, "false", "true: the memory budget is automemlimit_ratio of the cgroup's limit"),
    K("automemlimit_ratio", FLOAT, M, "0.8", "see automemlimit_enabled"),
    K("budget_bytes", UINT64, I, "0", "memory budget; 0: GOMEMLIMIT, else the smaller of 75 % of the cgroup's limit and 1 GiB", .flags = KEY_OWN),
};
static BLOCK(block_memory, "app.MemoryConfig", memory_keys);

#define BASE struct config
static const struct key root_keys[] = {
    K("target", STRING, I, "all", "all; scalable-single-binary is taken for all", TO(target)),
    K("multitenancy_enabled", BOOL, I, "false", "tenant from X-Scope-OrgID; else single-tenant"),
    K("auth_enabled", BOOL, M, "false", "old name of multitenancy_enabled", .flags = KEY_OLD),
    K("http_api_prefix", STRING, I, "", "prefix of the query API's routes", TO(http_api_prefix)),
    K("stream_over_http_enabled", BOOL, I, "false", "streaming search (gRPC) on the HTTP port too", TO(stream_over_http)),
    K("shutdown_delay", DURATION, I, "0s", "time between /ready turning 503 and closing the listeners", TO(shutdown_delay)),
    K("enable_go_runtime_metrics", BOOL, N, "false", "there is no Go runtime"),
    K("span_profiling", BOOL, N, "false", "there is no Go runtime"),
    B("memory", block_memory),
    B("server", schema_server, AT(server)),
    B("internal_server", schema_internal_server, AT(internal_server)),
    B("distributor", schema_distributor),
    B("live_store_client", schema_client),
    B("ingester_client", schema_client, .flags = KEY_OLD),
    B("metrics_generator_client", schema_client, .flags = KEY_OLD),
    B("backend_scheduler_client", schema_client),
    B("querier", schema_querier),
    B("query_frontend", schema_query_frontend),
    B("compactor", schema_compactor, .flags = KEY_OLD),
    B("ingester", schema_ingester, .flags = KEY_OLD),
    B("live_store", schema_live_store),
    B("partition_ring_live_store", schema_partition_ring, .flags = KEY_OLD),
    B("metrics_generator", schema_metrics_generator, AT(generator)),
    B("ingest", schema_ingest),
    B("block_builder", schema_block_builder),
    B("storage", schema_storage),
    B("overrides", schema_overrides, AT(limits)),
    B("memberlist", schema_memberlist),
    B("usage_report", schema_usage_report),
    B("cache", schema_cache),
    B("backend_scheduler", schema_backend_scheduler),
    B("backend_worker", schema_backend_worker),
    B("gateway", schema_gateway, AT(gateway)),
    K("search_enabled", BOOL, N, "true", "an old key without meaning", .flags = KEY_OLD),
    K("metrics_generator_enabled", BOOL, N, "false", "an old key without meaning", .flags = KEY_OLD),
};
#undef BASE
BLOCK(schema_root, "app.Config", root_keys);
/* clang-format on */
