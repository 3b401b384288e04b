/* SPDX-License-Identifier: Apache-2.0
 * Kept lists of values.
 *
 *     list = bytes n { kind length text }     or empty: too many */
#include "values_cached.h"

#define KEY_MAX 4096u

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

static void put_text(struct buf *key, struct str s)
{
    buf_put_varint(key, s.n);
    buf_puts(key, s);
}

/* Keys of metrics begin with a query's text, never with a zero. */
static void put_question(struct buf *key, const struct values_request *req)
{
    buf_putc(key, 0);
    buf_putc(key, (char)(req->attr == NULL));
    put_text(key, req->attr == NULL ? req->v1_name : req->attr->text);
    buf_put_u64le(key, req->bytes_max);
    buf_put_varint(key, req->filter == NULL ? 0 : req->filter->n_groups);
    for (uint32_t g = 0; req->filter != NULL && g < req->filter->n_groups; g++) {
        const struct tql_filter_group *fg = &req->filter->groups[g];
        buf_put_varint(key, fg->n_conds);
        for (uint32_t i = 0; i < fg->n_conds; i++) {
            tql_print_expr(key, fg->conds[i]);
            buf_putc(key, 0);
        }
    }
}

void values_cached_init(struct values_cached *k, const struct query_ctx *ctx,
    const struct values_request *req, const struct source *sources)
{
    *k = (struct values_cached){0};
    buf_init(&k->key, ctx->budget);
    if (ctx->cache == NULL)
        return;
    k->parts = ARENA_ARRAY(ctx->arena, ctx->n_parts, const struct part *);
    put_question(&k->key, req);
    bool small = k->key.n <= KEY_MAX;
    for (size_t i = 0; i < ctx->n_parts && k->parts != NULL; i++) {
        if (sources[i].part == NULL || ctx->parts[i]->is_head ||
            values_outside(req, &sources[i].info))
            continue;
        query_cache_key_part(&k->key, ctx->parts[i], 0);
        k->parts[k->n_parts++] = ctx->parts[i];
    }
    if (small && k->n_parts != 0 && !buf_failed(&k->key))
        k->cache = ctx->cache;
}

void values_cached_deinit(struct values_cached *k)
{
    buf_deinit(&k->key);
}

struct use { /* of an entry, by an arena */
    struct query_cache *cache;
    struct cached *e;
};

static void use_end(void *arg)
{
    struct use *u = arg;
    query_cache_release(u->cache, u->e);
}

enum ec values_cached_find(struct values_cached *k, const struct query_ctx *ctx,
    enum values_found *ret_found, struct values_list *ret, struct err *err)
{
    *ret_found = VALUES_UNKNOWN;
    struct cached *e = k->cache == NULL ? NULL : query_cache_get(k->cache, buf_bytes(&k->key));
    if (e == NULL)
        return EC_OK;
    struct use *u = ARENA_NEW(ctx->arena, struct use);
    if (u != NULL)
        *u = (struct use){k->cache, e};
    if (u == NULL || !arena_hook(ctx->arena, use_end, u)) {
        query_cache_release(k->cache, e);
        return over_budget(err);
    }
    *ret_found = e->value.n == 0 ? VALUES_TOO_MANY : VALUES_FOUND;
    if (e->value.n == 0)
        return EC_OK;
    uint64_t n;
    *ret = (struct values_list){.p = e->value.p, .end = e->value.p + e->value.n};
    ret->p = varint_get(ret->p, ret->end, &ret->bytes);
    ASSERT(ret->p != NULL);
    ret->p = varint_get(ret->p, ret->end, &n);
    ASSERT(ret->p != NULL);
    ret->n = n;
    return EC_OK;
}

void values_cached_keep(
    struct values_cached *k, const struct query_ctx *ctx, const struct values_list *list)
{
    struct buf out;
    if (k->cache == NULL)
        return;
    buf_init(&out, ctx->budget);
    if (list->entries != NULL && list->bytes < query_cache_value_max(k->cache)) {
        buf_put_varint(&out, list->bytes);
        buf_put_varint(&out, list->n);
        for (size_t i = 0; i < list->n; i++) {
            buf_putc(&out, (char)list->entries[i].kind);
            put_text(&out, list->entries[i].s);
        }
    }
    if (!buf_failed(&out) && (out.n != 0 || list->entries == NULL))
        query_cache_put(k->cache, k->parts, k->n_parts, buf_bytes(&k->key), buf_bytes(&out));
    buf_deinit(&out);
}

/* False: that was all. */
static bool list_next(struct values_list *l, struct tagset_entry *ret)
{
    uint64_t n;
    if (l->entries != NULL) {
        if (l->n == 0)
            return false;
        *ret = *l->entries++;
        l->n--;
        return true;
    }
    if (l->p == l->end)
        return false;
    *ret = (struct tagset_entry){.kind = *l->p++};
    l->p = varint_get(l->p, l->end, &n);
    ASSERT(l->p != NULL && n <= (size_t)(l->end - l->p));
    ret->s = str_n((const char *)l->p, n);
    l->p += n;
    return true;
}

enum ec values_merge(const struct tagset *set, struct values_list *list,
    const char *const *kind_names, struct values_result *ret, uint64_t *ret_bytes, struct err *err)
{
    struct values_list none = {0};
    struct tagset_entry *all, e = {0};
    if (list == NULL)
        list = &none;
    TRY(tagset_sorted(set, &all, err));
    struct tag_value *out = ARENA_ARRAY(set->arena, set->n + list->n, struct tag_value);
    if (out == NULL)
        return over_budget(err);
    size_t n = 0, i = 0;
    *ret_bytes = set->bytes + list->bytes;
    bool more = list_next(list, &e);
    while (i < set->n || more) {
        int d = i == set->n ? 1 : more ? tagset_order(&all[i], &e) : -1;
        const struct tagset_entry *from = d <= 0 ? &all[i] : &e;
        out[n++] = (struct tag_value){kind_names[from->kind], from->s};
        if (d == 0)
            *ret_bytes -= tagset_cost(set, &e);
        i += d <= 0;
        if (d >= 0)
            more = list_next(list, &e);
    }
    ret->values = out;
    ret->n = n;
    return EC_OK;
}
