/* SPDX-License-Identifier: Apache-2.0
 * Go's number and duration texts. The digits come from digits.cc; here they get the form that each
 * of Go's packages gives them. */
#include "query/format.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "digits.h"

/* ---- floats ---- */
struct digits {
    char d[20];
    int n;   /* significant digits, no trailing zeros (but "0" for zero) */
    int exp; /* decimal exponent of the first digit */
};

static void digits_of(struct digits *ret, double v)
{
    char text[SHORTEST_MAX + 1];
    int n = shortest_double(text, v);
    text[n] = 0;
    ret->n = 0;
    const char *p = text;
    for (; *p != 'e'; p++)
        if (*p != '.')
            ret->d[ret->n++] = *p;
    ret->exp = atoi(p + 1);
    while (ret->n > 1 && ret->d[ret->n - 1] == '0')
        ret->n--;
}

static bool put_special(char out[FORMAT_FLOAT_MAX], double v, size_t *ret)
{
    if (isfinite(v))
        return false;
    *ret = (size_t)snprintf(out, FORMAT_FLOAT_MAX, "%s",
        isnan(v) ? "NaN"
        : v > 0  ? "+Inf"
                 : "-Inf");
    return true;
}

/* d.ddde[-+]XX with at least `exp_digits` digits in the exponent. */
static size_t put_exponent(char *out, const struct digits *d, int exp_digits)
{
    char *o = out;
    *o++ = d->d[0];
    if (d->n > 1) {
        *o++ = '.';
        memcpy(o, d->d + 1, (size_t)d->n - 1);
        o += d->n - 1;
    }
    o += sprintf(o, "e%c%0*d", d->exp < 0 ? '-' : '+', exp_digits, abs(d->exp));
    return (size_t)(o - out);
}

/* Plain decimal of a number with -6 <= exponent <= 20. */
static size_t put_plain(char *out, const struct digits *d)
{
    char *o = out;
    if (d->exp < 0) {
        *o++ = '0';
        *o++ = '.';
        for (int i = -1; i > d->exp; i--)
            *o++ = '0';
        memcpy(o, d->d, (size_t)d->n);
        return (size_t)(o + d->n - out);
    }
    for (int i = 0; i < d->n || i <= d->exp; i++) {
        if (i == d->exp + 1)
            *o++ = '.';
        *o++ = i < d->n ? d->d[i] : '0';
    }
    return (size_t)(o - out);
}

static size_t put_float(
    char out[FORMAT_FLOAT_MAX], double v, int exp_min, int exp_max, int exp_digits)
{
    size_t n = 0;
    if (put_special(out, v, &n))
        return n;
    if (signbit(v))
        out[n++] = '-';
    struct digits d;
    digits_of(&d, fabs(v));
    bool plain = d.exp >= exp_min && d.exp < exp_max;
    n += plain ? put_plain(out + n, &d) : put_exponent(out + n, &d, exp_digits);
    out[n] = 0;
    return n;
}

size_t format_float_g(char out[FORMAT_FLOAT_MAX], double v)
{

    return put_float(out, v, -4, 6, 2);
}

size_t format_float_json(char out[FORMAT_FLOAT_MAX], double v)
{
    return put_float(out, v, -6, 21, 1);
}

void format_float_f(struct buf *out, double v)
{
    char text[FORMAT_FLOAT_MAX];
    size_t n;
    if (put_special(text, v, &n)) {
        buf_put(out, text, n);
        return;
    }
    if (signbit(v))
        buf_putc(out, '-');
    struct digits d;
    digits_of(&d, fabs(v));
    if (d.exp < 0) {
        buf_putz(out, "0.");
        for (int i = -1; i > d.exp; i--)
            buf_putc(out, '0');
        buf_put(out, d.d, (size_t)d.n);
        return;
    }
    for (int i = 0; i < d.n || i <= d.exp; i++) {
        if (i == d.exp + 1)
            buf_putc(out, '.');
        buf_putc(out, i < d.n ? d.d[i] : '0');
    }
}

bool parse_float(struct str s, double *ret)
{
    char text[512];
    size_t digits = 0, i = 0;
    if (s.n >= sizeof(text))
        return false;
    i += i < s.n && (s.p[i] == '-' || s.p[i] == '+');
    for (; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++)
        digits++;
    if (i < s.n && s.p[i] == '.')
        for (i++; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++)
            digits++;
    if (digits == 0)
        return false;
    if (i < s.n && (s.p[i] | 0x20) == 'e') {
        i++;
        i += i < s.n && (s.p[i] == '-' || s.p[i] == '+');
        size_t first = i;
        while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9')
            i++;
        if (i == first)
            return false;
    }
    if (i != s.n)
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    double v = strtod(text, NULL); /* the process never calls setlocale */
    if (isinf(v))
        return false;
    *ret = v;
    return true;
}

/* ---- durations ---- */
#define US 1000ull
#define MS (1000 * US)
#define S  (1000 * MS)
#define M  (60 * S)
#define H  (60 * M)
#define D  (24 * H)

/* v / 10^decimals with trailing zeros cut: 1500, 3 -> "1.5". */
static char *put_fraction(char *o, uint64_t v, unsigned decimals)
{
    uint64_t scale = 1;
    for (unsigned i = 0; i < decimals; i++)
        scale *= 10;
    o += sprintf(o, "%llu", (unsigned long long)(v / scale));
    uint64_t rest = v % scale;
    if (rest == 0)
        return o;
    o += sprintf(o, ".%0*llu", (int)decimals, (unsigned long long)rest);
    while (o[-1] == '0')
        o--;
    return o;
}

