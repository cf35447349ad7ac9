"""Ids of queries and items: which are refused, and which look as if they were none."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_ssl import lists
from recsys_ssl.logs.values import TEXT, as_text, holds_list, is_empty, to_numpy

# A float of so many bits knows each integer below 2 to the power of this; above, neighbours are one.
_EXACT_BITS = {16: 11, 32: 24, 64: 53}
# What programs write where nothing is known. It may be a name, so it stays an id, and is counted.
_NULL_WORDS = ["null", "nan", "none", "na", "n/a", "#n/a", "<na>", "nat", "nil", "undefined", "(null)"]
_NULL_SPELLINGS = sorted(
    {spelt for word in _NULL_WORDS for spelt in (word, word.upper(), word.capitalize())} | {"NaN", "NaT", "\\N"}
)
_ODD = {
    "whole float": (b".0", r"^[+-]?\d+\.0+$"),
    "rounded": (b"+", r"^[+-]?\d(\.\d+)?[eE]\+\d+$"),
    "padded": (b" ", r"^ | $"),
}
"""Kind -> a mark that each id of it has, and the pattern."""


def read_ids(column: lists.Column, noun: str) -> tuple[pa.Array, list[tuple[np.ndarray, str]]]:
    """[num_records] text, null where there is none, and the faults found: masks and reasons.

    Args:
        noun: `query` or `item`, for the reasons.
    """
    text = as_text(column)
    faults = [(holds_list(column), f"{noun} id is not one value"), (is_empty(text), f"{noun} id is empty")]
    array = lists.one_array(column)
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if pa.types.is_floating(array.type):
        bits = _EXACT_BITS[array.type.bit_width]
        size = np.abs(array.to_numpy(zero_copy_only=False).astype(np.float64))  # NaN where there is none
        faults.append((size >= 2.0**bits, f"{noun} id is a float from 2^{bits} on, where ids merge"))
    return text, faults


def count_odd_ids(ids: pa.Array, noun: str) -> dict[str, int]:
    """How often ids are words for nothing, as NULL, integers that became floats, as 12.0 and 1.2E+15, or have blanks.

    Returns:
        "word NOUN id: WORD", "whole float NOUN id", "rounded NOUN id" and "padded NOUN id" -> number, as far as they
        occur.
    """
    counts = count_null_words(ids, f"{noun} id")
    text = ids.buffers()[2]
    data = text.to_pybytes() if text else b""
    for kind, (mark, pattern) in _ODD.items():
        # Looking for a mark in all ids at once is much faster than for a pattern in each.
        number = int(to_numpy(pc.match_substring_regex(ids, pattern)).sum()) if mark in data else 0
        if number:
            counts[f"{kind} {noun} id"] = number
    return counts


def count_null_words(text: pa.Array, name: str) -> dict[str, int]:
    """How often a text is a word for nothing: "word NAME: WORD" -> number, as far as it occurs."""
    words = text.filter(pc.is_in(text, pa.array(_NULL_SPELLINGS, TEXT)))
    found = words.value_counts().to_pylist() if len(words) else []
    return {f"word {name}: {word['values']}": word["counts"] for word in found}
