#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Instructions a span of the parts of the way in, against the figures in figures.json.

run_cost.py           fails when a part takes 20 % more than its figure
run_cost.py --renew   measures and writes the figures: to be done with every gain, and said in the commit

tests/cost/cost_parts.c runs each part as a function of its own under callgrind, which counts what no clock sees: the same number
on a busy machine. Figures are of the release build with Debian bookworm's compiler and libraries (Valgrind shows no AVX-512).
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent
FIGURES = HERE / "figures.json"
ALLOWED = 1.2
PARTS = ["decode", "log", "head", "flush", "merge", "query", "search", "judge"]


def measure(program):
    with tempfile.TemporaryDirectory(prefix="vivace-cost-") as tmp:
        done = subprocess.run(["valgrind", "--tool=callgrind", "--toggle-collect=cost_*", f"--callgrind-out-file={tmp}/out", program, tmp],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
        if done.returncode != 0:
            sys.exit(f"cost_parts ended with {done.returncode}:\n{done.stderr[-2000:]}")
        text = subprocess.run(["callgrind_annotate", "--inclusive=yes", "--threshold=100", f"{tmp}/out"], check=True,
                              capture_output=True, text=True, timeout=300).stdout
    counts = {part: int(n.replace(",", "")) for n, part in re.findall(r"^\s*([\d,]+) .*:cost_(\w+) ", text, re.M)}
    return {part: round(counts.get(part, 0) / int(done.stdout), 1) for part in PARTS}


def main():
    program = pathlib.Path(os.environ.get("VIVACE", TOP / "build" / "vivace")).resolve().parents[2] / "tests" / "cost_parts"
    now = measure(program)
    if "--renew" in sys.argv:
        FIGURES.write_text(json.dumps({"instructions_per_span": now}, indent=1) + "\n", encoding="utf-8")
    stored = json.loads(FIGURES.read_text(encoding="utf-8"))["instructions_per_span"]
    failed = 0
    for part in PARTS:
        bad = now[part] == 0 or now[part] > stored[part] * ALLOWED
        failed += bad
        note = " FAILED: over by more than 20 %" if bad else "; less than before: --renew?" if now[part] < stored[part] / ALLOWED else ""
        print(f"{part}: {now[part]} instructions a span, stored {stored[part]}{note}")
    print(f"{len(PARTS) - failed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
