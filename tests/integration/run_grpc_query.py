#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tempopb.StreamingQuerier with real gRPC: every method against the HTTP answers on the conformance corpus,
progress while a query works, cancellation, deadlines, tenants, TLS, health, and clients that misbehave.

ONLY=pattern runs some groups.
"""
import gzip
import pathlib
import re
import signal
import struct
import sys
import tempfile
import threading
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "conformance"))
import venv  # noqa: E402

venv.use("requirements.txt")

import grpc  # noqa: E402
import raw_grpc  # noqa: E402
import run as corpus_run  # noqa: E402
from checks import Checks  # noqa: E402
from otlp import fields, http_request, now_ns, request, request_pb, span, span_id  # noqa: E402
from server import Server, patience, sanitized  # noqa: E402
from stream_client import METHODS, SERVICE, Failure, StreamClient, merge  # noqa: E402
from tempopb import CLASS, as_json, json_strict, proto_strict  # noqa: E402

c = Checks()
PB = {"Content-Type": "application/x-protobuf"}
NS = 10**9
UNLIMITED = {"ingestion": {"rate_limit_bytes": NS, "burst_size_bytes": NS, "max_traces_per_user": 0}}
HEALTH = "grpc.health.v1.Health"


def streaming(extra=None, **options):
    return Server({"stream_over_http_enabled": True, **(extra or {})}, **options)


def client(server, tenant=None, port=None):
    return StreamClient(f"127.0.0.1:{port or server.http_port}", tenant)


# ---- the same answers as over HTTP ----

ENDPOINTS = {"/api/search": "Search", "/api/search/tags": "SearchTags", "/api/v2/search/tags": "SearchTagsV2",
             "/api/metrics/query_range": "MetricsQueryRange", "/api/metrics/query": "MetricsQueryInstant"}
NAMES = {"q": "query", "query": "query", "start": "start", "end": "end", "scope": "scope", "step": "step",
         "exemplars": "exemplars", "maxSeries": "maxSeries"}
UNITS = {"": NS, "s": NS, "ms": 10**6, "m": 60 * NS, "h": 3600 * NS}


def method_of(path):
    """(method, members) of a path, or (None, None)."""
    if path in ENDPOINTS:
        return ENDPOINTS[path], {}
    m = re.fullmatch(r"/api/(v2/)?search/tag/(.*)/values", urllib.parse.unquote(path))
    if not m:
        return None, None
    return "SearchTagValuesV2" if m.group(1) else "SearchTagValues", {"tagName": m.group(2)}


def member(method, key, value):
    """(name, value) in the request, or None when gRPC cannot say it."""
    search = method == "Search"
    if key in ("start", "end") and value.isdigit():
        value = int(value)
        if "Metrics" in method:
            value *= NS if value < 10**11 else 1
        return (key, value) if value else None
    if key in ("limit", "spss") and re.fullmatch("[1-9][0-9]{0,8}", value):
        if search:
            return ("Limit" if key == "limit" else "SpansPerSpanSet"), int(value)
        if key == "limit":
            return ("maxTagsPerScope" if "TagValues" not in method else "maxTagValues"), int(value)
    if key == "step":
        m = re.fullmatch(r"(\d+)(s|ms|m|h|)", value)
        return ("step", int(m.group(1)) * UNITS[m.group(2)]) if m and m.group(1) != "0" else None
    if key in ("exemplars", "maxSeries") and value.isdigit() and method == "MetricsQueryRange":
        return key, int(value)
    if key == "tags" and re.fullmatch(r'([\w.]+=[\w./-]+ ?)+', value):
        return "Tags", [CLASS["SearchTag"](key=k, value=v) for k, v in
                        (p.split("=", 1) for p in value.split())]
    if key in ("minDuration", "maxDuration") and re.fullmatch(r"\d+ms", value):
        return ("MinDurationMs" if key == "minDuration" else "MaxDurationMs"), int(value[:-2])
    if key in ("q", "query") and "\x00" not in value:
        return ("Query" if search else "query"), value
    if key == "scope" and method in ("SearchTags", "SearchTagsV2"):
        return "scope", value
    return None


def as_grpc(case, base, delta):
    """(method, members) of a recorded HTTP request, or None."""
    method, members = method_of(case["path"])
    if method is None or case.get("method", "GET") != "GET" or case.get("headers"):
        return None
    for key, value in case.get("params", []):
        value = str(base + value["t"] + delta) if isinstance(value, dict) else str(value)
        if method == "MetricsQueryInstant" and key in ("step", "exemplars", "maxSeries"):
            continue  # ignored over HTTP
        said = member(method, key, value)
        if said is None or said[0] in members:
            return None
        members[said[0]] = said[1]
    if "Metrics" in method and ("start" not in members or "end" not in members):
        return None  # gRPC has no defaults of time
    return method, members


def without_jobs(message):
    message.metrics.Clear()
    return message


def same_answer(name, method, messages, url):
    """The merged messages against what HTTP answers to the same request."""
    got = without_jobs(merge(method, messages))
    accept = "application/json" if "Metrics" in method else "application/protobuf"
    a = http_request(url, headers={"Accept": accept})
    if not c.equal(f"{name}: HTTP", a.status, 200):
        return
    if "Metrics" in method:
        want = json_strict(METHODS[method][1], a.body)
        want.pop("metrics", None)
        got = as_json(got)
        got.pop("metrics", None)
        got.setdefault("series", [])
        want.setdefault("series", [])
        for s in got["series"]:
            s.get("samples", []).sort(key=lambda p: int(p["timestampMs"]))
    else:
        want = without_jobs(merge(method, [proto_strict(METHODS[method][1], a.body)]))
    c.check(name, got == want, f"got {str(got)[:600]} want {str(want)[:600]}")


def same_failure(name, method, failure, url):
    a = http_request(url)
    text = re.sub("^rpc error: code = Code.400. desc = ", "", a.text)
    c.check(f"{name}: HTTP", a.status == 400, a)
    c.equal(f"{name}: text", failure.text, text)
    late = re.search("maximum allowed duration|configured maximum size", text)
    code = "UNKNOWN" if "Metrics" in method and not late else "INVALID_ARGUMENT"
    c.equal(f"{name}: code", failure.code, code)


def one_round(server, label, corpus, cases, delta, port):
    done = {}
    with client(server, port=port) as s:
        for case in cases:
            said = as_grpc(case, corpus["base"], delta)
            if said is None:
                continue
            method, members = said
            done[method] = done.get(method, 0) + 1
            name = f"{label} {method} {case['group']}: {case['name']}"
            url = corpus_run.case_url(server.url, case, delta, corpus["base"])
            try:
                messages = s.call(method, **members)
            except Failure as e:
                same_failure(name, method, e, url)
                continue
            c.check(f"{name}: metrics", all(m.HasField("metrics") for m in messages))
            same_answer(name, method, messages, url)
    return done


def conformance():
    corpus, cases = corpus_run.load()
    delta = corpus_run.delta_for(corpus["base"])
    with streaming() as server:
        corpus_run.send(corpus, server.otlp_url, delta, "")
        done = one_round(server, "heads", corpus, cases, delta, server.http_port)
        for method, least in (("Search", 200), ("SearchTags", 1), ("SearchTagsV2", 3), ("SearchTagValues", 1),
                              ("SearchTagValuesV2", 15), ("MetricsQueryRange", 20),
                              ("MetricsQueryInstant", 1)):
            c.check(f"cases of {method}", done.get(method, 0) >= least, done)
        server.restart()
        one_round(server, "blocks", corpus, cases, delta, server.grpc_port)


def failures():
    """What gRPC can get wrong that a URL cannot, or says otherwise."""
    with streaming({"query_frontend": {"url_deny_list": ["q=.*forbidden"]}}) as server, client(server) as s:
        now = now_ns()
        ask = {"start": now - 60 * NS, "end": now}
        for method, members, code, text in (
                ("Search", {"start": 5}, "INVALID_ARGUMENT", "start must be before end"),
                ("Search", {"Query": "foo"}, "INVALID_ARGUMENT", "invalid TraceQL query: parse error"),
                ("Search", {"Limit": 300000}, "INVALID_ARGUMENT", "limit 300000 exceeds max limit 262144"),
                ("Search", {"SpansPerSpanSet": 101}, "INVALID_ARGUMENT", "spans per span set exceeds 100"),
                ("Search", {"start": 1, "end": 700000}, "INVALID_ARGUMENT", "exceeds 168h0m0s"),
                ("Search", {"Query": "{}", "Tags": [CLASS["SearchTag"](key="a", value="b")]},
                 "INVALID_ARGUMENT", "can't specify tags and q"),
                ("Search", {"Tags": [CLASS["SearchTag"](key="a b", value="b")]}, "INVALID_ARGUMENT",
                 "build search request failed: invalid key"),
                ("Search", {"Tags": [CLASS["SearchTag"](key=f"k{i}", value="b") for i in range(9999)]},
                 "INVALID_ARGUMENT", "invalid tags"),
                ("Search", {"Query": '{ name = "forbidden" }'}, "INVALID_ARGUMENT",
                 "Invalid request /api/search?"),
                ("Search", {"Query": "{" + " " * 140000 + "}"}, "INVALID_ARGUMENT",
                 "TraceQL expression exceeds the configured maximum size of 131072 bytes"),
                ("SearchTags", {"scope": "bogus"}, "INVALID_ARGUMENT", "invalid scope: bogus"),
                ("SearchTagValues", {}, "INVALID_ARGUMENT", "please provide a non-empty tagName"),
                ("SearchTagValuesV2", {"tagName": "a.b"}, "INVALID_ARGUMENT", "valid tagName"),
                ("MetricsQueryRange", {"query": "{} | rate()"}, "UNKNOWN", "start required"),
                ("MetricsQueryRange", {"query": "{} | rate()", "start": now}, "UNKNOWN",
                 "end must be greater than start"),
                ("MetricsQueryRange", {"query": "{} | rate()", "step": 1, **ask}, "UNKNOWN",
                 "step of 1ns is too small, minimum step for given range is 6ms"),
                ("MetricsQueryRange", {"query": "{}", **ask}, "UNKNOWN", "not a metrics query"),
                ("MetricsQueryRange", {"query": "{ forbidden", **ask}, "INVALID_ARGUMENT",
                 "Invalid request /api/metrics/query_range?"),
                ("MetricsQueryRange", {"query": "{} | rate()", "start": now - 90000 * NS, "end": now},
                 "INVALID_ARGUMENT", "exceeds the maximum allowed duration of 24h0m0s"),
                ("MetricsQueryInstant", {"query": "{} | rate()", "start": now, "end": now}, "UNKNOWN",
                 "end must be greater than start"),
                ("MetricsQueryInstant", {"query": "{", **ask}, "UNKNOWN", "compiling query: parse error")):
            with c.case(f"{method} {str(members)[:80]}"):
                try:
                    c.check("is refused", False, s.call(method, **members))
                except Failure as e:
                    c.equal("code", e.code, code)
                    c.contains("text", e.text, text)
        # What Grafana sends: a time of the year 1, a negative ten-byte varint.
        vector = bytes.fromhex("20012801300242027b7d520b088092b8c398feffffff01")
        c.equal("Grafana's test vector", len(s.call("Search", raw=vector)), 1)
        c.equal("text with NUL", failure(s, "Search", Query="{}\0")[0], "INVALID_ARGUMENT")
        c.equal("nanoseconds are never seconds", failure(s, "MetricsQueryRange", query="{} | rate()",
                                                         start=5, end=10**18)[0], "INVALID_ARGUMENT")


def failure(s, method, **options):
    """(code, text); OK when it did not fail."""
    try:
        s.call(method, **options)
    except Failure as e:
        return e.code, e.text
    return "OK", ""


# ---- much data ----

MARK = bytes.fromhex("feedfacecafebeef")  # stands for the first half of the trace ids of a batch


def fill(server, batches, traces=500, spans=20):
    """Traces of the last minutes; returns the start of the first in ns. Instrumented, as many would take longer than a query may."""
    batches = max(batches // 15, 1) if sanitized() else batches
    base = now_ns() - 300 * NS
    items = [span(trace=MARK.hex() + f"{t:016x}", name=f"op{i % 7}", ms=1, start=base + t * NS // 4 + i * 1000,
                  attributes={"n": t % 97, "i": i}, spanId=span_id(i + 1),
                  parentSpanId=span_id(i) if i else "")
             for t in range(traces) for i in range(spans)]
    body = request_pb(request(items))
    for k in range(batches):
        a = http_request(f"{server.otlp_url}/v1/traces", "POST",
                         body.replace(MARK, struct.pack(">Q", k + 1)), PB, timeout=30)
        if a.status != 200 or fields(a.body).get(1, [b""]) != [b""]:
            raise RuntimeError(f"batch {k}: {a}")
    return base


def paused(server, s, method, after, **members):
    """Messages of a call during which the server stood still: more than a period passes for it."""
    def stand_still():
        time.sleep(after)
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(0.8)
        server.process.send_signal(signal.SIGCONT)

    t = threading.Thread(target=stand_still)
    t.start()
    messages = s.call(method, timeout=60, **members)
    t.join()
    return messages


def before_the_end(method, messages, final):
    """The messages before the last one, which is whole and may come in several packets; None: it is not."""
    for n in range(1, len(messages) + 1):
        if without_jobs(merge(method, messages[-n:])) == final:
            return messages[:-n]
    return None


def progress_of(name, messages):
    """Totals only grow, and every message has them."""
    done = [m.metrics.completedJobs for m in messages]
    c.check(f"{name}: progress", all(x <= y for x, y in zip(done, done[1:])), done)
    c.check(f"{name}: within the total", all(m.metrics.completedJobs <= m.metrics.totalJobs
                                             for m in messages), messages[0].metrics)
    c.check(f"{name}: total", len({m.metrics.totalJobs for m in messages}) == 1)
    c.equal(f"{name}: complete", messages[-1].metrics.completedJobs, messages[-1].metrics.totalJobs)


def anew(members, attempt):
    """The same question in other words: what was kept of it (query/cache.h) is no work."""
    query = members.get("query")
    if not query or not query.startswith("{} |"):
        return members
    return {**members, "query": f'{{ name != "attempt {attempt}" }}' + query[2:]}


def partial():
    """A query that takes longer than half a second tells what it has; nothing of it is taken back."""
    with streaming({"overrides": {"defaults": UNLIMITED}}) as server, client(server) as s:
        base = fill(server, 60)
        calls = (
            ("Search", {"Query": "{} | count() > 0", "Limit": 100000}, True),
            ("Search", {"Query": "{} | count() > 0", "Limit": 3000}, True),
            ("MetricsQueryRange", {"query": "{} &>> {} &>> {} | rate() by (span.n)", "start": base,
                                   "end": base + 120 * NS}, False),
            ("MetricsQueryRange", {"query": "{} | rate() by (span.n)", "start": base,
                                   "end": base + 120 * NS}, False),
            ("SearchTagValuesV2", {"tagName": "nestedSetLeft"}, True),
            ("SearchTagsV2", {"query": "{ span.n > 3 || span.i < 4 || duration > 1ns }"}, False))
        for method, members, tells in calls:
            name = f"{method} {str(members)[:70]}"
            with c.case(name):
                whole = s.call(method, timeout=60, **members)
                final = without_jobs(merge(method, whole))
                for attempt in range(40):  # the pause must fall into the work
                    words = anew(members, attempt)
                    messages = paused(server, s, method, 0.002 * (1 + attempt * 3 % 40), **words)
                    if words is not members:  # other exemplars
                        final = without_jobs(merge(method, s.call(method, timeout=60, **words)))
                    interim = before_the_end(method, messages, final)
                    if interim and (not tells or any(m.ByteSize() > 60 for m in interim)):
                        break
                if c.check("the last message is whole", interim is not None):
                    c.check("told something before the end", interim, len(messages))
                progress_of(name, messages)
                c.check("merged as at once", without_jobs(merge(method, messages)) == final)
        with c.case("rate"):
            # Half a second between messages of progress, however many groups are done.
            messages = paused(server, s, "Search", 0.05, Query="{} | count() > 0", Limit=1)
            c.check("few messages", len(messages) <= 4, len(messages))


def encodings():
    """Requests in any encoding; large answers come in the same."""
    with streaming({"overrides": {"defaults": UNLIMITED}}) as server:
        fill(server, 1)
        members = {"Query": '{ name != "' + "x" * 2000 + '" }', "Limit": 1000}  # worth compressing
        with client(server) as s:
            want = s.call("Search", **members)
        for name in ("Gzip", "Deflate"):
            options = {"compression": grpc.Compression[name]}
            with StreamClient(f"127.0.0.1:{server.http_port}", **options) as s:
                if name == "Deflate":
                    c.equal("unknown encoding", failure(s, "Search", **members)[0], "UNIMPLEMENTED")
                else:
                    c.check("the same in gzip", s.call("Search", **members) == want)
        with raw_grpc.Connection(server.http_port) as raw:
            body = CLASS["SearchRequest"](**members).SerializeToString()
            a = raw.call(gzip.compress(body), f"/{SERVICE}/Search", encoding="gzip")
            c.equal("header", a.field("grpc-encoding"), "gzip")
            c.equal("flag", a.body[0], 1)
            c.check("smaller", len(a.body) < want[0].ByteSize() / 2, len(a.body))
            c.check("content", gzip.decompress(a.messages()[0]) == want[0].SerializeToString()
                    or proto_strict("SearchResponse", gzip.decompress(a.messages()[0])) == want[0])
            a = raw.call(body, f"/{SERVICE}/Search")
            c.equal("plain", (a.field("grpc-encoding"), a.body[0]), (None, 0))


def queue():
    """A tenant's place in the queue is bounded over gRPC too."""
    extra = {"query_frontend": {"max_outstanding_per_tenant": 1}, "overrides": {"defaults": UNLIMITED}}
    with streaming(extra) as server, client(server) as s:
        fill(server, 40)
        codes = []

        def ask():
            codes.append(failure(s, "Search", timeout=60, **HEAVY))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        c.check("one runs", ("OK", "") in codes, codes)
        c.check("the others are refused", ("RESOURCE_EXHAUSTED", "job queue full") in codes, codes)


