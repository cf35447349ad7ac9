"""Small logs of the kinds that people have, and what is read of each: events, or the reason why not."""

import bz2
import collections
import datetime
import decimal
import io
import json
import lzma
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_ssl.logs import sources
from recsys_ssl.spec import FeatureSpec

START_US = 1_600_000_000_000_000
EVENTS = [("u1", "A", 0), ("u2", "B", 60)]
"""Query, item and seconds after START_US of the two events that most of the logs hold."""


def csv(*, delimiter=",", end="\n", time=lambda seconds: str(1_600_000_000 + seconds), header=("user", "item", "time")):
    lines = [header, *((user, item, time(seconds)) for user, item, seconds in EVENTS)]
    return end.join(delimiter.join(line) for line in lines) + end


def at(form):
    """A column of times in a form of `strftime`."""
    return lambda seconds: datetime.datetime.fromtimestamp(1_600_000_000 + seconds, datetime.timezone.utc).strftime(
        form
    )


def records(**changes):
    return [
        {"user": user, "item": item, "time": 1_600_000_000 + seconds}
        | {name: make(user) for name, make in changes.items()}
        for user, item, seconds in EVENTS
    ]


def jsonl(rows):
    return "\n".join(json.dumps(row) for row in rows)


def parquet(**columns):
    users, items, seconds = zip(*EVENTS)
    times = [1_600_000_000 + each for each in seconds]
    out = io.BytesIO()
    pq.write_table(pa.table({"user": users, "item": items, "time": times} | columns), out)
    return out.getvalue()


