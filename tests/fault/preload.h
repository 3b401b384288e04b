/* SPDX-License-Identifier: Apache-2.0
 * The twin of fault_io.h for code that makes its own system calls: LMDB and other libraries. A
 * shared library whose open, write, sync and map functions come before libc's; those on a path with
 * the planned prefix fail as told, all else goes through.
 *
 * Linked to a test program, the functions below set the plan. In LD_PRELOAD of another program the
 * environment does: VIVACE_PRELOAD="prefix:op:nth:errno[:once|ever]", errno a name or SHORT, op one
 * of preload_ops or '*'; a malformed plan stops the program, and a fault that fires is told on
 * stderr. Thread-safe.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* In place of an errno: half of the bytes are written (at least one). */
#define PRELOAD_SHORT (-1)

/* Which function asks counts, not which of its names: pwrite64 is pwrite. "thread" is
 * pthread_create, of any code, whatever the prefix. NULL ends the list. */
extern const char *const preload_ops[];

/* The nth (from 1) matching call from now on fails with errnum, or it and all later ones when
 * `ever`. One plan at a time; op NULL: any. Counts begin anew. */
void preload_fail(const char *prefix, const char *op, uint64_t nth, int errnum, bool ever);
/* No plan; counts stay. */
void preload_stop(void);
/* Calls that a plan changed, and calls seen below its prefix; op NULL: all. */
uint64_t preload_fired(void);
uint64_t preload_calls(const char *op);
/* From now on fdatasync, fsync and msync do nothing and succeed: for tests in which no power is
 * lost and thousands of syncs are waited for. They are counted and failed as before. */
void preload_skip_syncs(void);
