/* SPDX-License-Identifier: Apache-2.0
 * The values of an attribute that a query's blocks have together, as kept in the cache: a sorted
 * list, to which those of heads are added every time. The range of a query only chooses blocks, so
 * it is not part of the key. */
#pragma once

#include "query/cache.h"
#include "source.h"
#include "tagset.h"

struct values_cached {
    struct query_cache *cache; /* NULL: nothing is kept of this query */
    struct buf key;
    const struct part **parts;
    size_t n_parts;
};

/* No span of the part is in the range. */
static inline bool values_outside(const struct values_request *r, const struct part_info *info)
{
    return (r->start_ns != 0 || r->end_ns != 0) &&
           (info->min_start_ns > r->end_ns || info->max_end_ns < r->start_ns);
}

/* sources: of the parts. Never fails: without memory nothing is kept. */
void values_cached_init(struct values_cached *k, const struct query_ctx *ctx,
    const struct values_request *req, const struct source *sources);
void values_cached_deinit(struct values_cached *k); /* safe on zeroed */

struct values_list {
    const struct tagset_entry *entries; /* sorted; or kept bytes: */
    const uint8_t *p, *end;             /* what is left of them */
    size_t n;                           /* entries in all */
    uint64_t bytes;                     /* as tagset.bytes */
};
enum values_found {
    VALUES_UNKNOWN,
    VALUES_FOUND,
    VALUES_TOO_MANY, /* there is no list: more than the query may return */
};
/* The list stays until the arena of the query goes. */
enum ec values_cached_find(struct values_cached *k, const struct query_ctx *ctx,
    enum values_found *ret_found, struct values_list *ret, struct err *err) MUST_USE;
/* list->entries NULL: VALUES_TOO_MANY. */
void values_cached_keep(
    struct values_cached *k, const struct query_ctx *ctx, const struct values_list *list);

/* What the set holds and the list besides (NULL: nothing), each value once, sorted. The list is
 * used up. *ret_bytes: of all. */
enum ec values_merge(const struct tagset *set, struct values_list *list,
    const char *const *kind_names, struct values_result *ret, uint64_t *ret_bytes, struct err *err)
    MUST_USE;
