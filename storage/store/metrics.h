/* SPDX-License-Identifier: Apache-2.0
 * The storage layer's metric families (spec lifecycle.md section 13), one table.
 *
 * Tempo 2 and Tempo 3 name the same fact differently (tempo_ingester_*, tempo_live_store_*): both
 * are fed from one call, so that dashboards and alerts of either find their series. */
#pragma once

#include "base/metric.h"

struct store;
struct tenant;

/* Families without labels. X(field, type, name, help) */
#define STORE_METRICS(X)                                                                           \
    X(flushed, COUNTER, "tempo_ingester_blocks_flushed_total", "Blocks made durable")              \
    X(flushed3, COUNTER, "tempo_live_store_local_blocks_flushed_total", "Blocks made durable")     \
    X(cleared, COUNTER, "tempo_ingester_blocks_cleared_total", "Heads whose WAL was released")     \
    X(completed3, COUNTER, "tempo_live_store_blocks_completed_total", "Heads written as a block")  \
    X(flush_failed, COUNTER, "tempo_ingester_failed_flushes_total", "Flushes that failed")         \
    X(flush_failed3, COUNTER, "tempo_live_store_local_failed_flushes_total",                       \
        "Flushes that failed")                                                                     \
    X(retries, COUNTER, "tempo_ingester_flush_retries_total", "Flushes tried again")               \
    X(retries3, COUNTER, "tempo_live_store_local_flush_retries_total", "Flushes tried again")      \
    X(retries_failed, COUNTER, "tempo_ingester_flush_failed_retries_total",                        \
        "Flushes that failed again")                                                               \
    X(retries_failed3, COUNTER, "tempo_live_store_local_flush_failed_retries_total",               \
        "Flushes that failed again")                                                               \
    X(flush_queue, GAUGE, "tempo_ingester_flush_queue_length", "Sealed heads waiting")             \
    X(flush_queue3, GAUGE, "tempo_live_store_complete_queue_length", "Sealed heads waiting")       \
    X(ready3, GAUGE, "tempo_live_store_ready", "1 when replay is done")                            \
    X(compact_spans, COUNTER, "tempodb_compaction_spans_combined_total",                           \
        "Spans that compaction merged away as duplicates")                                         \
    X(compact_errors, COUNTER, "tempodb_compaction_errors_total", "Compactions that failed")       \
    X(merge_paused, COUNTER, "vivace_compaction_paused_seconds_total",                             \
        "Seconds that merges rested because log syncs were slow")                                  \
    X(retain_marked, COUNTER, "tempodb_retention_marked_for_deletion_total",                       \
        "Blocks taken from view by retention")                                                     \
    X(retain_deleted, COUNTER, "tempodb_retention_deleted_total", "Block files removed")           \
    X(retain_errors, COUNTER, "tempodb_retention_errors_total", "Retention steps that failed")     \
    X(retain_suspended, GAUGE, "tempo_storage_retention_suspended",                                \
        "1 while the wall clock is not trusted")                                                   \
    X(work_queue, GAUGE, "tempodb_work_queue_length", "Background storage jobs waiting")           \
    X(work_queue_max, GAUGE, "tempodb_work_queue_max", "Bound of that queue")                      \
    X(empty_jobs, COUNTER, "tempo_backend_scheduler_compaction_tenant_empty_job_total",            \
        "Compaction jobs without input")                                                           \
    X(wal_oldest, GAUGE, "tempo_wal_oldest_unflushed_seconds", "Age of the oldest unflushed span") \
    X(wal_torn, COUNTER, "tempo_wal_torn_tails_total", "Torn log tails cut at start")              \
    X(wal_failed, COUNTER, "tempo_wal_failed_syncs_total", "Log syncs that failed")                \
    X(set_aside, GAUGE, "tempo_storage_set_aside_files", "Damaged files kept aside")               \
    X(disk_free, GAUGE, "tempo_storage_disk_free_bytes", "Bytes free for data")                    \
    X(disk_low, GAUGE, "tempo_storage_disk_low", "1 while ingest is refused for lack of disk")     \
    X(disk_early, GAUGE, "tempo_storage_disk_low_warning", "1 under twice the floor")              \
    X(ingest_off, GAUGE, "tempo_storage_ingest_off", "1 after repeated log sync failures")

