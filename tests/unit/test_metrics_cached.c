/* SPDX-License-Identifier: Apache-2.0
 * Metrics answers out of the cache are those that are counted anew, to the last bit: on random
 * data, of windows that stand still, move on, and cut blocks; with traces shared between parts,
 * under limits, and of heads that grow in between. */
#include "metrics_fixture.h"
#include "query/cache.h"

static struct part *block_of(struct block_fixture *f, struct head *h)
{
    struct part *p = fixture_write(f, (struct part *[]){head_part(h)}, 1);
    part_unref(head_part(h));
    return p;
}

static struct part *random_block(struct block_fixture *f, uint64_t seed, uint32_t n)
{
    return block_of(f, fixture_head(seed, n));
}

static struct part *plain_block(struct block_fixture *f, uint64_t seed, uint32_t n)
{
    return block_of(f, plain_head(seed, n));
}

static const char *const filters[] = {
    "", "status = error", "duration > 1ms", "resource.service.name = \"cart\"", "span.k2 > 1.5"};
static const char *const fns[] = {"rate()", "count_over_time() by (name)",
    "count_over_time() by (resource.service.name, status, kind)", "avg_over_time(duration)",
    "min_over_time(duration) by (kind)", "sum_over_time(span.http.status_code)",
    "sum_over_time(span.k2) by (span.list)", "avg_over_time(span.k2) by (.k1, resource.k2)",
    "quantile_over_time(duration, .5, .99) by (kind)", "histogram_over_time(duration) by (name)",
    "count_over_time() by (event:name, instrumentation:name)", "rate() by (name) | topk(2)",
    "max_over_time(span.k1) by (.http.method) > 1", "rate() by (name) with(exemplars=3)",
    "rate() by (name, span.k2, .k3, span:id)", "compare({ status = error })",
    "compare({ span.http.status_code > 2 }, 3)"};

/* Windows asked one after the other: the same again, moved by steps, with other steps, cut. */
struct window {
    int start, end, step; /* hundredths of the range */
    bool instant;
    uint32_t exemplars;
};
static const struct window windows[] = {{-10, 130, 7, false, 10}, {-10, 130, 7, false, 10},
    {-3, 137, 7, false, 10}, {-10, 130, 7, false, 0}, {-3, 130, 7, false, 0},
    {-10, 130, 9, false, 10}, {30, 60, 7, false, 10}, {31, 60, 7, false, 10}, {30, 61, 7, false, 0},
    {30, 75, 7, false, 0}, {30, 60, 7, true, 0}, {31, 60, 7, true, 0}, {-10, 130, 7, true, 0},
    {-20, 150, 7, true, 0}, {-10, 130, 7, false, 10}};

static struct metrics_request request_of(const struct window *w)
{
    const uint64_t percent = RANGE / 100;
    return (struct metrics_request){.start_ns = T0 + (uint64_t)w->start * percent,
        .end_ns = T0 + (uint64_t)w->end * percent,
        .step_ns = (uint64_t)w->step * percent,
        .instant = w->instant,
        .exemplars = w->exemplars};
}

static const struct metrics_request whole = {
    .start_ns = T0 - 1, .end_ns = T0 + RANGE, .step_ns = RANGE / 20, .exemplars = 10};

static void check_windows(struct part *const *parts, size_t n, const char *text)
{
    struct query_cache *cache = query_cache_new(NULL, 16 << 20);
    for (size_t i = 0; i < ARRAY_LEN(windows); i++) {
        struct metrics_request req = request_of(&windows[i]);
        struct run plain, first, again;
        query(&plain, NULL, parts, n, text, req);
        query(&first, cache, parts, n, text, req);
        query(&again, cache, parts, n, text, req);
        same_result(text, i == 0, &plain.r, &first.r);
        same_result(text, true, &first.r, &again.r);
        run_end(&plain);
        run_end(&first);
        run_end(&again);
    }
    query_cache_free(cache);
}

