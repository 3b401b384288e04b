/* SPDX-License-Identifier: Apache-2.0
 * Admission of OTLP requests.
 *
 * A request runs on its transport thread through decode, limits and store_append; what survives
 * until the commit is one small `struct pending`. Per-tenant state (token bucket, bytes in flight,
 * metric series) is found by one hash probe under a read lock and never freed before the ingest is.
 */
#include "gateway/ingest.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "ingest_metrics.h"
#include "log_spans.h"
#include "tenants.h"

#define INFLIGHT_TENANT_DEFAULT (32u << 20)

struct ingest {
    struct ingest_options opt;
    struct ingest_tenants tenants;
    struct log_limiter truncated_log, limit_log;
};

struct pending {
    struct ingest *ingest;
    struct ingest_tenant *tenant;
    uint64_t wire_bytes; /* charged to the tenant until done */
    struct metric *accepted, *refused;
    int64_t started_ns;
    ingest_done_fn done;
    void *arg;
    _Atomic unsigned halves; /* 2: commit outcome and rejected counts are both outstanding */
    enum ec outcome;         /* of the commit */
    struct err err;
    struct ingest_result result;
};

enum ec ingest_new(const struct ingest_options *opt, struct ingest **ret, struct err *err)
{
    struct ingest *i = xcalloc(1, sizeof(*i));
    i->opt = *opt;
    if (i->opt.inflight_tenant_bytes_max == 0)
        i->opt.inflight_tenant_bytes_max = INFLIGHT_TENANT_DEFAULT;
    ingest_metrics_register();
    enum ec ec = ingest_tenants_init(&i->tenants, opt->tenants_max, err);
    if (ec != EC_OK) {
        free(i);
        return ec;
    }
    *ret = i;
    return EC_OK;
}

void ingest_free(struct ingest *i)
{
    if (i == NULL)
        return;
    ingest_tenants_deinit(&i->tenants);
    free(i);
}

/* Ends the request: counts, answers, frees. */
static void finish(struct pending *p, enum ec ec, const struct err *err)
{
    struct ingest_result *r = &p->result;
    r->ec = ec;
    if (ec != EC_OK) {
        snprintf(r->message, sizeof(r->message), "%s", err_msg(err));
        r->n_rejected = r->n_spans;
        metric_add(p->refused, (double)r->n_spans);
        metric_add(p->accepted, 0);
        if (r->retry_after_ns == 0 && ec_retryable(ec) && ec != EC_RATE)
            r->retry_after_ns = NS_PER_S;
    } else {
        metric_add(p->accepted, (double)(r->n_spans - r->n_rejected));
        metric_add(p->refused, (double)r->n_rejected);
    }
    if (p->tenant != NULL) {
        ingest_tenant_release(p->tenant, p->wire_bytes);
        metric_observe(ingest_metric_push_duration(),
            (double)(clock_mono_ns() - p->started_ns) / (double)NS_PER_S);
    }
    p->done(p->arg, r);
    free(p);
}

/* The answer needs two things: the commit's outcome and the rejected counts, which are known when
 * store_append has returned. Whichever comes second answers. */
static void half_done(struct pending *p)
{
    if (atomic_fetch_sub_explicit(&p->halves, 1, memory_order_acq_rel) == 1)
        finish(p, p->outcome, &p->err);
}

static void committed(void *arg, enum ec ec, const struct err *err)
{
    struct pending *p = arg;
    p->outcome = ec;
    if (ec != EC_OK && err != NULL)
        p->err = *err;
    half_done(p);
}

static enum ec check_rate(
    struct pending *p, const struct limits *l, uint64_t n, struct str tenant, struct err *err)
{
    if (ingest_tenant_take(p->tenant, n, l->rate_limit_bytes, l->burst_size_bytes))
        return EC_OK;
    ingest_count_discarded(p->tenant, "rate_limited", p->result.n_spans);
    if (l->retry_info_enabled)
        p->result.retry_after_ns = p->ingest->opt.retry_after_ns;
    unsigned long long rate = l->rate_limit_bytes, burst = l->burst_size_bytes, bytes = n;
    if (n > rate && n > burst)
        return ERR(err, EC_RATE,
            "RATE_LIMITED: batch size (%llu bytes) exceeds ingestion limit (local: %llu bytes/s, "
            "global: 0 bytes/s, burst: %llu bytes) while adding %llu bytes for user " STR_FMT
            ". consider reducing batch size or increasing rate limit.",
            bytes, rate, burst, bytes, STR_ARG(tenant));
    return ERR(err, EC_RATE,
        "RATE_LIMITED: ingestion rate limit (local: %llu bytes/s, global: 0 bytes/s, burst: %llu "
        "bytes) exceeded while adding %llu bytes for user " STR_FMT
        ". consider increasing the limit or reducing ingestion rate.",
        rate, burst, bytes, STR_ARG(tenant));
}

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

/* Tempo's words for the first span with a bad id: the answer when no span was good. */
static enum ec bad_id_error(const struct batch *b, struct err *err)
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

/* Counts what was rejected, by reason, and words the partial_success message. */
static void note_rejected(struct pending *p, const struct batch *b)
{
    uint64_t n[SPAN_REJECTS] = {0};
    for (uint32_t i = 0; i < b->n_spans; i++)
        n[b->spans[i].reject]++;
    struct ingest_result *r = &p->result;
    size_t at = 0;
    for (unsigned k = 1; k < SPAN_REJECTS; k++) {
        if (n[k] == 0)
            continue;
        r->n_rejected += n[k];
        ingest_count_discarded(p->tenant, rejects[k].reason, n[k]);
        int m = snprintf(r->message + at, sizeof(r->message) - at, "%s%llu spans: %s",
            at == 0 ? "" : "; ", (unsigned long long)n[k], rejects[k].text);
        at = MIN(at + (size_t)m, sizeof(r->message) - 1);
    }
}

