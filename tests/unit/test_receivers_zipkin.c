/* SPDX-License-Identifier: Apache-2.0
 * Zipkin v2 to OTLP, rule by rule (spec ingest.md 9.2, 9.3), over JSON and protobuf. */
#include "model/otlp_write.h"
#include "receiver_text.h"

static void check_parsed(const char *json, bool parse_tags, const char *want)
{
    struct buf pb = BUF_INIT;
    struct err err = {0};
    enum ec ec = zipkin_v2_json_to_pb(bytes_n(json, strlen(json)), parse_tags, &pb, &err);
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
    enum ec ec = zipkin_v2_json_to_pb(bytes_n(json, strlen(json)), false, &pb, &err);
    if (ec != EC_INVALID || strstr(err.msg, why) == NULL)
        fail_msg("%s: %s: %s", json, ec_text(ec), ec == EC_OK ? "" : err.msg);
    assert_int_equal(pb.n, 0);
    buf_deinit(&pb);
}

/* A span of service "s" with more members. */
#define SPAN(members)                                                                  \
    "[{\"traceId\":\"1\",\"id\":\"2\",\"name\":\"op\",\"timestamp\":3,\"duration\":4," \
    "\"localEndpoint\":{\"serviceName\":\"s\"}," members "}]"
#define TAGS(tags) SPAN("\"tags\":{" tags "}")
#define IDS        " 00000000000000000000000000000001/0000000000000002"
#define AS(kind)   "resource service.name=\"s\"\n  span \"op\" " kind IDS " at 3000+4000"
#define PLAIN      AS("unspecified")

static void test_ids__of_every_length(void **state)
{
    (void)state;
    check("[{\"traceId\":\"ABCDEF0123456789abcdef0123456789\",\"id\":\"00000000000000ff\","
          "\"parentId\":\"1\",\"timestamp\":1}]",
        "resource\n  span \"\" unspecified abcdef0123456789abcdef0123456789/00000000000000ff"
        " parent 0000000000000001 at 1000+0\n");
    check("[{\"traceId\":\"10000000000000002\",\"id\":\"f\",\"parentId\":\"f\",\"timestamp\":1}]",
        "resource\n  span \"\" unspecified 00000000000000010000000000000002/000000000000000f"
        " at 1000+0\n"); /* its own parent: none */
    check("[{\"traceId\":\"1\",\"id\":\"2\",\"parentId\":\"\",\"timestamp\":1}]",
        "resource\n  span \"\" unspecified" IDS " at 1000+0\n");
    check("[{\"id\":\"2\",\"timestamp\":1}]", /* the gateway refuses it */
        "resource\n  span \"\" unspecified 00000000000000000000000000000000/0000000000000002"
        " at 1000+0 REJECTED 1\n");
    check_refused("[{\"traceId\":\"\",\"id\":\"2\"}]", "valid traceId required");
    check_refused("[{\"traceId\":\"x\",\"id\":\"2\"}]", "valid traceId required");
    check_refused("[{\"traceId\":\"123456789012345678901234567890123\",\"id\":\"2\"}]",
        "valid traceId required");
    check_refused("[{\"traceId\":\"1\"}]", "valid span id required");
    check_refused("[{\"traceId\":\"1\",\"id\":\"0\"}]", "valid span id required");
    check_refused("[{\"traceId\":\"1\",\"id\":\"12345678901234567\"}]", "1 to 16 hex digits");
    check_refused("[{\"traceId\":\"1\",\"id\":\"2\",\"parentId\":\"g\"}]", "1 to 16 hex digits");
    check_refused("[{\"traceId\":1,\"id\":\"2\"}]", "string expected");
}

