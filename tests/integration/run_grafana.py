#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every HTTP request that Grafana sends, in the order of a session: data source saved, Explore, search builder,
autocompletion, traces, metrics, service graph links, Traces Drilldown, alert rules, older Grafanas.

Requests carry the headers and the parameter order of the real client. An answer must be exactly 200 and
exactly the protobuf message that the client decodes (support/tempopb.py), because one unknown key fails
its panel; beyond that each step checks what the client takes for granted. All of it runs twice: from
fresh heads, and after a restart from flushed blocks. ONLY=pattern runs some groups.
"""
import gzip
import json
import pathlib
import socket
import sys
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "conformance"))
import venv  # noqa: E402

venv.use("requirements.txt")

import run as corpus_run  # noqa: E402
from checks import Checks  # noqa: E402
from otlp import fields, http_request, now_ns, post, request, span, span_id, trace_id  # noqa: E402
from server import Server  # noqa: E402
from tempopb import as_json, json_strict, proto_strict  # noqa: E402

c = Checks()
JSON, PROTO, NONE = "application/json", "application/protobuf", None
BROWSER = "application/json, text/plain, */*"
SELECTABLE = {"stringValue", "intValue", "boolValue", "doubleValue"}
FAVOURITES = ["resource.service.name", "resource.k8s.namespace.name", "name", "kind", "rootName",
              "rootServiceName", "status", "statusMessage", "span.http.status_code"]
# What stands for an empty resource in the plugin's form of a trace: without it its spans would vanish.
UNNAMED = [{"key": "service.name", "value": {"stringValue": "unknown_service"}}]


class Session:
    """A data source on one server, with the picker on a range that holds the corpus."""

    def __init__(self, server, delta, base, traces):
        self.server, self.traces = server, traces
        self.start, self.end = base + delta - 60, base + delta + 900

    def send(self, path, params=(), accept=JSON, status=200):
        """One request as the plugin's backend sends it; the body is decoded from gzip."""
        query = urllib.parse.urlencode(params)
        headers = {"Accept-Encoding": "gzip", "User-Agent": "Grafana/13.1.0"}
        if accept:
            headers["Accept"] = accept
        a = http_request(f"{self.server.url}{path}" + (f"?{query}" if query else ""), headers=headers)
        name = f"{path} {urllib.parse.unquote_plus(query)[:160]}"
        c.check(f"{name}: status", a.status == status, a)
        coding = a.header("content-encoding")
        c.check(f"{name}: coding", coding in ("", "gzip"), coding)
        if coding == "gzip":
            a.body = gzip.decompress(a.body)
        if path.startswith("/api/") and "echo" not in path and "buildinfo" not in path:
            c.equal(f"{name}: vary", a.header("vary"), "Accept-Encoding")
        if status != 200:
            c.check(f"{name}: error text", a.header("content-type") == "text/plain; charset=utf-8"
                    and a.body and b"<" not in a.body[:1], a)
        return a

    def json(self, message, path, params=(), accept=JSON):
        a = self.send(path, params, accept)
        c.equal(f"{path}: type", a.header("content-type"), "application/json")
        return json_strict(message, a.body)

    def range(self):
        return [("end", self.end), ("start", self.start)]

    # ---- the calls of the plugin ----

    def names(self):
        """{scope: [tag]}"""
        got = self.json("SearchTagsV2Response", "/api/v2/search/tags", [("limit", 5000)], BROWSER)
        return {s["name"]: s["tags"] for s in got["scopes"]}

    def values(self, tag, q="{}", escaped=None):
        params = [("limit", 5000), ("q", q), ("tag", tag)]
        path = f"/api/v2/search/tag/{escaped or tag}/values"
        return self.json("SearchTagValuesV2Response", path, params, BROWSER)["tagValues"]

    def search(self, q, limit=None, spss=None, extra=()):
        params = dict(self.range() + list(extra), q=q)
        params.update({k: v for k, v in (("limit", limit), ("spss", spss)) if v})
        got = self.json("SearchResponse", "/api/search", sorted(params.items()))
        for t in got["traces"]:
            check_result(q, t, spss or 3)
        c.check(f"{q}: count", len(got["traces"]) <= (limit or 20), len(got["traces"]))
        check_columns(q, got["traces"])
        return got["traces"]

    def range_query(self, q, step=None, **window):
        params = dict(self.range(), q=q, **window)
        if step:
            params["step"] = step
        got = self.json("QueryRangeResponse", "/api/metrics/query_range", sorted(params.items()))
        for s in got["series"]:
            check_series(q, s)
        return got["series"]

    def instant(self, q):
        params = sorted(dict(self.range(), q=q).items())
        got = self.json("QueryInstantResponse", "/api/metrics/query", params)
        c.check(f"{q}: keys", set(got) <= {"series", "metrics", "status", "message"}, got.keys())
        return got.get("series", [])

    def trace(self, text, params=()):
        """TraceByIDResponse as a message, with the presence rules that keep the plugin alive."""
        a = self.send(f"/api/v2/traces/{text}", params, PROTO)
        c.equal("trace: type", a.header("content-type"), "application/protobuf")
        message = proto_strict("TraceByIDResponse", a.body)
        c.check("trace is present", message.HasField("trace"), a)
        check_presence(text, message.trace)
        return message


