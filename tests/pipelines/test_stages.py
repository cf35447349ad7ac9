"""What stages hand on to each other besides data: the settings of the training, from the towers to the report."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipelines.config import parse_overrides
from pipelines.stages import embed, evaluate, train
from recsys_ssl import artifacts, examples
from recsys_ssl.evaluation.decision import EvaluationConfig
from recsys_ssl.loop import Outcome
from recsys_ssl.spec_features import CategoricalFeature, ContentFeature, DenseFeature, IdFeature, TextFeature
from recsys_ssl.training.config import SslConfig, TrainConfig
from recsys_ssl.training.defaults import LogFacts, fit_to_log

ID = IdFeature(name="item", kind="id")
SINGLE = CategoricalFeature(name="maker", kind="categorical")
SEVERAL = CategoricalFeature(name="genres", kind="categorical", multi_valued=True)
TEXT = TextFeature(name="title", kind="text")
VECTOR = DenseFeature(name="vector", kind="dense", dim=3)
MOLECULE = ContentFeature(name="structure", kind="molecule")
SPEC = SimpleNamespace(
    items=SimpleNamespace(title=None),
    item_features=(ID, SINGLE),
    item_id_feature=ID,
    evaluation=SimpleNamespace(cluster_by=None),
)


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Stages without the work that they do, in one working directory; `told` is what the evaluation is given."""

    def train_nothing(spec, config, inputs, towers_dir, *rest):
        if config.seed == 666:
            raise KeyboardInterrupt
        if config.seed == 8:  # no validation is held out
            return Outcome(None, 20, None, 20, False, 16, 1.0, 2.0)
        return Outcome("validation_recall_at_50", 10, 0.25, 20, config.seed == 7, 16, 1.0, 2.0)

    told = []
    monkeypatch.setattr(train, "train", train_nothing)
    monkeypatch.setattr(train, "measure", lambda directory: LogFacts(50_000, 40.0, 40.0))
    monkeypatch.setattr(embed, "embed_items", lambda *arguments: None)
    monkeypatch.setattr(embed, "embed_queries", lambda *arguments: None)
    monkeypatch.setattr(evaluate, "write_report", lambda *arguments: None)

    def evaluate_arms(spec, *arms, **rest):
        told.extend(training for arm in arms for training in arm)
        return {"verdict": {"word": "hold", "reasons": []}}

    monkeypatch.setattr(evaluate, "evaluate_arms", evaluate_arms)
    artifacts.write_text(tmp_path / "interactions" / artifacts.SUMMARY_FILE, "{}")

    spec = SimpleNamespace(**vars(SPEC))

    class Work:
        def __init__(self):
            self.told, self.spec = told, spec

        def train(self, arm, *overrides):
            config = parse_overrides(overrides)
            config = config.control if arm == "control" else config.train
            at = tmp_path / arm
            inputs = SimpleNamespace(interactions_dir="interactions")
            train.train_arm(spec, config, inputs, str(at / "towers"), str(at / "checkpoints"), str(at / "run"))

        def embed(self, arm):
            at = tmp_path / arm
            places = (str(at / name) for name in ("towers", "interactions", "catalogue", "items", "queries"))
            embed.embed_arm(SPEC, *places, [])

        def evaluate(self):
            arms = ([evaluate.ArmDirs(str(tmp_path / arm / "items"), "queries")] for arm in ("control", "treatment"))
            evaluate.evaluate_run(
                SPEC, *arms, str(tmp_path / "interactions"), "catalogue", "report", EvaluationConfig()
            )
            return [(arm.name, arm.settings) for arm in told]

    return Work()


