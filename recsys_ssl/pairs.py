"""The positive events of a split as pairs of a query and an item of the catalogue: what a factorisation reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from recsys_ssl import examples, lists


@dataclass(frozen=True)
class Pairs:
    """The positive events of a split: 24 bytes each, besides the ids."""

    query_codes: np.ndarray
    """[num_events] int64 index into `query_ids`."""
    item_rows: np.ndarray
    """[num_events] int64 catalogue rows."""
    query_ids: np.ndarray
    """[num_queries] bytes, distinct; some may have no event when the events are a sample."""
    times_us: Optional[np.ndarray] = None
    """[num_events] int64 microseconds since 1970; None when the log has no time."""

    def to_matrix(self, num_items: int) -> sp.csr_matrix:
        """[num_queries, num_items] float32: 1 where the query has the item as a positive, once or more often."""
        return count_once(self.query_codes, self.item_rows, (len(self.query_ids), num_items))

    def in_order(self) -> tuple[np.ndarray, np.ndarray]:
        """The item rows of one query after the other, each in order of time, and where they begin.

        Returns:
            [num_events] int64 rows, those of query c from `starts[c]` to `starts[c + 1]`, and [num_queries + 1] int64.
        """
        keys = (self.query_codes,) if self.times_us is None else (self.times_us, self.query_codes)
        counts = np.bincount(self.query_codes, minlength=len(self.query_ids))
        return self.item_rows[np.lexsort(keys)], np.concatenate([[0], np.cumsum(counts)])


def count_once(owners: np.ndarray, rows: np.ndarray, shape: tuple[int, int]) -> sp.csr_matrix:
    """A float32 matrix of this shape: 1 where an owner has a row, once or more often."""
    matrix = sp.csr_matrix((np.ones(len(rows), np.float32), (owners, rows)), shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix


def read_pairs(interactions_dir: str, split: str) -> Pairs:
    """Reads the queries, items and times of a split of encoded (or raw) interactions, in file order."""
    ids, rows, times = [], [], []
    for batch in examples.read_batches(examples.list_shards(interactions_dir, split)):
        ids.append(lists.flatten(lists.column(batch, "query_id"), pa.large_binary())[0])
        rows.append(lists.flat(batch, "item_row", pa.int64())[0])
        times.append(lists.flat(batch, "timestamp_us", pa.int64())[0])
    encoded = pa.chunked_array(ids).combine_chunks().dictionary_encode()
    times_us = np.concatenate(times)
    return Pairs(
        query_codes=encoded.indices.to_numpy().astype(np.int64),
        item_rows=np.concatenate(rows),
        query_ids=encoded.dictionary.to_numpy(zero_copy_only=False),
        times_us=times_us if len(times_us) else None,
    )
