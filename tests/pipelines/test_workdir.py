"""Working directories whose path is a glob to TensorFlow."""

import os
import tempfile

import pytest

from pipelines.console import plain
from pipelines.workdir import without_glob


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()


def test_a_plain_path_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(without_glob("out {a}")) == "out {a}"
    assert not os.path.exists("out {a}")


@pytest.mark.parametrize("name", ["a [1] b", "a*", "a?", "a\\b"])
def test_another_one_is_reached_by_a_link_that_stays(tmp_path, monkeypatch, name):
    link = without_glob(tmp_path / name / "out")
    (link / "x").write_text("1")
    assert (tmp_path / name / "out" / "x").read_text() == "1"
    assert not set("*?[\\") & set(os.path.abspath(link))
    monkeypatch.chdir(tmp_path / name)
    assert without_glob("out") == link


def test_a_link_to_elsewhere_is_not_followed(tmp_path):
    link = without_glob(tmp_path / "a*")
    link.unlink()
    link.symlink_to(tmp_path)
    with pytest.raises(FileExistsError, match="must be a link to the working directory"):
        without_glob(tmp_path / "a*")


def test_links_to_what_is_gone_are_removed_and_others_stay(tmp_path):
    gone, kept = without_glob(tmp_path / "gone*"), without_glob(tmp_path / "kept*")
    others = tmp_path / "tmp" / "recsys-ssl-of-mine"
    others.symlink_to(tmp_path / "nowhere")
    (tmp_path / "gone*").rmdir()
    third = without_glob(tmp_path / "third*")
    assert set((tmp_path / "tmp").iterdir()) == {kept, third, others}
    assert not gone.is_symlink()


def test_people_read_the_name_that_they_gave(tmp_path):
    link, other = without_glob(tmp_path / "a*"), without_glob(tmp_path / "b*")
    assert plain(f"{link}/report and {other}") == f"{tmp_path}/a*/report and {tmp_path}/b*"
    other.unlink()
    other.symlink_to(tmp_path)
    for text in (f"{other}/report", f"{tmp_path}/tmp/recsys-ssl-notes"):
        assert plain(text) == text
