"""Whole drafts: logs as people have them, and what the spec must then say."""

import contextlib
import gzip
import json
import random

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from benchmarks.anylog.make_logs import KINDS
from recsys_ssl.guessing.draft import draft_spec
from recsys_ssl.guessing.opened import GuessError
from recsys_ssl.guessing.roles import Options
from recsys_ssl.spec_files import load_spec
from tests.guessing.small_logs import baskets

TIME_S = 1_600_000_000


def draft(*given, **options):
    return yaml.safe_load(draft_spec([str(path) for path in given], Options(**options)).text)


def kinds(side):
    return {feature["name"]: feature["kind"] for feature in side["features"]}


def clicks(num=400, **columns):
    """A log of 20 users and 25 items."""
    rows = {
        "user": [f"u{number % 20}" for number in range(num)],
        "item": [f"i{number * 7 % 25}" for number in range(num)],
        "time": [TIME_S + 60 * number for number in range(num)],
    }
    return pd.DataFrame({**rows, **columns})


def things(num=25, **columns):
    rows = {"item": [f"i{number}" for number in range(num)], "topic": [f"t{number % 3}" for number in range(num)]}
    return pd.DataFrame({**rows, **columns})


# --- The four kinds ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spec_of(movielens, tmp_path_factory):
    def draft_kind(kind):
        to = tmp_path_factory.mktemp(kind) / kind
        KINDS[kind](movielens, to)
        return draft(to)

    return draft_kind


def test_movielens_1m(spec_of):
    spec = spec_of("movielens_1m")
    files = {"delimiter": "::", "quoting": "none", "header": False}
    assert spec["events"] == {
        "paths": ["ratings.dat"],
        **files,
        "columns": ["user", "item", "rating", "time"],
        "query_id": "user",
        "item_id": "item",
        "timestamp": {"column": "time", "unit": "s"},
        "label": {"column": "rating", "threshold": 4.0},
    }
    names = ["item", "title", "categories"]
    assert spec["items"]["table"] == {"paths": ["movies.dat"], **files, "columns": names, "encoding": "latin-1"}
    assert (spec["items"]["id"], spec["items"]["title"]) == ("item", "title")
    assert spec["items"]["features"][2] == {
        "name": "categories",
        "kind": "categorical",
        "multi_valued": True,
        "separator": "|",
    }
    assert spec["queries"]["table"]["paths"] == ["users.dat"]
    assert kinds(spec["queries"]) == {
        "user": "id",
        "gender": "categorical",
        "column_3": "numeric",
        "column_4": "categorical",
        "column_5": "categorical",
        "history": "item_sequence",
    }
    assert spec["evaluation"]["group_by"] == "event"  # each user has a week of their own


def test_a_directory_of_spark(spec_of):
    spec = spec_of("spark")
    assert spec["events"] == {
        "paths": ["ratings"],
        "format": "parquet",
        "query_id": "user_id",
        "item_id": "item_id",
        "timestamp": {"column": "event_time", "unit": "iso8601"},
        "label": {"event_type": "event", "positive": {"like": 1.0, "view": 1.0}},
    }
    assert spec["items"]["table"] == {"paths": ["films"], "format": "parquet"}
    assert kinds(spec["items"])["genres"] == "categorical"
    assert spec["queries"]["table"] == {"paths": ["users"], "format": "parquet"}


def test_an_export_of_a_spreadsheet(spec_of):
    spec = spec_of("excel")
    events = spec["events"]
    assert (events["paths"], events["delimiter"], events["encoding"]) == (["Online Retail.csv"], ";", "cp1252")
    assert (events["query_id"], events["item_id"]) == ("CustomerID", "StockCode")
    assert events["decimal"] == ","
    assert events["timestamp"] == {"column": "InvoiceDate", "format": "%m/%d/%y %H:%M"}
    assert events["label"] == {"column": "Quantity", "threshold": 1.0}
    assert [feature["name"] for feature in events["features"]] == ["Country"]
    assert spec["items"]["from_events"]
    assert kinds(spec["items"]) == {"StockCode": "id", "Description": "text", "UnitPrice": "numeric"}
    assert spec["items"]["title"] == "Description"
    assert spec["evaluation"]["mask_seen"] is False


