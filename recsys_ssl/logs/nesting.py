"""What stands in a text that JSON, Python, NumPy or Spark wrote: values alone, or objects and lists of lists."""

from __future__ import annotations

import re

# Marks in place of what has been understood: a quoted text, a number or constant, a flat list, a flat tuple or set, an
# object as Decimal('1.5'), and what holds others of these.
_QUOTED, _NUMBER, _LIST, _TUPLE, _OBJECT, _NESTED = "\ue000\ue001\ue002\ue003\ue004\ue005"
_VALUES, _ANY = _QUOTED + _NUMBER, f"{_QUOTED}-{_NESTED}"

# One that never ends goes to the end: to look for its end again from each mark within would take long.
_TEXT = re.compile(r"""(?s)(?<!\w)[uUbB]?(?:'(?:[^'\\]|\\.?)*(?:'|\Z)|"(?:[^"\\]|\\.?)*(?:"|\Z))""")
_CONSTANT = re.compile(
    r"(?<![\w.+-])(?:[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|[+-]?inf|nan|None|True|False|NaN|null|true|false)(?![\w.])"
)
_SIGN = re.compile(r"\s{0,4}([:=])\s*")  # more blanks nobody writes, and to look for them takes long
_INNERMOST = re.compile(r"(?P<name>(?<![\w.])[A-Za-z_][\w.]*)?(?P<open>[\[({])(?P<inner>[^\[\](){}]*)(?P<close>[\])}])")
_PAIR = re.compile(rf"(?:[{_VALUES}]|\w+):[{_ANY}]")
_ARGUMENT = re.compile(rf"[{_ANY}]|\w+=(?:[{_ANY}]|[\w.]+)")
_CLOSE = {"[": "]", "(": ")", "{": "}"}
_MOST_LEVELS = 20


def is_nested(text: str) -> bool:
    """Whether a text is an object, or a list, tuple, set or array that holds some; several of these too.

    Every part has to be known, a text to be in quotation marks: `[[live]]` is none. An array that says so, as
    `array(['x'])`, is one.
    """
    return re.fullmatch(rf"{_NESTED}(?:[\s,;|]+{_NESTED})*", _reduce(text)) is not None


def is_tuple(text: str) -> bool:
    """Whether a text is a flat tuple or set of texts in quotation marks, and maybe numbers."""
    return _reduce(text) == _TUPLE and _TEXT.search(text) is not None


def _reduce(text: str) -> str:
    """A text with a mark in place of all that could be understood."""
    text = _CONSTANT.sub(_NUMBER, _TEXT.sub(_QUOTED, text))
    text = _SIGN.sub(r"\1", text)
    for _ in range(_MOST_LEVELS):
        reduced = _INNERMOST.sub(_mark, text)
        if reduced == text:
            break
        text = reduced
    return text.strip()


def _mark(found: re.Match[str]) -> str:
    """The mark of a pair of brackets; itself where what is between them is not known."""
    name, opening, inner = found["name"], found["open"], found["inner"].strip()
    if found["close"] != _CLOSE[opening]:
        return found[0]
    # NumPy separates by blanks alone.
    parts = [part.strip() for part in re.split(r"[,\s]+" if opening == "[" else ",", inner)]
    if parts[-1] == "":  # behind the last comma
        parts.pop()
    if name is not None:
        return _mark_call(name, parts) if opening == "(" else found[0]
    if opening == "{" and parts and all(_PAIR.fullmatch(part) for part in parts):
        return _NESTED
    if not all(len(part) == 1 and part in _VALUES + _LIST + _TUPLE + _OBJECT + _NESTED for part in parts):
        return found[0]
    if opening == "(" and "," not in inner:  # of one value, or none
        return found[0]
    if not set(parts) <= set(_VALUES):
        return _NESTED
    return _LIST if opening == "[" else _TUPLE


def _mark_call(name: str, parts: list[str]) -> str:
    call = f"{name}({','.join(parts)})"
    if not all(_ARGUMENT.fullmatch(part) for part in parts):
        return call
    if any(part in _LIST + _TUPLE + _NESTED for part in parts):
        return _NESTED
    return _OBJECT if "." in name or any(part == _QUOTED or "=" in part for part in parts) else call
