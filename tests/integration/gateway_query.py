# SPDX-License-Identifier: Apache-2.0
"""Query RBAC and what the console's plugin asks (statements G74 to G85, G101 to G105)."""
import concurrent.futures
import time
import urllib.parse

from fake_kube import PROJECTS, FakeKube, rule
from gateway import Gateway
from gateway_http import people
from otlp import attrs, fields, now_ns, request_pb, span, trace_id, window

NS = "k8s.namespace.name"


def q(text, **params):
    return "?" + urllib.parse.urlencode({"q": text, **params} if text is not None else params)


def trace_of_three(name):
    """One trace: a span in the reader's namespace, one in a foreign one, one without any."""
    trace, start = trace_id(), now_ns() - 2 * 10**9

    def part(resource, n, scope):
        s = span(trace, f"op{n}", start=start, attributes={"secret": f"hush{n}"}, kind=2,
                 events=[{"timeUnixNano": str(start), "name": f"hush{n}"}],
                 links=[{"traceId": trace_id(), "spanId": "00000000000000aa",
                         "attributes": attrs({"why": f"hush{n}"})}],
                 status={"code": 2, "message": f"hush{n}"})
        return {"resource": {"attributes": attrs(resource)},
                "scopeSpans": [{"scope": scope, "spans": [s]}]}
    lib = {"name": "lib", "version": "1", "attributes": attrs({"s": "hush"})}
    return trace, {"resourceSpans": [
        part({"service.name": name, NS: "ns1", "r": "hush1"}, 1, {"name": "lib"}),
        part({"r": "hush2", "service.name": name, NS: "ns2"}, 2, lib),
        part({"service.name": name, "r": "hush3"}, 3, lib),
        part({}, 4, {}),
        part({NS: "ns2"}, 5, lib)]}


def shown(batches):
    """{span name: (resource keys in order, scope keys, span keys, events, link keys, message)}."""
    out = {}
    for b in batches:
        keys = [a["key"] for a in b["resource"].get("attributes", [])]
        for ss in b["scopeSpans"]:
            scope = [a["key"] for a in ss.get("scope", {}).get("attributes", [])]
            for s in ss["spans"]:
                out[s["name"]] = (keys, scope, [a["key"] for a in s.get("attributes", [])],
                                  [e.get("name") for e in s.get("events", [])],
                                  [a["key"] for k in s.get("links", []) for a in k.get("attributes", [])],
                                  s.get("status", {}).get("message"))
    return out


def rbac(c, kube, plain):
    trace, body = trace_of_three("rbac")
    g = plain["rbac"]
    c.equal("sent", g.post(request_pb(body), "writer").status, 200)
    for path in ("/api/v2/search/tags", "/api/search/tags", "/api/v2/search/tag/name/values",
                 "/api/metrics/query_range" + q("{} | rate()"), "/api/echo", "/api/status/buildinfo",
                 "/api/v2/traces/" + trace + "/x", "/api/v2/search/tag/span.secret/values"):
        a = g.get(path, "reader")
        c.equal(f"G74 {path}", (a.status, a.body), (403, b""))
    for path in ("/api/search", f"/api/traces/{trace}", f"/api/v2/traces/{trace}",
                 "/api/v2/search/tag/resource.service.name/values",
                 f"/api/v2/search/tag/resource.{NS}/values"):
        c.equal(f"G74 {path}", g.get(path, "reader").status, 200)
    a = g.get("/api/search" + q(None, limit=5), "reader")
    c.check("G75 search without q", a.status == 200 and a.json()["traces"], a)
    text = '{ name =~ "op1|op2" && span.secret != "+%7C|" }'
    a = g.get("/api/search" + q(text, spss=9), "reader")
    sets = a.json()["traces"][0]["spanSets"] if a.status == 200 and a.json()["traces"] else [{}]
    c.equal("G76 q is decoded once", len(sets[0].get("spans", [])), 2)
    a = g.get("/api/search" + q("{} | select(span.secret)", spss=9), "reader")
    found = {}
    for t in a.json()["traces"]:
        for s in t["spanSets"][0]["spans"]:
            found.setdefault(t["traceID"].zfill(32), []).append(
                tuple(sorted((x["key"], x["value"].get("stringValue")) for x in s.get("attributes", []))))
    c.equal("G77 attributes of a search", sorted(found.get(trace, [])), sorted(
        [((NS, "ns1"), ("secret", "hush1")), ((NS, "ns2"),), (), (), ((NS, "ns2"),)]))
    c.check("G77 nothing else", "hush2" not in a.text and "hush3" not in a.text, a.text)
    v1, v2 = g.get(f"/api/traces/{trace}", "reader"), g.get(f"/api/v2/traces/{trace}", "reader")
    for name, batches in (("v1", v1.json()["batches"]), ("v2", v2.json()["trace"]["resourceSpans"])):
        got = shown(batches)
        c.equal(f"G78 {name} own", got["op1"],
                (["service.name", NS, "r"], [], ["secret"], ["hush1"], ["why"], "hush1"))
        c.equal(f"G78 {name} foreign", got["op2"], ([NS, "service.name"], [], [], [], [], None))
        c.equal(f"G78 {name} absent", got["op3"], (["service.name"], [], [], [], [], None))
        c.equal(f"G79 {name} no attributes at all", got["op4"], ([], [], [], [], [], None))
        c.equal(f"G80 {name} no service.name", got["op5"], ([NS], [], [], [], [], None))
        c.equal(f"G82 {name} every span", len(got), 5)
    c.check("G78 v1 shows emptied lists", '"attributes":[],"events":[]' in v1.text, v1.text)
    c.check("G78 v2 leaves them out", "[]" not in v2.text, v2.text)
    c.check("G77 an emptied list is shown", '"attributes":[]' in a.text, a.text)
    for accept in ("application/protobuf", "application/vnd.grafana.llm"):
        for path in (f"/api/traces/{trace}", f"/api/v2/traces/{trace}", "/api/search" + q("{}", spss=9)):
            a = g.get(path, "reader", headers={"Accept": accept})
            leaks = [n for n in (2, 3, 4, 5) if f"hush{n}".encode() in a.body]
            c.equal(f"D5 {accept} {path[:14]}", (a.status, leaks), (200, []))
    a = g.get(f"/api/traces/{trace}", "reader", headers={"Accept": "application/protobuf"})
    c.equal("D5 protobuf holds all resources", len(fields(a.body).get(1, [])), 5)
    for coding in ("zstd", "br", "gzip, zstd"):
        a = g.get(f"/api/traces/{trace}", "reader", headers={"Accept-Encoding": coding})
        c.equal(f"G83 {coding}", a.status, 200)
    for bad in ("{ } | select(parent.span.secret)", '{ parent.span.secret = "hush2" }'):
        c.equal(f"D5 {bad}", g.get("/api/search" + q(bad), "reader").status, 400)
    a = g.get("/api/search" + q("{} | by(span.secret)"), "reader")
    c.check("D5 groups", a.status == 200 and "hush2" not in a.text and "hush3" not in a.text, a.text)
    kube.add_token("homeless", "u7", (), [rule("get", "dev")], [])
    c.equal("G81 no project", g.get("/api/search", "homeless").status, 403)
    kube.add_token("later", "u8", (), [rule("get", "dev")], ["ns1"])
    kube.fail(PROJECTS, status=500)
    a = g.get(f"/api/traces/{trace}", "later")
    c.check("G85 projects unknown", a.status in (401, 503) and b"hush" not in a.body, a)
    kube.heal()
    c.equal("G85 and then", g.get(f"/api/traces/{trace}", "later").status, 200)


