/* SPDX-License-Identifier: Apache-2.0
 * The client's certificate: read once after the handshake, shown to every request of the
 * connection. */
#include <gnutls/x509.h>
#include <stdlib.h>

#include "tls.h"

struct tls_peer {
    char *subject; /* only of a verified certificate */
    unsigned n;
    struct bytes certs[TLS_CHAIN_MAX]; /* after the struct */
};

static char *subject_of(const gnutls_datum_t *raw)
{
    gnutls_x509_crt_t crt;
    char text[256];
    size_t size = sizeof(text);
    if (gnutls_x509_crt_init(&crt) < 0)
        return NULL;
    int rc = gnutls_x509_crt_import(crt, raw, GNUTLS_X509_FMT_DER);
    if (rc == 0)
        rc = gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, 0, text, &size);
    gnutls_x509_crt_deinit(crt);
    return rc == 0 ? xstrndup(text, size) : NULL;
}

struct tls_peer *tls_peer_new(struct tls_context *t, gnutls_session_t s)
{
    unsigned n = 0;
    size_t total = 0;
    const gnutls_datum_t *raw = gnutls_certificate_get_peers(s, &n);
    if (raw == NULL || n == 0 || n > TLS_CHAIN_MAX)
        return NULL;
    for (unsigned i = 0; i < n; i++)
        total += raw[i].size;
    struct tls_peer *p = xcalloc(1, sizeof(*p) + total); /* bounded by GnuTLS's handshake limit */
    uint8_t *at = (uint8_t *)(p + 1);
    for (unsigned i = 0; i < n; i++) {
        memcpy(at, raw[i].data, raw[i].size);
        p->certs[i] = bytes_n(at, raw[i].size);
        at += raw[i].size;
    }
    p->n = n;
    if (tls_verifies(t))
        p->subject = subject_of(&raw[0]);
    return p;
}

void tls_peer_free(struct tls_peer *p)
{
    if (p == NULL)
        return;
    free(p->subject);
    free(p);
}

void tls_peer_show(const struct tls_peer *p, struct exchange *ex)
{
    if (p == NULL)
        return;
    if (p->subject != NULL)
        ex->req.client_cert_subject = arena_str(&ex->arena, str_from(p->subject));
    struct bytes *certs = ARENA_ARRAY(&ex->arena, p->n, struct bytes);
    for (unsigned i = 0; certs != NULL && i < p->n; i++) {
        /* Copied: the connection may go before the answer. A chain that is cut for lack of memory
         * does not verify. */
        struct str copy = arena_str(&ex->arena, str_of_bytes(p->certs[i]));
        if (copy.p == NULL)
            return;
        certs[i] = bytes_of_str(copy);
        ex->req.client_certs = certs;
        ex->req.n_client_certs = i + 1;
    }
}
