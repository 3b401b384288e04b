/* SPDX-License-Identifier: Apache-2.0
 * Seal and flush: an active head becomes a sealed one, a sealed one becomes a block.
 *
 *     write .tmp-<uuid> and fsync -> rename to <uuid>.block -> fsync directory -> catalog + swap
 *     -> release WAL
 *
 * A crash before the rename leaves a .tmp- file, which start-up sweeps; the WAL has everything. A
 * crash after it leaves a block without a catalog entry: start-up adopts it, and its LSN range
 * keeps replay from storing the same spans again. Only a block that the catalog holds lets go of
 * the WAL.
 *
 * Sealed heads of a tenant are written strictly in order (store_private.h says why). A flush that
 * fails is tried again for ever, with growing pauses; the head stays in memory and is queried
 * meanwhile.
 *
 * Flushes run at low priority as long as that is enough. WHY not always: where processors are
 * short, threads of low priority get next to nothing, sealed heads pile up to their cap, and ingest
 * is refused although the disk and the processors could take it. So who is behind writes on a
 * thread of normal priority, and the slow one ends after the head it is at.
 */
#include <fcntl.h>
#include <stdlib.h>

#include "base/defect.h"
#include "store_private.h"

/* Queries older than this end when heads are so full, a quarter of them with what was flushed. */
#define RECLAIM_PERCENT 70u
#define RECLAIM_AGE_NS  NS_PER_S
#define RECLAIM_TELL_NS (10 * NS_PER_S)

/* How long room is left for a request that was refused, and what heads may have all the same. */
#define WANT_NS             (60 * NS_PER_S)
#define WANT_HEAD_BYTES_MIN (512u << 10)

#define SEALED_BEHIND       3u /* sealed heads of a tenant: one being written, the next, and more */

bool heads_over(const struct store *s, unsigned percent)
{
    return budget_used(&s->heads) > s->opt.head_bytes_max / 100 * percent;
}

/* The segment of these records is released with this head; where it is not ended now, with the
 * next. */
static void seal_log(struct tenant *t)
{
    struct err e = {0};
    if (t->wal == NULL)
        return;
    if (atomic_load_explicit(&t->hot, memory_order_relaxed)) {
        wal_rotate_soon(t->wal);
        if (wal_prepare_due(t->wal))
            prepare_kick(t);
    } else if (wal_rotate(t->wal, &e) != EC_OK) {
        log_event(LOG_WARN, "log not rotated at a seal", LS("tenant", t->id), LE(&e));
    }
}

bool tenant_seal(struct tenant *t, const char *reason)
{
    struct head_stats hs;
    if (t->head == NULL)
        return false;
    head_stats(t->head, (uint32_t)(clock_wall_ns() / NS_PER_S), &hs);
    if (hs.n_spans == 0)
        return false;
    seal_log(t);
    struct sealed_head *sh = xcalloc(1, sizeof(*sh));
    sh->head = TAKE_PTR(t->head);
    static const uint8_t none[16];
    memcpy(sh->uuid, head_part(sh->head)->uuid, 16);
    if (memcmp(sh->uuid, none, 16) == 0)
        uuid_new(sh->uuid);
    sh->lsn_first = t->head_lsn_first;
    sh->lsn_last = t->head_lsn_last;
    sh->raw_bytes = t->head_raw_bytes;
    sh->memory_bytes = hs.memory_bytes;
    sh->born_mono_ns = t->head_born_mono_ns;
    ASSERT(sh->lsn_first <= sh->lsn_last);
    ASSERT(t->sealed_last == NULL || t->sealed_last->lsn_last < sh->lsn_first);
    *(t->sealed_last == NULL ? &t->sealed : &t->sealed_last->next) = sh;
    t->sealed_last = sh;
    t->n_sealed++;
    t->traces_sealed += hs.n_traces;
    metric_inc(metric_series1(&store_families.cut3, str_from(reason)));
    tenant_publish(t); /* the same parts, in another role */
    return true;
}

/* WHY: a request of many small spans may want most of what heads may have. It is told to come
 * again; if heads went on filling to their usual size meanwhile, it would be told so for ever. */
void heads_want(struct store *s, uint64_t bytes)
{
    atomic_store(&s->want_until_ns, clock_mono_ns() + WANT_NS);
    uint64_t before = atomic_load(&s->want_bytes);
    while (before < bytes && !atomic_compare_exchange_weak(&s->want_bytes, &before, bytes))
        ;
}

/* What heads may have beside what was asked for lately. */
static uint64_t heads_room(struct store *s)
{
    uint64_t want = atomic_load_explicit(&s->want_bytes, memory_order_relaxed);
    if (LIKELY(want == 0))
        return s->opt.head_bytes_max;
    if (clock_mono_ns() >= atomic_load(&s->want_until_ns))
        atomic_store(&s->want_bytes, 0);
    return s->opt.head_bytes_max - MIN(want, s->opt.head_bytes_max);
}

