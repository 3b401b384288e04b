/* SPDX-License-Identifier: Apache-2.0
 * Request bodies over the wire: caps at cap - 1, cap, cap + 1, encodings, budget, gRPC framing
 * errors, answer compression. */
#include <stdlib.h>

#include "deflate.h"
#include "net_client.h"
#include "server_fixture.h"
#include "unit.h"

#define CAP 10000u

static struct fixture fx;
static uint8_t zeros[1u << 20];

static int setup(void **state)
{
    (void)state;
    struct listener_options o = fixture_options();
    o.body_bytes_max = CAP;
    o.inflated_bytes_max = 2 * CAP;
    o.grpc_message_bytes_max = CAP;
    fixture_start(&fx, &o);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_stop(&fx);
    return 0;
}

static const char *query = ""; /* of the next posts */

static void post(const char *headers, struct bytes body, bool chunked, struct http_answer *a)
{
    struct net c = net_connect(fx.port, 0);
    struct buf out = BUF_INIT;
    buf_printf(&out, "POST /body%s HTTP/1.1\r\nHost: x\r\n%s", query, headers);
    if (chunked)
        buf_printf(&out, "Transfer-Encoding: chunked\r\n\r\n%zx\r\n", body.n);
    else
        buf_printf(&out, "Content-Length: %zu\r\n\r\n", body.n);
    buf_put(&out, body.p, body.n);
    if (chunked)
        buf_putz(&out, "\r\n0\r\n\r\n");
    assert_true(net_send(&c, out.p, out.n));
    assert_true(net_answer(&c, a, false));
    net_close(&c);
    buf_deinit(&out);
}

static void expect_body(struct http_answer *a, enum ec ec, size_t n, size_t wire, const char *text)
{
    char want[256];
    snprintf(want, sizeof(want), "ec=%d n=%zu wire=%zu err=%s", (int)ec, n, wire, text);
    assert_str(buf_str(&a->body), want);
    answer_free(a);
}

static void test_body__wire_cap_has_sharp_edges(void **state)
{
    (void)state;
    for (int chunked = 0; chunked < 2; chunked++)
        for (int d = -1; d <= 1; d++) {
            struct http_answer a;
            struct str connection = {0};
            size_t n = (size_t)((int)CAP + d);
            post("", bytes_n(zeros, n), chunked, &a);
            if (d <= 0) {
                expect_body(&a, EC_OK, n, n, "");
                continue;
            }
            assert_true(answer_header(&a, "connection", &connection));
            assert_str(connection, "close"); /* a body that was too long ends the connection */
            expect_body(&a, EC_TOO_LARGE, 0, n, "http: request body too large");
        }
}

static void test_body__a_refused_announcement_is_answered_before_the_body(void **state)
{
    (void)state;
    struct net c = net_connect(fx.port, 0);
    struct http_answer a;
    assert_true(net_sendz(&c,
        "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\nExpect: 100-continue\r\n\r\n"));
    assert_true(net_answer(&c, &a, false));
    assert_int_equal(a.status, 200);
    expect_body(&a, EC_TOO_LARGE, 0, 0, "http: request body too large");
    net_close(&c);
    /* Too long to be read away. */
    c = net_connect(fx.port, 0);
    assert_true(
        net_sendz(&c, "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"));
    assert_true(net_answer(&c, &a, false));
    expect_body(&a, EC_TOO_LARGE, 0, 0, "http: request body too large");
    net_close(&c);
}

static void test_body__go_ahead_is_given_when_wanted(void **state)
{
    (void)state;
    struct net c = net_connect(fx.port, 0);
    struct http_answer a;
    assert_true(net_sendz(
        &c, "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"));
    assert_true(net_answer(&c, &a, false));
    assert_int_equal(a.status, 100);
    answer_free(&a);
    assert_true(net_sendz(&c, "abc"));
    assert_true(net_answer(&c, &a, false));
    expect_body(&a, EC_OK, 3, 3, "");
    net_close(&c);
}