static void test_json__shape(void **state)
{
    (void)state;
    check("[]", "");
    check(" null ", "");
    check("[null,null]", "");
    check("[{\"TRACEID\":\"1\",\"Id\":\"2\",\"NAME\":\"op\",\"timestamp\":3,\"duration\":4,\"x\":[{"
          "\"y\":[1]}],\"tags\":null,\"kind\":null,\"localEndpoint\":{\"ServiceName\":\"s\"},"
          "\"debug\":true,\"shared\":true,\"annotations\":null,\"remoteEndpoint\":null}]",
        PLAIN "\n");
    check(SPAN("\"tags\":{\"a\\u0062\":\"c\\n\",\"\":null}"), PLAIN " ab=\"c\n\" =\"\"\n");
    check_refused("", "array expected");
    check_refused("{}", "array expected");
    check_refused("[] x", "something follows");
    check_refused("null[]", "something follows");
    check_refused("[1]", "object expected");
    check_refused("[{]", "string expected");
    check_refused(TAGS("\"a\":1"), "string expected");
    check_refused(TAGS("\"a\":{}"), "string expected");
    check_refused(SPAN("\"timestamp\":\"5\""), "number expected");
    check_refused(SPAN("\"timestamp\":-5"), "unsigned integer expected");
    check_refused(SPAN("\"timestamp\":1.5"), "unsigned integer expected");
    check_refused(SPAN("\"duration\":18446744073709551616"), "unsigned integer expected");
    check_refused(SPAN("\"annotations\":{}"), "array expected");
    check_refused(SPAN("\"kind\":1"), "string expected");
}

static void test_kind__of_the_span_or_its_tag(void **state)
{
    (void)state;
    check(SPAN("\"kind\":\"CLIENT\""), AS("client") "\n");
    check(SPAN("\"kind\":\"SERVER\""), AS("server") "\n");
    check(SPAN("\"kind\":\"PRODUCER\""), AS("producer") "\n");
    check(SPAN("\"kind\":\"CONSUMER\",\"tags\":{\"span.kind\":\"x\"}"),
        AS("consumer") " span.kind=\"x\"\n");
    check(SPAN("\"kind\":\"client\""), PLAIN "\n");
    check(TAGS("\"span.kind\":\"internal\""), AS("internal") "\n");
    check(TAGS("\"span.kind\":\"client\""), PLAIN "\n");
}

static void test_status__by_its_tags(void **state)
{
    (void)state;
    check(TAGS("\"otel.status_code\":\"STATUS_CODE_ERROR\",\"otel.status_description\":\"why\""),
        PLAIN " error (why)\n");
    check(TAGS("\"otel.status_code\":\"Ok\""), PLAIN " ok\n");
    check(TAGS("\"otel.status_code\":\"STATUS_CODE_OK\""), PLAIN " ok\n");
    check(TAGS("\"otel.status_code\":\"Error\""), PLAIN " error\n");
    check(TAGS("\"otel.status_code\":\"ERROR\""), PLAIN "\n");
    check(TAGS("\"otel.status_description\":\"why\""), PLAIN " otel.status_description=\"why\"\n");
    check(TAGS("\"error\":\"true\""), PLAIN " error\n");
    check(TAGS("\"error\":\"boom\""), PLAIN " error error=\"boom\"\n");
    check(TAGS("\"error\":\"\",\"otel.status_code\":\"Ok\""), PLAIN " error error=\"\"\n");
}

static void test_tags__go_where_they_belong(void **state)
{
    (void)state;
    check(TAGS("\"w3c.tracestate\":\"a=b\",\"x\":\"1\",\"y\":\"2\",\"x\":\"3\""),
        PLAIN " state a=b x=\"3\" y=\"2\"\n");
    check(TAGS("\"host.name\":\"h\",\"x\":\"1\",\"process.pid\":\"7\",\"webengine.version\":\"w\","
               "\"aws.ecs.cluster.arn\":\"c\",\"opencensus.starttime\":\"t\""),
        "resource service.name=\"s\" host.name=\"h\" process.pid=\"7\" webengine.version=\"w\" "
        "aws.ecs.cluster.arn=\"c\" opencensus.starttime=\"t\"\n"
        "  span \"op\" unspecified" IDS " at 3000+4000 x=\"1\"\n");
    check(TAGS("\"otlp.service.name.source\":\"service.instance.id\""),
        "resource service.instance.id=\"s\"\n  span \"op\" unspecified" IDS " at 3000+4000\n");
    check(TAGS("\"otel.library.name\":\"lib\",\"otel.library.version\":\"1\""),
        "resource service.name=\"s\"\n scope lib 1\n  span \"op\" unspecified" IDS
        " at 3000+4000\n");
    check_parsed(TAGS("\"i\":\"-12\",\"d\":\"-1.50\",\"b\":\"false\",\"s\":\"1.\",\"t\":\"True\","
                      "\"e\":\"\",\"m\":\"-\",\"x\":\"0x1\",\"z\":\"99999999999999999999\",\"f\":"
                      "\"1e5\""),
        true,
        PLAIN " i=-12 d=-1.5 b=false s=\"1.\" t=\"True\" e=\"\" m=\"-\" x=\"0x1\""
              " z=\"99999999999999999999\" f=\"1e5\"\n");
}

