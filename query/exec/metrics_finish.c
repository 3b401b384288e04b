/* SPDX-License-Identifier: Apache-2.0
 * Finishing series (spec traceql.md 5.3, 5.4, 5.6, 5.7). */
#include "metrics_finish.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "query/format.h"

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

/* ---- labels ---- */

static struct result_attr text_label(struct str key, struct str value)
{
    return (struct result_attr){key, {.type = VALUE_STR, .s = value}};
}

static struct result_attr number_label(const char *key, double v)
{
    return (struct result_attr){str_from(key), {.type = VALUE_DOUBLE, .d = v}};
}

static enum ec put_value(
    struct arena *a, struct str key, const struct qval *v, struct result_attr *ret, struct err *err)
{
    ret->key = key;
    return qval_result(v, a, &ret->value) ? EC_OK : over_budget(err);
}

/* Labels of by(); `extra` is p or __bucket, or NULL. */
static enum ec put_labels(struct collector *c, const struct qval *by,
    const struct result_attr *extra, struct metrics_series *s, struct err *err)
{
    const struct tql_metric *m = c->m;
    struct arena *a = c->ctx->arena;
    struct result_attr *labels = ARENA_ARRAY(a, m->n_by + 2, struct result_attr);
    uint32_t n = 0;
    if (labels == NULL)
        return over_budget(err);
    for (uint32_t i = 0; i < m->n_by; i++)
        if (by[i].kind != QV_NIL)
            TRY(put_value(a, m->by[i]->text, &by[i], &labels[n++], err));
    if (extra != NULL)
        labels[n++] = *extra;
    if (n == 0)
        labels[n++] = text_label(STR("__name__"), str_from(tql_metric_text(m->fn)));
    s->labels = labels;
    s->n_labels = n;
    return EC_OK;
}

/* ---- the list ---- */

enum ec finish_push(
    struct collector *c, struct series_list *l, struct metrics_series **ret, struct err *err)
{
    struct arena *a = c->ctx->arena;
    if (l->n == l->cap) {
        size_t cap = l->cap == 0 ? 16 : l->cap * 2;
        struct metrics_series *p = ARENA_ARRAY(a, cap, struct metrics_series);
        if (p == NULL)
            return over_budget(err);
        if (l->n != 0)
            memcpy(p, l->p, l->n * sizeof(*p));
        l->p = p;
        l->cap = cap;
    }
    struct metrics_series *s = &l->p[l->n];
    *s = (struct metrics_series){.values = ARENA_ARRAY(a, c->grid.n, double)};
    if (s->values == NULL)
        return over_budget(err);
    l->n++;
    *ret = s;
    return EC_OK;
}

static const char *value_rank(const struct value *v, struct str *ret_text, char *scratch)
{
    switch (v->type) {
    case VALUE_BOOL:
        *ret_text = v->b ? STR("true") : STR("false");
        return "bool";
    case VALUE_DOUBLE:
        *ret_text = str_n(scratch, format_float_g(scratch, v->d));
        return "double";
    case VALUE_INT:
        *ret_text = str_n(scratch, (size_t)snprintf(scratch, 32, "%lld", (long long)v->i));
        return "int";
    default:
        *ret_text = v->s;
        return "string";
    }
}

static int cmp_series(const void *x, const void *y)
{
    const struct metrics_series *a = x, *b = y;
    if (a->n_labels != b->n_labels)
        return a->n_labels < b->n_labels ? -1 : 1;
    for (uint32_t i = 0; i < a->n_labels; i++) {
        char sa[FORMAT_FLOAT_MAX], sb[FORMAT_FLOAT_MAX];
        struct str ta, tb;
        int d = str_cmp(a->labels[i].key, b->labels[i].key);
        if (d == 0)
            d = strcmp(
                value_rank(&a->labels[i].value, &ta, sa), value_rank(&b->labels[i].value, &tb, sb));
        if (d == 0)
            d = str_cmp(ta, tb);
        if (d != 0)
            return d;
    }
    return 0;
}

