/* SPDX-License-Identifier: Apache-2.0
 * Spanset expressions and pipeline stages. */
#include "spanset.h"

#include <stdlib.h>

#include "filters.h"

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

/* Of all rows of a trace that lie one after the other: ret->rows has room for them. */
static enum ec filter_whole(
    struct eval *ev, const struct tql_expr *e, uint32_t filter, struct sset *ret, struct err *err)
{
    const struct qtrace *t = ev->trace;
    ret->n = 0;
    for (uint32_t i = 0, end; i < t->n; i = end) {
        const struct qrow *r = &t->rows[i];
        const struct filter_bits *b;
        end = qtrace_run(t, i);
        TRY(filters_group(ev->filters, r->src, filter, r->g, &b, err));
        uint32_t to = r->off + end - i, at = scan_bits_next(&b->bits, r->off);
        for (; at < to; at = scan_bits_next(&b->bits, at + 1)) {
            uint32_t row = i + at - r->off;
            bool pass = true;
            if (!b->exact)
                TRY(eval_filter(ev, e, row, &pass, err));
            ret->rows[ret->n] = row;
            ret->n += pass;
        }
    }
    return EC_OK;
}

static enum ec filter_eval(struct eval *ev, const struct tql_expr *e, const struct sset *in,
    struct sset *ret, struct err *err)
{
    *ret = *in;
    if (e->kind == TQL_E_STATIC) {
        if (e->value.type != TQL_BOOL || !e->value.b)
            ret->n = 0;
        return EC_OK;
    }
    uint32_t *rows = arena_alloc(ev->trace->scratch, in->n * sizeof(uint32_t)), n = 0;
    uint32_t filter = filters_find(ev->filters, e);
    if (rows != NULL && filter != PART_NONE && in->n == ev->trace->n && ev->trace->adjacent &&
        in->rows == ev->trace->all) {
        ret->rows = rows;
        return filter_whole(ev, e, filter, ret, err);
    }
    const struct filter_bits *b = NULL;
    const struct qrow *last = NULL;
    if (rows == NULL)
        return over_budget(err);
    for (uint32_t i = 0; i < in->n; i++) {
        const struct qrow *r = &ev->trace->rows[in->rows[i]];
        bool pass = true;
        if (filter != PART_NONE && (last == NULL || r->g != last->g || r->src != last->src))
            TRY(filters_group(ev->filters, r->src, filter, r->g, &b, err));
        last = r;
        if (b != NULL)
            pass = scan_bits_get(&b->bits, r->off);
        if (pass && (b == NULL || !b->exact))
            TRY(eval_filter(ev, e, in->rows[i], &pass, err));
        rows[n] = in->rows[i];
        n += pass;
    }
    ret->rows = rows;
    ret->n = n;
    return EC_OK;
}

enum ec sset_union(
    struct eval *ev, const struct sset *l, const struct sset *r, struct sset *ret, struct err *err)
{
    struct qtrace *t = ev->trace;
    const struct sset *first = l->n < r->n ? l : r, *second = first == l ? r : l;
    uint32_t *rows = ARENA_ARRAY(t->scratch, (size_t)l->n + r->n, uint32_t), n = first->n;
    bool *seen = ARENA_ARRAY(t->scratch, t->n, bool);
    if (rows == NULL || seen == NULL)
        return over_budget(err);
    for (uint32_t i = 0; i < first->n; i++) {
        rows[i] = first->rows[i];
        seen[rows[i]] = true;
    }
    for (uint32_t i = 0; i < second->n; i++)
        if (!seen[second->rows[i]])
            rows[n++] = second->rows[i];
    *ret = *r;
    ret->rows = rows;
    ret->n = n;
    return EC_OK;
}

/* A pipeline as operand: its spansets as one. More than one cannot be related structurally. */
static enum ec sub_pipeline(struct eval *ev, const struct tql_spanset *x, const struct sset *in,
    bool structural, struct sset *ret, struct err *err)
{
    struct sset one = *in;
    struct sset_list out;
    TRY(pipeline_stages(ev, x->pipeline, (struct sset_list){&one, 1}, &out, err));
    if (out.n > 1 && structural)
        return ERR(err, EC_INTERNAL,
            "structural operators take one spanset a side, got %u: use coalesce() before", out.n);
    *ret = *in;
    ret->n = 0;
    for (uint32_t i = 0; i < out.n; i++) {
        if (i == 0)
            *ret = out.p[0];
        else
            TRY(sset_union(ev, &out.p[i], ret, ret, err));
    }
    return EC_OK;
}

static enum ec operand(struct eval *ev, const struct tql_spanset *x, const struct sset *in,
    bool structural, struct sset *ret, struct err *err)
{
    if (x->kind == TQL_SS_PIPELINE)
        return sub_pipeline(ev, x, in, structural, ret, err);
    return spanset_eval(ev, x, in, ret, err);
}

