/* SPDX-License-Identifier: Apache-2.0
 * The set of traces that are not to be counted part by part: what is marked in a part is a piece
 * that is counted with its trace, and nothing else is. */
#include "block_fixture.h"
#include "head_request.h"
#include "model/otlp_write.h"
#include "query/cache.h"
#include "query/exec/pairs.h"
#include "query/exec/shared.h"
#include "query/metrics.h"

enum { PARTS = 46, OWN = 1000 }; /* 1,035 pairs of 1,000 traces: more than are compared whole */

#define SECOND 1000000000u
#define EPOCH  1700000000000000000u

static void put_span(struct request *q, uint64_t trace, uint64_t start_ns)
{
    char id[16], span[8];
    put_u64be(id, trace);
    put_u64be(id + 8, trace);
    put_u64be(span, start_ns + 1); /* zero is no id */
    size_t s = pb_begin(&q->raw, 2);
    pb_put_bytes(&q->raw, 1, str_n(id, 16));
    pb_put_bytes(&q->raw, 2, str_n(span, 8));
    pb_put_fixed64(&q->raw, 7, EPOCH + start_ns);
    pb_put_fixed64(&q->raw, 8, EPOCH + start_ns + 1);
    pb_end(&q->raw, s);
}

/* `own` traces of one span over its time, and of a span of trace 1 at its begin. */
static struct head *head_of(
    uint64_t first, uint32_t own, uint64_t from_s, uint64_t to_s, bool has_common)
{
    struct head *h;
    struct request q;
    request_begin(&q);
    size_t rs = pb_begin(&q.raw, 1), ss = pb_begin(&q.raw, 2);
    for (uint32_t i = 0; i < own; i++)
        put_span(&q, first + i, from_s * SECOND + i * ((to_s - from_s) * SECOND / (own - 1)));
    if (has_common)
        put_span(&q, 1, from_s * SECOND + 5);
    pb_end(&q.raw, ss);
    pb_end(&q.raw, rs);
    request_decode(&q);
    assert_ok(head_new(NULL, &h, err));
    assert_int_equal(request_insert(h, &q, 1700000100), 0);
    request_end(&q);
    return h;
}

static struct part *block_of(struct block_fixture *f, uint64_t first, uint32_t own, uint64_t from_s,
    uint64_t to_s, bool has_common)
{
    struct head *h = head_of(first, own, from_s, to_s, has_common);
    struct part *p = fixture_write(f, (struct part *[]){head_part(h)}, 1);
    head_free(h);
    return p;
}

/* Trace 1 has pieces in the blocks 0, 1 and 2. Only 1 and 2 overlap in time. */
static void parts_make(struct block_fixture *f, struct part *parts[PARTS], size_t n, uint32_t own)
{
    for (uint64_t p = 0; p < n; p++) {
        uint64_t from = p == 2 ? 25 : 20 * p;
        parts[p] = block_of(f, 100 + p * own, own, from, from + 10, p < 3);
    }
}

/* Every piece is marked where it is, and nothing else is. */
static void expect_pieces(const struct shared_set *set, size_t n_parts, uint32_t first, uint32_t n)
{
    assert_int_equal(set->n, n);
    for (uint32_t i = 0; i < n; i++) {
        const struct trace_piece *p = &set->pieces[i];
        assert_int_equal(get_u64be(p->id.b), 1);
        assert_int_equal(p->part, first + i);
        assert_true(shared_set_has(set, p->part, p->trace));
    }
    for (size_t p = 0; p < n_parts; p++) {
        uint32_t n_marked = 0;
        for (uint32_t t = 0; t < OWN + 1; t++)
            n_marked += shared_set_has(set, p, t);
        assert_int_equal(n_marked, p >= first && p < first + n);
    }
}

static uint64_t count_all(struct part *const *parts, size_t n, struct arena *a)
{
    struct tql_query *q;
    struct metrics_result r;
    struct budget budget;
    budget_init(&budget, NULL, "test", 0);
    assert_ok(tql_compile(STR("{} | count_over_time()"), a, &q, NULL, err));
    struct query_ctx ctx = {.parts = parts, .n_parts = n, .arena = a, .budget = &budget};
    struct metrics_request req = {
        .q = q, .start_ns = EPOCH - SECOND, .end_ns = EPOCH + 3600ull * SECOND, .instant = true};
    assert_ok(query_metrics(&ctx, &req, &r, err));
    assert_int_equal(r.n, 1);
    double sum = 0;
    for (uint32_t i = 0; i < r.n_buckets; i++)
        sum += r.series[0].values[i];
    budget_deinit(&budget);
    return (uint64_t)sum;
}

