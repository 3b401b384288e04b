/* SPDX-License-Identifier: Apache-2.0
 * The way in: acks, visibility, group commit, refusals, names, replay after a crash. */
#include <errno.h>

#include "fault_io.h"
#include "store_util.h"

#define TENANT STR("single-tenant")

static void test_name__round_trips_and_is_canonical(void **state)
{
    (void)state;
    char id[TENANT_ID_MAX], name[TENANT_NAME_MAX], back[TENANT_ID_MAX + 1];
    size_t n;
    memset(id, 0xff, sizeof(id));
    for (size_t len = 1; len <= TENANT_ID_MAX; len++) {
        id[len - 1] = (char)(len * 37);
        tenant_name_encode(name, str_n(id, len));
        assert_true(strlen(name) <= 255);
        assert_true(strchr(name, '/') == NULL);
        assert_true(tenant_name_decode(back, &n, str_from(name)));
        assert_true(str_eq(str_n(back, n), str_n(id, len)));
    }
    tenant_name_encode(name, STR(".."));
    assert_string_equal(name, "2e2e");
    assert_false(tenant_name_decode(back, &n, STR("2E2E")));
    assert_false(tenant_name_decode(back, &n, STR("2e2")));
    assert_false(tenant_name_decode(back, &n, STR("catalog")));
    assert_false(tenant_name_decode(back, &n, STR("=YQ")));
    assert_false(tenant_name_decode(back, &n, STR("")));
}

static void test_append__acked_is_visible_by_id_and_in_a_snapshot(void **state)
{
    (void)state;
    struct test_store t;
    test_store_init(&t, NULL);
    test_store_open(&t);
    for (uint32_t r = 0; r < 20; r++) {
        assert_ec(test_append(&t, TENANT, r, 5), EC_OK);
        struct trace_id id = test_trace_id(TENANT, r);
        assert_int_equal(test_trace_spans(&t, TENANT, &id), r % 2 == 0 ? 5 : 10);
    }
    test_expect(&t, TENANT, 0, 20, 5);
    struct trace_id other = test_trace_id(STR("other"), 0);
    assert_int_equal(test_trace_spans(&t, TENANT, &other), 0);
    test_store_close(&t, false);
    test_store_deinit(&t);
}

static void test_append__many_in_flight_are_each_answered_once(void **state)
{
    (void)state;
    enum { N = 300 };
    struct test_store t;
    struct err err;
    static struct test_ack acks[N];
    memset(acks, 0, sizeof(acks));
    struct fault_io *f = fault_io_new(NULL);
    test_store_init(&t, fault_io_io(f));
    test_store_open(&t);
    for (uint32_t r = 0; r < N; r++)
        assert_ok(test_append_async(&t, TENANT, r, 2, &acks[r], &err), err);
    for (uint32_t r = 0; r < N; r++)
        assert_ec(test_ack_wait(&acks[r]), EC_OK);
    assert_true(fault_io_calls(f, "wal.sync", "fdatasync") <= N);
    test_expect(&t, TENANT, 0, N, 2);
    test_store_close(&t, true);
    test_store_deinit(&t);
    fault_io_free(f);
}

static void test_append__tenants_never_mix(void **state)
{
    (void)state;
    struct test_store t;
    test_store_init(&t, NULL);
    test_store_open(&t);
    for (uint32_t r = 0; r < 10; r++) {
        assert_ec(test_append(&t, STR("a"), r, 3), EC_OK);
        assert_ec(test_append(&t, STR("b"), r, 4), EC_OK);
    }
    for (int round = 0; round < 3; round++) {
        struct err err;
        test_expect(&t, STR("a"), 0, 10, 3);
        test_expect(&t, STR("b"), 0, 10, 4);
        test_expect(&t, STR("c"), 0, 0, 0);
        if (round == 0)
            assert_ok(store_flush(t.s, (struct str){0}, &err), err);
        else if (round == 1) {
            test_store_crash(&t);
            test_store_open(&t);
        }
    }
    test_store_close(&t, true);
    test_store_deinit(&t);
}

