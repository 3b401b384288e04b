/* SPDX-License-Identifier: Apache-2.0
 * Merges that copy chunks without unpacking them: the block is the one that unpacking makes. Each
 * case merges blocks, and writes the same spans out of heads (which copy nothing); the two have
 * equal spans, traces and roots, and find every string. */
#include <stdarg.h>

#include "block_fixture.h"
#include "model/otlp_write.h"
#include "part_text.h"
#include "unit.h"

#define SPANS 12000u /* three groups and more */

/* A trace's facts out of the rows: what both blocks must say of it. */
static void assert_same_traces(struct part *a, struct part *b)
{
    struct part_reader *x, *y;
    struct part_info info, other;
    struct err err = {0};
    assert_ok(part_reader_open(a, NULL, &x, &err), err);
    assert_ok(part_reader_open(b, NULL, &y, &err), err);
    part_info(x, &info);
    part_info(y, &other);
    assert_int_equal(info.n_traces, other.n_traces);
    assert_int_equal(info.n_rows, other.n_rows);
    for (uint32_t t = 0; t < info.n_traces; t++) { /* numbered by (start, id) in both */
        struct part_trace s, u;
        assert_ok(part_trace(x, t, &s, &err), err);
        assert_ok(part_trace(y, t, &u, &err), err);
        assert_memory_equal(&s.id, &u.id, sizeof(s.id));
        assert_int_equal(s.n_rows, u.n_rows);
        assert_int_equal(s.row_first, u.row_first);
        assert_int_equal(s.start_ns, u.start_ns);
        assert_int_equal(s.end_ns, u.end_ns);
        assert_int_equal(s.root_row, u.root_row);
    }
    part_reader_close(x);
    part_reader_close(y);
}

/* Every string of every column is found by dictionary or filter. */
static void assert_strings_found(struct part *p)
{
    struct part_reader *r;
    struct part_info info;
    struct err err = {0};
    const struct part_attr *attrs;
    size_t n;
    assert_ok(part_reader_open(p, NULL, &r, &err), err);
    part_info(r, &info);
    assert_ok(part_attrs(r, &attrs, &n, &err), err);
    for (uint32_t g = 0; g < info.n_groups; g++) {
        for (size_t i = 0; i < n; i++) {
            struct col_view v;
            assert_ok(part_view(r, g, attrs[i].col, &v, &err), err);
            if (str_eq(attrs[i].key, STR("once"))) /* the filter is there, and full */
                assert_false(part_may_have(r, attrs[i].col, STR("nobody has this")));
            for (uint32_t k = 0; v.n > 0 && v.phys == PHYS_CODE && k < v.n; k += 7)
                assert_true(part_may_have(r, attrs[i].col, dict_get(v.dict, v.u32[k])));
        }
    }
    part_reader_close(r);
}

struct source {
    uint64_t seed;
    uint32_t trace_first;
    bool dense;
};

PRINTF_LIKE(3, 4) static void put_text(struct buf *b, const char *key, const char *format, ...)
{
    char text[64];
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    const struct value v = {.type = VALUE_STR, .s = str_n(text, (size_t)n)};
    pb_put_attr(b, 9, str_from(key), &v);
}

/* Spans that all have the same attributes: strings of which each is there once (a dictionary for
 * each chunk), the same few in all sources, and as many of the same length, but others, in each. */
static void dense_request(struct buf *b, const struct source *s)
{
    size_t rs = pb_begin(b, 1);
    size_t ss = pb_begin(b, 2);
    for (uint32_t i = 0; i < SPANS; i++) {
        uint64_t trace = s->trace_first + i / 8, start = 1700000000000000000u + trace * 1000000;
        char id[16] = {0};
        size_t span = pb_begin(b, 2);
        put_u64be(id + 8, trace + 1);
        pb_put_bytes(b, 1, str_n(id, 16));
        put_u64be(id + 8, s->seed << 32 | (i + 1));
        pb_put_bytes(b, 2, str_n(id + 8, 8));
        pb_put_bytes(b, 5, STR("op"));
        pb_put_fixed64(b, 7, start + i % 8);
        pb_put_fixed64(b, 8, start + 1000 + i % 100);
        put_text(b, "once", "%u of %u", i, (unsigned)s->seed);
        put_text(b, "same", "method %u", i % 5);
        put_text(b, "other", "user %u of %u", 10 + i % 9, (unsigned)s->seed);
        pb_end(b, span);
    }
    pb_end(b, ss);
    pb_end(b, rs);
}

