/* SPDX-License-Identifier: Apache-2.0
 * The way in: one request of one tenant becomes a WAL record and rows of the head.
 *
 * Under tenant.lock: admission, reservation, log, insert, in this order, because each later step
 * may not fail once an earlier one has had an effect that others see:
 *   head_admit    only marks spans            head_reserve  after it head_insert cannot fail
 *   wal_append    may fail, nothing is stored  head_insert   visible at once
 * The record is encoded (and compressed) outside the lock. Only when admission rejects spans that
 * the record still holds is it encoded again.
 *
 * INVARIANT: no ack before fdatasync (durability "commit"): done() is called by commit.c alone.
 */
#include <stdlib.h>

#include "store_private.h"

#define BUF_KEEP_BYTES_MAX (4u << 20)

/* Record buffers are reused: a fresh one costs page faults on each request. */
static void record_buf_take(struct store *s, struct buf *ret)
{
    buf_init(ret, NULL);
    pthread_mutex_lock(&s->buf_lock);
    if (s->n_bufs > 0)
        *ret = s->bufs[--s->n_bufs];
    pthread_mutex_unlock(&s->buf_lock);
    buf_reset(ret);
}

static void record_buf_give(struct store *s, struct buf *b)
{
    pthread_mutex_lock(&s->buf_lock);
    bool keep = s->n_bufs < ARRAY_LEN(s->bufs) && b->cap <= BUF_KEEP_BYTES_MAX;
    if (keep)
        s->bufs[s->n_bufs++] = *b;
    pthread_mutex_unlock(&s->buf_lock);
    if (!keep)
        buf_deinit(b);
}

static enum ec append_gate(struct store *s, struct err *err)
{
    if (atomic_load(&s->state) != STORE_READY)
        return ERR(err, EC_UNAVAILABLE, "the store is %s",
            atomic_load(&s->state) == STORE_OPENING ? "replaying" : "shutting down");
    if (atomic_load_explicit(&s->ingest_off, memory_order_relaxed))
        return ERR(err, EC_UNAVAILABLE, "ingest is off: log syncs failed %d times in a row",
            FAILED_SYNCS_MAX);
    if (atomic_load_explicit(&s->disk_low, memory_order_relaxed))
        return ERR(err, EC_NOSPACE, "disk space is low: %llu bytes free",
            (unsigned long long)atomic_load_explicit(&s->disk_free, memory_order_relaxed));
    return EC_OK;
}

static enum ec record_encode(struct tenant *t, const struct batch *b, uint32_t arrival_s,
    uint32_t attr_bytes_max, struct buf *rec, struct err *err)
{
    struct wal_record r = {.arrival_s = arrival_s,
        .attr_bytes_max = attr_bytes_max,
        .n_skip = b->n_rejected,
        .otlp = b->raw};
    CLEANUP(freep) uint32_t *skip = NULL;
    if (b->n_rejected > 0) {
        uint32_t n = 0;
        ASSERT(b->n_rejected <= b->n_spans);
        skip = xmalloc(b->n_rejected * sizeof(*skip));
        for (uint32_t i = 0; i < b->n_spans; i++) {
            if (b->spans[i].reject == SPAN_ACCEPTED)
                continue;
            ASSERT(n < b->n_rejected);
            skip[n++] = i;
        }
        ASSERT(n == b->n_rejected);
        r.skip = skip;
    }
    buf_reset(rec);
    return wal_record_encode(rec, &r, t->store->opt.wal_compress_level, err);
}