def packets():
    """Large answers are cut at the configured size, at whole elements."""
    for size, port in ((20000, "http_port"), (0, "grpc_port")):
        extra = {"query_frontend": {"max_grpc_streaming_packet_size": size},
                 "overrides": {"defaults": UNLIMITED}}
        with streaming(extra) as server, client(server, port=getattr(server, port)) as s:
            base = fill(server, 1)
            for method, members in (("Search", {"Query": "{}", "Limit": 1000}),
                                    ("SearchTagValuesV2", {"tagName": "span.n"}),
                                    ("MetricsQueryRange", {"query": "{} | rate() by (span.n)", "start": base,
                                                           "end": base + 120 * NS, "step": NS})):
                messages = s.raw(method, timeout=60, **members)
                decoded = [proto_strict(METHODS[method][1], m) for m in messages]
                if size == 0 or method == "SearchTagValuesV2":
                    c.equal(f"{method}: one message", len(messages), 1)
                else:
                    c.check(f"{method}: several", len(messages) > 3, len(messages))
                    c.check(f"{method}: size", max(map(len, messages)) <= size + 200,
                            [len(m) for m in messages])
                c.check(f"{method}: metrics in each", all(m.metrics.totalJobs for m in decoded))
                if method == "Search":
                    c.equal("traces", len(merge(method, decoded).traces), 500)
    extra = {"server": {"grpc_server_max_send_msg_size": 5000},
             "query_frontend": {"max_grpc_streaming_packet_size": 0}, "overrides": {"defaults": UNLIMITED}}
    with streaming(extra) as server, client(server) as s:
        fill(server, 1)
        code, text = failure(s, "Search", Query="{}", Limit=1000)
        c.equal("over the send limit", code, "RESOURCE_EXHAUSTED")
        c.contains("over the send limit", text, "trying to send message larger than max")


