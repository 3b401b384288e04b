/* SPDX-License-Identifier: Apache-2.0
 * Samples on their way to endpoints in this process: what is sent again and when, what is dropped,
 * who waits for whom, where a restart goes on. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/metric.h"
#include "fake_service.h"
#include "remote_write/remote_write.h"
#include "server_fixture.h"
#include "tmpdir.h"

#define REQUESTS_MAX 64

/* What an endpoint shall answer to its n-th request; the last goes for all after it. */
struct answer {
    unsigned status; /* 0: 204 */
    int delay_ms;
    const char *retry_after;
};

#define STATUS(s)     \
    {                 \
        .status = (s) \
    }
#define OK            \
    {                 \
        .status = 204 \
    }
#define LATE(ms)         \
    {                    \
        .delay_ms = (ms) \
    }
#define AFTER(t)                          \
    {                                     \
        .status = 503, .retry_after = (t) \
    }

struct seen { /* one request */
    int64_t at_ns;
    char series[400]; /* of its entries, with a blank between */
    char attempt[16], org[40], authorization[60];
};

struct endpoint {
    struct fake_service http;
    const struct answer *answers;
    size_t n_answers;
    struct seen seen[REQUESTS_MAX]; /* guarded by http.lock, as n */
    atomic_uint n, taken;           /* requests; entries of those that got a 2xx */
};

static struct endpoint endpoints[2];
static struct budget budget;
static char *dir;

static void note(struct exchange *ex, const char *name, char *out, size_t size)
{
    struct str v;
    if (exchange_header(ex, name, &v))
        snprintf(out, size, STR_FMT, STR_ARG(v));
}

static void answer_write(struct fake_service *f, struct exchange *ex, const struct http_request *rq)
{
    struct endpoint *e = CONTAINER_OF(f, struct endpoint, http);
    struct answer a = {0};
    unsigned entries = 0;
    pthread_mutex_lock(&f->lock);
    unsigned n = atomic_load(&e->n);
    struct seen *s = &e->seen[MIN(n, REQUESTS_MAX - 1)]; /* no assert off the test's own thread */
    *s = (struct seen){.at_ns = clock_mono_ns()};
    for (const uint8_t *p = rq->body.p, *end = p + rq->body.n; p != NULL && p < end; entries++) {
        uint64_t len;
        p = varint_get(p + 1, end, &len);
        assert_non_null(p);
        size_t at = strlen(s->series);
        snprintf(s->series + at, sizeof(s->series) - at, "%s" STR_FMT, at == 0 ? "" : " ", (int)len,
            (const char *)p);
        p += len;
    }
    note(ex, "Retry-Attempt", s->attempt, sizeof(s->attempt));
    note(ex, "X-Scope-OrgID", s->org, sizeof(s->org));
    note(ex, "Authorization", s->authorization, sizeof(s->authorization));
    if (e->n_answers != 0)
        a = e->answers[MIN(n, e->n_answers - 1)];
    if (a.status / 100 == 2 || a.status == 0)
        atomic_fetch_add(&e->taken, entries);
    atomic_store(&e->n, n + 1); /* under the lock: requests of two tenants come at once */
    pthread_mutex_unlock(&f->lock);
    if (a.retry_after != NULL)
        exchange_set_header(ex, "Retry-After", str_from(a.retry_after));
    fake_answer(ex, a.status == 0 ? 204 : a.status, "", a.delay_ms);
}

static void script(struct endpoint *e, const struct answer *a, size_t n)
{
    pthread_mutex_lock(&e->http.lock);
    e->answers = a;
    e->n_answers = n;
    atomic_store(&e->n, 0);
    atomic_store(&e->taken, 0);
    pthread_mutex_unlock(&e->http.lock);
}

/* ---- the sender ---- */

static struct remote_write_endpoint options(const struct endpoint *e)
{
    return (struct remote_write_endpoint){.url = e->http.url,
        .name = e == &endpoints[0] ? "one" : "two",
        .samples_per_send_max = 3,
        .timeout_ns = 5 * NS_PER_S,
        .backoff_min_ns = 20 * NS_PER_MS,
        .backoff_max_ns = 80 * NS_PER_MS};
}

