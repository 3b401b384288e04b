/* SPDX-License-Identifier: Apache-2.0
 * Slabs: aligned mappings, and a list of those that are free. */
#include "base/slab.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

/* A free slab's first words. */
struct slab {
    struct slab *next;
};

static pthread_mutex_t slab_lock = PTHREAD_MUTEX_INITIALIZER;
static struct slab *slab_free; /* guarded by slab_lock, as the counts */
static uint64_t slab_n_free;   /* slabs */
static uint64_t slab_keep_max = SLAB_KEPT_MAX;
static uint64_t slab_used; /* bytes, of large blocks too */

static size_t slab_pages(size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (n + page - 1) / page * page;
}

/* Whole slabs of it may have huge pages, a rest has not: eight bytes more than a slab must not cost
 * two. */
static void *slab_map(size_t n)
{
    n = slab_pages(n);
    uint8_t *p =
        mmap(NULL, n + SLAB_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    size_t before = (size_t)(-(uintptr_t)p & (SLAB_BYTES - 1));
    if (before > 0)
        (void)munmap(p, before); /* address space only: nothing was touched */
    if (before < SLAB_BYTES)
        (void)munmap(p + before + n, SLAB_BYTES - before);
    (void)madvise(p + before, n & ~(SLAB_BYTES - 1), MADV_HUGEPAGE); /* a wish */
    return p + before;
}

static void slab_unmap(void *p, size_t n)
{
    int rc = munmap(p, slab_pages(n));
    ASSERT(rc == 0);
}

static void slab_count(uint64_t more, uint64_t less)
{
    pthread_mutex_lock(&slab_lock);
    ASSERT(slab_used + more >= less);
    slab_used = slab_used + more - less;
    pthread_mutex_unlock(&slab_lock);
}

void *slab_take(void)
{
    pthread_mutex_lock(&slab_lock);
    struct slab *s = slab_free;
    if (s != NULL) {
        slab_free = s->next;
        slab_n_free--;
        slab_used += SLAB_BYTES;
    }
    pthread_mutex_unlock(&slab_lock);
    if (s != NULL)
        return s;
    void *p = slab_map(SLAB_BYTES);
    if (p != NULL)
        slab_count(SLAB_BYTES, 0);
    return p;
}

void slab_give(void *slab)
{
    struct slab *s = slab;
    ASSERT(((uintptr_t)slab & (SLAB_BYTES - 1)) == 0);
    pthread_mutex_lock(&slab_lock);
    ASSERT(slab_used >= SLAB_BYTES);
    slab_used -= SLAB_BYTES;
    bool keep = slab_n_free < slab_keep_max;
    if (keep) {
        s->next = slab_free;
        slab_free = s;
        slab_n_free++;
    }
    pthread_mutex_unlock(&slab_lock);
    if (!keep)
        slab_unmap(slab, SLAB_BYTES);
}

void *slab_large(size_t n)
{
    ASSERT(n >= SLAB_BYTES);
    void *p = slab_map(n);
    ASSERT(p != NULL); /* out of memory: as in xmalloc, nothing helps */
    slab_count(slab_pages(n), 0);
    return p;
}

void slab_large_free(void *p, size_t n)
{
    ASSERT(n >= SLAB_BYTES);
    slab_unmap(p, n);
    slab_count(0, slab_pages(n));
}

void slab_keep(uint64_t bytes)
{
    pthread_mutex_lock(&slab_lock);
    slab_keep_max = MIN(bytes / SLAB_BYTES, SLAB_KEPT_MAX);
    pthread_mutex_unlock(&slab_lock);
}

void slab_trim(void)
{
    pthread_mutex_lock(&slab_lock);
    struct slab *s = slab_free;
    slab_free = NULL;
    slab_n_free = 0;
    pthread_mutex_unlock(&slab_lock);
    while (s != NULL) {
        struct slab *next = s->next;
        slab_unmap(s, SLAB_BYTES);
        s = next;
    }
}

void slab_stats(uint64_t *ret_used, uint64_t *ret_kept)
{
    pthread_mutex_lock(&slab_lock);
    *ret_used = slab_used;
    *ret_kept = slab_n_free * SLAB_BYTES;
    pthread_mutex_unlock(&slab_lock);
}