def zipped(**members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return out.getvalue()


def read(tmp_path, files, rows_per_batch=2, **events):
    """Positives as (query, item, seconds after START_US) in order, and rejects by reason."""
    data = tmp_path / "data"
    for name, content in files.items():
        path = data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_directory(data, rows_per_batch, **events)


def read_directory(data, rows_per_batch=2, **events):
    spec = FeatureSpec.model_validate(
        {
            "name": "any",
            "events": {
                "paths": ["events*"],
                "query_id": "user",
                "item_id": "item",
                "timestamp": {"column": "time", "unit": "s"},
                **events,
            },
            "items": {"id": "item", "features": [{"name": "item", "kind": "id"}]},
            "queries": {"id": "user", "features": [{"name": "user", "kind": "id"}]},
        }
    )
    kept, rejects = [], collections.Counter()
    reader = sources._ReadRecords("events", spec, 2, rows_per_batch)
    for source in sources.find_sources(spec, str(data), rows_per_batch)["events"]:
        for element in reader.process(source):
            tag = getattr(element, "tag", None)
            if tag is None:
                kept += element[1].filter(pa.compute.not_equal(element[1]["_kind"], 0)).to_pylist()
            elif tag == "rejects" and element.value[0] == "events":
                rejects.update(element.value[1]["reason"].to_pylist())
    found = [(row["query_id"], row["item_id"], (row["timestamp_us"] - START_US) / 1e6) for row in kept]
    return sorted(found), dict(rejects)


ISO = {"timestamp": {"column": "time", "unit": "iso8601"}}
PARQUET = {"format": "parquet"}
JSON_LINES = {"format": "jsonl"}
COLUMNS = ["user", "item", "time"]
OF_U1, OF_U2 = "item,time\nA,1600000000\n", "item,time\nB,1600000060\n"
PARTS = {"events/user=u1/part-0.csv": OF_U1, "events/user=u2/part-0.csv": OF_U2}
SPARK = {"events/part-0.csv": csv(), "events/_SUCCESS": "", "events/.part-0.csv.crc": b"crc\0"}
TOKYO = pa.array([1_600_000_000, 1_600_000_060]).cast(pa.timestamp("s", "Asia/Tokyo"))
DECIMALS = [decimal.Decimal(1_600_000_000), decimal.Decimal(1_600_000_060)]
CLICKS = {"event_type": "event", "positive": {"click": 1.0}}
IMPRESSIONS = {"column": "shown", "separator": " ", "into": ["item", "clicked"], "part_separator": "-"}
APACHE = "%d/%b/%Y:%H:%M:%S %z"
TWO_LINES = '"time\n(s)"'
LIKED = {"column": "liked", "threshold": 1}
SOUND = {
    "csv": ({"events.csv": csv()}, {}),
    "two-character-delimiter": ({"events.dat": csv(delimiter="::")}, {"delimiter": "::"}),
    "no-header": (
        {"events.dat": OF_U1[10:].replace("A", "u1,A") + OF_U2[10:].replace("B", "u2,B")},
        {"header": False, "columns": COLUMNS},
    ),
    "blanks-in-the-header": ({"events.csv": csv(header=("user", " item", "time "))}, {}),
    "crlf": ({"events.csv": csv(end="\r\n")}, {}),
    "cr": ({"events.csv": csv(end="\r")}, {}),
    "cr-json-lines": ({"events.jsonl": jsonl(records()).replace("\n", "\r")}, JSON_LINES),
    "byte-order-mark": ({"events.csv": csv().encode("utf-8-sig")}, {}),
    "utf-16": ({"events.csv": csv().encode("utf-16")}, {}),
    "utf-16-json-lines": ({"events.jsonl": jsonl(records()).encode("utf-16")}, JSON_LINES),
    "encoding": ({"events.csv": csv().encode("cp037")}, {"encoding": "cp037"}),
    "header-of-two-lines": (
        {"events.csv": csv(header=(*COLUMNS[:2], TWO_LINES))},
        {"timestamp": {"column": "time\n(s)"}},
    ),
    "bzip2": ({"events.csv.bz2": bz2.compress(csv().encode())}, {}),
    "xz-by-another-name": ({"events.csv": lzma.compress(csv().encode())}, {}),
    "zstandard": ({"events.csv": pa.compress(csv().encode(), "zstd", asbytes=True)}, {}),
    "zip": ({"events.zip": zipped(**{"a.csv": csv()})}, {}),
    "directory-of-spark": (SPARK, {"paths": ["events"]}),
    "partition-column": (PARTS, {"paths": ["events"]}),
    "name-of-the-file": ({"u1.csv": OF_U1, "u2.csv": OF_U2}, {"paths": ["*.csv"], "file_column": "user"}),
    "json-array": ({"events.json": json.dumps(records())}, {"format": "json"}),
    "json-within": ({"events.json": json.dumps({"a": {"b": records()}})}, {"format": "json", "records": "a.b"}),
    "nested-json": (
        {"events.jsonl": jsonl(records(user=lambda user: {"id": user}))},
        {**JSON_LINES, "query_id": "user.id"},
    ),
    "struct": ({"events.parquet": parquet(user=[{"id": "u1"}, {"id": "u2"}])}, {**PARQUET, "query_id": "user.id"}),
    "parquet-decimal-time": ({"events.parquet": parquet(time=DECIMALS)}, PARQUET),
    "parquet-bytes": ({"events.parquet": parquet(user=[b"u1", b"u2"])}, PARQUET),
    "parquet-timestamp": ({"events.parquet": parquet(time=TOKYO)}, PARQUET),
    "bool-label": ({"events.parquet": parquet(liked=[True, True])}, {**PARQUET, "label": LIKED}),
    "types-in-other-case": (
        {"events.jsonl": jsonl(records(event=lambda user: {"u1": "Click", "u2": " click"}[user]))},
        {**JSON_LINES, "label": CLICKS},
    ),
    "postgres": ({"events.csv": csv(time=at("%Y-%m-%d %H:%M:%S+00"))}, ISO),
    "bigquery": ({"events.csv": csv(time=at("%Y-%m-%d %H:%M:%S.%f UTC"))}, ISO),
    "basic-form": ({"events.csv": csv(time=at("%Y%m%dT%H%M%SZ"))}, ISO),
    "small-z": ({"events.csv": csv(time=at("%Y-%m-%dT%H:%M:%Sz"))}, ISO),
    "own-format": ({"events.csv": csv(time=at(APACHE))}, {"timestamp": {"column": "time", "format": APACHE}}),
    "list-a-user": (
        {"events.jsonl": jsonl(records(item=lambda user: [{"u1": "A", "u2": "B"}[user]]))},
        {**JSON_LINES, "explode": {"column": "item"}},
    ),
    "impressions": (
        {"events.csv": "user,shown,time\nu1,A-1 C-0,1600000000\nu2,D-0 B-1,1600000060\n"},
        {"explode": IMPRESSIONS, "label": {"column": "clicked", "threshold": 1}},
    ),
}


@pytest.mark.parametrize(("files", "events"), SOUND.values(), ids=SOUND)
def test_a_sound_log_of_any_kind_is_read(tmp_path, files, events):
    assert read(tmp_path, files, **events) == ([(user, item, float(seconds)) for user, item, seconds in EVENTS], {})


@pytest.mark.parametrize("name", ["[2024]", "a*b", "what?", "{x}", "a b", "#1"])
def test_the_data_directory_is_no_glob(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "events.csv").write_text(csv())
    assert len(read_directory(tmp_path / name)[0]) == 2


def then(**changes):
    """JSON lines of the two events and an odd third."""
    return {"events.jsonl": jsonl([*records(), {"user": "u3", "item": "A", "time": 1_600_000_120} | changes])}


ONE_REJECT = {
    "list-as-an-id": (then(user=["u3"]), JSON_LINES),
    "object-as-an-id": (then(item={"a": 1}), JSON_LINES),
    "list-as-a-time": (then(time=[1]), JSON_LINES),
    "nested-lists": (then(user=[[["u3"]]]), JSON_LINES),
    "nan-as-an-id": (then(user=float("nan")), JSON_LINES),
    "no-json": ({"events.jsonl": jsonl(records()) + "\n{'user': 1}"}, JSON_LINES),
    "missing-word": ({"events.csv": csv() + "NULL,A,1600000120\n"}, {"missing": ["NULL"]}),
    "header-again": ({"events.csv": csv() + "user,item,time\n"}, {}),
    "a-cell-more": ({"events.csv": csv() + "u3,A,1600000120,x\n"}, {}),
    "year-9999": ({"events.csv": csv(time=at("%Y-%m-%d %H:%M:%S")) + "u3,A,9999-12-31\n"}, ISO),
    "no-list": ({"events.csv": csv() + "u3,,1600000120\n"}, {"explode": {"column": "item", "separator": " "}}),
}


@pytest.mark.parametrize(("files", "events"), ONE_REJECT.values(), ids=ONE_REJECT)
def test_one_odd_record_is_one_reject(tmp_path, files, events):
    found, rejects = read(tmp_path, files, rows_per_batch=50, **events)
    assert [user for user, _, _ in found] == ["u1", "u2"]
    assert sum(rejects.values()) == 1, rejects


def test_float_ids_that_have_merged_are_rejected(tmp_path):
    found, rejects = read(tmp_path, {"events.parquet": parquet(item=[1e18, 1e18])}, **PARQUET)
    assert (found, sum(rejects.values())) == ([], 2)
    assert "2^53" in next(iter(rejects))


REFUSED = {
    "zip-of-two": ({"events.zip": zipped(**{"a.csv": csv(), "b.csv": csv()})}, {}, "a.csv.*b.csv"),
    "struct-as-an-id": ({"events.parquet": parquet(item=[{"id": "A"}, {"id": "B"}])}, PARQUET, "struct"),
    "array-as-lines": ({"events.json": json.dumps(records())}, JSON_LINES, "json"),
    "path-that-leaves": ({"events.csv": csv()}, {"paths": ["../data/events.csv"]}, "data directory"),
    "absolute-path": ({"events.csv": csv()}, {"paths": ["/etc/passwd"]}, "data directory"),
    "mixed-line-ends": ({"events.csv": 'user,item,time\r"a\r\n'}, {}, "events.csv.*needs column"),
    "no-such-column": ({"events.csv": csv(header=("user", "thing", "time"))}, {}, "'thing'"),
}


@pytest.mark.parametrize(("files", "events", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_says_what_it_is(tmp_path, files, events, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, files, **events)
