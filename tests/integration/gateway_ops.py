# SPDX-License-Identifier: Apache-2.0
"""Files, flags, probes, certificates and isolation (statements G84, G86 to G100, G106 to G108)."""
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time

from fake_kube import FakeKube, rule
from fake_oidc import FakeOidc
from fake_pki import Authority
from gateway import DEV, PROD, Gateway, error_of, oidc_tenant, openshift_tenant
from gateway_authn import ROLES, wait
from gateway_http import people
from otlp import request, request_pb, span
from server import program

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "gateway"


def pb():
    return request_pb(request([span()]))


def refused(c, name, gateway, part, **options):
    """The server must not start, and say why."""
    g = Gateway(gateway=gateway, **options)
    g.spawn()
    try:
        status = g.process.wait(10)
    except subprocess.TimeoutExpired:
        status = None
    c.equal(f"{name}: does not start", status, 1)
    c.contains(f"{name}: says why", g.log_text(), part)
    g.discard()


def files(c, kube):
    with FakeOidc() as issuer:
        refused(c, "G84 static with query_rbac", {"mode": "static", "rbac": ROLES, "query_rbac": True},
                "query_rbac", tenants=[oidc_tenant("one", "first", issuer)])
    refused(c, "G88 nothing to log in with", {}, "tenant lost", tenants=[{"name": "lost", "id": "x"}])
    refused(c, "G89 bad id", {}, "a|b", tenants=[openshift_tenant("dev", "a|b")])
    refused(c, "G92 file and inline", {"tenants_file": str(GOLDEN / "forms.yaml")}, "are both set")
    refused(c, "without multitenancy", {}, "multitenancy", extra={"multitenancy_enabled": False})
    broken = {"name": "broken", "id": "broken", "openshift": {"cookieSecret": "short"}}
    with Gateway(kube, tenants=[openshift_tenant("dev", DEV), broken]) as g:
        c.equal("G87 the others work", g.get("/api/echo", "reader").status, 200)
        c.equal("G87 this one does not", g.get("/api/echo", "reader", tenant="broken").status, 401)
        c.contains("G87 counted", g.metrics(),
                   'observatorium_api_tenants_skipped_invalid_configuration_total{tenant="broken"} 1')


def flags(c, kube):
    """The operator's arguments for both containers, in one process, with its files."""
    g = Gateway(kube)
    section = g.config.pop("gateway")
    g.config["gateway"] = {"kubernetes": section["kubernetes"]}
    crt, key = section["tls"]["cert_file"], section["tls"]["key_file"]
    rbac = g.folder / "rbac.yaml"
    rbac.write_text("")
    args = [f"--web.listen=127.0.0.1:{g.public}", f"--web.internal.listen=127.0.0.1:{g.internal}",
            "--traces.tenant-header=x-scope-orgid", "--traces.tempo.endpoint=https://localhost:3200",
            "--traces.write-timeout=30s", f"--rbac.config={rbac}",
            f"--tenants.config={GOLDEN / 'operator-openshift.yaml'}", "--log.level=info",
            f"--tls.internal.server.key-file={key}", f"--tls.internal.server.cert-file={crt}",
            f"--traces.tls.key-file={key}", f"--traces.tls.cert-file={crt}", "--traces.tls.ca-file=/ca",
            "--traces.tls.watch-certs=true", f"--grpc.listen=127.0.0.1:{g.grpc}",
            "--traces.write.otlpgrpc.endpoint=localhost:4317",
            "--traces.write.otlphttp.endpoint=https://localhost:4318", f"--tls.server.cert-file={crt}",
            f"--tls.server.key-file={key}", "--tls.healthchecks.server-ca-file=/ca",
            "--tls.healthchecks.server-name=tempo-n-gateway.ns.svc.cluster.local",
            "--web.healthchecks.url=https://localhost:8080", "--tls.client-auth-type=NoClientCert",
            "--tls.cipher-suites=TLS_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            "--tls.min-version=VersionTLS12", "-mem-ballast-size-mbs=1024", "-config.expand-env=true",
            "--logs.tail.endpoint=http://x"]
    g.args = args
    with g:
        c.equal("G90 reads", g.get("/api/echo", "reader").status, 200)
        c.equal("G90 writes", g.export(pb(), "writer").code, 0)
        c.equal("G86 a numeric id is text", g.post(pb(), "prod", tenant="prod").status, 200)
        a = g.raw("GET", "/api/traces/v1/dev/tempo/api/search", g.bearer("prod"))
        c.equal("G86 tenants stay apart", a.status, 403)
        c.contains("G91 ignored originals warn", g.log_text(), "flag of the original gateway has no effect")
        for name in ("secret", "own_token"):
            c.check(f"G93 {name} is in no log", kube.own_token not in g.log_text() and
                    "abcdefghijklmnopqrstuvwxyz012345" not in g.log_text(), None)
    done = subprocess.run([program(), "--web.lisen=:1"], capture_output=True, text=True, check=False)
    c.equal("G91 unknown flag", done.returncode, 2)
    c.contains("G91 is named", done.stderr, "-web.lisen")