static void test_append__a_retry_is_shown_once(void **state)
{
    (void)state;
    struct test_store t;
    test_store_init(&t, NULL);
    test_store_open(&t);
    assert_ec(test_append(&t, TENANT, 1, 5), EC_OK);
    assert_ec(test_append(&t, TENANT, 1, 5), EC_OK);
    test_expect(&t, TENANT, 1, 1, 5);
    test_store_crash(&t);
    test_store_open(&t);
    test_expect(&t, TENANT, 1, 1, 5);
    test_store_deinit(&t);
}

static void test_append__empty_and_bad_tenants(void **state)
{
    (void)state;
    struct test_store t;
    struct test_ack a = {0};
    struct err err;
    char id[TENANT_ID_MAX + 1];
    memset(id, 'x', sizeof(id));
    test_store_init(&t, NULL);
    test_store_open(&t);
    assert_ec(test_append(&t, TENANT, 1, 0), EC_OK); /* nothing to store is no error */
    assert_ec(test_append_async(&t, str_n(id, 0), 1, 1, &a, &err), EC_INVALID);
    assert_ec(test_append_async(&t, str_n(id, sizeof(id)), 1, 1, &a, &err), EC_INVALID);
    assert_ec(test_append(&t, str_n(id, TENANT_ID_MAX), 1, 1), EC_OK);
    assert_int_equal(atomic_load(&a.calls), 0);
    struct snapshot snap;
    assert_ec(store_snapshot(t.s, (struct str){0}, &snap, &err), EC_INVALID);
    test_store_close(&t, true);
    test_store_open(&t);
    test_expect(&t, str_n(id, TENANT_ID_MAX), 1, 1, 1);
    test_store_close(&t, true);
    test_store_deinit(&t);
}

static void limits_small(void *ctx, struct str tenant, struct tenant_limits *ret)
{
    (void)ctx;
    (void)tenant;
    ret->traces_live_max = 2;
}

static void test_append__rejected_spans_are_neither_stored_nor_replayed(void **state)
{
    (void)state;
    struct test_store t;
    test_store_init(&t, NULL);
    t.opt.limits = limits_small;
    test_store_open(&t);
    for (uint32_t r = 0; r < 8; r++) /* four traces, two may live */
        assert_ec(test_append(&t, TENANT, r, 3), EC_OK);
    test_expect(&t, TENANT, 0, 4, 3);
    test_store_crash(&t);
    t.opt.limits = NULL;
    test_store_open(&t);
    test_expect(&t, TENANT, 0, 4, 3);
    test_store_close(&t, true);
    test_store_deinit(&t);
}

static void test_replay__a_crash_loses_no_acked_span(void **state)
{
    (void)state;
    struct test_store t;
    struct store_health h;
    test_store_init(&t, NULL);
    for (uint32_t round = 0; round < 5; round++) {
        test_store_open(&t);
        store_health(t.s, &h);
        assert_true(h.ready);
        assert_int_equal(h.recovery.damaged_records, 0);
        test_expect(&t, TENANT, 0, round * 10, 4);
        for (uint32_t r = round * 10; r < round * 10 + 10; r++)
            assert_ec(test_append(&t, TENANT, r, 4), EC_OK);
        test_store_crash(&t);
    }
    test_store_open(&t);
    test_expect(&t, TENANT, 0, 50, 4);
    test_store_close(&t, true);
    test_store_open(&t);
    store_health(t.s, &h);
    assert_int_equal(h.recovery.records, 0); /* a clean stop leaves nothing to replay */
    test_expect(&t, TENANT, 0, 50, 4);
    test_store_close(&t, false);
    test_store_deinit(&t);
}