def damaged():
    """What could not be read is told behind the messages, in the words of HTTP's header."""
    with streaming({"overrides": {"defaults": UNLIMITED}}) as server:
        fill(server, 1)
        body = CLASS["SearchRequest"](Query="{ span.n > 0 }", Limit=1000).SerializeToString()

        def ask():
            with raw_grpc.Connection(server.http_port) as raw:
                a = raw.call(body, f"/{SERVICE}/Search")
                c.equal("answered", a.code, 0)
                return a.field("warning")

        c.equal("nothing to tell", ask(), None)
        server.restart()
        for path in server.data_dir.rglob("*.block"):
            data = bytearray(path.read_bytes())
            for at in range(200, max(len(data) - 1500, 400), 32):
                data[at] ^= 255
            path.write_bytes(bytes(data))
        c.contains("told", ask() or "", '199 vivace "')
        c.contains("told", ask() or "", "blocks could not be read in full")


# ---- clients that go, wait, or ask for too much ----

def gauge(server, method):
    text = http_request(f"{server.url}/metrics").text
    m = re.search(rf'tempo_inflight_requests{{method="gRPC",route="/{SERVICE}/{method}"}} (\d+)', text)
    return int(m.group(1)) if m else 0


def wait_for(condition, limit):
    """Seconds until condition() holds, or None."""
    began = time.monotonic()
    while time.monotonic() - began < limit:
        if condition():
            return time.monotonic() - began
        time.sleep(0.005)
    return None