# ---- what holds of every answer ----

def check_result(q, t, spss):
    c.check(f"{q}: id", t["traceID"] and set(t["traceID"]) <= set("0123456789abcdef") and
            t["traceID"][0] != "0", t["traceID"])
    c.check(f"{q}: root service", t.get("rootServiceName"), t)
    c.check(f"{q}: spanSets", t.get("spanSets"), t)
    c.check(f"{q}: spanSet is the first", t.get("spanSet") == t["spanSets"][0], t)
    for s in t["spanSets"]:
        c.check(f"{q}: spss", len(s.get("spans", [])) <= spss, s)
        c.check(f"{q}: matched", s.get("matched", 0) >= len(s.get("spans", [])), s)
        for sp in s.get("spans", []):
            c.check(f"{q}: span", len(sp.get("spanID", "")) == 16 and "startTimeUnixNano" in sp, sp)


def check_columns(q, traces):
    """The plugin makes a column per key and panics on a second type, and on what is no scalar."""
    types = {}
    for t in traces:
        for s in t["spanSets"]:
            for owner in [s, *s.get("spans", [])]:
                for kv in owner.get("attributes", []):
                    kind = next(iter(kv.get("value", {})), None)
                    c.check(f"{q}: {kv['key']} is a scalar", kind in SELECTABLE, kv)
                    c.check(f"{q}: no scope in a key", kv["key"].split(".")[0] not in
                            ("span", "resource", "event", "link"), kv)
                    types.setdefault(kv["key"], set()).add(
                        "number" if kind in ("intValue", "doubleValue") else kind)
    c.check(f"{q}: one type a column", all(len(k) == 1 for k in types.values()), types)


def check_series(q, s):
    times = [int(p["timestampMs"]) for p in s.get("samples", [])]
    c.check(f"{q}: samples ascend", times == sorted(set(times)) and times, times)
    c.check(f"{q}: labels", s.get("labels"), s)
    for e in s.get("exemplars", []):
        ids = [kv["value"].get("stringValue", "") for kv in e["labels"] if kv["key"] == "trace:id"]
        c.check(f"{q}: exemplar links to a trace", len(ids) == 1 and int(ids[0], 16), e)
        # value 0 is not shown; it is right where an empty span is measured
        shown = e.get("value") or "duration" in q
        c.check(f"{q}: exemplar is shown", shown and int(e.get("timestampMs", 0)) > 0, e)


