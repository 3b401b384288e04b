/* SPDX-License-Identifier: Apache-2.0
 * The documents that a client can list and read, and that the docs tools hand out. */
#include "config/config.h"
#include "mcp.h"

static void put_basic(struct buf *out)
{
    buf_putz(out, mcp_docs_basic);
}

static void put_aggregates(struct buf *out)
{
    buf_putz(out, mcp_docs_aggregates);
}

static void put_structural(struct buf *out)
{
    buf_putz(out, mcp_docs_structural);
}

static void put_metrics(struct buf *out)
{
    buf_putz(out, mcp_docs_metrics);
}

static void put_overview(struct buf *out)
{
    buf_putz(out, mcp_docs_config);
}

/* Sorted by name, as they are listed. */
const struct mcp_resource mcp_resources[] = {
    {"docs://config/overview", "Tempo Config Overview",
        "What each block of the configuration controls; the place to start", put_overview},
    {"docs://config/reference", "Tempo Config Reference",
        "Every key of the configuration with its default, and what it does here", config_reference},
    {"docs://traceql/aggregates", "TraceQL Aggregates Docs",
        "Aggregates over the spans of a trace: count, sum, avg, min, max, grouping",
        put_aggregates},
    {"docs://traceql/basic", "TraceQL Basic Docs",
        "Attributes, intrinsics, operators and literals, and an overview of the other documents",
        put_basic},
    {"docs://traceql/metrics", "TraceQL Metrics Docs", "Time series and single numbers from traces",
        put_metrics},
    {"docs://traceql/query", "TraceQL Query Docs", "The same as TraceQL Basic Docs", put_basic},
    {"docs://traceql/structural", "TraceQL Structural Docs",
        "Queries over parents, children, ancestors, descendants and siblings", put_structural},
};
const unsigned mcp_n_resources = ARRAY_LEN(mcp_resources);

void mcp_put_traceql_docs(struct str name, struct buf *out)
{
    static void (*const put[])(struct buf *) = {
        put_basic, put_aggregates, put_structural, put_metrics};
    size_t i = 0;
    while (mcp_traceql_docs[i] != NULL && !str_eqz(name, mcp_traceql_docs[i]))
        i++;
    put[mcp_traceql_docs[i] == NULL ? 0 : i](out);
}

void mcp_put_config_docs(struct str name, struct buf *out)
{
    if (str_eqz(name, mcp_config_docs[1]))
        config_reference(out);
    else
        put_overview(out);
}
