/* SPDX-License-Identifier: Apache-2.0
 * Limits of the parser, positions over several lines, and the parts of the tree that a text cannot
 * show. */
#include <time.h>

#include "query/tql.h"
#include "unit.h"

static enum ec parse(struct str text, struct arena *arena, struct tql_query **q, struct err *err)
{
    arena_init(arena, NULL, 0);
    return tql_compile(text, arena, q, NULL, err);
}

/* `head`, n times `part` with `between`, `tail`. */
static void chain(struct buf *b, const char *head, const char *part, const char *between,
    unsigned n, const char *tail)
{
    buf_reset(b);
    buf_putz(b, head);
    for (unsigned i = 0; i < n; i++) {
        if (i > 0)
            buf_putz(b, between);
        buf_putz(b, part);
    }
    buf_putz(b, tail);
}

static void expect_chain(const char *head, const char *part, const char *between, unsigned n,
    const char *tail, const char *error)
{
    struct buf b = BUF_INIT;
    struct arena arena;
    struct err err;
    struct tql_query *q;
    chain(&b, head, part, between, n, tail);
    enum ec ec = parse(buf_str(&b), &arena, &q, &err);
    if (error == NULL)
        assert_ok(ec, err);
    else if (ec != EC_INVALID || strstr(err.msg, error) == NULL)
        fail_msg("%u times %s: %s", n, part, err_msg(&err));
    buf_deinit(&b);
    arena_deinit(&arena);
}

static void test_limits__nesting(void **state)
{
    (void)state;
    const char *deep = "query is nested deeper than";
    expect_chain("{ ", "(", "", 10000, ".a", deep);
    expect_chain("", "(", "", 10000, "{}", deep);
    expect_chain("", "(", "", 1000000, "{}", deep);
    expect_chain("{ ", "!", "", 10000, ".a }", deep);
    expect_chain("{ ", "-", "", 10000, ".a = 1 }", deep);
    expect_chain("{ .a = ", "1", " ^ ", 3000, " }", deep);
    expect_chain("{ .a = ", "1", " + ", 3000, " }", deep);
    expect_chain("", "(", "", 10000, "count()", deep);
    expect_chain("{} | ", "count()", " ^ ", 3000, " > 1", deep);
    expect_chain("{} | ", "count()", " + ", 3000, " > 1", deep);
    expect_chain("", "{ .a } > ", "", 1000, "{ .b }", deep);
    /* A tree of TQL_HEIGHT_MAX levels is accepted, one more is not. */
    expect_chain("{ ", ".a", " + ", TQL_HEIGHT_MAX - 1, " = 1 }", NULL);
    expect_chain("{ ", ".a", " + ", TQL_HEIGHT_MAX, " = 1 }", deep);
    expect_chain("{ ", "!", "", TQL_HEIGHT_MAX - 1, ".a }", NULL);
    expect_chain("{ ", "!", "", TQL_HEIGHT_MAX, ".a }", deep);
}

static void test_limits__size(void **state)
{
    (void)state;
    expect_chain("{ ", ".a = 1", " || ", 1999, " }", NULL); /* five elements each, with the || */
    expect_chain("{ ", ".a = 1", " || ", 2001, " }", "query has more than 10000 elements");
    expect_chain("{ ", ".a", " || ", 3000, " }", NULL);
    expect_chain("{ ", ".a", " || ", 20000, " }", "query has more than 10000 elements");
    expect_chain("", "{ .a }", " || ", 1000, "", NULL);
    expect_chain("{}", " | { .a }", "", 999, "", NULL);
    expect_chain("{}", " | { .a }", "", 1000, "", "pipeline has more than 1000 stages");
    expect_chain("{} | select(", ".a", ",", 1000, ")", NULL);
    expect_chain("{} | select(", ".a", ",", 1001, ")", "list has more than 1000 elements");
    expect_chain("{} | rate()", " > 1", "", 1001, "", "list has more than 1000 elements");
    expect_chain("{} | quantile_over_time(.a", ", 0.5", "", 1001, ")", "list has more than 1000");
    expect_chain("{} with(", "a=1", ",", 1001, ")", "list has more than 1000 elements");
    expect_chain("{ ", ".a =~ \"x\"", " && ", 100, " }", NULL);
    expect_chain("{ ", ".a =~ \"x\"", " && ", 101, " }", "query has more than 100 regular");
}

