#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Jaeger and Zipkin clients send over every transport: exporters of the OpenTelemetry SDK, jaeger-client,
py_zipkin and Thrift's own library. What they sent must be found by id and by search, also after kill -9
where it was answered. Malformed requests get the protocol's answer and harm nothing.

run_jaeger_zipkin.py --capture FOLDER writes what the clients send as files instead.
"""
import argparse
import gzip
import http.server
import json
import pathlib
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import venv  # noqa: E402

venv.use("requirements-jaeger-zipkin.txt")

import grpc  # noqa: E402
from concurrent import futures  # noqa: E402
from opentelemetry import trace as api  # noqa: E402
from opentelemetry.exporter.jaeger.proto.grpc import JaegerExporter as JaegerGrpc  # noqa: E402
from opentelemetry.exporter.jaeger.thrift import JaegerExporter as JaegerThrift  # noqa: E402
from opentelemetry.exporter.jaeger.thrift.gen.agent import Agent  # noqa: E402
from opentelemetry.exporter.jaeger.thrift.gen.jaeger import ttypes as jaeger  # noqa: E402
from opentelemetry.exporter.jaeger.thrift.gen.zipkincore import ttypes as zipkincore  # noqa: E402
from opentelemetry.exporter.zipkin.encoder import Protocol  # noqa: E402
from opentelemetry.exporter.zipkin.json import ZipkinExporter as ZipkinJson  # noqa: E402
from opentelemetry.sdk.resources import Resource  # noqa: E402
from opentelemetry.sdk.trace import TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: E402
from opentelemetry.trace import Link, SpanKind, Status, StatusCode  # noqa: E402
from thrift.protocol import TBinaryProtocol, TCompactProtocol  # noqa: E402
from thrift.transport import TTransport  # noqa: E402

import node  # noqa: E402
from checks import Checks  # noqa: E402
from otlp import get, http_request, now_ns, window  # noqa: E402
from server import Server, free_ports  # noqa: E402

c = Checks()


class Ports:
    def __init__(self):
        (self.jaeger_grpc, self.jaeger_http, self.compact, self.binary,
         self.zipkin) = free_ports(5)

    def receivers(self):
        at = "127.0.0.1:{}".format
        return {"jaeger": {"protocols": {"grpc": {"endpoint": at(self.jaeger_grpc)},
                                         "thrift_http": {"endpoint": at(self.jaeger_http)},
                                         "thrift_compact": {"endpoint": at(self.compact)},
                                         "thrift_binary": {"endpoint": at(self.binary)}}},
                "zipkin": {"endpoint": at(self.zipkin)}}


def post(port, path, body, content_type=None, method="POST", headers=None):
    headers = dict(headers or {})
    if content_type is not None:
        headers["Content-Type"] = content_type
    return http_request(f"http://127.0.0.1:{port}{path}", method, body, headers)


# ---- senders: each returns what must be found ----

def by_sdk(name, exporter):
    """One trace of the OpenTelemetry SDK, with everything that the old formats can carry."""
    provider = TracerProvider(resource=Resource({"service.name": f"svc {name}"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("python-lib", "3.2.1")
    start = (now_ns() // 1000 - 5 * 10**6) * 1000
    root = tracer.start_span("root", kind=SpanKind.SERVER, start_time=start, attributes={
        "text": "zażółć \U0001f600 <&>", "yes": True, "int": -42, "double": 1.5})
    context = api.set_span_in_context(root)
    child = tracer.start_span("child", context, SpanKind.CLIENT, start_time=start + 10**6,
                              links=[Link(root.get_span_context())])
    child.add_event("happened", {"what": "this"}, start + 1500000)
    child.set_status(Status(StatusCode.ERROR, "went wrong"))
    child.end(start + 3 * 10**6)
    root.end(start + 10**9)
    c.check(f"{name}: flushed", provider.force_flush(10000))
    provider.shutdown()
    ids = root.get_span_context()
    return {"trace": f"{ids.trace_id:032x}", "service": f"svc {name}", "start": start, "root":
            f"{ids.span_id:016x}", "names": ["child", "root"], "sdk": True}


def sdk_jaeger_http(ports):
    url = f"http://127.0.0.1:{ports.jaeger_http}/api/traces?format=jaeger.thrift"
    return by_sdk("jaeger thrift http", JaegerThrift(collector_endpoint=url))


def sdk_jaeger_udp(ports):
    return by_sdk("jaeger thrift udp", JaegerThrift(agent_host_name="127.0.0.1",
                                                    agent_port=ports.compact))


def sdk_jaeger_grpc(ports):
    return by_sdk("jaeger grpc", JaegerGrpc(
        collector_endpoint=f"127.0.0.1:{ports.jaeger_grpc}", insecure=True))


def sdk_zipkin_v2_json(ports):
    return by_sdk("zipkin v2 json", ZipkinJson(
        Protocol.V2, f"http://127.0.0.1:{ports.zipkin}/api/v2/spans", "10.1.2.3", None, 8080))


def sdk_zipkin_v1_json(ports):
    return by_sdk("zipkin v1 json", ZipkinJson(
        Protocol.V1, f"http://127.0.0.1:{ports.zipkin}/api/v1/spans", "10.1.2.3", None, 8080,
        max_tag_value_length=128))


def sdk_zipkin_v2_proto(ports):
    from opentelemetry.exporter.zipkin.proto.http import (  # pylint: disable=import-outside-toplevel
        ZipkinExporter as ZipkinProto)
    return by_sdk("zipkin v2 proto", ZipkinProto(
        f"http://127.0.0.1:{ports.zipkin}/api/v2/spans", "10.1.2.3", "2001:db8::1", 8080))


def py_zipkin_sender(name, encoding, path, content_type):
    """In a process of its own: its protobuf classes have the names of the SDK exporter's."""
    def send(ports):
        port = str(ports if isinstance(ports, int) else ports.zipkin)
        done = subprocess.run([sys.executable, __file__, "--py-zipkin", name, encoding, path,
                               content_type, port], capture_output=True, text=True, check=True)
        sent = json.loads(done.stdout)
        c.equal(f"{name}: answered", sent["answers"], [202])
        return {"trace": sent["trace"].rjust(32, "0"), "root": sent["span"], "service": f"svc {name}",
                "names": ["root"], "event": "noted", "failed": ["root"]}
    return send


