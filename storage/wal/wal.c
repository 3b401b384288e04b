/* SPDX-License-Identifier: Apache-2.0
 * The live log of one tenant: append and group commit. files.c rotates and releases, open.c opens,
 * recycle.c keeps released segments for the next ones.
 *
 *     append -> current segment --full, rotate--> older segments --release--> gone, or spare
 *                 |  pwrite only                     |
 *                 +----------- wal_sync -------------+   oldest first, then durable_lsn moves
 *
 * Locks, in this order (a holder takes only later ones):
 *   release_mu  one release at a time.
 *   tail_mu     the current segment: who holds it may write there. Held over the one pwrite.
 *   prepare_mu  the next segment file: held while it is made, so that an append that finds none
 *   waits
 *               for the one in the making instead of making a second.
 *   mu          the list and all counters; never held over I/O.
 * wal_sync takes none but mu: it pins the segments it syncs (syncs > 0), so that none of their
 * files is closed under it; who drops a pinned segment leaves closing it to the sync.
 *
 * A failed sync: everything not durable at that moment is void, in whatever segment. The next
 * segment's START says so. WHY void rather than retried: after a failed fdatasync the kernel may
 * call the lost pages clean, and a second fdatasync would succeed without them.
 */
#include "base/clock.h"
#include "base/defect.h"
#include "log.h"

#define WAL_TRIES_MAX 8u /* segments that one append may lose to failing syncs */

/* Segment sizes. */

uint64_t wal_round_up(uint64_t n)
{
    return (n + WAL_SEGMENT_ALIGN - 1) & ~(uint64_t)(WAL_SEGMENT_ALIGN - 1);
}

/* Size of a segment that an append needs now, for a record of `need` bytes: as planned unless
 * that would take long to fill with zeros, larger where the record is, and exactly as large as it
 * must be past the maximum. */
static uint64_t wal_segment_size(struct wal *w, uint64_t need)
{
    pthread_mutex_lock(&w->mu);
    uint64_t size = MIN(w->next_bytes, MAX(w->bytes_min, WAL_SEGMENT_BYTES_HASTY));
    pthread_mutex_unlock(&w->mu);
    while (size < need + WAL_SEGMENT_OVERHEAD && size < w->bytes_max)
        size *= 2;
    return wal_round_up(MAX(MIN(size, w->bytes_max), need + WAL_SEGMENT_OVERHEAD));
}

/* Full segments double the next; one that was sealed early shrinks it towards what was used. mu
 * held. */
static void wal_next_bytes_plan(struct wal *w, const struct wal_segment *s)
{
    w->cycle_so_far += s->pos;
    if (!s->sealed) {
        w->next_bytes = MIN(w->bytes_max, MAX(w->next_bytes, s->bytes * 2));
        return;
    }
    w->cycle_bytes = w->cycle_so_far;
    w->cycle_so_far = 0;
    uint64_t size = w->bytes_min;
    while (size < s->pos && size < w->bytes_max)
        size *= 2;
    w->next_bytes = MIN(size, w->bytes_max);
}

/* Dropping segments. */

/* Frees a segment that is in no list, or leaves it to the sync that holds it. mu held. */
void wal_segment_drop(struct wal *w, struct wal_segment *s)
{
    if (s->syncs > 0)
        s->gone = true;
    else
        wal_segment_free(w->io, s);
}

/* The current segment is written no more. tail_mu held. Its file stays open while it is dirty: the
 * next sync covers it and closes it. */
void wal_tail_end(struct wal *w)
{
    pthread_mutex_lock(&w->mu);
    struct wal_segment *s = w->cur;
    ASSERT(s != NULL);
    w->cur = NULL;
    wal_next_bytes_plan(w, s);
    if (s->syncs == 0 && (!s->dirty || s->failed))
        wal_segment_close(w->io, s);
    pthread_mutex_unlock(&w->mu);
}

/* Starting segments. */

/* Takes the prepared file if the record fits, else makes one. tail_mu held. */
static enum ec wal_segment_take(
    struct wal *w, uint64_t need, struct wal_segment **ret, struct err *err)
{
    enum ec ec = EC_OK;

