# SPDX-License-Identifier: Apache-2.0
"""Random queries over the whole grammar, with literals taken from the data so that most find
something. Only queries that pass validation (spec traceql.md 3) are made."""
import random

from data import BIG, ENVS, EVENT_NAMES, NAMES, SERVICES, TEXTS, USERS
from lang import KIND, STATUS, STRUCTURAL, Query

ORDER = ["=", "!=", "<", "<=", ">", ">="]
TRUE, FALSE = ("lit", ("b", True)), ("lit", ("b", False))
SPAN_KEYS = ["user", "n", "m", "code", "flag", "ratio", "tags", "sizes", "big", "odd", "txt",
             "blob", "x.y", "odd key", "a-1", "ключ", "5xx", "nope"]
RESOURCE_KEYS = ["service.name", "env", "user", "n", "k8s.pod", "tags", "x.y", "nope"]
SCOPE_KEYS = ["lang", "n"]
EVENT_KEYS = ["k", "n", "flag"]
LINK_KEYS = ["rel", "n"]
STRINGS = ["name", "statusMessage", "rootName", "rootServiceName", "event:name",
           "instrumentation:name", "instrumentation:version"]
DURATIONS = ["duration", "duration", "traceDuration", "event:timeSinceStart"]
INTS = ["span:childCount", "nestedSetLeft", "nestedSetRight", "nestedSetParent"]
IDS = ["trace:id", "span:id", "span:parentID", "link:traceID", "link:spanID"]
FUNCTIONS = ["rate", "count_over_time", "min_over_time", "max_over_time", "avg_over_time",
             "sum_over_time", "quantile_over_time", "histogram_over_time"]


