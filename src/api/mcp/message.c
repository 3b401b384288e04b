/* SPDX-License-Identifier: Apache-2.0
 * One JSON-RPC message: parsed by jansson, checked in the order of Tempo's library, dispatched.
 *
 * WHY a charge before parsing: a tree takes up to a hundred times the bytes of its text, and
 * jansson allocates it outside of our arenas. tree_bytes_max bounds it from the characters that
 * begin values; depth is bounded by jansson (2,048). */
#include <jansson.h>
#include <stdlib.h>

#include "../json_out.h"
#include "mcp.h"

#define PARSE_ERROR        (-32700)
#define INVALID_REQUEST    (-32600)
#define METHOD_NOT_FOUND   (-32601)
#define INVALID_PARAMS     (-32602)
#define RESOURCE_NOT_FOUND (-32002)

static const char *const versions[] = {"2025-06-18", "2025-03-26", "2024-11-05"};

struct message {
    const json_t *root, *params; /* params: an object, or NULL */
    struct str method;
    struct arena *arena;
    struct buf *out;
    struct mcp_call *call;
};

/* ---- writing ---- */

static void put_head(struct buf *out, struct str id)
{
    buf_putz(out, "{\"jsonrpc\":\"2.0\",\"id\":");
    buf_puts(out, id);
}

static enum mcp_outcome put_error(struct message *m, int code, const char *text)
{
    put_head(m->out, m->call->id);
    buf_printf(m->out, ",\"error\":{\"code\":%d,\"message\":", code);
    json_str(m->out, str_from(text));
    buf_putz(m->out, "}}\n");
    return MCP_ANSWER;
}

static enum mcp_outcome unparsable(struct message *m, const char *what)
{
    char text[200];
    snprintf(text, sizeof(text), "unparsable " STR_FMT " request: %s", (int)MIN(m->method.n, 64u),
        m->method.p, what);
    return put_error(m, INVALID_REQUEST, text);
}

static void member(struct buf *out, const char *key, const char *text)
{
    buf_printf(out, ",\"%s\":", key);
    json_str(out, str_from(text));
}

/* ---- reading ---- */

static struct str text_of(const json_t *v)
{
    return str_n(json_string_value(v), json_string_length(v));
}

/* A member of params that must be a string or absent; NULL: absent. False: of another type. */
static bool string_param(const struct message *m, const char *key, const json_t **ret)
{
    const json_t *v = m->params == NULL ? NULL : json_object_get(m->params, key);
    *ret = v == NULL || json_is_null(v) ? NULL : v;
    return *ret == NULL || json_is_string(v);
}

/* ---- methods ---- */

static enum mcp_outcome initialize(struct message *m)
{
    const json_t *asked;
    const char *version = versions[1]; /* what a client that names none speaks */
    if (!string_param(m, "protocolVersion", &asked))
        return unparsable(m, "protocolVersion is not a string");
    if (asked != NULL && json_string_length(asked) != 0) {
        version = versions[0];
        for (size_t i = 0; i < ARRAY_LEN(versions); i++)
            if (str_eqz(text_of(asked), versions[i]))
                version = versions[i];
    }
    put_head(m->out, m->call->id);
    buf_printf(m->out,
        ",\"result\":{\"protocolVersion\":\"%s\",\"capabilities\":{\"resources\":{},\"tools\":{}},"
        "\"serverInfo\":{\"name\":\"tempo\",\"version\":\"0.1.0\"}}}\n",
        version);
    return MCP_INITIALIZED;
}

static enum mcp_outcome ping(struct message *m)
{
    put_head(m->out, m->call->id);
    buf_putz(m->out, ",\"result\":{}}\n");
    return MCP_ANSWER;
}

/* Lists fit one page, so a cursor only says after which name to go on. False: answered. */
static bool cursor_param(struct message *m, struct str *ret, enum mcp_outcome *ret_outcome)
{
    const json_t *v;
    size_t n;
    *ret = str_n(NULL, 0);
    if (!string_param(m, "cursor", &v)) {
        *ret_outcome = unparsable(m, "cursor is not a string");
        return false;
    }
    if (v == NULL)
        return true;
    uint8_t *raw = arena_alloc(m->arena, json_string_length(v) + 3);
    if (raw == NULL) {
        *ret_outcome = MCP_OVER_BUDGET;
        return false;
    }
    if (!base64_decode(raw, &n, text_of(v))) {
        *ret_outcome = put_error(m, INVALID_PARAMS, "illegal base64 data in cursor");
        return false;
    }
    *ret = str_n((const char *)raw, n);
    return true;
}

