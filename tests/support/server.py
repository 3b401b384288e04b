# SPDX-License-Identifier: Apache-2.0
"""A server process for the suites: started on a folder and ports of its own, stopped, killed, restarted.

The program is $VIVACE, else build/vivace. The configuration is a dict, merged over a small default
and written as JSON, which is YAML. Whatever the server prints goes to one log file; a sanitizer report,
a failed assertion or a wrong exit status in it is an error of the test that uses the server.
"""
import collections
import copy
import fcntl
import functools
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import own_time

ROOT = pathlib.Path(__file__).resolve().parents[2]
STOP_SECONDS = 2.0  # design promise: SIGTERM ends the process within this
READY_SECONDS = 5.0
PORTS = 10000, 32768  # Linux gives those from 32768 on to clients
DRAWN = collections.deque(maxlen=400)  # open files, locked; a lock ends with its file
FINDING = re.compile(r"ERROR: (Address|Leak|Memory|Thread)Sanitizer|WARNING: ThreadSanitizer|"
                     r"runtime error:|SUMMARY: \w+Sanitizer|ASSERT\w* failed|assertion .*failed|"
                     r"DEADLYSIGNAL")


class ServerError(Exception):
    """The server did something that no test expects: did not start, did not stop, or crashed."""


def program():
    return os.environ.get("VIVACE") or str(ROOT / "build" / "vivace")


@functools.cache
def sanitized():
    """True for an instrumented program: slower, so limits on time and memory are widened."""
    path = pathlib.Path(program())
    data = path.read_bytes() if path.is_file() else b""
    return b"__asan_init" in data or b"__tsan_init" in data


def patience():
    """What limits on time are multiplied with: VIVACE_PATIENCE, for a machine that is slow."""
    return float(os.environ.get("VIVACE_PATIENCE") or (5 if sanitized() else 1))


def port_taken(port):
    """Whether another drew it, in this process or in one beside it: a locked file says so while we live."""
    folder = pathlib.Path(tempfile.gettempdir()) / f"vivace-ports-{os.geteuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = open(folder / str(port), "wb")  # pylint: disable=consider-using-with # closed when there are many, or by the end
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return True
    DRAWN.append(lock)
    return False


def free_ports(n):
    """n ports that nobody else listens to, or has drawn and will. Not of those that the kernel gives to whoever connects:
    another suite's client would have taken one before the server listens."""
    out = []
    chosen = random.SystemRandom()
    while len(out) < n:
        port = chosen.randrange(*PORTS)
        if port_taken(port):
            continue
        with socket.socket() as s:
            try:
                s.bind(("", port))
                out.append(port)
            except OSError:
                pass
    return out


def merge(base, extra):
    """extra over base, block by block; neither is changed."""
    out = copy.deepcopy(base)
    for key, value in extra.items():
        if isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = merge(out[key], value)
        else:
            out[key] = copy.deepcopy(value)
    return out


