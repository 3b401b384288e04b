# SPDX-License-Identifier: Apache-2.0
"""A gRPC client that can misbehave: one HTTP/2 connection by the h2 package, frames made by hand.

Needs the h2 package, so it is imported only inside a suite's environment.
"""
import base64
import socket
import struct

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import hpack

import h2_frames
from otlp import fields

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class GrpcAnswer:
    def __init__(self):
        self.headers, self.trailers, self.body = {}, {}, b""
        self.reset = None   # error code of RST_STREAM
        self.gone = False   # GOAWAY or the connection closed

    def field(self, name):
        return self.trailers.get(name, self.headers.get(name))

    @property
    def http(self):
        return int(self.headers.get(":status", 0))

    @property
    def code(self):
        value = self.field("grpc-status")
        return None if value is None else int(value)

    @property
    def message(self):
        return self.field("grpc-message") or ""

    def messages(self):
        out, data = [], self.body
        while len(data) >= 5:
            size = struct.unpack(">I", data[1:5])[0]
            out.append(data[5:5 + size])
            data = data[5 + size:]
        return out

    def retry_delay(self):
        """Seconds of the RetryInfo in grpc-status-details-bin, or None."""
        text = self.field("grpc-status-details-bin")
        if not text:
            return None
        status = fields(base64.b64decode(text + "=" * (-len(text) % 4)))
        for item in status.get(3, []):
            detail = fields(item)
            if detail[1][0] == b"type.googleapis.com/google.rpc.RetryInfo":
                return fields(fields(detail[2][0])[1][0]).get(1, [0])[0]
        return None

    def __repr__(self):
        return (f"HTTP {self.http} grpc {self.code} {self.message!r} body {self.body[:60]!r} "
                f"reset {self.reset} gone {self.gone}")


def frame(payload, compressed=False):
    return struct.pack(">BI", int(compressed), len(payload)) + payload


