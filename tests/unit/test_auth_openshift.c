/* SPDX-License-Identifier: Apache-2.0
 * Tokens and access by Kubernetes reviews: what is asked, how often, and what each failure
 * becomes. */
#include <pthread.h>
#include <unistd.h>

#include "auth_fixture.h"
#include "base/clock.h"
#include "fake_service.h"
#include "server_fixture.h"
#include "tmpdir.h"

enum { REVIEWS, ACCESS, PROJECTS, OAUTH, KINDS };

static struct {
    struct fake_service svc;
    struct auth_fixture f;
    char *dir;
    atomic_uint calls[KINDS];
    atomic_int fail_status[KINDS]; /* answered instead */
    atomic_int fail_times[KINDS];  /* so often; -1: always */
    atomic_int delay_ms;
    char last_body[KINDS][2000], last_auth[KINDS][300], last_path[KINDS][200]; /* svc.lock */
} k;

static bool refuses(unsigned kind, struct exchange *ex)
{
    int left = atomic_load(&k.fail_times[kind]);
    if (left == 0)
        return false;
    if (left > 0)
        atomic_store(&k.fail_times[kind], left - 1);
    fake_answer(ex, (unsigned)atomic_load(&k.fail_status[kind]), "{\"kind\":\"Status\"}", 0);
    return true;
}

static void note(unsigned kind, struct exchange *ex, const struct http_request *rq)
{
    struct str auth = STR("");
    atomic_fetch_add(&k.calls[kind], 1);
    exchange_header(ex, "authorization", &auth);
    pthread_mutex_lock(&k.svc.lock);
    snprintf(k.last_body[kind], sizeof(k.last_body[kind]), "%.*s", (int)rq->body.n,
        (const char *)rq->body.p);
    snprintf(k.last_auth[kind], sizeof(k.last_auth[kind]), STR_FMT, STR_ARG(auth));
    snprintf(k.last_path[kind], sizeof(k.last_path[kind]), STR_FMT, STR_ARG(rq->path));
    pthread_mutex_unlock(&k.svc.lock);
}

/* Tokens say what they are: "user-<rights>", rights of r, w, p (projects), x (expired
 * meanwhile). */
static void kube(struct fake_service *f, struct exchange *ex, const struct http_request *rq)
{
    char text[600];
    struct str auth = STR(""), body = str_of_bytes(rq->body);
    (void)f;
    exchange_header(ex, "authorization", &auth);
    if (str_ends(rq->path, STR("/tokenreviews"))) {
        note(REVIEWS, ex, rq);
        if (refuses(REVIEWS, ex))
            return;
        bool known = str_has(body, STR("\"token\":\"user-"));
        bool silent = str_has(body, STR("\"token\":\"silent"));
        snprintf(text, sizeof(text), "{\"status\":%s}",
            known    ? "{\"authenticated\":true,\"user\":{\"username\":\"sa\",\"groups\":[\"g1\"]}}"
            : silent ? "{\"authenticated\":false}"
                     : "{\"user\":{},\"error\":\"invalid bearer token\"}");
        fake_answer(ex, 201, text, atomic_load(&k.delay_ms));
    } else if (str_has(rq->path, STR("accessreviews"))) {
        note(ACCESS, ex, rq);
        if (refuses(ACCESS, ex))
            return;
        bool create = str_has(body, STR("\"create\""));
        bool own = str_eqz(auth, "Bearer own-token");
        bool allowed = own || memchr(auth.p + 12, create ? 'w' : 'r', auth.n - 12) != NULL;
        snprintf(text, sizeof(text), "{\"status\":{\"allowed\":%s}}", allowed ? "true" : "false");
        fake_answer(ex, 201, text, atomic_load(&k.delay_ms));
    } else if (str_ends(rq->path, STR("/projects"))) {
        note(PROJECTS, ex, rq);
        if (refuses(PROJECTS, ex))
            return;
        fake_answer(ex, 200,
            memchr(auth.p + 12, 'p', auth.n - 12) != NULL
                ? "{\"items\":[{\"metadata\":{\"name\":\"ns2\"}},{\"metadata\":{\"name\":\"ns1\"}},"
                  "{\"metadata\":{\"name\":\"ns2\"}}]}"
                : "{\"items\":[]}",
            0);
    } else {
        note(OAUTH, ex, rq);
        if (!refuses(OAUTH, ex))
            fake_answer(ex, 404, "", 0);
    }
}