def check_presence(name, trace):
    for rs in trace.resourceSpans:
        c.check(f"{name}: resource", rs.HasField("resource"), name)
        c.check(f"{name}: resource has attributes", len(rs.resource.attributes) > 0, name)
        for ss in rs.scope_spans:
            c.check(f"{name}: scope", ss.HasField("scope"), name)
            for s in ss.spans:
                c.check(f"{name}: status", s.HasField("status"), s.name)
                c.check(f"{name}: ids", len(s.trace_id) == 16 and len(s.span_id) == 8 and
                        s.parent_span_id != bytes(8), s.name)


def label(series, key):
    return [next(iter(kv["value"].values())) for kv in series["labels"] if kv["key"] == key]


def spans_of(message):
    return [s for rs in message.trace.resourceSpans for ss in rs.scope_spans for s in ss.spans]


# ---- A: the data source is saved ----

def saved(g):
    for greeting in (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" +
                     bytes.fromhex("000000040000000000")):
        with socket.create_connection(("127.0.0.1", g.server.http_port), 5) as s:
            s.sendall(greeting)
            s.settimeout(5)
            data = s.recv(64)
        c.check("an HTTP/2 preface: settings, 400 or a close",
                data == b"" or data[3:4] == b"\x04" or data.startswith(b"HTTP/1.1 400"), data)
    a = g.send("/api/echo", accept=NONE)
    c.equal("echo", a.text, "echo\n")


# ---- C: Explore, Search tab ----

def explore(g):
    scopes = g.names()
    known = {"resource", "span", "event", "link", "instrumentation", "intrinsic"}
    c.check("scopes", scopes and set(scopes) <= known and all(scopes.values()), scopes)
    for tag, kind, some in (("resource.service.name", "string", "frontend"),
                            ("name", "string", "GET /a"), ("status", "keyword", "error"),
                            ("kind", "keyword", "server"), ("span.http.status_code", "int", "200"),
                            ("rootServiceName", "string", "frontend"), (".http.method", "string", "GET"),
                            ("span.even", "bool", "true"), ("span.score", "float", None)):
        for q in ("{}", '{resource.service.name="frontend"}'):
            got = g.values(tag, q)
            c.check(f"{tag} {q}: type", all(v["type"] == kind for v in got), got)
            texts = [v.get("value") for v in got]
            c.check(f"{tag} {q}: distinct", len(texts) == len(set(texts)), texts)
            if q == "{}" and some:
                c.check(f"{tag}: {some}", some in texts, texts)
    c.equal("status", sorted(v["value"] for v in g.values("status")), ["error", "ok", "unset"])
    c.check("a filter narrows", len(g.values("resource.service.name", '{name="GET /a"}')) <
            len(g.values("resource.service.name")))
    for scope, tags in scopes.items():
        for tag in tags:
            if not all(ch.isalnum() or ch in "._:/-" for ch in tag):
                continue  # the builder quotes these; asked below
            full = tag if scope == "intrinsic" else f"{scope}.{tag}"
            g.values(full, escaped=urllib.parse.quote(full))
    # a slash in a name, as it is and quoted; the stray parameter comes double-encoded
    for path in ('span.a/b', 'span."a/b c"', "span.http.url/x"):
        full = urllib.parse.quote(path)
        a = g.send(f"/api/v2/search/tag/{full}/values",
                   [("limit", 5000), ("tag", full.replace("/", "%2F"))], BROWSER)
        json_strict("SearchTagValuesV2Response", a.body)
    # a blank outside quotes is no identifier: refused with Tempo's words
    a = g.send("/api/v2/search/tag/span.a/b%20c/values", [("limit", 5000)], BROWSER, 400)
    c.contains("blank", a.text, "please provide a valid tagName: failed to parse identifier span.a/b c")
    # what an editor holds while one types is a filter or nothing, never an error
    for q in ("{ span.foo = ", "{", "{ a && }", "{ .a = 1 && ", "", "}", "{ span.", '{ name = "',
              "{ name =~ \"(\" }", "{} >> ", "{} | rate() by(", "{ resource.service.name=\"frontend\" && }"):
        g.values("span.http.method", q)
    only = g.values("span.http.method", '{ resource.service.name = "frontend" && span.x = ')
    c.check("what parses of it filters", only, only)


