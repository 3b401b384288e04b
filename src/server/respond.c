/* SPDX-License-Identifier: Apache-2.0
 * The answer: headers, content negotiation of the coding, compression, publication to the loop.
 *
 * Runs on the thread that answers (a pool thread for heavy requests), so compression never holds a
 * loop. */
#include <stdio.h>
#include <stdlib.h>
#define ZLIB_CONST /* so that input may be const */
#include <zlib.h>
#include <zstd.h>

#include "server_int.h"

/* ---- Accept-Encoding ---- */

/* "0", "1", "0.5", "0.123" in thousandths; anything else is 0, as a client that cannot write a
 * weight had better get what every client understands. */
static unsigned weight_of(struct str s)
{
    unsigned w = 0, scale = 1000;
    if (s.n == 0 || s.n > 5 || (s.p[0] != '0' && s.p[0] != '1') || (s.n > 1 && s.p[1] != '.'))
        return 0;
    w = (unsigned)(s.p[0] - '0') * 1000;
    for (size_t i = 2; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return 0;
        scale /= 10;
        w += (unsigned)(s.p[i] - '0') * scale;
    }
    return MIN(w, 1000);
}

enum coding accept_encoding_choose(struct str header)
{
    unsigned gzip = 0, zstd = 0;
    while (header.n != 0) {
        struct str params, item = str_cut(header, ',', &header);
        struct str name = str_trim(str_cut(item, ';', &params));
        unsigned w = 1000;
        while (params.n != 0) {
            struct str value, param = str_cut(params, ';', &params);
            struct str key = str_trim(str_cut(param, '=', &value));
            if (str_ieq(key, STR("q")))
                w = weight_of(str_trim(value));
        }
        if (str_ieq(name, STR("gzip")))
            gzip = w;
        else if (str_ieq(name, STR("zstd")))
            zstd = w;
    }
    if (gzip == 0 && zstd == 0)
        return CODING_IDENTITY;
    return zstd >= gzip ? CODING_ZSTD : CODING_GZIP;
}

static bool gzip_body(struct bytes in, struct buf *out)
{
    z_stream z = {0};
    if (in.n > UINT32_MAX ||
        deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    bool ok = buf_reserve(out, deflateBound(&z, in.n));
    if (ok) {
        z.next_in = in.p;
        z.avail_in = (uInt)in.n;
        z.next_out = out->p;
        z.avail_out = (uInt)MIN(out->cap, UINT32_MAX);
        ok = deflate(&z, Z_FINISH) == Z_STREAM_END;
        out->n = z.total_out;
    }
    deflateEnd(&z);
    return ok;
}

bool deflate_body(enum coding c, struct bytes in, struct buf *out)
{
    if (c == CODING_GZIP)
        return gzip_body(in, out);
    ASSERT(c == CODING_ZSTD);
    if (!buf_reserve(out, ZSTD_compressBound(in.n)))
        return false;
    size_t n = ZSTD_compress(out->p, out->cap, in.p, in.n, 1);
    if (ZSTD_isError(n))
        return false;
    out->n = n;
    return true;
}

/* ---- building ---- */

static void out_header(struct exchange *ex, struct str name, struct str value)
{
    if (ex->n_out_headers == ex->cap_out_headers) {
        size_t cap = ex->cap_out_headers * 2;
        struct header *h = ARENA_ARRAY(&ex->arena, cap, struct header);
        if (h == NULL)
            return; /* over budget: the body matters more than a header */
        memcpy(h, ex->out_headers, ex->n_out_headers * sizeof(*h));
        ex->out_headers = h;
        ex->cap_out_headers = cap;
    }
    ex->out_headers[ex->n_out_headers++] = (struct header){name, value};
}

char *exchange_answer_room(struct exchange *ex, size_t n)
{
    char *p = arena_alloc(&ex->arena, n);
    if (p == NULL && n <= sizeof(ex->spare) - ex->spare_n) {
        p = ex->spare + ex->spare_n;
        ex->spare_n += n;
    }
    return p;
}

char *exchange_answer_text(struct exchange *ex, struct str s)
{
    char *p = exchange_answer_room(ex, s.n + 1);
    if (p == NULL)
        return NULL;
    if (s.n != 0)
        memcpy(p, s.p, s.n);
    p[s.n] = 0;
    return p;
}

void exchange_set_header(struct exchange *ex, const char *name, struct str value)
{
    /* With NUL, because libmicrohttpd takes C strings; line breaks would split the header block. */
    char *n = exchange_answer_text(ex, str_from(name)), *v = exchange_answer_text(ex, value);
    if (n == NULL || v == NULL)
        return;
    for (size_t i = 0; i < value.n; i++)
        if ((uint8_t)v[i] < 0x20 || v[i] == 0x7f)
            v[i] = ' ';
    out_header(ex, str_from(n), str_n(v, value.n));
}

static void maybe_compress(struct exchange *ex)
{
    struct str accept;
    out_header(ex, STR("Vary"), STR("Accept-Encoding"));
    if (ex->body.n < COMPRESS_MIN || ex->is_head ||
        !exchange_header(ex, "accept-encoding", &accept))
        return;
    enum coding c = accept_encoding_choose(accept);
    struct buf small;
    buf_init(&small, ex->body.budget);
    if (c != CODING_IDENTITY && deflate_body(c, buf_bytes(&ex->body), &small)) {
        buf_deinit(&ex->body);
        ex->body = small;
        out_header(ex, STR("Content-Encoding"), c == CODING_ZSTD ? STR("zstd") : STR("gzip"));
    } else {
        buf_deinit(&small);
    }
}

void exchange_publish(struct exchange *ex)
{
    request_metrics_observe(ex);
    bool before = atomic_exchange_explicit(
        &ex->answered, true, memory_order_acq_rel /* pairs with the loops' acquire */);
    ASSERT(!before); /* exactly one answer */
    exchange_post(ex);
    exchange_unref(ex);
}

void exchange_refuse(struct exchange *ex, unsigned status, const char *text)
{
    ASSERT(ex->state == EX_READING);
    ex->state = EX_ANSWERED;
    ex->status = status;
    buf_deinit(&ex->wire);
    out_header(ex, STR("Content-Type"), STR("text/plain; charset=utf-8"));
    if (status == 503)
        out_header(ex, STR("Retry-After"), STR("5"));
    buf_putz(&ex->body, text);
    request_metrics_observe(ex);
    atomic_store_explicit(&ex->answered, true, memory_order_release);
}

void exchange_respond(struct exchange *ex, unsigned status, const char *content_type,
    struct buf *take_body, bool compress)
{
    ASSERT(!atomic_load_explicit(&ex->answered, memory_order_relaxed));
    ASSERT(!ex->req.is_grpc);
    ASSERT(status >= 200 && status <= 599);
    if (take_body != NULL)
        buf_move(take_body, &ex->body);
    struct exchange_answer a = {status, content_type, &ex->body, 0};
    exchange_answer_seen(ex, &a);
    ex->status = a.status;
    content_type = a.content_type;
    if (buf_failed(&ex->body)) { /* a cut body must never look whole */
        buf_deinit(&ex->body);
        ex->status = 503;
        content_type = NULL;
    }
    if (content_type != NULL)
        exchange_set_header(ex, "Content-Type", str_from(content_type));
    cors_headers(ex);
    if (compress)
        maybe_compress(ex);
    exchange_publish(ex);
}

void exchange_respond_text(struct exchange *ex, unsigned status, const char *text)
{
    struct buf body = BUF_INIT;
    buf_putz(&body, text);
    exchange_respond(ex, status, "text/plain; charset=utf-8", &body, false);
}
