/* SPDX-License-Identifier: Apache-2.0
 * Private to the batch decoder: the state of one walk, shared by its two files
 * (batch_decode.c: request, resources, scopes; batch_decode_span.c: spans and what is in them). */
#pragma once

#include "model/batch.h"
#include "pb_read.h"

/* As TRY, for the readers here, which return false with the reason in the decoder. */
#define TRY_FIELD(expr)        \
    do {                       \
        if (UNLIKELY(!(expr))) \
            return false;      \
    } while (0)

enum batch_part { BATCH_RESOURCE, BATCH_SCOPE, BATCH_SPAN, BATCH_EVENT, BATCH_LINK };

struct batch_dec {
    struct batch b;
    struct arena *arena;
    const uint8_t *raw_end;
    uint32_t cap_resources, cap_scopes, cap_spans, cap_attrs, cap_events, cap_links;
    uint32_t attr_bytes_max; /* UINT32_MAX: off */
    uint32_t spans_max, span_bytes_max;
    struct pb_err fail; /* malformed input */
    enum ec ec;         /* EC_INVALID: see fail; EC_LIMIT, EC_TOO_LARGE: see fail.what */
};

/* Makes room for `more` elements of `size` bytes behind the n in *array. `at` is how far the walk
 * has come: it predicts how many will follow. False: ec is EC_LIMIT. */
bool batch_dec_grow(struct batch_dec *d, void **array, uint32_t n, uint32_t *cap, uint32_t more,
    size_t size, const uint8_t *at) __attribute__((noinline)) MUST_USE;

#define BATCH_DEC_ROOM(d, list, more, at)                                                     \
    (LIKELY((d)->cap_##list - (d)->b.n_##list >= (more)) ||                                   \
        batch_dec_grow((d), (void **)&(d)->b.list, (d)->b.n_##list, &(d)->cap_##list, (more), \
            sizeof(*(d)->b.list), (at)))

/* Appends the KeyValue in [p, end) to attrs; *size grows by its canonical size as a field. */
bool batch_dec_attr(struct batch_dec *d, const uint8_t *p, const uint8_t *end, enum batch_part part,
    uint64_t *size) MUST_USE;
/* Appends the Span in [p, end), for which there is room; *size as above. */
bool batch_dec_span(struct batch_dec *d, const uint8_t *p, const uint8_t *end, uint32_t resource,
    uint32_t scope, uint64_t *size) MUST_USE;

/* Reads the tag at *p. */
static inline bool batch_dec_tag(
    struct batch_dec *d, const uint8_t **p, const uint8_t *end, uint32_t *ret_tag)
{
    const uint8_t *at = *p;
    *p = pb_tag(at, end, ret_tag);
    return LIKELY(*p != NULL) || pb_fail(&d->fail, at, "bad tag");
}

/* Reads a length whose content must lie before end. */
static inline bool batch_dec_len(
    struct batch_dec *d, const uint8_t **p, const uint8_t *end, size_t *ret_n)
{
    const uint8_t *at = *p;
    *p = pb_len(at, end, ret_n);
    return LIKELY(*p != NULL) || pb_fail(&d->fail, at, "length past the end");
}

static inline bool batch_dec_str(
    struct batch_dec *d, const uint8_t **p, const uint8_t *end, struct str *ret)
{
    size_t n;
    if (UNLIKELY(!batch_dec_len(d, p, end, &n)))
        return false;
    *ret = str_n((const char *)*p, n);
    *p += n;
    return true;
}

/* Ids: *ret_n is the length as sent; an id of another than the right length reads as absent. */
static inline bool batch_dec_trace_id(
    struct batch_dec *d, const uint8_t **p, const uint8_t *end, struct trace_id *ret, size_t *ret_n)
{
    if (UNLIKELY(!batch_dec_len(d, p, end, ret_n)))
        return false;
    if (LIKELY(*ret_n == sizeof(ret->b)))
        memcpy(ret->b, *p, sizeof(ret->b));
    else
        *ret = (struct trace_id){0};
    *p += *ret_n;
    return true;
}

static inline bool batch_dec_span_id(
    struct batch_dec *d, const uint8_t **p, const uint8_t *end, span_id *ret, size_t *ret_n)
{
    if (UNLIKELY(!batch_dec_len(d, p, end, ret_n)))
        return false;
    *ret = LIKELY(*ret_n == sizeof(*ret)) ? get_u64be(*p) : 0;
    *p += *ret_n;
    return true;
}

static inline bool batch_dec_varint(
    struct batch_dec *d, const uint8_t **p, const uint8_t *end, uint64_t *ret)
{
    const uint8_t *at = *p;
    *p = pb_varint(at, end, ret);
    return LIKELY(*p != NULL) || pb_fail(&d->fail, at, "bad varint");
}

static inline bool batch_dec_u32(
    struct batch_dec *d, const uint8_t **p, const uint8_t *end, uint32_t *ret)
{
    uint64_t v;
    if (UNLIKELY(!batch_dec_varint(d, p, end, &v)))
        return false;
    *ret = (uint32_t)v; /* protobuf truncates */
    return true;
}

static inline bool batch_dec_fixed64(
    struct batch_dec *d, const uint8_t **p, const uint8_t *end, uint64_t *ret)
{
    if (UNLIKELY(end - *p < 8))
        return pb_fail(&d->fail, *p, "fixed64 past the end");
    *ret = get_u64le(*p);
    *p += 8;
    return true;
}

static inline bool batch_dec_fixed32(
    struct batch_dec *d, const uint8_t **p, const uint8_t *end, uint32_t *ret)
{
    if (UNLIKELY(end - *p < 4))
        return pb_fail(&d->fail, *p, "fixed32 past the end");
    *ret = get_u32le(*p);
    *p += 4;
    return true;
}

/* The default case of every message: a known number here has the wrong wire type. */
static inline bool batch_dec_other(
    struct batch_dec *d, const uint8_t **p, const uint8_t *end, uint32_t tag, uint32_t field_last)
{
    const uint8_t *at = *p;
    if (tag >> 3 <= field_last)
        return pb_fail(&d->fail, at, "wrong wire type of a known field");
    *p = pb_skip(at, end, tag);
    return *p != NULL || pb_fail(&d->fail, at, "bad field");
}

/* Canonical sizes of fields that are left out at their default. */
static inline uint64_t batch_dec_size_str(struct str s)
{
    return s.n == 0 ? 0 : pb_len_size(s.n);
}
static inline uint64_t batch_dec_size_varint(uint64_t v)
{
    return v == 0 ? 0 : 1 + pb_varint_size(v);
}
