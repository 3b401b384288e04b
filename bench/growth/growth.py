#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How the cost of queries grows with the data: JSON lines, and a chart (SVG) for bench/RESULTS.md.

growth.py [--sizes 0.5,5,20] [--runs 9] [--made DIR] [--rows FILE] [--vivace PROGRAM] [--svg FILE] [--keep]

Sizes are millions of spans. Every half million is a corpus of its own (bench/loadgen, its own seed) over 35 minutes, each
before the last, so that 20 million spans cover 23 hours (a metrics query may span 24). One server takes them one after the
other; at each size it is stopped (what is in memory becomes blocks), started again, left alone until flush and compaction
rest, and then asked. One span with a name of its own is sent before each stop: the needle. CPU is the process's own clock
(all threads, user and system): of the first run, which reads what is not in memory, and the median over the others. The last size may be a store that bench/large/run_large.py
made (--data DIR --keep): 100 million spans in minutes. --rows takes sizes from the lines of an earlier run into the chart; --sizes '' measures none.
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

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(TOP / "bench" / "server"), str(TOP / "bench" / "large")]
import large  # noqa: E402
import run_server  # noqa: E402  the same server, configuration and corpus maker
import svg  # noqa: E402
from server import merge  # noqa: E402

CHUNK_TRACES = 40816  # some half a million spans
CHUNK_MINUTES = 35


def log(text):
    print(text, file=sys.stderr, flush=True)


class Server:
    def __init__(self, program, data, config=None):
        self.program, self.data, self.config = program, data, config or f"{TOP}/bench/bench.yaml"

    def start(self, wait_s=20):
        self.http, self.grpc, self.otlp_http = run_server.free_ports(3)
        env = {**os.environ, "HTTP_PORT": str(self.http), "OTLP_GRPC_PORT": str(self.grpc),
               "OTLP_HTTP_PORT": str(self.otlp_http), "DATA": self.data}
        began = time.monotonic()
        with open(run_server.BUILD / "server.log", "a", encoding="utf-8") as out:
            self.process = subprocess.Popen([self.program, f"-config.file={self.config}", "-config.expand-env=true"],
                                            env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        run_server.wait_ready(f"http://127.0.0.1:{self.http}", self.process, wait_s)
        self.ready_ms = (time.monotonic() - began) * 1e3
        self.conn = http.client.HTTPConnection("127.0.0.1", self.http, timeout=300)

    def stop(self):
        self.conn.close()
        self.process.terminate()
        self.process.wait(120)

    def cpu(self):
        """CPU seconds of the process so far, by its own clock (clock_getcpuclockid(3))."""
        return time.clock_gettime_ns((~self.process.pid << 3) | 2) / 1e9

    def rest(self, seconds=40):
        """Returns when the process has used next to nothing for a while, after at least one cycle of its ticker."""
        quiet = 0
        while quiet < seconds:
            before = self.cpu()
            time.sleep(1)
            quiet = quiet + 1 if self.cpu() - before < 0.01 else 0

    def peak_mib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            return next(int(x.split()[1]) for x in f if x.startswith("VmHWM")) / 1024

    def get(self, path, **params):
        self.conn.request("GET", path + ("?" + urllib.parse.urlencode(params) if params else ""))
        answer = self.conn.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path} {params}: {answer.status} {body[:200]!r}")
        return json.loads(body)


def send_needle(server, name):
    now = time.time_ns()
    span = {"traceId": os.urandom(16).hex(), "spanId": os.urandom(8).hex(), "name": name, "kind": 1,
            "startTimeUnixNano": str(now - 10**6), "endTimeUnixNano": str(now)}
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "needle"}}]}
    body = json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]})
    conn = http.client.HTTPConnection("127.0.0.1", server.otlp_http, timeout=60)
    conn.request("POST", "/v1/traces", body, {"Content-Type": "application/json"})
    if conn.getresponse().status != 200:
        raise RuntimeError("the needle was refused")
    conn.close()


