/* SPDX-License-Identifier: Apache-2.0
 * gRPC queries: requests into parameters, answers into packets. */
#include <stdlib.h>

#include "../../src/api/grpc_query.h"
#include "model/otlp_write.h"
#include "unit.h"

static struct err err;

/* ---- requests ---- */

struct decoded {
    struct config config;
    struct api api;
    struct query_job job;
    struct budget budget;
};

static void begin(struct decoded *d, const char *method)
{
    memset(d, 0, sizeof(*d));
    d->config.http_api_prefix = "/p";
    d->api.opt.config = &d->config;
    d->job.api = &d->api;
    d->job.grpc = grpc_method_find(str_from(method));
    assert_non_null(d->job.grpc);
    budget_init(&d->budget, NULL, "test", 1u << 20);
    arena_init(&d->job.arena, &d->budget, 0);
}

static void end(struct decoded *d)
{
    arena_deinit(&d->job.arena);
    budget_deinit(&d->budget);
}

/* The URL that the message comes to. */
static void expect_url(const char *method, const struct buf *message, const char *url)
{
    struct decoded *d = xcalloc(1, sizeof(*d));
    struct buf out = BUF_INIT;
    begin(d, method);
    assert_ok(d->job.grpc->decode(&d->job, buf_bytes(message), &err), err);
    job_put_url(&d->job, &out);
    assert_str(buf_str(&out), url);
    buf_deinit(&out);
    end(d);
    free(d);
}

static void put_tag(struct buf *b, const char *key, struct str value)
{
    size_t m = pb_begin(b, 1);
    pb_put_bytes(b, 1, str_from(key));
    pb_put_bytes(b, 2, value);
    pb_end(b, m);
}

static void test_requests__become_parameters(void **state)
{
    struct buf b = BUF_INIT;
    (void)state;
    expect_url("Search", &b, "/p/api/search?spss=0");
    pb_put_varint(&b, 4, 7);
    pb_put_varint(&b, 5, 1);
    pb_put_varint(&b, 6, 2);
    pb_put_bytes(&b, 8, STR("{ .a = \"b&c\" }"));
    pb_put_varint(&b, 9, 5);
    pb_put_varint(&b, 2, 10);
    pb_put_varint(&b, 3, 20);
    pb_put_bytes(&b, 10, STR("\x08\x80\x92\xb8\xc3\x98\xfe\xff\xff\xff\x01")); /* RF1After */
    pb_put_bytes(&b, 11, STR("x"));
    expect_url("Search", &b,
        "/p/api/search?start=1&end=2&limit=7&maxDuration=20ms&minDuration=10ms&spss=5"
        "&q=%7B+.a+%3D+%22b%26c%22+%7D");
    buf_reset(&b);
    put_tag(&b, "k", STR("a \"b\\"));
    put_tag(&b, "l", STR(""));
    expect_url("Search", &b, "/p/api/search?spss=0&tags=k%3D%22a+%5C%22b%5C%5C%22+l%3D%22%22");
    buf_reset(&b);
    pb_put_bytes(&b, 1, STR("span"));
    pb_put_bytes(&b, 2, STR("{}"));
    pb_put_varint(&b, 3, 5);
    pb_put_varint(&b, 4, 6);
    pb_put_varint(&b, 5, 9);
    expect_url(
        "SearchTagsV2", &b, "/p/api/v2/search/tags?start=5&end=6&scope=span&q=%7B%7D&limit=9");
    buf_reset(&b);
    pb_put_bytes(&b, 1, STR("span.a/b"));
    pb_put_varint(&b, 4, 5);
    pb_put_varint(&b, 5, 6);
    pb_put_varint(&b, 6, 9);
    expect_url("SearchTagValues", &b, "/p/api/search/tag/span.a/b/values?start=5&end=6&limit=9");
    buf_reset(&b);
    pb_put_bytes(&b, 1, STR("{}"));
    pb_put_varint(&b, 2, 5);
    pb_put_varint(&b, 3, UINT64_MAX);
    pb_put_varint(&b, 4, 60);
    pb_put_varint(&b, 16, 3);
    pb_put_varint(&b, 17, 4);
    pb_put_varint(&b, 18, 1);
    expect_url("MetricsQueryRange", &b,
        "/p/api/metrics/query_range?start=00000000000000000005&end=09223372036854775807&step=60ns"
        "&q=%7B%7D&exemplars=3&maxSeries=4&instant=true");
    expect_url("MetricsQueryInstant", &b,
        "/p/api/metrics/query_range?start=00000000000000000005&end=09223372036854775807&q=%7B%7D");
    buf_deinit(&b);
    assert_null(grpc_method_find(STR("search")));
    assert_null(grpc_method_find(STR("")));
}

