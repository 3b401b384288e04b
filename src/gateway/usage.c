/* SPDX-License-Identifier: Apache-2.0
 * Series by the values of a tenant's dimensions.
 *
 * A view is a list of labels with the series counted under it; a change of the dimensions starts a
 * new one, and the old one goes when its series are stale. Most spans have the values of the span
 * before: a comparison finds the series, without a hash. */
#include "usage.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/budget.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/metric.h"

#define MISSING  "__missing__"
#define OVERFLOW "__overflow__"
#define PURGE_S  60

struct series {
    uint64_t hash, bytes;
    int64_t seen_s;
    size_t charged;      /* to the budget */
    struct str values[]; /* one a label; their bytes follow */
};

struct dimension {
    struct str attribute;
    size_t to; /* label */
    enum limit_scope scope;
};

struct view {
    struct view *next;
    struct str *labels; /* sorted */
    struct dimension *dimensions;
    size_t n;                             /* of both */
    struct str *resource, *span, *last;   /* values */
    struct series **slots, *found, *full; /* open addressing; that of `last`; the overflow */
    size_t n_series, cap;
};

struct usage_tenant {
    const struct ingest_usage *opt;
    pthread_mutex_t lock;
    struct view *views;     /* guarded by lock; the newest counts */
    uint64_t max, n_series; /* guarded by lock */
    int64_t purged_s;       /* guarded by lock */
};

static struct metric_family errors = {
    .name = "tempo_distributor_usage_tracker_errors_total",
    .help = "The total number of errors in the usage tracker",
    .type = METRIC_COUNTER,
    .labels = {"tenant", "reason", NULL},
};

/* ---- views ---- */

static struct str copy(struct str s)
{
    return str_n(xstrndup(s.p, s.n), s.n);
}

static struct view *view_new(const struct limit_lists *l)
{
    struct view *v = xcalloc(1, sizeof(*v));
    size_t n = l->n_dimensions;
    v->n = n;
    v->labels = xcalloc(n, sizeof(*v->labels));
    v->dimensions = xcalloc(n, sizeof(*v->dimensions));
    v->resource = xcalloc(n * 3, sizeof(*v->resource));
    v->span = v->resource + n;
    v->last = v->span + n;
    for (size_t i = 0; i < n; i++) { /* insertion: there are few */
        size_t at = i;
        for (; at > 0 && str_cmp(v->labels[at - 1], l->dimensions[i].label) > 0; at--)
            v->labels[at] = v->labels[at - 1];
        v->labels[at] = l->dimensions[i].label;
    }
    for (size_t i = 0; i < n; i++) {
        size_t to = 0;
        while (!str_eq(v->labels[to], l->dimensions[i].label))
            to++;
        v->dimensions[i] =
            (struct dimension){copy(l->dimensions[i].attribute), to, l->dimensions[i].scope};
    }
    for (size_t i = 0; i < n; i++)
        v->labels[i] = copy(v->labels[i]);
    v->cap = 16;
    v->slots = xcalloc(v->cap, sizeof(struct series *));
    return v;
}

static void series_free(struct usage_tenant *t, struct series *s)
{
    budget_give(t->opt->budget, s->charged);
    free(s);
    t->n_series--;
}

static void view_free(struct usage_tenant *t, struct view *v)
{
    for (size_t i = 0; i < v->cap; i++)
        if (v->slots[i] != NULL)
            series_free(t, v->slots[i]);
    for (size_t i = 0; i < v->n; i++) {
        free((char *)(uintptr_t)v->labels[i].p);
        free((char *)(uintptr_t)v->dimensions[i].attribute.p);
    }
    free(v->labels);
    free(v->dimensions);
    free(v->resource);
    free(v->slots);
    free(v);
}

