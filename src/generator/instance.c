/* SPDX-License-Identifier: Apache-2.0 */
#include "instance.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "label_limit.h"
#include "span_names.h"

#define SETTINGS_EVERY (10 * NS_PER_S)
#define JUDGE_EVERY    (15 * NS_PER_S)
#define SWEEP_EVERY    (300 * NS_PER_S)
#define PORTION_BYTES  (256u << 10)    /* of a collection */
#define BACK_OFF       (60 * NS_PER_S) /* after settings that were refused at first */

struct instance *instance_new(const struct generator_options *opt, struct str tenant)
{
    struct instance *x = xcalloc(1, sizeof(*x));
    int64_t now = clock_mono_ns();
    x->tenant = str_n(xstrndup(tenant.p, tenant.n), tenant.n);
    x->opt = opt;
    ASSERT(pthread_mutex_init(&x->lock, NULL) == 0);
    registry_init(&x->registry, opt->budget, x->tenant);
    generator_metrics_init(&x->metrics, x->tenant);
    x->registry.counters = x->metrics.registry;
    x->env = (struct processor_env){.registry = &x->registry,
        .counters = &x->metrics.processors,
        .label_limit = label_limit_new(x->tenant),
        .tenant = x->tenant};
    labels_init(&x->env.labels);
    x->judge_ns = now + JUDGE_EVERY;
    x->sweep_ns = now + SWEEP_EVERY;
    return x;
}

void instance_free(struct instance *x)
{
    span_metrics_free(x->span_metrics);
    service_graphs_free(x->service_graphs);
    host_info_free(x->host_info);
    registry_deinit(&x->registry);
    labels_deinit(&x->env.labels);
    label_limit_free(x->env.label_limit);
    span_names_free(x->env.span_names);
    pthread_mutex_destroy(&x->lock);
    free((void *)(uintptr_t)x->tenant.p);
    free(x);
}

void processor_labels_close(struct processor_env *env, int64_t now_ms)
{
    const struct instance *x = CONTAINER_OF(env, struct instance, env);
    bool open = true;
    if (x->span_name_mode != SPAN_NAMES_AS_THEY_ARE)
        open = span_names_apply(
            env->span_names, &env->labels, x->span_name_mode == SPAN_NAMES_DRY_RUN, now_ms);
    if (x->label_values_max != 0)
        label_limit_apply(env->label_limit, &env->labels);
    if (open || x->label_values_max != 0)
        labels_close(&env->labels);
}

/* ---- settings ---- */
static int by_name(const void *a, const void *b)
{
    const struct generator_label *x = a, *y = b;
    return str_cmp(x->name, y->name);
}

/* Their names and values are not empty; the last of equal names wins. */
static void apply_external(
    struct instance *x, const struct generator_settings *s, struct arena *arena)
{
    char host[256] = "";
    struct str instance = str_from(x->opt->instance);
    struct generator_label *l =
        ARENA_ARRAY(arena, s->n_external_labels + 1, struct generator_label);
    uint32_t n = 0;
    if (x->opt->instance == NULL && gethostname(host, sizeof(host) - 1) == 0)
        instance = str_from(host);
    for (size_t i = 0; i <= s->n_external_labels; i++) {
        struct generator_label in =
            i < s->n_external_labels
                ? s->external_labels[i]
                : (struct generator_label){STR("__metrics_gen_instance"), instance};
        uint32_t at = 0;
        while (at < n && !str_eq(l[at].name, in.name))
            at++;
        if (in.value.n == 0)
            continue;
        l[at] = in;
        n += at == n;
    }
    qsort(l, n, sizeof(*l), by_name);
    registry_set_external(
        &x->registry, l, n, s->trace_id_label.n != 0 ? s->trace_id_label : STR("traceID"));
}

/* Makes the processor anew when its settings changed. The old one goes first: both use the same
 * metrics; so a refused change switches the processor off until it is mended. */
static enum ec apply_processor(struct instance *x, const struct generator_settings *s,
    enum active_processor p, struct err *err)
{
    uint64_t digest = settings_digest(s, p);
    enum ec ec = EC_OK;
    if (digest == x->digest[p])
        return EC_OK;
    x->digest[p] = digest;
    switch (p) {
    case ACTIVE_SPAN_METRICS:
        span_metrics_free(TAKE_PTR(x->span_metrics));
        if (digest != 0)
            ec = span_metrics_new(s, &x->env, &x->span_metrics, err);
        break;
    case ACTIVE_SERVICE_GRAPHS:
        service_graphs_free(TAKE_PTR(x->service_graphs));
        if (digest != 0)
            ec = service_graphs_new(s, &x->env, &x->service_graphs, err);
        break;
    default:
        host_info_free(TAKE_PTR(x->host_info));
        if (digest != 0)
            ec = host_info_new(s, &x->env, &x->host_info, err);
    }
    metric_set(x->metrics.active[p], digest != 0 && ec == EC_OK);
    return ec;
}