static void write_token(const char *text)
{
    char path[300], tmp[300];
    snprintf(path, sizeof(path), "%s/token", k.dir);
    snprintf(tmp, sizeof(tmp), "%s/token.new", k.dir);
    FILE *f = fopen(tmp, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(rename(tmp, path), 0);
}

static void start(struct auth_options opt)
{
    static char token[300];
    static const struct auth_tenant tenants[] = {
        {.name = "dev",
            .id = "1610b0c3",
            .method = AUTH_OPENSHIFT,
            .rule = AUTH_BY_REVIEW,
            .openshift = {.service_account = "tempo"}},
        {.name = "prod",
            .id = "prod-id",
            .method = AUTH_OPENSHIFT,
            .rule = AUTH_BY_REVIEW,
            .openshift = {.service_account = "tempo"}},
        {.name = "bad",
            .id = "x",
            .method = AUTH_OPENSHIFT,
            .rule = AUTH_BY_REVIEW,
            .openshift = {.cookie_secret = "short"}},
    };
    for (unsigned i = 0; i < KINDS; i++) {
        atomic_store(&k.calls[i], 0);
        atomic_store(&k.fail_times[i], 0);
    }
    atomic_store(&k.delay_ms, 0);
    write_token("own-token\n");
    snprintf(token, sizeof(token), "%s/token", k.dir);
    opt.tenants = tenants;
    opt.n_tenants = ARRAY_LEN(tenants);
    opt.kubernetes.api_url = k.svc.url;
    opt.kubernetes.token_file = token;
    auth_fixture_start(&k.f, &opt);
}

static void kube_fails(unsigned kind, int status, int times)
{
    atomic_store(&k.fail_status[kind], status);
    atomic_store(&k.fail_times[kind], times);
}

static void stop(void)
{
    auth_fixture_stop(&k.f);
}

static void test_openshift__asks_once_and_remembers(void **state)
{
    (void)state;
    start((struct auth_options){0});
    struct asked r = auth_ask_line(&k.f, "dev", AUTH_READ, "Bearer user-r");
    assert_int_equal(r.outcome, AUTH_OK);
    assert_false(r.at_once);
    assert_string_equal(r.subject, "sa");
    assert_string_equal(r.groups, "g1,system:authenticated");
    assert_string_equal(r.tenant_id, "1610b0c3");
    assert_false(r.has_namespaces);
    for (int i = 0; i < 100; i++) {
        r = auth_ask_line(&k.f, "dev", AUTH_READ, i % 2 == 0 ? "bearer user-r" : "Bearer user-r");
        assert_int_equal(r.outcome, AUTH_OK);
        assert_true(r.at_once);
    }
    assert_int_equal(k.calls[REVIEWS], 1);
    assert_int_equal(k.calls[ACCESS], 1);
    assert_string_equal(k.last_body[REVIEWS],
        "{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":\"TokenReview\",\"metadata\":{},"
        "\"spec\":{\"token\":\"user-r\"}}");
    assert_string_equal(k.last_auth[REVIEWS], "Bearer own-token");
    assert_string_equal(
        k.last_path[ACCESS], "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews");
    assert_string_equal(k.last_body[ACCESS],
        "{\"kind\":\"SelfSubjectAccessReview\",\"apiVersion\":\"authorization.k8s.io/v1\","
        "\"metadata\":{},\"spec\":{\"resourceAttributes\":{\"verb\":\"get\",\"group\":"
        "\"tempo.grafana.com\",\"resource\":\"dev\",\"name\":\"traces\"}}}");
    assert_string_equal(k.last_auth[ACCESS], "Bearer user-r");
    stop();
}

static void test_openshift__read_and_write_are_separate(void **state)
{
    (void)state;
    start((struct auth_options){0});
    assert_int_equal(auth_ask_line(&k.f, "dev", AUTH_READ, "Bearer user-r").outcome, AUTH_OK);
    struct asked r = auth_ask_line(&k.f, "dev", AUTH_WRITE, "Bearer user-r");
    assert_int_equal(r.http_status, 403);
    assert_int_equal(r.grpc_status, 7);
    assert_string_equal(r.message, "You don't have permission to access this tenant");
    assert_non_null(strstr(k.last_body[ACCESS], "\"create\""));
    r = auth_ask_line(&k.f, "dev", AUTH_WRITE, "Bearer user-r"); /* a denial is remembered too */
    assert_true(r.at_once);
    assert_int_equal(r.http_status, 403);
    assert_int_equal(k.calls[REVIEWS], 1);
    assert_int_equal(k.calls[ACCESS], 2);
    /* Another tenant is another question, and nothing is shared. */
    assert_int_equal(auth_ask_line(&k.f, "prod", AUTH_READ, "Bearer user-r").outcome, AUTH_OK);
    assert_int_equal(k.calls[REVIEWS], 2);
    assert_int_equal(k.calls[ACCESS], 3);
    /* Authentication alone asks for no access. */
    assert_int_equal(auth_ask_line(&k.f, "dev", AUTH_NONE, "Bearer user-n").outcome, AUTH_OK);
    assert_int_equal(k.calls[ACCESS], 3);
    stop();
}

static void test_openshift__ttl_ends(void **state)
{
    (void)state;
    const int64_t ttl_ns = 600 * NS_PER_MS;
    start((struct auth_options){.token_ttl_ns = ttl_ns, .review_ttl_ns = 100 * NS_PER_MS});
    int64_t began = clock_mono_ns(), past;
    auth_ask_line(&k.f, "dev", AUTH_READ, "Bearer user-r");
    do { /* hits do not prolong */
        fixture_sleep_ms(10);
        auth_ask_line(&k.f, "dev", AUTH_READ, "Bearer user-r");
        past = clock_mono_ns() - began;
        if (past < ttl_ns) /* a machine that takes longer judges nothing */
            assert_int_equal(k.calls[REVIEWS], 1);
    } while (past < ttl_ns + 50 * NS_PER_MS);
    assert_true(k.calls[ACCESS] >= 2);
    fixture_sleep_ms(110);
    assert_false(auth_ask_line(&k.f, "dev", AUTH_READ, "Bearer user-r").at_once);
    assert_true(k.calls[REVIEWS] >= 2);
    stop();
}

static void test_openshift__refused_tokens(void **state)
{
    (void)state;
    start((struct auth_options){0});
    assert_true(fixture_wait(&k.calls[OAUTH], 2));
    fixture_sleep_ms(50); /* both answers of the discovery are in */
    struct asked r = auth_ask_line(&k.f, "dev", AUTH_READ, "Bearer nobody");
    assert_int_equal(r.outcome, AUTH_UNAUTHENTICATED);
    assert_int_equal(r.http_status, 401);
    assert_true(r.www_authenticate);
    assert_string_equal(r.message, "OAuth authentication not available");
    assert_true(auth_ask_line(&k.f, "dev", AUTH_READ, "Bearer nobody").at_once);
    assert_int_equal(k.calls[REVIEWS], 1);
    assert_int_equal(auth_ask_line(&k.f, "dev", AUTH_READ, "Bearer silent").http_status, 401);
    assert_int_equal(auth_ask_line(&k.f, "dev", AUTH_READ, NULL).http_status, 401);
    assert_int_equal(auth_ask_line(&k.f, "dev", AUTH_READ, "Basic user-r").http_status, 401);
    assert_int_equal(auth_ask_line(&k.f, "dev", AUTH_READ, "Bearer user-r x").http_status, 401);
    assert_int_equal(auth_ask_line(&k.f, "dev", AUTH_READ, "Bearer a\x01").http_status, 401);
    assert_int_equal(k.calls[REVIEWS], 2); /* only what is a token is asked about */
    r = auth_ask_line(&k.f, "nosuch", AUTH_READ, "Bearer user-r");
    assert_int_equal(r.http_status, 401);
    assert_string_equal(r.message, "tenant not found, have you registered it?");
    assert_int_equal(auth_ask_line(&k.f, "bad", AUTH_READ, "Bearer user-r").http_status, 401);
    assert_int_equal(auth_ask_line(&k.f, "1610b0c3", AUTH_READ, "Bearer user-r").http_status, 401);
    stop();
}

static struct asked ask_grpc(const char *tenant, const char *a, const char *b)
{
    struct str lines[] = {str_from(a), str_from(b)};
    struct auth_request rq = {.tenant = str_from(tenant),
        .permission = AUTH_WRITE,
        .is_grpc = true,
        .authorization = lines,
        .n_authorization = (size_t)(a != NULL) + (b != NULL)};
    return auth_ask(&k.f, &rq);
}

static void test_openshift__words_of_grpc(void **state)
{
    (void)state;
    static const struct {
        const char *tenant, *a, *b;
        unsigned status;
        const char *message;
    } cases[] = {
        {"dev", "Bearer user-w", NULL, 0, ""},
        {"nosuch", "Bearer user-w", NULL, 3, "unknown tenant"},
        {"nosuch", NULL, NULL, 3, "unknown tenant"},
        {"dev", NULL, NULL, 16, "error no access token"},
        {"dev", "Bearer user-w", "Bearer user-w", 3, "invalid Authorization header"},
        {"dev", "Bearer nobody", NULL, 16, "missing SA token or mTLS"},
        {"dev", "Basic x", NULL, 16, "missing SA token or mTLS"},
        {"dev", "Bearer user-r", NULL, 7, "forbidden"},
        {"bad", "Bearer user-w", NULL, 7, "tenant not found, have you registered it?"},
    };
    start((struct auth_options){0});
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct asked r = ask_grpc(cases[i].tenant, cases[i].a, cases[i].b);
        if (r.grpc_status != cases[i].status || strcmp(r.message, cases[i].message) != 0)
            fail_msg("case %zu: %u \"%s\"", i, r.grpc_status, r.message);
    }
    stop();
}

