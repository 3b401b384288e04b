/* SPDX-License-Identifier: Apache-2.0
 * The live log: what is appended comes back, rotation, release, sizes, idle marks. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "storage/wal.h"
#include "tmpdir.h"
#include "unit.h"
#include "wal_util.h"

static int setup(void **state)
{
    *state = tmpdir_new();
    return 0;
}

static int teardown(void **state)
{
    tmpdir_free(*state);
    return 0;
}

static struct wal *open_log(const char *dir, struct wal_seen *seen, struct wal_recovery *ret_rec)
{
    struct wal_options opt = {.dir = dir, .tenant = STR("tenant-a")};
    struct err err = {0};
    struct wal *w = NULL;
    wal_seen_reset(seen);
    if (wal_open(&opt, wal_seen_add, seen, ret_rec, &w, &err) != EC_OK)
        fail_msg("%s", err.msg);
    return w;
}

static void test_log__an_idle_tenant_owns_no_file(void **state)
{
    struct wal_seen seen = {0};
    struct wal_recovery rec;
    uint64_t bytes, segments;
    struct err err;

    struct wal *w = open_log(*state, &seen, &rec);
    wal_usage(w, &bytes, &segments);
    assert_int_equal(bytes, 0);
    assert_int_equal(segments, 0);
    assert_int_equal(wal_util_files(*state, ""), 0);
    assert_int_equal(wal_close(w, &err), EC_OK);
    assert_int_equal(wal_util_files(*state, ""), 0);
    assert_int_equal(rec.records, 0);
    wal_seen_deinit(&seen);
}

static void test_log__what_was_appended_comes_back(void **state)
{
    struct wal_seen seen = {0};
    struct wal_recovery rec;
    struct err err;
    const size_t sizes[] = {0, 1, 47, 100, 4096, 70000, 500000, 3 << 20};

    struct wal *w = open_log(*state, &seen, &rec);
    for (uint64_t lsn = 1; lsn <= 200; lsn++)
        wal_util_append(w, lsn, sizes[lsn % ARRAY_LEN(sizes)], lsn % 3 == 0 ? 0 : -1);
    assert_int_equal(wal_last_lsn(w), 200);
    assert_int_equal(wal_durable_lsn(w), 0);
    wal_util_sync(w, 200);
    wal_abandon(w); /* as a crash of the process */

    w = open_log(*state, &seen, &rec);
    assert_int_equal(rec.records, 200);
    assert_int_equal(rec.last_lsn, 200);
    assert_int_equal(rec.torn_tails + rec.damaged_records + rec.set_aside, 0);
    assert_int_equal(seen.n, 200);
    for (uint64_t i = 0; i < 200; i++)
        assert_int_equal(seen.p[i].lsn, i + 1);
    for (uint64_t lsn = 1; lsn <= 200; lsn++)
        wal_seen_check(&seen, lsn, sizes[lsn % ARRAY_LEN(sizes)]);
    assert_int_equal(wal_close(w, &err), EC_OK);
    wal_seen_deinit(&seen);
}

static void test_log__numbers_go_on_after_a_restart(void **state)
{
    struct wal_seen seen = {0};
    struct wal_recovery rec;
    struct err err;

    struct wal *w = open_log(*state, &seen, &rec);
    wal_util_append(w, 1, 100, -1);
    assert_int_equal(wal_close(w, &err), EC_OK);
    w = open_log(*state, &seen, &rec);
    assert_int_equal(seen.n, 1);
    assert_int_equal(wal_last_lsn(w), 1);
    wal_util_append(w, 2, 100, -1);
    assert_int_equal(wal_close(w, &err), EC_OK);
    w = open_log(*state, &seen, &rec);
    assert_int_equal(seen.n, 2);
    wal_seen_check(&seen, 1, 100);
    wal_seen_check(&seen, 2, 100);
    assert_int_equal(wal_close(w, &err), EC_OK);
    wal_seen_deinit(&seen);
}

