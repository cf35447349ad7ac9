"""Whether what is served equals what the pipeline computed: logged queries are asked as a client would ask them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

from recsys_ssl import lists
from recsys_ssl.index import embeddings
from recsys_ssl.index.best import order_best
from recsys_ssl.serving.logged_queries import read_queries
from recsys_ssl.serving.ranking import Repeats
from recsys_ssl.serving.recommender import POPULARITY, Answer, Recommender

_QUERIES_PER_REQUEST = 64
# Of exact ranking in the check itself, so that it takes minutes at most for any catalogue.
_MOST_SCORES = 2_000_000_000


class Skew(NamedTuple):
    """How served answers differ from the pipeline's."""

    num_queries: int
    max_abs: float
    """Largest absolute difference of the score that an item is served with from what the embeddings give it; and of an
    exact model, of the score served at each rank from the one that exact ranking has there."""
    num_popular: int
    """Of the queries, those that nothing is known of and that are answered by popularity, which are not compared."""


class _Expected(NamedTuple):
    """What the pipeline knows of one held-out event."""

    vector: np.ndarray
    repeats: Optional[Repeats]
    masked: np.ndarray
    """[any] rows that are left out."""

    def score(self, vectors: np.ndarray, found: np.ndarray) -> np.ndarray:
        """[num_found] float32 scores of the items at some rows."""
        scores = vectors[found] @ self.vector
        return scores if self.repeats is None else self.repeats.add_to_rows(found, scores)


def measure_skew(
    recommender: Recommender,
    items_dir: str | Path,
    queries_dir: str | Path,
    interactions_dir: str | Path,
    is_exact: bool,
    num_queries: int = 10_000,
    k: int = 10,
) -> Skew:
    """Asks for the first held-out events by their raw features, and compares with the embeddings of the pipeline.

    Args:
        items_dir, queries_dir: embeddings of the catalogue and of the test split.
        interactions_dir: the raw example files that the queries were embedded from, in the same order.
        is_exact: whether the model scores every item.
        num_queries: at most; of a catalogue of more than 200,000 items fewer, so that 2 x 10^9 scores are computed.
        k: items in an answer.
    """
    items = embeddings.read_items(items_dir)
    item_ids = [item_id.decode() for item_id in items.item_ids.to_pylist()]
    rows = {item_id: row for row, item_id in enumerate(item_ids)}
    num_queries = min(num_queries, max(1, _MOST_SCORES // len(items.vectors)))
    logged = zip(read_queries(interactions_dir, recommender.lookup), _read_expected(queries_dir, rows))
    count, popular, largest = 0, 0, 0.0
    while part := list(itertools.islice(logged, min(_QUERIES_PER_REQUEST, num_queries - count))):
        asked = {name: [record.get(name) for record, _ in part] for name in recommender.features}
        answers = recommender.recommend(asked, k, [[item_ids[row] for row in each.masked] for _, each in part])
        for answer, (_, each) in zip(answers, part):
            if POPULARITY in answer.flags:
                popular += 1
            else:
                largest = max(largest, _compare(answer, each, items.vectors, rows, k if is_exact else None))
        count += len(part)
    return Skew(count, largest, popular)


def _compare(
    answer: Answer, expected: _Expected, vectors: np.ndarray, rows: Mapping[str, int], k: Optional[int]
) -> float:
    """The largest difference of a score; of the k best of all items too, where k is given."""
    found = np.array([rows[item_id] for item_id in answer.item_ids], np.int64)
    largest = _difference(answer.scores, expected.score(vectors, found))
    if k is not None:
        scores = expected.score(vectors, np.arange(len(vectors)))
        scores[expected.masked] = -np.inf
        best = scores[order_best(scores, k)]
        largest = max(largest, _difference(answer.scores, best[np.isfinite(best)]))
    return largest


def _difference(served: Sequence[float], expected: np.ndarray) -> float:
    if len(served) != len(expected):
        return np.inf
    return float(np.abs(np.asarray(served) - expected).max(initial=0.0))


def _read_expected(queries_dir: str | Path, rows: Mapping[str, int]) -> Iterator[_Expected]:
    """What the pipeline embedded for each held-out event."""
    for table in embeddings.iterate_rows(queries_dir, None):
        vectors, masked = lists.to_vectors(table[embeddings.VECTOR]), table["seen_rows"].to_pylist()
        repeats = [table[name].to_pylist() for name in embeddings.REPEATS if name in table.column_names]
        for event, vector in enumerate(vectors):
            of_event = None
            if repeats:
                ids, scores, temperature = (column[event] for column in repeats)
                own = np.array([rows[item_id.decode()] for item_id in ids], np.int64)
                of_event = Repeats(own, np.array(scores, np.float32), temperature)
            yield _Expected(vector, of_event, np.array(masked[event] or [], np.int64))
