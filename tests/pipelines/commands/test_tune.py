"""The commands `tune` and `tune-finetune`: what is searched, what is left behind, and that nothing is half done."""

import json
import os
from types import SimpleNamespace

import numpy as np
import pytest

from pipelines import manifests
from pipelines.commands import data_path, searching
from pipelines.config import parse_overrides
from recsys_ssl import artifacts, kinds
from recsys_ssl.encoders import store
from recsys_ssl.training.defaults import LogFacts
from recsys_ssl.tuning import report, workers

SPEC = """
version: 1
name: films
events: {paths: [events.csv], query_id: user, item_id: film, timestamp: {column: time}}
items: {table: {paths: [films.csv]}, id: film, features: [{name: film, kind: id}, {name: maker, kind: categorical}]}
queries: {id: user, features: [{name: user, kind: id}]}
"""
NO_VALIDATION = SPEC + "split: {kind: given, test_paths: [t.csv], validation: 0}\n"


@pytest.fixture
def made(tmp_path, monkeypatch):
    """What was made of the data: parts with manifests, but without content."""
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(manifests, "source_hash", lambda *modules: "code")
    made = []

    def make(stage, name):
        def make(at, spec, *arguments):
            made.append(name)
            facts = {"data": "1"} if name == "ingest" else {}
            settings = arguments[1] if name == "ingest" else {}
            with manifests.making(stage, at, spec, settings, facts=facts) as places:
                for place in places:
                    artifacts.write_text(os.path.join(place, artifacts.SUMMARY_FILE), '{"num_items": 900}')

        return make

    for name, function, stage in (
        ("ingest", "make_interactions", manifests.INGEST),
        ("transform", "make_codes", manifests.TRANSFORM),
        ("correlate", "make_correlations", manifests.CORRELATE),
    ):
        monkeypatch.setattr(data_path, function, make(stage, name))
    monkeypatch.setattr(data_path, "_facts", lambda spec, data: {"data": "1"})
    monkeypatch.setattr("pipelines.stages.train.measure", lambda directory: LogFacts(50_000, 40.0, 40.0))
    return made


@pytest.fixture
def searched(monkeypatch):
    """Searches that were run, in this process, by an objective that likes high learning rates; no figures are drawn."""
    searches = []
    monkeypatch.setattr(report, "_render", lambda *arguments: "page")

    def objective(request):
        rate = request.settings["learning_rate"]
        if searches[-1].fails:
            raise ValueError("no such thing")
        return rate if searches[-1].search.larger_is_better else -rate

    def run(search, make_objective, jobs, seconds, tell):
        study = search.open()
        searches.append(SimpleNamespace(search=search, task=make_objective.args[0], jobs=jobs, fails=False))
        searches[-1].count = study.search(objective, seconds)
        study.rescore(objective)
        tell("search", study.read())
        return study.read(with_importance=True)

    monkeypatch.setattr(workers, "run", run)
    return searches


@pytest.fixture
def tune(cli, tmp_path, made, searched):
    (tmp_path / "films.yaml").write_text(SPEC)

    def tune(*arguments):
        base = tmp_path / "films.yaml", "--data", tmp_path, "--workdir", tmp_path / "work", "--sampler", "random"
        return cli("tune", *base, *arguments)

    return tune


