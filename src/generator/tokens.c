/* SPDX-License-Identifier: Apache-2.0
 * Span names to tokens, and which tokens look like data; see drain.h.
 *
 * Beyond ASCII, letters and blanks are what the C library's C.UTF-8 says; digits are ASCII's. */
#include <locale.h>
#include <pthread.h>
#include <wctype.h>

#include "drain.h"

enum kind { KIND_OTHER, KIND_HEX, KIND_LETTER, KIND_SPACE, KIND_END };

static locale_t unicode;
static pthread_once_t unicode_once = PTHREAD_ONCE_INIT;

static void unicode_init(void)
{
    unicode = newlocale(LC_CTYPE_MASK, "C.UTF-8", NULL); /* NULL: all is a letter */
}

static enum kind kind_beyond_ascii(uint32_t c)
{
    if (c == 0x85 || c == 0xa0 || c == 0x2007 || c == 0x202f) /* not to be broken at, still blank */
        return KIND_SPACE;
    if (unicode == NULL || iswalnum_l(c, unicode))
        return KIND_LETTER;
    return iswspace_l(c, unicode) ? KIND_SPACE : KIND_OTHER;
}

/* The character at p, which is valid UTF-8. */
static enum kind kind_at(const uint8_t *p, const uint8_t *end, uint32_t *ret_n)
{
    if (p == end) {
        *ret_n = 0;
        return KIND_END;
    }
    uint8_t c = *p;
    *ret_n = 1;
    if (c < 0x80) {
        uint8_t lower = c | 0x20;
        if ((c >= '0' && c <= '9') || (lower >= 'a' && lower <= 'f'))
            return KIND_HEX;
        if (lower >= 'a' && lower <= 'z')
            return KIND_LETTER;
        return c == ' ' || (c >= '\t' && c <= '\r') ? KIND_SPACE : KIND_OTHER;
    }
    uint32_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    uint32_t point = c & (0x7fu >> n);
    for (uint32_t i = 1; i < n; i++)
        point = point << 6 | (p[i] & 0x3fu);
    *ret_n = n;
    return kind_beyond_ascii(point);
}

/* "%3D". A '%' with other than two hexadecimal digits behind it stands alone; one too close to the
 * end takes what is left. */
static const uint8_t *end_of_percent(const uint8_t *p, const uint8_t *end)
{
    uint32_t n1, n2;
    enum kind k1 = kind_at(p + 1, end, &n1);
    if (k1 == KIND_END)
        return end;
    enum kind k2 = kind_at(p + 1 + n1, end, &n2);
    if (k2 == KIND_END || (k1 == KIND_HEX && k2 == KIND_HEX))
        return p + 1 + n1 + n2;
    return p + 1;
}

static const uint8_t *end_of_run(const uint8_t *p, const uint8_t *end, enum kind first)
{
    bool id = false; /* hexadecimal with a '-' seen: only such go on */
    for (;;) {
        uint32_t n;
        enum kind k = kind_at(p, end, &n);
        if (first == KIND_HEX && !id) {
            if (k == KIND_LETTER)
                first = KIND_LETTER;
            else if (k == KIND_OTHER && *p == '-')
                id = true;
            else if (k != KIND_HEX)
                return p;
        } else if (id ? k != KIND_HEX && !(k == KIND_OTHER && *p == '-')
                      : k != first && !(first == KIND_LETTER && k == KIND_HEX)) {
            return p;
        }
        p += n;
    }
}

enum drain_cut drain_cut(struct str name, struct drain_tokens *ret)
{
    const uint8_t *p = (const uint8_t *)name.p, *start = p, *end = p + name.n;
    pthread_once(&unicode_once, unicode_init);
    ret->n = 0;
    if (name.n > DRAIN_NAME_MAX)
        return DRAIN_TOO_MANY;
    if (!str_utf8_valid(name))
        return DRAIN_TOO_FEW;
    while (p < end) {
        uint32_t n;
        enum kind k = kind_at(p, end, &n);
        if (*p == '%')
            p = end_of_percent(p, end);
        else
            p = k == KIND_OTHER ? p + n : end_of_run(p + n, end, k);
        if (ret->n == DRAIN_TOKENS_MAX - 1)
            return DRAIN_TOO_MANY;
        ret->end[ret->n++] = (uint16_t)(p - start);
    }
    return ret->n + 1 < DRAIN_TOKENS_MIN ? DRAIN_TOO_FEW : DRAIN_CUT;
}

static bool is_punctuation(uint8_t c)
{
    return (c >= '!' && c <= '/' && c != '$' && c != '+') || c == ':' || c == ';' || c == '?' ||
           c == '@' || (c >= '[' && c <= ']') || c == '_' || c == '{' || c == '}';
}

bool drain_is_data(struct str token)
{
    size_t digits = 0;
    bool plain = true; /* nothing but hexadecimal digits and punctuation */
    for (size_t i = 0; i < token.n; i++) {
        uint8_t c = (uint8_t)token.p[i], lower = c | 0x20;
        if (c >= '0' && c <= '9')
            digits++;
        else if (!(lower >= 'a' && lower <= 'f') && !is_punctuation(c))
            plain = false;
    }
    return (plain && digits > 0) || digits > MAX(token.n / 4, 1);
}
