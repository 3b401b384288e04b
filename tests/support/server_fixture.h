/* SPDX-License-Identifier: Apache-2.0
 * A transport with a handful of test endpoints, one listener, on a port of the kernel's choice.
 *
 *     /echo           the body back            /body    "ec=<n> n=<bytes> wire=<bytes> err=<text>"
 *     /later?ms=N     from another thread      /big?n=N N bytes of text, compressible
 *     /hold           kept until fixture_release; counts who saw a cancellation
 *     /info           method, path, parameters, headers of interest, one a line
 *     gRPC /t.S/Echo  the message back         /t.S/Fail  status 8, "100% é", details "xyz"
 *     gRPC /t.S/Stream  8 bytes "count", "size" (big endian): messages from another thread
 *     gRPC /t.S/Hold  kept until fixture_release
 */
#pragma once

#include "base/budget.h"
#include "server/server.h"

struct fixture {
    struct server *server;
    struct listener *listener;
    unsigned port;
    struct budget budget;
    atomic_uint handled, holding, canceled, stream_sent, stream_failed;
    atomic_bool release;
};
/* opt: NULL for the defaults of the tests (HTTP/1.1, HTTP/2 and gRPC, all encodings, 2 loops). */
struct listener_options fixture_options(void);
void fixture_start(struct fixture *f, const struct listener_options *opt);
/* What connections hold is charged to `connections`. */
void fixture_start_within(
    struct fixture *f, const struct listener_options *opt, struct budget *connections);
void fixture_release(struct fixture *f);
/* Frees the server; asserts that the budget is empty and no connection is counted. */
void fixture_stop(struct fixture *f);
void fixture_sleep_ms(int ms);
/* Waits up to 5 s until *counter is n. */
bool fixture_wait(atomic_uint *counter, unsigned n);
/* [flag, length, message] appended to out. */
void grpc_frame(struct buf *out, uint8_t flag, const void *p, size_t n);
