/* SPDX-License-Identifier: Apache-2.0
 * The catalog: small facts in LMDB (one environment, synchronous): tenants and their blocks. It is
 * a cache of what block footers say: deleting it and restarting gives the same answers. What is on
 * disk is believed only when it is what the last commit left (storage/catalog/seal.h); otherwise
 * catalog_open begins with an empty one.
 *
 * One write transaction makes a set of changes visible and durable. Thread-safe. MAP_FULL grows the
 * map and retries; a fatal environment is reopened, then reported as EC_CORRUPT so that the store
 * rebuilds it. LMDB makes its own system calls: tests fail them by tests/fault/preload.h.
 */
#pragma once

#include "storage/block.h"

struct catalog;

struct catalog_options {
    struct io *io;      /* for the directory; NULL: the real files */
    const char *dir;    /* made when missing */
    uint64_t map_bytes; /* first map size; 0: 16 MiB */
    bool keep;          /* a file that cannot be vouched for: EC_NOT_FOUND; else it is removed */
};

enum ec catalog_open(const struct catalog_options *opt, struct catalog **ret, struct err *err)
    MUST_USE;
void catalog_close(struct catalog *c); /* NULL allowed */
/* Nothing will be asked for some time: its pages no longer count as the process's memory. They stay
 * in the kernel's page cache, from where the next question gets its own. Does nothing while the
 * catalog is in use, or was not since the last time. */
void catalog_rest(struct catalog *c);

/* Adds and removes blocks of one tenant in one durable transaction. */
enum ec catalog_commit(struct catalog *c, struct str tenant, const struct block_facts *adds,
    size_t n_adds, const uint8_t (*removes)[16], size_t n_removes, struct err *err) MUST_USE;
/* Removes the tenant and all its blocks from the catalog. */
enum ec catalog_tenant_remove(struct catalog *c, struct str tenant, struct err *err) MUST_USE;
/* Every block of every tenant, in one read snapshot. A code other than EC_OK stops it. `each` must
 * not call into the catalog: a writer may have to wait for this snapshot to end. */
enum ec catalog_each(struct catalog *c,
    enum ec (*each)(void *ctx, struct str tenant, const struct block_facts *f, struct err *err),
    void *ctx, struct err *err) MUST_USE;
/* Small key-value facts of our own ("clean_shutdown", ...). A missing key: *ret_n = 0. */
enum ec catalog_fact_put(struct catalog *c, struct str key, struct str value, struct err *err)
    MUST_USE;
enum ec catalog_fact_get(struct catalog *c, struct str key, char *ret, size_t cap, size_t *ret_n,
    struct err *err) MUST_USE;
