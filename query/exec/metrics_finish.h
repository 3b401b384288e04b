/* SPDX-License-Identifier: Apache-2.0
 * From accumulators to the series of an answer: labels, quantiles, exemplars, order. */
#pragma once

#include "metrics_collect.h"

/* Appends a series whose values are all 0, in ctx->arena. */
enum ec finish_push(struct collector *c, struct series_list *l, struct metrics_series **ret,
    struct err *err) MUST_USE;
/* Series of the metrics function, sorted. Labels are copied into ctx->arena. */
enum ec finish_series(struct collector *c, struct series_list *ret, struct err *err) MUST_USE;
/* Everything after collecting: series, second stages, caps, exemplars. In ctx->arena. */
enum ec metrics_finish(struct collector *total, const struct query_ctx *ctx,
    const struct metrics_request *req, struct metrics_result *ret, struct err *err) MUST_USE;
/* Second stages, in place: series may lose samples and vanish. */
enum ec second_stages(const struct tql_query *q, const struct query_ctx *ctx, uint32_t n_buckets,
    struct series_list *list, struct err *err) MUST_USE;
