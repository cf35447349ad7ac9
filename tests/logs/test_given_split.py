"""A split that is given by files: what each event may know of the others, against a slow loop over the files."""

import random

import pytest

from recsys_ssl.logs.preview import preview
from recsys_ssl.logs.readers import LogError
from recsys_ssl.logs.sources import find_sources
from recsys_ssl.spec import FeatureSpec
from tests.logs.ingested import Run

TRAIN, EVAL, TEST = "train.csv", "valid.csv", "test.csv"
SPLITS = {TRAIN: "train", EVAL: "eval", TEST: "test"}
USER = {"name": "user", "kind": "id"}
HISTORY = {"name": "history", "kind": "item_sequence", "length": 4}


def given_spec(split, with_time=False):
    return FeatureSpec.model_validate(
        {
            "name": "given",
            "events": {
                "paths": [TRAIN],
                "query_id": "user",
                "item_id": "item",
                "timestamp": {"column": "time"} if with_time else None,
            },
            "items": {"features": [{"name": "film", "column": "item", "kind": "id"}], "id": "item"},
            "queries": {"id": "user", "features": [USER, HISTORY] if with_time else [USER]},
            "split": {"kind": "given", "test_paths": [TEST]} | split,
        }
    )


def make_files(sizes, seed=0, with_time=False):
    """Files of events (user, item, time) whose times overlap, and that share pairs."""
    draw = random.Random(seed)
    events = {
        name: [(f"u{draw.randrange(6)}", f"i{draw.randrange(12)}", draw.randrange(9)) for _ in range(size)]
        for name, size in sizes.items()
    }
    header, width = ("user,item,time", 3) if with_time else ("user,item", 2)
    texts = {
        name: "\n".join([header, *(",".join(map(str, event[:width])) for event in rows), ""])
        for name, rows in events.items()
    }
    return events, texts


def pairs_of(rows):
    return sorted((row["query_id"][0], row["item_id"][0]) for row in rows)


@pytest.fixture(scope="module")
def timed(tmp_path_factory):
    events, texts = make_files({TRAIN: 90, EVAL: 25, TEST: 25}, with_time=True)
    spec = given_spec({"validation_paths": [EVAL]}, with_time=True)
    return events, Run(tmp_path_factory.mktemp("timed"), spec, texts)


def in_order(events):
    """(split, time, file place, user, item) of the distinct events of each file, as they follow each other."""
    found = []
    for place, name in enumerate((TRAIN, EVAL, TEST)):
        distinct = dict.fromkeys(events[name])
        found += sorted(((place, time, line, user, item) for line, (user, item, time) in enumerate(distinct)))
    return found


@pytest.mark.parametrize(("place", "split"), enumerate(SPLITS.values()), ids=SPLITS.values())
def test_an_event_knows_earlier_splits_and_what_is_before_it_in_its_own(timed, place, split):
    events, run = timed
    order = in_order(events)
    row_of = {row["item_id"][0]: row["item_row"][0] for row in run.split("catalogue", "catalogue")}
    wanted = []
    for own, time, _, user, item in order:
        if own != place:
            continue
        before = [(s, t, line, i) for s, t, line, u, i in order if u == user and (s < own or (s == own and t < time))]
        facts = [user, item, time * 1_000_000, [i for *_, i in before][-4:]]
        wanted.append([*facts, sorted({row_of[i] for *_, i in before})] if place else facts)
    received = []
    for row in run.split(split):
        facts = [row["query_id"][0], row["item_id"][0], row["timestamp_us"][0]]
        facts.append(list(row.get("history") or []))
        received.append([*facts, row.get("seen_rows") or []] if place else facts)
    assert sorted(received) == sorted(wanted)
    assert len(wanted) > 20


def test_a_pair_of_two_splits_is_kept_in_both_and_counted_as_a_repeat(timed):
    events, run = timed
    order = in_order(events)
    summary = run.summary
    assert summary.splits == {s: sum(1 for e in order if e[0] == i) for i, s in enumerate(("train", "eval", "test"))}
    assert summary.duplicates == sum(map(len, events.values())) - len(order) > 0
    for place, split in ((1, "eval"), (2, "test")):
        held_out = {(u, i) for s, _, _, u, i in order if s == place}
        # One ranking a query: a pair counts once, and is a repeat where an event of it has the pair before.
        repeats = {
            (u, i)
            for u, i in held_out
            if all(
                any((s2, t2) < (s, t) and (u2, i2) == (u, i) for s2, t2, _, u2, i2 in order)
                for s, t, _, u1, i1 in order
                if s == place and (u1, i1) == (u, i)
            )
        }
        assert summary.held_out_pairs[split] == len(held_out)
        assert summary.held_out_repeats[split] == len(repeats) > 0


