#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""/api/mcp: the Python client of the Model Context Protocol calls every tool and reads every document; then
raw requests, right and wrong, with what Tempo's library answers to them.
"""
import asyncio
import json
import pathlib
import sys
import threading
import warnings

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import venv  # noqa: E402

venv.use("requirements-mcp.txt")

import httpx2  # noqa: E402
from mcp.client.client import Client  # noqa: E402
from mcp.client.streamable_http import streamable_http_client  # noqa: E402
from mcp.shared.exceptions import MCPError  # noqa: E402

from checks import Checks  # noqa: E402
from otlp import get, http_request, now_ns, post, request, span, trace_id, window  # noqa: E402
from server import Server  # noqa: E402

c = Checks()
ON = {"query_frontend": {"mcp_server": {"enabled": True}}}
TOOLS = {"docs-config": ["name"], "docs-traceql": ["name"], "get-attribute-names": [],
         "get-attribute-values": ["name"], "get-trace": ["trace_id"],
         "traceql-metrics-instant": ["query"], "traceql-metrics-range": ["query"],
         "traceql-search": ["query"]}
DOCS = {f"docs://traceql/{n}" for n in ("basic", "aggregates", "structural", "metrics", "query")} | {
    "docs://config/overview", "docs://config/reference"}


def send(server, *spans, headers=None, service="cart"):
    a = post(server, request(list(spans), service), headers=headers)
    c.check("sent", a.status == 200 and not a.json()["partialSuccess"], a)


# ---- the client ----

async def with_client(server, mode, headers, function, *args):
    async with httpx2.AsyncClient(headers=headers or {}, timeout=20) as http:
        transport = streamable_http_client(f"{server.url}/api/mcp", http_client=http)
        async with Client(transport, mode=mode) as client:
            await function(client, *args)


def client(server, function, *args, mode="legacy", headers=None):
    try:
        asyncio.run(with_client(server, mode, headers, function, *args))
    except BaseExceptionGroup as e:  # what the client's tasks wrap around the one that matters
        while isinstance(e, BaseExceptionGroup):
            e = e.exceptions[0]
        raise e


async def call(mcp, name, /, **arguments):
    """(failed, text, _meta)"""
    r = await mcp.call_tool(name, {k.replace("_q", "-q"): v for k, v in arguments.items()})
    c.equal(f"{name}: one text", [x.type for x in r.content], ["text"])
    return bool(r.is_error), r.content[0].text, r.meta


async def good(mcp, kind, name, /, **arguments):
    """The JSON of a result, or its text; checked to be no failure and of that type."""
    failed, text, meta = await call(mcp, name, **arguments)
    c.check(f"{name} {arguments}: works", not failed, text)
    c.equal(f"{name}: type", (meta or {}).get("type"), kind)
    return json.loads(text) if (meta or {}).get("encoding") == "json" else text


async def bad(mcp, want, name, /, **arguments):
    failed, text, _ = await call(mcp, name, **arguments)
    c.check(f"{name} {arguments}: fails", failed and want in text, text)


async def lists(mcp, mode):
    c.equal("server", (mcp.server_info.name, mcp.server_info.version), ("tempo", "0.1.0"))
    c.check("capabilities", mcp.server_capabilities.tools is not None and
            mcp.server_capabilities.resources is not None, mcp.server_capabilities)
    if mode == "legacy":
        with warnings.catch_warnings(action="ignore"):  # newer revisions of the protocol have no ping
            await mcp.send_ping()
    tools = (await mcp.list_tools()).tools
    c.equal("tools, by name", [t.name for t in tools], sorted(TOOLS))
    for t in tools:
        schema = t.input_schema
        c.equal(f"{t.name}: required", schema.get("required", []), TOOLS[t.name])
        c.check(f"{t.name}: described", t.description and all(
            p["type"] == "string" and p["description"] for p in schema["properties"].values()), schema)
        c.equal(f"{t.name}: annotations", (t.annotations.read_only_hint, t.annotations.destructive_hint,
                                           t.annotations.open_world_hint), (True, False, False))
    resources = (await mcp.list_resources()).resources
    c.equal("resources", {str(r.uri) for r in resources}, DOCS)
    for r in resources:
        text = (await mcp.read_resource(str(r.uri))).contents
        c.check(f"{r.uri}", len(text) == 1 and text[0].mime_type == "text/markdown" and
                text[0].text.startswith("# ") and len(text[0].text) > 500, text[0].text[:60])
    c.equal("templates", (await mcp.list_resource_templates()).resource_templates, [])
    for method in (mcp.list_prompts, lambda: mcp.read_resource("docs://nothing/here")):
        try:
            await method()
            c.check("must fail", False, method)
        except MCPError as e:
            c.check("an MCP error", e.error.code in (-32601, -32002), e)
    for name in ("basic", "aggregates", "structural", "metrics"):
        text = await good(mcp, "documentation", "docs-traceql", name=name)
        c.check(f"docs {name}", text.startswith("# TraceQL: ") and "{ " in text, text[:50])
    text = await good(mcp, "documentation", "docs-config", name="config-reference")
    c.contains("reference", text, "`query_frontend.mcp_server.enabled`")
    text = await good(mcp, "documentation", "docs-config", name="config-overview")
    c.contains("overview", text, "`query_frontend.mcp_server`")
    try:
        await mcp.call_tool("no-such-tool", {})
        c.check("an unknown tool must fail", False)
    except MCPError as e:
        c.equal("unknown tool", e.error.code, -32602)


async def queries(mcp, server, s):
    got = await good(mcp, "search-results", "traceql-search",
                     query='{ resource.service.name = "cart" && span.http.status_code = 500 }')
    c.equal("found", [t["traceID"] for t in got["traces"]], [s["traceId"].lstrip("0")])
    http = get(server, "/api/search", {"Accept": "application/vnd.grafana.llm"}, q="{ }",
               **window()).json()
    c.equal("as over HTTP", (await good(mcp, "search-results", "traceql-search",
                                        query="{ }"))["traces"], http["traces"])
    got = await good(mcp, "search-results", "traceql-search", query="{ }",
                     start="2020-01-01T00:00:00Z", end="2020-01-01T05:00:00.5+01:00")
    c.equal("another range", got["traces"], [])
    got = await good(mcp, "trace", "get-trace", trace_id=s["traceId"])
    c.equal("trace", got["trace"]["services"][0]["serviceName"], "cart")
    c.equal("no trace", await good(mcp, "trace", "get-trace", trace_id=trace_id()), {})
    got = await good(mcp, "attribute-names", "get-attribute-names")
    c.check("names", {"resource", "span", "intrinsic"} <= {x["name"] for x in got["scopes"]}, got)
    got = await good(mcp, "attribute-names", "get-attribute-names", scope="span")
    c.equal("names of a scope", got["scopes"], [{"name": "span", "tags": ["http.status_code"]}])
    got = await good(mcp, "attribute-values", "get-attribute-values", name="span.http.status_code")
    c.equal("values", got["tagValues"], {"int": ["200", "500"]})
    got = await good(mcp, "attribute-values", "get-attribute-values", name="span.http.status_code",
                     filter_query="{ status = error }")
    c.equal("filtered values", got["tagValues"], {"int": ["500"]})
    got = await good(mcp, "metrics-instant", "traceql-metrics-instant",
                     query="{ } | count_over_time() by (status)")
    c.equal("instant", sorted(x["value"] for x in got["series"]), [1, 1])
    got = await good(mcp, "metrics-range", "traceql-metrics-range", query="{ } | count_over_time()")
    total = sum(p.get("value", 0) for p in got["series"][0]["samples"])
    c.equal("range", total, 2)


async def mistakes(mcp):
    await bad(mcp, "query parse error. Consult TraceQL docs tools: parse error at line 1",
              "traceql-search", query="{ nonsense")
    await bad(mcp, "received on traceql-search tool. Use the traceql-metrics-instant",
              "traceql-search", query="{ } | rate()")
    await bad(mcp, "received on instant query tool", "traceql-metrics-instant", query="{ }")
    await bad(mcp, "received on range query tool", "traceql-metrics-range", query="{ }")
    await bad(mcp, "invalid start time: ", "traceql-search", query="{ }", start="yesterday")
    await bad(mcp, "invalid end time: ", "traceql-metrics-range", query="{ } | rate()", end="1")
    await bad(mcp, 'required argument "query" not found', "traceql-search")
    await bad(mcp, 'argument "query" is not a string', "traceql-search", query=5)
    await bad(mcp, "tool failed with http status code 400 and reason http parameter start must be "
                   "before end.", "traceql-search", query="{ }", start="2020-01-02T00:00:00Z",
              end="2020-01-01T00:00:00Z")
    await bad(mcp, "tool failed with http status code 400 and reason range specified by start and end "
                   "exceeds 168h0m0s", "traceql-search", query="{ }", start="2020-01-01T00:00:00Z")
    await bad(mcp, "metrics query time range exceeds the maximum allowed duration of 24h0m0s",
              "traceql-metrics-instant", query="{ } | rate()", start="2020-01-01T00:00:00Z")
    await bad(mcp, "tool failed with http status code 400 and reason trace IDs can only contain hex",
              "get-trace", trace_id="xyz")
    await bad(mcp, "reason invalid scope: nothing", "get-attribute-names", scope="nothing")
    await bad(mcp, "please provide a valid tagName", "get-attribute-values", name="a b")
    await bad(mcp, "please provide a non-empty tagName", "get-attribute-values", name="")
    await bad(mcp, "filter-query invalid. It must have a single spanset", "get-attribute-values",
              name="span.a", filter_query="{ } >> { }")
    await bad(mcp, "maximum condition groups reached", "get-attribute-values", name="span.a",
              filter_query="{" + " || ".join(f"span.a = {i}" for i in range(101)) + "}")
    await bad(mcp, "reason TraceQL expression exceeds the configured maximum size of 131072 bytes",
              "traceql-search", query='{ .a = "' + "x" * 131072 + '" }')
    failed, text, _ = await call(mcp, "traceql-search", query='{ .a = "' + "x" * 131000 + '" }')
    c.check("a query of 131,010 bytes", not failed, text[:200])


def sdk():
    with Server(ON) as server:
        now = now_ns()
        failing = span(name="failing", start=now, attributes={"http.status_code": 500}, status={"code": 2})
        send(server, failing, span(name="fine", start=now, attributes={"http.status_code": 200}))
        for mode in ("legacy", "auto"):
            c.run(f"lists {mode}", lambda m=mode: client(server, lists, m, mode=m))
        c.run("queries", lambda: client(server, queries, server, failing))
        c.run("mistakes", lambda: client(server, mistakes))
        metrics = get(server, "/metrics").text
        for tool in TOOLS:
            c.contains("counted", metrics, f'tempo_query_frontend_mcp_calls_total{{tool="{tool}"}}')
        c.contains("route label", metrics, 'route="api_mcp"')


async def sees(mcp, names):
    got = await good(mcp, "search-results", "traceql-search", query="{ }")
    c.equal("its own traces", sorted(t["rootTraceName"] for t in got["traces"]), names)


async def refused(mcp, text):
    await bad(mcp, text, "traceql-search", query="{ }")


def tenants():
    with Server({**ON, "multitenancy_enabled": True}) as server:
        for tenant in ("a", "b"):
            send(server, span(name=f"of-{tenant}"), headers={"X-Scope-OrgID": tenant})
        for tenant, names in (("a", ["of-a"]), ("b", ["of-b"]), ("a|b", ["of-a", "of-b"]), ("x", [])):
            client(server, sees, names, headers={"X-Scope-OrgID": tenant})
        client(server, refused, "tool failed with http status code 400 and reason tenant ID 'a#' "
                                "contains unsupported character '#'", headers={"X-Scope-OrgID": "a#"})
        for method in ("GET", "POST", "DELETE"):
            a = http_request(server.url + "/api/mcp", method)
            c.equal(f"{method} without a tenant", (a.status, a.text), (401, "no org id\n"))


def limits():
    extra = {"query_frontend": {"mcp_server": {"enabled": True}, "url_deny_list": ["deny.?me"],
                                "search": {"max_duration": "2h"}, "api_timeout": "1ns"}}
    with Server(extra) as server:
        send(server, span())
        client(server, refused, "tool failed with http status code 503 and reason unable to process "
                                "request in the configured timeout")

        async def denied(mcp):
            await bad(mcp, "This query has been identified as one that destabilizes our system",
                      "traceql-search", query="{ .denyXme = 1 }")
        client(server, denied)


# ---- raw requests ----

def rpc(server, body, session=None, content_type="application/json", method="POST"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {k: v for k, v in (("Content-Type", content_type), ("Mcp-Session-Id", session)) if v}
    return http_request(server.url + "/api/mcp", method, data, headers)


def message(method, params=None, number=1):
    out = {"jsonrpc": "2.0", "id": number, "method": method}
    return {**out, "params": params} if params is not None else out


def raw(server):
    a = rpc(server, message("initialize", {"protocolVersion": "2024-11-05"}))
    c.equal("initialize", (a.status, a.header("content-type")), (200, "application/json"))
    c.equal("version", a.json()["result"]["protocolVersion"], "2024-11-05")
    session = a.header("mcp-session-id")
    c.check("session", session.startswith("mcp-session-") and len(session) == 48, session)
    c.check("another session", rpc(server, message("initialize")).header("mcp-session-id") != session)
    a = rpc(server, message("ping", number="text"), session)
    c.equal("ping", (a.status, a.json()), (200, {"jsonrpc": "2.0", "id": "text", "result": {}}))
    c.equal("vary", a.header("vary"), "Accept-Encoding")
    c.check("no session in other answers", not a.header("mcp-session-id"), a.headers)
    a = rpc(server, {"jsonrpc": "2.0", "method": "notifications/initialized"}, session)
    c.equal("notification", (a.status, a.body), (202, b""))
    a = rpc(server, {"jsonrpc": "2.0", "id": 5, "result": {}})
    c.equal("response", (a.status, a.body), (202, b""))
    for wrong in (None, "", "x", session[:-1], session.replace("mcp-", "")):
        a = rpc(server, message("ping"), wrong)
        c.equal(f"session {wrong}", (a.status, a.text), (400, "Invalid session ID\n"))
        c.equal("vary of a refusal", a.header("vary"), "Accept-Encoding")
    for kind in (None, "text/plain", "application/jsonx", "application/x-www-form-urlencoded"):
        a = rpc(server, message("ping"), session, kind)
        c.equal(f"type {kind}", (a.status, a.text),
                (400, "Invalid content type: must be 'application/json'\n"))
    c.equal("type with charset", rpc(server, message("ping"), session,
                                     "Application/JSON; charset=utf-8").status, 200)
    a = rpc(server, b"", session, method="DELETE")
    c.equal("DELETE", (a.status, a.body), (200, b""))
    c.equal("DELETE without a session", rpc(server, b"", method="DELETE").status, 200)
    c.equal("still there", rpc(server, message("ping"), session).status, 200)
    a = rpc(server, b"", session, method="GET")
    c.equal("GET: no stream", (a.status, a.header("allow")), (405, "POST, DELETE"))
    for method in ("PUT", "PATCH", "OPTIONS"):
        a = rpc(server, b"", session, method=method)
        c.equal(method, (a.status, a.text), (404, "404 page not found\n"))


def malformed(server):
    session = rpc(server, message("initialize")).header("mcp-session-id")
    parse = {"jsonrpc": "2.0", "id": None,
             "error": {"code": -32700, "message": "request body is not valid json"}}
    for body in (b"", b"{", b"[]", b"5", b'"x"', b"\xff\xfe", b'{"a":}', b"{" * 100000, b"[" * 100000,
                 json.dumps([message("ping")]).encode(), b'{"method":5}', b"{}{}", b"nul"):
        a = rpc(server, body, session)
        c.equal(f"{body[:10]!r}", (a.status, a.header("content-type"), a.json()),
                (400, "application/json", parse))
    for body, code in (({"id": 1, "method": "ping"}, -32600),
                       ({"jsonrpc": 2.0, "id": 1, "method": "ping"}, -32600),
                       (message("ping", number=[1]), -32600), (message("tools/list", []), -32600),
                       (message("tools/call", {"name": 5}), -32600), (message("nothing"), -32601),
                       (message(""), -32601), (message("prompts/get"), -32601),
                       (message("logging/setLevel", {"level": "info"}), -32601),
                       (message("tools/call", {}), -32602), (message("tools/call"), -32602),
                       (message("tools/list", {"cursor": "%%"}), -32602),
                       (message("resources/read", {}), -32002)):
        a = rpc(server, body, session)
        c.equal(f"{body}: status", a.status, 200)
        c.equal(f"{body}: code", a.json()["error"]["code"], code)
    for key, value in (("text", "\u0000\u2028<&>\"\\ \U0001f600"), ("long", "x" * 200000)):
        a = rpc(server, message("tools/call", {"name": value}), session)
        c.check(f"{key} name", a.status == 200 and a.json()["error"]["code"] == -32602 and
                len(a.body) < 2000, a)
        a = rpc(server, message("ping", number=value), session)
        c.equal(f"{key} id", a.json()["id"], value)
    a = rpc(server, b" " * (2**20 + 1), session)
    c.equal("a body of over 1 MiB", (a.status, a.text.strip()), (413, "http: request body too large"))
    c.equal("1 MiB", rpc(server, json.dumps(message("ping")).encode().ljust(2**20), session).status, 200)
    wide = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":[' + b"[]," * 300000 + b"0]}}"
    c.check("a wide tree", rpc(server, wide, session).status in (200, 503))
    results = []
    body = message("tools/call", {"name": "traceql-metrics-range", "arguments": {"query": "{}|rate()"}})
    threads = [threading.Thread(target=lambda: results.append(rpc(server, body, session)))
               for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    c.check("16 at once", [r.json()["result"].get("isError") for r in results] == [None] * 16)
    c.equal("alive", get(server, "/api/echo").status, 200)


def off():
    with Server() as server:
        for method in ("GET", "POST", "DELETE"):
            a = rpc(server, message("initialize"), method=method)
            c.equal(method, (a.status, a.text), (404, "404 page not found\n"))
    with Server({**ON, "http_api_prefix": "/tempo"}) as server:
        c.equal("prefix", rpc(server, message("initialize")).status, 404)
        a = http_request(server.url + "/tempo/api/mcp", "POST", json.dumps(message("initialize")).encode(),
                         {"Content-Type": "application/json"})
        c.equal("under the prefix", a.status, 200)


def main():
    with Server(ON) as server:
        c.run("raw", raw, server)
        c.run("malformed", malformed, server)
    for f in (off, sdk, tenants, limits):
        c.run(f.__name__, f)
    c.finish()


if __name__ == "__main__":
    main()