static bool view_is(const struct view *v, const struct limit_lists *l)
{
    if (v == NULL || v->n != l->n_dimensions)
        return false;
    for (size_t i = 0; i < v->n; i++) {
        const struct dimension *d = &v->dimensions[i];
        const struct limit_dimension *w = &l->dimensions[i];
        if (!str_eq(d->attribute, w->attribute) || d->scope != w->scope ||
            !str_eq(v->labels[d->to], w->label))
            return false;
    }
    return true;
}

/* ---- series ---- */

static uint64_t hash_values(const struct str *values, size_t n)
{
    uint64_t h = n;
    for (size_t i = 0; i < n; i++)
        h = hash64_seed(values[i].p, values[i].n, h);
    return h;
}

static bool same_values(const struct str *a, const struct str *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (a[i].n != b[i].n || (a[i].p != b[i].p && memcmp(a[i].p, b[i].p, a[i].n) != 0))
            return false;
    return true;
}

static struct series **view_slot(const struct view *v, const struct str *values, uint64_t hash)
{
    size_t at = (size_t)hash & (v->cap - 1);
    while (v->slots[at] != NULL &&
           (v->slots[at]->hash != hash || !same_values(v->slots[at]->values, values, v->n)))
        at = (at + 1) & (v->cap - 1);
    return &v->slots[at];
}

static void view_rehash(struct view *v, size_t cap)
{
    struct series **old = v->slots;
    size_t old_cap = v->cap;
    v->cap = cap;
    v->slots = xcalloc(cap, sizeof(struct series *));
    for (size_t i = 0; i < old_cap; i++)
        if (old[i] != NULL)
            *view_slot(v, old[i]->values, old[i]->hash) = old[i];
    free(old);
}

/* NULL: the budget refuses; the overflow series is never refused. */
static struct series *series_new(
    struct usage_tenant *t, struct view *v, const struct str *values, uint64_t hash, bool must)
{
    size_t n = sizeof(struct series) + v->n * sizeof(struct str);
    for (size_t i = 0; i < v->n; i++)
        n += values[i].n;
    size_t charged = n + 4 * sizeof(struct series *); /* its part of the table */
    if (!budget_take(t->opt->budget, charged)) {
        if (!must)
            return NULL;
        budget_take_force(t->opt->budget, charged);
    }
    struct series *s = xcalloc(1, n);
    char *p = (char *)(s->values + v->n);
    s->hash = hash;
    s->charged = charged;
    for (size_t i = 0; i < v->n; i++) {
        s->values[i] = str_n(p, values[i].n);
        if (values[i].n != 0)
            memcpy(p, values[i].p, values[i].n);
        p += values[i].n;
    }
    if ((v->n_series + 1) * 2 > v->cap)
        view_rehash(v, v->cap * 2);
    *view_slot(v, values, hash) = s;
    v->n_series++;
    t->n_series++;
    return s;
}

static struct series *series_overflow(struct usage_tenant *t, struct view *v)
{
    for (size_t i = 0; v->full == NULL && i < v->n; i++)
        v->span[i] = STR(OVERFLOW);
    if (v->full == NULL)
        v->full = series_new(t, v, v->span, hash_values(v->span, v->n), true);
    return v->full;
}

/* The series of v->span. */
static struct series *series_get(struct usage_tenant *t, struct view *v)
{
    if (v->found != NULL && same_values(v->span, v->last, v->n))
        return v->found;
    uint64_t hash = hash_values(v->span, v->n);
    struct series *s = *view_slot(v, v->span, hash);
    memcpy(v->last, v->span, v->n * sizeof(*v->last));
    if (s == NULL && t->n_series < t->max)
        s = series_new(t, v, v->span, hash, false);
    v->found = s != NULL ? s : series_overflow(t, v);
    return v->found;
}

/* ---- counting ---- */

