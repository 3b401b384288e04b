/* SPDX-License-Identifier: Apache-2.0 */
#include "queue.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/compress.h"
#include "base/hash.h"

#define MAGIC       0x31715756u /* "VWq1" */
#define HEAD_BYTES  32u
#define RAW_MAX     (16u << 20) /* a record's entries */
#define POS_BYTES   24u
#define LEVEL       1
#define PATH_LENGTH 700

struct segment {
    uint64_t number, bytes, entries;
};
struct reader {
    char name[64];
    struct queue_pos pos;
    int fd; /* of the .pos file; -1: not open */
    bool used;
};

struct queue {
    struct queue_options opt;
    char *dir;
    pthread_mutex_t lock; /* of all below but fd and scratch */
    VEC(struct segment) segments;
    struct reader readers[QUEUE_READERS_MAX];
    unsigned n_readers;
    uint64_t bytes, next_number;
    bool writing; /* the last segment may grow */
    int fd;       /* of it; -1: the next append begins one. Writer only */
    struct buf scratch;
};

/* For outcomes that change nothing; the call says why. */
static void discard(enum ec ec)
{
    (void)ec;
}

static void segment_path(const struct queue *q, uint64_t number, char out[PATH_LENGTH])
{
    snprintf(out, PATH_LENGTH, "%s/%016llx.seg", q->dir, (unsigned long long)number);
}

static void pos_path(const struct queue *q, const char *name, char out[PATH_LENGTH])
{
    snprintf(out, PATH_LENGTH, "%s/%s.pos", q->dir, name);
}

/* ---- records ---- */

struct head {
    uint32_t bytes, raw, entries;
    uint64_t hash;
};

static void head_put(uint8_t *p, const struct head *h)
{
    put_u32le(p, MAGIC);
    put_u32le(p + 4, h->bytes);
    put_u32le(p + 8, h->raw);
    put_u32le(p + 12, h->entries);
    put_u64le(p + 16, hash64(p, 16));
    put_u64le(p + 24, h->hash);
}

static bool head_get(const uint8_t *p, struct head *h)
{
    *h = (struct head){get_u32le(p + 4), get_u32le(p + 8), get_u32le(p + 12), get_u64le(p + 24)};
    return get_u32le(p) == MAGIC && get_u64le(p + 16) == hash64(p, 16) && h->raw <= RAW_MAX &&
           h->bytes <= zstd_bound(RAW_MAX) && h->entries != 0;
}

/* Bad reads are tried once more: the second may come from the disk instead of a damaged buffer. */
static enum ec head_read(
    struct queue *q, const char *site, int fd, uint64_t off, struct head *ret, struct err *err)
{
    enum ec ec = EC_OK;
    for (int tries = 0; tries < 2; tries++) {
        uint8_t p[HEAD_BYTES];
        ec = io_pread(q->opt.io, site, fd, p, HEAD_BYTES, off, err);
        if (ec == EC_OK && head_get(p, ret))
            return EC_OK;
    }
    return ec != EC_OK ? ec : ERR(err, EC_CORRUPT, "a damaged record");
}

/* Walks the heads of a segment of an earlier run: how far it is whole, and what it holds. */
static enum ec segment_scan(struct queue *q, struct segment *s, struct err *err)
{
    char path[PATH_LENGTH];
    struct io_stat st;
    int fd;
    segment_path(q, s->number, path);
    TRY(io_open(q->opt.io, "rw.scan_open", path, O_RDONLY, 0, &fd, err));
    enum ec ec = io_fstat(q->opt.io, "rw.segment", fd, &st, err);
    while (ec == EC_OK && st.size - s->bytes >= HEAD_BYTES) {
        struct head h;
        ec = head_read(q, "rw.scan", fd, s->bytes, &h, err);
        if (ec != EC_OK || st.size - s->bytes - HEAD_BYTES < h.bytes)
            break;
        if (s->bytes + HEAD_BYTES + h.bytes > UINT32_MAX) /* positions have 32 bits; never ours */
            break;
        s->bytes += HEAD_BYTES + h.bytes;
        s->entries += h.entries;
    }
    (void)io_close(q->opt.io, "rw.scan_close", fd, NULL); /* was only read */
    return ec == EC_CORRUPT ? EC_OK : ec;                 /* what is torn ends the segment */
}

