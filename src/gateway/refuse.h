/* SPDX-License-Identifier: Apache-2.0
 * What the gateway says of spans that it does not take, or cuts: reasons, counters, log lines. */
#pragma once

#include "base/log.h"
#include "gateway/ingest.h"
#include "tenants.h"

/* One limiter for each kind of line, so that a flood of one hides none of another. */
struct refuse_log {
    struct log_limiter truncated, too_large, too_many;
};

/* Tempo's words for the first span with a bad id: the answer when no span was good. EC_OK: there is
 * none. */
enum ec refuse_bad_id(const struct batch *b, struct err *err) MUST_USE;
/* Counts what was rejected, by reason, and words the partial_success message. */
void refuse_count(struct ingest_tenant *t, const struct batch *b, struct ingest_result *r);
/* A line for the first trace over its size, and for the first one too many: ten a second each. */
void refuse_log_limits(
    struct refuse_log *l, struct str tenant, const struct batch *b, const struct limits *limits);
void refuse_note_truncated(struct refuse_log *l, struct ingest_tenant *t, struct str tenant,
    const struct batch *b, uint32_t limit);
