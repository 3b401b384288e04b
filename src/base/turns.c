/* SPDX-License-Identifier: Apache-2.0
 * A place that is given back goes to a waiter directly, so that nobody takes it meanwhile. */
#include "turns.h"

#include <stdatomic.h>
#include <time.h>

#include "base/clock.h"

#define WAITED_SHARE 8

struct turn_waiter {
    struct turn_waiter *next;
    struct turn_claim claim;
    int64_t since_ns; /* clock_mono_ns */
    pthread_cond_t woken;
    bool granted; /* guarded by turns.lock */
};

void turns_init(struct turns *t, unsigned n)
{
    *t = (struct turns){.n_free = n};
    t->last = &t->first;
    pthread_mutex_init(&t->lock, NULL);
}

void turns_deinit(struct turns *t)
{
    ASSERT(t->first == NULL);
    pthread_mutex_destroy(&t->lock);
}

/* t->lock */
static void waiter_remove(struct turns *t, struct turn_waiter *w)
{
    struct turn_waiter **at = &t->first;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    if (t->last == &w->next)
        t->last = at;
    atomic_fetch_sub_explicit(&t->n_waiting, 1, memory_order_relaxed);
}

static int64_t rank(struct turn_claim c)
{
    return c.used_ns - c.waited_ns / WAITED_SHARE;
}

/* t->lock. Of those that wait, who comes first, of equals who has asked first; NULL: nobody
 * waits. */
static struct turn_waiter *waiter_first(const struct turns *t, int64_t *ret_rank)
{
    struct turn_waiter *best = NULL;
    int64_t now = t->first == NULL ? 0 : clock_mono_ns();
    for (struct turn_waiter *w = t->first; w != NULL; w = w->next) {
        int64_t r =
            rank((struct turn_claim){w->claim.used_ns, w->claim.waited_ns + now - w->since_ns});
        if (best != NULL && r >= *ret_rank)
            continue;
        best = w;
        *ret_rank = r;
    }
    return best;
}

/* t->lock */
static bool waiter_wait(struct turns *t, struct turn_waiter *w, int64_t wait_max_ns)
{
    pthread_condattr_t mono;
    w->since_ns = clock_mono_ns();
    int64_t until = w->since_ns + wait_max_ns;
    const struct timespec ts = {.tv_sec = until / NS_PER_S, .tv_nsec = until % NS_PER_S};
    pthread_condattr_init(&mono);
    pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    pthread_cond_init(&w->woken, &mono);
    pthread_condattr_destroy(&mono);
    *t->last = w;
    t->last = &w->next;
    atomic_fetch_add_explicit(&t->n_waiting, 1, memory_order_relaxed);
    int e = 0;
    while (!w->granted && e == 0)
        e = pthread_cond_timedwait(&w->woken, &t->lock, &ts);
    if (!w->granted)
        waiter_remove(t, w);
    pthread_cond_destroy(&w->woken);
    return w->granted;
}

bool turns_take(struct turns *t, struct turn_claim claim, int64_t wait_max_ns)
{
    struct turn_waiter own = {.claim = claim};
    pthread_mutex_lock(&t->lock);
    bool got = t->n_free > 0; /* then nobody waits */
    if (got)
        t->n_free--;
    else
        got = waiter_wait(t, &own, wait_max_ns);
    pthread_mutex_unlock(&t->lock);
    return got;
}

void turns_give(struct turns *t)
{
    int64_t r = 0;
    pthread_mutex_lock(&t->lock);
    struct turn_waiter *w = waiter_first(t, &r);
    if (w == NULL) {
        t->n_free++;
    } else {
        waiter_remove(t, w);
        w->granted = true;
        pthread_cond_signal(&w->woken); /* under the lock: w is gone once it sees this */
    }
    pthread_mutex_unlock(&t->lock);
}

bool turns_wanted(const struct turns *t)
{
    return atomic_load_explicit(&t->n_waiting, memory_order_relaxed) != 0;
}

bool turns_owed(struct turns *t, struct turn_claim claim)
{
    int64_t r = 0;
    pthread_mutex_lock(&t->lock);
    bool owed = waiter_first(t, &r) != NULL && r <= rank(claim);
    pthread_mutex_unlock(&t->lock);
    return owed;
}
