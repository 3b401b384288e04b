/* SPDX-License-Identifier: Apache-2.0
 * Limits and overflow, staleness, native histograms, settings that change, the memory budget. */
#include "generator_fixture.h"
#include "src/generator/instance.h"

#define CALLS    "traces_spanmetrics_calls_total"
#define LATENCY  "traces_spanmetrics_latency"
#define OVERFLOW CALLS "{metric_overflow=\"true\"}"

/* One span of that name, straight to a tenant's instance. */
static void gf_push_to(struct instance *tenant, const char *name)
{
    const struct gf_span span = {.trace = 1, .id = 1, .name = name, .seconds = 1};
    struct buf b = BUF_INIT;
    struct arena a;
    struct batch batch;
    struct err err = {0};
    size_t rs = pb_begin(&b, 1), ss = pb_begin(&b, 2);
    gf_put_span(&b, &span);
    pb_end(&b, ss);
    pb_end(&b, rs);
    arena_init(&a, NULL, 0);
    assert_ok(batch_decode(&batch, buf_bytes(&b), NULL, &a, &err), err);
    instance_push(tenant, &batch, false);
    arena_deinit(&a);
    buf_deinit(&b);
}

static void push_names(struct gen_fixture *x, unsigned n)
{
    char name[16];
    for (unsigned i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "op%u", i);
        GF_PUSH(x, "a", {.trace = 1, .id = i + 1, .name = name, .seconds = 1});
    }
}

static void test_series_limit__the_rest_goes_to_overflow(void **state)
{
    struct gen_fixture x;
    (void)state;
    gf_init(&x, GENERATOR_SPAN_METRICS_COUNT);
    x.settings.series_max = 1;
    push_names(&x, 3);
    push_names(&x, 1); /* the one that is there goes on */
    gf_collect(&x);
    assert_non_null(strstr(gf_line(&x, CALLS "{service=\"a\"", 1), "op0"));
    assert_non_null(strstr(gf_line(&x, CALLS "{service=\"a\"", 1), "} 2"));
    gf_has(&x, OVERFLOW " 2");
    assert_int_equal(x.n_lines, 4);
    gf_deinit(&x);
}

/* A histogram counts for its buckets, sum and count: 17 does not fit 16, and does fit 17. */
static void test_series_limit__counts_whole_histograms(void **state)
{
    (void)state;
    for (uint32_t max = 16; max <= 18; max++) {
        struct gen_fixture x;
        gf_init(&x, GENERATOR_SPAN_METRICS_LATENCY);
        x.settings.series_max = max;
        push_names(&x, 1);
        gf_collect(&x);
        assert_int_equal(gf_count(&x, LATENCY "_count{metric_overflow"), max < 17 ? 2 : 0);
        gf_deinit(&x);
    }
}

static void test_entity_limit__one_label_set_is_one(void **state)
{
    struct gen_fixture x;
    (void)state;
    gf_init(&x, GENERATOR_SPAN_METRICS);
    x.settings.limiter = GENERATOR_LIMIT_ENTITIES;
    x.settings.entities_max = 2;
    push_names(&x, 3);
    gf_collect(&x);
    assert_int_equal(gf_count(&x, CALLS "{service"), 4);
    assert_int_equal(gf_count(&x, LATENCY "_count{service"), 4);
    gf_has(&x, OVERFLOW " 1");
    gf_deinit(&x);
}

static void test_stale_series__goes_and_returns_from_zero(void **state)
{
    struct gen_fixture x;
    (void)state;
    gf_init(&x, GENERATOR_SPAN_METRICS_COUNT);
    const struct generator_options opt = {
        .settings = gf_settings, .emit = gf_emit, .ctx = &x, .budget = &x.budget};
    struct instance *tenant = instance_new(&opt, STR("t"));
    instance_refresh(tenant);
    gf_push_to(tenant, "old");
    registry_expire(&tenant->registry, clock_wall_ns() / NS_PER_MS - 60000);
    assert_int_equal(tenant->registry.active_series, 1); /* updated since: it stays */
    instance_tick(tenant);
    assert_int_equal(x.n_lines, 2);
    gf_push_to(tenant, "old");
    registry_expire(&tenant->registry, clock_wall_ns() / NS_PER_MS + 1);
    assert_int_equal(tenant->registry.active_series, 0);
    assert_int_equal(tenant->registry.n_entities, 0);
    gf_push_to(tenant, "old");
    gf_clear(&x);
    instance_tick(tenant);
    assert_non_null(strstr(gf_line(&x, CALLS, 0), "} 0")); /* as a new series */
    assert_non_null(strstr(gf_line(&x, CALLS, 1), "} 1"));
    instance_free(tenant);
    gf_deinit(&x);
}

