"""Which columns of a log say who chose what: by their names first, then by what they hold."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, Optional

from recsys_ssl.guessing import words
from recsys_ssl.guessing.cells import Several, find_nested, find_several
from recsys_ssl.guessing.columns import Column
from recsys_ssl.guessing.tables import Table

_LEAST_SHARED = 0.1
"""Of the ids that stand first in a cell, those that stand second elsewhere."""
_MOST_LENGTHS = 3
"""Numbers of parts that an id may have."""
_BETWEEN_IDS = (";", "|", ",")
_LEAST_WHOLE = 0.95
"""Of the parts of cells, those without blanks: titles have some."""
_LEAST_SEVERAL, _MOST = 0.15, 0.5
"""Of cells that must have several ids: where the name says that they may, and where it does not."""


class Choice(NamedTuple):
    """A guessed column, and why."""

    column: str
    why: str


class Options(NamedTuple):
    """Columns that a person names; None to be guessed."""

    query: Optional[str] = None
    item: Optional[str] = None
    time: Optional[str] = None
    label: Optional[str] = None


GUESS_ALL = Options()


class Ids(NamedTuple):
    """Query and item of a log; None where neither name nor values tell."""

    query: Optional[Choice]
    item: Optional[Choice]
    several: Optional[Several] = None
    """How a cell of the item column holds several items."""


def guess_ids(table: Table, options: Options) -> Ids:
    """Query and item of a table that may be a log."""
    columns = {name: column for name, column in table.columns.items() if _may_be_id(column)}
    owners = [name for name, column in columns.items() if is_owner(column)]
    item = _given(options.item) or pick_by_name(columns, words.ITEMS, [options.query, *owners])
    query = _given(options.query) or pick_by_name(columns, words.QUERIES, [item and item.column])
    if item is None or query is None:
        lists = _several_items(table, [query and query.column])
        unnamed = _several_items(table, [query and query.column], by_name=False) if item is None and not lists else []
        taken = [choice.column for choice in (query, item) if choice]
        left = [name for name, column in columns.items() if name not in taken and _recurs(column)]
        if any(name in columns and not _recurs(columns[name]) for name in taken) and table.sample.table.num_rows > 20:
            left = []  # a table of items or of users
        if item is None:
            left = [name for name in left if name not in owners] or left
        if not table.has_header:
            singles = [name for name in left if name not in lists]
            if query is None and singles:
                query = Choice(singles.pop(0), "the first column whose values recur")
            if item is None and lists:
                item = Choice(lists[0], "cells with several ids")
            elif item is None and singles:
                item = Choice(singles[0], "the next column whose values recur")
        elif item is None and lists:
            item = Choice(lists[0], "by its name, and cells with several values")
        elif item is None and query and len(unnamed) == 1 and {*left} <= {*unnamed}:
            item = Choice(unnamed[0], "the only column whose cells have several ids")
        elif item is None and query and len(left) == 1:
            item = Choice(left[0], "the only other column with values that recur")
        elif query is None and item and len(left) == 1:
            query = Choice(left[0], "the only other column with values that recur")
    several = (
        find_items(table.columns[item.column], table.has_header) if item and item.column in table.columns else None
    )
    return Ids(query, item, several)


def _given(name: Optional[str]) -> Optional[Choice]:
    return None if name is None else Choice(name, "given")


def pick_by_name(
    columns: dict[str, Column], known: Sequence[str], taken: Collection[Optional[str]] = ()
) -> Optional[Choice]:
    """The column whose name has the earliest of the known words."""
    ranks = {name: rank_name(column, known) for name, column in columns.items() if name not in taken}
    found = {name: rank for name, rank in ranks.items() if rank is not None}
    if not found:
        return None
    best = min(found, key=lambda name: found[name])
    return Choice(best, "by its name")


def rank_name(column: Column, known: Sequence[str]) -> Optional[float]:
    """Lower is better; None when no word of the name is known."""
    has_id = is_id(column)
    named = [word for word in column.words if has_id or len(column.words) == 1 or word not in words.ORDERS]
    places = [known.index(word) for word in named if word in known]
    if not places:
        return None
    attribute = any(word in words.NAMES for word in column.words)
    extra = len(column.words) - 1 - has_id
    return min(places) - 4 * has_id + 200 * attribute + 2 * extra


def is_id(column: Column) -> bool:
    """Whether a name says that the values are ids."""
    return any(word in words.IDS for word in column.words)


def is_owner(column: Column) -> bool:
    """Whether a name says whose the items are: `product_owner_id`, but not `seller_product_id`."""
    nouns = [word for word in column.words if word in words.ITEMS or word not in (*words.IDS, *words.NAMES)]
    return bool(nouns) and nouns[-1] in words.OWNERS


def _may_be_id(column: Column) -> bool:
    named_id = is_id(column) and not column.own_type
    if column.own_type in ("time", "bool") or (column.is_numeric and not column.is_whole and not named_id):
        return False
    if any(word in words.ATTRIBUTES for word in column.words):
        return False
    named = any(word in words.ITEMS or word in words.QUERIES for word in column.words)
    named &= is_id(column) or len(column.words) == 1  # `order_dt` is a time
    if column.num_present == 0 or column.mean_words >= 3 or not (column.time is None or named):
        return False
    return not find_nested(column)


def _recurs(column: Column) -> bool:
    return not column.is_unique and column.num_distinct > 1


def _several_items(table: Table, taken: Collection[Optional[str]], by_name: bool = True) -> list[str]:
    """Columns whose cells hold several items, the likeliest first.

    Args:
        by_name: whether a file with a header must name them like items.
    """
    found = {}
    for name, column in table.columns.items():
        named = any(word in words.SEQUENCES or word in words.ITEMS for word in [*column.words, column.name.lower()])
        if name in taken or (by_name and table.has_header and not named):
            continue
        several = find_items(column, table.has_header and by_name)
        if several is not None:
            found[name] = several
    return sorted(found, key=lambda name: found[name].kind != "marked")


def find_items(column: Column, has_names: bool = True) -> Optional[Several]:
    """How a cell holds several ids; blanks separate ids, which have digits, but not the words of a title.

    Args:
        has_names: whether the file has a header, so that a column of lists may be named like one.
    """
    if find_nested(column):
        return None
    plural = column.name.lower().endswith(("s", "list")) and column.name.lower() not in words.ITEMS
    named = has_names and (plural or any(word in words.SEQUENCES for word in column.words))
    if named and column.is_numeric and any("," in value for value in column.known):  # no decimal comma
        parts = [part.strip() for value in column.known for part in value.split(",")]
        return Several(",", "categories") if all(map(str.isdigit, parts)) else None
    several = find_several(column)
    if several is None or (several.separator is not None and several.kind == "categories"):
        other = None if several is None or several.separator == " " else several
        several = _split_ids(column, _LEAST_SEVERAL if named else _MOST) or other or _words_of_ids(column)
    if several is None or several.kind == "numbers":
        return None
    sure = named or several.separator is None or several.kind == "marked"
    return several if sure or _has_parts_anywhere(column.known, str(several.separator)) else None


def _split_ids(column: Column, least: float) -> Optional[Several]:
    """The separator of ids, which may be many and rare, unlike categories.

    Args:
        least: share of the cells that must have several.
    """
    if column.is_list or column.is_numeric or column.time is not None or not column.known:
        return None
    for separator in _BETWEEN_IDS:
        cells = [[part for part in map(str.strip, value.split(separator)) if part] for value in column.known]
        parts = [part for cell in cells for part in cell]
        num_whole = sum(len(part.split()) == 1 for part in parts)
        if sum(len(cell) > 1 for cell in cells) > least * len(cells) and num_whole > _LEAST_WHOLE * len(parts):
            return Several(separator, "categories")
    return None


def _has_parts_anywhere(values: Sequence[str], separator: str) -> bool:
    """Whether the same parts stand first and second, or cells have any number of them.

    The parts of an id as `red|s|4` and `cat1/prod3` keep their places and number.
    """
    if separator == "/":
        return False
    cells = [[part.strip() for part in value.split(separator)] for value in values]
    if len(set(map(len, cells))) > _MOST_LENGTHS:
        return True
    firsts, seconds = {cell[0] for cell in cells}, {cell[1] for cell in cells if len(cell) > 1 and cell[1]}
    return len(firsts & seconds) >= _LEAST_SHARED * max(1, min(len(firsts), len(seconds)))


def _words_of_ids(column: Column) -> Optional[Several]:
    parts = [part for value in column.known[:200] for part in value.split()]
    is_ids = len(parts) > 1.5 * min(200, len(column.known)) and all(map(_is_word_of_id, parts))
    return Several(" ", "categories") if is_ids and column.time is None else None


def _is_word_of_id(part: str) -> bool:
    return any(map(str.isdigit, part)) and not part.endswith((",", ";"))