# ---- D: a search is run ----

def searches(g):
    c.equal("default limit", len(g.search("{}")), 20)
    found = g.search('{resource.service.name="frontend" && (name="GET /a" || name="GET /b")}', 50, 5)
    c.check("filters find", found)
    starts = [int(t["startTimeUnixNano"]) for t in found]
    c.check("newest first", starts == sorted(starts, reverse=True), starts)
    for q in ('{name=~"GET /a|GET /b"}', '{span.http.status_code=200}', "{status=error}", "{kind=server}",
              "{duration>100ms}", "{duration<=1s}", "{traceDuration>10ms}", "{span.even=true}",
              '{span.http.method!~"GET"}', '{(span.http.method="GET" || span.http.method="PUT")}',
              '{(span.http.method!="GET" && span.http.method!="PUT")}', '{name=~"GET /c/\\\\{id\\\\}"}',
              '{.http.route="/a" && resource.replica=1}', '{event:name="exception"}',
              '{instrumentation:name="lib"}', '{trace:rootService="frontend"}'):
        g.search(q, 50, 5)
    g.search('{span.foo="x\\ny" && .bar!="z"}')
    g.search('{span.foo="\\"quoted\\" and \\\\ back"}')
    a = g.send("/api/search", sorted(g.range() + [("q", "{bad")]), status=400)
    c.check("error", a.text.startswith("invalid TraceQL query: "), a.text)
    a = g.send("/api/search", [("q", "{kind=\"server\"}")], status=400)
    c.contains("type error", a.text, "invalid TraceQL query: ")
    g.search("{}", extra=[("unknown", "x")])
    # without a range, as the old annotations panel asks
    json_strict("SearchResponse", g.send("/api/search", [("q", "{}")]).body)
    # F: the editor
    for q, key in (("{} | count() > 2", "count()"), ("{} | avg(duration) > 1ms", "avg(duration)"),
                   ("{} | by(resource.service.name) | count() > 1", "count()")):
        found = g.search(q, 50)
        keys = {kv["key"] for t in found for s in t["spanSets"] for kv in s.get("attributes", [])}
        c.check(f"{q}: the aggregate is there", key in keys, keys)
    found = g.search("{} >> {} | select(span.http.method)", 50, 20)
    c.check("select", any(kv["key"] == "http.method" for t in found for s in t["spanSets"]
                          for sp in s["spans"] for kv in sp.get("attributes", [])), found[:1])
    # attributes that have several types, arrays, or are missing on some spans
    for name in ("a.int", "a.float", "a.bool", "a.str", "a.arr", "a.kv", "a.bytes", "http.status_code",
                 "nothing.has.this"):
        g.search(f'{{}} | select(span."{name}")', 200, 20)
        g.search(f'{{ span."{name}" != nil }}', 200, 20)


# ---- E: links of the service graph and the node graph ----

def links(g):
    peers = " || ".join(f'span.{k}="db"' for k in ("db.name", "db.system", "peer.service",
                                                   "messaging.system", "net.peer.name"))
    g.search("{" + peers + "}")
    g.search('{resource.service.name="frontend"}')
    g.search('{resource.service.name="frontend" && span.http.status_code="200"}')
    g.search('{resource.service.name="cart" && name="GET /a"}')


# ---- G: a trace is opened ----

