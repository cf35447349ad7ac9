"""What killed runs leave is found, told with its size, and removed; nothing else is."""

import os
from pathlib import Path

import pytest
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipelines.leftovers import find_leftovers
from pipelines.locks import LockedError, locked
from recsys_ssl import artifacts

# Below the working directory: 10 bytes each. The first are left over.
LEFT = (
    f"interactions.{'0a' * 16}.tmp/Split-train/part-00000-of-00008.tfrecord.gz",
    f"interactions/Split-train/part-00001-of-00008.tfrecord.gz.{'1b' * 16}.tmp",
    "checkpoints/0123/4567/latest/ckpt-40_temp/part-00000-of-00001",
    f"checkpoints/0123/4567/best/checkpoint.tmp{'2c' * 16}",
    "catalogue/outdated.json",
    "tfx/TransformFeatures/encoded_catalogue/2/part",
    "tfx/TransformFeatures/.system/executor_execution/2/part",
)
KEPT = (
    "interactions/manifest.json",
    "interactions/Split-train/part-00000-of-00008.tfrecord.gz",
    "checkpoints/0123/4567/latest/ckpt-20.index",
    "checkpoints/my_data_temp/part",
    "checkpoints/checkpoint.tmp",
    "ckpt-40_temp/part",
    "recommender/outdated.json",  # that places.json names
    "notes.tmp",
    "tfx/IngestLogs/interactions/1/part",
    "tfx/IngestLogs/interactions/3/part",  # that places.json names
    "tfx/IngestLogs/.system/executor_execution/1/part",
    "logs/run.log",
)


@pytest.fixture
def work(tmp_path):
    work = tmp_path / "checkpoints" / "work"  # a name above it says nothing of what is below
    for name in (*LEFT, *KEPT):
        path = work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("0123456789")
    (work / artifacts.PLACES_FILE).write_text(
        '{"interactions_dir": "/moved/tfx/IngestLogs/interactions/3", "recommender_dir": "recommender"}'
    )
    config = mlmd.ConnectionConfig()
    config.sqlite.filename_uri = str(work / "tfx" / "metadata.db")
    config.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    store = MetadataStore(config)
    kind = store.put_artifact_type(mlmd.ArtifactType(name="Examples"))
    # Before the directory was moved.
    ingested = "/before/out/tfx/IngestLogs/interactions/1"
    pending = "/before/out/tfx/TransformFeatures/encoded_catalogue/2"
    store.put_artifacts(
        [
            mlmd.Artifact(type_id=kind, uri=ingested, state=mlmd.Artifact.LIVE),
            mlmd.Artifact(type_id=kind, uri=pending, state=mlmd.Artifact.PENDING),
        ]
    )
    component = store.put_execution_type(mlmd.ExecutionType(name="TransformFeatures"))
    for state in (mlmd.Execution.COMPLETE, mlmd.Execution.RUNNING):
        store.put_executions([mlmd.Execution(type_id=component, last_known_state=state)])
    return work


def files(work):
    return {path.relative_to(work).as_posix() for path in work.rglob("*") if path.is_file()}


def test_leftovers_are_listed_with_their_bytes_and_removed(cli, work):
    before = files(work)
    listed = cli("clean", "--workdir", work, "--dry-run")
    assert listed.status == 0
    assert files(work) - {"lock"} == before
    assert f"{len(LEFT)} leftovers, {10 * len(LEFT)} bytes would be removed" in listed.output
    rows = [line.split() for line in listed.output.splitlines()[:-1]]
    assert [row[0] for row in rows] == ["10"] * len(LEFT)
    assert all(any(name.startswith(row[1]) for name in LEFT) for row in rows)

    removed = cli("clean", "--workdir", work)
    assert "1 executions that had not finished are marked as cancelled" in removed.output
    assert f"{len(LEFT)} leftovers, {10 * len(LEFT)} bytes removed" in removed.output
    assert before - files(work) == set(LEFT)
    assert "0 leftovers, 0 bytes removed" in cli("clean", "--workdir", work).output


def test_without_metadata_nothing_of_the_artifact_store_is_removed(cli, work):
    (work / "tfx" / "metadata.db").unlink()
    cli("clean", "--workdir", work)
    assert {name for name in LEFT if (work / name).exists()} == set(LEFT[-2:])


@pytest.mark.parametrize("part", [None, "control"])
def test_a_directory_below_in_which_a_command_is_at_work_is_skipped(cli, work, part):
    before, run = files(work), work.parent / "run"
    unfinished = run / "work" / f"towers.{'0a' * 16}.tmp"
    unfinished.parent.mkdir(parents=True)
    unfinished.write_text("0123456789")
    with locked(run / "work", "train", part):
        result = cli("clean", "--workdir", run)
    assert "skipped  work  (a command is at work there)" in result.output
    assert "0 leftovers, 0 bytes removed" in result.output
    assert unfinished.exists()
    assert "1 leftovers, 10 bytes removed" in cli("clean", "--workdir", run).output
    assert not unfinished.exists()
    assert files(work) == before


def test_nothing_begins_below_while_leftovers_are_removed(work):
    below = work / "below"
    with locked(below, "run"):
        pass
    with find_leftovers(work) as found:
        assert found.at_work == []
        with pytest.raises(LockedError), locked(below, "run"):
            pass
    with locked(below, "run"):
        pass


def test_a_directory_that_is_not_there(cli, tmp_path):
    result = cli("clean", "--workdir", tmp_path / "none")
    assert result.status == 1
    assert "--workdir must be a directory" in result.output
    assert not Path(tmp_path / "none").exists()
    assert os.listdir(tmp_path) == []
