/* SPDX-License-Identifier: Apache-2.0
 * First pass: the traces of each source that the prefilter lets through, newest first by their
 * start in that source, merged over all sources. */
#pragma once

#include "source.h"
#include "storage/scan.h"

struct cand { /* one trace of one source */
    uint64_t start_ns;
    uint32_t trace;
};

struct cursor { /* over one source */
    struct source *s;
    struct scan *scan;  /* NULL: everything matches */
    struct cand *queue; /* sorted descending; at is the next */
    uint32_t n, at, cap;
    uint32_t groups_left; /* blocks: groups [0, groups_left) are still to be looked at */
    uint32_t
        /* blocks: lowest trace number handed out, so that a trace in two groups counts once */
        last_trace;
    bool whole; /* heads: all groups were looked at */
};

struct candidates {
    const struct query_ctx *ctx;
    struct cursor *cursors;
    size_t n;
    const struct scan_expr *expr;
    uint64_t start_ns, end_ns; /* trace range wanted; 0,0: all */
    uint64_t inspected_spans;
    struct arena *arena;
};

enum ec candidates_open(struct candidates *c, const struct query_ctx *ctx, struct source *sources,
    size_t n_sources, const struct scan_expr *expr, uint64_t start_ns, uint64_t end_ns,
    struct err *err) MUST_USE;
void candidates_close(struct candidates *c); /* before the sources; safe on zeroed */
/* The next candidate, newest first; *ret_src = PART_NONE at the end. */
enum ec candidates_next(struct candidates *c, uint32_t *ret_src, struct cand *ret, struct err *err)
    MUST_USE;
/* Groups that are still to be looked at, those with waiting candidates included. */
uint32_t candidates_left(const struct candidates *c);
/* EC_DEADLINE, EC_CANCELED. */
enum ec query_check_alive(const struct query_ctx *ctx, struct err *err) MUST_USE;
