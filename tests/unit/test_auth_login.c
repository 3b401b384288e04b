/* SPDX-License-Identifier: Apache-2.0
 * OpenShift's browser login, and the cookies that carry it: sealed, bound to tenant and time. */
#include <pthread.h>

#include "auth_fixture.h"
#include "base/clock.h"
#include "fake_service.h"
#include "server_fixture.h"
#include "src/auth/text.h"
#include "tmpdir.h"

#define SECRET "0123456789abcdef0123456789abcdef"

static struct {
    struct fake_service svc;
    struct auth_fixture f;
    char *dir, token_file[300], namespace_file[300];
    atomic_uint reviews, access;
    atomic_int oauth_status, token_status;
    char form[1500], access_bearer[200];
    const char *groups; /* JSON array in the review */
} k;

static void kube(struct fake_service *f, struct exchange *ex, const struct http_request *rq)
{
    struct str auth = STR("");
    exchange_header(ex, "authorization", &auth);
    if (str_ends(rq->path, STR("/oauth-authorization-server"))) {
        char text[300];
        snprintf(text, sizeof(text),
            "{\"authorization_endpoint\":\"%s/oauth/authorize\",\"token_endpoint\":"
            "\"%s/oauth/token\"}",
            f->url, f->url);
        fake_answer(ex, (unsigned)atomic_load(&k.oauth_status), text, 0);
    } else if (str_ends(rq->path, STR("/oauth/token"))) {
        pthread_mutex_lock(&f->lock);
        snprintf(k.form, sizeof(k.form), "%.*s", (int)rq->body.n, (const char *)rq->body.p);
        pthread_mutex_unlock(&f->lock);
        fake_answer(ex, (unsigned)atomic_load(&k.token_status),
            str_has(str_of_bytes(rq->body), STR("code=refused"))
                ? "{\"access_token\":\"sha256~refused\"}"
                : "{\"access_token\":\"sha256~good\",\"token_type\":\"Bearer\"}",
            0);
    } else if (str_ends(rq->path, STR("/tokenreviews"))) {
        struct buf b = BUF_INIT;
        atomic_fetch_add(&k.reviews, 1);
        bool good = str_has(str_of_bytes(rq->body), STR("sha256~good"));
        if (good)
            buf_printf(&b,
                "{\"status\":{\"authenticated\":true,\"user\":{\"username\":\"jane\","
                "\"groups\":%s}}}",
                k.groups);
        else
            buf_putz(&b, "{\"status\":{\"error\":\"no\"}}");
        exchange_respond(ex, 201, "application/json", &b, false);
    } else {
        atomic_fetch_add(&k.access, 1);
        pthread_mutex_lock(&f->lock);
        snprintf(k.access_bearer, sizeof(k.access_bearer), STR_FMT, STR_ARG(auth));
        pthread_mutex_unlock(&f->lock);
        fake_answer(ex, 201, "{\"status\":{\"allowed\":true}}", 0);
    }
}

static void start(const char *secret)
{
    const struct auth_tenant tenants[] = {
        {.name = "dev",
            .id = "dev-id",
            .method = AUTH_OPENSHIFT,
            .rule = AUTH_BY_REVIEW,
            .openshift = {.service_account = "tempo",
                .redirect_url = "https://gw/openshift/dev/callback",
                .cookie_secret = secret}},
        {.name = "prod",
            .id = "prod-id",
            .method = AUTH_OPENSHIFT,
            .rule = AUTH_BY_REVIEW,
            .openshift = {.service_account = "tempo",
                .redirect_url = "https://gw/openshift/prod/callback",
                .cookie_secret = secret}},
    };
    auth_fixture_start(&k.f, &(struct auth_options){.tenants = tenants,
                                 .n_tenants = 2,
                                 .kubernetes = {.api_url = k.svc.url,
                                     .token_file = k.token_file,
                                     .namespace_file = k.namespace_file}});
}

static void stop(void)
{
    auth_fixture_stop(&k.f);
}

