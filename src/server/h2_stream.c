/* SPDX-License-Identifier: Apache-2.0
 * HTTP/2 streams: from header block to exchange, and from answer to frames. Loop thread only. */
#include <stdio.h>
#include <stdlib.h>

#include "server_int.h"
#include "tls.h"

static struct h2_conn *h2_of(struct exchange *ex)
{
    ASSERT(ex->conn != NULL && ex->conn->kind == CONN_H2);
    return ex->conn->h2;
}

void h2_stream_begin(struct h2_conn *h, int32_t id)
{
    struct exchange *ex = exchange_new(h->conn->loop, h->conn->listener, h->conn);
    ex->stream_id = id;
    ex->req.is_h2 = true;
    ex->deadline_ns =
        h->conn->loop->now_ns + (int64_t)h->conn->listener->opt.read_timeout_ms * NS_PER_MS;
    ex->next = h->streams;
    if (h->streams != NULL)
        h->streams->prev = ex;
    h->streams = ex;
    h->n_streams++;
    tls_peer_show(h->cert, ex);
    nghttp2_session_set_stream_user_data(h->session, id, ex);
}

/* A long URL is not taken from what the other headers may have. */
static size_t h2_header_max(const struct exchange *ex, size_t url)
{
    if (url <= URL_MAX || url > ex->listener->opt.url_bytes_max)
        return HEADER_BLOCK_MAX;
    return HEADER_BLOCK_MAX + url - URL_MAX;
}

void h2_stream_header(struct exchange *ex, struct str name, struct str value)
{
    ex->header_bytes += name.n + value.n + 32; /* as SETTINGS_MAX_HEADER_LIST_SIZE counts */
    size_t url = str_eqz(name, ":path") ? value.n : ex->req.raw_path.n;
    if (ex->header_bytes > h2_header_max(ex, url))
        return;
    if (name.n != 0 && name.p[0] == ':') {
        if (str_eqz(name, ":method"))
            ex->req.method = arena_str(&ex->arena, value);
        else if (str_eqz(name, ":path"))
            ex->req.raw_path = arena_str(&ex->arena, value);
        else if (str_eqz(name, ":authority"))
            name = STR("host");
        if (name.p[0] == ':')
            return;
    }
    if (!exchange_add_header(ex, name, value, true))
        ex->header_refused = true;
}

/* ---- answers ---- */

static nghttp2_nv nv(struct str name, struct str value)
{
    union {
        const char *in;
        uint8_t *out;
    } n = {.in = name.p}, v = {.in = value.p}; /* nghttp2 copies, its pointers are not const */
    return (nghttp2_nv){n.out, v.out, name.n, value.n, NGHTTP2_NV_FLAG_NONE};
}

/* WHY not the arena: a streaming handler may be using it on its own thread. */
struct status_text {
    char s[12];
};
static struct str status_text(const struct exchange *ex, struct status_text *t)
{
    snprintf(t->s, sizeof(t->s), "%u", ex->status == 0 ? 200 : ex->status);
    return str_from(t->s);
}

static ssize_t read_body(nghttp2_session *s, int32_t id, uint8_t *p, size_t n, uint32_t *flags,
    nghttp2_data_source *source, void *ctx)
{
    (void)s;
    (void)id;
    (void)ctx;
    struct exchange *ex = source->ptr;
    n = MIN(n, ex->body.n - (size_t)ex->body_sent);
    if (n != 0)
        memcpy(p, ex->body.p + ex->body_sent, n);
    ex->body_sent += n;
    if (ex->body_sent == ex->body.n)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    ex->deadline_ns = ex->loop->now_ns + (int64_t)ex->listener->opt.read_timeout_ms * NS_PER_MS;
    return (ssize_t)n;
}

/* Those that the handler has set, in lower case; returns how many. */
static size_t own_headers(struct exchange *ex, nghttp2_nv *list)
{
    size_t n = 0;
    for (size_t i = 0; i < ex->n_out_headers; i++) {
        char *name = exchange_answer_text(ex, ex->out_headers[i].name);
        if (name == NULL)
            continue;
        for (char *k = name; *k != 0; k++)
            if (*k >= 'A' && *k <= 'Z')
                *k = (char)(*k + 'a' - 'A');
        list[n++] = nv(str_from(name), ex->out_headers[i].value);
    }
    return n;
}

static void submit_http(struct h2_conn *h, struct exchange *ex)
{
    size_t n = 0, cap = ex->n_out_headers + 2;
    nghttp2_nv *list = xcalloc(cap, sizeof(*list));
    char length[24];
    snprintf(length, sizeof(length), "%zu", ex->body.n);
    struct status_text status;
    list[n++] = nv(STR(":status"), status_text(ex, &status));
    n += own_headers(ex, list + n);
    if (ex->status != 204 && ex->status != 304)
        list[n++] = nv(STR("content-length"), str_from(length));
    nghttp2_data_provider body = {.source.ptr = ex, .read_callback = read_body};
    bool with_body = !ex->is_head && ex->body.n != 0;
    nghttp2_submit_response(h->session, ex->stream_id, list, n, with_body ? &body : NULL);
    free(list);
}

