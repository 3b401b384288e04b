/* SPDX-License-Identifier: Apache-2.0
 * See cache.h. A shard is a fixed array of entries, chained from buckets by index; the sweep hand
 * gives each entry a second chance. */
#include "cache.h"

#include <pthread.h>
#include <stdlib.h>

#define SHARDS       16
#define SHARDED_FROM 512 /* entries; below, one shard keeps the bound exact */
#define NONE         UINT32_MAX

struct entry {
    struct cache_key key;
    struct cache_value *value; /* NULL: free */
    int64_t expires_ns;
    uint32_t next; /* in the bucket, or of the free list */
    bool used;
};

struct shard {
    pthread_mutex_t lock; /* guards all */
    struct entry *entries;
    uint32_t *buckets;
    uint32_t n_max, n_buckets, n, free, hand;
    size_t bytes, bytes_max;
} __attribute__((aligned(64)));

struct cache {
    unsigned n_shards;
    struct shard shards[SHARDS];
};

struct cache_value *cache_value_ref(struct cache_value *v)
{
    if (v != NULL)
        atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
    return v;
}

void cache_value_unref(struct cache_value *v)
{
    if (v != NULL && atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) == 1)
        v->destroy(v);
}

static void shard_init(struct shard *s, uint32_t n_max, size_t bytes_max)
{
    pthread_mutex_init(&s->lock, NULL);
    s->n_max = n_max;
    s->bytes_max = bytes_max;
    s->n_buckets = 8;
    while (s->n_buckets < n_max)
        s->n_buckets *= 2;
    s->entries = xcalloc(n_max, sizeof(*s->entries));
    s->buckets = xmalloc(s->n_buckets * sizeof(*s->buckets));
    memset(s->buckets, 0xff, s->n_buckets * sizeof(*s->buckets));
    for (uint32_t i = 0; i < n_max; i++)
        s->entries[i].next = i + 1 < n_max ? i + 1 : NONE;
}

struct cache *cache_new(unsigned entries_max, size_t bytes_max)
{
    struct cache *c = aligned_alloc(64, sizeof(*c));
    ASSERT(c != NULL && entries_max > 0);
    memset(c, 0, sizeof(*c));
    c->n_shards = entries_max >= SHARDED_FROM ? SHARDS : 1;
    for (unsigned i = 0; i < c->n_shards; i++)
        shard_init(&c->shards[i], entries_max / c->n_shards, bytes_max / c->n_shards);
    return c;
}

void cache_free(struct cache *c)
{
    if (c == NULL)
        return;
    for (unsigned i = 0; i < c->n_shards; i++) {
        struct shard *s = &c->shards[i];
        for (uint32_t e = 0; e < s->n_max; e++)
            cache_value_unref(s->entries[e].value);
        free(s->entries);
        free(s->buckets);
        pthread_mutex_destroy(&s->lock);
    }
    free(c);
}

static struct shard *shard_of(struct cache *c, const struct cache_key *key)
{
    return &c->shards[key->b[7] % c->n_shards];
}

/* The link that names the entry; *link is NONE when absent. */
static uint32_t *shard_find(struct shard *s, const struct cache_key *key)
{
    uint32_t *link = &s->buckets[get_u32le(key->b) & (s->n_buckets - 1)];
    while (*link != NONE && memcmp(s->entries[*link].key.b, key->b, sizeof(key->b)) != 0)
        link = &s->entries[*link].next;
    return link;
}

/* Frees the entry; the caller drops the value's reference after unlocking. */
static struct cache_value *shard_drop(struct shard *s, uint32_t *link)
{
    uint32_t i = *link;
    struct entry *e = &s->entries[i];
    struct cache_value *v = e->value;
    *link = e->next;
    s->bytes -= v->bytes;
    s->n--;
    e->value = NULL;
    e->next = s->free;
    s->free = i;
    return v;
}

struct cache_value *cache_get(struct cache *c, const struct cache_key *key, int64_t now_ns)
{
    struct shard *s = shard_of(c, key);
    struct cache_value *v = NULL, *gone = NULL;
    pthread_mutex_lock(&s->lock);
    uint32_t *link = shard_find(s, key);
    if (*link != NONE) {
        struct entry *e = &s->entries[*link];
        if (e->expires_ns <= now_ns) {
            gone = shard_drop(s, link);
        } else {
            e->used = true;
            v = cache_value_ref(e->value);
        }
    }
    pthread_mutex_unlock(&s->lock);
    cache_value_unref(gone);
    return v;
}

/* One entry leaves: expired, or not used since the hand last passed. */
static struct cache_value *shard_evict(struct shard *s, int64_t now_ns)
{
    for (;;) {
        struct entry *e = &s->entries[s->hand];
        s->hand = (s->hand + 1) % s->n_max;
        if (e->value == NULL)
            continue;
        if (e->used && e->expires_ns > now_ns) {
            e->used = false;
            continue;
        }
        uint32_t *link = shard_find(s, &e->key);
        DASSERT(*link != NONE);
        return shard_drop(s, link);
    }
}

void cache_put(struct cache *c, const struct cache_key *key, struct cache_value *v,
    int64_t expires_ns, int64_t now_ns)
{
    struct shard *s = shard_of(c, key);
    if (expires_ns <= now_ns || v->bytes > s->bytes_max / 8)
        return;
    pthread_mutex_lock(&s->lock);
    uint32_t *link = shard_find(s, key);
    if (*link != NONE)
        cache_value_unref(shard_drop(s, link));
    while (s->n == s->n_max || s->bytes + v->bytes > s->bytes_max)
        cache_value_unref(shard_evict(s, now_ns));
    uint32_t i = s->free;
    struct entry *e = &s->entries[i];
    s->free = e->next;
    uint32_t *bucket = &s->buckets[get_u32le(key->b) & (s->n_buckets - 1)];
    *e = (struct entry){
        .key = *key, .value = cache_value_ref(v), .expires_ns = expires_ns, .next = *bucket};
    *bucket = i;
    s->n++;
    s->bytes += v->bytes;
    pthread_mutex_unlock(&s->lock);
}

size_t cache_entries(struct cache *c)
{
    size_t n = 0;
    for (unsigned i = 0; i < c->n_shards; i++) {
        pthread_mutex_lock(&c->shards[i].lock);
        n += c->shards[i].n;
        pthread_mutex_unlock(&c->shards[i].lock);
    }
    return n;
}
