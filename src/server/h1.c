/* SPDX-License-Identifier: Apache-2.0
 * HTTP/1.1 by libmicrohttpd, in external polling mode: each loop runs one daemon for plain text and
 * one per TLS listener, and MHD's epoll descriptor is just another descriptor of the loop. So every
 * callback runs on the loop thread, and a waiting request is a suspended connection.
 *
 * Calls for one request: h1_uri (request line) → h1_access (head) → h1_access (body pieces) →
 * h1_access (whole: handler; suspended until answered) → h1_access (answer queued) → h1_completed.
 *
 * MHD's own timeouts are off. Ours close a slow connection by shutdown(2) on its socket, which MHD
 * sees as end of file; the descriptor is MHD's and stays open until MHD has told us (h1_notify,
 * CLOSED). */
#include <gnutls/gnutls.h>
#include <microhttpd.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "server_int.h"
#include "tls.h"

#define POOL_BYTES \
    (48u           \
        << 10) /* a connection's memory in MHD: header block, its index, read buffer; for a URL of
                   URL_MAX */
#define ANSWER_RATE  (64u << 10) /* bytes a second a client must take beyond the read timeout */
#define CANCEL_CHECK (20 * NS_PER_MS)

struct h1_daemon {
    struct pollable poll;
    struct h1_daemon *next;
    struct loop *loop;
    struct listener *listener; /* the TLS listener, or NULL for plain text */
    uint32_t url_max;          /* its connections have memory for */
    struct MHD_Daemon *mhd;
    bool ready; /* has work that its epoll will not announce */
};

static struct conn *h1_conn_of(struct loop *loop, struct MHD_Connection *m)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(m, MHD_CONNECTION_INFO_CONNECTION_FD);
    ASSERT(info != NULL && (size_t)info->connect_fd < loop->n_by_fd);
    struct conn *c = loop->by_fd[info->connect_fd];
    ASSERT(c != NULL && c->kind == CONN_H1);
    return c;
}

/* It has no memory for long URLs, though its listener takes them: each of its requests may be its
 * last, so that the next one is looked at anew (h1_wants). */
static bool has_less(const struct conn *c)
{
    return c->h1.url_max < c->listener->opt.url_bytes_max;
}

/* ---- answers ---- */

static enum MHD_Result h1_queue(struct exchange *ex, struct MHD_Connection *m)
{
    struct MHD_Response *r =
        MHD_create_response_from_buffer(ex->body.n, ex->body.p, MHD_RESPMEM_PERSISTENT);
    if (r == NULL)
        return MHD_NO;
    for (size_t i = 0; i < ex->n_out_headers; i++)
        (void)MHD_add_response_header(r, ex->out_headers[i].name.p, ex->out_headers[i].value.p);
    if (ex->must_close || ex->loop->draining || has_less(ex->conn))
        (void)MHD_add_response_header(r, "Connection", "close");
    ex->queued = true;
    ex->deadline_ns = ex->loop->now_ns + (int64_t)ex->listener->opt.read_timeout_ms * NS_PER_MS +
                      (int64_t)(ex->body.n / ANSWER_RATE) * NS_PER_S;
    enum MHD_Result ok = MHD_queue_response(m, ex->status, r);
    MHD_destroy_response(r);
    return ok;
}

void h1_wake(struct loop *loop)
{
    for (struct h1_daemon *d = loop->daemons; d != NULL; d = d->next)
        d->ready = true;
}

void h1_answer_ready(struct exchange *ex)
{
    if (!ex->suspended)
        return;
    ex->suspended = false;
    MHD_resume_connection(ex->mhd);
    h1_wake(ex->loop);
}

bool h1_client_gone(struct exchange *ex)
{
    /* Suspended, the connection is in nobody's epoll set: look at the socket, not more often than
     * this. */
    int64_t now = clock_mono_ns();
    int64_t last = atomic_load_explicit(&ex->polled_ns, memory_order_relaxed);
    if (now - last < CANCEL_CHECK)
        return false;
    atomic_store_explicit(&ex->polled_ns, now, memory_order_relaxed);
    struct pollfd p = {.fd = ex->poll_fd, .events = POLLRDHUP};
    if (poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0)
        atomic_store_explicit(&ex->canceled, true, memory_order_relaxed);
    return atomic_load_explicit(&ex->canceled, memory_order_relaxed);
}

/* ---- requests ---- */

static void *h1_uri(void *ctx, const char *uri, struct MHD_Connection *m)
{
    struct h1_daemon *d = ctx;
    struct conn *c = h1_conn_of(d->loop, m);
    ASSERT(c->h1.ex == NULL);
    struct exchange *ex = exchange_new(d->loop, c->listener, c);
    ex->mhd = m;
    ex->poll_fd = c->fd;
    ex->req.raw_path = arena_str(&ex->arena, str_from(uri)); /* MHD decodes its own copy in place */
    c->h1.ex = ex;
    return ex;
}

