/* SPDX-License-Identifier: Apache-2.0
 * YAML trees with their limits, YAML 1.1 scalars, durations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka wants the four above */
#include <cmocka.h>

#include "src/config/node.h"
#include "src/config/scalar.h"

static enum ec parse(struct arena *a, const char *text, struct node **ret, struct err *err)
{
    arena_init(a, NULL, 0);
    *ret = NULL;
    return node_parse(str_from(text), a, ret, err);
}

static void assert_refused(const char *text, const char *part)
{
    struct arena a;
    struct node *n;
    struct err err = {0};
    assert_int_not_equal(parse(&a, text, &n, &err), EC_OK);
    if (strstr(err_msg(&err), part) == NULL)
        fail_msg("\"%s\" is not in: %s", part, err_msg(&err));
    arena_deinit(&a);
}

static void test_node__keeps_lines_and_order(void **state)
{
    struct arena a;
    struct node *n;
    (void)state;
    assert_int_equal(parse(&a, "a: 1\nb:\n  c: [x, y]\n  d: 'q'\n", &n, NULL), EC_OK);
    assert_int_equal(n->kind, NODE_MAP);
    assert_int_equal(n->n, 2);
    struct node *c = node_at(n, "b.c");
    assert_non_null(c);
    assert_int_equal(c->kind, NODE_SEQ);
    assert_int_equal(c->n, 2);
    assert_int_equal(c->line, 3);
    assert_false(node_at(n, "b.d")->plain);
    assert_null(node_at(n, "b.c.d"));
    assert_null(node_at(n, "b.x"));
    arena_deinit(&a);
}

static void test_node__empty_texts_have_no_root(void **state)
{
    static const char *const texts[] = {"", "\n\n", "# only a comment\n"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct arena a;
        struct node *n;
        assert_int_equal(parse(&a, texts[i], &n, NULL), EC_OK);
        assert_null(n);
        arena_deinit(&a);
    }
}

static void test_node__only_the_first_document_counts(void **state)
{
    struct arena a;
    struct node *n;
    (void)state;
    assert_int_equal(parse(&a, "a: 1\n---\nb: 2\n", &n, NULL), EC_OK);
    assert_non_null(node_at(n, "a"));
    assert_null(node_at(n, "b"));
    arena_deinit(&a);
}

static void test_node__merge_yields_to_own_keys(void **state)
{
    struct arena a;
    struct node *n;
    (void)state;
    assert_int_equal(parse(&a,
                         "x: &x {p: 1, q: 2}\ny: &y {q: 3, r: 4}\n"
                         "one: {<<: *x, p: 9}\nmany: {<<: [*x, *y]}\nsame: *x\n",
                         &n, NULL),
        EC_OK);
    assert_true(str_eqz(node_at(n, "one.p")->s, "9"));
    assert_true(str_eqz(node_at(n, "one.q")->s, "2"));
    assert_true(str_eqz(node_at(n, "many.q")->s, "2"));
    assert_true(str_eqz(node_at(n, "many.r")->s, "4"));
    assert_ptr_equal(node_at(n, "same"), node_at(n, "x"));
    arena_deinit(&a);
}

static void test_node__mistakes_are_named(void **state)
{
    (void)state;
    assert_refused("a: b: c\n", "line 1: mapping values are not allowed in this context");
    assert_refused("a: 1\n\tb: 2\n", "line 2: ");
    assert_refused("a: *nope\n", "unknown anchor 'nope' referenced");
    assert_refused("a: &a [*a]\n", "anchor 'a' value contains itself");
    assert_refused("a: {<<: 3}\n", "map merge requires");
    assert_refused("[1]: 2\n", "invalid map key");
    assert_refused("a: [1\n", "line 2");
    assert_refused("a: \"\xff\xfe\"\n", "line");
}

static void test_node__depth_is_bounded(void **state)
{
    char text[400];
    struct arena a;
    struct node *n;
    (void)state;
    for (int depth = NODE_DEPTH_MAX - 1; depth <= NODE_DEPTH_MAX + 1; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        text[2 * depth] = 0;
        assert_int_equal(parse(&a, text, &n, NULL), depth <= NODE_DEPTH_MAX ? EC_OK : EC_LIMIT);
        arena_deinit(&a);
    }
}

