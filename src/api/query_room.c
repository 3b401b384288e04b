/* SPDX-License-Identifier: Apache-2.0
 * Who waits for memory, in a list by the time of asking, and one thread that looks after them: when
 * a run has ended whether the first one's memory fits, now and then who has gone or is late.
 *
 * WHY a thread: who waits has none, and the end of another query is no place to answer for it. */
#include "query_room.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/watch.h"

#define LOOK_NS     (50 * NS_PER_MS)
#define STUCK_NS    (60 * NS_PER_S)
#define STACK_BYTES ((size_t)512 << 10)
#define BRIEF_SHARE 4u /* of the rest, for one query while others wait */

struct query_room {
    struct budget *all;
    struct budget rest;    /* of all: for those who begin while others wait */
    struct budget answers; /* of all: what clients have not taken yet */
    uint64_t bytes_max;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct room_guest *first; /* guarded by lock, as the rest; by asked_ns */
    bool stopping, left;      /* left: since the thread has looked */
    unsigned n_alone;
    _Atomic unsigned n_waiting; /* written under lock */
    bool started;
    pthread_t thread;
};

static struct metric_family waits_total = {
    .name = "vivace_query_memory_waits_total",
    .help = "Queries that gave back their memory and waited for that of others.",
    .type = METRIC_COUNTER,
};
static struct metric_family reruns_total = {
    .name = "vivace_query_memory_reruns_total",
    .help = "Queries that were run again with memory set aside for them.",
    .type = METRIC_COUNTER,
};
static struct metric_family waiting = {
    .name = "vivace_query_memory_waiting",
    .help = "Queries that wait for memory now.",
    .type = METRIC_GAUGE,
};

static uint64_t cap_of(const struct budget *b)
{
    return b == NULL ? 0 : atomic_load_explicit(&b->cap, memory_order_relaxed);
}

/* r->lock */
static void count_waiting(struct query_room *r, unsigned n)
{
    atomic_store_explicit(&r->n_waiting, n, memory_order_relaxed);
    metric_set(metric_series0(&waiting), n);
}

/* r->lock. Memory for the first one, all at once. Asked beforehand, so that the budget does not
 * count as refused what is only tried. */
static struct room_guest *take_first(struct query_room *r)
{
    struct room_guest *g = r->first;
    uint64_t cap = cap_of(r->all), want = r->bytes_max;
    if (g == NULL)
        return NULL;
    /* Clients that read slowly are not waited for, if it can be helped. */
    if (cap != 0 && !g->whole)
        want = MIN(want, cap - MIN(cap - 1, budget_used(&r->answers)));
    uint64_t left = r->n_alone == 0 ? 0 : cap_of(&r->rest) / 2; /* not all but the first's */
    if ((cap != 0 && budget_used(r->all) + want + left > cap) || !budget_take(r->all, want))
        return NULL;
    r->first = g->next;
    g->alone = true;
    g->aside = want;
    r->n_alone++;
    count_waiting(r, r->n_waiting - 1);
    return g;
}

/* r->lock. Moves who need not wait any longer to *ret. */
static void take_ended(struct query_room *r, struct room_guest **ret)
{
    int64_t now = clock_mono_ns();
    for (struct room_guest **at = &r->first; *at != NULL;) {
        struct room_guest *g = *at;
        bool late = g->until_ns != 0 && now > g->until_ns;
        if (!late && !g->gone(g->arg)) {
            at = &g->next;
            continue;
        }
        *at = g->next;
        count_waiting(r, r->n_waiting - 1);
        g->next = *ret;
        *ret = g;
    }
}

static void resume_all(struct room_guest *g)
{
    for (struct room_guest *next; g != NULL; g = next) {
        next = g->next;
        g->next = NULL;
        bool canceled = g->gone(g->arg);
        g->resume(g->arg, canceled ? EC_CANCELED : EC_DEADLINE);
    }
}

/* r->lock, which it gives up meanwhile. */
static void look(struct query_room *r, int64_t *next_look_ns)
{
    struct room_guest *ended = NULL, *g;
    if (clock_mono_ns() >= *next_look_ns) {
        take_ended(r, &ended);
        *next_look_ns = clock_mono_ns() + LOOK_NS;
    }
    r->left = false;
    while ((g = take_first(r)) != NULL) {
        pthread_mutex_unlock(&r->lock);
        metric_inc(metric_series0(&reruns_total));
        g->next = NULL;
        g->resume(g->arg, EC_OK);
        pthread_mutex_lock(&r->lock);
    }
    if (ended == NULL)
        return;
    pthread_mutex_unlock(&r->lock);
    resume_all(ended);
    pthread_mutex_lock(&r->lock);
}

