#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Per-tenant limits and what hangs on them: bounds of ingest, reload of the file under load, logs, artificial delay, cost
attribution, forwarders (a second server takes what the first one forwards).

Needs nothing beyond Python. ONLY=pattern runs some groups.
"""
import json
import pathlib
import re
import socket
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from checks import Checks  # noqa: E402
from otlp import get, post, request, request_pb, span, trace_id  # noqa: E402
from server import Server  # noqa: E402

c = Checks()
OPEN = {"rate_limit_bytes": 10**8, "burst_size_bytes": 10**8, "retry_info_enabled": True}


def metric(server, family, **labels):
    """The value of one series; None when it is not there."""
    for line in get(server, "/metrics").text.splitlines():
        m = re.fullmatch(re.escape(family) + r"(?:\{(.*)\})? (\S+)", line)
        if m and dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', m[1] or "")) == labels:
            return float(m[2])
    return None


def tenant(name):
    return {"X-Scope-OrgID": name}


def wait_for(what, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.05)
    return False


def discarded(server, reason, name="single-tenant"):
    return metric(server, "tempo_discarded_spans_total", reason=reason, tenant=name) or 0


# ---- limits of ingest ----

def burst():
    """A request of exactly the burst passes, one byte more never does."""
    spans = [span(attributes={"pad": "x" * 500})]
    with Server() as server:
        post(server, request(spans))
        size = int(metric(server, "tempo_distributor_bytes_received_total", tenant="single-tenant"))
    for cap, status in ((size - 1, 429), (size, 200), (size + 1, 200)):
        limits = {"rate_limit_bytes": 1, "burst_size_bytes": cap}
        with Server({"overrides": {"defaults": {"ingestion": limits}}}) as server:
            a = post(server, request(spans))
            c.equal(f"{size} bytes, burst {cap}", a.status, status)
            c.equal(f"burst {cap}: counted", discarded(server, "rate_limited"), int(status == 429))
            if status == 429:
                c.equal("text", a.json()["message"],
                        f"RATE_LIMITED: batch size ({size} bytes) exceeds ingestion limit (local: 1 "
                        f"bytes/s, global: 0 bytes/s, burst: {cap} bytes) while adding {size} bytes for "
                        "user single-tenant. consider reducing batch size or increasing rate limit.")


def traces():
    limits = {"ingestion": {**OPEN, "max_traces_per_user": 2}}
    with Server({"overrides": {"defaults": limits}}) as server:
        ids = [trace_id() for _ in range(3)]
        for n, trace in enumerate(ids):
            a = post(server, request([span(trace)]))
            refused = a.json()["partialSuccess"].get("rejectedSpans", 0)
            c.equal(f"trace {n + 1} of 2", (a.status, int(refused)), (200, int(n == 2)))
        c.equal("more of a live one", post(server, request([span(ids[0])])).json()["partialSuccess"], {})
        c.equal("counted", discarded(server, "live_traces_exceeded"), 1)
        c.check("log", re.search(rf"msg=LIVE_TRACES_EXCEEDED max=2 trace={ids[2]} insight=true",
                                 server.log_text()), server.log_tail())


def trace_bytes():
    """Two kinds of refusal in one request are both logged, with the sizes that led to them."""
    big = trace_id()
    limits = {"ingestion": {**OPEN, "max_traces_per_user": 1}, "global": {"max_bytes_per_trace": 1000}}
    with Server({"overrides": {"defaults": limits}}) as server:
        post(server, request([span(big, attributes={"pad": "x" * 600})]))
        a = post(server, request([span(big, attributes={"pad": "x" * 600}), span()]))
        c.equal("answer", (a.status, int(a.json()["partialSuccess"]["rejectedSpans"])), (200, 2))
        c.equal("too large", discarded(server, "trace_too_large"), 1)
        c.equal("too many", discarded(server, "live_traces_exceeded"), 1)
        log = server.log_text()
        m = re.search(rf"msg=TRACE_TOO_LARGE max=1000 traceSz=(\d+) totalSize=(\d+) trace={big} "
                      "insight=true", log)
        c.check("sizes", m and 600 < int(m[1]) < 800 and int(m[2]) == 2 * int(m[1]), server.log_tail())
        c.contains("the other line", log, "msg=LIVE_TRACES_EXCEEDED")


def attributes():
    limits = {"ingestion": {**OPEN, "max_attribute_bytes": 12}}
    with Server({"overrides": {"defaults": limits}}) as server:
        for n in (11, 12, 13):
            post(server, request([span(attributes={"k": "v" * n})]))
            cut = metric(server, "tempo_distributor_attributes_truncated_total",
                         tenant="single-tenant", scope="span") or 0
            c.equal(f"{n} of 12 bytes", cut, int(n == 13))
        c.contains("log", server.log_text(), "total_truncated=1 max_size_bytes=12 example_scope=span "
                   "example_name=k example_field=value example_orig_size=13")


def delay():
    """The tenant's own delay, even 0, wins over the distributor's; a stop does not wait for it."""
    config = {"multitenancy_enabled": True, "distributor": {"artificial_delay": "400ms"}}
    with Server(config) as server:
        path = server.folder / "tenants.yaml"
        path.write_text(json.dumps({"overrides": {
            "now": {"ingestion": {**OPEN, "artificial_delay": "0s"}},
            "slow": {"ingestion": {**OPEN, "artificial_delay": "20s"}}}}))
        server.config["overrides"] = {"per_tenant_override_config": str(path)}
        server.restart()
        for name, low, high in (("any", 0.3, 3), ("now", 0, 0.3)):
            began = time.monotonic()
            a = post(server, request([span()]), headers=tenant(name))
            c.equal(name, a.status, 200)
            took = time.monotonic() - began
            c.check(f"{name}: {took:.3f} s", low <= took <= high)
        c.equal("measured", metric(server, "tempo_distributor_added_latency_seconds_count",
                                   tenant="any"), 1)
        answers = []
        t = threading.Thread(target=lambda: answers.append(
            post(server, request([span()]), headers=tenant("slow")).status))
        t.start()
        wait_for(lambda: metric(server, "tempo_distributor_spans_received_total", tenant="slow"))
        server.stop()
        t.join(5)
        c.equal("answered at the stop", answers, [200])


def debug_spans():
    for root_only, want in ((False, 2), (True, 1)):
        on = {"enabled": True, "root_only": root_only}
        with Server({"distributor": {"metric_received_spans": on}}) as server:
            root = span(name="get")
            child = span(root["traceId"], name="get", parentSpanId=root["spanId"])
            post(server, request([root, child], "shop"))
            c.equal(f"root_only {root_only}", metric(
                server, "tempo_distributor_debug_spans_received_total", tenant="single-tenant",
                name="get", service="shop"), want)


def span_log():
    on = {"enabled": True, "include_all_attributes": True, "filter_by_status_error": True}
    with Server({"distributor": {"log_received_spans": on, "log_discarded_spans": on}}) as server:
        good = span(name="fine", status={"code": 1})
        bad = span(name="bad", attributes={"http.path": "/x"}, status={"code": 2}, kind=2, ms=1500)
        zero = {**span(name="zero", status={"code": 2}), "spanId": "0" * 16}
        post(server, request([good, bad, zero]))
        log = server.log_text()
        c.contains("received", log, "msg=received span_service_name=svc span_http_path=/x span_name=bad "
                   "span_duration_seconds=1.5 span_kind=SPAN_KIND_SERVER "
                   f"span_status=STATUS_CODE_ERROR spanid={bad['spanId']} traceid={bad['traceId']}")
        c.check("filter", good["spanId"] not in log)
        c.check("discarded", re.search(r"msg=discarded tenant=single-tenant span_service_name=svc "
                                       r"span_name=zero .*spanid=0{16} ", log), server.log_tail())


# ---- the file ----

def reload_under_load():
    """A tenant's rate goes up and down while it sends: every request is decided by one of the two."""
    with Server({"multitenancy_enabled": True}) as server:
        path = server.folder / "tenants.yaml"

        def write(flat, on):
            rate = 10**8 if on else 1
            entry = {"ingestion_rate_limit_bytes": rate, "ingestion_burst_size_bytes": rate} if flat else \
                {"ingestion": {"rate_limit_bytes": rate, "burst_size_bytes": rate}}
            path.with_suffix(".new").write_text(json.dumps({"overrides": {"a": entry}}))
            path.with_suffix(".new").replace(path)
        write(False, True)
        server.config["overrides"] = {"per_tenant_override_config": str(path),
                                      "per_tenant_override_period": "100ms"}
        server.restart()
        body, stop, seen = request_pb(request([span()])), threading.Event(), []

        def send():
            while not stop.is_set():
                seen.append(post(server, body, "application/x-protobuf", tenant("a")).status)
        threads = [threading.Thread(target=send) for _ in range(3)]
        for t in threads:
            t.start()
        for n in range(6):
            write(n % 2 == 0, n % 2 == 1)
            want, at = (200 if n % 2 else 429), len(seen)
            c.check(f"change {n}", wait_for(lambda w=want, a=at: w in seen[a + 3:]), seen[-5:])
        stop.set()
        for t in threads:
            t.join()
        c.equal("nothing else", set(seen), {200, 429})
        c.equal("exported", metric(server, "tempo_limits_overrides", user="a",
                                   limit_name="ingestion_rate_limit_bytes"), 10**8)
        path.write_text("overrides: {a: {zz: 1}}")
        ok = "tempo_runtime_config_last_reload_successful"
        c.check("broken", wait_for(lambda: metric(server, ok, config="overrides") == 0))
        c.equal("old limits stay", post(server, body, "application/x-protobuf", tenant("a")).status, 200)
        path.write_text("overrides: {}")
        c.check("mended", wait_for(lambda: metric(server, ok, config="overrides") == 1))
        c.check("gone", wait_for(lambda: metric(server, "tempo_limits_overrides", user="a",
                                                limit_name="ingestion_rate_limit_bytes") is None))


