/* SPDX-License-Identifier: Apache-2.0
 * Worker threads, one queue of keys per class, one queue of jobs per key.
 *
 * A key with waiting jobs stands once in the ring of its class. A worker takes the first key of the
 * ring, takes that key's first job, and puts the key back at the end when it has more: round-robin
 * over keys, first in first out within one. A key without jobs has no memory.
 *
 * pool_parallel never waits for a job that has not started: the caller works through the indexes
 * itself, queued helpers only speed it up, and a helper that comes late finds nothing left. The
 * caller waits only for indexes that a running thread holds, so nesting cannot deadlock.
 *
 * WHY turns: ten scans at once on two processors would leave two tenths of them to ingest, whose
 * two threads the kernel treats like any other, and every scan would be at its largest in memory.
 * What is short never asks for a turn, so it runs beside them at once.
 *
 * A job that turns out to be long also lowers the priority of its thread. A process without
 * privileges cannot raise it again, so that thread ends after the job, and the keeper, whose own
 * priority nobody lowers, starts another in its place: some 50 us for a job of 30 ms and more.
 *
 * Of the threads that wait, the one that worked last is woken: its stack, its share of the
 * allocator and its zstd tables are still in the processor's caches.
 *
 * Locks: one per class, one of the turns, one of the keeper, which comes after a class's. No lock
 * is held while a job runs.
 */
#include "base/pool.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/thread.h"
#include "base/watch.h"
#include "turns.h"

#define QUEUE_MAX_DEFAULT   4096u
#define STACK_BYTES_DEFAULT ((size_t)512 << 10)
#define THREADS_MAX         1024u
#define LOW_NICE            10
#define LONG_NICE           5 /* who sends spans waits for an ack, and flushes must keep up */
#define KEEPER_STACK_BYTES  ((size_t)64 << 10)
/* Queries end by their deadlines; merges are bounded in size, but may be slowed down. */
#define JOB_STUCK_NS (300 * NS_PER_S)
#define LOW_STUCK_NS (1800 * NS_PER_S)
#define KEY_BUCKETS  256u
/* Of CPU: a job without a turn, and with one before it is asked whether others come first. */
#define TURN_FREE_NS (10 * NS_PER_MS)
#define TURN_NS      (5 * NS_PER_MS)
/* Of CPU, of one job: before others go first. WHY not at the first turn: at nice 5 the last 3 ms of
 * 13 took 50 while ingest had its full share. */
#define LOWER_NS         (30 * NS_PER_MS)
#define TURN_WAIT_MAX_NS (2 * NS_PER_S)
#define POOL_MAGIC       0x706f6f6cu

struct job {
    struct job *next;
    void (*fn)(void *arg);
    void *arg;
    int64_t queued_ns;
};

struct key_queue {
    struct key_queue *hash_next; /* in the bucket */
    struct key_queue *ring_next; /* in the ring of keys that have jobs */
    uint64_t key;
    struct job *first, **last; /* never empty */
};

struct sleeper { /* of a thread's place in the pool, whoever has it */
    struct sleeper *next;
    pthread_cond_t wake;
    bool asleep;
};

struct pool_class_state {
    pthread_mutex_t lock;     /* guards all but n_threads, threads and n_sleepers */
    struct sleeper *sleepers; /* by thread, as long as the pool lives */
    unsigned n_sleepers;
    struct sleeper *asleep; /* who came last is first */
    struct key_queue *buckets[KEY_BUCKETS];
    struct key_queue *ring, **ring_last;
    _Atomic size_t n_queued; /* written under lock, read anywhere */
    bool stopping;
    unsigned n_threads;
    pthread_t *threads; /* with a keeper: the keeper's until it has ended */
};

/* A thread that asks to be replaced. */
struct leaver {
    struct leaver *next;
    enum pool_class cls;
    unsigned i;
    pthread_cond_t answered;
    bool done, replaced; /* guarded by keeper.lock */
};

struct keeper {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct leaver *first; /* in no order: there are few */
    bool started, stop;
    pthread_t thread;
};

struct pool {
    unsigned magic;
    unsigned queue_max;
    size_t stack_bytes;
    struct keeper keeper;
    struct pool_class_state cls[POOL_CLASSES];
    struct turns turns;
};

