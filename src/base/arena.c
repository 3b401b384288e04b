/* SPDX-License-Identifier: Apache-2.0
 * Arena: chunks in a list, newest first; ordinary chunks double up to 256 KiB. */
#include "base/arena.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define CHUNK_FIRST 4096u
#define CHUNK_MAX   (256u << 10)

struct arena_chunk {
    struct arena_chunk *next;
    size_t n; /* bytes behind the header */
};
struct arena_hook {
    struct arena_hook *next;
    void (*fn)(void *ctx);
    void *ctx;
};
static_assert(sizeof(struct arena_chunk) % 8 == 0, "allocations stay 8-aligned");

void arena_init(struct arena *a, struct budget *budget, size_t first_chunk_bytes)
{
    *a = (struct arena){
        .budget = budget,
        .chunk_bytes = first_chunk_bytes == 0 ? CHUNK_FIRST : (first_chunk_bytes + 7) & ~(size_t)7,
    };
}

void arena_deinit(struct arena *a)
{
    while (a->hooks != NULL) {
        struct arena_hook *h = a->hooks;
        a->hooks = h->next;
        h->fn(h->ctx);
    }
    while (a->chunk != NULL) {
        struct arena_chunk *next = a->chunk->next;
        free(a->chunk);
        a->chunk = next;
    }
    budget_give(a->budget, a->total);
    a->total = 0;
    a->pos = a->end = NULL;
}

void arena_reset(struct arena *a)
{
    size_t first = a->chunk_bytes;
    arena_deinit(a);
    a->chunk_bytes = first;
}

void arena_rewind(struct arena *a)
{
#ifndef __SANITIZE_ADDRESS__
    struct arena_chunk *c = a->chunk;
    if (c == NULL)
        return;
    /* One ordinary chunk, and no hooks: nothing was left over from a larger use. */
    if (a->hooks == NULL && c->next == NULL && a->end == (uint8_t *)(c + 1) + c->n) {
        a->pos = (uint8_t *)(c + 1);
        return;
    }
#endif
    arena_reset(a);
}

void *arena_alloc_slow(struct arena *a, size_t n)
{
    size_t need = (n + 7 + (n == 0)) & ~(size_t)7;
    if (need < n || need > SIZE_MAX / 2)
        return NULL;
    size_t size = need;
#ifndef __SANITIZE_ADDRESS__
    bool own =
        need > a->chunk_bytes / 2; /* large: a chunk of its own, the current one stays open */
    if (!own)
        size = a->chunk_bytes;
#else
    bool own = true;
    size = n == 0 ? 1 : n; /* exact, so that the sanitizer sees one byte too many */
#endif
    size_t charge = size + sizeof(struct arena_chunk);
    if (!budget_take(a->budget, charge))
        return NULL;
    struct arena_chunk *c = malloc(sizeof(*c) + size);
    if (c == NULL) {
        budget_give(a->budget, charge);
        return NULL;
    }
    a->total += charge;
    c->n = size;
    c->next = a->chunk;
    a->chunk = c;
    uint8_t *p = (uint8_t *)(c + 1);
    if (!own) {
        a->pos = p + need;
        a->end = p + size;
        if (a->chunk_bytes < CHUNK_MAX)
            a->chunk_bytes *= 2;
    }
    return p;
}

void *arena_calloc(struct arena *a, size_t n, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(n, size, &total))
        return NULL;
    void *p = arena_alloc(a, total);
    if (p != NULL)
        memset(p, 0, total);
    return p;
}

struct str arena_str(struct arena *a, struct str s)
{
    char *p = arena_alloc(a, s.n == 0 ? 1 : s.n);
    if (p == NULL)
        return (struct str){NULL, 0};
    if (s.n != 0)
        memcpy(p, s.p, s.n);
    return (struct str){p, s.n};
}

char *arena_strz(struct arena *a, struct str s)
{
    char *p = arena_alloc(a, s.n + 1);
    if (p == NULL)
        return NULL;
    if (s.n != 0)
        memcpy(p, s.p, s.n);
    p[s.n] = 0;
    return p;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
    if (p != NULL)
        vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p;
}

bool arena_hook(struct arena *a, void (*fn)(void *ctx), void *ctx)
{
    struct arena_hook *h = ARENA_NEW(a, struct arena_hook);
    if (h == NULL)
        return false;
    *h = (struct arena_hook){.next = a->hooks, .fn = fn, .ctx = ctx};
    a->hooks = h;
    return true;
}
