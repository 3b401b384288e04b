/* SPDX-License-Identifier: Apache-2.0
 * The pure rules of compaction and retention. */
#include <stdlib.h>

#include "base/clock.h"
#include "storage/compact.h"
#include "storage/retention.h"
#include "unit.h"

#define HOUR (3600 * NS_PER_S)
#define MIB  (1ull << 20)

static const struct compact_rules rules = {.window_ns = HOUR,
    .now_ns = 1000 * HOUR + HOUR / 2,
    .retention_ns = 168 * HOUR,
    .inputs_max = 8,
    .spans_max = 1000000,
    .bytes_max = 1024 * MIB};

static struct compact_candidate cand(int64_t end_ns, uint64_t spans, uint64_t bytes)
{
    return (struct compact_candidate){(uint64_t)end_ns, spans, bytes, true, 0};
}

static uint32_t planned(
    const struct compact_candidate *c, uint32_t n, const struct compact_rules *r)
{
    struct compact_plan p;
    compact_plan(c, n, r, &p);
    free(p.inputs);
    return p.n_inputs;
}

static void test_plan__open_window_waits_for_four(void **state)
{
    (void)state;
    struct compact_candidate c[4];
    for (int i = 0; i < 4; i++)
        c[i] = cand(rules.now_ns - i, 100, MIB);
    assert_int_equal(planned(c, 0, &rules), 0);
    assert_int_equal(planned(c, 3, &rules), 0);
    assert_int_equal(planned(c, 4, &rules), 4);
    c[2].eligible = false;
    assert_int_equal(planned(c, 4, &rules), 0);
}

static void test_plan__closed_window_is_content_with_two(void **state)
{
    (void)state;
    struct compact_candidate c[2] = {
        cand(rules.now_ns - 3 * HOUR, 100, MIB), cand(rules.now_ns - 3 * HOUR, 100, MIB)};
    assert_int_equal(planned(c, 2, &rules), 2);
    c[1].max_end_ns -= 40 * (uint64_t)HOUR; /* another window, another day */
    assert_int_equal(planned(c, 2, &rules), 0);
}

static void test_plan__a_closed_window_that_spans_come_to_waits_for_four(void **state)
{
    (void)state;
    struct compact_rules r = rules;
    struct compact_candidate c[4];
    r.quiet_ns = 30 * NS_PER_S;
    for (int i = 0; i < 4; i++) {
        c[i] = cand(r.now_ns - 3 * HOUR, 100, MIB);
        c[i].max_arrival_ns = (uint64_t)(r.now_ns - 31 * NS_PER_S);
    }
    assert_int_equal(planned(c, 2, &r), 2);
    c[1].max_arrival_ns = (uint64_t)(r.now_ns - 30 * NS_PER_S);
    assert_int_equal(planned(c, 2, &r), 2);
    c[1].max_arrival_ns++;
    assert_int_equal(planned(c, 2, &r), 0);
    assert_int_equal(planned(c, 3, &r), 0);
    assert_int_equal(planned(c, 4, &r), 4);
    c[1].max_end_ns -= 2 * (uint64_t)HOUR; /* another window: the first one need not wait */
    assert_int_equal(planned(c, 3, &r), 2);
    c[1] = cand(r.now_ns - 3 * HOUR, 100, MIB);
    c[1].max_arrival_ns = (uint64_t)r.now_ns + 1; /* the clock was set back */
    assert_int_equal(planned(c, 2, &r), 2);
}

static void test_plan__output_bounds_hold_at_the_cap(void **state)
{
    (void)state;
    int64_t end = rules.now_ns - 3 * HOUR;
    struct compact_candidate c[2] = {cand(end, 500000, 512 * MIB), cand(end, 500000, 512 * MIB)};
    assert_int_equal(planned(c, 2, &rules), 2);
    c[1].n_spans++;
    assert_int_equal(planned(c, 2, &rules), 0);
    c[1].n_spans--;
    c[1].file_bytes++;
    assert_int_equal(planned(c, 2, &rules), 0);
}

static void test_plan__inputs_are_bounded_and_smallest_first(void **state)
{
    (void)state;
    struct compact_candidate c[20];
    struct compact_plan p;
    for (uint32_t i = 0; i < 20; i++)
        c[i] = cand(rules.now_ns - 3 * HOUR, 10, MIB + 20 - i);
    compact_plan(c, 20, &rules, &p);
    assert_int_equal(p.n_inputs, 8);
    assert_int_equal(p.inputs[0], 19);
    assert_int_equal(p.inputs[7], 12);
    assert_int_equal(p.outstanding, 20);
    free(p.inputs);
}

static void test_plan__a_large_block_is_not_rewritten_for_a_small_one(void **state)
{
    (void)state;
    int64_t end = rules.now_ns - 3 * HOUR;
    struct compact_candidate c[2] = {cand(end, 10, 400 * MIB), cand(end, 10, MIB)};
    assert_int_equal(planned(c, 2, &rules), 0);
    c[0].file_bytes = 2 * MIB;
    assert_int_equal(planned(c, 2, &rules), 2);
}

