"""The positive events of a split as pairs of a query and an item of the catalogue: what a factorisation reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from recsys_ssl import examples, lists


@dataclass(frozen=True)
class Pairs:
    """The positive events of a split: 16 bytes each, besides the ids."""

    query_codes: np.ndarray
    """[num_events] int64 index into `query_ids`."""
    item_rows: np.ndarray
    """[num_events] int64 catalogue rows."""
    query_ids: np.ndarray
    """[num_queries] bytes, distinct; some may have no event when the events are a sample."""

    def to_matrix(self, num_items: int) -> sp.csr_matrix:
        """[num_queries, num_items] float32: 1 where the query has the item as a positive, once or more often."""
        shape = (len(self.query_ids), num_items)
        matrix = sp.csr_matrix((np.ones(len(self.item_rows), np.float32), (self.query_codes, self.item_rows)), shape)
        matrix.data[:] = 1.0
        return matrix


def read_pairs(interactions_dir: str, split: str) -> Pairs:
    """Reads the queries and items of a split of encoded (or raw) interactions, in file order."""
    ids, rows = [], []
    for batch in examples.read_batches(examples.list_shards(interactions_dir, split)):
        ids.append(lists.flatten(lists.column(batch, "query_id"), pa.large_binary())[0])
        rows.append(lists.flat(batch, "item_row", pa.int64())[0])
    encoded = pa.chunked_array(ids).combine_chunks().dictionary_encode()
    return Pairs(
        query_codes=encoded.indices.to_numpy().astype(np.int64),
        item_rows=np.concatenate(rows),
        query_ids=encoded.dictionary.to_numpy(zero_copy_only=False),
    )
