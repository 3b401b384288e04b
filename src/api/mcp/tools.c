/* SPDX-License-Identifier: Apache-2.0
 * The tools, by name: Tempo's names, arguments and result types; the descriptions are what a
 * language model reads before it chooses one. */
#include "mcp.h"

#define START "RFC 3339 time where the range begins; an hour ago when absent"
#define END   "RFC 3339 time where the range ends; now when absent"

const char *const mcp_traceql_docs[] = {"basic", "aggregates", "structural", "metrics", NULL};
const char *const mcp_config_docs[] = {"config-overview", "config-reference", NULL};

/* Sorted by name, as they are listed. */
const struct mcp_tool mcp_tools[] = {
    {"docs-config",
        "How to configure and operate this server: an overview of the configuration, or the "
        "reference "
        "of every key with its default",
        MCP_DOCS_CONFIG, "documentation", "markdown", "1",
        {{"name", "Which document; begin with the overview", true, mcp_config_docs}}, 1},
    {"docs-traceql",
        "How to write TraceQL: read this before the first query. basic: attributes, intrinsics, "
        "operators; aggregates: count, avg and so on over the spans of a trace; structural: "
        "parents, "
        "children, siblings; metrics: time series from traces",
        MCP_DOCS_TRACEQL, "documentation", "markdown", "1",
        {{"name", "Which document", true, mcp_traceql_docs}}, 1},
    {"get-attribute-names", "List the attribute names that queries can use, by scope", MCP_NAMES,
        "attribute-names", "json", "2",
        {{"scope",
            "Only this scope: span, resource, event, link, instrumentation or intrinsic; all when "
            "absent",
            false, NULL}},
        1},
    {"get-attribute-values",
        "List the values of one attribute, for instance of resource.service.name to see which "
        "services there are",
        MCP_VALUES, "attribute-values", "json", "2",
        {{"name", "The attribute with its scope, such as span.http.method", true, NULL},
            {"filter-query",
                "Only values on spans that match this filter: one pair of braces with conditions "
                "joined "
                "by && or ||, such as { resource.service.name = \"cart\" && status = error }",
                false, NULL}},
        2},
    {"get-trace", "Fetch one trace by its id, with all spans", MCP_TRACE, "trace", "json", "2",
        {{"trace_id", "The trace id, in hex", true, NULL}}, 1},
    {"traceql-metrics-instant",
        "Compute one number per series over a time range with a TraceQL metrics query: the "
        "cheapest "
        "answer to how many, how often, how slow",
        MCP_INSTANT, "metrics-instant", "json", "1",
        {{"query", "TraceQL metrics query, such as { status = error } | rate()", true, NULL},
            {"start", START, false, NULL}, {"end", END, false, NULL}},
        3},
    {"traceql-metrics-range",
        "Compute time series with a TraceQL metrics query: how a number developed over the range",
        MCP_RANGE, "metrics-range", "json", "1",
        {{"query", "TraceQL metrics query, such as { } | rate() by (resource.service.name)", true,
             NULL},
            {"start", START, false, NULL}, {"end", END, false, NULL}},
        3},
    {"traceql-search", "Find traces with a TraceQL query, newest first", MCP_SEARCH,
        "search-results", "json", "1",
        {{"query", "TraceQL query, such as { resource.service.name = \"cart\" && duration > 1s }",
             true, NULL},
            {"start", START, false, NULL}, {"end", END, false, NULL}},
        3},
};
const unsigned mcp_n_tools = ARRAY_LEN(mcp_tools);
