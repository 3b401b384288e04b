/* SPDX-License-Identifier: Apache-2.0
 * OTLP/JSON: each rule of the dialect, by what the decoder then sees. */
#include <math.h>

#include "model/batch.h"
#include "otlp_fixture.h"
#include "receivers/receivers.h"
#include "test_util.h"

struct doc {
    struct buf pb;
    struct arena arena;
    struct batch b;
};

static void doc_free(struct doc *d)
{
    arena_deinit(&d->arena);
    buf_deinit(&d->pb);
}

static void load_n(struct doc *d, const char *json, size_t n)
{
    struct err err = {0};
    *d = (struct doc){0};
    arena_init(&d->arena, NULL, 0);
    if (otlp_json_to_pb(bytes_n(json, n), &d->pb, &err) != EC_OK)
        fail_msg("%s\n%.*s", err.msg, (int)n, json);
    if (batch_decode(&d->b, buf_bytes(&d->pb), NULL, &d->arena, &err) != EC_OK)
        fail_msg("%s\n%.*s", err.msg, (int)n, json);
}

static void load(struct doc *d, const char *json)
{
    load_n(d, json, strlen(json));
}

static enum ec result_n(const char *json, size_t n)
{
    struct buf out = BUF_INIT;
    struct err err = {0};
    buf_putc(&out, '!');
    enum ec ec = otlp_json_to_pb(bytes_n(json, n), &out, &err);
    if (ec != EC_OK) {
        assert_int_equal(out.n, 1); /* what was there before stays, and nothing else */
        assert_non_null(strstr(err.msg, "otlp json: "));
    }
    buf_deinit(&out);
    return ec;
}

static enum ec result(const char *json)
{
    return result_n(json, strlen(json));
}

/* A request with one span whose members are `members`, and one with one attribute of that value. */
#define SPAN(members) "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{" members "}]}]}]}"
#define VALUE(value)  SPAN("\"attributes\":[{\"key\":\"k\",\"value\":" value "}]")

static enum ec span_result(const char *members)
{
    char json[4096];
    snprintf(json, sizeof(json), SPAN("%s"), members);
    return result(json);
}

static enum ec value_result(const char *value)
{
    char json[4096];
    snprintf(json, sizeof(json), VALUE("%s"), value);
    return result(json);
}

static struct value load_value(struct doc *d, const char *value)
{
    char json[4096];
    snprintf(json, sizeof(json), VALUE("%s"), value);
    load(d, json);
    assert_int_equal(d->b.n_attrs, 1);
    return d->b.attrs[0].value;
}

