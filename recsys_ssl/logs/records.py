"""Checks and converts columns of records: plain functions of tables, no record is a Python object.

Columns of a checked table whose name begins with `_` are the machinery's own; features cannot be named so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recsys_ssl import kinds, lists
from recsys_ssl.logs.readers import Batch, Reject
from recsys_ssl.spec import (
    CategoricalFeature,
    ColumnFeature,
    ContentFeature,
    DenseFeature,
    Feature,
    FeatureSpec,
    NumericFeature,
    TableFeature,
    TextFeature,
)

TEXT = pa.large_string()
POSITIVE, IMPRESSION = 1, 2

_LAST_US = int(pd.Timestamp("2100-01-01").value // 1000)
_US_PER_UNIT = {"s": 1_000_000.0, "ms": 1_000.0, "us": 1.0, "ns": 0.001}
_ISO_8601 = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?\s?(Z|[+-]\d{2}:?\d{2})?)?$"


class Checked(NamedTuple):
    """What a batch of records gives."""

    table: pa.Table
    rejects: list[Reject]
    ignored: int = 0


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
    return columns


def check_events(batch: Batch, file: str, file_index: int, spec: FeatureSpec) -> Checked:
    """Keeps the sound positives and impressions of a log.

    A record is first rejected or sound, and only then positive, an impression or ignored.

    Args:
        batch: has the columns `event_columns(spec)`.
        file_index: place of the file in the log; with the line it orders events of the same time.

    Returns:
        Table of query_id and item_id text, timestamp_us int64 (0 without time), example_weight float32, the
        event's own features (see `read_feature`), _kind int8, _file int32, _line int64.
    """
    columns, events = batch.columns, spec.events
    query_id, item_id = as_text(columns[events.query_id]), as_text(columns[events.item_id])
    faults = [(_is_empty(query_id), "query id is empty"), (_is_empty(item_id), "item id is empty")]
    if spec.queries.same_as_items:
        faults.append((_to_numpy(pc.equal(query_id, item_id)), "query equals item"))
    timestamp_us = np.zeros(len(query_id), np.int64)
    if events.timestamp:
        timestamp_us, bad = as_microseconds(columns[events.timestamp.column], events.timestamp.unit)
        faults.append((bad, "timestamp is no time between 1970 and 2100"))
    kind, weight, label_faults = _label(columns, spec)
    features = {}
    for feature in spec.event_features:
        features[feature.name], bad = read_feature(columns[feature.source_column], feature)
        label_faults.append((bad, _feature_reason(feature)))
    reasons, rejects = _reject(batch, file, faults + label_faults)
    table = pa.table(
        {
            "query_id": query_id,
            "item_id": item_id,
            "timestamp_us": timestamp_us,
            "example_weight": weight.astype(np.float32),
            "_kind": kind,
            "_file": np.full(len(kind), file_index, np.int32),
            "_line": batch.lines,
            **features,
        }
    )
    sound = reasons == ""
    kept = sound & (kind > 0)
    return Checked(table.filter(pa.array(kept)), rejects, int(sound.sum() - kept.sum()))


def known_ids(batch: Batch, rejects: Sequence[Reject], spec: FeatureSpec) -> pa.Table:
    """The distinct item ids of the sound records: the catalogue of a log without item table."""
    sound = pa.array(~np.isin(batch.lines, [reject.line for reject in rejects]))
    names = [spec.events.item_id, *([spec.events.query_id] if spec.queries.same_as_items else [])]
    ids = pa.chunked_array([as_text(batch.columns[name]).filter(sound) for name in names], TEXT)
    return pa.table({"_id": ids.unique()})


def _label(columns: pa.Table, spec: FeatureSpec) -> tuple[np.ndarray, np.ndarray, list]:
    """[num_records] int8 kind (0 = ignored), [num_records] float64 example weight, and the faults found."""
    label, faults = spec.events.label, []
    kind, weight = np.full(columns.num_rows, POSITIVE, np.int8), np.ones(columns.num_rows)
    if label.column:
        value, missing, bad = as_float(columns[label.column])
        faults.append((missing | bad, "label is not a number"))
        kind[~(value >= label.threshold)] = 0
    if label.event_type:
        event_type = as_text(columns[label.event_type])
        faults.append((_is_empty(event_type), "event type is empty"))
        positive = label.positive or {}
        names = [*positive, *label.impressions]
        kinds = np.array([0] + [POSITIVE] * len(positive) + [IMPRESSION] * len(label.impressions), np.int8)
        weights = np.array([0.0, *positive.values()] + [1.0] * len(label.impressions))
        found = 1 + find_rows(event_type, pa.array(names, TEXT))
        kind, weight = kinds[found], weights[found]
    if spec.events.weight:
        value, missing, bad = as_float(columns[spec.events.weight])
        faults.append((missing | bad | (value < 0), "weight is not a number >= 0"))
        weight = weight * np.where(np.isfinite(value), value, 0.0)
    return kind, weight, faults


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
    group_column: str | None = None,
) -> Checked:
    """Keeps the sound records of an item or query table; duplicate ids are found later, among all batches.

    Args:
        group_column: of an item table, the column that a split by groups of items reads.

    Returns:
        Table of _id text, _file int32, _line int64, the features (see `read_feature`; content packed by the
        `column` of its kind) and, with a group column, _group text, "" where it is missing.
    """
    ids = as_text(batch.columns[id_column])
    faults, columns = [(_is_empty(ids), f"{side} id is empty")], {}
    for feature in features:
        if isinstance(feature, ContentFeature):
            columns[feature.name], found = _read_content(batch.columns[feature.source_column], feature)
            faults += found
        elif isinstance(feature, ColumnFeature):
            columns[feature.name], bad = read_feature(batch.columns[feature.source_column], feature)
            faults.append((bad, _feature_reason(feature)))
    if group_column is not None:
        groups = batch.columns[group_column]
        columns["_group"] = pc.fill_null(as_text(groups), "")
        faults.append((np.full(len(ids), _is_list(groups.type)), f"{group_column} is not one value"))
    reasons, rejects = _reject(batch, file, faults)
    file_indices = np.full(len(ids), file_index, np.int32)
    table = pa.table({"_id": ids, "_file": file_indices, "_line": batch.lines, **columns})
    return Checked(table.filter(pa.array(reasons == "")), rejects)


def _read_content(column: pa.ChunkedArray, feature: ContentFeature) -> tuple[pa.LargeListArray, list]:
    """[num_records] lists of packed content, and the faults found."""
    cells, bad = read_feature(column, feature)
    packed, found = kinds.load(feature.kind, "column").read(cells)
    reasons = [(mask, f"{feature.name} is no {feature.kind}: {reason}") for reason, mask in found.items()]
    return packed, [(bad, _feature_reason(feature)), *reasons]


def deduplicate_ids(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The first record of each id, sorted by id, and the later ones."""
    table = table.sort_by([("_id", "ascending"), ("_file", "ascending"), ("_line", "ascending")])
    ids = table["_id"].combine_chunks()
    later = np.zeros(len(ids), bool)
    later[1:] = _to_numpy(pc.equal(ids[1:], ids[:-1]))
    return table.filter(pa.array(~later)), table.filter(pa.array(later))


