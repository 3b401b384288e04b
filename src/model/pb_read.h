/* SPDX-License-Identifier: Apache-2.0
 * Reading protobuf in place: the primitives under the OTLP decoder and the value iterators.
 *
 * Every reader takes [p, end) and returns the position after what it read, or NULL when the bytes
 * do not hold it. Nothing here allocates. A tag is kept whole (field << 3 | wire), so that a switch
 * over tags checks number and wire type at once.
 */
#pragma once

#include "base/bytes.h"
#include "model/otlp_write.h"
#include "model/value.h"

#define PB_GROUP_BEGIN 3u
#define PB_GROUP_END   4u
#define PB_GROUP_DEPTH 64

/* The tag of a field, as a constant expression for case labels. */
#define PB_TAG(field, wire) ((uint32_t)(field) << 3 | (uint32_t)(wire))

/* What was wrong, and where: `what` is a static string. Filled once, at the innermost place. */
struct pb_err {
    const uint8_t *at;
    const char *what;
};

/* Never inlined: the error paths stay out of the hot code. */
void pb_fail_set(struct pb_err *e, const uint8_t *at, const char *what)
    __attribute__((cold, noinline));
/* Always false, for `return pb_fail(...)`, and the compiler can see that it is. */
static inline bool pb_fail(struct pb_err *e, const uint8_t *at, const char *what)
{
    pb_fail_set(e, at, what);
    return false;
}

static inline const uint8_t *pb_varint(const uint8_t *p, const uint8_t *end, uint64_t *ret)
{
    if (LIKELY(p < end && p[0] < 0x80)) {
        *ret = p[0];
        return p + 1;
    }
    if (LIKELY(end - p >= 2 && p[1] < 0x80)) {
        *ret = (uint64_t)(p[0] & 0x7f) | (uint64_t)p[1] << 7;
        return p + 2;
    }
    return varint_get(p, end, ret);
}

/* A tag: field number 1 .. 2^29-1. Wire types 6 and 7 pass here and fail in pb_skip. */
static inline const uint8_t *pb_tag(const uint8_t *p, const uint8_t *end, uint32_t *ret)
{
    uint64_t v;
    p = pb_varint(p, end, &v);
    if (UNLIKELY(p == NULL || v > UINT32_MAX || v < 8))
        return NULL;
    *ret = (uint32_t)v;
    return p;
}

/* A length and as many bytes: returns where they start, *ret_n is how many. */
static inline const uint8_t *pb_len(const uint8_t *p, const uint8_t *end, size_t *ret_n)
{
    uint64_t n;
    p = pb_varint(p, end, &n);
    if (UNLIKELY(p == NULL || n > (uint64_t)(end - p)))
        return NULL;
    *ret_n = (size_t)n;
    return p;
}

/* Skips the field whose tag was just read; groups iteratively, at most PB_GROUP_DEPTH deep. */
const uint8_t *pb_skip(const uint8_t *p, const uint8_t *end, uint32_t tag);

/* Bytes of a varint: ceil(bits / 7), at least 1, without a loop or a division (exact up to 64). */
static inline uint32_t pb_varint_size(uint64_t v)
{
    uint32_t top_bit = 63u - (uint32_t)__builtin_clzll(v | 1);
    return (top_bit * 9 + 73) >> 6;
}

/* Bytes of a length-delimited field with a one-byte tag. */
static inline uint64_t pb_len_size(uint64_t n)
{
    return 1 + pb_varint_size(n) + n;
}

/* Decodes the AnyValue in [p, end) over *v: a member found replaces what is there, so that an
 * AnyValue given in two pieces merges (between members the last wins; arrays are not concatenated).
 * `depth` counts AnyValues from 1. *size becomes the canonical size of the message. */
bool value_decode(const uint8_t *p, const uint8_t *end, unsigned depth, struct value *v,
    uint64_t *size, struct pb_err *e) MUST_USE;
/* The same for a KeyValue whose value is at `depth`; *ret_size: its canonical size. */
bool value_decode_attr(const uint8_t *p, const uint8_t *end, unsigned depth, struct attr *ret,
    uint64_t *ret_size, struct pb_err *e) MUST_USE;
