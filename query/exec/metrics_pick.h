/* SPDX-License-Identifier: Apache-2.0
 * Exemplars while they are being collected: at most two per slice of the range, one per trace. */
#pragma once

#include "eval.h"
#include "metrics_frame.h"
#include "query/metrics.h"

struct pick {
    struct trace_id id;
    uint64_t start_ns;
    double value;           /* NaN: that of the sample */
    const struct qval *key; /* labels of its series, without the quantile */
    uint32_t n_key;
    struct result_attr *labels;
    uint32_t n_labels;
};

struct picks {
    struct arena *arena; /* picks and what they refer to */
    uint64_t start_ns, range_ns;
    uint32_t limit; /* 0: none are wanted */
    struct pick *p;
    uint32_t n;
    uint32_t n_before; /* picks that others have made */
    uint8_t slices[METRICS_EXEMPLARS_MAX];
};

void picks_init(struct picks *p, const struct grid *g, uint32_t limit, struct arena *a);
/* Slices that are full there are full here too. */
void picks_after(struct picks *p, const struct picks *others);
bool picks_want(const struct picks *p, uint64_t start_ns);
/* Some start within [from, to] may be wanted. */
bool picks_want_some(const struct picks *p, uint64_t from_ns, uint64_t to_ns);
/* Row `row` of ev's trace, which is of the trace `id` (id known already: nothing happens). key and
 * its strings are copied. */
enum ec picks_add(struct picks *p, struct eval *ev, const struct trace_id *id, uint32_t row,
    uint64_t start_ns, const struct qval *key, uint32_t n_key, double value, struct err *err)
    MUST_USE;
/* Copies what is still wanted of `from`. */
enum ec picks_merge(struct picks *p, const struct picks *from, struct err *err) MUST_USE;
