"""The whole pipeline by its command, on a simulated log: killed, resumed, cached, changed and asked for items.

The tests tell one story of one working directory, in order; a process start costs ten seconds of imports and a
whole run about a minute, so each process is looked at from many sides.
"""

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2

import recsys_ssl
from recsys_ssl.datasets.simulate import Simulation, simulate
from recsys_ssl.evaluation.queries import build_task
from recsys_ssl.examples import list_shards, read_batches
from recsys_ssl.serving.queries import Places
from recsys_ssl.spec_files import load_spec

# In the order of the runner.
COMPONENTS = [
    *("DeriveSchemas", "IngestLogs"),
    *("Describe.catalogue", "Describe.interactions", "Validate.catalogue", "Validate.interactions", "StopOnAnomalies"),
    *("TransformFeatures", "CorrelateFeatures"),
    *("Train.control", "Train.treatment", "Embed.control", "Embed.treatment", "ExportControl", "IndexItems"),
    *("CheckServing", "EvaluateArms", "PublishResults", "Pusher"),
]
AFTER_INDEX = ["CheckServing", "EvaluateArms", "Pusher", "PublishResults"]
AFTER_TREATMENT = ["Train.treatment", "Embed.treatment", "IndexItems", *AFTER_INDEX]

# Tastes are clear, and the catalogue is much larger than a history: on items that are new to their query a trained
# model beats most-popular beyond doubt. Of these the truth finds 43% among the first ten, most-popular 5%.
SIMULATION = Simulation(
    num_users=200,
    num_items=240,
    num_events=3000,
    num_topics=12,
    makers_per_topic=2,
    impressions_per_click=1,
    zipf_exponent=0.3,
)
# Three popular items get ids that are hard on files, terminals and protocols.
HARD_IDS = {"item-0": "tab\there", "item-1": "pizza 🍕 [/b]", "item-2": "two\nlines"}
STEPS, EVAL_EVERY, CONTROL_STEPS = 200, 10, 20
SETTINGS = {
    "train.steps": STEPS,
    "train.eval_every": EVAL_EVERY,
    "train.patience": 1000,
    "train.batch_size": 256,
    "train.ssl.batch_size": 64,
    "train.hidden": [16],
    "train.feature_dim": 8,
    "train.embedding_dim": 16,
    "control.steps": CONTROL_STEPS,
    "evaluation.primary": "recall_at_10",
}
# A stage's line begins with how it ended; a long message goes on below.
STAGE_LINE = re.compile(r"^([✓=✗]) (\S+) +[\d.]+ s", re.MULTILINE)


def write_log(directory):
    """Simulated files with hard ids and fewer features: each costs seconds of graph building."""
    simulate(SIMULATION, str(directory))
    for name in ("events.csv.gz", "items.csv.gz"):
        text = gzip.decompress((directory / name).read_bytes()).decode()
        for old, new in HARD_IDS.items():
            text = text.replace(f'"{old}"', f'"{new}"')
        (directory / name).write_bytes(gzip.compress(text.encode()))
    spec = directory / "simulated.yaml"
    text = spec.read_text()
    for line in (
        "  title: title\n",
        "    - {name: topic, kind: categorical}\n",
        "    - {name: title, kind: text}\n",
        "    - {name: interest, kind: categorical}\n",
        "  slices: [interest]\n",
    ):
        assert text.count(line) == 1
        text = text.replace(line, "")
    spec.write_text(text.replace("evaluation:\n", ""))
    return spec


