/* SPDX-License-Identifier: Apache-2.0
 * OTLP requests for tests: small builders over the protobuf writer, and one request that has
 * everything a client can send. */
#pragma once

#include "model/batch.h"
#include "model/otlp_write.h"

static inline void fx_attr_str(struct buf *b, uint32_t field, const char *key, const char *v)
{
    pb_put_attr(b, field, str_from(key), &(struct value){.type = VALUE_STR, .s = str_from(v)});
}

static inline void fx_attr_int(struct buf *b, uint32_t field, const char *key, int64_t v)
{
    pb_put_attr(b, field, str_from(key), &(struct value){.type = VALUE_INT, .i = v});
}

/* The ids of every fixture span: trace id bytes `t` 16 times, span id `s`. */
static inline void fx_ids(struct buf *b, uint8_t t, uint64_t s)
{
    char id[16];
    memset(id, t, sizeof(id));
    pb_put_bytes(b, 1, str_n(id, 16));
    put_u64be(id, s);
    pb_put_bytes(b, 2, str_n(id, 8));
}

/* An array attribute "list" holding a string, an int, an array in it and a kvlist in it. */
static inline void fx_attr_nested(struct buf *b, uint32_t field)
{
    size_t kv = pb_begin(b, field);
    pb_put_bytes(b, 1, STR("list"));
    size_t value = pb_begin(b, 2);
    size_t array = pb_begin(b, 5);
    pb_put_value(b, 1, &(struct value){.type = VALUE_STR, .s = STR("one")});
    pb_put_value(b, 1, &(struct value){.type = VALUE_INT, .i = -2});
    size_t inner = pb_begin(b, 1);
    size_t inner_array = pb_begin(b, 5);
    pb_put_value(b, 1, &(struct value){.type = VALUE_BOOL, .b = true});
    pb_end(b, inner_array);
    pb_end(b, inner);
    size_t map = pb_begin(b, 1);
    size_t kvlist = pb_begin(b, 6);
    fx_attr_str(b, 1, "k", "v");
    fx_attr_int(b, 1, "n", 7);
    pb_end(b, kvlist);
    pb_end(b, map);
    pb_end(b, array);
    pb_end(b, value);
    pb_end(b, kv);
}

static inline void fx_span_full(struct buf *b, uint8_t t, uint64_t id)
{
    char parent[8];
    size_t span = pb_begin(b, 2);
    fx_ids(b, t, id);
    pb_put_bytes(b, 3, STR("vendor=1"));
    put_u64be(parent, id + 1000);
    pb_put_bytes(b, 4, str_n(parent, 8));
    pb_put_bytes(b, 5, STR("GET /cart"));
    pb_put_varint(b, 6, 2);
    pb_put_fixed64(b, 7, 1700000000000000000u);
    pb_put_fixed64(b, 8, 1700000000123456789u);
    fx_attr_str(b, 9, "http.method", "GET");
    fx_attr_int(b, 9, "http.status_code", 200);
    pb_put_attr(b, 9, STR("ratio"), &(struct value){.type = VALUE_DOUBLE, .d = 0.25});
    pb_put_attr(b, 9, STR("cached"), &(struct value){.type = VALUE_BOOL, .b = true});
    pb_put_attr(b, 9, STR("none"), &(struct value){.type = VALUE_EMPTY});
    pb_put_attr(b, 9, STR("blob"), &(struct value){.type = VALUE_BYTES, .s = STR("\x01\x00\xff")});
    fx_attr_nested(b, 9);
    pb_put_varint(b, 10, 1);
    size_t event = pb_begin(b, 11);
    pb_put_fixed64(b, 1, 1700000000000000500u);
    pb_put_bytes(b, 2, STR("exception"));
    fx_attr_str(b, 3, "exception.type", "io");
    pb_put_varint(b, 4, 3);
    pb_end(b, event);
    pb_put_varint(b, 12, 2);
    size_t link = pb_begin(b, 13);
    fx_ids(b, 0x77, id + 5);
    pb_put_bytes(b, 3, STR("l=1"));
    fx_attr_str(b, 4, "why", "batch");
    pb_put_varint(b, 5, 4);
    pb_put_fixed32(b, 6, 0x301);
    pb_end(b, link);
    pb_put_varint(b, 14, 3);
    size_t status = pb_begin(b, 15);
    pb_put_bytes(b, 2, STR("boom"));
    pb_put_varint(b, 3, 2);
    pb_end(b, status);
    pb_put_fixed32(b, 16, 0x101);
    pb_end(b, span);
}

/* One ResourceSpans with two scopes of n_spans each, in the canonical encoding. */
static inline void fx_request_full(struct buf *b, unsigned n_spans)
{
    size_t rs = pb_begin(b, 1);
    size_t resource = pb_begin(b, 1);
    fx_attr_str(b, 1, "service.name", "cart");
    fx_attr_str(b, 1, "k8s.pod.name", "cart-7d4b9");
    pb_put_varint(b, 2, 9);
    pb_end(b, resource);
    for (unsigned s = 0; s < 2; s++) {
        size_t ss = pb_begin(b, 2);
        size_t scope = pb_begin(b, 1);
        pb_put_bytes(b, 1, s == 0 ? STR("otel-http") : STR("otel-sql"));
        pb_put_bytes(b, 2, STR("1.2.3"));
        fx_attr_str(b, 3, "scope.attr", "x");
        pb_put_varint(b, 4, 1);
        pb_end(b, scope);
        for (unsigned i = 0; i < n_spans; i++)
            fx_span_full(b, (uint8_t)(0x10 + s), 1 + i);
        pb_put_bytes(b, 3, STR("https://opentelemetry.io/schemas/1.26.0"));
        pb_end(b, ss);
    }
    pb_put_bytes(b, 3, STR("https://opentelemetry.io/schemas/1.25.0"));
    pb_end(b, rs);
}
