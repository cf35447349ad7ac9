"""Whole runs on the shop: what they learn, that they repeat, and that a killed one ends like an unharmed one."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl.evaluation.metrics import recall
from recsys_ssl.evaluation.ranking import rank_by_popularity
from recsys_ssl.features.batch import Catalogue
from recsys_ssl.training.train import build_model, train
from recsys_ssl.training.validation import Validator

ROOT = Path(__file__).resolve().parents[2]
# 150 steps are almost four epochs of 40 batches.
CFM = {"regularizer": "cfm", "logq": "streaming", "steps": 150, "eval_every": 30, "learning_rate": 0.3, "ssl_weight": 0.1}


def run(shop, inputs, config, directory, **options):
    export_dir, checkpoint_dir = str(directory / "export"), str(directory / "checkpoints")
    result = train(shop.spec, config, inputs, export_dir, checkpoint_dir, **options)
    return SimpleNamespace(result=result, export_dir=export_dir, checkpoint_dir=checkpoint_dir)


def figures_of(result):
    """What must not depend on time or interruptions."""
    return result.best_step, result.best_recall, result.last_step


def item_embeddings(export_dir, shop):
    """Embeddings of the raw items by the exported model."""
    items = shop.items
    raw = {name: tf.constant([(item[name] or [b""])[0] for item in items]) for name in ("product", "brand", "title")}
    raw["tags"] = tf.constant([item["tags"] + [b""] * (3 - len(item["tags"])) for item in items])
    raw["price"] = tf.constant([(item["price"] or [np.nan])[0] for item in items], tf.float32)
    raw["shape"] = tf.constant([item["shape"] or [np.nan] * 2 for item in items], tf.float32)
    return tf.saved_model.load(export_dir).signatures["embed_item"](**raw)["embedding"].numpy()


@pytest.fixture(scope="module")
def unharmed(shop, shop_inputs, make_config, tmp_path_factory):
    """A run that nothing interrupts, and what it told on its way."""
    told = []
    directory = tmp_path_factory.mktemp("unharmed")
    done = run(
        shop,
        shop_inputs,
        make_config(**CFM),
        directory,
        log_dir=str(directory / "logs"),
        progress=lambda *news: told.append(news),
    )
    done.told, done.log_dir = told, str(directory / "logs")
    return done


# --- Learning -----------------------------------------------------------------------------------------


def popularity_recall(shop, inputs, config, k):
    _, catalogue = build_model(shop.spec, config, inputs)
    task = Validator(shop.spec, inputs.interactions_dir, catalogue, 10_000, config.seed).task
    hits, pairs = recall(rank_by_popularity(task, catalogue.train_counts, 1).ranks, task.positive_offsets, k)
    return hits.sum() / pairs.sum()


def test_self_supervised_towers_find_the_items_of_the_query_taste(shop, shop_inputs, make_config, unharmed):
    floor = popularity_recall(shop, shop_inputs, make_config(), 50)
    assert 0.3 < floor < 0.7
    assert unharmed.result.best_recall > floor + 0.25


def test_towers_without_regularizer_find_them_too(shop, shop_inputs, make_config, tmp_path):
    config = make_config(**CFM | {"regularizer": "none", "logq": "exact", "steps": 90})
    done = run(shop, dataclasses.replace(shop_inputs, correlations_path=None), config, tmp_path)
    assert done.result.best_recall > popularity_recall(shop, shop_inputs, config, 50) + 0.25


# --- Reporting ----------------------------------------------------------------------------------------


def test_progress_and_tensorboard_tell_every_validation(unharmed):
    assert [(now, most) for now, most, _ in unharmed.told] == [(step, 150) for step in (30, 60, 90, 120, 150)]
    best = max(figures["validation_recall_at_50"] for _, _, figures in unharmed.told)
    assert unharmed.result.best_recall == best
    for _, _, figures in unharmed.told:
        weighted = figures["supervised_loss"] + 0.1 * figures["auxiliary_loss"]
        assert figures["loss"] == pytest.approx(weighted, rel=1e-5)
        assert figures["auxiliary_loss"] > 0
        assert figures["examples_per_second"] > 0
    logged = {}
    for path in Path(unharmed.log_dir).iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                logged[event.step, value.tag] = tf.make_ndarray(value.tensor).item()
    for now, _, figures in unharmed.told:
        for name, value in figures.items():
            assert logged[now, name] == pytest.approx(value, rel=1e-5)


# --- Repeating and resuming ---------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_run(shop, shop_inputs, make_config, unharmed, tmp_path):
    again = run(shop, shop_inputs, make_config(**CFM), tmp_path)
    assert figures_of(again.result) == figures_of(unharmed.result)
    np.testing.assert_array_equal(item_embeddings(again.export_dir, shop), item_embeddings(unharmed.export_dir, shop))


KILLED = """
import json, os, signal, sys, threading
import recsys_ssl
from recsys_ssl.spec import FeatureSpec
from recsys_ssl.training.config import TrainConfig
from recsys_ssl.training.train import TrainInputs, train

