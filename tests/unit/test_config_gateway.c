/* SPDX-License-Identifier: Apache-2.0
 * The gateway section: flags of the original, tenants.yaml, rbac.yaml, and what is refused.
 * tests/golden/gateway: tenant files with what they must become (UPDATE=1 rewrites it). */
#include "config_util.h"
#include "src/config/doc.h"

#define MULTI LOCAL "multitenancy_enabled: true\n"
#define TENANT \
    "{name: dev, id: i-dev, openshift: {serviceAccount: sa}, opa: {url: 'http://localhost:8082/x'}}"
#define GATEWAY MULTI "gateway:\n  enabled: true\n  tenants: [" TENANT "]\n"
#define OIDC    "{name: a, id: a, oidc: {clientID: c, issuerURL: 'https://i'}}"
#define ROLES                                                                                     \
    "{roles: [{name: rw, resources: [traces, logs], tenants: [a], permissions: [read, write]}], " \
    "roleBindings: [{name: b, roles: [rw], subjects: [{kind: user, name: u}, {kind: group, name: g}]}]}"

static char *write_file(struct loaded *l, const char *name, const char *text)
{
    static char path[400];
    snprintf(path, sizeof(path), "%s/%s", l->dir, name);
    write_text(path, text, strlen(text));
    return path;
}

static void put_tenant(struct buf *out, const struct gateway_tenant *t)
{
    static const char *const authn[] = {"oidc", "openshift", "mTLS"};
    static const char *const authz[] = {"roles", "review", "opa"};
    buf_printf(out, "%s id=%s %s %s", t->name, t->id, authn[t->authn], authz[t->authz]);
    if (t->authn == GATEWAY_AUTHN_OIDC)
        buf_printf(out, " client=%s secret=%s issuer=%s ca=%s redirect=%s user=%s group=%s",
            t->oidc.client_id, t->oidc.client_secret, t->oidc.issuer_url, t->oidc.issuer_ca_path,
            t->oidc.redirect_url, t->oidc.username_claim, t->oidc.group_claim);
    if (t->authn == GATEWAY_AUTHN_OPENSHIFT)
        buf_printf(out, " account=%s redirect=%s cookie=%s", t->openshift.service_account,
            t->openshift.redirect_url, t->openshift.cookie_secret);
    if (t->authn == GATEWAY_AUTHN_MTLS)
        buf_printf(out, " ca=%s", t->mtls.ca_path);
    if (t->authz == GATEWAY_AUTHZ_OPA)
        buf_printf(out, " opa=%s token=%d", t->opa_url, t->opa_with_access_token);
    for (size_t i = 0; i < t->n_rate_limits; i++)
        buf_printf(out, " limit=%s %u/%llds", t->rate_limits[i].endpoint, t->rate_limits[i].limit,
            (long long)(t->rate_limits[i].window / 1000000000));
    buf_printf(
        out, "%s%s\n", t->broken != NULL ? " BROKEN: " : "", t->broken != NULL ? t->broken : "");
}

static void test_tenants__files_become_what_is_recorded(void **state)
{
    static const char *const files[] = {"operator-openshift", "operator-static", "forms"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        struct loaded l;
        struct buf made = BUF_INIT, stored = BUF_INIT;
        char flag[400], path[400];
        snprintf(
            flag, sizeof(flag), "--tenants.config=%s/golden/gateway/%s.yaml", TESTS_DIR, files[i]);
        LOAD(&l, MULTI, flag);
        assert_loads(&l);
        for (size_t k = 0; k < l.c->gateway.n_tenants; k++)
            put_tenant(&made, &l.c->gateway.tenants[k]);
        snprintf(path, sizeof(path), "%s/golden/gateway/%s.txt", TESTS_DIR, files[i]);
        if (getenv("UPDATE") != NULL)
            write_text(path, (const char *)made.p, made.n);
        assert_int_equal(file_read(path, &stored, NULL), EC_OK);
        buf_putc(&made, 0);
        buf_putc(&stored, 0);
        assert_string_equal((char *)made.p, (char *)stored.p);
        buf_deinit(&made);
        buf_deinit(&stored);
        loaded_free(&l);
    }
}

