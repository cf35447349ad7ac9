"""The whole ingestion of several kinds of logs: no item table, molecules, queries that are items, JSON, odd ids."""

import gzip
import json

from recsys_ssl.encoders.molecule.graph import to_bytes
from recsys_ssl.encoders.molecule.smiles import featurise
from recsys_ssl.logs.transforms import IngestConfig
from tests.logs.ingested import (
    EVENTS,
    ITEMS,
    USERS,
    Run,
    as_text,
    assert_conserved,
    click_spec,
    ingest_fails,
    make_spec,
)


def test_without_item_table_the_catalogue_is_the_log_and_random_split_is_recorded(tmp_path):
    events = {"paths": ["events.csv.gz"], "query_id": "user", "item_id": "item", "deduplicate": "pair"}
    spec = make_spec(
        events={**events, "timestamp": None, "label": {"column": "rating", "threshold": 4.0}},
        items={"table": None, "features": [{"name": "film", "column": "item", "kind": "id"}]},
        queries={"table": None, "features": [{"name": "user", "kind": "id"}]},
        split={"kind": "random", "seed": 5},
    )
    rows = [f"u{n % 25},i{n // 25},{n % 5 + 1}" for n in range(500)] * 2
    text = "user,item,rating\n" + "\n".join(rows)
    run = Run(tmp_path, spec, {"events.csv.gz": gzip.compress(text.encode())})
    assert_conserved(run.summary)
    assert (run.summary.positives, run.summary.duplicates, run.summary.ignored) == (200, 200, 600)
    assert (run.summary.split_kind, run.summary.cuts_us) == ("random", None)
    catalogue = run.split("catalogue", "catalogue")
    assert sorted(row["item_id"][0] for row in catalogue) == sorted(f"i{n}" for n in range(20))
    assert all(row["film"] == row["item_id"] for row in catalogue)
    train, test = run.split("train"), run.split("test")
    assert "timestamp_us" not in train[0]
    assert all(row["user"] == row["query_id"] for row in train)
    for row in test:
        before = {e["item_row"][0] for e in train + run.split("eval") if e["query_id"] == row["query_id"]}
        assert row["seen_rows"] == sorted(before)


def compound_spec(**changes):
    events = {"paths": ["events.csv"], "query_id": "user", "item_id": "item", "timestamp": None, "label": {}}
    features = [
        {"name": "structure", "column": "smiles", "kind": "molecule"},
        {"name": "made_of", "kind": "categorical"},
    ]
    return make_spec(
        events=events,
        items={"table": {"paths": ["items.csv"]}, "id": "item", "features": features},
        queries={"table": None, "features": [{"name": "user", "kind": "id"}]},
        **changes,
    )


def test_molecules_are_packed_once_and_a_bad_smiles_rejects_its_item(tmp_path):
    spec = compound_spec(split={"kind": "random", "validation": 0.3, "test": 0.3})
    items = "item,smiles,made_of\nA,CCO,x\nB,C1CC,y\nC,,x\nD,c1ccccc1,\nE, ,x\n"
    text = "user,item\n" + "".join(f"u{n},{item}\n" for n in range(12) for item in "ABCDE")
    run = Run(tmp_path, spec, {"events.csv": text, "items.csv": items})
    assert_conserved(run.summary)
    assert run.summary.items_rejected == {
        "structure is no molecule: empty": 1,
        "structure is no molecule: unparsable": 1,
    }
    # Their events have no item any more.
    assert run.summary.rejected == {"item not in the table": 24}
    found = {(row["reason"], row["file"], row["line"]): row["record"] for row in run.rejected("items")}
    assert found == {
        ("structure is no molecule: unparsable", "items.csv", 3): {"item": "B", "smiles": "C1CC", "made_of": "y"},
        ("structure is no molecule: empty", "items.csv", 6): {"item": "E", "smiles": " ", "made_of": "x"},
    }

    def packed(smiles):
        return as_text(to_bytes(featurise(smiles)))

    raw = {row["item_id"][0]: row["structure"] for row in run.split("catalogue", "catalogue")}
    assert raw == {"A": [packed("CCO")], "C": [], "D": [packed("c1ccccc1")]}


