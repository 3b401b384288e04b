/* SPDX-License-Identifier: Apache-2.0
 * Rotation, release and preparation: which segment files a live log owns. Not on the ack path. */
#include "log.h"

enum ec wal_rotate(struct wal *w, struct err *err)
{
    (void)err; /* may have to write one day: callers handle failure already */
    wal_check(w);
    pthread_mutex_lock(&w->tail_mu);
    pthread_mutex_lock(&w->mu);
    if (w->cur != NULL)
        w->cur->sealed =
            true; /* it stays the tail for the mark that tells damage from a torn tail */
    pthread_mutex_unlock(&w->mu);
    pthread_mutex_unlock(&w->tail_mu);
    return EC_OK;
}

void wal_rotate_soon(struct wal *w)
{
    wal_check(w);
    pthread_mutex_lock(&w->mu);
    if (w->cur != NULL && w->prepared != NULL)
        w->cur->sealed = true;
    else if (w->cur != NULL)
        w->rotate_want = true;
    pthread_mutex_unlock(&w->mu);
}

/* An idle tenant owns no file: drops the prepared and spare ones when nothing else is left. */
enum ec wal_prepared_drop(struct wal *w, bool only_idle, struct err *err)
{
    enum ec ec = EC_OK;

    pthread_mutex_lock(&w->prepare_mu);
    pthread_mutex_lock(&w->mu);
    struct wal_segment *s = w->prepared;
    if (only_idle && w->segs.n > 0)
        s = NULL;
    if (s != NULL)
        w->prepared = NULL;
    if (w->segs.n == 0)
        w->record_max = 0;
    bool idle = w->segs.n == 0;
    pthread_mutex_unlock(&w->mu);
    if (idle || !only_idle)
        wal_spares_drop(w);
    if (s != NULL) {
        ec = wal_segment_remove(w->io, w->dir, s, err);
        wal_segment_free(w->io, s);
    }
    pthread_mutex_unlock(&w->prepare_mu);
    return ec;
}

/* The oldest segment if all of it may go, else NULL. It is closed, or belongs to a sync, or is
 * dirty: a segment that may be kept is touched by nobody else any more. */
static struct wal_segment *wal_release_next(struct wal *w, uint64_t lsn, bool *ret_keep)
{
    pthread_mutex_lock(&w->mu);
    struct wal_segment *s = w->segs.n > 0 ? w->segs.p[0] : NULL;
    if (s != NULL && (s == w->cur || s->last_lsn > lsn))
        s = NULL;
    *ret_keep = s != NULL && wal_spare_fits(w, s);
    pthread_mutex_unlock(&w->mu);
    return s;
}

/* A tail that is sealed, or to be, and whose records may all go needs no mark any more; one without
 * records nothing at all. */
static void wal_sealed_end(struct wal *w, uint64_t lsn)
{
    pthread_mutex_lock(&w->tail_mu);
    pthread_mutex_lock(&w->mu);
    const struct wal_segment *s = w->cur;
    bool end = s != NULL && (s->sealed || w->rotate_want || s->last_lsn == 0) && s->last_lsn <= lsn;
    pthread_mutex_unlock(&w->mu);
    if (end)
        wal_tail_end(w);
    pthread_mutex_unlock(&w->tail_mu);
}

enum ec wal_release(struct wal *w, uint64_t lsn, struct err *err)
{
    struct wal_segment *s;
    enum ec ec = EC_OK;
    bool keep;