enum ec spanset_eval(struct eval *ev, const struct tql_spanset *x, const struct sset *in,
    struct sset *ret, struct err *err)
{
    struct sset l, r;
    if (x->kind == TQL_SS_FILTER)
        return filter_eval(ev, x->filter, in, ret, err);
    if (x->kind == TQL_SS_PIPELINE)
        return sub_pipeline(ev, x, in, false, ret, err);
    bool structural = tql_op_is_structural(x->op);
    TRY(operand(ev, x->lhs, in, structural, &l, err));
    TRY(operand(ev, x->rhs, in, structural, &r, err));
    if (structural) {
        TRY(structural_eval(ev, x->op, &l, &r, ret, err));
    } else if (x->op == TQL_OP_AND && (l.n == 0 || r.n == 0)) {
        *ret = *in;
        ret->n = 0;
        return EC_OK;
    } else {
        TRY(sset_union(ev, &l, &r, ret, err));
    }
    ret->attrs = in->attrs;
    ret->n_attrs = in->n_attrs;
    return EC_OK;
}

/* ---- stages ---- */

static enum ec add_attr(
    struct eval *ev, struct sset *s, const struct sset_attr *add, uint32_t n, struct err *err)
{
    struct sset_attr *attrs = ARENA_ARRAY(ev->trace->scratch, s->n_attrs + n, struct sset_attr);
    if (attrs == NULL)
        return over_budget(err);
    if (s->n_attrs != 0)
        memcpy(attrs, s->attrs, s->n_attrs * sizeof(*attrs));
    if (n != 0)
        memcpy(attrs + s->n_attrs, add, n * sizeof(*attrs));
    s->attrs = attrs;
    s->n_attrs += n;
    return EC_OK;
}

/* TQL_SC_PIPELINE operands replace the spans by those of their sub-pipelines. */
static enum ec scalar_spans(struct eval *ev, const struct tql_scalar *s, const struct sset *in,
    struct sset *acc, bool *any, struct err *err)
{
    if (s->kind == TQL_SC_ARITH) {
        TRY(scalar_spans(ev, s->lhs, in, acc, any, err));
        return scalar_spans(ev, s->rhs, in, acc, any, err);
    }
    if (s->kind != TQL_SC_PIPELINE)
        return EC_OK;
    struct tql_spanset x = {.kind = TQL_SS_PIPELINE, .pipeline = s->pipeline};
    struct sset out;
    TRY(sub_pipeline(ev, &x, in, false, &out, err));
    if (*any)
        TRY(sset_union(ev, acc, &out, acc, err));
    else
        *acc = out;
    *any = true;
    return EC_OK;
}

static enum ec scalar_stage(struct eval *ev, const struct tql_stage *st, const struct sset *in,
    struct sset *ret, struct err *err)
{
    uint32_t n_attrs = 0, n_max = scalar_aggregates(st->lhs) + scalar_aggregates(st->rhs);
    struct sset_attr *attrs = arena_alloc(ev->trace->scratch, n_max * sizeof(*attrs));
    struct qval l, r;
    bool has_l, has_r, wrapped = false;
    if (attrs == NULL)
        return over_budget(err);
    *ret = *in;
    TRY(scalar_eval(ev, st->lhs, in, &l, &has_l, attrs, &n_attrs, err));
    TRY(scalar_eval(ev, st->rhs, in, &r, &has_r, attrs, &n_attrs, err));
    if (!has_l || !has_r || !qval_numeric(&l) || !qval_numeric(&r) ||
        !qval_compare(st->op, &l, &r)) {
        ret->n = 0;
        return EC_OK;
    }
    TRY(scalar_spans(ev, st->lhs, in, ret, &wrapped, err));
    TRY(scalar_spans(ev, st->rhs, in, ret, &wrapped, err));
    return add_attr(ev, ret, attrs, n_attrs, err);
}

static enum ec coalesce_stage(
    struct eval *ev, struct sset_list in, struct sset *ret, struct err *err)
{
    struct qtrace *t = ev->trace;
    bool *seen = ARENA_ARRAY(t->scratch, t->n, bool);
    uint32_t *rows = ARENA_ARRAY(t->scratch, t->n, uint32_t), n = 0;
    if (seen == NULL || rows == NULL)
        return over_budget(err);
    for (uint32_t k = 0; k < in.n; k++) {
        for (uint32_t i = 0; i < in.p[k].n; i++) {
            uint32_t row = in.p[k].rows[i];
            if (!seen[row])
                rows[n++] = row;
            seen[row] = true;
        }
    }
    *ret = (struct sset){.rows = rows, .n = n};
    return EC_OK;
}

