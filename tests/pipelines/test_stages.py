"""What stages hand on to each other besides data: the settings of the training, from the towers to the report."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.config import parse_overrides
from pipelines.stages import embed, evaluate, train
from recsys_ssl import artifacts
from recsys_ssl.evaluation.decision import EvaluationConfig
from recsys_ssl.loop import Outcome

SPEC = SimpleNamespace(items=SimpleNamespace(title=None))


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Stages without the work that they do, in one working directory; `told` is what the evaluation is given."""

    def train_nothing(spec, config, inputs, towers_dir, *rest):
        if config.seed == 666:
            raise KeyboardInterrupt
        return Outcome("validation_recall_at_50", 10, 0.25, 20, 1.0, 2.0)

    told = []
    monkeypatch.setattr(train, "train", train_nothing)
    monkeypatch.setattr(embed, "embed_items", lambda *arguments: None)
    monkeypatch.setattr(embed, "embed_queries", lambda *arguments: None)
    monkeypatch.setattr(evaluate, "write_report", lambda *arguments: None)

    def evaluate_arms(spec, *arms, **rest):
        told.extend(arms)
        return {"verdict": {"word": "hold", "reasons": []}}

    monkeypatch.setattr(evaluate, "evaluate_arms", evaluate_arms)
    artifacts.write_text(tmp_path / "interactions" / artifacts.SUMMARY_FILE, "{}")

    class Work:
        def __init__(self):
            self.told = told

        def train(self, arm, *overrides):
            config = parse_overrides(overrides)
            config = config.control if arm == "control" else config.train
            at = tmp_path / arm
            train.train_arm(SPEC, config, None, str(at / "towers"), str(at / "checkpoints"), str(at / "run"))

        def embed(self, arm):
            at = tmp_path / arm
            places = (str(at / name) for name in ("towers", "interactions", "catalogue", "items", "queries"))
            embed.embed_arm(SPEC, *places, [])

        def evaluate(self):
            arms = (evaluate.ArmDirs(str(tmp_path / arm / "items"), "queries") for arm in ("control", "treatment"))
            evaluate.evaluate_run(
                SPEC, *arms, str(tmp_path / "interactions"), "catalogue", "report", EvaluationConfig()
            )
            return [(arm.name, arm.settings) for arm in told]

    return Work()


def test_the_report_is_told_what_the_arms_were_trained_with(work):
    work.train("control", "train.steps=20")
    work.train("treatment", "train.steps=20", "train.ssl.regularizer=spread_out", "train.hidden=[8, 4]")
    for arm in ("control", "treatment"):
        work.embed(arm)
    (control, of_control), (treatment, of_treatment) = work.evaluate()
    assert (control, treatment) == ("control (none)", "treatment (spread_out)")
    assert (of_control["steps"], of_treatment["steps"], of_treatment["hidden"]) == (20, 20, [8, 4])
    expected = parse_overrides(["train.steps=20", "train.ssl.regularizer=spread_out", "train.hidden=[8, 4]"]).train
    assert of_treatment == json.loads(json.dumps(dataclasses.asdict(expected)))


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


def test_the_result_of_a_training_names_its_score(work, tmp_path):
    work.train("control")
    result = json.loads(Path(tmp_path, "control", "run", artifacts.TRAIN_RESULT_FILE).read_text())
    assert (result["score"], result["best_score"]) == ("validation_recall_at_50", 0.25)
