/* SPDX-License-Identifier: Apache-2.0
 * Making and removing segment files. The order of steps is that of segment.h. */
#include "segment.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/defect.h"

/* Zeros are written in pieces of this size. */
#define WAL_ZERO_BYTES (64u << 10)
/* So much of a new file is under way to the device at a time: the log's syncs wait no longer for
 * it. */
#define WAL_WRITE_BACK_BYTES (1u << 20)

static const uint8_t wal_zeros[WAL_ZERO_BYTES];

char *wal_segment_path(const char *dir, uint64_t number, const char *suffix)
{
    size_t n = strlen(dir) + 1 + WAL_NAME_BYTES + strlen(suffix) + 1;
    char *path = xmalloc(n);
    snprintf(path, n, "%s/%016" PRIx64 "%s", dir, number, suffix);
    return path;
}

bool wal_segment_name_parse(const char *name, const char *suffix, uint64_t *ret_number)
{
    uint64_t number = 0;

    for (int i = 0; i < WAL_NAME_BYTES; i++) {
        char c = name[i];
        if (c >= '0' && c <= '9')
            number = number << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            number = number << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false; /* the NUL of a short name ends here too */
    }
    if (strcmp(name + WAL_NAME_BYTES, suffix) != 0)
        return false;
    *ret_number = number;
    return true;
}

static enum ec wal_salt_new(uint64_t *ret, struct err *err)
{
    if (DEFECT(DEFECT_REUSE_SALT)) {
        *ret = 1;
        return EC_OK;
    }
    ssize_t n = getrandom(ret, sizeof(*ret), 0);
    if (n != (ssize_t)sizeof(*ret))
        return ERR_ERRNO(err, EC_INTERNAL, errno, "wal: no random numbers for a salt");
    return EC_OK;
}

static _Atomic uint64_t wal_filled;

uint64_t wal_filled_take(void)
{
    return atomic_exchange_explicit(&wal_filled, 0, memory_order_relaxed);
}

/* Allocates and writes every byte from zero_from on, and the head: a sync in use then changes data
 * only, no metadata. WHY not fallocate alone: its extents are marked unwritten, and clearing the
 * mark is a journal commit. */
static enum ec wal_segment_fill(
    struct io *io, int fd, const struct wal_file_header *h, uint64_t zero_from, struct err *err)
{
    uint8_t head[WAL_HEAD_BYTES] = {0};
    uint64_t behind = zero_from;

    if (zero_from < h->file_bytes)
        TRY(io_fallocate(io, "wal.segment_allocate", fd, 0, h->file_bytes, err));
    wal_file_header_put(head, h);
    wal_file_header_put(head + WAL_FILE_HEADER_COPY, h);
    TRY(io_pwrite(io, "wal.segment_header", fd, head, sizeof(head), 0, err));
    for (uint64_t at = zero_from; at < h->file_bytes;) {
        size_t n = (size_t)MIN(h->file_bytes - at, WAL_ZERO_BYTES);
        TRY(io_pwrite(io, "wal.segment_zero", fd, wal_zeros, n, at, err));
        at += n;
        if (at - behind >= WAL_WRITE_BACK_BYTES) {
            TRY(io_write_back(io, "wal.segment_write_back", fd, behind, at - behind, err));
            behind = at;
        }
    }
    atomic_fetch_add_explicit(
        &wal_filled, WAL_HEAD_BYTES + (h->file_bytes - zero_from), memory_order_relaxed);
    return io_fsync(io, "wal.segment_sync", fd, err);
}

/* For files without records, after another error: what stays is removed by the next open. */
static void wal_unlink_try(struct io *io, const char *path)
{
    enum ec ec = io_unlink(io, "wal.segment_undo", path, NULL);
    (void)ec;
}

static enum ec wal_segment_publish(
    struct io *io, const char *dir, const char *tmp, const char *path, struct err *err)
{
    TRY(io_rename(io, "wal.segment_rename", tmp, path, err));
    enum ec ec = io_fsync_dir(io, "wal.segment_dir_sync", dir, err);
    if (ec != EC_OK)
        wal_unlink_try(io, path);
    return ec;
}

static struct wal_file_header wal_header_of(struct str tenant, uint64_t number, uint64_t bytes)
{
    struct wal_file_header h = {
        .number = number, .version = WAL_VERSION, .file_bytes = bytes, .tenant_n = tenant.n};

    ASSERT(bytes >= WAL_HEAD_BYTES);
    ASSERT(bytes % WAL_SEGMENT_ALIGN == 0);
    ASSERT(tenant.n <= WAL_TENANT_BYTES_MAX);
    memcpy(h.tenant, tenant.p, tenant.n);
    return h;
}

/* From an open file with a temporary name to a segment. Closes it, and removes what is there of it,
 * when that fails. */
static enum ec wal_segment_make(struct io *io, const char *dir, const char *tmp, int fd,
    const struct wal_file_header *h, uint64_t zero_from, struct wal_segment **ret, struct err *err)
{
    CLEANUP(freep) char *path = wal_segment_path(dir, h->number, WAL_SUFFIX);

    enum ec ec = wal_segment_fill(io, fd, h, zero_from, err);
    if (ec == EC_OK)
        ec = wal_segment_publish(io, dir, tmp, path, err);
    if (ec != EC_OK) {
        (void)io_close(io, "wal.segment_undo_close", fd, NULL); /* the first error is the one */
        wal_unlink_try(io, tmp);
        return ec;
    }
    struct wal_segment *s = xcalloc(1, sizeof(*s));
    *s = (struct wal_segment){.number = h->number,
        .salt = h->salt,
        .bytes = h->file_bytes,
        .stale_end = h->stale_end,
        .fd = fd,
        .pos = WAL_DATA_OFFSET,
        .path = TAKE_PTR(path)};
    *ret = s;
    return EC_OK;
}

