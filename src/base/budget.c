/* SPDX-License-Identifier: Apache-2.0
 * Budget tree: charge a leaf and its parents, all or nothing. */
#include "base/budget.h"

#include <pthread.h>

static struct {
    pthread_mutex_t lock;
    struct budget *first; /* as listed */
} listed = {.lock = PTHREAD_MUTEX_INITIALIZER};

void budget_init(struct budget *b, struct budget *parent, const char *name, uint64_t cap)
{
    *b = (struct budget){.parent = parent, .name = name};
    atomic_store_explicit(&b->cap, cap, memory_order_relaxed);
}

void budget_deinit(struct budget *b)
{
    ASSERT(budget_used(b) == 0);
}

static void charge(struct budget *b, uint64_t n)
{
    uint64_t now = atomic_fetch_add_explicit(&b->used, n, memory_order_relaxed) + n;
    uint64_t peak = atomic_load_explicit(&b->peak, memory_order_relaxed);
    while (now > peak && !atomic_compare_exchange_weak_explicit(
                             &b->peak, &peak, now, memory_order_relaxed, memory_order_relaxed))
        ;
}

static bool charge_within_cap(struct budget *b, uint64_t n)
{
    uint64_t cap = atomic_load_explicit(&b->cap, memory_order_relaxed);
    if (cap == 0) {
        if (n > INT64_MAX) { /* no memory is that large; the sum must not wrap */
            atomic_fetch_add_explicit(&b->refused, 1, memory_order_relaxed);
            return false;
        }
        charge(b, n);
        return true;
    }
    uint64_t used = atomic_load_explicit(&b->used, memory_order_relaxed);
    do {
        if (n > cap || used > cap - n) {
            atomic_fetch_add_explicit(&b->refused, 1, memory_order_relaxed);
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(
        &b->used, &used, used + n, memory_order_relaxed, memory_order_relaxed));
    uint64_t now = used + n, peak = atomic_load_explicit(&b->peak, memory_order_relaxed);
    while (now > peak && !atomic_compare_exchange_weak_explicit(
                             &b->peak, &peak, now, memory_order_relaxed, memory_order_relaxed))
        ;
    return true;
}

bool budget_take_below(struct budget *b, const struct budget *top, uint64_t n)
{
    for (struct budget *at = b; at != top; at = at->parent) {
        if (charge_within_cap(at, n))
            continue;
        for (struct budget *undo = b; undo != at; undo = undo->parent) {
            atomic_fetch_sub_explicit(&undo->used, n, memory_order_relaxed);
            atomic_store_explicit(&undo->crowded, true, memory_order_relaxed);
        }
        return false;
    }
    return true;
}

bool budget_take(struct budget *b, uint64_t n)
{
    return budget_take_below(b, NULL, n);
}

bool budget_fits(struct budget *b, uint64_t n)
{
    for (struct budget *at = b; at != NULL; at = at->parent) {
        uint64_t cap = atomic_load_explicit(&at->cap, memory_order_relaxed);
        uint64_t used = atomic_load_explicit(&at->used, memory_order_relaxed);
        if (cap == 0 || (n <= cap && used <= cap - n))
            continue;
        atomic_fetch_add_explicit(&at->refused, 1, memory_order_relaxed);
        return false;
    }
    return true;
}

void budget_take_force(struct budget *b, uint64_t n)
{
    for (; b != NULL; b = b->parent)
        charge(b, n);
}

void budget_give_below(struct budget *b, const struct budget *top, uint64_t n)
{
    for (; b != top; b = b->parent) {
        uint64_t before = atomic_fetch_sub_explicit(&b->used, n, memory_order_relaxed);
        ASSERT(before >= n);
    }
}

void budget_give(struct budget *b, uint64_t n)
{
    budget_give_below(b, NULL, n);
}

uint64_t budget_used(const struct budget *b)
{
    return atomic_load_explicit(&b->used, memory_order_relaxed);
}

uint64_t budget_most(const struct budget *b)
{
    uint64_t most = UINT64_MAX;
    for (; b != NULL; b = b->parent) {
        uint64_t cap = atomic_load_explicit(&b->cap, memory_order_relaxed);
        if (cap != 0)
            most = MIN(most, cap);
    }
    return most;
}

bool budget_crowded(const struct budget *b)
{
    return atomic_load_explicit(&b->crowded, memory_order_relaxed);
}

void budget_crowd(struct budget *b)
{
    for (; b != NULL; b = b->parent)
        atomic_store_explicit(&b->crowded, true, memory_order_relaxed);
}

void budget_list(struct budget *b)
{
    struct budget **at = &listed.first;
    pthread_mutex_lock(&listed.lock);
    while (*at != NULL)
        at = &(*at)->next;
    b->next = NULL;
    *at = b;
    pthread_mutex_unlock(&listed.lock);
}

void budget_unlist(struct budget *b)
{
    pthread_mutex_lock(&listed.lock);
    struct budget **at = &listed.first;
    while (*at != NULL && *at != b)
        at = &(*at)->next;
    if (*at != NULL)
        *at = b->next;
    pthread_mutex_unlock(&listed.lock);
}

static void tell(struct budget *parent, unsigned depth,
    void (*fn)(void *ctx, const struct budget_facts *b), void *ctx)
{
    for (const struct budget *b = listed.first; b != NULL; b = b->next) {
        if (b->parent != parent)
            continue;
        const struct budget_facts facts = {.name = b->name,
            .parent = parent == NULL ? NULL : parent->name,
            .depth = depth,
            .cap = atomic_load_explicit(&b->cap, memory_order_relaxed),
            .used = budget_used(b),
            .peak = atomic_load_explicit(&b->peak, memory_order_relaxed),
            .refused = atomic_load_explicit(&b->refused, memory_order_relaxed)};
        fn(ctx, &facts);
        tell((struct budget *)(uintptr_t)b, depth + 1, fn, ctx);
    }
}

void budget_each(void (*fn)(void *ctx, const struct budget_facts *b), void *ctx)
{
    pthread_mutex_lock(&listed.lock);
    tell(NULL, 0, fn, ctx);
    pthread_mutex_unlock(&listed.lock);
}
