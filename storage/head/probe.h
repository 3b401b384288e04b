/* SPDX-License-Identifier: Apache-2.0
 * A hash index of u32 values: open addressing, linear probing, slots of 32 hash bits and value + 1.
 *
 * It holds no keys: the caller compares each candidate that has the same 32 bits. The slot follows
 * from the upper bits of those 32, so that growing copies slots without looking at keys. Hashes are
 * seeded per head: a client cannot aim at one slot.
 *
 * Threads: one writer adds; readers look up without a lock in the table that they loaded. A value
 * that was published to the reader by another release store before is always found.
 */
#pragma once

#include "mem.h"

#define PROBE_NONE UINT32_MAX

struct probe_slots {
    uint32_t shift; /* 32 - log2(slots) */
    uint32_t mask;
    _Atomic uint64_t slot[]; /* hash << 32 | value + 1; 0: free */
};

struct probe {
    _Atomic(struct probe_slots *) slots;
    uint32_t n;     /* writer only */
    uint32_t n_max; /* at which it grows */
};

struct probe_it {
    const struct probe_slots *slots;
    uint32_t at, hash;
};

static inline struct probe_it probe_start(const struct probe *p, uint32_t hash)
{
    const struct probe_slots *s = atomic_load_explicit(&p->slots, memory_order_seq_cst);
    return (struct probe_it){s, hash >> s->shift, hash};
}
/* The next value that was added with this hash, or PROBE_NONE. */
static inline uint32_t probe_next(struct probe_it *it)
{
    for (;;) {
        uint64_t v = atomic_load_explicit(&it->slots->slot[it->at], memory_order_acquire);
        if (v == 0)
            return PROBE_NONE;
        it->at = (it->at + 1) & it->slots->mask;
        if ((uint32_t)(v >> 32) == it->hash)
            return (uint32_t)v - 1;
    }
}
void probe_init(struct probe *p, struct head_mem *m);
void probe_free(struct probe *p, struct head_mem *m);
void probe_grow(struct probe *p, struct head_mem *m);
uint64_t probe_bound(const struct probe *p, uint64_t more); /* bytes that adding takes at most */
static inline void probe_add(struct probe *p, struct head_mem *m, uint32_t hash, uint32_t value)
{
    if (UNLIKELY(p->n >= p->n_max))
        probe_grow(p, m);
    struct probe_slots *s = atomic_load_explicit(&p->slots, memory_order_relaxed);
    uint32_t at = hash >> s->shift;
    while (atomic_load_explicit(&s->slot[at], memory_order_relaxed) != 0)
        at = (at + 1) & s->mask;
    atomic_store_explicit(
        &s->slot[at], (uint64_t)hash << 32 | ((uint64_t)value + 1), memory_order_release);
    p->n++;
}
