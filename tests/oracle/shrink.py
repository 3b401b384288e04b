# SPDX-License-Identifier: Apache-2.0
"""Smaller data and smaller queries that still show a difference. Greedy: what can be left out is."""
import dataclasses


def smaller_expr(e):
    kind = e[0]
    if kind == "bin":
        yield from (e[2], e[3])
        yield from (e[:2] + (x, e[3]) for x in smaller_expr(e[2]))
        yield from (e[:3] + (x,) for x in smaller_expr(e[3]))
    elif kind == "un":
        yield e[2]
        yield from (e[:2] + (x,) for x in smaller_expr(e[2]))


def smaller_spanset(s):
    if s[0] == "filter":
        if s[1] != ("lit", ("b", True)):
            yield ("filter", ("lit", ("b", True)))
        yield from (("filter", x) for x in smaller_expr(s[1]))
    elif s[0] == "op":
        yield from (s[2], s[3])
        yield from (("op", s[1], x, s[3]) for x in smaller_spanset(s[2]))
        yield from (("op", s[1], s[2], x) for x in smaller_spanset(s[3]))
    else:
        yield from (("pipe", x) for x in smaller_stages(s[1]))


def smaller_stages(stages):
    for i, s in enumerate(stages):
        if len(stages) > 1:
            yield stages[:i] + stages[i + 1:]
        if s[0] == "ss":
            yield from (stages[:i] + [("ss", x)] + stages[i + 1:] for x in smaller_spanset(s[1]))
        elif s[0] == "by":
            yield from (stages[:i] + [("by", x)] + stages[i + 1:] for x in smaller_expr(s[1]))
        elif s[0] == "select" and len(s[1]) > 1:
            yield from (stages[:i] + [("select", s[1][:k] + s[1][k + 1:])] + stages[i + 1:]
                        for k in range(len(s[1])))


def smaller_query(q):
    for stages in smaller_stages(q.stages):
        yield dataclasses.replace(q, stages=stages)
    for i in range(len(q.second)):
        yield dataclasses.replace(q, second=q.second[:i] + q.second[i + 1:])
    if q.metric:
        for i in range(len(q.metric["by"])):
            by = q.metric["by"][:i] + q.metric["by"][i + 1:]
            yield dataclasses.replace(q, metric={**q.metric, "by": by})


def smaller_data(epochs):
    for i in range(len(epochs)):
        if len(epochs) > 1:
            yield epochs[:i] + epochs[i + 1:]
            if i:
                yield epochs[:i - 1] + [epochs[i - 1] + epochs[i]] + epochs[i + 1:]
        for k, send in enumerate(epochs[i]):
            def put(sends, i=i, k=k):
                return epochs[:i] + [epochs[i][:k] + sends + epochs[i][k + 1:]] + epochs[i + 1:]
            yield put([])
            for b, (resource, scope, spans) in enumerate(send):
                if len(send) > 1:
                    yield put([send[:b] + send[b + 1:]])
                for n, s in enumerate(spans):
                    if len(spans) > 1:
                        yield put([send[:b] + [(resource, scope, spans[:n] + spans[n + 1:])] +
                                   send[b + 1:]])
                    for less in smaller_span(s):
                        yield put([send[:b] + [(resource, scope, spans[:n] + [less] +
                                                spans[n + 1:])] + send[b + 1:]])


def smaller_span(s):
    for name in ("sent", "events", "links"):
        items = getattr(s, name)
        if len(items) > 1:
            yield s.copy(**{name: []})
        for i in range(len(items)):
            yield s.copy(**{name: items[:i] + items[i + 1:]})


def shrink(epochs, query, fails, tries):
    """fails(epochs, query) says whether the difference is still there."""
    again = True
    while again and tries > 0:
        again = False
        for make in (lambda: ((epochs, q) for q in smaller_query(query)),
                     lambda: ((d, query) for d in smaller_data(epochs))):
            for candidate in make():
                tries -= 1
                if tries <= 0:
                    return epochs, query
                if any(send for sends in candidate[0] for send in sends) and fails(*candidate):
                    (epochs, query), again = candidate, True
                    break
    return epochs, query
