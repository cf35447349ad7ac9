"""The tuning pipeline: its graph, and what its components hand on; searches themselves are tests of their own."""

import json
import os
from types import SimpleNamespace

import pytest
from tfx.dsl.compiler import compiler

from pipelines import retrieval
from pipelines.components import tune
from pipelines.config import parse_overrides
from pipelines.properties import to_json
from pipelines.tuning import create_tuning_pipeline
from recsys_ssl import provenance
from recsys_ssl.spec import FeatureSpec
from recsys_ssl.training.config import TrainConfig
from recsys_ssl.tuning import workers
from recsys_ssl.tuning.config import SearchConfig

SPEC = FeatureSpec.model_validate(
    {
        "name": "films",
        "events": {"paths": ["events.csv"], "query_id": "user", "item_id": "film", "timestamp": {"column": "time"}},
        "items": {"id": "film", "features": [{"name": "film", "kind": "id"}]},
        "queries": {"id": "user", "features": [{"name": "user", "kind": "id"}]},
    }
)
ENCODED = "encoded_interactions", "encoded_catalogue", "query_transform", "item_transform", "correlations"


def test_the_data_path_is_that_of_a_whole_run_and_the_trainer_takes_the_best(tmp_path, monkeypatch):
    monkeypatch.setattr(retrieval, "source_hash", lambda *modules: "code")
    (tmp_path / "events.csv").write_text("user,film,time\n")
    config, search = parse_overrides(["train.steps=7"]), SearchConfig("cmaes", trials=9)
    arguments = SPEC, str(tmp_path), str(tmp_path / "work"), config
    found = {}
    for name, made in (
        ("tuning", create_tuning_pipeline(*arguments, search, ["batch_size"], 2)),
        ("whole", retrieval.create_pipeline(*arguments)),
    ):
        nodes = compiler.Compiler().compile(made).nodes
        found[name] = {node.pipeline_node.node_info.id: node.pipeline_node for node in nodes}
    *path, tuner, trainer = found["tuning"]
    assert path == list(found["whole"])[: len(path)]
    assert (tuner, trainer) == ("TuneTowers", "TrainTuned")
    for name in path:
        assert found["tuning"][name].parameters == found["whole"][name].parameters
    parameters = {
        name: getattr(value.field_value, value.field_value.WhichOneof("value"))
        for name, value in found["tuning"][tuner].parameters.parameters.items()
    }
    assert json.loads(parameters["search"])["sampler"] == "cmaes"
    assert json.loads(parameters["config"])["steps"] == 7
    assert (json.loads(parameters["fixed"]), parameters["jobs"]) == (["batch_size"], 2)
    assert set(found["tuning"][tuner].inputs.inputs) == set(ENCODED)
    inputs = found["tuning"][trainer].inputs.inputs
    assert set(inputs) == {*ENCODED, "best_hyperparameters"}
    assert inputs["best_hyperparameters"].channels[0].producer_node_query.id == tuner


def call(component, **arguments):
    """What the runner calls."""
    return component.EXECUTOR_SPEC.executor_class._FUNCTION(**arguments)


@pytest.fixture
def read(tmp_path):
    return {name: SimpleNamespace(uri=str(tmp_path / name)) for name in ENCODED}


@pytest.fixture
def search_towers(tmp_path, read, monkeypatch):
    """Runs the component with an objective that likes high learning rates; the search that it made, and its outputs."""

    def run(search, make_objective, jobs):
        study = search.open()
        count = study.search(lambda request: request.settings["learning_rate"])
        study.rescore(lambda request: request.settings["learning_rate"])
        searches.append(SimpleNamespace(count=count, space=search.space, task=make_objective.args[0], jobs=jobs))
        return study.read(with_importance=True)

    monkeypatch.setattr(workers, "run", run)
    searches = []

    def search_towers(spec=SPEC, trials=4):
        best, tuned = SimpleNamespace(uri=str(tmp_path / "best")), SimpleNamespace(uri=str(tmp_path / "tuned"))
        call(
            tune.TuneTowers,
            **read,
            best_hyperparameters=best,
            tuned=tuned,
            spec=spec.to_json(),
            config=to_json(TrainConfig(steps=7)),
            fixed='["batch_size"]',
            search=to_json(SearchConfig("random", trials=trials, fresh_seeds=1)),
            jobs=2,
            tuning_dir=str(tmp_path / "tuning"),
            code="code",
        )
        return searches[-1], best, tuned

    return search_towers


def test_the_best_settings_reach_the_trainer(search_towers, read, tmp_path, monkeypatch):
    search, best, tuned = search_towers()
    study = json.loads((tmp_path / "tuned" / "study.json").read_text())
    values = json.loads((tmp_path / "best" / "best_hyperparameters.txt").read_text())
    assert values == {"space": [], "values": study["best"]["settings"]}
    assert values["values"]["learning_rate"] == max(trial["score"] for trial in study["trials"])
    assert "batch_size" not in search.space
    assert (search.jobs, search.task.inputs.catalogue_dir) == (2, read["encoded_catalogue"].uri)
    assert provenance.read_whole(tuned.uri).settings["search"]["trials"] == 4

    trained = []
    monkeypatch.setattr(tune, "train_arm", lambda spec, config, *rest: trained.append((config, *rest)))
    towers, run = SimpleNamespace(uri=str(tmp_path / "towers")), SimpleNamespace(uri=str(tmp_path / "run"))
    os.makedirs(towers.uri)
    call(
        tune.TrainTuned,
        **read,
        best_hyperparameters=best,
        towers=towers,
        run=run,
        spec=SPEC.to_json(),
        config=to_json(TrainConfig(steps=7)),
        checkpoint_dir="checkpoints",
        code="code",
    )
    ((config, inputs, to, checkpoints, log),) = trained
    assert (config.learning_rate, config.steps, config.batch_size) == (values["values"]["learning_rate"], 7, 1024)
    assert (to, checkpoints, log) == (towers.uri, "checkpoints", run.uri)
    assert inputs.interactions_dir == read["encoded_interactions"].uri
    assert provenance.read_whole(towers.uri).settings["learning_rate"] == config.learning_rate


def test_a_search_with_more_trials_goes_on(search_towers):
    assert [search_towers(trials=trials)[0].count for trials in (3, 5)] == [3, 2]


def test_a_split_without_validation_is_refused(search_towers):
    split = {"kind": "given", "test_paths": ["t.csv"], "validation": 0}
    spec = FeatureSpec.model_validate({**json.loads(SPEC.to_json()), "split": split})
    with pytest.raises(ValueError, match="a search needs validation"):
        search_towers(spec)
