"""Recommending to a query of the log, with a recommender that writes down what it is asked."""

import json
import shutil
from types import SimpleNamespace

import pytest

from recsys_ssl import examples
from recsys_ssl.serving import queries as recommendation
from recsys_ssl.serving.lookup import Lookup
from recsys_ssl.serving.lookup_writer import write_lookup
from recsys_ssl.serving.queries import Places, Recommended, recommend_to_query
from recsys_ssl.spec import FeatureSpec

SPEC = {
    "name": "films",
    "events": {
        "paths": ["e.csv"],
        "query_id": "user",
        "item_id": "film",
        "timestamp": {"column": "time"},
        "features": [{"name": "device", "kind": "categorical"}],
    },
    "items": {
        "table": {"paths": ["i.csv"]},
        "id": "film",
        "title": "title",
        "features": [
            {"name": "film", "kind": "id"},
            {"name": "title", "kind": "text"},
            {"name": "length", "kind": "numeric"},
        ],
    },
    "queries": {
        "id": "user",
        "features": [{"name": "user", "kind": "id"}, {"name": "history", "kind": "item_sequence"}],
    },
}
# Two shards; in the second no film has a title, so that column holds nulls only.
FILMS = (
    {"item_row": [[0], [1]], "item_id": [[b"f\t0"], [b"f1"]], "film": [[b"f\t0"], [b"f1"]],
     "title": [["Zoë 🍕".encode()], [b"One"]], "length": [[90.0], []]},
    {"item_row": [[2]], "item_id": [[b"f2"]], "film": [[b"f2"]], "title": [[]], "length": [[80.0]]},
)  # fmt: skip
# u1's last held-out event is the second record.
EVENTS = {
    "query_id": [[b"u0"], [b"u1"], [b"u1"]],
    "item_row": [[1], [2], [0]],
    "timestamp_us": [[5], [9], [7]],
    "user": [[b"u0"], [b"u1"], [b"u1"]],
    "device": [[b"tv"], [b"phone"], []],
    "history": [[], [b"f1", b"f\t0"], [b"f1"]],
    "seen_rows": [[], [0, 1], [1]],
}

# u2 is known before the test only; its last event is the one of the validation.
TRAINED = {
    "query_id": [[b"u2"], [b"u1"], [b"u2"]],
    "item_id": [[b"f1"], [b"f1"], [b"f\t0"]],
    "item_row": [[1], [1], [0]],
    "timestamp_us": [[3], [1], [2]],
    "user": [[b"u2"], [b"u1"], [b"u2"]],
    "device": [[b"tv"], [b"tv"], [b"tv"]],
    "history": [[b"f\t0"], [], []],
}
VALIDATED = {
    "query_id": [[b"u2"]],
    "item_id": [[b"f1"]],
    "item_row": [[1]],
    "timestamp_us": [[4]],
    "user": [[b"u2"]],
    "device": [[b"phone"]],
    "history": [[b"f\t0", b"f1"]],
    "seen_rows": [[0, 1]],
}


@pytest.fixture
def places(tmp_path, make_records):
    for shard, films in enumerate(FILMS):
        examples.write_shard(make_records(films), str(tmp_path / "catalogue"), "catalogue", f"part-{shard}")
    for split, events in (("train", TRAINED), ("eval", VALIDATED), ("test", EVENTS)):
        examples.write_shard(make_records(events), str(tmp_path / "interactions"), split, "part-0")
    return Places(str(tmp_path / "interactions"), str(tmp_path / "catalogue"), str(tmp_path / "recommender"))


@pytest.fixture
def asked(monkeypatch):
    """Calls of a recommender that answers f2, then f<tab>0."""
    calls = []

    def answer(model, features, k, exclude):
        calls.append(SimpleNamespace(model=model, features=features, k=k, exclude=exclude))
        return SimpleNamespace(item_ids=[["f2", "f\t0"][:k]], scores=[[0.5, 0.25][:k]])

    monkeypatch.setattr(recommendation, "load_recommender", lambda directory: directory)
    monkeypatch.setattr(recommendation, "recommend", answer)
    monkeypatch.setattr(recommendation, "list_features", lambda model: ["user", "device", "history"])
    return calls


def make_spec(**changes):
    return FeatureSpec.model_validate({**SPEC, **changes})