class Story:
    """One working directory and the processes that worked in it."""

    def __init__(self, root):
        self.workdir, self.log = root / "work", root / "work" / "logs" / "run.log"
        self.data = root / "data"
        self.spec = write_log(self.data)

    def command(self, settings):
        overrides = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
        places = ["--data", str(self.data), "--workdir", str(self.workdir)]
        return [str(Path(sys.executable).with_name("recsys-ssl")), "run", str(self.spec), *places, *overrides]

    def run(self, settings):
        """Runs to the end; returns what was printed."""
        process = subprocess.run(self.command(settings), capture_output=True, text=True, encoding="utf-8", timeout=500)
        assert process.returncode == 0, process.stdout + process.stderr
        assert process.stderr == ""
        return process.stdout

    def run_until(self, is_reached, settings):
        """Starts a process group and kills it, as the system would, when `is_reached()`; returns what was printed."""
        printed = self.workdir.parent / "killed.txt"
        with open(printed, "wb") as stream:
            process = subprocess.Popen(self.command(settings), stdout=stream, stderr=stream, start_new_session=True)
            try:
                deadline = time.monotonic() + 400
                while not is_reached():
                    assert process.poll() is None, printed.read_text(encoding="utf-8")
                    assert time.monotonic() < deadline, printed.read_text(encoding="utf-8")
                    time.sleep(0.02)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        return printed.read_text(encoding="utf-8")

    def trained(self, *names):
        """The settings that the newest embeddings of these trainings were made with."""
        for name in names:
            newest = max(
                (self.workdir / "tfx" / f"Embed.{name}" / "embeddings").iterdir(), key=lambda path: int(path.name)
            )
            yield json.loads((newest / "items" / "train_settings.json").read_text())

    def newest_steps(self):
        """Checkpoint directory -> its newest step."""
        steps = {}
        for path in (self.workdir / "checkpoints").rglob("latest/checkpoint"):
            steps[path.parent.parent.name] = int(
                re.search(r'^model_checkpoint_path: "ckpt-(\d+)"', path.read_text())[1]
            )
        return steps


def stages(printed):
    """Component -> ✓ ran, = from the cache, ✗ failed."""
    found = {name: mark for mark, name in STAGE_LINE.findall(printed) if name != "Load"}
    assert all("from the cache" in line for line in printed.splitlines() if line.startswith("= "))
    return found


def marks(ran, of=COMPONENTS):
    return {name: "✓" if name in ran else "=" for name in of}


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    return Story(tmp_path_factory.mktemp("story"))


@pytest.fixture(scope="module")
def killed(story):
    """The first process dies while the treatment is trained and has a checkpoint."""
    printed = story.run_until(lambda: len(story.newest_steps()) == 2, SETTINGS)
    return printed, story.newest_steps()


@pytest.fixture(scope="module")
def resumed(story, killed):
    offset = story.log.stat().st_size
    printed = story.run(SETTINGS)
    with open(story.log, encoding="utf-8") as log:
        log.seek(offset)
        return printed, log.read()


def test_a_kill_while_training_leaves_finished_components_and_a_checkpoint(killed):
    printed, steps = killed
    before = COMPONENTS[: COMPONENTS.index("Train.treatment")]
    assert stages(printed) == marks(before, of=before)
    assert CONTROL_STEPS in steps.values()
    assert 0 < min(steps.values()) <= max(steps.values()) < STEPS


def test_the_next_run_takes_finished_components_from_the_cache_and_goes_on(story, killed, resumed):
    printed, logged = resumed
    assert stages(printed) == marks(["Embed.control", "ExportControl", *AFTER_TREATMENT])
    steps = [int(step) for step in re.findall(rf"INFO step (\d+)/{STEPS} ", logged)]
    newest = next(step for name, step in killed[1].items() if story.newest_steps()[name] == STEPS)
    assert steps == list(range(newest + EVAL_EVERY, STEPS + 1, EVAL_EVERY))


def test_everything_a_person_looks_for_is_in_its_place(story, resumed):
    printed, _ = resumed
    assert "Traceback" not in printed
    models = (*(f"recommender{end}" for end in ("", "-inverted-lists", "-brute-force", "-control")),)
    for name in ("report/report.html", "report/report.json", "index", *models):
        assert re.search(
            rf"^{re.escape(name.split('/')[-1])} +{re.escape(str(story.workdir / name))}$", printed, re.MULTILINE
        )
        assert (story.workdir / name).exists()
    assert {"correlations.json"} <= {path.name for path in (story.workdir / "correlations").iterdir()}
    assert (story.workdir / "rejected").is_dir()
    assert not list(story.workdir.glob("*.unfinished"))

    page = (story.workdir / "report" / "report.html").read_text(encoding="utf-8")
    assert re.findall(r'src="https?:', page) == []
    correlations = json.loads((story.workdir / "correlations" / "correlations.json").read_text())
    assert correlations["feature_names"] == ["item", "maker", "tags"]
    assert "10 recommendations" in printed


