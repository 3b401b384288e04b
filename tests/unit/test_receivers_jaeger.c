/* SPDX-License-Identifier: Apache-2.0
 * Jaeger to OTLP, rule by rule (spec ingest.md 7.5), over Thrift in both protocols and protobuf. */
#include "model/otlp_write.h"
#include "receiver_text.h"
#include "thrift_write.h"

/* ---- building ---- */

struct tag {
    const char *key;
    int type; /* of Thrift: STRING, DOUBLE, BOOL, LONG, BINARY */
    const char *text;
    double d;
    int64_t i;
};
enum { STRING, DOUBLE, BOOL, LONG, BINARY };
#define T_STR(k, v)                             \
    {                                           \
        .key = (k), .type = STRING, .text = (v) \
    }
#define T_BOOL(k, v)                       \
    {                                      \
        .key = (k), .type = BOOL, .i = (v) \
    }
#define T_INT(k, v)                        \
    {                                      \
        .key = (k), .type = LONG, .i = (v) \
    }

struct ref {
    int type; /* 0: CHILD_OF, 1: FOLLOWS_FROM */
    int64_t low, span;
};

/* A batch of one span: trace 1, span 2, from 3 us for 4 us. */
struct sample {
    const char *service;
    int64_t parent;
    struct tag process[4], tags[40];
    struct ref refs[4];
    struct tag log[4];
    bool has_log;
    int64_t duration_us;
};

static size_t count_tags(const struct tag *t, size_t max)
{
    size_t n = 0;
    while (n < max && t[n].key != NULL)
        n++;
    return n;
}
#define N_TAGS(array) count_tags((array), ARRAY_LEN(array))

static size_t count_refs(const struct sample *s)
{
    size_t n = 0;
    while (n < ARRAY_LEN(s->refs) && s->refs[n].span != 0)
        n++;
    return n;
}

static void thrift_tags(struct tw *t, int id, const struct tag *tags, size_t n)
{
    tw_list(t, id, TW_STRUCT, n);
    for (size_t i = 0; i < n; i++) {
        tw_open(t);
        tw_strz(t, 1, tags[i].key);
        tw_i32(t, 2, tags[i].type);
        if (tags[i].type == STRING && tags[i].text != NULL)
            tw_strz(t, 3, tags[i].text);
        if (tags[i].type == DOUBLE)
            tw_double(t, 4, tags[i].d);
        if (tags[i].type == BOOL)
            tw_bool(t, 5, tags[i].i != 0);
        if (tags[i].type == LONG)
            tw_i64(t, 6, tags[i].i);
        if (tags[i].type == BINARY)
            tw_strz(t, 7, tags[i].text);
        tw_end(t);
    }
}

static void thrift_span(struct tw *t, const struct sample *s)
{
    tw_i64(t, 1, 1);
    tw_i64(t, 2, 0);
    tw_i64(t, 3, 2);
    tw_i64(t, 4, s->parent);
    tw_strz(t, 5, "op");
    tw_list(t, 6, TW_STRUCT, count_refs(s));
    for (size_t i = 0; i < count_refs(s); i++) {
        tw_open(t);
        tw_i32(t, 1, s->refs[i].type);
        tw_i64(t, 2, s->refs[i].low);
        tw_i64(t, 3, 0);
        tw_i64(t, 4, s->refs[i].span);
        tw_end(t);
    }
    tw_i32(t, 7, 1);
    tw_i64(t, 8, 3);
    tw_i64(t, 9, s->duration_us != 0 ? s->duration_us : 4);
    thrift_tags(t, 10, s->tags, N_TAGS(s->tags));
    if (s->has_log) {
        tw_list(t, 11, TW_STRUCT, 1);
        tw_open(t);
        tw_i64(t, 1, 5);
        thrift_tags(t, 2, s->log, N_TAGS(s->log));
        tw_end(t);
    }
}

static void thrift_batch(struct tw *t, const struct sample *s)
{
    tw_struct(t, 1);
    tw_strz(t, 1, s->service);
    thrift_tags(t, 2, s->process, N_TAGS(s->process));
    tw_end(t);
    tw_list(t, 2, TW_STRUCT, 1);
    tw_open(t);
    thrift_span(t, s);
    tw_end(t);
    tw_end(t); /* the batch */
}

