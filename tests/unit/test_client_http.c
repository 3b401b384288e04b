/* SPDX-License-Identifier: Apache-2.0
 * The HTTP client against a service in this process: answers, bounds, TLS, cancellation, timers. */
#include <pthread.h>
#include <time.h>

#include "base/clock.h"
#include "client/http_client.h"
#include "fake_service.h"
#include "pki.h"
#include "server_fixture.h"

static struct fake_service plain, *svc = &plain;
static struct http_client *client;
static struct http_profile *profile;

struct wait {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    unsigned done;
    enum ec ec;
    unsigned status;
    char body[4096], error[300], header[200];
    bool on_thread;
};
#define WAIT_INIT                                                                   \
    (struct wait)                                                                   \
    {                                                                               \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0, "", "", "", 0 \
    }

static void on_done(void *arg, const struct http_client_response *rs)
{
    struct wait *w = arg;
    struct str v;
    pthread_mutex_lock(&w->lock);
    w->ec = rs->ec;
    w->status = rs->status;
    w->on_thread = http_client_on_thread(client);
    size_t n = MIN(rs->body->n, sizeof(w->body) - 1);
    if (n != 0)
        memcpy(w->body, rs->body->p, n);
    w->body[n] = 0;
    snprintf(w->error, sizeof(w->error), "%s", rs->error);
    if (http_response_header(rs, "x-note", &v))
        snprintf(w->header, sizeof(w->header), STR_FMT, STR_ARG(v));
    w->done++;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->lock);
}