    pthread_mutex_lock(&w->prepare_mu);
    pthread_mutex_lock(&w->mu);
    struct wal_segment *s = w->prepared;
    w->prepared = NULL;
    pthread_mutex_unlock(&w->mu);
    if (s != NULL && s->bytes < need + WAL_SEGMENT_OVERHEAD) {
        /* Numbers only rise, so it could not come after the larger one. */
        wal_segment_discard(w->io, s);
        s = NULL;
    }
    if (s == NULL)
        ec = wal_segment_next(w, wal_segment_size(w, need), false, &s, err);
    pthread_mutex_unlock(&w->prepare_mu);
    if (ec == EC_OK)
        *ret = s;
    return ec;
}

/* mu held. */
static struct wal_start wal_start_now(const struct wal *w)
{
    uint64_t last = wal_last(w);
    struct wal_start st = {.first_lsn = last + 1, .sealed_lsn = last, .end_lsn = last};

    if (w->brk == WAL_BREAK_PENDING) {
        st.sealed_lsn = w->brk_sealed;
        st.end_lsn = w->brk_end;
    }
    if (w->segs.n > 0)
        st.prev_number = w->segs.p[w->segs.n - 1]->number;
    return st;
}

static enum ec wal_start_write(struct wal *w, struct wal_segment *s, struct wal_start *ret_start,
    uint64_t *ret_durable, struct err *err)
{
    uint8_t rec[WAL_START_RECORD_BYTES];
    struct wal_record_header h = {.body_bytes = WAL_START_BODY_BYTES, .type = WAL_RECORD_START};

    pthread_mutex_lock(&w->mu);
    *ret_start = wal_start_now(w);
    *ret_durable = wal_durable(w);
    pthread_mutex_unlock(&w->mu);
    wal_start_put(rec + WAL_RECORD_HEADER_BYTES, ret_start);
    h.body_sum = wal_body_sum(bytes_n(rec + WAL_RECORD_HEADER_BYTES, WAL_START_BODY_BYTES));
    wal_record_header_put(rec, &h);
    wal_record_header_seal(rec, s->salt, ret_start->first_lsn - 1, *ret_durable);
    return io_pwrite(w->io, "wal.start", s->fd, rec, sizeof(rec), s->pos, err);
}

/* Opens the next segment for a record of `need` bytes. tail_mu held, no current segment. */
enum ec wal_tail_begin(struct wal *w, uint64_t need, struct err *err)
{
    struct wal_segment *s;
    struct wal_start st;
    uint64_t durable;

    ASSERT(w->cur == NULL);
    TRY(wal_segment_take(w, need, &s, err));
    enum ec ec = wal_start_write(w, s, &st, &durable, err);
    if (ec != EC_OK) {
        wal_segment_discard(w->io, s);
        return ec;
    }
    pthread_mutex_lock(&w->mu);
    if (w->brk == WAL_BREAK_PENDING && st.end_lsn == w->brk_end && st.sealed_lsn == w->brk_sealed) {
        w->brk = WAL_BREAK_WRITTEN;
    } else if (w->brk == WAL_BREAK_PENDING) {
        /* A sync failed while START was on its way and voided it too. */
        s->failed = true;
    }
    s->pos += WAL_START_RECORD_BYTES;
    s->first_lsn = st.first_lsn;
    s->dirty = true;
    VEC_PUSH(&w->segs, s);
    w->cur = s;
    w->rotate_want = false;
    pthread_mutex_unlock(&w->mu);
    return EC_OK;
}

/* A write failed: what is behind pos is unknown, so nothing more goes there. A segment without any
 * record would only pile up. tail_mu held. */
static void wal_tail_spoil(struct wal *w)
{
    pthread_mutex_lock(&w->mu);
    struct wal_segment *s = w->cur;
    s->spoilt = true;
    bool keep = s->last_lsn != 0 || s->syncs > 0;
    if (!keep) {
        ASSERT(w->segs.p[w->segs.n - 1] == s);
        w->segs.n--;
        w->cur = NULL;
        if (w->brk == WAL_BREAK_WRITTEN)
            w->brk = WAL_BREAK_PENDING;
    }
    pthread_mutex_unlock(&w->mu);
    if (keep)
        wal_tail_end(w);
    else
        wal_segment_discard(w->io, s);
}

/* Makes sure that the current segment takes `size` more bytes. tail_mu held. */
static enum ec wal_tail_room(struct wal *w, uint64_t size, struct err *err)
{
    pthread_mutex_lock(&w->mu);
    struct wal_segment *s = w->cur;
    bool usable = s != NULL && !s->failed && !s->sealed && s->bytes - s->pos >= size;
    pthread_mutex_unlock(&w->mu);
    if (usable)
        return EC_OK;
    if (s != NULL)
        wal_tail_end(w);
    return wal_tail_begin(w, size, err);
}

