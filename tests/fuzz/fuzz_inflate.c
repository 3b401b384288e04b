/* SPDX-License-Identifier: Apache-2.0
 * Every inflater on any bytes: the first byte chooses the encoding and the cap. What comes out
 * never exceeds the cap on success, and the budget is whole again afterwards. */
#include <stdlib.h>

#include "server/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const enum body_encoding all[] = {
        ENC_GZIP, ENC_ZSTD, ENC_DEFLATE, ENC_SNAPPY, ENC_SNAPPY_FRAMED, ENC_LZ4};
    if (n == 0)
        return 0;
    struct budget budget;
    struct buf out;
    uint64_t cap = (data[0] & 0x80) != 0 ? 1000 : 1u << 20;
    budget_init(&budget, NULL, "fuzz", 4u << 20);
    buf_init(&out, &budget);
    enum ec ec = inflate_bytes(
        all[(data[0] & 0x7f) % ARRAY_LEN(all)], bytes_n(data + 1, n - 1), cap, &out, NULL);
    ASSERT(ec == EC_OK || ec == EC_INVALID || ec == EC_TOO_LARGE || ec == EC_LIMIT);
    if (ec == EC_OK)
        ASSERT(out.n <= cap);
    buf_deinit(&out);
    budget_deinit(&budget);
    return 0;
}
