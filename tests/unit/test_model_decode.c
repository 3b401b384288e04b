/* SPDX-License-Identifier: Apache-2.0
 * The OTLP decoder: what it reads, and in which order it may come. Malformed input and limits are
 * in test_model_decode_limits.c. */
#include "otlp_fixture.h"
#include "test_util.h"

struct doc {
    struct buf raw;
    struct arena arena;
    struct batch b;
};

/* Decodes d->raw, from memory of exactly its size. */
static void decode_limits(struct doc *d, const struct batch_limits *limits)
{
    struct err err = {0};
    arena_init(&d->arena, NULL, 0);
    if (batch_decode(&d->b, buf_bytes(&d->raw), limits, &d->arena, &err) != EC_OK)
        fail_msg("%s", err.msg);
}

static void decode(struct doc *d)
{
    decode_limits(d, NULL);
}

static void done(struct doc *d)
{
    arena_deinit(&d->arena);
    buf_deinit(&d->raw);
    *d = (struct doc){0};
}

/* The messages around one span: marks to close in reverse. */
struct around {
    size_t rs, ss, span;
};

static struct around span_begin(struct doc *d)
{
    struct around a = {.rs = pb_begin(&d->raw, 1)};
    a.ss = pb_begin(&d->raw, 2);
    a.span = pb_begin(&d->raw, 2);
    fx_ids(&d->raw, 1, 2);
    return a;
}

static void span_end(struct doc *d, struct around a)
{
    pb_end(&d->raw, a.span);
    pb_end(&d->raw, a.ss);
    pb_end(&d->raw, a.rs);
}

static void assert_attr_str(const struct attr *a, const char *key, const char *v)
{
    assert_true(str_eqz(a->key, key));
    assert_int_equal(a->value.type, VALUE_STR);
    assert_true(str_eqz(a->value.s, v));
}

static void check_span_attrs(const struct batch *b, const struct batch_span *s)
{
    const struct attr *a = &b->attrs[s->attr_first];
    assert_int_equal(s->attr_n, 7);
    assert_attr_str(&a[0], "http.method", "GET");
    assert_true(a[1].value.type == VALUE_INT && a[1].value.i == 200);
    assert_true(a[2].value.type == VALUE_DOUBLE && a[2].value.d == 0.25);
    assert_true(a[3].value.type == VALUE_BOOL && a[3].value.b);
    assert_true(a[4].value.type == VALUE_EMPTY && str_eqz(a[4].key, "none"));
    assert_int_equal(a[5].value.type, VALUE_BYTES);
    assert_true(str_eq(a[5].value.s, STR("\x01\x00\xff")));
    assert_int_equal(a[6].value.type, VALUE_ARRAY);
}

static void test_decode__every_field(void **state)
{
    (void)state;
    struct doc d = {0};
    fx_request_full(&d.raw, 2);
    decode(&d);
    const struct batch *b = &d.b;
    assert_int_equal(b->n_spans, 4);
    assert_int_equal(b->n_resources, 1);
    assert_int_equal(b->n_scopes, 2);
    const struct batch_resource *r = &b->resources[0];
    assert_true(r->has_resource);
    assert_int_equal(r->attr_n, 2);
    assert_attr_str(&b->attrs[r->attr_first], "service.name", "cart");
    assert_attr_str(&b->attrs[r->attr_first + 1], "k8s.pod.name", "cart-7d4b9");
    assert_int_equal(r->dropped_attrs, 9);
    assert_true(str_eqz(r->schema_url, "https://opentelemetry.io/schemas/1.25.0"));
    for (uint32_t i = 0; i < 4; i++) {
        const struct batch_span *s = &b->spans[i];
        const struct batch_scope *c = &b->scopes[s->scope];
        assert_int_equal(s->scope, i / 2);
        assert_int_equal(s->resource, 0);
        assert_true(str_eqz(c->name, i < 2 ? "otel-http" : "otel-sql"));
        assert_true(str_eqz(c->version, "1.2.3"));
        assert_attr_str(&b->attrs[c->attr_first], "scope.attr", "x");
        assert_int_equal(c->dropped_attrs, 1);
        assert_true(str_eqz(c->schema_url, "https://opentelemetry.io/schemas/1.26.0"));
        assert_int_equal(s->trace_id.b[7], 0x10 + i / 2);
        assert_int_equal(s->span_id, 1 + i % 2);
        assert_int_equal(s->parent_id, 1001 + i % 2);
        assert_true(str_eqz(s->trace_state, "vendor=1"));
        assert_true(str_eqz(s->name, "GET /cart"));
        assert_int_equal(s->kind, 2);
        assert_true(s->start_ns == 1700000000000000000u && s->end_ns == 1700000000123456789u);
        check_span_attrs(b, s);
        assert_int_equal(s->dropped_attrs, 1);
        assert_int_equal(s->dropped_events, 2);
        assert_int_equal(s->dropped_links, 3);
        assert_int_equal(s->status_code, 2);
        assert_true(str_eqz(s->status_message, "boom"));
        assert_int_equal(s->flags, 0x101);
        assert_int_equal(s->event_n, 1);
        const struct batch_event *e = &b->events[s->event_first];
        assert_true(e->time_ns == 1700000000000000500u && e->dropped_attrs == 3);
        assert_true(str_eqz(e->name, "exception"));
        assert_int_equal(e->attr_n, 1);
        assert_attr_str(&b->attrs[e->attr_first], "exception.type", "io");
        assert_int_equal(s->link_n, 1);
        const struct batch_link *l = &b->links[s->link_first];
        assert_int_equal(l->trace_id.b[0], 0x77);
        assert_int_equal(l->span_id, s->span_id + 5);
        assert_true(str_eqz(l->trace_state, "l=1"));
        assert_int_equal(l->flags, 0x301);
        assert_int_equal(l->dropped_attrs, 4);
        assert_attr_str(&b->attrs[l->attr_first], "why", "batch");
    }
    done(&d);
}

