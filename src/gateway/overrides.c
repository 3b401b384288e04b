/* SPDX-License-Identifier: Apache-2.0
 * Snapshots of per-tenant limits.
 *
 * A snapshot is an arena with entries sorted by tenant, reference-counted; the current one is
 * swapped under a mutex that is held for a pointer copy only. overrides_get holds a reference while
 * it searches.
 */
#include "gateway/overrides.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/metric.h"

struct snapshot_limits {
    _Atomic unsigned refs;
    struct arena arena;
    struct tenant_entry *entries; /* sorted by tenant */
    size_t n;
    const struct tenant_entry *any; /* "*" */
};

struct overrides {
    struct overrides_options opt;
    pthread_mutex_t polling;
    uint64_t hash; /* of the file; guarded by polling */
    bool failed;   /* last reload; guarded by polling */
    pthread_mutex_t lock;
    struct snapshot_limits *current; /* guarded by lock */
    _Atomic uint64_t version;
};

static struct metric_family reload_ok = {
    .name = "tempo_runtime_config_last_reload_successful",
    .help = "Whether the last runtime-config reload attempt was successful.",
    .type = METRIC_GAUGE,
    .labels = {"config", NULL},
};
static struct metric_family limits_overrides = {
    .name = "tempo_limits_overrides",
    .help = "Resource limit overrides applied to tenants.",
    .type = METRIC_GAUGE,
    .labels = {"limit_name", "user", NULL},
};
static struct metric_family limits_defaults_family = {
    .name = "tempo_limits_defaults",
    .help = "Default resource limits.",
    .type = METRIC_GAUGE,
    .labels = {"limit_name", NULL},
};

/* The limits that Tempo exports, by name. */
#define EXPORTED(X)                                                \
    X("max_local_traces_per_user", max_traces_per_user)            \
    X("max_global_traces_per_user", max_global_traces_per_user)    \
    X("max_bytes_per_trace", max_bytes_per_trace)                  \
    X("ingestion_rate_limit_bytes", rate_limit_bytes)              \
    X("ingestion_burst_size_bytes", burst_size_bytes)              \
    X("block_retention", block_retention_ns)                       \
    X("metrics_generator_max_active_series", generator_series_max) \
    X("metrics_generator_dry_run_enabled", generator_dry_run)

static void export_defaults(const struct limits *l)
{
#define X(name, field) \
    metric_set(metric_series1(&limits_defaults_family, STR(name)), (double)l->field);
    EXPORTED(X)
#undef X
    metric_set(metric_series1(&limits_defaults_family, STR("max_bytes_per_tag_values_query")),
        (double)l->max_bytes_per_tag_values_query);
    metric_set(metric_series1(&limits_defaults_family, STR("max_blocks_per_tag_values_query")),
        (double)l->max_blocks_per_tag_values_query);
}

static void export_entry(const struct tenant_entry *e, bool present)
{
    static const struct str names[] = {
#define X(name, field) {name, sizeof(name) - 1},
        EXPORTED(X)
#undef X
    };
    const double values[] = {
#define X(name, field) (double)e->limits.field,
        EXPORTED(X)
#undef X
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct str labels[] = {names[i], e->tenant};
        if (present)
            metric_set(metric_series(&limits_overrides, labels), values[i]);
        else
            metric_remove(&limits_overrides, labels);
    }
}

static void snapshot_unref(struct snapshot_limits *s)
{
    if (s != NULL && atomic_fetch_sub(&s->refs, 1) == 1) {
        arena_deinit(&s->arena);
        free(s);
    }
}

static struct snapshot_limits *snapshot_get(struct overrides *o)
{
    pthread_mutex_lock(&o->lock);
    struct snapshot_limits *s = o->current;
    if (s != NULL)
        atomic_fetch_add(&s->refs, 1);
    pthread_mutex_unlock(&o->lock);
    return s;
}

static int cmp_entry(const void *a, const void *b)
{
    return str_cmp(
        ((const struct tenant_entry *)a)->tenant, ((const struct tenant_entry *)b)->tenant);
}

static const struct tenant_entry *snapshot_find(const struct snapshot_limits *s, struct str tenant)
{
    if (s == NULL || s->n == 0)
        return NULL;
    struct tenant_entry key = {.tenant = tenant};
    const struct tenant_entry *e = bsearch(&key, s->entries, s->n, sizeof(key), cmp_entry);
    return e != NULL ? e : s->any;
}

static void publish(struct overrides *o, struct snapshot_limits *next)
{
    pthread_mutex_lock(&o->lock);
    struct snapshot_limits *old = o->current;
    o->current = next;
    pthread_mutex_unlock(&o->lock);
    atomic_fetch_add(&o->version, 1);
    for (size_t i = 0; old != NULL && i < old->n; i++) {
        struct tenant_entry key = {.tenant = old->entries[i].tenant};
        if (next->n == 0 || bsearch(&key, next->entries, next->n, sizeof(key), cmp_entry) == NULL)
            export_entry(&old->entries[i], false);
    }
    for (size_t i = 0; i < next->n; i++)
        export_entry(&next->entries[i], true);
    snapshot_unref(old);
}

