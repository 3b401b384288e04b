/* SPDX-License-Identifier: Apache-2.0
 * What tql_check's two halves share: validation (check.c) and analysis (analyze.c). */
#pragma once

#include "query/tql.h"

/* Numbers the nodes, makes equal attributes one object, fills everything below "Filled by
 * tql_check". */
enum ec tql_analyze(struct tql_query *q, struct arena *arena, struct err *err) MUST_USE;
bool tql_attr_same(const struct tql_attr *a, const struct tql_attr *b);
