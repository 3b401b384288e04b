#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench/compare/against.py: which rows are the same, which way a figure is worse, what is flagged."""
import json
import pathlib
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "support"))
from checks import Checks  # noqa: E402

c = Checks()
EARLIER = [{"bench": "scan", "condition": "a", "ns_per_span": 1.0, "million_attributes_per_s": 1000},
           {"bench": "scan", "condition": "b", "ns_per_span": 1.0},
           {"bench": "auth", "threads": 2, "cpu_ns_per_check": 100},
           {"result": "ingest spans/s", "value": 1000.0},
           {"result": "p99", "value": 5, "unit": "ms", "better": "less", "p50_ms": 2.0, "max_ms": 9.0},
           {"result": "gone", "value": 1}]


def against(now, *options):
    with tempfile.TemporaryDirectory() as folder:
        names = []
        for i, rows in enumerate((EARLIER, now)):
            names.append(f"{folder}/{i}")
            pathlib.Path(names[-1]).write_text("== words\n" + "".join(json.dumps(r) + "\n" for r in rows))
        done = subprocess.run([TOP / "bench" / "compare" / "against.py", *names, *options], capture_output=True, text=True, check=False)
    return done.returncode, [json.loads(x) for x in done.stdout.splitlines()]


def changed(i, **figures):
    return [{**row, **(figures if i == k else {})} for k, row in enumerate(EARLIER)]


def main():
    code, rows = against(EARLIER, "--fail")
    c.equal("the same run", (code, len(rows), rows[0]["worse"], rows[0]["only_now"]), (0, 1, 0, 0))
    for i, figures, flagged in ((0, {"ns_per_span": 1.19}, 0), (0, {"ns_per_span": 1.21}, 1), (0, {"ns_per_span": 0.5}, 0),
                                (0, {"million_attributes_per_s": 800}, 1), (0, {"million_attributes_per_s": 2000}, 0),
                                (3, {"value": 700.0}, 1), (3, {"value": 2000.0}, 0), (4, {"value": 50}, 0), (4, {"p50_ms": 3.0}, 1),
                                (4, {"max_ms": 90.0}, 0), (2, {"cpu_ns_per_check": 130}, 1)):
        code, rows = against(changed(i, **figures), "--fail")
        c.equal(f"{i} {figures}", (code, rows[-1]["worse"], len(rows)), (flagged, flagged, flagged + 1))
    c.equal("told, not failed", against(changed(2, cpu_ns_per_check=130))[0], 0)
    c.equal("another number of threads is another row", against(changed(2, threads=4, cpu_ns_per_check=130), "--fail")[0], 0)
    c.equal("another limit", against(changed(2, cpu_ns_per_check=130), "--fail", "--limit", "1.5")[0], 0)
    c.equal("all rows", len(against(EARLIER, "--all")[1]), 10)
    c.finish()


if __name__ == "__main__":
    main()
