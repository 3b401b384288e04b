/* SPDX-License-Identifier: Apache-2.0
 * Owned growing buffer with a sticky failure mark. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define ANNOUNCED_LEAST 4096u

void buf_init(struct buf *b, struct budget *budget)
{
    *b = (struct buf){.budget = budget};
}

void buf_deinit(struct buf *b)
{
    free(b->p);
    budget_give(b->budget, b->cap);
    *b = (struct buf){.budget = b->budget};
}

void buf_reset(struct buf *b)
{
    b->n = 0;
    b->failed = false;
}

/* To cap, or to need when the budget has no more. */
static bool buf_resize(struct buf *b, size_t cap, size_t need)
{
    if (!budget_take(b->budget, cap - b->cap)) {
        cap = need; /* a tight fit may still be granted */
        if (!budget_take(b->budget, cap - b->cap)) {
            b->failed = true;
            return false;
        }
    }
    uint8_t *p = realloc(b->p, cap);
    if (p == NULL) {
        budget_give(b->budget, cap - b->cap);
        b->failed = true;
        return false;
    }
    b->p = p;
    b->cap = cap;
    return true;
}

bool buf_reserve(struct buf *b, size_t more)
{
    if (b->failed)
        return false;
    if (b->cap - b->n >= more)
        return true;
    size_t need, cap = b->cap < 64 ? 64 : b->cap + b->cap / 2;
    if (__builtin_add_overflow(b->n, more, &need)) {
        b->failed = true;
        return false;
    }
    return buf_resize(b, MAX(cap, need), need);
}

bool buf_reserve_announced(struct buf *b, size_t more, size_t whole)
{
    size_t need, cap;
    if (b->failed)
        return false;
    if (b->cap - b->n >= more)
        return true;
    if (__builtin_add_overflow(b->n, more, &need) || __builtin_mul_overflow(need, 4, &cap)) {
        b->failed = true;
        return false;
    }
    cap = MAX(cap, ANNOUNCED_LEAST);
    return buf_resize(b, MIN(cap, MAX(whole, need)), need);
}

void buf_put_slow(struct buf *b, const void *p, size_t n)
{
    if (n == 0 || !buf_reserve(b, n))
        return;
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n >= 0 && buf_reserve(b, (size_t)n + 1)) {
        vsnprintf((char *)b->p + b->n, (size_t)n + 1, fmt, again);
        b->n += (size_t)n;
    }
    va_end(again);
}

void buf_move(struct buf *b, struct buf *ret)
{
    *ret = *b;
    *b = (struct buf){.budget = ret->budget};
}

void buf_put_u32le(struct buf *b, uint32_t v)
{
    buf_put(b, &v, 4);
}

void buf_put_u64le(struct buf *b, uint64_t v)
{
    buf_put(b, &v, 8);
}

void buf_put_varint(struct buf *b, uint64_t v)
{
    if (buf_reserve(b, 10))
        b->n += varint_put(b->p + b->n, v);
}
