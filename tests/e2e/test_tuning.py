"""The tuning pipeline on a small log: data path, search in processes of its own, and a training with what it found."""

import contextlib
import json
import sqlite3

import pytest
from tfx.orchestration.local.local_dag_runner import LocalDagRunner

from pipelines.config import parse_overrides
from pipelines.tuning import create_tuning_pipeline
from recsys_ssl import provenance
from recsys_ssl.spec import FeatureSpec
from recsys_ssl.tuning.config import SearchConfig

SPEC = FeatureSpec.model_validate(
    {
        "name": "films",
        "events": {"paths": ["events.csv"], "query_id": "user", "item_id": "film", "timestamp": {"column": "time"}},
        "items": {"id": "film", "features": [{"name": "film", "kind": "id"}]},
        "queries": {"id": "user", "features": [{"name": "user", "kind": "id"}]},
        "split": {"validation": 0.2, "test": 0.2},
    }
)
SETTINGS = ["steps=6", "eval_every=3", "batch_size=32", "feature_dim=4", "embedding_dim=4", "hidden=[]"]
FIXED = ["batch_size", "ssl.batch_size", "ssl.weight", "ssl.temperature", "popularity_prior", "start.ids"]
SEARCHED = {"learning_rate", "temperature"}
TRIALS, TOP, FRESH = 3, 1, 1


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    root = tmp_path_factory.mktemp("tuning")
    lines = [f"u{step % 20},f{(7 * step + step // 20) % 24},{1_700_000_000 + 60 * step}\n" for step in range(400)]
    (root / "events.csv").write_text("user,film,time\n" + "".join(lines))
    config = parse_overrides([*(f"train.{setting}" for setting in SETTINGS), "train.ssl.batch_size=16"])
    search = SearchConfig("random", trials=TRIALS, top=TOP, fresh_seeds=FRESH)
    for _ in range(2):
        LocalDagRunner().run(create_tuning_pipeline(SPEC, str(root), str(root / "work"), config, search, FIXED))
    return root / "work"


def newest(work, component, output):
    (found,) = (work / "tfx" / component / output).iterdir()
    return found


def test_the_best_settings_of_the_search_are_those_of_the_training(work):
    study = json.loads((newest(work, "TuneTowers", "tuned") / "study.json").read_text())
    assert [trial["state"] for trial in study["trials"]] == ["complete"] * TRIALS
    assert all(set(trial["settings"]) == SEARCHED for trial in study["trials"])
    assert len(study["best"]["scores"]) == FRESH
    best = json.loads((newest(work, "TuneTowers", "best_hyperparameters") / "best_hyperparameters.txt").read_text())
    assert best["values"] == study["best"]["settings"]
    towers = newest(work, "TrainTuned", "towers")
    trained = provenance.read_whole(towers).settings
    assert {name: trained[name] for name in SEARCHED} == best["values"]
    assert (trained["steps"], trained["batch_size"], trained["ssl"]["batch_size"]) == (6, 32, 16)
    assert list(towers.rglob("saved_model.pb"))


def test_the_second_run_trains_nothing(work):
    with contextlib.closing(sqlite3.connect(work / "tfx" / "metadata.db")) as store:
        query = "SELECT t.name, e.last_known_state FROM Execution e JOIN Type t ON t.id = e.type_id ORDER BY e.id"
        states = [(name.rpartition(".")[2], state) for name, state in store.execute(query)]
    complete, cached = 3, 5  # of ml-metadata's Execution.State
    for name in ("TransformFeatures", "TuneTowers", "TrainTuned"):
        assert [state for of, state in states if of == name] == [complete, cached]
