# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 frames by hand, for clients that break the rules on purpose. No library takes part. RFC 9113, RFC 7541."""
import socket
import struct
import time

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ENHANCE_YOUR_CALM = 11


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def text(prefix, name, value):
    """A literal header field, new name, never huffman coded; prefix 0x00: not indexed, 0x40: indexed."""
    def part(s):
        n = len(s)
        if n < 127:
            return bytes([n]) + s
        n -= 127
        out = b"\x7f"
        while n >= 128:
            out += bytes([n & 127 | 128])
            n >>= 7
        return out + bytes([n]) + s
    return bytes([prefix]) + part(name) + part(value)


def request(path=b"/opentelemetry.proto.collector.trace.v1.TraceService/Export", method=b"POST", grpc=True):
    """A header block of static and literal fields."""
    block = text(0, b":method", method) + text(0, b":scheme", b"http") + text(0, b":path", path) + text(0, b":authority", b"x")
    if grpc:
        block += text(0, b"te", b"trailers") + text(0, b"content-type", b"application/grpc")
    return block


class Wire:
    """A connection that has said hello. Reads only when asked to."""

    def __init__(self, port, settings=b"", timeout=10):
        self.s = socket.create_connection(("127.0.0.1", port), timeout)
        self.s.sendall(PREFACE + frame(SETTINGS, payload=settings))
        self.data = b""

    def send(self, data):
        """False: the server has ended the connection."""
        try:
            self.s.sendall(data)
            return True
        except OSError:
            return False

    def frames(self, seconds=5.0):
        """Yields (kind, flags, stream, payload) until the connection ends or the time is over."""
        end = time.monotonic() + seconds
        while True:
            while len(self.data) >= 9:
                n = int.from_bytes(self.data[:3], "big")
                if len(self.data) < 9 + n:
                    break
                head, body, self.data = self.data[:9], self.data[9:9 + n], self.data[9 + n:]
                yield head[3], head[4], int.from_bytes(head[5:9], "big") & 2**31 - 1, body
            left = end - time.monotonic()
            if left <= 0:
                return
            self.s.settimeout(left)
            try:
                more = self.s.recv(65536)
            except OSError:
                return
            if not more:
                return
            self.data += more

    def ended(self, seconds=5.0):
        """The error code of the GOAWAY, "closed" without one, None when it is still open after that time."""
        code = None
        for kind, _, _, body in self.frames(seconds):
            if kind == GOAWAY:
                code = int.from_bytes(body[4:8], "big")
        if code is not None:
            return code
        self.s.settimeout(0.2)
        try:
            return "closed" if self.s.recv(1) == b"" else None
        except ConnectionError:
            return "closed"
        except OSError:
            return None

    def close(self):
        self.s.close()
