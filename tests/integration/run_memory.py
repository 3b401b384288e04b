#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the process keeps in RAM: idle, while it takes spans, merges them and answers, afterwards, and with a thousand tenants.

Needs nothing beyond Python. Bounds have half as much again as was measured; a sanitizer's memory is not ours, so with one only
the budgets are checked. ONLY=pattern runs some groups.
"""
import http.client
import pathlib
import re
import select
import socket
import sys
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from checks import Checks  # noqa: E402
from otlp import get, now_ns, request, request_pb, span, window  # noqa: E402
from server import Server, sanitized  # noqa: E402

c = Checks()
SPANS = 500  # of a request
MARK = b"MARKMARK"  # first half of every id of the template
FAST = {"live_store": {"max_block_bytes": 8 << 20}, "compactor": {"compaction": {"compaction_cycle": "1s"}},
        "overrides": {"defaults": {"ingestion": {"rate_limit_bytes": 10**10, "burst_size_bytes": 10**10, "max_traces_per_user": 0}}}}


def template():
    now = now_ns() - 60 * 10**9
    spans = [span(name=f"op {i % 20}", start=now + i * 1000, traceId=(MARK + (i // 10).to_bytes(8, "big")).hex(),
                  spanId=(i + 1).to_bytes(8, "big").hex(),
                  attributes={"http.method": "GET", "http.target": f"/items/{i}", "http.status_code": 200 + i % 7, "n": i})
             for i in range(SPANS)]
    return request_pb(request(spans, "memory"))


def send(server, requests):
    body = template()
    conn = http.client.HTTPConnection("127.0.0.1", server.otlp_http, timeout=30)
    for i in range(requests):
        conn.request("POST", "/v1/traces", body.replace(MARK, (i + 1).to_bytes(8, "big")),
                     {"Content-Type": "application/x-protobuf"})
        a = conn.getresponse()
        text = a.read()
        if a.status != 200:
            raise AssertionError(f"request {i}: {a.status} {text!r}")
    conn.close()


def budgets(server):
    """{(name, parent): {"": used, "_peak": ..., "_cap": ...}}"""
    out = {}
    text = get(server, "/metrics").text
    for kind, name, parent, value in re.findall(
            r'^vivace_memory_budget(|_peak|_cap)_bytes\{budget="([^"]*)",parent="([^"]*)"\} (\S+)$', text, re.M):
        out.setdefault((name, parent), {})[kind] = float(value)
    return out


def wait(what, seconds=20):
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.2)
    return what()


def tree(server):
    got = budgets(server)
    names = {name for name, parent in got}
    c.check("budgets", names >= {"memory", "connections", "request bodies", "decoded requests", "queries", "streamed answers", "metrics generator", "remote write",
                                 "cost attribution", "forwarders", "storage", "heads", "storage work", "block-cache"}, got)
    for parent in ("memory", "storage"):
        below = sum(v[""] for (name, p), v in got.items() if p == parent)
        c.equal(f"{parent} is the sum of what is below", below, next(v[""] for (name, p), v in got.items() if name == parent))
    for key, v in got.items():
        c.check(f"{key}: peak", v["_peak"] >= v[""] and (v["_cap"] == 0 or v["_peak"] <= v["_cap"]), v)
    page = get(server, "/status/memory").text
    for name in names:
        c.check(f"/status/memory: {name}", re.search(rf"^ *{name} +\d+ +\d+ +(\d+|-) +\d+$", page, re.M), page)
    c.check("/status has it", "GET /status/memory\n" in get(server, "/status").text)


def busy():
    exact = not sanitized()
    with Server(FAST) as server:
        if exact:
            c.check("idle", server.memory_mib() <= 15, server.memory_mib())
        send(server, 600)
        c.check("merged", wait(lambda: re.search(r"^tempodb_compaction_blocks_total\S* [1-9]", get(server, "/metrics").text, re.M)))
        got = budgets(server)
        peak = next(v["_peak"] for (name, _), v in got.items() if name == "block-cache")
        c.check("merges do not fill the cache", peak < 8 << 20, peak)
        if exact:
            c.check("peak while taking spans", server.memory_mib("VmHWM") <= 80, server.memory_mib("VmHWM"))
            c.check("afterwards", wait(lambda: server.memory_mib() <= 36), server.memory_mib())
        for q in ("{ span.n > 400 }", '{ span.http.target =~ ".*99" }', "{ } | rate() by (span.http.target)"):
            path = "/api/metrics/query_range" if "rate" in q else "/api/search"
            c.equal(q, get(server, path, q=q, **window()).status, 200)
        tree(server)
        print(f"peak {server.memory_mib('VmHWM'):.0f} MiB, now {server.memory_mib():.0f} MiB", file=sys.stderr)


def tenants():
    if sanitized():
        return
    body = request_pb(request([span(name="one")], "many"))
    server = Server({"multitenancy_enabled": True})
    try:
        server.start()
        conn = http.client.HTTPConnection("127.0.0.1", server.otlp_http, timeout=30)
        for i in range(1000):
            conn.request("POST", "/v1/traces", body, {"Content-Type": "application/x-protobuf", "X-Scope-OrgID": f"tenant-{i}"})
            a = conn.getresponse()
            a.read()
            if a.status != 200:
                raise AssertionError(f"tenant {i}: {a.status}")
        conn.close()
        c.check("a thousand tenants", wait(lambda: server.memory_mib() <= 64), server.memory_mib())
        print(f"1,000 tenants: {server.memory_mib():.0f} MiB, peak {server.memory_mib('VmHWM'):.0f} MiB", file=sys.stderr)
    finally:
        server.kill()  # a thousand logs to close: how long that takes is not looked at here
        server.discard()


def unread():
    """Clients that ask for much and read nothing: their answers take the room of queries, not more memory."""
    budget = 192 << 20
    with Server({**FAST, "memory": {"budget_bytes": budget}}) as server:
        send(server, 12 if sanitized() else 120)
        path = f"/api/search?q=%7B%7D&limit={600 if sanitized() else 6000}&spss=20&{urllib.parse.urlencode(window())}"
        large = len(get(server, path).body)
        held = []
        for _ in range(60):
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.connect(("127.0.0.1", server.http_port))
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            held.append(s)
        c.check("all have their answers", wait(lambda: all(select.select([s], [], [], 0)[0] for s in held), 60))
        statuses = [int(s.recv(12)[9:12]) for s in held]
        used = {name: v[""] for (name, parent), v in budgets(server).items() if parent == "queries"}
        print(f"{large / 2**20:.1f} MiB an answer, {statuses.count(200)} are taken, of {len(held)}; {used.get('answers', 0) / 2**20:.1f} MiB charged; "
              f"{server.memory_mib():.0f} MiB, peak {server.memory_mib('VmHWM'):.0f}", file=sys.stderr)
        c.equal("nothing else is said", set(statuses) - {200, 503}, set())
        c.check("what is taken is charged", used.get("answers", 0) >= statuses.count(200) * (large - 4e6), (used, statuses))
        if not sanitized():
            c.check("too many are told to come again", statuses.count(503) > 0 and statuses.count(200) > 0, statuses)
            c.check("peak", server.memory_mib("VmHWM") <= budget / 2**20, server.memory_mib("VmHWM"))
        c.equal("others are answered meanwhile", get(server, "/api/search?q=%7B%7D&limit=5").status, 200)
        for s in held:
            s.close()
        c.check("all is given back", wait(lambda: budgets(server).get(("answers", "queries"), {"": 1})[""] == 0), budgets(server))


def main():
    for f in (busy, unread, tenants):
        c.run(f.__name__, f)
    c.finish()


if __name__ == "__main__":
    main()
