/* SPDX-License-Identifier: Apache-2.0
 * The head's dictionary. */
#include "strings.h"

static uint32_t strings_op_count(const struct dict *d)
{
    const struct strings *s = (const struct strings *)d;
    return atomic_load_explicit(&s->n, memory_order_acquire);
}

static struct str strings_op_get(const struct dict *d, uint32_t code)
{
    const struct strings *s = (const struct strings *)d;
    ASSERT(code < atomic_load_explicit(&s->n, memory_order_acquire));
    return strings_get(s, code);
}

static bool strings_op_find(const struct dict *d, struct str str, uint32_t *ret_code)
{
    const struct strings *s = (const struct strings *)d;
    if (str.n == 0) {
        *ret_code = 0;
        return true;
    }
    return strings_lookup(s, str, strings_hash(s, str), ret_code);
}

static const struct dict_ops strings_ops = {
    .count = strings_op_count,
    .get = strings_op_get,
    .find = strings_op_find,
};

void strings_init(struct strings *s, struct head_mem *mem, uint64_t seed)
{
    *s = (struct strings){
        .dict = {.ops = &strings_ops},
        .mem = mem,
        .seed = seed,
        .entries = {.elem_bytes = sizeof(struct strings_entry)},
    };
    probe_init(&s->index, mem);
    uint32_t code = strings_add(s, STR(""), strings_hash(s, STR("")));
    ASSERT(code == 0);
}

void strings_deinit(struct strings *s)
{
    probe_free(&s->index, s->mem);
    chunks_free(&s->entries, s->mem);
}

uint32_t strings_add(struct strings *s, struct str str, uint32_t hash)
{
    uint32_t code = atomic_load_explicit(&s->n, memory_order_relaxed);
    ASSERT(code < UINT32_MAX - 1);
    ASSERT(str.n <= UINT32_MAX);
    struct strings_entry *e = chunks_add(&s->entries, s->mem, code);
    *e = (struct strings_entry){.p = mem_str(s->mem, str).p, .n = (uint32_t)str.n};
    atomic_store_explicit(&s->n, code + 1, memory_order_release);
    probe_add(&s->index, s->mem, hash, code);
    return code;
}
