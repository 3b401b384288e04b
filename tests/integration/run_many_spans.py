#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Requests of very many small spans in the memory of a small container: each is stored, or refused for good; none is told to come
again for ever. Over HTTP and gRPC, alone and beside other load, and again out of the log after kill -9.

Needs nothing beyond Python. ONLY=pattern runs some groups.
"""
import gzip
import http.client
import pathlib
import struct
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import h2_frames as h2  # noqa: E402
from checks import Checks  # noqa: E402
from h2_frames import Wire, frame  # noqa: E402
from otlp import field_64, field_len, field_text, get, http_request, now_ns, post, request, request_pb, span, window  # noqa: E402
from server import Server, merge, sanitized  # noqa: E402

c = Checks()
MIB = 192  # what a container of 256 MiB gives
PB = {"Content-Type": "application/x-protobuf"}
OPEN = {"memory": {"budget_bytes": MIB << 20},
        "overrides": {"defaults": {"ingestion": {"rate_limit_bytes": 10**10, "burst_size_bytes": 10**10, "max_traces_per_user": 0},
                                   "global": {"max_bytes_per_trace": 0}}}}
COUNTS = (20_000, 50_000, 100_000)
serial = [0]


def small(n, traces=10, names=10, start=0):
    """n spans of some 40 bytes, with ids that no other request has."""
    serial[0] += 1
    top = struct.pack(">I", serial[0])
    when = field_64(7, start)
    return field_len(1, field_len(2, b"".join(
        field_len(2, field_len(1, top + bytes(8) + struct.pack(">I", i % traces + 1)) +
                  field_len(2, top + struct.pack(">I", i + 1)) + field_text(5, "o%d" % (i % names)) + when) for i in range(n))))


def over_http(server, body, **headers):
    """(verdict, text): stored, later or never."""
    a = http_request(server.otlp_url + "/v1/traces", "POST", body, {**PB, **headers}, timeout=120)
    later = a.status in (429, 502, 503, 504)  # what the specification has clients try again
    return "stored" if a.status == 200 else "later" if later else "never", f"{a.status} {a.body[:300]!r}"


def packed(server, body):
    return over_http(server, body, **{"Content-Encoding": "gzip"})


def grpc_export(server, body):
    wire = Wire(server.otlp_grpc, timeout=120)
    message = b"\0" + struct.pack(">I", len(body)) + body
    wire.send(frame(h2.HEADERS, h2.END_HEADERS, 1, h2.request()))
    windows, at = {0: 65535, 1: 65535}, 0
    first = 65535  # of a stream, until the server says otherwise
    while True:
        room = min(windows.values())
        if at < len(message) and room > 0:
            part = message[at:at + min(room, 16384)]
            at += len(part)
            for k in windows:
                windows[k] -= len(part)
            wire.send(frame(h2.DATA, h2.END_STREAM if at == len(message) else 0, 1, part))
            continue
        got = next(wire.frames(120), None)
        if got is None:
            break
        kind, flags, stream, payload = got
        if kind == h2.WINDOW_UPDATE and stream in windows:
            windows[stream] += struct.unpack(">I", payload)[0]
        elif kind == h2.SETTINGS and not flags & h2.ACK:
            for k in range(0, len(payload), 6):
                key, value = struct.unpack(">HI", payload[k:k + 6])
                if key == 4:
                    windows[1] += value - first
                    first = value
            wire.send(frame(h2.SETTINGS, h2.ACK))
        elif flags & h2.END_STREAM and stream == 1 or kind in (h2.RST_STREAM, h2.GOAWAY):
            break
    wire.close()


def over_grpc(server, body):
    """The same by what the server counts: its trailers are compressed. What is not stored is taken for `later`."""
    before = accepted(server)
    grpc_export(server, body)
    return ("stored" if accepted(server) > before else "later"), "not taken"


def accepted(server):
    return sum(float(line.rsplit(" ", 1)[1]) for line in get(server, "/metrics").text.splitlines()
               if line.startswith("tempo_receiver_accepted_spans{"))


def patiently(send, server, body):
    """As a client: again, after a pause, as long as it is told to."""
    for tries in range(20):
        verdict, text = send(server, body)
        if verdict != "later":
            return verdict, text, tries
        time.sleep(0.5)
    return verdict, text, tries


def stored(server):
    """Spans of the last hour that a query counts."""
    a = get(server, "/api/metrics/query", q="{ } | count_over_time()", **window())
    return sum(int(s.get("value", 0)) for s in a.json().get("series", []))


def peak(server, what):
    if not sanitized():
        mib = server.memory_mib("VmHWM")
        print(f"{what}: peak {mib:.0f} MiB", file=sys.stderr)
        c.check(f"{what}: memory", mib <= MIB * 1.25, mib)


def alone():
    """Each count, sharing ten traces and names and with one each, over both; all of it is there after kill -9."""
    with Server(OPEN) as server:
        total, when = 0, now_ns() - 60 * 10**9
        for name, send in (("HTTP", over_http), ("gRPC", over_grpc)):
            for n in COUNTS:
                for traces in (10, n):
                    # A time makes 100,000 larger than the 4 MiB of gRPC; those without one lie in 1970.
                    body = small(n, traces, min(traces, 1000), when if name == "HTTP" else 0)
                    verdict, text, tries = patiently(send, server, body)
                    c.equal(f"{name}, {n} spans of {traces} traces, {len(body)} bytes", (verdict, text if verdict != "stored" else ""), ("stored", ""))
                    total += n if verdict == "stored" and name == "HTTP" else 0
        peak(server, "alone")
        c.equal("all count", stored(server), total)
        peak(server, "with a query")
        server.restart(kill=True)
        c.equal("all are there again", stored(server), total)
        peak(server, "out of the log")
        c.equal("one more", post(server, request_pb(request([span()])), "application/x-protobuf").status, 200)


def beside():
    """100,000 spans of as many traces while four clients send usual requests without a pause."""
    with Server(OPEN) as server:
        stop, statuses = threading.Event(), {}

        def pump():
            now = now_ns()
            conn = http.client.HTTPConnection("127.0.0.1", server.otlp_http, timeout=60)
            while not stop.is_set():
                body = request_pb(request([span(name=f"op {i % 9}", start=now, attributes={"n": i, "path": f"/x/{i}"}) for i in range(50)]))
                for _ in range(20):
                    conn.request("POST", "/v1/traces", body.replace(b"/x/1", b"/y/%d" % (len(statuses) % 9)), PB)
                    a = conn.getresponse()
                    a.read()
                    statuses[a.status] = statuses.get(a.status, 0) + 1
            conn.close()
        pumps = [threading.Thread(target=pump) for _ in range(4)]
        for p in pumps:
            p.start()
        most = 0
        for _ in range(3):
            for n in COUNTS:
                verdict, text, tries = patiently(over_http, server, small(n, n, 1000))
                most = max(most, tries)
                c.equal("beside others", (verdict, text if verdict != "stored" else ""), ("stored", ""))
        stop.set()
        for p in pumps:
            p.join()
        print(f"beside others: {most} refusals before one was taken; {statuses}", file=sys.stderr)
        peak(server, "beside others")


def for_good():
    """What can never fit is refused for good, whatever it is too large for."""
    with Server(OPEN) as server:
        cases = {"400,000 spans": small(400_000), "600,000 empty spans": field_len(1, field_len(2, field_len(2, b"") * 600_000)),
                 "as many events": field_len(1, field_len(2, field_len(2, field_len(1, b"t" * 16) + field_len(2, b"s" * 8) +
                                                                       field_len(11, field_text(2, "e")) * 900_000)))}
        for name, body in cases.items():
            for label, send in (("", body), (" in gzip", gzip.compress(body, 1))):
                verdict, text, _ = patiently(packed if label else over_http, server, send)
                c.check(f"{name}{label}", verdict != "later", text)
        c.equal("usual ones are taken", over_http(server, small(1000))[0], "stored")
        peak(server, "for good")
    with Server(merge(OPEN, {"memory": {"budget_bytes": 64 << 20}})) as server:
        verdict, text = over_http(server, b"x" * (10 << 20))
        c.check("a body larger than the memory for bodies", verdict == "never", text)
        for n in (1000, 5000, 20_000, 50_000):
            verdict, text, _ = patiently(over_http, server, small(n, n, n))
            c.check(f"{n} spans in the least memory", verdict != "later", (verdict, text))


for function in (alone, beside, for_good):
    c.run(function.__name__, function)
c.finish()
