"""Which columns of a log say who chose what, and when: by their names first, then by what they hold."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, Optional

from recsys_ssl.guessing import words
from recsys_ssl.guessing.cells import Several, find_several
from recsys_ssl.guessing.columns import Column, to_number
from recsys_ssl.guessing.tables import Table
from recsys_ssl.guessing.times import TimeForm


_CLICKS = ("click", "clicked", "clk", "label")


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


class Ids(NamedTuple):
    """Query and item of a log; None where neither name nor values tell."""

    query: Optional[Choice]
    item: Optional[Choice]
    several: Optional[Several] = None
    """How a cell of the item column holds several items."""


# --- Query and item ----------------------------------------------------------------------------------


def guess_ids(table: Table, options: Options = Options()) -> Ids:
    """Query and item of a table that may be a log."""
    columns = {name: column for name, column in table.columns.items() if _may_be_id(column)}
    item = _given(options.item) or _by_name(columns, words.ITEMS, [options.query])
    query = _given(options.query) or _by_name(columns, words.QUERIES, [item and item.column])
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
    several = find_several(table.columns[item.column]) if item and item.column in table.columns else None
    return Ids(query, item, several)


def _given(name: Optional[str]) -> Optional[Choice]:
    return None if name is None else Choice(name, "given")


def _by_name(columns: dict[str, Column], known: Sequence[str], taken: Collection[Optional[str]]) -> Optional[Choice]:
    ranks = {name: _rank(column, known) for name, column in columns.items() if name not in taken}
    found = {name: rank for name, rank in ranks.items() if rank is not None}
    if not found:
        return None
    best = min(found, key=lambda name: found[name])
    return Choice(best, "by its name")


def _rank(column: Column, known: Sequence[str]) -> Optional[float]:
    """Lower is better; None when no word of the name is known."""
    places = [known.index(word) for word in column.words if word in known]
    if not places:
        return None
    is_id = any(word in words.IDS for word in column.words)
    attribute = any(word in words.ATTRIBUTES for word in column.words)
    extra = len(column.words) - 1 - is_id
    return min(places) - 4 * is_id + 200 * attribute + 2 * extra


def _may_be_id(column: Column) -> bool:
    if column.own_type in ("time", "bool") or (column.is_numeric and not column.is_whole):
        return False
    named = any(word in words.ITEMS or word in words.QUERIES for word in column.words)
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
        several = find_several(column) or _words_of_ids(column)
        if several is not None and several.kind != "numbers":
            found[name] = several
    return sorted(found, key=lambda name: found[name].kind != "marked")


def _words_of_ids(column: Column) -> Optional[Several]:
    """Cells of ids with blanks between, however rare each is: words with digits in them."""
    parts = [part for value in column.known[:200] for part in value.split()]
    is_ids = len(parts) > 1.5 * min(200, len(column.known)) and all(any(c.isdigit() for c in part) for part in parts)
    return Several(" ", "categories") if is_ids and column.time is None else None


# --- Time ----------------------------------------------------------------------------------------------


class Time(NamedTuple):
    column: str
    form: TimeForm
    why: str


def guess_time_column(table: Table, taken: Collection[str], given: Optional[str]) -> Optional[Time]:
    """The column of the event's time: the most exact one that has a name of time."""
    found = []
    for name, column in table.columns.items():
        if name in taken or (given is not None and name != given):
            continue
        rank = _rank(column, words.TIMES)
        if column.time is not None and (rank is not None or given or not table.has_header or column.own_type == "time"):
            found.append((rank is None, -column.num_distinct, rank or 0, Time(name, column.time, column.time.why)))
        elif rank is not None and column.is_whole and column.num_distinct > 2 or (given and column.is_numeric):
            why = "whole numbers with a beginning of their own; only their order matters"
            found.append((True, 0, rank or 0, Time(name, TimeForm("s", None, why), why)))
    return min(found, key=lambda entry: entry[:3])[3] if found else None


# --- Label ---------------------------------------------------------------------------------------------


class Label(NamedTuple):
    """The rule of `events.label`: its keys, the column it reads, and what was seen."""

    keys: dict[str, object]
    column: str
    why: str
    left_out: Sequence[str] = ()
    """Event types that are neither positive nor impressions."""


