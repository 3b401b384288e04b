/* SPDX-License-Identifier: Apache-2.0
 * First pass: the traces of each source that can be in the answer, newest first by their start in
 * that source, merged over all sources. */
#pragma once

#include "need.h"

struct cand { /* one trace of one source */
    uint64_t start_ns;
    uint32_t trace;
    /* What the query needs was found in this source alone. Else the trace can be in the answer only
     * when other sources hold some of it too. */
    bool certain;
    struct part_trace pt;
};

struct cursor {         /* over one source */
    struct source *s;   /* NULL: nothing to ask */
    struct cand *queue; /* blocks: sorted, at is the next; heads: a heap, its top at 0 */
    uint32_t n, at, cap;
    uint32_t n_filled;    /* heads: what n was at first */
    uint32_t groups_left; /* blocks: groups [0, groups_left) are still to be looked at */
    /* blocks: lowest trace number handed out, so that a trace in two groups counts once */
    uint32_t last_trace;
    uint32_t groups_pinned; /* looked at since its reader was opened */
    bool opened;            /* its filters were asked whether they can match at all */
    uint64_t bound_ns; /* while the queue is empty: nothing that is still to come starts later */
};

struct candidates {
    const struct query_ctx *ctx;
    struct filters own, *filters;
    const struct need *need;
    struct cursor *cursors;
    size_t n;
    uint32_t *order; /* a heap of cursors by their next start */
    size_t n_order;
    uint64_t start_ns, end_ns; /* trace range wanted; 0,0: all */
    /* Any span of a trace in the range counts, not only those of groups in the range. */
    bool whole_traces;
    uint64_t inspected_spans;
    uint32_t ahead;               /* blocks asked at once when the next one was not read yet */
    struct arena *arena, scratch; /* scratch: of one refill */
};

/* Conditions on single spans. */
enum ec candidates_open(struct candidates *c, const struct query_ctx *ctx, struct source *sources,
    size_t n_sources, const struct scan_expr *expr, uint64_t start_ns, uint64_t end_ns,
    struct err *err) MUST_USE;
/* Filters and what is needed of them; both outlive the candidates. */
enum ec candidates_open_need(struct candidates *c, const struct query_ctx *ctx,
    struct source *sources, size_t n_sources, struct filters *filters, const struct need *need,
    uint64_t start_ns, uint64_t end_ns, struct err *err) MUST_USE;
void candidates_close(struct candidates *c); /* before the sources; safe on zeroed */
/* The next candidate, newest first; *ret_src = PART_NONE at the end. */
enum ec candidates_next(struct candidates *c, uint32_t *ret_src, struct cand *ret, struct err *err)
    MUST_USE;
/* Groups that are still to be looked at, those with waiting candidates included. */
uint32_t candidates_left(const struct candidates *c);
/* EC_DEADLINE, EC_CANCELED, EC_LIMIT. A long query waits here for its turn (pool_turn): no lock is
 * held. */
enum ec query_check_alive(const struct query_ctx *ctx, struct err *err) MUST_USE;