# ---- cost attribution ----

USAGE = "tempo_usage_tracker_bytes_received_total"


def usage(server, **labels):
    """Bytes by the given labels' values: {(value, ...): bytes}."""
    out = {}
    for line in get(server, "/usage_metrics").text.splitlines():
        m = re.fullmatch(USAGE + r"\{(.*)\} (\d+)", line)
        if m:
            got = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', m[1]))
            if all(got.get(k) == v for k, v in labels.items()):
                key = tuple(v for k, v in sorted(got.items()) if k not in ("tenant", "tracker"))
                out[key] = out.get(key, 0) + int(m[2])
    return out


def attribution():
    on = {"usage": {"cost_attribution": {"enabled": True, "stale_duration": "2s"}}}
    with Server() as server:
        c.equal("off", get(server, "/usage_metrics").status, 404)
    with Server({"multitenancy_enabled": True, "distributor": on}) as server:
        path = server.folder / "tenants.yaml"

        def write(**attribution):
            path.write_text(json.dumps({"overrides": {"a": {
                "ingestion": OPEN, "cost_attribution": attribution}}}))
        write(dimensions={"service.name": "service", "span.team": "", "resource.9x": ""})
        server.config["overrides"] = {"per_tenant_override_config": str(path),
                                      "per_tenant_override_period": "100ms"}
        server.restart()
        spans = [span(attributes={"team": "red"}), span(attributes={"team": 7}),
                 span(attributes={"team": "re\"d\n"}), span(attributes={"service.name": "own"})]
        post(server, request(spans, "shop", {"team": "not the span's", "9x": "nine"}), headers=tenant("a"))
        post(server, request([span()]), headers=tenant("b"))
        got = usage(server, tenant="a", tracker="cost-attribution")
        c.equal("series", set(got), {("nine", "shop", "red"), ("nine", "shop", "__missing__"),
                                     ("nine", "shop", 're\\"d\\n'), ("nine", "own", "__missing__")})
        c.contains("labels", get(server, "/usage_metrics").text, f'{USAGE}{{_x="nine",service="shop",'
                   'team="red",tenant="a",tracker="cost-attribution"}')
        c.equal("not configured", usage(server, tenant="b"), {})
        total = metric(server, "tempo_distributor_bytes_received_total", tenant="a")
        c.check("the sum is the request", 0 <= total - sum(got.values()) <= 8, (total, got))
        for cap in (2, 3, 4):
            write(dimensions={"team": f"team{cap}"}, max_cardinality=4 + cap)
            time.sleep(0.4)
            for n in range(3):
                post(server, request([span(attributes={"team": f"t{n}"})]), headers=tenant("a"))
            got = [k for k in usage(server, tenant="a") if len(k) == 1]
            want = {2: {("t0",), ("t1",), ("__overflow__",)}, 3: {("t0",), ("t1",), ("t2",)}}
            c.equal(f"cap {cap}", set(got), want[min(cap, 3)])
            c.check("stale series go", wait_for(lambda: usage(server, tenant="a") == {}))
            write(dimensions={"service.name": "", "k8s": "x", "a": "y"})
            time.sleep(0.4)
            for n in range(4):
                post(server, request([span()], f"s{n}"), headers=tenant("a"))
        for bad, text in (({"a.b": "", "a_b": ""}, "has duplicate label name: 'a_b', both 'a.b' and 'a_b' "
                           "map to it"), ({"x": "__y"}, "has invalid label name: '__y'"),
                          ({"tenant": ""}, "has invalid label name: 'tenant'")):
            write(dimensions=bad)
            c.check(f"{bad}", wait_for(lambda t=text: t in server.log_text()), server.log_tail(3))
            write(dimensions={})
            wait_for(lambda: metric(server, "tempo_runtime_config_last_reload_successful",
                                    config="overrides") == 1)


