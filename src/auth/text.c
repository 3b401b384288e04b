/* SPDX-License-Identifier: Apache-2.0
 * See text.h. */
#include "text.h"

#include <gnutls/crypto.h>
#include <pthread.h>
#include <stdlib.h>

void base64url_put(struct buf *out, struct bytes in)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t acc = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < in.n; i++) {
        acc = acc << 8 | in.p[i];
        for (bits += 8; bits >= 6; bits -= 6)
            buf_putc(out, alphabet[acc >> (bits - 6) & 63]);
    }
    if (bits > 0)
        buf_putc(out, alphabet[acc << (6 - bits) & 63]);
}

bool cookie_find(struct str header, struct str name, struct str *ret_value)
{
    while (header.n > 0) {
        struct str value, pair = str_trim(str_cut(header, ';', &header));
        struct str key = str_cut(pair, '=', &value);
        if (!str_eq(str_trim(key), name) || key.n == pair.n)
            continue;
        value = str_trim(value);
        if (value.n >= 2 && value.p[0] == '"' && value.p[value.n - 1] == '"')
            value = str_n(value.p + 1, value.n - 2);
        *ret_value = value;
        return true;
    }
    return false;
}

void cookie_name_put(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
            (c != 0 && strchr("-._~!#$&'*+^`|", c) != NULL))
            buf_putc(out, c);
        else
            buf_printf(out, "%%%02X", (unsigned)(uint8_t)c);
    }
}

bool two_words(struct str line, struct str *ret_first, struct str *ret_second)
{
    struct str second, first = str_cut(line, ' ', &second);
    if (first.n == 0 || second.n == 0 || memchr(second.p, ' ', second.n) != NULL)
        return false;
    *ret_first = first;
    *ret_second = second;
    return true;
}

static bool is_visible(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~')
            return false;
    return true;
}

bool token_plausible(struct str token)
{
    return token.n > 0 && token.n <= TOKEN_BYTES_MAX && is_visible(token);
}

bool path_is_local(struct str path)
{
    return path.n > 0 && path.p[0] == '/' && (path.n == 1 || path.p[1] != '/') &&
           is_visible(path) && memchr(path.p, '\\', path.n) == NULL;
}

void json_put_str(struct buf *out, struct str s)
{
    buf_putc(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '"' || c == '\\') {
            buf_putc(out, '\\');
            buf_putc(out, c);
        } else if ((uint8_t)c < ' ') {
            buf_printf(out, "\\u%04x", (unsigned)c);
        } else {
            buf_putc(out, c);
        }
    }
    buf_putc(out, '"');
}

/* ---- hashes: one HMAC state per thread, so that nothing is allocated or shared ---- */

static pthread_once_t hash_once = PTHREAD_ONCE_INIT;
static pthread_key_t hash_cleanup;
static uint8_t hash_key[32];
static __thread gnutls_hmac_hd_t hash_state;

static void hash_thread_end(void *state)
{
    gnutls_hmac_deinit(state, NULL);
}

static void hash_start(void)
{
    random_bytes(hash_key, sizeof(hash_key));
    ASSERT(pthread_key_create(&hash_cleanup, hash_thread_end) == 0);
}

void keyed_hash(const struct bytes *parts, size_t n, struct digest *ret)
{
    if (UNLIKELY(hash_state == NULL)) {
        pthread_once(&hash_once, hash_start);
        ASSERT(gnutls_hmac_init(&hash_state, GNUTLS_MAC_SHA256, hash_key, sizeof(hash_key)) == 0);
        pthread_setspecific(hash_cleanup, hash_state);
    }
    for (size_t i = 0; i < n; i++) {
        uint8_t size[8]; /* so that no two lists of parts read the same */
        put_u64le(size, parts[i].n);
        ASSERT(gnutls_hmac(hash_state, size, sizeof(size)) == 0);
        ASSERT(gnutls_hmac(hash_state, parts[i].p, parts[i].n) == 0);
    }
    gnutls_hmac_output(hash_state, ret->b); /* and begins anew under the same key */
}

void random_bytes(void *p, size_t n)
{
    ASSERT(gnutls_rnd(GNUTLS_RND_KEY, p, n) == 0);
}

bool secret_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || gnutls_memcmp(a.p, b.p, a.n) == 0);
}
