"""Text cells that hold several values: joined by a separator, or a list as JSON or Python writes it."""

from __future__ import annotations

import ast
import json
from typing import Optional

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_ssl import lists
from recsys_ssl.logs.batches import is_list
from recsys_ssl.logs.values import TEXT, as_text, is_empty, to_numpy

_JSON = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)


def split_cells(column: lists.Column, separator: Optional[str]) -> tuple[pa.Array, np.ndarray]:
    """The texts of a column that are not empty, [sum of lengths], and how many each record has; see `read_parts`."""
    text, lengths = read_parts(column, separator)
    present = ~is_empty(text)
    rows = lists.owners(lengths)[present]
    return text.filter(pa.array(present)), np.bincount(rows, minlength=len(lengths))


def read_parts(column: lists.Column, separator: Optional[str]) -> tuple[pa.Array, np.ndarray]:
    """The texts of a column, [sum of lengths], and how many each record has; an empty text has one empty part.

    The parts of a text lose the blanks around them; a text that is a list, as `["a", "b"]` or `['a', 'b']`, gives its
    values. The values of a column of lists stay as they are.
    """
    if not is_list(column.type):
        text = pc.fill_null(as_text(column), "")
        listed = to_numpy(pc.match_substring_regex(text, r"(?s)^\s*\[.*\]\s*$"))
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
    for read in (_JSON.decode, ast.literal_eval):
        try:
            values = read(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(values, list) and not any(isinstance(value, (list, dict, tuple, set)) for value in values):
            return [None if value is None else str(value) for value in values]
    inner = text.strip()[1:-1]
    if separator is not None and separator in inner and not set("[]") & set(inner):
        return [value.strip() for value in inner.split(separator)]
    return None
