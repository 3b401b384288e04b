/* SPDX-License-Identifier: Apache-2.0
 * OIDC tenants against an issuer in this process: discovery, keys and their rotation, claims,
 * roles, cookies, logins. Keys are made here; tokens signed with them too (test_auth_jwt has
 * foreign ones). */
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <pthread.h>

#include "auth_fixture.h"
#include "base/clock.h"
#include "fake_service.h"
#include "server_fixture.h"
#include "src/auth/text.h"

struct key {
    char kid[16];
    gnutls_privkey_t key;
    char jwk[400];
};

static struct {
    struct fake_service svc;
    struct auth_fixture f;
    struct key keys[3];
    atomic_uint published; /* keys[0 .. published) without `hidden` */
    atomic_uint hidden;    /* index + 1 of a key that is not published */
    atomic_uint discoveries, fetches, exchanges;
    atomic_int discovery_status, keys_status, token_status;
    char other_issuer[80];
    char nonce[100], form[1000], authorization[200]; /* of the last exchange */
    struct buf id_token;
} o;

/* ---- the issuer ---- */

static void key_make(struct key *k, const char *kid)
{
    gnutls_ecc_curve_t curve;
    gnutls_datum_t x, y;
    struct buf b = BUF_INIT;
    snprintf(k->kid, sizeof(k->kid), "%s", kid);
    assert_int_equal(gnutls_privkey_init(&k->key), 0);
    assert_int_equal(gnutls_privkey_generate(k->key, GNUTLS_PK_ECDSA,
                         GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0),
        0);
    assert_int_equal(
        gnutls_privkey_export_ecc_raw2(k->key, &curve, &x, &y, NULL, GNUTLS_EXPORT_FLAG_NO_LZ), 0);
    uint8_t xy[64] = {0};
    memcpy(xy + 32 - x.size, x.data, x.size);
    memcpy(xy + 64 - y.size, y.data, y.size);
    buf_printf(&b, "{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"%s\",\"x\":\"", kid);
    base64url_put(&b, bytes_n(xy, 32));
    buf_putz(&b, "\",\"y\":\"");
    base64url_put(&b, bytes_n(xy + 32, 32));
    buf_putz(&b, "\"}");
    snprintf(k->jwk, sizeof(k->jwk), "%.*s", (int)b.n, (const char *)b.p);
    buf_deinit(&b);
    gnutls_free(x.data);
    gnutls_free(y.data);
}

/* iss, aud and times of the usual kind, then `more` (",\"a\":1" or ""). */
static char *mint(const struct key *k, int exp_s, const char *more)
{
    struct buf body = BUF_INIT, out = BUF_INIT;
    char head[100];
    gnutls_datum_t sig, r, s;
    uint8_t rs[64] = {0};
    int64_t now = clock_wall_ns() / NS_PER_S;
    snprintf(head, sizeof(head), "{\"alg\":\"ES256\",\"kid\":\"%s\"}", k->kid);
    buf_printf(&body,
        "{\"iss\":\"%s\",\"aud\":[\"x\",\"client\"],\"sub\":\"alice\",\"exp\":%lld%s}", o.svc.url,
        (long long)now + exp_s, more);
    base64url_put(&out, bytes_of_str(str_from(head)));
    buf_putc(&out, '.');
    base64url_put(&out, buf_bytes(&body));
    gnutls_datum_t data = {out.p, (unsigned)out.n};
    assert_int_equal(
        gnutls_privkey_sign_data2(k->key, GNUTLS_SIGN_ECDSA_SHA256, 0, &data, &sig), 0);
    assert_int_equal(gnutls_decode_rs_value(&sig, &r, &s), 0);
    size_t r0 = r.size > 32 ? r.size - 32 : 0, s0 = s.size > 32 ? s.size - 32 : 0;
    memcpy(rs + 32 - (r.size - r0), r.data + r0, r.size - r0);
    memcpy(rs + 64 - (s.size - s0), s.data + s0, s.size - s0);
    buf_putc(&out, '.');
    base64url_put(&out, bytes_n(rs, 64));
    char *token = xstrndup((const char *)out.p, out.n);
    gnutls_free(sig.data);
    gnutls_free(r.data);
    gnutls_free(s.data);
    buf_deinit(&body);
    buf_deinit(&out);
    return token;
}

