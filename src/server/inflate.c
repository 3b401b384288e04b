/* SPDX-License-Identifier: Apache-2.0
 * Inflation of request bodies against a cap, in steps: memory follows what really came out, never
 * what a header declares. A ratio over INFLATE_RATIO_MAX beyond INFLATE_FREE bytes counts as over
 * the cap. The one declaration that is believed, within bounds, is the size at the end of a gzip
 * body.
 *
 * Pure functions of their input; any thread. */
#include <libdeflate.h>
#include <lz4frame.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>

#include "server_int.h"

#define ZSTD_WINDOW_LOG_MAX 23 /* 8 MiB */
#define GZIP_BYTES_MIN      18 /* header and trailer */
#define GZIP_TRUST          16 /* OTLP inflates to 5 - 12 times its size */

struct sink {
    struct buf *out;
    size_t base; /* out->n at the start */
    size_t in_n;
    uint64_t cap; /* bytes that may come out, ratio included */
};

static struct sink sink_new(struct buf *out, struct bytes in, uint64_t cap)
{
    uint64_t by_ratio = MAX((uint64_t)in.n * INFLATE_RATIO_MAX, (uint64_t)INFLATE_FREE);
    return (struct sink){out, out->n, in.n, MIN(cap, by_ratio)};
}

static enum ec too_large(const struct sink *s, struct err *err)
{
    return ERR(err, EC_TOO_LARGE, "inflated body is over %llu bytes", (unsigned long long)s->cap);
}

/* What came in is charged to the same budget: when both would not fit if nothing else was there,
 * another time will not help. */
static enum ec no_room(const struct sink *s, size_t want, struct err *err)
{
    uint64_t most = budget_most(s->out->budget);
    if ((uint64_t)s->in_n + s->out->n + want > most)
        return ERR(err, EC_TOO_LARGE, "body and inflated body are over %llu bytes together",
            (unsigned long long)most);
    return ERR(err, EC_LIMIT, "server is out of memory for request bodies");
}

/* Room to write: at least one byte beyond the cap at most, so that "exactly the cap" and "more"
 * differ. */
static enum ec sink_room(struct sink *s, size_t hint, uint8_t **ret, size_t *ret_n, struct err *err)
{
    uint64_t done = s->out->n - s->base;
    if (done > s->cap)
        return too_large(s, err);
    uint64_t left = s->cap - done + 1;
    size_t want = (size_t)MIN((uint64_t)MAX(hint, 4096), left);
    if (!buf_reserve(s->out, want))
        return no_room(s, want, err);
    *ret = s->out->p + s->out->n;
    *ret_n = (size_t)MIN((uint64_t)(s->out->cap - s->out->n), left);
    return EC_OK;
}

static enum ec sink_put(struct sink *s, const void *p, size_t n, struct err *err)
{
    if (n > s->cap - (s->out->n - s->base))
        return too_large(s, err);
    buf_put(s->out, p, n);
    return buf_failed(s->out) ? no_room(s, n, err) : EC_OK;
}

static enum ec sink_check(const struct sink *s, struct err *err)
{
    return s->out->n - s->base > s->cap ? too_large(s, err) : EC_OK;
}

/* ---- gzip, zlib ---- */

static enum ec inflate_zlib_stream(z_stream *z, bool gzip, struct sink *s, struct err *err)
{
    const char *name = gzip ? "gzip" : "zlib";
    bool begun = false;
    for (;;) {
        uint8_t *p;
        size_t room;
        TRY(sink_room(s, (size_t)z->avail_in * 4, &p, &room, err));
        z->next_out = p;
        z->avail_out = (uInt)MIN(room, UINT32_MAX);
        uInt before = z->avail_out, in_before = z->avail_in;
        int rc = inflate(z, Z_NO_FLUSH);
        s->out->n += before - z->avail_out;
        TRY(sink_check(s, err));
        if (rc == Z_STREAM_END) {
            /* gzip members may follow one another */
            if (!gzip || z->avail_in == 0)
                return EC_OK;
            inflateReset(z);
            begun = false;
            continue;
        }
        if (rc == Z_MEM_ERROR)
            return ERR(err, EC_LIMIT, "%s: out of memory", name);
        if (rc != Z_OK && rc != Z_BUF_ERROR)
            return ERR(err, EC_INVALID, "%s: %s", name,
                z->total_out == 0 && !begun ? "invalid header" : "corrupt stream");
        begun |= before != z->avail_out;
        if (z->avail_in == 0 && z->avail_out != 0)
            return ERR(err, EC_INVALID, "%s: unexpected EOF", name);
        if (before == z->avail_out && in_before == z->avail_in)
            return ERR(err, EC_INVALID, "%s: corrupt stream", name);
    }
}

/* A gzip body of one member, whole, in one call of libdeflate: a third of zlib's time. The body's
 * last four bytes say how large it is inflated. They are believed up to GZIP_TRUST times its size,
 * within the cap, so a lie is charged little memory; whatever does not fit them is left, nothing
 * taken from it, to zlib, which knows what to answer. False: that. */
