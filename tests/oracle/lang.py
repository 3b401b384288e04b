# SPDX-License-Identifier: Apache-2.0
"""TraceQL as trees, and trees as text (spec traceql.md 2 and 3.3).

Expressions  ("lit", value) ("attr", attr) ("un", "-" or "!", e) ("bin", op, l, r) ("exists", e)
             ("absent", e); attr is (scope, name, of the parent): scope "" for `.x`, "i" for an
             intrinsic by its canonical name, else the scope's name
Spansets     ("filter", expression) ("op", op, l, r) ("pipe", [stages])
Stages       ("ss", spanset) ("scalar", op, scalar, scalar) ("by", e) ("select", [attrs])
             ("coalesce",)
Scalars      ("lit", value) ("agg", name, expression or None) ("arith", op, l, r)
Query        Query(stages, metric or None, second)
Metric       dict: fn, arg, by, quantiles, filter, top, start, end
Second       ("topk" or "bottomk", k) ("cmp", op, value)
"""
import dataclasses

LEVEL = {"&&": 2, "||": 2, "=": 3, "!=": 3, "<": 3, "<=": 3, ">": 3, ">=": 3, "=~": 3, "!~": 3,
         "+": 4, "-": 4, "*": 6, "/": 6, "%": 6, "^": 7}
STRUCTURAL = {f + o for f in ("", "!", "&") for o in (">", ">>", "<", "<<", "~")}
STATUS = ("unset", "ok", "error")
KIND = ("unspecified", "internal", "server", "client", "producer", "consumer")
ENDS_NAME = set(" \t\n\r{}()=~!<>&|^,\"\\")
SYNONYMS = {"duration": ["span:duration"], "name": ["span:name"], "status": ["span:status"],
            "statusMessage": ["span:statusMessage"], "kind": ["span:kind"],
            "traceDuration": ["trace:duration"], "rootName": ["trace:rootName"],
            "rootServiceName": ["trace:rootService"]}


@dataclasses.dataclass
class Query:
    stages: list
    metric: dict = None
    second: list = dataclasses.field(default_factory=list)
    hints: str = ""


# ---- values ----

def quote(s):
    """A Go string literal."""
    out = []
    for c in s:
        if c in "\"\\":
            out.append("\\" + c)
        elif c == "\n":
            out.append("\\n")
        else:
            out.append(c)
    return '"' + "".join(out) + '"'


def duration_literal(ns):
    """One unit, the largest that divides: 1500ms."""
    for unit, size in (("h", 3600 * 10**9), ("m", 60 * 10**9), ("s", 10**9), ("ms", 10**6),
                       ("us", 10**3), ("ns", 1)):
        if ns % size == 0:
            return f"{ns // size}{unit}"
    raise AssertionError


def go_duration(ns):
    """time.Duration.String."""
    sign = "-" if ns < 0 else ""
    ns = abs(ns)

    def fraction(n, size):
        whole, rest = divmod(n, size)
        digits = f"{rest:0{len(str(size)) - 1}d}".rstrip("0") if size > 1 else ""
        return f"{whole}.{digits}" if digits else f"{whole}"

    if ns == 0:
        return "0s"
    if ns < 10**3:
        return f"{sign}{ns}ns"
    if ns < 10**6:
        return f"{sign}{fraction(ns, 10**3)}µs"
    if ns < 10**9:
        return f"{sign}{fraction(ns, 10**6)}ms"
    minutes, rest = divmod(ns, 60 * 10**9)
    seconds = fraction(rest, 10**9) + "s"
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{sign}{hours}h{minutes}m{seconds}"
    return f"{sign}{minutes}m{seconds}" if minutes else sign + seconds


def float_literal(f):
    text = repr(f).replace("e+", "e")
    return text


