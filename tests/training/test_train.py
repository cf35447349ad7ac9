"""Whole runs on the shop: what they learn, that they repeat, and that a killed one ends like an unharmed one."""

import dataclasses
import itertools
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl.evaluation.metrics import recall
from recsys_ssl.evaluation.ranking import rank_by_popularity
from recsys_ssl.spec import Split
from recsys_ssl.training.step import TrainStep
from recsys_ssl.training.train import build_model, fit
from recsys_ssl.training.validation import Validator

ROOT = Path(__file__).resolve().parents[2]


# --- Learning -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def popularity_recall(shop, shop_inputs, make_config):
    """Recall@20, the figure of validations on 200 items, of the items bought most."""
    _, catalogue = build_model(shop.spec, make_config(), shop_inputs)
    task = Validator(shop.spec, shop_inputs.interactions_dir, catalogue, 10_000, 0).task
    hits, pairs = recall(rank_by_popularity(task, catalogue.train_counts, 1).ranks, task.positive_offsets, 20)
    return hits.sum() / pairs.sum()


def test_self_supervised_towers_find_the_items_of_the_query_taste(unharmed, popularity_recall):
    assert 0.2 < popularity_recall < 0.7
    assert unharmed.result.best_score > popularity_recall + 0.25


def test_towers_without_regularizer_find_them_too(shop_inputs, make_config, run_training, popularity_recall, tmp_path):
    config = make_config(ssl_regularizer="none", learning_rate=0.3, steps=100, eval_every=30)
    inputs = dataclasses.replace(shop_inputs, correlations_path=None)
    done = run_training(inputs, config, tmp_path)
    assert done.result.best_score > popularity_recall + 0.25
    # The last steps are validated too.
    assert [now for now, _, _ in done.told] == [30, 60, 90, 100]


# --- Reporting ----------------------------------------------------------------------------------------


def test_progress_and_tensorboard_tell_every_validation(unharmed):
    assert [(now, most) for now, most, _ in unharmed.told] == [(step, 150) for step in (30, 60, 90, 120, 150)]
    recalls = [figures["validation_recall_at_20"] for _, _, figures in unharmed.told]
    assert unharmed.result.score == "validation_recall_at_20"
    assert unharmed.figures == (30 * (recalls.index(max(recalls)) + 1), max(recalls), 150)
    for _, _, figures in unharmed.told:
        weighted = figures["supervised_loss"] + 0.1 * figures["auxiliary_loss"]
        assert figures["loss"] == pytest.approx(weighted, rel=1e-5)
        assert figures["auxiliary_loss"] > 0
        assert figures["examples_per_second"] > 0
    logged = {}
    for path in Path(unharmed.directory, "logs").iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                logged[event.step, value.tag] = tf.make_ndarray(value.tensor).item()
    for now, _, figures in unharmed.told:
        for name, value in figures.items():
            assert logged[now, name] == pytest.approx(value, rel=1e-5)


@pytest.fixture
def script_steps(monkeypatch):
    """Makes every step add to the weights and report a loss, without the time that compiling takes."""

    def script(loss):
        def compile_nothing(step, batch_spec):
            def take(batch):
                step.step.assign_add(1)
                step.model.table.assign_add(tf.random.stateless_normal(step.model.table.shape, [0, 0]))
                return {"loss": loss}

            return take

        monkeypatch.setattr(TrainStep, "compile", compile_nothing)

    return script


def test_without_a_validation_no_held_out_event_is_read_and_the_last_weights_are_kept(
    shop, shop_inputs, make_config, script_steps, tmp_path
):
    script_steps(1.0)
    split = Split(kind="given", test_paths=["test.csv"], validation=0.0)
    spec = shop.spec.model_copy(update={"split": split})
    target = tmp_path / "interactions" / "Split-train"
    target.parent.mkdir()
    target.symlink_to(Path(shop_inputs.interactions_dir) / "Split-train")
    inputs = dataclasses.replace(shop_inputs, interactions_dir=str(target.parent))
    told = []
    config = make_config(steps=25, eval_every=10, patience=1)
    outcome = fit(spec, config, inputs, str(tmp_path), progress=lambda *news: told.append(news)).outcome
    assert [now for now, _, _ in told] == [10, 20, 25]
    assert all("loss" in figures and not any("validation" in name for name in figures) for *_, figures in told)
    assert (outcome.score, outcome.best_score, outcome.best_step, outcome.last_step) == (None, None, 25, 25)


# --- Repeating and resuming ---------------------------------------------------------------------------


def test_another_seed_gives_another_model(shop, shop_inputs, cfm_config, unharmed, embed_shop):
    model, _ = build_model(shop.spec, cfm_config, shop_inputs)
    assert np.abs(embed_shop(model) - unharmed.embeddings)[:, :-1].max() > 0.1


KILLED = """
import json, os, signal, sys, threading
import recsys_ssl
from recsys_ssl.settings import build
from recsys_ssl.spec import FeatureSpec
from recsys_ssl.training.config import TrainConfig
from recsys_ssl.training.train import TrainInputs, train

spec, config, inputs, *directories = json.loads(sys.argv[1])
config = build("train", TrainConfig, config)


def die_soon(now, most, figures):
    timed = ("examples_per_second", "seconds_left")
    print(json.dumps({name: figure for name, figure in figures.items() if name not in timed}), flush=True)
    # Somewhere in the steps after the second checkpoint.
    if now == 60:
        threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGKILL)).start()
    if now > 60:
        sys.exit("outlived its end")


train(FeatureSpec.from_json(spec), config, TrainInputs(**inputs), *directories, None, die_soon)
"""