def queries(window, needle):
    """name, kind, span attributes read for each span of the store (0: selective), path, parameters"""
    def search(q, **more):
        return "/api/search", {"q": q, "limit": 20, **window, **more}

    def metrics(q):
        return "/api/metrics/query_range", {"q": q, "step": "3600s", **window}
    return [
        ("newest traces", 0, *search("{}")),
        ("one service, errors, newest 20", 0, *search('{ resource.service.name = "cart" && status = error }')),
        ("needle by name", 0, *search(f'{{ name = "{needle}" }}')),
        ("absent value", 0, *search('{ span.user.id = "nobody" }')),
        ("tag names", 0, "/api/v2/search/tags", window),
        ("values of service.name", 0, "/api/v2/search/tag/resource.service.name/values", window),
        ("scan: absent regex over db.statement", 1, *search('{ span.db.statement =~ ".*nothing-like-this.*" }')),
        ("scan: duration > 10m", 1, *search("{ duration > 10m }")),
        ("scan: three attributes, no match", 3, *search('{ duration > 10m && span.http.status_code >= 100 && kind = server }')),
        ("scan: rate by service", 2, *metrics("{ } | rate() by (resource.service.name)")),
        ("scan: quantiles by service", 3, *metrics("{ } | quantile_over_time(duration, .5, .95, .99) by (resource.service.name)")),
    ]


def ask(server, runs, path, params):
    cpu, wall = [], []
    for i in range(runs + 1):
        c, w = server.cpu(), time.monotonic()
        answer = server.get(path, **params)
        cpu.append((server.cpu() - c) * 1e3)
        wall.append((time.monotonic() - w) * 1e3)
    found = answer.get("traces") or answer.get("series") or answer.get("tagValues") or answer.get("scopes") or []
    return cpu[0], statistics.median(cpu[1:]), statistics.median(wall[1:]), len(found)


