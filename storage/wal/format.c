/* SPDX-License-Identifier: Apache-2.0
 * File and record headers of the WAL. See FORMAT.md. */
#include "format.h"

#include "base/defect.h"
#include "base/hash.h"

/* File header. */
enum {
    FH_MAGIC = 0,
    FH_VERSION = 8,
    FH_DATA_OFFSET = 12,
    FH_NUMBER = 16,
    FH_SALT = 24,
    FH_FILE_BYTES = 32,
    FH_TENANT_N = 40,
    FH_TENANT = 48,
    FH_STALE_END = 240,
    FH_SUM = 248,
};
static_assert(FH_TENANT + WAL_TENANT_BYTES_MAX <= FH_STALE_END, "tenant fits");
static_assert(FH_STALE_END + 8 == FH_SUM, "stale end fits");
static_assert(FH_SUM + 8 == WAL_FILE_HEADER_BYTES, "checksum ends the header");

/* Record header. */
enum {
    RH_BODY_BYTES = 0,
    RH_TYPE = 4,
    RH_FLAGS = 5,
    RH_ZERO = 6,
    RH_LSN = 8,
    RH_DURABLE_LSN = 16,
    RH_RAW_BYTES = 24,
    RH_ZERO2 = 28,
    RH_BODY_SUM = 32,
    RH_SUM = 40,
};
static_assert(RH_SUM + 8 == WAL_RECORD_HEADER_BYTES, "checksum ends the header");
static_assert(WAL_RECORD_HEADER_BYTES % WAL_RECORD_ALIGN == 0, "bodies are aligned");
static_assert(WAL_DATA_OFFSET % WAL_RECORD_ALIGN == 0, "records are aligned");

void wal_file_header_put(uint8_t out[WAL_FILE_HEADER_BYTES], const struct wal_file_header *h)
{
    ASSERT(h->tenant_n <= WAL_TENANT_BYTES_MAX);
    ASSERT(h->number > 0);
    memset(out, 0, WAL_FILE_HEADER_BYTES);
    memcpy(out + FH_MAGIC, WAL_MAGIC, 8);
    put_u32le(out + FH_VERSION, h->version);
    put_u32le(out + FH_DATA_OFFSET, WAL_DATA_OFFSET);
    put_u64le(out + FH_NUMBER, h->number);
    put_u64le(out + FH_SALT, h->salt);
    put_u64le(out + FH_FILE_BYTES, h->file_bytes);
    put_u32le(out + FH_TENANT_N, (uint32_t)h->tenant_n);
    memcpy(out + FH_TENANT, h->tenant, h->tenant_n);
    put_u64le(out + FH_STALE_END, h->stale_end);
    put_u64le(out + FH_SUM, hash64(out, FH_SUM));
}

enum wal_header_state wal_file_header_get(
    const uint8_t in[WAL_FILE_HEADER_BYTES], struct wal_file_header *ret)
{
    struct wal_file_header h = {.version = get_u32le(in + FH_VERSION)};

    if (memcmp(in + FH_MAGIC, WAL_MAGIC, 8) != 0)
        return WAL_HEADER_BAD;
    if (get_u64le(in + FH_SUM) != hash64(in, FH_SUM))
        return WAL_HEADER_BAD;
    if (h.version < WAL_VERSION_MIN || h.version > WAL_VERSION) {
        *ret = h;
        return WAL_HEADER_OTHER_VERSION;
    }
    h.number = get_u64le(in + FH_NUMBER);
    h.salt = get_u64le(in + FH_SALT);
    h.file_bytes = get_u64le(in + FH_FILE_BYTES);
    h.stale_end = get_u64le(in + FH_STALE_END);
    h.tenant_n = get_u32le(in + FH_TENANT_N);
    if (h.tenant_n > WAL_TENANT_BYTES_MAX || h.number == 0 ||
        get_u32le(in + FH_DATA_OFFSET) != WAL_DATA_OFFSET)
        return WAL_HEADER_BAD;
    memcpy(h.tenant, in + FH_TENANT, h.tenant_n);
    *ret = h;
    return WAL_HEADER_OK;
}

uint64_t wal_body_sum(struct bytes body)
{
    return hash64(body.p, body.n);
}

/* A record of another segment, or of another place in this one, never looks valid. */
static uint64_t wal_seed(uint64_t salt, uint64_t lsn)
{
    return hash_mix(salt ^ hash_mix(lsn));
}