def test_a_search_leaves_lines_that_a_run_takes_a_report_and_the_study(tune, made, searched, tmp_path):
    result = tune("--trials", "6", "--set", "train.steps=7", "--set", "train.temperature=0.25", "--jobs", 2)
    assert result.status == 0, result.output
    tuned = tmp_path / "work" / "treatment" / "tuned"
    study = json.loads((tuned / "study.json").read_text())
    lines = (tuned / "best.txt").read_text().splitlines()
    assert lines[:2] == ["train.steps=7", "train.temperature=0.25"]
    config = parse_overrides(lines)
    best = max(trial["score"] for trial in study["trials"])
    assert (config.train.steps, config.train.temperature, config.train.learning_rate) == (7, 0.25, best)
    assert config.control.learning_rate == best
    assert "temperature" not in searched[0].search.space
    assert searched[0].jobs == 2
    assert (searched[0].task.section, searched[0].task.config.steps) == ("train", 7)
    # What is neither set nor searched is the log's choice, in all trials.
    assert searched[0].task.config.temperature == 0.25
    assert searched[0].task.config.by_log == ()
    assert searched[0].task.config.batch_size == 512
    assert study["metric"] == "validation recall@50"
    assert sorted(os.listdir(tuned)) == ["best.txt", "manifest.json", "report.html", "study.json"]
    assert made == ["ingest", "transform", "correlate"]
    for text in ("6 complete", f"train.learning_rate={best}", f"--set @{tuned / 'best.txt'}"):
        assert text in result.output


def test_a_second_search_takes_what_is_there_and_goes_on(tune, made, searched):
    assert tune("--trials", "4").status == 0
    result = tune("--trials", "6")
    assert result.status == 0
    assert result.output.count("as it was") == 3
    assert made == ["ingest", "transform", "correlate"]
    assert [search.count for search in searched] == [4, 2]
    assert searched[0].search.name == searched[1].search.name


@pytest.mark.parametrize(
    "other",
    [
        ["--seed", "1"],
        ["--pruner", "median"],
        ["--set", "train.steps=3"],
        ["--set", "train.temperature=0.2"],
        ["--set", "ingest.num_partitions=3"],
        ["--arm", "control"],
    ],
    ids=" ".join,
)
def test_another_search_is_another_study(tune, searched, other):
    tune("--trials", "1")
    assert tune("--trials", "1", *other).status == 0
    assert [search.count for search in searched] == [1, 1]


def test_the_control_has_no_self_supervision_and_lines_of_its_own(tune, searched, tmp_path):
    assert tune("--trials", "2", "--arm", "control", "--set", "train.batch_size=64").status == 0
    assert list(searched[0].search.space) == ["learning_rate", "temperature", "popularity_prior", "start.ids"]
    assert searched[0].task.config.ssl.regularizer == "none"
    lines = (tmp_path / "work" / "control" / "tuned" / "best.txt").read_text().splitlines()
    assert [line.split("=")[0] for line in lines] == [
        "train.batch_size",
        *(f"control.{name}" for name in searched[0].search.space),
    ]


def test_after_a_failure_the_files_of_before_are_there(tune, tmp_path, monkeypatch):
    tune("--trials", "2")
    before = (tmp_path / "work" / "treatment" / "tuned" / "best.txt").read_text()

    def fail(*arguments):
        raise ValueError("one of the first 5 trials must succeed.")

    monkeypatch.setattr(workers, "run", fail)
    result = tune("--trials", "3")
    assert result.status == 1
    assert "error: " in result.output
    assert "one of the first 5 trials must succeed." in result.output
    assert (tmp_path / "work" / "treatment" / "tuned" / "best.txt").read_text() == before


def test_a_named_study_is_of_one_thing(tune):
    assert tune("--trials", "1", "--study", "ours").status == 0
    assert tune("--trials", "1", "--study", "ours", "--set", "ingest.num_partitions=3").status == 0
    result = tune("--trials", "1", "--study", "ours", "--set", "train.steps=3")
    assert result.status == 1
    assert "a study has one space, sampler, pruner, seed, and settings that all trials share" in result.output


