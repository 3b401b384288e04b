/* SPDX-License-Identifier: Apache-2.0
 * Reservation, blocks and their retirement. */
#include "mem.h"

#include <stdlib.h>

#define ARENA_FIRST    4096u
#define ARENA_OVERHEAD 16u /* header of a chunk of its own */

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
    budget_give(m->budget, m->charged);
    m->charged = 0;
}

bool mem_reserve(struct head_mem *m, uint64_t more)
{
    uint64_t want = mem_used(m) + more;
    if (want <= m->charged)
        return true;
    if (!budget_take(m->budget, want - m->charged))
        return false;
    m->charged = want;
    return true;
}

void mem_settle(struct head_mem *m)
{
    mem_retired_free(m);
    uint64_t used = mem_used(m);
    ASSERT(used <= m->charged);
    budget_give(m->budget, m->charged - used);
    m->charged = used;
    atomic_store_explicit(&m->used_seen, used, memory_order_relaxed);
}

uint64_t mem_arena_bound(const struct head_mem *m, uint64_t n)
{
    /* An open chunk is left only when the rest is smaller than the request, which is at most half a
     * chunk; so at least half of each chunk is used. The last chunk may be all but empty. */
    return 2 * n + 2 * m->arena.chunk_bytes + ARENA_OVERHEAD;
}

void *mem_block(struct head_mem *m, size_t n)
{
    m->blocks += n;
    return xmalloc(n);
}

void *mem_block_zero(struct head_mem *m, size_t n)
{
    m->blocks += n;
    return xcalloc(1, n);
}

void mem_free(struct head_mem *m, void *p, size_t n)
{
    if (p == NULL)
        return;
    ASSERT(m->blocks >= n);
    m->blocks -= n;
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

void *mem_keep(struct head_mem *m, size_t n)
{
    void *p = arena_alloc(&m->arena, n);
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