static void in_parts(size_t n, uint32_t own, uint32_t first, uint32_t n_pieces)
{
    struct block_fixture *f = block_fixture_new();
    struct part *parts[PARTS];
    struct shared_set set;
    struct arena a;
    arena_init(&a, NULL, 0);
    parts_make(f, parts, n, own);
    struct query_ctx ctx = {.parts = parts, .n_parts = n, .arena = &a};
    assert_ok(shared_set_find(&ctx, 0, UINT64_MAX, &a, &set, err));
    expect_pieces(&set, n, first, n_pieces);
    assert_int_equal(count_all(parts, n, &a), n * own + 3);
    for (size_t p = 0; p < n; p++)
        part_unref(parts[p]);
    arena_deinit(&a);
    block_fixture_free(f);
}

static void test_shared__few_traces_are_compared_whatever_their_times(void **state)
{
    (void)state;
    in_parts(10, 2, 0, 3);
}

/* The piece in block 0 is found by no pair. It is counted by itself, and must not be counted once
 * more with the trace. */
static void test_shared__a_piece_that_no_pair_tells_of_is_counted_once(void **state)
{
    (void)state;
    in_parts(PARTS, OWN, 1, 2);
}

/* Blocks come one after another, as they do in a store: what is remembered of earlier ones leaves
 * room to compare the new ones whole, up to any number. */
static void test_shared__what_is_remembered_does_not_count(void **state)
{
    struct block_fixture *f = block_fixture_new();
    struct part *parts[PARTS];
    (void)state;
    struct query_cache *cache = query_cache_new(NULL, 4 << 20);
    parts_make(f, parts, PARTS, OWN - 1);
    for (size_t n = 10; n <= PARTS; n += 6) {
        struct shared_set set;
        struct arena a;
        arena_init(&a, NULL, 0);
        struct query_ctx ctx = {.parts = parts, .n_parts = n, .arena = &a, .cache = cache};
        assert_ok(shared_set_find(&ctx, 0, UINT64_MAX, &a, &set, err));
        expect_pieces(&set, n, 0, 3);
        arena_deinit(&a);
    }
    query_cache_free(cache);
    for (size_t p = 0; p < PARTS; p++)
        part_unref(parts[p]);
    block_fixture_free(f);
}

struct told {
    uint32_t n;
    bool all;
};

static enum ec count_told(
    void *arg, size_t i, size_t k, const struct shared_trace *t, struct err *e)
{
    (void)e;
    assert_true(i < k && get_u64be(t->id.b) == 1);
    ((struct told *)arg)->n++;
    return EC_OK;
}

/* Who asks for all of it hears whether he got it, and little is done where he would not. */
static void test_shared__all_or_not(void **state)
{
    struct block_fixture *f = block_fixture_new();
    struct part *parts[PARTS];
    struct part_reader *readers[PARTS];
    struct shared_peer peers[PARTS] = {0};
    struct told some = {0}, none = {0}, first = {0};
    (void)state;
    parts_make(f, parts, PARTS, OWN - 2);
    for (size_t p = 0; p < PARTS; p++) {
        assert_ok(part_reader_open(parts[p], NULL, &readers[p], err));
        peers[p].r = readers[p];
        part_info(readers[p], &peers[p].info);
    }
    uint8_t kinds[PARTS] = {1};
    const struct shared_kinds with_first = {.of = kinds, .with = {1 << 1, 1 << 0}};
    struct query_ctx ctx = {.parts = parts, .n_parts = PARTS};
    assert_ok(shared_find_all(&ctx, peers, NULL, count_told, &none, &none.all, err));
    assert_false(none.all);
    assert_int_equal(none.n, 0);
    assert_ok(shared_find(&ctx, peers, NULL, count_told, &some, &some.all, err));
    assert_false(some.all);
    assert_int_equal(some.n, 1); /* those that overlap */
    assert_ok(shared_find_all(&ctx, peers, &with_first, count_told, &first, &first.all, err));
    assert_true(first.all);
    assert_int_equal(first.n, 2);
    for (size_t p = 0; p < PARTS; p++) {
        part_reader_close(readers[p]);
        part_unref(parts[p]);
    }
    block_fixture_free(f);
}

