#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Benchmark of the running server: ingest at full speed with fdatasync, then queries; JSON lines out.

run_server.py [--traces 45000] [--runs 7] [--keep] [--out build/bench/latest.json] [--proto grpc|http] [--gzip]

Makes the corpus (bench/loadgen, about 12.4 spans a trace), starts build/vivace on an empty directory with
bench/bench.yaml, runs bench/measure.py against it from outside, stops it (which turns what is in memory into blocks),
and prints one JSON line per result with the ratio to the stored figures of the peers (bench/peers).
"""
import argparse
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = TOP / "build" / "bench"


def free_ports(n):
    socks = [socket.socket() for _ in range(n)]
    for s in socks:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in socks]
    for s in socks:
        s.close()
    return ports


def build_loadgen():
    out = BUILD / "loadgen"
    subprocess.run(["go", "build", "-o", out, "."], cwd=TOP / "bench" / "loadgen", check=True)
    return out


def wait_ready(url, process, seconds=20):
    for _ in range(seconds * 20):
        if process.poll() is not None:
            sys.exit(f"the server ended with {process.returncode}; see {BUILD}/server.log")
        try:
            with urllib.request.urlopen(url + "/ready", timeout=1) as r:
                if r.status == 200:
                    return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"the server was not ready within {seconds} s")


def block_bytes(data):
    return sum(f.stat().st_size for f in pathlib.Path(data).rglob("*.block"))


def line(**kw):
    print(json.dumps(kw), flush=True)


def report(result, final_bytes, ids, peer):
    ingest = result["ingest"]
    p_ingest = peer["ingest"]
    rows = [
        ("ingest spans/s", ingest["spans_per_s"], p_ingest["spans_per_s"]),
        ("ingest CPU us/span", ingest["cpu_us_per_span"], p_ingest["cpu_us_per_span"]),
        ("ingest request p50 ms", ingest["p50_ms"], p_ingest["p50_ms"]),
        ("ingest request p99 ms", ingest["p99_ms"], p_ingest["p99_ms"]),
        ("idle RSS MiB", result["rss_idle_mb"], peer["rss_idle_mb"]),
        ("peak RSS MiB while ingesting", result["peak_mb"], peer["peak_mb"]),
        ("peak RSS MiB, queries included", result["peak_end_mb"], peer["peak_end_mb"]),
        ("disk bytes/span, final blocks", final_bytes / ingest["spans"], 131),
        ("trace by id p50 ms", result["trace_by_id"]["p50_ms"], peer["trace_by_id"]["p50_ms"]),
        ("trace by id p99 ms", result["trace_by_id"]["p99_ms"], peer["trace_by_id"]["p99_ms"]),
    ]
    for name, ours, theirs in rows:
        line(result=name, value=round(ours, 3), peer=round(theirs, 3), peer_over_ours=round(theirs / ours, 2) if ours else None)
    line(result="trace by id missed", value=result["trace_by_id"]["missed"], of=ids)
    for name, q in result["queries"].items():
        p = peer["queries"].get(name, {})
        cpu, p_cpu = q["cpu_ms_sum"] / q["runs"], p.get("cpu_ms_sum", 0) / max(p.get("runs", 1), 1)
        line(result="query " + name, status=q["status"], results=q["results"], first_ms=q["first_ms"], p50_ms=q["p50_ms"],
             cpu_ms=round(cpu, 2), cpu_ms_again=q["cpu_ms_again"], peer_p50_ms=p.get("p50_ms"), peer_cpu_ms=round(p_cpu, 2))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--traces", type=int, default=45000)
    ap.add_argument("--runs", type=int, default=7)
    ap.add_argument("--idle", type=int, default=10)
    ap.add_argument("--proto", default="grpc", choices=["grpc", "http"])
    ap.add_argument("--gzip", action="store_true")
    ap.add_argument("--keep", action="store_true", help="keep the data directory")
    ap.add_argument("--vivace", default=str(TOP / "build" / "vivace"))
    ap.add_argument("--out", default=str(BUILD / "latest.json"))
    a = ap.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    loadgen = build_loadgen()
    corpus, ids = BUILD / "corpus.bin", BUILD / "ids.txt"
    subprocess.run([loadgen, "gen", "-traces", str(a.traces), "-seed", "3", "-minutes", "50", "-batch", "500", "-end", str(int(time.time())),
                    "-out", corpus], check=True, stdout=sys.stderr)
    with open(ids, "w", encoding="ascii") as f:
        subprocess.run([loadgen, "ids", corpus], check=True, stdout=f)
    data = tempfile.mkdtemp(prefix="vivace-bench-", dir=BUILD)
    http, grpc, otlp_http = free_ports(3)
    env = {**os.environ, "HTTP_PORT": str(http), "OTLP_GRPC_PORT": str(grpc), "OTLP_HTTP_PORT": str(otlp_http), "DATA": data}
    with open(BUILD / "server.log", "w", encoding="utf-8") as log:
        server = subprocess.Popen([a.vivace, f"-config.file={TOP}/bench/bench.yaml", "-config.expand-env=true"], env=env,
                                  stderr=log, stdout=log)
    url = f"http://127.0.0.1:{http}"
    try:
        wait_ready(url, server)
        otlp = grpc if a.proto == "grpc" else otlp_http
        subprocess.run([sys.executable, TOP / "bench" / "measure.py", "--name", "vivace", "--pid", str(server.pid), "--dir", data,
                        "--file", corpus, "--loadgen", loadgen, "--otlp", f"127.0.0.1:{otlp}", "--url", url, "--proto", a.proto,
                        "--idle", str(a.idle), "--ids", ids, "--runs", str(a.runs), "--out", a.out] + (["--gzip"] if a.gzip else []),
                       check=True, stdout=subprocess.DEVNULL)
    finally:
        server.terminate()
        server.wait(30)
    result = json.loads(pathlib.Path(a.out).read_text(encoding="utf-8"))
    peer = json.loads((TOP / "bench" / "peers" / "tempo-3.0.3.json").read_text(encoding="utf-8"))
    report(result, block_bytes(data), result["trace_by_id"]["of"], peer)
    if not a.keep:
        shutil.rmtree(data)


if __name__ == "__main__":
    main()
