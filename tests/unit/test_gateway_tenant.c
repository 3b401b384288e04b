/* SPDX-License-Identifier: Apache-2.0
 * Tenant ids: Tempo's rules and texts. */
#include "gateway/tenant.h"
#include "unit.h"

static void expect(const char *header, const char *id, const char *message)
{
    struct str got = {0};
    struct err err = {0};
    enum ec ec = tenant_one(str_from(header), &got, &err);
    if (message == NULL) {
        assert_int_equal(ec, EC_OK);
        assert_str(got, id);
    } else {
        assert_int_equal(ec, EC_INVALID);
        assert_string_equal(err_msg(&err), message);
    }
}

static void test_tenant__write_side(void **state)
{
    char longest[TENANT_ID_MAX + 2];
    (void)state;
    memset(longest, 'a', sizeof(longest) - 1);
    longest[TENANT_ID_MAX] = 0;
    expect("team-a", "team-a", NULL);
    expect("a!b-c_d.e*f'g(h)", "a!b-c_d.e*f'g(h)", NULL);
    expect("a|a", "a", NULL);
    expect("a:k=v", "a", NULL);
    expect("a|b", NULL, "multiple org IDs present");
    expect("", NULL, "no org id");
    expect("a|", NULL, "no org id");
    expect("..", NULL, "tenant ID is '.' or '..'");
    expect("a/b", NULL, "tenant ID 'a/b' contains unsupported character '/'");
    expect("a#b", NULL, "tenant ID 'a#b' contains unsupported character '#'");
    expect("t\xc3\xa9", NULL, "tenant ID 't\xc3\xa9' contains unsupported character '\xc3\xa9'");
    expect(longest, longest, NULL);
    longest[TENANT_ID_MAX] = 'a';
    longest[TENANT_ID_MAX + 1] = 0;
    expect(longest, NULL, "tenant ID is too long: max 150 characters");
}

static void test_tenant__read_side_sorts_and_dedupes(void **state)
{
    struct arena a;
    struct err err = {0};
    struct str *ids;
    size_t n;
    (void)state;
    arena_init(&a, NULL, 0);
    assert_ok(tenant_many(STR("b|a|b|c"), true, &a, &ids, &n, &err), err);
    assert_int_equal(n, 3);
    assert_str(ids[0], "a");
    assert_str(ids[1], "b");
    assert_str(ids[2], "c");
    assert_ec(tenant_many(STR("b|a"), false, &a, &ids, &n, &err), EC_INVALID);
    assert_string_equal(err_msg(&err), "multiple org IDs present");
    assert_ok(tenant_many(STR("b|b"), false, &a, &ids, &n, &err), err);
    assert_int_equal(n, 1);
    assert_ec(tenant_many(STR("a||b"), true, &a, &ids, &n, &err), EC_INVALID);
    assert_string_equal(err_msg(&err), "no org id");
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tenant__write_side),
        cmocka_unit_test(test_tenant__read_side_sorts_and_dedupes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
