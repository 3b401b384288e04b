/* SPDX-License-Identifier: Apache-2.0
 * The live log's state, shared by wal.c (append and sync), files.c (rotation, release, preparation)
 * and open.c. Locks and their order: head comment of wal.c.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "segment.h"

#define WAL_OBJECT_MAGIC        0x77616c31u
#define WAL_SEGMENT_BYTES_MIN   (128u << 10)
#define WAL_SEGMENT_BYTES_MAX   (64u << 20)
#define WAL_SEGMENT_BYTES_HASTY (1u << 20) /* of one that an append has to wait for */
#define WAL_SEGMENT_BYTES_EARLY (4u << 20) /* from here on the next one is made early */
#define WAL_SPARES_MAX          2u         /* of one log */
#define WAL_IDLE_NS             (100 * NS_PER_MS)
#define WAL_START_RECORD_BYTES  (WAL_RECORD_HEADER_BYTES + WAL_START_BODY_BYTES)
#define WAL_SEGMENT_OVERHEAD    (WAL_DATA_OFFSET + WAL_START_RECORD_BYTES)

/* What the next START must say of the segments before it, when that is not simply "all valid". */
enum wal_break_state {
    WAL_BREAK_NONE,
    WAL_BREAK_PENDING, /* no START says it yet */
    WAL_BREAK_WRITTEN, /* in a START that is not durable yet */
};

struct wal {
    unsigned magic;
    struct io *io;
    char *dir;
    char *tenant;
    size_t tenant_n;
    uint64_t bytes_min, bytes_max;
    struct wal_spares *kept; /* what all logs may keep; NULL: nothing */

    pthread_mutex_t release_mu, tail_mu, prepare_mu, mu;

    int64_t last_append_ns; /* guarded by tail_mu */
    bool marked;            /* guarded by tail_mu: the last record's durability is on disk */

    struct wal_segment *prepared; /* guarded by prepare_mu; set and cleared under mu too */
    uint64_t next_number;         /* guarded by prepare_mu */

    /* Guarded by mu. `cur` and its pos are written under tail_mu as well. */
    struct wal_segment *cur; /* also the last of segs, or NULL */
    VEC(struct wal_segment *) segs;
    VEC(struct wal_segment *) syncing;          /* of the running wal_sync */
    struct wal_segment *spares[WAL_SPARES_MAX]; /* retired: closed, under temporary names */
    size_t n_spares;
    bool sync_running;
    uint64_t next_bytes; /* size of the next segment */
    /* What the log took between the last two rotations (0: not known), and takes since then. */
    uint64_t cycle_bytes, cycle_so_far;
    uint64_t record_max; /* largest record since the last release of everything */
    bool rotate_want;    /* cur is to be sealed as soon as another one is prepared */
    enum wal_break_state brk;
    uint64_t brk_sealed, brk_end;
    bool sync_covers_brk;                   /* the running sync makes the START with it durable */
    uint64_t void_lsn;                      /* up to here, what was not durable is void */
    _Atomic uint64_t last_lsn, durable_lsn; /* written under mu, read anywhere */
    _Atomic unsigned failed_syncs;
};

static inline void wal_check(const struct wal *w)
{
    ASSERT(w != NULL);
    ASSERT(w->magic == WAL_OBJECT_MAGIC);
}

static inline uint64_t wal_last(const struct wal *w)
{
    return atomic_load_explicit(&w->last_lsn, memory_order_acquire);
}

static inline uint64_t wal_durable(const struct wal *w)
{
    return atomic_load_explicit(&w->durable_lsn, memory_order_acquire);
}

static inline struct str wal_tenant(const struct wal *w)
{
    return str_n(w->tenant, w->tenant_n);
}

/* wal.c, for the others. */

uint64_t wal_round_up(uint64_t n); /* to a multiple of WAL_SEGMENT_ALIGN */
/* The current segment is written no more. tail_mu held. */
void wal_tail_end(struct wal *w);
/* Opens the next segment for a record of `need` bytes. tail_mu held, no current segment. */
enum ec wal_tail_begin(struct wal *w, uint64_t need, struct err *err) MUST_USE;
/* Frees a segment that is in no list, or leaves it to the sync that holds it. mu held. */
void wal_segment_drop(struct wal *w, struct wal_segment *s);
/* Writes a mark behind the last record, if all of it is durable and no mark says so yet. tail_mu
 * held. */
enum ec wal_mark_write(struct wal *w, uint8_t flags, bool *ret_written, struct err *err) MUST_USE;
/* files.c: drops the prepared segment and the spare ones, always or only when the log owns nothing
 * else. */
enum ec wal_prepared_drop(struct wal *w, bool only_idle, struct err *err) MUST_USE;

/* recycle.c */

/* May this released segment have another life, now? mu held. */
bool wal_spare_fits(const struct wal *w, const struct wal_segment *s);
/* Takes a retired segment over, or removes its file where there is no room. mu not held. */
void wal_spare_keep(struct wal *w, struct wal_segment *s);
void wal_spares_drop(struct wal *w);    /* removes all of them. mu not held */
void wal_spares_abandon(struct wal *w); /* frees them, as a crash would leave them */
/* The next segment, of `bytes` at least: out of a spare one or new. Exact: spare ones of more than
 * twice that are removed. prepare_mu held. */
enum ec wal_segment_next(
    struct wal *w, uint64_t bytes, bool exact, struct wal_segment **ret, struct err *err) MUST_USE;
