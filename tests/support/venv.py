# SPDX-License-Identifier: Apache-2.0
"""Python packages of a suite, pinned, in a virtual environment under build/ that later runs reuse.

use("requirements.txt") runs the calling script again inside it. The folder's name carries a hash of
the list, so that a changed list makes a new one, and it appears whole or not at all.
"""
import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def python_for(requirements):
    """The interpreter of the environment; made when absent. Raises CalledProcessError."""
    text = pathlib.Path(requirements).read_text()
    key = hashlib.sha256((sys.version + text).encode()).hexdigest()[:12]
    folder = ROOT / "build" / f"venv-{key}"
    python = folder / "bin" / "python"
    with alone(folder):
        made(folder, python, requirements)
    return str(python)


@contextlib.contextmanager
def alone(folder):
    """Suites that run at once make a folder one after the other."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def made(folder, python, requirements):
    if not (folder / ".complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--no-input",
                        "--disable-pip-version-check", "-r", str(requirements)], check=True)
        (folder / ".complete").touch()


def use(requirements):
    """Returns inside the environment; outside it replaces this process with a run inside."""
    requirements = pathlib.Path(sys.argv[0]).resolve().parent / requirements
    if os.environ.get("VIVACE_TEST_VENV") == str(requirements):
        return
    try:
        python = python_for(requirements)
    except (subprocess.CalledProcessError, OSError) as e:
        print(f"packages of {requirements.name} cannot be installed: {e}")
        print("0 passed, 1 failed")
        sys.exit(1)
    os.environ["VIVACE_TEST_VENV"] = str(requirements)
    os.execv(python, [python, *sys.argv])
