#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A volume that is really full: what clients are told, what is still served, that a start succeeds, and that ingest comes back
without help when there is space again. And the byte budgets of the store and of a tenant, which keep it from getting full.

The volume is a tmpfs in a mount namespace of its own, where that is allowed; elsewhere the first part is skipped, and says so.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import venv  # noqa: E402  pylint: disable=wrong-import-position

venv.use("requirements.txt")

import raw_grpc  # noqa: E402
from checks import Checks  # noqa: E402
from otlp import get, post, request, request_pb, span, trace_id  # noqa: E402
from server import Server, merge, patience, program  # noqa: E402

c = Checks()
PB = "application/x-protobuf"
MIB = 1 << 20
DISK_MIB = 64
SMALL = {"live_store": {"max_block_bytes": 2 * MIB, "max_block_duration": "2s", "flush_check_period": "200ms"},
         "backend_worker": {"compaction": {"compaction_cycle": "1s"}},
         "backend_scheduler": {"provider": {"retention": {"interval": "1s"}, "compaction": {"compaction": {"compaction_cycle": "1s"}}}},
         "overrides": {"defaults": {"ingestion": {"rate_limit_bytes": 10**10, "burst_size_bytes": 10**10, "max_traces_per_user": 0}}}}


class Volume:
    """A file system of DISK_MIB; servers are started in its namespace, we look at it through /proc."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.holder = subprocess.Popen(
            ["unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o size={DISK_MIB}m vivace "$1" && echo ready && exec cat', "sh", folder],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.ready = self.holder.stdout.readline() == "ready\n"
        self.inside = ["nsenter", "-t", str(self.holder.pid), "-U", "-m", "--preserve-credentials"]
        self.path = pathlib.Path(f"/proc/{self.holder.pid}/root{self.folder}")

    def fill(self, leave=0):
        """Takes the space that is left, but for so many bytes. To the last byte: until the system says that there is none."""
        with open(self.path / "filler", "ab", buffering=0) as f:
            while True:
                free = os.statvfs(self.path)
                n = min(free.f_bavail * free.f_frsize - leave, MIB)
                if leave and n <= 0:
                    return
                try:
                    f.write(bytes(max(n, 1)))
                except OSError:
                    return

    def empty(self):
        (self.path / "filler").unlink()

    def used(self):
        free = os.statvfs(self.path)
        return (free.f_blocks - free.f_bavail) * free.f_frsize

    def end(self):
        self.holder.stdin.close()
        self.holder.wait()


def on_volume(extra):
    """(server, volume), or (None, None)."""
    server = Server(merge(SMALL, extra))
    volume = Volume(str(server.folder / "disk"))
    if not volume.ready:
        volume.end()
        server.discard()
        return None, None
    for key, name in (("local", "blocks"), ("wal", "wal")):
        server.config["storage"]["trace"].setdefault(key, {})["path"] = str(volume.folder / name)
    server.prefix = volume.inside
    return server, volume


def send(server, kib=64, headers=None):
    """(answer, trace id) of a request that does not compress."""
    trace = trace_id()
    spans = [span(trace, attributes={"noise": os.urandom(512).hex()}) for _ in range(kib)]
    return post(server, request_pb(request(spans)), PB, headers or {}), trace


def until(what, seconds=15):
    end = time.monotonic() + seconds * patience()
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def answered(name, a):
    c.check(f"{name}: stored or refused", a.status in (200, 503), a)
    if a.status == 503:
        c.check(f"{name}: when to come back", int(a.header("retry-after") or 0) > 0, a.headers)


def all_there(name, server, acked):
    c.equal(name, [t for t in acked if get(server, f"/api/traces/{t}").status != 200], [])


def full(leave):
    """By somebody else's file, while spans come. leave 0: not a byte is left; else below the floor only."""
    server, volume = on_volume({})
    if server is None:
        print("skipped: no mount namespaces here", file=sys.stderr)
        return
    label = "full" if leave == 0 else "low"
    acked = []
    try:
        with server:
            for _ in range(20):
                a, trace = send(server)
                c.equal(f"{label}: before", a.status, 200)
                acked.append(trace)
            volume.fill(leave)
            for _ in range(20):
                a, trace = send(server)
                answered(label, a)
                acked += [trace] if a.status == 200 else []
            c.check(f"{label}: ingest ends", until(lambda: send(server, 1)[0].status == 503))
            a = raw_grpc.export(server, request_pb(request([span()])))
            c.equal(f"{label}: over gRPC", (a.code, (a.retry_delay() or 0) > 0), (14, True))
            c.contains(f"{label}: the metric", get(server, "/metrics").text, "\ntempo_storage_disk_low 1\n")
            c.equal(f"{label}: reads go on", get(server, "/api/search", q="{ }").status, 200)
            all_there(f"{label}: what was acked is found", server, acked)
            server.restart(kill=True)
            all_there(f"{label}: after kill -9 and a start", server, acked)
            volume.fill(leave)  # the start gave back what was prepared for the log
            c.check(f"{label}: refused after the start", until(lambda: send(server, 1)[0].status == 503))
            volume.empty()
            c.check(f"{label}: comes back by itself", until(lambda: send(server, 1)[0].status == 200))
            a, trace = send(server)
            c.equal(f"{label}: goes on", a.status, 200)
            acked.append(trace)
            c.check(f"{label}: blocks are written again", until(lambda: list(volume.path.glob("blocks/@store/*/*.block"))))
            server.restart(kill=True)
            all_there(f"{label}: all of it at the end", server, acked)
            server.stop()
            done = subprocess.run([*volume.inside, program(), "fsck", "-data", str(volume.folder / "blocks"), "-wal", str(volume.folder / "wal")],
                                  capture_output=True, text=True, check=False)
            c.equal(f"{label}: fsck", done.returncode, 0)
    finally:
        volume.end()


