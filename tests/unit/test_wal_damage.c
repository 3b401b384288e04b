/* SPDX-License-Identifier: Apache-2.0
 * Damage: every truncation point and every bit flip of a small log, lost headers, foreign files.
 *
 * The rule: whatever is broken, records come back whole or not at all; those that a durable LSN on
 * disk covers are missed loudly; an unacknowledged tail is cut without alarm. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "storage/wal.h"
#include "storage/wal/format.h"
#include "tmpdir.h"
#include "unit.h"
#include "wal_util.h"

#define SEGMENT "0000000000000001.wal"
#define RECORDS 6u
#define BYTES   100u

struct image { /* a segment as a crash left it */
    uint8_t p[32 << 10];
    size_t n, used; /* used: up to the end of the last record */
};

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

static enum ec open_log(
    const char *dir, struct wal_seen *seen, struct wal_recovery *rec, struct wal **w)
{
    struct wal_options opt = {.dir = dir,
        .tenant = STR("t"),
        .segment_bytes_min = 16 << 10,
        .segment_bytes_max = 16 << 10};
    struct err err = {0};
    wal_seen_reset(seen);
    enum ec ec = wal_open(&opt, wal_seen_add, seen, rec, w, &err);
    if (ec != EC_OK)
        print_message("%s\n", err.msg);
    return ec;
}

static void file_write(const char *path, const void *p, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, p, n), n);
    close(fd);
}

static void file_read(const char *path, struct image *img)
{
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t n = read(fd, img->p, sizeof(img->p));
    assert_true(n > 0 && (size_t)n < sizeof(img->p));
    img->n = (size_t)n;
    img->used = img->n;
    while (img->used > 0 && img->p[img->used - 1] == 0)
        img->used--;
    img->used = (img->used + 7) & ~(size_t)7;
    close(fd);
}

/* A log of RECORDS records. marked: the last durable LSN is on disk, as after 100 ms of quiet. */
static void make_image(const char *dir, struct image *img, bool marked)
{
    struct wal_seen seen = {0};
    struct wal_recovery rec;
    struct wal *w;
    struct err err;

    assert_int_equal(open_log(dir, &seen, &rec, &w), EC_OK);
    for (uint64_t lsn = 1; lsn <= RECORDS; lsn++) {
        wal_util_append(w, lsn, BYTES, 0);
        wal_util_sync(w, lsn);
    }
    if (marked)
        assert_ok(wal_mark_idle(w, clock_mono_ns() + NS_PER_S, &err), err);
    file_read(tmpdir_path(dir, SEGMENT), img);
    wal_abandon(w);
    wal_seen_deinit(&seen);
}

/* Puts the image there alone, opens, checks that what came back is right; the log stays as found.
 * */
static void reopen(
    const char *dir, const struct image *img, struct wal_seen *seen, struct wal_recovery *rec)
{
    struct wal *w;
    unlink(tmpdir_path(dir, SEGMENT ".damaged"));
    file_write(tmpdir_path(dir, SEGMENT), img->p, img->n);
    unlink(tmpdir_path(dir, "0000000000000002.wal"));
    assert_int_equal(open_log(dir, seen, rec, &w), EC_OK);
    for (size_t i = 0; i < seen->n; i++)
        wal_seen_check(seen, seen->p[i].lsn, BYTES);
    assert_int_equal(rec->records, seen->n);
    wal_abandon(w);
}

static void test_damage__every_bit_flip_of_a_marked_log_is_loud(void **state)
{
    struct image img;
    struct wal_seen seen = {0};
    struct wal_recovery rec;
    unsigned n_loud = 0;

    make_image(*state, &img, true);
    size_t mark = img.used - WAL_RECORD_HEADER_BYTES;
    for (size_t at = 0; at < img.used; at++) {
        if (at == 512) /* the unused parts of the header block: some of it is enough */
            at = WAL_FILE_HEADER_COPY;
        if (at == WAL_FILE_HEADER_COPY + 512)
            at = WAL_DATA_OFFSET;
        unsigned bit = at % 8;
        img.p[at] ^= (uint8_t)(1u << bit);
        reopen(*state, &img, &seen, &rec);
        img.p[at] ^= (uint8_t)(1u << bit);
        if (at < mark) {
            /* Nothing lost, or exactly as much as reported. */
            assert_int_equal(seen.n + rec.damaged_records, RECORDS);
            assert_true((rec.damaged_records > 0) == (rec.set_aside > 0));
            assert_true(rec.damaged_records <= 1);
        } else { /* only the mark: every record is there */
            assert_int_equal(seen.n, RECORDS);
        }
        n_loud += rec.damaged_records > 0;
    }
    assert_true(n_loud >= RECORDS * (WAL_RECORD_HEADER_BYTES + BYTES) - 8 * RECORDS);
    wal_seen_deinit(&seen);
}

