"""Repeats from the exported towers on: in files of embeddings, in evaluation and in both recommenders."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from recsys_ssl.evaluation.queries import build_task, read_item_embeddings, read_query_vectors
from recsys_ssl.evaluation.ranking import rank
from recsys_ssl.evaluation.repeats import read_repeats
from recsys_ssl.index import embed, embeddings, export, scann_index
from recsys_ssl.serving.recommender import load_recommender, recommend
from recsys_ssl.spec import Evaluation
from recsys_ssl.training.export import export_towers
from recsys_ssl.training.train import build_model
from recsys_ssl.training.validation import Validator

VARIANTS = ["brute_force", "scann"]
# In logits: some items of a history are far above their dot product, and some hardly.
WEIGHT = [2.5, 2.0, -0.7]
NUM_ITEMS = 200


@pytest.fixture(scope="module")
def model(shop, shop_inputs, make_config):
    """Untrained towers, which tell items apart as well as others."""
    spec = shop.spec.model_copy(update={"evaluation": Evaluation(group_by="event", mask_seen=False)})
    config = make_config(temperature=0.25, popularity_prior=0.5, **{"history.length": 2})
    model, catalogue = build_model(spec, config, shop_inputs)
    rng = np.random.default_rng(2)
    for variable in model.variables:
        variable.assign(rng.normal(size=variable.shape))
    model.repeats.weight.assign(WEIGHT)
    return spec, model, catalogue


@pytest.fixture(scope="module")
def exported(shop, model, tmp_path_factory):
    """Directories of the towers, the embeddings, the index and the recommenders."""
    spec, towers, catalogue = model
    root = tmp_path_factory.mktemp("repeats")
    places = {name: str(root / name) for name in ("towers", "items", "queries", "index", *VARIANTS)}
    export_towers(towers, spec, shop.encoded.query_transform, shop.encoded.item_transform, places["towers"], catalogue)
    embed.embed_items(places["towers"], shop.raw.catalogue, places["items"])
    arguments = (shop.raw.interactions, shop.raw.catalogue, "test", spec)
    embed.embed_queries(places["towers"], *arguments, places["queries"], batch_size=64)
    hashed = scann_index.IndexConfig("hash", reorder=NUM_ITEMS)
    scann_index.index_items(places["items"], places["queries"], places["index"], hashed)
    export.export_scann(places["towers"], places["index"], places["scann"])
    export.export_brute_force(places["towers"], places["items"], places["brute_force"])
    return places


def again_by_loop(history):
    """Id -> what it scores as one that is chosen again; `history` oldest first."""
    found = {}
    for age, item_id in enumerate(reversed(history)):
        count, age = found.get(item_id, (0, age))
        found[item_id] = (count + 1, age)
    return {i: 0.25 * (np.array(WEIGHT) @ [1, np.log(n), np.log(1 + age)]) for i, (n, age) in found.items()}


def test_the_files_of_embeddings_hold_the_score_of_every_known_item_of_a_history(shop, exported):
    rows = pq.read_table(exported["queries"])
    histories = [event["history"] for event in shop.events["test"]]
    assert sum(not history for history in histories) > 30
    assert sum(b"gone" in history for history in histories) > 15
    lists = zip(histories, *(rows[name].to_pylist() for name in embeddings.REPEATS), strict=True)
    for history, ids, scores, temperature in lists:
        expected = again_by_loop(history)
        expected.pop(b"gone", None)  # no item of the catalogue; but it has aged the others
        assert (len(ids), temperature) == (len(set(ids)), 0.25)
        assert dict(zip(ids, scores)) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_evaluation_ranks_by_files_as_validation_ranks_in_memory(shop, model, exported):
    spec, towers, catalogue = model
    task = build_task(exported["queries"], spec, NUM_ITEMS)
    _, items, _ = read_item_embeddings(exported["items"])
    queries = read_query_vectors(exported["queries"], task.event_rows)
    repeats = read_repeats(exported["queries"], exported["items"], task.event_rows)
    found = rank(task, queries, items, k=10, repeats=repeats)
    expected = Validator(spec, shop.encoded.interactions, catalogue, None, 0, split="test").rank(towers, k=10)
    assert np.abs(found.ranks - expected.ranks).max() <= 1  # by rounding
    assert (found.top_rows == expected.top_rows).mean() > 0.99
    assert np.abs(found.ranks - rank(task, queries, items, k=10).ranks).max() > 20


HISTORIES = [
    [],
    ["p-7"],
    ["p-1", "p-2", "p-1", "gone", "p-3"],
    ["gone"],
    # More than the 20 that the spec keeps: the first two are forgotten.
    ["p-90", "p-91", *(f"p-{row % 9}" for row in range(20))],
]


@pytest.fixture(scope="module")
def expected(exported):
    """Per history the ids of all items, best first, and their scores, by NumPy."""
    towers, items = tf.saved_model.load(exported["towers"]), embeddings.read_items(exported["items"])
    ids, ranked = [item_id.as_py().decode() for item_id in items.item_ids], []
    for history in HISTORIES:
        inputs = {"taste": tf.constant(["taste 3"]), "history": tf.reshape(tf.constant(history, tf.string), [1, -1])}
        scores = items.vectors @ towers.signatures["embed_query"](**inputs)["embedding"].numpy()[0]
        for item_id, again in again_by_loop(history[-20:]).items():
            if item_id in ids:
                row = ids.index(item_id)
                scores[row] = 0.25 * np.logaddexp(scores[row] / 0.25, again / 0.25)
        order = np.argsort(-scores, kind="stable")
        ranked.append(([ids[row] for row in order], scores[order]))
    return ranked


@pytest.fixture(scope="module", params=VARIANTS)
def recommender(request, exported):
    return load_recommender(exported[request.param])


@pytest.mark.parametrize("k", [1, 5, NUM_ITEMS])
def test_recommenders_rank_as_if_every_item_were_scored(recommender, expected, k):
    found = recommend(recommender, {"taste": ["taste 3"] * len(HISTORIES), "history": HISTORIES}, k)
    for ids, scores, (all_ids, all_scores) in zip(*found, expected, strict=True):
        np.testing.assert_allclose(scores, all_scores[:k], atol=1e-5)
        assert len(ids) == len(set(ids)) == k
        assert sum(left != right for left, right in zip(ids, all_ids)) <= 2  # by rounding


def test_recommenders_leave_out_what_is_excluded_of_a_history_too(recommender, expected):
    exclude = [[*ids[:2], *history[:1], "p-150", "no item"] for (ids, _), history in zip(expected, HISTORIES)]
    features = {"taste": ["taste 3"] * len(HISTORIES), "history": HISTORIES}
    found = recommend(recommender, features, 6, exclude).item_ids
    left = [[i for i in ids if i not in without][:6] for (ids, _), without in zip(expected, exclude)]
    assert found == left
    nothing = recommend(recommender, features, 6, [ids for ids, _ in expected]).item_ids
    assert nothing == [[]] * len(HISTORIES)


def test_repeats_change_what_is_recommended(exported, expected):
    """Else the tests above would hold without them."""
    items = embeddings.read_items(exported["items"])
    towers = tf.saved_model.load(exported["towers"]).signatures["embed_query"]
    for history, (ids, _) in list(zip(HISTORIES, expected))[1:]:
        inputs = {"taste": tf.constant(["taste 3"]), "history": tf.constant([history])}
        plain = np.argsort(-(items.vectors @ towers(**inputs)["embedding"].numpy()[0]), kind="stable")
        assert (ids == [items.item_ids[int(row)].as_py().decode() for row in plain]) == (history == ["gone"])
