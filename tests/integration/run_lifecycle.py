#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Start, stop, signals: SIGTERM within two seconds with everything on disk, SIGHUP, a second process,
folders that cannot be used, the overrides file.
"""
import asyncio
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import own_time  # noqa: E402
from checks import Checks  # noqa: E402
from otlp import get, post, request, request_pb, span, window  # noqa: E402
from server import STOP_SECONDS, Server, patience, program, sanitized  # noqa: E402
from stop_clients import Clients, Grpc, Http  # noqa: E402

c = Checks()
PB = "application/x-protobuf"


def judge_of_a_stop():
    """own_time, by which each stop of all suites is judged: it counts sleep and work, and no neighbours."""
    sleeps, works = "import time; time.sleep(0.8)", "import time\nwhile time.process_time() < 0.8: pass"
    for name, code in (("sleep", sleeps), ("work", works)):
        passed, own = own_time.wait(subprocess.Popen([sys.executable, "-c", code]), 60)
        c.check(f"{name} counts", 0.75 < own <= passed, (own, passed))
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as held:
        neighbours = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
        passed, own = own_time.wait(subprocess.Popen([sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"]), 60)
        for p in neighbours:
            p.kill()
            p.wait()
        c.check("a place in line does not", 0.25 < own < 0.75 * passed, (own, passed))
        try:
            own_time.wait(held, 0.2)
            c.check("no end is told", False)
        except subprocess.TimeoutExpired:
            pass
        held.kill()


def clean_stop():
    """What was acked is in blocks, nothing is left to replay, fsck is content."""
    with Server() as server:
        traces = []
        for i in range(20):
            spans = [span(name=f"op-{i}") for _ in range(200)]
            traces.append(spans[0]["traceId"])
            c.equal("stored", post(server, request_pb(request(spans)), PB).status, 200)
        seconds = server.stop()
        c.check("in time", seconds < STOP_SECONDS * (5 if sanitized() else 1), seconds)
        blocks = list(server.data_dir.rglob("*.block"))
        c.check("blocks", blocks)
        status, text = server.fsck()
        c.equal("fsck", status, 0)
        c.contains("fsck counts", text, "4000 spans")
        seconds = server.start()
        c.check("starts at once", seconds < (5 if sanitized() else 0.5), seconds)
        c.contains("nothing to replay", server.log_text().rsplit("Starting", 1)[1], "wal_records=0")
        c.equal("all there", [get(server, f"/api/traces/{t}").status for t in traces], [200] * 20)


def replay_in_time():
    """10 s per GiB of log, judged by the CPU that the start takes: other processes do not count."""
    with Server({"distributor": {"max_attribute_bytes": 1 << 20}}) as server:
        for _ in range(12):
            spans = [span(attributes={"noise": random.randbytes(4000).hex()}) for _ in range(400)]
            c.equal("stored", post(server, request_pb(request(spans)), PB).status, 200)
        server.kill()
        mib = sum(p.stat().st_blocks * 512 for p in server.wal_dir.rglob("*.wal")) / 2**20
        server.start()
        seconds, said = server.cpu_seconds(), server.log_text().rsplit("Starting", 1)[1]
        c.check("from the log", mib > 16 and "wal_records=12" in said, (mib, said))
        c.check("in time", seconds < (0.5 + 10 * mib / 1024) * (10 if sanitized() else 1), (seconds, mib))


def stop_under_load():
    """Every ack before the end counts; SIGTERM does not wait for a client that goes on and on."""
    with Server({"overrides": {"defaults": {"ingestion": {"max_traces_per_user": 0}}}}) as server:
        acked, stop = [], threading.Event()

        def write():
            while not stop.is_set():
                spans = [span() for _ in range(50)]
                try:
                    a = post(server, request_pb(request(spans)), PB)
                    if a.status == 200 and a.body == b"\x0a\x00":
                        acked.append(spans[0]["traceId"])
                except OSError:
                    time.sleep(0.01)

        threads = [threading.Thread(target=write) for _ in range(4)]
        for t in threads:
            t.start()
        time.sleep(0.7)
        seconds = server.stop()
        stop.set()
        for t in threads:
            t.join()
        c.check("in time", seconds < STOP_SECONDS * (5 if sanitized() else 1), seconds)
        server.start()
        lost = [t for t in acked if get(server, f"/api/traces/{t}").status != 200]
        c.check(f"none of {len(acked)} lost", acked and not lost, lost[:3])


def stop_with_a_hundred_clients():
    """Each of them hears yes or no: nothing acked is lost, nothing is left open, nothing is left to replay."""
    for kind, port in ((Http, "otlp_http"), (Grpc, "otlp_grpc")):
        name = kind.__name__.lower()
        with Server({"overrides": {"defaults": {"ingestion": {"max_traces_per_user": 0}}}}) as server:
            clients = Clients(kind, getattr(server, port), 100)
            seconds = asyncio.run(clients.run(server.stop))
            n = clients.outcomes
            c.check(f"{name}: in time", seconds < STOP_SECONDS * (5 if sanitized() else 1), seconds)
            c.check(f"{name}: under way", n["acked"] >= 100 and n["refused"] > 0, n)
            # An instrumented server may be slower than the time that it gives a client to hear.
            c.check(f"{name}: a yes or a no for each", n["unknown"] == 0 or sanitized(), (n, clients.why[:3]))
            status, text = server.fsck()
            c.equal(f"{name}: fsck", status, 0)
            spans = [int(x) for x in re.findall(r"(\d+) spans", text)]
            stored = max(spans, default=0) / clients.spans
            c.check(f"{name}: exactly what was acked", n["acked"] <= stored <= n["acked"] + n["unknown"], (text, n))
            server.start()
            c.contains(f"{name}: nothing to replay", server.log_text().rsplit("Starting", 1)[1], "wal_records=0")
            some = random.sample(clients.acked, min(50, len(clients.acked)))
            c.equal(f"{name}: all there", [get(server, f"/api/traces/{t}").status for t in some], [200] * len(some))


def idle_connections_do_not_delay():
    import socket
    with Server() as server:
        held = [socket.create_connection(("127.0.0.1", p), 5)
                for p in (server.http_port, server.otlp_http, server.otlp_grpc) for _ in range(20)]
        half = socket.create_connection(("127.0.0.1", server.otlp_http), 5)
        half.sendall(b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        c.check("stops", server.stop() < STOP_SECONDS * (5 if sanitized() else 1))
        for s in held + [half]:
            s.close()


def signals():
    with Server() as server:
        s = span()
        post(server, request([s]))
        for _ in range(3):
            server.process.send_signal(signal.SIGHUP)
        server.process.send_signal(signal.SIGPIPE)
        time.sleep(0.3)
        c.check("SIGHUP and SIGPIPE do not end it", server.alive())
        c.equal("still answers", get(server, f"/api/traces/{s['traceId']}").status, 200)
        server.process.send_signal(signal.SIGINT)
        c.equal("SIGINT ends it as SIGTERM does", server.process.wait(5), 0)
        server.start()
        c.equal("and loses nothing", get(server, f"/api/traces/{s['traceId']}").status, 200)


def second_process():
    with Server() as server:
        other = Server({"storage": {"trace": {"local": {"path": str(server.data_dir)},
                                              "wal": {"path": str(server.wal_dir)}}}})
        other.spawn()
        c.equal("refuses", other.process.wait(10), 1)
        c.check("and says why", "lock" in other.log_text() or "another" in other.log_text(),
                other.log_tail(3))
        other.discard()
        c.check("the first goes on", server.is_ready())


def bad_folders():
    server = Server({"storage": {"trace": {"local": {"path": "/proc/nothing"}}}})
    server.spawn()
    c.equal("no folder can be made", server.process.wait(10), 1)
    c.contains("one clear line", server.log_text(), "/proc/nothing")
    server.discard()
    taken = Server()
    with taken:
        other = Server({"server": {"http_listen_port": taken.http_port}})
        other.spawn()
        c.equal("port in use", other.process.wait(10), 1)
        c.contains("and says which", other.log_text(), str(taken.http_port))
        other.discard()


def foreign_folders():
    """Of another owner: one clear line that says which. Of its own: the same data is served, without any privilege."""
    if os.geteuid() != 0:
        print("skipped: only root can make folders of another owner", file=sys.stderr)
        return
    nobody = 65534
    with Server() as server:
        s = span()
        c.equal("stored", post(server, request([s])).status, 200)
        server.stop()
        shutil.copy(program(), server.folder / "vivace")  # where it lies nobody may have no way
        server.folder.chmod(0o755)
        server.prefix = ["setpriv", f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups", "sh", "-c", 'exec ./vivace "$@"']
        for folder in (server.data_dir, server.wal_dir):
            before = len(server.log_text())
            server.spawn()
            c.equal(f"{folder.name}: refuses to start", server.process.wait(10 * patience()), 1)
            errors = [line for line in server.log_text()[before:].splitlines() if "level=error" in line]
            c.check(f"{folder.name}: one line that says which", len(errors) == 1 and "Permission denied" in errors[0] and str(folder) in errors[0],
                    server.log_text()[before:])
            for path in (folder, *folder.rglob("*")):
                os.chown(path, nobody, nobody)
        server.start()
        c.equal("its own: served", get(server, f"/api/traces/{s['traceId']}").status, 200)
        c.equal("its own: taken", post(server, request([span()])).status, 200)


def read_only_root():
    """As `docker run --read-only`: nothing can be written but the two folders. Write, read, flush, kill, replay, stop."""
    server = Server({"live_store": {"max_block_duration": "1s"}})
    for folder in (server.data_dir, server.wal_dir):
        folder.mkdir(parents=True, exist_ok=True)
    server.prefix = ["unshare", "-rm", "sh", "-c", 'mount --bind "$0" "$0" && mount --bind "$1" "$1" && mount --bind "$2" "$2" && '
                     'mount -o remount,bind,ro "$0" && mount -o remount,bind,ro / && ! touch "$0/x" 2>/dev/null && ! touch /x 2>/dev/null && '
                     'shift 2 && exec "$@"', str(server.folder), str(server.data_dir), str(server.wal_dir)]
    if subprocess.run([*server.prefix, "true"], capture_output=True, check=False).returncode != 0:
        print("skipped: no mount namespace may be made here", file=sys.stderr)
        server.discard()
        return
    with server:
        sent = [span(), span()]
        c.equal("stored", post(server, request(sent[:1])).status, 200)
        end = time.monotonic() + 20 * patience()
        while not any(server.data_dir.rglob("*.block")) and time.monotonic() < end:
            time.sleep(0.1)
        c.check("flushed", any(server.data_dir.rglob("*.block")))
        c.equal("stored", post(server, request(sent[1:])).status, 200)
        server.kill()
        server.start()
        for s in sent:
            c.equal("served after kill -9", get(server, f"/api/traces/{s['traceId']}").status, 200)
        server.stop()
        c.equal("a clean stop", server.process.returncode, 0)
        c.check("nothing in its log", "level=error" not in server.log_text(), server.log_text())


def command_line():
    def run(*args):
        done = subprocess.run([program(), *args], capture_output=True, text=True, timeout=20,
                              check=False)
        return done.returncode, done.stdout, done.stderr

    code, out, _ = run("-version")
    c.equal("-version", (code, out.startswith("tempo, version ")), (0, True))
    c.equal("-help", run("-help")[0], 0)
    code, _, err = run("-no-such-flag")
    c.equal("unknown flag", code, 2)
    c.contains("unknown flag", err, "flag provided but not defined: -no-such-flag")
    code, _, err = run("-config.file=/nonexistent.yaml")
    c.equal("missing file", code, 1)
    c.contains("missing file", err, "/nonexistent.yaml")
    with Server() as server:
        c.equal("-health", run("-health", f"-health.url={server.url}/ready")[0], 0)
        url = server.url
        local = f"-health.url=http://localhost:{server.http_port}/ready"
        c.equal("-health of localhost", run("-health", local)[0], 0)
        # As in an image without /etc/hosts; where no namespace may be made, the line above has to do.
        hidden = ["unshare", "-rm", "sh", "-c", 'mount --bind /dev/null /etc/hosts && exec "$@"', "sh"]
        if subprocess.run([*hidden, "true"], capture_output=True, check=False).returncode == 0:
            done = subprocess.run([*hidden, program(), "-health", local], capture_output=True, check=False)
            c.equal("-health of localhost without /etc/hosts", done.returncode, 0)
    c.equal("-health of a dead server", run("-health", f"-health.url={url}/ready")[0], 1)
    c.equal("fsck without arguments", run("fsck")[0], 2)


def overrides_file():
    """Per-tenant limits from a file, read again while running; a broken file keeps the old ones."""
    server = Server({"multitenancy_enabled": True})
    path = server.folder / "overrides.yaml"

    def write(content):
        fresh = path.with_suffix(".new")
        fresh.write_text(content if isinstance(content, str) else json.dumps(content))
        os.replace(fresh, path)

    def limit(n):
        return {"ingestion": {"rate_limit_bytes": n, "burst_size_bytes": n}}

    def send(tenant):
        return post(server, request([span(attributes={"pad": "x" * 1500})]),
                    headers={"X-Scope-OrgID": tenant}).status

    def wait(tenant, status):
        end = time.monotonic() + 25
        while time.monotonic() < end:
            if send(tenant) == status:
                return True
            server.process.send_signal(signal.SIGHUP)
            time.sleep(0.2)
        return False

    write({"overrides": {"small": limit(500), "*": limit(10**9)}})
    server.config["overrides"] = {"per_tenant_override_config": str(path),
                                  "per_tenant_override_period": "1s"}
    with server:
        c.equal("entry", send("small"), 429)
        c.equal("wildcard", send("anyone"), 200)
        write({"overrides": {"small": limit(10**9), "*": limit(500)}})
        c.check("reloaded: entry", wait("small", 200))
        c.check("reloaded: wildcard", wait("anyone", 429))
        write("overrides: [this is: not")
        server.process.send_signal(signal.SIGHUP)
        time.sleep(1.5)
        c.equal("broken file keeps the limits", (send("small"), send("anyone")), (200, 429))
        metrics = get(server, "/metrics").text
        c.check("and shows in a metric", any(
            x.startswith("tempo_runtime_config_last_reload_successful") and x.endswith(" 0")
            for x in metrics.splitlines()))
        write({"overrides": {"zeros": {"global": {"max_bytes_per_trace": 5}}}})
        c.check("no wildcard any more", wait("anyone", 200))
        c.equal("an entry without rates refuses all", send("zeros"), 429)
        a = post(server, request([span()]), headers={"X-Scope-OrgID": "zeros"})
        c.contains("zeros in the text", a.text,
                   "(local: 0 bytes/s, global: 0 bytes/s, burst: 0 bytes)")
        c.equal("no Retry-After", a.header("retry-after"), "")
    broken = Server()
    (broken.folder / "overrides.yaml").write_text("overrides: [this is: not")
    broken.config["overrides"] = {"per_tenant_override_config":
                                  str(broken.folder / "overrides.yaml")}
    broken.spawn()
    c.equal("broken at start", broken.process.wait(10), 1)
    broken.discard()


def retention():
    with Server({"backend_worker": {"compaction": {"block_retention": "3s"}},
                 "backend_scheduler": {"provider": {"retention": {"interval": "1s"}}},
                 "live_store": {"max_block_duration": "1s", "flush_check_period": "200ms"}}) as server:
        old, stay = span(start=time.time_ns() - 60 * 10**9), span()
        post(server, request([old]))
        time.sleep(0.2)
        found = get(server, f"/api/traces/{old['traceId']}").status
        c.equal("found at first", found, 200)
        end = time.monotonic() + 12
        while time.monotonic() < end and get(server, f"/api/traces/{old['traceId']}").status == 200:
            time.sleep(0.2)
        c.equal("gone within a cycle", get(server, f"/api/traces/{old['traceId']}").status, 404)
        post(server, request([stay]))
        c.equal("a fresh one stays", get(server, f"/api/traces/{stay['traceId']}").status, 200)
        c.check("search agrees", old["traceId"].lstrip("0") not in
                [t["traceID"] for t in get(server, "/api/search", q="{}", **window()).json()["traces"]])


def main():
    for function in (judge_of_a_stop, clean_stop, replay_in_time, stop_under_load, stop_with_a_hundred_clients, idle_connections_do_not_delay, signals,
                     second_process, bad_folders, foreign_folders, read_only_root, command_line, overrides_file, retention):
        c.run(function.__name__, function)
    c.finish()


if __name__ == "__main__":
    main()