class Server:
    """Use as a context manager: leaving it stops the server and raises on findings in the log."""

    def __init__(self, extra=None, env=None, folder=None, scheme="http", ssl_context=None):
        self.own_folder = folder is None
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="vivace-server-"))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.http_port, self.grpc_port, self.otlp_grpc, self.otlp_http = free_ports(4)
        self.scheme, self.ssl_context = scheme, ssl_context
        self.env = {**os.environ, **(env or {})}
        self.log_path = self.folder / "server.log"
        self.config = merge(self.default_config(), extra or {})
        self.process = None
        self.args, self.prefix = [], []  # further arguments; a command to run it under
        self.starts = 0
        self.expect_crash = False

    # ---- configuration ----

    def default_config(self):
        return {
            "server": {"http_listen_address": "127.0.0.1", "http_listen_port": self.http_port,
                       "grpc_listen_address": "127.0.0.1", "grpc_listen_port": self.grpc_port},
            "distributor": {"receivers": {"otlp": {"protocols": {
                "grpc": {"endpoint": f"127.0.0.1:{self.otlp_grpc}"},
                "http": {"endpoint": f"127.0.0.1:{self.otlp_http}"}}}}},
            "storage": {"trace": {"backend": "local",
                                  "local": {"path": str(self.folder / "blocks")},
                                  "wal": {"path": str(self.folder / "wal")}}},
        }

    @property
    def data_dir(self):
        return pathlib.Path(self.config["storage"]["trace"]["local"]["path"])

    @property
    def wal_dir(self):
        return pathlib.Path(self.config["storage"]["trace"]["wal"]["path"])

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.http_port}"

    @property
    def otlp_url(self):
        return f"{self.scheme}://127.0.0.1:{self.otlp_http}"

    @property
    def grpc_target(self):
        return f"127.0.0.1:{self.otlp_grpc}"

    @property
    def pid(self):
        return self.process.pid

    # ---- life ----

    def spawn(self):
        """Starts the process and does not wait."""
        if not os.access(program(), os.X_OK):
            raise ServerError(f"{program()}: no program; build it first")
        path = self.folder / "vivace.yaml"
        path.write_text(json.dumps(self.config, indent=1) + "\n")
        self.starts += 1
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([*self.prefix, program(), f"-config.file={path}", *self.args],
                                            stdout=log, stderr=log, env=self.env, cwd=self.folder)

    def start(self, ready=True, timeout=None):
        """Starts and waits for /ready; returns the seconds that this took, without those that the machine kept
        it waiting (own_time)."""
        self.spawn()
        return self.wait_ready(timeout) if ready else 0.0

    def wait_ready(self, timeout=None):
        own, limit = own_time.OwnTime(self.process.pid), timeout or READY_SECONDS * patience()
        while own.seconds() < limit and own.at - own.began < limit + 30:
            if self.process.poll() is not None:
                raise ServerError(f"exit {self.process.returncode} at start:\n{self.log_tail()}")
            if self.is_ready():
                own.look(last=True)
                return own.seconds()
            time.sleep(0.01)
            own.look()
        raise ServerError(f"not ready in time:\n{self.log_tail()}")

    def is_ready(self):
        try:
            with urllib.request.urlopen(self.url + "/ready", timeout=2,
                                        context=self.ssl_context) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def stop(self, limit=None):
        """SIGTERM; the exit status must be 0, within the promised time. Returns the seconds, without
        those that the machine kept it waiting (own_time)."""
        limit = limit or STOP_SECONDS * patience()
        self.process.send_signal(signal.SIGTERM)
        try:
            passed, seconds = own_time.wait(self.process, limit + 30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerError(f"did not stop:\n{self.log_tail()}") from None
        status = self.process.returncode
        if status != 0:
            raise ServerError(f"exit {status} after SIGTERM:\n{self.log_tail()}")
        if seconds > limit:
            raise ServerError(f"took {seconds:.2f} s to stop ({passed:.2f} by the clock), {limit} "
                              f"allowed:\n{self.log_tail()}")
        return seconds

    def kill(self):
        """SIGKILL, the crash that no code can prepare for."""
        self.process.kill()
        self.process.wait()

    def discard(self):
        """Removes the folder of a server that was never used as a context manager."""
        if self.alive():
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def restart(self, kill=False):
        if kill:
            self.kill()
        else:
            self.stop()
        return self.start()

    def alive(self):
        return self.process is not None and self.process.poll() is None

    # ---- what can be seen from outside ----

    def log_text(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_tail(self, lines=30):
        return "\n".join(self.log_text().splitlines()[-lines:])

    def findings(self):
        return [line for line in self.log_text().splitlines() if FINDING.search(line)]

    def memory_mib(self, key="VmRSS"):
        """VmRSS now or VmHWM, the peak."""
        with open(f"/proc/{self.pid}/status") as f:
            for line in f:
                if line.startswith(key):
                    return int(line.split()[1]) / 1024
        return 0.0

    def cpu_seconds(self):
        with open(f"/proc/{self.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def disk_bytes(self):
        """(WAL bytes, block bytes) by allocated size."""
        def used(folder, wanted):
            return sum(p.stat().st_blocks * 512 for p in folder.rglob("*")
                       if p.is_file() and wanted(p))
        blocks = used(self.data_dir, lambda p: True)
        return (used(self.wal_dir, lambda p: True) if self.wal_dir.exists() else 0), blocks

    def fsck(self):
        """(exit status, output) of the offline check; the server must not run."""
        done = subprocess.run([program(), "fsck", "-data", str(self.data_dir), "-wal",
                               str(self.wal_dir)], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def __enter__(self):
        if self.process is None:
            self.start()
        return self

    def __exit__(self, kind, value, trace):
        problems = []
        if self.process is not None:
            if self.alive():
                try:
                    self.stop()
                except ServerError as e:
                    problems.append(str(e))
            elif not self.expect_crash and self.process.returncode not in (0, -signal.SIGKILL):
                problems.append(f"server died with {self.process.returncode}:\n{self.log_tail()}")
        problems += self.findings()
        keep = os.environ.get("KEEP") or (problems and self.own_folder)
        if self.own_folder and not keep:
            shutil.rmtree(self.folder, ignore_errors=True)
        if problems:
            raise ServerError("\n".join(problems) + f"\nlog: {self.log_path}") from value
        return False