static void test_log__floor_lifts_the_next_number(void **state)
{
    struct wal_options opt = {.dir = *state, .tenant = STR("t"), .lsn_floor = 500};
    struct wal_seen seen = {0};
    struct wal_recovery rec;
    struct wal *w;
    struct err err;

    assert_int_equal(wal_open(&opt, NULL, NULL, &rec, &w, &err), EC_OK);
    wal_util_append(w, 501, 10, 0);
    assert_int_equal(wal_close(w, &err), EC_OK);
    opt.lsn_floor = 900;
    assert_int_equal(wal_open(&opt, NULL, NULL, &rec, &w, &err), EC_OK);
    wal_util_append(w, 901, 10, 0);
    assert_int_equal(wal_close(w, &err), EC_OK);
    opt.lsn_floor = 0;
    assert_int_equal(wal_open(&opt, wal_seen_add, &seen, &rec, &w, &err), EC_OK);
    assert_int_equal(rec.records, 2);
    assert_int_equal(rec.damaged_records + rec.torn_tails, 0);
    wal_seen_check(&seen, 501, 10);
    wal_seen_check(&seen, 901, 10);
    assert_int_equal(wal_close(w, &err), EC_OK);
    wal_seen_deinit(&seen);
}

static void test_log__release_frees_everything_covered(void **state)
{
    struct wal_seen seen = {0};
    struct wal_recovery rec;
    uint64_t bytes, segments;
    struct err err;

    struct wal *w = open_log(*state, &seen, &rec);
    for (uint64_t lsn = 1; lsn <= 100; lsn++)
        wal_util_append(w, lsn, 20000, 0);
    wal_util_sync(w, 100);
    wal_usage(w, &bytes, &segments);
    assert_true(segments > 1);
    assert_int_equal(wal_release(w, 100, &err), EC_OK);
    wal_usage(w, &bytes, &segments);
    assert_int_equal(segments, 1); /* the current one stays */
    assert_int_equal(wal_rotate(w, &err), EC_OK);
    wal_usage(w, &bytes, &segments);
    assert_int_equal(segments, 1);
    assert_int_equal(wal_release(w, 99, &err), EC_OK);
    assert_int_equal(wal_util_files(*state, ".wal"), 1);
    assert_int_equal(wal_release(w, 100, &err), EC_OK);
    assert_int_equal(wal_util_files(*state, ""), 0);
    wal_util_append(w, 101, 10, 0); /* and on it goes */
    assert_int_equal(wal_close(w, &err), EC_OK);
    w = open_log(*state, &seen, &rec);
    assert_int_equal(seen.n, 1);
    wal_seen_check(&seen, 101, 10);
    assert_int_equal(rec.damaged_records + rec.torn_tails, 0);
    assert_int_equal(wal_close(w, &err), EC_OK);
    wal_seen_deinit(&seen);
}

static void test_log__released_before_synced_becomes_durable(void **state)
{
    struct wal_seen seen = {0};
    struct wal_recovery rec;
    struct err err;

    struct wal *w = open_log(*state, &seen, &rec);
    wal_util_append(w, 1, 10, 0);
    assert_int_equal(wal_rotate(w, &err), EC_OK);
    assert_int_equal(wal_release(w, 1, &err), EC_OK); /* a block holds it */
    wal_util_sync(w, 1);
    assert_int_equal(wal_close(w, &err), EC_OK);
    wal_seen_deinit(&seen);
}

static void test_log__one_span_tenants_are_small(void **state)
{
    struct wal_seen seen = {0};
    struct wal_recovery rec;
    uint64_t bytes, segments;
    struct err err;

    struct wal *w = open_log(*state, &seen, &rec);
    wal_util_append(w, 1, 300, -1);
    assert_int_equal(wal_prepare_next(w, &err), EC_OK);
    wal_usage(w, &bytes, &segments);
    assert_int_equal(segments, 1);
    assert_true(bytes <= 256 << 10); /* 1,000 tenants: a quarter GiB at most */
    assert_int_equal(wal_close(w, &err), EC_OK);
    wal_seen_deinit(&seen);
}