class Queries:
    def __init__(self, seed, traces):
        self.r = random.Random(seed)
        self.traces = traces
        self.spans = [s for t in traces for s in t.spans]
        self.times = sorted(s.start for s in self.spans)

    def chance(self, p):
        return self.r.random() < p

    # ---- attributes and literals ----

    def attr(self, multi=True):
        r, x = self.r, self.r.random()
        if x < 0.5:
            return ("span", r.choice(SPAN_KEYS), False)
        if x < 0.64:
            return ("resource", r.choice(RESOURCE_KEYS), False)
        if x < 0.78:
            return ("", r.choice(["user", "n", "tags", "x.y", "env", "code", "service.name"]), False)
        if x < 0.84:
            return ("instrumentation", r.choice(SCOPE_KEYS), False)
        if x < 0.90:
            return (r.choice(["", "span", "resource"]), r.choice(["user", "n", "env", "flag"]), True)
        if not multi:
            return ("span", "m", False)
        if x < 0.96:
            return ("event", r.choice(EVENT_KEYS), False)
        return ("link", r.choice(LINK_KEYS), False)

    def any_attr(self):
        x = self.r.random()
        if x < 0.6:
            return self.attr()
        return ("i", self.r.choice(STRINGS + DURATIONS + INTS + ["status", "kind"] + IDS[1:3]), False)

    def data_value(self, a):
        """A value that the attribute has somewhere, or None."""
        scope, key, _ = a
        for _ in range(4):
            s = self.r.choice(self.spans)
            holders = {"span": [s.attrs], "resource": [s.resource.attrs],
                       "": [s.attrs, s.resource.attrs], "instrumentation": [s.scope.attrs],
                       "event": [e.attrs for e in s.events],
                       "link": [k.attrs for k in s.links]}[scope]
            for h in holders:
                v = h.get(key)
                if v is None or v[0] == "o":
                    continue
                if v[0] == "a":
                    v = self.r.choice(v[1])
                if v[0] == "f" and (v[1] != v[1] or v[1] in (float("inf"), float("-inf"))):
                    continue
                return v
        return None

    def loose_value(self):
        r = self.r
        return r.choice([("i", r.randint(-3, 10)), ("f", r.choice([0.5, 1.0, 7.0, 2.5])),
                         ("s", r.choice(USERS + TEXTS)), ("b", self.chance(0.5)),
                         ("i", r.choice([200, 404, 500])),
                         ("i", r.choice([b for b in BIG if isinstance(b, int)]))])

    def value_for(self, a):
        v = self.data_value(a) if self.chance(0.85) else None
        v = v or self.loose_value()
        if v[0] == "i" and self.chance(0.15):
            return ("f", float(v[1]) + self.r.choice([0.0, 0.5])) if abs(v[1]) < 2**60 else v
        if v[0] == "f" and v[1] == int(v[1]) and abs(v[1]) < 2**60 and self.chance(0.3):
            return ("i", int(v[1]))
        return v

    def pattern(self, s):
        """A regular expression near a string."""
        r, plain = self.r, "".join("\\" + c if c in r"\.+*?()|[]{}^$" else c for c in s)
        return r.choice([plain, ".*", plain[:1] + ".*" if s[:1] not in "\\.+*?()|[]{}^$" else ".*",
                         f"{plain}|zzz", ".+", f"(?i){plain}", "[a-z]+", f".*{plain}", ".", "a|b"])

    def string_leaf(self, a, v):
        r = self.r
        if self.chance(0.4):
            return ("bin", r.choice(["=~", "=~", "!~"]), ("attr", a), ("lit", ("s", self.pattern(v[1]))))
        return ("bin", r.choice(["=", "=", "!=", "<", ">="]), ("attr", a), ("lit", v))

    # ---- boolean expressions ----

    def attr_leaf(self):
        a, r = self.attr(), self.r
        v = self.value_for(a)
        if v[0] == "s":
            e = self.string_leaf(a, v)
        elif v[0] == "b":
            e = ("bin", r.choice(["=", "=", "!="]), ("attr", a), ("lit", v))
        else:
            e = ("bin", r.choice(ORDER), ("attr", a), ("lit", v))
        return self.flip(e)

    def event_leaf(self):
        """A condition on an event: several of them must hold on one."""
        r, s = self.r, self.r.choice(self.spans)
        e = r.choice(s.events) if s.events else None
        if self.chance(0.5):
            return self.string_leaf(("i", "event:name", False),
                                    ("s", e.name if e else r.choice(EVENT_NAMES)))
        a = ("event", r.choice(EVENT_KEYS), False)
        v = e and e.attrs.get(a[1])
        if v is None or v[0] in "ao":
            return ("exists", ("attr", a))
        return ("bin", r.choice(["=", "=", "!="]), ("attr", a), ("lit", v))

    def flip(self, e):
        if e[1] in ("=~", "!~") or not self.chance(0.12):
            return e
        mirror = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
        return ("bin", mirror.get(e[1], e[1]), e[3], e[2])

    def intrinsic_leaf(self):
        r, x, s = self.r, self.r.random(), self.r.choice(self.spans)
        if x < 0.3:
            i = r.choice(STRINGS)
            pool = {"name": NAMES, "rootName": NAMES, "statusMessage": ["", "timeout", "boom"],
                    "rootServiceName": SERVICES, "event:name": EVENT_NAMES,
                    "instrumentation:name": ["otel-go", "otel-c", ""],
                    "instrumentation:version": ["", "1.2", "0.9"]}[i]
            return self.string_leaf(("i", i, False), ("s", r.choice(pool)))
        if x < 0.45:
            return ("bin", r.choice(["=", "!="]), ("attr", ("i", "status", False)),
                    ("lit", ("st", r.randrange(len(STATUS)))))
        if x < 0.6:
            return ("bin", r.choice(["=", "!="]), ("attr", ("i", "kind", False)),
                    ("lit", ("k", r.randrange(len(KIND)))))
        if x < 0.78:
            i = r.choice(DURATIONS)
            ns = s.duration if i == "duration" else s.trace.end - s.trace.start \
                if i == "traceDuration" else r.choice([0, 50 * 10**6, 200 * 10**6 + 1])
            v = r.choice([("d", ns), ("d", ns), ("i", ns), ("f", float(ns) + r.choice([0.0, 0.5]))])
            return self.flip(("bin", r.choice(ORDER), ("attr", ("i", i, False)), ("lit", v)))
        if x < 0.9:
            i = r.choice(INTS)
            v = {"span:childCount": s.n_children, "nestedSetLeft": s.left,
                 "nestedSetRight": s.right, "nestedSetParent": s.up}[i]
            v = r.choice([("i", v), ("i", v), ("f", v + 0.5)])
            return self.flip(("bin", r.choice(ORDER), ("attr", ("i", i, False)), ("lit", v)))
        i = r.choice(IDS)
        k = r.choice(s.links) if s.links else None
        text = {"trace:id": f"{s.trace.id:x}", "span:id": f"{s.id:016x}",
                "span:parentID": f"{s.parent:016x}",
                "link:traceID": f"{k.trace_id:032x}" if k else "1",
                "link:spanID": f"{k.span_id:016x}" if k else "1"}[i]
        if self.chance(0.2):
            text = "00" + text if self.chance(0.5) else text.lstrip("0")
        if self.chance(0.2):
            return ("bin", r.choice(["=~", "!~"]), ("attr", ("i", i, False)),
                    ("lit", ("s", text[:2] + ".*")))
        return ("bin", r.choice(["=", "=", "!="]), ("attr", ("i", i, False)), ("lit", ("s", text)))

    def chain(self):
        """Comparisons of one attribute with several literals: what becomes a set."""
        r, a = self.r, self.attr()
        first = self.value_for(a)
        values = [first]
        for _ in range(r.choice([1, 1, 2, 3])):
            v = self.value_for(a)
            values.append(v if v[0] == first[0] or self.chance(0.1) else first)
        if first[0] == "s" and self.chance(0.4):
            op, values = r.choice(["=~", "!~"]), [("s", self.pattern(v[1] if v[0] == "s" else "a"))
                                                  for v in values]
        else:
            op = r.choice(["=", "!="])
        glue = {"=": "||", "=~": "||"}.get(op, "&&")
        if self.chance(0.15):
            glue = "&&" if glue == "||" else "||"
        e = ("bin", op, ("attr", a), ("lit", values[0]))
        for v in values[1:]:
            e = ("bin", glue, e, ("bin", op, ("attr", a), ("lit", v)))
        return e

    def number(self, depth):
        r, x = self.r, self.r.random()
        if depth <= 0 or x < 0.5:
            y = r.random()
            if y < 0.5:
                return ("attr", r.choice([("span", "n", False), ("span", "m", False),
                                          ("span", "ratio", False), ("", "n", False),
                                          ("resource", "n", False), ("span", "big", False),
                                          ("span", "odd", False), ("event", "n", False),
                                          ("span", "sizes", False), ("", "n", True),
                                          ("instrumentation", "n", False)]))
            if y < 0.7:
                return ("attr", ("i", r.choice(DURATIONS + INTS), False))
            return ("lit", r.choice([("i", r.randint(-3, 9)), ("f", r.choice([0.5, 2.0, 1e3])),
                                     ("d", r.choice([1, 10**6, 10**9, 5 * 10**8])), ("i", 0)]))
        if x < 0.56:
            return ("un", "-", self.number(depth - 1))
        if x < 0.62:
            return ("bin", "^", ("attr", ("span", "m", False)), ("lit", ("i", r.randint(0, 3))))
        return ("bin", r.choice("+-*/%"), self.number(depth - 1), self.number(depth - 1))

    def boolean(self, depth):
        r, x = self.r, self.r.random()
        if depth > 0 and x < 0.42:
            return ("bin", r.choice(["&&", "&&", "||"]), self.boolean(depth - 1),
                    self.boolean(depth - 1))
        if depth > 0 and x < 0.47:
            return ("un", "!", self.boolean(depth - 1))
        if depth > 0 and x < 0.52:
            return ("bin", "&&", self.event_leaf(), self.event_leaf())
        x = r.random()
        if x < 0.40:
            return self.attr_leaf()
        if x < 0.62:
            return self.intrinsic_leaf()
        if x < 0.70:
            return self.chain()
        if x < 0.77:
            return ("exists", ("attr", self.any_attr()))
        if x < 0.83:
            a = self.attr()
            if a == ("resource", "service.name", False):
                a = ("resource", "env", False)
            return ("absent", ("attr", a))
        if x < 0.86:
            return ("attr", r.choice([("span", "flag", False), ("event", "flag", False),
                                      ("", "flag", False), ("span", "user", False)]))
        if x < 0.91:
            a, b = self.number(2), self.number(2)
            if any(p[0] == "attr" and p[1][0] != "i" and q[0] == "lit" and q[1][0] == "d"
                   for p, q in ((a, b), (b, a))):
                b = ("bin", "+", b, ("attr", ("i", "duration", False)))  # never equal: no condition
            return ("bin", r.choice(ORDER), a, b)
        if x < 0.96:
            return ("bin", r.choice(ORDER), ("attr", self.attr()), ("attr", self.attr()))
        if x < 0.98:
            a, b = r.choice([("duration", "traceDuration"), ("name", "rootName"),
                             ("nestedSetLeft", "span:childCount"), ("span:id", "span:parentID")])
            return ("bin", r.choice(["=", "!="]), ("attr", ("i", a, False)), ("attr", ("i", b, False)))
        return r.choice([TRUE, TRUE, FALSE])

    # ---- spansets and stages ----

    def filter(self, depth=2):
        return ("filter", TRUE if self.chance(0.12) else self.boolean(self.r.randint(0, depth)))

    def spanset(self, depth):
        r, x = self.r, self.r.random()
        if depth <= 0 or x < 0.45:
            return self.filter(1)
        op = r.choice(["&&", "||"]) if x < 0.65 else r.choice(sorted(STRUCTURAL))
        return ("op", op, self.spanset(depth - 1), self.spanset(depth - 1))

    def piped(self):
        """Parenthesised pipelines combined."""
        def one():
            stages = [("ss", self.filter(1))]
            if self.chance(0.7):
                stages.append(self.aggregate(2))
            return ("pipe", stages)
        op = self.r.choice(["&&", "||"] + sorted(STRUCTURAL))
        return ("op", op, one(), one() if self.chance(0.6) else self.filter(1))

    def argument(self):
        r, x = self.r, self.r.random()
        if x < 0.35:
            return ("attr", ("i", r.choice(["duration", "duration", "traceDuration",
                                            "span:childCount"]), False))
        if x < 0.8:
            return ("attr", r.choice([("span", "n", False), ("span", "m", False), ("", "n", False),
                                      ("span", "ratio", False), ("resource", "n", False),
                                      ("event", "n", False)]))
        if x < 0.9:
            return ("bin", r.choice("+-*"), ("attr", ("span", "m", False)),
                    ("lit", r.choice([("i", 2), ("f", 0.5)])))
        return ("un", "-", ("attr", r.choice([("i", "duration", False), ("span", "m", False)])))

    def aggregate_call(self):
        fn = self.r.choice(["count", "count", "min", "max", "avg", "sum"])
        return ("agg", fn, None if fn == "count" else self.argument())

    def threshold(self):
        r = self.r
        return ("lit", r.choice([("i", 1), ("i", 2), ("i", 0), ("i", 5), ("f", 2.5), ("i", 200),
                                 ("d", 10**9), ("d", 10**7), ("i", -10), ("f", 0.5)]))

    def aggregate(self, n=3):
        r, x = self.r, self.r.random()
        op, call = r.choice(["=", "!=", "<", "<=", ">", ">", ">=", ">="]), self.aggregate_call()
        if x < 0.8 or n < 3:
            return ("scalar", op, call, self.threshold())
        if x < 0.86:
            return ("scalar", op, self.threshold(), call)
        if x < 0.93:
            return ("scalar", op, ("arith", r.choice("+-*/%"), call, self.threshold()),
                    self.threshold())
        return ("scalar", op, call, ("arith", r.choice("+-*"), self.aggregate_call(),
                                     self.threshold()))

    def group(self):
        r, x = self.r, self.r.random()
        if x < 0.7:
            return ("by", ("attr", self.any_attr()))
        if x < 0.85:
            return ("by", self.simple_comparison())
        return ("by", ("bin", r.choice("+*/%"), ("attr", ("span", "m", False)), ("lit", ("i", r.choice([2, 3])))))

    def simple_comparison(self):
        r = self.r
        return r.choice([
            ("bin", ">", ("attr", ("i", "duration", False)), ("lit", ("d", 10**9))),
            ("bin", "=", ("attr", ("i", "status", False)), ("lit", ("st", 2))),
            ("bin", ">=", ("attr", ("span", "n", False)), ("lit", ("i", 3))),
            ("bin", "=", ("attr", ("resource", "env", False)), ("lit", ("s", "prod")))])

    def first_stage(self):
        x = self.r.random()
        if x < 0.52:
            return ("ss", self.filter(3))
        if x < 0.86:
            return ("ss", self.spanset(2))
        if x < 0.92:
            return ("ss", self.piped())
        if x < 0.95:
            return self.aggregate()
        if x < 0.98:
            return ("by", ("attr", self.any_attr()))
        return ("select", [self.any_attr()])

    def pipeline(self):
        r, stages = self.r, [self.first_stage()]
        grouped = stages[0][0] == "by"
        if stages[0][0] == "ss" and has_pipe(stages[0][1]):
            return stages
        if only_all(stages[0]) and stages[0][1][0] == "op":
            return stages
        while self.chance(0.33) and len(stages) < 5:
            x = r.random()
            if stages[0][0] == "select":
                break
            if x < 0.3:
                s = ("ss", self.filter(1))
            elif x < 0.36 and not grouped:
                s = ("ss", self.spanset(1))
            elif x < 0.66:
                s = self.aggregate()
            elif x < 0.86:
                s, grouped = self.group(), True
            else:
                s, grouped = ("coalesce",), False
            stages.append(s)
        if self.chance(0.15):
            stages.append(("select", [self.any_attr() for _ in range(r.randint(1, 3))]))
        return stages

    def search(self):
        return Query(self.pipeline())

    # ---- metrics ----

    def metric(self):
        r, fn = self.r, self.r.choice(FUNCTIONS)
        m = {"fn": fn, "arg": None, "by": [], "quantiles": [], "filter": None, "top": None,
             "start": 0, "end": 0}
        if self.chance(0.08):
            m["fn"], m["filter"] = "compare", self.boolean(1)
            if self.chance(0.7):
                m["top"] = r.choice([1, 2, 1000, 1000, 1000])
                if self.chance(0.3):
                    m["start"] = r.choice(self.times) or 1
                    m["end"] = m["start"] + r.randint(1, 10**10)
            return m
        if fn not in ("rate", "count_over_time"):
            m["arg"] = r.choice([("i", "duration", False), ("i", "duration", False),
                                 ("i", "traceDuration", False), ("span", "n", False),
                                 ("span", "m", False), ("span", "ratio", False), ("", "n", False),
                                 ("resource", "n", False), ("i", "span:childCount", False),
                                 ("event", "n", False), ("i", "name", False),
                                 ("span", "code", False), ("span", "sizes", False)])
        if fn == "quantile_over_time":
            m["quantiles"] = r.choice([[0.5], [0.9], [0, 1], [0.25, 0.5, 0.99]])
        if self.chance(0.6):
            seen = []
            for _ in range(r.choice([1, 1, 1, 2, 2, 3])):
                a = self.any_attr() if self.chance(0.85) else ("", "user", False)
                if a not in seen:
                    seen.append(a)
            m["by"] = seen
        return m

    def second(self):
        r, out = self.r, []
        while self.chance(0.25) and len(out) < 3:
            if self.chance(0.6):
                out.append((r.choice(["topk", "bottomk"]), r.choice([1, 1, 2, 3, 10])))
            else:
                out.append(("cmp", r.choice(ORDER), r.choice([("i", 0), ("i", 1), ("f", 0.5),
                                                             ("d", 5 * 10**8), ("i", -1),
                                                             ("i", 100)])))
        return out

    def metrics(self):
        stages = self.pipeline()
        if stages[-1][0] == "select" or (stages[0][0] == "ss" and has_pipe(stages[0][1])):
            stages = [("ss", self.filter())]  # nothing may follow a wrapped pipeline
        if self.chance(0.5):
            stages = [("ss", self.filter(2))]
        m = self.metric()
        return Query(stages, m, [] if m["fn"] == "compare" else self.second(),
                     " with (exemplars=false)")


def has_pipe(s):
    return s[0] == "pipe" or (s[0] == "op" and (has_pipe(s[2]) or has_pipe(s[3])))


def only_all(stage):
    def all_of(s):
        return s[1] == TRUE if s[0] == "filter" else s[0] == "op" and all_of(s[2]) and all_of(s[3])
    return stage[0] == "ss" and all_of(stage[1])
