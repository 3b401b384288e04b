#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""This run against an earlier one: a JSON line for each figure that both have, with its ratio; more than --limit worse is flagged.

against.py EARLIER.jsonl NOW.jsonl [--limit 1.2] [--fail] [--all] [--store FILE]

Rows of the two are the same when their words are the same (strings, truth values, and numbers that name a case: threads, sources, level).
Figures are known by their unit at the end of the name, or by `value` with `unit` and `better`. What one slow moment decides (max, p99,
p99.9, the first of several) is shown with --all and never flagged. `ratio` is now / earlier, turned so that above 1 is worse. Without --all
only flagged rows are shown, and one line that counts. --fail: exit status 1 when a row is flagged. Minutes and promises of a run are no
figures to compare. --store writes instead: all rows of NOW, and those of EARLIER that NOW does not have.
"""
import argparse
import json
import os
import re
import sys

CASE_NUMBERS = {"threads", "sources", "level", "batch"}
NO_FIGURES = {"minute", "promise"}
NO_CASE = {"first_error", "unit", "better", "vivace"}
LESS = re.compile(r"(^|_)(us|ms|ns|mib|bytes|cpu|s)(_|$)|per_span$|_us$|_ms$")
MORE = re.compile(r"_per_s$|^spans/s$")
NOISE = re.compile(r"max|p99|loaded_|first|peer|wall|before|after|disk|idle_|alone|over_disk|cold|seconds|longest|at_s|sync|mb_s|append_us")


def row_name(row):
    parts = [str(v) for k, v in row.items() if k not in NO_CASE and (isinstance(v, (str, bool)) or k in CASE_NUMBERS)]
    return " | ".join(parts)


def figures(row):
    """{name: (value, better is less, may be flagged)}"""
    out = {}
    for k, v in row.items():
        if isinstance(v, bool) or not isinstance(v, (int, float)) or k in CASE_NUMBERS:
            continue
        if k == "value":
            what = row.get("result", "")
            more = row.get("better") == "more" or "spans/s" in what
            out[k] = (v, not more, not NOISE.search(what))
        elif MORE.search(k):
            out[k] = (v, False, not NOISE.search(k))
        elif LESS.search(k):
            out[k] = (v, True, not NOISE.search(k))
    return out


def lines(path):
    with open(path, encoding="utf-8") as f:
        return [(json.loads(text), text) for text in f if text.startswith("{")]


def read(path):
    rows = {}
    for row, _ in lines(path):
        if NO_FIGURES.isdisjoint(row):
            for name, figure in figures(row).items():
                rows[(row_name(row), name)] = figure
    return rows


def store(earlier, now, path):
    """Row for row, so that a run of some benchmarks renews only theirs."""
    new = lines(now)
    known = {row_name(row) for row, _ in new}
    old = [text for row, text in lines(earlier) if row_name(row) not in known] if os.path.exists(earlier) else []
    with open(path + ".new", "w", encoding="utf-8") as f:
        f.writelines(old + [text for row, text in new if NO_FIGURES.isdisjoint(row)])
    os.replace(path + ".new", path)
    print(json.dumps({"stored": path, "renewed": len(new), "kept": len(old)}))


def compare(earlier, now, limit):
    """[(row, figure, was, is, ratio, flagged)], in the order of `now`."""
    out = []
    for key, (value, less, counts) in now.items():
        if key not in earlier or earlier[key][0] <= 0 or value <= 0:
            continue
        was = earlier[key][0]
        ratio = value / was if less else was / value
        out.append((*key, was, value, ratio, counts and ratio > limit))
    return out


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("earlier")
    ap.add_argument("now")
    ap.add_argument("--limit", type=float, default=1.2)
    ap.add_argument("--fail", action="store_true")
    ap.add_argument("--all", action="store_true")
    ap.add_argument("--store", help="write the rows here instead of comparing")
    a = ap.parse_args()
    if a.store:
        store(a.earlier, a.now, a.store)
        return
    earlier, now = read(a.earlier), read(a.now)
    rows = compare(earlier, now, a.limit)
    for row, figure, was, value, ratio, worse in rows:
        if worse or a.all:
            print(json.dumps({"row": row, "figure": figure, "earlier": was, "now": value, "ratio": round(ratio, 2), "worse": worse}))
    n = sum(r[5] for r in rows)
    print(json.dumps({"compared": len(rows), "worse": n, "limit": a.limit, "only_earlier": len(earlier.keys() - now.keys()),
                      "only_now": len(now.keys() - earlier.keys())}))
    sys.exit(1 if a.fail and n else 0)


if __name__ == "__main__":
    main()
