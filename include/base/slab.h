/* SPDX-License-Identifier: Apache-2.0
 * Memory in pieces of 2 MiB, on huge pages where the kernel has them, kept for the next use.
 *
 * For what grows large and is asked at random, a head above all: a page of 4 KiB costs a fault when
 * it is new, and its lookup in hash tables of megabytes misses the TLB each time. What was given
 * back is taken again first; memory_settle returns it to the kernel at rest. Not charged to any
 * budget: who takes it charges it.
 *
 * Thread-safe.
 */
#pragma once

#include "base/defs.h"

#define SLAB_BYTES    ((size_t)2 << 20)
#define SLAB_KEPT_MAX 24u /* slabs: a full head */

/* SLAB_BYTES at a multiple of SLAB_BYTES, not zeroed; NULL when the kernel refuses. */
void *slab_take(void);
void slab_give(void *slab);
/* A zeroed block of at least SLAB_BYTES, never kept: aborts when the kernel refuses, as xmalloc. */
void *slab_large(size_t n);
void slab_large_free(void *p, size_t n);
/* From now on so many bytes are kept at most, and SLAB_KEPT_MAX slabs. */
void slab_keep(uint64_t bytes);
/* Gives all that is kept back to the kernel. */
void slab_trim(void);
void slab_stats(uint64_t *ret_used, uint64_t *ret_kept); /* bytes */
