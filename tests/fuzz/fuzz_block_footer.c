/* SPDX-License-Identifier: Apache-2.0
 * Footers made of any bytes: the input is the raw root (first byte even) or the raw schema (odd) of
 * an otherwise good block, under right checksums; then everything is read. The seed is a good
 * root. */
#include "fuzz_block.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct fuzz_block base;
    struct fuzz_block f;
    if (n < 1)
        return 0;
    fuzz_block_load(&base);
    fuzz_block_copy(&f, &base);
    bool root = (data[0] & 1) == 0;
    if ((data[0] & 2) == 0) {
        fuzz_block_replace(&f, root, data + 1, n - 1);
    } else {
        uint8_t *raw = root ? f.root : f.schema;
        size_t raw_n = root ? f.root_n : f.schema_n;
        for (size_t i = 1; i + 3 <= n && i < 192; i += 3)
            raw[get_u16le(data + i) % raw_n] ^= data[i + 2];
        fuzz_block_replace(&f, root, raw, raw_n);
    }
    fuzz_block_read_all(&f);
    fuzz_block_drop(&f);
    return 0;
}
