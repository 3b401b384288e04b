/* SPDX-License-Identifier: Apache-2.0
 * A tenant's samples on disk: segments of checksummed records, one writer, a position per reader.
 *
 *   <dir>/<16 hex digits>.seg   records, appended; a file of an earlier run is never appended to
 *   <dir>/<reader>.pos          where the reader goes on: segment u64, offset u32, entry u32, hash
 *
 *   record   magic u32, payload bytes u32, raw bytes u32, entries u32, hash of these u64,
 *            hash of the payload u64; then the payload, zstd
 *
 * A tail that was cut off by a crash ends its segment. A record whose payload is damaged is skipped
 * and counted. A segment that all readers are past is deleted; over the size limit, or when the
 * disk is short, the oldest goes even if it is not read.
 *
 * Thread-safe: the writer appends beside readers; each reader belongs to one thread.
 */
#pragma once

#include "base/buf.h"
#include "base/io.h"

struct queue;

struct queue_options {
    struct io *io;
    const char *dir; /* made when missing */
    uint64_t bytes_max, segment_bytes, min_free_bytes;
};

struct queue_pos {
    uint64_t segment;
    uint32_t offset, entry; /* of the record; entries of it that were read */
    uint64_t seen;          /* entries of the segment before it; not stored, 0 after a restart */
};

enum ec queue_open(const struct queue_options *opt, struct queue **ret, struct err *err) MUST_USE;
void queue_close(struct queue *q); /* NULL allowed */

/* One record. On failure nothing of it is there. *ret_dropped: entries of segments that had to
 * go and that reader i has not seen, added to ret_dropped[i]. */
enum ec queue_append(struct queue *q, struct bytes raw, uint32_t n_entries, uint64_t *ret_dropped,
    struct err *err) MUST_USE;

#define QUEUE_READERS_MAX 16
/* A reader by a name that is a file name; one that is new starts at the end. */
enum ec queue_reader(struct queue *q, const char *name, unsigned *ret_reader, struct queue_pos *ret,
    struct err *err) MUST_USE;
/* Positions of readers that were not asked for since the queue was opened are forgotten. */
void queue_forget_others(struct queue *q);
/* The record at or after *pos, which moves onto it. False: there is none yet. *ret_damaged counts
 * records that were skipped. */
bool queue_read(struct queue *q, struct queue_pos *pos, struct buf *raw, uint32_t *ret_n,
    uint64_t *ret_damaged);
/* The reader has done everything before pos. */
void queue_done(struct queue *q, unsigned reader, const struct queue_pos *pos);
uint64_t queue_bytes(struct queue *q);
