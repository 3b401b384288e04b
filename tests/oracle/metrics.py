# SPDX-License-Identifier: Apache-2.0
"""A naive evaluator of metrics queries (spec traceql.md 5)."""
import math

from data import OPAQUE
from evaluate import (NUMERIC, Plan, QueryError, Run, fold, getter, group_key, has, merge_chains,
                      shown, single)
from lang import attr_text, float_g

COUNTS = ("rate", "count_over_time", "histogram_over_time", "quantile_over_time", "compare")
COMPARED = ("name", "status", "statusMessage", "kind", "span:childCount", "instrumentation:name",
            "instrumentation:version", "rootName", "rootServiceName")


class Grid:
    def __init__(self, start, end, step=None):
        self.instant = step is None
        if self.instant:
            self.start, self.end, self.step, self.n = start, end, end - start, 1
            self.times = [end]
            return
        self.start, self.end, self.step = start // step * step - step, -(-end // step) * step, step
        self.n = (self.end - self.start) // step
        self.times = [self.start + (i + 1) * step for i in range(self.n)]

    def bucket(self, t):
        if self.instant:
            return 0 if self.start <= t <= self.end else None
        if not self.start < t <= self.end:
            return None
        return (t - self.start - 1) // self.step


def number(m, v):
    """The argument as a number, or None."""
    if not has(v) or v[0] not in NUMERIC or v[1] != v[1]:
        return None
    if v[0] == "d" and m["arg"] == ("i", "duration", False):
        return v[1] / 1e9
    return float(v[1])


def power_bucket(v):
    """Exponent of the power of two, and whether it is a duration; None when it is dropped."""
    if not has(v) or v[0] not in ("i", "d") or v[1] < 2:
        return None
    return ((v[1] - 1).bit_length(), v[0] == "d")


def label(v):
    if v is OPAQUE:
        return None
    if v is not None and v[0] == "a":
        return ("s", "nil")
    return v


def quantile(counts, q):
    """counts: exponent -> number."""
    n = sum(counts.values())
    if n == 0:
        return 0.0
    m, running, last = max(1.0, math.ceil(q * n)), 0, None
    for e in sorted(counts):
        if running + counts[e] > m:
            if running == m:
                return 2.0 ** last
            lo = e - 1 if last is None else last
            return 2.0 ** (lo + (e - lo) * ((m - running) / counts[e]))
        running += counts[e]
        last = e
        if running == m:
            break
    return 2.0 ** last


def text_of(shown_value):
    member, x = shown_value
    kind = member[:-5]
    if kind == "bool":
        return f"bool_value:{'true' if x else 'false'}"
    if kind == "double":
        return f"double_value:{x if x == 'NaN' else float_g(x)}"
    if kind == "int":
        return f"int_value:{x}"
    return f"string_value:{x}"


def order(series):
    return (len(series[0]), [(k, text_of(v)) for k, v in series[0]])


def never(stages):
    """Does every filter fold to false (3.4)?"""
    def false(x):
        if x[0] == "op":
            return all(s[0] == "filter" and s[1] == ("lit", ("b", False)) for s in x[2:])
        return x[0] == "filter" and x[1] == ("lit", ("b", False))
    filters = [s for s in stages if s[0] == "ss"]
    return bool(filters) and all(false(s[1]) for s in filters)


