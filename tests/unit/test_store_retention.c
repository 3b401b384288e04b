/* SPDX-License-Identifier: Apache-2.0
 * What is too old goes, by age, by size, at a start; what is young stays, whatever the clock
 * says. */
#include "store_util.h"

#define TENANT STR("single-tenant")

static void flush(struct test_store *t, struct str tenant)
{
    struct err err;
    assert_ok(store_flush(t->s, tenant, &err), err);
}

/* Blocks of one request each. */
static void many_blocks(struct test_store *t, uint32_t n, uint32_t spans)
{
    for (uint32_t r = 0; r < n; r++) {
        assert_ec(test_append(t, TENANT, r, spans), EC_OK);
        flush(t, TENANT);
    }
}

static void limits_long_retention(void *ctx, struct str tenant, struct tenant_limits *ret)
{
    (void)ctx;
    ret->retention_ns = str_eqz(tenant, "keeps") ? 3500 * NS_PER_S : 0;
}

static void test_retain__by_age_and_tenant(void **state)
{
    (void)state;
    struct test_store t;
    struct err err;
    test_store_init(&t, NULL);
    t.opt.limits = limits_long_retention;
    t.opt.retention_ns = 600 * NS_PER_S;
    test_store_open(&t);
    assert_ec(test_append(&t, STR("keeps"), 0, 3), EC_OK);
    many_blocks(&t, 3, 3);
    flush(&t, (struct str){0});
    assert_ok(store_retain(t.s, &err), err);
    test_expect(&t, TENANT, 0, 3, 3); /* young: stays */
    clock_wall_shift_ns(1800 * NS_PER_S);
    assert_ec(test_append(&t, TENANT, 3, 3), EC_OK); /* old spans that arrive now stay as well */
    flush(&t, TENANT);
    assert_ok(store_retain(t.s, &err), err);
    test_expect(&t, TENANT, 3, 1, 3);
    test_expect(&t, STR("keeps"), 0, 1, 3);
    assert_int_equal(test_files(&t, TENANT, ".block"), 1);
    test_store_crash(&t);
    test_store_open(&t);
    test_expect(&t, TENANT, 3, 1, 3);
    clock_wall_shift_ns(-1800 * NS_PER_S);
    test_store_close(&t, true);
    test_store_deinit(&t);
}

static void test_retain__a_clock_leap_suspends_it(void **state)
{
    (void)state;
    struct test_store t;
    struct err err;
    test_store_init(&t, NULL);
    t.opt.retention_ns = 600 * NS_PER_S;
    test_store_open(&t);
    many_blocks(&t, 2, 3);
    clock_wall_shift_ns(7200 * NS_PER_S);
    assert_ok(store_retain(t.s, &err), err);
    assert_true(atomic_load(&t.s->retention_suspended));
    test_expect(&t, TENANT, 0, 2, 3);
    clock_wall_shift_ns(-14400 * NS_PER_S); /* and back: never deletes early either */
    assert_ok(store_retain(t.s, &err), err);
    assert_true(atomic_load(&t.s->retention_suspended));
    clock_wall_shift_ns(7200 * NS_PER_S);
    assert_ok(store_retain(t.s, &err), err);
    assert_false(atomic_load(&t.s->retention_suspended));
    test_expect(&t, TENANT, 0, 2, 3);
    test_store_close(&t, true);
    test_store_deinit(&t);
}

static void test_retain__by_size_takes_the_oldest(void **state)
{
    (void)state;
    struct test_store t;
    struct err err;
    test_store_init(&t, NULL);
    test_store_open(&t);
    many_blocks(&t, 12, 20);
    uint64_t all = atomic_load(&t.s->blocks_bytes);
    test_store_close(&t, true);
    t.opt.bytes_max = all / 2;
    test_store_open(&t);
    assert_ok(store_retain(t.s, &err), err);
    assert_true(atomic_load(&t.s->blocks_bytes) <= all / 2);
    struct test_seen seen;
    test_see(&t, TENANT, &seen);
    uint32_t left = (uint32_t)seen.n_parts;
    assert_in_range(left, 5, 6);
    test_seen_free(&seen);
    test_expect(&t, TENANT, 12 - left, left, 20);
    test_store_close(&t, true);
    assert_int_equal(test_files(&t, TENANT, ".block"), left);
    t.opt.bytes_max = 1;
    test_store_open(&t);
    assert_ok(store_retain(t.s, &err), err);
    test_expect(&t, TENANT, 11, 1, 20);
    test_store_close(&t, true);
    test_store_deinit(&t);
}

