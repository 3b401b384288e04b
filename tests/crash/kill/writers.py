# SPDX-License-Identifier: Apache-2.0
"""Writers over gRPC, HTTP and Zipkin, and readers that keep queries running, until told to stop."""
import http.client
import random
import threading
import time
import urllib.parse

import grpc
from google.rpc import code_pb2

from ledger import ACKED, OTLP, REFUSED, UNKNOWN, ZIPKIN

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
# Answers that promise that nothing was stored; any other failure leaves the outcome unknown.
FINAL_HTTP = (400, 413, 415, 429)
FINAL_GRPC = (code_pb2.INVALID_ARGUMENT, code_pb2.RESOURCE_EXHAUSTED)
PAUSE_SECONDS = 0.02  # mean, between two requests of a writer: kills count, not throughput


class Writer(threading.Thread):
    """One connection. `tenants` are served in turn, GROUP requests each."""

    def __init__(self, run, cycle, way, tenants, stop, most=None):
        super().__init__(daemon=True)
        self.server, self.ledger, self.cycle, self.way = run.server, run.ledger, cycle, way
        self.tenants, self.stop, self.most = tenants, stop, most
        self.random = random.Random(f"{run.args.seed} {cycle} {way} {tenants}")
        self.partial = []  # answers that admitted a loss: none is expected here
        self.last = []     # the newest requests, which a kill endangers most

    def run(self):
        send = {"grpc": self.grpc_sender, "http": self.http_sender, "zipkin": self.zipkin_sender}
        send = send[self.way]()
        protocol = ZIPKIN if self.way == "zipkin" else OTLP
        at = self.random.randrange(len(self.tenants))
        while not self.stop.is_set():
            at += 1
            tenant = self.tenants[at % len(self.tenants)]
            for number in self.ledger.group():
                e = self.ledger.begin(number, tenant, protocol, self.cycle)
                self.last = self.last[-2:] + [e]
                e.state = send(tenant, self.ledger.body(e))
                if e.state == UNKNOWN:
                    time.sleep(0.02)
                if self.most is not None:
                    self.most -= 1
                if self.stop.is_set() or self.most == 0:
                    break
                if self.random.random() < 0.7:  # else at once: the next rides in the same commit
                    self.stop.wait(self.random.random() * 3 * PAUSE_SECONDS)
            if self.most == 0:
                break

    def poster(self, port, path, content_type, good, empty):
        conn = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

        def send(tenant, body):
            try:
                conn.request("POST", path, body, {"Content-Type": content_type,
                                                  "X-Scope-OrgID": tenant})
                answer = conn.getresponse()
                data = answer.read()
            except (OSError, http.client.HTTPException):
                conn.close()
                return UNKNOWN
            if answer.status == good:
                if data not in empty:
                    self.partial.append(data)
                return ACKED
            return REFUSED if answer.status in FINAL_HTTP else UNKNOWN
        return send

    def http_sender(self):
        return self.poster(self.server.otlp_http, "/v1/traces", "application/x-protobuf", 200,
                           (b"\x0a\x00", b""))

    def zipkin_sender(self):
        return self.poster(self.server.zipkin, "/api/v2/spans", "application/json", 202, (b"",))

    def grpc_sender(self):
        channel = grpc.insecure_channel(self.server.grpc_target, options=[
            ("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 100)])
        call = channel.unary_unary(EXPORT, request_serializer=None, response_deserializer=None)

        def send(tenant, body):
            try:
                data = call(body, timeout=10, metadata=[("x-scope-orgid", tenant)])
            except grpc.RpcError as e:
                return REFUSED if e.code().value[0] in FINAL_GRPC else UNKNOWN
            if data not in (b"\x0a\x00", b""):
                self.partial.append(data)
            return ACKED
        return send


class Reader(threading.Thread):
    """Queries during the writes and the kill; answers are not judged, the server's survival is."""

    def __init__(self, run, tenants, stop):
        super().__init__(daemon=True)
        self.server, self.tenants, self.stop = run.server, tenants, stop
        self.answers = self.errors = 0

    def run(self):
        def search(q):
            return "/api/search?" + urllib.parse.urlencode({"q": q, "limit": 20})
        paths = [search("{ span.flag = true }"), "/api/v2/search/tags",
                 "/api/v2/search/tag/name/values", search("{ status = error }"),
                 "/api/metrics/query_range?" + urllib.parse.urlencode(
                     {"q": "{} | rate() by (resource.service.name)", "since": "1m"})]
        i = 0
        conn = http.client.HTTPConnection("127.0.0.1", self.server.http_port, timeout=10)
        while not self.stop.is_set():
            i += 1
            try:
                conn.request("GET", paths[i % len(paths)],
                             headers={"X-Scope-OrgID": self.tenants[i % len(self.tenants)]})
                answer = conn.getresponse()
                answer.read()
                self.answers += 1
                self.errors += answer.status >= 500
            except (OSError, http.client.HTTPException):
                conn.close()
            self.stop.wait(0.05)
        conn.close()