/* X(field, type, name, help, labels...) */
#define STORE_METRICS_LABELLED(X)                                                                  \
    X(cleared3, COUNTER, "tempo_live_store_blocks_cleared_total", "Heads whose WAL was released",  \
        "block_type")                                                                              \
    X(cut3, COUNTER, "tempo_live_store_blocks_cut_total", "Heads sealed", "reason")                \
    X(back_pressure3, COUNTER, "tempo_live_store_back_pressure_seconds_total",                     \
        "Seconds appends waited", "reason")                                                        \
    X(replay_errors, COUNTER, "tempo_ingester_replay_errors_total", "Damaged log parts met",       \
        "tenant")                                                                                  \
    X(traces, COUNTER, "tempo_ingester_traces_created_total", "New traces in heads", "tenant")     \
    X(traces3, COUNTER, "tempo_live_store_traces_created_total", "New traces in heads", "tenant")  \
    X(live, GAUGE, "tempo_ingester_live_traces", "Traces that got a span lately", "tenant")        \
    X(live3, GAUGE, "tempo_live_store_live_traces", "Traces that got a span lately", "tenant")     \
    X(live_bytes, GAUGE, "tempo_ingester_live_trace_bytes", "Span bytes in the head", "tenant")    \
    X(live_bytes3, GAUGE, "tempo_live_store_live_trace_bytes", "Span bytes in the head", "tenant") \
    X(received, COUNTER, "tempo_ingester_bytes_received_total", "Span bytes stored", "tenant",     \
        "data_type")                                                                               \
    X(received3, COUNTER, "tempo_live_store_bytes_received_total", "Span bytes stored", "tenant",  \
        "data_type")                                                                               \
    X(blocklist, GAUGE, "tempodb_blocklist_length", "Visible blocks", "tenant")                    \
    X(poll_errors, COUNTER, "tempodb_blocklist_poll_errors_total",                                 \
        "Always 0: the catalog is local", "tenant")                                                \
    X(index_errors, COUNTER, "tempodb_blocklist_tenant_index_errors_total",                        \
        "Always 0: the catalog is local", "tenant")                                                \
    X(index_builder, GAUGE, "tempodb_blocklist_tenant_index_builder", "Always 1", "tenant")        \
    X(index_age, GAUGE, "tempodb_blocklist_tenant_index_age_seconds", "Always 0", "tenant")        \
    X(backend_bytes, GAUGE, "tempodb_backend_bytes_total", "Bytes of blocks", "tenant", "status")  \
    X(backend_objects, GAUGE, "tempodb_backend_objects_total", "Traces in blocks", "tenant",       \
        "status")                                                                                  \
    X(compact_blocks, COUNTER, "tempodb_compaction_blocks_total", "Blocks merged away", "level")   \
    X(compact_written, COUNTER, "tempodb_compaction_objects_written_total", "Traces written",      \
        "level")                                                                                   \
    X(compact_combined, COUNTER, "tempodb_compaction_objects_combined_total",                      \
        "Traces whose parts were joined", "level")                                                 \
    X(compact_bytes, COUNTER, "tempodb_compaction_bytes_written_total", "Bytes written", "level")  \
    X(compact_dedup, COUNTER, "tempodb_compaction_spans_deduped_total", "Duplicate spans dropped", \
        "replication_factor")                                                                      \
    X(outstanding, GAUGE, "tempodb_compaction_outstanding_blocks", "Blocks due for merging",       \
        "tenant")                                                                                  \
    X(jobs_created, COUNTER, "tempo_backend_scheduler_jobs_created_total", "Background jobs",      \
        "tenant", "job_type")                                                                      \
    X(jobs_completed, COUNTER, "tempo_backend_scheduler_jobs_completed_total", "Background jobs",  \
        "tenant", "job_type")                                                                      \
    X(jobs_failed, COUNTER, "tempo_backend_scheduler_jobs_failed_total", "Background jobs",        \
        "tenant", "job_type")                                                                      \
    X(jobs_retry, COUNTER, "tempo_backend_scheduler_jobs_retry_total", "Background jobs",          \
        "tenant", "job_type")                                                                      \
    X(jobs_active, GAUGE, "tempo_backend_scheduler_jobs_active", "Background jobs", "tenant",      \
        "job_type")                                                                                \
    X(wal_bytes, GAUGE, "tempo_wal_bytes", "Bytes of log segments", "tenant")                      \
    X(corruptions, COUNTER, "tempo_storage_corruptions_total", "Damage met", "kind")               \
    X(size_deleted, COUNTER, "tempo_retention_size_deleted_bytes_total",                           \
        "Bytes deleted by a size limit", "tenant")                                                 \
    X(bytes_written, COUNTER, "vivace_storage_bytes_written_total",                                \
        "Bytes given to the disk: log records, log segments filled before use, blocks of heads, "  \
        "merged blocks",                                                                           \
        "kind")                                                                                    \
    X(durability, GAUGE, "tempo_wal_durability", "1 for the mode in force", "mode")                \
    X(budget, GAUGE, "tempo_budget_bytes", "Budgets of the store", "pool", "kind")