static void test_node__number_of_nodes_is_bounded(void **state)
{
    (void)state;
    for (size_t items = NODE_WEIGHT_MAX - 2; items <= NODE_WEIGHT_MAX; items++) {
        struct buf b = BUF_INIT;
        struct arena a;
        struct node *n;
        buf_putc(&b, '[');
        for (size_t i = 0; i < items; i++)
            buf_putz(&b, "1,");
        buf_putz(&b, "]");
        arena_init(&a, NULL, 0);
        assert_int_equal(
            node_parse(buf_str(&b), &a, &n, NULL), items < NODE_WEIGHT_MAX ? EC_OK : EC_LIMIT);
        arena_deinit(&a);
        buf_deinit(&b);
    }
}

static void test_node__alias_bomb_is_refused(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    buf_putz(&b, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 9; i++) {
        buf_printf(&b, "a%d: &a%d [", i, i);
        for (int k = 0; k < 10; k++)
            buf_printf(&b, "*a%d,", i - 1);
        buf_putz(&b, "]\n");
    }
    buf_putc(&b, 0);
    assert_refused((char *)b.p, "excessive aliasing");
    buf_deinit(&b);
}

/* ---- scalars ---- */

static bool value_of(enum key_type type, const char *text, bool plain, struct value *v)
{
    char problem[PROBLEM_MAX];
    struct node n = {.kind = NODE_SCALAR, .plain = plain, .s = str_from(text)};
    return value_parse(type, &n, v, problem);
}

static void assert_problem(enum key_type type, const char *text, bool plain, const char *expected)
{
    char problem[PROBLEM_MAX];
    struct value v;
    struct node n = {.kind = NODE_SCALAR, .plain = plain, .s = str_from(text)};
    assert_false(value_parse(type, &n, &v, problem));
    assert_string_equal(problem, expected);
}

static void test_scalar__booleans_are_yaml_1_1(void **state)
{
    static const char *const yes[] = {"y", "Yes", "on", "ON", "true", "TRUE"};
    static const char *const no[] = {"n", "No", "off", "OFF", "false", "False"};
    struct value v;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(yes); i++)
        assert_true(value_of(KT_BOOL, yes[i], true, &v) && v.b);
    for (size_t i = 0; i < ARRAY_LEN(no); i++)
        assert_true(value_of(KT_BOOL, no[i], true, &v) && !v.b);
    assert_problem(KT_BOOL, "true", false, "cannot unmarshal !!str `true` into bool");
    assert_problem(KT_BOOL, "yEs", true, "cannot unmarshal !!str `yEs` into bool");
    assert_problem(KT_BOOL, "1", true, "cannot unmarshal !!int `1` into bool");
}

static void test_scalar__integers_in_all_forms(void **state)
{
    static const struct {
        const char *text;
        int64_t value;
    } good[] = {{"500_000", 500000}, {"0x100000", 1048576}, {"0b101", 5}, {"0o17", 15}, {"017", 15},
        {"+7", 7}, {"-7", -7}, {"1.5e+07", 15000000}, {"3200.5", 3200}, {"08", 8}, {"0", 0},
        {"9223372036854775807", INT64_MAX}, {"-9223372036854775808", INT64_MIN}};
    struct value v;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_true(value_of(KT_INT, good[i].text, true, &v));
        assert_int_equal(v.i, good[i].value);
    }
    assert_problem(KT_INT, "500000", false, "cannot unmarshal !!str `500000` into int");
    assert_problem(
        KT_INT, "9223372036854775808", true, "cannot unmarshal !!int `9223372...` into int");
    assert_problem(KT_INT, "1e300", true, "cannot unmarshal !!float `1e300` into int");
    assert_problem(KT_UINT64, "-1", true, "cannot unmarshal !!int `-1` into uint64");
    assert_problem(
        KT_UINT32, "4294967296", true, "cannot unmarshal !!int `4294967296` into uint32");
    assert_true(value_of(KT_UINT32, "4294967295", true, &v) && v.u == UINT32_MAX);
    assert_true(value_of(KT_UINT64, "18446744073709551615", true, &v) && v.u == UINT64_MAX);
}

static void test_scalar__strings_take_anything(void **state)
{
    struct value v;
    (void)state;
    assert_true(value_of(KT_STRING, "5", true, &v) && str_eqz(v.s, "5"));
    assert_true(value_of(KT_STRING, "yes", true, &v) && str_eqz(v.s, "yes"));
    assert_true(value_of(KT_STRING, "2025-01-01", true, &v) && str_eqz(v.s, "2025-01-01"));
    assert_true(value_of(KT_STRING, "null", true, &v) && v.s.n == 0);
    assert_true(value_of(KT_STRING, "null", false, &v) && str_eqz(v.s, "null"));
}