def test_asks_with_the_raw_features_of_the_last_held_out_event(places, asked):
    found = recommend_to_query(make_spec(), places, "u1", 2)
    assert found == Recommended("u1", ["One", "Zoë 🍕"], ["f2", "f\t0"], ["f2", "Zoë 🍕"], [0.5, 0.25], num_items=3)
    (call,) = asked
    assert call.model == places.recommender_dir
    assert call.features == {"user": [["u1"]], "device": [["phone"]], "history": [["f1", "f\t0"]]}
    assert call.exclude == [["f\t0", "f1"]]
    assert call.k == 2


def test_more_than_the_catalogue_is_the_whole_catalogue(places, asked):
    assert recommend_to_query(make_spec(), places, "u1", 3_000_000_000).num_items == 3
    assert [call.k for call in asked] == [3]


def test_without_a_query_the_first_that_has_seen_something_is_taken(places, asked):
    assert recommend_to_query(make_spec(), places, None, 1).query_id == "u1"


def test_a_query_that_has_seen_nothing_can_be_asked_for(places, asked):
    found = recommend_to_query(make_spec(), places, "u0", 1)
    assert (found.query_id, found.chosen_titles) == ("u0", [])
    assert asked[0].features == {"user": [["u0"]], "device": [["tv"]], "history": [[]]}
    assert asked[0].exclude == [[]]


def test_seen_items_may_come_again_when_the_spec_does_not_mask_them(places, asked):
    found = recommend_to_query(make_spec(evaluation={"mask_seen": False}), places, "u1", 1)
    assert found.chosen_titles == ["One", "Zoë 🍕"]
    assert asked[0].exclude == [[]]


def test_without_an_item_sequence_the_seen_items_are_what_was_chosen(places, asked):
    queries = {"id": "user", "features": [{"name": "user", "kind": "id"}]}
    found = recommend_to_query(make_spec(queries=queries), places, "u1", 1)
    assert sorted(found.chosen_titles) == ["One", "Zoë 🍕"]
    assert asked[0].features == {"user": [["u1"]], "device": [["phone"]]}


@pytest.mark.parametrize("mask_seen", [True, False])
def test_a_query_that_the_test_split_lacks_is_asked_for_as_after_its_last_event(places, asked, mask_seen):
    found = recommend_to_query(make_spec(evaluation={"mask_seen": mask_seen}), places, "u2", 1)
    assert (found.query_id, found.chosen_titles, found.is_known) == ("u2", ["Zoë 🍕", "One", "One"], True)
    assert asked[0].features == {"user": [["u2"]], "device": [["phone"]], "history": [["f\t0", "f1", "f1"]]}
    assert asked[0].exclude == [["f\t0", "f1"] if mask_seen else []]


BASKETS = {
    "query_id": [[b"u3"]] * 4,
    "item_id": [[b"f2"], [b"f1"], [b"f\t0"], [b"f1"]],
    "item_row": [[2], [1], [0], [1]],
    "timestamp_us": [[5], [5], [5], [1]],
    "sequence_position": [[3], [1], [2], [0]],
    "user": [[b"u3"]] * 4,
    "device": [[b"tv"], [b"phone"], [b"car"], []],
    "history": [[]] * 4,
}


def test_of_events_at_one_time_the_order_of_the_log_counts(tmp_path, places, asked, make_records):
    """Records to train on are not in that order; the command and the server read them alike."""
    examples.write_shard(make_records(BASKETS), str(tmp_path / "interactions"), "train", "part-1")
    recommend_to_query(make_spec(), places, "u3", 1)
    assert asked[0].features == {"user": [["u3"]], "device": [["tv"]], "history": [["f1", "f1", "f\t0", "f2"]]}
    write_lookup(make_spec(), places.interactions_dir, places.catalogue_dir, [tmp_path / "model"])
    found = Lookup(tmp_path / "model").find_queries(["u3"])["u3"]
    assert found.history.tolist() == [1, 1, 0, 2]
    assert found.record["device"] == [b"tv"]


GIVEN = {"kind": "given", "test_paths": ["test.csv"]}


