/* SPDX-License-Identifier: Apache-2.0
 * Public keys of an issuer (RFC 7517): what can be used to verify tokens, nothing else. */
#pragma once

#include <gnutls/abstract.h>

#include "base/err.h"
#include "cache.h"

/*  name     bit  signature algorithm of GnuTLS     kind of key, bytes of r and s (0: not ECDSA) */
#define JWA_TABLE(X)                                         \
    X(RS256, 0, GNUTLS_SIGN_RSA_SHA256, JWK_RSA, 0)          \
    X(RS384, 1, GNUTLS_SIGN_RSA_SHA384, JWK_RSA, 0)          \
    X(RS512, 2, GNUTLS_SIGN_RSA_SHA512, JWK_RSA, 0)          \
    X(PS256, 3, GNUTLS_SIGN_RSA_PSS_RSAE_SHA256, JWK_RSA, 0) \
    X(PS384, 4, GNUTLS_SIGN_RSA_PSS_RSAE_SHA384, JWK_RSA, 0) \
    X(PS512, 5, GNUTLS_SIGN_RSA_PSS_RSAE_SHA512, JWK_RSA, 0) \
    X(ES256, 6, GNUTLS_SIGN_ECDSA_SHA256, JWK_P256, 32)      \
    X(ES384, 7, GNUTLS_SIGN_ECDSA_SHA384, JWK_P384, 48)      \
    X(ES512, 8, GNUTLS_SIGN_ECDSA_SHA512, JWK_P521, 66)      \
    X(EdDSA, 9, GNUTLS_SIGN_EDDSA_ED25519, JWK_ED25519, 0)

enum jwk_kind { JWK_RSA, JWK_P256, JWK_P384, JWK_P521, JWK_ED25519 };

#define JWKS_BYTES_MAX (1u << 20)
#define JWKS_KEYS_MAX  256

struct jwk {
    char *kid; /* NULL: none */
    size_t kid_n;
    enum jwk_kind kind;
    unsigned algs; /* bits of JWA_TABLE that the key may verify */
    gnutls_pubkey_t key;
};

struct jwks { /* immutable, counted */
    struct cache_value base;
    size_t n;
    struct jwk keys[];
};

/* Keys that cannot be used (other uses, unknown kinds, weak or broken ones) are left out, so an
 * empty set is no error; EC_INVALID when the text is no key set at all. */
enum ec jwks_parse(struct str text, struct jwks **ret, struct err *err) MUST_USE;
