"""Who asks: queries of the log by their ids, and whether anything is known of a query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np
import pyarrow as pa
import tensorflow as tf

from recsys_ssl import lists
from recsys_ssl.serving import requests
from recsys_ssl.serving.lookup import Lookup
from recsys_ssl.spec import TIME_INPUTS, VOCABULARY_FEATURES, IdFeature

_ITEM_TIMES = TIME_INPUTS[0]


class Asked(NamedTuple):
    """Queries, and what is known of them."""

    features: pa.RecordBatch
    """[num_queries] lists, a column for each input of the query tower."""
    is_known: list[Optional[bool]]
    """Whether the log has the query, or the catalogue where queries are items; None where it does not say who it is."""
    seen: list[np.ndarray]
    """Of each query the rows that are left out of its recommendations for what it did."""
    histories: list[list[str]]
    """Of each query the items that it says to have chosen."""

    def list_unknown(self, rows: Mapping[str, int], silent: Sequence[str]) -> set[int]:
        """The queries that nothing is known of: no id of the log, no feature, no known item that they chose.

        Args:
            rows: item id -> row, of the histories' items as far as the catalogue has them.
            silent: features that tell nothing by themselves.
        """
        told = np.array([bool(known) for known in self.is_known])
        if told.all():
            return set()
        for name in set(self.features.schema.names) - {*silent, *TIME_INPUTS}:
            told |= lists.flatten(lists.column(self.features, name), pa.large_binary())[1] > 0
        told |= np.array([any(item_id in rows for item_id in history) for history in self.histories], bool)
        return set(np.flatnonzero(~told).tolist())


class QueryReader:
    """Reads queries for a model.

    Attributes:
        specs: the inputs of the query tower.
        silent: of these, the ones whose values tell nothing unless they are known: the query's id, and what it chose.
    """

    def __init__(self, lookup: Lookup, specs: Mapping[str, tf.TensorSpec], item_ids: np.ndarray):
        """Args:
        item_ids: [num_items] bytes, in the order of the rows.
        """
        self._lookup, self.specs, self._item_ids = lookup, specs, item_ids
        spec = lookup.spec
        self._are_items = spec.queries.same_as_items
        features = spec.item_features if self._are_items else spec.query_features
        own = spec.items.id if self._are_items else spec.queries.id
        said = [f for f in features if isinstance(f, VOCABULARY_FEATURES) and f.source_column == own]
        self._said_by_id = [f.name for f in said]
        self._own_ids = [f.name for f in said if isinstance(f, IdFeature)]
        self._sequences = [sequence.name for sequence in spec.item_sequences if sequence.name in specs]
        self.silent = [*self._own_ids, *self._sequences]

    def read(self, features: pa.RecordBatch) -> Asked:
        """Queries by their raw features."""
        none = [np.empty(0, np.int64)] * len(features)
        return Asked(features, self._is_known(features), none, self._list_histories(features))

    def find(self, query_ids: Sequence[str]) -> Asked:
        """Queries of the log by their ids alone, as after their last events.

        Of a query that the log does not have nothing is known but what its id says (features that read that column),
        unless queries are items and the catalogue has it.
        """
        logged = self._lookup.find_queries(query_ids)
        of_items = self._lookup.find_items(query_ids) if self._are_items else {}
        own_rows = self._lookup.find_rows(of_items)
        records, seen = [], []
        for query_id in query_ids:
            record: dict[str, Any] = {name: [query_id.encode("utf-8", "replace")] for name in self._said_by_id}
            record |= of_items.get(query_id, {})
            rows = np.empty(0, np.int64)
            if query_id in logged:
                found = logged[query_id]
                record |= found.record | {name: list(self._item_ids[found.history]) for name in self._sequences}
                record[_ITEM_TIMES], rows = found.times_us.tolist(), found.seen
            records.append(record)
            seen.append(np.union1d(rows, [own_rows[query_id]]).astype(int) if query_id in own_rows else rows)
        features = requests.to_batch(records, self.specs)
        is_known: list[Optional[bool]] = [query_id in logged or query_id in of_items for query_id in query_ids]
        return Asked(features, is_known, seen, self._list_histories(features))

    def _is_known(self, features: pa.RecordBatch) -> list[Optional[bool]]:
        names = [name for name in self._own_ids if name in self.specs][:1]
        if not names:
            return [None] * len(features)
        ids = [own[0] if own else None for own in requests.to_texts(lists.column(features, names[0]))]
        said = [one for one in ids if one is not None]
        known = self._lookup.list_known(said)
        if self._are_items:
            known |= set(self._lookup.find_rows(said))
        return [None if one is None else one in known for one in ids]

    def _list_histories(self, features: pa.RecordBatch) -> list[list[str]]:
        columns = [requests.to_texts(lists.column(features, name)) for name in self._sequences]
        if not columns:
            return [[]] * len(features)
        return [[item_id for one in of_query for item_id in one] for of_query in zip(*columns)]