static void test_endpoints__become_attributes(void **state)
{
    (void)state;
    check(SPAN("\"remoteEndpoint\":{\"serviceName\":\"db\",\"ipv4\":\"10.0.0.1\",\"port\":3306}"),
        PLAIN " peer.service=\"db\" net.peer.ip=\"10.0.0.1\" net.peer.port=3306\n");
    check(
        "[{\"traceId\":\"1\",\"id\":\"2\",\"timestamp\":1,\"localEndpoint\":{\"ipv4\":\"10.0.0.1\","
        "\"ipv6\":\"2001:DB8:0:0::1\",\"port\":65535},\"tags\":{\"net.host.ip\":\"x\"}}]",
        "resource\n  span \"\" unspecified" IDS
        " at 1000+0 net.host.ip=\"2001:db8::1\" net.host.port=65535\n");
    check(
        "[{\"traceId\":\"1\",\"id\":\"2\",\"timestamp\":1,\"localEndpoint\":{\"ipv4\":\"\",\"ipv6\":"
        "\"::ffff:1.2.3.4\",\"port\":0},\"remoteEndpoint\":{}}]",
        "resource\n  span \"\" unspecified" IDS " at 1000+0 net.host.ip=\"1.2.3.4\"\n");
    check_refused(SPAN("\"remoteEndpoint\":{\"ipv4\":\"10.0.0\"}"), "invalid IP address");
    check_refused(SPAN("\"remoteEndpoint\":{\"ipv6\":\"host\"}"), "invalid IP address");
    check_refused(SPAN("\"remoteEndpoint\":{\"port\":65536}"), "port out of range");
    check_refused(SPAN("\"remoteEndpoint\":{\"port\":-1}"), "port out of range");
}

static void test_times__may_be_absent(void **state)
{
    (void)state;
    check("[{\"traceId\":\"1\",\"id\":\"2\",\"duration\":4}]",
        "resource\n  span \"\" unspecified" IDS
        " at 0+4000 otel.zipkin.absentField.startTime=true\n");
}

static void test_annotations__become_events(void **state)
{
    (void)state;
    check(SPAN("\"annotations\":[{\"timestamp\":5,\"value\":\"noted\"},{\"timestamp\":6}]"),
        PLAIN "\n   event \"noted\" at 5000\n   event \"\" at 6000\n");
    check(SPAN("\"annotations\":[{\"timestamp\":5,\"value\":\"a|b\"}]"),
        PLAIN "\n   event \"a\" at 5000\n");
    check(SPAN("\"annotations\":[{\"timestamp\":5,\"value\":\"a|{\\\"s\\\":\\\"x|y\\\",\\\"i\\\":3,"
               "\\\"w\\\":2.0,\\\"d\\\":1.5,\\\"b\\\":true,\\\"n\\\":null,\\\"o\\\":{},\\\"big\\\":"
               "9007199254740993}|2\"}]"),
        PLAIN "\n   event \"a\" at 5000 dropped 2 s=\"x|y\" i=3 w=2 d=1.5 b=true"
              " big=9007199254740993\n");
    /* Of no packed form: somebody's own text. */
    check(SPAN("\"annotations\":[{\"timestamp\":5,\"value\":\"a|b|c\"},{\"timestamp\":5,\"value\":"
               "\"a|{}|x\"},{\"timestamp\":5,\"value\":\"a|{} |1\"},{\"timestamp\":5,\"value\":"
               "\"a|{}x|1\"},{\"timestamp\":5,\"value\":\"a|{}|4294967296\"},{\"timestamp\":5,"
               "\"value\":\"||\"}]"),
        PLAIN "\n   event \"a|b|c\" at 5000\n   event \"a|{}|x\" at 5000\n   event \"a\" at 5000 "
              "dropped 1\n   event \"a|{}x|1\" at 5000\n   event \"a|{}|4294967296\" at 5000\n"
              "   event \"||\" at 5000\n");
    check_refused(SPAN("\"annotations\":[{\"timestamp\":0,\"value\":\"x\"}]"),
        "valid annotation timestamp required");
    check_refused(
        SPAN("\"annotations\":[{\"value\":\"x\"}]"), "valid annotation timestamp required");
}

