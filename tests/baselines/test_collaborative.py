"""Baselines against slow second implementations, and on data with one right answer."""

import numpy as np
import pytest
import scipy.sparse as sp
from implicit.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, ItemItemRecommender, TFIDFRecommender

from recsys_ssl import ials
from recsys_ssl.baselines import collaborative as baselines
from recsys_ssl.baselines.collaborative import BASELINES
from recsys_ssl.baselines.profiles import Profiles
from recsys_ssl.baselines.settings import DEFAULTS, GRIDS, LADDERS, MOST_TRIALS, complete
from recsys_ssl.evaluation.queries import RankingTask
from recsys_ssl.pairs import Pairs


def make_task(num_items, query_ids, positives):
    """One ranking per query id and list of held-out rows; nothing is masked."""
    return RankingTask(
        num_items=num_items,
        event_rows=np.arange(len(positives)),
        cluster=np.arange(len(positives)),
        query_ids=np.array(query_ids, object),
        positive_offsets=np.cumsum([0, *map(len, positives)]),
        positive_rows=np.concatenate(positives).astype(np.int64),
        masked_offsets=np.zeros(len(positives) + 1, np.int64),
        masked_rows=np.empty(0, np.int64),
    )


def make_pairs(matrix):
    """Pairs of the ones of a dense [num_queries, num_items] matrix, in order; the queries are q0, q1, ..."""
    codes, rows = np.nonzero(matrix)
    ids = np.array([f"q{i}".encode() for i in range(len(matrix))], object)
    return Pairs(codes, rows, ids, np.arange(len(rows)))


def make_profiles(matrix):
    """Profiles of a dense [num_rankings, num_items] matrix of counts; the rows of a ranking are its order."""
    owners, rows = np.nonzero(matrix)
    times = matrix[owners, rows]
    lengths = np.bincount(np.repeat(owners, times), minlength=len(matrix))
    return Profiles(np.repeat(rows, times), np.concatenate([[0], np.cumsum(lengths)]), matrix.shape[1], True)


def rank_rows(name, matrix, profiles, settings=None, query_ids=None, seed=0):
    """[num_rankings, num_items] rank of every item: each ranking holds all of them out."""
    num_rankings, num_items = profiles.shape
    train = make_pairs(matrix)
    query_ids = [f"new{i}".encode() for i in range(num_rankings)] if query_ids is None else query_ids
    task = make_task(num_items, query_ids, [np.arange(num_items)] * num_rankings)
    own = make_profiles(profiles.astype(int))
    ranked = BASELINES[name](train, own, task, matrix.sum(axis=0), settings or {}, seed)
    return ranked.ranks.reshape(profiles.shape)


def ranks_of_scores(scores):
    """Place of every item; the j-th of tied items that are all held out takes the j-th of their places."""
    order = np.argsort(-scores, axis=1, kind="stable")
    ranks = np.empty(scores.shape)
    np.put_along_axis(ranks, order, np.arange(1.0, scores.shape[1] + 1), axis=1)
    return ranks


def random_matrix(num_queries, num_items, seed=0):
    """A random 0/1 matrix whose last two items have no positive."""
    matrix = (np.random.default_rng(seed).random((num_queries, num_items)) < 0.25).astype(int)
    matrix[:, -2:] = 0
    return matrix


# --- What the query chose itself ------------------------------------------------------------------------


def test_own_counts_come_before_popularity():
    matrix = random_matrix(40, 12)
    profiles = np.random.default_rng(1).integers(0, 4, (25, 12))
    profiles[:, -1] = 2  # never trained on, and chosen all the same
    scores = profiles * 1000 + matrix.sum(axis=0)
    np.testing.assert_array_equal(rank_rows("own_counts", matrix, profiles), ranks_of_scores(scores))


def test_the_most_recent_comes_first():
    matrix = random_matrix(40, 12)
    profiles = Profiles(np.array([4, 2, 4, 11, 7, 7]), np.array([0, 4, 6]), 12, has_time=True)
    task = make_task(12, [b"new0", b"new1"], [np.arange(12)] * 2)
    counts = matrix.sum(axis=0)
    ranked = BASELINES["most_recent"](make_pairs(matrix), profiles, task, counts, {}, 0)
    scores = np.tile(counts, (2, 1))
    scores[0, [2, 4, 11]] = [1002, 1003, 1004]
    scores[1, 7] = 1000
    np.testing.assert_array_equal(ranked.ranks.reshape(2, 12), ranks_of_scores(scores))


# --- Scores against slow second implementations ---------------------------------------------------------


