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
#include "base/defect.h"
#include "base/log.h"
#include "delay.h"
#include "forward.h"
#include "gateway/tenant.h"
#include "ingest_metrics.h"
#include "log_spans.h"
#include "refuse.h"
#include "tenants.h"
#include "usage.h"

#define INFLIGHT_TENANT_DEFAULT (32u << 20)

struct ingest {
    struct ingest_options opt;
    struct ingest_tenants tenants;
    struct refuse_log refuse_log;
    struct delay *delay;
    struct forward *forward; /* NULL: off */
};

struct pending {
    struct ingest *ingest;
    struct ingest_tenant *tenant;
    uint64_t wire_bytes; /* charged to the tenant until done */
    struct metric *accepted, *refused;
    bool no_metrics;
    int64_t started_ns, delay_ns;
    struct delay_waiter waiter;
    ingest_done_fn done;
    void *arg;
    _Atomic unsigned halves; /* 2: commit outcome and rejected counts are both outstanding */
    enum ec outcome;         /* of the commit */
    struct err err;
    struct ingest_result result;
};

static void tenant_init(void *ctx, struct ingest_tenant *t)
{
    struct ingest *i = ctx;
    if (i->opt.usage.enabled)
        t->usage = usage_tenant_new(&i->opt.usage);
    if (i->forward != NULL)
        t->forward = forward_tenant_new(i->forward, str_n(t->id, t->id_n));
}

static void tenant_deinit(void *ctx, struct ingest_tenant *t)
{
    (void)ctx;
    usage_tenant_free(t->usage);
    forward_tenant_free(t->forward);
}

struct configuring {
    struct ingest *ingest;
    struct ingest_tenant *tenant;
};

static void tenant_configure(void *ctx, const struct tenant_entry *e)
{
    struct configuring *c = ctx;
    struct limits l;
    overrides_defaults(c->ingest->opt.overrides, &l);
    const struct limit_lists *lists =
        e != NULL ? &e->lists : overrides_default_lists(c->ingest->opt.overrides);
    if (c->tenant->usage != NULL)
        usage_tenant_configure(c->tenant->usage, lists,
            e != NULL ? e->limits.attribution_cardinality_max : l.attribution_cardinality_max);
    if (c->tenant->forward != NULL)
        forward_tenant_configure(c->tenant->forward, lists);
}

/* Takes over the tenant's lists when the overrides have changed: once a change, on the thread that
 * comes first; another one may use the old lists meanwhile. */
static void tenant_refresh(struct ingest *i, struct ingest_tenant *t)
{
    if (t->usage == NULL && t->forward == NULL)
        return;
    uint64_t now = overrides_version(i->opt.overrides);
    uint64_t was = atomic_load_explicit(&t->configured, memory_order_relaxed);
    if (LIKELY(was == now) || !atomic_compare_exchange_strong(&t->configured, &was, now))
        return;
    struct configuring c = {i, t};
    overrides_visit(i->opt.overrides, str_n(t->id, t->id_n), tenant_configure, &c);
}

