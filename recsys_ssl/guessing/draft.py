"""From files to the text of a first spec."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from typing import NamedTuple, Optional

import pandas as pd
import pyarrow as pa

from recsys_ssl.guessing import words
from recsys_ssl.guessing.columns import Column, describe
from recsys_ssl.guessing.features import (
    Guessed,
    cut,
    feature_name,
    guess_feature,
    id_feature,
    id_name,
    make_unique,
    pick_title,
)
from recsys_ssl.guessing.habits import depends_on, share_of_repeats, share_of_stay, to_frame
from recsys_ssl.guessing.matching import Match, Plan, make_plan
from recsys_ssl.guessing.naming import name_columns
from recsys_ssl.guessing.opened import GuessError
from recsys_ssl.guessing.roles import Options
from recsys_ssl.guessing.samples import HEAD_RECORDS, MIDDLE_RECORDS
from recsys_ssl.guessing.tables import Table, find_files, read_tables
from recsys_ssl.guessing.write import Entry, list_guesses, to_yaml

_HEADING = (
    "Guessed by `recsys-ssl new-spec` from at most the first "
    f"{HEAD_RECORDS:,} records of each table and {MIDDLE_RECORDS:,} of its middle.",
    "A comment says what a guess rests on: read each. All keys: docs/own_data/spec.md.",
)
_MANY_REPEATS, _SHORT_STAY = 0.1, 0.1
_TOLERATED = 0.008
"""Share of records without an id, time or label below the default of `max_rejected_share`."""
_MOST_SLICES, _FEW_VALUES, _MOST_WORDS = 2, 8, 10


class Draft(NamedTuple):
    """A first spec."""

    text: str
    name: str
    data_dir: str
    """Where the paths of the spec begin."""
    guesses: list[tuple[str, str, str]]
    """(key, value, why)"""
    unused: dict[str, str]
    """Files -> why they are not in the spec."""


def draft_spec(given: Sequence[str], options: Options = Options(), name: Optional[str] = None) -> Draft:
    """Guesses a spec from bounded samples of files.

    Args:
        given: files, globs or directories of a log and its tables.
        name: of the data set; that of the data directory when None.

    Raises:
        GuessError: there is no such file, no file is a table, or a column that the spec needs cannot be told; the
            message names the option that tells it.
    """
    data_dir, sets = find_files(given)
    tables, unused = read_tables(sets, data_dir)
    if not tables:
        raise GuessError("\n".join(unused.values()))
    try:
        plan = name_columns(make_plan(tables, options))
    except GuessError as error:
        others = [f"Not used: {file}: {why}" for file, why in unused.items()]
        raise GuessError("\n".join([str(error), *others])) from error
    name = name or re.sub(r"[^a-z0-9]+", "-", os.path.basename(data_dir).lower()).strip("-") or "log"
    unused |= plan.unused
    entries = [Entry("version", 1), Entry("name", name), *_entries(plan)]
    heading = [*_HEADING, *(f"Not used: {file}: {why}" for file, why in unused.items())]
    return Draft(to_yaml(entries, heading), name, data_dir, list(list_guesses(entries)), unused)


def _entries(plan: Plan) -> list[Entry]:
    log, time = plan.log, plan.time
    frame = to_frame(log, time and time.column, time and time.form)
    of_items, context = _split_columns(plan, frame)
    items = _item_entries(plan, of_items)
    queries, query_features = _query_entries(plan)
    events = _event_entries(plan, context)
    entries = [
        Entry("events", [*_files(log, _used_columns(plan, [*context, *(of_items if not plan.items else [])])), *events])
    ]
    entries.append(Entry("items", items))
    if queries:
        entries.append(Entry("queries", queries))
    if time is None:
        entries.append(Entry("split", {"kind": "random"}, _why_no_time(plan)))
    evaluation = _evaluation(plan, frame, query_features, context)
    if evaluation:
        entries.append(Entry("evaluation", evaluation))
    return [*entries, *_tolerance(plan, frame)]


def _tolerance(plan: Plan, frame: pd.DataFrame) -> list[Entry]:
    """A larger share of rejects where many records lack what each needs."""
    needed = {plan.query.column: "", plan.item.column: ""}
    needed |= {plan.time.column: ""} if plan.time else {}
    needed |= {plan.label.column: ""} if plan.label else {}
    lacking = {name: frame[name].isna() | frame[name].isin(["", *plan.log.columns[name].null_words]) for name in needed}
    share = float(pd.concat(lacking, axis=1).any(axis=1).mean()) if len(frame) else 0.0
    if share < _TOLERATED:
        return []
    worst = max(lacking, key=lambda name: lacking[name].mean())
    why = f"{share:.1%} of the records seen lack a value, most often {worst}: they are left out"
    return [Entry("max_rejected_share", min(1.0, math.ceil(share * 120) / 100), why)]


def _why_no_time(plan: Plan) -> str:
    named = [column for column in plan.log.columns.values() if set(column.words) & set(words.TIMES[:10])]
    odd = next(
        (column for column in named if column.known and column.name not in (plan.query.column, plan.item.column)), None
    )
    if odd is None:
        return "no column of times was found"
    return f"{odd.name} may be a time, of no known form: {odd.known[0]}; events.timestamp takes a format of strptime"


# --- Files -----------------------------------------------------------------------------------------------


def _files(table: Table, columns: Sequence[tuple[Column, bool]]) -> list[Entry]:
    """The keys of `Files`: how the files are found and read.

    Args:
        columns: those that the spec reads, and whether as numbers.
    """
    entries = [Entry("paths", table.patterns, table.why_files)]
    entries += [
        Entry(key, fact.value, fact.why)
        for key, fact in table.sample.facts.items()
        if (key, fact.value) != ("header", True)
    ]
    if table.file_column:
        entries.append(Entry("file_column", table.file_column, "the files' names are its values"))
    numbers = [column for column, is_number in columns if is_number]
    decimal = [column.name for column in numbers if column.style == "comma"]
    grouped = [column for column in numbers if column.style == "grouped"]
    if decimal:
        entries.append(Entry("decimal", ",", f"in {', '.join(decimal)}"))
    if grouped:
        mark = next(mark for value in grouped[0].known for mark in ", '’" if mark in value)
        entries.append(Entry("thousands", mark, f"in {', '.join(column.name for column in grouped)}"))
    missing = _missing_words(columns)
    if missing:
        entries.append(Entry("missing", missing, "words for nothing, in any column: remove those that mean something"))
    return entries


def _missing_words(columns: Sequence[tuple[Column, bool]]) -> list[str]:
    found: list[str] = []
    for column, is_number in columns:
        found += [word for word in column.null_words if is_number or word not in ("NA", "?", "-", "None", "none")]
        if is_number and len(column.known) > len(column.numbers):
            found += [value for value in column.known if not any(map(str.isdigit, value))][:_MOST_WORDS]
    return list(dict.fromkeys(found))


def _used_columns(plan: Plan, features: Sequence[Guessed]) -> list[tuple[Column, bool]]:
    columns = [(plan.log.columns[name], False) for name in (plan.query.column, plan.item.column)]
    if plan.label is not None and plan.label.column in plan.log.columns:
        columns.append((plan.log.columns[plan.label.column], "threshold" in plan.label.keys))
    return columns + _columns_of(features, plan.log)


# --- Events ----------------------------------------------------------------------------------------------


def _event_entries(plan: Plan, context: list[Guessed]) -> list[Entry]:
    log, item = plan.log, plan.item.column
    entries = [Entry("query_id", plan.query.column, plan.query.why)]
    label = [] if plan.label is None else [Entry("label", plan.label.keys, _why_label(plan))]
    if plan.several is None:
        entries.append(Entry("item_id", item, plan.item.why))
    else:
        explode: dict[str, object] = {"column": item}
        if plan.several.separator is not None:
            explode["separator"] = plan.several.separator
        if plan.several.kind == "marked":
            explode |= {"into": ["item", "clicked"], "part_separator": plan.several.part_separator}
            keys = {"event_type": "clicked", "positive": {"1": 1.0}, "impressions": ["0"]}
            label = [Entry("label", keys, "1 was chosen, 0 only shown")]
            item = "item"
        entries.append(Entry("explode", explode, f"{plan.item.why}; each part is an event"))
        entries.append(Entry("item_id", item, "a part of a cell"))
    if plan.time is not None:
        form = plan.time.form
        given = {"unit": form.unit} if form.unit else {"format": form.format}
        entries.append(Entry("timestamp", {"column": plan.time.column, **given}, plan.time.why))
    entries += label
    weight = next((name for name, column in log.columns.items() if _is_weight(column)), None)
    if weight is not None and (plan.label is None or plan.label.column != weight):
        entries.append(Entry("weight", weight, "by its name"))
    if context:
        entries.append(Entry("features", context, "only what is known before the choice"))
    return entries


def _is_weight(column: Column) -> bool:
    named = column.words and column.words[-1] in words.WEIGHTS and len(column.words) <= 2
    return bool(named) and column.is_numeric and min(column.numbers) >= 0


def _why_label(plan: Plan) -> str:
    label = plan.label
    if label is None:
        return ""
    left = f"; ignored: {', '.join(label.left_out)}" if label.left_out else ""
    return f"{label.why}{left}"


def _split_columns(plan: Plan, frame: pd.DataFrame) -> tuple[list[Guessed], list[Guessed]]:
    """Features of items that stand in the log, used where there is no item table, and those of events."""
    log, of_items, context = plan.log, [], []
    taken = {plan.query.column, plan.item.column, *([plan.time.column] if plan.time else [])}
    taken |= {plan.label.column} if plan.label else set()
    single_item = plan.several is None and plan.items is None and not plan.same_as_items
    firsts = log.sample.table.filter(pa.array(~frame.duplicated(plan.item.column).to_numpy()))
    for name, column in log.columns.items():
        if name in taken or _is_weight(column) or not column.known:
            continue
        if single_item and depends_on(frame, plan.item.column, name, column.words):
            feature = guess_feature(describe(firsts.select([name]), log.sample.own_types)[name])
            of_items.append(feature._replace(why=f"{feature.why}; the same for an item"))
            continue
        feature = guess_feature(column)
        if feature.kind == "molecule":
            continue
        of_query = depends_on(frame, plan.query.column, name, column.words)
        named = any(word in words.CONTEXTS for word in [*column.words, column.name.lower()])
        is_context = of_query or (named and feature.kind == "categorical" and not column.is_list)
        context.append(feature._replace(used=feature.used and is_context and name not in log.partitions))
    if plan.same_as_items:
        return of_items, []
    own = [] if plan.queries else [id_name(log.columns[plan.query.column], "query")]
    own += [str(feature.keys["name"]) for feature in _table_features(plan.queries)] if plan.queries else []
    return of_items, cut(make_unique(context, {*own, "history", "user", "query"}))


# --- Items and queries -----------------------------------------------------------------------------------


def _item_entries(plan: Plan, of_items: list[Guessed]) -> list[Entry]:
    if plan.items is not None:
        table = plan.items.table
        key = id_feature(plan.items.key, id_name(table.columns[plan.items.key], "item"))
        features = cut(make_unique([key, *_table_features(plan.items)]))
        title = pick_title(features, table.columns[plan.items.key])
        entries = [
            Entry("table", _files(table, _columns_of(features, table))),
            Entry("id", plan.items.key, plan.items.why),
        ]
    else:
        column = "item" if plan.several and plan.several.kind == "marked" else plan.item.column
        known = plan.log.columns.get(column)
        key = id_feature(column, id_name(known, "item") if known else "item")
        features = cut(make_unique([key, *of_items]))
        title = pick_title(features, plan.log.columns[plan.item.column])
        entries = [Entry("id", column, "no item table was found")]
        if any(feature.used for feature in features[1:]):
            entries.insert(0, Entry("from_events", True, "no item table was found: what the log says of its items"))
            entries[1] = Entry("id", column)
        elif len(features) > 1:
            features = features[:1]
        title = title if title in [feature.keys["name"] for feature in features] else None
    if title is not None:
        entries.append(Entry("title", title, "shown to people"))
    return [*entries, Entry("features", features)]


def _table_features(match: Match) -> list[Guessed]:
    return [guess_feature(column) for name, column in match.table.columns.items() if name != match.key]


def _columns_of(features: Sequence[Guessed], table: Table) -> list[tuple[Column, bool]]:
    used = [feature for feature in features if feature.used and feature.column in table.columns]
    return [(table.columns[feature.column], feature.kind == "numeric") for feature in used]


def _query_entries(plan: Plan) -> tuple[list[Entry], list[Guessed]]:
    if plan.same_as_items:
        return [Entry("same_as_items", True, "ids of queries and items are the same things")], []
    history = Guessed({"name": "history", "kind": "item_sequence", "length": 20}, "the last items before the event")
    column = plan.log.columns[plan.query.column]
    if plan.queries is None:
        features = [id_feature(plan.query.column, id_name(column, "query"))]
        entries = [Entry("id", plan.query.column)]
    else:
        table = plan.queries.table
        key = id_feature(plan.queries.key, id_name(table.columns[plan.queries.key], "query"))
        features = [key, *(one for one in _table_features(plan.queries) if one.kind != "molecule")]
        features = cut(make_unique(features, {"history"}))
        entries = [
            Entry("table", _files(table, _columns_of(features, table))),
            Entry("id", plan.queries.key, plan.queries.why),
        ]
    if plan.time is not None:
        features = [*features, history]
    return [*entries, Entry("features", features)], features


# --- Evaluation ------------------------------------------------------------------------------------------


def _evaluation(
    plan: Plan, frame: pd.DataFrame, of_queries: Sequence[Guessed], context: Sequence[Guessed]
) -> list[Entry]:
    entries = []
    query, item = plan.query.column, plan.item.column
    timed = plan.time is not None and not plan.same_as_items
    log_words = {word for column in plan.log.columns.values() for word in column.words}
    repeats = share_of_repeats(frame, query, item) if plan.several is None else 0.0
    rated = plan.label is not None and "threshold" in plan.label.keys and not {"quantity", "qty"} & log_words
    shop = len(log_words & set(words.REPEATED)) > 1 and not rated
    if timed and (repeats > _MANY_REPEATS or shop):
        kind = "" if repeats > _MANY_REPEATS else "; a log of baskets or plays"
        entries.append(Entry("mask_seen", False, f"{repeats:.0%} of what was seen are repeats on a later day{kind}"))
    stay = share_of_stay(frame, query)
    if timed and stay < _SHORT_STAY:
        why = f"half of the queries stay for less than {max(stay, 0.001):.1%} of the time: most of the test are new"
        entries.append(Entry("group_by", "event", why))
    elif any(feature.used for feature in context):
        entries.append(Entry("group_by", "event", "each event in its own context"))
    slices = [
        str(feature.keys["name"])
        for feature in (*of_queries, *context)
        if feature.used and feature.kind == "categorical" and _has_few_values(feature, plan)
    ]
    if slices:
        entries.append(Entry("slices", slices[:_MOST_SLICES], "few values each: the report shows them apart"))
    return entries


def _has_few_values(feature: Guessed, plan: Plan) -> bool:
    if feature.keys.get("multi_valued"):
        return False
    tables = [plan.log, *([plan.queries.table] if plan.queries else [])]
    found = [table.columns[feature.column] for table in tables if feature.column in table.columns]
    return any(2 <= column.num_distinct <= _FEW_VALUES for column in found)
