#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The query API over HTTP/1.1, requirement by requirement: transport, tenancy, traces, search, tags.

Needs nothing beyond Python. Each function is one group; ONLY=pattern runs some of them.
"""
import base64
import gzip
import http.client
import json
import pathlib
import signal
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from checks import Checks  # noqa: E402
from otlp import (attrs, fields, get, http_request, now_ns, post, request, span,  # noqa: E402
                  span_id, trace_id, window)
from server import Server, merge  # noqa: E402

c = Checks()
TENANT_PATHS = ["/api/traces/1", "/api/v2/traces/1", "/api/search", "/api/search/tags",
                "/api/v2/search/tags", "/api/search/tag/name/values",
                "/api/v2/search/tag/name/values", "/api/metrics/query_range?q={}|rate()",
                "/api/metrics/query?q={}|rate()"]


def send(server, *spans, service="svc", headers=None, resource=None):
    a = post(server, request(list(spans), service, resource), headers=headers)
    if a.status != 200 or a.json()["partialSuccess"]:
        raise AssertionError(f"not stored: {a}")


def search(server, q, headers=None, **params):
    return get(server, "/api/search", headers, q=q, **{**window(), **params})


def found(server, q, headers=None, **params):
    a = search(server, q, headers, **params)
    if a.status != 200:
        raise AssertionError(f"{q}: {a}")
    return a.json()["traces"]


def error(name, answer, status, text, exact=False):
    c.equal(f"{name}: status", answer.status, status)
    if exact:
        c.equal(f"{name}: text", answer.text, text)
    else:
        c.contains(f"{name}: text", answer.text, text)
    if text:
        c.contains(f"{name}: type", answer.header("content-type"), "text/plain")


# ---- transport and operations ----

def ready():
    server = Server()
    server.spawn()
    seen = set()
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            a = get(server, "/ready")
            seen.add(a.status)
            if a.status == 200:
                break
            c.check("text while starting", a.text.startswith("Some services are not Running:"), a)
        except OSError:
            pass
    with server:
        c.equal("ready", (a.status, a.text), (200, "ready\n"))
        c.contains("type", a.header("content-type"), "text/plain")


def stopping():
    with Server({"shutdown_delay": "1s"}) as server:
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        a = get(server, "/ready")
        c.equal("stopping", (a.status, a.text), (503, "Application is stopping\n"))
        c.equal("exit", server.process.wait(5), 0)


def small_endpoints(server):
    a = get(server, "/api/echo")
    c.equal("echo", (a.status, a.text), (200, "echo\n"))
    a = get(server, "/api/status/buildinfo")
    c.equal("buildinfo type", a.header("content-type"), "application/json")
    info = a.json()
    c.equal("members", list(info), ["version", "revision", "branch", "buildUser", "buildDate",
                                    "goVersion"])
    c.check("all strings", all(isinstance(v, str) for v in info.values()), info)
    c.check("semver", all(p.isdigit() for p in info["version"].split(".")), info["version"])
    c.equal("POST", http_request(server.url + "/api/status/buildinfo", "POST").status, 405)
    c.equal("metrics", get(server, "/metrics").status, 200)
    c.contains("tempo_ metrics", get(server, "/metrics").text, "\ntempo_")
    a = get(server, "/status")
    for section in ("version", "services", "endpoints", "config"):
        c.contains("status", a.text, f"GET /status/{section}")
    c.contains("version", get(server, "/status/version").text, "tempo, version 3.0.3")
    c.equal("unknown section", get(server, "/status/nothing").status, 404)


def routing(server):
    nosniff = "nosniff"
    for path in ("/", "/nothing", "/api", "/api/search/", "/api/v1/traces", "/api/traces",
                 "/api/traces/", "/flush", "/shutdown", "/api/usage", "/usage_metrics",
                 "/api/overrides", "/api/mcp"):
        a = get(server, path)
        c.equal(path, (a.status, a.text), (404, "404 page not found\n"))
        c.equal(f"{path}: nosniff", a.header("x-content-type-options"), nosniff)
    for path, to in {"/api//search": "/api/search", "/api/./search": "/api/search",
                     "/api/x/../search?q={}": "/api/search?q={}"}.items():
        a = get(server, path)
        c.equal(path, a.status, 301)
        c.contains(f"{path}: location", a.header("location"), to.split("?")[0])
    a = http_request(server.url + "/api/search?q=%7B%7D", "POST", b"limit=0",
                     {"Content-Type": "application/x-www-form-urlencoded"})
    c.equal("POST is like GET, its body ignored", a.status, 200)
    c.equal("OPTIONS is like GET", http_request(server.url + "/api/search", "OPTIONS").status, 200)


def prefix():
    with Server({"http_api_prefix": "/tempo"}) as server:
        want = {"/tempo/api/search": 200, "/api/search": 404, "/ready": 200, "/tempo/ready": 404,
                "/tempo/api/echo": 200, "/tempo/api/status/buildinfo": 200,
                "/tempo/api/v2/search/tags": 200, "/metrics": 200, "/status/version": 200}
        for path, status in want.items():
            c.equal(path, get(server, path).status, status)


def headers(server):
    send(server, *[span(name=f"op-{i}", attributes={f"key-{i}": "v"}) for i in range(60)])
    for path in TENANT_PATHS[:7]:
        a = get(server, path)
        c.equal(f"{path}: vary", a.header("vary"), "Accept-Encoding")
        for name in ("access-control-allow-origin", "cache-control", "etag"):
            c.equal(f"{path}: {name}", a.header(name), "")
        if a.status == 200:
            c.equal(f"{path}: type", a.header("content-type"), "application/json")
    a = get(server, "/api/search", q="{ nonsense")
    c.equal("error vary", a.header("vary"), "Accept-Encoding")
    c.equal("error type", a.header("content-type"), "text/plain; charset=utf-8")
    long = "/api/v2/search/tags"
    plain = get(server, long)
    c.check("long enough", len(plain.body) >= 1024, len(plain.body))
    a = get(server, long, {"Accept-Encoding": "gzip"})
    c.equal("gzip", a.header("content-encoding"), "gzip")
    if a.header("content-encoding") == "gzip":
        c.equal("same content", json.loads(gzip.decompress(a.body)), plain.json())
    a = get(server, long, {"Accept-Encoding": "gzip, zstd"})
    c.equal("zstd wins a tie", a.header("content-encoding"), "zstd")
    c.check("zstd magic", a.body[:4] == b"\x28\xb5\x2f\xfd", a.body[:4])
    a = get(server, long, {"Accept-Encoding": "gzip;q=1.0, zstd;q=0.5"})
    c.equal("q-values", a.header("content-encoding"), "gzip")
    for offered in ("identity", "*", "br", "gzip;q=0"):
        a = get(server, long, {"Accept-Encoding": offered})
        c.equal(f"offer {offered}", a.header("content-encoding"), "")
    a = get(server, "/api/v2/traces/1", {"Accept-Encoding": "gzip"})
    c.equal("short", a.header("content-encoding"), "")
    a = http_request(server.url + long, "HEAD", headers={"Accept-Encoding": "gzip"})
    c.equal("HEAD", (a.status, a.body), (200, b""))


def keep_alive(server):
    conn = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=10)
    conn.connect()
    before = conn.sock
    statuses = []
    for path in ("/ready", "/api/search", "/nothing", "/api/traces/xyz", "/api/echo"):
        conn.request("GET", path)
        r = conn.getresponse()
        r.read()
        statuses.append(r.status)
    c.equal("statuses", statuses, [200, 200, 404, 400, 200])
    c.check("one connection for all", conn.sock is before)
    conn.close()
    with socket.create_connection(("127.0.0.1", server.http_port), 5) as s:
        s.sendall(b"GET /api/echo HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        data = b""
        while data.count(b"echo\n") < 3:
            piece = s.recv(4096)
            if not piece:
                break
            data += piece
    c.equal("pipelined", data.count(b"HTTP/1.1 200"), 3)


def status_config(server):
    a = get(server, "/status/config")
    c.check("head", a.text.startswith("GET /status/config\n---\n"), a.text[:60])
    c.contains("content", a.text, f"http_listen_port: {server.http_port}")
    c.equal("/config too", get(server, "/config").status, 200)
    diff = get(server, "/status/config", mode="diff").text
    c.check("diff is shorter", f"{server.http_port}" in diff and len(diff) < len(a.text))
    c.equal("defaults", get(server, "/status/config", mode="defaults").status, 200)
    error("bogus", get(server, "/status/config", mode="bogus"), 500,
          "unknown value for mode query parameter: ")


# ---- tenancy ----

def tenancy():
    with Server({"multitenancy_enabled": True}) as server:
        a_head, b_head = {"X-Scope-OrgID": "a"}, {"X-Scope-OrgID": "b"}
        both = {"X-Scope-OrgID": "a|b"}
        one, two, shared = span(name="of-a"), span(name="of-b"), trace_id()
        send(server, one, span(shared, "half-a"), headers=a_head, service="only-a")
        send(server, two, span(shared, "half-b"), headers=b_head, service="only-b")
        for path in TENANT_PATHS:
            a = get(server, path)
            c.equal(path, (a.status, a.text), (401, "no org id\n"))
            c.equal(f"{path}: no vary", a.header("vary"), "")
        c.equal("empty header", get(server, "/api/search", {"X-Scope-OrgID": ""}).status, 401)
        for path in ("/ready", "/metrics", "/api/echo", "/api/status/buildinfo", "/status/config"):
            c.equal(path, get(server, path).status, 200)
        for name, text in {"a#b": "contains unsupported character '#'",
                           "a/b": "contains unsupported character '/'",
                           "x" * 151: "tenant ID is too long: max 150 characters",
                           "..": "tenant ID is '.' or '..'", ".": "tenant ID is '.' or '..'",
                           "a||b": "no org id", "|a": "no org id", "a|": "no org id"}.items():
            for path in ("/api/search", "/api/traces/1", "/api/v2/search/tags"):
                error(f"{name[:6]} {path}", get(server, path, {"X-Scope-OrgID": name}), 400, text,
                      exact="no org" in text)

        def names(head):
            return sorted(t["rootTraceName"] for t in found(server, "{}", head))

        c.equal("a sees a", [n for n in names(a_head) if n.startswith("of-")], ["of-a"])
        c.equal("b sees b", [n for n in names(b_head) if n.startswith("of-")], ["of-b"])
        c.equal("a|b sees both", [n for n in names(both) if n.startswith("of-")], ["of-a", "of-b"])
        c.equal("b|a|a is the same", names({"X-Scope-OrgID": "b|a|a"}), names(both))
        path = f"/api/v2/traces/{shared}"
        count = {h: sum(len(ss["spans"]) for rs in get(server, path, {"X-Scope-OrgID": h}).json()
                        ["trace"].get("resourceSpans", []) for ss in rs["scopeSpans"])
                 for h in ("a", "b", "a|b", "c")}
        c.equal("spans of a shared id", count, {"a": 1, "b": 1, "a|b": 2, "c": 0})
        c.equal("metadata is stripped", names({"X-Scope-OrgID": "a:k=v"}), names(a_head))
        services = get(server, "/api/v2/search/tag/resource.service.name/values", both).json()
        c.equal("values of both", sorted(v["value"] for v in services["tagValues"]),
                ["only-a", "only-b"])
        c.equal("unknown tenant", found(server, "{}", {"X-Scope-OrgID": "nobody"}), [])
        c.equal("no folder for it", [p for p in server.folder.rglob("*") if "nobody" in str(p)], [])
        server.restart()
        c.equal("from blocks: a", [n for n in names(a_head) if n.startswith("of-")], ["of-a"])
        c.equal("from blocks: b", [n for n in names(b_head) if n.startswith("of-")], ["of-b"])
    with Server({"multitenancy_enabled": True,
                 "query_frontend": {"multi_tenant_queries_enabled": False}}) as server:
        error("fan-out off", get(server, "/api/search", both), 400, "multiple org IDs present")


def tenancy_off(server):
    s = span(name="shared")
    send(server, s)
    for head in ({}, {"X-Scope-OrgID": "any"}, {"X-Scope-OrgID": "a#b"}):
        c.equal(str(head), get(server, f"/api/traces/{s['traceId']}", head).status, 200)


# ---- trace by id ----

def trace_ids(server):
    error("xyz", get(server, "/api/traces/xyz"), 400,
          "trace IDs can only contain hex characters: invalid character 'x' at position 1", True)
    error("position", get(server, "/api/v2/traces/12g4"), 400,
          "trace IDs can only contain hex characters: invalid character 'g' at position 3", True)
    error("33 digits", get(server, "/api/traces/" + "1" * 33), 400,
          "trace IDs can't be larger than 128 bits", True)
    s = span(f"{now_ns() & 0xffffffffffff:032x}")
    send(server, s)
    short = s["traceId"].lstrip("0")
    for text in (short, "0" + short, short.upper(), s["traceId"], "000" + short):
        c.equal(f"id {text}", get(server, f"/api/traces/{text}").status, 200)
    a = get(server, "/api/traces/ffffffffffffffff")
    c.equal("v1 unknown", (a.status, a.body), (404, b""))
    a = get(server, "/api/v2/traces/ffffffffffffffff")
    c.equal("v2 unknown", (a.status, a.json().get("trace")), (200, {}))
    c.check("v2 unknown metrics", "metrics" in a.json(), a)
    c.equal("zero id", get(server, "/api/traces/0").status, 404)


def trace_parameters(server):
    s = span()
    send(server, s)
    path = f"/api/traces/{s['traceId']}"
    error("start after end", get(server, path, start=20, end=10), 400,
          "http parameter start must be before end. received start=20 end=10", True)
    error("mode", get(server, path, mode="foo"), 400, "invalid value for mode foo", True)
    error("start", get(server, path, start="x"), 400,
          'invalid start: strconv.ParseInt: parsing "x": invalid syntax', True)
    error("end", get(server, path, end="99999999999999999999"), 400, "value out of range")
    error("blockStart", get(server, path, blockStart="x"), 400, "invalid value for block")
    error("id before mode", get(server, "/api/traces/xyz", mode="foo"), 400, "hex characters")
    for params in ({"mode": "all"}, {"start": 1, "end": 2}, {"start": 5}, {"mode": ""},
                   {"whatever": 1}):
        c.equal(f"found with {params}", get(server, path, **params).status, 200)


def trace_json(server):
    s = span(kind=2, status={"code": 2}, attributes={"i": 5}, parentSpanId=span_id())
    send(server, s)
    v1 = get(server, f"/api/traces/{s['traceId']}").json()
    v2 = get(server, f"/api/v2/traces/{s['traceId']}").json()
    c.equal("v1 top", list(v1), ["batches"])
    c.equal("v2 top", list(v2)[:1], ["trace"])
    c.equal("same content", v1["batches"], v2["trace"]["resourceSpans"])
    got = v1["batches"][0]["scopeSpans"][0]["spans"][0]
    c.equal("trace id", base64.b64decode(got["traceId"]).hex(), s["traceId"])
    c.equal("span id", base64.b64decode(got["spanId"]).hex(), s["spanId"])
    c.equal("kind", got["kind"], "SPAN_KIND_SERVER")
    c.equal("code", got["status"]["code"], "STATUS_CODE_ERROR")
    c.equal("time is text", got["startTimeUnixNano"], s["startTimeUnixNano"])
    c.equal("int is text", got["attributes"][0]["value"], {"intValue": "5"})
    plain = span(kind=0)
    send(server, plain)
    got = get(server, f"/api/traces/{plain['traceId']}").json()
    got = got["batches"][0]["scopeSpans"][0]["spans"][0]
    c.check("zero members are absent", not {"kind", "traceState", "flags", "events", "links",
                                            "droppedEventsCount"} & set(got), got)


def trace_protobuf(server):
    s = span(attributes={"a": "b"})
    send(server, s)
    for path, kind in ((f"/api/traces/{s['traceId']}", "v1"),
                       (f"/api/v2/traces/{s['traceId']}", "v2")):
        for accept in ("application/protobuf",
                       "text/html, application/protobuf;q=0.1, application/json"):
            a = get(server, path, {"Accept": accept})
            c.equal(f"{kind} {accept}", a.header("content-type"), "application/protobuf")
            trace = a.body if kind == "v1" else fields(a.body)[1][0]
            resource_spans = fields(fields(trace)[1][0])
            got = fields(fields(resource_spans[2][0])[2][0])
            c.equal(f"{kind} ids", (got[1][0].hex(), got[2][0].hex()), (s["traceId"], s["spanId"]))
            c.equal(f"{kind} time", got[7][0], int(s["startTimeUnixNano"]))
    for accept in ("application/json", "*/*", "text/html"):
        a = get(server, f"/api/traces/{s['traceId']}", {"Accept": accept})
        c.equal(accept, a.header("content-type"), "application/json")
    a = get(server, "/api/search", {"Accept": "application/protobuf"}, q="{}", **window())
    c.equal("search", a.header("content-type"), "application/protobuf")
    c.check("search content", fields(a.body).get(1), a)
    for path in ("/api/search/tags", "/api/v2/search/tags", "/api/search/tag/a/values",
                 "/api/v2/search/tag/.a/values"):
        a = get(server, path, {"Accept": "application/protobuf"})
        c.equal(path, a.header("content-type"), "application/protobuf")
        c.check(f"{path} content", fields(a.body).get(1), a)


def trace_llm(server):
    s = span(attributes={"a": "b", "n": 3}, status={"code": 2, "message": "m"})
    send(server, s, service="llm-svc", resource={"r": 1})
    a = get(server, f"/api/v2/traces/{s['traceId']}", {"Accept": "application/vnd.grafana.llm"})
    c.equal("type", a.header("content-type"), "application/vnd.grafana.llm+json")
    t = a.json()["trace"]
    c.equal("trace id", t["traceId"], s["traceId"])
    service = t["services"][0]
    c.equal("service", (service["serviceName"], service["resource"]), ("llm-svc", {"r": 1}))
    got = service["scopes"][0]["spans"][0]
    c.equal("span", (got["spanId"], got["attributes"], got["status"]["code"]),
            (s["spanId"], {"a": "b", "n": 3}, "STATUS_CODE_ERROR"))


def trace_too_large():
    with Server({"overrides": {"defaults": {"global": {"max_bytes_per_trace": 0}}}}) as server:
        trace = trace_id()
        for _ in range(3):
            send(server, *[span(trace, attributes={"pad": "x" * 1500}) for _ in range(20)])
        server.stop()
        server.config = merge(server.config, {"overrides": {"defaults": {
            "global": {"max_bytes_per_trace": 50000}}}})
        server.start()
        a = get(server, f"/api/traces/{trace}")
        error("v1", a, 422, "trace exceeds max size")
        a = get(server, f"/api/v2/traces/{trace}")
        c.equal("v2", (a.status, a.json().get("status")), (200, "PARTIAL"))
        c.equal("v2 message", a.json().get("message"),
                "Trace exceeds maximum size of 50000 bytes, a partial trace is returned")
        c.check("v2 has a part", a.json()["trace"].get("resourceSpans"))


def duplicates(server):
    trace, both = trace_id(), span_id()
    start = now_ns() - 10**9
    client = span(trace, "call", spanId=both, kind=3, start=start)
    handler = span(trace, "handle", spanId=both, kind=2, start=start + 1000)
    child = span(trace, "inner", parentSpanId=both, start=start + 2000)
    for _ in range(3):
        send(server, client)
    send(server, handler, child, client)
    spans = [s for rs in get(server, f"/api/v2/traces/{trace}").json()["trace"]["resourceSpans"]
             for ss in rs["scopeSpans"] for s in ss["spans"]]
    by = {s["name"]: (base64.b64decode(s["spanId"]).hex(),
                      base64.b64decode(s.get("parentSpanId", "")).hex()) for s in spans}
    c.equal("each once", sorted(s["name"] for s in spans), ["call", "handle", "inner"])
    c.equal("client keeps its id", by["call"][0], both)
    c.equal("server gets a new one", by["handle"], (f"{1:016x}", both))
    c.equal("children follow the server", by["inner"][1], f"{1:016x}")
    order = [s["name"] for s in spans]
    c.equal("sorted by start", order, ["call", "handle", "inner"])


def fresh_and_old(server):
    """Visible at once, whatever its age, by id and by search."""
    times = {"now": now_ns(), "a week ago": now_ns() - 7 * 86400 * 10**9, "1971": 10**9 * 86400 * 400,
             "zero": 0, "future": now_ns() + 86400 * 10**9, "end before start": now_ns()}
    for name, start in times.items():
        s = span(start=start, name=name.replace(" ", "-"))
        if name == "end before start":
            s["endTimeUnixNano"] = str(start - 10**9)
        send(server, s)
        c.equal(f"{name}: by id", get(server, f"/api/traces/{s['traceId']}").status, 200)
        t = start // 10**9
        if name not in ("zero", "end before start"):
            names = [x["traceID"] for x in found(server, f'{{ name = "{s["name"]}" }}',
                                                 start=max(1, t - 10), end=t + 10)]
            c.equal(f"{name}: by search", names, [s["traceId"].lstrip("0")])


# ---- search ----

def search_parameters(server):
    a = search(server, '{ name = "nobody has this" }')
    c.equal("empty result", (a.status, a.json()["traces"]), (200, []))
    c.check("metrics member", "metrics" in a.json(), a)
    cases = {
        "limit 0": ({"limit": 0}, "invalid limit: must be a positive number"),
        "limit text": ({"limit": "x"}, "invalid limit: strconv.ParseUint"),
        "limit cap": ({"limit": 300000}, "limit 300000 exceeds max limit 262144"),
        "spss cap": ({"spss": 101}, "spans per span set exceeds 100. received 101"),
        "spss text": ({"spss": "-1"}, "invalid spss: strconv.ParseUint"),
        "tags and q": ({"tags": "a=b"}, "invalid request: can't specify tags and q in the same query"),
        "start text": ({"start": "x"}, 'invalid start: strconv.ParseUint: parsing "x": invalid syntax'),
        "start ns": ({"start": now_ns()}, "value out of range"),
        "end negative": ({"end": "-5"}, "invalid end: strconv.ParseUint"),
        "start = end": ({"start": 50, "end": 50}, "http parameter start must be before end."),
        "range": ({"start": 1, "end": 169 * 3600 + 1},
                  "range specified by start and end exceeds 168h0m0s. received start=1 end="),
    }
    for name, (params, text) in cases.items():
        error(name, get(server, "/api/search", **{"q": "{}", **window(), **params}), 400, text)
    error("only start", get(server, "/api/search", q="{}", start=5), 400,
          "http parameter start must be before end")
    error("only end", get(server, "/api/search", q="{}", end=5), 400,
          "only one of start and end provided")
    error("syntax", search(server, "foo"), 400,
          "invalid TraceQL query: parse error at line 1, col 1: syntax error: unexpected IDENTIFIER")
    error("semantics", search(server, '{ name = 1 }'), 400, "invalid TraceQL query: ")
    for tags, text in {"a=b a=c": "invalid tags: tag a has been set twice",
                       '=b': "invalid tags: ", 'a="b': "unterminated quoted value"}.items():
        error(f"tags {tags}", get(server, "/api/search", tags=tags), 400, text)
    error("minDuration", get(server, "/api/search", tags="a=b", minDuration="5"), 400,
          "invalid minDuration: ")
    error("maxDuration", get(server, "/api/search", minDuration="5s", maxDuration="1s"), 400,
          "invalid maxDuration: must be greater than minDuration")
    a = get(server, "/api/search", q="{ .a = " + '"' + "x" * 132000 + '" }')
    c.check("a URL of 132 kB", a.status in (400, 414, 431), a)
    for params in ({"since": "1h"}, {"start": 0, "end": 0}, {"unknown": "x"}, {}, {"q": ""}):
        c.equal(f"accepted: {params}", get(server, "/api/search", **params).status, 200)
    error("since", get(server, "/api/search", since="1x"), 400, "error parsing date range: ")
    raw = http_request(server.url + "/api/search?q=%7B%7D&bad=%zz&limit=7&limit=x&a;b=1")
    c.equal("broken pairs are dropped, the first value wins", raw.status, 200)


def configured_limits():
    extra = {"query_frontend": {"max_query_expression_size_bytes": 500, "url_deny_list": ["deny.?me"],
                                "search": {"default_result_limit": 2, "max_result_limit": 4,
                                           "max_spans_per_span_set": 5, "max_duration": "2h"}}}
    with Server(extra) as server:
        send(server, *[span(name="few") for _ in range(6)])
        error("query size", search(server, '{ .a = "' + "x" * 600 + '" }'), 400,
              "TraceQL expression exceeds the configured maximum size of 500 bytes, reduce the query "
              "expression size or contact your system administrator")
        error("deny list", search(server, '{ .denyXme = 1 }'), 400,
              "This query has been identified as one that destabilizes our system")
        c.equal("default limit", len(found(server, '{ name = "few" }')), 2)
        c.equal("max limit", len(found(server, '{ name = "few" }', limit=4)), 4)
        error("limit cap", search(server, "{}", limit=5), 400, "limit 5 exceeds max limit 4")
        error("spss cap", search(server, "{}", spss=6), 400, "spans per span set exceeds 5. received 6")
        error("range", search(server, "{}", **window(3 * 3600)), 400,
              "range specified by start and end exceeds 2h0m0s")


def search_limits(server):
    now = now_ns()
    spans = [span(name="many", start=now - i * 10**7) for i in range(30)]
    send(server, *spans[::2])
    send(server, *spans[1::2])
    q = '{ name = "many" }'
    c.equal("default limit", len(found(server, q)), 20)
    c.equal("limit", len(found(server, q, limit=7)), 7)
    everything = [t["traceID"] for t in found(server, q, limit=100)]
    c.equal("all", len(everything), 30)
    want = [s["traceId"].lstrip("0") for s in spans]
    c.equal("newest first", everything, want)
    c.equal("a limit takes the newest", [t["traceID"] for t in found(server, q, limit=5)], want[:5])
    c.equal("most_recent", [t["traceID"] for t in found(server, q + " with (most_recent=true)",
                                                        limit=5)], want[:5])
    trace = trace_id()
    send(server, *[span(trace, "set", attributes={"n": i}) for i in range(10)])
    t = found(server, '{ name = "set" }')[0]
    c.equal("spss default", (len(t["spanSets"][0]["spans"]), t["spanSets"][0]["matched"]), (3, 10))
    t = found(server, '{ name = "set" }', spss=6)[0]
    c.equal("spss", (len(t["spanSets"][0]["spans"]), t["spanSets"][0]["matched"]), (6, 10))
    c.equal("spss=0 is the default", len(found(server, '{ name = "set" }', spss=0)[0]["spanSets"][0]
                                         ["spans"]), 3)


def search_answer(server):
    trace = "0" * 15 + trace_id()[15:]
    start = now_ns() - 5 * 10**9
    root = span(trace, "root-op", start=start, ms=100, kind=2)
    child = span(trace, "child-op", start=start + 10**6, ms=0.5, parentSpanId=root["spanId"],
                 attributes={"http.status_code": 500, "foo": "bar", "other": 1},
                 status={"code": 2, "message": "x"})
    send(server, root, child, service="root-svc")
    t = found(server, '{ span.http.status_code = 500 && status = error && span.foo = "bar" }')[0]
    c.equal("traceID", t["traceID"], trace.lstrip("0"))
    c.equal("root", (t["rootServiceName"], t["rootTraceName"]), ("root-svc", "root-op"))
    c.equal("start", t["startTimeUnixNano"], str(start))
    c.equal("durationMs", t["durationMs"], 100)
    c.equal("stats", t["serviceStats"], {"root-svc": {"spanCount": 2, "errorCount": 1}})
    c.equal("spanSet copy", t["spanSet"], t["spanSets"][0])
    s = t["spanSet"]["spans"][0]
    c.equal("spanID", s["spanID"], child["spanId"])
    c.check("no name unless asked", "name" not in s, s)
    c.equal("text numbers", (s["startTimeUnixNano"], s["durationNanos"]),
            (child["startTimeUnixNano"], "500000"))
    got = {kv["key"]: kv["value"] for kv in s["attributes"]}
    c.equal("attributes", got, {"http.status_code": {"intValue": "500"},
                                "foo": {"stringValue": "bar"},
                                "status": {"stringValue": "error"}})
    c.check("matched is a number", t["spanSet"]["matched"] == 1)
    t = found(server, '{ name = "child-op" } | select(span.foo)')[0]
    s = t["spanSet"]["spans"][0]
    c.equal("select", (s.get("name"), s["attributes"]),
            ("child-op", attrs({"foo": "bar"})))
    legacy = get(server, "/api/search", tags="foo=bar", **window()).json()["traces"]
    mine = [t for t in legacy if t["traceID"] == trace.lstrip("0")]
    c.check("tags= finds", mine, legacy)
    c.check("tags= has no span sets", mine and not {"spanSet", "spanSets"} & set(mine[0]), mine)
    orphan = span(name="orphan", parentSpanId=span_id(), ms=0.2)
    send(server, orphan)
    t = found(server, '{ name = "orphan" }')[0]
    c.equal("no root", t["rootServiceName"], "<root span not yet received>")
    c.check("no root name, no durationMs", not {"rootTraceName", "durationMs"} & set(t), t)


def numbers_and_names(server):
    """Where Tempo is weak on purpose: numbers by value, dotted names without scope."""
    send(server, span(name="num", attributes={"x": 3.2, "y": 42}), service="numbers")
    for q in ("{ .x > 3 }", "{ span.y = 42.0 }", '{ service.name = "numbers" }',
              '{ resource.service.name = "numbers" && name = "num" }'):
        c.equal(q, len(found(server, q)), 1)
    send(server, span(name="num2", attributes={"http.status_code": 418}))
    c.equal("{ http.status_code = 418 }", len(found(server, "{ http.status_code = 418 }")), 1)


# ---- tags and values ----

INTRINSICS = ["duration", "event:name", "event:timeSinceStart", "instrumentation:name",
              "instrumentation:version", "kind", "link:spanID", "link:traceID", "name", "rootName",
              "rootServiceName", "span:duration", "span:id", "span:kind", "span:name",
              "span:parentID", "span:status", "span:statusMessage", "status", "statusMessage",
              "trace:duration", "trace:id", "trace:rootName", "trace:rootService", "traceDuration"]


def tags():
    with Server() as server:
        a = get(server, "/api/search/tags")
        c.equal("empty v1", (a.status, a.json().get("tagNames")), (200, []))
        s = span(attributes={"span-only": 1, "both": "x", "a/b": "slash", "od d": 1.5, "yes": True})
        s["events"] = [{"name": "ev", "timeUnixNano": s["startTimeUnixNano"],
                        "attributes": attrs({"ev-key": "e"})}]
        s["links"] = [{"traceId": trace_id(), "spanId": span_id(), "attributes": attrs({"ln": 1})}]
        send(server, s, service="tag-svc", resource={"res-only": "r", "both": "y"})
        for label in ("head", "block"):
            if label == "block":
                server.restart()
            tags_once(server, label)


def tags_once(server, label):
    w = window()
    v1 = get(server, "/api/search/tags", **w).json()["tagNames"]
    c.equal(f"{label}: v1", [t for t in v1 if t not in ("ev-key", "ln")],
            ["a/b", "both", "od d", "res-only", "service.name", "span-only", "yes"])
    c.equal(f"{label}: v1 intrinsic", get(server, "/api/search/tags", scope="intrinsic",
                                          **w).json()["tagNames"], INTRINSICS)
    scopes = {s["name"]: s["tags"] for s in
              get(server, "/api/v2/search/tags", **w).json()["scopes"]}
    c.equal(f"{label}: intrinsic", scopes.get("intrinsic"), INTRINSICS)
    c.equal(f"{label}: span", scopes.get("span"), ["a/b", "both", "od d", "span-only", "yes"])
    c.equal(f"{label}: resource", scopes.get("resource"), ["both", "res-only", "service.name"])
    c.equal(f"{label}: event", scopes.get("event"), ["ev-key"])
    c.equal(f"{label}: link", scopes.get("link"), ["ln"])
    one = get(server, "/api/v2/search/tags", scope="span", **w).json()["scopes"]
    c.equal(f"{label}: one scope", [s["name"] for s in one], ["span"])
    one = get(server, "/api/v2/search/tags", scope="span", limit=2, **w).json()["scopes"]
    c.equal(f"{label}: limit", len(one[0]["tags"]), 2)
    error(f"{label}: bogus", get(server, "/api/v2/search/tags", scope="bogus", **w), 400,
          "invalid scope: bogus", True)
    a = get(server, "/api/v2/search/tags", q="{ this is not", **w)
    c.equal(f"{label}: lenient q", (a.status, len(a.json()["scopes"])), (200, len(scopes)))

    def values(name, **params):
        a = get(server, f"/api/v2/search/tag/{name}/values", **{**w, **params})
        if a.status != 200:
            raise AssertionError(f"{name}: {a}")
        return [(v["type"], v.get("value")) for v in a.json()["tagValues"]]

    c.equal(f"{label}: string", values("resource.res-only"), [("string", "r")])
    c.equal(f"{label}: unscoped", sorted(values(".both")), [("string", "x"), ("string", "y")])
    c.equal(f"{label}: int", values("span.span-only"), [("int", "1")])
    c.equal(f"{label}: float", values('span."od%20d"'), [("float", "1.5")])
    c.equal(f"{label}: bool", values("span.yes"), [("bool", "true")])
    c.equal(f"{label}: slash", values("span.a/b"), [("string", "slash")])
    c.equal(f"{label}: slash escaped", values("span.a%2Fb"), [("string", "slash")])
    c.equal(f"{label}: limit", len(values(".both", limit=1)), 1)
    c.equal(f"{label}: status", sorted(values("status")),
            [("keyword", "error"), ("keyword", "ok"), ("keyword", "unset")])
    c.equal(f"{label}: kind", len(values("kind")), 6)
    c.equal(f"{label}: duration", values("duration"), [])
    c.equal(f"{label}: name", values("name"), [("string", "op")])
    c.equal(f"{label}: filtered", values("span.both", q='{ resource.res-only = "no" }'), [])
    v1 = get(server, "/api/search/tag/both/values", **w).json()["tagValues"]
    c.equal(f"{label}: v1 values", v1, ["x", "y"])
    v1 = get(server, "/api/search/tag/span-only/values", **w).json()["tagValues"]
    c.equal(f"{label}: v1 int as text", v1, ["1"])
    error(f"{label}: bad name", get(server, "/api/v2/search/tag/app.user.id/values", **w), 400,
          "please provide a valid tagName: failed to parse identifier app.user.id")
    c.equal(f"{label}: no name, the path is cleaned", get(server, "/api/search/tag//values").status, 301)
    error(f"{label}: range", get(server, "/api/v2/search/tags", start=1, end=10**6), 400,
          "range specified by start and end exceeds 168h0m0s")


SHARED = [small_endpoints, routing, headers, keep_alive, status_config, tenancy_off, trace_ids,
          trace_parameters, trace_json, trace_protobuf, trace_llm, duplicates, fresh_and_old,
          search_parameters, search_limits, search_answer, numbers_and_names]
OWN = [ready, stopping, prefix, tenancy, configured_limits, trace_too_large, tags]


def main():
    with c.case("shared server"), Server() as server:
        for function in SHARED:
            c.run(function.__name__, function, server)
    for function in OWN:
        c.run(function.__name__, function)
    c.finish()


if __name__ == "__main__":
    main()