/* ---- open ---- */

static bool number_of(const char *name, uint64_t *ret)
{
    uint8_t b[8];
    size_t n = strlen(name);
    if (n != 20 || strcmp(name + 16, ".seg") != 0 || !hex_decode(b, str_n(name, 16), 8))
        return false;
    *ret = get_u64be(b);
    return true;
}

static enum ec load(struct queue *q, struct err *err)
{
    struct io_names names;
    enum ec ec = EC_OK;
    TRY(io_mkdir_all(q->opt.io, "rw.dir", q->dir, err));
    TRY(io_list(q->opt.io, "rw.dir", q->dir, &names, err));
    for (size_t i = 0; i < names.n && ec == EC_OK; i++) { /* sorted: oldest first */
        struct segment s = {0};
        if (!number_of(names.p[i], &s.number) || s.number == UINT64_MAX)
            continue;
        ec = segment_scan(q, &s, err);
        q->next_number = s.number + 1;
        VEC_PUSH(&q->segments, s);
        q->bytes += s.bytes;
    }
    io_names_free(&names);
    return ec;
}

enum ec queue_open(const struct queue_options *opt, struct queue **ret, struct err *err)
{
    struct queue *q = xcalloc(1, sizeof(*q));
    q->opt = *opt;
    q->dir = xstrdup(opt->dir);
    q->fd = -1;
    q->next_number = 1;
    ASSERT(pthread_mutex_init(&q->lock, NULL) == 0);
    enum ec ec = load(q, err);
    if (ec != EC_OK) {
        queue_close(q);
        return ec;
    }
    *ret = q;
    return EC_OK;
}

void queue_close(struct queue *q)
{
    if (q == NULL)
        return;
    if (q->fd >= 0)
        (void)io_close(
            q->opt.io, "rw.stop_close", q->fd, NULL); /* nothing was promised to a disk */
    for (unsigned i = 0; i < q->n_readers; i++)
        if (q->readers[i].fd >= 0)
            (void)io_close(q->opt.io, "rw.pos", q->readers[i].fd, NULL);
    VEC_FREE(&q->segments);
    buf_deinit(&q->scratch);
    pthread_mutex_destroy(&q->lock);
    free(q->dir);
    free(q);
}

/* ---- segments ---- */

/* With the lock: the first k segments go. */
static void remove_first(struct queue *q, size_t k)
{
    for (size_t i = 0; i < k; i++) {
        char path[PATH_LENGTH];
        segment_path(q, q->segments.p[i].number, path);
        q->bytes -= q->segments.p[i].bytes;
        discard(io_unlink(q->opt.io, "rw.unlink", path, NULL)); /* what stays is read again */
    }
    if (k == 0)
        return;
    memmove(q->segments.p, q->segments.p + k, (q->segments.n - k) * sizeof(*q->segments.p));
    q->segments.n -= k;
}

static void remove_oldest(struct queue *q, uint64_t *ret_dropped)
{
    const struct segment *s = &q->segments.p[0];
    for (unsigned i = 0; i < q->n_readers; i++) {
        struct reader *r = &q->readers[i];
        if (r->pos.segment < s->number)
            ret_dropped[i] += s->entries;
        else if (r->pos.segment == s->number)
            ret_dropped[i] += s->entries - MIN(r->pos.seen, s->entries);
    }
    if (q->segments.n == 1 && q->fd >= 0) { /* it is the one being written */
        (void)io_close(q->opt.io, "rw.drop_close", q->fd, NULL);
        q->fd = -1;
        q->writing = false;
    }
    remove_first(q, 1);
}

