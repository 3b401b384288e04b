#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""config/alerts.yaml: valid for Prometheus, firing when it should and silent when not, and of metrics and labels that exist."""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from checks import Checks  # noqa: E402
from otlp import get, post, request, request_pb, span  # noqa: E402
from server import ROOT, Server  # noqa: E402

c = Checks()
RULES = ROOT / "config" / "alerts.yaml"
NAME = re.compile(r"\b((?:tempo|tempodb|vivace|prometheus)_[a-z_0-9]+)(\{[^}]*\})?")
SOON = {"_bucket", "_count", "_sum"}  # of a histogram


def promtool():
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(RULES, folder)
        shutil.copy(ROOT / "tests" / "integration" / "alerts_test.yaml", folder)
        for args in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]):
            done = subprocess.run(["promtool", *args], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
            c.check(" ".join(args), done.returncode == 0, done.stdout + done.stderr)


def source_names():
    """Families that the source registers; remote write puts its names together from a prefix."""
    names = set()
    for top in ("src", "storage", "query"):
        for path in (ROOT / top).rglob("*.[ch]"):
            text = path.read_text()
            names.update(re.findall(r'"((?:tempo|tempodb|vivace|prometheus)_[a-z_0-9]+)"', text))
            if path.name == "rw_metrics.c":
                parts = re.findall(r'"(_?[a-z_]+)"', text)
                kinds = re.findall(r"^KIND\((\w+)", text, re.M) or ["samples", "exemplars", "histograms"]
                names.update("prometheus_remote_storage_" + p for p in parts)
                names.update(f"prometheus_remote_storage_{k}{p}" for k in kinds for p in parts if p.startswith("_"))
    return names


def exist():
    names, known = set(), source_names()
    text = RULES.read_text()
    for name, _ in NAME.findall("\n".join(re.findall(r"expr:(.*(?:\n {6}.*)*)", text))):
        base = next((name[:-len(s)] for s in SOON if name.endswith(s) and name[:-len(s)] in known), name)
        names.add(base)
        c.check(f"{base} is one of ours", base in known)
    c.check("the rules were read", len(names) > 20, names)


def zero():
    """A counter that does not exist before its first event never shows an increase: those of rare events start at 0."""
    with Server() as server:
        post(server, request_pb(request([span()])), "application/x-protobuf")
        shown = get(server, "/metrics").text
        for line in ('tempo_storage_corruptions_total{kind="wal"} 0', 'tempo_storage_corruptions_total{kind="block"} 0',
                     'tempo_storage_corruptions_total{kind="catalog"} 0', 'tempo_storage_corruptions_total{kind="missing_block"} 0',
                     "tempo_wal_failed_syncs_total 0", "tempo_ingester_failed_flushes_total 0", "tempodb_compaction_errors_total 0",
                     "tempodb_retention_errors_total 0", "tempo_storage_ingest_off 0", "vivace_threads_stuck 0",
                     'tempo_wal_durability{mode="commit"} 1'):
            c.check(line, f"\n{line}\n" in shown)


c.run("promtool", promtool)
c.run("metrics exist", exist)
c.run("zero", zero)
c.finish()
