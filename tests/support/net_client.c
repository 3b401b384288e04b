/* SPDX-License-Identifier: Apache-2.0
 * Test clients over plain sockets; see net_client.h. */
#include "net_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/clock.h"
#include "unit.h"

#define TIMEOUT_MS 10000

struct net net_connect(unsigned port, int receive_buffer)
{
    struct net c = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    struct sockaddr_in a = {.sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval t = {.tv_sec = TIMEOUT_MS / 1000};
    assert_true(c.fd >= 0);
    setsockopt(c.fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
    setsockopt(c.fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t));
    if (receive_buffer != 0)
        setsockopt(c.fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    assert_int_equal(connect(c.fd, (struct sockaddr *)&a, sizeof(a)), 0);
    int on = 1;
    setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return c;
}

bool net_tls_start(struct net *c, const struct net_tls *opt)
{
    assert_int_equal(gnutls_certificate_allocate_credentials(&c->cred), 0);
    if (opt->cert_pem != NULL) {
        gnutls_datum_t cert = {(void *)(uintptr_t)opt->cert_pem, (unsigned)strlen(opt->cert_pem)};
        gnutls_datum_t key = {(void *)(uintptr_t)opt->key_pem, (unsigned)strlen(opt->key_pem)};
        assert_int_equal(
            gnutls_certificate_set_x509_key_mem(c->cred, &cert, &key, GNUTLS_X509_FMT_PEM), 0);
    }
    assert_int_equal(gnutls_init(&c->tls, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL), 0);
    assert_int_equal(
        gnutls_priority_set_direct(c->tls, opt->priority == NULL ? "NORMAL" : opt->priority, NULL),
        0);
    gnutls_credentials_set(c->tls, GNUTLS_CRD_CERTIFICATE, c->cred);
    if (opt->alpn != NULL) {
        gnutls_datum_t d = {(void *)(uintptr_t)opt->alpn, (unsigned)strlen(opt->alpn)};
        gnutls_alpn_set_protocols(c->tls, &d, 1, 0);
    }
    gnutls_transport_set_int(c->tls, c->fd);
    int rc;
    do {
        rc = gnutls_handshake(c->tls);
    } while (rc < 0 && gnutls_error_is_fatal(rc) == 0);
    return rc == 0;
}

void net_close(struct net *c)
{
    if (c->tls != NULL)
        gnutls_deinit(c->tls);
    if (c->cred != NULL)
        gnutls_certificate_free_credentials(c->cred);
    if (c->fd >= 0)
        close(c->fd);
    buf_deinit(&c->in);
    *c = (struct net){.fd = -1};
}

bool net_send(struct net *c, const void *p, size_t n)
{
    const uint8_t *at = p;
    while (n != 0) {
        ssize_t put =
            c->tls != NULL ? gnutls_record_send(c->tls, at, n) : send(c->fd, at, n, MSG_NOSIGNAL);
        if (put == GNUTLS_E_AGAIN || put == GNUTLS_E_INTERRUPTED)
            continue;
        if (put <= 0)
            return false;
        at += put;
        n -= (size_t)put;
    }
    return true;
}

bool net_sendz(struct net *c, const char *z)
{
    return net_send(c, z, strlen(z));
}

ssize_t net_recv(struct net *c, void *p, size_t n)
{
    for (;;) {
        ssize_t got = c->tls != NULL ? gnutls_record_recv(c->tls, p, n) : recv(c->fd, p, n, 0);
        if (c->tls != NULL && (got == GNUTLS_E_AGAIN || got == GNUTLS_E_INTERRUPTED))
            continue;
        return got < 0 ? -1 : got;
    }
}

bool net_wait_closed(struct net *c, int timeout_ms)
{
    char sink[4096];
    int64_t until = clock_mono_ns() + timeout_ms * NS_PER_MS;
    while (clock_mono_ns() < until) {
        struct pollfd p = {.fd = c->fd, .events = POLLIN};
        if (poll(&p, 1, (int)((until - clock_mono_ns()) / NS_PER_MS) + 1) <= 0)
            continue;
        if (recv(c->fd, sink, sizeof(sink), 0) <= 0)
            return true;
    }
    return false;
}

/* ---- HTTP/1.1 ---- */

static bool net_more(struct net *c)
{
    if (!buf_reserve(&c->in, 65536))
        return false;
    ssize_t n = net_recv(c, c->in.p + c->in.n, 65536);
    if (n <= 0)
        return false;
    c->in.n += (size_t)n;
    return true;
}

static void net_take(struct net *c, size_t n, struct buf *ret)
{
    buf_put(ret, c->in.p, n);
    memmove(c->in.p, c->in.p + n, c->in.n - n);
    c->in.n -= n;
}

bool answer_header(const struct http_answer *a, const char *name, struct str *ret)
{
    struct str rest = buf_str(&a->head);
    while (rest.n != 0) {
        struct str value, line = str_cut(rest, '\n', &rest);
        if (line.n != 0 && line.p[line.n - 1] == '\r')
            line.n--;
        struct str key = str_cut(line, ':', &value);
        if (str_ieq(key, str_from(name))) {
            *ret = str_trim(value);
            return true;
        }
    }
    return false;
}

bool net_answer(struct net *c, struct http_answer *a, bool no_body)
{
    *a = (struct http_answer){0};
    const char *end;
    while (c->in.n == 0 || (end = memmem(c->in.p, c->in.n, "\r\n\r\n", 4)) == NULL)
        if (!net_more(c))
            return false;
    net_take(c, (size_t)(end - (const char *)c->in.p) + 4, &a->head);
    assert_true(a->head.n > 12 && memcmp(a->head.p, "HTTP/1.1 ", 9) == 0);
    a->status = (unsigned)(a->head.p[9] - '0') * 100 + (unsigned)(a->head.p[10] - '0') * 10 +
                (unsigned)(a->head.p[11] - '0');
    if (a->status < 200)
        return true;
    struct str length;
    uint64_t n = 0;
    if (answer_header(a, "content-length", &length))
        assert_true(str_to_u64(length, &n));
    if (no_body)
        n = 0;
    while (c->in.n < n)
        if (!net_more(c))
            return false;
    net_take(c, (size_t)n, &a->body);
    return true;
}

void answer_free(struct http_answer *a)
{
    buf_deinit(&a->head);
    buf_deinit(&a->body);
}

void net_once(unsigned port, const char *request, struct http_answer *a)
{
    struct net c = net_connect(port, 0);
    assert_true(net_sendz(&c, request));
    assert_true(net_answer(&c, a, strncmp(request, "HEAD", 4) == 0));
    net_close(&c);
}

/* ---- HTTP/2 ---- */

static char *copy(const uint8_t *p, size_t n)
{
    return xstrndup((const char *)p, n);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
    size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *ctx)
{
    (void)flags;
    (void)ctx;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (s == NULL)
        return 0;
    struct h2_header h = {copy(name, name_n), copy(value, value_n)};
    if (strcmp(h.name, ":status") == 0)
        s->status = (unsigned)atoi(h.value);
    if (frame->headers.cat == NGHTTP2_HCAT_RESPONSE)
        VEC_PUSH(&s->headers, h);
    else
        VEC_PUSH(&s->trailers, h);
    return 0;
}

static int on_data(
    nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *ctx)
{
    (void)flags;
    (void)ctx;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
    if (s != NULL)
        buf_put(&s->body, p, n);
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *ctx)
{
    (void)ctx;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
    if (s != NULL) {
        s->closed = true;
        s->error_code = code;
    }
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct h2_client *c = ctx;
    (void)session;
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        c->goaway = true;
        c->goaway_code = frame->goaway.error_code;
        c->goaway_last = frame->goaway.last_stream_id;
    }
    return 0;
}

struct h2_client *h2_open(struct net net, uint32_t window, bool auto_window)
{
    struct h2_client *c = xcalloc(1, sizeof(*c));
    nghttp2_session_callbacks *cb;
    nghttp2_option *opt;
    c->net = net;
    nghttp2_session_callbacks_new(&cb);
    nghttp2_option_new(&opt);
    nghttp2_option_set_no_auto_window_update(opt, !auto_window);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_client_new2(&c->session, cb, c, opt);
    nghttp2_session_callbacks_del(cb);
    nghttp2_option_del(opt);
    nghttp2_settings_entry iv = {
        NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window == 0 ? 65535 : window};
    nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, &iv, 1);
    return c;
}

