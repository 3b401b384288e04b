#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""config/kubernetes: the objects hold together, are named as the operator names them, and the program
starts with exactly the pod's arguments, configuration and mounts (paths moved into a folder of the test).
"""
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import venv  # noqa: E402

venv.use("requirements.txt")

import yaml  # noqa: E402

from checks import Checks  # noqa: E402
from fake_kube import FakeKube  # noqa: E402
from gateway import Gateway  # noqa: E402
from gateway_http import people  # noqa: E402
from otlp import request, request_pb, span  # noqa: E402

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "config" / "kubernetes"
c = Checks()


def load(name):
    return [d for d in yaml.safe_load_all((FOLDER / name).read_text()) if d]


def every(kind, objects):
    return [o for o in objects if o["kind"] == kind]


def walk(node, path=""):
    if isinstance(node, dict):
        for k, v in node.items():
            yield from walk(v, f"{path}.{k}")
    elif isinstance(node, list):
        for i, v in enumerate(node):
            yield from walk(v, f"{path}[{i}]")
    else:
        yield path, node


# kind -> (apiVersion, required paths): what an API server would refuse to miss
SHAPES = {
    "ServiceAccount": ("v1", ()),
    "ClusterRole": ("rbac.authorization.k8s.io/v1", ("rules",)),
    "ClusterRoleBinding": ("rbac.authorization.k8s.io/v1", ("roleRef.apiGroup", "roleRef.kind", "roleRef.name",
                                                           "subjects")),
    "Service": ("v1", ("spec.selector", "spec.ports")),
    "StatefulSet": ("apps/v1", ("spec.selector.matchLabels", "spec.serviceName", "spec.template.metadata.labels",
                                "spec.template.spec.containers", "spec.volumeClaimTemplates")),
    "NetworkPolicy": ("networking.k8s.io/v1", ("spec.podSelector", "spec.policyTypes")),
    "Route": ("route.openshift.io/v1", ("spec.to.name",)),
    "ConfigMap": ("v1", ("data",)),
    "TempoMonolithic": ("tempo.grafana.com/v1alpha1", ("spec.management",)),
}


def at(node, path):
    for part in path.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def shapes(objects):
    for o in objects:
        version, paths = SHAPES[o["kind"]]
        name = f"{o['kind']} {o['metadata'].get('name')}"
        c.equal(f"{name}: apiVersion", o["apiVersion"], version)
        c.check(f"{name}: a name that DNS takes", re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,62}",
                                                                o["metadata"].get("name", "")))
        for path in paths:
            c.check(f"{name}: {path}", at(o, path) is not None)
        for path, value in walk(o):
            c.check(f"{name}{path}: no secret in it", "PRIVATE KEY" not in str(value) and
                    not path.endswith("cookieSecret"))


def together(objects, kustomization):
    pod = every("StatefulSet", objects)[0]
    spec, labels = pod["spec"]["template"]["spec"], pod["spec"]["template"]["metadata"]["labels"]
    box = spec["containers"][0]
    ports = {p["name"]: p["containerPort"] for p in box["ports"]}
    c.equal("ports of the pod", ports, {"public": 8080, "internal": 8081, "grpc-public": 8090, "http": 3200,
                                        "tempo-internal": 3101})
    service = every("Service", objects)[0]
    c.equal("the Service's name", service["metadata"]["name"], "tempo-tracing-gateway")
    c.equal("ports of the Service", [(p["name"], p["port"], p["targetPort"]) for p in service["spec"]["ports"]],
            [("public", 8080, "public"), ("internal", 8081, "internal"), ("http", 3200, "http"),
             ("otlp-grpc", 4317, "grpc-public")])
    secret = service["metadata"]["annotations"]["service.beta.openshift.io/serving-cert-secret-name"]
    c.equal("serving certificate", secret, "tempo-tracing-gateway-serving-cert")
    for name, selector in (("Service", service["spec"]["selector"]),
                           ("StatefulSet", pod["spec"]["selector"]["matchLabels"]),
                           ("NetworkPolicy", every("NetworkPolicy", objects)[0]["spec"]["podSelector"]
                            ["matchLabels"])):
        c.check(f"{name} selects the pod", selector.items() <= labels.items(), selector)
    for probe in ("readinessProbe", "livenessProbe"):
        c.check(f"{probe}: its port exists", box[probe]["httpGet"]["port"] in ports)
    for rule in every("NetworkPolicy", objects)[0]["spec"]["ingress"]:
        c.check("ingress ports exist", all(p["port"] in ports for p in rule["ports"]), rule)
    safe = box["securityContext"]
    c.check("confined", safe["readOnlyRootFilesystem"] and not safe["allowPrivilegeEscalation"] and
            safe["capabilities"] == {"drop": ["ALL"]} and spec["securityContext"]["runAsNonRoot"], safe)
    claim = pod["spec"]["volumeClaimTemplates"][0]
    c.equal("volume", claim["spec"]["resources"]["requests"]["storage"], "10Gi")
    volumes = {v["name"] for v in spec["volumes"]} | {claim["metadata"]["name"]}
    c.equal("mounts", {m["name"] for m in box["volumeMounts"]}, volumes)
    made = {g["name"] for kind in ("configMapGenerator", "secretGenerator") for g in kustomization[kind]}
    used = {v.get("configMap", {}).get("name") or v["secret"]["secretName"] for v in spec["volumes"]}
    c.equal("what is mounted exists", used - {secret}, made)
    account = every("ServiceAccount", objects)[0]
    c.equal("account", spec["serviceAccountName"], account["metadata"]["name"])
    binding = every("ClusterRoleBinding", objects)[0]
    c.equal("binding", (binding["subjects"][0]["name"], binding["subjects"][0]["namespace"],
                        binding["roleRef"]["name"]),
            (account["metadata"]["name"], kustomization["namespace"],
             every("ClusterRole", objects)[0]["metadata"]["name"]))
    redirect = account["metadata"]["annotations"]["serviceaccounts.openshift.io/oauth-redirectreference.dev"]
    c.equal("OAuth redirect", yaml.safe_load(redirect)["reference"],
            {"kind": "Route", "name": every("Route", objects)[0]["metadata"]["name"]})
    c.equal("the account's rights", every("ClusterRole", objects)[0]["rules"], [
        {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}])
    return box


def examples():
    roles = {r["metadata"]["name"]: r["rules"][0] for r in every("ClusterRole", load("access.example.yaml"))}
    for name, verb in (("traces-reader-dev", "get"), ("traces-writer-dev", "create")):
        c.equal(name, roles[name], {"apiGroups": ["tempo.grafana.com"], "resources": ["dev"],
                                    "resourceNames": ["traces"], "verbs": [verb]})
    collector = yaml.safe_load(load("collector.example.yaml")[0]["data"]["config.yaml"])
    host = "tempo-tracing-gateway.observability.svc.cluster.local"
    c.equal("collector: gRPC", collector["exporters"]["otlp"]["endpoint"], f"{host}:4317")
    c.equal("collector: HTTP", collector["exporters"]["otlphttp"]["endpoint"],
            f"https://{host}:8080/api/traces/v1/dev")
    c.equal("collector: tenant", collector["exporters"]["otlp"]["headers"], {"X-Scope-OrgID": "dev"})
    mono = load("console.example.yaml")[0]
    tenant = yaml.safe_load((FOLDER / "tenants.yaml").read_text())["tenants"][0]
    c.equal("console: the tenant", mono["spec"]["multitenancy"]["authentication"],
            [{"tenantName": tenant["name"], "tenantId": tenant["id"]}])
    c.equal("console: mode", mono["spec"]["multitenancy"]["mode"], "openshift")


def move(value, g, kube):
    """The pod's paths and ports become this run's."""
    ports = {8080: g.public, 8081: g.internal, 8090: g.grpc, 3200: g.http_port, 4317: g.otlp_grpc,
             4318: g.otlp_http}
    if isinstance(value, dict):
        return {k: move(v, g, kube) for k, v in value.items()}
    if value in ports:
        return ports[value]
    if not isinstance(value, str):
        return value
    m = re.fullmatch(r"(0\.0\.0\.0|localhost):(\d+)", value)
    if m:
        return f"{m.group(1)}:{ports[int(m.group(2))]}"
    for path, to in (("/var/tempo", g.folder / "volume"), ("/etc/tempo-gateway/serving-cert", g.folder),
                     ("/etc/tempo-gateway/tenants", FOLDER)):
        if value.startswith(path):
            return str(to) + value[len(path):]
    return value


def starts(box):
    c.equal("arguments", box["args"], ["-config.file=/conf/tempo.yaml"])
    with FakeKube() as kube:
        people(kube)
        g = Gateway(kube)
        g.config = move(yaml.safe_load((FOLDER / "tempo.yaml").read_text()), g, kube)
        g.config["server"]["grpc_listen_port"] = g.grpc_port
        g.config["internal_server"]["http_listen_port"] = g.ready_port
        g.config["gateway"]["kubernetes"] = kube.config()  # in a pod: the mounted account
        with g:
            c.equal("query", g.get("/api/echo", "reader").status, 200)
            c.equal("gRPC", g.export(request_pb(request([span()])), "writer").code, 0)
            for probe in ("/live", "/ready"):
                c.equal(probe, g.raw("GET", probe, port=g.internal).status, 200)
            c.check("data is on the volume", any((g.folder / "volume").iterdir()))


def main():
    kustomization = load("kustomization.yaml")[0]
    objects = [o for name in kustomization["resources"] for o in load(name)]
    listed = set(kustomization["resources"]) | {"kustomization.yaml", "tempo.yaml", "tenants.yaml"}
    c.equal("every file is listed or an example", sorted(p.name for p in FOLDER.glob("*.yaml")
            if p.name not in listed and ".example." not in p.name), [])
    shapes(objects + [o for p in FOLDER.glob("*.example.yaml") for o in load(p.name)])
    box = together(objects, kustomization)
    examples()
    c.run("starts", starts, box)
    c.finish()


if __name__ == "__main__":
    main()
