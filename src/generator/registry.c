/* SPDX-License-Identifier: Apache-2.0 */
#include "registry.h"

#include <stdlib.h>

#include "base/hash.h"
#include "native.h"

#define TABLE_MIN 64
static const struct generator_label overflow_label = {
    {"metric_overflow", 15},
    {"true", 4},
};

static struct native_limits native_limits(const struct registry *r)
{
    return (struct native_limits){r->native_factor, r->native_buckets_max, r->native_min_reset_ms};
}

/* ---- entities ---- */
static struct entity *entity_new(struct registry *r, const struct generator_label *p, uint32_t n)
{
    size_t bytes = sizeof(struct entity) + n * sizeof(*p);
    for (uint32_t i = 0; i < n; i++)
        bytes += p[i].name.n + p[i].value.n;
    if (!budget_take(r->budget, bytes))
        return NULL;
    struct entity *e = xmalloc(bytes);
    *e = (struct entity){.n = n, .bytes = (uint32_t)bytes};
    char *text = (char *)(e->labels + n);
    for (uint32_t i = 0; i < n; i++) {
        const struct str in[2] = {p[i].name, p[i].value};
        struct str *out[2] = {&e->labels[i].name, &e->labels[i].value};
        for (int k = 0; k < 2; k++) {
            memcpy(text, in[k].p, in[k].n);
            *out[k] = str_n(text, in[k].n);
            text += in[k].n;
        }
    }
    e->hash = labels_hash(e->labels, n);
    return e;
}

static void entity_free(struct registry *r, struct entity *e)
{
    budget_give(r->budget, e->bytes);
    free(e);
}

static bool entity_is(const struct entity *e, const struct labels *l)
{
    if (e->hash != l->hash || e->n != l->n)
        return false;
    for (uint32_t i = 0; i < l->n; i++)
        if (!str_eq(e->labels[i].name, l->p[i].name) || !str_eq(e->labels[i].value, l->p[i].value))
            return false;
    return true;
}

struct entity *registry_find(struct registry *r, const struct labels *l)
{
    for (uint32_t i = (uint32_t)l->hash & (r->n_table - 1); r->table[i] != NULL;
         i = (i + 1) & (r->n_table - 1))
        if (entity_is(r->table[i], l))
            return r->table[i];
    return NULL;
}

static void table_put(struct entity **table, uint32_t n, struct entity *e)
{
    uint32_t i = (uint32_t)e->hash & (n - 1);
    while (table[i] != NULL)
        i = (i + 1) & (n - 1);
    table[i] = e;
}

static bool table_grow(struct registry *r)
{
    if ((r->n_entities + 1) * 4 <= r->n_table * 3)
        return true;
    uint32_t n = r->n_table * 2;
    if (!budget_take(r->budget, n * sizeof(*r->table)))
        return false;
    struct entity **table = xcalloc(n, sizeof(*table));
    for (uint32_t i = 0; i < r->n_table; i++)
        if (r->table[i] != NULL)
            table_put(table, n, r->table[i]);
    free(r->table);
    budget_give(r->budget, r->n_table * sizeof(*r->table));
    r->table = table;
    r->n_table = n;
    return true;
}

/* ---- series ---- */
static uint32_t series_bytes(const struct gen_metric_state *m)
{
    if (m->type != TYPE_HISTOGRAM)
        return sizeof(struct series);
    uint32_t n = m->n_bounds + 1;
    size_t bytes = sizeof(struct series) + sizeof(struct histogram) + n * sizeof(double) +
                   n * sizeof(struct exemplar);
    if (m->histograms & GENERATOR_NATIVE) /* and some two hundred buckets at most */
        bytes += sizeof(struct native) + 64 * sizeof(struct native_bucket);
    return (uint32_t)bytes;
}

