#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Input that wants to hurt: bombs, deep nesting, slow and idle clients, half requests. After each the
server must still answer, and its memory must stay within the budget.
"""
import gzip
import http.client
import json
import pathlib
import random
import socket
import sys
import threading
import time
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from checks import Checks  # noqa: E402
from otlp import (attrs, field_len, get, http_request, post, request, request_pb, span,  # noqa: E402
                  span_id, trace_id, varint, window)
from server import Server, sanitized  # noqa: E402

c = Checks()
PB = "application/x-protobuf"
MIB = 1 << 20
RSS_MAX_MIB = 400 * (4 if sanitized() else 1)


def send(server, body, **headers):
    """Status, or "closed" when the server ended the connection instead."""
    try:
        return post(server, body, PB, headers).status
    except OSError:
        return "closed"


def alive(server, label):
    s = span()
    c.equal(f"{label}: ingest", send(server, request_pb(request([s]))), 200)
    c.equal(f"{label}: query", get(server, f"/api/traces/{s['traceId']}").status, 200)
    peak = server.memory_mib("VmHWM")
    c.check(f"{label}: memory", peak < RSS_MAX_MIB, f"{peak:.0f} MiB")


def truncated(server):
    """Every prefix and many flips of a valid request: an answer each time, never a crash."""
    s = span(attributes={"a": "b", "l": [1, "x"], "d": 1.5}, parentSpanId=span_id())
    s["events"] = [{"name": "e", "timeUnixNano": "5", "attributes": attrs({"k": "v"})}]
    s["links"] = [{"traceId": trace_id(), "spanId": span_id(), "attributes": attrs({"k": 1})}]
    body = request_pb(request([s]))
    statuses = {send(server, body[:n]) for n in range(1, len(body))}
    c.check("prefixes", statuses <= {200, 400}, statuses)
    draw = random.Random(7)
    statuses = set()
    for _ in range(300):
        data = bytearray(body)
        for _ in range(draw.randint(1, 4)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        statuses.add(send(server, bytes(data)))
    c.check("flips", statuses <= {200, 400}, statuses)
    text = json.dumps(request([s])).encode()
    statuses = {post(server, text[:n]).status for n in range(1, len(text), 7)}
    c.equal("JSON prefixes", statuses, {400})


def bombs(server):
    zeros = b"\0" * (300 * MIB)
    packed = gzip.compress(zeros, 9)
    c.check("the bomb is small", len(packed) < MIB)
    c.check("gzip", send(server, packed, **{"Content-Encoding": "gzip"}) in (400, 413, "closed"))
    c.check("zlib", send(server, zlib.compress(zeros, 9), **{"Content-Encoding": "zlib"}) in
            (400, 413, "closed"))
    threads = [threading.Thread(target=send, args=(server, packed), kwargs={
        "Content-Encoding": "gzip"}) for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def deep(server):
    """AnyValue in AnyValue, 4,400 deep in 29 kB; JSON likewise."""
    value = field_len(1, b"x")
    for _ in range(4400):
        value = field_len(5, field_len(1, value))
    kv = field_len(1, b"k") + field_len(2, value)
    one = span()
    body = field_len(1, field_len(2, field_len(2, field_len(1, bytes.fromhex(one["traceId"])) +
                                               field_len(2, b"12345678") + field_len(9, kv))))
    c.equal("protobuf arrays", send(server, body), 400)
    kvlist = field_len(1, b"x")
    for _ in range(1000):
        kvlist = field_len(6, field_len(1, field_len(1, b"k") + field_len(2, kvlist)))
    body = field_len(1, field_len(1, field_len(1, field_len(1, b"k") + field_len(2, kvlist))))
    c.check("protobuf maps in a resource", send(server, body) in (200, 400))
    groups = b"\x0b" * 100000
    c.equal("groups", send(server, groups), 400)
    for opening in (b"[", b'{"a":', b'{"resourceSpans":[{"resource":'):
        c.equal(f"JSON {opening[:12]!r}", post(server, opening * 100000).status, 400)
    for q in ("(" * 50000 + "{}" + ")" * 50000, "{ " + "!" * 5000 + "true }", "{ " + "(" * 5000 + "true"):
        a = http_request(server.url + "/api/search?q=" + q[:7000].replace(" ", "%20"))
        c.check(f"query {q[:5]}", a.status in (400, 414), a.status)


def empty_spans(server):
    """15 MiB of empty spans, events, attributes: two bytes each that would become hundreds."""
    for name, inner in {"spans": field_len(2, b"")}.items():
        body = field_len(1, field_len(2, inner * (15 * MIB // 2)))
        c.check(name, send(server, body) in (400, 413, 429, 503), name)
    one = field_len(1, bytes.fromhex(trace_id())) + field_len(2, b"12345678")
    for name, tag in (("attributes", 9), ("events", 11), ("links", 13)):
        body = field_len(1, field_len(2, field_len(2, one + field_len(tag, b"") * (7 * MIB))))
        c.check(name, send(server, body) in (200, 400, 413, 429, 503), name)
    c.check("resources", send(server, field_len(1, b"") * (7 * MIB)) in (200, 400, 413, 429, 503))
    c.check("scopes", send(server, field_len(1, field_len(2, b"") * (7 * MIB))) in
            (200, 400, 413, 429, 503))


def claims(server):
    """Lengths that promise more than there is."""
    for body in (b"\x0a" + varint(2**63), b"\x0a" + varint(2**31 - 1) + b"x" * 100,
                 b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", b"\x0a" + varint(2**64 - 1)):
        c.equal(f"protobuf {body[:8]!r}", send(server, body), 400)
    for head in ("Content-Length: 99999999999999999999", "Content-Length: -5",
                 "Content-Length: 5\r\nContent-Length: 6", "Content-Length: 4\r\nTransfer-Encoding: chunked",
                 "Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF", "X: " + "y" * 200000,
                 "\r\n".join(f"H{i}: v" for i in range(20000))):
        with socket.create_connection(("127.0.0.1", server.otlp_http), 10) as s:
            s.settimeout(3)
            try:
                s.sendall(f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: {PB}\r\n{head}\r\n\r\n"
                          .encode())
                s.recv(1000)
            except OSError:
                pass
    for raw in (b"\0" * 1000, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0" + b"\0\xff\xff\1\4\0\0\0\1",
                b"GET " + b"/" * 100000, b"\x16\x03\x01\x02\x00\x01"):
        for port in (server.otlp_grpc, server.otlp_http, server.http_port, server.grpc_port):
            with socket.create_connection(("127.0.0.1", port), 10) as s:
                s.settimeout(0.2)
                try:
                    s.sendall(raw)
                    s.recv(1000)
                except OSError:
                    pass


def promises(server):
    """Bodies that are announced, several budgets of them, and do not come: those of others do."""
    held = []
    for size in (20 * MIB, 8 * MIB, MIB, 100000):
        for _ in range(30):
            s = socket.create_connection(("127.0.0.1", server.otlp_http), 5)
            s.sendall(f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: {PB}\r\nContent-Length: {size}\r\n\r\n\n".encode())
            held.append(s)
    for i in range(1000):  # requests that hardly begin, where long URLs are taken
        s = socket.socket()
        s.bind((f"127.0.0.{2 + i % 5}", 0))
        s.settimeout(2)
        try:
            s.connect(("127.0.0.1", server.http_port))
            s.sendall(b"GET ")
        except OSError:
            pass
        held.append(s)
    time.sleep(0.5)
    one = span()
    one["attributes"] = attrs({"pad": "x" * 200000})
    c.equal("beside promises", [send(server, request_pb(request([one]))) for _ in range(5)], [200] * 5)
    for s in held:
        s.close()


def slow_and_idle(server):
    """1,000 connections that say nothing, 100 that trickle: others are served beside them."""
    held = []
    for i in range(1000):
        try:
            held.append(socket.create_connection(
                ("127.0.0.1", (server.otlp_http, server.otlp_grpc, server.http_port)[i % 3]), 2))
        except OSError:
            break
    c.check("connections", len(held) > 500, len(held))
    began = time.monotonic()
    try:
        s = span()
        c.check("served beside idle ones", send(server, request_pb(request([s]))) in (200, "closed"))
    finally:
        for s in held:
            s.close()
    c.check("in time", time.monotonic() - began < 10)  # not when theirs is over
    time.sleep(0.3)
    alive(server, "after idle connections")
    slow = []
    for _ in range(100):
        s = socket.create_connection(("127.0.0.1", server.otlp_http), 2)
        s.sendall(f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: {PB}\r\n"
                  "Content-Length: 1000000\r\n\r\n".encode())
        slow.append(s)
    for _ in range(5):
        for s in slow:
            try:
                s.sendall(b"\x0a")
            except OSError:
                pass
        c.equal("beside slow bodies", send(server, request_pb(request([span()]))), 200)
        time.sleep(0.05)
    for s in slow:
        s.close()


def descriptors():
    """Connections that say nothing, more than the process may have files: a tenant's first log and its blocks are still opened."""
    server = Server({"multitenancy_enabled": True})
    server.prefix = ["prlimit", "--nofile=256:256"]
    with server:
        held = []
        conn = http.client.HTTPConnection("127.0.0.1", server.otlp_http, timeout=20)
        conn.connect()
        for i in range(400):
            s = socket.socket()
            s.bind((f"127.0.0.{2 + i % 8}", 0))  # no address may have more than 256
            s.settimeout(2)
            try:
                s.connect(("127.0.0.1", (server.otlp_http, server.otlp_grpc, server.http_port, server.grpc_port)[i % 4]))
            except OSError:
                pass
            held.append(s)
        statuses = []
        for tenant in range(20):
            conn.request("POST", "/v1/traces", request_pb(request([span()])), {"Content-Type": PB, "X-Scope-OrgID": f"t{tenant}"})
            answer = conn.getresponse()
            answer.read()
            statuses.append(answer.status)
        c.equal("new tenants beside idle connections", set(statuses), {200})
        c.check("out of descriptors", "Too many open files" not in server.log_text())
        for s in held:
            s.close()


