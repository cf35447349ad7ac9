"""The sequence of a query in windows: every train event once, with the items that lay before it, for one pass.

A window holds items of one query in order of time and the events that are to be foretold from them. An event sees the
first `visible` of the window's items, which lie strictly before its time:

    time     1  2  2  3  4        event   a  b  c  d  e        items   a  b  c  d
    item     a  b  c  d  e        visible 0  1  1  3  4        gap_us  1  0  1  1

A sequence longer than the window is cut into windows that overlap by half, so that each event sees at least half a
window of items, or all that there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_ssl import examples, lists, seeds
from recsys_ssl.spec import ItemSequenceFeature

_MOST_EVENTS = 4
"""Events of a window by its length; more of one time are spread over several windows of the same items."""
# What a window's events need not say of themselves: the window has it, or nothing of training reads it.
_LEFT_OUT = frozenset({"query_id", "sequence_position", "history_us", "seen_rows"})


class Windows(NamedTuple):
    """Windows over ordered events; the items and the events of a window are ranges of rows."""

    first_item: np.ndarray
    """[num_windows] int64 row."""
    num_items: np.ndarray
    """[num_windows] int64, at most the length; 0 where a query's first events see nothing."""
    first_event: np.ndarray
    """[num_windows] int64 row; the windows in order have all rows."""
    num_events: np.ndarray
    """[num_windows] int64."""
    visible: np.ndarray
    """[num_rows] int64: how many items of its window each event sees."""


def cut_windows(query: np.ndarray, timestamp_us: np.ndarray, length: int) -> Windows:
    """The windows of ordered events.

    Args:
        query: [num_rows] int, ascending.
        timestamp_us: [num_rows] int64, ascending within a query.
        length: most items of a window.
    """
    rows = np.arange(len(query))
    new_query = np.concatenate([[True], query[1:] != query[:-1]])[: len(rows)]
    new_time = new_query | np.concatenate([[True], timestamp_us[1:] != timestamp_us[:-1]])[: len(rows)]
    begins = np.maximum.accumulate(np.where(new_query, rows, 0))
    earlier = np.maximum.accumulate(np.where(new_time, rows, 0)) - begins
    # The first window of a query serves the events that have at most `length` earlier ones, each further window those
    # that have up to a stride more.
    stride = length - length // 2
    number = np.maximum(0, -((length - earlier) // stride))
    new_window = new_query | np.concatenate([[True], number[1:] != number[:-1]])[: len(rows)]
    within = rows - np.maximum.accumulate(np.where(new_window, rows, 0))
    first_event = np.flatnonzero(within % (_MOST_EVENTS * length) == 0)
    num_events = np.diff(first_event, append=len(rows))
    visible = earlier - number * stride
    return Windows(
        first_item=(begins + number * stride)[first_event],
        num_items=visible[first_event + num_events - 1],
        first_event=first_event,
        num_events=num_events,
        visible=visible,
    )


def write_windows(events: pa.RecordBatch, sequences: Sequence[ItemSequenceFeature], out_dir: str, shard: str) -> str:
    """Writes the windows of all train events of some queries, as long as the longest of the sequences.

    The arguments are those of `window_batch` and `examples.write_shard`.
    """
    longest = max(sequence.length for sequence in sequences)
    windows = window_batch(events, longest, tuple(sequence.name for sequence in sequences))
    return examples.write_shard(windows, out_dir, examples.SEQUENCES_SPLIT, shard)


def window_batch(events: pa.RecordBatch, length: int, sequences: tuple[str, ...]) -> pa.RecordBatch:
    """The windows of all train events of some queries, in a mixed order that is the same in every run.

    Takes 20 bytes an event besides the records themselves.

    Args:
        events: encoded train records with query_id, item_row, timestamp_us and sequence_position, in any order.
        length: most items of a window.
        sequences: names of the item sequences, which windows take the place of.

    Returns:
        Columns of a window: `item_row` and `gap_us` (microseconds to the next event) of its items, and of its events
        `event`, serialized encoded records, and `visible`.

    Raises:
        ValueError: the records do not say where in its query's sequence an event stands.
    """
    ids = lists.flatten(lists.column(events, "query_id"), pa.large_binary())[0]
    encoded = ids.dictionary_encode()
    rank = np.empty(len(encoded.dictionary), np.int64)
    rank[pc.sort_indices(encoded.dictionary).to_numpy()] = np.arange(len(rank))
    query = rank[encoded.indices.to_numpy()]
    item_row, times, position = (
        lists.flat(events, name, pa.int64())[0] for name in ("item_row", "timestamp_us", "sequence_position")
    )
    if len(position) != len(query):
        raise ValueError(
            f"each train record of a spec with an item_sequence has one sequence_position. Received {len(position)} of "
            f"{len(query)} records. Ingest the log again with this version."
        )
    order = np.lexsort((position, query))
    query, item_row, times = query[order], item_row[order], times[order]
    windows = cut_windows(query, times, length)
    mixed = seeds.generator(0).permutation(len(windows.first_item))
    items = _ranges(windows.first_item[mixed], windows.num_items[mixed])
    rows = _ranges(windows.first_event[mixed], windows.num_events[mixed])
    kept = [name for name in events.schema.names if name not in _LEFT_OUT and name not in sequences]
    told = pa.RecordBatch.from_pydict({name: lists.column(events, name) for name in kept})
    records = pa.array(examples.serialize(told), pa.large_binary())
    gaps = np.diff(times, append=0)  # of a query's last event it is never read: no window has it as an item
    return pa.RecordBatch.from_pydict(
        {
            "item_row": lists.from_flat(item_row[items], windows.num_items[mixed]),
            "gap_us": lists.from_flat(gaps[items], windows.num_items[mixed]),
            "event": lists.from_flat(records.take(pa.array(order[rows])), windows.num_events[mixed]),
            "visible": lists.from_flat(windows.visible[rows], windows.num_events[mixed]),
        }
    )


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """[sum of lengths] int64: the rows of the ranges that begin at `starts`."""
    before = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) + np.repeat(starts - before, lengths)
