/* SPDX-License-Identifier: Apache-2.0
 * Segments that have another life: what is left of the former one is never taken for records of
 * this one, whatever a crash makes of the file; and which files may have one. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault_io.h"
#include "storage/wal.h"
#include "storage/wal/format.h"
#include "tmpdir.h"
#include "unit.h"
#include "wal_util.h"

#define RECORD 900u /* bytes of a request here */
#define SECTOR 512u

struct fixture {
    char *dir;
    struct wal_spares spares;
    struct wal_seen seen;
    struct wal_recovery rec;
    struct wal *w;
    struct io *io;
    uint64_t lsn; /* the last one */
};

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    f->dir = tmpdir_new();
    f->spares.bytes_max = 1 << 20;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    wal_abandon(f->w);
    int left = (int)f->spares.bytes;
    wal_seen_deinit(&f->seen);
    tmpdir_free(f->dir);
    free(f);
    return left;
}

static void log_open(struct fixture *f)
{
    struct wal_options opt = {.dir = f->dir,
        .io = f->io,
        .tenant = STR("tenant"),
        .segment_bytes_min = 32 << 10,
        .segment_bytes_max = 64 << 10,
        .spares = &f->spares};
    struct err err = {0};
    wal_seen_reset(&f->seen);
    assert_ok(wal_open(&opt, wal_seen_add, &f->seen, &f->rec, &f->w, &err), err);
}

static void log_append(struct fixture *f, unsigned n)
{
    for (; n > 0; n--) {
        f->lsn++;
        wal_util_append(f->w, f->lsn, RECORD, 0);
    }
}

static void log_prepare(struct fixture *f)
{
    struct err err = {0};
    assert_ok(wal_prepare_next(f->w, &err), err);
}

/* Ends the segment, appends `n` to the next one, and releases the first: it is a spare one. */
static void log_turn_of(struct fixture *f, size_t bytes, unsigned n)
{
    struct err err = {0};
    uint64_t ended = f->lsn;
    wal_rotate_soon(f->w);
    log_prepare(f);
    for (; n > 0; n--)
        wal_util_append(f->w, ++f->lsn, bytes, 0);
    wal_util_sync(f->w, f->lsn);
    assert_ok(wal_release(f->w, ended, &err), err);
}

static void log_turn(struct fixture *f, unsigned n)
{
    log_turn_of(f, RECORD, n);
}

static uint64_t log_bytes(struct fixture *f)
{
    uint64_t bytes, segments;
    wal_usage(f->w, &bytes, &segments);
    return bytes;
}

/* Segment 1 had twenty records and is spare; segment 2 is in use. */
static void log_with_spare(struct fixture *f)
{
    log_open(f);
    log_append(f, 20);
    wal_util_sync(f->w, f->lsn);
    log_turn(f, 1);
    assert_int_equal(wal_util_files(f->dir, ".wal"), 1);
    assert_int_equal(wal_util_files(f->dir, "1.wal.tmp"), 1);
    assert_true(f->spares.bytes > 0);
}

/* The same, and segment 1 is segment 3 now, in use, with n records; 2 is gone. */
static void log_recycled(struct fixture *f, unsigned n)
{
    struct err err = {0};
    log_with_spare(f);
    uint64_t ended = f->lsn;
    wal_rotate_soon(f->w);
    log_prepare(f);
    assert_int_equal(f->spares.bytes, 0);
    log_append(f, n);
    f->spares.off = true; /* and no other one */
    assert_ok(wal_release(f->w, ended, &err), err);
    assert_int_equal(wal_util_files(f->dir, ""), 1);
    assert_int_equal(wal_util_files(f->dir, "3.wal"), 1);
}

static const char *log_path(const struct fixture *f, uint64_t number)
{
    char name[32];
    snprintf(name, sizeof(name), "%016llx.wal", (unsigned long long)number);
    return tmpdir_path(f->dir, name);
}