def unread_answers(server):
    """Clients that ask for much and never read."""
    for _ in range(10):
        post(server, request_pb(request([span(name=f"op-{i}") for i in range(500)])), PB)
    held = []
    ask = b"GET /api/search?q=%7B%7D&limit=5000&spss=100 HTTP/1.1\r\nHost: x\r\n\r\n"
    for _ in range(4 if sanitized() else 40):
        s = socket.create_connection(("127.0.0.1", server.http_port), 5)
        s.sendall(ask * 20)
        held.append(s)
    time.sleep(1)
    alive(server, "beside unread answers")
    for s in held:
        s.close()


def huge_shapes(server):
    """Legal but large: many attributes, a long string, ids of all ones, times at the edges."""
    s = span(attributes={f"key-{i}": i for i in range(20000)})
    c.equal("20,000 attributes", send(server, request_pb(request([s]))), 200)
    s = span(attributes={"long": "x" * (10 * MIB)})
    c.check("10 MiB string", send(server, request_pb(request([s]))) in (200, 400))
    s = span("f" * 32, spanId="f" * 16, start=2**64 - 1000, ms=0)
    s["endTimeUnixNano"] = "0"
    c.equal("all ones", send(server, request_pb(request([s]))), 200)
    c.equal("found", get(server, "/api/traces/" + "f" * 32).status, 200)
    rs = [request([span()], service=f"svc-{i}")["resourceSpans"][0] for i in range(5000)]
    c.equal("5,000 services", send(server, request_pb({"resourceSpans": rs})), 200)
    trace = trace_id()
    for _ in range(4):
        send(server, request_pb(request([span(trace) for _ in range(5000)])))
    a = get(server, f"/api/v2/traces/{trace}")
    c.equal("20,000 spans in a trace", a.status, 200)
    a = get(server, "/api/search", q="{} >> {}", limit=1000, **window())
    c.check("structural over it", a.status in (200, 422), a)


GROUPS = [truncated, bombs, deep, empty_spans, claims, promises, slow_and_idle, unread_answers, huge_shapes]


def main():
    extra = {"overrides": {"defaults": {"ingestion": {"rate_limit_bytes": 10**9,
                                                      "burst_size_bytes": 10**9,
                                                      "max_traces_per_user": 0}}}}
    with c.case("server"), Server(extra) as server:
        for function in GROUPS:
            c.run(function.__name__, function, server)
            c.run(function.__name__, alive, server, function.__name__)
        print(f"peak {server.memory_mib('VmHWM'):.0f} MiB")
        server.restart()
        alive(server, "after a restart")
    c.run("descriptors", descriptors)
    c.finish()


if __name__ == "__main__":
    main()
