/* SPDX-License-Identifier: Apache-2.0
 * The JSON pull reader. */
#include "json_read.h"

void json_reader_init(struct json_reader *r, struct bytes text, struct budget *budget)
{
    const char *p = text.n == 0 ? "" : (const char *)text.p;
    *r = (struct json_reader){.base = p, .p = p, .end = p + text.n};
    buf_init(&r->text, budget);
}

void json_reader_deinit(struct json_reader *r)
{
    buf_deinit(&r->text);
}

void json_fail_set(struct json_reader *r, const char *what)
{
    if (r->what == NULL) {
        r->what = what;
        r->at = r->p;
    }
}

char json_peek(struct json_reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\r' || *r->p == '\t'))
        r->p++;
    return r->p < r->end ? *r->p : 0;
}

static bool json_word(struct json_reader *r, const char *word, size_t n)
{
    if ((size_t)(r->end - r->p) < n || memcmp(r->p, word, n) != 0)
        return false;
    r->p += n;
    return true;
}

bool json_null(struct json_reader *r)
{
    return json_peek(r) == 'n' && json_word(r, "null", 4);
}

bool json_bool(struct json_reader *r, bool *ret)
{
    char c = json_peek(r);
    if ((c == 't' && json_word(r, "true", 4)) || (c == 'f' && json_word(r, "false", 5))) {
        *ret = c == 't';
        return true;
    }
    return json_fail(r, "true or false expected");
}

static bool json_digits(struct json_reader *r)
{
    const char *start = r->p;
    while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
        r->p++;
    return r->p > start;
}

bool json_number(struct json_reader *r, struct json_number *ret)
{
    char c = json_peek(r);
    const char *start = r->p;
    struct json_number num = {.integer = true};

    if (c == '-')
        r->p++;
    if (r->p < r->end && *r->p == '0')
        r->p++;
    else if (!json_digits(r))
        return json_fail(r, "number expected");
    if (r->p < r->end && *r->p == '.') {
        num.integer = false;
        r->p++;
        if (!json_digits(r))
            return json_fail(r, "digits expected after the point");
    }
    if (r->p < r->end && (*r->p == 'e' || *r->p == 'E')) {
        num.integer = false;
        r->p++;
        if (r->p < r->end && (*r->p == '+' || *r->p == '-'))
            r->p++;
        if (!json_digits(r))
            return json_fail(r, "digits expected in the exponent");
    }
    if (r->p < r->end && *r->p >= '0' && *r->p <= '9')
        return json_fail(r, "number with a leading zero");
    num.text = str_n(start, (size_t)(r->p - start));
    if (num.text.n > JSON_NUMBER_BYTES)
        return json_fail(r, "number too long");
    *ret = num;
    return true;
}

/* Four hex digits at r->p. */
static bool json_hex4(struct json_reader *r, uint32_t *ret)
{
    uint8_t b[2];
    if (r->end - r->p < 4 || !hex_decode(b, str_n(r->p, 4), 2))
        return json_fail(r, "four hex digits expected after \\u");
    r->p += 4;
    *ret = (uint32_t)b[0] << 8 | b[1];
    return true;
}

static void json_put_utf8(struct buf *b, uint32_t c)
{
    char u[4];
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

    for (size_t i = n - 1; i > 0; i--) {
        u[i] = (char)(0x80 | (c & 0x3f));
        c >>= 6;
    }
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    u[0] = (char)(lead[n] | c);
    buf_put(b, u, n);
}

/* After "\u": a code point, from one escape or from a surrogate pair. Half a pair becomes U+FFFD,
 * as Go's decoders have it, and what follows it stands for itself. */
static bool json_unicode(struct json_reader *r)
{
    uint32_t c, low;

    if (!json_hex4(r, &c))
        return false;
    if (c >= 0xd800 && c < 0xdc00 && r->end - r->p >= 2 && r->p[0] == '\\' && r->p[1] == 'u') {
        const char *back = r->p;
        r->p += 2;
        if (!json_hex4(r, &low))
            return false;
        if (low >= 0xdc00 && low < 0xe000)
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        else
            r->p = back;
    }
    json_put_utf8(&r->text, c >= 0xd800 && c < 0xe000 ? 0xfffd : c);
    return true;
}

