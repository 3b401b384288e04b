/* SPDX-License-Identifier: Apache-2.0
 * Small text and crypto helpers of the layer: base64url, cookies, tokens, JSON strings, hashes,
 * randomness. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

/* RFC 4648 section 5 without padding; non-zero trailing bits are refused. out needs in.n * 3 /
 * 4. */
bool base64url_decode(uint8_t *out, size_t *ret_n, struct str in) MUST_USE;
void base64url_put(struct buf *out, struct bytes in);

/* "name=value" of a Cookie header; false when absent. Surrounding quotes are cut. */
bool cookie_find(struct str header, struct str name, struct str *ret_value) MUST_USE;
/* A name that a cookie can have: what is not a token character becomes %XX. */
void cookie_name_put(struct buf *out, struct str s);

/* Exactly two words, one blank between them. */
bool two_words(struct str line, struct str *ret_first, struct str *ret_second) MUST_USE;
/* What may be sent on as a bearer token: visible ASCII, at most TOKEN_BYTES_MAX, not empty. */
#define TOKEN_BYTES_MAX (16u << 10)
bool token_plausible(struct str token) MUST_USE;
/* A path of ours to send a browser to: "/x", not "//x"; visible ASCII without backslash. */
bool path_is_local(struct str path) MUST_USE;

/* A quoted, escaped JSON string. The text must be valid UTF-8. */
void json_put_str(struct buf *out, struct str s);

#define DIGEST_BYTES 32
struct digest {
    uint8_t b[DIGEST_BYTES];
};
/* HMAC-SHA256 under a key made at random when the process starts: names a secret without being it.
 * No allocation after the first call of a thread. */
void keyed_hash(const struct bytes *parts, size_t n, struct digest *ret);
void random_bytes(void *p, size_t n);
bool secret_eq(struct str a, struct str b); /* in time that depends on the lengths only */
