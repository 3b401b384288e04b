#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 under load, again and again: no acked span is lost, nothing is torn, nothing is invented.

run_kill.py [--cycles 20] [--seed N] [--seconds 0.5] [--writers 8] [--self-check]

Writers send over gRPC and HTTP to several tenants while queries run and blocks are cut and compacted
every second or so. The process is killed at a random moment, sometimes again while it recovers, and
restarted; the checker then compares everything with the ledger. Request contents are a formula of
(seed, request). CRASH_AT in the environment reaches the server, for builds with fault points.
--self-check plants losses and lies, and passes when the checker reports each of them.
"""
import argparse
import pathlib
import random
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "support")]
import venv  # noqa: E402

venv.use("../../integration/requirements.txt")

from checker import Checker  # noqa: E402
from ledger import ACKED, REFUSED, Formula, Ledger  # noqa: E402
from server import READY_SECONDS, Server, ServerError, sanitized  # noqa: E402
from writers import Reader, Writer  # noqa: E402

TENANTS = ["alpha", "beta", "gamma", "delta.with-dots", "e!*'()"]
CONFIG = {
    "multitenancy_enabled": True,
    "distributor": {"max_attribute_bytes": 1 << 20},
    "live_store": {"max_block_duration": "1s", "flush_check_period": "200ms"},
    "backend_scheduler": {"provider": {"compaction": {
        "min_input_blocks": 2, "compaction": {"compaction_cycle": "1s"}}}},
    "overrides": {"defaults": {"ingestion": {"rate_limit_bytes": 10**10,
                                             "burst_size_bytes": 10**10,
                                             "max_traces_per_user": 0},
                               "global": {"max_bytes_per_trace": 0}}},
}


class Run:
    def __init__(self, args):
        self.args = args
        self.random = random.Random(args.seed)
        self.formula = Formula(args.seed, TENANTS, time.time_ns() - 60 * 10**9)
        self.ledger = Ledger()
        self.server = Server(CONFIG)
        self.checker = Checker(self.server, self.formula, self.ledger)
        self.slowest = 0.0
        self.kills = 0

    def load(self, cycle, seconds):
        """Writes for that long, kills in the middle of it all."""
        stop = threading.Event()
        threads = [Writer(self.server, self.formula, self.ledger, cycle, i % 2 == 0, stop)
                   for i in range(self.args.writers)]
        readers = [Reader(self.server, TENANTS, stop) for _ in range(2)]
        for t in threads + readers:
            t.start()
        time.sleep(seconds)
        crashed = not self.server.alive()
        self.server.kill()
        self.kills += 1
        stop.set()
        for t in threads + readers:
            t.join(30)
        self.ledger.close_cycle()
        if crashed and not self.server.env.get("CRASH_AT"):
            self.checker.problem(f"cycle {cycle}: the server had died by itself:\n"
                                 f"{self.server.log_tail()}")
        for t in threads:
            for data in t.partial:
                self.checker.problem(f"cycle {cycle}: partial answer {data!r}")
        for r in readers:
            if r.errors:
                self.checker.problem(f"cycle {cycle}: {r.errors} queries of {r.answers} failed")

    def recover(self, cycle):
        """Restarts; in every third cycle the recovery is killed as well."""
        if cycle % 3 == 2:
            self.server.spawn()
            time.sleep(self.random.uniform(0.005, 0.15))
            self.server.kill()
            self.kills += 1
        seconds = self.server.start(timeout=30)
        self.slowest = max(self.slowest, seconds)
        if seconds > READY_SECONDS * (4 if sanitized() else 1):
            self.checker.problem(f"cycle {cycle}: ready after {seconds:.1f} s")

    def check(self, cycle, everything=False):
        fresh = [n for n, k in self.ledger.cycle.items() if k == cycle or everything]
        old = [n for n, k in self.ledger.cycle.items() if k < cycle and not everything]
        fresh += self.random.sample(old, min(60, len(old)))
        cycles = range(1, cycle + 1) if everything else {cycle, self.random.randint(1, cycle)}
        self.checker.run(0 if everything else cycle, fresh, cycles)

    def cycles(self):
        self.server.start()
        for cycle in range(1, self.args.cycles + 1):
            self.load(cycle, self.random.uniform(0.15, 2 * self.args.seconds - 0.15))
            self.recover(cycle)
            if cycle % 4 != 3:  # sometimes several kills pass without a look
                self.check(cycle)
            if self.args.verbose:
                print(f"cycle {cycle}: {self.ledger.counts()}", flush=True)
        self.check(self.args.cycles, everything=True)
        self.server.stop()
        self.fsck()
        self.server.start()
        self.check(self.args.cycles, everything=True)
        self.server.stop()
        self.findings()

    def fsck(self):
        status, text = self.server.fsck()
        if status != 0:
            self.checker.problem(f"fsck: exit {status}\n{text}")

    def findings(self):
        for line in self.server.findings():
            self.checker.problem(line)


def self_check(args):
    """Each plant must be reported by its own word."""
    run = Run(args)
    run.server.start()
    run.load(1, 0.8)
    run.server.start()
    run.check(1)
    if run.checker.problems:
        print("the clean run has problems: nothing to learn from plants")
        return 0, 1
    run.server.stop()
    acked = sorted(n for n, s in run.ledger.state.items() if s == ACKED)
    results = {}

    def plant(name, word):
        checker = Checker(run.server, run.formula, run.ledger)
        checker.problem = lambda text: checker.problems.append(text)
        try:
            checker.run(0, list(run.ledger.cycle), [1])
        except (AssertionError, KeyError) as e:
            checker.problems.append(str(e))
        results[name] = any(word in p for p in checker.problems)
        print(f"plant {name}: {'reported' if results[name] else 'NOT REPORTED'}")

    run.server.start()
    ghost = run.ledger.begin(1)
    run.ledger.end(ghost, ACKED)
    plant("a request that was never sent counts as acked", "LOST")
    del run.ledger.state[ghost], run.ledger.cycle[ghost]
    run.ledger.state[acked[0]] = REFUSED
    plant("a stored request counts as refused", "REFUSED BUT STORED")
    run.ledger.state[acked[0]] = ACKED
    state, cycle = run.ledger.state.pop(acked[1]), run.ledger.cycle.pop(acked[1])
    plant("a request that the ledger does not know", "INVENTED")
    run.ledger.state[acked[1]], run.ledger.cycle[acked[1]] = state, cycle
    honest = run.formula.span
    run.formula.span = lambda *a: {**honest(*a), "name": "changed"}
    plant("contents differ", "CHANGED")
    run.formula.span = honest
    run.load(2, 0.8)
    for segment in run.server.wal_dir.rglob("*"):
        if segment.is_file() and "lock" not in segment.name and "catalog" not in str(segment) and \
                segment.suffix == ".wal":
            segment.unlink()
    run.server.start()
    plant("log segments deleted after a kill", "LOST")
    run.server.kill()
    return sum(results.values()), len(results) - sum(results.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=0.5, help="mean time between kills")
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--self-check", action="store_true")
    parser.add_argument("--verbose", "-v", action="store_true")
    args = parser.parse_args()
    if args.seed is None:
        args.seed = random.SystemRandom().randrange(2**31)
    print(f"seed {args.seed}")
    if args.self_check:
        passed, failed = self_check(args)
        print(f"{passed} passed, {failed} failed")
        return 1 if failed else 0
    run = Run(args)
    try:
        run.cycles()
    except (ServerError, AssertionError, OSError) as e:
        run.checker.problem(f"{type(e).__name__}: {e}")
        if run.server.alive():
            run.server.kill()
    counts = run.ledger.counts()
    print(f"{run.kills} kills, requests {counts}, slowest start {run.slowest:.2f} s, "
          f"data in {run.server.folder if run.checker.problems else 'a folder now removed'}")
    if not run.checker.problems:
        import shutil
        shutil.rmtree(run.server.folder, ignore_errors=True)
    failed = len(run.checker.problems)
    print(f"{args.cycles if not failed else 0} passed, {failed} failed")
    return 1 if failed or counts.get(ACKED, 0) == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
