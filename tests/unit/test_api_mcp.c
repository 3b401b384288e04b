/* SPDX-License-Identifier: Apache-2.0
 * MCP messages: the answers of Tempo's library, sessions, tools and documents. */
#include <jansson.h>

#include "../../src/api/mcp/mcp.h"
#include "unit.h"

#define SESSION "mcp-session-0123abcd-0123-4567-89ab-0123456789ab"

static struct arena arena;
static struct buf out;
static struct mcp_call call;

static int begin(void **state)
{
    (void)state;
    arena_init(&arena, NULL, 0);
    buf_init(&out, NULL);
    return 0;
}

static int end(void **state)
{
    (void)state;
    buf_deinit(&out);
    arena_deinit(&arena);
    return 0;
}

static enum mcp_outcome handle(const char *body)
{
    buf_reset(&out);
    return mcp_handle(bytes_n(body, strlen(body)), STR(SESSION), &arena, NULL, &out, &call);
}

static void expect(const char *body, enum mcp_outcome outcome, const char *answer)
{
    assert_int_equal(handle(body), outcome);
    assert_str(buf_str(&out), answer);
}

#define REQUEST(rest) "{\"jsonrpc\":\"2.0\",\"id\":1," rest "}"
#define ERROR(id, code, text) \
    "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"error\":{\"code\":" code ",\"message\":\"" text "\"}}\n"

