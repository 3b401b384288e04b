# SPDX-License-Identifier: Apache-2.0
"""What was sent and what became of it. The contents of a request are a formula of (seed, number), so
the checker computes what it expects and keeps no copy.

A trace id says where it belongs: 4 bytes of seed, 8 of request number, 4 of index. Index 0 and up are
traces of one request alone; SHARED marks a trace that grows by one span with each request of a group.
"""
import hashlib
import struct
import threading

from otlp import attrs, request

SHARED = 0xffffffff
GROUP = 16  # consecutive requests of one tenant that write into one shared trace
SENT, ACKED, REFUSED, UNKNOWN = "sent", "acked", "refused", "unknown"


def digest(*parts):
    return hashlib.sha256(repr(parts).encode()).digest()


def make_trace_id(seed, number, index):
    return struct.pack(">IQI", seed & 0xffffffff, number, index).hex()


def parse_trace_id(text):
    """(seed, number, index); the API writes ids without leading zeros."""
    return struct.unpack(">IQI", bytes.fromhex(text.rjust(32, "0")))


class Formula:
    """Everything about request `number` of a run."""

    def __init__(self, seed, tenants, base_ns):
        self.seed, self.tenants, self.base_ns = seed, tenants, base_ns

    def tenant(self, number):
        return self.tenants[number // GROUP % len(self.tenants)]

    def shared_trace(self, number):
        return make_trace_id(self.seed, number // GROUP * GROUP, SHARED)

    def spans(self, number):
        """Deterministic; the last one is the step of the shared trace."""
        d = digest(self.seed, number)
        out = []
        traces = 1 + d[0] % 3
        for index in range(traces):
            for i in range(1 + d[1 + index] % 6):
                out.append(self.span(number, make_trace_id(self.seed, number, index), index, i))
        out.append(self.span(number, self.shared_trace(number), SHARED, 0))
        return out

    def span(self, number, trace, index, i):
        d = digest(self.seed, number, index, i)
        start = self.base_ns + number * 1000 + i
        size = struct.unpack(">H", d[8:10])[0] % (20000 if d[10] == 0 else 200)
        return {"traceId": trace, "spanId": (b"\x01" + d[:7]).hex(), "name": f"op-{d[11] % 50}",
                "kind": d[12] % 6, "startTimeUnixNano": str(start),
                "endTimeUnixNano": str(start + 1 + struct.unpack(">I", d[13:17])[0]),
                "attributes": attrs({"req": number, "text": d.hex() * (size // 64 + 1),
                                     "flag": bool(d[17] & 1), "ratio": d[18] / 8})}

    def body(self, number, cycle):
        spans = self.spans(number)
        for s in spans:
            s["attributes"].append({"key": "cycle", "value": {"intValue": str(cycle)}})
        return request(spans, service=f"svc-{number % 7}")


class Ledger:
    """State of each request; written by the writers, read by the checker between cycles."""

    def __init__(self):
        self.lock = threading.Lock()
        self.state = {}  # number -> state; guarded by lock
        self.cycle = {}  # number -> cycle in which it was sent
        self.next = 0

    def begin(self, cycle):
        with self.lock:
            number = self.next
            self.next += 1
            self.state[number] = SENT
            self.cycle[number] = cycle
            return number

    def end(self, number, state):
        with self.lock:
            self.state[number] = state

    def close_cycle(self):
        """What never got an answer is unknown."""
        with self.lock:
            for number, state in self.state.items():
                if state == SENT:
                    self.state[number] = UNKNOWN

    def counts(self):
        with self.lock:
            out = {}
            for state in self.state.values():
                out[state] = out.get(state, 0) + 1
            return out
