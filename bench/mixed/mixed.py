#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ingest at 70 % of the maximum and ten people asking at once, for ten minutes: what each does to the other.

mixed.py [--minutes 10] [--clients 10] [--pause-ms 500] [--share 0.7] [--traces 45000] [--vivace build/vivace]

1. half a million spans that end 20 minutes ago are sent and written to blocks, and the server is started again; 2. --clients ask the questions of bench/queries.py and for
traces by id, each in an order of its own with a pause of --pause-ms on average between two, and nothing else happens; 3. the maximum:
requests of 500 spans over 8 connections, as fast as answered; 4. --share of it alone; 5. both for --minutes.

All go to one tenant. The questions are about those first spans, so that their answers are the same before and during: what differs is the
machine being shared, heads and new blocks to be passed over, and caches being used by others. `newest` questions have no time range and meet
the spans that just came. Clients and server share the cores, nothing is pinned: `cores` says what each used of them.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import threading
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "latency"))
from lab import BUILD, TOP, Lab, build_loadgen, corpus, line  # noqa: E402
from queries import queries  # noqa: E402

AGE = 20 * 60
ALONE = 15  # seconds of ingest alone


class Memory(threading.Thread):
    """RSS of the server, twice a second."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.samples, self.over = server, [], threading.Event()

    def run(self):
        began = time.monotonic()
        while not self.over.wait(0.5):
            self.samples.append((time.monotonic() - began, self.server.memory_mib()))

    def end(self):
        """(peak, mean of the second quarter, mean of the last quarter), MiB."""
        self.over.set()
        self.join()
        mib = [m for _, m in self.samples]
        quarter = max(len(mib) // 4, 1)
        return max(mib), sum(mib[quarter:2 * quarter]) / quarter, sum(mib[-quarter:]) / quarter


def questions(ids, end):
    out = [{"name": name, "path": path + "?" + urllib.parse.urlencode(params)} for name, (path, params) in queries(end).items()]
    out += [{"name": "trace by id", "path": "/api/traces/" + i} for i in ids]
    out += [{"name": "newest 20", "path": "/api/search?limit=20"},
            {"name": "newest errors of cart", "path": "/api/search?" + urllib.parse.urlencode(
                {"q": '{ resource.service.name = "cart" && status = error }', "limit": 20})}]
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


def ratio(a, b):
    return round(a / b, 2) if b else None


def report_queries(idle, loaded):
    for name, after in sorted(loaded["by"].items()):
        before = idle["by"].get(name)
        if before:
            line(question=name, n=after["n"], p50_ms=after["p50_ms"], p99_ms=after["p99_ms"], idle_p50_ms=before["p50_ms"],
                 idle_p99_ms=before["p99_ms"], p50_ratio=ratio(after["p50_ms"], before["p50_ms"]), p99_ratio=ratio(after["p99_ms"], before["p99_ms"]))
    rows = sorted(ratio(after["p99_ms"], idle["by"][n]["p99_ms"]) or 0 for n, after in loaded["by"].items() if n in idle["by"])
    line(result="mixed: p99 of queries, loaded over idle", value=ratio(loaded["all"]["p99_ms"], idle["all"]["p99_ms"]), unit="ratio", better="less",
         idle=idle["all"], loaded=loaded["all"], median_of_questions=rows[len(rows) // 2], worst_of_questions=rows[-1],
         failed=[idle["failed"], loaded["failed"]], first_error=loaded.get("first_error"))


def mixed(lab, a):
    file = prepare(lab, a)
    idle_s = max(min(a.minutes * 15, 60), 10)
    subprocess.run(ask(lab, a, file, 5), check=True, stdout=subprocess.DEVNULL)  # caches
    idle = json.loads(subprocess.run(ask(lab, a, file, idle_s), check=True, stdout=subprocess.PIPE).stdout)
    large = corpus("large", 6000, 500)
    most = lab.send(large, "grpc", clients=8, seconds=10)
    time.sleep(5)
    rate = a.share * most["requests_per_s"]
    alone = lab.send(large, "grpc", clients=16, seconds=ALONE, rate=rate)
    seconds = a.minutes * 60
    memory, cpu, began = Memory(lab.server), lab.cpu(), time.monotonic()
    memory.start()
    asking = subprocess.Popen(ask(lab, a, file, seconds), stdout=subprocess.PIPE)
    loaded_send = lab.send(large, "grpc", clients=16, seconds=seconds, rate=rate)
    loaded = json.loads(asking.communicate()[0])
    took = time.monotonic() - began
    cores = round((lab.cpu() - cpu) / took, 2)
    peak, early, late = memory.end()
    report_queries(idle, loaded)
    line(result="mixed: spans/s taken of those due", value=round(loaded_send["requests_per_s"] / rate, 3), unit="ratio", better="more",
         spans_per_s=round(loaded_send["spans_per_s"]), maximum_spans_per_s=round(most["spans_per_s"]), share=a.share, minutes=a.minutes,
         refused=loaded_send["refused"], broken=loaded_send["broken"], first_error=loaded_send.get("first_error"))
    line(result="mixed: ack p99 ms", value=round(loaded_send["p99_ms"], 2), unit="ms", better="less", p50_ms=loaded_send["p50_ms"],
         max_ms=loaded_send["max_ms"], over_100_ms=loaded_send["over_100_ms"], alone_p50_ms=alone["p50_ms"], alone_p99_ms=alone["p99_ms"],
         alone_max_ms=alone["max_ms"])
    line(result="mixed: RSS MiB, late over early", value=ratio(late, early), unit="ratio", better="less", peak_mib=round(peak, 1),
         second_quarter_mib=round(early, 1), last_quarter_mib=round(late, 1))
    line(result="mixed: cores used by the server", value=cores, unit="cores", better="less",
         sender=round(loaded_send["client_cpu_us_a_request"] * loaded_send["requests"] / took / 1e6, 2),
         askers=round(loaded["client_cpu_s"] / took, 2))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--minutes", type=float, default=10)
    ap.add_argument("--clients", type=int, default=10)
    ap.add_argument("--pause-ms", type=float, default=500)
    ap.add_argument("--share", type=float, default=0.7)
    ap.add_argument("--traces", type=int, default=45000)
    ap.add_argument("--vivace", default=str(TOP / "build" / "vivace"))
    a = ap.parse_args()
    with Lab(a.vivace) as lab:
        mixed(lab, a)


if __name__ == "__main__":
    main()