static void test_json__outermost(void **state)
{
    (void)state;
    struct doc d;
    static const char *const empty[] = {"{}", " \t\r\n{ } trailing [[[", "null",
        "{\"resourceSpans\":[]}", "{\"resourceSpans\":null}", "{\"other\":{\"a\":[1,{}]}}", "{}}",
        "{}\xff"};
    for (size_t i = 0; i < ARRAY_LEN(empty); i++) {
        load(&d, empty[i]);
        assert_int_equal(d.b.n_spans, 0);
        assert_int_equal(d.pb.n, 0);
        doc_free(&d);
    }
    static const char *const bad[] = {"", " ", "[]", "1", "\"x\"", "{", "nul", "tru", "{]", "{,}",
        "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{\"a\":1 \"b\":2}", "{a:1}", "\xef\xbb\xbf{}",
        "{\"resourceSpans\":{}}", "{\"resourceSpans\":[1]}", "{\"resourceSpans\":[{},]}",
        "{\"resourceSpans\":[{}", "{\"resourceSpans\":\"\"}", "{\"resourceSpans\":[{} {}]}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(result(bad[i]), EC_INVALID);
    assert_int_equal(result_n("{\0}", 3), EC_INVALID);
    assert_int_equal(otlp_json_to_pb(bytes_n(NULL, 0), &d.pb, NULL), EC_INVALID);
}

static const char full[] =
    "{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\",\"value\":"
    "{\"stringValue\":\"cart\"}}],\"droppedAttributesCount\":1,\"entityRefs\":[{\"type\":\"t\","
    "\"idKeys\":[\"a\",\"b\"]}]},\"scopeSpans\":[{\"scope\":{\"name\":\"lib\",\"version\":\"1\","
    "\"attributes\":[{\"key\":\"s\",\"value\":{\"boolValue\":true}}]},\"schemaUrl\":\"u2\",\"spans\":[{"
    "\"traceId\":\"5B8EFFF798038103D269B633813FC60C\",\"spanId\":\"eee19b7ec3c1b174\","
    "\"parentSpanId\":\"eee19b7ec3c1b173\",\"traceState\":\"a=b\",\"name\":\"op\",\"kind\":2,"
    "\"startTimeUnixNano\":\"1544712660000000001\",\"endTimeUnixNano\":1544712661000000003,"
    "\"flags\":257,\"droppedAttributesCount\":3,\"droppedEventsCount\":\"4\",\"droppedLinksCount\":5,"
    "\"attributes\":[{\"key\":\"i\",\"value\":{\"intValue\":\"-9007199254740993\"}}],"
    "\"events\":[{\"timeUnixNano\":\"7\",\"name\":\"e\",\"droppedAttributesCount\":8,"
    "\"attributes\":[{\"key\":\"d\",\"value\":{\"doubleValue\":0.5}}]}],"
    "\"links\":[{\"traceId\":\"5b8efff798038103d269b633813fc60c\",\"spanId\":\"0000000000000001\","
    "\"traceState\":\"x\",\"flags\":\"1\",\"droppedAttributesCount\":9,\"attributes\":[]}],"
    "\"status\":{\"code\":\"STATUS_CODE_ERROR\",\"message\":\"boom\"}}]}],\"schemaUrl\":\"u1\"}]}";

static void check_full(const struct batch *b)
{
    static const uint8_t id[16] = {0x5b, 0x8e, 0xff, 0xf7, 0x98, 0x03, 0x81, 0x03, 0xd2, 0x69, 0xb6,
        0x33, 0x81, 0x3f, 0xc6, 0x0c};
    assert_int_equal(b->n_spans, 1);
    const struct batch_span *s = &b->spans[0];
    assert_int_equal(s->reject, SPAN_ACCEPTED);
    assert_memory_equal(s->trace_id.b, id, 16);
    assert_true(s->span_id == 0xeee19b7ec3c1b174u);
    assert_true(s->parent_id == 0xeee19b7ec3c1b173u);
    assert_true(str_eqz(s->trace_state, "a=b"));
    assert_true(str_eqz(s->name, "op"));
    assert_int_equal(s->kind, 2);
    assert_true(s->start_ns == 1544712660000000001u);
    assert_true(s->end_ns == 1544712661000000003u);
    assert_int_equal(s->flags, 257);
    assert_int_equal(s->dropped_attrs, 3);
    assert_int_equal(s->dropped_events, 4);
    assert_int_equal(s->dropped_links, 5);
    assert_int_equal(s->status_code, 2);
    assert_true(str_eqz(s->status_message, "boom"));
    assert_int_equal(s->attr_n, 1);
    assert_int_equal(b->attrs[s->attr_first].value.type, VALUE_INT);
    assert_true(b->attrs[s->attr_first].value.i == -9007199254740993); /* past a double */
    assert_int_equal(s->event_n, 1);
    const struct batch_event *e = &b->events[0];
    assert_int_equal(e->time_ns, 7);
    assert_true(str_eqz(e->name, "e"));
    assert_int_equal(e->dropped_attrs, 8);
    assert_true(b->attrs[e->attr_first].value.d == 0.5);
    assert_int_equal(s->link_n, 1);
    const struct batch_link *l = &b->links[0];
    assert_memory_equal(l->trace_id.b, id, 16);
    assert_int_equal(l->span_id, 1);
    assert_true(str_eqz(l->trace_state, "x"));
    assert_int_equal(l->flags, 1);
    assert_int_equal(l->dropped_attrs, 9);
    const struct batch_resource *r = &b->resources[s->resource];
    assert_int_equal(r->attr_n, 1);
    assert_true(str_eqz(b->attrs[r->attr_first].value.s, "cart"));
    assert_int_equal(r->dropped_attrs, 1);
    assert_true(str_eqz(r->schema_url, "u1"));
    const struct batch_scope *c = &b->scopes[s->scope];
    assert_true(str_eqz(c->name, "lib"));
    assert_true(str_eqz(c->version, "1"));
    assert_true(str_eqz(c->schema_url, "u2"));
    assert_true(b->attrs[c->attr_first].value.b);
}

static void test_json__every_field(void **state)
{
    (void)state;
    struct doc d;
    load(&d, full);
    check_full(&d.b);
    doc_free(&d);
}

/* The same text with every key in its protobuf name. */
static void test_json__snake_case_keys(void **state)
{
    (void)state;
    struct doc d;
    struct buf snake = BUF_INIT;
    for (const char *p = full; *p != 0; p++) {
        bool key = p > full && p[1] >= 'a' && p[1] <= 'z' && *p >= 'A' && *p <= 'Z' &&
                   p[-1] >= 'a' && p[-1] <= 'z';
        if (key)
            buf_putc(&snake, '_');
        buf_putc(&snake, key ? (char)(*p - 'A' + 'a') : *p);
    }
    buf_putc(&snake, 0);
    assert_non_null(strstr((char *)snake.p, "start_time_unix_nano"));
    assert_non_null(strstr((char *)snake.p, "\"double_value\""));
    load_n(&d, (char *)snake.p, snake.n - 1);
    check_full(&d.b);
    doc_free(&d);
    buf_deinit(&snake);
    /* neither of the two: unknown, so skipped */
    load(&d, SPAN("\"Name\":1,\"start_timeUnixNano\":true,\"parent_span_i\":2,\"na_me\":[]"));
    assert_int_equal(d.b.spans[0].name.n, 0);
    doc_free(&d);
}

static void test_json__every_prefix_is_refused(void **state)
{
    (void)state;
    for (size_t n = 0; n + 1 < sizeof(full); n++) {
        char *exact = malloc(n == 0 ? 1 : n); /* a byte too many is seen by the sanitizer */
        memcpy(exact, full, n);
        assert_int_equal(result_n(exact, n), EC_INVALID);
        free(exact);
    }
}

static void test_json__ids(void **state)
{
    (void)state;
    struct doc d;
    assert_int_equal(span_result("\"traceId\":\"\""), EC_OK);
    assert_int_equal(span_result("\"traceId\":null"), EC_OK);
    assert_int_equal(span_result("\"traceId\":\"5b8efff798038103d269b633813fc60\""), EC_INVALID);
    assert_int_equal(span_result("\"traceId\":\"5b8efff798038103d269b633813fc60c0\""), EC_INVALID);
    assert_int_equal(span_result("\"traceId\":\"5b8efff798038103\""), EC_INVALID);
    assert_int_equal(span_result("\"traceId\":\"abcd\""), EC_INVALID);
    assert_int_equal(span_result("\"traceId\":\"5b8efff798038103d269b633813fc60g\""), EC_INVALID);
    assert_int_equal(span_result("\"traceId\":\"W47/95gDgQPSabYzgT/GDA==\""), EC_INVALID);
    assert_int_equal(span_result("\"traceId\":7"), EC_INVALID);
    assert_int_equal(span_result("\"spanId\":\"eee19b7ec3c1b17\""), EC_INVALID);
    assert_int_equal(span_result("\"spanId\":\"eee19b7ec3c1b1740\""), EC_INVALID);
    assert_int_equal(span_result("\"parentSpanId\":\"1\""), EC_INVALID);
    assert_int_equal(span_result("\"links\":[{\"spanId\":\"12\"}]"), EC_INVALID);
    load(&d, SPAN("\"traceId\":\"00000000000000000000000000000000\""));
    assert_int_equal(d.b.spans[0].reject, SPAN_BAD_TRACE_ID);
    assert_int_equal(d.b.spans[0].bad_id_len, 0);
    doc_free(&d);
}

static void test_json__enums(void **state)
{
    (void)state;
    static const char *const names[] = {
        "UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"};
    struct doc d;
    char json[512];
    for (int i = 0; i < 6; i++) {
        snprintf(json, sizeof(json), SPAN("\"kind\":\"SPAN_KIND_%s\""), names[i]);
        load(&d, json);
        assert_int_equal(d.b.spans[0].kind, i);
        doc_free(&d);
    }
    load(&d, SPAN("\"kind\":-7,\"status\":{\"code\":99}"));
    assert_int_equal(d.b.spans[0].kind, -7); /* unknown numbers are kept */
    assert_int_equal(d.b.spans[0].status_code, 99);
    doc_free(&d);
    load(&d, SPAN("\"status\":{\"code\":\"STATUS_CODE_OK\"}"));
    assert_int_equal(d.b.spans[0].status_code, 1);
    doc_free(&d);
    assert_int_equal(span_result("\"kind\":2147483647"), EC_OK);
    assert_int_equal(span_result("\"kind\":2147483648"), EC_INVALID);
    assert_int_equal(span_result("\"kind\":\"SERVER\""), EC_INVALID);
    assert_int_equal(span_result("\"kind\":\"STATUS_CODE_OK\""), EC_INVALID);
    assert_int_equal(span_result("\"kind\":null"), EC_INVALID);
    assert_int_equal(span_result("\"kind\":1.0"), EC_INVALID);
    assert_int_equal(span_result("\"status\":{\"code\":\"\"}"), EC_INVALID);
}

static void test_json__integers(void **state)
{
    (void)state;
    struct doc d;
    assert_true(load_value(&d, "{\"intValue\":9223372036854775807}").i == INT64_MAX);
    doc_free(&d);
    assert_true(load_value(&d, "{\"intValue\":\"-9223372036854775808\"}").i == INT64_MIN);
    doc_free(&d);
    assert_int_equal(value_result("{\"intValue\":9223372036854775808}"), EC_INVALID);
    assert_int_equal(value_result("{\"intValue\":-9223372036854775809}"), EC_INVALID);
    assert_int_equal(value_result("{\"intValue\":1.5}"), EC_INVALID);
    assert_int_equal(value_result("{\"intValue\":1e3}"), EC_INVALID);
    assert_int_equal(value_result("{\"intValue\":01}"), EC_INVALID);
    assert_int_equal(value_result("{\"intValue\":\"\"}"), EC_INVALID);
    assert_int_equal(value_result("{\"intValue\":\" 1\"}"), EC_INVALID);
    assert_int_equal(value_result("{\"intValue\":\"0x1\"}"), EC_INVALID);
    assert_int_equal(value_result("{\"intValue\":null}"), EC_INVALID);
    assert_int_equal(value_result("{\"intValue\":true}"), EC_INVALID);
    assert_int_equal(value_result("{\"intValue\":-}"), EC_INVALID);
    assert_int_equal(span_result("\"startTimeUnixNano\":18446744073709551615"), EC_OK);
    assert_int_equal(span_result("\"startTimeUnixNano\":18446744073709551616"), EC_INVALID);
    assert_int_equal(span_result("\"startTimeUnixNano\":-1"), EC_INVALID);
    assert_int_equal(span_result("\"startTimeUnixNano\":null"), EC_INVALID);
    assert_int_equal(span_result("\"droppedLinksCount\":4294967295"), EC_OK);
    assert_int_equal(span_result("\"droppedLinksCount\":4294967296"), EC_INVALID);
    assert_int_equal(span_result("\"flags\":4294967295"), EC_OK);
    assert_int_equal(span_result("\"flags\":4294967296"), EC_INVALID);
}

static void test_json__doubles(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        double want;
    } good[] = {{"0.1", 0.1}, {"-0.0", -0.0}, {"5", 5}, {"1e-7", 1e-7}, {"1E+2", 100},
        {"\"2.5\"", 2.5}, {"\"Infinity\"", INFINITY}, {"\"-Infinity\"", -INFINITY},
        {"\"+inf\"", INFINITY},
        {"123456789012345678901234567890", 123456789012345678901234567890.0}, {"1e-400", 0}};
    static const char *const bad[] = {"NaN", "Infinity", "\"\"", "\"1x\"", "\"0x10\"", "\" 1\"",
        "1e999", "\"1e999\"", "1.", ".5", "+1", "1e", "--1", "\"-NaN\"", "null", "true",
        "\"infinit\"", "[]"};
    struct doc d;
    char json[128];
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        snprintf(json, sizeof(json), "{\"doubleValue\":%s}", good[i].json);
        struct value v = load_value(&d, json);
        assert_int_equal(v.type, VALUE_DOUBLE);
        assert_true(v.d == good[i].want && signbit(v.d) == signbit(good[i].want));
        doc_free(&d);
    }
    assert_true(isnan(load_value(&d, "{\"doubleValue\":\"NaN\"}").d));
    doc_free(&d);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        snprintf(json, sizeof(json), "{\"doubleValue\":%s}", bad[i]);
        assert_int_equal(value_result(json), EC_INVALID);
    }
    char digits[700];
    memset(digits, '1', sizeof(digits));
    memcpy(digits, "{\"doubleValue\":0.", 17);
    for (size_t n = 511; n <= 513; n++) { /* JSON_NUMBER_BYTES and its neighbours */
        strcpy(digits + 15 + n, "}");
        assert_int_equal(value_result(digits), n <= 512 ? EC_OK : EC_INVALID);
        digits[15 + n] = digits[16 + n] = '1';
    }
}