def work_ends(server, whole):
    """Nobody waits for a search any more: little is still done for it, by the server's CPU. whole: what all of it takes."""
    used = server.cpu_seconds()
    took = wait_for(lambda: gauge(server, "Search") == 0, 30 * patience())
    used = server.cpu_seconds() - used
    c.check("the work ends with it", took is not None and used < 0.5 * whole, f"{took} s, {used} s of CPU, of {whole}")


HEAVY = {"Query": "{} | count() > 0", "Limit": 100000, "SpansPerSpanSet": 20}
# Seconds of arithmetic that finds nothing: what is done before a word of the end is read is little of it on any machine.
LONG = {"Query": "{ " + " && ".join(f"span.n * {k} + span.i >= 0" for k in range(1, 25)) + " } | count() > 50", "Limit": 10}


def canceling():
    with streaming({"overrides": {"defaults": UNLIMITED}}) as server:
        fill(server, 60)
        with client(server) as s:
            began, used = time.monotonic(), server.cpu_seconds()
            s.raw("Search", timeout=60, **LONG)
            alone, whole = time.monotonic() - began, server.cpu_seconds() - used
            print(f"whole: {whole:.2f} s of CPU, {alone:.2f} s")
            for how in ("cancel", "deadline"):
                with c.case(how):
                    call = s.open("Search", timeout=60 if how == "cancel" else min(0.1, alone / 3), **LONG)
                    if how == "cancel":
                        c.check("runs", wait_for(lambda: gauge(server, "Search") == 1, 5) is not None)
                        call.cancel()
                    try:
                        for _ in call:
                            pass
                        c.check("ends early", False)
                    except grpc.RpcError as e:
                        c.equal("code", e.code().name,
                                "CANCELLED" if how == "cancel" else "DEADLINE_EXCEEDED")
                    work_ends(server, whole)
        with c.case("disconnect"), raw_grpc.Connection(server.http_port) as raw:
            body = CLASS["SearchRequest"](**LONG).SerializeToString()
            raw.send(raw.open(f"/{SERVICE}/Search"), raw_grpc.frame(body))
            c.check("runs", wait_for(lambda: gauge(server, "Search") == 1, 5) is not None)
            raw.close()
            work_ends(server, whole)
        with c.case("late in the queue"), raw_grpc.Connection(server.http_port) as raw:
            a = raw.call(CLASS["SearchRequest"](**LONG).SerializeToString(), f"/{SERVICE}/Search",
                         [("grpc-timeout", "1n")])
            c.equal("code", (a.code, a.message), (4, "context deadline exceeded"))
        with c.case("grpc-timeout"), raw_grpc.Connection(server.http_port) as raw:
            for value, text in (("5", "too short"), ("123456789S", "too long"), ("5x", "not recognized"),
                                ("xS", "invalid syntax")):
                a = raw.call(b"", f"/{SERVICE}/SearchTags", [("grpc-timeout", value)])
                c.equal(value, (a.http, a.code), (400, 13))
                c.contains(value, a.message, text)
            for value in ("5S", "99999999H", "5000m"):
                c.equal(value, raw.call(b"", f"/{SERVICE}/SearchTags", [("grpc-timeout", value)]).code, 0)