static void test_openshift__forwarded_token(void **state)
{
    (void)state;
    start((struct auth_options){0});
    struct str line = STR("Bearer nobody");
    struct auth_request rq = {
        .tenant = STR("dev"), .permission = AUTH_READ, .forwarded_token = STR("user-r")};
    assert_int_equal(auth_ask(&k.f, &rq).outcome, AUTH_OK);
    rq.authorization = &line;
    rq.n_authorization = 1;
    assert_int_equal(auth_ask(&k.f, &rq).http_status, 401);
    stop();
}

static void test_openshift__own_token_rotates(void **state)
{
    (void)state;
    start((struct auth_options){0});
    auth_ask_line(&k.f, "dev", AUTH_NONE, "Bearer user-1");
    assert_string_equal(k.last_auth[REVIEWS], "Bearer own-token");
    write_token("own-token-2");
    auth_ask_line(&k.f, "dev", AUTH_NONE, "Bearer user-2");
    assert_string_equal(k.last_auth[REVIEWS], "Bearer own-token-2");
    write_token("");
    struct asked r = auth_ask_line(&k.f, "dev", AUTH_NONE, "Bearer user-3");
    assert_int_equal(r.outcome, AUTH_UNAVAILABLE);
    stop();
}

static void test_openshift__reviews_are_tried_again(void **state)
{
    (void)state;
    start((struct auth_options){0});
    kube_fails(REVIEWS, 500, 2);
    struct asked r = auth_ask_line(&k.f, "dev", AUTH_READ, "Bearer user-r");
    assert_int_equal(r.outcome, AUTH_OK);
    assert_int_equal(k.calls[REVIEWS], 3);
    kube_fails(REVIEWS, 403, -1); /* our account may not: no use in asking again */
    r = auth_ask_line(&k.f, "dev", AUTH_READ, "Bearer user-rr");
    assert_int_equal(r.http_status, 503);
    assert_int_equal(r.grpc_status, 14);
    assert_int_equal(r.retry_after_s, 5);
    assert_int_equal(k.calls[REVIEWS], 4);
    kube_fails(REVIEWS, 0, 0); /* and it is not remembered */
    assert_int_equal(auth_ask_line(&k.f, "dev", AUTH_READ, "Bearer user-rr").outcome, AUTH_OK);
    stop();
}

