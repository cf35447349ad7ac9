"""The whole ingestion on small logs whose every example is known."""

import dataclasses
import gzip
import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from recsys_ssl.encoders.molecule.graph import to_bytes
from recsys_ssl.encoders.molecule.smiles import featurise
from recsys_ssl.examples import list_shards, read_batches
from recsys_ssl.logs.readers import LogError
from recsys_ssl.logs.sinks import delete_outputs
from recsys_ssl.logs.summary import IngestSummary, list_warnings
from recsys_ssl.logs.transforms import IngestConfig, ingest
from recsys_ssl.spec import FeatureSpec

SMALL = IngestConfig(num_partitions=3, rows_per_batch=4)
EVENTS = "user,item,rating,time\n"
ITEMS = "item,title,genres\nA,Film A,x|y\nB,Film B,\nC,Film C,y\nD,Film D,x\n"
USERS = "user,age\nu1,30\nu2,\n"


def make_spec(**changes):
    spec = {
        "name": "test",
        "events": {
            "paths": ["events*.csv"],
            "query_id": "user",
            "item_id": "item",
            "timestamp": {"column": "time"},
            "label": {"column": "rating", "threshold": 4.0},
        },
        "items": {
            "table": {"paths": ["items.csv"]},
            "id": "item",
            "features": [
                {"name": "film", "column": "item", "kind": "id"},
                {"name": "genres", "kind": "categorical", "multi_valued": True, "separator": "|"},
            ],
        },
        "queries": {
            "table": {"paths": ["users.csv"]},
            "id": "user",
            "features": [
                {"name": "user", "kind": "id"},
                {"name": "age", "kind": "numeric"},
                {"name": "history", "kind": "item_sequence", "length": 2},
            ],
        },
        "split": {"validation": 0.2, "test": 0.2},
        "max_rejected_share": 1.0,
    }
    for key, value in changes.items():
        spec[key] = {**spec[key], **value} if isinstance(value, dict) and isinstance(spec.get(key), dict) else value
    return FeatureSpec.model_validate(spec)