/* A search over a range compares what is new, however many blocks lie beyond the range. */
static void test_shared__known_blocks_beyond_a_range_cost_nothing(void **state)
{
    enum { N = 300, IN = 4, EACH = 40 };
    struct block_fixture *f = block_fixture_new();
    struct part *parts[N];
    struct query_cache *cache = query_cache_new(NULL, 4 << 20);
    struct pairs *pairs = query_cache_pairs(cache);
    uint64_t before = pairs_counted(pairs);
    (void)state;
    for (size_t p = 0; p < N; p++) /* the first in range lies between others */
        parts[p] = block_of(f, 100 + p * EACH, EACH, 20 * p, 20 * p + 10, p % 150 == 10);
    for (size_t n = N - 1; n <= N; n++) {
        for (unsigned again = 0; again < 2; again++) {
            struct search_result r;
            struct arena a;
            struct budget budget;
            struct tql_query *q;
            arena_init(&a, NULL, 0);
            budget_init(&budget, NULL, "test", 0);
            assert_ok(tql_compile(STR("{ name = \"nobody\" }"), &a, &q, NULL, err));
            struct query_ctx ctx = {
                .parts = parts, .n_parts = n, .arena = &a, .budget = &budget, .cache = cache};
            struct search_request req = {.q = q,
                .start_ns = EPOCH + 20ull * 10 * SECOND,
                .end_ns = EPOCH + (20ull * (10 + IN - 1) + 1) * SECOND,
                .limit = 20,
                .spss = 3};
            assert_ok(query_search(&ctx, &req, &r, err));
            uint64_t asked = pairs_counted(pairs) - before;
            before += asked;
            if (again != 0)
                assert_int_equal(asked, 0);
            else if (n == N) /* with those in range, and those before it */
                assert_true(asked > 0 && asked <= (IN + 10) * (EACH + 1));
            arena_deinit(&a);
            budget_deinit(&budget);
        }
    }
    for (size_t p = 0; p < N; p++)
        part_unref(parts[p]);
    query_cache_free(cache);
    block_fixture_free(f);
}

struct numbers { /* that were told of */
    uint32_t n;
    bool told[1000]; /* by number in part 0 */
};

static enum ec note_number(
    void *arg, size_t i, size_t k, const struct shared_trace *t, struct err *e)
{
    struct numbers *to = arg;
    (void)e;
    assert_true(i == 0 && k == 1 && t->trace[0] == t->trace[1] + 500);
    to->n += !to->told[t->trace[0]];
    to->told[t->trace[0]] = true;
    return EC_OK;
}

struct some_case {
    uint32_t a_from, a_to, b_from, b_to; /* from > to: all */
    uint32_t asked, told;
};

/* The first has traces 100 - 1099, the other 600 - 1099. */
static void expect_some(
    struct part *const *parts, struct query_cache *cache, const struct some_case *c)
{
    struct arena a;
    struct numbers got = {0};
    struct shared_peer peers[2] = {0};
    struct pairs *pairs = query_cache_pairs(cache);
    uint64_t before = pairs_counted(pairs);
    bool all;
    arena_init(&a, NULL, 0);
    struct query_ctx ctx = {.parts = parts, .n_parts = 2, .arena = &a, .cache = cache};
    for (size_t i = 0; i < 2; i++) {
        uint32_t from = i == 0 ? c->a_from : c->b_from, to = i == 0 ? c->a_to : c->b_to;
        assert_ok(part_reader_open(parts[i], NULL, &peers[i].r, err));
        part_info(peers[i].r, &peers[i].info);
        peers[i].some = from <= to;
        peers[i].from = from;
        peers[i].to = to;
    }
    assert_ok(shared_find_all(&ctx, peers, NULL, note_number, &got, &all, err));
    assert_true(all);
    assert_int_equal(pairs_counted(pairs) - before, c->asked);
    assert_int_equal(got.n, c->told);
    for (uint32_t i = MAX(c->a_from, 500); i < c->a_to; i++)
        assert_true(got.told[i]);
    for (uint32_t i = c->b_from; i < c->b_to; i++)
        assert_true(got.told[500 + i]);
    for (size_t i = 0; i < 2; i++)
        part_reader_close(peers[i].r);
    arena_deinit(&a);
}