static void answer_keys(struct exchange *ex)
{
    char text[1600] = "{\"keys\":[";
    for (unsigned i = 0, n = 0; i < atomic_load(&o.published); i++) {
        if (i + 1 == atomic_load(&o.hidden))
            continue;
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", n++ == 0 ? "" : ",",
            o.keys[i].jwk);
    }
    snprintf(text + strlen(text), sizeof(text) - strlen(text), "]}");
    fake_answer(ex, (unsigned)atomic_load(&o.keys_status), text, 20);
}

static void issuer(struct fake_service *f, struct exchange *ex, const struct http_request *rq)
{
    char text[1000];
    struct str auth = STR("");
    if (str_eqz(rq->path, "/.well-known/openid-configuration")) {
        atomic_fetch_add(&o.discoveries, 1);
        pthread_mutex_lock(&f->lock);
        snprintf(text, sizeof(text),
            "{\"issuer\":\"%s\",\"jwks_uri\":\"%s/jwks\",\"authorization_endpoint\":\"%s/authorize"
            "?x=1\",\"token_endpoint\":\"%s/token\",\"id_token_signing_alg_values_supported\":"
            "[\"HS256\",\"none\",\"ES256\"]}",
            o.other_issuer[0] != 0 ? o.other_issuer : f->url, f->url, f->url, f->url);
        pthread_mutex_unlock(&f->lock);
        fake_answer(ex, (unsigned)atomic_load(&o.discovery_status), text, 0);
    } else if (str_eqz(rq->path, "/jwks")) {
        atomic_fetch_add(&o.fetches, 1);
        answer_keys(ex);
    } else if (str_eqz(rq->path, "/token")) {
        struct buf body = BUF_INIT;
        atomic_fetch_add(&o.exchanges, 1);
        exchange_header(ex, "authorization", &auth);
        pthread_mutex_lock(&f->lock);
        snprintf(o.form, sizeof(o.form), "%.*s", (int)rq->body.n, (const char *)rq->body.p);
        snprintf(o.authorization, sizeof(o.authorization), STR_FMT, STR_ARG(auth));
        buf_printf(&body, "{\"token_type\":\"Bearer\",\"id_token\":\"%.*s\"}", (int)o.id_token.n,
            (const char *)o.id_token.p);
        pthread_mutex_unlock(&f->lock);
        exchange_respond(
            ex, (unsigned)atomic_load(&o.token_status), "application/json", &body, false);
    } else if (str_eqz(rq->path, "/opa")) {
        /* Says what it was asked: alice may read, with or without a list. */
        struct str body = str_of_bytes(rq->body);
        bool read = str_has(body, STR("\"permission\":\"read\""));
        exchange_header(ex, "x-forwarded-access-token", &auth);
        pthread_mutex_lock(&f->lock);
        snprintf(o.form, sizeof(o.form), STR_FMT, STR_ARG(body));
        snprintf(o.authorization, sizeof(o.authorization), "%s", auth.n != 0 ? "token" : "");
        pthread_mutex_unlock(&f->lock);
        fake_answer(ex, (unsigned)atomic_load(&o.token_status),
            read ? "{\"result\":{\"allowed\":\"true\",\"data\":\"{\\\"matchers\\\":[{\\\"Type\\\":"
                   "2,\\\"Name\\\":\\\"kubernetes_namespace_name\\\",\\\"Value\\\":\\\"b|a\\\"}]}"
                   "\"}}"
                 : "{\"result\":false}",
            0);
    } else {
        fake_answer(ex, 404, "{}", 0);
    }
}

/* ---- the tenant ---- */

