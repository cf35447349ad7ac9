"""The best of the catalogue for queries that leave items out: the index first, then exactly where it found too few."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Optional

import numpy as np
import tensorflow as tf

from recsys_ssl.index.best import order_best
from recsys_ssl.serving.eager import to_tensor

# So many items are scored about as fast as an index of a million is searched.
_EXACT_ROWS = 4096
# Of items that pass a filter the index is asked for more than their share, as they may be worse than most.
_OVER_FETCH = 2.0
_BLOCK = 65_536


class Wanted(NamedTuple):
    """What one query may get."""

    barred: np.ndarray
    """[any] rows that it must not get, distinct and ascending."""
    allowed: Optional[np.ndarray] = None
    """[any] the only rows that it may get, distinct and ascending; all when None."""


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


class Found(NamedTuple):
    """What the model says of some queries."""

    outputs: Mapping[str, np.ndarray]
    """Of `embed_query`, [num_queries, ...]."""
    of_index: list[tuple[np.ndarray, np.ndarray]]
    """Of each query the best rows and their dot products; none where scoring all that it may get is as fast."""

    @property
    def vectors(self) -> np.ndarray:
        """[num_queries, dim] float32."""
        return self.outputs["embedding"]


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
        if not hasattr(model, "find") or not hasattr(model, "look_up"):
            raise ValueError("the model must have find and look_up. Received: neither. Export it with this version.")
        self._model = model
        self._find, self._embed = model.find.get_concrete_function(), model.signatures["embed_query"]
        self.num_items = int(model.item_ids.shape[0])

    def find(self, queries: Mapping[str, tf.Tensor], wanted: Sequence[Wanted], k: int, num_hidden: int = 0) -> Found:
        """Embeds queries and asks the index for as many items as they need, in one call of the model.

        Args:
            queries: [num_queries, ...] inputs of `embed_query`.
            wanted: [num_queries] what they may get.
            num_hidden: how many of the barred rows are so for every query, and few of them among its best.
        """
        fetches = [self._choose_fetch(one, k, num_hidden) for one in wanted]
        fetch = max(fetches, default=0)
        outputs = self._find(dict(queries), to_tensor(np.array(fetch, np.int32))) if fetch else self._embed(**queries)
        found = {name: output.numpy() for name, output in outputs.items()}
        nothing = np.empty(0, np.int64), np.empty(0, np.float32)
        if not fetch:
            return Found(found, [nothing] * len(wanted))
        rows, scores = found.pop("rows").astype(np.int64), found.pop("scores")
        is_item = np.isfinite(scores)
        of_index = [(rows[i][is_item[i]], scores[i][is_item[i]]) if fetches[i] else nothing for i in range(len(wanted))]
        return Found(found, of_index)

    def rank(
        self, found: Found, wanted: Sequence[Wanted], k: int, repeats: Sequence[Optional[Repeats]]
    ) -> list[Ranked]:
        """The k best rows of each query, fewer when it may get no more.

        Args:
            found: what `find` says of the queries.
            wanted, repeats: [num_queries] what they may get, and what they chose before.
        """
        ranked = []
        for vector, of_index, one, own in zip(found.vectors, found.of_index, wanted, repeats, strict=True):
            rows, scores = of_index
            kept = ~contains(one.barred, rows)
            if one.allowed is not None:
                kept &= contains(one.allowed, rows)
            rows, scores, is_exact = rows[kept], scores[kept], False
            if len(rows) < min(k, self._count(one)):
                rows, scores = self._score_all(vector, one, k)
                is_exact = True
            if own is not None:
                rows, scores = self._add_repeats(vector, one, own, rows, scores)
            best = order_best(scores, k)
            ranked.append(Ranked(rows[best], scores[best], is_exact))
        return ranked

    def find_nearest(self, row: int, k: int) -> Ranked:
        """The k other items whose vectors have the largest cosine with that of a row."""
        own = self.look_up(np.array([row]))[0]
        return Ranked(*self._score_all(own, Wanted(np.array([row])), k, by_cosine=True), True)

    def look_up(self, rows: np.ndarray) -> np.ndarray:
        """[num_rows, dim] float32 vectors of items."""
        return self._model.look_up(to_tensor(np.asarray(rows, np.int64))).numpy()

    def _count(self, wanted: Wanted) -> int:
        """How many items a query may get."""
        if wanted.allowed is None:
            return self.num_items - len(wanted.barred)
        return len(wanted.allowed) - int(contains(wanted.allowed, wanted.barred).sum())

    def _choose_fetch(self, wanted: Wanted, k: int, num_hidden: int) -> int:
        """How many items to ask the index for; 0 where scoring all that may be is as fast."""
        size = self._count(wanted)
        fetch = k + len(wanted.barred) - num_hidden + min(num_hidden, k)
        if wanted.allowed is not None:
            fetch = math.ceil(_OVER_FETCH * fetch * self.num_items / max(size, 1))
        if wanted.allowed is not None and (size <= _EXACT_ROWS or fetch >= size):
            return 0
        return min(fetch, self.num_items)

    def _score_all(
        self, vector: np.ndarray, wanted: Wanted, k: int, by_cosine: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        rows = np.arange(self.num_items) if wanted.allowed is None else wanted.allowed.astype(np.int64)
        rows = rows[~contains(wanted.barred, rows)]
        best_rows, best_scores = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
        for first in range(0, len(rows), _BLOCK):
            some = rows[first : first + _BLOCK]
            vectors = self.look_up(some)
            scores = vectors @ vector
            if by_cosine:
                lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(vector)
                scores = scores / np.maximum(lengths, np.finfo(np.float32).tiny)
            best = order_best(scores, k)
            best_rows.append(some[best])
            best_scores.append(scores[best])
        rows, scores = np.concatenate(best_rows), np.concatenate(best_scores)
        best = order_best(scores, k)
        return rows[best], scores[best]

    def _add_repeats(
        self, vector: np.ndarray, wanted: Wanted, repeats: Repeats, rows: np.ndarray, scores: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows and scores with those of the items that the query chose before, by what they score for that."""
        may_be = ~contains(wanted.barred, repeats.rows)
        if wanted.allowed is not None:
            may_be &= contains(wanted.allowed, repeats.rows)
        repeats = repeats._replace(rows=repeats.rows[may_be], scores=repeats.scores[may_be])
        if not len(repeats.rows):
            return rows, scores
        others = ~np.isin(rows, repeats.rows)
        own = repeats.add_to(self.look_up(repeats.rows) @ vector)
        return np.concatenate([rows[others], repeats.rows]), np.concatenate([scores[others], own.astype(np.float32)])


def contains(ascending: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """[num_rows] bool: whether each row is among some, which are in order."""
    if not len(ascending):
        return np.zeros(len(rows), bool)
    places = np.minimum(np.searchsorted(ascending, rows), len(ascending) - 1)
    return ascending[places] == rows