# --- Features --------------------------------------------------------------------------------------


def read_feature(column: pa.ChunkedArray, feature: TableFeature) -> tuple[pa.LargeListArray, np.ndarray]:
    """A raw feature as lists: text values, or float32 values for numeric and dense.

    An empty cell, null and NaN are missing: an empty list.

    Returns:
        [num_records] lists, and [num_records] bool, True where the value cannot be a value of this feature.
    """
    if isinstance(feature, DenseFeature):
        return _read_dense(column, feature.dim, feature.separator)
    if isinstance(feature, NumericFeature):
        values, missing, bad = as_float(column)
        present = ~(missing | bad)
        return lists.from_flat(values[present].astype(np.float32), present), bad
    if isinstance(feature, CategoricalFeature) and feature.multi_valued:
        return lists.from_flat(*_split_cells(column, feature.separator)), np.zeros(len(column), bool)
    text, bad = as_text(column), np.zeros(len(column), bool)
    if _is_list(column.type):
        words, lengths = _split_cells(column, None)
        short = lists.from_flat(words, lengths, pa.string(), layout=pa.ListArray)
        text = pc.binary_join(short, " ")  # has no kernel for large lists
        bad = (lengths > 1) & (not isinstance(feature, TextFeature))
    present = ~_is_empty(text) & ~bad
    return lists.from_flat(text.filter(pa.array(present)), present, TEXT), bad


