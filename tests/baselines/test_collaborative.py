"""Baselines against slow second implementations, and on data with one right answer."""

import numpy as np
import pytest
import scipy.sparse as sp
from implicit.bpr import BayesianPersonalizedRanking
from implicit.cpu.als import AlternatingLeastSquares

from recsys_ssl import examples
from recsys_ssl.baselines import collaborative as baselines
from recsys_ssl.baselines.collaborative import BASELINES, build_profiles
from recsys_ssl.baselines.settings import DEFAULTS, GRIDS, complete
from recsys_ssl.evaluation.queries import RankingTask
from recsys_ssl.features.batch import Catalogue, lay_out
from recsys_ssl.features.encoding import read_encoding
from recsys_ssl.pairs import Pairs, read_pairs
from recsys_ssl.spec import Evaluation
from recsys_ssl.training.validation import Validator


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
    """Pairs of the ones of a dense [num_queries, num_items] matrix; the queries are q0, q1, ..."""
    codes, rows = np.nonzero(matrix)
    return Pairs(codes, rows, np.array([f"q{i}".encode() for i in range(len(matrix))], object))


def rank_rows(name, matrix, profiles, settings=None, query_ids=None, seed=0):
    """[num_rankings, num_items] rank of every item: each ranking holds all of them out."""
    num_rankings, num_items = profiles.shape
    train = make_pairs(matrix)
    query_ids = [f"new{i}".encode() for i in range(num_rankings)] if query_ids is None else query_ids
    task = make_task(num_items, query_ids, [np.arange(num_items)] * num_rankings)
    profiles = sp.csr_matrix(profiles.astype(np.float32))
    ranked = BASELINES[name](train, profiles, task, matrix.sum(axis=0), settings or {}, seed)
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


# --- Profiles -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("group_by", ["event", "query"])
@pytest.mark.parametrize("split", ["eval", "test"])
def test_a_profile_is_the_training_positives_and_the_history_of_the_event(shop, split, group_by):
    spec = shop.spec.model_copy(update={"evaluation": Evaluation(group_by=group_by)})
    encoding = read_encoding(shop.encoded.item_transform)
    (layout,), _ = lay_out([(encoding, [False] * len(encoding))])
    catalogue = Catalogue(shop.encoded.catalogue, layout)
    task = Validator(spec, shop.encoded.interactions, catalogue, None, 0, split=split).task
    # Three queries lose their training positives, so that only their history is left.
    train = read_pairs(shop.encoded.interactions, "train")
    kept = train.query_codes > 2
    train = Pairs(train.query_codes[kept], train.item_rows[kept], train.query_ids)
    profiles = build_profiles(spec, shop.encoded.interactions, shop.encoded.catalogue, split, task, train)

    row_of_id = {item["product"][0]: row for row, item in enumerate(shop.items)}
    lost = set(train.query_ids[:3])
    for ranking, event in enumerate(shop.events[split][row] for row in task.event_rows):
        query = event["query_id"]
        expected = {e["item_row"][0] for e in shop.events["train"] if e["query_id"] == query and query[0] not in lost}
        expected |= {row_of_id[item] for item in event["history"] if item in row_of_id}  # b"gone" is unknown
        assert profiles[ranking].indices.tolist() == sorted(expected)
    assert set(profiles.data) == {1.0}


def test_a_code_of_no_item_or_of_several_names_none(tmp_path, make_records):
    examples.write_shard(make_records({"item": [[3], [0], [1], [1]]}), tmp_path, "catalogue", "part-0")
    assert baselines._read_row_of_code(tmp_path, "item").tolist() == [1, -1, -1, 0]


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
    model = baselines._NEIGHBOURS[similarity](K=6, num_threads=1)
    counts = sp.csr_matrix(matrix.astype(np.float64))
    model.fit(counts, show_progress=False)
    for query in range(len(matrix)):
        ids, scores = model.recommend(query, counts[query], N=20, filter_already_liked_items=False)
        # Scores in the order of our ranks, and not ids, since ties are free.
        score_of = dict(zip(ids, scores))
        ordered = [score_of.get(item, 0.0) for item in np.argsort(found[query])]
        np.testing.assert_allclose(ordered, sorted(ordered, reverse=True), atol=1e-5)


def test_ials_folds_the_profile_in():
    """x = (Y'Y + (alpha - 1) Y_p'Y_p + reg I)^-1 alpha Y_p' 1 for the item factors Y, Y_p those of the profile."""
    settings = {"factors": 4, "alpha": 7.0, "regularization": 0.3, "iterations": 3}
    matrix, profiles = random_matrix(40, 12), random_matrix(25, 12, seed=1)
    profiles[:, 0] |= 1
    model = AlternatingLeastSquares(**settings, num_threads=1, random_state=5)
    model.fit(sp.csr_matrix(matrix.astype(np.float32)), show_progress=False)
    items = model.item_factors.astype(np.float64)
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


# LightGCN trains in an environment of its own; here known vectors take its place.
HERE = [name for name in BASELINES if name != "lightgcn"]


@pytest.mark.parametrize("name", [name for name in HERE if name != "popular"])
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
    profiles[1, -1] = 1  # an untrained item
    ranks = rank_rows(name, matrix, profiles, SMALL[name])
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


@pytest.mark.parametrize("name", list(BASELINES))
def test_an_unknown_setting_is_an_error(name):
    with pytest.raises(ValueError, match=r"Received also: \['colour'\]"):
        rank_rows(name, random_matrix(5, 4), np.eye(4), {"colour": 1})


def test_an_unknown_similarity_is_an_error():
    with pytest.raises(ValueError, match="similarity must be one of"):
        rank_rows("itemknn", random_matrix(5, 4), np.eye(4), {"similarity": "psychic"})


def test_ease_that_would_not_fit_says_how_many_bytes_it_needs():
    matrix = np.ones((30, 20), int)
    with pytest.raises(ValueError, match=f"{20 * 20 * 8} bytes"):
        rank_rows("ease", matrix, np.eye(20), {"max_gib": (20 * 20 * 8 - 1) / 2**30})
    assert rank_rows("ease", matrix, np.eye(20), {"max_gib": 20 * 20 * 8 / 2**30}).shape == (20, 20)


def test_a_task_of_another_split_is_an_error(shop):
    task = make_task(len(shop.items), [b"u1"], [[0]])
    task = RankingTask(**{**task.__dict__, "event_rows": np.array([10_000])})
    train = read_pairs(shop.encoded.interactions, "train")
    with pytest.raises(ValueError, match="the task must be of the split 'eval'"):
        build_profiles(shop.spec, shop.encoded.interactions, shop.encoded.catalogue, "eval", task, train)
