/* SPDX-License-Identifier: Apache-2.0
 * Split-block Bloom filters over the values of a high-cardinality string column.
 *
 * Pages of 32-byte blocks; a value sets one bit in each of the eight words of one block, so a test
 * touches one cache line of one small page. About 12 bits a value: one false answer in some 250.
 * The page comes from the hash's top half, block and bits from the rest (FORMAT.md section 7). */
#pragma once

#include "base/hash.h"

#define FILTER_PAGE_BYTES     8192u
#define FILTER_BITS_PER_VALUE 12u

static inline uint64_t filter_hash(struct str s)
{
    return hash64_seed(s.p, s.n, 0x66696c746572ULL);
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
