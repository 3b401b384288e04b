/* SPDX-License-Identifier: Apache-2.0
 * JSON in Tempo's dialect, grouping of a trace, and the shared-span-id fix. */
#include <math.h>

#include "../../src/api/json_out.h"
#include "../../src/api/trace_out.h"
#include "unit.h"

static void expect_str(struct str in, const char *json)
{
    struct buf b = BUF_INIT;
    json_str(&b, in);
    assert_str(buf_str(&b), json);
    buf_deinit(&b);
}

static void test_json__strings(void **state)
{
    (void)state;
    expect_str(STR("plain"), "\"plain\"");
    expect_str(STR("a\"b\\c\n\r\t"), "\"a\\\"b\\\\c\\n\\r\\t\"");
    expect_str(STR("<a>&"), "\"\\u003ca\\u003e\\u0026\"");
    expect_str(STR("\x01"), "\"\\u0001\"");
    expect_str(STR("caf\xc3\xa9"), "\"caf\xc3\xa9\"");
    expect_str(STR("\xe2\x80\xa8"), "\"\\u2028\"");
    expect_str(STR("\xff\xc3"), "\"\xef\xbf\xbd\xef\xbf\xbd\"");
    expect_str(str_n("a\0b", 3), "\"a\\u0000b\"");
}

/* Any byte at any place of a string of any length: plain is what is written as it is. */
static void test_json__plain_strings_need_no_escaping(void **state)
{
    (void)state;
    size_t n_plain = 0;
    for (size_t n = 1; n <= 20; n++) {
        for (size_t at = 0; at < n; at++) {
            for (unsigned c = 0; c < 256; c++) {
                char text[20];
                struct buf b = BUF_INIT;
                memset(text, "a~ "[n % 3], sizeof(text));
                text[at] = (char)c;
                json_str(&b, str_n(text, n));
                if (json_plain(str_n(text, n))) {
                    assert_int_equal(b.n, n + 2);
                    assert_memory_equal(b.p + 1, text, n);
                    n_plain++;
                } else {
                    assert_true(c < 0x20 || c >= 0x7f || strchr("\"\\<>&", (int)c) != NULL);
                }
                buf_deinit(&b);
            }
        }
    }
    assert_true(n_plain > 210 * 89);
    assert_true(json_plain(STR("")));
}

static void expect_double(double v, const char *json)
{
    struct buf b = BUF_INIT;
    json_double(&b, v);
    assert_str(buf_str(&b), json);
    buf_deinit(&b);
}

static void test_json__doubles(void **state)
{
    (void)state;
    expect_double(0, "0");
    expect_double(0.1, "0.1");
    expect_double(1, "1");
    expect_double(-0.0, "-0");
    expect_double(4503599627370497, "4503599627370497");
    expect_double(999999999999999, "999999999999999");
    expect_double(1e15, "1000000000000000");
    expect_double(0.99999999, "0.99999999");
    expect_double(1e21, "1e+21");
    expect_double(123456789012345680000.0, "123456789012345680000");
    expect_double(1e-7, "1e-7");
    expect_double(0.000001, "0.000001");
    expect_double(-2.5, "-2.5");
    expect_double(NAN, "\"NaN\"");
    expect_double(INFINITY, "\"Infinity\"");
    expect_double(-INFINITY, "\"-Infinity\"");
}

static void test_json__values(void **state)
{
    struct buf b = BUF_INIT;
    struct value v = {.type = VALUE_INT, .i = -5};
    (void)state;
    json_key_value(&b, STR("k"), &v);
    assert_str(buf_str(&b), "{\"key\":\"k\",\"value\":{\"intValue\":\"-5\"}}");
    buf_reset(&b);
    v = (struct value){.type = VALUE_BYTES, .s = STR("\x01\x02")};
    json_any_value(&b, &v);
    assert_str(buf_str(&b), "{\"bytesValue\":\"AQI=\"}");
    buf_reset(&b);
    v = (struct value){.type = VALUE_ARRAY, .s = STR("\x0a\x03\x0a\x01x\x0a\x02\x18\x07")};
    json_any_value(&b, &v);
    assert_str(buf_str(&b),
        "{\"arrayValue\":{\"values\":[{\"stringValue\":\"x\"},{\"intValue\":\"7\"}]}}");
    buf_reset(&b);
    v = (struct value){.type = VALUE_EMPTY};
    json_any_value(&b, &v);
    assert_str(buf_str(&b), "{}");
    buf_reset(&b);
    json_u64_str(&b, UINT64_MAX);
    assert_str(buf_str(&b), "\"18446744073709551615\"");
    buf_deinit(&b);
}

