/* SPDX-License-Identifier: Apache-2.0
 * The per-tenant overrides file: `overrides:` -> tenant -> limits, scoped or flat.
 *
 * An entry replaces the defaults as a whole: what it does not set is zero, as in Tempo, except
 * rate_strategy and max_condition_groups_per_tag_query, which always come from the defaults. With
 * overrides.inherit_defaults it starts from the defaults instead. Called from a timer: no state. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "doc.h"

#define TENANTS_MAX 5000

static void free_buf(struct buf *b)
{
    buf_deinit(b);
}

static enum ec report(struct problems *p, struct err *err)
{
    size_t n = MIN(p->lines.n, (size_t)600);
    while (n > 0 && p->lines.p[n - 1] != '\n')
        n--;
    enum ec ec = ERR(err, EC_INVALID, "yaml: unmarshal errors:\n%.*s", n > 0 ? (int)n - 1 : 0,
        (const char *)p->lines.p);
    buf_deinit(&p->lines);
    return ec;
}

/* The flat shape, when more of its keys are known there. */
static const struct block *shape_of(const struct node *n)
{
    size_t scoped = 0, flat = 0;
    for (uint32_t i = 0; n->kind == NODE_MAP && i < n->n; i++) {
        scoped += schema_key(&schema_limits, n->pairs[i].key) != NULL;
        flat += schema_key(&schema_limits_flat, n->pairs[i].key) != NULL;
    }
    return flat > scoped ? &schema_limits_flat : &schema_limits;
}

/* What a tenant set by itself, over the limits in t. */
static enum ec load_user(const struct config *c, struct arena *arena, struct str json,
    struct config_tenant *t, struct err *err)
{
    struct problems p = {.arena = arena};
    struct node *n;
    TRY(node_parse(json, arena, &n, err));
    decode_block(&schema_limits, n, &p);
    if (p.n > 0)
        return report(&p, err);
    struct config_limits l = t->limits;
    TRY(bind_block(arena, &schema_limits, "user-configurable overrides", n, &l, false, err));
    const struct node *dimensions = node_at(n, "cost_attribution.dimensions");
    if (!node_is_null(dimensions))
        TRY(resolve_dimensions(arena, dimensions, &l, err));
    TRY(resolve_tenant_generator(c, arena, &l.generator, err));
    t->limits = l;
    t->from_user = true;
    return EC_OK;
}

enum ec config_user_limits_check(const struct config *c, struct str json, struct err *err)
{
    struct config_tenant t = {.limits = c->limits};
    struct arena arena;
    arena_init(&arena, NULL, 0); /* the text is bounded */
    enum ec ec = load_user(c, &arena, json, &t, err);
    arena_deinit(&arena);
    return ec;
}

static enum ec load_entry(const struct config *c, struct arena *arena, const struct node_pair *pair,
    struct config_tenant *t, struct problems *p, struct err *err)
{
    static const struct node empty = {.kind = NODE_MAP};
    const struct node *n = node_is_null(pair->value) ? &empty : pair->value;
    const struct block *shape = shape_of(n);
    char path[SCHEMA_PATH_MAX / 2];

    decode_block(shape, n, p);
    t->from_file = true;
    t->tenant = arena_str(arena, pair->key);
    if (t->tenant.p == NULL)
        return ERR(err, EC_LIMIT, "overrides over their memory budget");
    bool inherit = doc_bool(c->doc, "overrides.inherit_defaults");
    t->limits = inherit ? c->limits
                        : (struct config_limits){.rate_global = c->limits.rate_global,
                              .artificial_delay = c->artificial_delay,
                              .max_condition_groups_per_tag_query =
                                  c->limits.max_condition_groups_per_tag_query};
    inherit_generator(c, inherit, &t->limits.generator);
    if (p->n > 0)
        return EC_OK; /* to report what is wrong with the other entries too */
    snprintf(
        path, sizeof(path), "overrides of tenant %.*s", (int)MIN(pair->key.n, 40), pair->key.p);
    TRY(bind_block(arena, shape, path, n, &t->limits, false, err));
    t->limits.max_condition_groups_per_tag_query = c->limits.max_condition_groups_per_tag_query;
    if (resolve_tenant_generator(c, arena, &t->limits.generator, err) != EC_OK)
        return err_prefix(
            err, "validating overrides for %.*s failed", (int)MIN(pair->key.n, 100), pair->key.p);
    const struct node *dimensions = node_at(n, "cost_attribution.dimensions");
    if (!node_is_null(dimensions))
        TRY(resolve_dimensions(arena, dimensions, &t->limits, err));
    if (t->limits.rate_limit_bytes == 0 || t->limits.burst_size_bytes == 0)
        t->warning =
            "an entry replaces the defaults as a whole: without rate_limit_bytes and burst_size_bytes the tenant can ingest nothing";
    return EC_OK;
}

static enum ec load_tenants(const struct config *c, struct arena *arena, const struct node *root,
    struct config_tenant **ret, size_t *ret_n, struct err *err)
{
    struct problems p = {.arena = arena};
    const struct node *list = node_get(root, STR("overrides"));
    char text[PROBLEM_MAX];

