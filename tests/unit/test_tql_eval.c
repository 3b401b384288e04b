/* SPDX-License-Identifier: Apache-2.0
 * Operators on single values: types, exact numbers, nil. */
#include <math.h>

#include "query/tql.h"
#include "unit.h"

static struct tql_static in(int64_t i)
{
    return (struct tql_static){.type = TQL_INT, .i = i};
}
static struct tql_static fl(double f)
{
    return (struct tql_static){.type = TQL_FLOAT, .f = f};
}
static struct tql_static du(int64_t i)
{
    return (struct tql_static){.type = TQL_DURATION, .i = i};
}
static struct tql_static st(const char *s)
{
    return (struct tql_static){.type = TQL_STRING, .s = str_from(s)};
}
static struct tql_static bo(bool b)
{
    return (struct tql_static){.type = TQL_BOOL, .b = b};
}
static const struct tql_static nil = {.type = TQL_NIL};

static struct tql_static eval(struct tql_static l, enum tql_op op, struct tql_static r)
{
    return tql_eval_binary(op, &l, &r, NULL);
}
static bool truth(struct tql_static l, enum tql_op op, struct tql_static r)
{
    struct tql_static v = eval(l, op, r);
    assert_int_equal(v.type, TQL_BOOL);
    return v.b;
}

static void test_compare__numbers_by_value(void **state)
{
    (void)state;
    assert_true(truth(in(7), TQL_OP_EQ, fl(7)));
    assert_true(truth(in(1), TQL_OP_LT, fl(1.5)));
    assert_true(truth(fl(-1.5), TQL_OP_LT, in(-1)));
    assert_true(truth(du(1000), TQL_OP_EQ, in(1000)));
    assert_true(truth(in(INT64_C(9007199254740993)), TQL_OP_NE, fl(9007199254740992.0)));
    assert_true(truth(in(INT64_C(9007199254740993)), TQL_OP_GT, fl(9007199254740992.0)));
    assert_true(truth(in(INT64_MAX), TQL_OP_LT, fl(0x1p63)));
    assert_true(truth(in(INT64_MIN), TQL_OP_EQ, fl(-0x1p63)));
    assert_true(truth(in(INT64_MIN), TQL_OP_GT, fl(-(double)INFINITY)));
    assert_true(truth(in(INT64_MAX), TQL_OP_LT, fl((double)INFINITY)));
    for (int op = TQL_OP_EQ; op <= TQL_OP_GE; op++) {
        assert_int_equal(truth(in(1), (enum tql_op)op, fl((double)NAN)), op == TQL_OP_NE);
        assert_int_equal(truth(fl((double)NAN), (enum tql_op)op, in(1)), op == TQL_OP_NE);
    }
}

static void test_compare__other_types_never_mix(void **state)
{
    (void)state;
    for (int op = TQL_OP_ADD; op <= TQL_OP_NRE; op++) {
        assert_false(truth(in(1), (enum tql_op)op, st("1")));
        assert_false(truth(bo(true), (enum tql_op)op, st("true")));
        assert_false(truth(nil, (enum tql_op)op, in(1)));
        assert_false(truth(in(1), (enum tql_op)op, nil));
        assert_false(truth(nil, (enum tql_op)op, nil));
    }
    assert_true(truth(st("10"), TQL_OP_LT, st("9")));
    assert_true(truth(st(""), TQL_OP_LT, st("a")));
    assert_false(truth(st("a"), TQL_OP_ADD, st("b")));
    assert_false(truth(bo(true), TQL_OP_GT, bo(false)));
    struct tql_static ok = {.type = TQL_STATUS, .i = 1}, server = {.type = TQL_KIND, .i = 1};
    assert_true(truth(ok, TQL_OP_EQ, ok));
    assert_false(truth(ok, TQL_OP_EQ, server));
    assert_false(truth(ok, TQL_OP_GE, ok));
}

