/* SPDX-License-Identifier: Apache-2.0
 * Analysis of a validated query: one object per distinct attribute, node numbers, collected
 * conditions (spec traceql.md 4.3), hints, and the properties that planners ask for. Walks the tree
 * once, in query order. */
#include "base/hash.h"
#include "check.h"

#define EXEMPLARS_MAX 100

struct analyzer {
    struct arena *arena;
    struct tql_query *q;
    const struct tql_attr **table; /* open addressing, a power of two, at most half full */
    uint32_t mask;
    bool in_metric, after_select;
    bool has_true; /* a filter that is the literal true */
};

static void walk_pipeline(struct analyzer *a, struct tql_pipeline *p);

/* ---- attributes ---- */
static uint64_t attr_hash(const struct tql_attr *attr)
{
    return hash64_seed(attr->name.p, attr->name.n,
        (uint64_t)attr->intrinsic << 8 | (uint64_t)attr->scope << 1 | attr->parent);
}

/* The shared object for *slot, made of the first occurrence. */
static void use_attr(struct analyzer *a, const struct tql_attr **slot)
{
    struct tql_query *q = a->q;
    uint32_t at = (uint32_t)attr_hash(*slot) & a->mask;
    while (a->table[at] != NULL && !tql_attr_same(a->table[at], *slot))
        at = (at + 1) & a->mask;
    if (a->table[at] == NULL) {
        struct tql_attr *first = (struct tql_attr *)(uintptr_t)*slot; /* the query still owns it */
        first->index = q->n_attrs;
        a->table[at] = first;
        q->attrs[q->n_attrs++] = first;
    }
    *slot = a->table[at];
    struct tql_use *use = &q->uses[(*slot)->index];
    if (a->in_metric)
        use->by_metric = true;
    else if (a->after_select)
        use->after_select = true;
    else
        use->before_select = true;
}

static void add_cond(struct analyzer *a, enum tql_cond_kind kind, const struct tql_attr *attr,
    const struct tql_expr *expr)
{
    if (a->in_metric || a->after_select)
        return;
    a->q->conds[a->q->n_conds++] = (struct tql_cond){.kind = kind, .attr = attr, .expr = expr};
    if (kind == TQL_COND_ANY)
        a->q->uses[attr->index].any = true;
}

/* ---- expressions ---- */
/* What an expression's place asks of an attribute below it. */
enum need {
    NEED_TRUTH, /* is it true: comparisons with literals are conditions */
    NEED_VALUE, /* the value itself: operands, by(), aggregates, below ! */
    NEED_NONE,  /* the condition above was already noted */
};

static void walk_leaf(struct analyzer *a, struct tql_expr *e, enum need need)
{
    use_attr(a, &e->attr);
    e->attr_bound = e->attr->index + 1;
    if (need == NEED_NONE)
        return;
    if (e->kind == TQL_E_SET && need == NEED_TRUTH)
        add_cond(a, TQL_COND_EXPR, e->attr, e);
    else
        add_cond(a, TQL_COND_ANY, e->attr, NULL);
}

static void walk_expr(struct analyzer *a, struct tql_expr *e, enum need need)
{
    e->id = a->q->n_exprs++;
    if (e->kind == TQL_E_ATTR || e->kind == TQL_E_SET) {
        walk_leaf(a, e, need);
        return;
    }
    bool truth = need == NEED_TRUTH, attr = e->lhs != NULL && e->lhs->kind == TQL_E_ATTR;
    bool condition = truth && attr && e->kind == TQL_E_BINARY && tql_op_is_compare(e->op) &&
                     e->rhs->kind == TQL_E_STATIC;
    bool absent = truth && attr && e->kind == TQL_E_ABSENT;
    bool logic = e->kind == TQL_E_BINARY && (e->op == TQL_OP_AND || e->op == TQL_OP_OR);
    enum need below = condition || absent ? NEED_NONE : logic ? need : NEED_VALUE;
    e->attr_bound = 0;
    if (e->lhs != NULL) {
        walk_expr(a, e->lhs, below);
        e->attr_bound = e->lhs->attr_bound;
    }
    if (e->rhs != NULL) {
        walk_expr(a, e->rhs, below);
        e->attr_bound = MAX(e->attr_bound, e->rhs->attr_bound);
    }
    if (condition)
        add_cond(a, TQL_COND_EXPR, e->lhs->attr, e);
    if (absent)
        add_cond(a, TQL_COND_ABSENT, e->lhs->attr, NULL);
}