static struct asked browse(const char *tenant, const char *cookie, bool browser)
{
    struct auth_request rq = {.tenant = str_from(tenant),
        .permission = AUTH_READ,
        .is_browser = browser,
        .path = STR("/api/traces/v1/dev/search%20x&y"),
        .cookie = str_from(cookie)};
    return auth_ask(&k.f, &rq);
}

static struct flowed login(const char *tenant, const char *route)
{
    struct auth_flow_request rq = {
        .tenant = str_from(tenant), .method = AUTH_OPENSHIFT, .route = str_from(route)};
    struct flowed w = auth_flow(&k.f, &rq, false);
    for (int i = 0; i < 500 && w.http_status == 503; i++) {
        fixture_sleep_ms(10);
        w = auth_flow(&k.f, &rq, false);
    }
    return w;
}

struct way { /* what a browser carries back */
    char state[200], route[200], cookie[1000];
    const char *code, *tenant;
};

static struct way way_of(const struct flowed *w)
{
    struct way back = {.code = "c0de", .tenant = "dev"};
    char uri[500];
    url_param(w->location, "state", back.state, sizeof(back.state));
    url_param(w->location, "redirect_uri", uri, sizeof(uri));
    url_param(uri, "route", back.route, sizeof(back.route));
    snprintf(back.cookie, sizeof(back.cookie), "a=b; %.*s", (int)strcspn(w->cookies[0], ";"),
        w->cookies[0]);
    return back;
}

static struct flowed callback(const struct way *b)
{
    struct auth_flow_request rq = {.tenant = str_from(b->tenant),
        .method = AUTH_OPENSHIFT,
        .route = str_from(b->route),
        .state = str_from(b->state),
        .code = str_from(b->code),
        .cookie = str_from(b->cookie)};
    return auth_flow(&k.f, &rq, true);
}

static void session_of(const struct flowed *w, char *out, size_t size)
{
    snprintf(out, size, "%.*s", (int)strcspn(w->cookies[0], ";"), w->cookies[0]);
}

static void test_login__redirects_browsers_only(void **state)
{
    (void)state;
    start(SECRET);
    assert_int_equal(login("dev", "/x").http_status, 303); /* discovered */
    struct asked r = browse("dev", "", true);
    assert_int_equal(r.outcome, AUTH_LOGIN);
    assert_int_equal(r.http_status, 302);
    assert_string_equal(r.message, "failed to find token");
    assert_string_equal(
        r.location, "/openshift/dev/login?route=/api/traces/v1/dev/search%2520x%26y");
    r = browse("dev", "", false);
    assert_int_equal(r.http_status, 401);
    assert_true(r.www_authenticate);
    assert_string_equal(r.location, "");
    assert_string_equal(r.message, "failed to find token");
    stop();
}

static void test_login__goes_to_the_oauth_server(void **state)
{
    (void)state;
    char text[400];
    start(SECRET);
    struct flowed a = login("dev", "/api/traces/v1/dev/search"), b = login("dev", "/x");
    assert_int_equal(a.http_status, 303);
    snprintf(text, sizeof(text), "%s/oauth/authorize?approval_prompt=force&", k.svc.url);
    assert_int_equal(strncmp(a.location, text, strlen(text)), 0);
    url_param(a.location, "client_id", text, sizeof(text));
    assert_string_equal(text, "system:serviceaccount:the-ns:tempo");
    url_param(a.location, "redirect_uri", text, sizeof(text));
    assert_string_equal(text, "https://gw/openshift/dev/callback?route=/api/traces/v1/dev/search");
    url_param(a.location, "scope", text, sizeof(text));
    assert_string_equal(text, "user:info user:check-access user:list-projects");
    url_param(a.location, "response_type", text, sizeof(text));
    assert_string_equal(text, "code");
    struct way wa = way_of(&a), wb = way_of(&b);
    assert_string_not_equal(wa.state, wb.state);
    static const char *const bad[] = {
        "", "x", "//evil", "/\\evil", "https://evil/", "/a b", "/a\r\nSet-Cookie: x"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct flowed w = login("dev", bad[i]);
        assert_int_equal(w.http_status, 400);
        assert_string_equal(w.message, "incorrect route in request");
    }
    assert_int_equal(login("nosuch", "/x").http_status, 401);
    stop();
}

