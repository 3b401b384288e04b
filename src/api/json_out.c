/* SPDX-License-Identifier: Apache-2.0
 * The JSON writer. */
#include "json_out.h"

#include <math.h>

#include "api/api.h"
#include "query/format.h"

/* Bytes that go out as they are; the rest take the slow way. */
static bool plain(uint8_t c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&' &&
           c != 0x7f;
}

/* Length of the valid UTF-8 sequence at p, 0 when there is none. */
static size_t utf8_len(const char *p, size_t n)
{
    uint8_t c = (uint8_t)p[0];
    size_t len = c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
    return len != 0 && len <= n && str_utf8_valid(str_n(p, len)) ? len : 0;
}

static size_t put_special(struct buf *b, const char *p, size_t n)
{
    uint8_t c = (uint8_t)p[0];
    switch (c) {
    case '"':
        buf_putz(b, "\\\"");
        return 1;
    case '\\':
        buf_putz(b, "\\\\");
        return 1;
    case '\n':
        buf_putz(b, "\\n");
        return 1;
    case '\r':
        buf_putz(b, "\\r");
        return 1;
    case '\t':
        buf_putz(b, "\\t");
        return 1;
    case '\b':
        buf_putz(b, "\\b");
        return 1;
    case '\f':
        buf_putz(b, "\\f");
        return 1;
    case 0x7f:
        buf_putc(b, 0x7f);
        return 1;
    default:
        break;
    }
    if (c < 0x80) {
        buf_printf(b, "\\u%04x", c);
        return 1;
    }
    size_t len = utf8_len(p, n);
    if (len == 0) {
        buf_putz(b, "\xef\xbf\xbd");
        return 1;
    }
    if (len == 3 && memcmp(p, "\xe2\x80\xa8", 3) == 0)
        buf_putz(b, "\\u2028");
    else if (len == 3 && memcmp(p, "\xe2\x80\xa9", 3) == 0)
        buf_putz(b, "\\u2029");
    else
        buf_put(b, p, len);
    return len;
}

/* Some byte of x is c, which all bytes of `all` are: exact where no byte of x is above 0x7f. */
static uint64_t has_byte(uint64_t x, uint64_t all)
{
    x ^= all;
    return x - 0x0101010101010101u;
}

/* Eight bytes are plain. Never wrongly yes: a byte from 0x80 on is refused by itself, and among
 * others the highest bit of a difference says that it went below zero. */
static bool plain_word(uint64_t x)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t low = x - ones * 0x20, high = x + ones;
    uint64_t bad = has_byte(x, ones * '"') | has_byte(x, ones * '\\') | has_byte(x, ones * '<') |
                   has_byte(x, ones * '>') | has_byte(x, ones * '&');
    return ((x | low | high | bad) & ones * 0x80) == 0;
}

bool json_plain(struct str s)
{
    uint64_t w = 0x6161616161616161u;
    size_t i = 0;
    for (; s.n - i >= sizeof(w); i += sizeof(w)) {
        memcpy(&w, s.p + i, sizeof(w));
        if (!plain_word(w))
            return false;
    }
    if (i == s.n)
        return true;
    w = 0x6161616161616161u;
    memcpy(&w, s.p + i, s.n - i);
    return plain_word(w);
}

void json_str(struct buf *b, struct str s)
{
    if (json_plain(s) && buf_reserve(b, s.n + 2)) {
        uint8_t *p = b->p + b->n;
        *p++ = '"';
        if (s.n != 0)
            memcpy(p, s.p, s.n);
        p[s.n] = '"';
        b->n += s.n + 2;
        return;
    }
    buf_putc(b, '"');
    for (size_t i = 0; i < s.n;) {
        size_t from = i;
        while (i < s.n && plain((uint8_t)s.p[i]))
            i++;
        buf_put(b, s.p + from, i - from);
        if (i < s.n)
            i += put_special(b, s.p + i, s.n - i);
    }
    buf_putc(b, '"');
}

/* Digits of v before text[at]; returns where they begin. */
static size_t digits(char *text, size_t at, uint64_t v)
{
    static const char pairs[201] = "0001020304050607080910111213141516171819"
                                   "2021222324252627282930313233343536373839"
                                   "4041424344454647484950515253545556575859"
                                   "6061626364656667686970717273747576777879"
                                   "8081828384858687888990919293949596979899";
    while (v >= 100) {
        at -= 2;
        memcpy(text + at, pairs + 2 * (v % 100), 2);
        v /= 100;
    }
    if (v >= 10) {
        at -= 2;
        memcpy(text + at, pairs + 2 * v, 2);
        return at;
    }
    text[--at] = (char)('0' + v);
    return at;
}

void json_u64(struct buf *b, uint64_t v)
{
    char text[24];
    size_t at = digits(text, sizeof(text), v);
    buf_put(b, text + at, sizeof(text) - at);
}

void json_u64_str(struct buf *b, uint64_t v)
{
    char text[24];
    text[sizeof(text) - 1] = '"';
    size_t at = digits(text, sizeof(text) - 1, v);
    text[--at] = '"';
    buf_put(b, text + at, sizeof(text) - at);
}

