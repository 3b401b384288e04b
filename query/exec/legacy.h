/* SPDX-License-Identifier: Apache-2.0
 * Legacy search: tags=k=v pairs and trace durations (spec tempo-api 9.3). All pairs must match
 * somewhere in the trace, at span or resource level. */
#pragma once

#include "eval.h"
#include "storage/scan.h"

/* Prefilter: spans on which the first pair matches. */
const struct scan_expr *legacy_lower(const struct search_request *r, struct arena *a);
enum ec legacy_match(struct eval *ev, const struct search_request *r, bool *ret, struct err *err)
    MUST_USE;
