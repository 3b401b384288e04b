/* SPDX-License-Identifier: Apache-2.0
 * Split-block filters: what was added is found, in pages of any size and over any bytes that lie
 * there before; pages and blocks are chosen within bounds.
 *
 * Input: number of pages, size of a page in bytes / 8 (also such that a block does not fit), then
 * values of eight bytes; the last of them fill the pages beforehand. */
#include <stdlib.h>

#include "storage/block/filter.h"

#define PAGES_MAX 64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2)
        return 0;
    uint32_t n_pages = data[0] % PAGES_MAX + 1, n_bytes = data[1] * 8u;
    size_t n_values = (n - 2) / 8;
    uint8_t *pages[PAGES_MAX]; /* each alone, so that a sanitizer sees a step too far */
    for (uint32_t i = 0; i < n_pages; i++) {
        pages[i] = xcalloc(n_bytes + 1, 1);
        for (uint32_t k = 0; k < n_bytes && n > 2; k++)
            pages[i][k] = data[2 + (i + k) % (n - 2)] & data[n - 1];
    }
    for (size_t i = 0; i < n_values && n_bytes >= 32; i++) {
        uint64_t hash = hash64(data + 2 + 8 * i, 8);
        uint32_t page = filter_page_of(hash, n_pages);
        ASSERT(page < n_pages && filter_block_of(hash, n_bytes) < n_bytes / 32);
        filter_add(pages[page], n_bytes, hash);
        filter_add(pages[page], n_bytes, get_u64le(data + 2 + 8 * i));
        ASSERT(filter_has(pages[page], n_bytes, get_u64le(data + 2 + 8 * i)));
    }
    for (size_t i = 0; i < n_values; i++) {
        uint64_t hash = hash64(data + 2 + 8 * i, 8);
        ASSERT(filter_has(pages[filter_page_of(hash, n_pages)], n_bytes, hash));
    }
    for (uint32_t i = 0; i < n_pages; i++)
        free(pages[i]);
    return 0;
}