static bool disk_short(const struct queue *q, uint64_t need)
{
    uint64_t free_bytes, total;
    return q->opt.min_free_bytes != 0 &&
           io_space(q->opt.io, "rw.space", q->dir, &free_bytes, &total, NULL) == EC_OK &&
           free_bytes < q->opt.min_free_bytes + need;
}

static enum ec make_room(struct queue *q, uint64_t need, uint64_t *ret_dropped, struct err *err)
{
    if (need > q->opt.bytes_max)
        return ERR(err, EC_TOO_LARGE, "a record of %llu bytes is over the queue's limit",
            (unsigned long long)need);
    pthread_mutex_lock(&q->lock);
    while (q->bytes + need > q->opt.bytes_max && q->segments.n > 0)
        remove_oldest(q, ret_dropped);
    if (disk_short(q, need) && q->segments.n > 0)
        remove_oldest(q, ret_dropped);
    pthread_mutex_unlock(&q->lock);
    return disk_short(q, need) ? ERR(err, EC_NOSPACE, "the disk is short") : EC_OK;
}

static enum ec begin_segment(struct queue *q, struct err *err)
{
    char path[PATH_LENGTH];
    pthread_mutex_lock(&q->lock);
    struct segment s = {.number = q->next_number++};
    pthread_mutex_unlock(&q->lock);
    segment_path(q, s.number, path);
    TRY(io_open(q->opt.io, "rw.begin", path, O_WRONLY | O_CREAT | O_EXCL, 0600, &q->fd, err));
    pthread_mutex_lock(&q->lock);
    VEC_PUSH(&q->segments, s);
    q->writing = true;
    pthread_mutex_unlock(&q->lock);
    return EC_OK;
}

static void end_segment(struct queue *q)
{
    (void)io_close(q->opt.io, "rw.end", q->fd, NULL);
    q->fd = -1;
    pthread_mutex_lock(&q->lock);
    q->writing = false;
    pthread_mutex_unlock(&q->lock);
}

static uint64_t active_end(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    uint64_t n = q->segments.p[q->segments.n - 1].bytes;
    pthread_mutex_unlock(&q->lock);
    return n;
}

enum ec queue_append(
    struct queue *q, struct bytes raw, uint32_t n_entries, uint64_t *ret_dropped, struct err *err)
{
    uint8_t head[HEAD_BYTES] = {0};
    ASSERT(n_entries > 0 && raw.n <= RAW_MAX);
    buf_reset(&q->scratch);
    buf_put(&q->scratch, head, sizeof(head));
    TRY(zstd_compress(&q->scratch, raw, LEVEL, err));
    const struct bytes payload = {q->scratch.p + HEAD_BYTES, q->scratch.n - HEAD_BYTES};
    head_put(q->scratch.p, &(struct head){(uint32_t)payload.n, (uint32_t)raw.n, n_entries,
                               hash64(payload.p, payload.n)});
    TRY(make_room(q, q->scratch.n, ret_dropped, err));
    if (q->fd < 0)
        TRY(begin_segment(q, err));
    enum ec ec =
        io_pwrite(q->opt.io, "rw.append", q->fd, q->scratch.p, q->scratch.n, active_end(q), err);
    if (ec != EC_OK) { /* what is there of it lies behind the end; the next record goes elsewhere */
        end_segment(q);
        return ec;
    }
    pthread_mutex_lock(&q->lock);
    struct segment *s = &q->segments.p[q->segments.n - 1];
    s->bytes += q->scratch.n;
    s->entries += n_entries;
    q->bytes += q->scratch.n;
    bool full = s->bytes >= q->opt.segment_bytes;
    pthread_mutex_unlock(&q->lock);
    if (full)
        end_segment(q);
    return EC_OK;
}

uint64_t queue_bytes(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    uint64_t n = q->bytes;
    pthread_mutex_unlock(&q->lock);
    return n;
}

