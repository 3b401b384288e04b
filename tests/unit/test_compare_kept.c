/* SPDX-License-Identifier: Apache-2.0
 * compare() with what is kept of blocks (query/exec/compare_kept.h) gives the answers that it gives
 * without, whatever comes and goes between two questions: spans in a head, late ones of traces that
 * are in blocks, blocks, and the window. */
#include "metrics_fixture.h"
#include "query/cache.h"

/* See query/exec/compare_kept.h and compare_hashed.h. */
extern _Atomic uint32_t compare_kept_counted, compare_kept_used, compare_kept_again;
extern uint64_t compare_hash_mask;

static const char *const texts[] = {"{ } | compare({ status = error })",
    "{ } | compare({ name = \"checkout\" }, 3)",
    "{ kind = server || status = ok } | compare({ span.http.status_code > 1 }, 70)",
    "{ } | compare({ true }, 5, 1700000000010000000, 1700000000040000000)"};
#define STEP (RANGE / 20)

struct store {
    struct block_fixture *f;
    struct query_cache *cache;
    struct part *parts[16];
    struct head *head; /* the last part */
    size_t n;
};

static uint32_t counted(void)
{
    return atomic_load(&compare_kept_counted);
}

static uint32_t used(void)
{
    return atomic_load(&compare_kept_used);
}

static void add_block(struct store *s, uint64_t seed, uint32_t n, uint64_t traces_of)
{
    struct buf b = BUF_INIT;
    plain_request(&b, seed, n, traces_of);
    struct head *h = head_of_request(buf_bytes(&b), 1);
    struct part *p = fixture_write(s->f, (struct part *[]){head_part(h)}, 1);
    part_unref(head_part(h));
    buf_deinit(&b);
    s->parts[s->n] = s->parts[s->n - 1];
    s->parts[s->n++ - 1] = p;
}

static void drop_block(struct store *s, size_t at)
{
    part_unref(s->parts[at]);
    s->n--;
    memmove(&s->parts[at], &s->parts[at + 1], (s->n - at) * sizeof(s->parts[0]));
}

static void store_open(struct store *s, uint64_t cache_bytes)
{
    *s = (struct store){
        .f = block_fixture_new(), .cache = query_cache_new(NULL, cache_bytes), .n = 1};
    assert_ok(head_new(NULL, &s->head, &err), err);
    s->parts[0] = head_part(s->head);
    for (uint64_t seed = 11; seed <= 13; seed++)
        add_block(s, seed, 900, seed);
}

static void store_close(struct store *s)
{
    for (size_t i = 0; i < s->n; i++)
        part_unref(s->parts[i]);
    assert_int_equal(query_cache_entries(s->cache), 0);
    query_cache_free(s->cache);
    block_fixture_free(s->f);
    plain_later_ns = 0;
}

/* All texts, of a window that begins `start` steps before the blocks and is twice their length. */
static void ask(struct store *s, int start)
{
    struct metrics_request req = {
        .start_ns = T0 - (uint64_t)start * STEP, .step_ns = STEP, .exemplars = 10};
    req.end_ns = req.start_ns + 2 * RANGE;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct run plain, kept;
        query(&plain, NULL, s->parts, s->n, texts[i], req);
        query(&kept, s->cache, s->parts, s->n, texts[i], req);
        same_result(texts[i], false, &plain.r, &kept.r);
        run_end(&plain);
        run_end(&kept);
    }
}

/* What happened since: blocks were counted `n` times by each text. */
static void was_counted(uint32_t *before, uint32_t n)
{
    if (counted() - *before != n * ARRAY_LEN(texts))
        fail_msg("blocks were counted %u times", counted() - *before);
    *before = counted();
}

static void test_heads__that_grow_are_all_that_is_counted(void **state)
{
    struct store s;
    uint32_t before = counted(), again = atomic_load(&compare_kept_again);
    (void)state;
    store_open(&s, 64 << 20);
    ask(&s, 10);
    was_counted(&before, 0); /* what is asked once is not kept */
    for (uint64_t i = 0; i < 10; i++) {
        uint32_t was_used = used();
        head_grow(s.head, 100 + i, i == 5 ? 700 : 40, 100 + i);
        ask(&s, 10 - (int)i); /* with a window that moves on */
        was_counted(&before, i == 0);
        assert_int_equal(used() - was_used, ARRAY_LEN(texts));
    }
    assert_true(atomic_load(&compare_kept_again) > again);
    store_close(&s);
}

/* Counts that do not fit a byte decide which values are shown. */
static void test_values__that_are_met_often(void **state)
{
    struct store s;
    (void)state;
    store_open(&s, 64 << 20);
    add_block(&s, 31, 12000, 31);
    for (uint64_t i = 0; i < 3; i++) {
        head_grow(s.head, 100 + i, 40, 100 + i);
        ask(&s, 10);
    }
    store_close(&s);
}

