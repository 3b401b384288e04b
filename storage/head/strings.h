/* SPDX-License-Identifier: Apache-2.0
 * The head's one dictionary: every distinct string once, codes in order of arrival.
 *
 * Threads: the writer interns; readers get and find without a lock. */
#pragma once

#include "base/hash.h"
#include "probe.h"
#include "storage/part.h"

struct strings_entry {
    const char *p;
    uint32_t n;
    uint32_t unused;
};

struct strings {
    struct dict dict; /* first: what views point to */
    struct head_mem *mem;
    uint64_t seed;
    _Atomic uint32_t n;
    struct chunks entries; /* struct strings_entry */
    struct probe index;
};

void strings_init(struct strings *s, struct head_mem *mem, uint64_t seed);
void strings_deinit(struct strings *s);
uint32_t strings_add(struct strings *s, struct str str, uint32_t hash);

static inline uint32_t strings_hash(const struct strings *s, struct str str)
{
    return (uint32_t)hash64_seed(str.p, str.n, s->seed);
}
static inline struct str strings_get(const struct strings *s, uint32_t code)
{
    const struct strings_entry *e = chunks_at(&s->entries, code);
    return (struct str){e->p, e->n};
}
static inline bool strings_lookup(
    const struct strings *s, struct str str, uint32_t hash, uint32_t *ret_code)
{
    struct probe_it it = probe_start(&s->index, hash);
    for (uint32_t code; (code = probe_next(&it)) != PROBE_NONE;) {
        const struct strings_entry *e = chunks_at(&s->entries, code);
        if (LIKELY(e->n == str.n && mem_same(e->p, str.p, str.n))) {
            *ret_code = code;
            return true;
        }
    }
    return false;
}
static inline uint32_t strings_intern(struct strings *s, struct str str)
{
    if (str.n == 0)
        return 0; /* the empty string has code 0 from the start */
    uint32_t hash = strings_hash(s, str), code;
    return strings_lookup(s, str, hash, &code) ? code : strings_add(s, str, hash);
}
