"""The whole ingestion on small logs whose every example is known."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from recsys_ssl.examples import read_batches
from recsys_ssl.logs.sinks import delete_outputs
from recsys_ssl.logs.summary import IngestSummary
from recsys_ssl.logs.transforms import IngestConfig
from tests.logs.ingested import (
    EVENTS,
    ITEMS,
    LOG,
    SMALL,
    USERS,
    Run,
    assert_conserved,
    click_spec,
    make_spec,
    read_rejected,
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
        weighted_train=6,
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
