/* SPDX-License-Identifier: Apache-2.0
 * Metrics queries: buckets at their edges, functions, quantiles, labels, second stages, and the two
 * ways of reading spans against each other on random data over a head and a block. */
#include <math.h>

#include "block_fixture.h"
#include "otlp_fixture.h"
#include "query/metrics.h"
#include "unit.h"

static struct err err;

struct run {
    struct arena arena;
    struct budget budget;
    struct metrics_result r;
};

static enum ec try_query(struct run *u, struct part *const *parts, size_t n, const char *text,
    struct metrics_request req, uint64_t budget_bytes)
{
    struct tql_query *q;
    budget_init(&u->budget, NULL, "test", 0);
    arena_init(&u->arena, &u->budget, 0);
    assert_ok(tql_compile(str_from(text), &u->arena, &q, NULL, &err), err);
    struct query_ctx ctx = {.parts = parts, .n_parts = n, .arena = &u->arena, .budget = &u->budget};
    req.q = q;
    if (budget_bytes != 0) /* on top of what the query's text took */
        atomic_store(&u->budget.cap, budget_used(&u->budget) + budget_bytes);
    return query_metrics(&ctx, &req, &u->r, &err);
}

static void query(struct run *u, struct part *const *parts, size_t n, const char *text,
    struct metrics_request req)
{
    assert_ok(try_query(u, parts, n, text, req, 0), err);
}

static void run_end(struct run *u)
{
    arena_deinit(&u->arena);
    budget_deinit(&u->budget);
}

static bool same_value(const struct value *a, const struct value *b)
{
    if (a->type != b->type)
        return false;
    if (a->type == VALUE_STR)
        return str_eq(a->s, b->s);
    if (a->type == VALUE_BOOL)
        return a->b == b->b;
    return a->i == b->i;
}

static void same_result(
    const char *text, const struct metrics_result *a, const struct metrics_result *b)
{
    if (a->n != b->n)
        fail_msg("%s: %zu series by span, %zu by trace", text, a->n, b->n);
    assert_int_equal(a->n_buckets, b->n_buckets);
    for (size_t k = 0; k < a->n; k++) {
        const struct metrics_series *x = &a->series[k], *y = &b->series[k];
        assert_int_equal(x->n_labels, y->n_labels);
        for (uint32_t i = 0; i < x->n_labels; i++) {
            assert_true(str_eq(x->labels[i].key, y->labels[i].key));
            assert_true(same_value(&x->labels[i].value, &y->labels[i].value));
        }
        for (uint32_t i = 0; i < a->n_buckets; i++) {
            double p = x->values[i], q = y->values[i];
            if (isnan(p) != isnan(q) || fabs(p - q) > 1e-9 * fmax(fabs(p), fabs(q)))
                fail_msg("%s: series %zu bucket %u: %g by span, %g by trace", text, k, i, p, q);
        }
    }
}

static uint64_t range_of(struct part *const *parts, size_t n, uint64_t *ret_end)
{
    uint64_t start = UINT64_MAX;
    *ret_end = 0;
    for (size_t i = 0; i < n; i++) {
        struct part_reader *r;
        struct part_info info;
        assert_ok(part_reader_open(parts[i], NULL, &r, &err), err);
        part_info(r, &info);
        start = MIN(start, info.min_start_ns);
        *ret_end = MAX(*ret_end, info.max_end_ns);
        part_reader_close(r);
    }
    return start;
}