static void test_plan__young_windows_first(void **state)
{
    (void)state;
    struct compact_plan p;
    struct compact_candidate c[4] = {cand(rules.now_ns - 9 * HOUR, 1, MIB),
        cand(rules.now_ns - 9 * HOUR, 1, MIB), cand(rules.now_ns - 3 * HOUR, 1, MIB),
        cand(rules.now_ns - 3 * HOUR, 1, MIB)};
    compact_plan(c, 4, &rules, &p);
    assert_int_equal(p.n_inputs, 2);
    assert_true(p.inputs[0] >= 2);
    free(p.inputs);
}

/* A slow tenant: a block of 5 minutes, for ever. Plays the planner against itself. */
static void test_plan__a_day_of_small_blocks_becomes_few(void **state)
{
    (void)state;
    enum { N = 288 };
    struct compact_candidate c[N];
    uint64_t rewritten = 0, total = 0;
    uint32_t n = N;
    int64_t day = (rules.now_ns / (21 * HOUR) - 3) * 21 * HOUR; /* 168 h / 8: the wide window */
    for (uint32_t i = 0; i < N; i++) {
        c[i] = cand(day + (int64_t)i * 240 * NS_PER_S, 100, 20000);
        total += 20000;
    }
    for (int steps = 0;; steps++) {
        struct compact_plan p;
        assert_true(steps < 1000);
        compact_plan(c, n, &rules, &p);
        if (p.n_inputs == 0)
            break;
        struct compact_candidate out = {.eligible = true};
        for (uint32_t i = 0; i < p.n_inputs; i++) {
            const struct compact_candidate *in = &c[p.inputs[i]];
            out.n_spans += in->n_spans;
            out.file_bytes += in->file_bytes;
            out.max_end_ns = MAX(out.max_end_ns, in->max_end_ns);
            c[p.inputs[i]].eligible = false;
        }
        free(p.inputs);
        rewritten += out.file_bytes;
        uint32_t k = 0;
        for (uint32_t i = 0; i < n; i++)
            if (c[i].eligible)
                c[k++] = c[i];
        c[k++] = out;
        n = k;
    }
    assert_true(n <= 3);
    assert_true(rewritten <= 8 * total); /* log2(288) */
}

static void test_retention__counts_from_the_later_of_end_and_arrival(void **state)
{
    (void)state;
    int64_t now = 1000 * HOUR, slack = 120 * NS_PER_S, keep = HOUR;
    struct block_facts f = {.max_end_ns = (uint64_t)(now - HOUR), .max_arrival_s = 0};
    assert_false(retention_expired(&f, now, slack, keep)); /* at the period: kept */
    f.max_end_ns--;
    assert_true(retention_expired(&f, now, slack, keep));
    f.max_arrival_s = (uint32_t)((now - HOUR) / NS_PER_S); /* back-dated, came later */
    assert_false(retention_expired(&f, now, slack, keep));
    /* Seconds are kept without their fraction: it may have come at the end of that one. */
    assert_false(retention_expired(&f, now + NS_PER_S - 1, slack, keep));
    assert_true(retention_expired(&f, now + NS_PER_S, slack, keep));
    f.max_arrival_s--;
    assert_true(retention_expired(&f, now, slack, keep));
    f.max_end_ns = UINT64_MAX; /* a sender in the year 2554 */
    assert_int_equal(retention_newest_ns(&f, now, slack), now + slack);
}

static void test_retention__size_takes_the_oldest_and_spares_the_newest(void **state)
{
    (void)state;
    struct retention_item items[10];
    for (uint32_t i = 0; i < 10; i++)
        items[i] = (struct retention_item){.newest_ns = 100 - i, .bytes = 10, .index = i};
    assert_int_equal(retention_by_size(items, 10, 0), 0);
    assert_int_equal(retention_by_size(items, 10, 100), 0);
    assert_int_equal(retention_by_size(items, 10, 99), 1);
    assert_int_equal(items[0].index, 9);
    assert_int_equal(retention_by_size(items, 10, 50), 5);
    assert_int_equal(retention_by_size(items, 10, 1), 9); /* 10 % stay */
    assert_int_equal(retention_by_size(items, 1, 1), 0);
    assert_int_equal(retention_by_size(items, 0, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan__open_window_waits_for_four),
        cmocka_unit_test(test_plan__closed_window_is_content_with_two),
        cmocka_unit_test(test_plan__a_closed_window_that_spans_come_to_waits_for_four),
        cmocka_unit_test(test_plan__output_bounds_hold_at_the_cap),
        cmocka_unit_test(test_plan__inputs_are_bounded_and_smallest_first),
        cmocka_unit_test(test_plan__a_large_block_is_not_rewritten_for_a_small_one),
        cmocka_unit_test(test_plan__young_windows_first),
        cmocka_unit_test(test_plan__a_day_of_small_blocks_becomes_few),
        cmocka_unit_test(test_retention__counts_from_the_later_of_end_and_arrival),
        cmocka_unit_test(test_retention__size_takes_the_oldest_and_spares_the_newest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
