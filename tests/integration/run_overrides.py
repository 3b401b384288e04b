#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Per-tenant limits and what hangs on them: bounds of ingest, reload of the file under load, logs, artificial delay, cost
attribution, forwarders (a second server takes what the first one forwards), /api/overrides.

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
from otlp import get, http_request, post, request, request_pb, span, trace_id  # noqa: E402
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
        for name, low in (("any", 0.3), ("now", 0)):
            began = time.monotonic()
            a = post(server, request([span()]), headers=tenant(name))
            c.equal(name, a.status, 200)
            took = time.monotonic() - began
            c.check(f"{name}: {took:.3f} s", took >= low)
            c.equal(f"{name}: measured", metric(server, "tempo_distributor_added_latency_seconds_count", tenant=name) or 0, int(low > 0))
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
        # Ten are over the queue, and an attempt at the hole takes five seconds and more.
        c.check("never waits", time.monotonic() - began < 30, time.monotonic() - began)
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


# ---- /api/overrides ----

EMPTY = {"cost_attribution": {}, "metrics_generator": {
    "processor": {"service_graphs": {}, "span_metrics": {}, "host_info": {}}}}


def call(server, method, body=None, version=None, path="/api/overrides", name="a"):
    headers = {**tenant(name), **({} if version is None else {"If-Match": version})}
    data = None if body is None else body if isinstance(body, str) else json.dumps(body)
    return http_request(server.url + path, method, data, headers)


def user_config(**more):
    return {"multitenancy_enabled": True, "overrides": {
        "user_configurable_overrides": {"enabled": True, **more}}}


def merged_limits():
    """scope=merged says everything that can be set, of whichever layer: posted again it is the same."""
    policies = [{"include": {"match_type": "strict", "attributes": [
                    {"key": "kind", "value": "SPAN_KIND_SERVER"}, {"key": "span.n", "value": 7},
                    {"key": "span.d", "value": 1.5}, {"key": "resource.b", "value": True}]}},
                {"include_any": {"match_type": "regex", "attributes": [{"key": "name", "value": "GET .*"}]}},
                {"exclude": {"match_type": "regex", "attributes": [{"key": "span.x\"y", "value": "z"}]}}]
    mappings = [{"name": "where", "source_labels": ["k8s.cluster.name", "host.name"], "join": "/"}]
    spans = {"filter_policies": policies, "dimension_mappings": mappings, "span_multiplier_key": "ratio",
             "enable_tracestate_span_multiplier": True}
    graphs = {"filter_policies": policies[1:], "enable_virtual_node_label": True,
              "enable_messaging_system_latency_histogram": True, "span_multiplier_key": "w"}
    config = user_config()
    config["distributor"] = {"usage": {"cost_attribution": {"enabled": True}}}
    config["overrides"]["defaults"] = {"cost_attribution": {"dimensions": {"resource.team": "t", "span.op": ""}}}
    with Server(config) as server:
        call(server, "POST", {"metrics_generator": {"collection_interval": "60s", "processor": {
            "span_metrics": spans, "service_graphs": graphs}}}, "0")
        merged = call(server, "GET", path="/api/overrides?scope=merged").json()
        got = merged["metrics_generator"]["processor"]
        for name, want in (("span_metrics", spans), ("service_graphs", graphs)):
            for key, value in want.items():
                c.equal(f"{name}.{key}", got[name][key], value)
        c.equal("what the file says", merged["cost_attribution"]["dimensions"].keys(), {"resource.team", "span.op"})
        version = call(server, "GET").header("etag").strip('"')
        again = call(server, "POST", merged, version)
        c.equal("is a valid request", (again.status, again.text), (200, ""))
        c.equal("and says the same", call(server, "GET", path="/api/overrides?scope=merged").json(), merged)


