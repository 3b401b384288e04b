/* SPDX-License-Identifier: Apache-2.0
 * The real operations behind the I/O shim, and the wrappers that every caller uses.
 *
 * The operations are thin: one system call each, POSIX results. The wrappers own the policy, so a
 * faulting or recording table meets the same policy as the kernel: interrupted calls are repeated,
 * short transfers continued, errno mapped to a code, and the path or site put into the message.
 * A failed fsync is reported, never repeated: the kernel may have dropped the dirty pages, so that
 * a second call would succeed without the data.
 */
#include "base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"

#define IO_RETRIES_MAX  100 /* interrupted calls in a row; real signals are far rarer */
#define IO_STALLS_MAX   3   /* transfers of zero bytes in a row */
#define IO_TRANSFER_MAX ((size_t)1 << 30) /* one system call moves at most 2 GiB on Linux */
#define IO_TREE_DEPTH   32

/* The real table. */

static int real_open(void *ctx, const char *site, const char *path, int flags, unsigned mode)
{
    (void)ctx, (void)site;
    return open(path, flags | O_CLOEXEC, (mode_t)mode);
}

static int real_close(void *ctx, const char *site, int fd)
{
    (void)ctx, (void)site;
    return close(fd);
}

static ssize_t real_pread(void *ctx, const char *site, int fd, void *p, size_t n, uint64_t off)
{
    (void)ctx, (void)site;
    return pread(fd, p, n, (off_t)off);
}

static ssize_t real_pwrite(
    void *ctx, const char *site, int fd, const void *p, size_t n, uint64_t off)
{
    (void)ctx, (void)site;
    return pwrite(fd, p, n, (off_t)off);
}

static int real_fdatasync(void *ctx, const char *site, int fd)
{
    (void)ctx, (void)site;
    return fdatasync(fd);
}

static int real_fsync(void *ctx, const char *site, int fd)
{
    (void)ctx, (void)site;
    return fsync(fd);
}

static int real_ftruncate(void *ctx, const char *site, int fd, uint64_t size)
{
    (void)ctx, (void)site;
    return ftruncate(fd, (off_t)size);
}

/* File systems without preallocation (NFS, some overlays) get a sparse file of the same size: the
 * reservation is lost, the meaning of the file is not. */
static int real_fallocate(void *ctx, const char *site, int fd, uint64_t off, uint64_t n)
{
    (void)ctx, (void)site;
    int r = fallocate(fd, 0, (off_t)off, (off_t)n);
    if (r == 0 || errno != EOPNOTSUPP)
        return r;
    struct stat st;
    if (fstat(fd, &st) != 0)
        return -1;
    return (uint64_t)st.st_size >= off + n ? 0 : ftruncate(fd, (off_t)(off + n));
}

static void real_read_ahead(void *ctx, int fd, uint64_t off, uint64_t n)
{
    (void)ctx;
    (void)posix_fadvise(fd, (off_t)off, (off_t)n, POSIX_FADV_WILLNEED); /* an advice */
}

static int real_write_back(void *ctx, const char *site, int fd, uint64_t off, uint64_t n)
{
    (void)ctx, (void)site;
    const unsigned wait =
        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    int r = sync_file_range(fd, (off_t)off, (off_t)n, wait);
    return r != 0 && (errno == ENOSYS || errno == EPERM) ? 0 : r; /* a sandbox may forbid it */
}

static int real_rename(void *ctx, const char *site, const char *from, const char *to)
{
    (void)ctx, (void)site;
    return rename(from, to);
}

static int real_link(void *ctx, const char *site, const char *from, const char *to)
{
    (void)ctx, (void)site;
    return link(from, to);
}

static int real_unlink(void *ctx, const char *site, const char *path)
{
    (void)ctx, (void)site;
    return unlink(path);
}

static int real_mkdir(void *ctx, const char *site, const char *path, unsigned mode)
{
    (void)ctx, (void)site;
    return mkdir(path, (mode_t)mode);
}

static int real_rmdir(void *ctx, const char *site, const char *path)
{
    (void)ctx, (void)site;
    return rmdir(path);
}

static void stat_of(const struct stat *st, struct io_stat *ret)
{
    *ret = (struct io_stat){
        .size = (uint64_t)st->st_size,
        .inode = st->st_ino,
        .is_dir = S_ISDIR(st->st_mode),
        .mtime_ns = (int64_t)st->st_mtim.tv_sec * NS_PER_S + st->st_mtim.tv_nsec,
    };
}

static int real_stat(void *ctx, const char *site, const char *path, struct io_stat *ret)
{
    (void)ctx, (void)site;
    struct stat st;
    if (stat(path, &st) != 0)
        return -1;
    stat_of(&st, ret);
    return 0;
}

