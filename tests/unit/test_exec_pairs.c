/* SPDX-License-Identifier: Apache-2.0
 * The memory of pairs: no pair is taken for another, what is asked for stays while there is room,
 * and bytes are bounded. */
#include "query/exec/pairs.h"
#include "unit.h"

static bool none(struct pairs *p, uint64_t a, uint64_t b, bool by_time)
{
    pairs_lock(p);
    bool known = pairs_none(p, a, b, by_time);
    pairs_unlock(p);
    return known;
}

/* Ten blocks in range and 1,000 beyond: ten thousand pairs and none displaces another. */
static void test_pairs__none_displaces_another_while_there_is_room(void **state)
{
    struct budget all;
    (void)state;
    budget_init(&all, NULL, "all", 0);
    struct pairs *p = pairs_new(&all, 4 << 20);
    for (uint64_t b = 11; b <= 1010; b++)
        for (uint64_t a = 1; a <= 10; a++)
            if ((a + b) % 3 != 0)
                pairs_put_none(p, b % 2 == 0 ? a : b, b % 2 == 0 ? b : a, (a + b) % 3 == 1);
    for (uint64_t b = 11; b <= 1010; b++) {
        for (uint64_t a = 1; a <= 10; a++) {
            assert_int_equal(none(p, a, b, false), (a + b) % 3 == 2);
            assert_int_equal(none(p, b, a, true), (a + b) % 3 != 0); /* whole is by time, too */
        }
    }
    assert_false(none(p, 5, 6, true));
    assert_false(none(p, 11, 2000, true));
    assert_true(budget_used(&all) < 64 << 10);
    pairs_free(p);
    assert_int_equal(budget_used(&all), 0);
    budget_deinit(&all);
}

/* Parts come and go for ever; what is asked for all the time outlives those that are gone. */
static void test_pairs__bits_are_bounded(void **state)
{
    struct budget all;
    uint64_t lost = 0;
    (void)state;
    budget_init(&all, NULL, "all", 0);
    struct pairs *p = pairs_new(&all, 256 << 10);
    for (uint64_t b = 1; b <= 64; b++)
        pairs_put_none(p, b, b + 64, false);
    for (uint64_t i = 1; i < 50000; i++) {
        pairs_put_none(p, i * 64, i * 64 + 64, false); /* a chunk of its own each */
        assert_true(none(p, i * 64, i * 64 + 64, false));
        assert_false(none(p, i * 64, i * 64 + 65, false));
        for (uint64_t b = 1; b <= 64; b++)
            lost += !none(p, b, b + 64, false);
        assert_true(budget_used(&all) <= 256 << 10);
    }
    assert_int_equal(lost, 0);
    for (uint64_t i = 1; i < 100000; i++) { /* and where all of it is asked for, it begins anew */
        pairs_put_none(p, i, i + 1000000, false);
        for (uint64_t k = MAX(i, 8000) - 7999; k <= i && i % 1000 == 0; k++)
            (void)none(p, k, k + 1000000, false);
    }
    assert_true(none(p, 99999, 1099999, false));
    assert_true(budget_used(&all) <= 256 << 10);
    pairs_put_none(p, 1, UINT64_MAX, false); /* past what a chunk can name: not kept */
    assert_false(none(p, 1, UINT64_MAX, false));
    pairs_free(p);
    budget_deinit(&all);
}

static struct pair_trace traces_of(uint64_t pair)
{
    struct pair_trace t = {.trace = {(uint32_t)pair, (uint32_t)pair + 1}};
    put_u64le(t.id.b, pair);
    return t;
}

static void put(struct pairs *p, uint64_t of, uint32_t n_done, uint32_t n)
{
    struct pair_trace t[1000];
    for (uint32_t i = 0; i < n; i++)
        t[i] = traces_of(of + i);
    pairs_put(
        p, &(struct pair_key){of, of + 1, false, 0}, &(struct pair_known){n_done, n, t, NULL});
}

static uint32_t done(struct pairs *p, uint64_t of)
{
    struct pair_known k;
    struct pair_key key = {of, of + 1, false, 0};
    pairs_get(p, &key, &k);
    uint32_t n = k.n_done;
    for (uint32_t i = 0; i < k.n; i++) {
        struct pair_trace t = traces_of(of + i);
        assert_memory_equal(&k.traces[i], &t, sizeof(t));
    }
    pairs_release(p, &k);
    pairs_lock(p);
    assert_int_equal(pairs_done(p, &key), n);
    pairs_unlock(p);
    return n;
}

static void test_pairs__lists_grow_and_are_bounded(void **state)
{
    struct budget all;
    struct pair_known used;
    (void)state;
    budget_init(&all, NULL, "all", 0);
    struct pairs *p = pairs_new(&all, 64 << 10);
    put(p, 7, 10, 2);
    pairs_get(p, &(struct pair_key){7, 8, false, 0}, &used);
    assert_int_equal(used.n, 2);
    pairs_release(p, &used);
    put(p, 7, 20, 3);
    put(p, 7, 15, 2); /* of a query that saw less of a head */
    assert_int_equal(done(p, 7), 20);
    put(p, 7, 30, 3); /* nothing more came of it */
    assert_int_equal(done(p, 7), 30);
    assert_int_equal(done(p, 8), 0);
    pairs_get(p, &(struct pair_key){7, 8, true, 0}, &used);
    assert_int_equal(used.n_done, 0);
    pairs_release(p, &used);
    put(p, 500, 1, pairs_traces_max(p) + 1);
    assert_int_equal(done(p, 500), 0);
    for (uint32_t i = 1000; i < 3000; i++) {
        put(p, i, i, i % 50);
        assert_int_equal(done(p, i), i);
        assert_int_equal(done(p, 7), 30); /* asked for all the time */
        assert_true(budget_used(&all) <= 64 << 10);
    }
    assert_int_equal(done(p, 1000), 0);
    pairs_free(p);
    assert_int_equal(budget_used(&all), 0);
    budget_deinit(&all);
}

/* A list in use stays whole while it is replaced and thrown out. */
static void test_pairs__a_list_in_use_stays(void **state)
{
    struct pair_known used;
    (void)state;
    struct pairs *p = pairs_new(NULL, 64 << 10);
    put(p, 7, 10, 40);
    pairs_get(p, &(struct pair_key){7, 8, false, 0}, &used);
    put(p, 7, 20, 50);
    for (uint32_t i = 1000; i < 2000; i++)
        put(p, i, i, 50);
    assert_int_equal(done(p, 7), 0);
    assert_int_equal(used.n, 40);
    for (uint32_t i = 0; i < used.n; i++) {
        struct pair_trace t = traces_of(7 + i);
        assert_memory_equal(&used.traces[i], &t, sizeof(t));
    }
    pairs_release(p, &used);
    pairs_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pairs__none_displaces_another_while_there_is_room),
        cmocka_unit_test(test_pairs__bits_are_bounded),
        cmocka_unit_test(test_pairs__lists_grow_and_are_bounded),
        cmocka_unit_test(test_pairs__a_list_in_use_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