static enum ec try_decode(const char *method, struct bytes message, uint64_t budget)
{
    struct decoded *d = xcalloc(1, sizeof(*d));
    begin(d, method);
    atomic_store(&d->budget.cap, budget);
    enum ec ec = d->job.grpc->decode(&d->job, message, &err);
    end(d);
    free(d);
    return ec;
}

static void test_requests__are_refused(void **state)
{
    struct buf b = BUF_INIT;
    (void)state;
    assert_int_equal(try_decode("Search", bytes_n("\x42\xff", 2), 1u << 20), EC_CORRUPT);
    assert_int_equal(try_decode("SearchTags", bytes_n("\x0b", 1), 1u << 20), EC_CORRUPT);
    for (unsigned i = 0; i < 20000; i++)
        pb_put_varint(&b, 200, i);
    assert_int_equal(try_decode("Search", buf_bytes(&b), 64u << 10), EC_LIMIT);
    assert_int_equal(try_decode("Search", buf_bytes(&b), 16u << 20), EC_OK);
    buf_reset(&b);
    put_tag(&b, "", STR("x"));
    assert_int_equal(try_decode("Search", buf_bytes(&b), 1u << 20), EC_INVALID);
    assert_true(str_has(str_from(err_msg(&err)), STR("invalid key")));
    buf_reset(&b);
    for (unsigned i = 0; i < 2000; i++)
        put_tag(&b, "key", STR("x"));
    assert_int_equal(try_decode("Search", buf_bytes(&b), 1u << 20), EC_INVALID);
    assert_true(str_has(str_from(err_msg(&err)), STR("invalid tags: over")));
    buf_deinit(&b);
}

/* ---- packets ---- */

struct seen {
    size_t n, n_elements, largest;
    bool last; /* the last packet has a status */
    struct buf elements;
    size_t max_fields; /* of fields 2 in one packet */
};

/* Splits a packet at its top level. */
static bool on_packet(void *arg, struct bytes packet)
{
    struct seen *s = arg;
    const uint8_t *p = packet.p, *end = p + packet.n;
    size_t metrics = 0;
    s->n++;
    s->largest = MAX(s->largest, packet.n);
    s->last = false;
    while (p < end) {
        const uint8_t *from = p;
        uint64_t tag = 0, n = 0;
        p = varint_get(p, end, &tag);
        p = varint_get(p, end, &n);
        if ((tag & 7) == PB_LEN)
            p += n;
        if (tag >> 3 == 1) {
            buf_put(&s->elements, from, (size_t)(p - from));
            s->n_elements++;
        }
        metrics += tag >> 3 == 2;
        s->last |= tag >> 3 == 3;
    }
    assert_int_equal(metrics, 1);
    return true;
}

static void put_tail(struct buf *b, bool status)
{
    size_t m = pb_begin(b, 2);
    pb_put_varint(b, 4, 12);
    pb_end(b, m);
    if (status) {
        pb_put_varint(b, 3, 1);
        pb_put_bytes(b, 4, STR("partial"));
    }
}