static void put_param(struct buf *out, const struct mcp_param *p)
{
    json_str(out, str_from(p->name));
    buf_putz(out, ":{\"type\":\"string\"");
    member(out, "description", p->description);
    for (size_t i = 0; p->values != NULL && p->values[i] != NULL; i++) {
        buf_putz(out, i == 0 ? ",\"enum\":[" : ",");
        json_str(out, str_from(p->values[i]));
    }
    buf_putz(out, p->values != NULL ? "]}" : "}");
}

static void put_tool(struct buf *out, const struct mcp_tool *t)
{
    bool any = false;
    buf_printf(out, "{\"name\":\"%s\"", t->name);
    member(out, "description", t->description);
    buf_putz(out, ",\"inputSchema\":{\"type\":\"object\",\"properties\":{");
    for (unsigned i = 0; i < t->n_params; i++) {
        if (i != 0)
            buf_putc(out, ',');
        put_param(out, &t->params[i]);
    }
    buf_putc(out, '}');
    for (unsigned i = 0; i < t->n_params; i++) {
        if (!t->params[i].required)
            continue;
        buf_putz(out, any ? "," : ",\"required\":[");
        json_str(out, str_from(t->params[i].name));
        any = true;
    }
    buf_putz(out, any ? "]}" : "}");
    buf_putz(out,
        ",\"annotations\":{\"readOnlyHint\":true,\"destructiveHint\":false,\"idempotentHint\":"
        "false,\"openWorldHint\":false}}");
}

static enum mcp_outcome tools_list(struct message *m)
{
    struct str after;
    enum mcp_outcome outcome;
    bool any = false;
    if (!cursor_param(m, &after, &outcome))
        return outcome;
    put_head(m->out, m->call->id);
    buf_putz(m->out, ",\"result\":{\"tools\":[");
    for (unsigned i = 0; i < mcp_n_tools; i++) {
        if (str_cmp(str_from(mcp_tools[i].name), after) <= 0)
            continue;
        if (any)
            buf_putc(m->out, ',');
        any = true;
        put_tool(m->out, &mcp_tools[i]);
    }
    buf_putz(m->out, "]}}\n");
    return MCP_ANSWER;
}

static enum mcp_outcome resources_list(struct message *m)
{
    struct str after;
    enum mcp_outcome outcome;
    bool any = false;
    if (!cursor_param(m, &after, &outcome))
        return outcome;
    put_head(m->out, m->call->id);
    buf_putz(m->out, ",\"result\":{\"resources\":[");
    for (unsigned i = 0; i < mcp_n_resources; i++) {
        const struct mcp_resource *r = &mcp_resources[i];
        if (str_cmp(str_from(r->name), after) <= 0)
            continue;
        buf_printf(m->out, "%s{\"uri\":\"%s\"", any ? "," : "", r->uri);
        member(m->out, "name", r->name);
        member(m->out, "description", r->description);
        buf_putz(m->out, ",\"mimeType\":\"text/markdown\"}");
        any = true;
    }
    buf_putz(m->out, "]}}\n");
    return MCP_ANSWER;
}

static enum mcp_outcome templates_list(struct message *m)
{
    struct str after;
    enum mcp_outcome outcome;
    if (!cursor_param(m, &after, &outcome))
        return outcome;
    put_head(m->out, m->call->id);
    buf_putz(m->out, ",\"result\":{\"resourceTemplates\":[]}}\n");
    return MCP_ANSWER;
}

static enum mcp_outcome resources_read(struct message *m)
{
    const json_t *uri;
    char text[300];
    if (!string_param(m, "uri", &uri))
        return unparsable(m, "uri is not a string");
    struct str asked = uri == NULL ? STR("") : text_of(uri);
    for (unsigned i = 0; i < mcp_n_resources; i++) {
        const struct mcp_resource *r = &mcp_resources[i];
        if (!str_eqz(asked, r->uri))
            continue;
        struct buf doc;
        buf_init(&doc, m->out->budget);
        r->put(&doc);
        put_head(m->out, m->call->id);
        buf_printf(m->out,
            ",\"result\":{\"contents\":[{\"uri\":\"%s\",\"mimeType\":\"text/markdown\",\"text\":",
            r->uri);
        json_str(m->out, buf_str(&doc));
        buf_putz(m->out, "}]}}\n");
        bool over = buf_failed(&doc);
        buf_deinit(&doc);
        return over ? MCP_OVER_BUDGET : MCP_ANSWER;
    }
    snprintf(text, sizeof(text),
        "handler not found for resource URI '" STR_FMT "': resource not found",
        (int)MIN(asked.n, 200u), asked.p);
    return put_error(m, RESOURCE_NOT_FOUND, text);
}

