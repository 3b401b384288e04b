/* SPDX-License-Identifier: Apache-2.0
 * The transport end to end: both HTTP versions on one port, keep-alive, pipelining, bodies, answers
 * from other threads, gRPC unary. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net_client.h"
#include "server_fixture.h"
#include "unit.h"

static struct fixture fx;

static int setup(void **state)
{
    (void)state;
    fixture_start(&fx, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_stop(&fx);
    return 0;
}

/* 0: a connection over this family's loopback is taken; errno otherwise. */
static int reach(int family, unsigned port)
{
    struct sockaddr_in in = {.sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6,
        .sin6_port = htons((uint16_t)port),
        .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    int rc = family == AF_INET ? connect(fd, (struct sockaddr *)&in, sizeof(in))
                               : connect(fd, (struct sockaddr *)&in6, sizeof(in6));
    int e = rc == 0 ? 0 : errno;
    close(fd);
    return e;
}

/* As Go's listeners; an address that is not all zeros is taken as it is. */
static void test_listen__all_zeros_are_both_families(void **state)
{
    static const struct {
        const char *address;
        bool v4, v6;
    } cases[] = {{":0", true, true}, {"0.0.0.0:0", true, true}, {"[::]:0", true, true},
        {"127.0.0.1:0", true, false}, {"localhost:0", true, false}, {"[::1]:0", false, true}};
    (void)state;
    int none = reach(AF_INET6, 1); /* a machine without IPv6 has no other error for a closed port */
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture f = {0};
        struct listener_options o = fixture_options();
        o.address = cases[i].address;
        if (none != ECONNREFUSED && !cases[i].v4)
            continue;
        fixture_start(&f, &o);
        assert_int_equal(reach(AF_INET, f.port), cases[i].v4 ? 0 : ECONNREFUSED);
        if (none == ECONNREFUSED)
            assert_int_equal(reach(AF_INET6, f.port), cases[i].v6 ? 0 : ECONNREFUSED);
        fixture_stop(&f);
    }
}

static void test_h1__keeps_alive_and_pipelines(void **state)
{
    (void)state;
    struct net c = net_connect(fx.port, 0);
    assert_true(net_sendz(&c,
        "GET /info?a=1&b=%20+ HTTP/1.1\r\nHost: x\r\nX-Test: one\r\nx-test: two\r\n\r\n"
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
        "GET /later?ms=20 HTTP/1.1\r\nHost: x\r\n\r\n"
        "HEAD /big?n=2000 HTTP/1.1\r\nHost: x\r\n\r\n"
        "GET /nope HTTP/1.1\r\nHost: x\r\n\r\n"));
    struct http_answer a;
    assert_true(net_answer(&c, &a, false));
    assert_int_equal(a.status, 200);
    assert_str(buf_str(&a.body),
        "GET /info raw=/info query=a=1&b=%20+ h2=0 tls=0 cert=\na=1\nb=  \nx-test=one x2\n");
    answer_free(&a);
    assert_true(net_answer(&c, &a, false));
    assert_str(buf_str(&a.body), "hello");
    answer_free(&a);
    assert_true(net_answer(&c, &a, false));
    assert_str(buf_str(&a.body), "later");
    answer_free(&a);
    struct str length;
    assert_true(net_answer(&c, &a, true));
    assert_true(answer_header(&a, "content-length", &length));
    assert_str(length, "2000");
    answer_free(&a);
    assert_true(net_answer(&c, &a, false));
    assert_int_equal(a.status, 404);
    assert_str(buf_str(&a.body), "404 page not found\n");
    answer_free(&a);
    net_close(&c);
}

static void test_h1__reads_chunked_bodies(void **state)
{
    (void)state;
    struct http_answer a;
    net_once(fx.port,
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        "5\r\nhello\r\n1;x=y\r\n \r\n5\r\nworld\r\n0\r\nTrailer: t\r\n\r\n",
        &a);
    assert_int_equal(a.status, 200);
    assert_str(buf_str(&a.body), "hello world");
    answer_free(&a);
}

static void test_h1__cleans_paths(void **state)
{
    (void)state;
    struct http_answer a;
    struct str to;
    net_once(fx.port, "GET /a//b/../c%20d/?q=1 HTTP/1.1\r\nHost: x\r\n\r\n", &a);
    assert_int_equal(a.status, 301);
    assert_true(answer_header(&a, "location", &to));
    assert_str(to, "/a/c%20d/?q=1");
    answer_free(&a);
    net_once(fx.port, "GET /a%zz HTTP/1.1\r\nHost: x\r\n\r\n", &a);
    assert_int_equal(a.status, 400);
    answer_free(&a);
}

