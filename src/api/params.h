/* SPDX-License-Identifier: Apache-2.0
 * Query parameters in Tempo's grammars, with the texts of Go's strconv and time packages where
 * clients see them. */
#pragma once

#include "base/arena.h"
#include "base/err.h"

/* strconv.ParseUint / ParseInt, base 10: `strconv.ParseUint: parsing "x": invalid syntax` or `value
 * out of range`. `what` prefixes: "invalid start". bits: 32 or 64. */
enum ec param_uint(struct str s, const char *what, unsigned bits, uint64_t *ret, struct err *err)
    MUST_USE;
enum ec param_int(struct str s, const char *what, int64_t *ret, struct err *err) MUST_USE;
/* Go time.ParseDuration: "1h30m", "1.5s", "-1s", "0". Error: `time: invalid duration "x"`. */
enum ec param_go_duration(struct str s, int64_t *ret_ns, struct err *err) MUST_USE;
/* Prometheus duration: "1h30m", "7d". */
enum ec param_prom_duration(struct str s, int64_t *ret_ns, struct err *err) MUST_USE;
/* 2006-01-02T15:04:05[.999999999](Z|+hh:mm) */
bool param_rfc3339(struct str s, int64_t *ret_ns) MUST_USE;
/* Unix seconds (also fractional), unix ns (more than 10 characters), or RFC 3339. */
enum ec param_time(struct str s, int64_t *ret_ns, struct err *err) MUST_USE;
/* logfmt pairs of `tags`: k=v k2="v 2"; a bare key has an empty value. */
struct param_pair {
    struct str key, value;
};
enum ec param_logfmt(struct str s, struct arena *a, struct param_pair **ret, size_t *ret_n,
    struct err *err) MUST_USE;
