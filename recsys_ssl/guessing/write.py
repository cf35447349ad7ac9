"""YAML with a comment at every guess."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from recsys_ssl.guessing.features import Guessed

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*( [A-Za-z0-9_./-]+)*")
_WORDS_OF_YAML = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


_DETAILS = {"quoting", "header", "columns", "comment", "slices", "title"}
"""Keys that a short list leaves out."""


class Entry(NamedTuple):
    """A key of the spec."""

    key: str
    value: object
    """A scalar, a list or mapping to be written in one line, `Entry`s below the key, or `Guessed` features."""
    why: str = ""
    used: bool = True
    """False for a comment, which a person may complete."""


def to_yaml(entries: Sequence[Entry], heading: Sequence[str]) -> str:
    """The text of a spec file.

    Args:
        entries: keys at the top.
        heading: comments of the whole file.
    """
    lines = [f"# {_one_line(line)}" for line in heading]
    return "\n".join([*lines, *_lines(entries, "")]) + "\n"


def list_guesses(entries: Sequence[Entry], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yields (key, value, why) of what matters most, the features of a side in one line."""
    for entry in entries:
        path = f"{prefix}{entry.key}"
        value = entry.value
        if _is_list_of(value, Entry):
            yield from list_guesses(value, f"{path}.")  # type: ignore[arg-type]
        elif _is_list_of(value, Guessed):
            used = [feature for feature in value if feature.used]  # type: ignore[attr-defined]
            yield path, ", ".join(f"{feature.keys['name']} ({feature.kind})" for feature in used) or "none", entry.why
        elif not entry.used:
            yield path, "none", entry.why
        elif entry.why and entry.key not in _DETAILS:
            yield path, flow(value), entry.why


def flow(value: object) -> str:
    """A value in one line of YAML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)}: {flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and value.lower() not in _WORDS_OF_YAML and not re.search(r"\d[eE]\d", value):
            return value
        quoted = json.dumps(value, ensure_ascii=False)
        return "".join(letter if letter.isprintable() else _escape(letter) for letter in quoted)
    return repr(value)


def _escape(letter: str) -> str:
    """As YAML writes it, which has no pairs of surrogates as JSON."""
    code = ord(letter)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _key(key: object) -> str:
    return flow(str(key))


def _lines(entries: Sequence[Entry], indent: str) -> Iterator[str]:
    for entry in entries:
        value = entry.value
        if _is_list_of(value, Entry):
            yield f"{indent}{entry.key}:{_comment(entry.why)}"
            yield from _lines(value, indent + "  ")  # type: ignore[arg-type]
        elif _is_list_of(value, Guessed):
            yield from _feature_lines(entry, indent)
        else:
            yield f"{indent}{'' if entry.used else '# '}{entry.key}: {flow(value)}{_comment(entry.why)}"


def _feature_lines(entry: Entry, indent: str) -> Iterator[str]:
    features: Sequence[Guessed] = entry.value  # type: ignore[assignment]
    mark = "" if any(feature.used for feature in features) else "# "
    yield f"{indent}{mark}{entry.key}:{_comment(entry.why)}"
    for feature in features:
        yield f"{indent}  {'' if feature.used else '# '}- {flow(feature.keys)}{_comment(feature.why)}"


def _comment(why: str) -> str:
    return f"  # {_one_line(why)}" if why else ""


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _is_list_of(value: object, kind: type) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(element, kind) for element in value)