static int real_fstat(void *ctx, const char *site, int fd, struct io_stat *ret)
{
    (void)ctx, (void)site;
    struct stat st;
    if (fstat(fd, &st) != 0)
        return -1;
    stat_of(&st, ret);
    return 0;
}

static int real_list(void *ctx, const char *site, const char *path,
    void (*each)(void *arg, const char *name), void *arg)
{
    (void)ctx, (void)site;
    DIR *d = opendir(path);
    if (d == NULL)
        return -1;
    const struct dirent *e;
    errno = 0;
    while ((e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            each(arg, e->d_name);
        errno = 0;
    }
    int saved = errno;
    closedir(d);
    errno = saved;
    return saved == 0 ? 0 : -1;
}

static int real_space(
    void *ctx, const char *site, const char *path, uint64_t *ret_free, uint64_t *ret_total)
{
    (void)ctx, (void)site;
    struct statvfs v;
    if (statvfs(path, &v) != 0)
        return -1;
    *ret_free = (uint64_t)v.f_bavail * v.f_frsize;
    *ret_total = (uint64_t)v.f_blocks * v.f_frsize;
    return 0;
}

static const struct io_ops real_ops = {
    .open = real_open,
    .close = real_close,
    .pread = real_pread,
    .pwrite = real_pwrite,
    .fdatasync = real_fdatasync,
    .fsync = real_fsync,
    .ftruncate = real_ftruncate,
    .fallocate = real_fallocate,
    .write_back = real_write_back,
    .read_ahead = real_read_ahead,
    .rename = real_rename,
    .link = real_link,
    .unlink = real_unlink,
    .mkdir = real_mkdir,
    .rmdir = real_rmdir,
    .stat = real_stat,
    .fstat = real_fstat,
    .list = real_list,
    .space = real_space,
};

struct io io_real = {.ops = &real_ops};

/* The wrappers. */

static enum ec io_code(int errnum)
{
    switch (errnum) {
    case ENOSPC:
    case EDQUOT:
        return EC_NOSPACE;
    case ENOENT:
        return EC_NOT_FOUND;
    default:
        return EC_IO;
    }
}

#define FAIL_PATH(err, verb, site, path)                                            \
    ({                                                                              \
        int errnum_ = errno;                                                        \
        ERR_ERRNO((err), io_code(errnum_), errnum_, "%s: " verb " %s", site, path); \
    })
#define FAIL_FD(err, verb, site, fd)                                                   \
    ({                                                                                 \
        int errnum_ = errno;                                                           \
        ERR_ERRNO((err), io_code(errnum_), errnum_, "%s: " verb " fd %d", site, (fd)); \
    })
/* Evaluates the call again while it is interrupted. */
#define RETRY_EINTR(r, call)                              \
    do {                                                  \
        int left_ = IO_RETRIES_MAX;                       \
        do                                                \
            (r) = (call);                                 \
        while ((r) < 0 && errno == EINTR && left_-- > 0); \
    } while (0)

enum ec io_open(struct io *io, const char *site, const char *path, int flags, unsigned mode,
    int *ret_fd, struct err *err)
{
    int fd;
    RETRY_EINTR(fd, io->ops->open(io->ctx, site, path, flags, mode));
    if (fd < 0)
        return FAIL_PATH(err, "open", site, path);
    *ret_fd = fd;
    return EC_OK;
}

enum ec io_close(struct io *io, const char *site, int fd, struct err *err)
{
    /* Linux releases the descriptor even when close is interrupted: a repeat could close a
     * descriptor that another thread was given meanwhile. */
    if (io->ops->close(io->ctx, site, fd) != 0 && errno != EINTR)
        return FAIL_FD(err, "close", site, fd);
    return EC_OK;
}

enum ec io_pread(
    struct io *io, const char *site, int fd, void *p, size_t n, uint64_t off, struct err *err)
{
    uint8_t *at = p;
    if (off > INT64_MAX || n > INT64_MAX - off)
        return ERR(err, EC_CORRUPT, "%s: read of %zu bytes at %llu is past any file", site, n,
            (unsigned long long)off);
    while (n > 0) {
        ssize_t r;
        RETRY_EINTR(r, io->ops->pread(io->ctx, site, fd, at, MIN(n, IO_TRANSFER_MAX), off));
        if (r < 0)
            return FAIL_FD(err, "read", site, fd);
        if (r == 0)
            return ERR(err, EC_CORRUPT, "%s: short file: %zu bytes missing at offset %llu", site, n,
                (unsigned long long)off);
        ASSERT((size_t)r <= n);
        at += r;
        n -= (size_t)r;
        off += (uint64_t)r;
    }
    return EC_OK;
}

enum ec io_pwrite(
    struct io *io, const char *site, int fd, const void *p, size_t n, uint64_t off, struct err *err)
{
    const uint8_t *at = p;
    int stalls = 0;
    if (off > INT64_MAX || n > INT64_MAX - off)
        return ERR(err, EC_IO, "%s: write of %zu bytes at %llu is past any file", site, n,
            (unsigned long long)off);
    while (n > 0) {
        ssize_t r;
        RETRY_EINTR(r, io->ops->pwrite(io->ctx, site, fd, at, MIN(n, IO_TRANSFER_MAX), off));
        if (r < 0)
            return FAIL_FD(err, "write", site, fd);
        if (r == 0) {
            if (++stalls == IO_STALLS_MAX)
                return ERR_ERRNO(err, EC_IO, EIO, "%s: write fd %d: no progress", site, fd);
            continue;
        }
        ASSERT((size_t)r <= n);
        stalls = 0;
        at += r;
        n -= (size_t)r;
        off += (uint64_t)r;
    }
    return EC_OK;
}

enum ec io_fdatasync(struct io *io, const char *site, int fd, struct err *err)
{
    int r;
    RETRY_EINTR(r, io->ops->fdatasync(io->ctx, site, fd));
    return r == 0 ? EC_OK : FAIL_FD(err, "fdatasync", site, fd);
}

enum ec io_fsync(struct io *io, const char *site, int fd, struct err *err)
{
    int r;
    RETRY_EINTR(r, io->ops->fsync(io->ctx, site, fd));
    return r == 0 ? EC_OK : FAIL_FD(err, "fsync", site, fd);
}

enum ec io_ftruncate(struct io *io, const char *site, int fd, uint64_t size, struct err *err)
{
    int r;
    if (size > INT64_MAX)
        return ERR(err, EC_IO, "%s: truncate to %llu bytes is past any file", site,
            (unsigned long long)size);
    RETRY_EINTR(r, io->ops->ftruncate(io->ctx, site, fd, size));
    return r == 0 ? EC_OK : FAIL_FD(err, "truncate", site, fd);
}

enum ec io_fallocate(
    struct io *io, const char *site, int fd, uint64_t off, uint64_t n, struct err *err)
{
    int r;
    if (n == 0)
        return EC_OK;
    if (off > INT64_MAX || n > INT64_MAX - off)
        return ERR(err, EC_IO, "%s: allocation of %llu bytes is past any file", site,
            (unsigned long long)n);
    RETRY_EINTR(r, io->ops->fallocate(io->ctx, site, fd, off, n));
    return r == 0 ? EC_OK : FAIL_FD(err, "allocate", site, fd);
}

void io_read_ahead(struct io *io, int fd, uint64_t off, uint64_t n)
{
    if (io->ops->read_ahead != NULL)
        io->ops->read_ahead(io->ctx, fd, off, n);
}

enum ec io_write_back(
    struct io *io, const char *site, int fd, uint64_t off, uint64_t n, struct err *err)
{
    int r;
    if (n == 0 || off > INT64_MAX || n > INT64_MAX - off)
        return EC_OK; /* for the kernel 0 means to the end of the file */
    RETRY_EINTR(r, io->ops->write_back(io->ctx, site, fd, off, n));
    return r == 0 ? EC_OK : FAIL_FD(err, "write back", site, fd);
}

enum ec io_rename(
    struct io *io, const char *site, const char *from, const char *to, struct err *err)
{
    if (io->ops->rename(io->ctx, site, from, to) != 0) {
        int errnum = errno;
        return ERR_ERRNO(err, io_code(errnum), errnum, "%s: rename %s to %s", site, from, to);
    }
    return EC_OK;
}

enum ec io_link(struct io *io, const char *site, const char *from, const char *to, bool *ret_linked,
    struct err *err)
{
    *ret_linked = io->ops->link != NULL && io->ops->link(io->ctx, site, from, to) == 0;
    if (*ret_linked || io->ops->link == NULL)
        return EC_OK;
    int errnum = errno;
    if (errnum == EXDEV || errnum == EPERM || errnum == EMLINK || errnum == EOPNOTSUPP)
        return EC_OK;
    return ERR_ERRNO(err, io_code(errnum), errnum, "%s: link %s to %s", site, from, to);
}

enum ec io_unlink(struct io *io, const char *site, const char *path, struct err *err)
{
    if (io->ops->unlink(io->ctx, site, path) != 0)
        return FAIL_PATH(err, "unlink", site, path);
    return EC_OK;
}

enum ec io_mkdir(struct io *io, const char *site, const char *path, struct err *err)
{
    if (io->ops->mkdir(io->ctx, site, path, 0700) == 0)
        return EC_OK;
    int errnum = errno;
    struct io_stat st;
    if (errnum == EEXIST && io->ops->stat(io->ctx, site, path, &st) == 0) {
        if (st.is_dir)
            return EC_OK;
        errnum = ENOTDIR;
    }
    return ERR_ERRNO(err, io_code(errnum), errnum, "%s: mkdir %s", site, path);
}

enum ec io_mkdir_all(struct io *io, const char *site, const char *path, struct err *err)
{
    CLEANUP(freep) char *part = xstrdup(path);
    for (char *at = part + 1; part[0] != 0 && *at != 0; at++) {
        if (*at != '/' || at[-1] == '/')
            continue;
        *at = 0;
        TRY(io_mkdir(io, site, part, err));
        *at = '/';
    }
    return io_mkdir(io, site, path, err);
}

enum ec io_rmdir(struct io *io, const char *site, const char *path, struct err *err)
{
    if (io->ops->rmdir(io->ctx, site, path) != 0)
        return FAIL_PATH(err, "rmdir", site, path);
    return EC_OK;
}

enum ec io_stat(
    struct io *io, const char *site, const char *path, struct io_stat *ret, struct err *err)
{
    struct io_stat st;
    if (io->ops->stat(io->ctx, site, path, &st) != 0)
        return FAIL_PATH(err, "stat", site, path);
    *ret = st;
    return EC_OK;
}

enum ec io_fstat(struct io *io, const char *site, int fd, struct io_stat *ret, struct err *err)
{
    struct io_stat st;
    if (io->ops->fstat(io->ctx, site, fd, &st) != 0)
        return FAIL_FD(err, "stat", site, fd);
    *ret = st;
    return EC_OK;
}

enum ec io_fsync_dir(struct io *io, const char *site, const char *path, struct err *err)
{
    int fd;
    TRY(io_open(io, site, path, O_RDONLY | O_DIRECTORY, 0, &fd, err));
    enum ec ec = io_fsync(io, site, fd, err);
    (void)io_close(io, site, fd, NULL); /* nothing was written through this descriptor */
    return ec;
}

enum ec io_space(struct io *io, const char *site, const char *path, uint64_t *ret_free,
    uint64_t *ret_total, struct err *err)
{
    uint64_t avail, total;
    if (io->ops->space(io->ctx, site, path, &avail, &total) != 0)
        return FAIL_PATH(err, "statfs", site, path);
    *ret_free = avail;
    *ret_total = total;
    return EC_OK;
}

struct name_list {
    VEC(char *) v;
};

static void name_add(void *arg, const char *name)
{
    struct name_list *list = arg;
    VEC_PUSH(&list->v, xstrdup(name));
}

static int name_cmp(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

enum ec io_list(
    struct io *io, const char *site, const char *path, struct io_names *ret, struct err *err)
{
    struct name_list list = {0};
    if (io->ops->list(io->ctx, site, path, name_add, &list) != 0) {
        enum ec ec = FAIL_PATH(err, "list", site, path);
        io_names_free(&(struct io_names){list.v.p, list.v.n});
        return ec;
    }
    if (list.v.n > 1)
        qsort(list.v.p, list.v.n, sizeof(list.v.p[0]), name_cmp);
    *ret = (struct io_names){list.v.p, list.v.n};
    return EC_OK;
}

void io_names_free(struct io_names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->p[i]);
    free(names->p);
    *names = (struct io_names){0};
}

static enum ec remove_tree(
    struct io *io, const char *site, const char *path, unsigned depth, struct err *err)
{
    CLEANUP(io_names_free) struct io_names names = {0};

    if (depth > IO_TREE_DEPTH)
        return ERR(err, EC_IO, "%s: %s: deeper than %d folders", site, path, IO_TREE_DEPTH);
    TRY(io_list(io, site, path, &names, err));
    for (size_t i = 0; i < names.n; i++) {
        CLEANUP(freep) char *sub = NULL;
        if (asprintf(&sub, "%s/%s", path, names.p[i]) < 0)
            return ERR(err, EC_LIMIT, "%s: out of memory", site);
        /* Unlink first and ask what it was later: a link is removed, never followed. */
        if (io->ops->unlink(io->ctx, site, sub) == 0)
            continue;
        if (errno != EISDIR)
            return FAIL_PATH(err, "unlink", site, sub);
        TRY(remove_tree(io, site, sub, depth + 1, err));
    }
    return io_rmdir(io, site, path, err);
}

enum ec io_remove_tree(struct io *io, const char *site, const char *path, struct err *err)
{
    return remove_tree(io, site, path, 0, err);
}