static void test_flags__the_operators_argument_list_works(void **state)
{
    struct loaded l;
    char tenants[500];
    snprintf(tenants, sizeof(tenants), "--tenants.config=%s/golden/gateway/operator-openshift.yaml",
        TESTS_DIR);
    (void)state;
    LOAD(&l,
        MULTI
        "distributor: {receivers: {otlp: {protocols: {grpc: {}, http: {endpoint: 'localhost:4318'}}}}}\n",
        "--web.listen=0.0.0.0:8080", "--web.internal.listen=0.0.0.0:8081",
        "--traces.tenant-header=x-scope-orgid", "--traces.tempo.endpoint=https://localhost:3200",
        "--traces.write-timeout=30s", tenants, "--log.level=info",
        "--tls.internal.server.key-file=/var/run/tls/server/tls.key",
        "--tls.internal.server.cert-file=/var/run/tls/server/tls.crt", "--traces.tls.key-file=/k",
        "--traces.tls.cert-file=/c", "--traces.tls.ca-file=/ca", "--traces.tls.watch-certs=true",
        "--grpc.listen=0.0.0.0:8090", "--traces.write.otlpgrpc.endpoint=localhost:4317",
        "--traces.write.otlphttp.endpoint=https://localhost:4318", "--traces.query-rbac=true",
        "--tls.server.cert-file=/etc/tempo-gateway/serving-cert/tls.crt",
        "--tls.server.key-file=/etc/tempo-gateway/serving-cert/tls.key",
        "--tls.healthchecks.server-ca-file=/etc/tempo-gateway/serving-ca/service-ca.crt",
        "--tls.healthchecks.server-name=tempo-n-gateway.ns.svc.cluster.local",
        "--web.healthchecks.url=https://localhost:8080", "--tls.client-auth-type=NoClientCert",
        "--tls.cipher-suites=TLS_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "--tls.min-version=VersionTLS12", "-mem-ballast-size-mbs=1024", "-config.expand-env=true",
        "--storage.trace.s3.secret_key=x", "--storage.trace.s3.access_key=y");
    assert_loads(&l);
    const struct config_gateway *g = &l.c->gateway;
    assert_true(g->enabled);
    assert_string_equal(g->http_listen_address, "0.0.0.0:8080");
    assert_string_equal(g->grpc_listen_address, "0.0.0.0:8090");
    assert_string_equal(g->internal_listen_address, "0.0.0.0:8081");
    assert_string_equal(g->tls.cert_file, "/etc/tempo-gateway/serving-cert/tls.crt");
    assert_string_equal(g->tls.min_version, "1.2");
    assert_string_equal(g->tls.client_auth_type, "NoClientCert");
    assert_string_equal(g->internal_tls.key_file, "/var/run/tls/server/tls.key");
    assert_string_equal(g->internal_tls.min_version, "1.3");
    assert_int_equal(g->timeout, 30000000000LL);
    assert_true(g->query_rbac && g->otlp_grpc && g->otlp_http);
    assert_int_equal(g->n_tenants, 2);
    assert_string_equal(g->tenants[1].id, "0123");
    assert_int_equal(g->tenants[0].authz, GATEWAY_AUTHZ_REVIEW);
    loaded_free(&l);
}

static void test_flags__ignored_ones_warn_and_unknown_ones_fail(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, LOCAL, "--logs.tail.endpoint=http://x", "--metrics.read.endpoint", "http://x",
        "--debug.name=y", "--middleware.rate-limiter.grpc-address=z");
    assert_loads(&l);
    assert_int_equal(count_warnings(l.c, "-logs.tail.endpoint"), 1);
    assert_int_equal(count_warnings(l.c, "-metrics.read.endpoint"), 1);
    assert_false(l.c->gateway.enabled);
    loaded_free(&l);
    ASSERT_FAILS(2, "flag provided but not defined: -web.lisen", MULTI, "--web.lisen=:1");
    ASSERT_FAILS(2, "flag provided but not defined: -tls.servers.cert-file", MULTI,
        "--tls.servers.cert-file=x");
}