static void *room_main(void *arg)
{
    struct query_room *r = arg;
    int64_t next_look_ns = 0;
    (void)pthread_setname_np(pthread_self(), "query-room"); /* only for people */
    pthread_mutex_lock(&r->lock);
    while (!r->stopping) {
        if (r->first == NULL) {
            pthread_cond_wait(&r->wake, &r->lock);
            continue;
        }
        watch_begin("query room", "look", STUCK_NS);
        look(r, &next_look_ns);
        watch_end();
        const struct timespec ts = {
            .tv_sec = next_look_ns / NS_PER_S, .tv_nsec = next_look_ns % NS_PER_S};
        if (r->first != NULL && !r->left && !r->stopping)
            (void)pthread_cond_timedwait(&r->wake, &r->lock, &ts); /* either way: look */
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

static enum ec room_start(struct query_room *r, struct err *err)
{
    pthread_attr_t attr;
    sigset_t all, old;
    pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old); /* inherited: signals stay with the main thread */
    int e = pthread_create(&r->thread, &attr, room_main, r);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    r->started = e == 0;
    return e == 0 ? EC_OK : ERR_ERRNO(err, EC_LIMIT, e, "thread for queries that wait");
}

enum ec query_room_new(
    struct budget *all, uint64_t bytes_max, struct query_room **ret, struct err *err)
{
    struct query_room *r = xcalloc(1, sizeof(*r));
    uint64_t cap = cap_of(all);
    pthread_condattr_t mono;
    ASSERT(bytes_max > 0);
    metric_register(&waits_total);
    metric_register(&reruns_total);
    metric_register(&waiting);
    r->all = all;
    r->bytes_max = cap == 0 ? bytes_max : MIN(bytes_max, cap);
    /* A cap of 0 would be none. */
    budget_init(&r->rest, all, "queries beside others", cap == 0 ? 0 : MAX(cap - r->bytes_max, 1));
    budget_list(&r->rest);
    budget_init(&r->answers, all, "answers", cap == 0 ? 0 : MAX(cap / 2, r->bytes_max));
    budget_list(&r->answers);
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&mono);
    pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    pthread_cond_init(&r->wake, &mono);
    pthread_condattr_destroy(&mono);
    enum ec ec = room_start(r, err);
    if (ec != EC_OK)
        query_room_free(r);
    else
        *ret = r;
    return ec;
}

void query_room_free(struct query_room *r)
{
    if (r == NULL)
        return;
    pthread_mutex_lock(&r->lock);
    r->stopping = true;
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
    if (r->started)
        ASSERT(pthread_join(r->thread, NULL) == 0);
    ASSERT(r->first == NULL && r->n_alone == 0);
    budget_unlist(&r->rest);
    budget_unlist(&r->answers);
    budget_deinit(&r->rest);
    budget_deinit(&r->answers);
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

void query_room_enter(struct query_room *r, struct room_guest *g)
{
    ASSERT(!g->inside);
    pthread_mutex_lock(&r->lock);
    bool brief = !g->alone && (r->first != NULL || r->n_alone != 0);
    pthread_mutex_unlock(&r->lock);
    if (g->alone) /* `all` has been charged for it */
        budget_init(&g->limit, NULL, "query alone", g->aside);
    else if (brief)
        budget_init(&g->limit, &r->rest, "query beside others",
            cap_of(&r->rest) == 0 ? 0 : MAX(cap_of(&r->rest) / BRIEF_SHARE, 1));
    else
        budget_init(&g->limit, r->all, "query", 0);
    budget_init(g->own, &g->limit, "query", r->bytes_max);
    g->inside = true;
}

bool query_room_hand_over(
    struct query_room *r, struct room_guest *g, uint64_t n, struct budget **ret)
{
    ASSERT(g->inside);
    uint64_t half = cap_of(r->all) / 2;
    pthread_mutex_lock(&r->lock);
    uint64_t used = budget_used(&r->answers);
    bool ok =
        (half == 0 || used == 0 || used + n <= half) && budget_take_below(&r->answers, r->all, n);
    pthread_mutex_unlock(&r->lock);
    if (!ok)
        return false;
    *ret = &r->answers;
    budget_give_below(g->own, g->alone ? NULL : r->all, n);
    if (g->alone)
        g->handed += n;
    return true;
}

void query_room_leave(struct query_room *r, struct room_guest *g)
{
    if (g->inside) {
        budget_deinit(g->own);
        budget_deinit(&g->limit);
    }
    g->inside = false;
    if (g->alone)
        budget_give(r->all, g->aside - g->handed);
    g->whole = g->whole || g->alone;
    g->aside = g->handed = 0;
    pthread_mutex_lock(&r->lock);
    r->n_alone -= g->alone;
    g->alone = false;
    if (r->first != NULL) {
        r->left = true;
        pthread_cond_signal(&r->wake);
    }
    pthread_mutex_unlock(&r->lock);
}

bool query_room_crowded(const struct room_guest *g)
{
    return g->inside && budget_crowded(g->own);
}

void query_room_wait(struct query_room *r, struct room_guest *g)
{
    ASSERT(!g->inside && !g->alone);
    metric_inc(metric_series0(&waits_total));
    pthread_mutex_lock(&r->lock);
    struct room_guest **at = &r->first;
    while (*at != NULL && (*at)->asked_ns <= g->asked_ns)
        at = &(*at)->next;
    g->next = *at;
    *at = g;
    count_waiting(r, r->n_waiting + 1);
    r->left = true; /* perhaps it fits by now */
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
}

unsigned query_room_waiting(const struct query_room *r)
{
    return atomic_load_explicit(&r->n_waiting, memory_order_relaxed);
}
