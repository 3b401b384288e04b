/* SPDX-License-Identifier: Apache-2.0
 * Zipkin v1 to OTLP, rule by rule (spec ingest.md 9.2, 9.4), over JSON and Thrift. */
#include "base/clock.h"
#include "receiver_text.h"
#include "thrift_write.h"

static void check_parsed(const char *json, bool parse_tags, const char *want)
{
    struct buf pb = BUF_INIT;
    struct err err = {0};
    enum ec ec = zipkin_v1_json_to_pb(bytes_n(json, strlen(json)), parse_tags, &pb, &err);
    expect_spans(json, ec, &err, &pb, want);
    buf_deinit(&pb);
}

static void check(const char *json, const char *want)
{
    check_parsed(json, false, want);
}

static void check_refused(const char *json, const char *why)
{
    struct buf pb = BUF_INIT;
    struct err err = {0};
    enum ec ec = zipkin_v1_json_to_pb(bytes_n(json, strlen(json)), false, &pb, &err);
    if (ec != EC_INVALID || strstr(err.msg, why) == NULL)
        fail_msg("%s: %s: %s", json, ec_text(ec), ec == EC_OK ? "" : err.msg);
    assert_int_equal(pb.n, 0);
    buf_deinit(&pb);
}

#define T             "\"traceId\":\"0000000000000001\""
#define I             "\"id\":\"0000000000000002\""
#define SPAN(members) "[{" T "," I ",\"name\":\"op\",\"timestamp\":3,\"duration\":4," members "}]"
#define NOTES(list)   SPAN("\"annotations\":[" list "]")
#define TAGS(list)    SPAN("\"binaryAnnotations\":[" list "]")
#define TAG(k, v)     "{\"key\":\"" k "\",\"value\":\"" v "\"}"
#define IDS           " 00000000000000000000000000000001/0000000000000002"
#define UNKNOWN       "resource service.name=\"unknown-service\"\n"
#define PLAIN         UNKNOWN "  span \"op\" unspecified" IDS " at 3000+4000"

static void test_ids__are_exact(void **state)
{
    (void)state;
    check("[{\"traceId\":\"0000000000000000000000000000000A\"," I
          ",\"parentId\":\"0000000000000003\",\"timestamp\":1}]",
        UNKNOWN "  span \"\" unspecified 0000000000000000000000000000000a/0000000000000002"
                " parent 0000000000000003 at 1000+0\n");
    check_refused("[{" I "}]", "zipkinV1 span traceId: hex traceId span has wrong length "
                               "(expected 16 or 32)");
    check_refused("[{\"traceId\":\"1\"," I "}]", "wrong length (expected 16 or 32)");
    check_refused("[{\"traceId\":\"0000000000000000\"," I "}]", "traceId is zero");
    check_refused("[{\"traceId\":\"000000000000000x\"," I "}]", "invalid hex digit");
    check_refused("[{" T "}]", "zipkinV1 span id: hex Id has wrong length (expected 16)");
    check_refused("[{" T ",\"id\":\"0000000000000000\"}]", "zipkinV1 span id: ID is zero");
    check_refused("[{" T "," I ",\"parentId\":\"1\"}]", "zipkinV1 span parentId: hex Id");
    check_refused("[{" T "," I ",\"parentId\":\"0000000000000000\"}]", "parentId: ID is zero");
    check(SPAN("\"parentId\":\"\",\"debug\":true,\"Foo\":[{}]"), PLAIN "\n");
    check("[]", "");
    check("null", "");
    check("[null]", "");
    check_refused("[]]", "something follows");
    check_refused(SPAN("\"timestamp\":\"1\""), "number expected");
    check_refused(SPAN("\"timestamp\":9223372036854775808"), "integer expected");
}

static void test_annotations__tell_kind_service_and_times(void **state)
{
    static const char *const kinds[][2] = {{"cs", "client"}, {"cr", "client"}, {"sr", "server"},
        {"ss", "server"}, {"ms", "producer"}, {"mr", "consumer"}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        char json[600], want[300];
        snprintf(json, sizeof(json),
            NOTES("{\"timestamp\":5,\"value\":\"%s\",\"endpoint\":{"
                  "\"serviceName\":\"s\",\"ipv4\":\"1.2.3.4\",\"ipv6\":\"::1\",\"port\":80}},"
                  "{\"timestamp\":6,\"value\":\"noted\"},{\"timestamp\":7,\"value\":\"\"},null"),
            kinds[i][0]);
        snprintf(want, sizeof(want),
            "resource service.name=\"s\" ipv4=\"1.2.3.4\" ipv6=\"::1\" port=\"80\"\n"
            "  span \"op\" %s" IDS " at 3000+4000\n   event \"noted\" at 6000\n",
            kinds[i][1]);
        check(json, want);
    }
    /* The first one with a service counts for it, the first of all for the kind; without a time of
     * the span, from the earliest to the latest. */
    check("[{" T "," I ",\"annotations\":[{\"timestamp\":9,\"value\":\"cr\",\"endpoint\":{"
          "\"serviceName\":\"\"}},{\"timestamp\":5,\"value\":\"sr\",\"endpoint\":{\"serviceName\":"
          "\"second\"}},{\"timestamp\":7,\"value\":\"x\",\"endpoint\":{\"serviceName\":\"no\"}},"
          "{\"timestamp\":6,\"value\":\"ss\",\"endpoint\":{\"serviceName\":\"third\"}}]}]",
        "resource service.name=\"second\"\n  span \"\" client" IDS
        " at 5000+4000\n   event \"x\" at 7000\n");
    check_refused(NOTES("{\"timestamp\":5,\"value\":1}"), "string expected");
    check_refused(NOTES("{\"endpoint\":{\"port\":2147483648}}"), "port out of range");
}