static void proto_tags(struct buf *b, uint32_t field, const struct tag *tags, size_t n)
{
    static const unsigned types[] = {0, 3, 1, 2, 4}; /* the order differs from Thrift's */
    for (size_t i = 0; i < n; i++) {
        size_t kv = pb_begin(b, field);
        pb_put_bytes(b, 1, str_from(tags[i].key));
        pb_put_varint(
            b, 2, (size_t)tags[i].type < 5 ? types[tags[i].type] : (uint64_t)tags[i].type);
        if (tags[i].type == STRING && tags[i].text != NULL)
            pb_put_bytes(b, 3, str_from(tags[i].text));
        if (tags[i].type == BOOL)
            pb_put_varint(b, 4, tags[i].i != 0);
        if (tags[i].type == LONG)
            pb_put_varint(b, 5, (uint64_t)tags[i].i);
        if (tags[i].type == DOUBLE)
            pb_put_double(b, 6, tags[i].d);
        if (tags[i].type == BINARY)
            pb_put_bytes(b, 7, str_from(tags[i].text));
        pb_end(b, kv);
    }
}

static void proto_id(struct buf *b, uint32_t field, int64_t low, size_t n)
{
    char id[16] = {0};
    put_u64be(id + n - 8, (uint64_t)low);
    pb_put_bytes(b, field, str_n(id, n));
}

static void proto_time(struct buf *b, uint32_t field, int64_t us)
{
    size_t t = pb_begin(b, field);
    pb_put_varint(b, 1, (uint64_t)(us / 1000000));
    pb_put_varint(b, 2, (uint64_t)(us % 1000000 * 1000));
    pb_end(b, t);
}

static void proto_process(struct buf *b, uint32_t field, const struct sample *s)
{
    size_t process = pb_begin(b, field);
    pb_put_bytes(b, 1, str_from(s->service));
    proto_tags(b, 2, s->process, N_TAGS(s->process));
    pb_end(b, process);
}

static void proto_span(struct buf *b, const struct sample *s, const struct sample *own_process)
{
    size_t span = pb_begin(b, 1);
    proto_id(b, 1, 1, 16);
    proto_id(b, 2, 2, 8);
    pb_put_bytes(b, 3, STR("op"));
    for (size_t i = 0; i < count_refs(s); i++) {
        size_t ref = pb_begin(b, 4);
        proto_id(b, 1, s->refs[i].low, i % 2 == 0 ? 16 : 8); /* both lengths are ids */
        proto_id(b, 2, s->refs[i].span, 8);
        pb_put_varint(b, 3, (uint64_t)s->refs[i].type);
        pb_end(b, ref);
    }
    pb_put_varint(b, 5, 1);
    proto_time(b, 6, 3);
    proto_time(b, 7, s->duration_us != 0 ? s->duration_us : 4);
    proto_tags(b, 8, s->tags, N_TAGS(s->tags));
    if (s->has_log) {
        size_t log = pb_begin(b, 9);
        proto_time(b, 1, 5);
        proto_tags(b, 2, s->log, N_TAGS(s->log));
        pb_end(b, log);
    }
    if (own_process != NULL)
        proto_process(b, 10, own_process);
    pb_put_bytes(b, 11, STR("p1"));
    pb_put_bytes(b, 12, STR("a warning"));
    pb_end(b, span);
}

/* ---- checking ---- */

static void check_thrift(const struct sample *s, const char *want)
{
    struct err err = {0};
    for (int compact = 0; compact < 2; compact++) {
        struct tw t = {.compact = compact};
        struct buf pb = BUF_INIT;
        tw_message(&t, "emitBatch", 4);
        tw_struct(&t, 1);
        thrift_batch(&t, s);
        tw_end(&t); /* the arguments */
        enum ec ec = jaeger_agent_to_pb(buf_bytes(&t.b), compact, &pb, &err);
        expect_spans(compact ? "compact" : "binary", ec, &err, &pb, want);
        buf_deinit(&pb);
        buf_deinit(&t.b);
    }
    struct tw t = {0};
    struct buf pb = BUF_INIT;
    thrift_batch(&t, s);
    expect_spans("http", jaeger_thrift_to_pb(buf_bytes(&t.b), &pb, &err), &err, &pb, want);
    buf_deinit(&pb);
    buf_deinit(&t.b);
}

static void check_proto_bytes(const struct buf *batch, const char *want)
{
    struct buf request = BUF_INIT, pb = BUF_INIT;
    struct err err = {0};
    pb_put_bytes(&request, 1, buf_str(batch));
    expect_spans("proto", jaeger_proto_to_pb(buf_bytes(&request), &pb, &err), &err, &pb, want);
    buf_deinit(&request);
    buf_deinit(&pb);
}