/* `{ F } | fn` is answered by span, `{ F } | { } | fn` by trace. */
static void test_paths__agree_on_random_data(void **state)
{
    static const char *const filters[] = {"", "status = error", "name != \"a\"", "duration > 1ms",
        "kind = server && status != ok", ".service.name != nil", "event:name != nil",
        "resource.service.name = \"cart\"", "!(status = error)", "duration <= 0s",
        "span.k0 != \"a\"", ".k1 = 200 || .http.method = \"GET\"", "span.k2 > 1.5",
        "resource.k3 != nil", "name =~ \"c.*\" && kind != server",
        "resource.service.name != \"cart\""};
    static const char *const fns[] = {"rate()", "count_over_time() by (name)",
        "count_over_time() by (resource.service.name, status, kind)", "avg_over_time(duration)",
        "min_over_time(duration) by (kind)", "sum_over_time(span.http.status_code)",
        "quantile_over_time(duration, .5, .99) by (kind)", "histogram_over_time(duration)",
        "rate() by (event:name, instrumentation:name)", "rate() by (name) | topk(2)",
        "compare({ link:spanID != \"1\" && span.http.status_code + 1 > 2 }, 1000)",
        "count_over_time() by (span.k0)", "count_over_time() by (.k1, resource.k2, statusMessage)",
        "max_over_time(span.k1) by (.http.method)", "sum_over_time(.k3) by (span.list)",
        "histogram_over_time(span.k2) by (name, kind)", "avg_over_time(event.k0)",
        "quantile_over_time(resource.k1, .9) by (event.k1)",
        "histogram_over_time(duration) by (resource.service.name)"};
    struct block_fixture *f = block_fixture_new();
    (void)state;
    struct head *a = fixture_head(11, 600), *b = fixture_head(12, 600);
    struct part *block = fixture_write(f, (struct part *[]){head_part(b)}, 1);
    struct part *parts[] = {head_part(a), block};
    struct metrics_request req = {.exemplars = 10};
    req.start_ns = range_of(parts, 2, &req.end_ns);
    req.step_ns = (req.end_ns - req.start_ns) / 20 + 1;
    size_t n_series = 0;
    for (size_t i = 0; i < ARRAY_LEN(filters); i++) {
        for (size_t k = 0; k < ARRAY_LEN(fns); k++) {
            char fast[300], exact[300];
            struct run x, y;
            snprintf(fast, sizeof(fast), "{ %s } | %s", filters[i], fns[k]);
            snprintf(exact, sizeof(exact), "{ %s } | { } | %s", filters[i], fns[k]);
            query(&x, parts, 2, fast, req);
            query(&y, parts, 2, exact, req);
            same_result(fast, &x.r, &y.r);
            n_series += x.r.n;
            run_end(&x);
            run_end(&y);
        }
    }
    assert_true(n_series > 100);
    part_unref(block);
    part_unref(head_part(a));
    part_unref(head_part(b));
    block_fixture_free(f);
}

/* ---- filters that columns decide, and what keeps them from it ---- */

/* An array of one or two strings. */
static void put_tags(struct buf *b, uint32_t i)
{
    size_t kv = pb_begin(b, 9);
    pb_put_bytes(b, 1, STR("tags"));
    size_t value = pb_begin(b, 2), array = pb_begin(b, 5);
    pb_put_value(b, 1, &(struct value){.type = VALUE_STR, .s = i % 2 == 0 ? STR("x") : STR("y")});
    if (i % 5 == 0)
        pb_put_value(b, 1, &(struct value){.type = VALUE_STR, .s = STR("x")});
    pb_end(b, array);
    pb_end(b, value);
    pb_end(b, kv);
}

/* Spans of every kind that makes a difference between looking at columns and at spans. */
static void put_odd_span(struct buf *b, uint32_t i)
{
    size_t span = pb_begin(b, 2);
    fx_ids(b, (uint8_t)(i / 4 + 1), i + 1);
    pb_put_bytes(b, 5, i % 3 == 0 ? STR("get") : STR("put"));
    pb_put_varint(b, 6, i % 7); /* kind 6 does not exist */
    pb_put_fixed64(b, 7, 1700000000000000000u + i * 1000000u);
    /* Every eleventh ends before it starts. */
    pb_put_fixed64(b, 8, 1700000000000000000u + i * 1000000u + i % 5 - (i % 11 == 0 ? 9 : 0));
    if (i % 2 == 0)
        fx_attr_int(b, 9, "code", 200 + i % 4 * 100);
    if (i % 13 == 0) /* twice: the first one counts */
        fx_attr_int(b, 9, "code", 500);
    if (i % 5 != 0)
        pb_put_attr(b, 9, STR("ratio"), &(struct value){.type = VALUE_DOUBLE, .d = i % 4 * .5});
    fx_attr_str(b, 9, "user", i % 2 == 0 ? "ann" : "bob");
    if (i % 6 == 0)
        fx_attr_str(b, 9, "zone", "span");
    if (i % 3 == 0)
        put_tags(b, i);
    if (i % 4 == 0)
        fx_attr_nested(b, 9);
    else if (i % 4 == 1)
        fx_attr_str(b, 9, "list", "one");
    size_t status = pb_begin(b, 15);
    pb_put_varint(b, 3, i % 4); /* 3 does not exist */
    pb_end(b, status);
    pb_end(b, span);
}

static void put_resource_of(struct buf *b, uint32_t k)
{
    size_t resource = pb_begin(b, 1);
    if (k != 1)
        fx_attr_str(b, 1, "service.name", k == 0 ? "cart" : "");
    fx_attr_str(b, 1, "zone", k == 0 ? "a" : "b");
    if (k == 2)
        fx_attr_str(b, 1, "zone", "a"); /* twice */
    pb_end(b, resource);
}