static void test_service__has_fallbacks(void **state)
{
#define IN(k, service) \
    "{\"key\":\"" k "\",\"value\":\"v\",\"endpoint\":{\"serviceName\":\"" service "\"}}"
    (void)state;
    check(TAGS(IN("a", "first") "," IN("b", "last") "," IN("c", "") "," TAG("lc", "comp")),
        "resource service.name=\"last\"\n  span \"op\" unspecified" IDS
        " at 3000+4000 a=\"v\" b=\"v\" c=\"v\" component=\"comp\"\n");
    check(TAGS(TAG("lc", "comp")), "resource service.name=\"comp\"\n  span \"op\" unspecified" IDS
                                   " at 3000+4000 component=\"comp\"\n");
    check(TAGS(TAG("a", "v")), PLAIN " a=\"v\"\n");
}

static void test_status__has_four_sources(void **state)
{
    (void)state;
    check(TAGS(TAG("census.status_code", "0") "," TAG("census.status_description", "fine") "," TAG(
              "error", "") "," TAG("http.status_code", "500")),
        PLAIN " ok (fine) http.status_code=\"500\"\n");
    check(TAGS(TAG("census.status_code", "5") "," TAG("opencensus.status_description", "d")),
        PLAIN " error (d)\n");
    check(TAGS(TAG("otel.status_code", "1") "," TAG("otel.status_description", "d")),
        PLAIN " ok (d)\n");
    check(TAGS(TAG("otel.status_code", "7")), PLAIN " status 7\n");
    check(TAGS(TAG("otel.status_code", "ERROR") "," TAG("otel.status_description", "d")),
        PLAIN "\n"); /* no number: used up, and no more */
    check(TAGS(TAG("error", "boom") "," TAG("otel.status_description", "d")), PLAIN " error (d)\n");
    check(TAGS(TAG("error", "boom") "," TAG("census.status_description", "c") "," TAG(
              "otel.status_description", "d")),
        PLAIN " error (c)\n");
    check(TAGS(TAG("http.status_code", "404") "," TAG("http.status_message", "no")),
        PLAIN " error (no) http.status_code=\"404\" http.status_message=\"no\"\n");
    check(TAGS(TAG("http.status_code", "399")), PLAIN " http.status_code=\"399\"\n");
    check(TAGS(TAG("http.status_code", "99")), PLAIN " error http.status_code=\"99\"\n");
    check(
        TAGS(TAG("http.status_code", "99999999999")), PLAIN " http.status_code=\"99999999999\"\n");
}

static void test_tags__become_attributes(void **state)
{
    (void)state;
    check(TAGS(TAG("a", "1") "," TAG("b", "x") "," TAG("a", "2")), PLAIN " a=\"2\" b=\"x\"\n");
    check_parsed(TAGS(TAG("a", "1") "," TAG("b", "1.5") "," TAG("c", "true")), true,
        PLAIN " a=1 b=1.5 c=true\n");
    /* Addresses come as true, and some clients send numbers. */
    check(TAGS("{\"key\":\"sa\",\"value\":true},{\"key\":\"n\",\"value\":7},{\"key\":\"z\"}"),
        PLAIN " sa=true n=7 z=\"\"\n");
    check_refused(TAGS("{\"key\":\"a\",\"value\":[]}"), "number expected");
}

static void test_times__without_any_it_is_now(void **state)
{
    static const char json[] = "[{" T "," I "}]";
    struct buf pb = BUF_INIT, text = BUF_INIT;
    unsigned long long start = 0;
    (void)state;
    uint64_t before = (uint64_t)clock_wall_ns();
    assert_int_equal(
        zipkin_v1_json_to_pb(bytes_n(json, sizeof(json) - 1), false, &pb, NULL), EC_OK);
    uint64_t after = (uint64_t)clock_wall_ns();
    text_request(&text, buf_bytes(&pb));
    buf_putc(&text, 0);
    const char *at = strstr((char *)text.p, " at ");
    assert_non_null(at);
    assert_int_equal(sscanf(at, " at %llu+0 otel.zipkin.absentField.startTime=true", &start), 1);
    assert_in_range(start, before, after);
    assert_non_null(strstr(at, "+0 otel.zipkin.absentField.startTime=true\n"));
    buf_deinit(&pb);
    buf_deinit(&text);
}

