#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The metrics generator end to end: every recorded case of Tempo 3.0.3, delivery over outages and
restarts, and a real Prometheus behind it.

The cases run side by side, each against a server and a receiver of its own. Needs nothing beyond
Python, and Debian's prometheus for the last group. ONLY=pattern runs some groups.
"""
import concurrent.futures
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "support"))
sys.path.insert(0, str(TESTS / "conformance"))
import generator  # noqa: E402
import remote_write_sink as wire  # noqa: E402
from checks import Checks  # noqa: E402
from otlp import now_ns, post, request, span, trace_id  # noqa: E402
from server import Server, ServerError, free_ports, program, sanitized  # noqa: E402

c = Checks()
SLOW = 4 if sanitized() else 1
CASES = generator.load(str(TESTS / "conformance" / "generator_cases.json"))


PORTS = threading.Lock()


def started(extra, folder=None):
    """A server that runs; many start at once, and a free port may be taken in between."""
    with PORTS:
        for attempt in range(5):
            server = Server(extra, folder=folder)
            try:
                server.start(timeout=20 * SLOW)
                return server
            except ServerError:
                if attempt == 4 or "already in use" not in server.log_text():
                    raise
                server.log_path.unlink()
    return None


# ---- what Tempo sends ----

def one_case(name):
    """(passed, failures) of one recorded case."""
    case = CASES[name]
    sink = wire.Sink(0, case.get("refuse", ()))
    folder = pathlib.Path(tempfile.mkdtemp(prefix="vivace-generator-"))
    try:
        extra = generator.serve_config(case, sink.port, str(folder / "data"))
        with started(extra, folder) as server:
            passed, bad, _ = generator.run(case, server.otlp_url, sink, server.url, 15 * SLOW)
        return passed, bad
    finally:
        sink.close()
        shutil.rmtree(folder, ignore_errors=True)


def cases(only=()):
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        runs = {name: pool.submit(one_case, name) for name in CASES if not only or name in only}
        for name, run in runs.items():
            with c.case(f"case {name}"):
                passed, bad = run.result()
                c.passed += passed
                for text in bad[:20]:
                    c.check(text, False)
                if len(bad) > 20:
                    c.check(f"and {len(bad) - 20} more", False)


# ---- delivery ----

class Receiver(http.server.ThreadingHTTPServer):
    """An endpoint whose answers a test decides: answer(n, headers) -> (status, headers)."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port=0, answer=None):
        self.requests, self.samples, self.lock = [], {}, threading.Lock()
        self.answer = answer or (lambda n, headers: (204, {}))
        super().__init__(("127.0.0.1", port), Request)
        self.port = self.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/push"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def take(self, body):
        """Keeps {series: [(time, value)]} in the order of arrival."""
        for number, entry in wire.fields(wire.unsnappy(body)):
            if number != 1:
                continue
            labels, points = {}, []
            for kind, value in wire.fields(entry):
                if kind == 1:
                    name, text = wire.label(value)
                    labels[name] = text
                elif kind == 2:
                    d = dict(wire.fields(value))
                    points.append((wire.signed(d.get(2, 0)), d.get(1, 0.0)))
            labels.pop("__metrics_gen_instance", None)
            key = labels.pop("__name__") + json.dumps(labels, sort_keys=True)
            self.samples.setdefault(key, []).extend(points)

    def of(self, name, text=""):
        """The points of the one series with that name and that text in its labels."""
        with self.lock:
            found = [v for k, v in self.samples.items() if k.startswith(name + "{") and text in k]
            return list(found[0]) if found else []

    def close(self):
        self.shutdown()
        self.server_close()


class Request(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args):  # pylint: disable=arguments-differ
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {k.lower(): v for k, v in self.headers.items()}
        with self.server.lock:
            status, extra = self.server.answer(len(self.server.requests), headers)
            self.server.requests.append((time.monotonic(), status, headers))
            if status < 300:
                self.server.take(body)
        self.send_response(status)
        for name, value in extra.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()


def settings(*endpoints, interval="1s", processors=("span-metrics",), data=None, **storage):
    return {"metrics_generator": {"registry": {"collection_interval": interval},
                                  "processor": {"service_graphs": {"wait": "1s"}},
                                  "storage": {"path": data or "generator",
                                              "remote_write": list(endpoints), **storage}},
            "overrides": {"defaults": {"metrics_generator": {"processors": list(processors)}}}}


def send(server, name="op", n=1, service="svc", headers=None):
    now = now_ns()
    spans = [span(trace_id(), name=name, start=now - 10**7) for _ in range(n)]
    a = post(server, request(spans, service), headers=headers)
    if a.status != 200:
        raise AssertionError(f"not stored: {a}")


