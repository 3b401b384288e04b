/* SPDX-License-Identifier: Apache-2.0
 * The memory of pairs.
 *
 * Bits: a hash table of chunks, one for the part of the lower serial and 64 serials that follow
 * each other, of blocks that come in order. It doubles up to half of the budget. When it is full
 * then, what nobody asked for of late is thrown out: rows of blocks that are gone, above all. Time
 * is counted in chunks that came.
 *
 * Lists: a hash table of chains over entries in one list, most recently used first, as in cache.c.
 */
#include "pairs.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/metric.h"

#define CHUNKS_MIN 256u
#define CHAINS_MIN 256u
#define ENTRY_COST 32u /* of the allocator */
#define COL_BITS   26u
#define COL_MASK   ((1u << COL_BITS) - 1)
#define AGE_MASK   ((1u << (32 - COL_BITS)) - 1)

static struct metric_family compared = {
    .name = "vivace_query_traces_compared_total",
    .help = "Traces of a part that were looked for in another: none of a pair of blocks that is "
            "known.",
    .type = METRIC_COUNTER,
};

struct chunk {
    uint32_t row;     /* a serial; 0: free */
    uint32_t col;     /* higher serials / 64, and above it the epoch when it was asked for last */
    uint64_t none[2]; /* by serial % 64: shares nothing; [1]: by time */
};

struct entry {
    struct entry *chain, *newer, *older;
    struct pair_key key;
    uint32_t n_done, n;
    uint32_t users; /* and one for the table */
    struct pair_trace traces[];
};

struct pairs {
    struct budget budget;
    uint32_t traces_max;
    struct metric *compared;
    pthread_mutex_t lock; /* guards what follows, and entries but for their traces */
    struct chunk *chunks;
    size_t n_chunks, cap_chunks; /* a power of 2 */
    uint32_t epoch;
    size_t n_came; /* chunks, in this epoch: it ends with a quarter of cap_chunks */
    struct entry *newest, *oldest;
    struct entry **chains; /* NULL: none yet */
    size_t n_chains;       /* a power of 2, half of the entries that there can be, or more */
};

static size_t entry_bytes(uint32_t n)
{
    return sizeof(struct entry) + n * sizeof(struct pair_trace) + ENTRY_COST;
}

struct pairs *pairs_new(struct budget *parent, uint64_t bytes_max)
{
    struct pairs *p = xcalloc(1, sizeof(*p));
    ASSERT(bytes_max > 0);
    budget_init(&p->budget, parent, "shared traces", bytes_max);
    budget_list(&p->budget);
    p->n_chains = CHAINS_MIN;
    while (p->n_chains < bytes_max / (2 * entry_bytes(0)))
        p->n_chains *= 2;
    p->traces_max = (uint32_t)MIN(bytes_max / 8 / sizeof(struct pair_trace), UINT32_MAX / 2);
    pthread_mutex_init(&p->lock, NULL);
    metric_register(&compared);
    p->compared = metric_series0(&compared);
    return p;
}

void pairs_lock(struct pairs *p)
{
    pthread_mutex_lock(&p->lock);
}

void pairs_unlock(struct pairs *p)
{
    pthread_mutex_unlock(&p->lock);
}

uint32_t pairs_traces_max(const struct pairs *p)
{
    return p->traces_max;
}

void pairs_count(struct pairs *p, uint64_t n_compared)
{
    metric_add(p->compared, (double)n_compared);
}

uint64_t pairs_counted(const struct pairs *p)
{
    return (uint64_t)metric_value(p->compared);
}

/* ---- bits ---- */

/* Where a chunk is, or would be. The table is never full. */
static struct chunk *chunk_at(struct chunk *chunks, size_t cap, uint32_t row, uint32_t col)
{
    size_t at = (size_t)hash_mix((uint64_t)row << 32 | col) & (cap - 1);
    while (chunks[at].row != 0 && (chunks[at].row != row || (chunks[at].col & COL_MASK) != col))
        at = (at + 1) & (cap - 1);
    return &chunks[at];
}

static void touch(const struct pairs *p, struct chunk *c)
{
    c->col = (c->col & COL_MASK) | (p->epoch & AGE_MASK) << COL_BITS;
}

