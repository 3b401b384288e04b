/* SPDX-License-Identifier: Apache-2.0
 * The page cache. See cache.h for the rules, below for the two lists of a shard.
 *
 * A shard is a hash table (chains through hash_next) and a list in order of use (head: newest).
 * Eviction walks a shard's list from the tail and moves what is pinned to the head; it starts in
 * the shard that needs room and goes on through the others, one lock at a time, so no lock order is
 * needed.
 */
#include "cache.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/slab.h"

#define CACHE_SHARDS     16u
#define CACHE_TABLE_MIN  64u
#define ASKED_OFTEN      2u                  /* times before; at most 3 */
#define CACHE_ASKED      8192u               /* power of two */
#define CACHE_EVICT_WALK 256u                /* pinned objects met before a shard is given up */
#define HELD_SMALL       ((uint64_t)1 << 20) /* so much of what is held comes from malloc */
#define HELD_IN_SLAB_MAX (SLAB_BYTES / 16)   /* larger ones would leave too much of a slab unused */

struct cache_shard {
    pthread_mutex_t lock; /* guards everything below */
    struct cached **table;
    uint32_t table_n, n; /* table_n: power of two */
    struct cached *newest, *oldest;
    uint64_t hits, misses;
};

/* A slab of held memory; pieces follow, each behind a struct held. It goes back when all of them
 * have: blocks that were asked together mostly go together, by a merge or by age. */
struct held_slab {
    uint32_t used, n; /* bytes given out so far; pieces alive */
};
struct held {
    struct held_slab *slab; /* NULL: malloc's */
};

struct block_cache {
    struct budget budget;
    _Atomic uint64_t serial;
    _Atomic uint64_t held;       /* block_cache_hold */
    pthread_mutex_t held_lock;   /* guards held_slab, and all slabs' counts */
    struct held_slab *held_slab; /* where the next piece goes; NULL: none yet */
    /* Nothing could be evicted, and nothing was unpinned since: looking again would be in vain.
     * Set before looking, so an unpin meanwhile is not missed (sequentially consistent, as are the
     * pins there). */
    _Atomic bool starved;
    struct block_files files;
    _Atomic uint32_t asked[CACHE_ASKED]; /* block_cache_again: by hash, the rest of it */
    struct cache_shard shards[CACHE_SHARDS];
};

struct block_cache *block_cache_new(struct budget *budget, uint64_t cap_bytes)
{
    struct block_cache *c = xcalloc(1, sizeof(*c));
    budget_init(&c->budget, budget, "block-cache", cap_bytes);
    block_files_init(&c->files);
    pthread_mutex_init(&c->held_lock, NULL);
    for (uint32_t i = 0; i < CACHE_SHARDS; i++) {
        struct cache_shard *s = &c->shards[i];
        pthread_mutex_init(&s->lock, NULL);
        s->table_n = CACHE_TABLE_MIN;
        s->table = xcalloc(s->table_n, sizeof(struct cached *));
    }
    return c;
}

static uint64_t cache_hash(uint64_t block, uint64_t key)
{
    return hash_mix(block * 0x9e3779b97f4a7c15ULL + key);
}

static struct cache_shard *cache_shard(struct block_cache *c, uint64_t hash)
{
    return &c->shards[hash >> 60 & (CACHE_SHARDS - 1)];
}

static struct cached **shard_slot(struct cache_shard *s, uint64_t hash)
{
    return &s->table[hash & (s->table_n - 1)];
}

static void shard_list_remove(struct cache_shard *s, struct cached *o)
{
    *(o->lru_prev != NULL ? &o->lru_prev->lru_next : &s->newest) = o->lru_next;
    *(o->lru_next != NULL ? &o->lru_next->lru_prev : &s->oldest) = o->lru_prev;
}

static void shard_list_push(struct cache_shard *s, struct cached *o)
{
    o->lru_prev = NULL;
    o->lru_next = s->newest;
    *(s->newest != NULL ? &s->newest->lru_prev : &s->oldest) = o;
    s->newest = o;
}

static void cached_free(struct cached *o)
{
    budget_give(o->payer, o->bytes);
    free(o);
}

static void shard_drop(struct cache_shard *s, struct cached *o)
{
    struct cached **at = shard_slot(s, cache_hash(o->block, o->key));
    while (*at != o)
        at = &(*at)->hash_next;
    *at = o->hash_next;
    shard_list_remove(s, o);
    s->n--;
    cached_free(o);
}

