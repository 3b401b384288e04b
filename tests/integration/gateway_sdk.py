# SPDX-License-Identifier: Apache-2.0
"""The OpenTelemetry SDK for Python through the gateway, by gRPC and HTTP, with token and TLS; read back as
the console reads."""
import os

import grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as ByGrpc
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as ByHttp
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from fake_kube import FakeKube
from gateway import Gateway
from gateway_http import people
from gateway_query import q


def exporters(g, ca):
    token = {"authorization": "Bearer writer", "x-scope-orgid": "dev"}
    credentials = grpc.ssl_channel_credentials(g.authority.pem)
    for name, compression in (("plain", grpc.Compression.NoCompression), ("gzip", grpc.Compression.Gzip)):
        yield f"gRPC {name}", ByGrpc(endpoint=f"https://localhost:{g.grpc}", credentials=credentials,
                                     headers=token, compression=compression)
    yield "HTTP", ByHttp(endpoint=f"https://localhost:{g.public}/api/traces/v1/dev/v1/traces",
                         certificate_file=str(ca), headers=token)


def sdk(c, kube):
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        os.environ.pop(name, None)  # they would win over certificate_file
    with Gateway(kube) as g:
        ca = g.folder / "gateway-ca.crt"
        ca.write_bytes(g.authority.pem)
        for name, exporter in exporters(g, ca):
            provider = TracerProvider(resource=Resource({"service.name": f"sdk {name}",
                                                         "k8s.namespace.name": "ns1"}))
            provider.add_span_processor(SimpleSpanProcessor(exporter))
            with provider.get_tracer("lib").start_as_current_span("root") as root:
                trace = f"{root.get_span_context().trace_id:032x}"
            provider.shutdown()
            a = g.get(f"/api/v2/traces/{trace}", "reader")
            spans = [s["name"] for b in a.json()["trace"].get("resourceSpans", [])
                     for ss in b["scopeSpans"] for s in ss["spans"]] if a.status == 200 else a
            c.equal(f"{name}: read by id", spans, ["root"])
            a = g.get("/api/search" + q(f'{{ resource.service.name = "sdk {name}" }}'), "reader")
            c.equal(f"{name}: found", [t["rootTraceName"] for t in a.json()["traces"]], ["root"])


def run(c):
    with FakeKube() as kube:
        people(kube)
        c.run("sdk", sdk, c, kube)
