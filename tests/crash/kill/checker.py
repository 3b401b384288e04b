# SPDX-License-Identifier: Apache-2.0
"""Compares what the server shows with the ledger: acked whole and equal, unknown whole or absent,
nothing else, nothing twice, tenants apart, what is too old gone.

Every trace of a cycle is counted by a search and by a metrics query; the requests that a kill
endangered most, and a sample of all others, are compared span by span.
"""
import base64
import bisect
import http.client
import json
import threading
import time
import urllib.parse

from ledger import ACKED, GROUP, REFUSED, SHARED, UNKNOWN, ZIPKIN, parse_trace_id

KINDS = {"SPAN_KIND_INTERNAL": 1, "SPAN_KIND_SERVER": 2, "SPAN_KIND_CLIENT": 3,
         "SPAN_KIND_PRODUCER": 4, "SPAN_KIND_CONSUMER": 5}


class Client:
    """One kept connection for many small queries."""

    def __init__(self, server):
        self.conn = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=60)

    def get(self, tenant, path, **params):
        if params:
            path += "?" + urllib.parse.urlencode(params)
        self.conn.request("GET", path, headers={"X-Scope-OrgID": tenant})
        answer = self.conn.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise AssertionError(f"{tenant} {path}: HTTP {answer.status} {body[:200]!r}")
        return json.loads(body)


def canonical_value(v):
    if "doubleValue" in v:
        return ("double", float(v["doubleValue"]))
    if "intValue" in v:
        return ("int", int(v["intValue"]))
    return next(iter(v.items()))


def canonical_sent(s, e):
    if e.protocol == ZIPKIN:
        values = {k: ("stringValue", v) for k, v in
                  {"req": str(e.number), "cycle": str(e.cycle), "text": s.text,
                   "flag": str(s.flag), "ratio": str(s.ratio)}.items()}
    else:
        values = {"req": ("int", e.number), "cycle": ("int", e.cycle),
                  "text": ("stringValue", s.text), "flag": ("boolValue", s.flag),
                  "ratio": ("double", s.ratio)}
    return (s.span, s.name, s.kind, str(s.start), str(s.end), tuple(sorted(values.items())),
            f"svc-{e.number % 7}")


def canonical_stored(span, service):
    values = {kv["key"]: canonical_value(kv["value"]) for kv in span.get("attributes", [])}
    return (base64.b64decode(span["spanId"]).hex(), span.get("name", ""),
            KINDS.get(span.get("kind"), 0), span["startTimeUnixNano"], span["endTimeUnixNano"],
            tuple(sorted(values.items())), service)


class Uptime(threading.Thread):
    """How long a server ran since a moment, by ticks: the clock goes on while there is none, and
    while a machine or its disk stands still."""

    TICK = 0.25

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.ticks = server, []
        self.start()

    def run(self):
        while True:
            time.sleep(self.TICK)
            if self.server.process is not None and self.server.process.returncode is None:
                self.ticks.append(time.time())

    def since(self, when):
        return (len(self.ticks) - bisect.bisect(self.ticks, when)) * self.TICK


