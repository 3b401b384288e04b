/* SPDX-License-Identifier: Apache-2.0
 * Random spans, heads and blocks for tests. One seed, one content: a failure can be repeated. */
#pragma once

#include "storage/block.h"
#include "storage/head.h"

struct block_fixture {
    char *dir;
    struct io *io; /* io_real unless a test sets another */
    struct budget budget;
    struct block_cache *cache;
    uint32_t n_files;
    uint64_t dups, copied;    /* of the last write */
    uint32_t corrupt;         /* calls of on_corrupt */
    char path[512];           /* of the last write */
    struct block_facts facts; /* of the last write, without inputs */
};

struct block_fixture *block_fixture_new(void);
void block_fixture_free(struct block_fixture *f); /* asserts that all memory came back */

/* A small fast generator, the same everywhere. */
struct rng {
    uint64_t s;
};
uint64_t rng_next(struct rng *r);
uint32_t rng_below(struct rng *r, uint32_t n); /* n > 0 */

/* An OTLP request of about n_spans random spans: every value type, duplicates of keys and of spans,
 * empty strings, odd parents, times out of order, events, links. */
void fixture_request(struct buf *out, uint64_t seed, uint32_t n_spans);
/* Its traces are n_spans / 8 of those from `trace_first` on, a millisecond each behind the one
 * before. */
void fixture_request_from(struct buf *out, uint64_t seed, uint32_t n_spans, uint32_t trace_first);
struct head *head_of_request(struct bytes request, uint32_t arrival_s);
struct head *fixture_head(uint64_t seed, uint32_t n_spans);
/* Writes the parts as one block and opens it; asserts success. */
struct part *fixture_write(struct block_fixture *f, struct part *const *parts, size_t n);
/* The same, and the result code is the caller's; *ret only on success. */
enum ec fixture_try_write(struct block_fixture *f, struct part *const *parts, size_t n,
    struct budget *budget, struct err *err);
struct part *fixture_open(struct block_fixture *f, const char *path);
/* Asserts that block_verify finds nothing. */
void fixture_verify(const char *path);