static void test_replay__large_logs_become_blocks_while_they_are_read(void **state)
{
    (void)state;
    struct test_store t;
    test_store_init(&t, NULL);
    test_store_open(&t);
    for (uint32_t r = 0; r < 60; r++)
        assert_ec(test_append(&t, TENANT, r, 50), EC_OK);
    test_store_crash(&t);
    t.opt.block_raw_bytes_max = 64 << 10;
    test_store_open(&t);
    assert_true(test_files(&t, TENANT, ".block") >= 2);
    test_expect(&t, TENANT, 0, 60, 50);
    test_store_crash(&t);
    test_store_open(&t);
    test_expect(&t, TENANT, 0, 60, 50);
    test_store_close(&t, true);
    test_store_deinit(&t);
}

/* A log larger than a head, and not a byte for a block: served from memory, written when there is
 * room. */
static void test_replay__on_a_full_disk_serves_what_was_acked(void **state)
{
    (void)state;
    struct test_store t;
    struct err err;
    struct fault_io *f = fault_io_new(NULL);
    test_store_init(&t, fault_io_io(f));
    test_store_open(&t);
    for (uint32_t r = 0; r < 60; r++)
        assert_ec(test_append(&t, TENANT, r, 50), EC_OK);
    test_store_crash(&t);
    t.opt.block_raw_bytes_max = 64 << 10;
    fault_io_fail(f, "block.write", "pwrite", 1, ENOSPC, true);
    test_store_open(&t);
    assert_true(fault_io_fired(f) > 0);
    assert_int_equal(test_files(&t, TENANT, ".block"), 0);
    test_expect(&t, TENANT, 0, 60, 50);
    test_store_crash(&t);
    test_store_open(&t); /* nor does it get worse by starting again */
    test_expect(&t, TENANT, 0, 60, 50);
    fault_io_clear(f);
    assert_ok(store_flush(t.s, TENANT, &err), err);
    assert_true(test_files(&t, TENANT, ".block") >= 2);
    test_expect(&t, TENANT, 0, 60, 50);
    test_store_close(&t, true);
    test_store_deinit(&t);
    fault_io_free(f);
}

static void test_append__log_numbers_survive_an_empty_log(void **state)
{
    (void)state;
    struct test_store t;
    test_store_init(&t, NULL);
    for (uint32_t r = 0; r < 6; r++) {
        test_store_open(&t);
        test_expect(&t, TENANT, 0, r, 3);
        assert_ec(test_append(&t, TENANT, r, 3), EC_OK);
        if (r % 2 == 0)
            test_store_close(&t, true); /* leaves no segment */
        else
            test_store_crash(&t);
    }
    test_store_open(&t);
    test_expect(&t, TENANT, 0, 6, 3);
    test_store_close(&t, true);
    test_store_deinit(&t);
}

static void test_append__modes_without_waiting_ack_at_once(void **state)
{
    (void)state;
    for (int mode = DURABILITY_INTERVAL; mode <= DURABILITY_NONE; mode++) {
        struct test_store t;
        test_store_init(&t, NULL);
        t.opt.durability = (enum durability)mode;
        t.opt.durability_interval_ns = 20 * NS_PER_MS;
        test_store_open(&t);
        for (uint32_t r = 0; r < 5; r++) {
            struct test_ack a = {0};
            struct err err;
            assert_ok(test_append_async(&t, TENANT, r, 2, &a, &err), err);
            assert_int_equal(atomic_load(&a.calls), 1);
            assert_ec(a.ec, EC_OK);
        }
        test_expect(&t, TENANT, 0, 5, 2);
        test_store_close(&t, false);
        test_store_open(&t);
        test_expect(&t, TENANT, 0, 5, 2);
        test_store_close(&t, true);
        test_store_deinit(&t);
    }
}

