/* SPDX-License-Identifier: Apache-2.0
 * Typed scalars. The rules are those of the YAML 1.1 library that Tempo uses: plain words such as
 * `yes` are booleans, numbers may have `_`, a float literal is taken for an integer (truncated), a
 * quoted scalar is always a string. */
#include "scalar.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

enum resolved { RES_NULL, RES_BOOL, RES_INT, RES_FLOAT, RES_STR };

static const char *const yes_words[] = {
    "y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"};
static const char *const no_words[] = {
    "n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"};

static bool is_word(struct str s, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_eqz(s, words[i]))
            return true;
    return false;
}

/* Magnitude and sign of a number in Go's base-0 syntax without `_`. */
static bool magnitude(struct str s, bool *ret_negative, uint64_t *ret)
{
    unsigned base = 10;
    uint64_t v = 0;

    *ret_negative = false;
    if (s.n > 0 && (s.p[0] == '-' || s.p[0] == '+')) {
        *ret_negative = s.p[0] == '-';
        s = str_n(s.p + 1, s.n - 1);
    }
    if (s.n > 1 && s.p[0] == '0') {
        char c = (char)(s.p[1] | 0x20);
        base = c == 'x' ? 16 : c == 'b' ? 2 : 8;
        size_t skip = c == 'x' || c == 'b' || c == 'o' ? 2 : 1;
        s = str_n(s.p + skip, s.n - skip);
    }
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        unsigned d = 99;
        if (c >= '0' && c <= '9')
            d = c - '0';
        else if ((c | 0x20) >= 'a')
            d = (c | 0x20) - 'a' + 10u;
        if (d >= base)
            return false;
        if (__builtin_mul_overflow(v, base, &v) || __builtin_add_overflow(v, d, &v))
            return false;
    }
    *ret = v;
    return true;
}

bool int_parse_go(struct str s, bool is_signed, unsigned bits, int64_t *ret)
{
    bool negative;
    uint64_t v;
    if (!magnitude(s, &negative, &v))
        return false;
    if (!is_signed) {
        if (negative || (bits < 64 && v >> bits != 0))
            return false;
        *ret = (int64_t)v;
        return true;
    }
    uint64_t limit = 1ULL << (bits - 1);
    if (v > limit - (negative ? 0 : 1))
        return false;
    *ret = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

/* [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)? */
static bool is_float_syntax(struct str s)
{
    size_t i = 0, digits = 0;
    if (i < s.n && (s.p[i] == '-' || s.p[i] == '+'))
        i++;
    for (; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++)
        digits++;
    if (i < s.n && s.p[i] == '.')
        for (i++; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++)
            digits++;
    if (digits == 0)
        return false;
    if (i < s.n && (s.p[i] == 'e' || s.p[i] == 'E')) {
        i++;
        if (i < s.n && (s.p[i] == '-' || s.p[i] == '+'))
            i++;
        size_t start = i;
        while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9')
            i++;
        if (i == start)
            return false;
    }
    return i == s.n;
}

static bool is_special_float(struct str s, double *ret)
{
    static const struct {
        const char *text;
        double value;
    } words[] = {{".inf", HUGE_VAL}, {".Inf", HUGE_VAL}, {".INF", HUGE_VAL}, {"+.inf", HUGE_VAL},
        {"+.Inf", HUGE_VAL}, {"+.INF", HUGE_VAL}, {"-.inf", -HUGE_VAL}, {"-.Inf", -HUGE_VAL},
        {"-.INF", -HUGE_VAL}, {".nan", (double)NAN}, {".NaN", (double)NAN}, {".NAN", (double)NAN}};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_eqz(s, words[i].text)) {
            *ret = words[i].value;
            return true;
        }
    return false;
}

static enum resolved resolve_number(struct str s, bool *ret_big, struct value *v)
{
    char text[80];
    size_t n = 0;
    bool negative;

    if (s.n >= sizeof(text))
        return RES_STR;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '_')
            text[n++] = s.p[i];
    text[n] = 0;
    struct str clean = str_n(text, n);
    if (int_parse_go(clean, true, 64, &v->i)) {
        v->u = (uint64_t)v->i;
        return RES_INT;
    }
    if (magnitude(clean, &negative, &v->u) && !negative) {
        *ret_big = true;
        return RES_INT;
    }
    if (is_float_syntax(clean)) {
        v->f = strtod(text, NULL);
        return RES_FLOAT;
    }
    return is_special_float(clean, &v->f) ? RES_FLOAT : RES_STR;
}