/* ---- exemplars ---- */

static bool same_key(const struct qval *a, const struct qval *b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (qval_order(&a[i], &b[i]) != 0)
            return false;
    return true;
}

static int cmp_exemplar(const void *x, const void *y)
{
    const struct metrics_exemplar *a = x, *b = y;
    return a->start_ns < b->start_ns ? -1 : a->start_ns > b->start_ns;
}

/* Index of the quantile whose value over the whole range is the closest. */
static uint32_t closest(const double *whole, uint32_t n, double v)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (fabs(whole[i] - v) < fabs(whole[best] - v))
            best = i;
    return best;
}

/* The exemplars of a series with these label values; `whole` (quantiles): only those that are
 * closest to quantile `which`. */
static enum ec put_exemplars(struct collector *c, const struct qval *key, uint32_t n_key,
    const double *whole, uint32_t which, struct metrics_series *s, struct err *err)
{
    for (uint32_t i = 0; i < c->picks.n; i++) {
        const struct pick *p = &c->picks.p[i];
        uint32_t bucket;
        if (!same_key(p->key, key, n_key) || !grid_bucket(&c->grid, p->start_ns, &bucket) ||
            isnan(s->values[bucket]))
            continue;
        if (whole != NULL && closest(whole, c->m->n_quantiles, p->value) != which)
            continue;
        if (s->exemplars == NULL)
            s->exemplars = ARENA_ARRAY(c->ctx->arena, c->picks.n, struct metrics_exemplar);
        if (s->exemplars == NULL)
            return over_budget(err);
        s->exemplars[s->n_exemplars++] = (struct metrics_exemplar){.labels = p->labels,
            .n_labels = p->n_labels,
            .value = p->value,
            .start_ns = p->start_ns};
    }
    if (s->n_exemplars > 1)
        qsort(s->exemplars, s->n_exemplars, sizeof(*s->exemplars), cmp_exemplar);
    return EC_OK;
}

/* ---- functions ---- */

static double bucket_unit(const struct tql_metric *m)
{
    bool ns =
        m->attr->intrinsic != TQL_I_NONE && tql_intrinsic_type(m->attr->intrinsic) == TQL_DURATION;
    return ns ? 1.0 / (double)NS_PER_S : 1;
}

static enum ec plain_series(struct collector *c, struct series_list *l, struct err *err)
{
    const struct tql_metric *m = c->m;
    double per = 1;
    if (m->fn == TQL_M_RATE) {
        uint64_t ns = c->grid.instant ? c->req->end_ns - c->req->start_ns : c->grid.step_ns;
        per = (double)ns / (double)NS_PER_S;
    }
    for (uint32_t k = 0; k < c->acc.n; k++) {
        const struct acc_series *from = c->acc.series[k];
        struct metrics_series *s;
        bool histogram = m->fn == TQL_M_HISTOGRAM_OVER_TIME;
        struct result_attr extra;
        TRY(finish_push(c, l, &s, err));
        for (uint32_t i = 0; i < c->grid.n; i++)
            s->values[i] = acc_sample(&c->acc, from, i) / per;
        if (histogram)
            extra =
                number_label("__bucket", ldexp(1, (int)from->labels[m->n_by].i) * bucket_unit(m));
        TRY(put_labels(c, from->labels, histogram ? &extra : NULL, s, err));
        TRY(put_exemplars(c, from->labels, c->acc.n_labels, NULL, 0, s, err));
    }
    return EC_OK;
}

/* The histogram series of one group, by exponent; NULL: none. */
struct quantile_group {
    const struct acc_series *by_exp[65];
};

/* The same over some buckets: exponents with spans, ascending. WHY a list: of 65 a service has a
 * dozen, and a minute half of those. */
struct quantile_counts {
    uint32_t n;
    int exp[65];
    double counts[65], total;
};

