# SPDX-License-Identifier: Apache-2.0
"""Routing, rewriting and ingest through the gateway (statements G1 to G33)."""
import gzip
import json
import socket
import threading

import h2.config
import h2.connection
import h2.events

from fake_kube import FakeKube, rule
from gateway import DEV, PROD, Gateway, error_of, wait
from otlp import request, request_pb, span

UNKNOWN = "tenant not found, have you registered it?"


def people(kube):
    sa = "system:serviceaccount:llamastack:"
    groups = ["system:serviceaccounts", "system:authenticated"]
    kube.add_token("reader", sa + "reader", groups, [rule("get", "dev")], ["ns1"])
    kube.add_token("writer", sa + "otel-collector-sa", groups, [rule("create", "dev")], ["ns1"])
    kube.add_token("both", sa + "both", groups, [rule("*", "dev")], ["ns1"])
    kube.add_token("prod", sa + "prod", groups, [rule("*", "prod")], ["ns2"])
    kube.add_token("nobody", sa + "nobody", groups)


def routing(c, g):
    a = g.raw("GET", "/")
    c.check("G1 root lists paths", a.status == 200 and isinstance(a.json().get("paths"), list), a)
    a = g.get("/api/search/", "reader")
    c.check("G2 one trailing slash means nothing", a.status == 200 and "traces" in a.json(), a)
    a = g.get("/api/echo", "reader")
    c.check("G3 echo", a.status == 200 and a.text.strip() == "echo", a)
    for path in ("/ready", "/metrics", "/status/config", "/config"):
        c.equal(f"G4 {path} is not routed", g.get(path, "reader").status, 404)
    for name, method in (("G5 POST", "POST"), ("G6 HEAD", "HEAD")):
        a = g.get("/api/search", "reader", method=method)
        c.equal(f"{name} on a search", (a.status, a.body), (405, b""))
    c.equal("G7 PUT on OTLP", g.post(b"", "writer", method="PUT").status, 405)
    a = g.get("/api/search", "reader", tenant="nosuch")
    c.equal("G8 unknown tenant", (a.status, error_of(a)), (401, UNKNOWN))
    c.equal("G8 content type", a.header("content-type"), "application/json; charset=utf-8")
    trace = g.write("writer")
    names = [p.name for p in g.folder.rglob("*")]
    c.check("G9 no folder has the tenant's name", "dev" not in names, names)
    for name, header in (("G10 name", "prod"), ("G11 id", PROD)):
        a = g.get(f"/api/traces/{trace}", "reader", headers={"X-Scope-OrgID": header})
        c.equal(f"{name} of another tenant in the header", a.status, 200)
        a = g.get(f"/api/traces/{trace}", "prod", tenant="prod", headers={"X-Scope-OrgID": DEV})
        c.equal(f"{name}: nor the other way", a.status, 404)
    a = g.raw("GET", "/dev", g.bearer("reader"))
    c.equal("G12 /dev", (a.status, a.header("location")), (301, "/api/traces/v1/dev/search"))
    c.equal("G12 needs a login", g.raw("GET", "/dev").status, 401)
    for path in ("/api/traces", "/api/services", "/search", "/trace/1", "/static/x.js", "/favicon.ico"):
        a = g.raw("GET", "/api/traces/v1/dev" + path, g.bearer("reader"))
        c.equal(f"G13 Jaeger {path}", (a.status, a.text), (404, "404 page not found\n"))
    g.write("writer", spans=[span(attributes={"a/b": "slash"})])
    a = g.get("/api/v2/search/tag/span.a%2Fb/values", "reader")
    c.check("G14 an encoded slash in a tag's name", a.status == 200 and "slash" in a.text, a)
    a = g.get("/api/echo", "reader", headers={"Host": "console.example:1"})
    c.equal("G15 any Host", a.status, 200)
    a = g.raw("GET", "/api/traces/v1/dev/nothing")
    c.equal("unknown paths ask for a login first", a.status, 401)


def two_protocols(c, g):
    conn = g.connect()
    for i in range(3):
        conn.request("GET", "/api/traces/v1/dev/tempo/api/echo", headers=g.bearer("reader"))
        r = conn.getresponse()
        c.equal(f"G16 keep-alive {i}", (r.status, r.read().strip()), (200, b"echo"))
    conn.close()
    with socket.create_connection(("127.0.0.1", g.public), 10) as raw, \
            g.context(["h2", "http/1.1"]).wrap_socket(raw, server_hostname="localhost") as s:
        c.equal("G16 ALPN", s.selected_alpn_protocol(), "h2")
        conn = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        conn.initiate_connection()
        for stream in (1, 3):
            conn.send_headers(stream, [(":method", "GET"), (":scheme", "https"), (":authority", "x"),
                                       (":path", "/api/traces/v1/dev/tempo/api/echo"),
                                       ("authorization", "Bearer reader")], end_stream=True)
        s.sendall(conn.data_to_send())
        statuses, ended = [], 0
        while ended < 2:
            for event in conn.receive_data(s.recv(65536)):
                if isinstance(event, h2.events.ResponseReceived):
                    statuses.append(dict(event.headers)[":status"])
                ended += isinstance(event, h2.events.StreamEnded)
            s.sendall(conn.data_to_send())
        c.equal("G16 h2", statuses, ["200", "200"])


