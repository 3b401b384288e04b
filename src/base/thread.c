/* SPDX-License-Identifier: Apache-2.0
 * Time slices and priorities of a thread. */
#include "base/thread.h"

#include <assert.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

/* The kernel takes 0.1 - 100 ms; its own is some 1 - 4 ms. WHY not shorter: at each end of a slice
 * others are looked for. */
#define PROMPT_NS (300 * NS_PER_US)
#define BULK_NS   (20 * NS_PER_MS)
#define NICE_MAX  19

/* Of linux/sched/types.h, which glibc's headers cannot be combined with. */
struct attributes {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns; /* SCHED_OTHER, SCHED_BATCH: the time slice; 0: the kernel's */
    uint64_t deadline_ns, period_ns;
};
static_assert(sizeof(struct attributes) == 48, "the first version of the kernel's");

int thread_nice(void)
{
    return getpriority(PRIO_PROCESS, (id_t)gettid()); /* on Linux it is the thread's */
}

bool thread_set(enum thread_kind kind, int nice)
{
    static const uint64_t slices[] = {PROMPT_NS, 0, BULK_NS};
    const struct attributes a = {.size = sizeof(a),
        .policy = kind == THREAD_BULK ? SCHED_BATCH : SCHED_OTHER,
        .nice = MIN(nice, NICE_MAX),
        .runtime_ns = slices[kind]};
    ASSERT((size_t)kind < ARRAY_LEN(slices));
    if (syscall(SYS_sched_setattr, 0, &a, 0) == 0)
        return true;
    return setpriority(PRIO_PROCESS, (id_t)gettid(), a.nice) == 0;
}

/* The file of each thread stays open: it is read at the begin and the end of every query. */
static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static _Thread_local int own_fd = -1; /* -2: there is none */

static void fd_close(void *arg)
{
    (void)arg;
    if (own_fd >= 0)
        (void)close(own_fd);
    own_fd = -2;
}

static void key_init(void)
{
    ASSERT(pthread_key_create(&key, fd_close) == 0);
}

static int stat_fd(void)
{
    if (own_fd == -1) {
        pthread_once(&once, key_init);
        own_fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
        if (own_fd < 0 || pthread_setspecific(key, &own_fd) != 0) {
            fd_close(NULL);
            own_fd = -2;
        }
    }
    return own_fd;
}

int64_t thread_stalled_ns(void)
{
    char text[96];
    unsigned long long ran, stalled;
    int fd = stat_fd();
    ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    return sscanf(text, "%llu %llu", &ran, &stalled) == 2 ? (int64_t)stalled : 0;
}
