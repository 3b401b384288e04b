/* SPDX-License-Identifier: Apache-2.0
 * What the files of the store share. Nothing outside this folder includes it, but for tests.
 *
 * Life of a span here:
 *
 *     append.c   WAL record + head row under tenant.lock, a waiter for the ack
 *     commit.c   committer threads: wal_sync, answer the waiters (group commit without a timer)
 *     flush.c    active head -> sealed head -> .tmp- file -> rename -> catalog -> block in the set
 *     blocks.c   the tenant's list of parts: an immutable set, replaced under tenant.lock
 *     merge.c    blocks of one window -> one block (the choice: storage/compact)
 *     expire.c   old blocks -> gone (the rules: storage/retention)
 *     tick.c     what time brings about
 *     recover.c  start: sweep, catalog against directories; replay.c: the log
 *
 * Lock ranks (only ever taken in this order):
 *     store.{compact,retain}_lock < tenant.flush_lock < tenant.change_lock < store.catalog_lock
 *         < tenant.lock < store.{commit_lock, zombie_lock, registry, tick_lock, buf_lock}
 * tenant.flush_lock   one flush of a tenant at a time, oldest sealed head first
 * tenant.change_lock  one change of a tenant's block list (catalog commit + swap) at a time
 * tenant.lock         everything else of a tenant; held across pwrite of a WAL record, never across
 *                     a sync, a client, or a block
 *
 * INVARIANT: heads of a tenant reach blocks in LSN order, so the records that its blocks hold are
 * exactly those up to the largest lsn_last (lsn_covered); replay skips them and nothing else.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/log.h"
#include "metrics.h"
#include "storage/catalog.h"
#include "storage/store.h"

#define STORE_MAGIC          0x45524f54u /* "TORE" */
#define TENANT_MAGIC         0x544e4554u /* "TENT" */
#define TENANT_ID_MAX        150
#define TENANT_NAME_MAX      256 /* directory name of a tenant, with its NUL */
#define UUID_TEXT            36
#define STORE_BUCKETS        1024
#define FLUSH_BACKOFF_NS     (500 * NS_PER_MS) /* first retry; doubles up to the maximum */
#define FLUSH_BACKOFF_MAX_NS (30 * NS_PER_S)
#define FAILED_SYNCS_MAX     3                /* in a row: ingest off */
#define WAL_SPARES_BYTES     (256ull << 20)   /* of all tenants */
#define RANGE_SLACK_NS       (120 * NS_PER_S) /* ingestion_time_range_slack */
#define COMPACT_STRIKES_MAX  3
/* What a merge takes a span, rounded up: while it sorts, 24 bytes a span (write_order.c) and 120 a
 * trace, of which there is one in every ten spans or so. */
#define MERGE_SPAN_BYTES 48

struct tenant;

/* A live block. The list of its tenant owns one reference; compaction, retention, zombies others.
 * */
struct store_block {
    _Atomic uint32_t refs;
    struct part *part;        /* owned reference */
    struct block_facts facts; /* owned, immutable */
    _Atomic uint32_t zombies; /* files that this block replaced and that still exist */
    _Atomic uint32_t strikes; /* failed compactions because of damage in this block */
    _Atomic bool set_aside;   /* left alone by compaction, still served */
};

/* What readers see: parts newest first. Immutable; replaced as a whole under tenant.lock. */
struct part_set {
    _Atomic uint32_t refs;
    size_t n;
    struct block_facts_brief *facts; /* in the same allocation */
    struct part *parts[];            /* a reference each */
};

/* A head that takes no more spans and waits to become a block. */
struct sealed_head {
    struct sealed_head *next;
    struct head *head;
    uint8_t uuid[16];             /* of the block that it becomes */
    uint64_t lsn_first, lsn_last; /* 0, 0: holds no WAL record */
    uint64_t raw_bytes, memory_bytes;
    int64_t born_mono_ns;
    int64_t retry_at_ns, backoff_ns; /* guarded by flush_lock */
    unsigned tries;                  /* guarded by flush_lock */
};

/* Where the time of an append goes: to tenant.lock, under it to the log and the head, to the sync
 * that makes it durable. */
struct ack_times {
    int64_t begin_ns, locked_ns;
    int64_t log_ns; /* of it, in the log */
    int64_t stored_ns;
};

/* An append that waits for its ack. */
struct waiter {
    struct waiter *next;
    uint64_t lsn;
    int64_t deadline_ns;
    struct ack_times times;
    store_done_fn done;
    void *arg;
};

