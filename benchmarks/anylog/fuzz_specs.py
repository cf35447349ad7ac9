"""Malformed specs, made of the shipped ones: each must load, or be refused soon, in a few plain lines.

a shipped spec --change values, keys--> YAML --damage text, lines, bytes--> a file --> load_spec
"""

from __future__ import annotations

import copy
import re
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Optional

import hypothesis
import yaml
from hypothesis import strategies as st

from benchmarks.anylog.results import FuzzResult
from recsys_ssl.spec import FeatureSpec
from recsys_ssl.spec_files import SpecError, load_spec

_SPECS = sorted(Path(__file__).parents[2].glob("feature_specs/*.yaml"))
_LIMIT_S = 2.0
# The ten first faults and how many more there are.
_MOST_LINES, _MOST_CHARACTERS = 11, 1500


class Malformed(NamedTuple):
    """A generated spec."""

    made: str
    """How it was made, in words."""
    content: bytes


# --- Values ------------------------------------------------------------------------------------------

_ODD_VALUES: list[Any] = [
    *(None, True, 0, -1, 1, 10**9, 10**30, 1.5, -1e308, float("nan"), float("inf"), -float("inf")),
    *("", " ", "\n", "\0", "\t", '"', "::", "~", "*", "**/" * 20, "*a" * 40, "[", "../../etc/passwd", "/etc/passwd"),
    *("\x1b[31m\u202e", "\ud800", "\uffff", "é", "𝟓", "a" * 5000, "2020-02-30", "1_000", "k", "exclude", "self"),
    *([], {}, [[]], [None], [0] * 1000, ["a", "a"], {"a": 1}, {1: 2}, {None: None}, {"kind": "id"}, b"\x00\xff"),
]
_ODD_KEYS: list[Any] = [None, True, 1, 1.5, "", "wieght", "<<", "\x1b[31m", "a" * 3000, "features", "kind", "paths"]


def _paths(values: Any, path: tuple = ()) -> Iterator[tuple]:
    """The keys that lead to each value below the root."""
    inner = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in inner:
        yield (*path, key)
        yield from _paths(value, (*path, key))


def _change_value(draw: Callable, values: Any) -> str:
    """Deletes, replaces, renames, repeats or nests one value in place; returns how."""
    paths = list(_paths(values))
    if not paths:
        return "nothing"
    path = draw(st.sampled_from(paths))
    parent = values
    for key in path[:-1]:
        parent = parent[key]
    last, where = path[-1], ".".join(map(str, path))
    way = draw(st.sampled_from(["delete", "replace", "rename", "repeat", "nest", "swap"]))
    if way == "delete":
        del parent[last]
    elif way == "replace":
        parent[last] = copy.deepcopy(draw(st.sampled_from(_ODD_VALUES)))
    elif way == "rename" and isinstance(parent, dict):
        parent[draw(st.sampled_from(_ODD_KEYS))] = parent.pop(last)
    elif way == "repeat" and isinstance(parent, list):
        parent.extend(copy.deepcopy(parent[last]) for _ in range(draw(st.sampled_from([1, 200]))))
    elif way == "nest":
        for _ in range(draw(st.sampled_from([1, 10, 100]))):
            parent[last] = [parent[last]]
    else:
        other = draw(st.sampled_from(paths))
        parent[last] = copy.deepcopy(_at(values, other))
    return f"{way} {where}"


def _at(values: Any, path: tuple) -> Any:
    for key in path:
        values = values[key]
    return values


# --- Text --------------------------------------------------------------------------------------------

_ODD_LINES = [
    *("\tname: a", "name: a", "- a", "? [a]\n: 1", "? {a: 1}\n: 1", "...", "---", "%YAML 9.9", "<<: 1", "<<: *a"),
    *("a: &a [*a]", "&a\nb: *a", "a: !!python/object/apply:os.system ['true']", "a: !!binary '***'", "a: !x y"),
    *(
        "a: !!int ''",
        "a: !!bool abc",
        "a: !!timestamp abc",
        "a: 2001-02-30",
        "a: !!set [b]",
        "a: '",
        'a: "\\q"',
        "a: |",
    ),
    *(
        f"a: {'[' * 3000}",
        f"a: {'9' * 5000}",
        "a: {" * 500,
        "- " * 500,
        "a: 1:2:3:4",
        "a: 0xZZ",
        "\u2028",
        "\x85",
        "\0",
    ),
    "x: &a [1,1,1,1,1,1,1,1]\n"
    + "\n".join(f"x{i}: &{'abcdefghij'[i + 1]} [{','.join(['*' + 'abcdefghij'[i]] * 9)}]" for i in range(8)),
]