static void test_openshift__failing_access_reviews(void **state)
{
    (void)state;
    static const struct {
        int status;
        unsigned http, grpc;
        const char *message;
    } cases[] = {
        {401, 401, 7, "401 Unauthorized"},
        {403, 401, 7, "401 Unauthorized"},
        {500, 503, 14, "authorization service is unavailable"},
        {429, 503, 14, "authorization service is unavailable"},
    };
    start((struct auth_options){0});
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        kube_fails(ACCESS, cases[i].status, -1);
        struct asked r = auth_ask_line(&k.f, "dev", AUTH_READ, "Bearer user-r");
        assert_int_equal(r.http_status, cases[i].http);
        assert_int_equal(r.grpc_status, cases[i].grpc);
        assert_string_equal(r.message, cases[i].message);
    }
    kube_fails(ACCESS, 0, 0);
    assert_int_equal(auth_ask_line(&k.f, "dev", AUTH_READ, "Bearer user-r").outcome, AUTH_OK);
    stop();
}

static void test_openshift__garbage_is_unavailability(void **state)
{
    (void)state;
    start((struct auth_options){0});
    kube_fails(REVIEWS, 200, 1); /* an object, but no review */
    assert_int_equal(
        auth_ask_line(&k.f, "dev", AUTH_READ, "Bearer user-r").outcome, AUTH_UNAVAILABLE);
    kube_fails(ACCESS, 200, 1);
    assert_int_equal(
        auth_ask_line(&k.f, "dev", AUTH_READ, "Bearer user-r").outcome, AUTH_UNAVAILABLE);
    assert_int_equal(auth_ask_line(&k.f, "dev", AUTH_READ, "Bearer user-r").outcome, AUTH_OK);
    stop();
}