def test_nested_json(spec_of):
    spec = spec_of("nested_json")
    events = spec["events"]
    assert events["format"] == "jsonl"
    assert (events["query_id"], events["item_id"]) == ("user.id", "item.id")
    assert events["timestamp"] == {"column": "event.at", "unit": "iso8601"}
    assert events["label"] == {"event_type": "event.type", "positive": {"like": 1.0, "view": 1.0}}
    assert {feature["column"] for feature in events["features"]} == {"user.gender", "user.age", "context.device"}
    assert {feature["column"] for feature in spec["items"]["features"]} == {"item.id", "item.title", "item.genres"}


def test_the_files_of_recbole(movielens):
    spec = draft(movielens)
    assert spec["events"]["label"] == {"column": "rating:float", "threshold": 4.0}
    assert kinds(spec["items"]) == {
        "item": "id",
        "movie_title": "text",
        "release_year": "categorical",
        "class": "categorical",
    }
    assert kinds(spec["queries"])["zip_code"] == "categorical"  # nothing counts from 0


# --- Which file is what --------------------------------------------------------------------------------


def test_tables_are_known_by_shared_ids(tmp_path):
    clicks().to_csv(tmp_path / "a.csv", index=False)
    things().to_csv(tmp_path / "b.csv", index=False)
    pd.DataFrame({"user": [f"u{number}" for number in range(20)], "plan": ["x", "y"] * 10}).to_csv(
        tmp_path / "c.csv", index=False
    )
    pd.DataFrame({"shop": ["s1", "s2"], "town": ["Rome", "Oslo"]}).to_csv(tmp_path / "d.csv", index=False)
    found = draft_spec([str(tmp_path)])
    spec = yaml.safe_load(found.text)
    assert spec["events"]["paths"] == ["a.csv"]
    assert spec["items"]["table"]["paths"] == ["b.csv"]
    assert spec["queries"]["table"]["paths"] == ["c.csv"]
    assert list(found.unused) == ["d.csv"]
    assert "# Not used: d.csv: " in found.text


def test_names_that_say_nothing_go_by_the_table(tmp_path):
    clicks().set_axis(["user", "x", "time"], axis=1).assign(y=["p", "q"] * 200).to_csv(
        tmp_path / "log.csv", index=False
    )
    things().set_axis(["x", "topic"], axis=1).to_csv(tmp_path / "table.csv", index=False)
    spec = draft(tmp_path)
    assert (spec["events"]["item_id"], spec["items"]["id"]) == ("x", "x")


def test_queries_that_are_items(tmp_path):
    links = pd.DataFrame(
        {"source": [f"p{n % 20}" for n in range(200)], "target": [f"p{n * 7 % 20}" for n in range(200)]}
    )
    links.to_csv(tmp_path / "links.csv", index=False)
    spec = draft(tmp_path)
    assert spec["queries"] == {"same_as_items": True}
    assert spec["split"] == {"kind": "random"}


def test_one_file_per_event_type(tmp_path):
    for name in ("view", "purchase", "impression", "remove_from_cart"):
        clicks(100).to_csv(tmp_path / f"{name}.csv", index=False)
    events = draft(tmp_path)["events"]
    assert events["file_column"] == "event_type"
    assert events["label"] == {
        "event_type": "event_type",
        "positive": {"purchase": 1.0, "view": 1.0},
        "impressions": ["impression"],
    }


def test_files_of_event_types_in_the_plural(tmp_path):
    for name in ("clicks", "carts", "orders"):
        clicks(100).to_csv(tmp_path / f"{name}.csv", index=False)
    events = draft(tmp_path)["events"]
    assert events["paths"] == ["carts.csv", "clicks.csv", "orders.csv"]
    assert events["label"]["positive"] == {"carts": 1.0, "clicks": 1.0, "orders": 1.0}


def test_numbered_files_are_one_glob(tmp_path):
    for day in ("2020-09-01", "2020-09-02"):
        clicks().to_csv(tmp_path / f"log-{day}.csv", index=False)
    assert draft(tmp_path / "*.csv")["events"]["paths"] == ["log-*-*-*.csv"]