    wal_check(w);
    pthread_mutex_lock(&w->release_mu);
    wal_sealed_end(w, lsn);
    /* Only this function shortens the list at its head, and s is not the current one: it stays. */
    while (ec == EC_OK && (s = wal_release_next(w, lsn, &keep)) != NULL) {
        ec = keep ? wal_segment_retire(w->io, w->dir, s, &keep, err)
                  : wal_segment_remove(w->io, w->dir, s, err);
        if (ec != EC_OK)
            break;
        pthread_mutex_lock(&w->mu);
        ASSERT(w->segs.p[0] == s);
        w->segs.n--;
        memmove(w->segs.p, w->segs.p + 1, w->segs.n * sizeof(w->segs.p[0]));
        if (!keep)
            wal_segment_drop(w, s);
        pthread_mutex_unlock(&w->mu);
        if (keep)
            wal_spare_keep(w, s);
    }
    if (ec == EC_OK)
        ec = wal_prepared_drop(w, true, err);
    pthread_mutex_unlock(&w->release_mu);
    return ec;
}

/* WHY early for large ones: at full speed a log fills a segment in a second, and the next one has
 * to be filled with zeros, beside it, before that. mu held. */
static bool wal_next_due(const struct wal *w)
{
    const struct wal_segment *s = w->cur;
    if (s == NULL || w->prepared != NULL)
        return false;
    return w->rotate_want || s->pos > s->bytes / (s->bytes < WAL_SEGMENT_BYTES_EARLY ? 2 : 8);
}

bool wal_prepare_due(struct wal *w)
{
    wal_check(w);
    pthread_mutex_lock(&w->mu);
    bool due = wal_next_due(w);
    pthread_mutex_unlock(&w->mu);
    return due;
}

/* What has so many bytes in it, and an eighth more. */
static uint64_t wal_size_for(const struct wal *w, uint64_t bytes)
{
    return wal_round_up(MIN(MAX(bytes + bytes / 8, w->bytes_min), w->bytes_max));
}

/* After a full segment one of twice its size; after one that was sealed early, of what it held. mu
 * held. WHY not over what the log took between rotations: a log is let go head by head, and the
 * next head takes as much as the last. What is beyond that is zeros that nobody overwrites. */
static uint64_t wal_next_size(const struct wal *w)
{
    if (w->rotate_want)
        return wal_size_for(w, w->cur->pos);
    uint64_t twice = MIN(w->bytes_max, MAX(w->next_bytes, w->cur->bytes) * 2);
    return w->cycle_bytes == 0 ? twice : MIN(twice, wal_size_for(w, w->cycle_bytes));
}

enum ec wal_prepare_next(struct wal *w, struct err *err)
{
    struct wal_segment *s = NULL;
    enum ec ec = EC_OK;

    wal_check(w);
    pthread_mutex_lock(&w->prepare_mu);
    if (w->kept != NULL && atomic_load_explicit(&w->kept->off, memory_order_relaxed))
        wal_spares_drop(w);
    pthread_mutex_lock(&w->mu);
    bool due = wal_next_due(w);
    uint64_t size = due ? wal_next_size(w) : 0;
    uint64_t record_max = w->record_max;
    pthread_mutex_unlock(&w->mu);
    if (due) {
        size = wal_round_up(MAX(size, record_max + WAL_SEGMENT_OVERHEAD));
        ec = wal_segment_next(w, size, true, &s, err);
    }
    if (s != NULL) {
        pthread_mutex_lock(&w->mu);
        w->prepared = s;
        if (w->cur != NULL && w->rotate_want)
            w->cur->sealed = true;
        pthread_mutex_unlock(&w->mu);
    }
    pthread_mutex_unlock(&w->prepare_mu);
    return ec;
}

void wal_usage(struct wal *w, uint64_t *ret_bytes, uint64_t *ret_segments)
{
    uint64_t bytes = 0;

    wal_check(w);
    pthread_mutex_lock(&w->mu);
    for (size_t i = 0; i < w->segs.n; i++)
        bytes += w->segs.p[i]->bytes;
    for (size_t i = 0; i < w->n_spares; i++)
        bytes += w->spares[i]->bytes;
    *ret_segments = w->segs.n;
    if (w->prepared != NULL)
        bytes += w->prepared->bytes;
    *ret_bytes = bytes;
    pthread_mutex_unlock(&w->mu);
}
