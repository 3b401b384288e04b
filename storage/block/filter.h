/* SPDX-License-Identifier: Apache-2.0
 * Split-block Bloom filters: over the trace ids of a block, over its keys and strings, and (format
 * version 1) over the strings of a column.
 *
 * Pages of 32-byte blocks; a value sets one bit in each of the eight words of one block, so a test
 * touches one cache line of one small page. About 12 bits a value: one false answer in some 250.
 * The page comes from the hash's top half, block and bits from the rest (FORMAT.md section 7). */
#pragma once

#include "base/hash.h"
#include "storage/part.h"

#define FILTER_PAGE_BYTES     8192u
#define FILTER_STORED_MAX     (FILTER_PAGE_BYTES + 16) /* a raw section */
#define FILTER_BITS_PER_VALUE 12u
#define FILTER_BITS_PER_ID    16u /* of a thousand blocks less than one reads a page in vain */

static inline uint64_t filter_hash(struct str s)
{
    return hash64_seed(s.p, s.n, 0x66696c746572ULL);
}

/* Hashes of the block's filters (FORMAT.md section 7). */
static inline uint64_t block_id_hash(const struct trace_id *id)
{
    return hash_mix(get_u64le(id->b) ^ hash_mix(get_u64le(id->b + 8)));
}

enum block_filter_what { BLOCK_HAS_STRING = 0, BLOCK_HAS_KEY = 1, BLOCK_HAS_ARRAY = 2 };

static inline uint64_t block_attr_seed(
    enum part_table t, struct str key, enum block_filter_what what)
{
    return hash64_seed(key.p, key.n, (uint64_t)what << 16 | (uint64_t)t << 8 | 1);
}

static inline uint64_t block_col_seed(col_id col) /* a fixed column of strings */
{
    return hash_mix(col | (uint64_t)1 << 63);
}

static inline uint64_t block_value_hash(uint64_t seed, uint64_t string_hash)
{
    return hash_mix(string_hash ^ seed);
}

/* The hash of a table's distinct keys, one after the other in order. */
static inline uint64_t block_names_add(uint64_t hash, struct str key)
{
    return hash64_seed(key.p, key.n, hash + 1);
}

static inline uint32_t filter_page_of(uint64_t hash, uint32_t n_pages)
{
    return (uint32_t)((hash >> 32) * n_pages >> 32);
}

static inline uint32_t filter_mask(uint32_t h, unsigned i)
{
    static const uint32_t salts[8] = {0x47b6137bU, 0x44974d91U, 0x8824ad5bU, 0xa2b7289dU,
        0x705495c7U, 0x2df1424bU, 0x9efc4947U, 0x5c6bfb31U};
    return 1U << ((h * salts[i]) >> 27);
}

/* Which 32-byte block of a page; the page took the top bits, so they are mixed again. */
static inline uint32_t filter_block_of(uint64_t hash, uint32_t n_bytes)
{
    return (uint32_t)((uint64_t)(uint32_t)(hash_mix(hash) >> 32) * (n_bytes / 32) >> 32);
}

static inline void filter_add(uint8_t *page, uint32_t n_bytes, uint64_t hash)
{
    uint8_t *block = page + (size_t)filter_block_of(hash, n_bytes) * 32;
    for (unsigned i = 0; i < 8; i++)
        put_u32le(block + 4 * i, get_u32le(block + 4 * i) | filter_mask((uint32_t)hash, i));
}

static inline bool filter_has(const uint8_t *page, uint32_t n_bytes, uint64_t hash)
{
    if (n_bytes < 32)
        return true;
    const uint8_t *block = page + (size_t)filter_block_of(hash, n_bytes) * 32;
    for (unsigned i = 0; i < 8; i++)
        if ((get_u32le(block + 4 * i) & filter_mask((uint32_t)hash, i)) == 0)
            return false;
    return true;
}
