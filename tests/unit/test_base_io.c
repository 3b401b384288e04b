/* SPDX-License-Identifier: Apache-2.0
 * The file shim: real files, error codes, and the policy of the wrappers under faults. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/io.h"
#include "fault_io.h"
#include "tmpdir.h"
#include "unit.h"

static char *dir;
static struct fault_io *faults;
static struct io *io;
static struct err err;

static int setup(void **state)
{
    (void)state;
    dir = tmpdir_new();
    faults = fault_io_new(NULL);
    io = fault_io_io(faults);
    err = (struct err){0};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fault_io_free(faults);
    tmpdir_free(dir);
    return 0;
}

static int file_new(const char *name)
{
    int fd = -1;
    assert_ok(
        io_open(io, "t.open", tmpdir_path(dir, name), O_RDWR | O_CREAT, 0600, &fd, &err), err);
    return fd;
}

static void test_io__reads_back_what_it_wrote(void **state)
{
    (void)state;
    struct io_stat st;
    char back[8] = "";
    int fd = file_new("a");
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_ok(io_pwrite(io, "t.w", fd, "abcdef", 6, 2, &err), err);
    assert_ok(io_fdatasync(io, "t.s", fd, &err), err);
    assert_ok(io_fsync(io, "t.s", fd, &err), err);
    assert_ok(io_pread(io, "t.r", fd, back, 8, 0, &err), err);
    assert_memory_equal(back, "\0\0abcdef", 8);
    assert_ok(io_pread(io, "t.r", fd, back, 0, 100, &err), err);
    assert_ok(io_ftruncate(io, "t.t", fd, 5, &err), err);
    assert_ok(io_fallocate(io, "t.t", fd, 0, 4096, &err), err);
    assert_ok(io_fallocate(io, "t.t", fd, 0, 0, &err), err);
    assert_ok(io_fstat(io, "t.f", fd, &st, &err), err);
    assert_int_equal(st.size, 4096);
    assert_false(st.is_dir);
    assert_true(st.mtime_ns > 1600000000LL * 1000000000);
    assert_ok(io_close(io, "t.c", fd, &err), err);
}

static void test_io_pread__short_file_is_corrupt(void **state)
{
    (void)state;
    char back[8] = "";
    int fd = file_new("a");
    assert_ok(io_pwrite(io, "t.w", fd, "abc", 3, 0, &err), err);
    assert_ec(io_pread(io, "t.r", fd, back, 4, 0, &err), EC_CORRUPT);
    assert_non_null(strstr(err.msg, "short file"));
    assert_ec(io_pread(io, "t.r", fd, back, 4, UINT64_MAX - 1, &err), EC_CORRUPT);
    assert_ec(io_pwrite(io, "t.w", fd, back, 4, UINT64_MAX - 1, &err), EC_IO);
    assert_ec(io_ftruncate(io, "t.w", fd, UINT64_MAX, &err), EC_IO);
    assert_ec(io_fallocate(io, "t.w", fd, 1, INT64_MAX, &err), EC_IO);
    assert_ok(io_close(io, "t.c", fd, &err), err);
}

static void test_io__maps_errno_to_codes(void **state)
{
    (void)state;
    static const struct {
        int errnum;
        enum ec ec;
    } rows[] = {
        {ENOSPC, EC_NOSPACE}, {EDQUOT, EC_NOSPACE}, {EIO, EC_IO}, {EROFS, EC_IO}, {EMFILE, EC_IO}};
    int fd = file_new("a");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        fault_io_fail(faults, NULL, "pwrite", 1, rows[i].errnum, false);
        assert_ec(io_pwrite(io, "t.w", fd, "x", 1, 0, &err), rows[i].ec);
        assert_int_equal(err.errnum, rows[i].errnum);
        assert_ok(io_pwrite(io, "t.w", fd, "x", 1, 0, &err), err);
    }
    assert_ec(io_pwrite(io, "t.w", -1, "x", 1, 0, &err), EC_IO);
    assert_int_equal(err.errnum, EBADF);
    assert_ok(io_close(io, "t.c", fd, &err), err);
    assert_ec(io_close(io, "t.c", -1, &err), EC_IO);
}

static void test_io__missing_names_are_not_found(void **state)
{
    (void)state;
    const char *none = tmpdir_path(dir, "none");
    int fd = 77;
    struct io_stat st;
    struct io_names names;
    assert_ec(io_open(io, "t", none, O_RDONLY, 0, &fd, &err), EC_NOT_FOUND);
    assert_int_equal(fd, 77);
    assert_non_null(strstr(err.msg, none));
    assert_ec(io_stat(io, "t", none, &st, &err), EC_NOT_FOUND);
    assert_ec(io_unlink(io, "t", none, &err), EC_NOT_FOUND);
    assert_ec(io_rmdir(io, "t", none, &err), EC_NOT_FOUND);
    assert_ec(io_list(io, "t", none, &names, &err), EC_NOT_FOUND);
    assert_ec(io_rename(io, "t", none, tmpdir_path(dir, "x"), &err), EC_NOT_FOUND);
    assert_ec(io_fsync_dir(io, "t", none, NULL), EC_NOT_FOUND);
}

static void test_io__continues_short_and_interrupted_transfers(void **state)
{
    (void)state;
    char back[100], out[100];
    memset(out, 'y', sizeof(out));
    int fd = file_new("a");
    fault_io_fail(faults, NULL, "pwrite", 1, FAULT_IO_SHORT, true);
    assert_ok(io_pwrite(io, "t.w", fd, out, 100, 0, &err), err);
    assert_int_equal(fault_io_calls(faults, "t.w", "pwrite"), 8); /* 50 25 12 6 3 2 1 1 */
    fault_io_clear(faults);
    fault_io_fail(faults, NULL, "pread", 1, EINTR, false);
    fault_io_fail(faults, NULL, "pread", 2, FAULT_IO_SHORT, false);
    fault_io_fail(faults, NULL, "pread", 3, EINTR, false);
    assert_ok(io_pread(io, "t.r", fd, back, 100, 0, &err), err);
    assert_memory_equal(back, out, 100);
    assert_int_equal(fault_io_fired(faults), 3);
    fault_io_fail(faults, NULL, NULL, 1, EINTR, false);
    assert_ok(io_fdatasync(io, "t.s", fd, &err), err);
    fault_io_clear(faults);
    fault_io_fail(faults, NULL, NULL, 1, EINTR, true); /* for ever: an error, not a hang */
    assert_ec(io_fdatasync(io, "t.s", fd, &err), EC_IO);
    fault_io_clear(faults);
    assert_ok(io_close(io, "t.c", fd, &err), err);
}