static void test_json__values(void **state)
{
    (void)state;
    struct doc d;
    struct value v = load_value(&d, "{}");
    assert_int_equal(v.type, VALUE_EMPTY);
    doc_free(&d);
    v = load_value(&d, "null");
    assert_int_equal(v.type, VALUE_EMPTY);
    doc_free(&d);
    v = load_value(&d, "{\"stringValue\":null}");
    assert_int_equal(v.type, VALUE_STR);
    assert_int_equal(v.s.n, 0);
    doc_free(&d);
    v = load_value(&d, "{\"boolValue\":false}");
    assert_int_equal(v.type, VALUE_BOOL);
    assert_false(v.b);
    doc_free(&d);
    v = load_value(&d, "{\"bytesValue\":\"AP\\/+\"}"); /* an escaped slash is base64, too */
    assert_int_equal(v.type, VALUE_BYTES);
    assert_int_equal(v.s.n, 3);
    assert_memory_equal(v.s.p, "\x00\xff\xfe", 3);
    doc_free(&d);
    v = load_value(&d, "{\"bytesValue\":\"QQ==\"}");
    assert_true(str_eqz(v.s, "A"));
    doc_free(&d);
    assert_int_equal(value_result("{\"bytesValue\":\"QQ\"}"), EC_INVALID);
    assert_int_equal(value_result("{\"bytesValue\":\"QQ=A\"}"), EC_INVALID);
    assert_int_equal(value_result("{\"bytesValue\":\"Q-==\"}"), EC_INVALID);
    assert_int_equal(value_result("{\"bytesValue\":\"====\"}"), EC_INVALID);
    assert_int_equal(value_result("{\"boolValue\":\"true\"}"), EC_INVALID);
    assert_int_equal(value_result("{\"boolValue\":1}"), EC_INVALID);
    assert_int_equal(value_result("{\"boolValue\":null}"), EC_INVALID);
    assert_int_equal(value_result("{\"stringValue\":1}"), EC_INVALID);
    assert_int_equal(value_result("\"x\""), EC_INVALID);
    assert_int_equal(value_result("{\"arrayValue\":[]}"), EC_INVALID);

    v = load_value(&d,
        "{\"arrayValue\":{\"values\":[{\"intValue\":1},{\"kvlistValue\":{\"values\":["
        "{\"key\":\"a\",\"value\":{\"stringValue\":\"b\"}}]}},{},null]}}");
    assert_int_equal(v.type, VALUE_ARRAY);
    const char *at = NULL, *at2 = NULL;
    struct value e;
    struct attr kv;
    assert_true(value_array_next(v.s, &at, &e));
    assert_true(e.type == VALUE_INT && e.i == 1);
    assert_true(value_array_next(v.s, &at, &e));
    assert_int_equal(e.type, VALUE_KVLIST);
    assert_true(value_kvlist_next(e.s, &at2, &kv));
    assert_true(str_eqz(kv.key, "a") && str_eqz(kv.value.s, "b"));
    assert_false(value_kvlist_next(e.s, &at2, &kv));
    assert_true(value_array_next(v.s, &at, &e) && e.type == VALUE_EMPTY);
    assert_true(value_array_next(v.s, &at, &e) && e.type == VALUE_EMPTY);
    assert_false(value_array_next(v.s, &at, &e));
    doc_free(&d);
    v = load_value(&d, "{\"arrayValue\":null}");
    assert_int_equal(v.type, VALUE_ARRAY);
    assert_int_equal(v.s.n, 0);
    doc_free(&d);
}

