/* SPDX-License-Identifier: Apache-2.0
 * The file of user-configurable overrides: versions, failures while it is replaced, damage. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fault_io.h"
#include "gateway/user_limits.h"
#include "tmpdir.h"
#include "unit.h"

static char *dir;

static int setup(void **state)
{
    (void)state;
    dir = tmpdir_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tmpdir_free(dir);
    return 0;
}

static struct user_limits *open_at(struct io *io)
{
    struct user_limits *u = NULL;
    struct err err = {0};
    assert_ok(user_limits_open(io, dir, &u, &err), err);
    return u;
}

/* The text, or "" when there is none. */
static void assert_has(
    struct user_limits *u, const char *tenant, const char *json, uint64_t version)
{
    struct user_limits_entry e = {.json = STR("")};
    struct arena arena;
    struct err err = {0};
    arena_init(&arena, NULL, 0);
    enum ec ec = user_limits_get(u, str_from(tenant), &arena, &e, &err);
    assert_int_equal(ec, json[0] == 0 ? EC_NOT_FOUND : EC_OK);
    assert_true(str_eqz(e.json, json));
    assert_int_equal(e.version, version);
    arena_deinit(&arena);
}

static void test_user_limits__versions(void **state)
{
    struct user_limits *u = open_at(&io_real);
    struct err err = {0};
    uint64_t v = 99;
    (void)state;
    assert_ec(user_limits_set(u, STR("a"), 1, STR("{}"), &v, &err), EC_CONFLICT);
    assert_int_equal(v, 99);
    assert_ok(user_limits_set(u, STR("a"), 0, STR("{}"), &v, &err), err);
    assert_int_equal(v, 1);
    assert_ok(user_limits_set(u, STR("b"), 0, STR("{\n}"), &v, &err), err);
    assert_int_equal(v, 2);
    assert_ec(user_limits_set(u, STR("a"), 0, STR("{}"), &v, &err), EC_CONFLICT);
    assert_ec(user_limits_set(u, STR("a"), 2, STR("{}"), &v, &err), EC_CONFLICT);
    assert_ok(user_limits_set(u, STR("a"), 1, STR("[]"), &v, &err), err);
    assert_int_equal(v, 3);
    assert_ec(user_limits_remove(u, STR("c"), 0, &err), EC_NOT_FOUND);
    assert_ec(user_limits_remove(u, STR("a"), 1, &err), EC_CONFLICT);
    assert_ok(user_limits_remove(u, STR("a"), 3, &err), err);
    user_limits_free(u);
    u = open_at(&io_real);
    assert_has(u, "a", "", 0);
    assert_has(u, "b", "{\n}", 2);
    assert_ok(user_limits_set(u, STR("a"), 0, STR("{}"), &v, &err), err);
    assert_int_equal(v, 4); /* also after a restart none comes twice */
    user_limits_free(u);
}

/* Whatever call fails: the answer says so, and memory and file hold what was there before. */
static void test_user_limits__failures_change_nothing(void **state)
{
    static const char *const sites[] = {"user_limits.create", "user_limits.write",
        "user_limits.sync", "user_limits.write_close", "user_limits.rename"};
    struct err err = {0};
    uint64_t v;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sites); i++) {
        struct fault_io *f = fault_io_new(NULL);
        struct user_limits *u = open_at(fault_io_io(f));
        if (i == 0)
            assert_ok(user_limits_set(u, STR("a"), 0, STR("{}"), &v, &err), err);
        fault_io_fail(f, sites[i], NULL, 1, EIO, false);
        assert_int_not_equal(user_limits_set(u, STR("a"), 1, STR("[]"), &v, &err), EC_OK);
        assert_int_equal(fault_io_fired(f), 1);
        assert_has(u, "a", "{}", 1);
        user_limits_free(u);
        u = open_at(&io_real);
        assert_has(u, "a", "{}", 1);
        user_limits_free(u);
        fault_io_free(f);
    }
}

/* Every byte counts: one that is changed, or a file cut short, is damage, never other limits. */
static void test_user_limits__damage_is_set_aside(void **state)
{
    struct user_limits *u = open_at(&io_real);
    struct err err = {0};
    char path[300], text[400];
    uint64_t v;
    (void)state;
    assert_ok(user_limits_set(u, STR("a"), 0, STR("{\"x\":1}"), &v, &err), err);
    user_limits_free(u);
    snprintf(path, sizeof(path), "%s/user-limits", dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof(text));
    close(fd);
    assert_in_range(n, 40, sizeof(text) - 1);
    for (ssize_t i = 0; i < 2 * n; i++) {
        char damaged[400];
        memcpy(damaged, text, (size_t)n);
        if (i < n)
            damaged[i] ^= 1;
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_int_equal(write(fd, damaged, (size_t)(i < n ? n : i - n)), i < n ? n : i - n);
        close(fd);
        u = open_at(&io_real);
        assert_has(u, "a", "", 0);
        user_limits_free(u);
        assert_int_equal(access(path, F_OK), -1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_user_limits__versions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_user_limits__failures_change_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_user_limits__damage_is_set_aside, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
