#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""OTLP over gRPC and HTTP at the level of bytes: encodings, statuses, limits, ids, tenants.

Each function is one group of requirements; ONLY=pattern runs some of them.
"""
import base64
import gzip
import json
import pathlib
import socket
import sys
import time
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import venv  # noqa: E402  pylint: disable=wrong-import-position

venv.use("requirements.txt")

import cramjam  # noqa: E402
import raw_grpc  # noqa: E402
from checks import Checks  # noqa: E402
from otlp import (attrs, field_len, fields, get, http_request, post, request, request_pb, span,  # noqa: E402
                  span_id, span_pb, trace_id, value, window)
from server import Server, free_ports, merge  # noqa: E402

c = Checks()
PB = "application/x-protobuf"
MIB = 1 << 20


def stored(server, trace, headers=None):
    """Spans of a trace as read back by v2 JSON."""
    a = get(server, f"/api/v2/traces/{trace}", headers)
    out = []
    for rs in a.json()["trace"].get("resourceSpans", []):
        for ss in rs["scopeSpans"]:
            out += ss["spans"]
    return out


def one(trace=None, **members):
    s = span(trace, **members)
    return s["traceId"], request([s])


def metric(server, name):
    """Sum of a metric's series; series by label text too."""
    out = {}
    for line in get(server, "/metrics").text.splitlines():
        if line.startswith(name) and line[len(name)] in " {":
            key, number = line.rsplit(" ", 1)
            out[key[len(name):]] = float(number)
    return out


# ---- gRPC ----

def grpc_success(server):
    trace, req = one()
    a = raw_grpc.export(server, request_pb(req))
    c.equal("HTTP status", a.http, 200)
    c.equal("grpc-status", a.code, 0)
    c.check("content type", a.headers.get("content-type", "").startswith("application/grpc"), a)
    c.check("message is 0a00 or empty", a.messages() in ([b"\x0a\x00"], [b""]), a)
    c.equal("stored at once", len(stored(server, trace)), 1)
    for kind in ("application/grpc+proto", "application/grpc;charset=utf-8"):
        trace, req = one()
        c.equal(kind, raw_grpc.export(server, request_pb(req), content_type=kind).code, 0)
    c.equal("empty request", raw_grpc.export(server, b"").code, 0)


def grpc_one_connection_many_calls(server):
    with raw_grpc.Connection(server.otlp_grpc) as conn:
        streams = []
        for _ in range(50):
            trace, req = one()
            streams.append((trace, conn.open()))
            conn.send(streams[-1][1], raw_grpc.frame(request_pb(req)))
        codes = [conn.finish(s).code for _, s in streams]
    c.equal("50 interleaved calls", codes, [0] * 50)
    c.check("all stored", all(len(stored(server, t)) == 1 for t, _ in streams))


def grpc_encodings(server):
    pack = {"identity": bytes, "gzip": gzip.compress,
            "zstd": lambda b: bytes(cramjam.zstd.compress(b)),
            "snappy": lambda b: bytes(cramjam.snappy.compress(b))}
    for name, function in pack.items():
        trace, req = one(attributes={"k": "v" * 500})
        a = raw_grpc.export(server, function(request_pb(req)), encoding=name)
        c.equal(name, (a.code, len(stored(server, trace))), (0, 1))
    a = raw_grpc.export(server, b"x", encoding="lz4")
    c.equal("lz4 code", a.code, 12)
    c.contains("lz4 text", a.message,
               'grpc: Decompressor is not installed for grpc-encoding "lz4"')
    a = raw_grpc.export(server, b"this is not gzip", encoding="gzip")
    c.check("corrupt gzip refused", a.code not in (0, None), a)


def grpc_framing(server):
    trace, req = one()
    body = request_pb(req)
    for name, raw in {"header cut": b"\0\0\0", "payload cut": raw_grpc.frame(body)[:-7],
                      "length of 4 GiB": b"\0\xff\xff\xff\xff" + body, "no message": b"",
                      "flag without encoding": raw_grpc.frame(body, True)}.items():
        a = raw_grpc.export(server, b"", raw=raw)
        c.check(name, a.code not in (0, None) or a.reset is not None, a)
    c.equal("nothing stored", stored(server, trace), [])