@pytest.mark.parametrize(
    ("validation", "history"), [(0.1, ["f\t0", "f1", "f2"]), (0.0, ["f\t0", "f1"])], ids=["a share", "none"]
)
def test_given_splits_follow_each_other_whatever_their_times(
    tmp_path, places, asked, make_records, validation, history
):
    """The event of the validation is the earliest, but held out of the training; without a validation nothing is."""
    if validation:
        held_out = VALIDATED | {"timestamp_us": [[1]], "item_id": [[b"f2"]], "item_row": [[2]]}
        examples.write_shard(make_records(held_out), str(tmp_path / "interactions"), "eval", "part-0")
    else:
        shutil.rmtree(tmp_path / "interactions" / "Split-eval")
    recommend_to_query(make_spec(split=GIVEN | {"validation": validation}), places, "u2", 1)
    assert asked[0].features["history"] == [history]


def test_what_a_query_rated_low_is_left_out_and_what_it_chose_may_come_again(tmp_path, places, asked, make_records):
    """Rated low after the last choice, too: no split of choices tells of that."""
    columns = {"query_id": [[b"u1"], [b"u2"]], "item_row": [[0], [2]]}
    log = {**SPEC["events"], "label": {"column": "rating", "threshold": 4}}
    for low in ([], ["f2"]):
        if low:
            examples.write_shard(make_records(columns), str(tmp_path / "interactions"), "disliked", "part-0")
        for mask_seen, chosen in ((False, []), (True, ["f\t0", "f1"])):
            evaluation = {"mask_seen": mask_seen, "mask_disliked": True}
            recommend_to_query(make_spec(events=log, evaluation=evaluation), places, "u2", 1)
            assert asked.pop().exclude == [[*chosen, *low]]


def test_a_history_is_no_longer_than_its_feature(places, asked):
    history = {"name": "history", "kind": "item_sequence", "length": 2}
    queries = {"id": "user", "features": [{"name": "user", "kind": "id"}, history]}
    recommend_to_query(make_spec(queries=queries), places, "u2", 1)
    assert asked[0].features["history"] == [["f1", "f1"]]


def test_a_model_that_reads_gaps_in_time_is_given_times(tmp_path, places, asked, make_records, monkeypatch):
    monkeypatch.setattr(recommendation, "list_features", lambda model: ["history", "history_us", "timestamp_us"])
    events = {**EVENTS, "history_us": [[] if not items else [1, 2] for items in EVENTS["history"]]}
    examples.write_shard(make_records(events), str(tmp_path / "interactions"), "test", "part-0")
    recommend_to_query(make_spec(), places, "u1", 1)
    assert (asked[0].features["history_us"], asked[0].features["timestamp_us"]) == ([[1, 2]], [[9]])
    # Of another query the times of its events are known, but not when it asks.
    recommend_to_query(make_spec(), places, "u2", 1)
    assert len(asked[1].features["history_us"][0]) == len(asked[1].features["history"][0]) > 1
    assert asked[1].features["history_us"][0] == sorted(asked[1].features["history_us"][0])
    assert asked[1].features["timestamp_us"] == [[]]


@pytest.mark.parametrize("query", ["u7", "", "Zoë 🍕"])
def test_of_a_query_that_the_log_lacks_nothing_but_its_id_is_known(places, asked, query):
    found = recommend_to_query(make_spec(), places, query, 2)
    assert (found.query_id, found.chosen_titles, found.is_known) == (query, [], False)
    assert found.item_ids == ["f2", "f\t0"]
    assert asked[0].features == {"user": [[query]], "device": [[]], "history": [[]]}
    assert asked[0].exclude == [[]]


@pytest.mark.parametrize(
    ("seen", "histories", "chosen"),
    [
        ([[], [], []], [[], [], []], "u0"),  # nobody was there before
        ([[], [], []], [[], [b"f1"], []], "u1"),  # with mask_seen: false no seen items are written
        ([[], [0], []], [[], [], []], "u1"),
    ],
)
def test_without_a_query_there_is_always_one_to_show(tmp_path, places, asked, make_records, seen, histories, chosen):
    events = {**EVENTS, "query_id": [[b"u0"], [b"u1"], [b"u2"]], "seen_rows": seen, "history": histories}
    examples.write_shard(make_records(events), str(tmp_path / "interactions"), "test", "part-0")
    assert recommend_to_query(make_spec(), places, None, 1).query_id == chosen


