/* SPDX-License-Identifier: Apache-2.0
 * Opening a log, which is acting on what recovery found, and closing it.
 *
 * INVARIANT: found segments are never written again. They stay, closed, until released. */
#include <fcntl.h>
#include <stdlib.h>

#include "log.h"
#include "recover.h"

struct wal_open_ctx {
    wal_replay_fn replay;
    void *ctx;
};

static enum ec wal_open_visit(void *ctx, const struct wal_visit *v, struct err *err)
{
    struct wal_open_ctx *open = ctx;
    if (v->problem != NULL || open->replay == NULL)
        return EC_OK;
    return open->replay(open->ctx, v->rec, err);
}

/* Survivors above the durable LSN may be in the page cache only: makes them durable where the disk
 * allows. False: they stay unacknowledged, and are not missed should they vanish. */
static bool wal_open_sync(struct wal *w, const struct wal_recover *r)
{
    for (size_t i = 0; i < r->files.n; i++) {
        const struct wal_found *f = &r->files.p[i];
        int fd;
        bool new_start = f->started && f->start.first_lsn > r->durable_lsn;
        if (f->bad || (f->last_lsn <= r->durable_lsn && !new_start))
            continue;
        if (io_open(w->io, "wal.recover_open", f->path, O_RDONLY, 0, &fd, NULL) != EC_OK)
            return false;
        enum ec ec = io_fdatasync(w->io, "wal.recover_sync", fd, NULL);
        (void)io_close(w->io, "wal.recover_close", fd, NULL); /* nothing was written */
        if (ec != EC_OK)
            return false;
    }
    return true;
}

/* Takes over what recovery found: files to keep until release, files to remove at once. */
static enum ec wal_open_files(struct wal *w, struct wal_recover *r, struct err *err)
{
    for (size_t i = 0; i < r->leftovers.n; i++)
        TRY(io_unlink(w->io, "wal.recover_sweep", r->leftovers.p[i], err));
    for (size_t i = 0; i < r->files.n; i++) {
        struct wal_found *f = &r->files.p[i];
        struct wal_segment s = {.number = f->number, .path = f->path, .damaged = f->damaged};
        if (f->empty || f->bad) {
            TRY(wal_segment_remove(w->io, w->dir, &s, err));
            continue;
        }
        struct wal_segment *kept = xcalloc(1, sizeof(*kept));
        *kept = (struct wal_segment){.number = f->number,
            .path = TAKE_PTR(f->path),
            .fd = -1,
            .bytes = f->file_bytes,
            .pos = f->end_off,
            .first_lsn = f->started ? f->start.first_lsn : f->first_lsn,
            .last_lsn = MIN(f->last_lsn, f->cut_lsn),
            .damaged = f->damaged,
            .found = true};
        VEC_PUSH(&w->segs, kept);
    }
    return EC_OK;
}

/* There are readable records that recovery did not take, and no START that says so. Without one
 * they could come back once the segments before them are released. Only a try: a full disk must not
 * keep the server from starting, and unacknowledged records do no worse than that. */
static void wal_open_seal(struct wal *w)
{
    uint64_t lsn, from, to;

    pthread_mutex_lock(&w->tail_mu);
    enum ec ec = wal_tail_begin(w, 0, NULL);
    pthread_mutex_unlock(&w->tail_mu);
    if (ec == EC_OK)
        ec = wal_sync(w, &lsn, &from, &to, NULL);
    (void)ec;
}

static enum ec wal_open_recover(struct wal *w, struct wal_recover *r, struct wal_open_ctx *open,
    uint64_t floor, struct err *err)
{
    TRY(wal_recover_run(r, wal_open_visit, open, err));
    /* A number that was ever given out is not given out again, whatever became of its record. */
    uint64_t last = MAX(MAX(r->lsn_max, r->durable_lsn), floor), durable = last;
    if (r->files.n > 0) {
        /* Headers repeat the durable LSN: it must not claim the numbers that were only given out.
         * */
        durable = r->durable_lsn;
        if (wal_open_sync(w, r))
            durable = MAX(durable, r->replayed_lsn);
        w->brk = WAL_BREAK_PENDING;
        w->brk_end = r->replayed_lsn;
        w->brk_sealed = MIN(r->replayed_lsn, durable);
        /* What could not be read is neither void nor, as far as it was acknowledged, excused: a
         * disk that reads it again gives it back at the next open, and until then its file counts
         * as damaged and is set aside, not removed as one that holds nothing. */
        if (r->sum.damaged_records > 0) {
            w->brk_end = MAX(r->unknown_loss ? r->lsn_max : r->replayed_lsn, durable);
            w->brk_sealed = durable;
        }
    }
    TRY(wal_open_files(w, r, err));
    atomic_store(&w->last_lsn, last);
    atomic_store(&w->durable_lsn, durable);
    w->void_lsn = last;
    w->next_number = r->number_max + 1;
    r->sum.last_lsn = last;
    if (r->void_unsealed)
        wal_open_seal(w);
    return EC_OK;
}