/* Long runs of one operator are balanced: as wide as they please, never high. */
static void test_limits__long_runs_are_low(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct arena arena;
    struct err err;
    struct tql_query *q;
    chain(&b, "{ ", ".a", " && ", 2500, " }");
    assert_ok(parse(buf_str(&b), &arena, &q, &err), err);
    assert_in_range(q->pipeline->stages[0].spanset->filter->height, 12, 45);
    assert_int_equal(q->n_attrs, 1);
    assert_int_equal(q->n_conds, 2500);
    arena_deinit(&arena);
    buf_deinit(&b);
}

static void test_limits__refusing_a_large_text_is_quick(void **state)
{
    (void)state;
    static const struct {
        const char *head, *part;
    } cases[] = {{"{ ", "1."}, {"{ ", ".1"}, {"{ .a = \"", "x"}, {"{ .", "a"}, {"", " "},
        {"", "/*"}, {"{ .a ", "|| .a"}, {"", "{} | "}, {"", "("}, {"{ ", "'"}, {"{ .", "\"\""},
        {"{", "\xff"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b = BUF_INIT;
        struct arena arena;
        struct err err;
        struct tql_query *q;
        const struct tql_filter_groups *groups;
        chain(&b, cases[i].head, cases[i].part, "", 250000 / (unsigned)strlen(cases[i].part), "");
        clock_t start = clock();
        assert_ec(parse(buf_str(&b), &arena, &q, &err), EC_INVALID);
        assert_ok(tql_filter_groups_parse(buf_str(&b), NULL, 0, &arena, &groups, &err), err);
        /* Linear work takes milliseconds, quadratic work minutes; ThreadSanitizer is slow. */
        assert_true((clock() - start) / (CLOCKS_PER_SEC / 1000) < 10000);
        arena_deinit(&arena);
        buf_deinit(&b);
    }
}

static void test_limits__budget(void **state)
{
    (void)state;
    struct str text =
        STR("{ span.a = \"x\" && (.b =~ \"y\" || .b =~ \"z\") } | by(.c) | avg(.d) > 1 | "
            "select(.e) | quantile_over_time(.f, 0.5) by (.g) | topk(3) with (h=1)");
    unsigned refused = 0;
    for (uint64_t cap = 1; cap < 40000; cap += 97) {
        struct budget budget;
        struct arena arena;
        struct err err;
        struct tql_query *q = NULL;
        budget_init(&budget, NULL, "test", cap);
        arena_init(&arena, &budget, 64);
        enum ec ec = tql_compile(text, &arena, &q, NULL, &err);
        assert_true(ec == EC_OK || ec == EC_LIMIT);
        refused += ec == EC_LIMIT;
        const struct tql_filter_groups *groups;
        ec = tql_filter_groups_parse(
            STR("{ span.a = 1 || span.b = }"), NULL, 0, &arena, &groups, &err);
        assert_true(ec == EC_OK || ec == EC_LIMIT);
        arena_deinit(&arena);
        budget_deinit(&budget);
    }
    assert_in_range(refused, 10, 400);
}

static void test_position__lines_and_runes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"", "parse error : syntax error: unexpected $end"},
        {" ", "parse error at line 1, col 2: syntax error: unexpected $end"},
        {"{\n", "parse error at line 2, col 1: syntax error: unexpected $end"},
        {"{ true }\n\n  x", "parse error at line 3, col 3: syntax error: unexpected IDENTIFIER, "
                            "expecting with"},
        {"{ .\xc3\xa9 = \"\xe2\x9c\x93\" x",
            "parse error at line 1, col 12: syntax error: unexpected "
            "IDENTIFIER"},
        {"/* a\nb */ {", "parse error at line 2, col 7: syntax error: unexpected $end"},
        {"{ \xff", "parse error at line 1, col 1: invalid UTF-8 encoding"},
        {"\xef\xbb\xbf{", "parse error at line 1, col 3: syntax error: unexpected $end"},
        {"{ .a = \"a\nb\" }", "parse error at line 1, col 8: literal not terminated"},
        {"{} | rate() | topk(0)", "limit must be greater than 0"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena arena;
        struct err err;
        struct tql_query *q;
        assert_ec(parse(str_from(cases[i].text), &arena, &q, &err), EC_INVALID);
        assert_string_equal(err.msg, cases[i].error);
        arena_deinit(&arena);
    }
    struct arena arena;
    struct err err;
    struct tql_query *q;
    assert_ec(parse(str_n("{ \0", 3), &arena, &q, &err), EC_INVALID);
    assert_non_null(strstr(err.msg, "invalid character NUL"));
    arena_deinit(&arena);
}