def test_the_report_is_told_what_the_arms_were_trained_with(work, caplog):
    caplog.set_level("INFO")
    work.train("control", "train.steps=20")
    work.train("treatment", "train.steps=20", "train.ssl.regularizer=spread_out", "train.hidden=[8, 4]")
    told = [record.getMessage() for record in caplog.records]
    by_log = "start.ids=factors, learning_rate=0.03, temperature=0.2, batch_size=512"
    assert f"none: best validation recall@50 0.2500 at step 10 of 20; by the log: {by_log}" in told
    assert "spread_out: best validation recall@50 0.2500 at step 10 of 20" in told  # hidden layers: nothing by the log
    assert told.count("settings for a log of " + str(LogFacts(50_000, 40.0, 40.0))) == 2
    for arm in ("control", "treatment"):
        work.embed(arm)
    (control, of_control), (treatment, of_treatment) = work.evaluate()
    assert (control, treatment) == ("control (none)", "treatment (spread_out)")
    assert (of_control["steps"], of_treatment["steps"], of_treatment["hidden"]) == (20, 20, [8, 4])
    expected = parse_overrides(["train.steps=20", "train.ssl.regularizer=spread_out", "train.hidden=[8, 4]"]).train
    expected, _ = fit_to_log(expected, LogFacts(50_000, 40.0, 40.0), has_ids=True)
    assert of_treatment == json.loads(json.dumps(dataclasses.asdict(expected)))


@pytest.mark.parametrize("names", [("train", "eval", "test"), ("train", "test")], ids=["validated", "not validated"])
def test_what_queries_chose_before_is_read_from_all_splits_before_the_test(tmp_path, make_records, names):
    events = {"train": ([[b"a"], [b"b"]], [[1], [2]]), "eval": ([[b"a"]], [[3]]), "test": ([[b"a"]], [[4]])}
    for split in names:
        ids, rows = events[split]
        examples.write_shard(make_records({"query_id": ids, "item_row": rows}), tmp_path, split, "part-0")
    spec = SimpleNamespace(split=SimpleNamespace(names=names))
    ids, rows = zip(*evaluate._read_chosen(spec, str(tmp_path)))
    assert [value for batch in ids for value in batch.to_pylist()] == [b"a", b"b", b"a"][: len(names)]
    assert np.concatenate(rows).tolist() == [1, 2, 3][: len(names)]


def test_a_training_after_the_embedding_changes_nothing_of_what_is_judged(work):
    for arm in ("control", "treatment"):
        work.train(arm, "train.seed=1")
        work.embed(arm)
    work.train("treatment", "train.seed=2")
    assert [settings["seed"] for _, settings in work.evaluate()] == [1, 1]
    work.embed("treatment")
    work.told.clear()
    assert [settings["seed"] for _, settings in work.evaluate()] == [1, 2]


def test_towers_whose_training_did_not_end_have_no_settings(work):
    work.train("treatment")
    with pytest.raises(KeyboardInterrupt):
        work.train("treatment", "train.seed=666")
    with pytest.raises(FileNotFoundError, match=r"There is no .*/towers/train_settings.json.*train the arm again"):
        work.embed("treatment")


