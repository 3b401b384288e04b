/* SPDX-License-Identifier: Apache-2.0
 * Stored values of bound attributes. */
#pragma once

#include "eval.h"

/* Value i of an attribute column of the given type. Strings live as long as the reader. */
struct qval view_qval(const struct col_view *v, uint32_t i, enum value_type type);
/* The value of group-relative row `off` in the bound columns (rows of spans, events or links). */
enum ec bind_fetch(struct source *s, const struct bind *b, uint32_t g, uint32_t off,
    struct qval *ret, struct err *err) MUST_USE;
/* Rows [from, to) of the events (COL_EVENT_SPAN) or links (COL_LINK_SPAN) of a span. */
enum ec bind_range(struct source *s, col_id span_col, uint32_t g, uint32_t off, uint32_t *ret_from,
    uint32_t *ret_to, struct err *err) MUST_USE;
