"""What became of the records of a log: the numbers, and whether they will do."""

from __future__ import annotations

import dataclasses
import re
from typing import Optional

import numpy as np

from recsys_ssl import artifacts
from recsys_ssl.logs.ids import find_mixed_forms
from recsys_ssl.logs.readers import LogError
from recsys_ssl.spec import FeatureSpec, Timestamp


@dataclasses.dataclass(frozen=True)
class IngestSummary:
    """Every record that was read is in exactly one of positives, ignored, impressions, duplicates and rejected."""

    spec: str
    events_read: int
    positives: int
    """Positives that were kept: the examples of the three splits."""
    ignored: int
    """Sound records that are neither positive nor an impression."""
    impressions: int
    duplicates: int
    rejected: dict[str, int]
    """Reason -> number of the log's records."""
    items_read: int
    items_rejected: dict[str, int]
    queries_read: int
    queries_rejected: dict[str, int]
    queries_without_features: int
    """Queries with a positive that the query table does not know."""
    splits: dict[str, int]
    held_out_pairs: dict[str, int]
    """Split -> what its rankings are asked for: events, or with one ranking per query its distinct items."""
    held_out_repeats: dict[str, int]
    """Those whose item the query had chosen before; `mask_seen` leaves them out of the evaluation."""
    held_out_queries: dict[str, int]
    queries_without_history: dict[str, int]
    """Those that had chosen nothing before their first event of the split."""
    split_kind: str
    """`time`: by the cuts; in a log without time `random`: by a seeded hash of (query, item), or `item_group`: by one
    of the item's group; `given`: by files, and maybe by the hash of (query, item)."""
    cuts_us: Optional[dict[str, int]]
    """Split -> its first microsecond since 1970."""
    cuts: Optional[dict[str, str]]
    """The same as ISO 8601, UTC."""
    num_items: int
    num_queries: int
    """Queries with a positive."""
    items_without_train: int
    """Items that no train event has: the cold ones."""
    examples: dict[str, str]
    """Table and reason -> the first record that was rejected for it."""
    weighted_train: int = 0
    """Train events whose weight is above 0."""
    unreadable_values: dict[str, int] = dataclasses.field(default_factory=dict)
    """Table and reason -> number of values that were taken for missing ones; their records are kept. With
    `items.from_events` those of all sound records of the log."""
    ignored_types: dict[str, int] = dataclasses.field(default_factory=dict)
    """Event type -> number of `ignored`; of very many types the rarest are left out."""
    respelt_types: dict[str, int] = dataclasses.field(default_factory=dict)
    """Event types that the spec writes in another case, or without the blanks around them."""
    null_words: dict[str, int] = dataclasses.field(default_factory=dict)
    """Table, kind of id or categorical feature, and word -> how often it stands there."""
    whole_float_ids: dict[str, int] = dataclasses.field(default_factory=dict)
    """Table and kind of id -> number of ids as 12.0."""
    padded_ids: dict[str, int] = dataclasses.field(default_factory=dict)
    """Table and kind of id -> number of ids with blanks around them."""
    rounded_ids: dict[str, int] = dataclasses.field(default_factory=dict)
    """Table and kind of id -> number of ids as 1.2E+15."""
    held_out_disliked: dict[str, int] = dataclasses.field(default_factory=dict)
    """Further pairs whose item the query had rated low before, which `mask_disliked` leaves out of the evaluation."""
    integer_ids: dict[str, int] = dataclasses.field(default_factory=dict)
    """Table and kind of id -> number of ids of digits only, where others are of `whole_float_ids`."""
    unpadded_ids: dict[str, int] = dataclasses.field(default_factory=dict)
    """Table and kind of id -> number of ids without blanks around them, where others are of `padded_ids`."""
    id_examples: dict[str, str] = dataclasses.field(default_factory=dict)
    """Table and what it is an example of -> the first id: "items: unknown" and "queries: unknown" of the log's ids
    that the table does not have, "queries: known" of those that it has, "items: table" and "queries: table" of its
    own. Those of a table are there if it lacks an id of the log."""
    twin_ids: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    """Table -> an id of the log that it does not have, and one of its own that may mean the same, as 18 and 00018."""
    header_lines: dict[str, str] = dataclasses.field(default_factory=dict)
    """Table -> file and first record, where that looks like names of columns though the spec gives the names."""
    times_us: Optional[dict[str, int]] = None
    """First and last time of a positive, in microseconds since 1970."""
    split_times_us: Optional[dict[str, dict[str, int]]] = None
    """The same of each split that is given by files, where the log has time."""

    def to_json(self) -> str:
        return artifacts.to_json(self)

    @classmethod
    def from_json(cls, text: str) -> IngestSummary:
        return artifacts.from_json(cls, text)