static struct series *series_new(
    struct registry *r, enum gen_metric id, struct entity *e, uint32_t cost, int64_t now_ms)
{
    const struct gen_metric_state *m = &r->metrics[id];
    uint32_t bytes = series_bytes(m);
    if (!budget_take(r->budget, bytes))
        return NULL;
    struct series *s = xcalloc(1, sizeof(*s));
    s->metric = (uint8_t)id;
    s->bytes = bytes;
    s->cost = cost;
    s->fresh = true;
    if (m->type == TYPE_HISTOGRAM) {
        uint32_t n = m->n_bounds + 1;
        struct histogram *h = xcalloc(1, sizeof(*h) + n * sizeof(double));
        h->exemplars = xcalloc(n, sizeof(*h->exemplars));
        if (m->histograms & GENERATOR_NATIVE) {
            const struct native_limits l = native_limits(r);
            h->native = native_new(&l, now_ms);
        }
        s->histogram = h;
    }
    s->next = e->series;
    e->series = s;
    return s;
}

static void series_free(struct registry *r, struct series *s)
{
    if (r->metrics[s->metric].type == TYPE_HISTOGRAM) {
        native_free(s->histogram->native);
        free(s->histogram->exemplars);
        free(s->histogram);
    }
    budget_give(r->budget, s->bytes);
    free(s);
}

static struct series *series_of(const struct entity *e, enum gen_metric id)
{
    struct series *s = e->series;
    while (s != NULL && s->metric != id)
        s = s->next;
    return s;
}

static void limited(struct registry *r, uint32_t cost)
{
    bool by_entity = r->limiter == GENERATOR_LIMIT_ENTITIES;
    metric_add(by_entity ? r->counters.entities_limited : r->counters.limited, cost);
    if (log_limiter_pass(&r->limited_log, NS_PER_S))
        log_event(LOG_WARN, by_entity ? "reached max active entities" : "reached max active series",
            LS("tenant", r->tenant), LU("active_series", r->active_series),
            LU("max_active_series", by_entity ? r->entities_max : r->series_max));
}

static bool over_limit(struct registry *r, const struct entity *e, uint32_t cost)
{
    if (r->limiter == GENERATOR_LIMIT_ENTITIES) {
        if (e != NULL || r->entities_max == 0 || r->active_entities + 1 <= r->entities_max)
            return false;
        limited(r, 1);
        return true;
    }
    if (r->series_max == 0 || r->active_series + cost <= r->series_max)
        return false;
    limited(r, cost);
    return true;
}

static struct series *overflow_series(struct registry *r, enum gen_metric id, int64_t now_ms)
{
    if (r->overflow == NULL)
        r->overflow = entity_new(r, &overflow_label, 1);
    if (r->overflow == NULL)
        return NULL;
    struct series *s = series_of(r->overflow, id);
    return s != NULL ? s : series_new(r, id, r->overflow, 0, now_ms);
}

/* The series to observe into; NULL: the budget has no room even for the overflow series. */
static struct series *resolve(struct registry *r, enum gen_metric id, const struct labels *l,
    struct entity **e, int64_t now_ms)
{
    struct gen_metric_state *m = &r->metrics[id];
    struct series *s = *e == NULL ? NULL : series_of(*e, id);
    if (s == NULL || s->slice != r->slice) {
        demand_add(m->demand, hash_mix(l->hash));
        demand_add(&r->entity_demand, hash_mix(l->hash));
    }
    if (s == NULL) {
        if (over_limit(r, *e, m->cost))
            return overflow_series(r, id, now_ms);
        struct entity *made = NULL;
        if (*e == NULL) {
            made = table_grow(r) ? entity_new(r, l->p, l->n) : NULL;
            if (made == NULL)
                return overflow_series(r, id, now_ms);
        }
        s = series_new(r, id, made != NULL ? made : *e, m->cost, now_ms);
        if (s == NULL) {
            if (made != NULL)
                entity_free(r, made);
            return overflow_series(r, id, now_ms);
        }
        if (made != NULL) {
            table_put(r->table, r->n_table, made);
            *(r->last != NULL ? &r->last->next : &r->first) = made;
            r->last = made;
            r->n_entities++;
            r->active_entities++;
            metric_inc(r->counters.entities_added);
            *e = made;
        }
        r->active_series += m->cost;
        metric_add(r->counters.added, m->cost);
    }
    s->updated_ms = now_ms;
    s->slice = r->slice;
    return s;
}

