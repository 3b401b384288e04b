/* SPDX-License-Identifier: Apache-2.0
 * rbac.yaml: roles and roleBindings as the original gateway reads them. Resources other than traces
 * and permissions that nobody knows are ignored; a later role replaces an earlier one of its name;
 * a binding to a role that is not there grants nothing and is warned of. */
#include <string.h>

#include "doc.h"

static const struct node *field(const struct node *map, const char *name)
{
    for (uint32_t i = 0; map->kind == NODE_MAP && i < map->n; i++)
        if (str_ieq(map->pairs[i].key, str_from(name)))
            return node_is_null(map->pairs[i].value) ? NULL : map->pairs[i].value;
    return NULL;
}

static enum ec text(struct config *c, const struct node *n, const char **ret, struct err *err)
{
    *ret = "";
    if (n == NULL)
        return EC_OK;
    if (n->kind != NODE_SCALAR || (n->s.n != 0 && memchr(n->s.p, 0, n->s.n) != NULL))
        return ERR(err, EC_INVALID, "gateway: roles: line %u: want a text", n->line);
    *ret = arena_strz(&c->arena, n->s);
    return *ret != NULL ? EC_OK : ERR(err, EC_LIMIT, "gateway: roles are over their memory budget");
}

/* A list, absent or not: *ret_n items. */
static enum ec list_of(const struct node *map, const char *name, const struct node **ret,
    uint32_t *ret_n, struct err *err)
{
    const struct node *n = field(map, name);
    if (n != NULL && n->kind != NODE_SEQ)
        return ERR(err, EC_INVALID, "gateway: roles: line %u: %s is no list", n->line, name);
    *ret = n;
    *ret_n = n == NULL ? 0 : n->n;
    return EC_OK;
}

static enum ec texts(struct config *c, const struct node *map, const char *name,
    const char *const **ret, size_t *ret_n, struct err *err)
{
    const struct node *list;
    uint32_t n;
    TRY(list_of(map, name, &list, &n, err));
    const char **out = ARENA_ARRAY(&c->arena, (size_t)n + 1, const char *);
    if (out == NULL)
        return ERR(err, EC_LIMIT, "gateway: roles are over their memory budget");
    for (uint32_t i = 0; i < n; i++)
        TRY(text(c, list->items[i], &out[i], err));
    *ret = out;
    *ret_n = n;
    return EC_OK;
}

static bool holds(const char *const *list, size_t n, const char *word)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], word) == 0)
            return true;
    return false;
}

static enum ec read_role(
    struct config *c, const struct node *n, struct gateway_role *role, struct err *err)
{
    const char *const *words;
    size_t n_words;
    TRY(text(c, field(n, "name"), &role->name, err));
    TRY(texts(c, n, "resources", &words, &n_words, err));
    role->traces = holds(words, n_words, "traces");
    TRY(texts(c, n, "permissions", &words, &n_words, err));
    role->read = holds(words, n_words, "read");
    role->write = holds(words, n_words, "write");
    return texts(c, n, "tenants", &role->tenants, &role->n_tenants, err);
}

static enum ec read_roles(struct config *c, const struct node *root, struct err *err)
{
    const struct node *list;
    uint32_t n;
    TRY(list_of(root, "roles", &list, &n, err));
    struct gateway_role *roles = ARENA_ARRAY(&c->arena, n, struct gateway_role);
    size_t count = 0;
    if (roles == NULL)
        return ERR(err, EC_LIMIT, "gateway: roles are over their memory budget");
    for (uint32_t i = 0; i < n; i++) {
        struct gateway_role role = {.name = ""};
        TRY(read_role(c, list->items[i], &role, err));
        size_t at = 0;
        while (at < count && strcmp(roles[at].name, role.name) != 0)
            at++;
        roles[at] = role;
        count += at == count;
    }
    c->gateway.roles = roles;
    c->gateway.n_roles = count;
    return EC_OK;
}

static enum ec read_subjects(
    struct config *c, const struct node *n, struct gateway_binding *b, struct err *err)
{
    const struct node *list;
    uint32_t count;
    TRY(list_of(n, "subjects", &list, &count, err));
    struct gateway_subject *subjects = ARENA_ARRAY(&c->arena, count, struct gateway_subject);
    if (subjects == NULL)
        return ERR(err, EC_LIMIT, "gateway: roles are over their memory budget");
    b->subjects = subjects;
    for (uint32_t i = 0; i < count; i++) {
        const char *kind, *name;
        TRY(text(c, field(list->items[i], "kind"), &kind, err));
        TRY(text(c, field(list->items[i], "name"), &name, err));
        bool is_group = strcmp(kind, "group") == 0;
        if (name[0] != 0 && (is_group || strcmp(kind, "user") == 0))
            subjects[b->n_subjects++] = (struct gateway_subject){is_group, name};
        else
            warn_add(c, true, "gateway.rbac", "subject of a role binding is skipped",
                "binding %s: kind \"%s\", name \"%s\"", b->name, kind, name);
    }
    return EC_OK;
}

static enum ec read_binding(
    struct config *c, const struct node *n, struct gateway_binding *b, struct err *err)
{
    TRY(text(c, field(n, "name"), &b->name, err));
    TRY(texts(c, n, "roles", &b->roles, &b->n_roles, err));
    TRY(read_subjects(c, n, b, err));
    for (size_t i = 0; i < b->n_roles; i++) {
        size_t at = 0;
        while (at < c->gateway.n_roles && strcmp(c->gateway.roles[at].name, b->roles[i]) != 0)
            at++;
        if (at == c->gateway.n_roles)
            warn_add(c, true, "gateway.rbac", "role binding names a role that does not exist",
                "binding %s: role %s", b->name, b->roles[i]);
    }
    return EC_OK;
}

enum ec rbac_read(struct config *c, const struct node *root, struct err *err)
{
    const struct node *list;
    uint32_t n;
    if (node_is_null(root))
        return EC_OK; /* the operator writes an empty file in mode openshift */
    if (root->kind != NODE_MAP)
        return ERR(err, EC_INVALID, "gateway: roles: line %u: want a map", root->line);
    TRY(read_roles(c, root, err));
    TRY(list_of(root, "roleBindings", &list, &n, err));
    struct gateway_binding *bindings = ARENA_ARRAY(&c->arena, n, struct gateway_binding);
    if (bindings == NULL)
        return ERR(err, EC_LIMIT, "gateway: roles are over their memory budget");
    for (uint32_t i = 0; i < n; i++)
        TRY(read_binding(c, list->items[i], &bindings[i], err));
    c->gateway.bindings = bindings;
    c->gateway.n_bindings = n;
    return EC_OK;
}
