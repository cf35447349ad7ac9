"""What killed runs leave is found, told with its size, and removed; nothing else is."""

import os
from pathlib import Path

import pytest
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from recsys_ssl import artifacts

# Below the working directory: 10 bytes each. The first are left over.
LEFT = (
    f"interactions.{'0a' * 16}.tmp/Split-train/part-00000-of-00008.tfrecord.gz",
    f"interactions/Split-train/part-00001-of-00008.tfrecord.gz.{'1b' * 16}.tmp",
    "checkpoints/0123/4567/latest/ckpt-40_temp/part-00000-of-00001",
    "catalogue/outdated.json",
    "tfx/TransformFeatures/encoded_catalogue/2/part",
    "tfx/TransformFeatures/.system/executor_execution/2/part",
)
KEPT = (
    "interactions/manifest.json",
    "interactions/Split-train/part-00000-of-00008.tfrecord.gz",
    "checkpoints/0123/4567/latest/ckpt-20.index",
    "notes.tmp",
    "tfx/IngestLogs/interactions/1/part",
    "tfx/IngestLogs/interactions/3/part",  # that places.json names
    "logs/run.log",
)


@pytest.fixture
def work(tmp_path):
    for name in (*LEFT, *KEPT):
        path = tmp_path / "work" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("0123456789")
    work = tmp_path / "work"
    (work / artifacts.PLACES_FILE).write_text('{"interactions_dir": "/moved/tfx/IngestLogs/interactions/3"}')
    config = mlmd.ConnectionConfig()
    config.sqlite.filename_uri = str(work / "tfx" / "metadata.db")
    config.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    store = MetadataStore(config)
    kind = store.put_artifact_type(mlmd.ArtifactType(name="Examples"))
    # Before the directory was moved.
    ingested = "/before/work/tfx/IngestLogs/interactions/1"
    pending = "/before/work/tfx/TransformFeatures/encoded_catalogue/2"
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
    assert f"6 leftovers, {10 * len(LEFT)} bytes would be removed" in listed.output
    rows = [line.split() for line in listed.output.splitlines()[:-1]]
    assert [row[0] for row in rows] == ["10"] * 6
    assert all(any(name.startswith(row[1]) for name in LEFT) for row in rows)

    removed = cli("clean", "--workdir", work)
    assert "1 executions that had not finished are marked as cancelled" in removed.output
    assert f"6 leftovers, {10 * len(LEFT)} bytes removed" in removed.output
    assert before - files(work) == set(LEFT)
    assert "0 leftovers, 0 bytes removed" in cli("clean", "--workdir", work).output


def test_without_metadata_nothing_of_the_artifact_store_is_removed(cli, work):
    (work / "tfx" / "metadata.db").unlink()
    cli("clean", "--workdir", work)
    assert {name for name in LEFT if (work / name).exists()} == set(LEFT[-2:])


def test_a_directory_that_is_not_there(cli, tmp_path):
    result = cli("clean", "--workdir", tmp_path / "none")
    assert result.status == 1
    assert "--workdir must be a directory" in result.output
    assert not Path(tmp_path / "none").exists()
    assert os.listdir(tmp_path) == []
