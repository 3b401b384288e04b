/* SPDX-License-Identifier: Apache-2.0
 * A copy of a data directory that a start can be made from, taken while the server runs or not.
 *
 * It holds everything that was acknowledged before the call, and perhaps some of what came during
 * it. Needs nothing from the server: log segments and blocks are read as a crash would leave them,
 * in an order in which no flush or merge can slip data past the copy. Blocks are hard links where
 * source and destination share a file system, else copies; the log is always copied. The
 * destination's layout is that of a data directory whose wal_dir is the same folder; it has no
 * catalog, which the first start makes from the blocks.
 */
#pragma once

#include "base/io.h"

struct backup_options {
    struct io *io; /* NULL: io_real */
    const char *wal_dir, *data_dir;
    const char *to;   /* must not exist; is complete as soon as it does */
    bool copy_blocks; /* no links: the copy shares nothing with the source */
};
struct backup_result {
    uint64_t tenants, segments, blocks;
    uint64_t bytes;        /* copied or linked */
    uint64_t linked_bytes; /* of these, shared with the source */
};
/* EC_CONFLICT: the destination exists. After a failure what was made is removed. */
enum ec backup_run(const struct backup_options *opt, struct backup_result *ret, struct err *err)
    MUST_USE;