/* More than a query may ask: each does its share, until all is known. */
static void test_shared__all_is_known_after_some_queries(void **state)
{
    enum { N = 5, EACH = 100, PAIRS = N * (N - 1) / 2 };
    struct block_fixture *f = block_fixture_new();
    struct query_cache *cache = query_cache_new(NULL, 4 << 20);
    struct part *parts[N];
    struct shared_peer peers[N] = {0};
    uint64_t whole_max = shared_whole_max;
    struct arena a;
    bool all = false;
    (void)state;
    arena_init(&a, NULL, 0);
    for (uint64_t i = 0; i < N; i++) {
        parts[i] = block_of(f, 100 + i * EACH, EACH, 20 * i, 20 * i + 10, false);
        assert_ok(part_reader_open(parts[i], NULL, &peers[i].r, err));
        part_info(peers[i].r, &peers[i].info);
    }
    struct query_ctx ctx = {.parts = parts, .n_parts = N, .arena = &a, .cache = cache};
    shared_whole_max = 2 * EACH;
    for (unsigned i = 0; i < PAIRS / 2; i++) {
        uint64_t before = pairs_counted(query_cache_pairs(cache));
        struct numbers got = {0};
        assert_ok(shared_find_all(&ctx, peers, NULL, note_number, &got, &all, err));
        assert_int_equal(pairs_counted(query_cache_pairs(cache)) - before, 2 * EACH);
        assert_int_equal(all, i == PAIRS / 2 - 1);
    }
    shared_whole_max = whole_max;
    for (size_t i = 0; i < N; i++) {
        part_reader_close(peers[i].r);
        part_unref(parts[i]);
    }
    arena_deinit(&a);
    query_cache_free(cache);
    block_fixture_free(f);
}

static void test_shared__only_what_matters_is_asked_for(void **state)
{
    static const struct some_case cases[] = {{600, 700, 0, 0, 100, 100},
        {600, 700, 0, 0, 0, 100},   /* remembered */
        {600, 800, 0, 0, 100, 200}, /* and gone on with */
        {550, 700, 0, 0, 150, 150}, /* from elsewhere: anew */
        {600, 700, 0, 50, 50, 250}, /* of both; 600 - 800 are known */
        {0, 0, 0, 0, 0, 0}, {480, 520, 0, 0, 40, 20},
        {0, 1000, 0, 500, 500, 500}, /* all of the smaller one is less */
        {600, 700, 0, 0, 0, 500},    /* which is known then */
        {1, 0, 1, 0, 0, 500}};
    struct block_fixture *f = block_fixture_new();
    struct query_cache *cache = query_cache_new(NULL, 4 << 20);
    struct part *parts[2] = {
        block_of(f, 100, 1000, 10, 20, false), block_of(f, 600, 500, 15, 40, false)};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        expect_some(parts, cache, &cases[i]);
    part_unref(parts[0]);
    part_unref(parts[1]);
    query_cache_free(cache);
    block_fixture_free(f);
}

/* All traces of one second of each; their answer in the arena. */
static void search_all(struct part *const *parts, size_t n, struct query_cache *cache,
    struct arena *a, struct search_result *ret)
{
    struct tql_query *q;
    struct budget budget;
    budget_init(&budget, NULL, "test", 0);
    assert_ok(tql_compile(STR("{ }"), a, &q, NULL, err));
    struct query_ctx ctx = {
        .parts = parts, .n_parts = n, .arena = a, .budget = &budget, .cache = cache};
    struct search_request req = {.q = q,
        .start_ns = EPOCH + 50ull * SECOND,
        .end_ns = EPOCH + 100ull * SECOND,
        .limit = 1000,
        .spss = 3};
    assert_ok(query_search(&ctx, &req, ret, err));
    budget_deinit(&budget);
}

