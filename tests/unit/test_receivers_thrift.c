/* SPDX-License-Identifier: Apache-2.0
 * The Thrift reader, both protocols: values, headers, skipping, and what hostile bytes may cost. */
#include "src/receivers/thrift_read.h"
#include "thrift_write.h"

static struct thrift_reader reader(const struct tw *t)
{
    struct thrift_reader r;
    thrift_init(&r, buf_bytes(&t->b), t->compact);
    return r;
}

static void expect_field(struct thrift_reader *r, struct thrift_field *f, int id, int type)
{
    if (!thrift_next(r, f))
        fail_msg("no field %d: %s", id, r->what == NULL ? "end" : r->what);
    assert_int_equal(f->id, id);
    assert_int_equal(f->type, type);
}

static void check_values(bool compact)
{
    struct tw t = {.compact = compact};
    struct thrift_field f = {0};
    int16_t i16;
    int32_t i32;
    int64_t i64;
    double d;
    bool b;
    struct str s;
    tw_bool(&t, 1, true);
    tw_bool(&t, 2, false);
    tw_i16(&t, 3, INT16_MIN);
    tw_i32(&t, 4, INT32_MIN);
    tw_i64(&t, 5, INT64_MIN);
    tw_i64(&t, 6, INT64_MAX);
    tw_double(&t, 7, -2.5);
    tw_str(&t, 8, STR("a\0b"));
    tw_i32(&t, 30000, -1); /* too far for a delta */
    tw_bool(&t, 2, true);  /* backwards */
    tw_end(&t);
    struct thrift_reader r = reader(&t);
    expect_field(&r, &f, 1, THRIFT_BOOL);
    assert_true(thrift_bool(&r, &b) && b);
    expect_field(&r, &f, 2, THRIFT_BOOL);
    assert_true(thrift_bool(&r, &b) && !b);
    expect_field(&r, &f, 3, THRIFT_I16);
    assert_true(thrift_i16(&r, &i16) && i16 == INT16_MIN);
    expect_field(&r, &f, 4, THRIFT_I32);
    assert_true(thrift_i32(&r, &i32) && i32 == INT32_MIN);
    expect_field(&r, &f, 5, THRIFT_I64);
    assert_true(thrift_i64(&r, &i64) && i64 == INT64_MIN);
    expect_field(&r, &f, 6, THRIFT_I64);
    assert_true(thrift_i64(&r, &i64) && i64 == INT64_MAX);
    expect_field(&r, &f, 7, THRIFT_DOUBLE);
    assert_true(thrift_double(&r, &d) && d == -2.5);
    expect_field(&r, &f, 8, THRIFT_STRING);
    assert_true(thrift_string(&r, &s) && str_eq(s, STR("a\0b")));
    expect_field(&r, &f, 30000, THRIFT_I32);
    assert_true(thrift_i32(&r, &i32) && i32 == -1);
    expect_field(&r, &f, 2, THRIFT_BOOL);
    assert_true(thrift_bool(&r, &b) && b);
    assert_false(thrift_next(&r, &f));
    assert_null(r.what);
    buf_deinit(&t.b);
}

static void test_thrift__values_of_every_type(void **state)
{
    (void)state;
    check_values(false);
    check_values(true);
}

/* Field 1 holds one of everything, nested; field 2 must still be found behind it. */
static void check_skip(bool compact)
{
    struct tw t = {.compact = compact};
    struct thrift_field f = {0};
    int64_t i64;
    tw_struct(&t, 1);
    tw_bool(&t, 1, true);
    tw_head(&t, TW_I8, 2);
    buf_putc(&t.b, 5);
    tw_double(&t, 3, 1);
    tw_strz(&t, 4, "text");
    tw_list(&t, 5, TW_I64, 20);
    for (int i = 0; i < 20; i++)
        tw_int(&t, i - 10, 8);
    tw_list(&t, 6, TW_BOOL, 3);
    buf_put(&t.b, "\1\2\1", 3);
    tw_list(&t, 7, TW_STRUCT, 2);
    for (int i = 0; i < 2; i++) {
        tw_open(&t);
        tw_i16(&t, 9, 1);
        tw_list(&t, 10, TW_LIST, 1);
        tw_list_body(&t, TW_STRING, 1);
        tw_text(&t, STR("deep"));
        tw_end(&t);
    }
    tw_head(&t, TW_MAP, 8); /* string -> i32, two pairs */
    if (compact) {
        buf_put_varint(&t.b, 2);
        buf_putc(&t.b, (char)0x85);
    } else {
        buf_putc(&t.b, TW_STRING);
        buf_putc(&t.b, TW_I32);
        tw_be(&t, 2, 4);
    }
    for (int i = 0; i < 2; i++) {
        tw_text(&t, STR("k"));
        tw_int(&t, -i, 4);
    }
    tw_head(&t, TW_MAP, 9); /* empty: compact writes no types */
    buf_put(&t.b, compact ? "\0" : "\13\10\0\0\0\0", compact ? 1 : 6);
    tw_end(&t);
    tw_i64(&t, 2, 42);
    tw_end(&t);
    struct thrift_reader r = reader(&t);
    expect_field(&r, &f, 1, THRIFT_STRUCT);
    if (!thrift_skip(&r, &f))
        fail_msg("%s at %zu", r.what, (size_t)(r.at - r.base));
    expect_field(&r, &f, 2, THRIFT_I64);
    assert_true(thrift_i64(&r, &i64) && i64 == 42);
    for (size_t n = 1; n < t.b.n; n++) { /* cut anywhere: an end, never past it */
        uint8_t *copy = malloc(n);
        memcpy(copy, t.b.p, n);
        thrift_init(&r, bytes_n(copy, n), compact);
        f = (struct thrift_field){0};
        while (thrift_next(&r, &f) && thrift_skip(&r, &f))
            ;
        assert_non_null(r.what);
        free(copy);
    }
    buf_deinit(&t.b);
}