def py_zipkin_send(name, encoding, path, content_type, port):
    from py_zipkin import Encoding, Kind  # pylint: disable=import-outside-toplevel
    from py_zipkin import util  # pylint: disable=import-outside-toplevel
    from py_zipkin.zipkin import ZipkinAttrs, zipkin_span  # pylint: disable=import-outside-toplevel
    span = util.generate_random_64bit_string()
    trace = util.generate_random_64bit_string()
    if encoding == "V2_PROTO3":  # 8 bytes are refused, as the reference does
        trace = util.generate_random_128bit_string()
    answered = []

    def transport(body):
        body = body if isinstance(body, bytes) else body.encode()
        answered.append(post(int(port), path, body, content_type).status)

    with zipkin_span(service_name=f"svc {name}", span_name="root", port=8080, sample_rate=100.0,
                     zipkin_attrs=ZipkinAttrs(trace, span, None, "0", True),
                     transport_handler=transport, encoding=Encoding[encoding], kind=Kind.SERVER,
                     host="10.1.2.3", binary_annotations={"http.path": "/x", "error": "boom"}
                     ) as root:
        root.add_annotation("noted", time.time())
        root.add_sa_binary_annotation(3306, "db", "10.9.9.9")
    print(json.dumps({"trace": trace, "span": span, "answers": answered}))


