/* SPDX-License-Identifier: Apache-2.0
 * The bytes of a WAL segment: file header and record header, encoded and checked. FORMAT.md has the
 * layout, this is the only code that knows it. Pure functions, no I/O.
 *
 * INVARIANT: no length read from disk is believed before the checksum of its header holds.
 */
#pragma once

#include <assert.h>

#include "storage/wal.h"

#define WAL_MAGIC             "VIVAWAL\n"
#define WAL_VERSION           2u
#define WAL_VERSION_MIN       1u    /* the same without WAL_FLAG_PACKED */
#define WAL_FILE_HEADER_BYTES 256u  /* one copy; sums to itself */
#define WAL_FILE_HEADER_COPY  4096u /* offset of the second copy */
#define WAL_DATA_OFFSET       8192u /* first record */
/* Written anew in every life of a file: both headers, and a page of zeros where the first record
 * goes. A segment was used if, and only if, something is in that page. */
#define WAL_HEAD_BYTES          12288u
#define WAL_TENANT_BYTES_MAX    192u
#define WAL_RECORD_HEADER_BYTES 48u
#define WAL_RECORD_ALIGN        8u
#define WAL_START_BODY_BYTES    32u
#define WAL_SEGMENT_ALIGN       4096u

/* On disk: never renumber. */
enum wal_record_type {
    WAL_RECORD_DATA = 1,  /* one accepted request */
    WAL_RECORD_START = 2, /* first record of a segment in use: where its predecessors ended */
    WAL_RECORD_MARK = 3,  /* nothing but a newer durable LSN */
};

#define WAL_FLAG_ZSTD   0x01u /* DATA: the request is one zstd frame */
#define WAL_FLAG_CLEAN  0x02u /* MARK: written by a clean stop */
#define WAL_FLAG_PACKED 0x04u /* DATA: the request is packed (pack.h), from version 2 on */

struct wal_file_header {
    uint64_t number, salt, file_bytes;
    /* From WAL_HEAD_BYTES up to here may lie what the file held in a former life. 0: none. */
    uint64_t stale_end;
    uint32_t version;
    size_t tenant_n;
    uint8_t tenant[WAL_TENANT_BYTES_MAX];
};

enum wal_header_state { WAL_HEADER_OK, WAL_HEADER_BAD, WAL_HEADER_OTHER_VERSION };

void wal_file_header_put(uint8_t out[WAL_FILE_HEADER_BYTES], const struct wal_file_header *h);
enum wal_header_state wal_file_header_get(
    const uint8_t in[WAL_FILE_HEADER_BYTES], struct wal_file_header *ret);

struct wal_record_header {
    uint32_t body_bytes;
    uint32_t raw_bytes; /* DATA: size of the request when inflated */
    uint8_t type, flags;
    uint64_t lsn;         /* DATA: its own; START, MARK: that of the last DATA before it */
    uint64_t durable_lsn; /* synced for certain when this was written */
    uint64_t body_sum;
};

/* The fields that are known before the LSN is: wal_record_header_seal adds the rest. */
void wal_record_header_put(uint8_t out[WAL_RECORD_HEADER_BYTES], const struct wal_record_header *h);
void wal_record_header_seal(
    uint8_t out[WAL_RECORD_HEADER_BYTES], uint64_t salt, uint64_t lsn, uint64_t durable_lsn);
/* False when the checksum, a field or the relation of the LSNs is wrong. */
bool wal_record_header_get(
    const uint8_t in[WAL_RECORD_HEADER_BYTES], uint64_t salt, struct wal_record_header *ret);
/* Cheap look at the first word: can a record header begin with it? (never true for 0) */
bool wal_record_header_plausible(uint64_t first_word);
uint64_t wal_body_sum(struct bytes body);

/* Bytes that a record takes in the file. */
static inline uint64_t wal_record_bytes(uint64_t body_bytes)
{
    return (WAL_RECORD_HEADER_BYTES + body_bytes + WAL_RECORD_ALIGN - 1) &
           ~(uint64_t)(WAL_RECORD_ALIGN - 1);
}

/* The body of a START record. LSNs of earlier segments: above end_lsn they are void (never
 * replayed), above sealed_lsn they are never missed (nobody was told that they are durable). */
struct wal_start {
    uint64_t first_lsn; /* of this segment */
    uint64_t sealed_lsn, end_lsn;
    uint64_t prev_number; /* segment before this one, 0: none */
};
void wal_start_put(uint8_t out[WAL_START_BODY_BYTES], const struct wal_start *s);
bool wal_start_get(struct bytes body, uint64_t record_lsn, struct wal_start *ret);

/* What a DATA body decodes into; memory is reused from record to record. */
struct wal_scratch {
    struct buf raw, skip, work;
};
void wal_scratch_deinit(struct wal_scratch *s);
/* rec borrows from body and scratch. EC_CORRUPT when the body is not what encode writes. */
enum ec wal_record_decode(const struct wal_record_header *h, struct bytes body,
    struct wal_scratch *scratch, struct wal_record *ret, struct err *err) MUST_USE;