class Checker:
    """`keep_seconds` maps a tenant to its retention; tenants that are not in it keep everything.
    An entry older than that may be there or not; older than that and `slack` it must be gone.
    `up` tells how long a server ran; without it one always did."""

    def __init__(self, server, ledger, keep_seconds=None, slack_seconds=60, up=None):
        self.server, self.ledger, self.formula = server, ledger, ledger.formula
        self.keep, self.slack = keep_seconds or {}, slack_seconds
        self.up = up
        self.problems = []
        self.client = None
        self.compared = 0  # spans, one by one

    def problem(self, text):
        if len(self.problems) < 50:
            self.problems.append(text)
            print("FAIL " + text, flush=True)

    def age(self, e):
        return time.time() - e.base_ns / 1e9 - 1

    def must(self, e):
        """Acked and not so old that retention may have taken it (a second for the answer's way)."""
        return e.state == ACKED and (e.tenant not in self.keep or
                                     self.age(e) < self.keep[e.tenant] - 2)

    def overdue(self, e):
        if e.tenant not in self.keep or self.age(e) <= self.keep[e.tenant] + self.slack:
            return False
        expired = e.base_ns / 1e9 + self.keep[e.tenant]
        return self.up is None or self.up.since(expired) > self.slack

    def may(self, e):
        return e.state in (ACKED, UNKNOWN) and not self.overdue(e)

    # ---- span by span ----

    def read_trace(self, tenant, trace):
        answer = self.client.get(tenant, f"/api/v2/traces/{trace}")
        if answer.get("status"):
            self.problem(f"{trace}: status {answer['status']} {answer.get('message')}")
        out = []
        for rs in answer["trace"].get("resourceSpans", []):
            service = next(kv["value"]["stringValue"] for kv in rs["resource"]["attributes"]
                           if kv["key"] == "service.name")
            for ss in rs["scopeSpans"]:
                out += [canonical_stored(s, service) for s in ss["spans"]]
        self.compared += len(out)
        return out

    def expected(self, e):
        """{trace id: [span]} of the request as the API should show it."""
        out = {}
        for s in self.formula.spans(e.number, e.base_ns):
            out.setdefault(s.trace, []).append(canonical_sent(s, e))
        return out

    def check_entries(self, entries):
        """Own traces one by one; the shared traces of those requests as a whole."""
        shared = {}
        for e in entries:
            self.check_own(e)
            shared.setdefault(self.formula.shared_trace(e.number), e)
        for trace, e in shared.items():
            self.check_shared(trace, e)

    def check_own(self, e):
        must = self.must(e)
        want = {t: s for t, s in self.expected(e).items() if parse_trace_id(t)[2] != SHARED}
        got = {t: self.read_trace(e.tenant, t) for t in want}
        present = [t for t in want if got[t]]
        where = f"request {e.number} ({e.state}, {e.protocol}, cycle {e.cycle}, {e.tenant})"
        if must and len(present) != len(want):
            self.problem(f"LOST {where}: traces {sorted(set(want) - set(present))} are absent")
        elif e.state == REFUSED and present:
            self.problem(f"REFUSED BUT STORED {where}")
        elif e.state == UNKNOWN and e.tenant not in self.keep and present and \
                len(present) != len(want):
            self.problem(f"TORN {where}: {len(present)} of {len(want)} traces are present")
        for t in present:
            if sorted(got[t]) != sorted(want[t]):
                self.problem(f"CHANGED {where}: trace {t}: got {len(got[t])} spans, want "
                             f"{len(want[t])}: {self.first_difference(got[t], want[t])}")

    @staticmethod
    def first_difference(got, want):
        extra, missing = sorted(set(got) - set(want)), sorted(set(want) - set(got))
        if not extra or not missing:
            return f"extra {str(extra[:1])[:300]} missing {str(missing[:1])[:300]}"
        pairs = [(a, b) for a, b in zip(extra[0], missing[0]) if a != b]
        return f"span {extra[0][0]}: got {str(pairs[0][0])[:150]}, want {str(pairs[0][1])[:150]}"

    def check_shared(self, trace, e):
        """Span by span: each request of the group has put one there."""
        first = parse_trace_id(trace)[1]
        group = [self.ledger.entries[n] for n in range(first, first + GROUP)
                 if n in self.ledger.entries]
        must = {x.number for x in group if self.must(x)}
        got = self.read_trace(e.tenant, trace)
        if len(got) != len(set(got)):
            self.problem(f"DUPLICATE spans in shared trace {trace}")
        left = set(got)
        for x in group:
            want = self.expected(x)[trace][0]
            if want not in left and x.number in must:
                self.problem(f"LOST request {x.number} ({x.tenant}): its span in shared trace {trace}")
            if want in left and x.state == REFUSED:
                self.problem(f"REFUSED BUT STORED request {x.number} in shared trace {trace}")
            left.discard(want)
        if left:
            self.problem(f"INVENTED in shared trace {trace}: {str(sorted(left)[:1])[:300]}")

    # ---- counted: everything of a cycle ----

    def check_cycle(self, cycle, tenants):
        for tenant in tenants:
            self.check_counts(cycle, tenant, [e for e in self.ledger.of(cycle)
                                              if e.tenant == tenant])

    def check_counts(self, cycle, tenant, entries):
        """Which traces a search finds and how many spans in each; and the sum by a metrics query."""
        must, may = {}, {}  # trace -> spans
        for e in entries:
            ours = self.formula.traces(e.number)
            for counts, take in ((must, self.must(e)), (may, self.may(e))):
                for trace, n in ours.items() if take else ():
                    counts[trace] = counts.get(trace, 0) + n
        q = f'{{ span.cycle = {cycle} || span.cycle = "{cycle}" }}'
        answer = self.client.get(tenant, "/api/search", q=q, limit=200000, spss=1)
        found = {}
        for t in answer.get("traces", []):
            trace = t["traceID"].rjust(32, "0")
            if trace in found:
                self.problem(f"cycle {cycle}, {tenant}: trace {trace} is listed twice")
            found[trace] = sum(s["matched"] for s in t["spanSets"])
        where = f"cycle {cycle}, {tenant}: trace"
        for trace, n in must.items():
            if found.get(trace, 0) < n and self.still(entries, trace):
                self.problem(f"NOT FOUND by search, {where} {trace}: {found.get(trace, 0)} spans of {n}")
        for trace, n in found.items():
            if n > may.get(trace, 0):
                gone = any(self.overdue(e) for e in entries if
                           trace in self.formula.traces(e.number))
                self.problem(f"{'TOO OLD' if gone else 'INVENTED'}, {where} {trace}: {n} spans, at "
                             f"most {may.get(trace, 0)} expected")
        if tenant in self.keep or not entries:
            return  # between two queries retention may work
        total = sum(s.get("value", 0) for s in self.client.get(
            tenant, "/api/metrics/query", q=q + " | count_over_time()",
            start=min(e.base_ns for e in entries) // 10**9 - 1,
            end=max(e.base_ns for e in entries) // 10**9 + 3).get("series", []))
        if total != sum(found.values()):
            self.problem(f"cycle {cycle}, {tenant}: a metrics query counts {total} spans, the search "
                         f"{sum(found.values())}")

    def still(self, entries, trace):
        """Retention may have come between the search and now."""
        number = parse_trace_id(trace)[1]
        return any(self.must(e) for e in entries if number <= e.number < number + GROUP)

    # ---- tenants ----

    def check_tenants(self, tenants, since_seconds):
        """No tenant shows a trace of another by a search for everything, or by id."""
        now = int(time.time())
        for tenant in tenants:
            answer = self.client.get(tenant, "/api/search", q="{}", limit=200000, spss=1,
                                     start=now - int(since_seconds) - 2, end=now + 2)
            for t in answer.get("traces", []):
                seed, number, index = parse_trace_id(t["traceID"])
                if seed != self.formula.seed & 0xffffffff:
                    self.problem(f"INVENTED {t['traceID']} in {tenant}")
                    continue
                last = number + (GROUP if index == SHARED else 1)
                owners = {self.ledger.entries[n].tenant for n in range(number, last)
                          if n in self.ledger.entries}
                if not owners:
                    self.problem(f"INVENTED {t['traceID']} in {tenant}")
                elif tenant not in owners:
                    self.problem(f"CROSSED {t['traceID']} of {owners} in {tenant}")

    def check_crossing(self, entries, tenants):
        for e in entries:
            for tenant in tenants:
                if tenant != e.tenant:
                    trace = next(iter(self.formula.traces(e.number)))
                    if self.read_trace(tenant, trace):
                        self.problem(f"CROSSED {trace} of {e.tenant} in {tenant}")
