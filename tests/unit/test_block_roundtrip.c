/* SPDX-License-Identifier: Apache-2.0
 * What goes into a block comes out of it: random spans of every kind through heads, flushes and
 * merges. */
#include "base/hash.h"
#include "block_fixture.h"
#include "part_text.h"
#include "storage/block/write.h"
#include "unit.h"

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

/* A merge reads columns one time: the cache keeps next to nothing of them, and what others put
 * there stays. */
static void test_roundtrip__a_merge_leaves_the_cache_alone(void **state)
{
    (void)state;
    struct block_fixture *f = block_fixture_new();
    struct part *blocks[4], *all;
    uint64_t bytes, hits, misses;
    for (uint32_t i = 0; i < 4; i++) {
        struct head *h = fixture_head(700 + i, 4000);
        struct part *head = head_part(h);
        blocks[i] = fixture_write(f, &head, 1);
        head_free(h);
    }
    struct budget *cache = block_cache_budget(f->cache);
    all = fixture_write(f, blocks, 4);
    uint64_t merging = atomic_load(&cache->peak);
    for (uint32_t i = 0; i < 4; i++) {
        struct part_texts x = part_texts_read(blocks[i]);
        part_texts_free(&x);
    }
    block_cache_stats(f->cache, &bytes, &hits, &misses);
    assert_true(merging < bytes / 2);
    part_unref(all);
    for (uint32_t i = 0; i < 4; i++)
        part_unref(blocks[i]);
    block_fixture_free(f);
}

static uint64_t *hashes_of(struct buf *b)
{
    return (uint64_t *)(void *)b->p;
}

/* Distinct ones stay, whatever the passes are, and the table is small. */
static void test_filter__distinct_hashes_in_passes(void **state)
{
    (void)state;
    enum { N = 5000, TIMES = 3 };
    static const size_t passes[] = {1, 3, 64, 1000, N * TIMES, 1 << 20};
    for (size_t k = 0; k < ARRAY_LEN(passes); k++) {
        struct budget budget;
        struct buf b;
        struct rng r = {k};
        struct err err;
        size_t n;
        uint64_t sum = 0, got = 0;
        budget_init(&budget, NULL, "hashes", 0);
        buf_init(&b, &budget);
        for (unsigned i = 0; i < N; i++) {
            uint64_t h = i == 7 ? 0 : rng_next(&r);
            sum += hash_mix(h);
            for (unsigned t = 0; t < TIMES; t++)
                buf_put_u64le(&b, h);
        }
        for (size_t i = 0; i < (size_t)N * TIMES; i++) { /* shuffled */
            size_t j = rng_below(&r, N * TIMES);
            uint64_t h = hashes_of(&b)[i];
            hashes_of(&b)[i] = hashes_of(&b)[j];
            hashes_of(&b)[j] = h;
        }
        uint64_t before = budget_used(&budget);
        assert_ok(hashes_distinct(&b, passes[k], &n, &err), err);
        for (size_t i = 0; i < n; i++)
            got += hash_mix(hashes_of(&b)[i]);
        if (passes[k] >= 64) { /* a table that is too full keeps some twice */
            assert_int_equal(n, N);
            assert_int_equal(got, sum);
        }
        assert_true(n >= N && n <= (size_t)N * TIMES);
        uint64_t table = atomic_load(&budget.peak) - before;
        assert_true(table <= MAX(MIN(passes[k], (size_t)N * TIMES) * 32, 1024u));
        buf_deinit(&b);
        budget_deinit(&budget);
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
        cmocka_unit_test(test_roundtrip__a_merge_leaves_the_cache_alone),
        cmocka_unit_test(test_roundtrip__an_empty_merge_is_a_block),
        cmocka_unit_test(test_filter__distinct_hashes_in_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