static void check_proto(const struct sample *s, const char *want)
{
    struct buf batch = BUF_INIT;
    proto_span(&batch, s, NULL);
    proto_process(&batch, 2, s);
    check_proto_bytes(&batch, want);
    buf_deinit(&batch);
}

#define IDS     " 00000000000000000000000000000001/0000000000000002"
#define TIMES   " at 3000+4000"
#define SPAN    "resource service.name=\"s\"\n  span \"op\" "
#define BARE(k) SPAN k IDS TIMES

/* The same from every encoding. */
static void check(const struct sample *s, const char *want)
{
    check_thrift(s, want);
    check_proto(s, want);
}

static void check_tags(const char *want, size_t n, const struct tag *tags)
{
    struct sample s = {.service = "s"};
    assert_true(n <= ARRAY_LEN(s.tags));
    memcpy(s.tags, tags, n * sizeof(*tags));
    check(&s, want);
}
#define CHECK_TAGS(want, ...)                        \
    do {                                             \
        const struct tag tags_[] = {__VA_ARGS__};    \
        check_tags((want), ARRAY_LEN(tags_), tags_); \
    } while (0)

static void test_tags__keep_their_type_and_the_last_value(void **state)
{
    (void)state;
    CHECK_TAGS(BARE("unspecified") " a=\"x\" d=-2.5 b=true i=-9 y=0x6869 e=\"\"\n", T_STR("a", "x"),
        {.key = "d", .type = DOUBLE, .d = -2.5}, T_BOOL("b", 1), T_INT("i", -9),
        {.key = "y", .type = BINARY, .text = "hi"}, T_STR("e", NULL));
    CHECK_TAGS(BARE("unspecified") " a=3 b=\"x\"\n", T_STR("a", "1"), T_STR("b", "x"),
        T_INT("a", 2), T_INT("a", 3));
    CHECK_TAGS(
        BARE("unspecified") " a=\"<Unknown Jaeger TagType \"9\">\"\n", {.key = "a", .type = 9});
}

static void test_tags__many_keys_keep_the_last_value_too(void **state)
{
    struct sample s = {.service = "s"};
    (void)state;
    for (int i = 0; i < 40; i++)
        s.tags[i] = (struct tag)T_INT(i % 2 == 0 ? "even" : "odd", i);
    check(&s, BARE("unspecified") " even=38 odd=39\n");
}

static void test_kind__comes_from_its_tag(void **state)
{
    static const char *const kinds[] = {"client", "server", "producer", "consumer", "internal"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        char want[200];
        snprintf(want, sizeof(want), SPAN "%s" IDS TIMES "\n", kinds[i]);
        CHECK_TAGS(want, T_STR("span.kind", kinds[i]));
    }
    CHECK_TAGS(BARE("unspecified") "\n", T_STR("span.kind", "Client")); /* exact case; removed */
    CHECK_TAGS(BARE("unspecified") "\n", T_INT("span.kind", 1));
}

static void test_status__error_tag(void **state)
{
    (void)state;
    CHECK_TAGS(BARE("unspecified") " error\n", T_BOOL("error", 1));
    CHECK_TAGS(BARE("unspecified") " error=false\n", T_BOOL("error", 0));
    CHECK_TAGS(BARE("unspecified") " error=\"true\"\n", T_STR("error", "true"));
    CHECK_TAGS(BARE("unspecified") " error (why) http.status_message=\"no\"\n", T_BOOL("error", 1),
        T_STR("otel.status_description", "why"), T_STR("http.status_message", "no"));
    CHECK_TAGS(BARE("unspecified") " error (no) http.status_message=\"no\"\n", T_BOOL("error", 1),
        T_STR("http.status_message", "no"));
    /* It rules over the two others, whose words go all the same. */
    CHECK_TAGS(BARE("unspecified") " error http.status_code=200\n", T_BOOL("error", 1),
        T_STR("otel.status_code", "OK"), T_INT("http.status_code", 200));
}