static void shard_grow(struct cache_shard *s)
{
    uint32_t n = s->table_n * 2;
    struct cached **table = xcalloc(n, sizeof(struct cached *));
    for (uint32_t i = 0; i < s->table_n; i++) {
        for (struct cached *o = s->table[i], *next; o != NULL; o = next) {
            next = o->hash_next;
            struct cached **slot = &table[cache_hash(o->block, o->key) & (n - 1)];
            o->hash_next = *slot;
            *slot = o;
        }
    }
    free(s->table);
    s->table = table;
    s->table_n = n;
}

void block_cache_free(struct block_cache *c)
{
    if (c == NULL)
        return;
    for (uint32_t i = 0; i < CACHE_SHARDS; i++) {
        struct cache_shard *s = &c->shards[i];
        while (s->newest != NULL) {
            ASSERT(atomic_load_explicit(&s->newest->pins, memory_order_acquire) == 0);
            shard_drop(s, s->newest);
        }
        free(s->table);
        pthread_mutex_destroy(&s->lock);
    }
    ASSERT(c->held_slab == NULL);
    pthread_mutex_destroy(&c->held_lock);
    block_files_deinit(&c->files);
    budget_deinit(&c->budget);
    free(c);
}

void block_cache_stats(
    struct block_cache *c, uint64_t *ret_bytes, uint64_t *ret_hits, uint64_t *ret_misses)
{
    uint64_t hits = 0, misses = 0;
    for (uint32_t i = 0; i < CACHE_SHARDS; i++) {
        struct cache_shard *s = &c->shards[i];
        pthread_mutex_lock(&s->lock);
        hits += s->hits;
        misses += s->misses;
        pthread_mutex_unlock(&s->lock);
    }
    *ret_bytes = budget_used(&c->budget);
    *ret_hits = hits;
    *ret_misses = misses;
}

struct block_files *block_cache_files(struct block_cache *c)
{
    return &c->files;
}

struct budget *block_cache_budget(struct block_cache *c)
{
    return &c->budget;
}

uint64_t block_cache_serial(struct block_cache *c)
{
    return atomic_fetch_add_explicit(&c->serial, 1, memory_order_relaxed) + 1;
}

static struct cached *shard_find(struct cache_shard *s, uint64_t hash, uint64_t block, uint64_t key)
{
    for (struct cached *o = *shard_slot(s, hash); o != NULL; o = o->hash_next)
        if (o->block == block && o->key == key)
            return o;
    return NULL;
}

struct cached *block_cache_find(struct block_cache *c, uint64_t block, uint64_t key)
{
    uint64_t hash = cache_hash(block, key);
    struct cache_shard *s = cache_shard(c, hash);
    pthread_mutex_lock(&s->lock);
    struct cached *o = shard_find(s, hash, block, key);
    if (o != NULL) {
        atomic_fetch_add_explicit(&o->pins, 1, memory_order_relaxed);
        s->hits++;
        if (s->newest != o) {
            shard_list_remove(s, o);
            shard_list_push(s, o);
        }
    } else {
        s->misses++;
    }
    pthread_mutex_unlock(&s->lock);
    return o;
}

/* Frees unpinned objects of one shard, oldest first, until `want` bytes were given back. What is
 * pinned is in use, so it is the newest from now on. WHY: of a thousand blocks, what a query holds
 * of each would lie at the old end, and every eviction would walk over it anew. */
static uint64_t shard_evict(struct cache_shard *s, uint64_t want)
{
    uint64_t freed = 0;
    pthread_mutex_lock(&s->lock);
    uint32_t may_pass = MIN(s->n, CACHE_EVICT_WALK);
    for (struct cached *o = s->oldest, *next; o != NULL && freed < want; o = next) {
        next = o->lru_prev;
        /* Pairs with unpin: the last user is done with the bytes, and see block_cache.starved. */
        if (atomic_load(&o->pins) == 0) {
            freed += o->bytes;
            shard_drop(s, o);
            continue;
        }
        if (may_pass-- == 0)
            break;
        shard_list_remove(s, o);
        shard_list_push(s, o);
    }
    pthread_mutex_unlock(&s->lock);
    return freed;
}

