"""Which version answers while directories come, change and go. What loads is a stand-in; real ones: test_swap."""

import os
import shutil
from types import SimpleNamespace

import pytest

from recsys_ssl.serving.errors import RequestError
from recsys_ssl.serving.versions import Models


class Shelf:
    """A directory of models whose graphs say whether they are good."""

    def __init__(self, root):
        self.root, self.events, self.loads = root, [], []

    def put(self, path, text="good"):
        (self.root / path).mkdir(parents=True, exist_ok=True)
        (self.root / path / "saved_model.pb").write_text(text)

    def load(self, name, version, path):
        text = (path / "saved_model.pb").read_text()
        self.loads.append((name, version, text))
        if text != "good":
            raise ValueError(f"{path.name} is {text}")
        return SimpleNamespace(name=name, version=version)

    def watch(self, keep=1):
        models = Models(self.root, keep, self.load, lambda *event: self.events.append(event))
        models.poll(is_first=True)
        return models

    def settle(self, models):
        """Two looks: at what is new, and that it has not changed since."""
        models.poll()
        models.poll()


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path)


def versions_of(models, name="films"):
    return [(status.version, status.state) for status in models.list_status(name)]


def test_the_last_version_of_each_model_answers(shelf):
    for path in ("films/2", "films/10", "shop/7", "films/notes", "films/007x"):
        shelf.put(path)
    models = shelf.watch()
    assert models.names == ["films", "shop"]
    assert (models.get("films").version, models.get("shop").version) == (10, 7)
    assert shelf.events == [
        ("films", 10, "loaded"),
        ("films", 10, "serving"),
        ("shop", 7, "loaded"),
        ("shop", 7, "serving"),
    ]


def test_one_model_by_itself(shelf):
    shelf.put("3")
    assert shelf.watch().get(shelf.root.name).version == 3


def test_a_saved_model_by_itself_has_the_version_of_its_time(shelf):
    shelf.put(".")
    os.utime(shelf.root / "saved_model.pb", (1234, 1234))
    models = shelf.watch()
    assert models.get(shelf.root.name).version == 1234
    os.utime(shelf.root / "saved_model.pb", (1300, 1300))
    shelf.settle(models)
    assert models.get(shelf.root.name).version == 1300


def test_what_a_run_publishes_is_served_side_by_side(shelf):
    for path in ("recommender", "recommender-control", f"recommender.{'0' * 32}.tmp", "report"):
        shelf.put(path)
        os.utime(shelf.root / path / "saved_model.pb", (1234, 1234))
    (shelf.root / "report" / "saved_model.pb").unlink()
    shelf.put("pushed/films/7")
    models = shelf.watch()
    assert models.names == ["recommender", "recommender-control"]
    assert models.get("recommender-control").version == 1234


def test_a_new_version_is_taken_when_its_files_stand_still(shelf):
    shelf.put("films/1")
    models = shelf.watch()
    shelf.put("films/2", "half")
    models.poll()
    assert len(shelf.loads) == 1
    shelf.put("films/2", "good")
    models.poll()  # it changed, so a copy may be under way
    assert models.get("films").version == 1
    models.poll()
    assert models.get("films").version == 2
    assert models.get("films", 1).version == 1  # of a request that names it
    assert versions_of(models) == [(2, "AVAILABLE"), (1, "AVAILABLE")]


def test_a_version_that_fails_is_not_taken_and_tried_again_when_it_changes(shelf):
    shelf.put("films/1")
    models = shelf.watch()
    shelf.put("films/2", "bad")
    shelf.settle(models)
    assert models.get("films").version == 1
    (status, _) = models.list_status("films")
    assert (status.version, status.state, status.error) == (2, "END", "2 is bad")
    shelf.settle(models)
    assert shelf.loads.count(("films", 2, "bad")) == 1
    shelf.put("films/2", "good")
    shelf.settle(models)
    assert models.get("films").version == 2
    assert ("films", 2, "rejected") in shelf.events


def test_at_the_start_the_last_good_one_is_taken(shelf):
    shelf.put("films/1")
    shelf.put("films/2", "cut off by a kill")
    assert shelf.watch().get("films").version == 1


def test_removing_the_last_brings_back_the_one_before(shelf):
    shelf.put("films/1")
    models = shelf.watch()
    shelf.put("films/2")
    shelf.settle(models)
    before = len(shelf.loads)
    shutil.rmtree(shelf.root / "films/2")
    models.poll()
    assert models.get("films").version == 1
    assert len(shelf.loads) == before  # it had stayed in memory
    with pytest.raises(RequestError, match="Servable not found for request: Specific"):
        models.get("films", 2)


def test_what_answers_goes_on_when_nothing_is_left(shelf):
    shelf.put("films/1")
    models = shelf.watch()
    shutil.rmtree(shelf.root / "films")
    models.poll()
    assert models.get("films").version == 1
    shutil.rmtree(shelf.root)
    with pytest.raises(FileNotFoundError):
        models.poll()
    assert models.get("films").version == 1


@pytest.mark.parametrize(("keep", "kept"), [(0, [4]), (1, [4, 3]), (2, [4, 3, 2])])
def test_so_many_versions_before_stay_in_memory(shelf, keep, kept):
    shelf.put("films/1")
    models = shelf.watch(keep)
    for version in (2, 3, 4):
        shelf.put(f"films/{version}")
        shelf.settle(models)
    assert [version for version, _ in versions_of(models)] == kept


def test_a_clock_that_is_set_back_changes_nothing(shelf):
    """Versions count by their numbers, whatever the times of their files."""
    shelf.put("films/5")
    models = shelf.watch()
    shelf.put("films/6")
    os.utime(shelf.root / "films/6/saved_model.pb", (1, 1))
    shelf.settle(models)
    assert models.get("films").version == 6


def test_no_model_yet(shelf):
    models = shelf.watch()
    assert models.names == []
    with pytest.raises(RequestError, match="no model is loaded yet") as error:
        models.get_default()
    assert error.value.http_status == 503
    shelf.put("films/1")
    shelf.settle(models)
    assert models.get_default().version == 1


def test_errors_in_the_words_of_tensorflow_serving(shelf):
    shelf.put("films/1")
    shelf.put("shop/1")
    models = shelf.watch()
    for ask, message in [
        (lambda: models.get("nope"), r"Servable not found for request: Latest\(nope\)"),
        (lambda: models.get("films", 9), r"Servable not found for request: Specific\(films, 9\)"),
        (lambda: models.list_status("nope"), "Could not find any versions of model nope"),
        (lambda: models.list_status("films", 9), "Could not find version 9 of model films"),
        (lambda: models.get_default(), "there are films, shop. Add the field model"),
    ]:
        with pytest.raises(RequestError, match=message) as error:
            ask()
        assert error.value.http_status == 404
    with pytest.raises(NotADirectoryError, match="--models must be a directory"):
        Models(shelf.root / "nope")
