/* SPDX-License-Identifier: Apache-2.0
 * TLS: both HTTP versions by ALPN on one port, client certificates, versions, suites, reload. The
 * certificates are made here. */
#include <errno.h>
#include <gnutls/abstract.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/metric.h"
#include "net_client.h"
#include "server_fixture.h"
#include "tmpdir.h"
#include "unit.h"

struct identity {
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t crt;
    char *cert_pem, *key_pem;
};

static char *exported(const gnutls_datum_t *d)
{
    char *s = xstrndup((const char *)d->data, d->size);
    gnutls_free(d->data);
    return s;
}

/* Signed by `by`, or by itself. */
static struct identity identity_new(const char *name, const struct identity *by, bool ca, int days)
{
    static unsigned serial;
    struct identity id = {0};
    gnutls_datum_t pem;
    serial++;
    assert_int_equal(gnutls_x509_privkey_init(&id.key), 0);
    assert_int_equal(gnutls_x509_privkey_generate(id.key, GNUTLS_PK_ECDSA,
                         GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0),
        0);
    assert_int_equal(gnutls_x509_crt_init(&id.crt), 0);
    gnutls_x509_crt_set_version(id.crt, 3);
    gnutls_x509_crt_set_serial(id.crt, &serial, sizeof(serial));
    gnutls_x509_crt_set_dn_by_oid(
        id.crt, GNUTLS_OID_X520_COMMON_NAME, 0, name, (unsigned)strlen(name));
    gnutls_x509_crt_set_activation_time(id.crt, time(NULL) - 86400 * 30);
    gnutls_x509_crt_set_expiration_time(id.crt, time(NULL) + 86400 * days);
    gnutls_x509_crt_set_key(id.crt, id.key);
    gnutls_x509_crt_set_basic_constraints(id.crt, ca, -1);
    gnutls_x509_crt_set_subject_alt_name(
        id.crt, GNUTLS_SAN_DNSNAME, "localhost", 9, GNUTLS_FSAN_SET);
    if (ca)
        gnutls_x509_crt_set_key_usage(id.crt, GNUTLS_KEY_KEY_CERT_SIGN);
    assert_int_equal(gnutls_x509_crt_sign2(id.crt, by == NULL ? id.crt : by->crt,
                         by == NULL ? id.key : by->key, GNUTLS_DIG_SHA256, 0),
        0);
    assert_int_equal(gnutls_x509_crt_export2(id.crt, GNUTLS_X509_FMT_PEM, &pem), 0);
    id.cert_pem = exported(&pem);
    assert_int_equal(
        gnutls_x509_privkey_export2_pkcs8(id.key, GNUTLS_X509_FMT_PEM, NULL, 0, &pem), 0);
    id.key_pem = exported(&pem);
    return id;
}

static void identity_free(struct identity *id)
{
    gnutls_x509_privkey_deinit(id->key);
    gnutls_x509_crt_deinit(id->crt);
    free(id->cert_pem);
    free(id->key_pem);
}

static struct identity ca, other_ca, server_a, server_b, client_good, client_old, client_wrong;
static char *dir, *cert_path, *key_path, *ca_path;
static struct fixture fx;

static char *path_in(const char *name)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return xstrdup(path);
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fputs(text, f) >= 0, 1);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

static int setup_all(void **state)
{
    (void)state;
    ca = identity_new("ca", NULL, true, 365);
    other_ca = identity_new("other ca", NULL, true, 365);
    server_a = identity_new("server a", &ca, false, 365);
    server_b = identity_new("server b", &ca, false, 365);
    client_good = identity_new("client one", &ca, false, 365);
    client_old = identity_new("client old", &ca, false, -1);
    client_wrong = identity_new("client wrong", &other_ca, false, 365);
    dir = tmpdir_new();
    cert_path = path_in("tls.crt");
    key_path = path_in("tls.key");
    ca_path = path_in("ca.crt");
    write_file(ca_path, ca.cert_pem);
    return 0;
}

static int teardown_all(void **state)
{
    (void)state;
    struct identity *all[] = {
        &ca, &other_ca, &server_a, &server_b, &client_good, &client_old, &client_wrong};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        identity_free(all[i]);
    tmpdir_free(dir);
    free(cert_path);
    free(key_path);
    free(ca_path);
    return 0;
}

static struct listener_options tls_listener(void)
{
    struct listener_options o = fixture_options();
    write_file(cert_path, server_a.cert_pem);
    write_file(key_path, server_a.key_pem);
    o.tls.cert_file = cert_path;
    o.tls.key_file = key_path;
    return o;
}

