"""Cells that hold several values: which separator, and whether the parts are categories, numbers or marked ids."""

from __future__ import annotations

import collections
import re
import statistics
from typing import NamedTuple, Optional

from recsys_ssl.guessing.columns import Column, to_numbers

_SEPARATORS = ("|", ";", ", ", ",", " ", "/", "~", "^")
_MARKED = re.compile(r"(\S+)([-:_])([01])")
_LISTED = re.compile(r"\s*\[.*\]\s*", re.DOTALL)
_NESTED = {
    "objects": re.compile(r"\[\s*\{.*:.*\]|\{\s*(?:['\"][^'\"]*['\"]|\d+)\s*:.*\}", re.DOTALL),
    "lists of lists": re.compile(r"\[\s*[\[({].*\]", re.DOTALL),
    "tuples": re.compile(r"\((?:\s*['\"].*|[\d\s.+-]+,[\d\s.,+-]*)\)", re.DOTALL),
    "sets": re.compile(r"\{.*['\",].*\}", re.DOTALL),
}
"""What a cell of text may hold that is not read, in order; `(500) Days`, `(red, S)` and `{0f-1c}` are none of them."""
_EMPTY = re.compile(r"\[\s*\]|\{\s*\}|\(\s*\)|set\(\)")
_LEAST_NESTED = 0.5
"""Of the cells that are not empty."""
_LEAST_SHARE = 0.15
"""Of cells that must have the separator."""


class Several(NamedTuple):
    """How the cells of a column hold several values."""

    separator: Optional[str]
    """None for lists of JSON, of Parquet, or written as such."""
    kind: str
    """`categories`, `numbers`: a vector of one length, or `marked`: ids with a mark for chosen or only shown."""
    dim: int = 0
    """Length of a vector."""
    part_separator: str = ""
    why: str = ""


def find_nested(column: Column) -> str:
    """What the cells hold that is more than several values, and how to write it; empty when they do not."""
    values = [value.strip() for value in column.known if not _EMPTY.fullmatch(value.strip())]
    kinds = [next((kind for kind, form in _NESTED.items() if form.fullmatch(value)), "") for value in values]
    counts = collections.Counter(filter(None, kinds))
    if counts.total() <= _LEAST_NESTED * len(values):
        return ""
    kind = max(_NESTED, key=lambda kind: counts[kind])
    parts = {"objects": "their names", "lists of lists": "the names"}.get(kind, "the values")
    return f'{kind} in a cell: write {parts} as a list, as ["a", "b"]'


def find_several(column: Column) -> Optional[Several]:
    """How the cells hold several values; None when they hold one each."""
    values = column.known
    if column.is_list:
        lengths = [length for length in column.lengths if length]
        return _kind_of(column.known, lengths, None, "lists") if lengths and not find_nested(column) else None
    if not values or column.is_numeric or column.time is not None or find_nested(column):
        return None
    if sum(_LISTED.fullmatch(value) is not None for value in values) > 0.9 * len(values):
        cells = [re.findall(r"[^\s\[\],'\"]+(?: [^\s\[\],'\"]+)*", value) for value in values]
        return _kind_of([part for cell in cells for part in cell], [len(cell) for cell in cells], None, "lists as text")
    found = [several for several in (_split(column, separator) for separator in _SEPARATORS) if several is not None]
    return found[0] if found else None


def _split(column: Column, separator: str) -> Optional[Several]:
    values = column.known
    cells = [[part for part in value.split(separator) if part.strip()] for value in values]
    share = sum(len(cell) > 1 for cell in cells) / len(values)
    if share < _LEAST_SHARE:
        return None
    parts = [part.strip() for cell in cells for part in cell]
    lengths = [len(cell) for cell in cells]
    several = _kind_of(parts, lengths, separator, f"{share:.0%} of the distinct cells have several")
    if several.kind != "categories":
        return several
    if column.mean_words > 1.5 and separator.strip() and statistics.fmean(len(part.split()) for part in parts) > 4:
        return None  # sentences
    words = {part.lower() for part in parts}
    if separator in (" ", "/", ", ", ","):
        # Words of a text are many; categories are few, and cells are made of the same ones again and again.
        each = collections.Counter(parts)
        rare = sum(number == 1 for number in each.values()) / len(each)
        if len(words) > 0.3 * len(values) + 3 or len(words) > 2_000 or rare > 0.3 or len(values) < 8:
            return None
        if separator != " " and len(words) >= len({value.lower() for value in values}):
            return None
        if separator == " " and any(part.islower() and part in _SMALL for part in words):
            return None
    return several


_SMALL = {"the", "a", "of", "and", "in", "for", "with", "to", "on"}


def _kind_of(parts: list[str], lengths: list[int], separator: Optional[str], why: str) -> Several:
    marks = [match for match in map(_MARKED.fullmatch, parts) if match]
    if len(marks) == len(parts) and len({match[3] for match in marks}) == 2:
        return Several(separator, "marked", part_separator=marks[0][2], why="ids that end in 0 or 1")
    longest = max(lengths, default=0)
    alike, some = longest >= 4 and min(lengths) == longest, parts[:1000]
    if alike and any("." in part for part in some) and None not in to_numbers(some):
        return Several(separator, "numbers", longest, why=f"{longest} numbers each")
    return Several(separator, "categories", why=why)
