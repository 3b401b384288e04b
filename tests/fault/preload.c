/* SPDX-License-Identifier: Apache-2.0
 * See preload.h. The path of a descriptor is asked from /proc while a plan is set and never kept,
 * so nothing goes stale when the program closes and opens.
 *
 * WHY both names of each function: a library is built with or without 64-bit offsets. On 64-bit
 * Linux both are the same function. */
#undef _FILE_OFFSET_BITS /* else <fcntl.h> renames open to open64, and the definitions collide */
#undef _FORTIFY_SOURCE   /* its inline versions as well */
#include "preload.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/errno_table.h"

enum op {
    OP_OPEN,
    OP_PREAD,
    OP_WRITE,
    OP_PWRITE,
    OP_WRITEV,
    OP_PWRITEV,
    OP_FDATASYNC,
    OP_FSYNC,
    OP_MSYNC,
    OP_FTRUNCATE,
    OP_MMAP,
    OP_RENAME,
    OP_THREAD,
    OPS
};
const char *const preload_ops[] = {"open", "pread", "write", "pwrite", "writev", "pwritev",
    "fdatasync", "fsync", "msync", "ftruncate", "mmap", "rename", "thread", NULL};

static struct {
    pthread_mutex_t lock;
    bool active, ever, tell;
    char prefix[PATH_MAX];
    int op; /* -1: any */
    uint64_t nth, seen, fired, calls[OPS];
    int errnum;
} plan = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Read without the lock on every call of the program: most of the time there is nothing to do. */
static _Atomic bool plan_active, skip_syncs;

static int op_of(const char *name)
{
    for (int i = 0; i < OPS; i++)
        if (strcmp(preload_ops[i], name) == 0)
            return i;
    return -1;
}

void preload_fail(const char *prefix, const char *op, uint64_t nth, int errnum, bool ever)
{
    pthread_mutex_lock(&plan.lock);
    snprintf(plan.prefix, sizeof(plan.prefix), "%s", prefix);
    plan.op = op == NULL ? -1 : op_of(op);
    plan.nth = nth;
    plan.errnum = errnum;
    plan.ever = ever;
    plan.active = true;
    plan.seen = plan.fired = 0;
    memset(plan.calls, 0, sizeof(plan.calls));
    plan_active = true;
    pthread_mutex_unlock(&plan.lock);
}

void preload_stop(void)
{
    pthread_mutex_lock(&plan.lock);
    plan.active = false;
    plan_active = false;
    pthread_mutex_unlock(&plan.lock);
}

uint64_t preload_fired(void)
{
    pthread_mutex_lock(&plan.lock);
    uint64_t n = plan.fired;
    pthread_mutex_unlock(&plan.lock);
    return n;
}

uint64_t preload_calls(const char *op)
{
    uint64_t n = 0;
    pthread_mutex_lock(&plan.lock);
    for (int i = 0; i < OPS; i++)
        if (op == NULL || strcmp(preload_ops[i], op) == 0)
            n += plan.calls[i];
    pthread_mutex_unlock(&plan.lock);
    return n;
}

void preload_skip_syncs(void)
{
    skip_syncs = true;
}

/* 0, an errno, or PRELOAD_SHORT. */
static int hit_path(enum op op, const char *path)
{
    int errnum = 0, saved = errno;
    pthread_mutex_lock(&plan.lock);
    if (plan.active && strncmp(path, plan.prefix, strlen(plan.prefix)) == 0) {
        plan.calls[op]++;
        if (plan.op < 0 || plan.op == (int)op) {
            plan.seen++;
            if (plan.seen == plan.nth || (plan.ever && plan.seen > plan.nth))
                errnum = plan.errnum;
        }
        if (errnum != 0 && plan.fired++ == 0 && plan.tell)
            fprintf(stderr, "level=warn msg=\"fault injected\" library=1 op=%s path=%s errno=%d\n",
                preload_ops[op], path, errnum);
    }
    pthread_mutex_unlock(&plan.lock);
    errno = saved;
    return errnum;
}

static int hit_fd(enum op op, int fd)
{
    char link[32], path[PATH_MAX];
    if (!plan_active || fd < 0)
        return 0;
    int saved = errno;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    errno = saved;
    if (n <= 0)
        return 0;
    path[n] = 0;
    return hit_path(op, path);
}

/* Environment. */

static void __attribute__((noreturn)) malformed(const char *text)
{
    fprintf(stderr, "malformed VIVACE_PRELOAD: %s\n", text);
    abort();
}

static int errno_of(const char *name)
{
    static const struct {
        const char *name;
        int errnum;
    } known[] = {
#define X(name) {#name, name},
        ERRNO_TABLE(X)
#undef X
            {"SHORT", PRELOAD_SHORT}};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(known[i].name, name) == 0)
            return known[i].errnum;
    return 0;
}

