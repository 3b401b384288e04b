/* SPDX-License-Identifier: Apache-2.0
 * Replay of a tenant's log at start: the same way in as ingest, without admission.
 *
 * Records that blocks hold (LSN up to lsn_covered) are skipped; the rest goes into a head. A head
 * that gets too large is written as a block at once, so that replay needs no more memory than
 * ingest does. Damage is counted and told; the files that it is in were set aside by the log
 * itself.
 */
#include "base/defect.h"
#include "store_private.h"

#define REPLAY_TRIES 3 /* to make room by writing heads */

struct replay {
    struct tenant *tenant;
    struct arena arena; /* decoding a record */
};

static void replay_damaged(struct tenant *t, const struct wal_record *rec, const struct err *e)
{
    metric_inc(metric_series1(&store_families.replay_errors, t->id));
    metric_inc(metric_series1(&store_families.corruptions, STR("wal")));
    log_event(LOG_ERROR, "a log record cannot be decoded: left out", LS("tenant", t->id),
        LU("lsn", rec->lsn), LE(e));
}

static void replay_skip(struct batch *b, const struct wal_record *rec)
{
    for (uint32_t i = 0; i < rec->n_skip; i++) {
        uint32_t at = rec->skip[i];
        if (at >= b->n_spans || b->spans[at].reject != SPAN_ACCEPTED)
            continue;
        b->spans[at].reject = SPAN_TOO_MANY_TRACES; /* the reason was answered long ago */
        b->n_rejected++;
    }
}

/* *ret_full: no memory for it now. force: it was acked, and there may be less memory than then. */
static enum ec replay_insert(struct tenant *t, const struct wal_record *rec, struct batch *b,
    bool force, bool *ret_full, struct err *err)
{
    uint32_t dups = 0;
    *ret_full = false;
    pthread_mutex_lock(&t->lock);
    enum ec ec = tenant_head_ensure(t, err);
    if (ec == EC_OK)
        ec = force ? head_reserve_force(t->head, b, err) : head_reserve(t->head, b, err);
    if (ec == EC_OK) {
        head_insert(t->head, b, rec->arrival_s, &dups);
        tenant_head_inserted(t, b, rec->lsn, rec->arrival_s, dups);
        if (tenant_head_full(t))
            tenant_seal(t, "replay");
    } else if (ec == EC_LIMIT || ec == EC_TOO_LARGE) {
        *ret_full = true;
    }
    pthread_mutex_unlock(&t->lock);
    return ec;
}

/* Seals and writes heads until some memory is back: this tenant's own first, then the largest. */
static enum ec replay_relieve(struct tenant *t, struct err *err)
{
    struct store *s = t->store;
    uint64_t before = budget_used(&s->heads);
    pthread_mutex_lock(&t->lock);
    tenant_seal(t, "replay");
    pthread_mutex_unlock(&t->lock);
    TRY(tenant_flush(t, true, err));
    if (budget_used(&s->heads) < before)
        return EC_OK;
    atomic_store(&s->pressure, true);
    flush_pressure(s);
    struct tenant_list all;
    enum ec ec = EC_OK;
    tenant_list(s, &all);
    for (size_t i = 0; i < all.n && ec == EC_OK; i++)
        ec = tenant_flush(all.p[i], true, err);
    tenant_list_free(&all);
    return ec;
}

/* WHY not forced, and no space is no failure: a full disk must not keep a server from starting that
 * could serve what it has, and retain. The head waits in memory as it did before the crash; more of
 * them than memory takes are refused by replay_relieve. */
static enum ec replay_flush(struct tenant *t, struct err *err)
{
    struct err own = {0};
    enum ec ec = tenant_flush(t, false, &own);
    if (ec == EC_OK || ec == EC_NOSPACE)
        return EC_OK;
    if (err != NULL)
        *err = own;
    return ec;
}