static uint8_t *file_read(const char *path, size_t *ret_n)
{
    struct stat st;
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    uint8_t *p = xmalloc((size_t)st.st_size);
    assert_int_equal(read(fd, p, (size_t)st.st_size), st.st_size);
    close(fd);
    *ret_n = (size_t)st.st_size;
    return p;
}

static void file_write(const char *path, const uint8_t *p, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, p, n), n);
    close(fd);
}

/* Opens what is there, as after a crash: records from `first` on, without a hole, no others; no
 * damage. Returns how many. */
static uint64_t reopened(struct fixture *f, uint64_t first, const char *what)
{
    wal_abandon(TAKE_PTR(f->w));
    log_open(f);
    if (f->rec.damaged_records + f->rec.set_aside != 0)
        fail_msg("%s: %llu damaged, %llu set aside", what,
            (unsigned long long)f->rec.damaged_records, (unsigned long long)f->rec.set_aside);
    for (size_t i = 0; i < f->seen.n; i++) {
        if (f->seen.p[i].lsn != first + i)
            fail_msg("%s: record %llu at %zu", what, (unsigned long long)f->seen.p[i].lsn, i);
        assert_int_equal(f->seen.p[i].arrival_s, first + i);
        wal_seen_check(&f->seen, first + i, RECORD);
    }
    return f->seen.n;
}

static void test_recycle__a_released_segment_serves_again(void **state)
{
    struct fixture *f = *state;
    log_with_spare(f);
    uint64_t bytes = log_bytes(f);
    (void)wal_filled_take();
    wal_rotate_soon(f->w);
    log_prepare(f);
    assert_int_equal(wal_filled_take(), WAL_HEAD_BYTES);
    assert_int_equal(log_bytes(f), bytes); /* counted all the time */
    assert_int_equal(f->spares.bytes, 0);
    assert_int_equal(wal_util_files(f->dir, "3.wal"), 1);
    assert_int_equal(wal_util_files(f->dir, ""), 2);
    log_append(f, 5);
    wal_util_sync(f->w, f->lsn);
    assert_int_equal(reopened(f, 21, "all"), 6);
    assert_int_equal(f->rec.torn_tails, 0);
}

static void test_recycle__only_what_a_file_lacks_is_filled(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    size_t n;
    log_with_spare(f);
    uint64_t had = f->spares.bytes;
    log_append(f, 23); /* nearly full: the next one is an eighth larger */
    wal_rotate_soon(f->w);
    (void)wal_filled_take();
    log_prepare(f);
    uint64_t filled = wal_filled_take();
    CLEANUP(freep) uint8_t *p = file_read(log_path(f, 3), &n);
    assert_true(n > had);
    assert_int_equal(filled, WAL_HEAD_BYTES + n - had);
    struct wal_file_header h;
    assert_int_equal(wal_file_header_get(p, &h), WAL_HEADER_OK);
    assert_int_equal(h.file_bytes, n);
    assert_true(h.stale_end > WAL_HEAD_BYTES && h.stale_end <= had);
    for (size_t i = h.stale_end; i < n; i++)
        assert_int_equal(p[i], 0);
    for (size_t i = WAL_DATA_OFFSET; i < WAL_HEAD_BYTES; i++)
        assert_int_equal(p[i], 0);
    assert_memory_equal(p, p + WAL_FILE_HEADER_COPY, WAL_FILE_HEADER_BYTES);
    assert_ok(wal_close(TAKE_PTR(f->w), &err), err);
}

/* Every sector that was not synced holds what it held before: any one of them, all from one on, all
 * up to one. The former life's records have the same lengths, so they begin at the same places. */