static struct remote_write *start(const struct remote_write_endpoint *e, size_t n)
{
    const struct remote_write_options o = {.io = &io_real,
        .path = dir,
        .endpoints = e,
        .n_endpoints = n,
        .add_org_id_header = true,
        .budget = &budget};
    struct remote_write *w;
    struct err err = {0};
    assert_ok(remote_write_new(&o, &w, &err), err);
    return w;
}

/* Entries with these texts, a blank between them, as one collection. */
static void put(struct remote_write *w, const char *tenant, const char *texts)
{
    struct str rest = str_from(texts);
    int64_t now_ms = clock_wall_ns() / NS_PER_MS;
    while (rest.n > 0) {
        struct str one = str_cut(rest, ' ', &rest);
        remote_write_put(w, str_from(tenant), bytes_of_str(one), now_ms, REMOTE_WRITE_SAMPLE);
    }
    assert_true(remote_write_flush(w, str_from(tenant)));
}

/* At least n: what is sent again may come before anybody looks. */
static void wait_requests(struct endpoint *e, unsigned n)
{
    for (int i = 0; i < 2000 && atomic_load(&e->n) < n; i++)
        fixture_sleep_ms(5);
    if (atomic_load(&e->n) < n)
        fail_msg("%u requests, not %u", atomic_load(&e->n), n);
}

static double counter(const char *family, const struct endpoint *e)
{
    struct buf text = BUF_INIT;
    char line[200];
    metric_render(&text);
    buf_putc(&text, 0);
    snprintf(line, sizeof(line),
        "prometheus_remote_storage_%s{tenant=\"t\",remote_name=\"%s\",url=\"%s\"} ", family,
        e == &endpoints[0] ? "one" : "two", e->http.url);
    const char *at = strstr((const char *)text.p, line);
    double v = at == NULL ? 0 : atof(at + strlen(line));
    buf_deinit(&text);
    return v;
}

/* The counter reaches a value; answers are counted after they were given. */
static void wait_counter(const char *family, const struct endpoint *e, double want)
{
    for (int i = 0; i < 500 && counter(family, e) != want; i++)
        fixture_sleep_ms(10);
    if (counter(family, e) != want)
        fail_msg("%s is %g, not %g", family, counter(family, e), want);
}

static int setup(void **state)
{
    (void)state;
    dir = tmpdir_new();
    budget_init(&budget, NULL, "test", 16u << 20);
    for (size_t i = 0; i < 2; i++) {
        endpoints[i].http.answer = answer_write;
        fake_start(&endpoints[i].http, NULL, NULL);
        script(&endpoints[i], NULL, 0);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++)
        fake_stop(&endpoints[i].http);
    assert_int_equal(budget_used(&budget), 0);
    budget_deinit(&budget);
    tmpdir_free(dir);
    return 0;
}

static double gap_ms(const struct endpoint *e, unsigned n)
{
    return (double)(e->seen[n].at_ns - e->seen[n - 1].at_ns) / NS_PER_MS;
}

/* ---- retries ---- */

static void test_retry__waits_longer_each_time(void **state)
{
    static const struct answer a[] = {
        STATUS(503), STATUS(500), STATUS(599), STATUS(502), STATUS(503), OK, STATUS(500), OK};
    struct endpoint *e = &endpoints[0];
    (void)state;
    script(e, a, ARRAY_LEN(a));
    struct remote_write_endpoint o = options(e);
    struct remote_write *w = start(&o, 1);
    double retried = counter("samples_retried_total", &endpoints[0]);
    put(w, "t", "a b");
    wait_requests(e, 6);
    for (unsigned i = 0; i < 6; i++) {
        char attempt[4] = "";
        if (i > 0)
            snprintf(attempt, sizeof(attempt), "%u", i);
        assert_string_equal(e->seen[i].attempt, attempt);
        assert_string_equal(e->seen[i].series, "a b"); /* whole, and in order */
    }
    const double at_least[] = {0, 20, 40, 80, 80, 80}; /* doubled up to the highest */
    for (unsigned i = 1; i < 6; i++)
        assert_true(gap_ms(e, i) >= at_least[i] - 1);
    wait_counter("samples_retried_total", &endpoints[0], retried + 10);
    put(w, "t", "c"); /* after a success the back-off begins anew */
    wait_requests(e, 8);
    assert_string_equal(e->seen[6].attempt, "");
    assert_string_equal(e->seen[7].attempt, "1");
    assert_true(gap_ms(e, 7) >= 19);
    remote_write_free(w, NS_PER_S);
}