def slow_reader():
    """Who does not read holds no thread, and not for ever."""
    extra = {"overrides": {"defaults": UNLIMITED}, "server": {"http_server_read_timeout": "1s"},
             "querier": {"max_concurrent_queries": 2}}
    with streaming(extra) as server:
        fill(server, 40)
        body = CLASS["SearchRequest"](**HEAVY).SerializeToString()
        stuck = [raw_grpc.Connection(server.http_port) for _ in range(4)]
        for raw in stuck:
            raw.send(raw.open(f"/{SERVICE}/Search"), raw_grpc.frame(body))  # and never reads
        time.sleep(0.1)
        with client(server) as s:
            began = time.monotonic()
            c.equal("others are answered meanwhile", failure(s, "Search", Query="{}", timeout=60)[0], "OK")
            c.check("without waiting for them", time.monotonic() - began < 20)
        took = wait_for(lambda: gauge(server, "Search") == 0, 60)
        c.check("they are cut off", took is not None, took)
        for raw in stuck:
            raw.close()
        c.check("memory comes back", server.alive() and server.memory_mib() < 1500, server.memory_mib())


def flood(server):
    """Thousands of calls a connection, whatever the pace of its reader: each is answered."""
    got = {}

    def one(at_once, chunk):
        many = raw_grpc.Many(server.http_port, f"/{SERVICE}/SearchTags", at_once, chunk)
        try:
            got[at_once, chunk] = many.call(3000)
        except OSError as e:
            got[at_once, chunk] = f"{e!r} after {many.codes}"
        finally:
            many.close()

    paces = ((100, 65536), (99, 9), (33, 1000), (7, 64))
    threads = [threading.Thread(target=one, args=pace) for pace in paces]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for pace in paces:
        c.equal(f"flood: {pace[0]} at once, read by {pace[1]} bytes", got[pace], {0: 3000})


