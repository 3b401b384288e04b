/* SPDX-License-Identifier: Apache-2.0
 * From the text of an address to a bound socket, for connections and packets alike.
 *
 * WHY an address of all zeros takes both families: Go's listeners do, and "0.0.0.0:4317" is what
 * configurations say, in clusters that have IPv6 alone, too. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>

#include "server_int.h"

/* "host:port" or "[address]:port": host (may be empty) as text, port as a view into address. */
static enum ec split_address(
    const char *address, char *host, size_t host_size, const char **ret_port, struct err *err)
{
    const char *colon = strrchr(address, ':');
    const char *end = colon;
    uint64_t port;
    if (colon == NULL || !str_to_u64(str_from(colon + 1), &port) || port > 65535)
        return ERR(err, EC_INVALID, "listen %s: wants host:port", address);
    if (address[0] == '[') {
        address++;
        end = colon - 1;
        if (end < address || *end != ']')
            return ERR(err, EC_INVALID, "listen %s: wants [address]:port", address);
    }
    size_t n = (size_t)(end - address);
    if (n >= host_size)
        return ERR(err, EC_INVALID, "listen %s: host name is too long", address);
    memcpy(host, address, n);
    host[n] = 0;
    *ret_port = colon + 1;
    return EC_OK;
}

static int bind_one(int family, int type, const struct sockaddr *a, socklen_t n, bool any)
{
    int on = 1, v6only = !any;
    int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (type == SOCK_STREAM)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only));
    if (bind(fd, a, n) == 0)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

/* One socket for both families, or for IPv4 where there is no IPv6. */
static int bind_any(int type, uint16_t port)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = bind_one(AF_INET6, type, (struct sockaddr *)&in6, sizeof(in6), true);
    if (fd < 0 && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL))
        fd = bind_one(AF_INET, type, (struct sockaddr *)&in, sizeof(in), false);
    return fd;
}

/* IPv4 first: agents' clients send to 127.0.0.1 where "localhost" is configured. */
static int bind_named(const struct addrinfo *list, int type)
{
    int fd = -1;
    for (int pass = 0; pass < 2; pass++)
        for (const struct addrinfo *ai = list; ai != NULL && fd < 0; ai = ai->ai_next)
            if ((ai->ai_family == AF_INET) == (pass == 0))
                fd = bind_one(ai->ai_family, type, ai->ai_addr, ai->ai_addrlen, false);
    return fd;
}

enum ec bind_address(const char *address, int type, int *ret_fd, struct err *err)
{
    char host[256];
    const char *port = NULL;
    int fd;
    TRY(split_address(address, host, sizeof(host), &port, err));
    if (host[0] == 0 || strcmp(host, "::") == 0 || strcmp(host, "0.0.0.0") == 0) {
        fd = bind_any(type, (uint16_t)atoi(port));
    } else {
        struct addrinfo hints = {.ai_socktype = type, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
        struct addrinfo *list = NULL;
        int rc = getaddrinfo(host, port, &hints, &list);
        if (rc != 0)
            return ERR(err, EC_INVALID, "listen %s: %s", address, gai_strerror(rc));
        fd = bind_named(list, type);
        int saved = errno;
        freeaddrinfo(list);
        errno = saved;
    }
    if (fd < 0)
        return ERR_ERRNO(err, EC_UNAVAILABLE, errno, "listen %s", address);
    *ret_fd = fd;
    return EC_OK;
}
