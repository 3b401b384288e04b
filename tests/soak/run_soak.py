#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A server that works for long: nothing lost through restarts, nothing grows.

run_soak.py [--minutes 0.5] [--share 0.3] [--tenants 50] [--restarts 2] [--retention 8] [--plant NAME]

Senders measure for a moment how much they can get rid of, then send a share of that, OTLP over HTTP with
retry as an SDK does, while a mix of queries runs and the server is restarted: by SIGTERM, every other time
by SIGKILL. A ledger says what was acked. Looked at every half second: resident memory, descriptors,
threads, disk; the latency of queries. Judged: every acked request that retention cannot have taken is
there in full, no query fails outside of restarts, and the bounds below hold. Without arguments: half a
minute, then short runs with a planted growth each, which must be reported. --minutes 1440 is the long
form; only from half an hour on are slopes by the hour judged, before that they are noise.
"""
import argparse
import http.client
import os
import pathlib
import random
import shutil
import statistics
import struct
import sys
import threading
import time
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
from otlp import attrs, request_pb  # noqa: E402
from server import Server, ServerError  # noqa: E402

SPANS = 40           # of a request, all of one trace
SENDERS, ASKERS = 4, 2
SAMPLE_SECONDS = 0.5
SLACK_SECONDS = 12   # beyond the period: a block's window, flush and passes, a restart
LONG_MINUTES = 30    # from here on slopes are judged
RSS_PER_HOUR, P99_DRIFT, DISK_FACTOR = 0.01, 0.10, 1.2
TRACE, START, END = b"TTTTTTTTTTTTTTTT", b"SSSSSSSS", b"EEEEEEEE"  # placeholders of the body
NOISE = b"N" * 2000  # what does not compress, so that growth on disk shows
PLANTS = ("fd", "memory", "disk", "lost")


def template():
    """A request body to put a trace id and the time into."""
    mark = int.from_bytes(START, "little"), int.from_bytes(END, "little")
    spans = [{"traceId": TRACE.hex(), "spanId": f"{n + 1:016x}",
              "parentSpanId": "" if n == 0 else f"{(n + 1) // 2:016x}", "name": f"op-{n % 9}",
              "kind": 1 + n % 5, "startTimeUnixNano": str(mark[0]), "endTimeUnixNano": str(mark[1]),
              "attributes": attrs({"http.route": f"/route/{n % 7}", "http.status_code": 200 + n % 3,
                                   "n": n, "user": f"user-{n * 7 % 100}",
                                   **({} if n % 10 else {"noise": NOISE.decode()})})}
             for n in range(SPANS)]
    return request_pb({"resourceSpans": [{
        "resource": {"attributes": attrs({"service.name": "soak"})},
        "scopeSpans": [{"scope": {"name": "soak"}, "spans": spans}]}]})


class Soak:
    def __init__(self, args, minutes, plant=None):
        self.args, self.plant, self.seconds = args, plant, minutes * 60
        self.long = minutes >= LONG_MINUTES
        self.random = random.Random(args.seed)
        self.tenants = [f"tenant-{n}" for n in range(args.tenants)]
        self.problems = []
        self.acked = []      # (number, tenant, time of the first try), in order of the acks
        self.retries = 0
        self.next = 0
        self.lock = threading.Lock()
        self.stop = threading.Event()
        self.up = threading.Event()
        self.rate = None     # requests a second of one sender; None: as fast as it goes
        self.samples = []    # (time, life, RSS MiB, descriptors, threads, disk MiB)
        self.latency = []    # (time, seconds)
        self.life = 0
        self.started = self.stopped = 0.0  # the slowest
        self.asked = self.checked = 0
        self.leaked = []
        keep = 86400 if plant == "disk" else args.retention
        self.server = Server({
            "multitenancy_enabled": True,
            "live_store": {"max_block_duration": f"{max(args.retention / 8, 1)}s",
                           "flush_check_period": "200ms"},
            "backend_scheduler": {"provider": {
                "retention": {"interval": "1s"},
                "compaction": {"compaction": {"compaction_cycle": "1s", "block_retention": f"{keep}s",
                                              "compaction_window": f"{max(keep // 4, 2)}s"}}}},
            "overrides": {"defaults": {"ingestion": {"rate_limit_bytes": 10**10,
                                                     "burst_size_bytes": 10**10,
                                                     "max_traces_per_user": 0},
                                       "global": {"max_bytes_per_trace": 0}}}})

    def problem(self, text):
        with self.lock:
            if text not in self.problems and len(self.problems) < 30:
                self.problems.append(text)

    # ---- senders ----

    def trace(self, number):
        return struct.pack(">QQ", self.args.seed | 1 << 62, number)

    def send_for_ever(self):
        body = template()
        conn = http.client.HTTPConnection("127.0.0.1", self.server.otlp_http, timeout=20)
        due = time.monotonic()
        while not self.stop.is_set():
            with self.lock:
                number = self.next
                self.next += 1
            tenant = self.tenants[number % len(self.tenants)]
            first = time.time()
            now = struct.pack("<Q", int(first * 1e9)), struct.pack("<Q", int(first * 1e9) + 10**6)
            data = body.replace(TRACE, self.trace(number)).replace(START, now[0]).replace(END, now[1])
            while NOISE in data:
                data = data.replace(NOISE, os.urandom(len(NOISE) // 2).hex().encode(), 1)
            while not self.send(conn, tenant, data):
                self.retries += 1
                if self.stop.wait(0.1):
                    return
            with self.lock:
                self.acked.append((number, tenant, first))
            if self.rate:
                due = max(due + 1 / self.rate, time.monotonic() - 1)
                self.stop.wait(max(due - time.monotonic(), 0))

    def send(self, conn, tenant, data):
        try:
            conn.request("POST", "/v1/traces", data, {"Content-Type": "application/x-protobuf",
                                                      "X-Scope-OrgID": tenant})
            answer = conn.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            conn.close()
            return False
        if answer.status == 200 and text not in (b"", b"\x0a\x00"):
            self.problem(f"partial answer {text!r}")
        elif answer.status not in (200, 429, 502, 503, 504):
            self.problem(f"HTTP {answer.status} to a sender: {text[:100]!r}")
        return answer.status == 200

    # ---- queries ----

    def ask_for_ever(self):
        def search(q):
            return "/api/search?" + urllib.parse.urlencode({"q": q, "limit": 20})
        paths = [search("{ span.http.route = `/route/3` }"), search("{ duration > 1s }"),
                 search("{ span.n > 30 } >> { span.n < 5 }"), "/api/v2/search/tags",
                 "/api/v2/search/tag/.user/values",
                 "/api/metrics/query_range?" + urllib.parse.urlencode(
                     {"q": "{} | rate() by (name)", "since": f"{self.args.retention}s"})]
        conn = http.client.HTTPConnection("127.0.0.1", self.server.http_port, timeout=20)
        starts = self.server.starts
        while not self.stop.is_set():
            self.asked += 1
            if starts != self.server.starts:  # kept from before a restart: of no use
                starts = self.server.starts
                conn.close()
            path, tenant = paths[self.asked % len(paths)], self.random.choice(self.tenants)
            if self.asked % 3 == 0 and self.acked:  # what was acked is there
                reach = int((self.rate or 1) * SENDERS * max(self.args.retention - 2, 1))
                number, tenant, first = self.acked[-1 - self.random.randrange(
                    min(len(self.acked), reach + 1))]
                path = None
            was_up, began = self.up.is_set(), time.monotonic()
            try:
                if path is None:
                    self.look_at(conn, number, tenant, first)
                else:
                    status, _ = self.get(conn, tenant, path)
                    if status >= 500 and was_up and self.up.is_set():
                        self.problem(f"HTTP {status} to {path}")
                if was_up and self.up.is_set():
                    self.latency.append((time.time(), time.monotonic() - began))
            except (OSError, http.client.HTTPException) as e:
                conn.close()
                if was_up and self.up.is_set() and not self.stop.is_set() and starts == self.server.starts:
                    self.problem(f"a query failed between restarts: {type(e).__name__} {e}")
            self.stop.wait(0.05)

    @staticmethod
    def get(conn, tenant, path):
        conn.request("GET", path, headers={"X-Scope-OrgID": tenant})
        answer = conn.getresponse()
        return answer.status, answer.read()

    def look_at(self, conn, number, tenant, first):
        """An acked request by its trace id, if retention cannot have come near it yet."""
        if time.time() - first > self.args.retention - 2:
            return
        status, data = self.get(conn, tenant, f"/api/v2/traces/{self.trace(number).hex()}")
        if time.time() - first > self.args.retention - 1 or status >= 500:
            return
        self.checked += 1
        found = data.count(b'"spanId"')
        if found != SPANS:
            self.problem(f"LOST: request {number} of {tenant}, acked {time.time() - first:.1f} s ago: "
                         f"{found} spans of {SPANS}")

    def look_at_all(self):
        """At the end: all that is young enough; and of all that is too old nothing."""
        conn = http.client.HTTPConnection("127.0.0.1", self.server.http_port, timeout=30)
        young = [a for a in self.acked if time.time() - a[2] < self.args.retention - 3]
        for number, tenant, first in self.random.sample(young, min(len(young), 2000)):
            self.look_at(conn, number, tenant, first)
        old = [a for a in self.acked
               if time.time() - a[2] > self.args.retention + SLACK_SECONDS]
        for number, tenant, first in self.random.sample(old, min(len(old), 300)):
            _, data = self.get(conn, tenant, f"/api/v2/traces/{self.trace(number).hex()}")
            if b'"spanId"' in data and self.plant != "disk":
                self.problem(f"TOO OLD: request {number} of {tenant}, {time.time() - first:.0f} s")
        conn.close()

    # ---- samples ----

    def sample_for_ever(self):
        while not self.stop.wait(SAMPLE_SECONDS):
            try:
                pid, life = self.server.pid, self.life
                fds = len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))
                threads = len(list(pathlib.Path(f"/proc/{pid}/task").iterdir()))
                rss = self.server.memory_mib()
                if self.plant == "memory":
                    rss += 2 * len(self.samples)
                if self.plant == "fd":  # a connection is a descriptor of the server's
                    for _ in range(3):
                        c = http.client.HTTPConnection("127.0.0.1", self.server.http_port)
                        c.connect()
                        self.leaked.append(c)
                disk = sum(self.server.disk_bytes()) / 2**20
                if self.up.is_set() and life == self.life and rss > 0:
                    self.samples.append((time.time(), life, rss, fds, threads, disk))
            except OSError:
                pass  # between two lives, or a file that went away

    # ---- the run ----

    def restart(self):
        self.up.clear()
        if self.life % 2:
            self.server.kill()
        else:
            self.stopped = max(self.stopped, self.server.stop())
        self.life += 1
        self.started = max(self.started, self.server.start(timeout=30))
        self.up.set()

    def restart_at(self, n):
        """Evenly; in a short run early, so that there is a steady time after them."""
        if n == self.args.restarts:
            return self.seconds
        return self.seconds * (n + 1) / (self.args.restarts + 1) * (1 if self.long else 0.5)

    def run(self):
        work = [threading.Thread(target=self.send_for_ever, daemon=True) for _ in range(SENDERS)]
        others = [threading.Thread(target=self.ask_for_ever, daemon=True) for _ in range(ASKERS)]
        others.append(threading.Thread(target=self.sample_for_ever, daemon=True))
        try:
            self.server.start()
            self.up.set()
            began = time.time()
            for t in work:
                t.start()
            time.sleep(2)
            self.rate = max(len(self.acked) / 2 * self.args.share / SENDERS, 0.5)
            for t in others:
                t.start()
            for n in range(self.args.restarts + 1):
                end = began + self.restart_at(n)
                time.sleep(max(end - time.time(), 0))
                if n < self.args.restarts:
                    self.restart()
            if self.plant == "lost":
                self.acked.append((10**9, self.tenants[0], time.time() + 5))
            self.stop.set()
            for t in work + others:
                t.join(30)
            self.look_at_all()
            for c in self.leaked:
                c.close()
            self.stopped = max(self.stopped, self.server.stop())
            status, text = self.server.fsck()
            if status != 0:
                self.problem(f"fsck: exit {status}\n{text[-1000:]}")
            for line in self.server.findings():
                self.problem(line)
        except ServerError as e:
            self.problem(str(e))
            self.stop.set()
        finally:
            if self.server.alive():
                self.server.kill()
            self.judge()
            shutil.rmtree(self.server.folder, ignore_errors=True)
        return self

    # ---- judging ----

    def steady(self):
        """Samples after the warm-up: retention has deleted for a while, the life is not new."""
        if not self.samples:
            return []
        warm = self.samples[0][0] + self.args.retention + SLACK_SECONDS / 2
        born = {}
        for s in self.samples:
            born.setdefault(s[1], s[0])
        settle = min(0.2 * self.seconds / (self.args.restarts + 1), 600)
        return [s for s in self.samples if s[0] > warm and s[0] > born[s[1]] + settle and
                (self.long or s[1] == self.life)]

    def growth(self, name, column, slack, factor):
        """Of medians: the last third of the steady time against the third before the middle."""
        s = self.steady()
        if len(s) < 6:
            self.problem(f"{name}: {len(s)} samples in the steady time: too short a run")
            return
        third = len(s) // 3
        early = statistics.median(x[column] for x in s[:third])
        late = statistics.median(x[column] for x in s[-third:])
        if late > early * factor + slack:
            self.problem(f"GROWS: {name} from {early:.1f} to {late:.1f}")

    def slope(self, column):
        """By the hour, as a share of the mean; a line through the samples of all lives."""
        s = self.steady()
        t0, mean = s[0][0], statistics.mean(x[column] for x in s)
        slope, _ = statistics.linear_regression([(x[0] - t0) / 3600 for x in s],
                                                [x[column] for x in s])
        return slope / mean

    def p99(self, part):
        """Of the first or the last third of the steady queries."""
        warm = self.samples[0][0] + self.args.retention
        values = [v for t, v in self.latency if t > warm]
        third = values[:len(values) // 3] if part == 0 else values[-(len(values) // 3):]
        return sorted(third)[int(len(third) * 0.99)] if len(third) > 20 else 0.0

    def judge(self):
        if not self.samples:
            self.problem("no samples")
            return
        self.growth("descriptors", 3, 12, 1.1)
        self.growth("threads", 4, 1, 1.0)
        self.growth("resident memory, MiB", 2, 8, 1.15)
        s = self.steady()
        if len(s) >= 6:
            middle = statistics.median(x[5] for x in s)
            top = max(x[5] for x in s)
            # Short runs: an output beside its inputs is much of a small store.
            if top > middle * (DISK_FACTOR if self.long else 1.5) + (0 if self.long else 4):
                self.problem(f"GROWS: disk to {top:.1f} MiB, {middle:.1f} in the middle")
            self.growth("disk, MiB", 5, 0.5, DISK_FACTOR)
        if self.long:
            if self.slope(2) > RSS_PER_HOUR:
                self.problem(f"GROWS: resident memory by {100 * self.slope(2):.2f} % an hour")
            if self.p99(1) > self.p99(0) * (1 + P99_DRIFT) + 0.002:
                self.problem(f"SLOWER: p99 {1000 * self.p99(0):.1f} ms, then {1000 * self.p99(1):.1f}")
        if self.checked < 20:
            self.problem(f"only {self.checked} requests looked at: the run proves too little")

    def tell(self):
        s = self.steady() or self.samples
        if not s:
            return "no samples"

        def of(column):
            return statistics.median(x[column] for x in s), max(x[column] for x in s)
        hour = f", RSS {100 * self.slope(2):+.2f} %/h" if self.long else ""
        return ("{} requests of {} spans acked ({} tries again), {} looked at, {} queries, {} restarts "
                "(slowest start {:.2f} s, stop {:.2f}); RSS {:.0f} MiB (most {:.0f}), {:.0f} descriptors ({:.0f}), {:.0f} threads ({:.0f}), "
                "disk {:.1f} MiB ({:.1f}), p99 {:.0f} then {:.0f} ms{}".format(
                    len(self.acked), SPANS, self.retries, self.checked, self.asked, self.life,
                    self.started, self.stopped,
                    *of(2), *of(3), *of(4), *of(5), 1000 * self.p99(0), 1000 * self.p99(1), hour))


def one(args, minutes, plant=None):
    run = Soak(args, minutes, plant).run()
    print(f"{plant or 'soak'}, {minutes:.2f} min: {run.tell()}", flush=True)
    return run.problems


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--share", type=float, default=0.3, help="of what the senders reach")
    parser.add_argument("--tenants", type=int, default=50)
    parser.add_argument("--restarts", type=int, default=None, help="default: 2, or one an hour")
    parser.add_argument("--retention", type=int, default=None, help="s; default: 5, or a tenth")
    parser.add_argument("--plant", choices=PLANTS)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    args = parser.parse_args()
    print(f"seed {args.seed}")
    if args.restarts is None:
        args.restarts = max(int(args.minutes / 60), 2)
    if args.retention is None:
        args.retention = min(max(int(args.minutes * 6), 6), 3600)
    if args.minutes:
        problems = one(args, args.minutes, args.plant)
        for p in problems:
            print("FAIL " + p)
        print(f"{0 if problems else 1} passed, {len(problems)} failed")
        return 1 if problems else 0
    passed = failed = 0
    problems = one(args, 0.5)
    for p in problems:
        print("FAIL " + p)
    passed, failed = passed + (not problems), failed + bool(problems)
    args.restarts, args.tenants, args.retention = 0, 10, 4
    words = {"fd": "descriptors", "memory": "resident", "disk": "disk", "lost": "LOST"}
    results = {}
    threads = [threading.Thread(target=lambda p=p: results.update({p: one(args, 0.4, p)}))
               for p in PLANTS]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for plant, word in words.items():
        caught = any(word in p for p in results[plant])
        print(f"plant {plant}: {'reported' if caught else 'NOT REPORTED'}")
        passed, failed = passed + caught, failed + (not caught)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