enum commit_state { COMMIT_IDLE, COMMIT_QUEUED, COMMIT_RUNNING };

struct tenant {
    uint32_t magic;
    _Atomic uint32_t refs; /* registry, queues, callers */
    struct store *store;
    struct tenant *bucket_next; /* guarded by store.registry */
    char id_z[TENANT_ID_MAX + 1];
    struct str id;
    uint64_t hash;
    char *wal_dir, *data_dir;

    pthread_mutex_t flush_lock, change_lock;
    /* WHY: a query wants the set alone, and lock is held for a millisecond at a time by ingest. The
     * last lock of all; held for some instructions. */
    pthread_mutex_t set_lock;
    pthread_mutex_t lock;
    /* guarded by lock: */
    struct wal *wal;    /* NULL: not open */
    unsigned wal_users; /* threads in a call on wal without the lock; it is not closed meanwhile */
    bool wal_reserved;  /* counts in store.wals_open */
    /* at start: stays open, a new look might find records that nobody replays */
    bool wal_damaged;
    struct head *head; /* active; NULL: none */
    uint64_t head_lsn_first, head_lsn_last, head_raw_bytes;
    int64_t head_born_mono_ns;
    uint32_t head_id_n; /* spans inserted since the head was made (duplicates included) */
    struct sealed_head *sealed, *sealed_last; /* oldest first */
    size_t n_sealed;
    VEC(struct store_block *) blocks; /* max_end_ns descending */
    struct part_set *set;             /* guarded by lock and set_lock: who has either may read it */
    uint64_t lsn_covered;             /* records up to here are in blocks */
    uint64_t blocks_bytes, blocks_spans, blocks_traces;
    struct waiter *waiters, *waiters_last; /* lsn ascending */
    enum commit_state commit_state;
    bool dirty;     /* appended since the last sync began */
    bool mark_want; /* the idle mark is due */
    bool data_dir_made;
    int64_t last_append_ns;
    int64_t prepare_after_ns;    /* wal_prepare_next failed: not before */
    uint64_t traces_sealed;      /* traces of heads already sealed, for the counter */
    uint64_t metric_traces_told; /* guarded by store.collect_lock */
    struct tenant *commit_next;  /* guarded by store.commit_lock */
    struct tenant_metrics metrics;
    _Atomic bool hot;          /* appended to lately: the tick looks at it */
    _Atomic bool prepare_want; /* the next WAL segment should be made ready */
    _Atomic bool release_want; /* a wal_release failed */
    _Atomic bool flush_queued; /* a pool job for this tenant is waiting or running */
    /* The same, on a thread of normal priority: the one of low priority lets it go on. */
    _Atomic bool flush_urgent;
    _Atomic bool warned_compaction_off;
    _Atomic uint32_t outstanding;     /* blocks that compaction would like to merge */
    struct tenant_recovery *recovery; /* only while opening */
};

struct zombie {
    struct zombie *next;
    struct tenant *tenant;         /* reference */
    struct store_block *block;     /* reference */
    struct store_block *successor; /* reference or NULL */
};

enum store_state { STORE_OPENING, STORE_READY, STORE_CLOSING };

struct store {
    uint32_t magic;
    struct store_options opt;                 /* defaults filled in */
    char *wal_root, *data_root, *catalog_dir; /* @wal, @store, @store/catalog */
    int lock_fd, wal_lock_fd;
    _Atomic int state;
    struct budget heads, work; /* heads: all heads; work: flush, compaction, replay */
    struct block_cache *cache;

    pthread_mutex_t catalog_lock; /* the pointer below, across a rebuild */
    struct catalog *catalog;

    pthread_rwlock_t registry;
    struct tenant *buckets[STORE_BUCKETS];
    size_t n_tenants;
    _Atomic uint32_t wals_open;
    struct wal_spares wal_spares;
    _Atomic uint32_t appending; /* store_append calls in progress */
    _Atomic uint32_t jobs;      /* pool jobs submitted and not finished */
    _Atomic uint64_t n_waiters;
    _Atomic bool pressure; /* an append met a full or nearly full head budget */
    /* The largest request that was refused for now: heads leave it room until this time. */
    _Atomic uint64_t want_bytes;
    _Atomic int64_t want_until_ns;
    _Atomic int64_t stale_before_ns; /* store_stale_before */
    int64_t next_stale_told_ns;      /* the ticker's */