def test_marks_of_globs_in_names_are_escaped(tmp_path):
    clicks().to_csv(tmp_path / "log[eu].csv", index=False)
    assert draft(tmp_path)["events"]["paths"] == ["log[[]eu].csv"]


# --- Lists, documents, compression ---------------------------------------------------------------------


def test_impressions_in_one_cell_are_events(tmp_path):
    rows = [
        f"{n}\tu{n % 9}\t11/{1 + n % 28}/2019 9:05:58 AM\ti{n % 7}-{n % 2} i{n % 5}-{(n + 1) % 2}" for n in range(99)
    ]
    (tmp_path / "behaviors.tsv").write_text("\n".join(rows) + "\n")
    events = draft(tmp_path)["events"]
    assert events["columns"] == ["column_1", "user", "time", "impressions"]
    assert events["explode"] == {
        "column": "impressions",
        "separator": " ",
        "into": ["item", "clicked"],
        "part_separator": "-",
    }
    assert events["item_id"] == "item"
    assert events["label"] == {"event_type": "clicked", "positive": {"1": 1.0}, "impressions": ["0"]}


def test_a_list_of_items_per_user(tmp_path):
    lines = [json.dumps({"user": f"u{n}", "items": [f"i{n % 5}", f"i{n % 3}"]}) for n in range(50)]
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    events = draft(tmp_path)["events"]
    assert (events["explode"], events["item_id"]) == ({"column": "items"}, "items")


def parallel_lists(to, form):
    """A user a record, with lists of items, of their times and of what the user likes."""
    draw = random.Random(0)
    records = []
    for user in range(60):
        num = 2 + draw.randrange(8)
        items = [f"p{draw.randrange(40)}" for _ in range(num)]
        times = [TIME_S + 977 * (user + number) for number in range(num)]
        records.append({"user_id": user, "item_ids": items, "timestamps": times, "likes": ["abc"[user % 3]]})
    if form == "jsonl":
        to.write_text("\n".join(map(json.dumps, records)))
    elif form == "parquet":
        pq.write_table(pa.Table.from_pylist(records), to)
    else:
        joined = [{key: ",".join(map(str, value)) for key, value in row.items() if key != "user_id"} for row in records]
        pd.DataFrame(joined, [f"u{user}" for user in range(60)]).to_csv(to, index_label="user_id")


@pytest.mark.parametrize("form", ["jsonl", "parquet", "csv"])
def test_lists_beside_the_items_are_no_features(tmp_path, form):
    parallel_lists(tmp_path / f"log.{form}", form)
    text = draft_spec([str(tmp_path)]).text
    events = yaml.safe_load(text)["events"]
    assert events["explode"]["column"] == "item_ids"
    assert [feature["name"] for feature in events.get("features", [])] == ["likes"]
    assert text.count("timestamps") == 2  # both in the comment
    assert '[{"item_ids": ..., "timestamps": ...}, ...], or a record a line' in text
    with pytest.raises(GuessError, match="--time must name a column of .* with one value a record"):
        draft(tmp_path, time="timestamps")


@pytest.mark.parametrize("name", ["items", "item_ids", "item_list", "products", "history", "basket", "clicked_items"])
@pytest.mark.parametrize("separator", [", ", ",", ";", "|"])
@pytest.mark.parametrize(("num_users", "num_items"), [(80, 60), (500, 500), (500, 100_000)])
def test_a_cell_of_items_per_user(tmp_path, name, separator, num_users, num_items):
    (tmp_path / "log.csv").write_text(baskets(name, separator, num_users, num_items))
    events = draft(tmp_path)["events"]
    assert events["explode"] == {"column": name, "separator": separator.strip()}
    assert (events["query_id"], events["item_id"]) == ("user", name)


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_objects_in_a_list_are_events(tmp_path, form):
    orders = [
        {
            "customer": f"c{n % 20}",
            "ordered_at": f"2020-09-{1 + n % 28:02d}T10:00:00Z",
            "lines": [{"sku": f"s{k}", "name": f"The thing of {k}", "qty": 1 + n % 3} for k in (n % 9, n % 7 + 9)],
        }
        for n in range(120)
    ]
    if form == "jsonl":
        (tmp_path / "orders.jsonl").write_text("\n".join(map(json.dumps, orders)))
    else:
        pq.write_table(pa.Table.from_pylist(orders), tmp_path / "orders.parquet")
    spec = draft(tmp_path)
    assert spec["events"]["explode"] == {"column": "lines"}
    assert (spec["events"]["query_id"], spec["events"]["item_id"]) == ("customer", "lines.sku")
    assert spec["events"]["label"] == {"column": "lines.qty", "threshold": 1.0}
    assert [feature["column"] for feature in spec["items"]["features"]] == ["lines.sku", "lines.name"]