static void test_retry__after_what_the_endpoint_says(void **state)
{
    char date[64];
    time_t at = (time_t)(clock_wall_ns() / NS_PER_S) + 2;
    struct tm tm;
    gmtime_r(&at, &tm);
    strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    /* The date first: under load it may have come already, and the back-off follows from what was
     * waited before. */
    const struct answer a[] = {AFTER(date), AFTER("1"), AFTER("soon"), AFTER("0"), OK};
    struct endpoint *e = &endpoints[0];
    (void)state;
    script(e, a, ARRAY_LEN(a));
    struct remote_write_endpoint o = options(e);
    struct remote_write *w = start(&o, 1);
    put(w, "t", "a");
    wait_requests(e, 5);
    assert_true(e->seen[1].at_ns - clock_mono_ns() + clock_wall_ns() >= at * NS_PER_S - NS_PER_MS);
    assert_true(gap_ms(e, 2) >= 999);
    assert_true(gap_ms(e, 3) >= 79); /* no time: the back-off, which is at its end */
    assert_true(gap_ms(e, 4) >= 79);
    remote_write_free(w, NS_PER_S);
}

static void test_retry__never_for_a_refusal(void **state)
{
    static const unsigned statuses[] = {400, 401, 404, 413, 422, 301, 304};
    struct endpoint *e = &endpoints[0];
    (void)state;
    struct remote_write_endpoint o = options(e);
    struct remote_write *w = start(&o, 1);
    for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
        const struct answer a[] = {STATUS(statuses[i]), OK};
        double failed = counter("samples_failed_total", &endpoints[0]);
        script(e, a, 2);
        put(w, "t", "a b c");
        put(w, "t", "d");
        wait_requests(e, 2);
        assert_string_equal(e->seen[0].series, "a b c");
        assert_string_equal(e->seen[1].series, "d"); /* the next one, at once */
        assert_string_equal(e->seen[1].attempt, "");
        wait_counter("samples_failed_total", &endpoints[0], failed + 3);
    }
    remote_write_free(w, NS_PER_S);
}

static void test_retry__too_many_requests_if_wanted(void **state)
{
    static const struct answer a[] = {STATUS(429), OK};
    struct endpoint *e = &endpoints[0];
    (void)state;
    for (int wanted = 0; wanted < 2; wanted++) {
        script(e, a, 2);
        struct remote_write_endpoint o = options(e);
        o.retry_on_429 = wanted;
        struct remote_write *w = start(&o, 1);
        put(w, "t", "a b c");
        put(w, "t", "d");
        wait_requests(e, wanted ? 3 : 2);
        assert_string_equal(e->seen[1].series, wanted ? "a b c" : "d");
        assert_string_equal(e->seen[1].attempt, wanted ? "1" : "");
        remote_write_free(w, NS_PER_S);
    }
}

/* An answer that does not come in time counts as none. On a busy machine the others may be late
 * too, or a request may not even arrive in time. */
static void test_retry__an_endpoint_that_is_slow(void **state)
{
    static const struct answer a[] = {LATE(1000), OK};
    struct endpoint *e = &endpoints[0];
    (void)state;
    script(e, a, 2);
    struct remote_write_endpoint o = options(e);
    o.timeout_ns = 100 * NS_PER_MS;
    struct remote_write *w = start(&o, 1);
    put(w, "t", "a");
    wait_requests(e, 2);
    assert_string_equal(e->seen[1].series, "a");
    assert_true(atoi(e->seen[1].attempt) > atoi(e->seen[0].attempt));
    remote_write_free(w, NS_PER_S);
    fixture_sleep_ms(1000); /* the late answer is on its way */
}

/* ---- order and independence ---- */