static void ask_both(struct query_cache *cache, struct part *const *parts, size_t n,
    const char *text, struct metrics_request req)
{
    struct run plain, cached;
    query(&plain, NULL, parts, n, text, req);
    query(&cached, cache, parts, n, text, req);
    same_result(text, false, &plain.r, &cached.r);
    run_end(&plain);
    run_end(&cached);
}

static void test_cached__is_what_is_counted(void **state)
{
    struct block_fixture *f = block_fixture_new();
    struct part *parts[] = {
        random_block(f, 21, 500), plain_block(f, 22, 300), random_block(f, 23, 300)};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(filters); i++) {
        for (size_t k = 0; k < ARRAY_LEN(fns); k++) {
            char text[300];
            snprintf(text, sizeof(text), "{ %s } | %s", filters[i], fns[k]);
            check_windows(parts, ARRAY_LEN(parts), text);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        part_unref(parts[i]);
    block_fixture_free(f);
}

/* One cache for everything, as in a server: keys must tell all of it apart. */
static void test_cached__questions_do_not_mix(void **state)
{
    struct query_cache *cache = query_cache_new(NULL, 16 << 20);
    struct block_fixture *f = block_fixture_new();
    struct part *parts[] = {
        plain_block(f, 31, 300), plain_block(f, 32, 300), random_block(f, 33, 300)};
    (void)state;
    for (size_t w = 0; w < ARRAY_LEN(windows); w++) {
        for (size_t i = 0; i < ARRAY_LEN(filters) * ARRAY_LEN(fns); i++) {
            struct metrics_request req = request_of(&windows[w]);
            char text[300];
            snprintf(text, sizeof(text), "{ %s } | %s", filters[i % ARRAY_LEN(filters)],
                fns[i / ARRAY_LEN(filters)]);
            for (size_t p = 0; p < ARRAY_LEN(parts); p++) {
                ask_both(cache, &parts[p], 1, text, req);
            }
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        part_unref(parts[i]);
    assert_int_equal(query_cache_entries(cache), 0);
    query_cache_free(cache);
    block_fixture_free(f);
}

static void test_windows__that_move_find_whole_blocks_again(void **state)
{
    static const char text[] = "{ } | rate() by (name)";
    struct query_cache *cache = query_cache_new(NULL, 16 << 20);
    struct block_fixture *f = block_fixture_new();
    struct part *parts[] = {plain_block(f, 41, 300), plain_block(f, 42, 300)};
    struct run u;
    (void)state;
    /* a dashboard: the window moves, by less than a step even */
    for (uint64_t i = 0; i < 10; i++) {
        struct metrics_request req = {.start_ns = T0 - RANGE / 2 + i * (RANGE / 50),
            .end_ns = T0 + RANGE * 2 + i * (RANGE / 50),
            .step_ns = RANGE / 10,
            .exemplars = i % 2 == 0 ? 0 : 10};
        query(&u, cache, parts, 2, text, req);
        assert_int_equal(query_cache_entries(cache), i == 0 ? 2 : 4);
        run_end(&u);
    }
    query(&u, cache, parts, 2, text, /* one that cuts is another question */
        (struct metrics_request){
            .start_ns = T0 + RANGE / 2, .end_ns = T0 + RANGE * 2, .step_ns = RANGE / 10});
    run_end(&u);
    assert_int_equal(query_cache_entries(cache), 6);
    query_cache_free(cache);
    part_unref(parts[0]);
    part_unref(parts[1]);
    block_fixture_free(f);
}

/* A head grows by less than a group and by more, by new traces and by those of the block, while it
 * is asked the same again and again. */
static void test_heads__are_never_behind(void **state)
{
    static const struct {
        uint32_t n;
        uint64_t traces_of;
    } steps[] = {{300, 51}, {1, 52}, {0, 0}, {9000, 61}, {9000, 71}, {3, 50}, {0, 0},
        {PART_GROUP_ROWS, 81}, {40, 50}};
    static const size_t asked[] = {1, 2, 12};
    struct query_cache *cache = query_cache_new(NULL, 16 << 20);
    struct block_fixture *f = block_fixture_new();
    struct head *h, *empty;
    (void)state;
    assert_ok(head_new(NULL, &h, &err), err);
    assert_ok(head_new(NULL, &empty, &err), err);
    struct part *parts[] = {plain_block(f, 50, 300), head_part(h), head_part(empty)};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        if (steps[i].n != 0)
            head_grow(h, 500 + i, steps[i].n, steps[i].traces_of);
        for (size_t k = 0; k < ARRAY_LEN(fns); k++) {
            for (size_t w = 0; w < ARRAY_LEN(asked); w++) {
                struct metrics_request req = request_of(&windows[asked[w]]);
                char text[300];
                snprintf(text, sizeof(text), "{ %s } | %s", filters[k % 3], fns[k]);
                ask_both(cache, parts, ARRAY_LEN(parts), text, req);
            }
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        part_unref(parts[i]);
    assert_int_equal(query_cache_entries(cache), 0);
    query_cache_free(cache);
    block_fixture_free(f);
}

/* What was counted of full groups is found again, of a head that does not grow everything is. */
static void test_heads__are_counted_from_where_they_grew(void **state)
{
    static const char *const texts[] = {"{ } | rate() by (name)", "{ } | compare({ status = ok })"};
    struct query_cache *cache = query_cache_new(NULL, 16 << 20);
    struct head *h = plain_head(53, PART_GROUP_ROWS + 10), *empty;
    struct run u;
    (void)state;
    assert_ok(head_new(NULL, &empty, &err), err);
    struct part *parts[] = {head_part(h), head_part(empty)};
    for (size_t i = 0; i < 3; i++) {
        query(&u, cache, parts, 1 + i % 2, texts[0], whole);
        run_end(&u);
        assert_int_equal(query_cache_entries(cache), 2);
    }
    head_grow(h, 54, 1, 1054);
    for (size_t i = 0; i < 3; i++) {
        query(&u, cache, parts, 2, texts[0], whole);
        run_end(&u);
        assert_int_equal(query_cache_entries(cache), 3);
    }
    for (size_t i = 0; i < 3; i++) {
        query(&u, cache, parts, 1 + i % 2, texts[1], whole); /* an empty head is no obstacle */
        run_end(&u);
        assert_int_equal(query_cache_entries(cache), 4);
    }
    head_grow(h, 55, 1, 1055);
    query(&u, cache, parts, 2, texts[1], whole); /* of compare() the last answer is kept */
    run_end(&u);
    assert_int_equal(query_cache_entries(cache), 4);
    part_unref(parts[0]); /* takes all of its entries along */
    assert_int_equal(query_cache_entries(cache), 0);
    part_unref(parts[1]);
    query_cache_free(cache);
}

static struct head *grows; /* once, when the query looks whether it is canceled */

static bool grow_before_the_range(void *arg)
{
    (void)arg;
    if (grows != NULL) {
        plain_later_ns = 0 - 2 * RANGE;
        head_grow(TAKE_PTR(grows), 56, 1, 1056);
        plain_later_ns = 0;
    }
    return false;
}

/* While the first slice is counted the second one's group gets a span that starts before the range:
 * what is kept of it says how many rows it is of, and that the range has cut them. */
static void test_heads__that_grow_during_a_query_are_kept_as_they_were_read(void **state)
{
    static const char text[] = "{ } | rate() by (name)";
    struct query_cache *cache = query_cache_new(NULL, 16 << 20);
    struct head *h = plain_head(57, PART_GROUP_ROWS + 10);
    struct part *parts[] = {head_part(h)};
    struct metrics_request range = whole, wide = whole;
    struct run u;
    (void)state;
    range.exemplars = wide.exemplars = 0; /* a range's own */
    range.start_ns -= RANGE / 2;
    wide.start_ns -= 3 * RANGE;
    grows = h;
    query_looks = grow_before_the_range;
    query(&u, cache, parts, 1, text, range);
    assert_null(grows);
    assert_int_equal(u.r.stats.inspected_spans, PART_GROUP_ROWS + 11);
    run_end(&u);
    query_looks = NULL;
    assert_int_equal(query_cache_entries(cache), 2);
    ask_both(cache, parts, 1, text, range);
    assert_int_equal(query_cache_entries(cache), 2); /* found again */
    ask_both(cache, parts, 1, text, wide);
    assert_int_equal(query_cache_entries(cache), 3);
    part_unref(parts[0]);
    query_cache_free(cache);
}

/* Blocks 0 and 1 hold the same spans, 2 others: what is counted of one depends on who else is
 * there. */
static void test_shared_traces__are_not_in_a_partial(void **state)
{
    struct query_cache *cache = query_cache_new(NULL, 16 << 20);
    struct block_fixture *f = block_fixture_new();
    struct part *parts[] = {
        plain_block(f, 61, 200), plain_block(f, 61, 200), random_block(f, 62, 200)};
    static const struct {
        size_t from, n;
    } sets[] = {{0, 1}, {0, 2}, {1, 1}, {1, 2}, {0, 3}, {0, 1}, {0, 2}, {0, 3}, {2, 1}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
        for (size_t k = 0; k < ARRAY_LEN(fns); k++) {
            char text[300];
            struct run plain, cached;
            snprintf(text, sizeof(text), "{ } | %s", fns[k]);
            query(&plain, NULL, parts + sets[i].from, sets[i].n, text, whole);
            query(&cached, cache, parts + sets[i].from, sets[i].n, text, whole);
            same_result(text, false, &plain.r, &cached.r);
            run_end(&plain);
            run_end(&cached);
        }
    }
    query_cache_free(cache);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        part_unref(parts[i]);
    block_fixture_free(f);
}

/* Fewer were asked for before: that is no reason to show fewer. */
static void test_exemplars__are_as_many_as_asked_for(void **state)
{
    static const uint32_t limits[] = {0, 2, 100, 2, 0};
    struct query_cache *cache = query_cache_new(NULL, 16 << 20);
    struct block_fixture *f = block_fixture_new();
    struct part *parts[] = {plain_block(f, 81, 400)};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        struct metrics_request req = whole;
        struct run u;
        req.exemplars = limits[i];
        query(&u, cache, parts, 1, "{ } | rate()", req);
        uint32_t n = u.r.series[0].n_exemplars;
        assert_true(limits[i] < 100 ? n == limits[i] : n > 20);
        run_end(&u);
    }
    query_cache_free(cache);
    part_unref(parts[0]);
    block_fixture_free(f);
}

static void test_limits__hold_for_what_is_kept(void **state)
{
    static const char *const texts[] = {"{ } | rate() by (span:id)", "{ } | compare({ true })"};
    static const size_t entries[] = {1, 3}; /* and that compare() was asked */
    struct query_cache *cache = query_cache_new(NULL, 64 << 20);
    struct block_fixture *f = block_fixture_new();
    struct part *parts[] = {plain_block(f, 71, 400)};
    struct metrics_request req = whole, few = whole;
    (void)state;
    few.max_series = 3;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct run u;
        query(&u, cache, parts, 1, texts[i], req);
        assert_true(u.r.n > 3 && !u.r.truncated);
        run_end(&u);
        assert_int_equal(query_cache_entries(cache), entries[i]);
        query(&u, cache, parts, 1, texts[i], few);
        assert_true(u.r.n == 3 && u.r.truncated);
        run_end(&u);
        assert_int_equal(query_cache_entries(cache), entries[i]);
        assert_ec(try_query(&u, cache, parts, 1, texts[i], req, 16 << 10), EC_LIMIT);
        run_end(&u);
    }
    query_cache_free(cache);
    part_unref(parts[0]);
    block_fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cached__is_what_is_counted),
        cmocka_unit_test(test_cached__questions_do_not_mix),
        cmocka_unit_test(test_windows__that_move_find_whole_blocks_again),
        cmocka_unit_test(test_heads__are_never_behind),
        cmocka_unit_test(test_heads__are_counted_from_where_they_grew),
        cmocka_unit_test(test_heads__that_grow_during_a_query_are_kept_as_they_were_read),
        cmocka_unit_test(test_shared_traces__are_not_in_a_partial),
        cmocka_unit_test(test_exemplars__are_as_many_as_asked_for),
        cmocka_unit_test(test_limits__hold_for_what_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