/* Tempo's log line for a trace over its size; at most ten a second. */
static void log_trace_limits(
    struct ingest *i, struct str tenant, const struct batch *b, const struct limits *l)
{
    for (uint32_t k = 0; k < b->n_spans; k++) {
        const struct batch_span *s = &b->spans[k];
        char hex[32];
        if (s->reject != SPAN_TRACE_TOO_LARGE && s->reject != SPAN_TOO_MANY_TRACES)
            continue;
        if (!log_limiter_pass(&i->limit_log, NS_PER_S / 10))
            return;
        hex_encode(hex, s->trace_id.b, 16);
        if (s->reject == SPAN_TRACE_TOO_LARGE)
            log_event(LOG_WARN, "TRACE_TOO_LARGE", LU("max", l->max_bytes_per_trace),
                LU("reqSize", s->raw_bytes), LS("trace", str_n(hex, 32)), LS("tenant", tenant),
                LB("insight", true));
        else
            log_event(LOG_WARN, "LIVE_TRACES_EXCEEDED", LU("max", l->max_traces_per_user),
                LS("trace", str_n(hex, 32)), LS("tenant", tenant));
        return;
    }
}

static void note_truncated(struct ingest *i, struct ingest_tenant *t, struct str tenant,
    const struct batch *b, uint32_t limit)
{
    static const char *const scopes[] = {"resource", "scope", "span", "event", "link"};
    uint64_t total = 0;
    for (size_t k = 0; k < ARRAY_LEN(scopes); k++) {
        total += b->n_truncated[k];
        if (b->n_truncated[k] != 0)
            ingest_count_truncated(t, scopes[k], b->n_truncated[k]);
    }
    if (total != 0 && log_limiter_pass(&i->truncated_log, NS_PER_S))
        log_event(LOG_WARN, "attributes truncated", LS("tenant", tenant),
            LU("total_truncated", total), LU("max_size_bytes", limit));
}

/* Everything between decode and append; the caller answers when the code is not EC_OK. */
static enum ec admit(
    struct pending *p, struct str tenant, struct batch *b, const struct limits *l, struct err *err)
{
    struct ingest *i = p->ingest;
    ingest_count_ingress(p->tenant, b->canonical_bytes);
    if (b->n_spans == 0)
        return EC_OK;
    if (!ingest_tenant_hold(p->tenant, p->wire_bytes, i->opt.inflight_tenant_bytes_max)) {
        p->wire_bytes = 0; /* nothing held, nothing to release */
        return ERR(err, EC_LIMIT,
            "tenant " STR_FMT " has %llu bytes in flight, the limit is reached", STR_ARG(tenant),
            (unsigned long long)i->opt.inflight_tenant_bytes_max);
    }
    TRY(check_rate(p, l, b->canonical_bytes, tenant, err));
    ingest_count_received(p->tenant, b);
    if (i->opt.log_received.enabled)
        log_spans_received(&i->opt.log_received, b);
    if (b->n_rejected == b->n_spans) {
        enum ec ec = bad_id_error(b, err);
        if (ec != EC_OK) {
            note_rejected(p, b);
            if (i->opt.log_discarded.enabled)
                log_spans_discarded(&i->opt.log_discarded, tenant, b);
            return ec;
        }
    }
    return EC_OK;
}

/* Decodes, admits, appends. EC_OK with *ret_waiting: committed() is or will be called by the
 * store. */
static enum ec submit(struct pending *p, struct str tenant, struct bytes otlp, struct arena *arena,
    bool *ret_waiting, struct err *err)
{
    struct ingest *i = p->ingest;
    struct limits l;
    overrides_get(i->opt.overrides, tenant, &l);
    struct batch_limits bl = {
        .attr_bytes_max =
            l.max_attribute_bytes != 0 ? l.max_attribute_bytes : i->opt.max_attribute_bytes,
    };
    struct batch b;
    TRY(batch_decode(&b, otlp, &bl, arena, err));
    p->result.n_spans = b.n_spans;
    if (b.n_spans == 0)
        return EC_OK;
    TRY(ingest_tenants_get(&i->tenants, tenant, &p->tenant, err));
    TRY(admit(p, tenant, &b, &l, err));
    note_truncated(i, p->tenant, tenant, &b, bl.attr_bytes_max);
    TRY(store_append(i->opt.store, tenant, &b, committed, p, err));
    *ret_waiting = true;
    if (b.n_rejected != 0) { /* by ids, or by the trace limits that the store applied */
        note_rejected(p, &b);
        log_trace_limits(i, tenant, &b, &l);
        if (i->opt.log_discarded.enabled)
            log_spans_discarded(&i->opt.log_discarded, tenant, &b);
    }
    return EC_OK;
}

void ingest_submit(struct ingest *i, struct str tenant, struct bytes otlp, const char *receiver,
    const char *transport, ingest_done_fn done, void *arg)
{
    struct pending *p = xcalloc(1, sizeof(*p));
    *p = (struct pending){
        .ingest = i,
        .wire_bytes = otlp.n,
        .started_ns = clock_mono_ns(),
        .done = done,
        .arg = arg,
    };
    ingest_metric_receiver(receiver, transport, &p->accepted, &p->refused);
    atomic_init(&p->halves, 2);
    struct arena arena;
    struct err err = {0};
    bool waiting = false;
    arena_init(&arena, i->opt.inflight, 64u << 10);
    enum ec ec = submit(p, tenant, otlp, &arena, &waiting, &err);
    arena_deinit(&arena);
    if (waiting)
        half_done(p);
    else
        finish(p, ec, &err);
}
