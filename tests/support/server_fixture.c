/* SPDX-License-Identifier: Apache-2.0
 * Test endpoints over the transport; see server_fixture.h. */
#include "server_fixture.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "unit.h"

void fixture_sleep_ms(int ms)
{
    struct timespec t = {ms / 1000, (ms % 1000) * NS_PER_MS};
    nanosleep(&t, NULL);
}

bool fixture_wait(atomic_uint *counter, unsigned n)
{
    for (int i = 0; i < 1000; i++) {
        if (atomic_load(counter) == n)
            return true;
        fixture_sleep_ms(5);
    }
    return false;
}

struct job {
    struct fixture *f;
    struct exchange *ex;
    uint64_t a, b;
};

static void spawn(
    void *(*fn)(void *), struct fixture *f, struct exchange *ex, uint64_t a, uint64_t b)
{
    struct job *j = xmalloc(sizeof(*j));
    pthread_t t;
    *j = (struct job){f, ex, a, b};
    if (pthread_create(&t, NULL, fn, j) != 0)
        abort();
    pthread_detach(t);
}

static void *run_later(void *arg)
{
    struct job j = *(struct job *)arg;
    free(arg);
    fixture_sleep_ms((int)j.a);
    exchange_respond_text(j.ex, 200, "later");
    return NULL;
}

static void *run_hold(void *arg)
{
    struct job j = *(struct job *)arg;
    bool seen = false;
    free(arg);
    atomic_fetch_add(&j.f->holding, 1);
    while (!atomic_load(&j.f->release)) {
        if (!seen && exchange_canceled(j.ex)) {
            seen = true;
            atomic_fetch_add(&j.f->canceled, 1);
        }
        fixture_sleep_ms(2);
    }
    atomic_fetch_sub(&j.f->holding, 1);
    if (exchange_request(j.ex)->is_grpc)
        grpc_finish(j.ex, 0, STR(""), (struct bytes){0});
    else
        exchange_respond_text(j.ex, 200, "held");
    return NULL;
}

static void *run_stream(void *arg)
{
    struct job j = *(struct job *)arg;
    uint8_t *p = xmalloc(j.b + 1);
    free(arg);
    for (uint64_t i = 0; i < j.a; i++) {
        memset(p, (int)('a' + i % 26), j.b);
        if (!grpc_send(j.ex, bytes_n(p, j.b))) {
            atomic_fetch_add(&j.f->stream_failed, 1);
            break;
        }
        atomic_fetch_add(&j.f->stream_sent, 1);
    }
    grpc_finish(j.ex, 0, STR(""), (struct bytes){0});
    free(p);
    return NULL;
}

static uint64_t param(struct exchange *ex, const char *key)
{
    struct str s;
    uint64_t v = 0;
    if (exchange_param(ex, key, &s))
        (void)str_to_u64(s, &v);
    return v;
}

static void answer_body(struct exchange *ex)
{
    const struct http_request *r = exchange_request(ex);
    struct buf out = BUF_INIT;
    buf_printf(&out, "ec=%d n=%zu wire=%llu err=" STR_FMT, (int)r->body_ec, r->body.n,
        (unsigned long long)r->wire_bytes, STR_ARG(r->body_error));
    if (r->body_ec == EC_LIMIT)
        exchange_set_header(ex, "Retry-After", STR("7"));
    exchange_respond(ex, 200, "text/plain", &out, false);
}

static void answer_info(struct exchange *ex)
{
    const struct http_request *r = exchange_request(ex);
    struct buf out = BUF_INIT;
    struct str h = {"", 0};
    buf_printf(&out, "%.*s %.*s raw=%.*s query=%.*s h2=%d tls=%d cert=%.*s\n", STR_ARG(r->method),
        STR_ARG(r->path), STR_ARG(r->raw_path), STR_ARG(r->query), r->is_h2, r->is_tls,
        STR_ARG(r->client_cert_subject));
    for (size_t i = 0; i < r->n_params; i++)
        buf_printf(&out, "%.*s=%.*s\n", STR_ARG(r->params[i].key), STR_ARG(r->params[i].value));
    if (r->n_client_certs != 0)
        buf_printf(&out, "certs=%u of %zu bytes\n", r->n_client_certs, r->client_certs[0].n);
    (void)exchange_header(ex, "x-test", &h);
    buf_printf(&out, "x-test=%.*s x%u\n", STR_ARG(h), exchange_header_count(ex, "X-Test"));
    exchange_respond(ex, 200, "text/plain", &out, false);
}