static void test_budget__refusal_ends_in_overflow(void **state)
{
    struct gen_fixture x;
    (void)state;
    gf_init(&x, GENERATOR_SPAN_METRICS_COUNT);
    push_names(&x, 1);
    atomic_store(&x.budget.cap, budget_used(&x.budget) + 2000);
    push_names(&x, 200);
    gf_collect(&x);
    assert_true(gf_count(&x, CALLS) < 40);
    assert_true(budget_used(&x.budget) <= atomic_load(&x.budget.cap));
    gf_deinit(&x);
}

static void test_labels__external_ones_win_and_values_are_cut(void **state)
{
    static const struct generator_label external[] = {
        {{"Zone", 4}, {"z", 1}}, {{"service", 7}, {"outside", 7}}, {{"a_first", 7}, {"1", 1}}};
    struct gen_fixture x;
    (void)state;
    gf_init(&x, GENERATOR_SPAN_METRICS_COUNT);
    x.settings.external_labels = external;
    x.settings.n_external_labels = ARRAY_LEN(external);
    x.settings.label_value_max = 3;
    GF_PUSH(&x, "a", {.trace = 1, .id = 1, .name = "operation"});
    gf_collect(&x);
    assert_string_equal(gf_line(&x, CALLS, 1),
        CALLS "{Zone=\"z\",a_first=\"1\",service=\"outside\",span_kind=\"SPA\","
              "span_name=\"ope\",status_code=\"STA\"} 1");
    gf_deinit(&x);
}

/* Values and buckets as Prometheus' own client gives them for schema 3. */
static void test_native__buckets_of_schema_3(void **state)
{
    struct gen_fixture x;
    (void)state;
    gf_init(&x, GENERATOR_SPAN_METRICS_LATENCY);
    x.settings.histograms = GENERATOR_NATIVE;
    GF_PUSH(&x, "a", {.trace = 1, .id = 1, .name = "op", .seconds = 1});
    gf_collect(&x);
    assert_int_equal(x.n_lines, 3); /* zero, histogram, exemplar */
    assert_non_null(strstr(x.lines[0], " count=0"));
    assert_non_null(strstr(x.lines[1], "} count=1 sum=1 schema=3 zero=0 span=0+1 deltas=1,"));
    assert_non_null(strstr(x.lines[2], "#traceID="));
    GF_PUSH(&x, "a", {.trace = 1, .id = 2, .name = "op", .seconds = 0},
        {.trace = 1, .id = 2, .name = "op", .seconds = 1.5}, /* ceil(8 * log2(1.5)) = 5 */
        {.trace = 1, .id = 2, .name = "op", .seconds = 2},   /* 8 */
        {.trace = 1, .id = 2, .name = "op", .seconds = 0.5}, /* -8 */
        {.trace = 1, .id = 2, .name = "op", .seconds = 2});
    gf_collect(&x);
    assert_non_null(strstr(x.lines[0],
        "} count=6 sum=7 schema=3 zero=1 span=-8+1 span=7+1 span=4+4 deltas=1,0,0,-1,0,2,"));
    gf_deinit(&x);
}

static void test_native__both_keeps_the_classic_one(void **state)
{
    struct gen_fixture x;
    (void)state;
    gf_init(&x, GENERATOR_SPAN_METRICS_LATENCY);
    x.settings.histograms = GENERATOR_BOTH;
    push_names(&x, 1);
    gf_collect(&x);
    assert_int_equal(gf_count(&x, LATENCY "_bucket"), 15 * 2 + 1);
    assert_int_equal(gf_count(&x, LATENCY "{"), 2);
    gf_deinit(&x);
}

static void test_native__resolution_halves_past_the_bucket_limit(void **state)
{
    struct gen_fixture x;
    (void)state;
    gf_init(&x, GENERATOR_SPAN_METRICS_LATENCY);
    x.settings.histograms = GENERATOR_NATIVE;
    x.settings.native_buckets_max = 4;
    for (int i = 0; i < 8; i++)
        GF_PUSH(&x, "a", {.trace = 1, .id = 1, .name = "op", .seconds = 1 << i});
    gf_collect(&x);
    const char *line = gf_line(&x, LATENCY "{", 1);
    assert_non_null(strstr(line, "count=8 sum=255"));
    assert_non_null(
        strstr(line, "schema=-2 zero=0 span=0+3 deltas=1,3,-1,")); /* 1, (1, 16], (16, 256] */
    gf_deinit(&x);
}

