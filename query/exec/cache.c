/* SPDX-License-Identifier: Apache-2.0
 * The cache of what queries found: a hash table of chains over entries in one list, most recently
 * used first.
 *
 * An entry is one allocation: the struct, its parts, the key, the value. In the table and unused:
 * one reference, that of the table. Dropping takes it out of table and list; memory and charge go
 * with the last user. WHY a mutex: it is held for a comparison of keys and for some pointers, next
 * to which even a small query is long. */
#include "query/cache.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/metric.h"
#include "pairs.h"

#define N_CHAINS   4096u
#define ENTRY_COST 32u /* of the allocator, besides the bytes asked for */

static struct metric_family requests = {
    .name = "vivace_query_cache_requests_total",
    .help = "Results of blocks that queries asked the cache for.",
    .type = METRIC_COUNTER,
    .labels = {"result", NULL},
};
static struct metric_family dropped = {
    .name = "vivace_query_cache_dropped_total",
    .help = "Entries dropped from the cache of query results.",
    .type = METRIC_COUNTER,
    .labels = {"reason", NULL},
};

struct entry {
    struct cached shown; /* first: callers hold a pointer to it */
    struct entry *chain;
    struct entry *newer, *older;
    struct bytes key;
    const struct part **parts;
    size_t n_parts;
    uint64_t hash;
    size_t bytes;   /* charged */
    uint32_t users; /* and one for the table */
};

struct query_cache {
    struct part_watcher watcher;
    struct budget budget;
    struct pairs *pairs;
    size_t value_max;
    struct metric *hits, *misses, *evicted, *retired;
    pthread_mutex_t lock; /* guards what follows, and the chain, list and users of entries */
    struct entry *newest, *oldest;
    struct entry *chains[N_CHAINS];
};

/* ---- entries; under the lock ---- */

static struct entry **chain_of(struct query_cache *c, uint64_t hash)
{
    return &c->chains[hash % N_CHAINS];
}

static struct entry *entry_find(struct query_cache *c, struct bytes key, uint64_t hash)
{
    struct entry *e = *chain_of(c, hash);
    while (e != NULL && (e->hash != hash || !bytes_eq(e->key, key)))
        e = e->chain;
    return e;
}

static void list_remove(struct query_cache *c, struct entry *e)
{
    *(e->newer == NULL ? &c->newest : &e->newer->older) = e->older;
    *(e->older == NULL ? &c->oldest : &e->older->newer) = e->newer;
}

static void list_push(struct query_cache *c, struct entry *e)
{
    e->newer = NULL;
    e->older = c->newest;
    *(c->newest == NULL ? &c->oldest : &c->newest->newer) = e;
    c->newest = e;
}

static void entry_unuse(struct query_cache *c, struct entry *e)
{
    ASSERT(e->users > 0);
    if (--e->users > 0)
        return;
    budget_give(&c->budget, e->bytes);
    free(e);
}

static void entry_drop(struct query_cache *c, struct entry *e)
{
    struct entry **at = chain_of(c, e->hash);
    while (*at != e)
        at = &(*at)->chain;
    *at = e->chain;
    list_remove(c, e);
    entry_unuse(c, e);
}

static bool entry_of(const struct entry *e, const struct part *p)
{
    for (size_t i = 0; i < e->n_parts; i++)
        if (e->parts[i] == p)
            return true;
    return false;
}

/* ---- the cache ---- */

static void part_gone(struct part_watcher *w, const struct part *p)
{
    struct query_cache *c = CONTAINER_OF(w, struct query_cache, watcher);
    pthread_mutex_lock(&c->lock);
    for (struct entry *e = c->newest, *next; e != NULL; e = next) {
        next = e->older;
        if (!entry_of(e, p))
            continue;
        entry_drop(c, e);
        metric_inc(c->retired);
    }
    pthread_mutex_unlock(&c->lock);
}

struct query_cache *query_cache_new(struct budget *parent, uint64_t bytes_max)
{
    struct query_cache *c = xcalloc(1, sizeof(*c));
    ASSERT(bytes_max > 0);
    budget_init(&c->budget, parent, "query results", bytes_max);
    budget_list(&c->budget);
    c->value_max = (size_t)(bytes_max / 8);
    c->pairs = pairs_new(parent, MAX(bytes_max / 2, 1));
    pthread_mutex_init(&c->lock, NULL);
    metric_register(&requests);
    metric_register(&dropped);
    c->hits = metric_series1(&requests, STR("hit"));
    c->misses = metric_series1(&requests, STR("miss"));
    c->evicted = metric_series1(&dropped, STR("no_room"));
    c->retired = metric_series1(&dropped, STR("block_gone"));
    c->watcher.gone = part_gone;
    part_watch(&c->watcher);
    return c;
}

