# SPDX-License-Identifier: Apache-2.0
"""A naive evaluator of search queries: row by row, no index, written from spec traceql.md 4 with the
decisions of its section 9. Expressions become closures over (span, event, link); event and link are
None unless a conjunctive query fixes them, then one of the span's, or NONE when it has none.

One file, though a long one: it is read from top to bottom beside the specification's chapter 4."""
import json
import math
import re

from data import OPAQUE
from lang import KIND, STATUS, STRUCTURAL, canonical, float_json, go_duration

NUMERIC = ("i", "f", "d")
NONE = object()
FALSE, TRUE = ("b", False), ("b", True)
NOT_LISTED = {"name", "duration", "traceDuration", "rootName", "rootServiceName", "trace:id",
              "span:id"}
MULTI = {"event:name", "event:timeSinceStart", "link:traceID", "link:spanID"}
WIDTH = {"span:id": 16, "span:parentID": 16, "link:spanID": 16, "link:traceID": 32}


class QueryError(Exception):
    """What the server answers with status 500."""


# ---- operators on values (4.4) ----

def wrap(i):
    return (i + 2**63) % 2**64 - 2**63


def compare(op, a, b):
    """Two scalars, neither nil nor opaque."""
    ka, kb, x, y = a[0], b[0], a[1], b[1]
    if ka in NUMERIC and kb in NUMERIC:
        pass
    elif ka != kb or (ka != "s" and op not in ("=", "!=")):
        return False
    if op == "=":
        return x == y
    if op == "!=":
        return x != y
    if op == "<":
        return x < y
    if op == "<=":
        return x <= y
    if op == ">":
        return x > y
    return x >= y


def comparable(a, b):
    return a[0] == b[0] or (a[0] in NUMERIC and b[0] in NUMERIC)


def has(v):
    return v is not None and v is not OPAQUE


def binary_compare(op, a, b):
    if not has(a) or not has(b):
        return False
    if a[0] == "a" and b[0] == "a":
        raise QueryError("array operators must consist of a scalar and an array operand")
    if a[0] == "a" or b[0] == "a":
        pairs = [(e, b) for e in a[1]] if a[0] == "a" else [(a, e) for e in b[1]]
        if op == "!=":
            return all(comparable(x, y) and compare(op, x, y) for x, y in pairs)
        return any(compare(op, x, y) for x, y in pairs)
    return compare(op, a, b)


def power(x, y):
    try:
        return math.pow(x, y)
    except OverflowError:
        return -math.inf if x < 0 and y % 2 == 1 else math.inf
    except ValueError:
        if x == 0:  # a pole
            return math.inf if not (math.copysign(1, x) < 0 and y % 2 == 1) else -math.inf
        return math.nan


def divide(x, y):
    if y != 0:
        return x / y
    if x == 0 or x != x:
        return math.nan
    return math.copysign(math.inf, x) * math.copysign(1, y)


def remainder(x, y):
    if y == 0 or x in (math.inf, -math.inf):
        return math.nan
    return math.fmod(x, y)


def arithmetic(op, a, b):
    if (a and a[0] == "a") or (b and b[0] == "a"):
        raise QueryError("unsupported operation")
    if not has(a) or not has(b):
        return None  # case 143: `{ span.x * 2 = span.x + 1 }` does not find spans without x
    if a[0] not in NUMERIC or b[0] not in NUMERIC:
        return FALSE
    x, y = a[1], b[1]
    if a[0] == "i" and b[0] == "i":
        if op in "/%":
            if y == 0:
                return None
            q = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
            return ("i", wrap(q if op == "/" else x - q * y))
        return ("i", wrap({"+": x + y, "-": x - y, "*": x * y}[op] if op != "^" else x ** y))
    x, y = float(x), float(y)
    if op == "+":
        return ("f", x + y)
    if op == "-":
        return ("f", x - y)
    if op == "*":
        return ("f", x * y)
    return ("f", {"/": divide, "%": remainder, "^": power}[op](x, y))


def pattern(text):
    """RE2's anchored dot-all match; the generator keeps to what both engines read alike."""
    return re.compile(f"(?s:{text})" if not text.startswith("(?i)") else f"(?si:{text[4:]})")


# ---- conditions: what becomes visible (4.3) ----

