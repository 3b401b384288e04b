/* SPDX-License-Identifier: Apache-2.0
 * Memory of a head: blocks that grow by replacement, and an arena for what never moves.
 *
 * The writer reserves first (mem_reserve charges the budget for an upper bound) and then allocates
 * without failing; mem_settle gives back what the bound had too much. INVARIANT: used <= charged.
 *
 * A block that grows is copied, published and the old one retired: a reader that was opened before
 * may still look at it. Retired blocks are freed once no reader is open. The order that makes this
 * safe: the writer stores the new pointer, then loads `readers`; a reader raises `readers`, then
 * loads pointers; all four are seq_cst, so that a reader which the writer did not see loads new
 * pointers only.
 *
 * Small heads live in malloc's memory. From MEM_SLAB_FROM on, blocks come out of slabs
 * (base/slab.h): no page faults once heads follow each other, and fewer TLB misses. Slabs are
 * charged whole; a reservation has one more in it than the batch needs, and where that is used up,
 * or refused, blocks are malloc's again.
 *
 * Threads: one writer (the tenant's lock); readers only raise and lower `readers`.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/slab.h"

#define MEM_SLAB_FROM    (1u << 20) /* bytes in use */
#define MEM_SLAB_MIN     4096u      /* smaller blocks are malloc's */
#define MEM_FREE_CLASSES 40u        /* (5 + c % 4) << (9 + c / 4) bytes: up to a slab */

struct head_mem {
    struct budget *budget; /* may be NULL */
    struct arena arena;    /* has no budget: its total is part of `used` */
    uint64_t blocks;       /* bytes of living and of retired blocks outside of slabs */
    uint64_t in_slabs;     /* the same, in slabs */
    VEC(void *) slabs;
    uint8_t *slab_at, *slab_end; /* what is left of the last one */
    uint8_t *keep_at, *keep_end; /* a piece of a slab for mem_keep */
    uint32_t slab_credit;        /* slabs that may still be taken before the next mem_settle */
    struct mem_hole *holes[MEM_FREE_CLASSES]; /* freed in slabs, of that size at least */
    uint64_t charged;
    _Atomic uint64_t used_seen; /* of the last settle, for readers */
    _Atomic uint32_t readers;
    VEC(struct mem_retired {
        void *p;
        size_t n;
    })
    retired;
};

void mem_init(struct head_mem *m, struct budget *budget);
void mem_deinit(struct head_mem *m); /* frees retired blocks and the arena; asserts no reader */
/* Charges for `more` bytes beyond what is used; false when the budget refuses (nothing changes). */
bool mem_reserve(struct head_mem *m, uint64_t more) MUST_USE;
void mem_reserve_force(struct head_mem *m, uint64_t more); /* past the budget's cap */
/* Frees retired blocks if it may, and gives the unused part of the reservation back. */
void mem_settle(struct head_mem *m);
/* What an arena allocation of n bytes in all may take at worst, in any number of pieces. */
uint64_t mem_arena_bound(const struct head_mem *m, uint64_t n);

void *mem_block(struct head_mem *m, size_t n); /* not zeroed */
void *mem_block_zero(struct head_mem *m, size_t n);
void mem_free(struct head_mem *m, void *p, size_t n);   /* one that no reader can know */
void mem_retire(struct head_mem *m, void *p, size_t n); /* p may be NULL */
void *mem_keep(struct head_mem *m, size_t n);           /* arena; lives as long as the head */
struct str mem_str(struct head_mem *m, struct str s);   /* copy; p is never NULL */

static inline uint64_t mem_used(const struct head_mem *m)
{
    return m->blocks + m->slabs.n * SLAB_BYTES + m->arena.total;
}

/* memcmp(a, b, n) == 0 without a call: keys and values are short. */
static inline bool mem_same(const char *a, const char *b, size_t n)
{
    if (n >= 8) {
        for (size_t i = 0; i + 8 < n; i += 8)
            if (get_u64le(a + i) != get_u64le(b + i))
                return false;
        return get_u64le(a + n - 8) == get_u64le(b + n - 8);
    }
    if (n >= 4)
        return get_u32le(a) == get_u32le(b) && get_u32le(a + n - 4) == get_u32le(b + n - 4);
    for (size_t i = 0; i < n; i++)
        if (a[i] != b[i])
            return false;
    return true;
}

/* A vector in chunks that double, so that elements never move: readers index it without a lock. The
 * element must have been published to the reader (a row count, a hash slot) by a release store. */
#define CHUNK_FIRST_BITS 5u
#define CHUNKS_MAX       (32u - CHUNK_FIRST_BITS)
struct chunks {
    uint32_t elem_bytes;
    uint64_t bytes;
    _Atomic(uint8_t *) chunk[CHUNKS_MAX];
};

static inline void *chunks_at(const struct chunks *c, uint32_t i)
{
    uint64_t at = (uint64_t)i + (1u << CHUNK_FIRST_BITS);
    uint32_t k = 63u - (uint32_t)__builtin_clzll(at);
    uint8_t *p = atomic_load_explicit(&c->chunk[k - CHUNK_FIRST_BITS], memory_order_acquire);
    return p + (at - ((uint64_t)1 << k)) * c->elem_bytes;
}
/* Element i, zeroed memory on first use. Elements are added in order. */
uint64_t chunks_bound(const struct chunks *c, uint32_t n, uint64_t more); /* n are there */
void *chunks_add(struct chunks *c, struct head_mem *m, uint32_t i);
void chunks_free(struct chunks *c, struct head_mem *m);