def test_the_report_is_about_this_run(story, resumed):
    report = json.loads((story.workdir / "report" / "report.json").read_text(encoding="utf-8"))
    assert report["counts"]["items"] == SIMULATION.num_items
    assert report["counts"]["queries"] >= 30
    assert [check["name"] for check in report["checks"] if not check["passed"]] == []
    # A control of a few steps cannot keep up, so the treatment is blessed and pushed.
    assert report["verdict"]["blessed"], report["verdict"]["reasons"]
    (pushed,) = (story.workdir / "pushed").glob("*/*/saved_model.pb")
    assert f"pushed model {' ' * 13} {pushed.parent}\n" in resumed[0]


ASK = """
import json, sys
from recsys_ssl.serving.recommender import load_recommender, recommend
answers = []
for directory in sys.argv[1:3]:
    found = recommend(load_recommender(directory), **json.loads(sys.argv[3]))
    answers.append({"item_ids": found.item_ids, "scores": found.scores})
print(json.dumps(answers))
"""


def test_both_recommenders_agree_in_a_fresh_process_and_with_the_report(story, resumed):
    """Raw features in: the served ranks give the Recall@10 that the evaluation computed from embeddings."""
    places = Places.read(str(story.workdir))
    assert Path(places.recommender_dir) == story.workdir / "recommender"
    (embeddings,) = sorted((story.workdir / "tfx" / "Embed.treatment" / "embeddings").iterdir())
    task = build_task(embeddings / "queries", load_spec(story.spec), SIMULATION.num_items)
    ids = [
        i
        for batch in read_batches(list_shards(places.catalogue_dir, "catalogue"))
        for i in batch["item_id"].to_pylist()
    ]
    ids = np.array([values[0].decode() for values in ids], object)
    assert set(HARD_IDS.values()) <= set(ids)

    events = [batch.to_pylist() for batch in read_batches(list_shards(places.interactions_dir, "test"))]
    events = [event for batch in events for event in batch]
    events = [events[row] for row in task.event_rows]
    features = {
        "user": [event["user"][0].decode() for event in events],
        "history": [[item.decode() for item in event["history"] or []] for event in events],
    }
    masked = np.split(ids[task.masked_rows], task.masked_offsets[1:-1])
    question = {"features": features, "k": 10, "exclude": [rows.tolist() for rows in masked]}
    directories = [str(story.workdir / name) for name in ("recommender", "recommender-brute-force")]
    process = subprocess.run(
        [sys.executable, "-c", ASK, *directories, json.dumps(question)], capture_output=True, text=True, check=True
    )
    scann, exact = json.loads(process.stdout)
    np.testing.assert_allclose(scann["scores"], exact["scores"], atol=1e-5)
    # Items of equal features but for the id may tie within rounding, so ids are compared as sets with a margin.
    same = [len(set(left) & set(right)) for left, right in zip(scann["item_ids"], exact["item_ids"])]
    assert np.mean(same) > 9.9

    positives = np.split(ids[task.positive_rows], task.positive_offsets[1:-1])
    hits = sum(len(set(found) & set(held_out)) for found, held_out in zip(exact["item_ids"], positives))
    report = json.loads((story.workdir / "report" / "report.json").read_text(encoding="utf-8"))
    (row,) = [row for row in report["metrics"] if row["metric"] == "recall_at_10"]
    assert row["n"] == task.num_pairs
    assert hits / task.num_pairs == pytest.approx(row["treatment"], abs=1.5 / task.num_pairs)


