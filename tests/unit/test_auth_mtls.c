/* SPDX-License-Identifier: Apache-2.0
 * Tenants that are known by client certificates. */
#include "auth_fixture.h"
#include "pki.h"

static struct pki_id ca, other_ca, middle;
static struct auth_fixture f;

static struct asked ask(const struct pki_id *const *chain, size_t n, bool grpc)
{
    struct bytes certs[16];
    struct str line = STR("Bearer x");
    for (size_t i = 0; i < n; i++)
        certs[i] = chain[i]->der;
    struct auth_request rq = {.tenant = STR("dev"),
        .permission = AUTH_READ,
        .is_grpc = grpc,
        .authorization = &line,
        .n_authorization = grpc,
        .client_certs = certs,
        .n_client_certs = n};
    struct asked r = auth_ask(&f, &rq);
    assert_true(r.at_once);
    return r;
}

static struct asked ask_one(const struct pki_request *rq)
{
    struct pki_id id = pki_make(rq);
    const struct pki_id *chain[] = {&id};
    struct asked r = ask(chain, 1, false);
    struct asked again = ask(chain, 1, false);
    assert_memory_equal(&r, &again, sizeof(r)); /* remembered or not: the same */
    pki_free(&id);
    return r;
}

static void test_mtls__names_the_subject(void **state)
{
    (void)state;
    static const struct {
        struct pki_request rq;
        const char *subject, *groups;
    } cases[] = {
        {{.name = "c", .email = "a@b", .uri = "spiffe://x", .dns = "h", .ip = "10.0.0.1"}, "a@b",
            ""},
        {{.name = "c", .uri = "spiffe://x", .dns = "h", .ip = "10.0.0.1"}, "spiffe://x", ""},
        {{.name = "c", .dns = "h", .ip = "10.0.0.1", .units = {"sre", "ops"}}, "h", "sre,ops"},
        {{.name = "c", .ip = "10.0.0.1", .units = {"sre"}}, "10.0.0.1", "sre"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct pki_request rq = cases[i].rq;
        rq.by = &ca;
        rq.client = true;
        struct asked r = ask_one(&rq);
        assert_string_equal(r.message, "");
        assert_int_equal(r.outcome, AUTH_OK);
        assert_string_equal(r.subject, cases[i].subject);
        assert_string_equal(r.groups, cases[i].groups);
    }
}

static void test_mtls__refuses(void **state)
{
    (void)state;
    static const struct {
        struct pki_request rq;
        bool foreign;
        unsigned status;
        const char *message;
    } cases[] = {
        {{.name = "c", .client = true, .dns = "h"}, true, 401, "client certificate is not trusted"},
        {{.name = "c", .client = false, .dns = "h"}, false, 401,
            "client certificate is not trusted"},
        {{.name = "c", .client = true, .dns = "h", .days = -1}, false, 401,
            "client certificate has expired or is not yet valid"},
        {{.name = "c", .client = true}, false, 400, "could not determine subject"},
        {{.name = "c", .client = true, .dns = "stranger"}, false, 403,
            "You don't have permission to access this tenant"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct pki_request rq = cases[i].rq;
        rq.by = cases[i].foreign ? &other_ca : &ca;
        struct asked r = ask_one(&rq);
        assert_string_equal(r.message, cases[i].message);
        assert_int_equal(r.http_status, cases[i].status);
    }
    struct asked r = ask(NULL, 0, false);
    assert_int_equal(r.http_status, 401);
    assert_string_equal(r.message, "no client certificate presented");
    r = ask(NULL, 0, true);
    assert_int_equal(r.grpc_status, 12);
    assert_string_equal(r.message, "internal error");
}

static void test_mtls__chains(void **state)
{
    (void)state;
    struct pki_id leaf =
        pki_make(&(struct pki_request){.name = "leaf", .by = &middle, .client = true, .dns = "h"});
    const struct pki_id *whole[] = {&leaf, &middle}, *alone[] = {&leaf},
                        *more[] = {&leaf, &other_ca, &middle, &ca};
    assert_int_equal(ask(whole, 2, false).outcome, AUTH_OK);
    assert_int_equal(ask(alone, 1, false).http_status, 401);
    assert_int_equal(ask(more, 4, false).outcome, AUTH_OK);
    const struct pki_id *many[] = {&leaf, &middle, &middle, &middle, &middle, &middle, &middle,
        &middle, &middle, &middle, &middle};
    assert_int_equal(ask(many, 11, false).http_status, 401);
    struct pki_id broken = leaf;
    broken.der = bytes_n("not DER", 7);
    const struct pki_id *bad[] = {&broken};
    assert_int_equal(ask(bad, 1, false).http_status, 401);
    pki_free(&leaf);
}

static void test_mtls__a_ca_that_does_not_load_breaks_its_tenant_only(void **state)
{
    (void)state;
    struct auth_fixture g;
    const struct auth_tenant tenants[] = {
        {.name = "nofile", .id = "1", .method = AUTH_MTLS, .mtls = {.ca_path = "/no/such/file"}},
        {.name = "nopem", .id = "2", .method = AUTH_MTLS, .mtls = {.ca_pem = STR("hello")}},
        {.name = "good", .id = "3", .method = AUTH_MTLS, .mtls = {.ca_pem = str_from(ca.cert_pem)}},
        {.name = "said", .id = "4", .method = AUTH_MTLS, .broken = "no such thing"},
    };
    auth_fixture_start(&g, &(struct auth_options){.tenants = tenants, .n_tenants = 4});
    static const char *const names[] = {"nofile", "nopem", "good", "said"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct asked r = auth_ask_line(&g, names[i], AUTH_NONE, NULL);
        struct str id;
        assert_int_equal(r.http_status, 401);
        assert_string_equal(r.message, i == 2 ? "no client certificate presented"
                                              : "tenant not found, have you registered it?");
        assert_true(auth_tenant_id(g.auth, str_from(names[i]), &id));
    }
    auth_fixture_stop(&g);
}

static void test_auth__refuses_doubled_tenants(void **state)
{
    (void)state;
    struct err err = {0};
    struct auth *a;
    struct http_client *client;
    struct auth_tenant tenants[] = {{.name = "a", .id = "1", .method = AUTH_MTLS},
        {.name = "a", .id = "2", .method = AUTH_MTLS}};
    assert_ok(http_client_new(&(struct http_client_options){0}, &client, &err), err);
    struct auth_options opt = {.tenants = tenants, .n_tenants = 2, .client = client};
    assert_ec(auth_new(&opt, &a, &err), EC_INVALID);
    assert_string_equal(err_msg(&err), "tenant a is given twice");
    tenants[1].name = "";
    assert_ec(auth_new(&opt, &a, &err), EC_INVALID);
    opt.n_tenants = 0;
    opt.kubernetes.api_url = "nowhere";
    assert_ec(auth_new(&opt, &a, &err), EC_INVALID);
    http_client_free(client);
}

static int setup(void **state)
{
    (void)state;
    static const char *const in_dev[] = {"dev"}, *const roles[] = {"r"};
    static const struct auth_role role = {
        .name = "r", .traces = true, .read = true, .tenants = in_dev, .n_tenants = 1};
    static const struct auth_subject subjects[] = {
        {.name = "a@b"}, {.name = "spiffe://x"}, {.name = "h"}, {.is_group = true, .name = "sre"}};
    static const struct auth_binding binding = {
        .name = "b", .roles = roles, .n_roles = 1, .subjects = subjects, .n_subjects = 4};
    ca = pki_make(&(struct pki_request){.name = "ca", .ca = true});
    other_ca = pki_make(&(struct pki_request){.name = "other", .ca = true});
    middle = pki_make(&(struct pki_request){.name = "middle", .ca = true, .by = &ca});
    const struct auth_tenant tenant = {
        .name = "dev", .id = "id", .method = AUTH_MTLS, .mtls = {.ca_pem = str_from(ca.cert_pem)}};
    auth_fixture_start(&f, &(struct auth_options){.tenants = &tenant,
                               .n_tenants = 1,
                               .roles = &role,
                               .n_roles = 1,
                               .bindings = &binding,
                               .n_bindings = 1});
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    auth_fixture_stop(&f);
    pki_free(&ca);
    pki_free(&other_ca);
    pki_free(&middle);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mtls__names_the_subject),
        cmocka_unit_test(test_mtls__refuses),
        cmocka_unit_test(test_mtls__chains),
        cmocka_unit_test(test_mtls__a_ca_that_does_not_load_breaks_its_tenant_only),
        cmocka_unit_test(test_auth__refuses_doubled_tenants),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
