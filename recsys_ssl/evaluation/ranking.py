"""Exact ranking of the whole catalogue, a block of queries at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Optional

import numpy as np
import scipy.sparse as sp

from recsys_ssl import lists
from recsys_ssl.evaluation.queries import RankingTask
from recsys_ssl.evaluation.repeats import Repeats

TOP_K = 50
_BLOCK_BYTES = 256 * 2**20

Progress = Callable[[int, int], None]
"""Called with the rankings done and the rankings in all."""


@dataclass(frozen=True)
class Ranked:
    """What one arm makes of a task: 8 bytes a held-out pair and 4 * k bytes a ranking."""

    ranks: np.ndarray
    """[num_pairs] float64, 1 is best; aligned with `RankingTask.positive_rows`."""
    top_rows: np.ndarray
    """[num_rankings, k] int32 catalogue rows, best first; -1 where fewer than k items are eligible."""


def rank(
    task: RankingTask,
    query_vectors: np.ndarray,
    item_vectors: np.ndarray,
    k: int = TOP_K,
    block_bytes: int = _BLOCK_BYTES,
    progress: Optional[Progress] = None,
    repeats: Optional[Repeats] = None,
) -> Ranked:
    """Ranks the whole catalogue for every ranking of a task by dot product, and by what was chosen before.

    The rank of a held-out item is 1 + (items scored higher) + (half of the other items scored equal): the mean of
    its place over all orders of the tied items, so a constant score earns no more than chance. Where m held-out
    items of one ranking tie with e others, the j-th of them takes its expected place j * (m + e + 1) / (m + 1); for
    m = 1 this is the same rule, and held-out items never share a place. Masked items are out.

    Memory: the vectors of both sides, and one block of scores of at most `block_bytes` (but at least one row of
    4 * num_items bytes).

    Args:
        query_vectors: [num_rankings, dim] float32.
        item_vectors: [num_items, dim] float32.
        k: length of the lists of top items; ties are listed by catalogue row.
        block_bytes: bound of the block of scores.
        progress: called after each block.
        repeats: of the same rankings; None: by dot product alone.

    Raises:
        ValueError: shapes disagree, or scores could be NaN or infinite.
    """
    if query_vectors.shape != (task.num_rankings, item_vectors.shape[1]) or len(item_vectors) != task.num_items:
        raise ValueError(
            f"{task.num_rankings} rankings and {task.num_items} items need one vector each, of one dimension. "
            f"Received: queries {query_vectors.shape}, items {item_vectors.shape}. Embed the split that the task is of."
        )
    query_norm, item_norm = _largest_norm(query_vectors), _largest_norm(item_vectors)
    # |q.v| <= |q||v| also holds for partial sums, so this one check keeps NaN and infinity out of all scores.
    if not query_norm * item_norm < float(np.finfo(np.float32).max) / 2:
        raise ValueError(
            f"embeddings must be finite. Received largest norms: queries {query_norm}, items {item_norm}. "
            "Train with a smaller learning rate or normalise the towers."
        )
    if repeats is not None:
        repeats.check(task.num_rankings, task.num_items)
    transposed = np.ascontiguousarray(item_vectors.T, dtype=np.float32)
    queries = np.ascontiguousarray(query_vectors, dtype=np.float32)

    def score(start: int, stop: int, out: np.ndarray) -> None:
        np.matmul(queries[start:stop], transposed, out=out)
        if repeats is not None:
            repeats.merge(start, stop, out)

    return _rank_blocks(task, score, k, block_bytes, progress)


def rank_by_popularity(
    task: RankingTask,
    train_counts: np.ndarray,
    k: int = TOP_K,
    block_bytes: int = _BLOCK_BYTES,
    progress: Optional[Progress] = None,
) -> Ranked:
    """Ranks by the training count, the same order for every query but for its masked items: the floor to beat.

    Args:
        train_counts: [num_items] int, training positives of each item.
    """
    if len(train_counts) != task.num_items:
        raise ValueError(
            f"train_counts must have one count per item. Received {len(train_counts)} for {task.num_items} items. "
            "Read them from the item embeddings."
        )
    # Dense codes keep the order and are exact in float32 up to 2^24 distinct counts.
    codes = np.unique(train_counts, return_inverse=True)[1].astype(np.float32)

    def score(start: int, stop: int, out: np.ndarray) -> None:
        out[:] = codes

    return _rank_blocks(task, score, k, block_bytes, progress)


def rank_by_own(
    task: RankingTask,
    own: sp.csr_matrix,
    train_counts: np.ndarray,
    owner: Optional[np.ndarray] = None,
    k: int = TOP_K,
    block_bytes: int = _BLOCK_BYTES,
    progress: Optional[Progress] = None,
) -> Ranked:
    """Ranks by what each query has of an item itself, then by popularity: the floor where queries choose again.

    Memory: 32 bytes a stored value, besides one block of scores.

    Args:
        own: [num_owners, num_items], such as how often the query chose the item; a stored value is positive.
        train_counts: [num_items] int, training positives of each item, which order equal values and all other items.
        owner: [num_rankings] int64 row of `own` of each ranking; None: each ranking has a row of its own.

    Raises:
        ValueError: `own` is not of the task, or a stored value is not positive.
    """
    owner = np.arange(task.num_rankings) if owner is None else owner
    if len(owner) != task.num_rankings or owner.max(initial=-1) >= own.shape[0]:
        raise ValueError(
            f"{task.num_rankings} rankings need a row of own values each. Received: {len(owner)} rankings with rows up "
            f"to {owner.max(initial=-1)} of {own.shape[0]}. Count for the rankings of the task."
        )
    if not own.shape[1] == len(train_counts) == task.num_items:
        raise ValueError(
            f"{task.num_items} items need own values and a training count each. Received: {own.shape[1]} and "
            f"{len(train_counts)}. Count the items of the catalogue."
        )
    if own.nnz and not own.data.min() > 0:
        raise ValueError(f"a stored own value must be positive. Received: {own.data.min()}. Leave out what is 0.")
    codes = np.unique(train_counts, return_inverse=True)[1]
    num_codes = int(codes.max()) + 1
    # Both orders as one dense code each: exact in float32 up to 2^24 distinct values together.
    values = np.unique(own.data, return_inverse=True)[1]
    owned = num_codes + np.unique(values * num_codes + codes[own.indices], return_inverse=True)[1]
    scores = sp.csr_matrix((owned.astype(np.float32), own.indices, own.indptr), own.shape)
    codes = codes.astype(np.float32)

    def score(start: int, stop: int, out: np.ndarray) -> None:
        out[:] = codes
        block = scores[owner[start:stop]]
        out[lists.owners(np.diff(block.indptr)), block.indices] = block.data

    return _rank_blocks(task, score, k, block_bytes, progress)


def rank_by_scores(
    task: RankingTask,
    score: Callable[[int, int, np.ndarray], None],
    k: int = TOP_K,
    block_bytes: int = _BLOCK_BYTES,
    progress: Optional[Progress] = None,
) -> Ranked:
    """Ranks by any model that scores the whole catalogue, under the rules of `rank`.

    Args:
        score: `score(start, stop, out)` fills `out` [stop - start, num_items] float32 with the scores of the rankings
            start..stop-1; `out` holds other rankings' scores when it comes.

    Raises:
        ValueError: a score is NaN or infinite.
    """

    def score_finite(start: int, stop: int, out: np.ndarray) -> None:
        score(start, stop, out)
        if not np.isfinite(out).all():
            raise ValueError(
                f"scores must be finite. Received NaN or infinity in the rankings {start}..{stop - 1}. "
                "Give an item that must come last a low finite score."
            )

    return _rank_blocks(task, score_finite, k, block_bytes, progress)


def _largest_norm(vectors: np.ndarray) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64).max(initial=0.0)))


def _rank_blocks(
    task: RankingTask,
    score: Callable[[int, int, np.ndarray], None],
    k: int,
    block_bytes: int,
    progress: Optional[Progress],
) -> Ranked:
    num_rows = min(task.num_rankings, max(1, block_bytes // (4 * task.num_items)))
    block = np.empty((num_rows, task.num_items), np.float32)
    ranking_of_pair = task.ranking_of_pair
    pair_scores = np.empty(task.num_pairs, np.float32)
    higher, equal = np.empty(task.num_pairs, np.int64), np.empty(task.num_pairs, np.int64)
    top_rows = np.full((task.num_rankings, k), -1, np.int32)
    for start in range(0, task.num_rankings, num_rows):
        stop = min(start + num_rows, task.num_rankings)
        scores = block[: stop - start]
        score(start, stop, scores)
        for ranking in range(start, stop):
            row = scores[ranking - start]
            row[task.masked_rows[task.masked_offsets[ranking] : task.masked_offsets[ranking + 1]]] = -np.inf
            top = _top_rows(row, k)
            top_rows[ranking, : len(top)] = top
        # A 1-D comparison and count is one SIMD pass over the items, twice as fast as any reduction along an axis
        # of a block; the interpreter's two microseconds a pair are small beside it.
        for pair in range(task.positive_offsets[start], task.positive_offsets[stop]):
            row = scores[ranking_of_pair[pair] - start]
            held_out = row[task.positive_rows[pair]]
            pair_scores[pair] = held_out
            higher[pair] = np.count_nonzero(row > held_out)
            equal[pair] = np.count_nonzero(row == held_out)
        if progress is not None:
            progress(stop, task.num_rankings)
    return Ranked(_resolve_ties(ranking_of_pair, pair_scores, higher, equal), top_rows)


def _top_rows(scores: np.ndarray, k: int) -> np.ndarray:
    """Rows of the k highest scores, best first, ties by row; items scored -inf are left out.

    The k-th highest of the maxima of disjoint chunks bounds the k-th highest score from below, so every item of the
    answer, ties included, is among the few that reach it. Three times as fast as argpartition, which also would
    break ties at random.
    """
    chunk = max(1, len(scores) // (8 * k))
    maxima = np.maximum.reduceat(scores, np.arange(0, len(scores), chunk))
    bound = np.partition(maxima, len(maxima) - k)[len(maxima) - k] if len(maxima) > k else -np.inf
    candidates = np.flatnonzero(scores >= bound)
    best = candidates[np.argsort(-scores[candidates], kind="stable")[:k]]
    return best[scores[best] > -np.inf]


def _resolve_ties(ranking: np.ndarray, scores: np.ndarray, higher: np.ndarray, equal: np.ndarray) -> np.ndarray:
    """[num_pairs] ranks from the items scored higher and equal (the pair itself included); see `rank`."""
    if not len(ranking):
        return np.empty(0, np.float64)
    order = np.lexsort((-scores, ranking))
    opens = np.ones(len(order), bool)
    opens[1:] = (ranking[order][1:] != ranking[order][:-1]) | (scores[order][1:] != scores[order][:-1])
    starts = np.flatnonzero(opens)
    run = np.cumsum(opens) - 1
    num_tied = np.diff(np.append(starts, len(order)))[run]
    place = np.arange(len(order)) - starts[run] + 1
    ranks = np.empty(len(order), np.float64)
    ranks[order] = higher[order] + place * (equal[order] + 1) / (num_tied + 1)
    return ranks
