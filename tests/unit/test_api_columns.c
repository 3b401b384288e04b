/* SPDX-License-Identifier: Apache-2.0
 * One type per attribute of a search answer. */
#include <math.h>

#include "../../src/api/columns.h"
#include "unit.h"

#define STRING(text)                      \
    {                                     \
        .type = VALUE_STR, .s = STR(text) \
    }
#define NUMBER(n)                   \
    {                               \
        .type = VALUE_INT, .i = (n) \
    }
#define FLOATING(x)                    \
    {                                  \
        .type = VALUE_DOUBLE, .d = (x) \
    }
#define BOOLEAN(x)                   \
    {                                \
        .type = VALUE_BOOL, .b = (x) \
    }

static struct result_attr one[4], two[3], of_set[1];
static struct result_span spans[2];
static struct result_spanset set;
static struct result_trace traces[2];
static struct search_result result;

/* Two traces, the same set of two spans in each. */
static int fill(void **state)
{
    (void)state;
    one[0] = (struct result_attr){STR("same"), NUMBER(1)};
    one[1] = (struct result_attr){STR("mixed"), NUMBER(-7)};
    one[2] = (struct result_attr){STR("numbers"), FLOATING(0.5)};
    one[3] = (struct result_attr){STR("flag"), BOOLEAN(true)};
    two[0] = (struct result_attr){STR("same"), NUMBER(2)};
    two[1] = (struct result_attr){STR("mixed"), STRING("x")};
    two[2] = (struct result_attr){STR("numbers"), NUMBER(3)};
    of_set[0] = (struct result_attr){STR("count()"), NUMBER(9)};
    spans[0] = (struct result_span){.attrs = one, .n_attrs = 4};
    spans[1] = (struct result_span){.attrs = two, .n_attrs = 3};
    set = (struct result_spanset){.spans = spans, .n_spans = 2, .attrs = of_set, .n_attrs = 1};
    traces[0] = traces[1] = (struct result_trace){.sets = &set, .n_sets = 1};
    result = (struct search_result){.traces = traces, .n = 2};
    return 0;
}

static const struct value *value_at(size_t trace, size_t span, size_t attr)
{
    return &traces[trace].sets[0].spans[span].attrs[attr].value;
}

static void expect_text(const struct value *v, const char *text)
{
    assert_int_equal(v->type, VALUE_STR);
    assert_str(v->s, text);
}

static void unify(struct arena *a)
{
    struct err err = {0};
    arena_init(a, NULL, 0);
    assert_ok(columns_unify(&result, a, &err), err);
}

static void test_columns__only_the_mixed_one_becomes_text(void **state)
{
    struct arena a;
    (void)state;
    unify(&a);
    for (size_t t = 0; t < 2; t++) {
        expect_text(value_at(t, 0, 1), "-7");
        expect_text(value_at(t, 1, 1), "x");
        assert_int_equal(value_at(t, 0, 0)->i, 1);
        assert_int_equal(value_at(t, 0, 2)->type, VALUE_DOUBLE); /* numbers go together */
        assert_int_equal(value_at(t, 1, 2)->type, VALUE_INT);
        assert_int_equal(value_at(t, 0, 3)->type, VALUE_BOOL);
        assert_int_equal(traces[t].sets[0].attrs[0].value.i, 9);
    }
    assert_int_equal(one[1].value.type, VALUE_INT); /* the engine's memory is not written */
    arena_deinit(&a);
}

static void test_columns__a_set_and_its_spans_share_a_column(void **state)
{
    struct arena a;
    (void)state;
    of_set[0] = (struct result_attr){STR("flag"), FLOATING(NAN)};
    unify(&a);
    expect_text(value_at(0, 0, 3), "true");
    expect_text(&traces[0].sets[0].attrs[0].value, "NaN");
    arena_deinit(&a);
}

static void test_columns__no_scalar_is_text_even_alone(void **state)
{
    /* ArrayValue{values: "a", 1}, KeyValueList{k: true} */
    static const char array[] = "\x0a\x03\x0a\x01"
                                "a\x0a\x02\x18\x01";
    static const char map[] = "\x0a\x07\x0a\x01k\x12\x02\x10\x01";
    struct arena a;
    (void)state;
    one[0].value = (struct value){.type = VALUE_ARRAY, .s = str_n(array, sizeof(array) - 1)};
    one[3].value = (struct value){.type = VALUE_KVLIST, .s = str_n(map, sizeof(map) - 1)};
    two[2] = (struct result_attr){STR("bytes"), {.type = VALUE_BYTES, .s = STR("\x01\xff")}};
    of_set[0] = (struct result_attr){STR("none"), {.type = VALUE_EMPTY}};
    unify(&a);
    expect_text(value_at(0, 0, 0), "[\"a\",1]");
    expect_text(value_at(0, 1, 0), "2");
    expect_text(value_at(0, 0, 3), "{\"k\":true}");
    expect_text(value_at(0, 1, 2), "01ff");
    expect_text(&traces[1].sets[0].attrs[0].value, "");
    arena_deinit(&a);
}

static void test_columns__nothing_to_do_copies_nothing(void **state)
{
    struct arena a;
    (void)state;
    spans[1].n_attrs = 1;
    unify(&a);
    assert_ptr_equal(traces[0].sets, &set);
    assert_int_equal(a.total, 0);
    arena_deinit(&a);
}

static void test_columns__a_refused_allocation_is_an_error(void **state)
{
    struct budget budget;
    struct arena a;
    struct err err = {0};
    (void)state;
    budget_init(&budget, NULL, "test", 16);
    arena_init(&a, &budget, 0);
    assert_int_equal(columns_unify(&result, &a, &err), EC_LIMIT);
    arena_deinit(&a);
    budget_deinit(&budget);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_columns__only_the_mixed_one_becomes_text, fill),
        cmocka_unit_test_setup(test_columns__a_set_and_its_spans_share_a_column, fill),
        cmocka_unit_test_setup(test_columns__no_scalar_is_text_even_alone, fill),
        cmocka_unit_test_setup(test_columns__nothing_to_do_copies_nothing, fill),
        cmocka_unit_test_setup(test_columns__a_refused_allocation_is_an_error, fill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
