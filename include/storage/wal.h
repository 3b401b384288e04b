/* SPDX-License-Identifier: Apache-2.0
 * The write-ahead log of one tenant: segments of checksummed records, group-committed.
 * Format, recovery rules and their reasons: storage/wal/FORMAT.md.
 *
 * One record is one accepted request (atomic after a crash). LSNs count records from 1; a number is
 * never given out twice, so there are holes after failed syncs and crashes. wal_append writes the
 * record into the current segment and returns its LSN; it is not durable yet. wal_sync makes
 * everything appended so far durable (one fdatasync) and is called by the store's committer
 * threads, never by a request thread. Ack only when the durable LSN is >= the record's, after
 * refusing those that a failed wal_sync named: the durable LSN passes them with the next records.
 *
 * Threads: append calls of one wal are serialised by the caller (the tenant's lock); everything
 * else may run on other threads at the same time. At most one of wal_sync and wal_mark_idle at a
 * time (asserted).
 *
 * INVARIANT: a file that has seen a crash or a failed sync is never appended to.
 * INVARIANT: after a failed sync, the LSNs above the durable one are never acknowledged.
 */
#pragma once

#include <stdatomic.h>

#include "base/buf.h"
#include "base/io.h"

struct wal;

/* Released segments that wait to serve again, so that only their headers are written anew: what all
 * logs of a store may keep of them. Threads: the counters are atomic, the rest is set before. */
struct wal_spares {
    uint64_t bytes_max; /* of all logs together */
    _Atomic uint64_t bytes;
    /* the disk is short: none are kept, wal_prepare_next removes those there are */
    _Atomic bool off;
};

struct wal_options {
    struct io *io;              /* NULL: io_real */
    const char *dir;            /* this tenant's directory, made when missing */
    struct str tenant;          /* raw id, stored in segment headers and checked */
    uint64_t segment_bytes_min; /* first segment; 0: 128 KiB. Doubles with use up to max */
    uint64_t segment_bytes_max; /* 0: 64 MiB */
    /* borrowed for the log's life; NULL: released segments are deleted */
    struct wal_spares *spares;
    /* Records that blocks already hold: LSNs given out are above it, whatever the directory says
     * (an empty one, or a torn tail that the blocks outlived). Otherwise a new record could take
     * the number of one that a block covers, and the next replay would skip it. */
    uint64_t lsn_floor;
};

#define WAL_RECORD_BYTES_MAX (64u << 20)

/* Facts stored with the payload so that replay takes the same way in. */
struct wal_record {
    uint64_t lsn;            /* set by append and by replay */
    uint32_t arrival_s;      /* unix seconds at accept */
    uint32_t attr_bytes_max; /* truncation limit that applied */
    const uint32_t *skip;    /* ordinals of rejected spans in the request, ascending */
    uint32_t n_skip;
    struct bytes otlp; /* the ExportTraceServiceRequest as received */
};

/* Requests are packed (storage/wal/FORMAT.md), those that cannot be go through zstd at this level:
 * some 500 MB/s, and OTLP shrinks to an eighth, at worst to a quarter. */
#define WAL_COMPRESS_LEVEL_DEFAULT (-1)

/* Encodes a record as it goes to disk, but for the LSNs (packs or compresses when that pays;
 * level 0: never). `ret` is overwritten; its memory is reused, so keep one per thread. Done outside
 * the tenant's lock. */
enum ec wal_record_encode(
    struct buf *ret, const struct wal_record *rec, int compress_level, struct err *err) MUST_USE;

struct wal_recovery { /* what opening found */
    uint64_t records, bytes, segments;
    uint64_t torn_tails;      /* cut, nothing acknowledged was lost */
    uint64_t damaged_records; /* acknowledged data that is unreadable: loud */
    uint64_t set_aside;       /* damaged files: renamed to *.damaged now, or when released */
    uint64_t last_lsn;
};

/* Called for each valid record in LSN order; `rec` and its bytes are valid during the call. A code
 * other than EC_OK stops the replay and is returned by wal_open. */