def user_limits():
    with Server() as server:
        c.equal("off", get(server, "/api/overrides").status, 404)
    config = user_config()
    config["distributor"] = {"forwarders": [forwarder("f", "127.0.0.1:1")],
                             "usage": {"cost_attribution": {"enabled": True}}}
    with Server(config) as server:
        a = call(server, "GET")
        c.equal("none", (a.status, a.body), (404, b""))
        for method in ("POST", "DELETE"):
            a = call(server, method, {})
            c.equal(f"{method} without If-Match", (a.status, a.text), (428, "must specify If-Match header\n"))
        a = call(server, "DELETE", version="0")
        c.equal("nothing to delete", a.status, 404)
        body = {"forwarders": ["f"], "cost_attribution": {"dimensions": {"service.name": "s"}},
                "metrics_generator": {"processors": [], "collection_interval": "60s",
                                      "ingestion_time_range_slack": 30 * 10**9,
                                      "native_histogram_bucket_factor": 1.5}}
        a = call(server, "POST", body, "7")
        c.equal("create with a version", (a.status, a.text), (412, "version does not match\n"))
        a = call(server, "POST", body, "x")
        c.equal("no version", (a.status, a.text), (412, "version is not valid\n"))
        a = call(server, "POST", body, "0")
        c.equal("create", (a.status, a.body), (200, b""))
        first = a.header("etag")
        a = call(server, "GET")
        want = {"forwarders": ["f"], "cost_attribution": {"dimensions": {"service.name": "s"}},
                "metrics_generator": {**EMPTY["metrics_generator"], "processors": [],
                                      "collection_interval": "1m0s", "ingestion_time_range_slack": "30s",
                                      "native_histogram_bucket_factor": 1.5}}
        c.equal("get", (a.status, a.header("etag"), a.header("content-type"), a.json()),
                (200, first, "application/json", want))
        merged = call(server, "GET", path="/api/overrides?scope=merged").json()
        c.equal("merged", (merged["forwarders"], merged["metrics_generator"]["collection_interval"],
                           merged["metrics_generator"]["processor"]["span_metrics"]["enable_instance_label"]),
                (["f"], "1m0s", True))
        c.equal("merged attribution", merged["cost_attribution"], {"dimensions": {"service.name": "s"}})
        a = call(server, "GET", path="/api/overrides?scope=all")
        c.equal("scope", (a.status, a.text),
                (400, 'unknown scope "all", valid options are api and merged\n'))
        post(server, request([span()], "shop"), headers=tenant("a"))
        c.equal("acts at once", set(usage(server, tenant="a")), {("shop",)})
        c.equal("forwarded", metric(server, "tempo_distributor_queue_pushes_total", name="f", tenant="a"), 1)
        a = call(server, "POST", {}, "0")
        c.equal("stale", (a.status, a.text), (412, "version does not match\n"))
        a = call(server, "PATCH", {"forwarders": None, "metrics_generator": {
            "collection_interval": None, "processors": ["span-metrics"]}})
        del want["forwarders"], want["metrics_generator"]["collection_interval"]
        want["metrics_generator"]["processors"] = ["span-metrics"]
        c.equal("patch", (a.status, a.json()), (200, want))
        second = a.header("etag")
        c.check("another version", second != first, second)
        c.equal("patch of nothing", call(server, "PATCH", {}, name="b").json(), EMPTY)
        for bad, text in (
                ({"x": 1}, 'json: unknown field "x"'),
                ({"metrics_generator": {"max_active_series": 1}}, 'json: unknown field "max_active_series"'),
                ({"forwarders": "f"}, "json: cannot unmarshal string into Go struct field"),
                ([], "json: cannot unmarshal array into Go value"),
                ("{", "invalid JSON"),
                ({"forwarders": ["g"]}, 'forwarder "g" is not a known forwarder, contact your system '
                 "administrator"),
                ({"metrics_generator": {"processors": ["p"]}}, 'metrics_generator.processor "p" is not a '
                 "known processor, valid values: [service-graphs"),
                ({"metrics_generator": {"collection_interval": "14s"}}, 'metrics_generator.collection_interval '
                 '"14s" is outside acceptable range of 15s to 5m'),
                ({"metrics_generator": {"collection_interval": "5m1s"}}, '"5m1s" is outside'),
                ({"metrics_generator": {"collection_interval": "soon"}}, "time: invalid duration"),
                ({"metrics_generator": {"ingestion_time_range_slack": "12h1s"}},
                 'metrics_generator.ingestion_time_range_slack "12h0m1s" is outside acceptable range of 0s to '
                 "12h"),
                ({"metrics_generator": {"generate_native_histograms": "m"}},
                 'metrics_generator.generate_native_histograms "m" is not a valid value, valid values: '
                 "classic, native, both"),
                ({"metrics_generator": {"trace_id_label_name": "a.b"}}, 'trace_id_label_name "a.b" is not'),
                ({"metrics_generator": {"native_histogram_bucket_factor": 1}}, "must be greater than 1"),
                ({"metrics_generator": {"processor": {"span_metrics": {"intrinsic_dimensions": {"no": True}}}}},
                 "no"),
                ({"metrics_generator": {"processor": {"span_metrics": {"filter_policies": [{"x": 1}]}}}}, "x"),
                ({"cost_attribution": {"dimensions": {"a": "x", "b": "x"}}}, "duplicate label name: 'x'"),
                ({"forwarders": [], "pad": "x" * 70000}, "request body is over")):
            for method in ("POST", "PATCH"):
                a = call(server, method, bad, second)
                c.equal(f"{method} {str(bad)[:80]}", (a.status, text in a.text), (400, True))
        for interval in ("15s", "5m"):
            c.equal(interval, call(server, "PATCH", {"metrics_generator": {
                "collection_interval": interval}}, name="b").status, 200)
        a = call(server, "POST", {}, "0", "/api/overrides?skip-conflicting-overrides-check=maybe")
        c.equal("parameter", (a.status, a.text), (400, "could not parse skip-conflicting-overrides-check, "
                                                  "must be a boolean value\n"))
        c.equal("method", call(server, "PUT", {}).status, 405)
        for name in ("a|b", "a/b", ""):
            c.equal(f"tenant {name!r}", call(server, "GET", name=name).status, 400)
        page = json.loads(get(server, "/status/overrides/a", {"Accept": "application/json"}).text)
        c.equal("page", (json.loads(page["user_configurable_overrides"]),
                         page["using_default_or_wildcard_runtime_overrides"]), (want, "default overrides"))
        server.restart(kill=True)
        a = call(server, "GET")
        c.equal("survives a kill", (a.json(), a.header("etag")), (want, second))
        c.equal("delete, stale", call(server, "DELETE", version=first).status, 412)
        a = call(server, "DELETE", version=second)
        c.equal("delete", (a.status, a.body, call(server, "GET").status), (200, b"", 404))
        third = call(server, "POST", {}, "0").header("etag")
        c.check("no version comes twice", int(third) > int(second), third)
        file = server.data_dir / "@overrides" / "user-limits"
        server.stop()
        file.write_bytes(file.read_bytes().replace(b"{}", b"[]", 1))
        server.start()
        c.equal("damaged: set aside", (call(server, "GET").status, file.with_name("user-limits.damaged").exists()),
                (404, True))
        c.equal("counted", metric(server, "tempo_overrides_user_configurable_overrides_reload_failed_total"), 1)
        c.equal("and goes on", call(server, "POST", {}, "0").status, 200)


