"""Whether the first line of a file names its columns."""

from __future__ import annotations

import re
from collections.abc import Sequence

from recsys_ssl.guessing.words import ALL_WORDS, words_of

_DIGITS = re.compile(r"\d+")
_PLAIN_NUMBER = re.compile(r"^\s*[+-]?[\d.,]*\d\s*$")


def find_header(rows: Sequence[Sequence[str]]) -> tuple[bool, str]:
    """Whether the first row names the columns, and why; it does unless its cells are as those below them."""
    first, rest = rows[0], rows[1:]
    columns = [[row[place] for row in rest] for place in range(len(first))]
    if any(_is_number_as(cell, column) for cell, column in zip(first, columns)):
        return False, "the first line has numbers as those below"
    if any(word in ALL_WORDS for cell in first for word in words_of(cell)) and max(map(len, first)) < 60:
        return True, "the first line has names as user, item, time"
    if any(_is_as_long(cell, column) for cell, column in zip(first, columns)):
        return False, "the first line has digits as those below"
    for what, is_such in (("numbers", _PLAIN_NUMBER.match), ("words with digits", _has_digits)):
        for cell, column in zip(first, columns):
            if rest and not _has_digits(cell) and sum(bool(is_such(value)) for value in column) > 0.9 * len(rest):
                return True, f"{what} stand below words"
    below = {cell for row in rest for cell in row}
    again = [cell for cell in first if cell.strip() and cell in below]
    if again and list(first) not in [list(row) for row in rest]:
        return False, f"{again[0]!r} of the first line occurs again below"
    return True, "no value of the first line occurs below"


def _has_digits(text: str) -> bool:
    return any(map(str.isdigit, text))


def _is_number_as(cell: str, column: Sequence[str]) -> bool:
    """Whether a cell has digits, and values below are written alike: numbers, dates, ids as `u12`."""
    if not _has_digits(cell):
        return False
    if _PLAIN_NUMBER.match(cell):
        return sum(bool(_PLAIN_NUMBER.match(value)) for value in column) >= 0.5 * len(column)
    alike = sum(_DIGITS.sub("0", value) == _DIGITS.sub("0", cell) for value in column)
    return alike > 0 and alike >= 0.2 * len(column)


def _is_as_long(cell: str, column: Sequence[str]) -> bool:
    """Whether a cell has digits and the length of those below, as hexadecimal ids do."""
    as_long = sum(_has_digits(value) and len(value) == len(cell) for value in column)
    return _has_digits(cell) and as_long > 0 and as_long >= 0.9 * len(column)
