/* SPDX-License-Identifier: Apache-2.0
 * The store as its users see it: open, close, snapshots, health. See store_private.h for the map.
 *
 * Stop, in this order: no new appends; the ones inside finish; committers sync and answer what
 * waits; background jobs end; heads are flushed if asked; logs are closed (synced, marked clean);
 * the catalog is closed. With flush, nothing is left to replay. store_abandon does none of the
 * syncing: what it leaves is what a crash leaves.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "store_private.h"

#define CLOSE_THREADS 16u /* syncs under way at once */
#define FLUSH_THREADS 4u  /* blocks being written at once */

static void options_defaults(struct store_options *o)
{
#define DEFAULT(field, value) o->field = o->field == 0 ? (value) : o->field
    DEFAULT(head_bytes_max, 256ull << 20);
    DEFAULT(cache_bytes_max, 128ull << 20);
    DEFAULT(block_raw_bytes_max, 64ull << 20);
    DEFAULT(block_age_max_ns, 300 * NS_PER_S);
    DEFAULT(check_period_ns, NS_PER_S);
    DEFAULT(retention_ns, 168 * 3600 * NS_PER_S);
    DEFAULT(retention_period_ns, 60 * NS_PER_S);
    DEFAULT(compaction_window_ns, 3600 * NS_PER_S);
    DEFAULT(compaction_period_ns, 30 * NS_PER_S);
    DEFAULT(compaction_inputs_max, 8);
    DEFAULT(compaction_spans_max, 4000000);
    DEFAULT(compaction_bytes_max, 1ull << 30);
    DEFAULT(commit_threads, 2);
    DEFAULT(tenants_open_max, 1000);
    DEFAULT(ack_timeout_ns, 5 * NS_PER_S);
    DEFAULT(durability_interval_ns, NS_PER_S);
#undef DEFAULT
    if (o->io == NULL)
        o->io = &io_real;
    ASSERT(!o->stepped || o->pool == NULL);
    if (o->compaction_inputs_max < 2)
        o->compaction_inputs_max = 2;
}

static void store_locks_init(struct store *s)
{
    pthread_condattr_t mono;
    pthread_mutex_t *all[] = {&s->catalog_lock, &s->commit_lock, &s->tick_lock, &s->zombie_lock,
        &s->compact_lock, &s->retain_lock, &s->collect_lock, &s->buf_lock, &s->recovery_lock};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        pthread_mutex_init(all[i], NULL);
    pthread_rwlock_init(&s->registry, NULL);
    pthread_cond_init(&s->commit_wake, NULL);
    pthread_cond_init(&s->prepare_wake, NULL);
    pthread_condattr_init(&mono);
    pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    pthread_cond_init(&s->tick_wake, &mono);
    pthread_condattr_destroy(&mono);
}

static void store_locks_deinit(struct store *s)
{
    pthread_mutex_t *all[] = {&s->catalog_lock, &s->commit_lock, &s->tick_lock, &s->zombie_lock,
        &s->compact_lock, &s->retain_lock, &s->collect_lock, &s->buf_lock, &s->recovery_lock};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        pthread_mutex_destroy(all[i]);
    pthread_rwlock_destroy(&s->registry);
    pthread_cond_destroy(&s->commit_wake);
    pthread_cond_destroy(&s->prepare_wake);
    pthread_cond_destroy(&s->tick_wake);
}

static struct store *store_new(const struct store_options *opt)
{
    struct store *s = xcalloc(1, sizeof(*s));
    s->magic = STORE_MAGIC;
    s->opt = *opt;
    options_defaults(&s->opt);
    s->opt.wal_dir = xstrdup(opt->wal_dir);
    s->opt.data_dir = xstrdup(opt->data_dir);
    s->wal_root = path_printf("%s/@wal", opt->wal_dir);
    s->data_root = path_printf("%s/@store", opt->data_dir);
    s->catalog_dir = path_printf("%s/catalog", s->data_root);
    s->lock_fd = s->wal_lock_fd = -1;
    store_locks_init(s);
    budget_init(&s->heads, opt->budget, "heads", s->opt.head_bytes_max);
    budget_init(&s->work, opt->budget, "storage work", 0);
    s->wal_spares.bytes_max = WAL_SPARES_BYTES;
    s->cache = block_cache_new(opt->budget, s->opt.cache_bytes_max);
    budget_list(&s->heads);
    budget_list(&s->work);
    budget_list(block_cache_budget(s->cache));
    s->clock_base_ns = clock_wall_ns() - clock_boot_ns();
    int64_t now_ns = clock_mono_ns();
    s->next_retain_ns = now_ns + s->opt.retention_period_ns;
    s->next_compact_ns = now_ns + s->opt.compaction_period_ns;
    return s;
}