typedef enum ec (*wal_replay_fn)(void *ctx, const struct wal_record *rec, struct err *err);

/* Opens or creates, replays what is there, and starts a new segment for appends lazily (an idle
 * tenant owns no segment). Replayed segments stay until wal_release. */
enum ec wal_open(const struct wal_options *opt, wal_replay_fn replay, void *ctx,
    struct wal_recovery *ret_recovery, struct wal **ret, struct err *err) MUST_USE;
/* Writes the record that wal_record_encode made: one pwrite; its header is completed in place. May
 * rotate to the next (prepared) segment. EC_NOSPACE, EC_IO: the record has no LSN and is not
 * acknowledged; the same buffer may be appended again. */
enum ec wal_append(struct wal *w, struct buf *encoded, uint64_t *ret_lsn, struct err *err) MUST_USE;
/* Makes all appended records durable; *ret_lsn is the new durable LSN. EC_IO: the segment is sealed
 * at its last durable LSN, a new one takes the next append; *ret_failed_from..*ret_failed_to are
 * the LSNs whose waiters must be refused. */
enum ec wal_sync(struct wal *w, uint64_t *ret_lsn, uint64_t *ret_failed_from,
    uint64_t *ret_failed_to, struct err *err) MUST_USE;
uint64_t wal_durable_lsn(const struct wal *w);
uint64_t wal_last_lsn(const struct wal *w); /* appended, perhaps not durable */
unsigned wal_failed_syncs_in_row(const struct wal *w);
/* Appends the marker record that carries the durable LSN when the log has been idle (>= 100 ms
 * since the last append and the tail is not marked yet). Called by the committer; syncs itself. */
enum ec wal_mark_idle(struct wal *w, int64_t now_mono_ns, struct err *err) MUST_USE;
/* Ends the current segment so that everything up to wal_last_lsn can be released later. Caller's
 * lock. */
enum ec wal_rotate(struct wal *w, struct err *err) MUST_USE;
/* The same for a log in use: goes on with the current segment until the next one is prepared, so
 * that no append has to wait for a new file. wal_prepare_next is due then. */
void wal_rotate_soon(struct wal *w);
/* Deletes segments all of whose records have lsn <= the given one, oldest first; damaged ones are
 * set aside, and of a log in use a few are kept to serve again. Syncs the directory. Any thread,
 * without the tenant's lock. */
enum ec wal_release(struct wal *w, uint64_t lsn, struct err *err) MUST_USE;
/* Prepares the next segment file (preallocated, zeroed or a spare one, synced) when that is due:
 * the current one is past half (a large one: past an eighth), or is to be rotated. Called in the
 * background so that the ack path never waits for it. */
enum ec wal_prepare_next(struct wal *w, struct err *err) MUST_USE;
bool wal_prepare_due(struct wal *w);
/* Bytes of all files, those prepared and kept as well; segments that hold records. */
void wal_usage(struct wal *w, uint64_t *ret_bytes, uint64_t *ret_segments);
/* Bytes that segments were headed and filled with before their use, by all logs of this process,
 * since the last call: for one who adds them up. */
uint64_t wal_filled_take(void);
/* Clean stop: sync, write the clean-end mark, close. The wal is gone whatever the outcome. */
enum ec wal_close(struct wal *w, struct err *err) MUST_USE;
void wal_abandon(struct wal *w); /* frees without syncing; NULL allowed */

/* Offline readers for wal-dump and fsck: never write. */
struct wal_dump_record {
    const char *path;
    uint64_t segment, offset;
    struct wal_record rec;
    const char *problem; /* NULL when valid; else what is wrong, rec is partial */
    bool acked;          /* covered by a durable LSN seen anywhere */
};
enum ec wal_scan(struct io *io, const char *dir,
    void (*each)(void *ctx, const struct wal_dump_record *r), void *ctx, struct wal_recovery *ret,
    struct err *err) MUST_USE;
