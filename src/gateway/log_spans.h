/* SPDX-License-Identifier: Apache-2.0
 * log_received_spans and log_discarded_spans: one info line a span, fields in Tempo's order. */
#pragma once

#include "gateway/ingest.h"

void log_spans_received(const struct ingest_log_spans *opt, const struct batch *b);
void log_spans_discarded(const struct ingest_log_spans *opt, struct str tenant,
    const struct batch *b); /* rejected only */
