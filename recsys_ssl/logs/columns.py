"""Checked tables to the raw columns of example files: one list per record and feature."""

from __future__ import annotations

from typing import Optional

import numpy as np
import pyarrow as pa

from recsys_ssl.logs import timeline
from recsys_ssl.logs.records import mix_hashes
from recsys_ssl.spec import FeatureSpec

_BYTES, _INT64, _FLOAT32 = pa.large_binary(), pa.int64(), pa.float32()


def interaction_batch(
    events: pa.Table, queries: Optional[pa.Table], split: np.ndarray, which: int, spec: FeatureSpec
) -> pa.RecordBatch:
    """The examples of one split of some queries.

    Train examples come in a hashed order, the same in every run, so that a reader with a small shuffle buffer
    does not see one query's events together. Held-out examples come by query and time.

    Args:
        events: all ordered events of the queries (`timeline.order_events`).
        queries: the query table's records that `_query_row` points to, or None.
        split: [num_events] split of each event.

    Returns:
        Columns of the interactions format, large_list of binary, int64 or float32.
    """
    rows = np.flatnonzero(split == which)
    if which == timeline.TRAIN:
        place = [events[name].to_numpy()[rows].astype(np.uint64) for name in ("_file", "_line")]
        rows = rows[np.argsort(mix_hashes(*place, seed=0), kind="stable")]
    taken = events.take(pa.array(rows))
    columns = {
        "query_id": _single(taken["query_id"], _BYTES),
        "item_id": _single(taken["item_id"], _BYTES),
        "item_row": _single(taken["item_row"], _INT64),
        "example_weight": _single(taken["example_weight"], _FLOAT32),
    }
    if spec.events.timestamp:
        columns["timestamp_us"] = _single(taken["timestamp_us"], _INT64)
    if spec.queries.same_as_items:
        columns["query_row"] = _single(taken["query_row"], _INT64)
    for feature in spec.events.features:
        columns[feature.name] = _to_lists(taken[feature.name])
    for feature in spec.queries.features:
        if feature.kind == "item_sequence":
            columns[feature.name] = _history(events, rows, feature.length)
        elif feature.source_column == spec.queries.id and feature.kind in ("id", "categorical", "text"):
            columns[feature.name] = columns["query_id"]  # known even when the table lacks the query
        elif queries is None:
            columns[feature.name] = _empty(len(rows), _FLOAT32 if feature.kind in ("numeric", "dense") else _BYTES)
        else:
            row = taken["_query_row"].to_numpy()
            columns[feature.name] = _to_lists(queries[feature.name].take(pa.array(row, mask=row < 0)))
    if which != timeline.TRAIN:
        columns["seen_rows"] = _seen(events, split, which, spec)
    return pa.RecordBatch.from_pydict(columns)


def catalogue_batch(
    items: pa.Table, first_row: int, train_count: np.ndarray, impression_count: np.ndarray, spec: FeatureSpec
) -> pa.RecordBatch:
    """The catalogue records of one partition.

    Args:
        items: [num_items] records sorted by id: _id and the features, if there is an item table.
        first_row: catalogue row of the first.
        train_count: [num_items] int64.
        impression_count: [num_items] int64, written when the log has impressions.
    """
    columns = {
        "item_row": _single(pa.array(np.arange(first_row, first_row + items.num_rows)), _INT64),
        "item_id": _single(items["_id"], _BYTES),
        "train_count": _single(pa.array(train_count), _INT64),
    }
    if spec.events.label.impressions:
        columns["impression_count"] = _single(pa.array(impression_count), _INT64)
    for feature in spec.item_features:
        known = spec.items.table is not None
        columns[feature.name] = _to_lists(items[feature.name]) if known else columns["item_id"]
    return pa.RecordBatch.from_pydict(columns)


def _history(events: pa.Table, rows: np.ndarray, length: int) -> pa.LargeListArray:
    starts, ends = timeline.find_history(events["_query"].to_numpy(), events["timestamp_us"].to_numpy(), length)
    starts, ends = starts[rows], ends[rows]
    return _ragged(ends - starts, _one(events["item_id"].take(pa.array(timeline.ranges(starts, ends)))), _BYTES)


def _seen(events: pa.Table, split: np.ndarray, which: int, spec: FeatureSpec) -> pa.LargeListArray:
    """What a ranking leaves out: earlier choices, unless they may be repeated, and a query that is itself an item."""
    item_row, num_held_out = events["item_row"].to_numpy(), int(np.count_nonzero(split == which))
    lengths, rows = np.zeros(num_held_out, np.int64), np.zeros(0, np.int64)
    if spec.evaluation.mask_seen:
        times = events["timestamp_us"].to_numpy() if spec.events.timestamp else None
        lengths, rows = timeline.find_seen(events["_query"].to_numpy(), item_row, times, split, which)
    if spec.queries.same_as_items:  # a page is no answer to itself
        owner = np.concatenate([np.repeat(np.arange(num_held_out), lengths), np.arange(num_held_out)])
        own = events["query_row"].to_numpy()[split == which]
        lengths, rows = timeline.distinct_lists(owner, np.concatenate([rows, own]), num_held_out)
    return _ragged(lengths, pa.array(rows, _INT64), _INT64)


def _one(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    if isinstance(column, pa.Array):
        return column
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays([pa.array([], column.type), *column.chunks])


def _single(column: pa.ChunkedArray | pa.Array, kind: pa.DataType) -> pa.LargeListArray:
    return _ragged(np.ones(len(column), np.int64), _one(column), kind)


def _empty(length: int, kind: pa.DataType) -> pa.LargeListArray:
    return _ragged(np.zeros(length, np.int64), pa.array([], kind), kind)


def _ragged(lengths: np.ndarray, values: pa.Array, kind: pa.DataType) -> pa.LargeListArray:
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int64())
    return pa.LargeListArray.from_arrays(offsets, values if values.type == kind else values.cast(kind))


def _to_lists(column: pa.ChunkedArray | pa.Array) -> pa.LargeListArray:
    """Lists of text become lists of bytes; null becomes an empty list."""
    array = _one(column)
    lengths = np.diff(array.offsets.to_numpy())
    values = array.flatten()
    return _ragged(lengths, values, _BYTES if values.type == pa.large_string() else values.type)
