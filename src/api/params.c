/* SPDX-License-Identifier: Apache-2.0
 * Parameter grammars. */
#include "params.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "query/format.h"

static enum ec number_error(
    struct err *err, const char *what, const char *func, struct str s, bool range)
{
    return ERR(err, EC_INVALID, "%s: strconv.%s: parsing \"" STR_FMT "\": %s", what, func,
        (int)MIN(s.n, 100), s.p, range ? "value out of range" : "invalid syntax");
}

static bool all_digits(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return s.n > 0;
}

enum ec param_uint(struct str s, const char *what, unsigned bits, uint64_t *ret, struct err *err)
{
    uint64_t v = 0;
    if (!all_digits(s))
        return number_error(err, what, "ParseUint", s, false);
    if (!str_to_u64(s, &v) || (bits == 32 && v > UINT32_MAX))
        return number_error(err, what, "ParseUint", s, true);
    *ret = v;
    return EC_OK;
}

enum ec param_int(struct str s, const char *what, int64_t *ret, struct err *err)
{
    struct str digits = s;
    if (digits.n > 0 && (digits.p[0] == '-' || digits.p[0] == '+'))
        digits.p++, digits.n--;
    if (!all_digits(digits))
        return number_error(err, what, "ParseInt", s, false);
    if (!str_to_i64(s, ret))
        return number_error(err, what, "ParseInt", s, true);
    return EC_OK;
}

enum ec param_go_duration(struct str s, int64_t *ret_ns, struct err *err)
{
    if (parse_duration_go(s, ret_ns))
        return EC_OK;
    size_t digits = 0;
    while (digits < s.n && ((s.p[digits] >= '0' && s.p[digits] <= '9') || s.p[digits] == '.'))
        digits++;
    if (digits > 0 && digits == s.n)
        return ERR(err, EC_INVALID, "time: missing unit in duration \"" STR_FMT "\"",
            (int)MIN(s.n, 100), s.p);
    return ERR(err, EC_INVALID, "time: invalid duration \"" STR_FMT "\"", (int)MIN(s.n, 100), s.p);
}

enum ec param_prom_duration(struct str s, int64_t *ret_ns, struct err *err)
{
    if (parse_duration_prom(s, ret_ns))
        return EC_OK;
    return ERR(
        err, EC_INVALID, "not a valid duration string: \"" STR_FMT "\"", (int)MIN(s.n, 100), s.p);
}

static bool two_digits(const char *p, int *ret)
{
    if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9')
        return false;
    *ret = (p[0] - '0') * 10 + p[1] - '0';
    return true;
}

bool param_rfc3339(struct str s, int64_t *ret_ns)
{
    int hi, lo, mon, day, hour, min, sec;
    if (s.n < 20 || s.p[4] != '-' || s.p[7] != '-' || s.p[10] != 'T' || s.p[13] != ':' ||
        s.p[16] != ':')
        return false;
    if (!two_digits(s.p, &hi) || !two_digits(s.p + 2, &lo) || !two_digits(s.p + 5, &mon) ||
        !two_digits(s.p + 8, &day) || !two_digits(s.p + 11, &hour) || !two_digits(s.p + 14, &min) ||
        !two_digits(s.p + 17, &sec))
        return false;
    if (mon < 1 || mon > 12 || day < 1 || day > 31 || hour > 23 || min > 59 || sec > 59)
        return false;
    struct tm tm = {.tm_year = hi * 100 + lo - 1900,
        .tm_mon = mon - 1,
        .tm_mday = day,
        .tm_hour = hour,
        .tm_min = min,
        .tm_sec = sec};
    int64_t ns = (int64_t)timegm(&tm) * NS_PER_S;
    size_t i = 19;
    if (s.p[i] == '.') {
        int64_t scale = NS_PER_S;
        for (i++; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++)
            ns += (s.p[i] - '0') * (scale /= 10);
    }
    if (i + 1 == s.n && s.p[i] == 'Z') {
        *ret_ns = ns;
        return true;
    }
    int oh, om;
    if (i + 6 != s.n || (s.p[i] != '+' && s.p[i] != '-') || s.p[i + 3] != ':' ||
        !two_digits(s.p + i + 1, &oh) || !two_digits(s.p + i + 4, &om))
        return false;
    int64_t offset = (oh * 60 + om) * 60 * NS_PER_S;
    *ret_ns = s.p[i] == '+' ? ns - offset : ns + offset;
    return true;
}

