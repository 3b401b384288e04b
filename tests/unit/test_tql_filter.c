/* SPDX-License-Identifier: Apache-2.0
 * Autocomplete filters and tag identifiers. Groups are shown as text: conditions joined by `&`,
 * groups by `|`. */
#include "query/tql.h"
#include "unit.h"

static void show(struct buf *out, const struct tql_filter_groups *g)
{
    for (uint32_t i = 0; g != NULL && i < g->n_groups; i++) {
        if (i > 0)
            buf_putz(out, " | ");
        for (uint32_t k = 0; k < g->groups[i].n_conds; k++) {
            if (k > 0)
                buf_putz(out, " & ");
            tql_print_expr(out, g->groups[i].conds[k]);
        }
    }
    if (g == NULL)
        buf_putz(out, "all");
}

static void expect(const char *text, const char *groups)
{
    struct arena arena;
    struct err err;
    struct buf out = BUF_INIT;
    const struct tql_filter_groups *g;
    arena_init(&arena, NULL, 0);
    assert_ok(tql_filter_groups_parse(str_from(text), NULL, 0, &arena, &g, &err), err);
    show(&out, g);
    if (!str_eqz(buf_str(&out), groups))
        fail_msg("%s: " STR_FMT ", not %s", text, STR_ARG(buf_str(&out)), groups);
    buf_deinit(&out);
    arena_deinit(&arena);
}

static void test_filter__nothing_said_is_unfiltered(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "  ", "{}", "{ }", "{ true }", "{ true", "{", "}",
        "bad{", "{ name = \"x", "free text", "{ a= }", "{ name }", "{ span.a }",
        "{ span.a + 1 = 2 }", "{ span.a = span.b }", "{ span.a = \"x\" } >> { span.b = \"y\" }",
        "{ span.a = 1 } && { span.b = 2 }", "count() > 1", "{ status = \"error\" }", "{ ))) ((( }",
        "{ span.a = 1 || true }", "{ span.a = 1 || span.b }", "{ 'x' }", "{ (span.a = 1 }"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        expect(texts[i], "all");
}

static void test_filter__unscoped_conditions_drop_it(void **state)
{
    (void)state;
    expect("{ .foo = \"bar\" && }", "all");
    expect("{ .foo = \"bar\" && span.b = 1 }", "all");
    expect("{ service.name = \"bar\" }", "all");
    expect("{ parent.span.a = 1 }", "all");
    expect("{ .foo && span.b = 1 }", "span.b = 1"); /* a bare attribute is no condition */
}

static void test_filter__conditions(void **state)
{
    (void)state;
    expect("{ span.a = 1 && kind = server }", "span.a = 1 & kind = server");
    expect("{ span.a != nil && resource.b = nil }", "span.a != nil & resource.b = nil");
    expect("{ span.a = 1 && span.a = 1 }", "span.a = 1");
    expect("{ !(span.a = 1) }", "span.a = 1");
    expect("{ span.a =~ \"x.*\" && name !~ \"y\" }", "span.a =~ `x.*` & name !~ `y`");
    expect("{ 500ms < duration }", "500ms < duration");
    expect("{ span.a = 1 } | count() > 1", "span.a = 1");
    expect("{ span.a = 1 } | rate()", "span.a = 1");
}

static void test_filter__or_makes_groups(void **state)
{
    (void)state;
    expect("{ span.a = 1 || span.b = 2 }", "span.a = 1 | span.b = 2");
    expect("{ (span.a = 1 || span.b = 2) && kind = server }",
        "span.a = 1 & kind = server | span.b = 2 & kind = server");
    expect("{ span.a = 1 || span.a = 2 }", "span.a = 1 | span.a = 2");
    expect("{ span.a != 1 && span.a != 2 }", "span.a != 1 & span.a != 2");
    expect("{ span.a =~ \"x\" || span.a =~ \"y\" }", "span.a =~ `x` | span.a =~ `y`");
}

static void test_filter__repair(void **state)
{
    (void)state;
    expect("{ span.b = \"x\" && span.c = }", "span.b = `x`");
    expect("{ span.b = \"x\" && span.c", "span.b = `x`");
    expect("{ span.b = \"x\" && }", "span.b = `x`");
    expect("{ span.b = \"x\" &&", "span.b = `x`");
    expect("{ && span.b = \"x\" }", "span.b = `x`");
    expect("{ span.b = \"x\" && () && span.c = 1 }", "span.b = `x` & span.c = 1");
    expect("{ span.b = \"x\" && (span.c = ) }", "span.b = `x`");
    expect("{ span.b = \"x\" && (span.c = 1 || ) }", "span.b = `x` & span.c = 1");
    expect("{ span.b = \"x\" && ((( ))) }", "span.b = `x`");
    expect("{ span.b = \"x\" && span.c = } | rate(", "span.b = `x`");
    expect("{ span.b = \"x\" && span:", "all");
    expect("{ trace:rootName = \"x\" && span.c = }", "rootName = `x`");
    expect("{ span.\"odd key\" = \"x\" && span.c != }", "span.\"odd key\" = `x`");
}

