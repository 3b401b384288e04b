#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Breaks comment lines over 100 columns: clang-format is told to leave comments alone, because its
reflow also joins lines that were meant to stand apart. Words that do not fit move to the next line
of the paragraph; a comment at the end of a code line moves above that line.

Usage: rewrap.py FILE...       rewrites in place
       rewrap.py --self-test
"""
import re
import sys
import textwrap

COLUMNS_MAX = 100
STAR = re.compile(r"^(\s*(?:\*|/\*)(?!/)\s*)(.*)$")
TRAILING = re.compile(r"^(\s*)(\S.*?\S|\S)\s*(/\*.*)$")


def is_paragraph_text(line, prefix):
    """Whether a line continues the paragraph that the line above it belongs to."""
    m = STAR.match(line)
    return bool(m) and m.group(1) == prefix and bool(re.match(r"[A-Za-z0-9(`'\"]", m.group(2))) \
        and not re.match(r"(\d+\.|SPDX)\s", m.group(2))


def break_star_line(lines, i):
    """Line i is comment text and too long: its last words move to line i + 1."""
    prefix, text = STAR.match(lines[i]).groups()
    close = text.endswith("*/")
    if close:
        text = text[:-2].rstrip() + "\u00a0*/"  # keeps the end with the last word
    follow = re.sub(r"/\*", " *", prefix) if "/*" in prefix else prefix
    item = re.match(r"(\d+\.|[-·])\s+", text)
    if item:
        follow += " " * len(item.group(0))
    rows = textwrap.wrap(text, COLUMNS_MAX - len(prefix), break_long_words=False,
                         break_on_hyphens=False)
    if len(rows) == 1:  # only blanks were too many
        lines[i] = (prefix + rows[0]).replace("\u00a0", " ")
        return len(lines[i]) <= COLUMNS_MAX
    head, rest = rows[0], text[len(rows[0]):].strip()
    if not close and i + 1 < len(lines) and is_paragraph_text(lines[i + 1], follow):
        lines[i:i + 2] = [prefix + head, follow + rest + " " + STAR.match(lines[i + 1]).group(2)]
    else:
        lines[i:i + 1] = [prefix + head, (follow + rest).replace("\u00a0", " ")]
    return True


def lift_trailing(lines, i):
    """Line i is code with a comment that is too long: the comment goes on lines of its own."""
    m = TRAILING.match(lines[i])
    indent, code, comment = m.groups()
    if code.endswith("\\") or lines[i].endswith("\\"):
        return False
    end = i
    while "*/" not in lines[end][lines[end].find("/*") + 2 if end == i else 0:]:
        end += 1
    if not lines[end].rstrip().endswith("*/"):
        return False
    text = " ".join([comment] + [re.sub(r"^\s*\*(?!/)\s*", "", x).strip()
                                 for x in lines[i + 1:end + 1]])
    lines[i:end + 1] = [indent + text, indent + code]
    return True


def rewrap(text):
    lines = text.split("\n")
    inside, i = False, 0
    while i < len(lines):
        line = lines[i]
        if len(line) > COLUMNS_MAX:
            starts = line.lstrip().startswith("/*")
            changed = False
            if inside or starts:
                if STAR.match(line) and (inside or line.rstrip().endswith("*/") or "*/" not in line):
                    changed = break_star_line(lines, i)
            elif TRAILING.match(line) and '"' not in line:
                changed = lift_trailing(lines, i)
            if changed:
                continue
        opened, closed = line.rfind("/*"), line.rfind("*/")
        if opened >= 0 or closed >= 0:
            inside = opened > closed
        i += 1
    return "\n".join(lines)


def words(text):
    return sorted(text.replace("/*", " ").replace("*/", " ").replace("*", " ").split())


def self_test():
    word = "word "
    cases = [
        ("/* A\n * " + word * 25 + "end.\n * next\n */\n", lambda t: "end. next\n" in t),
        ("/* " + word * 25 + "end. */\nint x;\n", lambda t: t.count("\n") == 3 and "end. */" in t),
        ("    int x; /* " + word * 20 + "end. */\n", lambda t: t.startswith("    /* word")
         and t.endswith("\n    int x;\n")),
        ("/* " + "word5 " * 16 + "1 */\n", lambda t: "\u00a0" not in t and t.endswith(" 1 */\n")),
        ("    int x; /* short */\n", lambda t: t == "    int x; /* short */\n"),
        ("/* a\n * - " + word * 25 + "end.\n * - b\n */\n", lambda t: " *   word" in t
         and "\n * - b\n" in t),
    ]
    failed = 0
    for text, holds in cases:
        out = rewrap(text)
        if not holds(out) or any(len(x) > COLUMNS_MAX for x in out.split("\n")) or \
                rewrap(out) != out or words(out) != words(text):
            failed += 1
            print(f"rewrap: {text!r} became {out!r}")
    print(f"self-test: {len(cases)} cases, {failed} failed")
    return 1 if failed else 0


def main():
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8", newline="") as f:
            old = f.read()
        new = rewrap(old)
        if new != old:
            with open(path, "w", encoding="utf-8", newline="") as f:
                f.write(new)
            print(f"rewrapped {path}")
    return 0


if __name__ == "__main__":
    sys.exit(self_test() if "--self-test" in sys.argv else main())
