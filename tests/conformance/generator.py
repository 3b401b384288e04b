#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the metrics generator of a running server: sends spans, receives its remote write, compares the series.

One file, though a long one: it is kept as it was recorded against Tempo, so that both can be asked with the same program.

    generator.py --list                                            names the configurations
    generator.py --serve-config NAME [--sink-port P] [--data DIR]  prints the YAML that the server needs for one of them
    generator.py --config NAME --otlp URL [--url URL] [--sink-port P] [-v]
                                                                   checks a server that was started freshly with it

The server (Tempo or vivace, the same YAML) is not started here; it must be fresh, since counters are compared from zero.
One round, with the server's own settings for ports and storage in base.yaml:

    generator.py --serve-config defaults --data /tmp/g > generator.yaml     # JSON, which is YAML
    merge base.yaml and generator.yaml, start the server with the result
    generator.py --config defaults --otlp http://127.0.0.1:4318 --url http://127.0.0.1:3200

Every configuration contains this, and adds what it tests:

    metrics_generator:
      storage:
        path: DIR/generator
        remote_write: [{url: http://127.0.0.1:9201/api/v1/push, send_exemplars: true, queue_config: {batch_send_deadline: 1s}}]
      registry: {collection_interval: 2s}
      processor: {service_graphs: {wait: 3s}}
    overrides:
      defaults: {metrics_generator: {processors: [span-metrics, service-graphs]}}

Those with several tenants set multitenancy_enabled and overrides.per_tenant_override_config: DIR/tenants.yaml, a file that
--serve-config writes. The span times are moved to now, because older spans are discarded. The recorded answers
(generator_cases.json) come from Tempo 3.0.3. Names, labels and counts must be equal, sums within 1e-6, exemplars must
belong to the bucket and to a trace that was sent; with --url the generator's own counters on /metrics are compared too.
One file, though a long one: it checks any server by itself. Needs Python 3.9 or later and nothing else. Closing line: 'N passed, N failed'. Exit status 1 when anything fails.
"""

import argparse, base64, json, math, os, random, re, struct, sys, time, urllib.error, urllib.request

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from remote_write_sink import Sink

HERE = os.path.dirname(os.path.abspath(__file__))
KINDS = {"unspecified": 0, "internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}


# ---- the corpus --------------------------------------------------------------------------------------------------
def val(v):
    if isinstance(v, bool):
        return {"boolValue": v}
    if isinstance(v, int):
        return {"intValue": str(v)}
    if isinstance(v, float):
        return {"doubleValue": v}
    if isinstance(v, bytes):
        return {"bytesValue": base64.b64encode(v).decode()}
    if isinstance(v, (list, tuple)):
        return {"arrayValue": {"values": [val(x) for x in v]}}
    if isinstance(v, dict):
        return {"kvlistValue": {"values": attrs(v)}}
    return {"stringValue": v}


def attrs(d):
    return [{"key": k, "value": val(v)} for k, v in d.items()]


class Part:
    """One part of the corpus: a list of requests. The same seed gives the same spans; times are relative to the moment of sending."""

    def __init__(self, seed, part):
        self.R = random.Random(f"{seed}/{part}")
        self.traces = []
        getattr(self, part)()

    def pick(self, xs):
        return xs[int(self.R.random() * len(xs))]

    def hexid(self, n):
        return "".join(self.pick("0123456789abcdef") for _ in range(2 * n))

    def name(self, stem):
        return (
            f"{stem}-{self.pick('bcdfghklmnprst')}{self.pick('aeiou')}{self.pick('bcdfghklmnprst')}"
        )

    def dur(self, most=0.5):
        return round(self.R.random() * most, 6)

    def trace(self, tid=None, split=False, headers=None):
        """A trace is one request; a split one is a request for each span, in the order of making."""
        self.traces.append(
            {"id": tid or self.hexid(16), "spans": [], "split": split, "headers": headers or {}}
        )
        return self.traces[-1]

    def span(
        self,
        t,
        svc,
        name,
        kind="internal",
        dur=None,
        parent=None,
        status=None,
        msg=None,
        a=None,
        res=None,
        start=None,
        end=-1.0,
        state=None,
    ):
        dur = self.dur() if dur is None else dur
        begin = round((end - dur if start is None else start) * 1e9)
        s = {
            "traceId": t["id"],
            "spanId": self.hexid(8),
            "name": name,
            "kind": KINDS.get(kind, kind),
            "startTimeUnixNano": begin,
            "endTimeUnixNano": begin + round(dur * 1e9),
        }
        if parent:
            s["parentSpanId"] = parent if isinstance(parent, str) else parent["spanId"]
        if a:
            s["attributes"] = attrs(a)
        if status or msg:
            s["status"] = {
                **({"code": {"ok": 1, "error": 2}[status]} if status else {}),
                **({"message": msg} if msg else {}),
            }
        if state:
            s["traceState"] = state
        t["spans"].append(
            ({**({"service.name": svc} if svc is not None else {}), **(res or {})}, s)
        )
        return s

    def requests(self):
        for t in self.traces:
            for group in [[x] for x in t["spans"]] if t["split"] else [t["spans"]]:
                rs = []
                for res, s in group:
                    if not rs or rs[-1][0] != res:
                        rs.append((res, []))
                    rs[-1][1].append(s)
                yield t["headers"], {
                    "resourceSpans": [
                        {
                            "resource": {"attributes": attrs(res)},
                            "scopeSpans": [{"scope": {"name": "lib", "version": "1"}, "spans": ss}],
                        }
                        for res, ss in rs
                    ]
                }

    # -- parts --
    def kinds(self):
        """Every kind with every status, and values outside of the enums."""
        svc = self.name("kinds")
        for status in (None, "ok", "error"):
            t = self.trace()
            for k in KINDS:
                self.span(
                    t,
                    svc,
                    self.name(k),
                    k,
                    parent=self.hexid(8),
                    status=status,
                    msg=self.name("went wrong") if status == "error" else None,
                )
        t = self.trace()
        self.span(t, svc, "", parent=self.hexid(8))
        self.span(
            t,
            svc,
            'quo"te\\ and\nline, ünï ✓',
            parent=self.hexid(8),
            msg="a message without an error",
        )

    def durations(self):
        """Durations on, just below and just above the bounds; an end before the start."""
        t, svc, name = self.trace(), self.name("timer"), self.name("took")
        for d in (
            0,
            0.0005,
            0.002,
            0.002000001,
            0.003999999,
            0.004,
            0.016,
            0.05,
            0.1,
            0.100000001,
            0.2,
            0.512,
            0.8,
            1,
            1.024,
            2,
            6.4,
            8.192,
            12.8,
            16.384,
            16.384000001,
            25,
        ):
            self.span(t, svc, name, dur=d)
        for _ in range(8):
            self.span(t, svc, name, dur=self.dur(3))
        self.span(t, svc, name + " backwards", dur=-0.75, start=-1)
        t = self.trace("0000000000000000" + self.hexid(8))
        self.span(t, svc, "leading zeros", dur=0.3)

    def resources(self):
        """Service names that are missing, empty, not text; namespaces, instances, odd attribute names."""
        n, ns, pod = self.name("res"), self.name("ns"), self.name("pod")
        every = {
            "a.int": 42,
            "a.float": 0.1,
            "a.whole": 3.0,
            "a.large": 1e21,
            "a.small": 1e-7,
            "a.true": True,
            "a.list": ["x", 1, True, 2.5],
            "a.map": {"k": "v", "n": 1},
            "a.bytes": b"\x00\xff",
            "a.empty": "",
            "a.negative": -7,
        }
        odd = {
            "": "empty key",
            "1st": "digit first",
            "with space": "s",
            "dash-ed/slash:colon": "d",
            "ünï.çode": "u",
            "UPPER": "U",
            "_under": "_",
            "service": "collides",
            "span_name": "collides",
            "span.kind": "collides",
            "job": "collides",
            "instance": "collides",
            "le": "collides",
        }
        for i, (svc, res) in enumerate(
            [
                (None, {"k8s.pod.name": pod}),
                ("", {"k8s.pod.name": pod}),
                (n, {}),
                (n, {"service.namespace": ns}),
                (n, {"service.instance.id": "i-1"}),
                (
                    n,
                    {
                        "service.namespace": ns,
                        "service.instance.id": "i-2",
                        "k8s.pod.name": pod,
                        "deployment.environment": "prod",
                    },
                ),
                (n, {"service.instance.id": "", "k8s.pod.name": pod}),
                (None, {"service.namespace": ns, "k8s.pod.name": pod}),
                (None, {"service.instance.id": "i-3", "k8s.pod.name": pod}),
                (n + "-every", every),
                (n + "-odd", odd),
                (n + "-long", {"long": "v" * 2040 + self.hexid(3)}),
                (42, {"k8s.pod.name": pod}),
            ]
        ):
            t = self.trace()
            self.span(t, svc, f"resource {i}", "server", res=res, dur=0.001 * i)

    def attributes(self):
        """Span attributes of every type and odd names, for dimensions."""
        svc = self.name("attr")
        both = {
            "where": "resource",
            "only.resource": self.name("r"),
            "http.method": "FROM-RESOURCE",
        }
        rows = [
            {
                "http.method": "GET",
                "http.status_code": 200,
                "http.route": "/a/{id}",
                "where": "span",
            },
            {"http.method": "POST", "http.status_code": 503, "http.target": self.name("/b")},
            {"http.status_code": "200", "http.method": ""},
            {
                "a.bool": True,
                "a.float": 0.1,
                "a.large": 1e21,
                "a.small": 1e-7,
                "a.whole": 100.0,
                "a.negative": -7,
            },
            {
                "a.list": ["x", "y", 1, False, 0.5],
                "a.map": {"k": "v", "m": {"n": 1}},
                "a.bytes": b"abc",
                "a.empty": "",
            },
            {
                "with space": "s",
                "dash-ed/slash:colon": "d",
                "ünï.çode": "u",
                "service": "mine",
                "span.name": "mine",
                "status_code": "mine",
                "span_kind": "mine",
            },
            {"x.y": "dotted", "x_y": "underscored"},
            {"x.y": "dotted"},
            {"x_y": "underscored"},
            {"a.false": False, "a.zero": 0},
        ]
        for i, a in enumerate(rows):
            t = self.trace()
            self.span(
                t,
                svc,
                f"row {i}",
                a={**a, "tier": self.pick(["gold", "tin"])},
                status=[None, "ok", "error"][i % 3],
                msg=f"m{i}" if i % 3 else None,
                kind=["server", "client", "internal"][i % 3],
                parent=self.hexid(8),
            )
            if i in (0, 5):
                self.span(t, svc, f"row {i}", a=a, res=both, kind="server", parent=self.hexid(8))

    def pairs(self):
        """Client and server spans that meet: errors on either side, either order, apart in time, attributes on both."""
        a, b, c = self.name("front"), self.name("back"), self.name("deep")

        def pair(
            x,
            y,
            cd,
            sd,
            cs=None,
            ss=None,
            ca=None,
            sa=None,
            cr=None,
            sr=None,
            server_first=False,
            split=False,
            root=None,
        ):
            t = self.trace(split=split)
            if root:
                r = self.span(t, x, "root", "internal")
            cl = self.span(
                t, x, "call", "client", cd, parent=r if root else None, status=cs, a=ca, res=cr
            )
            self.span(t, y, "serve", "server", sd, parent=cl, status=ss, a=sa, res=sr)
            if server_first:
                t["spans"].reverse()
            return t, cl

        for cd, sd in ((0.1, 0.05), (0.2, 0.1), (0.4, 0.400000001), (1.6, 0.8), (13, 12.8), (0, 0)):
            pair(a, b, cd, sd)
        pair(a, b, 0.3, 0.2, cs="error")
        pair(a, b, 0.3, 0.2, ss="error")
        pair(b, c, 0.3, 0.2, cs="error", ss="error")
        pair(b, c, self.dur(), self.dur(), cs="ok", ss="ok")
        pair(a, c, self.dur(), self.dur(), server_first=True)
        pair(a, c, self.dur(), self.dur(), split=True)
        pair(a, c, self.dur(), self.dur(), split=True, server_first=True, ss="error")
        pair(a, a, 0.2, 0.1, root=True)
        pair(
            a,
            b,
            0.5,
            0.4,
            ca={"tier": "gold", "http.method": "GET", "side": "client"},
            sa={"tier": "tin", "side": "server", "zone": "z1"},
            cr={"region": "north", "service.namespace": "ns-a"},
            sr={"region": "south", "service.namespace": "ns-b"},
        )
        pair(
            a,
            b,
            0.5,
            0.4,
            ca={"tier": "gold"},
            sa={"zone": "z2", "http.status_code": 500},
            server_first=True,
        )
        pair(a, b, 0.25, 0.2, ca={"side": ""}, sa={"odd name": "x", "le": "x", "client": "x"})
        pair(
            a,
            b,
            0.6,
            0.5,
            ca={"peer.service": "ignored-when-paired"},
            sa={"peer.service": "also-ignored"},
        )
        pair("", c, 0.1, 0.1)
        pair(None, b, 0.1, 0.1)
        pair(a, None, 0.1, 0.1, ca={"peer.service": "server-without-a-name"})
        t, cl = pair(b, c, 0.9, 0.3)
        self.span(t, c, "serve again", "server", 0.3, parent=cl)
        self.span(t, c, "inside", "internal", 0.1, parent=cl)

    def messaging(self):
        """Producer and consumer: late, at once, before the end of sending; mixed with client and server."""
        p, q = self.name("pub"), self.name("sub")
        for cstart, status, split in (
            (-2.0, None, False),
            (-3.25, "error", False),
            (-4.0, None, False),
            (-4.5, None, False),
            (-1.5, "ok", True),
        ):
            t = self.trace(split=split)
            x = self.span(
                t,
                p,
                "send",
                "producer",
                0.5,
                start=-4.5,
                a={"messaging.system": "kafka", "tier": "gold"},
            )
            self.span(
                t,
                q,
                "receive",
                "consumer",
                self.dur(),
                parent=x,
                start=cstart,
                status=status,
                a={"messaging.destination": "orders"},
            )
        t = self.trace()
        x = self.span(t, p, "send", "producer", 0.1, start=-4)
        self.span(t, q, "serve", "server", 0.2, parent=x, start=-3)
        t = self.trace()
        x = self.span(t, p, "call", "client", 0.1, start=-4)
        self.span(t, q, "receive", "consumer", 0.2, parent=x, start=-3)
        t = self.trace()
        x = self.span(t, p, "send", "producer", 0.1, start=-4)
        self.span(t, q, "receive", "consumer", 0.2, parent=x, start=-2)
        t["spans"].reverse()

    def database(self):
        """Calls to a database, named in every way that is looked at."""
        a = self.name("app")
        for i, d in enumerate(
            [
                {"db.system": "mysql"},
                {"db.name": "orders"},
                {"db.namespace": "stock"},
                {"db.system": "redis", "db.name": "cache"},
                {"db.system": "mysql", "peer.service": self.name("db")},
                {"db.name": "orders", "server.address": "db.example.test", "server.port": 5432},
                {
                    "db.name": "orders",
                    "network.peer.address": "10.0.0.7",
                    "network.peer.port": 5432,
                },
                {"db.name": "orders", "network.peer.address": "10.0.0.8"},
                {
                    "db.name": "orders",
                    "network.peer.address": "10.0.0.9",
                    "network.peer.port": "5433",
                },
                {"db.name": "", "db.system": "mongo"},
                {"db.system.name": "postgresql"},
                {"db.system": "mysql", "peer.service": "p", "server.address": "s", "tier": "gold"},
                {"db.instance": "own", "db.vendor": "acme"},
            ]
        ):
            t = self.trace()
            self.span(
                t,
                a,
                f"query {i}",
                "client",
                0.01 * i + 0.001,
                a=d,
                status="error" if i == 3 else None,
            )
        t = self.trace()
        self.span(
            t,
            a,
            "by resource",
            "client",
            0.2,
            res={"db.system": "from-resource", "peer.service": "peer-from-resource"},
        )
        t = self.trace()
        x = self.span(t, a, "instrumented", "client", 0.3, a={"db.system": "instrumented"})
        self.span(t, self.name("dbsrv"), "serve", "server", 0.25, parent=x)
        t = self.trace()
        self.span(t, a, "producer", "producer", 0.3, a={"db.system": "queue"})
        t = self.trace()
        self.span(t, a, "server is no database call", "server", 0.3, a={"db.system": "server-side"})

    def virtual(self):
        """Edges of which one side never comes."""
        a = self.name("lone")
        for kind in ("server", "consumer", "client", "producer"):
            for peer in ({}, {"peer.service": self.name("peer"), "tier": "gold"}):
                t = self.trace()
                self.span(
                    t, a, f"{kind} root", kind, a=peer, status="error" if kind == "client" else None
                )
                t = self.trace()
                self.span(t, a, f"{kind} child", kind, a=peer, parent=self.hexid(8))
        t = self.trace()
        self.span(t, a, "resource is not looked at", "client", res={"peer.service": "not-this"})
        t = self.trace()
        self.span(
            t,
            a,
            "other peer attributes",
            "client",
            a={"net.peer.name": "net-peer", "out.host": "out-host"},
        )
        t = self.trace()
        self.span(t, a, "two roots", "server", 0.2)
        self.span(t, a, "two roots", "server", 0.3)

    def slack(self):
        """Spans too old, too new, and just inside of the default 30 s; and of 10 s."""
        svc = self.name("slack")
        for end in (-60, -20, -5, 5, 20, 60):
            t = self.trace()
            self.span(t, svc, f"ends at {end}", end=end, dur=0.25)
            self.span(t, svc, "call", "client", 0.1, a={"peer.service": f"peer{end}"}, end=end)

    def skipped(self):
        """A request that asks for no metrics, between two that do not."""
        svc = self.name("skip")
        for i in range(3):
            t = self.trace(headers={"no-generate-metrics": "1"} if i == 1 else None)
            self.span(t, svc, f"request {i}", "server")
            self.span(t, svc, f"request {i}", "server")

    def multiplied(self):
        """Sampling rates in trace state and attributes."""
        svc = self.name("mult")
        for i, (state, a, res) in enumerate(
            [
                (None, {}, {}),
                ("ot=th:0", {}, {}),
                ("ot=th:8", {}, {}),
                ("ot=th:c", {}, {}),
                ("vendor=1, ot=rv:00000000000001;th:e ,other=2", {}, {}),
                ("ot=th:zz", {"rate": 0.25}, {}),
                ("ot=rv:1", {"rate": 0.5}, {}),
                ("ot=th:8", {"rate": 0.1}, {}),
                (None, {"rate": 0.1}, {}),
                (None, {"rate": 0.3}, {}),
                (None, {"rate": 2.0}, {}),
                (None, {"rate": 1}, {}),
                (None, {"rate": "0.5"}, {}),
                (None, {"rate": 0.0}, {}),
                (None, {"rate": -0.5}, {}),
                (None, {}, {"rate": 0.25}),
                (None, {"rate": 0.5}, {"rate": 0.25}),
                ("ot=th:123456789abcdef0", {}, {}),
                ("th:8", {}, {}),
            ]
        ):
            t = self.trace()
            c = self.span(
                t,
                svc,
                f"sampled {i}",
                "client",
                0.05,
                a=a,
                res=res,
                state=state,
                status="error" if i in (3, 8) else None,
            )
            self.span(
                t,
                svc + "-srv",
                "serve",
                "server",
                0.04,
                parent=c,
                state=state,
                a=a if i % 2 else None,
            )

    def hosts(self):
        svc = self.name("host")
        for res in (
            {"host.id": self.name("h")},
            {"host.id": self.name("h"), "k8s.node.name": self.name("node")},
            {"k8s.node.name": self.name("node")},
            {"host.id": 42},
            {"k8s.node.name": "", "host.id": "behind-empty"},
            {"host.name": self.name("named"), "cloud.id": "c-1"},
            {},
        ):
            t = self.trace()
            self.span(t, svc, "op", "server", res=res)

    def filtered(self):
        """Spans to keep or to drop by kind, name, status and attributes of both scopes."""
        svc = self.name("filt")
        for i, (kind, status) in enumerate(
            [
                ("server", None),
                ("client", "error"),
                ("internal", "ok"),
                ("server", "error"),
                ("consumer", None),
                ("client", None),
            ]
        ):
            t = self.trace()
            self.span(
                t,
                svc,
                ["GET /health", "GET /a", "POST /a", "work", "GET /b", "query"][i],
                kind,
                status=status,
                parent=self.hexid(8),
                a={
                    "http.status_code": [200, 500, 201, 503, 204, 0][i],
                    "http.method": ["GET", "GET", "POST", "", "GET", "PUT"][i],
                    "ratio": i / 4,
                    "cached": i % 2 == 0,
                },
                res={"env": ["prod", "prod", "test", "prod", "test", "dev"][i], "shard": i % 3},
            )
        for i, (ce, se) in enumerate(
            [("prod", "prod"), ("prod", "test"), ("test", "prod"), ("test", "test")]
        ):
            for split in (False, True):
                t = self.trace(split=split)
                c = self.span(t, svc + f"-c{i}", "call", "client", 0.2, res={"env": ce})
                self.span(
                    t,
                    svc + f"-s{i}",
                    "serve",
                    "server",
                    0.1,
                    parent=c,
                    res={"env": se},
                    status="error" if i == 1 else None,
                )
                if split:
                    t["spans"].reverse()
        t = self.trace()
        self.span(t, svc, "lone root", "server", 0.1, res={"env": "test"})
        t = self.trace()
        self.span(t, svc, "lone root", "server", 0.1, res={"env": "prod"})

    def crowd(self):
        """More label sets than a small limit lets in, one after the other."""
        svc = self.name("crowd")
        for i in range(12):
            t = self.trace()
            self.span(
                t, svc, f"op {i % 6}", "server", 0.01 * i, parent=self.hexid(8), a={"user": f"u{i}"}
            )

    def ordinary(self):
        """Traces as services make them."""
        services = [self.name(s) for s in ("web", "cart", "pay", "ship", "mail")]

        def call(t, svc, parent, depth):
            bad = self.R.random() < 0.2
            n = {
                "a": {
                    "http.method": self.pick(["GET", "POST"]),
                    "http.route": self.pick(["/a", "/b"]),
                    "http.status_code": 500 if bad else 200,
                    "tier": self.pick(["gold", "tin"]),
                },
                "res": {
                    "region": self.pick(["north", "south"]),
                    "service.namespace": "shop",
                    "k8s.pod.name": svc + "-0",
                },
            }
            s = self.span(
                t,
                svc,
                f"{n['a']['http.method']} {n['a']['http.route']}",
                "server",
                parent=parent,
                status="error" if bad else None,
                **n,
            )
            for nxt in (services[1:] if depth < 2 else []):
                if self.R.random() < 0.4 and nxt != svc:
                    call(
                        t, nxt, self.span(t, svc, "call " + nxt, "client", parent=s, **n), depth + 1
                    )

        for _ in range(7):
            call(self.trace(), services[0], None, 0)

    def not_utf8(self):
        """Texts that are no UTF-8 (sent as protobuf), each beside a good span."""
        svc, h = self.name("bytes"), {"Content-Type": "application/x-protobuf"}
        for name, a, res, s in (
            ("bad \udcff name", None, None, svc),
            ("bad attribute", {"tier": "\udcc3("}, None, svc),
            ("bad resource", None, {"region": "x\udcfe"}, svc),
            ("bad service", None, None, svc + "\udcff"),
        ):
            t = self.trace(headers=h)
            c = self.span(t, s, name, "client", 0.1, a=a, res=res)
            self.span(t, svc + "-srv", "serve", "server", 0.1, parent=c)


class Corpus:
    """What one case sends: for each entry {tenant, seed, parts}, the requests of these parts."""

    def __init__(self, entries):
        self.sends, self.times = (
            [],
            {},
        )  # times: trace id without leading zeros -> every difference of two times in it
        for e in entries:
            for p in e["parts"]:
                part = Part(e["seed"], p)
                self.sends.append((e.get("tenant", ""), list(part.requests())))
                for t in part.traces:
                    ends = [
                        s[k]
                        for _, s in t["spans"]
                        for k in ("startTimeUnixNano", "endTimeUnixNano")
                    ]
                    self.times.setdefault(t["id"].lstrip("0"), []).extend(
                        {(y - x) / 1e9 for x in ends for y in ends if y >= x}
                    )


# ---- sending and receiving ---------------------------------------------------------------------------------------
def http(method, url, headers=None, body=None, timeout=30):
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, data=body, method=method, headers=headers or {}),
            timeout=timeout,
        ) as r:
            return r.status, r.read()
    except urllib.error.HTTPError as e:
        return e.code, e.read()
    except (urllib.error.URLError, OSError) as e:
        return 0, str(e).encode()


def shift(node, by):
    if isinstance(node, dict):
        return {
            k: str(v + by) if k.endswith("TimeUnixNano") else shift(v, by) for k, v in node.items()
        }
    return [shift(x, by) for x in node] if isinstance(node, list) else node


def pb(number, v):
    """One protobuf field: an int as varint, bytes and text with their length."""

    def varint(n):
        return (bytes([n & 127 | 128]) + varint(n >> 7)) if n > 127 else bytes([n])

    if isinstance(v, int):
        return varint(number << 3) + varint(v) if v else b""
    v = v.encode("utf-8", "surrogateescape") if isinstance(v, str) else v
    return varint(number << 3 | 2) + varint(len(v)) + v


def protobuf(request):
    """The OTLP protobuf form of a request whose attributes are all text."""

    def kvs(n, attributes):
        return b"".join(
            pb(n, pb(1, a["key"]) + pb(2, pb(1, a["value"]["stringValue"]))) for a in attributes
        )

    def span(s):
        return (
            pb(1, bytes.fromhex(s["traceId"]))
            + pb(2, bytes.fromhex(s["spanId"]))
            + pb(4, bytes.fromhex(s.get("parentSpanId", "")))
            + pb(5, s["name"])
            + pb(6, s["kind"])
            + b"\x39"
            + struct.pack("<Q", int(s["startTimeUnixNano"]))
            + b"\x41"
            + struct.pack("<Q", int(s["endTimeUnixNano"]))
            + kvs(9, s.get("attributes", []))
        )

    return b"".join(
        pb(
            1,
            pb(1, kvs(1, r["resource"]["attributes"]))
            + b"".join(
                pb(2, b"".join(pb(2, span(s)) for s in ss["spans"])) for ss in r["scopeSpans"]
            ),
        )
        for r in request["resourceSpans"]
    )


def send(corpus, otlp):
    for tenant, requests in corpus.sends:
        now = time.time_ns() // 10**6 * 10**6  # one moment for each part
        for headers, request in requests:
            h = {
                "Content-Type": "application/json",
                **headers,
                **({"X-Scope-OrgID": tenant} if tenant else {}),
            }
            r = shift(request, now)
            st, body = http(
                "POST",
                otlp + "/v1/traces",
                h,
                protobuf(r) if h["Content-Type"].endswith("protobuf") else json.dumps(r).encode(),
            )
            if st != 200:
                raise RuntimeError(f"ingest failed: HTTP {st} {body[:300]!r}")
            time.sleep(0.02)  # the order of requests is part of some cases


OWN = re.compile(
    r"^tempo_metrics_generator_(active_processors|spans_received_total|spans_discarded_total|metrics_generation_skipped_processor_pushes_total|registry_(active_series|max_active_series|active_entities|max_active_entities|series_limited_total|entities_limited_total)"
    r"|processor_service_graphs_(edges|expired_edges|dropped_spans|dropped_edges_total|dropped_span_side_cache_overflow_total))\{(.*)\} (\S+)$"
)


def own_metrics(url):
    """The generator's own counters of /metrics that are not zero."""
    out = {}
    st, body = http("GET", url + "/metrics")
    for line in body.decode("utf-8", "replace").splitlines() if st == 200 else []:
        m = OWN.match(line)
        if m and float(m[5]):
            out[
                line[: line.index("{")]
                + "{"
                + ",".join(sorted(re.findall(r'\w+="[^"]*"', m[4])))
                + "}"
            ] = float(m[5])
    return out


# ---- comparing ---------------------------------------------------------------------------------------------------
def bound(le):
    try:
        return float(le)
    except ValueError:
        return math.nan


def native(h):
    counts, i, n = {}, 0, 0
    deltas = iter(h["deltas"])
    for offset, length in h["spans"]:
        i += offset
        for _ in range(length):
            n += next(deltas, 0)
            if n:
                counts[str(i)] = n
            i += 1
    return {
        "count": h.get("count", 0),
        "sum": h.get("sum", 0.0),
        "schema": h.get("schema", 0),
        "zero_count": h.get("zero_count", 0),
        "zero_threshold": h.get("zero_threshold", 0.0),
        "buckets": counts,
    }


def identity(s, suffix=0, drop=()):
    """The key of a series: tenant, name and labels as text; the host's name becomes '*'."""
    labels = {
        k: "*" if k == "__metrics_gen_instance" else v
        for k, v in s["labels"].items()
        if k != "__name__" and k not in drop
    }
    return json.dumps(
        [s["tenant"], s["labels"].get("__name__", "")[: -suffix or None], labels],
        sort_keys=True,
        ensure_ascii=False,
    )


def fold(dump, corpus):
    """Series as {key: value}; the series of a classic histogram become one entry."""
    out, problems = {}, set()

    def exemplar(e, key, below=-1, le=math.inf):
        if not below < e["value"] <= le:
            problems.add(f"exemplar {e['value']} lies outside of its bucket {le}: {key}")
        for tid in e["labels"].values():
            if not any(abs(e["value"] - d) < 1e-8 for d in corpus.times.get(tid, [])):
                problems.add(f"exemplar {tid} {e['value']} is of no span that was sent")

    def is_bucket(s):
        return s["labels"].get("__name__", "").endswith("_bucket") and "le" in s["labels"]

    for s in filter(is_bucket, dump["series"]):
        h, le = (
            out.setdefault(identity(s, 7, ("le",)), {"buckets": {}, "exemplars": {}}),
            s["labels"]["le"],
        )
        h["buckets"][le] = s["last"] and s["last"][0]
        if s["exemplars"]:
            h["exemplars"][le] = s["exemplars"]
    for key, h in out.items():
        h["buckets"] = {le: h["buckets"][le] for le in sorted(h["buckets"], key=bound)}
        below, names = dict(zip(h["buckets"], [-1.0] + [bound(x) for x in h["buckets"]])), {}
        for le in [x for x in h["buckets"] if x in h["exemplars"]]:
            for e in h["exemplars"][le]:
                exemplar(e, key, below[le], bound(le))
                for n in e["labels"]:
                    if le not in names.setdefault(n, []):
                        names[n].append(le)
        h["exemplars"] = names  # label name -> the buckets that had any
    for s in dump["series"]:
        name = s["labels"].get("__name__", "")
        if s["longest_gap"] > 10_000:
            problems.add(f"a series pauses for more than ten seconds: {name}")
        if is_bucket(s):
            continue
        if s["histogram"]:
            for e in s["exemplars"]:
                exemplar(e, name)
            out.setdefault(identity(s), {}).update(
                native=native(s["histogram"]),
                native_exemplars=sorted({n for e in s["exemplars"] for n in e["labels"]}),
            )
            continue
        for suffix in ("_sum", "_count"):
            if name.endswith(suffix) and identity(s, len(suffix)) in out:
                out[identity(s, len(suffix))][suffix[1:]] = s["last"] and s["last"][0]
                break
        else:
            out[identity(s)] = s["last"] and s["last"][0]
    hosts = {s["labels"].get("__metrics_gen_instance") for s in dump["series"]}
    if len(hosts) > 1:
        problems.add(f"__metrics_gen_instance differs: {sorted(map(str, hosts))}")
    return out, problems


def zeros(dump, before):
    """For each name: whether the series that are not in `before` begin with a zero in the last second of the minute before."""
    seen = {}
    for s in dump["series"]:
        if identity(s) in before or not s["first"]:
            continue
        seen.setdefault(s["labels"]["__name__"], set()).add(
            s["first"][0] == 0 and s["first"][1] % 60_000 == 59_000
        )
    return {
        n: "some" if len(v) > 1 else "all" if True in v else "none" for n, v in sorted(seen.items())
    }


def outcome(corpus, dump, url=None, before=None):
    """What a run gave, in the form in which it is recorded."""
    series, problems = fold(dump, corpus)
    ordinary = {
        json.dumps(
            {k: v for k, v in h["headers"].items() if k not in ("user-agent", "retry-attempt")},
            sort_keys=True,
        )
        for h in dump["headers"]
    }
    return {
        "series": series,
        "headers": [json.loads(h) for h in sorted(ordinary)],
        "retried": any("retry-attempt" in h["headers"] for h in dump["headers"]),
        "problems": sorted(problems) + sorted(dump["problems"]),
        **({"zeros": zeros(dump, before)} if before is not None else {}),
        **({"own": own_metrics(url)} if url else {}),
    }


def equal(a, b):
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return a == b or math.isclose(a, b, rel_tol=1e-6)
    return a == b


def compare(want, got, ignore=()):
    """Gives the number of checks that hold, and a text for each that does not."""
    bad, n = [], 0

    def check(what, w, g):
        nonlocal n
        n += 1
        if not equal(w, g):
            bad.append(
                f"{what}\n      want {json.dumps(w, ensure_ascii=False)}\n      got  {json.dumps(g, ensure_ascii=False)}"
            )

    for k in sorted(want["series"].keys() | got["series"].keys()):
        check(k, want["series"].get(k), got["series"].get(k))
    for k in ("headers", "retried", "problems", "zeros"):
        if k in want:
            check(k, want[k], got.get(k))
    if "own" in got and "own" in want:
        for k in sorted(want["own"].keys() | got["own"].keys()):
            if not any(i in k for i in ignore):
                check("own counter " + k, want["own"].get(k, 0), got["own"].get(k, 0))
    return n - len(bad), bad


# ---- cases -------------------------------------------------------------------------------------------------------
def load(path):
    """Reads recorded cases; a series is [tenant, name, labels, value] in the file and {key: value} here."""
    cases = {c["name"]: c for c in json.load(open(path))}
    for c in cases.values():
        c["answer"]["series"] = {
            json.dumps(x[:3], sort_keys=True, ensure_ascii=False): x[3]
            for x in c["answer"]["series"]
        }
    return cases


def merge(a, b):
    for k, v in b.items():
        a[k] = (
            merge(dict(a.get(k) or {}), v)
            if isinstance(v, dict) and isinstance(a.get(k), dict)
            else v
        )
    return a


def serve_config(case, sink_port, data):
    """The server's YAML for a case, as an object; writes the file of tenants when the case has one."""
    base = {
        "metrics_generator": {
            "storage": {
                "path": "${DATA}/generator",
                "remote_write": [
                    {
                        "url": "${SINK}",
                        "send_exemplars": True,
                        "queue_config": {"batch_send_deadline": "1s"},
                    }
                ],
            },
            "registry": {"collection_interval": "2s"},
            "processor": {"service_graphs": {"wait": "3s"}},
        },
        "overrides": {
            "defaults": {"metrics_generator": {"processors": ["span-metrics", "service-graphs"]}}
        },
    }
    if case.get("tenants"):
        os.makedirs(data, exist_ok=True)
        json.dump(
            {"overrides": case["tenants"]}, open(os.path.join(data, "tenants.yaml"), "w"), indent=1
        )
        base = merge(
            base,
            {
                "multitenancy_enabled": True,
                "overrides": {"per_tenant_override_config": "${DATA}/tenants.yaml"},
            },
        )
    whole = merge({} if case.get("alone") else base, case["config"])
    return json.loads(
        json.dumps(whole)
        .replace("${SINK}", f"http://127.0.0.1:{sink_port}/api/v1/push")
        .replace("${DATA}", data)
    )


def run(case, otlp, sink, url=None, patience=20):
    """Sends a case's spans, waits until nothing should change any more, and compares; gives (passed, failures, outcome)."""
    corpus, before, start = Corpus(case["corpus"]), None, time.time()
    send(corpus, otlp)
    if "late" in case:  # a second sending, when the first is more than a minute old
        late = Corpus(case["late"])
        corpus.times.update(late.times)
        time.sleep(max(0, start + 62 - time.time()))
        before = {identity(s) for s in sink.dump()["series"]}
        send(late, otlp)
    time.sleep(case["settle"] + (0 if "answer" in case else patience))
    end = time.time() + patience
    while True:
        got = outcome(corpus, sink.dump(), url, before)
        passed, bad = (
            compare(case["answer"], got, case.get("ignore", ())) if "answer" in case else (0, [])
        )
        if not bad or time.time() >= end:
            return passed, bad, got
        time.sleep(1)


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--list", action="store_true")
    p.add_argument("--serve-config", metavar="NAME")
    p.add_argument("--config", metavar="NAME", default="defaults")
    p.add_argument("--otlp", default="http://127.0.0.1:4318")
    p.add_argument("--url", help="the server's HTTP address, to compare its own counters")
    p.add_argument("--sink-port", type=int, default=9201)
    p.add_argument(
        "--data",
        default="/tmp/generator-check",
        help="folder for the generator's data and the file of tenants",
    )
    p.add_argument("--cases", default=os.path.join(HERE, "generator_cases.json"))
    p.add_argument("--wait", type=float, default=20, help="seconds to wait for late series")
    p.add_argument("-v", action="store_true", help="print what differs")
    a = p.parse_args()
    cases = load(a.cases)
    if a.list:
        for c in cases.values():
            print(f"{c['name']:14} {len(c['answer']['series']):4} series  {c['about']}")
        return 0
    name = a.serve_config or a.config
    if name not in cases:
        sys.exit(f"no configuration {name!r}; there are: {', '.join(cases)}")
    if a.serve_config:
        print(json.dumps(serve_config(cases[name], a.sink_port, a.data), indent=1))
        return 0
    sink = Sink(a.sink_port, cases[name].get("refuse", ()))
    try:
        passed, bad, _ = run(cases[name], a.otlp, sink, a.url, a.wait)
    except RuntimeError as e:
        sys.exit(str(e))
    for b in bad:
        print("FAIL", b if a.v else b.split("\n")[0])
    print(f"{passed} passed, {len(bad)} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
