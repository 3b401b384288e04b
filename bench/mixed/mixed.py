#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ingest at 70 % of the maximum and ten people asking at once, for ten minutes: what each does to the other.

mixed.py [--minutes 10] [--clients 10] [--pause-ms 500] [--share 0.7] [--traces 45000] [--budget-mib N] [--vivace build/vivace]

1. half a million spans that end 20 minutes ago are sent and written to blocks, and the server is started again; 2. --clients ask the questions of
bench/queries.py and for traces by id, each in an order of its own with a pause of --pause-ms on average between two, and nothing else
happens but for a few spans that are still in memory; 3. the maximum: requests of 500 spans over 8 connections, as fast as answered, for half a
minute, and the time that all cores take for what is left to flush and merge then; 4. --share of it alone; 5. both for --minutes.

All go to one tenant. The questions are about those first spans, so that their answers are the same before and during: what differs is the
machine being shared, heads and new blocks to be passed over, and caches being used by others. `newest` questions have no time range and meet
the spans that just came.

Clients and server share the cores, nothing is pinned: `cores` says what each used of them. The maximum is what the server takes while the sender
runs beside it; what the askers cost is taken off it first (as measured in 2.), so that --share is a share of what is left for server and
sender. The last lines judge: exit status 1 when a promise is not kept. Two minutes tell the same as ten but for what grows slowly; under a
minute nothing is judged. On a machine that does other work besides only the memory means something.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
import pathlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "latency"))
from lab import BUILD, TOP, Lab, build_loadgen, corpus, line  # noqa: E402
from queries import queries  # noqa: E402

AGE = 20 * 60
ALONE = 15  # seconds of ingest alone
REST = 40  # seconds with next to no CPU: a cycle of the server's ticker has passed
BUDGETS = re.compile(r'^vivace_memory_budget_bytes\{budget="([^"]*)",parent="[^"]*"\} (\S+)$', re.M)
CAP = re.compile(r'^vivace_memory_budget_(cap_bytes|refused)\{budget="([^"]*)",parent="[^"]*"\} (\S+)$', re.M)
ALLOCATOR = re.compile(r"^vivace_memory_(allocated|kept)_bytes (\S+)$", re.M)
WAIT = re.compile(r'^vivace_(query|ingest)_wait_seconds_bucket\{step="([^"]*)",le="([^"]*)"\} (\S+)$', re.M)
FLAT = 1.15  # RSS, last quarter over second
FELT_MS = 10  # a p99 below it is good whatever it was before: the kernel's time slices are 3 - 4 ms