void block_cache_shrink(struct block_cache *c, uint64_t bytes)
{
    uint64_t freed = 0;
    for (uint32_t i = 0; i < CACHE_SHARDS && freed < bytes; i++)
        freed += shard_evict(&c->shards[i], bytes - freed);
}

void block_cache_clear(struct block_cache *c)
{
    block_cache_shrink(c, UINT64_MAX);
}

/* needed: else the query fails, so everything that is not in use may go. */
static bool cache_make_room(struct block_cache *c, uint64_t bytes, bool needed)
{
    if (budget_take(&c->budget, bytes))
        return true;
    uint64_t cap = atomic_load_explicit(&c->budget.cap, memory_order_relaxed);
    if (cap != 0 && bytes > (needed ? cap : cap / 4))
        return false; /* one object must not throw out everything else */
    if (atomic_exchange(&c->starved, true) && !needed)
        return false;
    uint32_t first = (uint32_t)(hash_mix(budget_used(&c->budget)) % CACHE_SHARDS);
    bool evicted = false;
    for (uint32_t i = 0; i < CACHE_SHARDS; i++) {
        /* Evicting a little more than needed keeps the next calls off this path. */
        if (shard_evict(&c->shards[(first + i) % CACHE_SHARDS], bytes) == 0)
            continue;
        evicted = true;
        if (budget_take(&c->budget, bytes)) {
            atomic_store(&c->starved, false);
            return true;
        }
    }
    if (evicted)
        atomic_store(&c->starved, false);
    return false;
}

static struct held *held_in_slab(struct block_cache *c, uint64_t bytes)
{
    struct held *h = NULL;
    uint32_t n = (uint32_t)((sizeof(*h) + bytes + 15) & ~(uint64_t)15);
    pthread_mutex_lock(&c->held_lock);
    struct held_slab *s = c->held_slab;
    if (s == NULL || n > SLAB_BYTES - s->used) {
        s = slab_take();
        if (s != NULL) { /* pieces keep the one before */
            *s = (struct held_slab){.used = sizeof(*s)};
            c->held_slab = s;
        }
    }
    if (s != NULL) {
        h = (struct held *)(void *)((uint8_t *)s + s->used);
        h->slab = s;
        s->used += n;
        s->n++;
    }
    pthread_mutex_unlock(&c->held_lock);
    return h;
}

static void held_free(struct block_cache *c, struct held *h)
{
    struct held_slab *s = h->slab;
    if (s == NULL) {
        free(h);
        return;
    }
    pthread_mutex_lock(&c->held_lock);
    ASSERT(s->n > 0);
    bool last = --s->n == 0;
    if (last && c->held_slab == s)
        c->held_slab = NULL;
    pthread_mutex_unlock(&c->held_lock);
    if (last)
        slab_give(s);
}

/* WHY slabs: filters over the ids of a thousand blocks are 20 MiB, and each lookup asks a line of
 * each: on pages of 4 KiB they are 5,000 faults at first, and a miss of the TLB each time. */
void *block_cache_hold(struct block_cache *c, uint64_t bytes)
{
    uint64_t cap = atomic_load_explicit(&c->budget.cap, memory_order_relaxed);
    uint64_t held = atomic_fetch_add_explicit(&c->held, bytes, memory_order_relaxed) + bytes;
    if ((cap != 0 && held > cap / 4) || !cache_make_room(c, bytes, false)) {
        atomic_fetch_sub_explicit(&c->held, bytes, memory_order_relaxed);
        return NULL;
    }
    struct held *h = NULL;
#ifndef __SANITIZE_ADDRESS__ /* there each is malloc's */
    if (held > HELD_SMALL && bytes <= HELD_IN_SLAB_MAX)
        h = held_in_slab(c, bytes);
#endif
    if (h == NULL) {
        h = xmalloc(sizeof(*h) + bytes);
        h->slab = NULL;
    }
    return h + 1;
}

bool block_cache_spares(struct block_cache *c, uint64_t bytes)
{
    uint64_t cap = atomic_load_explicit(&c->budget.cap, memory_order_relaxed);
    return cap == 0 || budget_used(&c->budget) + bytes <= cap - cap / 4;
}

void block_cache_let_go(struct block_cache *c, void *p, uint64_t bytes)
{
    if (p == NULL)
        return;
    held_free(c, (struct held *)p - 1);
    atomic_fetch_sub_explicit(&c->held, bytes, memory_order_relaxed);
    budget_give(&c->budget, bytes);
}

