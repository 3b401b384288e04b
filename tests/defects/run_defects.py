#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Planted defects: a harness that has never been seen to fail proves nothing.

run_defects.py [--all] [--draw 3] [--seed N] [NAME...]

Each row below is a defect of include/base/defect.h and a harness that must report it: end with a status
other than 0, and say so in the words given; and end with 0 when nothing is planted. The program is built with defects and fault points in
build/fault (scripts/build fault makes the same). The everyday suite draws three rows, --all takes every
one and fails for a defect without a row.
"""
import argparse
import os
import pathlib
import random
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "fault"
POWER = [str(BUILD / "tests" / "power"), "--states", "12000", "--seed", "1"]
MODEL = [str(BUILD / "tests" / "model"), "--ops", "20000", "--seed", "1"]
KILL = [str(ROOT / "tests" / "crash" / "kill" / "run_kill.py"), "--cycles", "10", "--seed", "3"]
CAPS = [str(BUILD / "tests" / "test_head_limits")]
FAILED = r"FAILED"


def fault(case, op, errno, mode="once"):
    """One scenario of tests/fault, every call of one operation."""
    return [str(BUILD / "tests" / "fault_loop"), "--case", case, "--op", op, "--errno", errno, f"--{mode}"]



# (defect, harness, what it must say). A defect may have several rows.
ROWS = [
    ("skip-fdatasync", POWER, FAILED),
    ("skip-dirsync", POWER, FAILED),
    ("ack-before-sync", POWER, FAILED),
    ("reuse-salt", POWER, FAILED),
    ("recycle-before-commit", POWER, FAILED),
    ("trust-length", POWER, FAILED),
    ("retention-local-time", MODEL, FAILED),
    ("drop-on-rotation", POWER, FAILED),
    ("retry-fsync", fault("ingest", "fdatasync", "EIO"), r"synced again after a failed sync"),
    ("ignore-checksum", fault("query", "pread", "DAMAGE"), r"--case query .*DAMAGE"),
    ("forget-refund", fault("query", "open", "EIO"), r"budget_used|not given back"),
    ("cap-off-by-one", CAPS, FAILED),
    ("swallow-enospc", fault("ingest", "pwrite", "ENOSPC", "ever"), r"acked requests are lost"),
    ("delete-before-commit", POWER, FAILED),
    ("catalog-before-rename", POWER, FAILED),
    # A page cache survives SIGKILL, so kills see no missing sync; they see these.
    ("lose-tenant", KILL, r"FAIL .*(LOST|NOT FOUND|CROSSED|INVENTED)"),
    ("drop-on-rotation", KILL, r"FAIL .*(LOST|NOT FOUND)"),
    ("delete-before-commit", [*KILL, "--points", "--only", "defect.unlink"], r"FAIL .*(LOST|NOT FOUND)"),
    ("catalog-before-rename", [*KILL, "--points", "--only", "catalog.committed"], r"FAIL .*logged"),
]


def names():
    """All defects that the header knows."""
    text = (ROOT / "include" / "base" / "defect.h").read_text()
    return re.findall(r'X\(DEFECT_\w+, "([a-z-]+)"\)', text)


def build():
    """Only what the rows run; the folder is that of `scripts/build fault`."""
    if not (BUILD / "build.ninja").exists():
        subprocess.run(["meson", "setup", str(BUILD), "-Dbuildtype=debugoptimized",
                        "-Dfault_points=true", "-Dplanted_defects=true", "-Doptimization=1",
                        "-Dc_args=-g1", "-Dcpp_args=-g1"], cwd=ROOT, check=True, capture_output=True)
    programs = {r[1][0] for r in ROWS if r[1][0].startswith(str(BUILD))}
    subprocess.run(["ninja", "-C", str(BUILD), "src/cmd/vivace",
                    *sorted(str(pathlib.Path(p).relative_to(BUILD)) for p in programs)],
                   check=True, capture_output=True)


def harness(command, defect):
    """(status, text, seconds) of a run with the defect, or None: without. A run that does not end has
    reported nothing."""
    env = {**os.environ, "VIVACE": str(BUILD / "src" / "cmd" / "vivace")}
    env.pop("CRASH_AT", None)
    env.pop("VIVACE_DEFECT", None)
    if defect:
        env["VIVACE_DEFECT"] = defect
    began = time.monotonic()
    try:
        done = subprocess.run(command, env=env, cwd=ROOT, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", timeout=600,
                              check=False)
        text, status = done.stdout, done.returncode
    except subprocess.TimeoutExpired as e:
        text, status = (e.stdout or b"").decode(errors="replace"), None
    for folder in re.findall(r"^data in (/tmp/vivace-server-\w+)$", text, re.M):
        subprocess.run(["rm", "-rf", folder], check=False)  # of a run that was meant to fail
    return status, text, time.monotonic() - began


def told(good, line, text):
    print(line, flush=True)
    if not good:
        print("\n".join(text.splitlines()[-10:]))
    return bool(good)


def caught(defect, command, words):
    """True when the harness failed with these words; prints what it said otherwise."""
    status, text, seconds = harness(command, defect)
    good = status not in (0, None) and re.search(words, text)
    return told(good, f"{defect} by {pathlib.Path(command[0]).name}: "
                      f"{'reported' if good else 'NOT REPORTED'}, {seconds:.1f} s", text)


def quiet(command):
    """True when the same harness has nothing to report where nothing is planted: one that always
    fails catches nothing."""
    status, text, seconds = harness(command, None)
    return told(status == 0, f"nothing by {' '.join([pathlib.Path(command[0]).name, *command[1:]])}: "
                             f"{'quiet' if status == 0 else 'REPORTED'}, {seconds:.1f} s", text)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--draw", type=int, default=3)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("name", nargs="*")
    args = parser.parse_args()
    print(f"seed {args.seed}")
    known, failed = names(), 0
    rows = [r for r in ROWS if not args.name or r[0] in args.name]
    unknown = {r[0] for r in ROWS} - set(known)
    if not known or unknown:
        print(f"rows and header differ: {unknown or 'no names in the header'}")
        failed += 1
    if args.all:
        for name in sorted(set(known) - {r[0] for r in ROWS}):
            print(f"{name}: NO ROW")
            failed += 1
    elif not args.name:
        rows = random.Random(args.seed).sample(rows, min(args.draw, len(rows)))
    try:
        build()
    except (OSError, subprocess.CalledProcessError) as e:
        print(f"build/fault: {e}\n{(getattr(e, 'stdout', None) or b'').decode()[-2000:]}")
        print(f"0 passed, {failed + 1} failed")
        return 1
    commands = {tuple(command): command for _, command, _ in rows}.values()
    results = [caught(*row) for row in rows] + [quiet(command) for command in commands]
    passed = sum(results)
    failed += len(results) - passed
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
