/* SPDX-License-Identifier: Apache-2.0
 * One request and its answer, the same object for both HTTP versions.
 *
 * Two references: the transport's (connection or stream) and, from the handler call on, the
 * application's, given back by exchange_respond or grpc_finish. While a post is in a loop's inbox
 * it holds a third.
 *
 *     EX_READING ──body whole or refused──► EX_HANDLING ──exchange_respond, grpc_finish──►
 *     EX_ANSWERED
 *
 * The answering thread fills the answer, then publishes `answered` (release) and posts; the loop
 * reads the answer after an acquire. A client that goes away sets `canceled`; the answer is then
 * dropped on the loop. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "server_int.h"

#define EXCHANGE_MAGIC 0xe8c4a46ee8c4a46eu

struct exchange *exchange_new(struct loop *loop, struct listener *l, struct conn *c)
{
    struct exchange *ex = xcalloc(1, sizeof(*ex));
    ex->magic = EXCHANGE_MAGIC;
    atomic_init(&ex->refs, 1);
    ex->loop = loop;
    ex->listener = l;
    ex->conn = c;
    ex->start_ns = clock_mono_ns();
    ex->route = "other";
    ex->out_headers = ex->out_first;
    ex->cap_out_headers = ARRAY_LEN(ex->out_first);
    ex->poll_fd = -1;
    ex->wire_max = l->opt.body_bytes_max;
    ex->req.is_tls = l->tls != NULL;
    ex->req.peer = str_from(c->peer);
    arena_init(&ex->arena, l->opt.body_budget, 2048);
    buf_init(&ex->wire, l->opt.body_budget);
    ex->req.peer = arena_str(&ex->arena, ex->req.peer); /* the connection may go first */
    atomic_fetch_add_explicit(&l->server->exchanges, 1, memory_order_relaxed);
    return ex;
}

static void exchange_free(struct exchange *ex)
{
    struct server *s = ex->listener->server;
    request_metrics_end(ex);
    arena_deinit(&ex->arena);
    buf_deinit(&ex->wire);
    buf_deinit(&ex->body);
    buf_deinit(&ex->out);
    if (ex->sync_ready) {
        pthread_cond_destroy(&ex->out_cond);
        pthread_mutex_destroy(&ex->out_lock);
    }
    ex->magic = 0;
    free(ex);
    if (atomic_fetch_sub_explicit(&s->exchanges, 1, memory_order_acq_rel) == 1) {
        pthread_mutex_lock(&s->idle_lock);
        pthread_cond_broadcast(&s->idle);
        pthread_mutex_unlock(&s->idle_lock);
    }
}

void exchange_unref(struct exchange *ex)
{
    ASSERT(ex->magic == EXCHANGE_MAGIC);
    if (atomic_fetch_sub_explicit(&ex->refs, 1, memory_order_acq_rel) == 1)
        exchange_free(ex);
}

static void exchange_posted(struct loop *loop, struct message *m)
{
    struct exchange *ex = CONTAINER_OF(m, struct exchange, post);
    (void)loop;
    atomic_store_explicit(&ex->posted, false, memory_order_seq_cst);
    if (ex->conn != NULL) {
        if (ex->mhd != NULL)
            h1_answer_ready(ex);
        else
            h2_answer_ready(ex);
    }
    exchange_unref(ex);
}

void exchange_post(struct exchange *ex)
{
    if (ex->loop == loop_current && ex->inside_handler)
        return; /* the caller of the handler looks */
    if (atomic_exchange_explicit(&ex->posted, true, memory_order_seq_cst))
        return; /* it will be looked at anyway */
    atomic_fetch_add_explicit(&ex->refs, 1, memory_order_relaxed);
    ex->post.fn = exchange_posted;
    loop_post(ex->loop, &ex->post);
}

/* ---- filling the request ---- */