static void test_login__whole_flow(void **state)
{
    (void)state;
    char session[5000];
    start(SECRET);
    struct flowed w = login("dev", "/api/traces/v1/dev/search");
    struct way back = way_of(&w);
    w = callback(&back);
    assert_int_equal(w.http_status, 302);
    assert_string_equal(w.location, "/api/traces/v1/dev/search");
    assert_string_equal(k.form,
        "grant_type=authorization_code&code=c0de&redirect_uri=https%3A%2F%2Fgw%2Fopenshift%2Fdev"
        "%2Fcallback%3Froute%3D%2Fapi%2Ftraces%2Fv1%2Fdev%2Fsearch&client_id=system%3A"
        "serviceaccount%3Athe-ns%3Atempo&client_secret=own-token");
    session_of(&w, session, sizeof(session));
    assert_int_equal(strncmp(session, "observatorium_dev=", 18), 0);
    assert_non_null(strstr(w.cookies[0], "; Path=/; Expires="));
    assert_non_null(strstr(w.cookies[0], " GMT; Max-Age=900; HttpOnly; Secure; SameSite=Lax"));
    assert_null(strstr(w.cookies[0], "jane")); /* nothing can be read from it */

    unsigned reviews = atomic_load(&k.reviews);
    struct asked r = browse("dev", session, true);
    assert_int_equal(r.outcome, AUTH_OK);
    assert_string_equal(r.subject, "jane");
    assert_string_equal(r.groups, "team,system:authenticated");
    assert_string_equal(k.access_bearer, "Bearer sha256~good");
    assert_true(browse("dev", session, true).at_once);
    assert_int_equal(atomic_load(&k.reviews), reviews); /* none for a cookie */

    /* Not another tenant's, not changed, not in the name of another. */
    assert_int_equal(browse("prod", session, true).outcome, AUTH_LOGIN);
    char other[5100];
    snprintf(other, sizeof(other), "observatorium_prod=%s", session + 18);
    assert_int_equal(browse("prod", other, true).outcome, AUTH_LOGIN);
    for (size_t i = 18; i < strlen(session); i += 5) {
        char was = session[i];
        session[i] = was == 'x' ? 'y' : 'x';
        assert_int_equal(browse("dev", session, true).outcome, AUTH_LOGIN);
        session[i] = was;
    }
    for (size_t n = 18; n < strlen(session); n += 9) {
        snprintf(other, sizeof(other), "%.*s", (int)n, session);
        assert_int_equal(browse("dev", other, true).outcome, AUTH_LOGIN);
    }
    stop();
    /* The secret survives a restart, and so do sessions; another secret's do not. */
    start(SECRET);
    login("dev", "/x");
    assert_int_equal(browse("dev", session, true).outcome, AUTH_OK);
    clock_wall_shift_ns(880 * NS_PER_S);
    stop();
    start(SECRET);
    login("dev", "/x");
    assert_int_equal(browse("dev", session, true).outcome, AUTH_OK);
    clock_wall_shift_ns(30 * NS_PER_S); /* in all over 15 min */
    stop();
    start(SECRET);
    login("dev", "/x");
    assert_int_equal(browse("dev", session, true).outcome, AUTH_LOGIN);
    clock_wall_shift_ns(-910 * NS_PER_S);
    stop();
    start("another secret!!");
    login("dev", "/x");
    assert_int_equal(browse("dev", session, true).outcome, AUTH_LOGIN);
    stop();
}