def test_a_document_with_an_array(tmp_path):
    document = {"version": {"of": [1]}, "data": {"events": clicks().to_dict("records")}}
    (tmp_path / "log.json").write_text(json.dumps(document))
    events = draft(tmp_path)["events"]
    assert (events["format"], events["records"]) == ("json", "data.events")


@pytest.mark.parametrize("suffix", ["gz", "bz2", "xz", "zst", "zip"])
def test_compression_needs_no_word(tmp_path, suffix):
    if suffix == "zst":
        with pa.CompressedOutputStream(str(tmp_path / "log.csv.zst"), "zstd") as stream:
            stream.write(clicks().to_csv(index=False).encode())
    else:
        clicks().to_csv(tmp_path / f"log.csv.{suffix}", index=False)
    events = draft(tmp_path)["events"]
    assert events == {
        "paths": [f"log.csv.{suffix}"],
        "query_id": "user",
        "item_id": "item",
        "timestamp": {"column": "time", "unit": "s"},
    }


# --- Labels, repeats, missing values -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values", "label"),
    [
        ("rating", ["1", "3", "5", "4"], {"column": "rating", "threshold": 4.0}),
        ("score", ["1", "10", "7", "8"], {"column": "score", "threshold": 7.0}),
        ("clicked", ["0", "1"], {"event_type": "clicked", "positive": {"1": 1.0}, "impressions": ["0"]}),
        ("liked", ["true", "false"], {"event_type": "liked", "positive": {"true": 1.0}}),
        ("action", ["show", "buy"], {"event_type": "action", "positive": {"buy": 1.0}, "impressions": ["show"]}),
        ("colour", ["red", "blue"], None),
    ],
)
def test_the_label(tmp_path, name, values, label):
    clicks(**{name: (values * 400)[:400]}).to_csv(tmp_path / "log.csv", index=False)
    assert draft(tmp_path)["events"].get("label") == label


def test_a_label_that_is_not_understood_is_a_comment(tmp_path):
    clicks(vote=["ja", "nein"] * 200).to_csv(tmp_path / "log.csv", index=False)
    found = draft_spec([str(tmp_path)])
    assert "label" not in yaml.safe_load(found.text)["events"]
    assert "  # label: {event_type: vote, positive: {ja: 1.0, nein: 1.0}}  # may be a label: keep" in found.text
    assert ("events.label", "none") in [guess[:2] for guess in found.guesses]


def test_many_repeats_are_not_masked(tmp_path):
    clicks(time=[TIME_S + 86_400 * number for number in range(400)]).to_csv(tmp_path / "log.csv", index=False)
    assert draft(tmp_path)["evaluation"]["mask_seen"] is False
    clicks().to_csv(tmp_path / "log.csv", index=False)  # a day
    assert "mask_seen" not in draft(tmp_path).get("evaluation", {})


def test_times_that_are_not_taken_are_told(tmp_path):
    log = clicks().rename(columns={"time": "t"})
    log.assign(u=log["t"] + 1).to_csv(tmp_path / "log.csv", index=False)
    assert "split: {kind: random}  # no time of the event was found; t, u may be" in draft_spec([str(tmp_path)]).text


def test_records_without_an_id_are_allowed_for(tmp_path):
    log = clicks()
    log.loc[::10, "user"] = None
    log.loc[::20, "user"] = "NULL"
    log.to_csv(tmp_path / "log.csv", index=False)
    spec = draft(tmp_path)
    assert spec["events"]["missing"] == ["NULL"]
    assert spec["max_rejected_share"] == pytest.approx(0.12)


# --- What a person says --------------------------------------------------------------------------------


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
