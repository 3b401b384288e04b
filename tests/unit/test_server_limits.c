/* SPDX-License-Identifier: Apache-2.0
 * Protection: header and URL caps, connection caps, slow clients, floods, cancellation, drain. */
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/metric.h"
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

/* Timeouts short enough to wait for. */
static int setup_hasty(void **state)
{
    (void)state;
    struct listener_options o = fixture_options();
    o.read_timeout_ms = 200;
    o.idle_timeout_ms = 400;
    fixture_start(&fx, &o);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_stop(&fx);
    return 0;
}

static const char *const get_info[] = {
    ":method", "GET", ":scheme", "http", ":path", "/info", ":authority", "x", NULL};
static const char *const get_hold[] = {
    ":method", "GET", ":scheme", "http", ":path", "/hold", ":authority", "x", NULL};

static unsigned h1_status(const char *request)
{
    struct http_answer a;
    net_once(fx.port, request, &a);
    unsigned status = a.status;
    answer_free(&a);
    return status;
}

static void fill(char *to, size_t n)
{
    memset(to, 'a', n);
    to[n] = 0;
}

static void test_h1__url_and_header_caps(void **state)
{
    (void)state;
    static char request[70000], text[66000];
    for (int d = -1; d <= 1; d++) {
        fill(text, (size_t)(8192 - 1 + d));
        snprintf(request, sizeof(request), "GET /%s HTTP/1.1\r\nHost: x\r\n\r\n", text);
        assert_int_equal(h1_status(request), d <= 0 ? 404 : 414);
    }
    static const char head[] = "GET /info HTTP/1.1\r\nHost: x\r\nX-Test: ";
    for (int d = -1; d <= 1; d++) {
        fill(text, (size_t)(16384 + d) - (sizeof(head) - 1) - 4);
        snprintf(request, sizeof(request), "%s%s\r\n\r\n", head, text);
        assert_int_equal(h1_status(request), d <= 0 ? 200 : 431);
    }
    fill(text, 65000);
    snprintf(request, sizeof(request), "%s%s\r\n\r\n", head, text);
    assert_int_equal(h1_status(request), 431);
    snprintf(request, sizeof(request), "GET /%s HTTP/1.1\r\nHost: x\r\n\r\n", text);
    assert_int_equal(h1_status(request), 414);
}

