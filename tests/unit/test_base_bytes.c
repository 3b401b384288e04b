/* SPDX-License-Identifier: Apache-2.0
 * Views, numbers, UTF-8, varints, hex and base64: edges of each. */
#include "base/bytes.h"
#include "base/hash.h"
#include "unit.h"

static void test_str__compares_bytewise(void **state)
{
    (void)state;
    assert_true(str_cmp(STR("a"), STR("b")) < 0);
    assert_true(str_cmp(STR("ab"), STR("a")) > 0);
    assert_true(str_cmp(STR("\x80"), STR("a")) > 0);
    assert_int_equal(str_cmp(str_n(NULL, 0), STR("")), 0);
    assert_true(str_eq(str_n(NULL, 0), STR("")));
    assert_true(str_ieq(STR("X-Scope-OrgID"), STR("x-scope-orgid")));
    assert_false(str_ieq(STR("a"), STR("ab")));
    assert_false(str_ieq(STR("@"), STR("`"))); /* 0x40 and 0x60: letters only are folded */
}

static void test_str__searches_and_trims(void **state)
{
    (void)state;
    assert_true(str_starts(STR("abc"), STR("ab")) && str_starts(STR(""), STR("")));
    assert_false(str_starts(STR("a"), STR("ab")));
    assert_true(str_ends(STR("abc"), STR("bc")) && str_ends(str_n(NULL, 0), STR("")));
    assert_false(str_ends(STR("c"), STR("bc")));
    assert_true(str_has(STR("abc"), STR("")) && str_has(STR("abc"), STR("bc")));
    assert_false(str_has(str_n(NULL, 0), STR("a")));
    assert_str(str_trim(STR(" \t a b \t")), "a b");
    assert_str(str_trim(STR("  ")), "");
    assert_str(str_trim(str_n(NULL, 0)), "");
}

static void test_str_cut__walks_all_parts(void **state)
{
    (void)state;
    struct str rest = STR("a,,b");
    assert_str(str_cut(rest, ',', &rest), "a");
    assert_str(str_cut(rest, ',', &rest), "");
    assert_str(str_cut(rest, ',', &rest), "b");
    assert_int_equal(rest.n, 0);
    assert_str(str_cut(str_n(NULL, 0), ',', &rest), "");
    assert_str(str_cut(STR("a,"), ',', &rest), "a");
    assert_int_equal(rest.n, 0);
}

static void test_numbers__refuse_what_does_not_fit(void **state)
{
    (void)state;
    uint64_t u = 7;
    int64_t i = 7;
    assert_true(str_to_u64(STR("18446744073709551615"), &u));
    assert_true(u == UINT64_MAX);
    assert_false(str_to_u64(STR("18446744073709551616"), &u));
    assert_false(str_to_u64(STR("99999999999999999999999"), &u));
    assert_true(u == UINT64_MAX); /* outputs only on success */
    assert_false(str_to_u64(STR(""), &u) || str_to_u64(STR("-1"), &u) ||
                 str_to_u64(STR("+1"), &u) || str_to_u64(STR(" 1"), &u) ||
                 str_to_u64(STR("1x"), &u) || str_to_u64(str_n("1\0", 2), &u));
    assert_true(str_to_i64(STR("-9223372036854775808"), &i) && i == INT64_MIN);
    assert_true(str_to_i64(STR("9223372036854775807"), &i) && i == INT64_MAX);
    assert_false(str_to_i64(STR("9223372036854775808"), &i));
    assert_false(str_to_i64(STR("-9223372036854775809"), &i));
    assert_false(
        str_to_i64(STR("-"), &i) || str_to_i64(STR("-+1"), &i) || str_to_i64(STR("--1"), &i));
}

