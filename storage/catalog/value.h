/* SPDX-License-Identifier: Apache-2.0
 * Keys and values of the catalog's tables, encoded and checked. Pure functions. README.md has the
 * layout.
 */
#pragma once

#include "base/buf.h"
#include "storage/block.h"

/* written; 1, which has nothing behind the inputs, is read, too */
#define CATALOG_FORMAT           2u
#define CATALOG_UUID_BYTES       16u
#define CATALOG_TENANT_BYTES_MAX 192u
/* LMDB's limit for keys is 511 bytes as compiled by everybody. */
#define CATALOG_KEY_BYTES_MAX 511u

/* Block key: length of the tenant id (1), the id, the uuid. A tenant's blocks are one key range,
 * and no id is a prefix of another's range. */
size_t catalog_block_key_put(
    uint8_t out[CATALOG_KEY_BYTES_MAX], struct str tenant, const uint8_t uuid[CATALOG_UUID_BYTES]);
bool catalog_block_key_get(struct bytes key, struct str *ret_tenant, const uint8_t **ret_uuid);

/* Everything of the facts but the uuid, which is in the key. */
void catalog_block_value_put(struct buf *out, const struct block_facts *f);
/* EC_CORRUPT, or EC_UNSUPPORTED with the number for a newer value. ret owns its inputs. */
enum ec catalog_block_value_get(struct bytes value, const uint8_t uuid[CATALOG_UUID_BYTES],
    struct block_facts *ret, struct err *err) MUST_USE;
