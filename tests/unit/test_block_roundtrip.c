/* SPDX-License-Identifier: Apache-2.0
 * What goes into a block comes out of it: random spans of every kind through heads, flushes and
 * merges. */
#include "block_fixture.h"
#include "part_text.h"
#include "test_util.h"

static void test_roundtrip__a_flush_returns_every_span_as_sent(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct block_fixture *f = block_fixture_new();
        struct head *h = fixture_head(seed, 1 + (uint32_t)(seed * 37 % 400));
        struct part *head = head_part(h), *b = fixture_write(f, &head, 1);
        struct part_texts x = part_texts_read(head), y = part_texts_read(b);
        assert_true(part_texts_same_set(&x, &y));
        part_texts_free(&x);
        part_texts_free(&y);
        fixture_verify(f->path);
        part_unref(b);
        head_free(h);
        block_fixture_free(f);
    }
}

/* The set of all spans of the parts, first of equals by their order. */
static void test_roundtrip__merged_blocks_hold_all_spans_once(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct block_fixture *f = block_fixture_new();
        struct part *blocks[4], *all;
        struct part_texts sum = {xcalloc(4000, sizeof(char *)), 0}, y;
        for (uint32_t i = 0; i < 4; i++) {
            struct head *h = fixture_head(seed * 100 + i, 300);
            struct part *head = head_part(h);
            blocks[i] = fixture_write(f, &head, 1);
            struct part_texts x = part_texts_read(blocks[i]);
            for (uint32_t k = 0; k < x.n; k++)
                sum.p[sum.n++] = xstrdup(x.p[k]);
            part_texts_free(&x);
            head_free(h);
        }
        all = fixture_write(f, blocks, 4);
        assert_int_equal(f->dups, 0); /* span ids carry the seed */
        fixture_verify(f->path);
        y = part_texts_read(all);
        assert_true(part_texts_same_set(&sum, &y));
        part_texts_free(&y);
        part_unref(all);
        /* The same block twice: everything is a duplicate. */
        struct part *twice[2] = {blocks[0], blocks[0]};
        all = fixture_write(f, twice, 2);
        struct part_texts x = part_texts_read(blocks[0]);
        y = part_texts_read(all);
        assert_int_equal(f->dups, x.n);
        assert_true(part_texts_same_set(&x, &y));
        fixture_verify(f->path);
        part_texts_free(&x);
        part_texts_free(&y);
        part_texts_free(&sum);
        part_unref(all);
        for (uint32_t i = 0; i < 4; i++)
            part_unref(blocks[i]);
        block_fixture_free(f);
    }
}

static void test_roundtrip__an_empty_merge_is_a_block(void **state)
{
    (void)state;
    struct block_fixture *f = block_fixture_new();
    struct part *b = fixture_write(f, NULL, 0);
    struct part_texts x = part_texts_read(b);
    assert_int_equal(x.n, 0);
    part_texts_free(&x);
    fixture_verify(f->path);
    part_unref(b);
    block_fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_roundtrip__a_flush_returns_every_span_as_sent),
        cmocka_unit_test(test_roundtrip__merged_blocks_hold_all_spans_once),
        cmocka_unit_test(test_roundtrip__an_empty_merge_is_a_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
