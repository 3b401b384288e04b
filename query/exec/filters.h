/* SPDX-License-Identifier: Apache-2.0
 * The filters of a query as bitmaps: one scan per filter and source, asked once per group, read by
 * the first pass (which traces are candidates) and again by the second (which spans of them pass).
 *
 * A bit that is not set is the truth: the span fails. A set bit is the truth where the bitmap is
 * exact, else the filter is to be evaluated on the span.
 *
 * Bitmaps of the last few groups of a block are remembered, of a head those of all groups (its
 * traces are everywhere). Scans hold on to their reader: filters_release lets go of them before the
 * reader is recycled; they come back on demand, the bitmaps stay. One thread at a time.
 */
#pragma once

#include "eval.h"
#include "storage/scan.h"

struct filter_bits {
    uint32_t g; /* PART_NONE: nothing remembered */
    bool exact;
    struct scan_bits bits;
};

struct filter {
    const struct scan_expr *x;
    bool exact; /* as far as the query tells */
};

struct filter_source {
    struct scan **scans;       /* by filter; NULL: not made, or everything matches */
    bool *none;                /* by filter: no span of the source can match */
    bool opened;               /* scans are there */
    uint32_t n_slots;          /* groups remembered: g lies in slot g % n_slots */
    struct filter_bits **bits; /* [slot * n_max + filter]; NULL until used */
};

struct filters {
    struct source *sources;
    size_t n_sources;
    struct arena *arena;
    struct filter *f;
    uint32_t n, n_max;
    uint32_t *of_expr; /* by expression id: 1 + filter; 0: none */
    uint32_t n_exprs;
    struct filter_source *src;
    uint64_t scanned_spans;
};

/* Room for n_max filters; n_exprs: ids of the query's expressions are below (0: none are given). */
enum ec filters_open(struct filters *f, struct source *sources, size_t n_sources, uint32_t n_max,
    uint32_t n_exprs, struct arena *arena, struct err *err) MUST_USE;
void filters_close(struct filters *f); /* before the sources; safe on zeroed */
/* Returns its number. e (may be NULL) is the expression that the second pass will ask for. */
uint32_t filters_add(
    struct filters *f, const struct tql_expr *e, const struct scan_expr *x, bool exact);
/* The filter of an expression, or PART_NONE. f may be NULL. */
uint32_t filters_find(const struct filters *f, const struct tql_expr *e);

/* True when no span of the source can match: costs no page of spans. */
enum ec filters_none(struct filters *f, uint32_t src, uint32_t filter, bool *ret, struct err *err)
    MUST_USE;
/* Valid until the next call for the same source. */
enum ec filters_group(struct filters *f, uint32_t src, uint32_t filter, uint32_t g,
    const struct filter_bits **ret, struct err *err) MUST_USE;
/* Ends the source's scans, so that it can be recycled. */
void filters_release(struct filters *f, uint32_t src);
