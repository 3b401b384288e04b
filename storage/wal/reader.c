/* SPDX-License-Identifier: Apache-2.0
 * The segment walk. */
#include "reader.h"

#include <errno.h>
#include <fcntl.h>

#define WAL_WINDOW_BYTES (256u << 10)
#define WAL_PAGE_BYTES   4096u

/* A page that cannot be read twice is taken for zeros and counted: one bad page must not cost the
 * readable records around it. */
static enum ec wal_reader_pages(struct wal_reader *r, uint8_t *p, size_t n, uint64_t off)
{
    for (size_t at = 0; at < n;) {
        size_t step = MIN(WAL_PAGE_BYTES - (size_t)((off + at) % WAL_PAGE_BYTES), n - at);
        if (io_pread(r->io, "wal.read_page", r->fd, p + at, step, off + at, NULL) != EC_OK) {
            memset(p + at, 0, step);
            r->unreadable += step;
        }
        at += step;
    }
    return EC_OK;
}

static enum ec wal_reader_read(
    struct wal_reader *r, uint8_t *p, size_t n, uint64_t off, struct err *err)
{
    struct err first = {0};

    enum ec ec = io_pread(r->io, "wal.read", r->fd, p, n, off, &first);
    if (ec == EC_OK)
        return EC_OK;
    if (ec != EC_IO || first.errnum != EIO) {
        if (err != NULL)
            *err = first;
        return ec;
    }
    return wal_reader_pages(r, p, n, off);
}

/* Makes [off, off + n) readable at the returned place. The range lies inside the file. */
static enum ec wal_reader_fill(
    struct wal_reader *r, uint64_t off, size_t n, const uint8_t **ret, struct err *err)
{
    ASSERT(off + n <= r->file_bytes);
    if (off < r->win_off || off + n > r->win_off + r->win.n) {
        size_t want = (size_t)MIN(MAX(n, (size_t)WAL_WINDOW_BYTES), r->file_bytes - off);
        buf_reset(&r->win);
        if (!buf_reserve(&r->win, want))
            return ERR(err, EC_LIMIT, "%s: no memory for %zu bytes", r->path, want);
        r->win_off = off;
        r->again = false;
        TRY(wal_reader_read(r, r->win.p, want, off, err));
        r->win.n = want;
    }
    *ret = r->win.p + (off - r->win_off);
    return EC_OK;
}

/* Bytes that do not check are read once more before they are called damaged: the second time they
 * may come from the disk instead of a damaged buffer. *ret: look again, the window is fresh. */
static enum ec wal_reader_again(struct wal_reader *r, bool *ret, struct err *err)
{
    *ret = !r->again && r->win.n > 0;
    if (!*ret)
        return EC_OK;
    r->again = true;
    return wal_reader_read(r, r->win.p, r->win.n, r->win_off, err);
}

static enum ec wal_reader_head(struct wal_reader *r, struct err *err)
{
    static const uint64_t copies[] = {0, WAL_FILE_HEADER_COPY};
    const uint8_t *p = NULL;
    bool again = true;

    r->state = WAL_HEADER_BAD;
    while (again && r->state == WAL_HEADER_BAD) {
        for (size_t i = 0; i < ARRAY_LEN(copies) && r->state == WAL_HEADER_BAD; i++) {
            if (copies[i] + WAL_FILE_HEADER_BYTES > r->file_bytes)
                break;
            TRY(wal_reader_fill(r, copies[i], WAL_FILE_HEADER_BYTES, &p, err));
            r->state = wal_file_header_get(p, &r->head);
        }
        if (r->state == WAL_HEADER_BAD)
            TRY(wal_reader_again(r, &again, err));
    }
    return EC_OK;
}

enum ec wal_reader_open(struct wal_reader *r, struct io *io, const char *path, struct err *err)
{
    struct io_stat st;

    r->io = io;
    r->path = path;
    buf_reset(&r->win);
    r->win_off = 0;
    r->again = false;
    r->unreadable = 0;
    TRY(io_open(io, "wal.read_open", path, O_RDONLY, 0, &r->fd, err));
    enum ec ec = io_fstat(io, "wal.read_stat", r->fd, &st, err);
    if (ec == EC_OK) {
        r->file_bytes = st.size;
        ec = wal_reader_head(r, err);
    }
    if (ec != EC_OK) {
        wal_reader_close(r);
        return ec;
    }
    r->pos = MIN((uint64_t)WAL_DATA_OFFSET, r->file_bytes);
    r->limit = r->file_bytes;
    return EC_OK;
}

void wal_reader_close(struct wal_reader *r)
{
    if (r->fd >= 0)
        (void)io_close(r->io, "wal.read_close", r->fd, NULL); /* only read */
    r->fd = -1;
}

void wal_reader_deinit(struct wal_reader *r)
{
    wal_reader_close(r);
    buf_deinit(&r->win);
}

/* Moves pos to the next place where a valid header stands, or to within a header of the limit. */
static enum ec wal_reader_find(struct wal_reader *r, struct wal_item *item, struct err *err)
{
    while (r->pos + WAL_RECORD_HEADER_BYTES <= r->limit) {
        const uint8_t *p;
        TRY(wal_reader_fill(r, r->pos, WAL_RECORD_HEADER_BYTES, &p, err));
        const uint8_t *end = r->win.p + r->win.n;
        for (; end - p >= WAL_RECORD_HEADER_BYTES && r->pos + WAL_RECORD_HEADER_BYTES <= r->limit;
             p += WAL_RECORD_ALIGN, r->pos += WAL_RECORD_ALIGN) {
            uint64_t word = get_u64le(p);
            if (word == 0)
                continue;
            if (wal_record_header_plausible(word) &&
                wal_record_header_get(p, r->head.salt, &item->h) &&
                wal_record_bytes(item->h.body_bytes) <= r->file_bytes - r->pos) {
                item->kind = WAL_ITEM_RECORD;
                return EC_OK;
            }
            bool again = false;
            if (!r->again)
                TRY(wal_reader_again(r, &again, err));
            if (again)
                break; /* to look at the same place anew */
            item->skipped_any = true;
            if (r->pos < WAL_HEAD_BYTES || r->pos >= r->head.stale_end)
                item->skipped_dirty = true;
        }
    }
    return EC_OK;
}

enum ec wal_reader_next(struct wal_reader *r, bool with_body, struct wal_item *ret, struct err *err)
{
    struct wal_item item = {.kind = WAL_ITEM_END};
    const uint8_t *p;

    ASSERT(r->state == WAL_HEADER_OK);
    TRY(wal_reader_find(r, &item, err));
    item.off = r->pos;
    if (item.kind == WAL_ITEM_RECORD) {
        size_t n = (size_t)wal_record_bytes(item.h.body_bytes);
        if (with_body) {
            TRY(wal_reader_fill(r, r->pos, n, &p, err));
            item.body = bytes_n(p + WAL_RECORD_HEADER_BYTES, item.h.body_bytes);
            item.body_ok = wal_body_sum(item.body) == item.h.body_sum;
            bool again = false;
            if (!item.body_ok)
                TRY(wal_reader_again(r, &again, err));
            if (again) /* in place */
                item.body_ok = wal_body_sum(item.body) == item.h.body_sum;
        }
        r->pos += n;
    }
    *ret = item;
    return EC_OK;
}
