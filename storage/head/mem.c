/* SPDX-License-Identifier: Apache-2.0
 * Reservation, blocks and their retirement. */
#include "mem.h"

#include <stdlib.h>

#define ARENA_FIRST    4096u
#define ARENA_OVERHEAD 16u /* header of a chunk of its own */
#define KEEP_BYTES     (64u << 10)

/* The sanitizer sees blocks of malloc only. */
#ifdef __SANITIZE_ADDRESS__
#define MEM_SLABS 0
#else
#define MEM_SLABS 1
#endif

#define HOLES_LOOKED 4 /* of the class that may hold too small ones */

struct mem_hole {
    struct mem_hole *next;
    size_t n;
};

void mem_init(struct head_mem *m, struct budget *budget)
{
    *m = (struct head_mem){.budget = budget};
    arena_init(&m->arena, NULL, ARENA_FIRST);
}

static void mem_retired_free(struct head_mem *m)
{
    if (m->retired.n == 0 || atomic_load_explicit(&m->readers, memory_order_seq_cst) != 0)
        return;
    for (size_t i = 0; i < m->retired.n; i++)
        mem_free(m, m->retired.p[i].p, m->retired.p[i].n);
    m->retired.n = 0;
}

void mem_deinit(struct head_mem *m)
{
    ASSERT(atomic_load_explicit(&m->readers, memory_order_seq_cst) == 0);
    mem_retired_free(m);
    VEC_FREE(&m->retired);
    arena_deinit(&m->arena);
    ASSERT(m->blocks == 0);
    ASSERT(m->in_slabs == 0);
    for (size_t i = 0; i < m->slabs.n; i++)
        slab_give(m->slabs.p[i]);
    VEC_FREE(&m->slabs);
    budget_give(m->budget, m->charged);
    m->charged = 0;
}

static bool mem_charge(struct head_mem *m, uint64_t want)
{
    if (want <= m->charged)
        return true;
    if (!budget_take(m->budget, want - m->charged))
        return false;
    m->charged = want;
    return true;
}

bool mem_reserve(struct head_mem *m, uint64_t more)
{
    uint64_t used = mem_used(m), want = used + more;
    m->slab_credit = 0;
    if (MEM_SLABS && used >= MEM_SLAB_FROM && mem_charge(m, want + SLAB_BYTES)) {
        m->slab_credit = 1;
        return true;
    }
    return mem_charge(m, want);
}

void mem_reserve_force(struct head_mem *m, uint64_t more)
{
    uint64_t want = mem_used(m) + more;
    m->slab_credit = 0;
    if (want > m->charged) {
        budget_take_force(m->budget, want - m->charged);
        m->charged = want;
    }
}

void mem_settle(struct head_mem *m)
{
    mem_retired_free(m);
    uint64_t used = mem_used(m);
    ASSERT(used <= m->charged);
    budget_give(m->budget, m->charged - used);
    m->charged = used;
    m->slab_credit = 0;
    atomic_store_explicit(&m->used_seen, used, memory_order_relaxed);
}

uint64_t mem_arena_bound(const struct head_mem *m, uint64_t n)
{
    /* An open chunk is left only when the rest is smaller than the request, which is at most half a
     * chunk; so at least half of each chunk is used. The last chunk may be all but empty. */
    return 2 * n + 2 * m->arena.chunk_bytes + ARENA_OVERHEAD;
}

/* Slabs. */

/* The largest class that is not above n, and the smallest not below. */
static uint32_t hole_class_down(size_t n)
{
    uint32_t p = 63u - (uint32_t)__builtin_clzll(n);
    return (p - 11) * 4 + (uint32_t)(n >> (p - 2)) - 5;
}
static uint32_t hole_class_up(size_t n)
{
    uint32_t p = 63u - (uint32_t)__builtin_clzll(n - 1);
    return (p - 11) * 4 + (uint32_t)((n + ((size_t)1 << (p - 2)) - 1) >> (p - 2)) - 5;
}

