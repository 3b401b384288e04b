/* SPDX-License-Identifier: Apache-2.0
 * What a restricted caller sees of traces and search results. */
#include "../../src/api/caller.h"
#include "unit.h"

#define NS "k8s.namespace.name"

static const struct str mine[] = {{"mine", 4}, {"other-of-mine", 13}};
static const struct api_caller restricted = {
    .restricted = true, .namespaces = mine, .n_namespaces = 2};
static struct arena a;

static struct value text(const char *s)
{
    return (struct value){.type = VALUE_STR, .s = str_from(s)};
}

static struct attr attr_of(const char *key, const char *s)
{
    return (struct attr){.key = str_from(key), .value = text(s)};
}

static int setup(void **state)
{
    (void)state;
    arena_init(&a, NULL, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_deinit(&a);
    return 0;
}

/* A trace of one span below a resource with these attributes; as JSON after hiding. */
static char *shown_with(
    const struct api_caller *c, bool show_emptied, const struct attr *attrs, uint32_t n)
{
    static const struct attr span_attr = {
        .key = {"secret", 6}, .value = {.type = VALUE_STR, .s = {"hush", 4}}};
    static const struct read_event event = {
        .time_ns = 1, .name = {"hush", 4}, .attrs = &span_attr, .n_attrs = 1};
    static const struct read_link link = {
        .span_id = 7, .trace_state = {"hush", 4}, .attrs = &span_attr, .n_attrs = 1, .flags = 1};
    struct read_resource resource = {
        .attrs = attrs, .n_attrs = n, .schema_url = STR("hush"), .dropped_attrs = 3};
    struct read_scope scope = {.name = STR("lib"),
        .version = STR("1"),
        .attrs = &span_attr,
        .n_attrs = 1,
        .schema_url = STR("hush")};
    struct result_trace_span spans[2] = {{.span = {.trace_id = {{1}},
                                              .span_id = 2,
                                              .parent_id = 1,
                                              .start_ns = 10,
                                              .end_ns = 20,
                                              .name = STR("op"),
                                              .trace_state = STR("hush"),
                                              .status_message = STR("hush"),
                                              .kind = 2,
                                              .status = 2,
                                              .attrs = &span_attr,
                                              .n_attrs = 1,
                                              .events = &event,
                                              .n_events = 1,
                                              .links = &link,
                                              .n_links = 1,
                                              .dropped_attrs = 9},
        .resource = &resource,
        .scope = &scope}};
    /* A second span that the caller may see: its lot must not change. */
    static const struct attr own = {
        .key = {NS, sizeof(NS) - 1}, .value = {.type = VALUE_STR, .s = {"mine", 4}}};
    static const struct attr kept = {
        .key = {"kept", 4}, .value = {.type = VALUE_STR, .s = {"yes", 3}}};
    static const struct read_resource own_resource = {.attrs = &own, .n_attrs = 1};
    static const struct read_scope own_scope = {.attrs = &kept, .n_attrs = 1};
    spans[1] = (struct result_trace_span){
        .span = {.span_id = 3, .attrs = &kept, .n_attrs = 1, .status_message = STR("kept")},
        .resource = &own_resource,
        .scope = &own_scope};
    struct trace_result t = {.spans = spans, .n = 2};
    struct trace_groups g;
    struct err err = {0};
    struct buf out = BUF_INIT;
    assert_ok(trace_group(&t, &a, &g, &err), err);
    assert_ok(caller_hide_trace(c, &t, &g, show_emptied, &a, &err), err);
    trace_out_json(&t, &g, "batches", &out);
    size_t json_n = out.n;
    trace_out_proto(&t, &g, true, &out);
    trace_out_llm(&t, &g, &out);
    if (c != NULL && c->restricted && !str_has(str_n((char *)out.p, json_n), STR("hush")))
        assert_false(str_has(buf_str(&out), STR("hush"))); /* no form shows more than JSON */
    assert_true(str_has(str_n((char *)out.p, json_n),
        STR("{\"key\":\"kept\",\"value\":{\"stringValue\":\"yes\"}}")));
    out.n = json_n;
    buf_putc(&out, 0);
    char *copy = arena_strz(&a, buf_str(&out));
    buf_deinit(&out);
    return copy;
}

static char *shown(const struct api_caller *c, const struct attr *attrs, uint32_t n)
{
    return shown_with(c, false, attrs, n);
}

#define FIRST_SPAN                                                                               \
    "\"scopeSpans\":[{\"scope\":{\"name\":\"lib\",\"version\":\"1\"},\"spans\":[{\"traceId\":"   \
    "\"AQAAAAAAAAAAAAAAAAAAAA==\",\"spanId\":\"AAAAAAAAAAI=\",\"parentSpanId\":\"AAAAAAAAAAE=\"" \
    ",\"name\":\"op\",\"kind\":\"SPAN_KIND_SERVER\",\"startTimeUnixNano\":\"10\","               \
    "\"endTimeUnixNano\":\"20\",\"links\":[{\"spanId\":\"AAAAAAAAAAc=\",\"flags\":1}],"          \
    "\"status\":{\"code\":\"STATUS_CODE_ERROR\"}}]}]}"

static void expect_hidden(const struct attr *attrs, uint32_t n, const char *resource)
{
    char want[1000];
    char *got = shown(&restricted, attrs, n);
    snprintf(want, sizeof(want), "{\"batches\":[{\"resource\":{%s}," FIRST_SPAN, resource);
    if (strncmp(got, want, strlen(want)) != 0)
        fail_msg("%s\nis not\n%s", got, want);
    assert_null(strstr(got, "hush"));
}

#define ATTR(key, value) "{\"key\":\"" key "\",\"value\":{\"stringValue\":\"" value "\"}}"

static void test_trace__own_namespaces_are_untouched(void **state)
{
    struct attr attrs[] = {attr_of("x", "hush"), attr_of(NS, "other-of-mine")};
    (void)state;
    assert_string_equal(shown(&restricted, attrs, 2), shown(NULL, attrs, 2));
    struct api_caller free_caller = {.restricted = false};
    attrs[1] = attr_of(NS, "foreign");
    assert_string_equal(shown(&free_caller, attrs, 2), shown(NULL, attrs, 2));
}

static void test_trace__foreign_spans_keep_their_place_only(void **state)
{
    struct attr attrs[] = {
        attr_of("service.name", "svc"), attr_of("x", "hush"), attr_of(NS, "foreign")};
    (void)state;
    expect_hidden(attrs, 3,
        "\"attributes\":[" ATTR("k8s.namespace.name", "foreign") "," ATTR(
            "service.name", "svc") "]");
    expect_hidden(attrs + 1, 2, "\"attributes\":[" ATTR("k8s.namespace.name", "foreign") "]");
}

static void test_trace__no_namespace_is_foreign(void **state)
{
    struct attr attrs[] = {attr_of("x", "hush"), attr_of("service.name", "svc")};
    (void)state;
    expect_hidden(attrs, 2, "\"attributes\":[" ATTR("service.name", "svc") "]");
    expect_hidden(attrs, 1, "");
    expect_hidden(NULL, 0, ""); /* a resource without attributes hides too */
}

static void test_trace__emptied_lists_show_in_version_1(void **state)
{
    struct attr attrs[] = {attr_of("x", "hush")};
    (void)state;
    const char *got = shown_with(&restricted, true, attrs, 1);
    static const char *const parts[] = {"\"resource\":{\"attributes\":[]}",
        "\"scope\":{\"name\":\"lib\",\"version\":\"1\",\"attributes\":[]}",
        "\"endTimeUnixNano\":\"20\",\"attributes\":[],\"events\":[],"};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (strstr(got, parts[i]) == NULL)
            fail_msg("%s is not in %s", parts[i], got);
    assert_null(strstr(got, "hush"));
}

static void test_trace__odd_namespaces_are_foreign(void **state)
{
    struct attr number[] = {{.key = STR(NS), .value = {.type = VALUE_INT, .i = 4}}};
    struct attr twice[] = {attr_of(NS, "mine"), attr_of(NS, "foreign")};
    struct attr prefix[] = {attr_of(NS, "min")};
    struct attr empty[] = {attr_of(NS, "")};
    (void)state;
    expect_hidden(number, 1, "");
    expect_hidden(twice, 2, "\"attributes\":[" ATTR("k8s.namespace.name", "mine") "]");
    expect_hidden(prefix, 1, "\"attributes\":[" ATTR("k8s.namespace.name", "min") "]");
    expect_hidden(empty, 1, "\"attributes\":[" ATTR("k8s.namespace.name", "") "]");
}

static void test_trace__nobody_without_namespaces_sees_anything(void **state)
{
    struct api_caller nobody = {.restricted = true};
    struct trace_result t = {0};
    struct trace_groups g = {0};
    (void)state;
    assert_ec(caller_hide_trace(&nobody, &t, &g, true, &a, NULL), EC_OK); /* an empty trace */
}

/* ---- search ---- */

static struct result_attr result_of(const char *key, const char *s)
{
    return (struct result_attr){.key = str_from(key), .value = text(s)};
}

static void test_search__lists_only_the_namespace_of_foreign_spans(void **state)
{
    struct result_attr own[] = {result_of("x", "yes"), result_of(NS, "mine")};
    struct result_attr foreign[] = {result_of("x", "hush"), result_of(NS, "foreign")};
    struct result_attr absent[] = {result_of("x", "hush")};
    struct result_attr spoofed[] = {
        result_of(NS, "mine"), result_of("x", "hush"), result_of(NS, "foreign")};
    struct result_span spans[] = {{.id = 1, .attrs = own, .n_attrs = 2},
        {.id = 2, .attrs = foreign, .n_attrs = 2}, {.id = 3, .attrs = absent, .n_attrs = 1},
        {.id = 4, .attrs = spoofed, .n_attrs = 3}};
    struct result_attr group = result_of("by(span.x)", "hush");
    struct result_spanset sets[] = {
        {.spans = spans, .n_spans = 4, .matched = 4, .attrs = &group, .n_attrs = 1},
        {.spans = spans, .n_spans = 1, .matched = 1, .attrs = &group, .n_attrs = 1},
        {.spans = spans, .n_spans = 1, .matched = 2, .attrs = &group, .n_attrs = 1}};
    struct result_trace trace = {.sets = sets, .n_sets = 3};
    struct search_result r = {.traces = &trace, .n = 1};
    struct err err = {0};
    (void)state;
    assert_ok(caller_hide_search(&restricted, &r, &a, &err), err);
    const struct result_spanset *s = r.traces[0].sets;
    assert_int_equal(s[0].n_spans, 4);
    assert_int_equal(s[0].spans[0].n_attrs, 2);
    assert_int_equal(s[0].spans[1].n_attrs, 1);
    assert_str(s[0].spans[1].attrs[0].key, NS);
    assert_str(s[0].spans[1].attrs[0].value.s, "foreign");
    assert_int_equal(s[0].spans[2].n_attrs, 0);
    assert_int_equal(s[0].spans[3].n_attrs, 0);
    assert_int_equal(s[0].n_attrs, 0); /* a group's value is an attribute of foreign spans too */
    assert_int_equal(s[1].n_attrs, 1); /* all of its spans are the caller's */
    assert_int_equal(s[2].n_attrs, 0); /* one of its spans is not listed */
    assert_int_equal(spans[1].n_attrs, 2); /* what the engine made is not written to */
}

static enum ec check(const struct api_caller *c, const char *q)
{
    struct tql_query *compiled;
    struct str full;
    struct err err = {0};
    assert_ok(caller_query_text(c, str_from(q), &a, &full, &err), err);
    assert_ok(tql_compile(full, &a, &compiled, NULL, &err), err);
    return caller_check_query(c, compiled, &err);
}

static void test_query__lists_the_namespace_and_no_other_spans_attributes(void **state)
{
    struct str full;
    (void)state;
    assert_ec(caller_query_text(&restricted, STR("{ .a = \"+%7C|\" }"), &a, &full, NULL), EC_OK);
    assert_str(full, "{ .a = \"+%7C|\" } | select(resource.k8s.namespace.name)");
    assert_ec(caller_query_text(NULL, STR("{ }"), &a, &full, NULL), EC_OK);
    assert_str(full, "{ }");
    assert_ec(check(&restricted, "{ name = \"x\" && span.y > 3 }"), EC_OK);
    assert_ec(check(&restricted, "{ parent.span.secret = \"x\" }"), EC_INVALID);
    assert_ec(check(&restricted, "{ } | select(parent.resource.secret)"), EC_INVALID);
    assert_ec(check(NULL, "{ parent.span.secret = \"x\" }"), EC_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trace__own_namespaces_are_untouched),
        cmocka_unit_test(test_trace__foreign_spans_keep_their_place_only),
        cmocka_unit_test(test_trace__no_namespace_is_foreign),
        cmocka_unit_test(test_trace__emptied_lists_show_in_version_1),
        cmocka_unit_test(test_trace__odd_namespaces_are_foreign),
        cmocka_unit_test(test_trace__nobody_without_namespaces_sees_anything),
        cmocka_unit_test(test_search__lists_only_the_namespace_of_foreign_spans),
        cmocka_unit_test(test_query__lists_the_namespace_and_no_other_spans_attributes),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
