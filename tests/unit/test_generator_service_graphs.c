/* SPDX-License-Identifier: Apache-2.0
 * service-graphs: edges, databases, messaging, virtual nodes, filters and their bounds. */
#include "generator_fixture.h"

enum { INTERNAL = 1, SERVER = 2, CLIENT = 3, PRODUCER = 4, CONSUMER = 5 };
#define TOTAL     "traces_service_graph_request_total"
#define FAILED    "traces_service_graph_request_failed_total"
#define SERVER_S  "traces_service_graph_request_server_seconds"
#define CLIENT_S  "traces_service_graph_request_client_seconds"
#define MESSAGE_S "traces_service_graph_request_messaging_system_seconds"
#define AB        "{client=\"a\",server=\"b\"}"

static void wait_over(struct gen_fixture *x)
{
    clock_wall_shift_ns(x->settings.service_graphs.wait_ns + NS_PER_S);
    gf_collect(x);
}

static void test_pair__in_either_order(void **state)
{
    (void)state;
    for (int server_first = 0; server_first < 2; server_first++) {
        struct gen_fixture x;
        gf_init(&x, GENERATOR_SERVICE_GRAPHS);
        for (int i = 0; i < 2; i++)
            if (i == server_first)
                GF_PUSH(&x, "a", {.trace = 1, .id = 7, .name = "c", .kind = CLIENT, .seconds = 3});
            else
                GF_PUSH(&x, "b",
                    {.trace = 1, .id = 8, .parent = 7, .name = "s", .kind = SERVER, .seconds = 1});
        gf_collect(&x);
        assert_string_equal(gf_line(&x, TOTAL, 1), TOTAL AB " 1");
        gf_has(&x, SERVER_S "_sum" AB " 1");
        gf_has(&x, CLIENT_S "_sum" AB " 3");
        gf_has(&x, CLIENT_S "_bucket{client=\"a\",le=\"3.2\",server=\"b\"} 1");
        assert_int_equal(gf_count(&x, FAILED), 0); /* exists only after a failure */
        wait_over(&x);
        assert_int_equal(gf_count(&x, TOTAL), 1); /* nothing of it was left waiting */
        gf_deinit(&x);
    }
}

static void test_pair__an_error_on_either_side_fails(void **state)
{
    struct gen_fixture x;
    (void)state;
    gf_init(&x, GENERATOR_SERVICE_GRAPHS);
    GF_PUSH(&x, "a", {.trace = 1, .id = 7, .name = "c", .kind = CLIENT, .status = 2},
        {.trace = 2, .id = 7, .name = "c", .kind = CLIENT});
    GF_PUSH(&x, "b", {.trace = 1, .id = 8, .parent = 7, .name = "s", .kind = SERVER},
        {.trace = 2, .id = 8, .parent = 7, .name = "s", .kind = SERVER, .status = 2});
    gf_collect(&x);
    assert_string_equal(gf_line(&x, FAILED, 1), FAILED AB " 2");
    gf_deinit(&x);
}

static void test_messaging__latency_when_asked_for(void **state)
{
    (void)state;
    for (int asked = 0; asked < 2; asked++) {
        struct gen_fixture x;
        gf_init(&x, GENERATOR_SERVICE_GRAPHS);
        x.settings.service_graphs.messaging_latency = asked;
        GF_PUSH(&x, "a",
            {.trace = 1, .id = 7, .name = "c", .kind = PRODUCER, .ended_ago_ns = 5 * NS_PER_S});
        GF_PUSH(&x, "b",
            {.trace = 1,
                .id = 8,
                .parent = 7,
                .name = "s",
                .kind = CONSUMER,
                .ended_ago_ns = 2 * NS_PER_S,
                .seconds = 1});
        gf_collect(&x);
        gf_has(&x, TOTAL "{client=\"a\",connection_type=\"messaging_system\",server=\"b\"} 1");
        assert_int_equal(gf_count(&x, MESSAGE_S "_count"), asked ? 2 : 0);
        if (asked)
            gf_has(&x, MESSAGE_S "_bucket{client=\"a\",connection_type=\"messaging_system\","
                                 "le=\"3.2\",server=\"b\"} 1");
        gf_deinit(&x);
    }
}

