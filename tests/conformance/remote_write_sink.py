#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A Prometheus remote-write endpoint that remembers what it was sent.

    remote_write_sink.py --port 9201 [--refuse 503,503]

    POST /anything     takes a remote-write request (protocol 1.0: protobuf in a snappy block)
    GET /series        everything remembered, as JSON
    DELETE /series     forgets it

For each series it keeps the first and last sample, how many there were and the longest gap between two (ms), every exemplar, and the last native histogram;
beside them the distinct sets of request headers, and every breach of the wire format as a 'problem'.
--refuse answers the first requests with the given statuses and forgets their content.
Needs Python 3.9 or later and nothing else. Sink(...) is the same thing inside another program.
"""

import argparse, http.server, json, struct, sys, threading, time

FIXED_HEADERS = {
    "content-type": "application/x-protobuf",
    "content-encoding": "snappy",
    "x-prometheus-remote-write-version": "0.1.0",
}
UNINTERESTING = {"host", "content-length", "connection", "accept", "accept-encoding", "expect"}


def varint(b, i):
    n = shift = 0
    while True:
        c = b[i]
        i += 1
        n |= (c & 127) << shift
        shift += 7
        if c < 128:
            return n, i


def unsnappy(b):
    """Decodes a snappy block (not the framed format)."""
    size, i = varint(b, 0)
    out = bytearray()
    while i < len(b):
        tag = b[i]
        i += 1
        if tag & 3 == 0:  # literal
            n = tag >> 2
            if n >= 60:
                n, i = int.from_bytes(b[i : i + n - 59], "little"), i + n - 59
            out += b[i : i + n + 1]
            i += n + 1
            continue
        if tag & 3 == 1:
            n, back, i = (tag >> 2 & 7) + 4, (tag >> 5) << 8 | b[i], i + 1
        else:
            w = 2 if tag & 3 == 2 else 4
            n, back, i = (tag >> 2) + 1, int.from_bytes(b[i : i + w], "little"), i + w
        if not 0 < back <= len(out):
            raise ValueError("snappy copy reaches before the start")
        while n > 0:  # source and target may overlap
            piece = out[len(out) - back :][:n]
            out += piece
            n -= len(piece)
    if len(out) != size:
        raise ValueError(f"snappy block has {len(out)} bytes, announces {size}")
    return bytes(out)


def fields(b):
    """Yields (number, value) of a protobuf message; values are int or bytes, 8-byte ones are doubles."""
    i = 0
    while i < len(b):
        tag, i = varint(b, i)
        wire = tag & 7
        if wire == 0:
            v, i = varint(b, i)
        elif wire == 1:
            v, i = struct.unpack_from("<d", b, i)[0], i + 8
        elif wire == 2:
            n, i = varint(b, i)
            v, i = b[i : i + n], i + n
            if len(v) != n:
                raise ValueError("protobuf field is cut short")
        else:
            raise ValueError(f"protobuf wire type {wire}")
        yield tag >> 3, v


def signed(n):
    return n - (1 << 64) if n >> 63 else n


def zigzag(n):
    return (n >> 1) ^ -(n & 1)


def text(b):
    return b.decode("utf-8", "surrogateescape")


def packed(b):
    out, i = [], 0
    while i < len(b):
        n, i = varint(b, i)
        out.append(zigzag(n))
    return out


def label(b):
    d = dict(fields(b))
    return text(d.get(1, b"")), text(d.get(2, b""))


def histogram(b):
    h = {"spans": [], "deltas": [], "negative": False}
    for k, v in fields(b):
        if k == 1:
            h["count"] = v
        elif k == 2:
            h["count"] = v
            h["float"] = True
        elif k == 3:
            h["sum"] = v
        elif k == 4:
            h["schema"] = zigzag(v)
        elif k == 5:
            h["zero_threshold"] = v
        elif k in (6, 7):
            h["zero_count"] = v
        elif k in (8, 9, 10):
            h["negative"] = True
        elif k == 11:
            d = dict(fields(v))
            h["spans"].append([zigzag(d.get(1, 0)), d.get(2, 0)])
        elif k == 12:
            h["deltas"] += packed(v)
        elif k == 15:
            h["t"] = signed(v)
    return h


class Store:
    def __init__(self):
        self.lock, self.refuse = threading.Lock(), []
        self.clear()

    def clear(self):
        self.series, self.headers, self.problems, self.requests, self.refused = {}, {}, {}, 0, 0
        self.known = {}  # encoded labels -> decoded labels

    def problem(self, what):
        self.problems[what] = self.problems.get(what, 0) + 1

    def labels_of(self, encoded):
        got = self.known.get(encoded)
        if got is None:
            got = self.known[encoded] = [label(b) for b in encoded]
            names = [n.encode("utf-8", "surrogateescape") for n, _ in got]
            if names != sorted(set(names)):
                self.problem("labels are not sorted or not unique: " + ",".join(n for n, _ in got))
            if b"__name__" not in names:
                self.problem("a series without __name__")
            for n, v in got:
                if not n or not v:
                    self.problem(f"empty label name or value: {n}={v}")
        return got

    def entry(self, tenant, b):
        """Takes one TimeSeries message."""
        labels, samples, exemplars, histograms = [], [], [], []
        for k, v in fields(b):
            (
                labels
                if k == 1
                else samples if k == 2 else exemplars if k == 3 else histograms if k == 4 else []
            ).append(v)
        if len(samples) + len(exemplars) + len(histograms) != 1:
            self.problem("an entry has not exactly one sample, exemplar or histogram")
        labels = self.labels_of(tuple(labels))
        s = self.series.setdefault(
            (tenant, tuple(labels)),
            {
                "tenant": tenant,
                "labels": dict(labels),
                "samples": 0,
                "first": None,
                "last": None,
                "longest_gap": 0,
                "exemplars": [],
                "histogram": None,
            },
        )
        now = time.time() * 1000
        for x in samples:
            d = dict(fields(x))
            p = [d.get(1, 0.0), signed(d.get(2, 0))]
            if s["last"] and p[1] < s["last"][1]:
                self.problem("samples of a series come out of order")
            if s["last"] and p == s["last"]:
                self.problem("a sample comes twice")
            if abs(p[1] - now) > 600_000:
                self.problem(
                    "a sample's time is more than ten minutes off (milliseconds are wanted)"
                )
            if s["samples"] > 1 or s["last"] and s["last"][0]:
                s["longest_gap"] = max(
                    s["longest_gap"], p[1] - s["last"][1]
                )  # not after a zero at the start
            s["first"] = s["first"] or p
            s["last"] = p
            s["samples"] += 1
        for x in exemplars:
            e = {"labels": {}, "value": 0.0, "t": 0}
            for k, v in fields(x):
                if k == 1:
                    n, w = label(v)
                    e["labels"][n] = w
                elif k == 2:
                    e["value"] = v
                elif k == 3:
                    e["t"] = signed(v)
            if e in s["exemplars"]:
                self.problem("an exemplar comes twice")
            s["exemplars"].append(e)
        for x in histograms:
            h = histogram(x)
            if s["histogram"] and h.get("t", 0) < s["histogram"].get("t", 0):
                self.problem("histograms of a series come out of order")
            s["histogram"] = h

    def write(self, headers, body):
        low = {k.lower(): v for k, v in headers.items()}
        with self.lock:
            self.requests += 1
            kept = tuple(sorted((k, v) for k, v in low.items() if k not in UNINTERESTING))
            self.headers[kept] = self.headers.get(kept, 0) + 1
            if self.refuse:
                self.refused += 1
                return self.refuse.pop(0)
            for k, v in FIXED_HEADERS.items():
                if low.get(k) != v:
                    self.problem(f"header {k} is {low.get(k)!r}, not {v!r}")
            if "user-agent" not in low:
                self.problem("no User-Agent header")
            try:
                for k, v in fields(unsnappy(body)):
                    if k == 1:
                        self.entry(low.get("x-scope-orgid", ""), v)
            except (ValueError, IndexError, struct.error, TypeError) as e:
                self.problem(f"unreadable request: {type(e).__name__}: {e}")
                return 400
            return 204

    def dump(self):
        with self.lock:
            return {
                "requests": self.requests,
                "refused": self.refused,
                "problems": dict(self.problems),
                "headers": [{"headers": dict(k), "requests": n} for k, n in self.headers.items()],
                "series": [dict(s, exemplars=list(s["exemplars"])) for s in self.series.values()],
            }


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *a):
        pass

    def answer(self, status, body=b""):
        self.send_response(status)
        if body:
            self.send_header("Content-Type", "application/json")
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.answer(self.server.store.write(dict(self.headers.items()), body))

    def do_GET(self):
        if self.path.split("?")[0] != "/series":
            return self.answer(404)
        self.answer(200, json.dumps(self.server.store.dump(), ensure_ascii=True).encode())

    def do_DELETE(self):
        with self.server.store.lock:
            self.server.store.clear()
        self.answer(204)


class Sink:
    """A sink on its own threads. `refuse` holds the statuses of its first answers."""

    def __init__(self, port=0, refuse=()):
        http.server.ThreadingHTTPServer.daemon_threads = True
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.store = self.http.store = Store()
        self.store.refuse = list(refuse)
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def dump(self):
        return self.store.dump()

    def close(self):
        self.http.shutdown()
        self.http.server_close()


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--port", type=int, default=9201)
    p.add_argument("--refuse", default="", help="statuses of the first answers, comma separated")
    a = p.parse_args()
    s = Sink(a.port, [int(x) for x in a.refuse.split(",") if x])
    print(f"listening on 127.0.0.1:{s.port}", flush=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        s.close()


if __name__ == "__main__":
    sys.exit(main())