/* Writes one sealed record at the tail. *ret_void: a sync failed meanwhile and took the segment
 * with it; the record must go to the next one. tail_mu held. */
static enum ec wal_tail_write(struct wal *w, uint8_t *rec, uint64_t size, uint64_t lsn,
    bool is_data, bool *ret_void, struct err *err)
{
    struct wal_segment *s = w->cur;

    wal_record_header_seal(rec, s->salt, lsn, wal_durable(w));
    enum ec ec =
        io_pwrite(w->io, is_data ? "wal.append" : "wal.mark", s->fd, rec, size, s->pos, err);
    if (ec == EC_NOSPACE && DEFECT(DEFECT_SWALLOW_ENOSPC))
        ec = EC_OK;
    if (ec != EC_OK) {
        wal_tail_spoil(w);
        return ec;
    }
    pthread_mutex_lock(&w->mu);
    *ret_void = s->failed;
    if (!s->failed) {
        s->pos += size;
        s->dirty = true;
        if (is_data) {
            ASSERT(lsn == wal_last(w) + 1);
            s->last_lsn = lsn;
            w->record_max = MAX(w->record_max, size);
            atomic_store_explicit(&w->last_lsn, lsn, memory_order_release);
        }
    }
    pthread_mutex_unlock(&w->mu);
    return EC_OK;
}

enum ec wal_append(struct wal *w, struct buf *encoded, uint64_t *ret_lsn, struct err *err)
{
    wal_check(w);
    ASSERT(encoded->n >= WAL_RECORD_HEADER_BYTES);
    ASSERT(encoded->n == wal_record_bytes(get_u32le(encoded->p)));
    uint64_t lsn = 0;
    unsigned tries = 0;
    bool again = true;
    enum ec ec = EC_OK;

    pthread_mutex_lock(&w->tail_mu);
    while (ec == EC_OK && again) {
        if (tries++ == WAL_TRIES_MAX) {
            ec = ERR(err, EC_IO, "wal %s: syncs failed under %u segments in a row", w->dir,
                WAL_TRIES_MAX);
            break;
        }
        ec = wal_tail_room(w, encoded->n, err);
        lsn = wal_last(w) + 1;
        if (ec == EC_OK)
            ec = wal_tail_write(w, encoded->p, encoded->n, lsn, true, &again, err);
    }
    if (ec == EC_OK) {
        w->last_append_ns = clock_mono_ns();
        w->marked = false;
    }
    pthread_mutex_unlock(&w->tail_mu);
    if (ec == EC_OK)
        *ret_lsn = lsn;
    return ec;
}

/* Group commit. */

/* Pins what has to be synced, oldest first; *ret_target: what will be durable. */
static void wal_sync_begin(struct wal *w, uint64_t *ret_target)
{
    pthread_mutex_lock(&w->mu);
    ASSERT(!w->sync_running);
    w->sync_running = true;
    *ret_target = wal_last(w);
    w->sync_covers_brk = w->brk == WAL_BREAK_WRITTEN; /* its segment is dirty, thus pinned below */
    w->syncing.n = 0;
    for (size_t i = 0; i < w->segs.n; i++) {
        struct wal_segment *s = w->segs.p[i];
        if (!s->dirty || s->failed)
            continue;
        ASSERT(s->fd >= 0);
        s->dirty = false;
        s->syncs++;
        VEC_PUSH(&w->syncing, s);
    }
    pthread_mutex_unlock(&w->mu);
}

/* Everything that is not durable is void. mu held. */
static void wal_sync_fail(struct wal *w, size_t i_failed)
{
    for (size_t i = i_failed; i < w->syncing.n; i++)
        w->syncing.p[i]->failed = true;
    for (size_t i = 0; i < w->segs.n; i++) {
        struct wal_segment *s = w->segs.p[i];
        if (!s->dirty)
            continue;
        s->failed = true;
        if (s != w->cur && s->syncs == 0)
            wal_segment_close(w->io, s);
    }
    if (w->brk == WAL_BREAK_NONE) {
        w->brk_sealed = wal_durable(w);
        w->brk_end = wal_durable(w);
    }
    w->brk = WAL_BREAK_PENDING;
    w->void_lsn = wal_last(w);
    atomic_fetch_add_explicit(&w->failed_syncs, 1, memory_order_relaxed);
}