/* One process a directory: the lock goes with the process, however it ends. */
static enum ec lock_take(
    struct store *s, const char *root, const char *what, int *ret_fd, struct err *err)
{
    CLEANUP(freep) char *path = path_printf("%s/lock", root);
    TRY(io_open(s->opt.io, "store.lock", path, O_RDWR | O_CREAT, 0600, ret_fd, err));
    if (flock(*ret_fd, LOCK_EX | LOCK_NB) != 0)
        return ERR(err, EC_CONFLICT, "%s directory %s is in use by another process", what, root);
    return EC_OK;
}

static enum ec dirs_prepare(struct store *s, struct err *err)
{
    const struct {
        const char *top, *root, *what;
        int *fd;
    } dirs[] = {{s->opt.data_dir, s->data_root, "data", &s->lock_fd},
        {s->opt.wal_dir, s->wal_root, "wal", &s->wal_lock_fd}};
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        enum ec ec = io_mkdir_all(s->opt.io, "store.mkdir", dirs[i].root, err);
        if (ec == EC_OK)
            ec = io_fsync_dir(s->opt.io, "store.mkdir_sync", dirs[i].top, err);
        /* A tenant's directory that a crash left behind is there, but perhaps not for good. */
        if (ec == EC_OK)
            ec = io_fsync_dir(s->opt.io, "store.root_sync", dirs[i].root, err);
        if (ec == EC_OK)
            ec = lock_take(s, dirs[i].root, dirs[i].what, dirs[i].fd, err);
        if (ec == EC_CONFLICT)
            return ec;
        if (ec != EC_OK)
            return err_prefix(err, "%s directory %s cannot be used", dirs[i].what, dirs[i].top);
    }
    return EC_OK;
}

static void store_abandonp(struct store **s)
{
    store_abandon(*s);
}

enum ec store_open(const struct store_options *opt, struct store **ret, struct err *err)
{
    ASSERT(opt->wal_dir != NULL);
    ASSERT(opt->data_dir != NULL);
    store_metrics_init();
    ack_times_init();
    CLEANUP(store_abandonp) struct store *s = store_new(opt);
    TRY(dirs_prepare(s, err));
    disk_check(s);
    TRY(store_recover(s, err));
    TRY(commit_start(s, err));
    TRY(tick_start(s, err));
    store_metrics_attach(s);
    atomic_store(&s->state, STORE_READY);
    tick_kick(s);
    *ret = TAKE_PTR(s);
    return EC_OK;
}

static void sleep_ms(long ms)
{
    const struct timespec ts = {.tv_nsec = ms * 1000000};
    nanosleep(&ts, NULL);
}

static void jobs_wait(struct store *s)
{
    while (atomic_load(&s->jobs) > 0)
        sleep_ms(1);
}

static void first_error(enum ec *ec, struct err *err, enum ec now, const struct err *e)
{
    if (*ec != EC_OK || now == EC_OK)
        return;
    *ec = now;
    if (err != NULL)
        *err = *e;
}

/* Work on many tenants that mostly waits for the disk: syncs that wait together cost one. */
struct each_tenant {
    const struct tenant_list *all;
    enum ec (*fn)(struct tenant *t, struct err *err);
    _Atomic size_t next;
    pthread_mutex_t lock;
    enum ec ec; /* the first failure; guarded by lock */
    struct err err;
};

static void *each_tenant_work(void *arg)
{
    struct each_tenant *e = arg;
    for (size_t i; (i = atomic_fetch_add(&e->next, 1)) < e->all->n;) {
        struct err err = {0};
        enum ec ec = e->fn(e->all->p[i], &err);
        pthread_mutex_lock(&e->lock);
        first_error(&e->ec, &e->err, ec, &err);
        pthread_mutex_unlock(&e->lock);
    }
    return NULL;
}

/* All of them, whatever fails; *err is of the first failure. Threads that cannot be had are made up
 * for by this one. */
