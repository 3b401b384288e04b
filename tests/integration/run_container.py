#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A container of 256 MiB: spans from several senders while ten clients ask. The process takes its budget from the cgroup, stays
within that and a quarter, and the kernel kills nobody.

run_container.py [--minutes M]   8 seconds of load, or M minutes

A memory cgroup below our own is made where that is allowed (as root, version 1 or 2); elsewhere GOMEMLIMIT says the same. Whether what
was acked is found is what other suites ask; here every answer must be one that a client can live with.
"""
import http.client
import os
import pathlib
import re
import sys
import threading
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from checks import Checks  # noqa: E402
from otlp import get, now_ns, request, request_pb, span  # noqa: E402
from server import Server, sanitized  # noqa: E402

c = Checks()
LIMIT, BUDGET = 256, 192  # MiB; three quarters
SENDERS, ASKERS, SPANS = 4, 10, 500
MARK = b"MARKMARK"
OPEN = {"overrides": {"defaults": {"ingestion": {"rate_limit_bytes": 10**10, "burst_size_bytes": 10**10, "max_traces_per_user": 0}}}}
QUERIES = ["{}", "{ span.n > 400 }", '{ span.http.target =~ ".*99" }', "{ duration > 1h }", "{ } | count() > 5", "{ } | rate() by (name)",
           "{ } | quantile_over_time(duration, .5, .99) by (span.http.method)", "{ } | compare({ span.n > 250 })"]


class Group:
    """A memory cgroup below ours, or nothing."""

    def __init__(self):
        self.path = None
        for line in pathlib.Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
            _, controllers, own = line.split(":", 2)
            root, limit, self.used, self.kills = {
                "memory": ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control"),
                "": ("/sys/fs/cgroup", "memory.max", "memory.peak", "memory.events")}.get(controllers, (None,) * 4)
            if root is not None and self.make(pathlib.Path(root + own), limit):
                return

    def make(self, parent, limit):
        path = parent / f"vivace-test-{os.getpid()}"
        try:
            path.mkdir()
        except OSError:
            return False
        try:
            (path / limit).write_text(str(LIMIT << 20), encoding="ascii")
        except OSError:
            path.rmdir()
            return False
        self.path = path
        return True

    def enter(self):
        """A command's words in front of another command."""
        return ["sh", "-c", f'echo $$ > {self.path}/cgroup.procs && exec "$@"', "sh"] if self.path else []

    def number(self, name, pattern):
        text = (self.path / name).read_text(encoding="ascii") if self.path and (self.path / name).exists() else ""
        found = re.search(pattern, text, re.M)
        return int(found[1]) if found else 0

    def most_mib(self):
        return self.number(self.used, r"^(\d+)$") / 2**20

    def killed(self):
        return self.number(self.kills, r"^oom_kill (\d+)$")

    def remove(self):
        if self.path:
            self.path.rmdir()


class Load:
    def __init__(self, server, seconds):
        self.server, self.end = server, time.monotonic() + seconds
        self.lock, self.sent, self.asked = threading.Lock(), {}, {}

    def count(self, counts, status):
        with self.lock:
            counts[status] = counts.get(status, 0) + 1

    def each(self, port, counts, make):
        """Requests on a connection of its own until the end; make(n) gives method, path, body, headers, and the pause after it."""
        n = 0
        conn = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while time.monotonic() < self.end:
            n += 1
            method, path, body, headers, pause = make(n)
            try:
                conn.request(method, path, body, headers)
                answer = conn.getresponse()
                answer.read()
                status = answer.status
            except OSError:
                conn.close()
                conn = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                status = "closed"
            self.count(counts, status)
            time.sleep(pause)
        conn.close()

    def sender(self, number):
        now = now_ns() - 60 * 10**9
        body = request_pb(request([span(name=f"op {i % 20}", start=now + i * 1000, traceId=(MARK + (i // 10).to_bytes(8, "big")).hex(),
                                        spanId=(i + 1).to_bytes(8, "big").hex(),
                                        attributes={"http.method": "GET", "http.target": f"/items/{number}/{i}", "n": i}) for i in range(SPANS)], "small"))
        self.each(self.server.otlp_http, self.sent, lambda n: (
            "POST", "/v1/traces", body.replace(MARK, (number << 40 | n).to_bytes(8, "big")), {"Content-Type": "application/x-protobuf"}, 0))

    def asker(self, number):
        def make(n):
            q = QUERIES[(n + number) % len(QUERIES)]
            metrics = re.search(r"\| (rate|quantile|compare)", q)
            end = int(time.time()) + 1
            params = {"q": q, "start": end - 600, "end": end, **({"step": "10s"} if metrics else {"limit": 200})}
            return "GET", f"/api/{'metrics/query_range' if metrics else 'search'}?{urllib.parse.urlencode(params)}", None, {}, 0.2
        self.each(self.server.http_port, self.asked, make)

    def run(self):
        threads = [threading.Thread(target=self.sender, args=(i + 1,)) for i in range(SENDERS)]
        threads += [threading.Thread(target=self.asker, args=(i,)) for i in range(ASKERS)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()


def budget_mib(server):
    return float(re.search(r'^vivace_memory_budget_cap_bytes\{budget="queries",parent="memory"\} (\S+)$', get(server, "/metrics").text, re.M)[1]) * 4 / 2**20


def small(group, seconds):
    server = Server(OPEN, env={} if group.path else {"GOMEMLIMIT": f"{BUDGET}MiB"})
    server.prefix = group.enter()
    with server:
        c.equal("the budget is three quarters of the container", budget_mib(server), BUDGET)
        load = Load(server, seconds)
        load.run()
        peak = server.memory_mib("VmHWM")
        print(f"{SENDERS} senders {load.sent}, {ASKERS} askers {load.asked}: peak RSS {peak:.0f} MiB, now {server.memory_mib():.0f}; "
              f"container {group.most_mib():.0f} of {LIMIT}, page cache included", file=sys.stderr)
        c.check("spans are taken", load.sent.get(200, 0) > 0 and set(load.sent) <= {200, 503}, load.sent)
        c.check("questions are answered", load.asked.get(200, 0) > 0 and set(load.asked) <= {200, 422, 429}, load.asked)
        c.check("nearly all of them", load.asked.get(200, 0) >= 0.95 * sum(load.asked.values()), load.asked)
        if not sanitized():
            c.check("peak RSS", peak <= BUDGET * 1.25, peak)
        c.equal("nobody is killed", group.killed(), 0)
        c.check("it lives", server.alive())


def main():
    seconds = float(sys.argv[2]) * 60 if sys.argv[1:2] == ["--minutes"] else 8
    group = Group()
    if sanitized():
        group.remove()
        group.path = None
    try:
        c.run("small", small, group, seconds)
    finally:
        group.remove()
    c.finish()


if __name__ == "__main__":
    main()
