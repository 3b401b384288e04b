/* SPDX-License-Identifier: Apache-2.0
 * Keys of `metrics_generator`. */
#include "schema.h"
#include "schema_shared.h"

#define NO_GENERATOR "the metrics generator is " LATER

/* clang-format off */
static const struct key generator_keys[] = {
    B("ring", schema_ring),
    K("processor", ANY, N, NULL, NO_GENERATOR),
    K("registry", ANY, N, NULL, NO_GENERATOR),
    K("storage", ANY, N, NULL, NO_GENERATOR),
    K("traces_storage", ANY, N, NULL, NO_GENERATOR, .flags = KEY_OLD),
    K("traces_query_storage", ANY, N, NULL, NO_GENERATOR, .flags = KEY_OLD),
    K("metrics_ingestion_time_range_slack", DURATION, N, "30s", NO_GENERATOR),
    K("query_timeout", DURATION, N, NULL, NO_GENERATOR, .flags = KEY_OLD),
    K("override_ring_key", STRING, N, "metrics-generator", NO_RING),
    K("ring_mode", STRING, N, "partition", NO_RING),
    K("codec", STRING, N, "push-bytes", NO_GENERATOR),
    K("limiter_type", STRING, N, "series", NO_GENERATOR),
    K("disable_local_blocks", BOOL, N, NULL, NO_GENERATOR, .flags = KEY_OLD),
    K("disable_grpc", BOOL, N, NULL, NO_GENERATOR, .flags = KEY_OLD),
    K("ingest_concurrency", UINT64, N, "16", NO_GENERATOR),
    K("instance_id", STRING, N, NULL, NO_GENERATOR),
    K("leave_consumer_group_on_shutdown", BOOL, N, "false", NO_GENERATOR),
};
BLOCK(schema_metrics_generator, "generator.Config", generator_keys);
/* clang-format on */