static enum ec apply(
    struct instance *x, const struct generator_settings *s, struct arena *arena, struct err *err)
{
    struct registry *r = &x->registry;
    enum ec ret = EC_OK;
    r->limiter = s->limiter;
    r->series_max = s->series_max;
    r->entities_max = s->entities_max;
    r->native_factor = s->native_factor;
    r->native_buckets_max = s->native_buckets_max;
    r->native_min_reset_ms = s->native_min_reset_ns / NS_PER_MS;
    apply_external(x, s, arena);
    x->env.label_name_max = s->label_name_max;
    x->env.label_value_max = s->label_value_max;
    x->slack_ns = s->slack_ns;
    x->interval_ns = s->collection_interval_ns;
    x->stale_ns = s->stale_ns;
    x->collection_disabled = s->collection_disabled;
    x->label_values_max = s->label_values_max;
    x->span_name_mode = s->span_names;
    if (s->span_names != SPAN_NAMES_AS_THEY_ARE && x->env.span_names == NULL)
        x->env.span_names = span_names_new(x->opt->budget, x->tenant);
    for (unsigned p = 0; p < ACTIVES; p++) {
        struct err one = {0};
        enum ec ec = apply_processor(x, s, p, &one);
        if (ec != EC_OK && ret == EC_OK) {
            ret = ec;
            *err = one;
        }
    }
    if (!x->ready)
        x->collect_ns = clock_mono_ns() + x->interval_ns;
    x->ready = true;
    return ret;
}

void instance_refresh(struct instance *x)
{
    struct arena arena;
    struct generator_settings s = {0};
    struct err err = {0};
    arena_init(&arena, NULL, 4096);
    enum ec ec = x->opt->settings(x->opt->ctx, x->tenant, &arena, &s, &err);
    pthread_mutex_lock(&x->lock);
    if (ec == EC_OK)
        ec = apply(x, &s, &arena, &err);
    int64_t wait = ec == EC_OK || x->ready ? SETTINGS_EVERY : BACK_OFF;
    x->settings_ns = clock_mono_ns() + wait;
    pthread_mutex_unlock(&x->lock);
    if (ec != EC_OK) {
        metric_inc(x->metrics.update_failed);
        log_event(
            LOG_ERROR, "metrics generator: settings refused", LS("tenant", x->tenant), LE(&err));
    }
    arena_deinit(&arena);
}

/* ---- spans ---- */
static unsigned active(const struct instance *x)
{
    return (x->span_metrics != NULL) + (x->service_graphs != NULL) + (x->host_info != NULL);
}

static struct attr_list attrs_of(const struct batch *b, uint32_t first, uint32_t n)
{
    return (struct attr_list){b->attrs + first, n};
}

struct resource_view { /* of the spans at hand */
    uint32_t index;
    struct attr_list attrs;
    struct str service;
    bool has_service;
};

static void begin_resource(
    struct instance *x, const struct batch *b, struct resource_view *r, struct arena *text)
{
    const struct batch_resource *res = &b->resources[r->index];
    r->attrs = attrs_of(b, res->attr_first, res->attr_n);
    const struct value *v = attr_find(r->attrs, STR("service.name"));
    r->has_service = v != NULL;
    r->service = v == NULL ? STR("") : value_text(v, text);
    if (x->span_metrics != NULL)
        span_metrics_resource(x->span_metrics, r->attrs);
}

/* The end lies within the slack around now; sums that overflow are far outside. */
static bool in_slack(const struct instance *x, uint64_t end_ns, int64_t now_ns)
{
    int64_t end = end_ns > INT64_MAX ? INT64_MAX : (int64_t)end_ns;
    return end >= now_ns - x->slack_ns && end <= now_ns + x->slack_ns;
}

static void push_spans(struct instance *x, const struct batch *b, bool skip, struct arena *text)
{
    int64_t now_ns = clock_wall_ns(), now_ms = now_ns / NS_PER_MS;
    struct resource_view r = {.index = UINT32_MAX};
    uint64_t received = 0, outside = 0;
    for (uint32_t i = 0; i < b->n_spans; i++) {
        const struct batch_span *span = &b->spans[i];
        if (span->reject != SPAN_ACCEPTED)
            continue;
        received++;
        if (!in_slack(x, span->end_ns, now_ns)) {
            outside++;
            continue;
        }
        if (skip)
            continue;
        if (span->resource != r.index) {
            r.index = span->resource;
            begin_resource(x, b, &r, text);
        }
        const struct span_view s = {b, span, r.attrs, attrs_of(b, span->attr_first, span->attr_n)};
        if (x->span_metrics != NULL)
            span_metrics_span(x->span_metrics, &s, now_ms);
        if (x->service_graphs != NULL && r.has_service)
            service_graphs_span(x->service_graphs, &s, r.service, now_ms);
    }
    metric_add(x->metrics.spans_received, (double)received);
    metric_add(x->metrics.outside_slack, (double)outside);
    for (uint32_t i = 0; x->host_info != NULL && !skip && i < b->n_resources; i++)
        host_info_resource(
            x->host_info, attrs_of(b, b->resources[i].attr_first, b->resources[i].attr_n), now_ms);
}

