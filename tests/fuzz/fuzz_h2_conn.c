/* SPDX-License-Identifier: Apache-2.0
 * A connection to the transport, any bytes: it ends, what was charged for it is given back, and the
 * next client is served. What an HTTP/2 client is told is a run of whole frames.
 *
 * Byte 0 of the input: 1 no preface (HTTP/1.1, or whatever it is); 2 lengths of frames as they
 * come, else each is made to fit what follows; 4 in pieces of seven bytes. Of HTTP/1.1 the end is
 * not waited for: it comes with a sweep. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/budget.h"
#include "server/server.h"

#define RAW         1
#define LENGTHS     2
#define PIECES      4
#define INPUT_MAX   (64u << 10)
#define PATIENCE_MS 20000
#define QUIET_MS    2
#define PREFACE     "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct server *server;
static struct budget bodies, connections;
static struct sockaddr_un where = {.sun_family = AF_UNIX};

static void answer(void *ctx, struct exchange *ex)
{
    struct buf out = BUF_INIT;
    const struct http_request *r = exchange_request(ex);
    (void)ctx;
    buf_printf(&out, "%d %zu", (int)r->body_ec, r->body.n);
    exchange_respond(ex, 200, "text/plain", &out, true);
}

static void answer_grpc(void *ctx, struct exchange *ex)
{
    (void)ctx;
    (void)grpc_send(ex, exchange_request(ex)->body);
    grpc_finish(ex, 0, STR(""), (struct bytes){0});
}

static void tidy(void)
{
    unlink(where.sun_path);
}

static void start(void)
{
    struct err err = {0};
    unsigned port;
    struct listener *l;
    char address[128];
    snprintf(where.sun_path, sizeof(where.sun_path), "/tmp/vivace-fuzz-h2-%d", (int)getpid());
    snprintf(address, sizeof(address), "unix:%s", where.sun_path);
    budget_init(&bodies, NULL, "bodies", 8u << 20);
    budget_init(&connections, NULL, "connections", 8u << 20);
    const struct server_options s = {.threads = 1, .connection_budget = &connections};
    const struct listener_options o = {.name = "fuzz",
        .address = address,
        .http1 = true,
        .http2 = true,
        .grpc = true,
        .body_bytes_max = 256u << 10,
        .inflated_bytes_max = 1u << 20,
        .grpc_message_bytes_max = 256u << 10,
        .encodings = ENC_GZIP | ENC_ZSTD | ENC_DEFLATE | ENC_SNAPPY,
        .body_budget = &bodies,
        .handler = answer,
        .grpc_handler = answer_grpc};
    if (server_new(&s, &server, &err) != EC_OK ||
        server_listen(server, &o, &l, &port, &err) != EC_OK) {
        fprintf(stderr, "fuzz_h2_conn: %s\n", err_msg(&err));
        abort();
    }
    atexit(tidy);
}

static int dial(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT(fd >= 0 && connect(fd, (const struct sockaddr *)&where, sizeof(where)) == 0);
    return fd;
}

/* Takes what comes until the other side has closed, or says nothing for wait_ms; while `left` is
 * not empty sends of it. False: it said nothing. */
static bool talk(int fd, struct bytes left, size_t piece, int wait_ms, struct buf *in)
{
    uint8_t chunk[16384];
    bool shut = false;
    for (;;) {
        struct pollfd p = {.fd = fd, .events = (short)(POLLIN | (left.n > 0 ? POLLOUT : 0))};
        if (left.n == 0 && !shut) {
            shutdown(fd, SHUT_WR);
            shut = true;
        }
        int ready = poll(&p, 1, wait_ms);
        if (ready < 0 && errno == EINTR) /* by libFuzzer's timer */
            continue;
        if (ready <= 0)
            return false;
        if ((p.revents & POLLOUT) != 0 && left.n > 0) {
            ssize_t n = send(fd, left.p, MIN(left.n, piece), MSG_NOSIGNAL | MSG_DONTWAIT);
            if (n < 0)
                left.n = 0; /* it has closed: what it said is still there */
            else
                left = bytes_n(left.p + n, left.n - (size_t)n);
        }
        if ((p.revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
            ssize_t n = recv(fd, chunk, sizeof(chunk), MSG_DONTWAIT);
            if (n <= 0)
                return true;
            buf_put(in, chunk, (size_t)n);
        }
    }
}

/* The last frame may be cut: the server closes when its client has. */
static void check_frames(struct bytes b)
{
    while (b.n >= 9) {
        size_t n = (size_t)b.p[0] << 16 | (size_t)b.p[1] << 8 | b.p[2];
        ASSERT(n <= 16384 && b.p[3] <= 9);
        n = MIN(n + 9, b.n);
        b = bytes_n(b.p + n, b.n - n);
    }
}

static void repair_lengths(uint8_t *p, size_t n)
{
    while (n >= 9) {
        size_t len = MIN(((size_t)p[1] << 8 | p[2]), n - 9);
        p[0] = 0;
        p[1] = (uint8_t)(len >> 8);
        p[2] = (uint8_t)len;
        p += 9 + len;
        n -= 9 + len;
    }
}

static void served(void)
{
    static const char ask[] = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    struct buf in = BUF_INIT;
    int fd = dial();
    ASSERT(talk(fd, bytes_n(ask, sizeof(ask) - 1), SIZE_MAX, PATIENCE_MS, &in));
    close(fd);
    ASSERT(in.n > 12 && memcmp(in.p, "HTTP/1.1 200", 12) == 0);
    buf_deinit(&in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static unsigned calls;
    if (n < 1 || n > INPUT_MAX)
        return 0;
    if (server == NULL)
        start();
    unsigned flags = data[0];
    struct buf out = BUF_INIT, in = BUF_INIT;
    if ((flags & RAW) == 0)
        buf_put(&out, PREFACE, sizeof(PREFACE) - 1);
    size_t head = out.n;
    buf_put(&out, data + 1, n - 1);
    if ((flags & (RAW | LENGTHS)) == 0)
        repair_lengths(out.p + head, out.n - head);
    int fd = dial();
    bool raw = (flags & RAW) != 0;
    bool ended = talk(fd, buf_bytes(&out), (flags & PIECES) != 0 ? 7 : SIZE_MAX,
        raw ? QUIET_MS : PATIENCE_MS, &in);
    close(fd);
    ASSERT(raw || ended);
    if (!raw)
        check_frames(buf_bytes(&in));
    buf_deinit(&out);
    buf_deinit(&in);
    if (calls++ % 64 == 0)
        served();
    for (int i = 0; budget_used(&bodies) != 0; i++) { /* given back just after the close */
        ASSERT(i < 2000);
        poll(NULL, 0, 1);
    }
    return 0;
}
