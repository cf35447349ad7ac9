"""The best of the catalogue for queries that leave items out: the index first, then exactly where it found too few."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple, Optional

import numpy as np
import tensorflow as tf

from recsys_ssl.index.best import order_best

# So many items are scored about as fast as an index of a million is searched.
_EXACT_ROWS = 4096
# Of items that pass a filter the index is asked for more than their share, as they may be worse than most.
_OVER_FETCH = 2.0
_BLOCK = 65_536


class Wanted(NamedTuple):
    """What one query asks for."""

    vector: np.ndarray
    """[dim] float32."""
    barred: np.ndarray
    """[any] rows that it must not get, distinct and ascending."""
    allowed: Optional[np.ndarray] = None
    """[any] the only rows that it may get, distinct and ascending; all when None."""
    repeats: Optional[Repeats] = None


class Repeats(NamedTuple):
    """Items that a query chose before and what they score for that, see `training.export.export_towers`."""

    rows: np.ndarray
    """[num_repeats] distinct rows."""
    scores: np.ndarray
    """[num_repeats] float32."""
    temperature: float

    def add_to(self, scores: np.ndarray) -> np.ndarray:
        """[num_repeats] the scores of the items as ones chosen before, of their dot products.

        T log(e^(s / T) + e^(r / T)).
        """
        return self.temperature * np.logaddexp(scores / self.temperature, self.scores / self.temperature)

    def add_to_rows(self, rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """[num_rows] the same of any items, by their dot products; those that it did not choose keep these."""
        own = {row: place for place, row in enumerate(self.rows.tolist())}
        chosen = np.flatnonzero(np.isin(rows, self.rows))
        some = self._replace(scores=self.scores[[own[row] for row in rows[chosen].tolist()]])
        scores = scores.copy()
        scores[chosen] = some.add_to(scores[chosen])
        return scores


class Ranked(NamedTuple):
    """The best rows and their scores, best first."""

    rows: np.ndarray
    scores: np.ndarray
    is_exact: bool
    """Whether every item that the query may get was scored, because these are few or the index found too few."""


class Ranker:
    """Searches the index of a model of `export`; threads may share it."""

    def __init__(self, model):
        """
        Raises:
            ValueError: an earlier version exported the model.
        """
        if not hasattr(model, "search") or not hasattr(model, "look_up"):
            raise ValueError("the model must have search and look_up. Received: neither. Export it with this version.")
        self._model = model
        self.num_items = int(model.item_ids.shape[0])

    def rank(self, queries: list[Wanted], k: int, num_hidden: int = 0) -> list[Ranked]:
        """The k best rows of each query, fewer when it may get no more.

        Args:
            num_hidden: how many of the barred rows are so for every query, and few of them among its best.
        """
        sizes = [self._count(wanted) for wanted in queries]
        fetches = [self._choose_fetch(wanted, k, size, num_hidden) for wanted, size in zip(queries, sizes)]
        asked = [i for i, fetch in enumerate(fetches) if fetch]
        found = (
            dict(zip(asked, self._search(np.stack([queries[i].vector for i in asked]), max(fetches)))) if asked else {}
        )
        ranked = []
        for i, (wanted, size) in enumerate(zip(queries, sizes)):
            rows, scores = found.get(i, (np.empty(0, np.int64), np.empty(0, np.float32)))
            kept = ~contains(wanted.barred, rows)
            if wanted.allowed is not None:
                kept &= contains(wanted.allowed, rows)
            rows, scores, is_exact = rows[kept], scores[kept], False
            if len(rows) < min(k, size):
                rows, scores = self._score_all(wanted, k)
                is_exact = True
            ranked.append(Ranked(*self._add_repeats(wanted, rows, scores, k), is_exact))
        return ranked

    def look_up(self, rows: np.ndarray) -> np.ndarray:
        """[num_rows, dim] float32 vectors of items."""
        return self._model.look_up(tf.constant(rows, tf.int64)).numpy()

    def _count(self, wanted: Wanted) -> int:
        """How many items a query may get."""
        if wanted.allowed is None:
            return self.num_items - len(wanted.barred)
        return len(wanted.allowed) - int(contains(wanted.allowed, wanted.barred).sum())

    def _choose_fetch(self, wanted: Wanted, k: int, size: int, num_hidden: int) -> int:
        """How many items to ask the index for; 0 where scoring all that may be is as fast."""
        fetch = k + len(wanted.barred) - num_hidden + min(num_hidden, k)
        if wanted.allowed is not None:
            fetch = math.ceil(_OVER_FETCH * fetch * self.num_items / max(size, 1))
        if wanted.allowed is not None and (size <= _EXACT_ROWS or fetch >= size):
            return 0
        return min(fetch, self.num_items)

    def _search(self, vectors: np.ndarray, fetch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        scores, rows = self._model.search(tf.constant(vectors), tf.constant(fetch))
        scores, rows = scores.numpy(), rows.numpy().astype(np.int64)
        is_item = np.isfinite(scores)
        return ((rows[i][is_item[i]], scores[i][is_item[i]]) for i in range(len(vectors)))

    def _score_all(self, wanted: Wanted, k: int) -> tuple[np.ndarray, np.ndarray]:
        rows = np.arange(self.num_items) if wanted.allowed is None else wanted.allowed.astype(np.int64)
        rows = rows[~contains(wanted.barred, rows)]
        best_rows, best_scores = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
        for first in range(0, len(rows), _BLOCK):
            some = rows[first : first + _BLOCK]
            scores = self.look_up(some) @ wanted.vector
            best = order_best(scores, k)
            best_rows.append(some[best])
            best_scores.append(scores[best])
        rows, scores = np.concatenate(best_rows), np.concatenate(best_scores)
        best = order_best(scores, k)
        return rows[best], scores[best]

    def _add_repeats(
        self, wanted: Wanted, rows: np.ndarray, scores: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best, items that the query chose before with what they score for that."""
        repeats = wanted.repeats
        if repeats is not None:
            may_be = ~contains(wanted.barred, repeats.rows)
            if wanted.allowed is not None:
                may_be &= contains(wanted.allowed, repeats.rows)
            repeats = repeats._replace(rows=repeats.rows[may_be], scores=repeats.scores[may_be])
        if repeats is not None and len(repeats.rows):
            others = ~np.isin(rows, repeats.rows)
            own = repeats.add_to(self.look_up(repeats.rows) @ wanted.vector)
            rows = np.concatenate([rows[others], repeats.rows])
            scores = np.concatenate([scores[others], own.astype(np.float32)])
        best = order_best(scores, k)
        return rows[best], scores[best]


def contains(ascending: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """[num_rows] bool: whether each row is among some, which are in order."""
    if not len(ascending):
        return np.zeros(len(rows), bool)
    places = np.minimum(np.searchsorted(ascending, rows), len(ascending) - 1)
    return ascending[places] == rows
