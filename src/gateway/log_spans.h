/* SPDX-License-Identifier: Apache-2.0
 * log_received_spans and log_discarded_spans: one info line a span, fields in Tempo's order. */
#pragma once

#include <stdatomic.h>

#include "gateway/ingest.h"

void log_spans_received(const struct ingest_log_spans *opt, const struct batch *b);
void log_spans_discarded(const struct ingest_log_spans *opt, struct str tenant,
    const struct batch *b); /* rejected only */

/* At most one pass per period; thread-safe. Zero-initialised. */
struct log_limiter {
    _Atomic int64_t next_ns;
};
bool log_limiter_pass(struct log_limiter *l, int64_t period_ns);
