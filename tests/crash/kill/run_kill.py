#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 under load, again and again: no acked span is lost, nothing is torn, nothing is invented.

run_kill.py [--cycles 20] [--seed N] [--lanes 2] [--points] [--every-point] [--minutes M] [--self-check]

A cycle: start, writers over gRPC, HTTP and Zipkin into five tenants while queries run and blocks are cut,
merged and (for two of the tenants) expired many times a second; SIGKILL at a random moment or, in a
program with fault points ($VIVACE from build/fault), by itself at a named one (--points), also while it
recovers; in one cycle of four the next begins without a look. Then start, compare with the ledger, kill.
Every tenth data folder is checked offline in the state in which the kill left it. A lane is a
server of its own; lanes run at once. --every-point fails when a kill point was never hit.
--self-check plants losses and lies, and passes when the checker reports each of them.
"""
import argparse
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "support")]
import venv  # noqa: E402

venv.use("../../integration/requirements.txt")

import own_time  # noqa: E402
from checker import Checker, Client, Uptime  # noqa: E402
from ledger import ACKED, REFUSED, UNKNOWN, Ledger  # noqa: E402
from points import Points  # noqa: E402
from scenarios import after_load, prepare, run_fsck  # noqa: E402
from server import (READY_SECONDS, STOP_SECONDS, Server, ServerError, free_ports,  # noqa: E402
                    merge, patience)
from writers import Reader, Writer  # noqa: E402

TENANTS = ["alpha", "beta", "gamma", "delta.with-dots", "e!*'()"]
KEEP = {"beta": 10, "delta.with-dots": 10}  # seconds; the others keep everything
SLACK = 30  # of a running server: a block's window, and a retention pass
HANG_SECONDS = 30  # a stop that takes longer does not end
WAYS = ["grpc", "http", "grpc", "http", "grpc", "http", "grpc", "zipkin"]
FLUSHED, MERGED, EXPIRED = 'msg="block flushed"', 'msg="blocks merged"', 'msg="block expired"'
KILLED = re.compile(r'msg="killed at a point" site=(\S+)')


def config(server):
    return {
        "multitenancy_enabled": True,
        "server": {"log_level": "debug"},
        "distributor": {"max_attribute_bytes": 1 << 20, "receivers": {
            "zipkin": {"endpoint": f"127.0.0.1:{server.zipkin}"}}},
        "live_store": {"max_block_duration": "250ms", "flush_check_period": "50ms",
                       "max_block_bytes": 100000},
        "backend_scheduler": {"provider": {
            "retention": {"interval": "300ms"},
            "compaction": {"min_input_blocks": 2, "compaction": {
                "compaction_cycle": "150ms", "compaction_window": "4s"}}}},
        "overrides": {"defaults": {"ingestion": {"rate_limit_bytes": 10**10,
                                                 "burst_size_bytes": 10**10,
                                                 "max_traces_per_user": 0},
                                   "global": {"max_bytes_per_trace": 0}},
                      "per_tenant_override_config": str(server.folder / "tenants.yaml")},
    }


class Run:
    """One lane: a server, its ledger, its kill points."""

    def __init__(self, args, seed, cycles, points=None):
        self.args, self.seed, self.n_cycles, self.points = args, seed, cycles, points
        self.random = random.Random(seed)
        self.ledger = Ledger(seed)
        self.server = Server()
        self.server.zipkin = free_ports(1)[0]
        self.server.config = self.plain = merge(self.server.config, config(self.server))
        # A tenant's entry replaces the defaults as a whole, so it repeats them.
        limits = self.plain["overrides"]["defaults"]
        (self.server.folder / "tenants.yaml").write_text(json.dumps({"overrides": {
            t: {**limits, "compaction": {"block_retention": f"{s}s"}} for t, s in KEEP.items()}}))
        self.checker = Checker(self.server, self.ledger, KEEP, SLACK, Uptime(self.server))
        self.slowest = self.longest_stop = 0.0
        self.kills = self.in_recovery = self.done = 0
        self.events = {FLUSHED: 0, MERGED: 0, EXPIRED: 0}
        self.unchecked, self.endangered = set(), []
        self.stopped = False  # the last life ended by a clean stop in peace
        self.excused = False  # a scenario damages files on purpose: error lines are expected

    def tool(self, args, plan):
        """A subcommand with the point armed in it."""
        done = subprocess.run(args, env={**os.environ, **plan.env}, capture_output=True, check=False,
                              timeout=60)
        if b"killed at a point" in done.stderr:
            self.points.hit(plan.site)

    # ---- one life of the server ----

    def log_read(self):
        """Counts what happened since the last look; the process is dead. Returns the point it died at."""
        text = self.server.log_text()
        self.server.log_path.write_text("")
        for event in self.events:
            self.events[event] += text.count(event)
        for line in text.splitlines():
            if "level=error" in line and not self.excused:
                self.checker.problem(f"cycle {self.done + 1}: logged: {line[:300]}")
            if "Sanitizer" in line or "runtime error:" in line or "ASSERT" in line:
                self.checker.problem(f"cycle {self.done + 1}: {line[:300]}")
        died = KILLED.search(text)
        if died and self.points:
            self.points.hit(died[1])
        return died[1] if died else None

    def kill(self):
        """SIGKILL, unless a kill point was faster; anything else that ended the server is a problem."""
        alive = self.server.alive()
        self.server.kill()
        self.kills += 1
        died = self.log_read()
        if not alive and died is None and self.server.process.returncode != 0:
            self.checker.problem(f"cycle {self.done + 1}: the server died by itself with "
                                 f"{self.server.process.returncode}")

    def spawn(self, env=None):
        """Starts and waits; False when it died at a kill point before it was ready."""
        for key in ("CRASH_AT", "VIVACE_FAULT"):
            self.server.env.pop(key, None)
        self.server.env.update(env or {})
        try:
            seconds = self.server.start(timeout=30)
        except ServerError:
            if self.server.alive() or "killed at a point" not in self.server.log_text():
                raise
            self.in_recovery += 1
            self.kill()
            return False
        self.slowest = max(self.slowest, seconds)
        if self.stopped and "wal_records=0 " not in self.server.log_text():
            self.checker.problem(f"cycle {self.done + 1}: a clean stop has left something to replay")
        self.stopped = False
        if seconds > READY_SECONDS * patience():
            self.checker.problem(f"cycle {self.done + 1}: ready after {seconds:.1f} s")
        return True

    def begin(self, cycle):
        """The server for the load: with a kill point armed, or killed while it recovers, or plain."""
        plan = self.points.pick() if self.points and self.random.random() < 0.8 else None
        self.server.config, self.excused = self.plain, False
        if plan is not None:
            if plan.scenario == "fsck":
                run_fsck(self, plan)
                plan = None
            else:
                prepare(self, plan)
                if "snapshot" in plan.scenario:  # the point is the copy's
                    self.spawn()
                    return plan
        if plan is None and cycle % 4 == 2:
            self.server.spawn()
            time.sleep(self.random.uniform(0.002, 0.08))
            self.in_recovery += 1
            self.kill()
        if not self.spawn(plan.env if plan else None):
            plan = None
            self.spawn()
        return plan

    def load(self, cycle, seconds, plan=None):
        """Writes for that long, kills in the middle of it all."""
        stop = threading.Event()
        writers = [Writer(self, cycle, WAYS[i % len(WAYS)], TENANTS, stop)
                   for i in range(self.args.writers)]
        if plan and plan.scenario == "new tenant":
            writers.append(Writer(self, cycle, "http", [f"once-{cycle}"], stop, most=5))
        readers = [Reader(self, TENANTS, stop) for _ in range(2)]
        for t in writers + readers:
            t.start()
        if plan:
            after_load(self, plan)
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.server.alive():
            time.sleep(0.01)
        if plan and "stop" in plan.scenario and self.server.alive():
            self.terminate(cycle)
        self.kill()
        stop.set()
        for t in writers + readers:
            t.join(30)
        self.ledger.close_cycle(cycle)
        self.unchecked.add(cycle)
        self.endangered += [e for t in writers for e in t.last]
        for t in writers:
            for data in t.partial:
                self.checker.problem(f"cycle {cycle}: partial answer {data!r}")
        for r in readers:
            if r.errors and not (plan and "stop" in plan.scenario):  # which answers 503
                self.checker.problem(f"cycle {cycle}: {r.errors} queries of {r.answers} failed")

    def terminate(self, cycle):
        """SIGTERM under load, with a kill point on the way: it ends in time by itself, or there."""
        self.server.process.terminate()
        try:
            passed, seconds = own_time.wait(self.server.process, HANG_SECONDS)
        except subprocess.TimeoutExpired:
            self.checker.problem(f"cycle {cycle}: SIGTERM did not end it")
            return
        self.longest_stop = max(self.longest_stop, seconds)
        if seconds > STOP_SECONDS * patience():
            self.checker.problem(f"cycle {cycle}: a stop took {seconds:.2f} s ({passed:.2f} by the clock)")

    def stop(self):
        """SIGTERM in peace: in time (own_time), status 0, and nothing wrong is left."""
        self.longest_stop = max(self.longest_stop, self.server.stop())
        self.stopped = True
        self.log_read()
        self.fsck()

    # ---- looking ----

    def tenants_of(self, cycle):
        return sorted(set(TENANTS) | {e.tenant for e in self.ledger.of(cycle)})

    def check(self, cycle):
        """What was written since the last look, and a sample of what is older."""
        c = self.checker
        c.client = Client(self.server)
        for k in sorted(self.unchecked | {self.random.randint(1, cycle)}):
            c.check_cycle(k, self.tenants_of(k))
        fresh = [e for k in self.unchecked for e in self.ledger.of(k)]
        sample = set(self.endangered) | set(self.random.sample(fresh, min(15, len(fresh))))
        for _ in range(10):
            entries = self.ledger.of(self.random.randint(1, cycle))
            if entries:
                sample.add(self.random.choice(entries))
        c.check_entries(sorted(sample, key=lambda e: e.number))
        acked = [e for e in fresh if e.state == ACKED]
        c.check_crossing(self.random.sample(acked, min(4, len(acked))), TENANTS)
        if cycle % 10 == 0:
            c.check_tenants(TENANTS, 60)
        self.unchecked, self.endangered = set(), []

    def check_all(self):
        """Every cycle counted; 1,500 requests compared span by span."""
        c = self.checker
        c.client = Client(self.server)
        for k in range(1, self.done + 1):
            c.check_cycle(k, self.tenants_of(k))
        entries = list(self.ledger.entries.values())
        c.check_entries(sorted(self.random.sample(entries, min(1500, len(entries))),
                               key=lambda e: e.number))
        c.check_tenants(TENANTS, 160 * 3600)

    def fsck(self):
        status, text = self.server.fsck()
        if status != 0:
            self.checker.problem(f"cycle {self.done}: fsck: exit {status}\n{text[-2000:]}")

    def cycles(self):
        until = time.monotonic() + self.args.minutes * 60 if self.args.minutes else None
        for cycle in range(1, self.n_cycles + 1):
            if len(self.checker.problems) >= 50 or until and time.monotonic() > until:
                break
            plan = self.begin(cycle)
            seconds = self.random.uniform(0.1, 2 * self.args.seconds - 0.1)
            if plan:  # what was not reached before gets more time
                seconds = min(self.args.seconds * (1.5 + self.points.tried[plan.site] / 2), 6)
            self.load(cycle, seconds, plan)
            self.done = cycle
            if cycle % 10 == 5 and not self.excused:
                self.fsck()
            if cycle % 4 != 3:
                self.spawn()
                self.check(cycle)
                if cycle % 50 == 0:
                    self.stop()
                else:
                    self.kill()
            if self.args.verbose:
                print(f"cycle {cycle}: {plan or 'random'}, {self.ledger.counts()}, "
                      f"{dict((k[5:-1], v) for k, v in self.events.items())}", flush=True)
        self.server.config, self.excused = self.plain, False
        for _ in range(2):
            self.spawn()
            self.check_all()
            self.stop()

    def judge(self):
        """The run must have been worth something; one that dies at chosen points only is worth these (see points.py)."""
        if self.args.only:
            return
        want = {FLUSHED: self.done, MERGED: (self.done - 5) // 5, EXPIRED: (self.done - 15) // 5}
        for event, n in want.items():
            if self.events[event] < n:
                self.checker.problem(f"{event[4:]} only {self.events[event]} times in {self.done} "
                                     f"cycles, {n} wanted: the run proves too little")

    def safely(self):
        try:
            self.cycles()
            self.judge()
        except (ServerError, AssertionError, OSError, KeyError) as e:
            self.checker.problem(f"cycle {self.done + 1}: {type(e).__name__}: {e}\n"
                                 f"{self.server.log_tail(5)}")
        if self.server.alive():
            self.server.kill()
        if not self.checker.problems:
            shutil.rmtree(self.server.folder, ignore_errors=True)


def self_check(args):
    """Each plant must be reported by its own word."""
    run = Run(args, args.seed, 1)
    tenants = run.server.folder / "tenants.yaml"
    for s in set(KEEP.values()):  # what is to be there when it is called too old, however long all this takes
        tenants.write_text(tenants.read_text().replace(f'"{s}s"', '"1h"'))
    for _ in range(10):  # a slow machine sends little, and some of it must be for these tenants
        run.spawn()
        run.load(1, 0.8)
        if any(e.state == ACKED and e.tenant in KEEP for e in run.ledger.of(1)):
            break
    run.spawn()
    run.check(1)
    if run.checker.problems:
        print("the clean run has problems: nothing to learn from plants")
        return 0, 1
    acked = [e for e in run.ledger.of(1) if e.state == ACKED and e.tenant not in KEEP]
    results = {}

    def plant(name, word):
        checker = Checker(run.server, run.ledger, KEEP, SLACK)
        checker.problem = checker.problems.append
        checker.client = Client(run.server)
        try:
            checker.check_cycle(1, TENANTS)
            checker.check_entries(run.ledger.of(1))
            checker.check_tenants(TENANTS, 60)
        except (AssertionError, KeyError) as e:
            checker.problems.append(str(e))
        results[name] = any(word in p for p in checker.problems)
        print(f"plant {name}: {'reported' if results[name] else 'NOT REPORTED'}")

    ghost = run.ledger.begin(next(run.ledger.group()), "alpha", "otlp", 1)
    ghost.state = ACKED
    plant("a request that was never sent counts as acked", "LOST")
    run.ledger.of(1).remove(run.ledger.entries.pop(ghost.number))
    acked[0].state = REFUSED
    plant("a stored request counts as refused", "REFUSED BUT STORED")
    acked[0].state = ACKED
    run.ledger.of(1).remove(run.ledger.entries.pop(acked[1].number))
    plant("a request that the ledger does not know", "INVENTED")
    run.ledger.entries[acked[1].number] = acked[1]
    run.ledger.of(1).append(acked[1])
    acked[2].tenant, was = "e!*'()" if acked[2].tenant == "gamma" else "gamma", acked[2].tenant
    plant("a request of another tenant", "INVENTED")
    acked[2].tenant = was
    honest = run.ledger.formula.span

    def lie(*a):
        s = honest(*a)
        s.name = "changed"
        return s
    run.ledger.formula.span = lie
    plant("contents differ", "CHANGED")
    run.ledger.formula.span = honest
    for e in run.ledger.of(1):
        e.base_ns -= 10**12
    plant("what is too old is still there", "TOO OLD")
    for e in run.ledger.of(1):
        e.base_ns += 10**12
    run.kill()
    # Of tenants without a block all acked spans are in the log: without it they are lost.
    run.server.config = merge(run.plain, {"live_store": {"max_block_duration": "10m",
                                                         "max_block_bytes": 10**8}})
    run.spawn()
    run.load(1, 0.8)
    for segment in run.server.wal_dir.rglob("*.wal"):
        segment.unlink()
    run.spawn()
    plant("log segments deleted after a kill", "LOST")
    run.server.kill()
    run.server.discard()
    return sum(results.values()), len(results) - sum(results.values())


def lane_main(args):
    """One lane, in a process of its own; the parent adds up what tell() prints."""
    points = Points(args.seed, args.only.split(",") if args.only else None) if args.points else None
    run = Run(args, args.seed, args.cycles, points)
    run.safely()
    tell(run)
    return 1 if run.checker.problems or run.done == 0 else 0


def lanes(args):
    """(outputs, lanes that failed). What a lane says is shown at once."""
    texts = [[] for _ in range(args.lanes)]

    def follow(child, lines):
        for line in child.stdout:
            lines.append(line)
            if not line.startswith(("lane:", "seed")):
                print(line, end="", flush=True)

    children, threads = [], []
    for i in range(args.lanes):
        child = subprocess.Popen(
            [sys.executable, *sys.argv, "--lane", "--cycles", str(-(-args.cycles // args.lanes)),
             "--seed", str(args.seed + i)], stdout=subprocess.PIPE, text=True)
        threads.append(threading.Thread(target=follow, args=(child, texts[i])))
        children.append(child)
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return ["".join(lines) for lines in texts], sum(c.wait() != 0 for c in children)


SUM = re.compile(r"lane: (\d+) cycles, (\d+) kills \((\d+) in recovery\), (\d+) acked, (\d+) unknown, "
                 r"(\d+) spans compared, (\d+) flushed, (\d+) merged, (\d+) expired, slowest (\S+) s, "
                 r"stop (\S+) s, points (\S*)")


def tell(run):
    counts = run.ledger.counts()
    points = ",".join(f"{s}={n}" for s, n in sorted(run.points.all.items())) if run.points else ""
    print(f"lane: {run.done} cycles, {run.kills} kills ({run.in_recovery} in recovery), "
          f"{counts.get(ACKED, 0)} acked, {counts.get(UNKNOWN, 0)} unknown, {run.checker.compared} "
          f"spans compared, {run.events[FLUSHED]} flushed, {run.events[MERGED]} merged, "
          f"{run.events[EXPIRED]} expired, slowest {run.slowest:.2f} s, "
          f"stop {run.longest_stop:.2f} s, points {points}")
    if run.checker.problems:
        print(f"data in {run.server.folder}")


def summary(args, texts):
    """Sums over the lanes; returns (cycles, problems)."""
    sums, slowest, longest, points = [0] * 9, 0.0, 0.0, {}
    for text in texts:
        m = SUM.search(text)
        if not m:
            continue
        sums = [a + int(b) for a, b in zip(sums, m.groups()[:9])]
        slowest, longest = max(slowest, float(m[10])), max(longest, float(m[11]))
        for pair in m[12].split(",") if m[12] else ():
            site, n = pair.split("=")
            points[site] = points.get(site, 0) + int(n)
    print("{} cycles, {} kills ({} in recovery), {} requests acked, {} unknown, {} spans compared, "
          "{} blocks flushed, {} merges, {} blocks expired".format(*sums))
    print(f"slowest start {slowest:.2f} s, longest stop {longest:.2f} s (its own time), {sum(1 for n in points.values() if n)} of {len(points)} "
          f"kill points hit")
    failed = 0
    if points and (args.every_point or args.verbose):
        missing = sorted(s for s, n in points.items() if n == 0)
        if missing:
            print(f"{'FAIL ' if args.every_point else ''}kill points never hit: {' '.join(missing)}")
        failed += len(missing) if args.every_point else 0
    return sums[0], failed, sums[3]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--lanes", type=int, default=1)
    parser.add_argument("--lane", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=0.6, help="mean time of load in a cycle")
    parser.add_argument("--minutes", type=float, default=0, help="no new cycle after that long")
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--points", action="store_true")
    parser.add_argument("--only", help="kill points, separated by commas")
    parser.add_argument("--every-point", action="store_true")
    parser.add_argument("--self-check", action="store_true")
    parser.add_argument("--verbose", "-v", action="store_true")
    args = parser.parse_args()
    if args.seed is None:
        args.seed = random.SystemRandom().randrange(2**31)
        sys.argv += ["--seed", str(args.seed)]
    print(f"seed {args.seed}", flush=True)
    if args.self_check:
        passed, failed = self_check(args)
        print(f"{passed} passed, {failed} failed")
        return 1 if failed else 0
    if args.lane:
        return lane_main(args)
    texts, failed = lanes(args)
    failed += sum(text.count("FAIL ") for text in texts)
    cycles, missing, acked = summary(args, texts)
    failed += missing + (acked == 0)
    print(f"{cycles if not failed else 0} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