static void test_status__in_opentelemetrys_words(void **state)
{
    (void)state;
    CHECK_TAGS(BARE("unspecified") " ok\n", T_STR("otel.status_code", "Ok"));
    CHECK_TAGS(BARE("unspecified") " error (why)\n", T_STR("otel.status_code", "error"),
        T_STR("otel.status_description", "why"));
    CHECK_TAGS(BARE("unspecified") "\n", T_STR("otel.status_code", "UNSET"));
    CHECK_TAGS(BARE("unspecified") "\n", T_INT("otel.status_code", 2));
    /* The HTTP code is not looked at, even where the code said nothing. */
    CHECK_TAGS(BARE("unspecified") " http.status_code=500\n", T_STR("otel.status_code", "?"),
        T_INT("http.status_code", 500));
    CHECK_TAGS(BARE("unspecified") " otel.status_description=\"why\"\n",
        T_STR("otel.status_description", "why")); /* alone it stays */
}

static void test_status__http_codes(void **state)
{
    static const struct {
        int code;
        const char *kind;
        bool error;
    } cases[] = {{99, "", true}, {100, "", false}, {200, "", false}, {398, "", false},
        {399, "", true}, {400, "", true}, {404, "client", true}, {404, "server", false},
        {499, "server", false}, {500, "server", true}, {500, "client", true}, {-1, "", true},
        {0, "", true}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char want[300], text[12];
        const char *kind = cases[i].kind[0] == 0 ? "unspecified" : cases[i].kind;
        snprintf(want, sizeof(want), SPAN "%s" IDS TIMES "%s http.status_code=%d\n", kind,
            cases[i].error ? " error" : "", cases[i].code);
        CHECK_TAGS(
            want, T_STR("span.kind", cases[i].kind), T_INT("http.status_code", cases[i].code));
        snprintf(want, sizeof(want), SPAN "%s" IDS TIMES "%s http.status_code=\"%d\"\n", kind,
            cases[i].error ? " error" : "", cases[i].code);
        snprintf(text, sizeof(text), "%d", cases[i].code);
        CHECK_TAGS(want, T_STR("span.kind", cases[i].kind), T_STR("http.status_code", text));
    }
    CHECK_TAGS(BARE("unspecified") " http.status_code=\"5xx\"\n", T_STR("http.status_code", "5xx"));
    CHECK_TAGS(BARE("unspecified") " http.status_code=true\n", T_BOOL("http.status_code", 1));
    CHECK_TAGS(
        BARE("unspecified") " error (bad) http.status_code=500 http.status_message=\"bad\"\n",
        T_INT("http.status_code", 500), T_STR("http.status_message", "bad"));
}

static void test_references__parent_and_links(void **state)
{
#define LINK(t, s, type)                                             \
    "   link 0000000000000000000000000000000" t "/000000000000000" s \
    " opentracing.ref_type=\"" type "\"\n"
    struct sample s = {.service = "s", .refs = {{1, 1, 8}, {0, 9, 7}, {0, 1, 6}, {0, 1, 5}}};
    (void)state;
    /* The first CHILD_OF of the same trace is the parent and no link; others are links. */
    check(&s, SPAN "unspecified" IDS " parent 0000000000000006" TIMES "\n" LINK(
                  "1", "8", "follows_from") LINK("9", "7", "child_of") LINK("1", "5", "child_of"));
    s.refs[2].span = 0; /* ends the list */
    check(&s, SPAN "unspecified" IDS " parent 0000000000000008" TIMES
                   "\n" LINK("1", "8", "follows_from") LINK("9", "7", "child_of"));
    s.refs[0].low = 4;
    check(&s, SPAN "unspecified" IDS TIMES "\n" LINK("4", "8", "follows_from")
                  LINK("9", "7", "child_of"));
    /* Thrift has a field for it, which wins. */
    struct sample given = {.service = "s", .parent = 3, .refs = {{0, 1, 3}, {0, 1, 4}}};
    check_thrift(&given,
        SPAN "unspecified" IDS " parent 0000000000000003" TIMES "\n" LINK("1", "4", "child_of"));
}

static void test_logs__become_events(void **state)
{
    struct sample s = {.service = "s",
        .has_log = true,
        .log = {T_STR("event", "noted"), T_INT("n", 1), T_INT("n", 2)}};
    (void)state;
    check(&s, BARE("unspecified") "\n   event \"noted\" at 5000 n=2\n");
    s.log[0] = (struct tag)T_INT("event", 7); /* a name is text */
    check(&s, BARE("unspecified") "\n   event \"\" at 5000 n=2\n");
    memset(s.log, 0, sizeof(s.log));
    check(&s, BARE("unspecified") "\n   event \"\" at 5000\n");
}