    *ret = NULL;
    *ret_n = 0;
    for (uint32_t i = 0; root != NULL && root->kind == NODE_MAP && i < root->n; i++)
        if (!str_eqz(root->pairs[i].key, "overrides")) {
            snprintf(text, sizeof(text),
                "field %.*s not found in type overrides.perTenantOverrides",
                (int)MIN(root->pairs[i].key.n, 100), root->pairs[i].key.p);
            problem_add(&p, root->pairs[i].line, text, NULL);
        }
    if (root != NULL && !node_is_null(root) && root->kind != NODE_MAP)
        problem_add(&p, root->line, "cannot unmarshal into overrides.perTenantOverrides", NULL);
    if (!node_is_null(list) && list->kind != NODE_MAP)
        problem_add(&p, list->line, "cannot unmarshal into map[string]*overrides.Overrides", NULL);
    if (p.n > 0)
        return report(&p, err);
    if (node_is_null(list))
        return EC_OK;
    if (list->n > TENANTS_MAX)
        return ERR(err, EC_LIMIT, "overrides for over %d tenants", TENANTS_MAX);
    struct config_tenant *tenants = ARENA_ARRAY(arena, list->n, struct config_tenant);
    if (tenants == NULL)
        return ERR(err, EC_LIMIT, "overrides over their memory budget");
    for (uint32_t i = 0; i < list->n; i++) {
        for (uint32_t j = 0; j < i; j++)
            if (str_eq(list->pairs[i].key, list->pairs[j].key))
                problem_add(&p, list->pairs[i].line, "tenant already set in map", NULL);
        enum ec ec = load_entry(c, arena, &list->pairs[i], &tenants[i], &p, err);
        if (ec != EC_OK) {
            buf_deinit(&p.lines);
            return ec;
        }
    }
    if (p.n > 0)
        return report(&p, err);
    *ret = tenants;
    *ret_n = list->n;
    return EC_OK;
}

static const struct config_tenant *entry_of(
    const struct config_tenant *t, size_t n, struct str tenant)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(t[i].tenant, tenant))
            return &t[i];
    return NULL;
}

/* The entries of the file, and one for each tenant that set something. */
static enum ec merge_users(const struct config *c, const struct config_user_limits *users,
    size_t n_users, struct arena *arena, struct config_tenant **tenants, size_t *n, struct err *err)
{
    size_t n_file = *n, n_all = *n;
    struct config_tenant *all = ARENA_ARRAY(arena, n_file + n_users, struct config_tenant);
    if (all == NULL)
        return ERR(err, EC_LIMIT, "overrides over their memory budget");
    if (n_file > 0)
        memcpy(all, *tenants, n_file * sizeof(*all));
    const struct config_tenant *any = entry_of(all, n_file, STR("*"));
    for (size_t i = 0; i < n_users; i++) {
        const struct config_tenant *own = entry_of(all, n_file, users[i].tenant);
        struct config_tenant *t = own != NULL ? &all[own - all] : &all[n_all];
        struct err why = {0};
        if (own == NULL) {
            *t = (struct config_tenant){.limits = any != NULL ? any->limits : c->limits};
            t->tenant = arena_str(arena, users[i].tenant);
            if (t->tenant.p == NULL)
                return ERR(err, EC_LIMIT, "overrides over their memory budget");
            n_all++;
        }
        if (load_user(c, arena, users[i].json, t, &why) != EC_OK)
            t->warning = "user-configurable overrides do not parse and are left out";
    }
    *tenants = all;
    *n = n_all;
    return EC_OK;
}

enum ec config_overrides_merge(const struct config *c, const struct config_user_limits *users,
    size_t n_users, uint64_t users_change, uint64_t last_hash, struct arena *arena,
    struct config_tenant **ret, size_t *ret_n, uint64_t *ret_hash, struct err *err)
{
    CLEANUP(free_buf) struct buf text = BUF_INIT;
    CLEANUP(free_buf) struct buf expanded = BUF_INIT;
    struct node *root = NULL;

    enum ec ec = c->overrides_file == NULL ? EC_OK : file_read(c->overrides_file, &text, err);
    uint64_t hash = hash64(text.p, text.n) ^ hash_mix(users_change);
    if (ec == EC_OK && hash == last_hash) {
        *ret = NULL;
        *ret_n = 0;
        *ret_hash = hash;
        return EC_OK;
    }
    if (ec == EC_OK && c->expand_env)
        ec = env_expand(buf_str(&text), &expanded, err);
    if (ec == EC_OK)
        ec = node_parse(c->expand_env ? buf_str(&expanded) : buf_str(&text), arena, &root, err);
    if (ec == EC_OK)
        ec = load_tenants(c, arena, root, ret, ret_n, err);
    if (ec != EC_OK) {
        err_prefix(err, "failed to load runtime config: %.300s",
            c->overrides_file == NULL ? "" : c->overrides_file);
        return ec;
    }
    if (n_users > 0)
        TRY(merge_users(c, users, n_users, arena, ret, ret_n, err));
    *ret_hash = hash;
    return EC_OK;
}

enum ec config_overrides_load(const struct config *c, uint64_t last_hash, struct arena *arena,
    struct config_tenant **ret, size_t *ret_n, uint64_t *ret_hash, struct err *err)
{
    return config_overrides_merge(c, NULL, 0, 0, last_hash, arena, ret, ret_n, ret_hash, err);
}
