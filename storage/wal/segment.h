/* SPDX-License-Identifier: Apache-2.0
 * Segment files: names, creation, removal.
 *
 * A file is made under a temporary name, filled with zeros, headed, synced, renamed, and its
 * directory synced, before the first record goes in. INVARIANT: a file with a segment's name had a
 * valid header on disk once; one without is damaged, never half made.
 *
 * A file may have several lives. Retired, it gets a temporary name back, and that is durable before
 * anything is written to it; recycled, it is headed anew with another number and salt, synced and
 * renamed as a new one. Its old records stay behind the first page: another salt sealed them, so no
 * reader takes them for records. INVARIANT: only a file that this process made, that no sync and no
 * write has failed on, and whose records are all durable elsewhere, has another life.
 */
#pragma once

#include "format.h"

#define WAL_NAME_BYTES 16 /* hex digits of the number */
#define WAL_SUFFIX     ".wal"
#define WAL_SUFFIX_TMP ".wal.tmp"
#define WAL_SUFFIX_BAD ".wal.damaged"

struct wal_segment {
    uint64_t number, salt;
    uint64_t bytes;     /* size of the file */
    uint64_t stale_end; /* see wal_file_header */
    char *path;
    int fd;             /* -1: closed */
    uint64_t pos;       /* where the next record goes */
    uint64_t first_lsn; /* 0: no START record yet */
    uint64_t last_lsn;  /* 0: no DATA record yet */
    unsigned syncs;     /* wal_sync holds the fd */
    bool sealed;        /* takes no more DATA, only a mark */
    bool dirty;         /* holds records that no sync has covered */
    bool failed;        /* a sync failed, or is void with one that did: no more writes or syncs */
    bool gone;          /* released while a sync held it */
    bool damaged;       /* found damaged: set aside instead of deleted */
    bool found;         /* of an earlier process: it may have seen a crash */
    bool spoilt;        /* a write failed: what is behind pos is not known */
};

/* `suffix` one of the above; free() the result. */
char *wal_segment_path(const char *dir, uint64_t number, const char *suffix);
/* True for exactly 16 lower-case hex digits and the suffix. */
bool wal_segment_name_parse(const char *name, const char *suffix, uint64_t *ret_number);

/* Makes a file ready for records. The memory and fd are the caller's: wal_segment_free. */
enum ec wal_segment_create(struct io *io, const char *dir, struct str tenant, uint64_t number,
    uint64_t bytes, struct wal_segment **ret, struct err *err) MUST_USE;
/* The same out of a retired one, and at least so large: only what it lacks is filled with zeros.
 * Whatever the outcome the caller frees `spare`, whose file is gone. */
enum ec wal_segment_recycle(struct io *io, const char *dir, struct str tenant, uint64_t number,
    uint64_t bytes, const struct wal_segment *spare, struct wal_segment **ret, struct err *err)
    MUST_USE;
void wal_segment_close(struct io *io, struct wal_segment *s);
void wal_segment_free(struct io *io, struct wal_segment *s); /* closes; NULL allowed */
/* Frees, and removes the file if possible. For one that holds no record that counts and that nobody
 * pins. */
void wal_segment_discard(struct io *io, struct wal_segment *s);
/* Unlinks, or renames to *.damaged, and syncs the directory. */
enum ec wal_segment_remove(
    struct io *io, const char *dir, const struct wal_segment *s, struct err *err) MUST_USE;
/* Takes a released segment's name from it, durably, and keeps the file: *ret_kept, its path is then
 * another one. Otherwise the same as wal_segment_remove. */
enum ec wal_segment_retire(struct io *io, const char *dir, struct wal_segment *s, bool *ret_kept,
    struct err *err) MUST_USE;
/* Makes dir and its missing parents, all of them durable. */
enum ec wal_dir_make(struct io *io, const char *dir, struct err *err) MUST_USE;