/* What a tool answers when an argument is missing or of a wrong type. */
static enum mcp_outcome refuse_argument(struct message *m, const char *name, bool missing)
{
    char text[100];
    snprintf(text, sizeof(text),
        missing ? "required argument \"%s\" not found" : "argument \"%s\" is not a string", name);
    mcp_put_result(m->call->tool, m->call->id, true, str_from(text), m->out);
    return MCP_ANSWER;
}

static enum mcp_outcome answer_docs(struct message *m)
{
    struct buf doc;
    buf_init(&doc, m->out->budget);
    if (m->call->tool->run == MCP_DOCS_CONFIG)
        mcp_put_config_docs(m->call->args[0], &doc);
    else
        mcp_put_traceql_docs(m->call->args[0], &doc);
    mcp_put_result(m->call->tool, m->call->id, false, buf_str(&doc), m->out);
    bool over = buf_failed(&doc);
    buf_deinit(&doc);
    return over ? MCP_OVER_BUDGET : MCP_ANSWER;
}

static enum mcp_outcome tools_call(struct message *m)
{
    const json_t *name, *args;
    char text[300];
    if (!string_param(m, "name", &name))
        return unparsable(m, "name is not a string");
    struct str asked = name == NULL ? STR("") : text_of(name);
    for (unsigned i = 0; i < mcp_n_tools && m->call->tool == NULL; i++)
        if (str_eqz(asked, mcp_tools[i].name))
            m->call->tool = &mcp_tools[i];
    const struct mcp_tool *t = m->call->tool;
    if (t == NULL) {
        snprintf(text, sizeof(text), "tool '" STR_FMT "' not found: tool not found",
            (int)MIN(asked.n, 200u), asked.p);
        return put_error(m, INVALID_PARAMS, text);
    }
    args = m->params == NULL ? NULL : json_object_get(m->params, "arguments");
    for (unsigned i = 0; i < t->n_params; i++) {
        const struct mcp_param *p = &t->params[i];
        const json_t *v = json_is_object(args) ? json_object_get(args, p->name) : NULL;
        if (v == NULL && p->required)
            return refuse_argument(m, p->name, true);
        if (!json_is_string(v) && p->required)
            return refuse_argument(m, p->name, false);
        if (!json_is_string(v)) /* an optional one of another type counts as absent */
            continue;
        m->call->args[i] = arena_str(m->arena, text_of(v));
        if (m->call->args[i].p == NULL)
            return MCP_OVER_BUDGET;
    }
    return t->run == MCP_DOCS_CONFIG || t->run == MCP_DOCS_TRACEQL ? answer_docs(m) : MCP_CALL;
}

static enum mcp_outcome unsupported(struct message *m)
{
    return put_error(m, METHOD_NOT_FOUND,
        str_starts(m->method, STR("logging/")) ? "logging not supported" : "prompts not supported");
}

static enum mcp_outcome dispatch(struct message *m)
{
    static const struct {
        const char *name;
        enum mcp_outcome (*run)(struct message *m);
    } methods[] = {
        {"initialize", initialize},
        {"ping", ping},
        {"tools/list", tools_list},
        {"tools/call", tools_call},
        {"resources/list", resources_list},
        {"resources/read", resources_read},
        {"resources/templates/list", templates_list},
        {"prompts/list", unsupported},
        {"prompts/get", unsupported},
        {"logging/setLevel", unsupported},
    };
    char text[200];
    const json_t *params = json_object_get(m->root, "params");
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        if (!str_eqz(m->method, methods[i].name))
            continue;
        if (params != NULL && !json_is_null(params) && !json_is_object(params))
            return unparsable(m, "params is not an object");
        m->params = json_is_object(params) ? params : NULL;
        return methods[i].run(m);
    }
    snprintf(text, sizeof(text), "Method " STR_FMT " not found", (int)MIN(m->method.n, 150u),
        m->method.p);
    return put_error(m, METHOD_NOT_FOUND, text);
}