static void test_scalar__long_values_are_cut(void **state)
{
    (void)state;
    assert_problem(
        KT_DURATION, "1234567890", false, "cannot unmarshal !!str `1234567890` into time.Duration");
    assert_problem(KT_DURATION, "12345678901", false,
        "cannot unmarshal !!str `1234567...` into time.Duration");
}

static void test_scalar__durations(void **state)
{
    static const struct {
        const char *text;
        int64_t ns;
    } good[] = {{"1h30m", 5400000000000}, {"0.5h", 1800000000000}, {"-1s", -1000000000}, {"0", 0},
        {"1.5s", 1500000000}, {"100ms", 100000000}, {"2us", 2000}, {"3ns", 3}, {".5s", 500000000},
        {"1m1s1ms", 61001000000}, {"2562047h47m16.854775807s", INT64_MAX}};
    static const char *const bad[] = {
        "", "5x", "7d", "1", "h", "1h2", "1 h", "99999999999h", "--1s", "."};
    struct value v;
    int64_t ns;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_true(duration_parse_go(str_from(good[i].text), &ns));
        assert_int_equal(ns, good[i].ns);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(duration_parse_go(str_from(bad[i]), &ns));
    assert_true(value_of(KT_DURATION, "30", true, &v) && v.i == 30 && v.bare);
    assert_true(value_of(KT_DURATION, "0", true, &v) && v.i == 0 && !v.bare);
    assert_true(value_of(KT_DURATION, "30s", false, &v) && v.i == 30000000000 && !v.bare);
}

static void test_scalar__prometheus_durations(void **state)
{
    static const struct {
        const char *text;
        int64_t ns;
    } good[] = {{"7d", 604800000000000}, {"1w2d", 777600000000000}, {"1y", 31536000000000000},
        {"0", 0}, {"1h30m", 5400000000000}, {"15ms", 15000000}, {"0s", 0}};
    static const char *const bad[] = {"", "5", "1.5h", "1m1h", "1d1d", "-1s", "d", "300y", "1x"};
    int64_t ns;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_true(duration_parse_prom(str_from(good[i].text), &ns));
        assert_int_equal(ns, good[i].ns);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (duration_parse_prom(str_from(bad[i]), &ns))
            fail_msg("%s was accepted", bad[i]);
    assert_problem(KT_PROM, "30", true, "not a valid duration string: \"30\"");
}

static void test_scalar__durations_are_printed_as_go_does(void **state)
{
    static const struct {
        int64_t ns;
        const char *text;
    } rows[] = {{1209600000000000, "336h0m0s"}, {300000000000, "5m0s"}, {1500000000, "1.5s"},
        {100000000, "100ms"}, {0, "0s"}, {1, "1ns"}, {1500, "1.5\xc2\xb5s"}, {-1000000000, "-1s"},
        {60000000000, "1m0s"}, {INT64_MAX, "2562047h47m16.854775807s"},
        {INT64_MIN, "-2562047h47m16.854775808s"}};
    char text[40];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        duration_format_go(rows[i].ns, text);
        assert_string_equal(text, rows[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_node__keeps_lines_and_order),
        cmocka_unit_test(test_node__empty_texts_have_no_root),
        cmocka_unit_test(test_node__only_the_first_document_counts),
        cmocka_unit_test(test_node__merge_yields_to_own_keys),
        cmocka_unit_test(test_node__mistakes_are_named),
        cmocka_unit_test(test_node__depth_is_bounded),
        cmocka_unit_test(test_node__number_of_nodes_is_bounded),
        cmocka_unit_test(test_node__alias_bomb_is_refused),
        cmocka_unit_test(test_scalar__booleans_are_yaml_1_1),
        cmocka_unit_test(test_scalar__integers_in_all_forms),
        cmocka_unit_test(test_scalar__strings_take_anything),
        cmocka_unit_test(test_scalar__long_values_are_cut),
        cmocka_unit_test(test_scalar__durations),
        cmocka_unit_test(test_scalar__prometheus_durations),
        cmocka_unit_test(test_scalar__durations_are_printed_as_go_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
