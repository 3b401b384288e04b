# SPDX-License-Identifier: Apache-2.0
"""The kill points: every site of an I/O call, read from the source, and how a run gets there.

A site that is neither reached by plain load nor named here makes the long run fail: a new commit step
comes with the way to it. EXCUSED says of the rest why no run kills there.
"""
import pathlib
import random
import re

ROOT = pathlib.Path(__file__).resolve().parents[3]
CALL = re.compile(r"\b(?:io_\w+|file_discard)\(")
SITE = re.compile(r'"([a-z_]+\.[a-z_0-9]+)"')
# Sites that are passed very often: their count goes higher, so that kills fall later in the run.
FREQUENT = {"wal.append": 150, "wal.sync": 150, "block.read": 200, "block.write": 200,
            "wal.read": 40, "wal.read_page": 40, "block.open": 60, "wal.segment_zero": 40,
            "disk.space": 6, "wal.mark": 8}

# site -> scenario of run_kill.py that leads there, with faults of VIVACE_FAULT where it needs one.
WAYS = {
    "block.rename_undo": ("fault", "block.rename:rename:1:EIO"),
    "block.tmp_undo": ("fault", "block.rename:rename:1:EIO"),
    "compact.tmp_undo": ("fault", "compact.rename:rename:1:EIO"),
    "wal.segment_undo_close": ("fault", "wal.segment_sync:fsync:1:EIO"),
    "block.peek": ("no catalog", None),
    "block.retry": ("fault", "block.rename:rename:1:EIO"),
    "block.unlink": ("fault", "block.fsync:fsync:1:EIO"),
    "compact.rename_undo": ("fault", "compact.rename:rename:1:EIO"),
    "wal.segment_undo": ("fault", "wal.segment_sync:fsync:1:EIO"),
    "block.set_aside": ("bad block", None),
    "wal.segment_set_aside": ("bad segment", None),
    "catalog.rebuild_remove": ("bad catalog", None),
    "catalog.seal_break": ("no seal", None),
    "store.foreign_list": ("foreign block", None),
    "store.foreign_stat": ("foreign block", None),
    "wal.read_page": ("fault", "wal.read:pread:1:EIO"),
    "wal.segment_write_back": ("large request", None),
    "backup.remove": ("snapshot", "backup.rename:rename:1:EIO"),
    "wal.recover_sweep": ("left-over segment", None),
    "store.tenant_rmdir": ("empty tenant", None),
    "wal.tenant_rmdir": ("empty tenant", None),
    "store.adopt_sync": ("no catalog", None),
    "wal.mkdir_sync": ("new tenant", None),
    "wal.mkdir_parent": ("new tenant", None),
    "store.unlock_data": ("stop", None),
    "store.unlock_wal": ("stop", None),
    "rw.stop_close": ("generator, stop", None),
    "rw.end": ("generator", "rw.append:pwrite:1:EIO"),  # or after 8 MiB of samples
    "backup.mkdir_limits": ("limits, snapshot", None),
    "backup.sync_limits": ("limits, snapshot", None),
    "wal.tenant_mkdir": ("new tenant", None),
    "wal.tenant_mkdir_sync": ("new tenant", None),
    "store.tenant_mkdir": ("new tenant", None),
    "store.tenant_mkdir_sync": ("new tenant", None),
    "user_limits.set_aside": ("bad limits", None),
    "fsck.set_aside": ("fsck", None),
    "fsck.catalog_remove": ("fsck", None),
}
AREAS = {"rw": "generator", "user_limits": "limits", "fsck": "fsck", "backup": "snapshot"}
EXCUSED = {
    "block.discard": "a catalog commit that fails: LMDB writes by itself, see tests/fault",
    "compact.discard": "the same, or retention that takes an input during the merge",
    "catalog.rewrite_remove": "a catalog that fails under a running server, the same",
    "store.superseded_unlink": "a crash between a merge's commit and the removal of its inputs",
    "rw.drop_close": "a queue smaller than its segment, see tests/fault",
    "rw.forget_unlink": "an endpoint that is gone from the configuration, the same",
    "backup.close": "a file that opens and has no size, the same",
    "backup.drop_log": "a release of segments between two steps of a snapshot: seldom",
    "backup.drop_moved": "the same, of the segment that it is at",
    "block.write_back": "blocks of many MiB",
    "catalog.mkdir": "LMDB's own folder: catalog.commit and catalog.committed stand for it",
    "catalog.stat": "the same",
    "tls.open": "reads certificates only", "tls.close": "reads certificates only",
    "tls.read": "reads certificates only", "tls.stat": "reads certificates only",
    "tls.mtime": "reads certificates only",
}


def sites():
    """{site: file} of all calls in the source."""
    out = {}
    for folder in ("src", "storage", "query"):
        for path in sorted((ROOT / folder).rglob("*.c")):
            text = path.read_text()
            for call in CALL.finditer(text):
                depth, end = 1, call.end()
                while depth and end < len(text):
                    depth += {"(": 1, ")": -1}.get(text[end], 0)
                    end += 1
                for site in SITE.findall(text[call.end():end]):
                    out.setdefault(site, str(path.relative_to(ROOT)))
    return out


class Plan:
    def __init__(self, site, nth, scenario, fault):
        self.site, self.nth, self.scenario, self.fault = site, nth, scenario, fault

    @property
    def env(self):
        out = {"CRASH_AT": f"{self.site}:{self.nth}"}
        if self.fault:
            out["VIVACE_FAULT"] = self.fault
        return out

    def __str__(self):
        return f"{self.site}:{self.nth}" + (f" ({self.scenario})" if self.scenario else "")


class Points:
    """Chooses the next point: those hit least often first, in an order of the seed."""

    def __init__(self, seed, only=None):
        self.random = random.Random(seed)
        self.all = {s: 0 for s in sites()
                    if (s in only if only else s not in EXCUSED and not s.startswith("defect."))}
        self.tried = dict.fromkeys(self.all, 0)

    def pick(self):
        if not self.all:
            return None
        tries = lambda s: self.all[s] + self.tried[s] / 4  # noqa: E731
        least = min(tries(s) for s in self.all)
        site = self.random.choice([s for s in self.all if tries(s) <= least + 0.5])
        scenario, fault = WAYS.get(site, (AREAS.get(site.split(".")[0], ""), None))
        # The first time at the first call, so that each point is reached at all.
        most = FREQUENT.get(site, 3) if self.all[site] else 1
        self.tried[site] += 1
        return Plan(site, self.random.randint(1, most), scenario, fault)

    def hit(self, site):
        if site in self.all:
            self.all[site] += 1

    def missing(self):
        return sorted(s for s, n in self.all.items() if n == 0)
