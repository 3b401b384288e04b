#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Time to the acknowledgement: group commit with many clients, and stalls while blocks are written and merged.

run_latency.py [--clients 100] [--rate 2000] [--seconds 5] [--proto grpc,http] [--stalls MINUTES] [--beside] [--vivace build/vivace]

Small requests (10 spans or so, one trace) of --clients connections, first as fast as they are answered, then --rate a second,
where a latency counts from when the request was due. `disk` is pwrite and fdatasync of 4 KiB alone, before and after: `p50_over_disk` is
what the server makes of it. On a machine where client and server share the cores, a closed loop measures CPU: its p50 is clients / rate.

--beside shows why long files are written in pieces: the same loop while 192 MiB are written and synced as a whole, or by 1 MiB each.

--stalls sends requests of 500 spans at 70 % (--share) of the rate that the server was just seen to take, with blocks cut every 10 s and merges
looked for every 2 s, and tells every request that took over 50 ms together with what the server's log says of that time.
"""
import argparse
import datetime
import re

from lab import TOP, Lab, corpus, line

CUT_OFTEN = {"server": {"log_level": "debug"},
             "live_store": {"max_block_duration": "10s"},
             "backend_scheduler": {"provider": {"compaction": {"compaction": {"compaction_cycle": "2s"}}}}}
DURATION = re.compile(r"\b(took|lock|log|head|queue|sync)=([\d.]+)(ms|us|µs|ns|s)")
UNITS = {"s": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def rounded(r, *names):
    return {n: round(r[n], 3) if isinstance(r[n], float) else r[n] for n in names if n in r}


def group_commit(lab, a, small):
    disk = lab.disk()
    for proto in a.proto.split(","):
        lab.send(small, proto, clients=a.clients, seconds=1)
        for rate in (0, a.rate):
            r = lab.send(small, proto, clients=a.clients, seconds=a.seconds, rate=rate)
            line(result=f"ack, {a.clients} clients of {proto}, " + (f"{rate} requests/s" if rate else "closed loop"),
                 value=round(r["p50_ms"], 3), unit="ms", better="less",
                 **rounded(r, "p50_ms", "p99_ms", "p999_ms", "max_ms", "requests", "requests_per_s", "refused", "broken", "first_error",
                           "requests_per_sync", "sync_mean_ms", "client_cpu_us_a_request", "server_cpu_us_a_request"),
                 disk_p50_ms=disk["p50_ms"], p50_over_disk=round(r["p50_ms"] / disk["p50_ms"], 2))
    again = lab.disk()
    if a.beside:
        for how in ("whole", "pieces", "whole", "pieces"):
            r = lab.disk(seconds=a.seconds, beside=how)
            line(result=f"disk while 192 MiB are written and synced, {how}", value=r["max_ms"], unit="ms", better="less",
                 **rounded(r, "p50_ms", "p99_ms", "p999_ms", "max_ms", "n"))
    line(result="disk alone, 4 KiB pwrite + fdatasync", value=again["p50_ms"], unit="ms",
         before=rounded(disk, "p50_ms", "p99_ms", "max_ms"), after=rounded(again, "p50_ms", "p99_ms", "max_ms"))


def events(server):
    """(begin, end, words) of what the server says took long; the steps of a slow ack apart."""
    out = []
    for text in server.log_text().splitlines():
        at = re.search(r"ts=(\S+)", text)
        msg = re.search(r'msg=("[^"]*"|\S+)', text)
        took = DURATION.search(text)
        if at and msg and took and took[1] == "took":
            end = datetime.datetime.fromisoformat(at[1]).timestamp()
            words = msg[1].strip('"')
            if words == "slow ack":
                words += ": " + ", ".join(f"{n} {round(float(v) * UNITS[u] * 1e3, 1)} ms" for n, v, u in DURATION.findall(text)[1:])
            out.append((end - float(took[2]) * UNITS[took[3]], end, words))
    return out


def incidents(slow):
    """Slow requests that overlap in time are one incident: (begin, end, slowest in ms, how many)."""
    out = []
    for s in sorted(slow, key=lambda s: s["at_s"]):
        begin, end = s["at_s"], s["at_s"] + s["ms"] / 1e3
        if out and begin < out[-1][1]:
            out[-1] = [out[-1][0], max(end, out[-1][1]), max(s["ms"], out[-1][2]), out[-1][3] + 1]
        else:
            out.append([begin, end, s["ms"], 1])
    return out


def stalls(lab, a, large):
    most = lab.send(large, "grpc", clients=8, seconds=8)
    rate = a.share * most["requests_per_s"]
    before = lab.metrics()
    r = lab.send(large, "grpc", clients=16, seconds=a.stalls * 60, rate=rate, slow_ms=50)
    after = lab.metrics()
    happened = events(lab.server)
    for begin, end, worst, n in incidents(r.get("slow") or []):
        during = [e for e in happened if e[0] < end and e[1] > begin]
        line(incident_ms=round(worst, 1), requests=n, lasted_ms=round((end - begin) * 1e3, 1), at=round(begin, 3),
             server=[f"{e[2]} ({round((e[1] - e[0]) * 1e3)} ms)" for e in during])
    count = {k: after.get(n, 0) - before.get(n, 0) for k, n in (("flushes", "tempo_ingester_blocks_flushed_total"),
                                                               ("blocks_merged", "tempodb_compaction_blocks_total"),
                                                               ("merges_paused_s", "vivace_compaction_paused_seconds_total"))}
    line(result="longest wait for an ack while flushing and merging", value=round(r["max_ms"], 1), unit="ms",
         better="less", **rounded(r, "p50_ms", "p99_ms", "p999_ms", "over_50_ms", "over_100_ms", "requests", "spans_per_s", "refused", "broken",
                                  "first_error", "requests_per_sync", "sync_mean_ms"),
         due_requests_per_s=round(rate, 1), share=a.share, minutes=a.stalls, **count)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--clients", type=int, default=100)
    ap.add_argument("--rate", type=int, default=2000)
    ap.add_argument("--seconds", type=float, default=5)
    ap.add_argument("--proto", default="grpc,http")
    ap.add_argument("--stalls", type=float, default=0, help="minutes; 0: only group commit")
    ap.add_argument("--beside", action="store_true", help="the disk's own syncs beside a large file, too")
    ap.add_argument("--share", type=float, default=0.7, help="of the maximum, with --stalls")
    ap.add_argument("--vivace", default=str(TOP / "build" / "vivace"))
    a = ap.parse_args()
    if a.stalls == 0:
        with Lab(a.vivace) as lab:
            group_commit(lab, a, corpus("small", 2000, 1))
    else:
        with Lab(a.vivace, CUT_OFTEN) as lab:
            stalls(lab, a, corpus("large", 6000, 500))


if __name__ == "__main__":
    main()
