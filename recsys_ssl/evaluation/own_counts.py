"""How often each query chose each item before the split: the floor of a log whose queries choose again."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from recsys_ssl.evaluation.queries import RankingTask, to_strings

_EVENTS = 2**20  # looked up at a time: each look-up hashes all queries of the task


def count_own(task: RankingTask, events: Iterable[tuple[pa.Array, np.ndarray]]) -> sp.csr_matrix:
    """Counts the events of the task's queries, a batch at a time; those of other queries are passed over.

    Memory: a million events (24 bytes each besides the ids), and 12 bytes for each item that a query of the task chose,
    three times that while a batch is added.

    Args:
        task: of the held-out split.
        events: batches of query_id [num_events], of bytes, and item_row [num_events] int64.

    Returns:
        [num_clusters, num_items] float32; an item that the query did not choose is not stored.

    Raises:
        ValueError: a row is outside the catalogue.
    """
    shape = (task.num_clusters, task.num_items)
    counts = sp.csr_matrix(shape, dtype=np.float32)
    queries = pa.array(task.query_ids, pa.string())
    for ids, rows in _gather(events):
        if len(rows) and (rows.min() < 0 or rows.max() >= task.num_items):
            raise ValueError(
                f"item_row must lie in 0..{task.num_items - 1}, the rows of the catalogue. "
                f"Received {rows.min()}..{rows.max()}. Read the interactions of the same ingestion."
            )
        found = pc.fill_null(pc.index_in(pa.array(to_strings(ids), pa.string()), value_set=queries), -1).to_numpy()
        known = found >= 0
        new = sp.csr_matrix((np.ones(int(known.sum()), np.float32), (found[known], rows[known])), shape)
        counts = counts + new  # which adds up what is in both
    return counts


def _gather(events: Iterable[tuple[pa.Array, np.ndarray]]) -> Iterable[tuple[pa.Array, np.ndarray]]:
    """The same events in batches of `_EVENTS` or a little more."""
    ids: list[pa.Array] = []
    rows: list[np.ndarray] = []
    for of_ids, of_rows in events:
        ids.append(of_ids)
        rows.append(of_rows)
        if sum(map(len, rows)) >= _EVENTS:
            yield pa.concat_arrays(ids), np.concatenate(rows)
            ids, rows = [], []
    if rows:
        yield pa.concat_arrays(ids), np.concatenate(rows)