def test_embeddings_that_did_not_end_have_no_settings(work, monkeypatch):
    for arm in ("control", "treatment"):
        work.train(arm)
        work.embed(arm)

    def fail(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(embed, "embed_queries", fail)
    with pytest.raises(KeyboardInterrupt):
        work.embed("treatment")
    message = r"There is no .*treatment/items/train_settings.json. Train the treatment again and embed with it: "
    with pytest.raises(FileNotFoundError, match=message + "`recsys-ssl train --arm treatment`"):
        work.evaluate()


def test_cautions_of_the_training_reach_the_terminal_and_the_report(work, caplog):
    """The control's batch is larger than its train split of 16; the treatment ends while its recall rises."""
    work.train("control", "train.batch_size=17")
    work.train("treatment", "train.batch_size=16", "train.seed=7")
    for arm in ("control", "treatment"):
        work.embed(arm)
    work.evaluate()
    (batch,), (rising,) = (arm.cautions for arm in work.told)
    assert batch == "each batch holds all 16 examples of the train split, which are fewer than train.batch_size=17."
    assert rising == (
        "validation recall@50 still rises at the last of 20 steps. More may give a better model: --set train.steps=40."
    )
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [batch, rising]


@pytest.mark.parametrize(
    ("features", "settings", "taken"),
    [
        ((ID,), {}, "spread_out"),
        ((SINGLE,), {}, "spread_out"),
        ((VECTOR,), {}, "spread_out"),
        ((SEVERAL,), {}, "dropout_only"),
        ((TEXT,), {}, "dropout_only"),
        ((TEXT,), {"value_dropout": 0.0}, "spread_out"),
        ((MOLECULE,), {"value_dropout": 0.0}, "dropout_only"),
        ((MOLECULE,), {"mask_rate": 0.0}, "spread_out"),
        ((ID, SINGLE), {}, "item_masks"),
        ((ID,), {"regularizer": "cfm"}, "cfm"),  # somebody's choice
        ((TEXT,), {"regularizer": "none"}, "none"),
    ],
)
def test_the_default_regularizer_gives_way_to_one_that_hides_what_can_be_hidden(features, settings, taken):
    spec, config = SimpleNamespace(item_features=features), TrainConfig(ssl=SslConfig(**settings))
    assert train.fit_regularizer(spec, config).ssl == dataclasses.replace(config.ssl, regularizer=taken)


def test_of_a_molecule_whose_encoder_is_frozen_nothing_can_be_hidden():
    config = parse_overrides(["train.encoder.molecule.learning_rate=0"]).train
    assert train.fit_regularizer(SimpleNamespace(item_features=(MOLECULE,)), config).ssl.regularizer == "spread_out"


@pytest.mark.parametrize(
    ("features", "regularizer", "taken", "hidden"),
    [
        ((ID,), "item_masks", "spread_out", "nothing"),
        ((TEXT,), "item_masks", "dropout_only", "parts of it"),
        ((ID, SINGLE), "item_masks", "item_masks", ""),
        ((ID,), "cfm", "cfm", ""),
    ],
)
def test_a_regularizer_that_took_the_place_of_the_default_is_told(work, features, regularizer, taken, hidden, caplog):
    work.spec.item_features = features
    work.train("treatment", f"train.ssl.regularizer={regularizer}", "train.batch_size=16")
    work.embed("treatment")
    work.train("control", "train.batch_size=16")
    work.embed("control")
    assert work.evaluate()[1][0] == f"treatment ({taken})"
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == (taken != regularizer)
    reason = f"items have one feature, and item_masks hides whole ones: {taken}, which hides {hidden}, took its place."
    assert all(message.startswith(reason) for message in told)


def test_the_result_of_a_training_names_its_score(work, tmp_path):
    work.train("control")
    result = json.loads(Path(tmp_path, "control", "run", artifacts.TRAIN_RESULT_FILE).read_text())
    assert (result["score"], result["best_score"]) == ("validation_recall_at_50", 0.25)


def test_a_training_without_validation_says_that_the_last_weights_are_kept(work, tmp_path, caplog):
    with caplog.at_level("INFO"):
        work.train("control", "train.seed=8", "train.by_log=[]")
    assert "none: no validation, the last weights at step 20 of 20" in caplog.messages
    result = json.loads(Path(tmp_path, "control", "run", artifacts.TRAIN_RESULT_FILE).read_text())
    assert (result["score"], result["best_score"], result["best_step"]) == (None, None, 20)


def test_labels_of_items_are_read_in_row_order(tmp_path, make_records):
    """A shard in which no item has a value has a column of nulls."""
    for shard, genres in (("part-0", [[b"war", b"drama"], []]), ("part-1", [[], []]), ("part-2", [[b"drama"]])):
        columns = {"item_row": [[row] for row in range(len(genres))], "genres": genres}
        examples.write_shard(make_records(columns), tmp_path, examples.CATALOGUE_SPLIT, shard)
    labels = evaluate._read_labels("genres", str(tmp_path))
    assert [labels.names(row) for row in range(labels.num_rows)] == [["war", "drama"], [], [], [], ["drama"]]
    assert evaluate._read_labels(None, str(tmp_path)) is None
