"""The commands of the live catalogue, on what a run lays beside its model."""

import json

import pytest

from recsys_ssl import examples
from recsys_ssl.serving.live import LIVE_FILE, LiveCatalogue
from recsys_ssl.serving.lookup_writer import write_lookup
from recsys_ssl.serving.places import Places
from recsys_ssl.spec import FeatureSpec

SPEC = {
    "name": "films",
    "events": {"paths": ["e.csv"], "query_id": "user", "item_id": "film"},
    "items": {
        "table": {"paths": ["i.csv"]},
        "id": "film",
        "features": [
            {"name": "film", "kind": "id"},
            {"name": "genre", "kind": "categorical", "multi_valued": True},
            {"name": "formula", "kind": "molecule"},
        ],
    },
    "queries": {"id": "user", "features": [{"name": "user", "kind": "id"}]},
    "split": {"kind": "random"},
}


@pytest.fixture
def workdir(tmp_path, make_records):
    film = {"film": [[b"f0"]], "genre": [[b"noir"]], "formula": [[]]}
    records = {"item_row": [[0]], "item_id": [[b"f0"]], "train_count": [[1]], **film}
    examples.write_shard(make_records(records), str(tmp_path / "catalogue"), "catalogue", "part-0")
    event = make_records({"query_id": [[b"u"]], "item_row": [[0]], "user": [[b"u"]]})
    for split in ("train", "eval", "test"):
        examples.write_shard(event, str(tmp_path / "interactions"), split, "part-0")
    places = Places(*(str(tmp_path / name) for name in ("interactions", "catalogue", "recommender")))
    places.write(str(tmp_path))
    write_lookup(
        FeatureSpec.model_validate(SPEC), places.interactions_dir, places.catalogue_dir, [places.recommender_dir]
    )
    return tmp_path


def read(workdir):
    return [(item.item_id, item.state, item.record) for item in LiveCatalogue(workdir / LIVE_FILE).read_since()]


def test_items_are_added_changed_and_removed(cli, workdir):
    lines = [{"item_id": "f1", "genre": ["noir", "war"]}, {"item_id": "f2", "formula": "CCO"}]
    (workdir / "items.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    result = cli("index", "add", "--workdir", workdir, "--from", workdir / "items.jsonl")
    assert result.status == 0
    assert "2 items added, last change 2, in " in result.output
    (first, second) = read(workdir)
    assert first == ("f1", "added", {"film": [b"f1"], "genre": [b"noir", b"war"]})
    # Content is packed here, so that a server needs no reader of it.
    assert second[2].keys() == {"film", "formula"}
    assert isinstance(second[2]["formula"][0], bytes)
    result = cli("index", "change", "--workdir", workdir, "--item", '{"item_id": "f0", "genre": null}')
    assert "1 item changed, last change 3" in result.output
    assert cli("index", "remove", "--workdir", workdir, "f1", "f2").status == 0
    removed = [("f1", "removed", {}), ("f2", "removed", {})]
    assert read(workdir) == [("f0", "changed", {"film": [b"f0"], "genre": []}), *removed]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add"], "at least one item must be given"),
        (["add", "--item", "f1"], "--item must be JSON. Received: 'f1'"),
        (["add", "--item", '["f1"]'], "--item must be an object with item_id"),
        (["add", "--item", '{"item_id": "f0"}'], "an item that is added must be new. Received: item 'f0'"),
        (["add", "--item", '{"item_id": "f1", "genres": 3}'], "item 'f1': features of an item must be among"),
        (["add", "--item", '{"item_id": "f1", "formula": "C("}'], "item 'f1': 'formula' is no molecule: "),
        (["change", "--item", '{"item_id": "f1"}'], "the catalogue must have the item. Received: item 'f1'"),
        (["remove", "f1", "f0"], "the catalogue must have the item. Received: item 'f1'"),
        (["add", "--from", "nowhere.jsonl"], "nowhere.jsonl"),
    ],
)
def test_mistakes_are_told_in_one_line_and_change_nothing(cli, workdir, arguments, message):
    result = cli("index", *arguments, "--workdir", workdir)
    assert result.status == 1
    assert message in result.output
    assert "Traceback" not in result.output
    assert read(workdir) == []


def test_a_directory_without_a_run_is_told(cli, tmp_path):
    result = cli("index", "remove", "--workdir", tmp_path, "f1")
    assert result.status == 1
    assert "no places.json" in result.output