static enum ec run_stage(struct eval *ev, const struct tql_stage *st, struct sset_list in,
    struct sset_list *ret, struct err *err)
{
    size_t n_max = in.n;
    if (st->kind == TQL_STAGE_SELECT) {
        *ret = in;
        return EC_OK;
    }
    for (uint32_t i = 0; i < in.n && st->kind == TQL_STAGE_GROUP; i++)
        n_max += in.p[i].n;
    struct sset *out = arena_alloc(ev->trace->scratch, n_max * sizeof(*out));
    uint32_t n = 0;
    if (out == NULL)
        return over_budget(err);
    if (st->kind == TQL_STAGE_COALESCE) {
        TRY(coalesce_stage(ev, in, &out[0], err));
        *ret = (struct sset_list){out, out[0].n != 0};
        return EC_OK;
    }
    for (uint32_t i = 0; i < in.n; i++) {
        uint32_t added = 1;
        if (st->kind == TQL_STAGE_SPANSET) {
            if (in.n > 1 && st->spanset->kind == TQL_SS_OP && tql_op_is_structural(st->spanset->op))
                return ERR(err, EC_INTERNAL,
                    "structural operators take one spanset a side, got %u: use coalesce() before",
                    in.n);
            TRY(spanset_eval(ev, st->spanset, &in.p[i], &out[n], err));
        } else if (st->kind == TQL_STAGE_SCALAR) {
            TRY(scalar_stage(ev, st, &in.p[i], &out[n], err));
        } else {
            TRY(group_stage(ev, st, &in.p[i], &out[n], &added, err));
        }
        n += st->kind == TQL_STAGE_GROUP ? added : out[n].n != 0;
    }
    *ret = (struct sset_list){out, n};
    return EC_OK;
}

enum ec pipeline_stages(struct eval *ev, const struct tql_pipeline *p, struct sset_list in,
    struct sset_list *ret, struct err *err)
{
    for (uint32_t i = 0; i < p->n_stages && in.n != 0; i++)
        TRY(run_stage(ev, &p->stages[i], in, &in, err));
    *ret = in;
    return EC_OK;
}

/* ---- which spans take part ---- */

/* A span takes part only when a condition gives it a value (spec 4.3). It matters when the first
 * stage is not a filter: filters decide by themselves. */
static enum ec takes_part(struct eval *ev, uint32_t row, bool *ret, struct err *err)
{
    const struct tql_query *q = ev->q;
    *ret = false;
    for (uint32_t i = 0; i < q->n_conds && !*ret; i++) {
        struct qval v;
        if (q->conds[i].kind == TQL_COND_ABSENT) {
            TRY(eval_absent(ev, q->conds[i].attr, row, ret, err));
            continue;
        }
        TRY(eval_attr_shown(ev, q->conds[i].attr, row, false, &v, err)); /* any event or link */
        *ret = v.kind != QV_NIL;
    }
    return EC_OK;
}

static bool only_match_all(const struct tql_spanset *x)
{
    if (x->kind == TQL_SS_OP)
        return only_match_all(x->lhs) && only_match_all(x->rhs);
    return x->kind == TQL_SS_FILTER && x->filter->kind == TQL_E_STATIC;
}

enum ec pipeline_run(struct eval *ev, struct sset_list *ret, struct err *err)
{
    struct qtrace *t = ev->trace;
    const struct tql_stage *first = &ev->q->pipeline->stages[0];
    bool connected =
        first->kind == TQL_STAGE_SPANSET && ev->q->structural && only_match_all(first->spanset);
    bool judged = first->kind != TQL_STAGE_SPANSET && !ev->q->reads_all && ev->q->n_conds != 0;
    struct sset *all = ARENA_NEW(t->scratch, struct sset);
    uint32_t *rows = arena_alloc(t->scratch, t->n * sizeof(*rows));
    if (all == NULL || rows == NULL)
        return over_budget(err);
    if (connected) /* {} operands alone never read a span that hangs nowhere */
        TRY(qtrace_load_nest(t, err));
    all->rows = rows;
    if (!connected && !judged) {
        for (uint32_t i = 0; i < t->n; i++)
            rows[i] = i;
        all->n = t->n;
        t->all = rows;
    }
    for (uint32_t i = all->n; i < t->n; i++) {
        bool in = !connected || t->nest[i].left != 0;
        if (in && judged)
            TRY(takes_part(ev, i, &in, err));
        if (in)
            rows[all->n++] = i;
    }
    *ret = (struct sset_list){NULL, 0};
    if (all->n == 0)
        return EC_OK;
    return pipeline_stages(ev, ev->q->pipeline, (struct sset_list){all, 1}, ret, err);
}