/* Unpins; closes files that nobody needs any more. mu held. */
static void wal_sync_unpin(struct wal *w)
{
    for (size_t i = 0; i < w->syncing.n; i++) {
        struct wal_segment *s = w->syncing.p[i];
        ASSERT(s->syncs > 0);
        s->syncs--;
        if (s->gone)
            wal_segment_free(w->io, s);
        else if (s != w->cur && (!s->dirty || s->failed))
            wal_segment_close(w->io, s);
    }
    w->syncing.n = 0;
    w->sync_running = false;
}

enum ec wal_sync(struct wal *w, uint64_t *ret_lsn, uint64_t *ret_failed_from,
    uint64_t *ret_failed_to, struct err *err)
{
    uint64_t target;
    enum ec ec = EC_OK;
    size_t i;

    wal_check(w);
    wal_sync_begin(w, &target);
    for (i = 0; i < w->syncing.n && !DEFECT(DEFECT_SKIP_FDATASYNC); i++) {
        int tries = DEFECT(DEFECT_RETRY_FSYNC) ? 2 : 1;
        do
            ec = io_fdatasync(w->io, "wal.sync", w->syncing.p[i]->fd, err);
        while (ec != EC_OK && --tries > 0);
        if (ec != EC_OK)
            break;
    }
    pthread_mutex_lock(&w->mu);
    if (ec == EC_OK) {
        ASSERT(target >= wal_durable(w));
        if (target > w->void_lsn) /* void records do not become durable by waiting */
            atomic_store_explicit(&w->durable_lsn, target, memory_order_release);
        if (w->sync_covers_brk && w->brk == WAL_BREAK_WRITTEN)
            w->brk = WAL_BREAK_NONE;
        if (w->syncing.n > 0)
            atomic_store_explicit(&w->failed_syncs, 0, memory_order_relaxed);
        *ret_lsn = wal_durable(w);
    } else {
        *ret_failed_from = MAX(wal_durable(w), w->void_lsn) + 1;
        *ret_failed_to = wal_last(w);
        wal_sync_fail(w, i);
        ec = EC_IO;
    }
    wal_sync_unpin(w);
    pthread_mutex_unlock(&w->mu);
    return ec;
}

uint64_t wal_durable_lsn(const struct wal *w)
{
    wal_check(w);
    return wal_durable(w);
}

uint64_t wal_last_lsn(const struct wal *w)
{
    wal_check(w);
    return wal_last(w);
}

unsigned wal_failed_syncs_in_row(const struct wal *w)
{
    wal_check(w);
    return atomic_load_explicit(&w->failed_syncs, memory_order_relaxed);
}

/* Writes a mark behind the last record, if all of it is durable and no mark says so yet. tail_mu
 * held. */
enum ec wal_mark_write(struct wal *w, uint8_t flags, bool *ret_written, struct err *err)
{
    uint8_t rec[WAL_RECORD_HEADER_BYTES];
    struct wal_record_header h = {
        .type = WAL_RECORD_MARK, .flags = flags, .body_sum = wal_body_sum((struct bytes){0})};
    bool is_void;

    *ret_written = false;
    pthread_mutex_lock(&w->mu);
    const struct wal_segment *s = w->cur;
    bool fits = s != NULL && !s->failed && s->last_lsn != 0 && s->bytes - s->pos >= sizeof(rec);
    bool due = fits && wal_durable(w) == wal_last(w) && !w->marked;
    pthread_mutex_unlock(&w->mu);
    if (!due)
        return EC_OK;
    wal_record_header_put(rec, &h);
    TRY(wal_tail_write(w, rec, sizeof(rec), wal_last(w), false, &is_void, err));
    w->marked = true;
    *ret_written = true;
    return EC_OK;
}

enum ec wal_mark_idle(struct wal *w, int64_t now_mono_ns, struct err *err)
{
    uint64_t lsn, from, to;
    bool written = false;

    wal_check(w);
    if (pthread_mutex_trylock(&w->tail_mu) != 0)
        return EC_OK; /* an append is on its way: not idle */
    enum ec ec = EC_OK;
    if (now_mono_ns - w->last_append_ns >= WAL_IDLE_NS)
        ec = wal_mark_write(w, 0, &written, err);
    pthread_mutex_unlock(&w->tail_mu);
    TRY(ec);
    return written ? wal_sync(w, &lsn, &from, &to, err) : EC_OK;
}