static void test_json__the_last_wins(void **state)
{
    (void)state;
    struct doc d;
    struct value v = load_value(&d, "{\"stringValue\":\"a\",\"arrayValue\":{},\"intValue\":3}");
    assert_true(v.type == VALUE_INT && v.i == 3);
    doc_free(&d);
    v = load_value(&d, "{\"intValue\":3,\"stringValue\":\"a\"}");
    assert_true(v.type == VALUE_STR && str_eqz(v.s, "a"));
    doc_free(&d);
    load(&d, SPAN("\"name\":\"a\",\"kind\":1,\"name\":\"b\",\"kind\":3,\"traceState\":\"x\","
                  "\"traceState\":null,\"spanId\":\"0000000000000001\",\"spanId\":\"\""));
    assert_true(str_eqz(d.b.spans[0].name, "b"));
    assert_int_equal(d.b.spans[0].kind, 3);
    assert_int_equal(d.b.spans[0].trace_state.n, 0);
    assert_int_equal(d.b.spans[0].span_id, 0);
    doc_free(&d);
    load(&d, SPAN("\"events\":[{\"name\":\"1\"}],\"events\":[{\"name\":\"2\"}],\"events\":null"));
    assert_int_equal(d.b.spans[0].event_n, 2); /* lists append */
    doc_free(&d);
}