/* One request at a time, of as many entries as allowed; a slow endpoint sees nothing twice. */
static void test_order__full_batches_one_after_another(void **state)
{
    static const struct answer a[] = {LATE(100), OK};
    struct endpoint *e = &endpoints[0];
    (void)state;
    script(e, a, 2);
    struct remote_write_endpoint o = options(e);
    struct remote_write *w = start(&o, 1);
    put(w, "t", "a b c d e f g");
    wait_requests(e, 3);
    assert_true(gap_ms(e, 1) >= 99);
    assert_string_equal(e->seen[0].series, "a b c");
    assert_string_equal(e->seen[1].series, "d e f");
    assert_string_equal(e->seen[2].series, "g");
    wait_counter("shards", &endpoints[0], 1);
    assert_true(counter("max_samples_per_send", &endpoints[0]) == 3);
    remote_write_free(w, NS_PER_S);
    assert_int_equal(atomic_load(&e->n), 3);
}

/* Two endpoints, two tenants: one that is away, or refuses, holds up nobody else. */
static void test_endpoints__do_not_wait_for_each_other(void **state)
{
    static const struct answer away[] = {AFTER("2"), OK}, refuses[] = {STATUS(400), OK};
    (void)state;
    script(&endpoints[0], away, 2);
    script(&endpoints[1], refuses, 2);
    const struct remote_write_endpoint o[] = {options(&endpoints[0]), options(&endpoints[1])};
    struct remote_write *w = start(o, 2);
    put(w, "t", "a b c");
    put(w, "t", "d e");
    wait_requests(&endpoints[1], 2);
    assert_in_range(atomic_load(&endpoints[0].n), 0, 1); /* it still waits */
    assert_string_equal(endpoints[1].seen[0].series, "a b c");
    assert_string_equal(endpoints[1].seen[1].series, "d e");
    put(w, "u", "x");
    wait_requests(&endpoints[1], 3);
    assert_string_equal(endpoints[1].seen[2].org, "u");
    wait_requests(&endpoints[0], 4);
    assert_string_equal(endpoints[0].seen[1].series, "x"); /* another tenant's */
    assert_string_equal(endpoints[0].seen[2].series, "a b c");
    assert_string_equal(endpoints[0].seen[3].series, "d e");
    assert_int_equal(atomic_load(&endpoints[0].taken), 6);
    assert_int_equal(atomic_load(&endpoints[1].taken), 3);
    remote_write_free(w, NS_PER_S);
}

/* ---- restarts ---- */

/* What was taken is not sent again, what was not is, for each endpoint by itself. */
static void test_restart__goes_on_where_it_was(void **state)
{
    static const struct answer once[] = {OK, AFTER("60")}; /* nothing is on its way at the stop */
    (void)state;
    script(&endpoints[0], once, 2);
    const struct remote_write_endpoint o[] = {options(&endpoints[0]), options(&endpoints[1])};
    struct remote_write *w = start(o, 2);
    put(w, "t", "a b c d e");
    wait_requests(&endpoints[0], 2);
    wait_requests(&endpoints[1], 2);
    wait_counter("samples_pending", &endpoints[1], 0);
    remote_write_free(w, 0);
    script(&endpoints[0], NULL, 0);
    script(&endpoints[1], NULL, 0);
    w = start(o, 2); /* the tenant is found though it puts nothing */
    wait_requests(&endpoints[0], 1);
    assert_string_equal(endpoints[0].seen[0].series, "d e");
    assert_string_equal(endpoints[0].seen[0].attempt, "");
    put(w, "t", "f");
    wait_requests(&endpoints[0], 2);
    wait_requests(&endpoints[1], 1);
    assert_string_equal(endpoints[0].seen[1].series, "f");
    assert_string_equal(endpoints[1].seen[0].series, "f");
    remote_write_free(w, NS_PER_S);
    assert_int_equal(atomic_load(&endpoints[0].n), 2);
    assert_int_equal(atomic_load(&endpoints[1].n), 1);
}

/* A stop waits for the request under way, and no longer than it may. */
static void test_restart__a_stop_has_a_deadline(void **state)
{
    static const struct answer slow[] = {LATE(200)}, stuck[] = {LATE(2000)};
    struct endpoint *e = &endpoints[0];
    (void)state;
    script(e, slow, 1);
    struct remote_write_endpoint o = options(e);
    struct remote_write *w = start(&o, 1);
    put(w, "t", "a");
    remote_write_free(w, 2 * NS_PER_S);
    assert_int_equal(atomic_load(&e->taken), 1);
    script(e, stuck, 1);
    w = start(&o, 1);
    put(w, "t", "b");
    int64_t began = clock_mono_ns();
    remote_write_free(w, 100 * NS_PER_MS);
    assert_in_range((clock_mono_ns() - began) / NS_PER_MS, 99, 1900);
    script(e, NULL, 0);
    w = start(&o, 1);
    wait_requests(e, 1);
    assert_string_equal(e->seen[0].series, "b"); /* nobody said that it was taken */
    remote_write_free(w, NS_PER_S);
    fixture_sleep_ms(2000);
}