static enum MHD_Result h1_header(void *ctx, enum MHD_ValueKind kind, const char *name,
    size_t name_n, const char *value, size_t value_n)
{
    (void)kind;
    struct exchange *ex = ctx;
    if (!exchange_add_header(
            ex, str_n(name, name_n), value == NULL ? STR("") : str_n(value, value_n), false))
        ex->header_refused = true;
    return MHD_YES;
}

static uint64_t h1_body_length(struct exchange *ex, bool *ret_bad)
{
    struct str length, te;
    uint64_t n = 0;
    bool chunked = exchange_header(ex, "transfer-encoding", &te);
    bool counted = exchange_header(ex, "content-length", &length);
    *ret_bad = (chunked && counted) || exchange_header_count(ex, "content-length") > 1 ||
               exchange_header_count(ex, "transfer-encoding") > 1 ||
               (counted && !str_to_u64(length, &n)) || (chunked && !str_ieq(te, STR("chunked")));
    return n;
}

static void h1_client_cert(struct exchange *ex, struct MHD_Connection *m)
{
    struct conn *c = ex->conn;
    const union MHD_ConnectionInfo *info;
    if (c->listener->tls == NULL)
        return;
    if (!c->h1.cert_seen) { /* once a connection */
        c->h1.cert_seen = true;
        info = MHD_get_connection_info(m, MHD_CONNECTION_INFO_GNUTLS_SESSION);
        if (info != NULL)
            c->h1.cert = tls_peer_new(c->listener->tls, info->tls_session);
    }
    tls_peer_show(c->h1.cert, ex);
}