/* After the backslash. */
static bool json_escape(struct json_reader *r)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";

    if (r->p == r->end)
        return json_fail(r, "string without an end");
    char c = *r->p;
    if (c == 'u') {
        r->p++;
        return json_unicode(r);
    }
    const char *at = memchr(from, c, sizeof(from) - 1);
    if (at == NULL)
        return json_fail(r, "unknown escape");
    r->p++;
    buf_putc(&r->text, to[at - from]);
    return true;
}

/* The rest of a string that has escapes; r->p is at the first one, `start` at the first
 * character. */
static bool json_string_escaped(struct json_reader *r, const char *start, struct str *ret)
{
    buf_reset(&r->text);
    for (;;) {
        buf_put(&r->text, start, (size_t)(r->p - start));
        if (r->p == r->end)
            return json_fail(r, "string without an end");
        if (*r->p == '"')
            break;
        if ((uint8_t)*r->p < 0x20)
            return json_fail(r, "control character in a string");
        r->p++;
        if (!json_escape(r))
            return false;
        start = r->p;
        while (r->p < r->end && *r->p != '"' && *r->p != '\\' && (uint8_t)*r->p >= 0x20)
            r->p++;
    }
    r->p++;
    if (buf_failed(&r->text))
        return json_fail(r, "string over the memory budget");
    *ret = buf_str(&r->text);
    return true;
}

bool json_string(struct json_reader *r, struct str *ret)
{
    if (json_peek(r) != '"')
        return json_fail(r, "string expected");
    const char *start = ++r->p;
    while (r->p < r->end && *r->p != '"' && *r->p != '\\' && (uint8_t)*r->p >= 0x20)
        r->p++;
    if (r->p < r->end && *r->p == '\\')
        return json_string_escaped(r, start, ret);
    if (r->p == r->end)
        return json_fail(r, "string without an end");
    if (*r->p != '"')
        return json_fail(r, "control character in a string");
    *ret = str_n(start, (size_t)(r->p - start));
    r->p++;
    return true;
}

bool json_open(struct json_reader *r, char bracket)
{
    if (json_peek(r) != bracket)
        return json_fail(r, bracket == '{' ? "object expected" : "array expected");
    r->p++;
    return true;
}

/* Before an element: the closing bracket, or the comma if it is not the first. */
static bool json_next(struct json_reader *r, char close, bool *first, bool *ret_more)
{
    char c = json_peek(r);

    *ret_more = c != close;
    if (c == close) {
        r->p++;
        return true;
    }
    if (!*first) {
        if (c != ',')
            return json_fail(r, "comma or closing bracket expected");
        r->p++;
        if (json_peek(r) == close)
            return json_fail(r, "comma before a closing bracket");
    }
    *first = false;
    return true;
}

bool json_array_next(struct json_reader *r, bool *first, bool *ret_more)
{
    return json_next(r, ']', first, ret_more);
}

bool json_object_next(struct json_reader *r, bool *first, bool *ret_more, struct str *ret_key)
{
    if (!json_next(r, '}', first, ret_more))
        return false;
    if (!*ret_more)
        return true;
    if (!json_string(r, ret_key))
        return false;
    if (json_peek(r) != ':')
        return json_fail(r, "colon expected after a key");
    r->p++;
    return true;
}

/* One value that holds no others. */
static bool json_skip_scalar(struct json_reader *r, char c)
{
    struct str s;
    struct json_number num;
    bool b;

    switch (c) {
    case '"':
        return json_string(r, &s);
    case 'n':
        return json_null(r) || json_fail(r, "null expected");
    case 't':
    case 'f':
        return json_bool(r, &b);
    default:
        return json_number(r, &num);
    }
}

bool json_skip(struct json_reader *r)
{
    bool object[JSON_SKIP_DEPTH];
    unsigned depth = 0;
    bool first = false, more;
    struct str key;

    for (;;) {
        char c = json_peek(r);
        if (c == '{' || c == '[') {
            if (depth == JSON_SKIP_DEPTH)
                return json_fail(r, "nested too deep");
            object[depth++] = c == '{';
            first = true;
            r->p++;
        } else if (!json_skip_scalar(r, c)) {
            return false;
        }
        for (more = false; depth > 0 && !more; first = false) {
            bool ok = object[depth - 1] ? json_object_next(r, &first, &more, &key)
                                        : json_array_next(r, &first, &more);
            if (!ok)
                return false;
            depth -= !more;
        }
        if (!more)
            return true;
    }
}