static void test_log__in_use_it_rotates_onto_a_prepared_segment(void **state)
{
    struct wal_seen seen = {0};
    struct wal_recovery rec;
    uint64_t bytes, segments;
    struct err err;

    struct wal *w = open_log(*state, &seen, &rec);
    wal_util_append(w, 1, 1000, 0);
    assert_false(wal_prepare_due(w));
    wal_rotate_soon(w);
    assert_true(wal_prepare_due(w));
    wal_util_append(w, 2, 1000, 0); /* does not wait for a file */
    wal_usage(w, &bytes, &segments);
    assert_int_equal(segments, 1);
    assert_int_equal(wal_prepare_next(w, &err), EC_OK);
    assert_false(wal_prepare_due(w));
    wal_util_append(w, 3, 1000, 0);
    wal_usage(w, &bytes, &segments);
    assert_int_equal(segments, 2);
    wal_util_sync(w, 3);
    assert_int_equal(wal_release(w, 1, &err), EC_OK); /* 2 lies in it, too */
    wal_usage(w, &bytes, &segments);
    assert_int_equal(segments, 2);
    assert_int_equal(wal_release(w, 2, &err), EC_OK);
    wal_usage(w, &bytes, &segments);
    assert_int_equal(segments, 1);
    wal_rotate_soon(w); /* everything is in blocks before another one is ready */
    assert_int_equal(wal_release(w, 3, &err), EC_OK);
    assert_int_equal(wal_util_files(*state, ""), 0);
    assert_false(wal_prepare_due(w));
    wal_util_append(w, 4, 10, 0);
    assert_int_equal(wal_close(w, &err), EC_OK);
    w = open_log(*state, &seen, &rec);
    assert_int_equal(seen.n, 1);
    wal_seen_check(&seen, 4, 10);
    assert_int_equal(rec.damaged_records + rec.torn_tails, 0);
    assert_int_equal(wal_close(w, &err), EC_OK);
    wal_seen_deinit(&seen);
}

/* Filling a large file with zeros takes long: an append that finds none ready makes a small one. */
static void test_log__an_append_never_makes_a_large_segment(void **state)
{
    struct wal_seen seen = {0};
    struct wal_recovery rec;
    uint64_t bytes, before = 0, segments;
    struct err err;

    struct wal *w = open_log(*state, &seen, &rec);
    for (uint64_t lsn = 1; lsn <= 200 || !wal_prepare_due(w); lsn++) {
        wal_util_append(w, lsn, 100000, 0);
        wal_usage(w, &bytes, &segments);
        assert_true(bytes - before <= 1 << 20);
        before = bytes;
    }
    assert_int_equal(wal_prepare_next(w, &err), EC_OK);
    wal_usage(w, &bytes, &segments);
    assert_true(bytes - before > 1 << 20); /* the one in the background makes up for it */
    assert_int_equal(wal_close(w, &err), EC_OK);
    wal_seen_deinit(&seen);
}

static void test_log__next_segment_is_prepared_past_half(void **state)
{
    struct wal_seen seen = {0};
    struct wal_recovery rec;
    struct err err;

    struct wal *w = open_log(*state, &seen, &rec);
    wal_util_append(w, 1, 10000, 0);
    assert_int_equal(wal_prepare_next(w, &err), EC_OK);
    assert_int_equal(wal_util_files(*state, ".wal"), 1);
    for (uint64_t lsn = 2; lsn <= 10; lsn++)
        wal_util_append(w, lsn, 10000, 0);
    assert_int_equal(wal_prepare_next(w, &err), EC_OK);
    assert_int_equal(wal_util_files(*state, ".wal"), 2);
    assert_int_equal(wal_prepare_next(w, &err), EC_OK); /* one is enough */
    assert_int_equal(wal_util_files(*state, ".wal"), 2);
    for (uint64_t lsn = 11; lsn <= 20; lsn++)
        wal_util_append(w, lsn, 10000, 0);
    assert_int_equal(wal_util_files(*state, ".wal"), 2);
    assert_int_equal(wal_close(w, &err), EC_OK);
    wal_seen_deinit(&seen);
}

