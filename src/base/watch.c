/* SPDX-License-Identifier: Apache-2.0
 * The list of threads and the monitor. */
#include "base/watch.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"

#define LOOK_EVERY_NS NS_PER_S

struct watch {
    const char *thread;
    _Atomic(const char *) what;
    _Atomic int64_t since_ns; /* 0: idle. Written last at the begin of work, first at its end */
    _Atomic int64_t limit_ns;
    int64_t told_ns; /* since_ns of the work that was told of; the monitor's */
    pid_t tid;
    struct watch *next;
};

static struct metric_family stuck_family = {
    .name = "vivace_threads_stuck",
    .help = "Threads whose present work takes longer than it ever should.",
    .type = METRIC_GAUGE,
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the list */
static struct watch *watches;
static _Thread_local struct watch *own;
static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    bool started, stop;
} monitor = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void watch_drop(void *arg)
{
    struct watch *w = arg;
    pthread_mutex_lock(&lock);
    for (struct watch **at = &watches; *at != NULL; at = &(*at)->next)
        if (*at == w) {
            *at = w->next;
            break;
        }
    pthread_mutex_unlock(&lock);
    free(w);
}

static void watch_init(void)
{
    ASSERT(pthread_key_create(&key, watch_drop) == 0);
}

static struct watch *watch_new(const char *thread)
{
    struct watch *w = xcalloc(1, sizeof(*w));
    w->thread = thread;
    w->tid = gettid();
    pthread_once(&once, watch_init);
    (void)pthread_setspecific(key, w); /* without memory it stays in the list: still valid */
    pthread_mutex_lock(&lock);
    w->next = watches;
    watches = w;
    pthread_mutex_unlock(&lock);
    return w;
}

void watch_begin(const char *thread, const char *what, int64_t limit_ns)
{
    if (own == NULL)
        own = watch_new(thread);
    atomic_store_explicit(&own->what, what, memory_order_relaxed);
    atomic_store_explicit(&own->limit_ns, limit_ns, memory_order_relaxed);
    atomic_store_explicit(&own->since_ns, clock_mono_ns(), memory_order_release);
}

void watch_end(void)
{
    if (own != NULL)
        atomic_store_explicit(&own->since_ns, 0, memory_order_release);
}

/* Where the kernel has put the thread to sleep ("jbd2_log_wait_commit"); "" when it does not
 * say. */
static void kernel_place(pid_t tid, char ret[64])
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/task/%d/wchan", (int)tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, ret, 63);
    if (fd >= 0)
        (void)close(fd);
    ret[n < 0 ? 0 : n] = '\0';
    if (strcmp(ret, "0") == 0)
        ret[0] = '\0'; /* it runs */
}

/* true: over its time. */
static bool look_at(struct watch *w, int64_t now_ns)
{
    int64_t since = atomic_load_explicit(&w->since_ns, memory_order_acquire);
    const char *what = atomic_load_explicit(&w->what, memory_order_relaxed);
    int64_t limit = atomic_load_explicit(&w->limit_ns, memory_order_relaxed);
    bool stuck = since != 0 && now_ns - since > limit;
    if (w->told_ns != 0 && w->told_ns != since) {
        log_event(LOG_WARN, "a thread that was stuck goes on", LZ("thread", w->thread),
            LD("took_at_most", now_ns - w->told_ns));
        w->told_ns = 0;
    }
    if (stuck && w->told_ns == 0) {
        char place[64];
        kernel_place(w->tid, place);
        log_event(LOG_ERROR, "a thread is stuck", LZ("thread", w->thread), LZ("work", what),
            LD("for", now_ns - since), LD("limit", limit), LI("tid", w->tid), LZ("kernel", place));
        w->told_ns = since;
    }
    return stuck;
}

size_t watch_look(int64_t now_ns)
{
    size_t n = 0;
    metric_register(&stuck_family);
    pthread_mutex_lock(&lock);
    for (struct watch *w = watches; w != NULL; w = w->next)
        n += look_at(w, now_ns);
    pthread_mutex_unlock(&lock);
    metric_set(metric_series0(&stuck_family), (double)n);
    return n;
}

static void *monitor_main(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&monitor.lock);
    while (!monitor.stop) {
        int64_t until = clock_mono_ns() + LOOK_EVERY_NS;
        const struct timespec ts = {.tv_sec = until / NS_PER_S, .tv_nsec = until % NS_PER_S};
        (void)pthread_cond_timedwait(&monitor.wake, &monitor.lock, &ts); /* or time is up */
        pthread_mutex_unlock(&monitor.lock);
        (void)watch_look(clock_mono_ns());
        pthread_mutex_lock(&monitor.lock);
    }
    pthread_mutex_unlock(&monitor.lock);
    return NULL;
}

enum ec watch_start(struct err *err)
{
    pthread_condattr_t attr;
    sigset_t all, old;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&monitor.wake, &attr);
    pthread_condattr_destroy(&attr);
    monitor.stop = false;
    (void)watch_look(clock_mono_ns()); /* shows the gauge from the start */
    sigfillset(&all);                  /* signals are the main thread's */
    pthread_sigmask(SIG_BLOCK, &all, &old);
    int e = pthread_create(&monitor.thread, NULL, monitor_main, NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (e != 0)
        return ERR_ERRNO(err, EC_UNAVAILABLE, e, "watchdog thread");
    monitor.started = true;
    return EC_OK;
}

void watch_stop(void)
{
    if (!monitor.started)
        return;
    pthread_mutex_lock(&monitor.lock);
    monitor.stop = true;
    pthread_cond_signal(&monitor.wake);
    pthread_mutex_unlock(&monitor.lock);
    pthread_join(monitor.thread, NULL);
    pthread_cond_destroy(&monitor.wake);
    monitor.started = false;
}
