# SPDX-License-Identifier: Apache-2.0
"""Random traces of every odd shape, and what the language sees of them (spec traceql.md 4.1).

A data set is a list of epochs; an epoch is a list of sends; a send is a list of batches
(resource, scope, spans) in the order in which they lie in the request. The runner turns epochs into
parts of the store, so that one trace lies in several of them.

A value is a pair (kind, payload): i int, f float, s string, b bool, d duration (ns), st status,
k kind, a array (tuple of scalars), o a value that compares with nothing. None is nil.
"""
import random

import otlp

OPAQUE = ("o", None)
SECOND = 10**9
MS = 10**6


class Resource:
    def __init__(self, attrs):
        self.sent = attrs  # [(key, python value)]
        self.attrs = {k: typed(v) for k, v in attrs}
        name = self.attrs.get("service.name")
        self.service = name[1] if name and name[0] == "s" else ""


class Scope:
    def __init__(self, name, version, attrs):
        self.name, self.version, self.sent = name, version, attrs
        self.attrs = {k: typed(v) for k, v in attrs}


class Span:
    """One span as sent. What belongs to its place in the trace is filled in by Trace."""

    def __init__(self, **members):
        self.trace_id = self.id = self.parent = 0
        self.name = self.message = ""
        self.kind = self.status = self.start = self.duration = 0
        self.sent, self.events, self.links = [], [], []
        self.__dict__.update(members)
        self.attrs = {k: typed(v) for k, v in self.sent}
        self.resource = self.scope = self.trace = None
        self.left = self.right = self.up = 0
        self.parent_span, self.n_children, self.order = None, 0, 0

    def copy(self, **members):
        keep = ("trace_id", "id", "parent", "name", "message", "kind", "status", "start",
                "duration", "sent", "events", "links")
        return Span(**{**{k: getattr(self, k) for k in keep}, **members})


class Event:
    def __init__(self, name, since, sent):
        self.name, self.since, self.sent = name, since, sent
        self.attrs = {k: typed(v) for k, v in sent}


class Link:
    def __init__(self, trace_id, span_id, sent):
        self.trace_id, self.span_id, self.sent = trace_id, span_id, sent
        self.attrs = {k: typed(v) for k, v in sent}


def typed(v):
    """What the language sees of an attribute value as sent."""
    if isinstance(v, bool):
        return ("b", v)
    if isinstance(v, int):
        return ("i", v)
    if isinstance(v, float):
        return ("f", v)
    if isinstance(v, str):
        return ("s", v)
    if isinstance(v, list):
        items = [OPAQUE if isinstance(e, list) else typed(e) for e in v]
        kinds = {e[0] for e in items}
        if len(kinds) != 1 or kinds & {"a", "o"}:
            return OPAQUE
        return items[0] if len(items) == 1 else ("a", tuple(items))
    return OPAQUE  # bytes, key/value lists, nothing


# ---- a trace as it is assembled ----

class Trace:
    """Spans in arrival order; a span id and kind that came before is a retry and dropped."""

    def __init__(self, trace_id):
        self.id, self.spans, self.seen = trace_id, [], set()

    def add(self, span, resource, scope):
        if (span.id, span.kind) in self.seen:
            return
        self.seen.add((span.id, span.kind))
        span = span.copy()
        span.resource, span.scope, span.trace, span.order = resource, scope, self, len(self.spans)
        self.spans.append(span)

    def finish(self):
        self.start = min(s.start for s in self.spans)
        self.end = max(s.start + s.duration for s in self.spans)
        roots = [s for s in self.spans if s.parent == 0]
        self.root = roots[-1] if roots else None
        self.root_name = self.root.name if roots else ""
        self.root_service = self.root.resource.service if roots else ""
        by_id = {}
        for s in self.spans:
            by_id.setdefault(s.id, []).append(s)
        children = {}
        for s in self.spans:
            p = attach(s, by_id.get(s.parent, [])) if s.parent else None
            s.parent_span = p
            if p is not None:
                p.n_children += 1
                children.setdefault(p.order, []).append(s)
        if all(len(same) <= 2 for same in by_id.values()):
            number(roots, children)
        return self


def attach(child, same):
    """The parent among the spans that share its id (spec 4.6)."""
    if not same:
        return None
    found = same[0]
    if len(same) == 2:
        want = 3 if child.kind == 2 else 2
        found = next((s for s in same if s.kind == want), same[0])
    return None if found is child else found


def number(roots, children):
    at = 0

    def walk(span, up):
        nonlocal at
        at += 1
        span.left, span.up = at, up
        for c in children.get(span.order, ()):
            walk(c, span.left)
        at += 1
        span.right = at

    for r in roots:
        walk(r, -1)


def assemble(epochs):
    traces = {}
    for sends in epochs:
        for send in sends:
            for resource, scope, spans in send:
                for s in spans:
                    traces.setdefault(s.trace_id, Trace(s.trace_id)).add(s, resource, scope)
    return [t.finish() for t in traces.values()]


