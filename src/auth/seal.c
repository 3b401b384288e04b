/* SPDX-License-Identifier: Apache-2.0
 * Cookies that only we can read and write: AES-256-GCM under keys derived per tenant and purpose,
 * so that a cookie of one tenant is noise to another.
 *
 *     base64url( 0x01 | nonce 12 | ciphertext | tag 16 )
 *     session:  u64le expiry (Unix s) | varint n, subject | varint n, token | varint count, (n,
 *     group)*
 */
#include <gnutls/crypto.h>
#include <stdlib.h>

#include "auth_int.h"

#define VERSION    1
#define NONCE      12
#define TAG        16
#define SEALED_MAX (16u << 10) /* characters */
#define GROUPS_MAX 1024

static void derive(
    struct str secret, const char *purpose, const char *tenant, uint8_t ret[AUTH_SECRET_BYTES])
{
    uint8_t prk[32];
    struct buf info = BUF_INIT;
    gnutls_datum_t ikm = {(unsigned char *)(uintptr_t)secret.p, (unsigned)secret.n};
    gnutls_datum_t salt = {NULL, 0}, key = {prk, sizeof(prk)};
    buf_printf(&info, "vivace gateway %s 1:%s", purpose, tenant);
    gnutls_datum_t text = {info.p, (unsigned)info.n};
    ASSERT(gnutls_hkdf_extract(GNUTLS_MAC_SHA256, &ikm, &salt, prk) == 0);
    ASSERT(gnutls_hkdf_expand(GNUTLS_MAC_SHA256, &key, &text, ret, AUTH_SECRET_BYTES) == 0);
    explicit_bzero(prk, sizeof(prk));
    buf_deinit(&info);
}

void secrets_derive(struct tenant *t, struct str cookie_secret)
{
    uint8_t random[32]; /* without a secret of the operator's: logins end with the process */
    struct str secret = cookie_secret;
    if (secret.n == 0) {
        random_bytes(random, sizeof(random));
        secret = str_n((const char *)random, sizeof(random));
    }
    derive(secret, "session", t->name, t->session_key);
    derive(secret, "login state", t->name, t->state_key);
    explicit_bzero(random, sizeof(random));
}

static gnutls_aead_cipher_hd_t cipher_of(const uint8_t *key)
{
    gnutls_aead_cipher_hd_t h;
    gnutls_datum_t k = {(unsigned char *)(uintptr_t)key, AUTH_SECRET_BYTES};
    ASSERT(gnutls_aead_cipher_init(&h, GNUTLS_CIPHER_AES_256_GCM, &k) == 0);
    return h;
}

void seal(const uint8_t *key, struct bytes plain, struct buf *out)
{
    size_t n = plain.n + TAG;
    uint8_t *box = xmalloc(1 + NONCE + n);
    gnutls_aead_cipher_hd_t h = cipher_of(key);
    box[0] = VERSION;
    random_bytes(box + 1, NONCE);
    ASSERT(gnutls_aead_cipher_encrypt(
               h, box + 1, NONCE, box, 1, TAG, plain.p, plain.n, box + 1 + NONCE, &n) == 0);
    gnutls_aead_cipher_deinit(h);
    base64url_put(out, bytes_n(box, 1 + NONCE + n));
    free(box);
}

bool unseal(const uint8_t *key, struct str text, struct buf *ret_plain)
{
    size_t n;
    if (text.n > SEALED_MAX)
        return false;
    uint8_t *box = xmalloc(text.n + 1);
    bool ok = base64url_decode(box, &n, text) && n >= 1 + NONCE + TAG && box[0] == VERSION &&
              buf_reserve(ret_plain, n);
    if (ok) {
        size_t n_plain = n - 1 - NONCE;
        gnutls_aead_cipher_hd_t h = cipher_of(key);
        ok = gnutls_aead_cipher_decrypt(h, box + 1, NONCE, box, 1, TAG, box + 1 + NONCE,
                 n - 1 - NONCE, ret_plain->p, &n_plain) == 0;
        gnutls_aead_cipher_deinit(h);
        ret_plain->n = ok ? n_plain : 0;
    }
    free(box);
    return ok;
}

/* ---- sessions ---- */

static void put_text(struct buf *out, struct str s)
{
    buf_put_varint(out, s.n);
    buf_puts(out, s);
}

void session_put(const struct session *s, struct buf *out)
{
    buf_put_u64le(out, (uint64_t)s->expires_s);
    put_text(out, s->subject);
    put_text(out, s->token);
    buf_put_varint(out, s->n_groups);
    for (size_t i = 0; i < s->n_groups; i++)
        put_text(out, s->groups[i]);
}

static const uint8_t *get_text(const uint8_t *p, const uint8_t *end, struct str *ret)
{
    uint64_t n;
    p = varint_get(p, end, &n);
    if (p == NULL || n > (uint64_t)(end - p))
        return NULL;
    *ret = str_n((const char *)p, (size_t)n);
    return p + n;
}

/* Only we write these, but a bug of an older version must not become one of memory. */
static bool session_read(struct bytes plain, struct str *groups, struct session *ret)
{
    const uint8_t *p = plain.p, *end = plain.p + plain.n;
    struct session s = {.groups = groups};
    uint64_t n;
    if (plain.n < 8)
        return false;
    s.expires_s = (int64_t)get_u64le(p);
    p = get_text(p + 8, end, &s.subject);
    p = p == NULL ? NULL : get_text(p, end, &s.token);
    p = p == NULL ? NULL : varint_get(p, end, &n);
    if (p == NULL || n > GROUPS_MAX)
        return false;
    while (s.n_groups < n) {
        p = get_text(p, end, &groups[s.n_groups++]);
        if (p == NULL)
            return false;
    }
    *ret = s;
    return p == end;
}

struct identity *session_open(const struct tenant *t, struct str cookie, int64_t now_s)
{
    struct buf plain = BUF_INIT;
    struct identity *i = NULL;
    struct session s;
    if (unseal(t->session_key, cookie, &plain)) {
        struct str *groups = xcalloc(GROUPS_MAX, sizeof(*groups));
        if (session_read(buf_bytes(&plain), groups, &s) && s.expires_s > now_s) {
            i = identity_new(t, s.subject, s.groups, s.n_groups, NULL, s.token);
            i->expires_s = s.expires_s;
        }
        free(groups);
    }
    http_wipe_buf(&plain);
    return i;
}
