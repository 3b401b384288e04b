#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Answers that are made with what earlier queries found are those that are counted anew, while spans come, heads become blocks,
blocks are merged, retention deletes, and the window moves on.

Each question is asked in the same words again and again, and each time once more in words that nobody has used before (a condition
that holds for every span), so that nothing can be kept of those. SECONDS=n (12), SEED=n.
"""
import itertools
import json
import os
import pathlib
import random
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from checks import Checks  # noqa: E402
from otlp import get, now_ns, post, request, request_pb, span, span_id, trace_id  # noqa: E402
from server import Server  # noqa: E402

c = Checks()
SEED = int(os.environ.get("SEED", "7"))
rnd = random.Random(SEED)
CONFIG = {"live_store": {"max_block_bytes": 150000, "max_block_duration": "1500ms", "flush_check_period": "200ms"},
          "backend_worker": {"compaction": {"block_retention": "6s"}},
          "compactor": {"compaction": {"compaction_cycle": "500ms"}}}
QUESTIONS = [("{ %s }", "rate() by (name)"), ("{ status = error && %s }", "count_over_time() by (resource.service.name, span.k)"),
             ("{ %s }", "avg_over_time(duration) by (name)"), ("{ %s }", "quantile_over_time(duration, .5, .9) by (name)"),
             ("{ %s }", "compare({ status = error })"), ("{ %s }", "compare({ span.k > 5 }, 3)")]
fresh = itertools.count()
late = []  # traces that will go on


def send(server):
    spans = []
    for _ in range(rnd.randrange(20, 60)):
        trace = rnd.choice(late) if late and rnd.random() < 0.02 else trace_id()
        if rnd.random() < 0.05:
            late.append(trace)
        parent = None
        for _ in range(rnd.randrange(1, 5)):
            one = span(trace, rnd.choice(["get", "put", "list"]), rnd.random() * 100, now_ns() - rnd.randrange(4 * 10**9),
                       {"k": rnd.randrange(10), "user": f"u{int(rnd.paretovariate(0.7)) % 5000}", "id": span_id()},
                       status={"code": rnd.choice([0, 1, 2])}, kind=rnd.randrange(1, 6))
            if parent:
                one["parentSpanId"] = parent
            parent = one["spanId"]
            spans.append(one)
            if rnd.random() < 0.01:
                spans.append(one)  # sent twice
    answer = post(server, request_pb(request(spans, rnd.choice(["cart", "auth", "mail"]))), "application/x-protobuf")
    c.equal("sent", answer.status, 200)


def ask(server, q, start, end):
    """The series, or None for an answer that says it is not whole."""
    answer = get(server, "/api/metrics/query_range", q=q, start=start, end=end, step="1s", exemplars=0)
    if answer.status != 200:
        c.equal(q, (answer.status, answer.text), (200, ""))
    series = answer.json()["series"]
    return sorted(json.dumps([sorted(map(json.dumps, s["labels"])), s.get("samples")]) for s in series)


def same(server, filter_text, pipeline, start, end):
    """Between two answers from what is kept the parts may change, so one that is equal to either will do."""
    known = f"{filter_text % 'true'} | {pipeline}"
    before = ask(server, known, start, end)
    for _ in range(5):
        new_words = f'name != "nobody-{next(fresh)}"'
        anew = ask(server, f"{filter_text % new_words} | {pipeline}", start, end)
        after = ask(server, known, start, end)
        if anew in (before, after):
            return True, len(anew)
        before = after
    return False, (known, [s for s in anew if s not in after][:3], [s for s in after if s not in anew][:3])


def counter(server, name):
    return sum(float(line.split()[-1]) for line in get(server, "/metrics").text.splitlines() if line.startswith(name))


def main():
    with Server(CONFIG) as server:
        end = time.monotonic() + float(os.environ.get("SECONDS", "12"))
        wrong, asked, series = [], 0, 0
        while time.monotonic() < end and not wrong:
            send(server)
            now = int(time.time())
            for filter_text, pipeline in QUESTIONS:
                ok, what = same(server, filter_text, pipeline, now - 20 - asked % 2, now + 1)
                asked += 1
                series += what if ok else 0
                if not ok:
                    wrong.append(what)
        c.check(f"{asked} answers are those that are counted anew (SEED={SEED})", not wrong, wrong)
        c.check("they say something", series > 20 * asked, (series, asked))
        c.check("something was kept", counter(server, 'vivace_query_cache_requests_total{result="hit"}') > asked)
        c.check("blocks were merged", counter(server, "tempodb_compaction_blocks_total") > 1)
        c.check("and deleted", counter(server, "tempodb_retention_deleted_total") > 0)


c.run("query cache", main)
c.finish()
