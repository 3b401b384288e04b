/* SPDX-License-Identifier: Apache-2.0
 * What time brings about: one ticking thread, one thread that prepares WAL segments.
 *
 * The tick answers acks that waited too long, queues idle marks and interval syncs, looks at the
 * disk, seals what is old or large, and puts flush, retention and compaction on the pool. It never
 * writes data itself, so a slow disk does not delay the answers that it owes. While nothing is
 * appended it wakes once a second; while tenants are hot, every 50 ms.
 *
 * It also gives back what flushes and merges freed. WHY not they themselves: the allocator's locks
 * are held for milliseconds then, and on a thread of low priority those become a tenth of a second
 * while every request waits for them.
 *
 * Segments are prepared (allocated, zeroed, synced) by their own thread: it takes long, and a
 * committer or the low-priority pool thread busy with a merge would make an append wait for it.
 */
#include <stdlib.h>
#include <time.h>

#include "base/memory.h"
#include "base/watch.h"
#include "store_private.h"

#define TICK_HOT_NS      (50 * NS_PER_MS)
#define TICK_IDLE_NS     NS_PER_S
#define TICK_STUCK_NS    (30 * NS_PER_S)
#define IDLE_MARK_NS     (100 * NS_PER_MS)
#define PREPARE_RETRY_NS NS_PER_S

bool store_job_of(
    struct store *s, enum pool_class cls, uint64_t key, void (*fn)(void *arg), void *arg)
{
    atomic_fetch_add(&s->jobs, 1);
    if (s->opt.pool != NULL && pool_submit(s->opt.pool, cls, key, fn, arg))
        return true;
    store_job_done(s);
    return false;
}

bool store_job(struct store *s, uint64_t key, void (*fn)(void *arg), void *arg)
{
    return store_job_of(s, POOL_LOW, key, fn, arg);
}

void store_job_done(struct store *s)
{
    uint32_t before = atomic_fetch_sub(&s->jobs, 1);
    ASSERT(before > 0);
}

void tick_kick(struct store *s)
{
    pthread_mutex_lock(&s->tick_lock);
    s->tick_now = true;
    pthread_cond_signal(&s->tick_wake);
    pthread_mutex_unlock(&s->tick_lock);
}

void prepare_kick(struct tenant *t)
{
    struct store *s = t->store;
    if (atomic_exchange(&t->prepare_want, true))
        return;
    pthread_mutex_lock(&s->tick_lock);
    s->prepare_now = true;
    pthread_cond_signal(&s->prepare_wake);
    pthread_mutex_unlock(&s->tick_lock);
}

static void tenant_prepare(struct tenant *t)
{
    struct err e = {0};
    if (!atomic_exchange(&t->prepare_want, false))
        return;
    pthread_mutex_lock(&t->lock);
    struct wal *w = t->wal;
    if (w != NULL)
        t->wal_users++;
    pthread_mutex_unlock(&t->lock);
    if (w == NULL)
        return;
    int64_t begin = clock_mono_ns();
    enum ec ec = wal_prepare_next(w, &e);
    if (ec == EC_OK)
        log_event(LOG_DEBUG, "log segment prepared", LS("tenant", t->id),
            LD("took", clock_mono_ns() - begin));
    else
        log_event(LOG_WARN, "log segment not prepared ahead", LS("tenant", t->id), LE(&e));
    pthread_mutex_lock(&t->lock);
    t->prepare_after_ns = ec == EC_OK ? 0 : clock_mono_ns() + PREPARE_RETRY_NS;
    t->wal_users--;
    pthread_mutex_unlock(&t->lock);
}

void prepare_step(struct store *s)
{
    struct tenant_list all;
    tenant_list(s, &all);
    for (size_t i = 0; i < all.n; i++)
        tenant_prepare(all.p[i]);
    tenant_list_free(&all);
}