def full_of_spans():
    """The spans themselves fill it, at any speed: meanwhile retention is long. Once it is short it frees space, and ingest goes on,
    untouched by hand; twice, and once more beside a file that fills the rest."""
    server, volume = on_volume({"overrides": {"per_tenant_override_period": "1s"}})
    if server is None:
        return
    path = server.folder / "tenants.yaml"
    server.config["overrides"]["per_tenant_override_config"] = str(path)

    def keep(period):
        entry = {**SMALL["overrides"]["defaults"], "compaction": {"block_retention": period}}  # it inherits nothing
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps({"overrides": {"*": entry}}))
        os.replace(fresh, path)

    def refused():
        a, _ = send(server, 512)
        answered("full of spans", a)
        return a.status == 503 and "\ntempo_storage_disk_low 1\n" in get(server, "/metrics").text

    room = DISK_MIB * MIB // 2
    most = 4 * room // (MIB // 2)  # requests of half a MiB: as many as fill it four times, as blocks are packed
    try:
        volume.fill(room)
        keep("1h")
        with server:
            for n in ("once", "twice", "a third time"):
                c.check(f"full of spans: refused {n}", any(refused() for _ in range(most)))
                if n == "a third time":
                    volume.fill()  # what is deleted now must be so without a byte for the catalog
                keep("1s")
                c.check(f"full of spans: taken again {n}", until(lambda: send(server, 1)[0].status == 200, 30))
                keep("1h")
            c.check("full of spans: alive", server.alive())
            server.kill()  # a stop would say by its status that blocks find no room
    finally:
        volume.end()


def read_only():
    """A volume that may not be written, and a folder that is none: one clear line, and the end."""
    server, volume = on_volume({})
    if server is None:
        return
    try:
        with server:
            c.equal("read-only: before", send(server)[0].status, 200)
            server.kill()
            subprocess.run([*volume.inside, "mount", "-o", "remount,ro", str(volume.folder)], check=True)
            before = len(server.log_text())
            server.spawn()
            c.equal("read-only: refuses to start", server.process.wait(10 * patience()), 1)
            errors = [line for line in server.log_text()[before:].splitlines() if "level=error" in line]
            c.check("read-only: one line that says why", len(errors) == 1 and "Read-only file system" in errors[0], errors)
            server.kill()
            server.expect_crash = True
    finally:
        volume.end()
    with Server() as server:
        server.stop()
        shutil.rmtree(server.wal_dir)
        server.wal_dir.write_text("no folder")
        before = len(server.log_text())
        server.spawn()
        c.equal("no folder: refuses to start", server.process.wait(10 * patience()), 1)
        c.contains("no folder: says which", server.log_text()[before:], str(server.wal_dir))
        server.expect_crash = True


def blocks_bytes(server, tenant):
    folder = server.data_dir / "@store" / tenant.encode().hex()
    return sum(p.stat().st_size for p in folder.glob("*.block")) if folder.exists() else 0


def budgets():
    """The store's bytes, and a tenant's: oldest blocks go, within a pass; whoever has no budget keeps all."""
    budget = 6 * MIB
    per_tenant = {"overrides": {"a": {**SMALL["overrides"]["defaults"], "compaction": {"max_bytes": budget}}}}  # it inherits nothing
    for label, extra in (("store", {"storage": {"trace": {"local": {"max_bytes": budget}}}}), ("tenant", {})):
        server = Server(merge(merge(SMALL, {"multitenancy_enabled": True}), extra))
        if label == "tenant":
            path = server.folder / "tenants.yaml"
            path.write_text(str(per_tenant).replace("'", '"'))
            server.config["overrides"]["per_tenant_override_config"] = str(path)
        with server:
            sent = {"a": [], "b": []}
            b_first = label == "store"  # whose the oldest are
            for tenant in ("b", "a") if b_first else ("a", "b"):
                for _ in range(6):
                    for _ in range(4):
                        a, trace = send(server, 1024, {"X-Scope-OrgID": tenant})
                        c.equal(f"{label}: taken", a.status, 200)
                        sent[tenant].append(trace)
                    time.sleep(0.3)

            def held():
                return blocks_bytes(server, "a") + (blocks_bytes(server, "b") if label == "store" else 0)
            c.check(f"{label}: was over it", until(lambda: held() > 0))
            time.sleep(2.5)  # the last head is a block
            c.check(f"{label}: space is back within a pass", until(lambda: 0 < held() <= budget, 10), held())
            found = {t: [get(server, f"/api/traces/{i}", {"X-Scope-OrgID": t}).status == 200 for i in ids] for t, ids in sent.items()}
            c.check(f"{label}: the oldest are gone", not any(found["a" if label == "tenant" else "b"][:4]), found)
            c.check(f"{label}: the newest are there", found["a"][-1], found)
            if label == "tenant":
                c.check("tenant: b has no budget", all(found["b"]), found)
            c.check(f"{label}: it is counted", "tempo_retention_size_deleted_bytes_total{" in get(server, "/metrics").text)


def main():
    c.run("full", full, 0)
    c.run("low", full, 2 * MIB)
    c.run("full_of_spans", full_of_spans)
    c.run("read_only", read_only)
    c.run("budgets", budgets)
    c.finish()


if __name__ == "__main__":
    main()