/* Asked for in this epoch or the one before. */
static bool is_fresh(const struct pairs *p, const struct chunk *c)
{
    return ((p->epoch - (c->col >> COL_BITS)) & AGE_MASK) <= 1;
}

/* Into a table of `cap` chunks, all or the fresh ones. False: no memory. */
static bool chunks_move(struct pairs *p, size_t cap, bool all)
{
    struct chunk *old = p->chunks;
    if (!budget_take(&p->budget, cap * sizeof(*old)))
        return false;
    p->chunks = xcalloc(cap, sizeof(*old));
    p->n_chunks = 0;
    for (size_t i = 0; i < p->cap_chunks; i++) {
        if (old[i].row == 0 || !(all || is_fresh(p, &old[i])))
            continue;
        *chunk_at(p->chunks, cap, old[i].row, old[i].col & COL_MASK) = old[i];
        p->n_chunks++;
    }
    free(old);
    budget_give(&p->budget, p->cap_chunks * sizeof(*old));
    p->cap_chunks = cap;
    return true;
}

/* The table is three quarters full. */
static bool chunks_grow(struct pairs *p)
{
    uint64_t most = atomic_load_explicit(&p->budget.cap, memory_order_relaxed) / 2;
    size_t cap = p->cap_chunks == 0 ? CHUNKS_MIN : p->cap_chunks * 2;
    /* Both tables are there for a moment. */
    if ((cap + p->cap_chunks) * sizeof(struct chunk) <= most && chunks_move(p, cap, true))
        return true;
    if (p->cap_chunks == 0 || !chunks_move(p, p->cap_chunks, false))
        return false;
    if (p->n_chunks >= p->cap_chunks / 8 * 5) { /* most is in use: begin anew */
        memset(p->chunks, 0, p->cap_chunks * sizeof(*p->chunks));
        p->n_chunks = 0;
    }
    return true;
}

static bool numbers(uint64_t *a, uint64_t *b)
{
    if (*a > *b) {
        uint64_t t = *a;
        *a = *b;
        *b = t;
    }
    return *b < UINT32_MAX; /* beyond, nothing is remembered */
}

bool pairs_none(struct pairs *p, uint64_t a, uint64_t b, bool by_time)
{
    if (p->n_chunks == 0 || !numbers(&a, &b))
        return false;
    struct chunk *c = chunk_at(p->chunks, p->cap_chunks, (uint32_t)a, (uint32_t)(b / 64));
    if (c->row == 0)
        return false;
    touch(p, c);
    return ((c->none[0] | (by_time ? c->none[1] : 0)) >> (b % 64) & 1) != 0;
}

void pairs_put_none(struct pairs *p, uint64_t a, uint64_t b, bool by_time)
{
    if (!numbers(&a, &b))
        return;
    pthread_mutex_lock(&p->lock);
    if (p->n_chunks < p->cap_chunks / 4 * 3 || chunks_grow(p)) {
        uint32_t row = (uint32_t)a, col = (uint32_t)(b / 64);
        struct chunk *c = chunk_at(p->chunks, p->cap_chunks, row, col);
        if (c->row == 0) {
            p->n_chunks++;
            p->n_came++;
        }
        if (p->n_came > p->cap_chunks / 4) {
            p->n_came = 0;
            p->epoch++;
        }
        c->row = row;
        c->col = col;
        touch(p, c);
        c->none[by_time] |= (uint64_t)1 << (b % 64);
    }
    pthread_mutex_unlock(&p->lock);
}

/* ---- lists; the static ones under the lock ---- */

static struct entry **chain_of(struct pairs *p, const struct pair_key *k)
{
    uint64_t h = hash_mix(hash_mix(k->of ^ (uint64_t)k->by_time << 63) + k->in);
    h = k->from == 0 ? h : hash_mix(h + k->from);
    return &p->chains[h & (p->n_chains - 1)];
}

static struct entry *entry_find(struct pairs *p, const struct pair_key *k)
{
    struct entry *e = p->chains == NULL ? NULL : *chain_of(p, k);
    while (e != NULL && (e->key.of != k->of || e->key.in != k->in || e->key.by_time != k->by_time ||
                            e->key.from != k->from))
        e = e->chain;
    return e;
}