static void __attribute__((constructor)) plan_from_environment(void)
{
    const char *env = getenv("VIVACE_PRELOAD");
    char text[PATH_MAX], *part[5] = {0}, *rest = text, *end = NULL;
    if (env == NULL || *env == 0)
        return;
    snprintf(text, sizeof(text), "%s", env);
    for (int i = 0; i < 5; i++)
        part[i] = strsep(&rest, ":");
    if (part[3] == NULL || rest != NULL)
        malformed(env);
    bool any = strcmp(part[1], "*") == 0;
    uint64_t nth = strtoull(part[2], &end, 10);
    bool once = part[4] == NULL || strcmp(part[4], "once") == 0;
    if ((!any && op_of(part[1]) < 0) || *end != 0 || nth == 0 || errno_of(part[3]) == 0 ||
        (!once && strcmp(part[4], "ever") != 0))
        malformed(env);
    plan.tell = true;
    preload_fail(part[0], any ? NULL : part[1], nth, errno_of(part[3]), !once);
}

/* The functions. */

#define NEXT(name)                                                         \
    ({                                                                     \
        static __typeof__(&name) next_;                                    \
        if (next_ == NULL)                                                 \
            next_ = (__typeof__(&name))(uintptr_t)dlsym(RTLD_NEXT, #name); \
        next_;                                                             \
    })

/* Fails here, or asks libc. */
#define PASS(hit, failed, call) \
    do {                        \
        int hit_ = (hit);       \
        if (hit_ > 0) {         \
            errno = hit_;       \
            return failed;      \
        }                       \
        return call;            \
    } while (0)

/* The same, for a call that moves `n` bytes. */
#define PASS_SHORT(hit, n, call)            \
    do {                                    \
        int hit_ = (hit);                   \
        if (hit_ > 0) {                     \
            errno = hit_;                   \
            return -1;                      \
        }                                   \
        if (hit_ == PRELOAD_SHORT && n > 1) \
            n /= 2;                         \
        return call;                        \
    } while (0)

static int hit_open(const char *path)
{
    char full[PATH_MAX];
    if (!plan_active)
        return 0;
    int saved = errno; /* a file that is to be made has no real path yet: it counts as named */
    const char *name = realpath(path, full) != NULL ? full : path;
    errno = saved;
    return hit_path(OP_OPEN, name);
}

#define OPEN(name)                                                        \
    int name(const char *path, int flags, ...)                            \
    {                                                                     \
        mode_t mode = 0;                                                  \
        if ((flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE) { \
            va_list ap;                                                   \
            va_start(ap, flags);                                          \
            mode = va_arg(ap, mode_t);                                    \
            va_end(ap);                                                   \
        }                                                                 \
        PASS(hit_open(path), -1, NEXT(name)(path, flags, mode));          \
    }
OPEN(open)
OPEN(open64)

#define PREAD(name)                                                     \
    ssize_t name(int fd, void *p, size_t n, off_t off)                  \
    {                                                                   \
        PASS_SHORT(hit_fd(OP_PREAD, fd), n, NEXT(name)(fd, p, n, off)); \
    }
PREAD(pread)
PREAD(pread64)

#define PWRITE(name)                                                     \
    ssize_t name(int fd, const void *p, size_t n, off_t off)             \
    {                                                                    \
        PASS_SHORT(hit_fd(OP_PWRITE, fd), n, NEXT(name)(fd, p, n, off)); \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

ssize_t write(int fd, const void *p, size_t n)
{
    PASS_SHORT(hit_fd(OP_WRITE, fd), n, NEXT(write)(fd, p, n));
}

/* Short: the first buffer only. */
ssize_t writev(int fd, const struct iovec *v, int n)
{
    PASS_SHORT(hit_fd(OP_WRITEV, fd), n, NEXT(writev)(fd, v, n));
}

#define PWRITEV(name)                                                     \
    ssize_t name(int fd, const struct iovec *v, int n, off_t off)         \
    {                                                                     \
        PASS_SHORT(hit_fd(OP_PWRITEV, fd), n, NEXT(name)(fd, v, n, off)); \
    }
PWRITEV(pwritev)
PWRITEV(pwritev64)

int fdatasync(int fd)
{
    PASS(hit_fd(OP_FDATASYNC, fd), -1, skip_syncs ? 0 : NEXT(fdatasync)(fd));
}

int fsync(int fd)
{
    PASS(hit_fd(OP_FSYNC, fd), -1, skip_syncs ? 0 : NEXT(fsync)(fd));
}

/* An address has no path: with a plan for it every msync of the program counts. */
int msync(void *p, size_t n, int flags)
{
    PASS(plan_active ? hit_path(OP_MSYNC, plan.prefix) : 0, -1,
        skip_syncs ? 0 : NEXT(msync)(p, n, flags));
}

#define FTRUNCATE(name)                                           \
    int name(int fd, off_t size)                                  \
    {                                                             \
        PASS(hit_fd(OP_FTRUNCATE, fd), -1, NEXT(name)(fd, size)); \
    }
FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

#define MMAP(name)                                                                      \
    void *name(void *at, size_t n, int prot, int flags, int fd, off_t off)              \
    {                                                                                   \
        PASS(hit_fd(OP_MMAP, fd), MAP_FAILED, NEXT(name)(at, n, prot, flags, fd, off)); \
    }
MMAP(mmap)
MMAP(mmap64)

int rename(const char *from, const char *to)
{
    PASS(plan_active ? hit_path(OP_RENAME, from) : 0, -1, NEXT(rename)(from, to));
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *arg), void *arg)
{
    int hit = plan_active ? hit_path(OP_THREAD, plan.prefix) : 0;
    return hit > 0 ? hit : NEXT(pthread_create)(thread, attr, fn, arg);
}