def iso_time(timestamp_us: int) -> str:
    """ISO 8601 text of microseconds since 1970, UTC."""
    return str(np.datetime64(timestamp_us, "us")) + "Z"


# --- What is worth to be told --------------------------------------------------------------------------


_TABLES = {"events": "the log", "items": "the item table", "queries": "the query table"}
_YEAR_US = 31_556_952_000_000
_MOST_NAMES = 10


def list_warnings(summary: IngestSummary, spec: FeatureSpec) -> list[str]:
    """What is no fault of a single record, but probably a mistake; a sentence or two each."""
    found = []
    for what, number in summary.unreadable_values.items():
        side, _, why = what.partition(": ")
        table = _TABLES["events" if side == "items" and spec.items.from_events else side]
        found.append(f"{number:,} of the values of {table}: {why}; taken for missing. First: {_example(summary, what)}")
    words: dict[str, dict[str, int]] = {}
    for what, number in summary.null_words.items():
        side, name, word = what.split(": ", 2)
        words.setdefault(f"{name} of {_TABLES[side]}", {})[word] = number
    for place, numbers in words.items():
        found.append(
            f"{place} reads as if there were nothing: {_name_counts(numbers)}. The words are kept; where "
            "nothing is known, name them in `missing`, or write an empty cell or null."
        )
    for side, line in summary.header_lines.items():
        found.append(
            f"the first record of {_TABLES[side]} looks like names of columns, {line}. If it is a header, remove "
            "header and columns from the spec, or the line from the file."
        )
    for what, number in summary.rounded_ids.items():
        side, _, noun = what.partition(": ")
        found.append(
            f"{number:,} {noun}s of {_TABLES[side]} are rounded numbers, as 1.2E+15: different ids may have become "
            "one. Write ids as text."
        )
    found += _list_mixed_forms(summary)
    if summary.respelt_types:
        found.append(
            "event types that the spec spells in another way were read as its own: "
            f"{_name_counts(summary.respelt_types)}."
        )
    if summary.ignored_types:
        found.append(
            f"{summary.ignored:,} events were ignored, their types being neither positive nor impressions in the spec: "
            f"{_name_counts(summary.ignored_types)}."
        )
    if summary.rejected.get("item not in the table") or summary.queries_without_features:
        found += _hint_at_ids(summary)
    found += _tell_unknown_queries(summary)
    return found + _hint_at_unit(summary, spec)


def _name_counts(numbers: dict[str, int]) -> str:
    """The most frequent names with their numbers."""
    order = sorted(numbers.items(), key=lambda pair: (-pair[1], pair[0]))
    names = [f"{name} {number:,}" for name, number in order[:_MOST_NAMES]]
    return ", ".join([*names, "..."] if len(order) > _MOST_NAMES else names)


def _list_mixed_forms(summary: IngestSummary) -> list[str]:
    """What is written in two ways within one table: it matches neither itself nor all of another."""
    forms = {
        "whole float": summary.whole_float_ids,
        "padded": summary.padded_ids,
        "integer": summary.integer_ids,
        "unpadded": summary.unpadded_ids,
    }
    found = []
    for side in _TABLES:
        for noun in ("item", "query"):
            counts = {f"{form} {noun} id": numbers.get(f"{side}: {noun} id", 0) for form, numbers in forms.items()}
            found += [
                f"{number:,} {noun} ids of {_TABLES[side]} {told}. Write them alike."
                for number, told in find_mixed_forms(counts, noun)
            ]
    return found


