/* SPDX-License-Identifier: Apache-2.0
 * ${VAR} expansion of a whole file, before it is parsed as YAML. Text only: a value may change the
 * structure of the file, as it may in Tempo. Comments are not spared either.
 *
 * Defaults and replacements are taken literally, expressions do not nest. */
#include <ctype.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "doc.h"

#define EXPANDED_MAX CONFIG_FILE_MAX

static size_t name_length(struct str s)
{
    size_t n = 0;
    while (n < s.n && (isalnum((unsigned char)s.p[n]) || s.p[n] == '_'))
        n++;
    return n;
}

static struct str tail(struct str s, size_t n)
{
    return str_n(s.p + n, s.n - n);
}

/* ---- operators: each appends its result ---- */

static bool op_substring(struct str args, struct str v, struct buf *out)
{
    struct str rest, first = str_trim(str_cut(args, ':', &rest));
    bool has_length = first.n < str_trim(args).n;
    int64_t offset, length;

    if (!str_to_i64(first, &offset))
        return false;
    if (offset < 0)
        offset = MAX((int64_t)v.n + offset, 0);
    offset = MIN(offset, (int64_t)v.n);
    v = tail(v, (size_t)offset);
    if (has_length) {
        if (!str_to_i64(str_trim(rest), &length) || length < 0)
            return false;
        v.n = MIN(v.n, (size_t)length);
    }
    buf_puts(out, v);
    return true;
}

static void op_case(struct str v, bool upper, bool all, struct buf *out)
{
    for (size_t i = 0; i < v.n; i++) {
        int c = (unsigned char)v.p[i];
        buf_putc(out, (char)(i > 0 && !all ? c : upper ? toupper(c) : tolower(c)));
    }
}

/* Does the glob match the n bytes at p? Bounded: values and patterns are cut at a page. */
#define GLOB_MAX 4096
static bool glob_match(struct str pattern, const char *p, size_t n)
{
    char pat[GLOB_MAX + 1], text[GLOB_MAX + 1];
    if (pattern.n > GLOB_MAX || n > GLOB_MAX)
        return false;
    memcpy(pat, pattern.p, pattern.n);
    pat[pattern.n] = 0;
    memcpy(text, p, n);
    text[n] = 0;
    return fnmatch(pat, text, 0) == 0;
}

static void op_trim(struct str v, struct str pattern, bool suffix, bool longest, struct buf *out)
{
    for (size_t i = 0; i <= v.n; i++) {
        size_t n = longest ? v.n - i : i;
        if (!glob_match(pattern, suffix ? v.p + v.n - n : v.p, n))
            continue;
        buf_puts(out, suffix ? str_n(v.p, v.n - n) : tail(v, n));
        return;
    }
    buf_puts(out, v);
}

static void op_replace(struct str v, struct str spec, struct buf *out)
{
    bool all = spec.n > 0 && spec.p[0] == '/';
    bool prefix = spec.n > 0 && spec.p[0] == '#';
    bool suffix = spec.n > 0 && spec.p[0] == '%';
    if (all || prefix || suffix)
        spec = tail(spec, 1);
    struct str with, what = str_cut(spec, '/', &with);
    size_t i = 0;

    while (what.n > 0 && i + what.n <= v.n) {
        bool here = memcmp(v.p + i, what.p, what.n) == 0 && (!prefix || i == 0) &&
                    (!suffix || i + what.n == v.n);
        if (!here) {
            buf_putc(out, v.p[i++]);
            continue;
        }
        buf_puts(out, with);
        i += what.n;
        if (!all)
            break;
    }
    buf_puts(out, tail(v, i));
}

static bool is_default_operator(struct str s)
{
    return s.n > 1 && s.p[0] == ':' && strchr("-=?+", s.p[1]) != NULL;
}

/* What follows the name inside the braces. */
static enum ec apply(struct str op, struct str v, struct buf *out, struct err *err)
{
    if (op.n == 0) {
        buf_puts(out, v);
        return EC_OK;
    }
    bool doubled = op.n > 1 && op.p[1] == op.p[0];
    switch (op.p[0]) {
    case ':':
        if (is_default_operator(op)) {
            buf_puts(out, v.n > 0 ? v : tail(op, 2));
            return EC_OK;
        }
        if (op_substring(tail(op, 1), v, out))
            return EC_OK;
        break;
    case '=':
        buf_puts(out, v.n > 0 ? v : tail(op, 1));
        return EC_OK;
    case '^':
    case ',':
        if (op.n > (doubled ? 2u : 1u))
            break;
        op_case(v, op.p[0] == '^', doubled, out);
        return EC_OK;
    case '#':
    case '%':
        op_trim(v, tail(op, doubled ? 2 : 1), op.p[0] == '%', doubled, out);
        return EC_OK;
    case '/':
        op_replace(v, tail(op, 1), out);
        return EC_OK;
    default:
        return ERR(err, EC_INVALID, "missing closing brace");
    }
    return ERR(err, EC_INVALID, "bad substitution ${...%.*s}", (int)MIN(op.n, 60), op.p);
}

/* in starts after "${". *ret_n: bytes up to and with the closing brace. */
static enum ec expand_one(struct str in, size_t *ret_n, struct buf *out, struct err *err)
{
    const char *close = in.n > 0 ? memchr(in.p, '}', in.n) : NULL;
    char name[256];

    if (close == NULL)
        return ERR(err, EC_INVALID, "missing closing brace");
    struct str body = str_n(in.p, (size_t)(close - in.p));
    bool length = body.n > 1 && body.p[0] == '#';
    if (length)
        body = tail(body, 1);
    size_t n = name_length(body);
    if (n == 0 || n >= sizeof(name) || (length && n != body.n))
        return ERR(err, EC_INVALID, "bad substitution ${%.*s}", (int)MIN(body.n, 60), body.p);
    memcpy(name, body.p, n);
    name[n] = 0;
    struct str v = str_from(getenv(name));
    if (v.p == NULL)
        v = STR("");
    *ret_n = (size_t)(close - in.p) + 1;
    if (length) {
        buf_printf(out, "%zu", v.n);
        return EC_OK;
    }
    return apply(tail(body, n), v, out, err);
}

enum ec env_expand(struct str in, struct buf *out, struct err *err)
{
    while (in.n > 0) {
        char next = in.n > 1 ? in.p[1] : 0;
        size_t used = 1;
        if (in.p[0] == '$' && next == '$') {
            buf_putc(out, '$');
            used = 2;
        } else if (in.p[0] == '\\' && (next == '\\' || next == '/')) {
            buf_putc(out, next);
            used = 2;
        } else if (in.p[0] == '$' && next == '{') {
            TRY(expand_one(tail(in, 2), &used, out, err));
            used += 2;
        } else {
            buf_putc(out, in.p[0]);
        }
        if (out->n > EXPANDED_MAX)
            return ERR(err, EC_TOO_LARGE, "over %u bytes after expansion", EXPANDED_MAX);
        in = tail(in, used);
    }
    return EC_OK;
}
