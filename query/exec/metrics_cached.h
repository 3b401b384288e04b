/* SPDX-License-Identifier: Apache-2.0
 * What metrics queries keep in the cache (query/cache.h), and how it is found again.
 *
 * A partial is what collect_slice found in one slice: cells of series by bucket, and exemplars. Its
 * key is the question (query, step) and the slice, with the range only as far as it cuts the slice:
 * buckets are numbered from the epoch, so that a dashboard whose window moves on asks for the same
 * partials again. Traces that the block shares with other parts are not in it; which ones were left
 * out is part of the key. Exemplars depend on what was chosen before: they are those of the query
 * that was first, for the same number of them over a range as long.
 *
 * Heads are asked for again while they grow. A slice of a head is one group, and its key says how
 * many rows it is about: a full group is counted once, of the last one what came since the query
 * before makes another partial, and what nobody asks for any more is the first to be evicted.
 *
 * compare() is kept whole, for as long as no head gets a span: its values are chosen from all. */
#pragma once

#include "metrics_collect.h"
#include "query/cache.h"

struct partials {
    struct query_cache *cache; /* NULL: nothing is kept of this query */
    const struct query_ctx *ctx;
    const struct metrics_request *req;
    struct grid grid;
    const struct shared_set *shared; /* may be NULL: for compare() */
    struct buf question;
    struct buf asked; /* compare(): the key it was looked for with; empty: it cannot be kept */
};

/* Never fails: a query without memory for keys is one that keeps nothing. */
void partials_init(struct partials *p, const struct query_ctx *ctx,
    const struct metrics_request *req, const struct grid *g, const struct shared_set *shared);
void partials_deinit(struct partials *p); /* safe on zeroed */

/* What is kept of a slice, to be released; NULL: nothing. */
struct cached *partial_find(const struct partials *p, const struct slice *s);
/* Keeps what c found in its slice, which was read without damage. Thread-safe. */
void partial_keep(const struct partials *p, const struct collector *c);
/* As collect_slice_merge. */
enum ec partial_merge(const struct partials *p, const struct cached *e, struct collector *into,
    struct err *err) MUST_USE;

/* compare(), as the series of the answer. *ret_found: they are in c->compared. */
enum ec compared_find(struct partials *p, struct collector *c, bool *ret_found, struct err *err)
    MUST_USE;
void compared_keep(const struct partials *p, const struct collector *c);
