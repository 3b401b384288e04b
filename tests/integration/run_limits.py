#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The limits of the query API: each one below its bound, at it and above it, with Tempo's status and words.

Needs nothing beyond Python. ONLY=pattern runs some groups.
"""
import http.client
import pathlib
import sys
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from checks import Checks  # noqa: E402
from otlp import (fields, get, http_request, now_ns, post, request, request_pb, span,  # noqa: E402
                  trace_id, window)
from server import Server, merge, patience  # noqa: E402

c = Checks()
HOUR = 3600
RANGE, INSTANT = "/api/metrics/query_range", "/api/metrics/query"


def send(server, *spans, service="svc", resource=None):
    a = post(server, request(list(spans), service, resource))
    if a.status != 200 or a.json()["partialSuccess"]:
        raise AssertionError(f"not stored: {a}")


def bounds(name, cap, ask, text):
    """ask(n) is 200 for cap - 1 and cap, and 400 with exactly text(n) for cap + 1."""
    for n in (cap - 1, cap):
        a = ask(n)
        c.check(f"{name} {n}", a.status == 200, a)
    a = ask(cap + 1)
    c.equal(f"{name} {cap + 1}", (a.status, a.text), (400, text(cap + 1)))
    c.equal(f"{name}: type", a.header("content-type"), "text/plain; charset=utf-8")


def ask(server, path, **params):
    """A parameter of None is left out."""
    return get(server, path, **{k: v for k, v in params.items() if v is not None})


# ---- search, tags, values ----

def counts(server):
    bounds("limit", 262144, lambda n: ask(server, "/api/search", q="{}", limit=n, **window()),
           lambda n: f"limit {n} exceeds max limit 262144")
    bounds("spss", 100, lambda n: ask(server, "/api/search", q="{}", spss=n, **window()),
           lambda n: f"spans per span set exceeds 100. received {n}")
    for key, top in (("limit", 2**32), ("spss", 2**32), ("start", 2**32), ("end", 2**32)):
        a = ask(server, "/api/search", q="{}", **{**window(), key: top})
        c.equal(f"{key} 2^32", (a.status, a.text),
                (400, f'invalid {key}: strconv.ParseUint: parsing "{top}": value out of range'))
    a = ask(server, "/api/search", q="{}", start=2**32 - 2, end=2**32 - 1)
    c.equal("the last second of uint32", a.status, 200)
    for limit in (1, 0, "", "x", "-1", "4294967296"):  # tags: what is no number is no limit
        a = ask(server, "/api/v2/search/tags", scope="span", limit=limit)
        c.equal(f"tags limit={limit}", (a.status, [len(s["tags"]) for s in a.json()["scopes"]]),
                (200, [1 if limit == 1 else 2]))
        a = ask(server, "/api/v2/search/tag/span.k/values", limit=limit)
        c.equal(f"values limit={limit}", (a.status, len(a.json()["tagValues"])),
                (200, 1 if limit == 1 else 3))


def ranges(server):
    end = int(time.time())
    start = end - 168 * HOUR
    for path in ("/api/search", "/api/search/tags", "/api/v2/search/tags", "/api/search/tag/k/values",
                 "/api/v2/search/tag/span.k/values"):
        bounds(path, 168 * HOUR, lambda n, p=path: ask(server, p, start=end - n, end=end),
               lambda n: "range specified by start and end exceeds 168h0m0s. "
                         f"received start={end - n} end={end}")
        if path != "/api/search":
            a = ask(server, path, start=end, end=start)
            c.equal(f"{path} backwards", (a.status, a.text), (
                400, "range specified by start and end exceeds 168h0m0s. "
                     f"received start={end} end={start}"))
        for params in ({"end": end}, {"start": start}):
            a = ask(server, path, **params)
            text = "error parsing date range: only one of start and end provided: must provide both " \
                   "or neither"
            if path == "/api/search" and "start" in params:
                text = f"http parameter start must be before end. received start={start} end=0"
            c.equal(f"{path} {list(params)}", (a.status, a.text), (400, text))
        a = ask(server, path, since="nonsense")
        c.equal(f"{path} since", a.status, 400)
        c.contains(f"{path} since", a.text, "error parsing date range: could not parse 'since'")
        c.equal(f"{path} zeros", ask(server, path, start=0, end=0).status, 200)
    for first, last in ((5, 5), (6, 5)):
        a = ask(server, "/api/search", q="{}", start=first, end=last)
        c.equal(f"search {first} to {last}", (a.status, a.text), (
            400, f"http parameter start must be before end. received start={first} end={last}"))


def order(server):
    """The first of several faults is the one that Tempo names."""
    for params, text in (
            ({"start": "x", "tags": "a=b", "q": "{}"}, "invalid start: "),
            ({"tags": "a=b a=c", "q": "{}"}, "invalid request: can't specify tags and q"),
            ({"tags": "a=b a=c", "minDuration": "x"}, "invalid tags: tag a has been set twice"),
            ({"minDuration": "x", "limit": 0}, "invalid minDuration: "),
            ({"limit": 0, "spss": "x"}, "invalid limit: must be a positive number"),
            ({"spss": "x", "start": 9, "end": 8}, "invalid spss: "),
            ({"start": 9, "end": 8, "limit": 300000}, "http parameter start must be before end."),
            ({"limit": 300000, "q": "{bad"}, "limit 300000 exceeds max limit"),
            ({"q": "{bad", "end": 5}, "invalid TraceQL query: "),
            ({"start": 1, "end": 10**9, "spss": 101}, "range specified by start and end exceeds")):
        a = ask(server, "/api/search", **params)
        c.equal(f"{params}: status", a.status, 400)
        c.check(f"{params}", a.text.startswith(text), a)
    for params, text in (
            ({"scope": "x", "start": 5}, "error parsing date range: "),
            ({"scope": "x", "start": 1, "end": 10**9}, "invalid scope: x")):
        a = ask(server, "/api/v2/search/tags", **params)
        c.check(f"tags {params}", a.status == 400 and a.text.startswith(text), a)
    for params, text in (
            ({"since": "x", "end": "y", "start": "z"}, "rpc error: code = Code(400) desc = could not "
             "parse 'since' parameter: "),
            ({"end": "y", "start": "z"}, "rpc error: code = Code(400) desc = could not parse 'end'"),
            ({"start": "z", "step": "q"}, "rpc error: code = Code(400) desc = could not parse 'start'"),
            ({"start": 9, "end": 8, "step": "q"}, 'rpc error: code = Code(400) desc = cannot parse "q" '
             "to a valid duration"),
            ({"start": 9, "end": 8, "step": 0}, "end must be greater than start"),
            ({"start": 5, "end": 8, "step": 0, "q": "{bad"}, "step of 0s is too small"),
            ({"start": 5, "end": 10**9, "step": "1d", "q": "{bad"}, "rpc error: code = Code(400)"),
            ({"start": 5, "end": 10**9, "step": "48h", "q": "{bad"}, "parse error at line 1"),
            ({"start": 5, "end": 10**9, "step": "48h", "q": "{}"}, "not a metrics query"),
            ({"start": 5, "end": 10**9, "step": "48h", "q": "{} | rate()"}, "metrics query time range "
             "exceeds the maximum allowed duration of 24h0m0s")):
        a = ask(server, RANGE, **{"q": "{} | rate()", **params})
        c.check(f"range {params}", a.status == 400 and a.text.startswith(text), a)


# ---- metrics ----

def metrics(server):
    end = int(time.time()) // 60 * 60
    too_long = "metrics query time range exceeds the maximum allowed duration of 24h0m0s"
    for path in (RANGE, INSTANT):
        bounds(path, 24 * HOUR,
               lambda n, p=path: ask(server, p, q="{} | rate()", start=end - n, end=end),
               lambda n: too_long)
    bounds("intervals", 10000, lambda n: ask(server, RANGE, q="{} | rate()", start=end - n, end=end,
                                             step="1s"),
           lambda n: f"step of 1s is too small, minimum step for given range is {n / 10000:.4f}s")
    a = ask(server, RANGE, q="{} | rate()", start=end - 360, end=end, step="35ms")
    c.equal("step", (a.status, a.text),
            (400, "step of 35ms is too small, minimum step for given range is 36ms"))
    c.equal("step at its minimum", ask(server, RANGE, q="{} | rate()", start=end - 360, end=end,
                                       step="36ms").status, 200)
    for step in ("0", "0s", "0.0"):
        a = ask(server, RANGE, q="{} | rate()", start=end - 360, end=end, step=step)
        c.equal(f"step {step}", (a.status, a.text),
                (400, "step of 0s is too small, minimum step for given range is 36ms"))
    a = ask(server, RANGE, q="{} | rate()", start=end - 360, end=end, step="1e300")
    c.equal("step of 1e300", (a.status, a.text), (
        400, 'rpc error: code = Code(400) desc = cannot parse "1e300" to a valid duration. '
             "It overflows int64"))
    keys = [f"span.k{i}" for i in range(6)]
    for n in (4, 5, 6):
        a = ask(server, RANGE, q="{} | rate() by (" + ",".join(keys[:n]) + ")", **window())
        c.check(f"{n} labels", a.status == (200 if n <= 5 else 400), a)
    c.check("labels text", a.text.startswith("compiling query: "), a)
    a = ask(server, RANGE, q="", **window())
    c.equal("no query", (a.status, a.text), (400, "parse error : syntax error: unexpected $end"))
    a = ask(server, INSTANT, q="", **window())
    c.equal("no instant query", (a.status, a.text),
            (400, "compiling query: parse error : syntax error: unexpected $end"))


def exemplars(server):
    asked = window(240)  # one for all: which exemplars are taken follows from it

    def shown(**params):
        a = ask(server, RANGE, **{"q": '{name="many"} | rate()', **asked, **params})
        return sum(len(s.get("exemplars", [])) for s in a.json()["series"])
    everything = shown()
    c.check("by default", 50 <= everything <= 100, everything)
    for n in (1, 10):
        c.check(f"exemplars={n}", 1 <= shown(exemplars=n) <= n, shown(exemplars=n))
    for n in (99, 100, 101, 1000, 2**32 - 1):
        c.check(f"exemplars={n}", shown(exemplars=n) <= 100, n)
    for n in ("x", "-1", 2**32, 0):  # no number: as if absent
        c.equal(f"exemplars={n}", shown(exemplars=n), everything)
    c.equal("hint false", shown(q='{name="many"} | rate() with(exemplars=false)'), 0)
    c.check("hint 5", 1 <= shown(q='{name="many"} | rate() with(exemplars=5)', exemplars=50) <= 5)


def series(server):
    q = '{name="many"} | rate() by (span.i)'

    def count(path, **params):
        return ask(server, path, q=q, **{**window(), **params}).json()
    for cap in (149, 150, 151, 0):
        got = count(RANGE, maxSeries=cap)
        partial = 0 < cap <= 150  # the cap itself is reached, which Tempo reports too
        c.equal(f"{cap} series", len(got["series"]), min(150, cap or 150))
        c.equal(f"{cap} series: status", got.get("status"), "PARTIAL" if partial else None)
        if partial:
            c.equal(f"{cap} series: message", got["message"],
                    f"Response exceeds maximum series limit of {cap}, a partial response is returned. "
                    "Warning: the accuracy of each individual value is not guaranteed.")
    c.equal("instant ignores it", len(count(INSTANT, maxSeries=10)["series"]), 150)


def configured():
    extra = {"query_frontend": {"metrics": {"max_response_series": 20, "max_exemplars": 3,
                                            "max_duration": "2h", "max_intervals": 100},
                                "max_query_expression_size_bytes": 300}}
    with Server(extra) as server:
        send(server, *[span(name="many", attributes={"i": i}) for i in range(40)])
        q = '{name="many"} | rate() by (span.i)'
        for path in (RANGE, INSTANT):
            for asked, want in ((None, 20), (5, 20 if path == INSTANT else 5), (30, 20)):
                got = ask(server, path, q=q, maxSeries=asked, step="5m", **window()).json()
                c.equal(f"{path} {asked}", (len(got["series"]), got["status"]), (want, "PARTIAL"))
        for asked in (None, 2, 3, 4):
            got = ask(server, RANGE, q='{name="many"} | rate()', exemplars=asked, step="5m",
                      **window()).json()
            n = len(got["series"][0]["exemplars"])
            c.check(f"exemplars={asked}", 1 <= n <= min(asked or 3, 3), n)
        end = int(time.time())
        bounds("max_duration", 2 * HOUR, lambda n: ask(server, RANGE, q="{} | rate()", start=end - n,
                                                       end=end, step="10m"),
               lambda n: "metrics query time range exceeds the maximum allowed duration of 2h0m0s")
        bounds("max_intervals", 100, lambda n: ask(server, RANGE, q="{} | rate()", start=end - n,
                                                   end=end, step="1s"),
               lambda n: f"step of 1s is too small, minimum step for given range is {n / 100}s")
        refused = ("TraceQL expression exceeds the configured maximum size of 300 bytes, reduce the "
                   "query expression size or contact your system administrator")
        for path, head, tail in (("/api/search", '{.a="', '"}'), (RANGE, '{.a="', '"}|rate()'),
                                 (INSTANT, '{.a="', '"}|rate()'), ("/api/v2/search/tags", '{.a="', '"}'),
                                 ("/api/v2/search/tag/span.i/values", '{.a="', '"}')):
            bounds(f"size {path}", 300, lambda n, p=path, h=head, t=tail: ask(
                server, p, q=h + "x" * (n - len(h) - len(t)) + t, step="1m",
                **window(600)), lambda n: refused)


# ---- sizes ----

def trace_size():
    """max_bytes_per_trace is the size of the trace as protobuf, which is estimated before it is written."""
    trace, start = trace_id(), now_ns() - 10**9
    spans = [span(trace, start=start + i, attributes={"pad": "x" * 200}) for i in range(50)]
    with Server({"overrides": {"defaults": {"global": {"max_bytes_per_trace": 0}}}}) as server:
        send(server, *spans)
        path = f"/api/v2/traces/{trace}"
        size = len(fields(get(server, path, {"Accept": "application/protobuf"}).body)[1][0])
        c.equal("v1 has the same", len(get(server, path.replace("v2/", ""),
                                           {"Accept": "application/protobuf"}).body), size)
        c.check("as sent", abs(len(request_pb(request(spans))) - size) < 200, size)
        for cap, whole in ((size // 2, False), (size * 9 // 10, False), (size * 11 // 10, True)):
            server.stop()
            server.config = merge(server.config, {"overrides": {"defaults": {
                "global": {"max_bytes_per_trace": cap}}}})
            server.start()
            one, two = get(server, path.replace("v2/", "")), get(server, path).json()
            said = two.get("status"), two.get("message")
            if whole:
                c.equal(f"{cap} of {size}: whole", (one.status, *said), (200, None, None))
            else:
                c.equal(f"v1 at {cap} of {size}", (one.status, one.text),
                        (422, f"trace exceeds max size (max bytes: {cap})"))
                c.equal(f"v2 at {cap} of {size}", said, (
                    "PARTIAL", f"Trace exceeds maximum size of {cap} bytes, a partial trace is returned"))
            c.check(f"v2 at {cap}: spans", two["trace"]["resourceSpans"])


def tag_bytes():
    """max_bytes_per_tag_values_query cuts silently; types count with values."""
    for cap, names, values in ((12, 3, 1), (11, 2, 1), (8, 2, 0), (100, 3, 3)):
        limits = {"overrides": {"defaults": {"read": {"max_bytes_per_tag_values_query": cap}}}}
        with Server(limits) as server:
            send(server, *[span(attributes={k: "vvvv"}) for k in ("aaaa", "bbbb", "cccc")])
            send(server, *[span(attributes={"aaaa": v}) for v in ("1111", "2222")])
            got = ask(server, "/api/v2/search/tags", scope="span")
            c.equal(f"{cap}: names", (got.status, sum(len(s["tags"]) for s in got.json()["scopes"])),
                    (200, names))
            got = ask(server, "/api/v2/search/tag/span.aaaa/values")
            c.equal(f"{cap}: values", (got.status, len(got.json()["tagValues"])), (200, values))
            got = ask(server, "/api/v2/search/tags", scope="intrinsic")
            c.equal(f"{cap}: intrinsics are exempt", len(got.json()["scopes"][0]["tags"]), 25)


def groups(server):
    def either(n):
        return "{" + " || ".join(f"span.k={i}" for i in range(n)) + "}"
    for path in ("/api/v2/search/tags", "/api/v2/search/tag/span.k/values"):
        for n in (99, 100):
            c.equal(f"{path} {n}", ask(server, path, q=either(n)).status, 200)
        a = ask(server, path, q=either(101))
        c.equal(f"{path} 101", a.status, 400)
        c.contains(f"{path} 101", a.text, "maximum condition groups reached (limit: 100). Reduce the "
                                          "number of OR conditions in the query")


# ---- hostile queries ----

def hostile(server):
    deep = "(" * 10000 + "true" + ")" * 10000
    for q in ("{" + deep + "}", "(" * 10000 + "{}" + ")" * 10000, "{" + "!" * 100000 + "true}",
              "{" + "-" * 100000 + "1 = 1}", "{}" + " >> {}" * 20000, "{}" + " && {}" * 20000,
              "{ .a = 1" + " || .a = 1" * 10000 + " }", "{ .a = " + "1 + " * 20000 + "1 }",
              "{} | " * 20000 + "{}", '{ .a = "' + "x" * 131000, "{ name =~ `" + "(" * 5000 + "`}"):
        used = server.cpu_seconds()
        a = get(server, "/api/search", q=q)
        used = server.cpu_seconds() - used
        c.check(f"{q[:12]} of {len(q)}", a.status in (200, 400, 414, 431), a)
        c.check(f"{q[:12]}: little work", used < 2 * patience(), used)
        c.check(f"{q[:12]}: a short text", a.status == 200 or len(a.body) < 2000, len(a.body))
    send(server, span(name="a" * 5000 + "!"))
    for pattern in ("(a+)+$", "(a|a)*$", "(a*)*b", "(.*)(.*)(.*)(.*)(.*)[^a]$", "(a{1,30}){1,30}$"):
        used = server.cpu_seconds()
        a = get(server, "/api/search", q=f'{{ name =~ "{pattern}" }}', **window())
        used = server.cpu_seconds() - used
        c.check(f"{pattern}", a.status in (200, 400), a)
        c.check(f"{pattern}: linear", used < 2 * patience(), used)
    for pattern in ("(", "[z-a]", "a{2000}", "\\\\8", "(?<=a)b"):
        a = get(server, "/api/search", q=f'{{ name =~ "{pattern}" }}', **window())
        c.equal(f"{pattern}: status", a.status, 400)
        c.contains(f"{pattern}: text", a.text, "invalid TraceQL query: ")
    a = http_request(server.url + "/api/search?q=" + "x" * 2**20)
    c.check("a URL of 1 MiB", a.status in (414, 431), a)
    c.equal("alive", get(server, "/api/echo").status, 200)


def long_queries(server):
    """max_query_expression_size_bytes at its default is reached over GET, also on a kept connection."""
    conn = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=20)
    for path, tail in (("/api/search", '"}'), (RANGE, '"}|rate()'), ("/api/v2/search/tags", '"}')):
        for n, status in ((100, 200), (131071, 200), (131072, 200), (131073, 400)):
            q = '{.a="' + "x" * (n - 5 - len(tail)) + tail
            conn.request("GET", f"{path}?" + urllib.parse.urlencode({"q": q, **window()}))
            r = conn.getresponse()
            text = r.read().decode()
            c.equal(f"{path} {n}", r.status, status)
            if status != 200:
                c.equal(f"{path} {n}: text", text,
                        "TraceQL expression exceeds the configured maximum size of 131072 bytes, reduce "
                        "the query expression size or contact your system administrator")
    conn.close()


# ---- time and metrics members ----

def timeouts():
    extra = {"query_frontend": {"api_timeout": "1ns"}}
    with Server(extra) as server:
        send(server, *[span(name="slow") for _ in range(10)])
        for path, params in (("/api/search", {"q": "{}"}), (RANGE, {"q": "{} | rate()"}),
                             (f"/api/v2/traces/{trace_id()}", {}), ("/api/v2/search/tags", {})):
            a = ask(server, path, **params)
            c.equal(path, (a.status, a.text),
                    (503, "unable to process request in the configured timeout"))
    with Server({"querier": {"search": {"query_timeout": "1ns"},
                             "trace_by_id": {"query_timeout": "1ns"}}}) as server:
        send(server, *[span(name="slow") for _ in range(10)])
        for path, params in (("/api/search", {"q": "{}"}), (RANGE, {"q": "{} | rate()"}),
                             (f"/api/v2/traces/{trace_id()}", {})):
            a = ask(server, path, **params)
            c.check(path, a.status in (500, 504) and "context deadline exceeded" in a.text, a)


def figures():
    """What `metrics` says of the work done: never absent where Grafana divides by it."""
    with Server() as server:
        for store in ("empty", "heads", "blocks"):
            if store == "heads":
                s = span(name="one", attributes={"k": 1, "text": "x"})
                send(server, s, span(name="two"))
            if store == "blocks":
                server.restart()
            q = {"q": "{ span.k = 1 }", **window()}
            got = ask(server, "/api/search", **q).json()["metrics"]
            c.check(f"{store}: jobs", got.get("completedJobs", 0) == got.get("totalJobs", -1) >= 1, got)
            if store == "empty":
                continue
            c.check(f"{store}: spans", int(got.get("inspectedSpans", 0)) >= 1, got)
            blocks = int(got.get("totalBlocks", 0)), int(got.get("totalBlockBytes", 0))
            c.check(f"{store}: blocks", (min(blocks) > 0) == (store == "blocks"), got)
            if store == "blocks":
                c.check(f"{store}: bytes", int(got.get("inspectedBytes", 0)) > 0, got)
            for path in (RANGE, INSTANT):
                got = ask(server, path, q="{ span.k = 1 } | rate()", **window()).json()["metrics"]
                c.check(f"{store} {path}: jobs",
                        got.get("completedJobs", 0) == got.get("totalJobs", -1) >= 1, got)
                c.check(f"{store} {path}: spans", int(got.get("inspectedSpans", 0)) >= 1, got)
            got = ask(server, "/api/search", tags="text=x", **window()).json()
            c.check(f"{store}: legacy says traces", got["metrics"].get("inspectedTraces", 0) >= 1, got)
            got = ask(server, f"/api/v2/traces/{s['traceId']}").json()["metrics"]
            c.check(f"{store}: trace", set(got) <= {"inspectedBytes"}, got)
            if store == "blocks":
                c.check(f"{store}: trace bytes", int(got.get("inspectedBytes", 0)) > 0, got)
            for path in ("/api/v2/search/tags", "/api/search/tag/k/values"):
                got = ask(server, path).json()["metrics"]
                c.check(f"{store} {path}", set(got) <= {"inspectedBytes"}, got)


def main():
    with Server() as server:
        send(server, *[span(name="values", attributes={"k": v, "l": 1}) for v in (1, 2, 3)])
        for f in (counts, ranges, order, metrics, groups):
            c.run(f.__name__, f, server)
        now = now_ns() - 60 * 10**9
        send(server, *[span(name="many", start=now - i * 10**9, attributes={"i": i}) for i in range(150)])
        for f in (exemplars, series, hostile, long_queries):
            c.run(f.__name__, f, server)
    for f in (configured, trace_size, tag_bytes, timeouts, figures):
        c.run(f.__name__, f)
    c.finish()


if __name__ == "__main__":
    main()