static void test_openshift__namespaces_for_reads(void **state)
{
    (void)state;
    start((struct auth_options){0});
    struct str line = STR("Bearer user-rwp");
    struct auth_request rq = {.tenant = STR("dev"),
        .permission = AUTH_READ,
        .want_namespaces = true,
        .authorization = &line,
        .n_authorization = 1};
    struct asked r = auth_ask(&k.f, &rq);
    assert_int_equal(r.outcome, AUTH_OK);
    assert_true(r.has_namespaces);
    assert_string_equal(r.namespaces, "ns1,ns2");
    assert_true(auth_ask(&k.f, &rq).at_once);
    assert_int_equal(k.calls[PROJECTS], 1);
    assert_string_equal(k.last_auth[PROJECTS], "Bearer user-rwp");
    rq.permission = AUTH_WRITE; /* writers need none */
    r = auth_ask(&k.f, &rq);
    assert_int_equal(r.outcome, AUTH_OK);
    assert_false(r.has_namespaces);
    rq.permission = AUTH_READ; /* no projects: nothing to see */
    line = STR("Bearer user-r");
    assert_int_equal(auth_ask(&k.f, &rq).http_status, 403);
    line = STR("Bearer user-rp2");
    kube_fails(PROJECTS, 500, 1);
    assert_int_equal(auth_ask(&k.f, &rq).http_status, 503);
    kube_fails(PROJECTS, 403, 1);
    assert_int_equal(auth_ask(&k.f, &rq).http_status, 401);
    assert_int_equal(auth_ask(&k.f, &rq).outcome, AUTH_OK);
    stop();
}

