"""The live catalogue: found at once, gone at once, there after a kill."""

import copy
import logging
import os
import signal
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from recsys_ssl.serving.live import Change, LiveCatalogue, make_change
from recsys_ssl.serving.recommender import Recommender

TASTE = np.arange(1.0, 9.0, dtype=np.float32)
QUERY = {"taste": [TASTE]}


@pytest.fixture
def live_path(tmp_path):
    return tmp_path / "live.sqlite"


@pytest.fixture(scope="module")
def model(film_model_dir):
    return Recommender(film_model_dir)


@pytest.fixture
def recommender(model, live_path):
    """The model with a live catalogue of its own; loading takes longer than a test."""
    own = copy.copy(model)
    own.follow(live_path)
    return own


@pytest.fixture
def do(recommender):
    """do("add", "film-x", place=...) by a process of its own, as far as the server knows."""

    def change(operation, item_id, **features):
        catalogue = LiveCatalogue(recommender._live.catalogue.path)
        catalogue.apply([make_change(recommender.spec, operation, item_id, features)], recommender.lookup.find_rows)

    return change


def ask(recommender, k=3, **limits):
    (answer,) = recommender.recommend(QUERY, k, **limits)
    return answer


def test_a_new_item_is_found_at_once_changed_at_once_and_gone_at_once(recommender, do):
    before = ask(recommender)
    do("add", "new", place=list(2 * TASTE), genres=["noir"], year=2030)
    answer = ask(recommender)
    assert answer.item_ids == ["new", *before.item_ids[:2]]
    assert answer.scores[0] == pytest.approx(1.0)
    assert answer.flags == ("new_items",)
    do("change", "new", place=list(-TASTE))
    assert ask(recommender) == before
    # What was not changed is as it was.
    answer = ask(recommender, filters={"genres": "noir", "year": {"min": 2029.5}})
    assert answer == (["new"], [pytest.approx(-1.0)], ("new_items", "fewer"))
    do("remove", "new")
    assert ask(recommender) == before
    assert ask(recommender, filters={"genres": "noir"}) == ([], [], ("fewer",))
    do("add", "new", place=list(TASTE))
    assert ask(recommender).item_ids[0] == "new"


def test_items_of_the_model_are_changed_and_removed(recommender, do):
    best = ask(recommender, k=5).item_ids
    do("remove", best[0])
    assert ask(recommender, k=4).item_ids == best[1:]
    do("change", best[3], place=list(TASTE))
    answer = ask(recommender, k=4)
    assert answer.item_ids == [best[3], best[1], best[2], best[4]]
    assert answer.flags == ()  # training saw all of them
    # Its other features are those of the catalogue.
    assert ask(recommender, filters={"film": best[3]}).item_ids == [best[3]]
    do("add", best[0], place=list(TASTE))
    assert set(ask(recommender, k=2).item_ids) == {best[0], best[3]}


def test_an_addition_that_was_trained_since_is_changed_like_any_item(recommender, do):
    """`add` before the model knew the item, `change` afterwards: the newer model shows the change."""
    catalogue = recommender._live.catalogue
    catalogue.apply([make_change(recommender.spec, "add", "film-7", {"year": 1901})], lambda ids: {})
    do("change", "film-7", year=2031)
    assert ask(recommender, filters={"year": 2031}).item_ids == ["film-7"]


def test_limits_hold_for_live_items(recommender, do):
    best = ask(recommender).item_ids
    do("add", "new", place=list(TASTE))
    do("change", best[0], place=list(TASTE))
    assert ask(recommender, exclude=[["new", best[0]]]).item_ids[0] == best[1]
    answer = ask(recommender, allow=[["new", best[1], "film-7"]])
    assert answer.item_ids == ["new", best[1], "film-7"]
    assert answer.flags == ("new_items", "unknown_items", "exact")
    # The query has seen the item, wherever it lies now.
    (seen,) = recommender.recommend_ids(["u5"], 6100)
    do("change", "film-55", place=list(TASTE))
    (after,) = recommender.recommend_ids(["u5"], 6100)
    assert "film-55" not in after.item_ids
    assert sorted(after.item_ids) == sorted(seen.item_ids)


