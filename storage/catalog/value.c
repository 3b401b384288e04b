/* SPDX-License-Identifier: Apache-2.0
 * Catalog keys and values. A value begins with its version and ends with a checksum over key parts
 * and fields: LMDB checks none of its pages. */
#include "value.h"

#include <assert.h>
#include <stdlib.h>

#include "base/hash.h"

enum {
    BV_VERSION = 0, /* u32 */
    BV_LEVEL = 4,
    BV_SPANS = 8,
    BV_TRACES = 16,
    BV_MIN_START = 24,
    BV_MAX_END = 32,
    BV_MIN_ARRIVAL = 40,
    BV_MAX_ARRIVAL = 44,
    BV_FILE_BYTES = 48,
    BV_LSN_FIRST = 56,
    BV_LSN_LAST = 64,
    BV_N_INPUTS = 72, /* u32 */
    BV_N_LISTS = 76,  /* u32; version 1: zero */
    BV_INPUTS = 80,   /* n x 16; version 2: hashes of names and lists; then the checksum */
};
#define BV_SUM_BYTES   8u
#define BV_NAMES_BYTES (8u * TABLE_COUNT)
static_assert(BV_INPUTS % 8 == 0, "inputs are aligned");

size_t catalog_block_key_put(
    uint8_t out[CATALOG_KEY_BYTES_MAX], struct str tenant, const uint8_t uuid[CATALOG_UUID_BYTES])
{
    ASSERT(tenant.n > 0 && tenant.n <= CATALOG_TENANT_BYTES_MAX);
    out[0] = (uint8_t)tenant.n;
    memcpy(out + 1, tenant.p, tenant.n);
    memcpy(out + 1 + tenant.n, uuid, CATALOG_UUID_BYTES);
    return 1 + tenant.n + CATALOG_UUID_BYTES;
}

bool catalog_block_key_get(struct bytes key, struct str *ret_tenant, const uint8_t **ret_uuid)
{
    if (key.n == 0 || key.p[0] == 0 || key.p[0] > CATALOG_TENANT_BYTES_MAX ||
        key.n != 1u + key.p[0] + CATALOG_UUID_BYTES)
        return false;
    *ret_tenant = str_n((const char *)key.p + 1, key.p[0]);
    *ret_uuid = key.p + 1 + key.p[0];
    return true;
}

static uint64_t catalog_block_sum(struct bytes fields, const uint8_t uuid[CATALOG_UUID_BYTES])
{
    return hash64_seed(fields.p, fields.n, get_u64le(uuid) ^ hash_mix(get_u64le(uuid + 8)));
}

void catalog_block_value_put(struct buf *out, const struct block_facts *f)
{
    size_t start = out->n;

    const struct block_known *k = f->known;
    buf_put_u32le(out, k == NULL ? 1 : CATALOG_FORMAT);
    buf_put_u32le(out, f->level);
    buf_put_u64le(out, f->n_spans);
    buf_put_u64le(out, f->n_traces);
    buf_put_u64le(out, f->min_start_ns);
    buf_put_u64le(out, f->max_end_ns);
    buf_put_u32le(out, f->min_arrival_s);
    buf_put_u32le(out, f->max_arrival_s);
    buf_put_u64le(out, f->file_bytes);
    buf_put_u64le(out, f->lsn_first);
    buf_put_u64le(out, f->lsn_last);
    buf_put_u32le(out, f->n_inputs);
    buf_put_u32le(out, k == NULL ? 0 : k->n_lists);
    buf_put(out, f->inputs, (size_t)f->n_inputs * CATALOG_UUID_BYTES);
    for (unsigned t = 0; k != NULL && t < TABLE_COUNT; t++)
        buf_put_u64le(out, k->names[t]);
    for (uint32_t i = 0; k != NULL && i < k->n_lists; i++) {
        buf_put_u64le(out, k->lists[i].key);
        buf_put_u64le(out, k->lists[i].hash);
    }
    if (buf_failed(out))
        return;
    buf_put_u64le(out, catalog_block_sum(bytes_n(out->p + start, out->n - start), f->uuid));
}

static struct block_known *known_get(const uint8_t *p, uint32_t n_lists)
{
    struct block_known *k = block_known_new(n_lists);
    for (unsigned t = 0; t < TABLE_COUNT; t++)
        k->names[t] = get_u64le(p + 8ULL * t);
    p += BV_NAMES_BYTES;
    for (uint32_t i = 0; i < n_lists; i++, p += 16)
        k->lists[i] = (struct block_list){get_u64le(p), get_u64le(p + 8)};
    return k;
}

enum ec catalog_block_value_get(struct bytes value, const uint8_t uuid[CATALOG_UUID_BYTES],
    struct block_facts *ret, struct err *err)
{
    const uint8_t *p = value.p;

    if (value.n < BV_INPUTS + BV_SUM_BYTES)
        return ERR(err, EC_CORRUPT, "catalog: block value of %zu bytes", value.n);
    size_t fields = value.n - BV_SUM_BYTES;
    if (get_u64le(p + fields) != catalog_block_sum(bytes_n(p, fields), uuid))
        return ERR(err, EC_CORRUPT, "catalog: block value: checksum");
    uint32_t version = get_u32le(p + BV_VERSION), n_lists = get_u32le(p + BV_N_LISTS);
    if (version == 0 || version > CATALOG_FORMAT)
        return ERR(err, EC_UNSUPPORTED,
            "catalog: block value of version %u, this program knows up to %u", version,
            CATALOG_FORMAT);
    struct block_facts f = {
        .level = get_u32le(p + BV_LEVEL),
        .n_spans = get_u64le(p + BV_SPANS),
        .n_traces = get_u64le(p + BV_TRACES),
        .min_start_ns = get_u64le(p + BV_MIN_START),
        .max_end_ns = get_u64le(p + BV_MAX_END),
        .min_arrival_s = get_u32le(p + BV_MIN_ARRIVAL),
        .max_arrival_s = get_u32le(p + BV_MAX_ARRIVAL),
        .file_bytes = get_u64le(p + BV_FILE_BYTES),
        .lsn_first = get_u64le(p + BV_LSN_FIRST),
        .lsn_last = get_u64le(p + BV_LSN_LAST),
        .n_inputs = get_u32le(p + BV_N_INPUTS),
    };
    uint64_t inputs_bytes = (uint64_t)f.n_inputs * CATALOG_UUID_BYTES;
    uint64_t known_bytes = version == 1 ? 0 : BV_NAMES_BYTES + 16ULL * n_lists;
    if (fields - BV_INPUTS != inputs_bytes + known_bytes ||
        n_lists > (version == 1 ? 0 : BLOCK_LISTS_MAX))
        return ERR(err, EC_CORRUPT, "catalog: block value: %u inputs, %u lists in %zu bytes",
            f.n_inputs, n_lists, fields - BV_INPUTS);
    memcpy(f.uuid, uuid, CATALOG_UUID_BYTES);
    if (f.n_inputs > 0) { /* as many as the value really holds */
        f.inputs = xmalloc((size_t)f.n_inputs * CATALOG_UUID_BYTES);
        memcpy(f.inputs, p + BV_INPUTS, (size_t)f.n_inputs * CATALOG_UUID_BYTES);
    }
    if (version > 1)
        f.known = known_get(p + BV_INPUTS + inputs_bytes, n_lists);
    *ret = f;
    return EC_OK;
}
