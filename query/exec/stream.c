/* SPDX-License-Identifier: Apache-2.0
 * The pace of progress reports. */
#include "stream.h"

#include "base/clock.h"

/* A report may take a tenth of the query's time, however large it is. */
#define STREAM_SHARE 10

bool query_stream_due(const struct query_ctx *ctx)
{
    if (ctx->stream == NULL || clock_mono_ns() < ctx->stream->due_ns)
        return false;
    uint64_t cap = atomic_load_explicit(&ctx->budget->cap, memory_order_relaxed);
    return cap == 0 || budget_used(ctx->budget) < cap / 2;
}

void query_stream_told(const struct query_ctx *ctx, int64_t began_ns)
{
    struct query_stream *st = ctx->stream;
    int64_t now = clock_mono_ns();
    if (st->period_ns != 0)
        st->due_ns = now + MAX(st->period_ns, (now - began_ns) * STREAM_SHARE);
}