def _feature_reason(feature: TableFeature) -> str:
    wanted = "one value"
    if isinstance(feature, DenseFeature):
        wanted = f"{feature.dim} numbers"
    elif isinstance(feature, NumericFeature):
        wanted = "a number"
    return f"{feature.name} is not {wanted}"


def _read_dense(column: pa.ChunkedArray, dim: int, separator: str) -> tuple[pa.LargeListArray, np.ndarray]:
    elements, lengths = _split_cells(column, separator)
    values, missing, bad = as_float(pa.chunked_array([elements]))
    rows = lists.owners(lengths)
    num_missing = np.bincount(rows, missing, len(lengths)).astype(np.int64)
    wrong = (lengths > 0) & (lengths != dim) | (np.bincount(rows, bad, len(lengths)) > 0)
    wrong |= (num_missing > 0) & (num_missing < lengths)  # a vector is known as a whole or not at all
    kept = ~wrong & (num_missing == 0)
    return lists.from_flat(values[kept[rows]].astype(np.float32), np.where(kept, lengths, 0)), wrong


def _split_cells(column: pa.ChunkedArray, separator: str | None) -> tuple[pa.Array, np.ndarray]:
    """The texts of a column that are not empty, [sum of lengths], and how many each record has."""
    if not _is_list(column.type):
        text = pc.fill_null(as_text(column), "")
        column = lists.single(text) if separator is None else pc.split_pattern(text, separator)
    values, lengths = lists.flatten(column, TEXT)
    text = as_text(pa.chunked_array([values]))
    present = ~_is_empty(text)
    rows = lists.owners(lengths)[present]
    return text.filter(pa.array(present)), np.bincount(rows, minlength=len(lengths))


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


# --- Values ----------------------------------------------------------------------------------------


def as_text(column: pa.ChunkedArray) -> pa.Array:
    """[num_records] large_string; null stays null. Lists have no text: null."""
    array = lists.one_array(column)
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if _is_list(array.type):
        return pa.nulls(len(array), TEXT)
    if pa.types.is_binary(array.type):
        array = array.cast(pa.large_binary())
    return array if array.type == TEXT else array.cast(TEXT)


