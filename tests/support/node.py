# SPDX-License-Identifier: Apache-2.0
"""Node packages of a suite, pinned in its package.json, under build/ where later runs reuse them."""
import hashlib
import pathlib
import shutil
import subprocess

from venv import alone

ROOT = pathlib.Path(__file__).resolve().parents[2]


def installed(source):
    """A folder with the packages of source/package.json and with source/send.js; made when absent.
    Raises CalledProcessError or OSError."""
    source = pathlib.Path(source)
    key = hashlib.sha256((source / "package.json").read_bytes()).hexdigest()[:12]
    folder = ROOT / "build" / f"node-{key}"
    with alone(folder):
        made(folder, source)
    return folder


def made(folder, source):
    if not (folder / ".complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shutil.copy(source / "package.json", folder)
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund",
                        "--no-package-lock"], cwd=folder, check=True)
        (folder / ".complete").touch()
    shutil.copy(source / "send.js", folder)
