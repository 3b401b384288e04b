/* SPDX-License-Identifier: Apache-2.0
 * Numbers and durations as Go writes and reads them: what clients of Tempo compare byte for byte.
 *
 * Pure functions, thread-safe. Outputs are NUL-terminated and fit the fixed arrays named by the _MAX
 * constants; the length is returned.
 */
#pragma once

#include "base/buf.h"

#define FORMAT_FLOAT_MAX    32
#define FORMAT_DURATION_MAX 32

/* Shortest text that reads back as v. `g`: strconv.FormatFloat(v, 'g', -1, 64), what fmt prints for %v
 * except that fmt's exponent threshold is 21: `1e+06`, `0.5`, `NaN`, `+Inf`, `-Inf`. */
size_t format_float_g(char out[FORMAT_FLOAT_MAX], double v);
/* fmt's %v: as above, exponent only below 1e-4 or from 1e21 on. */
size_t format_float_v(char out[FORMAT_FLOAT_MAX], double v);
/* strconv 'f', -1: never an exponent; up to 330 bytes, hence into a buffer. */
void format_float_f(struct buf *out, double v);
/* encoding/json: exponent below 1e-6 or from 1e21 on, `1e-7` not `1e-07`. NaN and Inf as 'g' has them. */
size_t format_float_json(char out[FORMAT_FLOAT_MAX], double v);

/* time.Duration.String: `0s`, `1.5s`, `1m30s`, `600ms`, `1.5µs`, `-2h0m0s`. */
size_t format_duration(char out[FORMAT_DURATION_MAX], int64_t ns);
/* Prometheus' model.ParseDuration syntax in nanoseconds: `1d12h`, fixed unit order y w d h m s ms, integers;
 * `0` alone is allowed. False on syntax or overflow. */
bool parse_duration_prom(struct str s, int64_t *ret_ns);
/* time.ParseDuration: `1.5h`, `-2m3.5s`, `0`, units ns us µs ms s m h. */
bool parse_duration_go(struct str s, int64_t *ret_ns);
/* The first of the two that takes the text: what TraceQL literals and API parameters accept. */
bool parse_duration(struct str s, int64_t *ret_ns);
/* strconv.ParseFloat on plain decimal text (no hex, no underscores, no Inf/NaN). False on syntax; a value out
 * of range is false too. */
bool parse_float(struct str s, double *ret);
