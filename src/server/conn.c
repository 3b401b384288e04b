/* SPDX-License-Identifier: Apache-2.0
 * A connection from accept to close: counted, sniffed, then handed to its protocol.
 *
 * WHY peek: libmicrohttpd and the TLS handshake both want to read the first bytes themselves, so
 * nothing is consumed before the protocol is known. The socket is watched edge-triggered meanwhile:
 * a peer that sends half a preface and waits costs no wake-ups. */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "server_int.h"
#include "tls.h"

#define CONN_MAGIC 0xc0117ec7c0117ec7u

static void conn_unlink(struct conn *c)
{
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        c->loop->conns = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    c->prev = c->next = NULL;
}

void conn_free(struct conn *c)
{
    ASSERT(c->magic == CONN_MAGIC);
    if (c->dead)
        return;
    c->dead = true;
    if (c->kind == CONN_H2)
        h2_conn_free(c);
    if ((size_t)c->fd < c->loop->n_by_fd && c->loop->by_fd[c->fd] == c)
        c->loop->by_fd[c->fd] = NULL;
    connection_metrics_add(c->listener, -1);
    if (c->kind != CONN_H1) {
        /* By hand: a descriptor with a duplicate (h2c upgrade) does not leave the set by
         * closing. */
        (void)epoll_ctl(c->loop->epfd, EPOLL_CTL_DEL, c->fd, NULL);
        close(c->fd);
    }
    conn_unlink(c);
    c->next = c->loop->dead;
    c->loop->dead = c;
}

void conn_free_now(struct conn *c)
{
    ASSERT(c->magic == CONN_MAGIC);
    if (c->kind == CONN_H1)
        tls_peer_free(c->h1.cert);
    budget_give(c->listener->server->connection_budget, c->charged);
    if (c->counted_peer && !c->handed_over)
        peer_uncount(c->listener, &c->key);
    if (!c->handed_over) {
        atomic_fetch_sub_explicit(&c->listener->connections, 1, memory_order_relaxed);
        atomic_fetch_sub_explicit(&c->listener->server->connections, 1, memory_order_relaxed);
    }
    c->magic = 0;
    free(c);
}

bool conn_charge(struct conn *c, size_t n)
{
    if (!budget_take(c->listener->server->connection_budget, n)) {
        log_event(LOG_DEBUG, "connection refused: no memory for more",
            LZ("listener", c->listener->name), LZ("peer", c->peer));
        return false;
    }
    c->charged += n;
    return true;
}

static void conn_link(struct conn *c)
{
    c->prev = NULL;
    c->next = c->loop->conns;
    if (c->next != NULL)
        c->next->prev = c;
    c->loop->conns = c;
    connection_metrics_add(c->listener, 1);
}

struct conn *conn_hand_over(struct conn *c, int fd)
{
    struct conn *n = xcalloc(1, sizeof(*n));
    ASSERT(!c->handed_over && !c->dead);
    n->magic = CONN_MAGIC;
    n->fd = fd;
    n->loop = c->loop;
    n->listener = c->listener;
    n->counted_peer = c->counted_peer;
    n->key = c->key;
    n->addr = c->addr;
    n->addr_len = c->addr_len;
    memcpy(n->peer, c->peer, sizeof(n->peer));
    c->handed_over = true;
    conn_link(n);
    return n;
}

static void conn_become(struct conn *c, enum sniff what)
{
    const struct listener_options *o = &c->listener->opt;
    if (epoll_ctl(c->loop->epfd, EPOLL_CTL_DEL, c->fd, NULL) != 0 || what == SNIFF_BAD ||
        (what == SNIFF_H1 && !o->http1) || (what == SNIFF_H2 && !o->http2)) {
        conn_free(c);
        return;
    }
    if (what == SNIFF_H2)
        (void)h2_adopt(c, c->listener->tls != NULL); /* on failure the connection is gone */
    else
        (void)h1_adopt(c);
}

static void conn_sniff(struct pollable *p, uint32_t events)
{
    (void)events;
    struct conn *c = CONTAINER_OF(p, struct conn, poll);
    if (c->dead)
        return;
    struct loop *loop = c->loop;
    ssize_t n = recv(c->fd, loop->scratch, HEADER_BLOCK_MAX + 4096, MSG_PEEK | MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        conn_free(c);
        return;
    }
    if (n < 0)
        return;
    struct bytes seen = bytes_n(loop->scratch, (size_t)n);
    enum sniff what = SNIFF_H1;
    if (c->listener->tls != NULL)
        what = sniff_client_hello(seen);
    else if (c->listener->opt.http2)
        what = sniff_plain(seen);
    if (what == SNIFF_H2 && !c->listener->opt.http2)
        what = SNIFF_H1;
    if (what == SNIFF_H1 && c->listener->tls == NULL)
        what = h1_wants(c, seen);
    if (what != SNIFF_MORE)
        conn_become(c, what);
}

void conn_start(struct loop *loop, struct message *m)
{
    struct conn *c = CONTAINER_OF(m, struct conn, arrive);
    c->magic = CONN_MAGIC;
    c->loop = loop;
    c->kind = CONN_SNIFF;
    c->poll.fn = conn_sniff;
    conn_link(c);
    c->deadline_ns = clock_mono_ns() + (int64_t)c->listener->opt.read_timeout_ms * NS_PER_MS;
    if (loop->draining)
        c->deadline_ns = clock_mono_ns() + DRAIN_LINGER_NS;
    if (loop->stop || !loop_watch(loop, c->fd, EPOLLIN | EPOLLRDHUP | EPOLLET, &c->poll))
        conn_free(c);
}