/* By what it was sent as, or by what it takes: small spans take several times their bytes, and the
 * next head needs room while this one is written. */
bool tenant_head_full(const struct tenant *t)
{
    const struct store_options *o = &t->store->opt;
    uint64_t n = head_bytes(t->head);
    return t->head_raw_bytes >= o->block_raw_bytes_max || n >= o->head_bytes_max / 4 ||
           n >= MAX(heads_room(t->store) / 2, WANT_HEAD_BYTES_MIN);
}

void tenant_seal_due(struct tenant *t, int64_t now_ns)
{
    const struct store_options *o = &t->store->opt;
    pthread_mutex_lock(&t->lock);
    if (t->head != NULL && t->head_lsn_first != 0) {
        if (tenant_head_full(t))
            tenant_seal(t, "size");
        else if (now_ns - t->head_born_mono_ns >= o->block_age_max_ns)
            tenant_seal(t, "age");
    }
    pthread_mutex_unlock(&t->lock);
}

void file_discard(struct tenant *t, const char *site, const char *path)
{
    struct err e = {0};
    enum ec ec = io_unlink(t->store->opt.io, site, path, &e);
    if (ec != EC_OK && ec != EC_NOT_FOUND)
        log_event(LOG_WARN, "an unused block file could not be removed", LZ("path", path), LE(&e));
}

/* Writes the head into a file with its final name; nobody sees it yet. */
static enum ec flush_write(
    struct tenant *t, const struct sealed_head *sh, struct block_facts *ret, struct err *err)
{
    struct store *s = t->store;
    struct part *part = head_part(sh->head);
    struct part_reader *reader = NULL;
    uint64_t dups = 0;
    /* The name is the head's for all tries: what a failed one left is overwritten, never a second
     * copy. */
    CLEANUP(freep) char *tmp = block_path(t, ".tmp-", sh->uuid, "");
    CLEANUP(freep) char *final = block_path(t, "", sh->uuid, ".block");
    TRY(tenant_data_dir(t, err));
    if (sh->tries > 0)
        file_discard(t, "block.retry", tmp); /* files are created anew or not at all */
    TRY(part_reader_open(part, &s->work, &reader, err));
    struct block_write_options opt = {
        .io = s->opt.io,
        .path = tmp,
        .tenant = t->id,
        .level = 0,
        .lsn_first = sh->lsn_first,
        .lsn_last = sh->lsn_last,
        .budget = &s->work,
    };
    memcpy(opt.uuid, sh->uuid, 16);
    enum ec ec = block_write(&opt, &reader, 1, ret, &dups, err);
    part_reader_close(reader);
    if (ec != EC_OK)
        return ec;
    ASSERT(ret->lsn_last == sh->lsn_last);
    ASSERT(memcmp(ret->uuid, sh->uuid, 16) == 0);
    if (DEFECT(DEFECT_CATALOG_BEFORE_RENAME))
        TRY(catalog_change(s, t->id, ret, 1, NULL, 0, err));
    ec = io_rename(s->opt.io, "block.rename", tmp, final, err);
    if (ec == EC_OK && !DEFECT(DEFECT_SKIP_DIRSYNC))
        ec = io_fsync_dir(s->opt.io, "block.rename_sync", t->data_dir, err);
    if (ec != EC_OK) {
        /* The rename may or may not have happened; either name is removed, the WAL has the spans.
         * */
        file_discard(t, "block.tmp_undo", tmp);
        file_discard(t, "block.rename_undo", final);
        block_facts_deinit(ret);
    }
    return ec;
}

static void release_wal(struct tenant *t)
{
    struct err e = {0};
    pthread_mutex_lock(&t->lock);
    struct wal *w = t->wal;
    uint64_t lsn = t->lsn_covered;
    if (w != NULL)
        t->wal_users++;
    pthread_mutex_unlock(&t->lock);
    if (w == NULL)
        return;
    enum ec ec = wal_release(w, lsn, &e);
    if (ec != EC_OK)
        log_event(LOG_WARN, "log segments not released yet", LS("tenant", t->id), LE(&e));
    atomic_store(&t->release_want, ec != EC_OK);
    pthread_mutex_lock(&t->lock);
    t->wal_users--;
    pthread_mutex_unlock(&t->lock);
}

