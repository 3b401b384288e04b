/* SPDX-License-Identifier: Apache-2.0
 * Compressors for tests; see deflate.h. */
#include "deflate.h"

#include <lz4frame.h>
#include <snappy-c.h>
#include <zlib.h>
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>

static void deflate_zlib(int window, struct bytes in, struct buf *out)
{
    z_stream z = {0};
    ASSERT(deflateInit2(&z, 6, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    buf_reserve(out, deflateBound(&z, in.n) + 32);
    z.next_in = (Bytef *)(uintptr_t)in.p;
    z.avail_in = (uInt)in.n;
    z.next_out = out->p + out->n;
    z.avail_out = (uInt)(out->cap - out->n);
    ASSERT(deflate(&z, Z_FINISH) == Z_STREAM_END);
    out->n += z.total_out;
    deflateEnd(&z);
}

void deflate_zstd_window(struct bytes in, int window_log, struct buf *out)
{
    ZSTD_CCtx *c = ZSTD_createCCtx();
    buf_reserve(out, ZSTD_compressBound(in.n) + 64);
    ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, window_log);
    ZSTD_inBuffer from = {in.p, in.n, 0};
    ZSTD_outBuffer to = {out->p + out->n, out->cap - out->n, 0};
    size_t left;
    /* Begun without an end in sight, or the window would shrink to the content. */
    left = ZSTD_compressStream2(c, &to, &from, ZSTD_e_flush);
    ASSERT(!ZSTD_isError(left));
    do {
        left = ZSTD_compressStream2(c, &to, &from, ZSTD_e_end);
        ASSERT(!ZSTD_isError(left));
    } while (left != 0);
    out->n += to.pos;
    ZSTD_freeCCtx(c);
}

static uint32_t crc32c(struct bytes b)
{
    uint32_t c = ~0u;
    for (size_t i = 0; i < b.n; i++) {
        c ^= b.p[i];
        for (int k = 0; k < 8; k++)
            c = c >> 1 ^ (0x82f63b78u & -(c & 1));
    }
    return ~c;
}

static void deflate_snappy(struct bytes in, struct buf *out)
{
    size_t n = snappy_max_compressed_length(in.n);
    buf_reserve(out, n);
    ASSERT(snappy_compress((const char *)in.p, in.n, (char *)out->p + out->n, &n) == SNAPPY_OK);
    out->n += n;
}

static void deflate_snappy_framed(struct bytes in, struct buf *out)
{
    buf_put(out, "\xff\x06\0\0sNaPpY", 10);
    for (unsigned i = 0; in.n != 0; i++) {
        struct bytes part = bytes_n(in.p, MIN(in.n, 65536));
        in = bytes_n(in.p + part.n, in.n - part.n);
        uint32_t crc = crc32c(part);
        struct buf chunk = BUF_INIT;
        if (i % 2 == 0)
            deflate_snappy(part, &chunk);
        else /* every other chunk uncompressed */
            buf_put(&chunk, part.p, part.n);
        uint32_t n = (uint32_t)chunk.n + 4;
        buf_put(out,
            (uint8_t[]){(uint8_t)(i % 2), (uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16)}, 4);
        buf_put_u32le(out, (crc >> 15 | crc << 17) + 0xa282ead8u);
        buf_put(out, chunk.p, chunk.n);
        buf_deinit(&chunk);
        buf_put(out, "\xfe\x02\0\0xx", 6); /* padding is skipped */
    }
}

void deflate_bytes(enum body_encoding enc, struct bytes in, struct buf *out)
{
    switch (enc) {
    case ENC_GZIP:
        deflate_zlib(15 + 16, in, out);
        break;
    case ENC_DEFLATE:
        deflate_zlib(15, in, out);
        break;
    case ENC_ZSTD:
        deflate_zstd_window(in, 19, out);
        break;
    case ENC_SNAPPY:
        deflate_snappy(in, out);
        break;
    case ENC_SNAPPY_FRAMED:
        deflate_snappy_framed(in, out);
        break;
    case ENC_LZ4: {
        size_t n = LZ4F_compressFrameBound(in.n, NULL);
        buf_reserve(out, n);
        n = LZ4F_compressFrame(out->p + out->n, n, in.p, in.n, NULL);
        ASSERT(!LZ4F_isError(n));
        out->n += n;
        break;
    }
    }
}

const char *encoding_name(enum body_encoding enc)
{
    switch (enc) {
    case ENC_GZIP:
        return "gzip";
    case ENC_DEFLATE:
        return "deflate";
    case ENC_ZSTD:
        return "zstd";
    case ENC_SNAPPY:
        return "snappy";
    case ENC_SNAPPY_FRAMED:
        return "x-snappy-framed";
    case ENC_LZ4:
        return "lz4";
    }
    return "?";
}