static bool inflate_gzip_whole(struct bytes in, struct sink *s)
{
    if (in.n < GZIP_BYTES_MIN)
        return false;
    size_t raw = get_u32le(in.p + in.n - 4), used = 0, made = 0;
    if (raw > s->cap || raw / GZIP_TRUST > in.n || !buf_reserve(s->out, MAX(raw, 1)))
        return false;
    struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
    if (d == NULL)
        return false;
    enum libdeflate_result rc =
        libdeflate_gzip_decompress_ex(d, in.p, in.n, s->out->p + s->out->n, raw, &used, &made);
    libdeflate_free_decompressor(d);
    if (rc != LIBDEFLATE_SUCCESS || used != in.n)
        return false;
    s->out->n += made;
    return true;
}

static enum ec inflate_zlib(bool gzip, struct bytes in, struct sink *s, struct err *err)
{
    z_stream z = {0};
    if (in.n > UINT32_MAX)
        return too_large(s, err);
    if (in.n == 0)
        return ERR(err, EC_INVALID, "%s: unexpected EOF", gzip ? "gzip" : "zlib");
    if (gzip && inflate_gzip_whole(in, s))
        return EC_OK;
    if (inflateInit2(&z, gzip ? 15 + 16 : 15) != Z_OK)
        return ERR(err, EC_LIMIT, "zlib: out of memory");
    union {
        const uint8_t *in;
        Bytef *z;
    } at = {.in = in.p}; /* zlib's next_in is not const, it is never written */
    z.next_in = at.z;
    z.avail_in = (uInt)in.n;
    enum ec ec = inflate_zlib_stream(&z, gzip, s, err);
    inflateEnd(&z);
    return ec;
}

/* ---- zstd ---- */

static enum ec inflate_zstd_stream(
    ZSTD_DStream *d, struct bytes in, struct sink *s, struct err *err)
{
    ZSTD_inBuffer from = {in.p, in.n, 0};
    for (;;) {
        uint8_t *p;
        size_t room;
        TRY(sink_room(s, in.n * 4, &p, &room, err));
        ZSTD_outBuffer to = {p, room, 0};
        size_t before = from.pos;
        size_t rc = ZSTD_decompressStream(d, &to, &from);
        s->out->n += to.pos;
        TRY(sink_check(s, err));
        if (ZSTD_isError(rc))
            return ERR(err, EC_INVALID, "zstd: %s", ZSTD_getErrorName(rc));
        if (rc == 0 && from.pos == from.size)
            return EC_OK;
        if (to.pos < room && from.pos == from.size)
            return ERR(err, EC_INVALID, "zstd: unexpected EOF");
        if (to.pos == 0 && from.pos == before)
            return ERR(err, EC_INVALID, "zstd: corrupt stream");
    }
}

