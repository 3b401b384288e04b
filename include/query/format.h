/* SPDX-License-Identifier: Apache-2.0
 * Numbers and durations as Go writes and reads them: what clients of Tempo compare byte for byte.
 *
 * Pure functions, thread-safe. Outputs are NUL-terminated and fit the fixed arrays named by the
 * _MAX constants; the length is returned. Every float is written with the shortest digits that read
 * back as the same double. NaN, +Inf and -Inf are spelled so.
 */
#pragma once

#include "base/buf.h"

#define FORMAT_FLOAT_MAX    32
#define FORMAT_DURATION_MAX 48

/* strconv.FormatFloat(v, 'g', -1, 64), also what %v of fmt prints: exponent below 1e-4 or from 1e6
 * on (1e+06, 1.5e-05), else plain (100000, 0.5). */
size_t format_float_g(char out[FORMAT_FLOAT_MAX], double v);
/* encoding/json: exponent below 1e-6 (`1e-7`) or from 1e21 on (`1e+21`), else plain. */
size_t format_float_json(char out[FORMAT_FLOAT_MAX], double v);
/* strconv 'f', -1: never an exponent; up to 330 bytes, hence into a buffer. */
void format_float_f(struct buf *out, double v);

/* time.Duration.String: `0s`, `1.5s`, `1m30s`, `600ms`, `1.5µs`, `-2h0m0s`. */
size_t format_duration(char out[FORMAT_DURATION_MAX], int64_t ns);
/* Prometheus' duration syntax: `1d12h`, units y w d h m s ms in this order, each at most once,
 * integers, no sign; `0` alone is allowed. False on syntax or overflow. */
bool parse_duration_prom(struct str s, int64_t *ret_ns);
/* time.ParseDuration: `1.5h`, `-2m3.5s`, `0`, units ns us µs ms s m h in any order. */
bool parse_duration_go(struct str s, int64_t *ret_ns);
/* The first of the two that takes the text: what TraceQL literals and API parameters accept. */
bool parse_duration(struct str s, int64_t *ret_ns);
/* Decimal floating text, whole: `1`, `-1.5`, `.5`, `5.`, `1e3`. No hex, no underscores, no Inf or
 * NaN. False on syntax and on values out of range. */
bool parse_float(struct str s, double *ret);