/* Merges the sources `pairwise` (a merge of merges) or at once. Returns the values copied. */
static uint64_t check_merge(const struct source *sources, uint32_t n, bool pairwise)
{
    struct block_fixture *f = block_fixture_new();
    struct head *heads[8];
    struct part *head_parts[8], *blocks[8];
    uint64_t copied = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct buf request = BUF_INIT;
        if (sources[i].dense)
            dense_request(&request, &sources[i]);
        else
            fixture_request_from(&request, sources[i].seed, SPANS, sources[i].trace_first);
        heads[i] = head_of_request(buf_bytes(&request), 1700000000u + i);
        buf_deinit(&request);
        head_parts[i] = head_part(heads[i]);
        blocks[i] = fixture_write(f, &head_parts[i], 1);
        assert_int_equal(f->copied, 0);
    }
    struct part *expected = fixture_write(f, head_parts, n);
    uint64_t dups = f->dups;
    assert_int_equal(f->copied, 0);
    struct part *merged = fixture_write(f, blocks, pairwise ? 2 : n);
    for (uint32_t i = 2; pairwise && i < n; i++) {
        struct part *two[2] = {merged, blocks[i]};
        dups -= f->dups;
        merged = fixture_write(f, two, 2);
        part_unref(two[0]);
    }
    copied = f->copied;
    assert_int_equal(f->dups, dups);
    fixture_verify(f->path);
    assert_same_traces(expected, merged);
    assert_strings_found(merged);
    struct part_texts x = part_texts_read(expected), y = part_texts_read(merged);
    assert_true(part_texts_same_set(&x, &y));
    part_texts_free(&x);
    part_texts_free(&y);
    part_unref(expected);
    part_unref(merged);
    for (uint32_t i = 0; i < n; i++) {
        part_unref(blocks[i]);
        head_free(heads[i]);
    }
    block_fixture_free(f);
    return copied;
}

static void test_copy__blocks_that_follow_each_other(void **state)
{
    (void)state;
    const struct source sources[] = {{1, 0, false}, {2, 1500, false}, {3, 3000, false}};
    assert_true(check_merge(sources, 3, true) > 50000);
}

static void test_copy__dictionaries(void **state)
{
    (void)state;
    const struct source sources[] = {{1, 0, true}, {2, 1490, true}, {3, 2990, true}};
    assert_true(check_merge(sources, 3, false) > SPANS * 12);
    assert_true(check_merge(sources, 3, true) > SPANS * 12);
}

static void test_copy__order_of_the_sources_does_not_matter(void **state)
{
    (void)state;
    const struct source sources[] = {{2, 3000, false}, {1, 0, false}, {3, 1500, false}};
    assert_true(check_merge(sources, 3, false) > 50000);
}

/* Traces that lie in two blocks are joined, and what is around them is still copied. */
static void test_copy__blocks_that_share_traces(void **state)
{
    (void)state;
    const struct source sources[] = {{1, 0, false}, {2, 1400, false}, {3, 2800, false}};
    assert_true(check_merge(sources, 3, true) > 20000);
}

/* All of one block is in another, too: nothing of it stays, and what it repeats is not copied. */
static void test_copy__duplicates_go(void **state)
{
    (void)state;
    const struct source sources[] = {{1, 0, false}, {2, 1500, false}, {1, 0, false}};
    (void)check_merge(sources, 3, false);
}

static void test_copy__not_when_blocks_are_interleaved(void **state)
{
    (void)state;
    const struct source sources[] = {{1, 0, false}, {2, 0, false}};
    assert_int_equal(check_merge(sources, 2, false), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copy__blocks_that_follow_each_other),
        cmocka_unit_test(test_copy__dictionaries),
        cmocka_unit_test(test_copy__order_of_the_sources_does_not_matter),
        cmocka_unit_test(test_copy__blocks_that_share_traces),
        cmocka_unit_test(test_copy__duplicates_go),
        cmocka_unit_test(test_copy__not_when_blocks_are_interleaved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