def until(what, seconds=20):
    """Waits for a condition; gives its last value."""
    end = time.monotonic() + seconds * SLOW
    while True:
        got = what()
        if got or time.monotonic() > end:
            return got
        time.sleep(0.05)


def metric(server, name, part=""):
    """The sum of a family's series that have `part` in their labels."""
    with urllib.request.urlopen(server.url + "/metrics", timeout=10) as a:
        lines = a.read().decode().splitlines()
    return sum(float(x.rsplit(" ", 1)[1]) for x in lines
               if x.startswith(name + "{") and part in x)


CALLS, SIZE = "traces_spanmetrics_calls_total", "traces_spanmetrics_size_total"


def whole(name, points, first, last):
    """Every second from first to last has its sample, in order, once."""
    times = [t for t, _ in points]
    c.check(f"{name}: in order", times == sorted(times), times)
    c.check(f"{name}: nothing twice", len(set(times)) == len(times), times)
    inside = [t / 1000 for t in times if first <= t / 1000 <= last]
    gaps = [b - a for a, b in zip([first] + inside, inside + [last])]
    c.check(f"{name}: no gap", max(gaps) < 2.2 * SLOW, gaps)


def outage():
    """The receiver is away, the server is killed meanwhile: nothing is lost, order is kept."""
    port, = free_ports(1)
    endpoint = {"url": f"http://127.0.0.1:{port}/push", "queue_config": {"max_backoff": "200ms"}}
    with started(settings(endpoint)) as server:
        send(server, "before")
        begun = time.time() + 1.5
        until(lambda: time.time() > begun + 3)
        c.check("the outage is logged once", server.log_text().count("remote write fails") == 1)
        killed = time.time()
        server.kill()
        server.start(timeout=20 * SLOW)
        send(server, "after")
        again = time.time() + 1.5
        until(lambda: time.time() > again + 2)
        receiver = Receiver(port)
        try:
            until(lambda: receiver.of(CALLS, "after"))
            time.sleep(1.5)
            whole("before the kill", receiver.of(CALLS, "before"), begun, killed - 1)
            whole("after it", receiver.of(CALLS, "after"), again, time.time() - 2)
            c.contains("the end of the outage is logged", server.log_text(), "works again")
            c.equal("no sample is dropped", metric(server, "prometheus_remote_storage_samples_dropped_total"), 0)
            seconds = server.stop()
            c.check("stops in time", seconds < 2 * SLOW, seconds)
        finally:
            receiver.close()


def endpoints():
    """One endpoint that is away does not hold up another; each has its own relabeling."""
    port, = free_ports(1)
    good = Receiver()
    drop = {"source_labels": ["__name__"], "regex": "traces_spanmetrics_(size|latency).*",
            "action": "drop"}
    add = {"target_label": "cluster", "replacement": "c1"}
    try:
        with started(settings(
                {"url": good.url, "name": "good", "write_relabel_configs": [drop, add],
                 "headers": {"X-Way": "one"}, "basic_auth": {"username": "u", "password": "p"}},
                {"url": f"http://127.0.0.1:{port}/push", "name": "away",
                 "queue_config": {"max_backoff": "100ms"}})) as server:
            send(server, "op")
            begun = time.time() + 1.5
            until(lambda: len(good.of(CALLS, '"cluster": "c1"')) > 2)
            c.check("relabeling", good.of(CALLS, '"cluster": "c1"') and not good.of(SIZE))
            head = good.requests[0][2]
            c.equal("header", head.get("x-way"), "one")
            c.equal("credentials", head.get("authorization"), "Basic dTpw")
            c.check("what is dropped is counted", until(lambda: metric(
                server, "prometheus_remote_storage_samples_dropped_total", 'reason="dropped_series"')))
            away = Receiver(port)
            until(lambda: away.of(SIZE))
            whole("the one that was away", away.of(SIZE), begun, time.time() - 2)
            c.check("it has all labels of its own", not away.of(CALLS, "cluster"))
            away.close()
    finally:
        good.close()


