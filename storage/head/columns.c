/* SPDX-License-Identifier: Apache-2.0
 * Attribute columns and shapes. */
#include "columns.h"

#include "seg.h"

void columns_init(struct columns *c, struct head_mem *mem, uint64_t seed)
{
    *c = (struct columns){
        .mem = mem,
        .seed = seed,
        .cols = {.elem_bytes = sizeof(struct column)},
        .shapes = {.elem_bytes = sizeof(struct shape *)},
    };
    probe_init(&c->col_index, mem);
    probe_init(&c->shape_index, mem);
    for (uint32_t t = 0; t < TABLE_COUNT; t++) {
        c->slots[t] = seg_fixed_slots[t];
        c->guess_first[t] = PROBE_NONE;
    }
    uint32_t none = shapes_need(c, NULL, 0);
    ASSERT(none == 0);
}

void columns_deinit(struct columns *c)
{
    probe_free(&c->col_index, c->mem);
    probe_free(&c->shape_index, c->mem);
    chunks_free(&c->cols, c->mem);
    chunks_free(&c->shapes, c->mem);
}

static uint32_t columns_hash(
    const struct columns *c, enum part_table t, struct str key, enum value_type type)
{
    return (uint32_t)hash64_seed(key.p, key.n, c->seed + (uint64_t)t * 16 + type);
}

static uint32_t columns_lookup(
    const struct columns *c, enum part_table t, struct str key, enum value_type type, uint32_t hash)
{
    struct probe_it it = probe_start(&c->col_index, hash);
    for (uint32_t i; (i = probe_next(&it)) != PROBE_NONE;)
        if (column_is(columns_at(c, i), t, key, type))
            return i;
    return PROBE_NONE;
}

uint32_t columns_find(
    const struct columns *c, enum part_table t, struct str key, enum value_type type)
{
    return columns_lookup(c, t, key, type, columns_hash(c, t, key, type));
}

uint32_t columns_need(struct columns *c, enum part_table t, struct str key, enum value_type type)
{
    uint32_t hash = columns_hash(c, t, key, type);
    uint32_t i = columns_lookup(c, t, key, type, hash);
    if (i != PROBE_NONE)
        return i;
    i = atomic_load_explicit(&c->n, memory_order_relaxed);
    ASSERT(i < UINT32_MAX - COL_FIXED_MAX);
    struct column *col = chunks_add(&c->cols, c->mem, i);
    *col = (struct column){
        .key = mem_str(c->mem, key),
        .table = t,
        .type = type,
        .id = COL_FIXED_MAX + i,
        .slot = c->slots[t]++,
        .guess = PROBE_NONE,
    };
    probe_add(&c->col_index, c->mem, hash, i);
    atomic_store_explicit(&c->n, i + 1, memory_order_release);
    return i;
}

uint32_t shapes_need(struct columns *c, const col_id *cols, uint32_t n)
{
    uint64_t h = c->seed;
    for (uint32_t i = 0; i < n; i++)
        h = (h ^ cols[i]) * 0x9e3779b97f4a7c15ULL;
    uint32_t hash = (uint32_t)(hash_mix(h + n) >> 32);
    struct probe_it it = probe_start(&c->shape_index, hash);
    for (uint32_t i; (i = probe_next(&it)) != PROBE_NONE;) {
        const struct shape *s = shapes_at(c, i);
        if (s->n == n && (n == 0 || memcmp(s->cols, cols, n * sizeof(cols[0])) == 0))
            return i;
    }
    uint32_t i = atomic_load_explicit(&c->n_shapes, memory_order_relaxed);
    ASSERT(i < UINT32_MAX - 1);
    struct shape *s = mem_keep(c->mem, sizeof(*s) + n * sizeof(cols[0]));
    s->n = n;
    if (n != 0)
        memcpy(s->cols, cols, n * sizeof(cols[0]));
    *(const struct shape **)chunks_add(&c->shapes, c->mem, i) = s;
    atomic_store_explicit(&c->n_shapes, i + 1, memory_order_release);
    probe_add(&c->shape_index, c->mem, hash, i);
    return i;
}