struct stuck {
    unsigned n_calls, n_nothing; /* after so many calls that transfer nothing a byte goes */
};

static ssize_t pwrite_nothing(
    void *ctx, const char *site, int fd, const void *p, size_t n, uint64_t off)
{
    struct stuck *s = ctx;
    (void)site, (void)fd, (void)p, (void)n, (void)off;
    return s->n_calls++ % (s->n_nothing + 1) < s->n_nothing ? 0 : 1;
}

static void test_io_pwrite__gives_up_when_nothing_goes_three_times(void **state)
{
    (void)state;
    struct stuck s = {.n_nothing = 3};
    struct io_ops ops = *io_real.ops;
    ops.pwrite = pwrite_nothing;
    struct io stuck = {.ops = &ops, .ctx = &s};
    assert_ec(io_pwrite(&stuck, "t.w", 0, "x", 1, 0, &err), EC_IO);
    assert_int_equal(err.errnum, EIO);
    assert_int_equal(s.n_calls, 3);
    s = (struct stuck){.n_nothing = 2}; /* slow, again and again, and yet it goes on */
    assert_ok(io_pwrite(&stuck, "t.w", 0, "xyz", 3, 0, &err), err);
    assert_int_equal(s.n_calls, 9);
}

static void test_io_fsync__is_not_repeated_after_a_failure(void **state)
{
    (void)state;
    int fd = file_new("a");
    fault_io_fail(faults, "t.s", "fdatasync", 1, EIO, false);
    assert_ec(io_fdatasync(io, "t.s", fd, &err), EC_IO);
    assert_int_equal(fault_io_calls(faults, "t.s", "fdatasync"), 1);
    assert_ok(io_close(io, "t.c", fd, &err), err);
}