static const char *const in_dev[] = {"dev"};
static const char *const roles_rw[] = {"rw", "unknown role"}, *const roles_ro[] = {"ro"};
static const struct auth_role all_roles[] = {
    {.name = "rw", .traces = false, .read = true, .write = true, .tenants = in_dev, .n_tenants = 1},
    {.name = "rw", .traces = true, .read = true, .write = true, .tenants = in_dev, .n_tenants = 1},
    {.name = "ro", .traces = true, .read = true, .tenants = in_dev, .n_tenants = 1},
};
static const struct auth_subject alice = {.name = "alice"}, sre = {.is_group = true, .name = "sre"};
static const struct auth_binding all_bindings[] = {
    {.name = "a", .roles = roles_rw, .n_roles = 2, .subjects = &alice, .n_subjects = 1},
    {.name = "b", .roles = roles_ro, .n_roles = 1, .subjects = &sre, .n_subjects = 1},
};

static void start_with(struct auth_tenant tenant)
{
    tenant.name = tenant.name == NULL ? "dev" : tenant.name;
    tenant.id = "dev-id";
    tenant.method = AUTH_OIDC;
    tenant.oidc.client_id = "client";
    tenant.oidc.client_secret = "s:cret";
    tenant.oidc.issuer_url = o.svc.url;
    tenant.oidc.redirect_url = "https://gw/oidc/dev/callback";
    atomic_store(&o.published, 1);
    atomic_store(&o.hidden, 0);
    atomic_store(&o.discoveries, 0);
    atomic_store(&o.fetches, 0);
    auth_fixture_start(&o.f, &(struct auth_options){.tenants = &tenant,
                                 .n_tenants = 1,
                                 .roles = all_roles,
                                 .n_roles = ARRAY_LEN(all_roles),
                                 .bindings = all_bindings,
                                 .n_bindings = ARRAY_LEN(all_bindings)});
}

static void stop(void)
{
    auth_fixture_stop(&o.f);
}

static struct asked ask(const char *token, enum auth_permission permission)
{
    char line[2000];
    snprintf(line, sizeof(line), "Bearer %s", token);
    struct str lines[] = {str_from(line)};
    struct auth_request rq = {.tenant = STR("dev"),
        .permission = permission,
        .authorization = lines,
        .n_authorization = 1};
    return auth_ask_until_ready(&o.f, &rq);
}

static struct asked ask_new(const struct key *k, int exp_s, const char *more)
{
    char *token = mint(k, exp_s, more);
    struct asked r = ask(token, AUTH_READ);
    free(token);
    return r;
}

static void test_oidc__accepts_and_remembers(void **state)
{
    (void)state;
    start_with((struct auth_tenant){0});
    char *token = mint(&o.keys[0], 60, "");
    struct asked r = ask(token, AUTH_WRITE);
    assert_int_equal(r.outcome, AUTH_OK);
    assert_string_equal(r.subject, "alice");
    assert_string_equal(r.groups, "");
    assert_string_equal(r.tenant_id, "dev-id");
    assert_true(ask(token, AUTH_READ).at_once);
    assert_int_equal(o.fetches, 1);
    free(token);
    stop();
}

static void test_oidc__refuses(void **state)
{
    (void)state;
    start_with((struct auth_tenant){0});
    struct asked r = ask_new(&o.keys[0], -1, "");
    assert_int_equal(r.http_status, 401);
    assert_int_equal(r.grpc_status, 16);
    assert_string_equal(r.message, "failed to verify ID token");
    assert_true(r.www_authenticate);
    char nbf[64];
    snprintf(nbf, sizeof(nbf), ",\"nbf\":%lld", (long long)(clock_wall_ns() / NS_PER_S + 360));
    assert_int_equal(ask_new(&o.keys[0], 600, nbf).http_status, 401);
    snprintf(nbf, sizeof(nbf), ",\"nbf\":%lld", (long long)(clock_wall_ns() / NS_PER_S + 240));
    assert_int_equal(ask_new(&o.keys[0], 600, nbf).outcome, AUTH_OK);
    assert_int_equal(ask("opaque", AUTH_READ).http_status, 401);
    r = auth_ask_line(&o.f, "dev", AUTH_READ, "Bearer");
    assert_int_equal(r.http_status, 401);
    assert_string_equal(r.message, "invalid Authorization header");
    assert_int_equal(auth_ask_line(&o.f, "dev", AUTH_READ, "Bearer a b").http_status, 401);
    r = auth_ask_line(&o.f, "dev", AUTH_READ, NULL);
    assert_int_equal(r.http_status, 401);
    assert_string_equal(r.message, "failed to find token");
    assert_string_equal(r.location, "");
    stop();
}

