/* SPDX-License-Identifier: Apache-2.0
 * Datagrams: a bound socket and one thread that hands its packets over, one by one. Best effort, as
 * UDP is: what is lost is counted, nothing waits.
 */
#pragma once

#include "base/bytes.h"
#include "base/err.h"

struct udp;

enum udp_loss {
    UDP_OVERFLOW,  /* the socket's buffer was full: dropped by the kernel */
    UDP_TRUNCATED, /* longer than packet_bytes_max: dropped here */
};

struct udp_options {
    const char *address;     /* "host:port"; port 0: any. Of a name, an IPv4 address is preferred */
    size_t packet_bytes_max; /* 0: 65,535 */
    size_t socket_bytes;     /* that may wait in the kernel, which may allow less; 0: 4 MiB */
    /* Both on the listener's thread; the packet lives until `packet` returns. */
    void (*packet)(void *ctx, struct bytes packet);
    void (*lost)(void *ctx, enum udp_loss why, uint64_t n_packets);
    void *ctx;
};

enum ec udp_listen(
    const struct udp_options *opt, struct udp **ret, unsigned *ret_port, struct err *err) MUST_USE;
/* Bytes that the kernel lets wait. */
size_t udp_socket_bytes(const struct udp *u);
/* Hands over what already waits (for 200 ms at most), then ends the thread. NULL is fine. */
void udp_close(struct udp *u);
