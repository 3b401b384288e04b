/* SPDX-License-Identifier: Apache-2.0
 * Legacy search: tags=k=v pairs and trace durations (spec tempo-api 9.3). All pairs must match
 * somewhere in the trace, at span or resource level. */
#pragma once

#include "need.h"

/* Every pair that is not about the trace as a whole, on some span. */
enum ec legacy_need(const struct search_request *r, struct filters *f, struct source *sources,
    size_t n_sources, struct arena *arena, const struct need **ret, struct err *err) MUST_USE;
/* ev->filters are those of legacy_need. */
enum ec legacy_match(struct eval *ev, const struct search_request *r, bool *ret, struct err *err)
    MUST_USE;
