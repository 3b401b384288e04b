/* SPDX-License-Identifier: Apache-2.0
 * The event loop: one thread, one epoll, an inbox for the other threads, and a sweep for timeouts.
 *
 * The inbox is a stack that any thread pushes to with one compare-and-swap; only the push onto an
 * empty stack writes the eventfd. The loop takes the whole stack at once and runs it oldest first.
 * Objects that an epoll batch may still name are freed after the batch (loop->dead). The loop
 * sleeps without a timer while it owns no connection. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/thread.h"
#include "base/watch.h"
#include "server_int.h"

#define EVENTS_MAX    256
#define LOOP_STUCK_NS (10 * NS_PER_S)

_Thread_local struct loop *loop_current;

bool loop_watch(struct loop *loop, int fd, uint32_t events, struct pollable *p)
{
    struct epoll_event ev = {.events = events, .data.ptr = p};
    return epoll_ctl(loop->epfd, EPOLL_CTL_ADD, fd, &ev) == 0;
}

void loop_remember(struct conn *c)
{
    struct loop *loop = c->loop;
    ASSERT(c->fd >= 0);
    if ((size_t)c->fd >= loop->n_by_fd) {
        size_t n = MAX((size_t)c->fd + 64, loop->n_by_fd * 2);
        loop->by_fd = xrealloc(loop->by_fd, n * sizeof(*loop->by_fd));
        memset(loop->by_fd + loop->n_by_fd, 0, (n - loop->n_by_fd) * sizeof(*loop->by_fd));
        loop->n_by_fd = n;
    }
    loop->by_fd[c->fd] = c;
}

void loop_post(struct loop *loop, struct message *m)
{
    struct message *head = atomic_load_explicit(&loop->inbox, memory_order_relaxed);
    do {
        m->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&loop->inbox, &head, m,
        memory_order_release /* pairs with loop_take */, memory_order_relaxed));
    if (head == NULL) {
        uint64_t one = 1;
        ssize_t n = write(loop->wakefd, &one, sizeof(one));
        (void)n; /* the counter cannot be full: it is read whole at each wake-up */
    }
}

static void loop_take(struct loop *loop)
{
    struct message *m = atomic_exchange_explicit(&loop->inbox, NULL, memory_order_acquire);
    struct message *oldest = NULL;
    while (m != NULL) {
        struct message *next = m->next;
        m->next = oldest;
        oldest = m;
        m = next;
    }
    while (oldest != NULL) {
        struct message *next = oldest->next; /* fn may free the message */
        oldest->fn(loop, oldest);
        oldest = next;
    }
}

static void loop_woken(struct pollable *p, uint32_t events)
{
    (void)events;
    struct loop *loop = CONTAINER_OF(p, struct loop, wake);
    uint64_t count;
    ssize_t n = read(loop->wakefd, &count, sizeof(count));
    (void)n; /* EAGAIN: somebody was faster, the inbox is taken below anyway */
}

static void loop_sweep(struct loop *loop)
{
    loop->swept_ns = loop->now_ns;
    for (struct conn *c = loop->conns, *next; c != NULL; c = next) {
        next = c->next;
        switch (c->kind) {
        case CONN_SNIFF:
            if (c->deadline_ns != 0 && loop->now_ns > c->deadline_ns)
                conn_free(c);
            break;
        case CONN_H1:
            h1_sweep(c);
            break;
        case CONN_H2:
            h2_sweep(c);
            break;
        }
    }
    while (loop->paused != NULL) {
        struct listener *l = loop->paused;
        loop->paused = l->paused_next;
        listener_accept_start(l);
    }
}

static void loop_free_dead(struct loop *loop)
{
    while (loop->dead != NULL) {
        struct conn *c = loop->dead;
        loop->dead = c->next;
        conn_free_now(c);
    }
}

static void loop_flush_dirty(struct loop *loop)
{
    while (loop->dirty != NULL) {
        struct conn *c = loop->dirty;
        loop->dirty = c->dirty_next;
        c->dirty = false;
        if (!c->dead)
            h2_flush(c);
    }
}

static int loop_wait_ms(struct loop *loop)
{
    if (h1_pending(loop))
        return 0;
    if (loop->conns == NULL && loop->paused == NULL)
        return -1;
    int64_t left = loop->swept_ns +
                   atomic_load_explicit(&loop->server->sweep_ns, memory_order_relaxed) -
                   clock_mono_ns();
    return left <= 0 ? 0 : (int)(left / NS_PER_MS) + 1;
}

