/* SPDX-License-Identifier: Apache-2.0
 * Bitmaps of span rows. */
#include "storage/scan.h"

void scan_bits_clear(struct scan_bits *b, uint32_t n)
{
    ASSERT(n <= PART_GROUP_ROWS);
    b->n = n;
    memset(b->w, 0, sizeof(b->w));
}

void scan_bits_fill(struct scan_bits *b, uint32_t n)
{
    scan_bits_clear(b, n);
    memset(b->w, 0xff, n / 64 * 8);
    if (n % 64 != 0)
        b->w[n / 64] = ((uint64_t)1 << (n % 64)) - 1;
}

void scan_bits_and(struct scan_bits *b, const struct scan_bits *with)
{
    ASSERT(b->n == with->n);
    for (uint32_t i = 0; i < SCAN_WORDS; i++)
        b->w[i] &= with->w[i];
}

void scan_bits_or(struct scan_bits *b, const struct scan_bits *with)
{
    ASSERT(b->n == with->n);
    for (uint32_t i = 0; i < SCAN_WORDS; i++)
        b->w[i] |= with->w[i];
}

void scan_bits_not(struct scan_bits *b)
{
    struct scan_bits all;
    scan_bits_fill(&all, b->n);
    for (uint32_t i = 0; i < SCAN_WORDS; i++)
        b->w[i] ^= all.w[i];
}

uint32_t scan_bits_count(const struct scan_bits *b)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < SCAN_WORDS; i++)
        n += count_bits(b->w[i]);
    return n;
}

bool scan_bits_any(const struct scan_bits *b)
{
    uint64_t any = 0;
    for (uint32_t i = 0; i < SCAN_WORDS; i++)
        any |= b->w[i];
    return any != 0;
}

uint32_t scan_bits_next(const struct scan_bits *b, uint32_t from)
{
    if (from >= b->n)
        return b->n;
    uint32_t i = from / 64;
    uint64_t w = b->w[i] & ~(uint64_t)0 << (from % 64);
    while (w == 0) {
        if (++i >= SCAN_WORDS)
            return b->n;
        w = b->w[i];
    }
    return i * 64 + (uint32_t)__builtin_ctzll(w);
}