static void test_heads__with_spans_are_reason_to_keep_at_once(void **state)
{
    struct store s;
    uint32_t before = counted();
    (void)state;
    store_open(&s, 64 << 20);
    head_grow(s.head, 100, 10, 100);
    ask(&s, 10);
    was_counted(&before, 1);
    head_grow(s.head, 101, 10, 101);
    ask(&s, 10);
    was_counted(&before, 0);
    store_close(&s);
}

static void test_traces__that_go_on_are_counted_whole(void **state)
{
    struct store s;
    uint32_t before = counted();
    (void)state;
    store_open(&s, 64 << 20);
    ask(&s, 10);
    head_grow(s.head, 100, 10, 100);
    ask(&s, 10);
    was_counted(&before, 1);
    head_grow(s.head, 101, 5, 12); /* a trace of a block, from its first one on */
    ask(&s, 10);
    was_counted(&before, 1);
    head_grow(s.head, 102, 9, 12); /* and others */
    ask(&s, 10);
    was_counted(&before, 1);
    head_grow(s.head, 103, 7, 12); /* the same ones again */
    head_grow(s.head, 104, 7, 104);
    ask(&s, 10);
    was_counted(&before, 0);
    head_grow(s.head, 13, 50, 13); /* spans of a block, sent once more */
    ask(&s, 10);
    was_counted(&before, 1);
    head_grow(s.head, 105, 7, 105);
    ask(&s, 9);
    was_counted(&before, 0);
    store_close(&s);
}

static void test_blocks__that_come_and_go(void **state)
{
    struct store s;
    uint32_t before = counted();
    (void)state;
    store_open(&s, 64 << 20);
    ask(&s, 10);
    head_grow(s.head, 100, 10, 100);
    ask(&s, 10);
    was_counted(&before, 1);
    add_block(&s, 21, 100, 21); /* a small one: counted with the head */
    ask(&s, 10);
    was_counted(&before, 0);
    add_block(&s, 22, 50, 11); /* of traces that others hold */
    ask(&s, 10);
    was_counted(&before, 1);
    add_block(&s, 23, 1700, 23); /* half of what is kept */
    ask(&s, 10);
    was_counted(&before, 1);
    drop_block(&s, 1);
    ask(&s, 10);
    was_counted(&before, 1);
    struct part *held = part_ref(s.parts[0]); /* by another query */
    drop_block(&s, 0);
    ask(&s, 10);
    was_counted(&before, 1);
    part_unref(held);
    ask(&s, 10);
    head_grow(s.head, 99, 10, 99);
    ask(&s, 10);
    was_counted(&before, 0);
    plain_later_ns = RANGE / 2;
    add_block(&s, 24, 300, 24);
    head_grow(s.head, 101, 10, 101);
    ask(&s, 10);
    was_counted(&before, 0);
    ask(&s, -5); /* only the last one is wholly in range */
    was_counted(&before, 1);
    head_grow(s.head, 102, 10, 102);
    ask(&s, -5);
    was_counted(&before, 0);
    ask(&s, -15); /* none is */
    was_counted(&before, 0);
    store_close(&s);
}

/* Flushes and merges of the present do not touch what is kept of a window that is over. */
static void test_blocks__outside_the_range_come_and_go(void **state)
{
    struct store s;
    (void)state;
    store_open(&s, 64 << 20);
    uint32_t before = counted();
    plain_later_ns = 5 * RANGE;
    add_block(&s, 21, 300, 21);
    add_block(&s, 22, 50, 12); /* its traces are in a block of the range */
    ask(&s, 10);
    head_grow(s.head, 100, 10, 100);
    ask(&s, 10);
    was_counted(&before, 1);
    drop_block(&s, s.n - 3);
    head_grow(s.head, 101, 10, 101);
    ask(&s, 10);
    was_counted(&before, 0);
    add_block(&s, 23, 350, 23);
    head_grow(s.head, 102, 10, 102);
    ask(&s, 10);
    was_counted(&before, 0);
    drop_block(&s, s.n - 3); /* with the roots of some */
    head_grow(s.head, 103, 10, 103);
    ask(&s, 10);
    was_counted(&before, 0);
    store_close(&s);
}

/* A block of four groups, whose traces are numbered 31001 - 35000, and a window that begins in
 * it. */