/* Blocks in slabs begin and end with a cache line. */
static size_t mem_in_lines(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

static void hole_add(struct head_mem *m, void *p, size_t n)
{
    if (n < MEM_SLAB_MIN)
        return;
    struct mem_hole *hole = p, **list = &m->holes[hole_class_down(n)];
    *hole = (struct mem_hole){*list, n};
    *list = hole;
}

/* One of nearly that size, most likely freed with exactly it, or of less than twice of it. */
static void *hole_take(struct head_mem *m, size_t n)
{
    uint32_t c = hole_class_up(n), end = MIN(c + 4, MEM_FREE_CLASSES);
    struct mem_hole **at = &m->holes[hole_class_down(n)];
    for (int i = 0; i < HOLES_LOOKED && *at != NULL && (*at)->n < n; i++)
        at = &(*at)->next;
    while (*at == NULL || (*at)->n < n) {
        if (c >= end)
            return NULL;
        at = &m->holes[c++];
    }
    struct mem_hole *hole = *at;
    *at = hole->next;
    return hole;
}

/* NULL: not from a slab. */
static void *mem_from_slab(struct head_mem *m, size_t n)
{
    if (!MEM_SLABS || n < MEM_SLAB_MIN || (m->slabs.n == 0 && mem_used(m) < MEM_SLAB_FROM))
        return NULL;
    void *p = hole_take(m, n);
    if (p != NULL)
        return p;
    size_t need = mem_in_lines(n);
    if ((size_t)(m->slab_end - m->slab_at) < need) {
        uint8_t *slab = m->slab_credit == 0 ? NULL : slab_take();
        if (slab == NULL)
            return NULL;
        m->slab_credit--;
        VEC_PUSH(&m->slabs, (void *)slab);
        hole_add(m, m->slab_at, (size_t)(m->slab_end - m->slab_at));
        m->slab_at = slab;
        m->slab_end = slab + SLAB_BYTES;
    }
    p = m->slab_at;
    m->slab_at += need;
    return p;
}

static bool mem_in_slab(const struct head_mem *m, const void *p)
{
    for (size_t i = m->slabs.n; i-- > 0;)
        if ((size_t)((const uint8_t *)p - (const uint8_t *)m->slabs.p[i]) < SLAB_BYTES)
            return true;
    return false;
}

/* Blocks. */

static void *mem_block_any(struct head_mem *m, size_t n, bool zero)
{
    if (MEM_SLABS && n >= SLAB_BYTES) {
        m->blocks += n;
        return slab_large(n);
    }
    void *p = mem_from_slab(m, n);
    if (p != NULL) {
        m->in_slabs += n;
        return zero ? memset(p, 0, n) : p;
    }
    m->blocks += n;
    return zero ? xcalloc(1, n) : xmalloc(n);
}

void *mem_block(struct head_mem *m, size_t n)
{
    return mem_block_any(m, n, false);
}

void *mem_block_zero(struct head_mem *m, size_t n)
{
    return mem_block_any(m, n, true);
}

void mem_free(struct head_mem *m, void *p, size_t n)
{
    if (p == NULL)
        return;
    if (n >= MEM_SLAB_MIN && n < SLAB_BYTES && mem_in_slab(m, p)) {
        ASSERT(m->in_slabs >= n);
        m->in_slabs -= n;
        hole_add(m, p, mem_in_lines(n));
        return;
    }
    ASSERT(m->blocks >= n);
    m->blocks -= n;
    if (MEM_SLABS && n >= SLAB_BYTES)
        slab_large_free(p, n);
    else
        free(p);
}

void mem_retire(struct head_mem *m, void *p, size_t n)
{
    if (p == NULL)
        return;
    if (atomic_load_explicit(&m->readers, memory_order_seq_cst) == 0) {
        mem_free(m, p, n);
        return;
    }
    VEC_PUSH(&m->retired, ((struct mem_retired){p, n}));
}

/* From a slab, or NULL. What is left of a piece when the next is begun is lost. */
static void *mem_keep_in_slab(struct head_mem *m, size_t n)
{
    size_t need = (n + 7) & ~(size_t)7;
    if (m->slabs.n == 0 || need > KEEP_BYTES / 8)
        return NULL;
    if ((size_t)(m->keep_end - m->keep_at) < need) {
        uint8_t *p = mem_from_slab(m, KEEP_BYTES);
        if (p == NULL)
            return NULL;
        m->keep_at = p;
        m->keep_end = p + KEEP_BYTES;
    }
    void *p = m->keep_at;
    m->keep_at += need;
    return p;
}

void *mem_keep(struct head_mem *m, size_t n)
{
    void *p = mem_keep_in_slab(m, n);
    if (p == NULL)
        p = arena_alloc(&m->arena, n);
    ASSERT(p != NULL); /* no budget below: only malloc can refuse, and then nothing helps */
    return p;
}

struct str mem_str(struct head_mem *m, struct str s)
{
    if (s.n == 0)
        return STR("");
    char *p = mem_keep(m, s.n);
    memcpy(p, s.p, s.n);
    return (struct str){p, s.n};
}

void *chunks_add(struct chunks *c, struct head_mem *m, uint32_t i)
{
    uint64_t at = (uint64_t)i + (1u << CHUNK_FIRST_BITS);
    uint32_t k = 63u - (uint32_t)__builtin_clzll(at);
    _Atomic(uint8_t *) *chunk = &c->chunk[k - CHUNK_FIRST_BITS];
    if (atomic_load_explicit(chunk, memory_order_relaxed) == NULL) {
        size_t n = ((size_t)1 << k) * c->elem_bytes;
        c->bytes += n;
        atomic_store_explicit(chunk, mem_block_zero(m, n), memory_order_release);
    }
    return chunks_at(c, i);
}

uint64_t chunks_bound(const struct chunks *c, uint32_t n, uint64_t more)
{
    uint64_t bytes = 0;
    if (more == 0)
        return 0;
    uint64_t end = n + more + (1u << CHUNK_FIRST_BITS); /* as an index: one past the last */
    for (uint32_t k = 0; k < CHUNKS_MAX; k++) {
        uint64_t first = (uint64_t)1 << (k + CHUNK_FIRST_BITS);
        if (first < end && atomic_load_explicit(&c->chunk[k], memory_order_relaxed) == NULL)
            bytes += first * c->elem_bytes;
    }
    return bytes;
}

void chunks_free(struct chunks *c, struct head_mem *m)
{
    for (uint32_t k = 0; k < CHUNKS_MAX; k++)
        mem_free(m, atomic_load_explicit(&c->chunk[k], memory_order_relaxed),
            ((size_t)1 << (k + CHUNK_FIRST_BITS)) * c->elem_bytes);
    *c = (struct chunks){.elem_bytes = c->elem_bytes};
}