static bool is_bool(const struct tql_expr *e, bool b)
{
    return e->kind == TQL_E_STATIC && e->value.type == TQL_BOOL && e->value.b == b;
}

/* ---- stages ---- */
static void walk_spanset(struct analyzer *a, struct tql_spanset *ss)
{
    switch (ss->kind) {
    case TQL_SS_FILTER:
        a->has_true |= is_bool(ss->filter, true);
        walk_expr(a, ss->filter, NEED_TRUTH);
        return;
    case TQL_SS_OP:
        a->q->structural |= tql_op_is_structural(ss->op);
        walk_spanset(a, ss->lhs);
        walk_spanset(a, ss->rhs);
        return;
    case TQL_SS_PIPELINE:
        walk_pipeline(a, ss->pipeline);
        return;
    }
}

static void walk_scalar(struct analyzer *a, struct tql_scalar *s)
{
    if (s->pipeline != NULL)
        walk_pipeline(a, s->pipeline);
    if (s->lhs != NULL)
        walk_scalar(a, s->lhs);
    if (s->rhs != NULL)
        walk_scalar(a, s->rhs);
    if (s->arg != NULL)
        walk_expr(a, s->arg, NEED_VALUE);
}

static void walk_stage(struct analyzer *a, struct tql_stage *s)
{
    switch (s->kind) {
    case TQL_STAGE_SPANSET:
        walk_spanset(a, s->spanset);
        return;
    case TQL_STAGE_SCALAR:
        walk_scalar(a, s->lhs);
        walk_scalar(a, s->rhs);
        return;
    case TQL_STAGE_GROUP:
        walk_expr(a, s->expr, NEED_VALUE);
        return;
    case TQL_STAGE_SELECT:
        for (uint32_t i = 0; i < s->n_attrs; i++) {
            use_attr(a, &s->attrs[i]);
            a->q->uses[s->attrs[i]->index].selected = true;
        }
        a->after_select = true;
        return;
    case TQL_STAGE_COALESCE:
        return;
    }
}

static void walk_pipeline(struct analyzer *a, struct tql_pipeline *p)
{
    for (uint32_t i = 0; i < p->n_stages; i++)
        walk_stage(a, &p->stages[i]);
}

static void walk_metric(struct analyzer *a, struct tql_metric *m)
{
    a->in_metric = true;
    if (m->attr != NULL)
        use_attr(a, &m->attr);
    for (uint32_t i = 0; i < m->n_by; i++)
        use_attr(a, &m->by[i]);
    if (m->filter != NULL)
        walk_expr(a, m->filter, NEED_TRUTH);
}

/* ---- properties ---- */
/* Spec 3.4: every filter is false, looking one level into a spanset operation. */
static bool never_matches(const struct tql_pipeline *p)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n_stages; i++) {
        const struct tql_stage *s = &p->stages[i];
        if (s->kind != TQL_STAGE_SPANSET)
            continue;
        const struct tql_spanset *ss = s->spanset;
        n++;
        if (ss->kind == TQL_SS_FILTER && is_bool(ss->filter, false))
            continue;
        if (ss->kind == TQL_SS_OP && ss->lhs->kind == TQL_SS_FILTER &&
            ss->rhs->kind == TQL_SS_FILTER && is_bool(ss->lhs->filter, false) &&
            is_bool(ss->rhs->filter, false))
            continue;
        return false;
    }
    return n > 0;
}