def statuses():
    """503 comes again, 400 does not, 429 as configured."""
    def answer(n, headers):
        if n in (0, 1):
            return 503, ({"Retry-After": "1"} if n == 0 else {})
        return (400, {}) if n == 4 else (204, {})

    receiver = Receiver(answer=answer)
    try:
        with started(settings({"url": receiver.url,
                               "queue_config": {"min_backoff": "50ms"}})) as server:
            send(server)
            until(lambda: len(receiver.requests) > 6)
            r = receiver.requests
            c.equal("statuses", [x[1] for x in r[:6]], [503, 503, 204, 204, 400, 204])
            c.check("Retry-After", 0.9 < r[1][0] - r[0][0] < 3 * SLOW, r[1][0] - r[0][0])
            c.check("then twice that", 1.9 < r[2][0] - r[1][0] < 4 * SLOW, r[2][0] - r[1][0])
            c.equal("Retry-Attempt", [x[2].get("retry-attempt") for x in r[:4]],
                    [None, "1", "2", None])
            c.check("what was refused is counted",
                    until(lambda: metric(server, "prometheus_remote_storage_samples_failed_total")))
            c.contains("and logged", server.log_text(), "samples refused")
    finally:
        receiver.close()
    for again in (False, True):
        receiver = Receiver(answer=lambda n, headers: (429 if n == 0 else 204, {}))
        try:
            with started(settings({"url": receiver.url,
                                   "queue_config": {"retry_on_http_429": again}})) as server:
                send(server)
                until(lambda r=receiver: len(r.requests) > 1)
                c.equal(f"429, retry_on_http_429 {again}",
                        receiver.requests[1][2].get("retry-attempt"), "1" if again else None)
        finally:
            receiver.close()


def stop_and_limits():
    """A stop sends what came since the last collection; a full queue drops the oldest."""
    receiver = Receiver()
    try:
        with started(settings({"url": receiver.url}, interval="60s")) as server:
            send(server, n=3)
            server.stop()
            c.equal("a stop collects", [v for _, v in receiver.of(CALLS)][-1:], [3.0])
    finally:
        receiver.close()
    port, = free_ports(1)
    with started(settings({"url": f"http://127.0.0.1:{port}/push"}, queue_bytes_max=200_000)) as server:
        for i in range(60):
            send(server, f"name {i}" + os.urandom(150).hex())
        c.check("a full queue drops the oldest", until(lambda: metric(
            server, "prometheus_remote_storage_samples_dropped_total", 'reason="queue_full"'), 40))
        used = sum(f.stat().st_size for f in server.folder.rglob("*.seg"))
        c.check("and stays within its limit", used <= 200_000, used)
    with started({}) as server:
        send(server)
        c.equal("without a path there is no generator", metric(server, "tempo_metrics_generator_spans_received_total"), 0)
    with started(settings(processors=())) as server:
        send(server)
        c.equal("no processor, no metric", metric(server, "tempo_metrics_generator_registry_active_series"), 0)


def span_names():
    """span_name_sanitization, of the defaults and of one tenant; what /metrics says of sending."""
    receiver = Receiver()
    more = settings({"url": receiver.url, "name": "r", "queue_config": {"capacity": 77}}, processors=("span-metrics-count",))
    more["overrides"]["defaults"]["metrics_generator"]["span_name_sanitization"] = "enabled"
    try:
        with started(more) as server:
            for i in range(5):
                send(server, f"GET /users/{i}")
            until(lambda: receiver.of(CALLS, "<_>"))
            c.equal("four of five have the pattern", max(v for _, v in receiver.of(CALLS, "/users/<_>")), 4.0)
            c.equal("counted", metric(server, "tempo_metrics_generator_registry_spans_sanitized_total"), 4)
            c.check("demand", until(lambda: metric(
                server, "tempo_metrics_generator_registry_post_sanitization_demand_estimate") == 2))
            c.equal("one pattern", metric(server, "tempo_metrics_generator_registry_drain_patterns_detected_total"), 1)
            c.equal("shard_capacity", metric(server, "prometheus_remote_storage_shard_capacity", 'remote_name="r"'), 77)
            with urllib.request.urlopen(server.url + "/metrics", timeout=10) as a:
                c.contains("enqueue_retries_total is there", a.read().decode(),
                           'prometheus_remote_storage_enqueue_retries_total{tenant="single-tenant"')
            c.check("highest_timestamp_in_seconds",
                    abs(metric(server, "prometheus_remote_storage_highest_timestamp_in_seconds") - time.time()) < 30)
    finally:
        receiver.close()


# ---- a real Prometheus ----

def ask(port, query):
    """The values of an instant query."""
    url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    with urllib.request.urlopen(url, timeout=10) as a:
        return json.load(a)["data"]["result"]


QUERIES = [
    'sum(rate(traces_spanmetrics_calls_total[1m])) by (service)',
    'sum(rate(traces_spanmetrics_calls_total{status_code="STATUS_CODE_ERROR"}[1m])) by (service)',
    'histogram_quantile(0.95, sum(rate(traces_spanmetrics_latency_bucket[1m])) by (le, span_name))',
    'sum by (client, server, connection_type) (rate(traces_service_graph_request_total[1m]))',
    'sum by (client, server) (rate(traces_service_graph_request_failed_total[1m]))',
    'sum by (client, server) (rate(traces_service_graph_request_server_seconds_sum[1m]))',
    'histogram_quantile(0.9, sum(rate(traces_service_graph_request_server_seconds_bucket[1m])) by (le, client, server))',
    'topk(5, sum(rate(traces_spanmetrics_calls_total{span_kind="SPAN_KIND_SERVER"}[1m])) by (span_name))',
]