static void test_recycle__stale_sectors_are_a_torn_tail_at_most(void **state)
{
    struct fixture *f = *state;
    size_t n, n_now;
    enum { RECORDS = 8 };
    log_with_spare(f);
    wal_rotate_soon(f->w);
    log_prepare(f);
    CLEANUP(freep) uint8_t *before = file_read(log_path(f, 3), &n);
    log_append(f, RECORDS); /* the file of 21 stays beside it */
    CLEANUP(freep) uint8_t *now = file_read(log_path(f, 3), &n_now);
    CLEANUP(freep) uint8_t *other = file_read(log_path(f, 2), &n);
    size_t n_other = n;
    n = n_now;
    CLEANUP(freep) uint8_t *mixed = xmalloc(n);
    size_t first = WAL_DATA_OFFSET / SECTOR, last = n / SECTOR;
    while (memcmp(before + (last - 1) * SECTOR, now + (last - 1) * SECTOR, SECTOR) == 0)
        last--;
    assert_true(last > first + RECORDS);
    CLEANUP(freep) char *path2 = xstrdup(log_path(f, 2));
    CLEANUP(freep) char *path3 = xstrdup(log_path(f, 3));
    unsigned whole = 0, part = 0;
    for (unsigned shape = 0; shape < 3; shape++) {
        for (size_t k = first; k < last; k++) {
            char what[64];
            snprintf(what, sizeof(what), "shape %u, sector %zu", shape, k);
            memcpy(mixed, now, n);
            if (shape == 0) /* one is lost */
                memcpy(mixed + k * SECTOR, before + k * SECTOR, SECTOR);
            else if (shape == 1) /* only what was written first is there */
                memcpy(mixed + k * SECTOR, before + k * SECTOR, (last - k) * SECTOR);
            else /* only what was written last */
                memcpy(mixed + first * SECTOR, before + first * SECTOR, (k + 1 - first) * SECTOR);
            wal_abandon(TAKE_PTR(f->w));
            file_write(path2, other, n_other);
            file_write(path3, mixed, n);
            uint64_t got = reopened(f, 21, what);
            assert_true(got >= 1); /* 21 was synced */
            assert_true(got <= 1 + RECORDS);
            whole += got == 1 + RECORDS;
            part += got > 1 && got < 1 + RECORDS;
            struct err err = {0};
            uint64_t lsn;
            assert_ok(wal_util_try_append(f->w, 77, RECORD, 0, &lsn, &err), err);
            wal_util_sync(f->w, lsn);
            wal_abandon(TAKE_PTR(f->w));
            log_open(f); /* what was void stays void */
            assert_int_equal(f->seen.n, got + 1);
            assert_int_equal(f->rec.damaged_records + f->rec.set_aside, 0);
            wal_abandon(TAKE_PTR(f->w));
            while (wal_util_files(f->dir, "") > 0) {
                struct io_names names;
                assert_ok(io_list(&io_real, "test", f->dir, &names, &err), err);
                for (size_t i = 0; i < names.n; i++)
                    unlink(tmpdir_path(f->dir, names.p[i]));
                io_names_free(&names);
            }
        }
    }
    assert_true(part > 0);
    assert_true(whole < 3 * (last - first));
}

/* The same where records were durable: a torn one behind them, then old ones, is no damage. */
static void test_recycle__old_records_behind_a_torn_one_are_no_damage(void **state)
{
    struct fixture *f = *state;
    size_t n, n_now;
    log_recycled(f, 3);
    wal_util_sync(f->w, f->lsn);
    CLEANUP(freep) char *path = xstrdup(log_path(f, 3));
    CLEANUP(freep) uint8_t *durable = file_read(path, &n);
    log_append(f, 1); /* tells that 24 is durable, and is torn itself */
    CLEANUP(freep) uint8_t *now = file_read(path, &n_now);
    size_t at = 0, end = n;
    while (durable[at] == now[at])
        at++;
    while (durable[end - 1] == now[end - 1])
        end--;
    for (size_t cut = at + 1; cut < end; cut += cut < at + 64 ? 1 : 97) {
        CLEANUP(freep) uint8_t *torn = xmalloc(n);
        memcpy(torn, durable, n);
        memcpy(torn, now, cut);
        wal_abandon(TAKE_PTR(f->w));
        file_write(path, torn, n);
        assert_int_equal(reopened(f, 22, "torn"), 3);
        wal_abandon(TAKE_PTR(f->w));
        for (uint64_t i = 4; i < 8; i++)
            unlink(log_path(f, i));
    }
}

