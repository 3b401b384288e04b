/* SPDX-License-Identifier: Apache-2.0
 * Keys of compaction and retention: `compactor` (2.9), `backend_scheduler`, `backend_worker` (3.0).
 *
 * The three hold the same group; resolve.c picks the one that counts. */
#include "schema.h"
#include "schema_shared.h"

/* clang-format off */
#define NO_V2 "an old block format"
static const struct key compaction_keys[] = {
    K("v2_in_buffer_bytes", INT, N, NULL, NO_V2, .flags = KEY_OLD),
    K("v2_out_buffer_bytes", INT, N, NULL, NO_V2, .flags = KEY_OLD),
    K("v2_prefetch_traces_count", INT, N, NULL, NO_V2, .flags = KEY_OLD),
    K("compaction_window", DURATION, I, "1h", "blocks of one window of time are merged"),
    K("max_compaction_objects", INT, M, "4000000", "most spans in a merged block (Tempo: 6000000 traces)"),
    K("max_block_bytes", UINT64, I, "1073741824", "most bytes in a merged block (Tempo: 100 GiB)"),
    K("block_retention", DURATION, I, "336h", "blocks older than this are deleted"),
    K("compacted_block_retention", DURATION, N, "1h", "a merged block is unlinked when its last reader is done"),
    K("retention_concurrency", UINT64, N, "10", "one pass deletes for all tenants"),
    K("max_time_per_tenant", DURATION, N, "5m", "merges are small steps, tenants take turns"),
    K("compaction_cycle", DURATION, I, "30s", "how often to look for blocks to merge"),
};
BLOCK(schema_compaction, "tempodb.CompactorConfig", compaction_keys);

static const struct key compactor_keys[] = {
    K("disabled", BOOL, M, "false", "no merging of blocks; retention goes on", .flags = KEY_OLD),
    B("ring", schema_ring),
    B("compaction", schema_compaction, .flags = KEY_OLD),
    K("override_ring_key", STRING, N, "compactor", NO_RING, .flags = KEY_OLD),
};
BLOCK(schema_compactor, "compactor.Config", compactor_keys);

#define NO_JOBS "merging and retention run in the process"
static const struct key work_keys[] = {
    K("prune_age", DURATION, N, "1h", NO_JOBS),
    K("dead_job_timeout", DURATION, N, "24h", NO_JOBS),
};
static BLOCK(block_work, "work.Config", work_keys);
static const struct key retention_keys[] = {
    K("interval", DURATION, M, "1h", "at most this between two retention passes; ours run every minute"),
};
static BLOCK(block_retention, "provider.RetentionConfig", retention_keys);
#define BASE struct config
static const struct key provider_compaction_keys[] = {
    K("measure_interval", DURATION, N, "1m", NO_JOBS),
    B("compaction", schema_compaction),
    K("max_jobs_per_tenant", INT, N, "1000", NO_JOBS),
    K("min_input_blocks", INT, I, "2", "fewest blocks to merge", TO(compaction_inputs_min)),
    K("max_input_blocks", INT, I, "8", "most blocks to merge at once (Tempo: 4); 0: no merging", TO(compaction_inputs_max)),
    K("max_compaction_level", INT, N, "0", "levels follow from the number of spans in a block"),
    K("min_cycle_interval", DURATION, N, "30s", NO_JOBS),
};
#undef BASE
static BLOCK(block_provider_compaction, "provider.CompactionConfig", provider_compaction_keys);
static const struct key redaction_keys[] = {
    K("poll_interval", DURATION, N, "2s", "redaction is " LATER),
    K("rescan_delay", DURATION, N, "5m", "redaction is " LATER),
    K("max_rescan_generations", INT, N, "5", "redaction is " LATER),
};
static BLOCK(block_redaction, "provider.RedactionConfig", redaction_keys);
static const struct key provider_keys[] = {
    B("retention", block_retention),
    B("compaction", block_provider_compaction),
    B("redaction", block_redaction),
};
static BLOCK(block_provider, "provider.Config", provider_keys);
static const struct key backend_scheduler_keys[] = {
    B("work", block_work),
    K("maintenance_interval", DURATION, N, "1m", NO_JOBS),
    K("backend_flush_interval", DURATION, N, "1m", NO_JOBS),
    B("provider", block_provider),
    K("job_timeout", DURATION, N, "15s", NO_JOBS),
    K("local_work_path", STRING, N, "/var/tempo", NO_JOBS),
};
BLOCK(schema_backend_scheduler, "backendscheduler.Config", backend_scheduler_keys);

static const struct key backend_worker_keys[] = {
    K("backend_scheduler_addr", STRING, N, "", NO_JOBS),
    B("backoff", schema_backoff),
    B("compaction", schema_compaction),
    K("override_ring_key", STRING, N, "backend-worker", NO_RING),
    B("ring", schema_ring),
    K("finish_on_shutdown_timeout", DURATION, N, "30s", NO_JOBS),
};
BLOCK(schema_backend_worker, "backendworker.Config", backend_worker_keys);
/* clang-format on */