static void test_h2__serves_requests_side_by_side(void **state)
{
    (void)state;
    struct h2_client *c = h2_open(net_connect(fx.port, 0), 0, true);
    const char *later[] = {
        ":method", "GET", ":scheme", "http", ":path", "/later?ms=50", ":authority", "x", NULL};
    const char *echo[] = {":method", "POST", ":scheme", "http", ":path", "/echo", ":authority", "x",
        "content-length", "3", NULL};
    const char *big[] = {
        ":method", "GET", ":scheme", "http", ":path", "/big?n=300000", ":authority", "x", NULL};
    struct h2_stream *s1 = h2_request(c, later, (struct bytes){0}, false);
    struct h2_stream *s2 = h2_request(c, echo, bytes_n("abc", 3), true);
    struct h2_stream *s3 = h2_request(c, big, (struct bytes){0}, false);
    assert_true(h2_finish(c, s2));
    assert_true(h2_finish(c, s3));
    assert_true(h2_finish(c, s1));
    assert_int_equal(s1->status, 200);
    assert_str(buf_str(&s1->body), "later");
    assert_str(buf_str(&s2->body), "abc");
    assert_string_equal(h2_header(s2, "content-length"), "3");
    assert_int_equal(s3->body.n, 300000);
    h2_stream_free(s1);
    h2_stream_free(s2);
    h2_stream_free(s3);
    h2_free(c);
}

static void test_h2__upgrades_from_http1(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct net n = net_connect(fx.port, 0);
        struct http_answer a;
        struct str v;
        /* SETTINGS: INITIAL_WINDOW_SIZE = 65535, as base64url */
        assert_true(net_sendz(&n,
            "GET /info?a=b HTTP/1.1\r\nHost: x\r\nX-Test: 7\r\nUpgrade: h2c\r\n"
            "Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAQAAP__\r\n\r\n"));
        assert_true(net_answer(&n, &a, true));
        assert_int_equal(a.status, 101);
        assert_true(answer_header(&a, "upgrade", &v));
        assert_str(v, "h2c");
        answer_free(&a);
        struct h2_client *c = h2_open(n, 0, true);
        struct h2_stream *first = h2_upgraded(c, "\0\4\0\0\xff\xff", 6);
        assert_true(h2_finish(c, first));
        assert_int_equal(first->status, 200);
        assert_str(buf_str(&first->body),
            "GET /info raw=/info query=a=b h2=1 tls=0 cert=\na=b\nx-test=7 x1\n");
        const char *echo[] = {
            ":method", "POST", ":scheme", "http", ":path", "/echo", ":authority", "x", NULL};
        struct h2_stream *s = h2_request(c, echo, bytes_n("abc", 3), true);
        assert_true(h2_finish(c, s));
        assert_str(buf_str(&s->body), "abc");
        h2_stream_free(first);
        h2_stream_free(s);
        h2_free(c);
    }
    for (int i = 0; i < 1000 && server_connections(fx.server) != 0; i++)
        fixture_sleep_ms(2);
    assert_int_equal(server_connections(fx.server), 0); /* counted once, not twice */
}

static void test_grpc__answers_unary_calls(void **state)
{
    (void)state;
    struct h2_client *c = h2_open(net_connect(fx.port, 0), 0, true);
    struct buf framed = BUF_INIT;
    grpc_frame(&framed, 0, "hello", 5);
    grpc_frame(&framed, 0, "ignored", 7); /* only the first message counts */
    struct h2_stream *s = h2_grpc(c, "/t.S/Echo", NULL, buf_bytes(&framed));
    assert_true(h2_finish(c, s));
    assert_int_equal(s->status, 200);
    assert_string_equal(h2_header(s, "content-type"), "application/grpc");
    assert_int_equal(s->body.n, 10);
    assert_memory_equal(s->body.p, "\0\0\0\0\5hello", 10);
    assert_int_equal(s->trailers.n, 1);
    assert_string_equal(h2_trailer(s, "grpc-status"), "0");
    h2_stream_free(s);

    s = h2_grpc(c, "/t.S/Fail", NULL, buf_bytes(&framed));
    assert_true(h2_finish(c, s));
    assert_int_equal(s->trailers.n, 0);
    assert_string_equal(h2_trailer(s, "grpc-status"), "8");
    assert_string_equal(h2_trailer(s, "grpc-message"), "100%25 %C3%A9");
    assert_string_equal(h2_trailer(s, "grpc-status-details-bin"), "eHl6IQ");
    h2_stream_free(s);
    buf_deinit(&framed);
    h2_free(c);
}