static void test_decode__resource_raw_is_the_message(void **state)
{
    (void)state;
    struct doc d = {0};
    fx_request_full(&d.raw, 1);
    decode(&d);
    const struct batch_resource *r = &d.b.resources[0];
    assert_true(r->raw.p > (char *)d.raw.p && r->raw.p < (char *)d.raw.p + 16);
    struct buf again = BUF_INIT;
    fx_attr_str(&again, 1, "service.name", "cart");
    fx_attr_str(&again, 1, "k8s.pod.name", "cart-7d4b9");
    pb_put_varint(&again, 2, 9);
    assert_true(str_eq(r->raw, buf_str(&again)));
    buf_deinit(&again);
    done(&d);
}

static void test_decode__nested_values_are_walked(void **state)
{
    (void)state;
    struct doc d = {0};
    struct around at = span_begin(&d);
    fx_attr_nested(&d.raw, 9);
    span_end(&d, at);
    decode(&d);
    struct str array = d.b.attrs[0].value.s;
    const char *c = NULL, *c2 = NULL;
    struct value v, w;
    struct attr kv;
    assert_true(value_array_next(array, &c, &v) && v.type == VALUE_STR && str_eqz(v.s, "one"));
    assert_true(value_array_next(array, &c, &v) && v.type == VALUE_INT && v.i == -2);
    assert_true(value_array_next(array, &c, &v) && v.type == VALUE_ARRAY);
    assert_true(value_array_next(v.s, &c2, &w) && w.type == VALUE_BOOL && w.b);
    assert_false(value_array_next(v.s, &c2, &w));
    assert_true(value_array_next(array, &c, &v) && v.type == VALUE_KVLIST);
    c2 = NULL;
    assert_true(value_kvlist_next(v.s, &c2, &kv));
    assert_attr_str(&kv, "k", "v");
    assert_true(value_kvlist_next(v.s, &c2, &kv) && str_eqz(kv.key, "n") && kv.value.i == 7);
    assert_false(value_kvlist_next(v.s, &c2, &kv));
    assert_false(value_array_next(array, &c, &v));
    c = NULL;
    assert_false(value_array_next((struct str){0}, &c, &v));
    assert_false(value_array_next(STR("\x0a\x05\x0a"), &c, &v)); /* never from the decoder */
    c = NULL;
    assert_false(value_kvlist_next(STR("\x0b"), &c, &kv));
    done(&d);
}

