/* SPDX-License-Identifier: Apache-2.0
 * Opening a block and reading its facts. Opening touches no file: the first reader does. */
#include <assert.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>

#include "tool.h"

static_assert(offsetof(struct block, ids.stored) <= BLOCK_LINE, "a lookup meets one line of it");

static struct block *block_new(
    struct io *io, const char *path, struct block_cache *cache, const uint8_t uuid[16])
{
    struct block *b = aligned_alloc(BLOCK_LINE, sizeof(*b));
    ASSERT(b != NULL); /* as xcalloc */
    *b = (struct block){.fd = -1};
    b->part.ops = &block_part_ops;
    atomic_init(&b->part.refs, 1);
    memcpy(b->part.uuid, uuid, 16);
    b->io = io;
    b->path = xstrdup(path);
    b->cache = cache;
    b->serial = block_cache_serial(cache);
    pthread_mutex_init(&b->lock, NULL);
    return b;
}

/* The id that the header claims; the root is checked against it. */
static enum ec block_uuid_read(struct io *io, const char *path, uint8_t uuid[16], struct err *err)
{
    uint8_t header[BLOCK_HEADER_BYTES];
    int fd;
    TRY(io_open(io, "block.peek", path, O_RDONLY, 0, &fd, err));
    enum ec ec = io_pread(io, "block.peek", fd, header, sizeof(header), 0, err);
    (void)io_close(io, "block.peek", fd, NULL); /* read only: nothing to lose */
    TRY(ec);
    TRY(block_header_check(header, header + 16, err));
    memcpy(uuid, header + 16, 16);
    return EC_OK;
}

enum ec block_open(const struct block_open_options *opt, struct part **ret, struct err *err)
{
    if (opt->tenant.n > BLOCK_TENANT_MAX)
        return ERR(err, EC_INVALID, "block %s: tenant of %zu bytes", opt->path, opt->tenant.n);
    struct block *b = block_new(opt->io, opt->path, opt->cache, opt->facts->uuid);
    /* A copy even when empty: NULL means "any tenant" (block_facts_read). */
    b->tenant =
        str_n(xstrndup(opt->tenant.n == 0 ? "" : opt->tenant.p, opt->tenant.n), opt->tenant.n);
    const struct block_facts *f = opt->facts;
    b->brief = (struct part_info){.n_rows = (uint32_t)f->n_spans,
        .n_groups = (uint32_t)((f->n_spans + BLOCK_GROUP_ROWS - 1) / BLOCK_GROUP_ROWS),
        .n_traces = (uint32_t)f->n_traces,
        .min_start_ns = f->min_start_ns,
        .max_end_ns = f->max_end_ns,
        .bytes = f->file_bytes};
    b->known = block_known_ref(f->known);
    b->on_corrupt = opt->on_corrupt;
    b->on_corrupt_ctx = opt->on_corrupt_ctx;
    *ret = &b->part;
    return EC_OK;
}

enum ec block_tool_open(struct block_tool *t, struct io *io, const char *path, struct err *err)
{
    uint8_t uuid[16];
    struct part_reader *r;
    enum ec ec = block_uuid_read(io, path, uuid, err);
    if (ec == EC_CORRUPT || ec == EC_IO) /* as every bad read: once more, then it is believed */
        ec = block_uuid_read(io, path, uuid, err);
    TRY(ec);
    t->cache = block_cache_new(NULL, TOOL_CACHE_BYTES);
    t->part = &block_new(io, path, t->cache, uuid)->part;
    TRY(part_reader_open(t->part, NULL, &r, err));
    t->r = CONTAINER_OF(r, struct block_reader, base);
    return EC_OK;
}

void block_tool_close(struct block_tool *t)
{
    if (t->r != NULL)
        part_reader_close(&t->r->base);
    part_unref(t->part);
    block_cache_free(t->cache);
    *t = (struct block_tool){0};
}

enum ec block_facts_read(struct io *io, const char *path, struct str *ret_tenant_in_arena,
    struct arena *arena, struct block_facts *ret, struct err *err)
{
    CLEANUP(block_tool_close) struct block_tool t = {0};
    TRY(block_tool_open(&t, io, path, err));
    struct str tenant = arena_str(arena, t.r->root->tenant);
    if (tenant.p == NULL && t.r->root->tenant.n > 0)
        return ERR(err, EC_LIMIT, "block %s: tenant is over the memory budget", path);
    *ret_tenant_in_arena = tenant;
    block_facts_copy(ret, &t.r->root->facts);
    return EC_OK;
}