static void flush_observe(const struct block_facts *f, int64_t took_ns)
{
    double seconds = (double)took_ns / 1e9, bytes = (double)f->file_bytes;
    metric_inc(store_metrics.flushed);
    metric_inc(store_metrics.flushed3);
    metric_inc(store_metrics.completed3);
    metric_add(store_metrics.written_flush, bytes);
    metric_observe(store_metrics.flush_seconds, seconds);
    metric_observe(store_metrics.flush_seconds3, seconds);
    metric_observe(store_metrics.complete_seconds3, seconds);
    metric_observe(store_metrics.flush_bytes, bytes);
    metric_observe(store_metrics.flush_bytes3, bytes);
    metric_observe(store_metrics.complete_bytes3, bytes);
}

/* flush_lock. */
static enum ec flush_one(struct tenant *t, struct sealed_head *sh, struct err *err)
{
    struct block_facts facts;
    struct store_block *b = NULL;
    int64_t begin = clock_mono_ns();
    if (DEFECT(DEFECT_RECYCLE_BEFORE_COMMIT) && t->wal != NULL)
        TRY(wal_release(t->wal, sh->lsn_last, err));
    TRY(flush_write(t, sh, &facts, err));
    enum ec ec = store_block_new(t, &facts, &b, err);
    if (ec == EC_OK) {
        const struct block_change change = {.add = b, .flushed = sh};
        pthread_mutex_lock(&t->change_lock);
        ec = tenant_change(t, &change, err); /* frees sh */
        pthread_mutex_unlock(&t->change_lock);
    }
    if (ec == EC_OK) {
        flush_observe(&facts, clock_mono_ns() - begin);
        log_event(LOG_DEBUG, "block flushed", LS("tenant", t->id), LU("spans", facts.n_spans),
            LU("bytes", facts.file_bytes), LD("took", clock_mono_ns() - begin));
        release_wal(t);
        atomic_store(&t->store->settle_want, true);
        metric_inc(store_metrics.cleared);
        metric_inc(metric_series1(&store_families.cleared3, STR("wal")));
    } else {
        CLEANUP(freep) char *path = block_path(t, "", facts.uuid, ".block");
        file_discard(t, "block.discard", path);
    }
    store_block_unref(b);
    block_facts_deinit(&facts);
    return ec;
}

/* flush_lock. Counts a failure and sets the time of the next try. */
static void flush_failed(struct tenant *t, struct sealed_head *sh, const struct err *e)
{
    metric_inc(store_metrics.flush_failed);
    metric_inc(store_metrics.flush_failed3);
    if (sh->tries > 0) {
        metric_inc(store_metrics.retries_failed);
        metric_inc(store_metrics.retries_failed3);
    }
    sh->tries++;
    sh->backoff_ns =
        sh->backoff_ns == 0 ? FLUSH_BACKOFF_NS : MIN(sh->backoff_ns * 2, FLUSH_BACKOFF_MAX_NS);
    sh->retry_at_ns = clock_mono_ns() + sh->backoff_ns;
    log_event(LOG_ERROR, "flush failed: the head stays in memory and is tried again",
        LS("tenant", t->id), LU("tries", sh->tries), LD("retry_in", sh->backoff_ns), LE(e));
}

/* yielding: the caller's thread may be slow, and leaves to an urgent flush what it has not
 * begun. */
static enum ec flush_all(struct tenant *t, bool force, bool yielding, struct err *err)
{
    enum ec ec = EC_OK;
    pthread_mutex_lock(&t->flush_lock);
    while (!yielding || !atomic_load(&t->flush_urgent)) {
        pthread_mutex_lock(&t->lock);
        struct sealed_head *sh = t->sealed;
        pthread_mutex_unlock(&t->lock);
        /* Only a flush takes a head off the list, and this is the only flush. */
        if (sh == NULL || (!force && sh->retry_at_ns > clock_mono_ns()))
            break;
        if (sh->tries > 0) {
            metric_inc(store_metrics.retries);
            metric_inc(store_metrics.retries3);
        }
        ec = flush_one(t, sh, err);
        if (ec != EC_OK) {
            flush_failed(t, sh, err);
            break;
        }
    }
    pthread_mutex_unlock(&t->flush_lock);
    if (ec == EC_OK && atomic_load(&t->release_want))
        release_wal(t);
    return ec;
}

enum ec tenant_flush(struct tenant *t, bool force, struct err *err)
{
    struct err own;
    return flush_all(t, force, false, err == NULL ? &own : err);
}

/* In the background: a failure was logged and counted, and is tried again. */
static void flush_due(struct tenant *t, bool yielding)
{
    struct err e;
    if (flush_all(t, false, yielding, &e) != EC_OK)
        metric_inc(metric_series2(&store_families.jobs_retry, t->id, STR("flush")));
}

static void flush_job(void *arg)
{
    struct tenant *t = arg;
    struct store *s = t->store;
    atomic_store(&t->flush_queued, false);
    flush_due(t, true);
    tenant_unref(t);
    store_job_done(s);
}