static void test_oidc__token_ends_though_remembered(void **state)
{
    (void)state;
    start_with((struct auth_tenant){0});
    char *token = mint(&o.keys[0], 2, "");
    assert_int_equal(ask(token, AUTH_READ).outcome, AUTH_OK);
    fixture_sleep_ms(2100);
    assert_int_equal(ask(token, AUTH_READ).http_status, 401);
    free(token);
    stop();
}

static void test_oidc__keys_rotate(void **state)
{
    (void)state;
    start_with((struct auth_tenant){0});
    assert_int_equal(ask_new(&o.keys[0], 60, "").outcome, AUTH_OK);
    assert_int_equal(o.fetches, 1);
    atomic_store(&o.published, 2);
    assert_int_equal(ask_new(&o.keys[1], 60, ",\"n\":1").outcome, AUTH_OK);
    assert_int_equal(o.fetches, 2);
    /* Invented names cause no further fetch within 10 s. */
    for (int i = 0; i < 20; i++) {
        char more[32];
        snprintf(more, sizeof(more), ",\"n\":%d", i + 10);
        assert_int_equal(ask_new(&o.keys[2], 60, more).http_status, 401);
    }
    assert_int_equal(o.fetches, 2);
    stop();
}

static void *ask_unknown(void *arg)
{
    return (void *)(uintptr_t)(ask(arg, AUTH_READ).outcome == AUTH_OK);
}

static void test_oidc__concurrent_refetches_are_one(void **state)
{
    (void)state;
    pthread_t threads[16];
    char *tokens[16];
    start_with((struct auth_tenant){0});
    assert_int_equal(ask_new(&o.keys[0], 60, "").outcome, AUTH_OK);
    atomic_store(&o.published, 2);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        char more[32];
        snprintf(more, sizeof(more), ",\"n\":%zu", i);
        tokens[i] = mint(&o.keys[1], 60, more);
    }
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_create(&threads[i], NULL, ask_unknown, tokens[i]);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        void *ok;
        pthread_join(threads[i], &ok);
        assert_non_null(ok);
        free(tokens[i]);
    }
    assert_int_equal(o.fetches, 2);
    stop();
}

static void test_oidc__claims_name_user_and_groups(void **state)
{
    (void)state;
    static const struct {
        const char *more;
        unsigned status;
        const char *message, *subject, *groups;
    } cases[] = {
        {",\"mail\":\"a@b\",\"grp\":\"sre\"", 200, "", "a@b", "sre"},
        {",\"mail\":\"a@b\",\"grp\":[\"x\",\"sre\",7,true]", 200, "", "a@b", "x,sre,7,true"},
        {",\"mail\":\"a@b\",\"grp\":[]", 403, "You don't have permission to access this tenant", "",
            ""},
        {",\"grp\":\"sre\"", 400, "username cannot be empty", "", ""},
        {",\"mail\":7,\"grp\":\"sre\"", 400, "invalid username claim value", "", ""},
        {",\"mail\":\"\",\"grp\":\"sre\"", 400, "invalid username claim value", "", ""},
        {",\"mail\":\"a@b\"", 400, "group cannot be empty", "", ""},
    };
    start_with((struct auth_tenant){.oidc = {.username_claim = "mail", .group_claim = "grp"}});
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct asked r = ask_new(&o.keys[0], 60, cases[i].more);
        if (r.http_status != cases[i].status || strcmp(r.message, cases[i].message) != 0 ||
            strcmp(r.subject, cases[i].subject) != 0 || strcmp(r.groups, cases[i].groups) != 0)
            fail_msg("case %zu: %u \"%s\" \"%s\" \"%s\"", i, r.http_status, r.message, r.subject,
                r.groups);
    }
    stop();
}