def hostile():
    with streaming() as server:
        with client(server) as s, c.case("malformed"):
            for raw in (b"\x42\xff", b"\xff", b"\x0a\x05abc", b"\x08", b"\x42\xff\xff\xff\xff\x7f", b"\x0b\x0c"):
                code, text = failure(s, "Search", raw=raw)
                c.equal(f"{raw}", code, "INTERNAL")
                c.contains(f"{raw}", text, "grpc: failed to unmarshal the received message")
            c.equal("unknown fields", failure(s, "Search", raw=b"\xf8\x07\x01\xfa\x07\x03abc")[0], "OK")
        with client(server) as s, c.case("giant"):
            big = b"\xfa\x07" + bytes([128, 128, 128, 7]) + b"x" * (7 << 21)
            c.equal("unknown field of 14 MiB", failure(s, "Search", raw=big)[0], "OK")
            c.equal("over 16 MiB", failure(s, "Search", raw=b"\x42" + b"x" * (17 << 20))[0],
                    "RESOURCE_EXHAUSTED")
            code, text = failure(s, "Search", raw=b"\xf8\x07\x01" * (5 << 20))
            c.check("five million fields", code in ("OK", "UNKNOWN"), (code, text))
            code, _ = failure(s, "Search", raw=b"\x0a\x00" * (7 << 20), timeout=60)
            c.check("seven million tags", code in ("INVALID_ARGUMENT", "UNKNOWN"), code)
        with client(server) as s, c.case("unknown"):
            for service, method, text in ((SERVICE, "Nope", f"unknown method Nope for service {SERVICE}"),
                                          ("a.B", "C", "unknown service a.B")):
                try:
                    list(s.open(method, raw=b"", service=service))
                    c.check(method, False)
                except grpc.RpcError as e:
                    c.equal(method, (e.code().name, e.details()), ("UNIMPLEMENTED", text))
            with raw_grpc.Connection(server.http_port) as raw:
                a = raw.call(b"", "/nothing")
                c.equal("no method", (a.code, a.message), (12, 'malformed method name: "/nothing"'))
        flood(server)
        took = wait_for(lambda: sum(gauge(server, m) for m in METHODS) == 0, 10)
        c.check("nothing is left in flight", took is not None)
        c.check("memory", server.memory_mib() < (4000 if sanitized() else 300), server.memory_mib())


