/* SPDX-License-Identifier: Apache-2.0
 * A `struct io` for tests that records every call and fails those that it is told to.
 *
 *     struct fault_io *f = fault_io_new(NULL);
 *     fault_io_fail(f, "wal.append", "pwrite", 3, ENOSPC, false);
 *     ... use fault_io_io(f) ...
 *     assert_int_equal(fault_io_fired(f), 1);
 *     fault_io_free(f);
 *
 * A loop over n = 1, 2, ... until fault_io_fired stays 0 visits every call of a scenario.
 * Operations are named as in struct io_ops. Thread-safe.
 */
#pragma once

#include "base/io.h"

/* In place of an errno: half of the bytes are transferred (at least one); for pread and pwrite. */
#define FAULT_IO_SHORT (-1)
/* In place of an errno: the read succeeds with one bit of its first byte wrong. */
#define FAULT_IO_FLIP (-2)
/* The same with a byte of each sector that is not zero, other ones for another call. */
#define FAULT_IO_DAMAGE (-3)

struct fault_io;

struct fault_io_call {
    const char *site, *op; /* static strings of the caller */
    int fd;                /* -1: an operation on a path */
    char *path;            /* NULL: an operation on a descriptor; `from` of a rename */
    int errnum;            /* what the caller saw: 0 or an errno */
    int planned;           /* what a plan made of it: 0, an errno, or one of the codes above */
};

/* `below` NULL: the real files. It must outlive the wrapper. */
struct fault_io *fault_io_new(struct io *below);
void fault_io_free(struct fault_io *f);
struct io *fault_io_io(struct fault_io *f);
/* The nth (from 1) matching call from now on fails with errnum, or it and all later ones when
 * `ever`. site and op may be NULL: any. Several plans may wait at the same time. A close that fails
 * has closed the descriptor all the same. */
void fault_io_fail(
    struct fault_io *f, const char *site, const char *op, uint64_t nth, int errnum, bool ever);
/* No plan any more; records and counts stay. */
void fault_io_stop(struct fault_io *f);
/* Forgets plans, records and counts. */
void fault_io_clear(struct fault_io *f);
/* Calls that a plan changed. */
uint64_t fault_io_fired(const struct fault_io *f);
/* Of these, the ones that the plan changed that was made first. */
uint64_t fault_io_fired_first(const struct fault_io *f);
/* Calls seen; site and op may be NULL: any. */
uint64_t fault_io_calls(struct fault_io *f, const char *site, const char *op);
/* The i-th call; false past the end. Valid until the next clear. */
bool fault_io_call_at(struct fault_io *f, size_t i, struct fault_io_call *ret);
