/* SPDX-License-Identifier: Apache-2.0
 * The body of a DATA record: facts of the request, skip list, the request itself.
 *
 * Encoding runs outside the tenant's lock. The record is laid out as it goes to disk, header first
 * and padded, so that append only fills in the LSNs and writes once. WHY is the body's checksum not
 * seeded: salt and LSN are not known here; the header's checksum is seeded and covers the body's,
 * which binds the body to its place just as well without a pass over the payload under the lock.
 * How a request is packed: pack.h.
 */
#include "base/compress.h"
#include "format.h"
#include "pack.h"

/* Below this a zstd frame saves nothing worth its time. */
#define WAL_COMPRESS_BYTES_MIN 128u
/* Larger requests are judged by a sample first. */
#define WAL_SAMPLE_ABOVE_BYTES (256u << 10)
#define WAL_SAMPLE_BYTES       (16u << 10)

#define WAL_BODY_FIXED         8u /* arrival_s, attr_bytes_max */

/* Pays: saves at least a sixteenth. */
static bool wal_compress_pays(size_t raw, size_t packed)
{
    return packed < raw - raw / 16;
}

/* Puts the request behind what `out` holds, packed or compressed when that pays: *ret_flags says
 * how. */
static enum ec wal_payload_put(
    struct buf *out, struct bytes otlp, int level, uint8_t *ret_flags, struct err *err)
{
    size_t start = out->n;

    *ret_flags = 0;
    if (level != 0 && otlp.n > WAL_SAMPLE_ABOVE_BYTES) {
        struct bytes sample = bytes_n(otlp.p + otlp.n / 2, WAL_SAMPLE_BYTES);
        TRY(zstd_compress(out, sample, level, err));
        if (!wal_compress_pays(sample.n, out->n - start))
            level = 0;
        out->n = start;
    }
    if (level != 0 && pack_put(out, otlp) && wal_compress_pays(otlp.n, out->n - start)) {
        *ret_flags = WAL_FLAG_PACKED;
        return EC_OK;
    }
    out->n = start;
    if (level != 0 && otlp.n >= WAL_COMPRESS_BYTES_MIN) {
        TRY(zstd_compress(out, otlp, level, err));
        if (wal_compress_pays(otlp.n, out->n - start)) {
            *ret_flags = WAL_FLAG_ZSTD;
            return EC_OK;
        }
        out->n = start;
    }
    buf_put(out, otlp.p, otlp.n);
    return EC_OK;
}

enum ec wal_record_encode(
    struct buf *ret, const struct wal_record *rec, int compress_level, struct err *err)
{
    static const uint8_t zero[WAL_RECORD_HEADER_BYTES];
    uint8_t flags;

    if (rec->otlp.n > WAL_RECORD_BYTES_MAX)
        return ERR(err, EC_TOO_LARGE, "wal: request of %zu bytes over %u", rec->otlp.n,
            WAL_RECORD_BYTES_MAX);
    buf_reset(ret);
    buf_put(ret, zero, sizeof(zero));
    buf_put_u32le(ret, rec->arrival_s);
    buf_put_u32le(ret, rec->attr_bytes_max);
    buf_put_varint(ret, rec->n_skip);
    for (uint32_t i = 0; i < rec->n_skip; i++) {
        ASSERT(i == 0 || rec->skip[i] > rec->skip[i - 1]);
        buf_put_varint(ret, i == 0 ? rec->skip[0] : rec->skip[i] - rec->skip[i - 1]);
    }
    if (!buf_failed(ret))
        TRY(wal_payload_put(ret, rec->otlp, compress_level, &flags, err));
    if (buf_failed(ret))
        return ERR(err, EC_LIMIT, "wal: no memory for a record of %zu bytes", rec->otlp.n);
    struct bytes body = {ret->p + WAL_RECORD_HEADER_BYTES, ret->n - WAL_RECORD_HEADER_BYTES};
    if (body.n > WAL_RECORD_BYTES_MAX)
        return ERR(
            err, EC_TOO_LARGE, "wal: record of %zu bytes over %u", body.n, WAL_RECORD_BYTES_MAX);
    struct wal_record_header h = {
        .body_bytes = (uint32_t)body.n,
        .raw_bytes = (uint32_t)rec->otlp.n,
        .type = WAL_RECORD_DATA,
        .flags = flags,
        .body_sum = wal_body_sum(body),
    };
    buf_put(ret, zero, wal_record_bytes(body.n) - ret->n);
    if (buf_failed(ret))
        return ERR(err, EC_LIMIT, "wal: no memory for a record of %zu bytes", rec->otlp.n);
    wal_record_header_put(ret->p, &h);
    return EC_OK;
}

