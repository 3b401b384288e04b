/* SPDX-License-Identifier: Apache-2.0
 * Random export requests for tests: every field and value type, few distinct keys and values so
 * that conditions hit, some keys twice, some arrays mixed or empty. The same seed gives the same
 * bytes. */
#pragma once

#include "block_fixture.h"
#include "model/batch.h"
#include "model/otlp_write.h"

static const char *const rnd_strings[] = {
    "", "a", "b", "GET", "POST", "cart", "checkout", "a longer value with spaces"};
static const int64_t rnd_ints[] = {
    0, 1, -1, 3, 200, 404, 9007199254740993, INT64_MAX, INT64_MIN, INT64_MAX - 1};
static const double rnd_doubles[] = {0.0, -0.0, 1.0, 3.0, 3.2, -1.5, 0x1p53, 0x1p63, -0x1p63, 1e300,
    __builtin_inf(), __builtin_nan("")};
static const char *const rnd_keys[] = {"k0", "k1", "k2", "k3", "http.method", "list"};

static inline struct value rnd_scalar(struct rng *r, uint32_t type)
{
    switch (type) {
    case VALUE_STR:
        return (struct value){.type = VALUE_STR, .s = str_from(rnd_strings[rng_below(r, 8)])};
    case VALUE_INT:
        return (struct value){.type = VALUE_INT, .i = rnd_ints[rng_below(r, 10)]};
    case VALUE_DOUBLE:
        return (struct value){.type = VALUE_DOUBLE, .d = rnd_doubles[rng_below(r, 12)]};
    case VALUE_BOOL:
        return (struct value){.type = VALUE_BOOL, .b = rng_below(r, 2) != 0};
    case VALUE_BYTES:
        return (struct value){.type = VALUE_BYTES, .s = STR("\x00\xff")};
    default:
        return (struct value){.type = VALUE_EMPTY};
    }
}

static inline void rnd_attr(struct buf *b, struct rng *r, uint32_t field)
{
    size_t kv = pb_begin(b, field);
    pb_put_bytes(b, 1, str_from(rnd_keys[rng_below(r, 6)]));
    uint32_t kind = rng_below(r, 10);
    if (kind == 6 || kind >= 8) { /* array */
        size_t value = pb_begin(b, 2), array = pb_begin(b, 5);
        uint32_t n = rng_below(r, 4), type = 1 + rng_below(r, 4);
        bool mixed = rng_below(r, 5) == 0;
        for (uint32_t i = 0; i < n; i++) {
            struct value v = rnd_scalar(r, mixed ? rng_below(r, 6) : type);
            pb_put_value(b, 1, &v);
        }
        pb_end(b, array);
        pb_end(b, value);
    } else if (kind == 7) {
        size_t value = pb_begin(b, 2), list = pb_begin(b, 6);
        struct value v = rnd_scalar(r, VALUE_STR);
        pb_put_attr(b, 1, STR("in"), &v);
        pb_end(b, list);
        pb_end(b, value);
    } else {
        struct value v = rnd_scalar(r, kind);
        pb_put_value(b, 2, &v);
    }
    pb_end(b, kv);
}

static inline void rnd_attrs(struct buf *b, struct rng *r, uint32_t field, uint32_t below)
{
    for (uint32_t n = rng_below(r, below); n > 0; n--)
        rnd_attr(b, r, field);
}

struct rnd_options {
    uint32_t n_resources, n_spans; /* spans of each resource */
    uint32_t n_traces;             /* distinct trace ids to choose from */
    uint64_t first_span_id;        /* ids count up from here */
};