def jaeger_batch(name, start):
    """A batch of Thrift's generated classes; a 64-bit trace id, as old clients have it."""
    low = start | 1
    tags = [jaeger.Tag("span.kind", jaeger.TagType.STRING, vStr="server"),
            jaeger.Tag("error", jaeger.TagType.BOOL, vBool=True),
            jaeger.Tag("long", jaeger.TagType.LONG, vLong=-(2**40)),
            jaeger.Tag("double", jaeger.TagType.DOUBLE, vDouble=-2.5),
            jaeger.Tag("binary", jaeger.TagType.BINARY, vBinary=b"\0\xff")]
    log = jaeger.Log(start // 1000, [jaeger.Tag("event", jaeger.TagType.STRING, vStr="noted"),
                                     jaeger.Tag("n", jaeger.TagType.LONG, vLong=5)])
    ref = jaeger.SpanRef(jaeger.SpanRefType.FOLLOWS_FROM, 7, 8, 9)
    span = jaeger.Span(low, 0, 77, 0, "root", [ref], 1, start // 1000, 10**6, tags, [log])
    process = jaeger.Process(f"svc {name}", [jaeger.Tag("hostname", jaeger.TagType.STRING,
                                                        vStr="box")])
    want = {"trace": f"{low:032x}", "root": f"{77:016x}", "service": f"svc {name}",
            "names": ["root"], "event": "noted", "failed": ["root"], "start": start // 1000 * 1000}
    return jaeger.Batch(process, [span]), want


def jaeger_agent_sender(name, protocol, port_name):
    def send(ports):
        buffer = TTransport.TMemoryBuffer()
        batch, want = jaeger_batch(name, now_ns())
        Agent.Client(protocol(buffer)).emitBatch(batch)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(buffer.getvalue(), ("127.0.0.1", getattr(ports, port_name)))
        return want
    return send


def jaeger_thrift_http(ports):
    buffer = TTransport.TMemoryBuffer()
    batch, want = jaeger_batch("thrift http", now_ns())
    batch.write(TBinaryProtocol.TBinaryProtocol(buffer))
    answer = post(ports.jaeger_http, "/api/traces", buffer.getvalue(),
                  "application/vnd.apache.thrift.binary; charset=utf-8")
    c.equal("thrift http: answered", (answer.status, answer.body), (202, b""))
    return want


def zipkin_v1_thrift(ports):
    """list<Span> by Thrift's generated classes: what Zipkin's first clients sent."""
    start = now_ns() // 1000
    host = zipkincore.Endpoint(0x0a010203, 8080, "svc zipkin v1 thrift")
    note = zipkincore.Annotation
    tag, kind = zipkincore.BinaryAnnotation, zipkincore.AnnotationType
    span = zipkincore.Span(
        start, "root", 78, None,
        [note(start, "sr", host), note(start + 10, "noted", host), note(start + 20, "ss", host)],
        [tag("error", b"boom", kind.STRING, host), tag("yes", b"\x01", kind.BOOL, host),
         tag("i64", struct.pack(">q", -5), kind.I64, host),
         tag("double", struct.pack(">d", 1.5), kind.DOUBLE, host)], False, start, 1000)
    buffer = TTransport.TMemoryBuffer()
    protocol = TBinaryProtocol.TBinaryProtocol(buffer)
    protocol.writeListBegin(12, 1)
    span.write(protocol)
    protocol.writeListEnd()
    answer = post(ports.zipkin, "/api/v1/spans", buffer.getvalue(), "application/x-thrift")
    c.equal("zipkin v1 thrift: answered", (answer.status, answer.body), (202, b""))
    return {"trace": f"{start:032x}", "root": f"{78:016x}", "service": "svc zipkin v1 thrift",
            "names": ["root"], "event": "noted", "failed": ["root"], "start": start * 1000}


def jaeger_client_udp(ports):
    """The client that OpenTracing programs use."""
    from jaeger_client import Config  # pylint: disable=import-outside-toplevel
    config = Config({"sampler": {"type": "const", "param": 1}, "logging": False,
                     "local_agent": {"reporting_host": "127.0.0.1",
                                     "reporting_port": ports.compact},
                     "reporter_flush_interval": 0.05, "generate_128bit_trace_id": True},
                    service_name="svc jaeger-client", validate=True)
    tracer = config.new_tracer()
    with tracer.start_span("root", tags={"span.kind": "server", "error": True}) as span:
        span.log_kv({"event": "noted", "n": 5})
        with tracer.start_span("child", child_of=span):
            pass
    context = span.context
    time.sleep(0.3)
    tracer.close()
    return {"trace": f"{context.trace_id:032x}", "root": f"{context.span_id:016x}",
            "service": "svc jaeger-client", "names": ["child", "root"], "event": "noted",
            "failed": ["root"]}


def by_node(ports, only=None):
    """{name: what must be found} of the clients of Node, or of one of them."""
    folder = node.installed(pathlib.Path(__file__).resolve().parent / "sdk_node_legacy")
    numbers = [str(p) for p in (ports.binary, ports.jaeger_http, ports.zipkin)]
    done = subprocess.run(["node", "send.js", *numbers] + ([only] if only else []), cwd=folder,
                          capture_output=True, text=True, timeout=120, check=False)
    c.equal("node", done.returncode, 0)
    sent = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    c.check("node sent", len(sent) == (1 if only else 7), done.stdout + done.stderr)
    return {one.pop("name"): one for one in sent}


NODE_UDP = ("jaeger_client_node", "sdk_jaeger_node")
ACKED = {
    "sdk_jaeger_http": sdk_jaeger_http, "sdk_jaeger_grpc": sdk_jaeger_grpc,
    "sdk_zipkin_v2_json": sdk_zipkin_v2_json, "sdk_zipkin_v1_json": sdk_zipkin_v1_json,
    "sdk_zipkin_v2_proto": sdk_zipkin_v2_proto, "jaeger_thrift_http": jaeger_thrift_http,
    "zipkin_v1_thrift": zipkin_v1_thrift,
    "py_zipkin_v1_json": py_zipkin_sender("py_zipkin v1", "V1_JSON", "/api/v1/spans",
                                          "application/json"),
    "py_zipkin_v2_json": py_zipkin_sender("py_zipkin v2", "V2_JSON", "/api/v2/spans",
                                          "application/json"),
    "py_zipkin_v2_proto": py_zipkin_sender("py_zipkin proto", "V2_PROTO3", "/api/v2/spans",
                                           "application/x-protobuf"),
}
UDP = {
    "sdk_jaeger_udp": sdk_jaeger_udp,
    "jaeger_client_udp": jaeger_client_udp,
    "agent_compact": jaeger_agent_sender("agent compact", TCompactProtocol.TCompactProtocol,
                                         "compact"),
    "agent_binary": jaeger_agent_sender("agent binary", TBinaryProtocol.TBinaryProtocol, "binary"),
}


# ---- what is found ----

def attrs(items):
    return {kv["key"]: next(iter(kv["value"].values()), None) for kv in items or []}


def hex_id(text):
    import base64  # pylint: disable=import-outside-toplevel
    return base64.b64decode(text).hex()


def trace_of(server, trace, wait=False):
    """The answered spans by name, with their resource; UDP has no ack, so it may take a moment."""
    end = time.monotonic() + (5 if wait else 0)
    while True:
        answer = get(server, f"/api/traces/{trace}")
        if answer.status == 200 or time.monotonic() > end:
            break
        time.sleep(0.05)
    if answer.status != 200:
        return None
    out = {}
    for rs in answer.json()["batches"]:
        for ss in rs.get("scopeSpans", []):
            for s in ss["spans"]:
                out[s["name"]] = (s, attrs(rs.get("resource", {}).get("attributes")),
                                  ss.get("scope", {}))
    return out


def check_found(server, name, want, wait=False):
    with c.case(name):
        spans = trace_of(server, want["trace"], wait)
        if not c.check("found by id", spans is not None, want):
            return
        c.equal("names", sorted(spans), want["names"])
        root, resource, _ = spans["root"]
        c.equal("service", resource.get("service.name"), want["service"])
        c.equal("ids", (hex_id(root["traceId"]), hex_id(root["spanId"])),
                (want["trace"], want["root"]))
        kind = not name.endswith("sdk_zipkin_v1_json")  # which sends none
        c.equal("kind", root.get("kind"), "SPAN_KIND_SERVER" if kind else None)
        if "start" in want:  # the exporter to gRPC computes in doubles
            late = int(root["startTimeUnixNano"]) - want["start"]
            c.check("start", abs(late) < 1000 if "grpc" in name else late == 0, late)
        for span in want.get("failed", []):
            c.equal(f"{span} failed", spans[span][0]["status"].get("code"), "STATUS_CODE_ERROR")
        if "event" in want:
            c.check("event", want["event"] in [e.get("name") for e in root.get("events", [])], root)
        if "child" in spans:
            c.equal("parent", hex_id(spans["child"][0]["parentSpanId"]), want["root"])
        if want.get("sdk"):
            check_sdk(spans, name, kind)
        found = get(server, "/api/search", q=f'{{ resource.service.name = "{want["service"]}" && '
                                             f'name = "root"{" && kind = server" * kind} }}', **window()).json()
        c.check("searched", want["trace"].lstrip("0") in
                [t["traceID"] for t in found.get("traces", [])], found)


def check_sdk(spans, name, kind):
    root, child = spans["root"][0], spans["child"][0]
    values = attrs(root["attributes"])
    c.equal("text", values["text"], "zażółć \U0001f600 <&>")
    typed = "jaeger" in name  # Zipkin's tags are texts
    c.equal("typed", (values["yes"], values["int"], values["double"]),
            (True, "-42", 1.5) if typed else ("true", "-42", "1.5"))
    c.equal("child's kind", child.get("kind"), "SPAN_KIND_CLIENT" if kind else None)
    c.equal("status", child["status"].get("code"), "STATUS_CODE_ERROR")
    c.equal("end", int(root["endTimeUnixNano"]) - int(root["startTimeUnixNano"]), 10**9)
    c.equal("events", len(child.get("events", [])), 1)
    if typed:
        c.equal("message", child["status"].get("message"), "went wrong")
        c.equal("event's attribute", attrs(child["events"][0]["attributes"]).get("what"), "this")
        link = child["links"][0]
        c.equal("link", (link["traceId"], link["spanId"], attrs(link["attributes"])),
                (root["traceId"], root["spanId"], {"opentracing.ref_type": "follows_from"}))
    if "grpc" in name:
        c.equal("scope", spans["root"][2], {"name": "python-lib", "version": "3.2.1"})
    if "v2" in name:
        c.equal("address", values["net.host.ip"],
                "2001:db8::1" if "proto" in name else "10.1.2.3")
        c.equal("port", values["net.host.port"], "8080")


def metric(server, name, **labels):
    total = 0.0
    for line in get(server, "/metrics").text.splitlines():
        if line.startswith(name + "{") and all(f'{k}="{v}"' in line for k, v in labels.items()):
            total += float(line.rsplit(" ", 1)[1])
    return total


# ---- malformed and hostile ----

def answers(ports):
    """Status and text of what is not well-formed, protocol by protocol."""
    thrift = "application/x-thrift"
    cases = [
        (post(ports.jaeger_http, "/api/traces", b"", "text/plain"), 400,
         "Unsupported content type: text/plain\n"),
        (post(ports.jaeger_http, "/api/traces", b""), 400,
         "Cannot parse content type: mime: no media type\n"),
        (post(ports.jaeger_http, "/api/traces", b"\x0c\0", thrift), 400,
         "Unable to process request body: jaeger thrift: "),
        (post(ports.jaeger_http, "/api/traces", b"<" * 100, "a<b/c"), 400,
         "Unsupported content type: a&lt;b/c\n"),
        (post(ports.jaeger_http, "/x", b"", thrift), 404, "404 page not found\n"),
        (post(ports.jaeger_http, "/api/traces", b"", thrift, "PUT"), 405, ""),
        (post(ports.jaeger_http, "/api/traces", b"", thrift, headers={"Content-Encoding": "br"}),
         400, "unsupported Content-Encoding: br"),
        (post(ports.zipkin, "/", b"[]", method="PUT"), 202, ""),
        (post(ports.zipkin, "/api/v1/spans", b"[]", "application/json"), 202, ""),
        (post(ports.zipkin, "/api/v2/spans", b""), 400, "zipkin json: array expected"),
        (post(ports.zipkin, "/api/v2/spans", b'[{"traceId":"1","id":"0"}]'), 400,
         "zipkin json: valid span id required"),
        (post(ports.zipkin, "/api/v2/spans", b'[{"traceId":"","id":"1"}]'), 400,
         "zipkin json: valid traceId required"),
        (post(ports.zipkin, "/api/v2/spans", b'[{"id":"1"}]'), 500, '"Internal Server Error"'),
        (post(ports.zipkin, "/api/v2/spans", b"[" * 10**6), 400, "zipkin json: object expected"),
        (post(ports.zipkin, "/api/v2/spans", b'[{"x":' + b"[" * 10**6), 400,
         "zipkin json: nested too deep"),
        (post(ports.zipkin, "/api/v2/spans", b"\xff", "application/x-protobuf"), 400,
         "zipkin proto: malformed message"),
        (post(ports.zipkin, "/api/v1/spans", b"\x0c\x7f\xff\xff\xff", thrift), 400,
         "zipkin thrift: list longer than the message"),
        (post(ports.zipkin, "/api/v1/spans", b'[{"traceId":"1"}]'), 400,
         "hex traceId span has wrong length (expected 16 or 32)"),
        (post(ports.zipkin, "/api/v2/spans", b"[" + b" " * (21 << 20)), 400, ""),
    ]
    for i, (answer, status, text) in enumerate(cases):
        c.equal(f"case {i}: status", answer.status, status)
        c.contains(f"case {i}: text", answer.text, text)
        if text == "":
            c.check(f"case {i}: empty", answer.status == 400 or answer.body == b"", answer)


def grpc_answers(ports):
    path = "/jaeger.api_v2.CollectorService/PostSpans"
    for body, method, code, text in (
            (b"", path, 0, ""), (b"\xff", path, 13, "grpc: error unmarshalling request: "),
            (b"\x0a\x07\x0a\x05\x0a\x03abc", path, 13, "invalid length for TraceID"),
            (b"", path + "x", 12, "unknown method PostSpansx for service "),
            (b"", "/x.Y/Z", 12, "unknown service x.Y")):
        status, message = unary(ports.jaeger_grpc, method, body)
        c.equal(f"{method} {body!r}", status, code)
        c.contains(f"{method} {body!r}: text", message, text)


def unary(port, method, body, metadata=()):
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = channel.unary_unary(method, lambda b: b, lambda b: b)
        try:
            stub(body, timeout=10, metadata=metadata)
            return 0, ""
        except grpc.RpcError as e:
            return e.code().value[0], e.details()


def udp_losses(server, ports):
    def send(port, data):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(data, ("127.0.0.1", port))

    def lost(transport, reason, n):
        end = time.monotonic() + 5
        while time.monotonic() < end:
            got = metric(server, "vivace_jaeger_udp_lost_packets_total", transport=transport,
                         reason=reason)
            if got >= n:
                break
            time.sleep(0.02)
        c.equal(f"{transport} {reason}", got, n)

    def message(protocol, method):
        buffer = TTransport.TMemoryBuffer()
        p = protocol(buffer)
        p.writeMessageBegin(method, 4, 0)
        p.writeStructBegin("")
        p.writeFieldStop()
        return buffer.getvalue()

    compact, binary = TCompactProtocol.TCompactProtocol, TBinaryProtocol.TBinaryProtocol
    send(ports.compact, message(compact, "emitZipkinBatch"))
    send(ports.binary, message(binary, "somethingElse"))
    for n in range(50):
        send(ports.compact, b"\x82\x81\0\x09emitBatch\x1c" + bytes(range(n)))
    send(ports.binary, b"")
    send(ports.compact, b"\x82" * 65500)
    lost("udp_thrift_compact", "zipkin_batch", 1)
    lost("udp_thrift_binary", "unknown_method", 1)
    lost("udp_thrift_binary", "malformed", 1)
    lost("udp_thrift_compact", "truncated", 1)
    lost("udp_thrift_compact", "malformed", 50)
    check_found(server, "after losses", UDP["agent_compact"](ports), wait=True)


def flood(server, ports):
    """A burst without pauses: what is not stored is counted, and the server stays well."""
    batch, want = jaeger_batch("flood", now_ns())
    buffer = TTransport.TMemoryBuffer()
    Agent.Client(TCompactProtocol.TCompactProtocol(buffer)).emitBatch(batch)
    packet, sent = buffer.getvalue(), 20000
    before = metric(server, "vivace_jaeger_udp_packets_total", transport="udp_thrift_compact") + \
        metric(server, "vivace_jaeger_udp_lost_packets_total", reason="socket_overflow")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for _ in range(sent):
            s.sendto(packet, ("127.0.0.1", ports.compact))
    end, seen = time.monotonic() + 20, 0
    while time.monotonic() < end and seen < sent:
        time.sleep(0.1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:  # the kernel tells with a packet
            s.sendto(packet, ("127.0.0.1", ports.compact))
        seen = metric(server, "vivace_jaeger_udp_packets_total",
                      transport="udp_thrift_compact") + \
            metric(server, "vivace_jaeger_udp_lost_packets_total",
                   reason="socket_overflow") - before
    c.check("every packet is counted", seen >= sent, f"{seen} of {sent}")
    check_found(server, "flood", want, wait=True)


def multitenant():
    ports = Ports()
    with Server({"multitenancy_enabled": True, "distributor": {"receivers": ports.receivers()}}) \
            as server:
        buffer = TTransport.TMemoryBuffer()
        batch, want = jaeger_batch("tenant", now_ns())
        batch.write(TBinaryProtocol.TBinaryProtocol(buffer))
        body, thrift = buffer.getvalue(), "application/x-thrift"
        answer = post(ports.jaeger_http, "/api/traces", body, thrift)
        c.equal("jaeger without tenant", (answer.status, answer.text),
                (500, "Cannot submit Jaeger batch: no org id\n"))
        answer = post(ports.zipkin, "/", b'[{"traceId":"1","id":"1"}]')
        c.equal("zipkin without tenant", (answer.status, answer.text),
                (500, '"Internal Server Error"'))
        method = "/jaeger.api_v2.CollectorService/PostSpans"
        c.equal("grpc without tenant", unary(ports.jaeger_grpc, method, b""), (2, "no org id"))
        c.equal("grpc, bad tenant", unary(ports.jaeger_grpc, method, b"",
                                          [("x-scope-orgid", "a/b")])[0], 3)
        answer = post(ports.jaeger_http, "/api/traces", body, thrift,
                      headers={"X-Scope-OrgID": "one"})
        c.equal("with tenant", answer.status, 202)
        got = http_request(f"{server.url}/api/traces/{want['trace']}",
                           headers={"X-Scope-OrgID": "one"})
        c.equal("found", got.status, 200)
        other = http_request(f"{server.url}/api/traces/{want['trace']}",
                             headers={"X-Scope-OrgID": "two"})
        c.equal("not the other's", other.status, 404)
        UDP["agent_binary"](ports)
        end = time.monotonic() + 5
        while time.monotonic() < end and not metric(
                server, "vivace_jaeger_udp_lost_packets_total", reason="no_tenant"):
            time.sleep(0.02)
        c.equal("udp has no tenant", metric(server, "vivace_jaeger_udp_lost_packets_total",
                                            reason="no_tenant"), 1)


def rate_limited():
    ports = Ports()
    limits = {"defaults": {"ingestion": {"rate_limit_bytes": 1, "burst_size_bytes": 1}}}
    with Server({"overrides": limits, "distributor": {"receivers": ports.receivers()}}):
        buffer = TTransport.TMemoryBuffer()
        jaeger_batch("limited", now_ns())[0].write(TBinaryProtocol.TBinaryProtocol(buffer))
        answer = post(ports.jaeger_http, "/api/traces", buffer.getvalue(), "application/x-thrift")
        c.equal("jaeger", answer.status, 500)
        c.contains("jaeger's text", answer.text, "Cannot submit Jaeger batch: RATE_LIMITED: ")
        answer = post(ports.zipkin, "/", b'[{"traceId":"1","id":"1"}]')
        c.equal("zipkin", (answer.status, answer.text), (500, '"Internal Server Error"'))
        span = b"\x0a\x10" + b"t" * 16 + b"\x12\x08" + b"s" * 8
        batch = b"\x0a" + bytes([len(span)]) + span
        status, text = unary(ports.jaeger_grpc, "/jaeger.api_v2.CollectorService/PostSpans",
                             b"\x0a" + bytes([len(batch)]) + batch)
        c.equal("grpc", status, 8)
        c.contains("grpc's text", text, "RATE_LIMITED: ")


def settings():
    """Keys of the receivers' blocks: body limit, CORS, encodings, typed tags."""
    ports = Ports()
    receivers = ports.receivers()
    extra = {"max_request_body_size": 2000, "cors": {"allowed_origins": ["https://*.example.com"]}}
    receivers["zipkin"].update(extra, parse_string_tags=True)
    receivers["jaeger"]["protocols"]["thrift_http"].update(extra)
    with Server({"distributor": {"receivers": receivers}}) as server:
        preflight = {"Origin": "https://a.example.com", "Access-Control-Request-Method": "POST"}
        for port in (ports.zipkin, ports.jaeger_http):
            answer = post(port, "/api/traces", b"", method="OPTIONS", headers=preflight)
            c.equal("preflight", (answer.status, answer.header("access-control-allow-origin")),
                    (204, "https://a.example.com"))
        trace = now_ns()
        span = (f'[{{"traceId":"{trace:x}","id":"1","name":"root","timestamp":{trace // 1000},'
                '"tags":{"n":"42","f":"1.5","yes":"true"}}]').encode()
        answer = post(ports.zipkin, "/api/v2/spans", gzip.compress(span), "application/json",
                      headers={"Content-Encoding": "gzip"})
        c.equal("gzip", answer.status, 202)
        spans = trace_of(server, f"{trace:032x}")
        c.equal("typed", attrs(spans["root"][0]["attributes"]), {"n": "42", "f": 1.5, "yes": True})
        c.equal("zipkin, too large", post(ports.zipkin, "/", b" " * 2001).status, 400)
        c.equal("zipkin, inflates too large", post(
            ports.zipkin, "/", gzip.compress(b" " * 2001), headers={"Content-Encoding": "gzip"}
        ).status, 400)
        answer = post(ports.jaeger_http, "/api/traces", b" " * 2001, "application/x-thrift")
        c.equal("jaeger, too large", answer.status, 500)
        c.contains("jaeger's text", answer.text, "Unable to process request body: ")


# ---- captures ----

def capture(folder):
    """Sinks instead of a server: one file per request or packet."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    ports = Ports()
    state = {"name": "", "n": 0}

    def keep(data, suffix):
        state["n"] += 1
        number = "" if state["n"] == 1 else f"-{state['n']}"
        (folder / f"{state['name']}{number}.{suffix}").write_bytes(data)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):  # pylint: disable=invalid-name
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers["Content-Length"]))
            keep(body, "json" if body[:1] == b"[" else "bin")
            self.send_response(202)
            self.end_headers()

        def log_message(self, *args):  # pylint: disable=arguments-differ
            pass

    class Generic(grpc.GenericRpcHandler):
        def service(self, handler_call_details):
            def post_spans(data, _context):
                keep(data, "bin")
                return b""
            return grpc.unary_unary_rpc_method_handler(post_spans, lambda b: b, lambda b: b)

    for port in (ports.jaeger_http, ports.zipkin):
        web = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=web.serve_forever, daemon=True).start()
    for port in (ports.compact, ports.binary):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", port))

        def listen(sock=sock):
            while True:
                keep(sock.recv(65535), "bin")
        threading.Thread(target=listen, daemon=True).start()
    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((Generic(),))
    server.add_insecure_port(f"127.0.0.1:{ports.jaeger_grpc}")
    server.start()
    nodes = {name: lambda ports, name=name: by_node(ports, name) for name in (
        "jaeger_client_node", "jaeger_client_node_http", "zipkin_js_v1_json", "zipkin_js_v2_json")}
    for name, send in {**ACKED, **UDP, **nodes}.items():
        state.update(name=name, n=0)
        print(json.dumps({name: send(ports)}))
        time.sleep(0.2)
    server.stop(0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--capture")
    parser.add_argument("--py-zipkin", nargs=5)
    args = parser.parse_args()
    if args.py_zipkin:
        py_zipkin_send(*args.py_zipkin)
        return
    if args.capture:
        capture(args.capture)
        return
    ports = Ports()
    with c.case("server"), Server({"distributor": {"receivers": ports.receivers()}}) as server:
        sent, packets = {}, {}
        for name, send in ACKED.items():
            with c.case(name):
                sent[name] = send(ports)
        with c.case("node"):
            for name, want in by_node(ports).items():
                (packets if name in NODE_UDP else sent)[name] = want
        for name, want in {**sent, **packets}.items():
            check_found(server, f"head: {name}", want, wait=name in NODE_UDP)
        server.restart(kill=True)
        for name, want in sent.items():
            check_found(server, f"after kill -9: {name}", want)
        for name, send in UDP.items():
            with c.case(name):
                packets[name] = send(ports)
                check_found(server, name, packets[name], wait=True)
        c.run("answers", answers, ports)
        c.run("grpc_answers", grpc_answers, ports)
        c.run("udp_losses", udp_losses, server, ports)
        c.run("flood", flood, server, ports)
        accepted = {(r, t): metric(server, "tempo_receiver_accepted_spans", receiver=r, transport=t)
                    for r, t in (("jaeger/jaeger_receiver", "udp_thrift_compact"),
                                 ("jaeger/jaeger_receiver", "udp_thrift_binary"))}
        c.check("receivers count", all(accepted.values()), accepted)
        server.restart()
        for name, want in {**sent, **packets}.items():
            check_found(server, f"block: {name}", want)
    c.run("multitenant", multitenant)
    c.run("rate_limited", rate_limited)
    c.run("settings", settings)
    c.finish()


if __name__ == "__main__":
    main()
