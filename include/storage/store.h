/* SPDX-License-Identifier: Apache-2.0
 * The store: all tenants' WALs, heads, blocks; flush, compaction, retention; the only way in and
 * out.
 *
 * Way in: store_append -> admission by trace limits -> WAL append + head insert under the tenant's
 * lock -> a committer thread syncs (group commit) -> done() with the outcome. Visible at once,
 * acked when durable. Way out: store_snapshot gives the tenant's parts (heads and blocks) as
 * references that stay valid whatever flush, compaction and retention do meanwhile.
 *
 * Layout on disk (a tenant id is never a path: hex of its bytes, past 120 bytes '=' + base64url):
 *     <wal_dir>/@wal/<tenant>/<segments>   <wal_dir>/@wal/lock
 *     <data_dir>/@store/<tenant>/<uuid>.block   <data_dir>/@store/catalog/   <data_dir>/@store/lock
 * Names .tmp-* and .del-* are swept at start; *.damaged are files that were set aside.
 * Foreign entries in wal_dir and data_dir (another server's blocks) are never touched.
 *
 * INVARIANT: no ack before fdatasync. INVARIANT: no call lacks a tenant.
 */
#pragma once

#include "base/pool.h"
#include "model/batch.h"
#include "storage/block.h"
#include "storage/head.h"
#include "storage/wal.h"

struct store;

enum durability { DURABILITY_COMMIT, DURABILITY_INTERVAL, DURABILITY_NONE };

/* What the overrides say of one tenant; asked anew at each use, so reload needs nothing here. */
struct tenant_limits {
    uint64_t trace_bytes_max;
    uint32_t traces_live_max;
    uint32_t attr_bytes_max; /* what batches are decoded with; 0: off. Replay cuts by it too */
    int64_t retention_ns;    /* 0: the store's */
    bool compaction_disabled;
    uint64_t bytes_max; /* size limit of the tenant's blocks; 0: off */
};

struct store_options {
    struct io *io;
    const char *wal_dir, *data_dir;
    struct budget *budget; /* root of heads, cache, flush */
    /* All heads together; 0: 256 MiB. Over it: EC_LIMIT. A head is sealed at a quarter of it. */
    uint64_t head_bytes_max;
    uint64_t cache_bytes_max; /* 0: 128 MiB */
    struct pool *pool;        /* POOL_LOW runs flush, compaction, retention */
    enum durability durability;
    int64_t durability_interval_ns;
    uint64_t block_raw_bytes_max;   /* seal a head at this many raw span bytes; 0: 64 MiB */
    int64_t block_age_max_ns;       /* seal at this age; 0: 5 min */
    int64_t check_period_ns;        /* 0: 1 s */
    int64_t retention_ns;           /* 0: 168 h */
    int64_t retention_period_ns;    /* how often; 0: 60 s */
    int64_t compaction_window_ns;   /* 0: 1 h */
    int64_t compaction_period_ns;   /* 0: 30 s */
    uint32_t compaction_inputs_max; /* 0: 8 */
    uint64_t compaction_spans_max;  /* output bound; 0: 4,000,000 */
    uint64_t compaction_bytes_max;  /* output bound; 0: 1 GiB */
    uint64_t merge_memory_bytes;    /* no merge so large that it takes more; 0: no bound */
    bool compaction_disabled;
    uint64_t bytes_max;        /* size limit of all blocks; 0: off */
    uint64_t min_free_bytes;   /* floor of free space; 0: 1 GiB, and a ratio of 0.05 */
    double min_free_ratio;     /* of the file system; the smaller counts; 0: bytes alone */
    unsigned commit_threads;   /* 0: 2 */
    uint32_t tenants_open_max; /* 0: 1000 */
    int wal_compress_level;    /* zstd; 0: off */
    uint64_t wal_segment_bytes_min, wal_segment_bytes_max; /* 0: as wal.h says */
    int64_t ack_timeout_ns;                                /* 0: 5 s */
    void (*limits)(void *ctx, struct str tenant, struct tenant_limits *ret);
    void *limits_ctx;
    /* No thread of its own: the owner calls commit_step, tick_step and prepare_step of
     * store_private.h, on one thread, and gives no pool. So that simulations are deterministic. */
    bool stepped;
};

/* Replays, sweeps, rebuilds the catalog if need be. Refuses with one clear line when the directory
 * is missing rights, read-only, or locked by another process. */
enum ec store_open(const struct store_options *opt, struct store **ret, struct err *err) MUST_USE;
/* Clean stop: seals and (flush) writes heads when asked, syncs, closes. Nothing to replay
 * afterwards when flush is set. The store is gone whatever the outcome. */
enum ec store_close(struct store *s, bool flush, struct err *err);

/* EC_OK: done(arg, ...) is called exactly once, perhaps before this returns, perhaps on a committer
 * thread. Otherwise done is never called and nothing was stored. The batch (and its raw bytes) must
 * live until this returns; it is not needed for done. Spans over limits are marked in the batch. */
typedef void (*store_done_fn)(void *arg, enum ec ec, const struct err *err);
enum ec store_append(struct store *s, struct str tenant, struct batch *batch, store_done_fn done,
    void *arg, struct err *err) MUST_USE;

struct block_facts_brief {
    uint64_t min_start_ns, max_end_ns; /* heads grow: 0..UINT64_MAX, ask the reader */
    uint64_t bytes;
    bool is_head;
};
/* Newest first: active head, sealed heads, then blocks by first WAL record descending. Immutable;
 * taking and releasing one costs the same for any number of parts. To be released before
 * store_close. */
struct snapshot {
    struct part **parts;
    struct block_facts_brief *facts;
    size_t n;
};
/* An unknown tenant has n == 0. EC_INVALID: no tenant given. */
enum ec store_snapshot(struct store *s, struct str tenant, struct snapshot *ret, struct err *err)
    MUST_USE;
void snapshot_release(struct snapshot *snap);
/* Snapshots that were taken before this (clock_mono_ns) keep flushed heads in memory that ingest is
 * short of: whoever has one should let go of it soon. Changes at any time; lives as the store. */
const _Atomic int64_t *store_stale_before(const struct store *s);

/* Seals and flushes the tenant's head (empty str: all tenants) and waits. For tests,
 * shutdown. */
enum ec store_flush(struct store *s, struct str tenant, struct err *err) MUST_USE;
/* Runs compaction / retention passes now, on the calling thread, until there is nothing to do. */
enum ec store_compact(struct store *s, struct err *err) MUST_USE;
enum ec store_retain(struct store *s, struct err *err) MUST_USE;

struct store_tenant {
    struct str id;
    uint64_t wal_bytes, block_bytes, n_blocks, n_spans_blocks;
    struct head_stats head;
};
/* Tenants sorted by id; memory belongs to the arena. */
enum ec store_tenants(struct store *s, struct arena *arena, struct store_tenant **ret,
    size_t *ret_n, struct err *err) MUST_USE;

struct store_health {
    bool ready;      /* replay done */
    bool ingest_off; /* three failed syncs in a row */
    bool disk_low;
    uint64_t disk_free;
    enum durability durability;
    struct wal_recovery recovery; /* sums over tenants, of the last start */
};
void store_health(struct store *s, struct store_health *ret);