enum ec ingest_new(const struct ingest_options *opt, struct ingest **ret, struct err *err)
{
    struct ingest *i = xcalloc(1, sizeof(*i));
    i->opt = *opt;
    if (i->opt.inflight_tenant_bytes_max == 0)
        i->opt.inflight_tenant_bytes_max = INFLIGHT_TENANT_DEFAULT;
    ingest_metrics_register();
    i->delay = delay_new();
    enum ec ec = ingest_tenants_init(&i->tenants, opt->tenants_max, err);
    if (ec == EC_OK && opt->n_forwarders != 0) {
        ec = forward_new(opt->forwarders, opt->n_forwarders, opt->forward_budget, &i->forward, err);
        if (ec != EC_OK)
            ingest_tenants_deinit(&i->tenants);
    }
    i->tenants.init = tenant_init;
    i->tenants.init_ctx = i;
    if (ec != EC_OK) {
        delay_free(i->delay);
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
    delay_free(i->delay);
    forward_stop(i->forward); /* its callbacks look at tenants */
    ingest_tenants_each(&i->tenants, tenant_deinit, i);
    forward_free(i->forward);
    ingest_tenants_deinit(&i->tenants);
    free(i);
}

void ingest_drain(struct ingest *i, int64_t deadline_ns)
{
    unsigned left = i == NULL ? 0 : forward_drain(i->forward, deadline_ns);
    if (left != 0)
        log_event(LOG_WARN, "requests to forwarders are dropped by the stop", LU("count", left));
}

struct rendering {
    struct buf *out;
};

static void tenant_render(void *ctx, struct ingest_tenant *t)
{
    struct rendering *r = ctx;
    if (t->usage != NULL)
        usage_tenant_render(t->usage, str_n(t->id, t->id_n), r->out);
}

bool ingest_usage_render(struct ingest *i, struct buf *out)
{
    struct rendering r = {out};
    if (!i->opt.usage.enabled)
        return false;
    usage_render_head(out);
    ingest_tenants_each(&i->tenants, tenant_render, &r);
    return true;
}

void ingest_stop_delays(struct ingest *i)
{
    if (i != NULL)
        delay_stop(i->delay);
}

static void answer(void *arg)
{
    struct pending *p = arg;
    p->done(p->arg, &p->result);
    free(p);
}

/* Tempo's artificial delay: what is missing to it, give or take a tenth. 0: nothing is. */
static int64_t pad(struct pending *p)
{
    if (LIKELY(p->delay_ns <= 0))
        return 0;
    int64_t missing = p->delay_ns - (clock_mono_ns() - p->started_ns);
    ingest_observe_delay(p->tenant, (double)missing / (double)NS_PER_S);
    return missing <= 0 ? 0 : missing + delay_jitter(missing / 10);
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
    int64_t padding = p->tenant == NULL ? 0 : pad(p);
    if (padding > 0) {
        delay_run(p->ingest->delay, padding, &p->waiter, answer, p);
        return;
    }
    answer(p);
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
    if (i->opt.metric_spans.enabled)
        ingest_count_debug(p->tenant, b, i->opt.metric_spans.root_only);
    if (p->tenant->usage != NULL)
        usage_tenant_observe(p->tenant->usage, b);
    if (b->n_rejected == b->n_spans) {
        enum ec ec = refuse_bad_id(b, err);
        if (ec != EC_OK) {
            refuse_count(p->tenant, b, &p->result);
            if (i->opt.log_discarded.enabled)
                log_spans_discarded(&i->opt.log_discarded, tenant, b);
            return ec;
        }
    }
    return EC_OK;
}

/* The tenant itself, but for a planted defect: now and then the one of the thread's call before. */
static struct str tenant_kept(struct str tenant)
{
    static _Thread_local char last[TENANT_ID_MAX];
    static _Thread_local size_t last_n, n_calls;
    if (!DEFECT(DEFECT_LOSE_TENANT))
        return tenant;
    if (++n_calls % 16 == 0)
        return str_n(last, last_n);
    last_n = MIN(tenant.n, sizeof(last));
    memcpy(last, tenant.p, last_n);
    return tenant;
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
    p->delay_ns = l.artificial_delay_ns;
    if (b.n_spans == 0)
        return EC_OK;
    TRY(ingest_tenants_get(&i->tenants, tenant, &p->tenant, err));
    tenant_refresh(i, p->tenant);
    TRY(admit(p, tenant, &b, &l, err));
    refuse_note_truncated(&i->refuse_log, p->tenant, tenant, &b, bl.attr_bytes_max);
    uint32_t n_bad_ids = b.n_rejected; /* so far */
    TRY(store_append(i->opt.store, tenant_kept(tenant), &b, committed, p, err));
    *ret_waiting = true;
    if (i->opt.accepted != NULL)
        i->opt.accepted(i->opt.accepted_ctx, tenant, &b, p->no_metrics);
    if (p->tenant->forward != NULL)
        forward_push(p->tenant->forward, &b, n_bad_ids);
    if (b.n_rejected != 0) { /* by ids, or by the trace limits that the store applied */
        refuse_count(p->tenant, &b, &p->result);
        refuse_log_limits(&i->refuse_log, tenant, &b, &l);
        if (i->opt.log_discarded.enabled)
            log_spans_discarded(&i->opt.log_discarded, tenant, &b);
    }
    return EC_OK;
}

void ingest_submit(struct ingest *i, struct str tenant, struct bytes otlp, const char *receiver,
    const char *transport, bool no_metrics, ingest_done_fn done, void *arg)
{
    struct pending *p = xcalloc(1, sizeof(*p));
    *p = (struct pending){
        .ingest = i,
        .wire_bytes = otlp.n,
        .no_metrics = no_metrics,
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