static void test_grpc__streams_from_another_thread(void **state)
{
    (void)state;
    struct h2_client *c = h2_open(net_connect(fx.port, 0), 0, true);
    struct buf framed = BUF_INIT;
    grpc_frame(&framed, 0, "\0\0\0\x14\0\1\0\0", 8); /* 20 messages of 64 KiB */
    struct h2_stream *s = h2_grpc(c, "/t.S/Stream", NULL, buf_bytes(&framed));
    assert_true(h2_finish(c, s));
    assert_string_equal(h2_trailer(s, "grpc-status"), "0");
    assert_int_equal(s->body.n, 20 * (5 + 65536));
    for (size_t i = 0; i < 20; i++) {
        assert_int_equal(get_u32be(s->body.p + i * 65541 + 1), 65536);
        assert_int_equal(s->body.p[i * 65541 + 5], 'a' + i);
    }
    h2_stream_free(s);
    buf_deinit(&framed);
    h2_free(c);
}

static atomic_uint n_stalled;
static atomic_bool stalls_over;

/* Takes the transport thread that it is called on. */
static void stall(void *ctx, struct exchange *ex)
{
    (void)ctx;
    atomic_fetch_add(&n_stalled, 1);
    while (!atomic_load(&stalls_over))
        fixture_sleep_ms(1);
    exchange_respond_text(ex, 200, "late");
}

static void answer(void *ctx, struct exchange *ex)
{
    (void)ctx;
    exchange_respond_text(ex, 200, "prompt");
}

static void ask(struct net *c, const char *want)
{
    struct http_answer a;
    if (want == NULL) {
        assert_true(net_sendz(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
        return;
    }
    assert_true(net_answer(c, &a, false));
    assert_str(buf_str(&a.body), want);
    answer_free(&a);
}

/* Connections, too, are accepted while all other transport threads are busy. */
static void test_listen__prompt_ones_wait_for_no_others(void **state)
{
    enum { LOOPS = 2 };
    struct server *s;
    struct err err;
    struct net slow[2 * LOOPS], quick[3];
    unsigned port, prompt_port;
    (void)state;
    assert_ok(server_new(&(struct server_options){.threads = LOOPS}, &s, &err), err);
    struct listener_options o = {.address = "127.0.0.1:0", .http1 = true, .handler = stall};
    assert_ok(server_listen(s, &o, NULL, &port, &err), err);
    o.prompt = true;
    o.handler = answer;
    assert_ok(server_listen(s, &o, NULL, &prompt_port, &err), err);
    for (size_t i = 0; i < ARRAY_LEN(slow); i++) { /* dealt out before one of them stalls */
        slow[i] = net_connect(port, 0);
        fixture_sleep_ms(20);
    }
    for (size_t i = 0; i < ARRAY_LEN(slow); i++)
        ask(&slow[i], NULL);
    assert_true(fixture_wait(&n_stalled, LOOPS));
    for (size_t i = 0; i < ARRAY_LEN(quick); i++) {
        quick[i] = net_connect(prompt_port, 0);
        ask(&quick[i], NULL);
        ask(&quick[i], "prompt");
        net_close(&quick[i]);
    }
    assert_int_equal(atomic_load(&n_stalled), LOOPS); /* they stall still */
    atomic_store(&stalls_over, true);
    for (size_t i = 0; i < ARRAY_LEN(slow); i++) {
        ask(&slow[i], "late");
        net_close(&slow[i]);
    }
    server_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_listen__all_zeros_are_both_families),
        cmocka_unit_test(test_listen__prompt_ones_wait_for_no_others),
        cmocka_unit_test_setup_teardown(test_h1__keeps_alive_and_pipelines, setup, teardown),
        cmocka_unit_test_setup_teardown(test_h1__reads_chunked_bodies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_h1__cleans_paths, setup, teardown),
        cmocka_unit_test_setup_teardown(test_h2__serves_requests_side_by_side, setup, teardown),
        cmocka_unit_test_setup_teardown(test_h2__upgrades_from_http1, setup, teardown),
        cmocka_unit_test_setup_teardown(test_grpc__answers_unary_calls, setup, teardown),
        cmocka_unit_test_setup_teardown(test_grpc__streams_from_another_thread, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
