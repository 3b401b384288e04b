# SPDX-License-Identifier: Apache-2.0
"""A store as large as a week of traffic: made by make_large, served by a server of tests/support, and what it must answer.

Used by run_large.py (figures) and by tests/integration/run_large.py (a small one, answers only).
"""
import http.client
import json
import os
import pathlib
import random
import subprocess
import sys
import time
import urllib.parse

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "support"))
from server import Server, program  # noqa: E402

TENANT = "single-tenant"


def maker():
    """The program make_large: of the build that the server is of, else of the release build."""
    near = pathlib.Path(program()).resolve().parent
    for path in (near / "bench" / "make_large", near.parent.parent / "bench" / "make_large",
                 TOP / "build" / "meson" / "bench" / "make_large"):
        if os.access(path, os.X_OK):
            return str(path)
    sys.exit("make_large is not built: ninja -C build/meson bench/make_large")


def make(folder, **options):
    """Makes the blocks of a server in `folder`; the manifest."""
    args = [f"--{name}={value}" for name, value in options.items()]
    done = subprocess.run([maker(), str(pathlib.Path(folder) / "blocks"), *args], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def config(compaction=False):
    """Nothing expires and, unless asked for, nothing is merged: the store stays as it was made."""
    ages = {"block_retention": "87600h", "compaction_disabled": not compaction}
    return {"compactor": {"compaction": {"compaction_cycle": "1s"}},
            "query_frontend": {"search": {"max_duration": "0s"}, "metrics": {"max_duration": "0s"}},
            "overrides": {"defaults": {"compaction": ages, "ingestion": {"rate_limit_bytes": 10**10, "burst_size_bytes": 10**10}}}}


def server(folder, **more):
    return Server(config(**more), folder=folder)


class Client:
    def __init__(self, port, tenant=None):
        self.conn = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.headers = {"X-Scope-OrgID": tenant} if tenant else {}

    def get(self, path, **params):
        """(status, parsed body, ms)"""
        began = time.monotonic()
        self.conn.request("GET", path + ("?" + urllib.parse.urlencode(params) if params else ""), headers=self.headers)
        answer = self.conn.getresponse()
        body = answer.read()
        took = (time.monotonic() - began) * 1e3
        return answer.status, json.loads(body) if body[:1] in (b"{", b"[") else body, took


def window(m):
    return {"start": m["start_s"] - 3600, "end": m["end_s"] + 3600}


def hex_id(text):
    return text.lstrip("0") or "0"


def searches(m):
    """name -> (path, parameters, check of the answer: None or what is wrong)"""
    w = window(m)

    def ids(answer):
        return sorted(hex_id(t["traceID"]) for t in answer["traces"])

    def exactly(want):
        want = sorted(hex_id(i) for i in want)
        return lambda a: None if ids(a) == want else f"{ids(a)} instead of {want}"

    def full(n):
        return lambda a: None if len(set(ids(a))) == n else f"{len(set(ids(a)))} traces instead of {n}"

    def search(q, limit=20):
        return "/api/search", {"q": q, "limit": limit, **w}

    def names(answer):
        got = {(s["name"], t) for s in answer["scopes"] for t in s["tags"]}
        want = {("resource", "k8s.pod.name"), ("span", "http.status_code"), ("span", "gen_ai.request.model"), ("span", "planted.key"),
                ("event", "exception.type"), ("link", "link.reason")}
        return None if want <= got else f"missing: {sorted(want - got)}"

    def values(want):
        def check(answer):
            got = {v["value"] for v in answer["tagValues"]}
            return None if got == want else f"{sorted(got ^ want)} differ"
        return check
    services = {s for s, n in m["services"].items() if n["spans"]}
    busiest = max(services, key=lambda s: m["services"][s]["spans"])
    return {
        "rare value": (*search('{ span.user.id = "planted-user" }'), exactly(m["planted_user"])),
        "service of three traces": (*search('{ resource.service.name = "planted-service" }'), exactly(m["planted_service"])),
        "one name": (*search('{ name = "planted operation" }'), exactly(m["planted_service"])),
        "service and error": (*search('{ resource.service.name = "cart" && status = error }'), full(20)),
        "absent value": (*search('{ span.user.id = "nobody" }'), exactly([])),
        "absent attribute": (*search('{ span.no.such.attribute = 1 }'), exactly([])),
        "name of one service": (*search(f'{{ resource.service.name = "{busiest}" && name != "" }}'), full(20)),
        "newest traces": (*search("{}"), full(20)),
        "tag names": ("/api/v2/search/tags", w, names),
        "values of service.name": ("/api/v2/search/tag/resource.service.name/values", w, values(services | {"planted-service"})),
        "values of planted.key": ("/api/v2/search/tag/span.planted.key/values", w, values({"planted value"})),
    }


def counts(m):
    """name -> (path, parameters, check): every span of the store is counted once."""
    w = window(m)

    def total(answer, label):
        out = {}
        for s in answer["series"]:
            name = next((x["value"]["stringValue"] for x in s["labels"] if x["key"] == label), "")
            out[name] = out.get(name, 0) + sum(x.get("value", 0) for x in s["samples"])
        return out

    def by_service(of):
        def check(answer):
            got = {k: round(v) for k, v in total(answer, "resource.service.name").items()}
            want = {k: v[of] for k, v in m["services"].items() if v[of]}
            if of == "spans":
                want["planted-service"] = len(m["planted_service"])
                want["cart"] += len(m["planted_user"])
            return None if got == want else f"{got} instead of {want}"
        return check

    def metrics(q):
        return "/api/metrics/query_range", {"q": q, "step": "3600s", **w}
    return {
        "spans by service": (*metrics("{ } | count_over_time() by (resource.service.name)"), by_service("spans")),
        "errors by service": (*metrics("{ status = error } | count_over_time() by (resource.service.name)"), by_service("errors")),
    }


def trace_check(client, trace_id, n_spans):
    """None, or what is wrong with the trace; and the milliseconds."""
    status, body, ms = client.get("/api/traces/" + trace_id)
    if n_spans == 0:
        return (None if status == 404 else f"{trace_id}: status {status}"), ms
    if status != 200:
        return f"{trace_id}: status {status}", ms
    got = sum(len(s["spans"]) for r in body["batches"] for s in r["scopeSpans"])
    return (None if got == n_spans else f"{trace_id}: {got} spans instead of {n_spans}"), ms


def absent_ids(n, seed=7):
    r = random.Random(seed)
    return [(f"{r.getrandbits(128):032x}", 0) for _ in range(n)]
