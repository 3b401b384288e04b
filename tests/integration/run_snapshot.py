#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`vivace snapshot` of a server that takes spans, flushes, merges and is killed: what was acknowledged before is in the copy.

Two tenants send without pause; blocks are sealed after fractions of a second and merged at once, so that each copy meets
files that vanish under it. A server is started from every copy and asked for each trace. ROUNDS=n copies (6).
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from checks import Checks  # noqa: E402
from otlp import get, http_request, post, request, request_pb, span, trace_id, window  # noqa: E402
from server import Server, program  # noqa: E402

c = Checks()
TENANTS = ("one", "two")
SPANS = 20
LIMITS = {"overrides": {"user_configurable_overrides": {"enabled": True}}}
CONFIG = {**LIMITS, "multitenancy_enabled": True,
          "live_store": {"max_block_bytes": 40000, "max_block_duration": "300ms"},
          "compactor": {"compaction": {"compaction_cycle": "200ms"}}}


class Writer(threading.Thread):
    """Traces 1, 2, ... of one tenant, each a request; acked counts those that were answered."""

    def __init__(self, server, tenant):
        super().__init__(daemon=True)
        self.server, self.tenant = server, tenant
        self.acked = self.sent = 0
        self.stopping = False
        self.error = None

    def run(self):
        while not self.stopping:
            n = self.sent + 1
            body = request_pb(request([span(trace=trace_id(n), name=f"op {k}", attributes={"n": n, "text": f"{self.tenant} {n} {k}" * 10})
                                       for k in range(SPANS)], self.tenant))
            self.sent = n
            try:
                answer = post(self.server, body, "application/x-protobuf", {"X-Scope-OrgID": self.tenant})
            except OSError as e:
                self.error = str(e)
                return
            if answer.status != 200:
                self.error = str(answer)
                return
            self.acked = n


def snapshot(server, to, *more):
    return subprocess.run([program(), "snapshot", *more, "-data", str(server.data_dir), "-wal", str(server.wal_dir), str(to)],
                          capture_output=True, text=True, timeout=120, check=False)


def restored(folder):
    return Server({**LIMITS, "multitenancy_enabled": True, "storage": {"trace": {"local": {"path": str(folder)}, "wal": {"path": str(folder)}}}})


def look(folder, before, after):
    """Every trace acknowledged before is there once and whole; nothing that was never sent."""
    with restored(folder) as server:
        for tenant in TENANTS:
            headers = {"X-Scope-OrgID": tenant}
            answer = get(server, "/api/search", headers, q="{ }", limit=100000, spss=1)
            found = {int(t["traceID"], 16): t["spanSets"][0]["matched"] for t in answer.json()["traces"]}
            missing = [n for n in range(1, before[tenant] + 1) if found.get(n) != SPANS]
            c.check(f"{tenant}: {before[tenant]} traces", not missing, missing[:10])
            n = before[tenant]
            c.contains(f"{tenant}: a trace by id", get(server, f"/api/v2/traces/{trace_id(n)}", headers).text, f"{tenant} {n} {SPANS - 1}")
            answer = get(server, "/api/metrics/query", headers, q="{ } | count_over_time()", **window())
            total = sum(s.get("value", 0) for s in json.loads(answer.body).get("series", []))
            c.check(f"{tenant}: nothing twice, nothing else", before[tenant] * SPANS <= total <= after[tenant] * SPANS and total % SPANS == 0,
                    (before[tenant], total, after[tenant]))


def limits(server, to):
    """What a tenant set by itself is copied too."""
    headers = {"X-Scope-OrgID": "one", "If-Match": "0", "Content-Type": "application/json"}
    body = json.dumps({"metrics_generator": {"collection_interval": "17s"}}).encode()
    answer = http_request(server.url + "/api/overrides", "POST", body, headers)
    c.equal("limits set", answer.status, 200)
    c.equal("exit", snapshot(server, to, "-copy").returncode, 0)
    with restored(to) as other:
        c.contains("limits copied", get(other, "/api/overrides", {"X-Scope-OrgID": "one"}).text, '"17s"')


def main():
    rounds = int(os.environ.get("ROUNDS", "6"))
    with Server(CONFIG) as server:
        writers = {t: Writer(server, t) for t in TENANTS}
        for w in writers.values():
            w.start()
        linked = merged = 0
        for i in range(rounds):
            time.sleep(0.7)
            with c.case(f"copy {i}"):
                to = server.folder / f"copy-{i}"
                more = [["-verify"], ["-copy"], []][i % 3]
                before = {t: w.acked for t, w in writers.items()}
                done = snapshot(server, to, *more)
                after = {t: w.sent for t, w in writers.items()}
                c.equal("exit", (done.returncode, done.stderr), (0, ""))
                c.check("writers run", all(w.error is None for w in writers.values()), [w.error for w in writers.values()])
                linked += int(done.stdout.split(" bytes, ")[1].split()[0]) > 0
                shared = done.stdout.split(" bytes, ")[1].split()[0]
                c.check("-copy shares nothing", "-copy" not in more or shared == "0", done.stdout)
                look(to, before, after)
                shutil.rmtree(to)
        c.check("some were links", linked > 0)
        metrics = get(server, "/metrics").text
        merged = sum(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith("tempodb_compaction_blocks_total"))
        c.check("merges went on meanwhile", merged > rounds, merged)
        for w in writers.values():
            w.stopping = True
        for w in writers.values():
            w.join()
        with c.case("after kill -9"):
            before = {t: w.acked for t, w in writers.items()}
            server.kill()
            to = server.folder / "dead"
            c.equal("exit", snapshot(server, to, "-verify").returncode, 0)
            look(to, before, {t: w.sent for t, w in writers.items()})
            server.start()
        limits(server, server.folder / "limits")
        refusals(server)


def refusals(server):
    taken = server.folder / "dead"
    done = snapshot(server, taken)
    c.check("never over something", done.returncode == 2 and "exists already" in done.stderr, done.stderr)
    done = snapshot(server, server.folder / "no" / "such")
    c.check("no parent", done.returncode == 2 and not (server.folder / "no").exists(), done.stderr)
    done = subprocess.run([program(), "snapshot"], capture_output=True, text=True, check=False)
    c.check("usage", done.returncode == 2 and done.stderr.startswith("usage: vivace snapshot"), done.stderr)


c.run("snapshot", main)
c.finish()