/* Attributes of the span, its events and its links mixed on the wire lie apart in the batch. */
static void test_decode__interleaved_fields(void **state)
{
    (void)state;
    struct doc d = {0};
    struct around at = span_begin(&d);
    for (int i = 0; i < 3; i++) {
        size_t link = pb_begin(&d.raw, 13);
        fx_attr_int(&d.raw, 4, "link", i);
        pb_end(&d.raw, link);
        fx_attr_int(&d.raw, 9, "span", i);
        size_t event = pb_begin(&d.raw, 11);
        fx_attr_int(&d.raw, 3, "event", i);
        pb_put_bytes(&d.raw, 2, STR("e"));
        fx_attr_int(&d.raw, 3, "event", i + 10);
        pb_end(&d.raw, event);
    }
    span_end(&d, at);
    decode(&d);
    const struct batch *b = &d.b;
    const struct batch_span *s = &b->spans[0];
    assert_int_equal(s->attr_n, 3);
    assert_int_equal(s->event_n, 3);
    assert_int_equal(s->link_n, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(str_eqz(b->attrs[s->attr_first + i].key, "span"));
        assert_int_equal(b->attrs[s->attr_first + i].value.i, i);
        const struct batch_event *e = &b->events[s->event_first + i];
        assert_int_equal(e->attr_n, 2);
        assert_true(str_eqz(b->attrs[e->attr_first].key, "event"));
        assert_int_equal(b->attrs[e->attr_first].value.i, i);
        assert_int_equal(b->attrs[e->attr_first + 1].value.i, i + 10);
        const struct batch_link *l = &b->links[s->link_first + i];
        assert_int_equal(l->attr_n, 1);
        assert_int_equal(b->attrs[l->attr_first].value.i, i);
    }
    done(&d);
}

/* The resource and the scope may follow what they are about. */
static void test_decode__parents_after_children(void **state)
{
    (void)state;
    struct doc d = {0};
    size_t rs = pb_begin(&d.raw, 1);
    pb_put_bytes(&d.raw, 3, STR("url"));
    size_t ss = pb_begin(&d.raw, 2);
    size_t span = pb_begin(&d.raw, 2);
    fx_attr_str(&d.raw, 9, "a", "1");
    fx_ids(&d.raw, 1, 2);
    pb_end(&d.raw, span);
    size_t scope = pb_begin(&d.raw, 1);
    fx_attr_str(&d.raw, 3, "sa", "2");
    pb_put_bytes(&d.raw, 1, STR("lib"));
    pb_end(&d.raw, scope);
    pb_end(&d.raw, ss);
    size_t resource = pb_begin(&d.raw, 1);
    fx_attr_str(&d.raw, 1, "service.name", "late");
    pb_end(&d.raw, resource);
    pb_end(&d.raw, rs);
    decode(&d);
    const struct batch_span *s = &d.b.spans[0];
    assert_attr_str(&d.b.attrs[s->attr_first], "a", "1");
    assert_attr_str(&d.b.attrs[d.b.resources[s->resource].attr_first], "service.name", "late");
    assert_attr_str(&d.b.attrs[d.b.scopes[s->scope].attr_first], "sa", "2");
    assert_true(str_eqz(d.b.scopes[s->scope].name, "lib"));
    done(&d);
}

static void test_decode__pieces_of_messages_merge(void **state)
{
    (void)state;
    struct doc d = {0};
    struct buf joined = BUF_INIT;
    size_t rs = pb_begin(&d.raw, 1);
    size_t ss = pb_begin(&d.raw, 2);
    for (int i = 0; i < 3; i++) {
        size_t scope = pb_begin(&d.raw, 1);
        fx_attr_int(&d.raw, 3, "n", i);
        pb_put_varint(&d.raw, 4, i);
        pb_put_bytes(&d.raw, i == 1 ? 2 : 1, STR("x"));
        pb_end(&d.raw, scope);
        size_t span = pb_begin(&d.raw, 2);
        fx_ids(&d.raw, 1, 2);
        for (int k = 0; k < 2; k++) {
            size_t status = pb_begin(&d.raw, 15);
            if (k == 0)
                pb_put_bytes(&d.raw, 2, STR("msg"));
            else
                pb_put_varint(&d.raw, 3, 2);
            pb_end(&d.raw, status);
        }
        pb_end(&d.raw, span);
    }
    pb_end(&d.raw, ss);
    for (int i = 0; i < 3; i++) {
        size_t resource = pb_begin(&d.raw, 1);
        size_t start = d.raw.n;
        fx_attr_int(&d.raw, 1, "n", i);
        pb_put_varint(&d.raw, 2, i + 1);
        buf_put(&joined, d.raw.p + start, d.raw.n - start);
        pb_end(&d.raw, resource);
        pb_put_bytes(&d.raw, 1, STR("")); /* an empty piece changes nothing */
        pb_put_bytes(&d.raw, 77, STR("unknown"));
    }
    pb_end(&d.raw, rs);
    decode(&d);
    const struct batch *b = &d.b;
    assert_int_equal(b->n_spans, 3);
    assert_int_equal(b->n_scopes, 1);
    assert_int_equal(b->n_resources, 1);
    assert_int_equal(b->resources[0].attr_n, 3);
    assert_int_equal(b->scopes[0].attr_n, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(b->attrs[b->resources[0].attr_first + i].value.i, i);
        assert_int_equal(b->attrs[b->scopes[0].attr_first + i].value.i, i);
        assert_int_equal(b->spans[i].status_code, 2);
        assert_true(str_eqz(b->spans[i].status_message, "msg"));
    }
    assert_int_equal(b->resources[0].dropped_attrs, 3);
    assert_int_equal(b->scopes[0].dropped_attrs, 2);
    assert_true(str_eqz(b->scopes[0].version, "x"));
    assert_true(str_eq(b->resources[0].raw, buf_str(&joined)));
    buf_deinit(&joined);
    done(&d);
}

