"""Which of some tables is the log, and which describe its items and queries: by shared ids and names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Optional

from recsys_ssl.guessing import words
from recsys_ssl.guessing.cells import find_nested
from recsys_ssl.guessing.columns import Column
from recsys_ssl.guessing.event_time import Time, guess_time_column
from recsys_ssl.guessing.exploding import explode_log
from recsys_ssl.guessing.labels import Label, guess_label
from recsys_ssl.guessing.opened import GuessError
from recsys_ssl.guessing.roles import Choice, Ids, Options, guess_ids, is_owner
from recsys_ssl.guessing.tables import Table

_LEAST_KNOWN = 0.5
"""Share of the ids of the log that a table must know when all of it was read."""


class Match(NamedTuple):
    """A table of items or queries."""

    table: Table
    key: str
    why: str


class Plan(NamedTuple):
    """What is what."""

    log: Table
    query: Choice
    item: Choice
    explode: dict[str, object]
    """Keys of `explode`; empty where a line holds one item. The log's sample is exploded already."""
    beside: list[str]
    """Columns with a value for each item of a line."""
    time: Optional[Time]
    label: Optional[Label]
    items: Optional[Match]
    queries: Optional[Match]
    same_as_items: bool
    unused: dict[str, str]
    """Table -> why."""


def make_plan(tables: Sequence[Table], options: Options) -> Plan:
    """Finds the log, its columns and its tables.

    Raises:
        GuessError: no table looks like a log, or its query or item column cannot be told.
    """
    log = max(tables, key=lambda table: (_score(table, options), table.sample.table.num_rows))
    _check_given(log, options)
    others = [table for table in tables if table is not log]
    ids = guess_ids(log, options)
    if ids.item is None or ids.query is None:
        ids = _guess_by_tables(log, ids, others)
    if ids.query is None or ids.item is None:
        side, meaning = ("query", "who chose (user, session)") if ids.query is None else ("item", "what was chosen")
        raise GuessError(
            f"{log.name}: no column says by its name or values {meaning}. The columns are: "
            f"{', '.join(map(repr, log.columns))}. Name it: --{side} COLUMN.{_say_nested(log)}"
        )
    query, item = ids.query, ids.item
    explode: dict[str, object] = {}
    label = None
    beside: list[str] = []
    if ids.several is not None:
        log, item, explode, label, beside = explode_log(log, query, item, ids.several)
        _check_single(log, item, beside, options)
    taken = [query.column, item.column]
    time = guess_time_column(log, taken, options.time)
    if options.time is not None and time is None:
        raise GuessError(
            f"{log.name}: column {options.time!r} holds no times that are known here, as "
            f"{log.columns[options.time].distinct[0]!r}. Write events.timestamp by hand: docs/own_data/logs.md."
        )
    if label is None:
        label = guess_label(log, [*taken, *([time.column] if time else [])], options.label)
    if options.label is not None and label is None:
        raise GuessError(
            f"{log.name}: column {options.label!r} holds neither ratings nor event types that are known here. Write "
            "events.label by hand: docs/own_data/logs.md."
        )
    items = _find_table(log, item, others, words.ITEM_FILES)
    same = _is_graph(log.columns[query.column], log.columns[item.column], items)
    left = [table for table in others if items is None or table is not items.table]
    queries = None if same else _find_table(log, query, left, words.QUERY_FILES)
    used = [match.table for match in (items, queries) if match]
    unused = {
        table.name: "no column of unique ids that are those of the log"
        for table in others
        if all(table is not one for one in used)
    }
    return Plan(log, query, item, explode, beside, time, label, items, queries, same, unused)


def _check_given(log: Table, options: Options) -> None:
    for option, name in options._asdict().items():
        if name is not None and name not in log.columns:
            raise GuessError(
                f"--{option} must name a column of {log.name}. Received: {name!r}. It has: "
                f"{', '.join(map(repr, log.columns))}."
            )
        nested = find_nested(log.columns[name]) if name is not None and option in ("query", "item") else ""
        if nested:
            raise GuessError(f"--{option} must name a column of ids. Received: {name!r}, which has {nested}.")