static void test_groups__of_blocks_that_the_window_cuts(void **state)
{
    struct store s;
    uint32_t before = counted();
    (void)state;
    store_open(&s, 64 << 20);
    plain_in_order = true;
    add_block(&s, 31, 16000, 31);
    head_grow(s.head, 100, 10, 100);
    ask(&s, -4);
    was_counted(&before, 1);
    head_grow(s.head, 101, 10, 101);
    ask(&s, -5); /* the second group begins after 5.1 steps */
    was_counted(&before, 0);
    add_block(&s, 32, 400, 31); /* of the first group's traces, which are counted with the rest */
    ask(&s, -5);
    was_counted(&before, 0);
    add_block(&s, 33, 400, 34);
    ask(&s, -5);
    was_counted(&before, 1);
    head_grow(s.head, 102, 10, 102);
    ask(&s, -5);
    was_counted(&before, 0);
    ask(&s, -7);
    was_counted(&before, 1);
    head_grow(s.head, 103, 10, 103);
    ask(&s, 24); /* the window ends in the last group */
    was_counted(&before, 1);
    plain_in_order = false;
    store_close(&s);
}

/* Traces with spans in groups that are kept and in others, of the same block and of several. */
static void test_groups__share_traces(void **state)
{
    struct rng r = {4711};
    uint32_t was = used();
    (void)state;
    for (uint32_t round = 0; round < 4; round++) {
        struct store s;
        store_open(&s, 64 << 20);
        plain_in_order = true;
        for (uint64_t i = 0; i < 5; i++) {
            plain_later_ns = rng_below(&r, (uint32_t)RANGE);
            add_block(&s, 40 + i, 5000 + rng_below(&r, 6000), 40 + rng_below(&r, 3));
        }
        for (uint64_t i = 0; i < 6; i++) {
            plain_later_ns = rng_below(&r, (uint32_t)RANGE);
            head_grow(s.head, 200 + i, 30, 40 + rng_below(&r, 5));
            ask(&s, 15 - (int)i - (int)round * 10);
        }
        plain_in_order = false;
        store_close(&s);
    }
    assert_true(used() - was > 50);
}

/* Values share hashes: what is kept must not be trusted. */
static void test_hashes__may_be_equal(void **state)
{
    static const uint64_t masks[] = {0, 0xff, 0x3ff, UINT64_MAX << 40};
    (void)state;
    for (size_t m = 0; m < ARRAY_LEN(masks); m++) {
        struct store s;
        compare_hash_mask = masks[m];
        store_open(&s, 64 << 20);
        for (uint64_t i = 0; i < 4; i++) {
            head_grow(s.head, 100 + i, 60, 100 + i);
            ask(&s, 10);
        }
        store_close(&s);
    }
    compare_hash_mask = UINT64_MAX;
}

/* Keys that are too large are counted in full; where nothing has room, everything is. */
static void test_room__may_be_short(void **state)
{
    (void)state;
    for (uint64_t bytes = 2 << 10; bytes <= 1 << 20; bytes *= 2) {
        struct store s;
        store_open(&s, bytes);
        for (uint64_t i = 0; i < 3; i++) {
            head_grow(s.head, 100 + i, 40, 100 + i);
            ask(&s, 10);
        }
        store_close(&s);
    }
}

static void test_memory__may_be_short(void **state)
{
    struct store s;
    struct run plain, kept;
    struct metrics_request req = {
        .start_ns = T0 - RANGE, .end_ns = T0 + 2 * RANGE, .step_ns = STEP};
    uint32_t n_ok = 0, n_kept = 0;
    (void)state;
    store_open(&s, 64 << 20);
    for (uint64_t i = 0; i < 40; i++) {
        head_grow(s.head, 200 + i, 4, 200 + i);
        query(&plain, NULL, s.parts, s.n, texts[0], req);
        uint32_t was = used();
        enum ec ec = try_query(&kept, s.cache, s.parts, s.n, texts[0], req, (i + 1) * 128 << 10);
        if (ec == EC_OK)
            same_result(texts[0], false, &plain.r, &kept.r);
        else
            assert_int_equal(ec, EC_LIMIT);
        n_ok += ec == EC_OK;
        n_kept += used() - was;
        run_end(&plain);
        run_end(&kept);
    }
    assert_true(n_ok < 40 && n_kept > 10);
    store_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads__that_grow_are_all_that_is_counted),
        cmocka_unit_test(test_heads__with_spans_are_reason_to_keep_at_once),
        cmocka_unit_test(test_values__that_are_met_often),
        cmocka_unit_test(test_traces__that_go_on_are_counted_whole),
        cmocka_unit_test(test_blocks__that_come_and_go),
        cmocka_unit_test(test_blocks__outside_the_range_come_and_go),
        cmocka_unit_test(test_groups__of_blocks_that_the_window_cuts),
        cmocka_unit_test(test_groups__share_traces),
        cmocka_unit_test(test_hashes__may_be_equal),
        cmocka_unit_test(test_room__may_be_short),
        cmocka_unit_test(test_memory__may_be_short),
    };
    assert_ok(pool_new(&(struct pool_options){.n_normal = 3}, &query_pool, &err), err);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    pool_free(query_pool);
    return rc;
}
