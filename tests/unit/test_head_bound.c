/* SPDX-License-Identifier: Apache-2.0
 * Head: requests of many small spans in a small budget, and the bound that looks at each of them:
 * head_insert asserts that it holds. */
#include "base/hash.h"
#include "head_request.h"
#include "otlp_fixture.h"
#include "otlp_random.h"

#define SMALL_BUDGET (48u << 20) /* what heads have in a container of 256 MiB */

/* N spans of some 45 bytes. apart: each has a trace and a name of its own, else they share ten. */
static void put_small(struct buf *b, uint32_t n, bool apart, bool attr)
{
    size_t rs = pb_begin(b, 1), ss = pb_begin(b, 2);
    for (uint32_t i = 0; i < n; i++) {
        char id[16] = {1}, name[16];
        uint32_t k = apart ? i : i % 10;
        put_u64be(id + 8, hash_mix(k + 1));
        size_t span = pb_begin(b, 2);
        pb_put_bytes(b, 1, str_n(id, 16));
        put_u64be(id, i + 1);
        pb_put_bytes(b, 2, str_n(id, 8));
        snprintf(name, sizeof(name), "n%u", k);
        pb_put_bytes(b, 5, str_from(name));
        if (attr)
            fx_attr_int(b, 9, "k", i);
        pb_end(b, span);
    }
    pb_end(b, ss);
    pb_end(b, rs);
}

static enum ec try_small(uint64_t cap, uint32_t n, bool apart, bool attr, uint32_t *ret_inserted)
{
    struct budget budget;
    struct head *h;
    struct request q;
    uint32_t dups = 0;
    struct head_stats stats;
    budget_init(&budget, NULL, "t", cap);
    request_begin(&q);
    put_small(&q.raw, n, apart, attr);
    request_decode(&q);
    assert_ok(head_new(&budget, &h, err));
    enum ec ec = head_reserve(h, &q.b, NULL);
    assert_true(budget_used(&budget) <= cap);
    if (ec == EC_OK)
        head_insert(h, &q.b, 1, &dups);
    head_stats(h, 1, &stats);
    *ret_inserted = stats.n_spans;
    head_free(h);
    request_end(&q);
    assert_true(budget_used(&budget) == 0);
    budget_deinit(&budget);
    return ec;
}

static void test_bound__many_small_spans_fit_a_small_budget(void **state)
{
    (void)state;
    static const uint32_t counts[] = {20000, 50000, 100000};
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        for (unsigned how = 0; how < 4; how++) {
            uint32_t n = counts[i], inserted;
            assert_int_equal(
                try_small(SMALL_BUDGET, n, (how & 1) != 0, (how & 2) != 0, &inserted), EC_OK);
            assert_int_equal(inserted, n);
        }
    }
}

/* Nothing that is refused for good would have fit, and nothing is told to come again that never
 * will. */
static void test_bound__for_good_and_for_now(void **state)
{
    (void)state;
    uint32_t inserted;
    assert_int_equal(try_small(4 << 20, 100000, true, false, &inserted), EC_TOO_LARGE);
    assert_int_equal(inserted, 0);

    struct budget budget;
    struct head *h, *other;
    struct request q;
    struct err why = {0};
    budget_init(&budget, NULL, "t", SMALL_BUDGET);
    request_begin(&q);
    put_small(&q.raw, 100000, true, false);
    request_decode(&q);
    assert_ok(head_new(&budget, &other, err));
    assert_ok(head_reserve(other, &q.b, err));
    uint32_t dups;
    head_insert(other, &q.b, 1, &dups);
    assert_ok(head_new(&budget, &h, err));
    assert_int_equal(head_reserve(h, &q.b, &why), EC_LIMIT); /* the other one is in the way */
    assert_true(head_wanted(h) > 10000000 && head_wanted(h) <= SMALL_BUDGET);
    head_free(other);
    assert_ok(head_reserve(h, &q.b, err));
    head_insert(h, &q.b, 1, &dups);
    head_free(h);
    request_end(&q);
    budget_deinit(&budget);
}

