#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Adversarial shapes (bench/shapes) in small, answered right from memory and from blocks; and a trace that memory has no room for.

ONLY=pattern runs some groups.
"""
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
sys.path.insert(0, str(ROOT / "bench" / "shapes"))
import run_shapes  # noqa: E402
import shapes  # noqa: E402
from checks import Checks  # noqa: E402
from server import Server, merge  # noqa: E402

c = Checks()


def shape(kind):
    with Server(run_shapes.CONFIG) as server:
        s = kind(0.02)
        run_shapes.send(server, s)
        for when in ("fresh", "blocks"):
            for what, got, wanted in s.answers(run_shapes.Ask(server)):
                c.equal(f"{when}: {what}", got, wanted)
            if when == "fresh":
                server.restart()


def large():
    """Many times what a query may hold: found and counted; by id in part and said to be, or refused as too large."""
    with Server(merge(run_shapes.CONFIG, {"memory": {"budget_bytes": 128 << 20}})) as server:
        s = shapes.OneTrace(0.06)
        run_shapes.send(server, s)
        for when in ("fresh", "blocks"):
            ask = run_shapes.Ask(server)
            for what, got, wanted in s.answers(ask):
                c.equal(f"{when}: {what}", got, wanted)
            whole, status, n = ask.trace_v2(shapes.trace_id(0).hex())
            c.check(f"{when}: in part", not whole and status == "PARTIAL" and n < s.spans, (whole, status, n))
            status, body = ask.get("/api/traces/" + shapes.trace_id(0).hex())
            c.check(f"{when}: v1 refuses it", status == 422 and body.startswith(b"trace exceeds max size (max bytes: "), (status, body[:100]))
            if when == "fresh":
                server.restart()


for one in shapes.SHAPES:
    c.run(one.name, shape, one)
c.run("more than memory", large)
c.finish()
