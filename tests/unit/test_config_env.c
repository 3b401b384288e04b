/* SPDX-License-Identifier: Apache-2.0
 * ${VAR} expansion: every form, and what must stay as it is. */
#include "config_util.h"
#include "src/config/doc.h"

static void assert_expands(const char *in, const char *expected)
{
    struct buf out = BUF_INIT;
    struct err err = {0};
    if (env_expand(str_from(in), &out, &err) != EC_OK)
        fail_msg("%s: %s", in, err_msg(&err));
    buf_putc(&out, 0);
    assert_string_equal((char *)out.p, expected);
    buf_deinit(&out);
}

static void assert_refused(const char *in, const char *part)
{
    struct buf out = BUF_INIT;
    struct err err = {0};
    assert_int_equal(env_expand(str_from(in), &out, &err), EC_INVALID);
    assert_has(err_msg(&err), part);
    buf_deinit(&out);
}

static void test_env__forms(void **state)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"${CT_V}", "hello.World"},
        {"a${CT_V}b${CT_V}", "ahello.Worldbhello.World"},
        {"${CT_NOPE}", ""},
        {"${CT_NOPE:-x y}", "x y"},
        {"${CT_NOPE:=x}", "x"},
        {"${CT_NOPE=x}", "x"},
        {"${CT_EMPTY:-x}", "x"},
        {"${CT_V:-x}", "hello.World"},
        {"${CT_NOPE:-}", ""},
        {"${#CT_V}", "11"},
        {"${#CT_NOPE}", "0"},
        {"${CT_V:6}", "World"},
        {"${CT_V:0:5}", "hello"},
        {"${CT_V:99}", ""},
        {"${CT_V:1:99}", "ello.World"},
        {"${CT_V^}", "Hello.World"},
        {"${CT_V^^}", "HELLO.WORLD"},
        {"${CT_U,}", "hELLO"},
        {"${CT_U,,}", "hello"},
        {"${CT_P#*/}", "b/c.tar.gz"},
        {"${CT_P##*/}", "c.tar.gz"},
        {"${CT_P%.*}", "a/b/c.tar"},
        {"${CT_P%%.*}", "a/b/c"},
        {"${CT_P#nope}", "a/b/c.tar.gz"},
        {"${CT_V/l/L}", "heLlo.World"},
        {"${CT_V//l/L}", "heLLo.WorLd"},
        {"${CT_V/#h/J}", "Jello.World"},
        {"${CT_V/%d/t}", "hello.Worlt"},
        {"${CT_V//l}", "heo.Word"},
        {"$CT_V $(CT_V)", "$CT_V $(CT_V)"},
        {"$$", "$"},
        {"$${CT_V}", "${CT_V}"},
        {"a\\\\b\\/c\\n", "a\\b/c\\n"},
        {"price: 5$", "price: 5$"},
        {"", ""},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_expands(rows[i].in, rows[i].out);
}

static void test_env__mistakes(void **state)
{
    (void)state;
    assert_refused("${CT_NOPE-x}", "missing closing brace");
    assert_refused("a: ${CT_V", "missing closing brace");
    assert_refused("${", "missing closing brace");
    assert_refused("${}", "bad substitution");
    assert_refused("${CT_V:x}", "bad substitution");
    assert_refused("${CT_V^^x}", "bad substitution");
}

static void test_env__growth_is_bounded(void **state)
{
    struct buf in = BUF_INIT, out = BUF_INIT;
    struct err err = {0};
    (void)state;
    for (int i = 0; i < 100; i++)
        buf_putz(&in, "${CT_BIG}");
    assert_int_equal(env_expand(buf_str(&in), &out, &err), EC_TOO_LARGE);
    buf_deinit(&in);
    buf_deinit(&out);
}

static void test_env__is_off_until_asked_for(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, LOCAL "http_api_prefix: ${CT_U}\n");
    assert_loads(&l);
    assert_string_equal(l.c->http_api_prefix, "/${CT_U}");
    loaded_free(&l);
    LOAD(&l, LOCAL "http_api_prefix: /${CT_U}\n", "-config.expand-env=true");
    assert_loads(&l);
    assert_string_equal(l.c->http_api_prefix, "/HELLO");
    loaded_free(&l);
    ASSERT_FAILS(1, "failed to expand env vars from configFile", LOCAL "target: ${CT_U-x}\n",
        "-config.expand-env");
    ASSERT_FAILS(1, "missing closing brace", LOCAL "target: ${CT_U-x}\n", "-config.expand-env");
}

static void test_env__values_are_text_before_yaml(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, LOCAL "${CT_YAML}\n", "-config.expand-env");
    assert_loads(&l);
    assert_int_equal(l.c->server.http_listen_port, 3111);
    loaded_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_env__forms),
        cmocka_unit_test(test_env__mistakes),
        cmocka_unit_test(test_env__growth_is_bounded),
        cmocka_unit_test(test_env__is_off_until_asked_for),
        cmocka_unit_test(test_env__values_are_text_before_yaml),
    };
    static char big[100000];
    memset(big, 'x', sizeof(big) - 1);
    setenv("CT_V", "hello.World", 1);
    setenv("CT_U", "HELLO", 1);
    setenv("CT_EMPTY", "", 1);
    setenv("CT_P", "a/b/c.tar.gz", 1);
    setenv("CT_BIG", big, 1);
    setenv("CT_YAML", "server:\n  http_listen_port: 3111", 1);
    unsetenv("CT_NOPE");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
