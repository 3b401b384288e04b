/* SPDX-License-Identifier: Apache-2.0
 * Reasons, counters and log lines of refused spans, in Tempo's words. */
#include "refuse.h"

#include <stdio.h>

#include "base/clock.h"
#include "ingest_metrics.h"

static const struct {
    const char *reason; /* label of tempo_discarded_spans_total */
    const char *text;
} rejects[SPAN_REJECTS] = {
    [SPAN_BAD_TRACE_ID] = {"invalid_trace_id", "invalid trace id"},
    [SPAN_BAD_SPAN_ID] = {"invalid_span_id", "invalid span id"},
    [SPAN_TRACE_TOO_LARGE] = {"trace_too_large", "trace too large (max_bytes_per_trace)"},
    [SPAN_TOO_MANY_TRACES] = {"live_traces_exceeded", "too many live traces (max_traces_per_user)"},
    [SPAN_TOO_LARGE] = {"span_too_large", "span too large"},
};

enum ec refuse_bad_id(const struct batch *b, struct err *err)
{
    for (uint32_t i = 0; i < b->n_spans; i++) {
        const struct batch_span *s = &b->spans[i];
        if (s->reject == SPAN_BAD_TRACE_ID)
            return ERR(err, EC_INVALID, "trace ids must be 128 bit, received %u bits",
                s->bad_id_len == 16 ? 0 : s->bad_id_len * 8u);
        if (s->reject == SPAN_BAD_SPAN_ID)
            return ERR(err, EC_INVALID,
                "span ids must be 64 bit and not all zero, received %u bits", s->bad_id_len * 8u);
    }
    return EC_OK;
}

void refuse_count(struct ingest_tenant *t, const struct batch *b, struct ingest_result *r)
{
    uint64_t n[SPAN_REJECTS] = {0};
    size_t at = 0;
    for (uint32_t i = 0; i < b->n_spans; i++)
        n[b->spans[i].reject]++;
    for (unsigned k = 1; k < SPAN_REJECTS; k++) {
        if (n[k] == 0)
            continue;
        r->n_rejected += n[k];
        ingest_count_discarded(t, rejects[k].reason, n[k]);
        int m = snprintf(r->message + at, sizeof(r->message) - at, "%s%llu spans: %s",
            at == 0 ? "" : "; ", (unsigned long long)n[k], rejects[k].text);
        at = MIN(at + (size_t)m, sizeof(r->message) - 1);
    }
}

static const struct batch_span *first_with(const struct batch *b, enum span_reject why)
{
    for (uint32_t i = 0; i < b->n_spans; i++)
        if (b->spans[i].reject == why)
            return &b->spans[i];
    return NULL;
}

static uint64_t bytes_of(const struct batch *b, const struct trace_id *id)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < b->n_spans; i++)
        if (trace_id_eq(&b->spans[i].trace_id, id))
            n += b->spans[i].raw_bytes;
    return n;
}

void refuse_log_limits(
    struct refuse_log *l, struct str tenant, const struct batch *b, const struct limits *limits)
{
    const struct batch_span *large = first_with(b, SPAN_TRACE_TOO_LARGE);
    const struct batch_span *many = first_with(b, SPAN_TOO_MANY_TRACES);
    char hex[32];
    if (large != NULL && log_limiter_pass(&l->too_large, NS_PER_S / 10)) {
        uint64_t size = bytes_of(b, &large->trace_id);
        hex_encode(hex, large->trace_id.b, 16);
        log_event(LOG_WARN, "TRACE_TOO_LARGE", LU("max", limits->max_bytes_per_trace),
            LU("traceSz", size), LU("totalSize", b->too_large_stored_bytes + size),
            LS("trace", str_n(hex, 32)), LB("insight", true), LS("tenant", tenant));
    }
    if (many != NULL && log_limiter_pass(&l->too_many, NS_PER_S / 10)) {
        hex_encode(hex, many->trace_id.b, 16);
        log_event(LOG_WARN, "LIVE_TRACES_EXCEEDED", LU("max", limits->max_traces_per_user),
            LS("trace", str_n(hex, 32)), LB("insight", true), LS("tenant", tenant));
    }
}

void refuse_note_truncated(struct refuse_log *l, struct ingest_tenant *t, struct str tenant,
    const struct batch *b, uint32_t limit)
{
    static const char *const scopes[] = {"resource", "scope", "span", "event", "link"};
    const struct batch_truncated *first = &b->truncated;
    uint64_t total = 0;
    for (size_t k = 0; k < ARRAY_LEN(scopes); k++) {
        total += b->n_truncated[k];
        if (b->n_truncated[k] != 0)
            ingest_count_truncated(t, scopes[k], b->n_truncated[k]);
    }
    if (total == 0 || !log_limiter_pass(&l->truncated, NS_PER_S))
        return;
    log_event(LOG_WARN, "attributes truncated", LS("tenant", tenant), LU("total_truncated", total),
        LU("max_size_bytes", limit), LZ("example_scope", scopes[first->part]),
        LS("example_name", str_n(first->key.p, MIN(first->key.n, (size_t)limit))),
        LZ("example_field", first->is_key ? "key" : "value"),
        LU("example_orig_size", first->bytes));
}
