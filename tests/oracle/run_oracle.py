#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The query engine against a naive evaluator on random data and random queries.

A round is one server with many tenants, one data set each. The epochs of a data set are sent with a
restart between them that writes heads to blocks, so that traces lie in several parts. Every pair of
(data set, query) is asked several times: of heads and blocks mixed, of blocks, of merged blocks. The
answer expected is one and the same. Metrics queries are asked twice in a row, the second time of what
the server has kept of the first, and some again with a window that has moved, or with another step.

    run_oracle.py [PAIRS]              default 4000, one half from a fixed seed, one from the time
    SEED=n run_oracle.py 100000        one seed; JOBS=2 processes
    CASE=seed:tenant:query[:phase][@base]  asks one pair again; with SHRINK=1 a smaller one
"""
import copy
import json
import math
import multiprocessing
import os
import pathlib
import random
import re
import signal
import sys
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import client  # noqa: E402
import data  # noqa: E402
import evaluate  # noqa: E402
import generate  # noqa: E402
import lang  # noqa: E402
import metrics  # noqa: E402
import otlp  # noqa: E402
import shrink  # noqa: E402
from server import Server  # noqa: E402

FIXED_SEED = 20240601
SETS_PER_ROUND = 20
QUERIES_PER_SET = 100
PHASES = ("mixed", "blocks", "merged")
EXTRA = {
    "multitenancy_enabled": True,
    "ingester": {"flush_all_on_shutdown": True},
    "overrides": {"defaults": {"compaction": {"compaction_disabled": True}}},
    "backend_scheduler": {"provider": {"compaction": {"compaction": {"compaction_cycle": "1s", "compaction_window": "720h"}}}},
}


# ---- one pair ----

class Case:
    """A query with its parameters and the answer expected."""

    def __init__(self, number, seed, traces, base):
        self.number, self.traces = number, traces
        r = self.r = random.Random(seed)
        make = generate.Queries(r.getrandbits(64), traces)
        self.is_metric = r.random() < 0.35
        self.query = make.metrics() if self.is_metric else make.search()
        self.text = lang.Printer(random.Random(r.getrandbits(64))).query(self.query)
        self.fuzzy = False
        self.agent = "Grafana/11.0.0" if r.random() < 0.2 else "oracle"
        if self.is_metric:
            self.start = base + r.randint(-60, 250) * 10**9 + r.choice([0, 0, 17])
            self.end = self.start + r.choice([20, 60, 200, 400]) * 10**9 + r.choice([0, 999])
            self.step = r.choice([7, 10, 30, 60, 0.25, 3600]) if r.random() < 0.75 else None
            if self.step and (self.end - self.start) / 1e9 / self.step > 400:
                self.step = 10
            self.metrics_path()
            self.repeats = [self] + ([self.moved()] if r.random() < 0.4 else [])
        else:
            self.repeats = []
            self.limit = r.choice([1, 3, 20, 20, 20, 100])
            self.spss = r.choice([1, 3, 3, 100, 100])
            self.from_s, self.to_s = base // 10**9 - 10**6 // 2, base // 10**9 + 3600
            if r.random() < 0.3:
                t = r.choice(make.spans)
                self.from_s = max(1, r.choice([t.start, t.start + t.duration]) // 10**9 +
                                  r.randint(-30, 5))
                self.to_s = self.from_s + r.choice([1, 1, 5, 30, 200])
            self.path = client.path("search", q=self.text, limit=self.limit, spss=self.spss,
                                    start=self.from_s, end=self.to_s)

    def metrics_path(self):
        if self.step is None:
            self.start |= 1
            self.path = client.path("metrics/query", q=self.text, start=self.start, end=self.end)
        else:
            self.path = client.path("metrics/query_range", q=self.text, start=self.start,
                                    end=self.end, step=self.step)

    def moved(self):
        """The same question of another window, as a dashboard asks it."""
        c, r = copy.copy(self), self.r
        if self.step is None:
            c.start, c.end = c.start - r.choice([0, 5]) * 10**9, c.end + r.choice([0, 7]) * 10**9
        elif r.random() < 0.3:
            c.step = self.step * r.choice([2, 3])
        else:
            by = int(r.choice([0.3, 1, 2, 5]) * self.step * 1e9)
            c.start, c.end = c.start + r.choice([0, by, -by]), c.end + by
        c.metrics_path()
        c.repeats = []
        return c

    def expect(self):
        for c in self.repeats[1:]:
            c.expect()
        if self.is_metric:
            step = int(self.step * 1e9) if self.step else None
            self.want, self.times, self.error, self.fuzzy = metrics.metrics(
                self.query, self.traces, self.start, self.end, step)
        else:
            self.want, self.error = evaluate.search(self.query, self.traces, self.limit, self.spss,
                                                    self.from_s, self.to_s)
            if self.agent != "oracle":
                evaluate.one_type_per_key(self.want)
        return self.want

    def compare(self, status, body):
        """None when the answer is right, else what differs."""
        if status == 500 and self.error:
            return None
        if status != 200:
            return f"status {status}: {body[:300]!r}"
        if not self.is_metric:
            return differs_search(client.search_answer(body), self.want)
        got = client.range_answer(body, self.times) if self.step else client.instant_answer(body)
        if any(isinstance(labels, str) for labels, _ in got):
            return f"{got[0]}"
        if self.fuzzy:
            return differs_top(got, self.want, self.query.metric["top"] or 10)
        return differs_series(got, self.want)


def near(a, b):
    if a is None or b is None:
        return a is b
    return a == b or (a != a and b != b) or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)


def same(a, b):
    """Equal, but for the last digits of doubles."""
    if isinstance(a, float) or isinstance(b, float):
        return isinstance(a, (int, float)) and isinstance(b, (int, float)) and near(a, b)
    if isinstance(a, (list, tuple)):
        return isinstance(b, (list, tuple)) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return a == b


def differs_search(got, want):
    if [t["id"] for t in got] != [t["id"] for t in want]:
        return f"traces {[t['id'] for t in got]}, want {[t['id'] for t in want]}"
    for g, w in zip(got, want):
        if w["ms"] >= 2**32:
            g["ms"] = w["ms"]
        if not same(g, w):
            return f"trace {g['id']}{first_difference(g, w)}"
    return None


def first_difference(g, w, where=""):
    """The innermost place where two answers differ."""
    if isinstance(g, dict) and isinstance(w, dict) and g.keys() == w.keys():
        for k in w:
            if not same(g[k], w[k]):
                return first_difference(g[k], w[k], f"{where}.{k}")
    if isinstance(g, (list, tuple)) and isinstance(w, (list, tuple)) and len(g) == len(w):
        for i, (a, b) in enumerate(zip(g, w)):
            if not same(a, b):
                return first_difference(a, b, f"{where}[{i}]")
    return f"{where}\n  got  {g}\n  want {w}"


def differs_series(got, want):
    if [k for k, _ in got] != [k for k, _ in want] and \
            not same([k for k, _ in got], [k for k, _ in want]):
        a, b = [k for k, _ in got], [k for k, _ in want]
        i = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
        return (f"series: too many {[k for k in a if k not in b]}, too few "
                f"{[k for k in b if k not in a]}, or from {i} on another order\n"
                f"  got  {a[i:i + 3]}\n  want {b[i:i + 3]}")
    for (labels, g), (_, w) in zip(got, want):
        if len(g) != len(w) or not all(map(near, g, w)):
            return f"series {labels}\n  got  {g}\n  want {w}"
    return None


def differs_top(got, want, top):
    """compare() with more values than it shows: any of those with equal totals may be left out."""
    def split(series):
        groups = {}
        for labels, values in series:
            if labels[0][1][1].endswith("_total"):
                groups[labels] = [[-1.0 if v is None else float(v) for v in values]]
            else:
                groups.setdefault((labels[0], labels[1][0]), []).append(float(sum(v or 0 for v in values)))
        return {repr(k): sorted(map(repr, v)) for k, v in groups.items()}
    g, w = split(got), split(want)
    return None if g == w else f"top values{first_difference(g, w)}"


# ---- a round ----

class Round:
    def __init__(self, seed, n_sets, n_queries, base=None):
        self.seed, self.sets = seed, []
        # A multiple of an hour would hide mistakes in alignment; data lies within retention.
        self.base = base or (int(time.time()) - 2 * 3600) // 600 * 600 * 10**9
        for i in range(n_sets):
            epochs = data.Generator(seed * 1000 + i, self.base).data_set()
            traces = data.assemble(epochs)
            cases = [Case(k, (seed * 1000 + i) * 100000 + k, traces, self.base)
                     for k in range(n_queries)]
            self.sets.append((f"t{i}", epochs, traces, cases))
        self.failures, self.matched, self.asked = [], 0, 0

    def expect(self):
        for tenant, _, _, cases in self.sets:
            for c in cases:
                try:
                    self.matched += bool(c.expect())
                except Exception:
                    print(f"{tenant} {c.number}: {c.text}", file=sys.stderr)
                    raise

    def send(self, server, epoch):
        c = client.Client(server.otlp_http)
        for tenant, epochs, _, _ in self.sets:
            for send in epochs[epoch] if epoch < len(epochs) else []:
                c.send("POST", "/v1/traces", tenant, otlp.request_pb(data.request(send)))
                status, body = c.receive()
                if status != 200 or body not in (b"", b"\n\0"):
                    raise AssertionError(f"{tenant}: not stored: {status} {body[:200]!r}")
        c.close()

    def ask(self, server, phase):
        c = client.Client(server.http_port)
        for tenant, _, _, cases in self.sets:
            cases = [x for case in cases for x in [case] + case.repeats]
            for case, (status, body) in zip(cases, c.ask([(x.path, x.agent) for x in cases], tenant)):
                self.asked += 1
                problem = case.compare(status, body)
                if problem:
                    self.failures.append((tenant, case.number, phase, case.text, case.path, problem))
        c.close()

    def warm(self, server):
        """Answers about what was sent so far, not judged: what is kept of them must not be taken for
        answers once traces of these blocks have gone on elsewhere."""
        c = client.Client(server.http_port)
        for tenant, _, _, cases in self.sets:
            for _ in c.ask([(x.path, x.agent) for x in cases if x.is_metric], tenant):
                pass
        c.close()

    def merge(self, server):
        server.stop(limit=20)
        server.config["overrides"]["defaults"]["compaction"]["compaction_disabled"] = False
        server.start(timeout=20)
        wait_merged(server)

    def run(self, phases=PHASES):
        with Server(EXTRA) as server:
            for epoch in range(3):
                if epoch:
                    server.stop(limit=20)
                    server.start(timeout=20)
                    self.warm(server)
                self.send(server, epoch)
            if "mixed" in phases:
                self.ask(server, "mixed")
            server.stop(limit=20)
            server.start(timeout=20)
            if "blocks" in phases:
                self.ask(server, "blocks")
            if "merged" in phases:
                self.merge(server)
                self.ask(server, "merged")
        return self


def wait_merged(server):
    """Until merging has had nothing to do for a while."""
    last, since, end = -1, time.monotonic(), time.monotonic() + 15
    while time.monotonic() < end and time.monotonic() - since < 1.5:
        n = len(list(server.data_dir.rglob("*.block")))
        if n != last:
            last, since = n, time.monotonic()
        time.sleep(0.1)


# ---- running ----

def one_round(args):
    seed, n_sets, n_queries = args
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    began = time.monotonic()
    r = Round(seed, n_sets, n_queries)
    r.expect()
    evaluated = time.monotonic() - began
    r.run()
    return seed, n_sets * n_queries, r.failures, r.matched, r.asked, r.base, evaluated, \
        time.monotonic() - began


class Again:
    """A round of one pair, on data and a query that may have become smaller."""

    def __init__(self, whole, phases):
        self.whole, self.phases = whole, phases
        self.tenant, self.epochs, _, cases = whole.sets[0]
        self.case = cases[0]

    def fails(self, epochs, query):
        case = copy.copy(self.case)
        case.query, case.text, case.traces = query, lang.Printer().query(query), data.assemble(epochs)
        case.path = re.sub(r"q=[^&]*", lambda _: urllib.parse.urlencode({"q": case.text}),
                           case.path, count=1)
        case.repeats = [case] if case.repeats else []
        self.whole.sets, self.whole.failures = [(self.tenant, epochs, case.traces, [case])], []
        try:
            case.expect()
            self.whole.run(self.phases)
        except AssertionError:
            return False
        self.shown = case
        return any("status 400" not in f[5] for f in self.whole.failures)


def replay(case):
    text, _, base = case.partition("@")
    seed, tenant, number, *phases = text.split(":")
    r = Round(int(seed), SETS_PER_ROUND, QUERIES_PER_SET, int(base) if base else None)
    r.sets = [(t, epochs, traces, [c for c in cases if c.number == int(number)])
              for t, epochs, traces, cases in r.sets if t == tenant]
    r.expect()
    r.run(phases or PHASES)
    again = Again(r, phases or PHASES)
    failures = r.failures
    print(again.case.text, "\n", again.case.path)
    if failures and os.environ.get("SHRINK"):
        epochs, query = shrink.shrink(again.epochs, again.case.query, again.fails, 300)
        again.fails(epochs, query)
        print("smaller:", again.shown.text)
        for i, sends in enumerate(epochs):
            for send in sends:
                print(f"epoch {i}:", json.dumps(data.request(send), ensure_ascii=False))
        failures = r.failures
    for f in failures:
        print(f[2], f[5])
    print(f"{r.asked - len(failures)} passed, {len(failures)} failed")


def main():
    if os.environ.get("CASE"):
        return replay(os.environ["CASE"])
    pairs = int(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("PAIRS", 4000))
    seed = int(os.environ.get("SEED", 0))
    per = SETS_PER_ROUND * QUERIES_PER_SET
    rounds = max(1, -(-pairs // per))
    second = seed or int(time.time())
    seeds = [FIXED_SEED + i if not seed and i < (rounds + 1) // 2 else second + i
             for i in range(rounds)]
    print(f"seeds {seeds[0]}.. and {second}.. ({rounds} rounds of {per} pairs)", flush=True)
    began, failed, done, matched, asked = time.monotonic(), [], 0, 0, 0
    with multiprocessing.Pool(int(os.environ.get("JOBS", 2))) as pool:
        for s, n, failures, hit, a, base, evaluated, took in pool.imap_unordered(
                one_round, [(s, SETS_PER_ROUND, QUERIES_PER_SET) for s in seeds]):
            done, matched, asked = done + n, matched + hit, asked + a
            failed += failures
            print(f"seed {s}: {n} pairs, {len(failures)} differences, evaluated in "
                  f"{evaluated:.1f} s, all in {took:.1f} s", flush=True)
            for f in failures[:int(os.environ.get("SHOW", 8))]:
                print(f"CASE={s}:{f[0]}:{f[1]}:{f[2]}@{base}\n  {f[3]}\n  {f[5]}", flush=True)
    seconds = time.monotonic() - began
    bad = len({f[:2] for f in failed})
    print(f"{done} pairs asked {asked} times in {seconds:.0f} s, {matched} expect an answer that is "
          f"not empty")
    print(f"{done - bad} passed, {bad} failed")
    return 1 if bad or not done else 0


if __name__ == "__main__":
    sys.exit(main())