def test_an_unknown_query_gets_new_items_last(recommender, do):
    do("add", "new", place=list(TASTE), genres=["genre-3"])
    (answer,) = recommender.recommend_ids(["nobody"], 7, filters={"genres": "genre-3"})
    assert answer.item_ids == [*(f"film-{row}" for row in range(0, 6000, 1000)), "new"]
    assert answer.scores[-1] == 0.0


def test_changed_items_of_a_history_score_as_chosen_again(repeat_model_dir, live_path):
    recommender = Recommender(repeat_model_dir, live_path)
    recommender.change_items([make_change(recommender.spec, "change", "film-10", {"place": TASTE})])
    (answer,) = recommender.recommend({**QUERY, "history": [["film-10"]]}, k=1)
    assert answer.item_ids == ["film-10"]
    assert answer.scores[0] == pytest.approx(0.1 * np.log(np.exp(10) + np.exp(9)), rel=1e-6)


def test_the_next_server_has_the_items(recommender, do, film_model_dir, live_path):
    do("add", "new", place=list(TASTE))
    do("remove", "film-3")
    other = Recommender(film_model_dir, live_path=live_path)
    assert ask(other, 6000) == ask(recommender, 6000)
    assert ask(other).item_ids[0] == "new"


def test_many_changes_are_made_all_or_none(recommender):
    changes = [make_change(recommender.spec, "add", f"new-{i}", {"place": TASTE}) for i in range(3)]
    with pytest.raises(ValueError, match="must be new. Received: item 'film-7', which is there. Change it instead"):
        recommender.change_items([*changes, make_change(recommender.spec, "add", "film-7")])
    assert not set(ask(recommender, 9).item_ids) & {"new-0", "new-1", "new-2"}
    assert recommender.change_items(changes) == 3
    assert set(ask(recommender).item_ids) == {"new-0", "new-1", "new-2"}


@pytest.mark.parametrize(
    ("operation", "item_id", "features", "error", "message"),
    [
        ("change", "nothing", {}, ValueError, "must have the item. Received: item 'nothing'. Check its id, or add it"),
        ("remove", "nothing", {}, ValueError, "must have the item"),
        ("add", "new", {"place": [1.0]}, ValueError, "'place' takes 8 numbers. Received: 1"),
        ("add", "new", {"colour": "red"}, ValueError, "must be among .* Received: .'colour'."),
        ("add", "new", {"year": "1999"}, TypeError, "'year' takes numbers. Received: '1999'"),
        ("add", "new", {"year": 1e300}, ValueError, "'year' takes finite numbers"),
        ("add", "new", {"year": 10**400}, ValueError, "'year' takes finite numbers"),
        ("add", "new", {"title": ["a", "b"]}, ValueError, "'title' takes one value"),
        ("add", "new", {"genres": [1]}, TypeError, "'genres' takes strings"),
        ("add", "new", {"film": "old"}, ValueError, "'film' is the item's id, 'new'"),
        ("add", "", {}, ValueError, "item_id must have at least one character"),
        ("remove", "film-1", {"year": 3}, ValueError, "a removal takes the item's id alone"),
        ("move", "film-1", {}, ValueError, "operation must be one of"),
    ],
)
def test_bad_changes_are_explained(recommender, operation, item_id, features, error, message):
    with pytest.raises(error, match=message):
        recommender.change_items([make_change(recommender.spec, operation, item_id, features)])


def test_what_the_model_has_no_finite_vector_of_is_not_added(recommender, do, caplog):
    endless = make_change(recommender.spec, "add", "endless", {"year": -1, "place": TASTE})
    before = ask(recommender)
    with pytest.raises(ValueError, match="must have a finite vector"):
        recommender.change_items([endless])
    # Another process cannot know: the items are told of, and others are served.
    short = endless._replace(item_id="short", record={"place": [1.0]})
    LiveCatalogue(recommender._live.catalogue.path).apply([endless, short], recommender.lookup.find_rows)
    with caplog.at_level(logging.ERROR):
        do("add", "new", place=list(TASTE))
        assert ask(recommender).item_ids == ["new", *before.item_ids[:2]]
    assert "item 'endless' is not recommended: its embedding is not finite" in caplog.text
    assert "item 'short' is not recommended: feature 'place' must have 8 values or none" in caplog.text