def _hint_at_ids(summary: IngestSummary) -> list[str]:
    """Why ids of the log may not be those of a table: 12.0, a blank, a zero, quotation marks or capitals in one, not in
    the other, or several in a cell."""
    found = []
    oddities = [
        (summary.whole_float_ids, "end in .0", "12.0 and 12"),
        (summary.padded_ids, "have blanks around them", "'12 ' and '12'"),
    ]
    for counts, odd, pair in oddities:
        for side, noun in (("items", "item id"), ("queries", "query id")):
            log, table = (counts.get(f"{name}: {noun}", 0) for name in ("events", side))
            if (log > 0) != (table > 0) and getattr(summary, f"{side}_read"):
                here, there = ("events", side) if log else (side, "events")
                found.append(
                    f"{log or table:,} {noun}s of {_TABLES[here]} {odd} and none of {_TABLES[there]} does: {pair} are "
                    "different ids. Write them alike."
                )
    for side, noun in (("items", "item"), ("queries", "query")):
        twin = summary.twin_ids.get(side)
        if twin and not any(f"{noun} ids of" in hint for hint in found):
            found.append(
                f"The log has {noun} id {twin[0]!r} and {_TABLES[side]} {twin[1]!r}: these are different ids. If they "
                "mean the same, write them alike."
            )
    example = summary.examples.get("events: item not in the table", "")
    if several := re.search(r'"item_id": "([^"]*[^\s"][ ,;|]+[^\s"][^"]*)"', example):
        found.append(f"If {several[1]!r} are several ids, events.explode makes a record of each.")
    return found


def _show_ids(summary: IngestSummary, side: str) -> list[str]:
    """How ids look that a table does not have, and those that it has."""
    unknown, known = (summary.id_examples.get(f"{side}: {what}") for what in ("unknown", "table"))
    if unknown is None or known is None:
        return []
    return [f"The log has {unknown!r}, which {_TABLES[side]} does not have; it has e.g. {known!r}."]


def _tell_unknown_queries(summary: IngestSummary) -> list[str]:
    """What to say where most queries have no record in the query table."""
    number, total, ids = summary.queries_without_features, summary.num_queries, summary.id_examples
    if 2 * number <= total or number == total:
        return []
    examples = f", e.g. {ids['queries: unknown']!r}" if "queries: unknown" in ids else ""
    examples += f"; one that is there is {ids['queries: known']!r}" if "queries: known" in ids else ""
    return [
        f"{number:,} of the {total:,} queries of the log ({number / total:.1%}) are not in the query table{examples}. "
        "No feature of the table is known of them: check queries.id and how the ids are written."
    ]


def _hint_at_unit(summary: IngestSummary, spec: FeatureSpec) -> list[str]:
    if spec.events.timestamp is None or summary.times_us is None:
        return []
    return hint_at_times(summary.times_us["first"], summary.times_us["last"], spec.events.timestamp)


