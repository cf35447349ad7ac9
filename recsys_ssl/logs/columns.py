"""Checked tables to the raw columns of example files: one list per record and feature."""

from __future__ import annotations

from functools import partial, reduce
from typing import Optional

import numpy as np
import pyarrow as pa

from recsys_ssl import lists
from recsys_ssl.logs import timeline
from recsys_ssl.logs.records import order_of
from recsys_ssl.logs.rows import mix_hashes
from recsys_ssl.spec import VOCABULARY_FEATURES, FeatureSpec, ItemSequenceFeature

_BYTES, _INT64, _FLOAT32 = pa.large_binary(), pa.int64(), pa.float32()


def interaction_batch(
    events: pa.Table, queries: Optional[pa.Table], split: np.ndarray, which: int, spec: FeatureSpec
) -> pa.RecordBatch:
    """The examples of one split of some queries.

    Train examples come in a hashed order, the same in every run, so that a reader with a small shuffle buffer
    does not see one query's events together. Held-out examples come by query and time.

    Args:
        events: all ordered events of the queries (`timeline.order_events`), with what they rated low if that is masked.
        queries: the query table's records that `_query_row` points to, or None.
        split: [num_events] split of each event, NEITHER for what was rated low.

    Returns:
        Columns of the interactions format, large_list of binary, int64 or float32.
    """
    rows = np.flatnonzero(split == which)
    position = timeline.count_earlier(events["_query"].to_numpy()[rows])
    if which == timeline.TRAIN:
        file, *places = (events[name].to_numpy()[rows].astype(np.uint64) for name in order_of(events))
        order = np.argsort(reduce(partial(mix_hashes, seed=0), places, file), kind="stable")
        rows, position = rows[order], position[order]
    taken = events.take(pa.array(rows))
    columns = {
        "query_id": lists.single(taken["query_id"], _BYTES),
        "item_id": lists.single(taken["item_id"], _BYTES),
        "item_row": lists.single(taken["item_row"], _INT64),
        "example_weight": lists.single(taken["example_weight"], _FLOAT32),
    }
    if spec.events.timestamp:
        columns["timestamp_us"] = lists.single(taken["timestamp_us"], _INT64)
    if spec.queries.same_as_items:
        columns["query_row"] = lists.single(taken["query_row"], _INT64)
    columns |= {feature.name: _to_lists(taken[feature.name]) for feature in spec.event_features}
    if spec.item_sequences and which == timeline.TRAIN:
        columns["sequence_position"] = lists.single(position, _INT64)
    elif spec.item_sequences:
        longest = max(feature.length for feature in spec.item_sequences)
        columns["history_us"] = _history(events, rows, longest, "timestamp_us", _INT64)
    for feature in spec.queries.features:
        if isinstance(feature, ItemSequenceFeature):
            columns[feature.name] = _history(events, rows, feature.length, "item_id", _BYTES)
        elif isinstance(feature, VOCABULARY_FEATURES) and feature.source_column == spec.queries.id:
            columns[feature.name] = columns["query_id"]  # known even when the table lacks the query
        elif queries is None:
            columns[feature.name] = lists.empty(len(rows), _FLOAT32 if feature.is_number else _BYTES)
        else:
            row = taken["_query_row"].to_numpy()
            columns[feature.name] = _to_lists(queries[feature.name].take(pa.array(row, mask=row < 0)))
    if which != timeline.TRAIN:
        columns["seen_rows"] = _seen(events, split, which, spec)
    return pa.RecordBatch.from_pydict(columns)


def disliked_batch(events: pa.Table, split: np.ndarray) -> pa.RecordBatch:
    """What some queries rated low: query_id and item_row; `events` and `split` are those of `interaction_batch`."""
    taken = events.filter(pa.array(split == timeline.NEITHER))
    return pa.RecordBatch.from_pydict(
        {"query_id": lists.single(taken["query_id"], _BYTES), "item_row": lists.single(taken["item_row"], _INT64)}
    )


def catalogue_batch(
    items: pa.Table, first_row: int, train_count: np.ndarray, impression_count: np.ndarray, spec: FeatureSpec
) -> pa.RecordBatch:
    """The catalogue records of one partition.

    Args:
        items: [num_items] records sorted by id: _id and the features, if more than the ids is known.
        first_row: catalogue row of the first.
        train_count: [num_items] int64.
        impression_count: [num_items] int64, written when the log has impressions.
    """
    columns = {
        "item_row": lists.single(np.arange(first_row, first_row + items.num_rows), _INT64),
        "item_id": lists.single(items["_id"], _BYTES),
        "train_count": lists.single(train_count, _INT64),
    }
    if spec.events.label.impressions:
        columns["impression_count"] = lists.single(impression_count, _INT64)
    for feature in spec.item_features:
        known = spec.items.table is not None or spec.items.from_events
        columns[feature.name] = _to_lists(items[feature.name]) if known else columns["item_id"]
    return pa.RecordBatch.from_pydict(columns)


def _history(events: pa.Table, rows: np.ndarray, length: int, column: str, kind: pa.DataType) -> pa.LargeListArray:
    """A column of the events that each of the events at `rows` has as its history."""
    chosen = timeline.is_chosen(events)
    query, moments = events["_query"].to_numpy()[chosen], timeline.moments(events)[chosen]
    starts, ends = (bounds[(np.cumsum(chosen) - 1)[rows]] for bounds in timeline.find_history(query, moments, length))
    values = events[column].take(pa.array(np.flatnonzero(chosen)[timeline.ranges(starts, ends)]))
    return lists.from_flat(values, ends - starts, kind)


def _seen(events: pa.Table, split: np.ndarray, which: int, spec: FeatureSpec) -> pa.LargeListArray:
    """What a ranking leaves out: earlier choices, unless they may be repeated, what the query rated low before, and a
    query that is itself an item."""
    item_row, num_held_out = events["item_row"].to_numpy(), int(np.count_nonzero(split == which))
    lengths, rows = np.zeros(num_held_out, np.int64), np.zeros(0, np.int64)
    if spec.evaluation.masks:
        moments = timeline.moments(events) if spec.has_order else None
        masked = spec.evaluation.mask_seen | ~timeline.is_chosen(events)
        lengths, rows = timeline.find_seen(events["_query"].to_numpy(), item_row, moments, split, which, masked)
    if spec.queries.same_as_items:  # a page is no answer to itself
        owner = np.concatenate([lists.owners(lengths), np.arange(num_held_out)])
        own = events["query_row"].to_numpy()[split == which]
        lengths, rows = timeline.distinct_lists(owner, np.concatenate([rows, own]), num_held_out)
    return lists.from_flat(rows, lengths, _INT64)


def _to_lists(column: pa.ChunkedArray) -> pa.LargeListArray:
    """Lists of text become lists of bytes; null becomes an empty list."""
    values, lengths = lists.flatten(column, _BYTES)
    return lists.from_flat(values, lengths, _BYTES if values.type == pa.large_string() else None)
