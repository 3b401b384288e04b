/* SPDX-License-Identifier: Apache-2.0
 * The page cache: decoded objects of all blocks, sharded, least recently used first out.
 *
 * An object is one allocation: this header, then whatever its maker put there; it never changes
 * after cache_add. Users pin objects; a pinned object is never freed. When the cache's budget
 * cannot take an object even after evicting, it stays private: its one user pays from his own
 * budget and frees it.
 *
 * Threads: all functions are thread-safe; cached_unpin takes no lock. A shard's lock covers its
 * table, list and byte count, and is never held across I/O or decoding.
 */
#pragma once

#include <stdatomic.h>

#include "files.h"
#include "storage/block.h"

struct cached {
    struct cached *hash_next;
    struct cached *lru_prev, *lru_next;
    uint64_t block, key;  /* block: serial number of the open block, never reused */
    uint64_t bytes;       /* of the whole allocation, as charged */
    struct budget *payer; /* whom the bytes are charged to */
    _Atomic uint32_t pins;
    bool shared; /* in the cache; false: private to one reader */
};

struct block_files *block_cache_files(struct block_cache *c);
uint64_t block_cache_serial(struct block_cache *c);
/* Pins and returns the object, or NULL. */
struct cached *block_cache_find(struct block_cache *c, uint64_t block, uint64_t key);
/* Memory for an object of `bytes` (header included): charged to the cache if it can make room, else
 * to `fallback` (budget_crowd), else to the cache once more, which then drops whatever nobody uses,
 * else NULL. Not yet visible to others, pinned once. */
struct cached *block_cache_alloc(struct block_cache *c, uint64_t bytes, struct budget *fallback);
/* The same, but `budget` pays and the object stays private: what is read once throws out nothing
 * that is read often. */
struct cached *block_cache_alloc_private(uint64_t bytes, struct budget *budget);
/* Frees an object that was never added (its maker failed). */
void block_cache_discard(struct cached *o);
/* Publishes a filled object (if it is the cache's) and returns the pinned one to use: `o`, or the
 * twin that another thread added first, in which case `o` is freed. */
struct cached *block_cache_add(
    struct block_cache *c, struct cached *o, uint64_t block, uint64_t key);
void block_cache_unpin(struct cached *o);
/* Memory for what stays as long as its block, charged to the cache, up to a quarter of it; NULL: no
 * room. What is more than a little lies on huge pages. */
void *block_cache_hold(struct block_cache *c, uint64_t bytes);
void block_cache_let_go(struct block_cache *c, void *p, uint64_t bytes); /* NULL allowed */
/* Was `what` asked about twice not long ago, and is there room to keep what belongs to it?
 * Remembers that it was asked about now. Now and then the answer is wrong. */
bool block_cache_again(struct block_cache *c, uint64_t what);
/* Is there room for what can be made again without reading? Not in the last quarter. */
bool block_cache_spares(struct block_cache *c, uint64_t bytes);
/* Drops all objects of a block that is being closed: nobody may hold a pin. */
void block_cache_purge(struct block_cache *c, uint64_t block);
/* Evicts about that much, so that something else can be charged to block_cache_budget. */
void block_cache_shrink(struct block_cache *c, uint64_t bytes);