#define GRPC_TRAILERS_MAX 3u /* besides those that the handler has set */

/* grpc-status and its companions; returns how many. Once finished: no handler sets any more. */
static size_t grpc_trailers(struct exchange *ex, nghttp2_nv *list)
{
    size_t n = own_headers(ex, list);
    char *status = arena_printf(&ex->arena, "%u", ex->grpc_status);
    list[n++] = nv(STR("grpc-status"), status == NULL ? STR("8") : str_from(status));
    struct str text = grpc_message_escape(&ex->arena, ex->grpc_message);
    if (text.n != 0)
        list[n++] = nv(STR("grpc-message"), text);
    if (ex->grpc_details.n != 0) {
        char *b64 = exchange_answer_room(ex, base64_size(ex->grpc_details.n));
        if (b64 != NULL) {
            size_t len = base64_encode(b64, ex->grpc_details);
            while (len != 0 && b64[len - 1] == '=')
                len--;
            list[n++] = nv(STR("grpc-status-details-bin"), str_n(b64, len));
        }
    }
    return n;
}

static ssize_t read_grpc(nghttp2_session *s, int32_t id, uint8_t *p, size_t n, uint32_t *flags,
    nghttp2_data_source *source, void *ctx)
{
    (void)ctx;
    struct exchange *ex = source->ptr;
    bool end;
    n = grpc_take_out(ex, p, n, &end);
    if (end) {
        nghttp2_nv *list = xcalloc(GRPC_TRAILERS_MAX + ex->n_out_headers, sizeof(*list));
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        nghttp2_submit_trailer(s, id, list, grpc_trailers(ex, list));
        free(list);
    } else if (n == 0) {
        ex->deadline_ns = 0; /* it is the application that keeps the client waiting */
        return NGHTTP2_ERR_DEFERRED;
    }
    ex->deadline_ns = ex->loop->now_ns + (int64_t)ex->listener->opt.read_timeout_ms * NS_PER_MS;
    return (ssize_t)n;
}

static void submit_grpc(struct h2_conn *h, struct exchange *ex)
{
    nghttp2_nv list[4];
    size_t n = 0;
    bool only_trailers, none = true;
    if (ex->sync_ready) {
        pthread_mutex_lock(&ex->out_lock);
        none = !ex->grpc_streaming;
        only_trailers = ex->finished && none;
        pthread_mutex_unlock(&ex->out_lock);
    } else {
        only_trailers = ex->finished; /* refused by this loop: no other thread has seen it */
    }
    if (none && !only_trailers)
        return; /* nothing to say yet */
    struct status_text status;
    list[n++] = nv(STR(":status"), only_trailers ? status_text(ex, &status) : STR("200"));
    list[n++] = nv(STR("content-type"), STR("application/grpc"));
    ex->submitted = true;
    if (only_trailers) {
        nghttp2_nv *all = xcalloc(n + GRPC_TRAILERS_MAX + ex->n_out_headers, sizeof(*all));
        memcpy(all, list, n * sizeof(*all));
        n += grpc_trailers(ex, all + n);
        nghttp2_submit_response(h->session, ex->stream_id, all, n, NULL);
        free(all);
        return;
    }
    list[n++] = nv(STR("grpc-accept-encoding"), STR("gzip,zstd,snappy"));
    if (ex->grpc_coding != CODING_IDENTITY)
        list[n++] =
            nv(STR("grpc-encoding"), ex->grpc_coding == CODING_GZIP ? STR("gzip") : STR("zstd"));
    nghttp2_data_provider body = {.source.ptr = ex, .read_callback = read_grpc};
    nghttp2_submit_response(h->session, ex->stream_id, list, n, &body);
}

void h2_answer_ready(struct exchange *ex)
{
    struct h2_conn *h = h2_of(ex);
    if (ex->submitted) {
        if (ex->req.is_grpc) /* fails when not deferred: it will be read anyway */
            (void)nghttp2_session_resume_data(h->session, ex->stream_id);
    } else if (ex->req.is_grpc) {
        submit_grpc(h, ex);
    } else if (atomic_load_explicit(&ex->answered, memory_order_acquire)) {
        ex->submitted = true;
        submit_http(h, ex);
    }
    if (ex->submitted && ex->deadline_ns == 0)
        ex->deadline_ns = ex->loop->now_ns + (int64_t)ex->listener->opt.read_timeout_ms * NS_PER_MS;
    h2_mark_dirty(ex->conn);
}

/* ---- requests ---- */

static void h2_refuse(struct exchange *ex, unsigned status, const char *text)
{
    if (ex->req.is_grpc)
        grpc_refuse(ex, 200, status == 503 ? 14 : status == 404 ? 12 : 13, "%s", text);
    else
        exchange_refuse(ex, status, text);
    h2_answer_ready(ex);
}