static void test_oidc__roles_decide(void **state)
{
    (void)state;
    start_with((struct auth_tenant){.oidc = {.username_claim = "mail", .group_claim = "grp"}});
    char *reader = mint(&o.keys[0], 60, ",\"mail\":\"bob\",\"grp\":[\"sre\"]");
    char *writer = mint(&o.keys[0], 60, ",\"mail\":\"alice\",\"grp\":[]");
    char *nobody = mint(&o.keys[0], 60, ",\"mail\":\"sre\",\"grp\":[\"alice\"]");
    assert_int_equal(ask(reader, AUTH_READ).outcome, AUTH_OK);
    assert_int_equal(ask(reader, AUTH_WRITE).http_status, 403);
    assert_int_equal(ask(writer, AUTH_READ).outcome, AUTH_OK);
    assert_int_equal(ask(writer, AUTH_WRITE).outcome, AUTH_OK);
    assert_int_equal(ask(nobody, AUTH_READ).http_status, 403);
    assert_int_equal(ask(nobody, AUTH_NONE).outcome, AUTH_OK);
    free(reader);
    free(writer);
    free(nobody);
    stop();
    /* The name in the roles is the tenant's name, not its id: another tenant gets nothing. */
    start_with((struct auth_tenant){.name = "dev2"});
    char line[2000];
    char *token = mint(&o.keys[0], 60, "");
    snprintf(line, sizeof(line), "Bearer %s", token);
    struct str lines[] = {str_from(line)};
    struct auth_request rq = {.tenant = STR("dev2"),
        .permission = AUTH_READ,
        .authorization = lines,
        .n_authorization = 1};
    assert_int_equal(auth_ask_until_ready(&o.f, &rq).http_status, 403);
    free(token);
    stop();
}

static void test_oidc__issuer_may_come_late(void **state)
{
    (void)state;
    char *token = mint(&o.keys[0], 60, "");
    char line[2000];
    snprintf(line, sizeof(line), "Bearer %s", token);
    atomic_store(&o.discovery_status, 500);
    start_with((struct auth_tenant){0});
    struct asked r = auth_ask_line(&o.f, "dev", AUTH_READ, line);
    assert_int_equal(r.http_status, 503);
    assert_int_equal(r.retry_after_s, 5);
    atomic_store(&o.discovery_status, 200);
    atomic_store(&o.keys_status, 500);
    assert_int_equal(auth_ask_line(&o.f, "dev", AUTH_READ, line).http_status, 503);
    atomic_store(&o.keys_status, 200);
    assert_int_equal(ask(token, AUTH_READ).outcome, AUTH_OK);
    stop();
    pthread_mutex_lock(&o.svc.lock);
    snprintf(o.other_issuer, sizeof(o.other_issuer), "%s/", o.svc.url); /* must be equal exactly */
    pthread_mutex_unlock(&o.svc.lock);
    start_with((struct auth_tenant){0});
    assert_true(fixture_wait(&o.discoveries, 1));
    fixture_sleep_ms(30);
    assert_int_equal(auth_ask_line(&o.f, "dev", AUTH_READ, line).http_status, 503);
    stop();
    pthread_mutex_lock(&o.svc.lock);
    o.other_issuer[0] = 0;
    pthread_mutex_unlock(&o.svc.lock);
    free(token);
}

/* ---- policy engine ---- */

