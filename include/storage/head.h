/* SPDX-License-Identifier: Apache-2.0
 * The head: a tenant's newest spans as append-only columns in memory (a part).
 *
 * Writers hold the tenant's lock; readers take a snapshot through part_reader_open and need no
 * lock: a writer fills all columns of its rows, then publishes the row count with release order.
 * All strings of a head share one dictionary. Spans with an (id, kind) that the same trace already
 * has in this head are dropped as duplicates (retries are shown once).
 */
#pragma once

#include "model/batch.h"
#include "storage/part.h"

struct head;

struct head_limits {
    uint64_t trace_bytes_max; /* raw bytes of one trace in this head; 0: off */
    uint32_t traces_live_max; /* traces that got a span within idle_s; 0: off */
    uint32_t idle_s;          /* 0: 5 */
};

enum ec head_new(struct budget *budget, struct head **ret, struct err *err) MUST_USE;
/* The head as a part; a borrowed pointer: part_ref it to keep it. The head is freed with its last
 * reference; head_free drops the owner's. */
struct part *head_part(struct head *h);
void head_free(struct head *h);

/* Marks spans over the limits as rejected (batch.spans[].reject, batch.n_rejected). Tenant's
 * lock. */
void head_admit(struct head *h, struct batch *b, const struct head_limits *limits, uint32_t now_s);
/* Reserves memory for everything an insert of this batch may need: an upper bound, of which
 * head_insert gives the rest back. EC_LIMIT when the budget refuses or the head has no room for
 * more rows; EC_TOO_LARGE when the batch would not fit into the whole of the budget: it never will.
 * Nothing has changed then. Tenant's lock. After it, head_insert cannot fail. A reservation that no
 * insert follows is kept for the next one. */
enum ec head_reserve(struct head *h, const struct batch *b, struct err *err) MUST_USE;
/* Whether it would be reserved for now; nothing is. */
enum ec head_room(struct head *h, const struct batch *b, struct err *err) MUST_USE;
/* The same past the budget's cap, for what was acked (replay). */
enum ec head_reserve_force(struct head *h, const struct batch *b, struct err *err) MUST_USE;
/* After a refusal with EC_LIMIT: bytes that an empty head would want of the budget. */
uint64_t head_wanted(const struct head *h);
/* Inserts the accepted spans and publishes them. *ret_dups: spans dropped as duplicates. Tenant's
 * lock. */
void head_insert(struct head *h, const struct batch *b, uint32_t arrival_s, uint32_t *ret_dups);

struct head_stats {
    uint64_t memory_bytes, raw_bytes; /* raw: sum of accepted Span message sizes */
    uint32_t n_spans, n_traces, n_traces_live;
    uint32_t first_arrival_s, last_arrival_s;
};
/* Tenant's lock. memory_bytes is what the budget is charged for between inserts. */
void head_stats(struct head *h, uint32_t now_s, struct head_stats *ret);
uint64_t head_bytes(const struct head *h); /* memory_bytes alone. Tenant's lock. */