/* ---- OAuth 2.0 ---- */

static struct fake_service issuer;
static struct {      /* guarded by issuer.lock, as the last request */
    unsigned broken; /* so many answers are 503 */
    bool by_body;    /* basic authentication is refused */
    int life;        /* seconds of a token */
    char body[400], authorization[100];
} tokens;

/* Tokens token-1, token-2 ... */
static void answer_token(struct fake_service *f, struct exchange *ex, const struct http_request *rq)
{
    char json[200];
    pthread_mutex_lock(&f->lock);
    unsigned n = atomic_load(&f->calls), status = 200;
    snprintf(tokens.body, sizeof(tokens.body), STR_FMT, (int)rq->body.n, (const char *)rq->body.p);
    tokens.authorization[0] = 0;
    note(ex, "Authorization", tokens.authorization, sizeof(tokens.authorization));
    snprintf(json, sizeof(json),
        "{\"access_token\":\"token-%u\",\"token_type\":\"bearer\",\"expires_in\":%d}", n,
        tokens.life);
    if (tokens.broken > 0) {
        tokens.broken--;
        status = 503;
    } else if (tokens.by_body && tokens.authorization[0] != 0) {
        status = 401;
        snprintf(json, sizeof(json), "{\"error\":\"invalid_client\"}");
    }
    pthread_mutex_unlock(&f->lock);
    fake_answer(ex, status, json, 0);
}

static struct remote_write *start_oauth2(struct remote_write_oauth2 *o)
{
    static const struct http_header params[] = {{{"audience", 8}, {"a b", 3}}};
    *o = (struct remote_write_oauth2){.token_url = issuer.url,
        .client_id = "my client",
        .client_secret = "s:cret",
        .client_secret_file = "",
        .scopes = "read write",
        .params = params,
        .n_params = 1};
    issuer.answer = answer_token;
    atomic_store(&issuer.calls, 0);
    fake_start(&issuer, NULL, NULL);
    o->token_url = issuer.url;
    struct remote_write_endpoint e = options(&endpoints[0]);
    e.oauth2 = o;
    return start(&e, 1);
}

static void test_oauth2__a_token_is_kept_and_renewed(void **state)
{
    struct endpoint *e = &endpoints[0];
    struct remote_write_oauth2 o;
    (void)state;
    tokens.life = 2; /* good for one */
    struct remote_write *w = start_oauth2(&o);
    put(w, "t", "a");
    put(w, "u", "b");
    wait_requests(e, 2);
    assert_string_equal(e->seen[0].authorization, "Bearer token-1");
    assert_string_equal(e->seen[1].authorization, "Bearer token-1");
    assert_int_equal(atomic_load(&issuer.calls), 1);
    assert_string_equal(
        tokens.body, "grant_type=client_credentials&scope=read%20write&audience=a%20b");
    assert_string_equal(tokens.authorization, "Basic bXklMjBjbGllbnQ6cyUzQWNyZXQ=");
    fixture_sleep_ms(1100);
    put(w, "t", "c");
    wait_requests(e, 3);
    assert_string_equal(e->seen[2].authorization, "Bearer token-2");
    remote_write_free(w, NS_PER_S);
    fake_stop(&issuer);
}

static void test_oauth2__the_secret_goes_in_the_body_where_it_must(void **state)
{
    struct endpoint *e = &endpoints[0];
    struct remote_write_oauth2 o;
    (void)state;
    tokens.life = 0; /* it does not end */
    tokens.by_body = true;
    struct remote_write *w = start_oauth2(&o);
    put(w, "t", "a");
    wait_requests(e, 1);
    assert_string_equal(e->seen[0].authorization, "Bearer token-2");
    assert_non_null(strstr(tokens.body, "&client_id=my%20client&client_secret=s%3Acret"));
    tokens.by_body = false;
    remote_write_free(w, NS_PER_S);
    fake_stop(&issuer);
}

