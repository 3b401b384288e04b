/* SPDX-License-Identifier: Apache-2.0
 * Recording and faulting I/O table for unit tests. One lock guards plans and records; it is not
 * held during the real call.
 */
#include "fault_io.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/hash.h"

struct plan {
    char *site, *op; /* NULL: any */
    uint64_t nth, n_seen;
    int errnum;
    bool ever;
};

struct fault_io {
    struct io io, *below;
    pthread_mutex_t lock;
    VEC(struct plan) plans;
    VEC(struct fault_io_call) calls;
    _Atomic uint64_t fired, fired_first;
};

/* What the wrapped operation has to do: 0, an errno, or one of the FAULT_IO_ codes. */
static int plan_hit(struct fault_io *f, const char *site, const char *op)
{
    int errnum = 0;
    bool first = false;
    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < f->plans.n; i++) {
        struct plan *p = &f->plans.p[i];
        if ((p->site != NULL && strcmp(p->site, site) != 0) ||
            (p->op != NULL && strcmp(p->op, op) != 0))
            continue;
        p->n_seen++;
        if (p->n_seen == p->nth || (p->ever && p->n_seen > p->nth)) {
            errnum = p->errnum;
            first = first || i == 0;
        }
    }
    pthread_mutex_unlock(&f->lock);
    if (errnum != 0)
        atomic_fetch_add(&f->fired, 1);
    if (first)
        atomic_fetch_add(&f->fired_first, 1);
    return errnum;
}

static void record(struct fault_io *f, const char *site, const char *op, int fd, const char *path,
    int errnum, int planned)
{
    struct fault_io_call call = {
        .site = site,
        .op = op,
        .fd = fd,
        .path = path == NULL ? NULL : xstrdup(path),
        .errnum = errnum,
        .planned = planned,
    };
    pthread_mutex_lock(&f->lock);
    VEC_PUSH(&f->calls, call);
    pthread_mutex_unlock(&f->lock);
}

/* One wrapped operation: fail by plan or call below, record what the caller sees. `hit` and `below`
 * are visible to `call`. */
