/* SPDX-License-Identifier: Apache-2.0
 * compare(): the answer over columns against the answer over assembled traces, on random data whose
 * traces lie in several parts; and the same answer when memory is short. */
#include <math.h>

#include "base/clock.h"
#include "block_fixture.h"
#include "otlp_fixture.h"
#include "query/metrics.h"
#include "unit.h"

/* See query/exec/compare_hashed.h. */
extern uint64_t compare_hash_mask;

static struct err err;
static struct pool *pool;

struct run {
    struct arena arena;
    struct budget budget;
    struct metrics_result r;
};

#define T0 UINT64_C(1700000000000000000)
#define S  UINT64_C(1000000000)

static enum ec try_query(struct run *u, struct part *const *parts, size_t n, const char *text,
    struct metrics_request req, uint64_t bytes)
{
    struct tql_query *q;
    budget_init(&u->budget, NULL, "test", 0);
    arena_init(&u->arena, &u->budget, 0);
    assert_ok(tql_compile(str_from(text), &u->arena, &q, NULL, &err), err);
    struct query_ctx ctx = {
        .parts = parts, .n_parts = n, .pool = pool, .arena = &u->arena, .budget = &u->budget};
    req.q = q;
    if (bytes != 0)
        atomic_store(&u->budget.cap, budget_used(&u->budget) + bytes);
    return query_metrics(&ctx, &req, &u->r, &err);
}

static void run_end(struct run *u)
{
    arena_deinit(&u->arena);
    budget_deinit(&u->budget);
}

static int cmp_value(const struct value *a, const struct value *b)
{
    if (a->type != b->type)
        return a->type < b->type ? -1 : 1;
    if (a->type == VALUE_STR)
        return str_cmp(a->s, b->s);
    if (a->type == VALUE_BOOL)
        return (int)a->b - (int)b->b;
    return a->i < b->i ? -1 : a->i > b->i;
}

static void same(const char *what, const struct metrics_result *a, const struct metrics_result *b)
{
    if (a->n != b->n)
        fail_msg("%s: %zu series, not %zu", what, a->n, b->n);
    assert_int_equal(a->n_buckets, b->n_buckets);
    for (size_t k = 0; k < a->n; k++) {
        const struct metrics_series *x = &a->series[k], *y = &b->series[k];
        assert_int_equal(x->n_labels, 2);
        assert_int_equal(y->n_labels, 2);
        for (uint32_t i = 0; i < 2; i++)
            if (!str_eq(x->labels[i].key, y->labels[i].key) ||
                cmp_value(&x->labels[i].value, &y->labels[i].value) != 0)
                fail_msg("%s: series %zu is of " STR_FMT ", not " STR_FMT, what, k,
                    STR_ARG(x->labels[i].key), STR_ARG(y->labels[i].key));
        for (uint32_t i = 0; i < a->n_buckets; i++)
            if (x->values[i] != y->values[i])
                fail_msg("%s: " STR_FMT " bucket %u: %g, not %g", what, STR_ARG(x->labels[1].key),
                    i, x->values[i], y->values[i]);
    }
}

static size_t n_series; /* that agreed */

static void agree(struct part *const *parts, size_t n, const char *filter, const char *args,
    struct metrics_request req)
{
    char fast[200], exact[200];
    struct run x, y;
    snprintf(fast, sizeof(fast), "{ %s } | compare(%s)", filter, args);
    snprintf(exact, sizeof(exact), "{ %s } | { } | compare(%s)", filter, args);
    assert_ok(try_query(&x, parts, n, fast, req, 0), err);
    assert_ok(try_query(&y, parts, n, exact, req, 0), err);
    same(fast, &x.r, &y.r);
    n_series += x.r.n;
    run_end(&x);
    run_end(&y);
}

