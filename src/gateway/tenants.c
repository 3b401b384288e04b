/* SPDX-License-Identifier: Apache-2.0
 * The admission table: lookups under a read lock, inserts under the write lock, entries never
 * move. */
#include "tenants.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "ingest_metrics.h"

#define TENANTS_DEFAULT 10000u

enum ec ingest_tenants_init(struct ingest_tenants *t, uint32_t n_max, struct err *err)
{
    *t = (struct ingest_tenants){.n_max = n_max == 0 ? TENANTS_DEFAULT : n_max, .cap = 64};
    if (pthread_rwlock_init(&t->lock, NULL) != 0)
        return ERR(err, EC_INTERNAL, "tenant table: cannot make its lock");
    t->slots = xcalloc(t->cap, sizeof(*t->slots));
    return EC_OK;
}

void ingest_tenants_deinit(struct ingest_tenants *t)
{
    for (size_t i = 0; i < t->cap; i++) {
        if (t->slots[i] == NULL)
            continue;
        ASSERT(atomic_load(&t->slots[i]->held) == 0);
        pthread_mutex_destroy(&t->slots[i]->lock);
        free(t->slots[i]->id);
        free(t->slots[i]);
    }
    free(t->slots);
    pthread_rwlock_destroy(&t->lock);
}

static struct ingest_tenant **probe(const struct ingest_tenants *t, struct str id)
{
    size_t at = (size_t)hash64(id.p, id.n) & (t->cap - 1);
    while (t->slots[at] != NULL && !str_eq(str_n(t->slots[at]->id, t->slots[at]->id_n), id))
        at = (at + 1) & (t->cap - 1);
    return &t->slots[at];
}

static void grow(struct ingest_tenants *t)
{
    struct ingest_tenants old = *t;
    t->cap *= 2;
    t->slots = xcalloc(t->cap, sizeof(*t->slots));
    for (size_t i = 0; i < old.cap; i++)
        if (old.slots[i] != NULL)
            *probe(t, str_n(old.slots[i]->id, old.slots[i]->id_n)) = old.slots[i];
    free(old.slots);
}

enum ec ingest_tenants_get(
    struct ingest_tenants *t, struct str id, struct ingest_tenant **ret, struct err *err)
{
    pthread_rwlock_rdlock(&t->lock);
    struct ingest_tenant *e = *probe(t, id);
    pthread_rwlock_unlock(&t->lock);
    if (LIKELY(e != NULL)) {
        *ret = e;
        return EC_OK;
    }
    pthread_rwlock_wrlock(&t->lock);
    struct ingest_tenant **slot = probe(t, id);
    e = *slot;
    if (e == NULL && t->n < t->n_max) {
        e = xcalloc(1, sizeof(*e));
        e->id = xstrndup(id.p, id.n);
        e->id_n = id.n;
        pthread_mutex_init(&e->lock, NULL);
        ingest_tenant_metrics(e, id);
        if (t->init != NULL)
            t->init(t->init_ctx, e);
        *slot = e;
        if (++t->n * 2 > t->cap)
            grow(t);
    }
    pthread_rwlock_unlock(&t->lock);
    if (e == NULL)
        return ERR(err, EC_LIMIT, "too many tenants: the limit is %zu", t->n_max);
    *ret = e;
    return EC_OK;
}

void ingest_tenants_each(
    struct ingest_tenants *t, void (*fn)(void *ctx, struct ingest_tenant *e), void *ctx)
{
    pthread_rwlock_rdlock(&t->lock);
    for (size_t i = 0; i < t->cap; i++)
        if (t->slots[i] != NULL)
            fn(ctx, t->slots[i]);
    pthread_rwlock_unlock(&t->lock);
}

bool ingest_tenant_take(struct ingest_tenant *t, uint64_t n, uint64_t rate, uint64_t burst)
{
    int64_t now = clock_mono_ns();
    pthread_mutex_lock(&t->lock);
    if (t->filled_at_ns == 0)
        t->tokens = (double)burst;
    else
        t->tokens += (double)rate * (double)(now - t->filled_at_ns) / (double)NS_PER_S;
    if (t->tokens > (double)burst)
        t->tokens = (double)burst;
    t->filled_at_ns = now;
    bool pass = (double)n <= t->tokens;
    if (pass)
        t->tokens -= (double)n;
    pthread_mutex_unlock(&t->lock);
    return pass;
}

bool ingest_tenant_hold(struct ingest_tenant *t, uint64_t n, uint64_t max)
{
    uint64_t held = atomic_load_explicit(&t->held, memory_order_relaxed);
    do {
        /* A single request larger than the cap still passes when nothing else is in flight. */
        if (held != 0 && (n > max || held > max - n))
            return false;
    } while (!atomic_compare_exchange_weak_explicit(
        &t->held, &held, held + n, memory_order_relaxed, memory_order_relaxed));
    return true;
}

void ingest_tenant_release(struct ingest_tenant *t, uint64_t n)
{
    uint64_t before = atomic_fetch_sub_explicit(&t->held, n, memory_order_relaxed);
    ASSERT(before >= n);
}