def measure(server, spans, window, needle, ids, runs, lines):
    """The rows of one size."""
    by_id, used = [], server.cpu()
    for i in random.Random(1).sample(ids, min(300, len(ids))):
        began = time.monotonic()
        server.get("/api/traces/" + i)
        by_id.append((time.monotonic() - began) * 1e3)
    by_id.sort()
    cpu = (server.cpu() - used) * 1e3 / len(by_id)  # random ones: most are asked for the first time
    run_server.line(result="trace by id", spans=spans, cpu_ms=round(cpu, 3), p50_ms=round(by_id[len(by_id) // 2], 2),
                    p99_ms=round(by_id[len(by_id) * 99 // 100], 2))
    lines.setdefault("trace by id", []).append((spans, cpu))
    for name, attributes, path, params in queries(window, needle):
        first, cpu, wall, found = ask(server, runs, path, params)
        rate = {"million_span_attributes_per_cpu_s": round(spans * attributes / cpu / 1e3, 1)} if attributes else {}
        run_server.line(result=name, spans=spans, first_cpu_ms=round(first, 3), cpu_ms=round(cpu, 3), p50_ms=round(wall, 3), found=found, **rate)
        lines.setdefault(name, []).append((spans, cpu))
    run_server.line(result="peak RSS MiB after the queries", spans=spans, value=round(server.peak_mib(), 1))


class Made(Server):
    """A server on a store that bench/large made, of a week."""

    def __init__(self, folder, manifest):
        self.of, self.manifest = large.server(folder), manifest
        # Scans of everything beside other work take longer than a client would wait.
        slow = {"search": {"timeout": "10m"}, "metrics": {"timeout": "10m"}}
        self.of.config = merge(self.of.config, {"query_frontend": slow, "querier": {"search": {"query_timeout": "10m"}}})
        self.ready_ms = self.of.start() * 1e3
        self.process = self.of.process
        self.conn = http.client.HTTPConnection("127.0.0.1", self.of.http_port, timeout=300)


def measure_made(folder, runs, lines):
    folder = pathlib.Path(folder)
    m = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    server = Made(folder, m)
    try:
        run_server.line(result="store", spans=m["spans"], blocks=m["blocks"], bytes_per_span=round(m["bytes"] / m["spans"], 2),
                        ready_ms=round(server.ready_ms, 1))
        window = {"start": m["start_s"] - 60, "end": m["end_s"] + 60}
        measure(server, m["spans"], window, "planted operation", [i for i, _ in m["whole"]], runs, lines)
    finally:
        server.stop()


def earlier(path, lines):
    """The rows of a run before, into the chart."""
    for text in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
        row = json.loads(text) if text.startswith("{") else {}
        if "cpu_ms" in row:
            lines.setdefault(row["result"], []).append((row["spans"], row["cpu_ms"]))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--sizes", default="0.5,5,20", help="millions of spans")
    ap.add_argument("--runs", type=int, default=9)
    ap.add_argument("--vivace", default=str(TOP / "build" / "vivace"))
    ap.add_argument("--svg", help="write the chart here")
    ap.add_argument("--made", help="a folder of bench/large/run_large.py --data: asked as the last size")
    ap.add_argument("--rows", help="what an earlier run printed: more sizes for the chart")
    ap.add_argument("--keep", action="store_true", help="keep the data directory")
    a = ap.parse_args()
    run_server.BUILD.mkdir(parents=True, exist_ok=True)
    loadgen = run_server.build_loadgen()
    corpus = run_server.BUILD / "chunk.bin"
    data = tempfile.mkdtemp(prefix="vivace-growth-", dir=run_server.BUILD)
    server = Server(a.vivace, data)
    end = int(time.time())
    spans = chunks = 0
    ids, lines = [], {}
    try:
        server.start()
        if a.rows:
            earlier(a.rows, lines)
        for size in [float(s) for s in a.sizes.split(",") if s]:
            while spans < size * 1e6 * 0.999:
                subprocess.run([loadgen, "gen", "-traces", str(CHUNK_TRACES), "-seed", str(100 + chunks), "-minutes", str(CHUNK_MINUTES),
                                "-batch", "500", "-end", str(end - chunks * CHUNK_MINUTES * 60), "-out", corpus], check=True, stdout=sys.stderr)
                some = subprocess.run([loadgen, "ids", corpus], check=True, capture_output=True, text=True).stdout.split()
                ids += random.Random(chunks).sample(some, 20)
                sent = json.loads(subprocess.run([loadgen, "send", "-file", corpus, "-addr", f"127.0.0.1:{server.grpc}", "-summary-json"],
                                                 check=True, capture_output=True, text=True).stdout)
                if sent.get("failed"):
                    sys.exit(f"{sent['failed']} requests were refused")
                spans += sent["spans"]
                chunks += 1
                log(f"{spans} spans, {sent['spans_per_s']:.0f} spans/s, peak {server.peak_mib():.0f} MiB")
            needle = f"needle {spans}"
            send_needle(server, needle)
            peak = server.peak_mib()
            server.stop()
            server.start()
            server.rest()
            blocks = len(list(pathlib.Path(data).rglob("*.block")))
            size_bytes = run_server.block_bytes(data)
            run_server.line(result="store", spans=spans, blocks=blocks, bytes_per_span=round(size_bytes / spans, 2),
                            ready_ms=round(server.ready_ms, 1), peak_ingest_mib=round(peak, 1))
            window = {"start": end - chunks * CHUNK_MINUTES * 60 - 60, "end": int(time.time()) + 60}
            measure(server, spans, window, needle, ids, a.runs, lines)
        server.stop()
        if a.made:
            measure_made(a.made, a.runs, lines)
        for points in lines.values():
            points.sort()
        if a.svg:
            pathlib.Path(a.svg).write_text(svg.log_chart("CPU ms a query over spans stored", "spans", "ms", lines), encoding="utf-8")
    finally:
        if server.process.poll() is None:
            server.stop()
        corpus.unlink(missing_ok=True)
        if not a.keep:
            shutil.rmtree(data)


if __name__ == "__main__":
    main()