/* X(field, name, help, bounds) */
#define STORE_HISTOGRAMS(X)                                                                       \
    X(flush_seconds, "tempo_ingester_flush_duration_seconds", "Time to write a block",            \
        bounds_flush_s)                                                                           \
    X(flush_seconds3, "tempo_live_store_local_flush_duration_seconds", "Time to write a block",   \
        bounds_flush_s)                                                                           \
    X(complete_seconds3, "tempo_live_store_completion_duration_seconds", "Time to write a block", \
        bounds_flush_s)                                                                           \
    X(flush_bytes, "tempo_ingester_flush_size_bytes", "Size of flushed blocks",                   \
        bounds_flush_bytes)                                                                       \
    X(flush_bytes3, "tempo_live_store_local_flush_size_bytes", "Size of flushed blocks",          \
        bounds_flush_bytes)                                                                       \
    X(complete_bytes3, "tempo_live_store_completion_size_bytes", "Size of flushed blocks",        \
        bounds_flush_bytes)                                                                       \
    X(poll_seconds, "tempodb_blocklist_poll_duration_seconds", "Time of a catalog refresh",       \
        bounds_default)                                                                           \
    X(retain_seconds, "tempodb_retention_duration_seconds", "Time of a retention pass",           \
        bounds_retain)                                                                            \
    X(fsync_seconds, "tempo_wal_fsync_duration_seconds", "Time of a log sync", bounds_fsync)

struct store_metrics {
#define X(field, ...) struct metric *field;
    STORE_METRICS(X)
    STORE_HISTOGRAMS(X)
#undef X
    struct metric *written_wal, *written_flush, *written_compact; /* kinds of bytes_written */
};
extern struct store_metrics store_metrics; /* valid after store_metrics_init */

/* Families with labels: metric_series1(&store_families.cut3, ...). */
struct store_families {
#define X(field, ...) struct metric_family field;
    STORE_METRICS_LABELLED(X)
#undef X
};
extern struct store_families store_families;

/* Series of one tenant that are counted on the way in, looked up once. */
struct tenant_metrics {
    struct metric *received, *received3;
};

void store_metrics_init(void);              /* registers everything; idempotent */
void store_metrics_attach(struct store *s); /* adds the collector */
void store_metrics_detach(struct store *s);
void tenant_metrics_init(struct tenant *t);
