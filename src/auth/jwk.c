/* SPDX-License-Identifier: Apache-2.0
 * See jwk.h. Symmetric keys are of no kind here, so a token "signed" with one never finds its
 * key. */
#include "jwk.h"

#include <stdlib.h>

#include "json.h"
#include "text.h"

#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 8192
#define FIELD_BYTES  (RSA_BITS_MAX / 8 + 8)
#define JWKS_VALUES  16384

static unsigned algs_of(enum jwk_kind kind)
{
    unsigned bits = 0;
#define X(name, bit, sign, k, half) \
    if (kind == (k))                \
        bits |= 1u << (bit);
    JWA_TABLE(X)
#undef X
    return bits;
}

/* A key whose "alg" is given verifies only that one. */
static unsigned algs_named(struct str alg)
{
#define X(name, bit, sign, kind, half) \
    if (str_eqz(alg, #name))           \
        return 1u << (bit);
    JWA_TABLE(X)
#undef X
    return 0;
}

static bool field(const json_t *jwk, const char *name, uint8_t *out, size_t *ret_n)
{
    struct str s;
    return json_text(jwk, name, &s) && s.n > 0 && s.n <= FIELD_BYTES * 4 / 3 &&
           base64url_decode(out, ret_n, s);
}

static gnutls_datum_t datum(uint8_t *p, size_t n)
{
    return (gnutls_datum_t){p, (unsigned)n};
}

static bool import_rsa(gnutls_pubkey_t key, const json_t *jwk)
{
    uint8_t m[FIELD_BYTES], e[FIELD_BYTES];
    size_t n_m, n_e;
    unsigned bits = 0;
    if (!field(jwk, "n", m, &n_m) || !field(jwk, "e", e, &n_e) || n_e > 8)
        return false;
    gnutls_datum_t md = datum(m, n_m), ed = datum(e, n_e);
    if (gnutls_pubkey_import_rsa_raw(key, &md, &ed) != 0)
        return false;
    return gnutls_pubkey_get_pk_algorithm(key, &bits) == GNUTLS_PK_RSA && bits >= RSA_BITS_MIN &&
           bits <= RSA_BITS_MAX;
}

static bool import_curve(gnutls_pubkey_t key, const json_t *jwk, enum jwk_kind *ret_kind)
{
    static const struct {
        const char *name;
        const char *type;
        enum jwk_kind kind;
        gnutls_ecc_curve_t curve;
        size_t size;
    } curves[] = {
        {"P-256", "EC", JWK_P256, GNUTLS_ECC_CURVE_SECP256R1, 32},
        {"P-384", "EC", JWK_P384, GNUTLS_ECC_CURVE_SECP384R1, 48},
        {"P-521", "EC", JWK_P521, GNUTLS_ECC_CURVE_SECP521R1, 66},
        {"Ed25519", "OKP", JWK_ED25519, GNUTLS_ECC_CURVE_ED25519, 32},
    };
    uint8_t x[FIELD_BYTES], y[FIELD_BYTES];
    size_t n_x, n_y = 0;
    struct str name, type;
    if (!json_text(jwk, "crv", &name) || !json_text(jwk, "kty", &type))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(curves); i++) {
        if (!str_eqz(name, curves[i].name) || !str_eqz(type, curves[i].type))
            continue;
        bool pair = curves[i].kind != JWK_ED25519;
        if (!field(jwk, "x", x, &n_x) || n_x != curves[i].size)
            return false;
        if (pair && (!field(jwk, "y", y, &n_y) || n_y != curves[i].size))
            return false;
        gnutls_datum_t xd = datum(x, n_x), yd = datum(y, n_y);
        *ret_kind = curves[i].kind;
        return gnutls_pubkey_import_ecc_raw(key, curves[i].curve, &xd, pair ? &yd : NULL) == 0;
    }
    return false;
}

/* False: not a key for signatures that we know. */
static bool jwk_read(const json_t *jwk, struct jwk *ret)
{
    struct str type, text;
    struct jwk k = {.kind = JWK_RSA};
    if (!json_is_object(jwk) || !json_text(jwk, "kty", &type))
        return false;
    if (json_text(jwk, "use", &text) && !str_eqz(text, "sig"))
        return false;
    if (gnutls_pubkey_init(&k.key) != 0)
        return false;
    bool ok = str_eqz(type, "RSA") ? import_rsa(k.key, jwk) : import_curve(k.key, jwk, &k.kind);
    /* Points off their curve and the like: import does not look. */
    if (ok && k.kind != JWK_ED25519)
        ok = gnutls_pubkey_verify_params(k.key) == 0;
    if (ok) {
        k.algs = algs_of(k.kind);
        if (json_text(jwk, "alg", &text))
            k.algs &= algs_named(text);
    }
    if (!ok || k.algs == 0) {
        gnutls_pubkey_deinit(k.key);
        return false;
    }
    if (json_text(jwk, "kid", &text)) {
        k.kid = xstrndup(text.p, text.n);
        k.kid_n = text.n;
    }
    *ret = k;
    return true;
}

static void jwks_destroy(struct cache_value *v)
{
    struct jwks *set = CONTAINER_OF(v, struct jwks, base);
    for (size_t i = 0; i < set->n; i++) {
        gnutls_pubkey_deinit(set->keys[i].key);
        free(set->keys[i].kid);
    }
    free(set);
}

enum ec jwks_parse(struct str text, struct jwks **ret, struct err *err)
{
    CLEANUP(json_wipep) json_t *root = NULL;
    if (text.n > JWKS_BYTES_MAX)
        return ERR(err, EC_INVALID, "key set of %zu bytes over %u", text.n, JWKS_BYTES_MAX);
    TRY(json_parse(text, JWKS_VALUES, &root, err));
    const json_t *keys = json_object_get(root, "keys");
    if (!json_is_array(keys))
        return ERR(err, EC_INVALID, "key set without an array of keys");
    size_t n_max = MIN(json_array_size(keys), JWKS_KEYS_MAX);
    struct jwks *set = xcalloc(1, sizeof(*set) + n_max * sizeof(set->keys[0]));
    cache_value_init(&set->base, sizeof(*set), jwks_destroy);
    for (size_t i = 0; i < n_max; i++)
        if (jwk_read(json_array_get(keys, i), &set->keys[set->n]))
            set->n++;
    *ret = set;
    return EC_OK;
}