def traces(g):
    for text in g.traces:
        message = g.trace(text)
        c.check(f"{text}: found", spans_of(message), text)
        plain = g.send(f"/api/v2/traces/{text}", accept=JSON)
        as_text = json_strict("TraceByIDResponse", plain.body)
        decoded = as_json(message)["trace"]
        for rs in decoded["resourceSpans"]:
            if rs["resource"].get("attributes") == UNNAMED:
                rs["resource"] = {}
        c.equal(f"{text}: JSON is the same", as_text["trace"], decoded)
    text = g.traces[0]
    want = len(spans_of(g.trace(text)))
    padded = next(t for t in g.traces if t.startswith("0"))
    for other in (text.upper(), padded.lstrip("0"), "0" + padded.lstrip("0")):
        c.check(f"as {other}", spans_of(g.trace(other)), other)
    c.equal("with a range", len(spans_of(g.trace(text, g.range()))), want)
    a = g.send("/api/v2/traces/ffffffffffffffffffffffffffffffff", accept=PROTO)
    c.equal("unknown", a.body, bytes.fromhex("0a001200"))
    a = g.send("/api/v2/traces/0", accept=PROTO)
    c.equal("the zero id", a.body, bytes.fromhex("0a001200"))
    odd = trace_id()
    bare = {"resourceSpans": [{"scopeSpans": [{"spans": [span(odd)]}]}]}
    empty = {"resourceSpans": [{"resource": {}, "scopeSpans": [
        {"scope": {}, "spans": [span(odd, parentSpanId="0000000000000000", start=now_ns())]}]}]}
    for body in (bare, empty):
        c.equal("sent", post(g.server, body).status, 200)
    message = proto_strict("TraceByIDResponse", g.send(f"/api/v2/traces/{odd}", accept=PROTO).body)
    c.equal("bare spans", len(spans_of(message)), 2)
    check_presence(odd, message.trace)
    c.check("a zero parent is none", not any(s.parent_span_id for s in spans_of(message)), odd)


# ---- H: metrics ----

def metrics(g):
    for q, name in (("{} | rate()", "rate"), ("{} | count_over_time()", "count_over_time"),
                    ("{} | avg_over_time(duration)", "avg_over_time")):
        series = g.range_query(q)
        c.equal(f"{q}: one series", [label(s, "__name__") for s in series], [[name]])
        c.check(f"{q}: exemplars unasked", series[0].get("exemplars"), q)
    q = "{} | rate() by (resource.service.name)"
    series = g.range_query(q, "30s")
    c.check("label keys", all([kv["key"] for kv in s["labels"]] == ["resource.service.name"]
                              for s in series) and len(series) > 3, series[:2])
    steps = [int(p["timestampMs"]) % 30000 for s in series for p in s["samples"]]
    c.check("samples on the step", not any(steps), steps[:5])
    series = g.range_query("{} | quantile_over_time(duration, .5, .9)")
    c.equal("p", sorted(x for s in series for x in label(s, "p")), [0.5, 0.9])
    series = g.range_query("{} | histogram_over_time(duration)")
    c.check("buckets", series and all(len(s["labels"]) == 1 and "doubleValue" in s["labels"][0]["value"]
                                      and s["labels"][0]["key"] == "__bucket" for s in series), series[:1])
    series = g.instant("{} | count_over_time() by (name)")
    c.check("instant", len(series) > 3 and all(s.get("value") for s in series), series[:2])
    c.equal("instant, nothing", g.instant('{ name = "no such" } | count_over_time() by (name)'), [])
    a = g.send("/api/metrics/query_range", [("end", g.end), ("q", "{} | rate()"),
                                            ("start", g.end - 25 * 3600)], status=400)
    c.equal("too long", a.text,
            "metrics query time range exceeds the maximum allowed duration of 24h0m0s")
    for q in ("{} | rate(", "{}", "{} | rate() by (duration > )"):
        g.send("/api/metrics/query_range", sorted(g.range() + [("q", q)]), status=400)
    # 10.4 to 11.3 called it `query`; the old browsers' Accept
    a = g.send("/api/metrics/query_range", [("query", "{} | rate()"), *g.range()], BROWSER)
    c.check("parameter query", json_strict("QueryRangeResponse", a.body)["series"])
    for path, message in (("query_range", "QueryRangeResponse"), ("query", "QueryInstantResponse")):
        a = g.send(f"/api/metrics/{path}", sorted(g.range() + [("q", "{} | rate()")]), PROTO)
        c.equal(f"{path}: always JSON", a.header("content-type"), "application/json")
        json_strict(message, a.body)


