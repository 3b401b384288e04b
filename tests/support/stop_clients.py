# SPDX-License-Identifier: Apache-2.0
"""Many OTLP clients in one thread that send without a pause until the server is gone, and what became of each request.

ACKED: the server said yes. REFUSED: it said no, or the client knows that it never saw the request (no connection, HTTP/2's
GOAWAY below the stream). UNKNOWN: the request was sent and nothing answered it. Each client has a connection of its own and
opens another one when it is told to; HTTP/2 is spoken by hand, one stream at a time.
"""
import asyncio
import os
import struct

from otlp import request, request_pb, span

ACKED, REFUSED, UNKNOWN = "acked", "refused", "unknown"
ANSWER_SECONDS = 20
GRPC_PATH = b"/opentelemetry.proto.collector.trace.v1.TraceService/Export"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, ACK = 1, 1


class Http:
    """One connection of HTTP/1.1."""

    def __init__(self, reader, writer):
        self.reader, self.writer, self.last = reader, writer, False

    def close(self):
        self.writer.close()

    async def export(self, body):
        self.writer.write(b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
                          b"Content-Length: %d\r\n\r\n" % len(body) + body)
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        self.last = b"connection: close" in head
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0]) if b"content-length:" in head else 0
        await self.reader.readexactly(length)
        return ACKED if head.split(b" ")[1] == b"200" else REFUSED


class Grpc:
    """One connection of HTTP/2. A message before the trailers is a yes: an error has trailers alone."""

    def __init__(self, reader, writer):
        self.reader, self.writer, self.last, self.stream, self.served = reader, writer, False, -1, 1 << 31
        self.answer, self.yes = None, False
        self.frame_out(SETTINGS, 0, 0, b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self.task = asyncio.create_task(self.read())

    def close(self):
        self.task.cancel()
        self.writer.close()

    def frame_out(self, kind, flags, stream, payload, before=b""):
        self.writer.write(before + struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload)

    @staticmethod
    def literal(name, value):
        return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value

    async def export(self, body):
        self.stream += 2
        if self.stream > self.served:
            return REFUSED
        fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", GRPC_PATH), (b":authority", b"x"),
                  (b"content-type", b"application/grpc"), (b"te", b"trailers")]
        self.frame_out(HEADERS, 4, self.stream, b"".join(self.literal(*f) for f in fields))
        self.frame_out(DATA, END_STREAM, self.stream, b"\0" + struct.pack(">I", len(body)) + body)
        self.yes, self.answer = False, asyncio.get_running_loop().create_future()
        return await self.answer

    def answered(self, outcome):
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(outcome)

    async def read(self):
        """Frames as they come, also between requests: a client that does not look cannot know."""
        try:
            while True:
                head = await self.reader.readexactly(9)
                payload = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
                self.frame_in(head[3], head[4], int.from_bytes(head[5:], "big"), payload)
        except (OSError, EOFError):
            self.last = True
            self.answered(UNKNOWN)

    def frame_in(self, kind, flags, stream, payload):
        if kind == SETTINGS and not flags & ACK:
            self.frame_out(SETTINGS, ACK, 0, b"")
        elif kind == PING and not flags & ACK:
            self.frame_out(PING, ACK, 0, payload)
        elif kind == GOAWAY:
            self.last, self.served = True, int.from_bytes(payload[:4], "big")
            if self.stream > self.served:
                self.answered(REFUSED)
        elif stream == self.stream and kind == DATA:
            self.yes = True
        elif stream == self.stream and kind == RST_STREAM:
            self.answered(REFUSED if payload == struct.pack(">I", 7) else UNKNOWN)  # REFUSED_STREAM
        elif stream == self.stream and kind == HEADERS and flags & END_STREAM:
            self.answered(ACKED if self.yes else REFUSED)


class Clients:
    """Use as: c = Clients(Http, port, 100); asyncio.run(c.run(stop)). After it, c.outcomes and c.acked (trace ids)."""

    def __init__(self, kind, port, n, spans=10):
        self.kind, self.port, self.n, self.spans = kind, port, n, spans
        self.outcomes = {ACKED: 0, REFUSED: 0, UNKNOWN: 0}
        self.acked, self.why, self.gone = [], [], False
        # Made once: a client that is slow to send would be slow to hear, too.
        spans = [span(trace="5a" * 16) for _ in range(self.spans)]
        self.body, self.trace = request_pb(request(spans)), b"\x5a" * 16

    async def one(self):
        conn = None
        while not self.gone:
            if conn is None:
                try:
                    conn = self.kind(*await asyncio.open_connection("127.0.0.1", self.port))
                except ConnectionRefusedError:
                    self.outcomes[REFUSED] += 1
                    await asyncio.sleep(0.05)
                    continue
                except OSError as e:  # nothing was sent
                    self.outcomes[REFUSED] += 1
                    self.why.append(repr(e))
                    await asyncio.sleep(0.05)
                    continue
            if conn.last or conn.reader.at_eof():  # as any client sees before it sends
                conn.close()
                conn = None
                continue
            trace = os.urandom(16)
            try:
                outcome = await asyncio.wait_for(conn.export(self.body.replace(self.trace, trace)), ANSWER_SECONDS)
            except (OSError, EOFError, asyncio.TimeoutError) as e:
                outcome, conn.last = UNKNOWN, True
                self.why.append(repr(e))
            self.outcomes[outcome] += 1
            if outcome == ACKED:
                self.acked.append(trace.hex())
            if outcome != ACKED:
                await asyncio.sleep(0.01)
        if conn is not None:
            conn.close()

    async def run(self, stop):
        """stop() is called in a thread once all are under way; the clients end after it."""
        tasks = [asyncio.create_task(self.one()) for _ in range(self.n)]
        await asyncio.sleep(1)
        result = await asyncio.to_thread(stop)
        self.gone = True
        await asyncio.gather(*tasks)
        return result
