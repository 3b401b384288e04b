#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Overload, clients that break HTTP/2's rules, tenants beside each other: what the others get meanwhile, and what memory it takes.

SECONDS=n makes each load last that long (3). ONLY=pattern runs some groups. Bounds on time are wide: a busy machine is no failure;
the figures that were met are printed.

run_overload.py --minutes M   the long form of `overload` alone: that long at several times the capacity, in the memory of a small
                              container and in the default; goodput must stay at nine tenths, memory must not creep.
"""
import gzip
import http.client
import multiprocessing
import os
import pathlib
import socket
import statistics
import struct
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import h2_frames as h2  # noqa: E402
from checks import Checks  # noqa: E402
from h2_frames import Wire, frame  # noqa: E402
from otlp import fields, get, http_request, now_ns, post, request, request_pb, span, span_pb, trace_id  # noqa: E402
from server import Server, merge, patience, sanitized  # noqa: E402

c = Checks()
SECONDS = float(os.environ.get("SECONDS", "3"))
SANITIZED = sanitized()  # a tenth of the speed: less at once, and no comparison of times
PB = {"Content-Type": "application/x-protobuf"}
MARK = b"MARKMARK"
OPEN = {"overrides": {"defaults": {"ingestion": {"rate_limit_bytes": 10**10, "burst_size_bytes": 10**10, "max_traces_per_user": 0}}}}


def template(spans=200):
    now = now_ns() - 10 * 10**9
    return request_pb(request([span(name=f"op {i % 20}", start=now + i, traceId=(MARK + (i // 10).to_bytes(8, "big")).hex(),
                                    spanId=(i + 1).to_bytes(8, "big").hex(), attributes={"http.target": f"/items/{i}", "n": i})
                               for i in range(spans)], "load"))


# ---- floods ----

def calm(label, wire, seconds=5.0):
    got = wire.ended(seconds)
    wire.close()
    c.check(f"{label}: the connection is ended", got in (h2.ENHANCE_YOUR_CALM, "closed"), got)


def rapid_reset(port):
    """CVE-2023-44487: streams that are opened and reset at once."""
    wire = Wire(port)
    for i in range(100):
        burst = b"".join(frame(h2.HEADERS, h2.END_HEADERS, s, h2.request()) + frame(h2.RST_STREAM, 0, s, struct.pack(">I", 8))
                         for s in range(i * 200 + 1, i * 200 + 200, 2))
        if not wire.send(burst):
            break
    calm("rapid reset", wire)


def continuation(port):
    """CVE-2024-28182: a header block without an end."""
    wire = Wire(port)
    wire.send(frame(h2.HEADERS, 0, 1, h2.request()))
    for i in range(2000):
        if not wire.send(frame(h2.CONTINUATION, 0, 1, h2.text(0, b"x%d" % i, b"y" * 100))):
            break
    calm("CONTINUATION", wire)


def control(port):
    """Frames that want an answer, never read: PING, SETTINGS; and such that cost only work: PRIORITY, empty DATA."""
    floods = {"PING": frame(h2.PING, payload=b"12345678"), "SETTINGS": frame(h2.SETTINGS),
              "PRIORITY": frame(h2.PRIORITY, 0, 1, struct.pack(">IB", 0, 1))}
    for name, one in floods.items():
        wire = Wire(port)
        for _ in range(200):
            if not wire.send(one * 500):
                break
        calm(name, wire)
    wire = Wire(port)
    wire.send(frame(h2.HEADERS, h2.END_HEADERS, 1, h2.request()))
    for _ in range(200):
        if not wire.send(frame(h2.DATA, 0, 1) * 500):
            break
    calm("empty DATA", wire)


def hpack_bomb(port):
    """One entry of 4 kB in the table, referred to by one byte each: 60 MB of headers in 16 kB."""
    wire = Wire(port)
    block = h2.request() + h2.text(0x40, b"bomb", b"x" * 3900) + b"\xbe" * 15000
    wire.send(frame(h2.HEADERS, h2.END_HEADERS, 1, block))
    answer = None
    for kind, _, stream, body in wire.frames(3):
        if stream == 1 or kind == h2.GOAWAY:
            answer = (kind, len(body))
            break
    wire.close()
    c.check("HPACK bomb: refused", answer is not None, answer)


def streams(port):
    """100 streams are announced; more at once are refused, the connection lives."""
    wire = Wire(port)
    for s in range(1, 2 * 150, 2):
        wire.send(frame(h2.HEADERS, h2.END_HEADERS, s, h2.request()))
    refused, limit = set(), None
    for kind, _, stream, body in wire.frames(2):
        if kind == h2.SETTINGS:
            for at in range(0, len(body), 6):
                key, value = struct.unpack(">HI", body[at:at + 6])
                limit = value if key == 3 else limit
        if kind == h2.RST_STREAM:
            refused.add(stream)
    wire.close()
    c.check("streams: a limit is announced", limit is not None and limit <= 1000, limit)
    if limit is not None and limit < 150:
        c.equal("streams: those beyond it are refused", refused, set(range(2 * limit + 1, 300, 2)))


def windows(server):
    """Answers that nobody lets through, on 50 connections of 10 streams each."""
    for _ in range(10):
        post(server, request_pb(request([span(name=f"op-{i}", attributes={"text": "x" * 500}) for i in range(200)])), "application/x-protobuf")
    held = []
    for _ in range(5 if SANITIZED else 50):
        wire = Wire(server.http_port, settings=struct.pack(">HI", 4, 0))
        for s in range(1, 20, 2):
            wire.send(frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, s, h2.request(b"/api/search?q=%7B%7D&limit=1000&spss=50", b"GET", False)))
        held.append(wire)
    time.sleep(1)
    c.equal("beside closed windows", get(server, "/api/search", q="{ }").status, 200)
    for wire in held:
        wire.close()


def handshakes(server):
    """Half a TLS hello on a plain port, nothing at all, and rubbish."""
    hello = bytes.fromhex("16030100c4010000c00303") + b"\0" * 40
    held = []
    for i in range(300):
        s = socket.create_connection(("127.0.0.1", (server.otlp_grpc, server.otlp_http, server.http_port)[i % 3]), 2)
        s.sendall((hello, b"", os.urandom(64))[i // 3 % 3])
        held.append(s)
    c.equal("beside half handshakes", post(server, request_pb(request([span()])), "application/x-protobuf").status, 200)
    for s in held:
        s.close()


def floods():
    budget = 256
    with Server(merge(OPEN, {"memory": {"budget_bytes": budget << 20}})) as server:
        for port in (server.otlp_grpc, server.http_port):
            for attack in (rapid_reset, continuation, control, hpack_bomb, streams):
                attack(port)
        windows(server)
        handshakes(server)
        c.equal("afterwards", post(server, request_pb(request([span()])), "application/x-protobuf").status, 200)
        peak = server.memory_mib("VmHWM")
        if not SANITIZED:
            c.check("memory", peak <= budget * 1.25, peak)
        print(f"floods: peak {peak:.0f} MiB of {budget}", file=sys.stderr)


# ---- more than it can take ----

def pump(port, number, seconds, out, headers, body):
    """One client process: requests without a pause; counts by status, ack times of those taken."""
    counts, times = {}, []
    end = time.monotonic() + seconds
    conn = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    n = bad = 0
    while time.monotonic() < end:
        n += 1
        began = time.monotonic()
        try:
            conn.request("POST", "/v1/traces", body.replace(MARK, struct.pack(">II", number + 1, n)), {**PB, **headers})
            answer = conn.getresponse()
            answer.read()
            status = answer.status
            bad += status in (429, 503) and answer.headers.get("Retry-After") is None
        except OSError:
            conn.close()
            conn = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            status = "closed"
        counts[status] = counts.get(status, 0) + 1
        if status == 200:
            times.append(time.monotonic() - began)
    conn.close()
    out.put((counts, times, bad))


def load(server, clients, seconds, headers=None, spans=200):
    """(accepted a second, {status: n}, ack p99, answers without Retry-After, CPU of the server)."""
    out, body = multiprocessing.Queue(), template(spans)
    used = cpu(server)
    workers = [multiprocessing.Process(target=pump, args=(server.otlp_http, i, seconds, out, headers or {}, body)) for i in range(clients)]
    for w in workers:
        w.start()
    counts, times, bad = {}, [], 0
    for _ in workers:
        some, t, b = out.get(timeout=(seconds + 60) * patience())
        times += t
        bad += b
        for k, v in some.items():
            counts[k] = counts.get(k, 0) + v
    for w in workers:
        w.join()
    times.sort()
    return counts.get(200, 0) / seconds, counts, times[int(len(times) * .99)] if times else 0, bad, cpu(server) - used


def cpu(server):
    """Seconds of the threads that take requests. Not of those of low priority: merges of what came before are done when there is time."""
    ticks = 0
    for task in pathlib.Path(f"/proc/{server.pid}/task").iterdir():
        name, rest = (task / "stat").read_text().split("(", 1)[1].rsplit(") ", 1)
        if not name.startswith("low"):
            ticks += sum(int(n) for n in rest.split()[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


class Resident(threading.Thread):
    """Resident MiB of a server, five times a second."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.seen, self.over = server, [], threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(0.2):
            self.seen.append(self.server.memory_mib())

    def end(self):
        """(mean of the second quarter, mean of the last)."""
        self.over.set()
        self.join()
        quarter = max(len(self.seen) // 4, 1)
        return statistics.mean(self.seen[quarter:2 * quarter]), statistics.mean(self.seen[-quarter:])


def overloaded(budget, seconds, goodput):
    """Many times the clients that keep it busy: goodput stays, memory is bounded, refusals say when to come back."""
    with Server(merge(OPEN, {"memory": {"budget_bytes": budget << 20}, "live_store": {"max_block_bytes": 8 << 20}})) as server:
        load(server, 4, 1)  # warm
        few = load(server, 4, min(seconds, 20))
        memory = Resident(server)
        many = load(server, 64, seconds)
        early, late = memory.end()
        # More in flight than there is room for.
        huge = load(server, 48, seconds, spans=20000)
        peak = server.memory_mib("VmHWM")
        # By the server's own CPU, so that clients that compete for processors do not count.
        kept = many[1].get(200, 0) / many[4] / (few[1].get(200, 0) / few[4])
        print(f"overload, {budget} MiB: 4 clients {few[0]:.0f} requests/s, 64 clients {many[0]:.0f} {many[1]}, goodput {kept:.2f}; of MBs {huge[1]}; "
              f"RSS {early:.0f} then {late:.0f}, peak {peak:.0f} MiB", file=sys.stderr)
        for what, got in (("many", many), ("huge", huge)):
            known = {200, 429, 503} | ({"closed"} if SANITIZED else set())  # by the client, after 30 s
            c.check(f"{what}: only refusals that say when to come back", set(got[1]) <= known and got[3] == 0, got)
        c.check("huge: some are taken", huge[1].get(200, 0) > 0, huge)
        if budget <= 256:
            c.check("huge: some are refused", huge[1].get(503, 0) + huge[1].get(429, 0) > 0, huge)
        c.check(f"goodput, {budget} MiB", kept >= goodput, (kept, few, many))
        if not SANITIZED:
            c.check(f"memory, {budget} MiB", peak <= budget * 1.25, peak)
        if seconds >= 30:
            c.check(f"memory does not creep, {budget} MiB", late <= early * 1.25 + 8, (early, late))
        began = time.monotonic()
        c.equal("back to normal", post(server, request_pb(request([span()])), "application/x-protobuf").status, 200)
        c.check("at once", time.monotonic() - began < 10)


def overload():
    overloaded(256, SECONDS, 0.7)


def overload_long():
    for budget in (192, 1024):  # a container of 256 MiB; the default
        overloaded(budget, MINUTES * 60, 0.9)


# ---- tenants beside each other ----

def neighbour(server, seconds):
    """Tenant b sends one small request after the other; (statuses, ack p50, ack p99)."""
    conn = http.client.HTTPConnection("127.0.0.1", server.otlp_http, timeout=30)
    end, times, statuses = time.monotonic() + seconds, [], set()
    while time.monotonic() < end:
        began = time.monotonic()
        conn.request("POST", "/v1/traces", request_pb(request([span()])), {**PB, "X-Scope-OrgID": "b"})
        answer = conn.getresponse()
        answer.read()
        times.append(time.monotonic() - began)
        statuses.add(answer.status)
        time.sleep(0.005)
    conn.close()
    times.sort()
    return statuses, statistics.median(times), times[int(len(times) * .99)]


def isolation():
    """Tenant a sends many times what it may; b is not refused anything and hardly waits longer."""
    rate = 200_000 if SANITIZED else 2_000_000
    limits = {"overrides": {"defaults": {"ingestion": {"rate_limit_bytes": rate, "burst_size_bytes": rate}}}, "multitenancy_enabled": True}
    with Server(limits) as server:
        quiet = neighbour(server, SECONDS)
        result = []
        thread = threading.Thread(target=lambda: result.append(load(server, 8, SECONDS + 1, {"X-Scope-OrgID": "a"})))
        thread.start()
        time.sleep(0.5)
        beside = neighbour(server, SECONDS)
        thread.join()
        counts = result[0][1]
        print(f"isolation: b alone p50 {quiet[1] * 1e3:.1f} p99 {quiet[2] * 1e3:.1f} ms, beside a {beside[1] * 1e3:.1f} {beside[2] * 1e3:.1f}; a: {counts}",
              file=sys.stderr)
        c.check("a is over its rate", counts.get(429, 0) > counts.get(200, 0), counts)
        c.check("a is told when to come back", result[0][3] == 0, result[0])
        c.equal("b is never refused", beside[0], {200})
        c.check("b hardly waits", SANITIZED or beside[1] < quiet[1] * 3 + 0.05, (quiet, beside))
        for tenant, other in (("a", "b"), ("b", "a")):
            n = trace_id()
            post(server, request_pb(request([span(n)], tenant)), "application/x-protobuf", {"X-Scope-OrgID": "b" if tenant == "b" else "c"})
            c.equal(f"{other} does not see it", get(server, f"/api/traces/{n}", {"X-Scope-OrgID": other}).status, 404)


def slow():
    """500 clients that send or read a byte a second beside a tenant that works."""
    with Server({**OPEN, "multitenancy_enabled": True}) as server:
        quiet = neighbour(server, SECONDS)
        held, stop = [], threading.Event()
        for i in range(500):
            s = socket.socket()
            s.settimeout(2)
            s.bind((f"127.0.0.{2 + i % 4}", 0))  # as four addresses: no address may have more than 256
            try:
                s.connect(("127.0.0.1", (server.otlp_http, server.http_port)[i % 2]))
                s.sendall(b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: 100000\r\n\r\n"
                          if i % 3 else b"GET /api/search?q=%7B%7D HTTP/1.1\r\nHost: ")
                held.append(s)
            except OSError:
                s.close()

        def drip():
            while not stop.wait(0.5):
                for s in held:
                    try:
                        s.send(b"x")
                    except OSError:
                        pass
        thread = threading.Thread(target=drip)
        thread.start()
        beside = neighbour(server, SECONDS)
        stop.set()
        thread.join()
        for s in held:
            s.close()
        print(f"slow: alone p50 {quiet[1] * 1e3:.1f} p99 {quiet[2] * 1e3:.1f} ms, beside {len(held)} slow clients {beside[1] * 1e3:.1f} "
              f"{beside[2] * 1e3:.1f}", file=sys.stderr)
        c.check("they were there", len(held) > 400, len(held))
        c.equal("never refused", beside[0], {200})
        c.check("hardly waits", SANITIZED or beside[1] < quiet[1] * 3 + 0.05, (quiet, beside))


# ---- caps: one below, at, one above ----

def around(name, cap, ask, over):
    """ask(n) is 200 for cap - 1 and cap, and one of `over` for cap + 1."""
    for n in (cap - 1, cap, cap + 1):
        got = ask(n)
        c.check(f"{name}: {n}", got == 200 if n <= cap else got in over, got)


def padded(n):
    """A valid request of exactly n bytes: one span, and an unknown field that fills it up."""
    body = request_pb(request([span()]))
    left = n - len(body)
    for width in range(1, 6):  # of the length's varint
        fill = left - 1 - width
        size = b""
        v = fill
        for k in range(width):
            size += bytes([v & 127 | (128 if k < width - 1 else 0)])
            v >>= 7
        if fill >= 0 and v == 0:
            return body + b"\x7a" + size + b"\0" * fill
    raise ValueError(n)


def caps():
    with Server(OPEN) as server:
        # Tempo's receiver takes 20 MiB, before and after decompression.
        around("body on the wire", 20 << 20, lambda n: post(server, padded(n), "application/x-protobuf").status, {400, 413, "closed"})
        around("body inflated", 20 << 20,
               lambda n: http_request(server.otlp_url + "/v1/traces", "POST", gzip.compress(noisy(n), 1),
                                      {**PB, "Content-Encoding": "gzip"}).status, {400, 413})
        around("URL", 160 << 10, lambda n: status_of(server, n), {414, 400, 431})


def ratio():
    """Inflated bytes beyond the first MiB may be a hundred times what came over the wire, not more."""
    with Server(OPEN) as server:
        def ask(n):
            packed = gzip.compress(padded(n), 9)  # zeros: some 1,000 times
            return http_request(server.otlp_url + "/v1/traces", "POST", packed, {**PB, "Content-Encoding": "gzip"}).status
        c.equal("a MiB of zeros", ask(1 << 20), 200)
        c.check("two MiB of zeros", ask(2 << 20) in (400, 413))


def connections():
    """256 of one address on a listener; one more is closed, another address is served."""
    with Server(OPEN) as server:
        held = [socket.create_connection(("127.0.0.1", server.http_port), 5) for _ in range(256)]

        def served(source):
            conn = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=5, source_address=(source, 0))
            try:
                conn.request("GET", "/ready")
                return conn.getresponse().status
            except OSError:
                return "closed"
            finally:
                conn.close()
        time.sleep(0.2)
        c.equal("connections: 257", served("127.0.0.1"), "closed")
        c.equal("connections: of another address", served("127.0.0.2"), 200)
        held.pop().close()
        time.sleep(0.2)
        c.equal("connections: 256", served("127.0.0.1"), 200)
        for s in held:
            s.close()


