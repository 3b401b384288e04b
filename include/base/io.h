/* SPDX-License-Identifier: Apache-2.0
 * The I/O shim: every call on a data file goes through one table, so that tests can replace it by a
 * faulting, recording or simulated one (reliability harnesses H1-H3). Real calls are the default.
 *
 * `site` names the call site ("wal.append", "block.rename"): a static string, unique per purpose;
 * fault plans and kill points refer to it. Functions return EC_OK, EC_NOSPACE (ENOSPC, EDQUOT),
 * EC_NOT_FOUND (ENOENT on open, stat, unlink, opendir) or EC_IO with errno kept in err->errnum.
 * EINTR and short transfers are continued inside; zero progress three times is EC_IO (errno EIO).
 * Paths are NUL-terminated. Files are opened O_CLOEXEC. stat follows links, io_remove_tree does
 * not. Where the file system cannot preallocate, fallocate only sets the size. A failed sync is
 * never repeated. Thread-safe.
 */
#pragma once

#include <sys/types.h>

#include "base/bytes.h"
#include "base/err.h"

struct io_stat {
    uint64_t size;
    uint64_t inode; /* within a file system, and while the file is open: it and no other */
    bool is_dir;
    int64_t mtime_ns;
};

/* The replaceable primitive operations: POSIX semantics, -1 and errno. */
struct io_ops {
    int (*open)(void *ctx, const char *site, const char *path, int flags, unsigned mode);
    int (*close)(void *ctx, const char *site, int fd);
    ssize_t (*pread)(void *ctx, const char *site, int fd, void *p, size_t n, uint64_t off);
    ssize_t (*pwrite)(void *ctx, const char *site, int fd, const void *p, size_t n, uint64_t off);
    int (*fdatasync)(void *ctx, const char *site, int fd);
    int (*fsync)(void *ctx, const char *site, int fd);
    int (*ftruncate)(void *ctx, const char *site, int fd, uint64_t size);
    int (*fallocate)(void *ctx, const char *site, int fd, uint64_t off, uint64_t n);
    int (*write_back)(void *ctx, const char *site, int fd, uint64_t off, uint64_t n);
    /* NULL: nothing happens. */
    void (*read_ahead)(void *ctx, int fd, uint64_t off, uint64_t n);
    int (*rename)(void *ctx, const char *site, const char *from, const char *to);
    /* A second name for a file; NULL: as if it failed with EXDEV. */
    int (*link)(void *ctx, const char *site, const char *from, const char *to);
    int (*unlink)(void *ctx, const char *site, const char *path);
    int (*mkdir)(void *ctx, const char *site, const char *path, unsigned mode);
    int (*rmdir)(void *ctx, const char *site, const char *path);
    int (*stat)(void *ctx, const char *site, const char *path, struct io_stat *ret);
    int (*fstat)(void *ctx, const char *site, int fd, struct io_stat *ret);
    /* Calls each(arg, name) for every entry but "." and ".."; -1 when the directory cannot be
     * read. */
    int (*list)(void *ctx, const char *site, const char *path,
        void (*each)(void *arg, const char *name), void *arg);
    /* Bytes free to us and size of the file system that holds path. */
    int (*space)(
        void *ctx, const char *site, const char *path, uint64_t *ret_free, uint64_t *ret_total);
};

struct io {
    const struct io_ops *ops;
    void *ctx;
};

extern struct io io_real;
/* The shim with faults from the environment (VIVACE_FAULT="site:op:nth:errno[:once|ever]", several
 * separated by ','; op as in io_ops) and kill points (CRASH_AT="site:nth": raise SIGKILL just after
 * the nth call at that site). Only in builds with -Dfault_points=true; otherwise &io_real. */
struct io *io_from_environment(void);
/* A kill point of its own, where a library writes by itself. Nothing in other builds. */
#ifdef VIVACE_FAULT_POINTS
void io_kill_point(const char *site);
#else
static inline void io_kill_point(const char *site)
{
    (void)site;
}
#endif

enum ec io_open(struct io *io, const char *site, const char *path, int flags, unsigned mode,
    int *ret_fd, struct err *err) MUST_USE;
enum ec io_close(struct io *io, const char *site, int fd, struct err *err);
/* Whole reads and writes. A read that ends early is EC_CORRUPT ("short file"). */
enum ec io_pread(struct io *io, const char *site, int fd, void *p, size_t n, uint64_t off,
    struct err *err) MUST_USE;
enum ec io_pwrite(struct io *io, const char *site, int fd, const void *p, size_t n, uint64_t off,
    struct err *err) MUST_USE;
enum ec io_fdatasync(struct io *io, const char *site, int fd, struct err *err) MUST_USE;
enum ec io_fsync(struct io *io, const char *site, int fd, struct err *err) MUST_USE;
enum ec io_ftruncate(struct io *io, const char *site, int fd, uint64_t size, struct err *err)
    MUST_USE;
enum ec io_fallocate(
    struct io *io, const char *site, int fd, uint64_t off, uint64_t n, struct err *err) MUST_USE;
/* Has the kernel write these bytes out and waits for the device to take them: long files do not
 * pile up in the page cache, where the sync at their end would keep the device busy and other
 * files' syncs waiting. Makes nothing durable; nothing happens where the kernel cannot do it. An
 * error must be heeded like that of a sync: no later call repeats it. */
enum ec io_write_back(
    struct io *io, const char *site, int fd, uint64_t off, uint64_t n, struct err *err) MUST_USE;
/* Tells the kernel that these bytes will be read soon, and does not wait: an advice, which cannot
 * fail. */
void io_read_ahead(struct io *io, int fd, uint64_t off, uint64_t n);
enum ec io_rename(
    struct io *io, const char *site, const char *from, const char *to, struct err *err) MUST_USE;
/* *ret_linked false with EC_OK: another file system, or one without links. */
enum ec io_link(struct io *io, const char *site, const char *from, const char *to, bool *ret_linked,
    struct err *err) MUST_USE;
enum ec io_unlink(struct io *io, const char *site, const char *path, struct err *err) MUST_USE;
enum ec io_mkdir(struct io *io, const char *site, const char *path, struct err *err)
    MUST_USE; /* exists: EC_OK; 0700 */
enum ec io_mkdir_all(struct io *io, const char *site, const char *path, struct err *err) MUST_USE;
enum ec io_rmdir(struct io *io, const char *site, const char *path, struct err *err) MUST_USE;
enum ec io_stat(struct io *io, const char *site, const char *path, struct io_stat *ret,
    struct err *err) MUST_USE;
enum ec io_fstat(struct io *io, const char *site, int fd, struct io_stat *ret, struct err *err)
    MUST_USE;
enum ec io_fsync_dir(struct io *io, const char *site, const char *path, struct err *err) MUST_USE;
enum ec io_space(struct io *io, const char *site, const char *path, uint64_t *ret_free,
    uint64_t *ret_total, struct err *err) MUST_USE;
/* Names sorted ascending; free with io_names_free. */
struct io_names {
    char **p;
    size_t n;
};
enum ec io_list(struct io *io, const char *site, const char *path, struct io_names *ret,
    struct err *err) MUST_USE;
void io_names_free(struct io_names *names);
/* unlink every file below path, then the directories. For our own .tmp- and .del- trees only. */
enum ec io_remove_tree(struct io *io, const char *site, const char *path, struct err *err) MUST_USE;
