/* SPDX-License-Identifier: Apache-2.0
 * Trace ids as text. */
#include "model/ids.h"
#include "test_util.h"

static void test_ids__parse_pads_short_ids_on_the_left(void **state)
{
    (void)state;
    struct trace_id id;
    assert_true(trace_id_parse(&id, STR("1f")));
    assert_int_equal(id.b[15], 0x1f);
    for (int i = 0; i < 15; i++)
        assert_int_equal(id.b[i], 0);
    assert_true(trace_id_parse(&id, STR("ABC")));
    assert_int_equal(id.b[14], 0x0a);
    assert_int_equal(id.b[15], 0xbc);
    assert_true(trace_id_parse(&id, STR("000102030405060708090a0b0c0d0e0f")));
    for (int i = 0; i < 16; i++)
        assert_int_equal(id.b[i], i);
}

static void test_ids__parse_refuses_what_is_no_id(void **state)
{
    (void)state;
    struct trace_id id = {.b = {42}};
    assert_false(trace_id_parse(&id, STR("")));
    assert_false(trace_id_parse(&id, STR("xyz")));
    assert_false(trace_id_parse(&id, STR("0x12")));
    assert_false(trace_id_parse(&id, STR(" 12")));
    assert_false(trace_id_parse(&id, STR("000102030405060708090a0b0c0d0e0f0")));
    assert_int_equal(id.b[0], 42); /* written only on success */
}

static void test_ids__short_hex_drops_leading_zeros(void **state)
{
    (void)state;
    char out[32];
    struct trace_id id = {0};
    assert_int_equal(trace_id_short_hex(out, &id), 1);
    assert_int_equal(out[0], '0');
    id.b[15] = 0x0a;
    assert_int_equal(trace_id_short_hex(out, &id), 1);
    assert_int_equal(out[0], 'a');
    id.b[14] = 0xb0;
    assert_int_equal(trace_id_short_hex(out, &id), 4);
    assert_memory_equal(out, "b00a", 4);
    memset(id.b, 0xff, sizeof(id.b));
    assert_int_equal(trace_id_short_hex(out, &id), 32);
}

static void test_ids__short_hex_parses_back(void **state)
{
    (void)state;
    char out[32];
    for (int i = 0; i < 16; i++) {
        struct trace_id id = {0}, back;
        id.b[i] = (uint8_t)(i * 17 + 1);
        size_t n = trace_id_short_hex(out, &id);
        assert_true(trace_id_parse(&back, str_n(out, n)));
        assert_true(trace_id_eq(&id, &back));
        assert_int_equal(trace_id_cmp(&id, &back), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids__parse_pads_short_ids_on_the_left),
        cmocka_unit_test(test_ids__parse_refuses_what_is_no_id),
        cmocka_unit_test(test_ids__short_hex_drops_leading_zeros),
        cmocka_unit_test(test_ids__short_hex_parses_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