static void test_login__forged_returns(void **state)
{
    (void)state;
    start(SECRET);
    struct flowed w = login("dev", "/r"), other = login("dev", "/r");
    struct way good = way_of(&w), stranger = way_of(&other), bad = good;
    snprintf(bad.cookie, sizeof(bad.cookie), "%s", stranger.cookie);
    assert_string_equal(callback(&bad).message, "incorrect state in request");
    bad = good;
    bad.state[0] = 0;
    assert_string_equal(callback(&bad).message, "incorrect state in request");
    bad = good;
    snprintf(bad.route, sizeof(bad.route), "//evil");
    assert_string_equal(callback(&bad).message, "incorrect route in request");
    snprintf(bad.route, sizeof(bad.route), "/elsewhere");
    assert_string_equal(callback(&bad).message, "incorrect route in request");
    bad = good;
    bad.tenant = "prod";
    assert_string_equal(callback(&bad).message, "incorrect state in request");
    bad = good;
    bad.code = "refused";
    w = callback(&bad);
    assert_int_equal(w.http_status, 401);
    assert_string_equal(w.message, "failed to authenticate redirect request");
    assert_int_equal(w.n_cookies, 0);
    clock_wall_shift_ns(601 * NS_PER_S); /* too slow */
    assert_string_equal(callback(&good).message, "incorrect state in request");
    clock_wall_shift_ns(-601 * NS_PER_S);
    assert_int_equal(callback(&good).http_status, 302);
    stop();
}

static void test_login__many_groups_still_fit(void **state)
{
    (void)state;
    char session[5000];
    struct buf b = BUF_INIT;
    for (int i = 0; i < 400; i++)
        buf_printf(&b, "%c\"group-number-%d\"", i == 0 ? '[' : ',', i);
    buf_putz(&b, "]");
    buf_putc(&b, 0);
    k.groups = (const char *)b.p;
    start(SECRET);
    struct flowed w = login("dev", "/r");
    struct way back = way_of(&w);
    w = callback(&back);
    assert_int_equal(w.http_status, 302);
    session_of(&w, session, sizeof(session));
    assert_true(strlen(session) < 4000);
    struct asked r = browse("dev", session, true);
    assert_int_equal(r.outcome, AUTH_OK);
    assert_string_equal(r.groups, ""); /* fewer rights, not more */
    stop();
    k.groups = "[\"team\"]";
    buf_deinit(&b);
}

static void test_login__without_an_oauth_server(void **state)
{
    (void)state;
    atomic_store(&k.oauth_status, 500); /* not known yet: the login says so */
    start(SECRET);
    assert_int_equal(browse("dev", "", true).outcome, AUTH_LOGIN);
    assert_int_equal(browse("dev", "", false).http_status, 401);
    struct auth_flow_request rq = {
        .tenant = STR("dev"), .method = AUTH_OPENSHIFT, .route = STR("/x")};
    struct flowed w = auth_flow(&k.f, &rq, false);
    assert_int_equal(w.http_status, 503);
    assert_string_equal(w.message, "authentication provider is not ready");
    atomic_store(&k.oauth_status, 404);
    struct asked r;
    do {
        fixture_sleep_ms(10);
        r = browse("dev", "", true);
    } while (r.outcome == AUTH_LOGIN);
    assert_int_equal(r.http_status, 401);
    assert_string_equal(r.message, "OAuth authentication not available");
    assert_int_equal(login("dev", "/x").http_status, 401);
    atomic_store(&k.oauth_status, 200);
    stop();
}

static int setup(void **state)
{
    (void)state;
    k.svc.answer = kube;
    k.groups = "[\"team\"]";
    atomic_store(&k.oauth_status, 200);
    atomic_store(&k.token_status, 200);
    k.dir = tmpdir_new();
    snprintf(k.token_file, sizeof(k.token_file), "%s/token", k.dir);
    snprintf(k.namespace_file, sizeof(k.namespace_file), "%s/namespace", k.dir);
    FILE *f = fopen(k.token_file, "w");
    fputs("own-token", f);
    fclose(f);
    f = fopen(k.namespace_file, "w");
    fputs("the-ns\n", f);
    fclose(f);
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
        cmocka_unit_test(test_login__redirects_browsers_only),
        cmocka_unit_test(test_login__goes_to_the_oauth_server),
        cmocka_unit_test(test_login__whole_flow),
        cmocka_unit_test(test_login__forged_returns),
        cmocka_unit_test(test_login__many_groups_still_fit),
        cmocka_unit_test(test_login__without_an_oauth_server),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
