"""Baselines without a neural net, ranked over the whole catalogue by the rules of every other arm.

Each of `BASELINES` maps (train, profiles, task, train_counts, settings, seed) to a `Ranked`. Those that learn read the
training positives as a binary matrix of queries and items, but for SASRec, which reads sequences; all of them know a
held-out query by its profile alone.
A ranking whose profile holds no item with a training positive has nothing to go by: every baseline then ranks by
popularity. Items without a training positive ("untrained") tie, at a place that each function states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import scipy.sparse as sp
from implicit.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import ItemItemRecommender, bm25_weight, normalize, tfidf_weight
from scipy.linalg import lapack
from threadpoolctl import threadpool_limits

from recsys_ssl import ials
from recsys_ssl.baselines.lightgcn import fit_lightgcn
from recsys_ssl.baselines.profiles import Profiles, find_queries
from recsys_ssl.baselines.sasrec import fit_sasrec
from recsys_ssl.baselines.settings import complete
from recsys_ssl.evaluation.queries import RankingTask
from recsys_ssl.evaluation.ranking import Ranked, rank, rank_by_own, rank_by_popularity, rank_by_scores
from recsys_ssl.pairs import Pairs

_LAST = -1e9  # the score of an item that must come last; far below what any baseline yields
_BLOCK = 2048


# --- Without a model ------------------------------------------------------------------------------------


def _rank_popular(train, profiles, task, train_counts, settings, seed) -> Ranked:
    """Ranks by the training count; untrained items last."""
    complete("popular", settings)
    return rank_by_popularity(task, train_counts)


def _rank_own_counts(train, profiles, task, train_counts, settings, seed) -> Ranked:
    """Ranks by how often the query chose the item, then by the training count: what was bought will be bought."""
    complete("own_counts", settings)
    return rank_by_own(task, profiles.to_counts(), train_counts)


def _rank_most_recent(train, profiles, task, train_counts, settings, seed) -> Ranked:
    """Ranks by how late the query chose the item last, then by the training count; needs a log with time."""
    complete("most_recent", settings)
    return rank_by_own(task, profiles.to_places(), train_counts)


def _find_strangers(known: sp.csr_matrix, trained: np.ndarray) -> np.ndarray:
    """[num_rankings] bool, whether no item of the profile is trained."""
    return known @ trained.astype(np.float32) == 0


def _popularity_score(train_counts: np.ndarray) -> np.ndarray:
    """[num_items] float32 with the order of the counts, 0 for the least."""
    return np.unique(train_counts, return_inverse=True)[1].astype(np.float32)


# --- Neighbours -----------------------------------------------------------------------------------------

_WEIGHTS: Mapping[str, Callable[[sp.csr_matrix], sp.spmatrix]] = {
    "cosine": lambda matrix: normalize(matrix.T).T,
    "tfidf": lambda matrix: normalize(tfidf_weight(matrix.T)).T,
    "bm25": lambda matrix: bm25_weight(matrix.T, K1=1.2, B=0.75).T,
    "cooccurrence": lambda matrix: matrix,
}
"""[num_queries, num_items] positives -> weights, whose inner products by item are the similarity."""


def _rank_itemknn(train, profiles, task, train_counts, settings, seed) -> Ranked:
    """Ranks by the summed similarity to the items of the profile.

    score(q, i) = sum_{j in profile(q), i in N(j)} similarity(j, i) with the `num_neighbours` nearest items N(j), j
    itself among them; `all` is every item that shares a query with j. Untrained items and those near no item of the
    profile score 0, the lowest score.

    References:
        Deshpande and Karypis 2004, "Item-based top-N recommendation algorithms".
    """
    settings = complete("itemknn", settings)
    if settings["similarity"] not in _WEIGHTS:
        raise ValueError(f"similarity must be one of {sorted(_WEIGHTS)}. Received: {settings['similarity']!r}.")
    matrix = train.to_matrix(task.num_items)
    weighted = _WEIGHTS[settings["similarity"]](matrix.astype(np.float64)).tocsr()
    similarity = _nearest(weighted, settings["num_neighbours"]).astype(np.float32)
    known = profiles.to_matrix()
    strangers, popularity = _find_strangers(known, matrix.getnnz(axis=0) > 0), _popularity_score(train_counts)

    def score(start: int, stop: int, out: np.ndarray) -> None:
        (known[start:stop] @ similarity).toarray(out=out)
        out[strangers[start:stop]] = popularity

    return rank_by_scores(task, score)


def _nearest(weighted: sp.csr_matrix, num_neighbours: int | str) -> sp.csr_matrix:
    """[num_items, num_items] inner products of the columns, in each row the largest or all.

    Memory: 16 bytes for each of `num_neighbours` of each column that is not 0, or 12 for each product that is not 0.
    """
    trained = np.flatnonzero(weighted.getnnz(axis=0))
    shape = (len(trained), weighted.shape[1])
    place = sp.csr_matrix((np.ones(len(trained)), (np.arange(len(trained)), trained)), shape)
    columns = weighted[:, trained]
    if num_neighbours == "all":
        similarity = columns.T @ columns
    else:
        model = ItemItemRecommender(K=min(num_neighbours, max(len(trained), 1)), num_threads=1)
        model.fit(columns, show_progress=False)
        similarity = model.similarity
    return (place.T @ similarity @ place).tocsr()


# --- EASE -----------------------------------------------------------------------------------------------


def _rank_ease(train, profiles, task, train_counts, settings, seed) -> Ranked:
    """Ranks by EASE, the ridge regression of each item on all others.

    With the training matrix X and P = (X'X + l2 I)^-1, the weights are B_ij = -P_ij / P_jj off the diagonal and 0 on
    it, so a profile p scores p_j - (pP)_j / P_jj. When X has fewer queries than items, pP comes from the smaller
    matrix of queries: P = (I - X'(XX' + l2 I)^-1 X) / l2. Untrained items come last.

    The dense matrix has the smaller side of X squared numbers. With dtype `auto` they are of float64 where that fits in
    `max_gib`, else of float32.

    Raises:
        ValueError: the dense matrix needs more than `max_gib`.

    References:
        Steck 2019, arXiv:1905.03375, Eq. (8).
    """
    settings = complete("ease", settings)
    matrix = train.to_matrix(task.num_items)
    trained = np.flatnonzero(matrix.getnnz(axis=0))
    matrix = matrix[matrix.getnnz(axis=1) > 0][:, trained]
    side = min(matrix.shape)
    dtype = _choose_dtype(side, settings["dtype"], settings["max_gib"])
    matrix = matrix.astype(dtype)
    multiply, diagonal = (_invert_items if side == matrix.shape[1] else _invert_queries)(matrix, settings["l2"])
    known = profiles.to_matrix()[:, trained].astype(dtype)
    strangers, popularity = known.getnnz(axis=1) == 0, _popularity_score(train_counts)

    def score(start: int, stop: int, out: np.ndarray) -> None:
        block = known[start:stop]
        out.fill(_LAST)
        out[:, trained] = block.toarray() - multiply(block) / diagonal
        out[strangers[start:stop]] = popularity

    return rank_by_scores(task, score, block_bytes=64 * 2**20)


def _choose_dtype(side: int, wanted: str, max_gib: float) -> np.dtype:
    kinds = [np.dtype(kind) for kind in (("float64", "float32") if wanted == "auto" else (wanted,))]
    for kind in kinds:
        if side**2 * kind.itemsize <= max_gib * 2**30:
            return kind
    num_bytes = side**2 * kinds[-1].itemsize
    raise ValueError(
        f"EASE's dense matrix must fit in max_gib={max_gib}. Received: {side} queries or items with training "
        f"positives, the fewer of the two: {num_bytes} bytes ({num_bytes / 2**30:.1f} GiB) of {kinds[-1]}. Raise "
        "max_gib, set dtype to auto or leave EASE out."
    )


_Multiply = Callable[[sp.csr_matrix], np.ndarray]


def _invert_items(matrix: sp.csr_matrix, l2: float) -> tuple[_Multiply, np.ndarray]:
    """The function p -> pP and the diagonal of P, from the dense P."""
    inverse = _invert(matrix.T @ matrix, l2)
    return lambda profiles: profiles @ inverse, inverse.diagonal().copy()


def _invert_queries(matrix: sp.csr_matrix, l2: float) -> tuple[_Multiply, np.ndarray]:
    """The same as `_invert_items`, from the dense (XX' + l2 I)^-1."""
    inverse, transposed = _invert(matrix @ matrix.T, l2), matrix.T.tocsr()
    leverage = np.empty(matrix.shape[1], inverse.dtype)
    for start in range(0, len(leverage), _BLOCK):
        columns = transposed[start : start + _BLOCK]
        leverage[start : start + _BLOCK] = np.asarray(columns.multiply(columns @ inverse).sum(axis=1)).ravel()

    def multiply(profiles: sp.csr_matrix) -> np.ndarray:
        return (profiles.toarray() - ((profiles @ transposed).toarray() @ inverse) @ matrix) / l2

    return multiply, (1.0 - leverage) / l2


def _invert(gram: sp.spmatrix, l2: float) -> np.ndarray:
    """(gram + l2 I)^-1 of a symmetric matrix, within the memory of one dense matrix; rows are contiguous.

    On one thread: with AVX-512 and two, OpenBLAS 0.3.21 ends in a segmentation fault from 16,000 rows of float64 on.
    """
    dense = gram.toarray(order="F")
    dense[np.diag_indices_from(dense)] += l2
    factorize, invert = lapack.get_lapack_funcs(("potrf", "potri"), (dense,))
    with threadpool_limits(1, "blas"):
        factor, failed = factorize(dense, lower=True, clean=False, overwrite_a=True)
        inverse, failed = (factor, failed) if failed else invert(factor, lower=True, overwrite_c=True)
    if failed:
        raise ValueError(f"gram + l2 I must be positive definite. Received l2={l2} in {dense.dtype}. Use a larger l2.")
    for start in range(0, len(inverse), _BLOCK):  # LAPACK fills the lower triangle only
        stop = min(start + _BLOCK, len(inverse))
        corner = np.tril(inverse[start:stop, start:stop])
        inverse[start:stop, start:stop] = corner + np.tril(corner, -1).T
        inverse[start:stop, stop:] = inverse[stop:, start:stop].T
    return inverse.T


# --- Matrix factorisation -------------------------------------------------------------------------------


def _rank_ials(train, profiles, task, train_counts, settings, seed) -> Ranked:
    """Ranks by iALS, see `recsys_ssl.ials`.

    Every profile is folded in: its vector is the least-squares solution for the trained item factors. An untrained
    item has the zero vector, so it scores 0, the model's own "no preference", above items predicted below that.
    """
    own = ials.Settings(**complete("ials", settings))
    matrix, known = train.to_matrix(task.num_items), profiles.to_matrix()
    with threadpool_limits(1, "blas"):
        item_vectors = ials.fit(matrix, own, seed)[1]
        vectors = ials.fold_in(known, item_vectors, own)
    trained = matrix.getnnz(axis=0) > 0
    return _rank_vectors(task, vectors, item_vectors, None, _find_strangers(known, trained), train_counts)


def _rank_bpr(train, profiles, task, train_counts, settings, seed) -> Ranked:
    """Ranks by a factorisation that learns to place a query's positives above items drawn from other positives.

    A query with training positives has the factors that it learnt, whatever else its profile holds; any other takes
    the mean factors of the trained items of its profile. Untrained items come last: their zero vector would stand
    above every item of negative score.

    References:
        Rendle et al. 2009, arXiv:1205.2618.
    """
    settings = complete("bpr", settings)
    matrix = train.to_matrix(task.num_items)
    model = BayesianPersonalizedRanking(**settings, num_threads=1, random_state=seed)
    model.fit(matrix, show_progress=False)
    trained, known = matrix.getnnz(axis=0) > 0, profiles.to_matrix()
    vectors = _average(known, model.item_factors, trained)
    codes = find_queries(task, train)
    learnt = (codes >= 0) & (matrix.getnnz(axis=1)[codes] > 0)
    vectors[learnt] = model.user_factors[codes[learnt]]
    vectors[:, -1] = 1.0  # the last factor of an item is its bias
    return _rank_vectors(task, vectors, model.item_factors, trained, _find_strangers(known, trained), train_counts)


def _rank_lightgcn(train, profiles, task, train_counts, settings, seed) -> Ranked:
    """Ranks by LightGCN, see `lightgcn.fit_lightgcn`; unknown queries as in BPR, untrained items come last."""
    query_vectors, item_vectors = fit_lightgcn(
        train.query_codes,
        train.item_rows,
        len(train.query_ids),
        len(train_counts),
        complete("lightgcn", settings),
        seed,
    )
    trained, known = train_counts > 0, profiles.to_matrix()
    vectors = _average(known, item_vectors, trained)
    codes = find_queries(task, train)
    learnt = (codes >= 0) & (np.bincount(train.query_codes, minlength=len(train.query_ids))[codes] > 0)
    vectors[learnt] = query_vectors[codes[learnt]]
    return _rank_vectors(task, vectors, item_vectors, trained, _find_strangers(known, trained), train_counts)


def _average(known: sp.csr_matrix, item_vectors: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """[num_rankings, dim], the mean vector of the trained items of each profile; 0 where there is none."""
    num_trained = known @ trained.astype(np.float32)
    return (known @ (item_vectors * trained[:, np.newaxis])) / np.maximum(num_trained, 1.0)[:, np.newaxis]


def _rank_vectors(
    task: RankingTask,
    query_vectors: np.ndarray,
    item_vectors: np.ndarray,
    trained: np.ndarray | None,
    strangers: np.ndarray,
    train_counts: np.ndarray,
) -> Ranked:
    """Ranks by dot product, strangers by popularity, and the items that are not `trained` last (None: where they are).

    One more coordinate says which ranking is a stranger's and has the popularity, another which item comes last.
    """
    last = np.zeros(task.num_items) if trained is None else np.where(trained, 0.0, _LAST)
    vectors = np.where(strangers[:, np.newaxis], 0.0, query_vectors)
    return rank(
        task,
        np.column_stack([vectors, strangers, np.ones(len(vectors))]).astype(np.float32),
        np.column_stack([item_vectors, _popularity_score(train_counts), last]).astype(np.float32),
    )


# --- Sequences ------------------------------------------------------------------------------------------


def _rank_sasrec(train, profiles, task, train_counts, settings, seed) -> Ranked:
    """Ranks by SASRec, see `sasrec.fit_sasrec`: trained on the training sequences, asked for what follows a profile.

    Items of no training sequence have no vector: as a part of a profile they are skipped, in a ranking they come last.
    """
    settings = complete("sasrec", settings)
    if not profiles.has_time:
        raise ValueError("SASRec needs a log with time. Received: one without. Leave the arm out.")
    rows, offsets = train.in_order()
    query_vectors, item_vectors, known_items = fit_sasrec(
        rows, offsets, profiles.rows, profiles.offsets, task.num_items, settings, seed
    )
    strangers = _find_strangers(profiles.to_matrix(), known_items)
    return _rank_vectors(task, query_vectors, item_vectors, known_items, strangers, train_counts)


# --- The table ------------------------------------------------------------------------------------------

Baseline = Callable[[Pairs, Profiles, RankingTask, np.ndarray, Mapping[str, Any], int], Ranked]
"""(train, profiles, task, train_counts [num_items], settings, seed) -> ranks."""

BASELINES: Mapping[str, Baseline] = MappingProxyType(
    {
        "popular": _rank_popular,
        "own_counts": _rank_own_counts,
        "most_recent": _rank_most_recent,
        "itemknn": _rank_itemknn,
        "ease": _rank_ease,
        "ials": _rank_ials,
        "bpr": _rank_bpr,
        "lightgcn": _rank_lightgcn,
        "sasrec": _rank_sasrec,
    }
)