def secrets(c, kube):
    with Gateway(kube) as g:
        for _ in range(3):
            g.get("/api/echo", "very-secret-token", headers={"Cookie": "observatorium_dev=hushcookie"})
        g.raw("GET", "/openshift/dev/callback?code=hushcode&state=hushstate&route=/x")
        page = http_get(g.http_port, "/status/config")
        everything = page + g.metrics() + g.log_text()
        c.contains("G93 the section is shown", page, "http_listen_address")
        for word in ("very-secret-token", "hushcookie", "hushcode", "0123456789abcdef0123456789abcdef",
                     kube.own_token):
            c.check(f"G93 {word[:12]} appears nowhere", word not in everything, None)


def http_get(port, path):
    with socket.create_connection(("127.0.0.1", port), 10) as s:
        s.sendall(f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
        data = b""
        while chunk := s.recv(65536):
            data += chunk
        return data.decode(errors="replace")


def probes(c, kube):
    with Gateway(kube, env={"TMPDIR": "/nonexistent"}) as g:
        for path in ("/live", "/ready"):
            a = g.raw("GET", path, port=g.internal)
            c.equal(f"G94 {path}", (a.status, a.json(), a.header("content-type")),
                    (200, {"http": "OK"}, "application/json; charset=utf-8"))
        c.equal("G94 hide", g.raw("GET", "/ready?hide=1", port=g.internal).json(), {})
        c.equal("G94 POST", g.raw("POST", "/live", port=g.internal, body=b"").status, 405)
        c.contains("G95 3101", http_get(g.ready_port, "/ready"), "200 OK")
        g.get("/api/echo", "reader")
        c.contains("G100 the label is the id", g.metrics(), f'method="get",tenant="{DEV}"')
        c.equal("G100 and not the name", [x for x in g.metrics().splitlines() if x.startswith("http_") and 'tenant="dev"' in x], [])
        c.contains("queries are timed as on port 3200", g.metrics(),
                   'tempo_request_duration_seconds_count{method="GET",route="api_echo",status_code="200"')
        listening = subprocess.run(["ss", "-ltn"], capture_output=True, text=True, check=False).stdout
        for port in (g.http_port, g.otlp_grpc, g.otlp_http, g.grpc_port):
            c.check(f"G96 {port} only on loopback", f"0.0.0.0:{port}" not in listening and
                    f"*:{port}" not in listening, listening)
    everywhere = {"server": {"http_listen_address": "0.0.0.0"},
                  "distributor": {"receivers": {"otlp": {"protocols": {
                      "grpc": {"endpoint": "0.0.0.0:{g}"}}}}}}
    g = Gateway(kube)
    everywhere["distributor"]["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"] = \
        f"0.0.0.0:{g.otlp_grpc}"
    g.config["server"].update(everywhere["server"])
    g.config["distributor"] = everywhere["distributor"]
    with g:
        with open("/proc/net/tcp") as f:
            open_ports = {line.split()[1] for line in f.readlines()[1:] if line.split()[3] == "0A"}
        for port in (g.http_port, g.otlp_grpc):
            c.check(f"G96 {port} was asked for on 0.0.0.0", f"00000000:{port:04X}" not in open_ports and
                    f"0100007F:{port:04X}" in open_ports, open_ports)


def certificates(c, kube):
    ca = Authority("internal CA")
    g = Gateway(kube)
    server = ca.write(g.folder, "api", "api", ["localhost", "127.0.0.1"])
    client = ca.write(g.folder, "client", "client", client=True)
    (g.folder / "ca.crt").write_bytes(ca.pem)
    g.config["server"]["http_tls_config"] = {
        "cert_file": str(server[0]), "key_file": str(server[1]),
        "client_ca_file": str(g.folder / "ca.crt"), "client_auth_type": "RequireAndVerifyClientCert"}
    context = ssl.create_default_context(cafile=str(g.folder / "ca.crt"))
    g.is_ready = lambda: "200 OK" in quiet(http_get, g.ready_port, "/ready")
    with g:
        c.check("G96 3200 without a certificate", not handshake(g.http_port, context), None)
        context.load_cert_chain(*map(str, client))
        c.check("G96 3200 with one", handshake(g.http_port, context), None)
        c.contains("G95 3101 stays plain", http_get(g.ready_port, "/ready"), "200 OK")
        kept = g.connect()
        kept.request("GET", "/")
        kept.getresponse().read()
        g.certify(Authority("next CA"))
        ports = {"8080": (g.public, None), "8090": (g.grpc, ["h2"]), "8081": (g.internal, None)}
        for name, (port, alpn) in ports.items():
            c.check(f"G97 {name} uses the new certificate",
                    wait(lambda p=port, n=alpn: handshake(p, g.context(n)), 60), None)
        kept.request("GET", "/")
        c.equal("G97 an old connection goes on", kept.getresponse().status, 200)
        fresh = Authority("next internal CA")
        cert, key = fresh.issue("api", ["localhost", "127.0.0.1"])
        server[1].write_bytes(key)
        server[0].write_bytes(cert)
        trust = ssl.create_default_context(cadata=fresh.pem.decode())
        trust.load_cert_chain(*map(str, client))
        c.check("G97 3200 too", wait(lambda: handshake(g.http_port, trust), 60), None)
        old = g.context()
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        c.check("G98 TLS 1.1", not handshake(g.public, old), None)
        c.check("G98 TLS 1.2", handshake(g.public, version(g.context(), ssl.TLSVersion.TLSv1_2)), None)
    with Gateway(kube, gateway={"tls": {"min_version": "VersionTLS13"}}) as strict:
        c.check("G98 the minimum is obeyed", not handshake(strict.public, version(
            strict.context(), ssl.TLSVersion.TLSv1_2)), None)


def bounds(c, kube):
    """What a tenant may ask in a window, and how long a query may take."""
    limited = openshift_tenant("dev", DEV)
    limited["rateLimits"] = [{"endpoint": "/tempo/api/search$", "limit": 2, "window": "1m"},
                             {"endpoint": "TraceService/Export", "limit": 1, "window": "1m",
                              "retryAfterMax": "5s"}]
    with Gateway(kube, tenants=[limited, openshift_tenant("prod", PROD)]) as g:
        statuses = [g.get("/api/search", "reader").status for _ in range(2)]
        a = g.get("/api/search", "reader")
        c.equal("rate limit", (statuses, a.status, error_of(a)), ([200, 200], 429, "too many requests"))
        c.check("rate limit: when to come back", 0 < int(a.header("retry-after")) <= 60, a.headers)
        c.equal("rate limit: refused callers do not count", g.get("/api/search", "nobody").status, 403)
        c.equal("rate limit: other paths", g.get("/api/echo", "reader").status, 200)
        c.equal("rate limit: other tenants", g.get("/api/search", "prod", tenant="prod").status, 200)
        c.equal("rate limit: gRPC", [g.export(pb(), "writer").code for _ in range(2)], [0, 14])
    with Gateway(kube, gateway={"timeout": "1us"}) as g:
        g.write("writer")
        a = g.get("/api/search?q=%7B%7D", "reader")
        c.equal("D6 a query over its time", (a.status, error_of(a)), (504, "context deadline exceeded"))
        c.equal("D6 no query", g.get("/api/echo", "reader").status, 200)


def version(context, v):
    context.minimum_version = context.maximum_version = v
    return context


def quiet(function, *args):
    try:
        return function(*args)
    except OSError:
        return ""


def handshake(port, context):
    """True when it ends well; with TLS 1.3 a refusal shows at the first read."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as raw, \
                context.wrap_socket(raw, server_hostname="localhost") as s:
            if s.selected_alpn_protocol() == "h2":
                return True
            s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return s.recv(100) != b""
    except OSError:
        return False


def confined(c, kube):
    """Any uid, nothing writable but the volume."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        return
    g = Gateway(kube)
    os.chmod(g.folder, 0o777)
    for name in ("tls.crt", "tls.key"):
        os.chown(g.folder / name, 123456, 0)
    pathlib.Path(kube.folder).chmod(0o755)
    os.chown(kube.token_file, 123456, 0)
    g.prefix = ["setpriv", "--reuid=123456", "--regid=0", "--clear-groups", "--no-new-privs",
                "--bounding-set=-all"]
    with g:
        c.equal("G99 a random uid", g.get("/api/echo", "reader").status, 200)
        c.equal("G99 writes", g.export(pb(), "writer").code, 0)
        own = {"server.log", "vivace.yaml", "tls.crt", "tls.key", "wal", "blocks"}
        c.equal("G99 only its volume", {p.name for p in g.folder.iterdir()} - own, set())


# ---- isolation ----

def foreign_routes(c, kube):
    with Gateway(kube) as g:
        trace = g.write("prod", "prod", spans=[span(attributes={"secret": "hush"})])
        for path in (f"/api/traces/{trace}", f"/api/v2/traces/{trace}", "/api/search", "/api/search/tags",
                     "/api/v2/search/tags", "/api/v2/search/tag/span.secret/values", "/api/echo",
                     "/api/metrics/query_range?q={}|rate()", "/api/nothing"):
            a = g.get(path, "both", tenant="prod")
            b = g.get(path.replace(trace, "0" * 31 + "1"), "both", tenant="prod")
            c.equal(f"G106 {path[:30]}", (a.status, error_of(a)),
                    (403, "You don't have permission to access this tenant"))
            c.equal(f"G106 {path[:30]}: says nothing of data", a.text, b.text)
        c.equal("G106 write", g.post(pb(), "both", tenant="prod").status, 403)
        c.equal("G106 gRPC", g.export(pb(), "both", "prod").code, 7)


def hostile_paths(c, kube):
    with Gateway(kube) as g:
        trace = g.write("prod", "prod", spans=[span(attributes={"secret": "hush"})])
        tail = f"tempo/api/traces/{trace}"
        paths = [f"/api/traces/v1/dev/../prod/{tail}", f"/api/traces/v1/dev/%2e%2e/prod/{tail}",
                 f"/api/traces/v1/dev%2F..%2Fprod/{tail}", f"/api/traces/v1//prod/{tail}",
                 f"/api/traces/v1/dev//{tail}", f"/api/traces/v1/dev/tempo/../../prod/{tail}",
                 f"/api/traces/v1/dev%00/{tail}", f"/api/traces/v1/dev/tempo%00/api/traces/{trace}",
                 f"/api/traces/v1/{'d' * 7000}/{tail}", f"/api/traces/v1/dev/tempo/api/traces/{trace}%00",
                 f"/api/traces/v1/dev;prod/{tail}", f"/api/traces/v1/{PROD}/{tail}",
                 f"//api/traces/v1/prod/{tail}", f"/./api/traces/v1/prod/{tail}", "/%", "/%zz/%",
                 f"/api/traces/v1/dev%/{tail}", f"/API/TRACES/V1/PROD/{tail}", f"/api/traces/v1/DEV/{tail}",
                 f"/api/traces/v1/dev/tempo/api/search/../traces/{trace}",
                 f"http://x/api/traces/v1/prod/{tail}", f"/api/traces/v1/dev/tempo/api/traces/{trace}/.."]
        for path in paths:
            for header in ({}, {"X-Scope-OrgID": PROD}, {"X-Scope-OrgID": [DEV, PROD]},
                           {"X-Scope-OrgID": f"{DEV}|{PROD}"}, {"X-Forwarded-Prefix": "/prod"}):
                a = g.raw("GET", path, {**g.bearer("both"), **header})
                c.check(f"G107 {path[:60]} {header}", a.status != 200 and "hush" not in a.text and
                        a.status < 500, a)
        c.equal("G107 still serving", g.get("/api/echo", "both").status, 200)


def smuggling(c, kube):
    with Gateway(kube, tls=False) as g:
        head = "POST /api/traces/v1/dev/v1/traces HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer writer\r\n"
        for name, lines, body in (
                ("two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n", "hello"),
                ("two equal lengths", "Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
                ("length and chunked", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
                ("chunked and length", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
                ("odd coding", "Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
                ("two codings", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"),
                ("length in hex", "Content-Length: 0x5\r\n", "hello"),
                ("negative length", "Content-Length: -5\r\n", "hello")):
            with socket.create_connection(("127.0.0.1", g.public), 10) as s:
                s.settimeout(10)
                s.sendall((head + lines + "\r\n" + body + "GET / HTTP/1.1\r\nHost: x\r\n\r\n").encode())
                data = b""
                try:
                    while chunk := s.recv(65536):
                        data += chunk
                except (ConnectionError, TimeoutError):
                    pass
                statuses = [x.split(b" ")[1] for x in data.split(b"\r\n") if x.startswith(b"HTTP/1.")]
                c.check(f"G108 {name}", set(statuses) <= {b"400"}, data[:200])


def crossings(c, _kube):
    """Random requests over 20 tenants and 60 subjects: nobody ever sees what he may not.

    REQUESTS sets how many; 100,000 is the long run."""
    total = int(os.environ.get("REQUESTS", "5000"))
    random.seed(int(os.environ.get("SEED", "7")))
    names = [f"team{i}" for i in range(20)]
    with FakeKube() as kube:
        rights = {}
        for i in range(60):
            read, write = (set(random.sample(names, random.randint(0, 3))) for _ in range(2))
            rights[f"subject{i}"] = (read, write)
            kube.add_token(f"subject{i}", f"u{i}", (), [rule("get", *read)] * bool(read) +
                           [rule("create", *write)] * bool(write), ["ns"])
        kube.add_token("root", "root", (), [rule("*", *names)], ["ns"])
        tenants = [openshift_tenant(n, f"id-{n}") for n in names]
        with Gateway(kube, tenants=tenants) as g:
            traces = {n: g.write("root", n, spans=[span(name=f"op-{n}", attributes={
                "secret": f"only-{n}"})], service=f"svc-{n}") for n in names}
            crossed, wrong = run_random(g, total, names, rights, traces)
            c.equal(f"isolation: crossings in {total} requests", crossed[:5], [])
            c.equal(f"isolation: wrong decisions in {total} requests", wrong[:5], [])


def run_random(g, total, names, rights, traces):
    """Each subject knows some tenants, his own among them: each new pair costs an access review."""
    near = {who: sorted(read | write | set(random.sample(names, 4))) for who, (read, write) in rights.items()}
    crossed, wrong = [], []
    conn = g.connect()
    for i in range(total):
        who, other = f"subject{random.randrange(60)}", random.choice(names)
        tenant = random.choice(near[who])
        path = random.choice((
            f"/api/traces/{traces[other]}", f"/api/v2/traces/{traces[other]}", "/api/search?q={}",
            f"/api/search?q=%7Bspan.secret=%22only-{other}%22%7D", "/api/v2/search/tags",
            "/api/v2/search/tag/span.secret/values", "/api/search/tag/secret/values", "/api/echo",
            "/api/traces/zz", "/api/search?q=%7Bbroken"))
        headers = {"Authorization": f"Bearer {who}"}
        lie = random.random()
        if lie < 0.2:
            headers["X-Scope-OrgID"] = random.choice((f"id-{other}", other, f"id-{tenant}|id-{other}"))
        if lie > 0.9:
            headers["Cookie"] = f"observatorium_{other}={who}"
        write = i % 10 == 9
        try:
            if write:
                conn.request("POST", f"/api/traces/v1/{tenant}/v1/traces", body=request_pb(request(
                    [span(name=f"op-{tenant}", attributes={"secret": f"only-{tenant}"})],
                    service=f"svc-{tenant}")), headers={**headers, "Content-Type": "application/x-protobuf"})
            else:
                conn.request("GET", f"/api/traces/v1/{tenant}/tempo{path}", headers=headers)
            r = conn.getresponse()
            body = r.read().decode(errors="replace")
        except OSError:
            conn.close()
            conn = g.connect()
            continue
        read_ok, write_ok = (tenant in x for x in rights[who])
        allowed = write_ok if write else read_ok
        echoed = "only-" in path  # the query's own text may come back in an error
        leaks = [n for n in names if n != tenant and (f"only-{n}\"" in body or f"svc-{n}\"" in body or
                                                      f"id-{n}" in body) and not echoed]
        if leaks or (not allowed and r.status == 200):
            crossed.append((who, tenant, path, headers, r.status, leaks, body[:200]))
        if allowed == (r.status in (401, 403)):
            wrong.append((who, tenant, path, write, r.status, body[:200]))
    conn.close()
    return crossed, wrong


def reloads(c, _kube):
    """SIGHUP reads tenants.yaml and rbac.yaml again; requests meanwhile see no difference."""
    def role(*tenants):
        return {"roles": [{**ROLES["roles"][0], "tenants": list(tenants)}], "roleBindings": ROLES["roleBindings"]}
    with FakeOidc() as issuer:
        one, two = (oidc_tenant(n, f"id-{n}", issuer, groupClaim="groups") for n in ("one", "two"))
        g = Gateway(gateway={"mode": "static"})
        tenants, rbac = g.folder / "tenants.yaml", g.folder / "rbac.yaml"
        del g.config["gateway"]["tenants"]
        g.config["gateway"].update(tenants_file=str(tenants), rbac_file=str(rbac))
        g.config["overrides"] = {"per_tenant_override_period": "1s"}  # old ones are freed by the same clock

        def status(tenant, name="alice"):
            return g.get("/api/echo", issuer.mint(sub=name, groups=[]), tenant).status

        def reload(*list_of, roles=None, text=None):
            tenants.write_text(text or json.dumps({"tenants": list(list_of)}))
            rbac.write_text(json.dumps(role(*(roles or ["one", "two"]))))
            before = g.log_text().count("reloaded certificates")
            if g.process is not None:
                g.process.send_signal(signal.SIGHUP)
                wait(lambda: g.log_text().count("reloaded certificates") > before)

        reload(one)
        with g:
            wait(lambda: status("one") == 200)
            c.equal("G109 not there yet", status("two"), 401)
            seen, stop = set(), threading.Event()

            def ask():
                token = issuer.mint(sub="alice", groups=[])
                while not stop.is_set():
                    seen.add(g.get("/api/echo", token, "one").status)
                    seen.add(g.export(pb(), token, "one").code)
            askers = [threading.Thread(target=ask) for _ in range(2)]
            for t in askers:
                t.start()
            for _ in range(4):
                reload(one, two)
                reload(one)
            reload(one, two)
            stop.set()
            for t in askers:
                t.join()
            c.equal("G109 requests meanwhile", seen, {200, 0})
            c.equal("G109 a new tenant", status("two"), 200)
            reload(one, two, roles=["two"])
            c.equal("G109 another role", (status("one"), status("two")), (403, 200))
            reload(text="tenants: [")
            c.equal("G109 a broken file changes nothing", (status("one"), status("two")), (403, 200))
            c.contains("G109 it is logged", g.log_text(), "the old ones hold")
            c.contains("G109 and shown", g.metrics(), "vivace_gateway_last_reload_successful 0")
            reload({**two, "rateLimits": [{"endpoint": "/api/echo", "limit": 1, "window": "1h"}]})
            c.equal("G109 a tenant that went", status("one"), 401)
            c.equal("G109 new limits", [status("two") for _ in range(2)], [200, 429])
            c.contains("G109 shown", g.metrics(), "vivace_gateway_last_reload_successful 1")
            reload(two)
            c.equal("G109 no limits", [status("two") for _ in range(2)], [200, 200])
            time.sleep(7)  # what was replaced is freed now: a sanitizer looks on


def run(c):
    with FakeKube() as kube:
        people(kube)
        for function in (files, flags, secrets, probes, bounds, certificates, confined, foreign_routes,
                         hostile_paths, smuggling, crossings, reloads):
            c.run(function.__name__, function, c, kube)