/* ---- readers ---- */

static bool pos_load(struct queue *q, int fd, struct queue_pos *ret)
{
    uint8_t p[POS_BYTES];
    if (io_pread(q->opt.io, "rw.pos", fd, p, sizeof(p), 0, NULL) != EC_OK ||
        get_u64le(p + 16) != hash64(p, 16))
        return false;
    *ret = (struct queue_pos){
        .segment = get_u64le(p), .offset = get_u32le(p + 8), .entry = get_u32le(p + 12)};
    return true;
}

static void pos_save(struct queue *q, const struct reader *r)
{
    uint8_t p[POS_BYTES];
    put_u64le(p, r->pos.segment);
    put_u32le(p + 8, r->pos.offset);
    put_u32le(p + 12, r->pos.entry);
    put_u64le(p + 16, hash64(p, 16));
    if (r->fd >= 0) /* a position that is not saved only means that samples are sent twice */
        discard(io_pwrite(q->opt.io, "rw.pos", r->fd, p, sizeof(p), 0, NULL));
}

enum ec queue_reader(
    struct queue *q, const char *name, unsigned *ret_reader, struct queue_pos *ret, struct err *err)
{
    char path[PATH_LENGTH];
    struct io_stat st;
    struct reader r = {.used = true};
    if (q->n_readers == QUEUE_READERS_MAX)
        return ERR(err, EC_LIMIT, "over %d readers of a queue", QUEUE_READERS_MAX);
    snprintf(r.name, sizeof(r.name), "%s", name);
    pos_path(q, name, path);
    bool known = io_stat(q->opt.io, "rw.pos", path, &st, NULL) == EC_OK;
    TRY(io_open(q->opt.io, "rw.pos", path, O_RDWR | O_CREAT, 0600, &r.fd, err));
    pthread_mutex_lock(&q->lock);
    if (!known || !pos_load(q, r.fd, &r.pos))
        /* New: what comes from now on. Known, but unreadable: everything, rather twice than not. */
        r.pos = known ? (struct queue_pos){0} : (struct queue_pos){.segment = q->next_number};
    if (r.pos.segment >= q->next_number) /* its segment is gone: by hand, or with the power */
        r.pos = (struct queue_pos){.segment = q->next_number};
    q->readers[q->n_readers] = r;
    *ret_reader = q->n_readers++;
    *ret = r.pos;
    pos_save(q, &r);
    pthread_mutex_unlock(&q->lock);
    return EC_OK;
}

void queue_forget_others(struct queue *q)
{
    struct io_names names;
    if (io_list(q->opt.io, "rw.forget_list", q->dir, &names, NULL) != EC_OK)
        return;
    for (size_t i = 0; i < names.n; i++) {
        char path[PATH_LENGTH];
        size_t n = strlen(names.p[i]);
        bool mine = n < 5 || strcmp(names.p[i] + n - 4, ".pos") != 0;
        for (unsigned k = 0; k < q->n_readers; k++)
            mine |= strncmp(names.p[i], q->readers[k].name, n - 4) == 0 &&
                    strlen(q->readers[k].name) == n - 4;
        if (mine)
            continue;
        snprintf(path, sizeof(path), "%s/%s", q->dir, names.p[i]);
        discard(io_unlink(
            q->opt.io, "rw.forget_unlink", path, NULL)); /* tried again at the next start */
    }
    io_names_free(&names);
}

/* Onto a segment that exists and has more; false: there is none. */
static bool settle(struct queue *q, struct queue_pos *pos, uint64_t *ret_end)
{
    bool found = false;
    pthread_mutex_lock(&q->lock);
    for (size_t i = 0; i < q->segments.n && !found; i++) {
        const struct segment *s = &q->segments.p[i];
        if (s->number < pos->segment)
            continue;
        if (s->number > pos->segment)
            *pos = (struct queue_pos){.segment = s->number};
        found = pos->offset < s->bytes;
        *ret_end = s->bytes;
        if (!found && i + 1 < q->segments.n)
            *pos = (struct queue_pos){.segment = q->segments.p[i + 1].number};
    }
    pthread_mutex_unlock(&q->lock);
    return found;
}