static void test_body__every_encoding_is_inflated(void **state)
{
    (void)state;
    static const enum body_encoding all[] = {
        ENC_GZIP, ENC_ZSTD, ENC_DEFLATE, ENC_SNAPPY, ENC_SNAPPY_FRAMED, ENC_LZ4};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        for (int d = -1; d <= 1; d++) {
            struct buf packed = BUF_INIT;
            struct http_answer a;
            char header[64];
            size_t n = (size_t)((int)(2 * CAP) + d);
            deflate_bytes(all[i], bytes_n(zeros, n), &packed);
            snprintf(header, sizeof(header), "Content-Encoding: %s\r\n", encoding_name(all[i]));
            size_t wire = packed.n;
            post(header, buf_bytes(&packed), i % 2 != 0, &a);
            if (d <= 0)
                expect_body(&a, EC_OK, n, wire, "");
            else
                expect_body(&a, EC_TOO_LARGE, 0, wire, "http: request body too large");
            buf_deinit(&packed);
        }
}

static void test_body__encoding_names_are_exact(void **state)
{
    (void)state;
    struct http_answer a;
    struct buf packed = BUF_INIT;
    post("Content-Encoding: br\r\n", bytes_n("x", 1), false, &a);
    expect_body(&a, EC_UNSUPPORTED, 0, 1, "unsupported Content-Encoding: br");
    post("Content-Encoding: identity\r\n", bytes_n("x", 1), false, &a);
    expect_body(&a, EC_UNSUPPORTED, 0, 1, "unsupported Content-Encoding: identity");
    post("Content-Encoding: GZIP\r\n", bytes_n("x", 1), false, &a);
    expect_body(&a, EC_UNSUPPORTED, 0, 1, "unsupported Content-Encoding: GZIP");
    post("Content-Encoding: gzip\r\n", bytes_n("not gzip", 8), false, &a);
    expect_body(&a, EC_INVALID, 0, 8, "gzip: invalid header");
    /* "snappy" with the framed magic is the framed format */
    deflate_bytes(ENC_SNAPPY_FRAMED, bytes_n("hello", 5), &packed);
    size_t wire = packed.n;
    post("Content-Encoding: snappy\r\n", buf_bytes(&packed), false, &a);
    expect_body(&a, EC_OK, 5, wire, "");
    buf_deinit(&packed);
}

static void test_body__budget_refuses_before_reading(void **state)
{
    (void)state;
    struct http_answer a;
    assert_true(budget_take(&fx.budget, (128u << 20) - 9000));
    post("", bytes_n(zeros, CAP), false, &a);
    budget_give(&fx.budget, (128u << 20) - 9000);
    expect_body(&a, EC_LIMIT, 0, CAP, "server is out of memory for request bodies");
    post("", bytes_n(zeros, CAP), false, &a);
    expect_body(&a, EC_OK, CAP, CAP, "");
}

/* All but `left`, once the exchange before has gone. */
static uint64_t leave(uint64_t left)
{
    uint64_t n = (128u << 20) - left;
    for (unsigned i = 0; i < 5000 && budget_used(&fx.budget) != 0; i++)
        fixture_sleep_ms(1);
    assert_true(budget_take(&fx.budget, n));
    return n;
}

/* However little is left, of the budget and of what the request has of it, who is refused is told
 * when to come again. */
static void test_body__a_refusal_says_when_to_come_again(void **state)
{
    (void)state;
    unsigned n_refused = 0;
    char text[4000] = "?a"; /* a long one is an allocation of its own */
    memset(text + 2, 'a', sizeof(text) - 2);
    query = text;
    for (uint64_t left = 0; left < 9000; left += 250) {
        for (size_t n = 2; n < sizeof(text); n += n < 1000 ? 8 : 500) {
            struct http_answer a;
            struct str after;
            char was = text[n];
            text[n] = 0;
            uint64_t taken = leave(left);
            post("", bytes_n(zeros, 10000), false, &a);
            budget_give(&fx.budget, taken);
            text[n] = was;
            if (a.status != 200)
                assert_int_equal(a.status, 503);
            assert_true(answer_header(&a, "retry-after", &after));
            assert_str(after, a.status == 503 ? "5" : "7");
            n_refused += a.status == 200;
            answer_free(&a);
        }
    }
    query = "";
    assert_true(n_refused > 100);
    const char *pairs[] = {
        ":method", "GET", ":scheme", "http", ":path", "/info", ":authority", "x", NULL};
    struct h2_client *h = h2_open(net_connect(fx.port, 0), 0, true);
    uint64_t taken = leave(0);
    struct h2_stream *stream = h2_request(h, pairs, (struct bytes){0}, false);
    assert_true(h2_finish(h, stream));
    assert_int_equal(stream->status, 503);
    assert_non_null(h2_header(stream, "retry-after"));
    h2_stream_free(stream);
    h2_free(h);
    budget_give(&fx.budget, taken);
}

