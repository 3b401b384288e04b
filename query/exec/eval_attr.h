/* SPDX-License-Identifier: Apache-2.0
 * Values of event- and link-valued attributes, for the evaluation of conditions on them. */
#pragma once

#include "eval.h"

bool eval_is_event(const struct tql_attr *attr); /* else, when multi-valued, of a link */
/* Value of an event- or link-valued attribute on one event (link): group-relative row `at`. */
enum ec eval_multi_value(struct eval *ev, const struct tql_attr *attr, const struct qrow *r,
    uint32_t at, struct qval *ret, struct err *err) MUST_USE;
/* The events (links) of a span that the attribute is read from: [from, to). */
enum ec eval_multi_range(struct eval *ev, const struct tql_attr *attr, const struct qrow *r,
    uint32_t *ret_from, uint32_t *ret_to, struct err *err) MUST_USE;
