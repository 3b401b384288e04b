# SPDX-License-Identifier: Apache-2.0
"""What was sent and what became of it. The contents of a request are a formula of (seed, number), so
the checker computes what it expects and keeps no copy.

A trace id says where it belongs: 4 bytes of seed, 8 of request number, 4 of index. Index 0 and up are
traces of one request alone; SHARED marks a trace that grows by one span with each request of a group.
Bodies are put together here by hand, field by field: a harness that spends its time in a general
encoder kills less often.
"""
import hashlib
import json
import struct
import threading
import time

SHARED = 0xffffffff
GROUP = 16  # consecutive requests of one sender that write into one shared trace
SENT, ACKED, REFUSED, UNKNOWN = "sent", "acked", "refused", "unknown"
OTLP, ZIPKIN = "otlp", "zipkin"
ZIPKIN_KINDS = {2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER"}
NUMBERS = struct.Struct(">QQ")


def make_trace_id(seed, number, index):
    return struct.pack(">IQI", seed & 0xffffffff, number, index).hex()


def parse_trace_id(text):
    """(seed, number, index); the API writes ids without leading zeros."""
    return struct.unpack(">IQI", bytes.fromhex(text.rjust(32, "0")))


def varint(n):
    out = bytearray()
    while n > 0x7f:
        out.append(n & 0x7f | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number, data):
    n = len(data)
    return bytes((number << 3 | 2, n)) + data if n < 0x80 else \
        bytes((number << 3 | 2,)) + varint(n) + data


def attribute(key, encoded):
    return field(9, field(1, key) + field(2, encoded))


class Span:
    """One span of the formula; `values` are its attributes without those of the request."""
    __slots__ = ("trace", "span", "name", "kind", "start", "end", "text", "flag", "ratio")


class Formula:
    """Everything about the contents of request `number` of a run; `base_ns` is when it was sent."""

    def __init__(self, seed):
        self.seed = seed
        self.key = NUMBERS.pack(seed & 2**64 - 1, 7)

    def digest(self, a, b, size):
        return hashlib.blake2b(NUMBERS.pack(a, b), digest_size=size, key=self.key).digest()

    def shared_trace(self, number):
        return make_trace_id(self.seed, number // GROUP * GROUP, SHARED)

    def traces(self, number):
        """{trace id: number of spans}; the last one is the shared trace."""
        d = self.digest(number, 0, 8)
        out = {make_trace_id(self.seed, number, i): 1 + d[1 + i] % 4 for i in range(1 + d[0] % 3)}
        out[self.shared_trace(number)] = 1
        return out

    def spans(self, number, base_ns):
        out = []
        for trace, n in self.traces(number).items():
            for i in range(n):
                out.append(self.span(number, trace, len(out), base_ns))
        return out

    def span(self, number, trace, at, base_ns):
        d = self.digest(number, 1 + at, 32)
        s = Span()
        s.trace, s.span, s.name = trace, (b"\x01" + d[:7]).hex(), f"op-{d[11] % 50}"
        s.kind = 2 + d[12] % 4
        s.start = (base_ns + number % 1000 * 1000 + at) // 1000 * 1000
        s.end = s.start + 1000 * (1 + struct.unpack_from(">H", d, 13)[0])
        size = struct.unpack_from(">H", d, 8)[0] % (20000 if d[10] == 0 else 200)
        s.text = d.hex() * (size // 64 + 1)
        s.flag, s.ratio = bool(d[17] & 1), d[18] / 8
        return s


def otlp_body(spans, number, cycle):
    """An ExportTraceServiceRequest."""
    tail = attribute(b"req", b"\x18" + varint(number)) + attribute(b"cycle", b"\x18" + varint(cycle))
    out = []
    for s in spans:
        out.append(field(2, b"".join((
            field(1, bytes.fromhex(s.trace)), field(2, bytes.fromhex(s.span)),
            field(5, s.name.encode()), b"\x30" + varint(s.kind),
            b"\x39" + struct.pack("<Q", s.start), b"\x41" + struct.pack("<Q", s.end),
            attribute(b"text", field(1, s.text.encode())),
            attribute(b"flag", b"\x10" + bytes((s.flag,))),
            attribute(b"ratio", b"\x21" + struct.pack("<d", s.ratio)), tail))))
    service = field(1, b"service.name") + field(2, field(1, f"svc-{number % 7}".encode()))
    return field(1, field(1, field(1, service)) + field(2, b"".join(out)))


def zipkin_body(spans, number, cycle):
    return json.dumps([{
        "traceId": s.trace, "id": s.span, "name": s.name, "kind": ZIPKIN_KINDS[s.kind],
        "timestamp": s.start // 1000, "duration": (s.end - s.start) // 1000,
        "localEndpoint": {"serviceName": f"svc-{number % 7}"},
        "tags": {"req": str(number), "cycle": str(cycle), "text": s.text, "flag": str(s.flag),
                 "ratio": str(s.ratio)}} for s in spans]).encode()


class Entry:
    """What the ledger knows of one request."""
    __slots__ = ("number", "tenant", "protocol", "cycle", "base_ns", "state")


class Ledger:
    """State of each request; written by the writers, read by the checker between cycles."""

    def __init__(self, seed):
        self.formula = Formula(seed)
        self.lock = threading.Lock()
        self.entries = {}   # number -> Entry; guarded by lock
        self.by_cycle = {}  # cycle -> [Entry]
        self.next = 0

    def group(self):
        """Numbers for one sender: a group shares a trace, so it has one tenant and one protocol."""
        with self.lock:
            first = self.next
            self.next += GROUP
            return iter(range(first, first + GROUP))

    def begin(self, number, tenant, protocol, cycle):
        e = Entry()
        e.number, e.tenant, e.protocol, e.cycle = number, tenant, protocol, cycle
        e.base_ns, e.state = time.time_ns() - 10**9, SENT
        with self.lock:
            self.entries[number] = e
            self.by_cycle.setdefault(cycle, []).append(e)
        return e

    def body(self, e):
        spans = self.formula.spans(e.number, e.base_ns)
        make = zipkin_body if e.protocol == ZIPKIN else otlp_body
        return make(spans, e.number, e.cycle)

    def of(self, cycle):
        return self.by_cycle.get(cycle, [])

    def close_cycle(self, cycle):
        """What never got an answer is unknown."""
        for e in self.of(cycle):
            if e.state == SENT:
                e.state = UNKNOWN

    def counts(self):
        out = {}
        for e in self.entries.values():
            out[e.state] = out.get(e.state, 0) + 1
        return out
