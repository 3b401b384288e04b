#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Does the comparison find mistakes? Each defect below is planted in the engine, the program built in
the build folder given, and run_oracle.py must report differences. Sources are put back afterwards.

    defects.py [BUILD]      default build/meson; some minutes
"""
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEFECTS = [
    ("query/exec/structural.c", "{HAS_CHILD, HAS_PARENT},        /* <  */",
     "{HAS_DESCENDANT, HAS_PARENT},   /* <  */", "`<` takes ancestors for parents"),
    ("query/exec/structural.c", "> (in[x] ? 1u : 0u)", "> 0u", "a span is its own sibling"),
    ("query/exec/trace_asm.c", "t->ids[child].kind == KIND_SERVER ? KIND_CLIENT : KIND_SERVER",
     "KIND_SERVER", "a server span attaches to a server span of a shared id"),
    ("query/exec/spanset.c", "l->n < r->n ? l : r", "l->n <= r->n ? l : r",
     "ties of a union begin with the left side"),
    ("query/exec/scalar.c", "v.i = f->sum_i / (int64_t)f->n;",
     "v.i = f->sum_i / (int64_t)f->n + 1;", "averages of durations are a nanosecond off"),
    ("query/exec/search.c", "    TRY(visit_pieces(s, err));\n", "",
     "a match in a part outside of the range is missed"),
    ("query/exec/metrics_fast.c", "if (c->shared->traces[c->slice.part] != NULL) {",
     "if (false && c->shared->traces[c->slice.part] != NULL) {", "retried spans count twice"),
    ("query/exec/eval.c", "*fixed = none ? PART_NONE : i;", "*fixed = PART_NONE;",
     "conditions on events may hold on different ones"),
    ("query/exec/metrics_second.c", "return a->top ? d : -d;", "return d;",
     "bottomk prefers the smaller label of equals"),
    ("query/plan/exact.c", "if (lower_nothing || (found && (events > 1 || links > 1)))", "if (lower_nothing)",
     "the prefilter is trusted with several conditions on events"),
    ("storage/store/blocks.c",
     "if ((*ba)->facts.lsn_first != (*bb)->facts.lsn_first)",
     "if (false && (*ba)->facts.lsn_first != (*bb)->facts.lsn_first)",
     "parts are not in the order of arrival"),
    ("query/exec/metrics_cached.c", "    buf_put(&p->question, &step, sizeof(step));\n", "",
     "what is kept of a query is found with any step"),
    ("query/exec/metrics_cached.c", "    tql_print_query(&p->question, req->q);\n", "",
     "what is kept of a query is found by any other"),
    ("query/exec/metrics_cached.c", "    query_cache_key_part(key, p->ctx->parts[s->part]);\n",
     "    buf_put(key, \"x\", 1);\n", "what is kept of a block is found of any block"),
    ("query/exec/metrics_cached.c", "    buf_put(key, cut, sizeof(cut));\n", "",
     "what is kept of a part of a block is taken for the block"),
    ("query/exec/metrics_cached.c", "    put_shared(p, key, s->part);\n", "",
     "what is kept of a block does not know which traces others have, too"),
    ("query/exec/metrics.c", "if (start > step)\n        start -= step;", "", "no leading bucket"),
]


def run(command, **kw):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, **kw)


def found(build):
    env = {**os.environ, "VIVACE": str(ROOT / build / "src/cmd/vivace"), "SEED": "20240601",
           "SHOW": "1"}
    done = run([sys.executable, "tests/oracle/run_oracle.py", "4000"], env=env)
    last = done.stdout.strip().splitlines()[-1:] or [done.stderr[-300:]]
    return done.returncode != 0, last[0]


def main():
    build, missed = (sys.argv[1] if len(sys.argv) > 1 else "build/meson"), 0
    for name, old, new, what in DEFECTS:
        path = ROOT / name
        text = path.read_text()
        if text.count(old) != 1:
            print(f"NOT PLANTED {what}: {name} has changed")
            missed += 1
            continue
        try:
            path.write_text(text.replace(old, new))
            done = run(["ninja", "-C", build, "-j2", "src/cmd/vivace"])
            caught, last = found(build) if done.returncode == 0 else (False, done.stdout[-500:])
        finally:
            path.write_text(text)
        missed += not caught
        print(f"{'found ' if caught else 'MISSED'} {what}: {last}", flush=True)
    run(["ninja", "-C", build, "-j2", "src/cmd/vivace"])
    print(f"{len(DEFECTS) - missed} passed, {missed} failed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
