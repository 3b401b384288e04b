/* SPDX-License-Identifier: Apache-2.0
 * What a layer in front of the endpoints does to an exchange: target, headers, attachment, a look
 * at the answer; and the probe of the transport threads. */
#include "net_client.h"
#include "server_fixture.h"
#include "unit.h"

struct place {
    struct server *server;
    struct listener *listener;
    unsigned port;
    atomic_uint seen_status, probes, healthy;
};

static void put_headers(struct buf *out, struct exchange *ex, const char *name)
{
    struct str v;
    for (unsigned i = 0; exchange_header_at(ex, name, i, &v); i++)
        buf_printf(out, " %s=%.*s", name, STR_ARG(v));
}

static void behind(struct exchange *ex)
{
    const struct http_request *r = exchange_request(ex);
    const char *attached = exchange_attachment(ex);
    struct buf out = BUF_INIT;
    buf_printf(&out, "%.*s raw=%.*s n=%zu attached=%s", STR_ARG(r->path), STR_ARG(r->raw_path),
        r->n_params, attached == NULL ? "-" : attached);
    put_headers(&out, ex, "X-Tenant");
    put_headers(&out, ex, "Authorization");
    exchange_respond(ex, str_eqz(r->path, "/slow") ? 504 : 200, "text/plain", &out, false);
}

static void look(void *arg, struct exchange *ex, struct exchange_answer *a)
{
    struct place *p = arg;
    atomic_store(&p->seen_status, a->status);
    if (a->status != 504)
        return;
    exchange_set_header(ex, "X-Changed", STR("yes"));
    a->status = 503;
    a->content_type = "application/json";
    buf_reset(a->body);
    buf_putz(a->body, "{}");
}

static void handle(void *ctx, struct exchange *ex)
{
    const struct http_request *r = exchange_request(ex);
    exchange_on_answer(ex, look, ctx);
    if (str_eqz(r->path, "/broken")) {
        assert_false(exchange_rewrite(ex, STR("/a%zz")));
        assert_str(r->path, "/broken");
    } else if (!str_eqz(r->path, "/slow")) {
        exchange_attach(ex, "this");
        assert_true(exchange_rewrite(ex, STR("/other/%2Fx%20y")));
        assert_true(exchange_set_request_header(ex, "x-tenant", STR("mine")));
        assert_true(exchange_set_request_header(ex, "AUTHORIZATION", str_n(NULL, 0)));
    }
    behind(ex);
}

static void start(struct place *p, unsigned connections_max)
{
    struct err err = {0};
    struct server_options so = {.threads = 2};
    struct listener_options o = {.name = "t",
        .address = "127.0.0.1:0",
        .http1 = true,
        .http2 = true,
        .header_timeout_ms = 200,
        .read_timeout_ms = 2000,
        .connections_max = connections_max,
        .handler = handle,
        .ctx = p};
    *p = (struct place){0};
    assert_ok(server_new(&so, &p->server, &err), err);
    assert_ok(server_listen(p->server, &o, &p->listener, &p->port, &err), err);
}

static void expect(const struct place *p, const char *request, unsigned status, const char *body)
{
    struct http_answer a;
    net_once(p->port, request, &a);
    assert_int_equal(a.status, status);
    assert_str(buf_str(&a.body), body);
    answer_free(&a);
}

static void test_rewrite__the_endpoint_sees_the_new_request(void **state)
{
    struct place p;
    (void)state;
    start(&p, 0);
    expect(&p,
        "GET /first?a=1&b=2 HTTP/1.1\r\nHost: x\r\nX-Tenant: other\r\nAuthorization: secret\r\n"
        "x-TENANT: third\r\n\r\n",
        200, "/other//x y raw=/other/%2Fx%20y n=2 attached=this X-Tenant=mine");
    expect(&p, "GET /broken HTTP/1.1\r\nHost: x\r\nX-Tenant: a\r\nx-tenant: b\r\n\r\n", 200,
        "/broken raw=/broken n=0 attached=- X-Tenant=a X-Tenant=b");
    assert_int_equal(atomic_load(&p.seen_status), 200);
    server_free(p.server);
}

static void test_answer__can_be_changed_before_it_goes(void **state)
{
    struct place p;
    struct http_answer a;
    struct str v;
    (void)state;
    start(&p, 0);
    net_once(p.port, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n", &a);
    assert_int_equal(a.status, 503);
    assert_str(buf_str(&a.body), "{}");
    assert_true(answer_header(&a, "content-type", &v));
    assert_str(v, "application/json");
    assert_true(answer_header(&a, "x-changed", &v));
    answer_free(&a);
    assert_int_equal(atomic_load(&p.seen_status), 504);
    server_free(p.server);
}

static void probed(void *arg, bool ok)
{
    struct place *p = arg;
    atomic_fetch_add(&p->healthy, ok);
    atomic_fetch_add(&p->probes, 1);
}

static void test_probe__all_threads_answer_and_the_cap_counts(void **state)
{
    struct place p;
    (void)state;
    start(&p, 1);
    server_probe(p.server, p.listener, probed, &p);
    assert_true(fixture_wait(&p.probes, 1));
    assert_int_equal(atomic_load(&p.healthy), 1);
    struct net c = net_connect(p.port, 0);
    assert_true(net_sendz(&c, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n"));
    struct http_answer a;
    assert_true(net_answer(&c, &a, false));
    answer_free(&a);
    server_probe(p.server, p.listener, probed, &p);
    assert_true(fixture_wait(&p.probes, 2));
    assert_int_equal(atomic_load(&p.healthy), 1); /* no room for one more connection */
    net_close(&c);
    server_free(p.server);
}

static void test_head__must_come_in_its_own_time(void **state)
{
    struct place p;
    (void)state;
    start(&p, 0);
    struct net c = net_connect(p.port, 0);
    assert_true(net_sendz(&c, "GET /x HTTP/1.1\r\nHost: x\r\n"));
    assert_true(net_wait_closed(&c, 1500)); /* read_timeout alone would keep it for 2 s */
    net_close(&c);
    server_free(p.server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rewrite__the_endpoint_sees_the_new_request),
        cmocka_unit_test(test_answer__can_be_changed_before_it_goes),
        cmocka_unit_test(test_probe__all_threads_answer_and_the_cap_counts),
        cmocka_unit_test(test_head__must_come_in_its_own_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