static void test_log__an_idle_log_is_marked_once(void **state)
{
    struct wal_seen seen = {0};
    struct wal_recovery rec;
    struct err err;

    struct wal *w = open_log(*state, &seen, &rec);
    wal_util_append(w, 1, 100, 0);
    int64_t now = clock_mono_ns();
    uint64_t before = wal_util_records(*state);
    assert_int_equal(wal_mark_idle(w, now + NS_PER_S, &err), EC_OK); /* not durable: no mark */
    assert_int_equal(wal_util_records(*state), before);
    wal_util_sync(w, 1);
    assert_int_equal(wal_mark_idle(w, now, &err), EC_OK); /* not idle */
    assert_int_equal(wal_util_records(*state), before);
    assert_int_equal(wal_mark_idle(w, now + NS_PER_S, &err), EC_OK);
    assert_int_equal(wal_util_records(*state), before + 1);
    assert_int_equal(wal_mark_idle(w, now + 2 * NS_PER_S, &err), EC_OK);
    assert_int_equal(wal_util_records(*state), before + 1);
    assert_int_equal(wal_close(w, &err), EC_OK);
    wal_seen_deinit(&seen);
}

static void test_log__skip_list_comes_back(void **state)
{
    struct wal_seen seen = {0};
    struct wal_recovery rec;
    struct buf enc = BUF_INIT;
    struct err err;
    uint64_t lsn;
    static const uint32_t skip[] = {0, 1, 127, 128, 70000, UINT32_MAX};
    struct wal_record in = {.arrival_s = 1700000000,
        .attr_bytes_max = 2048,
        .skip = skip,
        .n_skip = ARRAY_LEN(skip),
        .otlp = bytes_of_str(STR("payload"))};

    struct wal *w = open_log(*state, &seen, &rec);
    assert_int_equal(wal_record_encode(&enc, &in, -1, &err), EC_OK);
    assert_int_equal(wal_append(w, &enc, &lsn, &err), EC_OK);
    assert_int_equal(wal_close(w, &err), EC_OK);
    w = open_log(*state, &seen, &rec);
    assert_int_equal(seen.n, 1);
    assert_int_equal(seen.p[0].arrival_s, 1700000000);
    assert_int_equal(seen.p[0].attr_bytes_max, 2048);
    assert_int_equal(seen.p[0].n_skip, ARRAY_LEN(skip));
    assert_memory_equal(seen.p[0].skip, skip, sizeof(skip));
    assert_int_equal(wal_close(w, &err), EC_OK);
    buf_deinit(&enc);
    wal_seen_deinit(&seen);
}

static void test_log__a_record_over_the_cap_is_refused(void **state)
{
    struct buf enc = BUF_INIT;
    struct err err;
    uint8_t *p = calloc(1, (size_t)WAL_RECORD_BYTES_MAX + 1);
    struct wal_record in = {.otlp = {p, (size_t)WAL_RECORD_BYTES_MAX + 1}};

    (void)state;
    assert_non_null(p);
    assert_int_equal(wal_record_encode(&enc, &in, -1, &err), EC_TOO_LARGE);
    in.otlp.n--; /* fits only when compressed, as the facts take some bytes */
    assert_int_equal(wal_record_encode(&enc, &in, 0, &err), EC_TOO_LARGE);
    assert_int_equal(wal_record_encode(&enc, &in, -1, &err), EC_OK);
    in.otlp.n -= 64;
    assert_int_equal(wal_record_encode(&enc, &in, 0, &err), EC_OK);
    buf_deinit(&enc);
    free(p);
}