static void test_damage__a_flip_in_an_unmarked_log_costs_one_record(void **state)
{
    struct image img;
    struct wal_seen seen = {0};
    struct wal_recovery rec;

    make_image(*state, &img, false); /* crashed right after the last sync: record 6 is not known */
    for (size_t at = WAL_DATA_OFFSET; at < img.used; at++) {
        img.p[at] ^= 0x10;
        reopen(*state, &img, &seen, &rec);
        img.p[at] ^= 0x10;
        assert_true(seen.n + rec.damaged_records + rec.torn_tails >= RECORDS);
        assert_true(seen.n >= RECORDS - 1);
        if (rec.damaged_records == 0 && seen.n < RECORDS)
            assert_null(wal_seen_find(&seen, RECORDS)); /* only the last can pass for torn */
    }
    wal_seen_deinit(&seen);
}

static void test_damage__every_truncation_is_noticed(void **state)
{
    struct image img;
    struct wal_seen seen = {0};
    struct wal_recovery rec;

    make_image(*state, &img, true);
    size_t full = img.n;
    for (size_t n = 0; n < full; n += n < WAL_DATA_OFFSET ? 509 : 1) {
        img.n = n;
        reopen(*state, &img, &seen, &rec);
        assert_true(rec.set_aside == 1); /* no crash shortens a segment */
        if (seen.n < RECORDS)
            assert_true(rec.damaged_records >= 1);
        for (size_t i = 0; i < seen.n; i++)
            assert_int_equal(seen.p[i].lsn, i + 1);
        if (n > img.used + WAL_RECORD_HEADER_BYTES)
            assert_int_equal(rec.damaged_records, 0);
    }
    wal_seen_deinit(&seen);
}

static void test_damage__every_torn_tail_is_cut_quietly(void **state)
{
    struct image img;
    struct wal_seen seen = {0};
    struct wal_recovery rec;

    /* The sixth record is written in part: its bytes from some point on are still zero. */
    make_image(*state, &img, false);
    size_t last = img.used - wal_record_bytes(8 + 1 + BYTES);
    for (size_t at = last; at < img.used - 8; at++) {
        struct image cut = img;
        memset(cut.p + at, 0, cut.n - at);
        reopen(*state, &cut, &seen, &rec);
        assert_int_equal(rec.damaged_records + rec.set_aside, 0);
        assert_int_equal(seen.n, RECORDS - 1);
        assert_int_equal(rec.torn_tails, at == last ? 0 : 1);
        assert_int_equal(wal_util_files(*state, ".damaged"), 0);
    }
    wal_seen_deinit(&seen);
}

static void test_damage__a_second_header_saves_the_segment(void **state)
{
    struct image img;
    struct wal_seen seen = {0};
    struct wal_recovery rec;

    make_image(*state, &img, true);
    memset(img.p, 0xff, 4096);
    reopen(*state, &img, &seen, &rec);
    assert_int_equal(seen.n, RECORDS);
    assert_int_equal(rec.damaged_records + rec.set_aside, 0);
    memset(img.p + WAL_FILE_HEADER_COPY, 0xff, 4096);
    reopen(*state, &img, &seen, &rec);
    assert_int_equal(seen.n, 0);
    assert_true(rec.damaged_records >= 1);
    assert_int_equal(rec.set_aside, 1);
    assert_int_equal(wal_util_files(*state, ".wal"), 0);
    assert_int_equal(wal_util_files(*state, ".damaged"), 1);
    wal_seen_deinit(&seen);
}

static void test_damage__a_damaged_segment_is_kept_after_release(void **state)
{
    struct image img;
    struct wal_seen seen = {0};
    struct wal_recovery rec;
    struct wal *w;
    struct err err;

    make_image(*state, &img, true);
    img.p[WAL_DATA_OFFSET + 80 + 60] ^= 1; /* body of the first record */
    file_write(tmpdir_path(*state, SEGMENT), img.p, img.n);
    assert_int_equal(open_log(*state, &seen, &rec, &w), EC_OK);
    assert_int_equal(seen.n, RECORDS - 1);
    assert_int_equal(rec.damaged_records, 1);
    assert_int_equal(wal_util_files(*state, ".wal"), 1); /* the others are not in a block yet */
    assert_ok(wal_release(w, RECORDS, &err), err);
    assert_int_equal(wal_util_files(*state, ".wal"), 0);
    assert_int_equal(wal_util_files(*state, ".damaged"), 1);
    wal_abandon(w);
    assert_int_equal(open_log(*state, &seen, &rec, &w), EC_OK); /* told once, then quiet */
    assert_int_equal(rec.damaged_records + rec.set_aside, 0);
    wal_util_append(w, 1, 10, 0); /* its number is not used again */
    assert_int_equal(wal_util_files(*state, "2.wal"), 1);
    wal_abandon(w);
    wal_seen_deinit(&seen);
}