static void test_compare__is_the_same_over_columns_and_traces(void **state)
{
    static const char *const filters[] = {"", "status = error", "span.k0 != nil", "duration > 1ns",
        "resource.service.name != \"cart\""};
    static const char *const args[] = {"{ status = error }", "{ kind = server }, 3",
        "{ span.k1 != nil && duration > 300ns }", "{ true }",
        "{ name = \"a\" }, 5, 1700000000300000000, 1700000000700000000", "{ false }"};
    struct block_fixture *f = block_fixture_new();
    (void)state;
    struct head *a = fixture_head(11, 700), *b = fixture_head(12, 700), *c = fixture_head(13, 900);
    struct part *parts[] = {head_part(a), fixture_write(f, (struct part *[]){head_part(b)}, 1),
        fixture_write(f, (struct part *[]){head_part(c)}, 1)};
    struct metrics_request req = {
        .start_ns = T0, .end_ns = T0 + S, .step_ns = S / 8, .max_series = 0};
    for (size_t i = 0; i < ARRAY_LEN(filters); i++)
        for (size_t k = 0; k < ARRAY_LEN(args); k++) {
            agree(parts, 3, filters[i], args[k], req);
            agree(&parts[0], 1, filters[i], args[k], req);
            agree(&parts[1], 1, filters[i], args[k], req);
        }
    /* A range that cuts. */
    req.start_ns = T0 + S / 4;
    req.end_ns = T0 + S / 2;
    agree(parts, 3, "", "{ status = error }", req);
    req.instant = true;
    agree(parts, 3, "", "{ status = error }", req);
    assert_true(n_series > 5000);
    part_unref(parts[1]);
    part_unref(parts[2]);
    part_unref(head_part(a));
    part_unref(head_part(b));
    part_unref(head_part(c));
    block_fixture_free(f);
}

/* n spans in traces of 40, a chain under one root: each has values of its own, long and short, and
 * some that many share. The first span id lets two heads repeat each other. */
static struct head *wide_head(uint32_t n, uint32_t from)
{
    struct buf b = BUF_INIT;
    char text[100], parent[8];
    size_t rs = pb_begin(&b, 1), ss = pb_begin(&b, 2);
    for (uint32_t i = from; i < from + n; i++) {
        size_t span = pb_begin(&b, 2);
        fx_ids(&b, (uint8_t)(1 + i / 40 % 250), i + 1);
        if (i % 40 != 0) {
            put_u64be(parent, i % 3 == 0 ? i - i % 40 + 1 : i);
            pb_put_bytes(&b, 4, str_n(parent, 8));
        }
        pb_put_bytes(&b, 5, i % 2 == 0 ? STR("even") : STR("odd"));
        pb_put_fixed64(&b, 7, T0 + i * 1000);
        pb_put_fixed64(&b, 8, T0 + i * 1000 + i);
        snprintf(text, sizeof(text), "request number %u of a rather long kind of id", i * 7919 % n);
        fx_attr_str(&b, 9, "request", text);
        snprintf(text, sizeof(text), "u%u", i % 700);
        fx_attr_str(&b, 9, "user", text);
        fx_attr_int(&b, 9, "size", (int64_t)i * 1000);
        pb_put_attr(&b, 9, STR("ratio"), &(struct value){.type = VALUE_DOUBLE, .d = i / 8.0});
        pb_end(&b, span);
    }
    pb_end(&b, ss);
    pb_end(&b, rs);
    struct head *h = head_of_request(buf_bytes(&b), 1);
    buf_deinit(&b);
    return h;
}

static const struct metrics_request wide = {
    .start_ns = T0 - S, .end_ns = T0 + S, .step_ns = S / 1000};

static void test_compare__needs_little_memory(void **state)
{
    struct block_fixture *f = block_fixture_new();
    (void)state;
    struct head *h = wide_head(9000, 0);
    struct part *parts[] = {fixture_write(f, (struct part *[]){head_part(h)}, 1)};
    struct metrics_request req = wide;
    struct run whole, little;
    req.step_ns = S / 4;
    assert_ok(try_query(&whole, parts, 1, "{} | compare({ span.user = \"u7\" })", req, 0), err);
    agree(parts, 1, "", "{ span.user = \"u7\" }", req);
    uint64_t peak = atomic_load(&whole.budget.peak);
    /* Ever less: more rounds, then parts of one key's values, with the same answer. */
    unsigned answered = 0;
    for (uint64_t bytes = peak; bytes > peak / 8; bytes -= peak / 16) {
        enum ec ec =
            try_query(&little, parts, 1, "{} | compare({ span.user = \"u7\" })", req, bytes);
        if (ec == EC_OK)
            same("with less memory", &little.r, &whole.r);
        else
            assert_int_equal(ec, EC_LIMIT);
        answered += ec == EC_OK;
        run_end(&little);
    }
    assert_true(answered >= 4);
    run_end(&whole);
    part_unref(parts[0]);
    part_unref(head_part(h));
    block_fixture_free(f);
}