def test_a_split_by_groups_of_items_makes_every_held_out_item_cold(tmp_path):
    spec = compound_spec(split={"kind": "item_group", "column": "ring", "validation": 0.2, "test": 0.3, "seed": 1})
    items = "item,smiles,made_of,ring\n" + "".join(f"i{n},C,x,{f'ring{n % 12}' * (n % 12 > 0)}\n" for n in range(60))
    text = "user,item\n" + "".join(f"u{n % 7},i{n % 60}\n" for n in range(420))
    run = Run(tmp_path, spec, {"events.csv": text, "items.csv": items})
    assert_conserved(run.summary)
    assert (run.summary.split_kind, run.summary.cuts_us) == ("item_group", None)
    assert all(run.summary.splits.values())
    catalogue = {row["item_row"][0]: row for row in run.split("catalogue", "catalogue")}
    assert set(next(iter(catalogue.values()))) == {"item_row", "item_id", "train_count", "structure", "made_of"}
    splits_of_ring = {}
    for split in ("train", "eval", "test"):
        for row in run.split(split):
            item = catalogue[row["item_row"][0]]
            splits_of_ring.setdefault(int(item["item_id"][0][1:]) % 12, set()).add(split)
            assert (item["train_count"][0] > 0) == (split == "train")
    assert all(len(splits) == 1 for splits in splits_of_ring.values())
    # What a query chose in training and validation is left out of its test ranking, and nothing else.
    before = run.split("train") + run.split("eval")
    for row in run.split("test"):
        assert row["seen_rows"] == sorted({e["item_row"][0] for e in before if e["query_id"] == row["query_id"]})
    other = compound_spec(split={"kind": "item_group", "column": "ring", "validation": 0.2, "test": 0.3, "seed": 2})
    again = Run(tmp_path / "other", other, {"events.csv": text, "items.csv": items})
    assert {row["item_row"][0] for row in again.split("test")} != {row["item_row"][0] for row in run.split("test")}


def test_the_column_of_the_groups_must_be_there(tmp_path):
    spec = compound_spec(split={"kind": "item_group", "column": "ring"})
    match = "items.csv: split.column needs column 'ring'"
    ingest_fails(tmp_path, spec, {"events.csv": "user,item\nu,i\n", "items.csv": "item,smiles,made_of\ni,C,x\n"}, match)


def test_queries_that_are_items(tmp_path):
    spec = make_spec(
        events={"paths": ["links.csv"], "query_id": "user", "item_id": "item", "timestamp": None, "label": {}},
        queries={"same_as_items": True, "table": None, "features": []},
        split={"kind": "random", "validation": 0.3, "test": 0.3},
    )
    links = [(a, b) for a in "ABCD" for b in "ABCD"] + [("A", "Z"), ("Z", "A")]
    text = "user,item\n" + "".join(f"{a},{b}\n" for a, b in links)
    run = Run(tmp_path, spec, {"links.csv": text, "items.csv": ITEMS})
    assert_conserved(run.summary)
    assert run.summary.rejected == {
        "item not in the table": 1,
        "query equals item": 4,
        "query not in the item table": 1,
    }
    row_of = {row["item_id"][0]: row["item_row"][0] for row in run.split("catalogue", "catalogue")}
    splits = {split: run.split(split) for split in ("train", "eval", "test")}
    for row in [row for rows in splits.values() for row in rows]:
        assert row["query_row"] == [row_of[row["query_id"][0]]]
    for row in splits["test"]:
        before = {e["item_row"][0] for s in ("train", "eval") for e in splits[s] if e["query_id"] == row["query_id"]}
        assert row["seen_rows"] == sorted(before | set(row["query_row"]))