WRITE = """
import sys
from recsys_ssl.serving.live import Change, LiveCatalogue
assert "tensorflow" not in sys.modules
catalogue = LiveCatalogue(sys.argv[1])
for number in range(100_000):
    changes = [Change("add", f"item-{number}-{part}", {"title": [b"x" * 100]}) for part in range(3)]
    catalogue.apply(changes, lambda ids: ())
    print(number, flush=True)
"""


def test_what_was_confirmed_is_there_after_a_kill_and_nothing_by_halves(live_path):
    command = [sys.executable, "-c", WRITE, str(live_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        confirmed = [int(process.stdout.readline()) for _ in range(20)]
        os.kill(process.pid, signal.SIGKILL)
        confirmed += [int(line) for line in process.stdout if line.endswith("\n")]
    assert process.returncode == -signal.SIGKILL
    catalogue = LiveCatalogue(live_path)
    found = [item.item_id for item in catalogue.read_since()]
    assert {f"item-{number}-{part}" for number in confirmed for part in range(3)} <= set(found)
    assert len(found) % 3 == 0
    with sqlite3.connect(live_path) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    last = catalogue.apply([Change("remove", "item-0-0", {})], lambda ids: ())
    assert [item.number for item in catalogue.read_since()] == list(range(2, last + 1))
    assert catalogue.read_since()[-1] == ("item-0-0", len(found) + 1, "removed", {})


def test_another_file_is_no_live_catalogue(live_path):
    live_path.write_bytes(b"no database" * 100)
    with pytest.raises(ValueError, match="live.sqlite is damaged, or not whole. .* Move it away"):
        LiveCatalogue(live_path)


# --- A disk that is full ---------------------------------------------------------------------------------


def test_a_full_disk_is_one_error_and_changes_nothing(recommender, live_path):
    spec, catalogue = recommender.spec, recommender._live.catalogue
    recommender.change_items([make_change(spec, "add", "new", {"place": list(2 * TASTE)})])
    before, kept = ask(recommender), catalogue.read_since()
    database = catalogue._open()
    ((pages,),) = database.execute("PRAGMA page_count")
    database.execute(f"PRAGMA max_page_count = {pages}")
    long = {"title": "x" * 100_000, "place": list(3 * TASTE)}
    changes = [make_change(spec, "remove", "new"), make_change(spec, "add", "longer", long)]
    with pytest.raises(OSError, match=r"live\.sqlite must be written, and was left as it was\. .* disk is full\. Free"):
        recommender.change_items(changes)
    assert catalogue.read_since() == kept
    assert ask(recommender) == before
    database.execute(f"PRAGMA max_page_count = {pages + 1000}")
    recommender.change_items(changes)
    assert ask(recommender).item_ids == ["longer", *before.item_ids[1:]]


WRITE_UNTIL_FULL = """
import os, resource, sys
from recsys_ssl.serving.live import Change, LiveCatalogue
catalogue = LiveCatalogue(sys.argv[1])
most = max(os.path.getsize(sys.argv[1] + end) for end in ("", "-wal", "-shm")) + 20_000
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
for number in range(100):
    catalogue.apply([Change("add", f"item-{number}", {"title": [b"x" * 3000]})], lambda ids: [])
    print(f"item-{number}", flush=True)
"""


def test_what_was_confirmed_before_the_disk_was_full_stays(tmp_path):
    path = tmp_path / "live.sqlite"
    LiveCatalogue(path).apply([Change("add", "first", {"title": [b"a"]})], lambda ids: [])
    command = [sys.executable, "-c", WRITE_UNTIL_FULL, str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "OSError: " in ended.stderr.splitlines()[-1]
    assert "must be written, and was left as it was" in ended.stderr.splitlines()[-1]
    confirmed = ended.stdout.split()
    assert 0 < len(confirmed) < 100
    catalogue = LiveCatalogue(path)
    assert [item.item_id for item in catalogue.read_since()] == ["first", *confirmed]
    assert catalogue.apply([Change("add", "last", {})], lambda ids: []) == len(confirmed) + 2


def test_a_file_that_cannot_be_made_is_not_called_damaged(tmp_path):
    (tmp_path / "live.sqlite").mkdir()
    with pytest.raises(OSError, match=r"live\.sqlite must be written.* unable to open database file"):
        LiveCatalogue(tmp_path / "live.sqlite")