static void test_io_write_back__is_no_sync_but_its_error_counts(void **state)
{
    (void)state;
    int fd = file_new("a");
    assert_ok(io_pwrite(io, "t.w", fd, "abc", 3, 0, &err), err);
    assert_ok(io_write_back(io, "t.b", fd, 0, 3, &err), err);
    assert_ok(io_write_back(io, "t.b", fd, 0, 0, &err), err);
    assert_int_equal(fault_io_calls(faults, "t.b", "write_back"), 1);
    fault_io_fail(faults, "t.b", "write_back", 1, EIO, false);
    assert_ec(io_write_back(io, "t.b", fd, 0, 3, &err), EC_IO);
    assert_int_equal(fault_io_calls(faults, "t.b", "write_back"), 2);
    assert_ok(io_close(io, "t.c", fd, &err), err);
    assert_ec(io_write_back(io, "t.b", -1, 0, 3, &err), EC_IO);
}

static void test_io_close__ignores_interruption(void **state)
{
    (void)state;
    int fd = file_new("a");
    fault_io_fail(faults, NULL, "close", 1, EINTR, false);
    assert_ok(io_close(io, "t.c", fd, &err), err);
    assert_int_equal(fault_io_calls(faults, NULL, "close"), 1);
    fd = file_new("a");
    fault_io_fail(faults, NULL, "close", 1, EIO, false);
    assert_ec(io_close(io, "t.c", fd, &err), EC_IO);
    assert_int_equal(fcntl(fd, F_GETFD), -1); /* closed all the same */
}

static void test_io_mkdir_all__makes_parents_and_accepts_existing(void **state)
{
    (void)state;
    struct io_stat st;
    const char *deep = tmpdir_path(dir, "a/b//c");
    assert_ok(io_mkdir_all(io, "t", deep, &err), err);
    assert_ok(io_mkdir_all(io, "t", deep, &err), err);
    assert_ok(io_stat(io, "t", deep, &st, &err), err);
    assert_true(st.is_dir);
    assert_ok(io_mkdir_all(io, "t", tmpdir_path(dir, "d/"), &err), err);
    int fd = file_new("file");
    assert_ok(io_close(io, "t", fd, &err), err);
    assert_ec(io_mkdir(io, "t", tmpdir_path(dir, "file"), &err), EC_IO);
    assert_ec(io_mkdir_all(io, "t", tmpdir_path(dir, "file/x"), &err), EC_IO);
    assert_int_equal(symlink(tmpdir_path(dir, "a"), tmpdir_path(dir, "link")), 0);
    assert_ok(io_mkdir_all(io, "t", tmpdir_path(dir, "link/x"), &err), err);
    assert_ec(io_mkdir_all(io, "t", "", &err), EC_NOT_FOUND);
}

static void test_io_list__sorts_names(void **state)
{
    (void)state;
    struct io_names names = {0};
    assert_ok(io_list(io, "t", dir, &names, &err), err);
    assert_int_equal(names.n, 0);
    io_names_free(&names);
    for (const char *const *name = (const char *const[]){"b", "a", ".hid", "c", NULL};
         *name != NULL; name++)
        assert_ok(io_mkdir(io, "t", tmpdir_path(dir, *name), &err), err);
    assert_ok(io_list(io, "t", dir, &names, &err), err);
    assert_int_equal(names.n, 4);
    assert_string_equal(names.p[0], ".hid");
    assert_string_equal(names.p[1], "a");
    assert_string_equal(names.p[3], "c");
    io_names_free(&names);
    io_names_free(&names);
    fault_io_fail(faults, NULL, "list", 1, EIO, false);
    assert_ec(io_list(io, "t", dir, &names, &err), EC_IO);
}

