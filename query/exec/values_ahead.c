/* SPDX-License-Identifier: Apache-2.0
 * What is known of blocks before their values are read. See values_ahead.h. */
#include "values_ahead.h"

#include "ahead.h"
#include "base/hash.h"
#include "values_cached.h"

/* TABLE_COUNT: spans, resources and scopes. */
static enum part_table table_of(enum tql_scope scope)
{
    switch (scope) {
    case TQL_SCOPE_SPAN:
        return TABLE_SPANS;
    case TQL_SCOPE_RESOURCE:
        return TABLE_RESOURCES;
    case TQL_SCOPE_EVENT:
        return TABLE_EVENTS;
    case TQL_SCOPE_LINK:
        return TABLE_LINKS;
    case TQL_SCOPE_INSTRUMENTATION:
        return TABLE_SCOPES;
    default:
        return TABLE_COUNT;
    }
}

bool values_none(const struct values_request *r, struct part *p)
{
    if (r->attr == NULL || r->attr->intrinsic != TQL_I_NONE)
        return false;
    if (table_of(r->attr->scope) != TABLE_COUNT)
        return !part_may_key(p, table_of(r->attr->scope), r->attr->name, false);
    return !part_may_key(p, TABLE_SPANS, r->attr->name, false) &&
           !part_may_key(p, TABLE_RESOURCES, r->attr->name, false) &&
           !part_may_key(p, TABLE_SCOPES, r->attr->name, false);
}

void values_lists_init(
    struct values_lists *l, const struct values_request *req, size_t n, struct arena *arena)
{
    size_t cap = 16;
    while (cap < n * 2)
        cap *= 2;
    *l = (struct values_lists){.req = req, .mask = (uint32_t)cap - 1};
    if (req->filter == NULL && n > 1)
        l->seen = ARENA_ARRAY(arena, cap, uint64_t);
}

/* Has the part the key in that table, where `names` is the hash of its keys there? One part is
 * asked for all that have the same. */
static bool table_has(struct values_lists *l, struct part *p, enum part_table t, uint64_t names)
{
    for (uint32_t i = 0; i < l->n_names; i++)
        if (l->names[i].names == names && l->names[i].table == t)
            return l->names[i].has;
    struct str key = l->req->attr == NULL ? l->req->v1_name : l->req->attr->name;
    bool has = part_may_key(p, t, key, false);
    if (l->n_names < VALUES_NAMES_MAX) {
        l->names[l->n_names].names = names;
        l->names[l->n_names].table = t;
        l->names[l->n_names++].has = has;
    }
    return has;
}

#define NO_VALUES 1u /* hash of the values of an attribute that is not there */

/* False: the values are not known to be strings, or their hash is not. */
static bool list_add(struct values_lists *l, struct part *p, const uint64_t names[TABLE_COUNT],
    enum part_table t, col_id col, uint64_t *hash, bool *any)
{
    struct str key = l->req->attr == NULL ? l->req->v1_name : l->req->attr->name;
    uint64_t list = NO_VALUES;
    if (part_strings(p, t, col != 0 ? str_n(NULL, 0) : key, col, &list)) {
        if (list == 0)
            return false;
        *any = true;
    } else if (col != 0 || table_has(l, p, t, names[t])) {
        return false;
    }
    *hash = hash_mix(*hash ^ list) + 1;
    return true;
}

static bool list_of(struct values_lists *l, struct part *p, uint64_t *hash, bool *any)
{
    const struct values_request *r = l->req;
    uint64_t names[TABLE_COUNT];
    *hash = 0;
    *any = false;
    if (!part_names(p, names))
        return false;
    if (r->attr == NULL && str_eq(r->v1_name, STR("name")) &&
        !list_add(l, p, names, TABLE_SPANS, COL_SPAN_NAME, hash, any))
        return false;
    switch (r->attr == NULL ? TQL_I_NONE : r->attr->intrinsic) {
    case TQL_I_NONE:
        break;
    case TQL_I_NAME:
        return list_add(l, p, names, TABLE_SPANS, COL_SPAN_NAME, hash, any);
    case TQL_I_STATUS_MESSAGE:
        return list_add(l, p, names, TABLE_SPANS, COL_SPAN_STATUS_MESSAGE, hash, any);
    case TQL_I_EVENT_NAME:
        return list_add(l, p, names, TABLE_EVENTS, COL_EVENT_NAME, hash, any);
    case TQL_I_INSTRUMENTATION_NAME:
        return list_add(l, p, names, TABLE_SCOPES, COL_SCOPE_NAME, hash, any);
    case TQL_I_INSTRUMENTATION_VERSION:
        return list_add(l, p, names, TABLE_SCOPES, COL_SCOPE_VERSION, hash, any);
    default:
        return false;
    }
    enum tql_scope scope = r->attr == NULL ? TQL_SCOPE_NONE : r->attr->scope;
    if (table_of(scope) != TABLE_COUNT)
        return list_add(l, p, names, table_of(scope), 0, hash, any);
    return list_add(l, p, names, TABLE_SPANS, 0, hash, any) &&
           list_add(l, p, names, TABLE_RESOURCES, 0, hash, any) &&
           list_add(l, p, names, TABLE_SCOPES, 0, hash, any);
}

bool values_list_seen(
    struct values_lists *l, struct part *p, uint64_t **ret_slot, uint64_t *ret_hash)
{
    bool any;
    *ret_slot = NULL;
    if (l->seen == NULL || !list_of(l, p, ret_hash, &any))
        return false;
    if (!any)
        return true;
    *ret_hash |= 1;
    uint32_t at = (uint32_t)(*ret_hash >> 1) & l->mask;
    while (l->seen[at] != 0 && l->seen[at] != *ret_hash)
        at = (at + 1) & l->mask;
    *ret_slot = &l->seen[at];
    return l->seen[at] != 0;
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
    struct values_lists lists;
    values_lists_init(&lists, req, ctx->n_parts, ctx->arena);
    for (size_t i = 0; parts != NULL && i < ctx->n_parts; i++) {
        uint64_t *slot = NULL, hash = 0;
        if (sources[i].part == NULL || values_outside(req, &sources[i].info) ||
            (part_known(sources[i].part) &&
                values_list_seen(&lists, sources[i].part, &slot, &hash)))
            continue;
        if (slot != NULL)
            *slot = hash;
        parts[n++] = sources[i].part;
    }
    query_ask_ahead(ctx, parts, n, ask_values, &a);
}
