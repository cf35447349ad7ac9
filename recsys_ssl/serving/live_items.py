"""The live catalogue in memory: what a server scores beside the index of its model."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from recsys_ssl.serving.filters import Filter
from recsys_ssl.serving.live import LiveCatalogue, LiveItem
from recsys_ssl.serving.lookup import Lookup

_LOGGER = logging.getLogger(__name__)
_REMEMBERED = 32

Embed = Callable[[Sequence[Mapping[str, list]], np.ndarray], np.ndarray]
"""[num_items] raw records and their rows in the model's catalogue, -1 for new ones -> [num_items, dim] vectors."""


class _Entry(NamedTuple):
    row: int
    """In the model's catalogue; -1 of an item that it does not have."""
    vector: np.ndarray
    record: dict[str, list]


class LiveItems:
    """The live catalogue at one moment; it never changes.

    Attributes:
        number: of the last change that it knows.
        item_ids: [num_live].
        vectors: [num_live, dim] float32.
        rows: [num_live] int64 rows in the model's catalogue of items that were changed; -1 of those that are new.
        hidden: rows of the model's catalogue that were changed or removed, ascending.
        places: item id -> its place among the live ones.
    """

    def __init__(self, number: int, entries: Mapping[str, _Entry], hidden: frozenset[int], dim: int):
        self.number, self.item_ids = number, list(entries)
        self.vectors = np.array([entry.vector for entry in entries.values()], np.float32).reshape(-1, dim)
        self.rows = np.array([entry.row for entry in entries.values()], np.int64)
        self.hidden = np.array(sorted(hidden), np.int64)
        self.places = {item_id: place for place, item_id in enumerate(self.item_ids)}
        self._records = [entry.record for entry in entries.values()]
        self._passing: dict[Filter, np.ndarray] = {}

    def record_of(self, item_id: str) -> dict[str, list]:
        """The raw features of a live item."""
        return self._records[self.places[item_id]]

    def is_new(self, item_id: str) -> bool:
        """Whether an item is live and the model's catalogue has none of its id."""
        return item_id in self.places and self.rows[self.places[item_id]] < 0

    def match(self, conditions: Filter) -> np.ndarray:
        """[num_live] bool: which items pass a filter, see `filters`."""
        found = self._passing.get(conditions)
        if found is None:
            passes = [all(each.holds(record.get(each.feature, [])) for each in conditions) for record in self._records]
            found = np.array(passes, bool)
            if len(self._passing) < _REMEMBERED:
                self._passing[conditions] = found
        return found


class LiveIndex:
    """Follows a live catalogue; threads may share it.

    An item that was added and that the model's own catalogue has by now is the model's: training saw it. What was
    changed or removed stays so.
    """

    def __init__(self, catalogue: LiveCatalogue, lookup: Lookup, embed: Embed, dim: int):
        self.catalogue, self._lookup, self._embed = catalogue, lookup, embed
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._hidden: frozenset[int] = frozenset()
        self._now = LiveItems(0, {}, self._hidden, dim)

    def now(self) -> LiveItems:
        """The items, with every change that was confirmed before this was called."""
        last = self.catalogue.last_number()
        if last <= self._now.number:
            return self._now
        with self._lock:
            if last > self._now.number:
                self._follow(self.catalogue.read_since(self._now.number))
            return self._now

    def _follow(self, items: Sequence[LiveItem]) -> None:
        trained = self._lookup.find_rows(item.item_id for item in items)
        entries, hidden = dict(self._entries), set(self._hidden)
        wanted = []
        for item in items:
            row = trained.get(item.item_id, -1)
            entries.pop(item.item_id, None)
            hidden.discard(row)
            is_trained = row >= 0
            if is_trained and item.state != "added":
                hidden.add(row)
            if item.state == "changed" and not is_trained:
                _LOGGER.error("item %r was changed, but the model has none of this id. Add it.", item.item_id)
            elif item.state == "changed" or (item.state == "added" and not is_trained):
                wanted.append(item)
        records = self._join(wanted, trained)
        rows = np.array([trained.get(item.item_id, -1) for item in wanted], np.int64)
        for item, record, row, vector in zip(wanted, records, rows.tolist(), self._embed_all(wanted, records, rows)):
            if vector is not None:
                entries[item.item_id] = _Entry(row, vector, record)
        self._entries, self._hidden = entries, frozenset(hidden)
        dim = self._now.vectors.shape[1]
        self._now = LiveItems(items[-1].number, entries, self._hidden, dim)

    def _join(self, items: Sequence[LiveItem], trained: Mapping[str, int]) -> list[dict[str, list]]:
        """All features of items: those changed, and the model's own of the others."""
        of_model = self._lookup.find_items(item.item_id for item in items if item.item_id in trained)
        return [of_model.get(item.item_id, {}) | item.record for item in items]

    def _embed_all(
        self, items: Sequence[LiveItem], records: Sequence[dict[str, list]], rows: np.ndarray
    ) -> list[np.ndarray | None]:
        """The vector of each item; None, and a line in the log, where the model cannot read it."""
        if not items:
            return []
        try:
            vectors = list(self._embed(records, rows))
        except (TypeError, ValueError) as error:
            if len(items) > 1:  # find out which
                alone = (self._embed_all([i], [r], rows[n : n + 1]) for n, (i, r) in enumerate(zip(items, records)))
                return [vector for one in alone for vector in one]
            _LOGGER.error("item %r is not recommended: %s", items[0].item_id, error)
            return [None]
        for item, vector in zip(items, vectors):
            if not np.isfinite(vector).all():
                _LOGGER.error("item %r is not recommended: its embedding is not finite", item.item_id)
        return [vector if np.isfinite(vector).all() else None for vector in vectors]
