/* SPDX-License-Identifier: Apache-2.0
 * How the kernel shares the processors among the threads of this process.
 *
 * All but thread_stalled_ns are wishes of the calling thread: an older kernel or a seccomp profile
 * may refuse them, which costs latency and nothing else. */
#pragma once

#include "base/defs.h"

/* What a thread does once it is woken. Kernels from 6.12 on let a thread of short time slices run
 * before those of longer ones that have had their share; it gets no more of the processor for it.
 */
enum thread_kind {
    THREAD_PROMPT, /* short work that somebody waits for */
    THREAD_USUAL,  /* the kernel's own slices */
    THREAD_BULK,   /* long work that nobody waits for */
};

/* nice: absolute, as thread_nice says it. False: the thread keeps what it had, or has part of it.
 * Without a privilege (CAP_SYS_NICE, RLIMIT_NICE) a nice value can be raised, never lowered. */
bool thread_set(enum thread_kind kind, int nice);
int thread_nice(void);
/* How long this thread was ready to run and had no processor, since it began; 0 where the kernel
 * does not say. */
int64_t thread_stalled_ns(void);