#define WRAP(ret_type, op, fd, path, call)                              \
    do {                                                                \
        struct fault_io *f_ = ctx;                                      \
        const struct io *below = f_->below;                             \
        int hit = plan_hit(f_, site, #op);                              \
        ret_type r_ = -1;                                               \
        if (hit > 0)                                                    \
            errno = hit;                                                \
        else                                                            \
            r_ = below->ops->op call;                                   \
        int errnum_ = errno;                                            \
        record(f_, site, #op, (fd), (path), r_ < 0 ? errnum_ : 0, hit); \
        errno = errnum_;                                                \
        return r_;                                                      \
    } while (0)

static int fault_open(void *ctx, const char *site, const char *path, int flags, unsigned mode)
{
    WRAP(int, open, -1, path, (below->ctx, site, path, flags, mode));
}

static int fault_close(void *ctx, const char *site, int fd)
{
    struct fault_io *f = ctx;
    int hit = plan_hit(f, site, "close");
    /* Before it happens: afterwards another thread may be given the same number. */
    record(f, site, "close", fd, NULL, hit > 0 ? hit : 0, hit);
    int r = f->below->ops->close(f->below->ctx, site, fd), errnum = errno;
    if (hit > 0)
        r = -1, errnum = hit;
    errno = errnum;
    return r;
}

#define SECTOR_BYTES ((size_t)512)

static size_t shortened(int hit, size_t n)
{
    return hit == FAULT_IO_SHORT && n > 1 ? n / 2 : n;
}

/* One byte that is not zero. */
static void damage_one(uint8_t *p, size_t n, uint64_t random)
{
    size_t full = 0, at = 0;
    for (size_t i = 0; i < n; i++)
        full += p[i] != 0;
    for (uint64_t left = full == 0 ? 0 : random % full + 1; left > 0; at++)
        left -= p[at] != 0;
    p[at - (at > 0)] ^= 0x10;
}

/* One in each sector: a read brings more than is looked at. */
static void damage(uint8_t *p, size_t n, uint64_t random)
{
    for (size_t at = 0; at < n; at += SECTOR_BYTES)
        damage_one(p + at, MIN(n - at, SECTOR_BYTES), hash_mix(random + at));
}

static ssize_t pread_below(
    const struct io *below, const char *site, int fd, void *p, size_t n, uint64_t off, int hit)
{
    ssize_t r = below->ops->pread(below->ctx, site, fd, p, shortened(hit, n), off);
    if (hit == FAULT_IO_FLIP && r > 0)
        *(uint8_t *)p ^= 0x10;
    if (hit == FAULT_IO_DAMAGE && r > 0)
        damage(p, (size_t)r, hash_mix(off + n));
    return r;
}

static ssize_t fault_pread(void *ctx, const char *site, int fd, void *p, size_t n, uint64_t off)
{
    struct fault_io *f = ctx;
    int hit = plan_hit(f, site, "pread");
    ssize_t r = -1;
    if (hit > 0)
        errno = hit;
    else
        r = pread_below(f->below, site, fd, p, n, off, hit);
    int errnum = errno;
    record(f, site, "pread", fd, NULL, r < 0 ? errnum : 0, hit);
    errno = errnum;
    return r;
}

static ssize_t fault_pwrite(
    void *ctx, const char *site, int fd, const void *p, size_t n, uint64_t off)
{
    WRAP(ssize_t, pwrite, fd, NULL, (below->ctx, site, fd, p, shortened(hit, n), off));
}

static int fault_fdatasync(void *ctx, const char *site, int fd)
{
    WRAP(int, fdatasync, fd, NULL, (below->ctx, site, fd));
}

static int fault_fsync(void *ctx, const char *site, int fd)
{
    WRAP(int, fsync, fd, NULL, (below->ctx, site, fd));
}

static int fault_ftruncate(void *ctx, const char *site, int fd, uint64_t size)
{
    WRAP(int, ftruncate, fd, NULL, (below->ctx, site, fd, size));
}

static int fault_fallocate(void *ctx, const char *site, int fd, uint64_t off, uint64_t n)
{
    WRAP(int, fallocate, fd, NULL, (below->ctx, site, fd, off, n));
}

static int fault_write_back(void *ctx, const char *site, int fd, uint64_t off, uint64_t n)
{
    WRAP(int, write_back, fd, NULL, (below->ctx, site, fd, off, n));
}

static int fault_rename(void *ctx, const char *site, const char *from, const char *to)
{
    WRAP(int, rename, -1, from, (below->ctx, site, from, to));
}

static int fault_link(void *ctx, const char *site, const char *from, const char *to)
{
    WRAP(int, link, -1, from, (below->ctx, site, from, to));
}

static int fault_unlink(void *ctx, const char *site, const char *path)
{
    WRAP(int, unlink, -1, path, (below->ctx, site, path));
}

static int fault_mkdir(void *ctx, const char *site, const char *path, unsigned mode)
{
    WRAP(int, mkdir, -1, path, (below->ctx, site, path, mode));
}

static int fault_rmdir(void *ctx, const char *site, const char *path)
{
    WRAP(int, rmdir, -1, path, (below->ctx, site, path));
}

static int fault_stat(void *ctx, const char *site, const char *path, struct io_stat *ret)
{
    WRAP(int, stat, -1, path, (below->ctx, site, path, ret));
}

static int fault_fstat(void *ctx, const char *site, int fd, struct io_stat *ret)
{
    WRAP(int, fstat, fd, NULL, (below->ctx, site, fd, ret));
}

static int fault_list(void *ctx, const char *site, const char *path,
    void (*each)(void *arg, const char *name), void *arg)
{
    WRAP(int, list, -1, path, (below->ctx, site, path, each, arg));
}

static int fault_space(
    void *ctx, const char *site, const char *path, uint64_t *ret_free, uint64_t *ret_total)
{
    WRAP(int, space, -1, path, (below->ctx, site, path, ret_free, ret_total));
}

static const struct io_ops fault_ops = {
    .open = fault_open,
    .close = fault_close,
    .pread = fault_pread,
    .pwrite = fault_pwrite,
    .fdatasync = fault_fdatasync,
    .fsync = fault_fsync,
    .ftruncate = fault_ftruncate,
    .fallocate = fault_fallocate,
    .write_back = fault_write_back,
    .rename = fault_rename,
    .link = fault_link,
    .unlink = fault_unlink,
    .mkdir = fault_mkdir,
    .rmdir = fault_rmdir,
    .stat = fault_stat,
    .fstat = fault_fstat,
    .list = fault_list,
    .space = fault_space,
};

struct fault_io *fault_io_new(struct io *below)
{
    struct fault_io *f = xcalloc(1, sizeof(*f));
    f->io = (struct io){.ops = &fault_ops, .ctx = f};
    f->below = below == NULL ? &io_real : below;
    pthread_mutex_init(&f->lock, NULL);
    return f;
}

void fault_io_free(struct fault_io *f)
{
    if (f == NULL)
        return;
    fault_io_clear(f);
    VEC_FREE(&f->plans);
    VEC_FREE(&f->calls);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

struct io *fault_io_io(struct fault_io *f)
{
    return &f->io;
}

void fault_io_fail(
    struct fault_io *f, const char *site, const char *op, uint64_t nth, int errnum, bool ever)
{
    struct plan p = {
        .site = site == NULL ? NULL : xstrdup(site),
        .op = op == NULL ? NULL : xstrdup(op),
        .nth = nth,
        .errnum = errnum,
        .ever = ever,
    };
    ASSERT(nth > 0);
    pthread_mutex_lock(&f->lock);
    VEC_PUSH(&f->plans, p);
    pthread_mutex_unlock(&f->lock);
}

static void plans_forget(struct fault_io *f)
{
    for (size_t i = 0; i < f->plans.n; i++) {
        free(f->plans.p[i].site);
        free(f->plans.p[i].op);
    }
    f->plans.n = 0;
}

void fault_io_stop(struct fault_io *f)
{
    pthread_mutex_lock(&f->lock);
    plans_forget(f);
    pthread_mutex_unlock(&f->lock);
}

void fault_io_clear(struct fault_io *f)
{
    pthread_mutex_lock(&f->lock);
    plans_forget(f);
    for (size_t i = 0; i < f->calls.n; i++)
        free(f->calls.p[i].path);
    f->calls.n = 0;
    atomic_store(&f->fired, 0);
    atomic_store(&f->fired_first, 0);
    pthread_mutex_unlock(&f->lock);
}

uint64_t fault_io_fired(const struct fault_io *f)
{
    return atomic_load(&f->fired);
}

uint64_t fault_io_fired_first(const struct fault_io *f)
{
    return atomic_load(&f->fired_first);
}

uint64_t fault_io_calls(struct fault_io *f, const char *site, const char *op)
{
    uint64_t n = 0;
    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < f->calls.n; i++)
        n += (site == NULL || strcmp(f->calls.p[i].site, site) == 0) &&
             (op == NULL || strcmp(f->calls.p[i].op, op) == 0);
    pthread_mutex_unlock(&f->lock);
    return n;
}

bool fault_io_call_at(struct fault_io *f, size_t i, struct fault_io_call *ret)
{
    pthread_mutex_lock(&f->lock);
    bool found = i < f->calls.n;
    if (found)
        *ret = f->calls.p[i];
    pthread_mutex_unlock(&f->lock);
    return found;
}
