/* SPDX-License-Identifier: Apache-2.0
 * Grouping of a trace's spans, and the shared-span-id fix. Linear in the number of spans. */
#include "base/hash.h"
#include "trace_out.h"

/* A small pointer map: key pair -> number, in order of first appearance. */
struct pair_map {
    struct pair {
        const void *a, *b;
        uint32_t number;
    } * slots;
    size_t mask;
    uint32_t n;
};

static bool pair_map_init(struct pair_map *m, struct arena *a, size_t n_max)
{
    size_t cap = 16;
    while (cap < n_max * 2)
        cap *= 2;
    m->slots = ARENA_ARRAY(a, cap, struct pair);
    m->mask = cap - 1;
    m->n = 0;
    return m->slots != NULL;
}

static uint32_t pair_map_number(struct pair_map *m, const void *a, const void *b)
{
    size_t at = (size_t)hash_mix((uintptr_t)a * 31 + (uintptr_t)b) & m->mask;
    for (; m->slots[at].a != NULL; at = (at + 1) & m->mask)
        if (m->slots[at].a == a && m->slots[at].b == b)
            return m->slots[at].number;
    m->slots[at] = (struct pair){.a = a, .b = b, .number = m->n++};
    return m->slots[at].number;
}

/* Stable counting sort of idx[0..n) by number[idx[i]]; ends[k] becomes the end of group k. */
static void sort_by_number(const uint32_t *idx, size_t n, const uint32_t *number,
    uint32_t n_numbers, uint32_t *ends, uint32_t *out)
{
    for (size_t i = 0; i < n; i++)
        ends[number[idx[i]]]++;
    uint32_t at = 0;
    for (uint32_t k = 0; k < n_numbers; k++) {
        uint32_t count = ends[k];
        ends[k] = at;
        at += count;
    }
    for (size_t i = 0; i < n; i++)
        out[ends[number[idx[i]]]++] = idx[i];
}

enum ec trace_group(
    const struct trace_result *t, struct arena *a, struct trace_groups *ret, struct err *err)
{
    *ret = (struct trace_groups){0};
    if (t->n == 0)
        return EC_OK;
    ASSERT(t->n <= UINT32_MAX / 2);
    struct pair_map resources, scopes;
    uint32_t *scope_of = ARENA_ARRAY(a, t->n, uint32_t);
    uint32_t *resource_of_scope = ARENA_ARRAY(a, t->n, uint32_t);
    uint32_t *idx = ARENA_ARRAY(a, t->n, uint32_t), *by_scope = ARENA_ARRAY(a, t->n, uint32_t);
    if (scope_of == NULL || resource_of_scope == NULL || idx == NULL || by_scope == NULL ||
        !pair_map_init(&resources, a, t->n) || !pair_map_init(&scopes, a, t->n))
        return ERR(err, EC_LIMIT, "trace of %zu spans is over the query's memory budget", t->n);
    for (size_t i = 0; i < t->n; i++) {
        const struct result_trace_span *s = &t->spans[i];
        uint32_t resource = pair_map_number(&resources, s->resource, s->resource);
        scope_of[i] = pair_map_number(&scopes, s->resource, s->scope);
        resource_of_scope[scope_of[i]] = resource;
        idx[i] = (uint32_t)i;
    }
    uint32_t *span_end = ARENA_ARRAY(a, scopes.n, uint32_t);
    uint32_t *resource_end = ARENA_ARRAY(a, resources.n, uint32_t);
    uint32_t *scope_order = ARENA_ARRAY(a, scopes.n, uint32_t);
    uint32_t *ends = ARENA_ARRAY(a, scopes.n, uint32_t), *order = ARENA_ARRAY(a, t->n, uint32_t);
    if (span_end == NULL || resource_end == NULL || scope_order == NULL || ends == NULL ||
        order == NULL)
        return ERR(err, EC_LIMIT, "trace of %zu spans is over the query's memory budget", t->n);
    sort_by_number(idx, t->n, scope_of, scopes.n, span_end, by_scope);
    sort_by_number(idx, scopes.n, resource_of_scope, resources.n, resource_end, scope_order);
    uint32_t at = 0; /* spans again, scopes now in resource order */
    for (uint32_t k = 0; k < scopes.n; k++) {
        uint32_t scope = scope_order[k], from = scope == 0 ? 0 : span_end[scope - 1];
        for (uint32_t i = from; i < span_end[scope]; i++)
            order[at++] = by_scope[i];
        ends[k] = at;
    }
    *ret = (struct trace_groups){.order = order,
        .scope_end = ends,
        .resource_end = resource_end,
        .n_scopes = scopes.n,
        .n_resources = resources.n};
    return EC_OK;
}

enum { KIND_SERVER = 2, KIND_CLIENT = 3 };

struct id_slot {
    span_id id; /* 0: free */
    bool client;
    span_id split_to; /* id that the server span of this pair got, 0: none */
};

static struct id_slot *id_find(struct id_slot *slots, size_t mask, span_id id)
{
    size_t at = (size_t)hash_mix(id) & mask;
    while (slots[at].id != 0 && slots[at].id != id)
        at = (at + 1) & mask;
    return &slots[at];
}

enum ec trace_split_shared_ids(struct trace_result *t, struct arena *a, struct err *err)
{
    size_t cap = 16, n_server = 0, n_client = 0;
    for (size_t i = 0; i < t->n; i++) {
        n_server += t->spans[i].span.kind == KIND_SERVER;
        n_client += t->spans[i].span.kind == KIND_CLIENT;
    }
    if (n_server == 0 || n_client == 0)
        return EC_OK;
    while (cap < t->n * 4) /* every span's id and every new one */
        cap *= 2;
    struct id_slot *slots = ARENA_ARRAY(a, cap, struct id_slot);
    if (slots == NULL)
        return ERR(err, EC_LIMIT, "trace of %zu spans is over the query's memory budget", t->n);
    for (size_t i = 0; i < t->n; i++) {
        if (t->spans[i].span.span_id == 0)
            continue;
        struct id_slot *s = id_find(slots, cap - 1, t->spans[i].span.span_id);
        s->id = t->spans[i].span.span_id;
        s->client |= t->spans[i].span.kind == KIND_CLIENT;
    }
    span_id next = 1;
    bool any = false;
    for (size_t i = 0; i < t->n; i++) {
        struct read_span *s = &t->spans[i].span;
        if (s->kind != KIND_SERVER || s->span_id == 0)
            continue;
        struct id_slot *slot = id_find(slots, cap - 1, s->span_id);
        if (!slot->client)
            continue;
        while (id_find(slots, cap - 1, next)->id != 0)
            next++;
        id_find(slots, cap - 1, next)->id = next;
        slot->split_to = next;
        s->parent_id = s->span_id;
        s->span_id = next;
        any = true;
    }
    for (size_t i = 0; any && i < t->n; i++) {
        struct read_span *s = &t->spans[i].span;
        if (s->parent_id == 0)
            continue;
        const struct id_slot *slot = id_find(slots, cap - 1, s->parent_id);
        if (slot->split_to != 0 && s->span_id != slot->split_to)
            s->parent_id = slot->split_to;
    }
    return EC_OK;
}
