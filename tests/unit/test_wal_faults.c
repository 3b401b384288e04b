/* SPDX-License-Identifier: Apache-2.0
 * Fails the n-th call of every operation of a scenario, for n = 1, 2, ... until no fault fires: no
 * crash, no acknowledged record lost, no false alarm, the next operation works. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "fault_io.h"
#include "storage/wal.h"
#include "tmpdir.h"
#include "unit.h"
#include "wal_util.h"

#define RECORDS 40u

struct scenario {
    struct io *io;
    const char *dir;
    uint64_t acked[RECORDS * 2 + 1]; /* keys; 0: not */
    size_t n_acked;
    unsigned n_failed;
};

static struct wal_options options(const struct scenario *s)
{
    return (struct wal_options){.io = s->io,
        .dir = s->dir,
        .tenant = STR("t"),
        .segment_bytes_min = 16 << 10,
        .segment_bytes_max = 32 << 10};
}

/* Appends, syncs, prepares, marks, reopens in the middle; notes what was acknowledged. Nothing is
 * released. Failures are only counted. */
static void scenario_run(struct scenario *s)
{
    struct wal_options opt = options(s);
    struct wal_recovery rec;
    struct wal *w = NULL;
    struct err err;
    uint64_t lsn, from, to, waiting[RECORDS];
    size_t n_waiting = 0;

    s->n_failed += wal_open(&opt, NULL, NULL, &rec, &w, &err) != EC_OK;
    for (uint64_t key = 1; w != NULL && key <= RECORDS; key++) {
        if (wal_util_try_append(w, key, 1000 + key * 10, 0, &lsn, &err) == EC_OK)
            waiting[n_waiting++] = key;
        else
            s->n_failed++;
        s->n_failed += wal_prepare_next(w, &err) != EC_OK;
        if (key % 4 != 0)
            continue;
        if (wal_sync(w, &lsn, &from, &to, &err) == EC_OK) {
            for (size_t i = 0; i < n_waiting; i++)
                s->acked[s->n_acked++] = waiting[i];
            assert_int_equal(lsn, wal_durable_lsn(w));
        } else {
            s->n_failed++;
        }
        n_waiting = 0;
        if (key % 8 == 0)
            s->n_failed += wal_mark_idle(w, clock_mono_ns() + NS_PER_S, &err) != EC_OK;
        if (key == RECORDS / 2) {
            s->n_failed += wal_close(TAKE_PTR(w), &err) != EC_OK;
            s->n_failed += wal_open(&opt, NULL, NULL, &rec, &w, &err) != EC_OK;
        }
    }
    if (w != NULL)
        s->n_failed += wal_close(w, &err) != EC_OK;
}

/* Without faults: everything acknowledged is there, and the log goes on. */
static void scenario_check(const struct scenario *s)
{
    struct wal_options opt = options(s);
    struct wal_seen seen = {0};
    struct wal_recovery rec;
    struct wal *w;
    struct err err = {0};
    uint64_t lsn;

    opt.io = &io_real;
    assert_ok(wal_open(&opt, wal_seen_add, &seen, &rec, &w, &err), err);
    for (size_t i = 0; i < s->n_acked; i++) {
        size_t k = 0;
        while (k < seen.n && seen.p[k].arrival_s != s->acked[i])
            k++;
        if (k == seen.n)
            fail_msg("record %llu is lost", (unsigned long long)s->acked[i]);
        wal_seen_check(&seen, seen.p[k].lsn, 1000 + s->acked[i] * 10);
    }
    assert_int_equal(rec.damaged_records + rec.set_aside, 0);
    for (size_t i = 1; i < seen.n; i++)
        assert_true(seen.p[i].lsn > seen.p[i - 1].lsn);
    assert_ok(wal_util_try_append(w, 9999, 10, 0, &lsn, &err), err);
    wal_util_sync(w, lsn);
    assert_ok(wal_rotate(w, &err), err);
    assert_ok(wal_release(w, lsn, &err), err);
    assert_int_equal(wal_util_files(s->dir, ""), 0);
    assert_ok(wal_close(w, &err), err);
    wal_seen_deinit(&seen);
}

