/* SPDX-License-Identifier: Apache-2.0
 * Integer streams from any bytes: no crash, no memory beyond the declared raw size; and what can be
 * read is put and read again to the same numbers. Input: u16 count, u8 hint, then the page. */
#include <stdlib.h>

#include "storage/block/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static uint64_t v[65536], again[65536];
    struct buf scratch = BUF_INIT;
    struct page_in in;
    if (n < 3)
        return 0;
    size_t count = get_u16le(data);
    page_in_init(&in, bytes_n(data + 3, n - 3), 1 << 20, &scratch);
    if (ints_get(&in, count, 8, v, NULL) == EC_OK) {
        struct page_out out;
        page_out_init(&out, NULL, 1);
        if (ints_put(&out, v, count, (enum ints_hint)(data[2] % 4), NULL) != EC_OK)
            abort();
        page_in_init(&in, buf_bytes(&out.b), out.raw, &scratch);
        if (ints_get(&in, count, 8, again, NULL) != EC_OK || page_in_end(&in, NULL) != EC_OK ||
            memcmp(v, again, count * 8) != 0)
            abort();
        page_out_deinit(&out);
    }
    if (scratch.cap > (1 << 20) + 64)
        abort();
    buf_deinit(&scratch);
    return 0;
}