static void take_values(const struct view *v, const struct attr *attrs, uint32_t n,
    enum limit_scope not_of, struct str *values)
{
    for (size_t k = 0; k < v->n; k++) {
        const struct dimension *d = &v->dimensions[k];
        if (d->scope == not_of)
            continue;
        for (uint32_t i = 0; i < n; i++) {
            const struct attr *a = &attrs[i];
            if (a->key.n == d->attribute.n && a->value.type == VALUE_STR && a->value.s.n != 0 &&
                memcmp(a->key.p, d->attribute.p, a->key.n) == 0) {
                values[d->to] = a->value.s;
                break;
            }
        }
    }
}

/* Tag and length in front of n bytes. */
static uint64_t framed(uint64_t n)
{
    return n + 1 + varint_size(n);
}

/* Bytes of the ResourceSpans of spans [first, end) beside its spans, as Tempo reckons them. */
static uint64_t shared_bytes(const struct batch *b, uint32_t first, uint32_t end)
{
    const struct batch_resource *r = &b->resources[b->spans[first].resource];
    uint64_t n = framed(r->raw.n) + (r->schema_url.n != 0 ? framed(r->schema_url.n) : 0);
    for (uint32_t i = first; i < end; i++) {
        if (i > first && b->spans[i].scope == b->spans[i - 1].scope)
            continue;
        const struct batch_scope *s = &b->scopes[b->spans[i].scope];
        n += 2 + framed(s->raw.n) + (s->schema_url.n != 0 ? framed(s->schema_url.n) : 0);
    }
    return n;
}

static void observe_resource(struct usage_tenant *t, struct view *v, const struct batch *b,
    uint32_t first, uint32_t end, int64_t now_s)
{
    const struct batch_resource *r = &b->resources[b->spans[first].resource];
    uint64_t shared = shared_bytes(b, first, end), n = end - first;
    bool by_span = false;
    for (size_t i = 0; i < v->n; i++) {
        v->resource[i] = STR(MISSING);
        by_span |= v->dimensions[i].scope != LIMIT_RESOURCE;
    }
    take_values(v, b->attrs + r->attr_first, r->attr_n, LIMIT_SPAN, v->resource);
    for (uint32_t i = first; i < end; i++) {
        const struct batch_span *s = &b->spans[i];
        uint64_t bytes = framed(s->canonical_bytes) + shared / n + (i == first ? shared % n : 0);
        memcpy(v->span, v->resource, v->n * sizeof(*v->span));
        if (by_span)
            take_values(v, b->attrs + s->attr_first, s->attr_n, LIMIT_RESOURCE, v->span);
        struct series *found = series_get(t, v);
        found->bytes += bytes;
        found->seen_s = now_s;
    }
}

/* ---- staleness ---- */

static void view_purge(struct usage_tenant *t, struct view *v, int64_t before_s)
{
    bool removed = false;
    for (size_t i = 0; i < v->cap; i++) {
        struct series *s = v->slots[i];
        if (s == NULL || s->seen_s > before_s)
            continue;
        v->full = s == v->full ? NULL : v->full;
        v->slots[i] = NULL;
        series_free(t, s);
        v->n_series--;
        removed = true;
    }
    v->found = NULL;
    if (removed) { /* holes end probes early */
        size_t cap = 16;
        while (cap < v->n_series * 2 + 2)
            cap *= 2;
        view_rehash(v, cap);
    }
}

static void purge(struct usage_tenant *t, int64_t now_s)
{
    int64_t before_s = now_s - t->opt->stale_ns / NS_PER_S;
    t->purged_s = now_s;
    for (struct view **at = &t->views; *at != NULL;) {
        struct view *v = *at;
        view_purge(t, v, before_s);
        if (v->n_series == 0 && v != t->views) {
            *at = v->next;
            view_free(t, v);
        } else {
            at = &v->next;
        }
    }
}

/* ---- public ---- */

struct usage_tenant *usage_tenant_new(const struct ingest_usage *opt)
{
    struct usage_tenant *t = xcalloc(1, sizeof(*t));
    metric_register(&errors);
    t->opt = opt;
    t->purged_s = clock_mono_ns() / NS_PER_S;
    pthread_mutex_init(&t->lock, NULL);
    return t;
}

