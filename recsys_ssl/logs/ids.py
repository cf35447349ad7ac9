"""Ids of queries and items: which are refused, and which look as if they were none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Optional

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_ssl import lists
from recsys_ssl.logs.values import EXACT_BITS, TEXT, as_text, holds_list, is_empty, to_numpy

# What programs write where nothing is known. It may be a name, so it stays an id, and is counted.
_NULL_WORDS = ["null", "nan", "none", "na", "n/a", "#n/a", "<na>", "nat", "nil", "undefined", "(null)"]
_NULL_SPELLINGS = sorted(
    {spelt for word in _NULL_WORDS for spelt in (word, word.upper(), word.capitalize())} | {"NaN", "NaT", "\\N"}
)
_WHOLE_FLOAT = r"^[+-]?\d+\.0+$"
_ROUNDED = r"^[+-]?\d(?:(?:\.\d+)?[eE]\+|\.\d+[eE])\d+$"  # of Excel, Python and Java
_FORMS = {
    "whole float": ("integer", "end in .0 and others do not: 12.0 and 12 are different ids"),
    "padded": ("unpadded", "have blanks around them and others do not: 'u1 ' and 'u1' are different ids"),
}
"""Form that an id may have by mistake -> the form that it then should have, and what is told when ids have both."""


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
        bits = EXACT_BITS[array.type.bit_width]
        size = np.abs(array.to_numpy(zero_copy_only=False).astype(np.float64))  # NaN where there is none
        faults.append((size >= 2.0**bits, f"{noun} id is a float from 2^{bits} on, where ids merge"))
    return text, faults


def count_odd_ids(ids: pa.Array, noun: str) -> dict[str, int]:
    """How often ids are words for nothing, as NULL, integers that became floats, as 12.0 and 1.2E+15, or have blanks.

    Returns:
        "word NOUN id: WORD", "whole float NOUN id", "rounded NOUN id" and "padded NOUN id" -> number, as far as they
        occur.
    """
    text = ids.buffers()[2]
    data = text.to_pybytes() if text else b""

    def count(pattern: str, *marks: bytes) -> int:
        # Looking for a mark in all ids at once is much faster than for a pattern in each.
        found = any(mark in data for mark in marks)
        return int(to_numpy(pc.match_substring_regex(ids, pattern)).sum()) if found else 0

    numbers = {
        "whole float": count(_WHOLE_FLOAT, b".0"),
        "rounded": count(_ROUNDED, b"E", b"e+"),
        "padded": int(to_numpy(pc.not_equal(pc.utf8_trim_whitespace(ids), ids)).sum()),
    }
    return count_null_words(ids, f"{noun} id") | {f"{form} {noun} id": n for form, n in numbers.items() if n}


def count_plain_ids(ids: pa.Array, noun: str) -> dict[str, int]:
    """How often ids have a form that may go wrong: "integer NOUN id" and "unpadded NOUN id" -> number, if not 0."""
    unpadded = to_numpy(pc.equal(pc.utf8_trim_whitespace(ids), ids))
    numbers = {"integer": int(to_numpy(pc.ascii_is_decimal(ids)).sum()), "unpadded": int(unpadded.sum())}
    return {f"{form} {noun} id": number for form, number in numbers.items() if number}


def find_mixed_forms(counts: Mapping[str, int], noun: str) -> list[tuple[int, str]]:
    """The numbers of ids of one side that are written in another form than others of it, and what to tell of each.

    Args:
        counts: sums of `count_odd_ids` and `count_plain_ids`.
    """
    return [
        (counts[f"{odd} {noun} id"], told)
        for odd, (plain, told) in _FORMS.items()
        if counts.get(f"{odd} {noun} id") and counts.get(f"{plain} {noun} id")
    ]


def find_twin(unknown: Sequence[str], known: pa.Array) -> Optional[tuple[str, str]]:
    """One of the ids that a table has not, and how the table writes it; None when it has no other form of any.

    Forms differ by leading zeros, case, quotation marks, blanks around them, or as 12.0 and 12.
    """
    if not unknown or not len(known):
        return None
    forms = _unify(pa.array(unknown, TEXT))
    found = known.filter(pc.is_in(_unify(known), forms))
    if not len(found):
        return None
    twin = pc.min(found).as_py()
    (form,) = _unify(pa.array([twin], TEXT)).to_pylist()
    return min(other for other, unified in zip(unknown, forms.to_pylist()) if unified == form), twin


def _unify(ids: pa.Array) -> pa.Array:
    """The ids in a form that is alike for all ways to write one."""
    bare = pc.utf8_trim_whitespace(pc.utf8_trim(pc.utf8_trim_whitespace(ids), characters="'\"`"))
    whole = pc.replace_substring_regex(bare, r"^([+-]?\d+)\.0+$", r"\1")
    return pc.utf8_lower(pc.replace_substring_regex(whole, "^0+(.)", r"\1"))


def count_null_words(text: pa.Array, name: str) -> dict[str, int]:
    """How often a text is a word for nothing: "word NAME: WORD" -> number, as far as it occurs."""
    words = text.filter(pc.is_in(text, pa.array(_NULL_SPELLINGS, TEXT)))
    found = words.value_counts().to_pylist() if len(words) else []
    return {f"word {name}: {word['values']}": word["counts"] for word in found}


def is_null_word(text: pa.Array) -> np.ndarray:
    """[num_texts] bool, whether a text in small letters is a word for nothing."""
    return to_numpy(pc.is_in(text, pa.array(_NULL_WORDS, TEXT)))
