"""The queries of held-out events, as clients would ask them: by raw features."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from recsys_ssl import examples, lists
from recsys_ssl.serving.lookup import Lookup


def read_queries(interactions_dir: str | Path, lookup: Lookup) -> Iterator[dict[str, list]]:
    """Yields the raw features of each test event's query, in order, and more that the examples have.

    Args:
        interactions_dir: raw example files.
        lookup: has the features of queries that are items.
    """
    for batch in examples.read_batches(examples.list_shards(interactions_dir, "test")):
        if lookup.spec.queries.same_as_items:
            ids = [query_id.decode() for query_id in lists.flat(batch, "query_id", pa.large_binary())[0]]
            found = lookup.find_items(ids)
            yield from (found[query_id] for query_id in ids)
        else:
            yield from (lists.record(batch, row) for row in range(len(batch)))