# ---- forwarders ----

def forwarder(name, *endpoints):
    return {"name": name, "backend": "otlpgrpc",
            "otlpgrpc": {"endpoints": list(endpoints), "tls": {"insecure": True}}}


def stored(server, trace, name):
    return get(server, f"/api/traces/{trace}", tenant(name)).status == 200


def forwarders():
    """Spans arrive as they were sent; an endpoint that hangs or is gone costs the client nothing."""
    hole = socket.create_server(("127.0.0.1", 0), backlog=100)  # connects, and never says a word
    gone = socket.create_server(("127.0.0.1", 0))
    gone.close()
    with Server({"multitenancy_enabled": True}) as one, Server({"multitenancy_enabled": True}) as two, \
            Server({"multitenancy_enabled": True}) as server:
        path = server.folder / "tenants.yaml"

        def write(**names):
            path.write_text(json.dumps({"overrides": {t: {"ingestion": {**OPEN, "max_attribute_bytes": 5},
                                                         "forwarders": f} for t, f in names.items()}}))
        write(a=["both"], b=["hole"], c=["nothing"])
        server.config["overrides"] = {"per_tenant_override_config": str(path),
                                      "per_tenant_override_period": "100ms"}
        server.config["distributor"]["forwarders"] = [
            forwarder("both", one.grpc_target, two.grpc_target),
            forwarder("hole", f"127.0.0.1:{hole.getsockname()[1]}", f"127.0.0.1:{gone.getsockname()[1]}"
                      if gone.fileno() != -1 else "127.0.0.1:1")]
        server.restart()
        good, bad = span(attributes={"long": "x" * 100}), {**span(), "spanId": "0" * 16}
        c.equal("sent", post(server, request([good, bad]), headers=tenant("a")).status, 200)
        whole = span(attributes={"long": "y" * 100})
        post(server, request([whole]), headers=tenant("a"))
        for peer in (one, two):
            for s in (good, whole):
                c.check("arrived", wait_for(lambda s=s, p=peer: stored(p, s["traceId"], "a")))
        c.contains("untruncated", get(one, f"/api/v2/traces/{whole['traceId']}", tenant("a")).text, "y" * 100)
        c.equal("pushes", metric(server, "tempo_distributor_queue_pushes_total", name="both", tenant="a"), 2)
        c.equal("failures", metric(server, "tempo_distributor_queue_pushes_failures_total", name="both",
                                   tenant="a"), 0)
        began = time.monotonic()
        for _ in range(110):
            c.equal("never blocks", post(server, request([span()]), headers=tenant("b")).status, 200)
        c.check("never waits", time.monotonic() - began < 5, time.monotonic() - began)
        length = metric(server, "tempo_distributor_queue_length", name="hole", tenant="b")
        failed = metric(server, "tempo_distributor_queue_pushes_failures_total", name="hole", tenant="b")
        c.equal("bounded", (length, failed), (100, 8))  # two are under way
        c.equal("deprecated counters", metric(server, "tempo_distributor_forwarder_pushes_failures_total",
                                              tenant="b"), 8)
        c.equal("unknown", post(server, request([span()]), headers=tenant("c")).status, 200)
        c.contains("unknown", server.log_text(), "failed to find forwarder by name")
        write(a=[])
        time.sleep(0.4)
        post(server, request([span()]), headers=tenant("a"))
        c.equal("no longer", metric(server, "tempo_distributor_queue_pushes_total", name="both",
                                    tenant="a"), 2)
    hole.close()


def main():
    for f in (burst, traces, trace_bytes, attributes, delay, debug_spans, span_log, reload_under_load,
              attribution, forwarders):
        c.run(f.__name__, f)
    c.finish()


if __name__ == "__main__":
    main()