static void *loop_run(void *arg)
{
    struct loop *loop = arg;
    struct epoll_event events[EVENTS_MAX];

    loop_current = loop;
    if (loop->prompt)
        (void)thread_set(THREAD_PROMPT, thread_nice());
    while (!loop->stop) {
        int n = epoll_wait(loop->epfd, events, EVENTS_MAX, loop_wait_ms(loop));
        loop->now_ns = clock_mono_ns();
        watch_begin("transport", "requests", LOOP_STUCK_NS);
        ASSERT(n >= 0 || errno == EINTR);
        for (int i = 0; i < n; i++) {
            struct pollable *p = events[i].data.ptr;
            p->fn(p, events[i].events);
        }
        loop_take(loop);
        h1_run(loop);
        if (loop->now_ns - loop->swept_ns >=
            atomic_load_explicit(&loop->server->sweep_ns, memory_order_relaxed))
            loop_sweep(loop);
        loop_flush_dirty(loop);
        loop_free_dead(loop);
        watch_end();
    }
    while (loop->conns != NULL) {
        struct conn *c = loop->conns;
        if (c->kind == CONN_H1)
            break; /* MHD's to close */
        conn_free(c);
    }
    h1_loop_free(loop);
    while (loop->conns != NULL)
        conn_free(loop->conns);
    loop_free_dead(loop);
    loop_take(loop);
    return NULL;
}

struct call {
    struct message m;
    void (*fn)(struct loop *loop, void *ctx);
    void *ctx;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
};

static void call_run(struct loop *loop, struct message *m)
{
    struct call *call = CONTAINER_OF(m, struct call, m);
    call->fn(loop, call->ctx);
    pthread_mutex_lock(&call->lock);
    call->done = true;
    pthread_cond_signal(&call->cond);
    pthread_mutex_unlock(&call->lock);
}

void loop_call(struct loop *loop, void (*fn)(struct loop *loop, void *ctx), void *ctx)
{
    struct call call = {.m.fn = call_run, .fn = fn, .ctx = ctx};
    ASSERT(loop_current == NULL);
    pthread_mutex_init(&call.lock, NULL);
    pthread_cond_init(&call.cond, NULL);
    loop_post(loop, &call.m);
    pthread_mutex_lock(&call.lock);
    while (!call.done)
        pthread_cond_wait(&call.cond, &call.lock);
    pthread_mutex_unlock(&call.lock);
    pthread_cond_destroy(&call.cond);
    pthread_mutex_destroy(&call.lock);
}

enum ec loop_start(struct loop *loop, struct server *s, unsigned index, struct err *err)
{
    *loop = (struct loop){
        .server = s, .index = index, .prompt = index >= s->n_usual, .epfd = -1, .wakefd = -1};
    loop->wake.fn = loop_woken;
    loop->now_ns = loop->swept_ns = clock_mono_ns();
    loop->scratch = xmalloc(READ_CHUNK);
    loop->epfd = epoll_create1(EPOLL_CLOEXEC);
    loop->wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->epfd < 0 || loop->wakefd < 0 || !loop_watch(loop, loop->wakefd, EPOLLIN, &loop->wake))
        return ERR_ERRNO(err, EC_IO, errno, "transport loop %u", index);

    sigset_t all, old; /* signals are the main thread's */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    int rc = pthread_create(&loop->thread, NULL, loop_run, loop);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0)
        return ERR_ERRNO(err, EC_INTERNAL, rc, "transport thread %u", index);
    loop->started = true;
    return EC_OK;
}

static void loop_stop_now(struct loop *loop, void *ctx)
{
    (void)ctx;
    loop->stop = true;
}

void loop_stop(struct loop *loop)
{
    if (loop->started) {
        loop_call(loop, loop_stop_now, NULL);
        pthread_join(loop->thread, NULL);
    }
    if (loop->epfd >= 0)
        close(loop->epfd);
    if (loop->wakefd >= 0)
        close(loop->wakefd);
    free(loop->by_fd);
    free(loop->scratch);
    *loop = (struct loop){.epfd = -1, .wakefd = -1};
}
