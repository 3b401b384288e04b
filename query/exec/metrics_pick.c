/* SPDX-License-Identifier: Apache-2.0
 * Choosing exemplars. */
#include "metrics_pick.h"

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

void picks_init(struct picks *p, const struct grid *g, uint32_t limit, struct arena *a)
{
    *p = (struct picks){
        .arena = a, .start_ns = g->start_ns, .range_ns = g->end_ns - g->start_ns, .limit = limit};
    ASSERT(limit <= METRICS_EXEMPLARS_MAX);
}

void picks_after(struct picks *p, const struct picks *others)
{
    p->n_before = others->n + others->n_before;
    memcpy(p->slices, others->slices, sizeof(p->slices));
}

static uint32_t slice_of(const struct picks *p, uint64_t t)
{
    uint32_t n = MAX(1, p->limit / 2);
    uint64_t at = t < p->start_ns ? 0 : t - p->start_ns;
    double part = p->range_ns == 0 ? 0 : (double)at / (double)p->range_ns * n;
    return part < n - 1 ? (uint32_t)part : n - 1;
}

bool picks_want(const struct picks *p, uint64_t start_ns)
{
    return p->n + p->n_before < p->limit && p->slices[slice_of(p, start_ns)] < 2;
}

bool picks_want_some(const struct picks *p, uint64_t from_ns, uint64_t to_ns)
{
    bool some = false;
    if (p->n + p->n_before >= p->limit)
        return false;
    uint32_t last = slice_of(p, to_ns);
    for (uint32_t i = slice_of(p, from_ns); i <= last; i++)
        some = some || p->slices[i] < 2;
    return some;
}

static bool known(const struct picks *p, const struct trace_id *id)
{
    for (uint32_t i = p->n; i-- > 0;)
        if (trace_id_eq(&p->p[i].id, id))
            return true;
    return false;
}

static enum ec put(struct picks *p, const struct pick *pick, struct err *err)
{
    if (p->p == NULL)
        p->p = ARENA_ARRAY(p->arena, p->limit, struct pick);
    if (p->p == NULL)
        return over_budget(err);
    ASSERT(p->n < p->limit);
    p->p[p->n++] = *pick;
    p->slices[slice_of(p, pick->start_ns)]++;
    return EC_OK;
}

static enum ec labels_of(
    struct picks *p, struct eval *ev, uint32_t row, struct pick *pick, struct err *err)
{
    const struct tql_query *q = ev->q;
    pick->labels = ARENA_ARRAY(p->arena, q->n_attrs + 1, struct result_attr);
    char hex[32];
    struct str id = arena_str(p->arena, str_n(hex, trace_id_short_hex(hex, &pick->id)));
    if (pick->labels == NULL || id.p == NULL)
        return over_budget(err);
    for (uint32_t i = 0; i < q->n_attrs; i++) {
        struct qval v;
        if (q->attrs[i]->intrinsic == TQL_I_TRACE_ID)
            continue;
        TRY(eval_attr_shown(ev, q->attrs[i], row, true, &v, err));
        if (!qval_has(&v))
            continue;
        if (!qval_result(&v, p->arena, &pick->labels[pick->n_labels].value))
            return over_budget(err);
        pick->labels[pick->n_labels++].key = q->attrs[i]->text;
    }
    pick->labels[pick->n_labels++] =
        (struct result_attr){STR("trace:id"), {.type = VALUE_STR, .s = id}};
    return EC_OK;
}

static enum ec copy_key(
    struct picks *p, const struct qval *key, uint32_t n, struct pick *pick, struct err *err)
{
    struct qval *own = ARENA_ARRAY(p->arena, n, struct qval);
    if (own == NULL)
        return over_budget(err);
    for (uint32_t i = 0; i < n; i++) {
        own[i] = key[i];
        if (own[i].kind != QV_STRING && own[i].kind != QV_ARRAY)
            continue;
        own[i].s = arena_str(p->arena, own[i].s);
        if (own[i].s.p == NULL)
            return over_budget(err);
    }
    pick->key = own;
    pick->n_key = n;
    return EC_OK;
}

enum ec picks_add(struct picks *p, struct eval *ev, const struct trace_id *id, uint32_t row,
    uint64_t start_ns, const struct qval *key, uint32_t n_key, double value, struct err *err)
{
    struct pick pick = {.id = *id, .start_ns = start_ns, .value = value};
    if (known(p, id))
        return EC_OK;
    TRY(copy_key(p, key, n_key, &pick, err));
    TRY(labels_of(p, ev, row, &pick, err));
    return put(p, &pick, err);
}

static enum ec copy_labels(
    struct picks *p, const struct pick *from, struct pick *pick, struct err *err)
{
    pick->labels = ARENA_ARRAY(p->arena, from->n_labels, struct result_attr);
    if (pick->labels == NULL)
        return over_budget(err);
    for (uint32_t i = 0; i < from->n_labels; i++) {
        struct value *v = &pick->labels[i].value;
        pick->labels[i] = from->labels[i];
        if (v->type != VALUE_STR && v->type != VALUE_ARRAY)
            continue;
        v->s = arena_str(p->arena, v->s);
        if (v->s.p == NULL)
            return over_budget(err);
    }
    return EC_OK;
}

enum ec picks_merge(struct picks *p, const struct picks *from, struct err *err)
{
    for (uint32_t i = 0; i < from->n; i++) {
        struct pick pick = from->p[i];
        if (!picks_want(p, pick.start_ns) || known(p, &pick.id))
            continue;
        TRY(copy_key(p, from->p[i].key, pick.n_key, &pick, err));
        TRY(copy_labels(p, &from->p[i], &pick, err));
        TRY(put(p, &pick, err));
    }
    return EC_OK;
}