static unsigned loop(const char *op, int errnum, bool ever)
{
    unsigned n;
    for (n = 1;; n++) {
        struct fault_io *f = fault_io_new(NULL);
        char *dir = tmpdir_new();
        struct scenario *s = xcalloc(1, sizeof(*s));
        s->io = fault_io_io(f);
        s->dir = dir;
        fault_io_fail(f, NULL, op, n, errnum, ever);
        scenario_run(s);
        bool fired = fault_io_fired(f) > 0;
        scenario_check(s);
        if (!fired) { /* the scenario itself is sound */
            assert_int_equal(s->n_failed, 0);
            assert_int_equal(s->n_acked, RECORDS);
        }
        free(s);
        tmpdir_free(dir);
        fault_io_free(f);
        if (!fired)
            break;
    }
    return n - 1;
}

static void test_faults__each_call_may_fail(void **state)
{
    static const char *const ops[] = {"open", "pwrite", "fdatasync", "fsync", "fallocate", "rename",
        "unlink", "mkdir", "stat", "fstat", "list", "close"};
    static const int errnums[] = {EIO, ENOSPC};
    unsigned points = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        for (size_t k = 0; k < ARRAY_LEN(errnums); k++)
            points += loop(ops[i], errnums[k], false) + loop(ops[i], errnums[k], true);
    }
    points += loop("pwrite", FAULT_IO_SHORT, false) + loop("fdatasync", EINTR, false);
    printf("%u fault points\n", points);
    assert_true(points >= 200);
}

static void test_faults__a_read_error_is_tried_again(void **state)
{
    struct fault_io *f = fault_io_new(NULL);
    char *dir = tmpdir_new();
    struct scenario s = {.io = &io_real, .dir = dir};
    struct wal_options opt;
    struct wal_seen seen = {0};
    struct wal_recovery rec;
    struct wal *w;
    struct err err;

    (void)state;
    scenario_run(&s);
    opt = options(&s);
    opt.io = fault_io_io(f);
    for (unsigned n = 1;; n++) {
        fault_io_clear(f);
        fault_io_fail(f, "wal.read", "pread", n, EIO, false);
        wal_seen_reset(&seen);
        assert_ok(wal_open(&opt, wal_seen_add, &seen, &rec, &w, &err), err);
        wal_abandon(w);
        assert_int_equal(seen.n, RECORDS);
        assert_int_equal(rec.damaged_records + rec.set_aside, 0);
        if (fault_io_fired(f) == 0)
            break;
    }
    wal_seen_deinit(&seen);
    tmpdir_free(dir);
    fault_io_free(f);
}

static void test_faults__an_unreadable_page_is_loud(void **state)
{
    struct fault_io *f = fault_io_new(NULL);
    char *dir = tmpdir_new();
    struct scenario s = {.io = &io_real, .dir = dir};
    struct wal_options opt;
    struct wal_recovery rec;
    struct wal *w;
    struct err err;

    (void)state;
    scenario_run(&s);
    opt = options(&s);
    opt.io = fault_io_io(f);
    fault_io_fail(f, "wal.read", "pread", 1, EIO, true);
    fault_io_fail(f, "wal.read_page", "pread", 3, EIO, true);
    assert_ok(wal_open(&opt, NULL, NULL, &rec, &w, &err), err);
    assert_true(rec.damaged_records >= 1);
    assert_true(rec.records < RECORDS);
    wal_abandon(w);
    tmpdir_free(dir);
    fault_io_free(f);
}

