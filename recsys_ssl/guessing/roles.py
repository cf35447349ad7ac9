"""Which columns of a log say who chose what, and when: by their names first, then by what they hold."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, Optional

from recsys_ssl.guessing import words
from recsys_ssl.guessing.cells import Several, find_several
from recsys_ssl.guessing.columns import Column
from recsys_ssl.guessing.habits import depends_on, to_frame
from recsys_ssl.guessing.tables import Table
from recsys_ssl.guessing.times import TimeForm

_LEAST_SHARED = 0.1
"""Of the ids that stand first in a cell, those that stand second elsewhere."""


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


# --- Query and item ----------------------------------------------------------------------------------


def guess_ids(table: Table, options: Options) -> Ids:
    """Query and item of a table that may be a log."""
    columns = {name: column for name, column in table.columns.items() if _may_be_id(column)}
    item = _given(options.item) or pick_by_name(columns, words.ITEMS, [options.query])
    query = _given(options.query) or pick_by_name(columns, words.QUERIES, [item and item.column])
    if item is None or query is None:
        lists = _several_items(table, [query and query.column])
        taken = [choice.column for choice in (query, item) if choice]
        left = [name for name, column in columns.items() if name not in taken and _recurs(column)]
        if any(name in columns and not _recurs(columns[name]) for name in taken) and table.sample.table.num_rows > 20:
            left = []  # a table of items or of users
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
    ranks = {name: _rank(column, known) for name, column in columns.items() if name not in taken}
    found = {name: rank for name, rank in ranks.items() if rank is not None}
    if not found:
        return None
    best = min(found, key=lambda name: found[name])
    return Choice(best, "by its name")


def _rank(column: Column, known: Sequence[str]) -> Optional[float]:
    """Lower is better; None when no word of the name is known."""
    is_id = _is_id(column)
    named = [word for word in column.words if is_id or len(column.words) == 1 or word not in words.ORDERS]
    places = [known.index(word) for word in named if word in known]
    if not places:
        return None
    attribute = any(word in words.NAMES for word in column.words)
    extra = len(column.words) - 1 - is_id
    return min(places) - 4 * is_id + 200 * attribute + 2 * extra


def _is_id(column: Column) -> bool:
    return any(word in words.IDS for word in column.words)


def _may_be_id(column: Column) -> bool:
    is_id = _is_id(column) and not column.own_type
    if column.own_type in ("time", "bool") or (column.is_numeric and not column.is_whole and not is_id):
        return False
    if any(word in words.ATTRIBUTES for word in column.words):
        return False
    named = any(word in words.ITEMS or word in words.QUERIES for word in column.words)
    named &= _is_id(column) or len(column.words) == 1  # `order_dt` is a time
    return column.num_present > 0 and (column.time is None or named) and column.mean_words < 3


def _recurs(column: Column) -> bool:
    return not column.is_unique and column.num_distinct > 1


def _several_items(table: Table, taken: Collection[Optional[str]]) -> list[str]:
    """Columns whose cells hold several items, the likeliest first."""
    found = {}
    for name, column in table.columns.items():
        named = any(word in words.SEQUENCES or word in words.ITEMS for word in [*column.words, column.name.lower()])
        if name in taken or not (named or not table.has_header):
            continue
        several = find_items(column, table.has_header)
        if several is not None:
            found[name] = several
    return sorted(found, key=lambda name: found[name].kind != "marked")


def find_items(column: Column, has_names: bool = True) -> Optional[Several]:
    """How a cell holds several ids; blanks separate ids, which have digits, but not the words of a title.

    Args:
        has_names: whether the file has a header, so that a column of lists may be named like one.
    """
    plural = column.name.lower().endswith(("s", "list")) and column.name.lower() not in words.ITEMS
    named = has_names and (plural or any(word in words.SEQUENCES for word in column.words))
    if named and column.is_numeric and any("," in value for value in column.known):  # no decimal comma
        parts = [part.strip() for value in column.known for part in value.split(",")]
        return Several(",", "categories") if all(map(str.isdigit, parts)) else None
    several = find_several(column)
    if several is None or (several.separator == " " and several.kind == "categories"):
        several = _words_of_ids(column)
    if several is None or several.kind == "numbers":
        return None
    sure = named or several.separator is None or several.kind == "marked"
    return several if sure or _has_parts_anywhere(column.known, str(several.separator)) else None


def _has_parts_anywhere(values: Sequence[str], separator: str) -> bool:
    """Whether the same parts stand first and second: those of an id as `red|s|4` and `cat1/prod3` keep their places."""
    if separator == "/":
        return False
    cells = [[part.strip() for part in value.split(separator)] for value in values]
    firsts, seconds = {cell[0] for cell in cells}, {cell[1] for cell in cells if len(cell) > 1 and cell[1]}
    return len(firsts & seconds) >= _LEAST_SHARED * max(1, min(len(firsts), len(seconds)))


def _words_of_ids(column: Column) -> Optional[Several]:
    parts = [part for value in column.known[:200] for part in value.split()]
    is_ids = len(parts) > 1.5 * min(200, len(column.known)) and all(any(c.isdigit() for c in part) for part in parts)
    return Several(" ", "categories") if is_ids and column.time is None else None


# --- Time ----------------------------------------------------------------------------------------------


class Time(NamedTuple):
    column: str
    form: TimeForm
    why: str


def guess_time_column(table: Table, taken: Collection[str], given: Optional[str]) -> Optional[Time]:
    """The column of the event's time: the most exact one that has a name of time, else the only one of times.

    Args:
        taken: query and item; a time that belongs to one of them, as `release_date`, is not the event's.
        given: the column that a person names.
    """
    found: list[tuple[bool, int, float, Time]] = []
    unnamed = []
    for name, column in table.columns.items():
        if name in taken or (given is not None and name != given):
            continue
        rank = _rank(column, words.TIMES)
        why = "whole numbers with a beginning of their own; only their order matters"
        if given is not None and (column.time is not None or column.is_numeric):
            time = TimeForm("s", None, why) if column.time is None else column.time
            found.append((False, 0, 0, Time(name, time, time.why)))
        elif column.time is not None and _is_of_event(table, column, taken):
            if rank is not None or not table.has_header or column.own_type == "time":
                found.append((rank is None, -column.num_distinct, rank or 0, Time(name, column.time, column.time.why)))
            elif not _is_id(column):
                unnamed.append(Time(name, column.time, f"the only column of times, {column.time.why}"))
        elif column.time is None and rank is not None and column.is_whole and column.num_distinct > 2:
            found.append((True, 0, rank, Time(name, TimeForm("s", None, why), why)))
    if not found and len(unnamed) == 1:
        return unnamed[0]
    return min(found, key=lambda entry: entry[:3])[3] if found else None


def _is_of_event(table: Table, column: Column, taken: Collection[str]) -> bool:
    """Whether a time is not one of the item or the query; names as `event_time` say so, whatever the values are."""
    if any(word in words.BIRTHS for word in column.words):
        return False
    known = {*words.TIMES, *words.EVENT_TYPES, *words.LOG_FILES}
    if column.words and all(word in known for word in column.words):
        return True
    names = [*taken, column.name]
    columns = {name: table.columns[name] for name in names}
    few = table._replace(sample=table.sample._replace(table=table.sample.table.select(names)), columns=columns)
    frame = to_frame(few, None, None)
    return not any(depends_on(frame, key, column.name, column.words) for key in taken)