struct worker_start {
    struct pool *pool;
    enum pool_class cls;
    unsigned i;
};

static _Thread_local struct pool *own_pool; /* of a worker thread */
static _Thread_local enum pool_class own_class;
static _Thread_local int own_nice;     /* that the thread began with */
static _Thread_local bool own_lowered; /* it is at LONG_NICE more */
static _Thread_local struct {
    bool holds;           /* a turn */
    int64_t cpu_until_ns; /* clock_cpu_ns: free until then, without and with a turn */
} own_turn;
static _Thread_local struct {
    int64_t queued_ns, turns_ns; /* waited, of this job */
    int64_t cpu_ns, stalled_ns;  /* of the thread, when the job began */
} own_times;

static struct key_queue **key_find(struct pool_class_state *c, uint64_t key)
{
    struct key_queue **at = &c->buckets[hash_mix(key) % KEY_BUCKETS];
    while (*at != NULL && (*at)->key != key)
        at = &(*at)->hash_next;
    return at;
}

static void ring_append(struct pool_class_state *c, struct key_queue *q)
{
    q->ring_next = NULL;
    *c->ring_last = q;
    c->ring_last = &q->ring_next;
}

/* The next job by round-robin, NULL when nothing waits. Caller holds the lock. */
static struct job *job_take(struct pool_class_state *c)
{
    struct key_queue *q = c->ring;
    if (q == NULL)
        return NULL;
    c->ring = q->ring_next;
    if (c->ring == NULL)
        c->ring_last = &c->ring;

    struct job *j = q->first;
    ASSERT(j != NULL);
    q->first = j->next;
    if (q->first != NULL) {
        ring_append(c, q);
    } else {
        struct key_queue **at = key_find(c, q->key);
        ASSERT(*at == q);
        *at = q->hash_next;
        free(q);
    }
    size_t n = atomic_load_explicit(&c->n_queued, memory_order_relaxed);
    ASSERT(n > 0);
    atomic_store_explicit(&c->n_queued, n - 1, memory_order_relaxed);
    return j;
}

/* The rest of the job is long: let others go first. */
static void lower(void)
{
    if (own_lowered)
        return;
    own_lowered = true;
    (void)thread_set(THREAD_USUAL, own_nice + LONG_NICE);
}

static bool raise_again(void)
{
    own_lowered = own_lowered && !thread_set(THREAD_PROMPT, own_nice);
    return !own_lowered;
}

static void turn_end(void)
{
    if (own_turn.holds)
        turns_give(&own_pool->turns);
    own_turn.holds = false;
}

void pool_turn(bool keep)
{
    if (own_pool == NULL || own_class > POOL_HELP)
        return;
    struct turns *t = &own_pool->turns;
    bool keeps = own_turn.holds && (keep || !turns_wanted(t));
    if (keeps && own_lowered)
        return;
    int64_t cpu_ns = clock_cpu_ns();
    if (cpu_ns - own_times.cpu_ns >= LOWER_NS)
        lower();
    if (own_class == POOL_HELP || keeps || cpu_ns < own_turn.cpu_until_ns)
        return;
    struct turn_claim claim = {cpu_ns - own_times.cpu_ns, own_times.turns_ns};
    if (own_turn.holds && !turns_owed(t, claim)) {
        own_turn.cpu_until_ns = cpu_ns + TURN_NS;
        return;
    }
    turn_end();
    int64_t begin = clock_mono_ns();
    own_turn.holds = turns_take(t, claim, TURN_WAIT_MAX_NS);
    own_times.turns_ns += clock_mono_ns() - begin;
    own_turn.cpu_until_ns = clock_cpu_ns() + (own_turn.holds ? TURN_NS : TURN_FREE_NS);
}

void pool_job_times(struct pool_times *ret)
{
    *ret = (struct pool_times){0};
    if (own_pool == NULL || own_class != POOL_NORMAL)
        return;
    *ret = (struct pool_times){.queued_ns = own_times.queued_ns,
        .turns_ns = own_times.turns_ns,
        .cpu_ns = clock_cpu_ns() - own_times.cpu_ns,
        .stalled_ns = thread_stalled_ns() - own_times.stalled_ns};
}