/* Two of the first block's five groups are in range. Its traces go on in later blocks, of which
 * each is known to share them before more candidates are asked for than a query may ask. */
static void test_shared__many_candidates_are_found_at_once(void **state)
{
    enum { N = 5, MANY = 20000, HEAD = 3000, MOST = (N - 2) * (2 * 4096 + 1) + HEAD };
    struct block_fixture *f = block_fixture_new();
    struct query_cache *cache = query_cache_new(NULL, 4 << 20);
    /* What lies beyond the range is looked up in the first block, not in the others. */
    struct head *head = head_of(100 + MANY / 2, HEAD, 2000, 2100, false);
    struct part *parts[N] = {
        [N - 1] = head_part(head), [0] = block_of(f, 100, MANY, 0, 200, false)};
    uint64_t whole_max = shared_whole_max, before, asked;
    (void)state;
    for (uint64_t i = 1; i < N - 1; i++)
        parts[i] = block_of(f, 100 + i * 1500, MANY, 300 * i, 300 * i + 100, false);
    for (unsigned again = 0; again < 2; again++) {
        struct search_result plain, known;
        struct arena a;
        arena_init(&a, NULL, 0);
        search_all(parts, N, NULL, &a, &plain); /* compares whole */
        shared_whole_max = MOST;
        before = pairs_counted(query_cache_pairs(cache));
        search_all(parts, N, cache, &a, &known);
        asked = pairs_counted(query_cache_pairs(cache)) - before;
        shared_whole_max = whole_max;
        if (again == 0)
            assert_true(asked >= (N - 2) * 5000 + HEAD && asked <= MOST);
        else
            assert_int_equal(asked, 0);
        assert_int_equal(plain.n, 1000);
        assert_int_equal(plain.n, known.n);
        for (size_t i = 0; i < plain.n; i++) {
            assert_memory_equal(&plain.traces[i].id, &known.traces[i].id, 16);
            assert_int_equal(plain.traces[i].start_ns, known.traces[i].start_ns);
            assert_int_equal(plain.traces[i].duration_ns, known.traces[i].duration_ns);
        }
        arena_deinit(&a);
    }
    for (size_t i = 0; i < N - 1; i++)
        part_unref(parts[i]);
    head_free(head);
    query_cache_free(cache);
    block_fixture_free(f);
}

static bool far_away(struct part *p, struct part_info *ret)
{
    (void)p;
    *ret = (struct part_info){.n_rows = 10,
        .n_groups = 1,
        .n_traces = 10,
        .bytes = 100,
        .min_start_ns = EPOCH + 7200ull * SECOND,
        .max_end_ns = EPOCH + 7300ull * SECOND};
    return true;
}

static enum ec not_to_be_opened(
    struct part *p, struct budget *budget, struct part_reader **ret, struct err *e)
{
    (void)p;
    (void)budget;
    (void)ret;
    (void)e;
    fail();
    return EC_CORRUPT;
}

/* What the catalog knows of a block does for one that lies beyond the range. */
static void test_shared__a_count_opens_no_block_beyond_its_range(void **state)
{
    static const struct part_ops ops = {.peek = far_away, .reader_open = not_to_be_opened};
    struct part beyond = {.ops = &ops};
    struct block_fixture *f = block_fixture_new();
    struct part *parts[] = {&beyond, block_of(f, 100, 10, 0, 10, true)};
    struct arena a;
    (void)state;
    arena_init(&a, NULL, 0);
    assert_int_equal(count_all(parts, 2, &a), 11);
    part_unref(parts[1]);
    arena_deinit(&a);
    block_fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared__few_traces_are_compared_whatever_their_times),
        cmocka_unit_test(test_shared__a_piece_that_no_pair_tells_of_is_counted_once),
        cmocka_unit_test(test_shared__what_is_remembered_does_not_count),
        cmocka_unit_test(test_shared__all_or_not),
        cmocka_unit_test(test_shared__a_count_opens_no_block_beyond_its_range),
        cmocka_unit_test(test_shared__all_is_known_after_some_queries),
        cmocka_unit_test(test_shared__only_what_matters_is_asked_for),
        cmocka_unit_test(test_shared__many_candidates_are_found_at_once),
        cmocka_unit_test(test_shared__known_blocks_beyond_a_range_cost_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