class Connection:
    def __init__(self, port, ssl_context=None, timeout=20):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        if ssl_context is not None:
            self.socket = ssl_context.wrap_socket(self.socket, server_hostname="localhost")
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(
            header_encoding="utf-8", validate_outbound_headers=False,
            normalize_outbound_headers=False))
        self.h2.initiate_connection()
        self.answers = {}
        self.gone = False
        self.flush()

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            self.socket.sendall(data)

    def open(self, path=EXPORT, headers=(), content_type="application/grpc", method="POST"):
        stream = self.h2.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "http"), (":path", path),
                (":authority", "localhost"), ("te", "trailers")]
        if content_type:
            head.append(("content-type", content_type))
        self.h2.send_headers(stream, head + list(headers))
        self.answers[stream] = GrpcAnswer()
        self.flush()
        return stream

    def send(self, stream, data, end=True):
        """Sends within the flow-control windows; stops early when the server has ended the stream."""
        at = 0
        while at < len(data):
            if self.ended(stream):
                return
            n = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size,
                    len(data) - at)
            if n <= 0:
                self.read()
                continue
            try:
                self.h2.send_data(stream, data[at:at + n])
                at += n
                self.flush()
            except (h2.exceptions.StreamClosedError, OSError):
                return
        if end and not self.ended(stream):
            self.h2.end_stream(stream)
            self.flush()

    def ended(self, stream):
        a = self.answers[stream]
        return a.reset is not None or self.gone or getattr(a, "ended", False)

    def read(self):
        data = self.socket.recv(65536)
        if not data:
            self.gone = True
            return
        for event in self.h2.receive_data(data):
            answer = self.answers.get(getattr(event, "stream_id", None))
            if isinstance(event, h2.events.ResponseReceived):
                answer.headers = {k: v for k, v in event.headers}
            elif isinstance(event, h2.events.TrailersReceived):
                answer.trailers = {k: v for k, v in event.headers}
            elif isinstance(event, h2.events.DataReceived):
                answer.body += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                answer.ended = True
            elif isinstance(event, h2.events.StreamReset):
                if answer is not None:
                    answer.reset = event.error_code
            elif isinstance(event, h2.events.ConnectionTerminated):
                self.gone = True
        self.flush()

    def finish(self, stream):
        while not self.ended(stream):
            self.read()
        answer = self.answers.pop(stream)
        answer.gone = self.gone
        return answer

    def call(self, payload, path=EXPORT, headers=(), encoding=None, raw=None,
             content_type="application/grpc"):
        """One unary call; raw replaces the framed payload."""
        head = list(headers) + ([("grpc-encoding", encoding)] if encoding else [])
        stream = self.open(path, head, content_type)
        self.send(stream, raw if raw is not None else frame(payload, encoding not in
                                                            (None, "identity")))
        return self.finish(stream)

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Many:
    """Calls with an empty message on one connection, as many at once as it may have, read in pieces of `chunk` bytes.

    WHY not grpcio: its channel (1.85) forgets calls that wait for a free stream when answers come in one
    burst, all of them answered and the connection at rest, until a deadline wakes it.
    """

    def __init__(self, port, path, at_once=100, chunk=65536, timeout=20):
        self.wire = h2_frames.Wire(port, timeout=timeout)
        self.head, self.at_once, self.chunk = h2_frames.request(path.encode()), at_once, chunk
        self.decoder = hpack.Decoder()
        self.stream, self.live, self.unacknowledged = 1, 0, 0
        self.codes = {}  # grpc-status or "reset": how often

    def fill(self, n):
        """Opens what fits; returns how many are left to be opened."""
        out = b""
        while self.live < self.at_once and n:
            out += h2_frames.frame(h2_frames.HEADERS, h2_frames.END_HEADERS, self.stream, self.head)
            out += h2_frames.frame(h2_frames.DATA, h2_frames.END_STREAM, self.stream, frame(b""))
            self.stream += 2
            self.live += 1
            n -= 1
        self.wire.s.sendall(out)
        return n

    def ended(self, code):
        self.codes[code] = self.codes.get(code, 0) + 1
        self.live -= 1

    def take(self, kind, flags, payload):
        if kind == h2_frames.SETTINGS and not flags & h2_frames.ACK:
            self.wire.s.sendall(h2_frames.frame(h2_frames.SETTINGS, h2_frames.ACK))
        elif kind == h2_frames.DATA:
            self.unacknowledged += len(payload)
            if self.unacknowledged > 1 << 14:
                self.wire.s.sendall(h2_frames.frame(h2_frames.WINDOW_UPDATE, 0, 0, struct.pack(">I", self.unacknowledged)))
                self.unacknowledged = 0
        elif kind == h2_frames.HEADERS:
            fields_ = dict(self.decoder.decode(payload))
            if flags & h2_frames.END_STREAM:
                self.ended(int(fields_["grpc-status"]))
        elif kind == h2_frames.RST_STREAM:
            self.ended("reset")
        elif kind == h2_frames.GOAWAY:
            raise ConnectionError(f"GOAWAY {payload!r}")

    def call(self, n):
        """{status: count} of n calls. TimeoutError when the server falls silent, ConnectionError when it ends."""
        data, left = b"", self.fill(n)
        while self.live:
            more = self.wire.s.recv(self.chunk)
            if not more:
                raise ConnectionError(f"closed after {self.codes}")
            data += more
            while len(data) >= 9 and len(data) >= 9 + int.from_bytes(data[:3], "big"):
                size = 9 + int.from_bytes(data[:3], "big")
                self.take(data[3], data[4], data[9:size])
                data = data[size:]
            left = self.fill(left)
        return self.codes

    def close(self):
        self.wire.close()


def export(server, payload, **options):
    """One Export call on its own connection."""
    with Connection(server.otlp_grpc) as c:
        return c.call(payload, **options)
