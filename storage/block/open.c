/* SPDX-License-Identifier: Apache-2.0
 * Opening a block and reading its facts. Opening touches no file: the first reader does. */
#include <fcntl.h>
#include <stdlib.h>

#include "base/compress.h"
#include "reader.h"

static struct block *block_new(
    struct io *io, const char *path, struct block_cache *cache, const uint8_t uuid[16])
{
    struct block *b = xcalloc(1, sizeof(*b));
    b->part.ops = &block_part_ops;
    atomic_init(&b->part.refs, 1);
    memcpy(b->part.uuid, uuid, 16);
    b->io = io;
    b->path = xstrdup(path);
    b->cache = cache;
    b->serial = block_cache_serial(cache);
    b->fd = -1;
    pthread_mutex_init(&b->lock, NULL);
    return b;
}

enum ec block_open(const struct block_open_options *opt, struct part **ret, struct err *err)
{
    if (opt->tenant.n > BLOCK_TENANT_MAX)
        return ERR(err, EC_INVALID, "block %s: tenant of %zu bytes", opt->path, opt->tenant.n);
    struct block *b = block_new(opt->io, opt->path, opt->cache, opt->facts->uuid);
    /* A copy even when empty: NULL means "any tenant" (block_facts_read). */
    b->tenant = str_n(xstrndup(opt->tenant.n == 0 ? "" : opt->tenant.p, opt->tenant.n), opt->tenant.n);
    b->on_corrupt = opt->on_corrupt;
    b->on_corrupt_ctx = opt->on_corrupt_ctx;
    *ret = &b->part;
    return EC_OK;
}