static void test_tree__text_may_go_away(void **state)
{
    (void)state;
    char text[] = "{ span.a = `x` && .b.c = \"y\" } with (hint=true)";
    struct arena arena;
    struct err err;
    struct tql_query *q;
    struct buf b = BUF_INIT;
    assert_ok(parse(str_from(text), &arena, &q, &err), err);
    memset(text, 'z', sizeof(text) - 1);
    tql_print_query(&b, q);
    assert_str(buf_str(&b), "{ (span.a = `x`) && (.b.c = `y`) } with(hint=true)");
    buf_deinit(&b);
    arena_deinit(&arena);
}

static void test_tree__metrics(void **state)
{
    (void)state;
    struct arena arena;
    struct err err;
    struct tql_query *q;
    assert_ok(
        parse(STR("{} | quantile_over_time(duration, .5, 1) by (name, span.a) > 500ms | topk(3) "
                  "<= -2 with (exemplars=7, most_recent=true)"),
            &arena, &q, &err),
        err);
    assert_int_equal(q->metric->fn, TQL_M_QUANTILE_OVER_TIME);
    assert_int_equal(q->metric->attr->intrinsic, TQL_I_DURATION);
    assert_int_equal(q->metric->n_quantiles, 2);
    assert_true(q->metric->quantiles[0] == 0.5 && q->metric->quantiles[1] == 1);
    assert_int_equal(q->metric->n_by, 2);
    assert_str(q->metric->by[1]->text, "span.a");
    assert_int_equal(q->n_second, 3);
    assert_int_equal(q->second[0].kind, TQL_SECOND_COMPARE);
    assert_true(q->second[0].number == 0.5);
    assert_int_equal(q->second[1].k, 3);
    assert_true(q->second[2].number == -2 && q->second[2].op == TQL_OP_LE);
    assert_true(q->has_exemplars && q->exemplars == 7 && q->most_recent);
    arena_deinit(&arena);
    assert_ok(parse(STR("{} | compare({ status = error }, 5, 10, 20)"), &arena, &q, &err), err);
    assert_int_equal(q->metric->top_n, 5);
    assert_int_equal(q->metric->start_ns, 10);
    assert_int_equal(q->metric->end_ns, 20);
    arena_deinit(&arena);
    assert_ok(parse(STR("{} | compare({ status = error })"), &arena, &q, &err), err);
    assert_int_equal(q->metric->top_n, 10);
    arena_deinit(&arena);
}

static void test_hints__types_decide(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool has, recent;
        uint32_t exemplars;
    } cases[] = {
        {"{} with (exemplars=false)", true, false, 0},
        {"{} with (exemplars=true)", false, false, 0},
        {"{} with (exemplars=1000)", true, false, 100},
        {"{} with (exemplars=\"5\")", false, false, 0},
        {"{} with (most_recent=1)", false, false, 0},
        {"{} with (most_recent=true) with (exemplars=2)", true, false, 2},
        {"{} with (most_recent=false, most_recent=true)", false, true, 0},
        {"{} with (unknown=ok)", false, false, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena arena;
        struct err err;
        struct tql_query *q;
        assert_ok(parse(str_from(cases[i].text), &arena, &q, &err), err);
        assert_int_equal(q->has_exemplars, cases[i].has);
        assert_int_equal(q->most_recent, cases[i].recent);
        assert_int_equal(q->exemplars, cases[i].exemplars);
        arena_deinit(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits__nesting),
        cmocka_unit_test(test_limits__size),
        cmocka_unit_test(test_limits__long_runs_are_low),
        cmocka_unit_test(test_limits__refusing_a_large_text_is_quick),
        cmocka_unit_test(test_limits__budget),
        cmocka_unit_test(test_position__lines_and_runes),
        cmocka_unit_test(test_tree__text_may_go_away),
        cmocka_unit_test(test_tree__metrics),
        cmocka_unit_test(test_hints__types_decide),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