static void *prepare_main(void *arg)
{
    struct store *s = arg;
    for (;;) {
        pthread_mutex_lock(&s->tick_lock);
        while (!s->prepare_now && !s->tick_stop)
            pthread_cond_wait(&s->prepare_wake, &s->tick_lock);
        bool stop = s->tick_stop;
        s->prepare_now = false;
        pthread_mutex_unlock(&s->tick_lock);
        if (stop)
            return NULL;
        watch_begin("log preparation", "next segments", TICK_STUCK_NS);
        prepare_step(s);
        watch_end();
    }
}

/* A tenant that was appended to lately: late acks, the interval's sync, the idle mark. */
static void tenant_tick(struct tenant *t, int64_t now_ns, bool interval)
{
    const struct store *s = t->store;
    if (!atomic_load_explicit(&t->hot, memory_order_relaxed))
        return;
    commit_expire(t, now_ns);
    pthread_mutex_lock(&t->lock);
    bool idle = now_ns - t->last_append_ns >= IDLE_MARK_NS;
    if (t->wal == NULL) {
        atomic_store(&t->hot, false);
    } else if (t->dirty) {
        if (s->opt.durability == DURABILITY_COMMIT || interval)
            commit_request(t);
        else if (s->opt.durability == DURABILITY_NONE && idle)
            atomic_store(&t->hot, false);
    } else if (idle && t->waiters == NULL && t->commit_state == COMMIT_IDLE) {
        t->mark_want = true;
        commit_request(t);
        atomic_store(&t->hot, false);
    }
    pthread_mutex_unlock(&t->lock);
}

static void reap_job(void *arg)
{
    struct store *s = arg;
    atomic_store(&s->reap_queued, false);
    zombies_reap(s, false);
    store_job_done(s);
}

static bool zombies_waiting(struct store *s)
{
    pthread_mutex_lock(&s->zombie_lock);
    bool any = s->zombies != NULL;
    pthread_mutex_unlock(&s->zombie_lock);
    return any;
}

static void background_due(struct store *s, int64_t now_ns)
{
    if (zombies_waiting(s) && !atomic_exchange(&s->reap_queued, true) &&
        !store_job(s, 3, reap_job, s))
        atomic_store(&s->reap_queued, false);
    if (now_ns >= s->next_retain_ns && !atomic_exchange(&s->retain_queued, true)) {
        s->next_retain_ns = now_ns + s->opt.retention_period_ns;
        if (!store_job(s, 1, retain_job, s))
            atomic_store(&s->retain_queued, false);
    }
    if (now_ns >= s->next_compact_ns && !atomic_exchange(&s->compact_queued, true)) {
        s->next_compact_ns = now_ns + s->opt.compaction_period_ns;
        if (!store_job(s, 2, compact_job, s))
            atomic_store(&s->compact_queued, false);
    }
}

static bool tenants_hot(struct store *s)
{
    bool hot = atomic_load(&s->n_waiters) > 0;
    pthread_rwlock_rdlock(&s->registry);
    for (size_t i = 0; i < STORE_BUCKETS && !hot; i++)
        for (const struct tenant *t = s->buckets[i]; t != NULL && !hot; t = t->bucket_next)
            hot = atomic_load_explicit(&t->hot, memory_order_relaxed);
    pthread_rwlock_unlock(&s->registry);
    return hot;
}

/* Memory that only work needs goes back. */
static void tick_settle(struct store *s)
{
    bool resting = !tenants_hot(s) && atomic_load(&s->jobs) == 0;
    memory_settle(resting);
    if (!resting || pthread_mutex_trylock(&s->catalog_lock) != 0)
        return;
    if (s->catalog != NULL)
        catalog_rest(s->catalog);
    pthread_mutex_unlock(&s->catalog_lock);
}

