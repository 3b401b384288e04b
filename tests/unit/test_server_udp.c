/* SPDX-License-Identifier: Apache-2.0
 * Datagram listeners: every packet arrives whole and once, or is counted as lost. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "server/udp.h"
#include "unit.h"

struct seen {
    _Atomic uint64_t packets, bytes, overflow, truncated;
    _Atomic bool hold; /* the handler waits while set */
    uint8_t last[65535];
    size_t last_n;
};

static void on_packet(void *ctx, struct bytes packet)
{
    struct seen *s = ctx;
    memcpy(s->last, packet.p, packet.n);
    s->last_n = packet.n;
    atomic_fetch_add(&s->bytes, packet.n);
    atomic_fetch_add(&s->packets, 1);
    while (atomic_load(&s->hold))
        usleep(1000);
}

static void on_lost(void *ctx, enum udp_loss why, uint64_t n)
{
    struct seen *s = ctx;
    atomic_fetch_add(why == UDP_OVERFLOW ? &s->overflow : &s->truncated, n);
}

static struct udp *listen_on(
    struct seen *s, const char *address, size_t packet_max, size_t socket_bytes, unsigned *ret_port)
{
    struct udp_options o = {.address = address,
        .packet_bytes_max = packet_max,
        .socket_bytes = socket_bytes,
        .packet = on_packet,
        .lost = on_lost,
        .ctx = s};
    struct udp *u;
    struct err err = {0};
    if (udp_listen(&o, &u, ret_port, &err) != EC_OK)
        fail_msg("%s", err.msg);
    return u;
}

static void send_to(unsigned port, const void *p, size_t n)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(sendto(fd, p, n, 0, (struct sockaddr *)&in, sizeof(in)), n);
    close(fd);
}

static void wait_for(const _Atomic uint64_t *what, uint64_t n)
{
    int64_t end = clock_mono_ns() + 10 * NS_PER_S;
    while (atomic_load(what) < n && clock_mono_ns() < end)
        usleep(500);
    if (atomic_load(what) != n)
        fail_msg("%llu is not %llu", (unsigned long long)atomic_load(what), (unsigned long long)n);
}

static void test_udp__packets_arrive_whole(void **state)
{
    struct seen *s = calloc(1, sizeof(*s));
    static const size_t sizes[] = {0, 1, 2, 1500, 9000, 65507};
    static uint8_t data[65535];
    unsigned port;
    (void)state;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7);
    struct udp *u = listen_on(s, "localhost:0", 0, 0, &port);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        send_to(port, data, sizes[i]);
        wait_for(&s->packets, i + 1);
        assert_int_equal(s->last_n, sizes[i]);
        assert_memory_equal(s->last, data, sizes[i]);
    }
    udp_close(u);
    assert_int_equal(s->truncated + s->overflow, 0);
    free(s);
}

static void test_udp__longer_packets_are_counted(void **state)
{
    struct seen *s = calloc(1, sizeof(*s));
    uint8_t data[101] = {0};
    unsigned port;
    (void)state;
    struct udp *u = listen_on(s, "127.0.0.1:0", 100, 0, &port);
    send_to(port, data, 101);
    send_to(port, data, 100);
    wait_for(&s->packets, 1);
    assert_int_equal(s->last_n, 100);
    wait_for(&s->truncated, 1);
    udp_close(u);
    free(s);
}

static void test_udp__what_the_kernel_drops_is_counted(void **state)
{
    enum { SENT = 500 };
    struct seen *s = calloc(1, sizeof(*s));
    static const uint8_t data[1000];
    unsigned port;
    (void)state;
    struct udp *u = listen_on(s, "127.0.0.1:0", 0, 4096, &port);
    assert_in_range(udp_socket_bytes(u), 1, 65536);
    atomic_store(&s->hold, true);
    for (int i = 0; i < SENT; i++)
        send_to(port, data, sizeof(data));
    atomic_store(&s->hold, false);
    usleep(100000);
    send_to(port, data, 1); /* the next packet brings the count */
    int64_t end = clock_mono_ns() + 10 * NS_PER_S;
    while (s->packets + s->overflow < SENT + 1 && clock_mono_ns() < end)
        usleep(1000);
    assert_int_equal(s->packets + s->overflow, SENT + 1);
    assert_true(s->overflow > 0);
    udp_close(u);
    free(s);
}

static void test_udp__close_hands_over_what_waits(void **state)
{
    struct seen *s = calloc(1, sizeof(*s));
    static const uint8_t data[10];
    unsigned port;
    (void)state;
    struct udp *u = listen_on(s, ":0", 0, 1u << 20, &port); /* every address */
    atomic_store(&s->hold, true);
    for (int i = 0; i < 100; i++)
        send_to(port, data, sizeof(data));
    atomic_store(&s->hold, false);
    udp_close(u);
    assert_int_equal(s->packets, 100);
    udp_close(NULL);
    free(s);
}

static void test_udp__bad_addresses(void **state)
{
    struct seen *s = calloc(1, sizeof(*s));
    struct err err = {0};
    struct udp *u, *first;
    unsigned port;
    char taken[40];
    (void)state;
    struct udp_options o = {.packet = on_packet, .lost = on_lost, .ctx = s};
    o.address = "nowhere";
    assert_int_equal(udp_listen(&o, &u, NULL, &err), EC_INVALID);
    o.address = "name.invalid:1";
    assert_int_equal(udp_listen(&o, &u, NULL, &err), EC_INVALID);
    first = listen_on(s, "127.0.0.1:0", 0, 0, &port);
    snprintf(taken, sizeof(taken), "127.0.0.1:%u", port);
    o.address = taken;
    assert_int_equal(udp_listen(&o, &u, NULL, &err), EC_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "in use"));
    udp_close(first);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_udp__packets_arrive_whole),
        cmocka_unit_test(test_udp__longer_packets_are_counted),
        cmocka_unit_test(test_udp__what_the_kernel_drops_is_counted),
        cmocka_unit_test(test_udp__close_hands_over_what_waits),
        cmocka_unit_test(test_udp__bad_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