enum got { GOT_RECORD, GOT_DAMAGED, GOT_NOTHING };

/* False: it is damaged, or there is no memory (raw->failed). */
static bool payload_read(
    struct queue *q, int fd, uint64_t off, const struct head *h, struct buf *raw)
{
    buf_reset(raw);
    struct buf packed = {.budget = raw->budget};
    bool good = buf_reserve(&packed, h->bytes) && buf_reserve(raw, h->raw) &&
                io_pread(q->opt.io, "rw.read_body", fd, packed.p, h->bytes, off, NULL) == EC_OK &&
                hash64(packed.p, h->bytes) == h->hash &&
                zstd_decompress(raw->p, h->raw, bytes_n(packed.p, h->bytes), NULL) == EC_OK;
    if (good)
        raw->n = h->raw;
    raw->failed |= packed.failed;
    buf_deinit(&packed);
    return good;
}

/* A damaged payload is tried once more together with its head: the payload's checksum is the one
 * part of a head that no other covers. */
static enum got read_at(struct queue *q, int fd, const struct queue_pos *pos, uint64_t end,
    struct buf *raw, struct head *h)
{
    enum got got = GOT_NOTHING;
    for (int tries = 0; tries < 2 && end - pos->offset >= HEAD_BYTES; tries++) {
        struct head now;
        if (head_read(q, "rw.read", fd, pos->offset, &now, NULL) != EC_OK ||
            end - pos->offset - HEAD_BYTES < now.bytes)
            break;
        *h = now;
        got = GOT_DAMAGED;
        if (payload_read(q, fd, pos->offset + HEAD_BYTES, h, raw))
            return GOT_RECORD;
        if (raw->failed)
            break;
    }
    return got;
}

bool queue_read(
    struct queue *q, struct queue_pos *pos, struct buf *raw, uint32_t *ret_n, uint64_t *ret_damaged)
{
    uint64_t end = 0;
    while (settle(q, pos, &end)) {
        char path[PATH_LENGTH];
        struct head h = {0};
        int fd;
        segment_path(q, pos->segment, path);
        enum got got = GOT_NOTHING;
        enum ec ec = io_open(q->opt.io, "rw.read", path, O_RDONLY, 0, &fd, NULL);
        if (ec == EC_OK) {
            got = read_at(q, fd, pos, end, raw, &h);
            (void)io_close(q->opt.io, "rw.read", fd, NULL); /* was only read */
        } else if (ec != EC_NOT_FOUND) {
            return false; /* no descriptor: later */
        }
        if (got == GOT_RECORD && pos->entry < h.entries) {
            *ret_n = h.entries;
            return true;
        }
        if (raw->failed)
            return false; /* no memory: later */
        if (got != GOT_RECORD)
            (*ret_damaged)++;
        pos->entry = 0;
        if (got == GOT_NOTHING) /* nothing can be found behind it */
            pos->offset = (uint32_t)MIN(end, UINT32_MAX);
        else
            pos->offset += HEAD_BYTES + h.bytes;
    }
    return false;
}

void queue_done(struct queue *q, unsigned reader, const struct queue_pos *pos)
{
    pthread_mutex_lock(&q->lock);
    struct reader *r = &q->readers[reader];
    r->pos = *pos;
    pos_save(q, r);
    uint64_t min = UINT64_MAX;
    for (unsigned i = 0; i < q->n_readers; i++)
        min = MIN(min, q->readers[i].pos.segment);
    size_t k = 0;
    while (k < q->segments.n && q->segments.p[k].number < min)
        k++;
    if (k == q->segments.n && k > 0 && q->writing)
        k--;
    remove_first(q, k);
    pthread_mutex_unlock(&q->lock);
}