class Leaf:
    """attr op literal, or a chain of them as a set."""

    def __init__(self, attr, op, values):
        self.attr, self.op, self.values = attr, op, values
        if attr[0] == "i" and attr[1] in WIDTH:
            self.values = [("s", v[1].lstrip("0").rjust(WIDTH[attr[1]], "0")) for v in values] \
                if op in ("=", "!=") else values
        elif attr == ("i", "trace:id", False) and op in ("=", "!="):
            self.values = [("s", v[1].lstrip("0") or "0") for v in values]
        self.regexes = [pattern(v[1]) for v in values] if op in ("=~", "!~") else None

    def scalar(self, v):
        if self.regexes is not None:
            if v[0] != "s":
                return False
            hit = any(p.fullmatch(v[1]) for p in self.regexes)
            return hit == (self.op == "=~")
        if self.op == "!=":
            return all(comparable(v, x) and compare("!=", v, x) for x in self.values)
        return any(compare(self.op, v, x) for x in self.values)

    def match(self, v):
        """On a visible value."""
        if not has(v):
            return False
        if v[0] != "a":
            return self.scalar(v)
        if self.op in ("!=", "!~") and len(self.values) == 1:
            return all(self.scalar(e) for e in v[1])
        return any(self.scalar(e) for e in v[1])

    def admits(self, element):
        if self.attr[0] != "i" and self.values[0][0] in ("d", "st", "k"):
            return False
        return self.scalar(element)


MIRROR = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}


def as_leaf(e):
    """(attr, op, literal) of a comparison with a literal, folding a negative one; None."""
    if e[0] != "bin" or e[1] not in ("=", "!=", "<", "<=", ">", ">=", "=~", "!~"):
        return None
    op, l, r = e[1], fold(e[2]), fold(e[3])
    if l[0] == "lit" and r[0] == "attr" and op in MIRROR:
        op, l, r = MIRROR[op], r, l
    if l[0] == "attr" and r[0] == "lit":
        return l[1], op, r[1]
    return None


def fold(e):
    """Constants become literals (3.4)."""
    kind = e[0]
    if kind in ("lit", "attr"):
        return e
    if kind in ("exists", "absent"):
        inner = fold(e[1])
        if inner[0] == "lit":
            return ("lit", TRUE if kind == "exists" else FALSE)
        return (kind, inner)
    if kind == "un":
        x = fold(e[2])
        if x[0] == "lit":
            v = x[1]
            if e[1] == "!" and v[0] == "b":
                return ("lit", ("b", not v[1]))
            if e[1] == "-" and v[0] in NUMERIC:
                return ("lit", (v[0], wrap(-v[1]) if v[0] != "f" else -v[1]))
        return ("un", e[1], x)
    l, r = fold(e[2]), fold(e[3])
    if l[0] == "lit" and r[0] == "lit":
        v = binary(e[1], l[1], r[1])
        if v is not None and not (v[0] == "f" and not math.isfinite(v[1])):
            return ("lit", v)
    return ("bin", e[1], l, r)


def binary(op, a, b):
    if op in ("+", "-", "*", "/", "%", "^"):
        return arithmetic(op, a, b)
    if op in ("=~", "!~"):
        if not a or a[0] != "s":
            return FALSE
        return ("b", bool(pattern(b[1]).fullmatch(a[1])) == (op == "=~"))
    if op == "&&":
        return ("b", a == TRUE and b == TRUE)
    if op == "||":
        return ("b", a == TRUE or b == TRUE)
    return ("b", binary_compare(op, a, b))


def merge_chains(e):
    """Neighbouring comparisons of one attribute with literals of one type become ("set", Leaf)."""
    if e[0] != "bin" or e[1] not in ("&&", "||"):
        if e[0] == "un":
            return (e[0], e[1], merge_chains(e[2]))
        return e
    l, r = merge_chains(e[2]), merge_chains(e[3])
    joins = {"||": ("=", "=~"), "&&": ("!=", "!~")}[e[1]]
    x = l[1:] if l[0] == "set" else as_leaf(l)
    y = r[1:] if r[0] == "set" else as_leaf(r)
    if x and y and x[0] == y[0] and x[1] == y[1] and x[1] in joins:
        vx = x[2] if l[0] == "set" else (x[2],)
        vy = y[2] if r[0] == "set" else (y[2],)
        if vx[0][0] == vy[0][0]:
            out = []
            for v in vx + vy:
                if v not in out:
                    out.append(v)
            if len(out) > 1:
                return ("set", x[0], x[1], tuple(out))
            return l
    return ("bin", e[1], l, r)