def hint_at_times(first_us: int, last_us: int, timestamp: Timestamp) -> list[str]:
    """What to tell of a log whose times lie in 1970, all or some of them.

    Args:
        first_us, last_us: first and last time of the log, in microseconds since 1970.
    """
    if first_us >= _YEAR_US:
        return []
    if last_us >= _YEAR_US:
        return [
            f"some times lie in 1970, the first at {iso_time(first_us)}, and others later, the last at "
            f"{iso_time(last_us)}: of some the unit may be another than {timestamp.unit}, or the time is not known. "
            "Write all in one unit, and what is unknown as an empty cell."
        ]
    unit, units = timestamp.unit, ["ns", "us", "ms", "s"]
    coarser = units[units.index(unit) + 1 :] if unit in units else []
    years = {other: 1970 + last_us * 1000 ** (place + 1) // _YEAR_US for place, other in enumerate(coarser)}
    likely = [f"{other}, which gives {year}" for other, year in years.items() if 1990 <= year < 2100]
    advice = f"set events.timestamp.unit to {likely[0]}" if likely else "check events.timestamp.unit"
    return [
        f"all times lie in 1970, the last at {iso_time(last_us)}: read with unit {unit}. If they do "
        f"not count from a beginning of their own, {advice}."
    ]


def _group_by_feature(unreadable: dict[str, int], side: str) -> dict[str, dict[str, int]]:
    """Feature -> reasons of a table's unreadable values and their numbers, the most frequent first."""
    found: dict[str, dict[str, int]] = {}
    for what, number in sorted(unreadable.items(), key=lambda pair: (-pair[1], pair[0])):
        table, _, why = what.partition(": ")
        if table == side:
            found.setdefault(why.partition(" is not ")[0], {})[why] = number
    return found


def _example(summary: IngestSummary, what: str) -> str:
    side, _, why = what.partition(": ")
    return summary.examples[f"{side}_values: {why}"]


# --- What cannot be used -------------------------------------------------------------------------------


def check_summary(summary: IngestSummary, spec: FeatureSpec) -> None:
    """Raises when the log cannot be trained on.

    Raises:
        LogError: a table or the log has no record, more than `spec.max_rejected_share` of it were rejected, no
            positive is left, no query of the log is in the query table, all weights are 0, or a split is empty.
    """
    # Tables first: an event whose item was rejected tells a consequence.
    sources = [("events", "the log", summary.events_read, summary.rejected)]
    if spec.queries.table:
        sources.insert(0, ("queries", "the query table", summary.queries_read, summary.queries_rejected))
    if spec.items.table:
        sources.insert(0, ("items", "the item table", summary.items_read, summary.items_rejected))
    for source, name, read, rejected in reversed(sources):
        if read == rejected.get("file is empty", 0):
            raise LogError(f"{name} has no record. Check {source} in the spec and the files that its paths match.")
    for source, name, read, _ in sources:
        # Items of the log have no table; a value of each event may be one of theirs.
        side = "items" if source == "events" and spec.items.from_events else source
        for feature, found in _group_by_feature(summary.unreadable_values, side).items():
            number = sum(found.values())
            if number > spec.max_rejected_share * read:
                lines = [
                    f"  {count:>9,}  {why}; first: {_example(summary, f'{side}: {why}')}"
                    for why, count in found.items()
                ]
                raise LogError(
                    f"{number:,} of {read:,} records of {name} ({number / read:.1%}) have no {feature} that can be "
                    f"read; max_rejected_share is {spec.max_rejected_share:.1%}.\n"
                    + "\n".join(lines)
                    + "\nMend the column or the spec, choose another kind for the feature, or raise "
                    "max_rejected_share: then such values are missing."
                )
    for source, name, read, rejected in sources:
        number = sum(rejected.values())
        if number > spec.max_rejected_share * read:
            reasons = sorted(rejected.items(), key=lambda pair: (-pair[1], pair[0]))
            lines = [f"  {count:>9,}  {why}; first: {summary.examples[f'{source}: {why}']}" for why, count in reasons]
            raise LogError(
                f"{number:,} of {read:,} records of {name} ({number / read:.1%}) were rejected; "
                f"max_rejected_share is {spec.max_rejected_share:.1%}.\n"
                + "\n".join(
                    [*lines, *(_show_ids(summary, "items") if source == "events" else []), *_hint_at_ids(summary)]
                )
                + "\nMend the data or the spec, or raise max_rejected_share."
            )
    if not summary.positives:
        raise LogError(
            f"the log has no positive event: {summary.ignored:,} were ignored, {summary.impressions:,} are "
            f"impressions, {sum(summary.rejected.values()):,} were rejected. Check events.label in the spec."
        )
    if spec.queries.table and summary.queries_without_features == summary.num_queries:
        raise LogError(
            "\n".join(
                [
                    f"none of the {summary.num_queries:,} queries of the log is in the query table, so that no feature "
                    "would be known.",
                    *_show_ids(summary, "queries"),
                    *_hint_at_ids(summary),
                    "Write the ids alike in both, correct queries.id, or remove queries.table from the spec.",
                ]
            )
        )
    if summary.splits["train"] and not summary.weighted_train:
        raise LogError("the weight of every train event is 0, so that nothing would be learned. Check events.weight.")
    empty = [split for split, size in summary.splits.items() if not size]
    if not spec.split.has_validation:
        empty.remove("eval")
    if empty:
        advice = "files, or another share" if spec.split.kind == "given" else "events, or other shares or times"
        raise LogError(
            f"every split needs an event. {summary.positives:,} positive events left {' and '.join(empty)} empty "
            f"({summary.split_kind} split). Use {'other' if spec.split.kind == 'given' else 'more'} {advice}."
            + "".join(f"\n{hint}" for hint in _hint_at_unit(summary, spec))
        )