/* A merge of all would be a block that no limit of that size can take back. */
static void test_retain__merges_leave_blocks_that_a_size_limit_can_take(void **state)
{
    (void)state;
    struct test_store t;
    struct test_seen seen;
    struct err err;
    test_store_init(&t, NULL);
    test_store_open(&t);
    many_blocks(&t, 12, 20);
    t.opt.bytes_max = atomic_load(&t.s->blocks_bytes);
    test_store_close(&t, true);
    test_store_open(&t);
    assert_ok(store_compact(t.s, &err), err);
    test_see(&t, TENANT, &seen);
    assert_int_equal(seen.n_parts, 12);
    test_seen_free(&seen);
    test_store_close(&t, true);
    t.opt.bytes_max *= 8; /* now a merge of all is an eighth */
    test_store_open(&t);
    assert_ok(store_compact(t.s, &err), err);
    test_see(&t, TENANT, &seen);
    assert_in_range(seen.n_parts, 1, 3);
    test_seen_free(&seen);
    test_expect(&t, TENANT, 0, 12, 20);
    test_store_close(&t, true);
    test_store_deinit(&t);
}

/* Two requests, half an hour old, whose blocks retention took while a query had them, so that the
 * files are there; a young one in the log. shift_ns: how wrong the clock is after the crash. */
static void expired_and_killed(struct test_store *t, int64_t shift_ns)
{
    struct err err;
    struct snapshot query;
    test_store_init(t, NULL);
    t->opt.limits = limits_long_retention;
    t->opt.retention_ns = 600 * NS_PER_S;
    test_store_open(t);
    many_blocks(t, 2, 3);
    assert_ok(store_snapshot(t->s, TENANT, &query, &err), err);
    clock_wall_shift_ns(1800 * NS_PER_S);
    assert_ec(test_append(t, STR("keeps"), 0, 3), EC_OK);
    flush(t, STR("keeps")); /* the clock agrees with this one */
    assert_ec(test_append(t, TENANT, 2, 3), EC_OK);
    assert_ok(store_retain(t->s, &err), err);
    test_expect(t, TENANT, 2, 1, 3);
    assert_int_equal(test_files(t, TENANT, ".block"), 2);
    snapshot_release(&query);
    test_store_crash(t);
    clock_wall_shift_ns(shift_ns);
    test_store_open(t);
}

static void expired_end(struct test_store *t, int64_t shift_ns)
{
    clock_wall_shift_ns(-1800 * NS_PER_S - shift_ns);
    test_store_close(t, true);
    test_store_deinit(t);
}

static void test_start__shows_no_block_that_was_expired(void **state)
{
    (void)state;
    struct test_store t;
    expired_and_killed(&t, 0);
    test_expect(&t, TENANT, 2, 1, 3);
    test_expect(&t, STR("keeps"), 0, 1, 3);
    flush(&t, TENANT);
    test_store_crash(&t);
    test_store_open(&t);
    test_expect(&t, TENANT, 2, 1, 3);
    expired_end(&t, 0);
}

static void test_start__believes_no_clock_that_is_far_from_the_data(void **state)
{
    (void)state;
    static const int64_t wrong_ns[] = {2 * 3600 * NS_PER_S, -2 * 3600 * NS_PER_S};
    for (size_t i = 0; i < ARRAY_LEN(wrong_ns); i++) {
        struct test_store t;
        expired_and_killed(&t, wrong_ns[i]);
        test_expect(&t, TENANT, 0, 3, 3); /* until the first pass */
        test_expect(&t, STR("keeps"), 0, 1, 3);
        expired_end(&t, wrong_ns[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_retain__by_age_and_tenant),
        cmocka_unit_test(test_retain__a_clock_leap_suspends_it),
        cmocka_unit_test(test_retain__by_size_takes_the_oldest),
        cmocka_unit_test(test_retain__merges_leave_blocks_that_a_size_limit_can_take),
        cmocka_unit_test(test_start__shows_no_block_that_was_expired),
        cmocka_unit_test(test_start__believes_no_clock_that_is_far_from_the_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