def capacity(c, kube):
    with Gateway(kube, gateway={"concurrent_request_limit": 2}) as g:
        kube.forget()
        kube.fail("/tokenreviews", delay=3)
        slow = [threading.Thread(target=g.get, args=("/api/echo", f"slow{i}")) for i in range(2)]
        for t in slow:
            t.start()
        c.check("G17 the others are inside", wait(lambda: kube.count("/tokenreviews") == 2))
        a = g.get("/api/echo", "reader")
        c.equal("G17 over the limit", (a.status, a.text), (429, "Server capacity exceeded."))
        a = g.raw("GET", "/ready", port=g.internal)
        c.equal("G94 not ready while the public port is full", a.status, 503)
        for t in slow:
            t.join()
        kube.heal()
        c.equal("G17 and after", g.get("/api/echo", "reader").status, 200)


def grpc_ingest(c, g):
    s = span()
    pb = request_pb(request([s]))
    a = g.export(pb, "writer")
    c.equal("G18 Export", a.code, 0)
    c.equal("G18 readable", g.get(f"/api/traces/{s['traceId']}", "reader").status, 200)
    for name, tenant, token, code, text in (
            ("G19 no tenant", None, "writer", 3, 'header "x-scope-orgid" not set'),
            ("G20 two tenants", ["dev", "dev"], "writer", 3,
             'header "x-scope-orgid" requested multiple tenants'),
            ("G21 unknown tenant", "nosuch", "writer", 3, "unknown tenant"),
            ("G22 the id is no name", DEV, "writer", 3, "unknown tenant"),
            ("G23 no credentials", "dev", None, 16, "error no access token"),
            ("G24 bad token", "dev", "rubbish", 16, None),
            ("G25 reader only", "dev", "reader", 7, "forbidden"),
            ("two authorizations", "dev", ["writer", "writer"], 3, None)):
        a = g.export(pb, token, tenant)
        c.equal(name, a.code, code)
        if text is not None:
            c.equal(f"{name}: text", a.message, text)
    other = "/opentelemetry.proto.collector.trace.v1.TraceService/Other"
    for path in (other, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                 "/grpc.health.v1.Health/Check", "/tempopb.StreamingQuerier/Search"):
        a = g.export(pb, "both", path=path)
        c.check(f"G26 {path}", a.code in (7, 12), a)
    s = span()
    a = g.export(gzip.compress(request_pb(request([s]))), "writer", encoding="gzip")
    c.equal("G27 gzip", a.code, 0)
    c.equal("G27 readable", g.get(f"/api/traces/{s['traceId']}", "reader").status, 200)


def http_ingest(c, g):
    s = span()
    a = g.post(gzip.compress(request_pb(request([s]))), "writer", headers={"Content-Encoding": "gzip"})
    c.equal("G28 protobuf, gzip", a.status, 200)
    c.equal("G28 readable", g.get(f"/api/traces/{s['traceId']}", "reader").status, 200)
    a = g.post(json.dumps(request([span()])).encode(), "writer", content_type="application/json")
    c.equal("G28 JSON", (a.status, a.text), (200, '{"partialSuccess":{}}'))
    pb = request_pb(request([span()]))
    a = g.post(pb, "reader")
    c.equal("G29 reader only", (a.status, error_of(a)),
            (403, "You don't have permission to access this tenant"))
    a = g.post(pb)
    c.equal("G30 no token", (a.status, a.header("www-authenticate")), (401, "Bearer"))
    c.check("G30 in JSON", error_of(a) is not None, a)


def limits(c, kube):
    def only(kube_, protocol, **settings):
        g = Gateway(kube_)
        protocols = g.config["distributor"]["receivers"]["otlp"]["protocols"]
        g.config["distributor"]["receivers"]["otlp"]["protocols"] = {
            protocol: {**protocols[protocol], **settings}}
        return g
    small = span(attributes={"x": "y" * 5000})
    with only(kube, "http", max_request_body_size=4096) as g:
        c.equal("G31 HTTP without gRPC", g.post(request_pb(request([span()])), "writer").status, 200)
        a = g.post(request_pb(request([small])), "writer")
        c.equal("G32 body too large", (a.status, error_of(a) is not None), (413, True))
    big = span(attributes={"x": "y" * (1 << 20)})
    with only(kube, "grpc", max_recv_msg_size_mib=1) as g:
        c.equal("G32 message too large", g.export(request_pb(request([big])), "writer").code, 8)
        c.equal("G31 nor HTTP without its receiver", g.post(b"", "writer").status, 404)


def plain_text(c, kube):
    with Gateway(kube, tls=False) as g:
        c.equal("G33 gRPC in plain text", g.export(request_pb(request([span()])), "writer").code, 0)
        c.equal("G33 HTTP in plain text", g.get("/api/echo", "reader").status, 200)
        g.write("writer", spans=[span(attributes={"x": "y"})], resource=None)
        tags = g.raw("GET", "/api/search/tags", {"X-Scope-OrgID": DEV}, port=g.http_port)
        c.contains("G9 the id is what storage knows", tags.text, '"x"')
        a = g.raw("GET", "/api/search/tags", {"X-Scope-OrgID": "dev"}, port=g.http_port)
        c.check("G9 the name is not", '"x"' not in a.text, a)


def run(c):
    with FakeKube() as kube:
        people(kube)
        with Gateway(kube) as g:
            for function in (routing, two_protocols, grpc_ingest, http_ingest):
                c.run(function.__name__, function, c, g)
        for function in (capacity, limits, plain_text):
            c.run(function.__name__, function, c, kube)
