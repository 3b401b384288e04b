/* SPDX-License-Identifier: Apache-2.0
 * Query parameters: grammars and the texts that clients see. */
#include "../../src/api/params.h"
#include "base/clock.h"
#include "unit.h"

static void test_params__unsigned(void **state)
{
    uint64_t v = 7;
    struct err err = {0};
    (void)state;
    assert_ok(param_uint(STR("4294967295"), "invalid start", 32, &v, &err), err);
    assert_int_equal(v, 4294967295u);
    assert_ec(param_uint(STR("4294967296"), "invalid start", 32, &v, &err), EC_INVALID);
    assert_string_equal(err_msg(&err),
        "invalid start: strconv.ParseUint: parsing \"4294967296\": value out of range");
    assert_ec(param_uint(STR("-1"), "invalid end", 32, &v, &err), EC_INVALID);
    assert_string_equal(
        err_msg(&err), "invalid end: strconv.ParseUint: parsing \"-1\": invalid syntax");
    assert_ec(param_uint(STR("99999999999999999999"), "x", 64, &v, &err), EC_INVALID);
    assert_int_equal(v, 4294967295u); /* outputs are written only on success */
}

static void test_params__signed(void **state)
{
    int64_t v;
    struct err err = {0};
    (void)state;
    assert_ok(param_int(STR("-9223372036854775808"), "x", &v, &err), err);
    assert_true(v == INT64_MIN);
    assert_ec(param_int(STR("9223372036854775808"), "invalid start", &v, &err), EC_INVALID);
    assert_string_equal(err_msg(&err),
        "invalid start: strconv.ParseInt: parsing \"9223372036854775808\": value out of range");
    assert_ec(param_int(STR("abc"), "invalid start", &v, &err), EC_INVALID);
    assert_string_equal(
        err_msg(&err), "invalid start: strconv.ParseInt: parsing \"abc\": invalid syntax");
}

static void test_params__times(void **state)
{
    static const struct {
        const char *text;
        int64_t ns;
    } good[] = {
        {"1700000000", 1700000000 * NS_PER_S},
        {"1700000000.25", 1700000000 * NS_PER_S + 250 * NS_PER_MS},
        {"1700000000123456789", 1700000000123456789},
        {"2023-11-14T22:13:20Z", 1700000000 * NS_PER_S},
        {"2023-11-14T23:13:20.5+01:00", 1700000000 * NS_PER_S + 500 * NS_PER_MS},
        {"0", 0},
    };
    int64_t ns;
    struct err err = {0};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_ok(param_time(str_from(good[i].text), &ns, &err), err);
        assert_true(ns == good[i].ns);
    }
    static const char *const bad[] = {"abc", "", "2023-13-14T22:13:20Z", "2023-11-14", "1e400.0"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_ec(param_time(str_from(bad[i]), &ns, &err), EC_INVALID);
    assert_ec(param_time(STR("abc"), &ns, &err), EC_INVALID);
    assert_string_equal(err_msg(&err), "strconv.ParseInt: parsing \"abc\": invalid syntax");
}

static void test_params__durations(void **state)
{
    int64_t ns;
    struct err err = {0};
    (void)state;
    assert_ok(param_go_duration(STR("1h30m"), &ns, &err), err);
    assert_true(ns == 5400 * NS_PER_S);
    assert_ec(param_go_duration(STR("7d"), &ns, &err), EC_INVALID);
    assert_ec(param_go_duration(STR("10"), &ns, &err), EC_INVALID);
    assert_string_equal(err_msg(&err), "time: missing unit in duration \"10\"");
    assert_ok(param_prom_duration(STR("1d12h"), &ns, &err), err);
    assert_true(ns == 36 * 3600 * NS_PER_S);
    assert_ec(param_prom_duration(STR("1.5h"), &ns, &err), EC_INVALID);
}

static void logfmt(const char *text, size_t n, const char *key, const char *value, const char *bad)
{
    struct arena a;
    struct param_pair *p;
    size_t got;
    struct err err = {0};
    arena_init(&a, NULL, 0);
    enum ec ec = param_logfmt(str_from(text), &a, &p, &got, &err);
    if (bad != NULL) {
        assert_int_equal(ec, EC_INVALID);
        assert_string_equal(err_msg(&err), bad);
    } else {
        assert_int_equal(ec, EC_OK);
        assert_int_equal(got, n);
        assert_str(p[n - 1].key, key);
        assert_str(p[n - 1].value, value);
    }
    arena_deinit(&a);
}

static void test_params__logfmt(void **state)
{
    (void)state;
    logfmt("a=b", 1, "a", "b", NULL);
    logfmt("  a=b   c=\"d e\" ", 2, "c", "d e", NULL);
    logfmt("a=\"x\\\"y\"", 1, "a", "x\"y", NULL);
    logfmt("bare", 1, "bare", "", NULL);
    logfmt("a= b=c", 2, "b", "c", NULL);
    logfmt("a=b a=c", 0, NULL, NULL, "invalid tags: tag a has been set twice");
    logfmt("=b", 0, NULL, NULL, "invalid tags: unexpected '=' at pos 1");
    logfmt("a=\"b", 0, NULL, NULL, "invalid tags: unterminated quoted value at pos 5");
    logfmt("a=b=c", 0, NULL, NULL, "invalid tags: unexpected '=' at pos 4");
    logfmt("a\"b", 0, NULL, NULL, "invalid tags: unexpected '\"' at pos 2");
    logfmt("a=\"\"b=\"\"c=\"\"", 0, NULL, NULL, "invalid tags: unexpected 'b' at pos 5");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_params__unsigned),
        cmocka_unit_test(test_params__signed),
        cmocka_unit_test(test_params__times),
        cmocka_unit_test(test_params__durations),
        cmocka_unit_test(test_params__logfmt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
