/* SPDX-License-Identifier: Apache-2.0
 * JSON as Tempo prints it (proto3 JSON by gogo/protobuf jsonpb and Go's encoder): compact, 64-bit
 * integers as strings, `<`, `>`, `&`, U+2028 and U+2029 escaped, invalid UTF-8 replaced, Go's float
 * form. Hot output: written straight into a buffer. */
#pragma once

#include "base/buf.h"
#include "model/value.h"

void json_str(struct buf *b, struct str s);
/* True: json_str writes the bytes as they are, between quotes. False: perhaps not. */
bool json_plain(struct str s);
void json_u64(struct buf *b, uint64_t v);     /* 123 */
void json_u64_str(struct buf *b, uint64_t v); /* "123" with quotes */
void json_i64_str(struct buf *b, int64_t v);
void json_double(struct buf *b, double v); /* NaN and infinities as strings */
void json_base64(struct buf *b, const void *p, size_t n);
void json_hex(struct buf *b, const void *p, size_t n); /* "00ff" with quotes */
/* ,"key": — the comma only when *first is false; sets it. `key` needs no escaping. */
static inline void json_key(struct buf *b, bool *first, const char *key)
{
    size_t n = strlen(key); /* known to the compiler */
    if (UNLIKELY(!buf_reserve(b, n + 4)))
        return;
    uint8_t *p = b->p + b->n;
    *p = ',';
    p += !*first;
    *first = false;
    *p++ = '"';
    memcpy(p, key, n);
    memcpy(p + n, "\":", 2);
    b->n = (size_t)(p + n + 2 - b->p);
}
/* An AnyValue object: {"stringValue":"x"}. Depth is bounded by the decoder. */
void json_any_value(struct buf *b, const struct value *v);
/* {"key":"k","value":{...}} */
void json_key_value(struct buf *b, struct str key, const struct value *v);
/* The value as plain JSON: "x", 1, [1,2], {"k":1}; bytes in hex. Depth is bounded likewise. */
void json_native(struct buf *b, const struct value *v);