/* Strings of which some repeat more than others, many tie, and some share their key with numbers,
 * arrays or nothing at all. */
static struct head *many_head(uint32_t n, uint32_t from)
{
    struct buf b = BUF_INIT;
    char text[100];
    size_t rs = pb_begin(&b, 1), ss = pb_begin(&b, 2);
    for (uint32_t i = from; i < from + n; i++) {
        uint32_t x = i * 2654435761u;
        size_t span = pb_begin(&b, 2);
        fx_ids(&b, (uint8_t)(1 + i / 40 % 250), i + 1);
        snprintf(text, sizeof(text), "n%u", x % 4000);
        pb_put_bytes(&b, 5, str_from(text));
        pb_put_fixed64(&b, 7, T0 + i * 1000);
        pb_put_fixed64(&b, 8, T0 + i * 1000 + i);
        snprintf(text, sizeof(text), "a string of its own %u", x >> 8 & 0xfffff);
        fx_attr_str(&b, 9, "own", text);
        snprintf(text, sizeof(text), "%u", x % 64 * (x >> 10 & 63));
        fx_attr_str(&b, 9, "uneven", text);
        if (i % 5 == 0)
            fx_attr_str(&b, 9, "mixed", i % 25 == 0 ? "nil" : text);
        else if (i % 5 == 1)
            fx_attr_int(&b, 9, "mixed", (int64_t)(x % 3000) - 1500);
        else if (i % 5 == 2)
            pb_put_attr(&b, 9, STR("mixed"),
                &(struct value){
                    .type = VALUE_DOUBLE, .d = i % 10 == 2 ? -0.0 : (double)(x % 9000)});
        else if (i % 5 == 3)
            pb_put_attr(&b, 9, STR("mixed"),
                &(struct value){.type = VALUE_ARRAY, .s = STR("\x0a\x02\x18\x01")});
        size_t status = pb_begin(&b, 15);
        snprintf(text, sizeof(text), "failure %u", x >> 12);
        if (i % 3 != 0)
            pb_put_bytes(&b, 2, str_from(text));
        pb_put_varint(&b, 3, i % 11 == 0 ? 2 : 0);
        pb_end(&b, status);
        pb_end(&b, span);
    }
    pb_end(&b, ss);
    pb_end(&b, rs);
    struct head *h = head_of_request(buf_bytes(&b), 1);
    buf_deinit(&b);
    return h;
}

/* With hashes as they are, with some strings to a hash, with many, and with all of them. */
static void test_compare__tells_strings_of_one_hash_apart(void **state)
{
    static const uint64_t masks[] = {0x7ffff, 0x7ff80, 0};
    static const char *const args[] = {"{ status = error }", "{ span.mixed != nil }, 3",
        "{ name = \"n7\" }, 64", "{ false }", "{ status = error }, 500"};
    struct block_fixture *f = block_fixture_new();
    (void)state;
    struct head *a = many_head(3000, 0), *b = many_head(3000, 3000), *c = many_head(2000, 5500);
    struct part *parts[] = {fixture_write(f, (struct part *[]){head_part(a)}, 1), head_part(b),
        fixture_write(f, (struct part *[]){head_part(c)}, 1)};
    struct metrics_request req = wide;
    for (size_t i = 0; i < ARRAY_LEN(args); i++) {
        char text[100];
        struct run right, u;
        req.step_ns = i % 2 == 0 ? S / 1000 : S / 10;
        agree(parts, 3, "", args[i], req);
        snprintf(text, sizeof(text), "{ } | compare(%s)", args[i]);
        assert_ok(try_query(&right, parts, 3, text, req, 0), err);
        for (size_t m = 0; m < ARRAY_LEN(masks); m++) {
            compare_hash_mask = masks[m];
            assert_ok(try_query(&u, parts, 3, text, req, 0), err);
            same(text, &u.r, &right.r);
            run_end(&u);
        }
        compare_hash_mask = UINT64_MAX;
        run_end(&right);
    }
    part_unref(parts[0]);
    part_unref(parts[2]);
    part_unref(head_part(a));
    part_unref(head_part(b));
    part_unref(head_part(c));
    block_fixture_free(f);
}

