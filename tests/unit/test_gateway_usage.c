/* SPDX-License-Identifier: Apache-2.0
 * Cost attribution: shares of bytes, values of dimensions, bounds. */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "../../src/gateway/usage.h"
#include "base/clock.h"
#include "model/otlp_write.h"
#include "otlp_fixture.h"
#include "unit.h"

static const struct limit_dimension service_and_team[] = {
    {STR("service.name"), STR("service"), LIMIT_ANY},
    {STR("team"), STR("team"), LIMIT_SPAN},
};
static const struct limit_lists lists = {.dimensions = service_and_team, .n_dimensions = 2};

struct sample {
    struct buf raw;
    struct arena arena;
    struct batch b;
};

/* One resource; the spans have one of n_teams teams each. */
static void sample_init(struct sample *s, const char *service, unsigned n_spans, unsigned n_teams)
{
    struct err err = {0};
    *s = (struct sample){.raw = BUF_INIT};
    arena_init(&s->arena, NULL, 0);
    size_t rs = pb_begin(&s->raw, 1), res = pb_begin(&s->raw, 1);
    fx_attr_str(&s->raw, 1, "service.name", service);
    pb_end(&s->raw, res);
    size_t ss = pb_begin(&s->raw, 2), scope = pb_begin(&s->raw, 1);
    pb_end(&s->raw, scope);
    for (unsigned i = 0; i < n_spans; i++) {
        char team[20];
        size_t span = pb_begin(&s->raw, 2);
        snprintf(team, sizeof(team), "t%u", n_teams == 0 ? 0 : i % n_teams);
        fx_ids(&s->raw, 1, i + 1);
        for (unsigned k = 0; k < 8; k++) {
            char key[20];
            snprintf(key, sizeof(key), "some.key.%u", k);
            fx_attr_str(&s->raw, 9, key, "some value");
        }
        if (n_teams != 0)
            fx_attr_str(&s->raw, 9, "team", team);
        pb_end(&s->raw, span);
    }
    pb_end(&s->raw, ss);
    pb_end(&s->raw, rs);
    assert_ok(batch_decode(&s->b, buf_bytes(&s->raw), NULL, &s->arena, &err), err);
}

static void sample_deinit(struct sample *s)
{
    arena_deinit(&s->arena);
    buf_deinit(&s->raw);
}

/* Lines, and the sum of their values. */
static size_t rendered(struct usage_tenant *t, uint64_t *ret_sum, struct buf *out)
{
    size_t n = 0;
    *ret_sum = 0;
    usage_tenant_render(t, STR("a"), out);
    buf_putc(out, 0);
    for (const char *end = strchr((char *)out->p, '\n'); end != NULL; end = strchr(end + 1, '\n')) {
        const char *number = end;
        while (number[-1] != ' ')
            number--;
        *ret_sum += strtoull(number, NULL, 10);
        n++;
    }
    return n;
}

static void test_usage__shares_add_up_to_the_request(void **state)
{
    const struct ingest_usage opt = {true, 100, NS_PER_S * 900, NULL};
    (void)state;
    for (unsigned n = 1; n < 40; n++) {
        struct usage_tenant *t = usage_tenant_new(&opt);
        struct buf out = BUF_INIT;
        struct sample s;
        uint64_t sum;
        usage_tenant_configure(t, &lists, 0);
        sample_init(&s, "shop", n, 3);
        usage_tenant_observe(t, &s.b);
        assert_int_equal(rendered(t, &sum, &out), MIN(n, 3u));
        uint64_t missing = s.b.canonical_bytes - sum; /* the frame of ResourceSpans, and not more */
        assert_in_range(missing, 0, 8);
        sample_deinit(&s);
        buf_deinit(&out);
        usage_tenant_free(t);
    }
}

static void test_usage__series_end_at_the_cap(void **state)
{
    (void)state;
    for (uint64_t cap = 4; cap <= 6; cap++) { /* five teams */
        const struct ingest_usage opt = {true, cap, NS_PER_S * 900, NULL};
        struct usage_tenant *t = usage_tenant_new(&opt);
        struct buf out = BUF_INIT;
        struct sample s;
        uint64_t sum;
        usage_tenant_configure(t, &lists, 0);
        sample_init(&s, "shop", 50, 5);
        usage_tenant_observe(t, &s.b);
        assert_int_equal(rendered(t, &sum, &out), 5);
        bool full = strstr((char *)out.p, "team=\"__overflow__\"") != NULL;
        assert_int_equal(full, cap == 4);
        assert_in_range(s.b.canonical_bytes - sum, 0, 8);
        sample_deinit(&s);
        buf_deinit(&out);
        usage_tenant_free(t);
    }
}