# ---- J, M: dashboards and alert rules ----

def dashboards(g):
    scopes = g.names()
    for q in ('{resource.service.name="frontend" && span.http.status_code=200}', '{status=error}',
              '{kind=server && span.http.method="GET"}', '{span.http.status_code=200}'):
        c.check(f"values under {q}", g.values("resource.service.name", q), q)
    c.check("the variable's tag is listed", "service.name" in scopes["resource"], scopes)
    for _ in range(2):
        c.check("alert", g.instant("{status=error} | count_over_time() by (resource.service.name)"))


# ---- K: Traces Drilldown, in its order ----

def drilldown(g):
    names = g.names()
    offered = {t if scope == "intrinsic" else f"{scope}.{t}" for scope, t in
               ((scope, t) for scope in names for t in names[scope])}
    favourites = [a for a in FAVOURITES if a in offered]
    c.check("favourites", len(favourites) > 5, favourites)
    c.check("D1", g.range_query("{} | rate()", start=g.end - 60), "no series")
    for primary in ("nestedSetParent<0", "true", "kind=server", "kind=consumer",
                    'span.db.system.name!=""'):
        for more in ("true", 'resource.service.name="frontend"'):
            where = f"{primary} && {more}"
            g.range_query(f"{{{where}}} | rate()  with(sample=true)", "28s")
            g.range_query(f"{{{where} && status=error}} | rate()  with(sample=true)", "28s")
            g.range_query(f"{{{where}}} | histogram_over_time(duration) with(sample=true)", "75s")
            g.search(f"{{{where}}}", 200, 10)
            g.search(f"{{{where}&& duration > 1s}}", 200, 10)
    base = "nestedSetParent<0 && true"
    for attribute in favourites:
        for q in (f"{{{base} && {attribute} != nil}} | rate() by({attribute})",
                  f"{{{base} && status=error && {attribute} != nil}} | rate() by({attribute})",
                  f"{{{base} && {attribute} != nil}} | quantile_over_time(duration, 0.9) by({attribute})"):
            series = g.range_query(q, "28s")
            c.check(f"{q}: label key is the attribute", all(label(s, attribute) for s in series),
                    series[:1])
            if "quantile" not in q:
                times = {tuple(p["timestampMs"] for p in s["samples"]) for s in series}
                c.check(f"{q}: the same timestamps", len(times) <= 1, len(times))
    series = g.range_query(f"{{{base}}} | quantile_over_time(duration, 0.5,0.75,0.9,0.95,0.99) by(name)",
                           "28s")
    c.check("D8", series and all(label(s, "p") and label(s, "name") for s in series), series[:1])
    compare(g)
    structure(g)
    exceptions(g)
    g.range_query(f"{{{base} && resource.service.name=\"frontend\"}} | rate() by(resource.service.name)")
    g.range_query(f"{{{base}}} | quantile_over_time(duration, 0.9)  with(sample=true)", "30s",
                  start=g.end - 24 * 3600)
    g.send("/api/search", sorted(g.range() + [("q", f"{{{base}&& duration > }}")]), status=400)


def compare(g):
    now = f"{g.start * 10**9}, {g.end * 10**9}"
    for arguments in ("{status = error}, 10", "{}", "{duration >= 1s}, 10",
                      f"{{duration >= 0ms && duration <= 2s}}, 10, {now}"):
        q = f"{{nestedSetParent<0 && true}} | compare({arguments})"
        series = g.range_query(q, "1800s")
        kinds = {str(x).strip('"') for s in series for x in label(s, "__meta_type")}
        c.check(f"{q}: types", kinds and kinds <= {"baseline", "selection", "baseline_total",
                                                   "selection_total"}, kinds)
        c.check(f"{q}: an attribute label", all([kv for kv in s["labels"] if not
                                                 kv["key"].startswith("__")] for s in series), series[:1])


