/* SPDX-License-Identifier: Apache-2.0
 * A fixed pool of worker threads with bounded queues, fair between keys.
 *
 * Jobs carry a key (tenant and query, or 0); workers take the next job round-robin over keys, so
 * one heavy key cannot starve the others. Each class has threads of its own:
 *   POOL_NORMAL  queries: more threads than processors, so that a short one need not wait for long
 *                ones; those take turns, and end at nice 5: ingest goes before them (pool_turn)
 *   POOL_HELP    what speeds up a POOL_NORMAL job that would get there alone: as many threads as a
 *                job leaves processors; nice 5 as soon as the job, or its share of it, is long
 *   POOL_URGENT  one thread for flushes that ingest waits for
 *   POOL_LOW     flush, compaction: at lower scheduling priority (nice 10)
 */
#pragma once

#include "base/err.h"

enum pool_class { POOL_NORMAL, POOL_HELP, POOL_URGENT, POOL_LOW, POOL_CLASSES };
struct pool;

struct pool_options {
    unsigned n_normal;  /* threads; 0: number of CPUs, at least 2 */
    unsigned n_help;    /* threads; 0: one fewer than CPUs, at least 1 */
    unsigned n_low;     /* threads; 0: 1 */
    unsigned n_turns;   /* long jobs that run at once; 0: one fewer than CPUs, at least 1 */
    unsigned queue_max; /* jobs waiting per class; 0: 4096 */
    size_t stack_bytes; /* 0: 512 KiB */
};

enum ec pool_new(const struct pool_options *opt, struct pool **ret, struct err *err) MUST_USE;
/* Runs what is queued, joins the threads. NULL allowed. */
void pool_free(struct pool *p);
/* fn(arg) runs once on a worker. False when the queue is full (an answer: 429/503) or the pool is
 * being freed; fn is then not called. */
bool pool_submit(
    struct pool *p, enum pool_class cls, uint64_t key, void (*fn)(void *arg), void *arg) MUST_USE;
unsigned pool_threads(const struct pool *p, enum pool_class cls);
size_t pool_queued(const struct pool *p, enum pool_class cls);
/* Runs fn(arg, i) for i in [0, n) on up to `width` workers plus the caller, returns when all are
 * done. Never waits for a free worker: the caller does what is not taken. Safe on a pool thread;
 * from a POOL_LOW thread the helpers are POOL_LOW too, from a POOL_NORMAL one POOL_HELP. p may be
 * NULL: the caller does all. */
void pool_parallel(struct pool *p, uint64_t key, unsigned width, size_t n,
    void (*fn)(void *arg, size_t i), void *arg);
/* To be called now and then by a job that may be long, holding no lock. A POOL_NORMAL job that has
 * used the CPU for some ten milliseconds goes on only while it has one of n_turns places, and every
 * five gives it up to who has used less so far (what has waited long counts as less: who is long
 * is not kept out); keep: not now, it holds what others are short of and had better end. Waits for
 * two seconds at most: a job that stands still is no reason for the others to. After thirty
 * milliseconds of CPU it is nice 5, as is a POOL_HELP job of that length. On other threads:
 * nothing. */
void pool_turn(bool keep);
/* What the POOL_NORMAL job that the calling thread runs has waited for and used up to now; all 0 on
 * other threads. */
struct pool_times {
    int64_t queued_ns;  /* until a thread took it */
    int64_t turns_ns;   /* in pool_turn */
    int64_t cpu_ns;     /* used by this thread, not by helpers */
    int64_t stalled_ns; /* ready to run, without a processor (thread_stalled_ns) */
};
void pool_job_times(struct pool_times *ret);
unsigned pool_cpus(void); /* that this process may use, at least 1 */