static void test_section__defaults_and_inline_tenants(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, GATEWAY);
    assert_loads(&l);
    const struct config_gateway *g = &l.c->gateway;
    assert_string_equal(g->http_listen_address, "0.0.0.0:8080");
    assert_string_equal(g->tenant_header, "x-scope-orgid");
    assert_int_equal(g->timeout, 30000000000LL);
    assert_int_equal(g->token_ttl, 120000000000LL);
    assert_int_equal(g->review_ttl, 60000000000LL);
    assert_int_equal(g->concurrent_request_limit, 10000);
    assert_string_equal(g->tls.min_version, "1.3");
    assert_string_equal(g->kubernetes.review, "ssar");
    assert_true(g->otlp_grpc && g->otlp_http); /* no receiver at all: both */
    assert_int_equal(g->n_tenants, 1);
    loaded_free(&l);
    /* OTLP/HTTP follows its own receiver, not gRPC's. */
    LOAD(&l, GATEWAY "distributor: {receivers: {otlp: {protocols: {http: {}}}}}\n");
    assert_loads(&l);
    assert_true(l.c->gateway.otlp_http);
    assert_false(l.c->gateway.otlp_grpc);
    loaded_free(&l);
}

static void test_section__mode_openshift_reviews_without_an_opa_block(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, MULTI
        "gateway: {enabled: true, mode: openshift, tenants: [{name: a, id: a, openshift: {}}]}\n");
    assert_loads(&l);
    assert_int_equal(l.c->gateway.tenants[0].authz, GATEWAY_AUTHZ_REVIEW);
    loaded_free(&l);
    LOAD(&l, MULTI "gateway: {enabled: true, tenants: [{name: a, id: a, openshift: {}}]}\n");
    assert_loads(&l);
    assert_int_equal(l.c->gateway.tenants[0].authz, GATEWAY_AUTHZ_ROLES);
    loaded_free(&l);
}

static void test_section__another_clusters_kubeconfig_is_not_overlooked(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, MULTI "gateway: {enabled: true, mode: openshift, tenants: [{name: a, id: a, "
                   "openshift: {kubeconfig: /other/cluster}}]}\n");
    assert_loads(&l);
    assert_non_null(l.c->gateway.tenants[0].broken);
    assert_non_null(strstr(l.c->gateway.tenants[0].broken, "openshift.kubeconfig"));
    loaded_free(&l);
}

static void test_roles__are_read(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(
        &l, MULTI "gateway: {enabled: true, mode: static, tenants: [" OIDC "], rbac: " ROLES "}\n");
    assert_loads(&l);
    const struct config_gateway *g = &l.c->gateway;
    assert_int_equal(g->n_roles, 1);
    assert_true(g->roles[0].traces && g->roles[0].read && g->roles[0].write);
    assert_string_equal(g->roles[0].tenants[0], "a");
    assert_int_equal(g->n_bindings, 1);
    assert_string_equal(g->bindings[0].roles[0], "rw");
    assert_false(g->bindings[0].subjects[0].is_group);
    assert_true(g->bindings[0].subjects[1].is_group);
    assert_string_equal(g->bindings[0].subjects[1].name, "g");
    loaded_free(&l);
}

static void test_roles__later_ones_replace_and_unknown_ones_warn(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, MULTI
        "gateway:\n  enabled: true\n  tenants: [" OIDC "]\n  rbac:\n"
        "    roles: [{name: r, resources: [traces], tenants: [a], permissions: [read, fly]},\n"
        "            {name: r, resources: [logs], tenants: [a], permissions: [write]}]\n"
        "    roleBindings: [{name: b, roles: [r, ghost], subjects: [{kind: robot, name: x}]}]\n");
    assert_loads(&l);
    assert_int_equal(l.c->gateway.n_roles, 1);
    assert_false(l.c->gateway.roles[0].traces);
    assert_true(l.c->gateway.roles[0].write);
    assert_int_equal(l.c->gateway.bindings[0].n_subjects, 0);
    assert_int_equal(count_warnings(l.c, "gateway.rbac"), 2);
    loaded_free(&l);
}

