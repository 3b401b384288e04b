/* SPDX-License-Identifier: Apache-2.0
 * tests/golden/traceql: every query of the language's checklist and of the recorded answers with
 * its class and text. `UPDATE=1` rewrites the files; the diff is then reviewed. Each accepted query
 * is also printed, parsed again and printed again: the texts must be equal. */
#include <stdio.h>
#include <stdlib.h>

#include "query/tql.h"
#include "unit.h"

#define LINE_MAX_BYTES 65536

static void print_query(struct buf *out, const struct tql_query *q)
{
    buf_reset(out);
    tql_print_query(out, q);
    assert_false(buf_failed(out));
}

/* The text of the parsed query, which must be a fixed point. */
static void round_trip(struct buf *text, const struct tql_query *q)
{
    struct arena arena;
    struct err err;
    struct tql_query *again;
    struct buf second = BUF_INIT;
    print_query(text, q);
    arena_init(&arena, NULL, 0);
    assert_ok(tql_parse(buf_str(text), &arena, &again, &err), err);
    print_query(&second, again);
    if (!str_eq(buf_str(text), buf_str(&second)))
        fail_msg(STR_FMT " prints as " STR_FMT, STR_ARG(buf_str(text)), STR_ARG(buf_str(&second)));
    buf_deinit(&second);
    arena_deinit(&arena);
}

static void judge(struct str query, struct buf *out)
{
    struct arena arena;
    struct err err;
    struct tql_query *q;
    struct buf text = BUF_INIT;
    enum tql_error_class class;
    arena_init(&arena, NULL, 0);
    const char *name = "P";
    enum ec ec = tql_parse(query, &arena, &q, &err);
    if (ec == EC_OK) {
        round_trip(&text, q);
        name = "V";
        ec = tql_check(q, &arena, &err);
    }
    if (ec == EC_OK)
        buf_printf(out, "OK\t" STR_FMT "\t" STR_FMT "\n", STR_ARG(query), STR_ARG(buf_str(&text)));
    else
        buf_printf(out, "%s\t" STR_FMT "\t%s\n", name, STR_ARG(query), err.msg);
    struct tql_query *compiled;
    assert_int_equal(tql_compile(query, &arena, &compiled, &class, &err), ec);
    assert_int_equal(class, ec == EC_OK      ? TQL_ERROR_NONE
                            : name[0] == 'P' ? TQL_ERROR_PARSE
                                             : TQL_ERROR_CHECK);
    buf_deinit(&text);
    arena_deinit(&arena);
}

static void check_file(const char *file)
{
    char path[1024], line[LINE_MAX_BYTES];
    unsigned n = 0, bad = 0;
    struct buf all = BUF_INIT;
    snprintf(path, sizeof(path), "%s/golden/traceql/%s", TESTS_DIR, file);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f) != NULL) {
        struct str expected = str_from(line), query;
        size_t at = all.n;
        if (line[0] == '#' || line[0] == '\n') {
            buf_putz(&all, line);
            continue;
        }
        (void)str_cut(expected, '\t', &query);
        struct str text;
        query = str_cut(query, '\t', &text);
        judge(query, &all);
        struct str actual = str_n((const char *)all.p + at, all.n - at);
        n++;
        if (str_eq(actual, expected))
            continue;
        bad++;
        print_error(
            "%s:\n  want " STR_FMT "  got  " STR_FMT, file, STR_ARG(expected), STR_ARG(actual));
    }
    fclose(f);
    if (getenv("UPDATE") != NULL) {
        f = fopen(path, "w");
        assert_non_null(f);
        assert_int_equal(fwrite(all.p, 1, all.n, f), all.n);
        assert_int_equal(fclose(f), 0);
        bad = 0;
    }
    buf_deinit(&all);
    assert_true(n > 10);
    assert_int_equal(bad, 0);
}

static void test_golden__search(void **state)
{
    (void)state;
    check_file("search.tql");
}

static void test_golden__metrics(void **state)
{
    (void)state;
    check_file("metrics.tql");
}

static void test_golden__recorded(void **state)
{
    (void)state;
    check_file("recorded.tql");
}

static void test_golden__grammar(void **state)
{
    (void)state;
    check_file("grammar.tql");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden__search),
        cmocka_unit_test(test_golden__metrics),
        cmocka_unit_test(test_golden__recorded),
        cmocka_unit_test(test_golden__grammar),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
