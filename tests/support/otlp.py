# SPDX-License-Identifier: Apache-2.0
"""OTLP without a library: requests as dicts in OTLP/JSON shape, encoded to protobuf by hand, and HTTP.

Nothing of the program or of a generated decoder takes part, so a mistake in either shows. bytes are
{"bytesValue": base64}, ids are hex, as in OTLP/JSON.
"""
import base64
import http.client
import itertools
import json
import struct
import time
import urllib.parse

from server import patience

_serial = itertools.count(1)
_epoch = time.time_ns()


def trace_id(n=None):
    """A 16-byte id as hex; without n a new one that no earlier run of this second used."""
    if n is None:
        return f"{_epoch & (2**64 - 1):016x}{next(_serial):016x}"
    return f"{n:032x}"


def span_id(n=None):
    return f"{n if n is not None else next(_serial) + 2**48:016x}"


def now_ns():
    return time.time_ns()


# ---- protobuf, written by hand ----

def varint(n):
    n &= 2**64 - 1
    out = bytearray()
    while n > 0x7f:
        out.append(n & 0x7f | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def field_len(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def field_int(number, value):
    return varint(number << 3) + varint(value) if value else b""


def field_64(number, value):
    return varint(number << 3 | 1) + struct.pack("<Q", value) if value else b""


def field_32(number, value):
    return varint(number << 3 | 5) + struct.pack("<I", value) if value else b""


def field_text(number, text):
    data = text if isinstance(text, bytes) else (text or "").encode("utf-8", "surrogateescape")
    return field_len(number, data) if data else b""


def any_value(v):
    if "stringValue" in v:
        return field_len(1, v["stringValue"].encode("utf-8", "surrogateescape"))
    if "boolValue" in v:
        return varint(2 << 3) + varint(int(v["boolValue"]))
    if "intValue" in v:
        return varint(3 << 3) + varint(int(v["intValue"]))
    if "doubleValue" in v:
        return varint(4 << 3 | 1) + struct.pack("<d", float(v["doubleValue"]))
    if "arrayValue" in v:
        return field_len(5, b"".join(field_len(1, any_value(e)) for e in
                                     v["arrayValue"].get("values", [])))
    if "kvlistValue" in v:
        return field_len(6, attributes(1, v["kvlistValue"].get("values")))
    if "bytesValue" in v:
        return field_len(7, base64.b64decode(v["bytesValue"]))
    return b""


def attributes(number, items):
    return b"".join(field_len(number, field_text(1, kv["key"]) +
                              field_len(2, any_value(kv.get("value") or {}))) for kv in items or [])


def _event(e):
    return (field_64(1, int(e.get("timeUnixNano") or 0)) + field_text(2, e.get("name")) +
            attributes(3, e.get("attributes")) + field_int(4, e.get("droppedAttributesCount", 0)))


def _link(k):
    return (field_text(1, bytes.fromhex(k.get("traceId", ""))) +
            field_text(2, bytes.fromhex(k.get("spanId", ""))) + field_text(3, k.get("traceState")) +
            attributes(4, k.get("attributes")) + field_int(5, k.get("droppedAttributesCount", 0)) +
            field_32(6, k.get("flags", 0)))


def span_pb(s):
    status = s.get("status") or {}
    out = [field_text(1, bytes.fromhex(s.get("traceId", ""))),
           field_text(2, bytes.fromhex(s.get("spanId", ""))), field_text(3, s.get("traceState")),
           field_text(4, bytes.fromhex(s.get("parentSpanId", ""))), field_text(5, s.get("name")),
           field_int(6, s.get("kind", 0)), field_64(7, int(s.get("startTimeUnixNano") or 0)),
           field_64(8, int(s.get("endTimeUnixNano") or 0)), attributes(9, s.get("attributes")),
           field_int(10, s.get("droppedAttributesCount", 0))]
    out += [field_len(11, _event(e)) for e in s.get("events", [])]
    out.append(field_int(12, s.get("droppedEventsCount", 0)))
    out += [field_len(13, _link(k)) for k in s.get("links", [])]
    out.append(field_int(14, s.get("droppedLinksCount", 0)))
    if status:
        out.append(field_len(15, field_text(2, status.get("message")) +
                             field_int(3, status.get("code", 0))))
    out.append(field_32(16, s.get("flags", 0)))
    return b"".join(out)


def request_pb(request):
    """An ExportTraceServiceRequest (TracesData has the same shape)."""
    out = []
    for rs in request["resourceSpans"]:
        resource = rs.get("resource") or {}
        parts = [field_len(1, attributes(1, resource.get("attributes")) +
                           field_int(2, resource.get("droppedAttributesCount", 0)))]
        for ss in rs.get("scopeSpans", []):
            scope = ss.get("scope") or {}
            parts.append(field_len(2, field_len(
                1, field_text(1, scope.get("name")) + field_text(2, scope.get("version")) +
                attributes(3, scope.get("attributes")) +
                field_int(4, scope.get("droppedAttributesCount", 0))) +
                b"".join(field_len(2, span_pb(s)) for s in ss.get("spans", [])) +
                field_text(3, ss.get("schemaUrl"))))
        parts.append(field_text(3, rs.get("schemaUrl")))
        out.append(field_len(1, b"".join(parts)))
    return b"".join(out)


def fields(data):
    """{number: [value, ...]} of one message; length-delimited values stay bytes. Raises ValueError."""
    out, at = {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            if at >= len(data):
                raise ValueError("truncated varint")
            byte = data[at]
            at += 1
            value |= (byte & 0x7f) << shift
            if byte < 0x80:
                return value
            shift += 7

    while at < len(data):
        tag = number()
        kind = tag & 7
        if kind == 0:
            value = number()
        else:
            n = {1: 8, 5: 4}.get(kind)
            n = number() if kind == 2 else n
            if n is None or at + n > len(data):
                raise ValueError(f"bad field {tag >> 3} of type {kind}")
            value = data[at:at + n]
            at += n
            if kind != 2:
                value = int.from_bytes(value, "little")
        out.setdefault(tag >> 3, []).append(value)
    return out


# ---- building ----

def value(v):
    """A Python value as an AnyValue; a dict is taken as an AnyValue already."""
    if isinstance(v, dict):
        return v
    if isinstance(v, bool):
        return {"boolValue": v}
    if isinstance(v, int):
        return {"intValue": str(v)}
    if isinstance(v, float):
        return {"doubleValue": v}
    if isinstance(v, bytes):
        return {"bytesValue": base64.b64encode(v).decode()}
    if isinstance(v, (list, tuple)):
        return {"arrayValue": {"values": [value(e) for e in v]}}
    return {"stringValue": v}


def attrs(items):
    return [{"key": k, "value": value(v)} for k, v in items.items()]


def span(trace=None, name="op", ms=10, start=None, attributes=None, **members):
    start = now_ns() - 2 * 10**9 if start is None else start
    out = {"traceId": trace or trace_id(), "spanId": span_id(), "name": name, "kind": 1,
           "startTimeUnixNano": str(start), "endTimeUnixNano": str(start + int(ms * 10**6))}
    if attributes:
        out["attributes"] = attrs(attributes)
    out.update(members)
    return out


def request(spans, service="svc", resource=None, scope=None):
    return {"resourceSpans": [{"resource": {"attributes": attrs({"service.name": service,
                                                                 **(resource or {})})},
                               "scopeSpans": [{"scope": scope or {"name": "lib"},
                                               "spans": spans}]}]}


# ---- HTTP ----

class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    def json(self):
        """Numbers keep their sign: -0 is the double -0.0, as Go and JavaScript write it."""
        return json.loads(self.body, parse_int=lambda t: -0.0 if t == "-0" else int(t))

    def header(self, name):
        return self.headers.get(name.lower(), "")

    def __repr__(self):
        return f"HTTP {self.status} {self.headers.get('content-type', '')} {self.body[:300]!r}"


def http_request(url, method="GET", body=None, headers=None, timeout=30, ssl_context=None):
    """One request on its own connection; never follows redirects, never raises on a status."""
    timeout *= patience()
    u = urllib.parse.urlsplit(url)
    if u.scheme == "https":
        c = http.client.HTTPSConnection(u.hostname, u.port, timeout=timeout, context=ssl_context)
    else:
        c = http.client.HTTPConnection(u.hostname, u.port, timeout=timeout)
    try:
        c.request(method, (u.path or "/") + ("?" + u.query if u.query else ""), body=body,
                  headers=headers or {})
        r = c.getresponse()
        data = r.read()
        return Answer(r.status, {k.lower(): v for k, v in r.getheaders()}, data)
    finally:
        c.close()


def get(server, path, headers=None, **params):
    query = "?" + urllib.parse.urlencode(params) if params else ""
    return http_request(server.url + path + query, headers=headers, ssl_context=server.ssl_context)


def post(server, body, content_type="application/json", headers=None, path="/v1/traces"):
    data = json.dumps(body).encode() if isinstance(body, dict) else body
    h = {**({"Content-Type": content_type} if content_type else {}), **(headers or {})}
    return http_request(server.otlp_url + path, "POST", data, h, ssl_context=server.ssl_context)


def window(seconds=3600):
    now = int(time.time())
    return {"start": now - seconds, "end": now + 60}
