/* SPDX-License-Identifier: Apache-2.0
 * "Upgrade: h2c": an HTTP/1.1 connection becomes HTTP/2 and its request becomes stream 1.
 *
 * Only for plain text and for requests without a body; otherwise the wish is ignored, as RFC 9110
 * allows. libmicrohttpd keeps its descriptor to close it, so the new connection works on a
 * duplicate; the count of connections passes to it. Loop thread only. */
#include <fcntl.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <unistd.h>

#include "server_int.h"

#define SETTINGS_TEXT_MAX 512

static bool has_token(struct str list, struct str token)
{
    while (list.n != 0) {
        struct str item = str_trim(str_cut(list, ',', &list));
        if (str_ieq(item, token))
            return true;
    }
    return false;
}

bool h1_upgrade_wanted(const struct exchange *cex, struct str version)
{
    union {
        const struct exchange *in;
        struct exchange *out;
    } u = {.in = cex}; /* the getters take it without const */
    struct exchange *ex = u.out;
    struct str upgrade, connection, settings, length;
    if (ex->listener->tls != NULL || !ex->listener->opt.http2 || !str_eqz(version, "HTTP/1.1"))
        return false;
    if (!exchange_header(ex, "upgrade", &upgrade) || !has_token(upgrade, STR("h2c")))
        return false;
    if (!exchange_header(ex, "connection", &connection) ||
        !has_token(connection, STR("HTTP2-Settings")) ||
        exchange_header_count(ex, "http2-settings") != 1 ||
        !exchange_header(ex, "http2-settings", &settings) || settings.n > SETTINGS_TEXT_MAX)
        return false;
    if (exchange_header(ex, "transfer-encoding", &length))
        return false;
    return !exchange_header(ex, "content-length", &length) || str_eqz(length, "0");
}

/* base64url without padding, as in RFC 7540 section 3.2.1. */
static bool decode_settings(struct str text, uint8_t *out, size_t *ret_n)
{
    char plain[SETTINGS_TEXT_MAX];
    ASSERT(text.n <= sizeof(plain));
    for (size_t i = 0; i < text.n; i++)
        plain[i] = text.p[i] == '-' ? '+' : text.p[i] == '_' ? '/' : text.p[i];
    return base64_decode(out, ret_n, str_n(plain, text.n));
}

static bool hop_header(struct str name)
{
    static const char *const hops[] = {
        "connection", "upgrade", "http2-settings", "keep-alive", "proxy-connection"};
    for (size_t i = 0; i < ARRAY_LEN(hops); i++)
        if (str_ieq(name, str_from(hops[i])))
            return true;
    return false;
}

/* The request goes on as stream 1. */
static void replay(struct h2_conn *h, struct exchange *from)
{
    h2_stream_begin(h, 1);
    struct exchange *ex = h->streams;
    h2_stream_header(ex, STR(":method"), from->req.method);
    h2_stream_header(ex, STR(":path"), from->target);
    for (size_t i = 0; i < from->n_headers; i++)
        if (!hop_header(from->headers[i].name))
            h2_stream_header(ex, from->headers[i].name, from->headers[i].value);
    h2_stream_head_done(h, ex, true);
}

static void upgraded(void *ctx, struct MHD_Connection *m, void *request, const char *extra,
    size_t extra_n, MHD_socket fd, struct MHD_UpgradeResponseHandle *urh)
{
    struct exchange *from = ctx;
    uint8_t settings[SETTINGS_TEXT_MAX];
    size_t n = 0;
    struct str text;
    (void)m;
    (void)request;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) {
        (void)MHD_upgrade_action(urh, MHD_UPGRADE_ACTION_CLOSE);
        return;
    }
    struct conn *c = conn_hand_over(from->conn, copy);
    (void)MHD_upgrade_action(urh, MHD_UPGRADE_ACTION_CLOSE);
    h1_wake(c->loop);
    if (!h2_adopt(c, false))
        return;
    struct h2_conn *h = c->h2;
    bool is_head = from->is_head;
    if (!exchange_header(from, "http2-settings", &text) || !decode_settings(text, settings, &n) ||
        nghttp2_session_upgrade2(h->session, settings, n, is_head, NULL) != 0) {
        conn_free(c);
        return;
    }
    replay(h, from);
    if (extra_n != 0 && nghttp2_session_mem_recv(h->session, (const uint8_t *)extra, extra_n) < 0)
        h->failed = true;
    h2_mark_dirty(c);
}

bool h1_upgrade(struct exchange *ex, void *connection)
{
    struct MHD_Response *r = MHD_create_response_for_upgrade(upgraded, ex);
    if (r == NULL)
        return false;
    ex->state = EX_ANSWERED;
    ex->queued = true;
    ex->deadline_ns = ex->loop->now_ns + (int64_t)ex->listener->opt.read_timeout_ms * NS_PER_MS;
    bool ok = MHD_add_response_header(r, "Upgrade", "h2c") == MHD_YES &&
              MHD_queue_response(connection, MHD_HTTP_SWITCHING_PROTOCOLS, r) == MHD_YES;
    MHD_destroy_response(r);
    return ok;
}
