# SPDX-License-Identifier: Apache-2.0
"""Adversarial shapes: what each sends, and what a server that took all of it must answer.

A shape yields request bodies (OTLP protobuf, written by hand) with the number of their spans; `answers(ask)` yields
(what, got, wanted). `scale` shrinks everything for the short form. Ids are formulas, so nothing needs to be remembered.
"""
import struct
import sys
import time
import pathlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "support"))
from otlp import field_64, field_int, field_len, field_text, varint  # noqa: E402

BATCH = 500
SECOND = 10**9


def text_attr(key, value):
    return field_len(9, field_text(1, key) + field_len(2, field_text(1, value)))


def int_attr(key, value):
    return field_len(9, field_text(1, key) + field_len(2, varint(3 << 3) + varint(value)))


def span(trace, number, name, start, end=None, attrs=b"", parent=0, rest=b""):
    """trace and number make the ids; number is never 0."""
    body = (b"\x0a\x10" + trace + b"\x12\x08" + struct.pack(">Q", number) +
            (b"\x22\x08" + struct.pack(">Q", parent) if parent else b"") + field_text(5, name) + field_int(6, 2) +
            field_64(7, start) + field_64(8, end if end is not None else start + 10**6) + attrs + rest)
    return b"\x12" + varint(len(body)) + body


def request(spans, service="shape"):
    resource = field_len(1, field_len(1, field_text(1, "service.name") + field_len(2, field_text(1, service))))
    return field_len(1, resource + field_len(2, b"".join(spans)))


def trace_id(n):
    return struct.pack(">QQ", 0xadde000000000000, n + 1)


