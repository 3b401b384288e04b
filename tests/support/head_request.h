/* SPDX-License-Identifier: Apache-2.0
 * For tests: a request from bytes to batch to head, and rows back. */
#pragma once

#include "part_check.h"
#include "storage/head.h"

struct request {
    struct buf raw;
    struct arena arena;
    struct batch b;
};

static inline void request_begin(struct request *q)
{
    memset(q, 0, sizeof(*q));
    buf_init(&q->raw, NULL);
    arena_init(&q->arena, NULL, 0);
}

static inline void request_decode(struct request *q)
{
    const struct batch_limits limits = {.span_bytes_max = 1u << 30};
    assert_ok(batch_decode(&q->b, buf_bytes(&q->raw), &limits, &q->arena, err));
}

static inline void request_end(struct request *q)
{
    arena_deinit(&q->arena);
    buf_deinit(&q->raw);
}

/* Returns the duplicates. */
static inline uint32_t request_insert(struct head *h, const struct request *q, uint32_t arrival_s)
{
    uint32_t dups = UINT32_MAX;
    assert_ok(head_reserve(h, &q->b, err));
    head_insert(h, &q->b, arrival_s, &dups);
    return dups;
}