static void put_member(struct buf *b, int member)
{
    switch (member) {
    case 1:
        pb_put_bytes(b, 1, STR("s"));
        break;
    case 2:
        pb_put_varint(b, 2, 300); /* any varint but 0 is true */
        break;
    case 3:
        pb_put_varint(b, 3, UINT64_MAX);
        break;
    case 4:
        pb_put_double(b, 4, 1.5);
        break;
    default:
        pb_put_bytes(b, (uint32_t)member, STR(""));
    }
}

static void test_decode__last_member_of_a_value_wins(void **state)
{
    (void)state;
    static const enum value_type types[] = {VALUE_EMPTY, VALUE_STR, VALUE_BOOL, VALUE_INT,
        VALUE_DOUBLE, VALUE_ARRAY, VALUE_KVLIST, VALUE_BYTES};
    for (int first = 0; first < 8; first++) {
        for (int second = 1; second < 8; second++) {
            for (int split = 0; split < 2; split++) { /* in one AnyValue, or in two */
                struct doc d = {0};
                struct around at = span_begin(&d);
                size_t kv = pb_begin(&d.raw, 9);
                size_t v = pb_begin(&d.raw, 2);
                if (first != 0)
                    put_member(&d.raw, first);
                if (split) {
                    pb_end(&d.raw, v);
                    v = pb_begin(&d.raw, 2);
                }
                put_member(&d.raw, second);
                pb_end(&d.raw, v);
                pb_put_bytes(&d.raw, 2, STR("")); /* a piece without a member leaves the value */
                pb_end(&d.raw, kv);
                span_end(&d, at);
                decode(&d);
                assert_int_equal(d.b.attrs[0].value.type, types[second]);
                if (second == 2)
                    assert_true(d.b.attrs[0].value.b);
                if (second == 3)
                    assert_true(d.b.attrs[0].value.i == -1);
                struct buf out = BUF_INIT;
                batch_encode(&d.b, &out);
                assert_int_equal(out.n, d.b.canonical_bytes);
                buf_deinit(&out);
                done(&d);
            }
        }
    }
}

static void test_decode__last_scalar_wins(void **state)
{
    (void)state;
    struct doc d = {0};
    struct around at = span_begin(&d);
    for (int i = 1; i <= 2; i++) {
        pb_put_bytes(&d.raw, 5, i == 1 ? STR("first") : STR("last"));
        pb_put_varint(&d.raw, 6, i);
        pb_put_fixed64(&d.raw, 7, i);
        pb_put_fixed32(&d.raw, 16, i);
        fx_ids(&d.raw, (uint8_t)i, i);
        size_t kv = pb_begin(&d.raw, 9);
        pb_put_bytes(&d.raw, 1, STR("k1"));
        pb_put_bytes(&d.raw, 1, STR("k2"));
        pb_end(&d.raw, kv);
    }
    pb_put_varint(&d.raw, 10, UINT64_MAX); /* 64 bits in a uint32: truncated */
    pb_put_varint(&d.raw, 12, 0x100000007);
    span_end(&d, at);
    decode(&d);
    const struct batch_span *s = &d.b.spans[0];
    assert_true(str_eqz(s->name, "last"));
    assert_int_equal(s->kind, 2);
    assert_int_equal(s->start_ns, 2);
    assert_int_equal(s->flags, 2);
    assert_int_equal(s->span_id, 2);
    assert_int_equal(s->trace_id.b[0], 2);
    assert_int_equal(s->dropped_attrs, UINT32_MAX);
    assert_int_equal(s->dropped_events, 7);
    assert_true(str_eqz(d.b.attrs[0].key, "k2"));
    done(&d);
}

