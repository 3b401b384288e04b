/* SPDX-License-Identifier: Apache-2.0
 * max_cardinality_per_label: while a label has more distinct values than allowed (an estimate over
 * the last minutes, judged every 15 s), each of its values becomes __cardinality_overflow__. The
 * estimate goes on with the values as they came, so that a label recovers only when they do. */
#pragma once

#include "labels.h"

struct label_limit;

struct label_limit *label_limit_new(struct str tenant);
void label_limit_free(struct label_limit *x);
/* Before labels_close; max > 0. */
void label_limit_apply(struct label_limit *x, struct labels *l);
void label_limit_judge(struct label_limit *x, uint32_t max); /* every 15 s */
void label_limit_advance(struct label_limit *x);             /* every 5 min */
