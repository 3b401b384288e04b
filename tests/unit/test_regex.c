/* SPDX-License-Identifier: Apache-2.0
 * The RE2 shim: anchoring, newline, UTF-8, refusals. */
#include <stdlib.h>

#include "base/buf.h"
#include "query/regex.h"
#include "unit.h"

static bool match(const char *pattern, struct str text)
{
    struct regex *re;
    struct err err;
    assert_ok(regex_new(str_from(pattern), &re, &err), err);
    bool m = regex_match(re, text);
    assert_in_range(regex_memory(re), 1, 2u << 20);
    regex_free(re);
    return m;
}

static void test_regex__is_anchored_on_both_ends(void **state)
{
    (void)state;
    assert_false(match("b", STR("abc")));
    assert_true(match(".*b.*", STR("abc")));
    assert_true(match("a|abc", STR("abc")));
    assert_false(match("a|bc", STR("abc")));
    assert_true(match("^abc$", STR("abc")));
    assert_false(match("abc", STR("abc\n")));
    assert_true(match("", STR("")));
    assert_true(match("", (struct str){NULL, 0}));
    assert_false(match("", STR("x")));
}

static void test_regex__dot_matches_newline(void **state)
{
    (void)state;
    assert_true(match("a.b", STR("a\nb")));
    assert_true(match("(?i)GET.*", STR("get /x")));
    assert_false(match("GET.*", STR("get /x")));
    assert_true(match("\\d{3}\\s+\\S+", STR("404  nope")));
}

static void test_regex__text_is_utf8(void **state)
{
    (void)state;
    assert_true(match(".", STR("\xc3\xa9")));
    assert_true(match("\\p{L}+", STR("\xc3\xa9t\xc3\xa9")));
    assert_false(match(".", STR("\xff")));
    assert_false(match("a.*", STR("a\xc3")));
    assert_true(match("a.b", str_n("a\0b", 3)));
}

static void test_regex__refuses_what_does_not_compile(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "(", "a**", "[z-a]", "(?=x)", "\\1", "(?<!x)y", "\\8", "\xff", "((a{100}){100}){100}"};
    struct regex *re;
    struct err err;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_ec(regex_new(str_from(bad[i]), &re, &err), EC_INVALID);
        assert_true(err.msg[0] != 0);
        assert_ec(regex_new(str_from(bad[i]), &re, NULL), EC_INVALID);
    }
    regex_free(NULL);
}

static void test_regex__a_thousand_names_compile(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct regex *re;
    struct err err;
    for (int i = 0; i < 1000; i++)
        buf_printf(&b, "%s/api/v%d/resource-%d/[a-z]+", i == 0 ? "" : "|", i * 7919 % 10, i);
    assert_ok(regex_new(buf_str(&b), &re, &err), err);
    assert_true(regex_match(re, STR("/api/v0/resource-0/abc")));
    assert_false(regex_match(re, STR("/api/v0/resource-0/ABC")));
    regex_free(re);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_regex__is_anchored_on_both_ends),
        cmocka_unit_test(test_regex__dot_matches_newline),
        cmocka_unit_test(test_regex__text_is_utf8),
        cmocka_unit_test(test_regex__refuses_what_does_not_compile),
        cmocka_unit_test(test_regex__a_thousand_names_compile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