/* Reads the skip list at p: ascending ordinals as first value and positive steps. */
static const uint8_t *wal_skip_get(
    const uint8_t *p, const uint8_t *end, struct buf *skip, uint32_t *ret_n)
{
    uint64_t n, step, at = 0;

    p = varint_get(p, end, &n);
    if (p == NULL || n > (uint64_t)(end - p)) /* a step takes at least one byte */
        return NULL;
    buf_reset(skip);
    if (!buf_reserve(skip, n * 4))
        return NULL;
    for (uint64_t i = 0; i < n; i++) {
        p = varint_get(p, end, &step);
        if (p == NULL || (i > 0 && step == 0) || step > UINT32_MAX || at + step > UINT32_MAX)
            return NULL;
        at += step;
        buf_put_u32le(skip, (uint32_t)at);
    }
    *ret_n = (uint32_t)n;
    return p;
}

enum ec wal_record_decode(const struct wal_record_header *h, struct bytes body,
    struct wal_scratch *scratch, struct wal_record *ret, struct err *err)
{
    const uint8_t *p = body.p, *end = body.p + body.n;
    struct wal_record rec = {.lsn = h->lsn};

    ASSERT(h->type == WAL_RECORD_DATA);
    if (body.n < WAL_BODY_FIXED)
        return ERR(
            err, EC_CORRUPT, "record %llu: body of %zu bytes", (unsigned long long)h->lsn, body.n);
    rec.arrival_s = get_u32le(p);
    rec.attr_bytes_max = get_u32le(p + 4);
    p = wal_skip_get(p + WAL_BODY_FIXED, end, &scratch->skip, &rec.n_skip);
    if (p == NULL)
        return ERR(err, EC_CORRUPT, "record %llu: bad skip list", (unsigned long long)h->lsn);
    rec.skip = (const uint32_t *)(const void *)scratch->skip.p;
    rec.otlp = bytes_n(p, (size_t)(end - p));
    if (h->flags & WAL_FLAG_ZSTD) {
        buf_reset(&scratch->raw);
        if (!buf_reserve(&scratch->raw, MAX(h->raw_bytes, 1u)))
            return ERR(err, EC_LIMIT, "record %llu: no memory for %u bytes",
                (unsigned long long)h->lsn, h->raw_bytes);
        TRY(zstd_decompress(scratch->raw.p, h->raw_bytes, rec.otlp, err));
        rec.otlp = bytes_n(scratch->raw.p, h->raw_bytes);
    } else if (h->flags & WAL_FLAG_PACKED) {
        buf_reset(&scratch->raw);
        if (!buf_reserve(&scratch->raw, h->raw_bytes + PACK_SLACK))
            return ERR(err, EC_LIMIT, "record %llu: no memory for %u bytes",
                (unsigned long long)h->lsn, h->raw_bytes);
        TRY(pack_get(scratch->raw.p, h->raw_bytes, rec.otlp, &scratch->work, err));
        rec.otlp = bytes_n(scratch->raw.p, h->raw_bytes);
    } else if (rec.otlp.n != h->raw_bytes) {
        return ERR(err, EC_CORRUPT, "record %llu: %zu bytes, header says %u",
            (unsigned long long)h->lsn, rec.otlp.n, h->raw_bytes);
    }
    *ret = rec;
    return EC_OK;
}

void wal_scratch_deinit(struct wal_scratch *s)
{
    buf_deinit(&s->raw);
    buf_deinit(&s->skip);
    buf_deinit(&s->work);
}