def live_traces():
    """max_traces_per_user: the last that fits, and the first that does not."""
    cap = 50
    with Server({"overrides": {"defaults": {"ingestion": {"max_traces_per_user": cap}}}}) as server:
        def ask(_):
            answer = post(server, request_pb(request([span()])), "application/x-protobuf")
            return answer.status if not fields(fields(answer.body).get(1, [b""])[0]) else "rejected"
        for _ in range(cap - 2):
            ask(0)
        around("live traces", cap, ask, {"rejected"})


def trace_bytes():
    """max_bytes_per_trace, at admission: what a trace has already counts."""
    with Server() as server:
        trace = trace_id()
        size = len(span_pb(span(trace, name="op")))
    with Server({"overrides": {"defaults": {"global": {"max_bytes_per_trace": 3 * size}}}}) as server:
        def ask(_):
            answer = post(server, request_pb(request([span(trace, name="op")])), "application/x-protobuf")
            return answer.status if not fields(fields(answer.body).get(1, [b""])[0]) else "rejected"
        ask(0)
        around("spans of a trace", 3, ask, {"rejected"})


def noisy(n):
    """As padded, but compressed some ten times only: the ratio is capped too."""
    body = bytearray(padded(n))
    at = 4096
    chunk = os.urandom(128)
    while at + 1024 < len(body):
        body[at:at + 128] = chunk
        at += 1024
        if at % (64 << 10) < 1024:
            chunk = os.urandom(128)
    for at in range(8192, len(body) - 4096, 8192):
        body[at:at + 900] = os.urandom(900)
    return bytes(body)


def status_of(server, n):
    """The status of a request line's URL of n bytes."""
    head = "/api/search?q=%7B%7D&x="
    conn = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=10)
    conn.request("GET", head + "y" * (n - len(head)))
    answer = conn.getresponse()
    answer.read()
    conn.close()
    return answer.status


MINUTES = float(sys.argv[2]) if sys.argv[1:2] == ["--minutes"] else 0
for function in (overload_long,) if MINUTES else (floods, overload, isolation, slow, caps, ratio, connections, live_traces, trace_bytes):
    c.run(function.__name__, function)
c.finish()