static void test_settings__a_change_restarts_only_its_processor(void **state)
{
    struct gen_fixture x;
    (void)state;
    gf_init(&x, GENERATOR_SPAN_METRICS);
    const struct generator_options opt = {
        .settings = gf_settings, .emit = gf_emit, .ctx = &x, .budget = &x.budget};
    struct instance *tenant = instance_new(&opt, STR("t"));
    instance_refresh(tenant);
    gf_push_to(tenant, "op");
    instance_tick(tenant);
    x.settings.processors |= GENERATOR_SERVICE_GRAPHS;
    instance_refresh(tenant); /* span-metrics stay as they are: counters go on, no new zero */
    gf_push_to(tenant, "op");
    gf_clear(&x);
    instance_tick(tenant);
    assert_int_equal(gf_count(&x, CALLS), 1);
    assert_non_null(strstr(gf_line(&x, CALLS, 0), "} 2"));
    assert_non_null(tenant->service_graphs);
    x.settings.processors = GENERATOR_SPAN_METRICS_COUNT; /* other parts: they start anew */
    instance_refresh(tenant);
    assert_null(tenant->service_graphs);
    gf_push_to(tenant, "op");
    gf_clear(&x);
    instance_tick(tenant);
    assert_int_equal(x.n_lines, 2); /* a zero and its value, no latency any more */
    assert_non_null(strstr(gf_line(&x, CALLS, 1), "} 1"));
    instance_free(tenant);
    gf_deinit(&x);
}

/* A collection of many portions has every series once, first those that were there first. */
static void test_collection__portions_make_a_whole(void **state)
{
    struct gen_fixture x;
    (void)state;
    gf_init(&x, GENERATOR_SPAN_METRICS_COUNT);
    x.settings.series_max = 1900;
    push_names(&x, 1901);
    gf_collect(&x);
    assert_int_equal(x.n_lines, 2 * 1901); /* a zero each */
    for (size_t i = 0; i < 1900; i++) {
        char name[40];
        snprintf(name, sizeof(name), "span_name=\"op%zu\"", i);
        assert_non_null(strstr(x.lines[2 * i + 1], name));
    }
    gf_has(&x, OVERFLOW " 1");
    gf_collect(&x);
    assert_int_equal(x.n_lines, 1901);
    assert_int_equal(x.n_collections, 2);
    gf_deinit(&x);
}

static void test_collection__a_lost_one_is_counted(void **state)
{
    struct gen_fixture x;
    struct buf text = BUF_INIT;
    (void)state;
    gf_init(&x, GENERATOR_SPAN_METRICS_COUNT);
    push_names(&x, 1);
    gf_collect(&x);
    x.lose = true;
    gf_collect(&x);
    gf_collect(&x);
    metric_render(&text);
    buf_putc(&text, 0);
    assert_non_null(strstr((const char *)text.p,
        "registry_collections_failed_total{tenant=\"t\",error_type=\"other\"} 2\n"));
    buf_deinit(&text);
    gf_deinit(&x);
}

static void test_collection__disabled_still_counts(void **state)
{
    struct gen_fixture x;
    (void)state;
    gf_init(&x, GENERATOR_SPAN_METRICS_COUNT);
    x.settings.collection_disabled = true;
    push_names(&x, 2);
    gf_collect(&x);
    assert_int_equal(x.n_lines, 0);
    assert_int_equal(x.n_collections, 0);
    gf_deinit(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_series_limit__the_rest_goes_to_overflow),
        cmocka_unit_test(test_series_limit__counts_whole_histograms),
        cmocka_unit_test(test_entity_limit__one_label_set_is_one),
        cmocka_unit_test(test_stale_series__goes_and_returns_from_zero),
        cmocka_unit_test(test_budget__refusal_ends_in_overflow),
        cmocka_unit_test(test_labels__external_ones_win_and_values_are_cut),
        cmocka_unit_test(test_native__buckets_of_schema_3),
        cmocka_unit_test(test_native__both_keeps_the_classic_one),
        cmocka_unit_test(test_native__resolution_halves_past_the_bucket_limit),
        cmocka_unit_test(test_settings__a_change_restarts_only_its_processor),
        cmocka_unit_test(test_collection__portions_make_a_whole),
        cmocka_unit_test(test_collection__a_lost_one_is_counted),
        cmocka_unit_test(test_collection__disabled_still_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