class Shape:
    per_trace = 10  # spans of a trace where the shape does not care

    def __init__(self, scale, now=None):
        self.spans = max(int(self.full * scale), 1000)
        self.now = now or (time.time_ns() - 1800 * SECOND)

    def start(self, i):
        """Spread over ten minutes: metrics of the last hours see all of it."""
        return self.now + i * (600 * SECOND // self.spans)

    def bodies(self):
        for first in range(0, self.spans, BATCH):
            last = min(first + BATCH, self.spans)
            yield request([self.one(i) for i in range(first, last)]), last - first

    def one(self, i):
        return span(trace_id(i // self.per_trace), i + 1, f"op {i % 20}", self.start(i), attrs=self.attrs(i))

    def attrs(self, i):
        return int_attr("n", i)

    def probe(self):
        """A span that is asked for: neither the first nor the last."""
        return self.spans * 2 // 3

    def answers(self, ask):
        yield "all spans counted", ask.count("{ }"), self.spans
        i = self.probe()
        yield "one span by its number", ask.search_ids("{ span.n = %d }" % i), {trace_id(i // self.per_trace).hex()}
        yield "a trace by id", ask.trace_spans(trace_id(i // self.per_trace).hex()), self.trace_size(i // self.per_trace)

    def trace_size(self, trace):
        return min(self.per_trace, self.spans - trace * self.per_trace)


class ManyKeys(Shape):
    """10,000 distinct attribute keys, 20 of them on a span."""
    name, full, keys = "10,000 attribute keys", 200_000, 10_000

    def __init__(self, scale, now=None):
        super().__init__(scale, now)
        self.keys = max(int(self.keys * min(scale * 4, 1)), 1000)

    def attrs(self, i):
        first = i * 20
        return int_attr("n", i) + b"".join(text_attr("key.%d" % ((first + k) % self.keys), "v%d" % (i % 50)) for k in range(20))

    def answers(self, ask):
        yield from super().answers(ask)
        i = self.probe()
        key = i * 20 % self.keys
        wanted = sum(1 for j in range(self.spans) if (key - j * 20) % self.keys < 20)
        yield "spans with one key", ask.count("{ span.key.%d != nil }" % key), wanted
        yield "an absent key", ask.search_ids("{ span.key.absent = `x` }"), set()


class LongStrings(Shape):
    """Every span has a string of 2 KiB that no other has."""
    name, full = "unique strings of 2 KiB", 100_000

    def attrs(self, i):
        # Digits of a multiplicative sequence: unlike each other, and with the entropy of hexadecimal digits.
        x, out = i * 0x9E3779B97F4A7C15 & (2**64 - 1), []
        for _ in range(128):
            x = (x * 6364136223846793005 + 1442695040888963407) & (2**64 - 1)
            out.append("%016x" % x)
        return int_attr("n", i) + text_attr("blob", "".join(out)[:2048])

    def answers(self, ask):
        yield from super().answers(ask)
        i = self.probe()
        blob = self.attrs(i)[-2048:].decode()
        yield "a span by its string", ask.search_ids('{ span.blob = "%s" }' % blob), {trace_id(i // self.per_trace).hex()}
        yield "no span by another", ask.search_ids('{ span.blob = "%s" }' % ("z" + blob[1:])), set()


class OneTrace(Shape):
    """One trace of a million spans, a chain of depth 1,000 under a thousand children of the root."""
    name, full, per_trace = "one trace of a million spans", 1_000_000, 10**9

    def one(self, i):
        parent = 0 if i == 0 else 1 if i % 1000 == 0 or i < 1000 else i
        return span(trace_id(0), i + 1, f"op {i % 20}", self.start(i), attrs=self.attrs(i), parent=parent)

    def trace_size(self, trace):
        return self.spans

    def answers(self, ask):
        yield "all spans counted", ask.count("{ }"), self.spans
        i = self.probe()
        yield "one span by its number", ask.search_ids("{ span.n = %d }" % i), {trace_id(0).hex()}
        # As a whole, or in part and said to be: more than memory has room for is no answer to wait for.
        whole, status, n = ask.trace_v2(trace_id(0).hex())
        yield "the trace, or a good part that is said to be one", \
            n == self.spans if whole else (status, n > self.spans // 20), True if whole else ("PARTIAL", True)
        yield "its spans counted in a pipeline", ask.search_ids("{ } | count() = %d" % self.spans), {trace_id(0).hex()}
        yield "a structure", ask.search_ids("{ span.n = 0 } > { span.n = %d }" % min(2000, self.spans - self.spans % 1000 - 1000)), \
            {trace_id(0).hex()}


class ManyTraces(Shape):
    """A million traces of one span."""
    name, full, per_trace = "a million traces of one span", 1_000_000, 1


class ManyEvents(Shape):
    """Ten spans with 100,000 events each, among others with none. OpenTelemetry's SDKs keep 128 by default."""
    name, full = "100,000 events on a span", 2_000

    def __init__(self, scale, now=None):
        super().__init__(scale, now)
        self.spans = 2_000
        self.events = max(int(100_000 * scale), 1_000)

    def bodies(self):
        heavy = max(self.spans // 10, 1)
        for i in range(0, self.spans, heavy):
            yield request([self.one(i, self.events)]), 1
            yield request([self.one(j) for j in range(i + 1, i + heavy)]), heavy - 1

    def one(self, i, events=0):
        start = self.start(i)
        rest = b"".join(field_len(11, field_64(1, start + k) + field_text(2, "event %d" % (k % 7))) for k in range(events))
        return span(trace_id(i // self.per_trace), i + 1, f"op {i % 20}", start, attrs=self.attrs(i), rest=rest)

    def answers(self, ask):
        yield from super().answers(ask)
        yield "spans by an event", ask.count('{ event:name = "event 3" }'), 10
        yield "events of a span", ask.events(trace_id(0).hex()), self.events


class OddClocks(Shape):
    """Clocks of 1970 and 2262, ends before starts, zeros, among spans of now."""
    name, full = "clocks of 1970 and 2262", 200_000
    LAST = 2**63 - 1  # 2262-04-11

    def one(self, i):
        kind, start, end = i % 10, self.start(i), None
        if kind == 1:
            start = SECOND + i  # 1970
        elif kind == 2:
            start = self.LAST - 10**12 - i  # 2262
        elif kind == 3:
            start, end = 0, 0
        elif kind == 4:
            end = start - 5 * SECOND
        # One clock a trace: a whole trace is odd, or none of it.
        return span(trace_id(i // 100 * 10 + kind), i + 1, f"op {kind}", start, end, self.attrs(i))

    def answers(self, ask):
        i = self.probe() // 10 * 10
        for kind in range(5):
            trace = trace_id((i + kind) // 100 * 10 + kind).hex()
            yield f"kind {kind}: trace by id", ask.trace_spans(trace), 10
            yield f"kind {kind}: search", ask.search_ids("{ span.n = %d }" % (i + kind)), {trace}
        yield "spans of now", ask.count('{ name = "op 0" }'), self.spans // 10


class Late(Shape):
    """Spans that arrive up to 20 hours late, every request from another hour."""
    name, full = "spans hours late", 400_000

    def start(self, i):
        return self.now - (i // BATCH * 7 % 20) * 3600 * SECOND + i % BATCH * 1000


SHAPES = [ManyKeys, LongStrings, OneTrace, ManyTraces, ManyEvents, OddClocks, Late]
