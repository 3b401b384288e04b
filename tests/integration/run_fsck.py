#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`vivace fsck` finds and names every planted damage, says nothing of a healthy directory, and -repair leaves one that starts.

FLIPS=n single bytes are changed in blocks and in the log, at random places (60). SEED=n repeats a run.
"""
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from checks import Checks  # noqa: E402
from otlp import get, post, request, request_pb, span, trace_id, window  # noqa: E402
from server import Server, program  # noqa: E402

c = Checks()
SEED = int(os.environ.get("SEED") or random.randrange(10**6))
FLIPS = int(os.environ.get("FLIPS", "60"))
TENANTS = ("one", "two")
CONFIG = {"multitenancy_enabled": True, "compactor": {"compaction": {"compaction_cycle": "1h"}}}
BLOCKS, TRACES = 3, 20  # blocks of a tenant; traces of each, and as many more in the log


def number(tenant, part, i):
    return TENANTS.index(tenant) * 10000 + part * 100 + i + 1


def fill(server):
    """Three blocks a tenant, and a log of acknowledged requests on top; the process is killed."""
    for part in range(BLOCKS + 1):
        for tenant in TENANTS:
            for i in range(TRACES):
                n = number(tenant, part, i)
                body = request_pb(request([span(trace_id(n), name=f"op {k}", attributes={"text": f"{n} {k}" * 8, "n": n}) for k in range(5)], tenant))
                answer = post(server, body, "application/x-protobuf", {"X-Scope-OrgID": tenant})
                if answer.status != 200:
                    raise AssertionError(answer)
        if part < BLOCKS:
            server.restart()  # what is in memory becomes a block
    server.kill()


def fsck(folder, *more):
    done = subprocess.run([program(), "fsck", *more, "-data", str(folder / "blocks"), "-wal", str(folder / "wal")], capture_output=True, text=True,
                          timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


class Copy:
    """The good directory, to be damaged; gone at the end."""

    def __init__(self, good):
        self.good = good

    def __enter__(self):
        self.top = pathlib.Path(tempfile.mkdtemp(prefix="vivace-fsck-"))
        for name in ("blocks", "wal"):
            shutil.copytree(self.good / name, self.top / name)
        return self.top

    def __exit__(self, *_):
        shutil.rmtree(self.top)


def blocks(top):
    return sorted((top / "blocks" / "@store").rglob("*.block"))


def segments(top):
    return sorted((top / "wal" / "@wal").rglob("*.wal"))


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << random.randrange(8)
    path.write_bytes(bytes(data))


def found(top, label, path):
    status, text = fsck(top)
    c.check(f"{label}: found", status == 1, (status, text))
    c.check(f"{label}: named", path.name.split(".")[0] in text, text)


def flips_in_blocks(good):
    """Every byte of a block counts: one bit anywhere is found."""
    missed = []
    for i in range(FLIPS):
        with Copy(good) as top:
            path = random.choice(blocks(top))
            size = path.stat().st_size
            at = random.choice((random.randrange(size), random.randrange(min(64, size)), size - 1 - random.randrange(min(400, size))))
            flip(path, at)
            status, text = fsck(top)
            if status != 1 or path.stem not in text:
                missed.append((at, size, status, text[-300:]))
    c.check(f"{FLIPS} flips in blocks", not missed, (len(missed), missed[:3]))


def acked_records(top):
    """{segment: [(offset, bytes)]}"""
    dump = {}
    for path in segments(top):
        out = subprocess.run([program(), "wal-dump", str(path.parent)], capture_output=True, text=True, check=False).stdout
        for line in out.splitlines():
            if " acked=yes" in line and line.startswith(str(path)):
                words = dict(w.split("=", 1) for w in line.split(" ")[1:] if "=" in w)
                dump.setdefault(path.relative_to(top), []).append((int(words["offset"]), int(words["bytes"])))
    return dump


def flips_in_the_log(good):
    """A bit in an acknowledged record is found; what is behind the last record is nobody's."""
    missed = 0
    tried = 0
    with Copy(good) as top:
        dump = acked_records(top)
    c.check("acknowledged records are there", sum(len(v) for v in dump.values()) > TRACES, dump)
    for i in range(FLIPS // 2):
        with Copy(good) as top:
            name = random.choice(sorted(dump))
            offset, _ = random.choice(dump[name])
            flip(top / name, offset + random.randrange(16))
            status, text = fsck(top)
            tried += 1
            missed += status != 1 or pathlib.Path(name).name not in text
    c.check(f"{tried} flips in acknowledged records", missed == 0, missed)


def copies(good):
    """A snapshot reads back what it wrote, and the pages of blocks that it linked when it is asked to."""
    def take(top, *more):
        to = top / f"copy{''.join(more)}"
        done = subprocess.run([program(), "snapshot", *more, "-data", str(top / "blocks"), "-wal", str(top / "wal"), str(to)], capture_output=True,
                              text=True, timeout=60, check=False)
        return done.returncode, done.stdout + done.stderr

    def case(label, damage, want):
        with Copy(good) as top:
            path = damage(top)
            for more, status in want.items():
                got, text = take(top, *more)
                c.check(f"{label} {more}: exit {status}", got == status, (got, text))
                c.check(f"{label} {more}: named or not", (path is not None and path.name in text) == (status == 1), text)

    def record(top):
        name, at = sorted(acked_records(top).items())[0]
        flip(top / name, at[0][0] + 4)
        return top / name

    def footer(top):
        path = max(blocks(top), key=lambda p: p.stat().st_size)
        flip(path, path.stat().st_size - 20)
        return path

    def page(top):
        path = max(blocks(top), key=lambda p: p.stat().st_size)
        flip(path, path.stat().st_size // 3)
        return path

    linked, copied, verified = (), ("-copy",), ("-verify",)
    case("sound", lambda top: None, {linked: 0, copied: 0, verified: 0})
    case("a record", record, {linked: 1})
    case("a footer", footer, {linked: 1})
    case("a page", page, {linked: 0, copied: 1, verified: 1})


def whole_files(good):
    def case(label, damage):
        with c.case(label), Copy(good) as top:
            path = damage(top)
            found(top, label, path)
            repaired(top, label, path)
    case("a block cut short", lambda t: cut(blocks(t)[0], 0.6))
    case("a block without an end", lambda t: cut(blocks(t)[1], 0.99))
    case("an empty block", lambda t: cut(blocks(t)[0], 0))
    case("a block of zeros", lambda t: zeros(blocks(t)[0]))
    case("a block of another tenant", lambda t: other_tenant(t))
    case("a block under another's name", lambda t: other_name(t))
    case("a block that is gone", lambda t: gone(blocks(t)[0]))
    case("a log cut in a record", lambda t: cut_record(segments(t)))
    with c.case("a catalog of noise"), Copy(good) as top:
        data = next((top / "blocks" / "@store" / "catalog").glob("data*"))
        data.write_bytes(os.urandom(data.stat().st_size))
        status, text = fsck(top)  # as after a crash in a commit: the catalog is a cache, so this is told and no problem
        c.check("told", status == 0 and "not what its last commit left" in text, (status, text))
        repaired(top, "catalog", None)
    with c.case("no catalog"), Copy(good) as top:
        shutil.rmtree(top / "blocks" / "@store" / "catalog")
        status, text = fsck(top)
        c.check("no damage, but said", status == 0 and "no catalog" in text, (status, text))
        repaired(top, "no catalog", None)


def cut(path, share):
    os.truncate(path, int(path.stat().st_size * share))
    return path


def zeros(path):
    path.write_bytes(b"\0" * path.stat().st_size)
    return path


def gone(path):
    path.unlink()
    return path


def other_tenant(top):
    mine, others = (sorted(d.glob("*.block")) for d in sorted((top / "blocks" / "@store").iterdir()) if d.is_dir() and d.name != "catalog")
    to = mine[0].parent / others[0].name
    shutil.move(others[0], to)
    return to


def other_name(top):
    a, b = blocks(top)[:2]
    shutil.copy(a, b)
    return b


def cut_record(paths):
    path = max(paths, key=lambda p: len(p.read_bytes().rstrip(b"\0")))
    used = len(path.read_bytes().rstrip(b"\0"))
    data = bytearray(path.read_bytes())
    middle = 8192 + (used - 8192) // 2  # records begin at 8192
    data[middle:middle + 200] = b"\0" * 200
    path.write_bytes(bytes(data))
    return path


def repaired(top, label, path):
    """-repair once, then a start serves everything but what the damaged file held, and a last look finds nothing."""
    fsck(top, "-repair")
    with Server({**CONFIG, "storage": {"trace": {"local": {"path": str(top / "blocks")}, "wal": {"path": str(top / "wal")}}}}) as server:
        lost = sum(get(server, f"/api/traces/{trace_id(number(tenant, part, i))}", {"X-Scope-OrgID": tenant}).status != 200
                   for tenant in TENANTS for part in range(BLOCKS + 1) for i in range(TRACES))
        allowed = 0 if path is None else 2 if path.suffix == ".wal" else TRACES * 2 if "another" in label else TRACES
        c.check(f"{label}: the rest is served", lost <= allowed, lost)
        c.check(f"{label}: what was damaged is not", path is None or lost > 0, lost)
    status, text = fsck(top)
    c.check(f"{label}: healthy after repair", status == 0, text)


def while_running(good):
    """Bytes of a block change under a running server: whoever asks gets the rest, and is told that it is not all."""
    with Copy(good) as top:
        path = blocks(top)[0]
        tenant = bytes.fromhex(path.parent.name).decode()
        head = {"X-Scope-OrgID": tenant}
        with Server({**CONFIG, "storage": {"trace": {"local": {"path": str(top / "blocks")}, "wal": {"path": str(top / "wal")}}}}) as server:
            data = bytearray(path.read_bytes())
            for at in range(200, max(len(data) - 1500, 400), 32):
                data[at] ^= 255
            path.write_bytes(bytes(data))
            whole = (BLOCKS + 1) * TRACES
            for what, kw in (("/api/search", {"q": "{ span.n > 0 }", "limit": 10000}), ("/api/v2/search/tag/span.text/values", {}),
                             ("/api/metrics/query_range", {"q": "{ } | rate() by (name)"}), ("/api/search/tags", {})):
                a = get(server, what, head, **kw, **({} if "tag" in what else window()))
                c.equal(f"damage below {what}: answered", a.status, 200)
                if what != "/api/search/tags":  # names may come from what is intact
                    c.contains(f"damage below {what}: and says so", a.header("warning") or "", 'blocks could not be read in full')
                if what == "/api/search":
                    c.check("the rest is found", 0 < len(a.json()["traces"]) < whole, len(a.json()["traces"]))
            c.contains("counted", get(server, "/metrics").text, '\ntempo_storage_corruptions_total{kind="block"} 1\n')
            other = next(t for t in TENANTS if t != tenant)
            c.equal("others are not told", get(server, "/api/search", {"X-Scope-OrgID": other}, q="{ }").header("warning") or "", "")


def words(good):
    """One dash or two, a value as a word or after '='; what is no flag gets the usage."""
    for args in (["-data", f"{good}/blocks", "-wal", f"{good}/wal"], [f"--data={good}/blocks", "--wal", f"{good}/wal"]):
        done = subprocess.run([program(), "fsck", *args], capture_output=True, text=True, check=False)
        c.equal(f"fsck {args[0][:7]}", done.returncode, 0)
    for command in ("fsck", "snapshot", "wal-dump", "block-dump"):
        done = subprocess.run([program(), command, "--help"], capture_output=True, text=True, check=False)
        c.check(f"{command}: usage", done.returncode == 2 and done.stderr.startswith(f"usage: vivace {command}"), done.stderr)
        c.contains(f"{command}: named by -help", subprocess.run([program(), "-help"], capture_output=True, text=True, check=False).stdout, command)


def main():
    random.seed(SEED)
    print(f"seed {SEED}", file=sys.stderr)
    server = Server(CONFIG)
    try:
        server.start()
        fill(server)
        good = server.folder
        status, text = fsck(good)
        c.check("a healthy directory", status == 0 and f"{len(blocks(good))} blocks" in text, (status, text))
        c.equal("blocks", len(blocks(good)), BLOCKS * len(TENANTS))
        c.run("words", words, good)
        c.run("while_running", while_running, good)
        c.run("flips_in_blocks", flips_in_blocks, good)
        c.run("flips_in_the_log", flips_in_the_log, good)
        c.run("copies", copies, good)
        c.run("whole_files", whole_files, good)
    finally:
        server.discard()


c.run("fsck", main)
c.finish()
