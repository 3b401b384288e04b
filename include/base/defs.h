/* SPDX-License-Identifier: Apache-2.0
 * Language helpers shared by every layer: attributes, assertions, early return, ownership moves.
 *
 * ASSERT stays on in release builds: a broken internal invariant must stop the process before it
 * writes. DASSERT is for checks that cost more than O(1). Nothing from network or disk is asserted.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MUST_USE                        __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args)          __attribute__((format(printf, fmt, args)))
#define NORETURN                        __attribute__((noreturn))
#define CLEANUP(fn)                     __attribute__((cleanup(fn)))
#define LIKELY(x)                       __builtin_expect(!!(x), 1)
#define UNLIKELY(x)                     __builtin_expect(!!(x), 0)
#define ARRAY_LEN(a)                    (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)                       ((a) < (b) ? (a) : (b))
#define MAX(a, b)                       ((a) > (b) ? (a) : (b))
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Moves a pointer out of a variable that a CLEANUP guards: the variable becomes NULL. */
#define TAKE_PTR(p)                 \
    ({                              \
        __typeof__(p) taken_ = (p); \
        (p) = NULL;                 \
        taken_;                     \
    })

NORETURN void assert_failed(const char *expr, const char *file, int line, const char *func);

#define ASSERT(expr)                                            \
    do {                                                        \
        if (UNLIKELY(!(expr)))                                  \
            assert_failed(#expr, __FILE__, __LINE__, __func__); \
    } while (0)

#ifdef VIVACE_DEBUG
#define DASSERT(expr) ASSERT(expr)
#else
#define DASSERT(expr) ((void)sizeof(expr))
#endif

/* Small fixed allocations of our own: abort when memory is out. Never for sizes from outside. */
void *xmalloc(size_t n) __attribute__((malloc, alloc_size(1)));
void *xcalloc(size_t n, size_t size) __attribute__((malloc, alloc_size(1, 2)));
void *xrealloc(void *p, size_t n) __attribute__((alloc_size(2)));
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);
void freep(void *pp); /* for CLEANUP(freep) on any pointer variable */
