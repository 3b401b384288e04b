/* SPDX-License-Identifier: Apache-2.0
 * Listening sockets: accept with caps, and the count of connections per address.
 *
 * The first loop of a kind accepts and deals round-robin. Over a cap a connection is closed at
 * once, before a byte is read; the cap over all listeners leaves descriptors to the store, which
 * cannot take a span without a file. Out of descriptors all the same, the socket leaves the epoll
 * set until the next sweep, so that no loop spins. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "server_int.h"
#include "tls.h"

#define ACCEPT_BATCH 64

/* ---- connections per address ---- */

static size_t peer_home(const struct listener *l, const struct peer_key *key)
{
    uint64_t h = get_u64le(key->b) * 0x9e3779b97f4a7c15u ^ get_u64le(key->b + 8);
    h ^= h >> 32;
    return (size_t)(h * 0xff51afd7ed558ccdu >> 20) & (l->peer_cap - 1);
}

static struct peer_slot *peer_slot(struct listener *l, const struct peer_key *key)
{
    size_t i = peer_home(l, key);
    while (l->peers[i].n != 0 && memcmp(&l->peers[i].key, key, sizeof(*key)) != 0)
        i = (i + 1) & (l->peer_cap - 1);
    return &l->peers[i];
}

bool peer_count(struct listener *l, const struct peer_key *key, unsigned max)
{
    pthread_mutex_lock(&l->peer_lock);
    struct peer_slot *s = peer_slot(l, key);
    bool ok = s->n < max;
    if (ok) {
        if (s->n == 0) {
            s->key = *key;
            l->n_peers++;
        }
        s->n++;
    }
    /* INVARIANT: no more addresses than connections, and the table has twice that room. */
    ASSERT(l->n_peers * 2 <= l->peer_cap);
    pthread_mutex_unlock(&l->peer_lock);
    return ok;
}

void peer_uncount(struct listener *l, const struct peer_key *key)
{
    pthread_mutex_lock(&l->peer_lock);
    struct peer_slot *s = peer_slot(l, key);
    ASSERT(s->n > 0);
    if (--s->n == 0) {
        l->n_peers--;
        /* Close the gap, so that probing never meets a false end. */
        size_t mask = l->peer_cap - 1, hole = (size_t)(s - l->peers);
        for (size_t i = (hole + 1) & mask; l->peers[i].n != 0; i = (i + 1) & mask) {
            size_t home = peer_home(l, &l->peers[i].key);
            if (((i - home) & mask) >= ((i - hole) & mask)) {
                l->peers[hole] = l->peers[i];
                l->peers[i].n = 0;
                hole = i;
            }
        }
    }
    pthread_mutex_unlock(&l->peer_lock);
}

static void peer_describe(struct conn *c)
{
    char host[INET6_ADDRSTRLEN] = "";
    if (c->addr.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)&c->addr;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        c->key.b[10] = c->key.b[11] = 0xff;
        memcpy(c->key.b + 12, &in->sin_addr, 4);
        snprintf(c->peer, sizeof(c->peer), "%s:%u", host, ntohs(in->sin_port));
    } else if (c->addr.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const void *)&c->addr;
        inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof(host));
        bool mapped = IN6_IS_ADDR_V4MAPPED(&in->sin6_addr);
        memcpy(c->key.b, &in->sin6_addr, mapped ? 16 : 8); /* a /64 is one customer */
        if (mapped)
            snprintf(c->peer, sizeof(c->peer), "%s:%u", host + 7, ntohs(in->sin6_port));
        else
            snprintf(c->peer, sizeof(c->peer), "[%s]:%u", host, ntohs(in->sin6_port));
    } else {
        snprintf(c->peer, sizeof(c->peer), "unix");
    }
}

/* ---- accept ---- */