class Use:
    def __init__(self):
        self.any, self.leaves, self.n, self.selected = False, [], 0, False
        self.absent = False


class Plan:
    """A query's conditions and closures."""

    def __init__(self, query):
        self.query = query
        self.uses = {}  # attr -> Use, in query order
        self.structural = False
        self.has_true = False
        self.stages = [self.fold_stage(s) for s in query.stages]
        self.conjunctive = all(s[0] == "select" or (s[0] == "ss" and s[1][0] == "filter" and
                                                    conjunctive(s[1][1])) for s in self.stages)
        before = True
        for s in self.stages:
            before = self.collect_stage(s, before)
        self.n_conds = sum(u.n for u in self.uses.values())
        self.cache = {}
        self.error = None  # what the server may answer instead

    # ---- folding ----

    def fold_stage(self, s):
        if s[0] == "ss":
            return ("ss", self.fold_spanset(s[1]))
        if s[0] == "by":
            return ("by", merge_chains(fold(s[1])), f"by({canonical(fold(s[1]))})")
        if s[0] == "scalar":
            return ("scalar", s[1], self.fold_scalar(s[2]), self.fold_scalar(s[3]))
        return s

    def fold_scalar(self, s):
        if s[0] == "agg" and s[2] is not None:
            e = fold(s[2])
            return ("agg", s[1], e, f"{s[1]}({canonical(e)})")
        if s[0] == "agg":
            return ("agg", s[1], None, "count()")
        if s[0] == "arith":
            return ("arith", s[1], self.fold_scalar(s[2]), self.fold_scalar(s[3]))
        return s

    def fold_spanset(self, s):
        if s[0] == "filter":
            return ("filter", merge_chains(fold(s[1])))
        if s[0] == "op":
            self.structural |= s[1] in STRUCTURAL
            return ("op", s[1], self.fold_spanset(s[2]), self.fold_spanset(s[3]))
        if len(s[1]) == 1 and s[1][0][0] == "ss":
            return self.fold_spanset(s[1][0][1])  # `({a})` is `{a}`
        return ("pipe", [self.fold_stage(x) for x in s[1]])

    # ---- conditions ----

    def use(self, attr):
        return self.uses.setdefault(attr, Use())

    def collect_stage(self, s, before):
        if s[0] == "select":
            for a in s[1]:
                self.use(a).selected = True
            return False
        if s[0] == "ss":
            self.collect_spanset(s[1], before)
        elif s[0] == "by":
            self.collect(s[1], before, True)
        elif s[0] == "scalar":
            self.collect_scalar(s[2], before)
            self.collect_scalar(s[3], before)
        return before

    def collect_spanset(self, s, before):
        if s[0] == "filter":
            self.has_true |= s[1] == ("lit", TRUE)
            self.collect(s[1], before)
        elif s[0] == "op":
            self.collect_spanset(s[2], before)
            self.collect_spanset(s[3], before)
        else:
            for x in s[1]:
                before = self.collect_stage(x, before)

    def collect_scalar(self, s, before):
        if s[0] == "agg" and s[2] is not None:
            self.collect(s[2], before, True)
        elif s[0] == "arith":
            self.collect_scalar(s[2], before)
            self.collect_scalar(s[3], before)

    def collect(self, e, before, value=False):
        """value: the place asks for the value, not whether a comparison is true."""
        kind = e[0]
        if kind == "lit":
            return
        found = e[1:] if kind == "set" else as_leaf(e)
        if kind in ("attr", "exists") or (value and (found or kind == "absent")):
            inner = e if kind == "attr" else ("attr", found[0]) if found else e[1]
            if inner[0] != "attr":
                self.collect(inner, before, True)
                return
            u = self.use(inner[1])
            if before:
                u.any = True
                u.n += 1
        elif kind == "absent":
            u = self.use(e[1][1])
            u.n += before
            u.absent |= before
        elif found:
            attr, op, values = found
            u = self.use(attr)
            if before:
                u.leaves.append(Leaf(attr, op, list(values) if kind == "set" else [values]))
                u.n += 1
        elif kind == "un":
            self.collect(e[2], before, True)
        else:
            value = value or e[1] not in ("&&", "||")
            self.collect(e[2], before, value)
            self.collect(e[3], before, value)

    def visible(self, attr, v):
        u = self.uses.get(attr)
        if u is None or u.any or u.n == 0 or not has(v):
            return v
        if v[0] != "a":
            return v if any(c.admits(v) for c in u.leaves) else None
        kept = tuple(e for e in v[1] if any(c.admits(e) for c in u.leaves))
        return None if not kept else kept[0] if len(kept) == 1 else ("a", kept)

    # ---- closures ----

    def compile(self, e):
        kind = e[0]
        if kind == "lit":
            v = e[1]
            return lambda s, ev, lk: v
        if kind == "attr":
            return single(e[1])
        if kind == "exists":
            return self.exists(e[1])
        if kind == "absent":
            return absent(e[1][1])
        if kind == "un":
            return unary(e[1], self.compile(e[2]))
        if kind == "set":
            return self.leaf(Leaf(e[1], e[2], list(e[3])))
        found = as_leaf(e)
        if found:
            return self.leaf(Leaf(found[0], found[1], [found[2]]))
        op, l, r = e[1], self.compile(e[2]), self.compile(e[3])
        return lambda s, ev, lk: binary(op, l(s, ev, lk), r(s, ev, lk))

    def leaf(self, leaf):
        a = leaf.attr
        if is_multi(a):
            return lambda s, ev, lk: ("b", any(leaf.match(self.visible(a, v))
                                               for v in values_of(a, s, ev, lk)))
        get = getter(a)
        return lambda s, ev, lk: ("b", leaf.match(self.visible(a, get(s))))

    def exists(self, e):
        if e[0] == "attr" and is_multi(e[1]):
            return lambda s, ev, lk: ("b", any(has(v) for v in values_of(e[1], s, ev, lk)))
        f = self.compile(e)
        return lambda s, ev, lk: ("b", has(f(s, ev, lk)))

    def filter(self, e):
        """A predicate over spans, by the rule of one event (link) in conjunctive queries."""
        key = repr(e)
        if key in self.cache:
            return self.cache[key]
        if self.conjunctive and (mentions(e, "event") or mentions(e, "link")):
            for s in self.stages:  # `{ a } | { b }` says the same as `{ a && b }`
                if s[0] == "ss" and s[1][1] is not e:
                    e = ("bin", "&&", e, s[1][1])
        f = self.compile(e)
        events, links = mentions(e, "event"), mentions(e, "link")
        if self.conjunctive and (events or links):
            def tries(s):
                for ev in (s.events or [NONE]) if events else [None]:
                    for lk in (s.links or [NONE]) if links else [None]:
                        yield s, ev, lk
        else:
            def tries(s):
                yield s, None, None

        def test(s):
            found = False
            for t in tries(s):
                try:
                    found |= f(*t) == TRUE
                except QueryError as e:  # not when something else already decides
                    self.error = str(e)
            return found
        self.cache[key] = test
        return test