# ---- as OTLP ----

def pairs(sent):
    return [{"key": k, "value": otlp.value(v) if v is not None else {}} for k, v in sent]


def span_dict(s):
    return {
        "traceId": f"{s.trace_id:032x}", "spanId": f"{s.id:016x}",
        "parentSpanId": f"{s.parent:016x}" if s.parent else "", "name": s.name, "kind": s.kind,
        "startTimeUnixNano": str(s.start), "endTimeUnixNano": str(s.start + s.duration),
        "attributes": pairs(s.sent), "status": {"code": s.status, "message": s.message},
        "events": [{"timeUnixNano": str(s.start + e.since), "name": e.name,
                    "attributes": pairs(e.sent)} for e in s.events],
        "links": [{"traceId": f"{k.trace_id:032x}", "spanId": f"{k.span_id:016x}",
                   "attributes": pairs(k.sent)} for k in s.links]}


def request(send):
    """Neighbours of one resource share its ResourceSpans, as an exporter would send them."""
    out, last = [], None
    for resource, scope, spans in send:
        if resource is not last:
            out.append({"resource": {"attributes": pairs(resource.sent)}, "scopeSpans": []})
            last = resource
        out[-1]["scopeSpans"].append({
            "scope": {"name": scope.name, "version": scope.version,
                      "attributes": pairs(scope.sent)},
            "spans": [span_dict(s) for s in spans]})
    return {"resourceSpans": out}


# ---- random ----

USERS = ["ann", "bob", "cid", "svcacct", ""]
TEXTS = ["", "a", "A", "aa", "none", "10", "9", "é", "ключ", "日本", "a\nb", "<&>", "x\"y\\z",
         "\U0001f600", " ", "`"]
NAMES = ["GET /cart", "auth", "SELECT", "fetch", "", "POST /päy"]
SERVICES = ["web", "db", "cron", "", "дб"]
BIG = [2**63 - 1, -2**63, 2**53, 2**53 + 1, -1, 0, float(2**53), 9007199254740994.0, 1e18]
ODD = [float("nan"), float("inf"), float("-inf"), 1e300, -1e300, 5e-324, 0.0, 1.5]
ENVS = ["prod", "dev"]
EVENT_NAMES = ["retry", "cache.miss", "exception", ""]
SCOPES = ["otel-go", "otel-c", ""]


