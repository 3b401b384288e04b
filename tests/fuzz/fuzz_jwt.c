/* SPDX-License-Identifier: Apache-2.0
 * Signed tokens. First byte 'J': header, payload and signature in plain, separated by NUL, which
 * the harness encodes; otherwise the rest is the token. The keys' private halves exist nowhere, so
 * no token may be found good. */
#include "base/bytes.h"
#include "src/auth/jwt.h"
#include "src/auth/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const char key_set[] = "{\"keys\":[{\"kid\":\"a\",\"kty\":\"EC\",\"crv\":\"P-256\","
                              "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
                              "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"},"
                              "{\"kid\":\"b\",\"kty\":\"OKP\",\"crv\":\"Ed25519\","
                              "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}";

static void check(struct str token, const struct jwks *keys)
{
    struct jwt t;
    const struct jwt_expect x = {
        .issuer = STR("i"), .audience = STR("c"), .algs = 0x3ff, .now_s = 1700000000};
    if (jwt_parse(token, &t, NULL) != EC_OK)
        return;
    ASSERT(t.signed_part.p == token.p && t.signed_part.n < token.n);
    ASSERT(token.p[t.signed_part.n] == '.');
    ASSERT(t.has_kid == (t.kid.n != 0));
    if (jwt_check(&t, &x, NULL) == EC_OK)
        ASSERT(jwa_bit(t.alg) != 0);
    ASSERT(jwt_verify(&t, keys) != JWT_GOOD);
    jwt_deinit(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct jwks *keys;
    if (keys == NULL) {
        if (jwks_parse(str_from(key_set), &keys, NULL) != EC_OK)
            return 0;
        ASSERT(keys->n == 2);
    }
    if (n == 0)
        return 0;
    if (data[0] != 'J') {
        check(str_n((const char *)data, n), keys);
        return 0;
    }
    struct buf token = BUF_INIT;
    struct str rest = str_n((const char *)data + 1, n - 1);
    for (int i = 0; i < 3; i++) {
        if (i > 0)
            buf_putc(&token, '.');
        base64url_put(&token, bytes_of_str(str_cut(rest, 0, &rest)));
    }
    check(buf_str(&token), keys);
    buf_deinit(&token);
    return 0;
}
