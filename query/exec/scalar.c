/* SPDX-License-Identifier: Apache-2.0
 * Aggregates and arithmetic over them (spec traceql.md 4.7). */
#include "spanset.h"

uint32_t scalar_aggregates(const struct tql_scalar *s)
{
    if (s == NULL)
        return 0;
    return (s->kind == TQL_SC_AGGREGATE) + scalar_aggregates(s->lhs) + scalar_aggregates(s->rhs);
}

struct fold {
    struct qval first, best; /* first fixes the type of the sum; best is the least or greatest */
    int64_t sum_i;
    double sum_f;
    uint64_t n;
};

/* Values of another type than the first are counted but not added. */
static void fold_add(struct fold *f, enum tql_agg agg, const struct qval *v)
{
    if (f->n++ == 0)
        f->first = f->best = *v;
    if (agg == TQL_AGG_MIN || agg == TQL_AGG_MAX) {
        bool ordered;
        int c = qval_cmp_num(v, &f->best, &ordered);
        if (ordered && (agg == TQL_AGG_MIN ? c < 0 : c > 0))
            f->best = *v;
        return;
    }
    if (v->kind != f->first.kind)
        return;
    if (v->kind == QV_FLOAT)
        f->sum_f += v->f;
    else
        f->sum_i = (int64_t)((uint64_t)f->sum_i + (uint64_t)v->i);
}

static struct qval fold_end(const struct fold *f, enum tql_agg agg)
{
    struct qval v = f->best;
    if (agg == TQL_AGG_MIN || agg == TQL_AGG_MAX)
        return v;
    v = f->first;
    if (v.kind == QV_FLOAT)
        v.f = agg == TQL_AGG_SUM ? f->sum_f : f->sum_f / (double)f->n;
    else if (agg == TQL_AGG_SUM)
        v.i = f->sum_i;
    else if (v.kind == QV_DURATION)
        v.i = f->sum_i / (int64_t)f->n;
    else
        v = (struct qval){.kind = QV_FLOAT, .f = (double)f->sum_i / (double)f->n};
    return v;
}

static bool is_duration(const struct tql_expr *e)
{
    return e->kind == TQL_E_ATTR && e->attr->intrinsic == TQL_I_DURATION && !e->attr->parent;
}

/* Of the durations of spans: read as a column, not one by one. */
static enum ec fold_durations(
    struct eval *ev, enum tql_agg agg, const struct sset *in, struct qval *ret, struct err *err)
{
    uint64_t *ns = arena_alloc(ev->trace->scratch, in->n * sizeof(*ns));
    if (ns == NULL)
        return ERR(err, EC_LIMIT, "query is over its memory budget");
    TRY(qtrace_numbers(ev->trace, COL_SPAN_DURATION, in->rows, in->n, ns, err));
    uint64_t sum = 0, min = UINT64_MAX, max = 0;
    for (uint32_t i = 0; i < in->n; i++) {
        uint64_t v = ns[i] > (uint64_t)INT64_MAX ? 0 : ns[i]; /* the end is before the start */
        sum += v;
        min = MIN(min, v);
        max = MAX(max, v);
    }
    ret->kind = QV_DURATION;
    ret->i = agg == TQL_AGG_MIN   ? (int64_t)min
             : agg == TQL_AGG_MAX ? (int64_t)max
             : agg == TQL_AGG_SUM ? (int64_t)sum
                                  : (int64_t)sum / (int64_t)in->n;
    return EC_OK;
}

static enum ec aggregate(struct eval *ev, const struct tql_scalar *s, const struct sset *in,
    struct qval *ret, bool *ret_has, struct err *err)
{
    *ret_has = true;
    if (s->agg == TQL_AGG_COUNT) {
        *ret = qval_int(in->n);
        return EC_OK;
    }
    if (is_duration(s->arg)) {
        *ret_has = in->n != 0;
        return in->n == 0 ? EC_OK : fold_durations(ev, s->agg, in, ret, err);
    }
    struct fold f = {0};
    for (uint32_t i = 0; i < in->n; i++) {
        struct qval v;
        TRY(eval_expr(ev, s->arg, in->rows[i], &v, err));
        if (qval_numeric(&v))
            fold_add(&f, s->agg, &v);
    }
    *ret_has = f.n != 0;
    if (f.n != 0)
        *ret = fold_end(&f, s->agg);
    return EC_OK;
}

enum ec scalar_eval(struct eval *ev, const struct tql_scalar *s, const struct sset *in,
    struct qval *ret, bool *ret_has, struct sset_attr *attrs, uint32_t *n_attrs, struct err *err)
{
    struct qval l, r;
    *ret_has = true;
    switch (s->kind) {
    case TQL_SC_STATIC:
        *ret = qval_of_static(&s->value);
        return EC_OK;
    case TQL_SC_AGGREGATE:
        TRY(aggregate(ev, s, in, ret, ret_has, err));
        if (*ret_has)
            attrs[(*n_attrs)++] = (struct sset_attr){.key = s->text, .value = *ret};
        return EC_OK;
    case TQL_SC_PIPELINE: {
        struct sset one = *in;
        struct sset_list out;
        TRY(pipeline_stages(ev, s->pipeline, (struct sset_list){&one, 1}, &out, err));
        one.n = 0;
        for (uint32_t i = 0; i < out.n; i++) {
            if (i == 0)
                one = out.p[0];
            else
                TRY(sset_union(ev, &out.p[i], &one, &one, err));
        }
        return scalar_eval(ev, s->lhs, &one, ret, ret_has, attrs, n_attrs, err);
    }
    default:
        TRY(scalar_eval(ev, s->lhs, in, &l, ret_has, attrs, n_attrs, err));
        if (!*ret_has)
            return EC_OK;
        TRY(scalar_eval(ev, s->rhs, in, &r, ret_has, attrs, n_attrs, err));
        if (*ret_has && !qval_arith(s->op, &l, &r, ret))
            return ERR(err, EC_INTERNAL, "unsupported operation");
        return EC_OK;
    }
}
