/* SPDX-License-Identifier: Apache-2.0
 * Tenants and their instances. An instance lives until the generator ends; the table only grows, so
 * a push holds its lock for the look-up alone. */
#include "generator/generator.h"

#include <stdlib.h>

#include "base/hash.h"
#include "instance.h"

#define SLOTS 1024 /* chains: more tenants than slots only cost time */

struct tenant_node {
    struct instance *instance;
    struct tenant_node *next;
};

struct generator {
    struct generator_options opt;
    pthread_rwlock_t lock; /* of slots and n */
    struct tenant_node *slots[SLOTS];
    uint32_t n;
};

enum ec generator_new(const struct generator_options *opt, struct generator **ret, struct err *err)
{
    struct generator *g = xcalloc(1, sizeof(*g));
    (void)err;
    g->opt = *opt;
    if (g->opt.tenants_max == 0)
        g->opt.tenants_max = 10000;
    ASSERT(pthread_rwlock_init(&g->lock, NULL) == 0);
    *ret = g;
    return EC_OK;
}

void generator_free(struct generator *g)
{
    if (g == NULL)
        return;
    for (unsigned i = 0; i < SLOTS; i++)
        while (g->slots[i] != NULL) {
            struct tenant_node *t = g->slots[i];
            g->slots[i] = t->next;
            instance_free(t->instance);
            free(t);
        }
    pthread_rwlock_destroy(&g->lock);
    free(g);
}

static struct instance *find(const struct generator *g, struct str tenant, uint32_t slot)
{
    for (const struct tenant_node *t = g->slots[slot]; t != NULL; t = t->next)
        if (str_eq(t->instance->tenant, tenant))
            return t->instance;
    return NULL;
}

static struct instance *add(struct generator *g, struct str tenant, uint32_t slot)
{
    struct instance *x = NULL;
    pthread_rwlock_wrlock(&g->lock);
    x = find(g, tenant, slot); /* somebody else may have been first */
    if (x == NULL && g->n < g->opt.tenants_max) {
        struct tenant_node *t = xcalloc(1, sizeof(*t));
        x = t->instance = instance_new(&g->opt, tenant);
        instance_refresh(x);
        t->next = g->slots[slot];
        g->slots[slot] = t;
        g->n++;
    }
    pthread_rwlock_unlock(&g->lock);
    return x;
}

bool generator_push(struct generator *g, struct str tenant, const struct batch *b, bool skip)
{
    uint32_t slot = (uint32_t)hash64(tenant.p, tenant.n) % SLOTS;
    pthread_rwlock_rdlock(&g->lock);
    struct instance *x = find(g, tenant, slot);
    pthread_rwlock_unlock(&g->lock);
    if (x == NULL)
        x = add(g, tenant, slot);
    return x != NULL && instance_push(x, b, skip);
}

static void each_instance(struct generator *g, void (*fn)(struct instance *x))
{
    VEC(struct instance *) all = {0}; /* instances outlive the lock */
    pthread_rwlock_rdlock(&g->lock);
    for (unsigned i = 0; i < SLOTS; i++)
        for (struct tenant_node *t = g->slots[i]; t != NULL; t = t->next)
            VEC_PUSH(&all, t->instance);
    pthread_rwlock_unlock(&g->lock);
    for (size_t i = 0; i < all.n; i++)
        fn(all.p[i]);
    VEC_FREE(&all);
}

void generator_tick(struct generator *g)
{
    each_instance(g, instance_tick);
}

void generator_collect(struct generator *g)
{
    each_instance(g, instance_collect);
}
