#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""House rules that no compiler checks: licence line, sizes, blanks, scratch left behind.

Usage: tidy.py [ROOT]        check the tree
       tidy.py --self-test   prove that every rule can fail
"""
import re
import sys

import source_tree

LINES_MAX = 800
COLUMNS_MAX = 100

SOURCES = (".c", ".h", ".cc", ".cpp", ".hpp")
SCRIPTS = (".py", ".sh", "meson.build", "Makefile", ".mk")
TEXTS = SOURCES + SCRIPTS + (".md", ".yml", ".yaml", ".json", ".txt", ".proto", ".js", ".go", ".toml")
NEED_SPDX = SOURCES + SCRIPTS + (".proto", ".js", ".go")
TABS_ALLOWED = ("Makefile", ".mk", ".go", ".json")

SCRATCH = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX)\b")
MACHINE = re.compile(r"/(ho" r"me|Us" r"ers)/[a-z]\w*/|/wo" r"rk/(main|wt|shared)\b")


def check_line(path, number, line, is_source):
    if line.endswith((" ", "\t")) or "\r" in line:
        yield f"{path}:{number}: blanks at the end of the line"
    if "\t" in line and not path.endswith(TABS_ALLOWED):
        yield f"{path}:{number}: a tab"
    if SCRATCH.search(line):
        yield f"{path}:{number}: scratch mark {SCRATCH.search(line).group(1)}"
    if MACHINE.search(line):
        yield f"{path}:{number}: path of a developer machine"
    if is_source and len(line) > COLUMNS_MAX and not overlong_allowed(line):
        yield f"{path}:{number}: {len(line)} columns, {COLUMNS_MAX} allowed"


def overlong_allowed(line):
    """A string literal is never broken: people search for messages."""
    return '"' in line and len(re.sub(r'"(\\.|[^"\\])*"', '""', line)) <= COLUMNS_MAX


def check_source(path, text):
    lines = text.split("\n")
    if len(lines) - 1 > LINES_MAX:
        yield f"{path}: {len(lines) - 1} lines, {LINES_MAX} allowed"
    if path.endswith((".h", ".hpp")) and "#pragma once" not in text:
        yield f"{path}: header without #pragma once"
    for number, code in enumerate(source_tree.code_only(text).split("\n"), 1):
        if "//" in code:
            yield f"{path}:{number}: // is for scratch, comments are /* */"


def check_file(root, path):
    text = source_tree.read(root, path)
    is_source = path.endswith(SOURCES)
    if path.endswith(NEED_SPDX) and "SPDX-License-Identifier: Apache-2.0" not in text[:200]:
        yield f"{path}:1: no SPDX line at the top"
    if text and not text.endswith("\n"):
        yield f"{path}: no newline at the end"
    if text.endswith("\n\n"):
        yield f"{path}: empty lines at the end"
    table = False  # between clang-format off and on: tables keep their shape
    for number, line in enumerate(text.split("\n"), 1):
        if "clang-format off" in line:
            table = True
        elif "clang-format on" in line:
            table = False
        yield from check_line(path, number, line, is_source and not table)
    if is_source:
        yield from check_source(path, text)


def check(root):
    for path in source_tree.files(root, TEXTS):
        if "golden/" in path or "/testdata/" in path or path.endswith(".min.js"):
            continue
        yield from check_file(root, path)


def self_test():
    spdx = "/* SPDX-License-Identifier: Apache-2.0 */\n"
    good = {
        "src/a.c": spdx + 'const char *s = "http://x // y";\n',
        "src/long.c": spdx + 'f("' + "x" * 120 + '");\n',
        "src/table.c": spdx + "/* clang-format off */\n" + "1, " * 50 + "1\n/* clang-format on */\n",
        "Makefile": "# SPDX-License-Identifier: Apache-2.0\na:\n\tb\n",
    }
    planted = [
        ("src/b.c", "int x;\n"),                            # no SPDX
        ("src/b.py", "x = 1\n"),
        ("src/b.h", spdx + "int x;\n"),                     # no include guard
        ("src/b.c", spdx + "\n" * LINES_MAX),               # one line too many
        ("src/b.c", spdx + "x" * (COLUMNS_MAX + 1) + "\n"),
        ("src/b.c", spdx + "\tint x;\n"),
        ("src/b.c", spdx + "int x; \n"),
        ("src/b.c", spdx + "int x;\r\n"),
        ("src/b.c", spdx + "int x;"),
        ("src/b.c", spdx + "/* TO" + "DO later */\n"),
        ("src/b.md", "FIX" + "ME\n"),
        ("src/b.md", "see /ho" + "me/joe/src/a.c\n"),
        ("src/b.c", spdx + "int x; // scratch\n"),
        ("src/b.md", "text\n\n"),
    ]
    return source_tree.self_test(check, good, planted)


if __name__ == "__main__":
    sys.exit(self_test() if "--self-test" in sys.argv else source_tree.main("tidy", check))
