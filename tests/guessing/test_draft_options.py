"""What a person says of a log, what a draft cannot guess, and files that are damaged or that a split has made."""

import contextlib
import gzip
import random

import pandas as pd
import pytest
import yaml

from recsys_ssl.guessing.draft import draft_spec
from recsys_ssl.guessing.opened import GuessError
from recsys_ssl.spec_files import load_spec
from tests.guessing.drafts import TIME_S, clicks, draft


def test_options_win_over_guesses(tmp_path):
    log = clicks(session=[f"s{n // 4}" for n in range(400)], stars=[1 + n % 5 for n in range(400)])
    log.assign(action=["view", "buy"] * 200).to_csv(tmp_path / "log.csv", index=False)
    guessed = draft(tmp_path)["events"]
    assert (guessed["query_id"], guessed["label"]["event_type"]) == ("user", "action")
    events = draft(tmp_path, query="session", label="stars")["events"]
    assert (events["query_id"], events["label"]) == ("session", {"column": "stars", "threshold": 4.0})


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["a", "item", "time"], {}, "Name it: --query COLUMN"),
        (["user", "b", "c"], {}, "Name it: --item COLUMN"),
        (
            ["user", "item", "time"],
            {"query": "person"},
            "--query must name a column of log.csv. Received: 'person'. It has: 'user'",
        ),
        (["user", "item", "time"], {"time": "item"}, "'item' holds no times"),
        (["user", "item", "time"], {"label": "note"}, "'note' holds neither ratings nor event types"),
    ],
)
def test_what_cannot_be_guessed_is_asked_for(tmp_path, names, options, message):
    clicks().assign(time=range(400)).set_axis(names, axis=1).assign(
        x=["p", "q"] * 200, note=[f"n{n}" for n in range(400)]
    ).to_csv(tmp_path / "log.csv", index=False)
    with pytest.raises(GuessError, match=message):
        draft(tmp_path, **options)


@pytest.mark.parametrize("options", [{}, {"item": "items"}])
def test_items_that_are_objects_are_told(tmp_path, options):
    cells = [f"[{{'id': {n % 9}, 'qty': 1}}]" for n in range(60)]
    pd.DataFrame({"user": range(60), "items": cells}).to_csv(tmp_path / "log.csv", index=False)
    with pytest.raises(GuessError, match="(--item COLUMN|must name a column of ids).* has objects in a cell: write "):
        draft(tmp_path, **options)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"<html><body>not found", "a web page"),
        (b"sep=;\na,b\nc,d\n", "does not hold. Remove it"),
        (b"one\ntwo, three\nfour\n", "no delimiter gives all lines the same number of cells"),
        (b"\x1f\x8bdamaged", "the gzip file is damaged"),
        (b"PAR1 not really", "this is no Parquet"),
        (b'{"a": 1', "begins like JSON"),
    ],
)
def test_a_file_that_is_no_table(tmp_path, data, message):
    (tmp_path / "log.csv").write_bytes(data)
    with pytest.raises(GuessError, match=message):
        draft(tmp_path)


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_log_gives_a_spec_that_loads_or_one_message(movielens, tmp_path, seed):
    draw = random.Random(seed)
    odd = [b"\0", b'"', b"\n", b"\t", b"[", b'{"a": [{"b": 1}, 2]}', b"1e999", b"\xff\xfe", b"\xed\xa0\x80", b"::", b""]
    for path in movielens.iterdir():
        data = bytearray(path.read_bytes())
        for _ in range(draw.choice([1, 5, 30])):
            start = draw.randrange(len(data))
            data[start : start + draw.randrange(20)] = draw.choice(odd)
        (tmp_path / path.name).write_bytes(data)
    with contextlib.suppress(GuessError):
        text = draft_spec([str(tmp_path)]).text
        (tmp_path / "spec.yaml").write_text(text, encoding="utf-8")
        load_spec(tmp_path / "spec.yaml")


def test_no_file(tmp_path):
    with pytest.raises(GuessError, match="no file matches"):
        draft(tmp_path / "none*.csv")


def test_a_large_file_is_not_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("recsys_ssl.guessing.samples.HEAD_BYTES", 2_000)
    monkeypatch.setattr("recsys_ssl.guessing.opened.MIDDLE_BYTES", 500)
    clicks(5_000).to_csv(tmp_path / "log.csv", index=False)
    from recsys_ssl.guessing.samples import read_sample

    sample = read_sample([str(tmp_path / "log.csv")], [{}])
    assert not sample.is_whole
    assert 50 < sample.table.num_rows < 200
    times = [int(time) - TIME_S for time in sample.table["time"].to_pylist()]
    assert min(times) == 0
    assert max(times) > 60 * 2_000  # some of the middle


@pytest.mark.parametrize("cut", [1, 20])
def test_what_comes_before_damage_is_read(tmp_path, cut):
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(clicks().to_csv(index=False).encode())[:-cut])
    assert draft(tmp_path)["events"]["query_id"] == "user"


def test_a_damaged_list_of_a_zip_archive(tmp_path):
    clicks().to_csv(tmp_path / "log.csv.zip", index=False)
    data = (tmp_path / "log.csv.zip").read_bytes()
    (tmp_path / "log.csv.zip").write_bytes(data[:40] + data[50:])  # places of files are then before the first byte
    with pytest.raises(GuessError, match="the zip file is damaged"):
        draft(tmp_path)


# --- Files that a split has made ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "paths", "split"),
    [
        (["train", "test"], ["train.csv"], {"kind": "given", "test_paths": ["test.csv"]}),
        (
            ["a_train", "a_dev", "a_test"],
            ["a_train.csv"],
            {"kind": "given", "validation_paths": ["a_dev.csv"], "test_paths": ["a_test.csv"]},
        ),
        (["train", "valid"], ["train.csv", "valid.csv"], {"kind": "random"}),
        (["u1_base", "u2_base", "u1_test", "u2_test"], ["u*_base.csv", "u*_test.csv"], {"kind": "random"}),
    ],
    ids=["two", "three", "no test", "folds"],
)
def test_files_of_a_split_without_time_give_it(tmp_path, names, paths, split):
    log = clicks().drop(columns="time")
    for place, name in enumerate(names):
        log[place :: len(names)].to_csv(tmp_path / f"{name}.csv", index=False)
    spec = draft(tmp_path)
    assert (spec["events"]["paths"], spec["split"]) == (paths, split)
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    assert load_spec(tmp_path / "spec.yaml").split.kind == split["kind"]


def test_a_log_with_time_that_a_split_has_cut_is_split_by_time(tmp_path):
    log = clicks()
    for name in ("train", "test"):
        log[int(name == "test") :: 2].to_csv(tmp_path / f"{name}.csv", index=False)
    spec = draft(tmp_path)
    assert spec["events"]["paths"] == ["test.csv", "train.csv"]
    assert "split" not in spec
