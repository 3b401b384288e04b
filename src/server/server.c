/* SPDX-License-Identifier: Apache-2.0
 * The server object: loops, listeners, drain and stop.
 *
 * Stop order: listeners close, connections are told (GOAWAY, Connection: close), requests in work
 * end, the server counts as stopping (exchange_canceled turns true), every exchange is given back,
 * loops end. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "server_int.h"
#include "tls.h"

#define SWEEP_MIN_NS    (10 * NS_PER_MS)
#define GOODBYE_MAX_NS  (500 * NS_PER_MS) /* many times what it takes on a machine with time */
#define GOODBYE_POLL_NS (2 * NS_PER_MS)
#define SWEEP_MAX_NS    NS_PER_S

static unsigned default_connections_max(void)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) != 0 || l.rlim_cur > UINT_MAX)
        return UINT_MAX;
    return MAX((unsigned)l.rlim_cur / 2, 1);
}

enum ec server_new(const struct server_options *opt, struct server **ret, struct err *err)
{
    struct server *s = xcalloc(1, sizeof(*s));
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    s->connections_max =
        opt != NULL && opt->connections_max != 0 ? opt->connections_max : default_connections_max();
    s->connection_budget = opt == NULL ? NULL : opt->connection_budget;
    pthread_condattr_t attr;
    s->n_usual = opt != NULL && opt->threads != 0 ? opt->threads : (unsigned)MIN(MAX(cpus, 1), 4);
    s->n_loops = s->n_usual + MAX(s->n_usual / 2, 1);
    s->loops = xcalloc(s->n_loops, sizeof(*s->loops));
    atomic_store_explicit(&s->sweep_ns, SWEEP_MAX_NS, memory_order_relaxed);
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->idle_lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->idle, &attr);
    pthread_condattr_destroy(&attr);
    request_metrics_register();
    for (unsigned i = 0; i < s->n_loops; i++)
        s->loops[i] = (struct loop){.epfd = -1, .wakefd = -1};
    for (unsigned i = 0; i < s->n_loops; i++) {
        enum ec ec = loop_start(&s->loops[i], s, i, err);
        if (ec != EC_OK) {
            server_free(s);
            return ec;
        }
    }
    *ret = s;
    return EC_OK;
}

static void listen_now(struct loop *loop, void *ctx)
{
    (void)loop;
    listener_accept_start(ctx);
}

/* A timeout is late by a tenth at most. */
static void sweep_often_enough(struct server *s, const struct listener_options *o)
{
    unsigned ms = MIN(o->read_timeout_ms, o->idle_timeout_ms);
    ms = MIN(ms, MIN(o->keepalive_time_ms, o->keepalive_timeout_ms));
    int64_t ns = MAX((int64_t)ms * NS_PER_MS / 10, SWEEP_MIN_NS);
    if (ns < atomic_load_explicit(&s->sweep_ns, memory_order_relaxed))
        atomic_store_explicit(&s->sweep_ns, ns, memory_order_relaxed);
}

enum ec server_listen(struct server *s, const struct listener_options *opt, struct listener **ret,
    unsigned *ret_port, struct err *err)
{
    struct listener *l;
    ASSERT(!atomic_load_explicit(&s->draining, memory_order_relaxed));
    TRY(listener_new(s, opt, &l, err));
    pthread_mutex_lock(&s->lock);
    sweep_often_enough(s, &l->opt);
    l->next = s->listeners;
    s->listeners = l;
    pthread_mutex_unlock(&s->lock);
    loop_call(listener_loop(l), listen_now, l);
    log_event(LOG_DEBUG, "listening", LZ("listener", l->name), LZ("address", l->address),
        LU("port", l->port));
    if (ret != NULL)
        *ret = l;
    if (ret_port != NULL)
        *ret_port = l->port;
    return EC_OK;
}

