/* SPDX-License-Identifier: Apache-2.0
 * An HTTP/2 connection: session set-up, frame-level protection, timeouts, keepalive, GOAWAY.
 *
 * Everything runs on the connection's loop. Callbacks from nghttp2 never write to the socket; they
 * mark the connection dirty and the loop flushes it once per batch.
 *
 * Floods: nghttp2 bounds streams, header blocks and queued acknowledgements; here are counted
 * RST_STREAM by the client (rapid reset), CONTINUATION frames in a row, and SETTINGS, PING,
 * PRIORITY and empty DATA. Over the rate the connection ends with ENHANCE_YOUR_CALM. PINGs are
 * forgiven whenever we send HEADERS or DATA, because gRPC clients measure bandwidth with them. */
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "server_int.h"
#include "tls.h"

#define H2_BYTES          (14u << 10) /* what nghttp2 holds for a connection without streams */
#define STREAM_WINDOW     (1 << 20)
#define CONNECTION_WINDOW (4 << 20)
#define CONTINUATIONS_MAX 8
#define RESET_BURST       200
#define RESET_RATE        50
#define CONTROL_BURST     500
#define CONTROL_RATE      50

void h2_mark_dirty(struct conn *c)
{
    if (c->dirty)
        return;
    c->dirty = true;
    c->dirty_next = c->loop->dirty;
    c->loop->dirty = c;
}

static void h2_calm(struct h2_conn *h, const char *what)
{
    log_event(LOG_DEBUG, "connection closed: flood", LZ("peer", h->conn->peer), LZ("frames", what));
    nghttp2_session_terminate_session(h->session, NGHTTP2_ENHANCE_YOUR_CALM);
    h->closing = true;
}

/* ---- nghttp2 callbacks ---- */

static int on_begin_frame(nghttp2_session *s, const nghttp2_frame_hd *hd, void *ctx)
{
    struct h2_conn *h = ctx;
    (void)s;
    if (hd->type == NGHTTP2_CONTINUATION) {
        if (++h->continuations > CONTINUATIONS_MAX)
            h2_calm(h, "CONTINUATION");
    } else {
        h->continuations = 0;
    }
    bool control = hd->type == NGHTTP2_PRIORITY || (hd->type == NGHTTP2_DATA && hd->length == 0) ||
                   ((hd->type == NGHTTP2_SETTINGS || hd->type == NGHTTP2_PING) &&
                       (hd->flags & NGHTTP2_FLAG_ACK) == 0);
    if (control && !bucket_take(&h->controls, h->conn->loop->now_ns, CONTROL_BURST, CONTROL_RATE))
        h2_calm(h, "control");
    if (hd->type == NGHTTP2_RST_STREAM &&
        !bucket_take(&h->resets, h->conn->loop->now_ns, RESET_BURST, RESET_RATE))
        h2_calm(h, "RST_STREAM");
    return 0;
}

static int on_begin_headers(nghttp2_session *s, const nghttp2_frame *frame, void *ctx)
{
    (void)s;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        h2_stream_begin(ctx, frame->hd.stream_id);
    return 0;
}

static int on_header(nghttp2_session *s, const nghttp2_frame *frame, const uint8_t *name,
    size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *ctx)
{
    (void)flags;
    (void)ctx;
    struct exchange *ex = nghttp2_session_get_stream_user_data(s, frame->hd.stream_id);
    if (ex != NULL && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        h2_stream_header(
            ex, str_n((const char *)name, name_n), str_n((const char *)value, value_n));
    return 0;
}

static int on_frame(nghttp2_session *s, const nghttp2_frame *frame, void *ctx)
{
    struct h2_conn *h = ctx;
    struct exchange *ex = nghttp2_session_get_stream_user_data(s, frame->hd.stream_id);
    bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (ex == NULL)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        h2_stream_head_done(h, ex, end);
    else if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) && end)
        h2_stream_end(ex);
    return 0;
}