def prometheus():
    """What Grafana asks: the service graph, and rate, errors and duration."""
    binary = shutil.which("prometheus")
    if binary is None:
        print("SKIPPED: prometheus is not installed (tests/integration/packages)", flush=True)
        c.check("prometheus is installed", not os.environ.get("CI"))
        return
    folder = pathlib.Path(tempfile.mkdtemp(prefix="vivace-prometheus-"))
    port, = free_ports(1)
    (folder / "p.yml").write_text("global: {}\n")
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [binary, f"--config.file={folder}/p.yml", f"--storage.tsdb.path={folder}/tsdb",
             f"--web.listen-address=127.0.0.1:{port}", "--web.enable-remote-write-receiver",
             "--enable-feature=exemplar-storage"], stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}/api/v1/write"
        with started(settings({"url": url}, processors=("span-metrics", "service-graphs"))) as server:
            part = generator.Corpus([{"seed": 3, "parts": ["pairs", "database", "ordinary"]}])
            end = time.monotonic() + 30 * SLOW
            missing = list(QUERIES)
            while missing and time.monotonic() < end:
                generator.send(part, server.otlp_url)
                time.sleep(1)
                try:
                    missing = [q for q in missing if not any(
                        float(x["value"][1]) > 0 for x in ask(port, q))]
                except OSError:
                    pass  # still starting
            for query in QUERIES:
                c.check(query, query not in missing)
            exemplars = urllib.parse.urlencode({"query": "traces_spanmetrics_latency_bucket",
                                                "start": time.time() - 300, "end": time.time() + 60})
            with urllib.request.urlopen(
                    f"http://127.0.0.1:{port}/api/v1/query_exemplars?{exemplars}", timeout=10) as a:
                found = json.load(a)["data"]
            c.check("exemplars link to traces", found and "traceID" in
                    found[0]["exemplars"][0]["labels"], found[:1])
            c.equal("nothing was refused",
                    metric(server, "prometheus_remote_storage_samples_failed_total"), 0)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def compose():
    """The files of docker/: they parse, the server takes its own, and what they name exists."""
    docker = TESTS.parent / "docker"
    done = subprocess.run([program(), f"-config.file={docker}/vivace.yaml", "-config.verify"],
                          capture_output=True, text=True, check=False)
    c.check("the server takes vivace.yaml", done.returncode == 0 and "has no effect" not in
            done.stdout + done.stderr, done.stdout + done.stderr)
    board = json.loads((docker / "grafana/dashboards/traces-overview.json").read_text())
    try:
        import yaml  # pylint: disable=import-outside-toplevel
    except ImportError:
        print("SKIPPED: python3-yaml is not installed (tests/integration/packages)", flush=True)
        c.check("python3-yaml is installed", not os.environ.get("CI"))
        return
    files = {f: yaml.safe_load(f.read_text()) for f in docker.rglob("*.yaml")}
    sources = files[docker / "grafana/provisioning/datasources/vivace.yaml"]["datasources"]
    uids = {s["uid"]: s["type"] for s in sources}
    used = {(t["datasource"]["uid"], t["datasource"]["type"])
            for p in board["panels"] for t in p["targets"]}
    c.check("the dashboard's data sources exist", used <= set(uids.items()), used)
    links = sources[0]["jsonData"]
    c.check("links between data sources", {links["serviceMap"]["datasourceUid"],
                                           links["tracesToMetrics"]["datasourceUid"]} <= set(uids))
    services = files[docker / "compose.yaml"]["services"]
    for name, service in services.items():
        for mount in service.get("volumes", []):
            if mount.startswith("./"):
                c.check(f"{name}: {mount}", (docker / mount.split(":")[0]).exists())
        for other in service.get("depends_on", {}):
            c.check(f"{name} depends on {other}", other in services)
    c.contains("remote write is on", services["prometheus"]["command"],
               "--web.enable-remote-write-receiver")
    target = files[docker / "vivace.yaml"]["metrics_generator"]["storage"]["remote_write"][0]["url"]
    c.equal("it is where Prometheus listens", target, "http://prometheus:9090/api/v1/write")


GROUPS = [compose, outage, endpoints, statuses, stop_and_limits, span_names, prometheus]

if __name__ == "__main__":
    with concurrent.futures.ThreadPoolExecutor(1) as background:
        recorded = background.submit(cases) if c.only.search("cases") else None
        for group in GROUPS:
            if c.only.search(group.__name__):
                with c.case(group.__name__):
                    group()
        if recorded is not None:
            recorded.result()
    sys.exit(c.finish())