def grpc_routing(server):
    a = raw_grpc.export(server, b"", content_type="application/json")
    c.equal("wrong content type", a.http, 415)
    for path, text in {"/opentelemetry.proto.collector.metrics.v1.MetricsService/Export":
                       "unknown service", raw_grpc.EXPORT + "2": "unknown method",
                       "/grpc.health.v1.Health/Check": "unknown service"}.items():
        a = raw_grpc.export(server, b"", path=path)
        c.equal(path, a.code, 12)
        c.contains(path, a.message, text)


def grpc_size_limit(server):
    def padded(total):
        """A request of that size, in spans of 100 kB of one trace each; the last fills up."""
        spans = [span(attributes={"pad": b"x" * 100000}) for _ in range(total // 100200)]
        spans.append(span(attributes={"pad": b""}))
        rest = total - len(request_pb(request(spans)))
        spans[-1]["attributes"] = attrs({"pad": b"y" * (rest - 8)})
        return spans[-1]["traceId"], request_pb(request(spans))

    trace, body = padded(4 * MIB - 1000)
    c.equal("below 4 MiB", (raw_grpc.export(server, body).code, len(stored(server, trace))), (0, 1))
    trace, body = padded(4 * MIB + 2000)
    a = raw_grpc.export(server, body)
    c.equal("above 4 MiB", a.code, 8)
    c.contains("text", a.message, "grpc: received message larger than max")
    c.equal("no retry advice", a.retry_delay(), None)
    a = raw_grpc.export(server, gzip.compress(body), encoding="gzip")
    c.equal("above 4 MiB after inflation", a.code, 8)
    c.equal("nothing stored", stored(server, trace), [])
    ports = free_ports(1)
    extra = {"distributor": {"receivers": {"otlp": {"protocols": {"grpc": {
        "endpoint": f"127.0.0.1:{ports[0]}", "max_recv_msg_size_mib": 8}}}}}}
    with Server(extra) as big:
        big.otlp_grpc = ports[0]
        trace, body = padded(6 * MIB)
        c.equal("max_recv_msg_size_mib: 8", (raw_grpc.export(big, body).code,
                                             len(stored(big, trace))), (0, 1))
        trace, body = padded(8 * MIB + 2000)
        c.equal("above 8 MiB", raw_grpc.export(big, body).code, 8)


def bad_ids(server):
    """Both transports: only the bad spans are refused, and they are counted."""
    good = span()
    zero = span("0" * 32)
    short = span("11" * 8)
    no_span_id = span(spanId="0" * 16)
    a = raw_grpc.export(server, request_pb(request([zero])))
    c.equal("zero trace id alone", a.code, 3)
    c.contains("text", a.message, "received 0 bits")
    a = raw_grpc.export(server, request_pb(request([short])))
    c.check("8-byte trace id alone", a.code in (3, 13), a)
    a = raw_grpc.export(server, request_pb(request([no_span_id])))
    c.equal("zero span id alone", a.code, 3)
    c.contains("text", a.message, "span ids must be 64 bit and not all zero")
    before = sum(metric(server, "tempo_discarded_spans_total").values())
    a = raw_grpc.export(server, request_pb(request([zero, good, short, no_span_id])))
    c.equal("mixed request", a.code, 0)
    partial = fields(fields(a.messages()[0]).get(1, [b""])[0])
    c.equal("rejected_spans", partial.get(1), [3])
    c.check("error_message", partial.get(2, [b""])[0] != b"", partial)
    c.equal("the good one is stored", len(stored(server, good["traceId"])), 1)
    after = sum(metric(server, "tempo_discarded_spans_total").values())
    c.equal("discarded metric", after - before, 3)
    good = span()
    a = post(server, request([zero, good]))
    c.equal("HTTP JSON mixed", a.status, 200)
    c.equal("rejectedSpans", str(a.json()["partialSuccess"].get("rejectedSpans")), "1")
    c.equal("stored", len(stored(server, good["traceId"])), 1)
    c.equal("HTTP zero id alone", post(server, request([zero])).status, 400)


# ---- HTTP ----

def http_success(server):
    trace, req = one()
    a = post(server, req, "application/json; charset=utf-8")
    c.equal("JSON status", a.status, 200)
    c.equal("JSON body", a.text, '{"partialSuccess":{}}')
    c.equal("JSON type", a.header("content-type"), "application/json")
    c.equal("JSON stored", len(stored(server, trace)), 1)
    trace, req = one()
    a = post(server, request_pb(req), PB)
    c.equal("protobuf status", a.status, 200)
    c.equal("protobuf body", a.body, b"\x0a\x00")
    c.equal("protobuf type", a.header("content-type"), PB)
    c.equal("protobuf stored", len(stored(server, trace)), 1)
    c.equal("empty protobuf", post(server, b"", PB).status, 200)
    c.equal("empty JSON", post(server, b"", "application/json").status, 400)
    c.equal("empty JSON object", post(server, b"{}", "application/json").status, 200)


def http_refusals(server):
    trace, req = one()
    body = json.dumps(req).encode()
    a = http_request(server.otlp_url + "/v1/traces")
    c.equal("GET", a.status, 405)
    c.contains("GET type", a.header("content-type"), "text/plain")
    c.contains("GET text", a.text, "405 method not allowed, supported: [POST]")
    a = post(server, body, "text/plain")
    c.equal("text/plain", a.status, 415)
    c.contains("text/plain text", a.text,
               "415 unsupported media type, supported: [application/json, application/x-protobuf]")
    c.equal("no content type", post(server, body, None).status, 415)
    for path in ("/v1/metrics", "/v1/logs", "/", "/v1/traces/"):
        a = post(server, body, path=path)
        c.equal(path, a.status, 404)
        c.contains(path, a.text, "404 page not found")
    for encoding in ("br", "identity", "GZIP"):
        a = post(server, body, headers={"Content-Encoding": encoding})
        c.equal(encoding, (a.status, a.json().get("code")), (400, 3))
        c.contains(encoding, a.json().get("message", ""),
                   f"unsupported Content-Encoding: {encoding}")
    for name, data in {"half": body[:len(body) // 2], "array": b"[]", "text": b"hello",
                       "nul": b"\0" * 40}.items():
        a = post(server, data)
        c.equal(f"JSON {name}", (a.status, a.json().get("code")), (400, 3))
    pb = request_pb(req)
    for name, data in {"truncated": pb[:-3], "garbage": b"\xff" * 64, "wrong type": b"\x08\x01",
                       "length past the end": b"\x0a\xff\xff\xff\xff\x0f"}.items():
        a = post(server, data, PB)
        c.equal(f"protobuf {name}", (a.status, fields(a.body).get(1)), (400, [3]))
    c.equal("nothing stored", stored(server, trace), [])


def http_encodings(server):
    pack = {"gzip": gzip.compress, "zlib": zlib.compress, "deflate": zlib.compress,
            "zstd": lambda b: bytes(cramjam.zstd.compress(b)),
            "snappy": lambda b: bytes(cramjam.snappy.compress_raw(b)),
            "x-snappy-framed": lambda b: bytes(cramjam.snappy.compress(b)),
            "lz4": lambda b: bytes(cramjam.lz4.compress(b))}
    for name, function in pack.items():
        trace, req = one(attributes={"k": "abc" * 300})
        a = post(server, function(request_pb(req)), PB, {"Content-Encoding": name})
        c.equal(name, (a.status, len(stored(server, trace))), (200, 1))
        trace, req = one(attributes={"k": "abc" * 300})
        a = post(server, function(request_pb(req))[:-6], PB, {"Content-Encoding": name})
        c.check(f"{name} cut", a.status == 400 and not stored(server, trace), a)
    trace, req = one()
    a = post(server, bytes(cramjam.snappy.compress(request_pb(req))), PB,
             {"Content-Encoding": "snappy"})
    c.equal("snappy, framed by its magic", (a.status, len(stored(server, trace))), (200, 1))
    raw = zlib.compressobj(wbits=-15)
    data = raw.compress(request_pb(req)) + raw.flush()
    c.equal("raw deflate", post(server, data, PB, {"Content-Encoding": "deflate"}).status, 400)
    c.equal("corrupt gzip", post(server, b"nonsense", PB, {"Content-Encoding": "gzip"}).status, 400)


def http_size_limit(server):
    trace, req = one(attributes={"pad": b"x" * (21 * MIB)})
    body = request_pb(req)
    try:
        status = post(server, body, PB).status
    except (ConnectionError, OSError):
        status = "closed"
    c.check("21 MiB body", status in (400, 413, "closed"), status)
    a = post(server, gzip.compress(body, 1), PB, {"Content-Encoding": "gzip"})
    c.check("gzip of 21 MiB", a.status in (400, 413), a)
    c.equal("nothing stored", stored(server, trace), [])


def http_json_dialect(server):
    trace = trace_id()
    text = """{"unknownTop": [1, {"a": null}], "resource_spans": [{"resource": {"attributes": [
      {"key": "service.name", "value": {"string_value": "snake"}}], "x": {"y": [true]}},
      "scope_spans": [{"scope": null, "spans": [{"trace_id": "%s", "spanId": "00F067AA0BA902B7",
      "parent_span_id": "", "name": "n", "kind": "SPAN_KIND_SERVER",
      "start_time_unix_nano": 1700000000000000001, "endTimeUnixNano": "1700000000000000002",
      "status": {"code": "STATUS_CODE_ERROR", "message": null}, "links": null, "future": {},
      "attributes": [{"key": "i", "value": {"intValue": 7}},
        {"key": "b", "value": {"bytesValue": "AAEC"}}, {"key": "d", "value": {"doubleValue": "1.5"}},
        {"key": "e", "value": {}}]}]}]}]} trailing""" % trace.upper()
    a = post(server, text.encode())
    c.equal("accepted", a.status, 200)
    spans = stored(server, trace)
    if c.equal("stored", len(spans), 1):
        s = spans[0]
        c.equal("kind", s["kind"], "SPAN_KIND_SERVER")
        c.equal("start", s["startTimeUnixNano"], "1700000000000000001")
        c.equal("span id", base64.b64decode(s["spanId"]).hex(), "00f067aa0ba902b7")
        c.equal("status", s["status"].get("code"), "STATUS_CODE_ERROR")
        got = {kv["key"]: kv["value"] for kv in s["attributes"]}
        c.equal("int", got.get("i"), {"intValue": "7"})
        c.equal("bytes", got.get("b"), {"bytesValue": "AAEC"})
        c.equal("double", got.get("d"), {"doubleValue": 1.5})

    def change(**members):
        s = span()
        s.update(members)
        return request([s])

    bad = {"4-digit id": change(traceId="abcd"), "enum name": change(kind="SPAN_KIND_NONE"),
           "null time": change(startTimeUnixNano=None), "text time": change(startTimeUnixNano="x"),
           "text as bool": change(attributes=[{"key": "k", "value": {"boolValue": "true"}}]),
           "base64": change(attributes=[{"key": "k", "value": {"bytesValue": "!!"}}]),
           "span is a list": {"resourceSpans": [{"scopeSpans": [{"spans": [[]]}]}]}}
    for name, req in bad.items():
        a = post(server, req)
        c.equal(name, (a.status, a.json().get("code")), (400, 3))


def http_cors():
    port = free_ports(1)[0]
    extra = {"distributor": {"receivers": {"otlp": {"protocols": {"http": {
        "endpoint": f"127.0.0.1:{port}",
        "cors": {"allowed_origins": ["https://*.example.com"], "allowed_headers": ["X-A"],
                 "max_age": 600}}}}}}}
    with Server(extra) as server:
        server.otlp_http = port
        ask = {"Origin": "https://a.example.com", "Access-Control-Request-Method": "POST",
               "Access-Control-Request-Headers": "x-a"}
        a = http_request(server.otlp_url + "/v1/traces", "OPTIONS", headers=ask)
        c.equal("preflight", a.status, 204)
        c.equal("origin echoed", a.header("access-control-allow-origin"), ask["Origin"])
        c.equal("method", a.header("access-control-allow-methods"), "POST")
        c.equal("age", a.header("access-control-max-age"), "600")
        a = http_request(server.otlp_url + "/v1/traces", "OPTIONS",
                         headers={**ask, "Origin": "https://evil.test"})
        c.equal("foreign origin", (a.status, a.header("access-control-allow-origin")), (204, ""))
        a = post(server, one()[1], headers={"Origin": "https://a.example.com"})
        c.equal("actual request", (a.status, a.header("access-control-allow-origin")),
                (200, "https://a.example.com"))


# ---- limits ----

def rate_limit():
    limits = {"ingestion": {"rate_limit_bytes": 1000, "burst_size_bytes": 1000}}
    with Server({"overrides": {"defaults": limits}}) as server:
        trace, req = one(attributes={"pad": "x" * 2000})
        a = post(server, req)
        c.equal("HTTP", (a.status, a.header("retry-after")), (429, "5"))
        status = a.json()
        c.equal("code", status["code"], 8)
        c.contains("text", status["message"], "RATE_LIMITED: batch size (")
        c.contains("text", status["message"],
                   "exceeds ingestion limit (local: 1000 bytes/s, global: 0 bytes/s, burst: 1000 "
                   "bytes) while adding")
        c.contains("tenant", status["message"], "for user single-tenant")
        c.equal("RetryInfo", status["details"],
                [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "5s"}])
        a = raw_grpc.export(server, request_pb(req))
        c.equal("gRPC", (a.code, a.retry_delay()), (8, 5))
        c.equal("nothing stored", stored(server, trace), [])
        c.check("metric", metric(server, "tempo_discarded_spans_total").get(
            '{reason="rate_limited",tenant="single-tenant"}') == 2,
            metric(server, "tempo_discarded_spans_total"))
        answers = [post(server, one(attributes={"pad": "y" * 700})[1]) for _ in range(6)]
        refused = [a for a in answers if a.status == 429]
        c.check("the bucket empties", answers[0].status == 200 and refused, answers)
        if refused:
            c.contains("other text", refused[0].json()["message"],
                       "RATE_LIMITED: ingestion rate limit (")
    for extra in ({"distributor": {"retry_after_on_resource_exhausted": "0s"}},
                  {"overrides": {"defaults": {"ingestion": {"retry_info_enabled": False}}}}):
        with Server(merge({"overrides": {"defaults": limits}}, extra)) as server:
            _, req = one(attributes={"pad": "x" * 2000})
            a = post(server, req)
            c.equal(f"{extra}: HTTP", (a.status, a.header("retry-after"), "details" in a.json()),
                    (429, "", False))
            a = raw_grpc.export(server, request_pb(req))
            c.equal(f"{extra}: gRPC", (a.code, a.retry_delay()), (8, None))


def trace_limits():
    limits = {"ingestion": {"max_traces_per_user": 1}, "global": {"max_bytes_per_trace": 3000}}
    with Server({"overrides": {"defaults": limits}}) as server:
        first = span()
        c.equal("first trace", post(server, request([first])).status, 200)
        second = span()
        a = post(server, request([second]))
        c.equal("second trace: 200", a.status, 200)
        c.equal("second trace: counted", str(a.json()["partialSuccess"].get("rejectedSpans")), "1")
        c.equal("second trace: not stored", stored(server, second["traceId"]), [])
        more = span(first["traceId"])
        a = post(server, request([more, second]))
        c.equal("mixed: counted", str(a.json()["partialSuccess"].get("rejectedSpans")), "1")
        c.equal("the first grows", len(stored(server, first["traceId"])), 2)
        time.sleep(0.15)  # such log lines come at most ten times a second
        big = span(first["traceId"], attributes={"pad": "x" * 2000, "pad2": "y" * 1500})
        a = post(server, request([big]))
        c.equal("too large: 200", a.status, 200)
        c.equal("too large: counted", str(a.json()["partialSuccess"].get("rejectedSpans")), "1")
        a = raw_grpc.export(server, request_pb(request([big])))
        partial = fields(fields(a.messages()[0]).get(1, [b""])[0]) if a.messages() else {}
        c.equal("too large over gRPC", (a.code, partial.get(1)), (0, [1]))
        by_reason = metric(server, "tempo_discarded_spans_total")
        c.equal("live_traces_exceeded", by_reason.get(
            '{reason="live_traces_exceeded",tenant="single-tenant"}'), 2)
        c.equal("trace_too_large", by_reason.get(
            '{reason="trace_too_large",tenant="single-tenant"}'), 2)
        c.contains("log line", server.log_text(), "TRACE_TOO_LARGE")


def attribute_truncation():
    with Server({"overrides": {"defaults": {"ingestion": {"max_attribute_bytes": 5}}}}) as server:
        s = span(attributes={"abcdefgh": "123456789", "int": 123456789, "b": b"0123456789"})
        s["events"] = [{"name": "e", "timeUnixNano": s["startTimeUnixNano"],
                        "attributes": attrs({"eventkey": "short"})}]
        c.equal("accepted", post(server, request([s])).status, 200)
        back = stored(server, s["traceId"])[0]
        got = {kv["key"]: kv["value"] for kv in back["attributes"]}
        c.equal("attributes", got, {"abcde": {"stringValue": "12345"},
                                    "int": {"intValue": "123456789"},
                                    "b": {"bytesValue": base64.b64encode(b"0123456789").decode()}})
        c.equal("event", back["events"][0]["attributes"],
                [{"key": "event", "value": {"stringValue": "short"}}])
        counts = metric(server, "tempo_distributor_attributes_truncated_total")
        c.equal("span", counts.get('{scope="span",tenant="single-tenant"}',
                                   counts.get('{tenant="single-tenant",scope="span"}')), 2)
        c.contains("log", server.log_text(), "attributes truncated")


# ---- tenants ----

def tenants():
    with Server({"multitenancy_enabled": True}) as server:
        trace, req = one()
        a = post(server, req)
        c.equal("no header", (a.status, a.json()), (503, {"code": 14, "message": "no org id"}))
        c.equal("no header, gRPC", raw_grpc.export(server, request_pb(req)).code, 14)
        for header in ("", "a|b", "a/b", "x" * 151, "..", "a b"):
            h = {"X-Scope-OrgID": header}
            c.equal(f"header {header[:9]!r}", post(server, req, headers=h).status, 400)
            a = raw_grpc.export(server, request_pb(req), headers=[("x-scope-orgid", header)])
            c.equal(f"header {header[:9]!r}, gRPC", a.code, 3)
        for body, kind in ((b"{}", "application/json"), (b"", PB)):
            c.equal(f"nothing sent, {kind}", post(server, body, kind).status, 200)
        a = post(server, req, headers={"X-Scope-OrgID": "a|a"})
        c.equal("a|a", a.status, 200)
        c.equal("stored under a", len(stored(server, trace, {"X-Scope-OrgID": "a"})), 1)
        c.equal("not under b", stored(server, trace, {"X-Scope-OrgID": "b"}), [])
        trace, req = one()
        c.equal("metadata", post(server, req, headers={"X-Scope-OrgID": "c:k=v"}).status, 200)
        c.equal("stripped", len(stored(server, trace, {"X-Scope-OrgID": "c"})), 1)
        c.equal("percent", post(server, req, headers={"X-Scope-OrgID": "%2e"}).status, 400)
        for name in ("Aa0!-_.*'()", "x" * 150, "CON", "..."):
            trace, req = one()
            h = {"X-Scope-OrgID": name}
            c.equal(f"name {name[:12]}", post(server, req, headers=h).status, 200)
            c.equal(f"name {name[:12]} stored", len(stored(server, trace, h)), 1)
        server.restart()
        c.equal("after a restart", len(stored(server, trace, {"X-Scope-OrgID": "..."})), 1)
        outside = [p for p in server.folder.iterdir()
                   if p.name not in ("blocks", "wal", "server.log", "vivace.yaml")]
        c.equal("no file elsewhere", outside, [])


def single_tenant(server):
    trace, req = one()
    c.equal("header ignored", post(server, req, headers={"X-Scope-OrgID": "a/b"}).status, 200)
    c.equal("stored", len(stored(server, trace)), 1)
    c.check("tenant name", 'tenant="single-tenant"' in get(server, "/metrics").text)


# ---- content ----

def everything(server):
    """All that a span can hold comes back."""
    trace = trace_id()
    start = 1700000000123456789
    kv = {"s": "text", "empty": "", "uni": "zażółć \U0001f600 \u2028<&>", "t": True, "f": False,
          "i": -1, "big": 2**63 - 1, "min": -2**63, "d": 1.5, "neg0": -0.0, "tiny": 5e-324,
          "bytes": b"\x00\xff\x10", "nobytes": b"", "arr": ["a", "b"], "ints": [1, 2],
          "mixed": ["a", 1, 2.5, True], "nested": [["a"], [1]], "noarr": [],
          "kv": {"kvlistValue": {"values": attrs({"x": 1, "y": [1, "z"]})}},
          "nothing": {}}
    s = span(trace, "everything", start=start, attributes=kv, kind=3, traceState="a=1,b=2",
             parentSpanId=span_id(), flags=0x301, droppedAttributesCount=1, droppedEventsCount=2,
             droppedLinksCount=3, status={"code": 2, "message": "broken"})
    s["events"] = [{"timeUnixNano": str(start + 5), "name": "ev", "attributes": attrs(kv),
                    "droppedAttributesCount": 4}, {"timeUnixNano": str(start + 6), "name": ""}]
    s["links"] = [{"traceId": trace_id(), "spanId": span_id(), "traceState": "l=1",
                   "attributes": attrs({"why": "batch"}), "droppedAttributesCount": 5,
                   "flags": 0x101}]
    req = request([s], resource=kv, scope={"name": "lib", "version": "1.2",
                                           "attributes": attrs({"sc": 1}),
                                           "droppedAttributesCount": 6})
    req["resourceSpans"][0]["resource"]["droppedAttributesCount"] = 7
    for label in ("head", "after a kill", "block"):
        if label == "head":
            c.equal("accepted", raw_grpc.export(server, request_pb(req)).code, 0)
        else:
            server.restart(kill=label == "after a kill")
        compare(label, server, trace, req)


def canonical(v):
    """Values compared as read: numbers by value, -0.0 apart from 0.0, attributes as a mapping."""
    if "doubleValue" in v:
        return ("double", repr(float(v["doubleValue"])))
    if "intValue" in v:
        return ("int", int(v["intValue"]))
    if "arrayValue" in v:
        return ("array", [canonical(e) for e in (v["arrayValue"] or {}).get("values", [])])
    if "kvlistValue" in v:
        return ("kv", mapping((v["kvlistValue"] or {}).get("values")))
    return tuple(v.items())


def mapping(items):
    return {kv["key"]: canonical(kv.get("value") or {}) for kv in items or []}


def compare(label, server, trace, req):
    sent_rs = req["resourceSpans"][0]
    sent_ss = sent_rs["scopeSpans"][0]
    sent = sent_ss["spans"][0]
    answer = get(server, f"/api/traces/{trace}").json()
    rs = answer["batches"][0]
    ss = rs["scopeSpans"][0]
    s = ss["spans"][0]
    c.equal(f"{label}: resource", mapping(rs["resource"]["attributes"]),
            mapping(sent_rs["resource"]["attributes"]))
    c.equal(f"{label}: resource drops", rs["resource"].get("droppedAttributesCount"), 7)
    c.equal(f"{label}: scope", (ss["scope"]["name"], ss["scope"]["version"],
                                mapping(ss["scope"].get("attributes"))),
            ("lib", "1.2", mapping(sent_ss["scope"]["attributes"])))
    for key in ("traceId", "spanId", "parentSpanId"):
        c.equal(f"{label}: {key}", base64.b64decode(s[key]).hex(), sent[key])
    for key in ("name", "traceState", "startTimeUnixNano", "endTimeUnixNano", "flags",
                "droppedAttributesCount", "droppedEventsCount", "droppedLinksCount"):
        c.equal(f"{label}: {key}", s.get(key), sent[key])
    c.equal(f"{label}: kind", s["kind"], "SPAN_KIND_CLIENT")
    c.equal(f"{label}: status", s["status"], {"message": "broken", "code": "STATUS_CODE_ERROR"})
    c.equal(f"{label}: attributes", mapping(s["attributes"]), mapping(sent["attributes"]))
    c.equal(f"{label}: order", [kv["key"] for kv in s["attributes"]],
            [kv["key"] for kv in sent["attributes"]])
    c.equal(f"{label}: events", len(s["events"]), 2)
    event = s["events"][0]
    c.equal(f"{label}: event", (event["timeUnixNano"], event["name"], mapping(event["attributes"]),
                                event.get("droppedAttributesCount")),
            (sent["events"][0]["timeUnixNano"], "ev", mapping(sent["events"][0]["attributes"]), 4))
    link, sent_link = s["links"][0], sent["links"][0]
    c.equal(f"{label}: link", (base64.b64decode(link["traceId"]).hex(),
                               base64.b64decode(link["spanId"]).hex(), link.get("traceState"),
                               mapping(link["attributes"]), link.get("droppedAttributesCount"),
                               link.get("flags")),
            (sent_link["traceId"], sent_link["spanId"], "l=1", mapping(sent_link["attributes"]), 5,
             0x101))


def wire_order_and_unknown_fields(server):
    """Fields in any order, twice, unknown, in groups; the old library spans of field 1000."""
    s = span(name="last wins")
    pb = span_pb(s)
    unknown = b"\xfa\x7f\x03abc" + b"\xc3\x3e" + b"\x08\x01" + b"\xc4\x3e" + b"\xf8\x7f\x05"
    twice = field_len(5, b"first") + pb + unknown
    scope_spans = field_len(2, twice) + field_len(1, field_len(1, b"lib"))
    resource = field_len(1, field_len(1, field_len(1, b"service.name") +
                                      field_len(2, field_len(1, b"late"))))
    body = field_len(1, field_len(2, scope_spans) + resource)
    c.equal("accepted", post(server, body, PB).status, 200)
    spans = stored(server, s["traceId"])
    c.equal("name", [x["name"] for x in spans], ["last wins"])
    found = get(server, "/api/search", q='{ resource.service.name = "late" }', **window()).json()
    c.equal("resource after its spans", len(found["traces"]), 1)
    old = span(name="old")
    body = field_len(1, b"\xc2\x3e" + field_len(2, field_len(2, span_pb(old)))[1:])
    c.equal("field 1000", (post(server, body, PB).status, len(stored(server, old["traceId"]))),
            (200, 1))


def grouping(server):
    trace = trace_id()
    lib = {"name": "same", "version": "1"}
    req = {"resourceSpans": [
        {"resource": {"attributes": attrs({"service.name": "one"})}, "schemaUrl": "http://x",
         "scopeSpans": [{"scope": lib, "spans": [span(trace)]}, {"scope": lib,
                                                                 "spans": [span(trace)]}]},
        {"resource": {"attributes": attrs({"service.name": "two"})},
         "scopeSpans": [{"scope": lib, "spans": [span(trace)]}]}]}
    c.equal("accepted", post(server, req).status, 200)
    back = get(server, f"/api/v2/traces/{trace}").json()["trace"]["resourceSpans"]
    shape = sorted((mapping(rs["resource"]["attributes"])["service.name"][0][1],
                    sorted(len(ss["spans"]) for ss in rs["scopeSpans"])) for rs in back)
    c.equal("merged by resource and scope", shape, [("one", [2]), ("two", [1])])


def receivers_config():
    """Which ports listen follows from the receivers that are named."""
    def listens(port):
        with socket.socket() as s:
            s.settimeout(1)
            return s.connect_ex(("127.0.0.1", port)) == 0

    server = Server()
    receivers = server.config["distributor"]["receivers"]
    del receivers["otlp"]["protocols"]["grpc"]
    with server:
        c.equal("http only", (listens(server.otlp_http), listens(server.otlp_grpc)), (True, False))
    server = Server({"distributor": {"receivers": {"kerberos": {}}}})
    server.spawn()
    c.equal("unknown receiver", server.process.wait(10), 1)
    server.discard()
    port = free_ports(1)[0]
    path = {"http": {"endpoint": f"127.0.0.1:{port}", "traces_url_path": "in/spans"}}
    with Server({"distributor": {"receivers": {"otlp": {"protocols": path}}}}) as server:
        server.otlp_http = port
        c.equal("own path", post(server, one()[1], path="/in/spans").status, 200)
        c.equal("the usual path", post(server, one()[1]).status, 404)


def receiver_metrics(server):
    trace, req = one()
    c.equal("HTTP", post(server, req).status, 200)
    c.equal("gRPC", raw_grpc.export(server, request_pb(req)).code, 0)
    text = get(server, "/metrics").text
    for transport in ("grpc", "http"):
        for name in ("tempo_receiver_accepted_spans", "tempo_receiver_refused_spans"):
            c.check(f"{name} {transport}", any(
                line.startswith(name) and 'receiver="otlp/otlp_receiver"' in line and
                f'transport="{transport}"' in line for line in text.splitlines()))
    for name in ("tempo_distributor_spans_received_total", "tempo_distributor_bytes_received_total",
                 "tempo_distributor_ingress_bytes_total", "tempo_distributor_push_duration_seconds",
                 "tempo_distributor_traces_per_batch"):
        c.check(name, name in text)


SHARED = [grpc_success, grpc_one_connection_many_calls, grpc_encodings, grpc_framing, grpc_routing,
          grpc_size_limit, bad_ids, http_success, http_refusals, http_encodings, http_size_limit,
          http_json_dialect, single_tenant, wire_order_and_unknown_fields, grouping, everything,
          receiver_metrics]
OWN = [http_cors, rate_limit, trace_limits, attribute_truncation, tenants, receivers_config]


def main():
    with c.case("shared server"), Server() as server:
        for function in SHARED:
            c.run(function.__name__, function, server)
    for function in OWN:
        c.run(function.__name__, function)
    c.finish()


if __name__ == "__main__":
    main()
