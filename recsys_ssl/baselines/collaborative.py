"""Baselines without a neural net, ranked over the whole catalogue by the rules of every other arm.

Each of `BASELINES` maps (train, profiles, task, train_counts, settings, seed) to a `Ranked`. All of them read the
training positives as a binary matrix of queries and items, and know a held-out query by its profile alone.
A ranking whose profile holds no item with a training positive has nothing to go by: every baseline then ranks by
popularity. Items without a training positive ("untrained") tie, at a place that each function states.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from implicit.bpr import BayesianPersonalizedRanking
from implicit.cpu.als import AlternatingLeastSquares
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, ItemItemRecommender, TFIDFRecommender
from implicit.utils import ParameterWarning
from scipy.linalg import lapack
from threadpoolctl import threadpool_limits

from recsys_ssl import examples, lists
from recsys_ssl.baselines.lightgcn import fit_lightgcn
from recsys_ssl.baselines.settings import complete
from recsys_ssl.evaluation.queries import RankingTask
from recsys_ssl.evaluation.ranking import Ranked, rank, rank_by_popularity, rank_by_scores
from recsys_ssl.pairs import Pairs
from recsys_ssl.spec import FeatureSpec

_LAST = -1e9  # the score of an item that must come last; far below what any baseline yields
_BLOCK = 2048


# --- Profiles -------------------------------------------------------------------------------------------


def build_profiles(
    spec: FeatureSpec, interactions_dir: str, catalogue_dir: str, split: str, task: RankingTask, train: Pairs
) -> sp.csr_matrix:
    """What a baseline may know of the query of each ranking, which is what the two-tower knows of its past.

    The training positives of the query, united with the item_sequence features of the event that the ranking embeds.

    Args:
        interactions_dir: encoded interactions.
        catalogue_dir: encoded catalogue; read only when the spec has an item_sequence.
        task: of the whole split, so that `event_rows` index its records in file order.

    Returns:
        [num_rankings, num_items] float32, 1 for the items of the profile.
    """
    codes = _find_queries(task, train)
    known = np.flatnonzero(codes >= 0)
    # One matrix product spreads the rows of the known queries over the rankings.
    pick = sp.csr_matrix((np.ones(len(known), np.float32), (known, codes[known])), (len(codes), len(train.query_ids)))
    profiles = (pick @ train.to_matrix(task.num_items)).tocsr()
    if spec.item_sequences:
        row_of_code = _read_row_of_code(catalogue_dir, spec.sequence_id_feature.name)
        for feature in spec.item_sequences:
            profiles = profiles + _read_sequences(interactions_dir, split, feature.name, task, row_of_code)
        profiles.data[:] = 1.0
    profiles.sort_indices()
    return profiles


def _find_queries(task: RankingTask, train: Pairs) -> np.ndarray:
    """[num_rankings] int64 index into `train.query_ids`, -1 for a query without."""
    ids, trained = (pa.array(x, from_pandas=True).cast(pa.large_binary()) for x in (task.query_ids, train.query_ids))
    found = pc.fill_null(pc.index_in(ids, value_set=trained), -1).to_numpy().astype(np.int64)
    return found[task.cluster]


def _read_row_of_code(catalogue_dir: str, name: str) -> np.ndarray:
    """Catalogue row of each code of the id vocabulary; -1 for a code of no item or of several, which names none."""
    code_batches = []
    for batch in examples.read_batches(examples.list_shards(catalogue_dir, examples.CATALOGUE_SPLIT)):
        values, lengths = lists.flat(batch, name, pa.int64())
        if not np.all(lengths == 1):
            raise ValueError(f"each item must have one {name}. Received {lengths.min()}..{lengths.max()} in an item.")
        code_batches.append(values)
    codes = np.concatenate(code_batches)
    row_of_code = np.full(codes.max() + 1, -1, np.int64)
    row_of_code[codes] = np.arange(len(codes))
    row_of_code[np.bincount(codes) > 1] = -1
    return row_of_code


def _read_sequences(
    interactions_dir: str, split: str, name: str, task: RankingTask, row_of_code: np.ndarray
) -> sp.csr_matrix:
    """[num_rankings, num_items] float32 counts of the known items of an item_sequence of `task.event_rows`."""
    event_batches, row_batches, start = [], [], 0
    for batch in examples.read_batches(examples.list_shards(interactions_dir, split)):
        codes, lengths = lists.flat(batch, name, pa.int64())
        found = np.full(len(codes), -1, np.int64)
        inside = codes < len(row_of_code)
        found[inside] = row_of_code[codes[inside]]
        event_batches.append(start + lists.owners(lengths)[found >= 0])
        row_batches.append(found[found >= 0])
        start += batch.num_rows
    if task.event_rows.max(initial=-1) >= start:
        raise ValueError(f"the task must be of the split {split!r}. Received event {task.event_rows.max()} of {start}.")
    events, rows = np.concatenate(event_batches), np.concatenate(row_batches)
    sequences = sp.csr_matrix((np.ones(len(rows), np.float32), (events, rows)), (start, task.num_items))
    return sequences[task.event_rows]


# --- Popularity -----------------------------------------------------------------------------------------


def _rank_popular(train, profiles, task, train_counts, settings, seed) -> Ranked:
    """Ranks by the training count; untrained items last."""
    complete("popular", settings)
    return rank_by_popularity(task, train_counts)


def _find_strangers(profiles: sp.csr_matrix, trained: np.ndarray) -> np.ndarray:
    """[num_rankings] bool, whether no item of the profile is trained."""
    return profiles @ trained.astype(np.float32) == 0


def _popularity_score(train_counts: np.ndarray) -> np.ndarray:
    """[num_items] float32 with the order of the counts, 0 for the least."""
    return np.unique(train_counts, return_inverse=True)[1].astype(np.float32)


# --- Neighbours -----------------------------------------------------------------------------------------

_NEIGHBOURS = {
    "cosine": CosineRecommender,
    "tfidf": TFIDFRecommender,
    "bm25": BM25Recommender,
    "cooccurrence": ItemItemRecommender,
}


def _rank_itemknn(train, profiles, task, train_counts, settings, seed) -> Ranked:
    """Ranks by the summed similarity to the items of the profile.

    score(q, i) = sum_{j in profile(q), i in N(j)} similarity(j, i) with the `num_neighbours` nearest items N(j), j
    itself among them. Untrained items and those near no item of the profile score 0, the lowest score.

    References:
        Deshpande and Karypis 2004, "Item-based top-N recommendation algorithms".
    """
    settings = complete("itemknn", settings)
    if settings["similarity"] not in _NEIGHBOURS:
        raise ValueError(f"similarity must be one of {sorted(_NEIGHBOURS)}. Received: {settings['similarity']!r}.")
    matrix = train.to_matrix(task.num_items)
    model = _NEIGHBOURS[settings["similarity"]](K=settings["num_neighbours"], num_threads=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ParameterWarning)  # implicit's own weights are not CSR
        model.fit(matrix.astype(np.float64), show_progress=False)
    similarity = model.similarity.astype(np.float32)
    strangers, popularity = _find_strangers(profiles, matrix.getnnz(axis=0) > 0), _popularity_score(train_counts)

    def score(start: int, stop: int, out: np.ndarray) -> None:
        (profiles[start:stop] @ similarity).toarray(out=out)
        out[strangers[start:stop]] = popularity

    return rank_by_scores(task, score)


# --- EASE -----------------------------------------------------------------------------------------------


def _rank_ease(train, profiles, task, train_counts, settings, seed) -> Ranked:
    """Ranks by EASE, the ridge regression of each item on all others.

    With the training matrix X and P = (X'X + l2 I)^-1, the weights are B_ij = -P_ij / P_jj off the diagonal and 0 on
    it, so a profile p scores p_j - (pP)_j / P_jj. When X has fewer queries than items, pP comes from the smaller
    matrix of queries: P = (I - X'(XX' + l2 I)^-1 X) / l2. Untrained items come last.

    Raises:
        ValueError: the dense matrix, of the smaller side of X squared, needs more than `max_gib`.

    References:
        Steck 2019, arXiv:1905.03375, Eq. (8).
    """
    settings = complete("ease", settings)
    matrix, dtype = train.to_matrix(task.num_items), np.dtype(settings["dtype"])
    trained = np.flatnonzero(matrix.getnnz(axis=0))
    matrix = matrix[matrix.getnnz(axis=1) > 0][:, trained].astype(dtype)
    side = min(matrix.shape)
    num_bytes = side**2 * dtype.itemsize
    if num_bytes > settings["max_gib"] * 2**30:
        raise ValueError(
            f"EASE's dense matrix must fit in max_gib={settings['max_gib']}. Received {matrix.shape[0]} queries and "
            f"{matrix.shape[1]} items with training positives: {num_bytes} bytes ({num_bytes / 2**30:.1f} GiB) of "
            f"{dtype}. Raise max_gib, set dtype to float32 or leave EASE out."
        )
    multiply, diagonal = (_invert_items if side == matrix.shape[1] else _invert_queries)(matrix, settings["l2"])
    known = profiles[:, trained].astype(dtype)
    strangers, popularity = known.getnnz(axis=1) == 0, _popularity_score(train_counts)

    def score(start: int, stop: int, out: np.ndarray) -> None:
        block = known[start:stop]
        out.fill(_LAST)
        out[:, trained] = block.toarray() - multiply(block) / diagonal
        out[strangers[start:stop]] = popularity

    return rank_by_scores(task, score, block_bytes=64 * 2**20)


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
    """(gram + l2 I)^-1 of a symmetric matrix, within the memory of one dense matrix; rows are contiguous."""
    dense = gram.toarray(order="F")
    dense[np.diag_indices_from(dense)] += l2
    factorize, invert = lapack.get_lapack_funcs(("potrf", "potri"), (dense,))
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
    """Ranks by iALS, a factorisation that weights a positive `alpha` and everything else 1.

    Every profile is folded in: its vector is the least-squares solution for the trained item factors. An untrained
    item has the zero vector, so it scores 0, the model's own "no preference", above items predicted below that.

    References:
        Hu, Koren and Volinsky 2008, "Collaborative Filtering for Implicit Feedback Datasets".
    """
    settings = complete("ials", settings)
    matrix = train.to_matrix(task.num_items)
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(**settings, num_threads=1, random_state=seed)
        model.fit(matrix, show_progress=False)
        vectors = model.recalculate_user(np.arange(task.num_rankings), profiles)
    strangers = _find_strangers(profiles, matrix.getnnz(axis=0) > 0)
    vectors[strangers] = 0.0
    return rank(
        task,
        np.column_stack([vectors, strangers.astype(np.float32)]),
        np.column_stack([model.item_factors, _popularity_score(train_counts)]),
    )


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
    trained = matrix.getnnz(axis=0) > 0
    strangers = _find_strangers(profiles, trained)

    num_trained = profiles @ trained.astype(np.float32)
    vectors = (profiles @ model.item_factors) / np.maximum(num_trained, 1.0)[:, np.newaxis]
    codes = _find_queries(task, train)
    learnt = (codes >= 0) & (matrix.getnnz(axis=1)[codes] > 0)
    vectors[learnt] = model.user_factors[codes[learnt]]
    vectors[:, -1] = 1.0  # the last factor of an item is its bias
    vectors[strangers] = 0.0
    return rank(
        task,
        np.column_stack([vectors, strangers, np.ones(len(vectors))]).astype(np.float32),
        np.column_stack([model.item_factors, _popularity_score(train_counts), np.where(trained, 0.0, _LAST)]).astype(
            np.float32
        ),
    )


def _rank_lightgcn(train, profiles, task, train_counts, settings, seed) -> Ranked:
    """Ranks by LightGCN, see `benchmarks.evidence.lightgcn`; unknown queries as in BPR, untrained items come last."""
    trained = train_counts > 0
    query_vectors, item_vectors = fit_lightgcn(
        train.query_codes,
        train.item_rows,
        len(train.query_ids),
        len(train_counts),
        complete("lightgcn", settings),
        seed,
    )
    num_trained = profiles @ trained.astype(np.float32)
    vectors = (profiles @ (item_vectors * trained[:, np.newaxis])) / np.maximum(num_trained, 1.0)[:, np.newaxis]
    codes = _find_queries(task, train)
    learnt = (codes >= 0) & (np.bincount(train.query_codes, minlength=len(train.query_ids))[codes] > 0)
    vectors[learnt] = query_vectors[codes[learnt]]
    strangers = _find_strangers(profiles, trained)
    vectors[strangers] = 0.0
    return rank(
        task,
        np.column_stack([vectors, strangers, np.ones(len(vectors))]).astype(np.float32),
        np.column_stack([item_vectors, _popularity_score(train_counts), np.where(trained, 0.0, _LAST)]).astype(
            np.float32
        ),
    )


# --- The table ------------------------------------------------------------------------------------------

Baseline = Callable[[Pairs, sp.csr_matrix, RankingTask, np.ndarray, Mapping[str, Any], int], Ranked]
"""(train, profiles [num_rankings, num_items], task, train_counts [num_items], settings, seed) -> ranks."""

BASELINES: Mapping[str, Baseline] = MappingProxyType(
    {
        "popular": _rank_popular,
        "itemknn": _rank_itemknn,
        "ease": _rank_ease,
        "ials": _rank_ials,
        "bpr": _rank_bpr,
        "lightgcn": _rank_lightgcn,
    }
)