bool exchange_add_header(struct exchange *ex, struct str name, struct str value, bool copy)
{
    if (ex->n_headers == ex->cap_headers) {
        size_t cap = ex->cap_headers == 0 ? 16 : ex->cap_headers * 2;
        struct header *h = ARENA_ARRAY(&ex->arena, cap, struct header);
        if (h == NULL)
            return false;
        if (ex->n_headers != 0)
            memcpy(h, ex->headers, ex->n_headers * sizeof(*h));
        ex->headers = h;
        ex->cap_headers = cap;
    }
    if (copy) {
        name = arena_str(&ex->arena, name);
        value = arena_str(&ex->arena, value);
        if (name.p == NULL || value.p == NULL)
            return false;
    }
    ex->headers[ex->n_headers++] = (struct header){name, value};
    return true;
}

enum ec exchange_set_target(struct exchange *ex, struct str target)
{
    struct str path = target, query = {"", 0};
    bool bad = false;
    ex->target = target;
    if (str_starts(path, STR("http://")) || str_starts(path, STR("https://"))) {
        struct str rest; /* absolute form: the authority is not ours to judge */
        (void)str_cut(path, ':', &rest);
        rest = str_n(rest.p + 2, rest.n - 2);
        const char *slash = rest.n == 0 ? NULL : memchr(rest.p, '/', rest.n);
        path = slash == NULL ? STR("/") : str_n(slash, (size_t)(rest.p + rest.n - slash));
    }
    const char *mark = path.n == 0 ? NULL : memchr(path.p, '?', path.n);
    if (mark != NULL) {
        query = str_n(mark + 1, (size_t)(path.p + path.n - mark - 1));
        path.n = (size_t)(mark - path.p);
    }
    if (!http_unescape(&ex->arena, path, false, &ex->req.path, &bad))
        return EC_LIMIT;
    if (bad)
        return EC_INVALID;
    ex->req.raw_path = path;
    ex->req.query = query;
    struct http_param *params;
    if (!http_params_parse(&ex->arena, query, &params, &ex->req.n_params))
        return EC_LIMIT;
    ex->req.params = params;
    return EC_OK;
}

void exchange_body_refuse(struct exchange *ex, enum ec ec, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    ex->req.body_ec = ec;
    ex->req.body_error = arena_str(&ex->arena, str_from(text));
    if (ex->req.body_error.p == NULL)
        ex->req.body_error = str_from(ec_text(ec));
    ex->discard = true;
    buf_deinit(&ex->wire);
}

void exchange_body_expect(struct exchange *ex, uint64_t content_length)
{
    if (content_length > ex->wire_max) {
        exchange_body_refuse(ex, EC_TOO_LARGE, "http: request body too large");
        ex->must_close = true;
    } else if (!budget_fits(ex->wire.budget, content_length)) {
        if (content_length > budget_most(ex->wire.budget))
            exchange_body_refuse(ex, EC_TOO_LARGE, "http: request body too large");
        else
            exchange_body_refuse(ex, EC_LIMIT, "server is out of memory for request bodies");
    }
    ex->wire_announced = content_length;
}

void exchange_body_add(struct exchange *ex, const void *p, size_t n)
{
    ex->req.wire_bytes += n;
    if (ex->discard)
        return;
    if (n > ex->wire_max - ex->wire.n) {
        exchange_body_refuse(ex, EC_TOO_LARGE, "http: request body too large");
        ex->must_close = true;
        return;
    }
    if (ex->wire_announced != 0)
        (void)buf_reserve_announced(&ex->wire, n, ex->wire_announced); /* buf_failed says it */
    buf_put(&ex->wire, p, n);
    if (buf_failed(&ex->wire))
        exchange_body_refuse(ex, EC_LIMIT, "server is out of memory for request bodies");
}

static bool encoding_of(
    struct str name, struct bytes body, unsigned accepted, enum body_encoding *ret)
{
    static const struct {
        const char *name;
        enum body_encoding enc;
    } table[] = {{"gzip", ENC_GZIP}, {"zstd", ENC_ZSTD}, {"zlib", ENC_DEFLATE},
        {"deflate", ENC_DEFLATE}, {"snappy", ENC_SNAPPY}, {"x-snappy-framed", ENC_SNAPPY_FRAMED},
        {"lz4", ENC_LZ4}};
    static const uint8_t framed_magic[] = {0xff, 6, 0, 0, 's', 'N', 'a', 'P', 'p', 'Y'};
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (!str_eqz(name, table[i].name) || (accepted & table[i].enc) == 0)
            continue;
        bool framed = table[i].enc == ENC_SNAPPY && body.n >= sizeof(framed_magic) &&
                      memcmp(body.p, framed_magic, sizeof(framed_magic)) == 0;
        *ret = framed ? ENC_SNAPPY_FRAMED : table[i].enc;
        return true;
    }
    return false;
}

