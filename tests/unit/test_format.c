/* SPDX-License-Identifier: Apache-2.0
 * Go's number and duration texts. The tables were written by Go 1.26 (strconv, encoding/json,
 * time). */
#include <math.h>
#include <stdlib.h>

#include "query/format.h"
#include "unit.h"

static const struct {
    double v;
    const char *g, *json, *f; /* f NULL: too long for a table */
} floats[] = {
    {0x0p+00, "0", "0", "0"},
    {-0x0p+00, "-0", "-0", "-0"},
    {0x1p+00, "1", "1", "1"},
    {-0x1p+00, "-1", "-1", "-1"},
    {0x1p-01, "0.5", "0.5", "0.5"},
    {0x1.8p+00, "1.5", "1.5", "1.5"},
    {0x1.86ap+16, "100000", "100000", "100000"},
    {0x1.e847ep+19, "999999", "999999", "999999"},
    {0x1.e848p+19, "1e+06", "1000000", "1000000"},
    {0x1.2d687p+20, "1.234567e+06", "1234567", "1234567"},
    {0x1.cbe991a14p+36, "1.23456789012e+11", "123456789012", "123456789012"},
    {0x1.5af1d78b58c4p+66, "1e+20", "100000000000000000000", "100000000000000000000"},
    {0x1.b1ae4d6e2ef4fp+69, "9.999999999999999e+20", "999999999999999900000",
        "999999999999999900000"},
    {0x1.b1ae4d6e2ef5p+69, "1e+21", "1e+21", "1000000000000000000000"},
    {0x1.1eb2d66005835p+997, "1.5e+300", "1.5e+300", NULL},
    {0x1.a36e2eb1c432dp-14, "0.0001", "0.0001", "0.0001"},
    {0x1.f75104d551d69p-14, "0.00012", "0.00012", "0.00012"},
    {0x1.4f8b588e368f1p-17, "1e-05", "0.00001", "0.00001"},
    {0x1.0c6f7a0b5ed8dp-20, "1e-06", "0.000001", "0.000001"},
    {0x1.ad7f29abcaf48p-24, "1e-07", "1e-7", "0.0000001"},
    {0x1.421f5f40d8376p-23, "1.5e-07", "1.5e-7", "0.00000015"},
    {0x1p-1074, "5e-324", "5e-324", NULL},
    {0x1.fffffffffffffp+1023, "1.7976931348623157e+308", "1.7976931348623157e+308", NULL},
    {0x1.f655555555555p+08, "502.3333333333333", "502.3333333333333", "502.3333333333333"},
    {0x1.999999999999ap-04, "0.1", "0.1", "0.1"},
    {0x1.3333333333334p-02, "0.30000000000000004", "0.30000000000000004", "0.30000000000000004"},
    {0x1p+53, "9.007199254740992e+15", "9007199254740992", "9007199254740992"},
    {0x1.8492491afc04dp+07, "194.285714", "194.285714", "194.285714"},
    {0x1.1666666666666p+02, "4.35", "4.35", "4.35"},
    {0x1p-1022, "2.2250738585072014e-308", "2.2250738585072014e-308", NULL},
    {0x1.3333333333334p-04, "0.07500000000000001", "0.07500000000000001", "0.07500000000000001"},
    {0x1.12e0be826d695p+00, "1.073741824", "1.073741824", "1.073741824"},
};

static const struct {
    int64_t ns;
    const char *text;
} durations[] = {
    {0, "0s"},
    {1, "1ns"},
    {999, "999ns"},
    {1000, "1\xc2\xb5"
           "s"},
    {1500, "1.5\xc2\xb5"
           "s"},
    {999999, "999.999\xc2\xb5"
             "s"},
    {1000000, "1ms"},
    {194285714, "194.285714ms"},
    {600000000, "600ms"},
    {1500000000, "1.5s"},
    {2500000000, "2.5s"},
    {60000000000, "1m0s"},
    {90000000000, "1m30s"},
    {3600000000000, "1h0m0s"},
    {5400000000000, "1h30m0s"},
    {3661000000001, "1h1m1.000000001s"},
    {-1500000, "-1.5ms"},
    {-7200000000000, "-2h0m0s"},
    {1360000000, "1.36s"},
    {9223372036854775807, "2562047h47m16.854775807s"},
    {INT64_MIN, "-2562047h47m16.854775808s"},
};

static void test_float__g_and_json_as_go_writes_them(void **state)
{
    (void)state;
    char out[FORMAT_FLOAT_MAX];
    for (size_t i = 0; i < ARRAY_LEN(floats); i++) {
        size_t n = format_float_g(out, floats[i].v);
        assert_string_equal(out, floats[i].g);
        assert_int_equal(n, strlen(out));
        n = format_float_json(out, floats[i].v);
        assert_string_equal(out, floats[i].json);
        assert_int_equal(n, strlen(out));
    }
}

static void test_float__f_never_has_an_exponent(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(floats); i++) {
        struct buf b = BUF_INIT;
        format_float_f(&b, floats[i].v);
        buf_putc(&b, 0);
        assert_null(strchr((char *)b.p, 'e'));
        assert_true(strtod((char *)b.p, NULL) == floats[i].v);
        if (floats[i].f != NULL)
            assert_string_equal((char *)b.p, floats[i].f);
        buf_deinit(&b);
    }
}