/* Closes the logs of tenants that hold nothing unflushed, so that another may open. Best effort. */
static void wal_slot_free(struct store *s, const struct tenant *but)
{
    struct tenant_list all;
    tenant_list(s, &all);
    for (size_t i = 0; i < all.n; i++) {
        struct tenant *t = all.p[i];
        if (t == but || pthread_mutex_trylock(&t->lock) != 0)
            continue;
        struct wal *w = NULL;
        struct head_stats hs = {0};
        if (t->head != NULL)
            head_stats(t->head, 0, &hs);
        if (t->wal != NULL && t->wal_users == 0 && !t->wal_damaged &&
            t->commit_state == COMMIT_IDLE && t->n_sealed == 0 && hs.n_spans == 0 &&
            t->waiters == NULL) {
            w = TAKE_PTR(t->wal);
            t->wal_reserved = false;
            struct err e = {0};
            if (wal_close(w, &e) != EC_OK)
                log_event(LOG_WARN, "closing an idle log", LS("tenant", t->id), LE(&e));
            atomic_fetch_sub(&s->wals_open, 1);
        } else if (t->head != NULL && hs.n_spans > 0 && !atomic_load(&t->hot)) {
            tenant_seal(t, "tenants"); /* its log can close after the flush */
        }
        pthread_mutex_unlock(&t->lock);
    }
    tenant_list_free(&all);
}

static bool wal_slot_take(struct tenant *t)
{
    struct store *s = t->store;
    if (t->wal_reserved)
        return true;
    if (atomic_fetch_add(&s->wals_open, 1) < s->opt.tenants_open_max) {
        t->wal_reserved = true;
        return true;
    }
    atomic_fetch_sub(&s->wals_open, 1);
    return false;
}

static enum ec replay_nothing(void *ctx, const struct wal_record *rec, struct err *err)
{
    const struct tenant *t = ctx;
    /* Only segments that a failed release left behind: blocks hold their records. */
    if (rec->lsn <= t->lsn_covered)
        return EC_OK;
    return ERR(err, EC_INTERNAL, "log of tenant " STR_FMT " has record %llu that nobody replayed",
        STR_ARG(t->id), (unsigned long long)rec->lsn);
}

/* tenant.lock. The first append of a tenant (or after its log was closed) opens the log. */
static enum ec wal_ensure(struct tenant *t, struct err *err)
{
    struct store *s = t->store;
    struct wal_recovery rec;
    if (LIKELY(t->wal != NULL))
        return EC_OK;
    if (!wal_slot_take(t)) {
        wal_slot_free(s, t);
        if (!wal_slot_take(t))
            return ERR(
                err, EC_LIMIT, "%u tenants with open logs is the limit", s->opt.tenants_open_max);
    }
    const struct wal_options opt = {.io = s->opt.io,
        .dir = t->wal_dir,
        .tenant = t->id,
        .segment_bytes_min = s->opt.wal_segment_bytes_min,
        .segment_bytes_max = s->opt.wal_segment_bytes_max,
        .spares = &s->wal_spares,
        .lsn_floor = t->lsn_covered};
    enum ec ec = io_mkdir(s->opt.io, "wal.tenant_mkdir", t->wal_dir, err);
    if (ec == EC_OK)
        ec = io_fsync_dir(s->opt.io, "wal.tenant_mkdir_sync", s->wal_root, err);
    if (ec == EC_OK)
        ec = wal_open(&opt, replay_nothing, t, &rec, &t->wal, err);
    if (ec != EC_OK) {
        t->wal_reserved = false;
        atomic_fetch_sub(&s->wals_open, 1);
        return err_prefix(err, "log of tenant " STR_FMT, STR_ARG(t->id));
    }
    return EC_OK;
}

enum ec tenant_head_ensure(struct tenant *t, struct err *err)
{
    if (LIKELY(t->head != NULL))
        return EC_OK;
    TRY(head_new(&t->store->heads, &t->head, err));
    t->head_lsn_first = t->head_lsn_last = t->head_raw_bytes = 0;
    t->head_id_n = 0;
    tenant_publish(t);
    return EC_OK;
}

void tenant_head_inserted(
    struct tenant *t, const struct batch *b, uint64_t lsn, uint32_t arrival_s, uint32_t dups)
{
    ASSERT(lsn > t->head_lsn_last);
    ASSERT(lsn > t->lsn_covered);
    (void)arrival_s;
    (void)dups;
    if (t->head_lsn_first == 0) {
        t->head_lsn_first = lsn;
        t->head_born_mono_ns = clock_mono_ns();
    }
    t->head_lsn_last = lsn;
    if (b->n_rejected == 0) {
        t->head_raw_bytes += b->raw.n;
    } else {
        for (uint32_t i = 0; i < b->n_spans; i++)
            if (b->spans[i].reject == SPAN_ACCEPTED)
                t->head_raw_bytes += b->spans[i].raw_bytes;
    }
    t->head_id_n += b->n_spans - b->n_rejected;
}

