/* SPDX-License-Identifier: Apache-2.0
 * When a query tells its progress (struct query_stream). The engine asks query_stream_due between
 * groups or traces, shows what it has, and calls query_stream_told. */
#pragma once

#include "query/exec.h"

/* True when somebody listens, the period is over and there is memory to spare. */
bool query_stream_due(const struct query_ctx *ctx);
/* Begins the next period: longer when putting the part together took long. */
void query_stream_told(const struct query_ctx *ctx, int64_t began_ns);