static void test_links__are_unpacked(void **state)
{
#define ID16 "000000000000000a000000000000000b"
    (void)state;
    check(TAGS("\"otlp.link.0\":\"" ID16 "|000000000000000c|st=1|{\\\"k\\\":\\\"v\\\"}|3\","
               "\"otlp.link.1\":\"\\\"" ID16 "\\\"||||0\",\"otlp.link.2\":\"|||{}|0\","
               "\"otlp.link.4\":\"|||{}|0\""),
        PLAIN " otlp.link.1=\"\"" ID16 "\"||||0\" otlp.link.4=\"|||{}|0\"\n   link " ID16
              "/000000000000000c state st=1 dropped 3 k=\"v\"\n"
              "   link 00000000000000000000000000000000/0000000000000000\n");
    check(TAGS("\"otlp.link.0\":\"nonsense\""), PLAIN " otlp.link.0=\"nonsense\"\n");
    check(TAGS("\"otlp.link.0\":\"12|||{}|0\""), PLAIN " otlp.link.0=\"12|||{}|0\"\n");
}

static void test_spans__are_grouped_by_service_and_library(void **state)
{
#define ONE(id, service, tags)                                                                 \
    "{\"traceId\":\"1\",\"id\":\"" id "\",\"timestamp\":1,\"localEndpoint\":{\"serviceName\":" \
    "\"" service "\"},\"tags\":{" tags "}}"
#define LINE(id) \
    "  span \"\" unspecified 00000000000000000000000000000001/000000000000000" id " at 1000+0\n"
    (void)state;
    check("[" ONE("1", "b", "\"host.name\":\"h1\"") "," ONE("2", "a", "") "," ONE(
              "3", "b", "\"host.name\":\"h2\"") "," ONE("4", "b",
              "\"otel.library.name\":\"lib\",\"otel.library.version\":\"1\"") "," ONE("5", "b",
              "\"otel.library.name\":\"lib\",\"otel.library.version\":\"2\"") "," ONE("6", "",
              "") "," ONE("7", "OTLPResourceNoServiceName", "\"host.name\":\"h\"") "]",
        "resource\n" LINE("6") LINE("7") "resource service.name=\"a\"\n" LINE(
            "2") "resource service.name=\"b\" host.name=\"h1\"\n" LINE("1")
            LINE("3") " scope lib 1\n" LINE("4") LINE("5"));
}

/* ---- protobuf ---- */

static void put_endpoint(
    struct buf *b, uint32_t field, const char *service, struct str v4, struct str v6, uint64_t port)
{
    size_t e = pb_begin(b, field);
    pb_put_bytes(b, 1, str_from(service));
    pb_put_bytes(b, 2, v4);
    pb_put_bytes(b, 3, v6);
    pb_put_varint(b, 4, port);
    pb_end(b, e);
}

static void put_span(struct buf *b, unsigned kind)
{
    static const char id[16] = {[15] = 1}, two[8] = {[7] = 2}, three[8] = {[7] = 3};
    size_t span = pb_begin(b, 1);
    pb_put_bytes(b, 1, str_n(id, 16));
    pb_put_bytes(b, 2, str_n(three, 8));
    pb_put_bytes(b, 3, str_n(two, 8));
    pb_put_varint(b, 4, kind);
    pb_put_bytes(b, 5, STR("op"));
    pb_put_fixed64(b, 6, 3);
    pb_put_varint(b, 7, 4);
    put_endpoint(b, 8, "s", STR("\x0a\0\0\x01"), STR(""), 80);
    put_endpoint(b, 9, "db", STR("odd"), STR("\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"), 0);
    size_t note = pb_begin(b, 10);
    pb_put_fixed64(b, 1, 5);
    pb_put_bytes(b, 2, STR("noted"));
    pb_end(b, note);
    for (int i = 0; i < 2; i++) {
        size_t tag = pb_begin(b, 11);
        pb_put_bytes(b, 1, STR("k"));
        pb_put_bytes(b, 2, i == 0 ? STR("1") : STR("2"));
        pb_end(b, tag);
    }
    pb_put_varint(b, 12, 1);
    pb_put_varint(b, 13, 1);
    pb_end(b, span);
}