static void job_run(enum pool_class cls, const struct job *j)
{
    static const int64_t stuck_ns[] = {JOB_STUCK_NS, JOB_STUCK_NS, LOW_STUCK_NS, LOW_STUCK_NS};
    static_assert(ARRAY_LEN(stuck_ns) == POOL_CLASSES, "all have a limit");
    watch_begin(cls >= POOL_URGENT ? "storage worker" : "query worker", "job", stuck_ns[cls]);
    if (cls <= POOL_HELP) {
        own_times.cpu_ns = clock_cpu_ns();
        own_turn.cpu_until_ns = own_times.cpu_ns + TURN_FREE_NS;
    }
    if (cls == POOL_NORMAL) {
        own_times.queued_ns = clock_mono_ns() - j->queued_ns;
        own_times.turns_ns = 0;
        own_times.stalled_ns = thread_stalled_ns();
    }
    j->fn(j->arg);
    turn_end();
    watch_end();
}

/* Class lock; false: the pool is being freed, nobody is replaced any more. */
static bool leave_ask(struct pool *p, struct leaver *l)
{
    struct keeper *k = &p->keeper;
    if (p->cls[l->cls].stopping || !k->started)
        return false;
    pthread_cond_init(&l->answered, NULL);
    pthread_mutex_lock(&k->lock);
    l->next = k->first;
    k->first = l;
    pthread_cond_signal(&k->wake);
    pthread_mutex_unlock(&k->lock);
    return true;
}

static bool leave_wait(struct pool *p, struct leaver *l)
{
    pthread_mutex_lock(&p->keeper.lock);
    while (!l->done)
        pthread_cond_wait(&l->answered, &p->keeper.lock);
    pthread_mutex_unlock(&p->keeper.lock);
    pthread_cond_destroy(&l->answered);
    return l->replaced;
}

static void worker_begin(const struct worker_start *start)
{
    char name[16];
    own_pool = start->pool;
    own_class = start->cls;
    own_nice = thread_nice();
    static const char *const names[] = {"work", "help", "urgent", "low"};
    static_assert(ARRAY_LEN(names) == POOL_CLASSES, "all are named");
    snprintf(name, sizeof(name), "%s-%u", names[start->cls], start->i);
    (void)pthread_setname_np(pthread_self(), name); /* only for people */
    static const struct {
        enum thread_kind kind;
        int nice;
    } how[] = {{THREAD_PROMPT, 0}, {THREAD_PROMPT, 0}, {THREAD_USUAL, 0}, {THREAD_BULK, LOW_NICE}};
    static_assert(ARRAY_LEN(how) == POOL_CLASSES, "all have a priority");
    (void)thread_set(how[start->cls].kind, own_nice + how[start->cls].nice);
}

/* Class lock, which is let go of meanwhile. */
static void sleep_until_woken(struct pool_class_state *c, struct sleeper *s)
{
    s->asleep = true;
    s->next = c->asleep;
    c->asleep = s;
    while (s->asleep)
        pthread_cond_wait(&s->wake, &c->lock);
}

/* Class lock. Who is to be signalled; NULL: nobody sleeps. */
static struct sleeper *sleeper_take(struct pool_class_state *c)
{
    struct sleeper *s = c->asleep;
    if (s != NULL) {
        c->asleep = s->next;
        s->asleep = false;
    }
    return s;
}