def test_a_killed_run_ends_like_an_unharmed_one(shop, shop_inputs, cfm_config, run_training, unharmed, tmp_path):
    settings = [shop.spec.to_json(), dataclasses.asdict(cfm_config), dataclasses.asdict(shop_inputs)]
    arguments = json.dumps([*settings, str(tmp_path / "export"), str(tmp_path / "checkpoints")])
    child = subprocess.run([sys.executable, "-c", KILLED, arguments], cwd=ROOT, capture_output=True, text=True)
    assert child.returncode == -signal.SIGKILL, child.stderr[-2000:]
    assert not (tmp_path / "export").exists()
    # The same seed gives the same run, in another process too.
    for line, (_, _, figures) in itertools.zip_longest(child.stdout.splitlines(), unharmed.told[:2]):
        assert figures.items() >= json.loads(line).items()
    resumed = run_training(shop_inputs, cfm_config, tmp_path)
    assert [now for now, _, _ in resumed.told] == [90, 120, 150]
    assert resumed.figures == unharmed.figures
    np.testing.assert_array_equal(resumed.embeddings, unharmed.embeddings)


def test_a_finished_run_is_not_trained_again(shop_inputs, cfm_config, run_training, unharmed):
    again = run_training(shop_inputs, cfm_config, unharmed.directory)
    assert again.told == []
    assert again.figures == unharmed.figures
    np.testing.assert_array_equal(again.embeddings, unharmed.embeddings)


def test_other_settings_begin_a_run_of_their_own(script_steps, shop_inputs, make_config, run_training, tmp_path):
    script_steps(loss=1.0)
    for learning_rate in (0.1, 0.2):
        done = run_training(shop_inputs, make_config(steps=2, eval_every=2, learning_rate=learning_rate), tmp_path)
        assert [now for now, _, _ in done.told] == [2]
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


@pytest.mark.parametrize(("batch_size", "taken"), [(1299, 1299), (1300, 1300), (10_000, 1300)])
def test_a_batch_holds_no_more_than_the_train_split(
    monkeypatch, shop, shop_inputs, make_config, tmp_path, batch_size, taken
):
    sizes = []

    def compile_nothing(step, batch_spec):
        def take(batch):
            step.step.assign_add(1)
            sizes.append(len(batch.item_rows))
            return {"loss": tf.constant(1.0)}

        return take

    monkeypatch.setattr(TrainStep, "compile", compile_nothing)
    fitted = fit(shop.spec, make_config(batch_size=batch_size, steps=3, eval_every=3), shop_inputs, str(tmp_path))
    assert sizes == [taken] * 3
    assert fitted.outcome.examples_per_step == taken


# --- Correlations -------------------------------------------------------------------------------------


@pytest.mark.parametrize("correlation", ["raw", "normalised"])
def test_correlations_are_matched_to_the_features_by_name(
    monkeypatch, shop, shop_inputs, make_config, run_training, tmp_path, correlation
):
    class Constructed(Exception):  # noqa: N818
        pass

    def construct(model, catalogue, config, same_as_items, mutual_information):
        raise Constructed(mutual_information)

    monkeypatch.setattr("recsys_ssl.training.train.TrainStep", construct)
    with pytest.raises(Constructed) as constructed:
        run_training(shop_inputs, make_config(ssl_regularizer="cfm", ssl_correlation=correlation), tmp_path)
    (matrix,) = constructed.value.args
    written = json.loads(Path(shop_inputs.correlations_path).read_text())
    values = written["mutual_information_nats" if correlation == "raw" else "normalised_mutual_information"]
    names = [feature.name for feature in shop.spec.item_features]
    for (row, name), (column, other) in itertools.product(enumerate(names), repeat=2):
        known = [written["feature_names"].index(n) for n in (name, other) if n != "shape"]
        assert matrix[row, column] == (values[known[0]][known[1]] if len(known) == 2 else 0.0)


# --- Early stopping -----------------------------------------------------------------------------------


def test_training_stops_when_recall_does_not_rise_and_exports_the_best(
    monkeypatch, script_steps, shop_inputs, make_config, run_training, embed_shop, tmp_path
):
    # Better in time at the third validation; an equal recall at the fourth is no better.
    recalls, embeddings = iter([0.5, 0.1, 0.6, 0.6, 0.2, 0.9]), []

    def scripted_recall(validator, model, k):
        assert k == 20  # a tenth of the catalogue
        embeddings.append(embed_shop(model))
        return next(recalls)

    script_steps(loss=1.0)
    monkeypatch.setattr(Validator, "recall_at", scripted_recall)
    done = run_training(shop_inputs, make_config(steps=100, eval_every=3, patience=2), tmp_path)
    assert done.figures == (3 * 3, 0.6, 3 * 5)
    np.testing.assert_array_equal(done.embeddings, embeddings[2])
    assert np.abs(embeddings[4] - embeddings[2]).max() > 1e-3


# --- Errors -------------------------------------------------------------------------------------------


def test_correlated_masking_without_correlations_is_refused(shop_inputs, make_config, run_training, tmp_path):
    inputs = dataclasses.replace(shop_inputs, correlations_path=None)
    with pytest.raises(ValueError, match="needs the correlations of the catalogue"):
        run_training(inputs, make_config(ssl_regularizer="cfm"), tmp_path)


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_stops_the_run(script_steps, shop_inputs, make_config, run_training, tmp_path, loss):
    script_steps(loss)
    with pytest.raises(ValueError, match=r"the loss must be finite.* at step 2\. Lower train\.learning_rate"):
        run_training(shop_inputs, make_config(steps=4, eval_every=2), tmp_path)