static enum resolved resolve(const struct node *n, bool *ret_big, struct value *v)
{
    *ret_big = false;
    if (!n->plain)
        return RES_STR;
    if (node_is_null(n))
        return RES_NULL;
    if (is_word(n->s, yes_words, ARRAY_LEN(yes_words))) {
        v->b = true;
        return RES_BOOL;
    }
    if (is_word(n->s, no_words, ARRAY_LEN(no_words)))
        return RES_BOOL;
    if (n->s.n > 0 && strchr("0123456789+-.", n->s.p[0]) != NULL)
        return resolve_number(n->s, ret_big, v);
    return RES_STR;
}

const char *key_type_go(enum key_type type)
{
    static const char *const names[] = {
        [KT_STRING] = "string",
        [KT_BOOL] = "bool",
        [KT_INT] = "int",
        [KT_UINT32] = "uint32",
        [KT_UINT64] = "uint64",
        [KT_FLOAT] = "float64",
        [KT_DURATION] = "time.Duration",
        [KT_PROM] = "string",
        [KT_SIZE] = "string",
        [KT_STRINGS] = "[]string",
        [KT_FLOATS] = "[]float64",
        [KT_STRING_MAP] = "map[string]string",
        [KT_BLOCK] = "map",
        [KT_BLOCKS] = "list",
        [KT_ANY] = "interface {}",
    };
    return names[type];
}

void problem_mismatch(const struct node *n, const char *go_type, char problem[PROBLEM_MAX])
{
    static const char *const tags[] = {"null", "bool", "int", "float", "str"};
    if (n->kind != NODE_SCALAR) {
        snprintf(problem, PROBLEM_MAX, "cannot unmarshal !!%s into %s",
            n->kind == NODE_SEQ ? "seq" : "map", go_type);
        return;
    }
    struct value v = {0};
    bool big;
    const char *tag = tags[resolve(n, &big, &v)];
    bool cut = n->s.n > 10;
    snprintf(problem, PROBLEM_MAX, "cannot unmarshal !!%s `%.*s%s` into %s", tag,
        (int)(cut ? 7 : n->s.n), n->s.p, cut ? "..." : "", go_type);
}

static bool parse_int(
    enum key_type type, enum resolved res, bool big, const struct value *in, struct value *ret)
{
    if (res != RES_INT && res != RES_FLOAT)
        return false;
    if (type == KT_INT) {
        if (big || (res == RES_FLOAT && !(in->f > -0x1p63 && in->f < 0x1p63)))
            return false;
        ret->i = res == RES_FLOAT ? (int64_t)in->f : in->i;
        return true;
    }
    if (res == RES_FLOAT && !(in->f >= 0 && in->f < 0x1p64))
        return false;
    if (res == RES_INT && !big && in->i < 0)
        return false;
    ret->u = res == RES_FLOAT ? (uint64_t)in->f : in->u;
    return type == KT_UINT64 || ret->u <= UINT32_MAX;
}

static bool parse_duration(
    enum resolved res, bool big, const struct value *in, struct str s, struct value *ret)
{
    if (res == RES_STR)
        return duration_parse_go(s, &ret->i);
    ret->bare = true;
    if (res == RES_INT && !big)
        ret->i = in->i;
    else if (res == RES_FLOAT && in->f > -0x1p63 && in->f < 0x1p63)
        ret->i = (int64_t)in->f;
    else
        return false;
    ret->bare = ret->i != 0;
    return true;
}

/* "63KiB1023B": numbers with binary units; only the syntax matters. */
static bool is_size(struct str s)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", ""};
    if (s.n == 0)
        return false;
    while (s.n > 0) {
        size_t digits = 0, unit = 0;
        while (digits < s.n && ((s.p[digits] >= '0' && s.p[digits] <= '9') || s.p[digits] == '.'))
            digits++;
        while (digits + unit < s.n && (s.p[digits + unit] < '0' || s.p[digits + unit] > '9'))
            unit++;
        if (digits == 0 || !is_word(str_n(s.p + digits, unit), units, ARRAY_LEN(units)))
            return false;
        s = str_n(s.p + digits + unit, s.n - digits - unit);
    }
    return true;
}