void query_cache_free(struct query_cache *c)
{
    if (c == NULL)
        return;
    part_unwatch(&c->watcher);
    while (c->newest != NULL)
        entry_drop(c, c->newest);
    pairs_free(c->pairs);
    budget_unlist(&c->budget);
    budget_deinit(&c->budget); /* asserts that nothing was in use */
    pthread_mutex_destroy(&c->lock);
    free(c);
}

struct pairs *query_cache_pairs(struct query_cache *c)
{
    return c->pairs;
}

size_t query_cache_value_max(const struct query_cache *c)
{
    return c->value_max;
}

size_t query_cache_entries(struct query_cache *c)
{
    size_t n = 0;
    pthread_mutex_lock(&c->lock);
    for (const struct entry *e = c->newest; e != NULL; e = e->older)
        n++;
    pthread_mutex_unlock(&c->lock);
    return n;
}

void query_cache_key_part(struct buf *key, const struct part *p, uint32_t n_rows)
{
    ASSERT(p->is_head || n_rows == 0);
    buf_put(key, &p, sizeof(p)); /* part_gone comes before another part can have the address */
    buf_put(key, &n_rows, sizeof(n_rows));
}

struct cached *query_cache_get(struct query_cache *c, struct bytes key)
{
    uint64_t hash = hash64(key.p, key.n);
    pthread_mutex_lock(&c->lock);
    struct entry *e = entry_find(c, key, hash);
    if (e != NULL) {
        e->users++;
        list_remove(c, e);
        list_push(c, e);
    }
    pthread_mutex_unlock(&c->lock);
    metric_inc(e == NULL ? c->misses : c->hits);
    return e == NULL ? NULL : &e->shown;
}

void query_cache_release(struct query_cache *c, struct cached *e)
{
    if (e == NULL)
        return;
    pthread_mutex_lock(&c->lock);
    entry_unuse(c, CONTAINER_OF(e, struct entry, shown));
    pthread_mutex_unlock(&c->lock);
}

void query_cache_drop(struct query_cache *c, struct bytes key)
{
    pthread_mutex_lock(&c->lock);
    struct entry *e = entry_find(c, key, hash64(key.p, key.n));
    if (e != NULL)
        entry_drop(c, e);
    pthread_mutex_unlock(&c->lock);
}

/* Room for `bytes` more, charged; the oldest entries make it. Under the lock. */
static bool make_room(struct query_cache *c, size_t bytes)
{
    uint64_t cap = atomic_load_explicit(&c->budget.cap, memory_order_relaxed);
    /* Asked beforehand, so that the budget does not count as refused what is evicted for. */
    while (budget_used(&c->budget) + bytes > cap && c->oldest != NULL) {
        entry_drop(c, c->oldest);
        metric_inc(c->evicted);
    }
    /* What was dropped may still be in use, and a parent may refuse. */
    return budget_used(&c->budget) + bytes <= cap && budget_take(&c->budget, bytes);
}

static struct entry *entry_new(
    const struct part *const *parts, size_t n_parts, struct bytes key, struct bytes value)
{
    size_t parts_bytes = n_parts * sizeof(*parts);
    struct entry *e = xmalloc(sizeof(*e) + parts_bytes + value.n + key.n);
    uint8_t *at = (uint8_t *)(e + 1);
    *e = (struct entry){.n_parts = n_parts, .parts = (const struct part **)(void *)at, .users = 1};
    memcpy(at, parts, parts_bytes);
    at += parts_bytes;
    e->shown.value = bytes_n(at, value.n);
    if (value.n != 0)
        memcpy(at, value.p, value.n);
    at += value.n;
    e->key = bytes_n(at, key.n);
    memcpy(at, key.p, key.n);
    return e;
}

void query_cache_put(struct query_cache *c, const struct part *const *parts, size_t n_parts,
    struct bytes key, struct bytes value)
{
    size_t bytes = sizeof(struct entry) + n_parts * sizeof(*parts) + value.n + key.n + ENTRY_COST;
    uint64_t hash = hash64(key.p, key.n);
    ASSERT(n_parts > 0 && key.n > 0);
    if (bytes > c->value_max)
        return;
    pthread_mutex_lock(&c->lock);
    bool room = entry_find(c, key, hash) == NULL && make_room(c, bytes);
    pthread_mutex_unlock(&c->lock);
    if (!room)
        return;
    struct entry *e = entry_new(parts, n_parts, key, value);
    e->hash = hash;
    e->bytes = bytes;
    pthread_mutex_lock(&c->lock);
    if (entry_find(c, key, hash) != NULL) { /* another query was first */
        entry_unuse(c, e);
    } else {
        e->chain = *chain_of(c, hash);
        *chain_of(c, hash) = e;
        list_push(c, e);
    }
    pthread_mutex_unlock(&c->lock);
}
