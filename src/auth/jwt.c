/* SPDX-License-Identifier: Apache-2.0
 * See jwt.h. */
#include "jwt.h"

#include <gnutls/crypto.h>
#include <stdlib.h>

#include "json.h"
#include "text.h"

#define VALUES_MAX 4096
#define TRIES_MAX  16 /* keys tried for a token that names none */

struct jwa {
    const char *name;
    unsigned bit;
    gnutls_sign_algorithm_t sign;
    enum jwk_kind kind;
    unsigned half; /* bytes of r and of s */
};

static const struct jwa algorithms[] = {
#define X(name, bit, sign, kind, half) {#name, 1u << (bit), sign, kind, half},
    JWA_TABLE(X)
#undef X
};

static const struct jwa *jwa_find(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(algorithms); i++)
        if (str_eqz(name, algorithms[i].name))
            return &algorithms[i];
    return NULL;
}

unsigned jwa_bit(struct str name)
{
    const struct jwa *a = jwa_find(name);
    return a == NULL ? 0 : a->bit;
}

/* ---- parsing ---- */

static enum ec decode_object(struct str part, const char *what, json_t **ret, struct err *err)
{
    size_t n;
    uint8_t *text = xmalloc(part.n + 1);
    enum ec ec = EC_OK;
    if (!base64url_decode(text, &n, part))
        ec = ERR(err, EC_INVALID, "%s of the token is not base64url", what);
    else if (!str_utf8_valid(str_n((const char *)text, n)))
        ec = ERR(err, EC_INVALID, "%s of the token is not UTF-8", what);
    else if ((ec = json_parse(str_n((const char *)text, n), VALUES_MAX, ret, err)) != EC_OK)
        err_prefix(err, "%s of the token", what);
    explicit_bzero(text, part.n + 1);
    free(text);
    return ec;
}

static enum ec parse_parts(struct str token, struct jwt *t, struct err *err)
{
    struct str rest, body, signature, head = str_cut(token, '.', &rest);
    body = str_cut(rest, '.', &signature);
    if (head.n == 0 || body.n == 0 || memchr(token.p, '.', token.n) == NULL ||
        memchr(rest.p, '.', rest.n) == NULL ||
        (signature.n != 0 && memchr(signature.p, '.', signature.n) != NULL))
        return ERR(err, EC_INVALID, "token is not of three parts");
    t->signed_part = str_n(token.p, head.n + 1 + body.n);
    TRY(decode_object(head, "header", &t->header, err));
    TRY(decode_object(body, "payload", &t->claims, err));
    t->signature = xmalloc(signature.n + 1);
    if (!base64url_decode(t->signature, &t->n_signature, signature))
        return ERR(err, EC_INVALID, "signature of the token is not base64url");
    if (!json_text(t->header, "alg", &t->alg))
        return ERR(err, EC_INVALID, "token without an algorithm");
    if (json_object_get(t->header, "crit") != NULL)
        return ERR(err, EC_INVALID, "token with critical extensions");
    const json_t *kid = json_object_get(t->header, "kid");
    t->has_kid = json_text(t->header, "kid", &t->kid) && t->kid.n != 0;
    if (kid != NULL && !json_is_string(kid))
        return ERR(err, EC_INVALID, "token whose kid is not a text");
    return EC_OK;
}

enum ec jwt_parse(struct str token, struct jwt *ret, struct err *err)
{
    struct jwt t = {0};
    if (token.n == 0 || token.n > JWT_BYTES_MAX)
        return ERR(err, EC_INVALID, "token of %zu bytes", token.n);
    enum ec ec = parse_parts(token, &t, err);
    if (ec != EC_OK) {
        jwt_deinit(&t);
        return ec;
    }
    *ret = t;
    return EC_OK;
}

void jwt_deinit(struct jwt *t)
{
    json_wipe(t->header);
    json_wipe(t->claims);
    free(t->signature);
    *t = (struct jwt){0};
}

/* ---- claims ---- */

static bool names_audience(const json_t *aud, struct str wanted)
{
    size_t i;
    const json_t *item;
    if (json_is_string(aud))
        return str_eq(str_n(json_string_value(aud), json_string_length(aud)), wanted);
    if (!json_is_array(aud))
        return false;
    json_array_foreach(
        aud, i, item) if (json_is_string(item) &&
                          str_eq(str_n(json_string_value(item), json_string_length(item)),
                              wanted)) return true;
    return false;
}

enum ec jwt_check(const struct jwt *t, const struct jwt_expect *x, struct err *err)
{
    struct str issuer;
    int64_t exp, nbf;
    if (!json_text(t->claims, "iss", &issuer) || !str_eq(issuer, x->issuer))
        return ERR(err, EC_UNAUTHENTICATED, "token of another issuer");
    if (x->audience.n == 0 || !names_audience(json_object_get(t->claims, "aud"), x->audience))
        return ERR(err, EC_UNAUTHENTICATED, "token for another audience");
    if (!json_seconds(t->claims, "exp", &exp) || exp <= x->now_s)
        return ERR(err, EC_UNAUTHENTICATED, "token has expired");
    if (json_object_get(t->claims, "nbf") != NULL &&
        (!json_seconds(t->claims, "nbf", &nbf) || nbf > x->now_s + JWT_NOT_BEFORE_SKEW))
        return ERR(err, EC_UNAUTHENTICATED, "token is not valid yet");
    if ((jwa_bit(t->alg) & x->algs) == 0)
        return ERR(err, EC_UNAUTHENTICATED, "algorithm of the token is not allowed");
    return EC_OK;
}

/* ---- signature ---- */

static bool verify_with(const struct jwt *t, const struct jwa *alg, const struct jwk *k)
{
    gnutls_datum_t data = {
        (unsigned char *)(uintptr_t)t->signed_part.p, (unsigned)t->signed_part.n};
    gnutls_datum_t sig = {t->signature, (unsigned)t->n_signature}, der = {NULL, 0};
    if (alg->half != 0) {
        if (t->n_signature != 2 * (size_t)alg->half)
            return false;
        gnutls_datum_t r = {t->signature, alg->half}, s = {t->signature + alg->half, alg->half};
        if (gnutls_encode_rs_value(&der, &r, &s) != 0)
            return false;
        sig = der;
    }
    bool ok = gnutls_pubkey_verify_data2(k->key, alg->sign, 0, &data, &sig) >= 0;
    gnutls_free(der.data);
    return ok;
}

enum jwt_verdict jwt_verify(const struct jwt *t, const struct jwks *keys)
{
    const struct jwa *alg = jwa_find(t->alg);
    unsigned tries = 0;
    bool named = false;
    if (alg == NULL)
        return JWT_BAD;
    for (size_t i = 0; i < keys->n && tries < TRIES_MAX; i++) {
        const struct jwk *k = &keys->keys[i];
        if (t->has_kid && (k->kid == NULL || !str_eq(str_n(k->kid, k->kid_n), t->kid)))
            continue;
        named = true;
        if (k->kind != alg->kind || (k->algs & alg->bit) == 0)
            continue;
        tries++;
        if (verify_with(t, alg, k))
            return JWT_GOOD;
    }
    return t->has_kid && !named ? JWT_NO_KEY : JWT_BAD_SIG;
}
