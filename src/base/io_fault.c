/* SPDX-License-Identifier: Apache-2.0
 * I/O faults and kill points from the environment, for the fault and crash suites. Release builds
 * contain only the function that returns the real table.
 *
 *   VIVACE_FAULT="wal.append:pwrite:3:ENOSPC:ever,block.rename:rename:1:EIO"
 *   CRASH_AT="block.renamed:3"
 *
 * A kill point is hit after the call at its site; io_kill_point makes one where no call is.
 * `*` stands for every site or every operation. The count of a plan runs over the calls that match
 * it. `errno` is a name or a number; SHORT makes one transfer move half of its bytes (at least
 * one). A malformed plan stops the program: a fault run that injects nothing would prove nothing.
 * When a plan fires, one line goes to stderr, so that a failure can be explained.
 */
#include "base/io.h"

#ifndef VIVACE_FAULT_POINTS

struct io *io_from_environment(void)
{
    return &io_real;
}

#else

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/errno_table.h"

#define ERRNO_SHORT (-1)

#define OP_TABLE(X) \
    X(open)         \
    X(close)        \
    X(pread)        \
    X(pwrite)       \
    X(fdatasync)    \
    X(fsync)        \
    X(ftruncate)    \
    X(fallocate)    \
    X(write_back)   \
    X(rename)       \
    X(link)         \
    X(unlink)       \
    X(mkdir)        \
    X(rmdir)        \
    X(stat)         \
    X(fstat)        \
    X(list)         \
    X(space)

struct fault {
    char *site, *op; /* NULL: any */
    uint64_t nth;
    int errnum;
    bool ever;
    _Atomic uint64_t n_calls;
};

struct kill_point {
    char *site;
    uint64_t nth;
    _Atomic uint64_t n_calls;
};

/* Written once before the first call, then read only (the counts are atomic). */
static VEC(struct fault *) faults;
static VEC(struct kill_point *) kill_points;

NORETURN static void plan_invalid(const char *what, struct str part)
{
    fprintf(stderr, "level=error msg=\"malformed %s\" part=\"" STR_FMT "\"\n", what, STR_ARG(part));
    abort();
}

static const struct {
    const char *name;
    int errnum;
} errnos[] = {
#define X(name) {#name, name},
    ERRNO_TABLE(X)
#undef X
        {"SHORT", ERRNO_SHORT},
};

static int errno_parse(struct str s)
{
    uint64_t v;
    for (size_t i = 0; i < ARRAY_LEN(errnos); i++)
        if (str_eqz(s, errnos[i].name))
            return errnos[i].errnum;
    if (!str_to_u64(s, &v) || v == 0 || v > 4095)
        plan_invalid("errno in VIVACE_FAULT", s);
    return (int)v;
}

static char *name_or_any(struct str s)
{
    return str_eqz(s, "*") ? NULL : xstrndup(s.p, s.n);
}

