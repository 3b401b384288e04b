#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The OpenTelemetry SDK for Node sends by gRPC, HTTP/protobuf and HTTP/JSON, with and without gzip;
what the API shows must be what the program set. Packages are pinned in sdk_node/package.json and
installed under build/.
"""
import base64
import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
import node  # noqa: E402
from checks import Checks  # noqa: E402
from otlp import get, window  # noqa: E402
from server import Server  # noqa: E402

c = Checks()
ATTRIBUTES = {
    "text": ("stringValue", "zażółć \U0001f600 <&>"), "empty": ("stringValue", ""),
    "yes": ("boolValue", True), "no": ("boolValue", False), "int": ("intValue", "-42"),
    "big": ("intValue", "9007199254740991"), "double": ("doubleValue", 1.5),
    "zero": ("intValue", "0"),
    "texts": ("arrayValue", [{"stringValue": "a"}, {"stringValue": "b"}]),
    "bools": ("arrayValue", [{"boolValue": True}, {"boolValue": False}]),
    "ints": ("arrayValue", [{"intValue": "1"}, {"intValue": "2"}]),
    "doubles": ("arrayValue", [{"doubleValue": 1.5}, {"doubleValue": -2.5}]),
    "none": ("arrayValue", []),
}


def plain(items):
    """{key: (member, value)}; an array's value is its list."""
    out = {}
    for kv in items or []:
        member, v = next(iter(kv["value"].items()))
        out[kv["key"]] = (member, (v or {}).get("values", []) if member == "arrayValue" else v)
    return out


def check_one(server, sent):
    c.equal("exported", sent["failures"], [])
    trace = get(server, f"/api/traces/{sent['trace']}").json()
    rs = trace["batches"][0]
    c.equal("one resource", len(trace["batches"]), 1)
    resource = plain(rs["resource"]["attributes"])
    c.equal("service", resource["service.name"], ("stringValue", "node " + sent["name"]))
    c.equal("resource int", resource["res.int"], ("intValue", "7"))
    c.equal("resource list", resource["res.list"],
            ("arrayValue", [{"stringValue": "x"}, {"stringValue": "y"}]))
    scope = rs["scopeSpans"][0]["scope"]
    c.equal("scope", (scope["name"], scope["version"]), ("node-lib", "3.2.1"))
    spans = {s["name"]: s for ss in rs["scopeSpans"] for s in ss["spans"]}
    c.equal("names", sorted(spans), ["child 0", "child 1", "child 2", "child 3", "root"])
    root = spans["root"]
    c.equal("attributes", plain(root["attributes"]), ATTRIBUTES)
    c.equal("start", root["startTimeUnixNano"], sent["start"])
    c.equal("end", int(root["endTimeUnixNano"]) - int(root["startTimeUnixNano"]), 10**9)
    c.equal("root id", base64.b64decode(root["spanId"]).hex(), sent["root"])
    c.check("root has no parent", not root.get("parentSpanId"))
    c.equal("kinds", [spans[n]["kind"] for n in sorted(spans)],
            ["SPAN_KIND_INTERNAL", "SPAN_KIND_CLIENT", "SPAN_KIND_PRODUCER", "SPAN_KIND_CONSUMER",
             "SPAN_KIND_SERVER"])
    c.check("parents", all(base64.b64decode(s["parentSpanId"]).hex() == sent["root"]
                           for n, s in spans.items() if n != "root"))
    failed = spans["child 0"]
    c.equal("status", failed["status"], {"message": "went wrong", "code": "STATUS_CODE_ERROR"})
    c.equal("ok", spans["child 2"]["status"], {"code": "STATUS_CODE_OK"})
    event = failed["events"][0]
    c.equal("event", (event["name"], plain(event["attributes"]), event["timeUnixNano"]),
            ("happened", {"what": ("stringValue", "this"), "n": ("intValue", "5")},
             str(int(sent["start"]) + 1500000)))
    link = spans["child 1"]["links"][0]
    c.equal("link", (base64.b64decode(link["traceId"]).hex(),
                     base64.b64decode(link["spanId"]).hex(), plain(link["attributes"])),
            (sent["trace"], sent["root"], {"why": ("stringValue", "test")}))
    found = get(server, "/api/search", q=f'{{ resource.service.name = "node {sent["name"]}" && '
                                         'span.int = -42 && span.yes = true }', **window()).json()
    c.equal("searched", [t["traceID"] for t in found["traces"]], [sent["trace"].lstrip("0")])


def main():
    try:
        folder = node.installed(HERE / "sdk_node")
    except (subprocess.CalledProcessError, OSError) as e:
        print(f"packages cannot be installed: {e}")
        print("0 passed, 1 failed")
        return 1
    with c.case("server"), Server() as server:
        done = subprocess.run(["node", "send.js", str(server.otlp_grpc), str(server.otlp_http)],
                              cwd=folder, capture_output=True, text=True, timeout=120, check=False)
        c.equal("sender", (done.returncode, done.stderr), (0, ""))
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        c.equal("exporters", len(lines), 6)
        for label in ("head", "block"):
            if label == "block":
                server.restart()
            for sent in lines:
                with c.case(f"{label}: {sent['name']}"):
                    check_one(server, sent)
    return c.finish()


if __name__ == "__main__":
    sys.exit(main())
