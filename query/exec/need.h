/* SPDX-License-Identifier: Apache-2.0
 * What a trace must hold to be able to be in the answer: spans that pass filters, related by
 * "and" and "or" over the whole trace. Necessary, not sufficient: structure and aggregates are left
 * to the second pass. */
#pragma once

#include "filters.h"

enum need_kind {
    NEED_ALL,  /* every trace */
    NEED_SPAN, /* a span that passes all of filters [first, first + n) */
    NEED_AND,  /* both sides, perhaps on different spans */
    NEED_OR,
};
struct need {
    enum need_kind kind;
    uint32_t first, n;
    const struct need *l, *r;
};
#define NEED_DEPTH_MAX 32

/* Opens `f` with the filters of the query's first stages, lowered and marked as exact or not, and
 * says what they ask of a trace. */
enum ec need_query(const struct tql_query *q, struct filters *f, struct source *sources,
    size_t n_sources, struct arena *arena, const struct need **ret, struct err *err) MUST_USE;
/* One tree of conditions on a span. */
enum ec need_expr(const struct scan_expr *x, struct filters *f, struct source *sources,
    size_t n_sources, struct arena *arena, const struct need **ret, struct err *err) MUST_USE;
/* NULL: the arena refused. Folds the trivial cases. */
const struct need *need_join(
    enum need_kind kind, const struct need *l, const struct need *r, struct arena *arena);