/* GET /info over HTTP/1.1; the answer's text, or false when TLS or the server refuses. */
static bool h1_info(const struct net_tls *tls, struct http_answer *a, char *ret_cn)
{
    struct net c = net_connect(fx.port, 0);
    bool ok = net_tls_start(&c, tls) && net_sendz(&c, "GET /info HTTP/1.1\r\nHost: x\r\n\r\n") &&
              net_answer(&c, a, false);
    if (ok && ret_cn != NULL) {
        unsigned n;
        gnutls_x509_crt_t crt;
        size_t size = 64;
        gnutls_x509_crt_init(&crt);
        gnutls_x509_crt_import(
            crt, &gnutls_certificate_get_peers(c.tls, &n)[0], GNUTLS_X509_FMT_DER);
        gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, 0, ret_cn, &size);
        gnutls_x509_crt_deinit(crt);
    }
    net_close(&c);
    return ok;
}

static bool h2_info(const struct net_tls *tls, struct buf *ret)
{
    struct net n = net_connect(fx.port, 0);
    if (!net_tls_start(&n, tls)) {
        net_close(&n);
        return false;
    }
    struct h2_client *c = h2_open(n, 0, true);
    const char *pairs[] = {
        ":method", "GET", ":scheme", "https", ":path", "/info", ":authority", "x", NULL};
    struct h2_stream *s = h2_request(c, pairs, (struct bytes){0}, false);
    bool ok = h2_finish(c, s) && s->status == 200;
    buf_put(ret, s->body.p, s->body.n);
    h2_stream_free(s);
    h2_free(c);
    return ok;
}