static void test_logic__true_or_anything(void **state)
{
    (void)state;
    assert_true(truth(bo(true), TQL_OP_OR, nil));
    assert_true(truth(nil, TQL_OP_OR, bo(true)));
    assert_true(truth(st("x"), TQL_OP_OR, bo(true)));
    assert_false(truth(nil, TQL_OP_OR, nil));
    assert_false(truth(bo(true), TQL_OP_AND, nil));
    assert_false(truth(in(1), TQL_OP_AND, in(1)));
    assert_true(truth(bo(true), TQL_OP_AND, bo(true)));
}

static void test_arith__integers_and_floats(void **state)
{
    (void)state;
    assert_int_equal(eval(in(7), TQL_OP_DIV, in(2)).i, 3);
    assert_int_equal(eval(in(-7), TQL_OP_MOD, in(4)).i, -3);
    assert_int_equal(eval(in(2), TQL_OP_POW, in(62)).i, INT64_C(1) << 62);
    assert_int_equal(eval(in(0), TQL_OP_POW, in(0)).i, 1);
    assert_int_equal(eval(in(INT64_MAX), TQL_OP_ADD, in(1)).i, INT64_MIN);
    assert_int_equal(eval(in(INT64_MIN), TQL_OP_DIV, in(-1)).i, INT64_MIN);
    assert_int_equal(eval(in(INT64_MIN), TQL_OP_MOD, in(-1)).i, 0);
    assert_int_equal(eval(in(INT64_MIN), TQL_OP_MUL, in(-1)).i, INT64_MIN);
    assert_int_equal(eval(in(1), TQL_OP_DIV, in(0)).type, TQL_NIL);
    assert_int_equal(eval(in(1), TQL_OP_MOD, in(0)).type, TQL_NIL);
    assert_true(eval(in(2), TQL_OP_POW, in(-1)).f == 0.5);
    assert_true(isinf(eval(fl(1), TQL_OP_DIV, in(0)).f));
    assert_true(eval(du(1500), TQL_OP_MOD, du(1000)).f == 500);
    assert_int_equal(eval(du(1), TQL_OP_ADD, du(1)).type, TQL_FLOAT);
}

static void test_unary__types(void **state)
{
    (void)state;
    struct tql_static v = in(INT64_MIN), out = nil;
    assert_true(tql_eval_unary(TQL_OP_SUB, &v, &out));
    assert_int_equal(out.i, INT64_MIN);
    v = du(5);
    assert_true(tql_eval_unary(TQL_OP_SUB, &v, &out));
    assert_int_equal(out.type, TQL_DURATION);
    v = st("x");
    assert_false(tql_eval_unary(TQL_OP_SUB, &v, &out));
    assert_false(tql_eval_unary(TQL_OP_NOT, &v, &out));
    assert_false(tql_eval_unary(TQL_OP_NOT, &nil, &out));
    assert_string_equal(tql_type_name(v.type), "TypeString");
    v = bo(true);
    assert_true(tql_eval_unary(TQL_OP_NOT, &v, &out));
    assert_false(tql_static_true(&out));
}

static void test_same__type_and_value(void **state)
{
    (void)state;
    struct tql_static a = in(7), b = fl(7), n = fl((double)NAN), s = st("7"), t = st("7");
    assert_false(tql_static_same(&a, &b));
    assert_true(tql_static_same(&n, &n));
    assert_true(tql_static_same(&s, &t));
    assert_true(tql_static_same(&nil, &nil));
    assert_true(tql_static_number(&b) == 7);
    assert_true(tql_static_number(&s) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compare__numbers_by_value),
        cmocka_unit_test(test_compare__other_types_never_mix),
        cmocka_unit_test(test_logic__true_or_anything),
        cmocka_unit_test(test_arith__integers_and_floats),
        cmocka_unit_test(test_unary__types),
        cmocka_unit_test(test_same__type_and_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
