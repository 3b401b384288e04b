/* SPDX-License-Identifier: Apache-2.0
 * Reads one segment record by record, past damage: at bytes that are no record it looks for the
 * next valid header with the segment's salt. Judges nothing: recover.c does.
 *
 * Memory: one window, grown to the largest record met (at most 64 MiB and a header). Not
 * thread-safe.
 */
#pragma once

#include "format.h"

struct wal_reader {
    struct io *io;
    const char *path; /* borrowed */
    int fd;
    uint64_t file_bytes; /* as found, not as declared */
    struct wal_file_header head;
    enum wal_header_state state;
    struct buf win;
    uint64_t win_off;
    bool again;          /* what is in the window was read a second time, because of damage */
    uint64_t pos, limit; /* next byte to look at; end of what is looked at */
    uint64_t unreadable; /* bytes that the disk refused and that read as zeros */
};

enum wal_item_kind { WAL_ITEM_RECORD, WAL_ITEM_END };

struct wal_item {
    enum wal_item_kind kind;
    bool skipped_any;   /* bytes before it that are neither zero nor a record */
    bool skipped_dirty; /* the same, and no former life of the file explains them */
    bool body_ok;       /* the body's checksum holds (only when bodies are asked for) */
    uint64_t off;       /* of the record header; END: after the last record */
    struct wal_record_header h;
    struct bytes body; /* valid until the next call */
};

/* Opens and reads the file header. Not being a valid segment is no error: see state. */
enum ec wal_reader_open(struct wal_reader *r, struct io *io, const char *path, struct err *err)
    MUST_USE;
void wal_reader_close(struct wal_reader *r); /* keeps the window for the next open */
void wal_reader_deinit(struct wal_reader *r);
enum ec wal_reader_next(struct wal_reader *r, bool with_body, struct wal_item *ret, struct err *err)
    MUST_USE;