static void flush_urgent_job(void *arg)
{
    struct tenant *t = arg;
    struct store *s = t->store;
    flush_due(t, false);
    atomic_store(&t->flush_urgent, false);
    tenant_unref(t);
    store_job_done(s);
}

static void flush_submit(struct tenant *t, enum pool_class cls, _Atomic bool *queued)
{
    if (atomic_exchange(queued, true))
        return;
    tenant_ref(t);
    if (store_job_of(t->store, cls, t->hash, cls == POOL_LOW ? flush_job : flush_urgent_job, t))
        return;
    atomic_store(queued, false); /* the queue is full: the next tick tries again */
    tenant_unref(t);
}

void flush_schedule(struct tenant *t)
{
    pthread_mutex_lock(&t->lock);
    bool work = t->sealed != NULL || (t->wal != NULL && atomic_load(&t->release_want));
    bool behind = t->n_sealed >= SEALED_BEHIND || (t->sealed != NULL && heads_over(t->store, 50));
    pthread_mutex_unlock(&t->lock);
    if (behind)
        flush_submit(t, POOL_URGENT, &t->flush_urgent);
    else if (work)
        flush_submit(t, POOL_LOW, &t->flush_queued);
}

void flush_some(struct store *s)
{
    struct tenant_list all;
    tenant_list(s, &all);
    for (size_t i = 0; i < all.n; i++)
        flush_due(all.p[i], true);
    tenant_list_free(&all);
}

struct head_size {
    struct tenant *tenant;
    uint64_t bytes;
};

static int head_largest_first(const void *a, const void *b)
{
    const struct head_size *ha = a, *hb = b;
    return ha->bytes < hb->bytes ? 1 : ha->bytes > hb->bytes ? -1 : 0;
}

/* Bytes of the heads that take spans or wait for their flush. */
static uint64_t heads_living(const struct tenant_list *all)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < all->n; i++) {
        struct tenant *t = all->p[i];
        pthread_mutex_lock(&t->lock);
        bytes += t->head != NULL ? head_bytes(t->head) : 0;
        for (const struct sealed_head *sh = t->sealed; sh != NULL; sh = sh->next)
            bytes += sh->memory_bytes;
        pthread_mutex_unlock(&t->lock);
    }
    return bytes;
}

/* WHY: a head that was flushed is freed when the last query that saw it ends. At full speed heads
 * fill up in a second or two, so one query of half a minute would keep every span out. */
void heads_reclaim(struct store *s, const struct tenant_list *all, int64_t now_ns)
{
    if (!heads_over(s, RECLAIM_PERCENT))
        return;
    uint64_t used = budget_used(&s->heads), living = heads_living(all);
    if (used < living + s->opt.head_bytes_max / 4)
        return;
    atomic_store(&s->stale_before_ns, now_ns - RECLAIM_AGE_NS);
    if (now_ns < s->next_stale_told_ns)
        return;
    s->next_stale_told_ns = now_ns + RECLAIM_TELL_NS;
    log_event(LOG_WARN, "long queries are ended: ingest needs the memory of spans that they hold",
        LU("held", used - living), LU("heads", used));
}

const _Atomic int64_t *store_stale_before(const struct store *s)
{
    return &s->stale_before_ns;
}

void flush_pressure(struct store *s)
{
    struct tenant_list all;
    uint64_t sealed = 0;
    if (!heads_over(s, 75) && !atomic_load(&s->pressure))
        return;
    tenant_list(s, &all);
    CLEANUP(freep) struct head_size *heads = xcalloc(all.n + 1, sizeof(*heads));
    for (size_t i = 0; i < all.n; i++) {
        struct tenant *t = all.p[i];
        struct head_stats hs = {0};
        pthread_mutex_lock(&t->lock);
        if (t->head != NULL)
            head_stats(t->head, 0, &hs);
        for (const struct sealed_head *sh = t->sealed; sh != NULL; sh = sh->next)
            sealed += sh->memory_bytes;
        pthread_mutex_unlock(&t->lock);
        heads[i] = (struct head_size){t, hs.n_spans > 0 ? hs.memory_bytes : 0};
    }
    qsort(heads, all.n, sizeof(*heads), head_largest_first);
    /* What is sealed already comes back by itself: seal until the rest is under half. */
    for (size_t i = 0; i < all.n && heads[i].bytes > 0; i++) {
        uint64_t used = budget_used(&s->heads);
        if (used <= sealed || used - sealed <= MIN(s->opt.head_bytes_max / 2, heads_room(s)))
            break;
        struct tenant *t = heads[i].tenant;
        pthread_mutex_lock(&t->lock);
        if (tenant_seal(t, "memory"))
            sealed += heads[i].bytes;
        pthread_mutex_unlock(&t->lock);
    }
    tenant_list_free(&all);
    if (!heads_over(s, 75))
        atomic_store(&s->pressure, false);
}
