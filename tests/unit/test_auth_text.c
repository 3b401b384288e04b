/* SPDX-License-Identifier: Apache-2.0
 * Small texts from outside: base64url, cookies, words, paths; and JSON against its caps. */
#include "src/auth/json.h"
#include "src/auth/text.h"
#include "unit.h"

static void test_base64url__is_canonical(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "A", "AB", "Zh", "Zm9", "AAA=", "AA==", "A+A", "A/A", "A A", "AAAAA", "\xc3\xa9"};
    uint8_t out[64];
    size_t n;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (base64url_decode(out, &n, str_from(bad[i])))
            fail_msg("decoded: %s", bad[i]);
    assert_true(base64url_decode(out, &n, STR("")));
    assert_int_equal(n, 0);
    for (size_t len = 0; len < 40; len++) {
        struct buf b = BUF_INIT;
        uint8_t in[40];
        random_bytes(in, sizeof(in));
        base64url_put(&b, bytes_n(in, len));
        assert_true(base64url_decode(out, &n, buf_str(&b)));
        assert_int_equal(n, len);
        assert_memory_equal(in, out, len);
        buf_deinit(&b);
    }
}

static void test_cookie__is_found_by_its_whole_name(void **state)
{
    (void)state;
    static const struct {
        const char *header, *value; /* NULL: absent */
    } cases[] = {
        {"", NULL},
        {"n", NULL},
        {"n=", ""},
        {"n=v", "v"},
        {"xn=1; n=v", "v"},
        {"n=1;n=2", "1"},
        {" a=b ;  n = v ; c=d", "v"},
        {"n=\"q\"", "q"},
        {"n=a=b", "a=b"},
        {"nn=1; N=2", NULL},
        {"a=n=v", NULL},
        {";;;n=v", "v"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str v = STR("?");
        bool found = cookie_find(str_from(cases[i].header), STR("n"), &v);
        if (found != (cases[i].value != NULL) || (found && !str_eqz(v, cases[i].value)))
            fail_msg("%s: " STR_FMT, cases[i].header, STR_ARG(v));
    }
    struct buf b = BUF_INIT;
    cookie_name_put(&b, STR("a b;=\xc3\xa9-_."));
    assert_str(buf_str(&b), "a%20b%3B%3D%C3%A9-_.");
    buf_deinit(&b);
}

static void test_words__are_exactly_two(void **state)
{
    (void)state;
    static const char *const bad[] = {"", " ", "a", "a ", " a", "a  b", "a b ", "a b c"};
    struct str a, b;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (two_words(str_from(bad[i]), &a, &b))
            fail_msg("two words: \"%s\"", bad[i]);
    assert_true(two_words(STR("Bearer x.y"), &a, &b));
    assert_str(a, "Bearer");
    assert_str(b, "x.y");
}

static void test_path__stays_here(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "x", "//x", "/\\x", "/a\\b", "/a b", "/a\n", "http://x", "/\x7f", "/\xc3\xa9"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (path_is_local(str_from(bad[i])))
            fail_msg("local: %s", bad[i]);
    assert_true(path_is_local(STR("/")));
    assert_true(path_is_local(STR("/api/traces/v1/dev/search?x=%20&y#z")));
    assert_false(token_plausible(STR("")));
    assert_false(token_plausible(STR("a b")));
    assert_true(token_plausible(STR("sha256~x")));
}

static void test_hash__tells_lists_apart(void **state)
{
    (void)state;
    struct digest a, b, c;
    const struct bytes one[] = {bytes_n("ab", 2), bytes_n("c", 1)};
    const struct bytes two[] = {bytes_n("a", 1), bytes_n("bc", 2)};
    keyed_hash(one, 2, &a);
    keyed_hash(two, 2, &b);
    keyed_hash(one, 2, &c);
    assert_memory_not_equal(a.b, b.b, sizeof(a.b));
    assert_memory_equal(a.b, c.b, sizeof(a.b));
    assert_true(secret_eq(STR("abc"), STR("abc")));
    assert_false(secret_eq(STR("abc"), STR("abd")));
    assert_false(secret_eq(STR("abc"), STR("ab")));
    assert_true(secret_eq(STR(""), STR("")));
}

static void test_json__caps(void **state)
{
    (void)state;
    json_t *v;
    struct err err = {0};
    struct str s;
    int64_t n;
    static const char *const bad[] = {"", "[]", "1", "{\"a\":1,\"a\":2}", "{\"a\":\"\\u0000\"}",
        "{\"a\":99999999999999999999}", "{} x", "{\"a\":\"\xff\"}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_ec(json_parse(str_from(bad[i]), 100, &v, NULL), EC_INVALID);
    assert_ec(json_parse(STR("{\"a\":[1,2,3]}"), 4, &v, NULL), EC_INVALID);
    assert_ok(json_parse(STR("{\"a\":[1,2,3]}"), 5, &v, &err), err);
    json_wipe(v);
    assert_ok(json_parse(STR("{\"s\":\"],[{,\\\"\",\"i\":-7,\"f\":2.9,\"g\":-2.1,\"h\":1e30,"
                             "\"t\":true}"),
                  10, &v, &err),
        err);
    assert_true(json_text(v, "s", &s));
    assert_str(s, "],[{,\"");
    assert_false(json_text(v, "i", &s));
    assert_true(json_seconds(v, "i", &n) && n == -7);
    assert_true(json_seconds(v, "f", &n) && n == 2);
    assert_true(json_seconds(v, "g", &n) && n == -3);
    assert_false(json_seconds(v, "h", &n));
    assert_false(json_seconds(v, "t", &n));
    assert_false(json_seconds(v, "absent", &n));
    json_wipe(v);
    struct buf b = BUF_INIT;
    json_put_str(&b, str_n("a\"\\\n\0z", 6));
    assert_str(buf_str(&b), "\"a\\\"\\\\\\u000a\\u0000z\"");
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_base64url__is_canonical),
        cmocka_unit_test(test_cookie__is_found_by_its_whole_name),
        cmocka_unit_test(test_words__are_exactly_two),
        cmocka_unit_test(test_path__stays_here),
        cmocka_unit_test(test_hash__tells_lists_apart),
        cmocka_unit_test(test_json__caps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
