#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the gateway costs beside the same request to the bare port: CPU time of the server, JSON lines out.

run_gateway.py [--requests 20000] [--exports 1500] [--rounds 4]

One server in plain text with its gateway on and a fake API server beside it, caches warm. Rounds alternate
between the public port and the bare one; the medians are compared. Time outside the server does not count.
"""
import argparse
import http.client
import json
import os
import pathlib
import statistics
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(TOP / "tests" / "support"), str(TOP / "tests" / "integration")]
import venv  # noqa: E402

if os.environ.get("VIVACE_TEST_VENV") != "bench":
    os.environ["VIVACE_TEST_VENV"] = "bench"
    python = venv.python_for(TOP / "tests" / "integration" / "requirements.txt")
    os.execv(python, [python, *sys.argv])

from fake_kube import FakeKube  # noqa: E402
from gateway import DEV, Gateway  # noqa: E402
from gateway_http import people  # noqa: E402
from otlp import request, request_pb, span  # noqa: E402


def run(port, method, path, headers, body, n):
    conn = http.client.HTTPConnection("127.0.0.1", port)
    for _ in range(n):
        conn.request(method, path, body=body, headers=headers)
        r = conn.getresponse()
        r.read()
        assert r.status == 200, (path, r.status)
    conn.close()


def measure(g, ways, n, rounds):
    """Median CPU microseconds a request of each way, taken in turns."""
    spent = {name: [] for name in ways}
    for i in range(rounds + 1):
        for name, way in ways.items():
            before = g.cpu_seconds()
            run(*way, n if i else max(n // 20, 1))  # the first round warms
            if i:
                spent[name].append((g.cpu_seconds() - before) / n * 1e6)
    return {name: statistics.median(v) for name, v in spent.items()}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--requests", type=int, default=20000)
    p.add_argument("--exports", type=int, default=1500)
    p.add_argument("--rounds", type=int, default=4)
    a = p.parse_args()
    batch = request_pb(request([span(attributes={f"key{k}": f"value {k} of {i}" for k in range(8)})
                                for i in range(500)]))
    proto = {"Content-Type": "application/x-protobuf"}
    with FakeKube() as kube:
        people(kube)
        extra = {"storage": {"trace": {"wal": {"durability": "none"}}},  # the disk is not what is compared
                 "overrides": {"defaults": {"ingestion": {"rate_limit_bytes": 10**9,
                                                          "burst_size_bytes": 10**9,
                                                          "max_traces_per_user": 0}}}}
        with Gateway(kube, tls=False, extra=extra) as g:
            echo = measure(g, {
                "gateway": (g.public, "GET", "/api/traces/v1/dev/tempo/api/echo", g.bearer("both"), None),
                "bare": (g.http_port, "GET", "/api/echo", {"X-Scope-OrgID": DEV}, None),
            }, a.requests, a.rounds)
            ingest = measure(g, {
                "gateway": (g.public, "POST", "/api/traces/v1/dev/v1/traces", g.bearer("both", proto), batch),
                "bare": (g.otlp_http, "POST", "/v1/traces", {**proto, "X-Scope-OrgID": DEV}, batch),
            }, a.exports, a.rounds)
    print(json.dumps({"bench": "gateway", "what": "request", "us_gateway": round(echo["gateway"], 1),
                      "us_bare": round(echo["bare"], 1),
                      "us_more": round(echo["gateway"] - echo["bare"], 1), "us_more_limit": 20}))
    more = (ingest["gateway"] / ingest["bare"] - 1) * 100
    print(json.dumps({"bench": "gateway", "what": "export of 500 spans", "us_gateway":
                      round(ingest["gateway"]), "us_bare": round(ingest["bare"]),
                      "percent_more": round(more, 1), "percent_more_limit": 3}))


if __name__ == "__main__":
    main()