@pytest.mark.parametrize("shape", [(40, 12), (9, 30)], ids=["more-queries", "more-items"])
@pytest.mark.parametrize("l2", [0.5, 20.0])
def test_ease_is_its_closed_form(shape, l2):
    matrix, profiles = random_matrix(*shape), random_matrix(25, shape[1], seed=1)
    profiles[:, 0] |= 1
    inverse = np.linalg.inv(matrix.T @ matrix + l2 * np.eye(shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    scores = profiles @ weights
    scores[:, matrix.sum(axis=0) == 0] = -np.inf
    scores[profiles @ matrix.sum(axis=0) == 0] = matrix.sum(axis=0)
    found = rank_rows("ease", matrix, profiles, {"l2": l2})
    # Rounded, since equal columns of the matrix may differ in the last bit.
    np.testing.assert_array_equal(found, ranks_of_scores(np.round(scores, 9)))


@pytest.mark.parametrize("shape", [(3000, 2200), (2200, 3000)], ids=["more-queries", "more-items"])
def test_ease_in_several_blocks_is_a_linear_solve(shape):
    matrix = sp.random(*shape, 0.003, "csr", random_state=0, data_rvs=np.ones)
    profiles = sp.random(5, shape[1], 0.01, "csr", random_state=1, data_rvs=np.ones)
    multiply, diagonal = (baselines._invert_items if shape[0] > shape[1] else baselines._invert_queries)(matrix, 7.0)
    gram = (matrix.T @ matrix).toarray() + 7.0 * np.eye(shape[1])
    np.testing.assert_allclose(multiply(profiles) @ gram, profiles.toarray(), rtol=0, atol=1e-9)
    at = np.array([0, 2047, 2048, 2199])
    columns = np.linalg.solve(gram, np.eye(shape[1])[:, at])
    np.testing.assert_allclose(diagonal[at], columns[at, np.arange(4)], rtol=1e-9)


def test_float32_ease_ranks_as_float64():
    matrix, profiles = random_matrix(40, 12), random_matrix(25, 12, seed=1)
    single, double = (rank_rows("ease", matrix, profiles, {"dtype": dtype}) for dtype in ("float32", "float64"))
    assert (single == double).mean() > 0.98


def test_itemknn_sums_the_similarities_of_the_nearest():
    matrix, profiles = random_matrix(40, 12), random_matrix(25, 12, seed=1)
    profiles[:, 0] |= 1
    norms = np.sqrt(np.maximum(matrix.sum(axis=0), 1))
    similarity = (matrix.T @ matrix) / np.outer(norms, norms)
    found = rank_rows("itemknn", matrix, profiles, {"similarity": "cosine", "num_neighbours": 12})
    np.testing.assert_array_equal(found, ranks_of_scores(np.round(profiles @ similarity, 6)))
    assert (found[:, -2:] == [11, 12]).all()


@pytest.mark.filterwarnings("ignore:Method expects CSR")
@pytest.mark.parametrize("similarity", ["cosine", "tfidf", "bm25", "cooccurrence"])
def test_itemknn_recommends_what_implicit_does(similarity):
    matrix = random_matrix(60, 20, seed=2)
    matrix = matrix[matrix.sum(axis=1) > 0]
    found = rank_rows("itemknn", matrix, matrix, {"similarity": similarity, "num_neighbours": 6})
    model = {"cosine": CosineRecommender, "tfidf": TFIDFRecommender, "bm25": BM25Recommender}.get(
        similarity, ItemItemRecommender
    )(K=6, num_threads=1)
    counts = sp.csr_matrix(matrix.astype(np.float64))
    model.fit(counts, show_progress=False)
    for query in range(len(matrix)):
        ids, scores = model.recommend(query, counts[query], N=20, filter_already_liked_items=False)
        # Scores in the order of our ranks, and not ids, since ties are free.
        score_of = dict(zip(ids, scores))
        ordered = [score_of.get(item, 0.0) for item in np.argsort(found[query])]
        np.testing.assert_allclose(ordered, sorted(ordered, reverse=True), atol=1e-5)


@pytest.mark.parametrize("similarity", ["cosine", "bm25"])
def test_all_neighbours_are_as_many_as_there_are(similarity):
    matrix, profiles = random_matrix(60, 20, seed=2), random_matrix(10, 20, seed=3)
    found, expected = (
        rank_rows("itemknn", matrix, profiles, {"similarity": similarity, "num_neighbours": number})
        for number in ("all", 20)
    )
    np.testing.assert_array_equal(found, expected)


def test_ials_folds_the_profile_in():
    """x = (Y'Y + (alpha - 1) Y_p'Y_p + reg I)^-1 alpha Y_p' 1 for the item factors Y, Y_p those of the profile."""
    settings = {"factors": 4, "alpha": 7.0, "regularization": 0.3, "iterations": 3}
    matrix, profiles = random_matrix(40, 12), random_matrix(25, 12, seed=1)
    profiles[:, 0] |= 1
    items = ials.fit(sp.csr_matrix(matrix), ials.Settings(**settings), seed=5)[1].astype(np.float64)
    assert not items[-2:].any()
    scores = np.empty(profiles.shape)
    for ranking, profile in enumerate(profiles):
        liked = items[profile > 0]
        system = items.T @ items + (7.0 - 1.0) * liked.T @ liked + 0.3 * np.eye(4)
        scores[ranking] = items @ np.linalg.solve(system, 7.0 * liked.sum(axis=0))
    found = rank_rows("ials", matrix, profiles, settings, seed=5)
    assert (found == ranks_of_scores(scores)).mean() > 0.98


def test_bpr_has_learnt_factors_or_the_mean_of_the_profile():
    settings = {"factors": 4, "learning_rate": 0.05, "regularization": 0.01, "iterations": 20}
    matrix, profiles = random_matrix(40, 12), random_matrix(2, 12, seed=1)
    profiles[:, 0] |= 1
    model = BayesianPersonalizedRanking(**settings, num_threads=1, random_state=5)
    model.fit(sp.csr_matrix(matrix.astype(np.float32)), show_progress=False)
    items = model.item_factors.astype(np.float64)
    mean = items[np.flatnonzero(profiles[1, :10])].mean(axis=0)
    mean[-1] = 1.0  # of the bias
    scores = np.stack([items @ model.user_factors[3], items @ mean])
    scores[:, -2:] = -np.inf
    found = rank_rows("bpr", matrix, profiles, settings, query_ids=[b"q3", b"new"], seed=5)
    np.testing.assert_array_equal(found, ranks_of_scores(scores))


# --- Properties of every baseline -----------------------------------------------------------------------

SMALL = {
    "popular": {},
    "itemknn": {"similarity": "cosine", "num_neighbours": 10},
    "ease": {"l2": 1.0},
    "ials": {"factors": 4, "alpha": 5.0, "regularization": 0.1},
    "bpr": {"factors": 8, "learning_rate": 0.1, "iterations": 300},
}


# LightGCN and SASRec train in environments of their own; here known vectors take their place.
HERE = [name for name in BASELINES if name not in ("lightgcn", "sasrec")]


@pytest.mark.parametrize("name", [name for name in SMALL if name != "popular"])
def test_a_checkerboard_has_one_right_answer(name):
    """Even queries like even items and odd ones odd; each query misses the item of its own number, here held out."""
    num = 20
    likes = (np.arange(num)[:, None] + np.arange(num)) % 2 == 0
    matrix = np.where(np.eye(num, dtype=bool), 0, likes).astype(int)
    query_ids = [f"q{i}".encode() for i in range(num)]
    ranks = rank_rows(name, matrix, matrix, SMALL[name], query_ids=query_ids)
    own = ranks[np.arange(num), np.arange(num)]
    assert (own <= num // 2).all()
    # Whatever else ranks as high is liked as well.
    assert all(ranks[query][likes[query]].max() == num // 2 for query in range(num))


@pytest.mark.parametrize("name", HERE)
def test_a_ranking_with_nothing_to_go_by_is_by_popularity(name):
    matrix = random_matrix(40, 12)
    matrix[:, 3] = 1
    profiles = np.zeros((2, 12))
    profiles[1, -1] = name not in ("own_counts", "most_recent")  # an untrained item
    ranks = rank_rows(name, matrix, profiles, SMALL.get(name))
    expected = rank_rows("popular", matrix, profiles)
    np.testing.assert_array_equal(ranks, expected)
    assert (ranks[:, 3] == 1).all()
    assert (ranks[:, -2:] == [11, 12]).all()


@pytest.mark.parametrize("name", ["popular", "itemknn", "ease", "bpr"])
def test_untrained_items_come_last(name):
    matrix, profiles = random_matrix(40, 12), random_matrix(30, 12, seed=1)
    profiles[:, 0] |= 1
    ranks = rank_rows(name, matrix, profiles, SMALL[name], query_ids=[f"q{i}".encode() for i in range(30)])
    assert (ranks[:, -2:] == [11, 12]).all()


def test_lightgcn_ranks_by_its_vectors_and_means_of_items_for_new_queries(monkeypatch):
    matrix = random_matrix(6, 5)
    matrix[0, :2] = matrix[1, 2:4] = 1
    matrix[:, 4] = 0  # untrained
    rng = np.random.default_rng(3)
    queries, items = rng.normal(size=(6, 3)), rng.normal(size=(5, 3))
    monkeypatch.setattr(baselines, "fit_lightgcn", lambda *args: (queries, items))
    profiles = np.array([[1, 1, 0, 0, 1], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]])
    ranks = rank_rows("lightgcn", matrix, profiles, query_ids=[b"q0", b"new", b"newer"])
    for vector, found in ((queries[:1], ranks[0]), (items[2:4].mean(axis=0)[None], ranks[1])):
        np.testing.assert_array_equal(found[:4], ranks_of_scores(vector @ items[:4].T)[0])
        assert found[4] == 5
    np.testing.assert_array_equal(ranks[2], rank_rows("popular", matrix, profiles)[2])


def test_sasrec_ranks_by_its_vectors_and_asks_for_profiles_in_order(monkeypatch):
    matrix = random_matrix(6, 5)
    known = np.array([True, True, True, False, False])
    rng = np.random.default_rng(3)
    queries, items = rng.normal(size=(3, 4)), rng.normal(size=(5, 4)) * known[:, None]
    asked = []
    monkeypatch.setattr(baselines, "fit_sasrec", lambda *args: asked.append(args) or (queries, items, known))
    profiles = np.array([[1, 1, 0, 0, 1], [0, 0, 1, 1, 0], [0, 0, 0, 2, 0]])  # the last knows no known item
    ranks = rank_rows("sasrec", matrix, profiles)
    for vector, found in zip(queries[:2], ranks):
        np.testing.assert_array_equal(found[:3], ranks_of_scores(vector[None] @ items[:3].T)[0])
        assert (found[3:] > 3).all()
    assert (ranks[2, 3:] > 3).all()
    np.testing.assert_array_equal(ranks[2, :3], ranks_of_scores(matrix.sum(axis=0)[None, :3])[0])
    train_rows, train_offsets, profile_rows, profile_offsets, num_items, _, _ = asked[0]
    assert train_rows.tolist() == np.nonzero(matrix)[1].tolist()
    assert train_offsets.tolist() == [0, *np.cumsum(matrix.sum(axis=1))]
    assert (profile_rows.tolist(), profile_offsets.tolist()) == ([0, 1, 4, 2, 3, 3, 3], [0, 3, 5, 7])
    assert num_items == 5


@pytest.mark.parametrize("name", ["most_recent", "sasrec"])
def test_what_reads_order_needs_a_log_with_time(name):
    profiles = Profiles(np.array([0]), np.array([0, 1]), 4, has_time=False)
    with pytest.raises(ValueError, match=r"needs a log with time\. Received: one without\. Leave the arm out"):
        BASELINES[name](make_pairs(np.eye(4)), profiles, make_task(4, [b"a"], [[1]]), np.ones(4), {}, 0)


@pytest.mark.parametrize("name", ["ials", "bpr"])
def test_the_seed_decides(name):
    matrix, profiles = random_matrix(40, 12), random_matrix(30, 12, seed=1)
    one, same, other = (rank_rows(name, matrix, profiles, {"factors": 3, "iterations": 2}, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@pytest.mark.parametrize("name", list(BASELINES))
def test_every_setting_of_a_grid_is_known_and_distinct(name):
    completed = [complete(name, settings) for settings in GRIDS[name]]
    assert len({tuple(sorted(settings.items())) for settings in completed}) == len(GRIDS[name])
    assert all(settings.keys() == DEFAULTS[name].keys() for settings in completed)


@pytest.mark.parametrize("name", LADDERS)
def test_a_grid_stands_on_its_ladders(name):
    """The search goes from a value to those beside it, so each must be on the ladder; numbers ascend."""
    for setting, values in LADDERS[name].items():
        numbers = [value for value in values if value != "all"]
        assert numbers == sorted(set(numbers))
        assert {point.get(setting, DEFAULTS[name][setting]) for point in GRIDS[name]} <= set(values)
    assert MOST_TRIALS[name] > len(GRIDS[name])


@pytest.mark.parametrize("name", list(BASELINES))
def test_an_unknown_setting_is_an_error(name):
    with pytest.raises(ValueError, match=r"Received also: \['colour'\]"):
        rank_rows(name, random_matrix(5, 4), np.eye(4), {"colour": 1})


def test_an_unknown_similarity_is_an_error():
    with pytest.raises(ValueError, match="similarity must be one of"):
        rank_rows("itemknn", random_matrix(5, 4), np.eye(4), {"similarity": "psychic"})


def test_ease_that_would_not_fit_says_how_many_bytes_it_needs():
    matrix = np.ones((30, 20), int)
    for dtype, size in (("float64", 8), ("auto", 4)):
        with pytest.raises(ValueError, match=f"{20 * 20 * size} bytes"):
            rank_rows("ease", matrix, np.eye(20), {"dtype": dtype, "max_gib": (20 * 20 * size - 1) / 2**30})
        fitting = {"dtype": dtype, "max_gib": 20 * 20 * size / 2**30}
        assert rank_rows("ease", matrix, np.eye(20), fitting).shape == (20, 20)


def test_ease_is_of_float32_only_where_float64_does_not_fit():
    chosen = [baselines._choose_dtype(1024, "auto", max_gib) for max_gib in (8 / 1024, 7.9 / 1024, 4 / 1024)]
    assert chosen == [np.float64, np.float32, np.float32]