/* Heads that promise bodies, and never send them: what comes from others has its room. */
static void test_body__an_announcement_holds_nothing(void **state)
{
    (void)state;
    enum { SILENT = 20, WHOLE = 16u << 20 }; /* more than twice the budget in all */
    struct fixture f = {0};
    struct listener_options o = fixture_options();
    struct net c[SILENT];
    struct http_answer a;
    struct buf prefix = BUF_INIT;
    o.body_bytes_max = o.grpc_message_bytes_max = WHOLE;
    fixture_start(&f, &o);
    for (size_t i = 0; i < SILENT; i++) {
        c[i] = net_connect(f.port, 0);
        assert_true(net_sendz(
            &c[i], "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 16777216\r\n\r\nx"));
    }
    struct h2_client *h = h2_open(net_connect(f.port, 0), 0, true);
    struct h2_stream *s[SILENT];
    buf_put(&prefix, "\0\0\xff\xff\xff", 5);
    for (size_t i = 0; i < SILENT; i++) {
        s[i] = h2_grpc(h, "/t.S/Echo", NULL, buf_bytes(&prefix));
        s[i]->hold_end = true;
    }
    while (h2_step(h, 300))
        ;
    assert_true(budget_used(&f.budget) < 1u << 20);
    net_once(f.port, "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx", &a);
    expect_body(&a, EC_OK, 1, 1, "");
    assert_int_equal(atomic_load(&f.budget.refused), 0);
    for (size_t i = 0; i < SILENT; i++) {
        net_close(&c[i]);
        assert_false(s[i]->closed);
        h2_stream_free(s[i]);
    }
    h2_free(h);
    buf_deinit(&prefix);
    fixture_stop(&f);
}

static void test_body__ambiguous_lengths_are_refused(void **state)
{
    (void)state;
    static const char *const heads[] = {
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 3\r\nContent-Length: 3\r\n",
        "Content-Length: 3x\r\n",
        "Content-Length: -3\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        char request[256];
        struct http_answer a;
        snprintf(request, sizeof(request), "POST /body HTTP/1.1\r\nHost: x\r\n%s\r\nabc", heads[i]);
        net_once(fx.port, request, &a);
        assert_int_equal(a.status, 400);
        answer_free(&a);
    }
    assert_int_equal(atomic_load(&fx.handled), 0);
}

static void test_h2_body__caps_and_early_answers(void **state)
{
    (void)state;
    struct h2_client *c = h2_open(net_connect(fx.port, 0), 0, true);
    const char *pairs[] = {
        ":method", "POST", ":scheme", "http", ":path", "/body", ":authority", "x", NULL};
    for (int d = -1; d <= 1; d++) {
        struct h2_stream *s = h2_request(c, pairs, bytes_n(zeros, (size_t)((int)CAP + d)), true);
        assert_true(h2_finish(c, s));
        assert_int_equal(s->status, 200);
        char want[32];
        snprintf(want, sizeof(want), "ec=%d n=", d <= 0 ? EC_OK : EC_TOO_LARGE);
        assert_memory_equal(s->body.p, want, strlen(want));
        h2_stream_free(s);
    }
    /* The answer comes although the client would go on for ever. */
    struct h2_stream *s = h2_request(c, pairs, bytes_n(zeros, sizeof(zeros)), true);
    s->hold_end = true;
    assert_true(h2_finish(c, s));
    assert_int_equal(s->status, 200);
    assert_int_equal(s->error_code, NGHTTP2_NO_ERROR);
    h2_stream_free(s);
    h2_free(c);
}