static void *worker_main(void *arg)
{
    struct worker_start start = *(struct worker_start *)arg;
    struct pool_class_state *c = &start.pool->cls[start.cls];
    free(arg);
    worker_begin(&start);
    pthread_mutex_lock(&c->lock);
    for (;;) {
        struct leaver leaver = {.cls = start.cls, .i = start.i};
        if (own_lowered && !raise_again() && leave_ask(start.pool, &leaver)) {
            pthread_mutex_unlock(&c->lock);
            if (leave_wait(start.pool, &leaver))
                return NULL;
            pthread_mutex_lock(&c->lock);
        }
        struct job *j = job_take(c);
        if (j == NULL) {
            if (c->stopping)
                break;
            sleep_until_woken(c, &c->sleepers[start.i]);
            continue;
        }
        pthread_mutex_unlock(&c->lock);
        job_run(start.cls, j);
        free(j);
        pthread_mutex_lock(&c->lock);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

static int thread_start(
    pthread_t *ret, size_t stack_bytes, void *(*fn)(void *), void *arg) /* 0 or an errno */
{
    pthread_attr_t attr;
    sigset_t all, old;
    pthread_attr_init(&attr);
    int r = pthread_attr_setstacksize(&attr, stack_bytes);
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old); /* inherited: signals stay with the main thread */
    if (r == 0)
        r = pthread_create(ret, &attr, fn, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    return r;
}

static int worker_start(struct pool *p, enum pool_class cls, unsigned i, pthread_t *ret)
{
    struct worker_start *start = xmalloc(sizeof(*start));
    *start = (struct worker_start){.pool = p, .cls = cls, .i = i};
    int r = thread_start(ret, p->stack_bytes, worker_main, start);
    if (r != 0)
        free(start);
    return r;
}

/* Without a thread to be had, the old one goes on at its low priority. */
static void keeper_replace(struct pool *p, struct leaver *l)
{
    struct keeper *k = &p->keeper;
    pthread_t *at = &p->cls[l->cls].threads[l->i], old = *at, new;
    bool ok = worker_start(p, l->cls, l->i, &new) == 0;
    if (ok)
        *at = new;
    pthread_mutex_lock(&k->lock);
    l->replaced = ok;
    l->done = true;
    pthread_cond_signal(&l->answered); /* under the lock: l is gone once it sees this */
    pthread_mutex_unlock(&k->lock);
    if (ok)
        ASSERT(pthread_join(old, NULL) == 0);
}

static void *keeper_main(void *arg)
{
    struct pool *p = arg;
    struct keeper *k = &p->keeper;
    (void)pthread_setname_np(pthread_self(), "pool-keeper");
    pthread_mutex_lock(&k->lock);
    for (;;) {
        struct leaver *l = k->first;
        if (l == NULL) {
            if (k->stop)
                break;
            pthread_cond_wait(&k->wake, &k->lock);
            continue;
        }
        k->first = l->next;
        pthread_mutex_unlock(&k->lock);
        keeper_replace(p, l);
        pthread_mutex_lock(&k->lock);
    }
    pthread_mutex_unlock(&k->lock);
    return NULL;
}

unsigned pool_cpus(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof(set), &set) != 0 ? 2u : MAX(1u, (unsigned)CPU_COUNT(&set));
}

static enum ec workers_start(struct pool *p, enum pool_class cls, unsigned n, struct err *err)
{
    struct pool_class_state *c = &p->cls[cls];
    int r = 0;
    c->threads = xcalloc(n, sizeof(pthread_t));
    c->sleepers = xcalloc(n, sizeof(*c->sleepers));
    c->n_sleepers = n;
    for (unsigned i = 0; i < n; i++)
        pthread_cond_init(&c->sleepers[i].wake, NULL);
    while (c->n_threads < n &&
           (r = worker_start(p, cls, c->n_threads, &c->threads[c->n_threads])) == 0)
        c->n_threads++;
    if (r == EINVAL)
        return ERR(err, EC_INVALID, "pool: stack of %zu bytes is not possible", p->stack_bytes);
    if (r != 0)
        return ERR_ERRNO(err, EC_LIMIT, r, "pool: thread %u of %u", c->n_threads + 1, n);
    return EC_OK;
}

static enum ec keeper_start(struct pool *p, struct err *err)
{
    int r = thread_start(&p->keeper.thread, KEEPER_STACK_BYTES, keeper_main, p);
    if (r != 0)
        return ERR_ERRNO(err, EC_LIMIT, r, "pool: thread of the keeper");
    p->keeper.started = true;
    return EC_OK;
}

/* All classes are stopping, so nobody asks any more. */
static void keeper_stop(struct keeper *k)
{
    pthread_mutex_lock(&k->lock);
    k->stop = true;
    pthread_cond_signal(&k->wake);
    pthread_mutex_unlock(&k->lock);
    if (k->started)
        ASSERT(pthread_join(k->thread, NULL) == 0);
    pthread_cond_destroy(&k->wake);
    pthread_mutex_destroy(&k->lock);
}

static void pool_freep(struct pool **p)
{
    pool_free(*p);
}

enum ec pool_new(const struct pool_options *opt, struct pool **ret, struct err *err)
{
    unsigned cpus = MAX(2u, pool_cpus());
    unsigned n_normal = opt->n_normal == 0 ? cpus : opt->n_normal;
    unsigned n_help = opt->n_help == 0 ? cpus - 1 : opt->n_help;
    unsigned n_low = opt->n_low == 0 ? 1 : opt->n_low;
    size_t stack_bytes = opt->stack_bytes == 0 ? STACK_BYTES_DEFAULT : opt->stack_bytes;

#ifdef VIVACE_DEBUG
    stack_bytes *= 4; /* frames of unoptimised and sanitized code are several times larger */
#endif
    unsigned most = MAX(MAX(n_normal, n_low), n_help);
    if (most > THREADS_MAX)
        return ERR(err, EC_INVALID, "pool: %u threads over %u", most, THREADS_MAX);
    CLEANUP(pool_freep) struct pool *p = xcalloc(1, sizeof(*p));
    p->magic = POOL_MAGIC;
    p->queue_max = opt->queue_max == 0 ? QUEUE_MAX_DEFAULT : opt->queue_max;
    p->stack_bytes = stack_bytes;
    pthread_mutex_init(&p->keeper.lock, NULL);
    pthread_cond_init(&p->keeper.wake, NULL);
    for (unsigned i = 0; i < POOL_CLASSES; i++) {
        pthread_mutex_init(&p->cls[i].lock, NULL);
        p->cls[i].ring_last = &p->cls[i].ring;
    }
    turns_init(&p->turns, opt->n_turns == 0 ? cpus - 1 : opt->n_turns);
    TRY(keeper_start(p, err));
    TRY(workers_start(p, POOL_NORMAL, n_normal, err));
    TRY(workers_start(p, POOL_HELP, n_help, err));
    TRY(workers_start(p, POOL_URGENT, 1, err));
    TRY(workers_start(p, POOL_LOW, n_low, err));
    *ret = TAKE_PTR(p);
    return EC_OK;
}

void pool_free(struct pool *p)
{
    if (p == NULL)
        return;
    ASSERT(p->magic == POOL_MAGIC);
    ASSERT(own_pool != p); /* a worker cannot join itself */
    for (unsigned i = 0; i < POOL_CLASSES; i++) {
        pthread_mutex_lock(&p->cls[i].lock);
        p->cls[i].stopping = true;
        for (struct sleeper *s; (s = sleeper_take(&p->cls[i])) != NULL;)
            pthread_cond_signal(&s->wake);
        pthread_mutex_unlock(&p->cls[i].lock);
    }
    keeper_stop(&p->keeper);
    for (unsigned i = 0; i < POOL_CLASSES; i++) {
        for (unsigned t = 0; t < p->cls[i].n_threads; t++)
            ASSERT(pthread_join(p->cls[i].threads[t], NULL) == 0);
        ASSERT(p->cls[i].ring == NULL);
        free(p->cls[i].threads);
    }
    for (unsigned i = 0; i < POOL_CLASSES; i++) {
        for (unsigned t = 0; t < p->cls[i].n_sleepers; t++)
            pthread_cond_destroy(&p->cls[i].sleepers[t].wake);
        free(p->cls[i].sleepers);
        pthread_mutex_destroy(&p->cls[i].lock);
    }
    turns_deinit(&p->turns);
    p->magic = 0;
    free(p);
}

bool pool_submit(
    struct pool *p, enum pool_class cls, uint64_t key, void (*fn)(void *arg), void *arg)
{
    ASSERT(p->magic == POOL_MAGIC);
    ASSERT(cls < POOL_CLASSES);
    struct pool_class_state *c = &p->cls[cls];

    pthread_mutex_lock(&c->lock);
    size_t n = atomic_load_explicit(&c->n_queued, memory_order_relaxed);
    if (n >= p->queue_max || c->stopping) {
        pthread_mutex_unlock(&c->lock);
        return false;
    }
    struct job *j = xmalloc(sizeof(*j));
    *j = (struct job){.fn = fn, .arg = arg, .queued_ns = clock_mono_ns()};
    struct key_queue **at = key_find(c, key);
    if (*at == NULL) {
        struct key_queue *q = xcalloc(1, sizeof(*q));
        q->key = key;
        q->last = &q->first;
        *at = q;
        ring_append(c, q);
    }
    *(*at)->last = j;
    (*at)->last = &j->next;
    atomic_store_explicit(&c->n_queued, n + 1, memory_order_relaxed);
    struct sleeper *s = sleeper_take(c);
    if (s != NULL) /* under the lock: once the job has run, the pool may be gone */
        pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&c->lock);
    return true;
}

