/* SPDX-License-Identifier: Apache-2.0
 * -health: one GET against a running server, for container health checks. Exit 0 on 200, else 1. */
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd.h"

#define HEALTH_TIMEOUT_MS 5000

static int left_ms(int64_t deadline_ns)
{
    int64_t left = (deadline_ns - clock_mono_ns()) / NS_PER_MS;
    return left < 0 ? 0 : (int)left;
}

static int dial(const char *host, const char *port, int64_t deadline_ns)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    /* localhost is the loopback address (RFC 6761), also where no /etc/hosts says so: small images
     * have none, and a resolver may be slow or away. */
    const char *name = strcasecmp(host, "localhost") == 0 ? NULL : host;
    if (getaddrinfo(name, port, &hints, &list) != 0)
        return -1;
    int fd = -1;
    for (struct addrinfo *a = list; a != NULL && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
            continue;
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        int bad = 1;
        socklen_t n = sizeof(bad);
        (void)connect(fd, a->ai_addr, a->ai_addrlen); /* the outcome is read from SO_ERROR */
        if (poll(&p, 1, left_ms(deadline_ns)) != 1 ||
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &bad, &n) != 0 || bad != 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    return fd;
}

int cmd_health(const char *url)
{
    char host[256], port[16] = "80", path[1024] = "/", request[1536], answer[64];
    int at = 0;
    if (sscanf(url, "http://%255[^:/]%n", host, &at) != 1) {
        fprintf(stderr, "health: cannot read the URL %s: only http:// is supported\n", url);
        return 1;
    }
    const char *rest = url + at;
    if (*rest == ':' && sscanf(rest, ":%15[0-9]%n", port, &at) == 1)
        rest += at;
    if (*rest == '/')
        snprintf(path, sizeof(path), "%s", rest);
    int64_t deadline = clock_mono_ns() + HEALTH_TIMEOUT_MS * NS_PER_MS;
    int fd = dial(host, port, deadline);
    if (fd < 0) {
        fprintf(stderr, "health: cannot connect to %s:%s\n", host, port);
        return 1;
    }
    int n = snprintf(request, sizeof(request),
        "GET %s HTTP/1.1\r\nHost: %s:%s\r\nConnection: close\r\n\r\n", path, host, port);
    ssize_t got = -1;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (send(fd, request, (size_t)n, MSG_NOSIGNAL) == n && poll(&p, 1, left_ms(deadline)) == 1)
        got = recv(fd, answer, sizeof(answer) - 1, 0);
    close(fd);
    if (got < 12)
        return 1;
    answer[got] = 0;
    return strncmp(answer + 8, " 200", 4) == 0 ? 0 : 1;
}
