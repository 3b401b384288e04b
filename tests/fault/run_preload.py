#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A whole server whose system calls fail (preload.c in LD_PRELOAD): what its clients are told.

The loops of fault_loop say that nothing is lost; here are statuses, retries, readiness, the end of a start.
"""
import os
import pathlib
import re
import shutil
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from checks import Checks  # noqa: E402
from otlp import get, post, request, request_pb, span  # noqa: E402
from server import Server, program, sanitized  # noqa: E402

c = Checks()
PB = "application/x-protobuf"
# <build>/src/cmd/vivace -> <build>/tests
LIBRARY = pathlib.Path(program()).resolve().parents[2] / "tests" / "libvivace_fault.so"
THREADS = 40  # more than a start makes


class Failing(Server):
    """plan: prefix below the server's folder, then op:nth:errno[:mode]."""

    def __init__(self, below, plan, extra=None):
        self.top = tempfile.mkdtemp(prefix="vivace-fault-")
        super().__init__(extra, folder=self.top,
                         env={"LD_PRELOAD": str(LIBRARY), "VIVACE_PRELOAD": f"{self.top}/{below}:{plan}"})

    def __exit__(self, kind, value, trace):
        result = super().__exit__(kind, value, trace)
        shutil.rmtree(self.top, ignore_errors=True)
        return result


def send(server):
    """(answer, trace id) of one span."""
    s = span()
    return post(server, request_pb(request([s])), PB), s["traceId"]


def refused(name, answer):
    c.equal(f"{name}: status", answer.status, 503)
    c.check(f"{name}: Retry-After", answer.header("retry-after"), answer.status)
    c.check(f"{name}: no path of ours in the text", "/wal" not in answer.text, answer.text)


def syncs_fail():
    """Three in a row: ingest is off, reads go on, /ready says so."""
    with Failing("wal/@wal", "fdatasync:2:EIO:ever") as server:
        first, trace = send(server)
        c.equal("the first is stored", first.status, 200)
        for i in range(5):
            refused(f"request {i}", send(server)[0])
        c.equal("not ready", get(server, "/ready").status, 503)
        c.equal("what was acked is read", get(server, f"/api/traces/{trace}").status, 200)
        c.contains("and logged", server.log_text(), "ingest is off")
        server.kill()
        server.env["VIVACE_PRELOAD"] = ""
        server.start()
        c.equal("the ack was true", get(server, f"/api/traces/{trace}").status, 200)
        c.equal("a restart takes spans again", send(server)[0].status, 200)


def disk_full():
    with Failing("wal/@wal", "pwrite:1:ENOSPC:ever") as server:
        for i in range(4):
            refused(f"request {i}", send(server)[0])
        c.equal("reads go on", get(server, "/api/search?q={}").status, 200)
        c.check("alive", server.alive())


def nobody_notices():
    for plan in ("pwrite:1:SHORT:ever", "fdatasync:1:EINTR", "pwrite:3:EINTR"):
        with Failing("wal/@wal", plan) as server:
            answers = [send(server) for _ in range(5)]
            c.equal(plan, [a.status for a, _ in answers], [200] * 5)
            server.restart(kill=True)
            c.equal(f"{plan}: after kill -9", [get(server, f"/api/traces/{t}").status for _, t in answers],
                    [200] * 5)


def catalog_fails():
    """LMDB meets a bad disk while a block is committed: the flush is tried again."""
    for plan in ("pwrite:6:EIO", "pwrite:6:ENOSPC", "fdatasync:4:EIO"):
        with Failing("blocks/@store/catalog", plan,
                     {"live_store": {"max_block_duration": "1s", "flush_check_period": "200ms"}}) as server:
            answers = [send(server) for _ in range(5)]
            c.equal(plan, [a.status for a, _ in answers], [200] * 5)
            server.stop()
            server.env["VIVACE_PRELOAD"] = ""
            server.start()
            c.equal(f"{plan}: all there", [get(server, f"/api/traces/{t}").status for _, t in answers],
                    [200] * 5)
            server.stop()
            c.equal(f"{plan}: fsck", server.fsck()[0], 0)


def threads():
    """The n-th thread cannot be made: one clear line and the end, or a server that works."""
    ends = 0
    for nth in range(1, THREADS):
        server = Failing("", f"thread:{nth}:EAGAIN")
        server.expect_crash = True
        server.spawn()
        try:
            server.wait_ready()
        except Exception:  # it ended: that is an answer
            ends += 1
            c.equal(f"thread {nth}: exit", server.process.wait(10), 1)
            lines = [x for x in server.log_text().splitlines() if "level=error" in x]
            c.check(f"thread {nth}: a line that says why", any("thread" in x for x in lines), lines)
        else:
            c.equal(f"thread {nth}: takes spans", send(server)[0].status, 200)
            server.stop()
        found = re.search("fault injected", server.log_text())
        server.discard()
        shutil.rmtree(server.top, ignore_errors=True)
        if not found:
            break
    c.check("some thread could not be made", ends > 0)


def main():
    if sanitized() or not LIBRARY.exists():  # a sanitizer's own library must come first
        print(f"skipped: {LIBRARY}")
        print("0 passed, 0 failed")
        return
    for function in (syncs_fail, disk_full, nobody_notices, catalog_fails, threads):
        c.run(function.__name__, function)
    c.finish()


if __name__ == "__main__":
    main()
