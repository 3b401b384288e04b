/* SPDX-License-Identifier: Apache-2.0
 * /api/mcp: HTTP around the messages, and the query tools on the endpoints' own code.
 *
 * A tool runs as the request that Tempo's tool makes: the same endpoint, parameters, tenant, limits
 * and budget, with the answer for language models. What it would have answered becomes the text of
 * the tool's result, a failure too. Nothing is sent to a client unasked, so there is no event
 * stream to open: GET says so. */
#include <stdio.h>

#include "../api_internal.h"
#include "../params.h"
#include "../query_job.h"
#include "base/clock.h"
#include "base/metric.h"
#include "mcp.h"

static struct metric_family calls_total = {
    .name = "tempo_query_frontend_mcp_calls_total",
    .help = "Total number of MCP calls",
    .type = METRIC_COUNTER,
    .labels = {"tool", NULL},
};

void api_mcp_register(void)
{
    metric_register(&calls_total);
}

/* ---- answers ---- */

/* Status 0 marks a text of the tool itself. */
#define TOOL_SAYS 0

static void wrap(void *arg, unsigned *status, const char **content_type, struct buf *body)
{
    const struct mcp_call *call = arg;
    struct buf text, out;
    bool failed = *status != 200;
    buf_init(&text, body->budget);
    buf_init(&out, body->budget);
    if (failed && *status != TOOL_SAYS)
        buf_printf(&text, "tool failed with http status code %u and reason ", *status);
    if (failed)
        buf_puts(&text, buf_str(body));
    mcp_put_result(call->tool, call->id, failed, failed ? buf_str(&text) : buf_str(body), &out);
    if (buf_failed(&out) || buf_failed(&text)) { /* the answer fitted, but not a second time */
        buf_deinit(&out);
        out = BUF_INIT;
        mcp_put_result(call->tool, call->id, true,
            STR("tool failed with http status code 422 and reason the answer is over the query's "
                "memory budget"),
            &out);
    }
    buf_deinit(&text);
    buf_deinit(body);
    *body = out;
    *status = 200;
    *content_type = "application/json";
}

static void respond(struct exchange *ex, unsigned status, const char *type, struct buf *take_body)
{
    budget_give(take_body->budget, take_body->cap); /* from now on it is the exchange's */
    take_body->budget = NULL;
    exchange_respond(ex, status, type, take_body, true);
}

static void say(struct exchange *ex, const struct mcp_call *call, const char *text)
{
    struct buf out = BUF_INIT;
    mcp_put_result(call->tool, call->id, true, str_from(text), &out);
    exchange_respond(ex, 200, "application/json", &out, true);
}

/* The tool's own error, from the pool. */
static void job_say(struct query_job *job, const char *text)
{
    struct buf out = BUF_INIT;
    buf_putz(&out, text);
    job_respond(job, TOOL_SAYS, NULL, &out);
}

/* ---- query tools, on the pool ---- */

static const struct mcp_call *call_of(const struct query_job *job)
{
    return job->call->wrap_arg;
}

/* Parses args[0], to say early what is wrong and which tool is the right one. */
static bool query_fits(struct query_job *job, bool metrics, const char *other)
{
    struct err err = {0};
    struct tql_query *q;
    struct str text = call_of(job)->args[0];
    enum ec ec = job_check_query_text(job, text, &err);
    if (ec != EC_OK) {
        job_fail(job, ec, &err);
        return false;
    }
    ec = tql_parse(text, &job->arena, &q, &err);
    if (ec == EC_INVALID) {
        char said[sizeof(err.msg) + 64];
        snprintf(
            said, sizeof(said), "query parse error. Consult TraceQL docs tools: %s", err_msg(&err));
        job_say(job, said);
    } else if (ec != EC_OK) {
        job_fail(job, ec, &err);
    } else if ((q->metric != NULL) != metrics) {
        job_say(job, other);
        return false;
    }
    return ec == EC_OK;
}

static void run_search(struct query_job *job)
{
    if (query_fits(job, false,
            "TraceQL metrics query received on traceql-search tool. Use the "
            "traceql-metrics-instant or traceql-metrics-range tool instead"))
        api_search(job);
}

