/* SPDX-License-Identifier: Apache-2.0
 * Tells the protocol of a new connection from its first bytes, which stay in the socket (MSG_PEEK).
 *
 * Plain text: the HTTP/2 preface or anything else (HTTP/1.1). TLS: the ALPN list of the
 * ClientHello, collected over as many records as it takes. Pure functions; nothing is kept. */
#include "server_int.h"

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

enum sniff sniff_plain(struct bytes b)
{
    size_t n = MIN(b.n, sizeof(preface) - 1);
    if (n == 0)
        return SNIFF_MORE;
    if (memcmp(b.p, preface, n) != 0)
        return SNIFF_H1;
    return n == sizeof(preface) - 1 ? SNIFF_H2 : SNIFF_MORE;
}

struct cursor {
    const uint8_t *p, *end;
};

static bool take(struct cursor *c, size_t n, struct cursor *ret)
{
    if ((size_t)(c->end - c->p) < n)
        return false;
    *ret = (struct cursor){c->p, c->p + n};
    c->p += n;
    return true;
}

/* A vector with a length of `width` bytes before it. */
static bool take_vector(struct cursor *c, unsigned width, struct cursor *ret)
{
    size_t n = 0;
    struct cursor len;
    if (!take(c, width, &len))
        return false;
    for (unsigned i = 0; i < width; i++)
        n = n << 8 | len.p[i];
    return take(c, n, ret);
}

static bool alpn_has_h2(struct cursor extension)
{
    struct cursor list, name;
    if (!take_vector(&extension, 2, &list))
        return false;
    while (take_vector(&list, 1, &name))
        if (name.end - name.p == 2 && memcmp(name.p, "h2", 2) == 0)
            return true;
    return false;
}

static enum sniff client_hello_alpn(struct cursor body)
{
    struct cursor skip, extensions, extension, type;
    if (!take(&body, 2 + 32, &skip)       /* version, random */
        || !take_vector(&body, 1, &skip)  /* session id */
        || !take_vector(&body, 2, &skip)  /* cipher suites */
        || !take_vector(&body, 1, &skip)) /* compression */
        return SNIFF_BAD;
    if (!take_vector(&body, 2, &extensions))
        return SNIFF_H1; /* no extensions at all */
    while (take(&extensions, 2, &type) && take_vector(&extensions, 2, &extension))
        if (type.p[0] == 0 && type.p[1] == 16)
            return alpn_has_h2(extension) ? SNIFF_H2 : SNIFF_H1;
    return SNIFF_H1;
}

enum sniff sniff_client_hello(struct bytes b)
{
    uint8_t hello[HEADER_BLOCK_MAX];
    size_t n = 0, at = 0;
    for (;;) {
        if (b.n > at && b.p[at] != 22 /* handshake */)
            return SNIFF_BAD;
        if (b.n > at + 1 && b.p[at + 1] != 3)
            return SNIFF_BAD;
        if (b.n - at < 5)
            return SNIFF_MORE;
        size_t len = (size_t)b.p[at + 3] << 8 | b.p[at + 4];
        if (len == 0 || len > (1u << 14) + 256)
            return SNIFF_BAD;
        size_t have = MIN(len, b.n - at - 5);
        if (have > sizeof(hello) - n)
            return SNIFF_BAD;
        memcpy(hello + n, b.p + at + 5, have);
        n += have;
        at += 5 + have;
        if (n >= 1 && hello[0] != 1 /* client_hello */)
            return SNIFF_BAD;
        if (n >= 4) {
            size_t want = (size_t)hello[1] << 16 | (size_t)hello[2] << 8 | hello[3];
            if (want > sizeof(hello) - 4)
                return SNIFF_BAD;
            if (n - 4 >= want)
                return client_hello_alpn((struct cursor){hello + 4, hello + 4 + want});
        }
        if (have < len)
            return SNIFF_MORE;
    }
}
