# SPDX-License-Identifier: Apache-2.0
"""Writers over gRPC and HTTP, and a reader that keeps queries running, until told to stop."""
import http.client
import threading
import time
import urllib.parse

import grpc
from google.rpc import code_pb2

from ledger import ACKED, REFUSED, UNKNOWN
from otlp import request_pb

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
# Answers that promise that nothing was stored; any other failure leaves the outcome unknown.
FINAL_HTTP = (400, 413, 415, 429)
FINAL_GRPC = (code_pb2.INVALID_ARGUMENT, code_pb2.RESOURCE_EXHAUSTED)


class Writer(threading.Thread):
    def __init__(self, server, formula, ledger, cycle, use_grpc, stop):
        super().__init__(daemon=True)
        self.server, self.formula, self.ledger = server, formula, ledger
        self.cycle, self.use_grpc, self.stop = cycle, use_grpc, stop
        self.partial = []  # answers that admitted a loss: none is expected here

    def run(self):
        send = self.grpc_sender() if self.use_grpc else self.http_sender()
        while not self.stop.is_set():
            number = self.ledger.begin(self.cycle)
            body = request_pb(self.formula.body(number, self.cycle))
            state = send(self.formula.tenant(number), body)
            self.ledger.end(number, state)
            if state == UNKNOWN:
                time.sleep(0.02)

    def http_sender(self):
        conn = http.client.HTTPConnection("127.0.0.1", self.server.otlp_http, timeout=10)

        def send(tenant, body):
            try:
                conn.request("POST", "/v1/traces", body, {
                    "Content-Type": "application/x-protobuf", "X-Scope-OrgID": tenant})
                answer = conn.getresponse()
                data = answer.read()
            except (OSError, http.client.HTTPException):
                conn.close()
                return UNKNOWN
            if answer.status == 200:
                if data not in (b"\x0a\x00", b""):
                    self.partial.append(data)
                return ACKED
            return REFUSED if answer.status in FINAL_HTTP else UNKNOWN
        return send

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

    def __init__(self, server, tenants, stop):
        super().__init__(daemon=True)
        self.server, self.tenants, self.stop = server, tenants, stop
        self.answers = self.errors = 0

    def run(self):
        paths = ["/api/search?" + urllib.parse.urlencode({"q": "{ span.flag = true }", "limit": 50}),
                 "/api/v2/search/tags", "/api/v2/search/tag/name/values",
                 "/api/search?" + urllib.parse.urlencode({"q": "{ status = error }"})]
        i = 0
        while not self.stop.is_set():
            i += 1
            conn = http.client.HTTPConnection("127.0.0.1", self.server.http_port, timeout=10)
            try:
                conn.request("GET", paths[i % len(paths)],
                             headers={"X-Scope-OrgID": self.tenants[i % len(self.tenants)]})
                answer = conn.getresponse()
                answer.read()
                self.answers += 1
                self.errors += answer.status >= 500
            except (OSError, http.client.HTTPException):
                pass
            finally:
                conn.close()
            time.sleep(0.02)
