/* SPDX-License-Identifier: Apache-2.0
 * span-metrics: labels, values, multipliers, filters, target_info. */
#include "generator_fixture.h"

enum { SERVER = 2, CLIENT = 3 };
#define CALLS   "traces_spanmetrics_calls_total"
#define LATENCY "traces_spanmetrics_latency"
#define PLAIN \
    "service=\"a\",span_kind=\"SPAN_KIND_CLIENT\",span_name=\"op\",status_code=\"STATUS_CODE_ERROR\""

static void test_span__counts_latency_and_size(void **state)
{
    struct gen_fixture x;
    (void)state;
    gf_init(&x, GENERATOR_SPAN_METRICS);
    GF_PUSH(
        &x, "a", {.trace = 1, .id = 1, .name = "op", .kind = CLIENT, .status = 2, .seconds = 2});
    gf_collect(&x);
    gf_has(&x, CALLS "{" PLAIN "} 0"); /* the zero of a new series comes first */
    assert_string_equal(gf_line(&x, CALLS, 1), CALLS "{" PLAIN "} 1");
    gf_has(&x, LATENCY "_bucket{le=\"2.048\"," PLAIN "} 1");
    gf_has(&x, LATENCY "_bucket{le=\"1.024\"," PLAIN "} 0");
    gf_has(&x, LATENCY "_bucket{le=\"+Inf\"," PLAIN "} 1");
    gf_has(&x, LATENCY "_sum{" PLAIN "} 2");
    gf_has(&x, LATENCY "_count{" PLAIN "} 1");
    gf_has(
        &x, LATENCY "_bucket{le=\"2.048\"," PLAIN "} #traceID=1010101010101010101010101010101 2");
    assert_int_equal(gf_count(&x, LATENCY "_bucket"), 15 * 2 + 1);
    /* trace id 18, span id 10, no parent 2, name 4, kind 2, times 18, status 4 */
    gf_has(&x, "traces_spanmetrics_size_total{" PLAIN "} 56");
    gf_collect(&x);
    assert_int_equal(gf_count(&x, CALLS), 1); /* sent again, without its zero */
    assert_null(strchr(gf_line(&x, LATENCY "_bucket", 0), '#'));
    assert_int_equal(gf_count(&x, LATENCY "_bucket"), 15); /* exemplars go once */
    gf_deinit(&x);
}

static void test_span__end_before_start_is_no_latency(void **state)
{
    struct gen_fixture x;
    (void)state;
    gf_init(&x, GENERATOR_SPAN_METRICS_LATENCY);
    GF_PUSH(&x, "a", {.trace = 1, .id = 1, .name = "op", .seconds = -3});
    gf_collect(&x);
    assert_non_null(strstr(gf_line(&x, LATENCY "_sum", 0), "} 0"));
    assert_int_equal(gf_count(&x, CALLS), 0); /* only what was asked for */
    assert_int_equal(gf_count(&x, "traces_spanmetrics_size"), 0);
    gf_deinit(&x);
}

static void test_span__outside_the_slack_is_not_counted(void **state)
{
    struct gen_fixture x;
    (void)state;
    gf_init(&x, GENERATOR_SPAN_METRICS_COUNT);
    GF_PUSH(&x, "a", {.trace = 1, .id = 1, .name = "old", .ended_ago_ns = 31 * NS_PER_S},
        {.trace = 1, .id = 2, .name = "young", .ended_ago_ns = 29 * NS_PER_S},
        {.trace = 1, .id = 3, .name = "future", .ended_ago_ns = -31 * NS_PER_S});
    gf_collect(&x);
    assert_int_equal(gf_count(&x, CALLS), 2);
    assert_non_null(strstr(gf_line(&x, CALLS, 1), "span_name=\"young\""));
    gf_deinit(&x);
}