static void test_tls__alpn_chooses_the_protocol(void **state)
{
    (void)state;
    struct listener_options o = tls_listener();
    struct http_answer a;
    struct buf body = BUF_INIT;
    fixture_start(&fx, &o);
    assert_true(h1_info(&(struct net_tls){.alpn = NULL}, &a, NULL));
    assert_true(str_has(buf_str(&a.body), STR("h2=0 tls=1")));
    answer_free(&a);
    assert_true(h1_info(&(struct net_tls){.alpn = "http/1.1"}, &a, NULL));
    answer_free(&a);
    assert_true(h2_info(&(struct net_tls){.alpn = "h2"}, &body));
    assert_true(str_has(buf_str(&body), STR("h2=1 tls=1")));
    buf_deinit(&body);
    /* Plain text on a TLS port is refused. */
    struct net c = net_connect(fx.port, 0);
    assert_true(net_sendz(&c, "GET /info HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_true(net_wait_closed(&c, 5000));
    net_close(&c);
    fixture_stop(&fx);
}

static void test_tls__large_bodies_pass(void **state)
{
    (void)state;
    struct listener_options o = tls_listener();
    fixture_start(&fx, &o);
    struct net n = net_connect(fx.port, 0);
    assert_true(net_tls_start(&n, &(struct net_tls){.alpn = "h2"}));
    struct h2_client *c = h2_open(n, 1 << 20, true);
    struct buf framed = BUF_INIT;
    uint8_t *mega = calloc(1, 3 << 20);
    grpc_frame(&framed, 0, mega, 3 << 20);
    for (int i = 0; i < 3; i++) {
        struct h2_stream *s = h2_grpc(c, "/t.S/Echo", NULL, buf_bytes(&framed));
        assert_true(h2_finish(c, s));
        assert_string_equal(h2_trailer(s, "grpc-status"), "0");
        assert_int_equal(s->body.n, framed.n);
        h2_stream_free(s);
    }
    free(mega);
    buf_deinit(&framed);
    h2_free(c);
    fixture_stop(&fx);
}

static void test_tls__grpc_needs_alpn(void **state)
{
    (void)state;
    struct listener_options o = tls_listener();
    o.handler = NULL;
    o.http1 = false;
    fixture_start(&fx, &o);
    struct net c = net_connect(fx.port, 0);
    assert_false(net_tls_start(&c, &(struct net_tls){.alpn = NULL}));
    net_close(&c);
    fixture_stop(&fx);
}

static void test_tls__client_certificates_are_verified(void **state)
{
    (void)state;
    struct listener_options o = tls_listener();
    o.tls.client_ca_file = ca_path;
    o.tls.client_cert_required = true;
    fixture_start(&fx, &o);
    static const char *const alpn[] = {NULL, "h2"};
    for (size_t i = 0; i < 2; i++) {
        struct identity *ids[] = {&client_good, &client_old, &client_wrong, NULL};
        for (size_t k = 0; k < ARRAY_LEN(ids); k++) {
            struct net_tls t = {.alpn = alpn[i],
                .cert_pem = ids[k] == NULL ? NULL : ids[k]->cert_pem,
                .key_pem = ids[k] == NULL ? NULL : ids[k]->key_pem};
            struct buf body = BUF_INIT;
            struct http_answer a = {0};
            bool ok = i == 0 ? h1_info(&t, &a, NULL) : h2_info(&t, &body);
            assert_int_equal(ok, k == 0);
            if (ok)
                assert_true(str_has(buf_str(i == 0 ? &a.body : &body), STR("cert=client one")));
            answer_free(&a);
            buf_deinit(&body);
        }
    }
    assert_int_equal(atomic_load(&fx.handled), 2);
    fixture_stop(&fx);
}

static void test_tls__an_optional_certificate_may_be_missing_but_not_wrong(void **state)
{
    (void)state;
    struct listener_options o = tls_listener();
    struct http_answer a = {0};
    o.tls.client_ca_file = ca_path;
    fixture_start(&fx, &o);
    assert_true(h1_info(&(struct net_tls){0}, &a, NULL));
    assert_true(str_has(buf_str(&a.body), STR("cert=\n")));
    answer_free(&a);
    struct net_tls wrong = {.cert_pem = client_wrong.cert_pem, .key_pem = client_wrong.key_pem};
    assert_false(h1_info(&wrong, &a, NULL));
    answer_free(&a);
    fixture_stop(&fx);
}

static void test_tls__an_asked_certificate_is_shown_unverified(void **state)
{
    (void)state;
    struct listener_options o = tls_listener();
    o.tls.client_cert_asked = true;
    fixture_start(&fx, &o);
    for (int h2 = 0; h2 < 2; h2++) {
        struct net_tls t = {.alpn = h2 ? "h2" : NULL,
            .cert_pem = client_wrong.cert_pem,
            .key_pem = client_wrong.key_pem};
        struct buf body = BUF_INIT;
        struct http_answer a = {0};
        assert_true(h2 ? h2_info(&t, &body) : h1_info(&t, &a, NULL));
        struct str text = buf_str(h2 ? &body : &a.body);
        assert_true(str_has(text, STR("cert=\n"))); /* nobody vouches for the name */
        assert_true(str_has(text, STR("certs=1 of ")));
        answer_free(&a);
        buf_deinit(&body);
    }
    struct http_answer a = {0};
    assert_true(h1_info(&(struct net_tls){0}, &a, NULL));
    assert_false(str_has(buf_str(&a.body), STR("certs=")));
    answer_free(&a);
    fixture_stop(&fx);
    o.tls.client_cert_required = true;
    fixture_start(&fx, &o);
    assert_false(h1_info(&(struct net_tls){0}, &a, NULL));
    answer_free(&a);
    fixture_stop(&fx);
}

static void test_tls__versions_and_suites_are_limited(void **state)
{
    (void)state;
    struct listener_options o = tls_listener();
    struct http_answer a = {0};
    o.tls.max_version = "1.2";
    o.tls.cipher_suites = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_AES_128_GCM_SHA256";
    fixture_start(&fx, &o);
    struct net_tls t = {.priority = "NORMAL:-VERS-ALL:+VERS-TLS1.3"};
    assert_false(h1_info(&t, &a, NULL));
    answer_free(&a);
    t.priority = "NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-256-GCM";
    assert_false(h1_info(&t, &a, NULL));
    answer_free(&a);
    t.priority = "NORMAL:-VERS-ALL:+VERS-TLS1.2";
    assert_true(h1_info(&t, &a, NULL));
    answer_free(&a);
    fixture_stop(&fx);
    o = tls_listener();
    fixture_start(&fx, &o); /* by default at least 1.2 */
    t.priority = "NORMAL:-VERS-ALL:+VERS-TLS1.1:+VERS-TLS1.0";
    assert_false(h1_info(&t, &a, NULL));
    answer_free(&a);
    fixture_stop(&fx);
}

static void assert_shown(const char *line, bool shown)
{
    struct buf text = BUF_INIT;
    metric_render(&text);
    buf_putc(&text, 0);
    if ((strstr((const char *)text.p, line) != NULL) != shown)
        fail_msg("%s: %s", line, shown ? "absent" : "shown");
    buf_deinit(&text);
}

#define RELOADED(n) "\nvivace_tls_last_reload_successful{listener=\"test\"} " n "\n"

static void test_tls__certificates_reload(void **state)
{
    (void)state;
    struct listener_options o = tls_listener();
    struct http_answer a;
    struct err err = {0};
    char cn[64] = "";
    fixture_start(&fx, &o);
    struct net kept = net_connect(fx.port, 0);
    assert_true(net_tls_start(&kept, &(struct net_tls){0}));
    assert_true(h1_info(&(struct net_tls){0}, &a, cn));
    answer_free(&a);
    assert_string_equal(cn, "server a");
    assert_shown(RELOADED("1"), true);
    assert_shown("\nvivace_tls_certificate_expiry_timestamp_seconds{listener=\"test\"} 0\n", false);
    assert_shown("\nvivace_tls_certificate_expiry_timestamp_seconds{listener=\"test\"} ", true);
    write_file(cert_path, server_b.cert_pem); /* not the key's: the old pair stays */
    assert_ec(server_reload_tls(fx.server, &err), EC_INVALID);
    assert_non_null(strstr(err.msg, "does not belong"));
    assert_shown(RELOADED("0"), true);
    write_file(key_path, "rubbish");
    assert_ec(server_reload_tls(fx.server, &err), EC_INVALID);
    assert_true(h1_info(&(struct net_tls){0}, &a, cn));
    answer_free(&a);
    assert_string_equal(cn, "server a");
    write_file(key_path, server_b.key_pem);
    assert_ok(server_reload_tls(fx.server, &err), err);
    assert_shown(RELOADED("1"), true);
    assert_true(h1_info(&(struct net_tls){0}, &a, cn));
    answer_free(&a);
    assert_string_equal(cn, "server b");
    assert_true(net_sendz(&kept, "GET /info HTTP/1.1\r\nHost: x\r\n\r\n")); /* undisturbed */
    assert_true(net_answer(&kept, &a, false));
    answer_free(&a);
    net_close(&kept);
    fixture_stop(&fx);
}

static void test_tls__changed_files_are_noticed(void **state)
{
    (void)state;
    struct listener_options o = tls_listener();
    struct http_answer a;
    char cn[64] = "";
    o.tls.reload_interval_ns = 1000000;
    fixture_start(&fx, &o);
    write_file(cert_path, server_b.cert_pem);
    write_file(key_path, server_b.key_pem);
    fixture_sleep_ms(5);
    assert_true(h1_info(&(struct net_tls){0}, &a, cn));
    answer_free(&a);
    assert_string_equal(cn, "server b");
    fixture_stop(&fx);
}

static void expect_refused(struct listener_options *o, const char *text)
{
    struct server *s;
    struct err err = {0};
    assert_ok(server_new(NULL, &s, &err), err);
    assert_ec(server_listen(s, o, NULL, NULL, &err), EC_INVALID);
    if (strstr(err.msg, text) == NULL)
        fail_msg("\"%s\" says nothing of \"%s\"", err.msg, text);
    server_free(s);
}

static void test_tls__bad_options_refuse_to_start(void **state)
{
    (void)state;
    struct listener_options o = tls_listener();
    assert_int_equal(chmod(key_path, 0604), 0);
    expect_refused(&o, "readable by others");
    o = tls_listener();
    o.tls.key_file = NULL;
    expect_refused(&o, "needs both");
    o = tls_listener();
    o.tls.cipher_suites = "TLS_ECDHE_RSA_WITH_ROT13";
    expect_refused(&o, "unknown");
    o = tls_listener();
    o.tls.min_version = "1.4";
    expect_refused(&o, "1.4");
    o = tls_listener();
    o.tls.min_version = "1.3";
    o.tls.max_version = "1.2";
    expect_refused(&o, "above");
    o = tls_listener();
    o.tls.cert_file = NULL;
    o.tls.cert_pem = server_b.cert_pem;
    expect_refused(&o, "does not belong");
    o = tls_listener();
    o.tls.cert_file = o.tls.key_file = NULL;
    o.tls.cert_pem = server_b.cert_pem;
    o.tls.key_pem = server_b.key_pem;
    fixture_start(&fx, &o);
    fixture_stop(&fx);
}

static void test_tls__half_a_handshake_is_cut_off(void **state)
{
    (void)state;
    struct listener_options o = tls_listener();
    o.read_timeout_ms = 200;
    fixture_start(&fx, &o);
    struct net a = net_connect(fx.port, 0), b = net_connect(fx.port, 0);
    assert_true(net_send(&b, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11));
    assert_true(net_wait_closed(&a, 3000));
    assert_true(net_wait_closed(&b, 3000));
    net_close(&a);
    net_close(&b);
    fixture_stop(&fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tls__alpn_chooses_the_protocol),
        cmocka_unit_test(test_tls__large_bodies_pass),
        cmocka_unit_test(test_tls__grpc_needs_alpn),
        cmocka_unit_test(test_tls__client_certificates_are_verified),
        cmocka_unit_test(test_tls__an_optional_certificate_may_be_missing_but_not_wrong),
        cmocka_unit_test(test_tls__an_asked_certificate_is_shown_unverified),
        cmocka_unit_test(test_tls__versions_and_suites_are_limited),
        cmocka_unit_test(test_tls__certificates_reload),
        cmocka_unit_test(test_tls__changed_files_are_noticed),
        cmocka_unit_test(test_tls__bad_options_refuse_to_start),
        cmocka_unit_test(test_tls__half_a_handshake_is_cut_off),
    };
    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
