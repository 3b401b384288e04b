/* SPDX-License-Identifier: Apache-2.0
 * Group commit: committer threads sync logs and answer the appends that wait.
 *
 * A tenant is IDLE, QUEUED (in the queue once) or RUNNING (one thread syncs its log). An append to
 * an idle tenant queues it at once: no timer. What is appended while the sync runs finds the tenant
 * RUNNING and needs do nothing: the thread looks again when the sync is over, and queues the tenant
 * anew. So an append waits for at most two syncs, and one sync serves all that came before it.
 *
 * A failed sync refuses exactly the records it covered: their pages may be gone although a second
 * fdatasync would say otherwise, so it is never repeated on that file (wal.h starts a new segment).
 * The spans stay in the head: the client retries, the answer shows them once.
 */
#include <stdlib.h>

#include "base/defect.h"
#include "base/thread.h"
#include "base/watch.h"
#include "store_private.h"

#define SYNC_STUCK_NS         (15 * NS_PER_S)
#define SYNC_SLOW_NS          (20 * NS_PER_MS)
#define SYNC_SLOW_WAIT_MAX_NS NS_PER_S

void commit_request(struct tenant *t)
{
    struct store *s = t->store;
    ASSERT(t->wal != NULL);
    if (t->commit_state != COMMIT_IDLE)
        return;
    t->commit_state = COMMIT_QUEUED;
    tenant_ref(t);
    t->wal_users++;
    pthread_mutex_lock(&s->commit_lock);
    t->commit_next = NULL;
    if (s->commit_last == NULL)
        s->commit_first = t;
    else
        s->commit_last->commit_next = t;
    s->commit_last = t;
    pthread_cond_signal(&s->commit_wake);
    pthread_mutex_unlock(&s->commit_lock);
}

void waiters_finish(struct store *s, struct waiter *list, enum ec ec, const struct err *err)
{
    while (list != NULL) {
        struct waiter *w = list;
        list = w->next;
        w->done(w->arg, ec, err);
        free(w);
        uint64_t before = atomic_fetch_sub_explicit(&s->n_waiters, 1, memory_order_acq_rel);
        ASSERT(before > 0);
    }
}

/* tenant.lock. Cuts the waiters up to this LSN off the front of the list. */
static struct waiter *waiters_cut(struct tenant *t, uint64_t lsn_last)
{
    struct waiter *first = t->waiters, *last = NULL;
    for (struct waiter *w = first; w != NULL && w->lsn <= lsn_last; w = w->next)
        last = w;
    if (last == NULL)
        return NULL;
    t->waiters = last->next;
    if (t->waiters == NULL)
        t->waiters_last = NULL;
    last->next = NULL;
    return first;
}

static void sync_failed(struct store *s, const struct tenant *t, const struct err *e)
{
    metric_inc(store_metrics.wal_failed);
    unsigned in_row = atomic_fetch_add(&s->failed_syncs, 1) + 1;
    log_event(LOG_ERROR, "log sync failed: its requests are refused", LS("tenant", t->id),
        LU("in_a_row", in_row), LE(e));
    if (in_row >= FAILED_SYNCS_MAX && !atomic_exchange(&s->ingest_off, true))
        log_event(LOG_ERROR, "ingest is off until restart: log syncs keep failing",
            LU("in_a_row", in_row));
}

/* A device that keeps acks waiting is left alone by merges for four times as long. */
static void sync_took(struct store *s, int64_t now_ns, int64_t took_ns)
{
    metric_observe(store_metrics.fsync_seconds, (double)took_ns / 1e9);
    if (took_ns >= SYNC_SLOW_NS)
        atomic_store_explicit(&s->sync_slow_until_ns,
            now_ns + MIN(took_ns * 4, SYNC_SLOW_WAIT_MAX_NS), memory_order_relaxed);
}

struct sync_outcome {
    uint64_t durable, failed_to;
    int64_t begin_ns;
    enum ec ec;
    struct err err;
};

static void tenant_sync(struct tenant *t, struct wal *w, uint64_t appended, struct sync_outcome *o)
{
    struct store *s = t->store;
    uint64_t failed_from = 0;
    o->begin_ns = clock_mono_ns();
    o->ec = wal_sync(w, &o->durable, &failed_from, &o->failed_to, &o->err);
    int64_t now_ns = clock_mono_ns();
    sync_took(s, now_ns, now_ns - o->begin_ns);
    if (o->ec == EC_OK) {
        if (atomic_load_explicit(&s->failed_syncs, memory_order_relaxed) != 0)
            atomic_store(&s->failed_syncs, 0);
        return;
    }
    o->durable = wal_durable_lsn(w);
    o->failed_to = MAX(o->failed_to, appended);
    sync_failed(s, t, &o->err);
}