static void answer_big(struct exchange *ex)
{
    uint64_t n = param(ex, "n");
    struct buf out = BUF_INIT;
    buf_reserve(&out, n);
    for (uint64_t i = 0; i < n; i++)
        buf_putc(&out, (char)('a' + i % 13));
    exchange_set_route(ex, "api_big");
    exchange_respond(ex, 200, "application/json", &out, true);
}

static void handle(void *ctx, struct exchange *ex)
{
    struct fixture *f = ctx;
    const struct http_request *r = exchange_request(ex);
    atomic_fetch_add(&f->handled, 1);
    if (exchange_redirect_clean(ex))
        return;
    if (str_eqz(r->path, "/echo")) {
        struct buf out = BUF_INIT;
        buf_put(&out, r->body.p, r->body.n);
        exchange_respond(ex, 200, "application/octet-stream", &out, false);
    } else if (str_eqz(r->path, "/body")) {
        answer_body(ex);
    } else if (str_eqz(r->path, "/later")) {
        spawn(run_later, f, ex, param(ex, "ms"), 0);
    } else if (str_eqz(r->path, "/big")) {
        answer_big(ex);
    } else if (str_eqz(r->path, "/hold")) {
        spawn(run_hold, f, ex, 0, 0);
    } else if (str_eqz(r->path, "/info")) {
        answer_info(ex);
    } else {
        exchange_respond_text(ex, 404, "404 page not found\n");
    }
}

static void handle_grpc(void *ctx, struct exchange *ex)
{
    struct fixture *f = ctx;
    const struct http_request *r = exchange_request(ex);
    atomic_fetch_add(&f->handled, 1);
    if (str_eqz(r->grpc_path, "/t.S/Echo")) {
        exchange_set_route(ex, "/t.S/Echo");
        (void)grpc_send(ex, r->body);
        grpc_finish(ex, 0, STR(""), (struct bytes){0});
    } else if (str_eqz(r->grpc_path, "/t.S/Fail")) {
        grpc_finish(ex, 8, STR("100% \xc3\xa9"), bytes_n("xyz!", 4));
    } else if (str_eqz(r->grpc_path, "/t.S/Stream") && r->body.n == 8) {
        spawn(run_stream, f, ex, get_u32be(r->body.p), get_u32be(r->body.p + 4));
    } else if (str_eqz(r->grpc_path, "/t.S/Hold")) {
        spawn(run_hold, f, ex, 0, 0);
    } else {
        grpc_finish(ex, 12, STR("unknown method"), (struct bytes){0});
    }
}

struct listener_options fixture_options(void)
{
    return (struct listener_options){.name = "test",
        .address = "127.0.0.1:0",
        .http1 = true,
        .http2 = true,
        .grpc = true,
        .encodings = ENC_GZIP | ENC_ZSTD | ENC_DEFLATE | ENC_SNAPPY | ENC_SNAPPY_FRAMED | ENC_LZ4,
        .handler = handle,
        .grpc_handler = handle_grpc};
}

void fixture_start(struct fixture *f, const struct listener_options *opt)
{
    fixture_start_within(f, opt, NULL);
}

void fixture_start_within(
    struct fixture *f, const struct listener_options *opt, struct budget *connections)
{
    struct err err = {0};
    struct listener_options o = opt == NULL ? fixture_options() : *opt;
    const struct server_options s = {.threads = 2, .connection_budget = connections};
    memset(f, 0, sizeof(*f));
    budget_init(&f->budget, NULL, "bodies", 128u << 20);
    o.body_budget = &f->budget;
    o.ctx = f;
    assert_ok(server_new(&s, &f->server, &err), err);
    assert_ok(server_listen(f->server, &o, &f->listener, &f->port, &err), err);
    assert_true(f->port != 0);
}

void fixture_release(struct fixture *f)
{
    atomic_store(&f->release, true);
}

void fixture_stop(struct fixture *f)
{
    fixture_release(f);
    server_free(f->server);
    f->server = NULL;
    assert_int_equal(budget_used(&f->budget), 0);
    budget_deinit(&f->budget);
}

void grpc_frame(struct buf *out, uint8_t flag, const void *p, size_t n)
{
    uint8_t prefix[5] = {flag};
    put_u32be(prefix + 1, (uint32_t)n);
    buf_put(out, prefix, 5);
    buf_put(out, p, n);
}
