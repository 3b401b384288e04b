/* SPDX-License-Identifier: Apache-2.0
 * Text and number readers of the base layer, and zstd frames with a declared size. First byte:
 * which. What is accepted must come back the same when written again. */
#include <stdlib.h>

#include "base/bytes.h"
#include "base/compress.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void fuzz_varint(const uint8_t *p, const uint8_t *end)
{
    while (p < end) {
        uint64_t v, again;
        uint8_t out[10];
        const uint8_t *next = varint_get(p, end, &v);
        if (next == NULL)
            return;
        ASSERT(next > p && next <= end && next - p <= 10);
        size_t n = varint_put(out, v);
        ASSERT(n == varint_size(v));
        ASSERT(n <= (size_t)(next - p)); /* ours is the shortest form */
        ASSERT(varint_get(out, out + n, &again) == out + n);
        ASSERT(again == v);
        p = next;
    }
}

/* A second reading of RFC 3629: decode, then compare with the shortest length of the code point. */
static bool utf8_valid_slow(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t len = p[i] < 0x80 ? 1 : p[i] < 0xc0 ? 0 : p[i] < 0xe0 ? 2 : p[i] < 0xf0 ? 3 : 4;
        if (len == 0 || p[i] >= 0xf8 || len > n - i)
            return false;
        uint32_t cp = len == 1 ? p[i] : p[i] & (0xffu >> (len + 1));
        for (size_t k = 1; k < len; k++) {
            if ((p[i + k] & 0xc0) != 0x80)
                return false;
            cp = cp << 6 | (p[i + k] & 0x3f);
        }
        size_t shortest = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
        if (len != shortest || cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000))
            return false;
        i += len;
    }
    return true;
}

static void fuzz_base64(struct str s)
{
    size_t n, n_text, n_again;
    uint8_t *raw = malloc(s.n / 4 * 3 + 3);
    if (base64_decode(raw, &n, s)) {
        ASSERT(n <= s.n / 4 * 3 + 3);
        char *text = malloc(base64_size(n) + 1);
        uint8_t *again = malloc(base64_size(n) / 4 * 3 + 3);
        n_text = base64_encode(text, bytes_n(raw, n));
        ASSERT(n_text == base64_size(n));
        ASSERT(base64_decode(again, &n_again, str_n(text, n_text)));
        ASSERT(n_again == n && memcmp(again, raw, n) == 0);
        free(again);
        free(text);
    }
    free(raw);
}

static void fuzz_numbers(struct str s)
{
    uint64_t u;
    int64_t i;
    if (str_to_u64(s, &u) && u <= INT64_MAX) {
        ASSERT(str_to_i64(s, &i));
        ASSERT((uint64_t)i == u);
    }
    uint8_t raw[16];
    char text[32];
    if (hex_decode(raw, s, 16)) {
        hex_encode(text, raw, 16);
        ASSERT(str_ieq(str_n(text, 32), s));
    }
}

static void fuzz_zstd(const uint8_t *p, size_t n)
{
    if (n < 2)
        return;
    size_t raw_n = get_u16le(p);
    uint8_t *raw = malloc(raw_n + 1);
    struct err err = {0};
    enum ec ec = zstd_decompress(raw, raw_n, bytes_n(p + 2, n - 2), &err);
    ASSERT(ec == EC_OK || ec == EC_CORRUPT);
    free(raw);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0)
        return 0;
    const uint8_t *p = data + 1;
    struct str s = str_n((const char *)p, n - 1);
    switch (data[0] % 5) {
    case 0:
        fuzz_varint(p, p + s.n);
        break;
    case 1:
        ASSERT(str_utf8_valid(s) == utf8_valid_slow(p, s.n));
        break;
    case 2:
        fuzz_base64(s);
        break;
    case 3:
        fuzz_numbers(s);
        break;
    default:
        fuzz_zstd(p, s.n);
    }
    return 0;
}