def conjunctive(e):
    if e[0] == "bin" and e[1] == "&&":
        return conjunctive(e[2]) and conjunctive(e[3])
    return e[0] != "un" and not (e[0] == "bin" and e[1] == "||")


def mentions(e, scope):
    if e[0] == "attr":
        return e[1][0] == scope or e[1][1].startswith(scope + ":")
    if e[0] == "set":
        return mentions(("attr", e[1]), scope)
    return any(isinstance(x, tuple) and x and isinstance(x[0], str) and mentions(x, scope)
               for x in e[1:] if e[0] != "lit")


# ---- attributes (4.2) ----

def is_multi(a):
    return a[0] in ("event", "link") or (a[0] == "i" and a[1] in MULTI)


INTRINSICS = {
    "duration": lambda s: ("d", s.duration),
    "name": lambda s: ("s", s.name),
    "status": lambda s: ("st", s.status),
    "statusMessage": lambda s: ("s", s.message),
    "kind": lambda s: ("k", s.kind),
    "span:id": lambda s: ("s", f"{s.id:016x}"),
    "span:parentID": lambda s: ("s", f"{s.parent:016x}"),
    "span:childCount": lambda s: ("i", s.n_children),
    "traceDuration": lambda s: ("d", s.trace.end - s.trace.start),
    "rootName": lambda s: ("s", s.trace.root_name),
    "rootServiceName": lambda s: ("s", s.trace.root_service),
    "trace:id": lambda s: ("s", f"{s.trace.id:x}"),
    "instrumentation:name": lambda s: ("s", s.scope.name),
    "instrumentation:version": lambda s: ("s", s.scope.version),
    "nestedSetLeft": lambda s: ("i", s.left),
    "nestedSetRight": lambda s: ("i", s.right),
    "nestedSetParent": lambda s: ("i", s.up),
}