static void test_damage__another_version_refuses_to_start(void **state)
{
    struct image img;
    struct wal_seen seen = {0};
    struct wal_recovery rec;
    struct wal_options opt = {.dir = *state, .tenant = STR("t")};
    struct wal *w;
    struct err err;

    make_image(*state, &img, true);
    struct wal_file_header h;
    assert_int_equal(wal_file_header_get(img.p, &h), WAL_HEADER_OK);
    h.version = 77;
    wal_file_header_put(img.p, &h);
    file_write(tmpdir_path(*state, SEGMENT), img.p, img.n);
    assert_ec(wal_open(&opt, wal_seen_add, &seen, &rec, &w, &err), EC_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "77"));
    assert_int_equal(wal_util_files(*state, ".wal"), 1); /* and leaves everything as it was */
    wal_seen_deinit(&seen);
}

static void test_damage__another_tenants_segment_is_not_served(void **state)
{
    struct image img;
    struct wal_seen seen = {0};
    struct wal_recovery rec;
    struct wal_options opt = {.dir = *state, .tenant = STR("other")};
    struct wal *w;
    struct err err;

    make_image(*state, &img, true);
    assert_ok(wal_open(&opt, wal_seen_add, &seen, &rec, &w, &err), err);
    assert_int_equal(seen.n, 0);
    assert_int_equal(rec.set_aside, 1);
    assert_true(rec.damaged_records >= 1);
    wal_abandon(w);
    wal_seen_deinit(&seen);
}

static void test_damage__a_missing_segment_is_counted(void **state)
{
    struct wal_seen seen = {0};
    struct wal_recovery rec;
    struct wal *w;

    assert_int_equal(open_log(*state, &seen, &rec, &w), EC_OK);
    for (uint64_t lsn = 1; lsn <= 30; lsn++)
        wal_util_append(w, lsn, 1500, 0);
    wal_util_sync(w, 30);
    wal_abandon(w);
    assert_int_equal(unlink(tmpdir_path(*state, "0000000000000002.wal")), 0);
    assert_int_equal(open_log(*state, &seen, &rec, &w), EC_OK);
    /* The last segment's START knows only what was durable when it began: with nothing synced
     * before it, the hole cannot be told from a torn tail. */
    assert_true(seen.n < 30);
    assert_true(rec.damaged_records + rec.torn_tails >= 1);
    wal_abandon(w);
    wal_seen_deinit(&seen);
}

static void test_damage__strange_files_are_left_alone(void **state)
{
    struct wal_seen seen = {0};
    struct wal_recovery rec;
    struct wal *w;

    file_write(tmpdir_path(*state, "notes.txt"), "x", 1);
    file_write(tmpdir_path(*state, "1.wal"), "x", 1);
    file_write(tmpdir_path(*state, "000000000000000G.wal"), "x", 1);
    file_write(tmpdir_path(*state, "0000000000000009.wal.tmp"), "x", 1); /* ours, half made */
    assert_int_equal(open_log(*state, &seen, &rec, &w), EC_OK);
    assert_int_equal(rec.set_aside + rec.damaged_records, 0);
    assert_int_equal(wal_util_files(*state, ""), 3);
    wal_abandon(w);
    wal_seen_deinit(&seen);
}

struct scan_count {
    unsigned valid, problems, acked;
};

static void scan_each(void *ctx, const struct wal_dump_record *r)
{
    struct scan_count *c = ctx;
    assert_non_null(r->path);
    if (r->problem == NULL)
        c->valid++;
    else
        c->problems++;
    c->acked += r->acked;
}

static void test_damage__scan_tells_and_changes_nothing(void **state)
{
    struct image img, after;
    struct wal_recovery rec;
    struct scan_count c = {0};
    struct err err;

    make_image(*state, &img, true);
    img.p[WAL_DATA_OFFSET + 80 + 60] ^= 1;
    file_write(tmpdir_path(*state, SEGMENT), img.p, img.n);
    assert_ok(wal_scan(NULL, *state, scan_each, &c, &rec, &err), err);
    assert_int_equal(c.valid, RECORDS - 1);
    assert_int_equal(c.problems, 2);        /* the record, and the segment */
    assert_int_equal(c.acked, RECORDS + 1); /* the segment too */
    assert_int_equal(rec.damaged_records, 1);
    file_read(tmpdir_path(*state, SEGMENT), &after);
    assert_int_equal(after.n, img.n);
    assert_memory_equal(after.p, img.p, img.n);
    assert_int_equal(wal_util_files(*state, ""), 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_damage__every_bit_flip_of_a_marked_log_is_loud),
        T(test_damage__a_flip_in_an_unmarked_log_costs_one_record),
        T(test_damage__every_truncation_is_noticed),
        T(test_damage__every_torn_tail_is_cut_quietly),
        T(test_damage__a_second_header_saves_the_segment),
        T(test_damage__a_damaged_segment_is_kept_after_release),
        T(test_damage__another_version_refuses_to_start),
        T(test_damage__another_tenants_segment_is_not_served),
        T(test_damage__a_missing_segment_is_counted),
        T(test_damage__strange_files_are_left_alone),
        T(test_damage__scan_tells_and_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
