/* SPDX-License-Identifier: Apache-2.0
 * From TraceQL to storage predicates: the prefilter of the first pass.
 *
 * INVARIANT: a lowered tree matches at least every span that the exact evaluation matches; the
 * second pass decides. What cannot be said to storage (arithmetic, parents, trace-wide fields)
 * becomes "all". */
#pragma once

#include "query/tql.h"
#include "storage/scan.h"

/* For tests, before queries run: nothing is lowered, nothing counts as exact, metrics look at whole
 * traces. Every span of every trace is then evaluated, the plain way. */
extern bool lower_nothing;

/* Tree for one filter. NULL: EC_LIMIT, the arena refused. */
const struct scan_expr *lower_filter(const struct tql_expr *e, struct arena *a);
/* True when the tree of lower_filter is exact in groups for which scan_single holds: a span's bit
 * is set just when the filter passes it. For filters before the first select(), whose conditions
 * see all of a value that they match. */
bool lower_is_exact(const struct tql_query *q, const struct tql_expr *e, struct arena *a);
/* Spans that can make a trace a candidate: those of any filter of the first stage. */
const struct scan_expr *lower_query(const struct tql_query *q, struct arena *a);
/* Conditions of an autocomplete group, all on one span. Exact but for arrays. */
const struct scan_expr *lower_group(const struct tql_filter_group *g, struct arena *a);
/* A span that a spanset must have for this scalar stage to keep it: "all" when that is not
 * known. */
const struct scan_expr *lower_scalar(const struct tql_stage *s, struct arena *a);
bool lower_is_all(const struct scan_expr *e);
/* The tree itself, or "all" when it is deeper than storage takes. */
const struct scan_expr *lower_shallow(const struct scan_expr *e);
/* The trace id that every match must have (`trace:id = "..."` joined by &&), NULL when there is
 * none. */
const struct tql_static *lower_trace_id(const struct tql_query *q);