static void test_dimensions__resource_wins_names_are_sanitized(void **state)
{
    static const struct str dims[] = {{"http.method", 11}, {"span.kind", 9}, {"absent", 6}};
    static const struct str sources[] = {{"region", 6}, {"none", 4}, {"zone", 4}};
    static const struct generator_mapping mappings[] = {
        {{"place", 5}, {"/", 1}, {sources, ARRAY_LEN(sources)}}};
    static const struct gf_attr resource[] = {
        {.key = "http.method", .text = "GET"}, {.key = "region", .text = "eu"}};
    static const struct gf_span span[] = {{.trace = 1,
        .id = 1,
        .name = "op",
        .attrs = {{.key = "http.method", .text = "POST"}, {.key = "span.kind", .text = "mine"},
            {.key = "zone", .number = 2.5}}}};
    struct gen_fixture x;
    (void)state;
    gf_init(&x, GENERATOR_SPAN_METRICS_COUNT);
    x.settings.span_metrics.dimensions = (struct generator_strs){dims, ARRAY_LEN(dims)};
    x.settings.span_metrics.mappings = mappings;
    x.settings.span_metrics.n_mappings = 1;
    gf_push(&x, resource, 2, span, 1);
    gf_collect(&x);
    assert_string_equal(gf_line(&x, CALLS, 1),
        CALLS "{__span_kind=\"mine\",http_method=\"GET\",place=\"eu/2.5\","
              "span_kind=\"SPAN_KIND_UNSPECIFIED\",span_name=\"op\","
              "status_code=\"STATUS_CODE_UNSET\"} 1");
    gf_deinit(&x);
}

static void test_mapping__that_collides_is_refused(void **state)
{
    static const struct str dims[] = {{"a.b", 3}}, sources[] = {{"x", 1}};
    static const struct generator_mapping mappings[] = {{{"a_b", 3}, {"", 0}, {sources, 1}}};
    struct gen_fixture x;
    (void)state;
    gf_init(&x, GENERATOR_SPAN_METRICS_COUNT);
    x.settings.span_metrics.dimensions = (struct generator_strs){dims, 1};
    x.settings.span_metrics.mappings = mappings;
    x.settings.span_metrics.n_mappings = 1;
    GF_PUSH(&x, "a", {.trace = 1, .id = 1, .name = "op"});
    gf_collect(&x);
    assert_int_equal(x.n_lines, 0);
    gf_deinit(&x);
}

static void test_target_info__job_instance_and_the_rest(void **state)
{
    static const struct str excluded[] = {{"secret", 6}};
    static const struct gf_attr resource[] = {{.key = "service.name", .text = "svc"},
        {.key = "service.namespace", .text = "ns"}, {.key = "service.instance.id", .text = "i1"},
        {.key = "k8s.pod.name", .text = "p"}, {.key = "secret", .text = "s"},
        {.key = "9lives", .text = "x"}, {.key = "job", .text = "j"}};
    static const struct gf_span span[] = {{.trace = 1, .id = 1, .name = "op"}};
    struct gen_fixture x;
    (void)state;
    gf_init(&x, GENERATOR_SPAN_METRICS_COUNT);
    x.settings.span_metrics.target_info = true;
    x.settings.span_metrics.target_info_excluded = (struct generator_strs){excluded, 1};
    gf_push(&x, resource, ARRAY_LEN(resource), span, 1);
    GF_PUSH(&x, "lonely", {.trace = 1, .id = 2, .name = "op"}); /* nothing but a name: none */
    gf_collect(&x);
    gf_has(
        &x, "traces_target_info{__job=\"j\",instance=\"i1\",job=\"ns/svc\",k8s_pod_name=\"p\"} 1");
    assert_int_equal(gf_count(&x, "traces_target_info"), 1); /* gauges have no zero */
    assert_non_null(strstr(gf_line(&x, CALLS "{instance=\"i1\",job=\"ns/svc\"", 0), "svc"));
    gf_deinit(&x);
}

static void test_multiplier__attribute_and_tracestate(void **state)
{
    static const struct {
        const char *tracestate;
        double attr, times;
    } cases[] = {
        {NULL, 0.1, 10},
        {NULL, 0, 1},
        {"a=b, ot=p:8;th:8;rv:1,c=d", 0, 2},
        {"ot=th:c", 0.1, 4},
        {" ot=th:8 ", 0, 2},
        {"ot=th:8 ,a=b", 0.1, 10}, /* the blank belongs to the member */
        {"ot=th:0", 0.1, 1},
        {"ot=th:g", 0.1, 10},
        {"ot=th:", 0.1, 10},
        {"ot=th:012345678901234", 0.1, 10},
        {"ot=TH:8", 0, 1},
        {"xot=th:8", 0, 1},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct gen_fixture x;
        char want[64];
        gf_init(&x, GENERATOR_SPAN_METRICS);
        x.settings.span_metrics.multiplier_key = STR("ratio");
        x.settings.span_metrics.tracestate_multiplier = true;
        GF_PUSH(&x, "a",
            {.trace = 1,
                .id = 1,
                .name = "op",
                .tracestate = cases[i].tracestate,
                .attrs = {{.key = "ratio", .number = cases[i].attr}}});
        gf_collect(&x);
        snprintf(want, sizeof(want), "} %g", cases[i].times);
        assert_non_null(strstr(gf_line(&x, CALLS, 1), want));
        assert_non_null(strstr(gf_line(&x, LATENCY "_count", 1), want));
        gf_deinit(&x);
    }
}