    pthread_mutex_t commit_lock;
    pthread_cond_t commit_wake;
    struct tenant *commit_first, *commit_last;
    bool commit_stop;
    pthread_t *committers;
    unsigned n_committers;
    _Atomic uint32_t failed_syncs; /* in a row, over all tenants */
    _Atomic bool ingest_off;
    _Atomic int64_t sync_slow_until_ns; /* acks wait for the device: merges leave it alone */

    pthread_mutex_t tick_lock;
    pthread_cond_t tick_wake, prepare_wake;
    bool tick_stop, tick_now, prepare_now;
    _Atomic bool settle_want; /* a flush or a merge freed much memory */
    pthread_t tick_thread, prepare_thread;
    bool tick_started, prepare_started;
    int64_t next_check_ns, next_retain_ns, next_compact_ns, next_interval_ns;

    pthread_mutex_t zombie_lock;
    struct zombie *zombies;
    pthread_mutex_t compact_lock, retain_lock, collect_lock;
    _Atomic bool compact_queued, retain_queued, reap_queued;
    size_t compact_next; /* round robin over tenants; guarded by compact_lock */

    pthread_mutex_t buf_lock;
    struct buf bufs[8]; /* WAL record buffers to reuse */
    unsigned n_bufs;

    _Atomic bool disk_low, disk_early;
    _Atomic uint64_t disk_free;
    _Atomic int64_t disk_logged_ns;
    int64_t clock_base_ns; /* wall - boot when opened */
    /* At the start. The newest arrival in a block of the catalog; is the wall clock near it? */
    uint32_t newest_arrival_s;
    bool clock_believed;
    _Atomic bool retention_suspended;
    _Atomic uint64_t blocks_bytes;
    _Atomic uint64_t set_aside;
    _Atomic uint64_t foreign_blocks, foreign_bytes;
    struct wal_recovery recovery; /* written before ready */
    pthread_mutex_t recovery_lock;
};

/* store.c */
void store_free(struct store *s);    /* stops threads, frees everything, syncs nothing */
void store_abandon(struct store *s); /* as a crash would leave it; for tests and failed opens */

/* tenant.c */
struct tenant *tenant_find(struct store *s, struct str id); /* a reference or NULL */
/* A reference; made when new. EC_INVALID for an id that is none. */
enum ec tenant_get(struct store *s, struct str id, struct tenant **ret, struct err *err) MUST_USE;
struct tenant *tenant_ref(struct tenant *t);
void tenant_unref(struct tenant *t);
/* References to all tenants, in no order; free with tenant_list_free. */
struct tenant_list {
    struct tenant **p;
    size_t n;
};
void tenant_list(struct store *s, struct tenant_list *ret);
void tenant_list_sort(struct tenant_list *l); /* by id */
void tenant_list_free(struct tenant_list *l);
void tenant_limits(struct tenant *t, struct tenant_limits *ret);
/* Directory name of a tenant id and back. False: not a name of ours. */
void tenant_name_encode(char ret[TENANT_NAME_MAX], struct str id);
bool tenant_name_decode(char ret_id[TENANT_ID_MAX + 1], size_t *ret_n, struct str name);
void uuid_text(char ret[UUID_TEXT + 1], const uint8_t uuid[16]);
bool uuid_parse(uint8_t ret[16], struct str text);
void uuid_new(uint8_t ret[16]);
char *path_printf(const char *fmt, ...) PRINTF_LIKE(1, 2); /* malloc'd */

/* append.c */
enum ec tenant_head_ensure(struct tenant *t, struct err *err) MUST_USE; /* tenant.lock */
void tenant_head_inserted(struct tenant *t, const struct batch *b, uint64_t lsn, uint32_t arrival_s,
    uint32_t dups); /* tenant.lock */

/* ack_times.c */
void ack_times_init(void); /* idempotent */
void ack_times_stored(const struct ack_times *times);
/* These are durable: what they waited for. sync_begin_ns: when the sync that ended now was begun.
 */
void ack_times_durable(
    const struct tenant *t, const struct waiter *list, int64_t sync_begin_ns, int64_t now_ns);

/* commit.c */
enum ec commit_start(struct store *s, struct err *err) MUST_USE;
void commit_stop(struct store *s); /* answers what is queued, joins */
bool commit_step(struct store *s); /* syncs and answers one queued tenant; false: none is queued */
void commit_request(struct tenant *t); /* tenant.lock; queues the tenant for a sync */
void commit_expire(struct tenant *t, int64_t now_ns); /* refuses waiters past their deadline */
void waiters_finish(struct store *s, struct waiter *list, enum ec ec, const struct err *err);

