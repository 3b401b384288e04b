/* SPDX-License-Identifier: Apache-2.0
 * From an evaluated trace to the structs of an answer (spec traceql.md 4.8). Everything is copied
 * into the query's arena: the trace's memory is reused for the next one. */
#pragma once

#include "spanset.h"

enum ec result_trace_fill(
    struct eval *ev, struct arena *a, struct result_trace *ret, struct err *err) MUST_USE;
/* Span sets, at most spss spans each; serviceStats too (TraceQL answers only). */
enum ec result_sets_fill(struct eval *ev, struct sset_list sets, uint32_t spss, struct arena *a,
    struct result_trace *ret, struct err *err) MUST_USE;

/* Opens a part; a damaged one is left out (part NULL, damaged set) and the answer becomes
 * partial. */
/* As source_open_lazy. */
enum ec query_source_open_lazy(
    const struct query_ctx *ctx, struct source *s, struct part *part, struct err *err) MUST_USE;
enum ec query_source_open(
    const struct query_ctx *ctx, struct source *s, struct part *part, struct err *err) MUST_USE;
void query_stats_fill(
    const struct query_ctx *ctx, const struct source *sources, struct query_stats *ret);
