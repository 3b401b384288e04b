/* SPDX-License-Identifier: Apache-2.0
 * Static roles: which permissions a subject has on a tenant. Compiled once into rows of (subject,
 * tenant, permissions), so that a look-up is one pass over rows of that tenant's name. It runs when
 * a credential is new, never for one that is known. */
#include <stdlib.h>

#include "auth_int.h"
#include "base/log.h"

struct role_row {
    bool is_group;
    struct str name, tenant; /* owned */
    unsigned may;
};

struct roles {
    VEC(struct role_row) rows;
};

static const struct auth_role *role_named(const struct auth_options *opt, const char *name)
{
    for (size_t i = opt->n_roles; i > 0; i--) /* the last of a name counts */
        if (strcmp(opt->roles[i - 1].name, name) == 0)
            return &opt->roles[i - 1];
    return NULL;
}

static struct str owned(const char *s)
{
    return str_from(xstrdup(s));
}

static void add_rows(struct roles *r, const struct auth_role *role, const struct auth_binding *b)
{
    unsigned may = (role->read ? 1u << AUTH_READ : 0) | (role->write ? 1u << AUTH_WRITE : 0);
    if (!role->traces || may == 0)
        return;
    for (size_t s = 0; s < b->n_subjects; s++)
        for (size_t t = 0; t < role->n_tenants; t++)
            VEC_PUSH(&r->rows, ((struct role_row){b->subjects[s].is_group,
                                   owned(b->subjects[s].name), owned(role->tenants[t]), may}));
}

struct roles *roles_new(const struct auth_options *opt)
{
    struct roles *r = xcalloc(1, sizeof(*r));
    for (size_t i = 0; i < opt->n_bindings; i++) {
        const struct auth_binding *b = &opt->bindings[i];
        for (size_t k = 0; k < b->n_roles; k++) {
            const struct auth_role *role = role_named(opt, b->roles[k]);
            if (role != NULL)
                add_rows(r, role, b);
            else
                log_event(LOG_WARN, "role binding names an unknown role, skipped",
                    LZ("binding", b->name), LZ("role", b->roles[k]));
        }
    }
    return r;
}

void roles_free(struct roles *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->rows.n; i++) {
        free((void *)(uintptr_t)r->rows.p[i].name.p);
        free((void *)(uintptr_t)r->rows.p[i].tenant.p);
    }
    VEC_FREE(&r->rows);
    free(r);
}

static bool applies(
    const struct role_row *row, struct str subject, const struct str *groups, size_t n_groups)
{
    if (!row->is_group)
        return str_eq(row->name, subject);
    for (size_t i = 0; i < n_groups; i++)
        if (str_eq(row->name, groups[i]))
            return true;
    return false;
}

unsigned roles_of(const struct roles *r, struct str tenant, struct str subject,
    const struct str *groups, size_t n_groups)
{
    unsigned may = 0;
    for (size_t i = 0; i < r->rows.n; i++) {
        const struct role_row *row = &r->rows.p[i];
        if ((row->may & ~may) != 0 && str_eq(row->tenant, tenant) &&
            applies(row, subject, groups, n_groups))
            may |= row->may;
    }
    return may;
}