def float_g(f, large=6):
    """strconv.FormatFloat(f, 'g', -1, 64); large: the first power of ten that is written with an exponent."""
    if f != f:
        return "NaN"
    if f in (float("inf"), float("-inf")):
        return "+Inf" if f > 0 else "-Inf"
    if f == 0:
        return "-0" if str(f)[0] == "-" else "0"
    mantissa, exponent = f"{f:.17e}".split("e")
    for p in range(17):
        text = f"{f:.{p}e}"
        if float(text) == f:
            mantissa, exponent = text.split("e")
            break
    e = int(exponent)
    if e < -4 or e >= large:
        return f"{mantissa}e{'-' if e < 0 else '+'}{abs(e):02d}"
    return repr(f)[:-2] if repr(f).endswith(".0") else (repr(f) if "e" not in repr(f) else f"{f:.0f}")


def float_json(f):
    """encoding/json."""
    text = float_g(f, 21)
    if f != f or f in (float("inf"), float("-inf")):
        return {"NaN": "NaN", "+Inf": "Infinity", "-Inf": "-Infinity"}[text]
    if f != 0 and 1e-6 <= abs(f) < 1e-4:
        return f"{f:.30f}".rstrip("0") if float(f"{f:.30f}") != f else _plain(f)
    if "e" in text:
        mantissa, e = text.split("e")
        return f"{mantissa}e{e[0]}{int(e[1:])}"
    return text


def _plain(f):
    for digits in range(5, 30):
        if float(f"{f:.{digits}f}") == f:
            return f"{f:.{digits}f}"
    return repr(f)


def literal(v, raw=False):
    kind, x = v
    if kind == "i":
        return {2**63 - 1: "maxInt", -2**63: "minInt"}.get(x, str(x))
    if kind == "f":
        return float_literal(x)
    if kind == "s":
        return f"`{x}`" if raw and "`" not in x else quote(x)
    if kind == "b":
        return "true" if x else "false"
    if kind == "d":
        return ("-" if x < 0 else "") + duration_literal(abs(x))
    return (STATUS if kind == "st" else KIND)[x]


def canonical_literal(v):
    """As messages and keys print it."""
    kind, x = v
    if kind == "s":
        return f"`{x}`"
    if kind == "d":
        return go_duration(x)
    if kind == "i":
        return str(x)
    return literal(v)


# ---- attributes ----

def name_text(name):
    if not name or any(c in ENDS_NAME or c.isspace() for c in name):
        return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return name


def attr_text(a):
    scope, name, parent = a
    if scope == "i":
        return name
    text = name_text(name)
    if not scope and text[0].isdigit():
        text = f'"{text}"'
    return ("parent" if parent and not scope else "parent." if parent else "") + \
        (scope + "." if scope else ".") + text


# ---- text ----

