/* SPDX-License-Identifier: Apache-2.0
 * Metrics queries over parts made for a test, and the comparison of their answers. */
#pragma once

#include <math.h>

#include "block_fixture.h"
#include "otlp_fixture.h"
#include "query/metrics.h"
#include "unit.h"

static struct err err;

#define T0    UINT64_C(1700000000000000000) /* where random spans start, a few at 0 */
#define RANGE UINT64_C(70000000)

static struct pool *query_pool;        /* may stay NULL */
static bool (*query_looks)(void *arg); /* may stay NULL: called now and then during a query */

struct run {
    struct arena arena;
    struct budget budget;
    struct metrics_result r;
};

static inline enum ec try_query(struct run *u, struct query_cache *cache, struct part *const *parts,
    size_t n, const char *text, struct metrics_request req, uint64_t budget_bytes)
{
    struct tql_query *q;
    budget_init(&u->budget, NULL, "test", 0);
    arena_init(&u->arena, &u->budget, 0);
    assert_ok(tql_compile(str_from(text), &u->arena, &q, NULL, &err), err);
    struct query_ctx ctx = {.parts = parts,
        .n_parts = n,
        .pool = query_pool,
        .arena = &u->arena,
        .budget = &u->budget,
        .canceled = query_looks,
        .cache = cache};
    req.q = q;
    if (budget_bytes != 0) /* on top of what the query's text took */
        atomic_store(&u->budget.cap, budget_used(&u->budget) + budget_bytes);
    return query_metrics(&ctx, &req, &u->r, &err);
}

static inline void query(struct run *u, struct query_cache *cache, struct part *const *parts,
    size_t n, const char *text, struct metrics_request req)
{
    assert_ok(try_query(u, cache, parts, n, text, req, 0), err);
}

static inline void run_end(struct run *u)
{
    arena_deinit(&u->arena);
    budget_deinit(&u->budget);
}

static inline bool same_value(const struct value *a, const struct value *b)
{
    if (a->type != b->type)
        return false;
    if (a->type == VALUE_STR || a->type == VALUE_ARRAY)
        return str_eq(a->s, b->s);
    if (a->type == VALUE_BOOL)
        return a->b == b->b;
    return a->i == b->i || a->type == VALUE_EMPTY;
}

static inline void same_labels(const char *text, const struct result_attr *a, uint32_t n,
    const struct result_attr *b, uint32_t m)
{
    if (n != m)
        fail_msg("%s: %u labels, not %u", text, m, n);
    for (uint32_t i = 0; i < n; i++)
        if (!str_eq(a[i].key, b[i].key) || !same_value(&a[i].value, &b[i].value))
            fail_msg("%s: label " STR_FMT " is another", text, STR_ARG(a[i].key));
}

static inline bool same_double(double a, double b)
{
    return isnan(a) ? isnan(b) : memcmp(&a, &b, sizeof(a)) == 0;
}

static inline void same_result(const char *text, bool exemplars, const struct metrics_result *a,
    const struct metrics_result *b)
{
    if (a->n != b->n || a->n_buckets != b->n_buckets || a->first_ns != b->first_ns)
        fail_msg("%s: %zu series, cached %zu", text, a->n, b->n);
    assert_int_equal(a->truncated, b->truncated);
    assert_int_equal(a->stats.inspected_spans, b->stats.inspected_spans);
    assert_int_equal(a->stats.total_jobs, b->stats.total_jobs);
    for (size_t k = 0; k < a->n; k++) {
        const struct metrics_series *x = &a->series[k], *y = &b->series[k];
        same_labels(text, x->labels, x->n_labels, y->labels, y->n_labels);
        for (uint32_t i = 0; i < a->n_buckets; i++)
            if (!same_double(x->values[i], y->values[i]))
                fail_msg("%s: series %zu bucket %u: %.17g, cached %.17g", text, k, i, x->values[i],
                    y->values[i]);
        if (!exemplars)
            continue;
        assert_int_equal(x->n_exemplars, y->n_exemplars);
        for (uint32_t i = 0; i < x->n_exemplars; i++) {
            const struct metrics_exemplar *e = &x->exemplars[i], *f = &y->exemplars[i];
            assert_int_equal(e->start_ns, f->start_ns);
            assert_true(same_double(e->value, f->value));
            same_labels(text, e->labels, e->n_labels, f->labels, f->n_labels);
        }
    }
}

