/* SPDX-License-Identifier: Apache-2.0 */
#include "edges.h"

#include <stdlib.h>

#include "base/hash.h"

struct dropped_side {
    struct edge_key key;
    enum edge_side side;
    int64_t expires_ms;
    struct dropped_side *next, *newer;
};

static uint32_t slot(const struct edges *e, const struct edge_key *k)
{
    uint64_t h = get_u64le(k->trace.b) ^ get_u64le(k->trace.b + 8) ^ hash_mix(k->span);
    return (uint32_t)hash_mix(h) & (e->n_table - 1);
}

static bool key_eq(const struct edge_key *a, const struct edge_key *b)
{
    return a->span == b->span && trace_id_eq(&a->trace, &b->trace);
}

#define TABLE_MIN 64
#define TABLE_MAX 65536 /* slots are chains: more edges than slots only cost time */

void edges_init(struct edges *e, struct budget *budget, uint32_t items_max, int64_t wait_ms,
    uint32_t n_dimensions)
{
    *e = (struct edges){.budget = budget,
        .items_max = items_max,
        .wait_ms = wait_ms,
        .n_dimensions = n_dimensions,
        .n_table = TABLE_MIN,
        .table = xcalloc(TABLE_MIN, sizeof(*e->table)),
        .dropped = xcalloc(TABLE_MIN, sizeof(*e->dropped))};
    budget_take_force(budget, TABLE_MIN * 2 * sizeof(void *));
}

/* Twice the slots when there are more items than slots; a refusal of the budget costs time only. */
static void table_grow(struct edges *e)
{
    uint32_t n = e->n_table * 2;
    if (MAX(e->n, e->n_dropped) <= e->n_table || n > TABLE_MAX ||
        !budget_take(e->budget, (uint64_t)e->n_table * 2 * sizeof(void *)))
        return;
    free(e->table);
    free(e->dropped);
    e->table = xcalloc(n, sizeof(*e->table));
    e->dropped = xcalloc(n, sizeof(*e->dropped));
    e->n_table = n;
    for (struct edge *x = e->oldest; x != NULL; x = x->newer) {
        struct edge **head = &e->table[slot(e, &x->key)];
        x->next = *head;
        *head = x;
    }
    for (struct dropped_side *d = e->dropped_oldest; d != NULL; d = d->newer) {
        struct dropped_side **head = &e->dropped[slot(e, &d->key)];
        d->next = *head;
        *head = d;
    }
}

static void forget_oldest(struct edges *e)
{
    struct dropped_side *d = e->dropped_oldest, **at = &e->dropped[slot(e, &d->key)];
    while (*at != d)
        at = &(*at)->next;
    *at = d->next;
    e->dropped_oldest = d->newer;
    if (e->dropped_oldest == NULL)
        e->dropped_newest = NULL;
    e->n_dropped--;
    budget_give(e->budget, sizeof(*d));
    free(d);
}

void edges_deinit(struct edges *e)
{
    while (e->oldest != NULL)
        edge_free(e, e->oldest);
    while (e->dropped_oldest != NULL)
        forget_oldest(e);
    free(e->table);
    free(e->dropped);
    budget_give(e->budget, (uint64_t)e->n_table * 2 * sizeof(void *));
}

struct edge *edges_find(const struct edges *e, const struct edge_key *k)
{
    struct edge *x = e->table[slot(e, k)];
    while (x != NULL && !key_eq(&x->key, k))
        x = x->next;
    return x;
}

struct edge *edge_new(struct edges *e, const struct edge_key *k, int64_t now_ms)
{
    uint32_t bytes = (uint32_t)(sizeof(struct edge) + e->n_dimensions * sizeof(struct str));
    if (!budget_take(e->budget, bytes))
        return NULL;
    struct edge *x = xcalloc(1, bytes);
    x->key = *k;
    x->bytes = bytes;
    x->expires_ms = now_ms + e->wait_ms;
    return x;
}

bool edges_store(struct edges *e, struct edge *x)
{
    if (e->n >= e->items_max)
        return false;
    struct edge **head = &e->table[slot(e, &x->key)];
    x->next = *head;
    *head = x;
    x->older = e->newest;
    if (e->newest != NULL)
        e->newest->newer = x;
    else
        e->oldest = x;
    e->newest = x;
    x->stored = true;
    e->n++;
    table_grow(e);
    return true;
}

static void unlink_edge(struct edges *e, struct edge *x)
{
    struct edge **at = &e->table[slot(e, &x->key)];
    while (*at != x)
        at = &(*at)->next;
    *at = x->next;
    *(x->older != NULL ? &x->older->newer : &e->oldest) = x->newer;
    *(x->newer != NULL ? &x->newer->older : &e->newest) = x->older;
    e->n--;
}

static void text_free(struct str s)
{
    free((void *)(uintptr_t)s.p);
}

void edge_free(struct edges *e, struct edge *x)
{
    if (x->stored)
        unlink_edge(e, x);
    for (unsigned s = 0; s < EDGE_SIDES; s++)
        text_free(x->service[s]);
    text_free(x->peer);
    for (uint32_t i = 0; i < e->n_dimensions; i++)
        text_free(x->dimensions[i]);
    budget_give(e->budget, x->bytes);
    free(x);
}

void edge_set(struct edges *e, struct edge *x, struct str *field, struct str text)
{
    if (str_eq(*field, text))
        return;
    text_free(*field);
    budget_give(e->budget, field->n);
    x->bytes -= (uint32_t)field->n;
    *field = (struct str){0};
    if (text.n == 0 || !budget_take(e->budget, text.n))
        return;
    *field = str_n(xstrndup(text.p, text.n), text.n);
    x->bytes += (uint32_t)text.n;
}

struct edge *edges_expired(const struct edges *e, int64_t now_ms)
{
    return e->oldest != NULL && now_ms >= e->oldest->expires_ms ? e->oldest : NULL;
}

bool edges_is_dropped(
    const struct edges *e, const struct edge_key *k, enum edge_side side, int64_t now_ms)
{
    for (const struct dropped_side *d = e->dropped[slot(e, k)]; d != NULL; d = d->next)
        if (d->side == side && key_eq(&d->key, k) && now_ms < d->expires_ms)
            return true;
    return false;
}

bool edges_drop_side(struct edges *e, const struct edge_key *k, enum edge_side side, int64_t now_ms)
{
    if (edges_is_dropped(e, k, side, now_ms))
        return true;
    if (e->n_dropped >= e->items_max || !budget_take(e->budget, sizeof(struct dropped_side)))
        return false;
    struct dropped_side *d = xmalloc(sizeof(*d));
    struct dropped_side **head = &e->dropped[slot(e, k)];
    *d = (struct dropped_side){
        .key = *k, .side = side, .expires_ms = now_ms + e->wait_ms, .next = *head};
    *head = d;
    if (e->dropped_newest != NULL)
        e->dropped_newest->newer = d;
    else
        e->dropped_oldest = d;
    e->dropped_newest = d;
    e->n_dropped++;
    table_grow(e);
    return true;
}

void edges_forget(struct edges *e, int64_t now_ms)
{
    while (e->dropped_oldest != NULL && now_ms >= e->dropped_oldest->expires_ms)
        forget_oldest(e);
}