enum ec wal_segment_create(struct io *io, const char *dir, struct str tenant, uint64_t number,
    uint64_t bytes, struct wal_segment **ret, struct err *err)
{
    CLEANUP(freep) char *tmp = wal_segment_path(dir, number, WAL_SUFFIX_TMP);
    struct wal_file_header h = wal_header_of(tenant, number, bytes);
    int fd;

    TRY(wal_salt_new(&h.salt, err));
    TRY(io_open(io, "wal.segment_open", tmp, O_RDWR | O_CREAT | O_TRUNC, 0600, &fd, err));
    return wal_segment_make(io, dir, tmp, fd, &h, WAL_HEAD_BYTES, ret, err);
}

enum ec wal_segment_recycle(struct io *io, const char *dir, struct str tenant, uint64_t number,
    uint64_t bytes, const struct wal_segment *spare, struct wal_segment **ret, struct err *err)
{
    struct wal_file_header h = wal_header_of(tenant, number, MAX(bytes, spare->bytes));
    int fd;

    ASSERT(spare->fd < 0);
    ASSERT(spare->number < number);
    ASSERT(!spare->found && !spare->failed && !spare->spoilt && !spare->damaged);
    h.stale_end = MAX(spare->stale_end, spare->pos);
    ASSERT(h.stale_end <= spare->bytes);
    enum ec ec;
    do
        ec = wal_salt_new(&h.salt, err);
    while (ec == EC_OK && h.salt == spare->salt && !DEFECT(DEFECT_REUSE_SALT));
    if (ec == EC_OK)
        ec = io_open(io, "wal.recycle_open", spare->path, O_RDWR, 0, &fd, err);
    if (ec != EC_OK) {
        wal_unlink_try(io, spare->path);
        return ec;
    }
    return wal_segment_make(io, dir, spare->path, fd, &h, spare->bytes, ret, err);
}

void wal_segment_close(struct io *io, struct wal_segment *s)
{
    ASSERT(s->syncs == 0);
    if (s->fd >= 0)
        (void)io_close(io, "wal.segment_close", s->fd, NULL); /* synced or given up before */
    s->fd = -1;
}

void wal_segment_free(struct io *io, struct wal_segment *s)
{
    if (s == NULL)
        return;
    wal_segment_close(io, s);
    free(s->path);
    free(s);
}

void wal_segment_discard(struct io *io, struct wal_segment *s)
{
    wal_unlink_try(io, s->path);
    wal_segment_free(io, s);
}

enum ec wal_segment_remove(
    struct io *io, const char *dir, const struct wal_segment *s, struct err *err)
{
    enum ec ec;

    if (s->damaged) {
        CLEANUP(freep) char *bad = wal_segment_path(dir, s->number, WAL_SUFFIX_BAD);
        ec = io_rename(io, "wal.segment_set_aside", s->path, bad, err);
    } else {
        ec = io_unlink(io, "wal.segment_unlink", s->path, err);
    }
    if (ec != EC_OK && ec != EC_NOT_FOUND)
        return ec;
    /* Each removal is durable before the next: else a crash could keep an older segment and not a
     * newer one, which looks like lost records. */
    return io_fsync_dir(io, "wal.remove_dir_sync", dir, err);
}

enum ec wal_segment_retire(
    struct io *io, const char *dir, struct wal_segment *s, bool *ret_kept, struct err *err)
{
    CLEANUP(freep) char *tmp = wal_segment_path(dir, s->number, WAL_SUFFIX_TMP);

    ASSERT(s->fd < 0);
    *ret_kept = false;
    if (io_rename(io, "wal.recycle_rename", s->path, tmp, NULL) != EC_OK)
        return wal_segment_remove(io, dir, s, err);
    /* Durable before the next removal, as of a segment that is deleted, and before the first write:
     * a crash must not find a segment's name on a file that is about to be another one. */
    enum ec ec = io_fsync_dir(io, "wal.recycle_dir_sync", dir, err);
    if (ec != EC_OK) {
        wal_unlink_try(io, tmp); /* its next release finds no file, and that is well */
        return ec;
    }
    free(s->path);
    s->path = TAKE_PTR(tmp);
    *ret_kept = true;
    return EC_OK;
}

enum ec wal_dir_make(struct io *io, const char *dir, struct err *err)
{
    struct io_stat st;
    CLEANUP(freep) char *parent = xstrdup(dir);
    char *slash = strrchr(parent, '/');

    if (slash == NULL)
        strcpy(parent, "."); /* dir has at least one character */
    else
        slash[slash == parent] = 0; /* "/" stays */
    ASSERT(dir[0] != 0);
    enum ec ec = io_stat(io, "wal.mkdir_parent", parent, &st, err);
    if (ec == EC_NOT_FOUND && strcmp(parent, dir) != 0)
        ec = wal_dir_make(io, parent, err);
    TRY(ec);
    TRY(io_mkdir(io, "wal.mkdir", dir, err));
    return io_fsync_dir(io, "wal.mkdir_sync", parent, err);
}
