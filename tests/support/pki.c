/* SPDX-License-Identifier: Apache-2.0
 * See pki.h. */
#include "pki.h"

#include <arpa/inet.h>
#include <time.h>

static void names(gnutls_x509_crt_t crt, const struct pki_request *rq)
{
    struct {
        gnutls_x509_subject_alt_name_t type;
        const char *text;
    } all[] = {{GNUTLS_SAN_RFC822NAME, rq->email}, {GNUTLS_SAN_URI, rq->uri},
        {GNUTLS_SAN_DNSNAME, rq->dns}};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (all[i].text != NULL)
            gnutls_x509_crt_set_subject_alt_name(
                crt, all[i].type, all[i].text, (unsigned)strlen(all[i].text), GNUTLS_FSAN_APPEND);
    if (rq->ip != NULL) {
        struct in_addr a;
        assert_int_equal(inet_pton(AF_INET, rq->ip, &a), 1);
        gnutls_x509_crt_set_subject_alt_name(
            crt, GNUTLS_SAN_IPADDRESS, &a, sizeof(a), GNUTLS_FSAN_APPEND);
    }
    for (size_t i = 0; i < ARRAY_LEN(rq->units) && rq->units[i] != NULL; i++)
        gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_ORGANIZATIONAL_UNIT_NAME, 0,
            rq->units[i], (unsigned)strlen(rq->units[i]));
}

struct pki_id pki_make(const struct pki_request *rq)
{
    static unsigned serial;
    struct pki_id id = {0};
    gnutls_datum_t out;
    time_t now = time(NULL);
    int days = rq->days == 0 ? 1 : rq->days;
    serial++;
    assert_int_equal(gnutls_x509_privkey_init(&id.key), 0);
    assert_int_equal(gnutls_x509_privkey_generate(id.key, GNUTLS_PK_ECDSA,
                         GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0),
        0);
    assert_int_equal(gnutls_x509_crt_init(&id.crt), 0);
    gnutls_x509_crt_set_version(id.crt, 3);
    gnutls_x509_crt_set_serial(id.crt, &serial, sizeof(serial));
    gnutls_x509_crt_set_dn_by_oid(
        id.crt, GNUTLS_OID_X520_COMMON_NAME, 0, rq->name, (unsigned)strlen(rq->name));
    names(id.crt, rq);
    gnutls_x509_crt_set_activation_time(id.crt, now - 86400 * 30);
    gnutls_x509_crt_set_expiration_time(id.crt, now + 86400 * days);
    gnutls_x509_crt_set_key(id.crt, id.key);
    gnutls_x509_crt_set_basic_constraints(id.crt, rq->ca, -1);
    if (rq->ca)
        gnutls_x509_crt_set_key_usage(id.crt, GNUTLS_KEY_KEY_CERT_SIGN);
    else
        gnutls_x509_crt_set_key_purpose_oid(
            id.crt, rq->client ? GNUTLS_KP_TLS_WWW_CLIENT : GNUTLS_KP_TLS_WWW_SERVER, 0);
    assert_int_equal(gnutls_x509_crt_sign2(id.crt, rq->by == NULL ? id.crt : rq->by->crt,
                         rq->by == NULL ? id.key : rq->by->key, GNUTLS_DIG_SHA256, 0),
        0);
    assert_int_equal(gnutls_x509_crt_export2(id.crt, GNUTLS_X509_FMT_PEM, &out), 0);
    id.cert_pem = xstrndup((const char *)out.data, out.size);
    gnutls_free(out.data);
    assert_int_equal(
        gnutls_x509_privkey_export2_pkcs8(id.key, GNUTLS_X509_FMT_PEM, NULL, 0, &out), 0);
    id.key_pem = xstrndup((const char *)out.data, out.size);
    gnutls_free(out.data);
    assert_int_equal(gnutls_x509_crt_export2(id.crt, GNUTLS_X509_FMT_DER, &out), 0);
    id.der = bytes_n(out.data, out.size);
    return id;
}

void pki_free(struct pki_id *id)
{
    gnutls_x509_privkey_deinit(id->key);
    gnutls_x509_crt_deinit(id->crt);
    free(id->cert_pem);
    free(id->key_pem);
    gnutls_free((void *)(uintptr_t)id->der.p);
    *id = (struct pki_id){0};
}