static void list_remove(struct pairs *p, struct entry *e)
{
    *(e->newer == NULL ? &p->newest : &e->newer->older) = e->older;
    *(e->older == NULL ? &p->oldest : &e->older->newer) = e->newer;
}

static void list_push(struct pairs *p, struct entry *e)
{
    e->newer = NULL;
    e->older = p->newest;
    *(p->newest == NULL ? &p->oldest : &p->newest->newer) = e;
    p->newest = e;
}

static void entry_unuse(struct pairs *p, struct entry *e)
{
    ASSERT(e->users > 0);
    if (--e->users > 0)
        return;
    budget_give(&p->budget, entry_bytes(e->n));
    free(e);
}

static void entry_drop(struct pairs *p, struct entry *e)
{
    struct entry **at = chain_of(p, &e->key);
    while (*at != e)
        at = &(*at)->chain;
    *at = e->chain;
    list_remove(p, e);
    entry_unuse(p, e);
}

uint32_t pairs_done(struct pairs *p, const struct pair_key *key)
{
    const struct entry *e = entry_find(p, key);
    return e == NULL ? 0 : e->n_done;
}

void pairs_get(struct pairs *p, const struct pair_key *key, struct pair_known *ret)
{
    *ret = (struct pair_known){0};
    pthread_mutex_lock(&p->lock);
    struct entry *e = entry_find(p, key);
    if (e != NULL) {
        list_remove(p, e);
        list_push(p, e);
        *ret = (struct pair_known){e->n_done, e->n, e->traces, e};
        e->users++;
    }
    pthread_mutex_unlock(&p->lock);
}

void pairs_release(struct pairs *p, struct pair_known *k)
{
    if (k->owner != NULL) {
        pthread_mutex_lock(&p->lock);
        entry_unuse(p, k->owner);
        pthread_mutex_unlock(&p->lock);
    }
    *k = (struct pair_known){0};
}

static bool make_room(struct pairs *p, size_t bytes)
{
    if (p->chains == NULL) {
        if (!budget_take(&p->budget, p->n_chains * sizeof(struct entry *)))
            return false;
        p->chains = xcalloc(p->n_chains, sizeof(struct entry *));
    }
    uint64_t cap = atomic_load_explicit(&p->budget.cap, memory_order_relaxed);
    while (budget_used(&p->budget) + bytes > cap && p->oldest != NULL)
        entry_drop(p, p->oldest);
    return budget_used(&p->budget) + bytes <= cap && budget_take(&p->budget, bytes);
}

static void entry_replace(
    struct pairs *p, struct entry *old, const struct pair_key *key, const struct pair_known *k)
{
    if (old != NULL)
        entry_drop(p, old);
    if (!make_room(p, entry_bytes(k->n)))
        return;
    struct entry *e = xmalloc(sizeof(*e) + k->n * sizeof(e->traces[0]));
    *e = (struct entry){.key = *key, .n_done = k->n_done, .n = k->n, .users = 1};
    if (k->n != 0)
        memcpy(e->traces, k->traces, k->n * sizeof(e->traces[0]));
    e->chain = *chain_of(p, key);
    *chain_of(p, key) = e;
    list_push(p, e);
}

void pairs_put(struct pairs *p, const struct pair_key *key, const struct pair_known *k)
{
    if (k->n > p->traces_max)
        return;
    pthread_mutex_lock(&p->lock);
    struct entry *e = entry_find(p, key);
    if (e != NULL && e->n_done <= k->n_done && e->n == k->n)
        e->n_done = k->n_done; /* the same traces: they come in the order of the list */
    else if (e == NULL || e->n_done <= k->n_done) /* else another query was further */
        entry_replace(p, e, key, k);
    pthread_mutex_unlock(&p->lock);
}

void pairs_free(struct pairs *p)
{
    if (p == NULL)
        return;
    while (p->newest != NULL)
        entry_drop(p, p->newest);
    if (p->chains != NULL)
        budget_give(&p->budget, p->n_chains * sizeof(struct entry *));
    free(p->chains);
    free(p->chunks);
    budget_give(&p->budget, p->cap_chunks * sizeof(*p->chunks));
    budget_unlist(&p->budget);
    budget_deinit(&p->budget); /* asserts that nothing was in use */
    pthread_mutex_destroy(&p->lock);
    free(p);
}