enum ec param_time(struct str s, int64_t *ret_ns, struct err *err)
{
    if (s.n < 64 && memchr(s.p, '.', s.n) != NULL && memchr(s.p, 'T', s.n) == NULL) {
        char text[64], *end;
        memcpy(text, s.p, s.n);
        text[s.n] = 0;
        double v = strtod(text, &end);
        if (end == text + s.n && isfinite(v) && fabs(v) < 9e9) {
            *ret_ns =
                (int64_t)floor(v) * NS_PER_S + (int64_t)round((v - floor(v)) * 1000) * NS_PER_MS;
            return EC_OK;
        }
    }
    int64_t v;
    struct err cause = {0};
    enum ec ec = param_int(s, "", &v, &cause);
    if (ec == EC_OK) {
        if (s.n > 10) {
            *ret_ns = v;
            return EC_OK;
        }
        *ret_ns = v * NS_PER_S;
        return EC_OK;
    }
    if (param_rfc3339(s, ret_ns))
        return EC_OK;
    return ERR(err, EC_INVALID, "%s", err_msg(&cause) + 2); /* without the empty prefix's ": " */
}

/* One quoted value; *at is just behind the opening quote. */
static enum ec logfmt_quoted(
    struct str s, size_t *at, struct arena *a, struct str *ret, struct err *err)
{
    char *out = arena_alloc(a, s.n + 1);
    if (out == NULL)
        return ERR(err, EC_LIMIT, "tags are over the request's memory budget");
    size_t n = 0, i = *at;
    for (; i < s.n && s.p[i] != '"'; i++) {
        if (s.p[i] == '\\' && i + 1 < s.n) {
            i++;
            out[n++] = s.p[i] == 'n' ? '\n' : s.p[i] == 't' ? '\t' : s.p[i] == 'r' ? '\r' : s.p[i];
        } else {
            out[n++] = s.p[i];
        }
    }
    if (i == s.n)
        return ERR(err, EC_INVALID, "invalid tags: unterminated quoted value at pos %zu", s.n + 1);
    *at = i + 1;
    *ret = str_n(out, n);
    return EC_OK;
}

static bool logfmt_blank(char c)
{
    return (unsigned char)c <= ' ';
}

enum ec param_logfmt(
    struct str s, struct arena *a, struct param_pair **ret, size_t *ret_n, struct err *err)
{
    size_t n_max = 1, n = 0;
    for (size_t i = 0; i < s.n; i++)
        n_max += logfmt_blank(s.p[i]);
    struct param_pair *pairs = ARENA_ARRAY(a, n_max, struct param_pair);
    if (pairs == NULL)
        return ERR(err, EC_LIMIT, "tags are over the request's memory budget");
    for (size_t i = 0; i < s.n;) {
        if (logfmt_blank(s.p[i])) {
            i++;
            continue;
        }
        size_t from = i;
        while (i < s.n && !logfmt_blank(s.p[i]) && s.p[i] != '=' && s.p[i] != '"')
            i++;
        if (i == from || (i < s.n && s.p[i] == '"'))
            return ERR(err, EC_INVALID, "invalid tags: unexpected '%c' at pos %zu", s.p[i], i + 1);
        struct param_pair p = {.key = str_n(s.p + from, i - from)};
        if (i < s.n && s.p[i] == '=') {
            from = ++i;
            if (i < s.n && s.p[i] == '"') {
                i++;
                TRY(logfmt_quoted(s, &i, a, &p.value, err));
            } else {
                while (i < s.n && !logfmt_blank(s.p[i]) && s.p[i] != '=' && s.p[i] != '"')
                    i++;
                if (i < s.n && !logfmt_blank(s.p[i]))
                    return ERR(
                        err, EC_INVALID, "invalid tags: unexpected '%c' at pos %zu", s.p[i], i + 1);
                p.value = str_n(s.p + from, i - from);
            }
        }
        for (size_t k = 0; k < n; k++)
            if (str_eq(pairs[k].key, p.key))
                return ERR(err, EC_INVALID, "invalid tags: tag " STR_FMT " has been set twice",
                    (int)MIN(p.key.n, 200), p.key.p);
        pairs[n++] = p; /* a pair needs a blank before the next: n <= n_max unless quotes touch */
        if (n == n_max && i < s.n && !logfmt_blank(s.p[i]))
            return ERR(err, EC_INVALID, "invalid tags: unexpected '%c' at pos %zu", s.p[i], i + 1);
    }
    *ret = pairs;
    *ret_n = n;
    return EC_OK;
}
