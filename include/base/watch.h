/* SPDX-License-Identifier: Apache-2.0
 * A watchdog for threads that do not come back: a file system that hangs, a lock nobody gives up, a
 * loop without an end. A thread says when it begins a piece of work and how long that may take; one
 * monitor looks once a second, logs who is over its time (with what the kernel says it waits for),
 * logs again when it moves, and shows vivace_threads_stuck. Nothing is stopped or killed: acks and
 * queries have deadlines of their own, and a restart is the operator's or the orchestrator's.
 */
#pragma once

#include "base/defs.h"
#include "base/err.h"

/* Of the calling thread, from its first call on; it leaves by itself when the thread ends. `thread`
 * and `what` are static strings. limit_ns > 0. Costs two atomic stores and a clock. */
void watch_begin(const char *thread, const char *what, int64_t limit_ns);
void watch_end(void);

/* One look at all threads, at time now_ns of clock_mono_ns(); returns how many are over their time.
 * Called by the monitor and by tests. */
size_t watch_look(int64_t now_ns);

enum ec watch_start(struct err *err) MUST_USE; /* the monitor; one a process */
void watch_stop(void);                         /* also when it was never started */
