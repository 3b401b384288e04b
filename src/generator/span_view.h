/* SPDX-License-Identifier: Apache-2.0
 * What the processors ask of a span: attributes as label text, its multiplier, enum names. */
#pragma once

#include "base/arena.h"
#include "model/batch.h"

/* Attributes of one message of the batch. */
struct attr_list {
    const struct attr *p;
    uint32_t n;
};

/* A span as a processor sees it. */
struct span_view {
    const struct batch *batch;
    const struct batch_span *span;
    struct attr_list resource, attrs;
};

/* NULL: absent. */
const struct value *attr_find(struct attr_list l, struct str key);
/* In the resource first, then in the span. */
const struct value *span_attr(const struct span_view *s, struct str key);
/* The label text of a value: a view, or made in the arena. */
struct str value_text(const struct value *v, struct arena *a);
/* The text of an attribute, "" when it is absent. */
struct str span_attr_text(const struct span_view *s, struct str key, struct arena *a);

double span_seconds(const struct batch_span *s); /* 0 when it ends before it starts */
/* How many spans this one stands for: W3C tracestate's sampling threshold, or 1 / an attribute. */
double span_multiplier(const struct span_view *s, struct str key, bool tracestate);

/* Enum names; numbers that have none as decimal text in `number`. */
struct str span_kind_name(int32_t kind, char number[12]);
struct str span_status_name(int32_t status, char number[12]);
