/* SPDX-License-Identifier: Apache-2.0
 * Head: what goes in comes out. */
#include "head_request.h"
#include "otlp_fixture.h"
#include "otlp_random.h"

static void test_insert__full_request_comes_back(void **state)
{
    (void)state;
    struct budget budget;
    budget_init(&budget, NULL, "t", 0);
    struct head *h;
    assert_ok(head_new(&budget, &h, err));
    struct request q;
    request_begin(&q);
    fx_request_full(&q.raw, 3);
    request_decode(&q);
    assert_int_equal(request_insert(h, &q, 1000), 0);
    struct part_reader *r;
    assert_ok(part_reader_open(head_part(h), &budget, &r, err));
    struct part_info info;
    part_info(r, &info);
    assert_int_equal(info.n_rows, 6);
    assert_int_equal(info.n_traces, 2);
    assert_int_equal(info.n_groups, 1);
    assert_int_equal(info.n_resources, 1);
    assert_int_equal(info.n_scopes, 2);
    assert_true(info.min_start_ns == 1700000000000000000u);
    assert_true(info.max_end_ns == 1700000000123456789u);
    check_batch(r, &q.b);
    part_reader_close(r);
    /* The same again: all dropped, nothing changes. */
    assert_int_equal(request_insert(h, &q, 1001), 6);
    assert_ok(part_reader_open(head_part(h), &budget, &r, err));
    part_info(r, &info);
    assert_int_equal(info.n_rows, 6);
    assert_int_equal(info.n_scopes, 2);
    check_batch(r, &q.b);
    part_reader_close(r);
    struct head_stats stats;
    head_stats(h, 1001, &stats);
    assert_int_equal(stats.n_spans, 6);
    assert_int_equal(stats.n_traces, 2);
    assert_int_equal(stats.first_arrival_s, 1000);
    assert_true(stats.memory_bytes == budget_used(&budget));
    head_free(h);
    request_end(&q);
    budget_deinit(&budget);
}

/* One span in one scope; `body` adds to it. */
static size_t one_begin(struct buf *b, uint8_t trace, uint64_t id, uint32_t kind, size_t marks[3])
{
    marks[0] = pb_begin(b, 1);
    marks[1] = pb_begin(b, 2);
    marks[2] = pb_begin(b, 2);
    fx_ids(b, trace, id);
    pb_put_varint(b, 6, kind);
    return marks[2];
}

static void one_end(struct buf *b, const size_t marks[3])
{
    for (int i = 2; i >= 0; i--)
        pb_end(b, marks[i]);
}

static void one(struct buf *b, uint8_t trace, uint64_t id, uint32_t kind)
{
    size_t marks[3];
    one_begin(b, trace, id, kind, marks);
    one_end(b, marks);
}

static void test_insert__random_requests_come_back(void **state)
{
    (void)state;
    enum { N = 12 };
    struct budget budget;
    struct head *h;
    struct request q[N];
    struct rng rng = {5};
    uint32_t n_spans = 0;
    budget_init(&budget, NULL, "t", 0);
    assert_ok(head_new(&budget, &h, err));
    for (uint32_t i = 0; i < N; i++) { /* the last one crosses into a second group */
        request_begin(&q[i]);
        rnd_request(&q[i].raw, &rng,
            &(struct rnd_options){.n_resources = 1 + i % 3,
                .n_spans = i < N - 1 ? 50 : 5600,
                .n_traces = 2000,
                .first_span_id = 1 + 100000 * i});
        request_decode(&q[i]);
        assert_int_equal(request_insert(h, &q[i], 1000 + i), 0);
        n_spans += q[i].b.n_spans;
    }
    struct part_reader *r;
    struct part_info info;
    assert_ok(part_reader_open(head_part(h), &budget, &r, err));
    part_info(r, &info);
    assert_int_equal(info.n_rows, n_spans);
    assert_int_equal(info.n_groups, (n_spans + PART_GROUP_ROWS - 1) / PART_GROUP_ROWS);
    assert_true(info.n_groups > 1);
    for (uint32_t i = 0; i < N; i++)
        check_batch(r, &q[i].b);
    part_reader_close(r);
    head_free(h);
    for (uint32_t i = 0; i < N; i++)
        request_end(&q[i]);
    budget_deinit(&budget);
}

/* Same id in one trace: another kind is another span (client and server side), the same kind is
 * not. */
static void test_insert__duplicates_are_by_trace_id_and_kind(void **state)
{
    (void)state;
    struct head *h;
    struct request q;
    struct part_reader *r;
    struct part_info info;
    assert_ok(head_new(NULL, &h, err));
    request_begin(&q);
    one(&q.raw, 1, 7, 2);
    one(&q.raw, 1, 7, 3); /* kept: kind */
    one(&q.raw, 2, 7, 2); /* kept: trace */
    one(&q.raw, 1, 8, 2); /* kept: id */
    one(&q.raw, 1, 7, 2); /* dropped, in the same batch */
    request_decode(&q);
    assert_int_equal(request_insert(h, &q, 1), 1);
    assert_int_equal(request_insert(h, &q, 1), 5);
    assert_ok(part_reader_open(head_part(h), NULL, &r, err));
    part_info(r, &info);
    assert_int_equal(info.n_rows, 4);
    assert_int_equal(info.n_traces, 2);
    part_reader_close(r);
    head_free(h);
    request_end(&q);
}

