/* SPDX-License-Identifier: Apache-2.0
 * One type per attribute of a search answer, for Grafana. */
#pragma once

#include "query/exec.h"

/* Grafana's data source makes a table column of each attribute key, typed by the first value that
 * it meets, and fails as a whole when a later one is of another type, or is no scalar. So a key
 * whose values are of several types, or arrays, maps or bytes, is given as text in all of them.
 * Integers and floating numbers go together. EC_LIMIT when the arena refuses. */
enum ec columns_unify(struct search_result *r, struct arena *a, struct err *err) MUST_USE;
