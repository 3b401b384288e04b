/* SPDX-License-Identifier: Apache-2.0
 * From the first stages of a pipeline to what a trace needs. */
#include "need.h"

#include "query/lower.h"

static const struct need need_all = {.kind = NEED_ALL};

struct maker {
    const struct tql_query *q;
    struct filters *f;
    struct arena *arena;
    bool after_select;
};

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

const struct need *need_join(
    enum need_kind kind, const struct need *l, const struct need *r, struct arena *arena)
{
    if (l == NULL || r == NULL)
        return NULL;
    if (l->kind == NEED_ALL)
        return kind == NEED_AND ? r : l;
    if (r->kind == NEED_ALL)
        return kind == NEED_AND ? l : r;
    struct need *n = ARENA_NEW(arena, struct need);
    if (n != NULL)
        *n = (struct need){.kind = kind, .l = l, .r = r};
    return n;
}

/* ---- counting, for the room that filters need ---- */

static uint32_t count_pipeline(const struct tql_pipeline *p);

static uint32_t count_spanset(const struct tql_spanset *x)
{
    if (x->kind == TQL_SS_FILTER)
        return 1;
    if (x->kind == TQL_SS_PIPELINE)
        return count_pipeline(x->pipeline);
    return count_spanset(x->lhs) + count_spanset(x->rhs);
}

static uint32_t count_pipeline(const struct tql_pipeline *p)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n_stages; i++)
        if (p->stages[i].kind == TQL_STAGE_SPANSET)
            n += count_spanset(p->stages[i].spanset);
        else
            n += p->stages[i].kind == TQL_STAGE_SCALAR;
    return n;
}

/* ---- making ---- */

static const struct need *make_pipeline(
    struct maker *m, const struct tql_pipeline *p, unsigned depth);

static const struct need *make_filter(struct maker *m, const struct tql_expr *e)
{
    const struct scan_expr *x = lower_shallow(lower_filter(e, m->arena));
    if (x == NULL)
        return NULL;
    if (lower_is_all(x))
        return &need_all;
    struct need *n = ARENA_NEW(m->arena, struct need);
    if (n == NULL)
        return NULL;
    bool exact = !m->after_select && lower_is_exact(m->q, e, m->arena);
    *n = (struct need){.kind = NEED_SPAN, .first = filters_add(m->f, e, x, exact), .n = 1};
    return n;
}

/* The trace needs one span that passes `n` and, `next`, what was added last. */
static const struct need *chain(
    const struct maker *m, const struct need *n, const struct need *next)
{
    if (next == NULL || next->kind == NEED_ALL)
        return next == NULL ? NULL : n;
    if (n->kind == NEED_ALL)
        return next;
    struct need *both = ARENA_NEW(m->arena, struct need);
    if (both == NULL)
        return NULL;
    *both = *n; /* filters of a chain are numbered one after the other */
    both->n++;
    return both;
}

static const struct need *make_scalar(struct maker *m, const struct tql_stage *s)
{
    const struct scan_expr *x = lower_scalar(s, m->arena);
    if (x == NULL || lower_is_all(x))
        return x == NULL ? NULL : &need_all;
    struct need *n = ARENA_NEW(m->arena, struct need);
    if (n != NULL)
        *n = (struct need){.kind = NEED_SPAN, .first = filters_add(m->f, NULL, x, false), .n = 1};
    return n;
}

static const struct need *make_spanset(struct maker *m, const struct tql_spanset *x, unsigned depth)
{
    if (depth > NEED_DEPTH_MAX)
        return &need_all;
    if (x->kind == TQL_SS_FILTER)
        return make_filter(m, x->filter);
    if (x->kind == TQL_SS_PIPELINE)
        return make_pipeline(m, x->pipeline, depth + 1);
    const struct need *l = make_spanset(m, x->lhs, depth + 1);
    const struct need *r = make_spanset(m, x->rhs, depth + 1);
    if (x->op >= TQL_OP_NOT_CHILD && x->op <= TQL_OP_NOT_SIBLING)
        return l == NULL ? NULL : r; /* right spans that are not related to any left one */
    return need_join(x->op == TQL_OP_OR ? NEED_OR : NEED_AND, l, r, m->arena);
}

static const struct need *make_pipeline(
    struct maker *m, const struct tql_pipeline *p, unsigned depth)
{
    const struct tql_stage *s = &p->stages[0];
    if (s->kind != TQL_STAGE_SPANSET)
        return &need_all;
    const struct need *n = make_spanset(m, s->spanset, depth);
    if (n == NULL || s->spanset->kind != TQL_SS_FILTER)
        return n;
    /* Of a chain of filters every one must hold on the span, and spansets that are split or joined
     * have no others. By attributes: computing other keys may be an error. */
    bool split = false;
    for (uint32_t i = 1; i < p->n_stages && n != NULL; i++) {
        s = &p->stages[i];
        m->after_select |= s->kind == TQL_STAGE_SELECT;
        split |= s->kind == TQL_STAGE_COALESCE || s->kind == TQL_STAGE_GROUP;
        if (s->kind == TQL_STAGE_SELECT || s->kind == TQL_STAGE_COALESCE ||
            (s->kind == TQL_STAGE_GROUP && s->expr->kind == TQL_E_ATTR))
            continue;
        if (s->kind == TQL_STAGE_SCALAR)
            return chain(m, n, make_scalar(m, s)); /* what follows may hold on other spans */
        if (s->kind != TQL_STAGE_SPANSET || s->spanset->kind != TQL_SS_FILTER || split)
            break;
        n = chain(m, n, make_filter(m, s->spanset->filter));
    }
    return n;
}

enum ec need_query(const struct tql_query *q, struct filters *f, struct source *sources,
    size_t n_sources, struct arena *arena, const struct need **ret, struct err *err)
{
    TRY(filters_open(f, sources, n_sources, count_pipeline(q->pipeline), q->n_exprs, arena, err));
    struct maker m = {.q = q, .f = f, .arena = arena};
    *ret = make_pipeline(&m, q->pipeline, 0);
    return *ret == NULL ? over_budget(err) : EC_OK;
}

enum ec need_expr(const struct scan_expr *x, struct filters *f, struct source *sources,
    size_t n_sources, struct arena *arena, const struct need **ret, struct err *err)
{
    TRY(filters_open(f, sources, n_sources, 1, 0, arena, err));
    *ret = &need_all;
    if (lower_is_all(x))
        return EC_OK;
    struct need *n = ARENA_NEW(arena, struct need);
    if (n == NULL)
        return over_budget(err);
    *n = (struct need){.kind = NEED_SPAN, .first = filters_add(f, NULL, x, false), .n = 1};
    *ret = n;
    return EC_OK;
}
