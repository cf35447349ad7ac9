"""Lines of a CSV file that name its columns: the header again, or one in a file that should have none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Optional

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_ssl.lists import one_array
from recsys_ssl.logs.batches import Batch
from recsys_ssl.logs.values import TEXT, to_numpy

_WORD = re.compile(r"\s*[^\W\d][\w .-]*")
_NUMBER = r"^\s*[+-]?[\d.,]+([eE][+-]?\d+)?\s*$"
_LEAST_LETTERS = 3  # of a name that differs from an id in more than its place


def find_repeats(rows: Sequence[Sequence[str]], names: Sequence[str]) -> list[Optional[str]]:
    """[num_rows] why a row is no record but the header again, in whatever case and with blanks around names.

    Names of a letter or two, which may be ids, are the header again only as they are.
    """
    exact, folded = list(names), _fold(names)
    ordered, is_plain = sorted(folded), _is_plain(folded)

    def tell(row: Sequence[str]) -> Optional[str]:
        if row == exact:
            return "the header again"
        if not is_plain or len(row) != len(exact) or row[0].strip().lower() not in ordered:
            return None
        cells = _fold(row)
        if cells == folded:
            return "the header again"
        return "the header again, in another order" if sorted(cells) == ordered else None

    return [tell(row) for row in rows]


def may_repeat(table: pa.Table, names: Sequence[str]) -> bool:
    """Whether a row of some of the columns may be of the header; faster than `find_repeats`."""
    folds, rows = _is_plain(_fold(names)), table
    words = [name.encode("utf-8", "replace").decode() for name in (_fold(names) if folds else names)]
    for name in table.column_names:
        cells = one_array(rows[name])
        folded = pc.utf8_trim_whitespace(pc.utf8_lower(cells)) if folds else cells
        rows = rows.filter(pc.is_in(folded, pa.array(words, TEXT)))
        if not rows.num_rows:
            return False
    return table.num_columns > 0


def find_header(batch: Batch, names: Sequence[str]) -> Optional[str]:
    """The first record of a file where it looks like names of columns, as "userId, movieId"; else None.

    All its cells are words, one of them about the name of a column, and the other records have numbers in their place
    or never that word.

    Args:
        batch: the first of a file without header, its columns being text.
        names: the columns of the spec.
    """
    if batch.columns.num_rows < 2:
        return None
    cells = [column[0].as_py() for column in batch.columns.columns]
    if not all(isinstance(cell, str) and _WORD.fullmatch(cell) for cell in cells):
        return None
    if not {_stem(cell) for cell in cells} & {_stem(name) for name in names}:
        return None
    for column, cell in zip(batch.columns.columns, cells):
        others = one_array(column[1:])
        is_number = pc.match_substring_regex(others, _NUMBER)
        if not pc.all(is_number).as_py() and np.any(to_numpy(pc.equal(others, cell))):
            return None
    return ", ".join(cells)


def _fold(names: Sequence[str]) -> list[str]:
    return [name.strip().lower() for name in names]


def _is_plain(folded: Sequence[str]) -> bool:
    return max(map(len, folded), default=0) >= _LEAST_LETTERS


def _stem(name: str) -> str:
    """A name without case, marks and the word `id`."""
    bare = re.sub(r"[\W_]", "", name).casefold()
    return bare.removesuffix("id") or bare