void registry_add(struct registry *r, enum gen_metric m, const struct labels *l, struct entity **e,
    double v, int64_t now_ms)
{
    struct series *s = resolve(r, m, l, e, now_ms);
    if (s != NULL)
        s->value += v;
}

void registry_gauge(struct registry *r, enum gen_metric m, const struct labels *l,
    struct entity **e, double v, int64_t now_ms)
{
    struct series *s = resolve(r, m, l, e, now_ms);
    if (s != NULL)
        s->value = v;
}

void registry_observe(struct registry *r, enum gen_metric m, const struct labels *l,
    struct entity **e, double v, double multiplier, const struct trace_id *trace, int64_t now_ms)
{
    struct series *s = resolve(r, m, l, e, now_ms);
    if (s == NULL)
        return;
    const struct gen_metric_state *ms = &r->metrics[m];
    struct histogram *h = s->histogram;
    uint32_t i = 0;
    while (i < ms->n_bounds && v > ms->bounds[i])
        i++;
    double weight = multiplier;
    if (h->native != NULL) { /* counts are whole there, and so in its classic twin */
        uint64_t times = multiplier > 1 ? (uint64_t)__builtin_ceil(MIN(multiplier, 1e15)) : 1;
        const struct native_limits l2 = native_limits(r);
        native_observe(h->native, &l2, v, times, trace, now_ms);
        weight = (double)times;
    }
    h->buckets[i] += weight;
    h->count += weight;
    h->sum += v * weight;
    h->exemplars[i] = (struct exemplar){*trace, v, true};
}

/* ---- removal ---- */
static void unlink_series(struct registry *r, struct entity *e,
    bool (*drop)(const struct series *s, int64_t arg), int64_t arg)
{
    for (struct series **at = &e->series; *at != NULL;) {
        struct series *s = *at;
        if (!drop(s, arg)) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        r->active_series -= s->cost;
        metric_add(r->counters.removed, s->cost);
        series_free(r, s);
    }
}

/* Entities that keep a series go into the table anew; probing allows no holes. */
static void sweep(
    struct registry *r, bool (*drop)(const struct series *s, int64_t arg), int64_t arg)
{
    memset(r->table, 0, r->n_table * sizeof(*r->table));
    r->last = NULL;
    r->n_sweeps++;
    for (struct entity **at = &r->first; *at != NULL;) {
        struct entity *e = *at;
        unlink_series(r, e, drop, arg);
        if (e->series != NULL) {
            table_put(r->table, r->n_table, e);
            r->last = e;
            at = &e->next;
            continue;
        }
        *at = e->next;
        r->n_entities--;
        r->active_entities--;
        metric_inc(r->counters.entities_removed);
        entity_free(r, e);
    }
    if (r->overflow != NULL) {
        unlink_series(r, r->overflow, drop, arg);
        if (r->overflow->series == NULL) {
            entity_free(r, r->overflow);
            r->overflow = NULL;
        }
    }
}

static bool is_stale(const struct series *s, int64_t before_ms)
{
    return s->updated_ms < before_ms;
}

void registry_expire(struct registry *r, int64_t before_ms)
{
    sweep(r, is_stale, before_ms);
    for (unsigned m = 0; m < GEN_METRICS; m++)
        if (r->metrics[m].on)
            demand_advance(r->metrics[m].demand);
    demand_advance(&r->entity_demand);
    r->slice++;
}