def test_the_summary_says_how_the_times_of_given_splits_lie(timed):
    events, run = timed
    assert (run.summary.split_kind, run.summary.cuts_us) == ("given", None)
    assert run.summary.split_times_us == {
        SPLITS[name]: {"first": min(t for *_, t in rows) * 10**6, "last": max(t for *_, t in rows) * 10**6}
        for name, rows in events.items()
    }


def test_a_share_of_the_training_pairs_is_held_out_by_the_hash_and_the_test_sees_both(tmp_path):
    events, texts = make_files({TRAIN: 200, TEST: 40}, seed=1)
    pairs = {name: {event[:2] for event in rows} for name, rows in events.items()}
    run = Run(tmp_path, given_spec({"validation": 0.3}), texts)
    train, validation, test = (pairs_of(run.split(split)) for split in ("train", "eval", "test"))
    assert sorted(train + validation) == sorted(pairs[TRAIN])
    assert test == sorted(pairs[TEST])
    assert 0.15 < len(validation) / len(pairs[TRAIN]) < 0.45
    assert run.summary.duplicates == 240 - len(pairs[TRAIN]) - len(pairs[TEST])
    catalogue = {row["item_id"][0]: row for row in run.split("catalogue", "catalogue")}
    assert set(catalogue) == {item for found in pairs.values() for _, item in found}
    assert {item: row["train_count"][0] for item, row in catalogue.items()} == {
        item: sum(i == item for _, i in train) for item in catalogue
    }
    for split, known in (("eval", train), ("test", train + validation)):
        for row in run.split(split):
            seen = {catalogue[i]["item_row"][0] for u, i in known if u == row["query_id"][0]}
            assert row["seen_rows"] == sorted(seen)


def test_without_a_validation_every_training_pair_trains(tmp_path):
    events, texts = make_files({TRAIN: 60, TEST: 15}, seed=2)
    run = Run(tmp_path, given_spec({"validation": 0}), texts)
    pairs = {event[:2] for event in events[TRAIN]}
    assert pairs_of(run.split("train")) == sorted(pairs)
    assert run.summary.splits["eval"] == 0
    assert not (run.folder / "interactions" / "Split-eval").exists()
    counts = {row["item_id"][0]: row["train_count"][0] for row in run.split("catalogue", "catalogue")}
    assert sum(counts.values()) == len(pairs)


def write(folder, texts):
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return str(folder)


@pytest.mark.parametrize(
    ("split", "lacks", "message"),
    [
        (
            {"test_paths": [TRAIN]},
            None,
            r"^split.test_paths: a file is of one split. Received: 'train.csv', which events",
        ),
        (
            {"validation_paths": ["*.csv"]},
            None,
            r"^split.validation_paths: .*'train.csv', which events.paths names, too",
        ),
        ({"validation_paths": [TEST]}, None, r"^split.test_paths: .*'test.csv', which split.validation_paths names"),
        ({}, TEST, r"^split.test_paths: no file matches 'test.csv'"),
        ({"validation_paths": [EVAL]}, EVAL, r"^split.validation_paths: no file matches 'valid.csv'"),
    ],
)
def test_files_that_make_no_split_are_refused_before_any_work(tmp_path, split, lacks, message):
    _, texts = make_files({TRAIN: 4, EVAL: 4, TEST: 4})
    data = write(tmp_path, {name: text for name, text in texts.items() if name != lacks})
    spec = given_spec(split)
    with pytest.raises(LogError, match=message):
        find_sources(spec, data, 100)
    (log,) = preview(spec, data)
    assert log.fails
    assert [".".join(map(str, finding.key)) for finding in log.findings.values()] == [message[1:].partition(":")[0]]


def test_a_file_of_another_split_is_checked_at_once(tmp_path):
    _, texts = make_files({TRAIN: 4, TEST: 4})
    data = write(tmp_path, texts | {TEST: "user,film\nu1,i1\n"})
    with pytest.raises(LogError, match=r"test.csv: events.item_id needs column 'item'"):
        find_sources(given_spec({}), data, 100)


def test_a_preview_counts_the_events_of_each_file_that_is_given(tmp_path):
    _, texts = make_files({TRAIN: 9, EVAL: 5, TEST: 3})
    (log,) = preview(given_spec({"validation_paths": [EVAL]}), write(tmp_path, texts))
    assert (log.files, log.read) == ([TRAIN, EVAL, TEST], 17)
    assert log.counts == {
        "positives": 17,
        "impressions": 0,
        "ignored": 0,
        "of training": 9,
        "of validation": 5,
        "of the test": 3,
    }