static void test_json__strings(void **state)
{
    (void)state;
    static const struct {
        const char *json, *want;
    } good[] = {{"", ""}, {"plain", "plain"}, {"\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\b\f\n\r\t"},
        {"a\\u0041\\u00e9\\u20ac z", "aA\xc3\xa9\xe2\x82\xac z"},
        {"\\uD83D\\ude00!", "\xf0\x9f\x98\x80!"}, {"\\udbff\\udfff", "\xf4\x8f\xbf\xbf"},
        {"\\ud83d", "\xef\xbf\xbd"}, {"\\ud83dx", "\xef\xbf\xbdx"},
        {"\\ud83d\\n", "\xef\xbf\xbd\n"}, {"\\ude00", "\xef\xbf\xbd"},
        {"\\ud83d\\u0041", "\xef\xbf\xbd"
                           "A"},
        {"\\ud83d\\ud83d\\ude00", "\xef\xbf\xbd\xf0\x9f\x98\x80"},
        {"\xff\xfe raw", "\xff\xfe raw"}};
    static const char *const bad[] = {"\\x41", "\\", "\\u12", "\\u12g4", "\\ud83d\\u12", "\\'",
        "\n", "a\x01", "\\n\x1f", "\\U0041"};
    struct doc d;
    char json[256];
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        snprintf(json, sizeof(json), "{\"stringValue\":\"%s\"}", good[i].json);
        assert_true(str_eqz(load_value(&d, json).s, good[i].want));
        doc_free(&d);
    }
    struct value v = load_value(&d, "{\"stringValue\":\"a\\u0000b\"}");
    assert_int_equal(v.s.n, 3);
    assert_memory_equal(v.s.p, "a\0b", 3);
    doc_free(&d);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        snprintf(json, sizeof(json), "{\"stringValue\":\"%s\"}", bad[i]);
        assert_int_equal(value_result(json), EC_INVALID);
        snprintf(json, sizeof(json), "{\"unknown\":[\"%s\"]}", bad[i]);
        assert_int_equal(value_result(json), EC_INVALID);
    }
    load(&d, SPAN("\"n\\u0061me\":\"x\"")); /* keys have escapes, too */
    assert_true(str_eqz(d.b.spans[0].name, "x"));
    doc_free(&d);
}

