/* SPDX-License-Identifier: Apache-2.0
 * What queries have found in parts, for the next query that asks the same: bytes by key, bounded,
 * the least recently used go first. Blocks never change, and neither do the rows that a head has
 * already, so an entry is right for as long as the parts of its key live, and goes with the first
 * of them. Of a head the key says up to which row.
 *
 * Whoever makes keys puts in everything the value depends on: the parts by query_cache_key_part,
 * so that neither tenants nor a part and its successor can be mistaken for each other, and the
 * question. Keys are compared whole.
 *
 * Thread-safe. Entries and their keys are charged to a listed budget of the cache's own.
 */
#pragma once

#include "base/buf.h"
#include "storage/part.h"

struct query_cache;

/* bytes_max: of all entries; one may have an eighth of that. parent may be NULL. */
struct query_cache *query_cache_new(struct budget *parent, uint64_t bytes_max);
/* NULL allowed. No entry may be in use; parts may outlive the cache. */
void query_cache_free(struct query_cache *c);

/* The caller holds a reference to p. n_rows: of a head, how many of its rows the value is about, 0
 * of a block. */
void query_cache_key_part(struct buf *key, const struct part *p, uint32_t n_rows);

/* A value in use: it stays where it is until it is released, even when the cache drops it. */
struct cached {
    struct bytes value; /* 8-aligned */
};
/* NULL: not there. */
struct cached *query_cache_get(struct query_cache *c, struct bytes key);
void query_cache_release(struct query_cache *c, struct cached *e); /* NULL allowed */
/* Keeps a copy, if there is room for it; an entry that is there already stays. The caller holds
 * references to the parts, which are those of the key. */
void query_cache_put(struct query_cache *c, const struct part *const *parts, size_t n_parts,
    struct bytes key, struct bytes value);
/* So that another value can be kept under the key. */
void query_cache_drop(struct query_cache *c, struct bytes key);
/* Values of more bytes are not kept. */
size_t query_cache_value_max(const struct query_cache *c);
/* Entries that can be found now. */
size_t query_cache_entries(struct query_cache *c);

/* query/exec: what is known of pairs of parts; half as many bytes, in its own budget */
struct pairs;
struct pairs *query_cache_pairs(struct query_cache *c);