class Metrics:
    def __init__(self, query, grid):
        self.q, self.m, self.grid = query, query.metric, grid
        self.plan = Plan(query)
        self.error = None
        self.observed = []  # (span, bucket)
        self.buckets = self.m["fn"] in ("histogram_over_time", "quantile_over_time")

    def observe(self, traces):
        run, error = Run(self.plan), None
        for t in traces:
            try:
                sets = run.trace(t)
            except QueryError as e:
                error = str(e)
                continue
            for s in sets:
                for span in s.spans:
                    b = self.grid.bucket(span.start)
                    if b is not None:
                        self.observed.append((span, b))
        return error

    def groups(self):
        """label values -> list of (bucket, argument)."""
        m, out = self.m, {}
        arg = single(m["arg"]) if m["arg"] else None
        gets = [single(a) for a in m["by"]]
        for span, b in self.observed:
            v = arg(span, None, None) if arg else None
            if self.buckets:
                v = power_bucket(v)
            elif arg:
                v = number(m, v)
            if arg and v is None:
                continue
            labels = [label(g(span, None, None)) for g in gets]
            if labels and not any(labels) and not self.buckets:
                labels[0] = ("s", "nil")
            key = tuple(group_key(x) for x in labels)
            out.setdefault(key, (labels, []))[1].append((b, v))
        if not m["by"] and not out and m["fn"] in ("rate", "count_over_time"):
            out[()] = ([], [])
        return out.values()

    def labels(self, values, extra=None):
        m, out = self.m, []
        for a, v in zip(m["by"], values):
            if v is not None:
                out.append((attr_text(a), shown(v)))
        if extra:
            out.append(extra)
        if not out:
            out.append(("__name__", ("stringValue", m["fn"])))
        return tuple(out)

    def counted(self, items):
        values = [0.0] * self.grid.n
        for b, _ in items:
            values[b] += 1
        return values

    def series(self):
        m, n, out = self.m, self.grid.n, {}

        def put(labels, values):
            assert labels not in out
            out[labels] = values

        if m["fn"] == "compare":
            return self.compare()
        for labels, items in self.groups():
            if m["fn"] in ("rate", "count_over_time"):
                values = self.counted(items)
                if m["fn"] == "rate":
                    values = [v / (self.grid.step / 1e9) for v in values]
                put(self.labels(labels), values)
            elif m["fn"] == "histogram_over_time":
                for e in sorted({v for _, v in items}):
                    bound = 2.0 ** e[0] / (1e9 if e[1] else 1)
                    put(self.labels(labels, ("__bucket", ("doubleValue", bound))),
                        self.counted([i for i in items if i[1] == e]))
            elif m["fn"] == "quantile_over_time":
                scale = 1e9 if items[0][1][1] else 1
                for q in m["quantiles"]:
                    values = []
                    for b in range(n):
                        counts = {}
                        for at, (e, _) in items:
                            if at == b:
                                counts[e] = counts.get(e, 0) + 1
                        values.append(quantile(counts, q) / scale)
                    put(self.labels(labels, ("p", ("doubleValue", float(q)))), values)
            else:
                put(self.labels(labels), [self.fold([v for at, v in items if at == b])
                                          for b in range(n)])
        return list(out.items())

    def fold(self, values):
        if not values:
            return None
        fn = self.m["fn"]
        if fn == "min_over_time":
            return min(values)
        if fn == "max_over_time":
            return max(values)
        try:
            total = math.fsum(values)
        except (OverflowError, ValueError):
            total = sum(values)
        return total if fn == "sum_over_time" else total / len(values)

    # ---- compare() ----

    def compare(self):
        m, n = self.m, self.grid.n
        selection = plan_of_filter()
        f = selection.filter(merge_chains(fold(m["filter"])))
        counts = {}  # (selected, attribute, value) -> per bucket
        for span, b in self.observed:
            picked = f(span)
            if m["start"] and m["end"]:
                picked = picked and m["start"] < span.start <= m["end"]
            seen = [(k, getter(("i", k, False))(span)) for k in COMPARED]
            for scope, attrs in (("span", span.attrs), ("resource", span.resource.attrs),
                                 ("instrumentation", span.scope.attrs)):
                seen += [(attr_text((scope, k, False)), v) for k, v in attrs.items()]
            for k, v in seen:
                if not has(v):
                    continue
                key = (bool(picked), k, group_key(label(v)))
                counts.setdefault(key, (shown(label(v)), [0.0] * n))[1][b] += 1
        top = m["top"] or 10
        self.error = selection.error
        out, by_attr = [], {}
        for (picked, k, _), (v, values) in counts.items():
            by_attr.setdefault((picked, k), []).append((v, values))
        for (picked, k), items in by_attr.items():
            side = "selection" if picked else "baseline"
            total = [sum(x) for x in zip(*(values for _, values in items))]
            out.append(((("__meta_type", ("stringValue", side + "_total")),
                         (k, ("stringValue", "nil"))), total))
            items.sort(key=lambda i: -sum(i[1]))
            self.cut = getattr(self, "cut", False) or len(items) > top
            for v, values in items[:top]:
                out.append(((("__meta_type", ("stringValue", side)), (k, v)), values))
        return out


def plan_of_filter():
    """The filter of compare() sees all values of what it names."""
    plan = Plan.__new__(Plan)
    plan.uses, plan.conjunctive, plan.cache, plan.error = {}, False, {}, None
    return plan


# ---- second stages (5.5) ----

def second_stages(query, series, n):
    for s in query.second:
        if s[0] == "cmp":
            kind, x = s[2]
            than = x / 1e9 if kind == "d" else x
            test = {"=": lambda v: v == than, "!=": lambda v: v != than, "<": lambda v: v < than,
                    "<=": lambda v: v <= than, ">": lambda v: v > than,
                    ">=": lambda v: v >= than}[s[1]]
            series = [(k, [v if v is not None and test(v) else None for v in values])
                      for k, values in series]
        elif len(series) > s[1]:
            keep = [list(values) for _, values in series]
            for b in range(n):
                ranked = [i for i in range(len(series)) if series[i][1][b] is not None]
                names = {i: [v[1] if v[0] == "stringValue" else "" for _, v in series[i][0]]
                         for i in ranked}
                if s[0] == "topk":
                    ranked.sort(key=lambda i: (-series[i][1][b], names[i], i))
                else:
                    ranked.sort(key=lambda i: (names[i], i), reverse=True)
                    ranked.sort(key=lambda i: series[i][1][b])
                for i in ranked[s[1]:]:
                    keep[i][b] = None
            series = [(k, values) for (k, _), values in zip(series, keep)]
        series = [x for x in series if any(v is not None for v in x[1])]
    return series


def metrics(query, traces, start, end, step=None):
    """([(labels, [value or None per bucket])], times, error text or None)."""
    grid = Grid(start, end, step)
    run = Metrics(query, grid)
    if never(run.plan.stages):
        return [], grid.times, None, False
    error = run.observe(traces)
    series = [s for s in run.series() if any(v is not None for v in s[1])]
    series.sort(key=order)
    return second_stages(query, series, grid.n), grid.times, error or run.error or run.plan.error, getattr(run, "cut", False)