def resource_value(s, key):
    v = s.resource.attrs.get(key)
    return ("s", "") if v is None and key == "service.name" else v


def getter(a):
    scope, key, parent = a
    if scope == "i":
        return INTRINSICS[key]
    if scope == "span":
        def get(s):
            return s.attrs.get(key)
    elif scope == "resource":
        def get(s):
            return resource_value(s, key)
    elif scope == "instrumentation":
        def get(s):
            return s.scope.attrs.get(key)
    else:
        def get(s):
            return s.attrs[key] if key in s.attrs else resource_value(s, key)
    if parent:
        return lambda s: get(s.parent_span) if s.parent_span else None
    return get


def values_of(a, s, ev, lk):
    """One value for each event (link); None where the key is missing."""
    event = a[0] == "event" or a[1].startswith("event:")
    fixed = ev if event else lk
    items = (s.events if event else s.links) if fixed is None else [] if fixed is NONE else [fixed]
    if a[0] in ("event", "link"):
        return [x.attrs.get(a[1]) for x in items]
    return [{"event:name": lambda x: ("s", x.name),
             "event:timeSinceStart": lambda x: ("d", x.since),
             "link:traceID": lambda x: ("s", f"{x.trace_id:032x}"),
             "link:spanID": lambda x: ("s", f"{x.span_id:016x}")}[a[1]](x) for x in items]


def single(a):
    if is_multi(a):
        return lambda s, ev, lk: next((v for v in values_of(a, s, ev, lk) if v is not None), None)
    get = getter(a)
    return lambda s, ev, lk: get(s)


def absent(a):
    if is_multi(a):
        return lambda s, ev, lk: ("b", any(v is None for v in values_of(a, s, ev, lk)))
    get = getter(a)
    return lambda s, ev, lk: ("b", get(s) is None)


def unary(op, f):
    def apply(s, ev, lk):
        v = f(s, ev, lk)
        if not has(v):
            return None
        if op == "!":
            if v[0] != "b":
                raise QueryError("expected a boolean")
            return ("b", not v[1])
        if v[0] not in NUMERIC:
            raise QueryError("expected a numeric")
        return (v[0], -v[1] if v[0] == "f" else wrap(-v[1]))
    return apply


# ---- pipelines (4.5 to 4.7) ----

class Set:
    __slots__ = ("spans", "attrs")

    def __init__(self, spans, attrs=()):
        self.spans, self.attrs = spans, attrs


def union(l, r):
    first, second = (l, r) if len(l) < len(r) else (r, l)
    seen = {s.order for s in first}
    return first + [s for s in second if s.order not in seen]


def related(op, l, r):
    """Is r what `l op r` asks for, relative to l?"""
    if not l.left or not r.left:
        return False
    if op == ">":
        return r.up == l.left
    if op == ">>":
        return l.left < r.left and r.right < l.right
    if op == "<":
        return l.up == r.left
    if op == "<<":
        return r.left < l.left and l.right < r.right
    return l is not r and l.up == r.up