size_t format_duration(char out[FORMAT_DURATION_MAX], int64_t ns)
{
    char *o = out;
    uint64_t u = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    if (ns < 0)
        *o++ = '-';
    if (u == 0) {
        o += sprintf(o, "0s");
    } else if (u < US) {
        o += sprintf(o, "%lluns", (unsigned long long)u);
    } else if (u < MS) {
        o = put_fraction(o, u, 3);
        o += sprintf(o, "\xc2\xb5s");
    } else if (u < S) {
        o = put_fraction(o, u, 6);
        o += sprintf(o, "ms");
    } else {
        if (u >= H)
            o += sprintf(o, "%lluh", (unsigned long long)(u / H));
        if (u >= M)
            o += sprintf(o, "%llum", (unsigned long long)(u % H / M));
        o = put_fraction(o, u % M, 9);
        *o++ = 's';
    }
    *o = 0;
    return (size_t)(o - out);
}

static bool take_digits(struct str *s, uint64_t *ret)
{
    size_t n = 0;
    while (n < s->n && s->p[n] >= '0' && s->p[n] <= '9')
        n++;
    bool ok = n > 0 && str_to_u64(str_n(s->p, n), ret);
    *s = str_n(s->p + n, s->n - n);
    return ok;
}

bool parse_duration_prom(struct str s, int64_t *ret_ns)
{
    static const struct {
        struct str text;
        uint64_t ns;
    } units[] = {
        {{"y", 1}, 365 * D},
        {{"w", 1}, 7 * D},
        {{"d", 1}, D},
        {{"h", 1}, H},
        {{"ms", 2}, MS}, /* before "m"; its place in the order is checked below */
        {{"m", 1}, M},
        {{"s", 1}, S},
    };
    static const unsigned rank[] = {0, 1, 2, 3, 6, 4, 5};
    if (str_eqz(s, "0")) {
        *ret_ns = 0;
        return true;
    }
    unsigned least = 0;
    uint64_t total = 0, v;
    if (s.n == 0)
        return false;
    while (s.n > 0) {
        if (!take_digits(&s, &v))
            return false;
        size_t i = 0;
        while (i < ARRAY_LEN(units) && !str_starts(s, units[i].text))
            i++;
        if (i == ARRAY_LEN(units) || rank[i] < least)
            return false;
        least = rank[i] + 1;
        s = str_n(s.p + units[i].text.n, s.n - units[i].text.n);
        if (__builtin_mul_overflow(v, units[i].ns, &v) || __builtin_add_overflow(total, v, &total))
            return false;
    }
    if (total > INT64_MAX)
        return false;
    *ret_ns = (int64_t)total;
    return true;
}

/* The digits after a point: value and 10^digits; digits past 64 bits do not count, as in Go. */
static void take_fraction(struct str *s, uint64_t *ret_v, double *ret_scale, bool *ret_any)
{
    uint64_t v = 0;
    double scale = 1;
    bool full = false;
    size_t n = 0;
    for (; n < s->n && s->p[n] >= '0' && s->p[n] <= '9'; n++) {
        uint64_t d = (uint64_t)(s->p[n] - '0');
        full = full || v > ((uint64_t)INT64_MAX - d) / 10;
        if (full)
            continue;
        v = v * 10 + d;
        scale *= 10;
    }
    *s = str_n(s->p + n, s->n - n);
    *ret_v = v;
    *ret_scale = scale;
    *ret_any = n > 0;
}

static bool take_unit(struct str *s, uint64_t *ret)
{
    static const struct {
        struct str text;
        uint64_t ns;
    } units[] = {{{"ns", 2}, 1}, {{"us", 2}, US}, {{"\xc2\xb5s", 3}, US}, {{"\xce\xbcs", 3}, US},
        {{"ms", 2}, MS}, {{"s", 1}, S}, {{"m", 1}, M}, {{"h", 1}, H}};
    size_t n = 0;
    while (n < s->n && s->p[n] != '.' && (s->p[n] < '0' || s->p[n] > '9'))
        n++;
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (str_eq(str_n(s->p, n), units[i].text)) {
            *ret = units[i].ns;
            *s = str_n(s->p + n, s->n - n);
            return true;
        }
    return false;
}

bool parse_duration_go(struct str s, int64_t *ret_ns)
{
    const uint64_t cap = (uint64_t)INT64_MAX + 1;
    bool neg = s.n > 0 && s.p[0] == '-';
    if (s.n > 0 && (s.p[0] == '-' || s.p[0] == '+'))
        s = str_n(s.p + 1, s.n - 1);
    if (str_eqz(s, "0")) {
        *ret_ns = 0;
        return true;
    }
    if (s.n == 0)
        return false;
    uint64_t total = 0;
    while (s.n > 0) {
        uint64_t v = 0, frac = 0, unit;
        double scale = 1;
        bool whole = s.p[0] >= '0' && s.p[0] <= '9', fraction = false;
        if (whole && !take_digits(&s, &v))
            return false;
        if (s.n > 0 && s.p[0] == '.') {
            s = str_n(s.p + 1, s.n - 1);
            take_fraction(&s, &frac, &scale, &fraction);
        }
        if ((!whole && !fraction) || !take_unit(&s, &unit))
            return false;
        if (__builtin_mul_overflow(v, unit, &v) || v > cap)
            return false;
        if (frac > 0)
            v += (uint64_t)((double)frac * ((double)unit / scale));
        total += v;
        if (v > cap || total > cap)
            return false;
    }
    if (total > (uint64_t)INT64_MAX + neg)
        return false;
    *ret_ns = neg ? (int64_t)(0 - total) : (int64_t)total;
    return true;
}

bool parse_duration(struct str s, int64_t *ret_ns)
{
    return parse_duration_prom(s, ret_ns) || parse_duration_go(s, ret_ns);
}
