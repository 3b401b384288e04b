/* SPDX-License-Identifier: Apache-2.0
 * Client certificates: the chain against the tenant's own CAs, then who it names. The listener only
 * asks for a certificate; whose it accepts is decided here, per tenant. */
#include <arpa/inet.h>
#include <gnutls/x509.h>
#include <stdlib.h>

#include "auth_int.h"
#include "file.h"

#define CHAIN_MAX 10
#define NAME_MAX_ 1024
#define UNITS_MAX 64

void mtls_trust_free(void *trust)
{
    if (trust != NULL)
        gnutls_x509_trust_list_deinit(trust, 1);
}

enum ec mtls_trust_new(struct str ca_pem, const char *ca_path, void **ret, struct err *err)
{
    struct buf text = BUF_INIT;
    gnutls_x509_trust_list_t list = NULL;
    enum ec ec = EC_OK;
    if (ca_path != NULL && *ca_path != 0)
        ec = auth_file_read("auth.client_ca", ca_path, &text, err);
    else
        buf_puts(&text, ca_pem);
    if (ec == EC_OK) {
        gnutls_datum_t pem = {text.p, (unsigned)text.n};
        int n = -1;
        if (gnutls_x509_trust_list_init(&list, 0) == 0)
            n = gnutls_x509_trust_list_add_trust_mem(list, &pem, NULL, GNUTLS_X509_FMT_PEM, 0, 0);
        if (n <= 0)
            ec = ERR(err, EC_INVALID, "no certificate to trust in %s",
                ca_path != NULL && *ca_path != 0 ? ca_path : "mTLS.ca");
    }
    buf_deinit(&text);
    if (ec != EC_OK) {
        mtls_trust_free(list);
        return ec;
    }
    *ret = list;
    return EC_OK;
}

/* First of e-mail, URI, DNS name, address, whatever their order in the certificate. */
static bool subject_of(gnutls_x509_crt_t crt, char *out, size_t *ret_n)
{
    static const gnutls_x509_subject_alt_name_t order[] = {
        GNUTLS_SAN_RFC822NAME, GNUTLS_SAN_URI, GNUTLS_SAN_DNSNAME, GNUTLS_SAN_IPADDRESS};
    for (size_t k = 0; k < ARRAY_LEN(order); k++) {
        for (unsigned i = 0;; i++) {
            size_t n = NAME_MAX_ - 1;
            int type = gnutls_x509_crt_get_subject_alt_name(crt, i, out, &n, NULL);
            if (type == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
                break;
            if (type < 0 || (gnutls_x509_subject_alt_name_t)type != order[k])
                continue;
            if (order[k] == GNUTLS_SAN_IPADDRESS) {
                char text[INET6_ADDRSTRLEN];
                if ((n != 4 && n != 16) ||
                    inet_ntop(n == 4 ? AF_INET : AF_INET6, out, text, sizeof(text)) == NULL)
                    continue;
                n = strlen(text);
                memcpy(out, text, n);
            }
            if (n > 0 && str_utf8_valid(str_n(out, n)) && memchr(out, 0, n) == NULL) {
                *ret_n = n;
                return true;
            }
        }
    }
    return false;
}

static enum refusal identity_of(
    struct tenant *t, gnutls_x509_crt_t crt, struct identity **ret, struct err *err)
{
    char subject[NAME_MAX_], unit[NAME_MAX_];
    size_t n_subject;
    struct str groups[UNITS_MAX];
    size_t n_groups = 0;
    if (!subject_of(crt, subject, &n_subject)) {
        (void)ERR(err, EC_INVALID, "certificate names nobody");
        return R_NO_SAN;
    }
    for (unsigned i = 0; n_groups < UNITS_MAX; i++) {
        size_t n = sizeof(unit);
        int rc = gnutls_x509_crt_get_dn_by_oid(
            crt, GNUTLS_OID_X520_ORGANIZATIONAL_UNIT_NAME, i, 0, unit, &n);
        if (rc == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
            break;
        if (rc == 0 && n > 0 && str_utf8_valid(str_n(unit, n)))
            groups[n_groups++] = str_n(xstrndup(unit, n), n);
    }
    *ret = identity_new(t, str_n(subject, n_subject), groups, n_groups, NULL, STR(""));
    (*ret)->expires_s = gnutls_x509_crt_get_expiration_time(crt);
    for (size_t i = 0; i < n_groups; i++)
        free((void *)(uintptr_t)groups[i].p);
    return R_OK;
}

static enum refusal chain_check(
    struct tenant *t, gnutls_x509_crt_t *chain, unsigned n, struct identity **ret, struct err *err)
{
    unsigned status = 0;
    gnutls_typed_vdata_st purpose = {.type = GNUTLS_DT_KEY_PURPOSE_OID,
        .data = (unsigned char *)(uintptr_t)GNUTLS_KP_TLS_WWW_CLIENT,
        .size = sizeof(GNUTLS_KP_TLS_WWW_CLIENT) - 1};
    int rc = gnutls_x509_trust_list_verify_crt2(
        t->trust, chain, n, &purpose, 1, GNUTLS_VERIFY_ALLOW_UNSORTED_CHAIN, &status, NULL);
    if (rc == 0 && status == 0)
        return identity_of(t, chain[0], ret, err);
    (void)ERR(err, EC_UNAUTHENTICATED, "certificate check: status %#x", status);
    return (status & (GNUTLS_CERT_EXPIRED | GNUTLS_CERT_NOT_ACTIVATED)) != 0 ? R_OLD_CERT
                                                                             : R_BAD_CERT;
}

enum refusal mtls_check(struct tenant *t, const struct bytes *certs, size_t n,
    struct identity **ret_identity, struct err *err)
{
    gnutls_x509_crt_t chain[CHAIN_MAX];
    unsigned n_chain = 0;
    enum refusal r = R_BAD_CERT;
    bool ok = n <= CHAIN_MAX;
    for (size_t i = 0; ok && i < n; i++) {
        gnutls_datum_t der = {(unsigned char *)(uintptr_t)certs[i].p, (unsigned)certs[i].n};
        ok = gnutls_x509_crt_init(&chain[n_chain]) == 0;
        if (ok)
            ok = gnutls_x509_crt_import(chain[n_chain++], &der, GNUTLS_X509_FMT_DER) == 0;
    }
    if (ok && n_chain > 0)
        r = chain_check(t, chain, n_chain, ret_identity, err);
    else
        (void)ERR(err, EC_INVALID, "chain of %zu certificates cannot be read", n);
    for (unsigned i = 0; i < n_chain; i++)
        gnutls_x509_crt_deinit(chain[i]);
    return r;
}