static void put_times(struct buf *b, const char *s, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        buf_putz(b, s);
}

static void test_json__depth_of_values(void **state)
{
    (void)state;
    for (unsigned depth = VALUE_DEPTH_MAX - 1; depth <= VALUE_DEPTH_MAX + 1; depth++) {
        struct buf json = BUF_INIT, pb = BUF_INIT;
        struct arena arena;
        struct batch b;
        buf_putz(
            &json, "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"attributes\":[{\"value\":");
        put_times(&json, "{\"arrayValue\":{\"values\":[", depth - 1);
        buf_putz(&json, "{\"intValue\":1}");
        put_times(&json, "]}}", depth - 1);
        buf_putz(&json, "}]}]}]}]}");
        enum ec want = depth <= VALUE_DEPTH_MAX ? EC_OK : EC_INVALID;
        assert_int_equal(otlp_json_to_pb(buf_bytes(&json), &pb, NULL), want);
        if (want == EC_OK) { /* the decoder draws the same line */
            arena_init(&arena, NULL, 0);
            assert_int_equal(batch_decode(&b, buf_bytes(&pb), NULL, &arena, NULL), EC_OK);
            arena_deinit(&arena);
        }
        buf_deinit(&json);
        buf_deinit(&pb);
    }
}

static void test_json__depth_of_what_is_skipped(void **state)
{
    (void)state;
    for (unsigned depth = 63; depth <= 65; depth++) {
        for (int kind = 0; kind < 2; kind++) {
            struct buf json = BUF_INIT;
            buf_putz(&json, "{\"unknown\":");
            put_times(&json, kind == 0 ? "[1,[]," : "{\"a\":{},\"b\":", depth - 1);
            buf_putz(&json, kind == 0 ? "[]" : "{}");
            put_times(&json, kind == 0 ? "]" : "}", depth - 1);
            buf_putz(&json, ",\"resourceSpans\":[]}");
            /* the [] and {} beside each nested value stand one deeper than the value before it */
            assert_int_equal(otlp_json_to_pb(buf_bytes(&json), &(struct buf){0}, NULL),
                depth <= 64 ? EC_OK : EC_INVALID);
            buf_deinit(&json);
        }
    }
    struct buf bomb = BUF_INIT;
    put_times(&bomb, "[", 1000000);
    struct buf json = BUF_INIT;
    buf_putz(&json, "{\"x\":");
    buf_puts(&json, buf_str(&bomb));
    assert_int_equal(result_n((char *)json.p, json.n), EC_INVALID);
    buf_deinit(&bomb);
    buf_deinit(&json);
}

