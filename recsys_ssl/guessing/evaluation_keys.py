"""The keys of `split`, `evaluation` and `max_rejected_share`: by what a sample says of people's habits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from recsys_ssl.guessing import words
from recsys_ssl.guessing.features import Guessed
from recsys_ssl.guessing.habits import share_of_repeats, share_of_stay
from recsys_ssl.guessing.matching import Plan
from recsys_ssl.guessing.write import Entry

_MANY_REPEATS, _SHORT_STAY = 0.1, 0.1
_MOST_SLICES, _FEW_VALUES = 2, 8
_TOLERATED = 0.008
"""Share of records without an id, time or label below the default of `max_rejected_share`."""


def evaluation_keys(
    plan: Plan, frame: pd.DataFrame, of_queries: Sequence[Guessed], context: Sequence[Guessed]
) -> list[Entry]:
    """The keys of `evaluation`: repeats, what a test is grouped by, and slices of the report."""
    entries = []
    query, item = plan.query.column, plan.item.column
    timed = plan.time is not None and not plan.same_as_items
    log_words = {word for column in plan.log.columns.values() for word in column.words}
    types = plan.label.keys.get("positive") if plan.label else None
    positives = frame[frame[plan.label.column].isin(list(types))] if plan.label and isinstance(types, dict) else frame
    repeats = share_of_repeats(positives, query, item)
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


def tolerance_keys(plan: Plan, frame: pd.DataFrame) -> list[Entry]:
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


def split_keys(shares: Mapping[str, str], plan: Plan) -> list[Entry]:
    """The keys of a split that files give, see `tables.Table.shares`."""
    entries = [Entry("kind", "given", f"by the names of the files; {why_no_time(plan)}")]
    if "validation" in shares:
        entries.append(Entry("validation_paths", [shares["validation"]]))
    return [*entries, Entry("test_paths", [shares["test"]])]


def why_no_time(plan: Plan) -> str:
    """What was seen of times where none is the event's."""
    taken = (plan.query.column, plan.item.column)
    times = [name for name, column in plan.log.columns.items() if name not in taken and column.time is not None]
    if times:
        return f"no time of the event was found; {', '.join(times)} may be: say which by --time COLUMN"
    named = [column for column in plan.log.columns.values() if set(column.words) & set(words.TIMES[:10])]
    odd = next((column for column in named if column.known and column.name not in taken), None)
    if odd is None:
        return "no column of times was found"
    return f"{odd.name} may be a time, of no known form: {odd.known[0]}; events.timestamp takes a format of strptime"