static void run_instant(struct query_job *job)
{
    if (query_fits(job, true,
            "TraceQL search query received on instant query tool. Use the traceql-search tool "
            "instead"))
        api_metrics_instant(job);
}

static void run_range(struct query_job *job)
{
    if (query_fits(job, true,
            "TraceQL search query received on range query tool. Use the traceql-search tool "
            "instead"))
        api_metrics_range(job);
}

/* { } and nothing are no filter; what else means "unfiltered" is a mistake worth telling. */
static bool is_empty_filter(struct str q)
{
    for (size_t i = 0; i < q.n; i++)
        if (strchr("{} \t\r\n", q.p[i]) == NULL || q.p[i] == 0)
            return false;
    return true;
}

static void run_values(struct query_job *job)
{
    const struct tql_filter_groups *groups = NULL;
    struct str filter = call_of(job)->args[1];
    struct err err = {0};
    if (!is_empty_filter(filter)) {
        enum ec ec = job_check_query_text(job, filter, &err);
        if (ec != EC_OK) {
            job_fail(job, ec, &err);
            return;
        }
        ec = tql_filter_groups_parse(filter, NULL, job->limits.max_condition_groups_per_tag_query,
            &job->arena, &groups, &err);
        if (ec == EC_OK && groups == NULL) {
            job_say(job,
                "filter-query invalid. It must have a single spanset filter with &&/|| conditions "
                "like { <cond> && <cond> } or { <cond> || <cond> }");
            return;
        }
    }
    api_values_v2(job); /* words what else is wrong */
}

/* ---- a call becomes a request ---- */

struct tool_endpoint {
    struct query_endpoint endpoint;
    const char *path, *tail;
};

static const struct tool_endpoint endpoints[] = {
    [MCP_NAMES] = {{api_tags_v2, "metadata", false}, "/api/v2/search/tags", NULL},
    [MCP_VALUES] = {{run_values, "metadata", false}, "/api/v2/search/tag/", "/values"},
    [MCP_TRACE] = {{api_trace_v2, "traces", true}, "/api/v2/traces/", ""},
    [MCP_INSTANT] = {{run_instant, "metrics", false}, "/api/metrics/query", NULL},
    [MCP_RANGE] = {{run_range, "metrics", false}, "/api/metrics/query_range", NULL},
    [MCP_SEARCH] = {{run_search, "search", false}, "/api/search", NULL},
};

static bool put_time(struct arena *a, struct http_param *p, const char *key, int64_t v)
{
    char *text = arena_printf(a, "%lld", (long long)v);
    *p = (struct http_param){str_from(key), str_from(text)};
    return text != NULL;
}

/* start and end of args[1] and args[2]; NULL, or what is wrong with them ("" when over budget). */
static const char *range_params(
    struct arena *a, const struct mcp_call *call, bool seconds, struct http_param *ret)
{
    static const char *const names[] = {"start", "end"};
    /* A range in seconds ends after the one that is passing, so that nothing acked is missed. */
    int64_t now = clock_wall_ns(), at[2] = {now - 3600 * NS_PER_S, now + (seconds ? NS_PER_S : 0)};
    for (unsigned i = 0; i < 2; i++) {
        struct str s = call->args[1 + i];
        if (s.n != 0 && !param_rfc3339(s, &at[i])) {
            const char *said = arena_printf(a,
                "invalid %s time: parsing time \"" STR_FMT
                "\" as \"2006-01-02T15:04:05Z07:00\": not a time of that form",
                names[i], (int)MIN(s.n, 100u), s.p);
            return said != NULL ? said : "";
        }
        if (!put_time(a, &ret[i], names[i], seconds ? at[i] / NS_PER_S : at[i]))
            return "";
    }
    return NULL;
}

