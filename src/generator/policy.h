/* SPDX-License-Identifier: Apache-2.0
 * Filter policies of a processor, compiled: any exclude drops, else any include_any keeps, else all
 * includes must match. Immutable after policy_new. */
#pragma once

#include "generator/generator.h"
#include "span_view.h"

struct policies;

/* EC_INVALID with the key or pattern at fault. *ret is NULL when there are none. */
enum ec policies_new(const struct generator_filter *f, struct policies **ret, struct err *err)
    MUST_USE;
void policies_free(struct policies *p);
bool policies_keep(const struct policies *p, const struct span_view *s);
