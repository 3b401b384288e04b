#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A server on a week of blocks: start, trace by id, selective searches, tags, memory. JSON lines out; answers are checked.

run_large.py [--data DIR] [--blocks 1000] [--spans 100000000] [--runs 9] [--ids 500] [--scans] [--keep] [--vivace PROGRAM]

Without --data a store is made in a temporary folder and removed. With it, DIR/blocks and DIR/manifest.json are used, and made
first when they are not there. CPU is the process's own clock (all threads). "first" is the first of its kind after a start.
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import large  # noqa: E402


def line(**kw):
    print(json.dumps(kw), flush=True)


class Clock:
    """CPU seconds of a process so far, by its own clock (clock_getcpuclockid(3))."""

    def __init__(self, pid):
        self.id = (~pid << 3) | 2

    def ms(self):
        return time.clock_gettime_ns(self.id) / 1e6


def spread(values):
    values = sorted(values)
    return {"p50_ms": round(values[len(values) // 2], 3), "p99_ms": round(values[min(len(values) * 99 // 100, len(values) - 1)], 3),
            "max_ms": round(values[-1], 3)}


def started(folder, what, **more):
    """A server that has just become ready; the time until then by its own log, so that no polling is in it."""
    s = large.server(folder, **more)
    wall = s.start() * 1e3
    clock = Clock(s.pid)
    line(result="start, " + what, ready_ms=round(wall, 1), cpu_ms=round(clock.ms(), 1), rss_mib=round(s.memory_mib(), 1))
    return s, clock


def rows_by_id(s, clock, client, m, n):
    some = random.Random(3).sample(m["whole"], min(n, len(m["whole"]))) + random.Random(3).sample(m["split"], min(n // 10, len(m["split"])))
    kinds = {"trace by id": some, "trace by id, absent": large.absent_ids(n)}
    for name, ids in kinds.items():
        for again in ("first time", "again"):
            wall, wrong, c0 = [], [], clock.ms()
            for i, k in ids:
                bad, ms = large.trace_check(client, i, k)
                wall.append(ms)
                if bad:
                    wrong.append(bad)
            line(result=f"{name}, {again}", first_ms=round(wall[0], 2), **spread(wall), cpu_ms=round((clock.ms() - c0) / len(ids), 3),
                 wrong=wrong[:3], rss_mib=round(s.memory_mib(), 1))


def rows_queries(s, clock, client, queries, runs):
    for name, (path, params, check) in queries.items():
        wall, cpu, bad = [], [], None
        for _ in range(runs):
            c0 = clock.ms()
            status, answer, ms = client.get(path, **params)
            cpu.append(clock.ms() - c0)
            wall.append(ms)
            bad = bad or (check(answer) if status == 200 else f"{status} {answer}")
        line(result=name, first_ms=round(wall[0], 2), p50_ms=round(statistics.median(wall), 2), first_cpu_ms=round(cpu[0], 2),
             cpu_ms=round(statistics.median(cpu), 2), wrong=bad, rss_mib=round(s.memory_mib(), 1))


def measure(folder, m, a):
    s, clock = started(folder, "with the catalog")
    time.sleep(2)
    line(result="idle", rss_mib=round(s.memory_mib(), 1))
    client = large.Client(s.http_port)
    rows_by_id(s, clock, client, m, a.ids)
    s.stop(60)
    s, clock = started(folder, "with the catalog")
    client = large.Client(s.http_port)
    rows_queries(s, clock, client, large.searches(m), a.runs)
    if a.scans:
        rows_queries(s, clock, client, large.counts(m), 2)
    line(result="peak", rss_mib=round(s.memory_mib("VmHWM"), 1))
    seconds = s.stop(60)
    line(result="stop", ms=round(seconds * 1e3, 1))
    shutil.rmtree(folder / "blocks" / "@store" / "catalog")
    s, clock = started(folder, "catalog rebuilt from footers")
    s.stop(60)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--data", help="folder of the store")
    ap.add_argument("--blocks", type=int, default=1000)
    ap.add_argument("--spans", type=int, default=100_000_000)
    ap.add_argument("--runs", type=int, default=9)
    ap.add_argument("--ids", type=int, default=500)
    ap.add_argument("--scans", action="store_true", help="counts of all spans too")
    ap.add_argument("--keep", action="store_true")
    ap.add_argument("--vivace", help="the program; default build/vivace")
    a = ap.parse_args()
    if a.vivace:
        os.environ["VIVACE"] = a.vivace
    folder = pathlib.Path(a.data or tempfile.mkdtemp(prefix="vivace-large-"))
    manifest = folder / "manifest.json"
    try:
        if not manifest.exists():
            folder.mkdir(parents=True, exist_ok=True)
            m = large.make(folder, blocks=a.blocks, spans=a.spans)
            manifest.write_text(json.dumps(m), encoding="utf-8")
        m = json.loads(manifest.read_text(encoding="utf-8"))
        line(result="store", blocks=m["blocks"], spans=m["spans"], bytes_per_span=round(m["bytes"] / m["spans"], 2),
             make_cpu_us_per_span=m["cpu_us_per_span"])
        measure(folder, m, a)
    finally:
        if not a.data and not a.keep:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