void h2_free(struct h2_client *c)
{
    nghttp2_session_del(c->session);
    net_close(&c->net);
    free(c);
}

static ssize_t read_upload(nghttp2_session *session, int32_t id, uint8_t *p, size_t n,
    uint32_t *flags, nghttp2_data_source *source, void *ctx)
{
    (void)session;
    (void)id;
    (void)ctx;
    struct h2_stream *s = source->ptr;
    n = MIN(n, s->upload.n - s->uploaded);
    if (s->chunk != 0)
        n = MIN(n, s->chunk);
    if (n == 0 && s->hold_end)
        return NGHTTP2_ERR_DEFERRED;
    if (n != 0)
        memcpy(p, s->upload.p + s->uploaded, n);
    s->uploaded += n;
    if (s->uploaded == s->upload.n && !s->hold_end)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

struct h2_stream *h2_request(
    struct h2_client *c, const char *const *pairs, struct bytes upload, bool has_body)
{
    nghttp2_nv nv[32];
    size_t n = 0;
    for (; pairs[2 * n] != NULL; n++) {
        assert_true(n < ARRAY_LEN(nv));
        nv[n] =
            (nghttp2_nv){(uint8_t *)(uintptr_t)pairs[2 * n], (uint8_t *)(uintptr_t)pairs[2 * n + 1],
                strlen(pairs[2 * n]), strlen(pairs[2 * n + 1]), 0};
    }
    struct h2_stream *s = xcalloc(1, sizeof(*s));
    s->upload = upload;
    nghttp2_data_provider d = {.source.ptr = s, .read_callback = read_upload};
    s->id = nghttp2_submit_request(c->session, NULL, nv, n, has_body ? &d : NULL, s);
    assert_true(s->id > 0);
    return s;
}

struct h2_stream *h2_upgraded(struct h2_client *c, const char *settings, size_t n)
{
    struct h2_stream *s = xcalloc(1, sizeof(*s));
    s->id = 1;
    assert_int_equal(nghttp2_session_upgrade2(c->session, (const uint8_t *)settings, n, 0, s), 0);
    return s;
}

struct h2_stream *h2_grpc(
    struct h2_client *c, const char *path, const char *encoding, struct bytes framed)
{
    const char *pairs[] = {":method", "POST", ":scheme", "http", ":path", path, ":authority",
        "test", "content-type", "application/grpc", "te", "trailers",
        encoding == NULL ? NULL : "grpc-encoding", encoding, NULL};
    return h2_request(c, pairs, framed, true);
}

bool h2_step(struct h2_client *c, int timeout_ms)
{
    const uint8_t *p;
    ssize_t n;
    while ((n = nghttp2_session_mem_send(c->session, &p)) > 0)
        if (!net_send(&c->net, p, (size_t)n))
            break;          /* what the server said before closing can still be read */
    if (c->net.in.n != 0) { /* read together with the answer to an upgrade */
        c->dead = nghttp2_session_mem_recv(c->session, c->net.in.p, c->net.in.n) < 0;
        c->net.in.n = 0;
        return !c->dead;
    }
    struct pollfd fd = {.fd = c->net.fd, .events = POLLIN};
    bool pending = c->net.tls != NULL && gnutls_record_check_pending(c->net.tls) != 0;
    if (c->dead || (!pending && poll(&fd, 1, timeout_ms) <= 0))
        return false;
    uint8_t in[65536];
    n = net_recv(&c->net, in, sizeof(in));
    if (n <= 0 || nghttp2_session_mem_recv(c->session, in, (size_t)n) != n) {
        c->dead = true;
        return false;
    }
    while ((n = nghttp2_session_mem_send(c->session, &p)) > 0)
        if (!net_send(&c->net, p, (size_t)n))
            break;
    return true;
}

bool h2_finish(struct h2_client *c, struct h2_stream *s)
{
    int64_t until = clock_mono_ns() + TIMEOUT_MS * NS_PER_MS;
    while (!s->closed && !c->dead && clock_mono_ns() < until)
        (void)h2_step(c, 100);
    return s->closed;
}

const char *h2_header(const struct h2_stream *s, const char *name)
{
    for (size_t i = 0; i < s->headers.n; i++)
        if (strcmp(s->headers.p[i].name, name) == 0)
            return s->headers.p[i].value;
    return NULL;
}

const char *h2_trailer(const struct h2_stream *s, const char *name)
{
    for (size_t i = 0; i < s->trailers.n; i++)
        if (strcmp(s->trailers.p[i].name, name) == 0)
            return s->trailers.p[i].value;
    return s->trailers.n == 0 ? h2_header(s, name) : NULL;
}

void h2_stream_free(struct h2_stream *s)
{
    for (size_t i = 0; i < s->headers.n; i++) {
        free(s->headers.p[i].name);
        free(s->headers.p[i].value);
    }
    for (size_t i = 0; i < s->trailers.n; i++) {
        free(s->trailers.p[i].name);
        free(s->trailers.p[i].value);
    }
    VEC_FREE(&s->headers);
    VEC_FREE(&s->trailers);
    buf_deinit(&s->body);
    free(s);
}
