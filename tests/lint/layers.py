#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Who may include whom: the table below is the rule, this test is its guard.

Usage: layers.py [ROOT]        check the tree
       layers.py --self-test   prove that every rule can fail
"""
import os
import re
import sys

import source_tree

# Layer -> layers whose public headers (include/<layer>/) it may include, besides its own.
LAYERS = {
    "base": [],
    "model": ["base"],
    "config": ["base"],
    "client": ["base"],
    "auth": ["client", "base"],
    "server": ["base"],
    "receivers": ["model", "base"],
    "storage": ["model", "base"],
    "query": ["storage", "model", "base"],
    "generator": ["query", "model", "base"],
    "remote_write": ["client", "query", "model", "base"],
    "gateway": ["client", "storage", "model", "base"],
    "api": ["query", "gateway", "storage", "server", "receivers", "config", "model", "base"],
    "front": ["api", "auth", "query", "server", "config", "client", "base"],
    "cmd": ["front", "auth", "client", "api", "generator", "remote_write", "query", "gateway", "storage", "server", "receivers",
            "config", "model", "base"],
}

# Tests and benchmarks see everything, and the private headers of the layer that they exercise.
OPEN_FOLDERS = ("tests/", "bench/")

# Third-party header -> folders that may include it. One folder, two at most.
THIRD_PARTY = {
    r"lmdb\.h": ["storage/catalog"],
    r"(zstd|zstd_errors|zdict)\.h": ["src/base", "src/server"],
    r"xxhash\.h": ["src/base"],
    r"microhttpd\.h": ["src/server"],
    r"nghttp2/.*\.h": ["src/server"],
    r"gnutls/.*\.h": ["src/server", "src/auth"],
    r"(zlib|libdeflate)\.h": ["src/server"],
    r"snappy-c\.h": ["src/server", "src/remote_write"],
    r"nettle/.*\.h": ["src/remote_write"],
    r"lz4(frame)?\.h": ["src/server"],
    r"yaml\.h": ["src/config", "src/gateway"],
    r"curl/.*\.h": ["src/client"],
    r"jansson\.h": ["src/auth", "src/api", "src/client"],  # what other services speak
    r"(google/protobuf-c|protobuf-c)/.*\.h": ["src/api", "src/receivers"],
    r".*\.pb-c\.h": ["src/api", "src/receivers"],
    r"re2/.*\.h": ["query"],
    r"cmocka\.h": [],
}

# The C library and the kernel; anything else in <> must be in the table above.
SYSTEM = re.compile(
    r"(assert|charconv|complex|ctype|dirent|dlfcn|endian|errno|execinfo|fcntl|fenv|float|fnmatch|getopt|glob|"
    r"grp|ifaddrs|immintrin|inttypes|iso646|limits|locale|malloc|math|memory|mutex|netdb|new|poll|"
    r"pthread|pwd|regex|sanitizer/(common_interface_defs|lsan_interface)|sched|semaphore|setjmp|signal|spawn|stdalign|stdarg|stdatomic|stdbool|stddef|"
    r"stdint|stdio|stdlib|string|strings|sysexits|syslog|termios|time|ucontext|unistd|wctype|"
    r"(arpa|linux|net|netinet|sys)/[a-z0-9_/]+)(\.h)?")

# Raw calls that would escape the shims: (where, exceptions, pattern, what to use).
CALLS = [
    (("storage/", "query/", "src/auth/", "src/gateway/", "src/remote_write/"), (),
     r"(open|openat|creat|pread|pwrite|read|write|fdatasync|fsync|ftruncate|truncate|fallocate|"
     r"posix_fallocate|rename|renameat|unlink|unlinkat|mkdir|rmdir|stat|fstat|lstat|opendir|fopen|"
     r"statvfs)", "base/io.h"),
    (("src/", "storage/", "query/"), ("src/base/clock.c",),
     r"(clock_gettime|gettimeofday|time)", "base/clock.h"),
]

INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]')


def layer_of(path):
    parts = path.split("/")
    if parts[0] in ("src", "include") and len(parts) > 2:
        return parts[1]
    if parts[0] in ("storage", "query"):
        return parts[0]
    return None


def check_quoted(root, path, header):
    folder = os.path.dirname(path)
    is_open = path.startswith(OPEN_FOLDERS)
    target = header.split("/")[0]
    if os.path.exists(os.path.join(root, "include", header)):
        layer = layer_of(path)
        if is_open or layer is None or layer == target or target in LAYERS.get(layer, []):
            return None
        return f"layer {layer} may not include {header} (layer {target})"
    if re.fullmatch(r"\.\./[\w.]+", header) and path.count("/") > 2:
        if os.path.exists(os.path.join(root, folder, header)):
            return None
    if "/" not in header:
        if os.path.exists(os.path.join(root, folder, header)):
            return None
        if is_open and os.path.exists(os.path.join(root, "tests/support", header)):
            return None
        if header.endswith(".pb-c.h"):
            return check_angled(path, header)
        return f"private header {header} is not in {folder}/"
    if is_open:
        for base in (root, os.path.join(root, "src"), os.path.join(root, folder)):
            if os.path.exists(os.path.join(base, header)):
                return None
    return f"{header} is neither public (include/) nor private to {folder}/"


def check_angled(path, header):
    if header.startswith(tuple(f"{layer}/" for layer in LAYERS)):
        return f"<{header}>: our own headers are included with quotes"
    for pattern, folders in THIRD_PARTY.items():
        if re.fullmatch(pattern, header):
            if path.startswith(OPEN_FOLDERS) or path.startswith(tuple(f + "/" for f in folders)):
                return None
            return f"<{header}> belongs to {', '.join(folders) or 'tests'} only"
    if SYSTEM.fullmatch(header):
        return None
    return f"<{header}> is in no table of layers.py"


def check_calls(path, number, code):
    for where, exceptions, calls, instead in CALLS:
        if not path.startswith(where) or path in exceptions:
            continue
        for m in re.finditer(r"(?<![\w.>])" + calls + r"\s*\(", code):
            before = code[:m.start()].rstrip()
            if re.search(r"(^|[\w*])$", before) and not before.endswith(("return", "else", "(void)")):
                if before:  # a declaration or definition of that name, not a call
                    continue
            yield f"{path}:{number}: {m.group(1)}() past {instead}"


def check_file(root, path):
    text = source_tree.read(root, path)
    raw_lines = text.split("\n")
    for number, code in enumerate(source_tree.code_only(text).split("\n"), 1):
        m = INCLUDE.match(raw_lines[number - 1]) if code.lstrip().startswith("#") else None
        if m:
            quoted = m.group(1) == '"'
            problem = check_quoted(root, path, m.group(2)) if quoted else \
                check_angled(path, m.group(2))
            if problem:
                yield f"{path}:{number}: {problem}"
        else:
            yield from check_calls(path, number, code)


def check(root):
    for path in source_tree.files(root, (".c", ".h", ".cc", ".cpp", ".hpp")):
        layer = layer_of(path)
        if layer is not None and layer not in LAYERS:
            yield f"{path}: folder of no layer"
        yield from check_file(root, path)


def self_test():
    good = {
        "include/base/a.h": "#include <stdint.h>\n",
        "include/storage/s.h": '#include "base/a.h"\n',
        "storage/wal/seg.h": "\n",
        "storage/wal/w.c": '#include "seg.h"\n#include "storage/s.h"\n'
                           "int f(void)\n{\n    return io->ops->open(x);\n}\n/* open(x) */\n",
        "src/server/int.h": "\n",
        "src/server/sub/x.c": '#include "../int.h"\n',
        "storage/catalog/c.c": "#include <lmdb.h>\n",
        "tests/support/t.h": "\n",
        "tests/unit/t.c": '#include "t.h"\n#include <cmocka.h>\n#include "storage/wal/seg.h"\n',
    }
    planted = [
        ("include/base/b.h", '#include "storage/s.h"\n'),       # an arrow that points back
        ("src/server/x.c", '#include "storage/s.h"\n'),         # servers never see spans
        ("storage/block/b.c", '#include "seg.h"\n'),            # another folder's private header
        ("storage/block/b.c", '#include "storage/wal/seg.h"\n'),  # the same, by path
        ("src/server/sub/y.c", '#include "../nowhere.h"\n'),    # no such header above
        ("src/base/x.c", '#include "../server/int.h"\n'),       # another layer's, by path
        ("storage/wal/x.c", "#include <lmdb.h>\n"),             # third party in a foreign folder
        ("src/base/x.c", "#include <cmocka.h>\n"),              # a test header in the program
        ("src/base/x.c", "#include <openssl/ssl.h>\n"),         # a dependency nobody agreed on
        ("src/base/x.c", "#include <base/a.h>\n"),              # our own header in angles
        ("src/model/x.c", '#include "base/nowhere.h"\n'),       # a header that is not there
        ("src/extra/x.c", "\n"),                                # a folder of no layer
        ("storage/wal/x.c", "int f(void)\n{\n    return open(p, 0);\n}\n"),
        ("storage/wal/x.c", "void f(void)\n{\n    fsync(fd);\n}\n"),
        ("query/x.c", "void f(void)\n{\n    t = time(NULL);\n}\n"),
    ]
    return source_tree.self_test(check, good, planted)


if __name__ == "__main__":
    sys.exit(self_test() if "--self-test" in sys.argv else source_tree.main("layers", check))