static void test_log__a_tenant_id_is_needed(void **state)
{
    struct wal_options opt = {.dir = *state, .tenant = STR("")};
    struct wal_recovery rec;
    struct wal *w;
    struct err err;
    char id[193];

    assert_int_equal(wal_open(&opt, NULL, NULL, &rec, &w, &err), EC_INVALID);
    memset(id, 'x', sizeof(id));
    opt.tenant = str_n(id, 193);
    assert_int_equal(wal_open(&opt, NULL, NULL, &rec, &w, &err), EC_INVALID);
    opt.tenant = str_n(id, 192);
    assert_int_equal(wal_open(&opt, NULL, NULL, &rec, &w, &err), EC_OK);
    wal_abandon(w);
    wal_abandon(NULL);
}

static enum ec stop_at_second(void *ctx, const struct wal_record *rec, struct err *err)
{
    unsigned *n = ctx;
    (*n)++;
    return rec->lsn == 2 ? ERR(err, EC_LIMIT, "enough") : EC_OK;
}

static void test_log__replay_can_stop_the_open(void **state)
{
    struct wal_options opt = {.dir = *state, .tenant = STR("tenant-a")};
    struct wal_seen seen = {0};
    struct wal_recovery rec;
    struct err err;
    unsigned n = 0;

    struct wal *w = open_log(*state, &seen, &rec);
    for (uint64_t lsn = 1; lsn <= 3; lsn++)
        wal_util_append(w, lsn, 10, 0);
    assert_int_equal(wal_close(w, &err), EC_OK);
    assert_int_equal(wal_open(&opt, stop_at_second, &n, &rec, &w, &err), EC_LIMIT);
    assert_int_equal(n, 2);
    assert_string_equal(err.msg, "enough");
    wal_seen_deinit(&seen);
}

/* Head after head of the same size: segments are as large as a head's log, not ever larger. */
static void test_log__segments_fit_what_rotations_leave(void **state)
{
    enum { CYCLES = 5, RECORDS = 11, BYTES = 1000000 };
    struct wal_seen seen = {0};
    struct wal_recovery rec;
    struct err err;
    uint64_t lsn = 0, filled = 0;
    struct wal *w = open_log(*state, &seen, &rec);
    for (unsigned cycle = 0; cycle < CYCLES; cycle++) {
        if (cycle == 2)
            (void)wal_filled_take();
        for (unsigned i = 0; i < RECORDS; i++) {
            wal_util_append(w, ++lsn, BYTES, 0);
            wal_util_sync(w, lsn);
            assert_int_equal(wal_prepare_next(w, &err), EC_OK);
        }
        wal_rotate_soon(w);
        assert_int_equal(wal_prepare_next(w, &err), EC_OK);
        wal_util_append(w, ++lsn, 10, 0);
        wal_util_sync(w, lsn);
        assert_int_equal(wal_release(w, lsn - 1, &err), EC_OK);
    }
    filled = wal_filled_take();
    assert_true(2 * filled < 3ULL * (CYCLES - 2) * RECORDS * BYTES);
    assert_int_equal(wal_close(w, &err), EC_OK);
    wal_seen_deinit(&seen);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_log__segments_fit_what_rotations_leave),
        T(test_log__an_idle_tenant_owns_no_file),
        T(test_log__what_was_appended_comes_back),
        T(test_log__numbers_go_on_after_a_restart),
        T(test_log__floor_lifts_the_next_number),
        T(test_log__release_frees_everything_covered),
        T(test_log__released_before_synced_becomes_durable),
        T(test_log__one_span_tenants_are_small),
        T(test_log__next_segment_is_prepared_past_half),
        T(test_log__in_use_it_rotates_onto_a_prepared_segment),
        T(test_log__an_append_never_makes_a_large_segment),
        T(test_log__an_idle_log_is_marked_once),
        T(test_log__skip_list_comes_back),
        T(test_log__a_record_over_the_cap_is_refused),
        T(test_log__a_tenant_id_is_needed),
        T(test_log__replay_can_stop_the_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