static enum ec each_tenant(const struct tenant_list *all, size_t n_threads,
    enum ec (*fn)(struct tenant *t, struct err *err), struct err *err)
{
    struct each_tenant e = {.all = all, .fn = fn, .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t threads[CLOSE_THREADS];
    size_t n = 0;
    ASSERT(n_threads <= CLOSE_THREADS);
    if (all->n > 0 && all->p[0]->store->opt.stepped)
        n_threads = 1;
    while (n + 1 < MIN(n_threads, all->n) &&
           pthread_create(&threads[n], NULL, each_tenant_work, &e) == 0)
        n++;
    each_tenant_work(&e);
    while (n > 0)
        pthread_join(threads[--n], NULL);
    pthread_mutex_destroy(&e.lock);
    if (e.ec != EC_OK && err != NULL)
        *err = e.err;
    return e.ec;
}

static enum ec tenant_seal_flush(struct tenant *t, struct err *err)
{
    pthread_mutex_lock(&t->lock);
    tenant_seal(t, "flush");
    pthread_mutex_unlock(&t->lock);
    return tenant_flush(t, true, err);
}

static enum ec flush_list(const struct tenant_list *all, struct err *err)
{
    return each_tenant(all, FLUSH_THREADS, tenant_seal_flush, err);
}

/* Nobody else is active any more. */
static enum ec tenant_wal_close(struct tenant *t, struct err *err)
{
    if (t->wal == NULL)
        return EC_OK;
    ASSERT(t->wal_users == 0);
    enum ec ec = wal_close(TAKE_PTR(t->wal), err);
    atomic_fetch_sub(&t->store->wals_open, 1);
    return ec;
}

static enum ec wals_close(const struct tenant_list *all, struct err *err)
{
    return each_tenant(all, CLOSE_THREADS, tenant_wal_close, err);
}

enum ec store_close(struct store *s, bool flush, struct err *err)
{
    struct tenant_list all;
    enum ec ec = EC_OK;
    struct err e = {0};
    ASSERT(s->magic == STORE_MAGIC);
    atomic_store(&s->state, STORE_CLOSING);
    while (atomic_load(&s->appending) > 0)
        sleep_ms(1);
    /* The tick goes on meanwhile: it is what ends the wait for a log that does not sync. */
    while (atomic_load(&s->n_waiters) > 0)
        if (!s->opt.stepped || !commit_step(s))
            sleep_ms(1);
    store_metrics_detach(s);
    tick_stop(s);
    commit_stop(s);
    jobs_wait(s);
    tenant_list(s, &all);
    if (flush)
        first_error(&ec, err, flush_list(&all, &e), &e);
    first_error(&ec, err, wals_close(&all, &e), &e);
    tenant_list_free(&all);
    zombies_reap(s, true);
    store_free(s);
    return ec;
}

static void tenant_empty(struct tenant *t)
{
    struct err e = {0};
    enum ec ec = ERR(&e, EC_UNAVAILABLE, "the store was abandoned");
    waiters_finish(t->store, TAKE_PTR(t->waiters), ec, &e);
    t->waiters_last = NULL;
    wal_abandon(TAKE_PTR(t->wal));
    head_free(TAKE_PTR(t->head));
    while (t->sealed != NULL) {
        struct sealed_head *sh = t->sealed;
        t->sealed = sh->next;
        head_free(sh->head);
        free(sh);
    }
    t->sealed_last = NULL;
    t->n_sealed = 0;
}

static void zombies_forget(struct store *s)
{
    while (s->zombies != NULL) {
        struct zombie *z = s->zombies;
        s->zombies = z->next;
        store_block_unref(z->successor);
        store_block_unref(z->block);
        tenant_unref(z->tenant);
        free(z);
    }
}

/* Frees a store whose threads and jobs have ended. */
void store_free(struct store *s)
{
    zombies_forget(s);
    block_cache_clear(s->cache);
    for (size_t i = 0; i < STORE_BUCKETS; i++) {
        while (s->buckets[i] != NULL) {
            struct tenant *t = s->buckets[i];
            s->buckets[i] = t->bucket_next;
            tenant_empty(t);
            ASSERT(atomic_load(&t->refs) == 1);
            tenant_unref(t);
        }
    }
    catalog_close(s->catalog);
    budget_unlist(block_cache_budget(s->cache));
    budget_unlist(&s->work);
    budget_unlist(&s->heads);
    block_cache_free(s->cache);
    for (unsigned i = 0; i < s->n_bufs; i++)
        buf_deinit(&s->bufs[i]);
    budget_deinit(&s->work);
    budget_deinit(&s->heads);
    if (s->lock_fd >= 0)
        (void)io_close(s->opt.io, "store.unlock_data", s->lock_fd, NULL);
    if (s->wal_lock_fd >= 0)
        (void)io_close(s->opt.io, "store.unlock_wal", s->wal_lock_fd, NULL);
    store_locks_deinit(s);
    free((void *)(uintptr_t)s->opt.wal_dir);
    free((void *)(uintptr_t)s->opt.data_dir);
    free(s->wal_root);
    free(s->data_root);
    free(s->catalog_dir);
    s->magic = 0;
    free(s);
}

void store_abandon(struct store *s)
{
    if (s == NULL)
        return;
    ASSERT(s->magic == STORE_MAGIC);
    atomic_store(&s->state, STORE_CLOSING);
    while (atomic_load(&s->appending) > 0)
        sleep_ms(1);
    store_metrics_detach(s);
    tick_stop(s);
    commit_stop(s);
    jobs_wait(s);
    store_free(s);
}

enum ec store_snapshot(struct store *s, struct str tenant, struct snapshot *ret, struct err *err)
{
    ASSERT(s->magic == STORE_MAGIC);
    if (tenant.n == 0)
        return ERR(err, EC_INVALID, "no tenant");
    *ret = (struct snapshot){0};
    struct tenant *t = tenant_find(s, tenant);
    if (t == NULL)
        return EC_OK;
    pthread_mutex_lock(&t->set_lock);
    struct part_set *set = t->set;
    atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&t->set_lock);
    tenant_unref(t);
    if (set->n == 0)
        part_set_unref(set); /* an empty snapshot holds nothing */
    else
        *ret = (struct snapshot){.parts = set->parts, .facts = set->facts, .n = set->n};
    return EC_OK;
}

