# SPDX-License-Identifier: Apache-2.0
"""Compares what the server shows with the ledger: acked whole and equal, unknown whole or absent,
nothing else, tenants apart."""
import base64
import http.client
import json
import urllib.parse

from ledger import ACKED, REFUSED, SHARED, UNKNOWN, parse_trace_id


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


KINDS = {"SPAN_KIND_INTERNAL": 1, "SPAN_KIND_SERVER": 2, "SPAN_KIND_CLIENT": 3,
         "SPAN_KIND_PRODUCER": 4, "SPAN_KIND_CONSUMER": 5}


def canonical_sent(span, cycle, number):
    values = {kv["key"]: canonical_value(kv["value"]) for kv in span["attributes"]}
    values["cycle"] = ("int", cycle)
    return (span["spanId"], span["name"], span["kind"], span["startTimeUnixNano"],
            span["endTimeUnixNano"], tuple(sorted(values.items())), f"svc-{number % 7}")


def canonical_stored(span, service):
    values = {kv["key"]: canonical_value(kv["value"]) for kv in span.get("attributes", [])}
    return (base64.b64decode(span["spanId"]).hex(), span.get("name", ""),
            KINDS.get(span.get("kind"), 0), span["startTimeUnixNano"], span["endTimeUnixNano"],
            tuple(sorted(values.items())), service)


class Checker:
    def __init__(self, server, formula, ledger):
        self.server, self.formula, self.ledger = server, formula, ledger
        self.problems = []
        self.client = None

    def problem(self, text):
        if len(self.problems) < 50:
            self.problems.append(text)
            print("FAIL " + text, flush=True)

    def read_trace(self, tenant, trace):
        answer = self.client.get(tenant, f"/api/v2/traces/{trace}")
        if answer.get("status"):
            self.problem(f"{trace}: status {answer['status']} {answer.get('message')}")
        out = []
        for rs in answer["trace"].get("resourceSpans", []):
            service = rs["resource"]["attributes"][0]["value"]["stringValue"]
            for ss in rs["scopeSpans"]:
                out += [canonical_stored(s, service) for s in ss["spans"]]
        return out

    def check_requests(self, numbers):
        """Own traces one by one; the shared traces of those requests as a whole."""
        shared = {}
        for number in numbers:
            self.check_own(number)
            shared.setdefault(self.formula.shared_trace(number), number)
        for trace, number in shared.items():
            self.check_shared(trace, number)

    def expected(self, number):
        """{trace id: [span]} of the request as the API should show it."""
        cycle = self.ledger.cycle[number]
        out = {}
        for span in self.formula.spans(number):
            out.setdefault(span["traceId"], []).append(canonical_sent(span, cycle, number))
        return out

    def check_own(self, number):
        state, tenant = self.ledger.state[number], self.formula.tenant(number)
        want = {t: s for t, s in self.expected(number).items() if parse_trace_id(t)[2] != SHARED}
        got = {t: self.read_trace(tenant, t) for t in want}
        present = [t for t in want if got[t]]
        where = f"request {number} ({state}, cycle {self.ledger.cycle[number]}, {tenant})"
        if state == ACKED and len(present) != len(want):
            self.problem(f"LOST {where}: traces {sorted(set(want) - set(present))} are absent")
        elif state == REFUSED and present:
            self.problem(f"REFUSED BUT STORED {where}")
        elif state == UNKNOWN and present and len(present) != len(want):
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

    def check_shared(self, trace, number):
        """Span by span: each request of the group has put one there."""
        tenant = self.formula.tenant(number)
        got = self.read_trace(tenant, trace)
        if len(got) != len(set(got)):
            self.problem(f"DUPLICATE spans in shared trace {trace}")
        left = set(got)
        first = parse_trace_id(trace)[1]
        for n in range(first, first + 16):
            if n not in self.ledger.state:
                continue
            want = self.expected(n)[trace][0]
            state = self.ledger.state[n]
            if want not in left and state == ACKED:
                self.problem(f"LOST request {n} ({tenant}): its span in shared trace {trace}")
            if want in left and state == REFUSED:
                self.problem(f"REFUSED BUT STORED request {n} in shared trace {trace}")
            left.discard(want)
        if left:
            self.problem(f"INVENTED in shared trace {trace}: {str(sorted(left)[:1])[:300]}")

    def check_search(self, cycle):
        """The set of traces that a search finds for this cycle, tenant by tenant."""
        for tenant in self.formula.tenants:
            answer = self.client.get(tenant, "/api/search", q=f"{{ span.cycle = {cycle} }}",
                                     limit=200000, spss=1)
            found = {t["traceID"].rjust(32, "0") for t in answer["traces"]}
            if len(found) != len(answer["traces"]):
                self.problem(f"cycle {cycle}, {tenant}: a trace is listed twice")
            must, may = set(), set()
            for number, sent_in in self.ledger.cycle.items():
                if sent_in != cycle or self.formula.tenant(number) != tenant:
                    continue
                traces = {s["traceId"] for s in self.formula.spans(number)}
                state = self.ledger.state[number]
                if state == ACKED:
                    must |= traces
                elif state != REFUSED:
                    may |= traces
            if must - found:
                self.problem(f"NOT FOUND by search, cycle {cycle}, {tenant}: {len(must - found)} "
                             f"traces, first {sorted(must - found)[0]}")
            if found - must - may:
                self.problem(f"INVENTED, cycle {cycle}, {tenant}: {len(found - must - may)} traces, "
                             f"first {sorted(found - must - may)[0]}")

    def check_tenants(self):
        """No tenant shows a trace of another, by search or by id."""
        for tenant in self.formula.tenants:
            answer = self.client.get(tenant, "/api/search", q="{}", limit=200000, spss=1)
            for t in answer["traces"]:
                seed, number, _ = parse_trace_id(t["traceID"])
                if seed != self.formula.seed & 0xffffffff or number not in self.ledger.state:
                    self.problem(f"INVENTED {t['traceID']} in {tenant}")
                elif self.formula.tenant(number) != tenant:
                    self.problem(f"CROSSED {t['traceID']} of {self.formula.tenant(number)} "
                                 f"in {tenant}")
        acked = [n for n, s in self.ledger.state.items() if s == ACKED][:20]
        for number in acked:
            for tenant in self.formula.tenants:
                if tenant != self.formula.tenant(number):
                    for trace in self.expected(number):
                        if self.read_trace(tenant, trace):
                            self.problem(f"CROSSED {trace} in {tenant}")

    def run(self, cycle, numbers, search_cycles):
        self.client = Client(self.server)
        self.check_requests(numbers)
        for k in search_cycles:
            self.check_search(k)
        if cycle % 5 == 0:
            self.check_tenants()
