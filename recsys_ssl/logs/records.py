"""Checks and converts columns of records: plain functions of tables, no record is a Python object.

Columns of a checked table whose name begins with `_` are the machinery's own; features cannot be named so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_ssl import artifacts, lists
from recsys_ssl.logs.batches import is_list
from recsys_ssl.logs.elements import find_others
from recsys_ssl.logs.features import check_feature, count_words, explain_numbers, explain_words, read_content
from recsys_ssl.logs.ids import count_odd_ids, count_plain_ids, read_ids
from recsys_ssl.logs.readers import Batch, Reject
from recsys_ssl.logs.rows import find_rows
from recsys_ssl.logs.times import Faults, as_microseconds
from recsys_ssl.logs.values import (
    TEXT,
    Marks,
    as_float,
    as_text,
    holds_list,
    is_empty,
    marks_of,
    round_like,
    show_text,
    spell_like,
    to_numpy,
)
from recsys_ssl.spec import ColumnFeature, ContentFeature, Feature, FeatureSpec

POSITIVE, IMPRESSION, DISLIKED = 1, 2, 3

_TABLES = {"item": "items.table", "query": "queries.table"}
_MOST_TYPES = 100  # of a batch that are counted by name
_MOST_WEIGHT = 1e30  # sums of many fit in 32 bits


class Checked(NamedTuple):
    """What a batch of records gives."""

    table: pa.Table
    rejects: list[Reject]
    ignored: int = 0
    unreadable: Sequence[Reject] = ()
    """Values that were taken for missing ones; their records are kept."""
    notes: Mapping[str, int] = {}
    """What is no fault of a record, but worth to be told -> how often; see `_count_forms` and `_count_types`."""
    sound: np.ndarray = np.zeros(0, bool)
    """[num_records] bool, the records of a log that were not rejected."""


# --- Events ----------------------------------------------------------------------------------------


def event_columns(spec: FeatureSpec) -> dict[str, str]:
    """Columns that the log must have -> the key of the spec that names them."""
    events = spec.events
    columns = {events.query_id: "events.query_id", events.item_id: "events.item_id"}
    if events.timestamp:
        columns.setdefault(events.timestamp.column, "events.timestamp.column")
    if events.label.column:
        columns.setdefault(events.label.column, "events.label.column")
    if events.label.event_type:
        columns.setdefault(events.label.event_type, "events.label.event_type")
    if events.weight:
        columns.setdefault(events.weight, "events.weight")
    for feature in spec.event_features:
        columns.setdefault(feature.source_column, f"events.features.{feature.name}")
    if spec.items.from_events:
        for feature in spec.item_features:
            columns.setdefault(feature.source_column, f"items.features.{feature.name}")
    return columns


def check_events(batch: Batch, file: str, file_index: int, spec: FeatureSpec) -> Checked:
    """Keeps the sound positives and impressions of a log, and with `mask_disliked` what was rated low.

    A record is first rejected or sound, and only then positive, an impression or ignored (rated low or not).

    Args:
        batch: has the columns `event_columns(spec)`.
        file_index: place of the file in the log; with the line it orders events of the same time.

    Returns:
        Table of query_id and item_id text, timestamp_us int64 (0 without time), example_weight float32, the
        event's own features (see `features.read_feature`), _kind int8, _file int32, _line int64, and where a line holds
        several records _place int32.
    """
    columns, events, marks = batch.columns, spec.events, marks_of(spec.events)
    query_id, faults = read_ids(columns[events.query_id], "query")
    item_id, item_faults = read_ids(columns[events.item_id], "item")
    faults = find_others(batch, events.query_id, faults, events.explode) + faults
    faults += find_others(batch, events.item_id, item_faults, events.explode) + item_faults
    if spec.queries.same_as_items:
        faults.append((to_numpy(pc.equal(query_id, item_id)), "query equals item"))
    timestamp_us = np.zeros(len(query_id), np.int64)
    if events.timestamp:
        timestamp_us, time_faults = as_microseconds(columns[events.timestamp.column], events.timestamp)
        faults += find_others(batch, events.timestamp.column, time_faults, events.explode) + time_faults
    kind, weight, label_faults = _label(batch, spec)
    faults += label_faults
    features = {}
    for feature in spec.event_features:
        features[feature.name], found = check_feature(columns[feature.source_column], feature, marks, "events")
        faults += found
    reasons, rejects = _reject(batch, file, faults)
    table = pa.table(
        {
            "query_id": query_id,
            "item_id": item_id,
            "timestamp_us": timestamp_us,
            "example_weight": weight.astype(np.float32),
            "_kind": kind,
            **_to_places(batch, file_index),
            **features,
        }
    )
    sound = reasons == ""
    ignored = sound & ((kind == 0) | (kind == DISLIKED))
    notes = _count_types(columns, kind, sound, spec)
    for ids, noun in ((query_id, "query"), (item_id, "item")):
        notes |= _count_forms(ids.filter(pa.array(sound)), noun)
    notes |= count_words(features, sound, spec.event_features)
    return Checked(table.filter(pa.array(sound & (kind > 0))), rejects, int(ignored.sum()), notes=notes, sound=sound)


def _to_places(batch: Batch, file_index: int) -> dict[str, np.ndarray]:
    """Where each record stands in the files of its side; see `batches.Batch`."""
    places = {"_file": np.full(len(batch.lines), file_index, np.int32), "_line": batch.lines}
    return places if batch.places is None else {**places, "_place": batch.places}


def order_of(table: pa.Table) -> list[str]:
    """The columns that order records as the files of their side have them."""
    return [name for name in ("_file", "_line", "_place") if name in table.column_names]


def known_items(
    batch: Batch, sound: np.ndarray, file: str, file_index: int, spec: FeatureSpec, data_dir: str
) -> Checked:
    """The items of the sound records, the catalogue of a log without item table.

    Returns:
        Table of distinct _id; with `items.from_events` the first record of each item that `check_table` keeps. All
        records are checked, so that neither items nor counts depend on where a batch begins.
    """
    kept = pa.array(sound)
    if not spec.items.from_events:
        names = [spec.events.item_id, *([spec.events.query_id] if spec.queries.same_as_items else [])]
        ids = pa.chunked_array([as_text(batch.columns[name]).filter(kept) for name in names], TEXT)
        return Checked(pa.table({"_id": ids.unique()}), [])
    places = None if batch.places is None else batch.places[sound]
    records = Batch(batch.columns.filter(kept), batch.lines[sound], [], places)
    marks = marks_of(spec.events)
    features = spec.items.features
    checked = check_table(records, file, file_index, features, spec.items.id, "item", marks, data_dir, files="events")
    encoded = lists.one_array(checked.table["_id"]).dictionary_encode()
    _, first = np.unique(encoded.indices.to_numpy(zero_copy_only=False), return_index=True)
    return checked._replace(table=checked.table.take(pa.array(np.sort(first))))


def _label(batch: Batch, spec: FeatureSpec) -> tuple[np.ndarray, np.ndarray, Faults]:
    """[num_records] int8 kind (0 = ignored), [num_records] float64 example weight, and the faults found."""
    columns, label, marks = batch.columns, spec.events.label, marks_of(spec.events)
    faults: Faults = []
    kind, weight = np.full(columns.num_rows, POSITIVE, np.int8), np.ones(columns.num_rows)
    if label.column and label.threshold is not None:
        column = columns[label.column]
        value, missing, bad = as_float(column, marks)
        faults += find_others(batch, label.column, [(bad, "")], spec.events.explode)
        faults += explain_words(column, bad, label.column)
        faults += explain_numbers(column, missing | bad, "label is not a number", marks, "events")
        kind[~(value >= round_like(label.threshold, column))] = DISLIKED if spec.evaluation.mask_disliked else 0
    if label.event_type:
        column = columns[label.event_type]
        event_type = as_text(column)
        faults += find_others(batch, label.event_type, [(holds_list(column), "")], spec.events.explode)
        faults += [(holds_list(column), "event type is not one value"), (is_empty(event_type), "event type is empty")]
        positive = label.positive or {}
        names = spell_like([*positive, *label.impressions], column)
        kinds = np.array([0] + [POSITIVE] * len(positive) + [IMPRESSION] * len(label.impressions), np.int8)
        weights = np.array([0.0, *positive.values()] + [1.0] * len(label.impressions))
        found = 1 + _find_types(event_type, names)
        kind, weight = kinds[found], weights[found]
    if spec.events.weight:
        column = columns[spec.events.weight]
        value, missing, bad = as_float(column, marks)
        faults += find_others(batch, spec.events.weight, [(bad, "")], spec.events.explode)
        faults += explain_numbers(column, missing | bad | (value < 0), "weight is not a number >= 0", marks, "events")
        weight = weight * np.where(np.isfinite(value), value, 0.0)
        faults.append((weight > _MOST_WEIGHT, f"weight times that of its type is above {_MOST_WEIGHT:g}"))
    return kind, weight, faults


def _find_types(event_type: pa.Array, names: Sequence[str]) -> np.ndarray:
    """[num_events] int64 place of each type among the names, or -1.

    A type that is none of them is the one that it differs from by case and blanks around it only, if there is one.
    """
    found = find_rows(event_type, pa.array(names, TEXT))
    other = found < 0
    if other.any():
        folded = [name.strip().lower() for name in names]
        places = np.array([place for place, name in enumerate(folded) if folded.count(name) == 1] + [-1])
        texts = pc.utf8_lower(pc.utf8_trim_whitespace(event_type.filter(pa.array(other))))
        found[other] = places[find_rows(texts, pa.array([folded[place] for place in places[:-1]], TEXT))]
    return found


def _count_types(columns: pa.Table, kind: np.ndarray, sound: np.ndarray, spec: FeatureSpec) -> dict[str, int]:
    """How often types were ignored ("ignored: scroll"), and read though written in another way ("read: Buy")."""
    label = spec.events.label
    if not label.event_type:
        return {}
    event_type = as_text(columns[label.event_type])
    spelt = spell_like([*(label.positive or {}), *label.impressions], columns[label.event_type])
    notes: dict[str, int] = {}
    for word, mask in (("ignored", sound & (kind == 0)), ("read", sound & (kind > 0))):
        counts = event_type.filter(pa.array(mask)).value_counts().to_pylist() if mask.any() else []
        counts.sort(key=lambda found: (-found["counts"], found["values"]))
        other = [found for found in counts if word == "ignored" or found["values"] not in spelt]
        notes |= {f"{word}: {found['values']}": found["counts"] for found in other[:_MOST_TYPES]}
    return notes


# --- Item and query tables -------------------------------------------------------------------------


def table_columns(
    features: Sequence[Feature], id_column: str, side: str, group_column: str | None = None
) -> dict[str, str]:
    """Columns that an item or query table must have -> the key of the spec that names them."""
    columns = {id_column: f"{side}.id"}
    for feature in features:
        if isinstance(feature, ColumnFeature):
            columns.setdefault(feature.source_column, f"{side}.features.{feature.name}")
    if side == "items" and group_column is not None:
        columns.setdefault(group_column, "split.column")
    return columns


def check_table(
    batch: Batch,
    file: str,
    file_index: int,
    features: Sequence[Feature],
    id_column: str,
    side: str,
    marks: Marks,
    data_dir: str,
    group_column: str | None = None,
    files: str | None = None,
) -> Checked:
    """Keeps the sound records of an item or query table; duplicate ids are found later, among all batches.

    A number that cannot be read is a missing value and costs no record: without it all events of the item would go.

    Args:
        marks: of numbers that are text.
        data_dir: where the paths of the spec begin, for content in files.
        group_column: of an item table, the column that a split by groups of items reads.
        files: key of the spec with the marks; those of the table when None.

    Returns:
        Table of _id text, _file int32, _line int64, maybe _place (see `check_events`), the features (see
        `features.read_feature`; content packed by the `column` of its kind) and, with a group column, _group text, ""
        where it is missing.
    """
    ids, faults = read_ids(batch.columns[id_column], side)
    columns: dict[str, pa.Array] = {}
    unreadable: list[Faults] = []
    for feature in features:
        if isinstance(feature, ContentFeature):
            columns[feature.name], found = read_content(batch.columns[feature.source_column], feature, data_dir)
            faults += found
        elif isinstance(feature, ColumnFeature):
            column = batch.columns[feature.source_column]
            columns[feature.name], found = check_feature(column, feature, marks, files or _TABLES[side])
            if feature.is_number:
                unreadable.append(found)
            else:
                faults += found
    if group_column is not None:
        groups = batch.columns[group_column]
        columns["_group"] = pc.fill_null(as_text(groups), "")
        faults.append((np.full(len(ids), is_list(groups.type)), f"{group_column} is not one value"))
    reasons, rejects = _reject(batch, file, faults)
    sound = reasons == ""
    missing = [
        reject
        for found in unreadable
        for reject in _reject(batch, file, [(mask & sound, why) for mask, why in found])[1]
    ]
    table = pa.table({"_id": ids, **_to_places(batch, file_index), **columns})
    notes = _count_forms(ids.filter(pa.array(sound)), side) | count_words(columns, sound, features)
    return Checked(table.filter(pa.array(sound)), rejects, unreadable=missing, notes=notes)


def deduplicate_ids(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The first record of each id, sorted by id, and the later ones."""
    table = table.sort_by([(name, "ascending") for name in ("_id", *order_of(table))])
    ids = table["_id"].combine_chunks()
    later = np.zeros(len(ids), bool)
    later[1:] = to_numpy(pc.equal(ids[1:], ids[:-1]))
    return table.filter(pa.array(~later)), table.filter(pa.array(later))