static void check_process(const char *service, struct tag a, struct tag b, const char *want)
{
    struct sample s = {.service = service, .process = {a, b}};
    char text[400];
    snprintf(text, sizeof(text), "resource%s\n  span \"op\" unspecified" IDS TIMES "\n", want);
    check(&s, text);
}

static void test_process__becomes_the_resource(void **state)
{
    static const struct tag none = {0};
    (void)state;
    check_process("s", (struct tag)T_STR("hostname", "h"), (struct tag)T_INT("x", 1),
        " service.name=\"s\" host.name=\"h\" x=1");
    check_process("s", (struct tag)T_STR("hostname", "h"), (struct tag)T_STR("host.name", "i"),
        " service.name=\"s\" hostname=\"h\" host.name=\"i\"");
    check_process("s", (struct tag)T_STR("jaeger.version", "Go-1"), none,
        " service.name=\"s\" opencensus.exporterversion=\"Jaeger-Go-1\"");
    check_process("s", (struct tag)T_STR("jaeger.version", "Go-1"),
        (struct tag)T_STR("opencensus.exporterversion", "x"),
        " service.name=\"s\" jaeger.version=\"Go-1\" opencensus.exporterversion=\"x\"");
    check_process("s", (struct tag)T_STR("service.name", "t"), none, " service.name=\"t\"");
    check_process("", (struct tag)T_STR("x", "y"), none, " x=\"y\"");
    check_process("", none, none, "");
}

static void test_proto__rules_of_its_own(void **state)
{
    struct sample s = {.service = "OTLPResourceNoServiceName",
        .process = {T_STR("x", "y")},
        .tags = {T_STR("otel.scope.name", "lib"), T_STR("otel.scope.version", "1"),
            T_STR("w3c.tracestate", "a=b")}};
    (void)state;
    check_proto(&s, "resource\n scope lib 1\n  span \"op\" unspecified" IDS TIMES " state a=b\n");
    check_thrift(&s, "resource service.name=\"OTLPResourceNoServiceName\" x=\"y\"\n"
                     "  span \"op\" unspecified" IDS TIMES
                     " otel.scope.name=\"lib\" otel.scope.version=\"1\" w3c.tracestate=\"a=b\"\n");
    s.service = "s";
    s.process[0] = (struct tag){0};
    s.tags[0] = (struct tag)T_STR("k", "v"); /* a version without a name is an attribute */
    check_proto(&s, BARE("unspecified") " state a=b k=\"v\" otel.scope.version=\"1\"\n");
}

static void test_proto__spans_are_regrouped_by_process_and_scope(void **state)
{
    struct sample s = {.service = "s"}, own = {.service = "own", .process = {T_INT("n", 1)}},
                  scoped = {.service = "s", .tags = {T_STR("otel.scope.name", "lib")}};
    struct buf batch = BUF_INIT;
    (void)state;
    proto_span(&batch, &s, &own);
    proto_span(&batch, &scoped, NULL);
    proto_span(&batch, &s, NULL);
    proto_span(&batch, &s, &own);
    proto_process(&batch, 2, &s);
#define ONE "  span \"op\" unspecified" IDS TIMES "\n"
    check_proto_bytes(&batch, "resource service.name=\"s\"\n" ONE " scope lib \n" ONE
                              "resource service.name=\"own\" n=1\n" ONE ONE);
    buf_deinit(&batch);
}

static enum ec proto_result(const struct buf *batch)
{
    struct buf request = BUF_INIT, pb = BUF_INIT;
    pb_put_bytes(&request, 1, buf_str(batch));
    enum ec ec = jaeger_proto_to_pb(buf_bytes(&request), &pb, NULL);
    buf_deinit(&request);
    buf_deinit(&pb);
    return ec;
}

static void test_proto__ids_of_a_wrong_length_are_refused(void **state)
{
    static const size_t lengths[] = {0, 1, 7, 8, 9, 15, 16, 17};
    (void)state;
    for (unsigned field = 1; field <= 2; field++)
        for (unsigned in_ref = 0; in_ref < 2; in_ref++)
            for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
                struct buf batch = BUF_INIT;
                size_t span = pb_begin(&batch, 1), ref = in_ref ? pb_begin(&batch, 4) : 0;
                static const char id[17] = "aaaaaaaaaaaaaaaa";
                pb_put_bytes(&batch, field, str_n(id, lengths[i]));
                if (in_ref)
                    pb_end(&batch, ref);
                pb_end(&batch, span);
                bool ok = lengths[i] == 0 || lengths[i] == 8 || (lengths[i] == 16 && field == 1);
                assert_int_equal(proto_result(&batch), ok ? EC_OK : EC_INVALID);
                buf_deinit(&batch);
            }
}

