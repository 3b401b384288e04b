/* SPDX-License-Identifier: Apache-2.0
 * Registers the families of metrics.h and fills the gauges at each scrape.
 *
 * Counters that would cost something on the hot path (new traces) are kept as "told so far" per
 * tenant and advanced by the collector. With several stores in a process (tests) the series are
 * shared. */
#include <stdlib.h>

#include "store_private.h"

static const double bounds_default[] = {.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10};
static const double bounds_flush_s[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512};
static const double bounds_flush_bytes[] = {1048576.0, 2097152.0, 4194304.0, 8388608.0, 16777216.0,
    33554432.0, 67108864.0, 134217728.0, 268435456.0, 536870912.0};
static const double bounds_retain[] = {.25, .5, 1, 2, 4, 8};
static const double bounds_fsync[] = {
    .0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5};

static struct {
#define X(field, ...) struct metric_family field;
    STORE_METRICS(X)
    STORE_HISTOGRAMS(X)
#undef X
} plain = {
#define X(field, kind, metric_name, text) \
    .field = {.name = metric_name, .help = text, .type = METRIC_##kind},
    STORE_METRICS(X)
#undef X
#define X(field, metric_name, text, edges) \
    .field = {.name = metric_name,         \
        .help = text,                      \
        .type = METRIC_HISTOGRAM,          \
        .bounds = edges,                   \
        .n_bounds = ARRAY_LEN(edges)},
        STORE_HISTOGRAMS(X)
#undef X
};

struct store_families store_families = {
#define X(field, kind, metric_name, text, ...) \
    .field = {.name = metric_name, .help = text, .type = METRIC_##kind, .labels = {__VA_ARGS__}},
    STORE_METRICS_LABELLED(X)
#undef X
};

struct store_metrics store_metrics;

static void metrics_register(void)
{
#define X(field, ...)              \
    metric_register(&plain.field); \
    store_metrics.field = metric_series0(&plain.field);
    STORE_METRICS(X)
    STORE_HISTOGRAMS(X)
#undef X
#define X(field, ...) metric_register(&store_families.field);
    STORE_METRICS_LABELLED(X)
#undef X
    metric_add(metric_series1(&store_families.compact_dedup, STR("1")), 0);
    metric_add(metric_series1(&store_families.back_pressure3, STR("memory")), 0);
    /* Of alerts: a counter that does not exist before its first event shows no increase by it. */
    static const char *const kinds[] = {"wal", "block", "catalog", "missing_block"};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        metric_add(metric_series1(&store_families.corruptions, str_from(kinds[i])), 0);
    store_metrics.written_wal = metric_series1(&store_families.bytes_written, STR("wal"));
    store_metrics.written_flush = metric_series1(&store_families.bytes_written, STR("flush"));
    store_metrics.written_compact = metric_series1(&store_families.bytes_written, STR("compact"));
}

void store_metrics_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, metrics_register);
}

void tenant_metrics_init(struct tenant *t)
{
    t->metrics.received = metric_series2(&store_families.received, t->id, STR("trace"));
    t->metrics.received3 = metric_series2(&store_families.received3, t->id, STR("trace"));
    /* Families of alerts that must be evaluable while nothing ever goes wrong. */
    metric_add(metric_series1(&store_families.poll_errors, t->id), 0);
    metric_add(metric_series1(&store_families.index_errors, t->id), 0);
    metric_set(metric_series1(&store_families.index_builder, t->id), 1);
    metric_set(metric_series1(&store_families.index_age, t->id), 0);
    metric_add(metric_series1(&store_families.replay_errors, t->id), 0);
}

struct tenant_facts {
    struct head_stats head;
    uint64_t blocks, bytes, traces, wal_bytes, traces_made;
    size_t sealed;
    int64_t oldest_ns; /* 0: nothing unflushed */
};

static void tenant_facts_take(struct tenant *t, uint32_t now_s, struct tenant_facts *ret)
{
    uint64_t segments;
    *ret = (struct tenant_facts){0};
    pthread_mutex_lock(&t->lock);
    if (t->head != NULL)
        head_stats(t->head, now_s, &ret->head);
    ret->traces_made = t->traces_sealed + ret->head.n_traces;
    ret->blocks = t->blocks.n;
    ret->bytes = t->blocks_bytes;
    ret->traces = t->blocks_traces;
    ret->sealed = t->n_sealed;
    if (t->sealed != NULL)
        ret->oldest_ns = t->sealed->born_mono_ns;
    else if (ret->head.n_spans > 0)
        ret->oldest_ns = t->head_born_mono_ns;
    if (t->wal != NULL)
        wal_usage(t->wal, &ret->wal_bytes, &segments);
    pthread_mutex_unlock(&t->lock);
}