static void test_recycle__damage_is_still_told(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    size_t n;
    log_recycled(f, 6);
    wal_util_sync(f->w, f->lsn);
    assert_ok(wal_mark_idle(f->w, INT64_MAX, &err), err);
    wal_abandon(TAKE_PTR(f->w));
    CLEANUP(freep) char *path = xstrdup(log_path(f, 3));
    CLEANUP(freep) uint8_t *p = file_read(path, &n);
    p[WAL_DATA_OFFSET + 80 + 2 * (RECORD + 64)] ^= 4; /* in the third record or so */
    file_write(path, p, n);
    f->spares.off = false;
    log_open(f);
    assert_int_equal(f->rec.damaged_records, 1);
    assert_int_equal(f->rec.set_aside, 1);
    assert_int_equal(f->seen.n, 5);
    f->lsn++;
    wal_util_append(f->w, f->lsn, RECORD, 0);
    wal_util_sync(f->w, f->lsn);
    assert_ok(wal_release(f->w, f->lsn - 1, &err), err);
    assert_int_equal(wal_util_files(f->dir, ".wal.damaged"), 1);
    assert_int_equal(f->spares.bytes, 0);
}

static void test_recycle__a_shortened_file_is_damage(void **state)
{
    struct fixture *f = *state;
    log_recycled(f, 2);
    wal_util_sync(f->w, f->lsn);
    wal_abandon(TAKE_PTR(f->w));
    assert_int_equal(truncate(log_path(f, 3), 16 << 10), 0); /* where old records are */
    log_open(f);
    assert_int_equal(f->seen.n, 2);
    assert_true(f->rec.damaged_records > 0);
}

/* Each step of a recycling, and a crash behind it. */
static void test_recycle__a_crash_in_between_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    size_t n, n3;
    log_with_spare(f);
    CLEANUP(freep) char *tmp = xstrdup(tmpdir_path(f->dir, "0000000000000001.wal.tmp"));
    CLEANUP(freep) uint8_t *spare = file_read(tmp, &n);
    wal_rotate_soon(f->w);
    log_prepare(f);
    CLEANUP(freep) uint8_t *headed = file_read(log_path(f, 3), &n3);
    assert_int_equal(n, n3);
    /* Renamed, never used: it goes, and is no torn tail. */
    assert_int_equal(reopened(f, 21, "unused"), 1);
    assert_int_equal(f->rec.torn_tails, 0);
    assert_int_equal(wal_util_files(f->dir, ".wal"), 1);
    /* Under its temporary name, its head whole, in part, or not written yet. */
    for (size_t at = 0; at <= WAL_HEAD_BYTES; at += SECTOR) {
        CLEANUP(freep) uint8_t *mixed = xmalloc(n);
        memcpy(mixed, spare, n);
        memcpy(mixed, headed, at);
        wal_abandon(TAKE_PTR(f->w));
        file_write(tmp, mixed, n);
        assert_int_equal(reopened(f, 21, "not renamed"), 1);
        assert_int_equal(f->rec.torn_tails, 0);
        assert_int_equal(wal_util_files(f->dir, ".tmp"), 0);
    }
    /* The first retirement's new name was not durable: the old one is there, and is read. */
    wal_abandon(TAKE_PTR(f->w));
    file_write(log_path(f, 1), spare, n);
    assert_int_equal(reopened(f, 1, "not retired"), 21);
}

