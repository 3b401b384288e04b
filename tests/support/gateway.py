# SPDX-License-Identifier: Apache-2.0
"""A server with its gateway on, TLS on every public port, in front of the fake Kubernetes API or issuer.

    with FakeKube() as kube, Gateway(kube=kube) as g:
        g.get("/api/echo", token="reader")            # /api/traces/v1/dev/tempo/api/echo
        g.export(pb, token="writer")                  # OTLP/gRPC
"""
import http.client
import json
import pathlib
import ssl
import time

import fake_pki
import raw_grpc
from otlp import Answer, request, request_pb, span
from server import Server, free_ports, merge, patience

DEV, PROD = "1610b0c3-c509-4592-a256-a1871353dbfa", "0123"
NAMES = ["localhost", "127.0.0.1"]
PB = "application/x-protobuf"


def openshift_tenant(name, identity, **extra):
    return {"name": name, "id": identity,
            "openshift": {"serviceAccount": "tempo-tracing", "cookieSecret": "0123456789abcdef" * 2,
                          "redirectURL": f"https://route.example/openshift/{name}/callback", **extra},
            "opa": {"url": "http://localhost:8082/v1/data/tempomonolithic/allow", "withAccessToken": True}}


def oidc_tenant(name, identity, issuer, **extra):
    return {"name": name, "id": identity,
            "oidc": {"clientID": issuer.client_id, "clientSecret": issuer.client_secret,
                     "issuerURL": issuer.url, "issuerCAPath": str(issuer.ca_file),
                     "redirectURL": f"https://route.example/oidc/{name}/callback", **extra}}


def wait(what, seconds=10):
    """What `what` says at last: something true, or that it never was."""
    end = time.monotonic() + seconds * patience()
    while not what() and time.monotonic() < end:
        time.sleep(0.05)
    return what()


class Gateway(Server):
    """extra: further configuration; gateway: further keys of the gateway section."""

    def __init__(self, kube=None, tenants=None, gateway=None, extra=None, tls=True, env=None):
        super().__init__(env=env)
        self.public, self.grpc, self.internal, self.ready_port = free_ports(4)
        self.tls = tls
        self.authority = fake_pki.Authority()
        section = {"enabled": True, "http_listen_address": f"127.0.0.1:{self.public}",
                   "grpc_listen_address": f"127.0.0.1:{self.grpc}",
                   "internal_listen_address": f"127.0.0.1:{self.internal}",
                   "tenants": tenants or [openshift_tenant("dev", DEV), openshift_tenant("prod", PROD)]}
        if kube is not None:
            section["kubernetes"] = kube.config()
        if tls:
            self.certify()
            files = {"cert_file": str(self.folder / "tls.crt"), "key_file": str(self.folder / "tls.key")}
            section["tls"] = {**files, "min_version": "VersionTLS12"}
            section["internal_tls"] = {**files, "min_version": "VersionTLS12"}
        self.config = merge(self.config, {
            "multitenancy_enabled": True, "gateway": section,
            "internal_server": {"enable": True, "http_listen_address": "127.0.0.1",
                                "http_listen_port": self.ready_port}})
        self.config = merge(self.config, {"gateway": gateway or {}})
        self.config = merge(self.config, extra or {})

    def certify(self, authority=None):
        """(New) certificate files, of another authority when given."""
        self.authority = authority or self.authority
        cert, key = self.authority.issue("gateway", NAMES)
        for name, data in (("tls.key", key), ("tls.crt", cert)):
            path = pathlib.Path(self.folder) / (name + ".new")
            path.write_bytes(data)
            path.chmod(0o600)
            path.rename(pathlib.Path(self.folder) / name)

    def context(self, alpn=None, pair=None):
        if not self.tls:
            return None
        context = ssl.create_default_context(cadata=self.authority.pem.decode())
        if alpn:
            context.set_alpn_protocols(alpn)
        if pair:
            context.load_cert_chain(*map(str, pair))
        return context

    # ---- requests ----

    def connect(self, port=None, timeout=30, pair=None):
        port = port or self.public
        if self.tls:
            return http.client.HTTPSConnection("127.0.0.1", port, timeout=timeout,
                                               context=self.context(pair=pair))
        return http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)

    def raw(self, method, path, headers=None, body=None, port=None, pair=None, timeout=30):
        """The path goes out as it is; redirects are not followed."""
        c = self.connect(port, timeout, pair)
        try:
            c.putrequest(method, path, skip_accept_encoding=True)
            for name, value in (headers or {}).items():
                for one in value if isinstance(value, list) else [value]:
                    c.putheader(name, one)
            if body is not None:
                c.putheader("Content-Length", str(len(body)))
            c.endheaders()
            if body is not None:
                c.send(body)
            r = c.getresponse()
            data = r.read()
            heads = {}
            for k, v in r.getheaders():
                heads[k.lower()] = heads[k.lower()] + "\n" + v if k.lower() in heads else v
            return Answer(r.status, heads, data)
        finally:
            c.close()

    @staticmethod
    def bearer(token, headers=None):
        return {**({"Authorization": f"Bearer {token}"} if token else {}), **(headers or {})}

    def get(self, path, token=None, tenant="dev", headers=None, method="GET", **options):
        return self.raw(method, f"/api/traces/v1/{tenant}/tempo{path}", self.bearer(token, headers),
                        **options)

    def post(self, body, token=None, tenant="dev", content_type=PB, headers=None, method="POST", **options):
        head = {"Content-Type": content_type, **(headers or {})}
        return self.raw(method, f"/api/traces/v1/{tenant}/v1/traces", self.bearer(token, head), body=body,
                        **options)

    def export(self, payload, token=None, tenant="dev", headers=(), **options):
        """tenant and token may be lists: as many metadata entries."""
        def listed(v):
            return [] if v is None else v if isinstance(v, list) else [v]
        head = [("x-scope-orgid", t) for t in listed(tenant)]
        head += [("authorization", f"Bearer {t}" if " " not in t else t) for t in listed(token)]
        with raw_grpc.Connection(self.grpc, self.context(["h2"])) as c:
            return c.call(payload, headers=head + list(headers), **options)

    def write(self, token, tenant="dev", spans=None, **options):
        """Sends by HTTP; returns the trace id of the first span."""
        spans = spans or [span()]
        a = self.post(request_pb(request(spans, **options)), token, tenant)
        assert a.status == 200, a
        return spans[0]["traceId"]

    def metrics(self):
        return self.raw("GET", "/metrics", port=self.internal).text


def error_of(answer):
    """The message of the gateway's own JSON; None when it is not one."""
    try:
        body = json.loads(answer.text)
    except ValueError:
        return None
    if list(body) != ["error", "errorType", "status"] or body["errorType"] != "observatorium-api":
        return None
    return body["error"]