static void grpc_expect(struct h2_client *c, const char *encoding, struct buf *framed,
    const char *status, const char *message)
{
    struct h2_stream *s = h2_grpc(c, "/t.S/Echo", encoding, buf_bytes(framed));
    assert_true(h2_finish(c, s));
    assert_int_equal(s->status, 200);
    assert_string_equal(h2_trailer(s, "grpc-status"), status);
    if (message == NULL)
        assert_null(h2_trailer(s, "grpc-message"));
    else
        assert_string_equal(h2_trailer(s, "grpc-message"), message);
    h2_stream_free(s);
    buf_deinit(framed);
}

static void test_grpc__message_cap_has_sharp_edges(void **state)
{
    (void)state;
    struct h2_client *c = h2_open(net_connect(fx.port, 0), 1 << 20, true);
    struct buf framed = BUF_INIT, packed = BUF_INIT;
    grpc_frame(&framed, 0, zeros, CAP - 1);
    grpc_expect(c, NULL, &framed, "0", NULL);
    grpc_frame(&framed, 0, zeros, CAP);
    grpc_expect(c, NULL, &framed, "0", NULL);
    grpc_frame(&framed, 0, zeros, CAP + 1);
    grpc_expect(c, NULL, &framed, "8", "grpc: received message larger than max (10001 vs. 10000)");
    /* Only announced: refused without waiting for it. */
    buf_put(&framed, "\0\xff\xff\xff\xff", 5);
    grpc_expect(
        c, NULL, &framed, "8", "grpc: received message larger than max (4294967295 vs. 10000)");
    static const enum body_encoding all[] = {ENC_GZIP, ENC_ZSTD, ENC_SNAPPY_FRAMED};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        const char *name = all[i] == ENC_SNAPPY_FRAMED ? "snappy" : encoding_name(all[i]);
        deflate_bytes(all[i], bytes_n(zeros, CAP), &packed);
        grpc_frame(&framed, 1, packed.p, packed.n);
        grpc_expect(c, name, &framed, "0", NULL);
        buf_reset(&packed);
        deflate_bytes(all[i], bytes_n(zeros, CAP + 1), &packed);
        grpc_frame(&framed, 1, packed.p, packed.n);
        grpc_expect(c, name, &framed, "8",
            "grpc: received message after decompression larger than max (10001 vs. 10000)");
        buf_reset(&packed);
    }
    buf_deinit(&packed);
    h2_free(c);
}

static void test_grpc__framing_errors_have_grpc_texts(void **state)
{
    (void)state;
    struct h2_client *c = h2_open(net_connect(fx.port, 0), 0, true);
    struct buf f = BUF_INIT;
    grpc_expect(c, NULL, &f, "13", "unexpected EOF"); /* no message at all */
    buf_put(&f, "\0\0\0", 3);
    grpc_expect(c, NULL, &f, "13", "unexpected EOF");
    buf_put(&f, "\0\0\0\0\5abc", 8);
    grpc_expect(c, NULL, &f, "13", "unexpected EOF");
    grpc_frame(&f, 2, "abc", 3);
    grpc_expect(c, NULL, &f, "13", "grpc: received unexpected payload format 2");
    grpc_frame(&f, 1, "abc", 3);
    grpc_expect(c, NULL, &f, "13", "grpc: compressed flag set with identity or empty encoding");
    grpc_frame(&f, 1, "abc", 3);
    grpc_expect(c, "br", &f, "12", "grpc: Decompressor is not installed for grpc-encoding \"br\"");
    grpc_frame(&f, 1, "abc", 3);
    grpc_expect(c, "gzip", &f, "13",
        "grpc: failed to decompress the received message: gzip: invalid header");
    grpc_frame(&f, 0, "abc", 3); /* the encoding is announced, not used */
    grpc_expect(c, "br", &f, "0", NULL);
    h2_free(c);
}

