#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""TLS and mutual TLS on the OTLP ports and the query port, to forwarders and to remote write; certificates are made here by
openssl."""
import hashlib
import hmac
import http.server
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from concurrent import futures

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import venv  # noqa: E402

venv.use("requirements.txt")

import grpc  # noqa: E402
import raw_grpc  # noqa: E402
from checks import Checks  # noqa: E402
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb  # noqa: E402
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service  # noqa: E402
from otlp import http_request, post, request, request_pb, span  # noqa: E402
from server import Server, ServerError  # noqa: E402

warnings.simplefilter("ignore", DeprecationWarning)  # old TLS is tried on purpose
c = Checks()
PB = {"Content-Type": "application/x-protobuf"}


class Authority:
    """A certificate authority of one run, in one folder."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        self.cert, self.key = folder / f"{name}.pem", folder / f"{name}.key"
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                     "-keyout", self.key, "-out", self.cert, "-days", "2", "-subj", f"/CN={name}",
                     "-addext", "basicConstraints=critical,CA:TRUE",
                     "-addext", "keyUsage=critical,keyCertSign")

    @staticmethod
    def openssl(*args):
        subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True)

    def issue(self, name, days=2):
        """(certificate, key) for localhost."""
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        request_file, extra = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        extra.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n"
                         "keyUsage=digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n")
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                     key, "-out", request_file, "-subj", f"/CN={name}")
        self.openssl("x509", "-req", "-in", request_file, "-CA", self.cert, "-CAkey", self.key,
                     "-CAcreateserial", "-days", str(days), "-out", cert, "-extfile", extra)
        key.chmod(0o600)
        return cert, key


def client(authority, pair=None, alpn=None, versions=None):
    context = ssl.create_default_context(cafile=str(authority.cert))
    if pair:
        context.load_cert_chain(*map(str, pair))
    if alpn:
        context.set_alpn_protocols(alpn)
    if versions:
        context.minimum_version, context.maximum_version = versions
    return context


def receivers(tls):
    return {"distributor": {"receivers": {"otlp": {"protocols": {
        "grpc": {"tls": tls}, "http": {"tls": tls}}}}}}


def send_http(server, context):
    s = span()
    a = http_request(f"https://127.0.0.1:{server.otlp_http}/v1/traces", "POST",
                     request_pb(request([s])), PB, ssl_context=context, timeout=10)
    return s["traceId"], a.status


def send_grpc(server, context):
    s = span()
    with raw_grpc.Connection(server.otlp_grpc, context) as conn:
        return s["traceId"], conn.call(request_pb(request([s]))).code


def refused(function, *args):
    """True when the handshake, or with TLS 1.3 the first exchange after it, fails."""
    try:
        return function(*args)[1] not in (200, 0)
    except (OSError, EOFError):
        return True