static void test_decode__enums_keep_unknown_values(void **state)
{
    (void)state;
    struct doc d = {0};
    struct around at = span_begin(&d);
    pb_put_varint(&d.raw, 6, (uint64_t)(int64_t)-3);
    size_t status = pb_begin(&d.raw, 15);
    pb_put_varint(&d.raw, 3, 77);
    pb_put_varint(&d.raw, 1, 5); /* the reserved field, of any type */
    pb_put_bytes(&d.raw, 1, STR("old"));
    pb_end(&d.raw, status);
    span_end(&d, at);
    decode(&d);
    assert_int_equal(d.b.spans[0].kind, -3);
    assert_int_equal(d.b.spans[0].status_code, 77);
    struct buf out = BUF_INIT;
    batch_encode(&d.b, &out);
    assert_int_equal(out.n, d.b.canonical_bytes); /* a negative enum takes ten bytes */
    buf_deinit(&out);
    done(&d);
}

static void put_scope_spans(struct buf *b, uint32_t field, const char *name)
{
    size_t ss = pb_begin(b, field);
    size_t span = pb_begin(b, 2);
    fx_ids(b, 1, 2);
    pb_put_bytes(b, 5, str_from(name));
    pb_end(b, span);
    pb_end(b, ss);
}

static void test_decode__old_scope_spans_only_without_new_ones(void **state)
{
    (void)state;
    for (int with_new = 0; with_new < 2; with_new++) {
        struct doc d = {0};
        size_t rs = pb_begin(&d.raw, 1);
        put_scope_spans(&d.raw, 1000, "old");
        if (with_new)
            put_scope_spans(&d.raw, 2, "new");
        put_scope_spans(&d.raw, 1000, "old");
        pb_end(&d.raw, rs);
        decode(&d);
        assert_int_equal(d.b.n_spans, with_new ? 1 : 2);
        assert_true(str_eqz(d.b.spans[0].name, with_new ? "new" : "old"));
        done(&d);
    }
}

static void test_decode__text_is_kept_as_it_is(void **state)
{
    (void)state;
    struct doc d = {0};
    struct around at = span_begin(&d);
    pb_put_bytes(&d.raw, 5, STR("\xff\xc0\x00 name"));
    fx_attr_str(&d.raw, 9, "\xfe", "\xed\xa0\x80");
    pb_put_attr(&d.raw, 9, STR(""), &(struct value){.type = VALUE_STR});
    span_end(&d, at);
    decode(&d);
    assert_true(str_eq(d.b.spans[0].name, STR("\xff\xc0\x00 name")));
    assert_attr_str(&d.b.attrs[0], "\xfe", "\xed\xa0\x80");
    assert_attr_str(&d.b.attrs[1], "", "");
    done(&d);
}

static void test_decode__nothing(void **state)
{
    (void)state;
    struct doc d = {0};
    decode(&d);
    assert_int_equal(d.b.n_spans, 0);
    assert_int_equal(d.b.canonical_bytes, 0);
    done(&d);
    /* Resources and scopes without spans are measured, not kept. */
    size_t rs = pb_begin(&d.raw, 1);
    size_t resource = pb_begin(&d.raw, 1);
    fx_attr_str(&d.raw, 1, "k", "v");
    pb_end(&d.raw, resource);
    size_t ss = pb_begin(&d.raw, 2);
    size_t scope = pb_begin(&d.raw, 1);
    fx_attr_str(&d.raw, 3, "k", "v");
    pb_end(&d.raw, scope);
    pb_end(&d.raw, ss);
    pb_end(&d.raw, rs);
    decode(&d);
    assert_int_equal(d.b.n_resources, 0);
    assert_int_equal(d.b.n_scopes, 0);
    assert_int_equal(d.b.n_attrs, 0);
    assert_int_equal(d.b.canonical_bytes, d.raw.n);
    done(&d);
}

