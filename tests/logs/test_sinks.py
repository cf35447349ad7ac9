import pytest
from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

from recsys_ssl import artifacts
from recsys_ssl.logs import sinks


@pytest.fixture
def strict_rename(monkeypatch):
    """A file system such as HDFS, where nothing is renamed to a name that is taken."""
    rename = FileSystems.rename

    def rename_to_free_name(sources, targets):
        if any(FileSystems.exists(target) for target in targets):
            raise BeamIOError("the name is taken")
        rename(sources, targets)

    monkeypatch.setattr(FileSystems, "rename", rename_to_free_name)


def write_twice(path):
    for text in ("first", "second"):
        artifacts.write_text(str(path), text, sinks._BEAM_FILES)
        assert path.read_text() == text
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_retried_worker_replaces_what_it_wrote(tmp_path):
    write_twice(tmp_path / "new" / "folder" / "rejected.jsonl")


@pytest.mark.usefixtures("strict_rename")
def test_a_retried_worker_replaces_it_where_no_name_is_taken_twice(tmp_path):
    write_twice(tmp_path / "rejected.jsonl")


def test_after_an_error_all_is_as_before(tmp_path, monkeypatch):
    path, delete = tmp_path / "summary.json", FileSystems.delete
    artifacts.write_text(str(path), "older", sinks._BEAM_FILES)

    def refuse(sources, targets):
        raise BeamIOError("the store is read-only")

    def delete_unfinished(paths):
        if str(path) in paths:
            raise BeamIOError("the store is read-only")
        delete(paths)

    monkeypatch.setattr(FileSystems, "rename", refuse)
    monkeypatch.setattr(FileSystems, "delete", delete_unfinished)
    with pytest.raises(BeamIOError, match="read-only"):
        artifacts.write_text(str(path), "new", sinks._BEAM_FILES)
    assert path.read_text() == "older"
    assert [file.name for file in tmp_path.iterdir()] == ["summary.json"]


def test_an_earlier_run_and_what_it_left_unfinished_are_deleted(tmp_path):
    interactions, catalogue, rejected = (tmp_path / name for name in ("interactions", "catalogue", "rejected"))
    stale = [
        interactions / "Split-train" / "part-0.tfrecord.gz",
        interactions / "Split-eval" / "part-0.tfrecord.gz.1f.tmp",
        interactions / "summary.json",
        interactions / "summary.json.1f.tmp",
        catalogue / "Split-catalogue" / "part-0.tfrecord.gz",
        rejected / "events-part-0.jsonl",
        rejected / "events-part-0.jsonl.1f.tmp",
    ]
    kept = interactions / "notes.txt"
    for path in (*stale, kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    sinks.delete_outputs(str(interactions), str(catalogue), str(rejected))
    assert [path for path in (*stale, kept) if path.exists()] == [kept]