static void test_utf8__accepts_only_shortest_forms(void **state)
{
    (void)state;
    static const struct str good[] = {
        STR(""),
        STR("plain text of more than eight bytes"),
        STR("\xc2\x80"),
        STR("\xdf\xbf"),
        STR("\xe0\xa0\x80"),
        STR("\xed\x9f\xbf"),
        STR("\xee\x80\x80"),
        STR("\xef\xbf\xbf"),
        STR("\xf0\x90\x80\x80"),
        STR("\xf4\x8f\xbf\xbf"),
        STR("1234567\xc3\xa4"),
        STR("\0\x01"),
    };
    static const struct str bad[] = {
        STR("\x80"),
        STR("\xc0\x80"),
        STR("\xc1\xbf"),
        STR("\xc2"),
        STR("\xc2\x41"),
        STR("\xe0\x9f\xbf"),
        STR("\xed\xa0\x80"), /* surrogate */
        STR("\xe2\x82"),
        STR("\xe2\x82\x41"),
        STR("\xf0\x8f\xbf\xbf"),
        STR("\xf4\x90\x80\x80"), /* past U+10FFFF */
        STR("\xf5\x80\x80\x80"),
        STR("\xf0\x90\x80"),
        STR("\xff"),
        STR("1234567\xc3"),
        STR("12345678\xc3"),
    };
    assert_true(str_utf8_valid(str_n(NULL, 0)));
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        if (!str_utf8_valid(good[i]))
            fail_msg("good[%zu] refused", i);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (str_utf8_valid(bad[i]))
            fail_msg("bad[%zu] accepted", i);
}

static void test_varint__round_trips_at_every_width(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits <= 64; bits++) {
        uint64_t edge = bits == 64 ? UINT64_MAX : 1ULL << bits;
        for (uint64_t v = edge - 1;; v++) {
            uint8_t text[10];
            uint64_t back = ~v;
            size_t n = varint_put(text, v);
            assert_int_equal(n, varint_size(v));
            assert_ptr_equal(varint_get(text, text + n, &back), text + n);
            assert_true(back == v);
            for (size_t cut = 0; cut < n; cut++)
                assert_null(varint_get(text, text + cut, &back));
            if (v == edge)
                break;
        }
    }
}

static void test_varint__refuses_more_than_64_bits(void **state)
{
    (void)state;
    uint64_t v = 5;
    const uint8_t bit65[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
    const uint8_t eleven[] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0};
    const uint8_t padded[] = {0x81, 0x80, 0x00};
    assert_null(varint_get(bit65, bit65 + sizeof(bit65), &v));
    assert_null(varint_get(eleven, eleven + sizeof(eleven), &v));
    assert_true(v == 5);
    assert_ptr_equal(varint_get(padded, padded + 3, &v), padded + 3);
    assert_true(v == 1);
    assert_null(varint_get(NULL, NULL, &v));
}

static void test_count_bits__as_the_builtin_does(void **state)
{
    uint64_t v = 0x9e3779b97f4a7c15u;
    (void)state;
    assert_int_equal(count_bits(0), 0);
    assert_int_equal(count_bits(UINT64_MAX), 64);
    for (unsigned i = 0; i < 1000; i++, v = v * 0xff51afd7ed558ccdu + 1) {
        assert_int_equal(count_bits(v), __builtin_popcountll(v));
        assert_int_equal(count_bits(1ULL << i % 64), 1);
    }
}

static void test_zigzag__covers_the_ends(void **state)
{
    (void)state;
    static const int64_t all[] = {0, -1, 1, INT64_MIN, INT64_MAX, -64, 63};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        assert_true(zigzag_decode(zigzag_encode(all[i])) == all[i]);
    assert_int_equal(zigzag_encode(-1), 1);
}

static void test_endian__is_fixed(void **state)
{
    (void)state;
    uint8_t p[8];
    put_u32be(p, 0x01020304);
    assert_memory_equal(p, "\x01\x02\x03\x04", 4);
    assert_int_equal(get_u32be(p), 0x01020304);
    assert_int_equal(get_u32le(p), 0x04030201);
    assert_int_equal(get_u16le(p), 0x0201);
    put_u64be(p, 0x0102030405060708ULL);
    assert_true(get_u64be(p) == 0x0102030405060708ULL);
    assert_true(get_u64le(p) == 0x0807060504030201ULL);
}

