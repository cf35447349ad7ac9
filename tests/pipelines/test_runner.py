"""What is looked at before the pipeline runs."""

import os
import sqlite3

import pytest

from pipelines.runner import check_metadata, run_pipeline
from recsys_ssl.artifacts import DamagedError


@pytest.fixture
def metadata(tmp_path):
    path = tmp_path / "metadata.db"
    with sqlite3.connect(path) as store:
        store.execute("CREATE TABLE Artifact (id INTEGER PRIMARY KEY, uri TEXT)")
        store.executemany("INSERT INTO Artifact (uri) VALUES (?)", [(f"/out/{i}" * 50,) for i in range(1000)])
    store.close()
    return path


def test_sound_or_absent_metadata_pass(metadata):
    check_metadata(str(metadata))
    check_metadata(str(metadata.with_name("none.db")))
    assert not metadata.with_name("none.db").exists()


@pytest.mark.parametrize("size", [50, 4096 * 3, 4096 * 20 + 1])
def test_metadata_that_are_cut_off_are_to_be_deleted(metadata, size):
    os.truncate(metadata, size)
    with pytest.raises(DamagedError, match=rf"is damaged.*Delete {metadata} and run the same command again"):
        check_metadata(str(metadata))


def test_a_file_where_a_copy_will_be_is_told_before_the_work(tmp_path):
    (tmp_path / "report").write_text("mine")
    with pytest.raises(NotADirectoryError, match="report must be a directory. Received: a file"):
        run_pipeline(None, "", str(tmp_path), None, [], None)