class Run:
    """One trace through a plan."""

    def __init__(self, plan):
        self.plan = plan

    def spanset(self, x, spans, operand_of=None):
        if x[0] == "filter":
            test = self.plan.filter(x[1])
            return [s for s in spans if test(s)]
        if x[0] == "pipe":
            out = self.stages(x[1], [Set(spans)])
            if len(out) > 1 and operand_of in STRUCTURAL:
                raise QueryError("coalesce()")
            result = []
            for i, s in enumerate(out):
                result = s.spans if i == 0 else union(s.spans, result)
            return result
        op = x[1]
        l, r = self.spanset(x[2], spans, op), self.spanset(x[3], spans, op)
        if op == "&&":
            return union(l, r) if l and r else []
        if op == "||":
            return union(l, r)
        form = op[0] if op[0] in "!&" else ""
        base = op[len(form):]
        if form == "!":
            return [b for b in r if not any(related(base, a, b) for a in l)]
        right = [b for b in r if any(related(base, a, b) for a in l)]
        if form == "":
            return right
        left = [a for a in l if any(related(base, a, b) for b in r)]
        return union(left, right)

    def aggregate(self, x, spans):
        if x[1] == "count":
            return ("i", len(spans))
        f = self.plan.compile(x[2])
        values = [v for v in (f(s, None, None) for s in spans) if v and v[0] in NUMERIC]
        if not values:
            return None
        kind = values[0][0]
        if x[1] in ("min", "max"):
            best = values[0]
            for v in values[1:]:
                if v[1] < best[1] if x[1] == "min" else v[1] > best[1]:
                    best = v
            return best
        total = sum(v[1] for v in values if v[0] == kind)
        if kind != "f":
            total = wrap(total)
        if x[1] == "sum":
            return (kind, float(total) if kind == "f" else total)
        if kind == "d":
            return ("d", int(abs(total) // len(values)) * (1 if total >= 0 else -1))
        return ("f", total / len(values))

    def scalar(self, x, spans, attrs):
        if x[0] == "lit":
            return x[1]
        if x[0] == "agg":
            v = self.aggregate(x, spans)
            if v is not None:
                attrs.append((x[3], v))
            return v
        l = self.scalar(x[2], spans, attrs)
        r = self.scalar(x[3], spans, attrs)
        if l is None or r is None:
            return None
        return arithmetic(x[1], l, r)

    def stage(self, x, sets):
        out = []
        if x[0] == "ss":
            if len(sets) > 1 and x[1][0] == "op" and x[1][1] in STRUCTURAL:
                raise QueryError("coalesce()")
            for s in sets:
                spans = self.spanset(x[1], s.spans)
                if spans:
                    out.append(Set(spans, s.attrs))
        elif x[0] == "scalar":
            for s in sets:
                attrs = []
                l, r = self.scalar(x[2], s.spans, attrs), self.scalar(x[3], s.spans, attrs)
                if l and r and l[0] in NUMERIC and r[0] in NUMERIC and compare(x[1], l, r):
                    out.append(Set(s.spans, s.attrs + tuple(attrs)))
        elif x[0] == "by":
            f = self.plan.compile(x[1])
            for s in sets:
                groups = {}
                for span in s.spans:
                    v = f(span, None, None)
                    v = v if has(v) else None
                    groups.setdefault(group_key(v), (v, []))[1].append(span)
                out += [Set(spans, s.attrs + ((x[2], v),)) for v, spans in groups.values()]
        elif x[0] == "coalesce":
            seen, spans = set(), []
            for s in sets:
                for span in s.spans:
                    if span.order not in seen:
                        seen.add(span.order)
                        spans.append(span)
            out = [Set(spans)] if spans else []
        else:
            out = sets
        return out

    def stages(self, stages, sets):
        for x in stages:
            if not sets:
                break
            sets = self.stage(x, sets)
        return sets

    def candidates(self, trace):
        """The spans that take part (4.3)."""
        plan, first = self.plan, self.plan.stages[0]
        if first[0] == "ss":
            if plan.structural and only_all(first[1]):
                return [s for s in trace.spans if s.left]
            return trace.spans
        if plan.has_true or plan.n_conds == 0:
            return trace.spans
        out = []
        for s in trace.spans:
            for a, u in plan.uses.items():
                values = values_of(a, s, None, None) if is_multi(a) else [getter(a)(s)]
                if u.n and any(v is None if u.absent and v is None else
                               plan.visible(a, v) is not None for v in values):
                    out.append(s)
                    break
        return out

    def trace(self, trace):
        spans = self.candidates(trace)
        return self.stages(self.plan.stages, [Set(spans)]) if spans else []


def only_all(x):
    if x[0] == "op":
        return only_all(x[2]) and only_all(x[3])
    return x[0] == "filter" and x[1][0] == "lit"


def group_key(v):
    if v is not None and v[0] == "f" and v[1] != v[1]:
        return ("f", "nan")
    if v is not None and v[0] == "a":
        return ("a", tuple(group_key(e) for e in v[1]))
    return v


# ---- answers (4.8) ----

def shown(v):
    """A value as an answer holds it: (member, value)."""
    if v is None:
        return ("stringValue", "nil")
    kind, x = v
    if kind == "d":
        return ("stringValue", go_duration(x))
    if kind == "st":
        return ("stringValue", STATUS[x])
    if kind == "k":
        return ("stringValue", KIND[x])
    if kind == "a":
        return ("arrayValue", tuple(shown(e) for e in x))
    if x != x:
        return ("doubleValue", "NaN")  # equal to itself
    return ({"i": "intValue", "f": "doubleValue", "s": "stringValue", "b": "boolValue"}[kind], x)


def last_visible(plan, a, s, whole):
    if is_multi(a):
        values = values_of(a, s, None, None)
    else:
        values = [getter(a)(s)]
    found = None
    for v in values:
        v = v if whole else plan.visible(a, v)
        if v is not None:
            found = v
    return found


def span_answer(plan, s):
    attrs, name = [], None
    for a, u in plan.uses.items():
        read = u.n or u.selected
        if a[0] == "i" and a[1] == "name":
            if read and last_visible(plan, a, s, u.selected) is not None:
                name = s.name
            continue
        if not read or (a[0] == "i" and a[1] in NOT_LISTED):
            continue
        whole = u.selected or (plan.structural and a[1].startswith("nestedSet") and a[0] == "i")
        v = last_visible(plan, a, s, whole)
        if has(v):
            attrs.append((a[1], shown(v)))
        if a[0] == "" and not a[2] and a[1] in s.attrs:
            v = resource_value(s, a[1])
            v = v if whole else plan.visible(a, v)
            if has(v):
                attrs.append((a[1], shown(v)))
    return {"id": f"{s.id:016x}", "name": name or "", "start": s.start, "duration": s.duration,
            "attrs": sorted(attrs, key=repr)}


def trace_answer(plan, trace, sets, spss):
    services = {}
    for s in trace.spans:
        n = services.setdefault(s.resource.service, [0, 0])
        n[0] += 1
        n[1] += s.status == 2
    sets = sorted(sets, key=lambda s: max(x.order for x in s.spans))
    return {
        "id": f"{trace.id:x}", "service": trace.root_service or "<root span not yet received>",
        "root": trace.root_name, "start": trace.start, "ms": (trace.end - trace.start) // 10**6,
        "services": {k: tuple(v) for k, v in services.items()},
        "sets": [{"matched": len(s.spans), "spans": [span_answer(plan, x) for x in s.spans[:spss]],
                  "attrs": [(k, shown(v)) for k, v in s.attrs]} for s in sets]}


# ---- one type per attribute key of an answer: what Grafana's tables need ----

KINDS = {"intValue": "number", "doubleValue": "number", "arrayValue": "other"}


def json_text(v):
    """A value as JSON, a bare string as it is."""
    member, x = v
    if member == "arrayValue":
        return "[" + ",".join(json_string(e[1]) if e[0] == "stringValue" else json_text(e)
                              for e in x) + "]"
    if member == "boolValue":
        return "true" if x else "false"
    if member == "doubleValue":
        return x if x == "NaN" else float_json(x)
    return str(x)


def json_string(s):
    out = json.dumps(s, ensure_ascii=False)
    for c in "<>&":
        out = out.replace(c, f"\\u{ord(c):04x}")
    return out


def one_type_per_key(answer):
    kinds = {}
    lists = [x["attrs"] for t in answer for s in t["sets"] for x in [s] + s["spans"]]
    for attrs in lists:
        for k, v in attrs:
            kinds.setdefault(k, set()).add(KINDS.get(v[0], v[0]))
    text = {k for k, found in kinds.items() if len(found) > 1 or "other" in found}
    for attrs in lists:
        attrs[:] = [(k, ("stringValue", json_text(v)) if k in text else v) for k, v in attrs]
    for t in answer:
        for s in t["sets"]:
            for x in s["spans"]:
                x["attrs"].sort(key=repr)
    return answer


def search(query, traces, limit, spss, start_s=0, end_s=0):
    """(answer, error text or None)."""
    plan = Plan(query)
    run, found, error = Run(plan), [], None
    for t in traces:
        if (start_s or end_s) and (t.start > end_s * 10**9 or t.end < start_s * 10**9):
            continue
        try:
            sets = run.trace(t)
        except QueryError as e:
            error = str(e)
            continue
        if sets:
            found.append((t, sets))
    found.sort(key=lambda x: (-x[0].start, x[0].id))
    error = error or plan.error
    answer = [trace_answer(plan, t, sets, spss) for t, sets in found[:limit]]
    return answer, error