static void commit_run(struct store *s, struct tenant *t)
{
    struct sync_outcome o = {.ec = EC_OK};
    pthread_mutex_lock(&t->lock);
    ASSERT(t->commit_state == COMMIT_QUEUED);
    t->commit_state = COMMIT_RUNNING;
    struct wal *w = t->wal;
    ASSERT(w != NULL);
    bool sync = t->dirty, mark = !sync && t->mark_want;
    t->dirty = t->mark_want = false;
    uint64_t appended = wal_last_lsn(w);
    struct waiter *early = DEFECT(DEFECT_ACK_BEFORE_SYNC) ? waiters_cut(t, appended) : NULL;
    pthread_mutex_unlock(&t->lock);
    waiters_finish(s, early, EC_OK, NULL);

    if (sync) {
        tenant_sync(t, w, appended, &o);
    } else if (mark) {
        o.ec = wal_mark_idle(w, clock_mono_ns(), &o.err);
        o.durable = wal_durable_lsn(w);
        /* It syncs: what was appended meanwhile shares its fate. */
        if (o.ec != EC_OK) {
            o.failed_to = wal_last_lsn(w);
            sync_failed(s, t, &o.err);
        }
    }

    pthread_mutex_lock(&t->lock);
    struct waiter *good = waiters_cut(t, o.durable);
    struct waiter *bad = o.ec == EC_OK ? NULL : waiters_cut(t, o.failed_to);
    t->commit_state = COMMIT_IDLE;
    ASSERT(t->wal_users > 0);
    t->wal_users--;
    if (t->waiters != NULL || (t->dirty && s->opt.durability == DURABILITY_COMMIT))
        commit_request(t);
    pthread_mutex_unlock(&t->lock);

    ack_times_durable(t, good, o.begin_ns, clock_mono_ns());
    waiters_finish(s, good, EC_OK, NULL);
    if (bad != NULL) {
        enum ec code = ERR(&o.err, EC_UNAVAILABLE, "the log could not be synced: not stored");
        waiters_finish(s, bad, code, &o.err);
    }
    tenant_unref(t);
}

/* commit_lock. The first tenant of the queue, or NULL. */
static struct tenant *commit_take(struct store *s)
{
    struct tenant *t = s->commit_first;
    if (t == NULL)
        return NULL;
    s->commit_first = t->commit_next;
    if (s->commit_first == NULL)
        s->commit_last = NULL;
    return t;
}

static void *commit_main(void *arg)
{
    struct store *s = arg;
    (void)thread_set(THREAD_PROMPT, thread_nice()); /* acks wait for it, and it does little */
    for (;;) {
        pthread_mutex_lock(&s->commit_lock);
        while (s->commit_first == NULL && !s->commit_stop)
            pthread_cond_wait(&s->commit_wake, &s->commit_lock);
        struct tenant *t = commit_take(s);
        pthread_mutex_unlock(&s->commit_lock);
        if (t == NULL)
            return NULL; /* told to stop, and the queue is empty */
        watch_begin("committer", "log sync", SYNC_STUCK_NS);
        commit_run(s, t);
        watch_end();
    }
}

bool commit_step(struct store *s)
{
    ASSERT(s->opt.stepped);
    pthread_mutex_lock(&s->commit_lock);
    struct tenant *t = commit_take(s);
    pthread_mutex_unlock(&s->commit_lock);
    if (t != NULL)
        commit_run(s, t);
    return t != NULL;
}

void commit_expire(struct tenant *t, int64_t now_ns)
{
    struct store *s = t->store;
    struct waiter *late = NULL;
    pthread_mutex_lock(&t->lock);
    uint64_t lsn = 0;
    /* Deadlines ascend with LSNs: all appends get the same time. */
    for (struct waiter *w = t->waiters; w != NULL && w->deadline_ns <= now_ns; w = w->next)
        lsn = w->lsn;
    if (lsn != 0)
        late = waiters_cut(t, lsn);
    pthread_mutex_unlock(&t->lock);
    if (late == NULL)
        return;
    struct err e;
    enum ec ec = ERR(&e, EC_UNAVAILABLE, "the log was not synced within %lld ms",
        (long long)(s->opt.ack_timeout_ns / NS_PER_MS));
    log_event(LOG_WARN, "acks timed out: the log sync takes too long", LS("tenant", t->id));
    waiters_finish(s, late, ec, &e);
}

enum ec commit_start(struct store *s, struct err *err)
{
    if (s->opt.stepped)
        return EC_OK;
    s->committers = xcalloc(s->opt.commit_threads, sizeof(*s->committers));
    for (unsigned i = 0; i < s->opt.commit_threads; i++) {
        int e = pthread_create(&s->committers[i], NULL, commit_main, s);
        if (e != 0)
            return ERR_ERRNO(err, EC_UNAVAILABLE, e, "committer thread %u", i);
        s->n_committers++;
    }
    return EC_OK;
}

void commit_stop(struct store *s)
{
    pthread_mutex_lock(&s->commit_lock);
    s->commit_stop = true;
    pthread_cond_broadcast(&s->commit_wake);
    pthread_mutex_unlock(&s->commit_lock);
    while (s->opt.stepped && commit_step(s)) {
    }
    for (unsigned i = 0; i < s->n_committers; i++)
        pthread_join(s->committers[i], NULL);
    free(s->committers);
    s->committers = NULL;
    s->n_committers = 0;
}