static const struct read_resource resources[2];
static const struct read_scope scopes[2];

static void test_group__by_resource_then_scope(void **state)
{
    struct result_trace_span spans[6] = {0};
    struct trace_result t = {.spans = spans, .n = 6};
    /* resource, scope of the spans in storage order */
    static const int r[] = {0, 1, 0, 0, 1, 0}, s[] = {0, 0, 1, 0, 1, 1};
    struct trace_groups g;
    struct arena a;
    struct err err = {0};
    (void)state;
    for (size_t i = 0; i < t.n; i++) {
        spans[i].resource = &resources[r[i]];
        spans[i].scope = &scopes[s[i]];
    }
    arena_init(&a, NULL, 0);
    assert_ok(trace_group(&t, &a, &g, &err), err);
    assert_int_equal(g.n_resources, 2);
    assert_int_equal(g.n_scopes, 4);
    static const uint32_t order[] = {0, 3, 2, 5, 1, 4}, ends[] = {2, 4, 5, 6},
                          resource_ends[] = {2, 4};
    assert_memory_equal(g.order, order, sizeof(order));
    assert_memory_equal(g.scope_end, ends, sizeof(ends));
    assert_memory_equal(g.resource_end, resource_ends, sizeof(resource_ends));
    arena_deinit(&a);
}

static void test_group__an_empty_trace_is_an_empty_object(void **state)
{
    struct trace_result t = {0};
    struct trace_groups g;
    struct buf b = BUF_INIT;
    struct arena a;
    struct err err = {0};
    (void)state;
    arena_init(&a, NULL, 0);
    assert_ok(trace_group(&t, &a, &g, &err), err);
    trace_out_json(&t, &g, "batches", &b);
    assert_str(buf_str(&b), "{}");
    buf_deinit(&b);
    arena_deinit(&a);
}

enum { SERVER = 2, CLIENT = 3 };

static void test_shared_ids__the_server_span_gets_a_new_one(void **state)
{
    struct result_trace_span s[4] = {0};
    struct trace_result t = {.spans = s, .n = 4};
    struct arena a;
    struct err err = {0};
    (void)state;
    s[0].span = (struct read_span){.span_id = 1, .kind = CLIENT};
    s[1].span = (struct read_span){.span_id = 7, .parent_id = 1, .kind = CLIENT};
    s[2].span = (struct read_span){.span_id = 7, .parent_id = 1, .kind = SERVER};
    s[3].span = (struct read_span){.span_id = 9, .parent_id = 7};
    arena_init(&a, NULL, 0);
    assert_ok(trace_split_shared_ids(&t, &a, &err), err);
    assert_int_equal(s[1].span.span_id, 7);
    assert_int_equal(s[2].span.span_id, 2); /* the smallest id that is free */
    assert_int_equal(s[2].span.parent_id, 7);
    assert_int_equal(s[3].span.parent_id, 2);
    assert_int_equal(s[1].span.parent_id, 1);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json__strings),
        cmocka_unit_test(test_json__plain_strings_need_no_escaping),
        cmocka_unit_test(test_json__doubles),
        cmocka_unit_test(test_json__values),
        cmocka_unit_test(test_group__by_resource_then_scope),
        cmocka_unit_test(test_group__an_empty_trace_is_an_empty_object),
        cmocka_unit_test(test_shared_ids__the_server_span_gets_a_new_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
