/* SPDX-License-Identifier: Apache-2.0
 * Second stages: topk, bottomk and comparisons on finished series (spec traceql.md 5.5). */
#include <math.h>
#include <stdlib.h>

#include "metrics_finish.h"

struct rank {
    const struct metrics_series *s;
    double value;
    bool top;
};

static struct str label_text(const struct result_attr *a)
{
    return a->value.type == VALUE_STR ? a->value.s : str_n("", 0);
}

static int cmp_labels(const struct metrics_series *a, const struct metrics_series *b)
{
    for (uint32_t i = 0; i < a->n_labels && i < b->n_labels; i++) {
        int d = str_cmp(label_text(&a->labels[i]), label_text(&b->labels[i]));
        if (d != 0)
            return d;
    }
    if (a->n_labels != b->n_labels)
        return a->n_labels < b->n_labels ? -1 : 1;
    return a < b ? -1 : a > b; /* answer order */
}

/* Best first. topk prefers the smaller label of equals, bottomk the larger. */
static int cmp_rank(const void *x, const void *y)
{
    const struct rank *a = x, *b = y;
    if (a->value != b->value)
        return (a->value > b->value) == a->top ? -1 : 1;
    int d = cmp_labels(a->s, b->s);
    return a->top ? d : -d;
}

static bool passes(enum tql_op op, double v, double than)
{
    switch (op) {
    case TQL_OP_EQ:
        return v == than;
    case TQL_OP_NE:
        return v != than;
    case TQL_OP_LT:
        return v < than;
    case TQL_OP_LE:
        return v <= than;
    case TQL_OP_GT:
        return v > than;
    default:
        return v >= than;
    }
}

static void drop_empty(struct series_list *l, uint32_t n_buckets)
{
    size_t n = 0;
    for (size_t k = 0; k < l->n; k++) {
        uint32_t i = 0;
        while (i < n_buckets && isnan(l->p[k].values[i]))
            i++;
        if (i < n_buckets)
            l->p[n++] = l->p[k];
    }
    l->n = n;
}

static enum ec best(const struct tql_second *s, const struct query_ctx *ctx, uint32_t n_buckets,
    struct series_list *l, struct err *err)
{
    if ((uint64_t)s->k >= l->n)
        return EC_OK;
    struct rank *r = ARENA_ARRAY(ctx->arena, l->n, struct rank);
    if (r == NULL)
        return ERR(err, EC_LIMIT, "query is over its memory budget");
    for (uint32_t i = 0; i < n_buckets; i++) {
        size_t n = 0;
        for (size_t k = 0; k < l->n; k++)
            if (!isnan(l->p[k].values[i]))
                r[n++] = (struct rank){&l->p[k], l->p[k].values[i], s->kind == TQL_SECOND_TOPK};
        if (n > 1)
            qsort(r, n, sizeof(*r), cmp_rank);
        for (size_t k = (size_t)s->k; k < n; k++)
            r[k].s->values[i] = NAN;
    }
    return EC_OK;
}

static void compare(const struct tql_second *s, uint32_t n_buckets, struct series_list *l)
{
    for (size_t k = 0; k < l->n; k++) {
        struct metrics_series *m = &l->p[k];
        uint32_t n = 0;
        for (uint32_t i = 0; i < n_buckets; i++)
            if (!isnan(m->values[i]) && !passes(s->op, m->values[i], s->number))
                m->values[i] = NAN;
        for (uint32_t i = 0; i < m->n_exemplars; i++)
            if (!isnan(m->exemplars[i].value) && passes(s->op, m->exemplars[i].value, s->number))
                m->exemplars[n++] = m->exemplars[i];
        m->n_exemplars = n;
    }
}

enum ec second_stages(const struct tql_query *q, const struct query_ctx *ctx, uint32_t n_buckets,
    struct series_list *l, struct err *err)
{
    drop_empty(l, n_buckets);
    for (uint32_t i = 0; i < q->n_second; i++) {
        if (q->second[i].kind == TQL_SECOND_COMPARE)
            compare(&q->second[i], n_buckets, l);
        else
            TRY(best(&q->second[i], ctx, n_buckets, l, err));
        drop_empty(l, n_buckets);
    }
    return EC_OK;
}
