/* SPDX-License-Identifier: Apache-2.0
 * What is known of blocks before their values are read. See values_ahead.h. */
#include "values_ahead.h"

#include "ahead.h"
#include "values_cached.h"

bool values_none(const struct values_request *r, struct part *p)
{
    static const enum part_table of_scope[] = {[TQL_SCOPE_SPAN] = TABLE_SPANS,
        [TQL_SCOPE_RESOURCE] = TABLE_RESOURCES,
        [TQL_SCOPE_EVENT] = TABLE_EVENTS,
        [TQL_SCOPE_LINK] = TABLE_LINKS,
        [TQL_SCOPE_INSTRUMENTATION] = TABLE_SCOPES};
    if (r->attr == NULL || r->attr->intrinsic != TQL_I_NONE)
        return false;
    switch (r->attr->scope) {
    case TQL_SCOPE_SPAN:
    case TQL_SCOPE_RESOURCE:
    case TQL_SCOPE_EVENT:
    case TQL_SCOPE_LINK:
    case TQL_SCOPE_INSTRUMENTATION:
        return !part_may_key(p, of_scope[r->attr->scope], r->attr->name, false);
    default:
        return !part_may_key(p, TABLE_SPANS, r->attr->name, false) &&
               !part_may_key(p, TABLE_RESOURCES, r->attr->name, false) &&
               !part_may_key(p, TABLE_SCOPES, r->attr->name, false);
    }
}

struct asking {
    const struct query_ctx *ctx;
    const struct values_request *req;
};

/* A block's first question, for query_ask_ahead. */
static void ask_values(void *arg, struct part *p)
{
    const struct asking *a = arg;
    struct part_reader *r;
    const struct part_attr *attrs;
    size_t n;
    if (values_none(a->req, p) || part_reader_open(p, a->ctx->budget, &r, NULL) != EC_OK)
        return;
    if (part_attrs(r, &attrs, &n, NULL) != EC_OK) {
        /* who asks next meets it, too */
    }
    part_reader_close(r);
}

void values_ask_ahead(
    const struct query_ctx *ctx, const struct values_request *req, const struct source *sources)
{
    struct asking a = {ctx, req};
    struct part **parts = ARENA_ARRAY(ctx->arena, ctx->n_parts, struct part *);
    size_t n = 0;
    for (size_t i = 0; parts != NULL && i < ctx->n_parts; i++)
        if (sources[i].part != NULL && !values_outside(req, &sources[i].info))
            parts[n++] = sources[i].part;
    query_ask_ahead(ctx, parts, n, ask_values, &a);
}