static void test_open__a_second_process_is_refused(void **state)
{
    (void)state;
    struct test_store t;
    struct store *second;
    struct err err;
    test_store_init(&t, NULL);
    test_store_open(&t);
    assert_ec(store_open(&t.opt, &second, &err), EC_CONFLICT);
    assert_non_null(strstr(err.msg, "in use"));
    test_store_close(&t, true);
    test_store_open(&t);
    test_store_close(&t, true);
    test_store_deinit(&t);
}

static void test_append__open_logs_are_bounded(void **state)
{
    (void)state;
    struct test_store t;
    struct err err;
    char name[16];
    test_store_init(&t, NULL);
    t.opt.tenants_open_max = 4;
    test_store_open(&t);
    for (uint32_t i = 0; i < 4; i++) {
        snprintf(name, sizeof(name), "t%u", i);
        assert_ec(test_append(&t, str_from(name), i, 2), EC_OK);
    }
    assert_ec(test_append(&t, STR("late"), 9, 2), EC_LIMIT);
    assert_ok(store_flush(t.s, (struct str){0}, &err), err);
    assert_ec(test_append(&t, STR("late"), 9, 2), EC_OK); /* idle logs make room */
    assert_true(atomic_load(&t.s->wals_open) <= 4);
    test_store_crash(&t);
    test_store_open(&t);
    for (uint32_t i = 0; i < 4; i++) {
        snprintf(name, sizeof(name), "t%u", i);
        test_expect(&t, str_from(name), i, 1, 2);
    }
    test_expect(&t, STR("late"), 9, 1, 2);
    test_store_close(&t, true);
    test_store_deinit(&t);
}

static void test_tenants__are_listed_with_what_they_hold(void **state)
{
    (void)state;
    struct test_store t;
    struct arena arena;
    struct store_tenant *list;
    struct err err;
    size_t n;
    test_store_init(&t, NULL);
    test_store_open(&t);
    assert_ec(test_append(&t, STR("b"), 1, 3), EC_OK);
    assert_ok(store_flush(t.s, STR("b"), &err), err);
    assert_ec(test_append(&t, STR("a"), 1, 2), EC_OK);
    arena_init(&arena, NULL, 0);
    assert_ok(store_tenants(t.s, &arena, &list, &n, &err), err);
    assert_int_equal(n, 2);
    assert_str(list[0].id, "a");
    assert_int_equal(list[0].head.n_spans, 2);
    assert_true(list[0].wal_bytes > 0);
    assert_int_equal(list[0].n_blocks, 0);
    assert_str(list[1].id, "b");
    assert_int_equal(list[1].head.n_spans, 0);
    assert_int_equal(list[1].n_blocks, 1);
    assert_int_equal(list[1].n_spans_blocks, 3);
    assert_true(list[1].block_bytes > 0);
    arena_deinit(&arena);
    test_store_close(&t, true);
    test_store_deinit(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_name__round_trips_and_is_canonical),
        cmocka_unit_test(test_append__acked_is_visible_by_id_and_in_a_snapshot),
        cmocka_unit_test(test_append__many_in_flight_are_each_answered_once),
        cmocka_unit_test(test_append__tenants_never_mix),
        cmocka_unit_test(test_append__a_retry_is_shown_once),
        cmocka_unit_test(test_append__empty_and_bad_tenants),
        cmocka_unit_test(test_append__rejected_spans_are_neither_stored_nor_replayed),
        cmocka_unit_test(test_append__modes_without_waiting_ack_at_once),
        cmocka_unit_test(test_append__log_numbers_survive_an_empty_log),
        cmocka_unit_test(test_append__open_logs_are_bounded),
        cmocka_unit_test(test_replay__a_crash_loses_no_acked_span),
        cmocka_unit_test(test_replay__large_logs_become_blocks_while_they_are_read),
        cmocka_unit_test(test_replay__on_a_full_disk_serves_what_was_acked),
        cmocka_unit_test(test_open__a_second_process_is_refused),
        cmocka_unit_test(test_tenants__are_listed_with_what_they_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