static void await(struct wait *w, unsigned n)
{
    pthread_mutex_lock(&w->lock);
    while (w->done < n)
        pthread_cond_wait(&w->cond, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

/* What the service saw comes back: method, path, query, type, authorization, body. */
static void echo(struct fake_service *f, struct exchange *ex, const struct http_request *rq)
{
    struct str auth = STR(""), note = STR("");
    char delay[16] = "";
    (void)f;
    exchange_header(ex, "authorization", &auth);
    exchange_header(ex, "x-note", &note);
    if (str_eqz(rq->path, "/redirect")) {
        exchange_set_header(ex, "Location", STR("/there"));
        exchange_respond_text(ex, 302, "");
        return;
    }
    if (str_eqz(rq->path, "/big")) {
        struct buf b = BUF_INIT;
        for (int i = 0; i < 3000; i++)
            buf_puts(&b, STR("0123456789"));
        exchange_respond(ex, 200, "text/plain", &b, true);
        return;
    }
    if (str_starts(rq->path, STR("/late")))
        snprintf(delay, sizeof(delay), "%s", "300");
    char text[2048];
    snprintf(text, sizeof(text),
        STR_FMT " " STR_FMT " " STR_FMT " [" STR_FMT "] [" STR_FMT "] " STR_FMT,
        STR_ARG(rq->method), STR_ARG(rq->path), STR_ARG(rq->query), STR_ARG(rq->content_type),
        STR_ARG(auth), (int)rq->body.n, (const char *)rq->body.p);
    exchange_set_header(ex, "X-Note", note);
    fake_answer(ex, str_starts(rq->path, STR("/404")) ? 404 : 200, text, atoi(delay));
}

static struct wait ask(const char *path, struct http_client_request rq)
{
    struct wait w = WAIT_INIT;
    struct err err = {0};
    char url[300];
    snprintf(url, sizeof(url), "%s%s", svc->url, path);
    rq.url = str_from(url);
    if (rq.profile == NULL)
        rq.profile = profile;
    assert_ok(http_client_send(client, &rq, on_done, &w, NULL, &err), err);
    await(&w, 1);
    return w;
}

static void test_client__carries_method_headers_body(void **state)
{
    (void)state;
    struct wait w = ask("/a%2Fb?x=1&y=%20", (struct http_client_request){0});
    assert_int_equal(w.ec, EC_OK);
    assert_int_equal(w.status, 200);
    assert_string_equal(w.body, "GET /a/b x=1&y=%20 [] [] ");
    assert_true(w.on_thread);
    struct http_header h[] = {{STR("X-Note"), STR("hello")}, {STR("Content-Type"), STR("a/b")}};
    w = ask(
        "/p", (struct http_client_request){
                  .headers = h, .n_headers = 2, .body = bytes_n("body", 4), .bearer = STR("tok")});
    assert_string_equal(w.body, "POST /p  [a/b] [Bearer tok] body");
    assert_string_equal(w.header, "hello");
    w = ask("/p", (struct http_client_request){
                      .method = STR("PUT"), .user = STR("me"), .password = STR("pass")});
    assert_string_equal(w.body, "PUT /p  [] [Basic bWU6cGFzcw==] ");
    w = ask("/p", (struct http_client_request){.method = STR("HEAD")});
    assert_int_equal(w.status, 200);
    assert_string_equal(w.body, "");
    w = ask("/404", (struct http_client_request){.method = STR("DELETE")});
    assert_int_equal(w.ec, EC_OK);
    assert_int_equal(w.status, 404);
    assert_string_equal(w.body, "DELETE /404  [] [] ");
}

static void test_client__redirects_only_when_asked(void **state)
{
    (void)state;
    struct wait w = ask("/redirect", (struct http_client_request){0});
    assert_int_equal(w.status, 302);
    w = ask("/redirect", (struct http_client_request){.follow_redirects = true});
    assert_int_equal(w.status, 200);
    assert_string_equal(w.body, "GET /there  [] [] ");
}

static void test_client__bounds_the_answer(void **state)
{
    (void)state;
    struct wait w = ask("/big", (struct http_client_request){.body_bytes_max = 30000});
    assert_int_equal(w.ec, EC_OK);
    w = ask("/big", (struct http_client_request){.body_bytes_max = 29999});
    assert_int_equal(w.ec, EC_TOO_LARGE);
    assert_string_equal(w.body, "");
    assert_string_not_equal(w.error, "");
    /* A length without a body is no body. */
    w = ask("/big", (struct http_client_request){.body_bytes_max = 10, .method = STR("HEAD")});
    assert_int_equal(w.ec, EC_OK);
    /* What counts is the inflated size. */
    w = ask(
        "/big", (struct http_client_request){.body_bytes_max = 29999, .accept_compressed = true});
    assert_int_equal(w.ec, EC_TOO_LARGE);
    w = ask(
        "/big", (struct http_client_request){.body_bytes_max = 30000, .accept_compressed = true});
    assert_int_equal(w.ec, EC_OK);
}

static void test_client__budget_refuses(void **state)
{
    (void)state;
    struct err err = {0};
    struct budget budget;
    struct http_client *saved = client;
    budget_init(&budget, NULL, "answers", 10000);
    assert_ok(http_client_new(
                  &(struct http_client_options){.budget = &budget, .name = "b"}, &client, &err),
        err);
    struct wait w = ask("/big", (struct http_client_request){0});
    assert_int_equal(w.ec, EC_LIMIT);
    w = ask("/small", (struct http_client_request){0});
    assert_int_equal(w.ec, EC_OK);
    http_client_free(client);
    client = saved;
    budget_deinit(&budget); /* asserts that all was given back */
}

static void test_client__times_out(void **state)
{
    (void)state;
    int64_t t0 = clock_mono_ns();
    struct wait w = ask("/late", (struct http_client_request){.timeout_ns = 50 * NS_PER_MS});
    assert_int_equal(w.ec, EC_DEADLINE);
    assert_true(clock_mono_ns() - t0 < 5 * NS_PER_S);
    w = ask("/late", (struct http_client_request){.timeout_ns = 5 * NS_PER_S});
    assert_int_equal(w.ec, EC_OK);
}

static void test_client__refuses_what_is_not_a_request(void **state)
{
    (void)state;
    static const char *const urls[] = {"", "ftp://x/", "http://", "http:///x", "http://a b/",
        "http://u:p@h/", "http://h:0/", "http://h:99999/", "http://h/\r\nX: y", "http://[::1/",
        "file:///etc/passwd", "http://h/#f", "http://h\\@x/"};
    struct wait w = WAIT_INIT;
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        struct http_client_request rq = {.profile = profile, .url = str_from(urls[i])};
        assert_ec(http_client_send(client, &rq, on_done, &w, NULL, NULL), EC_INVALID);
    }
    struct http_header bad[] = {{STR("A b"), STR("")}, {STR("X"), STR("a\r\nY: z")},
        {STR(""), STR("v")}, {STR("X"), str_n("a\0b", 3)}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct http_client_request rq = {
            .profile = profile, .url = STR("http://h/"), .headers = &bad[i], .n_headers = 1};
        assert_ec(http_client_send(client, &rq, on_done, &w, NULL, NULL), EC_INVALID);
    }
    struct http_client_request rq = {
        .profile = profile, .url = STR("http://h/"), .method = STR("GET X")};
    assert_ec(http_client_send(client, &rq, on_done, &w, NULL, NULL), EC_INVALID);
    rq = (struct http_client_request){
        .profile = profile, .url = STR("http://h/"), .bearer = STR("a\nb")};
    assert_ec(http_client_send(client, &rq, on_done, &w, NULL, NULL), EC_INVALID);
    assert_int_equal(w.done, 0);
}

static void test_client__many_at_once_within_bounds(void **state)
{
    (void)state;
    struct err err = {0};
    struct http_client *c;
    struct wait w = WAIT_INIT;
    assert_ok(http_client_new(
                  &(struct http_client_options){.concurrent_max = 4, .waiting_max = 40}, &c, &err),
        err);
    char url[100];
    snprintf(url, sizeof(url), "%s/late", svc->url);
    unsigned accepted = 0, refused = 0;
    for (int i = 0; i < 60; i++) {
        struct http_client_request rq = {
            .profile = profile, .url = str_from(url), .timeout_ns = 450 * NS_PER_MS};
        enum ec ec = http_client_send(c, &rq, on_done, &w, NULL, NULL);
        accepted += ec == EC_OK;
        refused += ec == EC_LIMIT;
    }
    assert_true(accepted >= 40 && accepted <= 44);
    assert_int_equal(accepted + refused, 60);
    int64_t t0 = clock_mono_ns();
    await(&w, accepted); /* 4 answers, the others never get their turn in time */
    assert_true(clock_mono_ns() - t0 < 3 * NS_PER_S);
    http_client_free(c);
}

static void test_client__free_cancels_what_is_under_way(void **state)
{
    (void)state;
    struct err err = {0};
    struct wait w = WAIT_INIT;
    struct http_client *c;
    assert_ok(http_client_new(&(struct http_client_options){.concurrent_max = 2}, &c, &err), err);
    char url[100];
    snprintf(url, sizeof(url), "%s/late", svc->url);
    for (int i = 0; i < 5; i++) {
        struct http_client_request rq = {.profile = profile, .url = str_from(url)};
        assert_ok(http_client_send(c, &rq, on_done, &w, NULL, &err), err);
    }
    fixture_sleep_ms(30);
    http_client_free(c);
    assert_int_equal(w.done, 5);
    assert_int_equal(w.ec, EC_CANCELED);
}

/* ---- the thread as a loop ---- */

struct loop_test {
    struct wait w;
    struct http_timer a, b, c;
    char order[8];
    struct http_call *call;
};

static void note(struct loop_test *t, char c)
{
    pthread_mutex_lock(&t->w.lock);
    t->order[strlen(t->order)] = c;
    t->w.done++;
    pthread_cond_signal(&t->w.cond);
    pthread_mutex_unlock(&t->w.lock);
}

static void on_a(void *arg)
{
    note(arg, 'a');
}

static void on_b(void *arg)
{
    struct loop_test *t = arg;
    note(t, 'b');
    http_timer_stop(&t->c);
}

static void on_c(void *arg)
{
    note(arg, 'c');
}

static void start_timers(void *arg)
{
    struct loop_test *t = arg;
    t->a = (struct http_timer){.fn = on_a, .arg = t};
    t->b = (struct http_timer){.fn = on_b, .arg = t};
    t->c = (struct http_timer){.fn = on_c, .arg = t};
    http_timer_start(client, &t->a, 1);
    http_timer_start(client, &t->c, 60 * NS_PER_MS);
    http_timer_start(client, &t->b, 30 * NS_PER_MS);
    http_timer_start(client, &t->a, 10 * NS_PER_MS);
}

static void test_client__timers_run_in_order_of_time(void **state)
{
    (void)state;
    struct loop_test t = {.w = WAIT_INIT};
    assert_true(http_client_run(client, start_timers, &t));
    await(&t.w, 2);
    fixture_sleep_ms(80);
    assert_string_equal(t.order, "ab");
}

static void cancel_it(void *arg)
{
    struct loop_test *t = arg;
    http_client_cancel(client, t->call);
}

static void test_client__cancel_ends_a_call(void **state)
{
    (void)state;
    struct err err = {0};
    struct loop_test t = {.w = WAIT_INIT};
    char url[100];
    snprintf(url, sizeof(url), "%s/late", svc->url);
    struct http_client_request rq = {.profile = profile, .url = str_from(url)};
    assert_ok(http_client_send(client, &rq, on_done, &t.w, &t.call, &err), err);
    assert_true(http_client_run(client, cancel_it, &t));
    await(&t.w, 1);
    assert_int_equal(t.w.ec, EC_CANCELED);
}

/* ---- TLS ---- */

static void test_client__tls_trusts_only_what_it_was_given(void **state)
{
    (void)state;
    struct err err = {0};
    struct fake_service secure;
    struct pki_id ca = pki_make(&(struct pki_request){.name = "ca", .ca = true});
    struct pki_id other = pki_make(&(struct pki_request){.name = "other", .ca = true});
    struct pki_id good =
        pki_make(&(struct pki_request){.name = "svc", .by = &ca, .ip = "127.0.0.1"});
    struct pki_id wrong_name =
        pki_make(&(struct pki_request){.name = "svc", .by = &ca, .dns = "elsewhere"});
    const struct {
        const struct pki_id *server;
        const struct pki_id *trusted;
        bool insecure, http2, ok;
    } cases[] = {{&good, &ca, false, false, true}, {&good, &ca, false, true, true},
        {&good, &other, false, false, false}, {&good, NULL, false, false, false},
        {&wrong_name, &ca, false, false, false}, {&wrong_name, &other, true, false, true}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_profile *p;
        secure = (struct fake_service){.answer = echo};
        svc = &secure;
        fake_start(svc, cases[i].server->cert_pem, cases[i].server->key_pem);
        struct http_profile_options opt = {
            .insecure_skip_verify = cases[i].insecure, .http2 = cases[i].http2};
        if (cases[i].trusted != NULL)
            opt.ca_pem = str_from(cases[i].trusted->cert_pem);
        assert_ok(http_profile_new(&opt, &p, &err), err);
        struct wait w = ask("/x", (struct http_client_request){.profile = p, .bearer = STR("s")});
        if (cases[i].ok != (w.ec == EC_OK))
            fail_msg("case %zu: %s %s", i, ec_text(w.ec), w.error);
        if (cases[i].ok)
            assert_string_equal(w.body, "GET /x  [] [Bearer s] ");
        http_profile_free(p);
        fake_stop(svc);
    }
    svc = &plain;
    pki_free(&ca);
    pki_free(&other);
    pki_free(&good);
    pki_free(&wrong_name);
}

static void test_client__no_answer_is_an_error(void **state)
{
    (void)state;
    struct fake_service gone = {.answer = echo};
    fake_start(&gone, NULL, NULL);
    svc = &gone;
    fake_stop(&gone);
    struct wait w = ask("/secret-path?secret=1", (struct http_client_request){0});
    svc = &plain;
    assert_int_equal(w.ec, EC_UNAVAILABLE);
    assert_string_not_equal(w.error, "");
    assert_null(strstr(w.error, "secret"));
}

/* A proxy is asked for the whole URL; the service here answers for any. */
static void test_client__proxies_of_the_environment(void **state)
{
    (void)state;
    struct err err = {0};
    struct http_profile *p;
    static const struct {
        const char *no_proxy;
        enum http_proxy_mode mode;
        const char *url;
        bool proxied;
    } cases[] = {
        {"", HTTP_PROXY_ENVIRONMENT, "http://name.invalid/x", true},
        {"", HTTP_PROXY_NONE, "http://name.invalid/x", false},
        {"other,name.invalid", HTTP_PROXY_ENVIRONMENT, "http://name.invalid/x", false},
        {"invalid", HTTP_PROXY_ENVIRONMENT, "http://name.invalid/x", false},
        {"192.0.2.0/24", HTTP_PROXY_ENVIRONMENT, "http://192.0.2.7/x", false},
        {"192.0.3.0/24", HTTP_PROXY_ENVIRONMENT, "http://192.0.2.7/x", true},
        {"*", HTTP_PROXY_ENVIRONMENT, "http://name.invalid/x", false},
    };
    setenv("HTTP_PROXY", svc->url, 1);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct wait w = WAIT_INIT;
        setenv("NO_PROXY", cases[i].no_proxy, 1);
        assert_ok(http_profile_new(&(struct http_profile_options){.proxy = cases[i].mode,
                                       .timeout_ns = 300 * NS_PER_MS},
                      &p, &err),
            err);
        struct http_client_request rq = {.profile = p, .url = str_from(cases[i].url)};
        assert_ok(http_client_send(client, &rq, on_done, &w, NULL, &err), err);
        await(&w, 1);
        if ((w.ec == EC_OK) != cases[i].proxied)
            fail_msg("case %zu: %s %s", i, ec_text(w.ec), w.error);
        http_profile_free(p);
    }
    unsetenv("NO_PROXY");
}