class Printer:
    """Minimal parentheses, sometimes redundant ones, sometimes other spellings."""

    def __init__(self, rng=None):
        self.rng = rng

    def chance(self, p):
        return self.rng is not None and self.rng.random() < p

    def attr(self, a):
        if a[0] == "i" and a[1] in SYNONYMS and self.chance(0.3):
            return self.rng.choice(SYNONYMS[a[1]])
        if a == ("", "x.y", False) and self.chance(0.3):
            return "x.y"
        if a == ("", "service.name", False) and self.chance(0.3):
            return "service.name"
        return attr_text(a)

    def expr(self, e, level=0):
        """(text); parentheses when the place binds tighter than `e`."""
        kind = e[0]
        mine = 9
        if kind == "lit":
            text = literal(e[1], self.chance(0.3))
            if text[0] == "-":
                mine = 4
        elif kind == "attr":
            text = self.attr(e[1])
        elif kind in ("exists", "absent"):
            op = "!=" if kind == "exists" else "="
            mine = 3  # `!a = nil` reads (!a) = nil
            text = f"nil {op} {self.expr(e[1], 9)}" if self.chance(0.15) \
                else f"{self.expr(e[1], 9)} {op} nil"
        elif kind == "un":
            mine = 4 if e[1] == "-" else 5
            text = e[1] + self.expr(e[2], mine if e[1] == "!" else 5)
            if e[1] == "-" and text[1] == "-":
                text = f"-({text[1:]})"
        else:
            op = e[1]
            mine = LEVEL[op]
            left, right = (mine + 1, mine) if op == "^" else (mine, mine + 1)
            text = f"{self.expr(e[2], left)} {op} {self.expr(e[3], right)}"
        if mine < level or (mine < 9 and self.chance(0.1)):
            return f"({text})"
        return text

    def spanset(self, s, level=0, wrapped=False):
        kind = s[0]
        if kind == "pipe":
            return f"({self.pipeline(s[1])})"
        if kind == "filter":
            if s[1] == ("lit", ("b", True)) and self.chance(0.7):
                text = "{}" if self.chance(0.5) else "{ }"
            else:
                text = "{ " + self.expr(s[1]) + " }"
            return f"({text})" if wrapped or self.chance(0.05) else text
        wrapped = wrapped or has_pipe(s)
        mine = 2 if s[1] in ("&&", "||") else 3
        text = f"{self.spanset(s[2], mine, wrapped)} {s[1]} {self.spanset(s[3], mine + 1, wrapped)}"
        if mine < level or (not wrapped and self.chance(0.05)):
            return f"({text})"
        return text

    def scalar(self, s, level=0):
        if s[0] == "lit":
            return literal(s[1])
        if s[0] == "agg":
            return f"{s[1]}({self.expr(s[2]) if s[2] else ''})"
        mine = LEVEL[s[1]]
        text = f"{self.scalar(s[2], mine)} {s[1]} {self.scalar(s[3], mine + 1)}"
        return f"({text})" if mine < level else text

    def stage(self, s):
        if s[0] == "ss":
            return self.spanset(s[1])
        if s[0] == "scalar":
            return f"{self.scalar(s[2])} {s[1]} {self.scalar(s[3])}"
        if s[0] == "by":
            return f"by({self.expr(s[1])})"
        if s[0] == "select":
            return f"select({', '.join(self.attr(a) for a in s[1])})"
        return "coalesce()"

    def pipeline(self, stages):
        return " | ".join(self.stage(s) for s in stages)

    def metric(self, m):
        fn = m["fn"]
        if fn == "compare":
            args = ["{ " + self.expr(m["filter"]) + " }"]
            if m["top"] is not None:
                args.append(str(m["top"]))
            if m["start"]:
                args += [str(m["start"]), str(m["end"])]
        else:
            args = [self.attr(m["arg"])] if m["arg"] else []
            args += [f"{q:g}" for q in m["quantiles"]]
        text = f"{fn}({', '.join(args)})"
        if m["by"]:
            text += f" by ({', '.join(self.attr(a) for a in m['by'])})"
        return text

    def query(self, q):
        text = self.pipeline(q.stages)
        if q.metric:
            text += " | " + self.metric(q.metric)
        for s in q.second:
            text += f" {s[1]} {literal(s[2])}" if s[0] == "cmp" else f" | {s[0]}({s[1]})"
        return text + q.hints


def has_pipe(s):
    return s[0] == "pipe" or (s[0] == "op" and (has_pipe(s[2]) or has_pipe(s[3])))


def canonical(e):
    """The text of an expression in keys: `by(...)`, `avg(...)`."""
    def wrap(x):
        return canonical(x) if x[0] in ("lit", "attr") else f"({canonical(x)})"

    kind = e[0]
    if kind == "lit":
        return canonical_literal(e[1])
    if kind == "attr":
        return attr_text(e[1])
    if kind == "un":
        return e[1] + wrap(e[2])
    if kind in ("exists", "absent"):
        return f"{wrap(e[1])} {'!=' if kind == 'exists' else '='} nil"
    return f"{wrap(e[2])} {e[1]} {wrap(e[3])}"