/* ---- the message ---- */

/* No tree of this text is larger: every value but the first follows one of these characters, an
 * object begins with a table of some 250 bytes, an array with one of 130, a member takes 200. */
static uint64_t tree_bytes_max(struct bytes body)
{
    uint64_t sum = 1024 + 2 * (uint64_t)body.n;
    for (size_t i = 0; i < body.n; i++) {
        char c = (char)body.p[i];
        sum += c == '{' ? 512 : c == '[' ? 256 : c == ',' || c == ':' ? 160 : 0;
    }
    return sum;
}

static enum mcp_outcome malformed(struct message *m)
{
    (void)put_error(m, PARSE_ERROR, "request body is not valid json");
    return MCP_MALFORMED;
}

/* The id as JSON text; null for what cannot be one. False: over budget. */
static bool read_id(struct message *m, const json_t *id, bool *ret_bad)
{
    *ret_bad = id != NULL && !json_is_string(id) && !json_is_number(id) && !json_is_null(id);
    m->call->id = STR("null");
    if (id == NULL || json_is_null(id) || *ret_bad)
        return true;
    char *text = json_dumps(id, JSON_ENCODE_ANY | JSON_COMPACT);
    if (text == NULL)
        return false;
    m->call->id = arena_str(m->arena, str_from(text));
    free(text);
    return m->call->id.p != NULL;
}

static enum mcp_outcome handle_tree(struct message *m, struct str session)
{
    const json_t *method = json_object_get(m->root, "method"), *id = json_object_get(m->root, "id"),
                 *result = json_object_get(m->root, "result"),
                 *error = json_object_get(m->root, "error"),
                 *version = json_object_get(m->root, "jsonrpc");
    bool bad_id;
    if (method != NULL && !json_is_null(method) && !json_is_string(method))
        return malformed(m);
    m->method = json_is_string(method) ? text_of(method) : STR("");
    if (!read_id(m, id, &bad_id))
        return MCP_OVER_BUDGET;
    /* A response to something we never ask. */
    if (m->method.n == 0 && id != NULL && (result != NULL || error != NULL))
        return MCP_ACCEPTED;
    if (!str_eqz(m->method, "initialize") && !mcp_session_valid(session))
        return MCP_NO_SESSION;
    if (!json_is_string(version) || !str_eqz(text_of(version), "2.0"))
        return put_error(m, INVALID_REQUEST, "Invalid JSON-RPC version");
    if (bad_id)
        return put_error(m, INVALID_REQUEST, "id is neither a string nor a number");
    if (id == NULL || json_is_null(id))
        return MCP_ACCEPTED; /* a notification: none needs an action */
    if (result != NULL && !json_is_null(result))
        return MCP_ACCEPTED;
    return dispatch(m);
}

enum mcp_outcome mcp_handle(struct bytes body, struct str session, struct arena *arena,
    struct budget *budget, struct buf *out, struct mcp_call *ret_call)
{
    struct message m = {.arena = arena, .out = out, .call = ret_call};
    uint64_t charge = tree_bytes_max(body);
    json_error_t ignored;
    *ret_call = (struct mcp_call){.id = STR("null")};
    if (!budget_take(budget, charge))
        return MCP_OVER_BUDGET;
    json_t *root = json_loadb((const char *)body.p, body.n, JSON_ALLOW_NUL, &ignored);
    m.root = root;
    enum mcp_outcome outcome = json_is_object(root) ? handle_tree(&m, session) : malformed(&m);
    json_decref(root);
    budget_give(budget, charge);
    return buf_failed(out) ? MCP_OVER_BUDGET : outcome;
}

void mcp_put_result(
    const struct mcp_tool *tool, struct str id, bool failed, struct str text, struct buf *out)
{
    put_head(out, id);
    buf_putz(out, ",\"result\":{");
    if (!failed)
        buf_printf(out, "\"_meta\":{\"encoding\":\"%s\",\"type\":\"%s\",\"version\":\"%s\"},",
            tool->encoding, tool->type, tool->version);
    buf_putz(out, "\"content\":[{\"type\":\"text\",\"text\":");
    json_str(out, text);
    buf_putz(out, failed ? "}],\"isError\":true}}\n" : "}]}}\n");
}