static void test_spans__are_grouped_by_endpoint(void **state)
{
#define AT(id, ip)                                                                               \
    "{" T ",\"id\":\"000000000000000" id "\",\"timestamp\":1,\"annotations\":[{\"timestamp\":1," \
    "\"value\":\"sr\",\"endpoint\":{\"serviceName\":\"s\",\"ipv4\":\"" ip "\"}}]}"
#define LINE(id) \
    "  span \"\" server 00000000000000000000000000000001/000000000000000" id " at 1000+0\n"
    (void)state;
    check("[" AT("1", "1.1.1.2") "," AT("2", "1.1.1.1") "," AT("3", "1.1.1.2") "]",
        "resource service.name=\"s\" ipv4=\"1.1.1.1\"\n" LINE(
            "2") "resource service.name=\"s\" ipv4=\"1.1.1.2\"\n" LINE("1") LINE("3"));
}

/* ---- Thrift ---- */

static void put_host(struct tw *t, int id)
{
    tw_struct(t, id);
    tw_i32(t, 1, 0x01020304);
    tw_i16(t, 2, 80);
    tw_strz(t, 3, "s");
    tw_str(t, 4, STR("\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"));
    tw_end(t);
}

static void put_tag(struct tw *t, const char *key, int type, struct str value)
{
    tw_open(t);
    tw_strz(t, 1, key);
    tw_str(t, 2, value);
    tw_i32(t, 3, type);
    tw_end(t);
}

static void check_thrift(const struct tw *t, const char *want)
{
    struct buf pb = BUF_INIT;
    struct err err = {0};
    enum ec ec = zipkin_v1_thrift_to_pb(buf_bytes(&t->b), &pb, &err);
    expect_spans("thrift", ec, &err, &pb, want);
    buf_deinit(&pb);
}

static void test_thrift__every_field(void **state)
{
    enum { BOOL, BYTES, I16, I32, I64, DOUBLE, STRING };
    struct tw t = {0};
    (void)state;
    tw_list_body(&t, TW_STRUCT, 1);
    tw_open(&t);
    tw_i64(&t, 1, 1);
    tw_strz(&t, 3, "op");
    tw_i64(&t, 4, 2);
    tw_i64(&t, 5, 3);
    tw_list(&t, 6, TW_STRUCT, 2);
    for (int i = 0; i < 2; i++) {
        tw_open(&t);
        tw_i64(&t, 1, 5 + i);
        tw_strz(&t, 2, i == 0 ? "sr" : "noted");
        put_host(&t, 3);
        tw_end(&t);
    }
    tw_list(&t, 8, TW_STRUCT, 10);
    put_tag(&t, "bool", BOOL, STR("\1"));
    put_tag(&t, "bytes", BYTES, STR("hi!"));
    put_tag(&t, "i16", I16, STR("\xff\xfe"));
    put_tag(&t, "i32", I32, STR("\0\0\1\0"));
    put_tag(&t, "i64", I64, STR("\xff\xff\xff\xff\xff\xff\xff\xfe"));
    put_tag(&t, "double", DOUBLE, STR("\xbf\xf8\0\0\0\0\0\0"));
    put_tag(&t, "string", STRING, STR("text"));
    put_tag(&t, "short", I32, STR("\1"));
    put_tag(&t, "odd", 9, STR(""));
    put_tag(&t, "lc", STRING, STR("comp"));
    tw_bool(&t, 9, true);
    tw_i64(&t, 10, 3);
    tw_i64(&t, 11, 4);
    tw_i64(&t, 12, 0xa);
    tw_end(&t);
    check_thrift(&t,
        "resource service.name=\"s\" ipv4=\"1.2.3.4\" ipv6=\"2001:db8::1\" port=\"80\"\n"
        "  span \"op\" server 000000000000000a0000000000000001/0000000000000002"
        " parent 0000000000000003 at 3000+4000 bool=true bytes=\"aGkh\" i16=65534 i32=256 i64=-2"
        " double=-1.5 string=\"text\" short=\"<not enough bytes representing the number>\""
        " odd=\"<unknown zipkin v1 binary annotation type (9)>\" component=\"comp\"\n"
        "   event \"noted\" at 6000\n");
    buf_deinit(&t.b);
}

static void test_thrift__ids_and_times_may_be_absent(void **state)
{
    struct tw t = {0};
    (void)state;
    tw_list_body(&t, TW_STRUCT, 1);
    tw_open(&t);
    tw_end(&t);
    check_thrift(&t, UNKNOWN "  span \"\" unspecified 00000000000000000000000000000000/"
                             "0000000000000000 at 0+0 REJECTED 1\n");
    buf_deinit(&t.b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids__are_exact),
        cmocka_unit_test(test_annotations__tell_kind_service_and_times),
        cmocka_unit_test(test_service__has_fallbacks),
        cmocka_unit_test(test_status__has_four_sources),
        cmocka_unit_test(test_tags__become_attributes),
        cmocka_unit_test(test_times__without_any_it_is_now),
        cmocka_unit_test(test_spans__are_grouped_by_endpoint),
        cmocka_unit_test(test_thrift__every_field),
        cmocka_unit_test(test_thrift__ids_and_times_may_be_absent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