/* The head is there. False: refused, the answer is filled in. */
static bool h1_head(struct exchange *ex, struct MHD_Connection *m, const char *method)
{
    const union MHD_ConnectionInfo *size =
        MHD_get_connection_info(m, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    bool bad;
    struct str expect;
    ex->must_close = true; /* for all refusals below: what follows on the wire is not read */
    size_t long_by = ex->req.raw_path.n > URL_MAX ? ex->req.raw_path.n - URL_MAX : 0;
    if (ex->req.raw_path.n > ex->conn->h1.url_max) {
        exchange_refuse(ex, 414, "414 URI Too Long\n");
        return false;
    }
    if (size != NULL && size->header_size > HEADER_BLOCK_MAX + long_by) {
        exchange_refuse(ex, 431, "431 Request Header Fields Too Large\n");
        return false;
    }
    ex->req.method = arena_str(&ex->arena, str_from(method));
    ex->is_head = str_eqz(ex->req.method, "HEAD");
    MHD_get_connection_values_n(m, MHD_HEADER_KIND, h1_header, ex);
    enum ec ec = exchange_set_target(ex, ex->req.raw_path);
    if (ec == EC_LIMIT || ex->header_refused || ex->req.method.p == NULL ||
        ex->req.raw_path.p == NULL) {
        exchange_refuse(ex, 503, "server is out of memory for requests\n");
        return false;
    }
    uint64_t length = h1_body_length(ex, &bad);
    if (ec != EC_OK || bad) {
        exchange_refuse(ex, 400, "400 Bad Request\n");
        return false;
    }
    if (ex->loop->draining) {
        exchange_refuse(ex, 503, "server is shutting down\n");
        return false;
    }
    ex->must_close = false;
    (void)exchange_header(ex, "content-type", &ex->req.content_type);
    if (length != 0)
        exchange_body_expect(ex, length);
    /* Refused by its length: answer now when the client waits for a go-ahead or the rest is too
     * long to be read away; otherwise read it away, or closing would destroy the answer on its
     * way. */
    if (ex->discard && (exchange_header(ex, "expect", &expect) || length > BODY_DRAIN_MAX))
        ex->refused_early = true;
    return true;
}

static enum MHD_Result h1_body(struct exchange *ex, const char *p, size_t *n)
{
    exchange_body_add(ex, p, *n);
    *n = 0;
    return ex->discard && ex->req.wire_bytes > ex->wire_max + BODY_DRAIN_MAX ? MHD_NO : MHD_YES;
}

static enum MHD_Result h1_access(void *ctx, struct MHD_Connection *m, const char *url,
    const char *method, const char *version, const char *upload, size_t *upload_n, void **state)
{
    (void)url;
    (void)ctx;
    struct exchange *ex = *state;
    ASSERT(ex != NULL && ex->mhd == m);
    if (!ex->head_done) {
        ex->head_done = true;
        h1_client_cert(ex, m);
        if (!h1_head(ex, m, method))
            return h1_queue(ex, m);
        if (h1_upgrade_wanted(ex, str_from(version)))
            return h1_upgrade(ex, m) ? MHD_YES : MHD_NO;
        if (!ex->refused_early)
            return MHD_YES;
    }
    if (*upload_n != 0)
        return h1_body(ex, upload, upload_n);
    if (ex->state == EX_READING)
        exchange_dispatch(ex);
    if (atomic_load_explicit(&ex->answered, memory_order_acquire))
        return h1_queue(ex, m);
    ex->suspended = true;
    MHD_suspend_connection(m);
    return MHD_YES;
}

static void h1_completed(
    void *ctx, struct MHD_Connection *m, void **state, enum MHD_RequestTerminationCode why)
{
    struct exchange *ex = *state;
    (void)ctx;
    (void)m;
    if (ex == NULL)
        return;
    *state = NULL;
    struct conn *c = ex->conn;
    ASSERT(c->h1.ex == ex && !ex->suspended);
    if (why != MHD_REQUEST_TERMINATED_COMPLETED_OK)
        atomic_store_explicit(&ex->canceled, true, memory_order_relaxed);
    c->h1.ex = NULL;
    c->deadline_ns = c->loop->now_ns + (int64_t)c->listener->opt.idle_timeout_ms * NS_PER_MS;
    ex->conn = NULL;
    exchange_unref(ex);
    if (c->loop->draining)
        h1_drain(c);
}

static void h1_notify(
    void *ctx, struct MHD_Connection *m, void **state, enum MHD_ConnectionNotificationCode what)
{
    struct h1_daemon *d = ctx;
    (void)state;
    if (what != MHD_CONNECTION_NOTIFY_CLOSED)
        return;
    struct conn *c = h1_conn_of(d->loop, m);
    ASSERT(c->h1.ex == NULL);
    conn_free(c);
}

static void h1_log(void *ctx, const char *fmt, va_list ap)
{
    char text[256];
    (void)ctx;
    int n = vsnprintf(text, sizeof(text), fmt, ap);
    if (n > 0 && (size_t)n < sizeof(text) && text[n - 1] == '\n')
        text[n - 1] = 0;
    log_event(LOG_DEBUG, "http/1.1", LZ("detail", text));
}

static size_t h1_no_unescape(void *ctx, struct MHD_Connection *m, char *s)
{
    (void)ctx;
    (void)m;
    return strlen(s); /* we decode the target ourselves */
}

/* ---- the daemon ---- */

static void h1_ready(struct pollable *p, uint32_t events)
{
    (void)events;
    CONTAINER_OF(p, struct h1_daemon, poll)->ready = true;
}

static struct h1_daemon *h1_daemon_new(
    struct loop *loop, struct listener *tls_listener, uint32_t url_max)
{
    struct h1_daemon *d = xcalloc(1, sizeof(*d));
    unsigned flags = MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME |
                     MHD_ALLOW_UPGRADE | MHD_USE_ERROR_LOG;
    struct MHD_OptionItem tls[8];
    size_t n = 0;
    d->loop = loop;
    d->listener = tls_listener;
    d->url_max = url_max;
    d->poll.fn = h1_ready;
    if (tls_listener != NULL) {
        flags |= MHD_USE_TLS;
        n = tls_mhd_options(tls_listener->tls, tls, ARRAY_LEN(tls) - 1);
    }
    tls[n] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    d->mhd =
        MHD_start_daemon(flags, 0, NULL, NULL, h1_access, d, MHD_OPTION_EXTERNAL_LOGGER, h1_log, d,
            MHD_OPTION_NOTIFY_COMPLETED, h1_completed, d, MHD_OPTION_NOTIFY_CONNECTION, h1_notify,
            d, MHD_OPTION_URI_LOG_CALLBACK, h1_uri, d, MHD_OPTION_UNESCAPE_CALLBACK, h1_no_unescape,
            d, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)POOL_BYTES + (url_max - URL_MAX),
            MHD_OPTION_CONNECTION_LIMIT, 1u << 20, MHD_OPTION_CONNECTION_TIMEOUT, 0u,
            MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_ARRAY, tls, MHD_OPTION_END);
    const union MHD_DaemonInfo *info =
        d->mhd == NULL ? NULL : MHD_get_daemon_info(d->mhd, MHD_DAEMON_INFO_EPOLL_FD);
    if (info == NULL || !loop_watch(loop, info->epoll_fd, EPOLLIN, &d->poll)) {
        log_event(LOG_ERROR, "cannot start HTTP/1.1 service");
        if (d->mhd != NULL)
            MHD_stop_daemon(d->mhd);
        free(d);
        return NULL;
    }
    d->next = loop->daemons;
    loop->daemons = d;
    return d;
}

/* MHD clears a connection's memory after each request, so that all of it is real from then on. The
 * other half is for short URLs: most connections never send a long one. */