struct append {
    struct batch *batch;
    struct tenant_limits limits;
    struct buf record;
    uint32_t arrival_s;
    uint32_t encoded_rejects; /* rejects that the record leaves out */
    struct waiter *waiter;
    bool stored;
    int64_t now_ns;
    struct ack_times times;
};

static enum ec append_reserve(struct tenant *t, const struct batch *b, struct err *err)
{
    enum ec ec = head_reserve(t->head, b, err);
    if (UNLIKELY(ec == EC_LIMIT))
        heads_want(t->store, head_wanted(t->head));
    return ec;
}

/* Where memory is short, a request is refused before its record is made, which costs three times
 * what decoding did. */
static enum ec append_room(struct tenant *t, const struct batch *b, struct err *err)
{
    if (LIKELY(!heads_over(t->store, 75)))
        return EC_OK;
    pthread_mutex_lock(&t->lock);
    enum ec ec = tenant_head_ensure(t, err);
    if (ec == EC_OK)
        ec = head_room(t->head, b, err);
    if (ec == EC_LIMIT && t->head != NULL)
        heads_want(t->store, head_wanted(t->head));
    pthread_mutex_unlock(&t->lock);
    return ec;
}

/* tenant.lock. *ret_again: admission rejected more; encode outside the lock and come back. */
static enum ec append_locked(
    struct tenant *t, struct append *a, bool may_retry, bool *ret_again, struct err *err)
{
    struct store *s = t->store;
    struct batch *b = a->batch;
    uint64_t lsn;
    uint32_t dups = 0;
    TRY(wal_ensure(t, err));
    TRY(tenant_head_ensure(t, err));
    const struct head_limits hl = {
        .trace_bytes_max = a->limits.trace_bytes_max, .traces_live_max = a->limits.traces_live_max};
    head_admit(t->head, b, &hl, a->arrival_s);
    ASSERT(b->n_rejected <= b->n_spans);
    if (b->n_rejected == b->n_spans)
        return EC_OK; /* nothing to store is not an error: the batch says why */
    if (b->n_rejected != a->encoded_rejects) {
        if (may_retry) {
            *ret_again = true;
            return EC_OK;
        }
        TRY(record_encode(t, b, a->arrival_s, a->limits.attr_bytes_max, &a->record, err));
        a->encoded_rejects = b->n_rejected;
    }
    TRY(append_reserve(t, b, err));
    int64_t log_begin = clock_mono_ns();
    TRY(wal_append(t->wal, &a->record, &lsn, err));
    a->times.log_ns = clock_mono_ns() - log_begin;
    head_insert(t->head, b, a->arrival_s, &dups);
    tenant_head_inserted(t, b, lsn, a->arrival_s, dups);
    a->stored = true;
    a->now_ns = a->times.stored_ns = clock_mono_ns();
    t->last_append_ns = a->now_ns;
    t->dirty = true;
    metric_add(store_metrics.written_wal, (double)a->record.n);
    atomic_store_explicit(&t->hot, true, memory_order_relaxed);
    if (s->opt.durability == DURABILITY_COMMIT) {
        struct waiter *w = TAKE_PTR(a->waiter);
        w->lsn = lsn;
        w->deadline_ns = a->now_ns + s->opt.ack_timeout_ns;
        w->times = a->times;
        ASSERT(t->waiters_last == NULL || t->waiters_last->lsn < lsn);
        *(t->waiters_last == NULL ? &t->waiters : &t->waiters_last->next) = w;
        t->waiters_last = w;
        atomic_fetch_add_explicit(&s->n_waiters, 1, memory_order_relaxed);
        commit_request(t);
    }
    return EC_OK;
}

