/* SPDX-License-Identifier: Apache-2.0
 * When the lowered form of a filter says exactly what the filter says.
 *
 * Assumes what only storage can tell, group by group (scan_single): no key has two values on a row,
 * and none is an array. Then "some value matches", which is what a scan asks, and "the value
 * matches" are the same. Everything here errs towards false. */
#include "query/lower.h"

static bool is_multi(const struct tql_attr *attr)
{
    return attr->scope == TQL_SCOPE_EVENT || attr->scope == TQL_SCOPE_LINK ||
           attr->intrinsic == TQL_I_EVENT_NAME || attr->intrinsic == TQL_I_EVENT_TIME_SINCE_START ||
           attr->intrinsic == TQL_I_LINK_TRACE_ID || attr->intrinsic == TQL_I_LINK_SPAN_ID;
}

/* service.name reads as "" where a resource has none. */
static bool may_read_service(const struct tql_attr *attr)
{
    return (attr->scope == TQL_SCOPE_RESOURCE || attr->scope == TQL_SCOPE_NONE) &&
           str_eq(attr->name, STR("service.name"));
}

static bool is_order(enum tql_op op)
{
    return op >= TQL_OP_LT && op <= TQL_OP_GE;
}

/* One literal of `attr op literal`. */
static bool literal_exact(const struct tql_attr *attr, enum tql_op op, const struct tql_static *v)
{
    switch (attr->intrinsic) {
    case TQL_I_NONE:
        if (may_read_service(attr))
            return v->type == TQL_STRING && !is_order(op);
        return v->type == TQL_STRING || v->type == TQL_BOOL || v->type == TQL_INT ||
               v->type == TQL_FLOAT;
    case TQL_I_DURATION:
        return (v->type == TQL_DURATION || v->type == TQL_INT) && v->i >= 0;
    case TQL_I_STATUS:
        return v->type == TQL_STATUS && !is_order(op);
    case TQL_I_KIND:
        return v->type == TQL_KIND && !is_order(op);
    case TQL_I_NAME:
    case TQL_I_STATUS_MESSAGE:
    case TQL_I_EVENT_NAME:
    case TQL_I_INSTRUMENTATION_NAME:
    case TQL_I_INSTRUMENTATION_VERSION:
        return v->type == TQL_STRING;
    default:
        return false;
    }
}

static bool leaf_exact(const struct tql_expr *e, struct arena *a)
{
    bool set = e->kind == TQL_E_SET;
    const struct tql_attr *attr = set ? e->attr : e->lhs->attr;
    if (attr->parent)
        return false;
    for (uint32_t i = 0; i < (set ? e->n_values : 1); i++)
        if (!literal_exact(attr, e->op, set ? &e->values[i] : &e->rhs->value))
            return false;
    const struct scan_expr *x = lower_filter(e, a);
    return x != NULL && !lower_is_all(x); /* all: storage cannot say it */
}

static bool stored_attr(const struct tql_attr *attr)
{
    return attr->intrinsic == TQL_I_NONE && !attr->parent;
}

static bool exact(const struct tql_expr *e, struct arena *a)
{
    switch (e->kind) {
    case TQL_E_STATIC:
        return e->value.type == TQL_BOOL;
    case TQL_E_ATTR: /* of several events the first value counts, not any */
        return stored_attr(e->attr) && !is_multi(e->attr);
    case TQL_E_EXISTS:
        return e->lhs->kind == TQL_E_ATTR && stored_attr(e->lhs->attr);
    case TQL_E_ABSENT:
        return e->lhs->kind == TQL_E_ATTR && stored_attr(e->lhs->attr) &&
               !may_read_service(e->lhs->attr);
    case TQL_E_SET:
        return leaf_exact(e, a);
    case TQL_E_BINARY:
        break;
    default:
        return false;
    }
    if (e->op == TQL_OP_AND || e->op == TQL_OP_OR)
        return exact(e->lhs, a) && exact(e->rhs, a);
    return tql_op_is_compare(e->op) && e->lhs->kind == TQL_E_ATTR && e->rhs->kind == TQL_E_STATIC &&
           leaf_exact(e, a);
}

/* Conditions on events, and on links. */
static void count_multi(const struct tql_expr *e, uint32_t *events, uint32_t *links)
{
    if (e == NULL)
        return;
    count_multi(e->lhs, events, links);
    count_multi(e->rhs, events, links);
    if ((e->kind == TQL_E_ATTR || e->kind == TQL_E_SET) && is_multi(e->attr)) {
        bool link = e->attr->scope == TQL_SCOPE_LINK || e->attr->intrinsic == TQL_I_LINK_TRACE_ID ||
                    e->attr->intrinsic == TQL_I_LINK_SPAN_ID;
        ++*(link ? links : events);
    }
}

bool lower_is_exact(const struct tql_query *q, const struct tql_expr *e, struct arena *a)
{
    uint32_t events = 0, links = 0;
    /* In a conjunctive query all conditions on events hold on one event, those of other filters of
     * the pipeline too; a scan asks for each alone. */
    bool found = false;
    for (uint32_t i = 0; i < q->pipeline->n_stages && q->conjunctive; i++) {
        if (q->pipeline->stages[i].kind != TQL_STAGE_SPANSET)
            continue;
        const struct tql_expr *filter = q->pipeline->stages[i].spanset->filter;
        count_multi(filter, &events, &links);
        found = found || filter == e;
    }
    if (lower_nothing || (found && (events > 1 || links > 1)))
        return false;
    return exact(e, a);
}