def as_float(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of a column.

    Returns:
        [num_records] float64, NaN where there is none; [num_records] bool, True where the cell is empty, null or
        NaN; [num_records] bool, True where it is something else than a finite number.
    """
    array = lists.one_array(column)
    if pa.types.is_floating(array.type) or pa.types.is_integer(array.type):
        values = pc.fill_null(array.cast(pa.float64()), float("nan")).to_numpy(zero_copy_only=False)
        missing = np.isnan(values)
    else:
        text = pc.utf8_trim_whitespace(pc.fill_null(as_text(column), ""))
        missing = _to_numpy(pc.is_in(pc.utf8_lower(text), pa.array(["", "nan"], TEXT)))
        values = np.full(len(text), np.nan)
        values[~missing] = _parse_floats(text.filter(pa.array(~missing)))
    bad = ~missing & ~np.isfinite(values)
    return np.where(bad, np.nan, values), missing, bad


def _parse_floats(text: pa.Array) -> np.ndarray:
    try:
        return text.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:  # slower, but says which
        return pd.to_numeric(text.to_pandas(), errors="coerce").to_numpy(np.float64)


def as_microseconds(column: pa.ChunkedArray, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """Times since 1970, in microseconds; whole numbers are converted without rounding through a float.

    Args:
        unit: s, ms, us, ns or iso8601 (UTC when the text names no zone). Parquet's own times know their unit.

    Returns:
        [num_records] int64, 0 where there is none; [num_records] bool, True where it is no time from 1970 to 2100.
    """
    array = lists.one_array(column)
    if pa.types.is_date(array.type):
        array = array.cast(pa.timestamp("ms"))
    if pa.types.is_timestamp(array.type):
        times = pc.fill_null(array.cast(pa.timestamp("us", array.type.tz), safe=False).cast(pa.int64()), -1)
        times = times.to_numpy(zero_copy_only=False)
    elif unit == "iso8601":
        times = _parse_iso_8601(pc.utf8_trim_whitespace(pc.fill_null(as_text(column), "")))
    else:
        times = _parse_epoch(column, _US_PER_UNIT[unit])
    bad = (times < 0) | (times >= _LAST_US)
    return np.where(bad, 0, times), bad


def _parse_iso_8601(text: pa.Array) -> np.ndarray:
    times = np.full(len(text), -1, np.int64)
    shaped = _to_numpy(pc.match_substring_regex(text, _ISO_8601))
    parsed = pd.to_datetime(text.filter(pa.array(shaped)).to_pandas(), utc=True, errors="coerce").astype("int64")
    times[shaped] = np.where(parsed == np.iinfo(np.int64).min, -1, parsed // 1000)
    return times


def _parse_epoch(column: pa.ChunkedArray, us_per_unit: float) -> np.ndarray:
    text = pc.utf8_trim_whitespace(pc.fill_null(as_text(column), ""))
    whole = _to_numpy(pc.match_substring_regex(text, r"^\d{1,18}$"))
    times = np.full(len(text), -1, np.int64)
    numbers = text.filter(pa.array(whole)).cast(pa.int64()).to_numpy(zero_copy_only=False)
    if us_per_unit < 1:
        times[whole] = numbers // round(1 / us_per_unit)
    else:
        sound = numbers <= _LAST_US // us_per_unit
        times[whole] = np.where(sound, numbers * np.where(sound, int(us_per_unit), 0), -1)
    if not whole.all():
        values, _, _ = as_float(pa.chunked_array([text.filter(pa.array(~whole))]))
        values = values * us_per_unit
        sound = (values >= 0) & (values <= _LAST_US)
        times[~whole] = np.where(sound, np.round(np.where(sound, values, 0)), -1).astype(np.int64)
    return times


def find_rows(ids: pa.Array, sorted_or_not: pa.Array) -> np.ndarray:
    """[num_ids] int64, where each id stands in the other array, or -1."""
    return pc.fill_null(pc.index_in(ids, sorted_or_not), -1).to_numpy(zero_copy_only=False).astype(np.int64)


def hash_ids(ids: pa.Array) -> np.ndarray:
    """[num_ids] uint64, the same in every process and run (SipHash of the text with a fixed key)."""
    encoded = ids.dictionary_encode()
    hashes = pd.util.hash_array(encoded.dictionary.to_numpy(zero_copy_only=False).astype(object), categorize=False)
    return hashes[encoded.indices.to_numpy(zero_copy_only=False)]


def mix_hashes(left: np.ndarray, right: np.ndarray | np.uint64, seed: int) -> np.ndarray:
    """[n] uint64 hash of pairs of hashes (the finaliser of SplitMix64; Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        state = left * np.uint64(0x9E3779B97F4A7C15) + right + np.uint64(seed % 2**64) * np.uint64(0xD1B54A32D192ED03)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return state ^ (state >> np.uint64(31))


def split_by(table: pa.Table, keys: np.ndarray, num_keys: int) -> Iterator[tuple[int, pa.Table]]:
    """Yields (key, its records) for each key in 0..num_keys-1 that occurs.

    Records are copied, since a slice travels between workers with all the memory that it is a slice of.
    """
    order = np.argsort(keys, kind="stable")
    bounds = np.searchsorted(keys[order], np.arange(num_keys + 1))
    for key in np.flatnonzero(np.diff(bounds)).tolist():
        yield key, table.take(pa.array(order[bounds[key] : bounds[key + 1]]))


# --- Rejects ---------------------------------------------------------------------------------------


def _reject(batch: Batch, file: str, faults: Sequence[tuple[np.ndarray, str]]) -> tuple[np.ndarray, list[Reject]]:
    """[num_records] the first fault of each record or "", and the rejects."""
    reasons = np.full(len(batch.lines), "", object)
    for mask, reason in reversed(faults):
        reasons[mask] = reason
    bad = reasons != ""
    records = batch.columns.filter(pa.array(bad)).to_pylist() if bad.any() else []
    found = zip(reasons[bad].tolist(), batch.lines[bad].tolist(), records)
    return reasons, [Reject(reason, file, line, record) for reason, line, record in found]


def rejects_to_table(rejects: Sequence[Reject]) -> pa.Table:
    """Columns reason, file, line, record; the record as JSON."""
    records = [json.dumps(reject.record, ensure_ascii=False, default=str) for reject in rejects]
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


def _is_empty(text: pa.Array) -> np.ndarray:
    return _to_numpy(pc.fill_null(pc.equal(text, ""), True))


def _to_numpy(mask: pa.Array) -> np.ndarray:
    return pc.fill_null(mask, False).to_numpy(zero_copy_only=False)
