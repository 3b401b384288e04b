#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Replays a conformance corpus against a running server and compares the answers.

    run.py [--url http://127.0.0.1:3200] [--otlp http://127.0.0.1:4318] [--tenant T] [--no-send]
           [--corpus corpus.json] [--cases cases.json] [--only GROUP[,GROUP]] [-v]

The corpus is OTLP/JSON whose times are relative to a base; each run moves it into the last ten
minutes, and moves the times in the requests and the answers with it. cases.json holds what Tempo
3.0.3 answered to the same requests. Answers are compared by meaning: sets of traces, spans,
attributes and series, never the order of JSON members. Needs Python 3.9 or later and nothing else.
Closing line: 'N passed, N failed'. Exit status 1 when any case fails.
"""
import argparse
import base64
import json
import math
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
TIME_KEYS = {"startTimeUnixNano", "endTimeUnixNano", "timeUnixNano"}


def http(method, url, headers=None, body=None, timeout=30):
    """(status, headers, body); status 0 when there was no answer at all."""
    req = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(req, timeout=timeout) as r:
            return r.status, dict(r.headers), r.read()
    except urllib.error.HTTPError as e:
        return e.code, dict(e.headers), e.read()
    except (urllib.error.URLError, OSError) as e:
        return 0, {}, str(e).encode()


# ---- times ----

def shift(node, delta_s):
    """Moves every time in an OTLP/JSON tree by delta_s seconds."""
    if isinstance(node, dict):
        return {k: str(int(v) + delta_s * 10**9) if k in TIME_KEYS and v else shift(v, delta_s)
                for k, v in node.items()}
    if isinstance(node, list):
        return [shift(x, delta_s) for x in node]
    return node


def delta_for(base, now=None):
    now = int(now or time.time())
    return ((now - 330) // 300) * 300 - base


def send(corpus, otlp, delta, tenant):
    h = {"Content-Type": "application/json"}
    if tenant:
        h["X-Scope-OrgID"] = tenant
    for r in corpus["requests"]:
        status, _, body = http("POST", otlp + "/v1/traces", h, json.dumps(shift(r, delta)).encode())
        if status != 200:
            sys.exit(f"ingest failed: HTTP {status} {body[:300]!r}")


def case_url(url, case, delta, base):
    params = []
    for k, v in case.get("params", []):
        if isinstance(v, dict):  # {"t": seconds after base}: a time in unix seconds
            v = str(base + v["t"] + delta)
        params.append((k, v))
    return url + case["path"] + ("?" + urllib.parse.urlencode(params) if params else "")


# ---- canonical forms ----

KINDS = ["SPAN_KIND_UNSPECIFIED", "SPAN_KIND_INTERNAL", "SPAN_KIND_SERVER", "SPAN_KIND_CLIENT",
         "SPAN_KIND_PRODUCER", "SPAN_KIND_CONSUMER"]
CODES = ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"]


def num(x):
    if isinstance(x, str):
        try:
            return float(x)
        except ValueError:
            return x
    return x


def anyvalue(v):
    if not isinstance(v, dict) or not v:
        return ("empty",)
    k, x = next(iter(v.items()))
    if k == "intValue":
        return ("int", int(x))
    if k == "doubleValue":
        return ("double", float(x))
    if k == "arrayValue":
        return ("array", tuple(anyvalue(e) for e in (x or {}).get("values", [])))
    if k == "kvlistValue":
        return ("kvlist", tuple(sorted((e["key"], anyvalue(e.get("value")))
                                       for e in (x or {}).get("values", []))))
    return (k, x)


def attrset(a):
    return sorted((e["key"], repr(anyvalue(e.get("value")))) for e in a or [])


def ident(s):
    """Trace and span ids come as hex (with or without leading zeros) or base64."""
    if not s:
        return ""
    if len(s) in (24, 12) and s.endswith("="):
        s = base64.b64decode(s).hex()
    return s.lower().lstrip("0")


def enum(v, names):
    return names.index(v) if v in names else int(v or 0)


def canon_span(s, res, sc, delta):
    def at(key, o=s):
        return int(o.get(key) or 0) - delta * 10**9

    st = s.get("status") or {}
    return [ident(s.get("spanId")), ident(s.get("parentSpanId")), ident(s.get("traceId")),
            s.get("name", ""), enum(s.get("kind"), KINDS), at("startTimeUnixNano"),
            at("endTimeUnixNano"), s.get("traceState", ""), enum(st.get("code"), CODES),
            st.get("message", ""), attrset(s.get("attributes")), res,
            [sc.get("name", ""), sc.get("version", ""), attrset(sc.get("attributes"))],
            sorted([at("timeUnixNano", e), e.get("name", ""), attrset(e.get("attributes"))]
                   for e in s.get("events") or []),
            sorted([ident(k.get("traceId")), ident(k.get("spanId")), attrset(k.get("attributes"))]
                   for k in s.get("links") or [])]


def canon_trace(body, delta):
    t = json.loads(body)
    t = t.get("trace", t) if "trace" in t or "batches" not in t else t
    out = []
    for rs in t.get("resourceSpans") or t.get("batches") or []:
        res = attrset((rs.get("resource") or {}).get("attributes"))
        for ss in rs.get("scopeSpans") or []:
            for s in ss.get("spans") or []:
                out.append(canon_span(s, res, ss.get("scope") or {}, delta))
    return sorted(out, key=repr)


def canon_spanset(s, delta):
    spans = sorted([ident(x.get("spanID")), x.get("name", ""),
                    int(x.get("startTimeUnixNano") or 0) - delta * 10**9,
                    int(x.get("durationNanos") or 0), attrset(x.get("attributes"))]
                   for x in s.get("spans") or [])
    return {"matched": s.get("matched", 0), "attributes": attrset(s.get("attributes")),
            "spans": spans}


def canon_search(body, delta):
    out = {}
    for t in json.loads(body).get("traces") or []:
        sets = t.get("spanSets") or ([t["spanSet"]] if t.get("spanSet") else [])
        out[ident(t["traceID"])] = {
            "rootServiceName": t.get("rootServiceName", ""),
            "rootTraceName": t.get("rootTraceName", ""),
            "start": int(t.get("startTimeUnixNano") or 0) - delta * 10**9,
            "durationMs": t.get("durationMs", 0), "serviceStats": t.get("serviceStats") or {},
            "spanSets": sorted((canon_spanset(s, delta) for s in sets), key=repr)}
    return out


def canon_metrics(body, delta):
    out = {}
    for s in json.loads(body).get("series") or []:
        key = repr(sorted((e["key"], anyvalue(e.get("value"))) for e in s.get("labels") or []))
        if "samples" in s or "value" not in s:
            out[key] = [[(int(x.get("timestampMs") or 0)) // 1000 - delta, num(x.get("value", 0))]
                        for x in s.get("samples") or []]
        else:
            out[key] = num(s["value"])
    return out


def canon_tags(body, _):
    d = json.loads(body)
    if "scopes" in d:
        return {s["name"]: sorted(s.get("tags") or []) for s in d["scopes"] or [] if s.get("tags")}
    return sorted(d.get("tagNames") or [])


def canon_values(body, _):
    return sorted(json.dumps(v, sort_keys=True) for v in json.loads(body).get("tagValues") or [])


def canon_none(_body, _):
    return None


def canon_text(body, _):
    return body.decode("utf-8", "replace").strip()


CANON = {"trace": canon_trace, "search": canon_search, "metrics": canon_metrics, "tags": canon_tags,
         "values": canon_values, "status": canon_none, "text": canon_text}


def close(a, b):
    """Equal, floating numbers to a relative 1e-6."""
    if isinstance(a, float) or isinstance(b, float):
        try:
            if math.isnan(a) and math.isnan(b):
                return True
            return a == b or abs(a - b) <= 1e-6 * max(abs(a), abs(b))
        except TypeError:
            return a == b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(close(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(close(x, y) for x, y in zip(a, b))
    return a == b


def canonical(case, status, body, delta):
    if status != 200:
        return None
    try:
        return json.loads(json.dumps(CANON[case["kind"]](body, delta)))
    except Exception as e:  # pylint: disable=broad-except # whatever a wrong answer causes
        return {"unreadable": f"{type(e).__name__}: {e}",
                "body": body[:200].decode("utf-8", "replace")}


# ---- running ----

def wait_visible(url, corpus, delta, headers, wait):
    """Waits until the last trace sent can be read and found by a search."""
    want = len(corpus["traces"])
    end = time.time() + wait
    q = urllib.parse.urlencode({"q": "{}", "limit": 1000, "start": corpus["base"] + delta - 60,
                                "end": corpus["base"] + delta + 400})
    while time.time() < end:
        status, _, body = http("GET", f"{url}/api/search?{q}", headers)
        if status == 200 and len(json.loads(body).get("traces") or []) >= want:
            return True
        time.sleep(.25)
    print(f"warning: not all of the {want} traces were searchable after {wait} s", file=sys.stderr)
    return False


def differences(got, want, path=""):
    """The first places where two canonical answers differ, as text."""
    if isinstance(got, dict) and isinstance(want, dict):
        for k in sorted(set(got) | set(want)):
            if k not in got:
                yield f"{path}/{k}: missing"
            elif k not in want:
                yield f"{path}/{k}: not wanted"
            else:
                yield from differences(got[k], want[k], f"{path}/{k}")
    elif isinstance(got, list) and isinstance(want, list) and len(got) == len(want):
        for i, (g, w) in enumerate(zip(got, want)):
            yield from differences(g, w, f"{path}[{i}]")
    elif not close(got, want):
        yield (f"{path}: got {json.dumps(got, ensure_ascii=False)[:400]}\n"
               f"      want {json.dumps(want, ensure_ascii=False)[:400]}")


def report(case, status, body, got, label, verbose):
    want = case["answer"]
    print(f"FAIL {label}{case['group']}: {case['name']}  (HTTP {status}, want {case['status']})")
    if not verbose:
        return
    if status == 200 and want is not None:
        for line in list(differences(got, want))[:5]:
            print("   " + line)
    elif status != 200:
        print("   got ", body[:300])
        if case.get("text"):
            print("   text", case["text"])


def run_cases(cases, base, url, delta, headers=None, only=(), verbose=False, label=""):
    """{group: [passed, failed]}; prints one line per failing case."""
    groups = {}
    for c in cases:
        if only and c["group"] not in only:
            continue
        status, _, body = http(c.get("method", "GET"), case_url(url, c, delta, base),
                               {**(headers or {}), **c.get("headers", {})})
        got, want = canonical(c, status, body, delta), c["answer"]
        ok = status == c["status"] and (want is None or close(got, want))
        groups.setdefault(c["group"], [0, 0])[0 if ok else 1] += 1
        if not ok:
            report(c, status, body, got, label, verbose)
    return groups


def load(corpus=None, cases=None):
    with open(corpus or os.path.join(HERE, "corpus.json"), encoding="utf-8") as f:
        corpus = json.load(f)
    with open(cases or os.path.join(HERE, "cases.json"), encoding="utf-8") as f:
        return corpus, json.load(f)


def options():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--url", default="http://127.0.0.1:3200")
    p.add_argument("--otlp", default="http://127.0.0.1:4318")
    p.add_argument("--tenant", default="")
    p.add_argument("--no-send", action="store_true")
    p.add_argument("--wait", type=float, default=60)
    p.add_argument("--corpus")
    p.add_argument("--cases")
    p.add_argument("--only", default="")
    p.add_argument("-v", action="store_true", help="print what differs")
    p.add_argument("--delta", type=int, help="use the times of an earlier run (with --no-send)")
    return p


def main():
    a = options().parse_args()
    corpus, cases = load(a.corpus, a.cases)
    headers = {"X-Scope-OrgID": a.tenant} if a.tenant else {}
    delta = a.delta if a.delta is not None else delta_for(corpus["base"])
    if not a.no_send:
        send(corpus, a.otlp, delta, a.tenant)
        wait_visible(a.url, corpus, delta, headers, a.wait)
    only = [g for g in a.only.split(",") if g]
    groups = run_cases(cases, corpus["base"], a.url, delta, headers, only, a.v)
    for g, (p, f) in sorted(groups.items()):
        print(f"{g:12} {p:4} passed {f:4} failed")
    passed, failed = (sum(g[i] for g in groups.values()) for i in (0, 1))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
