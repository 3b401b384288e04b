/* SPDX-License-Identifier: Apache-2.0
 * What tql_check makes of a tree: folded constants, sets, flipped comparisons, conditions,
 * properties. */
#include "query/tql.h"
#include "unit.h"

struct fixture {
    struct arena arena;
    struct tql_query *q;
};

static const struct tql_expr *compile(struct fixture *f, const char *text)
{
    struct err err;
    arena_init(&f->arena, NULL, 0);
    assert_ok(tql_compile(str_from(text), &f->arena, &f->q, NULL, &err), err);
    const struct tql_stage *s = &f->q->pipeline->stages[0];
    return s->kind == TQL_STAGE_SPANSET ? s->spanset->filter : NULL;
}

static void done(struct fixture *f)
{
    arena_deinit(&f->arena);
}

static void printed(const char *text, const char *expected)
{
    struct fixture f;
    struct buf b = BUF_INIT;
    compile(&f, text);
    tql_print_query(&b, f.q);
    if (!str_eqz(buf_str(&b), expected))
        fail_msg("%s: " STR_FMT ", not %s", text, STR_ARG(buf_str(&b)), expected);
    buf_deinit(&b);
    done(&f);
}

static void test_fold__constants(void **state)
{
    (void)state;
    printed("{ .a = 1 + 2 * 3 }", "{ .a = 7 }");
    printed("{ 2 ^ 3 = 8 }", "{ true }");
    printed("{ 2 ^ 3 = 9 }", "{ false }");
    printed("{ 2 ^ -1 = 0.5 }", "{ true }");
    printed("{ 7 / 2 = 3 }", "{ true }");
    printed("{ -7 % 4 = -3 }", "{ true }");
    printed("{ 1h30m = 5400s }", "{ true }");
    printed("{ minInt < 0 && maxInt > 0 }", "{ true }");
    printed("{ minInt / -1 = minInt }", "{ true }");
    printed("{ -maxInt - 1 = .a }", "{ minInt = .a }");
    printed("{ maxInt = 9223372036854775807.0 }", "{ false }"); /* by value: 2^63 is one more */
    printed("{ 10 / 4 = 2.5 }", "{ false }");
    printed("{ 10 / 4.0 = 2.5 }", "{ true }");
    printed("{ \"abc\" =~ \"b\" }", "{ false }");
    printed("{ \"abc\" =~ \".b.\" }", "{ true }");
    printed("{ duration > 1s + 500ms }", "{ duration > 1.5e+09 }");
    printed("{ duration > -1s }", "{ duration > -1s }");
    printed("{ !true || .a }", "{ false || .a }");
    printed("{ ok = ok && server != client }", "{ true }");
    printed("{ nil = nil }", "{ false }");
    printed("{ nil != nil }", "{ false }");
    printed("{ 3 != nil }", "{ true }");
    printed("{ 3 = nil }", "{ false }");
    printed("{ 1 / 0 = 1 }", "{ (1 / 0) = 1 }"); /* nil has no literal */
    printed("{ 1.0 / 0 > 5 }", "{ (1.0 / 0) > 5 }");
    printed("{} | by(.a + (1 + 1))", "{ true } | by(.a + 2)");
}

static void test_set__chains_merge(void **state)
{
    (void)state;
    struct fixture f;
    const struct tql_expr *e = compile(&f, "{ .a = 1 || .a = 2 || .a = 1 || .a = 3 }");
    assert_int_equal(e->kind, TQL_E_SET);
    assert_int_equal(e->op, TQL_OP_EQ);
    assert_int_equal(e->n_values, 3);
    assert_int_equal(e->values[2].i, 3);
    assert_null(e->regexes);
    assert_true(f.q->conjunctive);
    done(&f);
    e = compile(&f, "{ name !~ \"a.*\" && name !~ \"b.*\" }");
    assert_int_equal(e->kind, TQL_E_SET);
    assert_int_equal(e->n_values, 2);
    assert_true(regex_match(e->regexes[1], STR("bc")));
    done(&f);
    static const char *const not_sets[] = {"{ .a = 1 && .a = 2 }", "{ .a != 1 || .a != 2 }",
        "{ .a = 1 || .a = 2.0 }", "{ .a = 1 || .b = 1 }", "{ .a = \"x\" || .a =~ \"x\" }",
        "{ .a > 1 || .a > 2 }", "{ .a = 1 || 1 = .a }", "{ .a = 1 || span.a = 1 }"};
    for (size_t i = 0; i < ARRAY_LEN(not_sets); i++) {
        e = compile(&f, not_sets[i]);
        assert_int_equal(e->kind, TQL_E_BINARY);
        done(&f);
    }
    e = compile(&f, "{ .a = 1 || .a = 1 }");
    assert_int_equal(e->op, TQL_OP_EQ);
    done(&f);
    printed("{ .a = 1 || .a = 2 || .a = 3 }", "{ ((.a = 1) || (.a = 2)) || (.a = 3) }");
    printed("{ .a != 1 && .a != 2 && .b }", "{ ((.a != 1) && (.a != 2)) && .b }");
}

