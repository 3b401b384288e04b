/* SPDX-License-Identifier: Apache-2.0
 * The gRPC deframer: any bytes, in pieces of any size, with any encoding. The first two bytes
 * choose the encoding and the piece size. The outcome must not depend on the pieces. */
#include <stdlib.h>

#include "../../src/server/server_int.h"

#define CAP 65536u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct server server;
static struct listener listener = {.server = &server};

/* An exchange as the transport makes it, without a connection behind it. */
static struct exchange *exchange_bare(struct budget *budget)
{
    static struct loop loop = {.server = &server};
    static struct conn conn = {.peer = "fuzz"};
    static bool ready;
    if (!ready) {
        pthread_mutex_init(&server.idle_lock, NULL);
        pthread_cond_init(&server.idle, NULL);
        ready = true;
    }
    listener.opt.encodings = ENC_GZIP | ENC_ZSTD | ENC_SNAPPY;
    listener.opt.grpc_message_bytes_max = CAP;
    listener.opt.body_budget = budget;
    struct exchange *ex = exchange_new(&loop, &listener, &conn);
    ex->req.is_grpc = true;
    return ex;
}

/* grpc-status, or -1 and the message. */
static int deframe(
    struct exchange *ex, const char *encoding, const uint8_t *p, size_t n, size_t piece)
{
    ASSERT(exchange_add_header(ex, STR("grpc-encoding"), str_from(encoding), true));
    while (n != 0) {
        size_t now = MIN(n, piece);
        uint8_t *exact = malloc(now);
        ASSERT(exact != NULL);
        memcpy(exact, p, now);
        bool ok = grpc_body_add(ex, exact, now);
        free(exact);
        if (!ok)
            return (int)ex->grpc_status;
        p += now;
        n -= now;
    }
    if (!grpc_body_done(ex))
        return (int)ex->grpc_status;
    ASSERT(ex->req.body.n <= CAP);
    return -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const encodings[] = {"", "identity", "gzip", "zstd", "snappy", "br"};
    if (n < 2)
        return 0;
    struct budget budget;
    budget_init(&budget, NULL, "fuzz", 8u << 20);
    const char *encoding = encodings[data[0] % ARRAY_LEN(encodings)];
    struct exchange *whole = exchange_bare(&budget), *parts = exchange_bare(&budget);
    int a = deframe(whole, encoding, data + 2, n - 2, SIZE_MAX);
    int b = deframe(parts, encoding, data + 2, n - 2, (size_t)data[1] + 1);
    ASSERT(a == b);
    if (a == -1)
        ASSERT(bytes_eq(whole->req.body, parts->req.body));
    exchange_unref(whole);
    exchange_unref(parts);
    budget_deinit(&budget);
    return 0;
}