def one_way(ca, other, pair):
    cert, key = pair
    tls = {"cert_file": str(cert), "key_file": str(key)}
    with Server(receivers(tls)) as server:
        c.equal("HTTP", send_http(server, client(ca))[1], 200)
        trace, code = send_grpc(server, client(ca, alpn=["h2"]))
        c.equal("gRPC", code, 0)
        c.equal("stored", http_request(f"{server.url}/api/traces/{trace}").status, 200)
        c.check("wrong authority refused by the client", refused(send_http, server, client(other)))
        for name, version, works in (("1.2", ssl.TLSVersion.TLSv1_2, True),
                                     ("1.3", ssl.TLSVersion.TLSv1_3, True)):
            context = client(ca, versions=(version, version))
            c.equal(f"TLS {name}", send_http(server, context)[1] == 200, works)
        old = client(ca, versions=(ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1))
        old.set_ciphers("ALL:@SECLEVEL=0")
        c.check("TLS 1.1 refused", refused(send_http, server, old))
        for name, port, offer, chosen in (("gRPC", server.otlp_grpc, ["h2"], "h2"),
                                          ("HTTP", server.otlp_http, ["h2", "http/1.1"], "h2"),
                                          ("HTTP", server.otlp_http, ["http/1.1"], "http/1.1")):
            with socket.create_connection(("127.0.0.1", port), 10) as raw:
                with client(ca, alpn=offer).wrap_socket(raw, server_hostname="localhost") as s:
                    c.equal(f"ALPN {name} {offer}", s.selected_alpn_protocol(), chosen)
        for port in (server.otlp_http, server.otlp_grpc):
            with socket.create_connection(("127.0.0.1", port), 10) as raw:
                raw.settimeout(10)
                raw.sendall(b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
                try:
                    data = raw.recv(4096)
                except ConnectionError:
                    data = b""
                c.check("plain text is not served", b"200 OK" not in data, data)
        half_open = [socket.create_connection(("127.0.0.1", server.otlp_http), 5) for _ in range(50)]
        for s in half_open:
            s.sendall(b"\x16\x03\x01\x02")
        c.equal("beside half handshakes", send_http(server, client(ca))[1], 200)
        for s in half_open:
            s.close()


def mutual(ca, other, pair):
    cert, key = pair
    tls = {"cert_file": str(cert), "key_file": str(key), "client_ca_file": str(ca.cert)}
    mine, foreign = ca.issue("client"), other.issue("foreign-client")
    with Server(receivers(tls)) as server:
        for name, send, alpn in (("HTTP", send_http, None), ("gRPC", send_grpc, ["h2"])):
            c.equal(f"{name} with a certificate", send(server, client(ca, mine, alpn))[1] in (0, 200),
                    True)
            c.check(f"{name} without", refused(send, server, client(ca, alpn=alpn)))
            c.check(f"{name} of another authority", refused(send, server, client(ca, foreign, alpn)))
        c.equal("still serving", send_http(server, client(ca, mine))[1], 200)


def query_port(ca, _other, pair):
    cert, key = pair
    extra = {"server": {"http_tls_config": {"cert_file": str(cert), "key_file": str(key)}}}
    with Server(extra, scheme="https", ssl_context=client(ca)) as server:
        c.equal("echo", http_request(server.url + "/api/echo", ssl_context=client(ca)).text, "echo\n")


def reload(ca, other, pair):
    """SIGHUP takes new certificates; a broken one leaves the old in place; no request fails."""
    folder = ca.folder
    cert, key = folder / "live.pem", folder / "live.key"
    shutil.copy(pair[0], cert)
    shutil.copy(pair[1], key)
    with Server(receivers({"cert_file": str(cert), "key_file": str(key)})) as server:
        c.equal("first", send_http(server, client(ca))[1], 200)
        fresh = other.issue("second")
        shutil.copy(fresh[0], cert)
        shutil.copy(fresh[1], key)
        server.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + 5
        while refused(send_http, server, client(other)) and time.monotonic() < end:
            time.sleep(0.05)
        c.equal("second", send_http(server, client(other))[1], 200)
        cert.write_text("not a certificate\n")
        server.process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        c.equal("a broken file changes nothing", send_http(server, client(other))[1], 200)
        c.contains("and is reported", server.log_text(), "level=error")


def bad_settings(ca, _other, pair):
    for name, tls in {"no such file": {"cert_file": "/nonexistent", "key_file": str(pair[1])},
                      "key of another": {"cert_file": str(pair[0]), "key_file": str(ca.key)},
                      "no key": {"cert_file": str(pair[0])}}.items():
        server = Server(receivers(tls))
        server.spawn()
        c.equal(name, server.process.wait(10), 1)
        server.discard()


class Receiver(service.TraceServiceServicer):
    """gRPC's own server with TLS; keeps (span ids, tenant) of every request."""

    def __init__(self, pair, delay=0.0):
        self.got, self.delay = [], delay
        cert, key = (f.read_bytes() for f in pair)
        self.server = grpc.server(futures.ThreadPoolExecutor(4))
        self.port = self.server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, cert)]))
        service.add_TraceServiceServicer_to_server(self, self.server)
        self.server.start()

    def Export(self, request, context):
        time.sleep(self.delay)
        tenant = dict(context.invocation_metadata()).get("x-scope-orgid")
        for r in request.resource_spans:
            for s in r.scope_spans:
                self.got += [(x.span_id.hex(), tenant) for x in s.spans]
        return pb.ExportTraceServiceResponse()


def forwarding(ca, other, pair):
    """A forwarder checks its receiver's certificate, and a stop waits for what is on its way."""
    def config(receiver, trusted):
        return {"distributor": {"forwarders": [{"name": "f", "backend": "otlpgrpc", "otlpgrpc": {
                    "endpoints": [f"localhost:{receiver.port}"], "tls": {"cert_file": str(trusted.cert)}}}]},
                "overrides": {"defaults": {"forwarders": ["f"]}}}
    receiver = Receiver(pair)
    with Server(config(receiver, ca)) as server:
        sent = [span() for _ in range(3)]
        for s in sent:
            post(server, request([s]))
        end = time.monotonic() + 10
        while len(receiver.got) < 3 and time.monotonic() < end:
            time.sleep(0.02)
        c.equal("forwarded over TLS", sorted(receiver.got), sorted((s["spanId"], "single-tenant") for s in sent))
    with Server(config(receiver, other)) as server:
        post(server, request([span()]))
        end = time.monotonic() + 10
        while "failed to forward batches" not in server.log_text() and time.monotonic() < end:
            time.sleep(0.02)
        c.contains("another authority", server.log_text(), "failed to forward batches")
        c.equal("nothing went there", len(receiver.got), 3)
    receiver.server.stop(None)
    slow = Receiver(pair, 0.05)
    with Server(config(slow, ca)) as server:
        sent = [span() for _ in range(20)]
        for s in sent:
            post(server, request([s]))
        before = len(slow.got)
        server.stop()
        c.check("some waited", before < 20, before)
        c.equal("a stop sends the rest", sorted(x for x, _ in slow.got), sorted(s["spanId"] for s in sent))
    slow.server.stop(None)
    stuck = Receiver(pair, 5)
    with Server(config(stuck, ca)) as server:
        for _ in range(3):
            post(server, request([span()]))
        server.stop()
        c.contains("not for ever, and says so", server.log_text(), "requests to forwarders are dropped by the stop")
    stuck.server.stop(None)


