#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Dashboards of several users in the memory of a small container: ten panels at once each, of which some need most of what all queries
may have together. Every panel that has an answer when it is asked alone has it here, too: the same one, and never 422. A stream tells
of progress at most once, also when its query is run a second time.

SECONDS=n lets the users go on for that long (4); a little longer where nobody had to wait yet. ONLY=pattern runs some groups.
"""
import concurrent.futures
import http.client
import json
import os
import pathlib
import re
import sys
import threading
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import venv  # noqa: E402

venv.use("requirements.txt")

from checks import Checks  # noqa: E402
from otlp import get, now_ns, request, request_pb, span  # noqa: E402
from server import Server, sanitized  # noqa: E402
from stream_client import StreamClient  # noqa: E402

c = Checks()
BUDGET = 192  # MiB: three quarters of a container of 256
SECONDS = float(os.environ.get("SECONDS", "4"))
USERS, PANELS = 6, 10
REQUESTS, SPANS = (10, 500) if sanitized() else (240, 500)
MARK = b"MARKMARK"
CONFIG = {"query_frontend": {"max_grpc_streaming_packet_size": 0}, "server": {"grpc_server_max_send_msg_size": 64 << 20},  # one message an answer
          "querier": {"search": {"query_timeout": "300s"}},
          "overrides": {"defaults": {"ingestion": {"rate_limit_bytes": 10**10, "burst_size_bytes": 10**10, "max_traces_per_user": 0}}}}
DEAR = ["{ } | compare({ span.n > 250 })", "{ } | rate() by (span.http.target, span.n) | topk(200)", "{ } | quantile_over_time(duration, .5, .9) by (span.http.target) | topk(50)",
        "{ } | quantile_over_time(duration, .25, .75) by (span.http.target) | topk(50)", "{ } | avg_over_time(duration) by (span.http.target, name)"]
SHORT = ["{ }", "{ span.n > 400 }", "{ } | count() > 5", "{ } | rate() by (name)", "{ } | rate() by (span.n)"]
assert len(DEAR + SHORT) == PANELS


def metrics(server, name):
    found = re.search(rf"^{name} (\S+)$", get(server, "/metrics").text, re.M)
    return float(found[1]) if found else 0


def load(server):
    now = now_ns() - 300 * 10**9
    body = request_pb(request([span(name=f"op {i % 20}", start=now + i * 10**8, end=now + i * 10**8 + (i % 97 + 1) * 10**6,
                                    traceId=(MARK + (i // 10).to_bytes(8, "big")).hex(), spanId=(i + 1).to_bytes(8, "big").hex(),
                                    attributes={"http.method": "GET", "http.target": f"/items/TGT-TGT-/{i}", "n": i}) for i in range(SPANS)], "dash"))
    conn = http.client.HTTPConnection("127.0.0.1", server.otlp_http, timeout=60)
    for i in range(REQUESTS):
        n = (i + 1).to_bytes(8, "big")
        conn.request("POST", "/v1/traces", body.replace(MARK, n).replace(b"TGT-TGT-", b"%08d" % (i % 7)), {"Content-Type": "application/x-protobuf"})
        a = conn.getresponse()
        a.read()
        if a.status != 200:
            raise AssertionError(a.status)
    conn.close()


class Panels:
    def __init__(self, server):
        self.server, self.end = server, int(time.time()) + 1
        self.lock, self.statuses, self.wrong, self.slowest = threading.Lock(), {}, [], 0.0

    def path(self, q):
        is_metrics = re.search(r"\| (rate|compare|\w+_over_time)", q)
        params = {"q": q, "start": self.end - 600, "end": self.end, **({"step": "10s", "exemplars": 0} if is_metrics else {"limit": 200})}
        return f"/api/{'metrics/query_range' if is_metrics else 'search'}?{urllib.parse.urlencode(params)}"

    def ask(self, q):
        conn = http.client.HTTPConnection("127.0.0.1", self.server.http_port, timeout=600)
        conn.request("GET", self.path(q))
        answer = conn.getresponse()
        body = answer.read()
        conn.close()
        return answer.status, body

    @staticmethod
    def facts(body):
        """What does not depend on who else asked."""
        answer = json.loads(body)
        return answer.get("series"), answer.get("traces")

    def panel(self, q, want):
        began = time.monotonic()
        status, body = self.ask(q)
        ok = status != 200 or self.facts(body) == want
        with self.lock:
            self.statuses[status] = self.statuses.get(status, 0) + 1
            self.slowest = max(self.slowest, time.monotonic() - began)
            if status != 200 or not ok:
                self.wrong.append((q, status, body[:300]))

    def user(self, alone):
        """Goes on for that long, and longer while nobody had to wait."""
        with concurrent.futures.ThreadPoolExecutor(PANELS) as panels:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end or (not sanitized() and time.monotonic() < end + 60 and metrics(self.server, "vivace_query_memory_reruns_total") == 0):
                list(panels.map(lambda q: self.panel(q, alone[q]), alone))


def dashboards(server):
    panels = Panels(server)
    alone = {}
    for q in DEAR + SHORT:
        status, body = panels.ask(q)
        c.equal(f"alone: {q}", status, 200)
        alone[q] = panels.facts(body)
        print(f"{len(body)} bytes, {q}", file=sys.stderr)
    users = [threading.Thread(target=panels.user, args=(alone,)) for _ in range(USERS)]
    for u in users:
        u.start()
    for u in users:
        u.join()
    c.equal("every panel is answered", set(panels.statuses), {200})
    c.check("as it is alone", not panels.wrong, panels.wrong[:2])
    peak = server.memory_mib("VmHWM")
    waits, reruns = (metrics(server, f"vivace_query_memory_{what}_total") for what in ("waits", "reruns"))
    print(f"{panels.statuses}, slowest {panels.slowest:.1f} s, {waits:.0f} waited, {reruns:.0f} ran again; peak RSS {peak:.0f} MiB", file=sys.stderr)
    c.check("some had to wait", sanitized() or 0 < reruns <= waits, (waits, reruns))
    c.equal("nobody waits any more", metrics(server, "vivace_query_memory_waiting"), 0)
    if not sanitized():
        c.check("peak RSS", peak <= BUDGET * 1.25, peak)


def told_twice(messages):
    """Samples and traces that more than one message of progress has: the last message repeats everything."""
    seen, twice = set(), []
    for m in messages[:-1]:
        keys = [t.traceID for t in getattr(m, "traces", ())]
        for series in getattr(m, "series", ()):
            label = b"".join(sorted(x.SerializeToString() for x in series.labels))
            keys += [(label, sample.timestamp_ms) for sample in series.samples]
        twice += [k for k in keys if k in seen]
        seen.update(keys)
    return twice


def streams(server):
    end = int(time.time()) + 1
    asked = [("MetricsQueryRange", {"query": q, "start": (end - 600) * 10**9, "end": end * 10**9, "step": 10**10}) for q in DEAR[2:4] * 6]
    asked += [("Search", {"Query": '{ span.http.target =~ ".*9" } | select(span.http.target, span.n)', "start": end - 600, "end": end, "Limit": 2000})] * 6
    before = metrics(server, "vivace_query_memory_reruns_total")
    progress = 0

    def one(question):
        client = StreamClient(f"127.0.0.1:{server.grpc_port}")
        messages = client.call(question[0], timeout=300, **question[1])
        client.close()
        return question[0], messages

    with concurrent.futures.ThreadPoolExecutor(len(asked)) as all_streams:
        last = {}
        for method, messages in all_streams.map(one, asked):
            progress += len(messages) - 1
            jobs = [m.metrics.completedJobs for m in messages]
            twice = told_twice(messages)
            c.check(f"{method}: nothing is told twice", not twice, twice[:3])
            c.check(f"{method}: totals only grow", jobs == sorted(jobs), jobs)
            last.setdefault(method, []).append([t.traceID for t in getattr(messages[-1], "traces", ())])
        c.check("all searches have the same traces", all(m == last["Search"][0] for m in last["Search"]))
    reruns = metrics(server, "vivace_query_memory_reruns_total") - before
    print(f"{len(asked)} streams, {progress} messages of progress, {reruns:.0f} ran again", file=sys.stderr)


def main():
    with Server(CONFIG, env={"GOMEMLIMIT": f"{BUDGET}MiB"}) as server:
        load(server)
        c.run("dashboards", dashboards, server)
        c.run("streams", streams, server)
    c.finish()


if __name__ == "__main__":
    main()
