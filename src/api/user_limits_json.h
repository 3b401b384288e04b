/* SPDX-License-Identifier: Apache-2.0
 * The JSON of /api/overrides: Tempo's fields in its order, unknown ones refused, durations as Go
 * prints them. */
#pragma once

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "config/config.h"
#include "gateway/overrides.h"

/* Appends the canonical form; EC_INVALID with Tempo's words, of syntax and of values. */
enum ec user_limits_json_put(
    const struct config *c, const json_t *limits, struct buf *out, struct err *err) MUST_USE;
/* RFC 7386: patch over target, a new reference. */
json_t *user_limits_json_patch(const json_t *target, const json_t *patch);
/* user_limits_effective.c: what holds for a tenant in the end. */
void user_limits_json_effective(
    const struct config_tenant_generator *g, const struct limit_lists *l, struct buf *out);