static void test_database__completes_at_once(void **state)
{
    static const struct {
        struct gf_attr attrs[4];
        const char *server;
    } cases[] = {
        {{{.key = "db.system", .text = "mysql"}}, "mysql"},
        {{{.key = "db.system", .text = "mysql"}, {.key = "db.name", .text = "shop"}}, "shop"},
        {{{.key = "db.name", .text = "shop"}, {.key = "server.address", .text = "h"}}, "h"},
        {{{.key = "db.name", .text = "shop"}, {.key = "server.address", .text = "h"},
             {.key = "peer.service", .text = "x"}},
            "x"},
        {{{.key = "db.name", .text = "shop"}, {.key = "network.peer.address", .text = "10.0.0.1"},
             {.key = "network.peer.port", .number = 5432}},
            "10.0.0.1:5432"},
        {{{.key = "db.name", .text = "shop"}, {.key = "network.peer.address", .text = "10.0.0.1"}},
            "10.0.0.1"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct gen_fixture x;
        char want[160];
        gf_init(&x, GENERATOR_SERVICE_GRAPHS);
        struct gf_span span = {.trace = 1, .id = 7, .name = "q", .kind = CLIENT, .seconds = 0.5};
        memcpy(span.attrs, cases[i].attrs, sizeof(cases[i].attrs));
        const struct gf_attr service = {.key = "service.name", .text = "a"};
        gf_push(&x, &service, 1, &span, 1);
        gf_collect(&x);
        snprintf(want, sizeof(want),
            SERVER_S "_sum{client=\"a\",connection_type=\"database\",server=\"%s\"} 0.5",
            cases[i].server);
        gf_has(&x, want);
        gf_deinit(&x);
    }
}

#define VIRTUAL(c, s) TOTAL "{client=\"" c "\",connection_type=\"virtual_node\",server=\"" s "\"} 1"

static void test_lone_half__becomes_a_virtual_node_or_expires(void **state)
{
    struct gen_fixture x;
    (void)state;
    gf_init(&x, GENERATOR_SERVICE_GRAPHS);
    GF_PUSH(&x, "srv", {.trace = 1, .id = 1, .name = "root", .kind = SERVER},
        {.trace = 2,
            .id = 1,
            .name = "root",
            .kind = SERVER,
            .attrs = {{.key = "peer.service", .text = "browser"}}},
        {.trace = 3, .id = 1, .parent = 9, .name = "inner", .kind = SERVER});
    GF_PUSH(&x, "cli",
        {.trace = 4,
            .id = 1,
            .name = "call",
            .kind = CLIENT,
            .attrs = {{.key = "peer.service", .text = "bank"}}},
        {.trace = 5, .id = 1, .name = "call", .kind = CLIENT},
        {.trace = 6, .id = 1, .name = "work", .kind = INTERNAL});
    gf_collect(&x);
    assert_int_equal(x.n_lines, 0); /* they still wait */
    wait_over(&x);
    gf_has(&x, VIRTUAL("user", "srv"));
    gf_has(&x, VIRTUAL("browser", "srv"));
    gf_has(&x, VIRTUAL("cli", "bank"));
    assert_int_equal(gf_count(&x, TOTAL), 6); /* three, each with its zero */
    assert_non_null(strstr(gf_line(&x, CLIENT_S "_count{client=\"user\"", 1), "} 1"));
    gf_deinit(&x);
}

static void test_virtual_node_label__only_on_virtual_edges(void **state)
{
    struct gen_fixture x;
    (void)state;
    gf_init(&x, GENERATOR_SERVICE_GRAPHS);
    x.settings.service_graphs.virtual_node_label = true;
    GF_PUSH(&x, "srv", {.trace = 1, .id = 1, .name = "root", .kind = SERVER});
    GF_PUSH(&x, "a",
        {.trace = 2,
            .id = 1,
            .name = "c",
            .kind = CLIENT,
            .attrs = {{.key = "peer.service", .text = "b"}}},
        {.trace = 3,
            .id = 1,
            .name = "q",
            .kind = CLIENT,
            .attrs = {{.key = "db.system", .text = "pg"}}});
    wait_over(&x);
    gf_has(&x, TOTAL "{client=\"user\",connection_type=\"virtual_node\",server=\"srv\","
                     "virtual_node=\"client\"} 1");
    gf_has(&x, TOTAL "{client=\"a\",connection_type=\"virtual_node\",server=\"b\","
                     "virtual_node=\"server\"} 1");
    gf_has(&x, TOTAL "{client=\"a\",connection_type=\"database\",server=\"pg\"} 1");
    wait_over(&x);
    wait_over(&x); /* past a refresh of the settings: counters go on */
    gf_has(&x, TOTAL "{client=\"a\",connection_type=\"database\",server=\"pg\"} 1");
    gf_deinit(&x);
}

static void test_dimensions__with_and_without_prefix(void **state)
{
    static const struct str dims[] = {{"deployment.zone", 15}};
    (void)state;
    for (int prefix = 0; prefix < 2; prefix++) {
        struct gen_fixture x;
        gf_init(&x, GENERATOR_SERVICE_GRAPHS);
        x.settings.service_graphs.dimensions = (struct generator_strs){dims, 1};
        x.settings.service_graphs.client_server_prefix = prefix;
        GF_PUSH(&x, "a",
            {.trace = 1,
                .id = 7,
                .name = "c",
                .kind = CLIENT,
                .attrs = {{.key = "deployment.zone", .text = "east"}}});
        GF_PUSH(&x, "b",
            {.trace = 1,
                .id = 8,
                .parent = 7,
                .name = "s",
                .kind = SERVER,
                .attrs = {{.key = "deployment.zone", .text = "west"}}});
        gf_collect(&x);
        gf_has(&x, prefix ? TOTAL "{client=\"a\",client_deployment_zone=\"east\",server=\"b\","
                                  "server_deployment_zone=\"west\"} 1"
                          : TOTAL "{client=\"a\",deployment_zone=\"west\",server=\"b\"} 1");
        gf_deinit(&x);
    }
}

static void test_store__is_bounded(void **state)
{
    struct gen_fixture x;
    (void)state;
    gf_init(&x, GENERATOR_SERVICE_GRAPHS);
    x.settings.service_graphs.max_items = 1;
    GF_PUSH(&x, "a", {.trace = 1, .id = 1, .name = "c", .kind = CLIENT},
        {.trace = 2, .id = 1, .name = "c", .kind = CLIENT}, /* no room */
        {.trace = 3,
            .id = 1,
            .name = "q",
            .kind = CLIENT,
            .attrs = {{.key = "db.system", .text = "pg"}}}); /* needs none */
    GF_PUSH(&x, "b", {.trace = 1, .id = 2, .parent = 1, .name = "s", .kind = SERVER});
    GF_PUSH(&x, "late", {.trace = 2, .id = 2, .parent = 1, .name = "s", .kind = SERVER});
    gf_collect(&x);
    gf_has(&x, TOTAL AB " 1");
    gf_has(&x, TOTAL "{client=\"a\",connection_type=\"database\",server=\"pg\"} 1");
    assert_int_equal(gf_count(&x, TOTAL), 4);
    gf_deinit(&x);
}

static void test_store__many_edges_all_meet(void **state)
{
    enum { N = 5000 };
    struct gen_fixture x;
    (void)state;
    gf_init(&x, GENERATOR_SERVICE_GRAPHS);
    struct gf_span *spans = calloc(N, sizeof(*spans));
    for (int i = 0; i < N; i++)
        spans[i] = (struct gf_span){
            .trace = (uint8_t)(1 + i % 7), .id = (uint64_t)i + 1, .name = "c", .kind = CLIENT};
    const struct gf_attr a = {.key = "service.name", .text = "a"};
    const struct gf_attr b = {.key = "service.name", .text = "b"};
    gf_push(&x, &a, 1, spans, N);
    for (int i = 0; i < N; i++)
        spans[i] = (struct gf_span){.trace = (uint8_t)(1 + i % 7),
            .id = (uint64_t)i + N + 1,
            .parent = (uint64_t)i + 1,
            .name = "s",
            .kind = SERVER};
    gf_push(&x, &b, 1, spans, N);
    gf_collect(&x);
    gf_has(&x, TOTAL AB " 5000");
    wait_over(&x);
    assert_int_equal(gf_count(&x, TOTAL), 1);
    free(spans);
    gf_deinit(&x);
}

/* A half whose partner was filtered is not an outside caller. */
static void test_filter__drops_both_halves(void **state)
{
    const struct generator_match name = {STR("name"), {.type = VALUE_STR, .s = STR("drop")}};
    const struct generator_policy exclude[] = {{false, &name, 1}};
    (void)state;
    for (int dropped_first = 0; dropped_first < 2; dropped_first++) {
        struct gen_fixture x;
        gf_init(&x, GENERATOR_SERVICE_GRAPHS);
        x.settings.service_graphs.filter.p[POLICY_EXCLUDE] = exclude;
        x.settings.service_graphs.filter.n[POLICY_EXCLUDE] = 1;
        for (int i = 0; i < 2; i++)
            if (i == dropped_first)
                GF_PUSH(&x, "a",
                    {.trace = 1,
                        .id = 7,
                        .name = "call",
                        .kind = CLIENT,
                        .attrs = {{.key = "peer.service", .text = "bank"}}});
            else
                GF_PUSH(
                    &x, "b", {.trace = 1, .id = 8, .parent = 7, .name = "drop", .kind = SERVER});
        wait_over(&x);
        assert_int_equal(x.n_lines, 0);
        gf_deinit(&x);
    }
}

static void test_resource__without_a_service_is_skipped(void **state)
{
    static const struct gf_attr host = {.key = "host.name", .text = "h"};
    static const struct gf_span span = {.trace = 1, .id = 1, .name = "root", .kind = SERVER};
    struct gen_fixture x;
    (void)state;
    gf_init(&x, GENERATOR_SERVICE_GRAPHS | GENERATOR_SPAN_METRICS_COUNT);
    gf_push(&x, &host, 1, &span, 1);
    wait_over(&x);
    assert_int_equal(gf_count(&x, TOTAL), 0);
    gf_has(&x, "traces_spanmetrics_calls_total{span_kind=\"SPAN_KIND_SERVER\",span_name=\"root\","
               "status_code=\"STATUS_CODE_UNSET\"} 1");
    gf_deinit(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pair__in_either_order),
        cmocka_unit_test(test_pair__an_error_on_either_side_fails),
        cmocka_unit_test(test_messaging__latency_when_asked_for),
        cmocka_unit_test(test_database__completes_at_once),
        cmocka_unit_test(test_lone_half__becomes_a_virtual_node_or_expires),
        cmocka_unit_test(test_virtual_node_label__only_on_virtual_edges),
        cmocka_unit_test(test_dimensions__with_and_without_prefix),
        cmocka_unit_test(test_store__is_bounded),
        cmocka_unit_test(test_store__many_edges_all_meet),
        cmocka_unit_test(test_filter__drops_both_halves),
        cmocka_unit_test(test_resource__without_a_service_is_skipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
