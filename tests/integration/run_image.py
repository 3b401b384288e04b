#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What docker/Dockerfile takes for granted, without a container engine: that the tree without what .dockerignore names can be
configured with its options, that its packages are enough to build, and that those of the second stage hold every library the
program is linked with.
"""
import fnmatch
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from checks import Checks  # noqa: E402

TOP = pathlib.Path(__file__).resolve().parents[2]
VIVACE = pathlib.Path(os.environ.get("VIVACE", TOP / "build" / "vivace"))
STAGES = (TOP / "docker" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").split("\nFROM ")[1:]
# What every Debian has, and what others of the packages bring; meson and ninja are known to the build alone.
GIVEN = {"libc6", "libgcc-s1", "libstdc++6"}
TOOLS = {"build-essential", "python3-minimal"}
FOR_TESTS = {"gcc", "g++", "libc6-dev", "libcmocka-dev"}  # of scripts/bootstrap; build-essential has the first three
c = Checks()


def packages(stage):
    return set(re.search(r"--no-install-recommends\s+([^&]*)", STAGES[stage]).group(1).split())


def context(to):
    """The build's context: what git tracks (or would), less .dockerignore."""
    ignored = (TOP / ".dockerignore").read_text(encoding="utf-8").split()
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=TOP, capture_output=True, check=True)
    for name in listed.stdout.decode().split("\0")[:-1]:
        if (TOP / name).is_file() and not any(fnmatch.fnmatch(name.split("/")[0], i) for i in ignored):
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TOP / name, to / name)


def configured():
    with tempfile.TemporaryDirectory(prefix="vivace-image-") as folder:
        source = pathlib.Path(folder) / "src"
        context(source)
        options = re.search(r"meson setup /build ([^&]*)", STAGES[0]).group(1).split()
        done = subprocess.run(["meson", "setup", folder + "/build", *options], cwd=source, capture_output=True, text=True, check=False)
        c.check("meson setup", done.returncode == 0, done.stdout[-600:])
        for name in re.findall(r"^COPY ((?!--)\S+) \S+$", STAGES[1], re.M):
            c.check(f"{name} is in the context", (source / name).is_file())


def to_build():
    text = (TOP / "scripts" / "bootstrap").read_text(encoding="utf-8")
    needed = set(re.search(r'^BUILD="([^"]*)"', text, re.M).group(1).split())
    c.equal("packages to build", sorted(packages(0) - TOOLS), sorted(needed - FOR_TESTS))


def to_run():
    needed = re.findall(r"\(NEEDED\).*\[(\S+)\]", subprocess.run(["readelf", "-d", VIVACE], capture_output=True, text=True, check=True).stdout)
    c.check("libraries", len(needed) > 10, needed)
    for library in needed:
        if library.startswith(("ld-linux", "libasan", "libubsan", "libtsan")):  # a sanitizer is not in the image
            continue
        found = subprocess.run(["dpkg-query", "-S", f"*/{library}"], capture_output=True, text=True, check=False).stdout
        owners = {line.split(":")[0] for line in found.splitlines()}
        c.check(f"{library} is in the image", owners & (packages(1) | GIVEN), f"packages: {sorted(owners)}")


c.run("configured", configured)
c.run("packages to build", to_build)
c.run("packages to run", to_run)
c.finish()