static struct wal *wal_new(const struct wal_options *opt)
{
    struct wal *w = xcalloc(1, sizeof(*w));

    w->magic = WAL_OBJECT_MAGIC;
    w->io = opt->io == NULL ? &io_real : opt->io;
    w->dir = xstrdup(opt->dir);
    w->tenant = xstrndup(opt->tenant.p, opt->tenant.n);
    w->tenant_n = opt->tenant.n;
    w->bytes_min = opt->segment_bytes_min == 0 ? WAL_SEGMENT_BYTES_MIN : opt->segment_bytes_min;
    w->bytes_max = opt->segment_bytes_max == 0 ? WAL_SEGMENT_BYTES_MAX : opt->segment_bytes_max;
    w->bytes_min = wal_round_up(MAX(w->bytes_min, 2 * (uint64_t)WAL_DATA_OFFSET));
    w->bytes_max = wal_round_up(MAX(w->bytes_max, w->bytes_min));
    w->next_bytes = w->bytes_min;
    w->kept = opt->spares;
    w->marked = true;
    pthread_mutex_init(&w->release_mu, NULL);
    pthread_mutex_init(&w->tail_mu, NULL);
    pthread_mutex_init(&w->prepare_mu, NULL);
    pthread_mutex_init(&w->mu, NULL);
    return w;
}

enum ec wal_open(const struct wal_options *opt, wal_replay_fn replay, void *ctx,
    struct wal_recovery *ret_recovery, struct wal **ret, struct err *err)
{
    struct wal_open_ctx open = {replay, ctx};
    struct wal_recover r;

    if (opt->tenant.n == 0 || opt->tenant.n > WAL_TENANT_BYTES_MAX)
        return ERR(err, EC_INVALID, "wal: tenant id of %zu bytes, allowed are 1 to %u",
            opt->tenant.n, WAL_TENANT_BYTES_MAX);
    struct wal *w = wal_new(opt);
    wal_recover_init(&r, w->io, w->dir, wal_tenant(w));
    enum ec ec = wal_dir_make(w->io, w->dir, err);
    if (ec == EC_OK)
        ec = wal_open_recover(w, &r, &open, opt->lsn_floor, err);
    if (ec == EC_OK) {
        *ret_recovery = r.sum;
        *ret = TAKE_PTR(w);
    }
    wal_recover_deinit(&r);
    wal_abandon(w);
    return ec;
}

void wal_abandon(struct wal *w)
{
    if (w == NULL)
        return;
    wal_check(w);
    ASSERT(!w->sync_running);
    for (size_t i = 0; i < w->segs.n; i++)
        wal_segment_free(w->io, w->segs.p[i]);
    wal_segment_free(w->io, w->prepared);
    wal_spares_abandon(w);
    VEC_FREE(&w->segs);
    VEC_FREE(&w->syncing);
    pthread_mutex_destroy(&w->release_mu);
    pthread_mutex_destroy(&w->tail_mu);
    pthread_mutex_destroy(&w->prepare_mu);
    pthread_mutex_destroy(&w->mu);
    free(w->dir);
    free(w->tenant);
    w->magic = 0;
    free(w);
}

enum ec wal_close(struct wal *w, struct err *err)
{
    uint64_t lsn, from, to;
    bool written = false;

    wal_check(w);
    enum ec ec = wal_sync(w, &lsn, &from, &to, err);
    if (ec == EC_OK) {
        pthread_mutex_lock(&w->tail_mu);
        w->marked = false;
        ec = wal_mark_write(w, WAL_FLAG_CLEAN, &written, err);
        pthread_mutex_unlock(&w->tail_mu);
    }
    if (ec == EC_OK && written)
        ec = wal_sync(w, &lsn, &from, &to, err);
    enum ec dropped = wal_prepared_drop(w, false, NULL);
    (void)dropped; /* what stays is removed by the next open */
    wal_abandon(w);
    return ec;
}
