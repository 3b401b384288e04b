/* SPDX-License-Identifier: Apache-2.0
 * Head: requests that no sane client sends. Each must come back whole and stay within its
 * reservation, which head_insert asserts. */
#include "head_request.h"
#include "otlp_fixture.h"

struct extreme {
    struct budget budget;
    struct head *h;
    struct request q;
    struct part_reader *r;
};

static void extreme_begin(struct extreme *x)
{
    budget_init(&x->budget, NULL, "t", 0);
    assert_ok(head_new(&x->budget, &x->h, err));
    request_begin(&x->q);
}

/* Reserved for by the quick bound; then again by the one that looks at every span. */
static void extreme_insert(struct extreme *x)
{
    struct head *looked;
    uint32_t dups;
    request_decode(&x->q);
    assert_int_equal(request_insert(x->h, &x->q, 1), 0);
    assert_ok(head_new(&x->budget, &looked, err));
    for (uint32_t i = 0; i < 2; i++) {
        assert_ok(head_reserve_force(looked, &x->q.b, err));
        head_insert(looked, &x->q.b, 1, &dups);
        assert_int_equal(dups, i * x->q.b.n_spans);
    }
    head_free(looked);
    assert_ok(part_reader_open(head_part(x->h), &x->budget, &x->r, err));
}

static void extreme_end(struct extreme *x)
{
    part_reader_close(x->r);
    head_free(x->h);
    request_end(&x->q);
    budget_deinit(&x->budget);
}

static void put_key(struct buf *b, uint32_t field, uint32_t i, uint32_t type)
{
    char key[32];
    struct value v = {.type = type};
    snprintf(key, sizeof(key), "key-%u", i);
    if (type == VALUE_INT)
        v.i = i;
    else if (type == VALUE_STR)
        v.s = str_from(key);
    pb_put_attr(b, field, str_from(key), &v);
}

/* 10,000 columns, on spans, events, links, the resource and the scope; twice, so that known keys
 * and an old shape are met as well. */
static void test_extreme__ten_thousand_keys(void **state)
{
    (void)state;
    enum { N = 10000 };
    struct extreme x;
    extreme_begin(&x);
    struct buf *b = &x.q.raw;
    size_t rs = pb_begin(b, 1), resource = pb_begin(b, 1);
    for (uint32_t i = 0; i < N; i++)
        put_key(b, 1, i, VALUE_INT);
    pb_end(b, resource);
    size_t ss = pb_begin(b, 2), scope = pb_begin(b, 1);
    for (uint32_t i = 0; i < N; i++)
        put_key(b, 3, i, VALUE_BOOL);
    pb_end(b, scope);
    for (uint32_t s = 0; s < 3; s++) {
        size_t span = pb_begin(b, 2);
        fx_ids(b, 1, 1 + s);
        for (uint32_t i = 0; i < N; i++)
            put_key(b, 9, s == 2 ? N - i : i, s == 1 ? VALUE_STR : VALUE_INT);
        size_t event = pb_begin(b, 11);
        for (uint32_t i = 0; i < N; i++)
            put_key(b, 3, i, VALUE_EMPTY);
        pb_end(b, event);
        size_t link = pb_begin(b, 13);
        for (uint32_t i = 0; i < N; i++)
            put_key(b, 4, i, VALUE_DOUBLE);
        pb_end(b, link);
        pb_end(b, span);
    }
    pb_end(b, ss);
    pb_end(b, rs);
    extreme_insert(&x);
    check_batch(x.r, &x.q.b);
    const struct part_attr *attrs;
    size_t n;
    assert_ok(part_attrs(x.r, &attrs, &n, err));
    assert_int_equal(n, 6 * N + 1);
    extreme_end(&x);
}

/* One key 50,000 times on one span: one column, one row, values in order. */
static void test_extreme__one_key_many_times(void **state)
{
    (void)state;
    struct extreme x;
    extreme_begin(&x);
    struct buf *b = &x.q.raw;
    size_t rs = pb_begin(b, 1), ss = pb_begin(b, 2);
    for (uint32_t s = 0; s < 2; s++) {
        size_t span = pb_begin(b, 2);
        fx_ids(b, 1, 1 + s);
        for (uint32_t i = 0; i < 50000; i++)
            fx_attr_int(b, 9, "k", i);
        pb_end(b, span);
    }
    pb_end(b, ss);
    pb_end(b, rs);
    extreme_insert(&x);
    check_batch(x.r, &x.q.b);
    extreme_end(&x);
}