def test_json_lines_of_which_one_differs(tmp_path):
    """One list, one object and one NaN among many: each costs itself, whatever lies in the same batch."""
    events = [{"user": f"u{n % 5}", "item": "ABCD"[n % 4], "rating": 5, "time": n} for n in range(60)]
    events[3]["item"], events[4]["user"], events[5]["user"] = ["A", "B"], {"id": 1}, float("nan")
    events[6]["rating"], events[7]["time"], events[8]["user"] = [5], [7], None
    items = [{"item": item, "genres": "x|y", "price": 2.5} for item in "ABCD"]
    items[1]["genres"], items[2]["price"] = ["x|y"], [1.0, 2.0]
    base = make_spec()
    spec = make_spec(
        events={**base.events.model_dump(exclude_defaults=True), "paths": ["events.jsonl"], "format": "jsonl"},
        items={
            "table": {"paths": ["items.jsonl"], "format": "jsonl"},
            "features": [*base.model_dump()["items"]["features"], {"name": "price", "kind": "numeric"}],
        },
    )
    files = {
        name: "\n".join(map(json.dumps, rows)) for name, rows in (("events.jsonl", events), ("items.jsonl", items))
    }
    for n, rows_per_batch in enumerate((4, 1000)):
        run = Run(tmp_path / str(n), spec, {**files, "users.csv": USERS}, IngestConfig(3, rows_per_batch))
        assert_conserved(run.summary)
        assert run.summary.positives == 54
        assert {row["line"]: row["reason"] for row in run.rejected()} == {
            4: "item id is not one value",
            5: "'user' is an object or a list of lists",
            6: "query id is empty",
            7: "label is not a number",
            8: "timestamp is not one value",
            9: "query id is empty",
        }
        catalogue = {row["item_id"][0]: (row["genres"], row["price"]) for row in run.split("catalogue", "catalogue")}
        sound = (["x", "y"], [2.5])
        assert catalogue == {"A": sound, "B": (["x|y"], [2.5]), "C": (["x", "y"], []), "D": sound}
        assert run.summary.unreadable_values == {"items: price is not a number": 1}
        assert [row["line"] for row in run.rejected("items_values")] == [3]


def test_odd_ids_and_types_are_counted_once(tmp_path):
    text = "user,item,event,time\n" + "".join(
        f"{user},{item},{event},{n}\n"
        for n, (user, item, event) in enumerate(
            [("NULL", "A", "click"), ("u1", "B", "Click"), ("u1", "C", "view"), ("1.0", "D", "hover")] * 10
        )
    )
    items = ITEMS + "E,Film E,NULL|x|None\n"
    run = Run(tmp_path, click_spec(), {"events.csv": text + text[:21], "items.csv": items, "users.csv": USERS})
    assert_conserved(run.summary)
    assert run.summary.rejected == {"the header again": 1}
    assert run.summary.null_words == {"events: query id: NULL": 10, "items: genres: NULL": 1, "items: genres: None": 1}
    assert run.summary.whole_float_ids == {"events: query id": 10}
    assert run.summary.respelt_types == {"Click": 10}
    assert run.summary.ignored_types == {"hover": 10}
    assert run.summary.positives == 20


def test_ids_that_a_table_writes_in_another_form_are_named_whatever_their_partition(tmp_path):
    log = EVENTS + "".join(f"u{n % 4},{item},5,{n}\n" for n, item in enumerate("AAAABBBBCCCCDDDDAAab"))
    run = Run(tmp_path, make_spec(), {"events.csv": log, "items.csv": ITEMS, "users.csv": "user,age\nu0,3\nU1,4\n"})
    assert run.summary.rejected == {"item not in the table": 2}
    assert run.summary.twin_ids == {"items": ["a", "A"], "queries": ["u1", "U1"]}
    assert run.summary.queries_without_features == 3


def test_a_header_in_a_log_that_should_have_none_is_in_the_summary(tmp_path):
    names = EVENTS.strip().split(",")
    spec = make_spec(events={"header": False, "columns": names})
    log = "userId,movie,score,when\n" + "".join(f"u{n % 4},{'ABCD'[n % 4]},5,{n}\n" for n in range(20))
    run = Run(tmp_path, spec, {"events.csv": log, "items.csv": ITEMS, "users.csv": USERS})
    assert run.summary.header_lines == {"events": "events.csv: userId, movie, when, score"}