enum ec server_reload_tls(struct server *s, struct err *err)
{
    enum ec first = EC_OK;
    pthread_mutex_lock(&s->lock);
    for (struct listener *l = s->listeners; l != NULL; l = l->next) {
        struct err one = {0};
        if (l->tls == NULL || tls_context_reload(l->tls, true, &one) == EC_OK)
            continue;
        err_prefix(&one, "listener %s", l->name);
        if (first == EC_OK) {
            first = one.code;
            if (err != NULL)
                *err = one;
        }
    }
    pthread_mutex_unlock(&s->lock);
    return first;
}

static void drain_loop(struct loop *loop, void *ctx)
{
    struct server *s = ctx;
    loop->draining = true;
    for (struct listener *l = s->listeners; l != NULL; l = l->next)
        if (listener_loop(l) == loop)
            listener_close(l);
    for (struct conn *c = loop->conns, *next; c != NULL; c = next) {
        next = c->next;
        if (c->kind == CONN_H2)
            h2_drain(c);
        else if (c->kind == CONN_H1)
            h1_drain(c);
        else
            c->deadline_ns = loop->now_ns + DRAIN_LINGER_NS;
    }
}

/* Until no exchange is left, or the deadline (0: none). */
static bool wait_idle(struct server *s, int64_t deadline_ns)
{
    struct timespec ts = {deadline_ns / NS_PER_S, deadline_ns % NS_PER_S};
    int rc = 0;
    pthread_mutex_lock(&s->idle_lock);
    while (rc != ETIMEDOUT && atomic_load_explicit(&s->exchanges, memory_order_acquire) != 0)
        rc = deadline_ns == 0 ? pthread_cond_wait(&s->idle, &s->idle_lock)
                              : pthread_cond_timedwait(&s->idle, &s->idle_lock, &ts);
    pthread_mutex_unlock(&s->idle_lock);
    return rc != ETIMEDOUT;
}

bool server_drain(struct server *s, int64_t timeout_ns)
{
    if (!atomic_exchange_explicit(&s->draining, true, memory_order_relaxed)) {
        pthread_mutex_lock(&s->lock);
        atomic_store_explicit(&s->sweep_ns, SWEEP_MIN_NS, memory_order_relaxed);
        s->drain_ns = clock_mono_ns();
        for (unsigned i = 0; i < s->n_loops; i++)
            loop_call(&s->loops[i], drain_loop, s);
        pthread_mutex_unlock(&s->lock);
    }
    return wait_idle(s, clock_mono_ns() + MAX(timeout_ns, 1));
}

/* Until every connection has heard that this is the end, and closed. Requests that come meanwhile
 * are refused. */
static void wait_goodbye(struct server *s)
{
    while (server_connections(s) > 0 && clock_mono_ns() < s->drain_ns + GOODBYE_MAX_NS) {
        const struct timespec ts = {.tv_nsec = GOODBYE_POLL_NS};
        nanosleep(&ts, NULL);
    }
}

static void abandon_loop(struct loop *loop, void *ctx)
{
    (void)ctx;
    for (struct conn *c = loop->conns; c != NULL; c = c->next)
        shutdown(c->fd, SHUT_RDWR);
}

void server_free(struct server *s)
{
    if (s == NULL)
        return;
    bool running = s->n_loops != 0 && s->loops[s->n_loops - 1].started;
    if (running) {
        (void)server_drain(s, 1); /* waited for below, without a limit */
        wait_goodbye(s);
        atomic_store_explicit(&s->stopping, true, memory_order_relaxed);
        for (unsigned i = 0; i < s->n_loops; i++)
            loop_call(&s->loops[i], abandon_loop, NULL);
        (void)wait_idle(
            s, 0); /* handlers still own exchanges: their memory cannot go before them */
    }
    for (unsigned i = 0; i < s->n_loops; i++)
        loop_stop(&s->loops[i]);
    while (s->listeners != NULL) {
        struct listener *l = s->listeners;
        s->listeners = l->next;
        listener_free(l);
    }
    pthread_cond_destroy(&s->idle);
    pthread_mutex_destroy(&s->idle_lock);
    pthread_mutex_destroy(&s->lock);
    free(s->loops);
    free(s);
}

unsigned server_connections(const struct server *s)
{
    return atomic_load_explicit(&s->connections, memory_order_relaxed);
}
