#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the way in costs: CPU a span with everything included, bytes written for a byte stored, encodings, replay. JSON lines.

run_ingest.py [--millions 5] [--vivace PROGRAM ...] [--rounds 1]   CPU and bytes written, all flushes and merges included
run_ingest.py --encodings [...]                                    the same half million over gRPC and HTTP, plain and gzip
run_ingest.py --replay [--mib 1024]                                the start of a server whose log holds that much: wall and CPU until
                                                                   /ready, peak memory; exit status 1 over 10 s a GiB

With several programs (before and after a change) they take turns. The corpora are those of bench/growth (half a million spans,
35 minutes each, each before the last), made once and kept in build/bench/chunks. CPU is the process's own clock, user and system,
read when flushes and merges have rested. The kinds of bytes written are those of vivace_storage_bytes_written_total.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(TOP / "bench" / "server"), str(TOP / "bench" / "growth")]
import growth  # noqa: E402  the server, its clock and its rest
import run_server  # noqa: E402

METRIC = "vivace_storage_bytes_written_total"


def chunks(loadgen, n):
    """The first n corpora; made when missing or older than 6 hours: spans are meant to be of today."""
    folder = run_server.BUILD / "chunks"
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / "end"
    if not stamp.exists() or time.time() - float(stamp.read_text()) > 6 * 3600:
        for f in folder.glob("*.bin"):
            f.unlink()
        stamp.write_text(str(int(time.time())))
    end = int(stamp.read_text())
    files = [folder / f"{i}.bin" for i in range(n)]
    for i, f in enumerate(files):
        if not f.exists():
            part = f.with_suffix(".part")
            subprocess.run([loadgen, "gen", "-traces", str(growth.CHUNK_TRACES), "-seed", str(100 + i), "-minutes",
                            str(growth.CHUNK_MINUTES), "-batch", "500", "-end", str(end - i * growth.CHUNK_MINUTES * 60), "-out", part],
                           check=True, stdout=sys.stderr)
            part.rename(f)
    return files


def send(loadgen, server, corpus, proto="grpc", gzip=False):
    port = server.grpc if proto == "grpc" else server.otlp_http
    out = subprocess.run([loadgen, "send", "-file", corpus, "-proto", proto, "-addr", f"127.0.0.1:{port}", "-summary-json"] +
                         (["-gzip"] if gzip else []), check=True, capture_output=True, text=True).stdout
    sent = json.loads(out)
    if sent.get("failed"):
        sys.exit(f"{sent['failed']} requests were refused: {sent.get('first_error')}")
    return sent


