/* SPDX-License-Identifier: Apache-2.0
 * The catalog's keys and values from any bytes. Input: length of the key (1 byte), key, value. With
 * the key's length's top bit set the value's checksum is repaired. What decodes encodes to the
 * same. */
#include <stdint.h>
#include <stdlib.h>

#include "base/hash.h"
#include "storage/catalog/value.h"

#define INPUT_MAX (64u << 10)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_key(struct bytes key)
{
    struct str tenant;
    const uint8_t *uuid;
    uint8_t again[CATALOG_KEY_BYTES_MAX];

    if (!catalog_block_key_get(key, &tenant, &uuid))
        return;
    ASSERT(catalog_block_key_put(again, tenant, uuid) == key.n);
    ASSERT(memcmp(again, key.p, key.n) == 0);
}

static void check_value(struct bytes value, const uint8_t uuid[CATALOG_UUID_BYTES])
{
    struct block_facts f;
    struct buf again = BUF_INIT;
    struct err err;

    enum ec ec = catalog_block_value_get(value, uuid, &f, &err);
    ASSERT(ec == EC_OK || ec == EC_CORRUPT || ec == EC_UNSUPPORTED);
    if (ec != EC_OK)
        return;
    catalog_block_value_put(&again, &f);
    ASSERT(bytes_eq(buf_bytes(&again), value));
    buf_deinit(&again);
    block_facts_deinit(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    uint8_t uuid[CATALOG_UUID_BYTES] = {0};

    if (n == 0 || n > INPUT_MAX)
        return 0;
    size_t key_n = data[0] & 0x7f;
    if (key_n > n - 1)
        key_n = n - 1;
    check_key(bytes_n(data + 1, key_n));
    size_t value_n = n - 1 - key_n;
    uint8_t *value = xmalloc(value_n + 1);
    memcpy(value, data + 1 + key_n, value_n);
    if ((data[0] & 0x80) != 0 && value_n >= 8) {
        uint64_t seed = get_u64le(uuid) ^ hash_mix(get_u64le(uuid + 8));
        put_u64le(value + value_n - 8, hash64_seed(value, value_n - 8, seed));
    }
    check_value(bytes_n(value, value_n), uuid);
    free(value);
    return 0;
}