static bool long_url_fits(const struct conn *c, size_t n)
{
    const struct budget *b = c->listener->server->connection_budget;
    uint64_t cap = b == NULL ? 0 : atomic_load_explicit(&b->cap, memory_order_relaxed);
    return cap == 0 || budget_used(b) + n <= cap / 2;
}

enum sniff h1_wants(struct conn *c, struct bytes seen)
{
    uint32_t url_max = c->listener->opt.url_bytes_max;
    if (url_max <= URL_MAX || long_url_fits(c, POOL_BYTES + url_max - URL_MAX))
        return SNIFF_H1;
    const uint8_t *end = seen.n == 0 ? NULL : memchr(seen.p, '\n', seen.n);
    size_t line = end == NULL ? seen.n : (size_t)(end - seen.p);
    c->long_url = line > URL_MAX;
    return end != NULL || c->long_url ? SNIFF_H1 : SNIFF_MORE;
}

bool h1_adopt(struct conn *c)
{
    struct loop *loop = c->loop;
    struct listener *key = c->listener->tls == NULL ? NULL : c->listener;
    struct budget *b = c->listener->server->connection_budget;
    uint32_t url_max = c->listener->opt.url_bytes_max;
    size_t memory = POOL_BYTES + (key == NULL ? 0 : CONN_TLS_BYTES);
    if (c->long_url ? !budget_fits(b, memory + url_max - URL_MAX)
                    : !long_url_fits(c, memory + url_max - URL_MAX))
        url_max = URL_MAX;
    if (!conn_charge(c, memory + url_max - URL_MAX)) {
        conn_free(c);
        return false;
    }
    struct h1_daemon *d = loop->daemons;
    while (d != NULL && (d->listener != key || d->url_max != url_max))
        d = d->next;
    if (d == NULL && (d = h1_daemon_new(loop, key, url_max)) == NULL) {
        conn_free(c);
        return false;
    }
    int fd = c->fd;
    loop_remember(c);
    c->kind = CONN_H1;
    memset(&c->h1, 0, sizeof(c->h1));
    c->h1.url_max = url_max;
    d->ready = true;
    if (MHD_add_connection(d->mhd, fd, (struct sockaddr *)&c->addr, c->addr_len) == MHD_YES)
        return true;
    /* MHD closed the descriptor, and tells us only of connections that had begun. */
    if (loop->by_fd[fd] == c)
        conn_free(c);
    return false;
}

void h1_run(struct loop *loop)
{
    for (struct h1_daemon *d = loop->daemons; d != NULL; d = d->next) {
        if (!d->ready)
            continue;
        MHD_UNSIGNED_LONG_LONG ms;
        d->ready = false; /* callbacks may set it again */
        (void)MHD_run(d->mhd);
        d->ready |= MHD_get_timeout(d->mhd, &ms) == MHD_YES && ms == 0;
    }
}

bool h1_pending(struct loop *loop)
{
    for (struct h1_daemon *d = loop->daemons; d != NULL; d = d->next)
        if (d->ready)
            return true;
    return false;
}

/* The client sends no more, and MHD has taken all that it sent. */
static bool h1_half_closed(const struct conn *c)
{
    char byte;
    return recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* WHY half_closed: an end that came with the last bytes is not announced again (EPOLLET), so MHD,
 * which had them by one short read, never looks. At the second sweep nothing can be under way. */
void h1_sweep(struct conn *c)
{
    const struct exchange *ex = c->h1.ex;
    int64_t at = c->deadline_ns;
    bool half_closed = (ex == NULL || ex->state == EX_READING) && h1_half_closed(c);
    if (ex != NULL && !ex->head_done)
        at = ex->start_ns + (int64_t)c->listener->opt.header_timeout_ms * NS_PER_MS;
    else if (ex != NULL && ex->state == EX_READING)
        at = ex->start_ns + (int64_t)c->listener->opt.read_timeout_ms * NS_PER_MS +
             (int64_t)(ex->req.wire_bytes / BODY_RATE_MIN) * NS_PER_S;
    else if (ex != NULL)
        at = ex->queued ? ex->deadline_ns : 0;
    if ((at != 0 && c->loop->now_ns > at) || (half_closed && c->h1.half_closed))
        shutdown(c->fd, SHUT_RDWR);
    c->h1.half_closed = half_closed;
}

/* An idle connection ends a little later: a request that is on its way meanwhile is refused, which
 * its client can tell from one that may have been stored. */
void h1_drain(struct conn *c)
{
    if (c->h1.ex == NULL)
        c->deadline_ns = c->loop->now_ns + DRAIN_LINGER_NS;
}

void h1_loop_free(struct loop *loop)
{
    while (loop->daemons != NULL) {
        struct h1_daemon *d = loop->daemons;
        loop->daemons = d->next;
        MHD_stop_daemon(d->mhd);
        free(d);
    }
}
