/* SPDX-License-Identifier: Apache-2.0
 * Prometheus' relabeling of series on their way out. One thread. */
#pragma once

#include "remote_write/remote_write.h"

struct relabel; /* the rules of an endpoint */

enum ec relabel_new(const struct remote_write_relabel *rules, size_t n, struct relabel **ret,
    struct err *err) MUST_USE;
void relabel_free(struct relabel *r);
/* Appends the series with the labels that the rules leave, as the body of a TimeSeries. False: it
 * is dropped (or is no TimeSeries), nothing is appended. */
bool relabel_series(struct relabel *r, struct bytes series, struct buf *out);