@pytest.mark.parametrize(
    ("spec", "arguments", "message"),
    [
        (NO_VALIDATION, [], "needs validation"),
        (SPEC, ["--set", "train.stepss=1"], "unknown setting train.stepss"),
        (SPEC, ["--storage", "nonsense://me:secret@here"], "--storage must be the path of a file, or the URL"),
        (SPEC, ["--set", "@nowhere.txt"], "--set @FILE must name a file with a setting a line"),
    ],
    ids=["no validation", "setting", "storage", "file"],
)
def test_bad_input_is_one_message(tune, tmp_path, spec, arguments, message):
    (tmp_path / "films.yaml").write_text(spec)
    result = tune("--trials", "1", *arguments)
    assert result.status == 1
    assert message in result.output
    assert "secret" not in result.output
    assert not (tmp_path / "work" / "treatment").exists()


def test_settings_of_a_file_stand_in_its_place(tune, searched, tmp_path):
    (tmp_path / "best.txt").write_text("# of a search\n\n train.steps=3 \ntrain.batch_size=64\n")
    arguments = ["--set", "train.batch_size=32", "--set", f"@{tmp_path / 'best.txt'}", "--set", "train.steps=4"]
    assert tune("--trials", "1", *arguments).status == 0
    assert (searched[0].task.config.steps, searched[0].task.config.batch_size) == (4, 64)


def test_a_line_tells_the_best_the_speed_and_the_time_left():
    trials = [SimpleNamespace(slot=slot, score=score, repeats=None) for slot, score in enumerate((0.1, 0.3, 0.2))]

    def found(count):
        some = trials[:count]
        best = [max(trial.score for trial in some[: i + 1]) for i in range(count)]
        return SimpleNamespace(trials=some, ended=some, best_so_far=lambda: best)

    teller = searching._Teller(trials=11, seconds=None, fresh=9, jobs=2)
    assert teller.describe(found(1), 100.0) == "1/11 trials  best 0.1000 in trial 0"
    # Two trials in 60 seconds are 120 an hour; the other eight take 240 seconds.
    assert teller.describe(found(3), 160.0) == "3/11 trials  best 0.3000 in trial 1  120 trials/h, 4 min left"
    limited = searching._Teller(trials=11, seconds=90.0, fresh=9, jobs=2)
    limited.describe(found(1), 100.0)
    assert limited.describe(found(3), 160.0).endswith("120 trials/h, 30 s left")


def test_fine_tuning_is_searched_over_a_kind(cli, tmp_path, monkeypatch, searched):
    module = kinds.load("molecule", "predict")
    table = SimpleNamespace(
        texts=["C", "N"], contents=["c", "n"], targets=np.array([[0.5], [2.0]], np.float32), rejections=[]
    )
    monkeypatch.setattr(store, "load", lambda directory, kind: f"{kind} of {directory}")
    tables = {"molecule of encoder": table}  # content is read for its encoder
    monkeypatch.setattr(module, "read_table", lambda data, column, targets, encoder: tables[encoder])
    monkeypatch.setattr(store, "hash_encoder", lambda directory: "hash")
    base = "tune-finetune", "molecule", "--model", "encoder", "--data", "d.csv", "--column", "smiles", "--target", "y"
    more = "--workdir", tmp_path / "work", "--trials", 3, "--sampler", "cmaes", "--set", "finetune.epochs=5"
    result = cli(*base, *more, "--set", "finetune.batch_size=8")
    assert result.status == 0, result.output
    search, task = searched[0].search, searched[0].task
    assert not search.larger_is_better
    assert "batch_size" not in search.space
    assert (task.split, task.config.epochs, task.config.batch_size) == ("balanced", 5, 8)
    lines = (tmp_path / "work" / "tuned" / "best.txt").read_text().splitlines()
    assert lines[:2] == ["finetune.epochs=5", "finetune.batch_size=8"]
    assert {line.split("=")[0] for line in lines[2:]} == {f"finetune.{name}" for name in search.space}
    study = json.loads((tmp_path / "work" / "tuned" / "study.json").read_text())
    assert study["metric"] == "validation rmse"
    assert study["best"]["score"] == min(trial["score"] for trial in study["trials"])
    assert cli(*base, *more, "--split", "sideways").status == 1