static enum ec inflate_zstd(struct bytes in, struct sink *s, struct err *err)
{
    if (in.n == 0)
        return ERR(err, EC_INVALID, "zstd: unexpected EOF");
    ZSTD_DStream *d = ZSTD_createDStream();
    if (d == NULL)
        return ERR(err, EC_LIMIT, "zstd: out of memory");
    ZSTD_DCtx_setParameter(d, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
    enum ec ec = inflate_zstd_stream(d, in, s, err);
    ZSTD_freeDStream(d);
    return ec;
}

/* ---- snappy ---- */

static enum ec inflate_snappy(struct bytes in, struct sink *s, struct err *err)
{
    size_t n, raw;
    const char *p = (const char *)in.p;
    if (snappy_uncompressed_length(p, in.n, &n) != SNAPPY_OK)
        return ERR(err, EC_INVALID, "snappy: corrupt input");
    if (n > s->cap)
        return too_large(s, err);
    /* Checked before memory follows the declared length: a block holds at most 64 bytes per 3 of
     * input. */
    if (snappy_validate_compressed_buffer(p, in.n) != SNAPPY_OK)
        return ERR(err, EC_INVALID, "snappy: corrupt input");
    if (!buf_reserve(s->out, MAX(n, 1)))
        return no_room(s, n, err);
    raw = n;
    if (snappy_uncompress(p, in.n, (char *)s->out->p + s->out->n, &raw) != SNAPPY_OK || raw != n)
        return ERR(err, EC_INVALID, "snappy: corrupt input");
    s->out->n += n;
    return EC_OK;
}

/* CRC-32C (Castagnoli), bit-reflected polynomial 0x82f63b78. Four bits at a step from 64 bytes of
 * table; where the CPU has the instruction, eight bytes at a step. */
static uint32_t crc32c_table(uint32_t c, const uint8_t *p, size_t n)
{
    static const uint32_t table[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc,
        0x5125dad3, 0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        c = c >> 4 ^ table[c & 15];
        c = c >> 4 ^ table[c & 15];
    }
    return c;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t crc32c_cpu(uint32_t c, const uint8_t *p, size_t n)
{
    uint64_t wide = c;
    for (; n >= 8; p += 8, n -= 8)
        wide = __builtin_ia32_crc32di(wide, get_u64le(p));
    return crc32c_table((uint32_t)wide, p, n);
}
#endif

static uint32_t crc32c(struct bytes b)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc32c_cpu(~0u, b.p, b.n);
#endif
    return ~crc32c_table(~0u, b.p, b.n);
}

static enum ec snappy_chunk(uint8_t type, struct bytes data, struct sink *s, struct err *err)
{
    if (data.n < 4)
        return ERR(err, EC_INVALID, "snappy: corrupt chunk");
    uint32_t want = get_u32le(data.p);
    data = bytes_n(data.p + 4, data.n - 4);
    size_t before = s->out->n;
    if (type == 1) {
        if (data.n > 65536)
            return ERR(err, EC_INVALID, "snappy: chunk over 65536 bytes");
        TRY(sink_put(s, data.p, data.n, err));
    } else {
        size_t n;
        if (snappy_uncompressed_length((const char *)data.p, data.n, &n) != SNAPPY_OK || n > 65536)
            return ERR(err, EC_INVALID, "snappy: corrupt chunk");
        struct sink rest = {s->out, s->out->n, s->in_n, s->cap - (s->out->n - s->base)};
        TRY(inflate_snappy(data, &rest, err));
    }
    uint32_t crc = crc32c(bytes_n(s->out->p + before, s->out->n - before));
    if (((crc >> 15 | crc << 17) + 0xa282ead8u) != want)
        return ERR(err, EC_INVALID, "snappy: checksum mismatch");
    return EC_OK;
}

static enum ec inflate_snappy_framed(struct bytes in, struct sink *s, struct err *err)
{
    bool begun = false;
    while (in.n != 0) {
        if (in.n < 4)
            return ERR(err, EC_INVALID, "snappy: unexpected EOF");
        uint8_t type = in.p[0];
        size_t n = (size_t)in.p[1] | (size_t)in.p[2] << 8 | (size_t)in.p[3] << 16;
        if (n > in.n - 4)
            return ERR(err, EC_INVALID, "snappy: unexpected EOF");
        struct bytes data = bytes_n(in.p + 4, n);
        in = bytes_n(in.p + 4 + n, in.n - 4 - n);
        if (type == 0xff) {
            if (n != 6 || memcmp(data.p, "sNaPpY", 6) != 0)
                return ERR(err, EC_INVALID, "snappy: corrupt stream identifier");
            begun = true;
        } else if (!begun) {
            return ERR(err, EC_INVALID, "snappy: no stream identifier");
        } else if (type <= 1) {
            TRY(snappy_chunk(type, data, s, err));
        } else if (type < 0x80) {
            return ERR(err, EC_INVALID, "snappy: unknown chunk type %u", type);
        } /* 0x80..0xfe: padding and skippable chunks */
    }
    return EC_OK;
}

/* ---- lz4 ---- */

static enum ec inflate_lz4_stream(LZ4F_dctx *d, struct bytes in, struct sink *s, struct err *err)
{
    size_t hint = 1;
    while (in.n != 0 || hint != 0) {
        uint8_t *p;
        size_t room, used = in.n;
        TRY(sink_room(s, in.n * 3, &p, &room, err));
        size_t made = room;
        hint = LZ4F_decompress(d, p, &made, in.p, &used, NULL);
        if (LZ4F_isError(hint))
            return ERR(err, EC_INVALID, "lz4: %s", LZ4F_getErrorName(hint));
        s->out->n += made;
        TRY(sink_check(s, err));
        in = bytes_n(in.p + used, in.n - used);
        if (used == 0 && made == 0 && hint != 0)
            return ERR(err, EC_INVALID, "lz4: unexpected EOF");
    }
    return EC_OK;
}

static enum ec inflate_lz4(struct bytes in, struct sink *s, struct err *err)
{
    LZ4F_dctx *d = NULL;
    if (LZ4F_isError(LZ4F_createDecompressionContext(&d, LZ4F_VERSION)))
        return ERR(err, EC_LIMIT, "lz4: out of memory");
    enum ec ec = inflate_lz4_stream(d, in, s, err);
    LZ4F_freeDecompressionContext(d);
    return ec;
}

enum ec inflate_bytes(
    enum body_encoding enc, struct bytes in, uint64_t cap, struct buf *out, struct err *err)
{
    struct sink s = sink_new(out, in, cap);
    switch (enc) {
    case ENC_GZIP:
        return inflate_zlib(true, in, &s, err);
    case ENC_DEFLATE:
        return inflate_zlib(false, in, &s, err);
    case ENC_ZSTD:
        return inflate_zstd(in, &s, err);
    case ENC_SNAPPY:
        return inflate_snappy(in, &s, err);
    case ENC_SNAPPY_FRAMED:
        return inflate_snappy_framed(in, &s, err);
    case ENC_LZ4:
        return inflate_lz4(in, &s, err);
    }
    return ERR(err, EC_UNSUPPORTED, "unknown encoding %d", (int)enc);
}