static void test_insert__rejected_spans_stay_out(void **state)
{
    (void)state;
    struct head *h;
    struct request q;
    struct part_reader *r;
    struct part_info info;
    uint32_t trace;
    assert_ok(head_new(NULL, &h, err));
    request_begin(&q);
    one(&q.raw, 1, 7, 2);
    one(&q.raw, 2, 7, 2);
    request_decode(&q);
    q.b.spans[1].reject = SPAN_TOO_LARGE;
    assert_int_equal(request_insert(h, &q, 1), 0);
    assert_ok(part_reader_open(head_part(h), NULL, &r, err));
    part_info(r, &info);
    assert_int_equal(info.n_rows, 1);
    assert_int_equal(info.n_resources, 1);
    assert_ok(part_trace_find(r, &q.b.spans[1].trace_id, &trace, err));
    assert_int_equal(trace, PART_NONE);
    check_batch(r, &q.b);
    part_reader_close(r);
    head_free(h);
    request_end(&q);
}

static void put_times(struct buf *b, uint64_t parent, uint64_t start, uint64_t end)
{
    char id[8];
    put_u64be(id, parent);
    if (parent != 0)
        pb_put_bytes(b, 4, str_n(id, 8));
    pb_put_fixed64(b, 7, start);
    pb_put_fixed64(b, 8, end);
}

/* Trace facts of a snapshot do not move with spans that come later. */
static void test_trace__facts_are_those_of_the_snapshot(void **state)
{
    (void)state;
    static const struct {
        uint64_t parent, start, end;
    } span[4] = {{5, 100, 200}, {0, 90, 95}, {0, 95, 300}, {1, 50, 10}};
    static const struct part_trace want[4] = {
        {.n_rows = 1, .start_ns = 100, .end_ns = 200, .root_row = PART_NONE},
        {.n_rows = 2, .start_ns = 90, .end_ns = 200, .root_row = 1},
        {.n_rows = 3, .start_ns = 90, .end_ns = 300, .root_row = 2},
        {.n_rows = 4, .start_ns = 50, .end_ns = 300, .root_row = 2}};
    struct head *h;
    struct request q[4];
    struct part_reader *r[4];
    struct part_trace got;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    assert_ok(head_new(NULL, &h, err));
    for (uint32_t i = 0; i < 4; i++) {
        size_t marks[3];
        request_begin(&q[i]);
        one_begin(&q[i].raw, 1, i + 1, 1, marks);
        put_times(&q[i].raw, span[i].parent, span[i].start, span[i].end);
        one_end(&q[i].raw, marks);
        one(&q[i].raw, (uint8_t)(10 + i), 1, 1); /* another trace each time */
        request_decode(&q[i]);
        q[i].b.n_spans = 1;
        assert_int_equal(request_insert(h, &q[i], 1), 0);
        assert_ok(part_reader_open(head_part(h), NULL, &r[i], err));
    }
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t *rows, n;
        assert_ok(part_trace(r[i], 0, &got, err));
        assert_int_equal(got.n_rows, want[i].n_rows);
        assert_int_equal(got.root_row, want[i].root_row);
        assert_int_equal(got.row_first, 0);
        assert_true(got.start_ns == want[i].start_ns);
        assert_true(got.end_ns == want[i].end_ns);
        assert_ok(part_trace_rows(r[i], 0, &arena, &rows, &n, err));
        assert_int_equal(n, i + 1);
        for (uint32_t k = 0; k < n; k++)
            assert_int_equal(rows[k], k);
    }
    for (uint32_t i = 0; i < 4; i++) {
        part_reader_close(r[i]);
        request_end(&q[i]);
    }
    arena_deinit(&arena);
    head_free(h);
}

static void test_view__missing_columns_are_empty(void **state)
{
    (void)state;
    struct head *h;
    struct request q;
    struct part_reader *r;
    struct part_info info;
    struct col_view v;
    const struct part_attr *attrs, *found[VALUE_TYPES];
    size_t n;
    assert_ok(head_new(NULL, &h, err));
    assert_ok(part_reader_open(head_part(h), NULL, &r, err));
    part_info(r, &info);
    assert_int_equal(info.n_rows, 0);
    assert_int_equal(info.n_groups, 0);
    assert_true(info.min_start_ns == 0 && info.max_end_ns == 0);
    assert_ok(part_view(r, 0, COL_RESOURCE_SHAPE, &v, err));
    assert_int_equal(v.n, 0);
    assert_ok(part_attrs(r, &attrs, &n, err));
    assert_int_equal(n, 0);
    part_reader_close(r);
    request_begin(&q);
    one(&q.raw, 1, 1, 1);
    request_decode(&q);
    assert_int_equal(request_insert(h, &q, 1), 0);
    assert_ok(part_reader_open(head_part(h), NULL, &r, err));
    assert_ok(part_view(r, 0, COL_FIXED_MAX, &v, err));
    assert_int_equal(v.n, 0);
    assert_ok(part_view(r, 0, COL_SPAN_STATUS_MESSAGE, &v, err));
    assert_int_equal(v.n, 0);
    assert_ok(part_view(r, 0, 63, &v, err));
    assert_int_equal(v.n, 0);
    assert_ok(part_attr_find(r, TABLE_SPANS, STR("nope"), found, err));
    for (uint32_t t = 0; t < VALUE_TYPES; t++)
        assert_null(found[t]);
    assert_false(part_may_have(r, COL_SPAN_NAME, STR("nope")));
    assert_true(part_may_have(r, COL_SPAN_NAME, STR("")));
    part_reader_close(r);
    head_free(h);
    request_end(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_insert__full_request_comes_back),
        cmocka_unit_test(test_insert__random_requests_come_back),
        cmocka_unit_test(test_insert__duplicates_are_by_trace_id_and_kind),
        cmocka_unit_test(test_insert__rejected_spans_stay_out),
        cmocka_unit_test(test_trace__facts_are_those_of_the_snapshot),
        cmocka_unit_test(test_view__missing_columns_are_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