static void test_batch__without_spans_or_with_blank_ones(void **state)
{
    struct tw t = {0};
    struct buf pb = BUF_INIT, text = BUF_INIT;
    (void)state;
    tw_struct(&t, 1);
    tw_strz(&t, 1, "s");
    tw_end(&t);
    tw_list(&t, 2, TW_STRUCT, 1);
    tw_open(&t);
    for (int id = 1; id <= 9; id++)
        if (id == 5)
            tw_strz(&t, id, "");
        else if (id == 7)
            tw_i32(&t, id, 0);
        else if (id != 6)
            tw_i64(&t, id, 0);
    tw_end(&t);
    tw_end(&t);
    assert_int_equal(jaeger_thrift_to_pb(buf_bytes(&t.b), &pb, NULL), EC_OK);
    text_request(&text, buf_bytes(&pb));
    assert_int_equal(text.n, 0);
    assert_int_equal(jaeger_proto_to_pb((struct bytes){0}, &pb, NULL), EC_OK);
    buf_deinit(&t.b);
    buf_deinit(&pb);
    buf_deinit(&text);
}

static void test_thrift__required_fields(void **state)
{
    (void)state;
    for (int missing = 1; missing <= 9; missing++) {
        struct tw t = {0};
        struct buf pb = BUF_INIT;
        tw_list(&t, 2, TW_STRUCT, 1); /* the spans may come before the process */
        tw_open(&t);
        for (int id = 1; id <= 9; id++)
            if (id == missing)
                continue;
            else if (id == 5)
                tw_strz(&t, id, "op");
            else if (id == 7)
                tw_i32(&t, id, 1);
            else if (id != 6)
                tw_i64(&t, id, id);
        tw_end(&t);
        tw_struct(&t, 1);
        tw_strz(&t, 1, "s");
        tw_end(&t);
        tw_end(&t);
        enum ec ec = jaeger_thrift_to_pb(buf_bytes(&t.b), &pb, NULL);
        assert_int_equal(ec, missing == 6 ? EC_OK : EC_INVALID);
        buf_deinit(&t.b);
        buf_deinit(&pb);
    }
}

static void test_agent__other_methods(void **state)
{
    static const struct {
        const char *method;
        unsigned type;
        enum ec ec;
    } cases[] = {{"emitBatch", 1, EC_OK}, {"emitBatch", 4, EC_OK}, {"emitBatch", 2, EC_NOT_FOUND},
        {"emitZipkinBatch", 4, EC_UNSUPPORTED}, {"getSomething", 1, EC_NOT_FOUND}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (int compact = 0; compact < 2; compact++) {
            struct tw t = {.compact = compact};
            struct buf pb = BUF_INIT;
            tw_message(&t, cases[i].method, cases[i].type);
            tw_end(&t); /* no arguments */
            assert_int_equal(jaeger_agent_to_pb(buf_bytes(&t.b), compact, &pb, NULL), cases[i].ec);
            assert_int_equal(pb.n, 0);
            buf_deinit(&t.b);
            buf_deinit(&pb);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tags__keep_their_type_and_the_last_value),
        cmocka_unit_test(test_tags__many_keys_keep_the_last_value_too),
        cmocka_unit_test(test_kind__comes_from_its_tag),
        cmocka_unit_test(test_status__error_tag),
        cmocka_unit_test(test_status__in_opentelemetrys_words),
        cmocka_unit_test(test_status__http_codes),
        cmocka_unit_test(test_references__parent_and_links),
        cmocka_unit_test(test_logs__become_events),
        cmocka_unit_test(test_process__becomes_the_resource),
        cmocka_unit_test(test_proto__rules_of_its_own),
        cmocka_unit_test(test_proto__spans_are_regrouped_by_process_and_scope),
        cmocka_unit_test(test_proto__ids_of_a_wrong_length_are_refused),
        cmocka_unit_test(test_batch__without_spans_or_with_blank_ones),
        cmocka_unit_test(test_thrift__required_fields),
        cmocka_unit_test(test_agent__other_methods),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