static void test_openshift__subject_reviews(void **state)
{
    (void)state;
    start((struct auth_options){.kubernetes = {.subject_review = true, .api_group = "other.io"}});
    assert_int_equal(auth_ask_line(&k.f, "dev", AUTH_WRITE, "Bearer user-1").outcome, AUTH_OK);
    assert_string_equal(k.last_path[ACCESS], "/apis/authorization.k8s.io/v1/subjectaccessreviews");
    assert_string_equal(k.last_body[ACCESS],
        "{\"kind\":\"SubjectAccessReview\",\"apiVersion\":\"authorization.k8s.io/v1\","
        "\"metadata\":{},\"spec\":{\"resourceAttributes\":{\"verb\":\"create\",\"group\":"
        "\"other.io\",\"resource\":\"dev\",\"name\":\"traces\"},\"user\":\"sa\",\"groups\":"
        "[\"g1\",\"system:authenticated\"]}}");
    assert_string_equal(k.last_auth[ACCESS], "Bearer own-token");
    stop();
}

/* ---- threads ---- */

static void *ask_thread(void *arg)
{
    struct asked r = auth_ask_line(&k.f, "dev", AUTH_READ, arg);
    return (void *)(uintptr_t)(r.outcome == AUTH_OK);
}

static void test_openshift__many_first_requests_ask_once(void **state)
{
    (void)state;
    pthread_t threads[100];
    start((struct auth_options){0});
    atomic_store(&k.delay_ms, 100);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(
            pthread_create(&threads[i], NULL, ask_thread, (void *)(uintptr_t) "Bearer user-r"), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        void *ok;
        pthread_join(threads[i], &ok);
        assert_non_null(ok);
    }
    assert_int_equal(k.calls[REVIEWS], 1);
    assert_int_equal(k.calls[ACCESS], 1);
    stop();
}

static void on_late(void *arg, struct auth_answer *a)
{
    unsigned *counts = arg;
    counts[a->outcome == AUTH_UNAVAILABLE]++;
}

static void test_openshift__the_end_answers_who_waits(void **state)
{
    (void)state;
    unsigned counts[2] = {0, 0};
    struct auth_answer a;
    char text[64];
    start((struct auth_options){.waiting_max = 50});
    atomic_store(&k.delay_ms, 3000);
    unsigned busy = 0;
    for (int i = 0; i < 60; i++) {
        snprintf(text, sizeof(text), "Bearer user-%d", i);
        struct str line = str_from(text);
        struct auth_request rq = {.tenant = STR("dev"),
            .permission = AUTH_READ,
            .authorization = &line,
            .n_authorization = 1};
        if (auth_check(k.f.auth, &rq, &a, on_late, counts)) {
            busy++;
            assert_int_equal(a.outcome, AUTH_UNAVAILABLE);
            auth_answer_release(&a);
        }
    }
    assert_int_equal(busy, 10);
    stop();
    assert_int_equal(counts[1], 50);
    atomic_store(&k.delay_ms, 0);
}

static int setup(void **state)
{
    (void)state;
    k.svc.answer = kube;
    k.dir = tmpdir_new();
    fake_start(&k.svc, NULL, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_stop(&k.svc);
    tmpdir_free(k.dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_openshift__asks_once_and_remembers),
        cmocka_unit_test(test_openshift__read_and_write_are_separate),
        cmocka_unit_test(test_openshift__ttl_ends),
        cmocka_unit_test(test_openshift__refused_tokens),
        cmocka_unit_test(test_openshift__words_of_grpc),
        cmocka_unit_test(test_openshift__forwarded_token),
        cmocka_unit_test(test_openshift__own_token_rotates),
        cmocka_unit_test(test_openshift__reviews_are_tried_again),
        cmocka_unit_test(test_openshift__failing_access_reviews),
        cmocka_unit_test(test_openshift__garbage_is_unavailability),
        cmocka_unit_test(test_openshift__namespaces_for_reads),
        cmocka_unit_test(test_openshift__subject_reviews),
        cmocka_unit_test(test_openshift__many_first_requests_ask_once),
        cmocka_unit_test(test_openshift__the_end_answers_who_waits),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