/* A listener may allow more for the URL alone. */
static void test_h1__a_long_url_beside_short_headers(void **state)
{
    (void)state;
    static char request[260000], text[210000];
    const uint32_t max = 160u << 10;
    const size_t one = (48u << 10) + max - 8192; /* what a connection holds */
    struct listener_options o = fixture_options();
    struct budget held;
    struct fixture f;
    o.url_bytes_max = max;
    budget_init(&held, NULL, "connections", 2 * one);
    fixture_start_within(&f, &o, &held);
    struct net c = net_connect(f.port, 0);
    struct http_answer a;
    for (unsigned i = 0; i < 3; i++) { /* kept alive: short, long, short */
        fill(text, i == 1 ? max - 1 : 10);
        snprintf(request, sizeof(request), "GET /%s HTTP/1.1\r\nHost: x\r\nX-Test: %s\r\n\r\n",
            text, i == 1 ? "y" : "z");
        assert_true(net_sendz(&c, request));
        assert_true(net_answer(&c, &a, false));
        assert_int_equal(a.status, 404);
        answer_free(&a);
        for (unsigned k = 0; k < 1000 && budget_used(&f.budget) != 0; k++)
            fixture_sleep_ms(5); /* the exchange goes after its answer */
        assert_int_equal(budget_used(&f.budget), 0);
        assert_int_equal(budget_used(&held), one);
    }
    net_close(&c);
    for (int d = 0; d <= 1; d++) { /* the cap, and headers that are too long beside a long URL */
        static char header[20000];
        fill(text, d == 0 ? max : 100000);
        fill(header, d == 0 ? 1 : 17000);
        c = net_connect(f.port, 0);
        snprintf(request, sizeof(request), "GET /%s HTTP/1.1\r\nHost: x\r\nX-Test: %s\r\n\r\n",
            text, header);
        assert_true(net_sendz(&c, request));
        assert_true(net_answer(&c, &a, false));
        assert_int_equal(a.status, d == 0 ? 414 : 431);
        answer_free(&a);
        net_close(&c);
        for (unsigned k = 0; k < 1000 && budget_used(&held) != 0; k++)
            fixture_sleep_ms(5); /* the closed connections give theirs back */
        assert_int_equal(budget_used(&held), 0);
    }
    /* Half of it in use: only who begins with a long URL gets memory for one, others are asked to
     * come again for the next. Nothing left: the default length. */
    for (int d = 0; d <= 4; d++) {
        struct str connection = {0};
        static const size_t lengths[] = {8192 - 1, 8192, 100000, 10, 8192};
        atomic_store(&held.cap, d == 4 ? one - 1 : 2 * one - 1);
        fill(text, lengths[d]);
        c = net_connect(f.port, 0);
        snprintf(request, sizeof(request), "GET /%s HTTP/1.1\r\nHost: x\r\n\r\n", text);
        assert_true(net_sendz(&c, "G")); /* what it begins with shows nothing yet */
        fixture_sleep_ms(20);
        assert_true(net_sendz(&c, request + 1));
        assert_true(net_answer(&c, &a, false));
        assert_int_equal(a.status, d == 4 ? 414 : 404);
        assert_int_equal(answer_header(&a, "connection", &connection), d >= 3);
        answer_free(&a);
        net_close(&c);
        for (unsigned k = 0; k < 1000 && budget_used(&held) != 0; k++)
            fixture_sleep_ms(5);
    }
    struct h2_client *h = h2_open(net_connect(f.port, 0), 0, true);
    const char *pairs[] = {
        ":method", "GET", ":scheme", "http", ":path", text, ":authority", "x", NULL};
    fill(text, 60000);
    text[0] = '/';
    struct h2_stream *s = h2_request(h, pairs, (struct bytes){0}, false);
    assert_true(h2_finish(h, s));
    assert_int_equal(s->status, 404);
    h2_stream_free(s);
    h2_free(h);
    fixture_stop(&f);
    budget_deinit(&held);
}

static void test_h1__rubbish_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"rubbish\r\n\r\n", "GET / HTTP/1.1\r\n\r\n" /* no Host */,
        "GET / HTTP/9.9\r\nHost: x\r\n\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct net c = net_connect(fx.port, 0);
        struct http_answer a;
        assert_true(net_sendz(&c, bad[i]));
        if (net_answer(&c, &a, false))
            assert_true(a.status >= 400 && a.status < 600);
        answer_free(&a);
        net_close(&c);
    }
    assert_int_equal(atomic_load(&fx.handled), 0);
}

static void test_h2__url_and_header_caps(void **state)
{
    (void)state;
    static char text[20000];
    struct h2_client *c = h2_open(net_connect(fx.port, 0), 0, true);
    const char *pairs[] = {
        ":method", "GET", ":scheme", "http", ":path", text, ":authority", "x", "x-test", "1", NULL};
    for (int d = 0; d <= 1; d++) {
        fill(text, (size_t)(8192 + d));
        text[0] = '/';
        struct h2_stream *s = h2_request(c, pairs, (struct bytes){0}, false);
        assert_true(h2_finish(c, s));
        assert_int_equal(s->status, d == 0 ? 404 : 414);
        h2_stream_free(s);
    }
    pairs[5] = "/info";
    pairs[9] = text;
    fill(text, 17000);
    struct h2_stream *s = h2_request(c, pairs, (struct bytes){0}, false);
    assert_true(h2_finish(c, s));
    assert_int_equal(s->status, 431);
    h2_stream_free(s);
    h2_free(c);
}