static void test_proto__every_field(void **state)
{
    static const char *const kinds[] = {
        "unspecified", "client", "server", "producer", "consumer", "unspecified"};
    (void)state;
    for (unsigned kind = 0; kind < ARRAY_LEN(kinds); kind++) {
        struct buf list = BUF_INIT, pb = BUF_INIT;
        struct err err = {0};
        char want[500];
        put_span(&list, kind);
        snprintf(want, sizeof(want),
            "resource service.name=\"s\"\n  span \"op\" %s" IDS
            " parent 0000000000000003 at 3000+4000 k=2 net.host.ip=\"10.0.0.1\" net.host.port=80"
            " peer.service=\"db\" net.peer.ip=\"2001:db8::1\"\n   event \"noted\" at 5000\n",
            kinds[kind]);
        enum ec ec = zipkin_v2_proto_to_pb(buf_bytes(&list), true, &pb, &err);
        expect_spans("proto", ec, &err, &pb, want);
        buf_deinit(&list);
        buf_deinit(&pb);
    }
}

static void test_proto__ids_of_a_wrong_length_are_refused(void **state)
{
    static const struct {
        size_t trace, parent, id;
        const char *why;
    } cases[] = {{8, 0, 8, "invalid TraceID"}, {0, 0, 8, "invalid TraceID"},
        {16, 4, 8, "invalid ParentID"}, {16, 0, 0, "expected a non-nil SpanID"},
        {16, 0, 9, "invalid SpanID"}, {16, 8, 8, NULL}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf list = BUF_INIT, pb = BUF_INIT;
        struct err err = {0};
        static const char id[] = "abcdefghijklmnop";
        size_t span = pb_begin(&list, 1);
        pb_put_bytes(&list, 1, str_n(id, cases[i].trace));
        pb_put_bytes(&list, 2, str_n(id, cases[i].parent));
        pb_put_bytes(&list, 3, str_n(id, cases[i].id));
        pb_end(&list, span);
        enum ec ec = zipkin_v2_proto_to_pb(buf_bytes(&list), false, &pb, &err);
        assert_int_equal(ec, cases[i].why == NULL ? EC_OK : EC_INVALID);
        if (cases[i].why != NULL && strstr(err.msg, cases[i].why) == NULL)
            fail_msg("%s", err.msg);
        buf_deinit(&list);
        buf_deinit(&pb);
    }
}

/* 200,000 tags in one span, keys in pairs: seconds if looking for a key took a walk. */
static void test_tags__very_many_take_no_quadratic_time(void **state)
{
    struct buf json = BUF_INIT, pb = BUF_INIT;
    struct err err = {0};
    (void)state;
    buf_putz(&json, "[{\"traceId\":\"1\",\"id\":\"2\",\"tags\":{\"otlp.link.0\":\"|||{}|0\"");
    for (int i = 0; i < 200000; i++)
        buf_printf(&json, ",\"k%d\":\"v\"", i / 2);
    buf_putz(&json, "}}]");
    assert_int_equal(zipkin_v2_json_to_pb(buf_bytes(&json), true, &pb, &err), EC_OK);
    assert_in_range(pb.n, 100000 * 12, 100000 * 20);
    buf_deinit(&json);
    buf_deinit(&pb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids__of_every_length),
        cmocka_unit_test(test_json__shape),
        cmocka_unit_test(test_kind__of_the_span_or_its_tag),
        cmocka_unit_test(test_status__by_its_tags),
        cmocka_unit_test(test_tags__go_where_they_belong),
        cmocka_unit_test(test_endpoints__become_attributes),
        cmocka_unit_test(test_times__may_be_absent),
        cmocka_unit_test(test_annotations__become_events),
        cmocka_unit_test(test_links__are_unpacked),
        cmocka_unit_test(test_spans__are_grouped_by_service_and_library),
        cmocka_unit_test(test_proto__every_field),
        cmocka_unit_test(test_proto__ids_of_a_wrong_length_are_refused),
        cmocka_unit_test(test_tags__very_many_take_no_quadratic_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
