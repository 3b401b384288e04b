/* SPDX-License-Identifier: Apache-2.0
 * A bump allocator for one request, query, batch, or head; dropped whole.
 *
 * Memory comes in chunks charged to the arena's budget. arena_alloc returns NULL only when the
 * budget refuses; callers turn that into EC_LIMIT. Not thread-safe. Under ASan each allocation is
 * its own malloc, so that the sanitizer keeps its sight.
 */
#pragma once

#include "base/budget.h"
#include "base/bytes.h"

struct arena_chunk;
struct arena_hook;

struct arena {
    struct budget *budget; /* may be NULL */
    struct arena_chunk *chunk;
    struct arena_hook *hooks;
    uint8_t *pos, *end;
    size_t chunk_bytes; /* size of the next ordinary chunk */
    uint64_t total;     /* bytes taken from the budget */
};

void arena_init(struct arena *a, struct budget *budget, size_t first_chunk_bytes /* 0: 4 KiB */);
void arena_deinit(struct arena *a); /* runs hooks (last first), frees all */
void arena_reset(struct arena *a);  /* as deinit, then usable again */
/* As reset, but keeps a chunk, so that it costs nothing to fill and empty the arena many times. */
void arena_rewind(struct arena *a);

void *arena_alloc_slow(struct arena *a, size_t n);
static inline void *arena_alloc(struct arena *a, size_t n) /* 8-aligned, not zeroed */
{
#ifndef __SANITIZE_ADDRESS__
    size_t need = (n + 7 + (n == 0)) & ~(size_t)7; /* an empty array is not a refusal */
    if (LIKELY((size_t)(a->end - a->pos) >= need && need >= n)) {
        void *p = a->pos;
        a->pos += need;
        return p;
    }
#endif
    return arena_alloc_slow(a, n);
}
void *arena_calloc(struct arena *a, size_t n, size_t size); /* zeroed; NULL on overflow too */
struct str arena_str(struct arena *a, struct str s);        /* copy; p == NULL when refused */
char *arena_strz(struct arena *a, struct str s);            /* copy with NUL; NULL when refused */
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* fn(ctx) runs at reset/deinit: for references and fds that live as long as the arena.
 * False when the budget refuses (fn is then not registered). */
bool arena_hook(struct arena *a, void (*fn)(void *ctx), void *ctx) MUST_USE;

#define ARENA_NEW(a, type)      ((type *)arena_calloc((a), 1, sizeof(type)))
#define ARENA_ARRAY(a, n, type) ((type *)arena_calloc((a), (n), sizeof(type)))
