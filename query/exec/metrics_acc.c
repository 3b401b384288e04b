/* SPDX-License-Identifier: Apache-2.0
 * Series by label values; an open-addressed table over an array. */
#include "metrics_acc.h"

#include <math.h>

#include "base/hash.h"

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

void acc_init(
    struct acc *a, struct arena *arena, enum acc_kind kind, uint32_t n_buckets, uint32_t n_labels)
{
    ASSERT(n_labels <= ACC_LABELS_MAX);
    ASSERT(n_buckets >= 1);
    *a = (struct acc){.arena = arena, .kind = kind, .n_buckets = n_buckets, .n_labels = n_labels};
}

static bool same_labels(const struct acc *a, const struct acc_series *s, const struct qval *labels)
{
    for (uint32_t i = 0; i < a->n_labels; i++)
        if (qval_order(&s->labels[i], &labels[i]) != 0)
            return false;
    return true;
}

static enum ec grow(struct acc *a, struct err *err)
{
    uint32_t cap = a->cap == 0 ? 16 : a->cap * 2, n_slots = cap * 2;
    struct acc_series **series = ARENA_ARRAY(a->arena, cap, struct acc_series *);
    uint32_t *slots = ARENA_ARRAY(a->arena, n_slots, uint32_t);
    if (series == NULL || slots == NULL)
        return over_budget(err);
    if (a->n != 0)
        memcpy(series, a->series, a->n * sizeof(*series));
    for (uint32_t i = 0; i < a->n; i++) {
        uint32_t at = (uint32_t)series[i]->hash & (n_slots - 1);
        while (slots[at] != 0)
            at = (at + 1) & (n_slots - 1);
        slots[at] = i + 1;
    }
    a->series = series;
    a->cap = cap;
    a->slots = slots;
    a->n_slots = n_slots;
    return EC_OK;
}

static enum ec series_new(struct acc *a, const struct qval *labels, uint64_t hash,
    struct acc_series **ret, struct err *err)
{
    struct acc_series *s = ARENA_NEW(a->arena, struct acc_series);
    bool sums = a->kind == ACC_SUM || a->kind == ACC_AVG;
    if (s == NULL)
        return over_budget(err);
    s->hash = hash;
    s->labels = ARENA_ARRAY(a->arena, a->n_labels, struct qval);
    s->v = a->sparse ? NULL : ARENA_ARRAY(a->arena, a->n_buckets, double);
    s->comp = sums ? ARENA_ARRAY(a->arena, a->n_buckets, double) : NULL;
    s->count = a->kind == ACC_AVG ? ARENA_ARRAY(a->arena, a->n_buckets, double) : NULL;
    if (s->labels == NULL || (!a->sparse && s->v == NULL) || (sums && s->comp == NULL) ||
        (a->kind == ACC_AVG && s->count == NULL))
        return over_budget(err);
    for (uint32_t i = 0; i < a->n_labels; i++) {
        s->labels[i] = labels[i];
        if (labels[i].kind != QV_STRING && labels[i].kind != QV_ARRAY)
            continue;
        s->labels[i].s = arena_str(a->arena, labels[i].s);
        if (s->labels[i].s.p == NULL)
            return over_budget(err);
    }
    for (uint32_t i = 0; i < a->n_buckets && a->kind != ACC_COUNT && a->kind != ACC_AVG; i++)
        s->v[i] = NAN;
    *ret = s;
    return EC_OK;
}

enum ec acc_series(
    struct acc *a, const struct qval *labels, struct acc_series **ret, struct err *err)
{
    uint64_t hash = 0;
    for (uint32_t i = 0; i < a->n_labels; i++)
        hash = hash_mix(hash + qval_hash(&labels[i]));
    if (a->n == a->cap)
        TRY(grow(a, err));
    uint32_t at = (uint32_t)hash & (a->n_slots - 1);
    for (; a->slots[at] != 0; at = (at + 1) & (a->n_slots - 1)) {
        struct acc_series *s = a->series[a->slots[at] - 1];
        if (s->hash == hash && same_labels(a, s, labels)) {
            *ret = s;
            return EC_OK;
        }
    }
    TRY(series_new(a, labels, hash, &a->series[a->n], err));
    *ret = a->series[a->n];
    a->slots[at] = ++a->n;
    return EC_OK;
}

