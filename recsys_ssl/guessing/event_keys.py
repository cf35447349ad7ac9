"""The keys of `events`: query, item, time, label, and what of the log's other columns is known before the choice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import pandas as pd
import pyarrow as pa

from recsys_ssl.guessing import words
from recsys_ssl.guessing.columns import Column, describe
from recsys_ssl.guessing.features import Guessed, cut, guess_feature, id_name, make_unique
from recsys_ssl.guessing.file_keys import columns_of, keep_read
from recsys_ssl.guessing.habits import depends_on
from recsys_ssl.guessing.labels import suggest_label
from recsys_ssl.guessing.matching import Plan
from recsys_ssl.guessing.side_keys import table_features
from recsys_ssl.guessing.write import Entry

_LARGEST_WEIGHT = 100
"""A few records of more would outweigh all others."""


def log_columns(plan: Plan, features: Sequence[Guessed]) -> list[tuple[Column, bool]]:
    """The columns of the log that the spec reads, and whether as numbers; a label stands before features."""
    columns = [(plan.log.columns[name], False) for name in (plan.query.column, plan.item.column)]
    if plan.label is not None and plan.label.column in plan.log.columns:
        columns.append((plan.log.columns[plan.label.column], "threshold" in plan.label.keys))
    weight = _find_weight(plan)
    if weight is not None:
        columns.append((plan.log.columns[weight], True))
    return columns + columns_of(features, plan.log)


def event_keys(plan: Plan, context: list[Guessed]) -> list[Entry]:
    """The keys of `events` but those of its files.

    Args:
        context: features of the log that are known before the choice, and comments.
    """
    entries = [Entry("query_id", plan.query.column, plan.query.why)]
    if plan.explode:
        entries.append(Entry("explode", plan.explode, f"each item of a cell is an event{_say_beside(plan)}"))
    entries.append(Entry("item_id", plan.item.column, plan.item.why))
    if plan.time is not None:
        form = plan.time.form
        given = {"unit": form.unit} if form.unit else {"format": form.format}
        entries.append(Entry("timestamp", {"column": plan.time.column, **given}, plan.time.why))
    entries += _label_keys(plan)
    weight = _find_weight(plan)
    if weight is not None:
        entries.append(Entry("weight", weight, "by its name"))
    if context:
        entries.append(Entry("features", context, "only what is known before the choice"))
    return entries


def _say_beside(plan: Plan) -> str:
    if not plan.beside:
        return ""
    fields = ", ".join(f'"{name}": ...' for name in (plan.item.column, *plan.beside))
    return (
        f"; left out: {', '.join(plan.beside)}, with a value for each item. They belong together: write one object "
        f"per item, as [{{{fields}}}, ...], or a record a line"
    )


def _find_weight(plan: Plan) -> Optional[str]:
    label = plan.label.column if plan.label else None
    return next((name for name, column in plan.log.columns.items() if name != label and _is_weight(column)), None)


def _is_weight(column: Column) -> bool:
    named = column.words and column.words[-1] in words.WEIGHTS and len(column.words) <= 2
    return bool(named) and column.is_numeric and min(column.numbers) >= 0 and max(column.numbers) <= _LARGEST_WEIGHT


def _label_keys(plan: Plan) -> list[Entry]:
    """The label; as a comment where a person must say what its values mean."""
    label = plan.label
    if label is not None:
        left = f"; ignored: {', '.join(label.left_out)}" if label.left_out else ""
        return [Entry("label", label.keys, f"{label.why}{left}")]
    taken = [plan.query.column, plan.item.column, *([plan.time.column] if plan.time else [])]
    suggested = suggest_label(plan.log, taken)
    return [] if suggested is None else [Entry("label", suggested.keys, suggested.why, used=False)]


def split_columns(plan: Plan, frame: pd.DataFrame) -> tuple[list[Guessed], list[Guessed]]:
    """Features of items that stand in the log, used where there is no item table, and those of events."""
    log, of_items, context = plan.log, [], []
    taken = {plan.query.column, plan.item.column, *([plan.time.column] if plan.time else [])}
    taken |= {plan.label.column} if plan.label else set()
    no_table = plan.items is None and not plan.same_as_items
    firsts = log.sample.table.filter(pa.array(~frame.duplicated(plan.item.column).to_numpy()))
    for name, column in log.columns.items():
        if name in taken or _is_weight(column) or not column.known:
            continue
        if no_table and depends_on(frame, plan.item.column, name, column.words):
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
    first = [plan.label.column] if plan.label and "threshold" in plan.label.keys else []
    weight = _find_weight(plan)
    first += [] if weight is None else [weight]
    read = keep_read([*of_items, *context], log, [log.columns[name] for name in first])
    of_items, context = read[: len(of_items)], read[len(of_items) :]
    if plan.same_as_items:
        return of_items, []
    own = [] if plan.queries else [id_name(log.columns[plan.query.column], "query")]
    own += [str(feature.keys["name"]) for feature in table_features(plan.queries)] if plan.queries else []
    return of_items, cut(make_unique(context, {*own, "history", "user", "query"}))