static enum ec load(struct overrides *o, struct err *err)
{
    struct snapshot_limits *s = xcalloc(1, sizeof(*s));
    atomic_store(&s->refs, 1);
    arena_init(&s->arena, NULL, 0);
    uint64_t hash = 0;
    enum ec ec = o->opt.load(o->opt.load_ctx, o->hash, &s->arena, &s->entries, &s->n, &hash, err);
    if (ec != EC_OK || (hash == o->hash && o->current != NULL)) {
        snapshot_unref(s);
        return ec;
    }
    if (s->n > 1)
        qsort(s->entries, s->n, sizeof(*s->entries), cmp_entry);
    struct tenant_entry key = {.tenant = STR("*")};
    s->any = s->n == 0 ? NULL : bsearch(&key, s->entries, s->n, sizeof(key), cmp_entry);
    for (size_t i = 0; i < s->n; i++) {
        const struct limits *l = &s->entries[i].limits;
        if (l->rate_limit_bytes == 0 || l->burst_size_bytes == 0)
            log_event(LOG_WARN,
                "tenant entry leaves the ingestion rate at 0: it can ingest nothing",
                LS("tenant", s->entries[i].tenant));
        if (l->compaction_disabled)
            log_event(LOG_WARN, "compaction is disabled for a tenant; retention goes on",
                LS("tenant", s->entries[i].tenant));
    }
    publish(o, s);
    o->hash = hash;
    return EC_OK;
}

enum ec overrides_new(const struct overrides_options *opt, struct overrides **ret, struct err *err)
{
    struct overrides *o = xcalloc(1, sizeof(*o));
    o->opt = *opt;
    pthread_mutex_init(&o->lock, NULL);
    pthread_mutex_init(&o->polling, NULL);
    atomic_init(&o->version, 1);
    metric_register(&reload_ok);
    metric_register(&limits_overrides);
    metric_register(&limits_defaults_family);
    export_defaults(&opt->defaults);
    if (opt->load != NULL) {
        enum ec ec = load(o, err);
        if (ec != EC_OK) {
            overrides_free(o);
            return ec;
        }
        metric_set(metric_series1(&reload_ok, STR("overrides")), 1);
    }
    *ret = o;
    return EC_OK;
}

void overrides_free(struct overrides *o)
{
    if (o == NULL)
        return;
    snapshot_unref(o->current);
    pthread_mutex_destroy(&o->lock);
    pthread_mutex_destroy(&o->polling);
    free(o);
}

void overrides_get(struct overrides *o, struct str tenant, struct limits *ret)
{
    struct snapshot_limits *s = snapshot_get(o);
    const struct tenant_entry *e = snapshot_find(s, tenant);
    *ret = e != NULL ? e->limits : o->opt.defaults;
    snapshot_unref(s);
}

void overrides_visit(struct overrides *o, struct str tenant,
    void (*fn)(void *ctx, const struct tenant_entry *e), void *ctx)
{
    struct snapshot_limits *s = snapshot_get(o);
    fn(ctx, snapshot_find(s, tenant));
    snapshot_unref(s);
}

uint64_t overrides_version(const struct overrides *o)
{
    return atomic_load_explicit(&o->version, memory_order_acquire);
}

const struct limit_lists *overrides_default_lists(const struct overrides *o)
{
    return &o->opt.default_lists;
}

bool overrides_has_own(struct overrides *o, struct str tenant)
{
    struct snapshot_limits *s = snapshot_get(o);
    const struct tenant_entry *e = snapshot_find(s, tenant);
    bool has = e != NULL && e->from_file && str_eq(e->tenant, tenant);
    snapshot_unref(s);
    return has;
}

void overrides_poll(struct overrides *o)
{
    if (o->opt.load == NULL)
        return;
    struct err err = {0};
    pthread_mutex_lock(&o->polling);
    bool failed = load(o, &err) != EC_OK;
    if (failed && !o->failed)
        log_event(LOG_ERROR, "overrides file is broken, keeping the old content", LE(&err));
    o->failed = failed;
    metric_set(metric_series1(&reload_ok, STR("overrides")), failed ? 0 : 1);
    pthread_mutex_unlock(&o->polling);
}

void overrides_each(
    struct overrides *o, void (*each)(void *ctx, const struct tenant_entry *e), void *ctx)
{
    struct snapshot_limits *s = snapshot_get(o);
    for (size_t i = 0; s != NULL && i < s->n; i++)
        each(ctx, &s->entries[i]);
    snapshot_unref(s);
}

void overrides_defaults(struct overrides *o, struct limits *ret)
{
    *ret = o->opt.defaults;
}