static void test_thrift__what_is_unknown_is_skipped(void **state)
{
    (void)state;
    check_skip(false);
    check_skip(true);
}

static bool skip_lists(unsigned depth, bool compact)
{
    struct tw t = {.compact = compact};
    struct thrift_field f = {0};
    tw_list(&t, 1, TW_LIST, 1);
    for (unsigned i = 1; i < depth; i++)
        tw_list_body(&t, i + 1 < depth ? TW_LIST : TW_BOOL, 1);
    buf_putc(&t.b, 1);
    tw_end(&t);
    struct thrift_reader r = reader(&t);
    assert_true(thrift_next(&r, &f));
    bool ok = thrift_skip(&r, &f);
    if (!ok)
        assert_string_equal(r.what, "nested too deep");
    buf_deinit(&t.b);
    return ok;
}

static void test_thrift__depth_is_bounded(void **state)
{
    (void)state;
    for (int compact = 0; compact < 2; compact++) {
        assert_true(skip_lists(THRIFT_DEPTH, compact));
        assert_false(skip_lists(THRIFT_DEPTH + 1, compact));
        assert_false(skip_lists(1000000, compact));
    }
}

static void expect_failure(bool compact, const char *bytes, size_t n,
    bool (*read)(struct thrift_reader *), const char *why)
{
    struct thrift_reader r;
    thrift_init(&r, bytes_n(bytes, n), compact);
    assert_false(read(&r));
    assert_non_null(r.what);
    if (strstr(r.what, why) == NULL)
        fail_msg("\"%s\" is not \"%s\"", r.what, why);
    assert_true(r.p == r.end); /* nothing can be read any more */
}

static bool read_string(struct thrift_reader *r)
{
    struct str s;
    return thrift_string(r, &s);
}
static bool read_structs(struct thrift_reader *r)
{
    uint32_t n;
    return thrift_structs(r, &n);
}
static bool read_i32(struct thrift_reader *r)
{
    int32_t v;
    return thrift_i32(r, &v);
}
static bool read_i16(struct thrift_reader *r)
{
    int16_t v;
    return thrift_i16(r, &v);
}
static bool read_message(struct thrift_reader *r)
{
    struct str s;
    unsigned type;
    return thrift_message(r, &s, &type);
}
static bool skip_field(struct thrift_reader *r)
{
    struct thrift_field f = {0};
    return thrift_next(r, &f) && thrift_skip(r, &f);
}

#define FAILS(compact, bytes, read, why) \
    expect_failure(compact, bytes, sizeof(bytes) - 1, read, why)

static void test_thrift__lengths_are_checked(void **state)
{
    (void)state;
    FAILS(false, "\x7f\xff\xff\xff", read_string, "longer than the message");
    FAILS(false, "\xff\xff\xff\xff", read_string, "negative length");
    FAILS(true, "\xff\xff\xff\xff\x0f", read_string, "longer than the message");
    FAILS(true, "\x02x", read_string, "longer than the message");
    FAILS(false, "\x0c\x7f\xff\xff\xff", read_structs, "list longer than the message");
    FAILS(true, "\xfc\xff\xff\xff\xff\x7f", read_structs, "list longer than the message");
    FAILS(true, "\x1b", read_structs, "list longer than the message");
    FAILS(false, "\x0b\0\0\0\1....", read_structs, "list of structs expected");
    FAILS(true, "\xfe\xff\xff\xff\x1f", read_i32, "out of the range");
    FAILS(true, "\x80\x80\x04", read_i16, "out of the range");
    FAILS(true, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", read_i32, "64 bits");
    FAILS(false, "\x0d\0\1\x0b\x08\x7f\0\0\0", skip_field, "map longer than the message");
    FAILS(false, "\x01\0\1", skip_field, "unknown type");
    FAILS(true, "\x1f", skip_field, "unknown type");
    FAILS(true, "\x19\x10", skip_field, "list longer than the message");
    FAILS(true, "\x19\x10\0", skip_field, "unknown type");
}

static void test_thrift__message_headers(void **state)
{
    struct thrift_reader r;
    struct str name;
    unsigned type;
    (void)state;
    for (int compact = 0; compact < 2; compact++) {
        struct tw t = {.compact = compact};
        tw_message(&t, "emitBatch", THRIFT_ONEWAY);
        r = reader(&t);
        assert_true(thrift_message(&r, &name, &type));
        assert_str(name, "emitBatch");
        assert_int_equal(type, THRIFT_ONEWAY);
        assert_true(r.p == r.end);
        buf_deinit(&t.b);
    }
    thrift_init(&r, bytes_n("\0\0\0\2ab\1\0\0\0\7", 11), false); /* old header: no version */
    assert_true(thrift_message(&r, &name, &type));
    assert_str(name, "ab");
    assert_int_equal(type, THRIFT_CALL);
    assert_true(r.p == r.end);
    FAILS(false, "\x80\x02\0\1", read_message, "unknown version");
    FAILS(false, "\0\0\1\0ab", read_message, "longer than the message");
    FAILS(true, "\x80\x21\0\0", read_message, "not a message");
    FAILS(true, "\x82\x22\0\0", read_message, "not a message");
    FAILS(true, "\x82", read_message, "cut short");
    FAILS(false, "", read_message, "cut short");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_thrift__values_of_every_type),
        cmocka_unit_test(test_thrift__what_is_unknown_is_skipped),
        cmocka_unit_test(test_thrift__depth_is_bounded),
        cmocka_unit_test(test_thrift__lengths_are_checked),
        cmocka_unit_test(test_thrift__message_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
