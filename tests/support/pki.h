/* SPDX-License-Identifier: Apache-2.0
 * Certificates made on the spot, for tests of TLS and of client certificates. */
#pragma once

#include <gnutls/x509.h>

#include "unit.h"

struct pki_id {
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t crt;
    char *cert_pem, *key_pem;
    struct bytes der; /* of the certificate; freed with the rest */
};

struct pki_request {
    const char *name;
    const struct pki_id *by;            /* NULL: self-signed */
    bool ca, client;                    /* client: for client authentication, not for servers */
    const char *email, *uri, *dns, *ip; /* alternative names; NULL: none */
    const char *units[3];               /* organizational units */
    int days;                           /* validity from now; 0: 1; negative: expired */
};

struct pki_id pki_make(const struct pki_request *rq);
void pki_free(struct pki_id *id);