static void test_files__empty_roles_and_both_sources(void **state)
{
    struct loaded l, other;
    char flag[420], tenants[420];
    (void)state;
    LOAD(&other, LOCAL);
    snprintf(flag, sizeof(flag), "--rbac.config=%s", write_file(&other, "rbac.yaml", ""));
    LOAD(&l, GATEWAY, flag);
    assert_loads(&l);
    assert_int_equal(l.c->gateway.n_roles, 0);
    loaded_free(&l);
    ASSERT_FAILS(
        1, "gateway.rbac_file and gateway.rbac are both set", GATEWAY "  rbac: " ROLES "\n", flag);
    snprintf(tenants, sizeof(tenants), "--tenants.config=%s",
        write_file(&other, "tenants.yaml", "tenants: [" TENANT "]\n"));
    ASSERT_FAILS(1, "gateway.tenants_file and gateway.tenants are both set", GATEWAY, tenants);
    ASSERT_FAILS(1, "gateway.rbac_file: /nonexistent/r", GATEWAY, "--rbac.config=/nonexistent/r");
    ASSERT_FAILS(
        1, "gateway.tenants_file: /nonexistent/t", MULTI, "--tenants.config=/nonexistent/t");
    snprintf(tenants, sizeof(tenants), "--tenants.config=%s",
        write_file(&other, "bad.yaml", "tenants: [{name: a\n"));
    ASSERT_FAILS(1, "line ", MULTI, tenants);
    loaded_free(&other);
}

