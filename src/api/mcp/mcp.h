/* SPDX-License-Identifier: Apache-2.0
 * The Model Context Protocol as Tempo's /api/mcp speaks it: one JSON-RPC message in, its answer or
 * a call of a query tool out. Knows no exchange, no tenant and no span; endpoint.c connects it.
 *
 * Pure functions over their arguments, thread-safe. Sessions are not kept: a session id is only a
 * form that later requests must carry, so any process answers any session. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"

#define MCP_BODY_MAX    (1u << 20) /* a TraceQL text of 128 KiB, every byte escaped, fits */
#define MCP_PARAMS_MAX  3u
#define MCP_SESSION_LEN 48u /* "mcp-session-" and a UUID */

struct mcp_param {
    const char *name, *description;
    bool required;
    const char *const *values; /* NULL-terminated enumeration, or NULL: any string */
};

enum mcp_run { /* who answers a tool */
    MCP_DOCS_CONFIG,
    MCP_DOCS_TRACEQL,
    MCP_NAMES,
    MCP_VALUES,
    MCP_TRACE,
    MCP_INSTANT,
    MCP_RANGE,
    MCP_SEARCH,
};

struct mcp_tool {
    const char *name, *description;
    enum mcp_run run;
    const char *type, *encoding, *version; /* of its results: `_meta` */
    struct mcp_param params[MCP_PARAMS_MAX];
    unsigned n_params;
};

struct mcp_call {
    const struct mcp_tool *tool;     /* NULL: the message calls none */
    struct str args[MCP_PARAMS_MAX]; /* as tool->params; p == NULL: absent */
    struct str id;                   /* JSON text of the request's id */
};

enum mcp_outcome {
    MCP_ANSWER,      /* 200 with `out` */
    MCP_INITIALIZED, /* the same, and a new session id */
    MCP_MALFORMED,   /* 400 with `out`: not a JSON-RPC message */
    MCP_NO_SESSION,  /* 400: neither initialize nor a valid session id */
    MCP_ACCEPTED,    /* 202 without a body: a notification or a response */
    MCP_CALL,        /* run call->tool, then mcp_put_result */
    MCP_OVER_BUDGET, /* 503 */
};

/* session: the Mcp-Session-Id header, may be empty. Strings of *ret_call live in the arena. The
 * parsed tree is charged to `budget` while the function runs. */
enum mcp_outcome mcp_handle(struct bytes body, struct str session, struct arena *arena,
    struct budget *budget, struct buf *out, struct mcp_call *ret_call);
/* The whole answer to a call: `text` is what the tool found, or why it failed. */
void mcp_put_result(
    const struct mcp_tool *tool, struct str id, bool failed, struct str text, struct buf *out);

void mcp_session_new(char out[MCP_SESSION_LEN]);
bool mcp_session_valid(struct str session);

/* ---- tables ---- */
extern const struct mcp_tool mcp_tools[];
extern const unsigned mcp_n_tools;

struct mcp_resource {
    const char *uri, *name, *description;
    void (*put)(struct buf *out); /* Markdown */
};
extern const struct mcp_resource mcp_resources[];
extern const unsigned mcp_n_resources;

/* Documentation by the name that the docs tools take; an unknown one is the first of its kind. */
void mcp_put_traceql_docs(struct str name, struct buf *out);
void mcp_put_config_docs(struct str name, struct buf *out);
extern const char *const mcp_traceql_docs[], *const mcp_config_docs[]; /* the names */

extern const char mcp_docs_basic[], mcp_docs_aggregates[], mcp_docs_structural[],
    mcp_docs_metrics[], mcp_docs_config[];
