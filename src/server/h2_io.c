/* SPDX-License-Identifier: Apache-2.0
 * Bytes between an HTTP/2 connection's socket (plain or TLS) and its nghttp2 session.
 *
 * Output is pulled from the session only while less than OUT_LOW bytes wait, so a client that does
 * not read holds a bounded buffer. EPOLLOUT is asked for only while the socket is full. */
#include <errno.h>
#include <gnutls/gnutls.h>
#include <sys/epoll.h>

#include "server_int.h"

#define OUT_LOW      (64u << 10)
#define READS_A_TURN 16

bool bucket_take(struct bucket *b, int64_t now_ns, unsigned burst, unsigned per_second)
{
    if (b->filled_ns == 0) {
        b->tokens = burst;
    } else {
        b->tokens += (double)(now_ns - b->filled_ns) * per_second / 1e9;
        if (b->tokens > burst)
            b->tokens = burst;
    }
    b->filled_ns = now_ns;
    if (b->tokens < 1)
        return false;
    b->tokens -= 1;
    return true;
}

static ssize_t raw_recv(struct h2_conn *h, uint8_t *p, size_t n)
{
    if (h->tls == NULL) {
        ssize_t got = recv(h->conn->fd, p, n, MSG_DONTWAIT);
        return got >= 0 ? got : (errno == EAGAIN || errno == EINTR) ? -EAGAIN : -EIO;
    }
    ssize_t got = gnutls_record_recv(h->tls, p, n);
    if (got == GNUTLS_E_AGAIN || got == GNUTLS_E_INTERRUPTED)
        return -EAGAIN;
    return got >= 0 ? got : -EIO; /* a client's renegotiation ends here too */
}

static ssize_t raw_send(struct h2_conn *h, const uint8_t *p, size_t n)
{
    if (h->tls == NULL) {
        ssize_t put = send(h->conn->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        return put >= 0 ? put : (errno == EAGAIN || errno == EINTR) ? -EAGAIN : -EIO;
    }
    ssize_t put = gnutls_record_send(h->tls, p, n);
    if (put == GNUTLS_E_AGAIN || put == GNUTLS_E_INTERRUPTED)
        return -EAGAIN;
    return put >= 0 ? put : -EIO;
}

bool h2_read(struct h2_conn *h)
{
    struct loop *loop = h->conn->loop;
    for (int i = 0;; i++) {
        /* Bytes inside GnuTLS cause no epoll event: they are always taken. */
        if (i >= READS_A_TURN && (h->tls == NULL || gnutls_record_check_pending(h->tls) == 0))
            return true;
        ssize_t n = raw_recv(h, loop->scratch, READ_CHUNK);
        if (n == -EAGAIN)
            return true;
        if (n <= 0)
            return false;
        h->heard_ns = loop->now_ns;
        h->ping_ns = 0;
        ssize_t used = nghttp2_session_mem_recv(h->session, loop->scratch, (size_t)n);
        if (used != n) {
            h->failed = true; /* not HTTP/2: nghttp2 may still have a GOAWAY to say */
            return true;
        }
        if (h->tls == NULL && (size_t)n < READ_CHUNK)
            return true; /* the socket is empty: level-triggered, no need to ask again */
    }
}

static void want_out(struct h2_conn *h, bool on)
{
    if (h->want_out == on)
        return;
    h->want_out = on;
    struct epoll_event ev = {.events = EPOLLIN | (on ? EPOLLOUT : 0), .data.ptr = &h->conn->poll};
    epoll_ctl(h->conn->loop->epfd, EPOLL_CTL_MOD, h->conn->fd, &ev);
}

static bool h2_pull(struct h2_conn *h)
{
    if (h->out_pos == h->out.n)
        h->out.n = h->out_pos = 0;
    while (h->out.n - h->out_pos < OUT_LOW) {
        const uint8_t *p;
        ssize_t n = nghttp2_session_mem_send(h->session, &p);
        if (n < 0)
            return false;
        if (n == 0)
            break;
        buf_put(&h->out, p, (size_t)n);
    }
    return true;
}

bool h2_write(struct h2_conn *h)
{
    for (;;) {
        if (!h2_pull(h))
            return false;
        if (h->out_pos == h->out.n) {
            want_out(h, false);
            return true;
        }
        ssize_t n = raw_send(h, h->out.p + h->out_pos, h->out.n - h->out_pos);
        if (n == -EAGAIN) {
            want_out(h, true);
            return true;
        }
        if (n < 0)
            return false;
        h->out_pos += (size_t)n;
        h->wrote_ns = h->conn->loop->now_ns;
        if (h->out.cap > 4 * OUT_LOW && h->out_pos == h->out.n)
            buf_deinit(&h->out);
    }
}