/* Spans that all start within the range, moved by plain_later_ns: a block that windows hold whole.
 * Traces of four spans are numbered from 1000 * traces_of on. plain_in_order: one after another. */
static uint64_t plain_later_ns;
static bool plain_in_order;
static inline void plain_request(struct buf *b, uint64_t seed, uint32_t n, uint64_t traces_of)
{
    static const char *const names[] = {"GET /", "checkout", "SELECT"};
    struct rng r = {seed};
    size_t rs = pb_begin(b, 1), resource = pb_begin(b, 1);
    fx_attr_str(b, 1, "service.name", "cart");
    pb_end(b, resource);
    size_t ss = pb_begin(b, 2);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t start = T0 + plain_later_ns;
        start += plain_in_order ? RANGE / n * (i / 4 * 4) + rng_below(&r, 1000)
                                : rng_below(&r, (uint32_t)RANGE);
        char id[16] = {0}, text[32];
        size_t span = pb_begin(b, 2);
        put_u64be(id + 8, traces_of * 1000 + i / 4 + 1);
        pb_put_bytes(b, 1, str_n(id, 16));
        put_u64be(id, seed << 32 | (i + 1));
        pb_put_bytes(b, 2, str_n(id, 8));
        if (i % 4 != 0) {
            put_u64be(id, seed << 32 | (i - rng_below(&r, i % 4) - 1));
            pb_put_bytes(b, 4, str_n(id, 8));
        }
        pb_put_bytes(b, 5, str_from(names[rng_below(&r, 3)]));
        pb_put_varint(b, 6, 1 + rng_below(&r, 3));
        pb_put_fixed64(b, 7, start);
        pb_put_fixed64(b, 8, start + rng_below(&r, 1u << 30));
        fx_attr_int(b, 9, "http.status_code", (int64_t)rng_below(&r, 5) - 1);
        fx_attr_int(b, 9, "bytes", (int64_t)rng_below(&r, 1u << 20));
        fx_attr_str(b, 9, "k2", names[rng_below(&r, 3)]);
        snprintf(text, sizeof(text), "user-%u", rng_below(&r, 1u << rng_below(&r, 12)));
        fx_attr_str(b, 9, "user", text);
        /* some are met more than 255 times, most once */
        snprintf(text, sizeof(text), "busy-%u", i % 2 == 0 ? rng_below(&r, 12) : 12 + i);
        fx_attr_str(b, 9, "busy", text);
        size_t status = pb_begin(b, 15);
        pb_put_varint(b, 3, rng_below(&r, 3));
        pb_end(b, status);
        pb_end(b, span);
    }
    pb_end(b, ss);
    pb_end(b, rs);
}

static inline struct head *plain_head(uint64_t seed, uint32_t n)
{
    struct buf b = BUF_INIT;
    plain_request(&b, seed, n, seed);
    struct head *h = head_of_request(buf_bytes(&b), 1);
    buf_deinit(&b);
    return h;
}

static inline void head_grow(struct head *h, uint64_t seed, uint32_t n, uint64_t traces_of)
{
    const struct batch_limits limits = {.span_bytes_max = 64 << 20};
    struct buf request = BUF_INIT;
    struct arena a;
    struct batch b;
    uint32_t dups;
    plain_request(&request, seed, n, traces_of);
    arena_init(&a, NULL, 0);
    assert_ok(batch_decode(&b, buf_bytes(&request), &limits, &a, &err), err);
    assert_ok(head_reserve(h, &b, &err), err);
    head_insert(h, &b, 1, &dups);
    arena_deinit(&a);
    buf_deinit(&request);
}
