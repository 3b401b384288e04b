/* SPDX-License-Identifier: Apache-2.0
 * Assertion failure and the allocators that abort. */
#include "base/defs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void assert_failed(const char *expr, const char *file, int line, const char *func)
{
    fprintf(stderr, "level=error msg=\"assertion failed\" expr=\"%s\" caller=%s:%d func=%s\n", expr,
        file, line, func);
    abort();
}

static void *checked(void *p)
{
    if (UNLIKELY(p == NULL)) {
        fputs("level=error msg=\"out of memory\"\n", stderr);
        abort();
    }
    return p;
}

void *xmalloc(size_t n)
{
    return checked(malloc(n == 0 ? 1 : n));
}

void *xcalloc(size_t n, size_t size)
{
    return checked(calloc(n == 0 ? 1 : n, size == 0 ? 1 : size));
}

void *xrealloc(void *p, size_t n)
{
    return checked(realloc(p, n == 0 ? 1 : n));
}

char *xstrdup(const char *s)
{
    return checked(strdup(s));
}

char *xstrndup(const char *s, size_t n)
{
    /* Not strndup: s may be a view without NUL, which strict string checkers refuse there. */
    size_t len = n == 0 ? 0 : strnlen(s, n);
    char *p = xmalloc(len + 1);
    if (len != 0)
        memcpy(p, s, len);
    p[len] = 0;
    return p;
}

void freep(void *pp)
{
    void **p = pp;
    free(*p);
    *p = NULL;
}