class Run:
    """An ingestion of the given files, and what it wrote."""

    def __init__(self, folder, spec, files, config=SMALL, beam_args=()):
        self.folder = Path(folder)
        data = self.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (data / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        out = [str(self.folder / name) for name in ("interactions", "catalogue", "rejected")]
        self.summary = ingest(spec, str(data), *out, config, beam_args)

    def split(self, split, root="interactions"):
        return read_split(self.folder / root, split)

    def rejected(self, side="events"):
        return read_rejected(self.folder, side)


def read_split(root, split):
    try:
        paths = list_shards(root, split)
    except FileNotFoundError:
        return []
    return [
        {name: [as_text(v) if isinstance(v, bytes) else v for v in value or []] for name, value in row.items()}
        for batch in read_batches(paths)
        for row in batch.to_pylist()
    ]


def as_text(value):
    """Packed molecules are no UTF-8."""
    return value.decode("utf-8", "surrogateescape")


def read_rejected(folder, side="events"):
    lines = [line for path in sorted(folder.glob(f"rejected/{side}-*.jsonl")) for line in path.open(encoding="utf-8")]
    return sorted((json.loads(line) for line in lines), key=lambda row: (row["file"], row["line"], row["reason"]))


def assert_conserved(summary):
    kept = summary.positives + summary.ignored + summary.impressions + summary.duplicates
    assert summary.events_read == kept + sum(summary.rejected.values())
    assert sum(summary.splits.values()) == summary.positives


LOG = EVENTS + (
    "u1,A,5,10\n"
    "u2,A,5,10\n"
    "u1,B,5,20\n"
    "u1,C,4,20\n"
    "u1,A,5,10\n"  # a duplicate
    "u1,D,3,25\n"  # ignored
    "u3,B,5,30\n"  # not in the user table
    "u2,B,5,40\n"
    "u1,D,5,50\n"  # eval: 10 positives, rank 6
    "u2,D,5,60\n"
    "u1,A,5,70\n"  # test: rank 8
    "u3,A,5,70\n"
    "u1,Z,5,80\n"  # not in the item table
    "u1,,5,80\n"
    "u1,A,5,NaN\n"
    "u1,A\n"
)


def test_equal_data_give_equal_bytes_however_they_are_read(tmp_path):
    lines = LOG.splitlines(keepends=True)
    files = {f"events{i}.csv": EVENTS + "".join(lines[i::3]) for i in (1, 2, 3)}
    files |= {"items.csv": ITEMS, "users.csv": USERS}
    found = []
    for name, rows in (("once", 4), ("again", 4), ("at once", 1000)):
        Run(tmp_path / name, make_spec(), files, dataclasses.replace(SMALL, rows_per_batch=rows))
        made = [path for root in ("interactions", "catalogue") for path in (tmp_path / name / root).rglob("*.*")]
        found.append({path.relative_to(tmp_path / name): path.read_bytes() for path in made})
    assert len(found[0]) > 4
    assert found[1] == found[0]
    assert found[2] == found[0]


def test_every_example_of_a_small_log(tmp_path):
    run = Run(tmp_path, make_spec(), {"events.csv": LOG, "items.csv": ITEMS, "users.csv": USERS})
    summary = run.summary
    assert_conserved(summary)
    assert summary == IngestSummary(
        spec="test",
        events_read=16,
        positives=10,
        ignored=1,
        impressions=0,
        duplicates=1,
        rejected={
            "item id is empty": 1,
            "item not in the table": 1,
            "timestamp is empty": 1,
            "wrong number of columns": 1,
        },
        items_read=4,
        items_rejected={},
        queries_read=2,
        queries_rejected={},
        queries_without_features=1,
        splits={"train": 6, "eval": 2, "test": 2},
        held_out_pairs={"eval": 2, "test": 2},
        held_out_repeats={"eval": 0, "test": 1},  # u1 chose A at 10 and at 70
        held_out_disliked={"eval": 0, "test": 0},
        held_out_queries={"eval": 2, "test": 2},
        queries_without_history={"eval": 0, "test": 0},
        split_kind="time",
        cuts_us={"eval": 50_000_000, "test": 70_000_000},
        cuts={"eval": "1970-01-01T00:00:50.000000Z", "test": "1970-01-01T00:01:10.000000Z"},
        num_items=4,
        num_queries=3,
        items_without_train=1,
        examples=summary.examples,
        id_examples={
            "items: unknown": "Z",
            "items: table": "A",
            "queries: unknown": "u3",
            "queries: known": "u1",
            "queries: table": "u1",
        },
        times_us={"first": 10_000_000, "last": 70_000_000},
    )
    assert summary.examples["events: item not in the table"].startswith("events.csv:14: ")
    assert IngestSummary.from_json((tmp_path / "interactions/summary.json").read_text()) == summary

    catalogue = run.split("catalogue", "catalogue")
    assert [row["item_row"] for row in catalogue] == [[0], [1], [2], [3]]
    rows = {row["item_id"][0]: row for row in catalogue}
    # Train holds A (u1, u2), B (u1, u3, u2) and C.
    assert {item: row["train_count"][0] for item, row in rows.items()} == {"A": 2, "B": 3, "C": 1, "D": 0}
    assert {item: row["genres"] for item, row in rows.items()} == {"A": ["x", "y"], "B": [], "C": ["y"], "D": ["x"]}
    row_of = {item: row["item_row"][0] for item, row in rows.items()}

    def example(user, item, time, age, history, position=None, times=None, seen=None):
        values = {
            "query_id": [user],
            "item_id": [item],
            "item_row": [row_of[item]],
            "timestamp_us": [time * 1_000_000],
            "example_weight": [1.0],
            "user": [user],
            "age": age,
            "history": history,
        }
        if seen is None:
            return {**values, "sequence_position": [position]}
        times = [time * 1_000_000 for time in times]
        return {**values, "seen_rows": sorted(row_of[item] for item in seen), "history_us": times}

    def by_key(examples):
        return sorted(examples, key=lambda row: (row["timestamp_us"], row["query_id"], row["item_id"]))

    assert by_key(run.split("train")) == [
        example("u1", "A", 10, [30.0], [], 0),
        example("u2", "A", 10, [], [], 0),
        example("u1", "B", 20, [30.0], ["A"], 1),
        example("u1", "C", 20, [30.0], ["A"], 2),  # does not see B, at the same time
        example("u3", "B", 30, [], [], 0),
        example("u2", "B", 40, [], ["A"], 1),
    ]
    assert by_key(run.split("eval")) == [
        example("u1", "D", 50, [30.0], ["B", "C"], times=[20, 20], seen="ABC"),
        example("u2", "D", 60, [], ["A", "B"], times=[10, 40], seen="AB"),
    ]
    assert by_key(run.split("test")) == [
        example("u1", "A", 70, [30.0], ["C", "D"], times=[20, 50], seen="ABCD"),
        example("u3", "A", 70, [], ["B"], times=[30], seen="B"),
    ]
    assert run.rejected() == [
        {
            "reason": "item not in the table",
            "file": "events.csv",
            "line": 14,
            "record": {"query_id": "u1", "item_id": "Z", "timestamp_us": 80_000_000},
        },
        {
            "reason": "item id is empty",
            "file": "events.csv",
            "line": 15,
            "record": {"user": "u1", "item": "", "rating": "5", "time": "80"},
        },
        {
            "reason": "timestamp is empty",
            "file": "events.csv",
            "line": 16,
            "record": {"user": "u1", "item": "A", "rating": "5", "time": "NaN"},
        },
        {"reason": "wrong number of columns", "file": "events.csv", "line": 17, "record": "u1,A"},
    ]


@pytest.fixture(scope="module")
def random_log():
    """A log of several files with all kinds of events, and its item table."""
    rng = np.random.default_rng(3)
    files = {}
    for part in range(2):
        rows = [
            f"u{rng.integers(20)},i{rng.integers(32)},{rng.choice(['click', 'view', 'other'])},{rng.integers(300)}"
            for _ in range(400)
        ]
        rows[7] = "u1,i1,click"
        files[f"events{part}.csv"] = "user,item,event,time\n" + "\n".join(rows) + "\n"
    files["items.csv"] = "item,title,genres\n" + "".join(f"i{n},T{n},g{n % 3}\n" for n in range(30)) + "i3,again,x\n"
    files["users.csv"] = "user,age\n" + "".join(f"u{n},{n}\n" for n in range(18)) + "u7,old\n"
    return files


def click_spec(**changes):
    events = make_spec().events.model_dump(exclude_defaults=True)
    label = {"event_type": "event", "positive": {"click": 2.0}, "impressions": ["view"]}
    return make_spec(events={**events, "label": label}, **changes)


def test_no_example_knows_the_future_and_every_record_is_somewhere(tmp_path, random_log):
    run = Run(tmp_path, click_spec(), random_log, IngestConfig(num_partitions=4, rows_per_batch=50))
    assert_conserved(run.summary)
    assert run.summary.events_read == 800
    assert run.summary.items_rejected == {"duplicate item id": 1}
    assert run.summary.queries_rejected == {"duplicate query id": 1}
    why = "age is not a number but a word; name it in queries.table.missing if it means unknown"
    assert run.summary.unreadable_values == {f"queries: {why}": 1}
    assert [row["line"] for row in run.rejected("queries_values")] == [20]
    assert run.summary.ignored_types == {"other": run.summary.ignored}
    assert [row["record"] for row in run.rejected("items")] == [{"_id": "i3"}]
    splits = {split: run.split(split) for split in ("train", "eval", "test")}
    assert {split: len(rows) for split, rows in splits.items()} == run.summary.splits

    cut, last = run.summary.cuts_us["eval"], run.summary.cuts_us["test"]
    assert all(row["timestamp_us"][0] < cut for row in splits["train"])
    assert all(cut <= row["timestamp_us"][0] < last for row in splits["eval"])
    assert all(last <= row["timestamp_us"][0] for row in splits["test"])

    everything = [row for rows in splits.values() for row in rows]
    for row in everything:
        past = [e for e in everything if e["query_id"] == row["query_id"] and e["timestamp_us"] < row["timestamp_us"]]
        past_times = sorted(e["timestamp_us"][0] for e in past)[-2:]
        assert len(row["history"]) == len(past_times)
        for item, time in zip(row["history"], past_times):
            assert any(e["item_id"] == [item] and e["timestamp_us"] == [time] for e in past)
        if "seen_rows" in row:
            assert row["seen_rows"] == sorted({e["item_row"][0] for e in past})

    catalogue = run.split("catalogue", "catalogue")
    for name, rows in (("train_count", splits["train"]),):
        counts = np.bincount([row["item_row"][0] for row in rows], minlength=30)
        assert [row[name][0] for row in catalogue] == counts.tolist()
    assert sum(row["impression_count"][0] for row in catalogue) == run.summary.impressions
    assert [row["item_row"][0] for row in catalogue] == list(range(30))


def read_shards(folder):
    """Shard -> its examples in order."""
    paths = sorted(Path(folder).glob("*/Split-*/*.gz"))
    return {
        str(path.relative_to(folder)): [row for batch in read_batches([str(path)]) for row in batch.to_pylist()]
        for path in paths
    }


@pytest.mark.parametrize("mask_seen", [True, False])
def test_what_a_query_rated_low_leaves_its_rankings_and_nothing_else(tmp_path, mask_seen):
    rng = np.random.default_rng(4)
    rows = [(f"u{rng.integers(6)}", f"i{rng.integers(14)}", int(rng.integers(1, 6)), n // 2) for n in range(160)]
    rows += [("u1", "nowhere", 1, 3), ("u1", "nowhere", 5, 3)]
    files = {
        "events.csv": EVENTS + "".join(f"{u},{i},{r},{t}\n" for u, i, r, t in rows),
        "items.csv": "item,title,genres\n" + "".join(f"i{n},T,g\n" for n in range(14)),
        "users.csv": USERS,
    }
    with_mask, without = (
        Run(tmp_path / str(low), make_spec(evaluation={"mask_seen": mask_seen, "mask_disliked": low}), files)
        for low in (True, False)
    )
    for run in (with_mask, without):
        assert_conserved(run.summary)
        assert run.summary.rejected == {"item not in the table": 1}
    assert with_mask.split("train") == without.split("train")
    none = {"eval": 0, "test": 0}
    assert dataclasses.replace(with_mask.summary, held_out_disliked=none) == without.summary

    row_of = {row["item_id"][0]: row["item_row"][0] for row in with_mask.split("catalogue", "catalogue")}
    low = {(user, row_of[item]) for user, item, rating, _ in rows if rating < 4 and item in row_of}
    assert {(row["query_id"][0], row["item_row"][0]) for row in with_mask.split("disliked")} == low
    assert not list(tmp_path.glob("False/**/Split-disliked"))
    for split in ("eval", "test"):
        new, pairs = set(), set()
        for row, same in zip(with_mask.split(split), without.split(split)):
            ((user,), (now_us,)) = row["query_id"], row["timestamp_us"]
            past = [(item, rating) for query, item, rating, t in rows if query == user and t * 1_000_000 < now_us]
            seen = {item for item, rating in past if item in row_of and (mask_seen or rating < 4)}
            assert row["seen_rows"] == sorted(row_of[item] for item in seen)
            assert {**row, "seen_rows": 0} == {**same, "seen_rows": 0}
            pairs.add((user, row["item_id"][0]))
            new |= {(user, item) for item in set(row["item_id"]) - seen}
        left_out = with_mask.summary.held_out_disliked[split]
        assert left_out > 0
        assert len(pairs - new) == left_out + mask_seen * with_mask.summary.held_out_repeats[split]


def test_cells_of_several_records_and_items_of_the_log(tmp_path):
    spec = make_spec(
        events={
            "paths": ["events.csv"],
            "query_id": "user",
            "item_id": "item",
            "timestamp": {"column": "time"},
            "label": {"event_type": "clicked", "positive": {"1": 1.0}, "impressions": ["0"]},
            "explode": {
                "column": "shown",
                "separator": " ",
                "into": ["item", "topic", "clicked"],
                "part_separator": ":",
            },
        },
        items={
            "from_events": True,
            "table": None,
            "features": [{"name": "film", "column": "item", "kind": "id"}, {"name": "topic", "kind": "categorical"}],
        },
    )
    log = (
        "user,time,shown\n"
        "u1,10,D:y:1 A:x:1 B:y:0 A:z:1\n"  # A again at the same time is a duplicate
        "u2,20,B:w:1 C::0\n"
        "u1,30,\n"
        "u1,30,B:y:1 E:x\n"
        "u1,40,C:x:1\n"
        "u2,50,A:q:1\n"
        "u2,60,C:x:1\n"
    )
    for rows_per_batch in (1, 1000):
        run = Run(
            tmp_path / str(rows_per_batch),
            spec,
            {"events.csv": log, "users.csv": USERS},
            IngestConfig(2, rows_per_batch),
        )
        summary = run.summary
        assert_conserved(summary)
        counts = (summary.events_read, summary.positives, summary.impressions, summary.duplicates, summary.ignored)
        assert counts == (12, 7, 2, 1, 0)
        assert [(row["line"], row["reason"]) for row in run.rejected()] == [
            (4, "shown has no element"),
            (5, "an element of shown does not have 3 parts"),
        ]
        topics = {row["item_id"][0]: row["topic"] for row in run.split("catalogue", "catalogue")}
        assert topics == {"A": ["x"], "B": ["y"], "C": [], "D": ["y"]}  # as each item came first
        examples = [row for split in ("train", "eval", "test") for row in run.split(split)]
        histories = {(row["query_id"][0], row["timestamp_us"][0] // 10**6): row["history"] for row in examples}
        # Within a line the order is that of the cell.
        assert histories[("u1", 30)] == ["D", "A"]
        assert histories[("u2", 50)] == ["B"]


def test_the_same_input_gives_the_same_shards_also_with_two_processes(tmp_path, random_log):
    arguments = [(), ("--direct_running_mode=multi_processing", "--direct_num_workers=2")]
    for n, beam_args in enumerate(arguments):
        config = IngestConfig(num_partitions=3, rows_per_batch=(50, 333)[n])
        Run(tmp_path / str(n), click_spec(), random_log, config, beam_args)
    here, there = (read_shards(tmp_path / str(n)) for n in range(2))
    assert len(here) == 4 * 3
    assert here == there
    summaries = [(tmp_path / str(n) / "interactions/summary.json").read_bytes() for n in range(2)]
    assert summaries[0] == summaries[1]
    assert read_rejected(tmp_path / "0") == read_rejected(tmp_path / "1")


def test_older_outputs_are_deleted_and_nothing_else(tmp_path):
    names = ["interactions/Split-test/part-9.tfrecord.gz", "catalogue/Split-catalogue/part-9.tfrecord.gz"]
    names += ["rejected/events-9.jsonl", "interactions/summary.json", "interactions/notes.txt"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    delete_outputs(*(str(tmp_path / name) for name in ("interactions", "catalogue", "rejected")))
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()] == [
        "interactions/notes.txt"
    ]


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


# --- Errors --------------------------------------------------------------------------------------


def ingest_fails(folder, spec, files, match):
    files = {"items.csv": ITEMS, "users.csv": USERS, **files}
    with pytest.raises(LogError, match=match) as error:
        Run(folder, spec, files)
    return str(error.value)


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ({}, r"events.paths: no file matches 'events\*.csv' in .*data"),
        ({"events.csv": "user,film,rating,time\n"}, "events.csv: events.item_id needs column 'item'"),
        ({"events.csv": LOG, "users.csv": "user\nu1\n"}, "users.csv: queries.features.age needs column 'age'"),
        ({"events.csv": "", "items.csv": ""}, "the log has no record"),
        ({"events.csv": LOG, "events2.csv": "a,b\n1,2\n"}, "events2.csv: events.query_id needs column 'user'"),
    ],
    ids=["no file", "column", "table column", "empty", "in a worker"],
)
def test_unusable_input_is_a_readable_error(tmp_path, files, match):
    message = ingest_fails(tmp_path, make_spec(), files, match)
    assert "Traceback" not in message
    assert "\n" not in message


def test_every_broken_record_is_counted_and_written_before_the_run_fails(tmp_path):
    good = "".join(f"u{n % 5},{'ABCD'[n % 4]},5,{n}\n" for n in range(100))
    bad = '"u1,A,5,1\n' + "u\0,A,5,1\n" + "u1,A,5,1,9\n" + "u1,A,5,-3\n" + "u1,A,5x,1\n"
    odd = '"tab\there",A,5,1\n"two\nlines",B,5,2\n🎬,C,5,3\n'
    lost = "".join(f"{n},A,5,1\n" for n in np.random.default_rng(0).integers(10**9, size=1_000))
    text = (EVENTS + good + bad + odd).encode() + b"\xff,A,5,1\n" + lost.encode()
    data = gzip.compress(text)[:-30]
    events = {**make_spec().events.model_dump(exclude_defaults=True), "paths": ["*.gz"]}
    files = {"log.csv.gz": data, "b.csv.gz": b""}
    message = ingest_fails(tmp_path, make_spec(events=events, max_rejected_share=0.001), files, "8 of 1,... records")
    assert "NUL byte; first: log.csv.gz:103: " in message
    summary = IngestSummary.from_json((tmp_path / "interactions/summary.json").read_text())
    assert_conserved(summary)
    assert summary.rejected == {
        "NUL byte": 1,
        "file is empty": 1,
        "gzip file is cut off here": 1,
        "label is not a number": 1,
        "not valid UTF-8": 1,
        "quotation marks are broken": 1,
        "timestamp is no time between 1970 and 2100": 1,
        "wrong number of columns": 1,
    }
    assert len(read_rejected(tmp_path)) == 8
    whole_lines = zlib.decompressobj(31).decompress(data).count(b"\n")
    assert summary.events_read == whole_lines - 1 - 1 + 2  # no header, one record of two lines, tail and empty file
    examples = [row for split in ("train", "eval", "test") for row in read_split(tmp_path / "interactions", split)]
    assert {"tab\there", "two\nlines", "🎬"} <= {row["query_id"][0] for row in examples}


@pytest.mark.parametrize("fields", [{"num_partitions": 0}, {"rows_per_batch": -1}])
def test_config_is_checked(fields):
    with pytest.raises(ValueError, match="must be at least 1. Received"):
        dataclasses.replace(IngestConfig(), **fields)


def test_items_of_the_log_and_their_faults_do_not_depend_on_batches(tmp_path):
    spec = make_spec(
        events={
            "paths": ["events.jsonl"],
            "format": "jsonl",
            "query_id": "user",
            "item_id": "item",
            "timestamp": {"column": "time"},
            "label": {},
        },
        items={
            "table": None,
            "from_events": True,
            "id": "item",
            "features": [
                {"name": "item", "kind": "id"},
                {"name": "price", "kind": "numeric"},
                {"name": "group", "kind": "categorical"},
            ],
        },
        max_rejected_share=0.9,
    )
    rows = [
        {"user": f"u{n % 5}", "item": "ABCD"[n % 4], "time": n, "price": str(n), "group": f"g{n}"} for n in range(40)
    ]
    for n in (0, 4, 5, 8, 20, 36):  # A at 0, 4, 8, 20, 36 and B at 5
        rows[n]["price"] = "dear"
    rows[2]["group"] = rows[6]["group"] = ["g", "h"]  # of C the third record counts
    why = "price is not a number but a word; name it in events.missing if it means unknown"
    files = {"events.jsonl": "\n".join(map(json.dumps, rows)), "users.csv": USERS}
    for rows_per_batch in (1, 7, 1000):
        run = Run(tmp_path / str(rows_per_batch), spec, files, IngestConfig(3, rows_per_batch))
        assert run.summary.unreadable_values == {f"items: {why}": 6}
        assert [row["line"] for row in run.rejected("items_values")] == [1, 5, 6, 9, 21, 37]
        assert [row["line"] for row in run.rejected("items")] == [3, 7]
        catalogue = {row["item_id"][0]: (row["group"], row["price"]) for row in run.split("catalogue", "catalogue")}
        assert catalogue == {
            "A": (["g0"], []),
            "B": (["g1"], [1.0]),
            "C": (["g10"], [10.0]),
            "D": (["g3"], [3.0]),
        }
        (told,) = (warning for warning in list_warnings(run.summary, spec) if "not a number" in warning)
        assert told.startswith(f"6 of the values of the log: {why}")
