/* SPDX-License-Identifier: Apache-2.0
 * The first question to many parts. See ahead.h. */
#include "ahead.h"

#define COLD_MIN 4u  /* fewer are as well asked one by one */
#define SLICE    16u /* parts asked by one job: the disk works on so many at once */
#define WIDTH    8u

struct asking {
    struct part *const *parts;
    size_t n;
    void (*ask)(void *arg, struct part *p);
    void *arg;
};

static void ask_slice(void *arg, size_t i)
{
    const struct asking *a = arg;
    size_t from = i * SLICE, n = MIN(SLICE, a->n - from);
    bool cold[SLICE];
    for (size_t k = 0; k < n; k++)
        cold[k] = part_cold(a->parts[from + k], true);
    for (size_t k = 0; k < n; k++)
        if (cold[k])
            a->ask(a->arg, a->parts[from + k]);
}

void query_ask_ahead(const struct query_ctx *ctx, struct part *const *parts, size_t n,
    void (*ask)(void *arg, struct part *p), void *arg)
{
    struct asking a = {parts, n, ask, arg};
    size_t cold = 0;
    for (size_t i = 0; i < n && cold < COLD_MIN; i++)
        cold += part_cold(parts[i], false);
    if (cold >= COLD_MIN)
        pool_parallel(ctx->pool, ctx->key, WIDTH, (n + SLICE - 1) / SLICE, ask_slice, &a);
}
