# SPDX-License-Identifier: Apache-2.0
"""What the latency and the mixed benchmark share: the client, corpora, a server on a folder of its own, its metrics."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path += [str(TOP / "tests" / "support"), str(TOP / "bench"), str(TOP / "bench" / "server")]
from run_server import BUILD, build_loadgen, line  # noqa: E402,F401
from server import Server, merge  # noqa: E402

# As bench/bench.yaml: defaults, with the tenant's limits out of the way.
NO_LIMITS = {"overrides": {"defaults": {"ingestion": {"rate_limit_bytes": 10_000_000_000, "burst_size_bytes": 10_000_000_000,
                                                      "max_traces_per_user": 0}}}}


def build_client():
    """bench/latency, next to bench/loadgen."""
    out = BUILD / "latency"
    subprocess.run(["go", "build", "-o", out, "."], cwd=TOP / "bench" / "latency", check=True)
    return out


def corpus(name, traces, batch, minutes=1.0, end=None):
    """A corpus of that many traces in requests of about `batch` spans; made anew: its end is now."""
    path = BUILD / f"{name}.bin"
    subprocess.run([build_loadgen(), "gen", "-traces", str(traces), "-seed", "3", "-minutes", str(minutes), "-batch", str(batch),
                    "-end", str(int(end or time.time())), "-out", path], check=True, stdout=sys.stderr)
    return path


class Lab:
    """A client and a server under it; leaving it stops the server and removes its folder."""

    def __init__(self, vivace, extra=None):
        os.environ["VIVACE"] = str(vivace)
        BUILD.mkdir(parents=True, exist_ok=True)
        self.client = build_client()
        self.folder = tempfile.mkdtemp(prefix="vivace-latency-", dir=BUILD)
        self.server = Server(merge(NO_LIMITS, extra or {}), folder=self.folder)

    def __enter__(self):
        self.server.start()
        return self

    def __exit__(self, *_):
        if self.server.alive():
            self.server.kill()
        shutil.rmtree(self.folder)

    def command(self, *args, **options):
        """The client's command line: options as --name value."""
        out = [str(self.client), *args]
        for name, value in options.items():
            out += ["-" + name.replace("_", "-"), str(value)]
        return out

    def run(self, *args, **options):
        done = subprocess.run(self.command(*args, **options), check=True, stdout=subprocess.PIPE, text=True)
        return json.loads(done.stdout)

    def send_command(self, file, proto, **options):
        port = self.server.otlp_grpc if proto == "grpc" else self.server.otlp_http
        return self.command("send", file=file, proto=proto, addr=f"127.0.0.1:{port}", **options)

    def send(self, file, proto, **options):
        """Sends, and says what it was to the server: CPU, requests in a sync of the log."""
        before, cpu = self.metrics(), self.cpu()
        done = subprocess.run(self.send_command(file, proto, **options), check=True, stdout=subprocess.PIPE, text=True)
        r = json.loads(done.stdout)
        after = self.metrics()
        syncs = after.get("tempo_wal_fsync_duration_seconds_count", 0) - before.get("tempo_wal_fsync_duration_seconds_count", 0)
        r["requests_per_sync"] = round(r["requests"] / syncs, 1) if syncs else None
        r["sync_mean_ms"] = round((after.get("tempo_wal_fsync_duration_seconds_sum", 0) - before.get("tempo_wal_fsync_duration_seconds_sum", 0))
                                  / syncs * 1e3, 3) if syncs else None
        r["server_cpu_us_a_request"] = round((self.cpu() - cpu) / max(r["requests"], 1) * 1e6, 1)
        return r

    def disk(self, seconds=2.0, size=4096, beside=""):
        """The disk where the server's log is: alone, or with a large file being written beside it."""
        return self.run("disk", dir=self.folder, seconds=seconds, bytes=size, beside=beside)

    def cpu(self):
        return time.clock_gettime_ns((~self.server.pid << 3) | 2) / 1e9  # the process's own clock

    def metrics(self):
        """Sums over the series of each name."""
        out = {}
        with urllib.request.urlopen(self.server.url + "/metrics", timeout=30) as answer:
            for text in answer.read().decode().splitlines():
                m = re.match(r"(\w+)(?:\{.*\})? ([-+.\deE]+)$", text)
                if m:
                    out[m[1]] = out.get(m[1], 0) + float(m[2])
        return out