static int on_data(
    nghttp2_session *s, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *ctx)
{
    (void)flags;
    (void)ctx;
    struct exchange *ex = nghttp2_session_get_stream_user_data(s, id);
    if (ex != NULL)
        h2_stream_data(ex, p, n);
    return 0;
}

static int on_close(nghttp2_session *s, int32_t id, uint32_t code, void *ctx)
{
    (void)code;
    struct exchange *ex = nghttp2_session_get_stream_user_data(s, id);
    if (ex != NULL)
        h2_stream_closed(ctx, ex);
    return 0;
}

static int on_sent(nghttp2_session *s, const nghttp2_frame *frame, void *ctx)
{
    struct h2_conn *h = ctx;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    h->controls.tokens = CONTROL_BURST;
    struct exchange *ex = nghttp2_session_get_stream_user_data(s, frame->hd.stream_id);
    if (ex != NULL && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 && !ex->stream_ended)
        nghttp2_submit_rst_stream(s, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    return 0;
}

static bool session_new(struct h2_conn *h)
{
    nghttp2_session_callbacks *cb = NULL;
    nghttp2_option *opt = NULL;
    if (nghttp2_session_callbacks_new(&cb) != 0)
        return false;
    if (nghttp2_option_new(&opt) != 0) {
        nghttp2_session_callbacks_del(cb);
        return false;
    }
    nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_sent);
    nghttp2_option_set_no_closed_streams(opt, 1);
    int rc = nghttp2_session_server_new2(&h->session, cb, h, opt);
    nghttp2_option_del(opt);
    nghttp2_session_callbacks_del(cb);
    return rc == 0;
}

/* ---- life ---- */

static void h2_ready(struct pollable *p, uint32_t events)
{
    struct conn *c = CONTAINER_OF(p, struct conn, poll);
    if (c->dead)
        return;
    struct h2_conn *h = c->h2;
    if (h->handshaking) {
        int rc = gnutls_handshake(h->tls);
        if (rc == GNUTLS_E_AGAIN || rc == GNUTLS_E_INTERRUPTED)
            return;
        if (rc != GNUTLS_E_SUCCESS) {
            log_event(LOG_INFO, "TLS handshake failed", LZ("listener", c->listener->name),
                LZ("peer", c->peer), LZ("err", gnutls_strerror(rc)));
            conn_free(c);
            return;
        }
        h->handshaking = false;
        h->cert = tls_peer_new(c->listener->tls, h->tls);
        c->deadline_ns = 0;
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && !h2_read(h)) {
        conn_free(c);
        return;
    }
    h2_mark_dirty(c);
}

bool h2_adopt(struct conn *c, bool tls)
{
    struct h2_conn *h = xcalloc(1, sizeof(*h));
    c->kind = CONN_H2;
    c->h2 = h;
    h->conn = c;
    h->active_ns = h->heard_ns = h->wrote_ns = c->loop->now_ns;
    h->handshaking = tls;
    loop_remember(c);
    if (!conn_charge(c, H2_BYTES + (tls ? CONN_TLS_BYTES : 0))) {
        conn_free(c);
        return false;
    }
    if (tls)
        h->tls = tls_session_new(c->listener->tls, c->fd);
    if ((tls && h->tls == NULL) || !session_new(h)) {
        conn_free(c);
        return false;
    }
    if (!tls)
        c->deadline_ns = 0;
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, c->listener->opt.streams_max},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,
            HEADER_BLOCK_MAX + c->listener->opt.url_bytes_max - URL_MAX},
    };
    c->poll.fn = h2_ready;
    if (nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, ARRAY_LEN(settings)) !=
            0 ||
        nghttp2_session_set_local_window_size(
            h->session, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW) != 0 ||
        !loop_watch(c->loop, c->fd, EPOLLIN, &c->poll)) {
        conn_free(c);
        return false;
    }
    if (c->loop->draining)
        h2_drain(c);
    return true;
}

