/* SPDX-License-Identifier: Apache-2.0
 * The document (file under flags) and the way of its values into struct config. */
#include "doc.h"

#include <stdio.h>
#include <string.h>

const struct node *doc_flag(const struct config_doc *d, const char *path)
{
    for (size_t i = d->flags.n; i-- > 0;) /* the last one wins */
        if (strcmp(d->flags.p[i].path, path) == 0)
            return d->flags.p[i].value;
    return NULL;
}

const struct node *doc_get(const struct config_doc *d, const char *path)
{
    const struct node *n = doc_flag(d, path);
    if (n == NULL)
        n = node_at(d->root, path);
    return node_is_null(n) ? NULL : n;
}

void doc_set_flag(struct config_doc *d, const char *path, struct node *value)
{
    VEC_PUSH(&d->flags, ((struct doc_entry){.path = path, .value = value}));
}

bool doc_value(const struct config_doc *d, const char *path, struct value *ret)
{
    const struct key *k = schema_at(path);
    const struct node *n = doc_get(d, path);
    char problem[PROBLEM_MAX];
    struct node dflt = {.kind = NODE_SCALAR, .plain = true};

    ASSERT(k != NULL);
    bool set = n != NULL;
    if (!set) {
        dflt.s = str_from(k->dflt);
        n = &dflt;
    }
    bool ok = value_parse((enum key_type)k->type, n, ret, problem);
    ASSERT(ok);
    return set;
}

bool doc_bool(const struct config_doc *d, const char *path)
{
    struct value v;
    (void)doc_value(d, path, &v); /* set or default alike */
    return v.b;
}

int64_t doc_int(const struct config_doc *d, const char *path)
{
    struct value v;
    const struct key *k = schema_at(path);
    (void)doc_value(d, path, &v);
    if (k->type == KT_UINT32 || k->type == KT_UINT64)
        return v.u > INT64_MAX ? INT64_MAX : (int64_t)v.u;
    return v.i;
}

const char *doc_string(struct config *c, const char *path)
{
    struct value v;
    (void)doc_value(c->doc, path, &v);
    char *z = arena_strz(&c->arena, v.s);
    ASSERT(z != NULL); /* no budget */
    return z;
}

/* ---- targets ---- */

static enum ec set_unsigned(const struct key *k, const char *path, const struct value *v,
    uint64_t max, uint64_t *ret, struct err *err)
{
    bool is_signed = k->type == KT_INT || k->type == KT_DURATION || k->type == KT_PROM;
    if (is_signed && v->i < 0)
        return ERR(err, EC_INVALID, "%s must not be negative, got %lld", path, (long long)v->i);
    uint64_t u = is_signed ? (uint64_t)v->i : v->u;
    if (u > max)
        return ERR(err, EC_INVALID, "%s must not be over %llu, got %llu", path,
            (unsigned long long)max, (unsigned long long)u);
    *ret = u;
    return EC_OK;
}

static enum ec set_strings(
    struct arena *arena, const struct node *n, const char *const **ret, struct err *err)
{
    *ret = NULL;
    if (n == NULL || n->n == 0)
        return EC_OK;
    const char **list = ARENA_ARRAY(arena, (size_t)n->n + 1, const char *);
    if (list == NULL)
        return ERR(err, EC_LIMIT, "configuration over its memory budget");
    for (uint32_t i = 0; i < n->n; i++) {
        list[i] = arena_strz(arena, n->items[i]->s);
        if (list[i] == NULL)
            return ERR(err, EC_LIMIT, "configuration over its memory budget");
    }
    *ret = list;
    return EC_OK;
}

static enum ec set_floats(
    struct arena *arena, const struct node *n, struct config_floats *ret, struct err *err)
{
    double *list = ARENA_ARRAY(arena, n->n, double);
    if (list == NULL)
        return ERR(err, EC_LIMIT, "configuration over its memory budget");
    for (uint32_t i = 0; i < n->n; i++) {
        struct value v;
        char problem[PROBLEM_MAX];
        bool ok = value_parse(KT_FLOAT, n->items[i], &v, problem);
        ASSERT(ok);
        list[i] = v.f;
    }
    *ret = (struct config_floats){list, n->n};
    return EC_OK;
}

static enum ec set_scalar(struct arena *arena, const struct key *k, const char *path,
    const struct node *n, void *target, struct err *err)
{
    struct value v;
    char problem[PROBLEM_MAX];
    uint64_t u = 0;

    bool ok = value_parse((enum key_type)k->type, n, &v, problem);
    ASSERT(ok);
    switch (k->target) {
    case TARGET_BOOL:
        *(bool *)target = v.b;
        return EC_OK;
    case TARGET_I64:
        *(int64_t *)target = v.i;
        return EC_OK;
    case TARGET_F64:
        *(double *)target = v.f;
        return EC_OK;
    case TARGET_U32:
        TRY(set_unsigned(k, path, &v, UINT32_MAX, &u, err));
        *(uint32_t *)target = (uint32_t)u;
        return EC_OK;
    case TARGET_U64:
        return set_unsigned(k, path, &v, UINT64_MAX, target, err);
    default:
        ASSERT(k->target == TARGET_STR);
        *(const char **)target = arena_strz(arena, v.s);
        return *(const char **)target != NULL
                   ? EC_OK
                   : ERR(err, EC_LIMIT, "configuration over its memory budget");
    }
}

enum ec bind_key(struct arena *arena, const struct key *k, const char *path, const struct node *n,
    void *base, struct err *err)
{
    struct node dflt = {.kind = NODE_SCALAR, .plain = true, .s = str_from(k->dflt)};
    if (k->target == TARGET_NONE || (n == NULL && k->dflt == NULL))
        return EC_OK;
    void *target = (char *)base + k->offset;
    if (k->target == TARGET_STRS)
        return set_strings(arena, n, target, err);
    if (k->target == TARGET_NODE) {
        *(const struct node **)target = n;
        return EC_OK;
    }
    if (k->target == TARGET_FLOATS)
        return n == NULL ? EC_OK : set_floats(arena, n, target, err);
    return set_scalar(arena, k, path, n == NULL ? &dflt : n, target, err);
}

enum ec bind_block(struct arena *arena, const struct block *b, const char *prefix,
    const struct node *n, void *base, bool defaults, struct err *err)
{
    for (size_t i = 0; i < b->n; i++) {
        const struct key *k = &b->keys[i];
        const struct node *value = node_get(n, str_from(k->name));
        char path[SCHEMA_PATH_MAX];
        if (node_is_null(value))
            value = NULL;
        if (value == NULL && !defaults)
            continue;
        int len =
            snprintf(path, sizeof(path), "%s%s%s", prefix, prefix[0] == 0 ? "" : ".", k->name);
        ASSERT(len > 0 && (size_t)len < sizeof(path));
        if (k->type == KT_BLOCK)
            TRY(bind_block(arena, k->block, path, value, (char *)base + k->offset, defaults, err));
        else
            TRY(bind_key(arena, k, path, value, base, err));
    }
    return EC_OK;
}

struct bind_context {
    struct config *c;
    enum ec ec;
    struct err *err;
};

static void bind_each(void *ctx, const struct key *k, const char *path, size_t base)
{
    struct bind_context *b = ctx;
    if (b->ec == EC_OK)
        b->ec =
            bind_key(&b->c->arena, k, path, doc_get(b->c->doc, path), (char *)b->c + base, b->err);
}

enum ec bind_config(struct config *c, struct err *err)
{
    struct bind_context b = {.c = c, .err = err};
    schema_each(&schema_root, "", 0, bind_each, &b);
    return b.ec;
}
