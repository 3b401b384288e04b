/* SPDX-License-Identifier: Apache-2.0
 * Packed requests of the log: what is packed comes back byte for byte; any other bytes are refused
 * or make just what they say.
 *
 * Byte 0 of the input: odd, the rest is a request; even, it is packed streams with their head: op,
 * length, text, number and raw bytes, each as long as bytes 1 to 5 say in sixteenths of the rest; 6
 * and 7 are what they are said to make. */
#include <stdint.h>
#include <stdlib.h>

#include "storage/wal/pack_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static uint8_t out[PACK_BYTES_MAX + PACK_SLACK];
static uint8_t request[PACK_BYTES_MAX];

/* Short requests are too short to be packed: the same again and again, which guesses find. */
static void there_and_back(const uint8_t *data, size_t n)
{
    struct buf packed = BUF_INIT, work = BUF_INIT;
    struct err err = {0};
    size_t copies = n == 0 ? 0 : MIN((PACK_BYTES_MIN + n - 1) / n, sizeof(request) / n);
    for (size_t i = 0; i < copies; i++)
        memcpy(request + i * n, data, n);
    n *= copies;
    if (pack_put(&packed, bytes_n(request, n))) {
        ASSERT(pack_get(out, n, buf_bytes(&packed), &work, &err) == EC_OK);
        ASSERT(memcmp(out, request, n) == 0);
        ASSERT(pack_get(out, n - 1, buf_bytes(&packed), &work, &err) != EC_OK);
    }
    buf_deinit(&packed);
    buf_deinit(&work);
}

static void any_streams(const uint8_t *data, size_t n)
{
    struct buf packed = BUF_INIT, work = BUF_INIT;
    struct err err = {0};
    uint8_t head[PACK_HEAD_BYTES] = {0};
    if (n < PACK_STREAMS + 2)
        return;
    const uint8_t *rest = data + PACK_STREAMS + 2;
    size_t left = n - PACK_STREAMS - 2, wanted = get_u16le(data + PACK_STREAMS);
    for (unsigned i = 0; i < PACK_STREAMS; i++) {
        size_t some = i + 1 == PACK_STREAMS ? left : MIN(left, (n * (data[i] & 15)) / 16);
        put_u16le(head + 6 * i, (uint16_t)some);
        put_u16le(head + 6 * i + 3, data[i] > 127 && i + 1 < PACK_STREAMS ? 0 : (uint16_t)some);
        left -= some;
    }
    buf_put(&packed, head, sizeof(head));
    buf_put(&packed, rest, n - PACK_STREAMS - 2);
    enum ec ec = pack_get(out, wanted, buf_bytes(&packed), &work, &err);
    ASSERT(ec == EC_OK || ec == EC_CORRUPT);
    ec = pack_get(out, wanted, bytes_n(data, n), &work, &err);
    ASSERT(ec == EC_OK || ec == EC_CORRUPT);
    buf_deinit(&packed);
    buf_deinit(&work);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 1 || n > 1u << 15)
        return 0;
    if ((data[0] & 1) != 0)
        there_and_back(data + 1, n - 1);
    else
        any_streams(data + 1, n - 1);
    return 0;
}
