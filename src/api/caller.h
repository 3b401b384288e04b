/* SPDX-License-Identifier: Apache-2.0
 * What a restricted caller may see of results. c may be NULL: nobody restricts. */
#pragma once

#include "api/api.h"
#include "query/exec.h"
#include "trace_out.h"

/* Strips spans that the caller may not see in full; after trace_group, whose groups stay valid.
 * show_emptied: JSON shows the lists that this empties. */
enum ec caller_hide_trace(const struct api_caller *c, struct trace_result *t,
    const struct trace_groups *g, bool show_emptied, struct arena *a, struct err *err) MUST_USE;
/* A span's list that became empty is this one. */
extern const struct result_attr result_attrs_emptied[1];
enum ec caller_hide_search(
    const struct api_caller *c, struct search_result *r, struct arena *a, struct err *err) MUST_USE;
/* The query that also lists each span's namespace, by which caller_hide_search decides. */
enum ec caller_query_text(const struct api_caller *c, struct str q, struct arena *a,
    struct str *ret, struct err *err) MUST_USE;
/* EC_INVALID: the query shows attributes of other spans than those that it lists. */
enum ec caller_check_query(const struct api_caller *c, const struct tql_query *q, struct err *err)
    MUST_USE;
