/* SPDX-License-Identifier: Apache-2.0
 * A list sorted by time and a thread that waits for its head. Delays of one tenant are about the
 * same, so a new one goes in near the end: the list is searched from its newest part. */
#include "delay.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"

struct delay {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    bool started, stopping;      /* guarded by lock */
    struct delay_waiter *newest; /* guarded by lock; latest due first */
};

struct delay *delay_new(void)
{
    struct delay *d = xcalloc(1, sizeof(*d));
    pthread_condattr_t attr;
    pthread_mutex_init(&d->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&d->changed, &attr);
    pthread_condattr_destroy(&attr);
    return d;
}

/* The waiter that is due first, taken out when it is due or all must go; NULL: none yet. */
static struct delay_waiter *take_due(struct delay *d, int64_t *ret_due_ns)
{
    struct delay_waiter **at = &d->newest;
    if (*at == NULL)
        return NULL;
    while ((*at)->next != NULL)
        at = &(*at)->next;
    struct delay_waiter *w = *at;
    *ret_due_ns = w->due_ns;
    if (!d->stopping && w->due_ns > clock_mono_ns())
        return NULL;
    *at = NULL;
    return w;
}

static void *delay_thread(void *arg)
{
    struct delay *d = arg;
    pthread_mutex_lock(&d->lock);
    for (;;) {
        int64_t due_ns = 0;
        struct delay_waiter *w = take_due(d, &due_ns);
        if (w != NULL) {
            pthread_mutex_unlock(&d->lock);
            w->fn(w->arg);
            pthread_mutex_lock(&d->lock);
            continue;
        }
        if (d->stopping)
            break;
        if (d->newest == NULL) {
            pthread_cond_wait(&d->changed, &d->lock);
        } else {
            struct timespec t = {.tv_sec = due_ns / NS_PER_S, .tv_nsec = due_ns % NS_PER_S};
            pthread_cond_timedwait(&d->changed, &d->lock, &t);
        }
    }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

void delay_stop(struct delay *d)
{
    pthread_mutex_lock(&d->lock);
    d->stopping = true;
    pthread_cond_signal(&d->changed);
    pthread_mutex_unlock(&d->lock);
}

void delay_free(struct delay *d)
{
    if (d == NULL)
        return;
    delay_stop(d);
    if (d->started)
        pthread_join(d->thread, NULL);
    ASSERT(d->newest == NULL);
    pthread_cond_destroy(&d->changed);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

void delay_run(
    struct delay *d, int64_t ns, struct delay_waiter *w, void (*fn)(void *arg), void *arg)
{
    *w = (struct delay_waiter){.due_ns = clock_mono_ns() + ns, .fn = fn, .arg = arg};
    pthread_mutex_lock(&d->lock);
    if (!d->started && !d->stopping)
        d->started = pthread_create(&d->thread, NULL, delay_thread, d) == 0;
    bool wait = d->started && !d->stopping;
    if (wait) {
        struct delay_waiter **at = &d->newest;
        while (*at != NULL && (*at)->due_ns > w->due_ns)
            at = &(*at)->next;
        w->next = *at;
        *at = w;
        pthread_cond_signal(&d->changed);
    }
    pthread_mutex_unlock(&d->lock);
    if (!wait)
        fn(arg);
}

int64_t delay_jitter(int64_t max)
{
    static _Atomic uint64_t state = 88172645463325252u;
    uint64_t x = state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    state = x; /* a lost update only repeats a number */
    return max <= 0 ? 0 : (int64_t)(x % ((uint64_t)max * 2 + 1)) - max;
}