static void test_connections__are_capped_in_all_and_per_address(void **state)
{
    (void)state;
    struct fixture f = {0};
    for (int per_ip = 0; per_ip < 2; per_ip++) {
        struct listener_options o = fixture_options();
        o.connections_max = per_ip ? 100 : 3;
        o.connections_per_ip_max = per_ip ? 3 : 100;
        fixture_start(&f, &o);
        for (int round = 0; round < 20; round++) { /* the count must not leak */
            struct net c[4];
            struct http_answer a;
            for (int i = 0; i < 4; i++)
                c[i] = net_connect(f.port, 0);
            for (int i = 0; i < 3; i++) {
                assert_true(net_sendz(&c[i], "GET /info HTTP/1.1\r\nHost: x\r\n\r\n"));
                assert_true(net_answer(&c[i], &a, false));
                answer_free(&a);
            }
            assert_true(net_wait_closed(&c[3], 5000));
            for (int i = 0; i < 4; i++)
                net_close(&c[i]);
            for (int i = 0; i < 1000 && server_connections(f.server) != 0; i++)
                fixture_sleep_ms(2);
            assert_int_equal(server_connections(f.server), 0);
        }
        fixture_stop(&f);
    }
}

/* Silent or kept alive, they hold what is charged; who does not fit is closed, and bodies are not
 * what it is taken from. */
static void test_connections__are_charged(void **state)
{
    (void)state;
    enum { SHORT = 48u << 10, LONG = SHORT + (152u << 10), H2 = 14u << 10 };
    struct listener_options o = fixture_options();
    struct budget held;
    struct fixture f;
    struct net c[8];
    struct http_answer a;
    static const char waits_for_body[] =
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n";
    o.url_bytes_max = 160u << 10;
    budget_init(&held, NULL, "connections", 4 * LONG); /* two long ones, eight short */
    fixture_start_within(&f, &o, &held);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < ARRAY_LEN(c); i++) {
            size_t want = i < 2 ? (i + 1) * LONG : 2 * LONG + (i - 1) * SHORT;
            c[i] = net_connect(f.port, 0);
            assert_true(net_sendz(&c[i], i < 2 ? "GET" : waits_for_body));
            for (unsigned k = 0; k < 1000 && budget_used(&held) != want; k++)
                fixture_sleep_ms(2);
            assert_int_equal(budget_used(&held), want);
        }
        struct h2_client *h = h2_open(net_connect(f.port, 0), 0, true);
        struct h2_stream *s = h2_request(h, get_info, (struct bytes){0}, false);
        assert_true(h2_finish(h, s));
        assert_int_equal(budget_used(&held), 2 * LONG + 6 * SHORT + H2);
        h2_stream_free(s);
        for (unsigned k = 0; k < 2; k++) { /* there is room for one more, or a byte too little */
            struct net last = net_connect(f.port, 0);
            atomic_store(&held.cap, budget_used(&held) + SHORT - k);
            assert_true(net_sendz(&last, "GET /info HTTP/1.1\r\nHost: x\r\n\r\n"));
            assert_int_equal(net_answer(&last, &a, false), k == 0);
            answer_free(&a);
            net_close(&last);
            for (unsigned w = 0; w < 1000 && budget_used(&held) != 2 * LONG + 6 * SHORT + H2; w++)
                fixture_sleep_ms(2);
        }
        struct net last = net_connect(f.port, 0);
        atomic_store(&held.cap, budget_used(&held) + H2 - 1);
        assert_true(net_sendz(&last, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
        assert_true(net_wait_closed(&last, 5000));
        net_close(&last);
        assert_true(budget_used(&f.budget) < SHORT);
        h2_free(h);
        for (size_t i = 0; i < ARRAY_LEN(c); i++)
            net_close(&c[i]);
        for (unsigned k = 0; k < 1000 && budget_used(&held) != 0; k++)
            fixture_sleep_ms(2);
        assert_int_equal(budget_used(&held), 0);
        atomic_store(&held.cap, 4 * LONG);
    }
    fixture_stop(&f);
    budget_deinit(&held);
}

