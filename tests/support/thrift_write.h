/* SPDX-License-Identifier: Apache-2.0
 * Thrift for tests, both protocols: fields are written one after the other, structs closed by
 * tw_end. */
#pragma once

#include "base/buf.h"
#include "unit.h"

enum { TW_BOOL = 2, TW_I8 = 3, TW_DOUBLE = 4, TW_I16 = 6, TW_I32 = 8, TW_I64 = 10, TW_STRING = 11 };
enum { TW_STRUCT = 12, TW_MAP = 13, TW_SET = 14, TW_LIST = 15 };

struct tw {
    struct buf b;
    bool compact;
    int16_t last[64]; /* field of each open struct */
    unsigned depth;
};

static inline uint8_t tw_compact_type(int type)
{
    static const uint8_t types[16] = {[TW_BOOL] = 1,
        [TW_I8] = 3,
        [TW_I16] = 4,
        [TW_I32] = 5,
        [TW_I64] = 6,
        [TW_DOUBLE] = 7,
        [TW_STRING] = 8,
        [TW_LIST] = 9,
        [TW_SET] = 10,
        [TW_MAP] = 11,
        [TW_STRUCT] = 12};
    return types[type & 15];
}

static inline void tw_be(struct tw *t, uint64_t v, unsigned n)
{
    while (n-- > 0)
        buf_putc(&t->b, (char)(v >> (8 * n)));
}

static inline void tw_int(struct tw *t, int64_t v, unsigned bytes)
{
    if (t->compact)
        buf_put_varint(&t->b, zigzag_encode(v));
    else
        tw_be(t, (uint64_t)v, bytes);
}

static inline void tw_head(struct tw *t, int type, int id)
{
    if (!t->compact) {
        buf_putc(&t->b, (char)type);
        tw_be(t, (uint64_t)id, 2);
        return;
    }
    int delta = id - t->last[t->depth];
    uint8_t c = tw_compact_type(type);
    if (delta > 0 && delta <= 15) {
        buf_putc(&t->b, (char)(delta << 4 | c));
    } else {
        buf_putc(&t->b, (char)c);
        tw_int(t, id, 2);
    }
    t->last[t->depth] = (int16_t)id;
}

static inline void tw_open(struct tw *t) /* an element of a list, or the struct after its head */
{
    assert_true(++t->depth < 64);
    t->last[t->depth] = 0;
}
static inline void tw_end(struct tw *t)
{
    buf_putc(&t->b, 0);
    if (t->depth > 0)
        t->depth--;
}
static inline void tw_struct(struct tw *t, int id)
{
    tw_head(t, TW_STRUCT, id);
    tw_open(t);
}
static inline void tw_size(struct tw *t, size_t n)
{
    if (t->compact)
        buf_put_varint(&t->b, n);
    else
        tw_be(t, n, 4);
}
static inline void tw_text(struct tw *t, struct str s)
{
    tw_size(t, s.n);
    buf_puts(&t->b, s);
}
static inline void tw_list_body(struct tw *t, int type, size_t n)
{
    if (!t->compact) {
        buf_putc(&t->b, (char)type);
        tw_be(t, n, 4);
    } else if (n < 15) {
        buf_putc(&t->b, (char)(n << 4 | tw_compact_type(type)));
    } else {
        buf_putc(&t->b, (char)(0xf0 | tw_compact_type(type)));
        buf_put_varint(&t->b, n);
    }
}
static inline void tw_list(struct tw *t, int id, int type, size_t n)
{
    tw_head(t, TW_LIST, id);
    tw_list_body(t, type, n);
}
static inline void tw_i16(struct tw *t, int id, int16_t v)
{
    tw_head(t, TW_I16, id);
    tw_int(t, v, 2);
}
static inline void tw_i32(struct tw *t, int id, int32_t v)
{
    tw_head(t, TW_I32, id);
    tw_int(t, v, 4);
}
static inline void tw_i64(struct tw *t, int id, int64_t v)
{
    tw_head(t, TW_I64, id);
    tw_int(t, v, 8);
}
static inline void tw_str(struct tw *t, int id, struct str s)
{
    tw_head(t, TW_STRING, id);
    tw_text(t, s);
}
static inline void tw_strz(struct tw *t, int id, const char *s)
{
    tw_str(t, id, str_from(s));
}
static inline void tw_double(struct tw *t, int id, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, 8);
    tw_head(t, TW_DOUBLE, id);
    if (t->compact)
        buf_put_u64le(&t->b, bits);
    else
        tw_be(t, bits, 8);
}
static inline void tw_bool(struct tw *t, int id, bool v)
{
    tw_head(t, TW_BOOL, id);
    if (t->compact) /* the value is in the header, whose byte may be followed by the id */
        for (size_t i = t->b.n; i-- > 0;) {
            if ((t->b.p[i] & 15) == 1) {
                t->b.p[i] = (uint8_t)((t->b.p[i] & 0xf0) | (v ? 1 : 2));
                return;
            }
        }
    buf_putc(&t->b, v);
}
static inline void tw_message(struct tw *t, const char *name, unsigned type)
{
    if (t->compact) {
        buf_putc(&t->b, (char)0x82);
        buf_putc(&t->b, (char)(type << 5 | 1));
        buf_put_varint(&t->b, 77);
        tw_text(t, str_from(name));
    } else {
        tw_be(t, 0x80010000u | type, 4);
        tw_text(t, str_from(name));
        tw_be(t, 77, 4);
    }
}
