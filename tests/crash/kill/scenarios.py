# SPDX-License-Identifier: Apache-2.0
"""Ways to kill points that plain load does not reach: damaged and foreign files before the start, features
that are switched on for one cycle, the offline check. None of them may cost an acked span."""
import base64
import http.client
import http.server
import json
import shutil
import threading
import uuid

from otlp import request, request_pb, span
from server import merge, program


def tenant_dir(root, tenant="alpha"):
    """Names of tenants on disk are hex."""
    return root / tenant.encode().hex()


def prepare(run, plan):
    """Before the start with the armed point."""
    server, what = run.server, plan.scenario
    store, wal = server.data_dir / "@store", server.wal_dir / "@wal"
    faulty = plan.fault is not None and "snapshot" not in what  # there the copy is
    run.excused = faulty or what in ("bad block", "bad segment", "bad catalog", "bad limits")
    if what == "bad block":
        path = tenant_dir(store)
        path.mkdir(parents=True, exist_ok=True)
        (path / f"{uuid.UUID(int=run.random.getrandbits(128))}.block").write_bytes(b"no footer" * 99)
    elif what == "bad segment":
        path = tenant_dir(wal, "broken")
        path.mkdir(parents=True, exist_ok=True)
        (path / f"{run.random.getrandbits(32):016x}.wal").write_bytes(b"no header" * 9999)
    elif what == "left-over segment":
        path = tenant_dir(wal)
        path.mkdir(parents=True, exist_ok=True)
        (path / "0000000000000001.wal.tmp").write_bytes(b"")
    elif what in ("bad catalog", "no catalog"):
        data = store / "catalog" / "data.mdb"
        if what == "no catalog" and data.exists():
            data.unlink()
        elif data.exists():
            with open(data, "r+b") as f:
                f.write(b"\xa5" * 8192)
    elif what == "no seal":
        (store / "catalog" / "data.seal").unlink(missing_ok=True)
    elif what == "foreign block":
        folder = server.data_dir / "other" / str(uuid.UUID(int=7))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "data.parquet").write_bytes(b"PAR1")
    elif what == "empty tenant":
        for root in (store, wal):
            tenant_dir(root, f"gone-{run.done}").mkdir(parents=True, exist_ok=True)
    elif "limits" in what:
        server.config = merge(run.plain, {"overrides": {"user_configurable_overrides": {
            "enabled": True, "client": {"backend": "local"}}}})
        if what == "bad limits":
            for path in (server.data_dir / "@overrides").rglob("*"):
                if path.is_file():
                    path.write_bytes(b"not what was written")
    elif "generator" in what:
        secret = server.folder / "secret"
        secret.write_text("x")
        server.config = merge(run.plain, {
            "metrics_generator": {
                "registry": {"collection_interval": "100ms"},
                "storage": {"path": str(server.folder / "samples"), "remote_write": [{
                    "url": f"http://127.0.0.1:{sink()}/", "basic_auth": {
                        "username": "u", "password_file": str(secret)}}]}},
            "overrides": {"defaults": {"metrics_generator": {"processors": ["span-metrics"]}}}})


def after_load(run, plan):
    """Once the writers run."""
    if plan.scenario == "large request":
        send_large(run)
    if "limits" in plan.scenario:
        set_limits(run)
    if "snapshot" in plan.scenario:
        run_snapshot(run, plan)


def set_limits(run):
    """A tenant's own limits, three times."""
    for n in range(3):
        conn = http.client.HTTPConnection("127.0.0.1", run.server.http_port, timeout=5)
        try:
            conn.request("GET", "/api/overrides", headers={"X-Scope-OrgID": "alpha"})
            answer = conn.getresponse()
            answer.read()
            version = answer.getheader("etag") or "0"
            conn.request("POST", "/api/overrides", json.dumps({"metrics_generator": {
                "collection_interval": f"{20 + n}s"}}), {
                    "X-Scope-OrgID": "alpha", "If-Match": version,
                    "Content-Type": "application/json"})
            conn.getresponse().read()
        except (OSError, http.client.HTTPException):
            return
        finally:
            conn.close()


def send_large(run):
    """Of a tenant that nobody looks at: its segment is new, and filled in pieces. A file that was used before need not be."""
    noise = base64.b64encode(run.random.randbytes(2400000)).decode()
    body = request_pb(request([span(attributes={"x": noise})]))
    conn = http.client.HTTPConnection("127.0.0.1", run.server.otlp_http, timeout=5)
    try:
        conn.request("POST", "/v1/traces", body, {"Content-Type": "application/x-protobuf",
                                                  "X-Scope-OrgID": f"large-{run.done}"})
        conn.getresponse().read()
    except (OSError, http.client.HTTPException):
        pass  # killed at its point
    finally:
        conn.close()


class Sink(http.server.BaseHTTPRequestHandler):
    """Takes every sample and keeps none."""

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args):
        pass


_sink = []


def sink():
    """The port of the one sink of this process."""
    if not _sink:
        _sink.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink))
        threading.Thread(target=_sink[0].serve_forever, daemon=True).start()
    return _sink[0].server_address[1]


def run_snapshot(run, plan):
    """A copy of the running server's data, killed at its points: the server must not notice."""
    server = run.server
    to = server.folder / "copy"
    shutil.rmtree(to, ignore_errors=True)
    args = [program(), "snapshot", "-data", str(server.data_dir), "-wal", str(server.wal_dir)]
    args += ["-copy"] if run.random.random() < 0.5 else []
    run.tool(args + [str(to)], plan)
    for path in server.folder.glob("*copy*"):
        shutil.rmtree(path, ignore_errors=True)


def run_fsck(run, plan):
    """The offline check, killed at its points: it must not change what it looks at, or say so."""
    server = run.server
    args = [program(), "fsck", "-data", str(server.data_dir), "-wal", str(server.wal_dir)]
    if plan.site in ("fsck.set_aside", "fsck.catalog_remove"):
        prepare(run, type(plan)(plan.site, 1, "bad block" if plan.site == "fsck.set_aside" else
                                "bad catalog", None))
        args.append("-repair")
    run.tool(args, plan)