bool value_parse(
    enum key_type type, const struct node *n, struct value *ret, char problem[PROBLEM_MAX])
{
    struct value in = {0};
    bool big = false, ok = false;

    *ret = (struct value){.s = n->s};
    if (n->kind != NODE_SCALAR) {
        problem_mismatch(n, key_type_go(type), problem);
        return false;
    }
    enum resolved res = resolve(n, &big, &in);
    if (res == RES_NULL) {
        ret->s = STR("");
        return true;
    }
    switch (type) {
    case KT_STRING:
        ok = true;
        break;
    case KT_BOOL:
        ok = res == RES_BOOL;
        ret->b = in.b;
        break;
    case KT_INT:
    case KT_UINT32:
    case KT_UINT64:
        ok = parse_int(type, res, big, &in, ret);
        break;
    case KT_FLOAT:
        ok = res == RES_FLOAT || res == RES_INT;
        ret->f = res == RES_FLOAT ? in.f : big ? (double)in.u : (double)in.i;
        break;
    case KT_DURATION:
        ok = parse_duration(res, big, &in, n->s, ret);
        break;
    case KT_PROM:
        if (duration_parse_prom(n->s, &ret->i))
            return true;
        snprintf(problem, PROBLEM_MAX, "not a valid duration string: \"%.*s\"",
            (int)MIN(n->s.n, 80), n->s.p);
        return false;
    case KT_SIZE:
        ok = is_size(n->s);
        break;
    default:
        break;
    }
    if (!ok)
        problem_mismatch(n, key_type_go(type), problem);
    return ok;
}

bool values_equal(enum key_type type, const struct value *a, const struct value *b)
{
    switch (type) {
    case KT_BOOL:
        return a->b == b->b;
    case KT_INT:
    case KT_DURATION:
    case KT_PROM:
        return a->i == b->i;
    case KT_UINT32:
    case KT_UINT64:
        return a->u == b->u;
    case KT_FLOAT:
        return !(a->f < b->f) && !(a->f > b->f);
    default:
        return str_eq(a->s, b->s);
    }
}

/* ---- durations ---- */

struct unit {
    const char *name;
    int64_t ns;
};

/* Longest name first where one starts another. */
static const struct unit go_units[] = {{"ns", 1}, {"us", NS_PER_US}, {"\xc2\xb5s", NS_PER_US},
    {"\xce\xbcs", NS_PER_US}, {"ms", NS_PER_MS}, {"s", NS_PER_S}, {"m", 60 * NS_PER_S},
    {"h", 3600 * NS_PER_S}};
static const struct unit prom_units[] = {{"y", 365 * 86400 * NS_PER_S}, {"w", 7 * 86400 * NS_PER_S},
    {"d", 86400 * NS_PER_S}, {"h", 3600 * NS_PER_S}, {"m", 60 * NS_PER_S}, {"s", NS_PER_S},
    {"ms", NS_PER_MS}};

/* One "1.5h": whole and fraction, then a unit. Fractions are cut at 18 digits, as nothing below a
 * nanosecond counts. */
static bool parse_part(struct str *s, int64_t *ret)
{
    int64_t whole = 0, fraction = 0, scale = 1;
    size_t i = 0, digits = 0;

    for (; i < s->n && s->p[i] >= '0' && s->p[i] <= '9'; i++, digits++)
        if (__builtin_mul_overflow(whole, 10, &whole) ||
            __builtin_add_overflow(whole, s->p[i] - '0', &whole))
            return false;
    if (i < s->n && s->p[i] == '.')
        for (i++; i < s->n && s->p[i] >= '0' && s->p[i] <= '9'; i++, digits++)
            if (scale < 1000000000000000000LL) {
                fraction = fraction * 10 + (s->p[i] - '0');
                scale *= 10;
            }
    if (digits == 0)
        return false;
    size_t unit = i;
    while (unit < s->n && s->p[unit] != '.' && (s->p[unit] < '0' || s->p[unit] > '9'))
        unit++;
    struct str name = str_n(s->p + i, unit - i);
    for (size_t k = 0; k < ARRAY_LEN(go_units); k++) {
        if (!str_eqz(name, go_units[k].name))
            continue;
        int64_t rest = (int64_t)((long double)fraction * go_units[k].ns / scale);
        if (__builtin_mul_overflow(whole, go_units[k].ns, &whole) ||
            __builtin_add_overflow(whole, rest, &whole))
            return false;
        *s = str_n(s->p + unit, s->n - unit);
        *ret = whole;
        return true;
    }
    return false;
}