static void test_io_remove_tree__does_not_follow_links(void **state)
{
    (void)state;
    struct io_stat st;
    assert_ok(io_mkdir_all(io, "t", tmpdir_path(dir, "keep"), &err), err);
    int fd = file_new("keep/file");
    assert_ok(io_close(io, "t", fd, &err), err);
    assert_ok(io_mkdir_all(io, "t", tmpdir_path(dir, "gone/x/y"), &err), err);
    fd = file_new("gone/x/file");
    assert_ok(io_close(io, "t", fd, &err), err);
    assert_int_equal(symlink("../keep", tmpdir_path(dir, "gone/link")), 0);
    assert_ok(io_remove_tree(io, "t", tmpdir_path(dir, "gone"), &err), err);
    assert_ec(io_stat(io, "t", tmpdir_path(dir, "gone"), &st, &err), EC_NOT_FOUND);
    assert_ok(io_stat(io, "t", tmpdir_path(dir, "keep/file"), &st, &err), err);
}

static void test_io_remove_tree__reports_every_failure(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        ASSERT(n < 100);
        assert_ok(io_mkdir_all(&io_real, "t", tmpdir_path(dir, "gone/x/y"), &err), err);
        fault_io_clear(faults);
        fault_io_fail(faults, NULL, NULL, n, EIO, false);
        enum ec ec = io_remove_tree(io, "t", tmpdir_path(dir, "gone"), &err);
        if (fault_io_fired(faults) == 0) {
            assert_int_equal(ec, EC_OK);
            break;
        }
        assert_int_equal(ec, EC_IO);
    }
}

static void test_io_space__is_plausible(void **state)
{
    (void)state;
    uint64_t avail = 1, total = 0;
    assert_ok(io_space(io, "t", dir, &avail, &total, &err), err);
    assert_true(avail <= total);
    assert_true(total > 0);
    assert_ok(io_fsync_dir(io, "t", dir, &err), err);
}

static void test_fault_io__records_and_counts(void **state)
{
    (void)state;
    struct fault_io_call call;
    char back[2];
    int fd = file_new("a");
    assert_ok(io_pwrite(io, "t.w", fd, "ab", 2, 0, &err), err);
    fault_io_fail(faults, "t.r", "pread", 2, FAULT_IO_FLIP, false);
    assert_ok(io_pread(io, "t.r", fd, back, 2, 0, &err), err);
    assert_memory_equal(back, "ab", 2);
    assert_ok(io_pread(io, "t.r", fd, back, 2, 0, &err), err);
    assert_memory_equal(back, "qb", 2);
    assert_int_equal(fault_io_calls(faults, NULL, NULL), 4);
    assert_true(fault_io_call_at(faults, 0, &call));
    assert_string_equal(call.op, "open");
    assert_string_equal(call.path, tmpdir_path(dir, "a"));
    assert_true(fault_io_call_at(faults, 1, &call));
    assert_int_equal(call.fd, fd);
    assert_false(fault_io_call_at(faults, 4, &call));
    assert_ok(io_close(io, "t.c", fd, &err), err);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_io__reads_back_what_it_wrote),
        TEST(test_io_pread__short_file_is_corrupt),
        TEST(test_io__maps_errno_to_codes),
        TEST(test_io__missing_names_are_not_found),
        TEST(test_io__continues_short_and_interrupted_transfers),
        TEST(test_io_pwrite__gives_up_when_nothing_goes_three_times),
        TEST(test_io_fsync__is_not_repeated_after_a_failure),
        TEST(test_io_write_back__is_no_sync_but_its_error_counts),
        TEST(test_io_close__ignores_interruption),
        TEST(test_io_mkdir_all__makes_parents_and_accepts_existing),
        TEST(test_io_list__sorts_names),
        TEST(test_io_remove_tree__does_not_follow_links),
        TEST(test_io_remove_tree__reports_every_failure),
        TEST(test_io_space__is_plausible),
        TEST(test_fault_io__records_and_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
