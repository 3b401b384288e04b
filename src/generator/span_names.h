/* SPDX-License-Identifier: Apache-2.0
 * span_name_sanitization: the label span_name becomes the pattern that Drain finds for it
 * (drain.h), or in a dry run is only counted as such. What was learnt stays when the mode
 * changes. */
#pragma once

#include "labels.h"

struct span_names;

/* Patterns of a tenant are charged to the budget, SPAN_NAMES_BYTES at most. */
#define SPAN_NAMES_BYTES (16u << 20)
struct span_names *span_names_new(struct budget *budget, struct str tenant);
void span_names_free(struct span_names *x);
/* Closes the labels; true: they are to be closed again. The value it sets lives until the next
 * call. */
bool span_names_apply(struct span_names *x, struct labels *l, bool dry_run, int64_t now_ms);
/* Every 5 min: patterns not used since before_ms go. */
void span_names_advance(struct span_names *x, int64_t before_ms);
void span_names_metrics(struct span_names *x); /* what is not counted at once */