static void test_usage__budget_sends_bytes_to_overflow(void **state)
{
    struct budget budget;
    struct buf out = BUF_INIT;
    struct sample s;
    uint64_t sum;
    (void)state;
    budget_init(&budget, NULL, "test", 600);
    const struct ingest_usage opt = {true, 1000, NS_PER_S * 900, &budget};
    struct usage_tenant *t = usage_tenant_new(&opt);
    usage_tenant_configure(t, &lists, 0);
    sample_init(&s, "shop", 500, 100);
    usage_tenant_observe(t, &s.b);
    assert_in_range(rendered(t, &sum, &out), 2, 10);
    assert_non_null(strstr((char *)out.p, "service=\"__overflow__\",team=\"__overflow__\""));
    assert_in_range(s.b.canonical_bytes - sum, 0, 8);
    sample_deinit(&s);
    buf_deinit(&out);
    usage_tenant_free(t);
    assert_int_equal(budget_used(&budget), 0);
}

/* New dimensions start anew; what was counted before stays until it is stale. */
static void test_usage__change_of_dimensions(void **state)
{
    const struct ingest_usage opt = {true, 100, NS_PER_S * 900, NULL};
    const struct limit_lists other = {.dimensions = service_and_team, .n_dimensions = 1};
    struct usage_tenant *t = usage_tenant_new(&opt);
    struct buf out = BUF_INIT;
    struct sample s;
    uint64_t sum;
    (void)state;
    sample_init(&s, "shop", 10, 2);
    usage_tenant_configure(t, &lists, 0);
    usage_tenant_configure(t, &lists, 0);
    usage_tenant_observe(t, &s.b);
    usage_tenant_configure(t, &other, 0);
    usage_tenant_observe(t, &s.b);
    assert_int_equal(rendered(t, &sum, &out), 3);
    assert_non_null(strstr((char *)out.p, "{service=\"shop\",tenant=\"a\",tracker="));
    sample_deinit(&s);
    buf_deinit(&out);
    usage_tenant_free(t);
}

static struct usage_tenant *shared;

static void *observe_often(void *arg)
{
    for (int i = 0; i < 200; i++) {
        usage_tenant_observe(shared, arg);
        if (i % 50 == 0) {
            struct buf out = BUF_INIT;
            usage_tenant_render(shared, STR("a"), &out);
            usage_tenant_configure(shared, &lists, (uint64_t)i + 1);
            buf_deinit(&out);
        }
    }
    return NULL;
}

static void test_usage__threads(void **state)
{
    const struct ingest_usage opt = {true, 100, NS_PER_S * 900, NULL};
    pthread_t threads[3];
    struct sample s;
    (void)state;
    shared = usage_tenant_new(&opt);
    usage_tenant_configure(shared, &lists, 0);
    sample_init(&s, "shop", 20, 7);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, observe_often, &s.b), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    sample_deinit(&s);
    usage_tenant_free(shared);
}

/* Prints what a span costs: BENCH=1 test_gateway_usage. */
static void test_usage__cost(void **state)
{
    const struct ingest_usage opt = {true, 10000, NS_PER_S * 900, NULL};
    struct usage_tenant *t = usage_tenant_new(&opt);
    struct sample s;
    (void)state;
    usage_tenant_configure(t, &lists, 0);
    for (unsigned teams = 0; teams < 30; teams += 29) {
        sample_init(&s, "shop", 1000, teams);
        int rounds = getenv("BENCH") != NULL ? 2000 : 1;
        clock_t before = clock();
        for (int i = 0; i < rounds; i++)
            usage_tenant_observe(t, &s.b);
        print_message("%u teams: %.1f ns a span\n", teams,
            (double)(clock() - before) * 1e9 / CLOCKS_PER_SEC / rounds / 1000);
        sample_deinit(&s);
    }
    usage_tenant_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_usage__shares_add_up_to_the_request),
        cmocka_unit_test(test_usage__series_end_at_the_cap),
        cmocka_unit_test(test_usage__budget_sends_bytes_to_overflow),
        cmocka_unit_test(test_usage__change_of_dimensions),
        cmocka_unit_test(test_usage__threads),
        cmocka_unit_test(test_usage__cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
