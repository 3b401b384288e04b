/* SPDX-License-Identifier: Apache-2.0
 * A fixed pool of worker threads with bounded queues, fair between keys.
 *
 * Jobs carry a key (tenant and query, or 0); workers take the next job round-robin over keys, so
 * one heavy key cannot starve the others. Two classes: POOL_NORMAL, and POOL_LOW (flush,
 * compaction) which runs only on threads reserved for it, at lower scheduling priority (nice 10).
 */
#pragma once

#include "base/err.h"

enum pool_class { POOL_NORMAL, POOL_LOW, POOL_CLASSES };
struct pool;

struct pool_options {
    unsigned n_normal;  /* threads; 0: number of CPUs, at least 2 */
    unsigned n_low;     /* threads; 0: 1 */
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
 * from a POOL_LOW thread the helpers are POOL_LOW too. p may be NULL: the caller does all. */
void pool_parallel(struct pool *p, uint64_t key, unsigned width, size_t n,
    void (*fn)(void *arg, size_t i), void *arg);
