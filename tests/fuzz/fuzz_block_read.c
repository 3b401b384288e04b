/* SPDX-License-Identifier: Apache-2.0
 * Pages of a block with bytes changed and checksums repaired: the input edits a good block, page by
 * page, and everything is read. Nothing may crash or read out of bounds, whatever the pages say.
 *
 * Input: a byte that picks the page, two bytes of offset in it, one byte to xor; repeated (at most
 * 64 times). */

#include "fuzz_block.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct fuzz_block base;
    struct fuzz_block f;
    fuzz_block_load(&base);
    fuzz_block_copy(&f, &base);
    for (size_t i = 0; i + 4 <= n && i < 256; i += 4) {
        struct page_ref *p = &f.pages[data[i] % f.n_pages];
        if (p->stored > 0)
            f.bytes[p->offset + get_u16le(data + i + 1) % p->stored] ^= data[i + 3];
    }
    fuzz_block_repair(&f);
    fuzz_block_read_all(&f);
    fuzz_block_drop(&f);
    return 0;
}