static enum ec replay_record(void *ctx, const struct wal_record *rec, struct err *err)
{
    struct replay *r = ctx;
    struct tenant *t = r->tenant;
    struct batch b;
    if (rec->lsn <= t->lsn_covered + DEFECT(DEFECT_DROP_ON_ROTATION))
        return EC_OK;
    arena_reset(&r->arena);
    const struct batch_limits limits = {
        .attr_bytes_max = rec->attr_bytes_max, .span_bytes_max = WAL_RECORD_BYTES_MAX};
    enum ec ec = batch_decode(&b, rec->otlp, &limits, &r->arena, err);
    if (ec == EC_LIMIT || ec == EC_IO)
        return err_prefix(err, "replay of record %llu", (unsigned long long)rec->lsn);
    if (ec != EC_OK) {
        replay_damaged(t, rec, err);
        return EC_OK;
    }
    replay_skip(&b, rec);
    if (b.n_rejected == b.n_spans)
        return EC_OK;
    for (int tries = 0;; tries++) {
        bool full;
        ec = replay_insert(t, rec, &b, tries == REPLAY_TRIES, &full, err);
        if (!full || tries == REPLAY_TRIES)
            break;
        TRY(replay_relieve(t, err));
    }
    TRY(ec);
    return t->sealed != NULL ? replay_flush(t, err) : EC_OK;
}

static void recovery_add(struct store *s, const struct wal_recovery *w)
{
    pthread_mutex_lock(&s->recovery_lock);
    s->recovery.records += w->records;
    s->recovery.bytes += w->bytes;
    s->recovery.segments += w->segments;
    s->recovery.torn_tails += w->torn_tails;
    s->recovery.damaged_records += w->damaged_records;
    s->recovery.set_aside += w->set_aside;
    s->recovery.last_lsn = MAX(s->recovery.last_lsn, w->last_lsn);
    pthread_mutex_unlock(&s->recovery_lock);
}

static void recovery_tell(struct tenant *t, const struct wal_recovery *w)
{
    recovery_add(t->store, w);
    if (w->torn_tails > 0)
        metric_add(store_metrics.wal_torn, (double)w->torn_tails);
    if (w->damaged_records == 0 && w->set_aside == 0)
        return;
    atomic_fetch_add(&t->store->set_aside, w->set_aside);
    metric_add(metric_series1(&store_families.replay_errors, t->id),
        (double)MAX(w->damaged_records, w->set_aside));
    metric_add(metric_series1(&store_families.corruptions, STR("wal")), (double)w->damaged_records);
    log_event(LOG_ERROR, "acknowledged log records are damaged: set aside", LS("tenant", t->id),
        LU("records", w->damaged_records), LU("files", w->set_aside));
}

/* Nothing of this tenant is only in its log: it needs none until it is appended to. */
static enum ec wal_park(struct tenant *t, struct err *err)
{
    if (t->head != NULL || t->sealed != NULL || t->wal_damaged)
        return EC_OK;
    t->wal_reserved = false;
    atomic_fetch_sub(&t->store->wals_open, 1);
    return wal_close(TAKE_PTR(t->wal), err);
}

enum ec tenant_replay(struct tenant *t, struct err *err)
{
    struct store *s = t->store;
    struct wal_recovery found = {0};
    struct io_names names;
    struct wal *w;
    enum ec ec = io_list(s->opt.io, "wal.tenant_list", t->wal_dir, &names, err);
    if (ec == EC_NOT_FOUND)
        return EC_OK;
    TRY(ec);
    bool empty = names.n == 0;
    io_names_free(&names);
    if (empty)
        return EC_OK;
    const struct wal_options opt = {.io = s->opt.io,
        .dir = t->wal_dir,
        .tenant = t->id,
        .segment_bytes_min = s->opt.wal_segment_bytes_min,
        .segment_bytes_max = s->opt.wal_segment_bytes_max,
        .spares = &s->wal_spares,
        .lsn_floor = t->lsn_covered};
    struct replay r = {.tenant = t};
    arena_init(&r.arena, &s->work, 64 << 10);
    ec = wal_open(&opt, replay_record, &r, &found, &w, err);
    arena_deinit(&r.arena);
    if (ec != EC_OK)
        return err_prefix(err, "log of tenant " STR_FMT, STR_ARG(t->id));
    recovery_tell(t, &found);
    pthread_mutex_lock(&t->lock);
    t->wal = w;
    t->wal_reserved = true;
    t->wal_damaged = found.damaged_records > 0;
    uint64_t covered = t->lsn_covered;
    pthread_mutex_unlock(&t->lock);
    atomic_fetch_add(&s->wals_open, 1);
    struct err e = {0};
    if (covered > 0 && wal_release(w, covered, &e) != EC_OK) {
        log_event(LOG_WARN, "log segments not released yet", LS("tenant", t->id), LE(&e));
        atomic_store(&t->release_want, true);
    }
    return wal_park(t, err);
}