static void test_float__specials(void **state)
{
    (void)state;
    char out[FORMAT_FLOAT_MAX];
    struct buf b = BUF_INIT;
    format_float_g(out, (double)NAN);
    assert_string_equal(out, "NaN");
    format_float_json(out, (double)INFINITY);
    assert_string_equal(out, "+Inf");
    format_float_f(&b, -(double)INFINITY);
    assert_str(buf_str(&b), "-Inf");
    buf_deinit(&b);
}

/* Any bits: the text reads back as the same double and fits. */
static void test_float__round_trip_of_random_bits(void **state)
{
    (void)state;
    uint64_t x = 88172645463325252u;
    for (int i = 0; i < 200000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        double v;
        char g[FORMAT_FLOAT_MAX], json[FORMAT_FLOAT_MAX];
        memcpy(&v, &x, sizeof(v));
        if (!isfinite(v))
            continue;
        assert_in_range(format_float_g(g, v), 1, FORMAT_FLOAT_MAX - 1);
        assert_in_range(format_float_json(json, v), 1, FORMAT_FLOAT_MAX - 1);
        assert_true(strtod(g, NULL) == v);
        assert_true(strtod(json, NULL) == v);
    }
}

static void test_float__parse(void **state)
{
    (void)state;
    static const char *const good[] = {"0", "1", "-1.5", "+2", ".5", "5.", "1e3", "1E-2", "1e-400"};
    static const char *const bad[] = {
        "", ".", "-", "1e", "1e+", "x", "1x", "0x10", "1_0", "NaN", "Inf", "1e400", " 1", "1 "};
    double v;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_true(parse_float(str_from(good[i]), &v));
        assert_true(v == strtod(good[i], NULL));
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(parse_float(str_from(bad[i]), &v));
}

static void test_duration__text_as_go_writes_it(void **state)
{
    (void)state;
    char out[FORMAT_DURATION_MAX];
    int64_t back;
    for (size_t i = 0; i < ARRAY_LEN(durations); i++) {
        size_t n = format_duration(out, durations[i].ns);
        assert_string_equal(out, durations[i].text);
        assert_int_equal(n, strlen(out));
        assert_true(parse_duration_go(str_from(out), &back));
        assert_int_equal(back, durations[i].ns);
    }
}

static void test_duration__go_syntax(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ns; /* -1: refused */
    } cases[] = {
        {"0", 0},
        {"1.5h", 5400000000000},
        {"+1s", 1000000000},
        {"1.s", 1000000000},
        {".5s", 500000000},
        {"1h1h", 7200000000000},
        {"1\xc2\xb5"
         "s",
            1000},
        {"1\xce\xbc"
         "s",
            1000},
        {"0.3333333333333333333h", 1200000000000},
        {"9223372036854775807ns", INT64_MAX},
        {"9223372036854775808ns", -1},
        {"2562048h", -1},
        {"9223372036.854775808s", -1},
        {"1", -1},
        {"", -1},
        {"-", -1},
        {"s", -1},
        {".s", -1},
        {"1 s", -1},
        {"1e3s", -1},
        {"1d", -1},
        {"99999999999999999999s", -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t ns = -1;
        bool ok = parse_duration_go(str_from(cases[i].text), &ns);
        if (ok != (cases[i].ns != -1) || ns != cases[i].ns)
            fail_msg("%s: %d %lld", cases[i].text, ok, (long long)ns);
    }
    int64_t ns;
    assert_true(parse_duration_go(STR("-9223372036854775808ns"), &ns));
    assert_true(ns == INT64_MIN);
}

static void test_duration__prometheus_syntax(void **state)
{
    (void)state;
    int64_t ns;
    assert_true(parse_duration_prom(STR("1d12h"), &ns));
    assert_int_equal(ns, 36 * 3600000000000);
    assert_true(parse_duration_prom(STR("1y2w3d4h5m6s7ms"), &ns));
    assert_int_equal(ns, ((((365 + 14 + 3) * 24 + 4) * 60 + 5) * 60 + 6) * 1000000000LL + 7000000);
    assert_true(parse_duration_prom(STR("0"), &ns));
    assert_int_equal(ns, 0);
    assert_true(parse_duration_prom(STR("292y"), &ns));
    static const char *const bad[] = {"", "1", "1.5s", "1s1m", "1s1s", "1us", "-1s", "s", "293y",
        "99999999999999999999y", "1ms1s"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(parse_duration_prom(str_from(bad[i]), &ns));
    assert_true(parse_duration(STR("1.5s"), &ns)); /* Go's */
    assert_int_equal(ns, 1500000000);
    assert_true(parse_duration(STR("2w"), &ns)); /* Prometheus' */
    assert_false(parse_duration(STR("1.5d"), &ns));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_float__g_and_json_as_go_writes_them),
        cmocka_unit_test(test_float__f_never_has_an_exponent),
        cmocka_unit_test(test_float__specials),
        cmocka_unit_test(test_float__round_trip_of_random_bits),
        cmocka_unit_test(test_float__parse),
        cmocka_unit_test(test_duration__text_as_go_writes_it),
        cmocka_unit_test(test_duration__go_syntax),
        cmocka_unit_test(test_duration__prometheus_syntax),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