static void test_compare__counts_a_repeated_span_once(void **state)
{
    struct block_fixture *f = block_fixture_new();
    (void)state;
    /* Spans 200..399 are in both. */
    struct head *a = wide_head(400, 0), *b = wide_head(400, 200);
    struct part *parts[] = {head_part(b), fixture_write(f, (struct part *[]){head_part(a)}, 1)};
    struct metrics_request req = wide;
    struct run u;
    req.instant = true;
    agree(parts, 2, "", "{ name = \"odd\" }", req);
    assert_ok(try_query(&u, parts, 2, "{} | compare({ name = \"odd\" })", req, 0), err);
    double spans = 0;
    for (size_t i = 0; i < u.r.n; i++)
        if (str_eq(u.r.series[i].labels[1].key, STR("name")) &&
            str_eq(u.r.series[i].labels[1].value.s, STR("nil")))
            spans += u.r.series[i].values[0];
    assert_true(spans == 600);
    run_end(&u);
    part_unref(parts[1]);
    part_unref(head_part(a));
    part_unref(head_part(b));
    block_fixture_free(f);
}

static bool gone(void *arg)
{
    (void)arg;
    return true;
}

static void test_limits__end_a_query(void **state)
{
    struct head *h = wide_head(500, 0);
    struct part *parts[] = {head_part(h)};
    static const char *const texts[] = {
        "{} | compare({ name = \"odd\" })", "{} | rate() by (name)"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct metrics_request req = wide;
        struct run u;
        assert_int_equal(try_query(&u, parts, 1, texts[i], wide, 20000), EC_LIMIT);
        run_end(&u);
        /* At its bound the cap is reached, above it is not. */
        assert_ok(try_query(&u, parts, 1, texts[i], wide, 0), err);
        size_t n = u.r.n;
        run_end(&u);
        for (uint32_t cap = (uint32_t)n - 1; cap <= n + 1; cap++) {
            req.max_series = cap;
            assert_ok(try_query(&u, parts, 1, texts[i], req, 0), err);
            assert_int_equal(u.r.n, MIN(cap, n));
            assert_int_equal(u.r.truncated, cap <= n);
            run_end(&u);
        }
        struct tql_query *q;
        budget_init(&u.budget, NULL, "test", 0);
        arena_init(&u.arena, &u.budget, 0);
        assert_ok(tql_compile(str_from(texts[i]), &u.arena, &q, NULL, &err), err);
        struct query_ctx ctx = {
            .parts = parts, .n_parts = 1, .arena = &u.arena, .budget = &u.budget};
        req.q = q;
        ctx.deadline_mono_ns = clock_mono_ns() - 1;
        assert_int_equal(query_metrics(&ctx, &req, &u.r, &err), EC_DEADLINE);
        ctx.deadline_mono_ns = clock_mono_ns() + 60 * NS_PER_S;
        ctx.canceled = gone;
        assert_int_equal(query_metrics(&ctx, &req, &u.r, &err), EC_CANCELED);
        run_end(&u);
    }
    part_unref(head_part(h));
}

static int open_pool(void **state)
{
    (void)state;
    assert_ok(pool_new(&(struct pool_options){.n_normal = 3}, &pool, &err), err);
    return 0;
}

static int close_pool(void **state)
{
    (void)state;
    pool_free(pool);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compare__is_the_same_over_columns_and_traces),
        cmocka_unit_test(test_compare__needs_little_memory),
        cmocka_unit_test(test_compare__tells_strings_of_one_hash_apart),
        cmocka_unit_test(test_compare__counts_a_repeated_span_once),
        cmocka_unit_test(test_limits__end_a_query),
    };
    return cmocka_run_group_tests(tests, open_pool, close_pool);
}
