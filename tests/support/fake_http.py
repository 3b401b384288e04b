# SPDX-License-Identifier: Apache-2.0
"""What the fake services share: an HTTPS server in this process that counts calls and fails on command.

    fake.fail("/tokenreviews", status=500, times=2)      # the next two calls whose path holds that text
    fake.fail("/projects", delay=3)                      # every call, 3 s late
    fake.fail("/jwks", drop=True); fake.heal()           # connection closed; then all is well again
    fake.count("/tokenreviews"); fake.calls[-1].headers  # what was asked so far
"""
import http.server
import json
import pathlib
import shutil
import ssl
import tempfile
import threading
import time
import urllib.parse

import fake_pki
from server import free_ports


class Call:
    """One request as it came."""

    def __init__(self, method, path, headers, body):
        self.method, self.path, self.headers, self.body = method, path, headers, body
        parts = urllib.parse.urlsplit(path)
        self.route = parts.path
        self.query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def form(self):
        return dict(urllib.parse.parse_qsl(self.body.decode(), keep_blank_values=True))

    @property
    def bearer(self):
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        return token if scheme == "Bearer" else None


class Fault:
    def __init__(self, text, times, status, body, headers, delay, drop):
        self.text, self.times, self.status, self.body = text, times, status, body
        self.headers, self.delay, self.drop = headers or {}, delay, drop


class FakeHttp:
    """Subclasses answer in handle(call): (status, object for JSON | bytes[, headers])."""

    def __init__(self, tls=True, folder=None, authority=None):
        self.own_folder = folder is None
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="vivace-fake-"))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.tls = tls
        self.lock = threading.Lock()
        self.calls, self.faults = [], []
        self.authority = authority or fake_pki.Authority()
        self.ca_file = self.folder / "ca.crt"
        self.ca_file.write_bytes(self.authority.pem)
        self.server = self.thread = None
        self.port = free_ports(1)[0]  # not one that a client may be given while this one is stopped
        self.start()

    # ---- life ----

    def start(self):
        """Also after stop(): comes back on the same port."""
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 60

            def log_message(self, *args):
                pass

            def do_GET(self):
                fake.serve(self)

            do_POST = do_PUT = do_DELETE = do_HEAD = do_GET

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256
            allow_reuse_address = True

            def finish_request(self, request, client_address):
                if fake.tls:  # the handshake belongs to the connection's own thread
                    request = fake.context.wrap_socket(request, server_side=True)
                with fake.lock:
                    fake.connections.add(request)
                try:
                    super().finish_request(request, client_address)
                finally:
                    with fake.lock:
                        fake.connections.discard(request)

            def handle_error(self, request, client_address):
                pass  # clients that go away are part of the tests

        self.connections = set()
        if self.tls:
            cert, key = self.authority.write(self.folder, "server", "fake", ["127.0.0.1", "localhost"])
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(cert, key)
        self.server = Server(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def stop(self):
        """Nothing listens any more, open connections are closed."""
        if self.server is None:
            return
        self.server.shutdown()
        self.server.server_close()
        with self.lock:
            connections, self.connections = list(self.connections), set()
        for c in connections:
            try:
                c.shutdown(2)
            except OSError:
                pass
        self.thread.join()
        self.server = None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()
        if self.own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    # ---- faults and counts ----

    def fail(self, text, times=None, status=None, body=None, headers=None, delay=0, drop=False):
        """The next `times` calls (None: all) whose path holds `text` wait, are dropped, or get `status`
        and `body` (an object for JSON, or bytes: garbage). A delay alone is followed by the true answer."""
        with self.lock:
            self.faults.append(Fault(text, times, status, body, headers, delay, drop))

    def heal(self):
        with self.lock:
            self.faults = []

    def count(self, text, method=None):
        with self.lock:
            return sum(1 for c in self.calls if text in c.path and method in (None, c.method))

    def seen(self, text):
        """The calls whose path holds `text`, oldest first."""
        with self.lock:
            return [c for c in self.calls if text in c.path]

    def forget(self):
        with self.lock:
            self.calls = []

    # ---- requests ----

    def take_fault(self, call):
        with self.lock:
            self.calls.append(call)
            for f in self.faults:
                if f.text in call.path and f.times != 0:
                    if f.times is not None:
                        f.times -= 1
                    return f
        return None

    def serve(self, handler):
        length = int(handler.headers.get("Content-Length") or 0)
        call = Call(handler.command, handler.path, handler.headers, handler.rfile.read(length))
        fault = self.take_fault(call)
        if fault and fault.delay:
            time.sleep(fault.delay)
        if fault and fault.drop:
            handler.close_connection = True
            handler.connection.shutdown(2)
            return
        if fault and (fault.status or fault.body is not None):
            answer = (fault.status or 200, fault.body if fault.body is not None else {}, fault.headers)
        else:
            answer = self.handle(call)
        status, body, headers = (*answer, {})[:3]
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        handler.send_response(status)
        if "Content-Type" not in headers:
            handler.send_header("Content-Type", "application/json")
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)

    def handle(self, call):
        raise NotImplementedError