def _say_nested(log: Table) -> str:
    found = [(name, find_nested(column)) for name, column in log.columns.items()]
    return "".join(f" {name!r} has {nested}." for name, nested in found if nested)


def _check_single(log: Table, item: Choice, beside: Sequence[str], options: Options) -> None:
    for option, name in options._asdict().items():
        if name in beside:
            raise GuessError(
                f"--{option} must name a column of {log.name} with one value a record. Received: {name!r}, which has "
                f"one for each of {item.column!r}. Write one object per item that holds both, or a record a line."
            )


def _score(table: Table, options: Options) -> float:
    """How much a table looks like a log."""
    given = [name for name in options if name is not None]
    known = Options(*(name if name in table.columns else None for name in options))
    ids = guess_ids(table, known)
    taken = [choice.column for choice in (ids.query, ids.item) if choice]
    score = 2.0 * sum(name in table.columns for name in given) + len(taken)
    score -= 2.0 * sum(table.columns[name].is_unique and table.sample.table.num_rows > 20 for name in taken)
    score += guess_time_column(table, taken, None) is not None
    score += 0.5 * (guess_label(table, taken, None) is not None)
    score += 0.75 * any(word in words.LOG_FILES for word in table.words)
    score -= 1.5 * any(word in (*words.ITEM_FILES, *words.QUERY_FILES) for word in table.words)
    return score


# --- Tables by ids -------------------------------------------------------------------------------------


def _find_table(log: Table, choice: Choice, tables: Sequence[Table], files: Sequence[str]) -> Optional[Match]:
    """The table whose unique column holds the ids of a column of the log; the one that says most of them."""
    seen = log.columns[choice.column].ids
    found = []
    for table in tables:
        for name, column in table.columns.items():
            if not column.is_unique or column.is_list:
                continue
            known = len(seen & column.ids) / max(1, len(seen))
            named = table.has_header and log.has_header and column.words == log.columns[choice.column].words
            filed = any(word in files for word in table.words)
            other = any(word in {*words.ITEM_FILES, *words.QUERY_FILES} - {*files} for word in table.words)
            sound = known >= (_LEAST_KNOWN if table.sample.is_whole else 0.02)
            if not sound and not (named and known > 0):
                continue
            generic = {*column.words} <= {*words.IDS, "index"} or not table.has_header or not log.has_header
            if column.is_plain_integer and not named and not (generic or filed):
                continue  # all integers are alike
            why = f"{column.name!r} is unique and has {known:.0%} of the ids seen"
            place = list(table.columns).index(name)
            key = (sound, named, not other, filed, len(table.columns) > 1, known, -place)
            found.append((key, Match(table, name, why)))
    best = max(found, key=lambda entry: entry[0], default=None)
    if best is None or not (best[0][1] or best[0][2]):
        return None
    return best[1]


def _guess_by_tables(log: Table, ids: Ids, tables: Sequence[Table]) -> Ids:
    """A column of a log whose names say nothing, by a table that describes it."""
    for name, column in log.columns.items():
        taken = [choice.column for choice in (ids.query, ids.item) if choice]
        if name in taken or (column.is_numeric and not column.is_whole) or column.time is not None:
            continue
        for table in tables:
            match = _find_table(log, Choice(name, ""), [table], words.ITEM_FILES)
            same_name = match is not None and table.columns[match.key].words == column.words
            if match is None or not (same_name or not column.is_plain_integer):
                continue
            choice = Choice(name, f"its ids are those of {table.name}")
            of_queries = any(word in words.QUERY_FILES for word in table.words)
            if ids.query is None and of_queries:
                ids = ids._replace(query=choice)
            elif ids.item is None and not of_queries and not is_owner(column):
                ids = ids._replace(item=choice)
    return ids


def _is_graph(query: Column, item: Column, items: Optional[Match]) -> bool:
    """Whether queries are items themselves, as pages that link to pages."""
    if query.is_plain_integer or item.is_plain_integer:  # users and films count from 1 alike
        named = {*query.words, *item.words}
        if not ({"source", "target"} <= named or {"from", "to"} <= named):
            return False
    others = [item.ids] if items is None else [item.ids, items.table.columns[items.key].ids]
    return max(len(query.ids & other) / max(1, min(len(query.ids), len(other))) for other in others) > 0.3