static struct head *odd_head(uint32_t n)
{
    struct buf b = BUF_INIT;
    for (uint32_t k = 0; k < 3; k++) {
        size_t rs = pb_begin(&b, 1);
        put_resource_of(&b, k);
        size_t ss = pb_begin(&b, 2);
        for (uint32_t i = k; i < n; i += 3)
            put_odd_span(&b, i);
        pb_end(&b, ss);
        pb_end(&b, rs);
    }
    struct head *h = head_of_request(buf_bytes(&b), 1);
    buf_deinit(&b);
    return h;
}

static void test_filters__mean_the_same_over_columns(void **state)
{
    static const char *const filters[] = {"span.code = 200", "span.code != 200", "span.code >= 400",
        "span.code = 200 || span.code = 500", "span.code != 200 && span.code != 500",
        "span.code = 200.0", "span.ratio > 0.5", "span.ratio < 1", "span.code < span.ratio",
        "span.user = \"ann\"", "span.user != \"ann\"", "span.user =~ \"a.*\"",
        "span.user !~ \"a.*\"", "span.user > \"ann\"", ".zone = \"a\"", ".zone != \"a\"",
        "resource.zone = \"a\"", "resource.zone != \"b\"", "span.list = \"one\"",
        "span.list != \"one\"", "span.list != nil", "span.tags = \"x\"", "span.tags != \"x\"",
        "span.tags != \"x\" && span.tags != nil", "resource.service.name = \"\"",
        "resource.service.name != \"cart\"", "resource.service.name != nil",
        "resource.service.name > \"a\"", "duration > 2ns", "duration >= 0ns", "duration = 0ns",
        "duration != 0ns", "duration < 3ns", "duration <= 0ns", "duration = 3ns", "duration > 2.5",
        "duration < -1ns", "status = error", "status != error", "status = unset || status = ok",
        "kind = client", "kind != client", "name = \"get\"", "name < \"h\"", "name =~ \"g.t\"",
        "name = \"get\" && (span.code > 200 || .zone = \"b\")", "true", "span.code != nil",
        "span.code"};
    static const char *const fns[] = {"count_over_time()", "count_over_time() by (span.code, kind)",
        "count_over_time() by (.zone, status)", "sum_over_time(span.ratio) by (span.user)",
        "min_over_time(span.code)", "histogram_over_time(span.code) by (name)",
        "max_over_time(duration) by (span.list)", "count_over_time() by (span.tags)"};
    struct block_fixture *f = block_fixture_new();
    (void)state;
    struct head *h = odd_head(400);
    struct part *block = fixture_write(f, (struct part *[]){head_part(h)}, 1);
    struct part *parts[] = {head_part(h), block};
    struct metrics_request req = {.exemplars = 20, .step_ns = 50000000};
    req.start_ns = 1700000000000000000u + 30000000u;
    req.end_ns = req.start_ns + 300000000u; /* cuts both ends */
    for (size_t i = 0; i < ARRAY_LEN(filters); i++) {
        for (size_t k = 0; k < ARRAY_LEN(fns); k++) {
            char fast[300], exact[300];
            snprintf(fast, sizeof(fast), "{ %s } | %s", filters[i], fns[k]);
            snprintf(exact, sizeof(exact), "{ %s } | { } | %s", filters[i], fns[k]);
            for (size_t p = 0; p < 2; p++) {
                struct run x, y;
                query(&x, &parts[p], 1, fast, req);
                query(&y, &parts[p], 1, exact, req);
                same_result(fast, &x.r, &y.r);
                run_end(&x);
                run_end(&y);
            }
        }
    }
    part_unref(block);
    part_unref(head_part(h));
    block_fixture_free(f);
}

/* ---- small data with known answers ---- */

#define T0 UINT64_C(1700000000000000000)
#define S  UINT64_C(1000000000)

static void put_span(
    struct buf *b, uint8_t trace, uint64_t id, uint64_t start, uint64_t duration, const char *user)
{
    size_t span = pb_begin(b, 2);
    fx_ids(b, trace, id);
    pb_put_bytes(b, 5, STR("op"));
    pb_put_fixed64(b, 7, start);
    pb_put_fixed64(b, 8, start + duration);
    if (user != NULL)
        fx_attr_str(b, 9, "user", user);
    pb_end(b, span);
}