static void test_json__unknown_keys_of_every_type(void **state)
{
    (void)state;
    struct doc d;
    load(&d,
        SPAN("\"a\":null,\"b\":true,\"c\":false,\"d\":-1.5e3,\"e\":\"s\\n\",\"f\":[1,[2,{}],\"x\"],"
             "\"g\":{\"h\":{\"i\":[]},\"j\":0},\"name\":\"kept\""));
    assert_true(str_eqz(d.b.spans[0].name, "kept"));
    doc_free(&d);
    static const char *const bad[] = {"[1,]", "[1 2]", "{\"a\":1,}", "{\"a\"}", "{1:2}", "[}", "{]",
        "01", "nul", "truth", "-", "1.e", "'x'", "[,1]"};
    char json[128];
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        snprintf(json, sizeof(json), "\"unknown\":%s", bad[i]);
        assert_int_equal(span_result(json), EC_INVALID);
    }
}

static void test_json__memory_is_charged(void **state)
{
    (void)state;
    struct buf reference = BUF_INIT;
    assert_int_equal(otlp_json_to_pb(bytes_n(full, sizeof(full) - 1), &reference, NULL), EC_OK);
    for (uint64_t cap = 1; cap < 2000; cap += 7) {
        struct budget budget;
        struct buf out;
        struct err err = {0};
        budget_init(&budget, NULL, "test", cap);
        buf_init(&out, &budget);
        enum ec ec = otlp_json_to_pb(bytes_n(full, sizeof(full) - 1), &out, &err);
        if (ec == EC_OK)
            assert_true(bytes_eq(buf_bytes(&out), buf_bytes(&reference)));
        else
            assert_int_equal(ec, EC_LIMIT);
        if (cap >= 2 * reference.n)
            assert_int_equal(ec, EC_OK);
        if (cap < reference.n)
            assert_int_equal(ec, EC_LIMIT);
        buf_deinit(&out);
        budget_deinit(&budget); /* asserts that all was given back */
    }
    buf_deinit(&reference);
    /* the text of a string with escapes is charged, even of one that is skipped */
    struct budget budget;
    struct buf out, json = BUF_INIT;
    budget_init(&budget, NULL, "test", 1000);
    buf_init(&out, &budget);
    buf_putz(&json, "{\"x\":\"\\n");
    put_times(&json, "y", 2000);
    buf_putz(&json, "\"}");
    assert_int_equal(otlp_json_to_pb(buf_bytes(&json), &out, NULL), EC_LIMIT);
    buf_deinit(&json);
    buf_deinit(&out);
    budget_deinit(&budget);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json__outermost),
        cmocka_unit_test(test_json__every_field),
        cmocka_unit_test(test_json__snake_case_keys),
        cmocka_unit_test(test_json__every_prefix_is_refused),
        cmocka_unit_test(test_json__ids),
        cmocka_unit_test(test_json__enums),
        cmocka_unit_test(test_json__integers),
        cmocka_unit_test(test_json__doubles),
        cmocka_unit_test(test_json__values),
        cmocka_unit_test(test_json__the_last_wins),
        cmocka_unit_test(test_json__strings),
        cmocka_unit_test(test_json__depth_of_values),
        cmocka_unit_test(test_json__depth_of_what_is_skipped),
        cmocka_unit_test(test_json__unknown_keys_of_every_type),
        cmocka_unit_test(test_json__memory_is_charged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
