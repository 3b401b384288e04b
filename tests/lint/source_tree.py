# SPDX-License-Identifier: Apache-2.0
"""What the lints share: which files there are, C text without comments, and the self-test frame."""
import os
import sys
import tempfile

SKIP_FOLDERS = {".git", "data", "node_modules", ".venv", "__pycache__", "corpus", "subprojects"}


def files(root, endings):
    """Paths below root with one of the endings, sorted, build folders left out."""
    found = []
    for folder, sub, names in os.walk(root):
        sub[:] = [d for d in sub if d not in SKIP_FOLDERS and not d.startswith("build")]
        for name in names:
            if name.endswith(endings):
                found.append(os.path.relpath(os.path.join(folder, name), root))
    return sorted(found)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8", errors="surrogateescape",
              newline="") as f:
        return f.read()


def code_only(text):
    """C text with comments and the insides of literals blanked; line structure is kept.

    A `//` comment is left as the two slashes, so that a lint can see it."""
    out, i, n = [], 0, len(text)
    while i < n:
        c = text[i]
        if text.startswith("/*", i):
            end = text.find("*/", i + 2)
            end = n if end < 0 else end + 2
            out.append("".join("\n" if x == "\n" else " " for x in text[i:end]))
            i = end
        elif text.startswith("//", i):
            end = text.find("\n", i)
            end = n if end < 0 else end
            out.append("//" + " " * (end - i - 2))
            i = end
        elif c in "\"'":
            end = i + 1
            while end < n and text[end] != c and text[end] != "\n":
                end += 2 if text[end] == "\\" else 1
            end = min(end + 1, n)
            out.append(c + "".join("\n" if x == "\n" else " " for x in text[i + 1:end - 1]) + c)
            i = end
        else:
            out.append(c)
            i += 1
    return "".join(out)


def main(name, check):
    """Prints the violations and the closing line that scripts/test adds up."""
    root = next((a for a in sys.argv[1:] if not a.startswith("-")), ".")
    problems = list(check(root))
    for p in problems:
        print(p)
    n_files = len(files(root, (".c", ".h")))
    if n_files == 0:
        problems.append("no sources")
        print(f"{name}: no sources below {root}")
    print(f"{name}: {n_files} sources, {len(problems)} violations")
    return 1 if problems else 0


def write_tree(root, tree):
    for path, text in tree.items():
        full = os.path.join(root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8", newline="") as f:
            f.write(text)


def self_test(check, good, planted):
    """The good tree passes; each planted file alone makes a violation that names it."""
    failed = 0
    with tempfile.TemporaryDirectory() as root:
        write_tree(root, good)
        for p in check(root):
            failed += 1
            print(f"false alarm: {p}")
    for path, text in planted:
        with tempfile.TemporaryDirectory() as root:
            write_tree(root, {**good, path: text})
            if not any(p.startswith(path) for p in check(root)):
                failed += 1
                print(f"not noticed: {path}: {text[:60]!r}")
    print(f"self-test: {len(planted)} planted, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__" and sys.argv[1:] == ["--list"]:
    print("\n".join(files(".", (".c", ".h", ".cc", ".cpp", ".hpp"))))