/* Spans at +0 s (on an edge), +1 ns, +10 s (on an edge), +11 s. */
static struct head *small_head(void)
{
    struct buf b = BUF_INIT;
    size_t rs = pb_begin(&b, 1), ss = pb_begin(&b, 2);
    put_span(&b, 1, 1, T0, 1 * S, "ann");
    put_span(&b, 2, 2, T0 + 1, 2 * S, "bob");
    put_span(&b, 3, 3, T0 + 10 * S, 4 * S, "bob");
    put_span(&b, 4, 4, T0 + 11 * S, 8 * S, NULL);
    pb_end(&b, ss);
    pb_end(&b, rs);
    struct head *h = head_of_request(buf_bytes(&b), 1);
    buf_deinit(&b);
    return h;
}

static const struct metrics_request small = {
    .start_ns = T0, .end_ns = T0 + 15 * S, .step_ns = 10 * S, .exemplars = 100};

static void expect(const char *text, const double *want, size_t n_series)
{
    struct head *h = small_head();
    struct part *parts[] = {head_part(h)};
    struct run u;
    query(&u, parts, 1, text, small);
    if (u.r.n != n_series)
        fail_msg("%s: %zu series, not %zu", text, u.r.n, n_series);
    assert_int_equal(u.r.n_buckets, 3);
    assert_int_equal(u.r.first_ns, T0);
    for (size_t k = 0; k < n_series; k++)
        for (size_t i = 0; i < 3; i++) {
            double got = u.r.series[k].values[i], w = want[k * 3 + i];
            if (isnan(got) != isnan(w) || fabs(got - w) > 1e-9)
                fail_msg("%s: series %zu bucket %zu: %g, not %g", text, k, i, got, w);
        }
    run_end(&u);
    part_unref(head_part(h));
}

static void test_buckets__are_left_open_and_right_closed(void **state)
{
    (void)state;
    expect("{} | count_over_time()", (double[]){1, 2, 1}, 1);
    expect("{} | rate()", (double[]){.1, .2, .1}, 1);
    expect("{ name = \"none\" } | rate()", (double[]){0, 0, 0}, 1);
    expect("{ false } | rate()", NULL, 0);
}

/* Batches that a client sent twice, the second time to another part. */
static void test_retries__count_once(void **state)
{
    static const char *const queries[] = {"{} | count_over_time()", "{} | rate() by (span.user)",
        "{ span.user = \"bob\" } | sum_over_time(duration)", "{} | histogram_over_time(duration)",
        "{} | compare({ span.user = \"bob\" })", "{} | count() > 0 | rate()"};
    (void)state;
    struct block_fixture *f = block_fixture_new();
    struct head *a = small_head(), *b = small_head();
    struct part *block = fixture_write(f, (struct part *[]){head_part(b)}, 1);
    struct part *parts[] = {head_part(a), block, head_part(b)};
    for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
        for (size_t n = 2; n <= ARRAY_LEN(parts); n++) {
            struct run once, again;
            query(&once, parts, 1, queries[i], small);
            query(&again, parts, n, queries[i], small);
            same_result(queries[i], &again.r, &once.r);
            run_end(&once);
            run_end(&again);
        }
    }
    part_unref(block);
    part_unref(head_part(a));
    part_unref(head_part(b));
    block_fixture_free(f);
}

static void test_functions__give_known_values(void **state)
{
    (void)state;
    expect("{} | min_over_time(duration)", (double[]){1, 2, 8}, 1);
    expect("{} | max_over_time(duration)", (double[]){1, 4, 8}, 1);
    expect("{} | sum_over_time(duration)", (double[]){1, 6, 8}, 1);
    expect("{} | avg_over_time(duration)", (double[]){1, 3, 8}, 1);
    expect("{} | max_over_time(name)", NULL, 0);
    /* 2^30 ns and 2^32 ns, 2^31 ns in between; the half of two is the first one's bound. */
    expect("{} | quantile_over_time(duration, .5)",
        (double[]){1.073741824, 2.147483648, 8.589934592}, 1);
}

static void test_labels__drop_nil_and_sort(void **state)
{
    (void)state;
    expect("{} | count_over_time() by (span.user)", (double[]){1, 0, 0, 0, 2, 0, 0, 0, 1}, 3);
    expect("{} | count_over_time() by (span.user, name)", (double[]){0, 0, 1, 1, 0, 0, 0, 2, 0},
        3); /* fewer labels first */
}

static void test_second_stages__filter_samples(void **state)
{
    (void)state;
    expect("{} | count_over_time() by (span.user) > 1", (double[]){NAN, 2, NAN}, 1);
    expect("{} | count_over_time() by (span.user) | topk(1)",
        (double[]){1, NAN, NAN, NAN, 2, NAN, NAN, NAN, 1}, 3);
    expect("{} | max_over_time(duration) > 3s", (double[]){NAN, 4, 8}, 1);
    expect("{} | rate() | topk(5)", (double[]){.1, .2, .1}, 1);
}