void snapshot_release(struct snapshot *snap)
{
    if (snap->parts != NULL)
        part_set_unref(CONTAINER_OF(snap->parts, struct part_set, parts));
    *snap = (struct snapshot){0};
}

enum ec store_flush(struct store *s, struct str tenant, struct err *err)
{
    struct tenant_list all;
    ASSERT(s->magic == STORE_MAGIC);
    if (tenant.n == 0) {
        tenant_list(s, &all);
    } else {
        struct tenant *t = tenant_find(s, tenant);
        if (t == NULL)
            return EC_OK;
        all = (struct tenant_list){.p = xcalloc(1, sizeof(t)), .n = 1};
        all.p[0] = t;
    }
    enum ec ec = flush_list(&all, err);
    tenant_list_free(&all);
    return ec;
}

enum ec store_tenants(
    struct store *s, struct arena *arena, struct store_tenant **ret, size_t *ret_n, struct err *err)
{
    struct tenant_list all;
    ASSERT(s->magic == STORE_MAGIC);
    tenant_list(s, &all);
    tenant_list_sort(&all);
    struct store_tenant *out = ARENA_ARRAY(arena, all.n + 1, struct store_tenant);
    uint32_t now_s = (uint32_t)(clock_wall_ns() / NS_PER_S);
    enum ec ec = out == NULL ? ERR(err, EC_LIMIT, "list of %zu tenants", all.n) : EC_OK;
    for (size_t i = 0; i < all.n && ec == EC_OK; i++) {
        struct tenant *t = all.p[i];
        uint64_t segments;
        out[i].id = arena_str(arena, t->id);
        if (out[i].id.p == NULL)
            ec = ERR(err, EC_LIMIT, "list of %zu tenants", all.n);
        pthread_mutex_lock(&t->lock);
        if (t->wal != NULL)
            wal_usage(t->wal, &out[i].wal_bytes, &segments);
        if (t->head != NULL)
            head_stats(t->head, now_s, &out[i].head);
        out[i].block_bytes = t->blocks_bytes;
        out[i].n_blocks = t->blocks.n;
        out[i].n_spans_blocks = t->blocks_spans;
        pthread_mutex_unlock(&t->lock);
    }
    if (ec == EC_OK) {
        *ret = out;
        *ret_n = all.n;
    }
    tenant_list_free(&all);
    return ec;
}

void store_health(struct store *s, struct store_health *ret)
{
    ASSERT(s->magic == STORE_MAGIC);
    *ret = (struct store_health){
        .ready = atomic_load(&s->state) == STORE_READY,
        .ingest_off = atomic_load(&s->ingest_off),
        .disk_low = atomic_load(&s->disk_low),
        .disk_free = atomic_load(&s->disk_free),
        .durability = s->opt.durability,
        .recovery = s->recovery,
    };
}