static void test_faults__a_failed_sync_is_not_repeated(void **state)
{
    struct fault_io *f = fault_io_new(NULL);
    char *dir = tmpdir_new();
    struct scenario s = {.io = fault_io_io(f), .dir = dir};
    struct wal_options opt = options(&s);
    struct wal_recovery rec;
    struct wal *w;
    struct err err;
    uint64_t lsn, from = 0, to = 0;

    (void)state;
    assert_ok(wal_open(&opt, NULL, NULL, &rec, &w, &err), err);
    wal_util_append(w, 1, 100, 0);
    wal_util_sync(w, 1);
    wal_util_append(w, 2, 100, 0);
    wal_util_append(w, 3, 100, 0);
    fault_io_clear(f);
    fault_io_fail(f, "wal.sync", "fdatasync", 1, EIO, false);
    assert_ec(wal_sync(w, &lsn, &from, &to, &err), EC_IO);
    assert_int_equal(from, 2);
    assert_int_equal(to, 3);
    assert_int_equal(wal_failed_syncs_in_row(w), 1);
    assert_int_equal(wal_durable_lsn(w), 1);
    assert_ok(wal_sync(w, &lsn, &from, &to, &err), err); /* nothing to do: not a second try */
    assert_int_equal(fault_io_calls(f, "wal.sync", "fdatasync"), 1);
    assert_int_equal(wal_durable_lsn(w), 1);
    assert_int_equal(wal_failed_syncs_in_row(w), 1);
    wal_util_append(w, 4, 100, 0);
    assert_int_equal(wal_util_files(dir, ".wal"), 2); /* in a new segment */
    wal_util_sync(w, 4);
    assert_int_equal(wal_failed_syncs_in_row(w), 0);
    wal_abandon(w);

    struct wal_seen seen = {0};
    assert_ok(wal_open(&opt, wal_seen_add, &seen, &rec, &w, &err), err);
    assert_int_equal(seen.n, 2); /* 2 and 3 were refused: sealed off */
    wal_seen_check(&seen, 1, 100);
    wal_seen_check(&seen, 4, 100);
    assert_int_equal(rec.damaged_records + rec.torn_tails, 0);
    wal_abandon(w);
    wal_seen_deinit(&seen);
    tmpdir_free(dir);
    fault_io_free(f);
}

static void test_faults__a_full_disk_recovers_by_itself(void **state)
{
    struct fault_io *f = fault_io_new(NULL);
    char *dir = tmpdir_new();
    struct scenario s = {.io = fault_io_io(f), .dir = dir};
    struct wal_options opt = options(&s);
    struct wal_recovery rec;
    struct wal *w;
    struct err err;
    uint64_t lsn = 0;

    (void)state;
    assert_ok(wal_open(&opt, NULL, NULL, &rec, &w, &err), err);
    fault_io_fail(f, NULL, "fallocate", 1, ENOSPC, true);
    for (int i = 0; i < 5; i++)
        assert_ec(wal_util_try_append(w, 1, 100, 0, &lsn, &err), EC_NOSPACE);
    assert_int_equal(wal_util_files(dir, ""), 0); /* nothing piles up */
    fault_io_clear(f);
    wal_util_append(w, 1, 100, 0);
    wal_util_sync(w, 1);
    assert_ok(wal_close(w, &err), err);
    tmpdir_free(dir);
    fault_io_free(f);
}

/* A START that could not be made durable is written again with the same words in each new segment;
 * however often the sync fails, files do not pile up beyond one per failure. */
static void test_faults__failing_syncs_do_not_pile_up_files(void **state)
{
    struct fault_io *f = fault_io_new(NULL);
    char *dir = tmpdir_new();
    struct scenario s = {.io = fault_io_io(f), .dir = dir};
    struct wal_options opt = options(&s);
    struct wal_recovery rec;
    struct wal *w;
    struct err err;
    uint64_t lsn, from, to;

    (void)state;
    assert_ok(wal_open(&opt, NULL, NULL, &rec, &w, &err), err);
    fault_io_fail(f, "wal.sync", "fdatasync", 1, EIO, true);
    for (uint64_t n = 1; n <= 5; n++) {
        wal_util_append(w, n, 100, 0);
        assert_ec(wal_sync(w, &lsn, &from, &to, &err), EC_IO);
        assert_int_equal(from, n);
        assert_int_equal(to, n);
        assert_int_equal(wal_failed_syncs_in_row(w), n);
        assert_int_equal(wal_util_files(dir, ".wal"), n);
    }
    assert_int_equal(wal_durable_lsn(w), 0);
    fault_io_clear(f);
    wal_util_append(w, 6, 100, 0);
    wal_util_sync(w, 6);
    assert_ok(wal_rotate(w, &err), err);
    assert_ok(wal_release(w, 6, &err), err);
    assert_int_equal(wal_util_files(dir, ""), 0);
    assert_ok(wal_close(w, &err), err);
    tmpdir_free(dir);
    fault_io_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults__each_call_may_fail),
        cmocka_unit_test(test_faults__a_read_error_is_tried_again),
        cmocka_unit_test(test_faults__an_unreadable_page_is_loud),
        cmocka_unit_test(test_faults__a_failed_sync_is_not_repeated),
        cmocka_unit_test(test_faults__failing_syncs_do_not_pile_up_files),
        cmocka_unit_test(test_faults__a_full_disk_recovers_by_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