static void column(
    const struct quantile_group *g, uint32_t from, uint32_t to, struct quantile_counts *ret)
{
    ret->n = 0;
    ret->total = 0;
    for (int e = 0; e <= 64; e++) {
        double sum = 0;
        if (g->by_exp[e] == NULL)
            continue;
        for (uint32_t i = from; i < to; i++)
            sum += g->by_exp[e]->v[i];
        if (sum == 0)
            continue;
        ret->exp[ret->n] = e;
        ret->counts[ret->n++] = sum;
        ret->total += sum;
    }
}

/* q over counts per exponent (value 2^exponent); 0 without data. */
static double quantile_of(const struct quantile_counts *c, double q)
{
    double running = 0, m = MAX(1.0, ceil(q * c->total));
    int last = -1;
    if (c->n == 0)
        return 0;
    for (uint32_t i = 0; i < c->n; i++) {
        int e = c->exp[i];
        if (running + c->counts[i] > m) {
            if (running == m)
                break;
            double lo = last < 0 ? e - 1 : last;
            return exp2(lo + (e - lo) * ((m - running) / c->counts[i]));
        }
        running += c->counts[i];
        last = e;
        if (running == m)
            break;
    }
    return ldexp(1, last);
}

static enum ec quantiles_of(struct collector *c, const struct quantile_group *g,
    const struct qval *by, struct series_list *l, struct err *err)
{
    const struct tql_metric *m = c->m;
    struct quantile_counts counts;
    double unit = bucket_unit(m);
    double *whole = ARENA_ARRAY(c->ctx->arena, m->n_quantiles, double);
    if (whole == NULL)
        return over_budget(err);
    column(g, 0, c->grid.n, &counts);
    for (uint32_t k = 0; k < m->n_quantiles; k++)
        whole[k] = quantile_of(&counts, m->quantiles[k]) * unit;
    size_t first = l->n;
    for (uint32_t k = 0; k < m->n_quantiles; k++) {
        struct result_attr p = number_label("p", m->quantiles[k]);
        struct metrics_series *s;
        TRY(finish_push(c, l, &s, err));
        TRY(put_labels(c, by, &p, s, err));
    }
    for (uint32_t i = 0; i < c->grid.n; i++) {
        column(g, i, i + 1, &counts);
        for (uint32_t k = 0; k < m->n_quantiles; k++)
            l->p[first + k].values[i] = quantile_of(&counts, m->quantiles[k]) * unit;
    }
    for (uint32_t k = 0; k < m->n_quantiles; k++)
        TRY(put_exemplars(c, by, m->n_by, whole, k, &l->p[first + k], err));
    return EC_OK;
}

static enum ec quantile_series(struct collector *c, struct series_list *l, struct err *err)
{
    struct acc groups;
    acc_init(&groups, c->ctx->arena, ACC_COUNT, 1, c->m->n_by);
    struct quantile_group *g = ARENA_ARRAY(c->ctx->arena, c->acc.n, struct quantile_group);
    if (g == NULL)
        return over_budget(err);
    for (uint32_t k = 0; k < c->acc.n; k++) {
        const struct acc_series *from = c->acc.series[k];
        struct acc_series *group;
        uint32_t n = groups.n;
        TRY(acc_series(&groups, from->labels, &group, err));
        if (groups.n != n)
            group->v[0] = n; /* its number */
        g[(uint32_t)group->v[0]].by_exp[from->labels[c->m->n_by].i] = from;
    }
    for (uint32_t i = 0; i < groups.n; i++)
        TRY(quantiles_of(c, &g[i], groups.series[i]->labels, l, err));
    return EC_OK;
}

/* ---- compare ---- */

struct compare_entry {
    const struct acc_series *s;
    double total;
};

