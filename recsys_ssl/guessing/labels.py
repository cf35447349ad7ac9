"""Which events are a choice: a rating with a threshold, or event types."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Sequence
from typing import NamedTuple, Optional

from recsys_ssl.guessing import words
from recsys_ssl.guessing.columns import Column, to_numbers
from recsys_ssl.guessing.roles import pick_by_name
from recsys_ssl.guessing.tables import Table

_CLICKS = ("click", "clicked", "clk", "label")
"""Names of columns whose 0 was shown."""
_MOST_TYPES = 12
"""Values of a column whose name says nothing, all of which are known types of events."""
_THRESHOLDS = ((1, 0.5), (5, 4.0), (7, 5.0), (10, 7.0), (100, 70.0))
"""(highest rating, threshold)"""


class Label(NamedTuple):
    """The rule of `events.label`: its keys, the column it reads, and what was seen."""

    keys: dict[str, object]
    column: str
    why: str
    left_out: Sequence[str] = ()
    """Event types that are neither positive nor impressions."""


def guess_label(table: Table, taken: Collection[str], given: Optional[str]) -> Optional[Label]:
    """A rating with a threshold, event types or a flag; None when nothing tells that some record is no choice.

    Args:
        taken: columns that are something else.
        given: the column that a person names.
    """
    if given is not None:
        column = table.columns[given]
        if column.flag:
            return _flag(column)
        return (_threshold(column, sure=True) if column.is_numeric else None) or _event_types(column, sure=True)
    left = {name: column for name, column in table.columns.items() if name not in taken}
    for name in ([table.file_column] if table.file_column else []) + list(left):
        column = left[name]
        named = any(word in words.EVENT_TYPES for word in column.words)
        if named and not column.is_numeric and column.flag is None:
            label = _event_types(column, sure=name == table.file_column)
            if label is not None:
                return label
    for column in left.values():
        few = 2 <= column.num_distinct <= _MOST_TYPES and column.mean_words < 2
        if few and column.flag is None and not column.is_numeric:
            label = _event_types(column, sure=False)
            if label is not None and all(_is_known(value) for value in column.known):
                return label
    rated = pick_by_name({n: c for n, c in left.items() if c.is_numeric or c.flag}, words.LABELS)
    if rated is not None:
        column = left[rated.column]
        return _flag(column) if column.flag else _threshold(column)
    for stems in (words.CHOSEN_STEMS, words.REJECTED_STEMS):
        for column in left.values():
            if column.flag and words.stems_of(column.name) & stems:
                return _flag(column)
    if not table.has_header:
        for column in left.values():
            few = column.is_numeric and 2 <= column.num_distinct <= 21
            if few and min(column.numbers) >= 0 and max(column.numbers) <= 10:
                return _flag(column) if column.flag else _threshold(column)
    return None


def suggest_label(table: Table, taken: Collection[str]) -> Optional[Label]:
    """A rule that a person must complete: of a column that is named like a label, while its values say nothing."""
    for name, column in table.columns.items():
        if name in taken or column.is_list or not _is_named(column) or not column.known:
            continue
        if column.num_distinct == 1 and column.num_present < column.num_records:
            value = column.known[0]
            keys: dict[str, object] = {"event_type": name, "positive": {value: 1.0}}
            why = f"may be a label, {value} or nothing: others are then left out, raise max_rejected_share"
            return Label(keys, name, f"{why}; without it each record is a choice")
        if 2 <= column.num_distinct <= _MOST_TYPES:
            keys = {"event_type": name, "positive": dict.fromkeys(sorted(column.known), 1.0)}
            why = "may be a label: keep the values that are a choice; without it each record is one"
            return Label(keys, name, why)
        if column.num_distinct > 1 and column.is_numeric:
            keys = {"column": name, "threshold": float(statistics.median(column.numbers))}
            why = "may be a label: write the least value that is a choice; without it each record is one"
            return Label(keys, name, why)
    return None


def _is_named(column: Column) -> bool:
    """Whether a name is that of a label, and not of a kind of things as `product_type`."""
    if any(word in words.ITEMS or word in words.QUERIES for word in column.words):
        return False
    last = column.words[-1] if column.words else ""
    one_value = column.num_distinct == 1 and bool(words.stems_of(column.name) & words.CHOSEN_STEMS)
    return one_value or last in (*words.LABELS, *words.EVENT_TYPES)


def _is_known(value: str) -> bool:
    return bool(words.stems_of(value) & (words.POSITIVE_STEMS | words.IMPRESSION_STEMS | words.NEGATIVE_STEMS))


def _event_types(column: Column, sure: bool) -> Optional[Label]:
    if column.num_distinct > 30 or column.is_list:
        return None
    positive, impressions, left_out, unknown = [], [], [], []
    for value in sorted(column.known):
        stems = words.stems_of(value)
        if stems & words.NEGATIVE_STEMS:
            left_out.append(value)
        elif stems & words.IMPRESSION_STEMS:
            impressions.append(value)
        elif stems & words.POSITIVE_STEMS:
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
    """True is positive, but for what was disliked or skipped; a click that is false was shown."""
    false, true = column.flag or ([], [])
    if words.stems_of(column.name) & words.REJECTED_STEMS:
        keys: dict[str, object] = {"event_type": column.name, "positive": dict.fromkeys(false, 1.0)}
        return Label(keys, column.name, f"by its name {true[0]} is no choice")
    if any(word in _CLICKS for word in column.words):
        keys = {"event_type": column.name, "positive": dict.fromkeys(true, 1.0), "impressions": false}
        return Label(keys, column.name, f"{false[0]} was shown, {true[0]} was chosen")
    if column.is_numeric:
        return Label({"column": column.name, "threshold": 1.0}, column.name, "0 and 1 were seen")
    keys = {"event_type": column.name, "positive": dict.fromkeys(true, 1.0)}
    return Label(keys, column.name, f"{true[0]} and {false[0]} were seen")


def _threshold(column: Column, sure: bool = False) -> Optional[Label]:
    """A threshold that some records reach; None where the numbers are no rating, unless it is sure that they are."""
    low, high = min(column.numbers), max(column.numbers)
    numbers = to_numbers(column.distinct, column.marks)
    if any(word in words.QUANTITIES for word in column.words) and high >= 1:
        why = "at least one was taken; less is a return or a correction"
        return Label({"column": column.name, "threshold": 1.0}, column.name, why)
    if low == high or (high > 100 and not sure):
        return None
    threshold = next((cut for top, cut in _THRESHOLDS if high <= top), high)
    if high <= 1 and column.is_whole:
        threshold = high
    if threshold > high or high > 100:
        threshold = statistics.median([number for number in numbers if number is not None])
    above = sum(n for number, n in zip(numbers, column.counts) if number is not None and number >= threshold)
    share = f"{above / max(1, column.num_present):.0%} of those seen are positive"
    share += "; 0 may mean that there is no rating" if low == 0 and high == 10 else ""
    return Label({"column": column.name, "threshold": threshold}, column.name, f"{low:g} to {high:g}: {share}")