class Sink(http.server.ThreadingHTTPServer):
    """A remote-write endpoint, or a proxy in front of one: keeps (path, headers, body) and says 204."""

    daemon_threads = True

    def __init__(self, address="127.0.0.1", pair=None, ca=None):
        self.got = []
        super().__init__((address, 0), SinkRequest)
        if pair:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*map(str, pair))
            if ca:
                context.load_verify_locations(str(ca.cert))
                context.verify_mode = ssl.CERT_REQUIRED
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.host = f"{address}:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def wait(self, seconds=10):
        end = time.monotonic() + seconds
        while not self.got and time.monotonic() < end:
            time.sleep(0.02)
        return self.got[0] if self.got else (None, {}, b"")

    def handle_error(self, request, client_address):
        pass  # refused handshakes are part of the test

    def close(self):
        self.shutdown()
        self.server_close()


class SinkRequest(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args):  # pylint: disable=arguments-differ
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        self.send_response(204)
        self.send_header("Content-Length", "0")
        self.end_headers()


def metrics_to(endpoint):
    return {"metrics_generator": {"registry": {"collection_interval": "1s"},
                                  "storage": {"path": "generator", "remote_write": [endpoint]}},
            "overrides": {"defaults": {"metrics_generator": {"processors": ["span-metrics-count"]}}}}


def signature(head, body, path, region, secret):
    """What AWS's signature version 4 must be for a request as it came."""
    words = dict(x.strip().split("=", 1) for x in head["authorization"].partition(" ")[2].split(","))
    date, names = head["x-amz-date"], words["SignedHeaders"].split(";")
    scope = f"{date[:8]}/{region}/aps/aws4_request"
    canonical = "\n".join(["POST", path, "", *(f"{n}:{' '.join(head.get(n, '').split())}" for n in names), "",
                           words["SignedHeaders"], hashlib.sha256(body).hexdigest()])
    text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = ("AWS4" + secret).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    want = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    return words, scope, want, names


def remote_write(ca, other, pair):
    """Names of certificates, proxies and signatures of remote write; no secret is told."""
    def run(endpoint, sink, seconds=10):
        with Server(metrics_to(endpoint)) as server:
            post(server, request([span()]))
            got = sink.wait(seconds)
            told = server.log_text() + http_request(server.url + "/status/config").text
            c.check("no secret is told", "hunter2" not in told, [x for x in told.splitlines() if "hunter2" in x])
            return got, server.log_text()
    away = Sink("127.0.0.2", pair)  # the certificate is for localhost and 127.0.0.1
    trust = {"ca_file": str(ca.cert)}
    got, log = run({"url": f"https://{away.host}/push", "tls_config": trust}, away, 2)
    c.check("another name is refused", got[0] is None and "remote write fails" in log, got)
    got, _ = run({"url": f"https://{away.host}/push?a=b", "tls_config": {**trust, "server_name": "localhost"}}, away)
    c.equal("server_name", (got[0], got[1].get("host")), ("/push?a=b", away.host))
    away.close()
    mutual_sink = Sink("127.0.0.1", pair, ca)
    cert, key = ca.issue("writer")
    got, _ = run({"url": f"https://{mutual_sink.host}/push", "tls_config": {
        **trust, "cert_file": str(cert), "key_file": str(key)}}, mutual_sink)
    c.equal("client certificate", got[0], "/push")
    mutual_sink.close()
    proxy = Sink()
    got, _ = run({"url": "http://receiver.example:9/push", "proxy_url": f"http://u:hunter2@{proxy.host}"}, proxy)
    c.equal("proxy_url", (got[0], got[1].get("proxy-authorization")),
            ("http://receiver.example:9/push", "Basic dTpodW50ZXIy"))
    proxy.close()
    proxy, direct = Sink(), Sink()
    got, _ = run({"url": f"http://localhost:{direct.server_address[1]}/push", "proxy_url": f"http://{proxy.host}",
                  "no_proxy": "example.com"}, direct)
    c.equal("no_proxy leaves this machine out", (got[0], proxy.got), ("/push", []))
    proxy.close()
    direct.close()
    aws = Sink()
    got, _ = run({"url": f"http://{aws.host}/workspaces/w/api/v1/remote_write", "sigv4": {
        "region": "eu-west-1", "access_key": "AKID", "secret_key": "hunter2"}}, aws)
    words, scope, want, names = signature(got[1], got[2], got[0], "eu-west-1", "hunter2")
    c.equal("AWS credential", words["Credential"], f"AKID/{scope}")
    c.equal("AWS signature", words["Signature"], want)
    c.check("what is signed is sent", all(n in got[1] for n in names) and "host" in names, names)
    aws.close()


def main():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="vivace-tls-"))
    try:
        ca, other = Authority(folder, "ca"), Authority(folder, "other-ca")
        pair = ca.issue("server")
        for function in (one_way, mutual, query_port, reload, bad_settings, forwarding, remote_write):
            c.run(function.__name__, function, ca, other, pair)
    except ServerError as e:
        c.check("server", False, e)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    c.finish()


if __name__ == "__main__":
    main()