static void test_oidc__policy_engine_decides(void **state)
{
    (void)state;
    char url[100];
    snprintf(url, sizeof(url), "%s/opa", o.svc.url);
    start_with(
        (struct auth_tenant){.rule = AUTH_BY_OPA, .opa_url = url, .opa_with_access_token = true});
    char *token = mint(&o.keys[0], 60, "");
    assert_int_equal(ask(token, AUTH_READ).outcome, AUTH_OK);
    assert_string_equal(o.form,
        "{\"input\":{\"groups\":[],\"permission\":\"read\",\"resource\":\"traces\",\"subject\":"
        "\"alice\",\"tenant\":\"dev\",\"tenantID\":\"dev-id\",\"token\":\"\",\"extras\":{}}}");
    assert_string_equal(o.authorization, "token");
    assert_int_equal(ask(token, AUTH_WRITE).http_status, 403);
    char line[2000];
    snprintf(line, sizeof(line), "Bearer %s", token);
    struct str lines[] = {str_from(line)};
    struct auth_request rq = {.tenant = STR("dev"),
        .permission = AUTH_READ,
        .want_namespaces = true,
        .authorization = lines,
        .n_authorization = 1};
    struct asked r = auth_ask(&o.f, &rq);
    assert_int_equal(r.outcome, AUTH_OK);
    assert_string_equal(r.namespaces, "a,b");
    atomic_store(&o.token_status, 403);
    r = ask(token, AUTH_READ);
    assert_int_equal(r.http_status, 403);
    assert_string_equal(r.message, "403 Forbidden");
    atomic_store(&o.token_status, 500);
    r = ask(token, AUTH_READ);
    assert_int_equal(r.http_status, 500);
    assert_int_equal(r.grpc_status, 14);
    assert_string_equal(r.message, "500 Internal Server Error");
    atomic_store(&o.token_status, 200);
    free(token);
    stop();
}

/* ---- browsers ---- */

static struct asked browse(const char *cookie)
{
    struct auth_request rq = {.tenant = STR("dev"),
        .permission = AUTH_READ,
        .is_browser = true,
        .path = STR("/api/traces/v1/dev/search"),
        .cookie = str_from(cookie)};
    return auth_ask_until_ready(&o.f, &rq);
}

static void set_id_token(const struct key *k, int exp_s, const char *nonce)
{
    char more[200];
    snprintf(more, sizeof(more), ",\"nonce\":\"%s\"", nonce);
    char *token = mint(k, exp_s, more);
    pthread_mutex_lock(&o.svc.lock);
    buf_reset(&o.id_token);
    buf_putz(&o.id_token, token);
    pthread_mutex_unlock(&o.svc.lock);
    free(token);
}

static char *cut_cookie(const char *set_cookie)
{
    return xstrndup(set_cookie, strcspn(set_cookie, ";"));
}

