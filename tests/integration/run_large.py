#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A week of fifty blocks made by bench/large: every answer is known, with the catalog and without, before merges and after.

Needs nothing beyond Python and make_large. ONLY=pattern runs some groups.
"""
import os
import pathlib
import shutil
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests" / "support"), str(TOP / "bench" / "large")]
import large  # noqa: E402
from checks import Checks  # noqa: E402

c = Checks()
BLOCKS, SPANS, END = 50, 200_000, 1_790_000_000


def answers(m, client):
    """Searches, tags and counts."""
    for name, (path, params, check) in {**large.searches(m), **large.counts(m)}.items():
        status, body, _ = client.get(path, **params)
        problem = check(body) if status == 200 else f"{status} {body}"
        c.check(name, problem is None, problem)


def traces(m, client):
    for i, n in m["whole"] + m["split"] + large.absent_ids(50):
        problem, _ = large.trace_check(client, i, n)
        c.check("trace", problem is None, problem)


def hours(m, client):
    """What narrow ranges count adds up to what one range over everything does."""
    step = 24 * 3600
    parts = total = 0
    for start in range(m["start_s"], m["end_s"], step):
        _, body, _ = client.get("/api/metrics/query_range", q="{ } | count_over_time()", step=f"{step}s", start=start, end=start + step)
        parts += sum(x.get("value", 0) for s in body["series"] for x in s["samples"])
    _, body, _ = client.get("/api/metrics/query_range", q="{ } | count_over_time()", step=f"{step}s", start=m["start_s"], end=m["end_s"])
    total = sum(x.get("value", 0) for s in body["series"] for x in s["samples"])
    c.equal("spans of all days", round(parts), round(total))
    c.check("spans", abs(total - m["spans"]) < m["spans"] / 50, f"{total} of {m['spans']}")


def everything(m, s, what):
    client = large.Client(s.http_port)
    for group in (answers, traces, hours):
        c.run(f"{group.__name__}, {what}", group, m, client)


def merged(m, folder):
    """Blocks of the same hours become one, and the halves of a trace meet."""
    before = len(list(folder.rglob("*.block")))
    with large.server(folder, compaction=True) as s:
        end = time.monotonic() + 60
        while len(list(folder.rglob("*.block"))) > before * 2 // 3 and time.monotonic() < end:
            time.sleep(0.2)
        c.check("blocks were merged", len(list(folder.rglob("*.block"))) <= before * 2 // 3)
        everything(m, s, "while merging")


def few_descriptors(m, folder):
    """More blocks than the process may have files open: the same answers, and half of the limit for blocks at most."""
    s = large.server(folder)
    s.prefix = ["prlimit", "--nofile=80:80"]
    with s:
        everything(m, s, "with few descriptors")
        files = [os.readlink(f) for f in pathlib.Path(f"/proc/{s.pid}/fd").iterdir() if f.is_symlink()]
        n = sum(f.endswith(".block") for f in files)
        c.check("descriptors of blocks", 10 < n <= 40, f"{n} of {len(files)}")


def main():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="vivace-large-"))
    try:
        m = large.make(folder, blocks=BLOCKS, spans=SPANS, end=END, seed=5, hours=12)
        c.equal("blocks", len(list(folder.rglob("*.block"))), BLOCKS)
        with large.server(folder) as s:
            everything(m, s, "with the catalog")
        shutil.rmtree(folder / "blocks" / "@store" / "catalog")
        with large.server(folder) as s:
            everything(m, s, "catalog deleted")
        c.run("few descriptors", few_descriptors, m, folder)
        c.run("merged", merged, m, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    c.finish()


if __name__ == "__main__":
    main()