class Generator:
    def __init__(self, seed, base_ns):
        self.r = random.Random(seed)
        self.base = base_ns
        self.ids = []

    def chance(self, p):
        return self.r.random() < p

    def small(self):
        r = self.r
        return r.choice([r.randint(0, 9), r.randint(-3, 3), r.choice([200, 404, 500, 504]),
                         r.randint(1, 3000)])

    def mixed(self):
        """Mostly an int: the same key with several types."""
        r, x = self.r, self.r.random()
        if x < 0.6:
            return self.small()
        if x < 0.8:
            return r.choice([float(self.small()), self.small() + 0.5, r.random()])
        if x < 0.9:
            return str(self.small())
        if x < 0.95:
            return self.chance(0.5)
        return [self.small() for _ in range(r.randint(0, 3))]

    def array(self):
        r, n = self.r, self.r.choice([0, 1, 2, 2, 3])
        kind = r.random()
        if kind < 0.6:
            return [r.choice(USERS[:4]) for _ in range(n)]
        if kind < 0.8:
            return [self.small() for _ in range(n)]
        if kind < 0.9:
            return [r.choice([0.5, 1.0, 2.0, 7.0]) for _ in range(n)]
        if kind < 0.95:
            return [self.chance(0.5) for _ in range(n)]
        return [r.choice([1, "x", 2.0, True]) for _ in range(n)]

    def attributes(self, odds, choices):
        out = [(k, f()) for k, f in choices if self.chance(odds)]
        self.r.shuffle(out)
        return out

    def span_attributes(self):
        r = self.r
        return self.attributes(0.3, [
            ("user", lambda: r.choice(USERS)), ("n", self.mixed), ("m", self.small),
            ("code", lambda: r.choice([200, 404, 500, "none"])),
            ("flag", lambda: r.choice([True, True, False, "true"])),
            ("ratio", lambda: r.choice([0.5, 1.0, 0.25, r.random() * 10])),
            ("tags", self.array), ("sizes", self.array), ("big", lambda: r.choice(BIG)),
            ("odd", lambda: r.choice(ODD)), ("txt", lambda: r.choice(TEXTS)),
            ("blob", lambda: r.choice([b"\0\1", {"kvlistValue": {"values": []}}, None, [[1], [2]]])),
            ("x.y", lambda: r.choice(USERS)), ("odd key", lambda: r.choice(["q", 1])),
            ("a-1", self.small), ("ключ", lambda: r.choice(TEXTS)), ("5xx", self.small)])

    def resource(self):
        r = self.r
        out = self.attributes(0.4, [
            ("env", lambda: r.choice(ENVS)), ("user", lambda: r.choice(USERS)), ("n", self.mixed),
            ("k8s.pod", lambda: f"pod-{r.randint(0, 3)}"), ("tags", self.array),
            ("x.y", lambda: r.choice(TEXTS))])
        x = r.random()
        if x < 0.85:
            out.insert(0, ("service.name", r.choice(SERVICES)))
        elif x < 0.9:
            out.insert(0, ("service.name", 7))
        return Resource(out)

    def scope(self):
        return Scope(self.r.choice(SCOPES), self.r.choice(["", "1.2", "0.9"]), self.attributes(
            0.4, [("lang", lambda: self.r.choice(["go", "c"])), ("n", self.mixed)]))

    def events(self):
        r = self.r
        return [Event(r.choice(EVENT_NAMES), r.choice([0, 50, r.randint(0, 500)]) * MS + r.choice([0, 1]),
                      self.attributes(0.5, [("k", lambda: r.choice(USERS)), ("n", self.mixed),
                                            ("flag", lambda: self.chance(0.5))]))
                for _ in range(r.choice([0, 0, 0, 1, 1, 2, 3]))]

    def links(self):
        r = self.r
        return [Link(r.choice(self.ids) if self.ids and self.chance(0.6) else r.getrandbits(128) | 1 << 127,
                     r.getrandbits(64) | 1 << 63,
                     self.attributes(0.5, [("rel", lambda: r.choice(["caused_by", "x"])),
                                           ("n", self.mixed)]))
                for _ in range(r.choice([0, 0, 0, 0, 1, 2]))]

    def duration(self):
        r = self.r
        return r.choice([0, 1, r.randint(0, 2000) * MS, r.randint(0, 3) * SECOND, 100 * MS,
                         r.randint(0, 10**10), 86400 * SECOND if self.chance(0.1) else 600 * MS])

    def trace(self):
        r = self.r
        trace_id = r.getrandbits(128) if self.chance(0.8) else r.getrandbits(r.choice([60, 100])) | 1
        if trace_id >> 127 == 1 or self.chance(0.3):
            self.ids.append(trace_id | 1 << 127)
        start = self.base + r.randint(0, 300) * SECOND + r.choice([0, 0, r.randint(0, 10**9)])
        n = r.choice([1, 2, 3, 4, 5, 6, 8, 12])
        shape, slow = r.random(), self.chance(0.15)
        spans = []
        for i in range(n):
            span_id = r.getrandbits(64) or 1
            parent = r.choice(spans).id if spans else 0
            if self.chance(0.06) or (i == 0 and shape < 0.1):
                parent = r.getrandbits(64) or 1  # never seen
            if spans and self.chance(0.06):
                parent = 0  # another root
            if spans and self.chance(0.05):
                span_id = r.choice(spans).id  # shared by two, or more
            at = start + r.choice([0, r.randint(0, 100) * MS, r.randint(0, 40) * SECOND])
            if slow:  # pieces that lie far apart
                at += i * r.randint(20, 200) * SECOND
            spans.append(Span(
                trace_id=trace_id, id=span_id, parent=parent, name=r.choice(NAMES),
                kind=r.randint(0, 5), status=r.choice([0, 0, 1, 2]),
                message=r.choice(["", "", "timeout", "boom"]), start=at, duration=self.duration(),
                sent=self.span_attributes(), events=self.events(), links=self.links()))
        if self.chance(0.1):  # a cycle
            a, b = r.choice(spans), r.choice(spans)
            a.parent, b.parent = b.id, a.id
        if self.chance(0.02):
            spans[-1].start = 0
        if self.chance(0.3):
            r.shuffle(spans)
        return spans

    def data_set(self):
        r = self.r
        resources = [self.resource() for _ in range(r.randint(1, 5))]
        scopes = [self.scope() for _ in range(r.randint(1, 3))]
        pieces = []
        for _ in range(r.randint(2, 9)):
            spans = self.trace()
            while spans:
                k = len(spans) if self.chance(0.4) else r.randint(1, len(spans))
                pieces.append((r.choice(resources), r.choice(scopes), spans[:k]))
                spans = spans[k:]
        if self.chance(0.7):
            r.shuffle(pieces)
        for _ in range(r.choice([0, 0, 1, 3])):  # retries, whole or altered
            resource, scope, spans = r.choice(pieces)
            if self.chance(0.3):
                spans = [s.copy(name="again", duration=1, sent=[]) for s in spans]
            pieces.insert(r.randint(0, len(pieces)), (resource, scope, spans))
        sends = []
        while pieces:
            k = r.randint(1, 4)
            sends.append(pieces[:k])
            pieces = pieces[k:]
        n = r.choice([1, 2, 3, 3])
        epochs = [[] for _ in range(n)]
        cuts = sorted(r.randint(0, len(sends)) for _ in range(n - 1))
        for i, send in enumerate(sends):
            epochs[sum(c <= i for c in cuts)].append(send)
        return epochs