# ---- tenants, ports, health, TLS ----

def tenants():
    extra = {"multitenancy_enabled": True}
    with streaming(extra) as server:
        for tenant in ("a", "b"):
            http_request(f"{server.otlp_url}/v1/traces", "POST",
                         request_pb(request([span(name=f"of-{tenant}")])), {**PB, "X-Scope-OrgID": tenant})
        for tenant, names in (("a", ["of-a"]), ("b", ["of-b"]), ("a|b", ["of-a", "of-b"]), ("c", [])):
            with client(server, tenant) as s:
                got = merge("SearchTagValues", s.call("SearchTagValues", tagName="name"))
                c.equal(f"values of {tenant}", list(got.tagValues), names)
        with client(server) as s:
            c.equal("no tenant", failure(s, "Search"), ("UNKNOWN", "no org id"))
            two = [("x-scope-orgid", "a"), ("x-scope-orgid", "b")]
            c.equal("two tenants", failure(s, "Search", metadata=two), ("UNKNOWN", "no org id"))
            c.equal("health without tenant", health(s), ("UNKNOWN", "no org id"))
        with client(server, "a#b") as s:
            code, text = failure(s, "Search")
            c.equal("bad tenant", code, "INVALID_ARGUMENT")
            c.contains("bad tenant", text, "unsupported character '#'")
        with client(server, "a") as s:
            c.equal("health", health(s), ("OK", b"\x08\x01"))


