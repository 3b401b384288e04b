/* SPDX-License-Identifier: Apache-2.0
 * A block opened alone, with a cache of its own: for facts, dump and verify. */
#pragma once

#include "reader.h"

#define TOOL_CACHE_BYTES ((uint64_t)64 << 20)

struct block_tool {
    struct block_cache *cache;
    struct part *part;
    struct block_reader *r;
};

/* Any tenant. After a failure close it all the same. */
enum ec block_tool_open(struct block_tool *t, struct io *io, const char *path, struct err *err)
    MUST_USE;
void block_tool_close(struct block_tool *t);
