/* SPDX-License-Identifier: Apache-2.0
 * One trace assembled from all parts that hold some of it: what the second pass evaluates.
 *
 * Rows are in storage order (oldest part first), duplicates (span id and kind) of several parts
 * dropped. Fields beyond the row reference are loaded on demand; all memory is the scratch arena's,
 * reset per trace.
 */
#pragma once

#include "source.h"

struct qrow {
    uint32_t src; /* index into sources */
    uint32_t g;   /* group in the source */
    uint32_t off; /* row within the group */
};

struct qids { /* of one row */
    span_id id, parent;
    uint32_t kind;
};

struct qnest { /* nested-set numbers; all 0: not connected to a root */
    int32_t left, right, parent;
    uint32_t n_children;
};

struct qtrace {
    struct trace_id id;
    struct source *sources;
    struct qrow *rows;
    uint32_t n, cap; /* cap: room in rows */
    uint64_t start_ns, end_ns;
    uint32_t root;      /* last root row in storage order, PART_NONE: none */
    uint32_t n_parts;   /* sources that hold some of it */
    bool adjacent;      /* rows are those of one block, one after the other */
    struct qids *ids;   /* NULL until loaded */
    uint32_t *up;       /* the parent's row, PART_NONE: root or disconnected; NULL until loaded */
    bool crowded;       /* with up: three spans have one id, so no span is connected */
    struct qnest *nest; /* NULL until loaded */
    uint32_t *all;      /* 0 .. n - 1; NULL until a pipeline runs over all rows */
    struct arena *scratch;
};

/* Finds the trace in every source. n == 0: in none. */
enum ec qtrace_open(struct qtrace *t, struct source *sources, size_t n_sources,
    const struct trace_id *id, struct arena *scratch, struct err *err) MUST_USE;
/* The same of pieces that were found already: those of one trace, by part, which is the source. */
enum ec qtrace_open_pieces(struct qtrace *t, struct source *sources,
    const struct trace_piece *pieces, size_t n, struct arena *scratch, struct err *err) MUST_USE;
/* The same for a trace that only source `src` has: number `trace` there, described by `pt`. */
enum ec qtrace_open_in(struct qtrace *t, struct source *sources, uint32_t src, uint32_t trace,
    const struct part_trace *pt, struct arena *scratch, struct err *err) MUST_USE;
enum ec qtrace_load_ids(struct qtrace *t, struct err *err) MUST_USE;
/* Parent relations as spec traceql.md 4.6 defines them; nest needs more than the parents. */
enum ec qtrace_load_parents(struct qtrace *t, struct err *err) MUST_USE;
enum ec qtrace_load_nest(struct qtrace *t, struct err *err) MUST_USE;

/* Where the rows from `i` on that lie in the same group end. */
static inline uint32_t qtrace_run(const struct qtrace *t, uint32_t i)
{
    const struct qrow *r = &t->rows[i];
    if (t->adjacent)
        return i + MIN(t->n - i, t->sources[r->src].groups[r->g].n_rows - r->off);
    for (i++; i < t->n && t->rows[i].g == r->g && t->rows[i].src == r->src;)
        i++;
    return i;
}

/* One fixed number column of a row (dense or sparse; absent is 0). */
enum ec qrow_u64(struct qtrace *t, const struct qrow *r, col_id col, uint64_t *ret, struct err *err)
    MUST_USE;
/* The same for the rows t->rows[rows[0]], ... of one trace. */
enum ec qtrace_numbers(struct qtrace *t, col_id col, const uint32_t *rows, uint32_t n,
    uint64_t *out, struct err *err) MUST_USE;
enum ec qrow_str(
    struct qtrace *t, const struct qrow *r, col_id col, struct str *ret, struct err *err) MUST_USE;