/* What was acked goes in whatever the cap. */
static void test_bound__force_goes_past_the_cap(void **state)
{
    (void)state;
    struct budget budget;
    struct head *h;
    struct request q;
    uint32_t dups;
    budget_init(&budget, NULL, "t", 1 << 20);
    request_begin(&q);
    put_small(&q.raw, 30000, true, true);
    request_decode(&q);
    assert_ok(head_new(&budget, &h, err));
    assert_int_equal(head_reserve(h, &q.b, NULL), EC_TOO_LARGE);
    assert_ok(head_reserve_force(h, &q.b, err));
    head_insert(h, &q.b, 1, &dups);
    head_free(h);
    request_end(&q);
    assert_true(budget_used(&budget) == 0);
    budget_deinit(&budget);
}

/* Random requests, small and large, reserved for by looking at them, while a reader of each state
 * keeps what growth replaces. */
static void test_bound__holds_for_random_requests(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct rng rng = {seed};
        struct budget budget;
        struct head *h;
        budget_init(&budget, NULL, "t", 0);
        assert_ok(head_new(&budget, &h, err));
        for (uint32_t i = 0; i < 12; i++) {
            struct request q;
            struct part_reader *r;
            uint32_t dups;
            request_begin(&q);
            if (rng_below(&rng, 4) == 0)
                put_small(&q.raw, 1 + (uint32_t)rng_below(&rng, 40000), rng_below(&rng, 2) != 0,
                    rng_below(&rng, 2) != 0);
            else
                rnd_request(&q.raw, &rng,
                    &(struct rnd_options){.n_resources = 1 + (uint32_t)rng_below(&rng, 4),
                        .n_spans = 1 + (uint32_t)rng_below(&rng, 300),
                        .n_traces = 1 + (uint32_t)rng_below(&rng, 50),
                        .first_span_id = 1 + i * 100000});
            request_decode(&q);
            assert_ok(part_reader_open(head_part(h), NULL, &r, err));
            assert_ok(head_reserve_force(h, &q.b, err));
            head_insert(h, &q.b, 1, &dups);
            part_reader_close(r);
            request_end(&q);
        }
        head_free(h);
        assert_true(budget_used(&budget) == 0);
        budget_deinit(&budget);
    }
}

static void put_events(
    struct buf *b, uint32_t spans, uint64_t first_id, uint32_t key_from, uint32_t key_to)
{
    size_t rs = pb_begin(b, 1), ss = pb_begin(b, 2);
    for (uint32_t i = 0; i < spans; i++) {
        size_t span = pb_begin(b, 2);
        fx_ids(b, 1, first_id + i);
        for (uint32_t k = key_from; i == 0 && k < key_to; k++) {
            char key[16];
            snprintf(key, sizeof(key), "k%u", k);
            size_t event = pb_begin(b, 11);
            fx_attr_int(b, 3, key, k);
            pb_end(b, event);
        }
        pb_end(b, span);
    }
    pb_end(b, ss);
    pb_end(b, rs);
}

/* The directory of a column with a high number is large in a group whose neighbour before it has
 * none to be like. */
static void test_bound__high_column_after_an_empty_group(void **state)
{
    (void)state;
    enum { KEYS = 60000 };
    for (int force = 0; force < 2; force++) {
        struct head *h;
        const uint32_t spans[] = {1, PART_GROUP_ROWS, PART_GROUP_ROWS, 1};
        assert_ok(head_new(NULL, &h, err));
        for (size_t i = 0; i < ARRAY_LEN(spans); i++) {
            struct request q;
            uint32_t dups, from = i == 0 ? 0 : KEYS - (i == 3);
            request_begin(&q);
            put_events(&q.raw, spans[i], 1 + i * 100000, from, KEYS);
            request_decode(&q);
            assert_ok(force ? head_reserve_force(h, &q.b, err) : head_reserve(h, &q.b, err));
            head_insert(h, &q.b, 1, &dups);
            assert_int_equal(dups, 0);
            request_end(&q);
        }
        head_free(h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bound__many_small_spans_fit_a_small_budget),
        cmocka_unit_test(test_bound__for_good_and_for_now),
        cmocka_unit_test(test_bound__force_goes_past_the_cap),
        cmocka_unit_test(test_bound__holds_for_random_requests),
        cmocka_unit_test(test_bound__high_column_after_an_empty_group),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
