#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The OpenTelemetry SDK for Python sends by gRPC and HTTP/protobuf, with and without gzip; what every
read API shows must be what the program set. Values that the SDK cannot make (bytes, maps) go as
messages of the official protobuf classes.
"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import venv  # noqa: E402

venv.use("requirements.txt")

import grpc  # noqa: E402
from google.protobuf import json_format  # noqa: E402
from opentelemetry import trace as api  # noqa: E402
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as by_grpc  # noqa: E402
from opentelemetry.exporter.otlp.proto.http import Compression, trace_exporter as by_http  # noqa: E402
from opentelemetry.proto.collector.trace.v1 import (  # noqa: E402
    trace_service_pb2, trace_service_pb2_grpc)
from opentelemetry.proto.trace.v1 import trace_pb2  # noqa: E402
from opentelemetry.sdk.resources import Resource  # noqa: E402
from opentelemetry.sdk.trace import TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor  # noqa: E402
from opentelemetry.trace import Link, SpanKind, Status, StatusCode  # noqa: E402

from checks import Checks  # noqa: E402
from otlp import fields, get, now_ns, window  # noqa: E402
from server import Server  # noqa: E402

c = Checks()
ATTRIBUTES = {"text": "zażółć \U0001f600 <&>\u2028", "empty": "", "yes": True, "no": False, "int": -42,
              "big": 2**63 - 1, "double": 1.5, "negative zero": -0.0, "texts": ("a", "b"),
              "bools": (True, False), "ints": (1, -2), "doubles": (1.5, -2.5), "none": ()}


def exporters(server):
    url = server.otlp_url + "/v1/traces"
    for zipped in (False, True):
        yield (f"grpc {'gzip' if zipped else 'plain'}", by_grpc.OTLPSpanExporter(
            endpoint=f"http://{server.grpc_target}", insecure=True,
            compression=grpc.Compression.Gzip if zipped else grpc.Compression.NoCompression))
    for compression in Compression:
        yield (f"http {compression.value}",
               by_http.OTLPSpanExporter(endpoint=url, compression=compression))


def send(name, exporter, batch):
    """One trace with everything in it; returns (trace id, root span id, start)."""
    provider = TracerProvider(resource=Resource({"service.name": f"python {name}", "res.int": 7,
                                                 "res.list": ("x", "y")}))
    processor = BatchSpanProcessor(exporter) if batch else SimpleSpanProcessor(exporter)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("python-lib", "3.2.1", attributes={"scope.key": "scope value"})
    start = now_ns() - 5 * 10**9
    root = tracer.start_span("root", kind=SpanKind.SERVER, start_time=start, attributes=ATTRIBUTES)
    context = api.set_span_in_context(root)
    kinds = [SpanKind.INTERNAL, SpanKind.CLIENT, SpanKind.PRODUCER, SpanKind.CONSUMER]
    for i, kind in enumerate(kinds):
        links = [Link(root.get_span_context(), {"why": "test"})] if i == 1 else []
        child = tracer.start_span(f"child {i}", context, kind, start_time=start + 10**6 * (i + 1),
                                  links=links)
        if i == 0:
            child.add_event("happened", {"what": "this", "n": 5}, start + 1500000)
            child.set_status(Status(StatusCode.ERROR, "went wrong"))
        if i == 2:
            child.set_status(Status(StatusCode.OK))
        child.end(start + 10**6 * (i + 2))
    root.end(start + 10**9)
    c.check("flushed", provider.force_flush(10000))
    provider.shutdown()
    ids = root.get_span_context()
    return f"{ids.trace_id:032x}", f"{ids.span_id:016x}", start


def py_value(v):
    kind = v.WhichOneof("value")
    if kind == "array_value":
        return tuple(py_value(e) for e in v.array_value.values)
    if kind == "kvlist_value":
        return {kv.key: py_value(kv.value) for kv in v.kvlist_value.values}
    return getattr(v, kind) if kind else None


