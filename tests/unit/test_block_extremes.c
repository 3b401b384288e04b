/* SPDX-License-Identifier: Apache-2.0
 * Blocks at the edges of what clients send: huge traces, ten thousand keys, strings that never
 * repeat, one span with fifty thousand events, keys sent hundreds of times. Each goes from a head
 * to a block, and from two blocks to a merged one, and must come back equal. */
#include "block_fixture.h"
#include "model/otlp_write.h"
#include "part_text.h"
#include "test_util.h"

static void put_ids(struct buf *b, uint64_t trace, uint64_t span, uint64_t parent)
{
    char id[16];
    put_u64be(id, trace);
    put_u64be(id + 8, ~trace);
    pb_put_bytes(b, 1, str_n(id, 16));
    put_u64be(id, span);
    pb_put_bytes(b, 2, str_n(id, 8));
    put_u64be(id, parent);
    if (parent != 0)
        pb_put_bytes(b, 4, str_n(id, 8));
}

struct request {
    struct buf b;
    size_t rs, ss;
};

static void request_begin(struct request *q)
{
    *q = (struct request){0};
    q->rs = pb_begin(&q->b, 1);
    q->ss = pb_begin(&q->b, 2);
}

static size_t span_begin(struct request *q, uint64_t trace, uint64_t span, uint64_t parent)
{
    size_t mark = pb_begin(&q->b, 2);
    put_ids(&q->b, trace, span, parent);
    pb_put_bytes(&q->b, 5, STR("op"));
    pb_put_fixed64(&q->b, 7, 1700000000000000000u + trace * 1000 + span);
    pb_put_fixed64(&q->b, 8, 1700000000000001000u + trace * 1000 + span);
    return mark;
}

static struct head *request_end(struct request *q)
{
    pb_end(&q->b, q->ss);
    pb_end(&q->b, q->rs);
    struct head *h = head_of_request(buf_bytes(&q->b), 1700000000);
    buf_deinit(&q->b);
    return h;
}

/* Head -> block -> equal; twice the block -> merged -> equal. Returns the first block. */
static struct part *check_round(struct block_fixture *f, struct head *h)
{
    struct part *head = head_part(h), *b = fixture_write(f, &head, 1);
    struct part_texts x = part_texts_read(head), y = part_texts_read(b);
    assert_true(part_texts_same_set(&x, &y));
    part_texts_free(&y);
    fixture_verify(f->path);
    struct part *two[2] = {b, b}, *merged = fixture_write(f, two, 2);
    assert_int_equal(f->dups, x.n);
    y = part_texts_read(merged);
    assert_true(part_texts_same_set(&x, &y));
    fixture_verify(f->path);
    part_texts_free(&x);
    part_texts_free(&y);
    part_unref(merged);
    head_free(h);
    return b;
}

static void test_extremes__a_trace_spans_many_groups(void **state)
{
    (void)state;
    enum { N = 100000 };
    struct block_fixture *f = block_fixture_new();
    struct request q;
    request_begin(&q);
    for (uint64_t i = 1; i <= N; i++) /* parents far away: in other groups, too */
        pb_end(&q.b, span_begin(&q, 1, i, i == 1 ? 0 : i * 7919 % i + 1));
    struct part *b = check_round(f, request_end(&q));
    struct part_reader *r;
    struct part_info info;
    struct part_trace t;
    assert_int_equal(part_reader_open(b, NULL, &r, NULL), EC_OK);
    part_info(r, &info);
    assert_int_equal(info.n_rows, N);
    assert_int_equal(info.n_traces, 1);
    assert_true(info.n_groups >= N / PART_GROUP_ROWS + 1);
    assert_int_equal(part_trace(r, 0, &t, NULL), EC_OK);
    assert_int_equal(t.n_rows, N);
    assert_int_equal(t.root_row, 0);
    struct arena a;
    uint32_t *rows, n;
    arena_init(&a, NULL, 0);
    assert_int_equal(part_trace_rows(r, 0, &a, &rows, &n, NULL), EC_OK);
    assert_int_equal(n, N);
    assert_int_equal(rows[N - 1], N - 1);
    arena_deinit(&a);
    part_reader_close(r);
    part_unref(b);
    block_fixture_free(f);
}

static void test_extremes__ten_thousand_keys(void **state)
{
    (void)state;
    struct block_fixture *f = block_fixture_new();
    struct request q;
    struct rng rng = {77};
    request_begin(&q);
    for (uint64_t i = 1; i <= 5000; i++) {
        size_t span = span_begin(&q, i / 10, i, 0);
        for (int k = 0; k < 6; k++) {
            char key[32];
            int n = snprintf(key, sizeof(key), "key.%u", rng_below(&rng, 10000));
            struct value v = {.type = VALUE_INT, .i = (int64_t)rng_below(&rng, 1000)};
            if (k % 2 == 0)
                v = (struct value){.type = VALUE_STR, .s = str_n(key, (size_t)n)};
            pb_put_attr(&q.b, 9, str_n(key, (size_t)n), &v);
        }
        pb_end(&q.b, span);
    }
    part_unref(check_round(f, request_end(&q)));
    block_fixture_free(f);
}

