"""What a trial of a search trains: towers and predictors by their own training functions, judged on validation."""

import dataclasses
import os
from types import SimpleNamespace

import numpy as np
import pytest

from pipelines.stages import tune, tune_finetune
from recsys_ssl import kinds
from recsys_ssl.encoders import finetune as finetuning
from recsys_ssl.encoders import store
from recsys_ssl.encoders.molecule.settings import FinetuneConfig
from recsys_ssl.evaluation.prediction import Split
from recsys_ssl.training import train as training
from recsys_ssl.training.config import SslConfig, TrainConfig
from recsys_ssl.training.train import TrainInputs
from recsys_ssl.tuning.config import Pruned, Request


@pytest.fixture(autouse=True)
def cores(monkeypatch):
    """This process has begun to use its cores."""
    for module in (tune, tune_finetune):
        monkeypatch.setattr(module, "share_cores", lambda processes: None)


def ask(settings, seed=0, slot="0", report=lambda count, score: None):
    return Request(settings, seed, slot, report)


@pytest.fixture
def shop_task(shop, tmp_path):
    encoded = shop.encoded
    inputs = TrainInputs(encoded.interactions, encoded.catalogue, encoded.query_transform, encoded.item_transform, None)
    sizes = {"feature_dim": 4, "embedding_dim": 4, "batch_size": 64, "steps": 8, "eval_every": 3}
    config = TrainConfig(**sizes, ssl=SslConfig(batch_size=32))
    return tune.TowersTask(shop.spec.to_json(), config, "train", inputs, str(tmp_path / "scratch"))


def test_towers_are_trained_by_fit_and_pruned_at_a_validation(shop_task, monkeypatch):
    fit, fitted = training.fit, []

    def keep(spec, config, *arguments, **options):
        fitted.append((config, fit(spec, config, *arguments, **options)))
        return fitted[-1][1]

    monkeypatch.setattr(training, "fit", keep)
    objective, told = tune.make_towers_objective(shop_task, 1), []
    settings = {"learning_rate": 0.3, "ssl.weight": 0.1}
    score = objective(ask(settings, 0, "0", lambda *news: told.append(news)))
    config = dataclasses.replace(shop_task.config, learning_rate=0.3, ssl=SslConfig(batch_size=32, weight=0.1))
    ((used, done),) = fitted
    assert used == config
    assert score == done.outcome.best_score
    assert [count for count, _ in told] == [1, 2, 3] == list(range(1, shop_task.most_reports + 1))
    assert score == max(value for _, value in told)

    def prune(count, value):
        told.append(("pruned", count))
        if count == 2:
            raise Pruned

    with pytest.raises(Pruned):
        objective(ask(settings, 0, "1", prune))
    assert told[-2:] == [("pruned", 1), ("pruned", 2)]
    assert len(fitted) == 1
    assert not os.listdir(shop_task.scratch_dir)


@pytest.fixture
def fitted(monkeypatch):
    """Calls of `fit`, which trains nothing."""
    calls = []

    def fit(spec, config, inputs, directory, progress):
        os.makedirs(directory)
        calls.append((config, directory))
        return SimpleNamespace(outcome=SimpleNamespace(best_score=None if config.steps == 666 else 0.25))

    monkeypatch.setattr(training, "fit", fit)
    return calls


def test_a_trial_has_its_settings_its_seed_and_a_directory_that_is_gone_afterwards(shop_task, fitted):
    task = dataclasses.replace(shop_task, config=dataclasses.replace(shop_task.config, seed=10))
    objective = tune.make_towers_objective(task, 1)
    assert objective(ask({"temperature": 0.2}, seed=2, slot="7:2")) == 0.25
    config, directory = fitted[0]
    assert (config.seed, config.temperature, config.batch_size) == (12, 0.2, 64)
    assert directory == os.path.join(task.scratch_dir, "7-2")
    assert not os.path.exists(directory)


def test_a_split_without_validation_is_refused(shop_task, fitted):
    task = dataclasses.replace(shop_task, config=dataclasses.replace(shop_task.config, steps=666))
    with pytest.raises(ValueError, match="a search needs validation"):
        tune.make_towers_objective(task, 1)(ask({}))


def test_a_setting_that_cannot_be_is_the_reason_of_the_trial(shop_task, fitted):
    with pytest.raises(ValueError, match="train.temperature must be positive"):
        tune.make_towers_objective(shop_task, 1)(ask({"temperature": 0.0}))
    assert not fitted


@pytest.fixture
def finetuned(monkeypatch):
    """Calls of `finetune`, which tells three epochs of two steps each."""
    calls = []

    def finetune(kind, encoder, contents, targets, split, task, config, directory, progress):
        calls.append((kind, encoder, contents, split, task, config, directory))
        for step in (2, 4, 6):
            progress(step, 6, {"loss": 1.0, "validation_rmse": 1.0 / step})
        return SimpleNamespace(metrics={"train": 0.1, "validation": 0.5, "test": 0.9})

    module = kinds.load("molecule", "predict")
    table = SimpleNamespace(texts=list("CNOF"), contents=list("cnof"), targets=np.zeros([4, 1]))
    monkeypatch.setattr(finetuning, "finetune", finetune)
    monkeypatch.setattr(store, "load", lambda directory, kind: f"{kind} of {directory}")
    tables = {"molecule of model": table}  # content is read for its encoder
    monkeypatch.setattr(module, "read_table", lambda path, column, targets, encoder: tables[encoder])
    monkeypatch.setitem(
        module.SPLITS, "random", lambda texts, seed: Split(np.arange(4), np.array([seed]), np.arange(1))
    )
    return calls


def test_predictors_are_fine_tuned_on_one_split_whatever_the_seed(finetuned, tmp_path):
    config = FinetuneConfig(seed=5, batch_size=2, epochs=3, warmup_epochs=1)
    of_data = "molecule", "model", "data.csv", "smiles", ("y",), "regression", "random"
    task = tune_finetune.FinetuneTask(*of_data, config, str(tmp_path))
    objective, told = tune_finetune.make_finetune_objective(task, 1), []
    assert objective(ask({"dropout": 0.2}, 1, "3:1", lambda *news: told.append(news))) == 0.5
    kind, encoder, contents, split, of, used, directory = finetuned[0]
    assert (kind, encoder, contents, of) == ("molecule", "molecule of model", list("cnof"), "regression")
    assert (used.seed, used.dropout, used.epochs) == (6, 0.2, 3)
    assert split.validation == [5]
    assert directory == str(tmp_path / "3-1")
    assert told == [(1, 1 / 2), (2, 1 / 4), (3, 1 / 6)]
    assert task.most_reports == 3