static void test_flip__literal_goes_right(void **state)
{
    (void)state;
    struct fixture f;
    const struct tql_expr *e = compile(&f, "{ 500ms < duration }");
    assert_true(e->flipped);
    assert_int_equal(e->op, TQL_OP_GT);
    assert_int_equal(e->lhs->attr->intrinsic, TQL_I_DURATION);
    assert_int_equal(e->rhs->value.i, 500000000);
    assert_int_equal(f.q->conds[0].kind, TQL_COND_EXPR);
    done(&f);
    printed("{ 500ms < duration }", "{ 500ms < duration }");
    printed("{ 1 >= .a && 2 != .b }", "{ (1 >= .a) && (2 != .b) }");
    e = compile(&f, "{ 1 < .a + 1 }");
    assert_false(e->flipped);
    done(&f);
}

/* Conditions as text: `attr:kind`, kinds any, absent, expr. */
static void conds(const char *text, const char *expected)
{
    static const char *const kinds[] = {"any", "absent", "expr"};
    struct fixture f;
    struct buf b = BUF_INIT;
    compile(&f, text);
    for (uint32_t i = 0; i < f.q->n_conds; i++)
        buf_printf(&b, "%s" STR_FMT ":%s", i == 0 ? "" : " ", STR_ARG(f.q->conds[i].attr->text),
            kinds[f.q->conds[i].kind]);
    if (!str_eqz(buf_str(&b), expected))
        fail_msg("%s: " STR_FMT ", not %s", text, STR_ARG(buf_str(&b)), expected);
    buf_deinit(&b);
    done(&f);
}

static void test_conditions__collected(void **state)
{
    (void)state;
    conds("{}", "");
    conds("{ .a = 1 && .b }", ".a:expr .b:any");
    conds("{ .a + 1 = 2 }", ".a:any");
    conds("{ .a < .b }", ".a:any .b:any");
    conds("{ .a != nil || span.b = nil }", ".a:any span.b:absent");
    conds("{ .a = 1 || .a = 2 }", ".a:expr");
    conds("{ !(.a = 1) }", ".a:any");
    conds("{ !(.a = 1 || .a = 2) && !(.b = nil) }", ".a:any .b:any");
    conds("{ (.a = 1) = .b }", ".a:any .b:any");
    conds("{ .a } | by(.b > 1) | avg(.c + .d) > 1", ".a:any .b:any .c:any .d:any");
    conds("{ .a } | select(.b) | { .c = 1 }", ".a:any");
    conds("{ .a } > { .b = 1 } && { .c }", ".a:any .b:expr .c:any");
    conds("({ .a = 1 } | count() > 1) && ({ .b = 2 } | by(.c))", ".a:expr .b:expr .c:any");
    conds("{ .a = 1 } | rate() by (.b)", ".a:expr");
    conds("({ .a = 1 } | count()) > ({ .b = 1 } | max(.c))", ".a:expr .b:expr .c:any");
}

