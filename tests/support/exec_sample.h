/* SPDX-License-Identifier: Apache-2.0
 * For tests of the query engine: three small traces in which every feature of TraceQL finds
 * something, as heads of any subset of their spans. The span ids tell trace and number: a3.. is A3.
 *
 * Trace A (start T0): A1 root of A2 and A3, A3 parent of A4 and A5. B: B1 root of B2. C has no
 * root: the parent of C1 is unknown, C2 is its child. */
#pragma once

#include "head_request.h"
#include "otlp_fixture.h"

#define SAMPLE_T0    1700000000000000000u
#define SAMPLE_MS    1000000u
#define SAMPLE_SPANS 9u
#define SAMPLE_ALL   0x1ffu

enum { S_A1, S_A2, S_A3, S_A4, S_A5, S_B1, S_B2, S_C1, S_C2 };

struct sample_span {
    uint64_t id, parent;
    const char *name;
    uint32_t kind, status;
    const char *message;
    uint64_t start_us, duration_ms;
};

static const struct sample_span sample_spans[SAMPLE_SPANS] = {
    {0xa100000000000001, 0, "GET /cart", 2, 0, NULL, 0, 900},
    {0xa200000000000002, 0xa100000000000001, "auth", 1, 1, NULL, 10000, 40},
    {0xa300000000000003, 0xa100000000000001, "SELECT", 3, 2, "timeout", 100000, 600},
    {0xa400000000000004, 0xa300000000000003, "fetch", 3, 0, NULL, 110000, 100},
    {0xa500000000000005, 0xa300000000000003, "flush", 4, 1, NULL, 500000, 5},
    {0xb100000000000001, 0, "POST /pay", 2, 2, NULL, 10000000, 3000},
    {0xb200000000000002, 0xb100000000000001, "charge", 5, 0, NULL, 10100000, 2000},
    {0xc100000000000001, 0xdead, "orphan", 0, 0, NULL, 20000000, 10},
    {0xc200000000000002, 0xc100000000000001, "leaf", 1, 0, NULL, 20001000, 1},
};

static inline void sample_double(struct buf *b, const char *key, double v)
{
    pb_put_attr(b, 9, str_from(key), &(struct value){.type = VALUE_DOUBLE, .d = v});
}

/* Strings, or ints when `strs` is NULL. */
static inline void sample_array(
    struct buf *b, const char *key, const char *const *strs, const int64_t *ints, unsigned n)
{
    size_t kv = pb_begin(b, 9);
    pb_put_bytes(b, 1, str_from(key));
    size_t value = pb_begin(b, 2);
    size_t array = pb_begin(b, 5);
    for (unsigned i = 0; i < n; i++) {
        struct value v = strs != NULL ? (struct value){.type = VALUE_STR, .s = str_from(strs[i])}
                                      : (struct value){.type = VALUE_INT, .i = ints[i]};
        pb_put_value(b, 1, &v);
    }
    pb_end(b, array);
    pb_end(b, value);
    pb_end(b, kv);
}

static inline void sample_event(struct buf *b, unsigned ms, const char *name)
{
    size_t event = pb_begin(b, 11);
    pb_put_fixed64(b, 1, SAMPLE_T0 + ms * (uint64_t)SAMPLE_MS);
    pb_put_bytes(b, 2, str_from(name));
    if (ms == 50)
        fx_attr_str(b, 3, "key", "cart:1");
    else
        fx_attr_int(b, 3, "attempt", 2);
    pb_end(b, event);
}

static inline void sample_a1(struct buf *b)
{
    fx_attr_int(b, 9, "http.code", 200);
    fx_attr_str(b, 9, "user", "ann");
    pb_put_attr(b, 9, STR("beta"), &(struct value){.type = VALUE_BOOL, .b = true});
    sample_double(b, "ratio", 0.5);
    sample_array(b, "tags", (const char *const[]){"red", "blue"}, NULL, 2);
    sample_array(b, "sizes", NULL, (const int64_t[]){10, 20, 30}, 3);
    fx_attr_str(b, 9, "odd key", "q");
    sample_event(b, 50, "cache.miss");
    sample_event(b, 120, "retry");
    size_t link = pb_begin(b, 13);
    fx_ids(b, 0xb2, 0xb100000000000001);
    fx_attr_str(b, 4, "rel", "caused_by");
    pb_end(b, link);
}