/* Neumaier's sum: small terms survive next to large ones. */
static void add_sum(struct acc_series *s, uint32_t i, double x)
{
    double sum = isnan(s->v[i]) ? 0 : s->v[i], t = sum + x;
    if (isfinite(t))
        s->comp[i] += fabs(sum) >= fabs(x) ? (sum - t) + x : (x - t) + sum;
    s->v[i] = t;
}

void acc_add(const struct acc *a, struct acc_series *s, uint32_t bucket, double value)
{
    switch (a->kind) {
    case ACC_COUNT:
        s->v[bucket] += 1;
        break;
    case ACC_MIN:
        if (!(s->v[bucket] <= value))
            s->v[bucket] = value;
        break;
    case ACC_MAX:
        if (!(s->v[bucket] >= value))
            s->v[bucket] = value;
        break;
    case ACC_AVG:
        s->count[bucket] += 1;
        add_sum(s, bucket, value);
        break;
    case ACC_SUM:
        add_sum(s, bucket, value);
        break;
    }
}

void acc_add_cell(
    const struct acc *a, struct acc_series *s, uint32_t bucket, const struct acc_cell *cell)
{
    ASSERT(bucket < a->n_buckets);
    switch (a->kind) {
    case ACC_COUNT:
        s->v[bucket] += (double)cell->n;
        break;
    case ACC_AVG:
        s->count[bucket] += (double)cell->n;
        add_sum(s, bucket, cell->v);
        s->comp[bucket] += cell->comp;
        break;
    default:
        if (isnan(cell->v)) /* a sum of opposite infinities */
            break;
        acc_add(a, s, bucket, cell->v);
        if (a->kind == ACC_SUM)
            s->comp[bucket] += cell->comp;
    }
}

enum ec acc_count(struct acc *a, struct acc_series *s, uint32_t bucket, struct err *err)
{
    ASSERT(a->sparse);
    if (s->v == NULL) {
        uint32_t i = 0;
        while (i < s->n_few && s->few_bucket[i] != bucket)
            i++;
        if (i < ACC_FEW) {
            s->few_bucket[i] = bucket;
            s->few_count[i]++;
            s->n_few = MAX(s->n_few, i + 1);
            return EC_OK;
        }
        s->v = ARENA_ARRAY(a->arena, a->n_buckets, double);
        if (s->v == NULL)
            return over_budget(err);
        for (i = 0; i < s->n_few; i++)
            s->v[s->few_bucket[i]] = s->few_count[i];
    }
    s->v[bucket] += 1;
    return EC_OK;
}

enum ec acc_merge(struct acc *into, const struct acc *from, struct err *err)
{
    ASSERT(into->kind == from->kind);
    ASSERT(!into->sparse);
    ASSERT(into->n_buckets == from->n_buckets);
    for (uint32_t k = 0; k < from->n; k++) {
        const struct acc_series *f = from->series[k];
        struct acc_series *s = NULL;
        TRY(acc_series(into, f->labels, &s, err));
        for (uint32_t i = 0; i < into->n_buckets; i++) {
            struct acc_cell cell = {.v = f->v[i], .comp = f->comp == NULL ? 0 : f->comp[i]};
            if (into->kind == ACC_COUNT)
                cell.n = (uint64_t)f->v[i];
            else if (into->kind == ACC_AVG)
                cell.n = (uint64_t)f->count[i];
            else
                cell.n = !isnan(f->v[i]);
            if (cell.n != 0)
                acc_add_cell(into, s, i, &cell);
        }
    }
    return EC_OK;
}

double acc_sample(const struct acc *a, const struct acc_series *s, uint32_t i)
{
    if (s->v == NULL) {
        for (uint32_t k = 0; k < s->n_few; k++)
            if (s->few_bucket[k] == i)
                return s->few_count[k];
        return 0;
    }
    if (a->kind == ACC_AVG)
        return s->count[i] == 0 ? (double)NAN : (s->v[i] + s->comp[i]) / s->count[i];
    if (a->kind == ACC_SUM)
        return s->v[i] + s->comp[i];
    return s->v[i];
}