static void test_oauth2__without_a_token_samples_wait(void **state)
{
    static const struct answer unauthorized[] = {STATUS(401), OK};
    struct endpoint *e = &endpoints[0];
    struct remote_write_oauth2 o;
    (void)state;
    tokens.life = 3600;
    tokens.broken = 1;
    struct remote_write *w = start_oauth2(&o);
    put(w, "t", "a b");
    wait_requests(e, 1); /* a second later */
    assert_string_equal(e->seen[0].series, "a b");
    assert_string_equal(e->seen[0].authorization, "Bearer token-2");
    script(e, unauthorized, 2); /* a token that was fetched just now: another would not do either */
    put(w, "t", "c");
    wait_counter("samples_failed_total", e, 1);
    put(w, "t", "d");
    wait_requests(e, 2);
    assert_string_equal(e->seen[1].series, "d");
    assert_int_equal(atomic_load(&issuer.calls), 2);
    remote_write_free(w, NS_PER_S);
    fake_stop(&issuer);
}

/* ---- age, headers ---- */

static void test_age__old_samples_are_dropped(void **state)
{
    struct endpoint *e = &endpoints[0];
    (void)state;
    struct remote_write_endpoint o = options(e);
    o.sample_age_max_ns = 60 * NS_PER_S;
    struct remote_write *w = start(&o, 1);
    int64_t now_ms = clock_wall_ns() / NS_PER_MS;
    remote_write_put(w, STR("t"), bytes_of_str(STR("old")), now_ms - 61000, REMOTE_WRITE_SAMPLE);
    remote_write_put(w, STR("t"), bytes_of_str(STR("new")), now_ms - 50000, REMOTE_WRITE_SAMPLE);
    assert_true(remote_write_flush(w, STR("t")));
    wait_requests(e, 1);
    assert_string_equal(e->seen[0].series, "new");
    remote_write_free(w, NS_PER_S);
}

static void bad_headers(void *ctx, struct str tenant, struct arena *arena,
    const struct http_header **ret, size_t *ret_n)
{
    static const struct http_header headers[] = {
        {{"X-Good", 6}, {"a", 1}}, {{"Authorization", 13}, {"a\r\nX: y", 7}}};
    (void)ctx, (void)tenant, (void)arena;
    *ret = headers;
    *ret_n = ARRAY_LEN(headers);
}

/* A tenant's header that cannot be sent costs the header, not the samples. */
static void test_headers__bad_ones_are_left_out(void **state)
{
    struct endpoint *e = &endpoints[0];
    struct buf text = BUF_INIT;
    (void)state;
    struct remote_write_endpoint o = options(e);
    const struct remote_write_options w_options = {.io = &io_real,
        .path = dir,
        .endpoints = &o,
        .n_endpoints = 1,
        .budget = &budget,
        .headers = bad_headers};
    struct remote_write *w;
    struct err err = {0};
    assert_ok(remote_write_new(&w_options, &w, &err), err);
    put(w, "h", "a");
    wait_requests(e, 1);
    assert_string_equal(e->seen[0].series, "a");
    assert_string_equal(e->seen[0].authorization, "");
    assert_string_equal(e->seen[0].org, ""); /* add_org_id_header is off */
    metric_render(&text);
    buf_putc(&text, 0);
    assert_non_null(
        strstr((const char *)text.p, "storage_remote_write_update_failed_total{tenant=\"h\"} 1\n"));
    buf_deinit(&text);
    remote_write_free(w, NS_PER_S);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_retry__waits_longer_each_time),
        TEST(test_retry__after_what_the_endpoint_says),
        TEST(test_retry__never_for_a_refusal),
        TEST(test_retry__too_many_requests_if_wanted),
        TEST(test_retry__an_endpoint_that_is_slow),
        TEST(test_order__full_batches_one_after_another),
        TEST(test_endpoints__do_not_wait_for_each_other),
        TEST(test_restart__goes_on_where_it_was),
        TEST(test_restart__a_stop_has_a_deadline),
        TEST(test_oauth2__a_token_is_kept_and_renewed),
        TEST(test_oauth2__the_secret_goes_in_the_body_where_it_must),
        TEST(test_oauth2__without_a_token_samples_wait),
        TEST(test_age__old_samples_are_dropped),
        TEST(test_headers__bad_ones_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