def console(c, _kube, plain):
    g = plain["plain"]
    trace, body = trace_of_three("console")
    c.equal("sent", g.post(request_pb(body), "writer").status, 200)
    query = ('{ resource.service.name = "console" && name =~ "op1|op2" && (status = error || status = ok)'
             " && duration >= 1ms && traceDuration <= 50s }")
    a = g.get("/api/search" + q(query, limit=21, **window()), "reader")
    hits = a.json()["traces"]
    c.equal("G101 search", (a.status, len(hits)), (200, 1))
    for key in ("traceID", "rootServiceName", "rootTraceName", "startTimeUnixNano", "serviceStats"):
        c.check(f"G101 {key}", key in hits[0], hits[0])
    c.check("G101 start is text", isinstance(hits[0]["startTimeUnixNano"], str), hits[0])
    c.equal("G104 serviceStats", {k: v["spanCount"] for k, v in hits[0]["serviceStats"].items() if k ==
                                  "console"}, {"console": 3})
    a = g.get("/api/search" + q('{ resource.service.name = "nothing" }', **window()), "reader")
    c.equal("G101 an empty search has its list", a.json()["traces"], [])
    for path, key in ((f"/api/traces/{trace}", "batches"), (f"/api/v2/traces/{trace}", "resourceSpans")):
        a = g.get(path, "reader").json()
        spans = [s for b in a.get("trace", a)[key] for ss in b["scopeSpans"] for s in ss["spans"]]
        c.equal(f"G101 {key}", len(spans), 5)
        c.equal(f"G101 {key}: names of enums", (spans[0]["kind"], spans[0]["status"]["code"]),
                ("SPAN_KIND_SERVER", "STATUS_CODE_ERROR"))
    for tag in ("resource.service.name", "name", f"resource.{NS}"):
        a = g.get(f"/api/v2/search/tag/{tag}/values" + q(None, **window()), "reader")
        c.check(f"G101 values of {tag}", a.status == 200 and a.json()["tagValues"] and
                {"type", "value"} <= set(a.json()["tagValues"][0]), a)
    for scope in ("resource", "span", "intrinsic"):
        a = g.get("/api/v2/search/tags" + q(None, scope=scope, **window()), "reader")
        c.check(f"G101 tags of {scope}", a.status == 200 and a.json()["scopes"][0]["name"] == scope, a)
    c.equal("G102 limit 5001", g.get("/api/search" + q("{}", limit=5001), "reader").status, 200)
    a = g.get(f"/api/v2/traces/{trace_id()}", "reader")
    c.check("G103 unknown trace", a.status == 404 or not a.json().get("trace", {}).get("resourceSpans"), a)
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(30) as pool:
        statuses = list(pool.map(lambda i: g.get(
            "/api/v2/search/tag/name/values" + q(None, limit=1000 + i), "reader").status, range(30)))
    c.check("G105 30 at once", set(statuses) == {200} and time.monotonic() - began < 30, statuses)


def run(c):
    with FakeKube() as kube:
        people(kube)
        with Gateway(kube, gateway={"query_rbac": True}) as restricted, Gateway(kube) as open_one:
            servers = {"rbac": restricted, "plain": open_one}
            for function in (rbac, console):
                c.run(function.__name__, function, c, kube, servers)