/* What a client may send and the canonical encoding leaves out: defaults, unknown fields, long
 * varints, entities that are not kept. */
static void test_decode__canonical_size_is_not_wire_size(void **state)
{
    (void)state;
    struct doc d = {0};
    size_t rs = pb_begin(&d.raw, 1);
    size_t resource = pb_begin(&d.raw, 1);
    pb_put_varint(&d.raw, 2, 0);
    size_t entity = pb_begin(&d.raw, 3);
    pb_put_bytes(&d.raw, 1, STR(""));
    pb_put_bytes(&d.raw, 2, STR("host"));
    pb_put_bytes(&d.raw, 3, STR("id"));
    pb_put_bytes(&d.raw, 3, STR(""));
    pb_put_bytes(&d.raw, 9, STR("unknown"));
    pb_end(&d.raw, entity);
    pb_end(&d.raw, resource);
    size_t ss = pb_begin(&d.raw, 2);
    size_t span = pb_begin(&d.raw, 2);
    fx_ids(&d.raw, 1, 2);
    pb_put_bytes(&d.raw, 4, STR("\0\0\0\0\0\0\0\0"));
    pb_put_bytes(&d.raw, 5, STR(""));
    pb_put_varint(&d.raw, 6, 0);
    pb_put_fixed64(&d.raw, 7, 0);
    pb_put_fixed32(&d.raw, 16, 0);
    pb_put_bytes(&d.raw, 500, STR("unknown"));
    buf_puts(&d.raw, STR("\x4a\x0e\x0a\x81\x00k\x12\x87\x00\x0a\x84\x00slow"));
    span_end(&d, (struct around){.rs = rs, .ss = ss, .span = span});
    decode(&d);
    assert_attr_str(&d.b.attrs[0], "k", "slow");
    struct buf out = BUF_INIT;
    batch_encode(&d.b, &out);
    size_t entity_bytes = 2 + (2 + 4) + (2 + 2) + 2;
    assert_int_equal(d.b.canonical_bytes, out.n + entity_bytes);
    buf_deinit(&out);
    done(&d);
}

/* The arrays grow by what was seen so far: an even, a dense and a thin beginning. */
static void test_decode__arrays_grow_with_their_content(void **state)
{
    (void)state;
    for (int shape = 0; shape < 3; shape++) {
        struct doc d = {0};
        struct around at = span_begin(&d);
        pb_end(&d.raw, at.span);
        uint32_t total = 0;
        for (uint32_t i = 0; i < 500; i++) {
            uint32_t n = shape == 0 ? 10 : (shape == 1) == (i < 20) ? 400 : 1;
            size_t span = pb_begin(&d.raw, 2);
            fx_ids(&d.raw, 1, 2 + i);
            pb_put_bytes(&d.raw, 5, STR("some name of a span that takes room"));
            for (uint32_t k = 0; k < n; k++, total++)
                fx_attr_int(&d.raw, 9, "key", total);
            pb_end(&d.raw, span);
        }
        pb_end(&d.raw, at.ss);
        pb_end(&d.raw, at.rs);
        decode(&d);
        assert_int_equal(d.b.n_attrs, total);
        for (uint32_t i = 0; i < total; i++)
            assert_int_equal(d.b.attrs[i].value.i, i);
        done(&d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode__every_field),
        cmocka_unit_test(test_decode__resource_raw_is_the_message),
        cmocka_unit_test(test_decode__nested_values_are_walked),
        cmocka_unit_test(test_decode__interleaved_fields),
        cmocka_unit_test(test_decode__parents_after_children),
        cmocka_unit_test(test_decode__pieces_of_messages_merge),
        cmocka_unit_test(test_decode__last_member_of_a_value_wins),
        cmocka_unit_test(test_decode__last_scalar_wins),
        cmocka_unit_test(test_decode__enums_keep_unknown_values),
        cmocka_unit_test(test_decode__old_scope_spans_only_without_new_ones),
        cmocka_unit_test(test_decode__text_is_kept_as_it_is),
        cmocka_unit_test(test_decode__nothing),
        cmocka_unit_test(test_decode__canonical_size_is_not_wire_size),
        cmocka_unit_test(test_decode__arrays_grow_with_their_content),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