bool instance_push(struct instance *x, const struct batch *b, bool skip)
{
    struct arena text;
    arena_init(&text, NULL, 1024);
    pthread_mutex_lock(&x->lock);
    bool any = active(x) != 0;
    if (skip)
        metric_add(x->metrics.skipped, active(x));
    if (any) { /* what is skipped was received all the same */
        metric_add(x->metrics.bytes_received, (double)b->canonical_bytes);
        push_spans(x, b, skip, &text);
    }
    pthread_mutex_unlock(&x->lock);
    arena_deinit(&text);
    return any;
}

/* ---- time ---- */
struct entry_header { /* before each entry in a collection's buffer */
    uint64_t hash;
    int64_t time_ms;
    uint32_t bytes, kind;
};

static bool keep_entry(void *ctx, const struct generator_entry *e)
{
    struct buf *b = ctx;
    const struct entry_header h = {
        e->labels_hash, e->time_ms, (uint32_t)e->series.n, (uint32_t)e->kind};
    buf_put(b, &h, sizeof(h));
    buf_put(b, e->series.p, e->series.n);
    return b->n < PORTION_BYTES;
}

/* Outside the lock: the receiver of the entries may wait for a disk. */
static void emit_all(const struct instance *x, const struct buf *b)
{
    const uint8_t *p = b->p, *end = b->p + b->n;
    while (p < end) {
        struct entry_header h;
        memcpy(&h, p, sizeof(h));
        p += sizeof(h);
        const struct generator_entry e = {bytes_n(p, h.bytes), h.hash, h.time_ms, h.kind};
        (void)x->opt->emit(x->opt->ctx, x->tenant, &e); /* the end says it for all */
        p += h.bytes;
    }
}

/* In portions, so that neither memory nor the time under the lock grow with the series. Series are
 * removed on this thread only: not meanwhile. */
static void collect(struct instance *x, int64_t now_ns)
{
    struct buf entries = BUF_INIT;
    struct registry_collection c = {.now_ms = clock_wall_ns() / NS_PER_MS};
    pthread_mutex_lock(&x->lock);
    x->collect_ns = MAX(x->collect_ns + x->interval_ns, now_ns);
    generator_metrics_update(&x->metrics, &x->registry);
    bool on = !x->collection_disabled;
    pthread_mutex_unlock(&x->lock);
    if (!on)
        return;
    for (bool more = true; more;) {
        buf_reset(&entries);
        pthread_mutex_lock(&x->lock);
        more = registry_collect(&x->registry, &c, keep_entry, &entries);
        pthread_mutex_unlock(&x->lock);
        emit_all(x, &entries);
    }
    bool whole = x->opt->emit(x->opt->ctx, x->tenant, NULL);
    metric_inc(x->metrics.collections);
    if (!whole)
        generator_metrics_collection_failed(x->tenant);
    buf_deinit(&entries);
}

static void sweep(struct instance *x, int64_t now_ns)
{
    x->sweep_ns = now_ns + SWEEP_EVERY;
    int64_t before_ms = (clock_wall_ns() - x->stale_ns) / NS_PER_MS;
    registry_expire(&x->registry, before_ms);
    label_limit_advance(x->env.label_limit);
    if (x->env.span_names != NULL)
        span_names_advance(x->env.span_names, before_ms);
}

void instance_tick(struct instance *x)
{
    int64_t now = clock_mono_ns();
    if (now >= x->settings_ns)
        instance_refresh(x);
    if (!x->ready)
        return;
    pthread_mutex_lock(&x->lock);
    if (x->service_graphs != NULL)
        service_graphs_expire(x->service_graphs, clock_wall_ns() / NS_PER_MS);
    if (now >= x->judge_ns && x->label_values_max != 0)
        label_limit_judge(x->env.label_limit, x->label_values_max);
    if (now >= x->judge_ns)
        x->judge_ns = now + JUDGE_EVERY;
    if (now >= x->sweep_ns)
        sweep(x, now);
    generator_metrics_update(&x->metrics, &x->registry);
    if (x->env.span_names != NULL)
        span_names_metrics(x->env.span_names);
    pthread_mutex_unlock(&x->lock);
    if (now >= x->collect_ns)
        collect(x, now);
}

void instance_collect(struct instance *x)
{
    if (x->ready && active(x) != 0)
        collect(x, clock_mono_ns());
}
