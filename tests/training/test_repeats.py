"""Repeat consumption in training: what is read of a history, what the loss makes of it, and that it is learned."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl import examples
from recsys_ssl.features.encoding import EncodedFeature, write_encoding
from recsys_ssl.models import losses
from recsys_ssl.spec import Evaluation, FeatureSpec, IdFeature
from recsys_ssl.training.data import parse
from recsys_ssl.training.step import TrainStep
from recsys_ssl.training.train import TrainInputs, build_model, fit
from recsys_ssl.training.validation import Validator

NUM_ITEMS, NUM_QUERIES, NUM_FAVOURITES, LENGTH = 300, 120, 8, 40
SPEC = FeatureSpec.model_validate(
    {
        "version": 1,
        "name": "again",
        "events": {"paths": ["e.csv"], "query_id": "user", "item_id": "item", "timestamp": {"column": "time"}},
        "items": {"table": {"paths": ["i.csv"]}, "id": "item", "features": [{"name": "item", "kind": "id"}]},
        "queries": {"id": "user", "features": [{"name": "history", "kind": "item_sequence", "length": LENGTH}]},
        "evaluation": {"mask_seen": False, "group_by": "event"},
    }
)


def make_events():
    """24 events a query in order of time: each is one of its eight favourites, drawn from all items at random.

    What comes next is foretold by what came before, item by item, and by nothing else.
    """
    rng, events = np.random.default_rng(0), {"train": [], "eval": []}
    for query in range(NUM_QUERIES):
        chosen = rng.choice(rng.permutation(NUM_ITEMS)[:NUM_FAVOURITES], 24).tolist()
        for number, row in enumerate(chosen):
            events["train" if number < 20 else "eval"].append(
                {
                    "query_id": [b"q%d" % query],
                    "item_row": [row],
                    "timestamp_us": [1000 * number + query],
                    "example_weight": [1.0],
                    "history": chosen[max(0, number - LENGTH) : number],
                }
            )
    return events


EVENTS = make_events()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, make_records):
    """The log as transformation leaves it: the code of an item is its row, and 300 is every unknown one."""
    root = tmp_path_factory.mktemp("again")

    def write(records, directory, split):
        columns = {name: [record[name] for record in records] for name in records[0]}
        examples.write_shard(make_records(columns), directory, split, "part-0")

    counts = np.bincount([event["item_row"][0] for event in EVENTS["train"]], minlength=NUM_ITEMS).tolist()
    items = [
        {"item_row": [row], "item_id": [b"i%d" % row], "train_count": [counts[row]], "item": [row]}
        for row in range(NUM_ITEMS)
    ]
    write(items, root / "catalogue", "catalogue")
    for split, events in EVENTS.items():
        write(events, root / "interactions", split)
    for name, feature in (
        ("item", EncodedFeature("item", "item/item", NUM_ITEMS + 1, unknown=1)),
        ("query", EncodedFeature("history", "item/item", NUM_ITEMS + 1)),
    ):
        (root / name).mkdir()
        write_encoding(str(root / name), [feature])
    return TrainInputs(*(str(root / name) for name in ("interactions", "catalogue", "query", "item")))


@pytest.fixture(scope="module")
def make_settings(make_config):
    def make(repeats="auto", length=5, **changes):
        settings = {"ssl_regularizer": "none", "unknown_query_rate": 0.0, "hidden": (), "temperature": 0.3} | changes
        return make_config(**settings, **{"history.repeats": repeats, "history.length": length})

    return make


def read_batch(inputs, model, split, first, last):
    (shard,) = examples.list_shards(inputs.interactions_dir, split)
    serialized = list(tf.data.TFRecordDataset(shard, compression_type="GZIP"))[first:last]
    return parse(tf.stack(serialized), model.query_layout, same_as_items=False)


# --- What is read ---------------------------------------------------------------------------------------------------


def test_the_mean_reads_the_last_items_and_the_term_all_before_the_event(inputs, make_settings):
    model, _ = build_model(SPEC, make_settings(length=3), inputs)
    query = read_batch(inputs, model, "train", 0, 40).query
    for record, event in enumerate(EVENTS["train"][:40]):
        assert query.codes[query.records == record].numpy().tolist() == event["history"][-3:]
        assert query.history.codes[query.history.records == record].numpy().tolist() == event["history"]
    # An event's own item is in its history only if it was chosen before.
    first = EVENTS["train"][0]
    assert first["item_row"][0] not in query.history.codes[query.history.records == 0].numpy()


@pytest.mark.parametrize(
    ("repeats", "mask_seen", "has_term"),
    [("auto", False, True), ("auto", True, False), ("on", True, True), ("off", False, False)],
)
def test_the_term_is_there_where_queries_choose_again_or_by_setting(
    inputs, make_settings, repeats, mask_seen, has_term
):
    spec = SPEC.model_copy(update={"evaluation": Evaluation(mask_seen=mask_seen)})
    model, _ = build_model(spec, make_settings(repeats), inputs)
    assert (model.repeats is not None) == has_term
    assert (len(read_batch(inputs, model, "train", 5, 6).query.history.codes) == 5) == has_term


def test_a_term_that_cannot_be_is_refused(inputs, make_settings, tmp_path):
    rare = SPEC.items.model_copy(update={"features": (IdFeature(kind="id", name="item", min_count=2),)})
    with pytest.raises(
        ValueError, match="a code of its own for every item. Received: feature 'item' with min_count: 2"
    ):
        build_model(SPEC.model_copy(update={"items": rare}), make_settings("on"), inputs)
    queries = SPEC.queries.model_copy(update={"features": (IdFeature(kind="id", name="user"),)})
    with pytest.raises(ValueError, match="needs an item_sequence among the query features"):
        build_model(SPEC.model_copy(update={"queries": queries}), make_settings("on"), inputs)
    write_encoding(str(tmp_path), [EncodedFeature("brand", "item/brand", 20)])
    without_id = dataclasses.replace(inputs, item_transform_dir=str(tmp_path))
    with pytest.raises(ValueError, match=r"needs 'item' among the features of the item tower. Received: \['brand'\]"):
        build_model(SPEC, make_settings("on"), without_id)


# --- What is learned ------------------------------------------------------------------------------------------------


def again_by_loop(model, history, row):
    """r of an item with one query; -inf where it was not chosen before."""
    count = history.count(row)
    if not count:
        return -np.inf
    features = [1.0, np.log(count), np.log(1 + history[::-1].index(row))]
    return float(model.repeats.weight.numpy() @ features)


def test_every_pair_of_a_batch_that_comes_again_is_one_in_the_loss(inputs, make_settings, monkeypatch):
    model, catalogue = build_model(SPEC, make_settings(), inputs)
    model.repeats.weight.assign([0.5, 1.0, -0.25])
    given, softmax = {}, losses.batch_softmax

    def record(queries, items, positives, *arguments, **keywords):
        given.update(keywords, positives=positives.numpy())
        return softmax(queries, items, positives, *arguments, **keywords)

    monkeypatch.setattr(losses, "batch_softmax", record)
    events, before = EVENTS["train"][10:42], model.repeats.weight.numpy()
    rows = list(dict.fromkeys(event["item_row"][0] for event in events))
    expected = [[again_by_loop(model, event["history"], row) for row in rows] for event in events]
    step = TrainStep(model, catalogue, make_settings(), False, None)
    step.take(read_batch(inputs, model, "train", 10, 42))
    pairs, logits = given["repeats"]
    found = np.full([len(events), len(rows)], -np.inf)
    found[tuple(pairs.numpy().T)] = logits
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert [rows[column] for column in given["positives"]] == [event["item_row"][0] for event in events]
    assert np.all(model.repeats.weight.numpy() != before)


@pytest.fixture(scope="module")
def fitted(inputs, make_settings, tmp_path_factory):
    """The log learned with the term and without it."""
    steps = {"steps": 120, "eval_every": 40, "learning_rate": 0.1, "initial_accumulator": 1e-5, "batch_size": 128}
    return {
        repeats: fit(SPEC, make_settings(repeats, **steps), inputs, str(tmp_path_factory.mktemp(repeats)))
        for repeats in ("on", "off")
    }


def test_what_comes_again_is_learned_with_the_term_and_not_without(fitted):
    """Every held-out item but a new favourite is one of at most eight; 30 of 300 items are asked for."""
    known = np.mean([event["item_row"][0] in event["history"] for event in EVENTS["eval"]])
    with_term, without = (fitted[repeats].outcome.best_score for repeats in ("on", "off"))
    assert known > 0.85
    assert with_term > known
    assert without < 0.5


def test_ranks_of_validation_are_those_of_the_scores_of_all_items(inputs, fitted):
    model, catalogue = fitted["on"].model, fitted["on"].catalogue
    validator = Validator(SPEC, inputs.interactions_dir, catalogue, None, 0)
    vectors = model.vectorize_queries(read_batch(inputs, model, "eval", 0, None).query).numpy()
    scores = vectors @ validator.vectorize_items(model).T / 0.3
    for number, event in enumerate(EVENTS["eval"]):
        for row in set(event["history"]):
            scores[number, row] = np.logaddexp(scores[number, row], again_by_loop(model, event["history"], row))
    own = scores[np.arange(len(scores)), [event["item_row"][0] for event in EVENTS["eval"]]]
    expected = 1 + (scores > own[:, np.newaxis]).sum(axis=1)
    # Rounding may exchange items of almost one score.
    assert np.abs(validator.rank(model, 1).ranks - expected).max() <= 1