static void test_hex__round_trips_and_checks_length(void **state)
{
    (void)state;
    uint8_t raw[4] = {0x00, 0x7f, 0xa5, 0xff}, back[4] = {1, 2, 3, 4};
    char text[8];
    hex_encode(text, raw, 4);
    assert_memory_equal(text, "007fa5ff", 8);
    assert_true(hex_decode(back, STR("007FA5fF"), 4));
    assert_memory_equal(back, raw, 4);
    assert_false(hex_decode(back, STR("007fa5f"), 4));
    assert_false(hex_decode(back, STR("007fa5fff"), 4));
    assert_false(hex_decode(back, STR("007fa5fg"), 4));
    assert_false(hex_decode(back, STR("007fa5f:"), 4));
    assert_true(hex_decode(back, STR(""), 0));
}

static void test_base64__matches_rfc4648(void **state)
{
    (void)state;
    static const struct {
        struct str raw, text;
    } rows[] = {
        {STR(""), STR("")},
        {STR("f"), STR("Zg==")},
        {STR("fo"), STR("Zm8=")},
        {STR("foo"), STR("Zm9v")},
        {STR("foobar"), STR("Zm9vYmFy")},
        {STR("\xfb\xff\xfe"), STR("+//+")},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[16];
        uint8_t raw[16];
        size_t n = base64_encode(text, bytes_of_str(rows[i].raw));
        assert_int_equal(n, base64_size(rows[i].raw.n));
        assert_true(str_eq(str_n(text, n), rows[i].text));
        assert_true(base64_decode(raw, &n, rows[i].text));
        assert_true(bytes_eq(bytes_n(raw, n), bytes_of_str(rows[i].raw)));
        struct str bare = rows[i].text; /* padding is optional */
        while (bare.n > 0 && bare.p[bare.n - 1] == '=')
            bare.n--;
        assert_true(base64_decode(raw, &n, bare));
        assert_int_equal(n, rows[i].raw.n);
    }
}

static void test_base64__refuses_malformed_text(void **state)
{
    (void)state;
    static const struct str bad[] = {STR("Z"), STR("Zg==="), STR("===="), STR("="), STR("Zm9v\n"),
        STR("Zm9-"), STR("Z=9v"), STR("Zh=="), STR("Zm9="), STR("\0mAA"), STR("Zm9vY")};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        uint8_t raw[16];
        size_t n = 99;
        if (base64_decode(raw, &n, bad[i]) || n != 99)
            fail_msg("bad[%zu] accepted", i);
    }
}

static void test_hash__is_the_published_xxh3(void **state)
{
    (void)state;
    assert_true(hash64("", 0) == 0x2d06800538d394c2ULL);
    assert_true(hash64("a", 1) != hash64_seed("a", 1, 1));
    assert_true(hash_mix(1) != hash_mix(2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_str__compares_bytewise),
        cmocka_unit_test(test_str__searches_and_trims),
        cmocka_unit_test(test_str_cut__walks_all_parts),
        cmocka_unit_test(test_numbers__refuse_what_does_not_fit),
        cmocka_unit_test(test_utf8__accepts_only_shortest_forms),
        cmocka_unit_test(test_varint__round_trips_at_every_width),
        cmocka_unit_test(test_varint__refuses_more_than_64_bits),
        cmocka_unit_test(test_count_bits__as_the_builtin_does),
        cmocka_unit_test(test_zigzag__covers_the_ends),
        cmocka_unit_test(test_endian__is_fixed),
        cmocka_unit_test(test_hex__round_trips_and_checks_length),
        cmocka_unit_test(test_base64__matches_rfc4648),
        cmocka_unit_test(test_base64__refuses_malformed_text),
        cmocka_unit_test(test_hash__is_the_published_xxh3),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
