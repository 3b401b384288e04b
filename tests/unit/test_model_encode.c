/* SPDX-License-Identifier: Apache-2.0
 * The protobuf writer, and a request decoded and encoded again. */
#include "otlp_fixture.h"
#include "test_util.h"

static void decode(struct batch *b, struct arena *a, const struct buf *raw)
{
    struct err err = {0};
    arena_init(a, NULL, 0);
    enum ec ec = batch_decode(b, buf_bytes(raw), NULL, a, &err);
    if (ec != EC_OK)
        fail_msg("%s", err.msg);
}

/* The example that a Tempo 3.0.3 counted as 88 bytes. */
static void test_encode__canonical_size_is_tempos(void **state)
{
    (void)state;
    struct buf raw = BUF_INIT, out = BUF_INIT;
    struct arena a;
    struct batch b;

    size_t rs = pb_begin(&raw, 1);
    size_t resource = pb_begin(&raw, 1);
    fx_attr_str(&raw, 1, "service.name", "ab");
    pb_end(&raw, resource);
    size_t ss = pb_begin(&raw, 2);
    size_t span = pb_begin(&raw, 2);
    fx_ids(&raw, 1, 2);
    pb_put_bytes(&raw, 5, STR("op"));
    pb_put_varint(&raw, 6, 2);
    pb_put_fixed64(&raw, 7, 1);
    pb_put_fixed64(&raw, 8, 2);
    pb_end(&raw, span);
    pb_end(&raw, ss);
    pb_end(&raw, rs);
    assert_true(raw.n < 88); /* without the empty scope, status and parent id */

    decode(&b, &a, &raw);
    assert_int_equal(b.canonical_bytes, 88);
    batch_encode(&b, &out);
    assert_int_equal(out.n, 88);
    arena_deinit(&a);
    buf_deinit(&raw);
    buf_deinit(&out);
}

static void test_encode__canonical_request_comes_back_byte_for_byte(void **state)
{
    (void)state;
    struct buf raw = BUF_INIT, out = BUF_INIT;
    struct arena a;
    struct batch b;

    fx_request_full(&raw, 3);
    decode(&b, &a, &raw);
    assert_int_equal(b.n_spans, 6);
    assert_int_equal(b.n_scopes, 2);
    assert_int_equal(b.n_events, 6);
    assert_int_equal(b.n_links, 6);
    assert_int_equal(b.n_rejected, 0);
    assert_int_equal(b.canonical_bytes, raw.n);
    batch_encode(&b, &out);
    assert_int_equal(out.n, raw.n);
    assert_memory_equal(out.p, raw.p, raw.n);
    arena_deinit(&a);
    buf_deinit(&raw);
    buf_deinit(&out);
}

static void test_encode__rejected_spans_are_left_out(void **state)
{
    (void)state;
    struct buf raw = BUF_INIT, out = BUF_INIT;
    struct arena a, a2;
    struct batch b, b2;

    fx_request_full(&raw, 2);
    decode(&b, &a, &raw);
    b.spans[0].reject = b.spans[1].reject = b.spans[3].reject = SPAN_TOO_MANY_TRACES;
    batch_encode(&b, &out);
    decode(&b2, &a2, &out);
    assert_int_equal(b2.n_spans, 1);
    assert_int_equal(b2.n_scopes, 1);
    assert_true(str_eqz(b2.scopes[0].name, "otel-sql"));
    assert_true(b2.spans[0].span_id == b.spans[2].span_id);
    for (uint32_t i = 0; i < b.n_spans; i++)
        b.spans[i].reject = SPAN_TOO_LARGE;
    buf_reset(&out);
    batch_encode(&b, &out);
    assert_int_equal(out.n, 0);
    arena_deinit(&a);
    arena_deinit(&a2);
    buf_deinit(&raw);
    buf_deinit(&out);
}

static void test_write__lengths_are_patched_at_every_width(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 125, 126, 127, 128, 129, 16380, 16383, 16384, 2097152};

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct buf b = BUF_INIT;
        char *fill = malloc(sizes[i] + 1);
        memset(fill, 'x', sizes[i] + 1);
        buf_putc(&b, '!'); /* what is before stays */
        size_t outer = pb_begin(&b, 1000);
        size_t inner = pb_begin(&b, 1);
        buf_put(&b, fill, sizes[i]);
        pb_end(&b, inner);
        pb_end(&b, outer);
        const uint8_t *p = b.p, *end = b.p + b.n;
        uint64_t v;
        assert_int_equal(*p++, '!');
        p = varint_get(p, end, &v);
        assert_int_equal(v, 1000 << 3 | PB_LEN);
        p = varint_get(p, end, &v);
        assert_int_equal(v, end - p);
        assert_int_equal(*p++, 1 << 3 | PB_LEN);
        p = varint_get(p, end, &v);
        assert_int_equal(v, sizes[i]);
        assert_int_equal(end - p, sizes[i]);
        assert_true(sizes[i] == 0 || memcmp(p, fill, sizes[i]) == 0);
        free(fill);
        buf_deinit(&b);
    }
}

static void test_write__over_budget_leaves_the_mark(void **state)
{
    (void)state;
    for (uint64_t cap = 1; cap < 600; cap++) {
        struct budget budget;
        struct buf b;
        budget_init(&budget, NULL, "test", cap);
        buf_init(&b, &budget);
        fx_request_full(&b, 1);
        if (cap < 500)
            assert_true(buf_failed(&b));
        buf_deinit(&b);
        budget_deinit(&budget);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encode__canonical_size_is_tempos),
        cmocka_unit_test(test_encode__canonical_request_comes_back_byte_for_byte),
        cmocka_unit_test(test_encode__rejected_spans_are_left_out),
        cmocka_unit_test(test_write__lengths_are_patched_at_every_width),
        cmocka_unit_test(test_write__over_budget_leaves_the_mark),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