static void test_client__escapes_urls(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    http_url_escape(&b, STR("/a b+c&d=\xc3\xa9~"), "/");
    assert_str(buf_str(&b), "/a%20b%2Bc%26d%3D%C3%A9~");
    buf_deinit(&b);
}

static int setup(void **state)
{
    struct err err = {0};
    (void)state;
    /* No proxy of the machine's may stand between; loopback never goes through one anyway. */
    setenv("HTTP_PROXY", "http://127.0.0.1:1", 1);
    setenv("HTTPS_PROXY", "http://127.0.0.1:1", 1);
    svc->answer = echo;
    fake_start(svc, NULL, NULL);
    assert_ok(http_client_new(&(struct http_client_options){0}, &client, &err), err);
    assert_ok(http_profile_new(&(struct http_profile_options){0}, &profile, &err), err);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    http_client_free(client);
    http_profile_free(profile);
    fake_stop(svc);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_client__carries_method_headers_body),
        cmocka_unit_test(test_client__redirects_only_when_asked),
        cmocka_unit_test(test_client__bounds_the_answer),
        cmocka_unit_test(test_client__budget_refuses),
        cmocka_unit_test(test_client__times_out),
        cmocka_unit_test(test_client__refuses_what_is_not_a_request),
        cmocka_unit_test(test_client__many_at_once_within_bounds),
        cmocka_unit_test(test_client__free_cancels_what_is_under_way),
        cmocka_unit_test(test_client__timers_run_in_order_of_time),
        cmocka_unit_test(test_client__cancel_ends_a_call),
        cmocka_unit_test(test_client__tls_trusts_only_what_it_was_given),
        cmocka_unit_test(test_client__no_answer_is_an_error),
        cmocka_unit_test(test_client__proxies_of_the_environment),
        cmocka_unit_test(test_client__escapes_urls),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