/* What an append has to set in motion, after the lock. */
static void append_after(struct tenant *t, const struct append *a, bool prepare, bool full)
{
    struct store *s = t->store;
    metric_add(t->metrics.received, (double)a->batch->raw.n);
    metric_add(t->metrics.received3, (double)a->batch->raw.n);
    ack_times_stored(&a->times);
    if (prepare)
        prepare_kick(t);
    if (full || (heads_over(s, 75) && !atomic_exchange(&s->pressure, true)))
        tick_kick(s);
}

static enum ec append_run(struct tenant *t, struct append *a, struct err *err)
{
    bool full = false, prepare = false;
    for (int attempt = 0;; attempt++) {
        bool again = false;
        if (a->batch->n_rejected < a->batch->n_spans) {
            TRY(append_room(t, a->batch, err));
            TRY(record_encode(
                t, a->batch, a->arrival_s, a->limits.attr_bytes_max, &a->record, err));
            a->encoded_rejects = a->batch->n_rejected;
        }
        if (attempt == 0)
            a->times.begin_ns = clock_mono_ns();
        pthread_mutex_lock(&t->lock);
        a->times.locked_ns = clock_mono_ns();
        enum ec ec = append_locked(t, a, attempt < 2, &again, err);
        if (a->stored) {
            full = tenant_head_full(t) && tenant_seal(t, "size");
            prepare = a->now_ns >= t->prepare_after_ns && wal_prepare_due(t->wal);
        }
        pthread_mutex_unlock(&t->lock);
        if (ec != EC_OK)
            return ec;
        if (!again)
            break;
    }
    if (a->stored)
        append_after(t, a, prepare, full);
    return EC_OK;
}

/* A refusal tells the background what would help. A log that cannot be written is nothing that the
 * client did wrong: it is told to come again, the operator is told why. */
static enum ec append_refused(struct store *s, struct str id, enum ec ec, struct err *err)
{
    static struct log_limiter limiter;
    if (ec == EC_LIMIT)
        atomic_store(&s->pressure, true);
    if (ec == EC_LIMIT || ec == EC_NOSPACE)
        tick_kick(s);
    if (ec == EC_LIMIT || ec == EC_NOSPACE || ec == EC_UNAVAILABLE || ec == EC_TOO_LARGE)
        return ec;
    if (log_limiter_pass(&limiter, NS_PER_S))
        log_event(LOG_ERROR, "a request is refused: its log fails", LS("tenant", id), LE(err));
    return ERR(err, EC_UNAVAILABLE, "the log cannot be written: not stored");
}

static enum ec append_to(struct store *s, struct str id, struct batch *batch, store_done_fn done,
    void *arg, struct err *err)
{
    struct tenant *t;
    struct err own = {0};
    if (err == NULL)
        err = &own; /* the log wants the reason */
    TRY(tenant_get(s, id, &t, err));
    struct append a = {.batch = batch,
        .arrival_s = (uint32_t)(clock_wall_ns() / NS_PER_S),
        .encoded_rejects = UINT32_MAX,
        .waiter = xcalloc(1, sizeof(*a.waiter))};
    a.waiter->done = done;
    a.waiter->arg = arg;
    tenant_limits(t, &a.limits);
    record_buf_take(s, &a.record);
    enum ec ec = append_run(t, &a, err);
    record_buf_give(s, &a.record);
    bool answer = ec == EC_OK && a.waiter != NULL; /* nobody else will */
    free(a.waiter);
    tenant_unref(t);
    if (answer)
        done(arg, EC_OK, NULL);
    return ec == EC_OK ? EC_OK : append_refused(s, id, ec, err);
}

enum ec store_append(struct store *s, struct str tenant, struct batch *batch, store_done_fn done,
    void *arg, struct err *err)
{
    ASSERT(s->magic == STORE_MAGIC);
    ASSERT(done != NULL);
    atomic_fetch_add(&s->appending, 1);
    enum ec ec = append_gate(s, err);
    if (ec == EC_OK)
        ec = append_to(s, tenant, batch, done, arg, err);
    atomic_fetch_sub(&s->appending, 1);
    return ec;
}