def health(s, method="Check"):
    try:
        return "OK", list(s.open(method, raw=b"", service=HEALTH))[0]
    except grpc.RpcError as e:
        return e.code().name, e.details()


def ports():
    with Server() as server:  # streaming over HTTP is off
        with client(server, port=server.grpc_port) as s:
            c.equal("9095", failure(s, "Search"), ("OK", ""))
            c.equal("health", health(s), ("OK", b"\x08\x01"))
            c.equal("watch", health(s, "Watch"), ("UNIMPLEMENTED", "Watching is not supported"))
            c.equal("list", health(s, "List"), ("OK", b"\x0a\x0c\x0a\x06server\x12\x02\x08\x01"))
        with client(server) as s:
            c.check("3200 is plain HTTP", failure(s, "Search")[0] != "OK")
        text = http_request(f"{server.url}/metrics").text
        c.check("route label", f'tempo_request_duration_seconds_count{{method="gRPC",route="/{SERVICE}/Search",'
                               'status_code="success",ws="false"} 1' in text,
                [x for x in text.splitlines() if "gRPC" in x][:5])


def tls():
    import run_tls  # pylint: disable=import-outside-toplevel # its certificate authority
    with tempfile.TemporaryDirectory(prefix="vivace-grpc-tls-") as folder:
        ca = run_tls.Authority(pathlib.Path(folder), "ca")
        cert, key = ca.issue("server")
        files = {"cert_file": str(cert), "key_file": str(key)}
        credentials = grpc.ssl_channel_credentials(ca.cert.read_bytes())
        with streaming({"server": {"http_tls_config": files, "grpc_tls_config": files}}, scheme="https",
                       ssl_context=run_tls.client(ca)) as server:
            http_request(f"http://127.0.0.1:{server.otlp_http}/v1/traces", "POST",
                         request_pb(request([span(name="in-tls")])), PB)
            for port in (server.http_port, server.grpc_port):
                with StreamClient(f"localhost:{port}", credentials=credentials) as s:
                    got = s.call("SearchTagValuesV2", tagName="name")
                    c.equal(f"values on {port}", [v.value for v in got[0].tagValues], ["in-tls"])
            with StreamClient(f"127.0.0.1:{server.http_port}") as s:
                c.equal("plain text", failure(s, "Search")[0], "UNAVAILABLE")


def main():
    for name, function in (("conformance", conformance), ("failures", failures), ("partial", partial),
                           ("packets", packets), ("encodings", encodings), ("damaged", damaged),
                           ("queue", queue), ("canceling", canceling), ("slow_reader", slow_reader),
                           ("hostile", hostile), ("tenants", tenants), ("ports", ports), ("tls", tls)):
        c.run(name, function)
    c.finish()


main()