static void test_exemplars__one_per_trace_with_its_id(void **state)
{
    struct head *h = small_head();
    struct part *parts[] = {head_part(h)};
    struct run u;
    (void)state;
    query(&u, parts, 1, "{} | rate()", small);
    assert_int_equal(u.r.n, 1);
    assert_int_equal(u.r.series[0].n_exemplars, 4);
    const struct metrics_exemplar *e = &u.r.series[0].exemplars[3];
    assert_int_equal(e->start_ns, T0 + 11 * S);
    assert_true(e->value == .1);
    assert_true(str_eq(e->labels[e->n_labels - 1].key, STR("trace:id")));
    run_end(&u);
    part_unref(head_part(h));
}

static void test_instant__has_both_ends(void **state)
{
    struct head *h = small_head();
    struct part *parts[] = {head_part(h)};
    struct run u;
    struct metrics_request req = {.start_ns = T0, .end_ns = T0 + 10 * S, .instant = true};
    (void)state;
    query(&u, parts, 1, "{} | rate()", req);
    assert_int_equal(u.r.n_buckets, 1);
    assert_true(fabs(u.r.series[0].values[0] - .3) < 1e-12);
    run_end(&u);
    part_unref(head_part(h));
}

static void test_limits__cap_series_and_memory(void **state)
{
    struct head *h = small_head();
    struct part *parts[] = {head_part(h)};
    struct metrics_request req = small;
    struct run u;
    (void)state;
    req.max_series = 4;
    query(&u, parts, 1, "{} | rate() by (span.user)", req);
    assert_false(u.r.truncated);
    run_end(&u);
    req.max_series = 2;
    query(&u, parts, 1, "{} | rate() by (span.user)", req);
    assert_true(u.r.truncated);
    assert_int_equal(u.r.n, 2);
    run_end(&u);
    assert_int_equal(try_query(&u, parts, 1, "{} | rate() by (span.user)", small, 300), EC_LIMIT);
    run_end(&u);
    part_unref(head_part(h));
}

static void test_compare__splits_and_totals(void **state)
{
    struct head *h = small_head();
    struct part *parts[] = {head_part(h)};
    size_t selection = 0, totals = 0;
    struct run u;
    (void)state;
    query(&u, parts, 1, "{} | compare({ span.user = \"bob\" })", small);
    for (size_t i = 0; i < u.r.n; i++) {
        const struct metrics_series *s = &u.r.series[i];
        if (!str_eq(s->labels[1].key, STR("span.user")))
            continue;
        selection += str_eq(s->labels[0].value.s, STR("selection"));
        if (!str_eq(s->labels[0].value.s, STR("selection_total")))
            continue;
        totals++;
        assert_true(s->values[0] == 0 && s->values[1] == 2 && s->values[2] == 0);
    }
    assert_int_equal(selection, 1);
    assert_int_equal(totals, 1);
    run_end(&u);
    part_unref(head_part(h));
}

static void test_default_step__follows_the_ladder(void **state)
{
    (void)state;
    assert_int_equal(metrics_default_step(30 * S), 100000000);
    assert_int_equal(metrics_default_step(1 * S), 50000000);
    assert_int_equal(metrics_default_step(300 * S), 1 * S);
    assert_int_equal(metrics_default_step(3600 * S), 15 * S);
    assert_int_equal(metrics_default_step(3 * 3600 * S), 45 * S);
    assert_int_equal(metrics_default_step(6 * 3600 * S), 60 * S);
    assert_int_equal(metrics_default_step(24 * 3600 * S), 300 * S);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths__agree_on_random_data),
        cmocka_unit_test(test_filters__mean_the_same_over_columns),
        cmocka_unit_test(test_buckets__are_left_open_and_right_closed),
        cmocka_unit_test(test_functions__give_known_values),
        cmocka_unit_test(test_retries__count_once),
        cmocka_unit_test(test_labels__drop_nil_and_sort),
        cmocka_unit_test(test_second_stages__filter_samples),
        cmocka_unit_test(test_exemplars__one_per_trace_with_its_id),
        cmocka_unit_test(test_instant__has_both_ends),
        cmocka_unit_test(test_limits__cap_series_and_memory),
        cmocka_unit_test(test_compare__splits_and_totals),
        cmocka_unit_test(test_default_step__follows_the_ladder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