static void exchange_inflate(struct exchange *ex)
{
    struct str name;
    enum body_encoding enc;
    struct err err = {0};
    if (ex->req.body_ec != EC_OK || ex->listener->opt.encodings == 0 ||
        !exchange_header(ex, "content-encoding", &name) || name.n == 0)
        return;
    if (!encoding_of(name, buf_bytes(&ex->wire), ex->listener->opt.encodings, &enc)) {
        exchange_body_refuse(
            ex, EC_UNSUPPORTED, "unsupported Content-Encoding: " STR_FMT, STR_ARG(name));
        return;
    }
    struct buf plain;
    buf_init(&plain, ex->listener->opt.body_budget);
    enum ec ec = inflate_bytes(
        enc, buf_bytes(&ex->wire), ex->listener->opt.inflated_bytes_max, &plain, &err);
    if (ec == EC_OK) {
        buf_deinit(&ex->wire);
        ex->wire = plain;
        return;
    }
    buf_deinit(&plain);
    if (ec == EC_TOO_LARGE)
        exchange_body_refuse(ex, ec, "http: request body too large");
    else
        exchange_body_refuse(ex, ec, "%s", err_msg(&err));
}

void exchange_dispatch(struct exchange *ex)
{
    ASSERT(ex->state == EX_READING);
    ex->state = EX_HANDLING;
    if (!ex->req.is_grpc) {
        exchange_inflate(ex);
        ex->req.body = buf_bytes(&ex->wire);
    }
    exchange_fn fn = ex->req.is_grpc ? ex->listener->opt.grpc_handler : ex->listener->opt.handler;
    ASSERT(fn != NULL);
    atomic_fetch_add_explicit(&ex->refs, 1, memory_order_relaxed); /* the application's */
    ex->inside_handler = true;
    if (!cors_preflight(ex))
        fn(ex->listener->opt.ctx, ex);
    ex->inside_handler = false;
}

/* ---- what the application reads ---- */

const struct http_request *exchange_request(struct exchange *ex)
{
    ASSERT(ex->magic == EXCHANGE_MAGIC);
    return &ex->req;
}

struct arena *exchange_arena(struct exchange *ex)
{
    return &ex->arena;
}

bool exchange_header_at(struct exchange *ex, const char *name, unsigned i, struct str *ret)
{
    struct str want = str_from(name);
    for (size_t k = 0; k < ex->n_headers; k++)
        if (str_ieq(ex->headers[k].name, want) && i-- == 0) {
            *ret = ex->headers[k].value;
            return true;
        }
    return false;
}

bool exchange_header(struct exchange *ex, const char *name, struct str *ret)
{
    return exchange_header_at(ex, name, 0, ret);
}

unsigned exchange_header_count(struct exchange *ex, const char *name)
{
    struct str want = str_from(name);
    unsigned n = 0;
    for (size_t i = 0; i < ex->n_headers; i++)
        n += str_ieq(ex->headers[i].name, want);
    return n;
}

bool exchange_param(struct exchange *ex, const char *key, struct str *ret)
{
    for (size_t i = 0; i < ex->req.n_params; i++)
        if (str_eqz(ex->req.params[i].key, key)) {
            if (ex->req.params[i].value.n == 0)
                return false;
            *ret = ex->req.params[i].value;
            return true;
        }
    return false;
}

bool exchange_canceled(struct exchange *ex)
{
    if (atomic_load_explicit(&ex->canceled, memory_order_relaxed))
        return true;
    if (atomic_load_explicit(&ex->listener->server->stopping, memory_order_relaxed))
        return true;
    return ex->mhd != NULL && h1_client_gone(ex);
}

void exchange_set_route(struct exchange *ex, const char *route)
{
    ex->route = route;
    request_metrics_route(ex);
}