void json_i64_str(struct buf *b, int64_t v)
{
    if (v >= 0) {
        json_u64_str(b, (uint64_t)v);
        return;
    }
    buf_printf(b, "\"%lld\"", (long long)v);
}

void json_double(struct buf *b, double v)
{
    char text[FORMAT_FLOAT_MAX];
    if (isnan(v))
        buf_putz(b, "\"NaN\"");
    else if (isinf(v))
        buf_putz(b, v > 0 ? "\"Infinity\"" : "\"-Infinity\"");
    else if (v > 0 && v < 1e15 && v == (double)(uint64_t)v) { /* counts: without a point */
        size_t at = digits(text, sizeof(text), (uint64_t)v);
        buf_put(b, text + at, sizeof(text) - at);
    } else {
        buf_put(b, text, format_float_json(text, v));
    }
}

void json_base64(struct buf *b, const void *p, size_t n)
{
    buf_putc(b, '"');
    if (buf_reserve(b, base64_size(n)))
        b->n += base64_encode((char *)b->p + b->n, bytes_n(p, n));
    buf_putc(b, '"');
}

void json_hex(struct buf *b, const void *p, size_t n)
{
    buf_putc(b, '"');
    if (buf_reserve(b, 2 * n)) {
        hex_encode((char *)b->p + b->n, p, n);
        b->n += 2 * n;
    }
    buf_putc(b, '"');
}

static void json_list(struct buf *b, const struct value *v)
{
    const char *cursor = NULL;
    bool first = true;
    buf_putz(b, "{");
    if (v->type == VALUE_ARRAY) {
        for (struct value e; value_array_next(v->s, &cursor, &e); first = false) {
            buf_putz(b, first ? "\"values\":[" : ",");
            json_any_value(b, &e);
        }
    } else {
        for (struct attr e; value_kvlist_next(v->s, &cursor, &e); first = false) {
            buf_putz(b, first ? "\"values\":[" : ",");
            json_key_value(b, e.key, &e.value);
        }
    }
    buf_putz(b, first ? "}" : "]}");
}

void json_any_value(struct buf *b, const struct value *v)
{
    switch (v->type) {
    case VALUE_STR:
        buf_putz(b, "{\"stringValue\":");
        json_str(b, v->s);
        break;
    case VALUE_INT:
        buf_putz(b, "{\"intValue\":");
        json_i64_str(b, v->i);
        break;
    case VALUE_DOUBLE:
        buf_putz(b, "{\"doubleValue\":");
        json_double(b, v->d);
        break;
    case VALUE_BOOL:
        buf_putz(b, v->b ? "{\"boolValue\":true" : "{\"boolValue\":false");
        break;
    case VALUE_BYTES:
        buf_putz(b, "{\"bytesValue\":");
        json_base64(b, v->s.p, v->s.n);
        break;
    case VALUE_ARRAY:
        buf_putz(b, "{\"arrayValue\":");
        json_list(b, v);
        break;
    case VALUE_KVLIST:
        buf_putz(b, "{\"kvlistValue\":");
        json_list(b, v);
        break;
    default:
        buf_putc(b, '{');
        break;
    }
    buf_putc(b, '}');
}

void json_key_value(struct buf *b, struct str key, const struct value *v)
{
    buf_putz(b, "{");
    if (key.n != 0) {
        buf_putz(b, "\"key\":");
        json_str(b, key);
        buf_putc(b, ',');
    }
    buf_putz(b, "\"value\":");
    json_any_value(b, v);
    buf_putc(b, '}');
}

void json_native(struct buf *b, const struct value *v)
{
    const char *cursor = NULL;
    bool first = true;
    switch (v->type) {
    case VALUE_STR:
        json_str(b, v->s);
        break;
    case VALUE_INT:
        if (v->i >= 0)
            json_u64(b, (uint64_t)v->i);
        else
            buf_printf(b, "%lld", (long long)v->i);
        break;
    case VALUE_DOUBLE:
        json_double(b, v->d);
        break;
    case VALUE_BOOL:
        buf_putz(b, v->b ? "true" : "false");
        break;
    case VALUE_BYTES:
        json_hex(b, v->s.p, v->s.n);
        break;
    case VALUE_ARRAY:
        buf_putc(b, '[');
        for (struct value e; value_array_next(v->s, &cursor, &e); first = false) {
            if (!first)
                buf_putc(b, ',');
            json_native(b, &e);
        }
        buf_putc(b, ']');
        break;
    case VALUE_KVLIST:
        buf_putc(b, '{');
        for (struct attr e; value_kvlist_next(v->s, &cursor, &e); first = false) {
            if (!first)
                buf_putc(b, ',');
            json_str(b, e.key);
            buf_putc(b, ':');
            json_native(b, &e.value);
        }
        buf_putc(b, '}');
        break;
    default:
        buf_putz(b, "null");
        break;
    }
}

void api_put_json_str(struct buf *out, struct str s)
{
    json_str(out, s);
}