void h2_conn_free(struct conn *c)
{
    struct h2_conn *h = c->h2;
    if (h == NULL)
        return;
    while (h->streams != NULL)
        h2_stream_closed(h, h->streams);
    if (h->session != NULL)
        nghttp2_session_del(h->session);
    if (h->tls != NULL) {
        if (!h->handshaking)
            (void)gnutls_bye(h->tls, GNUTLS_SHUT_WR); /* best effort, the socket closes next */
        gnutls_deinit(h->tls);
    }
    buf_deinit(&h->out);
    tls_peer_free(h->cert);
    free(h);
    c->h2 = NULL;
}

void h2_flush(struct conn *c)
{
    struct h2_conn *h = c->h2;
    if (h->handshaking)
        return;
    if (!h2_write(h)) {
        conn_free(c);
        return;
    }
    bool empty = h->out_pos == h->out.n;
    bool over =
        nghttp2_session_want_read(h->session) == 0 && nghttp2_session_want_write(h->session) == 0;
    if (!empty || (!over && !h->failed))
        return;
    if (h->failed || !h->drained) {
        conn_free(c);
    } else if (!h->lingers) {
        h->lingers = true;
        c->deadline_ns = c->loop->now_ns + DRAIN_LINGER_NS;
    }
}

/* No new streams. The notice comes first, so that requests already on the wire are still served. */
void h2_drain(struct conn *c)
{
    struct h2_conn *h = c->h2;
    if (h->drain_ns != 0 || h->closing)
        return;
    h->drain_ns = c->loop->now_ns;
    nghttp2_submit_shutdown_notice(h->session);
    h2_mark_dirty(c);
}

static void h2_goaway(struct h2_conn *h)
{
    h->drained = true;
    nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE,
        nghttp2_session_get_last_proc_stream_id(h->session), NGHTTP2_NO_ERROR, NULL, 0);
    h2_mark_dirty(h->conn);
}

static void h2_keepalive(struct h2_conn *h, int64_t now)
{
    const struct listener_options *o = &h->conn->listener->opt;
    if (h->ping_ns != 0) {
        if (now - h->ping_ns > (int64_t)o->keepalive_timeout_ms * NS_PER_MS)
            conn_free(h->conn);
        return;
    }
    if (now - h->heard_ns > (int64_t)o->keepalive_time_ms * NS_PER_MS) {
        nghttp2_submit_ping(h->session, NGHTTP2_FLAG_NONE, NULL);
        h->ping_ns = now;
        h2_mark_dirty(h->conn);
    }
}

void h2_sweep(struct conn *c)
{
    struct h2_conn *h = c->h2;
    const struct listener_options *o = &c->listener->opt;
    int64_t now = c->loop->now_ns, read_ns = (int64_t)o->read_timeout_ms * NS_PER_MS;
    if (c->deadline_ns != 0 &&
        now > c->deadline_ns) { /* handshake, or a goodbye that nobody read */
        conn_free(c);
        return;
    }
    if (h->handshaking)
        return;
    if (h->out_pos != h->out.n && now - h->wrote_ns > read_ns) {
        conn_free(c); /* the client reads nothing */
        return;
    }
    for (struct exchange *ex = h->streams, *next; ex != NULL; ex = next) {
        next = ex->next;
        h2_stream_sweep(h, ex);
    }
    if (h->n_streams != 0)
        h->active_ns = now;
    bool idle = now - h->active_ns > (int64_t)o->idle_timeout_ms * NS_PER_MS;
    if (!h->drained && ((h->drain_ns != 0 && now - h->drain_ns >= DRAIN_NOTICE_NS) || idle))
        h2_goaway(h);
    if (h->drained && h->n_streams == 0 && c->deadline_ns == 0)
        c->deadline_ns = now + NS_PER_S;
    h2_keepalive(h, now);
}
