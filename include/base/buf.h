/* SPDX-License-Identifier: Apache-2.0
 * A growing byte buffer that owns its memory. The only owner of bytes besides the arena.
 *
 * Appends never fail one by one: when the optional budget refuses, the buffer is marked failed,
 * further appends do nothing, and the owner checks buf_failed once at the end. Not thread-safe.
 */
#pragma once

#include "base/budget.h"
#include "base/bytes.h"

struct buf {
    uint8_t *p;
    size_t n, cap;
    struct budget *budget; /* may be NULL */
    bool failed;
};

#define BUF_INIT ((struct buf){0})
void buf_init(struct buf *b, struct budget *budget);
void buf_deinit(struct buf *b);               /* frees; safe on zeroed */
void buf_reset(struct buf *b);                /* n = 0, keeps memory, clears failed */
bool buf_reserve(struct buf *b, size_t more); /* room for `more`; false (and failed) when refused */
/* As buf_reserve, for the next piece of `whole` bytes that are only announced: at most four times
 * what has come is held and charged, so that an announcement alone costs nothing. */
bool buf_reserve_announced(struct buf *b, size_t more, size_t whole);
void buf_put_slow(struct buf *b, const void *p, size_t n); /* buf_put without room at hand */
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Moves the memory out: *ret is the new owner, b is empty. */
void buf_move(struct buf *b, struct buf *ret);
static inline bool buf_failed(const struct buf *b)
{
    return b->failed;
}
static inline void buf_put(struct buf *b, const void *p, size_t n)
{
    if (UNLIKELY(n == 0 || n > b->cap - b->n || b->failed)) {
        buf_put_slow(b, p, n);
        return;
    }
    memcpy(b->p + b->n, p, n);
    b->n += n;
}
static inline void buf_putc(struct buf *b, char c)
{
    if (LIKELY(b->n < b->cap && !b->failed))
        b->p[b->n++] = (uint8_t)c;
    else
        buf_put(b, &c, 1);
}
static inline void buf_puts(struct buf *b, struct str s)
{
    buf_put(b, s.p, s.n);
}
static inline void buf_putz(struct buf *b, const char *z)
{
    buf_put(b, z, strlen(z));
}
static inline struct bytes buf_bytes(const struct buf *b)
{
    return (struct bytes){b->p, b->n};
}
static inline struct str buf_str(const struct buf *b)
{
    return (struct str){(const char *)b->p, b->n};
}
void buf_put_u32le(struct buf *b, uint32_t v);
void buf_put_u64le(struct buf *b, uint64_t v);
void buf_put_varint(struct buf *b, uint64_t v);

/* Growing typed arrays: VEC(type) v = {0}; VEC_PUSH(&v, x); v.p[i]; VEC_FREE(&v).
 * For our own bounded lists; abort when memory is out. */
#define VEC(type)      \
    struct {           \
        type *p;       \
        size_t n, cap; \
    }
#define VEC_PUSH(v, x)                                             \
    do {                                                           \
        if ((v)->n == (v)->cap) {                                  \
            (v)->cap = (v)->cap == 0 ? 8 : (v)->cap * 2;           \
            (v)->p = xrealloc((v)->p, (v)->cap * sizeof(*(v)->p)); \
        }                                                          \
        (v)->p[(v)->n++] = (x);                                    \
    } while (0)
#define VEC_FREE(v)            \
    do {                       \
        free((v)->p);          \
        (v)->p = NULL;         \
        (v)->n = (v)->cap = 0; \
    } while (0)
