/* SPDX-License-Identifier: Apache-2.0
 * Datagram listeners.
 *
 * Packets are taken in batches (recvmmsg), so that a burst costs few system calls. The kernel tells
 * with each packet how many it has dropped on this socket so far (SO_RXQ_OVFL). */
#include "server/udp.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "server_int.h"

#define UDP_BATCH       16
#define UDP_PACKET_MAX  65535u
#define UDP_SOCKET      (4u << 20)
#define UDP_LINGER_NS   (200 * NS_PER_MS)
#define UDP_CONTROL_MAX CMSG_SPACE(sizeof(uint32_t))

struct udp {
    struct udp_options opt;
    int fd, stop_fd;
    pthread_t thread;
    uint32_t overflowed; /* as the kernel counts; the thread's */
    uint8_t *packets;    /* UDP_BATCH of packet_bytes_max */
    _Alignas(struct cmsghdr) uint8_t control[UDP_BATCH][UDP_CONTROL_MAX];
};

static void udp_count_overflow(struct udp *u, struct msghdr *m)
{
    uint32_t total;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SO_RXQ_OVFL)
            continue;
        memcpy(&total, CMSG_DATA(c), sizeof(total));
        if (total != u->overflowed) /* it wraps, and so does the difference */
            u->opt.lost(u->opt.ctx, UDP_OVERFLOW, total - u->overflowed);
        u->overflowed = total;
    }
}

/* Takes what waits, one batch; false when nothing did. */
static bool udp_take(struct udp *u)
{
    struct mmsghdr m[UDP_BATCH];
    struct iovec iov[UDP_BATCH];
    size_t size = u->opt.packet_bytes_max;
    for (unsigned i = 0; i < UDP_BATCH; i++) {
        iov[i] = (struct iovec){u->packets + i * size, size};
        m[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &iov[i],
                                    .msg_iovlen = 1,
                                    .msg_control = u->control[i],
                                    .msg_controllen = UDP_CONTROL_MAX}};
    }
    int n = recvmmsg(u->fd, m, UDP_BATCH, MSG_DONTWAIT, NULL);
    if (n <= 0) /* EAGAIN, or an error that a packet of ours cannot have caused: poll again */
        return false;
    for (int i = 0; i < n; i++) {
        udp_count_overflow(u, &m[i].msg_hdr);
        if ((m[i].msg_hdr.msg_flags & MSG_TRUNC) != 0)
            u->opt.lost(u->opt.ctx, UDP_TRUNCATED, 1);
        else
            u->opt.packet(u->opt.ctx, bytes_n(iov[i].iov_base, m[i].msg_len));
    }
    return true;
}

static void *udp_run(void *arg)
{
    struct udp *u = arg;
    struct pollfd p[] = {{.fd = u->fd, .events = POLLIN}, {.fd = u->stop_fd, .events = POLLIN}};
    while (p[1].revents == 0) {
        if (poll(p, 2, -1) < 0)
            continue; /* EINTR */
        if (p[0].revents != 0)
            (void)udp_take(u); /* false: somebody's checksum was wrong */
    }
    int64_t end = clock_mono_ns() + UDP_LINGER_NS;
    while (udp_take(u) && clock_mono_ns() < end)
        ;
    return NULL;
}

/* ---- socket ---- */

static void udp_tune(struct udp *u)
{
    int on = 1, bytes = (int)MIN(u->opt.socket_bytes, (size_t)INT32_MAX / 2);
    setsockopt(u->fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof(on));
    /* Past net.core.rmem_max only with a privilege; without it, as much as goes. */
    if (setsockopt(u->fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) != 0)
        setsockopt(u->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
}

static unsigned udp_port(const struct udp *u)
{
    struct sockaddr_storage a = {0};
    socklen_t n = sizeof(a);
    getsockname(u->fd, (struct sockaddr *)&a, &n);
    return a.ss_family == AF_INET ? ntohs(((struct sockaddr_in *)(void *)&a)->sin_port)
                                  : ntohs(((struct sockaddr_in6 *)(void *)&a)->sin6_port);
}

size_t udp_socket_bytes(const struct udp *u)
{
    int bytes = 0;
    socklen_t n = sizeof(bytes);
    getsockopt(u->fd, SOL_SOCKET, SO_RCVBUF, &bytes, &n);
    return (size_t)bytes / 2; /* the kernel doubles it for its own use */
}

static void udp_free(struct udp *u)
{
    if (u->fd >= 0)
        close(u->fd);
    if (u->stop_fd >= 0)
        close(u->stop_fd);
    free(u->packets);
    free(u);
}

enum ec udp_listen(
    const struct udp_options *opt, struct udp **ret, unsigned *ret_port, struct err *err)
{
    ASSERT(opt->address != NULL);
    ASSERT(opt->packet != NULL && opt->lost != NULL);
    struct udp *u = xcalloc(1, sizeof(*u));
    u->opt = *opt;
    u->fd = u->stop_fd = -1;
    if (u->opt.packet_bytes_max == 0)
        u->opt.packet_bytes_max = UDP_PACKET_MAX;
    u->opt.packet_bytes_max = MIN(u->opt.packet_bytes_max, UDP_PACKET_MAX);
    if (u->opt.socket_bytes == 0)
        u->opt.socket_bytes = UDP_SOCKET;
    u->packets = xmalloc(UDP_BATCH * u->opt.packet_bytes_max);
    enum ec ec = bind_address(u->opt.address, SOCK_DGRAM, &u->fd, err);
    if (ec == EC_OK && (u->stop_fd = eventfd(0, EFD_CLOEXEC)) < 0)
        ec = ERR_ERRNO(err, EC_UNAVAILABLE, errno, "listen %s: eventfd", opt->address);
    if (ec == EC_OK) {
        udp_tune(u);
        int rc = pthread_create(&u->thread, NULL, udp_run, u);
        if (rc != 0)
            ec = ERR_ERRNO(err, EC_UNAVAILABLE, rc, "listen %s: thread", opt->address);
    }
    if (ec != EC_OK) {
        udp_free(u);
        return ec;
    }
    if (ret_port != NULL)
        *ret_port = udp_port(u);
    *ret = u;
    return EC_OK;
}

void udp_close(struct udp *u)
{
    if (u == NULL)
        return;
    eventfd_write(u->stop_fd, 1);
    pthread_join(u->thread, NULL);
    udp_free(u);
}