static void test_oidc__browser_login(void **state)
{
    (void)state;
    char nonce[100], state_param[100];
    start_with((struct auth_tenant){0});
    struct asked r = browse("other=1");
    assert_int_equal(r.outcome, AUTH_LOGIN);
    assert_int_equal(r.http_status, 302);
    assert_string_equal(r.location, "/oidc/dev/login");
    struct auth_flow_request rq = {.tenant = STR("dev"), .method = AUTH_OIDC};
    while (auth_flow(&o.f, &rq, false).http_status == 503)
        fixture_sleep_ms(10);
    struct flowed w = auth_flow(&o.f, &rq, false);
    assert_int_equal(w.http_status, 303);
    assert_non_null(strstr(w.location, "/authorize?x=1&client_id=client&nonce="));
    assert_non_null(strstr(w.location, "&redirect_uri=https%3A%2F%2Fgw%2Foidc%2Fdev%2Fcallback"));
    assert_non_null(strstr(w.location, "&response_type=code&scope=openid%20profile%20email%20groups"
                                       "&state="));
    url_param(w.location, "nonce", nonce, sizeof(nonce));
    url_param(w.location, "state", state_param, sizeof(state_param));
    assert_true(strlen(nonce) >= 32 && strlen(state_param) >= 32);
    assert_non_null(strstr(w.cookies[0], "observatorium_dev_login="));
    assert_non_null(strstr(w.cookies[0], "; Path=/oidc/dev/callback; "));
    assert_non_null(strstr(w.cookies[0], "; HttpOnly; Secure; SameSite=Lax"));
    char *cookie = cut_cookie(w.cookies[0]);

    struct auth_flow_request back = {.tenant = STR("dev"),
        .method = AUTH_OIDC,
        .code = STR("the code"),
        .state = str_from(state_param),
        .cookie = str_from(cookie)};
    set_id_token(&o.keys[0], 300, nonce);
    w = auth_flow(&o.f, &back, true);
    assert_int_equal(w.http_status, 302);
    assert_string_equal(w.location, "/dev");
    assert_string_equal(o.form, "grant_type=authorization_code&code=the%20code&redirect_uri="
                                "https%3A%2F%2Fgw%2Foidc%2Fdev%2Fcallback");
    assert_string_equal(o.authorization, "Basic Y2xpZW50OnMlM0FjcmV0"); /* client:s%3Acret */
    assert_int_equal(w.n_cookies, 2);
    char *session = cut_cookie(w.cookies[0]);
    assert_int_equal(strncmp(session, "observatorium_dev=ey", 20), 0);
    assert_non_null(strstr(w.cookies[0], "; Path=/; Expires="));
    assert_non_null(strstr(w.cookies[0], "; HttpOnly; Secure; SameSite=Lax"));
    assert_non_null(strstr(w.cookies[1], "observatorium_dev_login=; "));
    r = browse(session);
    assert_int_equal(r.outcome, AUTH_OK);
    assert_string_equal(r.subject, "alice");
    session[strlen(session) - 5] ^= 1;
    assert_int_equal(browse(session).outcome, AUTH_LOGIN);

    /* Everything that can be wrong on the way back. */
    set_id_token(&o.keys[0], 300, "another nonce");
    assert_int_equal(auth_flow(&o.f, &back, true).http_status, 401);
    set_id_token(&o.keys[0], -5, nonce);
    assert_int_equal(auth_flow(&o.f, &back, true).http_status, 401);
    atomic_store(&o.token_status, 400);
    w = auth_flow(&o.f, &back, true);
    assert_int_equal(w.http_status, 500);
    assert_string_equal(w.message, "failed to get token: the provider answers 400");
    atomic_store(&o.token_status, 503);
    assert_int_equal(auth_flow(&o.f, &back, true).http_status, 503);
    atomic_store(&o.token_status, 200);
    unsigned exchanges = atomic_load(&o.exchanges);
    struct auth_flow_request bad = back;
    bad.state = STR("wrong");
    w = auth_flow(&o.f, &bad, true);
    assert_int_equal(w.http_status, 400);
    assert_string_equal(w.message, "incorrect state in request");
    bad = back;
    bad.cookie = STR("");
    assert_string_equal(auth_flow(&o.f, &bad, true).message, "incorrect state in request");
    bad = back;
    bad.code = STR("");
    assert_string_equal(auth_flow(&o.f, &bad, true).message, "no code in request");
    bad.error = STR("access_denied");
    bad.error_description = STR("no\nway");
    w = auth_flow(&o.f, &bad, true);
    assert_int_equal(w.http_status, 400);
    assert_string_equal(w.message, "access_denied: no\nway");
    bad = back;
    bad.method = AUTH_OPENSHIFT;
    assert_int_equal(auth_flow(&o.f, &bad, true).http_status, 401);
    assert_int_equal(atomic_load(&o.exchanges), exchanges); /* none of these asked the issuer */
    free(cookie);
    free(session);
    stop();
}

static int setup(void **state)
{
    (void)state;
    o.svc.answer = issuer;
    atomic_store(&o.discovery_status, 200);
    atomic_store(&o.keys_status, 200);
    atomic_store(&o.token_status, 200);
    key_make(&o.keys[0], "first");
    key_make(&o.keys[1], "second");
    key_make(&o.keys[2], "third");
    fake_start(&o.svc, NULL, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_stop(&o.svc);
    buf_deinit(&o.id_token);
    for (size_t i = 0; i < ARRAY_LEN(o.keys); i++)
        gnutls_privkey_deinit(o.keys[i].key);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_oidc__accepts_and_remembers),
        cmocka_unit_test(test_oidc__refuses),
        cmocka_unit_test(test_oidc__token_ends_though_remembered),
        cmocka_unit_test(test_oidc__keys_rotate),
        cmocka_unit_test(test_oidc__concurrent_refetches_are_one),
        cmocka_unit_test(test_oidc__claims_name_user_and_groups),
        cmocka_unit_test(test_oidc__roles_decide),
        cmocka_unit_test(test_oidc__issuer_may_come_late),
        cmocka_unit_test(test_oidc__policy_engine_decides),
        cmocka_unit_test(test_oidc__browser_login),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
