#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Adversarial shapes against a server: what each costs, and whether it is answered right. JSON lines.

run_shapes.py [--scale 1] [--only TEXT] [--vivace PROGRAM]

Each shape gets a server and a folder of its own, over OTLP/HTTP, one request after the other. It is asked twice: of what is
still in memory, and after a stop and a start of blocks. CPU is the process's own clock, flush and merges included. Exits with
1 when an answer is wrong, an ack is refused or the process dies.
"""
import argparse
import http.client
import json
import os
import pathlib
import sys
import time
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parents[1] / "tests" / "support"))
import shapes  # noqa: E402
from otlp import fields  # noqa: E402
from server import Server  # noqa: E402

CONFIG = {"overrides": {"defaults": {"ingestion": {"rate_limit_bytes": 10**10, "burst_size_bytes": 10**10, "max_traces_per_user": 0},
                                     "global": {"max_bytes_per_trace": 0}}}}


class Ask:
    """Questions; each keeps the CPU of its answer."""

    def __init__(self, server):
        self.server, self.cpu_ms = server, []

    def get(self, path, accept="application/json", **params):
        began = cpu(self.server)
        conn = http.client.HTTPConnection("127.0.0.1", self.server.http_port, timeout=120)
        conn.request("GET", path + "?" + urllib.parse.urlencode(params), headers={"Accept": accept})
        answer = conn.getresponse()
        body = answer.read()
        conn.close()
        self.cpu_ms.append((cpu(self.server) - began) * 1e3)
        return answer.status, body

    def count(self, filter_):
        now = int(time.time())
        status, body = self.get("/api/metrics/query", q=filter_ + " | count_over_time()", start=now - 86000, end=now + 60)
        if status != 200:
            return f"HTTP {status} {body[:200]!r}"
        series = json.loads(body).get("series", [])
        return round(sum(s.get("value", 0) for s in series))

    def search_ids(self, q):
        status, body = self.get("/api/search", q=q, limit=20)
        if status != 200:
            return f"HTTP {status} {body[:200]!r}"
        return {t["traceID"].rjust(32, "0") for t in json.loads(body).get("traces", [])}

    def trace(self, trace):
        """The spans (protobuf messages) of a trace."""
        status, body = self.get("/api/traces/" + trace, accept="application/protobuf")
        if status != 200:
            return f"HTTP {status} {body[:200]!r}"
        return [s for rs in fields(body).get(1, []) for ss in fields(rs).get(2, []) for s in fields(ss).get(2, [])]

    def trace_spans(self, trace):
        got = self.trace(trace)
        return got if isinstance(got, str) else len(got)

    def trace_v2(self, trace):
        """Whether it is whole, its status, the number of its spans."""
        status, body = self.get("/api/v2/traces/" + trace, accept="application/protobuf")
        if status != 200:
            return False, f"HTTP {status} {body[:200]!r}", 0
        top = fields(body)
        n = sum(len(fields(ss).get(2, [])) for t in top[1] for rs in fields(t).get(1, []) for ss in fields(rs).get(2, []))
        return 3 not in top, "PARTIAL" if top.get(3) == [1] and b"exceeds maximum size" in top[4][0] else str(top.get(3)), n

    def events(self, trace):
        got = self.trace(trace)
        return got if isinstance(got, str) else max(len(fields(s).get(11, [])) for s in got)


def cpu(server):
    return time.clock_gettime_ns((~server.pid << 3) | 2) / 1e9


def send(server, shape):
    raw, worst, took = 0, 0.0, []
    conn = http.client.HTTPConnection("127.0.0.1", server.otlp_http, timeout=120)
    for body, n in shape.bodies():
        raw += len(body)
        began = time.monotonic()
        conn.request("POST", "/v1/traces", body, {"Content-Type": "application/x-protobuf"})
        answer = conn.getresponse()
        text = answer.read()
        took.append(time.monotonic() - began)
        if answer.status != 200 or any(fields(p) for p in fields(text).get(1, [])):
            raise RuntimeError(f"{shape.name}: {n} spans: HTTP {answer.status} {text[:200]!r}")
    conn.close()
    took.sort()
    return raw, took


def disk(folder):
    return sum(f.stat().st_size for f in pathlib.Path(folder).rglob("*") if f.is_file() and not f.name.endswith(".mdb"))


def ask_all(server, shape, when):
    ask, right, wrong = Ask(server), 0, []
    for what, got, wanted in shape.answers(ask):
        if got == wanted:
            right += 1
        else:
            wrong.append(f"{when}: {what}: got {str(got)[:200]}, wanted {str(wanted)[:200]}")
    return {"right": right, "wrong": wrong, "most_cpu_ms": round(max(ask.cpu_ms), 1)}


def run(kind, scale):
    shape = kind(scale)
    with Server(CONFIG) as server:
        raw, took = send(server, shape)
        fresh = ask_all(server, shape, "fresh")
        used, peak = cpu(server), server.memory_mib("VmHWM")
        server.stop(limit=120)
        server.start()
        blocks = ask_all(server, shape, "blocks")
        return {"bench": "shapes", "shape": shape.name, "spans": shape.spans, "raw_bytes_span": round(raw / shape.spans),
                "cpu_us_span": round(used * 1e6 / shape.spans, 2), "cpu_ns_byte": round(used * 1e9 / raw, 2),
                "ack_p50_ms": round(took[len(took) // 2] * 1e3, 2), "ack_max_ms": round(took[-1] * 1e3, 1),
                "peak_mib": round(max(peak, server.memory_mib("VmHWM"))), "disk_bytes_span": round(disk(server.data_dir) / shape.spans, 1),
                "most_cpu_ms": [fresh["most_cpu_ms"], blocks["most_cpu_ms"]], "right": fresh["right"] + blocks["right"],
                "wrong": fresh["wrong"] + blocks["wrong"]}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--scale", type=float, default=1.0)
    ap.add_argument("--only", default="")
    ap.add_argument("--vivace")
    a = ap.parse_args()
    if a.vivace:
        os.environ["VIVACE"] = os.path.abspath(a.vivace)
    failed = 0
    for kind in shapes.SHAPES:
        if a.only in kind.name:
            row = run(kind, a.scale)
            failed += len(row["wrong"])
            print(json.dumps(row), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
