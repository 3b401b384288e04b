/* SPDX-License-Identifier: Apache-2.0
 * Trace and span identifiers (OpenTelemetry: 16 and 8 bytes, all zero means absent). */
#pragma once

#include "base/bytes.h"

struct trace_id {
    uint8_t b[16];
};

static inline bool trace_id_eq(const struct trace_id *a, const struct trace_id *b)
{
    return memcmp(a->b, b->b, 16) == 0;
}
static inline int trace_id_cmp(const struct trace_id *a, const struct trace_id *b)
{
    return memcmp(a->b, b->b, 16);
}
static inline bool trace_id_zero(const struct trace_id *a)
{
    return (get_u64le(a->b) | get_u64le(a->b + 8)) == 0;
}

/* A span id is carried as the u64 whose big-endian bytes are the id; 0: absent. */
typedef uint64_t span_id;

/* 1..32 hex digits, left-padded with zeros (Tempo's rule); false on anything else. */
bool trace_id_parse(struct trace_id *ret, struct str hex);
/* Lower case without leading zeros, at least one digit; returns the length (<= 32), no NUL. */
size_t trace_id_short_hex(char out[32], const struct trace_id *id);
