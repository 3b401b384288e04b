/* SPDX-License-Identifier: Apache-2.0
 * Head: what goes in comes out. */
#include "head_request.h"
#include "otlp_fixture.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_insert__full_request_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