static inline void rnd_span(struct buf *b, struct rng *r, const struct rnd_options *o, uint64_t id)
{
    char bytes[16];
    size_t span = pb_begin(b, 2);
    put_u64be(bytes, 0x1122334455667788);
    put_u64be(bytes + 8, 1 + rng_below(r, o->n_traces));
    pb_put_bytes(b, 1, str_n(bytes, 16));
    put_u64be(bytes, id);
    pb_put_bytes(b, 2, str_n(bytes, 8));
    if (rng_below(r, 4) == 0)
        pb_put_bytes(b, 3, STR("vendor=1"));
    if (rng_below(r, 4) != 0) {
        put_u64be(bytes, 1 + rng_below(r, 1000));
        pb_put_bytes(b, 4, str_n(bytes, 8));
    }
    pb_put_bytes(b, 5, str_from(rnd_strings[rng_below(r, 8)]));
    pb_put_varint(b, 6, rng_below(r, 6));
    uint64_t start = 1700000000000000000u + rng_next(r) % 1000000000u;
    pb_put_fixed64(b, 7, start);
    pb_put_fixed64(b, 8, start + rng_below(r, 1000) - (rng_below(r, 20) == 0 ? 5000 : 0));
    rnd_attrs(b, r, 9, 7);
    if (rng_below(r, 8) == 0)
        pb_put_varint(b, 10, 1 + rng_below(r, 9));
    for (uint32_t n = rng_below(r, 4) == 0 ? 1 + rng_below(r, 3) : 0; n > 0; n--) {
        size_t event = pb_begin(b, 11);
        pb_put_fixed64(b, 1, start + rng_below(r, 100));
        pb_put_bytes(b, 2, str_from(rnd_strings[rng_below(r, 8)]));
        rnd_attrs(b, r, 3, 4);
        if (rng_below(r, 8) == 0)
            pb_put_varint(b, 4, 3);
        pb_end(b, event);
    }
    if (rng_below(r, 8) == 0)
        pb_put_varint(b, 12, 2);
    for (uint32_t n = rng_below(r, 6) == 0 ? 1 + rng_below(r, 3) : 0; n > 0; n--) {
        size_t link = pb_begin(b, 13);
        put_u64be(bytes, rng_next(r));
        put_u64be(bytes + 8, rng_next(r));
        pb_put_bytes(b, 1, str_n(bytes, 16));
        pb_put_bytes(b, 2, str_n(bytes, 8));
        if (rng_below(r, 3) == 0)
            pb_put_bytes(b, 3, STR("l=1"));
        rnd_attrs(b, r, 4, 4);
        if (rng_below(r, 8) == 0)
            pb_put_varint(b, 5, 4);
        pb_put_fixed32(b, 6, rng_below(r, 3));
        pb_end(b, link);
    }
    if (rng_below(r, 8) == 0)
        pb_put_varint(b, 14, 1);
    if (rng_below(r, 3) == 0) {
        size_t status = pb_begin(b, 15);
        if (rng_below(r, 2) == 0)
            pb_put_bytes(b, 2, STR("boom"));
        pb_put_varint(b, 3, rng_below(r, 3));
        pb_end(b, status);
    }
    pb_put_fixed32(b, 16, rng_below(r, 2));
    pb_end(b, span);
}

static inline void rnd_request(struct buf *b, struct rng *r, const struct rnd_options *o)
{
    uint64_t id = o->first_span_id;
    for (uint32_t i = 0; i < o->n_resources; i++) {
        size_t rs = pb_begin(b, 1), resource = pb_begin(b, 1);
        rnd_attrs(b, r, 1, 5);
        if (rng_below(r, 4) == 0)
            pb_put_varint(b, 2, 9);
        pb_end(b, resource);
        size_t ss = pb_begin(b, 2), scope = pb_begin(b, 1);
        pb_put_bytes(b, 1, str_from(rnd_strings[rng_below(r, 8)]));
        pb_put_bytes(b, 2, str_from(rnd_strings[rng_below(r, 8)]));
        rnd_attrs(b, r, 3, 3);
        pb_end(b, scope);
        for (uint32_t k = 0; k < o->n_spans; k++)
            rnd_span(b, r, o, id++);
        if (rng_below(r, 2) == 0)
            pb_put_bytes(b, 3, STR("schema-scope"));
        pb_end(b, ss);
        if (rng_below(r, 2) == 0)
            pb_put_bytes(b, 3, STR("schema-resource"));
        pb_end(b, rs);
    }
}