static bool conjunctive_expr(const struct tql_expr *e)
{
    if (e->kind == TQL_E_BINARY && e->op == TQL_OP_AND)
        return conjunctive_expr(e->lhs) && conjunctive_expr(e->rhs);
    return e->kind != TQL_E_UNARY && !(e->kind == TQL_E_BINARY && e->op == TQL_OP_OR);
}

static bool conjunctive(const struct tql_pipeline *p)
{
    for (uint32_t i = 0; i < p->n_stages; i++) {
        const struct tql_stage *s = &p->stages[i];
        if (s->kind == TQL_STAGE_SELECT)
            continue;
        if (s->kind != TQL_STAGE_SPANSET || s->spanset->kind != TQL_SS_FILTER ||
            !conjunctive_expr(s->spanset->filter))
            return false;
    }
    return true;
}

/* Splits query->conds by attribute. */
static bool distribute_conds(struct analyzer *a)
{
    struct tql_query *q = a->q;
    struct tql_cond *sorted = ARENA_ARRAY(a->arena, q->n_conds, struct tql_cond);
    if (sorted == NULL)
        return false;
    for (uint32_t i = 0; i < q->n_conds; i++)
        q->uses[q->conds[i].attr->index].n_conds++;
    uint32_t at = 0;
    for (uint32_t i = 0; i < q->n_attrs; i++) {
        q->uses[i].conds = sorted + at;
        at += q->uses[i].n_conds;
        q->uses[i].n_conds = 0;
    }
    for (uint32_t i = 0; i < q->n_conds; i++) {
        struct tql_use *use = &q->uses[q->conds[i].attr->index];
        sorted[(size_t)(use->conds - sorted) + use->n_conds++] = q->conds[i];
    }
    return true;
}

const struct tql_static *tql_query_hint(
    const struct tql_query *q, const char *name, enum tql_type type)
{
    for (uint32_t i = q->n_hints; i-- > 0;)
        if (str_eqz(q->hints[i].name, name) && q->hints[i].value.type == type)
            return &q->hints[i].value;
    return NULL;
}

static void read_hints(struct tql_query *q)
{
    const struct tql_static *recent = tql_query_hint(q, "most_recent", TQL_BOOL);
    const struct tql_static *count = tql_query_hint(q, "exemplars", TQL_INT);
    const struct tql_static *on = tql_query_hint(q, "exemplars", TQL_BOOL);
    q->most_recent = recent != NULL && recent->b;
    q->has_exemplars = count != NULL || (on != NULL && !on->b);
    if (count != NULL)
        q->exemplars = (uint32_t)MAX(0, MIN(count->i, EXEMPLARS_MAX));
}

enum ec tql_analyze(struct tql_query *q, struct arena *arena, struct err *err)
{
    struct analyzer a = {.arena = arena, .q = q};
    uint32_t slots = 16;
    while (slots < 2 * q->n_attr_refs)
        slots *= 2;
    a.mask = slots - 1;
    a.table = ARENA_ARRAY(arena, slots, const struct tql_attr *);
    q->attrs = ARENA_ARRAY(arena, q->n_attr_refs, const struct tql_attr *);
    q->uses = ARENA_ARRAY(arena, q->n_attr_refs, struct tql_use);
    q->conds = ARENA_ARRAY(arena, q->n_attr_refs, struct tql_cond);
    if (a.table == NULL || q->attrs == NULL || q->uses == NULL || q->conds == NULL)
        return ERR(err, EC_LIMIT, "query: over the memory budget");
    walk_pipeline(&a, q->pipeline);
    if (q->metric != NULL)
        walk_metric(&a, q->metric);
    ASSERT(q->n_conds <= q->n_attr_refs);
    if (!distribute_conds(&a))
        return ERR(err, EC_LIMIT, "query: over the memory budget");
    q->never = never_matches(q->pipeline);
    q->conjunctive = conjunctive(q->pipeline);
    /* Structural operators over {} alone read nothing of a span that hangs nowhere. */
    q->reads_all = q->structural ? a.has_true && q->n_conds != 0 : a.has_true || q->n_conds == 0;
    read_hints(q);
    return EC_OK;
}
