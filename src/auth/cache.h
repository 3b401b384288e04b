/* SPDX-License-Identifier: Apache-2.0
 * What was found out lately: a bounded table with expiry, for many readers.
 *
 * Values are immutable and counted: a reader holds one as long as it likes, whatever the table
 * does. Entries and bytes are bounded; a full shard gives up an expired entry, else one that was
 * not used since the sweep last came by. Looking up takes one short lock of one shard and allocates
 * nothing. Times are given by the caller (clock_mono_ns), so that tests own the clock. */
#pragma once

#include <stdatomic.h>

#include "base/bytes.h"

/* First member of every value. */
struct cache_value {
    atomic_uint refs;
    size_t bytes; /* what it weighs in the table */
    void (*destroy)(struct cache_value *v);
};

static inline void cache_value_init(
    struct cache_value *v, size_t bytes, void (*destroy)(struct cache_value *))
{
    atomic_init(&v->refs, 1);
    v->bytes = bytes;
    v->destroy = destroy;
}
struct cache_value *cache_value_ref(struct cache_value *v); /* NULL allowed */
void cache_value_unref(struct cache_value *v);              /* NULL allowed */

/* Bytes 0-7 must be uniformly distributed: keys begin with a keyed hash. */
#define CACHE_KEY_BYTES 64
struct cache_key {
    uint8_t b[CACHE_KEY_BYTES];
};

struct cache;
struct cache *cache_new(unsigned entries_max, size_t bytes_max);
void cache_free(struct cache *c); /* NULL allowed */
/* The value with a reference for the caller, or NULL when absent or expired. */
struct cache_value *cache_get(struct cache *c, const struct cache_key *key, int64_t now_ns);
/* Takes a reference of its own; replaces. A value over an eighth of a shard's bytes is not kept. */
void cache_put(struct cache *c, const struct cache_key *key, struct cache_value *v,
    int64_t expires_ns, int64_t now_ns);
size_t cache_entries(struct cache *c);
