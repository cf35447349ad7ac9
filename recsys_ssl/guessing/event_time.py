"""Which column of a log says when: by its name first, else the only one of times."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple, Optional

from recsys_ssl.guessing import words
from recsys_ssl.guessing.columns import Column
from recsys_ssl.guessing.habits import depends_on, to_frame
from recsys_ssl.guessing.roles import is_id, rank_name
from recsys_ssl.guessing.tables import Table
from recsys_ssl.guessing.times import TimeForm, find_order

_LEAST_BACK = 0.02
"""Of the records, those that are earlier than the one before them; with fewer they are in order of time."""


class Time(NamedTuple):
    """A guessed column of times, and why."""

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
        rank = rank_name(column, words.TIMES)
        order = find_order(column.numbers) if column.time is None and column.is_numeric else None
        if given is not None:
            form = column.time or order
            found += [(False, 0, 0, Time(name, form, form.why))] if form else []
        elif column.time is not None and _is_of_event(table, column, taken):
            if rank is not None or not table.has_header or column.own_type == "time":
                found.append((rank is None, -column.num_distinct, rank or 0, Time(name, column.time, column.time.why)))
            elif not is_id(column):
                unnamed.append(Time(name, column.time, f"the only column of times, {column.time.why}"))
        elif order is not None and rank is not None and column.is_whole and column.num_distinct > 2:
            found.append((True, 0, rank, Time(name, order, order.why)))
    if not found and len(unnamed) == 1:
        return unnamed[0]
    return min(found, key=lambda entry: entry[:3])[3] if found else None


def _is_of_event(table: Table, column: Column, taken: Collection[str]) -> bool:
    """Whether a time is not one of the item or the query.

    Names as `event_time` say so, and an order of the records by time. In the first days of a log most people came on
    one of them: then their days depend on them, too.
    """
    if any(word in words.BIRTHS for word in column.words):
        return False
    known = {*words.TIMES, *words.EVENT_TYPES, *words.LOG_FILES, *words.ORDERS, *words.POSITIVES}
    if column.words and all(word in known for word in column.words):
        return True
    names = [*taken, column.name]
    columns = {name: table.columns[name] for name in names}
    few = table._replace(sample=table.sample._replace(table=table.sample.table.select(names)), columns=columns)
    frame = to_frame(few, column.name, column.time)
    steps = frame[""].dropna().diff().dropna()
    if not any(word in words.BEGINNINGS for word in column.words) and steps.any() and (steps < 0).mean() < _LEAST_BACK:
        return True
    return not any(depends_on(frame, key, column.name, column.words) for key in taken)
