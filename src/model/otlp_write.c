/* SPDX-License-Identifier: Apache-2.0
 * The protobuf writer. Lengths of nested messages are not known beforehand: begin leaves one byte,
 * end fills it in and, past 127 bytes, moves the message up by the one to four bytes more that its
 * length takes. WHY: OTLP nests five deep and most messages are short, so the moves cost less than
 * a sizing walk; and the output stays minimal protobuf, which padded lengths would not be. */
#include "model/otlp_write.h"

#include "pb_read.h"

void pb_put_tag(struct buf *b, uint32_t field, enum pb_wire wire)
{
    buf_put_varint(b, PB_TAG(field, wire));
}

void pb_put_varint(struct buf *b, uint32_t field, uint64_t v)
{
    pb_put_tag(b, field, PB_VARINT);
    buf_put_varint(b, v);
}

void pb_put_fixed64(struct buf *b, uint32_t field, uint64_t v)
{
    pb_put_tag(b, field, PB_FIXED64);
    buf_put_u64le(b, v);
}

void pb_put_fixed32(struct buf *b, uint32_t field, uint32_t v)
{
    pb_put_tag(b, field, PB_FIXED32);
    buf_put_u32le(b, v);
}

void pb_put_double(struct buf *b, uint32_t field, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, 8);
    pb_put_fixed64(b, field, bits);
}

void pb_put_bytes(struct buf *b, uint32_t field, struct str s)
{
    pb_put_tag(b, field, PB_LEN);
    buf_put_varint(b, s.n);
    buf_puts(b, s);
}

size_t pb_begin(struct buf *b, uint32_t field)
{
    pb_put_tag(b, field, PB_LEN);
    buf_putc(b, 0);
    return b->n;
}

void pb_end(struct buf *b, size_t mark)
{
    if (b->failed)
        return;
    ASSERT(mark >= 1 && mark <= b->n);
    size_t n = b->n - mark;
    size_t more = pb_varint_size(n) - 1;
    if (more > 0) {
        if (!buf_reserve(b, more))
            return;
        memmove(b->p + mark + more, b->p + mark, n);
        b->n += more;
    }
    varint_put(b->p + mark - 1, n);
}

/* The AnyValue message itself; nothing for VALUE_EMPTY. */
static void pb_put_value_body(struct buf *b, const struct value *v)
{
    switch (v->type) {
    case VALUE_STR:
        pb_put_bytes(b, 1, v->s);
        break;
    case VALUE_BOOL:
        pb_put_varint(b, 2, v->b);
        break;
    case VALUE_INT:
        pb_put_varint(b, 3, (uint64_t)v->i);
        break;
    case VALUE_DOUBLE:
        pb_put_double(b, 4, v->d);
        break;
    case VALUE_ARRAY:
        pb_put_bytes(b, 5, v->s);
        break;
    case VALUE_KVLIST:
        pb_put_bytes(b, 6, v->s);
        break;
    case VALUE_BYTES:
        pb_put_bytes(b, 7, v->s);
        break;
    case VALUE_EMPTY:
    case VALUE_TYPES:
        break;
    }
}

static uint64_t pb_value_size(const struct value *v)
{
    switch (v->type) {
    case VALUE_BOOL:
        return 2;
    case VALUE_INT:
        return 1 + pb_varint_size((uint64_t)v->i);
    case VALUE_DOUBLE:
        return 9;
    case VALUE_STR:
    case VALUE_ARRAY:
    case VALUE_KVLIST:
    case VALUE_BYTES:
        return pb_len_size(v->s.n);
    case VALUE_EMPTY:
    case VALUE_TYPES:
        break;
    }
    return 0;
}

void pb_put_value(struct buf *b, uint32_t field, const struct value *v)
{
    pb_put_tag(b, field, PB_LEN);
    buf_put_varint(b, pb_value_size(v));
    pb_put_value_body(b, v);
}

void pb_put_attr(struct buf *b, uint32_t field, struct str key, const struct value *v)
{
    pb_put_tag(b, field, PB_LEN);
    buf_put_varint(b, (key.n == 0 ? 0 : pb_len_size(key.n)) + pb_len_size(pb_value_size(v)));
    if (key.n != 0)
        pb_put_bytes(b, 1, key);
    pb_put_value(b, 2, v);
}
