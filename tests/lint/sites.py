#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every call through base/io.h has a site of its own, and tests/fault/sites.txt lists them all.

A line of the list is `site operation file`, operation as in struct io_ops: what a fault plan names.
The fault loops read the list to say which calls they have never failed.

Usage: sites.py [ROOT]           check
       sites.py --write [ROOT]   write the list anew
       sites.py --self-test      prove that every rule can fail
"""
import os
import re
import sys

import source_tree

LIST = "tests/fault/sites.txt"
FOLDERS = ("src/", "storage/", "query/")
SHIM = ("src/base/io.c", "src/base/io_fault.c")  # pass sites on

# What a wrapper of io.h asks of the table below it.
OPS = {
    "open": ["open"], "close": ["close"], "pread": ["pread"], "pwrite": ["pwrite"],
    "fdatasync": ["fdatasync"], "fsync": ["fsync"], "ftruncate": ["ftruncate"],
    "fallocate": ["fallocate"], "rename": ["rename"], "unlink": ["unlink"],
    "mkdir": ["mkdir", "stat"], "mkdir_all": ["mkdir", "stat"], "rmdir": ["rmdir"],
    "stat": ["stat"], "fstat": ["fstat"], "fsync_dir": ["open", "fsync", "close"],
    "space": ["space"], "link": ["link"],
    "write_back": ["write_back"], "list": ["list"], "remove_tree": ["list", "unlink", "rmdir"],
}
CALL = re.compile(r"(?<![\w.>])io_(%s)\s*\(" % "|".join(sorted(OPS, key=len, reverse=True)))
ANY_CALL = re.compile(r'(?<![\w.>])io_(\w+)\s*\([^,()]*,\s*"[a-z_]+\.')
WRAPPER = re.compile(r"\b(\w+)\s*\(([^;{}()]*\bconst char \*site\b[^;{}()]*)\)\s*\{")
LITERAL = re.compile(r'"([^"\\]*)"')
NAME = re.compile(r"[a-z_]+\.[a-z_]+")


def arguments(text, code, at):
    """The arguments of the call whose parenthesis opens at `at`: their text, comments and all."""
    out, depth, begin = [], 0, at + 1
    for i in range(at, len(code)):
        c = code[i]
        if c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
            if depth == 0:
                out.append(text[begin:i].strip())
                return out
        elif c == "," and depth == 1:
            out.append(text[begin:i].strip())
            begin = i + 1
    return out


def body_end(code, at):
    depth = 0
    for i in range(at, len(code)):
        depth += {"{": 1, "}": -1}.get(code[i], 0)
        if depth == 0:
            return i
    return len(code)


def wrappers_of(sources):
    """{function: (index of its site argument, operations)} for functions that take a site."""
    found = {}
    for text, code in sources.values():
        for m in WRAPPER.finditer(code):
            names = [p.strip() for p in m.group(2).split(",")]
            index = next(i for i, p in enumerate(names) if re.search(r"\*site$", p))
            end = body_end(code, m.end() - 1)
            ops = []
            for call in CALL.finditer(code, m.end(), end):
                args = arguments(text, code, call.end() - 1)
                if len(args) > 1 and args[1] == "site":
                    ops += OPS[call.group(1)]
            if ops:
                found[m.group(1)] = (index, sorted(set(ops)))
    return found


def calls(sources):
    """(path, line, site argument, operations) of every call through the shim."""
    wrappers = wrappers_of(sources)
    pattern = re.compile(r"(?<![\w.>])(%s)\s*\(" % "|".join(wrappers)) if wrappers else None
    for path, (text, code) in sources.items():
        for m in CALL.finditer(code):
            args = arguments(text, code, m.end() - 1)
            line = code.count("\n", 0, m.start()) + 1
            yield path, line, args[1] if len(args) > 1 else "", OPS[m.group(1)]
        for m in pattern.finditer(code) if pattern else ():
            args = arguments(text, code, m.end() - 1)
            index, ops = wrappers[m.group(1)]
            if index < len(args) and "const char" not in args[index]:
                line = code.count("\n", 0, m.start()) + 1
                yield path, line, args[index], ops


def sites(root):
    """(rows of the list, problems)."""
    sources = {}
    for path in source_tree.files(root, (".c", ".cc")):
        if path.startswith(FOLDERS) and path not in SHIM:
            text = source_tree.read(root, path)
            sources[path] = (text, source_tree.code_only(text))
    rows, seen, problems = set(), {}, []
    for path, (text, _) in sources.items():
        for m in ANY_CALL.finditer(text):
            if m.group(1) not in OPS:
                line = text.count("\n", 0, m.start()) + 1
                problems.append(f"{path}:{line}: io_{m.group(1)} is not in the table of sites.py")
    for path, line, arg, ops in calls(sources):
        if arg == "site":
            continue  # inside a wrapper: its callers say
        names = LITERAL.findall(arg)
        if not names:
            problems.append(f"{path}:{line}: the site is not a literal: {arg}")
        for name in names:
            if not NAME.fullmatch(name):
                problems.append(f'{path}:{line}: a site is "area.purpose", not "{name}"')
            for op in ops if not name.startswith("defect.") else ():  # planted, in no release
                if (name, op) in seen:
                    problems.append(f'{path}:{line}: site "{name}" ({op}) is also at {seen[name, op]}')
                seen[name, op] = f"{path}:{line}"
                rows.add(f"{name} {op} {path}")
    return sorted(rows), problems


def check(root):
    rows, problems = sites(root)
    yield from problems
    if not rows and not os.path.exists(os.path.join(root, LIST)):
        return
    try:
        known = source_tree.read(root, LIST).splitlines()
    except FileNotFoundError:
        known = []
    for row in sorted(set(rows) - set(known)):
        name, op, path = row.split()
        yield f'{path}: site "{name}" ({op}) is not in {LIST} (tests/lint/sites.py --write)'
    for row in sorted(set(known) - set(rows)):
        yield f"{LIST}: {row} is not in the source any more (tests/lint/sites.py --write)"


def self_test():
    good = {
        "storage/wal/w.c": 'void f(void)\n{\n    io_open(io, "wal.open", p, 0, 0, &fd, err);\n'
                           '    io_pwrite(w, data ? "wal.append" : "wal.mark", fd, p, n, 0, err);\n}\n',
        "storage/wal/d.c": "void drop(struct t *t, const char *site, const char *p)\n{\n"
                           "    io_unlink(t->io, site, p, NULL);\n}\n"
                           'void g(void)\n{\n    drop(t, "wal.drop", p); /* io_open(io, "x") */\n}\n',
        LIST: "wal.append pwrite storage/wal/w.c\nwal.drop unlink storage/wal/d.c\n"
              "wal.mark pwrite storage/wal/w.c\nwal.open open storage/wal/w.c\n",
    }
    def use(name, call="io_close"):
        return f"void f(void)\n{{\n    {call}(io, {name}, fd, NULL);\n}}\n"
    planted = [
        ("storage/wal/x.c", use('"wal.new"')),               # not in the list
        ("storage/wal/x.c", use("name")),                    # no literal: nobody can plan for it
        ("storage/wal/x.c", use('"nothing"')),               # no area
        ("storage/wal/x.c", use('"wal.open"', "io_fsync_dir")),  # opens at a site that is taken
        ("storage/wal/x.c", use('"wal.open"', "io_new")),    # a call that the table does not know
        (LIST, good[LIST] + "wal.gone open storage/wal/w.c\n"),
    ]
    return source_tree.self_test(check, good, planted)


def write(root):
    rows, problems = sites(root)
    for p in problems:
        print(p)
    with open(os.path.join(root, LIST), "w", encoding="utf-8") as f:
        f.write("".join(row + "\n" for row in rows))
    print(f"{LIST}: {len(rows)} calls")
    return 1 if problems else 0


if __name__ == "__main__":
    if "--self-test" in sys.argv:
        sys.exit(self_test())
    if "--write" in sys.argv:
        sys.exit(write(next((a for a in sys.argv[1:] if not a.startswith("-")), ".")))
    sys.exit(source_tree.main("sites", check))