/* Half of the descriptors, over all listeners: the store opens files with the rest. */
static void test_connections__leave_descriptors_for_files(void **state)
{
    (void)state;
    struct fixture f = {0};
    struct rlimit was, low;
    struct listener *second;
    unsigned port;
    struct err err = {0};
    struct net c[40];
    getrlimit(RLIMIT_NOFILE, &was);
    low = was;
    low.rlim_cur = 60;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    fixture_start(&f, NULL);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    struct listener_options o = fixture_options();
    o.body_budget = &f.budget;
    o.ctx = &f;
    assert_ok(server_listen(f.server, &o, &second, &port, &err), err);
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        c[i] = net_connect(i % 2 == 0 ? f.port : port, 0);
        if (i >= 30)
            assert_true(net_wait_closed(&c[i], 5000));
        else
            for (int k = 0; k < 1000 && server_connections(f.server) <= i; k++)
                fixture_sleep_ms(2); /* two sockets: it need not be accepted before the next */
    }
    assert_int_equal(server_connections(f.server), 30);
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        net_close(&c[i]);
    fixture_stop(&f);
}

static void test_connections__a_thousand_may_idle(void **state)
{
    (void)state;
    struct fixture f = {0};
    struct rlimit lim = {0};
    getrlimit(RLIMIT_NOFILE, &lim);
    size_t n = lim.rlim_cur < 2500 ? 200 : 1000;
    struct listener_options o = fixture_options();
    o.connections_max = 2000;
    o.connections_per_ip_max = 2000;
    fixture_start(&f, &o);
    struct net *c = xcalloc(n, sizeof(*c));
    for (size_t i = 0; i < n; i++) {
        c[i] = net_connect(f.port, 0);
        if (i % 2 == 0)
            assert_true(net_sendz(&c[i], "GET /info HTTP/1.1\r\nHost: x\r\n\r\n"));
        else
            assert_true(net_sendz(&c[i], "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    }
    struct http_answer a;
    int64_t begin = clock_mono_ns();
    for (int i = 0; i < 100; i++) {
        net_once(f.port, "GET /info HTTP/1.1\r\nHost: x\r\n\r\n", &a);
        answer_free(&a);
    }
    assert_true(clock_mono_ns() - begin < 5 * NS_PER_S);
    for (size_t i = 0; i < n; i++)
        net_close(&c[i]);
    free(c);
    fixture_stop(&f);
}

static void test_slow__heads_and_bodies_are_cut_off(void **state)
{
    (void)state;
    static const char *const starts[] = {"", "G", "PRI * HTT", "GET / HTTP/1.1\r\nHost:",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc",
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"};
    struct net c[ARRAY_LEN(starts)];
    for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
        c[i] = net_connect(fx.port, 0);
        assert_true(net_sendz(&c[i], starts[i]));
    }
    for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
        assert_true(net_wait_closed(&c[i], 3000));
        net_close(&c[i]);
    }
    assert_int_equal(atomic_load(&fx.handled), 0);
}

static void test_slow__a_drip_does_not_help(void **state)
{
    (void)state;
    struct net c = net_connect(fx.port, 0);
    assert_true(net_sendz(&c, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"));
    int i = 0;
    while (i < 200 && net_send(&c, "x", 1)) {
        fixture_sleep_ms(20);
        i++;
    }
    assert_true(i < 100);
    net_close(&c);
}

static void test_slow__idle_connections_end(void **state)
{
    (void)state;
    struct net c = net_connect(fx.port, 0);
    struct http_answer a;
    assert_true(net_sendz(&c, "GET /info HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_true(net_answer(&c, &a, false));
    answer_free(&a);
    assert_true(net_wait_closed(&c, 3000));
    net_close(&c);
    struct h2_client *h = h2_open(net_connect(fx.port, 0), 0, true);
    struct h2_stream *s = h2_request(h, get_info, (struct bytes){0}, false);
    assert_true(h2_finish(h, s));
    h2_stream_free(s);
    for (int i = 0; i < 50 && !h->goaway; i++)
        (void)h2_step(h, 100);
    assert_true(h->goaway);
    assert_int_equal(h->goaway_code, NGHTTP2_NO_ERROR);
    h2_free(h);
}

static void test_slow__a_waiting_answer_is_not_idleness(void **state)
{
    (void)state;
    struct net c = net_connect(fx.port, 0);
    struct http_answer a;
    assert_true(net_sendz(&c, "GET /later?ms=1000 HTTP/1.1\r\nHost: x\r\n\r\n"));
    struct h2_client *h = h2_open(net_connect(fx.port, 0), 0, true);
    const char *later[] = {
        ":method", "GET", ":scheme", "http", ":path", "/later?ms=1000", ":authority", "x", NULL};
    struct h2_stream *s = h2_request(h, later, (struct bytes){0}, false);
    assert_true(h2_finish(h, s));
    assert_int_equal(s->status, 200);
    assert_true(net_answer(&c, &a, false));
    assert_int_equal(a.status, 200);
    answer_free(&a);
    net_close(&c);
    h2_stream_free(s);
    h2_free(h);
}

static void test_slow__an_answer_nobody_reads_is_dropped(void **state)
{
    (void)state;
    struct net c = net_connect(fx.port, 4096);
    assert_true(net_sendz(&c, "GET /big?n=30000000 HTTP/1.1\r\nHost: x\r\n\r\n"));
    struct h2_client *h = h2_open(net_connect(fx.port, 0), 100, false); /* a stalled window */
    const char *big[] = {
        ":method", "GET", ":scheme", "http", ":path", "/big?n=1000", ":authority", "x", NULL};
    struct h2_stream *s = h2_request(h, big, (struct bytes){0}, false);
    assert_true(h2_finish(h, s));
    assert_int_equal(s->error_code, NGHTTP2_CANCEL);
    h2_stream_free(s);
    h2_free(h);
    /* 30 MB may take as long as a client of 64 KiB/s needs; a gone one frees it at once. */
    net_close(&c);
    for (int i = 0; i < 10000 && server_connections(fx.server) != 0; i++)
        fixture_sleep_ms(2);
    assert_int_equal(server_connections(fx.server), 0);
}

static void test_cancel__is_seen_while_suspended(void **state)
{
    (void)state;
    struct net c = net_connect(fx.port, 0);
    assert_true(net_sendz(&c, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n"));
    struct h2_client *h = h2_open(net_connect(fx.port, 0), 0, true);
    struct h2_stream *s = h2_request(h, get_hold, (struct bytes){0}, false);
    struct h2_stream *g = h2_grpc(h, "/t.S/Hold", NULL, bytes_n("\0\0\0\0\0", 5));
    while (atomic_load(&fx.holding) != 3)
        (void)h2_step(h, 5);
    assert_int_equal(atomic_load(&fx.canceled), 0);
    net_close(&c);
    assert_true(fixture_wait(&fx.canceled, 1));
    nghttp2_submit_rst_stream(h->session, 0, s->id, NGHTTP2_CANCEL);
    (void)h2_step(h, 5);
    assert_true(fixture_wait(&fx.canceled, 2));
    h2_free(h); /* the whole connection */
    h2_stream_free(s);
    h2_stream_free(g);
    assert_true(fixture_wait(&fx.canceled, 3));
    fixture_release(&fx);
    assert_true(fixture_wait(&fx.holding, 0));
}

static void test_stream__waits_for_the_window_and_ends_with_the_client(void **state)
{
    (void)state;
    struct h2_client *h = h2_open(net_connect(fx.port, 0), 1000, false);
    struct buf framed = BUF_INIT;
    grpc_frame(&framed, 0, "\0\0\0\x40\0\x04\0\0", 8); /* 64 messages of 256 KiB */
    struct h2_stream *s = h2_grpc(h, "/t.S/Stream", NULL, buf_bytes(&framed));
    while (s->body.n < 1000 && h2_step(h, 1000))
        ;
    for (int i = 0; i < 1000 && atomic_load(&fx.stream_sent) < 16; i++)
        fixture_sleep_ms(5);
    fixture_sleep_ms(100); /* for what should not come */
    unsigned sent = atomic_load(&fx.stream_sent);
    assert_true(sent >= 16 && sent < 24); /* 4 MiB and what was on its way */
    /* It goes on as the window opens ... */
    nghttp2_submit_window_update(h->session, 0, s->id, 8 << 20);
    nghttp2_submit_window_update(h->session, 0, 0, 8 << 20);
    int64_t until = clock_mono_ns() + 5 * NS_PER_S;
    while (atomic_load(&fx.stream_sent) <= sent + 2 && clock_mono_ns() < until)
        (void)h2_step(h, 20);
    assert_true(atomic_load(&fx.stream_sent) > sent + 2);
    /* ... and a client that leaves frees the thread that waits. */
    h2_free(h);
    assert_true(fixture_wait(&fx.stream_failed, 1));
    h2_stream_free(s);
    buf_deinit(&framed);
}

static void test_flood__rapid_reset_is_calmed(void **state)
{
    (void)state;
    struct h2_client *h = h2_open(net_connect(fx.port, 0), 0, true);
    struct h2_stream *s[1000];
    size_t n = 0;
    while (n < ARRAY_LEN(s) && !h->goaway && !h->dead) {
        s[n] = h2_request(h, get_hold, (struct bytes){0}, false);
        const uint8_t *p;
        ssize_t len;
        while ((len = nghttp2_session_mem_send(h->session, &p)) > 0)
            (void)net_send(&h->net, p, (size_t)len);
        nghttp2_submit_rst_stream(h->session, 0, s[n]->id, NGHTTP2_CANCEL);
        n++;
        (void)h2_step(h, 0);
    }
    for (int i = 0; i < 50 && !h->goaway && !h->dead; i++)
        (void)h2_step(h, 100);
    assert_true(h->goaway);
    assert_int_equal(h->goaway_code, NGHTTP2_ENHANCE_YOUR_CALM);
    assert_true(atomic_load(&fx.handled) <= 260);
    h2_free(h);
    for (size_t i = 0; i < n; i++)
        h2_stream_free(s[i]);
    fixture_release(&fx);
    assert_true(fixture_wait(&fx.holding, 0));
}

/* Sends the same frame n times after the preface; true when the server ends with ENHANCE_YOUR_CALM
 * or just closes. */
static bool flood(const void *first, size_t first_n, const void *frame, size_t frame_n, int n)
{
    struct h2_client *h = h2_open(net_connect(fx.port, 0), 0, true);
    for (int i = 0; i < 5; i++)
        (void)h2_step(h, 20);
    bool open = net_send(&h->net, first, first_n);
    for (int i = 0; i < n && open; i++)
        open = net_send(&h->net, frame, frame_n);
    for (int i = 0; i < 50 && !h->goaway && !h->dead; i++)
        (void)h2_step(h, 20);
    bool calmed = (h->goaway && h->goaway_code == NGHTTP2_ENHANCE_YOUR_CALM) || h->dead || !open;
    h2_free(h);
    return calmed;
}

static void test_flood__control_frames_are_calmed(void **state)
{
    (void)state;
    assert_true(flood("", 0, "\0\0\x08\x06\0\0\0\0\0abcdefgh", 17, 2000));   /* PING */
    assert_true(flood("", 0, "\0\0\0\x04\0\0\0\0\0", 9, 2000));              /* SETTINGS */
    assert_true(flood("", 0, "\0\0\x05\x02\0\0\0\0\1\0\0\0\3\0", 14, 2000)); /* PRIORITY */
    assert_true(flood("\0\0\1\x01\0\0\0\0\1\x82", 10, "\0\0\1\x09\0\0\0\0\1\x84", 10, 20));
    assert_false(flood("", 0, "\0\0\x08\x06\0\0\0\0\0abcdefgh", 17, 100));
    struct http_answer a; /* others are served */
    net_once(fx.port, "GET /info HTTP/1.1\r\nHost: x\r\n\r\n", &a);
    assert_int_equal(a.status, 200);
    answer_free(&a);
}

static void test_flood__streams_are_capped(void **state)
{
    (void)state;
    struct fixture f = {0};
    struct listener_options o = fixture_options();
    o.streams_max = 4;
    fixture_start(&f, &o);
    struct h2_client *h = h2_open(net_connect(f.port, 0), 0, true);
    struct h2_stream *s[8];
    for (int i = 0; i < 8; i++) /* before the SETTINGS are known */
        s[i] = h2_request(h, get_hold, (struct bytes){0}, false);
    for (int i = 0; i < 20; i++)
        (void)h2_step(h, 10);
    assert_true(atomic_load(&f.holding) <= 4);
    fixture_release(&f);
    for (int i = 0; i < 4; i++)
        assert_true(h2_finish(h, s[i]));
    h2_free(h);
    for (int i = 0; i < 8; i++)
        h2_stream_free(s[i]);
    fixture_stop(&f);
}

static void test_keepalive__a_dead_peer_is_noticed(void **state)
{
    (void)state;
    struct fixture f = {0};
    struct listener_options o = fixture_options();
    o.keepalive_time_ms = 100;
    o.keepalive_timeout_ms = 200;
    fixture_start(&f, &o);
    struct h2_client *alive = h2_open(net_connect(f.port, 0), 0, true);
    struct h2_client *mute = h2_open(net_connect(f.port, 0), 0, true);
    (void)h2_step(mute, 10);
    for (int i = 0; i < 60; i++)
        (void)h2_step(alive, 20);
    assert_false(alive->dead);
    assert_true(net_wait_closed(&mute->net, 2000));
    h2_free(alive);
    h2_free(mute);
    fixture_stop(&f);
}

/* What was asked is answered; then the connection ends, however the client's end came. */
static void test_half_close__ends_the_connection(void **state)
{
    static const char *const sent[] = {"GET /info HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /info HTTP/1.1\r\nHos",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab"};
    struct fixture f = {0};
    (void)state;
    fixture_start(&f, NULL);
    for (size_t i = 0; i < 24; i++) {
        struct net c = net_connect(f.port, 0);
        struct http_answer a;
        assert_true(net_sendz(&c, sent[i % 3]));
        shutdown(c.fd, SHUT_WR);
        if (i % 3 == 0) {
            assert_true(net_answer(&c, &a, false));
            assert_int_equal(a.status, 200);
            answer_free(&a);
        }
        assert_true(net_wait_closed(&c, 5000));
        net_close(&c);
    }
    fixture_stop(&f);
}

static void *drain(void *arg)
{
    (void)arg;
    server_drain(fx.server, 10 * NS_PER_S);
    return NULL;
}

static void test_drain__finishes_what_runs_and_refuses_the_rest(void **state)
{
    (void)state;
    pthread_t t;
    struct net idle = net_connect(fx.port, 0), busy = net_connect(fx.port, 0);
    struct http_answer a;
    assert_true(net_sendz(&idle, "GET /info HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_true(net_answer(&idle, &a, false));
    answer_free(&a);
    assert_true(net_sendz(&busy, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n"));
    struct h2_client *h = h2_open(net_connect(fx.port, 0), 0, true);
    struct h2_stream *s = h2_request(h, get_hold, (struct bytes){0}, false);
    while (atomic_load(&fx.holding) != 2)
        (void)h2_step(h, 5);
    assert_int_equal(pthread_create(&t, NULL, drain, NULL), 0);
    while (!h->goaway)
        (void)h2_step(h, 5);
    struct h2_stream *late = h2_request(h, get_info, (struct bytes){0}, false);
    struct h2_stream *late_grpc = h2_grpc(h, "/t.S/Echo", NULL, bytes_n("\0\0\0\0\0", 5));
    bool answered = h2_finish(h, late) && late->status == 503;
    if (late->status != 0) /* either it came in time to be told, or GOAWAY covers it */
        assert_true(answered);
    if (h2_finish(h, late_grpc) && late_grpc->status != 0)
        assert_string_equal(h2_trailer(late_grpc, "grpc-status"), "14");
    assert_true(net_wait_closed(&idle, 5000));
    fixture_release(&fx);
    assert_true(h2_finish(h, s));
    assert_int_equal(s->status, 200);
    struct str v;
    assert_true(net_answer(&busy, &a, false));
    assert_int_equal(a.status, 200);
    assert_true(answer_header(&a, "connection", &v));
    assert_str(v, "close");
    answer_free(&a);
    assert_int_equal(pthread_join(t, NULL), 0);
    net_close(&idle);
    net_close(&busy);
    h2_free(h);
    h2_stream_free(s);
    h2_stream_free(late);
    h2_stream_free(late_grpc);
}

static void test_metrics__count_requests_by_route(void **state)
{
    (void)state;
    struct fixture f = {0};
    struct listener_options o = fixture_options();
    o.request_metrics = true;
    fixture_start(&f, &o);
    struct http_answer a;
    net_once(f.port, "GET /big?n=1 HTTP/1.1\r\nHost: x\r\n\r\n", &a);
    answer_free(&a);
    net_once(f.port, "BREW /nope HTTP/1.1\r\nHost: x\r\n\r\n", &a);
    answer_free(&a);
    struct h2_client *h = h2_open(net_connect(f.port, 0), 0, true);
    struct h2_stream *s = h2_grpc(h, "/t.S/Echo", NULL, bytes_n("\0\0\0\0\0", 5));
    assert_true(h2_finish(h, s));
    h2_stream_free(s);
    struct buf text = BUF_INIT;
    metric_render(&text);
    assert_true(str_has(buf_str(&text),
        STR("tempo_request_duration_seconds_count{method=\"GET\",route=\"api_big\",status_code="
            "\"200\",ws=\"false\"} 1")));
    assert_true(str_has(buf_str(&text),
        STR("tempo_request_duration_seconds_count{method=\"other\",route=\"other\",status_code="
            "\"404\",ws=\"false\"} 1")));
    assert_true(str_has(buf_str(&text),
        STR("tempo_request_duration_seconds_count{method=\"gRPC\",route=\"/t.S/Echo\",status_code="
            "\"success\",ws=\"false\"} 1")));
    assert_true(str_has(buf_str(&text), STR("tempo_tcp_connections{protocol=\"http\"}")));
    buf_deinit(&text);
    h2_free(h);
    fixture_stop(&f);
}

int main(void)
{
    struct rlimit lim;
    if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
        lim.rlim_cur = MIN(lim.rlim_max, 8192);
        (void)setrlimit(RLIMIT_NOFILE, &lim);
    }
    const struct CMUnitTest tests[] = {
#define T(fn)     cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define HASTY(fn) cmocka_unit_test_setup_teardown(fn, setup_hasty, teardown)
        T(test_h1__url_and_header_caps),
        T(test_h1__a_long_url_beside_short_headers),
        T(test_h1__rubbish_is_refused),
        T(test_h2__url_and_header_caps),
        cmocka_unit_test(test_connections__are_capped_in_all_and_per_address),
        cmocka_unit_test(test_connections__are_charged),
        cmocka_unit_test(test_connections__leave_descriptors_for_files),
        cmocka_unit_test(test_connections__a_thousand_may_idle),
        HASTY(test_slow__heads_and_bodies_are_cut_off),
        HASTY(test_slow__a_drip_does_not_help),
        HASTY(test_slow__idle_connections_end),
        HASTY(test_slow__a_waiting_answer_is_not_idleness),
        HASTY(test_slow__an_answer_nobody_reads_is_dropped),
        T(test_cancel__is_seen_while_suspended),
        T(test_stream__waits_for_the_window_and_ends_with_the_client),
        T(test_flood__rapid_reset_is_calmed),
        T(test_flood__control_frames_are_calmed),
        cmocka_unit_test(test_flood__streams_are_capped),
        cmocka_unit_test(test_keepalive__a_dead_peer_is_noticed),
        cmocka_unit_test(test_half_close__ends_the_connection),
        T(test_drain__finishes_what_runs_and_refuses_the_rest),
        cmocka_unit_test(test_metrics__count_requests_by_route),
#undef T
#undef HASTY
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
