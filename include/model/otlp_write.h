/* SPDX-License-Identifier: Apache-2.0
 * A small protobuf writer for OTLP messages: what transcoders (JSON, Jaeger, Zipkin) and answers
 * use. Nested messages are written with a length back-patched: begin returns a mark, end closes
 * it. */
#pragma once

#include "base/buf.h"
#include "model/value.h"

enum pb_wire { PB_VARINT = 0, PB_FIXED64 = 1, PB_LEN = 2, PB_FIXED32 = 5 };

void pb_put_tag(struct buf *b, uint32_t field, enum pb_wire wire);
void pb_put_varint(struct buf *b, uint32_t field, uint64_t v); /* always written */
void pb_put_fixed64(struct buf *b, uint32_t field, uint64_t v);
void pb_put_fixed32(struct buf *b, uint32_t field, uint32_t v);
void pb_put_double(struct buf *b, uint32_t field, double v);
void pb_put_bytes(struct buf *b, uint32_t field, struct str s); /* always written */
size_t pb_begin(struct buf *b, uint32_t field);
void pb_end(struct buf *b, size_t mark);
/* An AnyValue as field `field`, a KeyValue as field `field`. */
void pb_put_value(struct buf *b, uint32_t field, const struct value *v);
void pb_put_attr(struct buf *b, uint32_t field, struct str key, const struct value *v);
