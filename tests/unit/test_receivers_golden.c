/* SPDX-License-Identifier: Apache-2.0
 * tests/golden/receivers: bytes that real clients sent (made by run_jaeger_zipkin.py --capture),
 * each with the spans that must come of them. UPDATE=1 rewrites the expectations, to be reviewed as
 * a diff. Cut anywhere or with any byte changed, they must not do harm. */
#include "receiver_text.h"

static enum ec transcode(const char *name, struct bytes in, struct buf *out, struct err *err)
{
    if (strstr(name, "grpc") != NULL)
        return jaeger_proto_to_pb(in, out, err);
    if (strstr(name, "v1_thrift") != NULL)
        return zipkin_v1_thrift_to_pb(in, out, err);
    if (strstr(name, "v1_json") != NULL)
        return zipkin_v1_json_to_pb(in, false, out, err);
    if (strstr(name, "v2_json") != NULL)
        return zipkin_v2_json_to_pb(in, false, out, err);
    if (strstr(name, "v2_proto") != NULL)
        return zipkin_v2_proto_to_pb(in, false, out, err);
    if (strstr(name, "http") != NULL)
        return jaeger_thrift_to_pb(in, out, err);
    bool binary = strstr(name, "binary") != NULL || strstr(name, "node") != NULL;
    return jaeger_agent_to_pb(in, !binary, out, err);
}

/* File name, and whether every prefix is malformed: JSON and Thrift are; protobuf may be cut
 * between two fields. */
static const struct {
    const char *file;
    bool prefix_fails;
} captures[] = {
    {"agent_binary.bin", true},
    {"agent_compact.bin", true},
    {"jaeger_client_node.bin", true},
    {"jaeger_client_node_http.bin", true},
    {"jaeger_client_udp.bin", true},
    {"jaeger_thrift_http.bin", true},
    {"py_zipkin_v1_json.json", true},
    {"py_zipkin_v2_json.json", true},
    {"py_zipkin_v2_proto.bin", false},
    {"sdk_jaeger_grpc.bin", false},
    {"sdk_jaeger_http.bin", true},
    {"sdk_jaeger_udp.bin", true},
    {"sdk_zipkin_v1_json.json", true},
    {"sdk_zipkin_v2_json.json", true},
    {"sdk_zipkin_v2_proto.bin", false},
    {"zipkin_js_v1_json.json", true},
    {"zipkin_js_v2_json.json", true},
    {"zipkin_v1_thrift.bin", true},
};

static void read_file(const char *name, const char *suffix, struct buf *ret)
{
    char path[4096], chunk[4096];
    size_t n;
    snprintf(path, sizeof(path), TESTS_DIR "/golden/receivers/%s%s", name, suffix);
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        fail_msg("%s is not there", path);
    while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0)
        buf_put(ret, chunk, n);
    fclose(f);
}

static void test_captures__become_the_spans_that_were_sent(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(captures); i++) {
        struct buf in = BUF_INIT, pb = BUF_INIT, made = BUF_INIT, stored = BUF_INIT;
        struct err err = {0};
        read_file(captures[i].file, "", &in);
        if (transcode(captures[i].file, buf_bytes(&in), &pb, &err) != EC_OK)
            fail_msg("%s: %s", captures[i].file, err.msg);
        text_request(&made, buf_bytes(&pb));
        if (getenv("UPDATE") != NULL) {
            char path[4096];
            snprintf(path, sizeof(path), TESTS_DIR "/golden/receivers/%s.txt", captures[i].file);
            FILE *f = fopen(path, "wb");
            assert_non_null(f);
            assert_int_equal(fwrite(made.p, 1, made.n, f), made.n);
            fclose(f);
        }
        read_file(captures[i].file, ".txt", &stored);
        buf_putc(&stored, 0);
        buf_putc(&made, 0);
        assert_string_equal((char *)made.p, (char *)stored.p);
        buf_deinit(&in);
        buf_deinit(&pb);
        buf_deinit(&made);
        buf_deinit(&stored);
    }
}

/* An exact allocation, so that a read past the end is seen; what is accepted must decode. */
static enum ec try_bytes(const char *name, const uint8_t *p, size_t n)
{
    uint8_t *copy = malloc(n == 0 ? 1 : n);
    struct buf pb = BUF_INIT, text = BUF_INIT;
    if (n != 0)
        memcpy(copy, p, n);
    buf_putc(&pb, '!');
    enum ec ec = transcode(name, bytes_n(copy, n), &pb, NULL);
    if (ec == EC_OK)
        text_request(&text, bytes_n(pb.p + 1, pb.n - 1));
    else
        assert_int_equal(pb.n, 1); /* what was there before stays, and nothing else */
    buf_deinit(&text);
    buf_deinit(&pb);
    free(copy);
    return ec;
}

static void test_captures__cut_anywhere_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(captures); i++) {
        struct buf in = BUF_INIT;
        read_file(captures[i].file, "", &in);
        while (in.n > 0 && in.p[in.n - 1] == '\n')
            in.n--;
        for (size_t n = 0; n < in.n; n++) {
            enum ec ec = try_bytes(captures[i].file, in.p, n);
            if (captures[i].prefix_fails && ec != EC_INVALID && ec != EC_NOT_FOUND)
                fail_msg("%s: %zu bytes of it: %s", captures[i].file, n, ec_text(ec));
        }
        buf_deinit(&in);
    }
}

static void test_captures__with_any_byte_changed_do_no_harm(void **state)
{
    static const uint8_t bytes[] = {0x00, 0x01, 0x7f, 0x80, 0xff, '"', '[', '{'};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(captures); i++) {
        struct buf in = BUF_INIT;
        read_file(captures[i].file, "", &in);
        for (size_t at = 0; at < in.n; at++)
            for (size_t k = 0; k < ARRAY_LEN(bytes); k++) {
                uint8_t was = in.p[at];
                in.p[at] = bytes[k];
                (void)try_bytes(captures[i].file, in.p, in.n); /* either answer is right */
                in.p[at] = was;
            }
        buf_deinit(&in);
    }
}

static void test_captures__over_the_budget_are_refused_as_such(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(captures); i++) {
        struct buf in = BUF_INIT;
        bool done = false;
        read_file(captures[i].file, "", &in);
        for (uint64_t cap = 1; cap < 1u << 20; cap = cap * 3 / 2 + 1) {
            struct budget budget;
            struct buf pb;
            struct err err = {0};
            budget_init(&budget, NULL, "test", cap);
            buf_init(&pb, &budget);
            enum ec ec = transcode(captures[i].file, buf_bytes(&in), &pb, &err);
            if (ec != EC_OK && ec != EC_LIMIT)
                fail_msg("%s: budget %llu: %s", captures[i].file, (unsigned long long)cap, err.msg);
            assert_true(!done || ec == EC_OK); /* more memory never does worse */
            done = ec == EC_OK;
            buf_deinit(&pb);
            budget_deinit(&budget);
        }
        assert_true(done);
        buf_deinit(&in);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_captures__become_the_spans_that_were_sent),
        cmocka_unit_test(test_captures__cut_anywhere_are_refused),
        cmocka_unit_test(test_captures__with_any_byte_changed_do_no_harm),
        cmocka_unit_test(test_captures__over_the_budget_are_refused_as_such),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
