/* SPDX-License-Identifier: Apache-2.0
 * Any text as an OTLP/JSON request: what is accepted must be a request that the decoder takes, and
 * must not be larger than the text allows. */
#include "model/batch.h"
#include "receivers/receivers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct budget budget;
    struct arena arena;
    struct batch b;
    struct buf pb;
    struct err err = {0};

    budget_init(&budget, NULL, "fuzz", 64 << 20);
    buf_init(&pb, &budget);
    arena_init(&arena, &budget, 0);
    enum ec ec = otlp_json_to_pb(bytes_n(data, n), &pb, &err);
    if (ec == EC_OK) {
        ASSERT(pb.n <= n); /* a key takes more than the tag that it becomes */
        ec = batch_decode(&b, buf_bytes(&pb), NULL, &arena, &err);
        ASSERT(ec == EC_OK || ec == EC_TOO_LARGE);
    } else {
        ASSERT(ec == EC_INVALID || ec == EC_LIMIT);
        ASSERT(pb.n == 0);
    }
    arena_deinit(&arena);
    buf_deinit(&pb);
    budget_deinit(&budget);
    return 0;
}