class Memory(threading.Thread):
    """RSS of the server, twice a second; once a minute (quarter of a short run) a row that says what it is."""

    def __init__(self, server, seconds):
        super().__init__(daemon=True)
        self.server, self.samples, self.over = server, [], threading.Event()
        self.period = min(60, seconds / 4)

    def run(self):
        began, told = time.monotonic(), 0
        while not self.over.wait(0.5):
            now = time.monotonic() - began
            self.samples.append(self.server.memory_mib())
            if now >= (told + 1) * self.period:
                told += 1
                self.tell(round(now / 60, 2))

    def tell(self, minute):
        text = page(self.server)
        parts = {name: mib(value) for name, value in BUDGETS.findall(text) if float(value) >= 1 << 20}
        line(minute=minute, rss_mib=round(self.samples[-1], 1), peak_mib=round(max(self.samples), 1), budgets_mib=parts,
             **{name + "_mib": mib(value) for name, value in ALLOCATOR.findall(text)})

    def end(self):
        """(peak, mean of the second quarter, mean of the last quarter), MiB."""
        self.over.set()
        self.join()
        quarter = max(len(self.samples) // 4, 1)
        return max(self.samples), sum(self.samples[quarter:2 * quarter]) / quarter, sum(self.samples[-quarter:]) / quarter


def mib(value):
    return round(float(value) / 2**20, 1)


def page(server):
    with urllib.request.urlopen(server.url + "/metrics", timeout=60) as answer:
        return answer.read().decode()


def budget_mib(server):
    """What the process may use: the queries' cap is a quarter of it."""
    caps = {name: float(value) for what, name, value in CAP.findall(page(server)) if what == "cap_bytes"}
    return caps["queries"] * 4 / 2**20


def refusals(server):
    return {name: int(float(value)) for what, name, value in CAP.findall(page(server)) if what == "refused" and float(value) > 0}


def waits(server):
    """What queries and appends waited for since the start: {(query or ingest, step): {bound in seconds: how many waited no longer}}."""
    out = {}
    for what, step, bound, n in WAIT.findall(page(server)):
        out.setdefault((what, step), {})[float(bound)] = float(n)
    return out


def report_waits(before, after):
    for key, now in sorted(after.items()):
        counts = {bound: n - before.get(key, {}).get(bound, 0) for bound, n in now.items()}
        total = counts[float("inf")]
        longer = {f"over_{bound:g}_s": round(total - counts[bound]) for bound in (0.01, 0.1, 1) if bound in counts}
        line(waited=key[0], step=key[1], n=round(total), **longer)


def kind_of(name, path):
    if "/traces/" in path:
        return "trace by id"
    if "/tag" in path:
        return "tags"
    if "query_range" in path:
        return "metrics"
    return "search, many results" if "limit=1000" in path else "search"


def questions(ids, end):
    out = [{"name": name, "path": path + "?" + urllib.parse.urlencode(params)} for name, (path, params) in queries(end).items()]
    out += [{"name": "trace by id", "path": "/api/traces/" + i} for i in ids]
    out += [{"name": "newest 20", "path": "/api/search?limit=20"},
            {"name": "newest errors of cart", "path": "/api/search?" + urllib.parse.urlencode(
                {"q": '{ resource.service.name = "cart" && status = error }', "limit": 20})}]
    for q in out:
        q["kind"] = kind_of(**q)
    path = BUILD / "mixed-queries.json"
    path.write_text(json.dumps(out), encoding="utf-8")
    return path


def prepare(lab, a):
    """The spans that are asked for: sent and flushed. Returns the file of questions."""
    end = int(time.time()) - AGE
    base = corpus("mixed-base", a.traces, 500, minutes=30, end=end)
    ids = subprocess.run([build_loadgen(), "ids", base], check=True, capture_output=True, text=True).stdout.split()
    subprocess.run([build_loadgen(), "send", "-file", base, "-addr", f"127.0.0.1:{lab.server.otlp_grpc}"], check=True, stdout=sys.stderr)
    lab.server.stop(limit=60)  # which writes what is in memory
    lab.server.start()
    return questions(ids[::max(len(ids) // 10, 1)][:10], end)


def ask(lab, a, file, seconds):
    return lab.command("query", file=file, addr=f"127.0.0.1:{lab.server.http_port}", clients=a.clients, seconds=seconds, pause_ms=a.pause_ms)


def asked(command):
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def ratio(a, b):
    return round(a / b, 2) if b else None


def pairs(idle, loaded, label):
    for name, after in sorted(loaded.items()):
        before = idle.get(name)
        if before:
            line(**{label: name}, n=after["n"], loaded_p50_ms=after["p50_ms"], loaded_p99_ms=after["p99_ms"], idle_n=before["n"], idle_p50_ms=before["p50_ms"],
                 idle_p99_ms=before["p99_ms"], p50_ratio=ratio(after["p50_ms"], before["p50_ms"]), p99_ratio=ratio(after["p99_ms"], before["p99_ms"]))


def report_queries(idle, loaded):
    pairs(idle["by"], loaded["by"], "question")
    pairs(idle["by_kind"], loaded["by_kind"], "kind")
    rows = sorted(ratio(after["p99_ms"], idle["by"][n]["p99_ms"]) or 0 for n, after in loaded["by"].items() if n in idle["by"])
    line(result="mixed: p99 of queries, loaded over idle", value=ratio(loaded["all"]["p99_ms"], idle["all"]["p99_ms"]), unit="ratio", better="less",
         idle=idle["all"], loaded=loaded["all"], median_of_questions=rows[len(rows) // 2], worst_of_questions=rows[-1],
         failed=[idle["failed"], loaded["failed"]], refused=[idle["refused"], loaded["refused"]], first_error=loaded.get("first_error"))


def report_ingest(a, most, rate, alone, sent):
    line(result="mixed: spans/s taken of those due", value=round(sent["requests_per_s"] / rate, 3), unit="ratio", better="more",
         spans_per_s=round(sent["spans_per_s"]), maximum_spans_per_s=round(most), share=a.share, minutes=a.minutes,
         refused=sent["refused"], broken=sent["broken"], first_error=sent.get("first_error"))
    line(result="mixed: ack p99 ms", value=round(sent["p99_ms"], 2), unit="ms", better="less", p50_ms=sent["p50_ms"], p999_ms=sent["p999_ms"],
         max_ms=sent["max_ms"], over_100_ms=sent["over_100_ms"], alone_p50_ms=alone["p50_ms"], alone_p99_ms=alone["p99_ms"],
         alone_max_ms=alone["max_ms"])


def judge(a, rows):
    """rows: (what is promised, kept, figures)."""
    if a.minutes < 1:
        return True
    for what, kept, figures in rows:
        line(promise=what, kept=kept, **figures)
    return all(kept for _, kept, _ in rows)


def promises(rate, budget, idle, loaded, alone, sent, memory):
    peak, early, late = memory
    out = [(f"queries: p99 of {name} at most 3 times that of idle", after["p99_ms"] <= max(3 * idle["by_kind"][name]["p99_ms"], FELT_MS),
            {"idle_ms": idle["by_kind"][name]["p99_ms"], "loaded_ms": after["p99_ms"]}) for name, after in sorted(loaded["by_kind"].items())]
    out.append(("queries: p99 of all at most 3 times that of idle", loaded["all"]["p99_ms"] <= 3 * idle["all"]["p99_ms"],
                {"idle_ms": idle["all"]["p99_ms"], "loaded_ms": loaded["all"]["p99_ms"]}))
    out.append(("queries: none fails", loaded["failed"] == 0, {"failed": loaded["failed"], "refused": loaded["refused"]}))
    out.append(("ingest: what is due is taken, nothing refused", sent["requests_per_s"] >= 0.98 * rate and sent["refused"] == sent["broken"] == 0,
                {"due_per_s": round(rate, 1), "taken_per_s": round(sent["requests_per_s"], 1), "refused": sent["refused"], "broken": sent["broken"]}))
    out.append(("ingest: p99 of acks at most 3 times that without queries", sent["p99_ms"] <= max(3 * alone["p99_ms"], FELT_MS),
                {"alone_ms": alone["p99_ms"], "loaded_ms": sent["p99_ms"]}))
    out.append(("memory: RSS is flat", late <= FLAT * early, {"second_quarter_mib": round(early, 1), "last_quarter_mib": round(late, 1)}))
    out.append(("memory: peak RSS at most the budget and a quarter", peak <= 1.25 * budget, {"peak_mib": round(peak, 1), "budget_mib": round(budget)}))
    return out


def maximum(lab, large, seconds, cores):
    """Requests/s at full speed for ever: most merges of what came in half a minute are due after it, and are paid for here."""
    sent = lab.send(large, "grpc", clients=8, seconds=seconds)
    began = lab.cpu()
    quiet = 0
    while quiet < (REST if seconds > 10 else 5):
        before = lab.cpu()
        time.sleep(1)
        quiet = quiet + 1 if lab.cpu() - before < 0.02 else 0
    took = sent["requests"] / sent["requests_per_s"]
    left = (lab.cpu() - began) / cores
    pay = took / (took + left)
    line(maximum="requests/s", taken=round(sent["requests_per_s"], 1), for_ever=round(pay * sent["requests_per_s"], 1), seconds=round(took, 1),
         left_to_do_s=round(left, 1))
    return pay * sent["requests_per_s"], pay * sent["spans_per_s"]


def mixed(lab, a):
    file, cores = prepare(lab, a), len(os.sched_getaffinity(0))
    idle_s = max(min(a.minutes * 15, 60), 10)
    large = corpus("large", 6000, 500)
    lab.send(large, "grpc", clients=1, seconds=1, rate=20)  # idle servers have something in memory, too
    asked(ask(lab, a, file, 5))  # caches
    idle = asked(ask(lab, a, file, idle_s))
    askers = idle["client_cpu_s"] / idle_s
    most, most_spans = maximum(lab, large, 30 if a.minutes >= 1 else 10, cores)
    rate = a.share * most * (1 - askers / cores)
    alone = lab.send(large, "grpc", clients=16, seconds=ALONE, rate=rate)
    seconds = a.minutes * 60
    memory, cpu, began, waited = Memory(lab.server, seconds), lab.cpu(), time.monotonic(), waits(lab.server)
    memory.start()
    asking = subprocess.Popen(ask(lab, a, file, seconds), stdout=subprocess.PIPE)
    sent = lab.send(large, "grpc", clients=16, seconds=seconds, rate=rate)
    loaded = json.loads(asking.communicate()[0])
    took = time.monotonic() - began
    used = round((lab.cpu() - cpu) / took, 2)
    peak, early, late = memory.end()
    report_queries(idle, loaded)
    report_waits(waited, waits(lab.server))
    report_ingest(a, most_spans, rate, alone, sent)
    line(result="mixed: peak RSS MiB", value=round(peak, 1), unit="MiB", better="less", late_over_early=ratio(late, early),
         second_quarter_mib=round(early, 1), last_quarter_mib=round(late, 1), budget_mib=round(budget_mib(lab.server)),
         refused_by_budgets=refusals(lab.server))
    line(result="mixed: cores used by the server", value=used, unit="cores", better="less", of=cores,
         sender=round(sent["client_cpu_us_a_request"] * sent["requests"] / took / 1e6, 2),
         askers=round(loaded["client_cpu_s"] / took, 2))
    return judge(a, promises(rate, budget_mib(lab.server), idle, loaded, alone, sent, (peak, early, late)))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--minutes", type=float, default=10)
    ap.add_argument("--clients", type=int, default=10)
    ap.add_argument("--pause-ms", type=float, default=500)
    ap.add_argument("--share", type=float, default=0.7)
    ap.add_argument("--traces", type=int, default=45000)
    ap.add_argument("--budget-mib", type=int, default=0, help="memory.budget_bytes; 0: the default. A container of 256 MiB gets 192")
    ap.add_argument("--vivace", default=str(TOP / "build" / "vivace"))
    a = ap.parse_args()
    with Lab(a.vivace, {"memory": {"budget_bytes": a.budget_mib << 20}} if a.budget_mib else None) as lab:
        sys.exit(0 if mixed(lab, a) else 1)


if __name__ == "__main__":
    main()
