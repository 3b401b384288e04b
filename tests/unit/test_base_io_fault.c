/* SPDX-License-Identifier: Apache-2.0
 * Faults and kill points from the environment. The file under test is compiled into this program
 * with the fault points on, whatever the build has; each case runs in a child, since a plan is read
 * once per process and may kill.
 */
#undef VIVACE_FAULT_POINTS
#define VIVACE_FAULT_POINTS
#include <fcntl.h>
#include <sys/wait.h>

#include "../../src/base/io_fault.c"
#include "tmpdir.h"
#include "unit.h"

/* Runs the scenario in a child with the two variables set; returns its wait status. */
static int in_child(const char *fault, const char *crash, int (*scenario)(const char *dir))
{
    char *dir = tmpdir_new();
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        close(STDERR_FILENO);
        (void)!open("/dev/null", O_WRONLY);
        (fault != NULL) ? setenv("VIVACE_FAULT", fault, 1) : unsetenv("VIVACE_FAULT");
        (crash != NULL) ? setenv("CRASH_AT", crash, 1) : unsetenv("CRASH_AT");
        _exit(scenario(dir));
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    tmpdir_free(dir);
    return status;
}

/* Three writes at two sites: bit i of the exit status is set when write i failed. */
static int three_writes(const char *dir)
{
    struct io *io = io_from_environment();
    int fd, bits = 0;
    if (io_open(io, "t.open", tmpdir_path(dir, "f"), O_RDWR | O_CREAT, 0600, &fd, NULL) != EC_OK)
        return 64;
    bits |= io_pwrite(io, "t.a", fd, "ab", 2, 0, NULL) != EC_OK ? 1 : 0;
    bits |= io_pwrite(io, "t.b", fd, "ab", 2, 0, NULL) != EC_OK ? 2 : 0;
    bits |= io_pwrite(io, "t.a", fd, "ab", 2, 0, NULL) != EC_OK ? 4 : 0;
    bits |= io_close(io, "t.close", fd, NULL) != EC_OK ? 8 : 0;
    return bits;
}

static void check_exit(const char *fault, int expected)
{
    int status = in_child(fault, NULL, three_writes);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != expected)
        fail_msg("%s: status %#x, expected exit %d", fault, status, expected);
}

static void test_fault__fails_the_nth_call(void **state)
{
    (void)state;
    check_exit("t.a:pwrite:1:EIO", 1);
    check_exit("t.a:pwrite:2:ENOSPC:once", 4);
    check_exit("t.a:pwrite:1:28:ever", 5);
    check_exit("*:pwrite:2:EIO:ever", 6);
    check_exit("t.close:close:1:EIO", 8);
    check_exit("t.open:*:1:EMFILE", 64);
    check_exit("t.a:pwrite:1:EIO, t.b:*:1:EIO", 3);
    check_exit("t.a:pwrite:3:EIO", 0);
    check_exit("t.a:pread:1:EIO", 0);
    check_exit("*:*:2:EINTR", 0);
    check_exit("t.a:pwrite:1:SHORT:ever", 0);
}

static void test_fault__malformed_plan_stops_the_program(void **state)
{
    (void)state;
    static const char *const plans[] = {"t.a", "t.a:pwrite", "t.a:pwrite:0:EIO", "t.a:pwrite:x:EIO",
        "t.a:pwrite:1:EWHAT", "t.a:write:1:EIO", "t.a:pwrite:1:EIO:never", ":pwrite:1:EIO",
        "t.a:pwrite:1:0"};
    for (size_t i = 0; i < ARRAY_LEN(plans); i++)
        if (!WIFSIGNALED(in_child(plans[i], NULL, three_writes)))
            fail_msg("%s: accepted", plans[i]);
    assert_true(WIFSIGNALED(in_child(NULL, "t.a:0", three_writes)));
    assert_true(WIFSIGNALED(in_child(NULL, ":1", three_writes)));
}

static void test_kill__dies_just_after_the_nth_call(void **state)
{
    (void)state;
    int status = in_child(NULL, "t.a:2", three_writes);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    status = in_child(NULL, "t.close", three_writes);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    status = in_child(NULL, "t.a:3", three_writes);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Each operation goes through, and can be failed by name. */
static int all_ops(const char *dir)
{
    struct io *io = io_from_environment();
    struct io_names names = {0};
    struct io_stat st;
    uint64_t avail, total;
    bool linked;
    int fd = -1, n_bad = 0;
    char back[1];
    const char *path = tmpdir_path(dir, "f"), *moved = tmpdir_path(dir, "g");
    if (io_mkdir(io, "t", tmpdir_path(dir, "d"), NULL) != EC_OK) {
        n_bad++;
        ASSERT(io_mkdir(&io_real, "t", tmpdir_path(dir, "d"), NULL) == EC_OK);
    }
    n_bad += io_open(io, "t", path, O_RDWR | O_CREAT, 0600, &fd, NULL) != EC_OK;
    if (fd < 0)
        fd = open(path, O_RDWR | O_CREAT, 0600);
    n_bad += io_pwrite(io, "t", fd, "a", 1, 0, NULL) != EC_OK;
    n_bad += io_fallocate(io, "t", fd, 0, 10, NULL) != EC_OK;
    n_bad += io_write_back(io, "t", fd, 0, 10, NULL) != EC_OK;
    n_bad += io_ftruncate(io, "t", fd, 10, NULL) != EC_OK;
    n_bad += io_pread(io, "t", fd, back, 1, 0, NULL) != EC_OK;
    n_bad += io_fdatasync(io, "t", fd, NULL) != EC_OK;
    n_bad += io_fsync(io, "t", fd, NULL) != EC_OK;
    n_bad += io_fstat(io, "t", fd, &st, NULL) != EC_OK;
    n_bad += io_stat(io, "t", path, &st, NULL) != EC_OK;
    n_bad += io_list(io, "t", dir, &names, NULL) != EC_OK;
    io_names_free(&names);
    n_bad += io_space(io, "t", dir, &avail, &total, NULL) != EC_OK;
    n_bad += io_close(io, "t", fd, NULL) != EC_OK;
    if (io_rename(io, "t", path, moved, NULL) != EC_OK) {
        n_bad++;
        (void)rename(path, moved);
    }
    n_bad += io_link(io, "t", moved, path, &linked, NULL) != EC_OK;
    n_bad += io_unlink(io, "t", moved, NULL) != EC_OK;
    n_bad += io_rmdir(io, "t", tmpdir_path(dir, "d"), NULL) != EC_OK;
    return n_bad;
}

static void test_fault__every_operation_is_wrapped(void **state)
{
    (void)state;
    int status = in_child("none:*:1:EIO", NULL, all_ops);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
#define X(name)                                            \
    status = in_child("t:" #name ":1:EIO", NULL, all_ops); \
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 1)    \
        fail_msg("%s: status %#x", #name, status);
    OP_TABLE(X)
#undef X
}

static int is_real(const char *dir)
{
    (void)dir;
    return io_from_environment() == &io_real ? 0 : 1;
}

static void test_fault__without_plans_files_are_real(void **state)
{
    (void)state;
    assert_int_equal(in_child(NULL, NULL, is_real), 0);
    assert_int_equal(in_child("", "", is_real), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fault__fails_the_nth_call),
        cmocka_unit_test(test_fault__malformed_plan_stops_the_program),
        cmocka_unit_test(test_kill__dies_just_after_the_nth_call),
        cmocka_unit_test(test_fault__every_operation_is_wrapped),
        cmocka_unit_test(test_fault__without_plans_files_are_real),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
