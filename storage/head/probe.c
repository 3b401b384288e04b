/* SPDX-License-Identifier: Apache-2.0
 * Growing the hash index. */
#include "probe.h"

#define PROBE_BITS_FIRST 5u
#define PROBE_BITS_MAX   31u

static size_t probe_slots_bytes(uint32_t bits)
{
    return sizeof(struct probe_slots) + ((size_t)1 << bits) * sizeof(uint64_t);
}

static struct probe_slots *probe_slots_new(struct head_mem *m, uint32_t bits)
{
    struct probe_slots *s = mem_block_zero(m, probe_slots_bytes(bits));
    s->shift = 32 - bits;
    s->mask = (uint32_t)(((uint64_t)1 << bits) - 1);
    return s;
}

void probe_init(struct probe *p, struct head_mem *m)
{
    *p = (struct probe){.n = 0};
    atomic_store_explicit(&p->slots, probe_slots_new(m, PROBE_BITS_FIRST), memory_order_seq_cst);
    p->n_max = (1u << PROBE_BITS_FIRST) / 4 * 3;
}

void probe_free(struct probe *p, struct head_mem *m)
{
    struct probe_slots *s = atomic_load_explicit(&p->slots, memory_order_relaxed);
    if (s != NULL)
        mem_free(m, s, probe_slots_bytes(32 - s->shift));
    *p = (struct probe){.n = 0};
}

uint64_t probe_bound(const struct probe *p, uint64_t more)
{
    uint32_t bits = 32 - atomic_load_explicit(&p->slots, memory_order_relaxed)->shift;
    uint64_t bytes = 0;
    for (uint64_t n_max = p->n_max; p->n + more > n_max; n_max *= 2)
        bytes += probe_slots_bytes(++bits);
    return bytes;
}

void probe_grow(struct probe *p, struct head_mem *m)
{
    struct probe_slots *old = atomic_load_explicit(&p->slots, memory_order_relaxed);
    uint32_t bits = 32 - old->shift + 1;
    ASSERT(bits <= PROBE_BITS_MAX);
    struct probe_slots *s = probe_slots_new(m, bits);
    for (uint64_t i = 0; i <= old->mask; i++) {
        uint64_t v = atomic_load_explicit(&old->slot[i], memory_order_relaxed);
        if (v == 0)
            continue;
        uint32_t at = (uint32_t)(v >> 32) >> s->shift;
        while (atomic_load_explicit(&s->slot[at], memory_order_relaxed) != 0)
            at = (at + 1) & s->mask;
        atomic_store_explicit(&s->slot[at], v, memory_order_relaxed);
    }
    p->n_max = (uint32_t)(((uint64_t)1 << bits) / 4 * 3);
    atomic_store_explicit(&p->slots, s, memory_order_seq_cst);
    mem_retire(m, old, probe_slots_bytes(32 - old->shift));
}