static void test_refused__what_would_be_unsafe(void **state)
{
    static const struct {
        const char *yaml, *part;
    } cases[] = {
        {LOCAL "gateway: {enabled: true, tenants: [" TENANT "]}\n",
            "it needs multitenancy_enabled"},
        {MULTI "gateway: {enabled: true}\n", "it needs tenants_file or tenants"},
        {MULTI "gateway: {enabled: true, tenants: []}\n", "list of tenants is empty"},
        {MULTI "gateway: {enabled: true, tenants: {a: b}}\n", "list of tenants is empty"},
        {MULTI "gateway: {enabled: true, tenants: [x]}\n", "tenants[0]"},
        {MULTI "gateway: {enabled: true, tenants: [{name: a, id: a}]}\n",
            "tenant a has nothing to authenticate with"},
        {MULTI "gateway: {enabled: true, tenants: [{id: a, oidc: {}}]}\n",
            "name \"\" is not usable"},
        {MULTI "gateway: {enabled: true, tenants: [{name: a/b, id: a, oidc: {}}]}\n",
            "name \"a/b\" is not usable"},
        {MULTI "gateway: {enabled: true, tenants: [{name: '..', id: a, oidc: {}}]}\n",
            "not usable"},
        {MULTI "gateway: {enabled: true, tenants: [{name: a, oidc: {}}]}\n",
            "id \"\" is not usable"},
        {MULTI "gateway: {enabled: true, tenants: [{name: a, id: 'a|b', oidc: {}}]}\n",
            "tenant a: id \"a|b\" is not usable"},
        {MULTI "gateway: {enabled: true, tenants: [{name: a, id: '..', oidc: {}}]}\n",
            "not usable"},
        {MULTI "gateway: {enabled: true, tenants: [" OIDC ", " OIDC "]}\n",
            "tenant a is there twice"},
        {MULTI "gateway: {enabled: true, tenants: [{name: a, id: a, oidc: {}, opa: {query: x}}]}\n",
            "Rego in the process"},
        {GATEWAY "  mode: other\n", "want openshift or static"},
        {GATEWAY "  mode: static\n", "mode static: it needs roles"},
        {GATEWAY "  mode: static\n  rbac: " ROLES "\n", "tenant dev has an openshift block"},
        {GATEWAY "  mode: openshift\n  rbac: " ROLES "\n", "Kubernetes decides"},
        {MULTI "gateway: {enabled: true, mode: openshift, tenants: [" OIDC "]}\n",
            "tenant a has no openshift block"},
        {MULTI "gateway: {enabled: true, mode: static, query_rbac: true, tenants: [" OIDC
               "], rbac: " ROLES "}\n",
            "query_rbac with mode static"},
        {MULTI "gateway: {enabled: true, query_rbac: true, tenants: [" OIDC "]}\n",
            "authorised by roles"},
        {GATEWAY "  tls: {cert_file: /c}\n", "a certificate needs a key"},
        {GATEWAY "  tls: {min_version: VersionTLS13, max_version: VersionTLS12}\n",
            "above max_version"},
        {GATEWAY "  tls: {client_auth_type: Sometimes}\n", "invalid TLS client auth type"},
        {GATEWAY "  tls: {client_auth_type: RequireAndVerifyClientCert}\n", "needs client_ca_file"},
        {GATEWAY "  tls: {cipher_suites: NOPE}\n", "cipher suite not recognized"},
        {GATEWAY "  kubernetes: {review: maybe}\n", "want ssar or sar"},
        {GATEWAY "  timeout: 0s\n", "timeouts must be greater than 0"},
        {GATEWAY "  concurrent_request_limit: 0\n", "must be greater than 0"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        ASSERT_FAILS(1, cases[i].part, cases[i].yaml);
    ASSERT_FAILS(1, "does not go together with the Jaeger UI", GATEWAY "  query_rbac: true\n",
        "--traces.read.endpoint=http://localhost:16686");
}

static void test_off__nothing_is_looked_at(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, LOCAL "gateway: {tenants_file: /nonexistent, mode: other}\n");
    assert_loads(&l);
    assert_false(l.c->gateway.enabled);
    loaded_free(&l);
    /* The file's word counts against what flags merely imply. */
    LOAD(&l, LOCAL "gateway: {enabled: false}\n", "--web.listen=:1");
    assert_loads(&l);
    assert_false(l.c->gateway.enabled);
    loaded_free(&l);
}

static void test_printing__masks_inline_secrets(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, MULTI
        "gateway:\n  enabled: true\n  tenants:\n"
        "  - {name: a, id: a, OIDC: {clientID: c, CLIENTSECRET: hush1, issuerURL: 'https://i'}}\n"
        "  - {name: b, id: b, openshift: {cookieSecret: hush2hush2hush2h}}\n"
        "  - {name: d, id: d, authenticator: {type: oidc, config: {clientID: c, clientSecret: hush3, issuerURL: 'https://i'}}}\n");
    assert_loads(&l);
    char *text = printed(l.c, CONFIG_PRINT_ALL);
    assert_null(strstr(text, "hush"));
    assert_has(text, "name: a");
    assert_has(text, "********");
    free(text);
    loaded_free(&l);
}

static void test_portable__refuses_the_section(void **state)
{
    (void)state;
    ASSERT_FAILS(1, "gateway.enabled is no key of Tempo", GATEWAY, "-config.portable");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tenants__files_become_what_is_recorded),
        cmocka_unit_test(test_flags__the_operators_argument_list_works),
        cmocka_unit_test(test_flags__ignored_ones_warn_and_unknown_ones_fail),
        cmocka_unit_test(test_section__defaults_and_inline_tenants),
        cmocka_unit_test(test_section__mode_openshift_reviews_without_an_opa_block),
        cmocka_unit_test(test_section__another_clusters_kubeconfig_is_not_overlooked),
        cmocka_unit_test(test_roles__are_read),
        cmocka_unit_test(test_roles__later_ones_replace_and_unknown_ones_warn),
        cmocka_unit_test(test_files__empty_roles_and_both_sources),
        cmocka_unit_test(test_refused__what_would_be_unsafe),
        cmocka_unit_test(test_off__nothing_is_looked_at),
        cmocka_unit_test(test_printing__masks_inline_secrets),
        cmocka_unit_test(test_portable__refuses_the_section),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