static inline void sample_attrs(struct buf *b, unsigned i)
{
    switch (i) {
    case S_A1:
        sample_a1(b);
        break;
    case S_A2:
        fx_attr_str(b, 9, "http.code", "none");
        fx_attr_str(b, 9, "user", "ann");
        break;
    case S_A3:
        fx_attr_int(b, 9, "db.rows", 1500);
        fx_attr_int(b, 9, "http.code", 504);
        sample_double(b, "ratio", 1.0);
        break;
    case S_A4:
        fx_attr_int(b, 9, "db.rows", 7);
        break;
    case S_A5:
        sample_double(b, "db.rows", 12.5);
        break;
    case S_B1:
    case S_B2:
        fx_attr_int(b, 9, "http.code", i == S_B1 ? 500 : 402);
        fx_attr_str(b, 9, "user", "bob");
        break;
    default:
        fx_attr_str(b, 9, "job", "x");
    }
}

static inline void sample_span(struct buf *b, unsigned i)
{
    static const uint8_t traces[] = {0xa1, 0xa1, 0xa1, 0xa1, 0xa1, 0xb2, 0xb2, 0xc3, 0xc3};
    const struct sample_span *s = &sample_spans[i];
    uint64_t start = SAMPLE_T0 + s->start_us * 1000;
    char parent[8];
    size_t span = pb_begin(b, 2);
    fx_ids(b, traces[i], s->id);
    put_u64be(parent, s->parent);
    if (s->parent != 0)
        pb_put_bytes(b, 4, str_n(parent, 8));
    pb_put_bytes(b, 5, str_from(s->name));
    pb_put_varint(b, 6, s->kind);
    pb_put_fixed64(b, 7, start);
    pb_put_fixed64(b, 8, start + s->duration_ms * SAMPLE_MS);
    sample_attrs(b, i);
    size_t status = pb_begin(b, 15);
    if (s->message != NULL)
        pb_put_bytes(b, 2, str_from(s->message));
    pb_put_varint(b, 3, s->status);
    pb_end(b, status);
    pb_end(b, span);
}

/* One ResourceSpans of the chosen spans among [first, end). */
static inline void sample_resource(struct buf *b, uint32_t mask, unsigned first, unsigned end,
    const char *service, const char *env, const char *user, const char *scope, const char *version)
{
    size_t rs = pb_begin(b, 1);
    size_t resource = pb_begin(b, 1);
    fx_attr_str(b, 1, "service.name", service);
    if (env != NULL)
        fx_attr_str(b, 1, "env", env);
    if (user != NULL)
        fx_attr_str(b, 1, "user", user);
    pb_end(b, resource);
    size_t ss = pb_begin(b, 2);
    size_t sc = pb_begin(b, 1);
    pb_put_bytes(b, 1, str_from(scope));
    pb_put_bytes(b, 2, str_from(version));
    if (user != NULL)
        fx_attr_str(b, 3, "lang", "go");
    pb_end(b, sc);
    for (unsigned i = first; i < end; i++)
        if ((mask >> i & 1) != 0)
            sample_span(b, i);
    pb_end(b, ss);
    pb_end(b, rs);
}

/* A head of the spans whose bits are set. */
static inline struct head *sample_head(uint32_t mask)
{
    struct head *h;
    struct request q;
    request_begin(&q);
    sample_resource(&q.raw, mask, S_A1, S_A3, "web", "prod", "svcacct", "otel-go", "1.2");
    sample_resource(&q.raw, mask, S_A3, S_B1, "db", "prod", NULL, "otel-c", "0.9");
    sample_resource(&q.raw, mask, S_B1, S_C1, "web", "dev", NULL, "otel-go", "1.3");
    sample_resource(&q.raw, mask, S_C1, SAMPLE_SPANS, "cron", NULL, NULL, "otel-sh", "");
    request_decode(&q);
    assert_ok(head_new(NULL, &h, err));
    assert_int_equal(request_insert(h, &q, 1700000100), 0);
    request_end(&q);
    return h;
}