void usage_tenant_free(struct usage_tenant *t)
{
    if (t == NULL)
        return;
    while (t->views != NULL) {
        struct view *v = t->views;
        t->views = v->next;
        view_free(t, v);
    }
    pthread_mutex_destroy(&t->lock);
    free(t);
}

void usage_tenant_configure(struct usage_tenant *t, const struct limit_lists *lists, uint64_t max)
{
    pthread_mutex_lock(&t->lock);
    t->max = max != 0 ? max : t->opt->cardinality_max;
    if (!view_is(t->views, lists)) {
        struct view *v = view_new(lists);
        v->next = t->views;
        t->views = v;
    }
    pthread_mutex_unlock(&t->lock);
}

void usage_tenant_observe(struct usage_tenant *t, const struct batch *b)
{
    int64_t now_s = clock_mono_ns() / NS_PER_S;
    pthread_mutex_lock(&t->lock);
    struct view *v = t->views;
    if (v != NULL && v->n != 0) {
        if (now_s - t->purged_s >= PURGE_S)
            purge(t, now_s);
        v->found = NULL; /* the values of the last batch are gone */
        for (uint32_t i = 0; i < b->n_spans;) {
            uint32_t end = i + 1;
            while (end < b->n_spans && b->spans[end].resource == b->spans[i].resource)
                end++;
            observe_resource(t, v, b, i, end, now_s);
            i = end;
        }
    }
    pthread_mutex_unlock(&t->lock);
}

static void put_label(struct buf *out, bool *first, struct str name, struct str value)
{
    buf_putz(out, *first ? "{" : ",");
    *first = false;
    buf_puts(out, name);
    buf_putz(out, "=\"");
    for (size_t i = 0; i < value.n; i++) {
        char ch = value.p[i];
        if (ch == '\\' || ch == '"')
            buf_putc(out, '\\');
        if (ch == '\n')
            buf_putz(out, "\\n");
        else
            buf_putc(out, ch);
    }
    buf_putc(out, '"');
}

static void put_series(
    struct buf *out, const struct view *v, const struct series *s, struct str tenant)
{
    const struct str fixed[2][2] = {
        {STR("tenant"), tenant}, {STR("tracker"), STR("cost-attribution")}};
    bool first = true;
    size_t k = 0;
    buf_putz(out, "tempo_usage_tracker_bytes_received_total");
    for (size_t i = 0; i < v->n; i++) { /* all in the order of names */
        for (; k < 2 && str_cmp(fixed[k][0], v->labels[i]) < 0; k++)
            put_label(out, &first, fixed[k][0], fixed[k][1]);
        put_label(out, &first, v->labels[i], s->values[i]);
    }
    for (; k < 2; k++)
        put_label(out, &first, fixed[k][0], fixed[k][1]);
    buf_printf(out, "} %llu\n", (unsigned long long)s->bytes);
}

static bool printable(const struct view *v, const struct series *s)
{
    for (size_t i = 0; i < v->n; i++)
        if (!str_utf8_valid(s->values[i]))
            return false;
    return true;
}

void usage_tenant_render(struct usage_tenant *t, struct str tenant, struct buf *out)
{
    pthread_mutex_lock(&t->lock);
    purge(t, clock_mono_ns() / NS_PER_S);
    for (const struct view *v = t->views; v != NULL; v = v->next)
        for (size_t i = 0; i < v->cap; i++) {
            const struct series *s = v->slots[i];
            if (s != NULL && printable(v, s))
                put_series(out, v, s, tenant);
            else if (s != NULL)
                metric_inc(metric_series2(&errors, tenant, STR("invalid_labels_in_collect")));
        }
    pthread_mutex_unlock(&t->lock);
}

void usage_render_head(struct buf *out)
{
    buf_putz(out, "# HELP tempo_usage_tracker_bytes_received_total bytes total received with these "
                  "attributes\n# TYPE tempo_usage_tracker_bytes_received_total counter\n");
}
