#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Vivace and a peer in one run, on the same machine and corpus, taking turns: ratios as JSON lines.

compare.py --peer 'COMMAND' --peer-otlp HOST:PORT --peer-url URL [--name tempo] [--traces 45000] [--runs 7] [--settle 60]

COMMAND is run by the shell with $DATA set to an empty folder of its own, and must stay in the foreground
(bench/compare/tempo.yaml is a configuration for Tempo 3.0.3: 'tempo -config.file=bench/compare/tempo.yaml -config.expand-env=true').
Both servers take the corpus (ours with fdatasync before every answer) and rest for --settle seconds; then every query goes to one and the
other in turn. With --restart both are restarted first (Tempo 3.0.3 then misses what is neither recent nor in a block yet: compare `found`). `first` is the first time a server sees a query, the others are medians of the later
runs, which a server may answer from a cache. CPU is the process's own clock: all threads, user and system. A ratio above 1 is in our favour.
"""
import argparse
import http.client
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path += [str(TOP / "bench"), str(TOP / "bench" / "server")]
import run_server  # noqa: E402
from queries import queries  # noqa: E402

line = run_server.line


class Peer:
    """A server under measurement: its command, where it listens, what it has cost so far."""

    def __init__(self, name, command, env, otlp, url):
        self.name, self.command, self.env, self.otlp, self.url = name, command, env, otlp, urllib.parse.urlparse(url)
        self.log = run_server.BUILD / f"compare-{name}.log"

    def start(self):
        with open(self.log, "a", encoding="utf-8") as out:
            self.process = subprocess.Popen("exec " + self.command, shell=True, env={**os.environ, **self.env}, stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=out, cwd=TOP)
        for _ in range(1200):
            if self.process.poll() is not None:
                sys.exit(f"{self.name} ended with {self.process.returncode}; see {self.log}")
            try:
                with urllib.request.urlopen(self.url.geturl() + "/ready", timeout=1) as r:
                    if r.status == 200:
                        break
            except OSError:
                pass
            time.sleep(0.1)
        else:
            sys.exit(f"{self.name} was not ready within two minutes")
        self.conn = http.client.HTTPConnection(self.url.hostname, self.url.port, timeout=300)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def cpu(self):
        return time.clock_gettime_ns((~self.process.pid << 3) | 2) / 1e9

    def status_mib(self, key):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            return next(int(x.split()[1]) for x in f if x.startswith(key)) / 1024

    def get(self, path, params):
        """Seconds, CPU seconds, status, body of one request on a kept connection."""
        target = path + ("?" + urllib.parse.urlencode(params) if params else "")
        for again in (True, False):
            try:
                cpu, began = self.cpu(), time.monotonic()
                self.conn.request("GET", target)
                r = self.conn.getresponse()
                body = r.read()
                took = time.monotonic() - began
                time.sleep(0.02)  # what a server does after its answer is part of its cost
                return took, self.cpu() - cpu, r.status, body
            except (http.client.HTTPException, OSError):
                self.conn.close()
                if not again:
                    return 0.0, 0.0, 0, b""
        return 0.0, 0.0, 0, b""


def found(body):
    try:
        d = json.loads(body)
    except ValueError:
        return body[:80].decode("utf-8", "replace")
    return len(d.get("traces") or d.get("series") or d.get("tagValues") or d.get("scopes") or [])


def ratio(theirs, ours):
    return round(theirs / ours, 1) if ours > 0 else None


def ingest(pair, loadgen, corpus, settle):
    got = []
    for s in pair:
        before = s.cpu()
        sent = json.loads(subprocess.run([loadgen, "send", "-file", corpus, "-addr", s.otlp, "-summary-json"], check=True,
                                         capture_output=True, text=True).stdout)
        time.sleep(settle)
        got.append({"spans/s": sent["spans_per_s"], "CPU us a span": (s.cpu() - before) / sent["spans"] * 1e6, "request p50 ms": sent["p50_ms"],
                    "request p99 ms": sent["p99_ms"], "peak RSS MiB": s.status_mib("VmHWM")})
    for key, ours in got[0].items():
        theirs = got[1][key]
        line(result="ingest " + key, ours=round(ours, 3), peer=round(theirs, 3), ratio=ratio(ours, theirs) if key == "spans/s" else ratio(theirs, ours))


def ask(pair, name, path, params, runs):
    rows = [[] for _ in pair]
    for turn in range(runs + 1):
        for i in (0, 1) if turn % 2 == 0 else (1, 0):
            rows[i].append(pair[i].get(path, params))
    out = {"result": name}
    for i, who in enumerate(("ours", "peer")):
        later = rows[i][1:]
        out[who] = {"status": rows[i][0][2], "found": found(rows[i][-1][3]), "first_ms": round(rows[i][0][0] * 1e3, 2),
                    "first_cpu_ms": round(rows[i][0][1] * 1e3, 2), "ms": round(statistics.median(r[0] for r in later) * 1e3, 2),
                    "cpu_ms": round(statistics.median(r[1] for r in later) * 1e3, 2)}
    for key in ("first_cpu_ms", "cpu_ms", "first_ms", "ms"):
        out["ratio_" + key] = ratio(out["peer"][key], out["ours"][key])
    line(**out)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--peer", required=True)
    ap.add_argument("--peer-otlp", default="127.0.0.1:14317")
    ap.add_argument("--peer-url", default="http://127.0.0.1:13200")
    ap.add_argument("--name", default="tempo")
    ap.add_argument("--traces", type=int, default=45000)
    ap.add_argument("--runs", type=int, default=7)
    ap.add_argument("--settle", type=float, default=60)
    ap.add_argument("--restart", action="store_true")
    ap.add_argument("--vivace", default=str(TOP / "build" / "vivace"))
    a = ap.parse_args()
    run_server.BUILD.mkdir(parents=True, exist_ok=True)
    loadgen = run_server.build_loadgen()
    corpus = run_server.BUILD / "corpus.bin"
    now = int(time.time())
    subprocess.run([loadgen, "gen", "-traces", str(a.traces), "-seed", "3", "-minutes", "50", "-batch", "500", "-end", str(now), "-out", corpus],
                   check=True, stdout=sys.stderr)
    ids = subprocess.run([loadgen, "ids", corpus], check=True, capture_output=True, text=True).stdout.split()
    data = [tempfile.mkdtemp(prefix="vivace-compare-", dir=run_server.BUILD) for _ in range(2)]
    port, grpc, otlp_http = run_server.free_ports(3)
    ours = Peer("vivace", f"{a.vivace} -config.file=bench/bench.yaml -config.expand-env=true",
                {"HTTP_PORT": str(port), "OTLP_GRPC_PORT": str(grpc), "OTLP_HTTP_PORT": str(otlp_http), "DATA": data[0]},
                f"127.0.0.1:{grpc}", f"http://127.0.0.1:{port}")
    pair = [ours, Peer(a.name, a.peer, {"DATA": data[1]}, a.peer_otlp, a.peer_url)]
    started = []
    try:
        for s in pair:
            s.start()
            started.append(s)
        time.sleep(10)
        idle = [s.status_mib("VmRSS") for s in pair]
        line(result="idle RSS MiB", ours=round(idle[0], 1), peer=round(idle[1], 1), ratio=ratio(idle[1], idle[0]))
        ingest(pair, loadgen, corpus, a.settle)
        if a.restart:
            for s in pair:
                s.stop()
                s.start()
            time.sleep(a.settle)
        for name, (path, params) in queries(now).items():
            ask(pair, name, path, params, a.runs)
        rows = [[s.get("/api/traces/" + i, {}) for i in random.Random(4).sample(ids, 300)] for s in pair]
        missed = [sum(r[2] != 200 for r in x) for x in rows]
        for p in (50, 99):
            ms = [sorted(r[0] * 1e3 for r in x)[len(x) * p // 100] for x in rows]
            line(result=f"trace by id p{p} ms", ours=round(ms[0], 2), peer=round(ms[1], 2), ratio=ratio(ms[1], ms[0]), missed=missed)
        peak = [s.status_mib("VmHWM") for s in pair]
        line(result="peak RSS MiB, queries", ours=round(peak[0], 1), peer=round(peak[1], 1), ratio=ratio(peak[1], peak[0]))
    finally:
        for s in started:
            if s.process.poll() is None:
                s.stop()
        for d in data:
            shutil.rmtree(d)


if __name__ == "__main__":
    main()