static void test_mcp__messages_that_are_none(void **state)
{
    static const char *const bad[] = {"", "{", "null", "5", "\"x\"", "[]",
        "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}]", "{\"id\":1,}",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":5}", "{\"a\":\"\xff\"}"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        expect(bad[i], MCP_MALFORMED, ERROR("null", "-32700", "request body is not valid json"));
    char deep[6001];
    memset(deep, '[', 3000);
    memset(deep + 3000, ']', 3000);
    deep[6000] = 0;
    assert_int_equal(handle(deep), MCP_MALFORMED);
}

static void test_mcp__requests_that_are_not_valid(void **state)
{
    (void)state;
    expect("{\"id\":7,\"method\":\"ping\"}", MCP_ANSWER,
        ERROR("7", "-32600", "Invalid JSON-RPC version"));
    expect("{\"jsonrpc\":\"1.0\",\"id\":\"x\",\"method\":\"ping\"}", MCP_ANSWER,
        ERROR("\"x\"", "-32600", "Invalid JSON-RPC version"));
    expect("{\"jsonrpc\":\"2.0\",\"id\":[1],\"method\":\"ping\"}", MCP_ANSWER,
        ERROR("null", "-32600", "id is neither a string nor a number"));
    expect(REQUEST("\"method\":\"tools/call\",\"params\":[]"), MCP_ANSWER,
        ERROR("1", "-32600", "unparsable tools/call request: params is not an object"));
    expect(REQUEST("\"method\":\"tools/list\",\"params\":{\"cursor\":5}"), MCP_ANSWER,
        ERROR("1", "-32600", "unparsable tools/list request: cursor is not a string"));
    expect(REQUEST("\"method\":\"tools/list\",\"params\":{\"cursor\":\"!\"}"), MCP_ANSWER,
        ERROR("1", "-32602", "illegal base64 data in cursor"));
    expect(REQUEST("\"method\":\"no/such\""), MCP_ANSWER,
        ERROR("1", "-32601", "Method no/such not found"));
    expect(REQUEST("\"method\":\"prompts/list\""), MCP_ANSWER,
        ERROR("1", "-32601", "prompts not supported"));
    expect(REQUEST("\"method\":\"logging/setLevel\""), MCP_ANSWER,
        ERROR("1", "-32601", "logging not supported"));
    expect(REQUEST("\"method\":\"tools/call\",\"params\":{\"name\":\"x\"}"), MCP_ANSWER,
        ERROR("1", "-32602", "tool 'x' not found: tool not found"));
    expect(REQUEST("\"method\":\"resources/read\",\"params\":{\"uri\":\"x\"}"), MCP_ANSWER,
        ERROR("1", "-32002", "handler not found for resource URI 'x': resource not found"));
}

static void test_mcp__nothing_to_answer(void **state)
{
    (void)state;
    expect("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}", MCP_ACCEPTED, "");
    expect("{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\"}", MCP_ACCEPTED, "");
    expect("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}", MCP_ACCEPTED, "");
    expect("{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":1}}", MCP_ACCEPTED, "");
    expect(REQUEST("\"method\":\"ping\",\"result\":{}"), MCP_ACCEPTED, "");
    expect(REQUEST("\"method\":\"ping\""), MCP_ANSWER,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n");
}

static void test_mcp__versions_are_negotiated(void **state)
{
    static const char *const cases[][2] = {
        {"", "2025-03-26"},
        {",\"params\":{}", "2025-03-26"},
        {",\"params\":{\"protocolVersion\":\"2025-06-18\"}", "2025-06-18"},
        {",\"params\":{\"protocolVersion\":\"2024-11-05\"}", "2024-11-05"},
        {",\"params\":{\"protocolVersion\":\"2099-01-01\"}", "2025-06-18"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char body[200];
        snprintf(body, sizeof(body), "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\"%s}",
            cases[i][0]);
        assert_int_equal(handle(body), MCP_INITIALIZED);
        assert_true(str_has(buf_str(&out), str_from(cases[i][1])));
        assert_true(
            str_has(buf_str(&out), STR("\"capabilities\":{\"resources\":{},\"tools\":{}}")));
    }
}

static void test_mcp__sessions(void **state)
{
    static const char *const good[] = {SESSION, "mcp-session-0123abcd0123456789ab0123456789AB",
        "mcp-session-{0123abcd-0123-4567-89ab-0123456789ab}",
        "mcp-session-urn:uuid:0123abcd-0123-4567-89ab-0123456789ab"};
    static const char *const bad[] = {"", "mcp-session-", "0123abcd-0123-4567-89ab-0123456789ab",
        "mcp-session-0123abcd-0123-4567-89ab-0123456789a",
        "mcp-session-0123abcd-0123-4567-89ab-0123456789ag",
        "mcp-session-0123abcd-01234-567-89ab-0123456789ab"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(mcp_session_valid(str_from(good[i])));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const char *ping = REQUEST("\"method\":\"ping\"");
        assert_false(mcp_session_valid(str_from(bad[i])));
        buf_reset(&out);
        assert_int_equal(
            mcp_handle(bytes_n(ping, strlen(ping)), str_from(bad[i]), &arena, NULL, &out, &call),
            MCP_NO_SESSION);
    }
    char one[MCP_SESSION_LEN], two[MCP_SESSION_LEN];
    mcp_session_new(one);
    mcp_session_new(two);
    assert_true(mcp_session_valid(str_n(one, sizeof(one))));
    assert_memory_not_equal(one, two, sizeof(one));
}

static void test_mcp__arguments(void **state)
{
    (void)state;
    assert_int_equal(
        handle(REQUEST("\"method\":\"tools/call\",\"params\":{\"name\":\"traceql-search\","
                       "\"arguments\":{\"query\":\"{\\u0000}\",\"end\":\"now\",\"start\":5}}")),
        MCP_CALL);
    assert_int_equal(call.tool->run, MCP_SEARCH);
    assert_true(str_eq(call.args[0], str_n("{\0}", 3)));
    assert_null(call.args[1].p); /* optional, of another type: absent */
    assert_str(call.args[2], "now");
    assert_str(call.id, "1");
    assert_int_equal(out.n, 0);
    expect(REQUEST("\"method\":\"tools/call\",\"params\":{\"name\":\"get-trace\"}"), MCP_ANSWER,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"content\":[{\"type\":\"text\",\"text\":"
        "\"required argument \\\"trace_id\\\" not found\"}],\"isError\":true}}\n");
    expect(REQUEST("\"method\":\"tools/call\",\"params\":{\"name\":\"get-trace\",\"arguments\":"
                   "{\"trace_id\":1}}"),
        MCP_ANSWER,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"content\":[{\"type\":\"text\",\"text\":"
        "\"argument \\\"trace_id\\\" is not a string\"}],\"isError\":true}}\n");
    assert_int_equal(
        handle(REQUEST("\"method\":\"tools/call\",\"params\":{\"name\":\"get-attribute-names\","
                       "\"arguments\":[]}")),
        MCP_CALL);
}

static void test_mcp__results(void **state)
{
    (void)state;
    mcp_put_result(&mcp_tools[4], STR("\"a\""), false, STR("{\"x\":1}"), &out);
    assert_str(buf_str(&out),
        "{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"result\":{\"_meta\":{\"encoding\":\"json\",\"type\":"
        "\"trace\",\"version\":\"2\"},\"content\":[{\"type\":\"text\",\"text\":\"{\\\"x\\\":1}\"}]}"
        "}\n");
}

/* Lists are sorted by name, a cursor goes on behind a name. */
static void test_mcp__lists(void **state)
{
    json_t *root;
    (void)state;
    assert_int_equal(handle(REQUEST("\"method\":\"tools/list\"")), MCP_ANSWER);
    root = json_loadb((const char *)out.p, out.n, 0, NULL);
    json_t *tools = json_object_get(json_object_get(root, "result"), "tools");
    assert_int_equal(json_array_size(tools), 8);
    for (unsigned i = 1; i < mcp_n_tools; i++)
        assert_true(strcmp(mcp_tools[i - 1].name, mcp_tools[i].name) < 0);
    for (unsigned i = 1; i < mcp_n_resources; i++)
        assert_true(strcmp(mcp_resources[i - 1].name, mcp_resources[i].name) < 0);
    json_decref(root);
    /* base64 of "get-trace" */
    assert_int_equal(
        handle(REQUEST("\"method\":\"tools/list\",\"params\":{\"cursor\":\"Z2V0LXRyYWNl\"}")),
        MCP_ANSWER);
    root = json_loadb((const char *)out.p, out.n, 0, NULL);
    tools = json_object_get(json_object_get(root, "result"), "tools");
    assert_int_equal(json_array_size(tools), 3);
    json_decref(root);
    assert_int_equal(handle(REQUEST("\"method\":\"resources/templates/list\"")), MCP_ANSWER);
    assert_true(str_has(buf_str(&out), STR("\"resourceTemplates\":[]")));
}

static void test_mcp__documents(void **state)
{
    (void)state;
    for (unsigned i = 0; i < mcp_n_resources; i++) {
        char body[200];
        struct buf doc = BUF_INIT;
        mcp_resources[i].put(&doc);
        assert_true(doc.n > 500);
        assert_true(str_starts(buf_str(&doc), STR("# ")));
        assert_true(str_utf8_valid(buf_str(&doc)));
        buf_deinit(&doc);
        snprintf(body, sizeof(body),
            REQUEST("\"method\":\"resources/read\",\"params\":{\"uri\":\"%s\"}"),
            mcp_resources[i].uri);
        assert_int_equal(handle(body), MCP_ANSWER);
        assert_true(str_has(buf_str(&out), STR("\"contents\":[{\"uri\":")));
    }
    struct buf known = BUF_INIT, unknown = BUF_INIT;
    mcp_put_traceql_docs(STR("basic"), &known);
    mcp_put_traceql_docs(STR("nonsense"), &unknown);
    assert_true(str_eq(buf_str(&known), buf_str(&unknown)));
    buf_reset(&unknown);
    mcp_put_traceql_docs(STR("metrics"), &unknown);
    assert_true(str_starts(buf_str(&unknown), STR("# TraceQL: metrics")));
    buf_deinit(&known);
    buf_deinit(&unknown);
}

static void test_mcp__memory_is_charged_and_given_back(void **state)
{
    struct budget budget;
    struct arena a;
    struct buf answer;
    const char *ping = REQUEST("\"method\":\"ping\"");
    (void)state;
    budget_init(&budget, NULL, "test", 1000);
    arena_init(&a, &budget, 0);
    buf_init(&answer, &budget);
    assert_int_equal(
        mcp_handle(bytes_n(ping, strlen(ping)), STR(SESSION), &a, &budget, &answer, &call),
        MCP_OVER_BUDGET);
    atomic_store(&budget.cap, 100000);
    assert_int_equal(
        mcp_handle(bytes_n(ping, strlen(ping)), STR(SESSION), &a, &budget, &answer, &call),
        MCP_ANSWER);
    buf_deinit(&answer);
    arena_deinit(&a);
    assert_int_equal(budget_used(&budget), 0);
    budget_deinit(&budget);
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_mcp__messages_that_are_none),
        T(test_mcp__requests_that_are_not_valid),
        T(test_mcp__nothing_to_answer),
        T(test_mcp__versions_are_negotiated),
        T(test_mcp__sessions),
        T(test_mcp__arguments),
        T(test_mcp__results),
        T(test_mcp__lists),
        T(test_mcp__documents),
        T(test_mcp__memory_is_charged_and_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