static void tenant_collect(struct tenant *t, const struct tenant_facts *f)
{
    struct store_families *m = &store_families;
    metric_set(metric_series1(&m->live, t->id), f->head.n_traces_live);
    metric_set(metric_series1(&m->live3, t->id), f->head.n_traces_live);
    metric_set(metric_series1(&m->live_bytes, t->id), (double)f->head.raw_bytes);
    metric_set(metric_series1(&m->live_bytes3, t->id), (double)f->head.raw_bytes);
    ASSERT(f->traces_made >= t->metric_traces_told);
    double fresh = (double)(f->traces_made - t->metric_traces_told);
    t->metric_traces_told = f->traces_made;
    metric_add(metric_series1(&m->traces, t->id), fresh);
    metric_add(metric_series1(&m->traces3, t->id), fresh);
    metric_set(metric_series1(&m->blocklist, t->id), (double)f->blocks);
    metric_set(metric_series2(&m->backend_bytes, t->id, STR("live")), (double)f->bytes);
    metric_set(metric_series2(&m->backend_objects, t->id, STR("live")), (double)f->traces);
    metric_set(metric_series1(&m->outstanding, t->id), atomic_load(&t->outstanding));
    metric_set(metric_series1(&m->wal_bytes, t->id), (double)f->wal_bytes);
}

static void budget_collect(struct str name, const struct budget *b)
{
    struct metric_family *f = &store_families.budget;
    metric_set(metric_series2(f, name, STR("used")), (double)budget_used(b));
    metric_set(metric_series2(f, name, STR("cap")), (double)atomic_load(&b->cap));
    metric_set(metric_series2(f, name, STR("peak")), (double)atomic_load(&b->peak));
    metric_set(metric_series2(f, name, STR("refused")), (double)atomic_load(&b->refused));
}

static void store_collect_own(struct store *s)
{
    static const char *const modes[] = {"commit", "interval", "none"};
    uint64_t bytes, hits, misses;
    for (size_t i = 0; i < ARRAY_LEN(modes); i++)
        metric_set(metric_series1(&store_families.durability, str_from(modes[i])),
            s->opt.durability == (enum durability)i);
    metric_set(store_metrics.ready3, atomic_load(&s->state) == STORE_READY);
    metric_add(
        metric_series1(&store_families.bytes_written, STR("wal_fill")), (double)wal_filled_take());
    metric_set(store_metrics.set_aside, (double)atomic_load(&s->set_aside));
    metric_set(store_metrics.disk_free, (double)atomic_load(&s->disk_free));
    metric_set(store_metrics.disk_low, atomic_load(&s->disk_low));
    metric_set(store_metrics.disk_early, atomic_load(&s->disk_early));
    metric_set(store_metrics.ingest_off, atomic_load(&s->ingest_off));
    metric_set(store_metrics.retain_suspended, atomic_load(&s->retention_suspended));
    metric_set(store_metrics.work_queue, atomic_load(&s->jobs));
    metric_set(store_metrics.work_queue_max, 4096);
    if (atomic_load(&s->foreign_blocks) > 0)
        metric_set(
            metric_series2(&store_families.backend_bytes, STR("single-tenant"), STR("foreign")),
            (double)atomic_load(&s->foreign_bytes));
    budget_collect(STR("heads"), &s->heads);
    budget_collect(STR("storage_work"), &s->work);
    block_cache_stats(s->cache, &bytes, &hits, &misses);
    metric_set(
        metric_series2(&store_families.budget, STR("block_cache"), STR("used")), (double)bytes);
    metric_set(metric_series2(&store_families.budget, STR("block_cache"), STR("cap")),
        (double)s->opt.cache_bytes_max);
}

static void store_collect(void *ctx)
{
    struct store *s = ctx;
    struct tenant_list all;
    size_t sealed = 0;
    int64_t now_ns = clock_mono_ns(), oldest = now_ns;
    uint32_t now_s = (uint32_t)(clock_wall_ns() / NS_PER_S);
    pthread_mutex_lock(&s->collect_lock);
    tenant_list(s, &all);
    for (size_t i = 0; i < all.n; i++) {
        struct tenant_facts f;
        tenant_facts_take(all.p[i], now_s, &f);
        tenant_collect(all.p[i], &f);
        sealed += f.sealed;
        if (f.oldest_ns != 0)
            oldest = MIN(oldest, f.oldest_ns);
    }
    tenant_list_free(&all);
    metric_set(store_metrics.flush_queue, (double)sealed);
    metric_set(store_metrics.flush_queue3, (double)sealed);
    metric_set(store_metrics.wal_oldest, (double)(now_ns - oldest) / 1e9);
    store_collect_own(s);
    metric_observe(store_metrics.poll_seconds, (double)(clock_mono_ns() - now_ns) / 1e9);
    pthread_mutex_unlock(&s->collect_lock);
}

void store_metrics_attach(struct store *s)
{
    metric_collector_add(store_collect, s);
}

void store_metrics_detach(struct store *s)
{
    metric_collector_remove(store_collect, s);
}