def _count_forms(ids: pa.Array, noun: str) -> dict[str, int]:
    return count_odd_ids(ids, noun) | count_plain_ids(ids, noun)


# --- Rejects ---------------------------------------------------------------------------------------


def _reject(batch: Batch, file: str, faults: Sequence[tuple[np.ndarray, str]]) -> tuple[np.ndarray, list[Reject]]:
    """[num_records] the first fault of each record or "", and the rejects."""
    reasons = np.full(len(batch.lines), "", object)
    for mask, reason in reversed(faults):
        reasons[mask] = reason
    bad = reasons != ""
    records = _as_dicts(show_text(batch.columns.filter(pa.array(bad)))) if bad.any() else []
    found = zip(reasons[bad].tolist(), batch.lines[bad].tolist(), records)
    return reasons, [Reject(reason, file, line, record) for reason, line, record in found]


def _as_dicts(table: pa.Table) -> list[dict]:
    try:
        return table.to_pylist()
    except (ValueError, OverflowError):  # a time beyond those of Python: its number in the file's unit
        times = [
            pa.int64() if pa.types.is_timestamp(kind) or pa.types.is_duration(kind) else kind
            for kind in table.schema.types
        ]
        return table.cast(pa.schema(list(zip(table.column_names, times)))).to_pylist()


def rejects_to_table(rejects: Sequence[Reject]) -> pa.Table:
    """Columns reason, file, line, record; the record as JSON."""
    records = [artifacts.dump_json(reject.record, default=str) for reject in rejects]
    return pa.table(
        {
            "reason": pa.array([reject.reason for reject in rejects], TEXT),
            "file": pa.array([reject.file for reject in rejects], TEXT),
            "line": pa.array([reject.line for reject in rejects], pa.int64()),
            "record": pa.array(records, TEXT),
        }
    )


def quote_json(text: pa.ChunkedArray) -> list[str]:
    """JSON strings of a column that has few distinct values."""
    quoted = {value: json.dumps(value, ensure_ascii=False) for value in text.unique().to_pylist()}
    return [quoted[value] for value in text.to_pylist()]
