/* SPDX-License-Identifier: Apache-2.0
 * Tag values out of the cache are those that are found anew: over heads and blocks, of any range,
 * under filters and limits. */
#include "block_fixture.h"
#include "query/cache.h"
#include "query/exec.h"
#include "unit.h"

static struct err err;

struct run {
    struct arena arena;
    struct budget budget;
    struct values_result r;
};

struct question {
    const char *attr, *filter;
    uint64_t start_ns, end_ns;
    uint32_t limit;
    uint64_t bytes_max;
};

static void ask(struct run *u, struct query_cache *cache, struct part *const *parts, size_t n,
    const struct question *q)
{
    struct values_request req = {
        .start_ns = q->start_ns, .end_ns = q->end_ns, .limit = q->limit, .bytes_max = q->bytes_max};
    budget_init(&u->budget, NULL, "test", 0);
    arena_init(&u->arena, &u->budget, 0);
    if (str_starts(str_from(q->attr), STR("v1:")))
        req.v1_name = str_from(q->attr + 3);
    else
        assert_ok(tql_attr_parse(str_from(q->attr), &u->arena, &req.attr, &err), err);
    if (q->filter != NULL)
        assert_ok(
            tql_filter_groups_parse(str_from(q->filter), req.attr, 0, &u->arena, &req.filter, &err),
            err);
    struct query_ctx ctx = {
        .parts = parts, .n_parts = n, .arena = &u->arena, .budget = &u->budget, .cache = cache};
    assert_ok(query_values(&ctx, &req, &u->r, &err), err);
}

static void run_end(struct run *u)
{
    arena_deinit(&u->arena);
    budget_deinit(&u->budget);
}

static void same(
    const struct question *q, const struct values_result *a, const struct values_result *b)
{
    if (a->n != b->n)
        fail_msg("%s: %zu values, cached %zu", q->attr, a->n, b->n);
    for (size_t i = 0; i < a->n; i++) {
        assert_string_equal(a->values[i].type, b->values[i].type);
        if (!str_eq(a->values[i].value, b->values[i].value))
            fail_msg("%s: " STR_FMT ", cached " STR_FMT, q->attr, STR_ARG(a->values[i].value),
                STR_ARG(b->values[i].value));
    }
}

static struct part *block_of(struct block_fixture *f, uint64_t seed, uint32_t n)
{
    struct head *h = fixture_head(seed, n);
    struct part *p = fixture_write(f, (struct part *[]){head_part(h)}, 1);
    part_unref(head_part(h));
    return p;
}

static const char *const attrs[] = {"span.k0", ".k1", "resource.k2", "event.k3", "name", "span.k2",
    "status", "rootName", "rootServiceName", ".service.name", "v1:k1", "v1:name", "v1:status.code",
    "instrumentation:name", "span.none", "span.k3"};
static const char *const filters[] = {NULL, "{ status = error }", "{ name = \"checkout\" }",
    "{ span.k0 = \"a\" || resource.k2 = 3 }", "{ .k1 = 200 && kind = server }"};

static size_t check(struct query_cache *cache, struct part *const *parts, size_t n)
{
    size_t n_values = 0;
    for (size_t i = 0; i < ARRAY_LEN(attrs) * ARRAY_LEN(filters) * 5; i++) {
        uint64_t t = UINT64_C(1700000000000000000);
        size_t more = i / (ARRAY_LEN(attrs) * ARRAY_LEN(filters));
        struct question q = {attrs[i % ARRAY_LEN(attrs)],
            filters[i / ARRAY_LEN(attrs) % ARRAY_LEN(filters)], more == 1 ? t - 1 : 0,
            more == 1 ? t + 30000000 : 0, more == 2 ? 3 : 0,
            more == 3   ? 60
            : more == 4 ? 1000
                        : 0};
        struct run plain, first, again;
        ask(&plain, NULL, parts, n, &q);
        ask(&first, cache, parts, n, &q);
        ask(&again, cache, parts, n, &q);
        same(&q, &plain.r, &first.r);
        same(&q, &plain.r, &again.r);
        n_values += plain.r.n;
        run_end(&plain);
        run_end(&first);
        run_end(&again);
    }
    return n_values;
}

static void test_cached__values_are_those_found(void **state)
{
    struct query_cache *cache = query_cache_new(NULL, 16 << 20);
    struct block_fixture *f = block_fixture_new();
    struct head *a = fixture_head(1, 300), *b = fixture_head(2, 200);
    struct part *parts[] = {
        head_part(a), block_of(f, 3, 300), head_part(b), block_of(f, 4, 200), block_of(f, 5, 40)};
    static const struct {
        size_t from, n;
    } sets[] = {{0, 5}, {1, 1}, {3, 2}, {0, 1}, {1, 3}, {3, 1}, {0, 5}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sets); i++)
        assert_true(check(cache, parts + sets[i].from, sets[i].n) > 100);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        part_unref(parts[i]);
    assert_int_equal(query_cache_entries(cache), 0);
    query_cache_free(cache);
    block_fixture_free(f);
}

/* A list in use stays when its block goes. */
static void test_cached__values_outlive_their_block(void **state)
{
    static const struct question q = {"name", NULL, 0, 0, 0, 0};
    struct query_cache *cache = query_cache_new(NULL, 16 << 20);
    struct block_fixture *f = block_fixture_new();
    struct part *p = block_of(f, 7, 100);
    struct run first, again;
    (void)state;
    ask(&first, cache, &p, 1, &q);
    assert_int_equal(query_cache_entries(cache), 1);
    ask(&again, cache, &p, 1, &q);
    assert_true(again.r.n > 1);
    part_unref(p);
    assert_int_equal(query_cache_entries(cache), 0);
    same(&q, &first.r, &again.r);
    run_end(&first);
    run_end(&again);
    query_cache_free(cache);
    block_fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cached__values_are_those_found),
        cmocka_unit_test(test_cached__values_outlive_their_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