spec, config, inputs, export_dir, checkpoint_dir = json.loads(sys.argv[1])
config["hidden"] = tuple(config["hidden"])


def die_soon(now, most, figures):
    # Somewhere in the steps after the second checkpoint.
    if now == 60:
        threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGKILL)).start()
    if now > 60:
        print("outlived its end", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)


train(FeatureSpec.from_json(spec), TrainConfig(**config), TrainInputs(**inputs), export_dir, checkpoint_dir, None, die_soon)
"""


def test_a_killed_run_ends_like_an_unharmed_one(shop, shop_inputs, make_config, unharmed, tmp_path):
    config = make_config(**CFM)
    arguments = [
        shop.spec.to_json(),
        dataclasses.asdict(config),
        dataclasses.asdict(shop_inputs),
        str(tmp_path / "export"),
        str(tmp_path / "checkpoints"),
    ]
    child = subprocess.run(
        [sys.executable, "-c", KILLED, json.dumps(arguments)], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert child.returncode == -signal.SIGKILL, child.stderr[-2000:]
    assert child.stdout == ""
    assert not os.path.exists(tmp_path / "export")
    told = []
    resumed = run(shop, shop_inputs, config, tmp_path, progress=lambda now, *_: told.append(now))
    assert told == [90, 120, 150]
    assert figures_of(resumed.result) == figures_of(unharmed.result)
    np.testing.assert_array_equal(item_embeddings(resumed.export_dir, shop), item_embeddings(unharmed.export_dir, shop))


def test_a_finished_run_is_not_trained_again(shop, shop_inputs, make_config, unharmed, tmp_path):
    told = []
    again = train(
        shop.spec,
        make_config(**CFM),
        shop_inputs,
        str(tmp_path / "export"),
        unharmed.checkpoint_dir,
        progress=lambda *news: told.append(news),
    )
    assert told == []
    assert figures_of(again) == figures_of(unharmed.result)
    np.testing.assert_array_equal(
        item_embeddings(str(tmp_path / "export"), shop), item_embeddings(unharmed.export_dir, shop)
    )


# --- Early stopping -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recalls", "best", "last"),
    [([0.1, 0.4, 0.4, 0.3, 0.9], 2, 4), ([0.5, 0.1, 0.6, 0.2, 0.1, 0.9], 3, 5)],
    ids=["an equal recall is no better", "a better one in time"],
)
def test_training_stops_when_recall_does_not_rise_and_exports_the_best(
    monkeypatch, shop, shop_inputs, make_config, tmp_path, recalls, best, last
):
    catalogue = Catalogue(shop_inputs.catalogue_dir, build_model(shop.spec, make_config(), shop_inputs)[1].layout)
    embeddings = []

    def scripted_recall(validator, model, k=50):
        assert k == 50
        embeddings.append(model.embed_items(catalogue.gather(tf.range(200, dtype=tf.int64))).numpy())
        return recalls[len(embeddings) - 1]

    monkeypatch.setattr(Validator, "recall_at", scripted_recall)
    config = make_config(regularizer="none", steps=100, eval_every=3, patience=2)
    done = run(shop, shop_inputs, config, tmp_path)
    assert figures_of(done.result) == (3 * best, recalls[best - 1], 3 * last)
    assert np.abs(embeddings[last - 1] - embeddings[best - 1]).max() > 1e-3
    np.testing.assert_allclose(item_embeddings(done.export_dir, shop), embeddings[best - 1], rtol=1e-4, atol=1e-5)


def test_the_last_steps_are_validated_too(monkeypatch, shop, shop_inputs, make_config, tmp_path):
    monkeypatch.setattr("recsys_ssl.training.train.export_towers", lambda *_: None)
    told = []
    config = make_config(regularizer="none", steps=5, eval_every=3)
    run(shop, shop_inputs, config, tmp_path, progress=lambda now, *_: told.append(now))
    assert told == [3, 5]


# --- Errors -------------------------------------------------------------------------------------------


def test_a_batch_larger_than_the_split_is_refused(shop, shop_inputs, make_config, tmp_path):
    with pytest.raises(ValueError, match=r"batch_size=1301, 1300 examples\. Set train\.batch_size to at most 325\."):
        run(shop, shop_inputs, make_config(batch_size=1301), tmp_path)


def test_correlated_masking_without_correlations_is_refused(shop, shop_inputs, make_config, tmp_path):
    inputs = dataclasses.replace(shop_inputs, correlations_path=None)
    with pytest.raises(ValueError, match="needs the correlations of the catalogue"):
        run(shop, inputs, make_config(regularizer="cfm"), tmp_path)


def test_a_loss_that_is_not_finite_stops_the_run(shop, shop_inputs, make_config, tmp_path):
    config = make_config(regularizer="none", steps=4, eval_every=2, learning_rate=1e38)
    with pytest.raises(ValueError, match=r"the loss must be finite.*Lower train\.learning_rate"):
        run(shop, shop_inputs, config, tmp_path)