/* include: all must match; include_any: one is enough; exclude: one is too many. */
static void test_filter__truth_table(void **state)
{
    const struct generator_match server = {
        STR("kind"), {.type = VALUE_STR, .s = STR("SPAN_KIND_SERVER")}};
    const struct generator_match get = {STR("name"), {.type = VALUE_STR, .s = STR("^GET")}};
    const struct generator_match env = {STR("resource.env"), {.type = VALUE_STR, .s = STR("prod")}};
    const struct generator_policy include[] = {{false, &server, 1}, {true, &get, 1}};
    const struct generator_policy any[] = {{false, &env, 1}};
    static const struct gf_attr prod[] = {{.key = "env", .text = "prod"}};
    static const struct gf_attr dev[] = {{.key = "env", .text = "dev"}};
    const struct {
        size_t n_include, n_any, n_exclude;
        bool prod;
        const char *name;
        int kind;
        bool kept;
    } cases[] = {
        {0, 0, 0, false, "x", 0, true},
        {1, 0, 0, false, "x", SERVER, true},
        {1, 0, 0, false, "x", CLIENT, false},
        {2, 0, 0, false, "GET /", SERVER, true},
        {2, 0, 0, false, "POST GET", SERVER, false},
        {2, 1, 0, true, "POST", CLIENT, true},
        {0, 1, 0, false, "x", 0, false},
        {2, 1, 0, false, "GET /", SERVER, true},
        {0, 0, 1, true, "x", 0, false},
        {0, 0, 1, false, "x", 0, true},
        {1, 1, 1, true, "x", SERVER, false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct gen_fixture x;
        gf_init(&x, GENERATOR_SPAN_METRICS_COUNT);
        x.settings.span_metrics.filter = (struct generator_filter){.p = {include, any, any},
            .n = {cases[i].n_include, cases[i].n_any, cases[i].n_exclude}};
        const struct gf_span span = {
            .trace = 1, .id = 1, .name = cases[i].name, .kind = cases[i].kind};
        gf_push(&x, cases[i].prod ? prod : dev, 1, &span, 1);
        gf_collect(&x);
        if ((x.n_lines > 0) != cases[i].kept)
            fail_msg("case %zu", i);
        gf_deinit(&x);
    }
}

static void test_text__that_is_not_utf8_makes_no_metric(void **state)
{
    struct gen_fixture x;
    (void)state;
    gf_init(&x, GENERATOR_SPAN_METRICS);
    GF_PUSH(&x, "a", {.trace = 1, .id = 1, .name = "\xff\xfe"});
    gf_collect(&x);
    assert_int_equal(x.n_lines, 0);
    gf_deinit(&x);
}

static void test_host_info__first_identifier(void **state)
{
    static const struct gf_attr both[] = {
        {.key = "host.id", .text = "h"}, {.key = "k8s.node.name", .text = "node"}};
    static const struct gf_span old = {
        .trace = 1, .id = 1, .name = "x", .ended_ago_ns = 3600 * NS_PER_S};
    struct gen_fixture x;
    (void)state;
    gf_init(&x, GENERATOR_HOST_INFO);
    gf_push(&x, both, 2, &old, 1);
    gf_push(&x, both, 1, &old, 1);
    gf_collect(&x);
    gf_has(&x, "traces_host_info{grafana_host_id=\"node\",host_source=\"k8s.node.name\"} 1");
    gf_has(&x, "traces_host_info{grafana_host_id=\"h\",host_source=\"host.id\"} 1");
    assert_int_equal(x.n_lines, 2);
    gf_deinit(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_span__counts_latency_and_size),
        cmocka_unit_test(test_span__end_before_start_is_no_latency),
        cmocka_unit_test(test_span__outside_the_slack_is_not_counted),
        cmocka_unit_test(test_dimensions__resource_wins_names_are_sanitized),
        cmocka_unit_test(test_mapping__that_collides_is_refused),
        cmocka_unit_test(test_target_info__job_instance_and_the_rest),
        cmocka_unit_test(test_multiplier__attribute_and_tracestate),
        cmocka_unit_test(test_filter__truth_table),
        cmocka_unit_test(test_text__that_is_not_utf8_makes_no_metric),
        cmocka_unit_test(test_host_info__first_identifier),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