static void test_uses__say_who_reads(void **state)
{
    (void)state;
    struct fixture f;
    compile(&f, "{ .a = 1 && .b } | select(.c, .a) | { .d = 1 } | max_over_time(.e) by (.b)");
    const struct tql_query *q = f.q;
    static const char *const order[] = {".a", ".b", ".c", ".d", ".e"};
    assert_int_equal(q->n_attrs, ARRAY_LEN(order));
    for (uint32_t i = 0; i < q->n_attrs; i++) {
        assert_str(q->attrs[i]->text, order[i]);
        assert_int_equal(q->attrs[i]->index, i);
    }
    assert_true(q->uses[0].selected && q->uses[0].before_select && !q->uses[0].any);
    assert_int_equal(q->uses[0].n_conds, 1);
    assert_true(q->uses[1].any && q->uses[1].by_metric && !q->uses[1].selected);
    assert_true(q->uses[2].selected && !q->uses[2].any);
    assert_true(q->uses[3].after_select && !q->uses[3].before_select);
    assert_int_equal(q->uses[3].n_conds, 0);
    assert_true(q->uses[4].by_metric && !q->uses[4].before_select);
    assert_ptr_equal(q->metric->by[0], q->attrs[1]); /* equal attributes are one object */
    done(&f);
}

static void test_attributes__kinds(void **state)
{
    (void)state;
    struct fixture f;
    compile(&f, "{ .x = 1 && span.x = 1 && parent.span.x = 1 && parent.x = 1 && span.name = 1 && "
                "name = `a` && span:name = `b` && service.name = `c` && .service.name = `d` }");
    const struct tql_query *q = f.q;
    assert_int_equal(q->n_attrs, 7);
    assert_true(q->attrs[2]->parent && q->attrs[2]->scope == TQL_SCOPE_SPAN);
    assert_true(q->attrs[3]->parent && q->attrs[3]->scope == TQL_SCOPE_NONE);
    assert_str(q->attrs[3]->name, "x");
    assert_int_equal(q->attrs[4]->intrinsic, TQL_I_NONE);
    assert_int_equal(q->attrs[5]->intrinsic, TQL_I_NAME);
    assert_str(q->attrs[6]->text, ".service.name");
    done(&f);
}

static void test_properties(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool never, conjunctive, reads_all, structural;
    } cases[] = {
        {"{}", false, true, true, false},
        {"{ 1 = 1 }", false, true, true, false},
        {"{ false }", true, true, true, false},
        {"{ 1 = 2 } && { false }", true, false, true, false},
        {"{ false } | rate()", true, true, true, false},
        {"{ false } || { .a }", false, false, false, false},
        {"{ .a } | { false }", false, true, false, false},
        {"{ .a = 1 && event:name = `x` }", false, true, false, false},
        {"{ .a = 1 } | { .b } | select(.c)", false, true, false, false},
        {"{ .a = 1 || .b = 1 }", false, false, false, false},
        {"{ !(.a = 1) }", false, false, false, false},
        {"{ .a } | count() > 1", false, false, false, false},
        {"{ .a } && { .b }", false, false, false, false},
        {"{} !> {}", false, false, false, true},
        {"{ .a } || {}", false, false, true, false},
        {"count() > 2", false, false, true, false},
        {"by(.a)", false, false, false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture f;
        compile(&f, cases[i].text);
        if (f.q->never != cases[i].never || f.q->conjunctive != cases[i].conjunctive ||
            f.q->reads_all != cases[i].reads_all || f.q->structural != cases[i].structural)
            fail_msg("%s: %d %d %d %d", cases[i].text, f.q->never, f.q->conjunctive, f.q->reads_all,
                f.q->structural);
        done(&f);
    }
}

static void test_texts__of_stages(void **state)
{
    (void)state;
    struct fixture f;
    compile(
        &f, "{} | by(duration > 1s) | max(-duration) < 0 | by(span.\"odd key\") | count() * 2 > 1");
    const struct tql_stage *s = f.q->pipeline->stages;
    assert_str(s[1].text, "by(duration > 1s)");
    assert_str(s[2].lhs->text, "max(-duration)");
    assert_int_equal(s[2].lhs->type, TQL_DURATION);
    assert_str(s[3].text, "by(span.\"odd key\")");
    assert_str(s[4].lhs->lhs->text, "count()");
    done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fold__constants),
        cmocka_unit_test(test_set__chains_merge),
        cmocka_unit_test(test_flip__literal_goes_right),
        cmocka_unit_test(test_conditions__collected),
        cmocka_unit_test(test_uses__say_who_reads),
        cmocka_unit_test(test_attributes__kinds),
        cmocka_unit_test(test_properties),
        cmocka_unit_test(test_texts__of_stages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