static void test_extremes__strings_that_never_repeat(void **state)
{
    (void)state;
    struct block_fixture *f = block_fixture_new();
    struct request q;
    struct rng rng = {5};
    static char text[2048];
    request_begin(&q);
    for (uint64_t i = 1; i <= 9000; i++) {
        for (size_t k = 0; k < sizeof(text); k += 8)
            put_u64le(text + k, (rng_next(&rng) & 0x1f1f1f1f1f1f1f1fULL) | 0x4040404040404040ULL);
        size_t span = span_begin(&q, i / 10, i, 0);
        pb_put_attr(&q.b, 9, STR("body"),
            &(struct value){.type = VALUE_BYTES, .s = str_n(text, sizeof(text))});
        pb_end(&q.b, span);
    }
    /* 18 MiB: more than the writer holds of one column, so merging goes window by window. */
    struct part *b = check_round(f, request_end(&q));
    struct part_reader *r;
    const struct part_attr *attrs[VALUE_TYPES];
    assert_int_equal(part_reader_open(b, NULL, &r, NULL), EC_OK);
    assert_int_equal(part_attr_find(r, TABLE_SPANS, STR("body"), attrs, NULL), EC_OK);
    assert_non_null(attrs[VALUE_BYTES]);
    assert_null(attrs[VALUE_STR]);
    assert_true(part_may_have(r, attrs[VALUE_BYTES]->col, str_n(text, sizeof(text))));
    unsigned wrong = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        put_u64le(text, rng_next(&rng));
        wrong += part_may_have(r, attrs[VALUE_BYTES]->col, str_n(text, sizeof(text)));
    }
    assert_true(wrong < 30);
    part_reader_close(r);
    part_unref(b);
    block_fixture_free(f);
}

static void test_extremes__a_span_with_fifty_thousand_events(void **state)
{
    (void)state;
    struct block_fixture *f = block_fixture_new();
    struct request q;
    request_begin(&q);
    for (uint64_t i = 1; i <= 3; i++) {
        size_t span = span_begin(&q, 9, i, 0);
        for (uint64_t k = 0; k < (i == 2 ? 70000u : 2u); k++) { /* more than fit one page */
            size_t event = pb_begin(&q.b, 11);
            pb_put_fixed64(&q.b, 1, k * 1000);
            pb_put_attr(&q.b, 3, STR("n"), &(struct value){.type = VALUE_INT, .i = (int64_t)k});
            pb_end(&q.b, event);
        }
        pb_end(&q.b, span);
    }
    struct part *b = check_round(f, request_end(&q));
    struct part_reader *r;
    struct part_group g;
    assert_int_equal(part_reader_open(b, NULL, &r, NULL), EC_OK);
    assert_int_equal(part_group(r, 0, &g, NULL), EC_OK);
    assert_int_equal(g.n_events, 70004);
    part_reader_close(r);
    part_unref(b);
    block_fixture_free(f);
}

static void test_extremes__a_key_sent_hundreds_of_times(void **state)
{
    (void)state;
    static const unsigned times[] = {2, 254, 255, 256, 257, 700};
    struct block_fixture *f = block_fixture_new();
    struct request q;
    request_begin(&q);
    for (uint64_t i = 0; i < ARRAY_LEN(times); i++) {
        size_t span = span_begin(&q, 9, i + 1, 0);
        for (unsigned k = 0; k < times[i]; k++)
            pb_put_attr(&q.b, 9, STR("n"), &(struct value){.type = VALUE_INT, .i = (int64_t)k});
        pb_end(&q.b, span);
    }
    part_unref(check_round(f, request_end(&q)));
    block_fixture_free(f);
}

/* A string beyond any page target; extreme times. */
static void test_extremes__one_huge_string_and_odd_times(void **state)
{
    (void)state;
    struct block_fixture *f = block_fixture_new();
    struct request q;
    request_begin(&q);
    size_t n = 3000000;
    char *text = xmalloc(n);
    memset(text, 'x', n);
    for (uint64_t i = 1; i <= 6; i++) {
        static const uint64_t times[] = {0, 1, UINT64_MAX, INT64_MAX, 1u << 31, 7};
        size_t span = pb_begin(&q.b, 2);
        put_ids(&q.b, i, UINT64_MAX - i, UINT64_MAX);
        pb_put_fixed64(&q.b, 7, times[i - 1]);
        pb_put_fixed64(&q.b, 8, times[6 - i]);
        text[0] = (char)('0' + i);
        pb_put_attr(&q.b, 9, STR("huge"), &(struct value){.type = VALUE_STR, .s = str_n(text, n)});
        pb_end(&q.b, span);
    }
    free(text);
    part_unref(check_round(f, request_end(&q)));
    block_fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_extremes__a_trace_spans_many_groups),
        cmocka_unit_test(test_extremes__ten_thousand_keys),
        cmocka_unit_test(test_extremes__strings_that_never_repeat),
        cmocka_unit_test(test_extremes__a_span_with_fifty_thousand_events),
        cmocka_unit_test(test_extremes__a_key_sent_hundreds_of_times),
        cmocka_unit_test(test_extremes__one_huge_string_and_odd_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