void wal_record_header_put(uint8_t out[WAL_RECORD_HEADER_BYTES], const struct wal_record_header *h)
{
    ASSERT(h->body_bytes <= WAL_RECORD_BYTES_MAX);
    ASSERT(h->raw_bytes <= WAL_RECORD_BYTES_MAX);
    memset(out, 0, WAL_RECORD_HEADER_BYTES);
    put_u32le(out + RH_BODY_BYTES, h->body_bytes);
    out[RH_TYPE] = h->type;
    out[RH_FLAGS] = h->flags;
    put_u32le(out + RH_RAW_BYTES, h->raw_bytes);
    put_u64le(out + RH_BODY_SUM, h->body_sum);
}

void wal_record_header_seal(
    uint8_t out[WAL_RECORD_HEADER_BYTES], uint64_t salt, uint64_t lsn, uint64_t durable_lsn)
{
    ASSERT(durable_lsn <= lsn);
    put_u64le(out + RH_LSN, lsn);
    put_u64le(out + RH_DURABLE_LSN, durable_lsn);
    put_u64le(out + RH_SUM, hash64_seed(out, RH_SUM, wal_seed(salt, lsn)));
}

bool wal_record_header_plausible(uint64_t first_word)
{
    uint32_t body_bytes = (uint32_t)first_word;
    uint8_t type = (uint8_t)(first_word >> 32), flags = (uint8_t)(first_word >> 40);

    if (first_word >> 48 != 0 || body_bytes > WAL_RECORD_BYTES_MAX)
        return false;
    switch (type) {
    case WAL_RECORD_DATA:
        return flags == 0 || flags == WAL_FLAG_ZSTD || flags == WAL_FLAG_PACKED;
    case WAL_RECORD_START:
        return flags == 0 && body_bytes == WAL_START_BODY_BYTES;
    case WAL_RECORD_MARK:
        return (flags & ~WAL_FLAG_CLEAN) == 0 && body_bytes == 0;
    default:
        return false;
    }
}

bool wal_record_header_get(
    const uint8_t in[WAL_RECORD_HEADER_BYTES], uint64_t salt, struct wal_record_header *ret)
{
    if (!wal_record_header_plausible(get_u64le(in)))
        return false;
    struct wal_record_header h = {
        .body_bytes = get_u32le(in + RH_BODY_BYTES),
        .raw_bytes = get_u32le(in + RH_RAW_BYTES),
        .type = in[RH_TYPE],
        .flags = in[RH_FLAGS],
        .lsn = get_u64le(in + RH_LSN),
        .durable_lsn = get_u64le(in + RH_DURABLE_LSN),
        .body_sum = get_u64le(in + RH_BODY_SUM),
    };
    if (get_u64le(in + RH_SUM) != hash64_seed(in, RH_SUM, wal_seed(salt, h.lsn)) &&
        !DEFECT(DEFECT_TRUST_LENGTH))
        return false;
    if (get_u32le(in + RH_ZERO2) != 0 || h.raw_bytes > WAL_RECORD_BYTES_MAX || h.lsn == UINT64_MAX)
        return false;
    /* A record cannot know that itself is durable; a mark can know it of the one before. */
    if (h.type == WAL_RECORD_DATA ? h.durable_lsn >= h.lsn : h.durable_lsn > h.lsn)
        return false;
    *ret = h;
    return true;
}

void wal_start_put(uint8_t out[WAL_START_BODY_BYTES], const struct wal_start *s)
{
    ASSERT(s->sealed_lsn <= s->end_lsn);
    ASSERT(s->end_lsn < s->first_lsn);
    put_u64le(out, s->first_lsn);
    put_u64le(out + 8, s->sealed_lsn);
    put_u64le(out + 16, s->end_lsn);
    put_u64le(out + 24, s->prev_number);
}

bool wal_start_get(struct bytes body, uint64_t record_lsn, struct wal_start *ret)
{
    if (body.n != WAL_START_BODY_BYTES)
        return false;
    struct wal_start s = {
        .first_lsn = get_u64le(body.p),
        .sealed_lsn = get_u64le(body.p + 8),
        .end_lsn = get_u64le(body.p + 16),
        .prev_number = get_u64le(body.p + 24),
    };
    if (s.sealed_lsn > s.end_lsn || s.end_lsn >= s.first_lsn || s.first_lsn - 1 != record_lsn)
        return false;
    *ret = s;
    return true;
}
