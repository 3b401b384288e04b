/* SPDX-License-Identifier: Apache-2.0
 * What holds for every receiver and any bytes: an error is one of those that it may give, and what
 * it made is a request that the decoder takes, of a size that the bytes can account for. */
#pragma once

#include "model/batch.h"
#include "receivers/receivers.h"

/* The most that a byte can grow to is a tag of an unknown type, or a reference. */
#define RECEIVER_GROWTH 32u

static inline void receiver_fuzz_check(enum ec ec, const struct buf *pb, size_t n_in)
{
    if (ec != EC_OK) {
        ASSERT(ec == EC_INVALID || ec == EC_LIMIT || ec == EC_NOT_FOUND || ec == EC_UNSUPPORTED);
        ASSERT(pb->n == 0);
        return;
    }
    struct arena arena;
    struct batch b;
    struct err err = {0};
    ASSERT(pb->n <= 256 + n_in * RECEIVER_GROWTH);
    arena_init(&arena, pb->budget, 0);
    ec = batch_decode(&b, buf_bytes(pb), NULL, &arena, &err);
    ASSERT(ec == EC_OK || ec == EC_TOO_LARGE);
    arena_deinit(&arena);
}

/* Runs `call`, which may use in, pb and err, on a budget that must be whole again afterwards. */
#define RECEIVER_FUZZ(data, n, call)                    \
    do {                                                \
        struct budget budget_;                          \
        struct buf pb;                                  \
        struct err err = {0};                           \
        struct bytes in = bytes_n((data), (n));         \
        budget_init(&budget_, NULL, "fuzz", 64u << 20); \
        buf_init(&pb, &budget_);                        \
        enum ec ec_ = (call);                           \
        receiver_fuzz_check(ec_, &pb, (n));             \
        buf_deinit(&pb);                                \
        budget_deinit(&budget_);                        \
    } while (0)