def structure(g):
    columns = "status, resource.service.name, name, nestedSetParent, nestedSetLeft, nestedSetRight"
    inner = {"rate": "kind = server", "errors": "status = error", "duration": "duration > 1ms"}
    outer = {"rate": "", "errors": " && status = error", "duration": " && duration > 2ms"}
    for kind, inside in inner.items():
        where = f"{{nestedSetParent<0 && true{outer[kind]} }}"
        q = f"({where} &>> {{ {inside} }}) || ({where}) | select({columns})"
        found = g.search(q, 200, 20)
        c.check(f"{kind}: finds", found)
        for t in found:
            c.equal(f"{kind}: one span set", len(t["spanSets"]), 1)
            c.check(f"{kind}: start", t.get("startTimeUnixNano"), t)
            sides = []
            for sp in t["spanSets"][0]["spans"]:
                got = {kv["key"]: kv["value"] for kv in sp.get("attributes", [])}
                left, right = (int(got.get(f"nestedSet{s}", {}).get("intValue", 0))
                               for s in ("Left", "Right"))
                c.check(f"{kind}: columns", 0 < left < right and "stringValue" in
                        got.get("service.name", {}) and "stringValue" in got.get("status", {}) and
                        "nestedSetParent" in got and
                        (sp.get("name") or got["service.name"] == {"stringValue": ""}), sp)
                sides += [left, right]
            c.check(f"{kind}: nested sets", len(sides) == len(set(sides)), sides)


def exceptions(g):
    where = "nestedSetParent<0 && true && status = error"
    fields_ = ("resource.service.name, event.exception.message,event.exception.stacktrace,"
               "event.exception.type")
    found = g.search(f"{{{where}}} | select({fields_}) with(most_recent=true)", 400, 10)
    keys = {kv["key"] for t in found for s in t["spanSets"] for sp in s["spans"]
            for kv in sp["attributes"]}
    c.check("D13", {"exception.message", "exception.type", "exception.stacktrace",
                    "service.name"} <= keys, keys)
    one = f'{where} && event.exception.message = "out of luck 42" && event.exception.type = "T"'
    for a in ("resource.service.name", "name", "resource.k8s.namespace.name"):
        c.check(f"D14 {a}", g.search(f"{{{one}}} | select({a})", 400, 10))
    pattern = "^(?:out|in)\\\\s+of\\\\s+\\\\S+\\\\s+[0-9]+$"
    c.check("D14 by pattern", g.search(
        f'{{{where} && event.exception.message =~ "{pattern}" && event.exception.type = "T"}} '
        f"| select(name)", 100, 10))
    g.search(f'{{{where} && event.exception.message =~ "[0-9a-f]{{8}}"}} | select(name)', 100, 10)


# ---- O: older Grafanas ----