static void test_grpc__wrong_content_type_is_415(void **state)
{
    (void)state;
    struct fixture only = {0};
    struct listener_options o = fixture_options();
    o.handler = NULL;
    o.http1 = false;
    fixture_start(&only, &o);
    struct h2_client *c = h2_open(net_connect(only.port, 0), 0, true);
    const char *pairs[] = {":method", "POST", ":scheme", "http", ":path", "/t.S/Echo", ":authority",
        "x", "content-type", "application/json", NULL};
    struct h2_stream *s = h2_request(c, pairs, bytes_n("{}", 2), true);
    assert_true(h2_finish(c, s));
    assert_int_equal(s->status, 415);
    assert_string_equal(h2_trailer(s, "grpc-status"), "3");
    assert_string_equal(
        h2_trailer(s, "grpc-message"), "invalid gRPC request content-type \"application/json\"");
    h2_stream_free(s);
    pairs[9] = "application/grpc+proto";
    s = h2_request(c, pairs, bytes_n("\0\0\0\0\0", 5), true);
    assert_true(h2_finish(c, s));
    assert_string_equal(h2_trailer(s, "grpc-status"), "0");
    h2_stream_free(s);
    h2_free(c);
    /* HTTP/1.1 has no place here. */
    struct net n = net_connect(only.port, 0);
    assert_true(net_sendz(&n, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_true(net_wait_closed(&n, 5000));
    net_close(&n);
    fixture_stop(&only);
}

static void test_answer__coding_follows_the_weights(void **state)
{
    (void)state;
    static const struct {
        const char *method, *accept;
        unsigned n;
        const char *coding;
    } cases[] = {
        {"GET", "gzip, zstd", 1024, "zstd"},
        {"GET", "gzip", 1024, "gzip"},
        {"GET", "gzip;q=1.0, zstd;q=0.9", 1024, "gzip"},
        {"GET", "gzip;q=0.5, zstd;q=0.5", 1024, "zstd"},
        {"GET", "zstd;q=0, gzip;q=0", 1024, NULL},
        {"GET", "*", 1024, NULL},
        {"GET", "br", 1024, NULL},
        {"GET", "gzip, zstd", 1023, NULL},
        {"HEAD", "gzip, zstd", 4096, NULL},
        {"GET", "GZIP ; q=0.8", 4096, "gzip"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char request[256];
        struct http_answer a;
        struct str v;
        snprintf(request, sizeof(request),
            "%s /big?n=%u HTTP/1.1\r\nHost: x\r\nAccept-Encoding: %s\r\n\r\n", cases[i].method,
            cases[i].n, cases[i].accept);
        net_once(fx.port, request, &a);
        assert_int_equal(a.status, 200);
        assert_true(answer_header(&a, "vary", &v));
        assert_str(v, "Accept-Encoding");
        bool coded = answer_header(&a, "content-encoding", &v);
        assert_int_equal(coded, cases[i].coding != NULL);
        if (coded) {
            struct buf plain = BUF_INIT;
            struct err err = {0};
            assert_str(v, cases[i].coding);
            enum body_encoding enc = str_eqz(v, "zstd") ? ENC_ZSTD : ENC_GZIP;
            assert_ok(inflate_bytes(enc, buf_bytes(&a.body), 1 << 20, &plain, &err), err);
            assert_int_equal(plain.n, cases[i].n);
            buf_deinit(&plain);
        }
        answer_free(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        T(test_body__wire_cap_has_sharp_edges),
        T(test_body__a_refused_announcement_is_answered_before_the_body),
        T(test_body__go_ahead_is_given_when_wanted),
        T(test_body__every_encoding_is_inflated),
        T(test_body__encoding_names_are_exact),
        T(test_body__budget_refuses_before_reading),
        T(test_body__a_refusal_says_when_to_come_again),
        T(test_body__an_announcement_holds_nothing),
        T(test_body__ambiguous_lengths_are_refused),
        T(test_h2_body__caps_and_early_answers),
        T(test_grpc__message_cap_has_sharp_edges),
        T(test_grpc__framing_errors_have_grpc_texts),
        T(test_grpc__wrong_content_type_is_415),
        T(test_answer__coding_follows_the_weights),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
