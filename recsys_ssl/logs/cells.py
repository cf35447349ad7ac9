"""Text cells that hold several values: joined by a separator, or a list as JSON or Python writes it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Optional

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_ssl import lists
from recsys_ssl.logs.batches import is_list
from recsys_ssl.logs.nesting import is_nested, is_tuple
from recsys_ssl.logs.values import TEXT, WRITTEN, as_text, find_numbers, is_empty, is_text, to_numpy, to_written

_JSON = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
# What may be a list, and what of it may be one that is not known.
_LIST = r"(?s)^\s*(?:\[.*\]|[({].*['\":\[({].*[)}]|[A-Za-z_][\w.]*\(.*[\[({].*\))\s*$"
_SUSPECT = r"(?s)^\s*(?:\[.*(?:\.\.\.|['\"\[({]).*\]|\{.*[:\[({].*\}|\(.*[\[({].*\)|[A-Za-z_][\w.]*\(.*[\[({].*\))\s*$"
# An element of a list as Python and NumPy write it, what of it is a quoted text, and the comma after it.
_ELEMENT = re.compile(
    r"""(?s)\s*(?P<value>(?P<quoted>[uUbB]?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"))|[^\s'",\[\]]+)(?P<comma>\s*,)?"""
)
_BARE = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?inf|nan|None|True|False")

_SHORTENED = "not complete: `...` stands for some of its list, as NumPy prints long ones; write the list as JSON"
_UNREADABLE = "not a list that can be read: a comma is missing between its texts; write the list as JSON"
_NESTED = "not a list of values but of objects or lists; write the values as JSON, or lines of JSON and name the field"


def to_elements(
    column: lists.Column, separator: Optional[str], with_empty: bool = False
) -> tuple[pa.Array, np.ndarray]:
    """The elements of all cells [sum of lengths], and how many each cell has.

    Text is split (see `split_cells`, and `read_parts` where empty parts count), what is typed stays as it is; a null
    of a list is an element.
    """
    if is_list(column.type):
        return lists.flatten(column, TEXT)
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    split = read_parts if with_empty else split_cells
    if is_text(kind):
        return split(column, separator)
    if kind == WRITTEN:
        text, lengths = split(column, separator)
        return to_written(text, find_numbers(column)[lists.owners(lengths)]), lengths
    array = lists.one_array(column)
    present = array.is_valid()
    return array.filter(present), to_numpy(present).astype(np.int64)


def split_cells(column: lists.Column, separator: Optional[str]) -> tuple[pa.Array, np.ndarray]:
    """The texts of a column that are not empty, [sum of lengths], and how many each record has; see `read_parts`."""
    text, lengths = read_parts(column, separator)
    present = ~is_empty(text)
    rows = lists.owners(lengths)[present]
    return text.filter(pa.array(present)), np.bincount(rows, minlength=len(lengths))


def read_parts(column: lists.Column, separator: Optional[str]) -> tuple[pa.Array, np.ndarray]:
    """The texts of a column, [sum of lengths], and how many each record has; an empty text has one empty part.

    The parts of a text lose the blanks around them; a text that is a list, as `["a", "b"]`, `['a', 'b']` or NumPy's
    `['a' 'b']`, or a tuple or set of texts, gives its values, and none where `find_broken_lists` tells why not. The
    values of a column of lists stay as they are.
    """
    if not is_list(column.type):
        text = pc.fill_null(as_text(column), "")
        listed = to_numpy(pc.match_substring_regex(text, _LIST))
        column = lists.single(text) if separator is None else _split(text, separator)
        if listed.any():
            column = _replace_lists(column, text, listed, separator)
    values, lengths = lists.flatten(column, TEXT)
    return as_text(pa.chunked_array([values])), lengths


def _split(text: pa.Array, separator: str) -> pa.Array:
    values, lengths = lists.flatten(pc.split_pattern(text, separator), TEXT)
    return lists.from_flat(pc.utf8_trim_whitespace(values), lengths, TEXT)


def _replace_lists(cells: pa.Array, text: pa.Array, listed: np.ndarray, separator: Optional[str]) -> pa.Array:
    """The cells, those that are lists in text by their values; each distinct text is read once."""
    encoded = text.filter(pa.array(listed)).dictionary_encode()
    read = [_read_list(value, separator) for value in encoded.dictionary.to_pylist()]
    known = pa.array(read, pa.large_list(TEXT)).take(encoded.indices)
    order = np.arange(len(cells))
    order[listed] = np.where(to_numpy(known.is_valid()), len(cells) + np.arange(len(known)), order[listed])
    cells = cells.cast(known.type)
    return pa.concat_arrays([cells, known]).take(pa.array(order))


def _read_list(text: str, separator: Optional[str]) -> Optional[list[Optional[str]]]:
    """The values of a list in text; None where it is none, as `[live]|[demo]`."""
    try:
        values = _JSON.decode(text.strip())
        if isinstance(values, list) and not any(isinstance(value, (list, dict)) for value in values):
            return [None if value is None else str(value) for value in values]
    except (ValueError, RecursionError):
        pass
    if is_nested(text):
        return []
    inner = text.strip()[1:-1]
    if not text.strip().startswith("["):
        return [_read_element(element) for element in _split_elements(inner) or ()] if is_tuple(text) else None
    elements = _split_elements(inner)
    if elements is not None and _why_broken(elements):
        return []
    if elements is not None and _is_written_list(elements):
        return [_read_element(element) for element in elements]
    if separator is not None and separator in inner and not set("[]") & set(inner):
        return [value.strip() for value in inner.split(separator)]
    return None


# --- Lists as Python and NumPy write them --------------------------------------------------------------


def find_broken_lists(column: lists.Column) -> list[tuple[np.ndarray, str]]:
    """Masks [num_records] and reasons of texts that are lists of which not every value is known; they give none."""
    if not (is_text(column.type) or pa.types.is_dictionary(column.type) or column.type == WRITTEN):
        return []
    text = pc.fill_null(as_text(column), "")
    suspect = to_numpy(pc.match_substring_regex(text, _SUSPECT))
    if not suspect.any():
        return []
    encoded = text.filter(pa.array(suspect)).dictionary_encode()
    whys = np.array([_why_no_list(value) or "" for value in encoded.dictionary.to_pylist()], object)
    reasons = np.full(len(text), "", object)
    reasons[suspect] = whys[encoded.indices.to_numpy(zero_copy_only=False)]
    return [(reasons == why, why) for why in (_SHORTENED, _UNREADABLE, _NESTED) if (reasons == why).any()]


def _why_no_list(text: str) -> Optional[str]:
    if is_nested(text):
        return _NESTED
    if not text.strip().startswith("["):
        return None
    try:
        _JSON.decode(text.strip())
        return None
    except (ValueError, RecursionError):
        elements = _split_elements(text.strip()[1:-1])
        return None if elements is None else _why_broken(elements)


def _split_elements(text: str) -> Optional[list[re.Match[str]]]:
    """The elements between the brackets of a list; None where the text is something else."""
    elements: list[re.Match[str]] = []
    at = 0
    while at < len(text.rstrip()):
        element = _ELEMENT.match(text, at)
        if element is None:
            return None
        elements.append(element)
        at = element.end()
    return elements


def _is_apart(first: re.Match[str], second: re.Match[str]) -> bool:
    """Whether a comma or a blank is between two elements."""
    return first["comma"] is not None or second.start() < second.start("value")


def _why_broken(elements: Sequence[re.Match[str]]) -> Optional[str]:
    if any(element["value"] == "..." for element in elements):
        return _SHORTENED
    pairs = [pair for pair in pairwise(elements) if pair[0]["quoted"] and pair[1]["quoted"]]
    # Python would join these texts to one; NumPy writes them so, but then without any comma.
    joined = [pair for pair in pairs if pair[0]["comma"] is None]
    has_comma = any(element["comma"] for element in elements)
    return _UNREADABLE if joined and (has_comma or not all(_is_apart(*pair) for pair in joined)) else None


def _is_written_list(elements: Sequence[re.Match[str]]) -> bool:
    """Whether all are texts and numbers, and between them either commas, as of Python, or blanks, as of NumPy."""
    commas = [element["comma"] is not None for element in elements]
    alike = all(commas[:-1]) or not any(commas)
    apart = all(_is_apart(*pair) for pair in pairwise(elements))
    return alike and apart and all(element["quoted"] or _BARE.fullmatch(element["value"]) for element in elements)


def _read_element(element: re.Match[str]) -> Optional[str]:
    if element["quoted"] is None:
        return None if element["value"] == "None" else element["value"]
    try:
        value = ast.literal_eval(element["quoted"])
    except (ValueError, SyntaxError):  # a backslash that begins no escape
        return element["quoted"].lstrip("uUbB")[1:-1]
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