static bool is_of_metric(const struct series *s, int64_t metric)
{
    return s->metric == metric;
}

void registry_metric_off(struct registry *r, enum gen_metric id)
{
    struct gen_metric_state *m = &r->metrics[id];
    if (!m->on)
        return;
    sweep(r, is_of_metric, id);
    free((void *)(uintptr_t)m->name.p);
    free(m->bounds);
    free(m->demand);
    *m = (struct gen_metric_state){0};
}

void registry_metric_on(struct registry *r, enum gen_metric id, struct str name,
    struct generator_bounds bounds, enum generator_histograms histograms)
{
    struct gen_metric_state *m = &r->metrics[id];
    registry_metric_off(r, id);
    m->on = true;
    m->demand = xcalloc(1, sizeof(*m->demand));
    m->name = str_n(xstrndup(name.p, name.n), name.n);
    switch (id) {
    case METRIC_LATENCY:
    case METRIC_SERVER_SECONDS:
    case METRIC_CLIENT_SECONDS:
    case METRIC_MESSAGING_SECONDS:
        m->type = TYPE_HISTOGRAM;
        break;
    case METRIC_TARGET_INFO:
    case METRIC_HOST_INFO:
        m->type = TYPE_GAUGE;
        break;
    default:
        m->type = TYPE_COUNTER;
    }
    m->cost = 1;
    if (m->type != TYPE_HISTOGRAM)
        return;
    m->histograms = histograms;
    m->n_bounds = (uint32_t)bounds.n;
    m->bounds = xmalloc(MAX(bounds.n, 1) * sizeof(double));
    memcpy(m->bounds, bounds.p, bounds.n * sizeof(double));
    uint32_t classic = m->n_bounds + 3; /* buckets with +Inf, sum, count */
    m->cost = (histograms & GENERATOR_CLASSIC ? classic : 0) + !!(histograms & GENERATOR_NATIVE);
}

double registry_demand(const struct registry *r)
{
    double sum = 0;
    for (unsigned m = 0; m < GEN_METRICS; m++)
        if (r->metrics[m].on)
            sum += demand_estimate(r->metrics[m].demand) * r->metrics[m].cost;
    return sum;
}

/* ---- the whole ---- */
void registry_init(struct registry *r, struct budget *budget, struct str tenant)
{
    *r = (struct registry){.budget = budget,
        .tenant = tenant,
        .n_table = TABLE_MIN,
        .table = xcalloc(TABLE_MIN, sizeof(struct entity *))};
    budget_take_force(budget, TABLE_MIN * sizeof(struct entity *));
}

static void external_free(struct registry *r)
{
    for (uint32_t i = 0; i < r->n_external; i++) {
        free((void *)(uintptr_t)r->external[i].name.p);
        free((void *)(uintptr_t)r->external[i].value.p);
    }
    free(r->external);
    free((void *)(uintptr_t)r->trace_id_label.p);
}

static struct str str_dup(struct str s)
{
    return str_n(xstrndup(s.p, s.n), s.n);
}

void registry_set_external(
    struct registry *r, const struct generator_label *labels, uint32_t n, struct str trace_id_label)
{
    struct generator_label *copy = xcalloc(MAX(n, 1), sizeof(*copy));
    struct str label = str_dup(trace_id_label);
    for (uint32_t i = 0; i < n; i++)
        copy[i] = (struct generator_label){str_dup(labels[i].name), str_dup(labels[i].value)};
    external_free(r);
    r->external = copy;
    r->n_external = n;
    r->trace_id_label = label;
}

void registry_deinit(struct registry *r)
{
    for (unsigned m = 0; m < GEN_METRICS; m++)
        registry_metric_off(r, m);
    ASSERT(r->n_entities == 0 && r->overflow == NULL && r->active_series == 0);
    external_free(r);
    free(r->table);
    budget_give(r->budget, r->n_table * sizeof(*r->table));
}
