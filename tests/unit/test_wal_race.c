/* SPDX-License-Identifier: Apache-2.0
 * A sync that fails exactly while an append is writing: the moment is made by an io table whose
 * pwrite runs the sync. The append must not count on the segment that was voided under it. */
#include <errno.h>

#include "storage/wal.h"
#include "tmpdir.h"
#include "unit.h"
#include "wal_util.h"

struct race {
    struct io io;
    struct io_ops ops;
    struct wal *w;
    const char *site; /* sync inside the next write here; NULL: not */
    bool fail;        /* that sync fails */
    unsigned n_syncs;
    enum ec ec; /* of the last sync */
    uint64_t from, to;
};

static ssize_t race_pwrite(
    void *ctx, const char *site, int fd, const void *p, size_t n, uint64_t off)
{
    struct race *r = ctx;
    struct err err;
    uint64_t lsn;

    ssize_t done = io_real.ops->pwrite(io_real.ctx, site, fd, p, n, off);
    if (r->site != NULL && strcmp(r->site, site) == 0) {
        r->site = NULL;
        r->n_syncs++;
        r->ec = wal_sync(r->w, &lsn, &r->from, &r->to, &err);
    }
    return done;
}

static int race_fdatasync(void *ctx, const char *site, int fd)
{
    const struct race *r = ctx;
    if (r->fail) {
        errno = EIO;
        return -1;
    }
    return io_real.ops->fdatasync(io_real.ctx, site, fd);
}

static void race_run(const char *site, bool rotate_first)
{
    char *dir = tmpdir_new();
    struct race r = {.ops = *io_real.ops};
    struct wal_options opt = {.io = &r.io, .dir = dir, .tenant = STR("t")};
    struct wal_seen seen = {0};
    struct wal_recovery rec;
    struct err err = {0};

    r.ops.pwrite = race_pwrite;
    r.ops.fdatasync = race_fdatasync;
    r.io = (struct io){&r.ops, &r};
    assert_ok(wal_open(&opt, NULL, NULL, &rec, &r.w, &err), err);
    wal_util_append(r.w, 1, 100, 0);
    wal_util_sync(r.w, 1);
    wal_util_append(r.w, 2, 100, 0);
    if (rotate_first)
        assert_ok(wal_rotate(r.w, &err), err);
    r.site = site;
    r.fail = true;
    wal_util_append(
        r.w, 3, 100, 0); /* succeeds: it goes to a segment that the failure did not take */
    assert_int_equal(r.n_syncs, 1);
    assert_int_equal(r.ec, EC_IO);
    assert_int_equal(r.from, 2);
    assert_int_equal(r.to, 2);
    r.fail = false;
    wal_util_sync(r.w, 3);
    wal_abandon(r.w);

    assert_ok(wal_open(&opt, wal_seen_add, &seen, &rec, &r.w, &err), err);
    assert_int_equal(seen.n, 2);
    wal_seen_check(&seen, 1, 100);
    wal_seen_check(&seen, 3, 100);
    assert_int_equal(rec.damaged_records + rec.torn_tails, 0);
    wal_abandon(r.w);
    wal_seen_deinit(&seen);
    tmpdir_free(dir);
}

static void test_race__a_sync_fails_under_the_record(void **state)
{
    (void)state;
    race_run("wal.append", false);
}

static void test_race__a_sync_fails_under_the_first_words_of_a_segment(void **state)
{
    (void)state;
    race_run("wal.start", true);
}

static void test_race__a_sync_fails_under_the_first_record_of_a_segment(void **state)
{
    (void)state;
    race_run("wal.append", true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_race__a_sync_fails_under_the_record),
        cmocka_unit_test(test_race__a_sync_fails_under_the_first_words_of_a_segment),
        cmocka_unit_test(test_race__a_sync_fails_under_the_first_record_of_a_segment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