static int cmp_entry(const void *x, const void *y)
{
    const struct compare_entry *a = x, *b = y;
    int d = qval_order(&a->s->labels[0], &b->s->labels[0]);
    if (d == 0)
        d = qval_order(&a->s->labels[1], &b->s->labels[1]);
    if (d != 0)
        return d;
    if (a->total != b->total)
        return a->total > b->total ? -1 : 1;
    return qval_order(&a->s->labels[2], &b->s->labels[2]);
}

static enum ec compare_labels(struct collector *c, const struct acc_series *from, const char *meta,
    const struct qval *value, struct metrics_series *s, struct err *err)
{
    struct result_attr *labels = ARENA_ARRAY(c->ctx->arena, 2, struct result_attr);
    struct str key = arena_str(c->ctx->arena, from->labels[1].s);
    if (labels == NULL || key.p == NULL)
        return over_budget(err);
    labels[0] = text_label(STR("__meta_type"), str_from(meta));
    TRY(put_value(c->ctx->arena, key, value, &labels[1], err));
    s->labels = labels;
    s->n_labels = 2;
    return EC_OK;
}

static enum ec compare_attr(struct collector *c, const struct compare_entry *e, uint32_t n,
    struct series_list *l, struct err *err)
{
    bool selection = e->s->labels[0].i != 0;
    struct metrics_series *s;
    for (uint32_t i = 0; i < n && i < (uint64_t)c->m->top_n; i++) {
        TRY(finish_push(c, l, &s, err));
        TRY(compare_labels(
            c, e->s, selection ? "selection" : "baseline", &e[i].s->labels[2], s, err));
        for (uint32_t b = 0; b < c->grid.n; b++)
            s->values[b] = acc_sample(&c->acc, e[i].s, b);
    }
    struct qval nil = QVAL_NIL;
    TRY(finish_push(c, l, &s, err));
    TRY(compare_labels(c, e->s, selection ? "selection_total" : "baseline_total", &nil, s, err));
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t b = 0; b < c->grid.n; b++)
            s->values[b] += acc_sample(&c->acc, e[i].s, b);
    return EC_OK;
}

static enum ec compare_series(struct collector *c, struct series_list *l, struct err *err)
{
    struct compare_entry *e = ARENA_ARRAY(c->ctx->arena, c->acc.n, struct compare_entry);
    if (e == NULL)
        return over_budget(err);
    for (uint32_t i = 0; i < c->acc.n; i++) {
        e[i].s = c->acc.series[i];
        for (uint32_t b = 0; b < c->grid.n; b++)
            e[i].total += acc_sample(&c->acc, e[i].s, b);
    }
    if (c->acc.n > 1)
        qsort(e, c->acc.n, sizeof(*e), cmp_entry);
    for (uint32_t from = 0, to; from < c->acc.n; from = to) {
        for (to = from + 1; to < c->acc.n && same_key(e[from].s->labels, e[to].s->labels, 2); to++)
            ;
        TRY(compare_attr(c, &e[from], to - from, l, err));
    }
    return EC_OK;
}

enum ec finish_series(struct collector *c, struct series_list *ret, struct err *err)
{
    *ret = c->compared;
    enum tql_metric_fn fn = c->m->fn;
    if (fn == TQL_M_COMPARE && c->fast_compare) {
        /* the series are there */
    } else if (fn == TQL_M_COMPARE) {
        TRY(compare_series(c, ret, err));
    } else if (fn == TQL_M_QUANTILE_OVER_TIME) {
        TRY(quantile_series(c, ret, err));
    } else {
        TRY(plain_series(c, ret, err));
    }
    if (ret->n == 0 && c->m->n_by == 0 && !c->req->q->never &&
        (fn == TQL_M_RATE || fn == TQL_M_COUNT_OVER_TIME)) {
        struct metrics_series *s;
        TRY(finish_push(c, ret, &s, err));
        TRY(put_labels(c, NULL, NULL, s, err));
    }
    if (ret->n > 1)
        qsort(ret->p, ret->n, sizeof(*ret->p), cmp_series);
    return EC_OK;
}