static void listener_take(struct listener *l, int fd, const struct sockaddr_storage *a, socklen_t n)
{
    struct server *s = l->server;
    struct conn *c = xcalloc(1, sizeof(*c));
    c->fd = fd;
    c->listener = l;
    c->addr = *a;
    c->addr_len = n;
    c->arrive.fn = conn_start;
    peer_describe(c);
    unsigned before = atomic_fetch_add_explicit(&l->connections, 1, memory_order_relaxed);
    unsigned in_all = atomic_fetch_add_explicit(&s->connections, 1, memory_order_relaxed);
    bool fits = before < l->opt.connections_max && in_all < s->connections_max;
    if (fits && a->ss_family != AF_UNIX)
        fits = c->counted_peer = peer_count(l, &c->key, l->opt.connections_per_ip_max);
    if (!fits) {
        log_event(LOG_DEBUG, "connection refused: over the cap", LZ("listener", l->name),
            LZ("peer", c->peer));
        atomic_fetch_sub_explicit(&l->connections, 1, memory_order_relaxed);
        atomic_fetch_sub_explicit(&s->connections, 1, memory_order_relaxed);
        close(fd);
        free(c);
        return;
    }
    int on = 1;
    if (a->ss_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    unsigned first = l->opt.prompt ? s->n_usual : 0;
    unsigned n_loops = l->opt.prompt ? s->n_loops - s->n_usual : s->n_usual;
    unsigned next = atomic_fetch_add_explicit(
        l->opt.prompt ? &s->next_prompt : &s->next_loop, 1, memory_order_relaxed);
    struct loop *loop = &s->loops[first + next % n_loops];
    if (loop == loop_current)
        conn_start(loop, &c->arrive);
    else
        loop_post(loop, &c->arrive);
}

struct loop *listener_loop(const struct listener *l)
{
    return &l->server->loops[l->opt.prompt ? l->server->n_usual : 0];
}

static void listener_pause(struct listener *l)
{
    struct loop *loop = listener_loop(l);
    epoll_ctl(loop->epfd, EPOLL_CTL_DEL, l->fd, NULL);
    l->accepting = false;
    l->paused_next = loop->paused;
    loop->paused = l;
    log_event(LOG_WARN, "accept stopped: out of file descriptors", LZ("listener", l->name));
}

static void listener_ready(struct pollable *p, uint32_t events)
{
    (void)events;
    struct listener *l = CONTAINER_OF(p, struct listener, poll);
    for (int i = 0; i < ACCEPT_BATCH && l->fd >= 0; i++) {
        struct sockaddr_storage a = {0};
        socklen_t n = sizeof(a);
        int fd = accept4(l->fd, (struct sockaddr *)&a, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            listener_take(l, fd, &a, n);
        else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            listener_pause(l);
            return;
        } else if (errno == EAGAIN)
            return;
        /* anything else (ECONNABORTED, EINTR, network errors) belongs to that connection alone */
    }
}

void listener_accept_start(struct listener *l)
{
    if (l->fd < 0 || l->accepting)
        return;
    l->poll.fn = listener_ready;
    l->accepting = loop_watch(listener_loop(l), l->fd, EPOLLIN, &l->poll);
}

void listener_close(struct listener *l)
{
    struct loop *loop = listener_loop(l);
    for (struct listener **at = &loop->paused; *at != NULL; at = &(*at)->paused_next)
        if (*at == l) {
            *at = l->paused_next;
            break;
        }
    if (l->fd >= 0) {
        if (l->accepting) /* who is connected already is told, not cut off */
            listener_ready(&l->poll, 0);
        close(l->fd);
        l->fd = -1;
        if (l->unix_path != NULL)
            unlink(l->unix_path);
    }
}

/* ---- bind ---- */

static enum ec bind_unix(struct listener *l, const char *path, struct err *err)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct stat st;
    if (strlen(path) >= sizeof(un.sun_path))
        return ERR(err, EC_INVALID, "listen %s: path is longer than %zu", l->address,
            sizeof(un.sun_path) - 1);
    memcpy(un.sun_path, path, strlen(path));
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
        unlink(path); /* left by a process that was killed */
    l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0 || bind(l->fd, (struct sockaddr *)&un, sizeof(un)) != 0)
        return ERR_ERRNO(err, EC_UNAVAILABLE, errno, "listen %s", l->address);
    l->unix_path = xstrdup(path);
    return EC_OK;
}