/* What fails under way is removed, and a new file is made. */
static void test_recycle__a_failure_costs_the_spare_one_only(void **state)
{
    static const char *const sites[][2] = {{"wal.recycle_rename", "rename"},
        {"wal.recycle_dir_sync", "fsync"}, {"wal.recycle_open", "open"},
        {"wal.segment_header", "pwrite"}, {"wal.segment_sync", "fsync"},
        {"wal.segment_rename", "rename"}, {"wal.segment_dir_sync", "fsync"}};
    struct fixture *f = *state;
    struct err err = {0};
    for (size_t i = 0; i < ARRAY_LEN(sites); i++) {
        struct fault_io *fault = fault_io_new(NULL);
        f->io = fault_io_io(fault);
        f->lsn = 0;
        log_open(f);
        log_append(f, 20);
        wal_util_sync(f->w, f->lsn);
        wal_rotate_soon(f->w);
        log_prepare(f);
        log_append(f, 1);
        wal_util_sync(f->w, f->lsn);
        fault_io_fail(fault, sites[i][0], sites[i][1], 1, EIO, false);
        enum ec ec = wal_release(f->w, 20, &err);
        assert_int_equal(ec, i == 1 ? EC_IO : EC_OK);
        if (ec != EC_OK)
            assert_ok(wal_release(f->w, 20, &err), err);
        assert_int_equal(f->spares.bytes == 0, i < 2);
        wal_rotate_soon(f->w);
        log_prepare(f);
        assert_int_equal(fault_io_fired(fault), 1);
        assert_int_equal(wal_util_files(f->dir, ".wal"), 2);
        assert_int_equal(wal_util_files(f->dir, ".tmp"), 0);
        log_append(f, 2);
        wal_util_sync(f->w, f->lsn);
        assert_int_equal(reopened(f, 21, sites[i][0]), 3);
        assert_ok(wal_release(f->w, f->lsn, &err), err);
        assert_ok(wal_close(TAKE_PTR(f->w), &err), err);
        assert_int_equal(wal_util_files(f->dir, ""), 0);
        f->io = NULL;
        fault_io_free(fault);
    }
}

/* Files that have seen a crash, a failed sync or a failed write have one life. */
static void test_recycle__a_file_with_a_past_is_removed(void **state)
{
    static const char *const sites[][2] = {
        {"wal.sync", "fdatasync"}, {"wal.append", "pwrite"}, {NULL, NULL}};
    struct fixture *f = *state;
    struct err err = {0};
    for (size_t i = 0; i < ARRAY_LEN(sites); i++) {
        struct fault_io *fault = fault_io_new(NULL);
        uint64_t lsn, from, to;
        f->io = fault_io_io(fault);
        f->lsn = 0;
        log_open(f);
        log_append(f, 9);
        wal_util_sync(f->w, f->lsn);
        if (sites[i][0] != NULL) {
            fault_io_fail(fault, sites[i][0], sites[i][1], 1, EIO, false);
            bool failed = wal_util_try_append(f->w, 99, RECORD, 0, &lsn, &err) != EC_OK ||
                          wal_sync(f->w, &lsn, &from, &to, &err) != EC_OK;
            assert_true(failed);
        } else {
            wal_abandon(TAKE_PTR(f->w));
            log_open(f);
        }
        assert_ok(wal_util_try_append(f->w, 98, RECORD, 0, &lsn, &err), err);
        assert_ok(wal_sync(f->w, &lsn, &from, &to, &err), err);
        assert_int_equal(wal_util_files(f->dir, ".wal"), 2);
        assert_ok(wal_release(f->w, lsn - 1, &err), err);
        assert_int_equal(wal_util_files(f->dir, ""), 1);
        assert_int_equal(f->spares.bytes, 0);
        assert_ok(wal_rotate(f->w, &err), err);
        assert_ok(wal_release(f->w, lsn, &err), err);
        assert_ok(wal_close(TAKE_PTR(f->w), &err), err);
        f->io = NULL;
        fault_io_free(fault);
    }
}

