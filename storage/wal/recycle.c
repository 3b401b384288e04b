/* SPDX-License-Identifier: Apache-2.0
 * Spare segments: released ones that wait for another life (segment.h).
 *
 * WHY: a segment is written in full before its use, so that a sync in use changes no metadata; a
 * file that was in use is written in full already, and needs a new head only. So each byte of the
 * log goes to the device once.
 *
 * A log keeps few of them, all logs together no more than wal_spares allows, an idle one none, and
 * none at all while the disk is short. Nothing rests on them: one that fails in any way is removed,
 * and a new file is made. Those that a crash leaves have temporary names and go at the next open.
 */
#include "log.h"

/* There are some. mu held. */
static size_t wal_spare_smallest(const struct wal *w)
{
    size_t least = 0;

    ASSERT(w->n_spares > 0);
    for (size_t i = 1; i < w->n_spares; i++) {
        if (w->spares[i]->bytes < w->spares[least]->bytes)
            least = i;
    }
    return least;
}

/* WHY not found ones: they may have seen a crash. Not dirty ones: records of theirs that no sync
 * covered are in blocks, but a failed write of theirs was not told yet. */
bool wal_spare_fits(const struct wal *w, const struct wal_segment *s)
{
    if (w->kept == NULL || atomic_load_explicit(&w->kept->off, memory_order_relaxed))
        return false;
    if (s->found || s->failed || s->spoilt || s->damaged || s->dirty || s->syncs > 0)
        return false;
    bool room = w->n_spares < WAL_SPARES_MAX || w->spares[wal_spare_smallest(w)]->bytes < s->bytes;
    return room && w->segs.n > 1 && s->bytes <= w->bytes_max;
}

static void wal_spare_uncount(struct wal *w, const struct wal_segment *s)
{
    uint64_t before = atomic_fetch_sub_explicit(&w->kept->bytes, s->bytes, memory_order_relaxed);
    ASSERT(before >= s->bytes);
}

/* Takes out the i-th. mu held. */
static struct wal_segment *wal_spare_out(struct wal *w, size_t i)
{
    struct wal_segment *s = w->spares[i];

    ASSERT(i < w->n_spares);
    w->spares[i] = w->spares[--w->n_spares];
    wal_spare_uncount(w, s);
    return s;
}

void wal_spares_abandon(struct wal *w)
{
    while (w->n_spares > 0)
        wal_segment_free(w->io, wal_spare_out(w, 0));
}

/* The smallest that is large enough, else the largest. mu held. */
static size_t wal_spare_best(const struct wal *w, uint64_t bytes)
{
    size_t best = 0;

    for (size_t i = 1; i < w->n_spares; i++) {
        uint64_t a = w->spares[i]->bytes, b = w->spares[best]->bytes;
        if (a >= bytes ? b < bytes || a < b : a > b)
            best = i;
    }
    return best;
}

/* Fewer rather than small ones: the next segment is as large as the last. */
void wal_spare_keep(struct wal *w, struct wal_segment *s)
{
    struct wal_segment *small = NULL;
    uint64_t before = atomic_fetch_add_explicit(&w->kept->bytes, s->bytes, memory_order_relaxed);
    bool room = before + s->bytes <= w->kept->bytes_max;

    ASSERT(s->fd < 0);
    ASSERT(s->syncs == 0);
    pthread_mutex_lock(&w->mu);
    if (room && w->n_spares == WAL_SPARES_MAX)
        small = wal_spare_out(w, wal_spare_smallest(w));
    if (room)
        w->spares[w->n_spares++] = s;
    else
        wal_spare_uncount(w, s);
    pthread_mutex_unlock(&w->mu);
    if (small != NULL)
        wal_segment_discard(w->io, small);
    if (!room)
        wal_segment_discard(w->io, s);
}

/* Removes those of more than `bytes`. mu not held. */
static void wal_spares_cut(struct wal *w, uint64_t bytes)
{
    for (;;) {
        struct wal_segment *s = NULL;
        pthread_mutex_lock(&w->mu);
        for (size_t i = 0; i < w->n_spares && s == NULL; i++) {
            if (w->spares[i]->bytes > bytes)
                s = wal_spare_out(w, i);
        }
        pthread_mutex_unlock(&w->mu);
        if (s == NULL)
            return;
        wal_segment_discard(w->io, s);
    }
}

void wal_spares_drop(struct wal *w)
{
    wal_spares_cut(w, 0);
}

/* NULL: there is none. prepare_mu held. */
static struct wal_segment *wal_spare_take(struct wal *w, uint64_t bytes)
{
    pthread_mutex_lock(&w->mu);
    struct wal_segment *s = w->n_spares == 0 ? NULL : wal_spare_out(w, wal_spare_best(w, bytes));
    pthread_mutex_unlock(&w->mu);
    return s;
}

enum ec wal_segment_next(
    struct wal *w, uint64_t bytes, bool exact, struct wal_segment **ret, struct err *err)
{
    enum ec ec = EC_NOT_FOUND;

    if (exact)
        wal_spares_cut(w, 2 * bytes); /* the log takes less than it did */
    struct wal_segment *spare = wal_spare_take(w, bytes);
    if (spare != NULL) {
        ec = wal_segment_recycle(
            w->io, w->dir, wal_tenant(w), w->next_number, bytes, spare, ret, NULL);
        /* An append that ends within a page that is not in memory would wait for it. */
        if (ec == EC_OK && exact)
            io_read_ahead(w->io, (*ret)->fd, WAL_HEAD_BYTES, spare->bytes - WAL_HEAD_BYTES);
        wal_segment_free(w->io, spare);
    }
    if (ec != EC_OK)
        ec = wal_segment_create(w->io, w->dir, wal_tenant(w), w->next_number, bytes, ret, err);
    if (ec == EC_OK)
        w->next_number++;
    return ec;
}
