/* SPDX-License-Identifier: Apache-2.0
 * Offline check of a data directory: WAL segments, blocks, catalog against footers. Read-only
 * unless repair is asked for (sets damaged files aside, drops the catalog so that the next start
 * rebuilds it). Exit codes of the subcommand: 0 clean, 1 problems found, 2 could not run. */
#pragma once

#include "base/io.h"

struct fsck_options {
    struct io *io;
    const char *wal_dir, *data_dir;
    bool repair;
    bool footers_only; /* of blocks; the log is read as a whole */
    void (*report)(void *ctx, const char *line);
    void *ctx;
};
struct fsck_result {
    uint64_t tenants, segments, records, blocks, spans, problems;
};
enum ec fsck_run(const struct fsck_options *opt, struct fsck_result *ret, struct err *err) MUST_USE;