def get(server, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{server.http}{path}", timeout=120) as r:
        return r.read().decode()


def written(server):
    kinds = {}
    for line in get(server, "/metrics").splitlines():
        if line.startswith(METRIC + "{"):
            labels, value = line.split()[:2]
            kinds[labels.split('kind="')[1].split('"')[0]] = float(value)
    return kinds


def started(program, data, config=None):
    server = growth.Server(program, data, config)
    server.start()
    return server


def stop_counting(server):
    """Stops it; the CPU seconds of its whole life."""
    server.conn.close()
    server.process.terminate()
    _, status, usage = os.wait4(server.process.pid, 0)
    server.process.returncode = status
    return usage.ru_utime + usage.ru_stime


def ingest(program, loadgen, files, millions):
    data = tempfile.mkdtemp(prefix="vivace-ingest-", dir=run_server.BUILD)
    server = started(program, data)
    try:
        spans = raw = 0
        for f in files:
            if spans >= millions * 1e6 * 0.999:
                break
            sent = send(loadgen, server, f)
            spans += sent["spans"]
            raw += f.stat().st_size
        at_ack = server.cpu()
        server.rest()
        peak, kinds, before = server.peak_mib(), written(server), run_server.block_bytes(data)
        cpu = stop_counting(server)  # what was in memory is a block now
        last = run_server.block_bytes(data) - before
        server.start()
        server.rest()
        cpu += server.cpu()
        kinds = {k: v + written(server).get(k, 0) + (last if k == "flush" else 0) for k, v in kinds.items()}
        stored = run_server.block_bytes(data)
        row = {"result": "ingest", "vivace": program, "spans": spans, "cpu_us_per_span": round(cpu / spans * 1e6, 3),
               "cpu_us_per_span_at_ack": round(at_ack / spans * 1e6, 3), "peak_mib": round(peak, 1), "bytes_per_span": round(stored / spans, 2)}
        if kinds:
            blocks = kinds["flush"] + kinds["compact"]
            row.update(wal_over_raw=round(kinds["wal"] / raw, 3), blocks_over_first=round(blocks / kinds["flush"], 2),
                       all_over_first=round((blocks + kinds["wal"]) / kinds["flush"], 2),
                       written_per_span={k: round(v / spans, 1) for k, v in kinds.items()})
        run_server.line(**row)
    finally:
        server.stop()
        shutil.rmtree(data)


def encodings(program, loadgen, corpus):
    for proto, gzip in (("grpc", False), ("grpc", True), ("http", False), ("http", True)):
        data = tempfile.mkdtemp(prefix="vivace-ingest-", dir=run_server.BUILD)
        server = started(program, data)
        try:
            sent = send(loadgen, server, corpus, proto, gzip)
            run_server.line(result="encoding", vivace=program, proto=proto, gzip=gzip, spans=sent["spans"],
                            cpu_us_per_span_at_ack=round(server.cpu() / sent["spans"] * 1e6, 3), spans_per_s=round(sent["spans_per_s"]))
        finally:
            server.stop()
            shutil.rmtree(data)


def replay(program, loadgen, files, mib):
    """Everything stays in the log: heads are large and never old. Then the server is killed, and started with its defaults."""
    data = tempfile.mkdtemp(prefix="vivace-ingest-", dir=run_server.BUILD)
    config = pathlib.Path(data) / "keep.yaml"
    text = (TOP / "bench" / "bench.yaml").read_text(encoding="utf-8")
    config.write_text(text + "\nmemory:\n  budget_bytes: 8589934592\nlive_store:\n  max_block_bytes: 17179869184\n"
                      "  max_block_duration: 24h\n  max_live_traces_bytes: 4294967296\n", encoding="utf-8")
    server = started(program, data, str(config))
    raw = 0
    try:
        for f in files:
            if raw >= mib << 20:
                break
            send(loadgen, server, f)
            raw += f.stat().st_size
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        log = sum(f.stat().st_size for f in pathlib.Path(data).rglob("*.wal"))
        blocks = run_server.block_bytes(data)
        server = growth.Server(program, data)
        server.start(300)
        cpu, ready, gib = server.cpu(), server.ready_ms / 1e3, raw / 2**30
        run_server.line(result="replay", vivace=program, raw_mib=round(raw / 2**20), log_mib=round(log / 2**20), block_bytes=blocks,
                        ready_s=round(ready, 2), cpu_s=round(cpu, 2), ready_s_per_gib=round(ready / gib, 2), cpu_s_per_gib=round(cpu / gib, 2),
                        peak_mib=round(server.peak_mib(), 1))
        run_server.line(promise="replay of 1 GiB of requests in 10 s", kept=ready / gib <= 10)
        return ready / gib <= 10
    finally:
        if server.process.poll() is None:
            server.stop()
        shutil.rmtree(data)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--millions", type=float, default=5)
    ap.add_argument("--vivace", nargs="+", default=[str(TOP / "build" / "vivace")])
    ap.add_argument("--rounds", type=int, default=1)
    ap.add_argument("--encodings", action="store_true")
    ap.add_argument("--replay", action="store_true")
    ap.add_argument("--mib", type=int, default=1024)
    a = ap.parse_args()
    run_server.BUILD.mkdir(parents=True, exist_ok=True)
    loadgen = run_server.build_loadgen()
    need = 1 if a.encodings else a.mib // 200 + 1 if a.replay else int(a.millions * 2 + 0.999)
    files, kept = chunks(loadgen, need), True
    for _ in range(a.rounds):
        for program in a.vivace:
            if a.encodings:
                encodings(program, loadgen, files[0])
            elif a.replay:
                kept = replay(program, loadgen, files, a.mib) and kept
            else:
                ingest(program, loadgen, files, a.millions)
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