def typed(v):
    """Equality that keeps types apart: True is not 1, -0.0 is not 0.0."""
    if isinstance(v, (tuple, list)):
        return tuple(typed(e) for e in v)
    if isinstance(v, dict):
        return {k: typed(e) for k, e in v.items()}
    return (type(v).__name__, repr(v) if isinstance(v, float) else v)


def mapping(attributes):
    return {kv.key: typed(py_value(kv.value)) for kv in attributes}


def want(values):
    return {k: typed(v) for k, v in values.items()}


def read_back(server, trace):
    """The trace by all four ways, as TracesData; they must agree."""
    def unrename(d):
        return {"resourceSpans": d["batches"]} if "batches" in d else d["trace"]

    def from_json(d):
        return json_format.ParseDict(unrename(d), trace_pb2.TracesData())

    path, proto = f"/api/traces/{trace}", {"Accept": "application/protobuf"}
    path2 = f"/api/v2/traces/{trace}"
    ways = {"v1 JSON": from_json(get(server, path).json()),
            "v2 JSON": from_json(get(server, path2).json()),
            "v1 protobuf": trace_pb2.TracesData.FromString(get(server, path, proto).body),
            "v2 protobuf": trace_pb2.TracesData.FromString(
                fields(get(server, path2, proto).body)[1][0])}
    first = ways["v1 protobuf"]
    for way, data in ways.items():
        c.check(f"{way} agrees", data == first, f"{data}\nagainst\n{first}")
    return first




def check_sent(server, name, sent):
    trace, root_id, start = sent
    data = read_back(server, trace)
    c.equal("one resource", len(data.resource_spans), 1)
    rs = data.resource_spans[0]
    resource = mapping(rs.resource.attributes)
    for key, v in {"service.name": f"python {name}", "res.int": 7, "res.list": ("x", "y")}.items():
        c.equal(f"resource {key}", resource.get(key), typed(v))
    scope = rs.scope_spans[0].scope
    c.equal("scope", (scope.name, scope.version, mapping(scope.attributes)),
            ("python-lib", "3.2.1", want({"scope.key": "scope value"})))
    spans = {s.name: s for ss in rs.scope_spans for s in ss.spans}
    c.equal("names", sorted(spans), ["child 0", "child 1", "child 2", "child 3", "root"])
    root = spans["root"]
    c.equal("attributes", mapping(root.attributes), want(ATTRIBUTES))
    c.equal("order", [kv.key for kv in root.attributes], list(ATTRIBUTES))
    c.equal("times", (root.start_time_unix_nano, root.end_time_unix_nano), (start, start + 10**9))
    c.equal("ids", (root.trace_id.hex(), root.span_id.hex(), root.parent_span_id), (trace, root_id,
                                                                                  b""))
    c.equal("kinds", [spans[n].kind for n in sorted(spans)], [1, 3, 4, 5, 2])
    c.check("parents", all(s.parent_span_id.hex() == root_id for n, s in spans.items()
                           if n != "root"))
    failed = spans["child 0"]
    c.equal("status", (failed.status.code, failed.status.message), (2, "went wrong"))
    c.equal("ok", spans["child 2"].status.code, 1)
    event = failed.events[0]
    c.equal("event", (event.name, event.time_unix_nano, mapping(event.attributes)),
            ("happened", start + 1500000, want({"what": "this", "n": 5})))
    link = spans["child 1"].links[0]
    c.equal("link", (link.trace_id.hex(), link.span_id.hex(), mapping(link.attributes)),
            (trace, root_id, want({"why": "test"})))
    flags = {s.flags & 0x3ff for s in spans.values()}
    c.check("flags kept", flags <= {0x100, 0x101}, flags)
    queries = (f'{{ resource.service.name = "python {name}" && span.int = -42 }}',
               f'{{ resource.service.name = "python {name}" && span.texts = "b" }}',
               f'{{ resource.service.name = "python {name}" && event.what = "this" }}',
               f'{{ resource.service.name = "python {name}" && link.why = "test" }}',
               f'{{ resource.service.name = "python {name}" && instrumentation.scope.key = '
               '"scope value" }',
               f'{{ resource.service.name = "python {name}" && span."negative zero" = 0 }}')
    for q in queries:
        found = get(server, "/api/search", q=q, **window()).json().get("traces", [])
        c.equal(q, [t["traceID"] for t in found], [trace.lstrip("0")])