unsigned pool_threads(const struct pool *p, enum pool_class cls)
{
    ASSERT(p->magic == POOL_MAGIC);
    ASSERT(cls < POOL_CLASSES);
    return p->cls[cls].n_threads;
}

size_t pool_queued(const struct pool *p, enum pool_class cls)
{
    ASSERT(p->magic == POOL_MAGIC);
    ASSERT(cls < POOL_CLASSES);
    return atomic_load_explicit(&p->cls[cls].n_queued, memory_order_relaxed);
}

/* One pool_parallel call. Shared with the helpers, of which some may still wait in the queue when
 * the call returns: whoever drops the last reference frees it. */
struct sweep {
    void (*fn)(void *arg, size_t i);
    void *arg;
    size_t n;
    bool lowered; /* the caller is: its helpers are no better */
    _Atomic size_t next;
    _Atomic unsigned refs;
    pthread_mutex_t lock;
    pthread_cond_t all_done;
    size_t n_done; /* guarded by lock */
};

static void sweep_unref(struct sweep *s)
{
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    pthread_cond_destroy(&s->all_done);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* Takes indexes until none is left. `arg` of the caller may be gone once n_done reached n, so a
 * helper touches it only for an index that it took. */
static void sweep_work(struct sweep *s)
{
    size_t i, n_own = 0;
    while ((i = atomic_fetch_add_explicit(&s->next, 1, memory_order_relaxed)) < s->n) {
        s->fn(s->arg, i);
        n_own++;
    }
    if (n_own == 0)
        return;
    pthread_mutex_lock(&s->lock);
    s->n_done += n_own;
    ASSERT(s->n_done <= s->n);
    if (s->n_done == s->n)
        pthread_cond_signal(&s->all_done);
    pthread_mutex_unlock(&s->lock);
}

static void sweep_help(void *arg)
{
    struct sweep *s = arg;
    if (s->lowered)
        lower();
    sweep_work(s);
    sweep_unref(s);
}

void pool_parallel(struct pool *p, uint64_t key, unsigned width, size_t n,
    void (*fn)(void *arg, size_t i), void *arg)
{
    ASSERT(n < SIZE_MAX / 2); /* `next` runs past n by one per helper */
    if (p == NULL || n < 2 || width == 0) {
        for (size_t i = 0; i < n; i++)
            fn(arg, i);
        return;
    }
    /* Work that low threads started stays on low threads; only who is none of ours (the start,
     * which has all threads to itself) spreads over all that are for queries. */
    enum pool_class cls = own_pool != p              ? POOL_NORMAL
                          : own_class == POOL_NORMAL ? POOL_HELP
                                                     : own_class;
    size_t n_helpers = MIN(MIN((size_t)width, n - 1), (size_t)p->cls[cls].n_threads);
    struct sweep *s = xcalloc(1, sizeof(*s));
    s->fn = fn, s->arg = arg, s->n = n, s->lowered = own_pool == p && own_lowered;
    atomic_init(&s->refs, 1);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->all_done, NULL);
    for (size_t i = 0; i < n_helpers; i++) {
        atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
        if (!pool_submit(p, cls, key, sweep_help, s)) {
            atomic_fetch_sub_explicit(&s->refs, 1, memory_order_relaxed);
            break; /* a full queue costs speed only */
        }
    }
    sweep_work(s);
    pthread_mutex_lock(&s->lock);
    while (s->n_done < s->n)
        pthread_cond_wait(&s->all_done, &s->lock);
    pthread_mutex_unlock(&s->lock);
    sweep_unref(s);
}
