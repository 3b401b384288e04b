/* SPDX-License-Identifier: Apache-2.0
 * XXH3 (xxHash) behind two names, for tables and for checksums on disk. */
#pragma once

#include "base/bytes.h"

uint64_t hash64(const void *p, size_t n);
uint64_t hash64_seed(const void *p, size_t n, uint64_t seed);
static inline uint64_t hash_mix(uint64_t h) /* spreads an integer key (murmur3 finaliser) */
{
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdULL;
    h ^= h >> 33;
    h *= 0xc4ceb9fe1a85ec53ULL;
    return h ^ (h >> 33);
}