static void listener_defaults(struct listener_options *o)
{
#define DEFAULT(field, value) \
    do {                      \
        if ((o->field) == 0)  \
            o->field = value; \
    } while (0)
    DEFAULT(body_bytes_max, 16u << 20);
    DEFAULT(inflated_bytes_max, 64u << 20);
    DEFAULT(grpc_message_bytes_max, 16u << 20);
    DEFAULT(connections_max, 1024);
    DEFAULT(connections_per_ip_max, 256);
    DEFAULT(streams_max, 100);
    DEFAULT(read_timeout_ms, 30000);
    DEFAULT(header_timeout_ms, o->read_timeout_ms);
    o->url_bytes_max = MAX(o->url_bytes_max, URL_MAX);
    DEFAULT(idle_timeout_ms, 120000);
    DEFAULT(keepalive_time_ms, 7200000);
    DEFAULT(keepalive_timeout_ms, 20000);
#undef DEFAULT
}

enum ec listener_new(
    struct server *s, const struct listener_options *opt, struct listener **ret, struct err *err)
{
    ASSERT(opt->address != NULL);
    ASSERT(opt->handler != NULL || opt->grpc_handler != NULL);
    struct listener *l = xcalloc(1, sizeof(*l));
    l->server = s;
    l->opt = *opt;
    l->fd = -1;
    l->name = xstrdup(opt->name == NULL ? "http" : opt->name);
    l->address = xstrdup(opt->address);
    l->opt.name = l->name;
    l->opt.address = l->address;
    listener_defaults(&l->opt);
    pthread_mutex_init(&l->peer_lock, NULL);
    l->peer_cap = 64;
    while (l->peer_cap < 2 * ((size_t)l->opt.connections_max + 1))
        l->peer_cap *= 2;
    l->peers = xcalloc(l->peer_cap, sizeof(*l->peers));

    const struct tls_options *tls = &opt->tls;
    enum ec ec = EC_OK;
    if (tls->cert_file != NULL || tls->cert_pem != NULL || tls->key_file != NULL ||
        tls->key_pem != NULL)
        ec = tls_context_new(tls, l->name, &l->tls, err);
    if (ec == EC_OK)
        ec = strncmp(l->address, "unix:", 5) == 0
                 ? bind_unix(l, l->address + 5, err)
                 : bind_address(l->address, SOCK_STREAM, &l->fd, err);
    if (ec == EC_OK && listen(l->fd, 1024) != 0)
        ec = ERR_ERRNO(err, EC_UNAVAILABLE, errno, "listen %s", l->address);
    if (ec != EC_OK) {
        listener_free(l);
        return ec;
    }
    struct sockaddr_storage a = {0};
    socklen_t n = sizeof(a);
    getsockname(l->fd, (struct sockaddr *)&a, &n);
    l->port = a.ss_family == AF_INET    ? ntohs(((struct sockaddr_in *)(void *)&a)->sin_port)
              : a.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)(void *)&a)->sin6_port)
                                        : 0;
    *ret = l;
    return EC_OK;
}

void listener_free(struct listener *l)
{
    if (l == NULL)
        return;
    ASSERT(atomic_load_explicit(&l->connections, memory_order_relaxed) == 0);
    ASSERT(l->n_peers == 0);
    if (l->fd >= 0)
        close(l->fd);
    tls_context_free(l->tls);
    pthread_mutex_destroy(&l->peer_lock);
    free(l->peers);
    free(l->name);
    free(l->address);
    free(l->unix_path);
    free(l);
}