static void test_recycle__spares_are_few(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    /* Two of one log, whatever is released at once. */
    log_open(f);
    for (unsigned i = 0; i < 6; i++) {
        log_append(f, 20);
        wal_rotate_soon(f->w);
        log_prepare(f);
    }
    log_append(f, 1);
    wal_util_sync(f->w, f->lsn);
    assert_ok(wal_release(f->w, f->lsn - 1, &err), err);
    assert_int_equal(wal_util_files(f->dir, ".wal"), 1);
    assert_int_equal(wal_util_files(f->dir, ".wal.tmp"), 2);
    uint64_t bytes, segments;
    wal_usage(f->w, &bytes, &segments);
    assert_int_equal(segments, 1);
    assert_true(bytes > f->spares.bytes);
    /* None of an idle one. */
    assert_ok(wal_rotate(f->w, &err), err);
    assert_ok(wal_release(f->w, f->lsn, &err), err);
    assert_int_equal(wal_util_files(f->dir, ""), 0);
    assert_int_equal(f->spares.bytes, 0);
    /* None when all together have enough. */
    f->spares.bytes_max = 16 << 10;
    log_append(f, 20);
    wal_util_sync(f->w, f->lsn);
    log_turn(f, 1);
    assert_int_equal(wal_util_files(f->dir, ""), 1);
    assert_int_equal(f->spares.bytes, 0);
    f->spares.bytes_max = 1 << 20;
    /* None when the disk is short: those there are go. */
    log_append(f, 20);
    wal_util_sync(f->w, f->lsn);
    log_turn(f, 1);
    assert_int_equal(wal_util_files(f->dir, ".tmp"), 1);
    f->spares.off = true;
    log_prepare(f);
    assert_int_equal(wal_util_files(f->dir, ".tmp"), 0);
    assert_int_equal(f->spares.bytes, 0);
    log_append(f, 20);
    wal_util_sync(f->w, f->lsn);
    log_turn(f, 1);
    assert_int_equal(wal_util_files(f->dir, ".tmp"), 0);
    f->spares.off = false;
    /* A stop leaves none; a kill leaves them to the next start. */
    log_append(f, 20);
    wal_util_sync(f->w, f->lsn);
    log_turn(f, 1);
    assert_int_equal(wal_util_files(f->dir, ".tmp"), 1);
    wal_abandon(TAKE_PTR(f->w));
    assert_int_equal(f->spares.bytes, 0);
    assert_int_equal(wal_util_files(f->dir, ".tmp"), 1);
    log_open(f);
    assert_int_equal(wal_util_files(f->dir, ".tmp"), 0);
    log_append(f, 20);
    wal_util_sync(f->w, f->lsn);
    log_turn(f, 20);
    log_turn(f, 1);
    assert_int_equal(wal_util_files(f->dir, ".tmp"), 1);
    assert_ok(wal_close(TAKE_PTR(f->w), &err), err);
    assert_int_equal(wal_util_files(f->dir, ".tmp"), 0);
}

/* Large files that the log has no use for any more are not kept alive. */
static void test_recycle__a_spare_that_is_much_too_large_goes(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct wal_options opt = {.dir = f->dir,
        .tenant = STR("tenant"),
        .segment_bytes_min = 16 << 10,
        .segment_bytes_max = 4 << 20,
        .spares = &f->spares};
    f->spares.bytes_max = 64 << 20;
    assert_ok(wal_open(&opt, NULL, NULL, &f->rec, &f->w, &err), err);
    while (f->spares.bytes < 900000 && f->lsn < 1000) {
        for (unsigned i = 0; i < 20; i++)
            wal_util_append(f->w, ++f->lsn, 40000, 0);
        wal_util_sync(f->w, f->lsn);
        log_turn_of(f, 10, 1);
    }
    assert_true(f->spares.bytes > 900000);
    wal_util_sync(f->w, f->lsn);
    log_turn_of(f, 10, 1); /* small from now on, and the spare one serves: it is there */
    log_turn_of(f, 10, 1);
    log_turn_of(f, 10, 1);
    uint64_t bytes, segments;
    wal_usage(f->w, &bytes, &segments);
    assert_true(bytes < 300000);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_recycle__a_released_segment_serves_again),
        T(test_recycle__only_what_a_file_lacks_is_filled),
        T(test_recycle__stale_sectors_are_a_torn_tail_at_most),
        T(test_recycle__old_records_behind_a_torn_one_are_no_damage),
        T(test_recycle__damage_is_still_told),
        T(test_recycle__a_shortened_file_is_damage),
        T(test_recycle__a_crash_in_between_leaves_nothing),
        T(test_recycle__a_failure_costs_the_spare_one_only),
        T(test_recycle__a_file_with_a_past_is_removed),
        T(test_recycle__spares_are_few),
        T(test_recycle__a_spare_that_is_much_too_large_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
