"""Queries by their ids alone, unknown queries, and unknown items."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl.serving.known_queries import QueryReader
from recsys_ssl.serving.recommender import Recommender
from recsys_ssl.spec import FeatureSpec


@pytest.fixture(scope="module")
def recommender(film_model_dir):
    return Recommender(film_model_dir)


def test_every_query_of_the_log_is_answered_by_its_id_as_after_its_last_event(recommender, films):
    queries = range(40)
    answers = recommender.recommend_ids([f"u{query}" for query in queries], k=5)
    for query, answer in zip(queries, answers):
        taste = np.array(films.events["train"]["taste"][query], np.float32)
        scores = films.vectors @ (taste / np.linalg.norm(taste))
        seen = [10 * query + place for place in range(10)]
        scores[seen] = -np.inf
        best = np.argsort(-scores, kind="stable")[:5]
        assert answer.item_ids == [f"film-{row}" for row in best]
        np.testing.assert_allclose(answer.scores, scores[best], atol=1e-6)
        assert answer.flags == ()


def test_the_history_is_the_last_items_in_the_order_of_time_whatever_the_split(recommender):
    """Within the test split the file has the later event first."""
    found = recommender.lookup.find_queries(["u0", "u7", "nobody"])
    assert set(found) == {"u0", "u7"}
    assert found["u7"].history.tolist() == [77, 78, 79]
    assert found["u7"].times_us.tolist() == [7_000_000, 8_000_000, 9_000_000]
    assert found["u7"].seen.tolist() == list(range(70, 80))
    asked = recommender._queries.find(["u7"])
    assert asked.histories == [["film-77", "film-78", "film-79"]]


def test_an_unknown_query_gets_what_is_chosen_most(recommender, films):
    (answer,) = recommender.recommend_ids(["nobody"], k=65, exclude=[["film-99"]])
    counts = np.array(films.items["train_count"])[:, 0]
    expected = [row for row in np.argsort(-counts, kind="stable") if row != 99][:65]
    assert answer.item_ids == [f"film-{row}" for row in expected]
    assert answer.scores == [float(counts[row]) for row in expected]
    assert answer.flags == ("popularity",)


@pytest.mark.parametrize(
    ("query", "flags"),
    [
        ({"user": ["u3"]}, ()),
        ({"user": ["nobody"]}, ("popularity",)),
        ({}, ("popularity",)),
        ({"user": ["nobody"], "taste": [[1.0] * 8]}, ("content",)),
        ({"taste": [[1.0] * 8]}, ()),
        ({"user": ["nobody"], "history": [["film-1"]]}, ("content",)),
        ({"user": ["nobody"], "history": [["no film"]]}, ("popularity", "unknown_items")),
        ({"user": ["u3"], "history": [["no film", "film-3"]]}, ("unknown_items",)),
    ],
)
def test_an_answer_says_what_it_is_made_of(recommender, query, flags):
    (answer,) = recommender.recommend(query, k=3)
    assert answer.flags == flags
    assert len(answer.item_ids) == 3


def test_what_is_allowed_bounds_the_most_popular_too(recommender):
    answers = recommender.recommend_ids(["nobody", "u1"], 3, allow=[["film-5", "film-98", "none"], []])
    assert answers[0] == (["film-98", "film-5"], [98.0, 5.0], ("popularity", "unknown_items", "fewer"))
    assert answers[1] == ([], [], ("fewer",))
    (answer,) = recommender.recommend_ids(["nobody"], 2, filters={"genres": "genre-3"})
    assert answer.item_ids == ["film-0", "film-1000"]


def test_ids_and_excluded_items_are_left_out_of_any_answer(recommender):
    query = {"taste": [[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]]}
    (first,) = recommender.recommend(query, k=40)
    (second,) = recommender.recommend(query, k=30, exclude=[first.item_ids[:10]])
    assert second.item_ids == first.item_ids[10:]


def test_repeats_score_more(repeat_model_dir, films):
    """An item that was chosen before scores T log(e^(s / T) + e^(r / T)), r = 0.9 and T = 0.1."""
    recommender = Recommender(repeat_model_dir)
    taste = np.arange(1.0, 9.0, dtype=np.float32)
    history = ["film-10", "film-20", "unknown"]
    (answer,) = recommender.recommend({"taste": [taste], "history": [history]}, k=8, exclude=[["film-20"]])
    scores = films.vectors @ (taste / np.linalg.norm(taste))
    scores[10] = 0.1 * np.log(np.exp(scores[10] / 0.1) + np.exp(0.9 / 0.1))
    scores[20] = -np.inf
    best = np.argsort(-scores, kind="stable")[:8]
    assert 10 in best
    assert answer.item_ids == [f"film-{row}" for row in best]
    np.testing.assert_allclose(answer.scores, scores[best], atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"filters": {"colour": "red"}}, ValueError, r"must name features of items: \['film', 'genres', "),
        ({"filters": {"genres": 3}}, TypeError, "the filter of 'genres' takes strings. Received: 3"),
        ({"filters": {"year": "1999"}}, TypeError, "the filter of 'year' takes numbers"),
        ({"filters": {"genres": {"min": 3}}}, ValueError, "min and max are for numeric features"),
        ({"filters": {"genres": {"most": 3}}}, ValueError, r"must have some of \['any', 'none', 'min', 'max'\]"),
        ({"filters": {"genres": None}}, ValueError, "the filter of 'genres' must have some of"),
        ({"filters": {"year": {"min": None}}}, ValueError, "the filter of 'year' must have some of"),
        ({"filters": {"year": 10**400}}, ValueError, "the filter of 'year' takes numbers of 64 bits"),
        ({"filters": ["genres"]}, TypeError, "filters must be a dict"),
        ({"allow": [["film-1"], ["film-2"]]}, ValueError, "must have one value per query"),
        ({"exclude": ["film-1"]}, TypeError, "'exclude' must be one list of ids per query"),
        ({"k": 0}, ValueError, "k must be positive"),
    ],
)  # fmt: skip
def test_bad_requests_are_explained(recommender, changes, error, message):
    with pytest.raises(error, match=message):
        recommender.recommend_ids(**{"query_ids": ["u1"], "k": 3, **changes})


def test_a_model_without_what_lies_beside_it_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="which has queries and items by their ids. Run `recsys-ssl run`"):
        Recommender(tmp_path)


def test_of_a_new_query_what_its_id_says_is_known():
    """A search: its words are features of the query's own column."""
    features = [
        {"name": "search", "column": "search", "kind": "id"},
        {"name": "words", "column": "search", "kind": "text"},
        {"name": "place", "kind": "categorical"},
    ]
    spec = FeatureSpec.model_validate(
        {
            "name": "searches",
            "events": {"paths": ["e.csv"], "query_id": "search", "item_id": "item"},
            "items": {"id": "item", "features": [{"name": "item", "kind": "id"}]},
            "queries": {"id": "search", "table": {"paths": ["q.csv"]}, "features": features},
            "split": {"kind": "random"},
        }
    )
    lookup = SimpleNamespace(spec=spec, find_queries=lambda ids: {}, find_rows=lambda ids: {})
    specs = {name: tf.TensorSpec([None], tf.string, name) for name in ("search", "words", "place")}
    found = QueryReader(lookup, specs, np.array([b"bag"], object)).find(["red bag"])
    assert {name: found.features[name].to_pylist() for name in specs} == {
        "search": [[b"red bag"]],
        "words": [[b"red bag"]],
        "place": [[]],
    }
    assert found.is_known == [False]
