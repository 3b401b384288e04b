/* SPDX-License-Identifier: Apache-2.0
 * Reads all segments of a log and judges what is missing: torn tail or damage (FORMAT.md,
 * "Recovery"). Writes nothing; wal_open and wal_scan act on the findings.
 */
#pragma once

#include "reader.h"

struct wal_found { /* one file */
    uint64_t number;
    char *path;
    uint64_t file_bytes;
    bool bad;     /* no valid header: nothing can be read from it */
    bool empty;   /* valid header and nothing else: prepared, never used */
    bool started; /* has a valid START */
    struct wal_start start;
    uint64_t first_lsn, last_lsn; /* of its valid DATA headers; 0: none */
    uint64_t end_off;             /* after the last valid record */
    uint64_t cut_lsn;             /* its records above are void: a later START says so */
    bool torn;                    /* unacknowledged bytes at its end */
    bool damaged;                 /* something that was durable cannot be read */
};

struct wal_recover {
    struct io *io;
    const char *dir;
    struct str tenant; /* p == NULL: any */
    VEC(struct wal_found) files;
    VEC(char *) leftovers; /* *.wal.tmp: paths of half-made files */
    uint64_t number_max;   /* of any segment, set aside or not */
    uint64_t durable_lsn;  /* the highest that any valid header names */
    uint64_t lsn_max;      /* the highest in any valid header */
    uint64_t replayed_lsn; /* the last record handed out, 0: none */
    struct wal_recovery sum;
    /* second pass */
    uint64_t next_lsn;  /* 0: not known yet */
    bool stopped;       /* at a torn record: what follows was never acknowledged */
    bool void_unsealed; /* DATA behind the last one taken that no START voids */
    bool unknown_loss;  /* damage whose records cannot be counted */
    struct wal_reader reader;
    struct wal_scratch scratch;
};

struct wal_visit {
    const struct wal_found *file;
    uint64_t offset;
    const struct wal_record *rec;
    const char *problem; /* NULL: part of the log */
    bool acked;
};
typedef enum ec (*wal_visit_fn)(void *ctx, const struct wal_visit *v, struct err *err);

/* Reads everything and calls `visit` for every DATA record, in log order, and for every problem.
 * EC_UNSUPPORTED: a segment of a version that this program does not know. */
enum ec wal_recover_run(struct wal_recover *r, wal_visit_fn visit, void *ctx, struct err *err)
    MUST_USE;
void wal_recover_init(struct wal_recover *r, struct io *io, const char *dir, struct str tenant);
void wal_recover_deinit(struct wal_recover *r);