static void run_tool(struct api *a, struct exchange *ex, const struct mcp_call *call)
{
    struct arena *arena = exchange_arena(ex);
    const struct tool_endpoint *e = &endpoints[call->tool->run];
    struct mcp_call *kept = ARENA_NEW(arena, struct mcp_call);
    struct http_param *params = ARENA_ARRAY(arena, 3, struct http_param);
    struct query_call *c = ARENA_NEW(arena, struct query_call);
    const char *wrong = kept == NULL || params == NULL || c == NULL ? "" : NULL;
    if (wrong == NULL) {
        *kept = *call;
        *c = (struct query_call){.endpoint = &e->endpoint,
            .path = e->path,
            .tail = e->tail,
            .params = params,
            .wrap = wrap,
            .wrap_arg = kept};
        switch (call->tool->run) {
        case MCP_NAMES:
            params[0] = (struct http_param){STR("scope"), call->args[0]};
            c->n_params = 1;
            break;
        case MCP_VALUES:
            params[0] = (struct http_param){STR("q"), call->args[1]};
            c->n_params = 1;
            c->arg = call->args[0];
            break;
        case MCP_TRACE:
            c->arg = call->args[0];
            break;
        default:
            params[0] = (struct http_param){STR("q"), call->args[0]};
            c->n_params = 3;
            wrong = range_params(arena, call, call->tool->run == MCP_SEARCH, params + 1);
            break;
        }
    }
    if (wrong != NULL) {
        say(ex, call, *wrong != 0 ? wrong : "the server is out of memory for requests");
        return;
    }
    query_job_start_call(a, ex, c);
}

/* ---- HTTP ---- */

static void fail(struct exchange *ex, unsigned status, const char *text)
{
    exchange_set_header(ex, "Vary", STR("Accept-Encoding"));
    respond_http_error(ex, status, text);
}

static bool is_json(struct str content_type)
{
    struct str rest;
    return str_ieq(str_trim(str_cut(content_type, ';', &rest)), STR("application/json"));
}

static void answer_post(struct api *a, struct exchange *ex)
{
    const struct http_request *req = exchange_request(ex);
    struct str session = STR("");
    struct mcp_call call;
    struct buf out;
    char id[MCP_SESSION_LEN];
    if (!is_json(req->content_type)) {
        fail(ex, 400, "Invalid content type: must be 'application/json'");
        return;
    }
    if (req->body.n > MCP_BODY_MAX) {
        fail(ex, 413, "http: request body too large");
        return;
    }
    (void)exchange_header(ex, "Mcp-Session-Id", &session);
    buf_init(&out, a->opt.query_budget);
    enum mcp_outcome outcome =
        mcp_handle(req->body, session, exchange_arena(ex), a->opt.query_budget, &out, &call);
    if (call.tool != NULL)
        metric_inc(metric_series1(&calls_total, str_from(call.tool->name)));
    switch (outcome) {
    case MCP_INITIALIZED:
        mcp_session_new(id);
        exchange_set_header(ex, "Mcp-Session-Id", str_n(id, sizeof(id)));
        respond(ex, 200, "application/json", &out);
        return;
    case MCP_ANSWER:
    case MCP_MALFORMED:
        respond(ex, outcome == MCP_MALFORMED ? 400 : 200, "application/json", &out);
        return;
    case MCP_ACCEPTED:
        respond(ex, 202, NULL, &out);
        return;
    default:
        break;
    }
    buf_deinit(&out);
    if (outcome == MCP_CALL)
        run_tool(a, ex, &call);
    else if (outcome == MCP_NO_SESSION)
        fail(ex, 400, "Invalid session ID");
    else
        fail(ex, 503, "the server is out of memory for requests");
}

void api_mcp(struct api *a, struct exchange *ex)
{
    struct str method = exchange_request(ex)->method, tenant;
    struct buf empty = BUF_INIT;
    if (a->opt.config->multitenancy &&
        (!exchange_header(ex, "X-Scope-OrgID", &tenant) || tenant.n == 0)) {
        respond_http_error(ex, 401, "no org id");
    } else if (str_eq(method, STR("POST"))) {
        answer_post(a, ex);
    } else if (str_eq(method, STR("DELETE"))) {
        exchange_respond(ex, 200, NULL, &empty, true); /* nothing was kept */
    } else if (str_eq(method, STR("GET"))) {
        exchange_set_header(ex, "Allow", STR("POST, DELETE"));
        fail(ex, 405, "Streaming is disabled on this server");
    } else {
        fail(ex, 404, "404 page not found");
    }
}