def tags_and_values(server, names):
    scopes = {s["name"]: s["tags"] for s in
              get(server, "/api/v2/search/tags", **window()).json()["scopes"]}
    c.check("span tags", set(ATTRIBUTES) <= set(scopes["span"]), scopes["span"])
    c.check("event tags", {"what", "n"} <= set(scopes["event"]), scopes)
    c.equal("link tags", scopes.get("link"), ["why"])
    c.equal("scope tags", scopes.get("instrumentation"), ["scope.key"])
    values = get(server, "/api/v2/search/tag/resource.service.name/values", **window()).json()
    c.check("services", {f"python {n}" for n in names} <=
            {v["value"] for v in values["tagValues"]}, values)
    values = get(server, "/api/v2/search/tag/span.big/values", **window()).json()["tagValues"]
    c.equal("int value", values, [{"type": "int", "value": str(2**63 - 1)}])


def message_round_trip(server):
    """What no SDK makes: every AnyValue, twice nested, on every level of the message."""
    def fill(attributes):
        for key, v in (("b", {"bytesValue": "AP8Q"}), ("nothing", {}),
                       ("list", {"arrayValue": {"values": [
                           {"intValue": "1"}, {"stringValue": "x"}, {"bytesValue": "AA=="},
                           {"arrayValue": {"values": [{"boolValue": True}]}}, {}]}}),
                       ("map", {"kvlistValue": {"values": [
                           {"key": "m", "value": {"kvlistValue": {"values": [
                               {"key": "deep", "value": {"doubleValue": 2.5}}]}}},
                           {"key": "m2", "value": {"stringValue": "y"}}]}})):
            json_format.ParseDict({"key": key, "value": v}, attributes.add())

    req = trace_service_pb2.ExportTraceServiceRequest()
    rs = req.resource_spans.add()
    fill(rs.resource.attributes)
    rs.resource.dropped_attributes_count = 1
    ss = rs.scope_spans.add()
    ss.scope.name = "raw"
    fill(ss.scope.attributes)
    span = ss.spans.add(trace_id=now_ns().to_bytes(16, "big"), span_id=b"12345678", name="raw",
                        trace_state="k=v", kind=2, start_time_unix_nano=now_ns(),
                        end_time_unix_nano=now_ns() + 1, flags=0x303, dropped_attributes_count=2,
                        dropped_events_count=3, dropped_links_count=4)
    fill(span.attributes)
    fill(span.events.add(name="e", time_unix_nano=5, dropped_attributes_count=6).attributes)
    fill(span.links.add(trace_id=b"a" * 16, span_id=b"b" * 8, trace_state="l=1", flags=0x101,
                        dropped_attributes_count=7).attributes)
    span.status.code = 1
    with grpc.insecure_channel(server.grpc_target) as channel:
        answer = trace_service_pb2_grpc.TraceServiceStub(channel).Export(req, timeout=10)
        c.equal("accepted", answer.partial_success.rejected_spans, 0)
    for label in ("head", "block"):
        if label == "block":
            server.restart()
        with c.case(label):
            got = read_back(server, span.trace_id.hex())
            c.equal("equal", json_format.MessageToDict(got.resource_spans[0]),
                    json_format.MessageToDict(rs))


def main():
    with c.case("server"), Server() as server:
        sent = {}
        for batch in (False, True):
            for name, exporter in exporters(server):
                label = f"{name} {'batch' if batch else 'simple'}"
                with c.case(label):
                    sent[label] = send(label, exporter, batch)
        for label in ("head", "block"):
            if label == "block":
                server.restart()
            for name, one in sent.items():
                with c.case(f"{label}: {name}"):
                    check_sent(server, name, one)
            with c.case(label):
                tags_and_values(server, sent)
        c.run("message_round_trip", message_round_trip, server)
    c.finish()


if __name__ == "__main__":
    main()