@pytest.mark.parametrize("mask_seen", [True, False])
def test_a_query_that_is_an_item_has_the_items_features_and_is_never_recommended(
    tmp_path, places, asked, make_records, mask_seen
):
    events = {
        "query_id": [[b"f1"]],
        "item_row": [[0]],
        "timestamp_us": [[5]],
        "query_row": [[1]],
        "seen_rows": [[1, 2]],
    }
    for split in ("train", "eval", "test"):
        examples.write_shard(make_records(events), str(tmp_path / "pages"), split, "part-0")
    places = Places(str(tmp_path / "pages"), places.catalogue_dir, places.recommender_dir)
    log = {name: value for name, value in SPEC["events"].items() if name != "features"}
    evaluation = {"mask_seen": mask_seen}
    found = recommend_to_query(
        make_spec(events=log, queries={"same_as_items": True}, evaluation=evaluation), places, "f1", 1
    )
    assert found.chosen_titles == ["f2"]
    assert asked[0].features == {"film": [["f1"]], "title": [["One"]], "length": [[]]}
    assert asked[0].exclude == [["f1", "f2"] if mask_seen else ["f1"]]

    # An item that never asked in the log has its features all the same, one that is no item has none.
    spec = make_spec(events=log, queries={"same_as_items": True}, evaluation=evaluation)
    found = recommend_to_query(spec, places, "f\t0", 1)
    assert (found.chosen_titles, found.is_known) == ([], False)
    assert asked[1].features == {"film": [["f\t0"]], "title": [["Zoë 🍕"]], "length": [[90.0]]}
    assert asked[1].exclude == [["f\t0"]]
    recommend_to_query(spec, places, "nowhere", 1)
    assert asked[2].features == {"film": [[]], "title": [[]], "length": [[]]}


def test_a_query_that_is_a_compound_is_asked_for_by_its_packed_molecule(tmp_path, asked, make_records):
    packed = b"\xff\x00 no text"
    compounds = {"item_row": [[0], [1], [2]], "item_id": [[b"f\t0"], [b"f1"], [b"f2"]], "structure": [[], [packed], []]}
    events = {"query_id": [[b"f1"]], "item_row": [[0]], "query_row": [[1]], "seen_rows": [[1]]}
    examples.write_shard(make_records(compounds), str(tmp_path / "catalogue"), "catalogue", "part-0")
    examples.write_shard(make_records(events), str(tmp_path / "interactions"), "test", "part-0")
    items = {**SPEC["items"], "title": None, "features": [{"name": "structure", "kind": "molecule"}]}
    log = {name: value for name, value in SPEC["events"].items() if name not in ("features", "timestamp")}
    spec = make_spec(events=log, items=items, queries={"same_as_items": True}, split={"kind": "random"})
    places = Places(str(tmp_path / "interactions"), str(tmp_path / "catalogue"), "towers")
    assert recommend_to_query(spec, places, "f1", 2).titles == ["f2", "f\t0"]
    assert asked[0].features == {"structure": [[packed]]}


def test_without_titles_ids_are_shown(places, asked):
    items = {**SPEC["items"], "title": None}
    assert recommend_to_query(make_spec(items=items), places, "u1", 2).titles == ["f2", "f\t0"]


def test_places_are_written_and_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="Finish `recsys-ssl run`"):
        Places.read(str(tmp_path))
    work, moved = tmp_path / "work", tmp_path / "moved"
    places = Places(f"{work}/tfx/a/1", f"{work}/b", f"{tmp_path}/elsewhere/c")
    places.write(str(work))
    assert Places.read(str(work)) == places
    names = {"interactions_dir": "tfx/a/1", "catalogue_dir": "b", "recommender_dir": f"{tmp_path}/elsewhere/c"}
    assert json.loads((work / "places.json").read_text()) == names
    work.rename(moved)
    assert Places.read(str(moved)) == Places(f"{moved}/tfx/a/1", f"{moved}/b", f"{tmp_path}/elsewhere/c")


def test_places_of_an_earlier_version_begin_where_the_command_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "work" / "a").mkdir(parents=True)
    names = {"interactions_dir": "work/a", "catalogue_dir": f"{tmp_path / 'work' / 'b'}", "recommender_dir": "c"}
    (tmp_path / "work" / "places.json").write_text(json.dumps(names))
    assert Places.read("work") == Places("work/a", f"{tmp_path / 'work' / 'b'}", "work/c")
