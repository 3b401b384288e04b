# SPDX-License-Identifier: Apache-2.0
"""How long a process takes to end, by its own doing: on a busy machine a clock on the wall judges the
neighbours.

own = what passed - what the machine kept it waiting. The kernel says how long each thread stood in line
for a CPU (`schedstat`), whether one waits for the disk (state D), and how long a virtual machine was without one
of its CPUs (steal); the longest of an interval is taken from it, and from the last one the time by which this process
itself came late to see the end. What is
left is work, and waiting for a timer, a lock or a client: all that a program decides by itself. Without
load that is what the clock says, but for the disk, which only the limit of `wait` bounds.
"""
import os
import subprocess
import time

LOOK_SECONDS = 0.01
TICKS = os.sysconf("SC_CLK_TCK")


def _read(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError:  # the thread has ended meanwhile
        return b""


def _line(path):
    """Seconds that a thread was ready and no CPU was."""
    fields = _read(path).split()
    return int(fields[1]) / 1e9 if len(fields) == 3 else 0.0


def _stolen():
    """{CPU: seconds that the host gave it to others}."""
    rows = [line.split() for line in _read("/proc/stat").splitlines() if line.startswith(b"cpu") and line[3:4].isdigit()]
    return {row[0].decode(): int(row[8]) / TICKS for row in rows}


class OwnTime:
    """Of one process, from now on. The kernel adds to a thread's time in line when the thread gets its CPU: each
    growth is the stretch before that look, and stretches of several threads count once."""

    def __init__(self, pid):
        self.folder = f"/proc/{pid}/task"
        self.held = []  # [(from, to)] in which the machine kept it waiting
        self.began = self.at = time.monotonic()
        self.lines, _, _ = self._threads()
        self.late = _line("/proc/thread-self/schedstat")

    def _threads(self):
        """({thread: seconds in line, CPU: seconds stolen}, one waits for the disk, no thread is left)."""
        lines, states = {}, set()
        try:
            names = os.listdir(self.folder)
        except OSError:
            names = []
        for name in names:
            stat = _read(f"{self.folder}/{name}/stat")
            states.add(stat.rpartition(b")")[2][1:2])
            lines[name] = _line(f"{self.folder}/{name}/schedstat")
        return lines | _stolen(), b"D" in states, states <= {b"", b"Z", b"X"}

    def look(self, last=False):
        lines, disk, gone = self._threads()
        late, now = _line("/proc/thread-self/schedstat"), time.monotonic()
        held = max((s - self.lines.get(t, s) for t, s in lines.items()), default=0)
        if last:
            held = max(held, late - self.late)
        if gone:  # it ended at some time since the last look, which was due LOOK_SECONDS after that
            held = max(held, now - self.at - 2 * LOOK_SECONDS)
        if disk:  # many short waits are met as often as they are long
            held = max(held, now - self.at)
        if held > 0:
            self.held.append((max(now - held, self.began), now))
        self.lines, self.late, self.at = lines, late, now

    def seconds(self):
        seconds, first = self.at - self.began, self.at
        for begin, end in reversed(self.held):  # by their ends, the last one first
            seconds -= max(min(end, first) - begin, 0)
            first = min(first, begin)
        return seconds


def wait(process, limit):
    """Waits for the end of a subprocess.Popen: (seconds by the clock, seconds of its own).
    subprocess.TimeoutExpired after `limit` seconds by the clock."""
    own = OwnTime(process.pid)
    while process.poll() is None:
        if own.at - own.began > limit:
            raise subprocess.TimeoutExpired(process.args, limit)
        time.sleep(LOOK_SECONDS)
        own.look()
    own.look(last=True)
    return own.at - own.began, own.seconds()