bool duration_parse_go(struct str s, int64_t *ret)
{
    int64_t sum = 0;
    bool negative = false;

    if (s.n > 0 && (s.p[0] == '-' || s.p[0] == '+')) {
        negative = s.p[0] == '-';
        s = str_n(s.p + 1, s.n - 1);
    }
    if (str_eqz(s, "0")) {
        *ret = 0;
        return true;
    }
    if (s.n == 0)
        return false;
    while (s.n > 0) {
        int64_t part;
        if (!parse_part(&s, &part) || __builtin_add_overflow(sum, part, &sum))
            return false;
    }
    *ret = negative ? -sum : sum;
    return true;
}

bool duration_parse_prom(struct str s, int64_t *ret)
{
    int64_t sum = 0;
    size_t unit = 0; /* units come in descending order, each once */

    if (str_eqz(s, "0")) {
        *ret = 0;
        return true;
    }
    if (s.n == 0)
        return false;
    while (s.n > 0) {
        size_t digits = 0, letters = 0;
        uint64_t number;
        while (digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9')
            digits++;
        while (digits + letters < s.n && s.p[digits + letters] > '9')
            letters++;
        struct str name = str_n(s.p + digits, letters);
        while (unit < ARRAY_LEN(prom_units) && !str_eqz(name, prom_units[unit].name))
            unit++;
        int64_t part;
        if (unit == ARRAY_LEN(prom_units) || !str_to_u64(str_n(s.p, digits), &number) ||
            number > INT64_MAX ||
            __builtin_mul_overflow((int64_t)number, prom_units[unit].ns, &part) ||
            __builtin_add_overflow(sum, part, &sum))
            return false;
        unit++;
        s = str_n(s.p + digits + letters, s.n - digits - letters);
    }
    *ret = sum;
    return true;
}

bool bool_parse_go(struct str s, bool *ret)
{
    static const char *const yes[] = {"1", "t", "T", "TRUE", "true", "True"};
    static const char *const no[] = {"0", "f", "F", "FALSE", "false", "False"};
    *ret = is_word(s, yes, ARRAY_LEN(yes));
    return *ret || is_word(s, no, ARRAY_LEN(no));
}

/* "1.5", without the zeros at the end: v / scale, where scale is a power of ten. */
static int format_fraction(char *out, size_t n, uint64_t v, uint64_t scale)
{
    char digits[24];
    uint64_t rest = v % scale;
    if (rest == 0)
        return snprintf(out, n, "%llu", (unsigned long long)(v / scale));
    size_t width = 0;
    for (uint64_t s = scale; s > 1; s /= 10)
        width++;
    snprintf(digits, sizeof(digits), "%0*llu", (int)width, (unsigned long long)rest);
    while (width > 0 && digits[width - 1] == '0')
        digits[--width] = 0;
    return snprintf(out, n, "%llu.%s", (unsigned long long)(v / scale), digits);
}

void duration_format_go(int64_t ns, char out[40])
{
    uint64_t v = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    char *p = out;
    char *end = out + 40;
    if (ns < 0)
        *p++ = '-';
    if (v < (uint64_t)NS_PER_S) {
        uint64_t scale = v >= (uint64_t)NS_PER_MS   ? NS_PER_MS
                         : v >= (uint64_t)NS_PER_US ? NS_PER_US
                                                    : 1;
        const char *unit = v == 0               ? "s"
                           : scale == 1         ? "ns"
                           : scale == NS_PER_US ? "\xc2\xb5s"
                                                : "ms";
        p += format_fraction(p, (size_t)(end - p), v, scale);
        snprintf(p, (size_t)(end - p), "%s", unit);
        return;
    }
    uint64_t minutes = v / (60 * NS_PER_S);
    if (minutes >= 60)
        p += snprintf(p, (size_t)(end - p), "%lluh", (unsigned long long)(minutes / 60));
    if (minutes > 0)
        p += snprintf(p, (size_t)(end - p), "%llum", (unsigned long long)(minutes % 60));
    p += format_fraction(p, (size_t)(end - p), v % (60 * NS_PER_S), NS_PER_S);
    snprintf(p, (size_t)(end - p), "s");
}