def _damage_lines(draw: Callable, text: str) -> tuple[str, str]:
    lines = text.splitlines()
    place, other = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
    way = draw(st.sampled_from(["delete", "repeat", "swap", "indent", "outdent", "insert", "cut", "tab"]))
    if way == "delete":
        del lines[place]
    elif way == "repeat":
        lines.insert(other, lines[place])
    elif way == "swap":
        lines[place], lines[other] = lines[other], lines[place]
    elif way == "indent":
        lines[place] = " " * draw(st.integers(1, 5)) + lines[place]
    elif way == "outdent":
        lines[place] = lines[place].lstrip()
    elif way == "insert":
        lines.insert(place, draw(st.sampled_from(_ODD_LINES)))
    elif way == "cut":
        lines[place] = lines[place][: draw(st.integers(0, len(lines[place])))]
    else:
        lines[place] = lines[place].replace("  ", "\t", 1)
    return "\n".join(lines) + "\n", f"{way} line {place + 1}"


def _damage_bytes(draw: Callable, content: bytes) -> tuple[bytes, str]:
    damaged = bytearray(content)
    place = draw(st.integers(0, max(len(damaged) - 1, 0)))
    way = draw(st.sampled_from(["overwrite", "delete", "insert", "cut"]))
    if way == "overwrite":
        damaged[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
    elif way == "delete":
        del damaged[place : place + draw(st.integers(1, 30))]
    elif way == "insert":
        damaged[place:place] = draw(st.binary(min_size=1, max_size=20))
    else:
        del damaged[place:]
    return bytes(damaged), f"{way} byte {place}"


_ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp037"]
_WHOLE = {
    "nothing": b"",
    "a text": b"hello\n",
    "a list": b"- 1\n",
    "NUL": b"\0" * 100,
    "zip": b"PK\x03\x04" + b"\0" * 100,
    "gzip": b"\x1f\x8b\x08\0\0\0",
    "1 MB of a text": b"a: " + b"x" * (1 << 20),
    "a long list": b"a: [" + b"1," * 100_000 + b"1]",
    "many keys": b"\n".join(b"k%d: 1" % i for i in range(15_000)),
}


@st.composite
def malformed_specs(draw: Callable) -> Malformed:
    """A shipped spec with one to four faults."""
    path = draw(st.sampled_from(_SPECS))
    text = path.read_text(encoding="utf-8")
    made = [path.stem]
    level = draw(st.sampled_from(["values", "values", "lines", "lines", "bytes", "encoding", "whole"]))
    num_faults = draw(st.integers(1, 4))
    if level == "whole":
        kind = draw(st.sampled_from(sorted(_WHOLE)))
        return Malformed(kind, _WHOLE[kind])
    if level == "values":
        values = yaml.safe_load(text)
        made += [_change_value(draw, values) for _ in range(num_faults)]
        return Malformed("; ".join(made), yaml.safe_dump(values).encode("utf-8", "surrogatepass"))
    if level == "lines":
        for _ in range(num_faults):
            text, how = _damage_lines(draw, text)
            made.append(how)
    if level == "encoding":
        made.append(draw(st.sampled_from(_ENCODINGS)))
        return Malformed("; ".join(made), text.encode(made[-1], "replace"))
    content = text.encode("utf-8", "surrogatepass")
    if level == "bytes":
        for _ in range(num_faults):
            content, how = _damage_bytes(draw, content)
            made.append(how)
    return Malformed("; ".join(made), content)


# --- Whether it loads or is told of --------------------------------------------------------------------


def find_fault(content: bytes, path: Path) -> Optional[str]:
    """What is wrong with how a spec is read; None when it loads, or is refused as it should be.

    Args:
        path: of the file that receives the content.
    """
    path.write_bytes(content)
    started = time.thread_time()  # the machine may have other work, and other threads too
    try:
        spec = load_spec(path)
        if FeatureSpec.from_json(spec.to_json()) != spec:
            return "is another spec once it went through JSON"
    except SpecError as error:
        lines = str(error).splitlines()
        if len(lines) > _MOST_LINES or any(len(line) > _MOST_CHARACTERS for line in lines):
            return f"a message of {len(lines)} lines, the longest of {max(map(len, lines))} characters"
        if not all(re.match(re.escape(str(path)) + r"(:\d+: |: and [\d,]+ more)", line) for line in lines):
            return f"a message without a line number: {lines[0]:.200}"
        if not all(line.isprintable() for line in lines):
            return f"a message with control characters: {lines[0]!r:.200}"
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:200]} ({Path(frame.filename).name}:{frame.lineno})"
    seconds = time.thread_time() - started
    return f"takes {seconds:.1f} s" if seconds > _LIMIT_S else None


def fuzz(examples: int, seed: int) -> FuzzResult:
    """Generates specs and loads each."""
    inputs, found = 0, []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        path = Path(scratch, "spec.yaml")

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=examples,
            phases=[hypothesis.Phase.generate],
            database=None,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(malformed_specs())
        def load(malformed: Malformed) -> None:
            nonlocal inputs
            inputs += 1
            fault = find_fault(malformed.content, path)
            if fault is not None:
                found.append(f"{malformed.made}: {fault}")

        load()
    return FuzzResult(inputs, len(found), found)
