#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures a running trace store: CPU seconds, peak memory, disk and latencies, from outside.

first_ms is the first run of a query, p50_ms the median of all (a server may answer repeats from a cache); cpu_ms_sum is the CPU time of all runs,
cpu_ms_again the median of all but the first.

measure.py --name N --pid P --dir DATA --file CORPUS.bin --loadgen BIN [--otlp HOST:PORT] [--url URL] [--proto grpc|http] [--path P]
           [--conns 4] [--idle 40] [--skip-ingest] [--out FILE.json]
The corpus is made by loadgen with its end at 'now', so searches use the last hour.
"""
import argparse, http.client, json, os, random, subprocess, time, urllib.parse, statistics as st
from queries import queries
p = argparse.ArgumentParser()
for a, d in {"name": "", "pid": 0, "dir": "", "file": "", "loadgen": "", "otlp": "127.0.0.1:4317", "url": "http://127.0.0.1:3200", "proto": "grpc", "path": "/v1/traces", "conns": 4, "idle": 40, "out": "", "tenant": "", "runs": 7}.items():
    p.add_argument("--" + a, default=d, type=type(d))
p.add_argument("--skip-ingest", action="store_true"); p.add_argument("--ids", default=""); p.add_argument("--gzip", action="store_true")
a = p.parse_args()
def cpu(): return time.clock_gettime_ns((~a.pid << 3) | 2) / 1e9  # the process's own clock, see clock_getcpuclockid(3)
def mem(k):
    for l in open(f"/proc/{a.pid}/status"):
        if l.startswith(k): return int(l.split()[1]) / 1024
def du(d): return int(subprocess.run(["du", "-sb", d], capture_output=True, text=True).stdout.split()[0])
R = {"name": a.name, "rss_idle_mb": mem("VmRSS")}
if not a.skip_ingest:
    c0, d0 = cpu(), du(a.dir)
    cmd = [a.loadgen, "send", "-file", a.file, "-proto", a.proto, "-addr", a.otlp, "-path", a.path, "-conns", str(a.conns), "-summary-json"] + (["-tenant", a.tenant] if a.tenant else []) + (["-gzip"] if a.gzip else [])
    R["ingest"] = json.loads(subprocess.run(cmd, capture_output=True, text=True).stdout)
    R["ingest"]["cpu_s_at_ack"] = cpu() - c0; R["peak_mb_at_ack"] = mem("VmHWM"); R["disk_at_ack"] = du(a.dir) - d0
    time.sleep(a.idle)
    n = R["ingest"]["spans"]; R["ingest"]["cpu_s"] = cpu() - c0; R["ingest"]["cpu_us_per_span"] = round(R["ingest"]["cpu_s"] / n * 1e6, 3)
    R["disk_bytes_per_span"] = round((du(a.dir) - d0) / n, 1); R["peak_mb"] = mem("VmHWM"); R["rss_after_mb"] = mem("VmRSS")
now = int(time.time())
U = urllib.parse.urlparse(a.url); conn = http.client.HTTPConnection(U.hostname, U.port, timeout=120)
def get(path, **q):
    """One request on a kept connection: seconds, status, body."""
    global conn
    t = time.time()
    for last in (False, True):
        try:
            conn.request("GET", path + ("?" + urllib.parse.urlencode(q) if q else ""), headers={"X-Scope-OrgID": a.tenant} if a.tenant else {})
            r = conn.getresponse(); b = r.read(); return time.time() - t, r.status, b
        except (http.client.HTTPException, OSError):
            conn.close(); conn = http.client.HTTPConnection(U.hostname, U.port, timeout=120)
            if last: return time.time() - t, 0, b""
Q = queries(now)
R["queries"] = {}
for n, (path, q) in Q.items():
    ts = []; cs = []; c0 = cpu()
    for _ in range(a.runs):
        c1 = cpu(); t, s, b = get(path, **q); ts.append(t); cs.append(cpu() - c1)
        if t > 20: break
    try: d = json.loads(b); k = len(d.get("traces") or d.get("series") or d.get("tagValues") or d.get("scopes") or [])
    except Exception: k = b[:100].decode("utf-8", "replace")
    R["queries"][n] = {"first_ms": round(ts[0] * 1e3, 2), "p50_ms": round(st.median(ts) * 1e3, 2), "min_ms": round(min(ts) * 1e3, 2), "cpu_ms_sum": round((cpu() - c0) * 1e3, 1), "cpu_ms_again": round(st.median(cs[1:] or cs) * 1e3, 2), "runs": len(ts), "status": s, "results": k}
if a.ids:
    ids = open(a.ids).read().split(); random.seed(4); ids = random.sample(ids, min(300, len(ids))); ts = []; c0 = cpu(); miss = 0
    for i in ids:
        t, s, b = get("/api/traces/" + i); ts.append(t); miss += s != 200
    ts.sort(); R["trace_by_id"] = {"p50_ms": round(ts[len(ts)//2] * 1e3, 2), "p99_ms": round(ts[len(ts)*99//100] * 1e3, 2), "cpu_ms": round((cpu() - c0) / len(ts) * 1e3, 2), "missed": miss, "of": len(ids)}
R["rss_end_mb"] = mem("VmRSS"); R["peak_end_mb"] = mem("VmHWM"); R["cpu_total_s"] = cpu()
if a.out: json.dump(R, open(a.out, "w"), indent=1)
print(json.dumps(R, indent=1))
