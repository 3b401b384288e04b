# SPDX-License-Identifier: Apache-2.0
"""How long a process takes to end, by its own doing: on a busy machine a clock on the wall judges the
neighbours.

own = what passed - what the machine kept it waiting. The kernel says how long each thread stood in line
for a CPU (`schedstat`), and whether one waits for the disk (state D); the longest line of an interval is taken
from it, and from the last one the time by which this process itself came late to see the end. What is
left is work, and waiting for a timer, a lock or a client: all that a program decides by itself. Without
load that is what the clock says, but for the disk, which only the limit of `wait` bounds.
"""
import os
import subprocess
import time

LOOK_SECONDS = 0.01


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


class OwnTime:
    """Of one process, from now on. The kernel adds to a thread's time in line when the thread gets its CPU: each
    growth is the stretch before that look, and stretches of several threads count once."""

    def __init__(self, pid):
        self.folder = f"/proc/{pid}/task"
        self.held = []  # [(from, to)] in which the machine kept it waiting
        self.began = self.at = time.monotonic()
        self.lines, _ = self._threads()
        self.late = _line("/proc/thread-self/schedstat")

    def _threads(self):
        """({thread: seconds in line}, one waits for the disk)."""
        lines, disk = {}, False
        try:
            names = os.listdir(self.folder)
        except OSError:
            names = []
        for name in names:
            stat = _read(f"{self.folder}/{name}/stat")
            disk = disk or stat.rpartition(b")")[2][1:2] == b"D"
            lines[name] = _line(f"{self.folder}/{name}/schedstat")
        return lines, disk

    def look(self, last=False):
        lines, disk = self._threads()
        late, now = _line("/proc/thread-self/schedstat"), time.monotonic()
        held = max((s - self.lines.get(t, s) for t, s in lines.items()), default=0)
        if last:
            held = max(held, late - self.late)
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