def user_limits_conflict():
    config = user_config(api={"check_for_conflicting_runtime_overrides": True})
    with Server(config) as server:
        path = server.folder / "tenants.yaml"
        path.write_text(json.dumps({"overrides": {
            "a": {"ingestion": OPEN, "metrics_generator": {"disable_collection": True}},
            "b": {"ingestion": {**OPEN, "max_attribute_bytes": 9},
                  "metrics_generator": {"processors": ["span-metrics"]}}}}))
        server.config["overrides"]["per_tenant_override_config"] = str(path)
        server.restart()
        a = call(server, "POST", {}, "0")
        c.equal("conflict", (a.status, a.text[:58]),
                (400, "tenant has conflicting overrides set in runtime config, con"[:58]))
        c.equal("skipped", call(server, "POST", {}, "0", "/api/overrides?skip-conflicting-overrides-check=true")
                .status, 200)
        c.equal("processors are none", call(server, "POST", {}, "0", name="b").status, 200)
        merged = call(server, "GET", path="/api/overrides?scope=merged", name="b").json()
        c.equal("from the file", merged["metrics_generator"]["processors"], ["span-metrics"])
        call(server, "PATCH", {"metrics_generator": {"processors": ["host-info"]}}, name="b")
        merged = call(server, "GET", path="/api/overrides?scope=merged", name="b").json()
        c.equal("replaced", merged["metrics_generator"]["processors"], ["host-info"])
        post(server, request([span(attributes={"k": "0123456789"})]), headers=tenant("b"))
        c.equal("the rest stays", metric(server, "tempo_distributor_attributes_truncated_total", tenant="b",
                                         scope="span"), 1)


def main():
    for f in (user_limits, merged_limits, user_limits_conflict, burst, traces, trace_bytes, attributes, delay, debug_spans, span_log, reload_under_load,
              attribution, forwarders):
        c.run(f.__name__, f)
    c.finish()


if __name__ == "__main__":
    main()