static void test_extreme__trace_of_200k_spans(void **state)
{
    (void)state;
    enum { N = 200000 };
    struct extreme x;
    extreme_begin(&x);
    struct buf *b = &x.q.raw;
    size_t rs = pb_begin(b, 1), ss = pb_begin(b, 2);
    for (uint32_t s = 0; s < N; s++) {
        size_t span = pb_begin(b, 2);
        fx_ids(b, 1, 1 + s);
        pb_put_fixed64(b, 7, 1000 + s);
        pb_put_fixed64(b, 8, 2000 + s);
        fx_attr_int(b, 9, "n", s);
        pb_end(b, span);
    }
    pb_end(b, ss);
    pb_end(b, rs);
    extreme_insert(&x);
    struct arena arena;
    struct part_trace trace;
    uint32_t *rows, n;
    arena_init(&arena, NULL, 0);
    assert_ok(part_trace(x.r, 0, &trace, err));
    assert_int_equal(trace.n_rows, N);
    assert_true(trace.start_ns == 1000 && trace.end_ns == 2000 + N - 1);
    assert_ok(part_trace_rows(x.r, 0, &arena, &rows, &n, err));
    assert_int_equal(n, N);
    struct read_span *spans = ARENA_ARRAY(&arena, n, struct read_span);
    assert_ok(span_read(x.r, rows, n, &arena, spans, err));
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(rows[i], i);
        assert_true(spans[i].span_id == 1 + i);
        assert_int_equal(spans[i].n_attrs, 1);
        assert_true(spans[i].attrs[0].value.i == i);
    }
    arena_deinit(&arena);
    extreme_end(&x);
}

static void test_extreme__unique_long_strings(void **state)
{
    (void)state;
    enum { N = 5000, LEN = 2048 };
    struct extreme x;
    char *text = malloc(LEN + 1);
    extreme_begin(&x);
    struct buf *b = &x.q.raw;
    size_t rs = pb_begin(b, 1), ss = pb_begin(b, 2);
    memset(text, 'x', LEN);
    text[LEN] = 0;
    for (uint32_t s = 0; s < N; s++) {
        size_t span = pb_begin(b, 2);
        fx_ids(b, (uint8_t)(1 + s % 100), 1 + s);
        snprintf(text + 1000, 20, "%08u", s);
        text[1008] = 'x';
        fx_attr_str(b, 9, "long", text);
        pb_end(b, span);
    }
    pb_end(b, ss);
    pb_end(b, rs);
    free(text);
    extreme_insert(&x);
    check_batch(x.r, &x.q.b);
    extreme_end(&x);
}

static void test_extreme__100k_events_on_a_span(void **state)
{
    (void)state;
    struct extreme x;
    extreme_begin(&x);
    struct buf *b = &x.q.raw;
    size_t rs = pb_begin(b, 1), ss = pb_begin(b, 2);
    for (uint32_t s = 0; s < 3; s++) {
        size_t span = pb_begin(b, 2);
        fx_ids(b, 1, 1 + s);
        for (uint32_t i = 0; s == 1 && i < 100000; i++) {
            size_t event = pb_begin(b, 11);
            pb_put_fixed64(b, 1, i);
            if (i % 3 == 0)
                fx_attr_int(b, 3, "i", i);
            pb_end(b, event);
        }
        pb_end(b, span);
    }
    pb_end(b, ss);
    pb_end(b, rs);
    extreme_insert(&x);
    check_batch(x.r, &x.q.b);
    struct part_group g;
    assert_ok(part_group(x.r, 0, &g, err));
    assert_int_equal(g.n_events, 100000);
    extreme_end(&x);
}

/* Column sizes of one group as the guess for the next: full group, then one span a batch. */
static void test_extreme__small_batches_after_a_large_group(void **state)
{
    (void)state;
    struct extreme x;
    extreme_begin(&x);
    struct buf *b = &x.q.raw;
    size_t rs = pb_begin(b, 1), ss = pb_begin(b, 2);
    for (uint32_t s = 0; s < PART_GROUP_ROWS - 1; s++) {
        size_t span = pb_begin(b, 2);
        fx_ids(b, 1, 1 + s);
        for (uint32_t i = 0; i < 8; i++)
            put_key(b, 9, (s + i) % 40, VALUE_STR);
        pb_end(b, span);
    }
    pb_end(b, ss);
    pb_end(b, rs);
    extreme_insert(&x);
    for (uint32_t s = 0; s < 100; s++) {
        struct request q;
        request_begin(&q);
        rs = pb_begin(&q.raw, 1);
        ss = pb_begin(&q.raw, 2);
        size_t span = pb_begin(&q.raw, 2);
        fx_ids(&q.raw, 2, 1 + s);
        for (uint32_t i = 0; i < 8; i++)
            put_key(&q.raw, 9, (s + i) % 40, VALUE_STR);
        pb_end(&q.raw, span);
        pb_end(&q.raw, ss);
        pb_end(&q.raw, rs);
        request_decode(&q);
        assert_int_equal(request_insert(x.h, &q, 2), 0);
        request_end(&q);
    }
    part_reader_close(x.r);
    assert_ok(part_reader_open(head_part(x.h), &x.budget, &x.r, err));
    struct part_info info;
    part_info(x.r, &info);
    assert_int_equal(info.n_rows, PART_GROUP_ROWS + 99);
    assert_int_equal(info.n_groups, 2);
    extreme_end(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_extreme__ten_thousand_keys),
        cmocka_unit_test(test_extreme__one_key_many_times),
        cmocka_unit_test(test_extreme__trace_of_200k_spans),
        cmocka_unit_test(test_extreme__unique_long_strings),
        cmocka_unit_test(test_extreme__100k_events_on_a_span),
        cmocka_unit_test(test_extreme__small_batches_after_a_large_group),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