/* Decides who serves it; false: answered. */
static bool h2_route(struct exchange *ex)
{
    struct str ct = {"", 0};
    const struct listener_options *o = &ex->listener->opt;
    (void)exchange_header(ex, "content-type", &ct);
    ex->req.content_type = ct;
    bool claims = o->grpc && o->grpc_handler != NULL && str_has(ct, STR("application/grpc"));
    if (o->handler != NULL && !claims)
        return true;
    if (o->grpc_handler == NULL || !grpc_is(ct)) {
        grpc_refuse(ex, 415, 3, "invalid gRPC request content-type \"" STR_FMT "\"", STR_ARG(ct));
        h2_answer_ready(ex);
        return false;
    }
    if (!str_eqz(ex->req.method, "POST")) {
        grpc_refuse(ex, 405, 13,
            "Received a HEADERS frame with :method \"" STR_FMT "\" which should be POST",
            STR_ARG(ex->req.method));
        h2_answer_ready(ex);
        return false;
    }
    ex->req.is_grpc = true;
    ex->req.grpc_path = ex->req.path;
    pthread_mutex_init(&ex->out_lock, NULL);
    pthread_cond_init(&ex->out_cond, NULL);
    buf_init(&ex->out, o->answer_budget != NULL ? o->answer_budget : o->body_budget);
    ex->sync_ready = true;
    ex->grpc_coding = grpc_coding_of(ex);
    if (grpc_timeout(ex))
        return true;
    h2_answer_ready(ex);
    return false;
}

static void h2_body_length(struct exchange *ex)
{
    struct str text;
    uint64_t length;
    if (ex->req.is_grpc || !exchange_header(ex, "content-length", &text) ||
        !str_to_u64(text, &length))
        return;
    exchange_body_expect(ex, length);
}

void h2_stream_head_done(struct h2_conn *h, struct exchange *ex, bool end_stream)
{
    ex->stream_ended = end_stream;
    ex->is_head = str_eqz(ex->req.method, "HEAD");
    if (ex->header_bytes > h2_header_max(ex, ex->req.raw_path.n)) {
        h2_refuse(ex, 431, "431 Request Header Fields Too Large\n");
        return;
    }
    if (ex->req.raw_path.n > ex->listener->opt.url_bytes_max) {
        h2_refuse(ex, 414, "414 URI Too Long\n");
        return;
    }
    if (ex->header_refused || ex->req.method.p == NULL || ex->req.raw_path.p == NULL) {
        h2_refuse(ex, 503, "server is out of memory for requests\n");
        return;
    }
    enum ec ec = exchange_set_target(ex, ex->req.raw_path);
    if (ec != EC_OK) {
        h2_refuse(ex, ec == EC_LIMIT ? 503 : 400, "400 Bad Request\n");
        return;
    }
    if (!h2_route(ex))
        return;
    if (h->conn->loop->draining) {
        h2_refuse(ex, 503, "server is shutting down");
        return;
    }
    if (end_stream) {
        h2_stream_end(ex);
        return;
    }
    h2_body_length(ex);
    if (ex->discard) /* refused by its length: nothing to wait for */
        h2_stream_end(ex);
}

void h2_stream_data(struct exchange *ex, const uint8_t *p, size_t n)
{
    if (ex->state != EX_READING)
        return;
    if (ex->req.is_grpc) {
        if (!grpc_body_add(ex, p, n))
            h2_answer_ready(ex);
    } else {
        exchange_body_add(ex, p, n);
        if (ex->discard)
            h2_stream_end(ex);
    }
}

void h2_stream_end(struct exchange *ex)
{
    if (!ex->discard || ex->state != EX_READING)
        ex->stream_ended = true;
    if (ex->state != EX_READING)
        return;
    if (ex->req.is_grpc && !grpc_body_done(ex)) {
        h2_answer_ready(ex);
        return;
    }
    ex->deadline_ns = 0;
    exchange_dispatch(ex);
    bool wrote = atomic_load_explicit(&ex->answered, memory_order_acquire);
    if (ex->req.is_grpc || wrote)
        h2_answer_ready(ex);
}

void h2_stream_closed(struct h2_conn *h, struct exchange *ex)
{
    if (ex->prev != NULL)
        ex->prev->next = ex->next;
    else
        h->streams = ex->next;
    if (ex->next != NULL)
        ex->next->prev = ex->prev;
    ex->prev = ex->next = NULL;
    h->n_streams--;
    h->active_ns = h->conn->loop->now_ns;
    nghttp2_session_set_stream_user_data(h->session, ex->stream_id, NULL);
    ex->conn = NULL;
    atomic_store_explicit(&ex->canceled, true, memory_order_relaxed);
    (void)grpc_cancel(ex);
    exchange_unref(ex);
}

void h2_stream_sweep(struct h2_conn *h, struct exchange *ex)
{
    int64_t extra = ex->state == EX_READING && !ex->req.is_grpc
                        ? (int64_t)(ex->req.wire_bytes / BODY_RATE_MIN) * NS_PER_S
                        : 0;
    if (ex->deadline_ns == 0 || h->conn->loop->now_ns <= ex->deadline_ns + extra)
        return;
    ex->deadline_ns = 0;
    nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, ex->stream_id, NGHTTP2_CANCEL);
    h2_mark_dirty(h->conn);
}