static void test_packets__cut_between_elements(void **state)
{
    struct buf b = BUF_INIT, scratch = BUF_INIT;
    char text[400];
    size_t end_of_elements;
    (void)state;
    memset(text, 'x', sizeof(text));
    for (unsigned i = 0; i < 100; i++)
        pb_put_bytes(&b, 1, str_n(text, i == 50 ? 400 : i));
    end_of_elements = b.n;
    put_tail(&b, true);
    static const size_t sizes[] = {0, 1, 50, 200, 1000, 100000};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct seen s = {0};
        assert_true(grpc_packets(buf_bytes(&b), sizes[i], false, &scratch, on_packet, &s));
        assert_true(s.last);
        assert_int_equal(s.n_elements, 100);
        assert_int_equal(s.elements.n, end_of_elements);
        assert_memory_equal(s.elements.p, b.p, end_of_elements);
        assert_int_equal(s.n == 1, sizes[i] == 0 || sizes[i] == 100000);
        if (sizes[i] == 1)
            assert_int_equal(s.n, 100);
        if (sizes[i] == 200) /* the one that is larger goes alone */
            assert_true(s.largest < 420);
        if (sizes[i] == 1000)
            assert_true(s.largest <= 1000 + 11);
        buf_deinit(&s.elements);
    }
    buf_deinit(&b);
    buf_deinit(&scratch);
}

static void test_packets__of_nothing(void **state)
{
    struct buf b = BUF_INIT, scratch = BUF_INIT;
    struct seen s = {0};
    (void)state;
    put_tail(&b, true);
    assert_true(grpc_packets(buf_bytes(&b), 1, false, &scratch, on_packet, &s));
    assert_int_equal(s.n, 1);
    assert_true(s.last);
    buf_deinit(&b);
    buf_deinit(&scratch);
}

static bool refuse(void *arg, struct bytes packet)
{
    (void)packet;
    return ++*(unsigned *)arg < 3;
}

static void test_packets__scopes_repeat_their_name(void **state)
{
    struct buf b = BUF_INIT, scratch = BUF_INIT;
    struct seen s = {0};
    unsigned calls = 0;
    size_t tags = 0;
    (void)state;
    for (unsigned k = 0; k < 2; k++) {
        size_t m = pb_begin(&b, 1);
        pb_put_bytes(&b, 1, k == 0 ? STR("resource") : STR("span"));
        for (unsigned i = 0; i < 30; i++)
            pb_put_bytes(&b, 2, STR("some.tag.name"));
        pb_end(&b, m);
    }
    put_tail(&b, false);
    assert_true(grpc_packets(buf_bytes(&b), 100, true, &scratch, on_packet, &s));
    assert_true(s.n > 8 && s.largest <= 130);
    const uint8_t *p = s.elements.p, *end = p + s.elements.n;
    while (p < end) { /* every piece: its name, then tags */
        struct str name;
        assert_int_equal(*p, 0x0a);
        const uint8_t *piece = p + 2, *piece_end = piece + p[1]; /* lengths below 128 */
        assert_int_equal(*piece, 0x0a);
        name = str_n((const char *)piece + 2, piece[1]);
        assert_true(str_eqz(name, "resource") || str_eqz(name, "span"));
        for (piece += 2 + name.n; piece < piece_end; piece += 2 + piece[1], tags++)
            assert_int_equal(*piece, 0x12);
        p = piece_end;
    }
    assert_int_equal(tags, 60);
    buf_deinit(&s.elements);
    buf_reset(&scratch);
    assert_false(grpc_packets(buf_bytes(&b), 100, true, &scratch, refuse, &calls));
    assert_int_equal(calls, 3);
    buf_deinit(&b);
    buf_deinit(&scratch);
}

static void test_codes__are_tempos(void **state)
{
    struct query_job job = {0};
    (void)state;
    static const unsigned pairs[][2] = {{200, 0}, {400, 3}, {401, 2}, {404, 5}, {422, 2}, {429, 8},
        {499, 1}, {500, 13}, {503, 13}, {504, 13}};
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        assert_int_equal(grpc_code_of(&job, pairs[i][0]), pairs[i][1]);
    job.invalid_unknown = true;
    assert_int_equal(grpc_code_of(&job, 400), 2);
    job.client_deadline_ns = 1;
    assert_int_equal(grpc_code_of(&job, 504), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests__become_parameters),
        cmocka_unit_test(test_requests__are_refused),
        cmocka_unit_test(test_packets__cut_between_elements),
        cmocka_unit_test(test_packets__of_nothing),
        cmocka_unit_test(test_packets__scopes_repeat_their_name),
        cmocka_unit_test(test_codes__are_tempos),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
