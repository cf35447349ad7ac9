"""Recommendations that leave items out, against brute force by NumPy."""

import numpy as np
import pytest

from recsys_ssl.serving.recommender import Recommender


@pytest.fixture(scope="module")
def recommender(film_model_dir):
    return Recommender(film_model_dir)


@pytest.fixture(scope="module")
def rank(films):
    """Taste, what may be recommended -> the k best ids and scores by NumPy."""

    def ranked(taste, k, passes=lambda row: True):
        rows = np.array([row for row in range(len(films.vectors)) if passes(row)], int)
        scores = films.vectors[rows] @ (np.array(taste, np.float32) / np.linalg.norm(taste))
        best = np.argsort(-scores, kind="stable")[:k]
        return [f"film-{row}" for row in rows[best]], scores[best]

    return ranked


@pytest.fixture(scope="module")
def tastes(films):
    return np.random.default_rng(2).normal(size=(5, films.vectors.shape[1])).astype(np.float32)


def test_without_limits_it_is_the_exact_ranking(recommender, rank, tastes):
    answers = recommender.recommend({"taste": tastes}, k=20)
    for taste, answer in zip(tastes, answers):
        ids, scores = rank(taste, 20)
        assert answer.item_ids == ids
        np.testing.assert_allclose(answer.scores, scores, atol=1e-6)
        assert answer.flags == ()


FILTERS = {
    "one in a thousand": ({"genres": "genre-3"}, lambda row: row % 1000 == 0),
    "one in ten": ({"genres": ["genre-1"]}, lambda row: row % 10 == 0),
    "any of two": ({"genres": ["genre-2", "genre-1"]}, lambda row: row % 10 == 0),
    "none of": ({"genres": {"none": ["genre-1"]}}, lambda row: row % 10 != 0),
    "any and none": ({"genres": {"any": ["genre-1"], "none": ["genre-2"]}}, lambda row: row % 10 == 0 and row % 100),
    "range": ({"year": {"min": 1990, "max": 1991}}, lambda row: row % 7 and row % 100 in (90, 91)),
    "from": ({"year": {"min": 1950}}, lambda row: row % 7 and row % 100 >= 50),
    "number": ({"year": 1999}, lambda row: row % 7 and row % 100 == 99),
    "no number": ({"year": {"none": [1999, 1998]}}, lambda row: not (row % 7 and row % 100 in (98, 99))),
    "two features": ({"genres": "genre-1", "year": {"max": 1950}}, lambda n: n % 10 == 0 < n % 7 and n % 100 < 51),
    "a title": ({"title": "Film 77"}, lambda row: row == 77),
    "no such value": ({"genres": "opera"}, lambda row: False),
}  # fmt: skip


@pytest.mark.parametrize(("filters", "passes"), FILTERS.values(), ids=FILTERS)
def test_filters_equal_brute_force(recommender, rank, tastes, filters, passes):
    answers = recommender.recommend({"taste": tastes}, k=10, filters=filters)
    for taste, answer in zip(tastes, answers):
        ids, scores = rank(taste, 10, passes)
        assert answer.item_ids == ids
        np.testing.assert_allclose(answer.scores, scores, atol=1e-6)
        assert ("fewer" in answer.flags) == (len(ids) < 10)


def test_the_worst_items_are_found_where_the_index_finds_none_of_them(recommender, films, rank, tastes):
    """What may be recommended is the half that scores least, so that nothing of it is among what is fetched."""
    scores = films.vectors @ tastes[0]
    worst = set(np.argsort(scores)[: len(scores) * 5 // 6].tolist())
    allow = [f"film-{row}" for row in worst]
    (answer,) = recommender.recommend({"taste": tastes[:1]}, k=10, allow=[allow])
    assert answer.item_ids == rank(tastes[0], 10, worst.__contains__)[0]
    assert answer.flags == ("exact",)
