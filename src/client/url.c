/* SPDX-License-Identifier: Apache-2.0
 * URLs as text: escaping, and the strict reading that keeps odd ones from the library. */
#include <stdlib.h>

#include "client/http_client.h"

static bool url_unreserved(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

void http_url_escape(struct buf *out, struct str s, const char *keep)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = (uint8_t)s.p[i];
        if (url_unreserved((char)c) || (c != 0 && strchr(keep, c) != NULL)) {
            buf_putc(out, (char)c);
        } else {
            buf_putc(out, '%');
            buf_putc(out, hex[c >> 4]);
            buf_putc(out, hex[c & 15]);
        }
    }
}

static bool url_host_ok(struct str host_port)
{
    struct str host = host_port;
    if (host.n == 0)
        return false;
    if (host.p[0] == '[') { /* an IPv6 address */
        const char *end = memchr(host.p, ']', host.n);
        if (end == NULL || end == host.p + 1)
            return false;
        host = str_n(end + 1, host.n - (size_t)(end + 1 - host.p));
        if (host.n != 0 && host.p[0] != ':')
            return false;
    } else {
        const char *colon = memchr(host.p, ':', host.n);
        if (colon == host.p)
            return false;
        host = colon == NULL ? STR("") : str_n(colon, host.n - (size_t)(colon - host.p));
    }
    if (host.n == 0)
        return true;
    uint64_t port;
    return str_to_u64(str_n(host.p + 1, host.n - 1), &port) && port >= 1 && port <= 65535;
}

bool http_url_split(struct str url, struct str *ret_scheme, struct str *ret_host_port,
    struct str *ret_path, struct str *ret_query)
{
    struct str scheme = str_starts(url, STR("https://"))  ? STR("https")
                        : str_starts(url, STR("http://")) ? STR("http")
                                                          : STR("");
    if (scheme.n == 0)
        return false;
    for (size_t i = 0; i < url.n; i++)
        if ((uint8_t)url.p[i] <= ' ' || (uint8_t)url.p[i] >= 0x7f || url.p[i] == '#' ||
            url.p[i] == '\\')
            return false;
    struct str rest = str_n(url.p + scheme.n + 3, url.n - scheme.n - 3);
    size_t at = 0;
    while (at < rest.n && rest.p[at] != '/' && rest.p[at] != '?')
        at++;
    struct str host = str_n(rest.p, at), tail = str_n(rest.p + at, rest.n - at);
    if (memchr(host.p, '@', host.n) != NULL || !url_host_ok(host))
        return false;
    *ret_scheme = scheme;
    *ret_host_port = host;
    *ret_path = str_cut(tail, '?', ret_query);
    return true;
}

void http_wipe_buf(struct buf *b)
{
    if (b->p != NULL)
        explicit_bzero(b->p, b->cap);
    buf_deinit(b);
}