def test_the_metadata_store_holds_one_broken_attempt_and_no_second_one_elsewhere(story, resumed):
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(story.workdir / "tfx" / "metadata.db")
    store = MetadataStore(config)
    names = {kind.id: kind.name.rpartition(".")[2] for kind in store.get_execution_types()}
    states = {}
    for execution in store.get_executions():
        state = metadata_store_pb2.Execution.State.Name(execution.last_known_state)
        states.setdefault(names[execution.type_id], []).append(state)
    twice, late = ["COMPLETE", "CACHED"], ["COMPLETE"]
    assert {name: sorted(found, reverse=True) for name, found in states.items()} == {
        **dict.fromkeys(
            ["IngestLogs", "DeriveSchemas", "StopOnAnomalies", "TransformFeatures", "CorrelateFeatures"], twice
        ),
        **dict.fromkeys(["StatisticsGen", "ExampleValidator"], sorted(2 * twice, reverse=True)),
        # The control, the killed treatment; the control from the cache, the resumed treatment.
        "TrainTowers": ["RUNNING", "COMPLETE", "COMPLETE", "CACHED"],
        "EmbedArm": 2 * late,
        **dict.fromkeys(["ExportControl", "IndexItems", *AFTER_INDEX], late),
    }


def test_a_changed_setting_redoes_training_and_what_follows_alone(story, resumed, cli, capfd):
    """The control keeps its number of steps, so that it stays as it is; a second seed trains both arms once more."""
    settings = {**SETTINGS, "train.steps": 10, "evaluation.seeds": 2}
    further = [f"{stage}.{arm}.2" for stage in ("Train", "Embed") for arm in ("control", "treatment")]
    result = cli(*story.command(settings)[1:])
    assert result.status == 0, result.output
    assert stages(result.output) == marks([*AFTER_TREATMENT, *further], of=[*COMPONENTS, *further])
    report = json.loads((story.workdir / "report" / "report.json").read_text(encoding="utf-8"))
    (row,) = [row for row in report["metrics"] if row["metric"] == "mrr"]
    assert row["difference"] == pytest.approx(np.mean(row["seed_differences"]))
    assert len(set(row["seed_differences"])) == 2
    seeds = [config["seed"] for config in story.trained("treatment", "treatment.2")]
    assert seeds == [0, 1]
    assert any(reason.startswith("Each arm was trained 2 times") for reason in report["verdict"]["reasons"])
    pushed = list((story.workdir / "pushed").glob("*/*/saved_model.pb"))
    assert len(pushed) == 1 + report["verdict"]["blessed"]

    # The same again, from Python: nothing to do but to publish it.
    overrides = [f"{name}={value}" for name, value in settings.items()]
    again = recsys_ssl.run_pipeline(load_spec(story.spec), story.data, story.workdir, overrides)
    assert stages(capfd.readouterr().out) == marks(["PublishResults"], of=[*COMPONENTS, *further])
    assert again == report
    assert (story.workdir / "report" / "report.html").exists()


def test_anomalies_stop_the_run_with_a_list(story, cli, tmp_path):
    """Some items lack the maker that nearly all of them must have."""
    spec = story.spec.read_text()
    assert spec.count("{name: maker, kind: categorical}") == 1
    (tmp_path / "data").mkdir()
    for name in ("events.csv.gz", "users.csv.gz"):
        (tmp_path / "data" / name).symlink_to(story.data / name)
    lines = gzip.decompress((story.data / "items.csv.gz").read_bytes()).decode().splitlines(keepends=True)
    lines = [line.replace('"maker-0"', '""').replace('"maker-1"', '""') for line in lines]
    (tmp_path / "data" / "items.csv.gz").write_bytes(gzip.compress("".join(lines).encode()))
    path = tmp_path / "simulated.yaml"
    path.write_text(spec.replace("kind: categorical}", "kind: categorical, min_presence: 0.99}", 1))
    result = cli("run", path, "--data", tmp_path / "data", "--workdir", tmp_path / "work")
    assert result.status == 1
    assert "Traceback" not in result.output
    assert stages(result.output)["StopOnAnomalies"] == "✗"
    assert "TransformFeatures" not in stages(result.output)
    assert re.search(
        r"the data break the schema of the spec in 1 places:\n  catalogue, catalogue, maker: ", result.output
    )