static bool op_known(struct str s)
{
#define X(name)            \
    if (str_eqz(s, #name)) \
        return true;
    OP_TABLE(X)
#undef X
    return str_eqz(s, "*");
}

static void fault_parse(struct str part)
{
    struct str rest = part;
    struct str site = str_cut(rest, ':', &rest), op = str_cut(rest, ':', &rest);
    struct str nth = str_cut(rest, ':', &rest), num = str_cut(rest, ':', &rest);
    struct fault *f = xcalloc(1, sizeof(*f));

    if (site.n == 0 || !op_known(op) || !str_to_u64(nth, &f->nth) || f->nth == 0)
        plan_invalid("VIVACE_FAULT", part);
    if (rest.n != 0 && !str_eqz(rest, "once") && !str_eqz(rest, "ever"))
        plan_invalid("VIVACE_FAULT", part);
    f->site = name_or_any(site);
    f->op = name_or_any(op);
    f->errnum = errno_parse(num);
    f->ever = str_eqz(rest, "ever");
    VEC_PUSH(&faults, f);
}

static void kill_parse(struct str part)
{
    struct str nth, site = str_cut(part, ':', &nth);
    struct kill_point *k = xcalloc(1, sizeof(*k));

    k->nth = 1;
    if (site.n == 0 || (nth.n != 0 && (!str_to_u64(nth, &k->nth) || k->nth == 0)))
        plan_invalid("CRASH_AT", part);
    k->site = xstrndup(site.p, site.n);
    VEC_PUSH(&kill_points, k);
}

static void plan_parse(const char *env, void (*one)(struct str part))
{
    const char *value = getenv(env);
    struct str rest = str_from(value);
    while (rest.n != 0) {
        struct str part = str_trim(str_cut(rest, ',', &rest));
        if (part.n != 0)
            one(part);
    }
}

/* The errno that this call must fail with, ERRNO_SHORT, or 0. Every matching plan counts the
 * call. */
static int fault_hit(const char *site, const char *op)
{
    int errnum = 0;
    for (size_t i = 0; i < faults.n; i++) {
        struct fault *f = faults.p[i];
        if ((f->site != NULL && strcmp(f->site, site) != 0) ||
            (f->op != NULL && strcmp(f->op, op) != 0))
            continue;
        uint64_t n = atomic_fetch_add_explicit(&f->n_calls, 1, memory_order_relaxed) + 1;
        if (n == f->nth || (f->ever && n > f->nth))
            errnum = f->errnum;
        if (n == f->nth)
            fprintf(stderr, "level=warn msg=\"fault injected\" site=%s op=%s nth=%llu errno=%d\n",
                site, op, (unsigned long long)n, f->errnum);
    }
    return errnum;
}

static void kill_check(const char *site)
{
    for (size_t i = 0; i < kill_points.n; i++) {
        struct kill_point *k = kill_points.p[i];
        if (strcmp(k->site, site) == 0 &&
            atomic_fetch_add_explicit(&k->n_calls, 1, memory_order_relaxed) + 1 == k->nth) {
            char line[128];
            int n = snprintf(line, sizeof(line),
                "level=warn msg=\"killed at a point\" site=%s nth=%llu\n", site,
                (unsigned long long)k->nth);
            ssize_t told = write(STDERR_FILENO, line, (size_t)n);
            (void)told; /* the end comes anyway */
            kill(getpid(), SIGKILL);
            for (;;)
                pause();
        }
    }
}

/* One wrapped operation: fail by plan or call, then die by plan. */
#define WRAP(ret_type, op, call)         \
    do {                                 \
        (void)ctx;                       \
        int hit_ = fault_hit(site, #op); \
        ret_type r_ = -1;                \
        if (hit_ > 0)                    \
            errno = hit_;                \
        else                             \
            r_ = io_real.ops->call;      \
        int saved_ = errno;              \
        kill_check(site);                \
        errno = saved_;                  \
        return r_;                       \
    } while (0)

static int fault_open(void *ctx, const char *site, const char *path, int flags, unsigned mode)
{
    WRAP(int, open, open(NULL, site, path, flags, mode));
}

/* A close that fails has closed: the descriptor must not leak into the rest of the run. */
static int fault_close(void *ctx, const char *site, int fd)
{
    (void)ctx;
    int hit = fault_hit(site, "close");
    int r = io_real.ops->close(NULL, site, fd);
    int saved = errno;
    kill_check(site);
    errno = hit > 0 ? hit : saved;
    return hit > 0 ? -1 : r;
}

static ssize_t fault_pread(void *ctx, const char *site, int fd, void *p, size_t n, uint64_t off)
{
    WRAP(ssize_t, pread, pread(NULL, site, fd, p, hit_ < 0 && n > 1 ? n / 2 : n, off));
}

static ssize_t fault_pwrite(
    void *ctx, const char *site, int fd, const void *p, size_t n, uint64_t off)
{
    WRAP(ssize_t, pwrite, pwrite(NULL, site, fd, p, hit_ < 0 && n > 1 ? n / 2 : n, off));
}

static int fault_fdatasync(void *ctx, const char *site, int fd)
{
    WRAP(int, fdatasync, fdatasync(NULL, site, fd));
}

static int fault_fsync(void *ctx, const char *site, int fd)
{
    WRAP(int, fsync, fsync(NULL, site, fd));
}

static int fault_ftruncate(void *ctx, const char *site, int fd, uint64_t size)
{
    WRAP(int, ftruncate, ftruncate(NULL, site, fd, size));
}

static int fault_fallocate(void *ctx, const char *site, int fd, uint64_t off, uint64_t n)
{
    WRAP(int, fallocate, fallocate(NULL, site, fd, off, n));
}

static int fault_write_back(void *ctx, const char *site, int fd, uint64_t off, uint64_t n)
{
    WRAP(int, write_back, write_back(NULL, site, fd, off, n));
}

static int fault_rename(void *ctx, const char *site, const char *from, const char *to)
{
    WRAP(int, rename, rename(NULL, site, from, to));
}

static int fault_link(void *ctx, const char *site, const char *from, const char *to)
{
    WRAP(int, link, link(NULL, site, from, to));
}

static int fault_unlink(void *ctx, const char *site, const char *path)
{
    WRAP(int, unlink, unlink(NULL, site, path));
}

static int fault_mkdir(void *ctx, const char *site, const char *path, unsigned mode)
{
    WRAP(int, mkdir, mkdir(NULL, site, path, mode));
}

static int fault_rmdir(void *ctx, const char *site, const char *path)
{
    WRAP(int, rmdir, rmdir(NULL, site, path));
}

static int fault_stat(void *ctx, const char *site, const char *path, struct io_stat *ret)
{
    WRAP(int, stat, stat(NULL, site, path, ret));
}

static int fault_fstat(void *ctx, const char *site, int fd, struct io_stat *ret)
{
    WRAP(int, fstat, fstat(NULL, site, fd, ret));
}

static int fault_list(void *ctx, const char *site, const char *path,
    void (*each)(void *arg, const char *name), void *arg)
{
    WRAP(int, list, list(NULL, site, path, each, arg));
}

static int fault_space(
    void *ctx, const char *site, const char *path, uint64_t *ret_free, uint64_t *ret_total)
{
    WRAP(int, space, space(NULL, site, path, ret_free, ret_total));
}

static const struct io_ops fault_ops = {
#define X(name) .name = fault_##name,
    OP_TABLE(X)
#undef X
};

static struct io io_fault = {.ops = &fault_ops};
static pthread_once_t plan_once = PTHREAD_ONCE_INIT;

static void plan_load(void)
{
    plan_parse("VIVACE_FAULT", fault_parse);
    plan_parse("CRASH_AT", kill_parse);
}

void io_kill_point(const char *site)
{
    pthread_once(&plan_once, plan_load);
    kill_check(site);
}

struct io *io_from_environment(void)
{
    pthread_once(&plan_once, plan_load);
    return faults.n == 0 && kill_points.n == 0 ? &io_real : &io_fault;
}

#endif
