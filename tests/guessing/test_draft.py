"""Whole drafts: logs as people have them, and what the spec must then say."""

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
from tests.guessing.drafts import TIME_S, clicks, draft, kinds, things
from tests.guessing.small_logs import baskets

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