def older(g):
    info = json.loads(g.send("/api/status/buildinfo", accept=BROWSER).body)
    c.check("semver", tuple(map(int, info["version"].split("."))) >= (2, 7, 0), info)
    for accept in (JSON, BROWSER):
        got = g.json("SearchTagsResponse", "/api/search/tags", accept=accept)
        c.check("tagNames", "service.name" in got["tagNames"], got)
        got = g.json("SearchTagValuesResponse", "/api/search/tag/service.name/values", accept=accept)
        c.check("tagValues", "frontend" in got["tagValues"], got)
    text = g.traces[0]
    a = g.send(f"/api/traces/{text}", accept=PROTO)
    message = proto_strict("Trace", a.body)
    c.check("a bare Trace", message.resourceSpans)
    a = g.send(f"/api/traces/{text}", accept=JSON)
    got = json.loads(a.body)
    c.equal("batches", list(got), ["batches"])
    json_strict("Trace", json.dumps({"resourceSpans": got["batches"]}).encode())
    a = http_request(f"{g.server.url}/api/traces/ffffffff", headers={"Accept": PROTO})
    c.equal("v1 unknown", (a.status, a.body), (404, b""))
    c.check("limit and spss always", g.search("{}", 20, 3))
    for tag in ("span.http%252Estatus_code", "span.a%252Fb"):  # encoded twice by Grafana up to 12.3
        g.send(f"/api/v2/search/tag/{tag}/values", accept=BROWSER)
    # a data source URL that ends in a slash: the plugin joins without cleaning
    for path in (f"//api/v2/traces/{text}", "//api/metrics/query?q=%7B%7D%7Crate()"):
        with socket.create_connection(("127.0.0.1", g.server.http_port), 5) as s:
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            head = s.makefile("rb").read().split(b"\r\n\r\n")[0].decode()
        c.check(f"{path}: 200 or a redirect to the clean path",
                " 200 " in head.split("\r\n")[0] or (" 301 " in head.split("\r\n")[0] and
                                                     "\nlocation: /api/" in head.lower()), head)


def protobuf(g):
    """The same answers as protobuf, for clients that ask so."""
    for message, path, params in (
            ("SearchResponse", "/api/search", sorted(g.range() + [("q", "{status=error} | select(name)")])),
            ("SearchResponse", "/api/search", sorted(g.range() + [("tags", "http.method=GET")])),
            ("SearchTagsResponse", "/api/search/tags", []),
            ("SearchTagsV2Response", "/api/v2/search/tags", []),
            ("SearchTagValuesResponse", "/api/search/tag/http.method/values", []),
            ("SearchTagValuesV2Response", "/api/v2/search/tag/span.http.status_code/values", []),
            ("SearchTagValuesV2Response", "/api/v2/search/tag/status/values", []),
            ("SearchTagValuesV2Response", "/api/v2/search/tag/span.a.empty/values", [])):
        a = g.send(path, params, PROTO)
        c.equal(f"{path}: type", a.header("content-type"), "application/protobuf")
        decoded = as_json(proto_strict(message, a.body))
        text = json_strict(message, g.send(path, params, JSON).body)
        for either in (decoded, text):
            either.pop("metrics", None)
        c.equal(f"{message}: the same as JSON", {k: v for k, v in text.items() if v}, decoded)
        c.check(f"{message}: metrics", 2 in fields(a.body), a)


def with_exceptions():
    """The corpus has no failed root with an exception event; the Exceptions tab is about them."""
    now = now_ns()
    event = {"name": "exception", "timeUnixNano": str(now), "attributes": [
        {"key": f"exception.{k}", "value": {"stringValue": v}} for k, v in
        (("message", "out of luck 42"), ("type", "T"), ("stacktrace", "at a\n\tat b"))]}
    root = span(name="failing", kind=2, status={"code": 2, "message": "m"}, events=[event], ms=30)
    child = span(root["traceId"], "inner", parentSpanId=root["spanId"], kind=2, status={"code": 2},
                 ms=20, attributes={"span.id": span_id()})
    return request([root, child], "frontend", {"k8s.namespace.name": "shop"})


GROUPS = [saved, explore, searches, links, traces, metrics, dashboards, drilldown, older, protobuf]


def main():
    corpus, _ = corpus_run.load()
    delta = corpus_run.delta_for(corpus["base"])
    with Server() as server:
        corpus_run.send(corpus, server.otlp_url, delta, "")
        c.equal("sent", post(server, with_exceptions()).status, 200)
        for store in ("heads", "blocks"):
            if store == "blocks":
                server.restart()
            session = Session(server, delta, corpus["base"], corpus["traces"])
            for group in GROUPS:
                c.run(f"{store} {group.__name__}", group, session)
    c.finish()


if __name__ == "__main__":
    main()