static void tick_check(struct store *s, int64_t now_ns, const struct tenant_list *all)
{
    disk_check(s);
    bool give_back = atomic_load(&s->wal_spares.off) && atomic_load(&s->wal_spares.bytes) > 0;
    for (size_t i = 0; give_back && i < all->n; i++)
        prepare_kick(all->p[i]); /* it removes files, which a tick does not */
    tick_settle(s);
    retention_clock_check(s);
    for (size_t i = 0; i < all->n; i++)
        tenant_seal_due(all->p[i], now_ns);
    flush_pressure(s);
    for (size_t i = 0; i < all->n; i++)
        flush_schedule(all->p[i]);
    if (s->opt.bytes_max != 0 && atomic_load(&s->blocks_bytes) > s->opt.bytes_max)
        s->next_retain_ns = now_ns; /* a size limit does not wait for the period */
    background_due(s, now_ns);
}

static void tick_once(struct store *s, bool now)
{
    struct tenant_list all;
    int64_t now_ns = clock_mono_ns();
    bool interval = s->opt.durability == DURABILITY_INTERVAL && now_ns >= s->next_interval_ns;
    if (interval)
        s->next_interval_ns = now_ns + s->opt.durability_interval_ns;
    tenant_list(s, &all);
    for (size_t i = 0; i < all.n; i++)
        tenant_tick(all.p[i], now_ns, interval);
    if (now || now_ns >= s->next_check_ns) {
        s->next_check_ns = now_ns + s->opt.check_period_ns;
        tick_check(s, now_ns, &all);
    }
    heads_reclaim(s, &all, now_ns);
    tenant_list_free(&all);
    if (atomic_exchange(&s->settle_want, false))
        memory_settle(false);
}

void tick_step(struct store *s)
{
    ASSERT(s->opt.stepped);
    tick_once(s, true);
}

static void *tick_main(void *arg)
{
    struct store *s = arg;
    bool now = false;
    for (;;) {
        int64_t wait = MIN(s->opt.check_period_ns, TICK_IDLE_NS);
        if (tenants_hot(s))
            wait = MIN(wait, TICK_HOT_NS);
        if (s->opt.durability == DURABILITY_INTERVAL)
            wait = MIN(wait, s->opt.durability_interval_ns);
        int64_t until = clock_mono_ns() + wait;
        const struct timespec ts = {.tv_sec = until / NS_PER_S, .tv_nsec = until % NS_PER_S};
        pthread_mutex_lock(&s->tick_lock);
        if (!s->tick_now && !s->tick_stop)
            (void)pthread_cond_timedwait(&s->tick_wake, &s->tick_lock, &ts); /* or time is up */
        bool stop = s->tick_stop;
        now = s->tick_now;
        s->tick_now = false;
        pthread_mutex_unlock(&s->tick_lock);
        if (stop)
            return NULL;
        watch_begin("store ticker", "tenants", TICK_STUCK_NS);
        tick_once(s, now);
        watch_end();
    }
}

enum ec tick_start(struct store *s, struct err *err)
{
    if (s->opt.stepped)
        return EC_OK;
    int e = pthread_create(&s->tick_thread, NULL, tick_main, s);
    if (e != 0)
        return ERR_ERRNO(err, EC_UNAVAILABLE, e, "tick thread");
    s->tick_started = true;
    e = pthread_create(&s->prepare_thread, NULL, prepare_main, s);
    if (e != 0)
        return ERR_ERRNO(err, EC_UNAVAILABLE, e, "log preparation thread");
    s->prepare_started = true;
    return EC_OK;
}

void tick_stop(struct store *s)
{
    pthread_mutex_lock(&s->tick_lock);
    s->tick_stop = true;
    pthread_cond_broadcast(&s->tick_wake);
    pthread_cond_broadcast(&s->prepare_wake);
    pthread_mutex_unlock(&s->tick_lock);
    if (s->tick_started)
        pthread_join(s->tick_thread, NULL);
    if (s->prepare_started)
        pthread_join(s->prepare_thread, NULL);
    s->tick_started = s->prepare_started = false;
}
