# SPDX-License-Identifier: Apache-2.0
"""Many small requests over one kept connection, and answers in the form of the evaluator."""
import json
import socket
import urllib.parse


class Client:
    """Requests are sent in runs and answered in order (HTTP pipelining)."""

    RUN = 16

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = self.socket.makefile("rb", 1 << 16)

    def close(self):
        self.reader.close()
        self.socket.close()

    def send(self, method, path, tenant, body=b"", kind="application/x-protobuf", agent="oracle"):
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nX-Scope-OrgID: {tenant}\r\n"
        head += f"User-Agent: {agent}\r\n"
        if method == "POST":
            head += f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        self.socket.sendall(head.encode() + b"\r\n" + body)

    def receive(self):
        status = int(self.reader.readline().split()[1])
        length, chunked = 0, False
        while True:
            line = self.reader.readline().strip().lower()
            if not line:
                break
            name, _, value = line.partition(b":")
            if name == b"content-length":
                length = int(value)
            elif name == b"transfer-encoding":
                chunked = b"chunked" in value
        if not chunked:
            return status, self.reader.read(length)
        body = b""
        while True:
            n = int(self.reader.readline(), 16)
            body += self.reader.read(n)
            self.reader.readline()
            if n == 0:
                return status, body

    def ask(self, requests, tenant):
        """One answer (status, bytes) for each (path, user agent)."""
        out = []
        for i in range(0, len(requests), self.RUN):
            run = requests[i:i + self.RUN]
            for p, agent in run:
                self.send("GET", p, tenant, agent=agent)
            out += [self.receive() for _ in run]
        return out


def path(endpoint, **params):
    return f"/api/{endpoint}?" + urllib.parse.urlencode(params)


def number(x):
    return float(x) if isinstance(x, (str, float)) else x


def value(v):
    """An AnyValue as (member, value)."""
    if "stringValue" in v:
        return ("stringValue", v["stringValue"])
    if "intValue" in v:
        return ("intValue", int(v["intValue"]))
    if "doubleValue" in v:
        x = float(v["doubleValue"])
        return ("doubleValue", x if x == x else "NaN")
    if "boolValue" in v:
        return ("boolValue", v["boolValue"])
    if "arrayValue" in v:
        return ("arrayValue", tuple(value(e) for e in v["arrayValue"].get("values", [])))
    return ("other", repr(v))


def attrs(items):
    return [(a["key"], value(a.get("value") or {})) for a in items or []]


def search_answer(body):
    out = []
    for t in json.loads(body)["traces"]:
        out.append({
            "id": t["traceID"], "service": t.get("rootServiceName", ""),
            "root": t.get("rootTraceName", ""), "start": int(t.get("startTimeUnixNano", 0)),
            "ms": t.get("durationMs", 0),
            "services": {k: (v.get("spanCount", 0), v.get("errorCount", 0))
                         for k, v in t.get("serviceStats", {}).items()},
            "sets": [{"matched": s.get("matched", 0), "attrs": attrs(s.get("attributes")),
                      "spans": [{"id": x["spanID"], "name": x.get("name", ""),
                                 "start": int(x.get("startTimeUnixNano", 0)),
                                 "duration": int(x.get("durationNanos", 0)),
                                 "attrs": sorted(attrs(x.get("attributes")), key=repr)}
                                for x in s.get("spans", [])]} for s in t.get("spanSets", [])]})
    return out


def range_answer(body, times):
    """[(labels, value or None per bucket)]."""
    at, out = {t // 10**6: i for i, t in enumerate(times)}, []
    for s in json.loads(body).get("series", []):
        values = [None] * len(times)
        for x in s.get("samples", []):
            ms = int(x["timestampMs"])
            if ms not in at:
                return [("no bucket of the range", ms)]
            values[at[ms]] = number(x.get("value", 0.0))
        out.append((tuple(attrs(s["labels"])), values))
    return out


def instant_answer(body):
    return [(tuple(attrs(s["labels"])), [number(s.get("value", 0.0))])
            for s in json.loads(body).get("series", [])]