/* flush.c */
bool tenant_seal(struct tenant *t, const char *reason); /* tenant.lock; true: a head was sealed */
void tenant_seal_due(struct tenant *t, int64_t now_ns);
bool tenant_head_full(const struct tenant *t); /* tenant.lock; there is a head */
/* Writes the tenant's sealed heads, oldest first. force: whatever the backoff says. */
enum ec tenant_flush(struct tenant *t, bool force, struct err *err) MUST_USE;
void flush_schedule(struct tenant *t); /* on the pool, if there is something to do */
void flush_some(struct store *s);      /* one round over all tenants, on this thread */
/* Seals the largest heads until half of the budget is free, or what a refused request wants. */
void flush_pressure(struct store *s);
void heads_want(struct store *s, uint64_t bytes); /* a request was refused that wants so many */
/* Removes a file that no catalog knows. Should that fail, it is met at start: with the same spans
 * as the block that replaced it, or as the WAL. */
void file_discard(struct tenant *t, const char *site, const char *path);
bool heads_over(const struct store *s, unsigned percent);

/* blocks.c */
enum ec store_block_new(struct tenant *t, const struct block_facts *facts, struct store_block **ret,
    struct err *err) MUST_USE; /* copies the facts */
struct store_block *store_block_ref(struct store_block *b);
void store_block_unref(struct store_block *b);
char *block_path(const struct tenant *t, const char *prefix, const uint8_t uuid[16],
    const char *suffix);                                             /* malloc'd */
enum ec tenant_data_dir(struct tenant *t, struct err *err) MUST_USE; /* made and durable */
/* Replaces blocks (and perhaps the oldest sealed head) by `add`; one catalog transaction, one swap.
 * change_lock must be held. EC_CONFLICT: a block of `gone` is no longer live, nothing was changed.
 * */
struct block_change {
    struct store_block *add;   /* NULL: none; the list takes a reference of its own */
    struct store_block **gone; /* live blocks */
    size_t n_gone;
    struct sealed_head *flushed; /* the oldest sealed head, or NULL; freed by the change */
};
enum ec tenant_change(struct tenant *t, const struct block_change *c, struct err *err) MUST_USE;
void tenant_blocks_sort(struct tenant *t);                         /* tenant.lock */
void tenant_block_insert(struct tenant *t, struct store_block *b); /* tenant.lock; takes the ref */
void tenant_publish(struct tenant *t); /* tenant.lock; rebuilds the set */
void part_set_unref(struct part_set *set);
/* References to the live blocks; free with store_blocks_free. */
size_t tenant_blocks(struct tenant *t, struct store_block ***ret);
void store_blocks_free(struct store_block **p, size_t n);
enum ec catalog_change(struct store *s, struct str tenant, const struct block_facts *adds,
    size_t n_adds, const uint8_t (*removes)[16], size_t n_removes, struct err *err) MUST_USE;
void zombie_add(struct tenant *t, struct store_block *b, struct store_block *successor);
void zombies_reap(struct store *s, bool all);

/* recover.c */
enum ec store_recover(struct store *s, struct err *err) MUST_USE;

/* replay.c */
enum ec tenant_replay(struct tenant *t, struct err *err)
    MUST_USE; /* leaves the log open if needed */

/* tick.c */
enum ec tick_start(struct store *s, struct err *err) MUST_USE;
void tick_stop(struct store *s);
void heads_reclaim(struct store *s, const struct tenant_list *all, int64_t now_ns);
void tick_kick(struct store *s);
void tick_step(struct store *s);    /* what the tick thread does once, whatever the time */
void prepare_step(struct store *s); /* what the preparing thread does once */
void prepare_kick(struct tenant *t);
bool store_job(struct store *s, uint64_t key, void (*fn)(void *arg), void *arg); /* POOL_LOW */
bool store_job_of(
    struct store *s, enum pool_class cls, uint64_t key, void (*fn)(void *arg), void *arg);
void store_job_done(struct store *s);

/* disk.c */
void disk_check(struct store *s);
/* Is there room for n more bytes of blocks above the floor? */
bool disk_has_room(struct store *s, uint64_t n);

/* compact.c, retention.c */
void compact_job(void *arg);
void retain_job(void *arg);
void retention_clock_check(struct store *s);
void retention_start_clock(struct store *s); /* the catalog is loaded: sets clock_believed */
void retention_at_start(struct store *s);    /* blocks that are too old go before anybody looks */
