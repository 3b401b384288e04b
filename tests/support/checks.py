# SPDX-License-Identifier: Apache-2.0
"""Counting for suites that are plain scripts: check() one fact, case() a group that may raise,
finish() prints the closing line that scripts/test reads."""
import contextlib
import os
import re
import sys
import traceback


class Checks:
    def __init__(self, only=None):
        self.passed = 0
        self.failed = 0
        self.where = ""
        self.only = re.compile(only or os.environ.get("ONLY", ""))

    def check(self, name, ok, detail=""):
        if ok:
            self.passed += 1
        else:
            self.failed += 1
            label = f"{self.where}: {name}" if self.where else name
            print(f"FAIL {label}" + (f"\n     {str(detail)[:1500]}" if detail != "" else ""),
                  flush=True)
        return bool(ok)

    def equal(self, name, got, want):
        return self.check(name, got == want, f"got {got!r}, want {want!r}")

    def contains(self, name, got, want):
        return self.check(name, want in got, f"got {got!r}, want a part {want!r}")

    @contextlib.contextmanager
    def case(self, name):
        """What is raised inside counts as one failure and does not end the run."""
        outer, self.where = self.where, name
        try:
            yield
        except Exception as e:  # pylint: disable=broad-except
            frame = traceback.extract_tb(e.__traceback__)[-1]
            self.check("raised", False, f"{type(e).__name__}: {e} ({frame.name}:{frame.lineno})")
        finally:
            self.where = outer

    def run(self, name, function, *args):
        """function(*args) as a case, unless ONLY (a pattern) does not match its name."""
        if self.only.search(name):
            with self.case(name):
                function(*args)

    def finish(self):
        print(f"{self.passed} passed, {self.failed} failed")
        sys.exit(1 if self.failed or not self.passed else 0)
