#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tempo's recorded answers, asked twice: from fresh heads, and after a restart from flushed blocks.

run_conformance.py [-v] [--only GROUP[,GROUP]]

deviations.json names the recorded answers that are wrong by the corpus itself, with the right answer and the
reason; they replace the recorded ones. An entry that matches no case, or that agrees with the recorded
answer, fails: it would hide something.

All traces must be searchable at the first try: what is acked is visible. The second round must find
nothing left to replay and give the same answers from blocks.
"""
import argparse
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import run  # noqa: E402
from server import Server  # noqa: E402

GROUPS = ["basic", "types", "quoting", "scopes", "search", "trace", "tags", "values", "ops",
          "invalid", "structural", "pipeline", "metrics"]


def correct(cases):
    """Puts the right answers in place of Tempo's wrong ones; the number of entries that do not fit."""
    bad = 0
    path = pathlib.Path(__file__).resolve().parent / "deviations.json"
    for d in json.loads(path.read_text(encoding="utf-8")):
        found = [c for c in cases if c["group"] == d["group"] and c["name"] == d["name"]]
        if len(found) != 1 or found[0]["answer"] == d["answer"] or not d["why"]:
            print(f"FAIL deviation {d['group']}: {d['name']} fits no case")
            bad += 1
            continue
        found[0]["answer"] = d["answer"]
    return bad


def one_round(server, label, corpus, cases, delta, only, verbose):
    groups = run.run_cases(cases, corpus["base"], server.url, delta, only=only, verbose=verbose,
                           label=f"[{label}] ")
    for name, (passed, failed) in sorted(groups.items()):
        print(f"{label:6} {name:12} {passed:4} passed {failed:4} failed")
    return [sum(g[i] for g in groups.values()) for i in (0, 1)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-v", action="store_true", help="print what differs")
    parser.add_argument("--only", default=",".join(GROUPS))
    args = parser.parse_args()
    corpus, cases = run.load()
    only = args.only.split(",")
    delta = run.delta_for(corpus["base"])
    total = [0, correct(cases)]
    with Server() as server:
        run.send(corpus, server.otlp_url, delta, "")
        visible = run.wait_visible(server.url, corpus, delta, {}, 0.2)
        total[0 if visible else 1] += 1
        for label in ("heads", "blocks"):
            if label == "blocks":
                server.restart()
            passed, failed = one_round(server, label, corpus, cases, delta, only, args.v)
            total[0] += passed
            total[1] += failed
        blocks = list(server.data_dir.rglob("*.vtb")) or [
            p for p in server.data_dir.rglob("*") if p.is_file() and "block" in str(p)]
        if not blocks:
            print("FAIL a clean stop left no block file")
        total[0 if blocks else 1] += 1
    print(f"{total[0]} passed, {total[1]} failed")
    return 1 if total[1] else 0


if __name__ == "__main__":
    sys.exit(main())