static void or_chain(struct buf *b, unsigned n)
{
    buf_reset(b);
    buf_putz(b, "{ ");
    for (unsigned i = 0; i < n; i++)
        buf_printf(b, "%sspan.a%u = %u", i == 0 ? "" : " || ", i, i);
    buf_putz(b, " }");
}

static void test_filter__group_limit(void **state)
{
    (void)state;
    struct arena arena;
    struct err err;
    struct buf b = BUF_INIT;
    const struct tql_filter_groups *g;
    const struct tql_attr *tag, *scoped;
    arena_init(&arena, NULL, 0);
    assert_ok(tql_attr_parse(STR(".x"), &arena, &tag, &err), err);
    assert_ok(tql_attr_parse(STR("span.x"), &arena, &scoped, &err), err);
    or_chain(&b, 100);
    assert_ok(tql_filter_groups_parse(buf_str(&b), NULL, 0, &arena, &g, &err), err);
    assert_int_equal(g->n_groups, 100);
    assert_ok(tql_filter_groups_parse(buf_str(&b), scoped, 0, &arena, &g, &err), err);
    assert_ec(tql_filter_groups_parse(buf_str(&b), tag, 0, &arena, &g, &err), EC_INVALID);
    or_chain(&b, 50);
    assert_ok(tql_filter_groups_parse(buf_str(&b), tag, 0, &arena, &g, &err), err);
    or_chain(&b, 101);
    assert_ec(tql_filter_groups_parse(buf_str(&b), NULL, 0, &arena, &g, &err), EC_INVALID);
    assert_string_equal(err.msg, "maximum condition groups reached (limit: 100). Reduce the number "
                                 "of OR conditions in the query");
    assert_ok(tql_filter_groups_parse(buf_str(&b), NULL, 101, &arena, &g, &err), err);
    assert_ec(
        tql_filter_groups_parse(STR("{ (span.a = 1 || span.b = 2) && (span.c = 1 || span.d = 2) }"),
            NULL, 3, &arena, &g, &err),
        EC_INVALID);
    buf_deinit(&b);
    arena_deinit(&arena);
}

static void identifier(const char *text, const char *canonical, const char *error)
{
    struct arena arena;
    struct err err;
    const struct tql_attr *attr;
    arena_init(&arena, NULL, 0);
    enum ec ec = tql_attr_parse(str_from(text), &arena, &attr, &err);
    if (error != NULL) {
        assert_int_equal(ec, EC_INVALID);
        assert_string_equal(err.msg, error);
    } else {
        assert_ok(ec, err);
        assert_str(attr->text, canonical);
    }
    arena_deinit(&arena);
}

static void test_identifier__one_attribute(void **state)
{
    (void)state;
    identifier("span.http.code", "span.http.code", NULL);
    identifier(" .a ", ".a", NULL);
    identifier("span:name", "name", NULL);
    identifier("trace:id", "trace:id", NULL);
    identifier("resource.\"odd key\"", "resource.\"odd key\"", NULL);
    identifier("span.with space", NULL,
        "failed to parse identifier span.with space: parse error at line 1, col 12: syntax error: "
        "unexpected IDENTIFIER");
    identifier("host.name", NULL,
        "failed to parse identifier host.name: parse error at line 1, col 2: unknown identifier: host");
    identifier("foo", NULL,
        "failed to parse identifier foo: parse error at line 1, col 2: unknown identifier: foo");
    identifier("1", NULL, "failed to parse identifier 1: not one attribute");
    identifier("", NULL, "failed to parse identifier : not one attribute");
    identifier(".a} | {.b", NULL, "failed to parse identifier .a} | {.b: not one attribute");
    identifier(".a = 1", NULL, "failed to parse identifier .a = 1: not one attribute");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filter__nothing_said_is_unfiltered),
        cmocka_unit_test(test_filter__unscoped_conditions_drop_it),
        cmocka_unit_test(test_filter__conditions),
        cmocka_unit_test(test_filter__or_makes_groups),
        cmocka_unit_test(test_filter__repair),
        cmocka_unit_test(test_filter__group_limit),
        cmocka_unit_test(test_identifier__one_attribute),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
