/* SPDX-License-Identifier: Apache-2.0
 * Text of the request target: percent-decoding, query pairs, path cleaning. Pure; memory from an
 * arena. */
#include "server_int.h"

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool http_unescape(struct arena *a, struct str in, bool plus, struct str *ret, bool *ret_bad)
{
    bool plain = true;
    *ret_bad = false;
    for (size_t i = 0; i < in.n && plain; i++)
        plain = in.p[i] != '%' && !(plus && in.p[i] == '+');
    if (plain) {
        *ret = in.n == 0 ? STR("") : in; /* the common case costs no memory */
        return true;
    }
    char *out = arena_alloc(a, in.n);
    size_t n = 0;
    if (out == NULL)
        return false;
    for (size_t i = 0; i < in.n; i++) {
        char c = in.p[i];
        if (c == '%') {
            int hi = in.n - i > 2 ? hex_value(in.p[i + 1]) : -1;
            int lo = in.n - i > 2 ? hex_value(in.p[i + 2]) : -1;
            if (hi < 0 || lo < 0) {
                *ret_bad = true;
                return true;
            }
            c = (char)(hi << 4 | lo);
            i += 2;
        } else if (plus && c == '+') {
            c = ' ';
        }
        out[n++] = c;
    }
    *ret = str_n(out, n);
    return true;
}

bool http_params_parse(struct arena *a, struct str query, struct http_param **ret, size_t *ret_n)
{
    size_t max = 0, n = 0;
    for (size_t i = 0; i < query.n; i++)
        max += query.p[i] == '&';
    max = MIN(query.n == 0 ? 0 : max + 1, HTTP_PARAMS_MAX);
    struct http_param *params = NULL;
    if (max != 0 && (params = ARENA_ARRAY(a, max, struct http_param)) == NULL)
        return false;
    while (query.n != 0 && n < max) {
        struct str value, pair = str_cut(query, '&', &query);
        bool bad_key, bad_value;
        if (pair.n == 0 || memchr(pair.p, ';', pair.n) != NULL)
            continue;
        struct str key = str_cut(pair, '=', &value);
        struct http_param *at = &params[n];
        if (!http_unescape(a, key, true, &at->key, &bad_key))
            return false;
        if (bad_key)
            continue;
        if (!http_unescape(a, value, true, &at->value, &bad_value))
            return false;
        n += !bad_value;
    }
    *ret = params;
    *ret_n = n;
    return true;
}

bool http_path_clean(struct arena *a, struct str path, struct str *ret)
{
    char *out = arena_alloc(a, path.n + 2);
    size_t n = 0;
    bool slash = false;
    if (out == NULL)
        return false;
    out[n++] = '/';
    while (path.n != 0) {
        const char *mark = memchr(path.p, '/', path.n);
        struct str seg = str_n(path.p, mark == NULL ? path.n : (size_t)(mark - path.p));
        slash = mark != NULL;
        path = slash ? str_n(mark + 1, path.n - seg.n - 1) : STR("");
        if (seg.n == 0 || str_eqz(seg, "."))
            continue;
        if (str_eqz(seg, "..")) {
            while (n > 1 && out[n - 1] != '/')
                n--;
            if (n > 1)
                n--; /* the slash before the segment that goes */
            continue;
        }
        if (n > 1)
            out[n++] = '/';
        memcpy(out + n, seg.p, seg.n);
        n += seg.n;
    }
    if (slash && n > 1)
        out[n++] = '/';
    *ret = str_n(out, n);
    return true;
}

bool http_path_escape(struct arena *a, struct str path, struct str *ret)
{
    static const char keep[] = "-_.~$&+,/:;=@!'()*";
    char *out = arena_alloc(a, path.n * 3 + 1);
    size_t n = 0;
    if (out == NULL)
        return false;
    for (size_t i = 0; i < path.n; i++) {
        char c = path.p[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (alnum || (c != 0 && strchr(keep, c) != NULL)) {
            out[n++] = c;
        } else {
            static const char digits[] = "0123456789ABCDEF";
            out[n++] = '%';
            out[n++] = digits[(uint8_t)c >> 4];
            out[n++] = digits[(uint8_t)c & 15];
        }
    }
    *ret = str_n(out, n);
    return true;
}

bool exchange_redirect_clean(struct exchange *ex)
{
    struct str clean, location;
    if (!http_path_clean(&ex->arena, ex->req.path, &clean) || str_eq(clean, ex->req.path) ||
        !http_path_escape(&ex->arena, clean, &location))
        return false;
    if (ex->req.query.n != 0) {
        char *full = arena_alloc(&ex->arena, location.n + 1 + ex->req.query.n);
        if (full == NULL)
            return false;
        memcpy(full, location.p, location.n);
        full[location.n] = '?';
        memcpy(full + location.n + 1, ex->req.query.p, ex->req.query.n);
        location = str_n(full, location.n + 1 + ex->req.query.n);
    }
    struct buf empty = BUF_INIT;
    exchange_set_header(ex, "Location", location);
    exchange_respond(ex, 301, NULL, &empty, false);
    return true;
}
