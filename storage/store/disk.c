/* SPDX-License-Identifier: Apache-2.0
 * Free space: ingest is refused before the disk is full, and taken again by itself.
 *
 * The floor is the smaller of min_free_bytes and min_free_ratio of the file system (1 GiB and 5 %
 * when neither is given); it holds for the WAL's and the blocks' file system alike. Ingest comes
 * back at floor + 10 %, so that it does not flap. Reads, flush (it frees WAL) and retention go on;
 * compaction only when its output fits. From twice the floor on, logs keep no spare segments.
 */
#include "store_private.h"

#define DISK_LOG_NS (60 * NS_PER_S)

struct disk_state {
    uint64_t free, floor;
};

static uint64_t disk_floor(const struct store *s, uint64_t total)
{
    uint64_t bytes = s->opt.min_free_bytes;
    double ratio = s->opt.min_free_ratio;
    if (bytes == 0) {
        bytes = 1ull << 30;
        ratio = ratio > 0 ? ratio : 0.05;
    }
    return ratio > 0 ? MIN(bytes, (uint64_t)(ratio * (double)total)) : bytes;
}

static bool disk_look(struct store *s, const char *path, struct disk_state *worst)
{
    uint64_t free_bytes, total;
    struct err e = {0};
    if (io_space(s->opt.io, "disk.space", path, &free_bytes, &total, &e) != EC_OK) {
        log_event(LOG_DEBUG, "free space unknown", LZ("path", path), LE(&e));
        return false;
    }
    uint64_t floor = disk_floor(s, total);
    /* The file system that is nearer to its floor decides. */
    if (worst->floor == 0 ||
        (double)free_bytes / (double)(floor + 1) < (double)worst->free / (double)(worst->floor + 1))
        *worst = (struct disk_state){free_bytes, floor};
    return true;
}

void disk_check(struct store *s)
{
    struct disk_state d = {0};
    bool known = disk_look(s, s->data_root, &d);
    known = disk_look(s, s->wal_root, &d) || known;
    if (!known)
        return; /* as before: an unknown is no reason to refuse or to accept */
    bool was = atomic_load(&s->disk_low);
    uint64_t limit = was ? d.floor + d.floor / 10 : d.floor;
    bool low = d.free < limit;
    bool early = d.free < 2 * d.floor;
    atomic_store(&s->disk_free, d.free);
    atomic_store(&s->disk_low, low);
    bool was_early = atomic_exchange(&s->disk_early, early);
    atomic_store(&s->wal_spares.off, low || early);
    int64_t now_ns = clock_mono_ns();
    if (low && (!was || now_ns - s->disk_logged_ns >= DISK_LOG_NS)) {
        s->disk_logged_ns = now_ns;
        log_event(LOG_ERROR, "disk space is low: ingest is refused", LU("free", d.free),
            LU("floor", d.floor));
    } else if (was && !low) {
        log_event(LOG_INFO, "disk space is back: ingest goes on", LU("free", d.free));
    } else if (early && !was_early) {
        log_event(LOG_WARN, "disk space is under twice the floor", LU("free", d.free),
            LU("floor", d.floor));
    }
}

bool disk_has_room(struct store *s, uint64_t n)
{
    uint64_t free_bytes, total;
    if (io_space(s->opt.io, "disk.room", s->data_root, &free_bytes, &total, NULL) != EC_OK)
        return false;
    uint64_t floor = disk_floor(s, total);
    return free_bytes > floor && free_bytes - floor > n;
}