def guess_label(table: Table, taken: Collection[str], given: Optional[str]) -> Optional[Label]:
    """A rating with a threshold, or event types; None when every record is a choice."""
    if given is not None:
        column = table.columns[given]
        if column.is_flag:
            return _flag(column)
        return (_threshold(column) if column.is_numeric else None) or _event_types(column, sure=True)
    left = {name: column for name, column in table.columns.items() if name not in taken}
    for name in ([table.file_column] if table.file_column else []) + list(left):
        column = left[name]
        if any(word in words.EVENT_TYPES for word in column.words) and not column.is_numeric:
            label = _event_types(column, sure=name == table.file_column)
            if label is not None:
                return label
    rated = _by_name({n: c for n, c in left.items() if c.is_numeric or c.is_flag}, words.LABELS, [])
    if rated is not None:
        column = left[rated.column]
        return _flag(column) if column.is_flag else _threshold(column)
    if not table.has_header:
        for column in left.values():
            few = (
                column.is_numeric
                and 2 <= column.num_distinct <= 21
                and 0 <= min(column.numbers)
                and max(column.numbers) <= 10
            )
            if few:
                return _threshold(column)
    return None


def _event_types(column: Column, sure: bool) -> Optional[Label]:
    if column.num_distinct > 30 or column.is_list:
        return None
    positive, impressions, left_out, unknown = [], [], [], []
    for value in sorted(column.known):
        some = {*words.words_of(value), value.lower()}
        if some & set(words.NEGATIVES):
            left_out.append(value)
        elif some & set(words.IMPRESSIONS):
            impressions.append(value)
        elif some & set(words.POSITIVES):
            positive.append(value)
        else:
            unknown.append(value)
    if not positive and (impressions or sure):
        positive, unknown = unknown, []
    if not positive:
        return None
    left_out += unknown
    keys: dict[str, object] = {"event_type": column.name, "positive": dict.fromkeys(positive, 1.0)}
    if impressions:
        keys["impressions"] = impressions
    shares = dict(zip(column.distinct, column.counts))
    seen = ", ".join(f"{value} {shares[value] / column.num_present:.1%}" for value in column.known[:8])
    return Label(keys, column.name, f"seen: {seen}", left_out)


def _flag(column: Column) -> Label:
    """True is positive; a click that is false was shown."""
    false, true = sorted(column.known, key=str.lower)[:2]
    keys: dict[str, object] = {"event_type": column.name, "positive": {true: 1.0}}
    if any(word in _CLICKS for word in column.words):
        keys["impressions"] = [false]
    return Label(keys, column.name, "true and false were seen")


def _threshold(column: Column) -> Optional[Label]:
    low, high = min(column.numbers), max(column.numbers)
    if {low, high} == {0.0, 1.0} and column.num_distinct == 2 and column.is_whole:
        if any(word in _CLICKS for word in column.words):
            zero, one = (next(value for value in column.known if float(value) == number) for number in (0.0, 1.0))
            keys = {"event_type": column.name, "positive": {one: 1.0}, "impressions": [zero]}
            return Label(keys, column.name, "0 was shown, 1 was chosen")
        return Label({"column": column.name, "threshold": 1.0}, column.name, "0 and 1 were seen")
    if any(word in words.QUANTITIES for word in column.words):
        why = "at least one was taken; less is a return or a correction"
        return Label({"column": column.name, "threshold": 1.0}, column.name, why)
    if low == high or high > 100:
        return None
    threshold = next(cut for top, cut in ((1, 1.0), (5, 4.0), (7, 5.0), (10, 7.0), (100, 70.0)) if high <= top)
    numbers = dict(zip(column.distinct, column.counts))
    above = sum(
        count
        for value, count in numbers.items()
        if (number := to_number(value, column.style)) is not None and number >= threshold
    )
    share = f"{above / max(1, column.num_present):.0%} of those seen are positive"
    return Label({"column": column.name, "threshold": threshold}, column.name, f"{low:g} to {high:g}: {share}")
