/* SPDX-License-Identifier: Apache-2.0
 * Signed tokens (RFC 7519 in the compact form of RFC 7515), as an OIDC relying party reads them.
 *
 * Only asymmetric signatures exist here: `none`, HS* and critical extensions are refused. */
#pragma once

#include <jansson.h>

#include "jwk.h"

#define JWT_BYTES_MAX       (16u << 10)
#define JWT_NOT_BEFORE_SKEW (5 * 60) /* seconds that nbf may lie ahead */

struct jwt {
    struct str signed_part; /* views into the token */
    struct str alg, kid;    /* views into `header` */
    bool has_kid;
    json_t *header, *claims;
    uint8_t *signature;
    size_t n_signature;
};

struct jwt_expect {
    struct str issuer, audience;
    unsigned algs; /* bits of JWA_TABLE */
    int64_t now_s; /* wall clock */
};

enum jwt_verdict {
    JWT_GOOD,
    JWT_BAD,     /* no other key can help */
    JWT_NO_KEY,  /* no key of that name */
    JWT_BAD_SIG, /* keys there are, but none fits: they may have been replaced */
};

/* The token must outlive *ret; jwt_deinit after success. EC_INVALID says what is wrong, not what it
 * held. */
enum ec jwt_parse(struct str token, struct jwt *ret, struct err *err) MUST_USE;
void jwt_deinit(struct jwt *t); /* wipes; safe on zeroed */
/* iss, aud, exp, nbf, alg, in this order; EC_UNAUTHENTICATED. */
enum ec jwt_check(const struct jwt *t, const struct jwt_expect *x, struct err *err) MUST_USE;
/* The signature, by the keys of that kid, or by all when the token names none. */
enum jwt_verdict jwt_verify(const struct jwt *t, const struct jwks *keys) MUST_USE;
/* "RS256" -> its bit; 0 when it is none of ours. */
unsigned jwa_bit(struct str name);