bool block_cache_again(struct block_cache *c, uint64_t what)
{
    uint64_t hash = hash_mix(what),
             cap = atomic_load_explicit(&c->budget.cap, memory_order_relaxed);
    uint32_t mark = (uint32_t)(hash >> 32) & ~3u; /* below it how often, up to ASKED_OFTEN */
    /* Relaxed: a hint. */
    _Atomic uint32_t *at = &c->asked[hash & (CACHE_ASKED - 1)];
    uint32_t old = atomic_load_explicit(at, memory_order_relaxed);
    uint32_t times = (old & ~3u) == mark ? old & 3u : 0;
    if (times < ASKED_OFTEN) {
        atomic_store_explicit(at, mark | (times + 1), memory_order_relaxed);
        return false;
    }
    return cap == 0 || budget_used(&c->budget) < cap - cap / 8;
}

/* `bytes` are charged to payer: given back when there is no memory. */
static struct cached *cached_new(uint64_t bytes, struct budget *payer)
{
    struct cached *o = malloc(bytes);
    if (o == NULL) {
        budget_give(payer, bytes);
        return NULL;
    }
    *o = (struct cached){.bytes = bytes, .payer = payer};
    atomic_init(&o->pins, 1);
    return o;
}

struct cached *block_cache_alloc(struct block_cache *c, uint64_t bytes, struct budget *fallback)
{
    ASSERT(bytes >= sizeof(struct cached));
    struct budget *payer = &c->budget;
    if (!cache_make_room(c, bytes, false)) {
        if (budget_take(fallback, bytes)) {
            budget_crowd(fallback); /* others may have pinned what is in the way */
            payer = fallback;
        } else if (!cache_make_room(c, bytes, true)) {
            return NULL;
        }
    }
    return cached_new(bytes, payer);
}

struct cached *block_cache_alloc_private(uint64_t bytes, struct budget *budget)
{
    ASSERT(bytes >= sizeof(struct cached));
    return budget_take(budget, bytes) ? cached_new(bytes, budget) : NULL;
}

void block_cache_discard(struct cached *o)
{
    if (o == NULL)
        return;
    ASSERT(!o->shared);
    cached_free(o);
}

struct cached *block_cache_add(
    struct block_cache *c, struct cached *o, uint64_t block, uint64_t key)
{
    ASSERT(!o->shared);
    if (o->payer != &c->budget)
        return o;
    uint64_t hash = cache_hash(block, key);
    struct cache_shard *s = cache_shard(c, hash);
    pthread_mutex_lock(&s->lock);
    struct cached *twin = shard_find(s, hash, block, key);
    if (twin != NULL) {
        atomic_fetch_add_explicit(&twin->pins, 1, memory_order_relaxed);
        pthread_mutex_unlock(&s->lock);
        cached_free(o);
        return twin;
    }
    o->block = block;
    o->key = key;
    o->shared = true;
    if (s->n >= s->table_n)
        shard_grow(s);
    struct cached **slot = shard_slot(s, hash);
    o->hash_next = *slot;
    *slot = o;
    shard_list_push(s, o);
    s->n++;
    pthread_mutex_unlock(&s->lock);
    return o;
}

void block_cache_unpin(struct cached *o)
{
    bool shared = o->shared; /* once unpinned, the object may be gone */
    struct block_cache *c = shared ? CONTAINER_OF(o->payer, struct block_cache, budget) : NULL;
    uint32_t before = atomic_fetch_sub(&o->pins, 1);
    ASSERT(before > 0);
    if (c != NULL && before == 1 && atomic_load(&c->starved))
        atomic_store(&c->starved, false);
    if (!shared) { /* private: this reader was the only user */
        ASSERT(before == 1);
        cached_free(o);
    }
}

void block_cache_purge(struct block_cache *c, uint64_t block)
{
    for (uint32_t i = 0; i < CACHE_SHARDS; i++) {
        struct cache_shard *s = &c->shards[i];
        pthread_mutex_lock(&s->lock);
        for (struct cached *o = s->newest, *next; o != NULL; o = next) {
            next = o->lru_next;
            if (o->block == block)
                shard_drop(s, o);
        }
        pthread_mutex_unlock(&s->lock);
    }
}
